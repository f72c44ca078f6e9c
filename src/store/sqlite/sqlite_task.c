/*
 * sqlite_task.c — tasks in SQLite. A claim is one short write transaction, and only when a look has found something
 * that is due: a worker that has nothing to do never takes the write lock. Nobody can claim between our look and our
 * update, because BEGIN IMMEDIATE admits one writer; that is SKIP LOCKED's guarantee here.
 *
 * The clock is the machine's wall clock, the one that all processes on a SQLite file share. Whoever claims first
 * moves what lies ahead of the clock (set_ms in the future: the clock was set back): a lease then ends after at
 * most the time it was given, counted from now, and never before.
 */
#include "store/sqlite/sqlite_store.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"
#include "store/row_key.h"

enum { CLOCK_SLACK_MS = 1000, MOST_CLAIMED = 10000 };

static int64_t new_lease(void)
{
    int64_t lease;
    do
        lease = (int64_t)(quern__os_entropy() >> 1);
    while (lease == 0);
    return lease;
}

/* A statement whose integers are bound from ?1 on. */
static int run_ints(quern__sqlite *s, const char *sql, const int64_t *values, int n,
                    int64_t *changed, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(s->own, sql, &stmt, err);
    if (rc)
        return rc;
    for (int i = 0; i < n; i++)
        quern__db_bind_int(s->own, stmt, i + 1, values[i]);
    rc = quern__db_run(s->own, stmt, err);
    if (!rc && changed)
        *changed = quern__db_changes(s->own);
    return rc;
}

/* Ends a transaction one way or the other. */
static int end(quern__sqlite *s, int rc, quern_error *err)
{
    if (!rc)
        return quern__db_commit(s->own, err);
    quern__db_rollback(s->own);
    return rc;
}

/* ---- put ---- */

/* A statement with ?1 source, ?2 key, ?3 reason, ?4 now. */
static int run_put(quern__sqlite *s, const char *sql, int64_t source, quern_str key,
                   const char *reason, int64_t now, int64_t *changed, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(s->own, sql, &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, source);
    quern__db_bind_text(s->own, stmt, 2, key);
    quern__db_bind_text(s->own, stmt, 3, quern_str_of(reason));
    quern__db_bind_int(s->own, stmt, 4, now);
    rc = quern__db_run(s->own, stmt, err);
    *changed = rc ? 0 : quern__db_changes(s->own);
    return rc;
}

int quern__sqlite_task_put_one(quern__sqlite *s, int64_t source, quern_str key, const char *reason,
                               int64_t now, uint64_t *added, quern_error *err)
{
    int64_t changed = 0;
    int rc = run_put(s,
                     "UPDATE quern_tasks SET reason = ?3, again = (lease <> 0),"
                     " due_ms = CASE WHEN lease <> 0 THEN due_ms ELSE min(due_ms, ?4) END,"
                     " set_ms = CASE WHEN lease <> 0 THEN set_ms ELSE ?4 END,"
                     " attempts = CASE WHEN state = 2 THEN 0 ELSE attempts END, state = 0"
                     " WHERE source = ?1 AND key = ?2",
                     source, key, reason, now, &changed, err);
    if (rc || changed)
        return rc;
    rc = run_put(s,
                 "INSERT INTO quern_tasks (source, key, reason, created_ms, due_ms, set_ms)"
                 " VALUES (?1, ?2, ?3, ?4, ?4, ?4)",
                 source, key, reason, now, &changed, err);
    *added += rc == QUERN_OK;
    return rc;
}

int quern__sqlite_task_put(void *self, const char *source, const quern_str *keys, size_t n,
                           const char *reason, uint64_t *added, quern_error *err)
{
    quern__sqlite *s = self;
    int64_t id = 0;
    uint64_t count = 0;
    *added = 0;
    int rc = quern__db_begin(s->own, err);
    if (rc)
        return rc;
    rc = quern__sqlite_source_id(s, source, &id, err);
    int64_t now = quern__wall_ms();
    for (size_t i = 0; i < n && !rc; i++)
        rc = quern__sqlite_task_put_one(s, id, keys[i], reason, now, &count, err);
    rc = end(s, rc, err);
    *added = rc ? 0 : count;
    return rc;
}

