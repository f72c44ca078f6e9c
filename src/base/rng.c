/* rng.c — xoshiro256** by Blackman and Vigna, seeded through splitmix64 as its authors advise. */
#include "base/rng.h"

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

void quern__rng_seed(quern__rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        r->s[i] = z ^ z >> 31;
    }
}

uint64_t quern__rng_next(quern__rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint32_t quern__rng_below(quern__rng *r, uint32_t n)
{
    /* Lemire's multiply-shift; the few low products that would bias the result are drawn again. */
    uint32_t threshold = (0u - n) % n;
    for (;;) {
        uint64_t m = (uint64_t)(uint32_t)(quern__rng_next(r) >> 32) * n;
        if ((uint32_t)m >= threshold)
            return (uint32_t)(m >> 32);
    }
}

float quern__rng_float(quern__rng *r)
{
    return (float)(quern__rng_next(r) >> 40) * 0x1p-24f;
}
