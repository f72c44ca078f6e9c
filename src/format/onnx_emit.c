/*
 * onnx_emit.c — from tags to tensors: what the walk found at each place, under the published name of that place. Where a tensor
 * still has a published name, it must be the one that the walk found.
 */
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/json.h"
#include "format/onnx_walk.h"

typedef quern__walk walk;
typedef quern__onnx_product product;

/* Where a published name begins in an exporter's; NULL: nowhere. */
static const char *published(quern_str name, size_t *n)
{
    static const char *const begins[] = {"embeddings.", "encoder.layer."};
    for (size_t at = 0; at < name.len; at++)
        for (size_t i = 0; i < QUERN__COUNT(begins); i++) {
            const size_t len = strlen(begins[i]);
            if (name.len - at > len && memcmp(name.ptr + at, begins[i], len) == 0) {
                *n = name.len - at;
                return name.ptr + at;
            }
        }
    return NULL;
}

/* Where a stored tensor's bytes are: in this file, or in one beside it. Trouble, or NULL. */
const char *quern__place_of(const walk *k, const quern__onnx_tensor *from, size_t width,
                            const void **data, uint32_t *part)
{
    const quern__weights_part *p = k->p;
    if (from->location.ptr) {
        const uint32_t last = k->w->part_count - 1;
        const char *leaf = NULL;
        uint32_t i = 0;
        for (; i < last; i++) {
            p = &k->w->parts[i];
            leaf = strrchr(p->name, '/');
            if (quern__str_is(from->location, leaf ? leaf + 1 : p->name))
                break;
        }
        if (i == last)
            return "has its data in another file, which is not at hand";
    }
    const uint64_t span =
        from->pitch ? (from->shape[0] - 1) * from->pitch + from->shape[1] : from->count;
    if (from->offset > p->size || span > (p->size - from->offset) / width)
        return "lies behind the end of its file";
    *data = p->data + from->offset;
    *part = (uint32_t)(p - k->w->parts);
    return NULL;
}

/* Zeros that are numbers of any length there, as bytes. */
static const char *unpack_zeros(walk *k, const quern__onnx_tensor *zero, quern__tensor *t)
{
    const bool is_unsigned = zero->type == QUERN__ONNX_UINT8;
    const quern__numbers *n = quern__onnx_is_inside(&k->f, zero)
                                  ? quern__numbers_load(&k->room, zero, k->f.data + zero->offset)
                                  : NULL;
    uint8_t *bytes = n ? quern__arena_alloc(&k->w->names, n->count) : NULL;
    k->room.full |= n && !bytes;
    if (!bytes)
        return "has zeros that cannot be read";
    for (size_t i = 0; i < n->count; i++) {
        const double v = quern__number_at(n, i);
        if (!(v >= (is_unsigned ? 0 : -128) && v <= (is_unsigned ? 255 : 127)))
            return "has a zero that is no code";
        bytes[i] = (uint8_t)(int)v;
    }
    t->zeros = bytes;
    return NULL;
}

/* What a tensor of codes is less and times. */
static const char *place_codes(walk *k, const quern__onnx_tensor *from, quern__tensor *t)
{
    const quern__onnx_tensor *scale = &k->f.tensors[from->scale];
    uint32_t part;
    const char *trouble = quern__place_of(k, scale, sizeof(float), &t->scales, &part);
    if (!trouble && from->zero >= 0 && k->f.tensors[from->zero].varints)
        trouble = unpack_zeros(k, &k->f.tensors[from->zero], t);
    else if (!trouble && from->zero >= 0)
        trouble = quern__place_of(k, &k->f.tensors[from->zero], 1, &t->zeros, &part);
    t->scale_count = (uint32_t)scale->count;
    t->by_row = from->by_row;
    t->is_unsigned = from->type == QUERN__ONNX_UINT8;
    return trouble;
}

