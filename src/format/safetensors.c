/*
 * safetensors.c — reads the published weights in place: map the file, check every claim of its header
 * once, hand out pointers into the mapping. Nothing of the data is read here, so opening 90 MB costs
 * the pages of the header only.
 *
 * Why this way: all checks at open, so that whoever computes may trust shape, size and alignment
 * without asking again. Rejected: reading tensor by tensor on demand (a torn file would show in the
 * middle of a forward pass), and tolerating gaps or unaligned data as some readers do (a gap is how a
 * wrong offset looks, and published files have none).
 *
 * Invariants after a successful open: tensors are sorted by name, names are unique and hold no NUL;
 * sorted by offset the tensors tile the data exactly; shape product x element size = bytes; data is
 * aligned to its element. The file must not be truncated by others while it is mapped: replacing a
 * model goes by rename, which leaves the old inode whole.
 */
#include "format/safetensors.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/checked.h"
#include "base/compiler.h"
#include "base/json.h"
#include "base/os.h"

/* Tensors are handed out as they lie in the file, and the file is little-endian. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "weights are used in place");

enum {
    PREFIX = 8,                     /* the u64 in front of the header */
    MAX_HEADER = 100 * 1000 * 1000, /* the limit of the format's own reader */
    MAX_TENSORS = 65536,            /* the largest published encoders have a few hundred */
    MAX_NAME = 512,
    SHOWN = 120 /* characters of a tensor's name in a message */
};

struct quern__safetensors {
    quern__map map; /* zeroed when parsed from memory */
    const uint8_t *data;
    size_t size;
    quern__arena names;
    quern__tensor *tensors; /* [count] sorted by name */
    size_t count, cap;
};

static const struct element {
    const char *name;
    int dtype;
    size_t size;
} elements[] = {
    {"F32", QUERN__F32, 4},          {"F16", QUERN__F16, 2},         {"BF16", QUERN__BF16, 2},
    {"F64", QUERN__OTHER_DTYPE, 8},  {"I64", QUERN__OTHER_DTYPE, 8}, {"I32", QUERN__OTHER_DTYPE, 4},
    {"I16", QUERN__OTHER_DTYPE, 2},  {"I8", QUERN__OTHER_DTYPE, 1},  {"U64", QUERN__OTHER_DTYPE, 8},
    {"U32", QUERN__OTHER_DTYPE, 4},  {"U16", QUERN__OTHER_DTYPE, 2}, {"U8", QUERN__OTHER_DTYPE, 1},
    {"BOOL", QUERN__OTHER_DTYPE, 1},
};

/* What is known while one entry of the header is read. */
typedef struct entry {
    const struct element *element;
    bool has_shape, has_offsets;
    uint64_t begin, end; /* relative to the data */
    size_t at;           /* byte of the file where the entry's value begins */
} entry;

static int read_dtype(quern__json *j, const char *name, entry *e, quern_error *err)
{
    quern_str s;
    int rc;

    if (e->element)
        return quern__json_fail(j, err, "tensor %.*s: dtype twice", SHOWN, name);
    rc = quern__json_string(j, &s, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < QUERN__COUNT(elements); i++)
        if (quern__str_is(s, elements[i].name))
            e->element = &elements[i];
    if (!e->element)
        return quern__json_fail(j, err, "tensor %.*s: unknown dtype \"%.*s\"", SHOWN, name,
                                (int)QUERN__MIN(s.len, 32), s.ptr);
    return QUERN_OK;
}

static int read_shape(quern__json *j, quern__tensor *t, entry *e, quern_error *err)
{
    int rc;

    if (e->has_shape)
        return quern__json_fail(j, err, "tensor %.*s: shape twice", SHOWN, t->name);
    e->has_shape = true;
    rc = quern__json_enter_array(j, err);
    if (rc)
        return rc;
    while ((rc = quern__json_next_item(j, err)) == 1) {
        if (t->rank == QUERN__MAX_RANK)
            return quern__json_fail(j, err, "tensor %.*s: more than %d dimensions", SHOWN, t->name,
                                    QUERN__MAX_RANK);
        rc = quern__json_u64(j, &t->shape[t->rank], err);
        if (rc)
            return rc;
        t->rank++;
    }
    return rc;
}

