/*
 * quern/status.h — status codes, the error struct, strings, and the three process-wide hooks.
 *
 * Every call that can fail returns an int: QUERN_OK (0) or a negative code below. The last
 * parameter of such a call is `quern_error *err`, memory of the caller's (usually the stack),
 * NULL allowed; it is written only on failure, where the fault is known, and passed up unchanged.
 * Nothing in it needs freeing. The library never prints, exits or raises a signal.
 *
 * Conventions that every header of quern keeps:
 *   - a created object comes out through the first parameter and is NULL after a failure;
 *   - `_free` destroys what `_open`/`_new`/`_from…` made; NULL is a no-op;
 *   - option structs begin with `size_t struct_size` (use QUERN_INIT); zero is the default;
 *   - `quern_str` and `const char *` results are borrowed from the first argument;
 *   - texts and paths handed in are borrowed for the call only.
 */
#ifndef QUERN_STATUS_H
#define QUERN_STATUS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define QUERN_API               __attribute__((visibility("default")))
#define QUERN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define QUERN_API
#define QUERN_PRINTF(fmt, args)
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define QUERN_VERSION_MAJOR 0
#define QUERN_VERSION_MINOR 1
#define QUERN_VERSION_PATCH 0

/* name, value, what it means. Values are frozen once released. */
#define QUERN_STATUS_MAP(X)                                                                        \
    X(OK, 0, "done")                                                                               \
    X(EINVAL, -1, "a bad argument, flag or configuration value")                                   \
    X(ENOMEM, -2, "out of memory, or over a stated memory limit")                                  \
    X(EIO, -3, "the operating system or the database refused a read or write")                     \
    X(ENOTFOUND, -4, "no such model, source, key, file or generation")                             \
    X(EEXISTS, -5, "it is already there")                                                          \
    X(EFORMAT, -6, "bytes that are not what they should be (detail: offset)")                      \
    X(EUNSUPPORTED, -7, "well-formed, but this build cannot do it")                                \
    X(EMISMATCH, -8, "fingerprint, dimension or checksum differs from the one expected")           \
    X(EREMOTE, -9, "a server answered with an error (detail: HTTP status)")                        \
    X(EBUSY, -10, "held by somebody else")                                                         \
    X(ECANCELLED, -11, "cancelled by the caller; work done so far is saved")                       \
    X(EINTERNAL, -12, "a bug in quern")                                                            \
    X(ETOOLONG, -13, "a text is longer than the model reads (detail: its tokens)")                 \
    X(EPARTIAL, -14, "done, but some documents failed (detail: how many)")                         \
    X(ETIMEOUT, -15, "not done within the time allowed")                                           \
    X(EBUDGET, -16, "more tokens or money than this run may use (detail: tokens used)")

enum quern_status {
#define QUERN_STATUS_ENUM(name, value, text) QUERN_##name = value,
    QUERN_STATUS_MAP(QUERN_STATUS_ENUM)
#undef QUERN_STATUS_ENUM
        QUERN_STATUS_LAST_ = -16
};

typedef struct quern_error {
    int32_t status;   /* one of the codes above; 0 when nothing was written */
    int32_t subject;  /* index of the input (text, row, line) at fault, -1 when none is */
    int64_t detail;   /* errno, HTTP status, SQL code, byte offset, count: see the code's text */
    const char *code; /* a static word where a program has more to tell apart ("index_stale"), or
                         NULL: see quern_error_code */
    /* after EREMOTE: the same call may succeed when it is made again after so many milliseconds (0: the server named no
     * time); -1: it will not, for all that is known */
    int32_t retry_ms;
    char msg[484]; /* one line, NUL-terminated: the thing, the value, what to do */
} quern_error;

/* The word for programs, which stays what it is from version to version (docs/errors.md): err->code, or the one of
 * its status ("not_found"). Static, never NULL. */
QUERN_API const char *quern_error_code(const quern_error *err);

