/*
 * sqlite_requeue.c — marks stamps as asked for again. The mark is a column of the stamp and not its removal: a
 * document without a stamp would vanish from searches until it is embedded anew.
 */
#include "store/sqlite/sqlite_store.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/os.h"

enum { STAMPS = 200 }; /* looked at by one statement */

typedef struct marking {
    quern__sqlite *s;
    int64_t generation;
    int what;
    const quern_str *keys;
    size_t n, at; /* of keys */
    char *after;  /* else: the last key looked at */
    bool finished;
} marking;

static int mark(marking *m, const char *sql, quern_str from, quern_str to, int64_t *changed,
                quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(m->s->own, sql, &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(m->s->own, stmt, 1, m->generation);
    quern__db_bind_text(m->s->own, stmt, 2, from);
    if (to.ptr)
        quern__db_bind_text(m->s->own, stmt, 3, to);
    rc = quern__db_run(m->s->own, stmt, err);
    if (!rc)
        *changed += quern__db_changes(m->s->own);
    return rc;
}

/* The key that ends the next STAMPS stamps; *to NULL when fewer are left. */
static int find_end(const marking *m, char **to, quern_error *err)
{
    quern__stmt *stmt;
    *to = NULL;
    int rc = quern__db_prepare(m->s->own,
                               "SELECT key FROM quern_stamps WHERE generation = ?1 AND key > ?2"
                               " ORDER BY key LIMIT 1 OFFSET ?3",
                               &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(m->s->own, stmt, 1, m->generation);
    quern__db_bind_text(m->s->own, stmt, 2, quern_str_of(m->after ? m->after : ""));
    quern__db_bind_int(m->s->own, stmt, 3, STAMPS - 1);
    rc = quern__db_step(m->s->own, stmt, err);
    if (rc == 1) {
        quern_str key = quern__db_get_text(stmt, 0);
        *to = quern__strndup(key.ptr, key.len);
        rc = *to ? QUERN_OK : quern__fail_memory(err, key.len);
    }
    quern__db_finish(m->s->own, stmt);
    return rc;
}

/* One key, or STAMPS stamps. */
static int mark_some(marking *m, int64_t *changed, quern_error *err)
{
    const quern_str none = {NULL, 0};
    if (m->what == QUERN_REQUEUE_KEYS) {
        int rc = m->at == m->n ? QUERN_OK
                               : mark(m,
                                      "UPDATE quern_stamps SET redo = 1 WHERE generation = ?1"
                                      " AND key = ?2",
                                      m->keys[m->at], none, changed, err);
        m->finished = m->at == m->n || ++m->at == m->n;
        return rc;
    }
    char *to = NULL;
    int rc = find_end(m, &to, err);
    const char *failed = m->what == QUERN_REQUEUE_FAILED ? " AND outcome = 3" : "";
    quern__buf sql;
    quern__buf_init(&sql, 1024);
    quern__buf_printf(&sql,
                      "UPDATE quern_stamps SET redo = 1 WHERE generation = ?1 AND key > ?2%s%s",
                      to ? " AND key <= ?3" : "", failed);
    if (!rc)
        rc = quern__buf_ok(&sql, "a statement", err);
    if (!rc)
        rc = mark(m, sql.data, quern_str_of(m->after ? m->after : ""), quern_str_of(to), changed,
                  err);
    quern__buf_dispose(&sql);
    quern__free(m->after);
    m->after = to;
    m->finished = to == NULL;
    return rc;
}

static int mark_slice(marking *m, uint64_t *marked, quern_error *err)
{
    uint64_t began = quern__now_ns();
    char state[12];
    size_t width;
    int64_t changed = 0;
    int rc = quern__db_begin(m->s->own, err);
    if (rc)
        return rc;
    rc = quern__sqlite_generation_width(m->s, m->generation, &width, state, err);
    if (!rc && strcmp(state, "retired") == 0)
        rc = quern__fail(err, QUERN_EMISMATCH, m->generation,
                         "generation %" PRId64 " is retired; nothing in it can be asked for again",
                         m->generation);
    while (!rc && !m->finished && quern__now_ns() - began < (uint64_t)QUERN__SLICE_MS * 1000000)
        rc = mark_some(m, &changed, err);
    if (rc)
        quern__db_rollback(m->s->own);
    else
        rc = quern__db_commit(m->s->own, err);
    *marked += rc ? 0 : (uint64_t)changed;
    return rc;
}

int quern__sqlite_requeue(void *self, int64_t generation, int what, const quern_str *keys, size_t n,
                          uint64_t *marked, quern_error *err)
{
    marking m = {.s = self, .generation = generation, .what = what, .keys = keys, .n = n};
    int rc = QUERN_OK;
    *marked = 0;
    while (!rc && !m.finished)
        rc = mark_slice(&m, marked, err);
    quern__free(m.after);
    return rc;
}
