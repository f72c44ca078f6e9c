/*
 * encoder.c — opening an encoder: every tensor is looked up under its published name, its
 * shape compared, its values checked to be finite (NaN or infinity in a weight could hide behind a
 * maximum, and a vector is never wrong), and the matrices are packed into one region in the order in
 * which the forward pass reads them, so that "the next panel" is always the next memory.
 *
 * Query, key and value matrices become one a group of heads, a head to a slot of columns: slots are
 * padded to a width that divides 384, so that no head straddles two pieces of the activations, and
 * groups fill one piece where heads allow. Padded columns have zero weights.
 *
 * The word embeddings stay in the mapping when they are plain fp32 (a gather touches only the rows it needs);
 * pages of what was packed are given back.
 */
#include "encoder/encoder.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/fpenv.h"
#include "encoder/encoder_impl.h"
#include "encoder/lookup.h"
#include "format/family.h"
#include "encoder/pack_int8.h"
#include "encoder/turns.h"

#define BIAS_BYTES ((size_t)QUERN__DISTANCE_BUCKETS * sizeof(float))

enum {
    MAX_HIDDEN = 1 << 14,
    MAX_INTERMEDIATE = 1 << 16,
    MAX_LAYERS = 256,
    MAX_HEADS = 1 << 10,
    NAME_SIZE = 128,
    AHEAD_FLOATS = 4 * QUERN__PIECE * QUERN__PANEL_MAX /* behind the last panel, for the prefetch */
};

/* What open carries along. */
typedef struct loader {
    quern__encoder *e;
    const quern__model_config *config;
    const quern__weights *file;
    const quern__quantised *quantised; /* NULL: the class is fp32 */
    const quern__image_place *place;   /* NULL: no image is looked for */
    float *packed_at, *small_at, *numbers8_at;
    int8_t *packed8_at;
    bool filled;         /* packed is an image's: everything is in it already */
    uint64_t trace;      /* of which matrix lies where, in it */
    float *row_copies;   /* panel rows of one piece, for weights that are not plain fp32 */
    const int8_t **row8; /* int8: of the widest matrix, for one matrix in the making */
    const float **scale8;
    const int8_t **step8; /* int4 */
    size_t *stride8;
    quern_error *err;
} loader;

static uint32_t pieces_of(uint32_t columns)
{
    return (columns + QUERN__PIECE - 1) / QUERN__PIECE;
}

/* ---- looking up ---- */

static int find(const loader *l, const char *name, uint32_t rank, uint64_t d0, uint64_t d1,
                const quern__tensor **out)
{
    char full[NAME_SIZE + 16], found[8 * 21 + 3];
    const size_t front = (size_t)snprintf(full, sizeof full, "%s", l->e->prefix);
    quern__family_tensor(l->e->family, name, full + front, sizeof full - front);
    const quern__tensor *t = quern__weights_find(l->file, full);
    if (!t)
        return quern__fail(l->err, QUERN_EFORMAT, 0, "tensor \"%s\" is missing from the weights",
                           full);
    if (t->dtype == QUERN__OTHER_DTYPE)
        return quern__fail(l->err, QUERN_EFORMAT, (int64_t)t->offset,
                           "tensor \"%s\" at byte %zu is not of type F32, F16, BF16 or Q8_0", full,
                           t->offset);
    if (t->rank != rank || t->shape[0] != d0 || (rank == 2 && t->shape[1] != d1)) {
        size_t at = 0;
        for (uint32_t i = 0; i < t->rank && at < sizeof found - 24; i++)
            at += (size_t)snprintf(found + at, sizeof found - at, "%s%llu", i ? ", " : "",
                                   (unsigned long long)t->shape[i]);
        found[at] = 0;
        if (rank == 1)
            return quern__fail(
                l->err, QUERN_EFORMAT, (int64_t)t->offset,
                "tensor \"%s\" at byte %zu has shape [%s], config.json asks for [%llu]", full,
                t->offset, found, (unsigned long long)d0);
        return quern__fail(
            l->err, QUERN_EFORMAT, (int64_t)t->offset,
            "tensor \"%s\" at byte %zu has shape [%s], config.json asks for [%llu, %llu]", full,
            t->offset, found, (unsigned long long)d0, (unsigned long long)d1);
    }
    *out = t;
    return QUERN_OK;
}

/* True when no exponent is all ones. An OR over the block and one branch, so that it costs nothing. */
static bool all_finite(const float *p, size_t n)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, p + i, sizeof bits);
        bad |= (bits & 0x7f800000) + 0x00800000;
    }
    return !(bad & 0x80000000);
}

static int not_finite(const loader *l, const quern__tensor *t)
{
    return quern__fail(l->err, QUERN_EFORMAT, (int64_t)t->offset,
                       "tensor \"%s\" at byte %zu holds NaN or infinity; the weights are damaged",
                       t->name, t->offset);
}

/* Halves give them back as they are. */
static bool exact_in_halves(const float *row, uint32_t k)
{
    bool exact = true;
    for (uint32_t i = 0; i < k; i++) {
        uint16_t half;
        float back;
        quern__f32_to_f16(row + i, &half, 1);
        quern__f16_to_f32(&half, &back, 1);
        exact &= back == row[i];
    }
    return exact;
}

/* Weights of a row that the class has no numbers for. */
static int not_held(const loader *l, const quern__tensor *t, const float *row, uint32_t k)
{
    const quern__kernels *kernels = l->e->kernels;
    float most = 0;
    if (!all_finite(row, k))
        return not_finite(l, t);
    for (uint32_t i = 0; i < k; i++)
        most = QUERN__MAX(most, fabsf(row[i]));
    if (most < kernels->least)
        return quern__fail(l->err, QUERN_EFORMAT, (int64_t)t->offset,
                           "tensor \"%s\" at byte %zu has a row of weights of %g at most, of which "
                           "this class of precision keeps too little (under %g); use --precision "
                           "fp32",
                           t->name, t->offset, (double)most, (double)kernels->least);
    return quern__fail(l->err, QUERN_EFORMAT, (int64_t)t->offset,
                       "tensor \"%s\" at byte %zu holds a weight of %g, and this class of "
                       "precision none over %g; use --precision fp32",
                       t->name, t->offset, (double)most, (double)kernels->most);
}

/* A vector of n elements into the small region, padded with zeros to `room`. */
static int load_vector(loader *l, const char *name, uint32_t n, uint32_t room, const float **out)
{
    const quern__tensor *t;
    int rc = find(l, name, 1, n, 0, &t);
    if (rc)
        return rc;
    quern__tensor_read_f32(t, 0, n, l->small_at);
    if (!all_finite(l->small_at, n))
        return not_finite(l, t);
    *out = l->small_at;
    l->small_at += room;
    return QUERN_OK;
}

