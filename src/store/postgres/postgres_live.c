/*
 * postgres_live.c — live sources in PostgreSQL: a function live_<id> in quern's schema, called by three triggers on the
 * user's table, once a statement. It notes the keys of the rows that the statement touched in @changes, as text, under the
 * settings with which quern reads keys, and wakes those who listen. It runs with the rights of quern's role, so who
 * writes to the table needs none in quern's schema. Notes only ever get inserted, so writers never wait for workers
 * or for each other; a worker makes tasks of them.
 *
 * Rejected: row triggers (a call a row); putting tasks from the trigger (writers of one key would meet in its row).
 * TRUNCATE, and writes straight into a partition, are left to the next scan.
 */
#include "store/postgres/postgres_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"
#include "store/row_key.h"
#include "store/spec.h"

/* ---- triggers ---- */

int quern__postgres_live_drop(quern__postgres *s, int64_t source, quern_error *err)
{
    quern__buf sql;
    quern__buf_init(&sql, 1024);
    quern__buf_printf(&sql, "DROP FUNCTION IF EXISTS @live_%" PRId64 "() CASCADE", source);
    int rc = quern__buf_ok(&sql, "a function", err);
    if (!rc)
        rc = quern__postgres_run(s, sql.data, NULL, NULL, err);
    quern__buf_dispose(&sql);
    return rc;
}

static void put_note(quern__buf *out, const quern__postgres *s, const quern__postgres_plan *p,
                     int64_t source, const char *rows)
{
    quern__buf_printf(out, "INSERT INTO %schanges (source, key) SELECT %" PRId64 ", ARRAY[",
                      s->prefix, source);
    for (size_t i = 0; i < p->n_keys; i++) {
        quern__buf_puts(out, i ? ", CAST(r." : "CAST(r.");
        quern__sql_quote(out, p->keys[i]);
        quern__buf_puts(out, " AS text)");
    }
    quern__buf_printf(out, "] FROM %s AS r", rows);
    if (p->builtin)
        quern__buf_printf(out, " WHERE r.source = %" PRId64, source);
    quern__buf_puts(out, ";");
}

static int make_function(quern__postgres *s, const quern__postgres_plan *p, int64_t source,
                         quern_error *err)
{
    quern__buf sql;
    quern__buf_init(&sql, QUERN__PG_LONGEST_SQL);
    /* names of columns may hold anything but the tag of the dollar quote: that is looked for */
    quern__buf_printf(&sql,
                      "CREATE FUNCTION %slive_%" PRId64 "() RETURNS trigger LANGUAGE plpgsql"
                      " SECURITY DEFINER SET search_path = pg_catalog, pg_temp"
                      " SET \"TimeZone\" = 'UTC' SET \"DateStyle\" = 'ISO, YMD'"
                      " SET \"IntervalStyle\" = 'iso_8601' SET bytea_output = 'hex'"
                      " SET extra_float_digits = 1 SET lc_monetary = 'C' AS $quern_live$ BEGIN"
                      " IF TG_OP = 'UPDATE' AND pg_trigger_depth() = 1"
                      " AND current_setting('quern.stamping', true) = '%s %" PRId64 "' THEN"
                      " RETURN NULL; END IF;" /* our own writing of stamp columns */
                      " IF TG_OP <> 'INSERT' THEN ",
                      s->prefix, source, s->tag, source);
    size_t from = sql.len;
    put_note(&sql, s, p, source, "old_rows");
    quern__buf_puts(&sql, " END IF; IF TG_OP <> 'DELETE' THEN ");
    put_note(&sql, s, p, source, "new_rows");
    int rc = quern__buf_ok(&sql, "a function", err);
    if (!rc && strstr(sql.data + from, "$quern_live$"))
        rc = quern__fail(err, QUERN_EINVAL, 0,
                         "source '%s': a key column named like that cannot be live", p->spec->name);
    quern__buf_printf(&sql,
                      " END IF; PERFORM pg_catalog.pg_notify('%s_tasks', '%" PRId64 "');"
                      " RETURN NULL; END $quern_live$",
                      s->tag, source);
    if (!rc)
        rc = quern__buf_ok(&sql, "a function", err);
    if (!rc)
        rc = quern__pg_run(s->own, sql.data, NULL, NULL, err);
    quern__buf_dispose(&sql);
    return rc;
}

