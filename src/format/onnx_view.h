/*
 * onnx_view.h — the shape of an encoder's value, and of what each of its axes is: tokens, columns, heads of columns. What reshapes
 * and transposes it is followed exactly, so that heads are what the graph cuts, and a row stays a row.
 */
#ifndef QUERN_FORMAT_ONNX_VIEW_H
#define QUERN_FORMAT_ONNX_VIEW_H

#include <stdbool.h>
#include <stdint.h>

enum { QUERN__VIEW_RANK = 6 };
enum quern__axis_kind { QUERN__TOKENS, QUERN__COLUMNS, QUERN__KEYS };

/* An axis of size 1 is of no kind. `stride`: how far apart, in columns, its elements are. */
typedef struct quern__view {
    uint32_t rank;
    struct quern__view_axis {
        uint32_t size, stride;
        int kind;
    } axis[QUERN__VIEW_RANK];
} quern__view;

/* [1, tokens, columns] */
quern__view quern__view_rows(uint32_t tokens, uint32_t columns);
/* Each gives false where the elements would not lie as axes of one kind each. */
bool quern__view_reshape(quern__view *v, uint32_t rank, const uint32_t *shape);
bool quern__view_transpose(quern__view *v, const int64_t *perm, uint32_t n);
/* Is one that is broadcast to the other of the other's shape? */
bool quern__view_covers(const quern__view *v, const quern__view *other);
/* The axes that are not 1, in their order; the number of them. */
uint32_t quern__view_wide(const quern__view *v, struct quern__view_axis *out);
/* Is it tokens by columns, all of them, the columns last? */
bool quern__view_is_rows(const quern__view *v, uint32_t *columns);

/* The view of what a product of heads' queries and keys, and of probabilities and values, is; false: they are none. */
bool quern__view_scores(const quern__view *q, const quern__view *k, quern__view *out,
                        uint32_t *heads, uint32_t *depth);
bool quern__view_context(const quern__view *probs, const quern__view *v, quern__view *out);
/* Is the last axis the keys'? */
bool quern__view_ends_in_keys(const quern__view *v);

#endif
