/*
 * added.h — added tokens: strings that are one token wherever they stand in a text, found before the
 * text is cut into words. A set is filled by a reader, sorted by quern__added_ready, read only from there.
 */
#ifndef QUERN_TOKENIZER_ADDED_H
#define QUERN_TOKENIZER_ADDED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { QUERN__ADDED_MAX = 1024 };

typedef struct quern__added {
    const char *content; /* borrowed */
    uint32_t len;
    int32_t id;
    bool lstrip, rstrip; /* takes the white space before or after it into its offsets */
    bool single_word;    /* only where no letter or digit touches it */
    bool normalized;     /* looked for in normalised text */
} quern__added;

typedef struct quern__added_set {
    quern__added *items; /* [n], by first byte, longer ones first; owned */
    uint32_t n;
    uint16_t from[257]; /* those of a first byte: items[from[b] .. from[b + 1]] */
} quern__added_set;

void quern__added_dispose(quern__added_set *s);
void quern__added_ready(quern__added_set *s);
/* The longest one at byte `at` (< text.len), or NULL. */
const quern__added *quern__added_at(const quern__added_set *s, quern_str text, uint32_t at);

/* Where one was found: its bytes with the white space that it takes, and where to search on. */
typedef struct quern__added_hit {
    const quern__added *token;
    uint32_t start, end, next;
} quern__added_hit;
/* The first one that starts at or after `at`; `since` is the end of the hit before it. */
bool quern__added_next(const quern__added_set *s, quern_str text, uint32_t at, uint32_t since,
                       quern__added_hit *hit);

/* The white space that ends at `at` begins here, not before `least`. */
uint32_t quern__space_before(quern_str text, uint32_t least, uint32_t at);
/* The white space that starts at `at` ends here. */
uint32_t quern__space_after(quern_str text, uint32_t at);

#endif
