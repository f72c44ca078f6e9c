/*
 * onnx_pooling.c — what a graph makes of its last hidden state: one row for the text, as a sentence-transformers export has it. Where
 * a folder has no modules.json that is all there is to say how the model pools; what is not understood here is then not guessed.
 *
 * A vector that is a sum times a number is followed as that: with as many tokens as the walk has, 1/tokens is a mean.
 */
#include <math.h>

#include "base/json.h"
#include "format/model_config.h"
#include "format/onnx_walk.h"

typedef quern__walk walk;
typedef quern__tag tag;

#define SLACK 1e-4 /* for constants of narrow types */

static bool is(const quern__onnx_node *node, const char *op)
{
    return quern__str_is(node->op, op);
}

/* The only axis of that kind that is not 1. */
static bool axis_of(const quern__view *v, int kind, uint32_t *out)
{
    uint32_t n = 0;
    *out = 0;
    for (uint32_t i = 0; i < v->rank; i++)
        if (v->axis[i].size != 1 && v->axis[i].kind == kind) {
            *out = i;
            n++;
        }
    return n == 1;
}

static tag vector_of(tag x, uint32_t how, uint32_t axis, bool keep)
{
    tag out = {.kind = QUERN__VECTOR, .a = how, .c = x.a, .tensor = -1, .by = 1, .view = x.view};
    if (keep) {
        out.view.axis[axis].size = 1;
        return out;
    }
    out.view.rank--;
    for (uint32_t i = axis; i < out.view.rank; i++)
        out.view.axis[i] = x.view.axis[i + 1];
    return out;
}

/* A sum, a mean or the largest over the tokens. */
static int reduce(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n, tag *out)
{
    quern__onnx_attribute keep;
    uint32_t bits, axis;
    bool has, all;
    int rc = quern__onnx_attribute_of(&k->f, node, "keepdims", &has, &keep, k->err);
    if (rc || !axis_of(&in[0].view, QUERN__TOKENS, &axis) ||
        !quern__axes_of(&k->f, node, in[1].numbers, n == 2, in[0].view.rank, &bits, &all, k->err) ||
        all || bits != 1u << axis)
        return rc;
    *out = vector_of(in[0], is(node, "ReduceMax") ? QUERN__POOLED_MOST : QUERN__POOLED_SUM, axis,
                     !has || keep.i);
    if (is(node, "ReduceMean"))
        out->by = 1.0 / k->tokens;
    return QUERN_OK;
}

/* The row of one token. */
static uint32_t one_token(const walk *k, double at)
{
    return at == 0 ? QUERN__POOLED_FIRST : at == -1 || at == k->tokens - 1 ? QUERN__POOLED_LAST : 0;
}

static int pick(walk *k, const quern__onnx_node *node, const tag *in, tag *out)
{
    quern__onnx_attribute a;
    uint32_t axis, wanted;
    double at;
    bool has;
    int rc = quern__onnx_attribute_of(&k->f, node, "axis", &has, &a, k->err);
    if (rc || !axis_of(&in[0].view, QUERN__TOKENS, &axis) ||
        !quern__axis_of(has ? a.i : 0, in[0].view.rank, &wanted) || wanted != axis ||
        !quern__numbers_are_one(in[1].numbers, &at) || in[1].numbers->count != 1 ||
        in[1].numbers->rank > 1 || !one_token(k, at))
        return rc;
    *out = vector_of(in[0], one_token(k, at), axis, in[1].numbers->rank == 1);
    return QUERN_OK;
}

/* in: data, starts, ends, axes, steps. All of an axis is no change. */
static tag slice(const walk *k, const tag *in, uint32_t n, tag otherwise)
{
    const tag x = in[0];
    uint32_t tokens, axis, first, last;
    double start, end, which, step = 1;
    if (n < 4 || !quern__numbers_are_one(in[1].numbers, &start) ||
        !quern__numbers_are_one(in[2].numbers, &end) ||
        !quern__numbers_are_one(in[3].numbers, &which) || in[3].numbers->count != 1 ||
        in[1].numbers->count != 1 || in[2].numbers->count != 1 || !(fabs(which) < 64) ||
        !quern__axis_of((int64_t)which, x.view.rank, &axis) ||
        (n > 4 && (!quern__numbers_are_one(in[4].numbers, &step) || step != 1)))
        return otherwise;
    const uint32_t size = x.view.axis[axis].size;
    quern__slice_bounds(start, end, size, &first, &last);
    if (first == 0 && last == size)
        return x;
    if (!axis_of(&x.view, QUERN__TOKENS, &tokens) || tokens != axis || last != first + 1 ||
        !one_token(k, first))
        return otherwise;
    return vector_of(x, one_token(k, first), axis, true);
}

