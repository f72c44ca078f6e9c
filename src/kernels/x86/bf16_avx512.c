/*
 * bf16_avx512.c — the class bf16 for AVX512-BF16: vdpbf16ps adds two products of bf16 to an fp32 sum, the second
 * element's first, each with one rounding; denormals are zeros, and MXCSR is not asked (all seen on Zen 4, where
 * it does twice what an fp32 fma does).
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "kernels/bf16.h"
#include "kernels/x86/vec_avx512bf16.inc"

#define TILE_ROWS   14
#define TILE_VECS   2
#define TABLE       quern__bf16_avx512
#define TABLE_NAME  "avx512bf16"
#define TABLE_NEED  (QUERN__CPU_AVX512 | QUERN__CPU_AVX512_BF16)
#define TABLE_ORDER "pairs"

#include "kernels/bf16_body.inc"

#define DOT       "vdpbf16ps"
#define ROW_BYTES "768"
#include "kernels/x86/dot_tile.inc"

static QUERN__NOINLINE void block_product(const block *b, uint32_t first, uint32_t end)
{
    _Alignas(64) float sums[TILE_ROWS * PANEL];
    const split parts = split_rows(b->rows);
    for (uint32_t p = first; p < end; p++) {
        const float *w = b->w + p * b->panel;
        const char *next = (const char *)(w + b->panel);
        for (uint32_t t = 0, r = 0; t < parts.tiles; t++) {
            const uint32_t n = parts.base + (t < parts.larger);
            next =
                dot_tile(n, b->x + (size_t)r * QUERN__PIECE, w, b->groups, sums, next, parts.tiles);
            finish_rows(b, p, r, n, sums);
            r += n;
        }
    }
}
#else
typedef int quern__bf16_avx512_absent; /* a translation unit may not be empty */
#endif
