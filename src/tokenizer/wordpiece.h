/*
 * wordpiece.h — BERT's way from text to pieces: clean, space ideographs, strip accents, lower-case,
 * split at white space and punctuation, then the longest piece that the vocabulary has, again and
 * again. Filled by a reader, closed by quern__wordpiece_ready, immutable from there on.
 */
#ifndef QUERN_TOKENIZER_WORDPIECE_H
#define QUERN_TOKENIZER_WORDPIECE_H

#include "tokenizer/added.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocab.h"

enum {
    QUERN__WORDPIECE_MAX_CHARS =
        4096, /* highest max_input_chars_per_word; published ones say 100 */
    QUERN__WORDPIECE_MAX_PREFIX = 16,
};

typedef struct quern__wordpiece {
    const quern__vocab *vocab;     /* borrowed */
    const quern__added_set *added; /* borrowed */
    /* Those looked for in normalised text, borrowed. Each is a mark of punctuation, a word, a mark of punctuation, so that it is
     * always three words in a row: quern__wordpiece_framed. */
    const quern__added_set *framed;
    bool clean, cjk, strip, lower;
    bool trim;          /* the offsets of an added token leave out the white space it takes */
    uint32_t max_chars; /* a longer word is one unknown token */
    int32_t unk;
    char prefix[QUERN__WORDPIECE_MAX_PREFIX + 1]; /* of pieces inside a word */
    uint32_t prefix_len;
    /* made by ready */
    uint64_t prefix_hash;
    uint8_t kind[256];  /* enum byte_kind of wordpiece.c */
    uint8_t ascii[128]; /* lower case, when the model lowers */
} quern__wordpiece;

enum { QUERN__WORDPIECE_FRAMED = 8 /* of them, at most */ };
/* "<unk>": ASCII, nothing but letters and digits between two marks. */
bool quern__wordpiece_framed(quern_str content);

/* After the settings, vocabulary and added tokens are in. */
void quern__wordpiece_ready(quern__wordpiece *w);

/* Appends the text's tokens to out, whose n may grow up to `limit`; all are counted in out->full. */
int quern__wordpiece_run(const quern__wordpiece *w, quern_str text, uint32_t limit,
                         quern__tokens *out, quern_error *err);

/* Appends one token, or only counts it when n has reached the limit. */
int quern__tokens_push(quern__tokens *t, uint32_t limit, int32_t id, uint32_t start, uint32_t end,
                       bool special, quern_error *err);

#endif
