/*
 * json.c — the pull reader. Strict RFC 8259: what it passes over is validated like what it hands
 * out. Nesting is an array of 64 levels in the struct, never recursion.
 */
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/utf8_step.h"

void quern__json_init(quern__json *j, const char *text, size_t len, const char *name)
{
    memset(j, 0, sizeof *j);
    j->text = text;
    j->name = name;
    j->len = len;
    quern__buf_init(&j->scratch, len + 64); /* no decoded string is longer than its source */
}

void quern__json_dispose(quern__json *j)
{
    quern__buf_dispose(&j->scratch);
}

int(quern__json_fail)(quern__json *j, quern_error *err, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return quern__fail(err, QUERN_EFORMAT, (int64_t)j->at, "%s: %s at byte %zu", j->name, text,
                       j->at);
}

static void skip_space(quern__json *j)
{
    while (j->at < j->len) {
        char c = j->text[j->at];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
            return;
        j->at++;
    }
}

/* The byte after white space, 0 at the end (a NUL byte in the text is no token either). */
static char look(quern__json *j)
{
    skip_space(j);
    return j->at < j->len ? j->text[j->at] : '\0';
}

int quern__json_peek(quern__json *j)
{
    char c = look(j);
    if (j->at == j->len)
        return QUERN__JSON_END;
    if (c == '{')
        return QUERN__JSON_OBJECT;
    if (c == '[')
        return QUERN__JSON_ARRAY;
    if (c == '"')
        return QUERN__JSON_STRING;
    if (c == '-' || (c >= '0' && c <= '9'))
        return QUERN__JSON_NUMBER;
    if (c == 't' || c == 'f')
        return QUERN__JSON_BOOL;
    return c == 'n' ? QUERN__JSON_NULL : QUERN__JSON_BAD;
}

static int enter(quern__json *j, char open, char close, const char *what, quern_error *err)
{
    if (look(j) != open)
        return quern__json_fail(j, err, "%s expected", what);
    if (j->depth == QUERN__JSON_DEPTH)
        return quern__json_fail(j, err, "nested deeper than %d levels", QUERN__JSON_DEPTH);
    j->first[j->depth] = 1;
    j->close[j->depth] = close;
    j->depth++;
    j->at++;
    return QUERN_OK;
}

int quern__json_enter_object(quern__json *j, quern_error *err)
{
    return enter(j, '{', '}', "an object", err);
}

int quern__json_enter_array(quern__json *j, quern_error *err)
{
    return enter(j, '[', ']', "an array", err);
}

/* Steps to the next element of the innermost container: 1, or 0 when it was closed. */
static int next(quern__json *j, char close, quern_error *err)
{
    if (!j->depth || j->close[j->depth - 1] != close)
        return quern__fail(err, QUERN_EINTERNAL, 0, "%s: reader used out of step", j->name);
    char c = look(j);
    if (c == close) {
        j->at++;
        j->depth--;
        return 0;
    }
    if (j->first[j->depth - 1]) {
        j->first[j->depth - 1] = 0;
        return 1;
    }
    if (c != ',')
        return quern__json_fail(j, err, "',' or '%c' expected", close);
    j->at++;
    if (look(j) == close)
        return quern__json_fail(j, err, "a comma with nothing after it");
    return 1;
}

int quern__json_next_key(quern__json *j, quern_str *key, quern_error *err)
{
    int rc = next(j, '}', err);
    if (rc != 1)
        return rc;
    if (look(j) != '"')
        return quern__json_fail(j, err, "a key in quotes expected");
    rc = quern__json_string(j, key, err);
    if (rc != QUERN_OK)
        return rc;
    if (look(j) != ':')
        return quern__json_fail(j, err, "':' expected");
    j->at++;
    return 1;
}

int quern__json_next_item(quern__json *j, quern_error *err)
{
    return next(j, ']', err);
}

/* ---- strings ---- */

static bool hex4(const char *s, uint32_t *out)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        char c = s[i];
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (uint32_t)(c - 'a') + 10;
        else if (c >= 'A' && c <= 'F')
            digit = (uint32_t)(c - 'A') + 10;
        else
            return false;
        v = v << 4 | digit;
    }
    *out = v;
    return true;
}

