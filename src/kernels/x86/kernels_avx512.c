/*
 * kernels_avx512.c — the arithmetic for AVX-512 (F, BW, DQ, VL): a vector is one register, the tile is
 * 14 rows of 32 columns: 28 accumulators, two columns of weights, one broadcast, of 32 registers.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "kernels/kernels_table.h"

#define TILE_ROWS  14
#define TILE_VECS  2
#define TABLE      quern__kernels_avx512
#define TABLE_NAME "avx512"
#define TABLE_NEED QUERN__CPU_AVX512

typedef __m512 vec;

QUERN__INLINE __mmask16 first_lanes(uint32_t n)
{
    return (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1);
}

QUERN__INLINE vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

QUERN__INLINE void vec_store(float *p, vec v)
{
    _mm512_storeu_ps(p, v);
}

QUERN__INLINE vec vec_set(float x)
{
    return _mm512_set1_ps(x);
}

QUERN__INLINE vec vec_load_some(const float *p, uint32_t have)
{
    return _mm512_maskz_loadu_ps(first_lanes(have), p);
}

QUERN__INLINE void vec_store_some(float *p, vec v, uint32_t have)
{
    _mm512_mask_storeu_ps(p, first_lanes(have), v);
}

QUERN__INLINE vec vec_keep(vec v, uint32_t have)
{
    return _mm512_maskz_mov_ps(first_lanes(have), v);
}

QUERN__INLINE vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

QUERN__INLINE vec vec_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}

QUERN__INLINE vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

QUERN__INLINE vec vec_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}

/* The instructions are a > b ? a : b and a < b ? a : b, also for NaN and for zeros of both signs. */
QUERN__INLINE vec vec_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

QUERN__INLINE vec vec_min(vec a, vec b)
{
    return _mm512_min_ps(a, b);
}

QUERN__INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

QUERN__INLINE vec vec_power(vec t)
{
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(t), 23),
                                                _mm512_set1_epi32(127 << 23)));
}

/* Written out: the order of _mm512_reduce_add_ps is the compiler's choice. */
QUERN__INLINE float vec_tree(vec v)
{
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
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
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

QUERN__INLINE vec vec_load_half_some(const uint16_t *p, uint32_t have)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(have), p));
}

QUERN__INLINE void vec_prefetch(const char *p)
{
    _mm_prefetch(p, _MM_HINT_T1);
}

/* 16 rows of 16: pairs, quads, then two rounds of quarters. */
QUERN__INLINE void vec_transpose(const float *const *rows, float *to, size_t stride)
{
    __m512 t[16];
    __m512d u[16];
    for (uint32_t i = 0; i < 16; i += 2) {
        const __m512 a = _mm512_loadu_ps(rows[i]), b = _mm512_loadu_ps(rows[i + 1]);
        t[i] = _mm512_unpacklo_ps(a, b);
        t[i + 1] = _mm512_unpackhi_ps(a, b);
    }
    for (uint32_t i = 0; i < 16; i += 4)
        for (uint32_t h = 0; h < 2; h++) {
            const __m512d a = _mm512_castps_pd(t[i + h]), b = _mm512_castps_pd(t[i + 2 + h]);
            u[i + 2 * h] = _mm512_unpacklo_pd(a, b);
            u[i + 2 * h + 1] = _mm512_unpackhi_pd(a, b);
        }
    for (uint32_t i = 0; i < 4; i++) {
        const __m512 a = _mm512_castpd_ps(u[i]), b = _mm512_castpd_ps(u[i + 4]),
                     c = _mm512_castpd_ps(u[i + 8]), d = _mm512_castpd_ps(u[i + 12]);
        const __m512 ab = _mm512_shuffle_f32x4(a, b, 0x88), cd = _mm512_shuffle_f32x4(c, d, 0x88);
        const __m512 ab2 = _mm512_shuffle_f32x4(a, b, 0xdd), cd2 = _mm512_shuffle_f32x4(c, d, 0xdd);
        _mm512_storeu_ps(to + i * stride, _mm512_shuffle_f32x4(ab, cd, 0x88));
        _mm512_storeu_ps(to + (i + 4) * stride, _mm512_shuffle_f32x4(ab2, cd2, 0x88));
        _mm512_storeu_ps(to + (i + 8) * stride, _mm512_shuffle_f32x4(ab, cd, 0xdd));
        _mm512_storeu_ps(to + (i + 12) * stride, _mm512_shuffle_f32x4(ab2, cd2, 0xdd));
    }
}

#include "kernels/kernels_body.inc"
#else
typedef int quern__kernels_avx512_absent; /* a translation unit may not be empty */
#endif
