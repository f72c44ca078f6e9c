/*
 * charsmap.h — SentencePiece's precompiled map of characters: a double-array trie from strings to
 * places in a list of NUL-ended replacements. Foreign bytes: every step is checked.
 */
#ifndef QUERN_TOKENIZER_CHARSMAP_H
#define QUERN_TOKENIZER_CHARSMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { QUERN__CHARSMAP_MAX = 16 << 20 };

typedef struct quern__charsmap {
    char *bytes; /* owned: the file's form, units in little-endian order first */
    uint32_t len, units;
    quern_str replacements;
    bool plain[128]; /* ASCII that is not the beginning of any rule */
} quern__charsmap;

/* Takes `bytes` over, also when it fails: NULL or why not. */
const char *quern__charsmap_open(quern__charsmap *m, char *bytes, size_t len);
void quern__charsmap_dispose(quern__charsmap *m);
/* The replacement of the shortest prefix of `s` that has one. */
bool quern__charsmap_find(const quern__charsmap *m, quern_str s, quern_str *out);

#endif
