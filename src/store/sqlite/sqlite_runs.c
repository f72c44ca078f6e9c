/*
 * sqlite_runs.c — the log of fills: written once a run, the last QUERN__RUNS_KEPT of a source are kept, and sums by the day
 * for longer; and marks, numbers under a name.
 */
#include "store/sqlite/sqlite_store.h"
#include "store/store.h"

#include "base/compiler.h"
#include "base/os.h"

static int count_usage(quern__sqlite *s, const quern_run *run, quern_error *err)
{
    quern__stmt *stmt;
    const int64_t day = run->started_ms / QUERN__DAY_MS;
    const int64_t numbers[] = {day,
                               (int64_t)run->processed,
                               (int64_t)run->failed,
                               (int64_t)run->chunks,
                               (int64_t)run->calls,
                               (int64_t)run->tokens,
                               (int64_t)run->cached,
                               (int64_t)run->cached_tokens};
    int rc = quern__db_prepare(
        s->own,
        "INSERT INTO quern_usage (source, day, runs, processed, failed, chunks, calls, tokens,"
        " cached, cached_tokens)"
        " SELECT id, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM quern_sources WHERE name = ?1 AND NOT "
        "dropped"
        " ON CONFLICT (source, day) DO UPDATE SET runs = runs + 1,"
        " processed = processed + excluded.processed, failed = failed + excluded.failed,"
        " chunks = chunks + excluded.chunks, calls = calls + excluded.calls,"
        " tokens = tokens + excluded.tokens, cached = cached + excluded.cached,"
        " cached_tokens = cached_tokens + excluded.cached_tokens",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->own, stmt, 1, quern_str_of(run->source));
    for (int i = 0; i < (int)QUERN__COUNT(numbers); i++)
        quern__db_bind_int(s->own, stmt, i + 2, numbers[i]);
    rc = quern__db_run(s->own, stmt, err);
    if (!rc)
        rc = quern__db_prepare(s->own,
                               "DELETE FROM quern_usage WHERE day <= ?2 AND source ="
                               " (SELECT id FROM quern_sources WHERE name = ?1 AND NOT dropped)",
                               &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->own, stmt, 1, quern_str_of(run->source));
    quern__db_bind_int(s->own, stmt, 2, day - QUERN__USAGE_DAYS);
    return quern__db_run(s->own, stmt, err);
}

int quern__sqlite_run_put(void *self, const quern_run *run, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    const int64_t numbers[] = {run->generation,
                               run->started_ms,
                               run->ended_ms,
                               run->status,
                               (int64_t)run->processed,
                               (int64_t)run->failed,
                               (int64_t)run->stale,
                               (int64_t)run->deleted,
                               (int64_t)run->chunks,
                               (int64_t)run->tokens,
                               (int64_t)run->calls,
                               (int64_t)run->cached,
                               (int64_t)run->cached_tokens};
    int rc =
        quern__db_prepare(s->own,
                          "INSERT INTO quern_runs (source, generation, started_ms, ended_ms,"
                          " status, processed, failed, stale, deleted, chunks, tokens, calls,"
                          " cached, cached_tokens, error) SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8,"
                          " ?9, ?10, ?11, ?12, ?13, ?14, ?15"
                          " FROM quern_sources WHERE name = ?1 AND NOT dropped",
                          &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->own, stmt, 1, quern_str_of(run->source));
    for (int i = 0; i < (int)QUERN__COUNT(numbers); i++)
        quern__db_bind_int(s->own, stmt, i + 2, numbers[i]);
    quern__db_bind_text(s->own, stmt, 15, quern_str_of(run->error));
    rc = quern__db_run(s->own, stmt, err);
    if (!rc)
        rc = quern__db_prepare(s->own,
                               "DELETE FROM quern_runs WHERE id <= (SELECT id FROM quern_runs"
                               " WHERE source = (SELECT id FROM quern_sources WHERE name = ?1)"
                               " ORDER BY id DESC LIMIT 1 OFFSET ?2)"
                               " AND source = (SELECT id FROM quern_sources WHERE name = ?1)",
                               &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->own, stmt, 1, quern_str_of(run->source));
    quern__db_bind_int(s->own, stmt, 2, QUERN__RUNS_KEPT);
    rc = quern__db_run(s->own, stmt, err);
    return rc ? rc : count_usage(s, run, err);
}