/* ---- packing ---- */

/* One matrix in the making: output column c is row `first` + c of t[0], from its column `from` on, k of
 * them. For a group of heads (key_heads not 0) the columns are slots of queries, then keys, then values. */
typedef struct source {
    const quern__tensor *t[3];
    uint32_t row[3]; /* of t, where its part begins */
    uint32_t first, from, k, columns;
    uint32_t first_head, key_heads; /* of keys */
    uint32_t layer, matrix; /* int8: which stored matrix t[0] is; t[1] and t[2] are the next ones */
} source;

/* Which of t, and its row, that column c comes from; false: a padded column. */
static bool locate(const quern__encoder *e, const source *s, uint32_t c, uint32_t *part,
                   uint32_t *row)
{
    *part = 0;
    if (c >= s->columns)
        return false;
    if (!s->key_heads) {
        *row = s->row[0] + s->first + c;
        return true;
    }
    const uint32_t slot = c / e->slot, inside = c % e->slot, queries = s->key_heads * e->sharing;
    uint32_t head = s->first_head * e->sharing + slot;
    if (slot >= queries) {
        *part = 1 + (slot - queries) / s->key_heads;
        head = s->first_head + (slot - queries) % s->key_heads;
    }
    *row = s->row[*part] + head * e->depth + inside;
    return inside < e->depth;
}

/* True when every weight is one that the class can hold: `most` at most, no NaN, and not all so small that rounding
 * leaves nothing of the row. */
static bool fits(const float *row, uint32_t k, const quern__kernels *t)
{
    bool fit = true;
    float greatest = 0;
    for (uint32_t i = 0; i < k; i++) {
        fit &= fabsf(row[i]) <= t->most;
        greatest = QUERN__MAX(greatest, fabsf(row[i]));
    }
    return fit && (greatest >= t->least || exact_in_halves(row, k));
}

/* One piece of one panel: gathers row pointers (widening into copies where need be), packs, checks. */
static int pack_piece(loader *l, const source *s, uint32_t column, uint32_t piece)
{
    const uint32_t panel = l->e->kernels->panel, start = piece * QUERN__PIECE,
                   k = QUERN__MIN(s->k - start, (uint32_t)QUERN__PIECE);
    if (l->filled) {
        l->packed_at += quern__packed_floats(l->e->kernels, k);
        return QUERN_OK;
    }
    const float *rows[QUERN__PANEL_MAX] = {NULL};
    const quern__tensor *of[QUERN__PANEL_MAX] = {NULL};
    for (uint32_t j = 0; j < panel; j++) {
        uint32_t part, row;
        if (!locate(l->e, s, column + j, &part, &row) || !s->t[part])
            continue; /* a padded column; what is none has been refused before */
        const quern__tensor *t = of[j] = s->t[part];
        const size_t at = (size_t)row * (size_t)t->shape[1] + s->from + start;
        const float *floats = quern__tensor_floats(t);
        if (floats) {
            rows[j] = floats + at;
        } else {
            float *copy = l->row_copies + (size_t)j * QUERN__PIECE;
            quern__tensor_read_f32(t, at, k, copy);
            rows[j] = copy;
        }
    }
    const quern__kernels *t = l->e->kernels;
    t->pack(rows, k, l->packed_at);
    if (t->kind != QUERN__MATRIX_F32 || !all_finite(l->packed_at, (size_t)k * panel))
        for (uint32_t j = 0; j < panel; j++)
            if (of[j] && rows[j] && !(t->most > 0 ? fits(rows[j], k, t) : all_finite(rows[j], k)))
                return not_held(l, of[j], rows[j], k);
    l->packed_at += quern__packed_floats(t, k);
    return QUERN_OK;
}

/* Columns in front that are of 4 bits: of a group of heads all but the values. */
static uint32_t fours_of(const quern__encoder *e, const quern__quantised *q, const source *s)
{
    if (!quern__is_four(q, s->layer, (int)s->matrix))
        return 0;
    return s->key_heads ? (e->sharing + 1) * s->key_heads * e->slot : s->columns;
}

/* The same matrix from the stored numbers of the int8 class. */
static int pack_matrix8(loader *l, const source *s, const float *bias, quern__linear *m)
{
    const quern__quantised_layer *q = l->quantised->layer + s->layer;
    for (uint32_t c = 0; c < s->columns; c++) {
        uint32_t part, row;
        l->row8[c] = NULL;
        if (!locate(l->e, s, c, &part, &row))
            continue;
        const int matrix = (int)(s->matrix + part);
        const size_t width = quern__quantised_inputs(l->quantised, matrix),
                     outputs = quern__quantised_outputs(l->quantised, matrix);
        row -= s->row[part]; /* stored, each is alone */
        const size_t at = row * width + s->from;
        const bool four = quern__is_four(l->quantised, s->layer, matrix);
        l->row8[c] = q->weight[matrix] + (four ? at / 2 : at);
        if (four)
            l->step8[c] = q->step[matrix] + at / QUERN__STEP_INPUTS;
        l->scale8[c] = q->scale[matrix] + s->from / QUERN__PIECE * outputs + row;
        l->stride8[c] = outputs;
    }
    const uint32_t fours = fours_of(l->e, l->quantised, s);
    const quern__columns columns = {s->k,       s->columns, l->row8, l->scale8,
                                    l->stride8, fours,      l->step8};
    if (l->filled)
        quern__place_int8(l->e->int8, &columns, bias, &l->packed8_at, &l->numbers8_at, &m->int8);
    else
        quern__pack_int8(l->e->int8, &columns, bias, &l->packed8_at, &l->numbers8_at, &m->int8);
    m->panels = m->int8.panels;
    return QUERN_OK;
}

/* Where a matrix lies and of what it is: an image of another order is another image. */
static void leave_trace(loader *l, const source *s)
{
    const char *base = l->e->packed;
    const uint64_t where[] = {s->first,
                              s->from,
                              s->k,
                              s->columns,
                              s->first_head,
                              s->key_heads,
                              s->row[0],
                              s->row[1],
                              s->row[2],
                              s->layer,
                              s->matrix,
                              (uint64_t)((const char *)l->packed_at - base),
                              (uint64_t)((const char *)l->packed8_at - base),
                              l->quantised ? (uint64_t)((const char *)l->numbers8_at - base) : 0};
    for (int i = 0; i < 3; i++)
        if (s->t[i])
            l->trace = quern__image_hash(l->trace, s->t[i]->name, strlen(s->t[i]->name));
    l->trace = quern__image_hash(l->trace, where, sizeof where);
}

