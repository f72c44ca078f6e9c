/*
 * kernels.h — the table of arithmetic that the encoder and the vector search stand on. One table an
 * instruction set; the scalar one is the specification to the bit (docs/bits.md), the others give the
 * same bits sooner. A table is chosen once, at open, and never mixed within one model.
 */
#ifndef QUERN_KERNELS_KERNELS_H
#define QUERN_KERNELS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Rows of a product's left side, columns of a panel, depth of a piece: fixed by the specification
 * where bits depend on them (depth), free for a variant where they do not (rows). */
enum { QUERN__PIECE = 384 /* k per accumulation piece: specification rule 2 */ };

typedef struct quern__kernels quern__kernels;

/* The best table among the levels `allowed` (bits of cpu.h); the scalar one when there is none better. */
const quern__kernels *quern__kernels_pick(uint32_t allowed);
/* Every table built into this library, for tests: NULL past the end. A table may be run only if
 * (need & quern__cpu_detected()) == need. */
const quern__kernels *quern__kernels_at(size_t i);

/* What upper floors use directly; the encoder sees the whole table in kernels_table.h. */
const char *quern__kernels_name(const quern__kernels *k);
uint32_t quern__kernels_need(const quern__kernels *k);

/* Dot product of one f32 query with n stored rows of `dim` elements, f16 (IEEE half, as stored) or
 * f32, row-major; out[n]. Order: 16 lanes, lane l adds q[i]*v[i] by fma for i = l, l+16, … ascending,
 * then TREE16; a missing tail counts as +0. Same bits in every table. */
void quern__dot_rows_f16(const quern__kernels *k, const float *q, const uint16_t *rows, size_t n,
                         size_t dim, float *out);
void quern__dot_rows_f32(const quern__kernels *k, const float *q, const float *rows, size_t n,
                         size_t dim, float *out);

/* Conversions, round to nearest even; bits equal everywhere. f16 overflow gives infinity. */
void quern__f32_to_f16(const float *in, uint16_t *out, size_t n);
void quern__f16_to_f32(const uint16_t *in, float *out, size_t n);

#endif
