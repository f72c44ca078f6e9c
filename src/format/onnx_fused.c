/*
 * onnx_fused.c — operations that stand for several of an encoder's: those of com.microsoft, as onnxruntime's optimiser writes them
 * (EmbedLayerNormalization, Attention, MultiHeadAttention, SkipLayerNormalization, Gelu, BiasGelu, FusedMatMul), and ONNX's own Attention of
 * opset 23. Each is taken apart into the values that onnx_encoder.c makes of single operations, and held to the same numbers: the
 * scale of scores, heads, epsilon, nothing added for a text without padding. A packed matrix of queries, keys and values is three
 * tensors that lie side by side in its rows (onnx_file.h: pitch), in that order, which is the operation's definition.
 *
 * What is not an encoder's of this family stays refused by its name: FastGelu and QuickGelu (another function), Simplified
 * normalisations, rotary positions, quantised attention.
 */
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "format/onnx_walk.h"

typedef quern__walk walk;
typedef quern__tag tag;

#define SCALE_SLACK 1e-3
#define EXACT_SLACK 1e-6

static bool is(const quern__onnx_node *node, const char *op)
{
    return quern__str_is(node->op, op);
}

/* Is there an input, or an output, of that number? */
static bool given(const walk *k, const quern__onnx_node *node, uint32_t i)
{
    return i < node->input_n && k->f.names[node->inputs + i].len;
}

static bool gives(const walk *k, const quern__onnx_node *node, uint32_t i)
{
    return i < node->output_n && k->f.names[node->outputs + i].len;
}

static int whole_of(walk *k, const quern__onnx_node *node, const char *name, int64_t otherwise,
                    int64_t *out)
{
    quern__onnx_attribute a;
    bool has;
    int rc = quern__onnx_attribute_of(&k->f, node, name, &has, &a, k->err);
    *out = has ? a.i : otherwise;
    return rc;
}

static int real_of(walk *k, const quern__onnx_node *node, const char *name, double otherwise,
                   double *out)
{
    quern__onnx_attribute a;
    bool has;
    int rc = quern__onnx_attribute_of(&k->f, node, name, &has, &a, k->err);
    *out = has ? (double)a.f : otherwise;
    return rc;
}

/* The first of `names` (NULL-terminated) that is there and not 0: it would change what is computed. */
static int refuse_switches(walk *k, const quern__onnx_node *node, const char *const *names,
                           tag *out)
{
    quern__onnx_attribute a;
    bool has;
    int rc = QUERN_OK;
    for (; rc == QUERN_OK && *names; names++) {
        rc = quern__onnx_attribute_of(&k->f, node, *names, &has, &a, k->err);
        if (rc == QUERN_OK && has && (a.i || a.f != 0 || a.n))
            *out =
                quern__lost_because(k, "has the attribute %s, which no encoder has here", *names);
    }
    return rc;
}

static bool has_inputs(const walk *k, const quern__onnx_node *node, uint32_t from)
{
    for (uint32_t i = from; i < node->input_n; i++)
        if (given(k, node, i))
            return true;
    return false;
}

/* [1, tokens, columns], and nothing else: an axis of size 1 elsewhere would make a batch of what is one text. */
static bool is_text(tag t)
{
    uint32_t columns;
    return t.view.rank == 3 && t.view.axis[0].size == 1 && quern__view_is_rows(&t.view, &columns);
}

/* Of one shape, or one of the other's. */
static tag together(walk *k, tag x, tag y)
{
    return quern__view_covers(&x.view, &y.view) || quern__view_covers(&y.view, &x.view)
               ? quern__add(k, x, y)
               : quern__lost_because(k, "makes more of two values than either of them is");
}

/* ---- parts of a packed tensor ---- */

/* Columns first .. first + n of a stored matrix [inputs, outputs], or elements of a list, as a tensor of their own. */
static int slice(walk *k, tag whole, uint64_t first, uint64_t n, int64_t *out)
{
    const quern__onnx_tensor *t = quern__tensor_of(k, whole);
    const size_t width = t->dtype == QUERN__F32 ? 4 : 2;
    quern__onnx_tensor made = *t;
    made.derived = made.sliced = true;
    made.pitch = t->rank == 2 ? t->shape[1] : 0;
    made.shape[t->rank - 1] = n;
    made.count = t->rank == 2 ? t->shape[0] * n : n;
    made.offset += (size_t)first * width;
    made.bytes = (size_t)(t->rank == 2 ? (t->shape[0] - 1) * made.pitch + n : n) * width;
    return quern__onnx_derive(&k->f, &made, out, k->err);
}

