/*
 * wordpiece.h — BERT's way from text to pieces: clean, space ideographs, strip accents, lower-case,
 * split at white space and punctuation, then the longest piece that the vocabulary has, again and
 * again. Filled by a reader, closed by quern__wordpiece_ready, immutable from there on.
 */
#ifndef QUERN_TOKENIZER_WORDPIECE_H
#define QUERN_TOKENIZER_WORDPIECE_H

#include "tokenizer/tokenizer.h"
#include "tokenizer/vocab.h"

enum {
    QUERN__WORDPIECE_MAX_CHARS =
        4096, /* highest max_input_chars_per_word; published ones say 100 */
    QUERN__WORDPIECE_MAX_PREFIX = 16,
    QUERN__WORDPIECE_MAX_ADDED = 1024,
};

/* A string that is one token wherever it stands in a text, found before anything is normalised. */
typedef struct quern__added {
    const char *content; /* borrowed from the vocabulary once ready */
    uint32_t len;
    int32_t id;
    bool lstrip, rstrip; /* takes the white space before or after it into its offsets */
} quern__added;

typedef struct quern__wordpiece {
    quern__vocab vocab;
    bool clean, cjk, strip, lower;
    uint32_t max_chars; /* a longer word is one unknown token */
    int32_t unk;
    char prefix[QUERN__WORDPIECE_MAX_PREFIX + 1]; /* of pieces inside a word */
    uint32_t prefix_len;
    quern__added *added; /* [n_added], by first byte, longer ones first */
    uint32_t n_added;
    /* made by ready */
    uint64_t prefix_hash;
    uint8_t kind[256];        /* enum byte_kind of wordpiece.c */
    uint8_t ascii[128];       /* lower case, when the model lowers */
    uint16_t added_from[257]; /* added tokens of a first byte: added[from[b] .. from[b + 1]] */
} quern__wordpiece;

void quern__wordpiece_init(quern__wordpiece *w);
void quern__wordpiece_dispose(quern__wordpiece *w);
/* After the settings, vocabulary and added tokens are in. */
void quern__wordpiece_ready(quern__wordpiece *w);

/* Appends the text's tokens to out, whose n may grow up to `limit`; all are counted in out->full. */
int quern__wordpiece_run(const quern__wordpiece *w, quern_str text, uint32_t limit,
                         quern__tokens *out, quern_error *err);

/* Appends one token, or only counts it when n has reached the limit. */
int quern__tokens_push(quern__tokens *t, uint32_t limit, int32_t id, uint32_t start, uint32_t end,
                       bool special, quern_error *err);

#endif
