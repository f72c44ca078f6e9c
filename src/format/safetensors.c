/*
 * safetensors.c — the published weights: u64 little-endian header length N, N bytes of JSON
 * {"name":{"dtype":"F32","shape":[…],"data_offsets":[begin,end]},…,"__metadata__":{…}}, then data.
 * Every claim of the header is checked once; nothing of the data is read here.
 *
 * Checked: N inside the file and <= 100 MB, strict JSON, known dtype, shape product x size = end - begin
 * (overflow-checked), inside the data, aligned to the type, no overlap, no hole, no trailing bytes.
 * Rejected: reading tensor by tensor on demand (a torn file would show in the middle of a forward pass),
 * and tolerating gaps or unaligned data as some readers do (a gap is how a wrong offset looks, and
 * published files have none).
 */
#include "format/weights_build.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/compiler.h"
#include "base/json.h"

enum {
    PREFIX = 8,                     /* the u64 in front of the header */
    MAX_HEADER = 100 * 1000 * 1000, /* the limit of the format's own reader */
    SHOWN = QUERN__SHOWN
};

/* The file being read: its tensors are those of the set from `first` on. */
typedef struct reader {
    quern__weights *w;
    const uint8_t *data;
    size_t size, first;
} reader;

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
static int settle(const reader *f, size_t data_start, const char *file, quern__tensor *t,
                  const entry *e, quern_error *err)
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

static int read_entry(reader *f, quern__json *j, size_t data_start, quern__tensor *t,
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

static int read_header(reader *f, quern__json *j, size_t data_start, quern_error *err)
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
        else if ((rc = quern__weights_add(f->w, key, j->at, &t, err)) == QUERN_OK)
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

/* The tensors must tile the data: neither overlap nor hole, and nothing behind the last. */
static int check_tiling(const reader *f, size_t data_start, const char *file, quern_error *err)
{
    size_t at = data_start;

    for (size_t i = f->first; i < f->w->count; i++) {
        const quern__tensor *t = &f->w->tensors[i];
        if (t->offset != at)
            return quern__fail(
                err, QUERN_EFORMAT, (int64_t)t->offset,
                "%s: tensor %.*s: data at byte %zu, %s byte %zu", file, SHOWN, t->name, t->offset,
                t->offset < at ? "overlapping the one that ends at" : "leaving a hole from", at);
        at += t->bytes;
    }
    if (at != f->size)
        return quern__fail(
            err, QUERN_EFORMAT, (int64_t)at,
            "%s: %zu bytes behind the last tensor %.*s, which ends at byte %zu", file, f->size - at,
            SHOWN, f->w->count > f->first ? f->w->tensors[f->w->count - 1].name : "(none)", at);
    return QUERN_OK;
}

static int header_length(const reader *f, const char *file, size_t *out, quern_error *err)
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

int quern__safetensors_read(quern__weights *w, const quern__weights_part *p, quern_error *err)
{
    reader f = {w, p->data, p->size, w->count};
    quern__json j;
    size_t header = 0, start;
    int rc = header_length(&f, p->name, &header, err);

    if (rc)
        return rc;
    start = PREFIX + header;
    /* The reader begins at the prefix's end, so that the offsets it reports are those of the file. */
    quern__json_init(&j, (const char *)f.data, start, p->name);
    j.at = PREFIX;
    rc = read_header(&f, &j, start, err);
    quern__json_dispose(&j);
    if (rc)
        return rc;
    if (w->count > f.first)
        qsort(w->tensors + f.first, w->count - f.first, sizeof *w->tensors, by_offset);
    return check_tiling(&f, start, p->name, err);
}