static int read_offsets(quern__json *j, const char *name, entry *e, quern_error *err)
{
    uint64_t pair[2] = {0, 0};
    int n = 0, rc;

    if (e->has_offsets)
        return quern__json_fail(j, err, "tensor %.*s: data_offsets twice", SHOWN, name);
    e->has_offsets = true;
    rc = quern__json_enter_array(j, err);
    if (rc)
        return rc;
    while ((rc = quern__json_next_item(j, err)) == 1) {
        if (n == 2)
            return quern__json_fail(j, err, "tensor %.*s: more than two data_offsets", SHOWN, name);
        rc = quern__json_u64(j, &pair[n], err);
        if (rc)
            return rc;
        n++;
    }
    if (rc)
        return rc;
    if (n != 2)
        return quern__json_fail(j, err, "tensor %.*s: %d data_offsets, two wanted", SHOWN, name, n);
    e->begin = pair[0];
    e->end = pair[1];
    return QUERN_OK;
}

static int entry_fail(const quern__tensor *t, const entry *e, const char *file, const char *what,
                      quern_error *err)
{
    return quern__fail(err, QUERN_EFORMAT, (int64_t)e->at,
                       "%s: tensor %.*s: %s (described at byte %zu)", file, SHOWN, t->name, what,
                       e->at);
}

/* Shape, offsets and file size against each other; fills the rest of *t. */
static int settle(const quern__safetensors *f, size_t data_start, const char *file,
                  quern__tensor *t, const entry *e, quern_error *err)
{
    uint64_t count = 1, bytes, room = f->size - data_start;

    if (!e->element || !e->has_shape || !e->has_offsets)
        return entry_fail(t, e, file,
                          !e->element     ? "no dtype"
                          : !e->has_shape ? "no shape"
                                          : "no data_offsets",
                          err);
    for (uint32_t i = 0; i < t->rank; i++)
        if (!quern__mul_u64(count, t->shape[i], &count))
            return entry_fail(t, e, file, "shape overflows", err);
    if (!quern__mul_u64(count, e->element->size, &bytes))
        return entry_fail(t, e, file, "shape overflows", err);
    if (e->begin > e->end)
        return entry_fail(t, e, file, "data_offsets run backwards", err);
    if (e->end > room)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)e->at,
                           "%s: tensor %.*s: data ends at byte %llu of %llu: the file is torn or "
                           "its header wrong (described at byte %zu)",
                           file, SHOWN, t->name, (unsigned long long)e->end,
                           (unsigned long long)room, e->at);
    if (bytes != e->end - e->begin)
        return quern__fail(
            err, QUERN_EFORMAT, (int64_t)e->at,
            "%s: tensor %.*s: its shape needs %llu bytes, its data_offsets hold %llu "
            "(described at byte %zu)",
            file, SHOWN, t->name, (unsigned long long)bytes,
            (unsigned long long)(e->end - e->begin), e->at);
    t->dtype = e->element->dtype;
    t->offset = data_start + (size_t)e->begin;
    t->bytes = (size_t)bytes;
    t->count = (size_t)count;
    t->data = f->data + t->offset;
    if ((uintptr_t)t->data % e->element->size)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)t->offset,
                           "%s: tensor %.*s: data at byte %zu is not aligned to its %zu-byte "
                           "elements; save the file again with a current safetensors",
                           file, SHOWN, t->name, t->offset, e->element->size);
    return QUERN_OK;
}

static int read_entry(quern__safetensors *f, quern__json *j, size_t data_start, quern__tensor *t,
                      quern_error *err)
{
    entry e = {0};
    quern_str key;
    int rc;

    e.at = j->at;
    rc = quern__json_enter_object(j, err);
    if (rc)
        return rc;
    while ((rc = quern__json_next_key(j, &key, err)) == 1) {
        if (quern__str_is(key, "dtype"))
            rc = read_dtype(j, t->name, &e, err);
        else if (quern__str_is(key, "shape"))
            rc = read_shape(j, t, &e, err);
        else if (quern__str_is(key, "data_offsets"))
            rc = read_offsets(j, t->name, &e, err);
        else
            rc = quern__json_fail(j, err, "tensor %.*s: unknown field \"%.*s\"", SHOWN, t->name,
                                  (int)QUERN__MIN(key.len, 32), key.ptr);
        if (rc)
            return rc;
    }
    return rc ? rc : settle(f, data_start, j->name, t, &e, err);
}

