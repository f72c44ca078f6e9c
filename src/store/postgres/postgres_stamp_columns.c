/*
 * postgres_stamp_columns.c — stamp columns in PostgreSQL. A save that writes them reads its rows FOR NO KEY UPDATE SKIP
 * LOCKED: from then on nobody but our UPDATE and the triggers that it fires can change them, and a row that one of the
 * user's transactions holds is left for later instead of waited for. So quern never waits for a row of the user's, and
 * cannot be one side of a deadlock with him.
 *
 * The trigger of a live source is told by a setting of the transaction, quern.stamping, which schema's source the
 * statement is of (postgres_live.c); what triggers of the user's do beside it is still noted.
 */
#include "store/postgres/postgres_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "store/stamp_columns.h"

static bool same_name(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* ---- declaring ---- */

/* Of the column $2: its type, whether it is made or NOT NULL, whether we may write it. */
static const char look_up[] =
    "SELECT CAST(a.atttypid AS bigint), CAST(a.atttypid AS regtype),"
    " a.attgenerated <> '' OR a.attidentity <> '', a.attnotnull,"
    " has_column_privilege(c.oid, a.attnum, 'UPDATE'), a.atttypmod"
    " FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid"
    " WHERE c.oid = to_regclass($1) AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped";

enum {
    VARCHAR = 1043,
    TIMESTAMP = 1114,
    TIMESTAMPTZ = 1184,
    LONGEST_MODEL = 127, /* bytes of a generation's model, and so characters at most */
    LENGTH_WORD = 4      /* what a type's modifier counts beside the characters */
};

static const char *why_not(const quern__pg_result *r, bool time)
{
    int64_t type = quern__pg_get_int(r, 0, 0), length = quern__pg_get_int(r, 0, 5) - LENGTH_WORD;
    if (type != QUERN__PG_TEXT && type != VARCHAR &&
        !(time && (type == TIMESTAMP || type == TIMESTAMPTZ)))
        return time ? "it takes text, timestamp or timestamptz" : "it takes text";
    if (type == VARCHAR && length >= 0 && length < (time ? QUERN__STAMP_TIME - 1 : LONGEST_MODEL))
        return time ? "a time has 24 characters" : "a model's name has up to 127 characters";
    if (quern__pg_get_int(r, 0, 2))
        return "it is generated and cannot be written";
    if (quern__pg_get_int(r, 0, 3))
        return "it is NOT NULL, but a document without vectors has none";
    if (!quern__pg_get_int(r, 0, 4))
        return "this role may not UPDATE it";
    return NULL;
}

static int check_column(quern__postgres_plan *p, const char *name, bool time, quern_error *err)
{
    quern__pg_params params;
    quern__pg_result *r = NULL;
    char *table =
        quern__arena_copy(&p->arena, p->from.data + p->table_from, p->table_end - p->table_from);
    if (!table)
        return quern__fail_memory(err, p->table_end);
    quern__pg_params_init(&params);
    quern__pg_text(&params, quern_str_of(table));
    quern__pg_text(&params, quern_str_of(name));
    int rc = quern__pg_query(p->db, look_up, &params, QUERN__PG_AS_TEXT, &r, err);
    const char *why = NULL;
    if (!rc && quern__pg_rows(r) == 0)
        rc = quern__fail(err, QUERN_ENOTFOUND, 0, "source '%s': table '%s' has no column '%s'",
                         p->spec->name, p->spec->table, name);
    else if (!rc)
        why = why_not(r, time);
    if (why)
        rc = quern__fail(err, QUERN_EINVAL, 0, "source '%s': stamp column '%s' (%.60s): %s",
                         p->spec->name, name, quern__pg_get_text(r, 0, 1).ptr, why);
    quern__pg_clear(r);
    return rc;
}

static int check_table(quern__postgres_plan *p, const quern__stamp_columns *c,
                       const char *const *read, size_t n, quern_error *err)
{
    int64_t standby = 0;
    if (!p->is_table)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "source '%s': '%s' is no table: stamp columns cannot be written",
                           p->spec->name, p->spec->table);
    int rc = quern__stamp_columns_apart(p->spec, c, read, n, same_name, &p->arena, err);
    if (!rc) {
        rc =
            quern__pg_scalar(p->db, "SELECT CAST(pg_is_in_recovery() AS int)", NULL, &standby, err);
        rc = rc < 0 ? rc : QUERN_OK;
    }
    if (!rc && standby)
        rc = quern__fail(err, QUERN_EUNSUPPORTED, 0,
                         "source '%s': stamp columns lie in %s, which can only be read",
                         p->spec->name, quern__pg_name(p->db));
    if (!rc && c->generated_at)
        rc = check_column(p, c->generated_at, true, err);
    if (!rc && c->model)
        rc = check_column(p, c->model, false, err);
    return rc;
}

