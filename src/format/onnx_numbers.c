/*
 * onnx_numbers.c — arithmetic on small arrays, as ONNX defines it. Numbers are doubles, whatever their type is there: sizes and
 * positions are exact, and a factor needs no more. An array of equal numbers is stored as one, so that a mask of a long text
 * costs nothing where it masks nothing.
 */
#include "format/onnx_numbers_impl.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"

typedef quern__numbers numbers;
typedef quern__number_room room;

/* Work and memory are paid from one purse. */
bool quern__numbers_spend(room *r, size_t n)
{
    const bool enough = n <= r->left;
    r->left -= enough ? n : 0;
    return enough;
}

/* Uninitialised but for its shape; NULL: no room. */
numbers *quern__numbers_make(room *r, int kind, uint32_t rank, const uint32_t *shape, bool same)
{
    size_t count = 1;
    if (rank > QUERN__MAX_RANK)
        return NULL;
    for (uint32_t i = 0; i < rank; i++)
        if (!shape[i] || !quern__mul_size(count, shape[i], &count))
            return NULL;
    const size_t stored = same ? 1 : count;
    if (stored > QUERN__NUMBERS_MOST || !quern__numbers_spend(r, stored + 16))
        return NULL;
    numbers *n = quern__arena_alloc(&r->arena, sizeof *n);
    double *at = quern__arena_alloc(&r->arena, stored * sizeof *at);
    if (!n || !at) {
        r->full = true;
        return NULL;
    }
    *n = (numbers){.kind = kind, .rank = rank, .count = count, .same = same, .at = at};
    if (rank)
        memcpy(n->shape, shape, rank * sizeof *shape);
    return n;
}

/* The same array, stored as one number where it is one. */
const numbers *quern__numbers_settled(numbers *n)
{
    if (!n || n->same)
        return n;
    for (size_t i = 1; i < n->count; i++)
        if (!(n->at[i] == n->at[0]))
            return n;
    n->same = true;
    return n;
}

const numbers *quern__numbers_fill(room *r, int kind, uint32_t rank, const uint32_t *shape,
                                   double value)
{
    numbers *n = quern__numbers_make(r, kind, rank, shape, true);
    if (n)
        n->at[0] = value;
    return n;
}

const numbers *quern__numbers_list(room *r, const uint32_t *values, size_t count)
{
    const uint32_t shape = (uint32_t)count;
    numbers *n = quern__numbers_make(r, QUERN__WHOLE, 1, &shape, false);
    for (size_t i = 0; n && i < count; i++)
        n->at[i] = values[i];
    return quern__numbers_settled(n);
}

const numbers *quern__numbers_count(room *r, uint32_t count)
{
    const uint32_t shape[2] = {1, count};
    numbers *n = quern__numbers_make(r, QUERN__WHOLE, 2, shape, false);
    for (size_t i = 0; n && i < count; i++)
        n->at[i] = (double)i;
    return quern__numbers_settled(n);
}

bool quern__numbers_are_one(const numbers *n, double *out)
{
    if (n && n->same)
        *out = n->at[0];
    return n && n->same;
}

/* ---- stored ones ---- */

static double half(uint16_t h)
{
    const int exponent = h >> 10 & 31, fraction = h & 0x3ff;
    const double value = exponent == 31 ? (fraction ? NAN : INFINITY)
                         : exponent     ? ldexp(1024 + fraction, exponent - 25)
                                        : ldexp(fraction, -24);
    return h & 0x8000 ? -value : value;
}

static double element(int type, const uint8_t *p)
{
    union {
        float f;
        double d;
        int32_t i;
        int64_t l;
        uint32_t u;
    } x = {.l = 0};
    uint16_t narrow;
    memcpy(&narrow, p, quern__onnx_width(type) > 1 ? 2 : 1);
    switch (type) {
    case QUERN__ONNX_FLOAT:
        memcpy(&x.f, p, 4);
        return x.f;
    case QUERN__ONNX_DOUBLE:
        memcpy(&x.d, p, 8);
        return x.d;
    case QUERN__ONNX_INT32:
        memcpy(&x.i, p, 4);
        return x.i;
    case QUERN__ONNX_INT64:
        memcpy(&x.l, p, 8);
        return (double)x.l;
    case QUERN__ONNX_FLOAT16:
        return half(narrow);
    case QUERN__ONNX_BFLOAT16:
        x.u = (uint32_t)narrow << 16;
        return x.f;
    case QUERN__ONNX_INT8:
        return (int8_t)*p;
    default:
        return *p;
    }
}

