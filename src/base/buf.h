/*
 * buf.h — a growing byte buffer with a ceiling, so that every place that grows has an answer to
 * "how large may a stranger make this?". A failed append latches `failed` and keeps what was there:
 * append freely, check once with quern__buf_ok.
 */
#ifndef QUERN_BASE_BUF_H
#define QUERN_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

typedef struct quern__buf {
    char *data; /* NUL-terminated after any append; NULL while empty */
    size_t len, cap, max;
    bool failed;
} quern__buf;

void quern__buf_init(quern__buf *b, size_t max); /* max: ceiling in bytes, must not be 0 */
void quern__buf_dispose(quern__buf *b);
void quern__buf_clear(quern__buf *b); /* keeps the memory; clears `failed` */
bool quern__buf_append(quern__buf *b, const void *data, size_t n);
bool quern__buf_puts(quern__buf *b, const char *s);
bool quern__buf_putc(quern__buf *b, char c);
bool quern__buf_printf(quern__buf *b, const char *fmt, ...) QUERN_PRINTF(2, 3);
char *quern__buf_reserve(quern__buf *b,
                         size_t n); /* room for n more bytes at the end, NULL on failure */
/* QUERN_OK, or QUERN_ENOMEM with `what` named when any append failed. */
int quern__buf_ok(const quern__buf *b, const char *what, quern_error *err);
/* Hands the memory to the caller (free with quern__free / quern_free) and resets the buffer.
 * NULL when an append had failed or memory is out; an empty buffer gives "". */
char *quern__buf_detach(quern__buf *b);

#endif
