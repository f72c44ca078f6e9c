/*
 * kernels_scalar.c — the specification of docs/bits.md in plain C: a vector is an array of 16 floats.
 * Every other table is judged by this one. fma is the library's fmaf: one rounding with or without the
 * instruction (glibc takes the instruction where there is one, and computes it exactly otherwise); a
 * product in double, added and rounded to float, rounds twice and differs once in billions, so it is
 * not an fma. The tests compile this file a second time, with the instruction inlined, to end in time.
 */
#include <math.h>
#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "kernels/kernels_table.h"
#include "kernels/vec_scalar.inc"

#define TILE_VECS 1
#define TILE_ROWS 4
#ifndef QUERN__SCALAR_TABLE
#define TABLE      quern__kernels_scalar
#define TABLE_NAME "scalar"
#define TABLE_NEED QUERN__CPU_SCALAR
#else /* the tests' build */
extern const quern__kernels QUERN__SCALAR_TABLE;
#define TABLE      QUERN__SCALAR_TABLE
#define TABLE_NAME "scalar, fma inlined"
#define TABLE_NEED QUERN__CPU_AVX2
#endif

#include "kernels/kernels_body.inc"
