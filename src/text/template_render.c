/*
 * template_render.c — a template and the values of a row make a text.
 *
 * A value that lies in JSON is found by the pull reader, one pass for each step of its path, without a tree: memory is
 * the value itself, and depth is bounded by the reader. A tree kept for all paths into one column was rejected: it
 * costs ten times the column's bytes, and rows have two or three paths.
 */
#include <stdint.h>
#include <string.h>

#include "base/json.h"
#include "text/template_parts.h"

/* Scratch of one rendering: where decoded values lie. */
typedef struct renderer {
    const quern__template *t;
    const quern_str *values;
    quern__buf value, other;
} renderer;

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_separator(char c)
{
    return is_blank(c) || (c && strchr(".,;:|/-", c));
}

static bool vanishes(quern_str v)
{
    for (size_t i = 0; i < v.len; i++)
        if (!is_blank(v.ptr[i]))
            return false;
    return true;
}

/* ---- values in JSON ---- */

/* Skips one value; its text is [*from, *from + *len). */
static bool skip_value(quern__json *j, size_t *from, size_t *len)
{
    quern__json_peek(j); /* passes over white space */
    *from = j->at;
    if (quern__json_skip(j, NULL) != QUERN_OK)
        return false;
    *len = j->at - *from;
    return true;
}

/* The number that a step is as an index, SIZE_MAX if it is none. */
static size_t step_index(const char *step)
{
    size_t n = 0;
    if (!*step || strlen(step) > 9)
        return SIZE_MAX;
    for (; *step; step++) {
        if (*step < '0' || *step > '9')
            return SIZE_MAX;
        n = n * 10 + (size_t)(*step - '0');
    }
    return n;
}

/* The value of one member or element of `json`, all of which is checked; {NULL, 0} when there is none. */
static quern_str take_step(quern_str json, const char *step)
{
    quern__json j;
    quern_str key, found = {NULL, 0};
    quern__json_init(&j, json.ptr, json.len, "a column");
    int kind = quern__json_peek(&j), more = 0;
    bool good = true;
    if (kind == QUERN__JSON_OBJECT) {
        more = quern__json_enter_object(&j, NULL) == QUERN_OK ? 1 : -1;
        while (more == 1 && good && (more = quern__json_next_key(&j, &key, NULL)) == 1) {
            bool here = quern__str_is(key, step);
            size_t from = 0, len = 0;
            good = skip_value(&j, &from, &len);
            if (good && here)
                found = (quern_str){json.ptr + from, len};
        }
    } else if (kind == QUERN__JSON_ARRAY) {
        size_t want = step_index(step);
        more = quern__json_enter_array(&j, NULL) == QUERN_OK ? 1 : -1;
        for (size_t i = 0; more == 1 && good && (more = quern__json_next_item(&j, NULL)) == 1;
             i++) {
            size_t from = 0, len = 0;
            good = skip_value(&j, &from, &len);
            if (good && i == want)
                found = (quern_str){json.ptr + from, len};
        }
    }
    good = good && more == 0 && found.ptr && quern__json_end(&j, NULL) == QUERN_OK;
    quern__json_dispose(&j);
    return good ? found : (quern_str){NULL, 0};
}

/* What a piece of JSON is as text, appended; nothing for null. */
static void put_value(quern_str json, quern__buf *out)
{
    quern__json j;
    quern_str s;
    quern__json_init(&j, json.ptr, json.len, "a column");
    int kind = quern__json_peek(&j);
    if (kind == QUERN__JSON_STRING && quern__json_string(&j, &s, NULL) == QUERN_OK)
        quern__buf_append(out, s.ptr, s.len);
    else if (kind != QUERN__JSON_STRING && kind != QUERN__JSON_NULL)
        quern__buf_append(out, json.ptr, json.len);
    quern__json_dispose(&j);
}

/* The elements of a JSON array into `out`; false when it is none, and then `out` is as it was. */
static bool put_joined(quern_str json, quern_str between, quern__buf *out)
{
    quern__json j;
    size_t begin = out->len;
    bool good = true;
    int more = -1;
    quern__json_init(&j, json.ptr, json.len, "a column");
    if (quern__json_peek(&j) == QUERN__JSON_ARRAY && quern__json_enter_array(&j, NULL) == QUERN_OK)
        more = 1;
    while (more == 1 && good && (more = quern__json_next_item(&j, NULL)) == 1) {
        size_t from = 0, len = 0, before = out->len;
        good = skip_value(&j, &from, &len);
        if (!good)
            break;
        if (before > begin)
            quern__buf_append(out, between.ptr, between.len);
        size_t start = out->len;
        put_value((quern_str){json.ptr + from, len}, out);
        if (!out->failed &&
            (out->len == start || vanishes((quern_str){out->data + start, out->len - start})))
            out->len = before;
    }
    good = good && more == 0 && quern__json_end(&j, NULL) == QUERN_OK;
    quern__json_dispose(&j);
    if (!good && !out->failed)
        out->len = begin;
    return good;
}

