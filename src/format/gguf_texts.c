/*
 * gguf_texts.c — the key-values of a GGUF file of a BERT, and the config.json that they mean.
 *
 * Every key under "bert." and "tokenizer.ggml." is known here or refused by its name: an unknown one could decide a vector.
 * What the format has no key for is what llama.cpp's converter and its own encoder take for granted: GELU, absolute positions
 * (counted from the first row, for the converter cuts off those in front), a vector of unit length. Rejected: reading the
 * metadata straight into quern__model_config — its rules would have to be written twice.
 */
#include "format/gguf_texts.h"

#include <string.h>

#include "base/compiler.h"
#include "base/json.h"
#include "format/gguf_keys.h"
#include "format/model_config.h"

enum {
    MAX_CONFIG = 1 << 16,
    MAX_TOKENIZER = 64 << 20 /* what its reader takes */
};

#define BERT   "bert."
#define VOCAB_ "tokenizer.ggml."

static const struct key {
    const char *name;
    uint8_t type, element; /* element: of an array */
} keys[QUERN__GGUF_KEYS] = {
    [QUERN__GGUF_LAYERS] = {BERT "block_count", QUERN__GGUF_U32, 0},
    [QUERN__GGUF_POSITIONS] = {BERT "context_length", QUERN__GGUF_U32, 0},
    [QUERN__GGUF_HIDDEN] = {BERT "embedding_length", QUERN__GGUF_U32, 0},
    [QUERN__GGUF_INNER] = {BERT "feed_forward_length", QUERN__GGUF_U32, 0},
    [QUERN__GGUF_HEADS] = {BERT "attention.head_count", QUERN__GGUF_U32, 0},
    [QUERN__GGUF_KEY_HEADS] = {BERT "attention.head_count_kv", QUERN__GGUF_U32, 0},
    [QUERN__GGUF_EPSILON] = {BERT "attention.layer_norm_epsilon", QUERN__GGUF_F32, 0},
    [QUERN__GGUF_CAUSAL] = {BERT "attention.causal", QUERN__GGUF_BOOL, 0},
    [QUERN__GGUF_POOLING] = {BERT "pooling_type", QUERN__GGUF_U32, 0},
    [QUERN__GGUF_VOCAB] = {BERT "vocab_size", QUERN__GGUF_U32, 0},
    [QUERN__GGUF_MODEL] = {VOCAB_ "model", QUERN__GGUF_STRING, 0},
    [QUERN__GGUF_PRE] = {VOCAB_ "pre", QUERN__GGUF_STRING, 0},
    [QUERN__GGUF_TOKENS] = {VOCAB_ "tokens", QUERN__GGUF_ARRAY, QUERN__GGUF_STRING},
    [QUERN__GGUF_KINDS] = {VOCAB_ "token_type", QUERN__GGUF_ARRAY, QUERN__GGUF_I32},
    [QUERN__GGUF_TYPE_COUNT] = {VOCAB_ "token_type_count", QUERN__GGUF_U32, 0},
    [QUERN__GGUF_SCORES] = {VOCAB_ "scores", QUERN__GGUF_ARRAY, QUERN__GGUF_F32},
    [QUERN__GGUF_MERGES] = {VOCAB_ "merges", QUERN__GGUF_ARRAY, QUERN__GGUF_STRING},
    [QUERN__GGUF_CHARSMAP] = {VOCAB_ "precompiled_charsmap", QUERN__GGUF_ARRAY, QUERN__GGUF_U8},
    [QUERN__GGUF_BOS] = {VOCAB_ "bos_token_id", QUERN__GGUF_U32, 0},
    [QUERN__GGUF_EOS] = {VOCAB_ "eos_token_id", QUERN__GGUF_U32, 0},
    [QUERN__GGUF_UNKNOWN] = {VOCAB_ "unknown_token_id", QUERN__GGUF_U32, 0},
    [QUERN__GGUF_SEPARATOR] = {VOCAB_ "seperator_token_id", QUERN__GGUF_U32, 0}, /* spelt so */
    [QUERN__GGUF_PADDING] = {VOCAB_ "padding_token_id", QUERN__GGUF_U32, 0},
    [QUERN__GGUF_CLS] = {VOCAB_ "cls_token_id", QUERN__GGUF_U32, 0},
    [QUERN__GGUF_MASK] = {VOCAB_ "mask_token_id", QUERN__GGUF_U32, 0},
    [QUERN__GGUF_ADD_BOS] = {VOCAB_ "add_bos_token", QUERN__GGUF_BOOL, 0},
    [QUERN__GGUF_ADD_EOS] = {VOCAB_ "add_eos_token", QUERN__GGUF_BOOL, 0},
    [QUERN__GGUF_ADD_SEP] = {VOCAB_ "add_sep_token", QUERN__GGUF_BOOL, 0},
    [QUERN__GGUF_LOWER] = {VOCAB_ "normalizer.lowercase", QUERN__GGUF_BOOL, 0},
    [QUERN__GGUF_STRIP] = {VOCAB_ "normalizer.strip_accents", QUERN__GGUF_BOOL, 0},
    [QUERN__GGUF_PREFIX] = {VOCAB_ "add_space_prefix", QUERN__GGUF_BOOL, 0},
    [QUERN__GGUF_BLANKS] = {VOCAB_ "remove_extra_whitespaces", QUERN__GGUF_BOOL, 0},
};

