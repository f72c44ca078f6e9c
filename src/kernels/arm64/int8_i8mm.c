/*
 * int8_i8mm.c — the int8 class for an arm64 with i8mm: usmmla takes two rows of eight codes and two columns of
 * eight weights, and adds to the 2 x 2 sums: twice the work of a dot product. The tile is 6 rows of 16 columns: 24
 * accumulators of two rows and two columns, three registers of codes, one of weights in turn. Of an odd number of
 * rows the last stands in for the missing one. A depth that leaves 4 past a multiple of 8 ends with
 * usdot, on weights packed in groups of 4.
 */
#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "kernels/int8.h"

#define TILE_ROWS       6
#define TILE_VECS       1
#define K_GROUP         8
#define CODES_ARE_BYTES 1
#define TABLE           quern__int8_i8mm
#define TABLE_NAME      "i8mm"
#define TABLE_NEED      (QUERN__CPU_NEON | QUERN__CPU_I8MM)

typedef uint8_t code;

#include "kernels/arm64/int8_neon.inc"

/* The last four of k, for one row. */
QUERN__INLINE void last_four(const code *x, const int8_t *w, int32_t *sums)
{
    uint32_t four;
    memcpy(&four, x, sizeof four);
    const uint8x16_t a = vreinterpretq_u8_u32(vdupq_n_u32(four));
    for (uint32_t q = 0; q < 4; q++)
        vst1q_s32(sums + 4 * q, vusdotq_s32(vld1q_s32(sums + 4 * q), a, vld1q_s8(w + 16 * q)));
}

/* Columns 4 q to 4 q + 3 of one row of the pair. */
#define ROW_OF(PART, A, B)                                                                         \
    vreinterpretq_s32_s64(PART(vreinterpretq_s64_s32(A), vreinterpretq_s64_s32(B)))

QUERN__INLINE void tile(const uint32_t rows, const code *x, const int8_t *w, uint32_t k,
                        int32_t *sums)
{
    const uint32_t pairs = (rows + 1) / 2;
    int32x4_t acc[TILE_ROWS / 2][8];
    QUERN__UNROLL
    for (uint32_t p = 0; p < pairs; p++)
        QUERN__UNROLL
    for (uint32_t c = 0; c < 8; c++)
        acc[p][c] = vdupq_n_s32(0);
    uint32_t i = 0;
    for (; i + 8 <= k; i += 8, w += 128) {
        uint8x16_t a[TILE_ROWS / 2];
        QUERN__UNROLL
        for (uint32_t p = 0; p < pairs; p++)
            a[p] = vcombine_u8(vld1_u8(x + (2 * p) * QUERN__PIECE + i),
                               vld1_u8(x + QUERN__MIN(2 * p + 1, rows - 1) * QUERN__PIECE + i));
        QUERN__UNROLL
        for (uint32_t c = 0; c < 8; c++) {
            const int8x16_t b = vld1q_s8(w + 16 * c);
            QUERN__UNROLL
            for (uint32_t p = 0; p < pairs; p++)
                acc[p][c] = vusmmlaq_s32(acc[p][c], a[p], b);
        }
    }
    QUERN__UNROLL
    for (uint32_t p = 0; p < pairs; p++)
        QUERN__UNROLL
    for (uint32_t c = 0; c < 8; c += 2) {
        vst1q_s32(sums + 2 * p * 16 + 2 * c, ROW_OF(vzip1q_s64, acc[p][c], acc[p][c + 1]));
        if (2 * p + 1 < rows)
            vst1q_s32(sums + (2 * p + 1) * 16 + 2 * c,
                      ROW_OF(vzip2q_s64, acc[p][c], acc[p][c + 1]));
    }
    if (i < k)
        for (uint32_t r = 0; r < rows; r++)
            last_four(x + r * QUERN__PIECE + i, w, sums + r * 16);
}

#include "kernels/int8_tile_sums.inc"
#include "kernels/int8_body.inc"
#else
typedef int quern__int8_i8mm_absent; /* a translation unit may not be empty */
#endif