/* Room for one more tensor; its name is copied, everything else zero. */
static int add_tensor(quern__safetensors *f, quern__json *j, quern_str name, quern__tensor **out,
                      quern_error *err)
{
    quern__tensor *t;

    if (name.len == 0 || name.len > MAX_NAME || memchr(name.ptr, 0, name.len))
        return quern__json_fail(j, err,
                                "a tensor's name is %zu bytes long or holds a NUL; 1 to %d bytes "
                                "without NUL wanted",
                                name.len, MAX_NAME);
    if (f->count == MAX_TENSORS)
        return quern__json_fail(j, err, "more than %d tensors", MAX_TENSORS);
    if (f->count == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 128;
        quern__tensor *bigger = quern__resize_array(f->tensors, cap, sizeof *bigger);
        if (!bigger)
            return quern__fail_memory(err, cap * sizeof *bigger);
        f->tensors = bigger;
        f->cap = cap;
    }
    t = &f->tensors[f->count];
    memset(t, 0, sizeof *t);
    t->name = quern__arena_copy(&f->names, name.ptr, name.len);
    if (!t->name)
        return quern__fail_memory(err, name.len + 1);
    f->count++;
    *out = t;
    return QUERN_OK;
}

/* Strings to strings, by the format; what they say is nobody's business here. */
static int read_metadata(quern__json *j, bool *seen, quern_error *err)
{
    quern_str s;
    int rc;

    if (*seen)
        return quern__json_fail(j, err, "__metadata__ twice");
    *seen = true;
    rc = quern__json_enter_object(j, err);
    if (rc)
        return rc;
    while ((rc = quern__json_next_key(j, &s, err)) == 1) {
        rc = quern__json_string(j, &s, err);
        if (rc)
            return rc;
    }
    return rc;
}

static int read_header(quern__safetensors *f, quern__json *j, size_t data_start, quern_error *err)
{
    bool metadata = false;
    quern_str key;
    int rc = quern__json_enter_object(j, err);

    if (rc)
        return rc;
    while ((rc = quern__json_next_key(j, &key, err)) == 1) {
        quern__tensor *t = NULL;
        if (quern__str_is(key, "__metadata__"))
            rc = read_metadata(j, &metadata, err);
        else if ((rc = add_tensor(f, j, key, &t, err)) == QUERN_OK)
            rc = read_entry(f, j, data_start, t, err);
        if (rc)
            return rc;
    }
    return rc ? rc : quern__json_end(j, err);
}

static int by_offset(const void *a, const void *b)
{
    const quern__tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes) /* an empty tensor lies before the one that begins there */
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
    const quern__tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* The tensors must tile the data: neither overlap nor hole, and nothing behind the last. */
static int check_tiling(const quern__safetensors *f, size_t data_start, const char *file,
                        quern_error *err)
{
    size_t at = data_start;

    for (size_t i = 0; i < f->count; i++) {
        const quern__tensor *t = &f->tensors[i];
        if (t->offset != at)
            return quern__fail(
                err, QUERN_EFORMAT, (int64_t)t->offset,
                "%s: tensor %.*s: data at byte %zu, %s byte %zu", file, SHOWN, t->name, t->offset,
                t->offset < at ? "overlapping the one that ends at" : "leaving a hole from", at);
        at += t->bytes;
    }
    if (at != f->size)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)at,
                           "%s: %zu bytes behind the last tensor %.*s, which ends at byte %zu",
                           file, f->size - at, SHOWN,
                           f->count ? f->tensors[f->count - 1].name : "(none)", at);
    return QUERN_OK;
}

static int check_names(const quern__safetensors *f, const char *file, quern_error *err)
{
    for (size_t i = 1; i < f->count; i++)
        if (strcmp(f->tensors[i - 1].name, f->tensors[i].name) == 0)
            return quern__fail(err, QUERN_EFORMAT, (int64_t)f->tensors[i].offset,
                               "%s: tensor %.*s: there are two of this name (bytes %zu and %zu)",
                               file, SHOWN, f->tensors[i].name, f->tensors[i - 1].offset,
                               f->tensors[i].offset);
    return QUERN_OK;
}

static int header_length(const quern__safetensors *f, const char *file, size_t *out,
                         quern_error *err)
{
    uint64_t n = 0;

    if (f->size < PREFIX)
        return quern__fail(
            err, QUERN_EFORMAT, 0,
            "%s: %zu bytes are too few for a safetensors file (byte 0: header length)", file,
            f->size);
    memcpy(&n, f->data, PREFIX);
    if (n > MAX_HEADER || n > f->size - PREFIX)
        return quern__fail(err, QUERN_EFORMAT, 0,
                           "%s: header length %llu at byte 0, but the file has %zu bytes and %d is "
                           "the limit: torn, or not a safetensors file",
                           file, (unsigned long long)n, f->size, MAX_HEADER);
    *out = (size_t)n;
    return QUERN_OK;
}

