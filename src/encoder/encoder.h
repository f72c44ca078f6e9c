/*
 * encoder.h — token ids in, pooled vectors out: the BERT forward pass over a packed stream of tokens,
 * no padding, in one bit pattern whatever the batch, order, split, thread count or instruction set
 * (docs/bits.md). The weights are packed once at open and shared; scratch belongs to the call.
 */
#ifndef QUERN_ENCODER_ENCODER_H
#define QUERN_ENCODER_ENCODER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cancel.h"
#include "base/error.h"
#include "base/pool.h"
#include "format/model_config.h"
#include "encoder/image.h"
#include "encoder/quantised.h"
#include "format/weights.h"
#include "kernels/int8.h"
#include "kernels/kernels.h"

/* Numbers of the arithmetic specifications; one is part of every fingerprint. */
enum { QUERN__SPEC = 1 /* class fp32 */, QUERN__SPEC_INT8 = 8, QUERN__SPEC_INT4 = 9 };

typedef struct quern__encoder quern__encoder;
typedef struct quern__encoder_scratch quern__encoder_scratch;

/* Checks that every tensor is there with the right shape (EFORMAT: name, shape found, shape expected,
 * byte offset), packs the matrices, and lets go of the pages of what it packed. `weights` must outlive
 * the encoder (the embedding table is read in place). max_tokens: longest text to be encoded. */
int quern__encoder_open(quern__encoder **out, const quern__model_config *config,
                        const quern__weights *weights, const quern__kernels *kernels,
                        uint32_t max_tokens, quern_error *err);
/* The same in the class int8: the matrices are those of `quantised` (checked already, and not needed
 * after open), everything else is of `weights`. */
int quern__encoder_open_int8(quern__encoder **out, const quern__model_config *config,
                             const quern__weights *weights, const quern__quantised *quantised,
                             const quern__kernels *kernels, const quern__int8_kernels *int8,
                             uint32_t max_tokens, quern_error *err);
/* Where config has Dense modules: their weights, one each, before the first text; not needed afterwards. */
int quern__encoder_add_dense(quern__encoder *e, const quern__model_config *config,
                             const quern__weights *const *dense, quern_error *err);
uint32_t quern__encoder_width(const quern__encoder *e); /* floats of a vector */
/* Either class (quantised and int8 NULL: fp32), with the matrices from an image where there is one, and put into one where
 * there is none; ENOTFOUND: place->only, and there is none. With an image the matrices' stored numbers are not read. */
int quern__encoder_open_kept(quern__encoder **out, const quern__model_config *config,
                             const quern__weights *weights, const quern__quantised *quantised,
                             const quern__kernels *kernels, const quern__int8_kernels *int8,
                             uint32_t max_tokens, const quern__image_place *place,
                             quern_error *err);
bool quern__encoder_has_image(const quern__encoder *e);
void quern__encoder_free(quern__encoder *e);
uint64_t quern__encoder_bytes(const quern__encoder *e); /* memory held: packed weights */
/* The same, with its Dense modules, before any of it is asked for; of a static table 0. int8 and quantised: NULL but in int8 and int4. */
int quern__encoder_measure(const quern__model_config *config, const quern__weights *weights,
                           const quern__kernels *kernels, const quern__int8_kernels *int8,
                           const quern__quantised *quantised, uint32_t max_tokens, uint64_t *bytes,
                           quern_error *err);

/* Scratch for one caller at a time with `threads` workers. */
int quern__encoder_scratch_new(quern__encoder_scratch **out, const quern__encoder *e,
                               uint32_t threads, quern_error *err);
void quern__encoder_scratch_free(quern__encoder_scratch *s);

/*
 * Encodes n texts: ids [sum of lengths] packed one after another, lengths [n], each 1..max_tokens.
 * out [n, width] row-major, in the caller's order: what the last module gives, of unit length when `normalize`.
 * A non-finite or zero row (when normalising) is an error with err->subject = its index; ids outside
 * the vocabulary are EINVAL. Splits the work over the pool by blocks of whole texts; with fewer blocks
 * than threads it splits inside the products. Checks `cancel` between layers.
 */
int quern__encode(const quern__encoder *e, quern__encoder_scratch *s, quern__pool *pool,
                  const int32_t *ids, const uint32_t *lengths, uint32_t n, bool normalize,
                  float *out, const quern_cancel *cancel, quern_error *err);

#endif
