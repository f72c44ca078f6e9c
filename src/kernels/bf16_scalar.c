/*
 * bf16_scalar.c — the class bf16 in plain C, by pairs: the specification that vdpbf16ps is compared with.
 */
#include "base/compiler.h"
#include "base/cpu.h"
#include "kernels/bf16.h"
#include "kernels/vec_scalar.inc"

#define TILE_ROWS   4
#define TILE_VECS   1
#define TABLE       quern__bf16_scalar
#define TABLE_NAME  "scalar"
#define TABLE_NEED  QUERN__CPU_SCALAR
#define TABLE_ORDER "pairs"

QUERN__INLINE void halves_store(uint16_t *to, vec v)
{
    EACH to[i] = quern__bf16_of(v.lane[i]);
}

#include "kernels/bf16_body.inc"

QUERN__INLINE float widened(uint16_t half)
{
    const uint32_t bits = half & 0x7f80 ? (uint32_t)half << 16 : (uint32_t)(half & 0x8000) << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Rule 41: a result that is denormal is a zero of its sign. */
QUERN__INLINE float add_product(float x, float w, float sum)
{
    const float y = fmaf(x, w, sum);
    return fabsf(y) < 0x1p-126f ? copysignf(0.0f, y) : y;
}

static void block_product(const block *b, uint32_t first, uint32_t end)
{
    for (uint32_t p = first; p < end; p++)
        for (uint32_t r = 0; r < b->rows; r++) {
            const uint16_t *x = b->x + (size_t)r * QUERN__PIECE;
            float sums[PANEL] = {0};
            for (uint32_t g = 0; g < b->groups; g++, x += 2) {
                uint16_t w[2 * PANEL];
                memcpy(w, b->w + p * b->panel + (size_t)g * PANEL, sizeof w);
                for (uint32_t j = 0; j < PANEL; j++)
                    sums[j] =
                        add_product(widened(x[0]), widened(w[2 * j]),
                                    add_product(widened(x[1]), widened(w[2 * j + 1]), sums[j]));
            }
            finish_rows(b, p, r, 1, sums);
        }
}