static int pack_matrix(loader *l, const source *s, const float *bias, quern__linear *m)
{
    leave_trace(l, s);
    if (l->quantised)
        return pack_matrix8(l, s, bias, m);
    const uint32_t panel = l->e->kernels->panel;
    m->panels = (s->columns + panel - 1) / panel;
    m->f32 = (quern__matrix){l->e->kernels->kind, s->k, s->columns, m->panels, l->packed_at, bias};
    for (uint32_t p = 0; p < m->panels; p++)
        for (uint32_t piece = 0; piece < pieces_of(s->k); piece++) {
            int rc = pack_piece(l, s, p * panel, piece);
            if (rc)
                return rc;
        }
    return QUERN_OK;
}

static void forget(const loader *l, const quern__tensor *t)
{
    quern__weights_forget(l->file, t);
}

static uint32_t padded(uint32_t columns)
{
    return (columns + QUERN__PANEL_MAX - 1) / QUERN__PANEL_MAX * QUERN__PANEL_MAX;
}

/* Products of families that go by BERT have biases; others say so. */
static bool has_bias(const loader *l, bool flag)
{
    return !l->e->family->rules || flag;
}

/* A vector that is there, or is zeros. */
static int load_bias(loader *l, const char *name, bool there, uint32_t n, const float **out)
{
    if (there)
        return load_vector(l, name, n, padded(n), out);
    *out = l->small_at; /* fresh pages */
    l->small_at += padded(n);
    return QUERN_OK;
}

/* Bias of group g, a head to a slot. */
static int load_group_bias(loader *l, const source *s, const quern__tensor *const *parts,
                           float *bias)
{
    for (uint32_t c = 0; c < s->columns; c += l->e->slot) {
        uint32_t part, row;
        locate(l->e, s, c, &part, &row);
        quern__tensor_read_f32(parts[part], row, l->e->depth, bias + c);
        if (!all_finite(bias + c, l->e->depth))
            return not_finite(l, parts[part]);
    }
    return QUERN_OK;
}

/* The three parts' tensors, or the one that they are in, as weights of `rank` 2 or biases of 1. */
static int find_qkv(loader *l, uint32_t index, uint32_t rank, source *s,
                    const quern__tensor **parts)
{
    static const char *const names[3] = {"query", "key", "value"};
    const quern__encoder *e = l->e;
    const char *kind = rank == 2 ? "weight" : "bias";
    const uint32_t queries = e->heads * e->depth, keys = e->key_heads * e->depth;
    char name[NAME_SIZE];
    int rc = QUERN_OK;
    if (e->family->fused) {
        snprintf(name, sizeof name, "encoder.layer.%u.attention.self.qkv.%s", index, kind);
        rc = find(l, name, rank, queries + 2 * keys, e->hidden, parts);
        parts[1] = parts[2] = parts[0];
        s->row[1] = queries;
        s->row[2] = queries + keys;
        return rc;
    }
    for (uint32_t p = 0; !rc && p < 3; p++) {
        snprintf(name, sizeof name, "encoder.layer.%u.attention.self.%s.%s", index, names[p], kind);
        rc = find(l, name, rank, p ? keys : queries, e->hidden, parts + p);
    }
    return rc;
}

static int pack_qkv(loader *l, uint32_t index, quern__layer *layer)
{
    const quern__encoder *e = l->e;
    const bool biased = has_bias(l, l->config->bias_attention);
    const quern__tensor *biases[3];
    source s = {.k = e->hidden, .layer = index, .matrix = QUERN__Q_QUERY};
    int rc = find_qkv(l, index, 2, &s, s.t);
    if (!rc && biased)
        rc = find_qkv(l, index, 1, &s, biases);
    for (uint32_t g = 0; !rc && g < e->group_count; g++) {
        s.key_heads = quern__keys_of_group(e, g);
        s.columns = quern__group_columns(e, s.key_heads);
        s.first_head = g * e->group_heads;
        float *bias = l->small_at;
        l->small_at += padded(s.columns);
        if (biased)
            rc = load_group_bias(l, &s, biases, bias);
        if (!rc)
            rc = pack_matrix(l, &s, bias, layer->qkv + g);
    }
    for (uint32_t p = 0; !rc && p < 3; p++)
        forget(l, s.t[p]);
    return rc;
}

static int pack_out(loader *l, uint32_t index, quern__layer *layer)
{
    const quern__encoder *e = l->e;
    source s = {
        .k = e->heads * e->depth, .columns = e->hidden, .layer = index, .matrix = QUERN__Q_OUT};
    const float *bias;
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "encoder.layer.%u.attention.output.dense.bias", index);
    int rc = load_bias(l, name, has_bias(l, l->config->bias_attention), e->hidden, &bias);
    snprintf(name, sizeof name, "encoder.layer.%u.attention.output.dense.weight", index);
    if (!rc)
        rc = find(l, name, 2, e->hidden, s.k, &s.t[0]);
    if (!rc)
        rc = pack_matrix(l, &s, bias, &layer->out);
    if (!rc)
        forget(l, s.t[0]);
    return rc;
}

/* The products to the inner columns of one layer: `up`, and `gate` where there is one, which may be one tensor. */
typedef struct inner {
    const quern__tensor *up, *gate, *down;
    uint32_t up_row; /* of the tensor, where `up` begins */
    const float *up_bias, *gate_bias, *down_bias;
} inner;

static int find_inner(loader *l, uint32_t index, inner *in)
{
    const quern__encoder *e = l->e;
    const bool gated = quern__family_gated(e->family), biased = has_bias(l, l->config->bias_feed);
    const char *const gate = e->family->fused_gate ? "both" : "gate";
    char name[NAME_SIZE];
    int rc = QUERN_OK;
    if (e->family->fused_gate) { /* the gate's rows, then the other's */
        snprintf(name, sizeof name, "encoder.layer.%u.intermediate.both.bias", index);
        rc = load_bias(l, name, biased, 2 * e->intermediate, &in->gate_bias);
        in->up_row = e->intermediate;
        in->up_bias = in->gate_bias + e->intermediate;
    } else {
        snprintf(name, sizeof name, "encoder.layer.%u.intermediate.dense.bias", index);
        rc = load_bias(l, name, biased, e->intermediate, &in->up_bias);
        snprintf(name, sizeof name, "encoder.layer.%u.intermediate.gate.bias", index);
        if (!rc && gated)
            rc = load_bias(l, name, biased, e->intermediate, &in->gate_bias);
        snprintf(name, sizeof name, "encoder.layer.%u.intermediate.dense.weight", index);
        if (!rc)
            rc = find(l, name, 2, e->intermediate, e->hidden, &in->up);
    }
    snprintf(name, sizeof name, "encoder.layer.%u.intermediate.%s.weight", index, gate);
    if (!rc && gated)
        rc = find(l, name, 2, e->intermediate + in->up_row, e->hidden, &in->gate);
    if (e->family->fused_gate)
        in->up = in->gate;
    snprintf(name, sizeof name, "encoder.layer.%u.output.dense.bias", index);
    if (!rc)
        rc = load_bias(l, name, has_bias(l, l->config->bias_down), e->hidden, &in->down_bias);
    snprintf(name, sizeof name, "encoder.layer.%u.output.dense.weight", index);
    return rc ? rc : find(l, name, 2, e->hidden, e->intermediate, &in->down);
}