/* ---- reading tasks out ---- */

static const char task_columns[] =
    "t.id, s.name, t.key, t.reason, t.state, t.lease, t.attempts, t.created_ms, t.due_ms,"
    " t.error, t.failed_ms, t.generation";

typedef struct task_page {
    quern__arena arena;
    quern_task *tasks;
    size_t n;
} task_page;

static int read_task(quern__stmt *stmt, int64_t now, quern__arena *arena, quern_task *t,
                     quern_error *err)
{
    bool leased = quern__db_get_int(stmt, 5) != 0;
    *t = (quern_task){.id = quern__db_get_int(stmt, 0)};
    t->attempts = (uint32_t)quern__db_get_int(stmt, 6);
    t->created_ms = quern__db_get_int(stmt, 7);
    t->due_ms = quern__db_get_int(stmt, 8);
    t->failed_ms = quern__db_get_int(stmt, 10);
    t->generation = quern__db_get_int(stmt, 11);
    t->state = quern__db_get_int(stmt, 4) == QUERN_TASK_DEAD ? QUERN_TASK_DEAD
               : leased && t->due_ms > now                   ? QUERN_TASK_LEASED
                                                             : QUERN_TASK_READY;
    t->rescued = leased && t->state == QUERN_TASK_READY;
    int rc = quern__copy_str(arena, quern__db_get_text(stmt, 1), &t->source, err);
    if (!rc)
        rc = quern__copy_str(arena, quern__db_get_text(stmt, 2), &t->key, err);
    if (!rc)
        rc = quern__copy_str(arena, quern__db_get_text(stmt, 3), &t->reason, err);
    return rc ? rc : quern__copy_str(arena, quern__db_get_text(stmt, 9), &t->error, err);
}

/* Steps a statement of task_columns to its end, limit rows at most, and finishes it. */
static int read_page(quern__sqlite *s, quern__stmt *stmt, size_t limit, int64_t now,
                     task_page *page, quern_error *err)
{
    size_t room = 0;
    int rc = QUERN_OK;
    while (!rc && page->n < limit && (rc = quern__db_step(s->own, stmt, err)) == 1) {
        if (page->n == room) {
            room = room ? 2 * room : 64;
            quern_task *more = quern__resize_array(page->tasks, room, sizeof *more);
            if (!more) {
                rc = quern__fail_memory(err, room * sizeof *more);
                break;
            }
            page->tasks = more;
        }
        rc = read_task(stmt, now, &page->arena, &page->tasks[page->n], err);
        page->n += !rc;
    }
    quern__db_finish(s->own, stmt);
    return rc > 0 ? QUERN_OK : rc;
}

static void drop_page(task_page *page)
{
    quern__arena_dispose(&page->arena);
    quern__free(page->tasks);
}

/* ---- claim ---- */

/* Is there anything to claim, or to move back to the clock? Without a lock. */
static int look(quern__sqlite *s, int64_t now, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        s->own,
        "SELECT EXISTS (SELECT 1 FROM quern_tasks WHERE state = 0 AND due_ms <= ?1)"
        " OR EXISTS (SELECT 1 FROM quern_tasks WHERE set_ms > ?2)",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, now);
    quern__db_bind_int(s->own, stmt, 2, now + CLOCK_SLACK_MS);
    rc = quern__db_step(s->own, stmt, err);
    bool any = rc == 1 && quern__db_get_int(stmt, 0) != 0;
    quern__db_finish(s->own, stmt);
    return rc < 0 ? rc : any;
}

