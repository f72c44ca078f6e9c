/*
 * postgres_source.c — declarations: tried against the database before they are kept, kept as JSON, removed in
 * slices. A source that is being removed loses its name at once and its rows over several transactions; the next
 * open finishes what a crash cut off.
 */
#include "store/postgres/postgres_store.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "store/spec.h"

enum { LONGEST_LIST = 64 << 20 };

int quern__postgres_source_id(quern__postgres *s, const char *name, int64_t *id, quern_error *err)
{
    quern__pg_params p;
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(name));
    int rc = quern__postgres_scalar(s, "SELECT id FROM @sources WHERE name = $1 AND NOT dropped",
                                    &p, id, err);
    return rc == 1   ? QUERN_OK
           : rc == 0 ? quern__fail(err, QUERN_ENOTFOUND, 0, "there is no source '%s'", name)
                     : rc;
}

/* ---- check ---- */

/* The source's statement is planned, not run: tables, columns and predicate have to be there. Inside a read-only
 * transaction, between parentheses: it cannot write. */
static int try_plan(quern__postgres_plan *plan, quern_error *err)
{
    quern__pg_result *r = NULL;
    const quern_source_spec *spec = plan->spec;
    quern__buf_clear(&plan->sql);
    quern__buf_append(&plan->sql, plan->select.data, plan->select.len);
    quern__buf_puts(&plan->sql, " LIMIT 0");
    int rc = quern__postgres_plan_query(plan, NULL, &r, err);
    quern__pg_clear(r);
    if (!rc && spec->table && plan->is_table && !plan->unique)
        rc = quern__fail(err, QUERN_EINVAL, 0,
                         "source '%s': table '%s' has no unique key over (%s); add one, or name "
                         "its key columns",
                         spec->name, spec->table, spec->keys);
    return rc;
}

int quern__postgres_source_check(void *self, const quern_source_spec *spec,
                                 const char *const *columns, size_t n, quern_error *err)
{
    quern__postgres *s = self;
    quern_read read = {.source = spec, .columns = columns, .n_columns = n};
    quern__pg_result *r = NULL;
    int rc = quern__spec_check(spec, quern__pg_balanced, err);
    if (rc)
        return rc;
    bool builtin = !spec->table && !spec->query;
    if (builtin && !spec->where)
        return QUERN_OK;
    quern__pg *db = builtin ? s->own : s->src;
    rc = quern__pg_begin(db, QUERN__PG_READ, err);
    if (rc)
        return rc;
    if (builtin) { /* may be declared before it has a row in @sources: only the predicate is tried */
        quern__buf sql;
        quern_error inner;
        quern__buf_init(&sql, 2 * (size_t)QUERN__LONGEST_SPEC);
        quern__buf_printf(&sql, "SELECT 1 FROM %sdocuments AS documents WHERE (%s\n) LIMIT 0",
                          s->prefix, spec->where);
        rc = quern__buf_ok(&sql, "predicate", err);
        if (!rc && (rc = quern__pg_query(db, sql.data, NULL, QUERN__PG_AS_TEXT, &r, &inner)))
            quern__fail(err, rc, inner.detail, "predicate: %s", inner.msg);
        quern__pg_clear(r);
        quern__buf_dispose(&sql);
    } else {
        quern__postgres_plan plan;
        rc = quern__postgres_plan_make(&plan, s, &read, err);
        if (!rc)
            rc = try_plan(&plan, err);
        quern__postgres_plan_dispose(&plan);
    }
    quern__pg_rollback(db);
    return rc;
}

/* ---- put and each ---- */

int quern__postgres_source_put(void *self, const quern_source_spec *spec, int replace,
                               quern_error *err)
{
    quern__postgres *s = self;
    quern__pg_params p;
    quern__buf json;
    int64_t written = 0;
    quern__buf_init(&json, QUERN__LONGEST_SPEC);
    int rc = quern__spec_to_json(spec, &json, err);
    if (!rc) {
        quern__pg_params_init(&p);
        quern__pg_text(&p, quern_str_of(spec->name));
        quern__pg_text(&p, (quern_str){json.data, json.len});
        rc = quern__postgres_run(s,
                                 replace ? "INSERT INTO @sources (name, spec) VALUES ($1, $2)"
                                           " ON CONFLICT (name) DO UPDATE SET spec = excluded.spec"
                                         : "INSERT INTO @sources (name, spec) VALUES ($1, $2)"
                                           " ON CONFLICT (name) DO NOTHING",
                                 &p, &written, err);
    }
    if (!rc && !written)
        rc = quern__fail(err, QUERN_EEXISTS, 0, "there is a source '%s' already", spec->name);
    quern__buf_dispose(&json);
    return rc;
}

