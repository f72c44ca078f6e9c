/*
 * onnx_number_node.c — what a node makes of known arrays: those that move elements to another shape, sums over axes, and the table
 * of all operations. One that is not here gives what is not known.
 */
#include "format/onnx_numbers_impl.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/json.h"

typedef quern__numbers numbers;
typedef quern__number_room room;

/* The same elements in another shape. */
static const numbers *reshape(room *r, const numbers *a, uint32_t rank, const uint32_t *shape)
{
    numbers *n = quern__numbers_make(r, a->kind, rank, shape, a->same);
    if (!n || n->count != a->count)
        return NULL;
    memcpy(n->at, a->at, (n->same ? 1 : n->count) * sizeof *n->at);
    return n;
}

bool quern__reshaped(uint32_t rank, const uint32_t *shape, const numbers *target, bool zero_is_zero,
                     uint32_t *to_rank, uint32_t *to)
{
    size_t count = 1, known = 1;
    int64_t open = -1;
    if (!target || target->rank != 1 || target->count > QUERN__MAX_RANK)
        return false;
    for (uint32_t i = 0; i < rank; i++)
        if (!quern__mul_size(count, shape[i], &count))
            return false;
    *to_rank = (uint32_t)target->count;
    for (uint32_t i = 0; i < *to_rank; i++) {
        const double d = quern__number_at(target, i);
        if (d == -1 && open < 0)
            open = i;
        else if (d == 0 && !zero_is_zero && i < rank)
            to[i] = shape[i];
        else if (d >= 1 && d <= QUERN__NUMBERS_MOST && d == floor(d))
            to[i] = (uint32_t)d;
        else
            return false;
        if (open != (int64_t)i && (!quern__mul_size(known, to[i], &known)))
            return false;
    }
    if (open >= 0) {
        if (!known || count % known || count / known > UINT32_MAX)
            return false;
        to[open] = (uint32_t)(count / known);
        known *= to[open];
    }
    return known == count && count;
}

bool quern__axis_of(int64_t axis, uint32_t rank, uint32_t *out)
{
    if (axis < -(int64_t)rank || axis >= (int64_t)rank)
        return false;
    *out = (uint32_t)(axis < 0 ? axis + rank : axis);
    return true;
}

bool quern__axes_of(const quern__onnx_file *f, const quern__onnx_node *node, const numbers *input,
                    bool has_input, uint32_t rank, uint32_t *bits, bool *all, quern_error *err)
{
    quern__onnx_attribute a;
    bool has = false;
    *bits = 0;
    *all = false;
    if (quern__onnx_attribute_of(f, node, "axes", &has, &a, err) ||
        (has && (has_input || a.n > QUERN__MAX_RANK)) || (has_input && (!input || input->rank > 1)))
        return false;
    *all = !has && !has_input;
    const size_t n = has_input ? input->count : has ? a.n : 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t axis;
        const double d = has_input ? quern__number_at(input, i) : 0;
        if (has_input && !(fabs(d) < 64))
            return false;
        if (!quern__axis_of(has_input ? (int64_t)d : a.ints[i], rank, &axis))
            return false;
        *bits |= 1u << axis;
    }
    return true;
}

/* Axes that are added, counted in what comes out. */
static const numbers *unsqueeze(room *r, const numbers *a, uint32_t bits, uint32_t rank)
{
    uint32_t shape[QUERN__MAX_RANK], from = 0;
    for (uint32_t i = 0; i < rank; i++) {
        if (!(bits & 1u << i) && from == a->rank)
            return NULL;
        shape[i] = (bits & 1u << i) != 0 ? 1 : a->shape[from++];
    }
    return from == a->rank ? reshape(r, a, rank, shape) : NULL;
}

static const numbers *squeeze(room *r, const numbers *a, uint32_t bits, bool all)
{
    uint32_t shape[QUERN__MAX_RANK], rank = 0;
    for (uint32_t i = 0; i < a->rank; i++) {
        const bool gone = all ? a->shape[i] == 1 : (bits & 1u << i) != 0;
        if (gone && a->shape[i] != 1)
            return NULL;
        if (!gone)
            shape[rank++] = a->shape[i];
    }
    return reshape(r, a, rank, shape);
}

