/*
 * test_safetensors.c — what a good file gives, and that every way of lying in a header is refused with
 * the tensor's name and a byte offset. Files are built in memory; one goes through a real mapping.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/os.h"
#include "format/weights.h"

/* A file: length, header text padded with spaces to 8 bytes, then data_bytes bytes 0, 1, 2, … */
typedef struct image {
    _Alignas(16) uint8_t bytes[65536];
    size_t size, header;
} image;

static void build(image *im, const char *header, size_t data_bytes)
{
    size_t n = strlen(header);
    uint64_t length = (n + 7) / 8 * 8;

    assert_true(8 + length + data_bytes <= sizeof im->bytes);
    memset(im->bytes, ' ', sizeof im->bytes);
    memcpy(im->bytes, &length, 8);
    memcpy(im->bytes + 8, header, n);
    for (size_t i = 0; i < data_bytes; i++)
        im->bytes[8 + length + i] = (uint8_t)i;
    im->header = (size_t)length;
    im->size = 8 + (size_t)length + data_bytes;
}

/* The copy is exactly as long as the file, so that a sanitizer sees every read past its end. */
static int parse(const image *im, size_t size, quern__weights **out, quern_error *err)
{
    uint8_t *copy = malloc(size ? size : 1);
    int rc;

    assert_non_null(copy);
    memcpy(copy, im->bytes, size);
    memset(err, 0, sizeof *err);
    rc = quern__weights_parse(out, QUERN__SAFETENSORS, copy, size, "x.safetensors", err);
    if (rc == QUERN_OK) { /* the bytes must outlive the file: look at them, then drop both */
        for (size_t i = 0; i < quern__weights_count(*out); i++) {
            const quern__tensor *t = quern__weights_at(*out, i);
            assert_true(t->offset + t->bytes <= size);
            assert_ptr_equal(quern__weights_find(*out, t->name), t);
        }
        quern__weights_free(*out);
        *out = NULL;
    }
    free(copy);
    return rc;
}

static void refused(const char *header, size_t data_bytes, const char *part)
{
    static image im;
    quern__weights *f = NULL;
    quern_error err;

    build(&im, header, data_bytes);
    assert_int_equal(parse(&im, im.size, &f, &err), QUERN_EFORMAT);
    assert_null(f);
    if (!strstr(err.msg, part))
        fail_msg("%s\n   says \"%s\", not \"%s\"", header, err.msg, part);
    assert_non_null(strstr(err.msg, "x.safetensors"));
    assert_non_null(strstr(err.msg, "byte"));
}

static void accepted(const char *header, size_t data_bytes)
{
    static image im;
    quern__weights *f = NULL;
    quern_error err;

    build(&im, header, data_bytes);
    if (parse(&im, im.size, &f, &err) != QUERN_OK)
        fail_msg("%s\n   refused: %s", header, err.msg);
}

static void test_good(void **state)
{
    static image im;
    quern__weights *f;
    quern_error err;
    const quern__tensor *t;

    (void)state;
    build(&im,
          "{\"__metadata__\":{\"format\":\"pt\"},"
          "\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[16,40]},"
          "\"a\":{\"shape\":[2],\"data_offsets\":[0,16],\"dtype\":\"I64\"},"
          "\"e\":{\"dtype\":\"F16\",\"shape\":[0,7],\"data_offsets\":[40,40]},"
          "\"s\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[40,42]}}",
          42);
    assert_int_equal(quern__weights_parse(&f, QUERN__SAFETENSORS, im.bytes, im.size, "x", &err),
                     QUERN_OK);
    assert_int_equal(quern__weights_count(f), 4);
    assert_int_equal(quern__weights_bytes(f), im.size);
    assert_string_equal(quern__weights_at(f, 0)->name, "a");
    assert_int_equal(quern__weights_at(f, 0)->dtype, QUERN__OTHER_DTYPE);
    t = quern__weights_find(f, "b");
    assert_non_null(t);
    assert_int_equal(t->dtype, QUERN__F32);
    assert_int_equal(t->rank, 2);
    assert_int_equal(t->shape[0], 2);
    assert_int_equal(t->shape[1], 3);
    assert_int_equal(t->bytes, 24);
    assert_int_equal(t->count, 6);
    assert_int_equal(t->offset, 8 + im.header + 16);
    assert_ptr_equal(t->data, im.bytes + t->offset);
    t = quern__weights_find(f, "s");
    assert_int_equal(t->rank, 0);
    assert_int_equal(t->count, 1);
    assert_int_equal(quern__weights_find(f, "e")->count, 0);
    assert_null(quern__weights_find(f, "bb"));
    assert_null(quern__weights_find(f, ""));
    quern__weights_forget(f, t); /* not a mapping: nothing happens */
    quern__weights_free(f);
    quern__weights_free(NULL);
    accepted("{}", 0);
    accepted("{\"__metadata__\":{}}", 0);
}

