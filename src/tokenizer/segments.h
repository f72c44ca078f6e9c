/*
 * segments.h — the way of a text through a model of subwords (BPE, Unigram): added tokens are cut out,
 * what lies between them is normalised, added tokens are cut out of that, the rest is cut into words,
 * the words into pieces. WordPiece has a way of its own (wordpiece.c).
 */
#ifndef QUERN_TOKENIZER_SEGMENTS_H
#define QUERN_TOKENIZER_SEGMENTS_H

#include "base/arena.h"
#include "tokenizer/added.h"
#include "tokenizer/bpe.h"
#include "tokenizer/normal.h"
#include "tokenizer/split_words.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unigram.h"

typedef struct quern__segments {
    quern__normalizer normalizer;
    quern__added_set raw, normal; /* looked for before and after the normaliser */
    quern__arena names;           /* what `normal` looks for */
    quern__word_rule words;       /* of BPE */
    struct quern__blanks {        /* of Unigram and of a BPE of characters */
        bool as_is;               /* no: the normaliser has seen to that, and nothing is cut */
        bool white_split;         /* words first end at white space, which is dropped */
        bool split;               /* a word begins at each "▁" */
        enum quern__prefix {
            QUERN__PREFIX_NEVER,
            QUERN__PREFIX_FIRST, /* only what begins where the text begins */
            QUERN__PREFIX_ALWAYS,
        } prefix; /* "▁" is put before a word that has none */
    } blanks;
    bool prefix_blank; /* a blank is put before a segment that has none */
    /* The offsets of a token leave out the white space at its edges, but for the blank that was put
     * before the first when `trim_keeps_first` says so. */
    bool trim, trim_keeps_first;
    uint8_t *edges; /* [ids] when trimming: 1 where a piece has white space at an edge */
} quern__segments;

void quern__segments_dispose(quern__segments *s);
/* Fills edges from the vocabulary. ENOMEM only. */
int quern__segments_ready(quern__segments *s, const quern__vocab *v, quern_error *err);

/* As quern__wordpiece_run. */
int quern__unigram_run(const quern__segments *s, const quern__unigram *u, quern_str text,
                       uint32_t limit, quern__tokens *out, quern_error *err);
int quern__bpe_run(const quern__segments *s, const quern__bpe *b, quern_str text, uint32_t limit,
                   quern__tokens *out, quern_error *err);

#endif
