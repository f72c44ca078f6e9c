/*
 * sqlite_stamp_columns.c — stamp columns in SQLite. The write transaction is the only one there is, so between a row's
 * first and second reading only our UPDATE and the triggers that it fired have changed it. Triggers of a live source
 * note that as they note every UPDATE; the note, which stands behind the highest there was before, is taken back. Left out:
 * AFTER UPDATE OF a list of columns (a trigger of the user's that moves the revision would fire it all the same).
 */
#include "store/sqlite/sqlite_store.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "store/stamp_columns.h"

/* ---- declaring ---- */

static bool same_column(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        char x = *a, y = *b;
        x += x >= 'A' && x <= 'Z' ? 32 : 0;
        y += y >= 'A' && y <= 'Z' ? 32 : 0;
        if (x != y)
            return false;
    }
    return *a == *b;
}

static bool holds(const char *type, const char *word)
{
    size_t n = strlen(word);
    for (; *type; type++) {
        size_t i = 0;
        while (i < n && (type[i] == word[i] || type[i] == word[i] + 32))
            i++;
        if (i == n)
            return true;
    }
    return false;
}

/* Would a text that is written there be read back as it was? By SQLite's rules of affinity, and those of STRICT tables; a
 * column that is declared as a time keeps the text of one. */
static bool keeps_text(const char *type, bool time)
{
    if (holds(type, "INT"))
        return false;
    return !*type || holds(type, "CHAR") || holds(type, "CLOB") || holds(type, "TEXT") ||
           same_column(type, "ANY") || (time && (holds(type, "TIME") || holds(type, "DATE")));
}

static int check_column(quern__sqlite *s, const quern_source_spec *spec, const char *name,
                        bool time, quern_error *err)
{
    quern__stmt *stmt;
    quern__arena arena;
    const char *type = NULL;
    bool not_null = false, made = false;
    quern__arena_init(&arena, 1 << 16);
    int rc = quern__db_prepare(
        s->src,
        "SELECT type, \"notnull\" OR pk > 0, hidden FROM pragma_table_xinfo(?1) WHERE name = ?2"
        " COLLATE NOCASE",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->src, stmt, 1, quern_str_of(spec->table));
    quern__db_bind_text(s->src, stmt, 2, quern_str_of(name));
    rc = quern__db_step(s->src, stmt, err);
    if (rc == 1) {
        quern_str t = quern__db_get_text(stmt, 0);
        type = quern__arena_copy(&arena, t.ptr ? t.ptr : "", t.len);
        not_null = quern__db_get_int(stmt, 1) != 0;
        made = quern__db_get_int(stmt, 2) != 0;
    }
    quern__db_finish(s->src, stmt);
    if (rc == 1 && !type)
        rc = quern__fail_memory(err, 0);
    else if (rc == 0)
        rc = quern__fail(err, QUERN_ENOTFOUND, 0, "source '%s': table '%s' has no column '%s'",
                         spec->name, spec->table, name);
    else if (rc == 1 && made)
        rc = quern__fail(err, QUERN_EINVAL, 0,
                         "source '%s': stamp column '%s' is generated: it cannot be written",
                         spec->name, name);
    else if (rc == 1 && not_null)
        rc = quern__fail(err, QUERN_EINVAL, 0,
                         "source '%s': stamp column '%s' is NOT NULL, but a document without "
                         "vectors has none",
                         spec->name, name);
    else if (rc == 1 && !keeps_text(type, time))
        rc = quern__fail(err, QUERN_EINVAL, 0,
                         "source '%s': stamp column '%s' is of type %.40s; it takes %s", spec->name,
                         name, type, time ? "TEXT, DATETIME or TIMESTAMP" : "TEXT");
    else if (rc == 1)
        rc = QUERN_OK;
    quern__arena_dispose(&arena);
    return rc;
}

static int is_table(quern__sqlite *s, const char *name, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        s->src,
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1 COLLATE NOCASE"
        " AND sql NOT LIKE 'CREATE VIRTUAL%'",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->src, stmt, 1, quern_str_of(name));
    rc = quern__db_step(s->src, stmt, err);
    quern__db_finish(s->src, stmt);
    return rc;
}

