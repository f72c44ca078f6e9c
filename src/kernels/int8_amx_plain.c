/*
 * int8_amx_plain.c — the int8 class by AMX's tiles, on any machine: the source of int8_amx.c over the plain-C spelling
 * of its instructions. For tests, and for whoever asks for it by name (QUERN_CPU=amxplain): it is slow.
 */
#include <math.h>
#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "kernels/amx_plain.h"
#include "kernels/int8.h"
#include "kernels/int8_vec_scalar.inc"

#define TABLE      quern__int8_amx_plain
#define TABLE_NAME "amxplain"
#define TABLE_NEED QUERN__CPU_AMX_PLAIN

_Atomic uint32_t quern__amx_plain_faults;

#include "kernels/int8_amx.inc"