static int kind_of(int type)
{
    return type == QUERN__ONNX_FLOAT || type == QUERN__ONNX_DOUBLE || type == QUERN__ONNX_FLOAT16 ||
                   type == QUERN__ONNX_BFLOAT16
               ? QUERN__REAL
           : type == QUERN__ONNX_BOOL ? QUERN__TRUTH
                                      : QUERN__WHOLE;
}

/* Packed as numbers of any length; false: not as many as there should be. */
static bool unpack(numbers *n, const quern__onnx_tensor *t, const uint8_t *data)
{
    size_t at = 0;
    for (size_t i = 0; i < n->count; i++) {
        uint64_t v = 0;
        for (unsigned shift = 0;; shift += 7) {
            if (at == t->bytes || shift > 63)
                return false;
            v |= (uint64_t)(data[at] & 0x7f) << shift;
            if (!(data[at++] & 0x80))
                break;
        }
        n->at[i] = (double)(int64_t)v;
    }
    return at == t->bytes;
}

const numbers *quern__numbers_load(room *r, const quern__onnx_tensor *t, const uint8_t *data)
{
    uint32_t shape[QUERN__MAX_RANK] = {0};
    const size_t width = quern__onnx_width(t->type);
    for (uint32_t i = 0; i < t->rank; i++) {
        if (t->shape[i] > QUERN__NUMBERS_MOST)
            return NULL;
        shape[i] = (uint32_t)t->shape[i];
    }
    numbers *n = width ? quern__numbers_make(r, kind_of(t->type), t->rank, shape, false) : NULL;
    if (n && t->varints)
        return unpack(n, t, data) ? quern__numbers_settled(n) : NULL;
    for (size_t i = 0; n && i < n->count; i++)
        n->at[i] = element(t->type, data + i * width);
    return quern__numbers_settled(n);
}

/* ---- broadcasting ---- */

quern__number_walker quern__numbers_walk(const numbers *n, uint32_t rank)
{
    quern__number_walker w = {.n = n};
    size_t step = 1;
    for (uint32_t i = 0; i < n->rank; i++) {
        const uint32_t axis = n->rank - 1 - i;
        w.step[rank - 1 - i] = n->shape[axis] == 1 ? 0 : step;
        step *= n->shape[axis];
    }
    return w;
}

double quern__numbers_walked(const quern__number_walker *w, uint32_t rank, const uint32_t *at)
{
    size_t i = w->first;
    for (uint32_t k = 0; k < rank; k++)
        i += w->step[k] * at[k];
    return quern__number_at(w->n, i);
}

/* The shape of the two together; false: they have none. */
bool quern__numbers_join(uint32_t *rank, uint32_t *shape, uint32_t more, const uint32_t *other)
{
    uint32_t out[QUERN__MAX_RANK] = {0};
    const uint32_t all = *rank > more ? *rank : more;
    for (uint32_t i = 0; i < all; i++) { /* from the last */
        const uint32_t a = i < *rank ? shape[*rank - 1 - i] : 1,
                       b = i < more ? other[more - 1 - i] : 1;
        if (a != b && a != 1 && b != 1)
            return false;
        out[all - 1 - i] = a == 1 ? b : a;
    }
    *rank = all;
    memcpy(shape, out, all * sizeof *out);
    return true;
}

bool quern__numbers_next(uint32_t rank, const uint32_t *shape, uint32_t *at)
{
    for (uint32_t i = rank; i-- > 0;) {
        if (++at[i] < shape[i])
            return true;
        at[i] = 0;
    }
    return false;
}
