/*
 * bpe.h — BPE: the bytes of a word are its first symbols, or its characters, or, of a character that is no
 * piece, the bytes it is spelled in ("<0xE2>"); then the pair that was learnt first is joined, leftmost
 * first, until no pair is known. Filled by a reader, closed by quern__bpe_ready, immutable from there on.
 */
#ifndef QUERN_TOKENIZER_BPE_H
#define QUERN_TOKENIZER_BPE_H

#include "tokenizer/vocab.h"

enum {
    QUERN__BPE_MAX_MERGES = 1 << 21,
    QUERN__BPE_NO_RANK = 0x7FFFFFFF,
};

typedef struct quern__bpe {
    const quern__vocab *vocab; /* borrowed; pieces in the byte alphabet ("Ġthe") */
    bool ignore_merges;        /* a word that is a piece is that piece */
    bool points;               /* symbols are characters, as llama's; pieces stand as they are */
    int32_t unk; /* what tokenizer.json calls it; -1: nothing. No word comes to it, its name does */
    struct quern__merge {
        uint32_t left, right, id; /* ids; id: of the two together */
    } * merges;                   /* [n], by rank */
    uint32_t n, cap;
    /* made by ready */
    struct quern__merge_slot {
        uint32_t left, right, rank1, id; /* rank1 = 0: free */
    } * slots;                           /* open addressing */
    uint32_t mask;
    uint32_t bytes[256]; /* the symbol of each byte, of those that stand for themselves */
} quern__bpe;

void quern__bpe_dispose(quern__bpe *b);
/* What a merge of two pieces came to. */
enum quern__merge_added {
    QUERN__MERGE_ADDED,
    QUERN__MERGE_NO_MEMORY,
    QUERN__MERGE_TOO_MANY,
    QUERN__MERGE_UNKNOWN, /* one of the parts is no piece */
    QUERN__MERGE_NO_WHOLE /* both together are no piece */
};
enum quern__merge_added quern__bpe_merge(quern__bpe *b, quern_str left, quern_str right);
const char *quern__merge_why(enum quern__merge_added what);
/* EFORMAT naming `file`: a byte without a piece, a merge that is there twice. */
int quern__bpe_ready(quern__bpe *b, const char *file, quern_error *err);

/* The symbols of a word after all merges: [n] of them, symbol i covers the word's bytes
 * [at[i], at[i + 1]). A zeroed work space is an empty one; its arrays grow with the longest word. */
typedef struct quern__bpe_work {
    struct quern__symbol {
        uint32_t id, rank, at,
            next;              /* rank: of the pair with the next symbol; next: joined = gone */
        uint32_t merged, prev; /* merged: what the pair becomes */
    } * symbols;
    struct quern__pair {
        uint32_t rank, at, merged;
    } * heap;
    uint32_t cap, heap_cap, n_heap;
    uint32_t n; /* symbols from 0 on, one after the other when a word is done */
} quern__bpe_work;

void quern__bpe_work_dispose(quern__bpe_work *w);
/* Cuts one word (len > 0), before which a blank is put when `blank` says so: w->symbols[0 .. w->n].
 * at counts that blank. ENOMEM only. O(n log n). */
int quern__bpe_cut(const quern__bpe *b, quern__bpe_work *w, bool blank, const char *word,
                   uint32_t len, quern_error *err);

/* The same with a word of n code points (n > 0), of which each stands at at[i] and at[n] is the end: a symbol's
 * place is that of its first character, each byte of one that is spelled has a byte of it where there are enough. */
int quern__bpe_cut_points(const quern__bpe *b, quern__bpe_work *w, const uint32_t *cps,
                          const uint32_t *at, uint32_t n, quern_error *err);

/* The code point that stands for a byte in the pieces. */
uint32_t quern__byte_letter(uint8_t byte);

#endif
