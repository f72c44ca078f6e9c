/*
 * postgres_runs.c — the log of fills: written once a run, the last QUERN__RUNS_KEPT of a source are kept, and sums by the
 * day for longer; and marks, numbers under a name.
 */
#include "store/postgres/postgres_store.h"
#include "store/store.h"

#include "base/compiler.h"
#include "base/os.h"

static int count_usage(quern__postgres *s, const quern_run *run, quern_error *err)
{
    const int64_t day = run->started_ms / QUERN__DAY_MS;
    const int64_t numbers[] = {day,
                               (int64_t)run->processed,
                               (int64_t)run->failed,
                               (int64_t)run->chunks,
                               (int64_t)run->calls,
                               (int64_t)run->tokens,
                               (int64_t)run->cached,
                               (int64_t)run->cached_tokens};
    quern__pg_params p;
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(run->source));
    for (size_t i = 0; i < QUERN__COUNT(numbers); i++)
        quern__pg_int(&p, numbers[i]);
    int rc = quern__postgres_run(
        s,
        "INSERT INTO @usage AS u (source, day, runs, processed, failed, chunks, calls, tokens,"
        " cached, cached_tokens)"
        " SELECT id, $2, 1, $3, $4, $5, $6, $7, $8, $9 FROM @sources WHERE name = $1 AND NOT "
        "dropped"
        " ON CONFLICT (source, day) DO UPDATE SET runs = u.runs + 1,"
        " processed = u.processed + excluded.processed, failed = u.failed + excluded.failed,"
        " chunks = u.chunks + excluded.chunks, calls = u.calls + excluded.calls,"
        " tokens = u.tokens + excluded.tokens, cached = u.cached + excluded.cached,"
        " cached_tokens = u.cached_tokens + excluded.cached_tokens",
        &p, NULL, err);
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(run->source));
    quern__pg_int(&p, day - QUERN__USAGE_DAYS);
    return rc ? rc
              : quern__postgres_run(s,
                                    "DELETE FROM @usage WHERE day <= $2 AND source ="
                                    " (SELECT id FROM @sources WHERE name = $1 AND NOT dropped)",
                                    &p, NULL, err);
}

int quern__postgres_run_put(void *self, const quern_run *run, quern_error *err)
{
    quern__postgres *s = self;
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
    quern__pg_params p;
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(run->source));
    for (size_t i = 0; i < QUERN__COUNT(numbers); i++)
        quern__pg_int(&p, numbers[i]);
    quern__pg_text(&p, quern_str_of(run->error));
    int rc = quern__postgres_run(
        s,
        "INSERT INTO @runs (source, generation, started_ms, ended_ms,"
        " status, processed, failed, stale, deleted, chunks, tokens, calls,"
        " cached, cached_tokens, error)"
        " SELECT id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15"
        " FROM @sources WHERE name = $1 AND NOT dropped",
        &p, NULL, err);
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(run->source));
    quern__pg_int(&p, QUERN__RUNS_KEPT);
    if (!rc)
        rc = quern__postgres_run(s,
                                 "DELETE FROM @runs WHERE source = (SELECT id FROM @sources"
                                 " WHERE name = $1) AND id <= (SELECT id FROM @runs WHERE source"
                                 " = (SELECT id FROM @sources WHERE name = $1)"
                                 " ORDER BY id DESC LIMIT 1 OFFSET $2)",
                                 &p, NULL, err);
    return rc ? rc : count_usage(s, run, err);
}

