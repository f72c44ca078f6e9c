/*
 * turns.h — the cosines and sines by which rotary families turn queries and keys (docs/bits.md, rule 13).
 */
#ifndef QUERN_ENCODER_TURNS_H
#define QUERN_ENCODER_TURNS_H

#include <stdint.h>

/* out[positions][depth]: depth / 2 cosines, then as many sines. depth is even; base, at least 1 and finite, is
 * config.json's rope_theta. */
void quern__turns(float *out, uint32_t positions, uint32_t depth, double base);

#endif
