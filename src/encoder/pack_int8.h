/*
 * pack_int8.h — matrices of the classes int8 and int4, from their stored numbers to what the kernels read.
 */
#ifndef QUERN_ENCODER_PACK_INT8_H
#define QUERN_ENCODER_PACK_INT8_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/int8.h"

/* One matrix: column c has k weights at row[c], and the scale of its piece p at scale[c][p * stride[c]];
 * row[c] NULL: a padded column. The first `fours` columns have two weights a byte, and steps of 32 at step[c]. */
typedef struct quern__columns {
    uint32_t k, columns;
    const int8_t *const *row;
    const float *const *scale;
    const size_t *stride; /* [columns] */
    uint32_t fours;
    const int8_t *const *step;
} quern__columns;

/* Bytes of weights, and floats of scales and sums, that this shape takes. */
size_t quern__pack_int8_bytes(const quern__int8_kernels *kernels, uint32_t columns, uint32_t k,
                              uint32_t fours);
size_t quern__pack_int8_floats(uint32_t columns, uint32_t k);
/* Packs to *data and *numbers, and moves them on; the regions are zeroed before. */
void quern__pack_int8(const quern__int8_kernels *kernels, const quern__columns *c,
                      const float *bias, int8_t **data, float **numbers, quern__matrix8 *out);
/* The same, where the regions hold it all already and may not be written. */
void quern__place_int8(const quern__int8_kernels *kernels, const quern__columns *c,
                       const float *bias, int8_t **data, float **numbers, quern__matrix8 *out);
/* Rule 24: bias[n] less the offset of what `m`, a feed-forward block's second product over one piece, reads. */
void quern__fold_offset(const quern__matrix8 *m, uint32_t n, float *bias);

#endif
