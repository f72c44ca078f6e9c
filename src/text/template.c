/*
 * template.c — parses the text template. One pass over the bytes makes a flat array of parts; literals are unescaped
 * into one block, names into another place of the same arena. A general expression language was rejected: a template is in
 * the fingerprint, so each new rule here is a promise for ever.
 */
#include "text/template.h"

#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "text/template_parts.h"
#include "text/utf8.h"

typedef quern__template_name template_name;
typedef quern__template_part template_part;

/* What the parser knows while it walks. */
typedef struct parser {
    const char *text;
    size_t len, at;
    quern__template *t;
    quern__buf literal;
    size_t open; /* the brace at hand */
} parser;

/* ---- names and columns ---- */

/* Splits "a.b.c" into base and steps; a name with an empty step is no path. */
static int split_path(quern__template *t, template_name *made, quern_error *err)
{
    const char *dot = strchr(made->name, '.');
    if (!dot || dot == made->name)
        return QUERN_OK;
    char *steps = quern__arena_copy(&t->arena, made->name, strlen(made->name));
    if (!steps)
        return quern__fail_memory(err, strlen(made->name));
    const char *base = steps;
    char *at = steps + (dot - made->name);
    while (*at) {
        *at++ = '\0';
        if (made->n_steps == QUERN__TEMPLATE_STEPS || *at == '.' || *at == '\0')
            return QUERN_OK;
        made->steps[made->n_steps++] = at;
        at += strcspn(at, ".");
    }
    made->base = base;
    made->as_path = true;
    return QUERN_OK;
}

/* Index of the name, added when it is new. */
static int name_index(parser *p, const char *name, size_t len, size_t *index, quern_error *err)
{
    quern__template *t = p->t;
    if (len == 0)
        return quern__fail(err, QUERN_EINVAL, (int64_t)p->open,
                           "text template: '{}' at byte %zu names no column", p->open);
    if (len > QUERN__TEMPLATE_NAME)
        return quern__fail(
            err, QUERN_EINVAL, (int64_t)p->open,
            "text template: column name of %zu bytes at byte %zu, at most %d are allowed", len,
            p->open, QUERN__TEMPLATE_NAME);
    for (size_t i = 0; i < t->n_names; i++)
        if (strlen(t->names[i].name) == len && memcmp(t->names[i].name, name, len) == 0) {
            *index = i;
            return QUERN_OK;
        }
    template_name *made = &t->names[t->n_names];
    memset(made, 0, sizeof *made);
    made->name = quern__arena_copy(&t->arena, name, len);
    if (!made->name)
        return quern__fail_memory(err, len);
    made->as_column = true;
    *index = t->n_names++;
    return split_path(t, made, err);
}

static size_t column_index(quern__template *t, const char *name)
{
    for (size_t i = 0; i < t->n_columns; i++)
        if (strcmp(t->columns[i], name) == 0)
            return i;
    t->columns[t->n_columns] = name;
    t->json[t->n_columns] = false;
    return t->n_columns++;
}

/* Lists the columns anew. */
static void list_columns(quern__template *t)
{
    t->n_columns = 0;
    for (size_t i = 0; i < t->n_names; i++) {
        template_name *n = &t->names[i];
        if (n->as_column)
            n->column = column_index(t, n->name);
        if (n->as_path) {
            n->base_column = column_index(t, n->base);
            t->json[n->base_column] = true;
        }
    }
    for (size_t i = 0; i < t->n_parts; i++)
        for (size_t k = 0; t->parts[i].joins && k < t->parts[i].count; k++) {
            const template_name *n = &t->names[t->uses[t->parts[i].first + k]];
            if (n->as_column)
                t->json[n->column] = true;
        }
}

int quern__template_resolve(quern__template *t, int (*exists)(const char *name, void *ud), void *ud)
{
    for (size_t i = 0; i < t->n_names; i++) {
        template_name *n = &t->names[i];
        if (!n->base)
            continue;
        int there = exists(n->name, ud);
        if (there < 0)
            return there;
        n->as_column = there != 0;
        n->as_path = !there;
    }
    list_columns(t);
    return QUERN_OK;
}