/* A row of one number times the rows: their sum times it. */
static tag weighted(const tag *in, tag otherwise)
{
    const quern__numbers *n = in[0].numbers;
    uint32_t columns;
    double c;
    const tag x = in[1];
    if (!quern__numbers_are_one(n, &c) || !quern__view_is_rows(&x.view, &columns) ||
        n->rank != x.view.rank || x.view.axis[x.view.rank - 2].size != n->shape[n->rank - 1] ||
        n->count != n->shape[n->rank - 1])
        return otherwise;
    tag out = vector_of(x, QUERN__POOLED_SUM, x.view.rank - 2, true);
    out.by = c;
    return out;
}

static int of_hidden(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n, tag *out)
{
    double c, other;
    if (is(node, "Mul") && n == 2) {
        const tag x = in[0].kind == QUERN__HIDDEN ? in[0] : in[1],
                  y = in[0].kind == QUERN__HIDDEN ? in[1] : in[0];
        if (quern__factor(&x.view, y, &c) && c == 1)
            *out = x;
    } else if (is(node, "Where") && n == 3) {
        const int at = in[1].kind == QUERN__HIDDEN ? 1 : 2;
        if (quern__factor(&in[at].view, in[0], &c) && (c != 0) == (at == 1) &&
            quern__factor(&in[at].view, in[3 - at], &other))
            *out = in[at];
    } else if (is(node, "Slice")) {
        *out = slice(k, in, n, *out);
    } else if (is(node, "Gather") && n == 2) {
        return pick(k, node, in, out);
    } else if (is(node, "MatMul") && n == 2) {
        *out = weighted(in, *out);
    } else {
        return reduce(k, node, in, n, out);
    }
    return QUERN_OK;
}

/* The length over the columns, and the vector by it. */
static int length(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n, tag *out)
{
    quern__onnx_attribute keep, p, which;
    uint32_t bits, axis, chosen;
    bool has, has_p, has_which, all;
    int rc = quern__onnx_attribute_of(&k->f, node, "keepdims", &has, &keep, k->err);
    if (rc == QUERN_OK)
        rc = quern__onnx_attribute_of(&k->f, node, "p", &has_p, &p, k->err);
    if (rc == QUERN_OK)
        rc = quern__onnx_attribute_of(&k->f, node, "axis", &has_which, &which, k->err);
    if (rc || !axis_of(&in[0].view, QUERN__COLUMNS, &axis))
        return rc;
    if (is(node, "LpNormalization")) {
        if (n == 1 && (!has_p || p.i == 2) &&
            quern__axis_of(has_which ? which.i : -1, in[0].view.rank, &chosen) && chosen == axis) {
            *out = in[0];
            out->b = 1;
        }
        return QUERN_OK;
    }
    if (!quern__axes_of(&k->f, node, in[1].numbers, n == 2, in[0].view.rank, &bits, &all, k->err) ||
        (!all && bits != 1u << axis) || (all && !has))
        return QUERN_OK;
    *out = vector_of(in[0], in[0].a, axis, !has || keep.i);
    out->kind = QUERN__LENGTH;
    out->b = in[0].b;
    out->c = in[0].c;
    out->by = in[0].by;
    return QUERN_OK;
}

static bool same_vector(tag x, tag y)
{
    return x.a == y.a && x.b == y.b && x.c == y.c && x.by == y.by;
}

static tag of_vector(const quern__onnx_node *node, const tag *in, uint32_t n, tag otherwise)
{
    const bool first = in[0].kind == QUERN__VECTOR;
    const tag x = first ? in[0] : in[1], y = first ? in[1] : in[0];
    tag out = x;
    double c;
    if (is(node, "Concat") && n == 1)
        return x;
    if (n != 2)
        return otherwise;
    if (is(node, "Div") && first && y.kind == QUERN__LENGTH && same_vector(x, y)) {
        out.b = 1;
        return out;
    }
    if ((!is(node, "Mul") && !(is(node, "Div") && first)) || quern__is_value(y) ||
        !quern__factor(&x.view, y, &c) || !(c > 0) || !isfinite(1 / c))
        return otherwise;
    out.by = is(node, "Mul") ? x.by * c : x.by / c;
    return out;
}

/* What keeps a length from being nothing. */
static tag of_length(const walk *k, const quern__onnx_node *node, const tag *in, uint32_t n,
                     tag otherwise)
{
    double c;
    const bool second = n == 2 && in[1].kind == QUERN__LENGTH,
               bounded = n > 2 && k->f.names[node->inputs + 2].len;
    const tag x = in[second ? 1 : 0], y = in[second ? 0 : 1];
    if (is(node, "Expand") && n == 2 && !second)
        return x;
    const bool least = (is(node, "Max") && n == 2) || (is(node, "Clip") && !second && !bounded);
    return least && n >= 2 && quern__numbers_are_one(y.numbers, &c) && c < 1e-6 ? x : otherwise;
}

