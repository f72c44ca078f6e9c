/*
 * sqlite_runs.c — the log of fills: written once a run, the last QUERN__RUNS_KEPT of a source are kept, and sums by the day
 * for longer; marks, numbers under a name; and the watermarks of generations.
 */
#include "store/run_numbers.h"
#include "store/sqlite/sqlite_store.h"
#include "store/store.h"

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"

/* A statement of this source's name, ?1, and numbers behind it. */
static int with_numbers(quern__sqlite *s, const char *sql, const char *source,
                        const int64_t *numbers, int n, quern__stmt **stmt, quern_error *err)
{
    int rc = quern__db_prepare(s->own, sql, stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->own, *stmt, 1, quern_str_of(source));
    for (int i = 0; i < n; i++)
        quern__db_bind_int(s->own, *stmt, i + 2, numbers[i]);
    return QUERN_OK;
}

static int count_usage(quern__sqlite *s, const quern_run *run, quern_error *err)
{
    quern__stmt *stmt;
    int64_t numbers[QUERN__USAGE_NUMBERS];
    quern__run_to_usage(run, numbers);
    int rc = with_numbers(
        s,
        "INSERT INTO quern_usage (source, " QUERN__USAGE_COLUMNS ")"
        " SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12 FROM quern_sources WHERE name = "
        "?1"
        " AND NOT dropped"
        " ON CONFLICT (source, day) DO UPDATE SET runs = runs + 1,"
        " processed = processed + excluded.processed, failed = failed + excluded.failed,"
        " chunks = chunks + excluded.chunks, calls = calls + excluded.calls,"
        " tokens = tokens + excluded.tokens, cached = cached + excluded.cached,"
        " cached_tokens = cached_tokens + excluded.cached_tokens,"
        " cost = cost + excluded.cost, saved = saved + excluded.saved",
        run->source, numbers, QUERN__USAGE_NUMBERS, &stmt, err);
    if (!rc)
        rc = quern__db_run(s->own, stmt, err);
    const int64_t oldest = numbers[0] - QUERN__USAGE_DAYS;
    if (!rc)
        rc = with_numbers(s,
                          "DELETE FROM quern_usage WHERE day <= ?2 AND source ="
                          " (SELECT id FROM quern_sources WHERE name = ?1 AND NOT dropped)",
                          run->source, &oldest, 1, &stmt, err);
    return rc ? rc : quern__db_run(s->own, stmt, err);
}

int quern__sqlite_run_put(void *self, const quern_run *run, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    int64_t numbers[QUERN__RUN_NUMBERS];
    quern__run_to_numbers(run, numbers);
    int rc = with_numbers(s,
                          "INSERT INTO quern_runs (source, " QUERN__RUN_COLUMNS ", error)"
                          " SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14,"
                          " ?15, ?16, ?17 FROM quern_sources WHERE name = ?1 AND NOT dropped",
                          run->source, numbers, QUERN__RUN_NUMBERS, &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->own, stmt, QUERN__RUN_NUMBERS + 2, quern_str_of(run->error));
    rc = quern__db_run(s->own, stmt, err);
    const int64_t kept = QUERN__RUNS_KEPT;
    if (!rc)
        rc = with_numbers(s,
                          "DELETE FROM quern_runs WHERE id <= (SELECT id FROM quern_runs"
                          " WHERE source = (SELECT id FROM quern_sources WHERE name = ?1)"
                          " ORDER BY id DESC LIMIT 1 OFFSET ?2)"
                          " AND source = (SELECT id FROM quern_sources WHERE name = ?1)",
                          run->source, &kept, 1, &stmt, err);
    if (!rc)
        rc = quern__db_run(s->own, stmt, err);
    return rc ? rc : count_usage(s, run, err);
}

static void get_numbers(quern__stmt *stmt, int n, int64_t *out)
{
    for (int i = 0; i < n; i++)
        out[i] = quern__db_get_int(stmt, i);
}

int quern__sqlite_run_each(void *self, const char *source, size_t limit,
                           int (*fn)(const quern_run *run, void *ud), void *ud, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    int stop = 0;
    int rc = quern__db_prepare(
        s->own,
        "SELECT " QUERN__RUN_COLUMNS ", error, name FROM quern_runs AS r"
        " JOIN (SELECT id AS at, name FROM quern_sources WHERE NOT dropped) AS s ON s.at = r.source"
        " WHERE ?1 IS NULL OR name = ?1 ORDER BY r.id DESC LIMIT ?2",
        &stmt, err);
    if (rc)
        return rc;
    if (source)
        quern__db_bind_text(s->own, stmt, 1, quern_str_of(source));
    quern__db_bind_int(s->own, stmt, 2, (int64_t)limit);
    while (!stop && (rc = quern__db_step(s->own, stmt, err)) == 1) {
        int64_t numbers[QUERN__RUN_NUMBERS];
        quern_run run = {.error = quern__db_get_text(stmt, QUERN__RUN_NUMBERS).ptr,
                         .source = quern__db_get_text(stmt, QUERN__RUN_NUMBERS + 1).ptr};
        get_numbers(stmt, QUERN__RUN_NUMBERS, numbers);
        quern__run_from_numbers(numbers, &run);
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
        "SELECT " QUERN__USAGE_COLUMNS ", name FROM quern_usage AS u"
        " JOIN (SELECT id AS at, name FROM quern_sources WHERE NOT dropped) AS s ON s.at = u.source"
        " WHERE (?1 IS NULL OR name = ?1) AND day > ?2 ORDER BY day DESC, name",
        &stmt, err);
    if (rc)
        return rc;
    if (source)
        quern__db_bind_text(s->own, stmt, 1, quern_str_of(source));
    quern__db_bind_int(s->own, stmt, 2,
                       quern__wall_ms() / QUERN__DAY_MS -
                           (int64_t)QUERN__MIN(days, (size_t)QUERN__USAGE_DAYS));
    while (!stop && (rc = quern__db_step(s->own, stmt, err)) == 1) {
        int64_t numbers[QUERN__USAGE_NUMBERS];
        quern_usage u = {.source = quern__db_get_text(stmt, QUERN__USAGE_NUMBERS).ptr};
        get_numbers(stmt, QUERN__USAGE_NUMBERS, numbers);
        quern__usage_from_numbers(numbers, &u);
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

int quern__sqlite_watermark_get(void *self, int64_t generation, char **key, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    *key = NULL;
    int rc = quern__db_prepare(s->own, "SELECT watermark FROM quern_generations WHERE id = ?1",
                               &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, generation);
    rc = quern__db_step(s->own, stmt, err);
    quern_str at = {NULL, 0};
    if (rc == 1)
        at = quern__db_get_text(stmt, 0);
    if (at.len && !(*key = quern__strndup(at.ptr, at.len)))
        rc = quern__fail_memory(err, at.len);
    quern__db_finish(s->own, stmt);
    return rc < 0 ? rc : QUERN_OK;
}

int quern__sqlite_watermark_put(void *self, int64_t generation, quern_str key, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        s->own, "UPDATE quern_generations SET watermark = nullif(?2, '') WHERE id = ?1", &stmt,
        err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, generation);
    quern__db_bind_text(s->own, stmt, 2, key);
    return quern__db_run(s->own, stmt, err);
}