/* ---- parsing ---- */

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

static bool begins(const parser *p, const char *word)
{
    size_t n = strlen(word);
    return p->len - p->at >= n && memcmp(p->text + p->at, word, n) == 0;
}

static int not_closed(const parser *p, quern_error *err)
{
    return quern__fail(err, QUERN_EINVAL, (int64_t)p->open,
                       "text template: '{' at byte %zu is not closed; write '{{' for a brace",
                       p->open);
}

/* Up to the next '|' or '}'. */
static int take_word(parser *p, quern_str *out, quern_error *err)
{
    size_t start = p->at;
    while (p->at < p->len && !strchr("|{}", p->text[p->at]))
        p->at++;
    if (p->at == p->len || p->text[p->at] == '{')
        return not_closed(p, err);
    *out = (quern_str){p->text + start, p->at - start};
    return QUERN_OK;
}

/* At `"`: reads the text between quotes. The buffer of the literals is free for it. */
static int take_join(parser *p, template_part *made, quern_error *err)
{
    static const char escapes[] = "\"\"\\\\n\nt\t"; /* pairs */
    p->at++;
    while (p->at < p->len && p->text[p->at] != '"') {
        char c = p->text[p->at++];
        if (c == '\\') {
            const char *pair = escapes;
            while (*pair && (p->at == p->len || *pair != p->text[p->at]))
                pair += 2;
            if (!*pair)
                return quern__fail(err, QUERN_EINVAL, (int64_t)p->at - 1,
                                   "text template: '\\' at byte %zu: only \\\" \\\\ \\n \\t are "
                                   "known",
                                   p->at - 1);
            c = pair[1];
            p->at++;
        }
        quern__buf_putc(&p->literal, c);
    }
    if (p->at == p->len)
        return not_closed(p, err);
    p->at++;
    if (p->literal.len > QUERN__TEMPLATE_JOIN)
        return quern__fail(err, QUERN_EINVAL, (int64_t)p->open,
                           "text template: join= at byte %zu has %zu bytes, at most %d are allowed",
                           p->open, p->literal.len, QUERN__TEMPLATE_JOIN);
    made->joins = true;
    return take_literal(p, &made->join, err);
}

static int said_twice(const parser *p, const char *rule, quern_error *err)
{
    return quern__fail(err, QUERN_EINVAL, (int64_t)p->open,
                       "text template: %s= stands twice in the braces at byte %zu", rule, p->open);
}

/* Behind a '|': a rule, or one more alternative. */
static int take_more(parser *p, template_part *made, quern_error *err)
{
    quern_str word = {NULL, 0};
    if (begins(p, "join=\"")) {
        if (made->joins)
            return said_twice(p, "join", err);
        p->at += strlen("join=");
        return take_join(p, made, err);
    }
    bool unless = begins(p, "unless=");
    p->at += unless ? strlen("unless=") : 0;
    int rc = take_word(p, &word, err);
    if (rc)
        return rc;
    if (unless) {
        if (made->unless != SIZE_MAX)
            return said_twice(p, "unless", err);
        return name_index(p, word.ptr, word.len, &made->unless, err);
    }
    if (memchr(word.ptr, '=', word.len))
        return quern__fail(err, QUERN_EINVAL, (int64_t)p->open,
                           "text template: no rule \"%.*s\" (in the braces at byte %zu); there are "
                           "unless=COLUMN and join=\"TEXT\"",
                           (int)(word.len < 40 ? word.len : 40), word.ptr, p->open);
    if (p->t->n_uses == QUERN__TEMPLATE_FIELDS)
        return quern__fail(err, QUERN_EINVAL, (int64_t)p->open,
                           "text template: more than %d columns", QUERN__TEMPLATE_FIELDS);
    rc = name_index(p, word.ptr, word.len, &p->t->uses[p->t->n_uses], err);
    p->t->n_uses++;
    made->count++;
    return rc;
}