/* gate, up and down chunk by chunk, in the order in which they are used. */
static int pack_ffn(loader *l, uint32_t index, quern__layer *layer)
{
    const quern__encoder *e = l->e;
    float *const folded = l->small_at + padded(e->intermediate); /* int8: where down_bias will be */
    inner in = {.up_row = 0};
    int rc = find_inner(l, index, &in);
    for (uint32_t c = 0; !rc && c < e->chunk_count; c++) {
        const uint32_t first = c * QUERN__PIECE,
                       width = QUERN__MIN(e->intermediate - first, (uint32_t)QUERN__PIECE);
        source to = {.t = {in.gate},
                     .first = first,
                     .k = e->hidden,
                     .columns = width,
                     .layer = index},
               back = {.t = {in.down},
                       .from = first,
                       .k = width,
                       .columns = e->hidden,
                       .layer = index,
                       .matrix = QUERN__Q_DOWN};
        to.matrix = QUERN__Q_GATE;
        if (in.gate)
            rc = pack_matrix(l, &to, in.gate_bias + first, &layer->chunks[c].gate);
        to.matrix = QUERN__Q_UP;
        to.t[0] = in.up;
        to.row[0] = in.up_row;
        if (!rc)
            rc = pack_matrix(l, &to, in.up_bias + first, &layer->chunks[c].up);
        if (!rc)
            rc = pack_matrix(l, &back, c ? NULL : in.down_bias, &layer->chunks[c].down);
        if (!rc && l->quantised && e->family->feed == QUERN__FEED_GELU)
            quern__fold_offset(&layer->chunks[c].down.int8, e->hidden, folded);
    }
    if (rc)
        return rc;
    forget(l, in.up);
    if (in.gate && in.gate != in.up)
        forget(l, in.gate);
    forget(l, in.down);
    return QUERN_OK;
}

/* RMSNorm has no beta (NULL says which it is); LayerNorm without one adds zeros. */
static int load_norm(loader *l, const char *where, quern__norm *norm)
{
    const quern__family *f = l->e->family;
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%sLayerNorm.weight", where);
    int rc = load_vector(l, name, l->e->hidden, padded(l->e->hidden), &norm->gamma);
    snprintf(name, sizeof name, "%sLayerNorm.bias", where);
    if (!rc && !f->rms)
        rc = load_bias(l, name, has_bias(l, l->config->bias_norm), l->e->hidden, &norm->beta);
    return rc;
}

/* The norm behind layer `index` (-1: behind the words) is, where norms come first, the next layer's. */
static int load_norm_behind(loader *l, int64_t index, quern__norm *norm)
{
    const quern__family *f = l->e->family;
    char where[NAME_SIZE / 2];
    if (!f->norms_first)
        snprintf(where, sizeof where, "encoder.layer.%u.output.", (unsigned)index);
    else if (index + 1 == (int64_t)l->e->layer_count)
        snprintf(where, sizeof where, "final.");
    else
        snprintf(where, sizeof where, "encoder.layer.%u.attention.input.", (unsigned)(index + 1));
    return index < 0 && f->first_plain ? QUERN_OK : load_norm(l, where, norm);
}

static int load_head_norms(loader *l, uint32_t index, quern__layer *layer)
{
    const uint32_t depth = l->e->depth;
    char name[NAME_SIZE];
    if (!l->e->family->heads_normed)
        return QUERN_OK;
    snprintf(name, sizeof name, "encoder.layer.%u.attention.self.query_norm.weight", index);
    int rc = load_vector(l, name, depth, padded(depth), &layer->query_norm);
    snprintf(name, sizeof name, "encoder.layer.%u.attention.self.key_norm.weight", index);
    return rc ? rc : load_vector(l, name, depth, padded(depth), &layer->key_norm);
}

/* Which table turns a layer, and what its queries see. */
static void set_sight(const loader *l, uint32_t index, quern__layer *layer)
{
    const quern__encoder *e = l->e;
    const bool local = l->config->global_every && index % l->config->global_every;
    const bool own = local && l->config->rope_local > 0;
    if (e->turns)
        layer->turns = e->turns + (own ? (size_t)e->max_tokens * e->depth : 0);
    if (e->family->causal || local)
        layer->outlook = &e->outlook;
}

/* int8: the two rows of smoothing, copied, for the stored numbers need not outlive the open. They are the only numbers that
 * are read beside an image: the trace says that they are those of its making. */
static void load_smoothing(loader *l, uint32_t index, quern__layer *layer)
{
    for (uint32_t i = 0; l->quantised && i < 2; i++) {
        const size_t bytes = l->e->hidden * sizeof(float);
        memcpy(l->small_at, l->quantised->layer[index].smooth[i], bytes);
        l->trace = quern__image_hash(l->trace, l->small_at, bytes);
        layer->smooth[i] = l->small_at;
        l->small_at += padded(l->e->hidden);
    }
}

static int load_layer(loader *l, uint32_t index)
{
    quern__layer *layer = l->e->layers + index;
    char where[NAME_SIZE / 2];
    load_smoothing(l, index, layer);
    layer->qkv = l->e->groups + (size_t)index * l->e->group_count;
    layer->chunks = l->e->chunks + (size_t)index * l->e->chunk_count;
    int rc = pack_qkv(l, index, layer);
    if (!rc)
        rc = pack_out(l, index, layer);
    snprintf(where, sizeof where, "encoder.layer.%u.attention.output.", index);
    if (!rc)
        rc = load_norm(l, where, &layer->middle);
    if (!rc)
        rc = load_head_norms(l, index, layer);
    if (!rc)
        rc = pack_ffn(l, index, layer);
    set_sight(l, index, layer);
    return rc ? rc : load_norm_behind(l, index, &layer->end);
}

/* ---- embeddings ---- */

