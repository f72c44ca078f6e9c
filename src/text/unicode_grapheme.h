/*
 * unicode_grapheme.h — which code points the reference's segmentation keeps together (extended grapheme
 * clusters of Unicode 15.1 or later, conjuncts included), as far as its tokenizers show it: groups of
 * six bytes and more are never looked at whole, so what happens among regional indicators is left out.
 */
#ifndef QUERN_TEXT_UNICODE_GRAPHEME_H
#define QUERN_TEXT_UNICODE_GRAPHEME_H

#include <stdbool.h>
#include <stdint.h>

typedef struct quern__grapheme {
    uint8_t last;     /* group of the code point before */
    uint8_t picture;  /* 1: a picture and what extends it; 2: and then U+200D */
    uint8_t conjunct; /* 1: a consonant and what extends it; 2: a linker among that */
    bool begun, carriage_return;
} quern__grapheme;

/* Whether `cp` belongs to the group of what was given before; a zeroed state begins. */
bool quern__grapheme_joins(quern__grapheme *g, uint32_t cp);
const char *quern__grapheme_tables_version(void);

#endif
