/*
 * template.c — parse and render of the text template. One pass over the bytes makes a flat array of parts;
 * literals are unescaped into one block, names into another place of the same arena, so that a parsed template is
 * immutable and may be shared. A general expression language was rejected: a template is in the fingerprint,
 * so each new rule here is a promise for ever.
 * Invariant: parts[n_parts - 1] is a column; `tail` is the literal behind it.
 */
#include "text/template.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "text/utf8.h"

typedef struct part {
    quern_str literal; /* goes before the column */
    size_t column;     /* index into columns */
} part;

struct quern__template {
    quern__arena arena;
    part *parts;
    size_t n_parts;
    const char **columns;
    size_t n_columns;
    quern_str tail;
};

/* What the parser knows while it walks. */
typedef struct parser {
    const char *text;
    size_t len, at;
    quern__template *t;
    quern__buf literal;
} parser;

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_separator(char c)
{
    return is_blank(c) || (c && strchr(".,;:|/-", c));
}

/* Index of the name among the columns, added when it is new; SIZE_MAX when memory is out. */
static size_t column_index(quern__template *t, const char *name, size_t len)
{
    for (size_t i = 0; i < t->n_columns; i++)
        if (strlen(t->columns[i]) == len && memcmp(t->columns[i], name, len) == 0)
            return i;
    char *copy = quern__arena_copy(&t->arena, name, len);
    if (!copy)
        return SIZE_MAX;
    t->columns[t->n_columns] = copy;
    return t->n_columns++;
}

/* Moves the collected literal into the arena. */
static int take_literal(parser *p, quern_str *out, quern_error *err)
{
    int rc = quern__buf_ok(&p->literal, "template", err);
    if (rc)
        return rc;
    char *copy =
        quern__arena_copy(&p->t->arena, p->literal.len ? p->literal.data : "", p->literal.len);
    if (!copy)
        return quern__fail_memory(err, p->literal.len);
    out->ptr = copy;
    out->len = p->literal.len;
    quern__buf_clear(&p->literal);
    return QUERN_OK;
}

/* At '{': reads "{name}". */
static int parse_column(parser *p, quern_error *err)
{
    quern__template *t = p->t;
    size_t open = p->at, start = open + 1, end = start;
    while (end < p->len && p->text[end] != '}' && p->text[end] != '{')
        end++;
    if (end == p->len || p->text[end] == '{')
        return quern__fail(err, QUERN_EINVAL, (int64_t)open,
                           "text template: '{' at byte %zu is not closed; write '{{' for a brace",
                           open);
    size_t len = end - start;
    if (len == 0)
        return quern__fail(err, QUERN_EINVAL, (int64_t)open,
                           "text template: '{}' at byte %zu names no column", open);
    if (len > QUERN__TEMPLATE_NAME)
        return quern__fail(
            err, QUERN_EINVAL, (int64_t)open,
            "text template: column name of %zu bytes at byte %zu, at most %d are allowed", len,
            open, QUERN__TEMPLATE_NAME);
    if (memchr(p->text + start, '|', len))
        return quern__fail(err, QUERN_EINVAL, (int64_t)open,
                           "text template: '|' in the column name at byte %zu is reserved", open);
    if (t->n_parts == QUERN__TEMPLATE_FIELDS)
        return quern__fail(err, QUERN_EINVAL, (int64_t)open, "text template: more than %d columns",
                           QUERN__TEMPLATE_FIELDS);
    part *made = &t->parts[t->n_parts];
    int rc = take_literal(p, &made->literal, err);
    if (rc)
        return rc;
    made->column = column_index(t, p->text + start, len);
    if (made->column == SIZE_MAX)
        return quern__fail_memory(err, len);
    t->n_parts++;
    p->at = end + 1;
    return QUERN_OK;
}

static int parse_all(parser *p, quern_error *err)
{
    while (p->at < p->len) {
        char c = p->text[p->at];
        bool doubled = p->at + 1 < p->len && p->text[p->at + 1] == c;
        if ((c == '{' || c == '}') && doubled) {
            quern__buf_putc(&p->literal, c);
            p->at += 2;
        } else if (c == '{') {
            int rc = parse_column(p, err);
            if (rc)
                return rc;
        } else if (c == '}') {
            return quern__fail(
                err, QUERN_EINVAL, (int64_t)p->at,
                "text template: '}' at byte %zu closes nothing; write '}}' for a brace", p->at);
        } else {
            quern__buf_putc(&p->literal, c);
            p->at++;
        }
    }
    if (p->t->n_parts == 0)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "text template names no column; write one as {column}");
    return take_literal(p, &p->t->tail, err);
}