int quern__sqlite_run_each(void *self, const char *source, size_t limit,
                           int (*fn)(const quern_run *run, void *ud), void *ud, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    int stop = 0;
    int rc = quern__db_prepare(
        s->own,
        "SELECT s.name, r.generation, r.started_ms, r.ended_ms, r.status, r.processed, r.failed,"
        " r.stale, r.deleted, r.chunks, r.tokens, r.error, r.calls, r.cached, r.cached_tokens FROM "
        "quern_runs AS r"
        " JOIN quern_sources AS s ON s.id = r.source AND NOT s.dropped"
        " WHERE ?1 IS NULL OR s.name = ?1 ORDER BY r.id DESC LIMIT ?2",
        &stmt, err);
    if (rc)
        return rc;
    if (source)
        quern__db_bind_text(s->own, stmt, 1, quern_str_of(source));
    quern__db_bind_int(s->own, stmt, 2, (int64_t)limit);
    while (!stop && (rc = quern__db_step(s->own, stmt, err)) == 1) {
        quern_run run = {.source = quern__db_get_text(stmt, 0).ptr,
                         .generation = quern__db_get_int(stmt, 1),
                         .started_ms = quern__db_get_int(stmt, 2),
                         .ended_ms = quern__db_get_int(stmt, 3),
                         .status = (int)quern__db_get_int(stmt, 4),
                         .processed = (uint64_t)quern__db_get_int(stmt, 5),
                         .failed = (uint64_t)quern__db_get_int(stmt, 6),
                         .stale = (uint64_t)quern__db_get_int(stmt, 7),
                         .deleted = (uint64_t)quern__db_get_int(stmt, 8),
                         .chunks = (uint64_t)quern__db_get_int(stmt, 9),
                         .tokens = (uint64_t)quern__db_get_int(stmt, 10),
                         .error = quern__db_get_text(stmt, 11).ptr,
                         .calls = (uint64_t)quern__db_get_int(stmt, 12),
                         .cached = (uint64_t)quern__db_get_int(stmt, 13),
                         .cached_tokens = (uint64_t)quern__db_get_int(stmt, 14)};
        stop = fn(&run, ud);
    }
    quern__db_finish(s->own, stmt);
    return stop ? stop : rc;
}

int quern__sqlite_usage_each(void *self, const char *source, size_t days,
                             int (*fn)(const quern_usage *usage, void *ud), void *ud,
                             quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    int stop = 0;
    int rc = quern__db_prepare(
        s->own,
        "SELECT s.name, u.day, u.runs, u.processed, u.failed, u.chunks, u.calls, u.tokens,"
        " u.cached, u.cached_tokens"
        " FROM quern_usage AS u JOIN quern_sources AS s ON s.id = u.source AND NOT s.dropped"
        " WHERE (?1 IS NULL OR s.name = ?1) AND u.day > ?2 ORDER BY u.day DESC, s.name",
        &stmt, err);
    if (rc)
        return rc;
    if (source)
        quern__db_bind_text(s->own, stmt, 1, quern_str_of(source));
    quern__db_bind_int(s->own, stmt, 2,
                       quern__wall_ms() / QUERN__DAY_MS -
                           (int64_t)QUERN__MIN(days, (size_t)QUERN__USAGE_DAYS));
    while (!stop && (rc = quern__db_step(s->own, stmt, err)) == 1) {
        quern_usage u = {.source = quern__db_get_text(stmt, 0).ptr,
                         .day_ms = quern__db_get_int(stmt, 1) * QUERN__DAY_MS,
                         .runs = (uint64_t)quern__db_get_int(stmt, 2),
                         .processed = (uint64_t)quern__db_get_int(stmt, 3),
                         .failed = (uint64_t)quern__db_get_int(stmt, 4),
                         .chunks = (uint64_t)quern__db_get_int(stmt, 5),
                         .calls = (uint64_t)quern__db_get_int(stmt, 6),
                         .tokens = (uint64_t)quern__db_get_int(stmt, 7),
                         .cached = (uint64_t)quern__db_get_int(stmt, 8),
                         .cached_tokens = (uint64_t)quern__db_get_int(stmt, 9)};
        stop = fn(&u, ud);
    }
    quern__db_finish(s->own, stmt);
    return stop ? stop : rc;
}

int quern__sqlite_mark_get(void *self, const char *name, int64_t *value, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    *value = 0;
    int rc = quern__db_prepare(s->own, "SELECT value FROM quern_marks WHERE name = ?1", &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->own, stmt, 1, quern_str_of(name));
    rc = quern__db_step(s->own, stmt, err);
    if (rc == 1)
        *value = quern__db_get_int(stmt, 0);
    quern__db_finish(s->own, stmt);
    return rc < 0 ? rc : QUERN_OK;
}

int quern__sqlite_mark_put(void *self, const char *name, int64_t value, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    int rc = quern__db_prepare(s->own,
                               "INSERT INTO quern_marks (name, value) VALUES (?1, ?2)"
                               " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                               &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->own, stmt, 1, quern_str_of(name));
    quern__db_bind_int(s->own, stmt, 2, value);
    return quern__db_run(s->own, stmt, err);
}
