/*
 * onnx_encoder.c — what an operation makes of an encoder's values. Every constant that it brings is looked at: scores are by the
 * root of a head's columns, GELU is x/2 (1 + erf(x/√2)), a LayerNorm is over columns with one epsilon, what is added to scores is
 * nothing for a text without padding. What differs is lost, with the number.
 */
#include <math.h>
#include <string.h>

#include "base/compiler.h"
#include "base/json.h"
#include "format/onnx_walk.h"

enum { MOST_COLUMNS = 1 << 20 };

/* How far a constant of a narrow type may be from the number that it stands for. */
#define SCALE_SLACK   1e-3
#define ERF_SLACK     2e-4
#define EXACT_SLACK   1e-6
#define EPSILON_SLACK 1e-6

typedef quern__walk walk;
typedef quern__tag tag;

static bool is(const quern__onnx_node *node, const char *op)
{
    return quern__str_is(node->op, op);
}

static bool near(double a, double b, double slack)
{
    return fabs(a - b) <= slack * fmax(1, fabs(b));
}

static bool is_rows(tag t)
{
    uint32_t columns;
    return quern__view_is_rows(&t.view, &columns);
}

/* ---- products ---- */

tag quern__product_of(walk *k, tag x, tag matrix, bool turned)
{
    uint32_t columns;
    if (x.kind == QUERN__LOST || x.kind == QUERN__VECTOR)
        k->weights_behind = true;
    if (x.kind == QUERN__VECTOR)
        return quern__lost_because(k, "is of weights behind the pooling, which are not read");
    if (!quern__has_rank(k, matrix, 2) ||
        (x.kind != QUERN__HIDDEN && x.kind != QUERN__CONTEXT && x.kind != QUERN__ACTIVE) ||
        k->product_n == QUERN__WALK_PRODUCTS) {
        if (matrix.kind == QUERN__CONST && matrix.tensor < 0)
            return (tag){.kind = QUERN__LOST, .a = matrix.a, .why = matrix.why, .tensor = -1};
        return quern__lost(k); /* or a matrix that is computed */
    }
    if (x.kind == QUERN__ACTIVE && !near(x.by, 0.5, EXACT_SLACK))
        return quern__lost_because(k, "has a GELU times %g before it, not 0.5", x.by);
    const quern__onnx_tensor *t = &k->f.tensors[matrix.tensor];
    const bool by_output = turned != matrix.turned;
    if (!quern__view_is_rows(&x.view, &columns) || t->shape[by_output] != columns ||
        t->shape[!by_output] > MOST_COLUMNS)
        return quern__lost_because(k, "multiplies what is no rows of %llu columns",
                                   (unsigned long long)t->shape[by_output]);
    k->products[k->product_n] = (quern__onnx_product){x, matrix.tensor, -1, by_output};
    tag out = {.kind = QUERN__PRODUCT, .a = k->product_n++, .tensor = -1, .by = 1, .view = x.view};
    out.view.axis[out.view.rank - 1].size = (uint32_t)t->shape[!by_output];
    return out;
}

static tag scores(walk *k, tag x, tag y)
{
    uint32_t heads, depth;
    tag out = {.kind = QUERN__SCORES, .a = x.a, .b = y.a, .tensor = -1, .by = x.by * y.by};
    if (!quern__view_scores(&x.view, &y.view, &out.view, &heads, &depth))
        return quern__lost_because(k, "multiplies what is no heads of queries with those of keys");
    if (k->heads && k->heads != heads)
        return quern__lost_because(k, "is of %u heads, and others of %u", heads, k->heads);
    k->heads = heads;
    out.c = depth;
    return out;
}

static tag context(walk *k, tag x, tag y)
{
    tag out = {.kind = QUERN__CONTEXT, .a = x.a, .b = x.b, .c = y.a, .tensor = -1};
    if (!near(y.by, 1, EXACT_SLACK))
        return quern__lost_because(k, "multiplies values that are times %g", y.by);
    if (!quern__view_context(&x.view, &y.view, &out.view))
        return quern__lost_because(k, "multiplies what is no heads of probabilities with values");
    return out;
}

