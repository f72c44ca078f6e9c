/* onnx_view.c — see onnx_view.h. A text is one and a batch is one, so axes of size 1 come and go as they like. */
#include "format/onnx_view.h"

#include <string.h>

typedef quern__view view;
typedef struct quern__view_axis axis;

view quern__view_rows(uint32_t tokens, uint32_t columns)
{
    return (view){
        3, {{1, 1, QUERN__TOKENS}, {tokens, 1, QUERN__TOKENS}, {columns, 1, QUERN__COLUMNS}}};
}

uint32_t quern__view_wide(const view *v, axis *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->rank; i++)
        if (v->axis[i].size != 1)
            out[n++] = v->axis[i];
    return n;
}

/* Neighbours that are one axis cut in two are made one again. */
static uint32_t joined(const view *v, axis *out)
{
    axis wide[QUERN__VIEW_RANK];
    uint32_t n = 0;
    const uint32_t all = quern__view_wide(v, wide);
    for (uint32_t i = 0; i < all; i++) {
        if (n && out[n - 1].kind == wide[i].kind &&
            out[n - 1].stride == wide[i].size * wide[i].stride) {
            out[n - 1].size *= wide[i].size;
            out[n - 1].stride = wide[i].stride;
        } else {
            out[n++] = wide[i];
        }
    }
    return n;
}

bool quern__view_reshape(view *v, uint32_t rank, const uint32_t *shape)
{
    axis from[QUERN__VIEW_RANK];
    const uint32_t n = joined(v, from);
    uint32_t at = 0, left = n ? from[0].size : 1;
    view out = {.rank = rank};
    if (rank > QUERN__VIEW_RANK)
        return false;
    for (uint32_t i = 0; i < rank; i++) {
        out.axis[i] = (axis){1, 1, QUERN__TOKENS};
        if (shape[i] == 1)
            continue;
        if (at == n || !shape[i] || left % shape[i])
            return false;
        left /= shape[i];
        out.axis[i] = (axis){shape[i], from[at].stride * left, from[at].kind};
        if (left == 1 && ++at < n)
            left = from[at].size;
    }
    *v = out;
    return at == n;
}

bool quern__view_transpose(view *v, const int64_t *perm, uint32_t n)
{
    view out = {.rank = v->rank};
    uint32_t seen = 0;
    if (n != v->rank)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (perm[i] < 0 || perm[i] >= (int64_t)n || seen & 1u << perm[i])
            return false;
        seen |= 1u << perm[i];
        out.axis[i] = v->axis[perm[i]];
    }
    *v = out;
    return true;
}

bool quern__view_covers(const view *v, const view *other)
{
    for (uint32_t i = 1; i <= other->rank; i++) {
        const axis x = other->axis[other->rank - i];
        if (x.size != 1 && (i > v->rank || x.size != v->axis[v->rank - i].size ||
                            x.kind != v->axis[v->rank - i].kind))
            return false;
    }
    return true;
}

bool quern__view_is_rows(const view *v, uint32_t *columns)
{
    axis wide[QUERN__VIEW_RANK];
    const bool rows = quern__view_wide(v, wide) == 2 && wide[0].kind == QUERN__TOKENS &&
                      wide[1].kind == QUERN__COLUMNS && wide[1].stride == 1 &&
                      v->axis[v->rank - 1].size != 1;
    *columns = rows ? wide[1].size : 0;
    return rows;
}

/* Axes in front of the last two are the same, and are nothing or heads of `depth` columns; *heads: how many. */
static bool same_front(const view *a, const view *b, uint32_t depth, uint32_t *heads)
{
    *heads = 1;
    if (a->rank != b->rank || a->rank < 2)
        return false;
    for (uint32_t i = 0; i + 2 < a->rank; i++) {
        const axis x = a->axis[i], y = b->axis[i];
        if (x.size != y.size ||
            (x.size != 1 && (*heads != 1 || x.kind != QUERN__COLUMNS || y.kind != QUERN__COLUMNS ||
                             x.stride != depth || y.stride != depth)))
            return false;
        *heads *= x.size;
    }
    return true;
}

bool quern__view_scores(const view *q, const view *k, view *out, uint32_t *heads, uint32_t *depth)
{
    if (q->rank < 2 || k->rank < 2)
        return false;
    const axis *a = q->axis + q->rank - 2, *b = k->axis + k->rank - 2;
    *depth = a[1].size;
    if (a[0].size == 1 || a[1].size == 1 || a[0].kind != QUERN__TOKENS ||
        a[1].kind != QUERN__COLUMNS || a[1].stride != 1 || b[0].kind != QUERN__COLUMNS ||
        b[0].stride != 1 || b[0].size != *depth || b[1].kind != QUERN__TOKENS || b[1].size == 1 ||
        !same_front(q, k, *depth, heads))
        return false;
    *out = *q;
    out->axis[q->rank - 1] = (axis){b[1].size, 1, QUERN__KEYS};
    return true;
}

bool quern__view_context(const view *probs, const view *v, view *out)
{
    uint32_t heads;
    if (probs->rank < 2 || v->rank < 2)
        return false;
    const axis *a = probs->axis + probs->rank - 2, *b = v->axis + v->rank - 2;
    if (a[0].size == 1 || a[0].kind != QUERN__TOKENS || !quern__view_ends_in_keys(probs) ||
        b[0].kind != QUERN__TOKENS || b[0].size != a[1].size || b[1].size == 1 ||
        b[1].kind != QUERN__COLUMNS || b[1].stride != 1 || !same_front(probs, v, b[1].size, &heads))
        return false;
    *out = *probs;
    out->axis[probs->rank - 1] = b[1];
    return true;
}

bool quern__view_ends_in_keys(const view *v)
{
    return v->rank && v->axis[v->rank - 1].size != 1 && v->axis[v->rank - 1].kind == QUERN__KEYS;
}
