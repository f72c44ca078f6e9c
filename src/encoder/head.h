/*
 * head.h — what follows the last layer: pooling a text's rows into one, the Dense modules, the cut to the first dimensions
 * and unit length (docs/bits.md, rules 8, 30 and 31). A static table has the same behind its look-up.
 */
#ifndef QUERN_ENCODER_HEAD_H
#define QUERN_ENCODER_HEAD_H

#include "format/model_config.h"
#include "format/weights.h"
#include "kernels/kernels_table.h"

typedef struct quern__head quern__head;

/* `dense`: the weights of config's Dense modules, one each; not needed after open. EFORMAT: a tensor and its shape. */
int quern__head_open(quern__head **out, const quern__model_config *config,
                     const quern__weights *const *dense, const quern__kernels *kernels,
                     quern_error *err);
void quern__head_free(quern__head *h);
uint64_t quern__head_bytes(const quern__head *h);
/* The same, before it is opened. */
uint64_t quern__head_measure(const quern__model_config *config, const quern__kernels *kernels);
uint32_t quern__head_width(const quern__head *h); /* floats of a vector */
size_t quern__head_scratch(const quern__head *h); /* floats that a call works in */

/* `texts` texts, whose rows of x follow one another: out [texts, width]. scratch is 64-byte aligned. */
void quern__head_run(const quern__head *h, float *scratch, quern__rows x, const uint32_t *lengths,
                     uint32_t texts, bool normalize, float *out);

#endif
