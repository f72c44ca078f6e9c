/*
 * model_config.h — the JSON files of a sentence-transformers folder (config.json, modules.json,
 * 1_Pooling/config.json, sentence_bert_config.json, config_sentence_transformers.json), read into one
 * struct, every number checked. An unknown module, family, activation or pooling is refused by name.
 */
#ifndef QUERN_FORMAT_MODEL_CONFIG_H
#define QUERN_FORMAT_MODEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum quern__pooling { QUERN__POOL_MEAN = 1, QUERN__POOL_CLS };

typedef struct quern__model_config {
    char family[16]; /* "bert" */
    uint32_t hidden, layers, heads, intermediate, vocab, positions,
        types; /* token type vocabulary; 0: the family has none */
    /* Where positions are counted from behind the padding token's (RoBERTa and its kin): its id; the rows of positions are
     * `positions` and this many and one more. -1: from the first row on. */
    int64_t padding;
    float layer_norm_eps;
    int pooling;             /* enum quern__pooling; mean when there is no modules.json */
    bool pooling_stated;     /* false: mean was assumed */
    bool normalize;          /* modules.json has a Normalize module, or there is none at all */
    uint32_t max_seq_length; /* sentence_bert_config.json; 0 absent */
    char prompt_query[512],
        prompt_document[512]; /* config_sentence_transformers.json prompts; "" absent */
} quern__model_config;

int quern__model_config_read(quern__model_config *out, const char *folder, quern_error *err);
/* One file's text each, for tests and fuzzing: config.json only. */
int quern__model_config_parse(quern__model_config *out, const char *text, size_t len,
                              const char *name, quern_error *err);

#endif
