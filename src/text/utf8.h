/*
 * utf8.h — strict UTF-8 (Unicode 15, table 3-7), and the replacement rule of the Unicode standard:
 * each maximal subpart of an ill-formed sequence becomes one U+FFFD, as Python and WHATWG do.
 */
#ifndef QUERN_TEXT_UTF8_H
#define QUERN_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Offset of the first ill-formed byte, or len when all is well. Fast on ASCII. */
size_t quern__utf8_check(const char *s, size_t len);
/* Decodes one code point at s (len > 0): returns bytes consumed (>= 1) and sets *cp; an ill-formed
 * subpart gives U+FFFD and its length, and sets *bad. */
uint32_t quern__utf8_next(const char *s, size_t len, uint32_t *cp, bool *bad);
/* 1..4 bytes written; surrogates and > 10FFFF must not be passed. */
uint32_t quern__utf8_put(char out[4], uint32_t cp);
/* Largest n <= at that does not split a well-formed sequence of s. */
size_t quern__utf8_floor(const char *s, size_t len, size_t at);
/* Code points in s (ill-formed subparts count as one each). */
size_t quern__utf8_count(const char *s, size_t len);

#endif