/* Stored floats of that many dimensions, whose last is three times `third`; 0: any. */
static bool is_packed(const walk *k, tag t, uint32_t rank, uint64_t third)
{
    const quern__onnx_tensor *x = quern__tensor_of(k, t);
    return quern__has_rank(k, t, rank) && !x->derived && !t.turned && !x->trouble &&
           x->dtype != QUERN__CODES && x->shape[0] && x->shape[rank - 1] &&
           x->shape[rank - 1] % 3 == 0 && (!third || x->shape[rank - 1] == 3 * third);
}

/* ---- attention ---- */

/* The numbers of a mask that says how many tokens there are, or which: all of them. */
static bool masks_nothing(const walk *k, tag mask)
{
    const quern__numbers *n = mask.numbers;
    double all;
    if (quern__is_value(mask) || !n || !n->count)
        return false;
    if (n->count == 1 || n->count == 2) /* the end of the text, and its beginning */
        return quern__number_at(n, 0) == k->tokens &&
               (n->count == 1 || quern__number_at(n, 1) == 0);
    return n->count % k->tokens == 0 && quern__numbers_are_one(n, &all) && all == 1;
}

/* The context of queries, keys and values in that many heads of `depth` columns, with `scale` (0: 1 / the root of them). */
static tag context_of(walk *k, const tag qkv[3], uint32_t heads, uint32_t depth, double scale,
                      const quern__view *view)
{
    if (k->heads && k->heads != heads)
        return quern__lost_because(k, "is of %u heads, and others of %u", heads, k->heads);
    const double root = sqrt(depth), by = (scale == 0 ? 1 / root : scale) * qkv[0].by * qkv[1].by;
    if (!(fabs(by * root - 1) <= SCALE_SLACK))
        return quern__lost_because(k, "is of scores times %.7g; its heads need %.7g", by, 1 / root);
    if (!(fabs(qkv[2].by - 1) <= EXACT_SLACK))
        return quern__lost_because(k, "multiplies values that are times %g", qkv[2].by);
    k->heads = heads;
    return (tag){.kind = QUERN__CONTEXT,
                 .a = qkv[0].a,
                 .b = qkv[1].a,
                 .c = qkv[2].a,
                 .tensor = -1,
                 .view = *view};
}

/* Of rows of queries, keys and values their context. */
static tag attend(walk *k, const tag qkv[3], int64_t heads, double scale)
{
    uint32_t columns[3];
    for (int i = 0; i < 3; i++)
        if (qkv[i].kind != QUERN__LINEAR || !is_text(qkv[i]) ||
            !quern__view_is_rows(&qkv[i].view, &columns[i]))
            return quern__lost_because(k, "is not of rows of queries, keys and values with biases");
    if (heads < 1 || heads > columns[0] || columns[0] % (uint64_t)heads ||
        columns[1] != columns[0] || columns[2] != columns[0])
        return quern__lost_because(k, "cuts %u, %u and %u columns into %lld heads", columns[0],
                                   columns[1], columns[2], (long long)heads);
    return context_of(k, qkv, (uint32_t)heads, columns[0] / (uint32_t)heads, scale, &qkv[0].view);
}

/* A third of the packed matrix and of its bias, times x. */
static int third_of(walk *k, tag x, tag matrix, tag bias, uint64_t i, uint64_t n, tag *out)
{
    tag part = {.kind = QUERN__CONST, .tensor = -1};
    int64_t of_bias = -1;
    int rc = slice(k, matrix, i * n, n, &part.tensor);
    if (rc == QUERN_OK)
        rc = slice(k, bias, i * n, n, &of_bias);
    if (rc)
        return rc;
    *out = quern__product_of(k, x, part, false);
    if (out->kind == QUERN__PRODUCT) {
        k->products[out->a].bias = of_bias;
        out->kind = QUERN__LINEAR;
    }
    return QUERN_OK;
}