int quern__template_parse(quern__template **out, const char *text, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(text, err);
    size_t len = strlen(text);
    if (len > QUERN__TEMPLATE_BYTES)
        return quern__fail(err, QUERN_EINVAL, (int64_t)len,
                           "text template of %zu bytes, at most %d are allowed", len,
                           QUERN__TEMPLATE_BYTES);
    size_t bad = quern__utf8_check(text, len);
    if (bad != len)
        return quern__fail(err, QUERN_EINVAL, (int64_t)bad,
                           "text template is not UTF-8 at byte %zu", bad);
    quern__template *t = quern__calloc(1, sizeof *t);
    if (!t)
        return quern__fail_memory(err, sizeof *t);
    size_t fields = 0;
    for (size_t i = 0; i < len && fields < QUERN__TEMPLATE_FIELDS; i++)
        fields += text[i] == '{';
    quern__arena_init(&t->arena, 0);
    parser p = {.text = text, .len = len, .t = t};
    quern__buf_init(&p.literal, QUERN__TEMPLATE_BYTES + 1);
    int rc = QUERN_OK;
    t->parts = quern__arena_alloc(&t->arena, (fields + 1) * sizeof *t->parts);
    t->columns = quern__arena_alloc(&t->arena, (fields + 1) * sizeof *t->columns);
    if (!t->parts || !t->columns)
        rc = quern__fail_memory(err, (fields + 1) * sizeof *t->parts);
    if (!rc)
        rc = parse_all(&p, err);
    quern__buf_dispose(&p.literal);
    if (rc)
        quern__template_free(t);
    else
        *out = t;
    return rc;
}

void quern__template_free(quern__template *t)
{
    if (!t)
        return;
    quern__arena_dispose(&t->arena);
    quern__free(t);
}

size_t quern__template_count(const quern__template *t)
{
    return t->n_columns;
}

const char *quern__template_column(const quern__template *t, size_t i)
{
    return i < t->n_columns ? t->columns[i] : NULL;
}

const char *const *quern__template_columns(const quern__template *t)
{
    return t->columns;
}

int quern__template_check(const quern__template *t, const char *const *existing, size_t n,
                          quern_error *err)
{
    for (size_t i = 0; i < t->n_columns; i++) {
        size_t at = 0;
        while (at < n && strcmp(existing[at], t->columns[i]) != 0)
            at++;
        if (at < n)
            continue;
        char list[300];
        size_t used = 0;
        list[0] = '\0';
        for (size_t k = 0; k < n && used < sizeof list - 1; k++) {
            int wrote =
                snprintf(list + used, sizeof list - used, "%s%s", k ? ", " : "", existing[k]);
            used += wrote > 0 ? (size_t)wrote : 0;
        }
        return quern__fail(err, QUERN_ENOTFOUND, 0,
                           "text template: there is no column '%s'; there are: %s", t->columns[i],
                           list);
    }
    return QUERN_OK;
}

static bool vanishes(quern_str v)
{
    for (size_t i = 0; i < v.len; i++)
        if (!is_blank(v.ptr[i]))
            return false;
    return true;
}

int quern__template_render(const quern__template *t, const quern_str *values, quern__buf *out,
                           quern_error *err)
{
    size_t begin = out->len;
    for (size_t i = 0; i < t->n_parts; i++) {
        const part *p = &t->parts[i];
        if (vanishes(values[p->column]))
            continue;
        quern_str literal = p->literal;
        if (i > 0 && out->len == begin)
            while (literal.len && is_separator(*literal.ptr)) {
                literal.ptr++;
                literal.len--;
            }
        quern__buf_append(out, literal.ptr, literal.len);
        quern__buf_append(out, values[p->column].ptr, values[p->column].len);
        if (i + 1 == t->n_parts)
            quern__buf_append(out, t->tail.ptr, t->tail.len);
    }
    return quern__buf_ok(out, "the rendered text", err);
}