/* At "\uXXXX", with the second half of a surrogate pair if it is the first. */
static int unicode_escape(quern__json *j, quern_error *err)
{
    uint32_t cp, low;
    if (j->len - j->at < 6 || !hex4(j->text + j->at + 2, &cp))
        return quern__json_fail(j, err, "\\u without four hex digits");
    if (cp >= 0xD800 && cp <= 0xDFFF) {
        const char *pair = j->text + j->at + 6;
        if (cp >= 0xDC00 || j->len - j->at < 12 || pair[0] != '\\' || pair[1] != 'u' ||
            !hex4(pair + 2, &low) || low < 0xDC00 || low > 0xDFFF)
            return quern__json_fail(j, err, "a lone surrogate");
        cp = 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
        j->at += 6;
    }
    j->at += 6;
    char encoded[4];
    quern__buf_append(&j->scratch, encoded, quern__utf8_encode(encoded, cp));
    return QUERN_OK;
}

static int escape(quern__json *j, quern_error *err)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = j->at + 1 < j->len ? j->text[j->at + 1] : '\0';
    if (c == 'u')
        return unicode_escape(j, err);
    const char *found = c ? strchr(from, c) : NULL;
    if (!found)
        return quern__json_fail(j, err, "an unknown escape");
    quern__buf_putc(&j->scratch, to[found - from]);
    j->at += 2;
    return QUERN_OK;
}

/* Moves over plain characters up to a quote, a backslash or the end. */
static int plain_run(quern__json *j, quern_error *err)
{
    while (j->at < j->len) {
        unsigned char c = (unsigned char)j->text[j->at];
        if (c == '"' || c == '\\')
            return QUERN_OK;
        if (c < 0x20)
            return quern__json_fail(j, err, "a control character in a string");
        if (c < 0x80) {
            j->at++;
            continue;
        }
        uint32_t cp;
        uint32_t n = quern__utf8_step((const unsigned char *)j->text + j->at, j->len - j->at, &cp);
        if (cp == QUERN__UTF8_BAD)
            return quern__json_fail(j, err, "invalid UTF-8");
        j->at += n;
    }
    return quern__json_fail(j, err, "a string without an end");
}

int quern__json_string(quern__json *j, quern_str *out, quern_error *err)
{
    if (look(j) != '"')
        return quern__json_fail(j, err, "a string expected");
    size_t start = ++j->at;
    bool copied = false;
    for (;;) {
        int rc = plain_run(j, err);
        if (rc != QUERN_OK)
            return rc;
        if (j->text[j->at] == '"')
            break;
        if (!copied)
            quern__buf_clear(&j->scratch);
        copied = true;
        quern__buf_append(&j->scratch, j->text + start, j->at - start);
        rc = escape(j, err);
        if (rc != QUERN_OK)
            return rc;
        start = j->at;
    }
    *out = (quern_str){j->text + start, j->at - start};
    j->at++;
    if (!copied)
        return QUERN_OK;
    quern__buf_append(&j->scratch, out->ptr, out->len);
    *out = (quern_str){j->scratch.data, j->scratch.len};
    return quern__buf_ok(&j->scratch, j->name, err);
}

/* ---- numbers and words ---- */

static size_t digits(const quern__json *j, size_t at)
{
    while (at < j->len && j->text[at] >= '0' && j->text[at] <= '9')
        at++;
    return at;
}

/* Finds the end of the number at the reader's place without moving it. */
static int number_end(quern__json *j, size_t *end, bool *integral, quern_error *err)
{
    if (quern__json_peek(j) != QUERN__JSON_NUMBER)
        return quern__json_fail(j, err, "a number expected");
    size_t at = j->at + (j->text[j->at] == '-'), start = at;
    at = digits(j, at);
    if (at == start || (at > start + 1 && j->text[start] == '0'))
        return quern__json_fail(j, err, "a malformed number");
    *integral = true;
    if (at < j->len && j->text[at] == '.') {
        *integral = false;
        start = ++at;
        at = digits(j, at);
        if (at == start)
            return quern__json_fail(j, err, "a malformed number");
    }
    if (at < j->len && (j->text[at] == 'e' || j->text[at] == 'E')) {
        *integral = false;
        at++;
        if (at < j->len && (j->text[at] == '+' || j->text[at] == '-'))
            at++;
        start = at;
        at = digits(j, at);
        if (at == start)
            return quern__json_fail(j, err, "a malformed number");
    }
    *end = at;
    return QUERN_OK;
}