const char *quern__gguf_key_name(int key)
{
    return keys[key].name;
}

int quern__gguf_refuse(const quern__gguf_keys *k, int key, const char *what)
{
    const size_t at = k->v[key].at;
    return quern__fail(k->err, QUERN_EUNSUPPORTED, (int64_t)at, "%s: %s %s, at byte %zu",
                       k->p->name, keys[key].name, what, at);
}

static bool begins(quern_str s, const char *with)
{
    return s.len >= strlen(with) && memcmp(s.ptr, with, strlen(with)) == 0;
}

static int read_number(quern__gguf_reader *r, uint64_t type, uint64_t *bits)
{
    int rc = quern__gguf_number(r, type == QUERN__GGUF_BOOL ? 1 : 4, bits);
    return rc == QUERN_OK && type == QUERN__GGUF_BOOL && *bits > 1
               ? quern__gguf_fail(r, r->at - 1, "a truth value of neither 0 nor 1")
               : rc;
}

static int read_value(quern__gguf_keys *k, quern__gguf_reader *r, int key, uint64_t type)
{
    quern__gguf_value *v = &k->v[key];
    const size_t at = r->at;
    uint64_t element = 0;
    if (v->there || type != keys[key].type)
        return quern__fail(k->err, QUERN_EFORMAT, (int64_t)at, "%s: %s %s, at byte %zu", r->p->name,
                           keys[key].name, v->there ? "twice" : "has another type", at);
    v->there = true;
    v->at = at;
    if (type == QUERN__GGUF_STRING)
        return quern__gguf_text(r, &v->text);
    if (type != QUERN__GGUF_ARRAY)
        return read_number(r, type, &v->bits);
    int rc = quern__gguf_array(r, &element, &v->n);
    if (rc == QUERN_OK && element != keys[key].element)
        rc = quern__fail(k->err, QUERN_EFORMAT, (int64_t)at,
                         "%s: %s is an array of another type, at byte %zu", r->p->name,
                         keys[key].name, at);
    v->at = r->at;
    r->at = at;
    return rc ? rc : quern__gguf_skip(r, QUERN__GGUF_ARRAY);
}

static int read_pair(quern__gguf_keys *k, quern__gguf_reader *r)
{
    quern_str key;
    uint64_t type = 0;
    const size_t at = r->at;
    int rc = quern__gguf_text(r, &key);
    if (rc == QUERN_OK)
        rc = quern__gguf_number(r, 4, &type);
    for (int i = 0; rc == QUERN_OK && i < QUERN__GGUF_KEYS; i++)
        if (quern__str_is(key, keys[i].name))
            return read_value(k, r, i, type);
    if (rc == QUERN_OK && (begins(key, BERT) || begins(key, VOCAB_)))
        rc = quern__fail(k->err, QUERN_EUNSUPPORTED, (int64_t)at,
                         "%s: key %.*s, at byte %zu, could change a vector and is not known; put "
                         "the model's JSON files beside the weights",
                         r->p->name, (int)QUERN__MIN(key.len, 80), key.ptr, at);
    return rc ? rc : quern__gguf_skip(r, type);
}

/* ---- config.json ---- */

static int need(const quern__gguf_keys *k)
{
    static const int needed[] = {QUERN__GGUF_LAYERS,  QUERN__GGUF_POSITIONS, QUERN__GGUF_HIDDEN,
                                 QUERN__GGUF_INNER,   QUERN__GGUF_HEADS,     QUERN__GGUF_EPSILON,
                                 QUERN__GGUF_POOLING, QUERN__GGUF_MODEL,     QUERN__GGUF_TOKENS,
                                 QUERN__GGUF_KINDS};
    for (size_t i = 0; i < QUERN__COUNT(needed); i++)
        if (!k->v[needed[i]].there)
            return quern__fail(k->err, QUERN_EUNSUPPORTED, 0,
                               "%s: no %s in it; put the model's JSON files beside the weights",
                               k->p->name, keys[needed[i]].name);
    return QUERN_OK;
}