/* The value of one name: borrowed from the row, or made in `scratch`. */
static quern_str value_of(const renderer *r, size_t name, const quern__template_part *join,
                          quern__buf *scratch)
{
    const quern__template_name *n = &r->t->names[name];
    quern__buf_clear(scratch);
    quern_str v = n->as_column ? r->values[n->column] : (quern_str){NULL, 0};
    bool raw = false; /* v is a piece of JSON, not yet a text */
    if (n->as_path && vanishes(v)) {
        v = r->values[n->base_column];
        for (size_t i = 0; i < n->n_steps && v.len; i++)
            v = take_step(v, n->steps[i]);
        raw = true;
    }
    if (v.len == 0)
        return v;
    if (join && put_joined(v, join->join, scratch))
        return (quern_str){scratch->len ? scratch->data : "", scratch->len};
    if (!raw)
        return v;
    put_value(v, scratch);
    return (quern_str){scratch->len ? scratch->data : "", scratch->len};
}

/* The first alternative that is not empty. */
static quern_str part_value(renderer *r, const quern__template_part *p)
{
    quern_str v = {NULL, 0};
    for (size_t i = 0; i < p->count && vanishes(v) && !r->value.failed; i++)
        v = value_of(r, r->t->uses[p->first + i], p->joins ? p : NULL, &r->value);
    if (p->unless == SIZE_MAX || vanishes(v))
        return v;
    quern_str other = value_of(r, p->unless, p->joins ? p : NULL, &r->other);
    bool same = other.ptr && v.ptr && other.len == v.len && memcmp(other.ptr, v.ptr, v.len) == 0;
    return same ? (quern_str){NULL, 0} : v;
}

static void put_part(const quern__template *t, size_t i, quern_str value, size_t begin,
                     quern__buf *out)
{
    quern_str literal = t->parts[i].literal;
    if (i > 0 && out->len == begin)
        while (literal.len && is_separator(*literal.ptr)) {
            literal.ptr++;
            literal.len--;
        }
    quern__buf_append(out, literal.ptr, literal.len);
    quern__buf_append(out, value.ptr, value.len);
    if (i + 1 == t->n_parts)
        quern__buf_append(out, t->tail.ptr, t->tail.len);
}

int quern__template_render(const quern__template *t, const quern_str *values, quern__buf *out,
                           quern_error *err)
{
    size_t begin = out->len;
    renderer r = {.t = t, .values = values};
    quern__buf_init(&r.value, out->max);
    quern__buf_init(&r.other, out->max);
    int rc = QUERN_OK;
    for (size_t i = 0; i < t->n_parts && !rc; i++) {
        quern_str v = part_value(&r, &t->parts[i]);
        rc = quern__buf_ok(&r.value, "the rendered text", err);
        if (!rc)
            rc = quern__buf_ok(&r.other, "the rendered text", err);
        if (!rc && !vanishes(v))
            put_part(t, i, v, begin, out);
    }
    quern__buf_dispose(&r.value);
    quern__buf_dispose(&r.other);
    return rc ? rc : quern__buf_ok(out, "the rendered text", err);
}

uint64_t quern__template_bound(const quern__template *t, const quern_str *values)
{
    uint64_t sum = t->tail.len;
    for (size_t i = 0; i < t->n_parts; i++) {
        const quern__template_part *p = &t->parts[i];
        uint64_t most = 0;
        for (size_t k = 0; k < p->count; k++) {
            const quern__template_name *n = &t->names[t->uses[p->first + k]];
            uint64_t a = n->as_column ? values[n->column].len : 0;
            uint64_t b = n->as_path ? values[n->base_column].len : 0;
            a = a > b ? a : b;
            most = most > a ? most : a;
        }
        /* An element and its comma have two bytes at least. */
        sum += p->literal.len + most + (p->joins ? (most / 2 + 1) * p->join.len : 0);
    }
    return sum;
}
