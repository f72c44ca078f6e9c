/*
 * unicode_bert.h — what a BERT normaliser and pre-tokeniser do to one code point, as the reference
 * implementation does it. Not a Unicode library: the reference mixes three Unicode versions, so its
 * answers are data (tools/make-unicode-tables asks it about every code point) and nothing of the
 * platform's own Unicode support may come near a token id.
 */
#ifndef QUERN_TEXT_UNICODE_BERT_H
#define QUERN_TEXT_UNICODE_BERT_H

#include <stdint.h>

enum quern__bert_class {
    QUERN__BERT_CONTROL = 1,      /* dropped by clean_text */
    QUERN__BERT_SPACE = 2,        /* separates words */
    QUERN__BERT_CJK = 4,          /* a word of its own when ideographs are spaced */
    QUERN__BERT_MARK = 8,         /* dropped by accent stripping */
    QUERN__BERT_DECOMPOSES = 16,  /* ask quern__bert_strip (the answer may be: itself) */
    QUERN__BERT_LOWERS = 32,      /* ask quern__bert_lower (the answer may be: itself) */
    QUERN__BERT_PUNCTUATION = 64, /* a word of its own */
    QUERN__BERT_COMBINES = 128,   /* combining class above 0: NFD sorts a run of these by rank */
};

enum { QUERN__BERT_PARTS = 4 };

/* All take any value up to 0x10FFFF; constant time within a factor of ten small steps. */
uint32_t quern__bert_class(uint32_t cp);
/* Canonical decomposition without the marks that stripping drops; returns how many parts, >= 1. */
uint32_t quern__bert_strip(uint32_t cp, uint32_t out[QUERN__BERT_PARTS]);
/* Lower case of one code point, whatever stands around it; returns how many parts, >= 1. */
uint32_t quern__bert_lower(uint32_t cp, uint32_t out[QUERN__BERT_PARTS]);
/* Order of the combining class among all; 0 for a code point without QUERN__BERT_COMBINES. */
uint32_t quern__bert_rank(uint32_t cp);
/* Changes whenever any answer above does: part of a tokenizer's hash. */
const char *quern__bert_tables_version(void);

#endif
