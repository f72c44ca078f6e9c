/*
 * spec.c — what is the same for every database about a source's declaration: which fields go together, and how
 * it is kept.
 */
#include "store/spec.h"

#include <stddef.h>

#include "base/compiler.h"
#include "base/json.h"
#include "db/sql_text.h"

/* The fields of a spec that are kept, by their names in JSON. */
static const struct {
    const char *name;
    size_t offset;
} fields[] = {
    {"table", offsetof(quern_source_spec, table)},
    {"query", offsetof(quern_source_spec, query)},
    {"keys", offsetof(quern_source_spec, keys)},
    {"text", offsetof(quern_source_spec, text)},
    {"revision", offsetof(quern_source_spec, revision)},
    {"where", offsetof(quern_source_spec, where)},
    {"meta", offsetof(quern_source_spec, meta)},
    {"prepare", offsetof(quern_source_spec, prepare)},
    {"text_search", offsetof(quern_source_spec, text_search)},
    {"stamp_columns", offsetof(quern_source_spec, stamp_columns)},
    {"keep_text", offsetof(quern_source_spec, keep_text)},
    {"assets", offsetof(quern_source_spec, assets)},
    {"max_assets", offsetof(quern_source_spec, max_assets)},
};

static const char **field_of(quern_source_spec *spec, size_t i)
{
    return (const char **)(void *)((char *)spec + fields[i].offset);
}

int quern__spec_check(const quern_source_spec *spec,
                      int (*balanced)(const char *sql, const char *what, quern_error *err),
                      quern_error *err)
{
    int rc = QUERN_OK;
    if (spec->table && spec->query)
        return quern__fail(err, QUERN_EINVAL, 0, "source '%s': give a table or a query, not both",
                           spec->name);
    if (!spec->table && !spec->query && (spec->keys || spec->revision))
        return quern__fail(
            err, QUERN_EINVAL, 0,
            "source '%s': built-in documents have their own key and no revision; name a table",
            spec->name);
    if ((spec->table || spec->query) && !spec->keys)
        return quern__fail(err, QUERN_EINVAL, 0, "source '%s': name its key column(s)", spec->name);
    if (spec->table)
        rc = quern__sql_name(spec->table, "table", err);
    if (!rc && spec->revision)
        rc = quern__sql_name(spec->revision, "revision column", err);
    if (!rc && spec->query)
        rc = balanced(spec->query, "query", err);
    if (!rc && spec->where)
        rc = balanced(spec->where, "predicate", err);
    return rc;
}

int quern__spec_to_json(const quern_source_spec *spec, quern__buf *out, quern_error *err)
{
    quern__jsonw w;
    quern_source_spec copy = *spec;
    quern__jsonw_init(&w, out);
    quern__jsonw_object(&w);
    for (size_t i = 0; i < QUERN__COUNT(fields); i++) {
        const char *value = *field_of(&copy, i);
        if (!value)
            continue;
        quern__jsonw_put_cstr(&w, fields[i].name, value);
    }
    quern__jsonw_end_object(&w);
    return quern__buf_ok(out, "the source's declaration", err);
}

int quern__spec_from_json(quern_str text, const char *name, quern__arena *arena,
                          quern_source_spec *spec, quern_error *err)
{
    quern__json j;
    quern_str key, value;
    QUERN_INIT(spec);
    spec->name = name;
    quern__json_init(&j, text.ptr ? text.ptr : "", text.len, "the source's declaration");
    int rc = quern__json_enter_object(&j, err);
    while (!rc && (rc = quern__json_next_key(&j, &key, err)) == 1) {
        size_t at = 0;
        while (at < QUERN__COUNT(fields) && !quern__str_is(key, fields[at].name))
            at++;
        if (at == QUERN__COUNT(fields)) {
            rc = quern__json_skip(&j, err);
            continue;
        }
        rc = quern__json_string(&j, &value, err);
        if (!rc && !(*field_of(spec, at) =
                         quern__arena_copy(arena, value.ptr ? value.ptr : "", value.len)))
            rc = quern__fail_memory(err, value.len);
    }
    quern__json_dispose(&j);
    return rc;
}