static int pick(quern__sqlite *s, const char *source, size_t limit, int64_t now, task_page *page,
                quern_error *err)
{
    quern__buf sql;
    quern__stmt *stmt = NULL;
    quern__buf_init(&sql, 4096);
    quern__buf_printf(&sql,
                      "SELECT %s FROM quern_tasks AS t JOIN quern_sources AS s ON s.id = t.source"
                      " WHERE t.state = 0 AND t.due_ms <= ?1 AND s.dropped = 0%s"
                      " ORDER BY t.due_ms, t.id LIMIT ?2",
                      task_columns, source ? " AND s.name = ?3" : "");
    int rc = quern__buf_ok(&sql, "a statement", err);
    if (!rc)
        rc = quern__db_prepare(s->own, sql.data, &stmt, err);
    if (!rc) {
        quern__db_bind_int(s->own, stmt, 1, now);
        quern__db_bind_int(s->own, stmt, 2, (int64_t)limit);
        if (source)
            quern__db_bind_text(s->own, stmt, 3, quern_str_of(source));
        rc = read_page(s, stmt, limit, now, page, err);
    }
    quern__buf_dispose(&sql);
    return rc;
}

static int take(quern__sqlite *s, quern_task *t, int64_t lease, int64_t now, uint32_t lease_ms,
                quern_error *err)
{
    int64_t values[] = {t->id, lease, now, now + (int64_t)lease_ms};
    int rc = run_ints(s,
                      "UPDATE quern_tasks SET lease = ?2, again = 0, attempts = attempts + 1,"
                      " set_ms = ?3, due_ms = ?4 WHERE id = ?1",
                      values, 4, NULL, err);
    if (!rc && t->rescued)
        rc = run_ints(s,
                      "UPDATE quern_sources SET rescued = rescued + 1"
                      " WHERE id = (SELECT source FROM quern_tasks WHERE id = ?1)",
                      values, 1, NULL, err);
    t->attempts++;
    t->state = QUERN_TASK_LEASED;
    t->due_ms = values[3];
    return rc;
}

int quern__sqlite_task_claim(void *self, const char *source, size_t limit, uint32_t lease_ms,
                             int64_t *lease, quern_task_fn fn, void *ud, quern_error *err)
{
    quern__sqlite *s = self;
    task_page page = {0};
    int64_t now = quern__wall_ms();
    *lease = 0;
    limit = QUERN__MIN(limit, (size_t)MOST_CLAIMED);
    int rc = look(s, now, err);
    if (rc <= 0)
        return rc;
    quern__arena_init(&page.arena, 0);
    rc = quern__db_begin(s->own, err);
    if (rc)
        return rc;
    now = quern__wall_ms();
    rc = run_ints(s,
                  "UPDATE quern_tasks SET due_ms = due_ms - set_ms + ?1, set_ms = ?1"
                  " WHERE set_ms > ?2",
                  (int64_t[]){now, now + CLOCK_SLACK_MS}, 2, NULL, err);
    if (!rc)
        rc = pick(s, source, limit, now, &page, err);
    int64_t token = new_lease();
    for (size_t i = 0; i < page.n && !rc; i++)
        rc = take(s, &page.tasks[i], token, now, lease_ms, err);
    rc = end(s, rc, err);
    *lease = rc || !page.n ? 0 : token;
    for (size_t i = 0; i < page.n && !rc; i++)
        rc = fn(&page.tasks[i], ud);
    drop_page(&page);
    return rc;
}

/* ---- renew and settle ---- */

int quern__sqlite_task_renew(void *self, int64_t lease, uint32_t lease_ms, uint64_t *held,
                             quern_error *err)
{
    int64_t now = quern__wall_ms(), changed = 0;
    *held = 0;
    if (!lease)
        return QUERN_OK;
    int rc = run_ints(
        self, "UPDATE quern_tasks SET set_ms = ?2, due_ms = ?3 WHERE lease = ?1 AND lease <> 0",
        (int64_t[]){lease, now, now + (int64_t)lease_ms}, 3, &changed, err);
    *held = rc ? 0 : (uint64_t)changed;
    return rc;
}

