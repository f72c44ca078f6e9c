/*
 * quantised.h — the stored numbers of the int8 class (docs/bits.md, rule 24) for one model: signed bytes,
 * a scale a column and piece, smoothing. They lie in a file beside the weights that they were made from
 * (quantised_file.c), or in memory while they are being made (quantise.c).
 */
#ifndef QUERN_ENCODER_QUANTISED_H
#define QUERN_ENCODER_QUANTISED_H

#include <stddef.h>
#include <stdint.h>

enum quern__quantised_matrix {
    QUERN__Q_QUERY,
    QUERN__Q_KEY,
    QUERN__Q_VALUE,
    QUERN__Q_OUT,
    QUERN__Q_UP,
    QUERN__Q_DOWN,
    QUERN__Q_MATRICES
};

typedef struct quern__quantised_layer {
    const int8_t *weight[QUERN__Q_MATRICES]; /* [outputs][inputs], -127..127 */
    const float *scale[QUERN__Q_MATRICES];   /* [pieces of 384 inputs][outputs], > 0 */
    const float *smooth[2]; /* [hidden], > 0: what query, key, value read; what `up` reads */
} quern__quantised_layer;

typedef struct quern__quantised {
    uint32_t layers, hidden, intermediate;
    quern__quantised_layer *layer;
    void *memory; /* what the pointers point into, when it is owned */
    size_t memory_size;
} quern__quantised;

void quern__quantised_free(quern__quantised *q); /* NULL is fine */
/* Outputs and inputs of a matrix. */
uint32_t quern__quantised_outputs(const quern__quantised *q, int matrix);
uint32_t quern__quantised_inputs(const quern__quantised *q, int matrix);
/* "query", … ; and how the model's own tensor is called: "encoder.layer.3.attention.self.query.weight". */
const char *quern__quantised_name(int matrix);
const char *quern__quantised_tensor(int matrix);

#endif
