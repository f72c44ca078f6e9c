/*
 * postgres_runs.c — the log of fills: written once a run, the last QUERN__RUNS_KEPT of a source are kept, and sums by the
 * day for longer; marks, numbers under a name; and the watermarks of generations.
 */
#include "store/postgres/postgres_store.h"
#include "store/run_numbers.h"
#include "store/store.h"

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"

static void put_numbers(quern__pg_params *p, const char *source, const int64_t *numbers, size_t n)
{
    quern__pg_params_init(p);
    quern__pg_text(p, quern_str_of(source));
    for (size_t i = 0; i < n; i++)
        quern__pg_int(p, numbers[i]);
}

static int count_usage(quern__postgres *s, const quern_run *run, quern_error *err)
{
    int64_t numbers[QUERN__USAGE_NUMBERS];
    quern__pg_params p;
    quern__run_to_usage(run, numbers);
    put_numbers(&p, run->source, numbers, QUERN__USAGE_NUMBERS);
    int rc = quern__postgres_run(
        s,
        "INSERT INTO @usage AS u (source, " QUERN__USAGE_COLUMNS ")"
        " SELECT id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 FROM @sources WHERE name = $1 "
        "AND NOT "
        "dropped"
        " ON CONFLICT (source, day) DO UPDATE SET runs = u.runs + 1,"
        " processed = u.processed + excluded.processed, failed = u.failed + excluded.failed,"
        " chunks = u.chunks + excluded.chunks, calls = u.calls + excluded.calls,"
        " tokens = u.tokens + excluded.tokens, cached = u.cached + excluded.cached,"
        " cached_tokens = u.cached_tokens + excluded.cached_tokens,"
        " cost = u.cost + excluded.cost, saved = u.saved + excluded.saved",
        &p, NULL, err);
    const int64_t oldest = numbers[0] - QUERN__USAGE_DAYS;
    put_numbers(&p, run->source, &oldest, 1);
    return rc ? rc
              : quern__postgres_run(s,
                                    "DELETE FROM @usage WHERE day <= $2 AND source ="
                                    " (SELECT id FROM @sources WHERE name = $1 AND NOT dropped)",
                                    &p, NULL, err);
}

int quern__postgres_run_put(void *self, const quern_run *run, quern_error *err)
{
    quern__postgres *s = self;
    int64_t numbers[QUERN__RUN_NUMBERS];
    quern__pg_params p;
    quern__run_to_numbers(run, numbers);
    put_numbers(&p, run->source, numbers, QUERN__RUN_NUMBERS);
    quern__pg_text(&p, quern_str_of(run->error));
    int rc =
        quern__postgres_run(s,
                            "INSERT INTO @runs (source, " QUERN__RUN_COLUMNS ", error)"
                            " SELECT id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,"
                            " $14, $15, $16, $17 FROM @sources WHERE name = $1 AND NOT dropped",
                            &p, NULL, err);
    const int64_t kept = QUERN__RUNS_KEPT;
    put_numbers(&p, run->source, &kept, 1);
    if (!rc)
        rc = quern__postgres_run(s,
                                 "DELETE FROM @runs WHERE source = (SELECT id FROM @sources"
                                 " WHERE name = $1) AND id <= (SELECT id FROM @runs WHERE source"
                                 " = (SELECT id FROM @sources WHERE name = $1)"
                                 " ORDER BY id DESC LIMIT 1 OFFSET $2)",
                                 &p, NULL, err);
    return rc ? rc : count_usage(s, run, err);
}

static void get_numbers(const quern__pg_result *r, size_t row, size_t n, int64_t *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = quern__pg_get_int(r, row, (int)i);
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
        "SELECT " QUERN__RUN_COLUMNS ", error, name FROM @runs AS r"
        " JOIN (SELECT id AS at, name FROM @sources WHERE NOT dropped) AS s ON s.at = r.source"
        " WHERE $1 IS NULL OR name = $1 ORDER BY r.id DESC LIMIT $2",
        &p, QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++) {
        int64_t numbers[QUERN__RUN_NUMBERS];
        quern_run run = {.error = quern__pg_get_text(r, i, QUERN__RUN_NUMBERS).ptr,
                         .source = quern__pg_get_text(r, i, QUERN__RUN_NUMBERS + 1).ptr};
        get_numbers(r, i, QUERN__RUN_NUMBERS, numbers);
        quern__run_from_numbers(numbers, &run);
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
        "SELECT " QUERN__USAGE_COLUMNS ", name FROM @usage AS u"
        " JOIN (SELECT id AS at, name FROM @sources WHERE NOT dropped) AS s ON s.at = u.source"
        " WHERE ($1 IS NULL OR name = $1) AND day > $2 ORDER BY day DESC, name",
        &p, QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++) {
        int64_t numbers[QUERN__USAGE_NUMBERS];
        quern_usage u = {.source = quern__pg_get_text(r, i, QUERN__USAGE_NUMBERS).ptr};
        get_numbers(r, i, QUERN__USAGE_NUMBERS, numbers);
        quern__usage_from_numbers(numbers, &u);
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

int quern__postgres_watermark_get(void *self, int64_t generation, char **key, quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *r = NULL;
    *key = NULL;
    quern__pg_params_init(&p);
    quern__pg_int(&p, generation);
    int rc = quern__postgres_query(self,
                                   "SELECT coalesce(watermark, '') FROM @generations WHERE id = $1",
                                   &p, QUERN__PG_AS_TEXT, &r, err);
    quern_str at = {NULL, 0};
    if (!rc && quern__pg_rows(r))
        at = quern__pg_get_text(r, 0, 0);
    if (at.len && !(*key = quern__strndup(at.ptr, at.len)))
        rc = quern__fail_memory(err, at.len);
    quern__pg_clear(r);
    return rc;
}

int quern__postgres_watermark_put(void *self, int64_t generation, quern_str key, quern_error *err)
{
    quern__pg_params p;
    quern__pg_params_init(&p);
    quern__pg_int(&p, generation);
    quern__pg_text(&p, key.len ? key : quern_str_of(""));
    return quern__postgres_run(
        self, "UPDATE @generations SET watermark = nullif($2, '') WHERE id = $1", &p, NULL, err);
}
