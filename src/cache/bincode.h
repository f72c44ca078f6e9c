/*
 * bincode.h — reads a cache that another system has saved: bincode 1.3 of Rust's Vec<(String, Vec<f32>)>, which is a u64 count, and
 * for each entry a u64 length, that many bytes of UTF-8, a u64 count and that many f32, all little-endian, with
 * nothing before, between or behind. No header, version or checksum: what can be checked is the sum of all lengths, which has to
 * come out at the file's, and every entry's own sense.
 */
#ifndef QUERN_CACHE_BINCODE_H
#define QUERN_CACHE_BINCODE_H

#include <stddef.h>
#include <stdint.h>

#include "quern/status.h"

enum { QUERN__BINCODE_TEXT = 16 << 20 }; /* bytes of a text at most */

/* Up to n bytes; *got 0: the end. */
typedef int (*quern__bincode_read)(void *ud, void *buf, size_t n, size_t *got, quern_error *err);
typedef struct quern__bincode quern__bincode;

/* size: of all that read will give. EFORMAT: it holds no such count of entries. */
int quern__bincode_open(quern__bincode **out, const char *name, quern__bincode_read read, void *ud,
                        uint64_t size, quern_error *err);
void quern__bincode_free(quern__bincode *b);
/* The next entry, borrowed until the one after: 1, or 0 at the end. EFORMAT, with the entry's number and the byte: a length over
 * what is left, text that is not UTF-8, a vector of another length than the first one's, not finite or not of unit length,
 * bytes behind the last. */
int quern__bincode_next(quern__bincode *b, quern_str *text, const float **vector, uint32_t *dim,
                        quern_error *err);

#endif
