/*
 * quantise.h — making the int8 class's stored numbers of a model (docs/bits.md, rule 24 and what follows it).
 */
#ifndef QUERN_ENCODER_QUANTISE_H
#define QUERN_ENCODER_QUANTISE_H

#include <stdint.h>

#include "base/cancel.h"
#include "base/error.h"
#include "encoder/encoder.h"

/* Layers done of all; a negative answer (and err) ends it. */
typedef int (*quern__quantise_fn)(void *ud, uint32_t done, uint32_t total, quern_error *err);

/*
 * Calibrates on n texts (ids packed one after another) with `fp32`, the model's encoder in that class, and
 * rounds its weights, to the class int8 or (four) int4. The same numbers on every machine: the vectors it stands on have one bit pattern, the
 * rest is binary64 in one order on one thread, with no function of libm but those that IEEE rounds.
 * A layer is calibrated by a pass of its own, so that memory stays within a few pieces' sums.
 */
int quern__quantise(quern__quantised **out, const quern__encoder *fp32,
                    const quern__weights *weights, bool four, const int32_t *ids,
                    const uint32_t *lengths, uint32_t n, quern__quantise_fn progress, void *ud,
                    const quern_cancel *cancel, quern_error *err);

#endif