static int make_trigger(quern__postgres *s, const quern__postgres_plan *p, int64_t source,
                        const char *event, const char *rows, quern_error *err)
{
    quern__buf sql;
    quern__buf_init(&sql, QUERN__PG_LONGEST_SQL);
    quern__buf_printf(&sql, "CREATE TRIGGER \"%s_live_%" PRId64 "_%s\" AFTER %s ON ", s->tag,
                      source, event, event);
    if (p->builtin)
        quern__buf_printf(&sql, "%sdocuments", s->prefix);
    else
        quern__buf_append(&sql, p->from.data + p->table_from, p->table_end - p->table_from);
    quern__buf_printf(&sql,
                      " REFERENCING %s FOR EACH STATEMENT EXECUTE FUNCTION %slive_%" PRId64 "()",
                      rows, s->prefix, source);
    int rc = quern__buf_ok(&sql, "a trigger", err);
    if (!rc)
        rc = quern__pg_run(s->own, sql.data, NULL, NULL, err);
    quern__buf_dispose(&sql);
    return rc;
}

typedef struct setting {
    quern__postgres *s;
    const quern_source_spec *spec;
    int on;
} setting;

static int set_live(void *ud, quern_error *err)
{
    const setting *c = ud;
    quern__postgres_plan plan;
    quern_read read = {.source = c->spec};
    int64_t id = 0;
    int rc = quern__postgres_source_id(c->s, c->spec->name, &id, err);
    if (!rc)
        rc = quern__postgres_live_drop(c->s, id, err);
    if (rc || !c->on)
        return rc;
    rc = quern__postgres_plan_make(&plan, c->s, &read, err);
    if (!rc && !plan.builtin && !plan.is_table)
        rc = quern__fail(err, QUERN_EINVAL, 0,
                         "source '%s': '%s' is no table, and only a table has triggers",
                         c->spec->name, c->spec->table);
    if (!rc)
        rc = make_function(c->s, &plan, id, err);
    if (!rc)
        rc = make_trigger(c->s, &plan, id, "insert", "NEW TABLE AS new_rows", err);
    if (!rc)
        rc = make_trigger(c->s, &plan, id, "update", "NEW TABLE AS new_rows OLD TABLE AS old_rows",
                          err);
    if (!rc)
        rc = make_trigger(c->s, &plan, id, "delete", "OLD TABLE AS old_rows", err);
    quern__postgres_plan_dispose(&plan);
    return rc;
}

int quern__postgres_live_set(void *self, const quern_source_spec *spec, int on, quern_error *err)
{
    setting c = {.s = self, .spec = spec, .on = on};
    if (on && c.s->src != c.s->own)
        return quern__fail(
            err, QUERN_EUNSUPPORTED, 0,
            "source '%s': its table is in another database than the store, where its "
            "triggers cannot write",
            spec->name);
    return quern__pg_transact(c.s->own, QUERN__PG_WRITE, set_live, &c, err);
}

int quern__postgres_live_get(void *self, const char *source, int *on, quern_error *err)
{
    quern__postgres *s = self;
    quern__pg_params p;
    int64_t there = 0;
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(source));
    quern__pg_text(&p, quern_str_of(s->schema));
    quern__pg_text(&p, quern_str_of(s->base));
    int rc = quern__postgres_scalar(
        s,
        "SELECT 1 FROM pg_catalog.pg_proc AS f JOIN pg_catalog.pg_namespace AS n"
        " ON n.oid = f.pronamespace WHERE n.nspname = $2 AND f.proname ="
        " (SELECT $3 || 'live_' || id FROM @sources WHERE name = $1 AND NOT dropped)",
        &p, &there, err);
    *on = rc == 1;
    return rc < 0 ? rc : QUERN_OK;
}

/* ---- what the triggers noted ---- */

typedef struct draining {
    quern__postgres *s;
    size_t limit;
    uint64_t moved;
    const quern__pg_result *notes; /* source, number of columns, columns */
    size_t from, to;               /* those of the source at hand */
    quern_error *err;
} draining;