int quern__sqlite_stamp_columns_check(void *self, const quern_source_spec *spec,
                                      const char *const *read, size_t n, quern_error *err)
{
    quern__sqlite *s = self;
    quern__arena arena;
    quern__stamp_columns c;
    quern__arena_init(&arena, 1 << 20);
    int rc = quern__stamp_columns_check(spec, &arena, &c, err);
    if (!rc && s->src != s->own)
        rc = quern__fail(err, QUERN_EUNSUPPORTED, 0,
                         "source '%s': stamp columns lie in %s, which is only read: the store is "
                         "in another file",
                         spec->name, quern__db_path(s->src));
    int there = rc ? 1 : is_table(s, spec->table, err);
    if (there < 0)
        rc = there;
    else if (!there)
        rc = quern__fail(err, QUERN_EINVAL, 0,
                         "source '%s': '%s' is no table: stamp columns cannot be written",
                         spec->name, spec->table);
    if (!rc)
        rc = quern__stamp_columns_apart(spec, &c, read, n, same_column, &arena, err);
    if (!rc && c.generated_at)
        rc = check_column(s, spec, c.generated_at, true, err);
    if (!rc && c.model)
        rc = check_column(s, spec, c.model, false, err);
    quern__arena_dispose(&arena);
    return rc;
}

/* ---- writing ---- */

enum { AT_TIME = 40, AT_MODEL, AT_MARK, AT_SOURCE }; /* parameters, behind those of a plan */

static int blame(const quern_source_spec *spec, int rc, const quern_error *inner, quern_error *err)
{
    /* what the table does not take was fine by its columns: it is no fault of the declaration */
    return quern__fail(err, rc == QUERN_EINVAL ? QUERN_EMISMATCH : rc, inner->detail,
                       "source '%s': its stamp columns: %s", spec->name, inner->msg);
}

/* Runs p->sql, which ends with the key's condition. time, model: NULL where the statement has none, "" for NULL. */
static int run_for_row(quern__sqlite_plan *p, quern_str key, const char *time, quern_str model,
                       int64_t mark, int64_t source, quern__arena *arena, quern_error *err)
{
    quern__stmt *stmt = NULL;
    quern_error inner = {0};
    int rc = quern__buf_ok(&p->sql, "a statement", err);
    if (rc)
        return rc;
    rc = quern__db_prepare(p->db, p->sql.data, &stmt, &inner);
    if (rc)
        return blame(p->spec, rc, &inner, err);
    rc = quern__sqlite_bind_key(p, stmt, key, arena, &inner);
    if (rc) {
        quern__db_finish(p->db, stmt);
        return blame(p->spec, rc, &inner, err);
    }
    if (time && *time)
        quern__db_bind_text(p->db, stmt, AT_TIME, quern_str_of(time));
    if (model.len)
        quern__db_bind_text(p->db, stmt, AT_MODEL, model);
    if (source) {
        quern__db_bind_int(p->db, stmt, AT_MARK, mark);
        quern__db_bind_int(p->db, stmt, AT_SOURCE, source);
    }
    rc = quern__db_run(p->db, stmt, &inner);
    return rc ? blame(p->spec, rc, &inner, err) : QUERN_OK;
}

int quern__sqlite_stamp_columns(quern__sqlite *s, quern__sqlite_plan *p, const quern_read *read,
                                const quern_save *doc, const quern_row *row, int64_t now_ms,
                                quern__arena *arena, quern_row *after, quern_error *err)
{
    quern__stamp_columns c;
    char time[QUERN__STAMP_TIME];
    int rc = quern__stamp_columns_check(p->spec, arena, &c, err);
    if (rc)
        return rc;
    quern__stamp_time(doc, &row->stamp, now_ms, time);
    quern__buf_clear(&p->sql);
    quern__buf_puts(&p->sql, "UPDATE ");
    quern__sql_quote(&p->sql, p->spec->table);
    quern__buf_puts(&p->sql, " SET ");
    if (c.generated_at) {
        quern__sql_quote(&p->sql, c.generated_at);
        quern__buf_printf(&p->sql, " = ?%d%s", AT_TIME, c.model ? ", " : "");
    }
    if (c.model) {
        quern__sql_quote(&p->sql, c.model);
        quern__buf_printf(&p->sql, " = ?%d", AT_MODEL);
    }
    quern__buf_puts(&p->sql, " WHERE 1");
    quern__sqlite_put_key(p, &p->sql);
    quern_str model = c.model && *time ? doc->model : (quern_str){NULL, 0};
    rc = run_for_row(p, doc->key, c.generated_at ? time : NULL, model, 0, 0, arena, err);
    int there = rc ? rc : quern__sqlite_row(s, p, read, doc->key, arena, after, err);
    if (there ==
        0) /* the predicate is of the columns that were written, or a trigger took the row away */
        return quern__fail(
            err, QUERN_EINVAL, 0,
            "source '%s': a row that its stamp columns are written into is no longer "
            "a document; leave them out of the predicate",
            p->spec->name);
    return there < 0 ? there : QUERN_OK;
}