int quern__tensor_fail(const walk *k, const quern__onnx_tensor *t, const char *name,
                       const char *trouble)
{
    return quern__fail(
        k->err, QUERN_EUNSUPPORTED, (int64_t)t->at, "%s: tensor %.*s (%s) %s, at byte %zu",
        k->p->name, (int)QUERN__MIN(t->name.len, QUERN__SHOWN), t->name.ptr, name, trouble, t->at);
}

static int emit(walk *k, const char *name, int64_t index, bool transposed)
{
    const quern__onnx_tensor *from = &k->f.tensors[index];
    const size_t width = from->dtype == QUERN__F32 ? 4 : from->dtype == QUERN__CODES ? 1 : 2;
    const char *trouble = from->trouble;
    char room[QUERN__TENSOR_NAME + 8];
    quern__tensor *t, made = {0};
    size_t n = 0;
    const char *called = from->sliced ? NULL : published(from->name, &n);
    if (called) {
        const quern_str now = quern__tensor_name((quern_str){called, n}, room);
        const size_t same =
            strlen(name); /* what was made of codes has an ending of the exporter's */
        if (!quern__str_is(now, name) &&
            !(from->derived && now.len > same && memcmp(now.ptr, name, same) == 0 &&
              now.ptr[same] == '_'))
            trouble = "stands where the graph wants another";
    }
    if (!trouble)
        trouble = quern__place_of(k, from, width, &made.data, &made.part);
    if (!trouble && from->dtype == QUERN__CODES)
        trouble = place_codes(k, from, &made);
    if (k->room.full)
        return quern__fail_memory(k->err, from->count);
    if (trouble)
        return quern__tensor_fail(k, from, name, trouble);
    int rc = quern__weights_add(k->w, (quern_str){name, strlen(name)}, from->at, &t, k->err);
    if (rc)
        return rc;
    made.name = t->name;
    *t = made;
    t->dtype = from->dtype;
    t->rank = from->rank;
    memcpy(t->shape, from->shape, sizeof t->shape);
    t->transposed = transposed;
    t->pitch = (size_t)from->pitch;
    if (transposed) {
        t->shape[0] = from->shape[1];
        t->shape[1] = from->shape[0];
    }
    t->offset = from->offset;
    t->bytes = from->bytes;
    t->count = (size_t)from->count;
    return QUERN_OK;
}

static int emit_norm(walk *k, const char *where, uint32_t index)
{
    char name[96];
    snprintf(name, sizeof name, "%sLayerNorm.weight", where);
    int rc = emit(k, name, k->hiddens[index].gamma, false);
    snprintf(name, sizeof name, "%sLayerNorm.bias", where);
    return rc ? rc : emit(k, name, k->hiddens[index].beta, false);
}

/* A product with its bias, as layer's `what`. MatMul has its matrix input by output. */
static int emit_product(walk *k, uint32_t layer, const char *what, uint32_t index)
{
    char name[96];
    const product *p = &k->products[index];
    snprintf(name, sizeof name, "encoder.layer.%u.%s.weight", layer, what);
    int rc = emit(k, name, p->weight, !p->turned);
    snprintf(name, sizeof name, "encoder.layer.%u.%s.bias", layer, what);
    return rc ? rc : emit(k, name, p->bias, false);
}

static bool is_hidden(const walk *k, uint32_t product_index, uint32_t hidden_index)
{
    const quern__tag from = k->products[product_index].from;
    return from.kind == QUERN__HIDDEN && from.a == hidden_index;
}

/* Hidden states 2 layer, + 1, + 2 and the six products between; false: they are no layer. */
static bool is_layer(const walk *k, uint32_t layer, const product **out, const product **down)
{
    const uint32_t first = 2 * layer, one = k->hiddens[first + 1].norm_of,
                   two = k->hiddens[first + 2].norm_of;
    if (!one || !two || k->sums[one - 1].beside != first || k->sums[two - 1].beside != first + 1)
        return false;
    *out = &k->products[k->sums[one - 1].product];
    *down = &k->products[k->sums[two - 1].product];
    const quern__tag from = (*out)->from;
    return from.kind == QUERN__CONTEXT && is_hidden(k, from.a, first) &&
           is_hidden(k, from.b, first) && is_hidden(k, from.c, first) &&
           (*down)->from.kind == QUERN__ACTIVE && is_hidden(k, (*down)->from.a, first + 1);
}