static int settle_one(quern__sqlite *s, int64_t lease, const quern_task_end *e, int64_t now,
                      uint8_t *settled, quern_error *err)
{
    quern__stmt *stmt;
    int64_t changed = 0;
    int rc = QUERN_OK;
    if (e->kind == QUERN_TASK_DONE)
        rc = run_ints(s, "DELETE FROM quern_tasks WHERE id = ?1 AND lease = ?2 AND again = 0",
                      (int64_t[]){e->id, lease}, 2, &changed, err);
    if (!rc && !changed) {
        rc = quern__db_prepare(s->own,
                               "UPDATE quern_tasks SET lease = 0, again = 0, set_ms = ?4,"
                               " due_ms = ?4 + CASE WHEN again THEN 0 ELSE ?5 END,"
                               " state = CASE WHEN ?3 = 3 AND NOT again THEN 2 ELSE 0 END,"
                               " attempts = CASE WHEN again AND ?3 IN (0, 3) THEN 0"
                               "  WHEN ?3 = 2 THEN max(attempts - 1, 0) ELSE attempts END,"
                               " error = CASE WHEN ?3 IN (1, 3) THEN ?6 ELSE error END,"
                               " failed_ms = CASE WHEN ?3 IN (1, 3) THEN ?4 ELSE failed_ms END,"
                               " generation = CASE WHEN ?3 IN (1, 3) THEN ?7 ELSE generation END"
                               " WHERE id = ?1 AND lease = ?2",
                               &stmt, err);
        if (rc)
            return rc;
        quern__db_bind_int(s->own, stmt, 1, e->id);
        quern__db_bind_int(s->own, stmt, 2, lease);
        quern__db_bind_int(s->own, stmt, 3, e->kind);
        quern__db_bind_int(s->own, stmt, 4, now);
        quern__db_bind_int(s->own, stmt, 5, (int64_t)e->delay_ms);
        quern__db_bind_text(s->own, stmt, 6, e->error);
        quern__db_bind_int(s->own, stmt, 7, e->generation);
        rc = quern__db_run(s->own, stmt, err);
        changed = rc ? 0 : quern__db_changes(s->own);
    }
    *settled = !rc && changed;
    return rc;
}

int quern__sqlite_task_settle(void *self, int64_t lease, const quern_task_end *ends, size_t n,
                              uint8_t *settled, quern_error *err)
{
    quern__sqlite *s = self;
    memset(settled, 0, n);
    if (!n || !lease)
        return QUERN_OK;
    int rc = quern__db_begin(s->own, err);
    if (rc)
        return rc;
    int64_t now = quern__wall_ms();
    for (size_t i = 0; i < n && !rc; i++)
        rc = settle_one(s, lease, &ends[i], now, &settled[i], err);
    rc = end(s, rc, err);
    if (rc)
        memset(settled, 0, n);
    return rc;
}

int quern__sqlite_task_held(quern__sqlite *s, const char *source, quern_str key, int64_t lease,
                            quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        s->own,
        "SELECT 1 FROM quern_tasks AS t JOIN quern_sources AS s ON s.id = t.source"
        " WHERE s.name = ?1 AND s.dropped = 0 AND t.key = ?2 AND t.lease = ?3",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->own, stmt, 1, quern_str_of(source));
    quern__db_bind_text(s->own, stmt, 2, key);
    quern__db_bind_int(s->own, stmt, 3, lease);
    rc = quern__db_step(s->own, stmt, err);
    quern__db_finish(s->own, stmt);
    return rc;
}

