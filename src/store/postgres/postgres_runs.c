/* postgres_runs.c — the log of fills: written once a run, the last QUERN__RUNS_KEPT of a source are kept. */
#include "store/postgres/postgres_store.h"
#include "store/store.h"

int quern__postgres_run_put(void *self, const quern_run *run, quern_error *err)
{
    quern__postgres *s = self;
    const int64_t numbers[] = {run->generation,     run->started_ms,         run->ended_ms,
                               run->status,         (int64_t)run->processed, (int64_t)run->failed,
                               (int64_t)run->stale, (int64_t)run->deleted,   (int64_t)run->chunks,
                               (int64_t)run->tokens};
    quern__pg_params p;
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(run->source));
    for (int i = 0; i < 10; i++)
        quern__pg_int(&p, numbers[i]);
    quern__pg_text(&p, quern_str_of(run->error));
    int rc =
        quern__postgres_run(s,
                            "INSERT INTO @runs (source, generation, started_ms, ended_ms,"
                            " status, processed, failed, stale, deleted, chunks, tokens, error)"
                            " SELECT id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12"
                            " FROM @sources WHERE name = $1 AND NOT dropped",
                            &p, NULL, err);
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(run->source));
    quern__pg_int(&p, QUERN__RUNS_KEPT);
    return rc ? rc
              : quern__postgres_run(s,
                                    "DELETE FROM @runs WHERE source = (SELECT id FROM @sources"
                                    " WHERE name = $1) AND id <= (SELECT id FROM @runs WHERE source"
                                    " = (SELECT id FROM @sources WHERE name = $1)"
                                    " ORDER BY id DESC LIMIT 1 OFFSET $2)",
                                    &p, NULL, err);
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
        " r.stale, r.deleted, r.chunks, r.tokens, r.error FROM @runs AS r"
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
                         .error = quern__pg_get_text(r, i, 11).ptr};
        rc = fn(&run, ud);
    }
    quern__pg_clear(r);
    return rc;
}
