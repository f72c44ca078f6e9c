/*
 * int8_avx512vnni.c — the int8 class for AVX-512 with VNNI: vpdpbusd sums four products of a byte of codes
 * and a byte of weights into 32 bits, exactly (vpdpbusds would saturate). The tile is 14 rows of 32
 * columns: 28 accumulators, two of weights, two broadcasts, of 32 registers.
 *
 * The inner loop is assembly: around the intrinsic, and even around one instruction of assembly, gcc 12
 * copies or spills accumulators and is two to three times slower. One loop a number of rows, in turns of 16 k
 * while there are any, then of 4.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "kernels/int8.h"
#include "kernels/x86/int8_vec_avx512.inc"

#define TILE_ROWS  14
#define TILE_VECS  2
#define K_GROUP    4
#define TABLE      quern__int8_avx512vnni
#define TABLE_NAME "avx512vnni"
#define TABLE_NEED (QUERN__CPU_AVX512 | QUERN__CPU_AVX512_VNNI)

/* Row R's accumulators are registers A and B, its codes are broadcast to T; \k: the group within a turn. */
#define ROW(R, A, B, T)                                                                            \
    "vpbroadcastd " #R "*384+4*\\k(%[x]),%%zmm" #T "\n"                                            \
    "vpdpbusd %%zmm28,%%zmm" #T ",%%zmm" #A "\n"                                                   \
    "vpdpbusd %%zmm29,%%zmm" #T ",%%zmm" #B "\n"
#define ROWS_1  ROW(0, 0, 1, 30)
#define ROWS_2  ROWS_1 ROW(1, 2, 3, 31)
#define ROWS_3  ROWS_2 ROW(2, 4, 5, 30)
#define ROWS_4  ROWS_3 ROW(3, 6, 7, 31)
#define ROWS_5  ROWS_4 ROW(4, 8, 9, 30)
#define ROWS_6  ROWS_5 ROW(5, 10, 11, 31)
#define ROWS_7  ROWS_6 ROW(6, 12, 13, 30)
#define ROWS_8  ROWS_7 ROW(7, 14, 15, 31)
#define ROWS_9  ROWS_8 ROW(8, 16, 17, 30)
#define ROWS_10 ROWS_9 ROW(9, 18, 19, 31)
#define ROWS_11 ROWS_10 ROW(10, 20, 21, 30)
#define ROWS_12 ROWS_11 ROW(11, 22, 23, 31)
#define ROWS_13 ROWS_12 ROW(12, 24, 25, 30)
#define ROWS_14 ROWS_13 ROW(13, 26, 27, 31)

/* The assembler repeats what stands between, for \k of the list: C allows 4,095 characters of string. */
#define REPEAT(LIST, WHAT) ".irp k," LIST "\n" WHAT ".endr\n"
#define ACCUMULATORS       "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27"
#define GROUP(R)           "vmovdqu64 \\k*128(%[w]),%%zmm28\nvmovdqu64 \\k*128+64(%[w]),%%zmm29\n" ROWS_##R
#define FETCH_2            REPEAT("0,1", "prefetcht1 \\k*64(%[next])\n") "add $128,%[next]\n"
#define FETCH_8            REPEAT("0,1,2,3,4,5,6,7", "prefetcht1 \\k*64(%[next])\n") "add $512,%[next]\n"

/* All 28 accumulators are cleared and stored whatever the rows: `sums` has room for them. */
#define LOOP(R, FETCH)                                                                             \
    __asm__ volatile(                                                                              \
        REPEAT(                                                                                    \
            ACCUMULATORS,                                                                          \
            "vpxord %%zmm\\k,%%zmm\\k,%%zmm\\k\n") "test %[turns],%[turns]\njz 2f\n.p2align 5\n"   \
                                                   "1:\n" REPEAT("0,1,2,3", GROUP(R)) FETCH        \
        "add $16,%[x]\nadd $512,%[w]\ndec %[turns]\njnz 1b\n"                                      \
        "2:\ntest %[rest],%[rest]\njz 4f\n"                                                        \
        "3:\n" REPEAT("0", GROUP(R)) "add $4,%[x]\nadd $128,%[w]\ndec %[rest]\njnz 3b\n"           \
                                     "4:\n" REPEAT(ACCUMULATORS,                                   \
                                                   "vmovdqu64 %%zmm\\k,\\k*64(%[sums])\n")         \
        : [x] "+r"(x), [w] "+r"(w), [next] "+r"(next), [turns] "+r"(turns), [rest] "+r"(rest)      \
        : [sums] "r"(sums)                                                                         \
        : "memory", "cc", "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8",  \
          "zmm9", "zmm10", "zmm11", "zmm12", "zmm13", "zmm14", "zmm15", "zmm16", "zmm17", "zmm18", \
          "zmm19", "zmm20", "zmm21", "zmm22", "zmm23", "zmm24", "zmm25", "zmm26", "zmm27",         \
          "zmm28", "zmm29", "zmm30", "zmm31")

/* The next panel is fetched evenly over the tiles: at once, its lines would queue up in front of this
 * panel's own, and with few rows the passage of the weights is what costs. */
static QUERN__NOINLINE const char *tile_sums(uint32_t rows, const code *x, const int8_t *w,
                                             uint32_t k, int32_t *sums, const char *next,
                                             uint32_t tiles)
{
    uint64_t turns = k / 16, rest = k % 16 / 4;
    switch (rows) {
#define CASE(R)                                                                                    \
    case R:                                                                                        \
        if (tiles >= 4)                                                                            \
            LOOP(R, FETCH_2);                                                                      \
        else                                                                                       \
            LOOP(R, FETCH_8);                                                                      \
        break;
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14)
#undef CASE
    }
    return next;
}

#include "kernels/int8_body.inc"
#else
typedef int quern__int8_avx512vnni_absent; /* a translation unit may not be empty */
#endif
