/*
 * sqlite_live.c — live sources in SQLite: three triggers on the user's table that note keys in quern_changes, and how these
 * become tasks. The triggers run in whatever program writes to the table, with the SQLite that it has: they use
 * quote() and nothing newer. What quote() spells is parsed here, when a worker drains the notes, and made the key
 * that a scan of the row would give. A note is one short row: nothing of it can make the user's own statement fail but a
 * full disk.
 *
 * SQLite tells nobody of a commit. A worker asks for PRAGMA data_version, which changes with every commit of another
 * connection, five times a second; that reads one page.
 */
#include "store/sqlite/sqlite_store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"
#include "store/row_key.h"

enum { LOOK_MS = 200, MOST_KEY_VALUES = QUERN__KEY_COLUMNS };
static const char *const events[] = {"insert", "update", "delete"};

/* ---- triggers ---- */

int quern__sqlite_live_drop(quern__sqlite *s, int64_t source, quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t i = 0; i < QUERN__COUNT(events) && !rc; i++) {
        quern__buf b;
        quern__buf_init(&b, 256);
        quern__buf_printf(&b, "DROP TRIGGER IF EXISTS \"quern_live_%" PRId64 "_%s\"", source,
                          events[i]);
        rc = quern__buf_ok(&b, "a trigger", err);
        if (!rc)
            rc = quern__db_exec(s->own, b.data, err);
        quern__buf_dispose(&b);
    }
    return rc;
}

/* "quote(NEW."a") || ',' || quote(NEW."b")" */
static void put_literal(quern__buf *out, const quern__sqlite_plan *p, const char *row)
{
    for (size_t i = 0; i < p->n_keys; i++) {
        quern__buf_printf(out, "%squote(%s.", i ? " || ',' || " : "", row);
        quern__sql_quote(out, p->keys[i]);
        quern__buf_putc(out, ')');
    }
}

static void put_note(quern__buf *out, const quern__sqlite_plan *p, int64_t source, const char *row)
{
    quern__buf_printf(out, " INSERT INTO quern_changes (source, key) SELECT %" PRId64 ", ", source);
    put_literal(out, p, row);
}

/* The built-in documents are rows of a table of ours, of one source each. */
static void put_when(quern__buf *out, bool builtin, int64_t source, const char *row)
{
    if (builtin)
        quern__buf_printf(out, " WHEN %s.source = %" PRId64, row, source);
}

static int make_trigger(quern__sqlite *s, const quern__sqlite_plan *p, int64_t source, size_t event,
                        quern_error *err)
{
    quern__buf b;
    const char *row = event == 2 ? "OLD" : "NEW";
    quern__buf_init(&b, 1 << 16);
    quern__buf_printf(&b, "CREATE TRIGGER \"quern_live_%" PRId64 "_%s\" AFTER %s ON ", source,
                      events[event], events[event]);
    quern__sql_quote(&b, p->builtin ? "quern_documents" : p->spec->table);
    put_when(&b, p->builtin, source, row);
    quern__buf_puts(&b, " BEGIN");
    put_note(&b, p, source, row);
    quern__buf_puts(&b, ";");
    if (event == 1) { /* a key that was changed: the old one has gone */
        put_note(&b, p, source, "OLD");
        quern__buf_puts(&b, " WHERE ");
        put_literal(&b, p, "OLD");
        quern__buf_puts(&b, " <> ");
        put_literal(&b, p, "NEW");
        quern__buf_puts(&b, ";");
    }
    quern__buf_puts(&b, " END");
    int rc = quern__buf_ok(&b, "a trigger", err);
    if (!rc)
        rc = quern__db_exec(s->own, b.data, err);
    quern__buf_dispose(&b);
    return rc;
}

static int is_table(quern__sqlite *s, const char *name, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        s->own,
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1 COLLATE NOCASE"
        " AND sql NOT LIKE 'CREATE VIRTUAL%'",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->own, stmt, 1, quern_str_of(name));
    rc = quern__db_step(s->own, stmt, err);
    quern__db_finish(s->own, stmt);
    return rc;
}

static int make_triggers(quern__sqlite *s, const quern_source_spec *spec, int64_t source,
                         quern_error *err)
{
    quern__sqlite_plan plan;
    quern_read read = {.source = spec};
    int there = spec->table ? is_table(s, spec->table, err) : 1;
    if (there < 0)
        return there;
    if (!there)
        return quern__fail(
            err, QUERN_EINVAL, 0,
            "source '%s': '%s' is no table of this file, and only a table has triggers", spec->name,
            spec->table);
    int rc = quern__sqlite_plan_make(&plan, s, &read, err);
    for (size_t i = 0; i < QUERN__COUNT(events) && !rc; i++)
        rc = make_trigger(s, &plan, source, i, err);
    quern__sqlite_plan_dispose(&plan);
    return rc;
}

int quern__sqlite_live_set(void *self, const quern_source_spec *spec, int on, quern_error *err)
{
    quern__sqlite *s = self;
    int64_t source = 0;
    if (on && s->src != s->own)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                           "source '%s': its table is in another file than the store, where its "
                           "triggers cannot write",
                           spec->name);
    int rc = quern__db_begin(s->own, err);
    if (rc)
        return rc;
    rc = quern__sqlite_source_id(s, spec->name, &source, err);
    if (!rc)
        rc = quern__sqlite_live_drop(s, source, err);
    if (!rc && on)
        rc = make_triggers(s, spec, source, err);
    if (!rc)
        return quern__db_commit(s->own, err);
    quern__db_rollback(s->own);
    return rc;
}

