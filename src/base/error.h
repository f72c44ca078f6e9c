/*
 * error.h — how library code reports a fault: fill the caller's struct once, where the fault is
 * known, and pass the code up unchanged.
 */
#ifndef QUERN_BASE_ERROR_H
#define QUERN_BASE_ERROR_H

#include <stdarg.h>
#include <stdint.h>

#include "quern/status.h"

/* Writes status, detail and the message into err (NULL is fine) and returns status. The message is
 * cut at the struct's size on a UTF-8 boundary, and control bytes in it become '?'. subject = -1. */
int quern__fail(quern_error *err, int status, int64_t detail, const char *fmt, ...)
    QUERN_PRINTF(4, 5);
int quern__vfail(quern_error *err, int status, int64_t detail, const char *fmt, va_list args)
    QUERN_PRINTF(4, 0);

/* As quern__fail for an operating-system fault: appends ": " and the text of errno, detail = errno.
 * ENOENT gives QUERN_ENOTFOUND, ENOMEM QUERN_ENOMEM, anything else QUERN_EIO. */
int quern__fail_errno(quern_error *err, int error_number, const char *fmt, ...) QUERN_PRINTF(3, 4);

/* "out of memory" with the size that was asked for (0: unknown). Returns QUERN_ENOMEM. */
int quern__fail_memory(quern_error *err, size_t size);

/* Sets err->subject (the index of the input at fault) on an error already written; returns status. */
int quern__blame(quern_error *err, int status, size_t subject);

/* Sets err->code, a static string of docs/errors.md, on an error already written; returns status. */
int quern__code(quern_error *err, int status, const char *code);
/* The call may be made again after so long, on an error already written; returns status. */
int quern__may_retry(quern_error *err, int status, uint32_t ms);

/*
 * clang's analyser sees one file at a time and would have these calls return QUERN_OK: tell it that
 * they never do. The values are as good as any other that is not zero.
 */
#if defined(__clang_analyzer__) && !defined(QUERN__DEFINES_FAIL)
#define quern__fail(err, status, ...)     (quern__fail(err, status, __VA_ARGS__), (status))
#define quern__fail_errno(err, ...)       (quern__fail_errno(err, __VA_ARGS__), QUERN_EIO)
#define quern__fail_memory(err, size)     (quern__fail_memory(err, size), QUERN_ENOMEM)
#define quern__blame(err, status, index)  (quern__blame(err, status, index), (status))
#define quern__code(err, status, code)    (quern__code(err, status, code), (status))
#define quern__may_retry(err, status, ms) (quern__may_retry(err, status, ms), (status))
#endif

/* Public entry points: a NULL or nonsense argument is a programming error of the caller's. */
#define QUERN__REQUIRE(cond, err)                                                                  \
    do {                                                                                           \
        if (!(cond))                                                                               \
            return quern__fail((err), QUERN_EINVAL, 0, "%s: bad argument: %s", __func__, #cond);   \
    } while (0)

#endif