/* The elements that a quern__number_walker meets, as an array of that shape. */
static const numbers *collect(room *r, const quern__number_walker *w, uint32_t rank,
                              const uint32_t *shape)
{
    uint32_t at[QUERN__MAX_RANK] = {0};
    numbers *n = quern__numbers_make(r, w->n->kind, rank, shape, w->n->same);
    for (size_t i = 0; n && i < (n->same ? 1 : n->count); i++, quern__numbers_next(rank, shape, at))
        n->at[i] = quern__numbers_walked(w, rank, at);
    return quern__numbers_settled(n);
}

static const numbers *transpose(room *r, const numbers *a, const quern__onnx_attribute *perm,
                                bool has)
{
    uint32_t shape[QUERN__MAX_RANK] = {0}, seen = 0;
    const quern__number_walker plain = quern__numbers_walk(a, a->rank);
    quern__number_walker w = {.n = a};
    if (has && perm->n != a->rank)
        return NULL;
    for (uint32_t i = 0; i < a->rank; i++) {
        const int64_t from = has ? perm->ints[i] : (int64_t)a->rank - 1 - i;
        if (from < 0 || from >= (int64_t)a->rank || seen & 1u << from)
            return NULL;
        seen |= 1u << from;
        shape[i] = a->shape[from];
        w.step[i] = plain.step[from];
    }
    return collect(r, &w, a->rank, shape);
}

static const numbers *expand(room *r, const numbers *a, const numbers *target)
{
    uint32_t rank = a->rank, shape[QUERN__MAX_RANK] = {0}, wanted[QUERN__MAX_RANK], n;
    memcpy(shape, a->shape, sizeof shape);
    if (!target || target->rank != 1 || target->count > QUERN__MAX_RANK)
        return NULL;
    for (n = 0; n < target->count; n++) {
        const double d = quern__number_at(target, n);
        if (!(d >= 1 && d <= QUERN__NUMBERS_MOST))
            return NULL;
        wanted[n] = (uint32_t)d;
    }
    if (!quern__numbers_join(&rank, shape, n, wanted))
        return NULL;
    const quern__number_walker w = quern__numbers_walk(a, rank);
    return collect(r, &w, rank, shape);
}

void quern__slice_bounds(double start, double end, uint32_t size, uint32_t *first, uint32_t *last)
{
    start += start < 0 ? size : 0;
    end += end < 0 ? size : 0;
    *first = start <= 0 ? 0 : start >= size ? size : (uint32_t)start;
    *last = end <= 0 ? 0 : end >= size ? size : (uint32_t)end;
}

/* Of step 1; other steps are not known. in: data, starts, ends, axes, steps. */
static const numbers *slice(room *r, const numbers *const *in, uint32_t n)
{
    const numbers *a = in[0];
    uint32_t shape[QUERN__MAX_RANK];
    double step = 1;
    memcpy(shape, a->shape, sizeof shape);
    quern__number_walker w = quern__numbers_walk(a, a->rank);
    if (n < 3 || !in[1] || !in[2] || in[1]->count != in[2]->count || in[1]->count > a->rank ||
        (n > 3 && (!in[3] || in[3]->count != in[1]->count)) ||
        (n > 4 && (!quern__numbers_are_one(in[4], &step) || step != 1)))
        return NULL;
    for (size_t i = 0; i < in[1]->count; i++) {
        uint32_t axis, first, last;
        const double d = n > 3 ? quern__number_at(in[3], i) : (double)i;
        if (!(fabs(d) < 64) || !quern__axis_of((int64_t)d, a->rank, &axis))
            return NULL;
        quern__slice_bounds(quern__number_at(in[1], i), quern__number_at(in[2], i), a->shape[axis],
                            &first, &last);
        if (first >= last || shape[axis] != a->shape[axis])
            return NULL;
        w.first += w.step[axis] * first;
        shape[axis] = last - first;
    }
    return collect(r, &w, a->rank, shape);
}

static bool index_of(double d, uint32_t size, uint32_t *out)
{
    return fabs(d) <= QUERN__NUMBERS_MOST && quern__axis_of((int64_t)d, size, out);
}

