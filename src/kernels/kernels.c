/*
 * kernels.c — which table, and the conversions that need none. The half-float conversions are integer
 * code: the same bits with any compiler, and they are never the bottleneck (the search widens inside
 * its dot product).
 */
#include "kernels/kernels.h"

#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "kernels/kernels_table.h"

/* Best first; the last one runs everywhere. */
static const quern__kernels *const tables[] = {
#if defined(__x86_64__)
    &quern__kernels_avx512,
    &quern__kernels_avx2,
#elif defined(__aarch64__)
    &quern__kernels_neon,
#endif
    &quern__kernels_scalar,
};

const quern__kernels *quern__kernels_pick(uint32_t allowed)
{
    const uint32_t usable = quern__cpu_usable(allowed);
    for (size_t i = 0; i < QUERN__COUNT(tables); i++)
        if ((tables[i]->need & usable) == tables[i]->need)
            return tables[i];
    return &quern__kernels_scalar;
}

const quern__kernels *quern__kernels_at(size_t i)
{
    return i < QUERN__COUNT(tables) ? tables[i] : NULL;
}

const char *quern__kernels_name(const quern__kernels *k)
{
    return k->name;
}

uint32_t quern__kernels_need(const quern__kernels *k)
{
    return k->need;
}

void quern__dot_rows_f16(const quern__kernels *k, const float *q, const uint16_t *rows, size_t n,
                         size_t dim, float *out)
{
    k->dot_f16(q, rows, n, dim, out);
}

void quern__dot_rows_f32(const quern__kernels *k, const float *q, const float *rows, size_t n,
                         size_t dim, float *out)
{
    k->dot_f32(q, rows, n, dim, out);
}

static uint16_t half_of(uint32_t bits)
{
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) /* NaN stays NaN, quiet, with the payload's upper bits */
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x477ff000) /* rounds past 65504 */
        return sign | 0x7c00;
    if (magnitude >= 0x38800000) { /* normal: rebias, round to even on the 13 bits that go */
        magnitude -= 112u << 23;
        return (uint16_t)(sign | ((magnitude + 0xfff + (magnitude >> 13 & 1)) >> 13));
    }
    if (magnitude < 0x33000000) /* under half of the least denormal */
        return sign;
    const uint32_t shift = 126 - (magnitude >> 23); /* 14..24 */
    const uint32_t mantissa = (magnitude & 0x7fffff) | 0x800000;
    const uint32_t kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1),
                   tie = 1u << (shift - 1);
    return (uint16_t)(sign | (kept + (rest > tie || (rest == tie && (kept & 1)))));
}

static uint32_t single_of(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31,
                   mantissa = half & 0x3ff;
    if (exponent == 31)
        return sign | 0x7f800000 | mantissa << 13 | (mantissa ? 0x400000 : 0);
    if (exponent)
        return sign | (exponent + 112) << 23 | mantissa << 13;
    if (!mantissa)
        return sign;
    uint32_t shift = 0; /* a denormal half is a normal single */
    while (!(mantissa << shift & 0x400))
        shift++;
    return sign | (113 - shift) << 23 | (mantissa << shift & 0x3ff) << 13;
}

void quern__f32_to_f16(const float *in, uint16_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, in + i, sizeof bits);
        out[i] = half_of(bits);
    }
}

void quern__f16_to_f32(const uint16_t *in, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = single_of(in[i]);
        memcpy(out + i, &bits, sizeof bits);
    }
}
