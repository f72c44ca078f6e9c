/*
 * int8_amx.c — the int8 class by AMX's tiles: int8_amx.inc over the instructions, everything else by AVX-512, which no
 * processor with AMX lacks.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "kernels/int8.h"
#include "kernels/x86/amx_real.h"
#include "kernels/x86/int8_vec_avx512.inc"

#define TABLE      quern__int8_amx
#define TABLE_NAME "amx"
#define TABLE_NEED (QUERN__CPU_AVX512 | QUERN__CPU_AMX)

#include "kernels/int8_amx.inc"
#else
typedef int quern__int8_amx_absent; /* a translation unit may not be empty */
#endif