/* At '{': reads up to its '}'. */
static int parse_column(parser *p, quern_error *err)
{
    quern__template *t = p->t;
    quern_str word = {NULL, 0};
    p->open = p->at++;
    if (t->n_uses == QUERN__TEMPLATE_FIELDS)
        return quern__fail(err, QUERN_EINVAL, (int64_t)p->open,
                           "text template: more than %d columns", QUERN__TEMPLATE_FIELDS);
    template_part *made = &t->parts[t->n_parts];
    memset(made, 0, sizeof *made);
    made->first = t->n_uses;
    made->count = 1;
    made->unless = SIZE_MAX;
    int rc = take_literal(p, &made->literal, err);
    if (!rc)
        rc = take_word(p, &word, err);
    if (!rc)
        rc = name_index(p, word.ptr, word.len, &t->uses[t->n_uses], err);
    t->n_uses++;
    while (!rc && p->text[p->at] == '|') {
        p->at++;
        rc = take_more(p, made, err);
        if (!rc && (p->at == p->len || !strchr("|}", p->text[p->at])))
            rc = quern__fail(err, QUERN_EINVAL, (int64_t)p->at,
                             "text template: '|' or '}' is missing at byte %zu", p->at);
    }
    if (rc)
        return rc;
    t->n_parts++;
    p->at++;
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
    list_columns(p->t);
    if (p->t->n_columns > QUERN__TEMPLATE_FIELDS)
        return quern__fail(err, QUERN_EINVAL, 0, "text template: more than %d columns",
                           QUERN__TEMPLATE_FIELDS);
    return take_literal(p, &p->t->tail, err);
}

/* Every brace and every bar may bring one name; each name two columns. */
static int make_room(quern__template *t, const char *text, quern_error *err)
{
    size_t parts = 0, names = 0;
    for (; *text; text++) {
        parts += *text == '{';
        names += *text == '{' || *text == '|';
    }
    parts = parts < QUERN__TEMPLATE_FIELDS ? parts : QUERN__TEMPLATE_FIELDS;
    size_t uses = names < QUERN__TEMPLATE_FIELDS ? names : QUERN__TEMPLATE_FIELDS;
    names = names < 2 * QUERN__TEMPLATE_FIELDS ? names : 2 * QUERN__TEMPLATE_FIELDS;
    t->parts = quern__arena_alloc(&t->arena, (parts + 1) * sizeof *t->parts);
    t->uses = quern__arena_alloc(&t->arena, (uses + 1) * sizeof *t->uses);
    t->names = quern__arena_alloc(&t->arena, (names + 1) * sizeof *t->names);
    t->columns = quern__arena_alloc(&t->arena, 2 * (names + 1) * sizeof *t->columns);
    t->json = quern__arena_alloc(&t->arena, 2 * (names + 1) * sizeof *t->json);
    return t->parts && t->uses && t->names && t->columns && t->json
               ? QUERN_OK
               : quern__fail_memory(err, (names + 1) * sizeof *t->names);
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
    quern__arena_init(&t->arena, 0);
    parser p = {.text = text, .len = len, .t = t};
    quern__buf_init(&p.literal, QUERN__TEMPLATE_BYTES + 1);
    int rc = make_room(t, text, err);
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

/* ---- what is in it ---- */

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

bool quern__template_takes_json(const quern__template *t, size_t i)
{
    return i < t->n_columns && t->json[i];
}

static bool name_seen(const quern__template *t, size_t i, const bool *seen)
{
    const template_name *n = &t->names[i];
    return (n->as_column && seen[n->column]) || (n->as_path && seen[n->base_column]);
}

const char *quern__template_unseen(const quern__template *t, const bool *seen)
{
    for (size_t i = 0; i < t->n_parts; i++) {
        const template_part *p = &t->parts[i];
        bool any = false;
        for (size_t k = 0; k < p->count; k++)
            any |= name_seen(t, t->uses[p->first + k], seen);
        if (!any)
            return t->names[t->uses[p->first]].name;
        if (p->unless != SIZE_MAX && !name_seen(t, p->unless, seen))
            return t->names[p->unless].name;
    }
    return NULL;
}
