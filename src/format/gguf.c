/*
 * gguf.c — llama.cpp's file of a BERT: magic, version, counts; key-values; a line for each tensor; data,
 * aligned. Tensors of fp32, fp16, bf16 and q8_0 (32 values to a half-precision scale); a file of any other
 * quantisation is refused by its name. Names of tensors are translated to the published ones.
 *
 * Only the weights are taken here: settings and vocabulary come from the JSON files beside it, as for every
 * other format, so that the same model gives the same ids; for a file that stands alone gguf_texts.c reads
 * them. What a key-value says is skipped but for the architecture, the alignment, and a causal mask, which
 * would change every vector.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/compiler.h"
#include "base/json.h"
#include "format/gguf_reader.h"
#include "format/weights_build.h"

enum {
    MAX_DIMENSIONS = 4,
    MAX_ALIGNMENT = 1 << 16,
    MAX_NAME = 128,
    SCALED = 32, /* values that share a scale in q8_0 */
    SCALED_BYTES = 34
};

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
    quern__gguf_reader in;
    quern__weights *w;
    uint64_t alignment;
    bool bert, aligned; /* those keys were seen */
} reader;

/* ---- key-values ---- */

static int read_alignment(reader *r, uint64_t type)
{
    int rc = type == QUERN__GGUF_U32 && !r->aligned
                 ? quern__gguf_number(&r->in, 4, &r->alignment)
                 : quern__gguf_fail(&r->in, r->in.at, "the alignment twice, or no number");
    if (rc == QUERN_OK &&
        (r->alignment < 8 || r->alignment > MAX_ALIGNMENT || (r->alignment & (r->alignment - 1))))
        rc = quern__gguf_fail(&r->in, r->in.at - 4, "an alignment that is none");
    r->aligned = true;
    return rc;
}

static int read_pair(reader *r)
{
    quern_str key, value = {"", 0};
    uint64_t type = 0, causal = 0;
    int rc = quern__gguf_text(&r->in, &key);
    if (rc == QUERN_OK)
        rc = quern__gguf_number(&r->in, 4, &type);
    if (rc)
        return rc;
    if (quern__str_is(key, "general.alignment"))
        return read_alignment(r, type);
    if (quern__str_is(key, "bert.attention.causal") && type == QUERN__GGUF_BOOL) {
        rc = quern__gguf_number(&r->in, 1, &causal);
        return rc || !causal ? rc
                             : quern__gguf_fail(&r->in, r->in.at - 1,
                                                "a causal mask, which this encoder has not");
    }
    if (!quern__str_is(key, "general.architecture"))
        return quern__gguf_skip(&r->in, type);
    const size_t at = r->in.at;
    rc = type == QUERN__GGUF_STRING && !r->bert
             ? quern__gguf_text(&r->in, &value)
             : quern__gguf_fail(&r->in, at, "the architecture twice, or no text");
    if (rc == QUERN_OK && !quern__str_is(value, "bert"))
        rc = quern__fail(r->in.err, QUERN_EUNSUPPORTED, (int64_t)at,
                         "%s: architecture \"%.*s\" is not supported, at byte %zu; known: bert",
                         r->in.p->name, (int)QUERN__MIN(value.len, 40), value.ptr, at);
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
    return quern__fail(r->in.err, status, (int64_t)at, "%s: tensor %.*s %s%s, at byte %zu",
                       r->in.p->name, (int)QUERN__MIN(name.len, QUERN__SHOWN), name.ptr, what, more,
                       at);
}

static int read_type(reader *r, quern_str name, int *dtype)
{
    char unknown[24];
    uint64_t number_of = 0;
    int rc = quern__gguf_number(&r->in, 4, &number_of);
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
    return tensor_fail(r, name, r->in.at - 4, QUERN_EUNSUPPORTED,
                       "has a type that is not read (F32, F16, BF16 and Q8_0 are): ", called);
}

