/*
 * kernels_avx2.c — the arithmetic for AVX2 with FMA and F16C: a vector is two registers, the tile is 6
 * rows of 16 columns: 12 accumulators, two of weights, two broadcasts, of 16 registers. A wider panel
 * would leave fewer rows to hide the latency of the fma.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "kernels/kernels_table.h"

#define TILE_ROWS  6
#define TILE_VECS  1
#define TABLE      quern__kernels_avx2
#define TABLE_NAME "avx2"
#define TABLE_NEED QUERN__CPU_AVX2

typedef struct vec {
    __m256 a, b;
} vec;

QUERN__INLINE vec vec_load(const float *p)
{
    return (vec){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

QUERN__INLINE void vec_store(float *p, vec v)
{
    _mm256_storeu_ps(p, v.a);
    _mm256_storeu_ps(p + 8, v.b);
}

QUERN__INLINE vec vec_set(float x)
{
    const __m256 v = _mm256_set1_ps(x);
    return (vec){v, v};
}

QUERN__INLINE __m256i first_lanes(uint32_t n, int from)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n - from),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

QUERN__INLINE vec vec_load_some(const float *p, uint32_t have)
{
    return (vec){_mm256_maskload_ps(p, first_lanes(have, 0)),
                 have > 8 ? _mm256_maskload_ps(p + 8, first_lanes(have, 8)) : _mm256_setzero_ps()};
}

QUERN__INLINE void vec_store_some(float *p, vec v, uint32_t have)
{
    _mm256_maskstore_ps(p, first_lanes(have, 0), v.a);
    if (have > 8)
        _mm256_maskstore_ps(p + 8, first_lanes(have, 8), v.b);
}

QUERN__INLINE vec vec_keep(vec v, uint32_t have)
{
    if (have >= 16)
        return v;
    return (vec){_mm256_and_ps(v.a, _mm256_castsi256_ps(first_lanes(have, 0))),
                 _mm256_and_ps(v.b, _mm256_castsi256_ps(first_lanes(have, 8)))};
}

/* max and min are a > b ? a : b and a < b ? a : b, also for NaN and for zeros of both signs. */
#define BINARY(NAME, INSTRUCTION)                                                                  \
    QUERN__INLINE vec NAME(vec x, vec y)                                                           \
    {                                                                                              \
        return (vec){INSTRUCTION(x.a, y.a), INSTRUCTION(x.b, y.b)};                                \
    }
BINARY(vec_add, _mm256_add_ps)
BINARY(vec_sub, _mm256_sub_ps)
BINARY(vec_mul, _mm256_mul_ps)
BINARY(vec_div, _mm256_div_ps)
BINARY(vec_max, _mm256_max_ps)
BINARY(vec_min, _mm256_min_ps)
#undef BINARY

QUERN__INLINE vec vec_fma(vec x, vec y, vec z)
{
    return (vec){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}

QUERN__INLINE __m256 power(__m256 t)
{
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(t), 23),
                                                _mm256_set1_epi32(127 << 23)));
}

QUERN__INLINE vec vec_power(vec t)
{
    return (vec){power(t.a), power(t.b)};
}

QUERN__INLINE float vec_tree(vec v)
{
    const __m256 eight = _mm256_add_ps(v.a, v.b);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_shuffle_ps(four, four, 1)));
}

QUERN__INLINE float sqrt_one(float x)
{
    return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)));
}

QUERN__INLINE vec vec_load_half(const uint16_t *p)
{
    const __m128i *from = (const __m128i *)(const void *)p;
    return (vec){_mm256_cvtph_ps(_mm_loadu_si128(from)),
                 _mm256_cvtph_ps(_mm_loadu_si128(from + 1))};
}

QUERN__INLINE vec vec_load_half_some(const uint16_t *p, uint32_t have)
{
    uint16_t some[16] = {0};
    memcpy(some, p, have * sizeof *p);
    return vec_load_half(some);
}

QUERN__INLINE void vec_prefetch(const char *p)
{
    _mm_prefetch(p, _MM_HINT_T1);
}

/* Eight rows of eight, four times. */
QUERN__INLINE void transpose8(const float *const *rows, uint32_t column, float *to, size_t stride)
{
    __m256 t[8], u[8];
    for (uint32_t i = 0; i < 8; i += 2) {
        const __m256 a = _mm256_loadu_ps(rows[i] + column),
                     b = _mm256_loadu_ps(rows[i + 1] + column);
        t[i] = _mm256_unpacklo_ps(a, b);
        t[i + 1] = _mm256_unpackhi_ps(a, b);
    }
    for (uint32_t i = 0; i < 8; i += 4)
        for (uint32_t h = 0; h < 2; h++) {
            u[i + 2 * h] = _mm256_shuffle_ps(t[i + h], t[i + 2 + h], 0x44);
            u[i + 2 * h + 1] = _mm256_shuffle_ps(t[i + h], t[i + 2 + h], 0xee);
        }
    for (uint32_t i = 0; i < 4; i++) {
        _mm256_storeu_ps(to + i * stride, _mm256_permute2f128_ps(u[i], u[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * stride, _mm256_permute2f128_ps(u[i], u[i + 4], 0x31));
    }
}

QUERN__INLINE void vec_transpose(const float *const *rows, float *to, size_t stride)
{
    for (uint32_t half = 0; half < 2; half++)
        for (uint32_t column = 0; column < 16; column += 8)
            transpose8(rows + 8 * half, column, to + column * stride + 8 * half, stride);
}

#include "kernels/kernels_body.inc"
#else
typedef int quern__kernels_avx2_absent; /* a translation unit may not be empty */
#endif