tag quern__matmul(walk *k, tag x, tag y)
{
    if (y.kind == QUERN__CONST)
        return quern__product_of(k, x, y, false);
    if (x.kind == QUERN__LINEAR && y.kind == QUERN__LINEAR)
        return scores(k, x, y);
    if (x.kind == QUERN__PROBS && y.kind == QUERN__LINEAR)
        return context(k, x, y);
    return quern__lost(k);
}

static tag add_bias(walk *k, tag x, tag bias)
{
    if (!quern__has_rank(k, bias, 1) || k->products[x.a].bias >= 0)
        return quern__lost(k);
    k->products[x.a].bias = bias.tensor;
    x.kind = QUERN__LINEAR;
    return x;
}

static int gemm(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n, tag *out)
{
    static const char *const ones[] = {"alpha", "beta"};
    quern__onnx_attribute a;
    bool has, turned = false, plain = true;
    int rc = QUERN_OK;
    for (size_t i = 0; rc == QUERN_OK && i < QUERN__COUNT(ones); i++) {
        rc = quern__onnx_attribute_of(&k->f, node, ones[i], &has, &a, k->err);
        plain = plain && (!has || a.f == 1.0f);
    }
    if (rc == QUERN_OK)
        rc = quern__onnx_attribute_of(&k->f, node, "transA", &has, &a, k->err);
    plain = plain && !(has && a.i);
    if (rc == QUERN_OK)
        rc = quern__onnx_attribute_of(&k->f, node, "transB", &has, &a, k->err);
    turned = has && a.i;
    if (rc)
        return rc;
    *out = plain ? quern__product_of(k, in[0], in[1], turned)
                 : quern__lost_because(k, "is not with alpha 1, beta 1 and transA 0");
    if (out->kind == QUERN__PRODUCT && n == 3)
        *out = in[2].kind == QUERN__CONST ? add_bias(k, *out, in[2]) : quern__lost(k);
    return QUERN_OK;
}

/* ---- LayerNorm ---- */

/* Number of what is normalised; UINT32_MAX: not a sum that is. */
static uint32_t norm_of(walk *k, tag x)
{
    if (!is_rows(x))
        return UINT32_MAX;
    if (x.kind == QUERN__SUM)
        return x.a + 1;
    if (x.kind != QUERN__TABLES || (k->tables && k->tables != x.a))
        return UINT32_MAX;
    k->tables = x.a;
    return 0;
}

static tag add_hidden(walk *k, uint32_t of, int64_t gamma, tag beta, double epsilon,
                      const quern__view *view)
{
    if (of == UINT32_MAX || k->hidden_n == QUERN__WALK_HIDDEN || !quern__has_rank(k, beta, 1))
        return quern__lost(k);
    if (!(epsilon >= 0) || (k->epsilon >= 0 && fabs(epsilon - k->epsilon) > EPSILON_SLACK))
        return quern__lost_because(k, "is of a LayerNorm with epsilon %g, and others with %g",
                                   epsilon, k->epsilon);
    k->epsilon = k->epsilon > epsilon ? k->epsilon : epsilon;
    k->hiddens[k->hidden_n] = (quern__onnx_hidden){of, gamma, beta.tensor};
    return (tag){.kind = QUERN__HIDDEN, .a = k->hidden_n++, .tensor = -1, .view = *view};
}

tag quern__norm(walk *k, tag x, tag gamma, tag beta, double epsilon)
{
    return quern__has_rank(k, gamma, 1)
               ? add_hidden(k, norm_of(k, x), gamma.tensor, beta, epsilon, &x.view)
               : quern__lost(k);
}

