/*
 * kernels_avx512.c — the arithmetic for AVX-512 (F, BW, DQ, VL): a vector is one register, the tile is
 * 14 rows of 32 columns: 28 accumulators, two columns of weights, one broadcast, of 32 registers.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "kernels/kernels_table.h"
#include "kernels/x86/vec_avx512.inc"

#define TILE_ROWS  14
#define TILE_VECS  2
#define TABLE      quern__kernels_avx512
#define TABLE_NAME "avx512"
#define TABLE_NEED QUERN__CPU_AVX512

#include "kernels/kernels_body.inc"
#else
typedef int quern__kernels_avx512_absent; /* a translation unit may not be empty */
#endif