#define T(dtype, shape, offsets)                                                                   \
    "{\"w.q\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void test_lies(void **state)
{
    (void)state;
    accepted(T("F32", "[2,2]", "[0,16]"), 16);
    refused(T("F32", "[2,3]", "[0,16]"), 16, "w.q");  /* shape over offsets */
    refused(T("F16", "[2,2]", "[0,16]"), 16, "w.q");  /* wrong size for the type */
    refused(T("F32", "[2,2]", "[0,16]"), 12, "torn"); /* past the end */
    refused(T("F32", "[2,2]", "[0,16]"), 17, "behind the last tensor");
    refused(T("F32", "[2,2]", "[16,32]"), 32, "hole");
    refused(T("F32", "[2,2]", "[16,0]"), 16, "backwards");
    refused(T("F32", "[2,2]", "[-16,0]"), 16, "byte");
    refused(T("F32", "[2,-2]", "[0,16]"), 16, "byte");
    refused(T("F32", "[2.5,2]", "[0,16]"), 16, "byte");
    refused(T("F32", "[2,2]", "[0,1e99]"), 16, "byte");
    refused(T("F32", "[2,2]", "[0]"), 16, "two wanted");
    refused(T("F32", "[2,2]", "[0,16,16]"), 16, "more than two");
    refused(T("F32", "[2,2]", "{}"), 16, "byte");
    refused(T("F32", "4", "[0,16]"), 16, "byte");
    refused(T("F32", "[1,1,1,1,1,1,1,1,4]", "[0,16]"), 16, "more than 8 dimensions");
    refused(T("F31", "[2,2]", "[0,16]"), 16, "unknown dtype \"F31\"");
    refused(T("f32", "[2,2]", "[0,16]"), 16, "unknown dtype");
    refused(T("F32", "[4294967296,4294967296,16]", "[0,16]"), 16, "overflow");
    refused(T("F32", "[4611686018427387905]", "[0,4]"), 4, "overflow"); /* x 4 = 4 modulo 2^64 */
    refused(T("F32", "[2,2]", "[0,18446744073709551615]"), 16, "torn");
    refused(T("F32", "[2,2]", "[0,18446744073709551616]"), 16, "byte");
}