int quern__postgres_stamp_columns_check(void *self, const quern_source_spec *spec,
                                        const char *const *read, size_t n, quern_error *err)
{
    quern__postgres *s = self;
    quern__postgres_plan plan;
    quern__stamp_columns c;
    quern__arena arena;
    quern_read nothing = {.source = spec};
    quern__arena_init(&arena, 1 << 20);
    int rc = quern__stamp_columns_check(spec, &arena, &c, err);
    if (!rc && s->src != s->own)
        rc = quern__fail(err, QUERN_EUNSUPPORTED, 0,
                         "source '%s': stamp columns lie in %s, which is only read: the store is "
                         "in another database",
                         spec->name, quern__pg_name(s->src));
    if (!rc) {
        rc = quern__postgres_plan_begin(&plan, s, &nothing, err);
        bool begun = !rc;
        if (!rc)
            rc = check_table(&plan, &c, read, n, err);
        if (begun)
            quern__pg_rollback(plan.db);
        quern__postgres_plan_dispose(&plan);
    }
    quern__arena_dispose(&arena);
    return rc;
}

/* ---- writing ---- */

enum { KEYS_MOST = QUERN__PG_KEY_COLUMNS };
typedef struct writing {
    quern__postgres *s;
    quern__postgres_plan plan;
    quern__stamp_columns c;
    quern_save *docs;
    size_t n;
    const quern_row *rows;
    const uint8_t *stored;
    int64_t now_ms;
    quern__pg_array keys[KEYS_MOST], times;
    quern__pg_array key, old, new; /* stamps whose revision moves */
} writing;

/* What a column's value is cast to: its type as the plan has seen it. */
static const char *type_of(const quern__postgres_plan *p, const char *column)
{
    for (size_t i = p->n_columns; i-- > 0;)
        if (strcmp(p->columns[i], column) == 0)
            return p->column_kinds[i] == QUERN__PG_KIND_TIMESTAMP     ? "timestamp"
                   : p->column_kinds[i] == QUERN__PG_KIND_TIMESTAMPTZ ? "timestamptz"
                                                                      : "text";
    return "text";
}

static void put_update(writing *w, quern__buf *q)
{
    quern__postgres_plan *p = &w->plan;
    int keys = (int)p->n_keys;
    quern__buf_clear(q);
    quern__buf_puts(q, "UPDATE ");
    quern__buf_append(q, p->from.data + p->table_from, p->table_end - p->table_from);
    quern__buf_puts(q, " SET ");
    if (w->c.generated_at) {
        quern__sql_quote(q, w->c.generated_at);
        quern__buf_printf(q, " = CAST(d.t AS %s)%s", type_of(p, w->c.generated_at),
                          w->c.model ? ", " : "");
    }
    if (w->c.model) {
        quern__sql_quote(q, w->c.model);
        quern__buf_printf(q, " = CASE WHEN d.t IS NULL THEN NULL ELSE $%d END", keys + 2);
    }
    quern__buf_puts(q, " FROM unnest(");
    for (int i = 0; i <= keys; i++)
        quern__buf_printf(q, "%s$%d", i ? ", " : "", i + 1);
    quern__buf_puts(q, ") AS d(");
    for (int i = 0; i < keys; i++)
        quern__buf_printf(q, "k%d, ", i);
    quern__buf_puts(q, "t) WHERE ");
    for (int i = 0; i < keys; i++) {
        quern__buf_puts(q, i ? " AND " : "");
        quern__postgres_put_key(p, q, (size_t)i, QUERN__PG_EQUALS);
        quern__buf_printf(q, " = CAST(d.k%d AS %s)", i,
                          quern__postgres_key_cast(p, (size_t)i, QUERN__PG_EQUALS));
    }
}