int quern__postgres_run_each(void *self, const char *source, size_t limit,
                             int (*fn)(const quern_run *run, void *ud), void *ud, quern_error *err)
{
    quern__postgres *s = self;
    quern__pg_params p;
    quern__pg_result *r = NULL;
    quern__pg_params_init(&p);
    if (source)
        quern__pg_text(&p, quern_str_of(source));
    else
        quern__pg_null(&p);
    quern__pg_int(&p, (int64_t)limit);
    int rc = quern__postgres_query(
        s,
        "SELECT s.name, r.generation, r.started_ms, r.ended_ms, r.status, r.processed, r.failed,"
        " r.stale, r.deleted, r.chunks, r.tokens, r.error, r.calls, r.cached, r.cached_tokens FROM "
        "@runs AS r"
        " JOIN @sources AS s ON s.id = r.source AND NOT s.dropped"
        " WHERE $1 IS NULL OR s.name = $1 ORDER BY r.id DESC LIMIT $2",
        &p, QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++) {
        quern_run run = {.source = quern__pg_get_text(r, i, 0).ptr,
                         .generation = quern__pg_get_int(r, i, 1),
                         .started_ms = quern__pg_get_int(r, i, 2),
                         .ended_ms = quern__pg_get_int(r, i, 3),
                         .status = (int)quern__pg_get_int(r, i, 4),
                         .processed = (uint64_t)quern__pg_get_int(r, i, 5),
                         .failed = (uint64_t)quern__pg_get_int(r, i, 6),
                         .stale = (uint64_t)quern__pg_get_int(r, i, 7),
                         .deleted = (uint64_t)quern__pg_get_int(r, i, 8),
                         .chunks = (uint64_t)quern__pg_get_int(r, i, 9),
                         .tokens = (uint64_t)quern__pg_get_int(r, i, 10),
                         .error = quern__pg_get_text(r, i, 11).ptr,
                         .calls = (uint64_t)quern__pg_get_int(r, i, 12),
                         .cached = (uint64_t)quern__pg_get_int(r, i, 13),
                         .cached_tokens = (uint64_t)quern__pg_get_int(r, i, 14)};
        rc = fn(&run, ud);
    }
    quern__pg_clear(r);
    return rc;
}

int quern__postgres_usage_each(void *self, const char *source, size_t days,
                               int (*fn)(const quern_usage *usage, void *ud), void *ud,
                               quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *r = NULL;
    quern__pg_params_init(&p);
    if (source)
        quern__pg_text(&p, quern_str_of(source));
    else
        quern__pg_null(&p);
    quern__pg_int(&p, quern__wall_ms() / QUERN__DAY_MS -
                          (int64_t)QUERN__MIN(days, (size_t)QUERN__USAGE_DAYS));
    int rc = quern__postgres_query(
        self,
        "SELECT s.name, u.day, u.runs, u.processed, u.failed, u.chunks, u.calls, u.tokens,"
        " u.cached, u.cached_tokens"
        " FROM @usage AS u JOIN @sources AS s ON s.id = u.source AND NOT s.dropped"
        " WHERE ($1 IS NULL OR s.name = $1) AND u.day > $2 ORDER BY u.day DESC, s.name",
        &p, QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++) {
        quern_usage u = {.source = quern__pg_get_text(r, i, 0).ptr,
                         .day_ms = quern__pg_get_int(r, i, 1) * QUERN__DAY_MS,
                         .runs = (uint64_t)quern__pg_get_int(r, i, 2),
                         .processed = (uint64_t)quern__pg_get_int(r, i, 3),
                         .failed = (uint64_t)quern__pg_get_int(r, i, 4),
                         .chunks = (uint64_t)quern__pg_get_int(r, i, 5),
                         .calls = (uint64_t)quern__pg_get_int(r, i, 6),
                         .tokens = (uint64_t)quern__pg_get_int(r, i, 7),
                         .cached = (uint64_t)quern__pg_get_int(r, i, 8),
                         .cached_tokens = (uint64_t)quern__pg_get_int(r, i, 9)};
        rc = fn(&u, ud);
    }
    quern__pg_clear(r);
    return rc;
}

int quern__postgres_mark_get(void *self, const char *name, int64_t *value, quern_error *err)
{
    quern__pg_params p;
    *value = 0;
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(name));
    int rc =
        quern__postgres_scalar(self, "SELECT value FROM @marks WHERE name = $1", &p, value, err);
    return rc < 0 ? rc : QUERN_OK;
}

int quern__postgres_mark_put(void *self, const char *name, int64_t value, quern_error *err)
{
    quern__pg_params p;
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(name));
    quern__pg_int(&p, value);
    return quern__postgres_run(self,
                               "INSERT INTO @marks (name, value) VALUES ($1, $2)"
                               " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                               &p, NULL, err);
}