static int check_all(quern__safetensors *f, const char *file, quern_error *err)
{
    quern__json j;
    size_t header = 0, start;
    int rc = header_length(f, file, &header, err);

    if (rc)
        return rc;
    start = PREFIX + header;
    /* The reader begins at the prefix's end, so that the offsets it reports are those of the file. */
    quern__json_init(&j, (const char *)f->data, start, file);
    j.at = PREFIX;
    rc = read_header(f, &j, start, err);
    quern__json_dispose(&j);
    if (rc)
        return rc;
    if (f->count)
        qsort(f->tensors, f->count, sizeof *f->tensors, by_offset);
    rc = check_tiling(f, start, file, err);
    if (rc)
        return rc;
    if (f->count)
        qsort(f->tensors, f->count, sizeof *f->tensors, by_name);
    return check_names(f, file, err);
}

/* Takes the map over, also on failure. */
static int make(quern__safetensors **out, quern__map map, const void *data, size_t size,
                const char *name, quern_error *err)
{
    quern__safetensors *f = quern__calloc(1, sizeof *f);
    int rc;

    *out = NULL;
    if (!f) {
        quern__map_close(&map);
        return quern__fail_memory(err, sizeof *f);
    }
    f->map = map;
    f->data = data;
    f->size = size;
    quern__arena_init(&f->names, 0); /* bounded by the header it copies from */
    rc = check_all(f, name, err);
    if (rc) {
        quern__safetensors_free(f);
        return rc;
    }
    *out = f;
    return QUERN_OK;
}

int quern__safetensors_open(quern__safetensors **out, const char *path, quern_error *err)
{
    quern__map map = {0};
    int rc;

    *out = NULL;
    rc = quern__map_open(&map, path, err);
    if (rc)
        return rc;
    return make(out, map, map.data, map.size, path, err);
}

int quern__safetensors_parse(quern__safetensors **out, const void *data, size_t size,
                             const char *name, quern_error *err)
{
    return make(out, (quern__map){0}, data, size, name, err);
}

void quern__safetensors_free(quern__safetensors *f)
{
    if (!f)
        return;
    quern__arena_dispose(&f->names);
    quern__free(f->tensors);
    quern__map_close(&f->map);
    quern__free(f);
}

size_t quern__safetensors_count(const quern__safetensors *f)
{
    return f->count;
}

const quern__tensor *quern__safetensors_at(const quern__safetensors *f, size_t i)
{
    assert(i < f->count);
    return &f->tensors[i];
}

const quern__tensor *quern__safetensors_find(const quern__safetensors *f, const char *name)
{
    quern__tensor key = {.name = name};

    if (!f->count)
        return NULL;
    return bsearch(&key, f->tensors, f->count, sizeof key, by_name);
}

size_t quern__safetensors_size(const quern__safetensors *f)
{
    return f->size;
}

void quern__safetensors_forget(const quern__safetensors *f, const quern__tensor *t)
{
    if (f->map.data)
        quern__map_forget(&f->map, t->offset, t->bytes);
}

/* IEEE half to single in integers only, so that no floating-point mode of the caller's matters. */
static uint32_t half_bits(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, fraction = h & 0x3ff;

    if (exponent == 31)
        return sign | 0x7f800000u | fraction << 13;
    if (exponent)
        return sign | (exponent + 112) << 23 | fraction << 13;
    if (!fraction)
        return sign;
    exponent = 113; /* subnormal: every one is a normal single */
    while (!(fraction & 0x400)) {
        fraction <<= 1;
        exponent--;
    }
    return sign | exponent << 23 | (fraction & 0x3ff) << 13;
}

void quern__tensor_read_f32(const quern__tensor *t, size_t first, size_t n, float *out)
{
    const uint16_t *narrow = t->data;

    assert(t->dtype != QUERN__OTHER_DTYPE && first <= t->count && n <= t->count - first);
    if (n == 0)
        return;
    if (t->dtype == QUERN__F32) {
        memcpy(out, (const float *)t->data + first, n * sizeof *out);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t v = narrow[first + i];
        uint32_t bits = t->dtype == QUERN__BF16 ? (uint32_t)v << 16 : half_bits(v);
        memcpy(&out[i], &bits, sizeof bits);
    }
}