/* Rows [from, to) become tasks of this source; what can be the key of no document is dropped. */
static int put_notes(draining *d, const quern_source_spec *spec, quern_error *err)
{
    quern__postgres_plan plan;
    quern__arena arena;
    quern_read read = {.source = spec};
    quern_str *keys = quern__alloc_array(d->to - d->from + 1, sizeof *keys);
    size_t n = 0;
    uint64_t added = 0;
    if (!keys)
        return quern__fail_memory(err, (d->to - d->from) * sizeof *keys);
    quern__arena_init(&arena, 0);
    int rc = quern__postgres_plan_make(&plan, d->s, &read, err);
    for (size_t i = d->from; i < d->to && !rc; i++) {
        quern_value values[QUERN__PG_KEY_COLUMNS];
        char *key = NULL;
        if (quern__pg_get_int(d->notes, i, 1) != (int64_t)plan.n_keys)
            continue;
        rc = quern__postgres_key_values(&plan, d->notes, i, 2, &arena, values, err);
        if (!rc)
            rc = quern_key_encode(values, plan.n_keys, &key, err);
        if (!rc && strlen(key) <= QUERN__PG_LONGEST_KEY)
            rc = quern__copy_str(&arena, quern_str_of(key), &keys[n++], err);
        quern__free(key);
        rc = rc == QUERN_EFORMAT ? QUERN_OK : rc;
    }
    quern__postgres_plan_dispose(&plan);
    if (!rc && n)
        rc = quern__postgres_task_put_now(d->s, spec->name, keys, n, "changed", &added, err);
    quern__arena_dispose(&arena);
    quern__free(keys);
    return rc;
}

static int put_of_source(const quern_source_spec *spec, void *ud)
{
    draining *d = ud;
    size_t rows = quern__pg_rows(d->notes);
    for (d->from = 0; d->from < rows; d->from++)
        if (strcmp(quern__pg_get_text(d->notes, d->from, 0).ptr, spec->name) == 0)
            break;
    for (d->to = d->from; d->to < rows; d->to++)
        if (strcmp(quern__pg_get_text(d->notes, d->to, 0).ptr, spec->name) != 0)
            break;
    return d->from < d->to ? put_notes(d, spec, d->err) : QUERN_OK;
}

static int drain(void *ud, quern_error *err)
{
    draining *d = ud;
    quern__pg_params p;
    quern__pg_result *notes = NULL;
    quern__buf sql;
    quern__buf_init(&sql, 4096);
    quern__pg_params_init(&p);
    quern__pg_int(&p, (int64_t)d->limit);
    quern__buf_puts(&sql, "WITH gone AS (DELETE FROM @changes WHERE id IN (SELECT id FROM @changes"
                          " ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING source, key)"
                          " SELECT s.name, cardinality(key)");
    for (int i = 1; i <= QUERN__PG_KEY_COLUMNS; i++)
        quern__buf_printf(&sql, ", key[%d]", i);
    quern__buf_puts(&sql, " FROM gone JOIN @sources AS s ON s.id = gone.source AND NOT s.dropped"
                          " ORDER BY s.name");
    int rc = quern__buf_ok(&sql, "a statement", err);
    if (!rc)
        rc = quern__postgres_query(d->s, sql.data, &p, QUERN__PG_AS_TEXT, &notes, err);
    quern__buf_dispose(&sql);
    d->err = err;
    d->notes = notes;
    d->moved = rc ? 0 : quern__pg_rows(notes);
    if (!rc && d->moved)
        rc = quern__postgres_source_each(d->s, put_of_source, d, err);
    quern__pg_clear(notes);
    return rc;
}

int quern__postgres_live_drain(void *self, size_t limit, uint64_t *moved, quern_error *err)
{
    draining d = {.s = self, .limit = limit};
    int64_t any = 0;
    *moved = 0;
    int rc = quern__postgres_scalar(self, "SELECT (EXISTS (SELECT FROM @changes))::int", NULL, &any,
                                    err);
    if (rc < 0 || !any)
        return rc < 0 ? rc : QUERN_OK;
    rc = quern__pg_transact(d.s->own, QUERN__PG_WRITE, drain, &d, err);
    *moved = rc ? 0 : d.moved;
    return rc;
}

/* ---- waiting ---- */

int quern__postgres_task_wait(void *self, uint32_t wait_ms, int *woken, quern_error *err)
{
    quern__postgres *s = self;
    quern_error inner;
    char listen[60];
    *woken = 0;
    snprintf(listen, sizeof listen, "LISTEN %s_tasks", s->tag);
    if (!s->listener && quern__postgres_session(s, &s->listener, &inner) == QUERN_OK &&
        quern__pg_script(s->listener, listen, &inner) == QUERN_OK)
        *woken = 1; /* what came before we listened */
    if (s->listener && !*woken && quern__pg_hear(s->listener, wait_ms, woken, &inner) != QUERN_OK) {
        quern__pg_close(s->listener); /* made anew by the next call */
        s->listener = NULL;
    } else if (!s->listener) {
        quern__sleep_ms(wait_ms); /* nobody to listen with: who waits looks from time to time */
    }
    (void)err;
    return QUERN_OK;
}
