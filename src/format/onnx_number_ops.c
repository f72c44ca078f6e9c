/*
 * onnx_number_ops.c — operations element by element: of one array, of two that are broadcast to one shape, of three that choose.
 */
#include "format/onnx_numbers_impl.h"

#include <math.h>
#include <string.h>

#include "base/compiler.h"
#include "base/json.h"

typedef quern__numbers numbers;
typedef quern__number_room room;

enum binary {
    ADD,
    SUBTRACT,
    MULTIPLY,
    DIVIDE,
    POWER,
    LARGER,
    SMALLER,
    EQUAL,
    LESS,
    AT_MOST,
    MORE,
    AT_LEAST,
    BOTH,
    EITHER
};

static const char *const binaries[] = {"Add",  "Sub",         "Mul",     "Div",
                                       "Pow",  "Max",         "Min",     "Equal",
                                       "Less", "LessOrEqual", "Greater", "GreaterOrEqual",
                                       "And",  "Or"};

/* From EQUAL on the result is a truth. `whole`: both are whole numbers. */
static double of_two(int op, double a, double b, bool whole)
{
    switch (op) {
    case ADD:
        return a + b;
    case SUBTRACT:
        return a - b;
    case MULTIPLY:
        return a * b;
    case DIVIDE:
        return !whole ? a / b : b != 0 ? trunc(a / b) : (double)NAN;
    case POWER:
        return pow(a, b);
    case LARGER:
        return a > b ? a : b;
    case SMALLER:
        return a < b ? a : b;
    case EQUAL:
        return a == b;
    case LESS:
        return a < b;
    case AT_MOST:
        return a <= b;
    case MORE:
        return a > b;
    case AT_LEAST:
        return a >= b;
    case BOTH:
        return a != 0 && b != 0;
    default:
        return a != 0 || b != 0;
    }
}

static const numbers *combine(room *r, const numbers *a, const numbers *b, int op)
{
    uint32_t rank = a->rank, shape[QUERN__MAX_RANK] = {0}, at[QUERN__MAX_RANK] = {0};
    memcpy(shape, a->shape, sizeof shape);
    if (!quern__numbers_join(&rank, shape, b->rank, b->shape))
        return NULL;
    const bool whole = a->kind == QUERN__WHOLE && b->kind == QUERN__WHOLE,
               same = a->same && b->same;
    numbers *n = quern__numbers_make(r, op >= EQUAL ? QUERN__TRUTH : a->kind, rank, shape, same);
    if (!n)
        return NULL;
    const quern__number_walker x = quern__numbers_walk(a, rank), y = quern__numbers_walk(b, rank);
    for (size_t i = 0; i < (same ? 1 : n->count); i++, quern__numbers_next(rank, shape, at))
        n->at[i] = of_two(op, quern__numbers_walked(&x, rank, at),
                          quern__numbers_walked(&y, rank, at), whole);
    return quern__numbers_settled(n);
}

static const numbers *choose(room *r, const numbers *const *in)
{
    uint32_t rank = in[0]->rank, shape[QUERN__MAX_RANK] = {0}, at[QUERN__MAX_RANK] = {0};
    quern__number_walker w[3];
    memcpy(shape, in[0]->shape, sizeof shape);
    if (!quern__numbers_join(&rank, shape, in[1]->rank, in[1]->shape) ||
        !quern__numbers_join(&rank, shape, in[2]->rank, in[2]->shape))
        return NULL;
    const bool same = in[0]->same && in[in[0]->at[0] != 0 ? 1 : 2]->same;
    numbers *n = quern__numbers_make(r, in[1]->kind, rank, shape, same);
    if (!n)
        return NULL;
    for (int i = 0; i < 3; i++)
        w[i] = quern__numbers_walk(in[i], rank);
    for (size_t i = 0; i < (same ? 1 : n->count); i++, quern__numbers_next(rank, shape, at))
        n->at[i] = quern__numbers_walked(&w[quern__numbers_walked(&w[0], rank, at) != 0 ? 1 : 2],
                                         rank, at);
    return quern__numbers_settled(n);
}

/* ---- one input ---- */

static double opposite(double a)
{
    return -a;
}

static double reciprocal(double a)
{
    return 1 / a;
}

static double is_not(double a)
{
    return a == 0;
}

static double is_nan(double a)
{
    return isnan(a) != 0;
}

static double itself(double a)
{
    return a;
}

static const struct {
    const char *op;
    double (*f)(double);
    bool truth;
} unaries[] = {
    {"Neg", opposite, false},    {"Abs", fabs, false},  {"Sqrt", sqrt, false},
    {"Floor", floor, false},     {"Ceil", ceil, false}, {"Reciprocal", reciprocal, false},
    {"Identity", itself, false}, {"Not", is_not, true}, {"IsNaN", is_nan, true}};

static const numbers *apply(room *r, const numbers *a, double (*f)(double), int kind)
{
    numbers *n = quern__numbers_make(r, kind, a->rank, a->shape, a->same);
    for (size_t i = 0; n && i < (n->same ? 1 : n->count); i++)
        n->at[i] = f(a->at[i]);
    return quern__numbers_settled(n);
}

static double to_float(double a)
{
    return (double)(float)a;
}

static double to_truth(double a)
{
    return a != 0;
}

/* What a Cast gives; types that would round in a way that is not looked at here are not known. */
const numbers *quern__numbers_cast(room *r, const numbers *a, int64_t to)
{
    switch (to) {
    case QUERN__ONNX_FLOAT:
        return apply(r, a, to_float, QUERN__REAL);
    case QUERN__ONNX_DOUBLE:
    case QUERN__ONNX_FLOAT16:
    case QUERN__ONNX_BFLOAT16:
        return apply(r, a, itself, QUERN__REAL);
    case QUERN__ONNX_INT32:
    case QUERN__ONNX_INT64:
        return apply(r, a, trunc, QUERN__WHOLE);
    case QUERN__ONNX_BOOL:
        return apply(r, a, to_truth, QUERN__TRUTH);
    default:
        return NULL;
    }
}

const numbers *quern__numbers_elementwise(room *r, quern_str op, const numbers *const *in,
                                          uint32_t n)
{
    for (size_t i = 0; i < QUERN__COUNT(unaries); i++)
        if (n == 1 && quern__str_is(op, unaries[i].op))
            return apply(r, in[0], unaries[i].f, unaries[i].truth ? QUERN__TRUTH : in[0]->kind);
    for (size_t i = 0; i < QUERN__COUNT(binaries); i++)
        if (n == 2 && quern__str_is(op, binaries[i]))
            return combine(r, in[0], in[1], (int)i);
    return quern__str_is(op, "Where") && n == 3 ? choose(r, in) : NULL;
}

const numbers *quern__numbers_clip(room *r, const numbers *const *in, uint32_t n)
{
    const numbers *a = in[0];
    if (n > 1 && in[1])
        a = combine(r, a, in[1], LARGER);
    return a && n > 2 && in[2] ? combine(r, a, in[2], SMALLER) : a;
}
