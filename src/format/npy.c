/*
 * npy.c — see npy.h. The header is the text of a Python dictionary. Of Python's many ways to write one, those are read
 * that numpy and we write: the three members in any order, either quote, blanks between tokens, a comma before the brace or
 * not. Anything else is refused: an array of another kind is no array of vectors.
 */
#include "format/npy.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char MAGIC[] = "\x93NUMPY\x01"; /* and the minor version 0 */

void quern__npy_write(const quern__npy *a, unsigned char header[QUERN__NPY_HEADER])
{
    char text[QUERN__NPY_HEADER];
    int n = snprintf(text, sizeof text,
                     "{'descr': '<f%u', 'fortran_order': False, 'shape': (%" PRIu64 ", %u), }",
                     a->width, a->rows, a->dimensions);
    memset(header, ' ', QUERN__NPY_HEADER);
    memcpy(header, MAGIC, sizeof MAGIC);
    header[8] = QUERN__NPY_HEADER - QUERN__NPY_PREFIX;
    header[9] = 0;
    memcpy(header + QUERN__NPY_PREFIX, text, (size_t)n);
    header[QUERN__NPY_HEADER - 1] = '\n';
}

int quern__npy_length(const unsigned char prefix[QUERN__NPY_PREFIX], size_t *length,
                      quern_error *err)
{
    if (memcmp(prefix, MAGIC, 6) != 0)
        return quern__fail(err, QUERN_EFORMAT, 0, "not an npy file");
    if (prefix[6] != 1 || prefix[7] != 0)
        return quern__fail(err, QUERN_EFORMAT, 6, "npy format %u.%u: only 1.0 is read", prefix[6],
                           prefix[7]);
    *length = QUERN__NPY_PREFIX + (size_t)prefix[8] + 256 * (size_t)prefix[9];
    return QUERN_OK;
}

typedef struct scanner {
    const char *at, *end;
} scanner;

static void skip_blanks(scanner *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n'))
        s->at++;
}

static bool take(scanner *s, char c)
{
    skip_blanks(s);
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

/* What stands between two quotes of a kind. */
static bool take_text(scanner *s, quern_str *out)
{
    char quote = take(s, '\'') ? '\'' : '"';
    if (quote == '"' && !take(s, '"'))
        return false;
    const char *close = memchr(s->at, quote, (size_t)(s->end - s->at));
    if (!close)
        return false;
    *out = (quern_str){s->at, (size_t)(close - s->at)};
    s->at = close + 1;
    return true;
}

static bool take_word(scanner *s, const char *word)
{
    size_t n = strlen(word);
    if (!take(s, word[0]))
        return false;
    if ((size_t)(s->end - s->at) < n - 1 || memcmp(s->at, word + 1, n - 1) != 0)
        return false;
    s->at += n - 1;
    return true;
}

static bool take_number(scanner *s, uint64_t most, uint64_t *out)
{
    uint64_t n = 0;
    const char *first;
    skip_blanks(s);
    for (first = s->at; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++) {
        uint64_t digit = (uint64_t)(*s->at - '0');
        if (n > (most - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *out = n;
    return s->at > first && (*first != '0' || s->at == first + 1);
}

static bool same(quern_str s, const char *literal)
{
    return s.len == strlen(literal) && memcmp(s.ptr, literal, s.len) == 0;
}

static bool take_member(scanner *s, quern__npy *out, unsigned *seen)
{
    enum { DESCR = 1, ORDER = 2, SHAPE = 4 };
    quern_str name, type;
    uint64_t dimensions = 0;
    if (!take_text(s, &name) || !take(s, ':'))
        return false;
    unsigned which = same(name, "descr")           ? DESCR
                     : same(name, "fortran_order") ? ORDER
                     : same(name, "shape")         ? SHAPE
                                                   : 0;
    if (!which || (*seen & which))
        return false;
    *seen |= which;
    if (which == DESCR) {
        if (!take_text(s, &type))
            return false;
        out->width = same(type, "<f2") ? 2 : same(type, "<f4") ? 4 : 0;
        return out->width != 0;
    }
    if (which == ORDER)
        return take_word(s, "False");
    bool good = take(s, '(') && take_number(s, INT64_MAX, &out->rows) && take(s, ',') &&
                take_number(s, UINT32_MAX, &dimensions) && (take(s, ',') || true) && take(s, ')');
    out->dimensions = (uint32_t)dimensions;
    return good;
}

int quern__npy_read(const unsigned char *header, size_t length, quern__npy *out, quern_error *err)
{
    size_t said = 0;
    memset(out, 0, sizeof *out);
    if (length < QUERN__NPY_PREFIX)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)length, "not an npy file");
    int rc = quern__npy_length(header, &said, err);
    if (rc == QUERN_OK && said != length)
        rc = quern__fail(err, QUERN_EFORMAT, 8, "its npy header is cut off");
    if (rc != QUERN_OK)
        return rc;
    const char *text = (const char *)header;
    scanner s = {text + QUERN__NPY_PREFIX, text + length};
    unsigned seen = 0;
    bool good = take(&s, '{');
    while (good && !take(&s, '}'))
        good = take_member(&s, out, &seen) && (take(&s, ',') || (s.at < s.end && *s.at == '}'));
    skip_blanks(&s);
    if (!good || seen != 7 || s.at != s.end || header[length - 1] != '\n')
        return quern__fail(err, QUERN_EFORMAT, (int64_t)(s.at - text),
                           "its npy header is not that of rows of f16 or f32 (byte %zu)",
                           (size_t)(s.at - text));
    return QUERN_OK;
}