static int load_words(loader *l)
{
    quern__encoder *e = l->e;
    const quern__tensor *t;
    int rc = find(l, "embeddings.word_embeddings.weight", 2, e->vocab, e->hidden, &t);
    if (rc)
        return rc;
    e->words = quern__tensor_floats(t);
    if (e->words) /* a damaged row shows in its text's vector, which is then refused */
        return QUERN_OK;
    e->widened_size = t->count * sizeof(float);
    e->widened = quern__alloc_pages(e->widened_size);
    if (!e->widened)
        return quern__fail_memory(l->err, e->widened_size);
    quern__tensor_read_f32(t, 0, t->count, e->widened);
    forget(l, t);
    e->words = e->widened;
    return QUERN_OK;
}

/* Rows of position vectors in front of the first one that texts use. */
static uint32_t rows_before(const loader *l)
{
    return l->e->family->padding ? (uint32_t)l->config->padding + 1 : 0;
}

/* Where positions have no rows there is one, for all: token type 0, or zeros. */
static int load_positions(loader *l)
{
    quern__encoder *e = l->e;
    const bool placed = quern__family_placed(e->family);
    const quern__tensor *positions = NULL, *types = NULL;
    float type[QUERN__PIECE];
    const uint32_t before = rows_before(l), rows = placed ? e->max_tokens + (before > 0) : 1;
    int rc = QUERN_OK;
    if (placed)
        rc = find(l, "embeddings.position_embeddings.weight", 2, l->config->positions + before,
                  e->hidden, &positions);
    if (!rc && e->family->types)
        rc = find(l, "embeddings.token_type_embeddings.weight", 2, l->config->types, e->hidden,
                  &types);
    if (rc)
        return rc;
    if (positions)
        quern__tensor_read_f32(positions, (size_t)before * e->hidden,
                               (size_t)e->max_tokens * e->hidden, l->small_at);
    if (before) /* the padding token's own row, behind all others */
        quern__tensor_read_f32(positions, (size_t)(before - 1) * e->hidden, e->hidden,
                               l->small_at + (size_t)e->max_tokens * e->hidden);
    for (uint32_t c = 0; types && c < e->hidden; c += QUERN__PIECE) {
        const uint32_t n = QUERN__MIN(e->hidden - c, (uint32_t)QUERN__PIECE);
        quern__tensor_read_f32(types, c, n, type);
        for (uint32_t p = 0; p < rows; p++)
            for (uint32_t i = 0; i < n; i++)
                l->small_at[(size_t)p * e->hidden + c + i] += type[i];
    }
    const quern__tensor *const blamed = positions ? positions : types;
    if (blamed && !all_finite(l->small_at, (size_t)rows * e->hidden))
        return not_finite(l, blamed);
    if (positions)
        forget(l, positions);
    e->positions = l->small_at;
    l->small_at += (size_t)rows * e->hidden;
    if (!e->family->norms_first)
        return load_norm(l, "embeddings.", &e->first);
    if (e->family->words_normed)
        rc = load_norm(l, "embeddings.", &e->words_norm);
    return rc ? rc : load_norm_behind(l, -1, &e->first);
}

static size_t turns_bytes(const quern__encoder *e, const quern__model_config *c)
{
    return !e->family->rotary
               ? 0
               : (size_t)e->max_tokens * e->depth * sizeof(float) * (c->rope_local > 0 ? 2 : 1);
}

static int load_turns(loader *l)
{
    quern__encoder *e = l->e;
    const quern__model_config *c = l->config;
    const size_t table = (size_t)e->max_tokens * e->depth;
    e->turns_size = turns_bytes(e, c);
    if (!e->turns_size)
        return QUERN_OK;
    e->turns = quern__alloc_pages(e->turns_size);
    if (!e->turns)
        return quern__fail_memory(l->err, e->turns_size);
    quern__turns(e->turns, e->max_tokens, e->depth, c->rope);
    if (c->rope_local > 0)
        quern__turns(e->turns + table, e->max_tokens, e->depth, c->rope_local);
    return QUERN_OK;
}

/* Rule 5: biases by distance, times log2(e), a row of all distances for each head. */
static int load_distances(loader *l)
{
    quern__encoder *e = l->e;
    const quern__tensor *t;
    float *rows = l->small_at, *all = quern__alloc_array(e->heads, BIAS_BYTES);
    if (!all)
        return quern__fail_memory(l->err, e->heads * BIAS_BYTES);
    int rc =
        find(l, "encoder.relative_attention_bias.weight", 2, QUERN__DISTANCE_BUCKETS, e->heads, &t);
    if (!rc)
        quern__tensor_read_f32(t, 0, (size_t)QUERN__DISTANCE_BUCKETS * e->heads, all);
    if (!rc && !all_finite(all, (size_t)QUERN__DISTANCE_BUCKETS * e->heads))
        rc = not_finite(l, t);
    for (uint32_t h = 0; !rc && h < e->heads; h++)
        for (uint32_t d = 0; d < 2 * e->max_tokens - 1; d++) {
            const uint32_t bucket = quern__distance_bucket((int64_t)d - (e->max_tokens - 1));
            rows[(size_t)h * e->bias_stride + d] =
                all[(size_t)bucket * e->heads + h] * 1.4426950408889634f;
        }
    quern__free(all);
    e->bias = rows;
    l->small_at += (size_t)e->heads * e->bias_stride;
    return rc;
}

/* ---- open ---- */

/* The narrowest slot that holds a head: it divides a piece and is whole vectors. 0: too deep. */
static uint32_t slot_for(uint32_t depth)
{
    for (uint32_t slot = QUERN__LANES; slot <= QUERN__PIECE; slot += QUERN__LANES)
        if (slot >= depth && QUERN__PIECE % slot == 0)
            return slot;
    return 0;
}