int quern__sqlite_task_forget(quern__sqlite *s, const char *source, quern_str key, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        s->own,
        "DELETE FROM quern_tasks WHERE source ="
        " (SELECT id FROM quern_sources WHERE name = ?1 AND dropped = 0) AND key = ?2",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->own, stmt, 1, quern_str_of(source));
    quern__db_bind_text(s->own, stmt, 2, key);
    return quern__db_run(s->own, stmt, err);
}

/* ---- statistics and lists ---- */

static int count_rescued(quern__sqlite *s, const char *source, quern_task_stats *out,
                         quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(s->own,
                               "SELECT coalesce(sum(rescued), 0), count(*) FROM quern_sources"
                               " WHERE dropped = 0 AND (?1 = '' OR name = ?1)",
                               &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->own, stmt, 1, quern_str_of(source));
    rc = quern__db_step(s->own, stmt, err);
    int64_t sources = rc == 1 ? quern__db_get_int(stmt, 1) : 0;
    out->rescued = rc == 1 ? (uint64_t)quern__db_get_int(stmt, 0) : 0;
    quern__db_finish(s->own, stmt);
    if (rc == 1 && source && !sources)
        return quern__fail(err, QUERN_ENOTFOUND, 0, "there is no source '%s'", source);
    return rc < 0 ? rc : QUERN_OK;
}

int quern__sqlite_task_stats(void *self, const char *source, quern_task_stats *out,
                             quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    int64_t now = quern__wall_ms(), oldest = now;
    memset(out, 0, sizeof *out);
    out->struct_size = sizeof *out;
    int rc = count_rescued(s, source, out, err);
    if (!rc)
        rc = quern__db_prepare(
            s->own,
            "SELECT CASE WHEN t.state = 2 THEN 3 WHEN t.due_ms <= ?2 THEN 0"
            " WHEN t.lease <> 0 THEN 2 ELSE 1 END, min(t.attempts, ?3), count(*), min(t.created_ms)"
            " FROM quern_tasks AS t JOIN quern_sources AS s ON s.id = t.source"
            " WHERE s.dropped = 0 AND (?1 = '' OR s.name = ?1) GROUP BY 1, 2",
            &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->own, stmt, 1, quern_str_of(source));
    quern__db_bind_int(s->own, stmt, 2, now);
    quern__db_bind_int(s->own, stmt, 3, QUERN_TASK_HISTOGRAM - 1);
    while ((rc = quern__db_step(s->own, stmt, err)) == 1) {
        int64_t kind = quern__db_get_int(stmt, 0), n = quern__db_get_int(stmt, 2);
        uint64_t *counts[] = {&out->ready, &out->waiting, &out->leased, &out->dead};
        *counts[kind] += (uint64_t)n;
        if (kind == 3)
            continue;
        out->attempts[quern__db_get_int(stmt, 1)] += (uint64_t)n;
        oldest = QUERN__MIN(oldest, quern__db_get_int(stmt, 3));
    }
    quern__db_finish(s->own, stmt);
    out->oldest_ms = (uint64_t)(now - oldest);
    return rc;
}

int quern__sqlite_task_list(void *self, const char *source, int state, int64_t after, size_t limit,
                            quern_task_fn fn, void *ud, quern_error *err)
{
    quern__sqlite *s = self;
    task_page page = {0};
    quern__stmt *stmt = NULL;
    quern__buf sql;
    int64_t now = quern__wall_ms();
    limit = QUERN__MIN(limit, (size_t)MOST_CLAIMED);
    quern__arena_init(&page.arena, 0);
    quern__buf_init(&sql, 4096);
    quern__buf_printf(&sql,
                      "SELECT %s FROM quern_tasks AS t JOIN quern_sources AS s ON s.id = t.source"
                      " WHERE s.dropped = 0 AND t.id > ?1 AND (?2 = '' OR s.name = ?2) AND"
                      " CASE WHEN t.state = 2 THEN 2 WHEN t.lease <> 0 AND t.due_ms > ?3 THEN 1"
                      " ELSE 0 END = ?4 ORDER BY t.id LIMIT ?5",
                      task_columns);
    int rc = quern__buf_ok(&sql, "a statement", err);
    if (!rc)
        rc = quern__db_prepare(s->own, sql.data, &stmt, err);
    if (!rc) {
        quern__db_bind_int(s->own, stmt, 1, after);
        quern__db_bind_text(s->own, stmt, 2, quern_str_of(source));
        quern__db_bind_int(s->own, stmt, 3, now);
        quern__db_bind_int(s->own, stmt, 4, state);
        quern__db_bind_int(s->own, stmt, 5, (int64_t)limit);
        rc = read_page(s, stmt, limit, now, &page, err);
    }
    for (size_t i = 0; i < page.n && !rc; i++)
        rc = fn(&page.tasks[i], ud);
    quern__buf_dispose(&sql);
    drop_page(&page);
    return rc;
}

