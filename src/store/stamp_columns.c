/*
 * stamp_columns.c — see stamp_columns.h.
 */
#include "store/stamp_columns.h"

#include <string.h>

#include "base/compiler.h"
#include "base/os.h"
#include "db/sql_text.h"
#include "store/row_key.h"

enum { MOST_NAMES = 64 };

static quern_str trim(const char *from, const char *to)
{
    while (from < to && *from == ' ')
        from++;
    while (to > from && to[-1] == ' ')
        to--;
    return (quern_str){from, (size_t)(to - from)};
}

static bool is_word(quern_str s, const char *word)
{
    return s.len == strlen(word) && memcmp(s.ptr, word, s.len) == 0;
}

/* "what=COLUMN" */
static int parse_one(const char *from, const char *to, const char *source, quern__arena *arena,
                     quern__stamp_columns *out, quern_error *err)
{
    const char *equals = memchr(from, '=', (size_t)(to - from));
    quern_str what = trim(from, equals ? equals : to);
    quern_str name = equals ? trim(equals + 1, to) : (quern_str){"", 0};
    const char **place = is_word(what, "generated_at") ? &out->generated_at
                         : is_word(what, "model")      ? &out->model
                                                       : NULL;
    if (!place || !name.len)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "source '%s': stamp columns '%.*s': write generated_at=COLUMN, "
                           "model=COLUMN or both with a comma between",
                           source, (int)QUERN__MIN((size_t)(to - from), (size_t)60), from);
    if (*place)
        return quern__fail(err, QUERN_EINVAL, 0, "source '%s': stamp columns: %.*s is there twice",
                           source, (int)what.len, what.ptr);
    *place = quern__arena_copy(arena, name.ptr, name.len);
    return *place ? quern__sql_name(*place, "stamp column", err)
                  : quern__fail_memory(err, name.len);
}

int quern__stamp_columns_parse(const char *list, const char *source, quern__arena *arena,
                               quern__stamp_columns *out, quern_error *err)
{
    int rc = QUERN_OK;
    *out = (quern__stamp_columns){NULL, NULL};
    if (!list)
        return QUERN_OK;
    for (const char *at = list;; at++) {
        const char *end = at + strcspn(at, ",");
        rc = parse_one(at, end, source, arena, out, err);
        at = end;
        if (rc || !*at)
            break;
    }
    if (!rc && out->generated_at && out->model && strcmp(out->generated_at, out->model) == 0)
        rc = quern__fail(err, QUERN_EINVAL, 0, "source '%s': stamp columns: '%s' cannot hold both",
                         source, out->model);
    return rc;
}

int quern__stamp_columns_check(const quern_source_spec *spec, quern__arena *arena,
                               quern__stamp_columns *out, quern_error *err)
{
    int rc = quern__stamp_columns_parse(spec->stamp_columns, spec->name, arena, out, err);
    if (!rc && spec->stamp_columns && !spec->table)
        rc = quern__fail(err, QUERN_EINVAL, 0,
                         "source '%s': stamp columns are written into a table; %s has none",
                         spec->name, spec->query ? "a query" : "the built-in documents table");
    return rc;
}

int quern__stamp_columns_apart(const quern_source_spec *spec, const quern__stamp_columns *c,
                               const char *const *read, size_t n,
                               bool (*same)(const char *a, const char *b), quern__arena *arena,
                               quern_error *err)
{
    const char *written[] = {c->generated_at, c->model};
    char *keys[MOST_NAMES];
    size_t n_keys = 0;
    int rc = quern__key_columns(spec->keys, same, keys, MOST_NAMES, &n_keys, arena, err);
    for (size_t i = 0; i < QUERN__COUNT(written) && !rc; i++) {
        const char *name = written[i], *is = NULL;
        if (!name)
            continue;
        if (spec->revision && same(name, spec->revision))
            is = "its revision column";
        for (size_t k = 0; k < n_keys && !is; k++)
            is = same(name, keys[k]) ? "one of its key columns" : NULL;
        for (size_t k = 0; k < n && !is; k++)
            is = same(name, read[k]) ? "in its text" : NULL;
        if (is)
            rc = quern__fail(err, QUERN_EINVAL, 0,
                             "source '%s': stamp column '%s' is %s: each fill would be an edit",
                             spec->name, name, is);
    }
    if (!rc && c->generated_at && c->model && same(c->generated_at, c->model))
        rc = quern__fail(err, QUERN_EINVAL, 0, "source '%s': stamp columns: '%s' cannot hold both",
                         spec->name, c->model);
    return rc;
}

void quern__stamp_time(const quern_save *doc, const quern_stamp *stamp, int64_t now_ms,
                       char out[QUERN__STAMP_TIME])
{
    out[0] = '\0';
    if (doc->stamp.outcome == QUERN_OUTCOME_OK)
        quern__rfc3339(doc->text_only ? stamp->updated_ms : now_ms, out);
}
