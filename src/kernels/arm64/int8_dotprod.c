/*
 * int8_dotprod.c — the int8 class for an arm64 with dot products but without i8mm: there is no instruction
 * for a code (0..255) times a weight (-127..127), only for two of one kind. So weights are packed as
 * w + 128, udot sums codes * (w + 128), and 128 times the sum of the row's codes is taken off again: whole numbers,
 * exact, and less to correct than by moving the codes, whose correction is per column. Padding is packed as
 * 128 likewise, so whatever stands in codes past the end is added and taken off. The sum is below
 * 384 * 255 * 255, far from 2^32. The tile is 6 rows of 16 columns.
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
#define K_GROUP         4
#define PACKED(W)       ((int8_t)((W) ^ -128)) /* + 128, as a byte */
#define CODES_ARE_BYTES 1
#define TABLE           quern__int8_dotprod
#define TABLE_NAME      "dotprod"
#define TABLE_NEED      (QUERN__CPU_NEON | QUERN__CPU_DOTPROD)

typedef uint8_t code;

#include "kernels/arm64/int8_neon.inc"

/* 128 times the sum of k codes, k a multiple of 4. */
QUERN__INLINE uint32_t excess(const code *x, uint32_t k)
{
    const uint8x16_t by = vdupq_n_u8(128);
    uint32x4_t sum = vdupq_n_u32(0);
    uint32_t i = 0;
    for (; i + 16 <= k; i += 16)
        sum = vdotq_u32(sum, vld1q_u8(x + i), by);
    uint32_t rest = 0;
    for (; i < k; i++)
        rest += x[i];
    return vaddvq_u32(sum) + 128 * rest;
}

QUERN__INLINE void tile(const uint32_t rows, const code *x, const int8_t *w, uint32_t k,
                        int32_t *sums)
{
    const uint8_t *from = (const uint8_t *)w;
    uint32x4_t acc[TILE_ROWS][4];
    QUERN__UNROLL
    for (uint32_t r = 0; r < rows; r++)
        acc[r][0] = acc[r][1] = acc[r][2] = acc[r][3] =
            vdupq_n_u32(0u - excess(x + r * QUERN__PIECE, k));
    for (uint32_t i = 0; i < k; i += 4, from += 64) {
        uint8x16_t columns[4];
        QUERN__UNROLL
        for (uint32_t q = 0; q < 4; q++)
            columns[q] = vld1q_u8(from + 16 * q);
        QUERN__UNROLL
        for (uint32_t r = 0; r < rows; r++) {
            uint32_t four;
            memcpy(&four, x + r * QUERN__PIECE + i, sizeof four);
            const uint8x16_t a = vreinterpretq_u8_u32(vdupq_n_u32(four));
            QUERN__UNROLL
            for (uint32_t q = 0; q < 4; q++)
                acc[r][q] = vdotq_u32(acc[r][q], columns[q], a);
        }
    }
    QUERN__UNROLL
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t q = 0; q < 4; q++)
            vst1q_s32(sums + r * 16 + 4 * q, vreinterpretq_s32_u32(acc[r][q]));
}

#include "kernels/int8_tile_sums.inc"
#include "kernels/int8_body.inc"
#else
typedef int quern__int8_dotprod_absent; /* a translation unit may not be empty */
#endif
