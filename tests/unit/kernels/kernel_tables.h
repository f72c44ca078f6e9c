/*
 * kernel_tables.h — for tests: the tables that this machine can run, and hostile numbers. The reference
 * is the scalar source with the fma instruction inlined where there is one (test_kernels compares
 * it with the ABI-floor build), so that tests end in time.
 */
#ifndef QUERN_TESTS_KERNEL_TABLES_H
#define QUERN_TESTS_KERNEL_TABLES_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/rng.h"
#include "kernels/kernels_table.h"

#ifdef QUERN_HAVE_SCALAR_FMA
extern const quern__kernels quern__kernels_scalar_fma;
#endif

static inline const quern__kernels *reference_table(void)
{
#ifdef QUERN_HAVE_SCALAR_FMA
    if (quern__cpu_detected() & QUERN__CPU_AVX2)
        return &quern__kernels_scalar_fma;
#endif
    return &quern__kernels_scalar;
}

/* The i-th table other than the scalar ones that runs here; NULL past the end. */
static inline const quern__kernels *fast_table(size_t i)
{
    const quern__kernels *k;
    for (size_t at = 0; (k = quern__kernels_at(at)); at++)
        if (k != &quern__kernels_scalar && (k->need & quern__cpu_detected()) == k->need && !i--)
            return k;
    return NULL;
}

/* Sanitizers make the scalar table too slow for whole models. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static inline bool long_form(void)
{
    const char *s = getenv("QUERN_LONG");
    return s && *s && *s != '0';
}

static inline float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t to_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Equal bits, or both NaN: payloads and signs of NaN are not specified. */
static inline bool same_float(float a, float b)
{
    return to_bits(a) == to_bits(b) || (isnan(a) && isnan(b));
}

/* A number of one of the kinds that break things; `wild` allows NaN, infinity and huge values. */
static inline float hostile(quern__rng *r, bool wild)
{
    const float unit = quern__rng_float(r) * 2 - 1;
    switch (quern__rng_below(r, wild ? 12 : 7)) {
    case 0:
        return 0.0f;
    case 1:
        return -0.0f;
    case 2:
        return from_bits(quern__rng_below(r, 0x800000)); /* denormal */
    case 3:
        return unit * 1e-20f;
    case 4:
        return unit * 30.0f;
    case 5:
    case 6:
        return unit;
    case 7:
        return unit * 1e30f;
    case 8:
        return NAN;
    case 9:
        return unit > 0 ? INFINITY : -INFINITY;
    default:
        return from_bits((uint32_t)quern__rng_next(r));
    }
}

#endif
