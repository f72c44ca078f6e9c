/*
 * sqlite_source.c — declarations: tried against the database before they are kept, kept as JSON, removed in
 * slices. A source that is being removed loses its name at once and its rows over several transactions;
 * the next open finishes what a crash cut off.
 */
#include "store/sqlite/sqlite_store.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/os.h"
#include "store/spec.h"

int quern__sqlite_source_id(quern__sqlite *s, const char *name, int64_t *id, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        s->own, "SELECT id FROM quern_sources WHERE name = ?1 AND dropped = 0", &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->own, stmt, 1, quern_str_of(name));
    rc = quern__db_step(s->own, stmt, err);
    if (rc == 1)
        *id = quern__db_get_int(stmt, 0);
    quern__db_finish(s->own, stmt);
    return rc == 1   ? QUERN_OK
           : rc == 0 ? quern__fail(err, QUERN_ENOTFOUND, 0, "there is no source '%s'", name)
                     : rc;
}

/* ---- check ---- */

/* Built-in documents may be declared before they have a row in quern_sources: only the predicate is tried. */
static int check_builtin(quern__sqlite *s, const quern_source_spec *spec, quern_error *err)
{
    if (!spec->where)
        return QUERN_OK;
    quern__buf sql;
    quern__buf_init(&sql, 2 * (size_t)QUERN__LONGEST_SPEC);
    quern__buf_printf(&sql, "SELECT 1 FROM quern_documents AS documents WHERE (%s\n)", spec->where);
    int rc = quern__buf_ok(&sql, "predicate", err);
    if (!rc)
        rc = quern__sql_try(s->own, sql.data, "predicate", err);
    quern__buf_dispose(&sql);
    return rc;
}