static int gather(writing *w, quern__arena *arena, size_t *asked, quern_error *err)
{
    int rc = QUERN_OK;
    *asked = 0;
    for (size_t i = 0; i < w->n && !rc; i++) {
        quern_str texts[KEYS_MOST];
        char time[QUERN__STAMP_TIME];
        if (!w->stored[i] || !w->docs[i].stamp_columns)
            continue;
        rc = quern__postgres_key_texts(&w->plan, w->docs[i].key, arena, texts, err);
        for (size_t k = 0; k < w->plan.n_keys && !rc; k++)
            quern__pg_array_bytes(&w->keys[k], texts[k].ptr, texts[k].len);
        quern__stamp_time(&w->docs[i], &w->rows[i].stamp, w->now_ms, time);
        if (*time)
            quern__pg_array_bytes(&w->times, time, strlen(time));
        else
            quern__pg_array_null(&w->times);
        ++*asked;
    }
    return rc;
}

/* Tells the trigger of a live source whose statement comes next. */
static int announce(writing *w, quern_error *err)
{
    quern__pg_params params;
    quern__pg_result *r = NULL;
    char text[48];
    int64_t id = 0;
    int rc = quern__postgres_source_id(w->s, w->plan.spec->name, &id, err);
    if (rc)
        return rc;
    snprintf(text, sizeof text, "%s %" PRId64, w->s->tag, id);
    quern__pg_params_init(&params);
    quern__pg_text(&params, quern_str_of(text));
    rc = quern__pg_query(w->s->own, "SELECT set_config('quern.stamping', $1, true)", &params,
                         QUERN__PG_AS_TEXT, &r, err);
    quern__pg_clear(r);
    return rc;
}

static int update(writing *w, quern_error *err)
{
    quern__pg_params params;
    quern_error inner = {0};
    quern__postgres_plan *p = &w->plan;
    int rc = announce(w, err);
    if (rc)
        return rc;
    quern__pg_params_init(&params);
    for (size_t i = 0; i < p->n_keys; i++)
        quern__pg_bind_array(&params, &w->keys[i]);
    quern__pg_bind_array(&params, &w->times);
    if (w->c.model)
        quern__pg_text(&params, w->docs[0].model);
    put_update(w, &p->sql);
    rc = quern__buf_ok(&p->sql, "a statement", err);
    if (!rc && (rc = quern__pg_run(w->s->own, p->sql.data, &params, NULL, &inner)))
        return quern__fail(err, rc == QUERN_EINVAL ? QUERN_EMISMATCH : rc, inner.detail,
                           "source '%s': its stamp columns: %s", p->spec->name, inner.msg);
    /* the transaction may be a lent one, in which the user goes on editing */
    return rc ? rc
              : quern__pg_run(w->s->own, "SELECT set_config('quern.stamping', '', true)", NULL,
                              NULL, err);
}

/* Rows read again: which are what they were, under which revision now. */
static int settle(writing *w, const quern_row *after,
                  int (*still)(const quern_row *row, size_t i, void *ud), void *ud,
                  quern_error *err)
{
    for (size_t i = 0; i < w->n; i++) {
        quern_save *d = &w->docs[i];
        if (!w->stored[i] || !d->stamp_columns)
            continue;
        if (!after[i].key.ptr) /* the predicate is of what was written, or a trigger took it away */
            return quern__fail(err, QUERN_EINVAL, 0,
                               "source '%s': a row that its stamp columns are written into is no "
                               "longer a document; leave them out of the predicate",
                               w->plan.spec->name);
        quern_row row = after[i];
        row.stamped = 1;
        int same = still(&row, i, ud);
        if (same < 0)
            return same;
        quern_str was = d->stamp.revision, now = row.revision;
        if (same != 1 || !now.len || (was.len == now.len && memcmp(was.ptr, now.ptr, now.len) == 0))
            continue;
        quern__pg_array_bytes(&w->key, d->key.ptr, d->key.len);
        quern__pg_array_bytes(&w->old, was.ptr ? was.ptr : "", was.len);
        quern__pg_array_bytes(&w->new, now.ptr, now.len);
        d->stamp.revision = now;
    }
    return QUERN_OK;
}

