/*
 * test_quantised_file.c — quantised weights in a file: read back as they were, the same bytes each time, and
 * nothing that is cut, changed, of another model or out of its range is taken.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../kernels/kernel_tables.h"
#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"
#include "encoder/quantised_file.h"
#include "tiny_classes.h"

static const char path[] = "test_quantised_file.int8.safetensors";
static const char source[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
static const char architecture[] =
    "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";
static const quern__fidelity fidelity = {0.9995f, 0.998f, 0.97f};

static tiny_pair model;
static quern__quantised *numbers; /* its */
static char *bytes;
static size_t size;

static void written(const char **checksum)
{
    static char hex[65];
    uint64_t n;
    quern_error err;
    if (quern__quantised_write(numbers, source, architecture, &fidelity, path, hex, &n, &err) ||
        quern__read_file(path, 1 << 24, &bytes, &size, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(n, size);
    *checksum = hex;
}

static int make(void **state)
{
    (void)state;
    const int32_t ids[5] = {1, 2, 3, 4, 5};
    const uint32_t length = 5;
    tiny_pair_new(&model, tiny_new(48, 2, 2, 400, 100, 16, QUERN__F32, "", 9), false, 16, ids,
                  &length, 1);
    numbers = model.numbers;
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    tiny_pair_free(&model);
    quern__free(bytes);
    return quern__remove_file(path, NULL);
}

static void test_there_and_back(void **state)
{
    (void)state;
    const char *checksum;
    quern__quantised_file f;
    quern_error err;
    written(&checksum);
    char first[65], *again = bytes;
    const size_t was = size;
    memcpy(first, checksum, sizeof first);
    written(&checksum);
    assert_int_equal(size, was);
    assert_memory_equal(bytes, again, size);
    quern__free(again);
    if (quern__quantised_open(&f, path, &model.tiny->config, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(f.checksum, first);
    assert_string_equal(f.source, source);
    assert_string_equal(f.architecture, architecture);
    assert_memory_equal(&f.fidelity, &fidelity, sizeof fidelity);
    for (uint32_t l = 0; l < numbers->layers; l++) {
        for (int m = 0; m < QUERN__Q_MATRICES; m++) {
            if (!quern__quantised_has(numbers, m))
                continue;
            const size_t outputs = quern__quantised_outputs(numbers, m),
                         inputs = quern__quantised_inputs(numbers, m);
            assert_memory_equal(f.numbers->layer[l].weight[m], numbers->layer[l].weight[m],
                                outputs * inputs);
            assert_memory_equal(f.numbers->layer[l].scale[m], numbers->layer[l].scale[m],
                                (inputs + 383) / 384 * outputs * sizeof(float));
        }
        for (int i = 0; i < 2; i++)
            assert_memory_equal(f.numbers->layer[l].smooth[i], numbers->layer[l].smooth[i],
                                48 * sizeof(float));
    }
    quern__quantised_close(&f);
    assert_int_equal(quern__quantised_open(&f, "no such file", &model.tiny->config, &err),
                     QUERN_ENOTFOUND);
}

/* Any byte changed, any end cut off: never taken. */
static void test_damage(void **state)
{
    (void)state;
    quern__quantised_file f;
    quern_error err;
    const size_t step = long_form() ? 1 : 97, head = 8 + 6000;
    for (size_t i = 0; i < size; i += i < head ? 1 + step / 16 : step) {
        const char was = bytes[i];
        bytes[i] = (char)(was ^ (1 << i % 8));
        const int rc =
            quern__quantised_parse(&f, bytes, size, "damaged", &model.tiny->config, &err);
        if (rc == QUERN_OK) /* a space of the header's end at most */
            assert_true(was == ' ');
        else
            assert_true((rc == QUERN_EFORMAT || rc == QUERN_EMISMATCH) && err.msg[0]);
        quern__quantised_close(&f);
        bytes[i] = was;
    }
    for (size_t n = 0; n < size; n += 1 + size / 300) {
        assert_int_equal(quern__quantised_parse(&f, bytes, n, "cut", &model.tiny->config, &err),
                         QUERN_EFORMAT);
        quern__quantised_close(&f);
    }
}

static void refused(const quern__model_config *config, const char *with, int code)
{
    quern__quantised_file f;
    quern_error err;
    memset(&err, 0, sizeof err);
    assert_int_equal(quern__quantised_open(&f, path, config, &err), code);
    if (!strstr(err.msg, with))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, with);
    assert_null(f.file);
}

/* Files with a right checksum and wrong numbers: what another program might write. */
static void test_numbers_out_of_range(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, 0.0f, -1.0f};
    const char *checksum;
    float *scale = (float *)numbers->layer[1].scale[QUERN__Q_DOWN] + 50,
          *smooth = (float *)numbers->layer[0].smooth[1];
    int8_t *weight = (int8_t *)numbers->layer[0].weight[QUERN__Q_KEY];
    for (size_t i = 0; i < QUERN__COUNT(bad); i++) {
        float was = *scale;
        *scale = bad[i];
        quern__free(bytes);
        written(&checksum);
        refused(&model.tiny->config, "layer.1.down.scale", QUERN_EFORMAT);
        *scale = was;
        was = *smooth;
        *smooth = bad[i];
        quern__free(bytes);
        written(&checksum);
        refused(&model.tiny->config, "layer.0.smooth.feed_forward", QUERN_EFORMAT);
        *smooth = was;
    }
    const int8_t was = *weight;
    *weight = -128;
    quern__free(bytes);
    written(&checksum);
    refused(&model.tiny->config, "holds -128", QUERN_EFORMAT);
    *weight = was;
    quern__free(bytes);
    written(&checksum);
}

static void test_another_model(void **state)
{
    (void)state;
    quern__model_config other = model.tiny->config;
    other.layers = 1;
    refused(&other, "layers", QUERN_EFORMAT);
    other.layers = 3;
    refused(&other, "layers", QUERN_EFORMAT);
    other.layers = 1000000;
    refused(&other, "layers", QUERN_EFORMAT);
    other = model.tiny->config;
    other.hidden = 64;
    refused(&other, "layer.0.query.weight", QUERN_EFORMAT);
    other = model.tiny->config;
    other.intermediate = 384;
    refused(&other, "layer.0.up.weight", QUERN_EFORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_numbers_out_of_range),
        cmocka_unit_test(test_another_model),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
