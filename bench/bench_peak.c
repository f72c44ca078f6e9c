/*
 * bench_peak.c — how many fp32 and int8 operations a second one core can do at all, so that a rate of the
 * encoder, or a ratio to a peer, can be read against the machine's ceiling. Thirteen independent chains
 * of multiply-adds that touch no memory, best of 40 runs; AVX2 and AVX-512 apart, because a core whose
 * 512-bit operations are done in two halves gains nothing from them. vpdpbusd is a loop of assembly: gcc 12 copies
 * its accumulators around the intrinsic.
 */
#include <stdint.h>
#include <stdio.h>

#include "base/compiler.h"
#include "base/os.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { CHAINS = 13, STEPS = 1000000, RUNS = 40 };

/* clang-format off */
#define DEFINE_RUN(name, isa, vector, set1, fmadd, add, store)                                     \
    __attribute__((target(isa))) QUERN__NOINLINE static float name(void)                           \
    {                                                                                              \
        vector a0 = set1(0.1f), a1 = set1(0.2f), a2 = set1(0.3f), a3 = set1(0.4f);                 \
        vector a4 = set1(0.5f), a5 = set1(0.6f), a6 = set1(0.7f), a7 = set1(0.8f);                 \
        vector b0 = set1(0.9f), b1 = set1(1.1f), b2 = set1(1.2f), b3 = set1(1.3f), b4 = set1(1.4f);     \
        const vector m = set1(0.999f), c = set1(0.001f);                                           \
        float out[16];                                                                             \
        for (int i = 0; i < STEPS; i++) {                                                          \
            a0 = fmadd(a0, m, c); a1 = fmadd(a1, m, c); a2 = fmadd(a2, m, c);                      \
            a3 = fmadd(a3, m, c); a4 = fmadd(a4, m, c); a5 = fmadd(a5, m, c);                      \
            a6 = fmadd(a6, m, c); a7 = fmadd(a7, m, c); b0 = fmadd(b0, m, c);                      \
            b1 = fmadd(b1, m, c); b2 = fmadd(b2, m, c); b3 = fmadd(b3, m, c);                      \
            b4 = fmadd(b4, m, c);                                                                  \
        }                                                                                          \
        a0 = add(add(add(a0, a1), add(a2, a3)), add(add(a4, a5), add(a6, a7)));                    \
        a0 = add(a0, add(add(b0, b1), add(add(b2, b3), b4)));                                      \
        store(out, a0);                                                                            \
        return out[0];                                                                             \
    }
/* clang-format on */

DEFINE_RUN(run_avx2, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_add_ps,
           _mm256_storeu_ps)
DEFINE_RUN(run_avx512, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_add_ps,
           _mm512_storeu_ps)

__attribute__((target("avx512f,avx512vnni"))) QUERN__NOINLINE static float run_vnni(void)
{
    uint64_t steps = STEPS;
    __asm__ volatile(
        ".irp k,0,1,2,3,4,5,6,7,8,9,10,11,12,13\nvpxord %%zmm\\k,%%zmm\\k,%%zmm\\k\n.endr\n"
        "1:\n.irp k,0,1,2,3,4,5,6,7,8,9,10,11,12\n"
        "vpdpbusd %%zmm13,%%zmm13,%%zmm\\k\n.endr\n"
        "dec %[steps]\njnz 1b\n"
        : [steps] "+r"(steps)
        :
        : "cc", "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9",
          "zmm10", "zmm11", "zmm12", "zmm13");
    return 0;
}

static volatile float sink; /* keeps the chains alive */

static void measure(const char *name, float (*run)(void), double operations)
{
    uint64_t best = UINT64_MAX;

    for (int i = 0; i < RUNS; i++) {
        uint64_t begin = quern__now_ns(), took;
        sink = run();
        took = quern__now_ns() - begin;
        best = QUERN__MIN(best, took);
    }
    printf("%-11s %7.1f G operations/s, one core\n", name,
           operations * CHAINS * STEPS / (double)best);
}

int main(void)
{
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        measure("avx2 fp32", run_avx2, 2 * 8);
    if (__builtin_cpu_supports("avx512f"))
        measure("avx512 fp32", run_avx512, 2 * 16);
    if (__builtin_cpu_supports("avx512vnni"))
        measure("avx512 int8", run_vnni, 2 * 64);
    return 0;
}
#else
int main(void)
{
    printf("bench_peak: written for x86-64 only\n");
    return 0;
}
#endif