static int integer(quern__json *j, uint64_t *magnitude, bool *negative, quern_error *err)
{
    size_t end;
    bool integral;
    int rc = number_end(j, &end, &integral, err);
    if (rc != QUERN_OK)
        return rc;
    if (!integral)
        return quern__json_fail(j, err, "a whole number expected");
    uint64_t v = 0;
    *negative = j->text[j->at] == '-';
    for (size_t at = j->at + *negative; at < end; at++) {
        uint64_t digit = (uint64_t)(j->text[at] - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return quern__json_fail(j, err, "a number out of range");
        v = v * 10 + digit;
    }
    *magnitude = v;
    j->at = end;
    return QUERN_OK;
}

int quern__json_i64(quern__json *j, int64_t *out, quern_error *err)
{
    size_t start = j->at;
    uint64_t v;
    bool negative;
    int rc = integer(j, &v, &negative, err);
    if (rc != QUERN_OK)
        return rc;
    if (v > (uint64_t)INT64_MAX + negative) {
        j->at = start;
        return quern__json_fail(j, err, "a number out of range");
    }
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return QUERN_OK;
}

int quern__json_u64(quern__json *j, uint64_t *out, quern_error *err)
{
    size_t start = j->at;
    uint64_t v;
    bool negative;
    int rc = integer(j, &v, &negative, err);
    if (rc != QUERN_OK)
        return rc;
    if (negative && v) {
        j->at = start;
        return quern__json_fail(j, err, "a number that is not negative expected");
    }
    *out = v;
    return QUERN_OK;
}

int quern__json_double(quern__json *j, double *out, quern_error *err)
{
    size_t end;
    bool integral;
    int rc = number_end(j, &end, &integral, err);
    if (rc != QUERN_OK)
        return rc;
    /* strtod wants the locale's decimal point: take it from what printf writes between two digits. */
    char probe[32], fixed[128];
    snprintf(probe, sizeof probe, "%.1f", 0.5);
    size_t n = end - j->at, point = strlen(probe) - 2;
    char *copy = fixed;
    quern__buf large;
    quern__buf_init(&large, n + sizeof probe + 1);
    if (n + sizeof probe >= sizeof fixed) {
        copy = quern__buf_reserve(&large, n + sizeof probe);
        if (!copy)
            return quern__fail_memory(err, n + sizeof probe);
    }
    size_t put = 0;
    for (size_t i = 0; i < n; i++) {
        char c = j->text[j->at + i];
        if (c == '.') {
            memcpy(copy + put, probe + 1, point);
            put += point;
        } else {
            copy[put++] = c;
        }
    }
    copy[put] = '\0';
    double v = strtod(copy, NULL);
    quern__buf_dispose(&large);
    if (v - v != 0.0)
        return quern__json_fail(j, err, "a number out of range");
    *out = v;
    j->at = end;
    return QUERN_OK;
}

static bool word(quern__json *j, const char *w)
{
    size_t n = strlen(w);
    skip_space(j);
    if (j->len - j->at < n || memcmp(j->text + j->at, w, n) != 0)
        return false;
    j->at += n;
    return true;
}

int quern__json_bool(quern__json *j, bool *out, quern_error *err)
{
    if (word(j, "true"))
        *out = true;
    else if (word(j, "false"))
        *out = false;
    else
        return quern__json_fail(j, err, "true or false expected");
    return QUERN_OK;
}

int quern__json_null(quern__json *j, quern_error *err)
{
    return word(j, "null") ? QUERN_OK : quern__json_fail(j, err, "null expected");
}

/* One value that holds no other, or the opening of one that does. */
static int skip_one(quern__json *j, quern_error *err)
{
    quern_str s;
    size_t end;
    bool flag;
    int rc;
    switch (quern__json_peek(j)) {
    case QUERN__JSON_OBJECT:
        return quern__json_enter_object(j, err);
    case QUERN__JSON_ARRAY:
        return quern__json_enter_array(j, err);
    case QUERN__JSON_STRING:
        return quern__json_string(j, &s, err);
    case QUERN__JSON_NUMBER:
        rc = number_end(j, &end, &flag, err);
        if (rc == QUERN_OK)
            j->at = end;
        return rc;
    case QUERN__JSON_BOOL:
        return quern__json_bool(j, &flag, err);
    case QUERN__JSON_NULL:
        return quern__json_null(j, err);
    default:
        return quern__json_fail(j, err, "a value expected");
    }
}

int quern__json_skip(quern__json *j, quern_error *err)
{
    uint32_t base = j->depth;
    int rc = skip_one(j, err);
    while (rc >= 0 && j->depth > base) {
        quern_str key;
        rc = j->close[j->depth - 1] == '}' ? quern__json_next_key(j, &key, err)
                                           : quern__json_next_item(j, err);
        if (rc == 1)
            rc = skip_one(j, err);
    }
    return rc < 0 ? rc : QUERN_OK;
}

int quern__json_end(quern__json *j, quern_error *err)
{
    skip_space(j);
    if (j->depth)
        return quern__fail(err, QUERN_EINTERNAL, 0, "%s: reader used out of step", j->name);
    return j->at == j->len ? QUERN_OK : quern__json_fail(j, err, "something after the end");
}