int quern__step_pooling(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n, tag *out,
                        bool *took)
{
    static const char *const ops[] = {"Mul",       "Gather", "ReduceMean", "ReduceMax",
                                      "ReduceSum", "Slice",  "Where",      NULL};
    static const char *const shapes[] = {"Shape",   "Unsqueeze", "Squeeze", "Reshape",
                                         "Flatten", "Cast",      "Dropout", "Identity",
                                         "MatMul",  "Gemm",      NULL};
    bool hidden = false, vector = false, length_in = false, pooling = false, shape = false;
    tag from = {0};
    *took = false;
    for (uint32_t i = 0; i < n; i++) {
        hidden = hidden || in[i].kind == QUERN__HIDDEN;
        vector = vector || in[i].kind == QUERN__VECTOR;
        length_in = length_in || in[i].kind == QUERN__LENGTH;
        if (in[i].kind == QUERN__HIDDEN || in[i].kind == QUERN__VECTOR ||
            in[i].kind == QUERN__LENGTH)
            from = in[i];
    }
    for (const char *const *s = ops; *s; s++)
        pooling = pooling || is(node, *s);
    for (const char *const *s = shapes; *s; s++)
        shape = shape || is(node, *s);
    pooling = pooling || (is(node, "MatMul") && n == 2 && in[1].kind == QUERN__HIDDEN &&
                          !quern__is_value(in[0]));
    const bool behind = vector || length_in;
    if (!n || (behind ? shape : !hidden || !pooling))
        return QUERN_OK;
    *took = true;
    *out = quern__lost(k);
    out->behind = true;
    out->c = from.kind == QUERN__HIDDEN ? from.a : from.c;
    if (!behind)
        return of_hidden(k, node, in, n, out);
    if (vector && (is(node, "ReduceL2") || is(node, "LpNormalization")))
        return length(k, node, in, n, out);
    *out = vector ? of_vector(node, in, n, *out) : of_length(k, node, in, n, *out);
    return QUERN_OK;
}

/* ---- the end ---- */

/* Of enum quern__pooling; 0: none that the class of models has. */
static int pooled_as(const walk *k, tag t)
{
    const bool one = t.b || fabs(t.by - 1) < SLACK;
    switch (t.a) {
    case QUERN__POOLED_FIRST:
        return one ? QUERN__POOL_CLS : 0;
    case QUERN__POOLED_LAST:
        return one ? QUERN__POOL_LAST : 0;
    case QUERN__POOLED_MOST:
        return one ? QUERN__POOL_MAX : 0;
    default:
        if (t.b || fabs(t.by * k->tokens - 1) < SLACK)
            return QUERN__POOL_MEAN;
        return fabs(t.by * sqrt(k->tokens) - 1) < SLACK ? QUERN__POOL_SQRT : 0;
    }
}

int quern__check_end(walk *k)
{
    const uint32_t last = k->hidden_n - 1;
    bool hidden = false, unknown = false;
    int pooling = 0;
    int64_t stranger = -1;
    for (size_t i = 0; i < k->f.output_n; i++) {
        const int64_t at = quern__onnx_find(&k->f, k->f.outputs[i]);
        const tag t = at < 0 ? quern__meta : k->tags[at];
        const bool vector = t.kind == QUERN__VECTOR && t.c == last;
        const int how = vector ? pooled_as(k, t) : 0;
        hidden = hidden || (t.kind == QUERN__HIDDEN && t.a == last);
        if (vector ? !how || (pooling && how != pooling)
                   : t.kind == QUERN__LOST && t.behind && t.c == last)
            unknown = true;
        else if (t.kind == QUERN__LOST && stranger < 0)
            stranger = at;
        pooling = pooling ? pooling : how;
    }
    k->w->graph.pooling = unknown && (pooling || !hidden) ? -1 : pooling;
    if (k->hidden_n >= 3 && (hidden || ((pooling || unknown) && !k->weights_behind)))
        return QUERN_OK;
    if (stranger >= 0)
        return quern__node_fail(k, k->tags[stranger].a, k->tags[stranger].why);
    return quern__fail(k->err, QUERN_EUNSUPPORTED, 0, "%s: %s (byte 0)", k->p->name,
                       pooling || unknown
                           ? "there are weights behind the encoder, which are not read"
                           : "no result of the graph is an encoder's last hidden state");
}