static int attention(walk *k, const quern__onnx_node *node, const tag *in, tag *out)
{
    static const char *const switches[] = {"unidirectional",       "do_rotary",
                                           "rotary_embedding_dim", "past_present_share_buffer",
                                           "qkv_hidden_sizes",     NULL};
    int64_t heads = 0;
    double scale = 0;
    tag qkv[3];
    int rc = whole_of(k, node, "num_heads", 0, &heads);
    if (rc == QUERN_OK)
        rc = real_of(k, node, "scale", 0, &scale);
    *out = quern__meta;
    if (rc == QUERN_OK)
        rc = refuse_switches(k, node, switches, out);
    if (rc || out->kind == QUERN__LOST)
        return rc;
    if (has_inputs(k, node, 4) || gives(k, node, 1)) {
        *out = quern__lost_because(k, "has a past, or adds to its scores");
    } else if (in[0].kind != QUERN__HIDDEN || !is_text(in[0]) || !is_packed(k, in[1], 2, 0) ||
               !is_packed(k, in[2], 1, quern__tensor_of(k, in[1])->shape[1] / 3)) {
        *out = quern__lost_because(k, "has no packed weights and biases of a hidden state");
    } else if (given(k, node, 3) && !masks_nothing(k, in[3])) {
        *out = quern__lost_because(k, "has a mask that is not known to let a whole text pass");
    } else {
        const uint64_t third = quern__tensor_of(k, in[1])->shape[1] / 3;
        for (uint64_t i = 0; rc == QUERN_OK && i < 3; i++)
            rc = third_of(k, in[0], in[1], in[2], i, third, &qkv[i]);
        for (int i = 0; rc == QUERN_OK && i < 3; i++)
            if (qkv[i].kind == QUERN__LOST) {
                *out = qkv[i];
                return QUERN_OK;
            }
        if (rc == QUERN_OK)
            *out = attend(k, qkv, heads, scale);
    }
    return rc;
}

static int many_heads(walk *k, const quern__onnx_node *node, const tag *in, tag *out)
{
    static const char *const switches[] = {"unidirectional", NULL};
    int64_t heads = 0, bias;
    double scale = 0;
    uint32_t columns;
    tag qkv[3] = {in[0], in[1], in[2]};
    int rc = whole_of(k, node, "num_heads", 0, &heads);
    if (rc == QUERN_OK)
        rc = real_of(k, node, "scale", 0, &scale);
    *out = quern__meta;
    if (rc == QUERN_OK)
        rc = refuse_switches(k, node, switches, out);
    if (rc || out->kind == QUERN__LOST)
        return rc;
    if (has_inputs(k, node, 5) || gives(k, node, 1) || gives(k, node, 2) || gives(k, node, 3)) {
        *out = quern__lost_because(k, "has a past, or adds to its scores");
        return QUERN_OK;
    }
    if (given(k, node, 4) && !masks_nothing(k, in[4])) {
        *out = quern__lost_because(k, "has a mask that is not known to let a whole text pass");
        return QUERN_OK;
    }
    const bool packed = given(k, node, 3);
    if (packed &&
        (!quern__view_is_rows(&in[0].view, &columns) || !is_packed(k, in[3], 1, columns))) {
        *out = quern__lost_because(k, "has biases that are no three of its columns");
        return QUERN_OK;
    }
    for (uint64_t i = 0; rc == QUERN_OK && packed && i < 3; i++) {
        if (qkv[i].kind != QUERN__PRODUCT || k->products[qkv[i].a].bias >= 0) {
            *out = quern__lost_because(k, "adds a second bias, or one to what is no product");
            return QUERN_OK;
        }
        rc = slice(k, in[3], i * columns, columns, &bias);
        if (rc == QUERN_OK) {
            k->products[qkv[i].a].bias = bias;
            qkv[i].kind = QUERN__LINEAR;
        }
    }
    if (rc == QUERN_OK)
        *out = attend(k, qkv, heads, scale);
    return rc;
}

/* Heads that lie apart: [1, heads, tokens, columns]. */
static tag attend_apart(walk *k, const tag *in, double scale)
{
    const quern__view *q = &in[0].view;
    quern__view keys = in[1].view, scores, context = {0};
    uint32_t heads, depth;
    if (q->rank != 4 || keys.rank != 4)
        return quern__lost_because(k, "says neither heads nor has them apart");
    const struct quern__view_axis last = keys.axis[keys.rank - 1];
    keys.axis[keys.rank - 1] = keys.axis[keys.rank - 2];
    keys.axis[keys.rank - 2] = last;
    if (in[0].kind != QUERN__LINEAR || in[1].kind != QUERN__LINEAR || in[2].kind != QUERN__LINEAR ||
        !quern__view_scores(q, &keys, &scores, &heads, &depth) ||
        !quern__view_context(&scores, &in[2].view, &context))
        return quern__lost_because(k, "is not of heads of queries, keys and values with biases");
    return context_of(k, in, heads, depth, scale, &context);
}