static int move_stamps(writing *w, int64_t generation, quern_error *err)
{
    static const char *const statements[] = {
        /* where stamps lie on shards too, none in the line says: the one that is there */
        "UPDATE @stamps AS t SET revision = d.new FROM unnest($2, $3, $4) AS d(key, old, new)"
        " WHERE t.key = d.key AND t.revision = d.old AND t.generation IN (SELECT b.id FROM"
        " @generations AS a JOIN @generations AS b ON b.source = a.source"
        " WHERE a.id = $1 AND b.state <> 'retired' AND (t.revision <> '' OR NOT b.beside))",
        "UPDATE @texts AS t SET revision = d.new FROM unnest($2, $3, $4) AS d(key, old, new)"
        " WHERE t.key = d.key AND t.revision = d.old AND t.generation IN (SELECT b.id FROM"
        " @generations AS a JOIN @generations AS b ON b.source = a.source"
        " WHERE a.id = $1 AND b.state <> 'retired')",
        "UPDATE @kept AS t SET revision = d.new FROM unnest($2, $3, $4) AS d(key, old, new)"
        " WHERE t.key = d.key AND t.revision = d.old AND t.generation IN (SELECT b.id FROM"
        " @generations AS a JOIN @generations AS b ON b.source = a.source"
        " WHERE a.id = $1 AND b.state <> 'retired')"};
    quern__pg_params params;
    int rc = QUERN_OK;
    quern__pg_params_init(&params);
    quern__pg_int(&params, generation);
    quern__pg_bind_array(&params, &w->key);
    quern__pg_bind_array(&params, &w->old);
    quern__pg_bind_array(&params, &w->new);
    for (size_t i = 0; i < QUERN__COUNT(statements) && !rc && w->key.n; i++)
        rc = quern__postgres_run(w->s, statements[i], &params, NULL, err);
    if (!rc && w->key.n)
        rc = quern__shard_stamps_move(w->s, generation, &w->key, &w->old, &w->new, err);
    return rc;
}

int quern__postgres_stamp_columns(quern__postgres *s, const quern_read *read, quern_save *docs,
                                  size_t n, const quern_row *rows, const uint8_t *stored,
                                  int64_t now_ms,
                                  int (*still)(const quern_row *row, size_t i, void *ud), void *ud,
                                  quern__arena *arena, quern_error *err)
{
    writing w = {.s = s, .docs = docs, .n = n, .rows = rows, .stored = stored, .now_ms = now_ms};
    quern__pg_array *one[] = {&w.times, &w.key, &w.old, &w.new};
    quern_str *names = quern__arena_alloc(arena, (n + 1) * sizeof *names);
    quern_row *after = quern__arena_alloc(arena, (n + 1) * sizeof *after);
    size_t asked = 0;
    if (!names || !after)
        return quern__fail_memory(err, n * sizeof *after);
    for (size_t i = 0; i < KEYS_MOST; i++)
        quern__pg_array_init(&w.keys[i], QUERN__PG_TEXT, 0);
    for (size_t i = 0; i < QUERN__COUNT(one); i++)
        quern__pg_array_init(one[i], QUERN__PG_TEXT, 0);
    for (size_t i = 0; i < n; i++)
        names[i] = docs[i].key;
    int rc = quern__postgres_plan_make(&w.plan, s, read, err);
    if (!rc)
        rc = quern__stamp_columns_check(read->source, arena, &w.c, err);
    if (!rc)
        rc = gather(&w, arena, &asked, err);
    if (!rc && asked)
        rc = update(&w, err);
    if (!rc && asked)
        rc = quern__postgres_rows_of(s, &w.plan, read, names, n, arena, after, err);
    if (!rc && asked)
        rc = settle(&w, after, still, ud, err);
    if (!rc)
        rc = move_stamps(&w, read->generation, err);
    quern__postgres_plan_dispose(&w.plan);
    for (size_t i = 0; i < KEYS_MOST; i++)
        quern__pg_array_dispose(&w.keys[i]);
    for (size_t i = 0; i < QUERN__COUNT(one); i++)
        quern__pg_array_dispose(one[i]);
    return rc;
}
