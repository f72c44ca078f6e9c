/*
 * amx_real.h — beside the intrinsics of AMX, what amx_plain.h defines: here the state of the tiles is the processor's,
 * and what is handed on in its place is nothing. QUERN__TILES_READ says that tiles will read this memory: gcc 12's
 * intrinsics do not (a load names no memory, a configuration the first eight bytes of its 64), and stores
 * in front of them have been seen to go away.
 */
#ifndef QUERN_KERNELS_X86_AMX_REAL_H
#define QUERN_KERNELS_X86_AMX_REAL_H

#include <immintrin.h>

#define QUERN__TILES         const void *tiles __attribute__((unused))
#define QUERN__TILES_DECLARE const void *const tiles = NULL
#define QUERN__TILES_ARG     tiles
#define QUERN__TILES_READ(p) __asm__ volatile("" : : "r"(p) : "memory")

#endif
