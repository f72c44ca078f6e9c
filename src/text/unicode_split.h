/*
 * unicode_split.h — the classes by which the reference cuts text into words for byte-level models:
 * \p{L}, \p{N} and \s of the regular expressions engine behind its pre-tokenisers, and \w of the one
 * that decides whether an added token stands alone. Asked of the reference for every code point, as in
 * unicode_bert.h and for the same reason.
 */
#ifndef QUERN_TEXT_UNICODE_SPLIT_H
#define QUERN_TEXT_UNICODE_SPLIT_H

#include <stdint.h>

enum quern__split_class {
    QUERN__SPLIT_LETTER = 1,
    QUERN__SPLIT_NUMBER = 2,
    QUERN__SPLIT_SPACE = 4, /* at most one of these three */
    QUERN__SPLIT_WORD = 8,
    QUERN__SPLIT_RECOMPOSES = 16, /* NFC may change it or join it to what stands before */
};

/* Any value up to 0x10FFFF. */
uint32_t quern__split_class(uint32_t cp);
const char *quern__split_tables_version(void);

#endif