static int emit_layer(walk *k, uint32_t layer)
{
    static const char *const parts[3] = {"attention.self.query", "attention.self.key",
                                         "attention.self.value"};
    const product *out, *down;
    char where[64];
    if (!is_layer(k, layer, &out, &down))
        return quern__fail(k->err, QUERN_EUNSUPPORTED, layer,
                           "%s: hidden states %u to %u are no encoder's layer (byte 0)", k->p->name,
                           2 * layer, 2 * layer + 2);
    const uint32_t qkv[3] = {out->from.a, out->from.b, out->from.c};
    int rc = QUERN_OK;
    for (uint32_t i = 0; rc == QUERN_OK && i < 3; i++)
        rc = emit_product(k, layer, parts[i], qkv[i]);
    if (rc == QUERN_OK)
        rc = emit_product(k, layer, "attention.output.dense", (uint32_t)(out - k->products));
    if (rc == QUERN_OK)
        rc = emit_product(k, layer, "intermediate.dense", down->from.a);
    if (rc == QUERN_OK)
        rc = emit_product(k, layer, "output.dense", (uint32_t)(down - k->products));
    snprintf(where, sizeof where, "encoder.layer.%u.attention.output.", layer);
    if (rc == QUERN_OK)
        rc = emit_norm(k, where, 2 * layer + 1);
    snprintf(where, sizeof where, "encoder.layer.%u.output.", layer);
    return rc ? rc : emit_norm(k, where, 2 * layer + 2);
}

/* An exporter has added the one token type to the positions: its table is zeros. */
static int emit_no_types(walk *k)
{
    const quern__onnx_tensor *words = &k->f.tensors[k->words];
    quern__tensor *t;
    static const char name[] = "embeddings.token_type_embeddings.weight";
    const size_t columns = (size_t)words->shape[1]; /* of a row that is in the file */
    if (words->trouble || columns > k->p->size)
        return emit(k, name, k->words, false);
    float *zeros = quern__arena_alloc(&k->w->names, 2 * columns * sizeof *zeros);
    if (!zeros)
        return quern__fail_memory(k->err, 2 * columns * sizeof *zeros);
    memset(zeros, 0, 2 * columns * sizeof *zeros);
    int rc = quern__weights_add(k->w, (quern_str){name, sizeof name - 1}, words->at, &t, k->err);
    if (rc)
        return rc;
    t->dtype = QUERN__F32;
    t->rank = 2;
    t->shape[0] = 2;
    t->shape[1] = columns;
    t->count = 2 * columns;
    t->data = zeros; /* no bytes of the file: offset and bytes stay 0 */
    return QUERN_OK;
}

static int emit_tables(walk *k)
{
    const bool folded = k->types < 0;
    if (k->tables != (QUERN__WORDS | QUERN__PLACES | (folded ? 0 : QUERN__TYPES)))
        return quern__fail(k->err, QUERN_EUNSUPPORTED, k->tables,
                           "%s: the embeddings are no sum of words, positions and token types "
                           "(byte 0)",
                           k->p->name);
    int rc = emit(k, "embeddings.word_embeddings.weight", k->words, false);
    if (rc == QUERN_OK)
        rc = emit(k, "embeddings.position_embeddings.weight", k->places, false);
    if (rc == QUERN_OK)
        rc = folded ? emit_no_types(k)
                    : emit(k, "embeddings.token_type_embeddings.weight", k->types, false);
    return rc ? rc : emit_norm(k, "embeddings.", 0);
}

int quern__emit_all(walk *k)
{
    int rc = emit_tables(k);
    for (uint32_t i = 0; rc == QUERN_OK && i < k->hidden_n / 2; i++)
        rc = emit_layer(k, i);
    return rc;
}
