/* onnx_numbers_impl.h — what the three files behind onnx_numbers.h share. */
#ifndef QUERN_FORMAT_ONNX_NUMBERS_IMPL_H
#define QUERN_FORMAT_ONNX_NUMBERS_IMPL_H

#include "format/onnx_numbers.h"

enum { QUERN__NUMBERS_MOST = 1 << 20 /* of one array */ };

/* Work and memory are paid from one purse; false: it is empty. */
bool quern__numbers_spend(quern__number_room *room, size_t n);
/* Uninitialised but for its shape; NULL: no room. */
quern__numbers *quern__numbers_make(quern__number_room *room, int kind, uint32_t rank,
                                    const uint32_t *shape, bool same);
/* The same array, stored as one number where it is one. */
const quern__numbers *quern__numbers_settled(quern__numbers *n);

/* Steps through `n` as broadcast to a shape of `rank`: where an element of that comes from. */
typedef struct quern__number_walker {
    const quern__numbers *n;
    size_t first, step[QUERN__MAX_RANK];
} quern__number_walker;
quern__number_walker quern__numbers_walk(const quern__numbers *n, uint32_t rank);
double quern__numbers_walked(const quern__number_walker *w, uint32_t rank, const uint32_t *at);
bool quern__numbers_next(uint32_t rank, const uint32_t *shape, uint32_t *at);
/* The shape of the two together, into the first; false: they have none. */
bool quern__numbers_join(uint32_t *rank, uint32_t *shape, uint32_t more, const uint32_t *other);

/* NULL: no operation of that name here, or no room. Of clip's inputs the second and third may be left out. */
const quern__numbers *quern__numbers_elementwise(quern__number_room *room, quern_str op,
                                                 const quern__numbers *const *in, uint32_t n);
const quern__numbers *quern__numbers_clip(quern__number_room *room, const quern__numbers *const *in,
                                          uint32_t n);
/* What a Cast gives; types that would round in a way that is not looked at here are not known. */
const quern__numbers *quern__numbers_cast(quern__number_room *room, const quern__numbers *a,
                                          int64_t to);

#endif
