/*
 * json.h — a pull reader for the JSON of model files: no tree, no allocation but one scratch for
 * strings, depth and size bounded, hostile input expected. jansson reads everything else (a user's
 * rows and documents), behind quern__json_scan, because it bounds neither depth nor memory itself.
 *
 * Use:  quern__json j; quern__json_init(&j, text, len, "config.json");
 *       rc = quern__json_enter_object(&j, err);
 *       while ((rc = quern__json_next_key(&j, &key, err)) == 1) { if (key is …) quern__json_u64(…); else quern__json_skip(…) }
 *       quern__json_end(&j, err);   // nothing but white space may follow
 * Calls that iterate return 1 while there is an element, 0 at the end, negative on an error; all others
 * QUERN_OK or negative. Every error is EFORMAT with the byte offset, and names the file.
 * RFC 8259 strictly: no comments, no trailing commas, UTF-8 checked, lone surrogates refused, depth <= 64.
 */
#ifndef QUERN_BASE_JSON_H
#define QUERN_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

enum { QUERN__JSON_DEPTH = 64 };

typedef struct quern__json {
    const char *text, *name; /* borrowed; name: what errors call the file */
    size_t len, at;
    uint32_t depth;
    uint8_t first[QUERN__JSON_DEPTH]; /* per level: no element seen yet */
    char close[QUERN__JSON_DEPTH];    /* per level: '}' or ']' */
    quern__buf scratch;               /* decoded strings that had escapes */
} quern__json;

enum quern__json_kind {
    QUERN__JSON_END,
    QUERN__JSON_OBJECT,
    QUERN__JSON_ARRAY,
    QUERN__JSON_STRING,
    QUERN__JSON_NUMBER,
    QUERN__JSON_BOOL,
    QUERN__JSON_NULL,
    QUERN__JSON_BAD
};

void quern__json_init(quern__json *j, const char *text, size_t len, const char *name);
void quern__json_dispose(quern__json *j);
int quern__json_peek(quern__json *j); /* kind of the next value, by its first byte */
int quern__json_enter_object(quern__json *j, quern_error *err);
int quern__json_next_key(
    quern__json *j, quern_str *key,
    quern_error *err); /* key valid until the next call; duplicate keys are the caller's business */
int quern__json_enter_array(quern__json *j, quern_error *err);
int quern__json_next_item(quern__json *j, quern_error *err);
/* The decoded string: borrowed from the text when it had no escape, from scratch otherwise (valid
 * until the next string or key is read). */
int quern__json_string(quern__json *j, quern_str *out, quern_error *err);
int quern__json_i64(quern__json *j, int64_t *out,
                    quern_error *err); /* integral and in range, or EFORMAT */
int quern__json_u64(quern__json *j, uint64_t *out, quern_error *err);
int quern__json_double(quern__json *j, double *out,
                       quern_error *err); /* locale-independent; finite */
int quern__json_bool(quern__json *j, bool *out, quern_error *err);
int quern__json_null(quern__json *j, quern_error *err);
int quern__json_skip(quern__json *j, quern_error *err); /* one whole value, validated */
int quern__json_end(quern__json *j, quern_error *err);
/* An EFORMAT error at the reader's place, "NAME: … at byte N". */
int quern__json_fail(quern__json *j, quern_error *err, const char *fmt, ...) QUERN_PRINTF(3, 4);
#if defined(__clang_analyzer__) && !defined(QUERN__DEFINES_FAIL) /* see error.h */
#define quern__json_fail(j, err, ...) (quern__json_fail(j, err, __VA_ARGS__), QUERN_EFORMAT)
#endif
static inline bool quern__str_is(quern_str s, const char *literal)
{
    size_t n = strlen(literal);
    return s.len == n && (n == 0 || memcmp(s.ptr, literal, n) == 0);
}

/* Before jansson: refuses text over max_size bytes, nested deeper than max_depth, or with more than
 * max_values values — the three things jansson would swallow memory over. Does not validate. */
int quern__json_scan(const char *text, size_t len, size_t max_size, uint32_t max_depth,
                     size_t max_values, quern_error *err);

/* ---- writing: into a quern__buf, commas by the writer ---- */
typedef struct quern__jsonw {
    quern__buf *out; /* borrowed */
    uint32_t depth;
    uint8_t comma[QUERN__JSON_DEPTH];
    bool after_key;
} quern__jsonw;
void quern__jsonw_init(quern__jsonw *w, quern__buf *out);
void quern__jsonw_object(quern__jsonw *w);
void quern__jsonw_end_object(quern__jsonw *w);
void quern__jsonw_array(quern__jsonw *w);
void quern__jsonw_end_array(quern__jsonw *w);
void quern__jsonw_key(quern__jsonw *w, const char *key);
void quern__jsonw_key_str(quern__jsonw *w, quern_str key); /* as the next says */
void quern__jsonw_str(quern__jsonw *w, quern_str s); /* bytes that are not UTF-8 become U+FFFD */
void quern__jsonw_cstr(quern__jsonw *w, const char *s);
void quern__jsonw_i64(quern__jsonw *w, int64_t v);
void quern__jsonw_u64(quern__jsonw *w, uint64_t v);
void quern__jsonw_bool(quern__jsonw *w, bool v);
void quern__jsonw_null(quern__jsonw *w);
void quern__jsonw_float(
    quern__jsonw *w,
    float v); /* shortest of %.6g–%.9g that reads back as the same float; not locale-dependent */
void quern__jsonw_double(quern__jsonw *w, double v);                  /* likewise up to %.17g */
void quern__jsonw_raw(quern__jsonw *w, const char *json, size_t len); /* one value, trusted */
/* A key and its value. */
void quern__jsonw_put_str(quern__jsonw *w, const char *key, quern_str s);
void quern__jsonw_put_cstr(quern__jsonw *w, const char *key, const char *s);
void quern__jsonw_put_i64(quern__jsonw *w, const char *key, int64_t v);
void quern__jsonw_put_u64(quern__jsonw *w, const char *key, uint64_t v);
void quern__jsonw_put_bool(quern__jsonw *w, const char *key, bool v);

#endif