static int layer_norm(walk *k, const quern__onnx_node *node, const tag *in, tag *out)
{
    quern__onnx_attribute axis, epsilon, stash;
    bool has_axis, has_epsilon, has_stash;
    int rc = quern__onnx_attribute_of(&k->f, node, "axis", &has_axis, &axis, k->err);
    if (rc == QUERN_OK)
        rc = quern__onnx_attribute_of(&k->f, node, "epsilon", &has_epsilon, &epsilon, k->err);
    if (rc == QUERN_OK)
        rc = quern__onnx_attribute_of(&k->f, node, "stash_type", &has_stash, &stash, k->err);
    if (rc)
        return rc;
    if (has_axis && axis.i != -1 && axis.i != (int64_t)in[0].view.rank - 1)
        *out =
            quern__lost_because(k, "normalises from axis %lld on, not the last", (long long)axis.i);
    else if (has_stash && stash.i != QUERN__ONNX_FLOAT)
        *out = quern__lost_because(k, "computes in type %lld, not FLOAT (1)", (long long)stash.i);
    else
        *out = add_hidden(k, norm_of(k, in[0]), in[1].tensor, in[2],
                          has_epsilon ? (double)epsilon.f : 1e-5, &in[0].view);
    return QUERN_OK;
}

/* A mean over the columns: of a sum, or of its squares. */
static int mean(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n, tag *out)
{
    quern__onnx_attribute keep;
    bool has, all;
    uint32_t bits;
    const tag x = in[0];
    const uint32_t of = norm_of(k, x);
    int rc = quern__onnx_attribute_of(&k->f, node, "keepdims", &has, &keep, k->err);
    if (rc || (of == UINT32_MAX && x.kind != QUERN__SQUARED))
        return rc;
    if (!quern__axes_of(&k->f, node, in[1].numbers, n == 2, x.view.rank, &bits, &all, k->err) ||
        all || bits != 1u << (x.view.rank - 1) || (has && !keep.i)) {
        *out = quern__lost_because(k, "is no mean over the last axis that keeps it");
        return QUERN_OK;
    }
    *out = x;
    out->kind = of == UINT32_MAX ? QUERN__VARIANCE : QUERN__MEAN;
    out->a = of == UINT32_MAX ? x.a : of;
    out->view.axis[x.view.rank - 1] = (struct quern__view_axis){1, 1, QUERN__COLUMNS};
    return QUERN_OK;
}

static tag subtract(walk *k, tag x, tag y)
{
    const uint32_t of = norm_of(k, x);
    if (of == UINT32_MAX || y.kind != QUERN__MEAN || y.a != of)
        return quern__lost(k);
    x.kind = QUERN__CENTRED;
    x.a = of;
    return x;
}

static tag power(walk *k, tag x, tag y)
{
    double exponent;
    if (!quern__factor(&x.view, y, &exponent))
        return quern__lost_because(k, "has an exponent that is not one known number");
    if (x.kind == QUERN__CENTRED && exponent == 2)
        x.kind = QUERN__SQUARED;
    else if (x.kind == QUERN__SHIFTED && exponent == 0.5)
        x.kind = QUERN__SPREAD;
    else if (x.kind == QUERN__SHIFTED && exponent == -0.5)
        x.kind = QUERN__INVERSE;
    else
        return quern__lost_because(k, "has the exponent %g, which no LayerNorm has here", exponent);
    return x;
}

static tag root(walk *k, tag x)
{
    if (x.kind != QUERN__SHIFTED)
        return quern__lost(k);
    x.kind = QUERN__SPREAD;
    return x;
}

static tag inverse(tag x)
{
    x.kind = QUERN__INVERSE;
    return x;
}

/* ---- adding ---- */

static tag add_sum(walk *k, tag x, tag beside)
{
    const int from = k->products[x.a].from.kind;
    uint32_t columns, others;
    if ((from != QUERN__CONTEXT && from != QUERN__ACTIVE) || k->sum_n == QUERN__WALK_HIDDEN ||
        !quern__view_is_rows(&x.view, &columns) || !quern__view_is_rows(&beside.view, &others) ||
        columns != others)
        return quern__lost(k);
    if (!near(x.by, 1, EXACT_SLACK))
        return quern__lost_because(k, "adds a product that is times %g", x.by);
    k->sums[k->sum_n].product = x.a;
    k->sums[k->sum_n].beside = beside.a;
    tag out = x.view.rank > beside.view.rank ? x : beside;
    out.kind = QUERN__SUM;
    out.a = k->sum_n++;
    return out;
}