int quern__sqlite_live_get(void *self, const char *source, int *on, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    *on = 0;
    int rc = quern__db_prepare(s->own,
                               "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name ="
                               " (SELECT 'quern_live_' || id || '_insert' FROM quern_sources"
                               " WHERE name = ?1 AND dropped = 0)",
                               &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->own, stmt, 1, quern_str_of(source));
    rc = quern__db_step(s->own, stmt, err);
    quern__db_finish(s->own, stmt);
    *on = rc == 1;
    return rc < 0 ? rc : QUERN_OK;
}

/* ---- what the triggers noted ---- */

/* One literal of quote() from *at on, its bytes into the arena; false when it is none. */
static bool read_literal(const char **at, quern__arena *arena, quern_value *v)
{
    const char *from = *at;
    char *end = NULL;
    memset(v, 0, sizeof *v);
    if (*from == '\'' || *from == 'X') {
        bool blob = *from == 'X';
        from += blob;
        size_t n = 0, most = strlen(from);
        char *out = quern__arena_alloc(arena, most + 1);
        if (!out || *from++ != '\'')
            return false;
        while (*from && (*from != '\'' || from[1] == '\'')) {
            from += *from == '\'';
            out[n++] = *from++;
        }
        if (*from++ != '\'' || (blob && n % 2))
            return false;
        v->type = blob ? QUERN_VALUE_BLOB : QUERN_VALUE_TEXT;
        char *bytes = blob ? quern__arena_alloc(arena, n / 2 + 1) : out;
        if (!bytes || (blob && !quern__take_hex(out, n / 2, bytes)))
            return false;
        v->bytes = (quern_str){bytes, blob ? n / 2 : n};
        *at = from;
        return true;
    }
    size_t n = strspn(from, "+-0123456789.eE");
    if (n == 0)
        return false; /* NULL, or nothing we know: no key of a document */
    v->type = n == strspn(from, "-0123456789") ? QUERN_VALUE_INT : QUERN_VALUE_REAL;
    if (v->type == QUERN_VALUE_INT)
        v->integer = strtoll(from, &end, 10);
    else
        v->real = strtod(from, &end);
    *at = end;
    return end == from + n;
}

/* The key that the note names; NULL when it can be the key of no document. */
static int key_of_note(const char *note, quern__arena *arena, char **key, quern_error *err)
{
    quern_value values[MOST_KEY_VALUES];
    size_t n = 0;
    *key = NULL;
    do
        if (n == MOST_KEY_VALUES || !read_literal(&note, arena, &values[n++]))
            return QUERN_OK;
    while (*note++ == ',');
    if (note[-1])
        return QUERN_OK;
    int rc = quern_key_encode(values, n, key, err);
    return rc == QUERN_EFORMAT ? QUERN_OK : rc;
}

/* Notes by id, up to limit: each becomes a task. */
static int move_notes(quern__sqlite *s, size_t limit, uint64_t *moved, quern_error *err)
{
    quern__stmt *stmt;
    quern__arena arena;
    int64_t last = 0, now = quern__wall_ms();
    quern__arena_init(&arena, 0);
    int rc = quern__db_prepare(
        s->own, "SELECT id, source, key FROM quern_changes ORDER BY id LIMIT ?1", &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, (int64_t)limit);
    while ((rc = quern__db_step(s->own, stmt, err)) == 1) {
        char *key = NULL;
        uint64_t added = 0;
        quern_str note = quern__db_get_text(stmt, 2);
        last = quern__db_get_int(stmt, 0);
        rc = key_of_note(note.ptr ? note.ptr : "", &arena, &key, err);
        if (!rc && key)
            rc = quern__sqlite_task_put_one(s, quern__db_get_int(stmt, 1), quern_str_of(key),
                                            "changed", now, &added, err);
        quern__free(key);
        quern__arena_dispose(&arena);
        if (rc)
            break;
        ++*moved;
    }
    quern__db_finish(s->own, stmt);
    if (rc)
        return rc;
    rc = quern__db_prepare(s->own, "DELETE FROM quern_changes WHERE id <= ?1", &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, last);
    return quern__db_run(s->own, stmt, err);
}

int quern__sqlite_live_drain(void *self, size_t limit, uint64_t *moved, quern_error *err)
{
    quern__sqlite *s = self;
    int64_t any = 0;
    *moved = 0;
    int rc = quern__db_int(s->own, "SELECT EXISTS (SELECT 1 FROM quern_changes)", &any, err);
    if (rc < 0 || !any)
        return rc < 0 ? rc : QUERN_OK;
    rc = quern__db_begin(s->own, err);
    if (rc)
        return rc;
    rc = move_notes(s, limit, moved, err);
    if (!rc)
        return quern__db_commit(s->own, err);
    quern__db_rollback(s->own);
    *moved = 0;
    return rc;
}

/* ---- waiting ---- */

int quern__sqlite_task_wait(void *self, uint32_t wait_ms, int *woken, quern_error *err)
{
    quern__sqlite *s = self;
    int64_t version = 0;
    *woken = 0;
    for (int i = 0; i < 2; i++) {
        int rc = quern__db_int(s->own, "PRAGMA data_version", &version, err);
        if (rc < 0)
            return rc;
        *woken = version != s->data_version;
        s->data_version = version;
        if (*woken || i)
            return QUERN_OK;
        quern__sleep_ms(QUERN__MIN(wait_ms, (uint32_t)LOOK_MS));
    }
    return QUERN_OK;
}