static int read_shape(quern__encoder *e, const quern__model_config *c, uint32_t max_tokens,
                      quern_error *err)
{
    const quern__family *family = e->family;
    if (!family)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                           "model family \"%s\" has no encoder here; known: %s", c->family,
                           quern__family_known());
    if (!c->hidden || c->hidden > MAX_HIDDEN || !c->heads || c->heads > MAX_HEADS ||
        (!c->depth && c->hidden % c->heads) || !c->layers || c->layers > MAX_LAYERS ||
        !c->intermediate || c->intermediate > MAX_INTERMEDIATE || !c->vocab ||
        (family->types && !c->types) ||
        (family->padding && (c->padding < 0 || c->padding >= c->vocab)) ||
        (c->key_heads && c->heads % c->key_heads) || (family->rotary && !(c->rope >= 1)))
        return quern__fail(err, QUERN_EFORMAT, 0,
                           "config.json: hidden %u, heads %u, layers %u, intermediate %u, vocab "
                           "%u, types %u make no encoder",
                           c->hidden, c->heads, c->layers, c->intermediate, c->vocab, c->types);
    if (!max_tokens || max_tokens > c->positions)
        return quern__fail(err, QUERN_EINVAL, max_tokens,
                           "maximum length %u is not within 1..%u, the model's positions",
                           max_tokens, c->positions);
    e->hidden = c->hidden;
    e->heads = c->heads;
    e->key_heads = c->key_heads ? c->key_heads : c->heads;
    e->sharing = e->heads / e->key_heads;
    e->depth = c->depth ? c->depth : c->hidden / c->heads;
    e->slot = slot_for(e->depth);
    if (!e->slot || (family->rotary && e->depth % 2))
        return quern__fail(err, QUERN_EUNSUPPORTED, e->depth,
                           "heads of %u columns are wider than the %d supported, or cannot be "
                           "halved to be turned",
                           e->depth, QUERN__PIECE);
    e->intermediate = c->intermediate;
    e->vocab = c->vocab;
    e->max_tokens = max_tokens;
    e->layer_count = c->layers;
    e->chunk_count = pieces_of(c->intermediate);
    e->group_heads = QUERN__MAX(QUERN__PIECE / quern__group_columns(e, 1), 1u);
    e->group_count = (e->key_heads + e->group_heads - 1) / e->group_heads;
    e->hidden_pieces = pieces_of(c->hidden);
    e->context_pieces = pieces_of(e->heads * e->depth);
    e->group_pieces = pieces_of(quern__group_columns(e, e->group_heads));
    e->outlook = family->causal ? (quern__outlook){UINT32_MAX, 0}
                                : (quern__outlook){c->window / 2, c->window / 2};
    e->eps = c->layer_norm_eps;
    e->scale = (float)(1.4426950408889634 / (family->unplaced ? 1 : sqrt((double)e->depth)));
    e->width = c->dimensions ? c->dimensions : quern__model_config_width(c);
    e->padding = family->padding ? (int32_t)c->padding : -1;
    /* a strip of queries is read whole, so there is room behind the last distance */
    e->bias_stride = family->distances ? 2 * max_tokens - 1 + QUERN__STRIP : 0;
    return QUERN_OK;
}

/* Columns of all groups' products, padded. */
static size_t groups_width(const quern__encoder *e)
{
    size_t width = 0;
    for (uint32_t g = 0; g < e->group_count; g++)
        width += padded(quern__group_columns(e, quern__keys_of_group(e, g)));
    return width;
}

/* Floats that a packed matrix of k inputs and `columns` padded outputs takes, in classes other than int8. */
static size_t matrix_floats(const quern__encoder *e, uint32_t k, size_t columns)
{
    const quern__kernels *t = e->kernels;
    const uint32_t whole = k / QUERN__PIECE, rest = k % QUERN__PIECE;
    return (whole * quern__packed_floats(t, QUERN__PIECE) + quern__packed_floats(t, rest)) *
           (columns / t->panel);
}

/* Bytes of a layer's packed matrices in int8 and int4. */
static size_t layer_bytes8(const quern__encoder *e, const quern__quantised *q, uint32_t layer)
{
    const uint32_t h = e->hidden, up = quern__is_four(q, layer, QUERN__Q_UP),
                   down = quern__is_four(q, layer, QUERN__Q_DOWN),
                   query = quern__is_four(q, layer, QUERN__Q_QUERY);
    const size_t ups = q->gated ? 2 : 1;
    size_t bytes = quern__pack_int8_bytes(e->int8, h, e->heads * e->depth, 0);
    for (uint32_t c = 0; c < e->chunk_count; c++) {
        const uint32_t width =
            QUERN__MIN(e->intermediate - c * QUERN__PIECE, (uint32_t)QUERN__PIECE);
        bytes += ups * quern__pack_int8_bytes(e->int8, width, h, up * width) +
                 quern__pack_int8_bytes(e->int8, h, width, down * h);
    }
    for (uint32_t g = 0; g < e->group_count; g++) {
        const uint32_t keys = quern__keys_of_group(e, g);
        bytes += quern__pack_int8_bytes(e->int8, quern__group_columns(e, keys), h,
                                        query * (e->sharing + 1) * keys * e->slot);
    }
    return bytes;
}

/* Bytes of the packed matrices, those before their scales and sums (int8), and floats of everything one-dimensional. Cannot overflow within the
 * limits above: under 2^48. */
static void measure(const quern__encoder *e, const quern__quantised *quantised, size_t *packed,
                    size_t *codes, size_t *small)
{
    const size_t h = e->hidden, wide = padded(e->hidden), qkv = groups_width(e),
                 ups = quern__family_gated(e->family) ? 2 : 1;
    size_t ffn = 0, numbers8 = 0;
    for (uint32_t c = 0; c < e->chunk_count; c++) {
        const uint32_t width =
            QUERN__MIN(e->intermediate - c * QUERN__PIECE, (uint32_t)QUERN__PIECE);
        ffn += ups * matrix_floats(e, e->hidden, padded(width)) + matrix_floats(e, width, wide);
        numbers8 += ups * quern__pack_int8_floats(width, e->hidden) +
                    quern__pack_int8_floats(e->hidden, width);
    }
    *small = e->layer_count *
                 (qkv + ups * padded(e->intermediate) + 6 * wide + 2 * (size_t)padded(e->depth)) +
             4 * wide + (quern__family_placed(e->family) ? (size_t)e->max_tokens + 1 : 1) * h +
             (size_t)e->heads * e->bias_stride;
    if (!e->int8) {
        *codes = *packed = (e->layer_count * (matrix_floats(e, e->hidden, qkv) +
                                              matrix_floats(e, e->heads * e->depth, wide) + ffn) +
                            AHEAD_FLOATS) *
                           sizeof(float);
        return;
    }
    for (uint32_t g = 0; g < e->group_count; g++) {
        const uint32_t keys = quern__keys_of_group(e, g);
        numbers8 += quern__pack_int8_floats(quern__group_columns(e, keys), e->hidden);
    }
    numbers8 += quern__pack_int8_floats(e->hidden, e->heads * e->depth);
    *codes = AHEAD_FLOATS;
    for (uint32_t l = 0; l < e->layer_count; l++)
        *codes += layer_bytes8(e, quantised, l);
    *codes = (*codes + 63) / 64 * 64;
    *packed = *codes + e->layer_count * numbers8 * sizeof(float);
    *small += (size_t)e->layer_count * 2 * wide; /* smoothing */
}

