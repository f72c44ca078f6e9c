/*
 * bf16_amx_plain.c — the class bf16 by AMX's tiles, on any machine: the source of bf16_amx.c over the plain-C spelling of
 * its instructions. For tests, and for whoever asks for it by name (QUERN_CPU=amxplain): it is slow.
 */
#include "base/compiler.h"
#include "base/cpu.h"
#include "kernels/amx_plain.h"
#include "kernels/bf16.h"
#include "kernels/vec_scalar.inc"

#define TABLE      quern__bf16_amx_plain
#define TABLE_NAME "amxplain"
#define TABLE_NEED QUERN__CPU_AMX_PLAIN

QUERN__INLINE void halves_store(uint16_t *to, vec v)
{
    EACH to[i] = quern__bf16_of(v.lane[i]);
}

#include "kernels/bf16_amx.inc"
