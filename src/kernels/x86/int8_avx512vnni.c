/*
 * int8_avx512vnni.c — the int8 class for AVX-512 with VNNI: vpdpbusd sums four products of a byte of codes
 * and a byte of weights into 32 bits, exactly (vpdpbusds would saturate).
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "kernels/int8.h"
#include "kernels/x86/int8_vec_avx512.inc"

#define TILE_ROWS  14
#define TILE_VECS  2
#define K_GROUP    4
#define TABLE      quern__int8_avx512vnni
#define TABLE_NAME "avx512vnni"
#define TABLE_NEED (QUERN__CPU_AVX512 | QUERN__CPU_AVX512_VNNI)

#define DOT       "vpdpbusd"
#define ROW_BYTES "384"
#include "kernels/x86/dot_tile.inc"

static QUERN__NOINLINE const char *tile_sums(uint32_t rows, const code *x, const int8_t *w,
                                             uint32_t k, int32_t *sums, const char *next,
                                             uint32_t tiles)
{
    return dot_tile(rows, x, w, k / 4, sums, next, tiles);
}

#include "kernels/int8_body.inc"
#else
typedef int quern__int8_avx512vnni_absent; /* a translation unit may not be empty */
#endif
