/*
 * cpu.h — which kernel variants may run here. Detection reads CPUID *and* the register state the
 * operating system saves (XGETBV): an instruction set that the kernel does not save is absent.
 */
#ifndef QUERN_BASE_CPU_H
#define QUERN_BASE_CPU_H

#include <stdint.h>

#include "base/error.h"

/* One bit a level. Each kernel table names the bit it needs (and all that it implies). */
enum {
    QUERN__CPU_SCALAR = 1u << 0,
    QUERN__CPU_AVX2 = 1u << 1,        /* avx2 + fma + f16c + bmi2 */
    QUERN__CPU_AVX512 = 1u << 2,      /* f, bw, dq, vl, cd */
    QUERN__CPU_AVX512_VNNI = 1u << 3, /* + vnni */
    QUERN__CPU_AVX512_BF16 = 1u << 4, /* + bf16 */
    QUERN__CPU_AMX = 1u << 5,         /* tile, int8, bf16, permission granted by the kernel */
    QUERN__CPU_NEON = 1u << 6,        /* of every arm64 */
    QUERN__CPU_DOTPROD = 1u << 7,     /* + udot, sdot */
    QUERN__CPU_I8MM = 1u << 8,        /* + usmmla, usdot */
    QUERN__CPU_AMX_PLAIN = 1u << 9,   /* AMX's kernels over plain C: on every machine, for tests */
};
/* Names on the command line, in the order of the bits: scalar avx2 avx512 avx512vnni avx512bf16 amx neon
 * dotprod i8mm amxplain. The last is taken only where it is named. */

uint32_t quern__cpu_detected(void); /* what the machine has; SCALAR is always set */
uint32_t quern__cpu_runnable(void); /* that, and what every machine can run */
/* Those of `levels` that are runnable. Tiles are asked of the kernel where AMX is among them, and not otherwise. */
uint32_t quern__cpu_usable(uint32_t levels);
uint32_t quern__cpu_allowed(void); /* runnable, within quern_cpu_limit */
/* Why the machine has no `level` (one bit), in a few words; NULL: it has it. */
#define QUERN__CPU_ELSEWHERE "it is of another architecture"
const char *quern__cpu_lacks(uint32_t level);
const char *quern__cpu_level_name(uint32_t level); /* NULL: there is no such level */
/* "avx2,scalar" -> bits; EINVAL names the unknown level and lists the known ones. */
int quern__cpu_parse(const char *levels, uint32_t *out, quern_error *err);

#endif
