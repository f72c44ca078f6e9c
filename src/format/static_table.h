/*
 * static_table.h — the tensors of a static model, as model2vec writes them: a row for a token, perhaps a weight for each token, and
 * perhaps a mapping from tokens to rows that they share. Nothing is copied; the weights must outlive it.
 */
#ifndef QUERN_FORMAT_STATIC_TABLE_H
#define QUERN_FORMAT_STATIC_TABLE_H

#include "format/model_config.h"
#include "format/weights.h"

typedef struct quern__static_table {
    const quern__tensor *rows;    /* "embeddings" or "embedding.weight": [rows][width] */
    const quern__tensor *weights; /* "weights": [tokens]; NULL: each is 1 */
    const quern__tensor
        *mapping; /* "mapping": [tokens], whole numbers; NULL: a token's row is its own */
    uint32_t tokens, width;
} quern__static_table;

/* EFORMAT: a tensor that is missing, of another type, shape or with a number out of range. */
int quern__static_table_find(quern__static_table *out, const quern__weights *w, quern_error *err);
/* The row of a token within `tokens`. */
uint32_t quern__static_table_row(const quern__static_table *t, uint32_t token);
/* What config.json does not say of a static model: its width and how many tokens there are. */
int quern__static_table_measure(quern__model_config *config, const quern__weights *w,
                                quern_error *err);

#endif
