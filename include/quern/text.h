/*
 * quern/text.h — small helpers over bytes that callers need too: is this UTF-8, is this JSON safe to
 * parse, what did the user probably mean.
 */
#ifndef QUERN_TEXT_H
#define QUERN_TEXT_H

#include "quern/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Offset of the first byte that is not well-formed UTF-8, or s.len when all is. */
QUERN_API size_t quern_utf8_check(quern_str s);

/* A copy of s in which each maximal ill-formed subpart is U+FFFD, NUL-terminated; free with
 * quern_free. *len (may be NULL) is its length without the NUL. ENOMEM. */
QUERN_API int quern_utf8_replace(char **out, size_t *len, quern_str s, quern_error *err);

/* Cheap look at JSON text before a parser that would swallow memory over it: EFORMAT when it is over
 * max_size bytes, nested deeper than max_depth, or of more than max_values values. Does not validate. */
QUERN_API int quern_json_scan(quern_str text, size_t max_size, uint32_t max_depth,
                              size_t max_values, quern_error *err);

/* Of the n candidates the one nearest to `word` by edit distance, NULL when none is near enough to
 * be what was meant. Borrowed from candidates. */
QUERN_API const char *quern_nearest(const char *word, const char *const *candidates, size_t n);

#ifdef __cplusplus
}
#endif
#endif
