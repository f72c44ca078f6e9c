/* rng.h — seeded pseudo-random numbers (xoshiro256**), for jitter, names and tests; never for secrets. */
#ifndef QUERN_BASE_RNG_H
#define QUERN_BASE_RNG_H

#include <stdint.h>

typedef struct quern__rng {
    uint64_t s[4];
} quern__rng;

void quern__rng_seed(quern__rng *r, uint64_t seed); /* splitmix64 fills the state */
uint64_t quern__rng_next(quern__rng *r);
uint32_t quern__rng_below(quern__rng *r, uint32_t n); /* 0..n-1, unbiased; n > 0 */
float quern__rng_float(quern__rng *r);                /* [0, 1) */

#endif