int quern__sqlite_task_known(void *self, const char *source, const quern_str *keys, size_t n,
                             uint8_t *known, quern_error *err)
{
    quern__sqlite *s = self;
    int64_t id = 0;
    int rc = quern__sqlite_source_id(s, source, &id, err);
    for (size_t i = 0; i < n && rc >= 0; i++) {
        quern__stmt *stmt;
        rc = quern__db_prepare(s->own, "SELECT 1 FROM quern_tasks WHERE source = ?1 AND key = ?2",
                               &stmt, err);
        if (rc)
            break;
        quern__db_bind_int(s->own, stmt, 1, id);
        quern__db_bind_text(s->own, stmt, 2, keys[i]);
        rc = quern__db_step(s->own, stmt, err);
        known[i] = rc == 1;
        quern__db_finish(s->own, stmt);
    }
    return rc < 0 ? rc : QUERN_OK;
}

/* ---- revive and remove ---- */

/* Runs a statement of ?1 source, ?2 now and, for each of the keys, ?3; without keys once with all = 1 in ?4. */
static int for_keys(quern__sqlite *s, const char *sql, const char *source, const quern_str *keys,
                    size_t n, uint64_t *count, quern_error *err)
{
    int64_t id = 0, now = quern__wall_ms();
    uint64_t sum = 0;
    *count = 0;
    int rc = quern__db_begin(s->own, err);
    if (rc)
        return rc;
    rc = quern__sqlite_source_id(s, source, &id, err);
    for (size_t i = 0; i < (keys ? n : 1) && !rc; i++) {
        quern__stmt *stmt;
        rc = quern__db_prepare(s->own, sql, &stmt, err);
        if (rc)
            break;
        quern__db_bind_int(s->own, stmt, 1, id);
        quern__db_bind_int(s->own, stmt, 2, now);
        quern__db_bind_text(s->own, stmt, 3, keys ? keys[i] : quern_str_of(""));
        quern__db_bind_int(s->own, stmt, 4, keys == NULL);
        rc = quern__db_run(s->own, stmt, err);
        sum += rc ? 0 : (uint64_t)quern__db_changes(s->own);
    }
    rc = end(s, rc, err);
    *count = rc ? 0 : sum;
    return rc;
}

int quern__sqlite_task_revive(void *self, const char *source, const quern_str *keys, size_t n,
                              uint64_t *revived, quern_error *err)
{
    return for_keys(self,
                    "UPDATE quern_tasks SET state = 0, attempts = 0, due_ms = ?2, set_ms = ?2"
                    " WHERE source = ?1 AND state = 2 AND (key = ?3 OR ?4)",
                    source, keys, n, revived, err);
}

int quern__sqlite_task_remove(void *self, const char *source, const quern_str *keys, size_t n,
                              uint64_t *removed, quern_error *err)
{
    return for_keys(self,
                    "DELETE FROM quern_tasks WHERE source = ?1 AND ?2 <> 0 AND (key = ?3 OR ?4)",
                    source, keys, n, removed, err);
}
