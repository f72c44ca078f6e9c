/*
 * buf.c — growth by half, never past the ceiling given at init; the byte for the terminating NUL is
 * kept aside. A failed append leaves what was there and latches.
 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

void quern__buf_init(quern__buf *b, size_t max)
{
    *b = (quern__buf){NULL, 0, 0, max, false};
}

void quern__buf_dispose(quern__buf *b)
{
    quern__free(b->data);
    *b = (quern__buf){NULL, 0, 0, b->max, false};
}

void quern__buf_clear(quern__buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->data)
        b->data[0] = '\0';
}

char *quern__buf_reserve(quern__buf *b, size_t n)
{
    size_t want;
    if (b->failed)
        return NULL;
    if (!quern__add_size(b->len, n, &want) || want > b->max || want == SIZE_MAX) {
        b->failed = true;
        return NULL;
    }
    if (b->data && want < b->cap)
        return b->data + b->len;
    size_t cap = b->cap < 32 ? 64 : b->cap;
    if (cap < SIZE_MAX / 2)
        cap += cap / 2;
    if (cap > b->max)
        cap = b->max;
    if (cap <= want)
        cap = want + 1;
    char *data = quern__resize(b->data, cap);
    if (!data) {
        b->failed = true;
        return NULL;
    }
    b->data = data;
    b->cap = cap;
    return b->data + b->len;
}

bool quern__buf_append(quern__buf *b, const void *data, size_t n)
{
    char *end = quern__buf_reserve(b, n);
    if (!end)
        return false;
    if (n)
        memcpy(end, data, n);
    b->len += n;
    b->data[b->len] = '\0';
    return true;
}

bool quern__buf_puts(quern__buf *b, const char *s)
{
    return quern__buf_append(b, s, strlen(s));
}

bool quern__buf_putc(quern__buf *b, char c)
{
    return quern__buf_append(b, &c, 1);
}

bool quern__buf_printf(quern__buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0) {
        b->failed = true;
        return false;
    }
    char *end = quern__buf_reserve(b, (size_t)n);
    if (!end)
        return false;
    va_start(args, fmt);
    vsnprintf(end, (size_t)n + 1, fmt, args);
    va_end(args);
    b->len += (size_t)n;
    return true;
}

int quern__buf_ok(const quern__buf *b, const char *what, quern_error *err)
{
    if (!b->failed)
        return QUERN_OK;
    return quern__fail(err, QUERN_ENOMEM, (int64_t)(b->len & INT64_MAX),
                       "%s: out of memory, or over the limit of %zu bytes", what, b->max);
}

char *quern__buf_detach(quern__buf *b)
{
    char *data = NULL;
    if (!b->failed && quern__buf_reserve(b, 0)) {
        data = b->data;
        data[b->len] = '\0';
        b->data = NULL;
    }
    quern__buf_dispose(b);
    return data;
}
