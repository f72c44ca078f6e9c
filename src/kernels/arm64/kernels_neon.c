/*
 * kernels_neon.c — the arithmetic for NEON, which every arm64 has: a vector is four registers, the tile is 6
 * rows of 16 columns: 24 accumulators, four of weights, one broadcast, of 32 registers.
 */
#if defined(__aarch64__)
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "kernels/arm64/vec_neon.inc"
#include "kernels/kernels_table.h"

#define TILE_ROWS  6
#define TILE_VECS  1
#define TABLE      quern__kernels_neon
#define TABLE_NAME "neon"
#define TABLE_NEED QUERN__CPU_NEON

#include "kernels/kernels_body.inc"
#else
typedef int quern__kernels_neon_absent; /* a translation unit may not be empty */
#endif