static int read_pooling(const quern__gguf_keys *k, int *pooling)
{
    static const uint8_t modes[] = {0, QUERN__POOL_MEAN, QUERN__POOL_CLS, QUERN__POOL_LAST};
    const uint64_t type = k->v[QUERN__GGUF_POOLING].bits;
    *pooling = type < QUERN__COUNT(modes) ? modes[type] : 0;
    return *pooling ? QUERN_OK
                    : quern__gguf_refuse(k, QUERN__GGUF_POOLING,
                                         "is none of mean (1), CLS (2) and last token (3)");
}

/* Rows of an embedding, by its published name. */
static int rows_of(const quern__gguf_keys *k, const quern__weights *w, const char *name,
                   uint64_t *rows)
{
    const quern__tensor *t = quern__weights_find(w, name);
    if (!t || t->rank != 2)
        return quern__fail(k->err, QUERN_EFORMAT, 0, "%s: tensor %s is missing or no matrix",
                           k->p->name, name);
    *rows = t->shape[0];
    return QUERN_OK;
}

static int write_config(const quern__gguf_keys *k, const quern__weights *w, quern__buf *out)
{
    static const struct {
        const char *name;
        int key;
    } sizes[] = {{"hidden_size", QUERN__GGUF_HIDDEN},
                 {"intermediate_size", QUERN__GGUF_INNER},
                 {"max_position_embeddings", QUERN__GGUF_POSITIONS},
                 {"num_attention_heads", QUERN__GGUF_HEADS},
                 {"num_hidden_layers", QUERN__GGUF_LAYERS}};
    const uint32_t bits = (uint32_t)k->v[QUERN__GGUF_EPSILON].bits;
    uint64_t words, types;
    float epsilon;
    quern__jsonw j;
    int rc = rows_of(k, w, "embeddings.word_embeddings.weight", &words);
    if (rc == QUERN_OK)
        rc = rows_of(k, w, "embeddings.token_type_embeddings.weight", &types);
    if (rc)
        return rc;
    memcpy(&epsilon, &bits, sizeof epsilon);
    quern__jsonw_init(&j, out);
    quern__jsonw_object(&j);
    for (size_t i = 0; i < QUERN__COUNT(sizes); i++) {
        quern__jsonw_key(&j, sizes[i].name);
        quern__jsonw_u64(&j, k->v[sizes[i].key].bits);
    }
    quern__jsonw_key(&j, "hidden_act");
    quern__jsonw_cstr(&j, "gelu");
    quern__jsonw_key(&j, "layer_norm_eps");
    quern__jsonw_float(&j, epsilon);
    quern__jsonw_key(&j, "model_type");
    quern__jsonw_cstr(&j, "bert");
    quern__jsonw_key(&j, "type_vocab_size");
    quern__jsonw_u64(&j, types);
    quern__jsonw_key(&j, "vocab_size");
    quern__jsonw_u64(&j, words);
    quern__jsonw_end_object(&j);
    return quern__buf_ok(out, "the settings of a GGUF file", k->err);
}

static int check(const quern__gguf_keys *k)
{
    const quern__gguf_value *v = k->v;
    if (v[QUERN__GGUF_KEY_HEADS].there &&
        v[QUERN__GGUF_KEY_HEADS].bits != v[QUERN__GGUF_HEADS].bits)
        return quern__gguf_refuse(k, QUERN__GGUF_KEY_HEADS,
                                  "is another number than " BERT "attention.head_count");
    if (v[QUERN__GGUF_VOCAB].there && v[QUERN__GGUF_VOCAB].bits != v[QUERN__GGUF_TOKENS].n)
        return quern__gguf_refuse(k, QUERN__GGUF_VOCAB, "is not the number of its tokens");
    return QUERN_OK;
}

int quern__gguf_texts_read(quern__gguf_texts *out, const quern__weights *w, quern_error *err)
{
    quern__gguf_keys k = {.p = &w->parts[0], .err = err};
    quern__gguf_reader r = {k.p, 0, err};
    uint64_t tensors, pairs;
    quern__buf_init(&out->config, MAX_CONFIG);
    quern__buf_init(&out->tokenizer, MAX_TOKENIZER);
    int rc = quern__gguf_begin(&r, &tensors, &pairs);
    for (uint64_t i = 0; rc == QUERN_OK && i < pairs; i++)
        rc = read_pair(&k, &r);
    if (rc == QUERN_OK)
        rc = need(&k);
    if (rc == QUERN_OK)
        rc = check(&k);
    if (rc == QUERN_OK)
        rc = read_pooling(&k, &out->pooling);
    if (rc == QUERN_OK)
        rc = write_config(&k, w, &out->config);
    if (rc == QUERN_OK)
        rc = quern__gguf_tokenizer(&k, &out->tokenizer);
    if (rc != QUERN_OK)
        quern__gguf_texts_dispose(out);
    return rc;
}

void quern__gguf_texts_dispose(quern__gguf_texts *t)
{
    quern__buf_dispose(&t->config);
    quern__buf_dispose(&t->tokenizer);
}
