/*
 * error.c — writing into the caller's quern_error. Messages are formatted aside first, so that a
 * lower error's text may be an argument of the one that replaces it. A message carries names and
 * values that strangers chose: what is not printable UTF-8 becomes '?', so that it stays one line.
 */
#define QUERN__DEFINES_FAIL
#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/os.h"
#include "base/utf8_step.h"

/* Copies text into out, cleaned and cut on a code point boundary; src may have been cut anywhere. */
static void copy_clean(char *out, size_t size, const char *src, size_t n)
{
    size_t at = 0, used = 0;
    while (at < n) {
        uint32_t cp;
        uint32_t step = quern__utf8_step((const unsigned char *)src + at, n - at, &cp);
        bool bad = cp == QUERN__UTF8_BAD || cp < 0x20 || (cp >= 0x7F && cp < 0xA0);
        size_t put = bad ? 1 : step;
        if (used + put >= size)
            break;
        if (bad)
            out[used] = '?';
        else
            memcpy(out + used, src + at, step);
        used += put;
        at += step;
    }
    out[used] = '\0';
}

int quern__vfail(quern_error *err, int status, int64_t detail, const char *fmt, va_list args)
{
    if (!err)
        return status;
    /* Four bytes more than fit: a sequence cut by vsnprintf always lies past the cut made above. */
    char text[sizeof err->msg + 4];
    int n = vsnprintf(text, sizeof text, fmt, args);
    size_t len = n < 0 ? 0 : (size_t)n;
    if (len >= sizeof text)
        len = sizeof text - 1;
    err->status = status;
    err->subject = -1;
    err->detail = detail;
    err->code = NULL;
    err->retry_ms = -1;
    copy_clean(err->msg, sizeof err->msg, text, len);
    return status;
}

int quern__fail(quern_error *err, int status, int64_t detail, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    quern__vfail(err, status, detail, fmt, args);
    va_end(args);
    return status;
}

int quern__fail_errno(quern_error *err, int error_number, const char *fmt, ...)
{
    int status = QUERN_EIO;
    if (error_number == ENOENT)
        status = QUERN_ENOTFOUND;
    else if (error_number == ENOMEM)
        status = QUERN_ENOMEM;
    if (!err)
        return status;
    char text[sizeof err->msg], reason[128];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    quern__os_error_text(error_number, reason, sizeof reason);
    return quern__fail(err, status, error_number, "%s: %s", text, reason);
}

int quern__fail_memory(quern_error *err, size_t size)
{
    if (size)
        return quern__fail(err, QUERN_ENOMEM, (int64_t)(size & INT64_MAX),
                           "out of memory (%zu bytes asked for)", size);
    return quern__fail(err, QUERN_ENOMEM, 0, "out of memory");
}

int quern__code(quern_error *err, int status, const char *code)
{
    if (err)
        err->code = code;
    return status;
}

int quern__may_retry(quern_error *err, int status, uint32_t ms)
{
    if (err)
        err->retry_ms = ms <= INT32_MAX ? (int32_t)ms : INT32_MAX;
    return status;
}

int quern__blame(quern_error *err, int status, size_t subject)
{
    if (err)
        err->subject = subject <= INT32_MAX ? (int32_t)subject : INT32_MAX;
    return status;
}