static tag add_tables(walk *k, tag x, tag y)
{
    if (x.a & y.a || (!is_rows(x) && !is_rows(y)))
        return quern__lost(k);
    tag out = is_rows(x) && (!is_rows(y) || x.view.rank >= y.view.rank) ? x : y;
    if (x.view.rank > out.view.rank || y.view.rank > out.view.rank)
        return quern__lost(k);
    out.a = x.a | y.a;
    return out;
}

static tag add_mask(walk *k, tag x, tag y)
{
    double c;
    if (!quern__factor(&x.view, y, &c))
        return quern__lost_because(k, "adds to scores what is not known to be a mask");
    return c == 0 ? x
                  : quern__lost_because(k, "adds %g to the scores of a text without padding", c);
}

static tag add_number(walk *k, tag x, tag y)
{
    double c;
    if (!quern__factor(&x.view, y, &c))
        return quern__lost_because(k, "adds what is not one known number");
    if (x.kind == QUERN__VARIANCE) {
        x.kind = QUERN__SHIFTED;
        x.by = c;
        return x;
    }
    if (x.b || !near(c, x.by, EXACT_SLACK))
        return quern__lost_because(k, "adds %g to a GELU's erf times %g", c, x.by);
    x.b = 1;
    return x;
}

tag quern__add(walk *k, tag x, tag y)
{
    if (!quern__is_value(x) || y.kind == QUERN__PRODUCT ||
        (x.kind == QUERN__HIDDEN && y.kind == QUERN__LINEAR)) {
        const tag swap = x;
        x = y;
        y = swap;
    }
    if (x.kind == QUERN__TABLES && y.kind == QUERN__TABLES)
        return add_tables(k, x, y);
    if (x.kind == QUERN__PRODUCT && y.kind == QUERN__CONST)
        return add_bias(k, x, y);
    if (x.kind == QUERN__LINEAR && y.kind == QUERN__HIDDEN)
        return add_sum(k, x, y);
    if (x.kind == QUERN__STRETCHED && y.kind == QUERN__CONST)
        return add_hidden(k, x.a, x.tensor, y, x.by, &x.view);
    if ((x.kind == QUERN__VARIANCE || x.kind == QUERN__GATE) && !quern__is_value(y))
        return add_number(k, x, y);
    if (x.kind == QUERN__SCORES && !quern__is_value(y))
        return add_mask(k, x, y);
    return quern__lost(k);
}

/* ---- multiplying ---- */

static tag normal(walk *k, tag x, tag y, int wanted)
{
    if (x.kind != QUERN__CENTRED || y.kind != wanted || x.a != y.a)
        return quern__lost(k);
    x.kind = QUERN__NORMAL;
    x.by = y.by;
    return x;
}

static tag scale(walk *k, tag x, tag y, bool over)
{
    double c;
    if (!quern__factor(&x.view, y, &c) || !isfinite(over ? 1 / c : c))
        return quern__lost_because(k, "is by what is not one known number");
    x.by = over ? x.by / c : x.by * c;
    return x;
}

static bool has_factor(tag x)
{
    return x.kind == QUERN__LINEAR || x.kind == QUERN__SCORES || x.kind == QUERN__GATE ||
           x.kind == QUERN__ACTIVE;
}

static tag mul(walk *k, tag x, tag y)
{
    if (!quern__is_value(x) || (x.kind == QUERN__GATE && quern__is_value(y)) ||
        x.kind == QUERN__INVERSE) {
        const tag swap = x;
        x = y;
        y = swap;
    }
    if (x.kind == QUERN__CENTRED && y.kind == QUERN__CENTRED && x.a == y.a) {
        x.kind = QUERN__SQUARED;
        return x;
    }
    if (x.kind == QUERN__CENTRED)
        return normal(k, x, y, QUERN__INVERSE);
    if (x.kind == QUERN__NORMAL && quern__has_rank(k, y, 1)) {
        x.kind = QUERN__STRETCHED;
        x.tensor = y.tensor;
        return x;
    }
    if (x.kind == QUERN__LINEAR && y.kind == QUERN__GATE && x.a == y.a && y.b) {
        x.kind = QUERN__ACTIVE;
        x.by *= y.by;
        return x;
    }
    return has_factor(x) && !quern__is_value(y) ? scale(k, x, y, false) : quern__lost(k);
}

