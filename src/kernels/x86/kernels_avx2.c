/*
 * kernels_avx2.c — the arithmetic for AVX2 with FMA and F16C: a vector is two registers, the tile is 6
 * rows of 16 columns: 12 accumulators, two of weights, two broadcasts, of 16 registers. A wider panel
 * would leave fewer rows to hide the latency of the fma.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "kernels/kernels_table.h"
#include "kernels/x86/vec_avx2.inc"

#define TILE_ROWS  6
#define TILE_VECS  1
#define TABLE      quern__kernels_avx2
#define TABLE_NAME "avx2"
#define TABLE_NEED QUERN__CPU_AVX2

#include "kernels/kernels_body.inc"
#else
typedef int quern__kernels_avx2_absent; /* a translation unit may not be empty */
#endif