/* Borrowed bytes, usually UTF-8; no terminator needed; ptr may be NULL when len is 0. */
typedef struct quern_str {
    const char *ptr;
    size_t len;
} quern_str;

/* Zeroes an options struct and sets its size: zero is the default of every field. */
#define QUERN_INIT(p) (memset((p), 0, sizeof *(p)), (void)((p)->struct_size = sizeof *(p)))

/* The name of a code ("EFORMAT") and its text; static strings, never NULL. */
QUERN_API const char *quern_status_name(int status);
QUERN_API const char *quern_status_text(int status);

/* 0x00MMmmpp of the library that is loaded, and the same as "0.1.0". */
QUERN_API uint32_t quern_version(void);
QUERN_API const char *quern_version_string(void);

/* A NUL-terminated string as a quern_str; NULL gives the empty one. */
static inline quern_str quern_str_of(const char *text)
{
    quern_str s;
    s.ptr = text;
    s.len = text ? strlen(text) : 0;
    return s;
}

/*
 * Memory. One hook for the whole process, set before any other call of the library (EBUSY later);
 * NULL restores malloc, realloc and free. Each function may return NULL; sizes are never 0.
 * Strings and arrays that the library hands to the caller are freed with quern_free.
 */
typedef struct quern_allocator {
    void *(*alloc)(size_t size, void *ud);
    void *(*resize)(void *p, size_t size, void *ud); /* p is never NULL; on NULL p stays valid */
    void (*release)(void *p, void *ud);              /* p is never NULL */
    void *ud;
} quern_allocator;
QUERN_API int quern_set_allocator(const quern_allocator *allocator, quern_error *err);
QUERN_API void quern_free(void *p);

/*
 * Log. Lines go to one callback, from any thread, complete and without a newline; no text of a
 * user's document is ever in one. NULL (the default) drops them. Set it before other calls.
 */
enum quern_log_level { QUERN_LOG_ERROR, QUERN_LOG_WARN, QUERN_LOG_INFO, QUERN_LOG_DEBUG };
typedef struct quern_log_line {
    size_t struct_size;
    int level;
    const char *component, *message; /* message: one line, names the item too */
    const char *source, *key;        /* the item that failed; NULL when the line is about none */
    int code; /* why it failed (QUERN_EFORMAT, …); 0 when it is about none */
} quern_log_line;
typedef void (*quern_log_fn)(const quern_log_line *line, void *ud);
QUERN_API void quern_set_log(quern_log_fn fn, int level, void *ud);

/*
 * Cancellation. A flag that any thread or a signal handler may raise (quern_cancel_raise is
 * async-signal-safe); long calls take it in their options, look at it at every layer and return
 * QUERN_ECANCELLED within a second, with finished work saved. It must outlive those calls.
 */
typedef struct quern_cancel quern_cancel;
QUERN_API int quern_cancel_new(quern_cancel **out, quern_error *err);
QUERN_API void quern_cancel_raise(quern_cancel *c);
QUERN_API int quern_cancel_raised(const quern_cancel *c); /* NULL: never */
QUERN_API void quern_cancel_free(quern_cancel *c);

/* Instruction sets. "scalar,avx2,avx512": the levels that quern may use, in any order (the ABI
 * floor "scalar" is always there); NULL lifts the limit. EINVAL names an unknown level. Models
 * opened afterwards obey it. The best level of this machine within the limit is the second. */
QUERN_API int quern_cpu_limit(const char *levels, quern_error *err);
QUERN_API const char *quern_cpu_level(void);
/* One line for humans: vendor string, levels found, cores allowed. Static after the first call. */
QUERN_API const char *quern_cpu_describe(void);
/* For humans too: the arithmetic that a model opened now would use, class by class, and why not a better one:
 * "fp32 and fp16 avx512, int8 and int4 avx512vnni, bf16 avx512bf16; not amx: the processor has no AMX (tile, int8, bf16)". 512 bytes hold it. */
QUERN_API void quern_kernels_describe(char *out, size_t size);

#ifdef __cplusplus
}
#endif
#endif
