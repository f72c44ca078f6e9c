/*
 * gguf.c — llama.cpp's file of a BERT: magic, version, counts; key-values; a line for each tensor; data,
 * aligned. Tensors of fp32, fp16, bf16 and q8_0 (32 values to a half-precision scale); a file of any other
 * quantisation is refused by its name. Names of tensors are translated to the published ones.
 *
 * Only the weights are taken: settings and vocabulary come from the JSON files beside it, as for every other
 * format, so that the same model gives the same ids. What a key-value says is skipped but for the
 * architecture, the alignment, and a causal mask, which would change every vector.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/compiler.h"
#include "format/weights_build.h"

enum {
    MAX_DIMENSIONS = 4,
    MAX_ALIGNMENT = 1 << 16,
    MAX_NAME = 128,
    SCALED = 32, /* values that share a scale in q8_0 */
    SCALED_BYTES = 34
};

enum value_type { BOOL = 7, STRING = 8, ARRAY = 9, VALUE_TYPES = 13 };
/* Bytes of a value, by its type; 0: has a length of its own. */
static const uint8_t widths[VALUE_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static const struct tensor_type {
    uint32_t number;
    const char *name;
    int dtype; /* 0: not read */
} types[] = {
    {0, "F32", QUERN__F32},   {1, "F16", QUERN__F16}, {30, "BF16", QUERN__BF16},
    {8, "Q8_0", QUERN__Q8_0}, {2, "Q4_0", 0},         {3, "Q4_1", 0},
    {6, "Q5_0", 0},           {7, "Q5_1", 0},         {9, "Q8_1", 0},
    {10, "Q2_K", 0},          {11, "Q3_K", 0},        {12, "Q4_K", 0},
    {13, "Q5_K", 0},          {14, "Q6_K", 0},        {15, "Q8_K", 0},
    {28, "F64", 0},
};

/* llama.cpp's names, to "bert" as published; "blk.N." in front of those of a layer. */
static const struct name_pair {
    const char *theirs, *ours;
} layer_names[] =
    {
        {"attn_q", "attention.self.query"},
        {"attn_k", "attention.self.key"},
        {"attn_v", "attention.self.value"},
        {"attn_output", "attention.output.dense"},
        {"attn_output_norm", "attention.output.LayerNorm"},
        {"ffn_up", "intermediate.dense"},
        {"ffn_down", "output.dense"},
        {"layer_output_norm", "output.LayerNorm"},
},
  names[] = {
      {"token_embd", "embeddings.word_embeddings"},
      {"position_embd", "embeddings.position_embeddings"},
      {"token_types", "embeddings.token_type_embeddings"},
      {"token_embd_norm", "embeddings.LayerNorm"},
};

typedef struct reader {
    quern__weights *w;
    const quern__weights_part *p;
    size_t at;
    uint64_t alignment;
    bool bert, aligned; /* those keys were seen */
    quern_error *err;
} reader;

static int fail(const reader *r, size_t at, const char *what)
{
    return quern__fail(r->err, QUERN_EFORMAT, (int64_t)at, "%s: %s, at byte %zu", r->p->name, what,
                       at);
}

static size_t left(const reader *r)
{
    return r->p->size - r->at;
}

static int number(reader *r, size_t width, uint64_t *out)
{
    *out = 0;
    if (left(r) < width)
        return fail(r, r->at, "the file is torn");
    memcpy(out, r->p->data + r->at, width);
    r->at += width;
    return QUERN_OK;
}

static int text(reader *r, quern_str *out)
{
    uint64_t n;
    int rc = number(r, 8, &n);
    if (rc == QUERN_OK && n > left(r))
        rc = fail(r, r->at - 8, "a text that is longer than the file");
    if (rc)
        return rc;
    *out = (quern_str){(const char *)r->p->data + r->at, (size_t)n};
    r->at += (size_t)n;
    return QUERN_OK;
}

static bool is(quern_str s, const char *what)
{
    return s.len == strlen(what) && memcmp(s.ptr, what, s.len) == 0;
}

/* ---- key-values ---- */

static int skip_value(reader *r, uint64_t type);

static int skip_array(reader *r)
{
    uint64_t type, n = 0;
    int rc = number(r, 4, &type);
    if (rc == QUERN_OK)
        rc = number(r, 8, &n);
    if (rc == QUERN_OK && (type >= VALUE_TYPES || type == ARRAY))
        rc = fail(r, r->at - 12, "an array of an unknown type");
    if (rc == QUERN_OK && n > left(r) / (type == STRING ? 8 : widths[type]))
        rc = fail(r, r->at - 8, "an array that is longer than the file");
    if (rc)
        return rc;
    if (type != STRING) {
        r->at += (size_t)n * widths[type];
        return QUERN_OK;
    }
    for (uint64_t i = 0; rc == QUERN_OK && i < n; i++)
        rc = skip_value(r, STRING);
    return rc;
}

static int skip_value(reader *r, uint64_t type)
{
    quern_str ignored;
    uint64_t number_ignored;
    if (type >= VALUE_TYPES)
        return fail(r, r->at, "a value of an unknown type");
    if (type == STRING)
        return text(r, &ignored);
    return type == ARRAY ? skip_array(r) : number(r, widths[type], &number_ignored);
}

static int read_alignment(reader *r, uint64_t type)
{
    int rc = type == 4 && !r->aligned ? number(r, 4, &r->alignment)
                                      : fail(r, r->at, "the alignment twice, or no number");
    if (rc == QUERN_OK &&
        (r->alignment < 8 || r->alignment > MAX_ALIGNMENT || (r->alignment & (r->alignment - 1))))
        rc = fail(r, r->at - 4, "an alignment that is none");
    r->aligned = true;
    return rc;
}

static int read_pair(reader *r)
{
    quern_str key, value = {"", 0};
    uint64_t type = 0, causal = 0;
    int rc = text(r, &key);
    if (rc == QUERN_OK)
        rc = number(r, 4, &type);
    if (rc)
        return rc;
    if (is(key, "general.alignment"))
        return read_alignment(r, type);
    if (is(key, "bert.attention.causal") && type == BOOL) {
        rc = number(r, 1, &causal);
        return rc || !causal ? rc : fail(r, r->at - 1, "a causal mask, which this encoder has not");
    }
    if (!is(key, "general.architecture"))
        return skip_value(r, type);
    const size_t at = r->at;
    rc = type == STRING && !r->bert ? text(r, &value)
                                    : fail(r, at, "the architecture twice, or no text");
    if (rc == QUERN_OK && !is(value, "bert"))
        rc = quern__fail(r->err, QUERN_EUNSUPPORTED, (int64_t)at,
                         "%s: architecture \"%.*s\" is not supported, at byte %zu; known: bert",
                         r->p->name, (int)QUERN__MIN(value.len, 40), value.ptr, at);
    r->bert = true;
    return rc;
}

/* ---- tensors ---- */

/* The published name of theirs; false: it is none of a BERT's. */
static bool translate(quern_str theirs, char *out, size_t size)
{
    char stem[MAX_NAME];
    unsigned layer = 0;
    int used = 0;
    if (theirs.len >= sizeof stem)
        return false;
    memcpy(stem, theirs.ptr, theirs.len);
    stem[theirs.len] = 0;
    char *dot = strrchr(stem, '.');
    if (strlen(stem) != theirs.len || !dot ||
        (strcmp(dot, ".weight") != 0 && strcmp(dot, ".bias") != 0))
        return false;
    const char *ending = theirs.ptr + (dot - stem);
    const int ending_n = (int)(theirs.len - (size_t)(dot - stem));
    *dot = 0;
    if (strncmp(stem, "blk.", 4) != 0) {
        for (size_t i = 0; i < QUERN__COUNT(names); i++)
            if (strcmp(stem, names[i].theirs) == 0)
                return snprintf(out, size, "%s%.*s", names[i].ours, ending_n, ending) > 0;
        return false;
    }
    for (used = 4; stem[used] >= '0' && stem[used] <= '9' && used < 8; used++)
        layer = layer * 10 + (unsigned)(stem[used] - '0');
    if (used == 4 || stem[used] != '.' || (stem[4] == '0' && used > 5))
        return false;
    for (size_t i = 0; i < QUERN__COUNT(layer_names); i++)
        if (strcmp(stem + used + 1, layer_names[i].theirs) == 0)
            return snprintf(out, size, "encoder.layer.%u.%s%.*s", layer, layer_names[i].ours,
                            ending_n, ending) > 0;
    return false;
}

static int tensor_fail(const reader *r, quern_str name, size_t at, int status, const char *what,
                       const char *more)
{
    return quern__fail(r->err, status, (int64_t)at, "%s: tensor %.*s %s%s, at byte %zu", r->p->name,
                       (int)QUERN__MIN(name.len, QUERN__SHOWN), name.ptr, what, more, at);
}

static int read_type(reader *r, quern_str name, int *dtype)
{
    char unknown[24];
    uint64_t number_of = 0;
    int rc = number(r, 4, &number_of);
    if (rc)
        return rc;
    snprintf(unknown, sizeof unknown, "number %llu", (unsigned long long)number_of);
    const char *called = unknown;
    for (size_t i = 0; i < QUERN__COUNT(types); i++) {
        if (types[i].number != number_of)
            continue;
        if (types[i].dtype) {
            *dtype = types[i].dtype;
            return QUERN_OK;
        }
        called = types[i].name;
    }
    return tensor_fail(r, name, r->at - 4, QUERN_EUNSUPPORTED,
                       "has a type that is not read (F32, F16, BF16 and Q8_0 are): ", called);
}

/* Shape and type to bytes; t->offset is relative to the data still. */
static int read_tensor(reader *r)
{
    quern_str name;
    char ours[2 * MAX_NAME];
    uint64_t dimensions = 0, count = 1, bytes = 0, offset = 0;
    const size_t at = r->at;
    quern__tensor *t = NULL;
    int rc = text(r, &name), dtype = 0;
    if (rc == QUERN_OK)
        rc = number(r, 4, &dimensions);
    if (rc)
        return rc;
    if (dimensions > MAX_DIMENSIONS)
        return tensor_fail(r, name, at, QUERN_EFORMAT, "has too many dimensions", "");
    if (translate(name, ours, sizeof ours))
        rc = quern__weights_add(r->w, (quern_str){ours, strlen(ours)}, at, &t, r->err);
    else if (name.len >= 3 && memcmp(name.ptr, "cls", 3) == 0) /* a head, of no use here */
        rc = quern__weights_add(r->w, name, at, &t, r->err);
    else
        rc = tensor_fail(r, name, at, QUERN_EUNSUPPORTED, "is none of a BERT encoder's", "");
    if (rc)
        return rc;
    t->rank = (uint32_t)dimensions;
    for (uint32_t i = t->rank; rc == QUERN_OK && i-- > 0;) { /* the fastest first */
        rc = number(r, 8, &t->shape[i]);
        if (rc == QUERN_OK && !quern__mul_u64(count, t->shape[i], &count))
            rc = tensor_fail(r, name, at, QUERN_EFORMAT, "has a shape that overflows", "");
    }
    if (rc == QUERN_OK)
        rc = read_type(r, name, &dtype);
    if (rc == QUERN_OK)
        rc = number(r, 8, &offset);
    if (rc)
        return rc;
    const bool scaled = dtype == QUERN__Q8_0;
    if (scaled && (!t->rank || t->shape[t->rank - 1] % SCALED))
        return tensor_fail(r, name, at, QUERN_EFORMAT, "has rows that are no multiple of 32", "");
    if (!quern__mul_u64(scaled ? count / SCALED : count,
                        scaled ? SCALED_BYTES : (dtype == QUERN__F32 ? 4 : 2), &bytes) ||
        bytes > r->p->size || offset > r->p->size || offset % r->alignment)
        return tensor_fail(r, name, at, QUERN_EFORMAT,
                           "is larger than the file, or not at a multiple of the alignment", "");
    t->dtype = dtype;
    t->count = (size_t)count;
    t->bytes = (size_t)bytes;
    t->offset = (size_t)offset;
    return QUERN_OK;
}

static int by_offset(const void *a, const void *b)
{
    const quern__tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The tensors lie one behind another, with no more than padding between. */
static int settle(reader *r, size_t first)
{
    const uint64_t mask = r->alignment - 1, start = (r->at + mask) & ~mask;
    uint64_t at = 0;
    quern__weights *w = r->w;
    if (start > r->p->size)
        return fail(r, r->at, "the file is torn");
    if (w->count > first)
        qsort(w->tensors + first, w->count - first, sizeof *w->tensors, by_offset);
    for (size_t i = first; i < w->count; i++) {
        quern__tensor *t = &w->tensors[i];
        if (t->offset != at || t->bytes > r->p->size - start - at)
            return quern__fail(r->err, QUERN_EFORMAT, (int64_t)(start + at),
                               "%s: tensor %.*s at byte %llu: %s", r->p->name, QUERN__SHOWN,
                               t->name, (unsigned long long)(start + t->offset),
                               t->offset != at ? "a gap or an overlap" : "the file is torn");
        t->offset = (size_t)(start + at);
        t->data = r->p->data + t->offset;
        at = (at + t->bytes + mask) & ~mask;
        if (at > r->p->size - start)
            at = r->p->size - start; /* the last one need not be padded */
    }
    return start + at == r->p->size ? QUERN_OK
                                    : fail(r, (size_t)(start + at), "bytes behind the last tensor");
}

int quern__gguf_read(quern__weights *w, const quern__weights_part *p, quern_error *err)
{
    reader r = {.w = w, .p = p, .alignment = 32, .err = err};
    uint64_t magic, version, tensors, pairs;
    const size_t first = w->count;
    int rc = number(&r, 4, &magic);
    if (rc == QUERN_OK && magic != 0x46554747)
        return fail(&r, 0, "no GGUF file");
    if (rc == QUERN_OK)
        rc = number(&r, 4, &version);
    if (rc == QUERN_OK && (version < 2 || version > 3))
        return quern__fail(err, QUERN_EUNSUPPORTED, 4,
                           "%s: GGUF version %llu at byte 4; 2 and 3 are read", p->name,
                           (unsigned long long)version);
    if (rc == QUERN_OK)
        rc = number(&r, 8, &tensors);
    if (rc == QUERN_OK)
        rc = number(&r, 8, &pairs);
    for (uint64_t i = 0; rc == QUERN_OK && i < pairs; i++)
        rc = read_pair(&r);
    if (rc == QUERN_OK && !r.bert)
        rc = fail(&r, r.at, "no general.architecture");
    for (uint64_t i = 0; rc == QUERN_OK && i < tensors; i++)
        rc = read_tensor(&r);
    return rc ? rc : settle(&r, first);
}