/* Before memory is asked for: the tensors that bound every number of config.json are in the file. */
static int check_bounds(const loader *l)
{
    const quern__encoder *e = l->e;
    const quern__tensor *t;
    char name[NAME_SIZE];
    int rc = find(l, "embeddings.word_embeddings.weight", 2, e->vocab, e->hidden, &t);
    if (!rc && quern__family_placed(e->family))
        rc = find(l, "embeddings.position_embeddings.weight", 2,
                  l->config->positions + rows_before(l), e->hidden, &t);
    snprintf(name, sizeof name, "encoder.layer.%u.attention.output.dense.weight",
             e->layer_count - 1);
    if (!rc)
        rc = find(l, name, 2, e->hidden, (uint64_t)e->heads * e->depth, &t);
    snprintf(name, sizeof name, "encoder.layer.%u.output.dense.weight", e->layer_count - 1);
    return rc ? rc : find(l, name, 2, e->hidden, e->intermediate, &t);
}

/* An image's, or memory of our own to pack into. codes: bytes in front of the scales and sums. */
static int get_packed(loader *l, size_t codes)
{
    quern__encoder *e = l->e;
    const int rc =
        l->place ? quern__image_open(&e->image, l->place, e->packed_size, l->err) : QUERN_ENOTFOUND;
    if (rc && (rc != QUERN_ENOTFOUND || (l->place && l->place->only)))
        return rc;
    l->filled = !rc;
    if (!l->filled)
        e->packed = e->packed_own = quern__alloc_pages(e->packed_size);
    else
        e->packed = e->image.data;
    if (!e->packed)
        return quern__fail_memory(l->err, e->packed_size);
    l->packed_at = (float *)(uintptr_t)e->packed; /* an image's is not written to */
    l->packed8_at = (int8_t *)(uintptr_t)e->packed;
    l->numbers8_at = (float *)(uintptr_t)((const char *)e->packed + codes);
    return QUERN_OK;
}

static int load(loader *l)
{
    quern__encoder *e = l->e;
    size_t packed, codes, small;
    int rc = check_bounds(l);
    if (rc)
        return rc;
    measure(e, l->quantised, &packed, &codes, &small);
    e->layers = quern__calloc(e->layer_count, sizeof *e->layers);
    e->groups = quern__calloc((size_t)e->layer_count * e->group_count, sizeof *e->groups);
    e->chunks = quern__calloc((size_t)e->layer_count * e->chunk_count, sizeof *e->chunks);
    l->row_copies = quern__alloc_array((size_t)QUERN__PANEL_MAX * QUERN__PIECE, sizeof(float));
    const size_t widest = QUERN__MAX(groups_width(e), QUERN__MAX(e->hidden, QUERN__PIECE));
    if (l->quantised) {
        l->row8 = quern__alloc_array(widest, sizeof *l->row8);
        l->scale8 = quern__alloc_array(widest, sizeof *l->scale8);
        l->step8 = quern__alloc_array(widest, sizeof *l->step8);
        l->stride8 = quern__alloc_array(widest, sizeof *l->stride8);
        if (!l->row8 || !l->scale8 || !l->step8 || !l->stride8)
            return quern__fail_memory(l->err, widest * sizeof *l->row8);
    }
    e->packed_size = packed;
    e->small_size = small * sizeof(float);
    e->small = quern__alloc_pages(e->small_size);
    if (!e->layers || !e->groups || !e->chunks || !l->row_copies || !e->small)
        return quern__fail_memory(l->err, e->small_size);
    rc = get_packed(l, codes);
    l->small_at = e->small;
    if (!rc)
        rc = load_words(l);
    if (!rc)
        rc = load_turns(l);
    for (uint32_t i = 0; !rc && i < e->layer_count; i++)
        rc = load_layer(l, i);
    if (!rc)
        rc = load_positions(l);
    return rc || !l->e->family->distances ? rc : load_distances(l);
}

/* A checkpoint of a larger model calls its encoder by the family's name. */
static const char *find_prefix(const loader *l)
{
    const quern__family *f = l->e->family;
    char name[NAME_SIZE + 16];
    const size_t front = (size_t)snprintf(name, sizeof name, "%s", f->prefix);
    quern__family_tensor(f, "embeddings.word_embeddings.weight", name + front, sizeof name - front);
    return !quern__weights_find(l->file, name + front) && quern__weights_find(l->file, name)
               ? f->prefix
               : "";
}

void quern__encoder_sizes(const quern__encoder *e, quern__quantised *q)
{
    q->layers = e->layer_count;
    q->hidden = e->hidden;
    q->intermediate = e->intermediate;
    q->queries = e->heads * e->depth;
    q->keys = e->key_heads * e->depth;
    q->gated = quern__family_gated(e->family);
}

static int check_sizes(const quern__encoder *e, const quern__quantised *q, quern_error *err)
{
    quern__quantised want;
    quern__encoder_sizes(e, &want);
    if (q->layers == want.layers && q->hidden == want.hidden &&
        q->intermediate == want.intermediate && q->queries == want.queries &&
        q->keys == want.keys && q->gated == want.gated)
        return q->four ? quern__check_four(q->hidden, q->intermediate, err) : QUERN_OK;
    return quern__fail(err, QUERN_EFORMAT, 0,
                       "the quantised weights are of %u layers, %u by %u, with heads of %u and %u "
                       "columns%s; the model has %u, %u by %u, %u and %u%s (%s)",
                       q->layers, q->hidden, q->intermediate, q->queries, q->keys,
                       q->gated ? ", gated" : "", want.layers, want.hidden, want.intermediate,
                       want.queries, want.keys, want.gated ? ", gated" : "",
                       quern__quantise_command(q->four));
}

/* What an exported graph computes with, against what config.json says that the model is. */
static int check_graph(const quern__model_config *c, const quern__weights *weights,
                       quern_error *err)
{
    const quern__weights_graph *g = quern__weights_graph_of(weights);
    if (!g->known)
        return QUERN_OK;
    if (g->heads != c->heads)
        return quern__fail(err, QUERN_EMISMATCH, g->heads,
                           "config.json says %u heads (num_attention_heads), the exported graph "
                           "has %u",
                           c->heads, g->heads);
    if (!(fabs(g->epsilon - (double)c->layer_norm_eps) <= 1e-6))
        return quern__fail(err, QUERN_EMISMATCH, 0,
                           "config.json says epsilon %g (layer_norm_eps), the exported graph's "
                           "LayerNorms have %g",
                           (double)c->layer_norm_eps, g->epsilon);
    return QUERN_OK;
}

