/*
 * quantised.h — the stored numbers of the classes int8 and int4 (docs/bits.md, rules 24 and 60) for one model: signed bytes,
 * or small integers and their steps, a scale a column and piece, smoothing. They lie in a file beside the weights that they were made from
 * (quantised_file.c), or in memory while they are being made (quantise.c).
 */
#ifndef QUERN_ENCODER_QUANTISED_H
#define QUERN_ENCODER_QUANTISED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "kernels/int8.h"

enum quern__quantised_matrix {
    QUERN__Q_QUERY,
    QUERN__Q_KEY,
    QUERN__Q_VALUE,
    QUERN__Q_OUT,
    QUERN__Q_UP,
    QUERN__Q_GATE, /* of gated families: the half that is activated */
    QUERN__Q_DOWN,
    QUERN__Q_MATRICES
};

typedef struct quern__quantised_layer {
    const int8_t *weight[QUERN__Q_MATRICES]; /* [outputs][inputs], -127..127; fours: two a byte */
    const int8_t *step[QUERN__Q_MATRICES];   /* fours: [outputs][inputs / 32], +-1 to +-15 */
    const float *scale[QUERN__Q_MATRICES];   /* [pieces of 384 inputs][outputs], > 0 */
    const float
        *smooth[2]; /* [hidden], > 0: what query, key, value read; what `up` and the gate read */
    uint8_t kept;   /* int4: bit 1 << matrix for each that is in bytes after all */
} quern__quantised_layer;

typedef struct quern__quantised {
    uint32_t layers, hidden, intermediate;
    uint32_t queries, keys; /* columns of all heads' queries; of their keys, and of their values */
    bool gated;
    bool four; /* of the class int4 */
    quern__quantised_layer *layer;
    void *memory; /* what the pointers point into, when it is owned */
    size_t memory_size;
} quern__quantised;

/* int4: the matrix is of small integers and steps. Values and the output product stay as in int8 (a sixth of a layer, and
 * where rounding shows most), and so do those that were kept for the sake of the gate. */
bool quern__is_four(const quern__quantised *q, uint32_t layer, int matrix);
/* What is kept, is kept together: queries and keys, for they are packed as one; the inner columns and their gate; the way back. */
enum { QUERN__KEEPABLE = 3 };
extern const uint8_t quern__keepable[QUERN__KEEPABLE]; /* bits as in quern__quantised_layer.kept */
/* `four` with, in each layer, those matrices of `eight` that kept[layer] says. A view: both must outlive it. */
int quern__quantised_mix(quern__quantised **out, const quern__quantised *four,
                         const quern__quantised *eight, const uint8_t *kept, quern_error *err);
/* int4: number i of a row, -8..7, two a byte, the first in the lower half; and the number set. */
static inline int8_t quern__four(const int8_t *row, size_t i)
{
    return (int8_t)((((uint8_t)row[i / 2] >> 4 * (i % 2) & 15) ^ 8) - 8);
}

static inline void quern__set_four(int8_t *row, size_t i, int8_t value)
{
    const unsigned shift = 4 * (i % 2), other = (uint8_t)row[i / 2] & 0xf0u >> shift;
    row[i / 2] = (int8_t)(uint8_t)(other | ((unsigned)value & 15) << shift);
}

void quern__quantised_free(quern__quantised *q); /* NULL is fine */
/* The layers have this one. */
bool quern__quantised_has(const quern__quantised *q, int matrix);
/* Its outputs and inputs. */
uint32_t quern__quantised_outputs(const quern__quantised *q, int matrix);
uint32_t quern__quantised_inputs(const quern__quantised *q, int matrix);
/* "query", … ; and how the model's own tensor is called: "encoder.layer.3.attention.self.query.weight". */
const char *quern__quantised_name(int matrix);
const char *quern__quantised_tensor(int matrix);
/* int4: EUNSUPPORTED where steps' 32 inputs do not divide these. */
int quern__check_four(uint32_t hidden, uint32_t intermediate, quern_error *err);

#endif
