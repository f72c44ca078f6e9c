/*
 * bf16.h — products of the class bf16 (docs/bits.md, specification 3): activations and weights rounded to bf16, sums
 * in fp32. Everything else of the class is done by an fp32 table, so a model of this class computes with a copy
 * of one, in which packing and product are those of here (classes.h).
 *
 * Two orders of summation exist, because the instructions have them: by pairs (vdpbf16ps) and by tiles (AMX). Vectors of
 * the two differ in bits; `order` stands in the fingerprint.
 *
 * Weights: [panel][piece][pair of k][column][2], k past the end zero.
 */
#ifndef QUERN_KERNELS_BF16_H
#define QUERN_KERNELS_BF16_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernels_table.h"

typedef struct quern__bf16_kernels {
    const char *name, *order; /* "pairs" or "tiles" */
    uint32_t need;            /* bits of cpu.h */
    uint32_t panel, tile_rows;
    void (*pack)(const float *const *rows, uint32_t k, float *dst);
    void (*product)(const quern__matrix *w, uint32_t first, uint32_t end, int epilogue,
                    quern__rows x, quern__rows y, quern__rows residual, uint32_t rows);
} quern__bf16_kernels;

/* The best table among the levels `allowed` (bits of cpu.h). */
const quern__bf16_kernels *quern__bf16_pick(uint32_t allowed);
/* Every table built in, NULL past the end; run one only if (need & quern__cpu_runnable()) == need. */
const quern__bf16_kernels *quern__bf16_at(size_t i);

extern const quern__bf16_kernels quern__bf16_scalar, quern__bf16_amx_plain;
#if defined(__x86_64__)
extern const quern__bf16_kernels quern__bf16_avx512, quern__bf16_amx;
#endif

/* Rule 40: to nearest even; a denormal is a zero, NaN stays NaN. */
static inline uint16_t quern__bf16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (!(bits & 0x7f800000)) /* a zero of its sign */
        return (uint16_t)(bits >> 16 & 0x8000);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