int quern__step_attention(walk *k, const quern__onnx_node *node, const tag *in, tag *out)
{
    static const char *const switches[] = {"is_causal", "softcap", "qk_matmul_output_mode", NULL};
    int64_t heads = 0, key_heads = 0;
    double scale = 0, masked = 0;
    int rc = whole_of(k, node, "q_num_heads", 0, &heads);
    if (rc == QUERN_OK)
        rc = whole_of(k, node, "kv_num_heads", 0, &key_heads);
    if (rc == QUERN_OK)
        rc = real_of(k, node, "scale", INFINITY, &scale);
    if (scale == 0) { /* which is no way to leave it out here */
        *out = quern__lost_because(k, "is of scores times 0");
        return rc;
    }
    scale = isinf(scale) ? 0 : scale;
    *out = quern__meta;
    if (rc == QUERN_OK)
        rc = refuse_switches(k, node, switches, out);
    if (rc || out->kind == QUERN__LOST)
        return rc;
    const bool mask = given(k, node, 3);
    const quern__numbers *n = in[3].numbers;
    if (has_inputs(k, node, 4) || gives(k, node, 1) || gives(k, node, 2) || gives(k, node, 3))
        *out = quern__lost_because(k, "has a past, or gives more than a context");
    else if (mask && (quern__is_value(in[3]) || !quern__numbers_are_one(n, &masked) ||
                      masked != (n->kind == QUERN__TRUTH)))
        *out = quern__lost_because(k, "has a mask that is not known to let a whole text pass");
    else if (heads && heads == key_heads)
        *out = attend(k, in, heads, scale);
    else
        *out = heads || key_heads ? quern__lost_because(k,
                                                        "is of %lld heads of queries and %lld "
                                                        "of keys",
                                                        (long long)heads, (long long)key_heads)
                                  : attend_apart(k, in, scale);
    return QUERN_OK;
}

/* ---- the others ---- */

/* LayerNorm of two values and perhaps a bias: (x, skip, gamma, beta, bias). */
static int skip_norm(walk *k, const quern__onnx_node *node, const tag *in, tag *out)
{
    double epsilon = 0;
    int rc = real_of(k, node, "epsilon", 1e-12, &epsilon);
    if (rc)
        return rc;
    *out = quern__lost(k);
    if (gives(k, node, 1) || gives(k, node, 2) || gives(k, node, 3)) {
        *out = quern__lost_because(k, "gives more than what it normalises");
        return QUERN_OK;
    }
    const int at = in[0].kind == QUERN__PRODUCT || in[0].kind == QUERN__LINEAR ? 0 : 1;
    tag x = in[at], sum;
    if (given(k, node, 4))
        x = x.kind == QUERN__PRODUCT && in[4].kind == QUERN__CONST ? quern__add(k, x, in[4])
                                                                   : quern__lost(k);
    sum = x.kind == QUERN__LOST ? x : together(k, x, in[1 - at]);
    *out = sum.kind == QUERN__LOST ? sum : quern__norm(k, sum, in[2], in[3], epsilon);
    return QUERN_OK;
}