/* *stale: what came from an image lies otherwise than it would be packed now. */
static int open_class(quern__encoder **out, const quern__model_config *config,
                      const quern__weights *weights, const quern__quantised *quantised,
                      const quern__kernels *kernels, const quern__int8_kernels *int8,
                      uint32_t max_tokens, const quern__image_place *place, bool *stale,
                      quern_error *err)
{
    *out = NULL;
    quern__encoder *e = quern__calloc(1, sizeof *e);
    if (!e)
        return quern__fail_memory(err, sizeof *e);
    e->family = quern__family_find(config->family);
    e->prefix = "";
    e->kernels = kernels;
    e->int8 = int8;
    loader l = {.e = e,
                .config = config,
                .file = weights,
                .quantised = quantised,
                .place = *stale ? NULL : place,
                .err = err};
    if (e->family)
        e->prefix = find_prefix(&l);
    const quern__fpenv env = quern__fpenv_enter(); /* the scale and rule 3 are computed here */
    int rc = read_shape(e, config, max_tokens, err);
    if (!rc)
        rc = check_graph(config, weights, err);
    if (!rc && quantised)
        rc = check_sizes(e, quantised, err);
    if (!rc && !config->dense_count)
        rc = quern__head_open(&e->head, config, NULL, kernels, err);
    if (!rc)
        rc = load(&l);
    quern__fpenv_leave(env);
    *stale = !rc && l.filled && l.trace != e->image.trace;
    if (!rc && !l.filled && place && !place->only)
        quern__image_keep(place, e->packed, e->packed_size, l.trace);
    quern__free(l.row_copies);
    quern__free(l.row8);
    quern__free(l.scale8);
    quern__free(l.step8);
    quern__free(l.stride8);
    if (rc || *stale)
        quern__encoder_free(e);
    else
        *out = e;
    return rc;
}

static int open_table(quern__encoder **out, const quern__model_config *config,
                      const quern__weights *weights, const quern__kernels *kernels,
                      uint32_t max_tokens, quern_error *err)
{
    quern__encoder *e = quern__calloc(1, sizeof *e);
    *out = NULL;
    if (!e)
        return quern__fail_memory(err, sizeof *e);
    e->kernels = kernels;
    e->hidden = config->hidden;
    e->vocab = config->vocab;
    e->max_tokens = max_tokens;
    e->width = config->dimensions ? config->dimensions : config->hidden;
    int rc = quern__lookup_open(&e->lookup, config, weights, kernels, err);
    if (rc)
        quern__encoder_free(e);
    else
        *out = e;
    return rc;
}

int quern__encoder_open_kept(quern__encoder **out, const quern__model_config *config,
                             const quern__weights *weights, const quern__quantised *quantised,
                             const quern__kernels *kernels, const quern__int8_kernels *int8,
                             uint32_t max_tokens, const quern__image_place *place, quern_error *err)
{
    QUERN__REQUIRE(out && config && weights && kernels && !quantised == !int8 && !config->table,
                   err);
    bool stale = false;
    int rc =
        open_class(out, config, weights, quantised, kernels, int8, max_tokens, place, &stale, err);
    if (stale && place && place->only)
        return quern__fail(err, QUERN_ENOTFOUND, 0, "packed weights of another layout");
    return stale ? open_class(out, config, weights, quantised, kernels, int8, max_tokens, place,
                              &stale, err)
                 : rc;
}

int quern__encoder_measure(const quern__model_config *config, const quern__weights *weights,
                           const quern__kernels *kernels, const quern__int8_kernels *int8,
                           const quern__quantised *quantised, uint32_t max_tokens, uint64_t *bytes,
                           quern_error *err)
{
    const quern__tensor *words;
    size_t packed, codes, small;
    QUERN__REQUIRE(config && weights && kernels && bytes && !int8 == !quantised, err);
    *bytes = 0;
    if (config->table)
        return QUERN_OK;
    quern__encoder *e = quern__calloc(1, sizeof *e);
    if (!e)
        return quern__fail_memory(err, sizeof *e);
    loader l = {.e = e, .config = config, .file = weights, .err = err};
    e->family = quern__family_find(config->family);
    e->kernels = kernels;
    e->int8 = int8;
    e->prefix = e->family ? find_prefix(&l) : "";
    int rc = read_shape(e, config, max_tokens, err);
    if (!rc)
        rc = check_bounds(&l);
    if (!rc)
        rc = find(&l, "embeddings.word_embeddings.weight", 2, e->vocab, e->hidden, &words);
    if (!rc) {
        measure(e, quantised, &packed, &codes, &small);
        *bytes = (uint64_t)packed + small * sizeof(float) + turns_bytes(e, config) +
                 (quern__tensor_floats(words) ? 0 : words->count * sizeof(float)) +
                 quern__head_measure(config, kernels->base ? kernels->base : kernels);
    }
    quern__free(e);
    return rc;
}

bool quern__encoder_has_image(const quern__encoder *e)
{
    return e->image.data != NULL;
}

int quern__encoder_open(quern__encoder **out, const quern__model_config *config,
                        const quern__weights *weights, const quern__kernels *kernels,
                        uint32_t max_tokens, quern_error *err)
{
    QUERN__REQUIRE(out && config && weights && kernels, err);
    if (config->table)
        return open_table(out, config, weights, kernels, max_tokens, err);
    return quern__encoder_open_kept(out, config, weights, NULL, kernels, NULL, max_tokens, NULL,
                                    err);
}

int quern__encoder_open_int8(quern__encoder **out, const quern__model_config *config,
                             const quern__weights *weights, const quern__quantised *quantised,
                             const quern__kernels *kernels, const quern__int8_kernels *int8,
                             uint32_t max_tokens, quern_error *err)
{
    QUERN__REQUIRE(quantised && int8, err);
    return quern__encoder_open_kept(out, config, weights, quantised, kernels, int8, max_tokens,
                                    NULL, err);
}

int quern__encoder_add_dense(quern__encoder *e, const quern__model_config *config,
                             const quern__weights *const *dense, quern_error *err)
{
    QUERN__REQUIRE(e && config && !e->head, err);
    return quern__head_open(&e->head, config, dense,
                            e->kernels->base ? e->kernels->base : e->kernels, err);
}

uint32_t quern__encoder_width(const quern__encoder *e)
{
    return e->width;
}

void quern__encoder_free(quern__encoder *e)
{
    if (!e)
        return;
    quern__head_free(e->head);
    quern__lookup_free(e->lookup);
    quern__free_pages(e->packed_own, e->packed_size);
    quern__image_close(&e->image);
    quern__free_pages(e->small, e->small_size);
    quern__free_pages(e->widened, e->widened_size);
    quern__free_pages(e->turns, e->turns_size);
    quern__free(e->layers);
    quern__free(e->groups);
    quern__free(e->chunks);
    quern__free(e);
}

uint64_t quern__encoder_bytes(const quern__encoder *e)
{
    return (uint64_t)e->packed_size + e->small_size + e->widened_size + e->turns_size +
           (e->head ? quern__head_bytes(e->head) : 0) +
           (e->lookup ? quern__lookup_bytes(e->lookup) : 0);
}
