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

typedef struct vec {
    float lane[16];
} vec;

#define EACH for (uint32_t i = 0; i < 16; i++)

QUERN__INLINE vec vec_load(const float *p)
{
    vec r;
    memcpy(r.lane, p, sizeof r.lane);
    return r;
}

QUERN__INLINE void vec_store(float *p, vec v)
{
    memcpy(p, v.lane, sizeof v.lane);
}

QUERN__INLINE vec vec_set(float x)
{
    vec r;
    EACH r.lane[i] = x;
    return r;
}

QUERN__INLINE vec vec_load_some(const float *p, uint32_t have)
{
    vec r;
    EACH r.lane[i] = i < have ? p[i] : 0.0f;
    return r;
}

QUERN__INLINE void vec_store_some(float *p, vec v, uint32_t have)
{
    for (uint32_t i = 0; i < have; i++)
        p[i] = v.lane[i];
}

QUERN__INLINE vec vec_keep(vec v, uint32_t have)
{
    EACH v.lane[i] = i < have ? v.lane[i] : 0.0f;
    return v;
}

#define BINARY(NAME, EXPRESSION)                                                                   \
    QUERN__INLINE vec NAME(vec x, vec y)                                                           \
    {                                                                                              \
        vec r;                                                                                     \
        EACH                                                                                       \
        {                                                                                          \
            const float a = x.lane[i], b = y.lane[i];                                              \
            r.lane[i] = EXPRESSION;                                                                \
        }                                                                                          \
        return r;                                                                                  \
    }
BINARY(vec_add, a + b)
BINARY(vec_sub, a - b)
BINARY(vec_mul, a *b)
BINARY(vec_div, a / b)
BINARY(vec_max, a > b ? a : b)
BINARY(vec_min, a < b ? a : b)
#undef BINARY

QUERN__INLINE vec vec_fma(vec a, vec b, vec c)
{
    EACH c.lane[i] = fmaf(a.lane[i], b.lane[i], c.lane[i]);
    return c;
}

/* the float whose bits are (bits(t) << 23) + (127 << 23): 2^n for t = 1.5 * 2^23 + n */
QUERN__INLINE vec vec_power(vec t)
{
    uint32_t bits[16];
    memcpy(bits, t.lane, sizeof bits);
    EACH bits[i] = (bits[i] << 23) + (127u << 23);
    memcpy(t.lane, bits, sizeof bits);
    return t;
}

/* TREE16 of rule 1 */
QUERN__INLINE float vec_tree(vec v)
{
    for (uint32_t half = 8; half; half /= 2)
        for (uint32_t i = 0; i < half; i++)
            v.lane[i] += v.lane[i + half];
    return v.lane[0];
}

QUERN__INLINE float sqrt_one(float x)
{
    return sqrtf(x);
}

QUERN__INLINE void vec_transpose(const float *const *rows, float *to, size_t stride)
{
    for (uint32_t c = 0; c < 16; c++)
        EACH to[c * stride + i] = rows[i][c];
}

QUERN__INLINE vec vec_load_half_some(const uint16_t *p, uint32_t have)
{
    vec r = vec_set(0);
    quern__f16_to_f32(p, r.lane, have);
    return r;
}

QUERN__INLINE vec vec_load_half(const uint16_t *p)
{
    return vec_load_half_some(p, 16);
}

QUERN__INLINE void vec_prefetch(const char *p)
{
    (void)p;
}

#include "kernels/kernels_body.inc"
