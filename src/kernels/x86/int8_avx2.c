/*
 * int8_avx2.c — the int8 class for AVX2: both sides widened to 16 bits and vpmaddwd, whose sums of two
 * products are exact. vpmaddubsw would take bytes and be twice as fast, but it saturates at 2 * 255 * 127.
 * Codes are stored in 16 bits so that the inner loop only broadcasts them; weights stay bytes (half the
 * memory) and are widened once a tile's six rows. The tile is 6 rows of 16 columns.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "kernels/int8.h"
#include "kernels/x86/vec_avx2.inc"

#define TILE_ROWS  6
#define TILE_VECS  1
#define K_GROUP    2
#define TABLE      quern__int8_avx2
#define TABLE_NAME "avx2"
#define TABLE_NEED QUERN__CPU_AVX2

typedef uint16_t code;

QUERN__INLINE void codes_store(code *to, vec v)
{
    const __m256i pairs =
        _mm256_packs_epi32(_mm256_cvtps_epi32(v.a), _mm256_cvtps_epi32(v.b)); /* halves mixed */
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_permute4x64_epi64(pairs, 0xd8));
}

QUERN__INLINE void bytes_store(int8_t *to, vec v)
{
    __m256i pairs = _mm256_packs_epi32(_mm256_cvtps_epi32(v.a), _mm256_cvtps_epi32(v.b));
    pairs = _mm256_permute4x64_epi64(pairs, 0xd8);
    _mm_storeu_si128((__m128i *)(void *)to, _mm_packs_epi16(_mm256_castsi256_si128(pairs),
                                                            _mm256_extracti128_si256(pairs, 1)));
}

/* The lower 16 bits of x and of y, in turn. */
QUERN__INLINE __m256 two_words(__m256 x, __m256 y)
{
    return _mm256_castsi256_ps(_mm256_blend_epi16(
        _mm256_castps_si256(x), _mm256_slli_epi32(_mm256_castps_si256(y), 16), 0xaa));
}

QUERN__INLINE void words_store(float words[2][16][16], uint32_t group, const vec *four)
{
    for (uint32_t i = 0; i < 2; i++)
        vec_store(words[group / 8][2 * group % 16 + i],
                  (vec){two_words(four[2 * i].a, four[2 * i + 1].a),
                        two_words(four[2 * i].b, four[2 * i + 1].b)});
}

QUERN__INLINE vec vec_from_ints(const int32_t *p)
{
    const __m256i *from = (const __m256i *)(const void *)p;
    return (vec){_mm256_cvtepi32_ps(_mm256_loadu_si256(from)),
                 _mm256_cvtepi32_ps(_mm256_loadu_si256(from + 1))};
}

#define FOLD(NAME, WIDE, NARROW)                                                                   \
    QUERN__INLINE float NAME(vec v)                                                                \
    {                                                                                              \
        const __m256 eight = WIDE(v.a, v.b);                                                       \
        __m128 four = NARROW(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));      \
        four = NARROW(four, _mm_movehl_ps(four, four));                                            \
        return _mm_cvtss_f32(NARROW(four, _mm_shuffle_ps(four, four, 1)));                         \
    }
FOLD(vec_highest, _mm256_max_ps, _mm_max_ps)
FOLD(vec_lowest, _mm256_min_ps, _mm_min_ps)
#undef FOLD

QUERN__INLINE void tile(const uint32_t rows, const code *x, const int8_t *w, uint32_t k,
                        int32_t *sums)
{
    __m256i acc[TILE_ROWS][2];
    QUERN__UNROLL
    for (uint32_t r = 0; r < rows; r++)
        acc[r][0] = acc[r][1] = _mm256_setzero_si256();
    for (uint32_t i = 0; i < k; i += 2, w += 32) {
        const __m128i *from = (const __m128i *)(const void *)w;
        const __m256i left = _mm256_cvtepi8_epi16(_mm_loadu_si128(from)),
                      right = _mm256_cvtepi8_epi16(_mm_loadu_si128(from + 1));
        QUERN__UNROLL
        for (uint32_t r = 0; r < rows; r++) {
            int32_t two;
            memcpy(&two, x + r * QUERN__PIECE + i, sizeof two);
            const __m256i a = _mm256_set1_epi32(two);
            acc[r][0] = _mm256_add_epi32(acc[r][0], _mm256_madd_epi16(a, left));
            acc[r][1] = _mm256_add_epi32(acc[r][1], _mm256_madd_epi16(a, right));
        }
    }
    QUERN__UNROLL
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t h = 0; h < 2; h++)
            _mm256_storeu_si256((__m256i *)(void *)(sums + r * 16 + 8 * h), acc[r][h]);
}

#include "kernels/int8_tile_sums.inc"
#include "kernels/int8_body.inc"
#else
typedef int quern__int8_avx2_absent; /* a translation unit may not be empty */
#endif
