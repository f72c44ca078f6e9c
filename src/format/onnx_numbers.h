/*
 * onnx_numbers.h — the small arrays that a graph computes from sizes, masks and constants, worked out for one text: every number
 * that meets an encoder's value is then known, however its exporter spelt it (a scale as 1/sqrt(shape[-1]), a mask through
 * comparisons of ranges). onnx.c says what a text's inputs are.
 *
 * Rejected: following factors and masks by tags ("a mask came from attention_mask"): a causal mask or one that adds a slope is
 * made of it too.
 */
#ifndef QUERN_FORMAT_ONNX_NUMBERS_H
#define QUERN_FORMAT_ONNX_NUMBERS_H

#include "base/arena.h"
#include "format/onnx_file.h"

enum quern__number_kind { QUERN__REAL, QUERN__WHOLE, QUERN__TRUTH };

/* Never changed once it is made. */
typedef struct quern__numbers {
    int kind;
    uint32_t rank;
    uint32_t shape[QUERN__MAX_RANK];
    size_t count; /* > 0 */
    bool same;    /* at[0] is all of them */
    double *at;
} quern__numbers;

/* Where they live, and how many more there may be: arrays past that are not known. */
typedef struct quern__number_room {
    quern__arena arena;
    size_t left;
    bool full; /* memory ran out */
} quern__number_room;

static inline double quern__number_at(const quern__numbers *n, size_t i)
{
    return n->at[n->same ? 0 : i];
}

/* All of one shape; NULL: no room. */
const quern__numbers *quern__numbers_fill(quern__number_room *room, int kind, uint32_t rank,
                                          const uint32_t *shape, double value);
const quern__numbers *quern__numbers_list(quern__number_room *room, const uint32_t *values,
                                          size_t n);
/* 0, 1, 2, … in [1, n] */
const quern__numbers *quern__numbers_count(quern__number_room *room, uint32_t n);
/* Of `count` elements in ONNX's type, little-endian; NULL: of a type that is no number, or too many. */
const quern__numbers *quern__numbers_load(quern__number_room *room, const quern__onnx_tensor *t,
                                          const uint8_t *data);
/* Is it one number, for whatever it is broadcast to? */
bool quern__numbers_are_one(const quern__numbers *n, double *out);

/* The shape that a Reshape to `target` gives of one of that shape; false: none. */
bool quern__reshaped(uint32_t rank, const uint32_t *shape, const quern__numbers *target,
                     bool zero_is_zero, uint32_t *to_rank, uint32_t *to);
/* An axis counted from the end, too; false: none of `rank`. */
bool quern__axis_of(int64_t axis, uint32_t rank, uint32_t *out);
/* Axes of a node: its attribute, or its input where there is one. One bit each. false: not known. `all`: none were given. */
bool quern__axes_of(const quern__onnx_file *f, const quern__onnx_node *node,
                    const quern__numbers *input, bool has_input, uint32_t rank, uint32_t *bits,
                    bool *all, quern_error *err);
/* The first and the last plus one of an axis of `size` that a Slice of step 1 with these keeps. */
void quern__slice_bounds(double start, double end, uint32_t size, uint32_t *first, uint32_t *last);

/* What a node makes of known inputs (NULL: left out, or not known). *out NULL: not known. Errors are torn attributes and memory. */
int quern__numbers_of_node(quern__number_room *room, const quern__onnx_file *f,
                           const quern__onnx_node *node, const quern__numbers *const *in,
                           uint32_t n, const quern__numbers **out, quern_error *err);

#endif
