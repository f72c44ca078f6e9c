/* excerpt.h — a line of text that shows what a hit is about. */
#ifndef QUERN_SEARCH_EXCERPT_H
#define QUERN_SEARCH_EXCERPT_H

#include <stdint.h>

#include "base/buf.h"
#include "quern/status.h"

enum { QUERN__EXCERPT_BYTES = 240 };

/* Appends the beginning of bytes [start, end) of text as one line: runs of white space and control characters
 * become one space, the cut falls on a word's edge and is marked "…", at most QUERN__EXCERPT_BYTES in all.
 * Offsets outside the text are brought inside; bytes that are not UTF-8 become U+FFFD. */
void quern__excerpt(quern_str text, uint64_t start, uint64_t end, quern__buf *out);

#endif
