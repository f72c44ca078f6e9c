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
#include "base/json.h"

/* A set: what is in it is concatenated in the order that the reference has, which is this one. */
enum quern__pooling {
    QUERN__POOL_CLS = 1,
    QUERN__POOL_MAX = 2,
    QUERN__POOL_MEAN = 4,
    QUERN__POOL_SQRT = 8, /* the sum by the square root of the length */
    QUERN__POOL_LAST = 16,
    QUERN__POOL_ALL = 31
};
enum { QUERN__DENSES = 4, QUERN__MATRYOSHKA = 64 };

/* A Dense module behind the pooling. */
typedef struct quern__dense {
    char path[256]; /* its folder */
    uint32_t in, out;
    bool bias, tanh; /* not tanh: identity */
    bool unit;       /* a Normalize module stands in front of it */
} quern__dense;

/* What is added here and decides a vector joins quern__model_config_architecture. */
typedef struct quern__model_config {
    char family[16]; /* "bert" */
    bool table; /* a static table: hidden and vocab are those of its weights (static_table.h) */
    bool unknown_row; /* of a table: the unknown token has one that counts */
    char table_path
        [256]; /* the module's folder that it and its tokenizer.json lie in; "": the model's own */
    uint32_t hidden, layers, heads, intermediate, vocab, positions,
        types; /* token type vocabulary; 0: the family has none */
    /* Where positions are counted from behind the padding token's (RoBERTa and its kin): its id; the rows of positions are
     * `positions` and this many and one more. -1: from the first row on. */
    int64_t padding;
    uint32_t far; /* relative_attention_max_distance; 0: not said */
    float layer_norm_eps;
    /* Of families that have them; 0 where they do not. */
    uint32_t depth;     /* columns of a head; 0: hidden / heads */
    uint32_t key_heads; /* heads of keys and values, which neighbouring heads share; 0: heads */
    uint32_t global_every,
        window; /* layers 0, global_every, … see the whole text, others `window` / 2 to either side */
    double rope, rope_local; /* rope_theta of the former and the latter; rope_local 0: the same */
    double rope_part;        /* of a head is turned */
    bool bias_attention, bias_feed, bias_down, bias_norm;
    int pooling;         /* of enum quern__pooling; mean when there is no modules.json */
    bool pooling_stated; /* false: mean was assumed */
    uint32_t dense_count;
    quern__dense dense[QUERN__DENSES];
    bool normalize;          /* the last module is a Normalize, or there is no modules.json */
    uint32_t dimensions;     /* set by whoever wants the first so many only; 0: all */
    bool matryoshka;         /* the model declares that any number of dimensions will do */
    uint32_t declared_count; /* or that these will */
    uint32_t declared[QUERN__MATRYOSHKA];
    uint32_t max_seq_length; /* sentence_bert_config.json; 0 absent */
    bool lower; /* its do_lower_case: only for a tokenizer that lower-cases of its own */
    char prompt_query[512],
        prompt_document[512]; /* config_sentence_transformers.json prompts; "" absent */
} quern__model_config;

/* Columns of what pooling gives, and of what the last module gives. */
uint32_t quern__model_config_pooled(const quern__model_config *c);
uint32_t quern__model_config_width(const quern__model_config *c);
/* "mean", "cls+max": room for 40. */
void quern__model_config_pooling(const quern__model_config *c, char out[40]);
/* One of them by that name, 0: unknown; and its key in the module's config.json. */
int quern__model_config_pooling_of(const char *name);
const char *quern__model_config_pooling_key(int mode);
/* What config.json alone decides, as an object: other heads, epsilon or layers under the same weights make another model. Defaults
 * are resolved, so one that is spelled out is the same. It stands in fingerprints, its hash in files of quantised weights. */
void quern__model_config_architecture(const quern__model_config *c, quern__jsonw *w);
int quern__model_config_architecture_sha256(const quern__model_config *c, char out[65],
                                            quern_error *err);
/* Keeps the first `dimensions` columns (0: all). EINVAL: more than there are; EUNSUPPORTED: not declared, unless `force`. */
int quern__model_config_cut(quern__model_config *c, uint32_t dimensions, bool force,
                            const char *name, quern_error *err);

int quern__model_config_read(quern__model_config *out, const char *folder, quern_error *err);
/* What stands around an exported graph: config.json may be of any family, or not be there. Then family is "", hidden what the
 * pooling says (0: nothing), positions QUERN__POSITIONS_UNKNOWN, and the other sizes are 0. */
enum { QUERN__POSITIONS_UNKNOWN = 131072 };
int quern__model_config_around(quern__model_config *out, const char *folder, quern_error *err);
/* One file's text each, for tests and fuzzing: config.json only. */
int quern__model_config_parse(quern__model_config *out, const char *text, size_t len,
                              const char *name, quern_error *err);

#endif
