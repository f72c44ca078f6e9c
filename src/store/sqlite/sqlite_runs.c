/* sqlite_runs.c — the log of fills: written once a run, the last QUERN__RUNS_KEPT of a source are kept. */
#include "store/sqlite/sqlite_store.h"
#include "store/store.h"

int quern__sqlite_run_put(void *self, const quern_run *run, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    const int64_t numbers[] = {run->generation,     run->started_ms,         run->ended_ms,
                               run->status,         (int64_t)run->processed, (int64_t)run->failed,
                               (int64_t)run->stale, (int64_t)run->deleted,   (int64_t)run->chunks,
                               (int64_t)run->tokens};
    int rc = quern__db_prepare(s->own,
                               "INSERT INTO quern_runs (source, generation, started_ms, ended_ms,"
                               " status, processed, failed, stale, deleted, chunks, tokens, error)"
                               " SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12"
                               " FROM quern_sources WHERE name = ?1 AND NOT dropped",
                               &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->own, stmt, 1, quern_str_of(run->source));
    for (int i = 0; i < 10; i++)
        quern__db_bind_int(s->own, stmt, i + 2, numbers[i]);
    quern__db_bind_text(s->own, stmt, 12, quern_str_of(run->error));
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
    return quern__db_run(s->own, stmt, err);
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
        " r.stale, r.deleted, r.chunks, r.tokens, r.error FROM quern_runs AS r"
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
                         .error = quern__db_get_text(stmt, 11).ptr};
        stop = fn(&run, ud);
    }
    quern__db_finish(s->own, stmt);
    return stop ? stop : rc;
}