/* Shape and type to bytes; t->offset is relative to the data still. */
static int read_tensor(reader *r)
{
    quern_str name;
    char ours[2 * MAX_NAME];
    uint64_t dimensions = 0, count = 1, bytes = 0, offset = 0;
    const size_t at = r->in.at;
    quern__tensor *t = NULL;
    int rc = quern__gguf_text(&r->in, &name), dtype = 0;
    if (rc == QUERN_OK)
        rc = quern__gguf_number(&r->in, 4, &dimensions);
    if (rc)
        return rc;
    if (dimensions > MAX_DIMENSIONS)
        return tensor_fail(r, name, at, QUERN_EFORMAT, "has too many dimensions", "");
    if (translate(name, ours, sizeof ours))
        rc = quern__weights_add(r->w, (quern_str){ours, strlen(ours)}, at, &t, r->in.err);
    else if (name.len >= 3 && memcmp(name.ptr, "cls", 3) == 0) /* a head, of no use here */
        rc = quern__weights_add(r->w, name, at, &t, r->in.err);
    else
        rc = tensor_fail(r, name, at, QUERN_EUNSUPPORTED, "is none of a BERT encoder's", "");
    if (rc)
        return rc;
    t->rank = (uint32_t)dimensions;
    for (uint32_t i = t->rank; rc == QUERN_OK && i-- > 0;) { /* the fastest first */
        rc = quern__gguf_number(&r->in, 8, &t->shape[i]);
        if (rc == QUERN_OK && !quern__mul_u64(count, t->shape[i], &count))
            rc = tensor_fail(r, name, at, QUERN_EFORMAT, "has a shape that overflows", "");
    }
    if (rc == QUERN_OK)
        rc = read_type(r, name, &dtype);
    if (rc == QUERN_OK)
        rc = quern__gguf_number(&r->in, 8, &offset);
    if (rc)
        return rc;
    const bool scaled = dtype == QUERN__Q8_0;
    if (scaled && (!t->rank || t->shape[t->rank - 1] % SCALED))
        return tensor_fail(r, name, at, QUERN_EFORMAT, "has rows that are no multiple of 32", "");
    if (!quern__mul_u64(scaled ? count / SCALED : count,
                        scaled ? SCALED_BYTES : (dtype == QUERN__F32 ? 4 : 2), &bytes) ||
        bytes > r->in.p->size || offset > r->in.p->size || offset % r->alignment)
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
    const uint64_t mask = r->alignment - 1, start = (r->in.at + mask) & ~mask;
    uint64_t at = 0;
    quern__weights *w = r->w;
    if (start > r->in.p->size)
        return quern__gguf_fail(&r->in, r->in.at, "the file is torn");
    if (w->count > first)
        qsort(w->tensors + first, w->count - first, sizeof *w->tensors, by_offset);
    for (size_t i = first; i < w->count; i++) {
        quern__tensor *t = &w->tensors[i];
        if (t->offset != at || t->bytes > r->in.p->size - start - at)
            return quern__fail(r->in.err, QUERN_EFORMAT, (int64_t)(start + at),
                               "%s: tensor %.*s at byte %llu: %s", r->in.p->name, QUERN__SHOWN,
                               t->name, (unsigned long long)(start + t->offset),
                               t->offset != at ? "a gap or an overlap" : "the file is torn");
        t->offset = (size_t)(start + at);
        t->data = r->in.p->data + t->offset;
        at = (at + t->bytes + mask) & ~mask;
        if (at > r->in.p->size - start)
            at = r->in.p->size - start; /* the last one need not be padded */
    }
    return start + at == r->in.p->size
               ? QUERN_OK
               : quern__gguf_fail(&r->in, (size_t)(start + at), "bytes behind the last tensor");
}

int quern__gguf_read(quern__weights *w, const quern__weights_part *p, quern_error *err)
{
    reader r = {.in = {p, 0, err}, .w = w, .alignment = 32};
    uint64_t tensors, pairs;
    const size_t first = w->count;
    int rc = quern__gguf_begin(&r.in, &tensors, &pairs);
    for (uint64_t i = 0; rc == QUERN_OK && i < pairs; i++)
        rc = read_pair(&r);
    if (rc == QUERN_OK && !r.bert)
        rc = quern__gguf_fail(&r.in, r.in.at, "no general.architecture");
    for (uint64_t i = 0; rc == QUERN_OK && i < tensors; i++)
        rc = read_tensor(&r);
    return rc ? rc : settle(&r, first);
}