int quern__postgres_source_each(void *self, int (*fn)(const quern_source_spec *spec, void *ud),
                                void *ud, quern_error *err)
{
    quern__postgres *s = self;
    quern__pg_result *r = NULL;
    quern__arena arena;
    quern__arena_init(&arena, LONGEST_LIST);
    int rc =
        quern__postgres_query(s, "SELECT name, spec FROM @sources WHERE NOT dropped ORDER BY name",
                              NULL, QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++) {
        quern_source_spec spec;
        rc = quern__spec_from_json(quern__pg_get_text(r, i, 1), quern__pg_get_text(r, i, 0).ptr,
                                   &arena, &spec, err);
        if (!rc)
            rc = fn(&spec, ud);
    }
    quern__pg_clear(r);
    quern__arena_dispose(&arena);
    return rc;
}

/* ---- remove ---- */

/* One id, or 0 when the query gives none. */
static int next_id(quern__postgres *s, const char *sql, int64_t bound, int64_t *id,
                   quern_error *err)
{
    quern__pg_params p;
    *id = 0;
    quern__pg_params_init(&p);
    if (bound)
        quern__pg_int(&p, bound);
    int rc = quern__postgres_scalar(s, sql, &p, id, err);
    return rc < 0 ? rc : QUERN_OK;
}

static int sweep_one(quern__postgres *s, int64_t source, quern_error *err)
{
    int64_t generation = 1, batch = 1, went = 1;
    quern__pg_params p;
    int rc = QUERN_OK;
    quern__pg_params_init(&p);
    quern__pg_int(&p, source);
    while (!rc && went)
        rc = quern__postgres_run(s,
                                 "DELETE FROM @documents WHERE doc IN (SELECT doc FROM @documents"
                                 " WHERE source = $1 LIMIT 1000)",
                                 &p, &went, err);
    if (!rc)
        rc = quern__postgres_live_drop(s, source, err);
    for (went = 1; !rc && went;)
        rc = quern__postgres_run(s,
                                 "DELETE FROM @changes WHERE id IN (SELECT id FROM @changes"
                                 " WHERE source = $1 LIMIT 1000)",
                                 &p, &went, err);
    for (went = 1; !rc && went;)
        rc = quern__postgres_run(s,
                                 "DELETE FROM @tasks WHERE id IN (SELECT id FROM @tasks"
                                 " WHERE source = $1 LIMIT 1000)",
                                 &p, &went, err);
    if (!rc)
        rc = quern__postgres_run(s, "DELETE FROM @runs WHERE source = $1", &p, NULL, err);
    if (!rc)
        rc = quern__postgres_run(s, "DELETE FROM @usage WHERE source = $1", &p, NULL, err);
    while (!rc && batch) {
        rc = next_id(s, "SELECT id FROM @batches WHERE source = $1 LIMIT 1", source, &batch, err);
        if (!rc && batch)
            rc = quern__postgres_stage_drop(s, batch, err);
    }
    while (!rc && generation) {
        int more = 1;
        rc = next_id(s, "SELECT id FROM @generations WHERE source = $1 LIMIT 1", source,
                     &generation, err);
        while (!rc && generation && more)
            rc = quern__postgres_purge_slice(s, generation, &more, err);
    }
    return rc ? rc
              : quern__postgres_run(s, "DELETE FROM @sources WHERE id = $1 AND dropped", &p, NULL,
                                    err);
}

int quern__postgres_sweep(quern__postgres *s, quern_error *err)
{
    int64_t source = 1;
    int rc = QUERN_OK;
    while (!rc && source) {
        rc = next_id(s, "SELECT id FROM @sources WHERE dropped LIMIT 1", 0, &source, err);
        if (!rc && source)
            rc = sweep_one(s, source, err);
    }
    return rc;
}

int quern__postgres_source_remove(void *self, const char *name, quern_error *err)
{
    quern__postgres *s = self;
    quern__pg_params p;
    int64_t id = 0;
    int rc = quern__postgres_source_id(s, name, &id, err);
    if (rc)
        return rc;
    quern__pg_params_init(&p);
    quern__pg_int(&p, id);
    /* '#' cannot begin a name, so the name is free again */
    rc = quern__postgres_run(
        s, "UPDATE @sources SET dropped = true, name = '#' || id WHERE id = $1", &p, NULL, err);
    return rc ? rc : quern__postgres_sweep(s, err);
}