static const numbers *gather(room *r, const numbers *a, const numbers *index, int64_t which)
{
    uint32_t axis, shape[QUERN__MAX_RANK], at[QUERN__MAX_RANK] = {0}, from[QUERN__MAX_RANK];
    const uint32_t more = index->rank;
    if (!quern__axis_of(which, a->rank, &axis) || a->rank - 1 + more > QUERN__MAX_RANK)
        return NULL;
    memcpy(shape, a->shape, axis * sizeof *shape);
    memcpy(shape + axis, index->shape, more * sizeof *shape);
    memcpy(shape + axis + more, a->shape + axis + 1, (a->rank - axis - 1) * sizeof *shape);
    const uint32_t rank = a->rank - 1 + more;
    const quern__number_walker w = quern__numbers_walk(a, a->rank),
                               places = quern__numbers_walk(index, more);
    numbers *n = quern__numbers_make(r, a->kind, rank, shape, false);
    for (size_t i = 0; n && i < n->count; i++, quern__numbers_next(rank, shape, at)) {
        memcpy(from, at, axis * sizeof *from);
        memcpy(from + axis + 1, at + axis + more, (a->rank - axis - 1) * sizeof *from);
        if (!index_of(quern__numbers_walked(&places, more, at + axis), a->shape[axis], from + axis))
            return NULL;
        n->at[i] = quern__numbers_walked(&w, a->rank, from);
    }
    return quern__numbers_settled(n);
}

/* Each row of `index` names one element. */
static const numbers *gather_single(room *r, const numbers *a, const numbers *index)
{
    uint32_t from[QUERN__MAX_RANK];
    if (!index->rank || index->shape[index->rank - 1] != a->rank)
        return NULL;
    const quern__number_walker w = quern__numbers_walk(a, a->rank);
    numbers *n = quern__numbers_make(r, a->kind, index->rank - 1, index->shape, false);
    for (size_t i = 0; n && i < n->count; i++) {
        for (uint32_t k = 0; k < a->rank; k++)
            if (!index_of(quern__number_at(index, i * a->rank + k), a->shape[k], from + k))
                return NULL;
        n->at[i] = quern__numbers_walked(&w, a->rank, from);
    }
    return quern__numbers_settled(n);
}

static const numbers *concat(room *r, const numbers *const *in, uint32_t n, int64_t which)
{
    uint32_t axis, shape[QUERN__MAX_RANK] = {0}, at[QUERN__MAX_RANK] = {0};
    const uint32_t rank = in[0]->rank;
    memcpy(shape, in[0]->shape, sizeof shape);
    if (!quern__axis_of(which, rank, &axis))
        return NULL;
    for (uint32_t i = 1; i < n; i++) {
        if (in[i]->rank != rank)
            return NULL;
        for (uint32_t k = 0; k < rank; k++)
            if (k != axis && in[i]->shape[k] != shape[k])
                return NULL;
        if (in[i]->shape[axis] > QUERN__NUMBERS_MOST || shape[axis] > QUERN__NUMBERS_MOST)
            return NULL;
        shape[axis] += in[i]->shape[axis];
    }
    numbers *out = quern__numbers_make(r, in[0]->kind, rank, shape, false);
    for (size_t i = 0; out && i < out->count; i++, quern__numbers_next(rank, shape, at)) {
        uint32_t from[QUERN__MAX_RANK], part = 0;
        memcpy(from, at, sizeof from);
        while (from[axis] >= in[part]->shape[axis])
            from[axis] -= in[part++]->shape[axis];
        const quern__number_walker w = quern__numbers_walk(in[part], rank);
        out->at[i] = quern__numbers_walked(&w, rank, from);
    }
    return quern__numbers_settled(out);
}

static const numbers *range(room *r, const numbers *const *in)
{
    double from, to, step;
    if (!quern__numbers_are_one(in[0], &from) || !quern__numbers_are_one(in[1], &to) ||
        !quern__numbers_are_one(in[2], &step) || step == 0)
        return NULL;
    const double count = ceil((to - from) / step);
    if (!(count >= 1 && count <= QUERN__NUMBERS_MOST))
        return NULL;
    const uint32_t shape = (uint32_t)count;
    numbers *n = quern__numbers_make(r, in[0]->kind, 1, &shape, false);
    for (size_t i = 0; n && i < n->count; i++)
        n->at[i] = from + (double)i * step;
    return quern__numbers_settled(n);
}

/* ---- sums and the like over axes ---- */

enum reduction { SUM, MEAN, MOST_OF, LEAST_OF, NO_REDUCTION };

