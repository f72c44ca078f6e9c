/*
 * lookup.h — a static model: a text's vector is the mean of its tokens' rows (docs/bits.md, rule 32). An encoder from the outside.
 */
#ifndef QUERN_ENCODER_LOOKUP_H
#define QUERN_ENCODER_LOOKUP_H

#include "encoder/encoder.h"

typedef struct quern__lookup quern__lookup;

int quern__lookup_open(quern__lookup **out, const quern__model_config *config,
                       const quern__weights *weights, const quern__kernels *kernels,
                       quern_error *err);
void quern__lookup_free(quern__lookup *l);
uint64_t quern__lookup_bytes(const quern__lookup *l);
size_t quern__lookup_scratch(const quern__lookup *l); /* floats that a thread works in */
/* One text of n tokens within the table into out[width]. */
void quern__lookup_text(const quern__lookup *l, float *scratch, const int32_t *ids, uint32_t n,
                        bool normalize, float *out);

#endif
