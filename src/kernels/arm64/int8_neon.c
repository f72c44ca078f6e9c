/*
 * int8_neon.c — the int8 class for an arm64 without dot products: both sides 16 bits wide, products summed
 * into 32 bits by smlal. Codes are stored in 16 bits, so that the inner loop only takes lanes of them;
 * weights stay bytes and are widened once a tile's six rows. The tile is 6 rows of 16 columns.
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
#define K_GROUP         1
#define CODES_ARE_BYTES 0
#define TABLE           quern__int8_neon
#define TABLE_NAME      "neon"
#define TABLE_NEED      QUERN__CPU_NEON

typedef uint16_t code;

#include "kernels/arm64/int8_neon.inc"

QUERN__INLINE void tile(const uint32_t rows, const code *x, const int8_t *w, uint32_t k,
                        int32_t *sums)
{
    int32x4_t acc[TILE_ROWS][4];
    QUERN__UNROLL
    for (uint32_t r = 0; r < rows; r++)
        acc[r][0] = acc[r][1] = acc[r][2] = acc[r][3] = vdupq_n_s32(0);
    for (uint32_t i = 0; i < k; i++, w += 16) {
        const int8x16_t bytes = vld1q_s8(w);
        const int16x8_t left = vmovl_s8(vget_low_s8(bytes)), right = vmovl_s8(vget_high_s8(bytes));
        QUERN__UNROLL
        for (uint32_t r = 0; r < rows; r++) {
            const int16_t a = (int16_t)x[r * QUERN__PIECE + i];
            acc[r][0] = vmlal_n_s16(acc[r][0], vget_low_s16(left), a);
            acc[r][1] = vmlal_high_n_s16(acc[r][1], left, a);
            acc[r][2] = vmlal_n_s16(acc[r][2], vget_low_s16(right), a);
            acc[r][3] = vmlal_high_n_s16(acc[r][3], right, a);
        }
    }
    QUERN__UNROLL
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t q = 0; q < 4; q++)
            vst1q_s32(sums + r * 16 + 4 * q, acc[r][q]);
}

#include "kernels/int8_tile_sums.inc"
#include "kernels/int8_body.inc"
#else
typedef int quern__int8_neon_absent; /* a translation unit may not be empty */
#endif