static tag divide(walk *k, tag x, tag y)
{
    if (x.kind == QUERN__CENTRED)
        return normal(k, x, y, QUERN__SPREAD);
    return has_factor(x) && !quern__is_value(y) ? scale(k, x, y, true) : quern__lost(k);
}

/* ---- activations and probabilities ---- */

static int gelu(walk *k, const quern__onnx_node *node, tag x, tag *out)
{
    quern__onnx_attribute a;
    bool has;
    int rc = quern__onnx_attribute_of(&k->f, node, "approximate", &has, &a, k->err);
    if (x.kind == QUERN__LINEAR && near(x.by, 1, EXACT_SLACK) &&
        (!has || quern__str_is(a.s, "none"))) {
        *out = x;
        out->kind = QUERN__ACTIVE;
        out->by = 0.5;
    }
    return rc;
}

static tag erf_of(walk *k, tag x)
{
    if (x.kind != QUERN__LINEAR)
        return quern__lost(k);
    if (!near(x.by, 0.70710678118654752, ERF_SLACK))
        return quern__lost_because(k, "is of a product times %g; a GELU's is times 0.7071", x.by);
    x.kind = QUERN__GATE;
    x.b = 0;
    x.by = 1;
    return x;
}

static int softmax(walk *k, const quern__onnx_node *node, tag x, tag *out)
{
    quern__onnx_attribute a;
    bool has;
    int rc = quern__onnx_attribute_of(&k->f, node, "axis", &has, &a, k->err);
    const int64_t axis = has ? a.i : k->f.opset >= 13 ? -1 : 1;
    if (rc || x.kind != QUERN__SCORES)
        return rc;
    if ((axis != -1 && axis != (int64_t)x.view.rank - 1) || !quern__view_ends_in_keys(&x.view)) {
        *out = quern__lost_because(k, "is over axis %lld, not the keys, which are the last",
                                   (long long)axis);
    } else if (!near(x.by * sqrt(x.c), 1, SCALE_SLACK)) {
        *out = quern__lost_because(
            k, "is of scores times %.7g; heads of %u columns need 1/sqrt(%u) = %.7g", x.by, x.c,
            x.c, 1 / sqrt(x.c));
    } else {
        *out = x;
        out->kind = QUERN__PROBS;
    }
    return QUERN_OK;
}

/* One of the three is what the other two choose for, for a text without padding. */
static tag choose(walk *k, const tag *in)
{
    const int at = quern__is_value(in[1]) ? 1 : 2;
    const tag x = in[at], other = in[3 - at];
    double condition, nothing;
    if (quern__is_value(in[0]) || quern__is_value(other) ||
        (x.kind != QUERN__SCORES && x.kind != QUERN__PROBS))
        return quern__lost(k);
    if (!quern__factor(&x.view, in[0], &condition) || !quern__factor(&x.view, other, &nothing) ||
        (condition != 0) != (at == 1))
        return quern__lost_because(k, "takes other numbers for a text without padding");
    return x;
}

/* ---- shapes ---- */

/* The sizes of an axis from `start` on, before `end`. */
static int sizes(walk *k, const quern__onnx_node *node, const tag *x, tag *out)
{
    uint32_t list[QUERN__VIEW_RANK], first, last;
    quern__onnx_attribute start, end;
    bool has_start, has_end;
    int rc = quern__onnx_attribute_of(&k->f, node, "start", &has_start, &start, k->err);
    if (rc == QUERN_OK)
        rc = quern__onnx_attribute_of(&k->f, node, "end", &has_end, &end, k->err);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < x->view.rank; i++)
        list[i] = x->view.axis[i].size;
    quern__slice_bounds(has_start ? (double)start.i : 0,
                        has_end ? (double)end.i : (double)x->view.rank, x->view.rank, &first,
                        &last);
    *out = quern__meta;
    if (first < last)
        out->numbers = quern__numbers_list(&k->room, list + first, last - first);
    return QUERN_OK;
}