/* Words, positions and token types, their sum normalised: (ids, types' ids, words, positions, types, gamma, beta, mask, positions' ids). */
static int embed_norm(walk *k, const quern__onnx_node *node, const tag *in, tag *out)
{
    double epsilon = 0, all;
    tag counted = quern__meta;
    int rc = real_of(k, node, "epsilon", 1e-12, &epsilon);
    if (rc)
        return rc;
    *out = quern__lost(k);
    counted.numbers = given(k, node, 8) ? in[8].numbers : quern__numbers_count(&k->room, k->tokens);
    if (in[0].kind != QUERN__IDS || !quern__has_rank(k, in[2], 2) ||
        !quern__has_rank(k, in[3], 2) || in[2].turned || in[3].turned ||
        given(k, node, 1) != given(k, node, 4) || quern__is_value(in[1]) ||
        quern__is_value(in[8]) || gives(k, node, 2))
        return QUERN_OK;
    tag sum = quern__gather_rows(k, in[2], in[0]), places = quern__gather_rows(k, in[3], counted);
    if (sum.kind == QUERN__TABLES && places.kind == QUERN__TABLES && places.a == QUERN__PLACES)
        sum = together(k, sum, places);
    else
        sum = quern__lost_because(k, "has other words, or other positions than from 0 on");
    if (sum.kind == QUERN__TABLES && given(k, node, 4)) {
        const tag types = quern__has_rank(k, in[4], 2) && !in[4].turned
                              ? quern__gather_rows(k, in[4], in[1])
                              : quern__lost(k);
        sum = types.kind == QUERN__TABLES && types.a == QUERN__TYPES
                  ? together(k, sum, types)
                  : quern__lost_because(k, "has token types other than 0");
    }
    *out = sum.kind == QUERN__TABLES ? quern__norm(k, sum, in[5], in[6], epsilon) : sum;
    /* Its second result: how many tokens the mask lets pass. */
    if (given(k, node, 7) && quern__numbers_are_one(in[7].numbers, &all) && all == 1 &&
        in[7].numbers->count == k->tokens) {
        const uint32_t one = 1;
        k->beside.numbers = quern__numbers_fill(&k->room, QUERN__WHOLE, 1, &one, k->tokens);
    }
    return QUERN_OK;
}

/* MatMul times alpha, with its second input's last two axes exchanged. */
static int scaled_product(walk *k, const quern__onnx_node *node, const tag *in, tag *out)
{
    static const char *const switches[] = {"transA", "transBatchA", "transBatchB", NULL};
    int64_t turned = 0;
    double alpha = 1;
    tag y = in[1];
    int rc = whole_of(k, node, "transB", 0, &turned);
    if (rc == QUERN_OK)
        rc = real_of(k, node, "alpha", 1, &alpha);
    *out = quern__meta;
    if (rc == QUERN_OK)
        rc = refuse_switches(k, node, switches, out);
    if (rc || out->kind == QUERN__LOST)
        return rc;
    if (turned && quern__is_value(y)) {
        const uint32_t last = y.view.rank - 1;
        if (y.view.rank < 2) {
            *out = quern__lost(k);
            return QUERN_OK;
        }
        const struct quern__view_axis swap = y.view.axis[last];
        y.view.axis[last] = y.view.axis[last - 1];
        y.view.axis[last - 1] = swap;
    }
    *out = y.kind == QUERN__CONST ? quern__product_of(k, in[0], y, turned != 0)
                                  : quern__matmul(k, in[0], y);
    if (out->kind == QUERN__SCORES)
        out->by *= alpha;
    else if (out->kind != QUERN__LOST && alpha != 1)
        *out = quern__lost_because(k, "is times %g, which only scores may be", alpha);
    return QUERN_OK;
}

static tag bias_gelu(walk *k, const quern__onnx_node *node, const tag *in)
{
    tag x = in[0];
    if (given(k, node, 1))
        x = x.kind == QUERN__PRODUCT && in[1].kind == QUERN__CONST ? quern__add(k, x, in[1])
                                                                   : quern__lost(k);
    if (x.kind != QUERN__LINEAR || !(fabs(x.by - 1) <= EXACT_SLACK))
        return x.kind == QUERN__LOST ? x : quern__lost(k);
    x.kind = QUERN__ACTIVE;
    x.by = 0.5;
    return x;
}

int quern__step_fused(walk *k, const quern__onnx_node *node, const tag *in, bool values, bool *took,
                      tag *out)
{
    *took = true;
    if (is(node, "EmbedLayerNormalization") && node->input_n >= 7)
        return embed_norm(k, node, in, out);
    *took = values;
    if (!values)
        return QUERN_OK;
    *out = quern__lost(k);
    if (is(node, "Attention") && node->input_n >= 3)
        return attention(k, node, in, out);
    if (is(node, "MultiHeadAttention") && node->input_n >= 3)
        return many_heads(k, node, in, out);
    if (is(node, "FusedMatMul") && node->input_n == 2 && quern__is_value(in[0]))
        return scaled_product(k, node, in, out);
    if (is(node, "SkipLayerNormalization") && node->input_n >= 4)
        return skip_norm(k, node, in, out);
    if ((is(node, "BiasGelu") && node->input_n == 2) || (is(node, "Gelu") && node->input_n == 1))
        *out = bias_gelu(k, node, in);
    else if (is(node, "FastGelu") || is(node, "QuickGelu"))
        *out = quern__lost_because(k, "is another function than the encoder's GELU, which has erf");
    return QUERN_OK;
}
