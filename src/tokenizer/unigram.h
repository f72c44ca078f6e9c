/*
 * unigram.h — SentencePiece's unigram model: the way through a word whose pieces have the highest sum
 * of scores. Filled by a reader, closed by quern__unigram_ready, immutable from there on.
 */
#ifndef QUERN_TOKENIZER_UNIGRAM_H
#define QUERN_TOKENIZER_UNIGRAM_H

#include "tokenizer/vocab.h"

enum { QUERN__UNIGRAM_BLANK = 0x2581 /* "▁" */ };

typedef struct quern__unigram {
    const quern__vocab *vocab; /* borrowed */
    double *scores;            /* [n], by id */
    uint32_t n, cap;
    int32_t unk;
    bool byte_fallback;
    /* made by ready */
    double unk_score;
    int32_t bytes[256]; /* "<0x00>"..; -1 without byte_fallback, or where there is none */
    struct quern__node {
        uint32_t parent, cp, number; /* number 0: free; the root is 1 */
        int32_t id;                  /* -1: no piece ends here */
    } * nodes;                       /* open addressing by parent and cp */
    uint32_t mask, n_nodes;
} quern__unigram;

void quern__unigram_dispose(quern__unigram *u);
/* The score of the next id. False: no memory. */
bool quern__unigram_score(quern__unigram *u, double score);
/* After pieces, scores and the unknown token are in. EFORMAT names `file`. */
int quern__unigram_ready(quern__unigram *u, const char *file, quern_error *err);

/* One word, one code point after the other; the work space grows with the longest. */
typedef struct quern__unigram_work {
    uint32_t *cps; /* [n], filled by the caller after quern__unigram_room */
    uint32_t *at;  /* [n + 1], the caller's: where each stands */
    struct quern__best {
        double score;
        uint32_t from; /* code point where the piece that ends here starts; UINT32_MAX: none does */
        int32_t id;
    } * best; /* [n + 1] */
    struct quern__part {
        uint32_t from, to; /* code points */
        int32_t id;        /* -1: none, the caller spells it in bytes */
    } * parts;             /* [n_parts] */
    uint32_t cap, n, n_parts;
} quern__unigram_work;

void quern__unigram_work_dispose(quern__unigram_work *w);
int quern__unigram_room(quern__unigram_work *w, uint32_t n, quern_error *err);
/* Cuts w->cps[0 .. w->n] into w->parts. Linear in n but for the pieces that start at each place, whose
 * length the vocabulary bounds. */
void quern__unigram_cut(const quern__unigram *u, quern__unigram_work *w);

#endif