/* Axes of size 1 that come or go. */
static int change_axes(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n, tag *out)
{
    const bool wider = is(node, "Unsqueeze");
    const quern__view *v = &in[0].view;
    const quern__numbers *list = n == 2 ? in[1].numbers : NULL;
    quern__onnx_attribute a;
    uint32_t bits, shape[QUERN__VIEW_RANK + QUERN__MAX_RANK], rank = v->rank, to = 0, from = 0;
    bool has, all;
    int rc = quern__onnx_attribute_of(&k->f, node, "axes", &has, &a, k->err);
    if (rc)
        return rc;
    if (wider)
        rank += n == 2 ? (list ? (uint32_t)QUERN__MIN(list->count, (size_t)QUERN__MAX_RANK) : 0)
                       : QUERN__MIN(a.n, (uint32_t)QUERN__MAX_RANK);
    if (!quern__axes_of(&k->f, node, list, n == 2, rank, &bits, &all, k->err) || (wider && all))
        return QUERN_OK;
    for (uint32_t i = 0; i < rank; i++) {
        const bool chosen = (bits & 1u << i) != 0;
        const uint32_t size = wider ? (chosen           ? 1
                                       : from < v->rank ? v->axis[from].size
                                                        : 0)
                                    : v->axis[i].size;
        from += wider && !chosen;
        if (wider || !(all ? size == 1 : chosen))
            shape[to++] = size;
    }
    *out = in[0];
    if (to > QUERN__VIEW_RANK || !quern__view_reshape(&out->view, to, shape))
        *out = quern__lost(k);
    return QUERN_OK;
}

static int transpose(walk *k, const quern__onnx_node *node, tag x, tag *out)
{
    quern__onnx_attribute a;
    bool has;
    int rc = quern__onnx_attribute_of(&k->f, node, "perm", &has, &a, k->err);
    if (rc)
        return rc;
    for (uint32_t i = 0; !has && i < x.view.rank; i++)
        a.ints[i] = x.view.rank - 1 - i;
    if (quern__view_transpose(&x.view, a.ints, has ? a.n : x.view.rank))
        *out = x;
    return QUERN_OK;
}

static int reshape(walk *k, const quern__onnx_node *node, tag x, tag target, tag *out)
{
    uint32_t shape[QUERN__MAX_RANK], to[QUERN__MAX_RANK], rank;
    quern__onnx_attribute a;
    bool has;
    int rc = quern__onnx_attribute_of(&k->f, node, "allowzero", &has, &a, k->err);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < x.view.rank; i++)
        shape[i] = x.view.axis[i].size;
    if (quern__reshaped(x.view.rank, shape, target.numbers, has && a.i, &rank, to) &&
        quern__view_reshape(&x.view, rank, to))
        *out = x;
    else
        *out = quern__lost_because(k, "gives a text's rows a shape that is not known, or none");
    return QUERN_OK;
}

static int flatten(walk *k, const quern__onnx_node *node, tag x, tag *out)
{
    quern__onnx_attribute a;
    bool has;
    uint32_t shape[2] = {1, 1};
    int rc = quern__onnx_attribute_of(&k->f, node, "axis", &has, &a, k->err);
    const int64_t axis = !has ? 1 : a.i < 0 ? a.i + x.view.rank : a.i;
    for (uint32_t i = 0; i < x.view.rank; i++)
        shape[i >= axis] *= x.view.axis[i].size;
    if (rc == QUERN_OK && quern__view_reshape(&x.view, 2, shape))
        *out = x;
    return rc;
}