static void test_structure(void **state)
{
    (void)state;
    refused("", 0, "byte");
    refused("[]", 0, "byte");
    refused("{\"w\":[]}", 0, "byte");
    refused("{\"w\":{}}", 0, "no dtype");
    refused("{\"w\":{\"dtype\":\"F32\"}}", 0, "no shape");
    refused("{\"w\":{\"dtype\":\"F32\",\"shape\":[0]}}", 0, "no data_offsets");
    refused("{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0, "dtype twice");
    refused("{\"w\":{\"shape\":[],\"shape\":[]}}", 0, "shape twice");
    refused("{\"w\":{\"data_offsets\":[0,0],\"data_offsets\":[0,0]}}", 0, "data_offsets twice");
    refused("{\"w\":{\"dtype\":\"F32\",\"stride\":[1]}}", 0, "unknown field \"stride\"");
    refused("{\"\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "name");
    refused("{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "NUL");
    refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice");
    refused("{\"__metadata__\":{\"a\":1}}", 0, "byte");
    refused("{\"w\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},}", 0, "byte");
    refused("{} {}", 0, "byte");
    refused("{\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
            "\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
            2, "two of this name");
    refused("{\"u\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
            "\"w\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}",
            6, "overlapping");
    refused("{\"u\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
            "\"w\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
            4, "overlapping");
    refused("{\"u\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
            "\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]}}",
            5, "not aligned");
}

/* A good file cut at every length, and with a header length that lies. */
static void test_torn(void **state)
{
    static image im;
    quern__weights *f = NULL;
    quern_error err;
    const uint64_t lengths[] = {0,
                                1,
                                1u << 20,
                                100 * 1000 * 1000ull,
                                100 * 1000 * 1000ull + 1,
                                UINT64_MAX,
                                UINT64_MAX - 7,
                                1ull << 63};

    (void)state;
    build(&im, T("F32", "[2,2]", "[0,16]"), 16);
    for (size_t size = 0; size < im.size; size++)
        assert_int_equal(parse(&im, size, &f, &err), QUERN_EFORMAT);
    assert_int_equal(parse(&im, im.size, &f, &err), QUERN_OK);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memcpy(im.bytes, &lengths[i], 8);
        assert_int_equal(parse(&im, im.size, &f, &err), QUERN_EFORMAT);
        assert_non_null(strstr(err.msg, "byte"));
    }
}

/* One byte of the header changed to anything: never a crash, and what is accepted is consistent. */
static void test_damage(void **state)
{
    static image im;
    quern__weights *f = NULL;
    quern_error err;

    (void)state;
    build(&im,
          "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
          "\"b\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[4,8]}}",
          8);
    for (size_t at = 0; at < 8 + im.header; at++) {
        uint8_t was = im.bytes[at];
        for (int v = 0; v < 256; v += 3) {
            int rc;
            im.bytes[at] = (uint8_t)v;
            rc = parse(&im, im.size, &f, &err);
            assert_true(rc == QUERN_OK || rc == QUERN_EFORMAT);
        }
        im.bytes[at] = was;
    }
}

static void test_many(void **state)
{
    size_t cap = 8u << 20, n = 0;
    char *text = malloc(cap + 8);
    quern__weights *f = NULL;
    quern_error err;
    uint64_t length;

    (void)state;
    assert_non_null(text);
    text[8 + n++] = '{';
    for (int i = 0; i <= 65536; i++)
        n += (size_t)snprintf(text + 8 + n, cap - n,
                              "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
                              i ? "," : "", i);
    text[8 + n++] = '}';
    length = n;
    memcpy(text, &length, 8);
    assert_int_equal(quern__weights_parse(&f, QUERN__SAFETENSORS, text, n + 8, "many", &err),
                     QUERN_EFORMAT);
    assert_non_null(strstr(err.msg, "more than 65536 tensors"));
    free(text);
}

static void test_narrow(void **state)
{
    static const uint16_t half[] = {0x0000, 0x8000, 0x3c00, 0xc000, 0x7bff, 0x0400,
                                    0x0001, 0x03ff, 0x8001, 0x7c00, 0xfc00, 0x3555};
    static const float wide[] = {0.0f,
                                 -0.0f,
                                 1.0f,
                                 -2.0f,
                                 65504.0f,
                                 0x1p-14f,
                                 0x1p-24f,
                                 0x1.ff8p-15f,
                                 -0x1p-24f,
                                 (float)(1e300 * 1e300),
                                 (float)(-1e300 * 1e300),
                                 0.333251953125f};
    static const uint16_t brain[] = {0x3f80, 0xc040, 0x0001, 0x7f80};
    static const float brain_wide[] = {1.0f, -3.0f, 0x1p-133f, (float)(1e300 * 1e300)};
    quern__tensor t = {.name = "t", .dtype = QUERN__F16, .rank = 1, .data = half, .count = 12};
    float out[12];

    (void)state;
    quern__tensor_read_f32(&t, 0, 12, out);
    assert_memory_equal(out, wide, sizeof wide);
    quern__tensor_read_f32(&t, 5, 2, out);
    assert_memory_equal(out, wide + 5, 2 * sizeof *out);
    t.dtype = QUERN__BF16;
    t.data = brain;
    t.count = 4;
    quern__tensor_read_f32(&t, 0, 4, out);
    assert_memory_equal(out, brain_wide, sizeof brain_wide);
    t.dtype = QUERN__F32;
    t.data = wide;
    t.count = 12;
    quern__tensor_read_f32(&t, 1, 11, out);
    assert_memory_equal(out, wide + 1, 11 * sizeof *out);
}

static void test_file(void **state)
{
    static image im;
    char path[] = "test_safetensors.XXXXXX.tmp";
    quern__weights *f = NULL;
    quern_error err;
    const quern__tensor *t;
    FILE *out;
    float v;

    (void)state;
    snprintf(path, sizeof path, "test_safetensors.%06u.tmp", quern__os_pid() % 1000000);
    build(&im, T("F32", "[2,2]", "[0,16]"), 16);
    assert_int_equal(quern__write_file_atomic(path, im.bytes, im.size, &err), QUERN_OK);
    assert_int_equal(quern__weights_open_file(&f, QUERN__SAFETENSORS, path, &err), QUERN_OK);
    t = quern__weights_at(f, 0);
    assert_memory_equal(t->data, im.bytes + t->offset, 16);
    quern__weights_forget(f, t);
    quern__tensor_read_f32(t, 3, 1, &v);
    assert_memory_equal(&v, im.bytes + t->offset + 12, 4); /* pages come back when asked for */
    quern__weights_free(f);

    out = fopen(path, "wb");
    assert_non_null(out);
    fclose(out);
    assert_int_equal(quern__weights_open_file(&f, QUERN__SAFETENSORS, path, &err), QUERN_EFORMAT);
    assert_non_null(strstr(err.msg, path));
    remove(path);
    assert_int_equal(quern__weights_open_file(&f, QUERN__SAFETENSORS, path, &err), QUERN_ENOTFOUND);
    assert_null(f);
    assert_true(quern__weights_open_file(&f, QUERN__SAFETENSORS, "/dev/zero", &err) < 0);
    assert_true(quern__weights_open_file(&f, QUERN__SAFETENSORS, ".", &err) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),      cmocka_unit_test(test_lies),
        cmocka_unit_test(test_structure), cmocka_unit_test(test_torn),
        cmocka_unit_test(test_damage),    cmocka_unit_test(test_many),
        cmocka_unit_test(test_narrow),    cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
