/*
 * gguf_keys.h — the key-values of a GGUF file that decide a vector, found and checked for their types; between gguf_texts.c,
 * which finds them and writes config.json, and gguf_tokenizer.c, which writes tokenizer.json.
 */
#ifndef QUERN_FORMAT_GGUF_KEYS_H
#define QUERN_FORMAT_GGUF_KEYS_H

#include "base/buf.h"
#include "format/gguf_reader.h"

enum quern__gguf_key {
    QUERN__GGUF_LAYERS,
    QUERN__GGUF_POSITIONS,
    QUERN__GGUF_HIDDEN,
    QUERN__GGUF_INNER,
    QUERN__GGUF_HEADS,
    QUERN__GGUF_KEY_HEADS,
    QUERN__GGUF_EPSILON,
    QUERN__GGUF_CAUSAL,
    QUERN__GGUF_POOLING,
    QUERN__GGUF_VOCAB, /* bert.vocab_size */
    QUERN__GGUF_MODEL,
    QUERN__GGUF_PRE,
    QUERN__GGUF_TOKENS,
    QUERN__GGUF_KINDS, /* token_type */
    QUERN__GGUF_TYPE_COUNT,
    QUERN__GGUF_SCORES,
    QUERN__GGUF_MERGES,
    QUERN__GGUF_CHARSMAP,
    QUERN__GGUF_BOS, /* the ids: from here */
    QUERN__GGUF_EOS,
    QUERN__GGUF_UNKNOWN,
    QUERN__GGUF_SEPARATOR,
    QUERN__GGUF_PADDING,
    QUERN__GGUF_CLS,
    QUERN__GGUF_MASK, /* to here */
    QUERN__GGUF_ADD_BOS,
    QUERN__GGUF_ADD_EOS,
    QUERN__GGUF_ADD_SEP,
    QUERN__GGUF_LOWER,
    QUERN__GGUF_STRIP,
    QUERN__GGUF_PREFIX,
    QUERN__GGUF_BLANKS, /* remove_extra_whitespaces */
    QUERN__GGUF_KEYS
};

typedef struct quern__gguf_value {
    bool there;
    uint64_t bits;  /* a number's */
    quern_str text; /* a string's */
    uint64_t n;     /* of an array */
    size_t at;      /* the value's, or an array's first element's, place */
} quern__gguf_value;

typedef struct quern__gguf_keys {
    const quern__weights_part *p;
    quern__gguf_value v[QUERN__GGUF_KEYS];
    quern_error *err;
} quern__gguf_keys;

/* "bert.block_count" */
const char *quern__gguf_key_name(int key);
/* EUNSUPPORTED: KEY what, at the place of its value. */
int quern__gguf_refuse(const quern__gguf_keys *k, int key, const char *what);
/* The tokenizer.json that the key-values mean. */
int quern__gguf_tokenizer(const quern__gguf_keys *k, quern__buf *out);

#endif