/* Between types of floats values stay what they are: the class says how they are computed. */
static int cast(walk *k, const quern__onnx_node *node, tag x, tag *out)
{
    quern__onnx_attribute a;
    bool has;
    int rc = quern__onnx_attribute_of(&k->f, node, "to", &has, &a, k->err);
    const bool floats = a.i == QUERN__ONNX_FLOAT || a.i == QUERN__ONNX_DOUBLE ||
                        a.i == QUERN__ONNX_FLOAT16 || a.i == QUERN__ONNX_BFLOAT16;
    const bool whole = a.i == QUERN__ONNX_INT32 || a.i == QUERN__ONNX_INT64;
    if (rc == QUERN_OK && has && (x.kind == QUERN__IDS ? whole : floats))
        *out = x;
    else if (rc == QUERN_OK)
        *out = quern__lost_because(k, "is to type %lld", (long long)a.i);
    return rc;
}

static int dropout(walk *k, const tag *in, uint32_t n, tag *out)
{
    double training = 0;
    *out = n == 3 && (!quern__numbers_are_one(in[2].numbers, &training) || training != 0)
               ? quern__lost_because(k, "is in training mode: it drops what chance says")
               : in[0];
    return QUERN_OK;
}

int quern__step_shape(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n, tag *out)
{
    *out = quern__lost(k);
    if (is(node, "Shape"))
        return sizes(k, node, &in[0], out);
    if ((is(node, "Unsqueeze") || is(node, "Squeeze")) && n <= 2)
        return change_axes(k, node, in, n, out);
    if (is(node, "Reshape") && n == 2)
        return reshape(k, node, in[0], in[1], out);
    if (is(node, "Transpose"))
        return transpose(k, node, in[0], out);
    if (is(node, "Flatten"))
        return flatten(k, node, in[0], out);
    if (is(node, "Cast"))
        return cast(k, node, in[0], out);
    if (is(node, "Dropout"))
        return dropout(k, in, n, out);
    if (is(node, "Identity"))
        *out = in[0];
    return QUERN_OK;
}

/* ---- tables ---- */

tag quern__table_rows(walk *k, int64_t tensor, uint32_t which, quern__view view)
{
    int64_t *const known = which == QUERN__WORDS   ? &k->words
                           : which == QUERN__TYPES ? &k->types
                                                   : &k->places;
    if (*known >= 0 && *known != tensor)
        return quern__lost(k); /* two of one kind: which one is the encoder's? */
    *known = tensor;
    return (tag){.kind = QUERN__TABLES, .a = which, .tensor = -1, .view = view};
}

/* What an index asks for: the word of each token, the first row, or a row for each place from 0 on; 0: something else. */
static uint32_t asked_for(const walk *k, tag index, quern__view *v)
{
    struct quern__view_axis wide[QUERN__VIEW_RANK];
    const quern__numbers *n = index.numbers;
    bool counts = n && n->count == k->tokens;
    double zero;
    *v = index.view;
    if (index.kind == QUERN__IDS)
        return quern__view_wide(v, wide) == 1 ? QUERN__WORDS : 0;
    if (!n || n->rank >= QUERN__VIEW_RANK || (n->count != 1 && n->count != k->tokens))
        return 0;
    v->rank = n->rank;
    for (uint32_t i = 0; i < n->rank; i++)
        v->axis[i] = (struct quern__view_axis){n->shape[i], 1, QUERN__TOKENS};
    if (quern__view_wide(v, wide) > 1)
        return 0;
    if (quern__numbers_are_one(n, &zero))
        return zero == 0 ? QUERN__TYPES : 0;
    for (size_t i = 0; i < n->count; i++)
        counts = counts && n->at[i] == (double)i;
    return counts ? QUERN__PLACES : 0;
}

tag quern__gather_rows(walk *k, tag table, tag index)
{
    quern__view v;
    const quern__onnx_tensor *t = quern__tensor_of(k, table);
    const uint32_t which = asked_for(k, index, &v);
    if (!which)
        return quern__lost_because(
            k, "picks rows by what is neither ids, nor all of type 0, nor positions from 0 on");
    if (v.rank == QUERN__VIEW_RANK || t->shape[1] < 2 || t->shape[1] > MOST_COLUMNS)
        return quern__lost(k);
    v.axis[v.rank++] = (struct quern__view_axis){(uint32_t)t->shape[1], 1, QUERN__COLUMNS};
    if (t->dtype == QUERN__OTHER_DTYPE)
        return (tag){.kind = QUERN__ROWS, .a = which, .tensor = table.tensor, .view = v};
    return quern__table_rows(k, table.tensor, which, v);
}