static int reduction_of(quern_str op)
{
    static const char *const names[] = {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"};
    int i = 0;
    while (i < NO_REDUCTION && !quern__str_is(op, names[i]))
        i++;
    return i;
}

static const numbers *reduce(room *r, const numbers *a, int how, uint32_t bits, bool keep)
{
    uint32_t whole[QUERN__MAX_RANK], shape[QUERN__MAX_RANK], rank = 0, at[QUERN__MAX_RANK] = {0};
    size_t each = 1;
    for (uint32_t i = 0; i < a->rank; i++) {
        const bool gone = (bits & 1u << i) != 0;
        whole[i] = gone ? 1 : a->shape[i];
        each *= gone ? a->shape[i] : 1;
        if (!gone || keep)
            shape[rank++] = whole[i];
    }
    numbers *n = quern__numbers_make(r, a->kind, rank, shape, a->same);
    if (!n)
        return NULL;
    if (a->same) {
        n->at[0] = how == SUM ? a->at[0] * (double)each : a->at[0];
        return n;
    }
    for (size_t i = 0; i < n->count; i++)
        n->at[i] = how == MOST_OF ? -INFINITY : how == LEAST_OF ? INFINITY : 0;
    for (size_t i = 0; i < a->count; i++, quern__numbers_next(a->rank, a->shape, at)) {
        size_t to = 0;
        for (uint32_t k = 0; k < a->rank; k++)
            to = to * whole[k] + (whole[k] == 1 ? 0 : at[k]);
        const double v = a->at[i];
        n->at[to] = how == MOST_OF    ? fmax(n->at[to], v)
                    : how == LEAST_OF ? fmin(n->at[to], v)
                                      : n->at[to] + v;
    }
    for (size_t i = 0; how == MEAN && i < n->count; i++)
        n->at[i] /= (double)each;
    return quern__numbers_settled(n);
}

/* ---- a node ---- */

typedef struct call {
    room *r;
    const quern__onnx_file *f;
    const quern__onnx_node *node;
    const numbers *const *in;
    uint32_t n;
    quern_error *err;
} call;

static int integer(const call *c, const char *name, int64_t otherwise, int64_t *out)
{
    quern__onnx_attribute a;
    bool has = false;
    int rc = quern__onnx_attribute_of(c->f, c->node, name, &has, &a, c->err);
    *out = has ? a.i : otherwise;
    return rc;
}

static int constant_of_shape(const call *c, const numbers **out)
{
    const numbers *n = c->in[0];
    uint32_t shape[QUERN__MAX_RANK];
    double value = 0;
    int kind = QUERN__REAL;
    if (c->node->tensor >= 0) {
        const quern__onnx_tensor *t = &c->f->tensors[c->node->tensor];
        const numbers *one = quern__onnx_is_inside(c->f, t)
                                 ? quern__numbers_load(c->r, t, c->f->data + t->offset)
                                 : NULL;
        if (!one || !quern__numbers_are_one(one, &value))
            return QUERN_OK;
        kind = one->kind;
    }
    if (n->rank != 1 || n->count > QUERN__MAX_RANK)
        return QUERN_OK;
    for (size_t i = 0; i < n->count; i++) {
        const double d = quern__number_at(n, i);
        if (!(d >= 1 && d <= QUERN__NUMBERS_MOST))
            return QUERN_OK;
        shape[i] = (uint32_t)d;
    }
    *out = quern__numbers_fill(c->r, kind, (uint32_t)n->count, shape, value);
    return QUERN_OK;
}

/* Operations that an axis or a list of them decides. */
static int along(const call *c, const numbers **out)
{
    const quern_str op = c->node->op;
    const numbers *a = c->in[0];
    const int how = reduction_of(op);
    const bool wider = quern__str_is(op, "Unsqueeze"), has_input = c->n == 2;
    const uint32_t added = has_input && c->in[1] ? (uint32_t)c->in[1]->count : 0;
    quern__onnx_attribute list;
    int64_t keep = 1, nothing = 0;
    uint32_t bits, rank = a->rank;
    bool has = false, all;
    int rc = integer(c, "keepdims", 1, &keep);
    if (rc == QUERN_OK)
        rc = integer(c, "noop_with_empty_axes", 0, &nothing);
    if (rc == QUERN_OK && wider && !has_input)
        rc = quern__onnx_attribute_of(c->f, c->node, "axes", &has, &list, c->err);
    if (rc)
        return rc;
    rank += !wider ? 0 : has ? list.n : added;
    if (rank > QUERN__MAX_RANK || (has_input && !c->in[1]) ||
        !quern__axes_of(c->f, c->node, c->in[1], has_input, rank, &bits, &all, c->err) || nothing)
        return QUERN_OK;
    if (wider)
        *out = unsqueeze(c->r, a, bits, rank);
    else if (quern__str_is(op, "Squeeze"))
        *out = squeeze(c->r, a, bits, all);
    else
        *out = reduce(c->r, a, how, all ? (1u << a->rank) - 1 : bits, keep != 0);
    return QUERN_OK;
}

static int flatten(const call *c, const numbers **out)
{
    const numbers *a = c->in[0];
    uint32_t shape[2] = {1, 1};
    int64_t axis;
    int rc = integer(c, "axis", 1, &axis);
    axis += axis < 0 ? a->rank : 0;
    if (rc || axis < 0 || axis > (int64_t)a->rank)
        return rc;
    for (uint32_t i = 0; i < a->rank; i++)
        shape[i >= axis] *= a->shape[i];
    *out = reshape(c->r, a, 2, shape);
    return QUERN_OK;
}

/* Operations with an attribute. */
static int with_attribute(const call *c, const numbers **out)
{
    const quern_str op = c->node->op;
    quern__onnx_attribute a;
    bool has = false;
    int64_t i = 0;
    int rc = QUERN_OK;
    if (quern__str_is(op, "Gather") && c->n == 2 && c->in[1]) {
        rc = integer(c, "axis", 0, &i);
        *out = rc ? NULL : gather(c->r, c->in[0], c->in[1], i);
    } else if (quern__str_is(op, "GatherND") && c->n == 2 && c->in[1]) {
        rc = integer(c, "batch_dims", 0, &i);
        *out = rc || i ? NULL : gather_single(c->r, c->in[0], c->in[1]);
    } else if (quern__str_is(op, "Cast")) {
        rc = integer(c, "to", 0, &i);
        *out = rc ? NULL : quern__numbers_cast(c->r, c->in[0], i);
    } else if (quern__str_is(op, "Transpose")) {
        rc = quern__onnx_attribute_of(c->f, c->node, "perm", &has, &a, c->err);
        *out = rc ? NULL : transpose(c->r, c->in[0], &a, has);
    } else if (quern__str_is(op, "Reshape") && c->n == 2) {
        uint32_t rank, shape[QUERN__MAX_RANK];
        rc = integer(c, "allowzero", 0, &i);
        if (!rc && quern__reshaped(c->in[0]->rank, c->in[0]->shape, c->in[1], i != 0, &rank, shape))
            *out = reshape(c->r, c->in[0], rank, shape);
    } else if (quern__str_is(op, "Flatten")) {
        rc = flatten(c, out);
    } else if (quern__str_is(op, "ConstantOfShape")) {
        rc = constant_of_shape(c, out);
    } else if (quern__str_is(op, "Squeeze") || quern__str_is(op, "Unsqueeze") ||
               reduction_of(op) < NO_REDUCTION) {
        rc = along(c, out);
    }
    return rc;
}

int quern__numbers_of_node(room *r, const quern__onnx_file *f, const quern__onnx_node *node,
                           const numbers *const *in, uint32_t n, const numbers **out,
                           quern_error *err)
{
    const call c = {r, f, node, in, n, err};
    bool known = n > 0;
    int rc = QUERN_OK;
    *out = NULL;
    if (!n || !in[0])
        return QUERN_OK;
    for (uint32_t i = 0; i < n; i++)
        known = known && (in[i] ? quern__numbers_spend(r, in[i]->same ? 1 : in[i]->count)
                                : !f->names[node->inputs + i].len);
    if (!known)
        return QUERN_OK;
    if (quern__str_is(node->op, "Clip")) {
        *out = quern__numbers_clip(r, in, n);
    } else if (quern__str_is(node->op, "Slice")) {
        *out = slice(r, in, n);
    } else if (quern__str_is(node->op, "Expand")) {
        *out = n == 2 ? expand(r, in[0], in[1]) : NULL;
    } else {
        for (uint32_t i = 0; i < n; i++)
            known = known && in[i];
        if (!known)
            return QUERN_OK;
        *out = quern__numbers_elementwise(r, node->op, in, n);
        if (!*out && quern__str_is(node->op, "Range") && n == 3)
            *out = range(r, in);
        if (!*out && quern__str_is(node->op, "Concat")) {
            int64_t axis;
            rc = integer(&c, "axis", INT64_MIN, &axis);
            *out = rc ? NULL : concat(r, in, n, axis);
        } else if (!*out) {
            rc = with_attribute(&c, out);
        }
    }
    if (rc == QUERN_OK && r->full)
        return quern__fail_memory(err, QUERN__NUMBERS_MOST);
    return rc;
}
