/*
 * bf16_amx.c — the class bf16 by AMX's tiles: bf16_amx.inc over the instructions, everything else by AVX-512 with its
 * own conversions, which no processor with AMX lacks.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "kernels/bf16.h"
#include "kernels/x86/amx_real.h"
#include "kernels/x86/vec_avx512bf16.inc"

#define TABLE      quern__bf16_amx
#define TABLE_NAME "amx"
#define TABLE_NEED (QUERN__CPU_AVX512 | QUERN__CPU_AVX512_BF16 | QUERN__CPU_AMX)

#include "kernels/bf16_amx.inc"
#else
typedef int quern__bf16_amx_absent; /* a translation unit may not be empty */
#endif