/* ---- all of them ---- */

static const char *const shapes[] = {"Shape",   "Unsqueeze", "Squeeze", "Reshape",  "Transpose",
                                     "Flatten", "Cast",      "Dropout", "Identity", NULL};

/* Two values in an operation on each of their elements, neither of which is all of the result. */
static bool spread(const quern__onnx_node *node, const tag *in, uint32_t n)
{
    static const char *const each[] = {"Add", "Sub", "Mul", "Div"};
    size_t i = 0;
    while (i < QUERN__COUNT(each) && !is(node, each[i]))
        i++;
    return n == 2 && i < QUERN__COUNT(each) && quern__is_value(in[0]) && quern__is_value(in[1]) &&
           !quern__view_covers(&in[0].view, &in[1].view) &&
           !quern__view_covers(&in[1].view, &in[0].view);
}

static int step_number(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n, tag *out)
{
    if (is(node, "Add") && n == 2)
        *out = quern__add(k, in[0], in[1]);
    else if (is(node, "Mul") && n == 2)
        *out = mul(k, in[0], in[1]);
    else if (is(node, "Div") && n == 2)
        *out = divide(k, in[0], in[1]);
    else if (is(node, "Sub") && n == 2)
        *out = subtract(k, in[0], in[1]);
    else if (is(node, "Pow") && n == 2)
        *out = power(k, in[0], in[1]);
    else if (is(node, "Sqrt") && n == 1)
        *out = root(k, in[0]);
    else if (is(node, "Reciprocal") && n == 1 && in[0].kind == QUERN__SPREAD)
        *out = inverse(in[0]);
    else if (is(node, "Erf") && n == 1)
        *out = erf_of(k, in[0]);
    else if (is(node, "Where") && n == 3)
        *out = choose(k, in);
    return QUERN_OK;
}

int quern__step_value(walk *k, const quern__onnx_node *node, const tag *in, uint32_t n, tag *out)
{
    uint32_t sides[QUERN__VIEW_RANK];
    *out = quern__lost(k);
    for (const char *const *s = shapes; *s; s++)
        if (is(node, *s) && n && quern__is_value(in[0]))
            return in[0].kind == QUERN__LOST ? QUERN_OK : quern__step_shape(k, node, in, n, out);
    if (is(node, "IsNaN") && n == 1 &&
        in[0].kind != QUERN__LOST) { /* it never is: one token is there */
        for (uint32_t i = 0; i < in[0].view.rank; i++)
            sides[i] = in[0].view.axis[i].size;
        *out = quern__meta;
        out->numbers = quern__numbers_fill(&k->room, QUERN__TRUTH, in[0].view.rank, sides, 0);
        return QUERN_OK;
    }
    if (spread(node, in, n)) {
        *out = quern__lost_because(k, "makes more of two values than either of them is");
        return QUERN_OK;
    }
    if (is(node, "MatMul") && n == 2)
        *out = quern__matmul(k, in[0], in[1]);
    else if (is(node, "Gemm") && (n == 2 || n == 3))
        return gemm(k, node, in, n, out);
    else if (is(node, "ReduceMean") && (n == 1 || n == 2) && !quern__is_value(in[1]))
        return mean(k, node, in, n, out);
    else if (is(node, "LayerNormalization") && n == 3 && quern__has_rank(k, in[1], 1))
        return layer_norm(k, node, in, out);
    else if (is(node, "Gelu") && n == 1)
        return gelu(k, node, in[0], out);
    else if (is(node, "Attention") && n >= 3)
        return quern__step_attention(k, node, in, out);
    else if (is(node, "Softmax") && n == 1)
        return softmax(k, node, in[0], out);
    return step_number(k, node, in, n, out);
}