int quern__sqlite_notes(quern__sqlite *s, int64_t *mark, quern_error *err)
{
    *mark = 0;
    int rc = quern__db_int(s->own, "SELECT coalesce(max(id), 0) FROM quern_changes", mark, err);
    return rc < 0 ? rc : QUERN_OK;
}

/* What our UPDATE, and a trigger's of the same row, have noted for this source. */
static int drop_notes(quern__sqlite *s, quern__sqlite_plan *p, quern_str key, int64_t mark,
                      quern_error *err)
{
    int64_t now = 0, source = 0;
    quern__arena arena;
    int rc = quern__sqlite_notes(s, &now, err);
    if (rc || now <= mark)
        return rc;
    rc = quern__sqlite_source_id(s, p->spec->name, &source, err);
    quern__arena_init(&arena, 0);
    quern__buf_clear(&p->sql);
    quern__buf_printf(
        &p->sql, "DELETE FROM quern_changes WHERE id > ?%d AND source = ?%d AND key = (SELECT ",
        AT_MARK, AT_SOURCE);
    for (size_t i = 0; i < p->n_keys; i++) {
        quern__buf_puts(&p->sql, i ? " || ',' || quote(" : "quote(");
        quern__sql_quote(&p->sql, p->spec->table);
        quern__buf_putc(&p->sql, '.');
        quern__sql_quote(&p->sql, p->keys[i]);
        quern__buf_putc(&p->sql, ')');
    }
    quern__buf_puts(&p->sql, " FROM ");
    quern__sql_quote(&p->sql, p->spec->table);
    quern__buf_puts(&p->sql, " WHERE 1");
    quern__sqlite_put_key(p, &p->sql);
    quern__buf_putc(&p->sql, ')');
    if (!rc)
        rc = run_for_row(p, key, NULL, (quern_str){NULL, 0}, mark, source, &arena, err);
    quern__arena_dispose(&arena);
    return rc;
}

/* Of every generation of the source's that may be saved into. */
static int move_stamps(quern__sqlite *s, int64_t generation, quern_str key, quern_str old,
                       quern_str new, quern_error *err)
{
    static const char *const statements[] = {
        "UPDATE quern_stamps SET revision = ?4 WHERE key = ?2 AND revision = ?3 AND generation IN"
        " (SELECT b.id FROM quern_generations AS a JOIN quern_generations AS b"
        " ON b.source = a.source WHERE a.id = ?1 AND b.state <> 'retired')",
        "UPDATE quern_texts SET revision = ?4 WHERE key = ?2 AND revision = ?3 AND generation IN"
        " (SELECT b.id FROM quern_generations AS a JOIN quern_generations AS b"
        " ON b.source = a.source WHERE a.id = ?1 AND b.state <> 'retired')",
        "UPDATE quern_kept SET revision = ?4 WHERE key = ?2 AND revision = ?3 AND generation IN"
        " (SELECT b.id FROM quern_generations AS a JOIN quern_generations AS b"
        " ON b.source = a.source WHERE a.id = ?1 AND b.state <> 'retired')"};
    int rc = QUERN_OK;
    for (size_t i = 0; i < QUERN__COUNT(statements) && !rc; i++) {
        quern__stmt *stmt;
        rc = quern__db_prepare(s->own, statements[i], &stmt, err);
        if (rc)
            break;
        quern__db_bind_int(s->own, stmt, 1, generation);
        quern__db_bind_text(s->own, stmt, 2, key);
        quern__db_bind_text(s->own, stmt, 3, old);
        quern__db_bind_text(s->own, stmt, 4, new);
        rc = quern__db_run(s->own, stmt, err);
    }
    return rc;
}

int quern__sqlite_stamp_settle(quern__sqlite *s, quern__sqlite_plan *p, const quern_read *read,
                               quern_str key, quern_str old, quern_str new, int64_t mark,
                               quern_error *err)
{
    bool moved = new.len && (new.len != old.len || memcmp(old.ptr, new.ptr, new.len) != 0);
    int rc = drop_notes(s, p, key, mark, err);
    return rc || !moved ? rc : move_stamps(s, read->generation, key, old, new, err);
}