/* The key, once the plan is made: a table must prove it unique. */
static int check_key(quern__sqlite_plan *p, const quern_source_spec *spec, quern_error *err)
{
    if (!spec->table || p->unique)
        return QUERN_OK;
    int64_t is_table = 0;
    quern__stmt *stmt;
    int rc = quern__db_prepare(p->db,
                               "SELECT type = 'table' FROM sqlite_master WHERE name = ?1 COLLATE "
                               "NOCASE AND type IN ('table', 'view')",
                               &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(p->db, stmt, 1, quern_str_of(spec->table));
    rc = quern__db_step(p->db, stmt, err);
    if (rc == 1)
        is_table = quern__db_get_int(stmt, 0);
    quern__db_finish(p->db, stmt);
    if (rc < 0)
        return rc;
    if (is_table)
        return quern__fail(
            err, QUERN_EINVAL, 0,
            "source '%s': table '%s' has no unique key over (%s); add one, or name its key columns",
            spec->name, spec->table, spec->keys);
    return QUERN_OK;
}

int quern__sqlite_source_check(void *self, const quern_source_spec *spec,
                               const char *const *columns, size_t n, quern_error *err)
{
    quern__sqlite *s = self;
    int rc = quern__spec_check(spec, quern__sql_balanced, err);
    if (!rc && !spec->table && !spec->query)
        return check_builtin(s, spec, err);
    quern__sqlite_plan plan;
    quern__stmt *stmt = NULL;
    quern_read read = {.source = spec, .columns = columns, .n_columns = n};
    if (rc)
        return rc;
    rc = quern__sqlite_plan_make(&plan, s, &read, err);
    if (!rc) {
        quern__buf_append(&plan.sql, plan.select.data, plan.select.len);
        rc = quern__sqlite_plan_prepare(&plan, &stmt, err);
        quern__db_finish(plan.db, stmt);
    }
    if (!rc)
        rc = quern__sql_try(plan.db, plan.sql.data, spec->query ? "query" : "predicate", err);
    if (!rc)
        rc = check_key(&plan, spec, err);
    quern__sqlite_plan_dispose(&plan);
    return rc;
}

/* ---- put and each ---- */

int quern__sqlite_source_put(void *self, const quern_source_spec *spec, int replace,
                             quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt = NULL;
    quern__buf json;
    quern__buf_init(&json, QUERN__LONGEST_SPEC);
    int rc = quern__spec_to_json(spec, &json, err);
    if (!rc)
        rc = quern__db_begin(s->own, err);
    if (rc)
        goto done;
    int64_t id = 0;
    int there = quern__sqlite_source_id(s, spec->name, &id, err);
    if (there && there != QUERN_ENOTFOUND)
        rc = there;
    else if (!there && !replace)
        rc = quern__fail(err, QUERN_EEXISTS, 0, "there is a source '%s' already", spec->name);
    else
        rc = quern__db_prepare(s->own,
                               "INSERT INTO quern_sources (name, spec) VALUES (?1, ?2) "
                               "ON CONFLICT (name) DO UPDATE SET spec = excluded.spec",
                               &stmt, err);
    if (!rc) {
        quern__db_bind_text(s->own, stmt, 1, quern_str_of(spec->name));
        quern__db_bind_text(s->own, stmt, 2, (quern_str){json.data, json.len});
        rc = quern__db_run(s->own, stmt, err);
    }
    if (rc)
        quern__db_rollback(s->own);
    else
        rc = quern__db_commit(s->own, err);
done:
    quern__buf_dispose(&json);
    return rc;
}

int quern__sqlite_source_each(void *self, int (*fn)(const quern_source_spec *spec, void *ud),
                              void *ud, quern_error *err)
{
    enum { MOST = 10000 };
    quern__sqlite *s = self;
    quern__arena arena;
    quern__stmt *stmt = NULL;
    quern_source_spec *specs = NULL;
    size_t n = 0, room = 0;
    quern__arena_init(&arena, 64 << 20);
    int rc = quern__db_prepare(
        s->own, "SELECT name, spec FROM quern_sources WHERE dropped = 0 ORDER BY name", &stmt, err);
    while (!rc && (rc = quern__db_step(s->own, stmt, err)) == 1 && n < MOST) {
        if (n == room) {
            room = room ? 2 * room : 16;
            quern_source_spec *more = quern__resize_array(specs, room, sizeof *specs);
            if (!more) {
                rc = quern__fail_memory(err, room * sizeof *specs);
                break;
            }
            specs = more;
        }
        quern_str name = quern__db_get_text(stmt, 0);
        const char *copy = quern__arena_copy(&arena, name.ptr ? name.ptr : "", name.len);
        rc = copy ? quern__spec_from_json(quern__db_get_text(stmt, 1), copy, &arena, &specs[n], err)
                  : quern__fail_memory(err, name.len);
        n += !rc;
    }
    quern__db_finish(s->own, stmt);
    rc = rc > 0 ? QUERN_OK : rc;
    for (size_t i = 0; i < n && !rc; i++)
        rc = fn(&specs[i], ud);
    quern__free(specs);
    quern__arena_dispose(&arena);
    return rc;
}

/* ---- remove ---- */

/* Runs a DELETE that takes one id and a LIMIT, in transactions of some milliseconds, until nothing is left. */
static int delete_slices(quern__sqlite *s, const char *sql, int64_t id, quern_error *err)
{
    int64_t changed = 1;
    int rc = QUERN_OK;
    while (!rc && changed) {
        uint64_t began = quern__now_ns();
        rc = quern__db_begin(s->own, err);
        if (rc)
            return rc;
        do {
            quern__stmt *stmt;
            rc = quern__db_prepare(s->own, sql, &stmt, err);
            if (rc)
                break;
            quern__db_bind_int(s->own, stmt, 1, id);
            rc = quern__db_run(s->own, stmt, err);
            changed = rc ? 0 : quern__db_changes(s->own);
        } while (!rc && changed && quern__now_ns() - began < (uint64_t)QUERN__SLICE_MS * 1000000);
        if (rc)
            quern__db_rollback(s->own);
        else
            rc = quern__db_commit(s->own, err);
    }
    return rc;
}

/* One id, or 0 when the query gives none. */
static int next_id(quern__sqlite *s, const char *sql, int64_t bound, int64_t *id, quern_error *err)
{
    quern__stmt *stmt;
    *id = 0;
    int rc = quern__db_prepare(s->own, sql, &stmt, err);
    if (rc)
        return rc;
    if (bound)
        quern__db_bind_int(s->own, stmt, 1, bound);
    rc = quern__db_step(s->own, stmt, err);
    if (rc == 1)
        *id = quern__db_get_int(stmt, 0);
    quern__db_finish(s->own, stmt);
    return rc < 0 ? rc : QUERN_OK;
}

static int sweep_one(quern__sqlite *s, int64_t source, quern_error *err)
{
    int64_t generation = 1, batch = 1;
    int rc = delete_slices(s,
                           "DELETE FROM quern_documents WHERE doc IN "
                           "(SELECT doc FROM quern_documents WHERE source = ?1 LIMIT 200)",
                           source, err);
    if (!rc)
        rc = delete_slices(s,
                           "DELETE FROM quern_tasks WHERE id IN"
                           " (SELECT id FROM quern_tasks WHERE source = ?1 LIMIT 200)",
                           source, err);
    if (!rc)
        rc = delete_slices(s, "DELETE FROM quern_runs WHERE source = ?1", source, err);
    if (!rc)
        rc = delete_slices(s, "DELETE FROM quern_usage WHERE source = ?1", source, err);
    if (!rc)
        rc = quern__sqlite_live_drop(s, source, err);
    if (!rc)
        rc = delete_slices(s,
                           "DELETE FROM quern_changes WHERE id IN"
                           " (SELECT id FROM quern_changes WHERE source = ?1 LIMIT 200)",
                           source, err);
    while (!rc && batch) {
        rc = next_id(s, "SELECT id FROM quern_batches WHERE source = ?1", source, &batch, err);
        if (!rc && batch)
            rc = quern__sqlite_stage_drop(s, batch, err);
    }
    while (!rc && generation) {
        int more = 1;
        rc = next_id(s, "SELECT id FROM quern_generations WHERE source = ?1", source, &generation,
                     err);
        while (!rc && generation && more)
            rc = quern__sqlite_purge_slice(s, generation, &more, err);
    }
    return rc ? rc
              : delete_slices(s, "DELETE FROM quern_sources WHERE id = ?1 AND dropped = 1", source,
                              err);
}

int quern__sqlite_sweep(quern__sqlite *s, quern_error *err)
{
    int64_t source = 1;
    int rc = QUERN_OK;
    while (!rc && source) {
        rc = next_id(s, "SELECT id FROM quern_sources WHERE dropped = 1 LIMIT 1", 0, &source, err);
        if (!rc && source)
            rc = sweep_one(s, source, err);
    }
    return rc;
}

int quern__sqlite_source_remove(void *self, const char *name, quern_error *err)
{
    quern__sqlite *s = self;
    int64_t id = 0;
    quern__stmt *stmt;
    int rc = quern__sqlite_source_id(s, name, &id, err);
    if (!rc) /* '#' cannot begin a name, so the name is free again */
        rc = quern__db_prepare(
            s->own, "UPDATE quern_sources SET dropped = 1, name = '#' || id WHERE id = ?1", &stmt,
            err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, id);
    rc = quern__db_run(s->own, stmt, err);
    return rc ? rc : quern__sqlite_sweep(s, err);
}
