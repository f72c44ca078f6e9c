/*
 * place_postgres.c — limits kept together in a PostgreSQL: a schema of its own, quern_limits, made with the first use, so that a
 * database without quern's tables will do and --schema does not matter. Each question is one call of a function there: one
 * round trip, one short transaction, with the row of the limit locked by the server alone, so a client that dies or hangs
 * holds nobody up; and it works through a pooler. The clock is the server's, read under the lock, and made to go forward only.
 *
 * A permit counts from when its call has been answered, at the latest `late` after it was given, as in place_redis.c. What is
 * committed is there after a crash, so nothing is waited for then.
 *
 * Rejected: an advisory lock over several statements (a client between two of them would hold it), one row with an array of
 * permits (each permit would write all of them again).
 */
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"
#include "db/postgres_db.h"
#include "embedder/shared.h"

enum { LOCK_MS = 5000, WITHIN_MS = 2000, LEFT_ALONE_MS = 500 };

/* Two processes make it one after the other. Two strings, for C knows no longer ones. */
static const char *const make_sql[] = {
    "BEGIN;\n"
    "SELECT pg_advisory_xact_lock(7165110219);\n"
    "CREATE SCHEMA IF NOT EXISTS quern_limits;\n"
    "CREATE TABLE IF NOT EXISTS quern_limits.place (name text PRIMARY KEY, last bigint NOT NULL,\n"
    "  shift bigint NOT NULL, n bigint NOT NULL, sum bigint NOT NULL, epoch bigint NOT NULL);\n"
    "CREATE TABLE IF NOT EXISTS quern_limits.permit (name text NOT NULL, id text NOT NULL,\n"
    "  at bigint NOT NULL, tokens bigint NOT NULL, PRIMARY KEY (name, id));\n"
    "CREATE INDEX IF NOT EXISTS permit_at ON quern_limits.permit (name, at);\n"
    "CREATE TABLE IF NOT EXISTS quern_limits.process (name text NOT NULL, id text NOT NULL,\n"
    "  seen bigint NOT NULL, PRIMARY KEY (name, id));\n"
    /* the row is locked, what is too old is gone; gives the time in microseconds */
    "CREATE OR REPLACE FUNCTION quern_limits.enter(which text, me text, win bigint)\n"
    "RETURNS bigint LANGUAGE plpgsql AS $$\n"
    "DECLARE p quern_limits.place; now_us bigint; gone_n bigint; gone_sum bigint;\n"
    "BEGIN\n"
    "  now_us := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;\n"
    "  INSERT INTO quern_limits.place VALUES (which, now_us, 0, 0, 0, now_us)\n"
    "    ON CONFLICT DO NOTHING;\n"
    "  SELECT * INTO p FROM quern_limits.place WHERE name = which FOR UPDATE;\n"
    "  now_us := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + p.shift;\n"
    "  IF now_us < p.last THEN\n"
    "    p.shift := p.shift + p.last - now_us;\n"
    "    now_us := p.last;\n"
    "  END IF;\n"
    "  WITH gone AS (DELETE FROM quern_limits.permit WHERE name = which AND at <= now_us - win\n"
    "                RETURNING tokens)\n"
    "  SELECT count(*), coalesce(sum(tokens), 0) INTO gone_n, gone_sum FROM gone;\n"
    "  UPDATE quern_limits.place SET last = now_us, shift = p.shift, n = n - gone_n,\n"
    "    sum = sum - gone_sum WHERE name = which;\n"
    /* somebody else has emptied it */
    "  UPDATE quern_limits.place SET n = 0, sum = 0 WHERE name = which AND n > 0\n"
    "    AND NOT EXISTS (SELECT 1 FROM quern_limits.permit WHERE name = which);\n"
    "  INSERT INTO quern_limits.process VALUES (which, me, now_us)\n"
    "    ON CONFLICT (name, id) DO UPDATE SET seen = excluded.seen;\n"
    "  DELETE FROM quern_limits.process WHERE name = which AND seen < now_us - 10 * win;\n"
    "  RETURN now_us;\n"
    "END $$;\n",
    "CREATE OR REPLACE FUNCTION quern_limits.take(which text, me text, win bigint, late bigint,\n"
    "  this text, most bigint, most_tokens bigint, want bigint, known bigint,\n"
    "  OUT wait bigint, OUT processes bigint, OUT epoch bigint) LANGUAGE plpgsql AS $$\n"
    "DECLARE now_us bigint := quern_limits.enter(which, me, win); p quern_limits.place;\n"
    "  more bigint;\n"
    "BEGIN\n"
    "  SELECT * INTO p FROM quern_limits.place WHERE name = which;\n"
    "  SELECT count(*) INTO processes FROM quern_limits.process WHERE name = which;\n"
    "  wait := 0;\n"
    "  epoch := p.epoch;\n"
    "  IF known <> 0 AND known <> p.epoch THEN\n"
    "    wait := 1;\n"
    "    RETURN;\n"
    "  END IF;\n"
    "  IF most > 0 AND p.n >= most THEN\n"
    "    SELECT at + win - now_us INTO wait FROM quern_limits.permit WHERE name = which\n"
    "      ORDER BY at, id OFFSET p.n - most LIMIT 1;\n"
    "    wait := coalesce(wait, win);\n" /* there are fewer than are counted */
    "  END IF;\n"
    "  IF most_tokens > 0 AND p.n > 0 AND p.sum + want > most_tokens THEN\n"
    "    SELECT coalesce(min(at) FILTER (WHERE rest <= most_tokens), max(at)) + win - now_us\n"
    "      INTO more FROM (SELECT at, p.sum + want - sum(tokens) OVER (ORDER BY at, id) AS rest\n"
    "                      FROM quern_limits.permit WHERE name = which) AS each;\n"
    "    wait := greatest(wait, more);\n"
    "  END IF;\n"
    "  IF wait <= 0 THEN\n"
    "    INSERT INTO quern_limits.permit VALUES (which, this, now_us + late, want);\n"
    "    UPDATE quern_limits.place SET n = n + 1, sum = sum + want WHERE name = which;\n"
    "  END IF;\n"
    "END $$;\n"
    "CREATE OR REPLACE FUNCTION quern_limits.tell(which text, me text, win bigint, late bigint,\n"
    "  ids text[], ages bigint[], counts bigint[],\n"
    "  OUT wait bigint, OUT processes bigint, OUT epoch bigint) LANGUAGE plpgsql AS $$\n"
    "DECLARE now_us bigint := quern_limits.enter(which, me, win); new_n bigint; new_sum bigint;\n"
    "BEGIN\n"
    "  WITH fresh AS (INSERT INTO quern_limits.permit\n"
    "    SELECT which, id, now_us - age + late, count FROM unnest(ids, ages, counts)\n"
    "      AS u (id, age, count) ON CONFLICT DO NOTHING RETURNING tokens)\n"
    "  SELECT count(*), coalesce(sum(tokens), 0) INTO new_n, new_sum FROM fresh;\n"
    "  UPDATE quern_limits.place p SET n = n + new_n, sum = sum + new_sum WHERE name = which\n"
    "    RETURNING p.epoch INTO epoch;\n"
    "  SELECT count(*) INTO processes FROM quern_limits.process WHERE name = which;\n"
    "  wait := 0;\n"
    "END $$;\n"
    "CREATE OR REPLACE FUNCTION quern_limits.settle(which text, me text, win bigint, this text,\n"
    "  counted bigint) RETURNS void LANGUAGE plpgsql AS $$\n"
    "DECLARE now_us bigint := quern_limits.enter(which, me, win); before bigint;\n"
    "BEGIN\n"
    "  SELECT tokens INTO before FROM quern_limits.permit WHERE name = which AND id = this;\n"
    "  IF NOT FOUND THEN RETURN; END IF;\n"
    "  UPDATE quern_limits.permit SET at = least(at, now_us),\n"
    "    tokens = CASE WHEN counted > 0 THEN counted ELSE tokens END\n"
    "    WHERE name = which AND id = this;\n"
    "  IF counted > 0 THEN\n"
    "    UPDATE quern_limits.place SET sum = sum + counted - before WHERE name = which;\n"
    "  END IF;\n"
    "END $$;\n"
    "COMMIT;\n"};

typedef struct place {
    quern__share share;
    char *name;
    quern__mutex *mutex;
    /* under the mutex */
    quern__pg *db;
    bool failed; /* the last question; others that wait to be asked fail at once then */
    uint64_t again_ns;
} place;

static void first_params(quern__pg_params *q, const place *p)
{
    quern__pg_params_init(q);
    quern__pg_text(q, (quern_str){p->name, strlen(p->name)});
    quern__pg_text(q, (quern_str){p->share.me, strlen(p->share.me)});
    quern__pg_int(q, (int64_t)p->share.window_us);
}

static int ask(place *p, const char *sql, const quern__pg_params *q, quern__place_answer *out,
               quern_error *err)
{
    quern__pg_result *r = NULL;
    quern__mutex_lock(p->mutex);
    int rc = p->failed && quern__now_ns() < p->again_ns
                 ? quern__fail(err, QUERN_EREMOTE, 0, "%s: left alone for a while",
                               quern__pg_name(p->db))
                 : quern__pg_query(p->db, sql, q, QUERN__PG_AS_TEXT, &r, err);
    if (rc && (!p->failed || quern__now_ns() >= p->again_ns))
        p->again_ns = quern__now_ns() + (uint64_t)LEFT_ALONE_MS * 1000000;
    p->failed = rc != QUERN_OK;
    quern__mutex_unlock(p->mutex);
    if (rc == QUERN_OK && quern__pg_rows(r) != 1)
        rc = quern__fail(err, QUERN_EREMOTE, 0, "%s: an answer of another form",
                         quern__pg_name(p->db));
    if (rc == QUERN_OK && out) {
        int64_t wait = quern__pg_get_int(r, 0, 0), processes = quern__pg_get_int(r, 0, 1);
        out->wait_us = wait > 0 ? (uint64_t)wait : 0;
        out->processes = (uint32_t)QUERN__MIN(QUERN__MAX(processes, INT64_C(1)), INT64_C(1) << 31);
        out->epoch = (uint64_t)quern__pg_get_int(r, 0, 2);
    }
    quern__pg_clear(r);
    return rc;
}

static int place_take(void *self, const char *id, uint64_t tokens, uint64_t epoch,
                      quern__place_answer *out, quern_error *err)
{
    place *p = self;
    quern__pg_params q;
    first_params(&q, p);
    quern__pg_int(&q, (int64_t)p->share.late_us);
    quern__pg_text(&q, (quern_str){id, strlen(id)});
    quern__pg_int(&q, (int64_t)p->share.requests);
    quern__pg_int(&q, (int64_t)p->share.tokens);
    quern__pg_int(&q, (int64_t)tokens);
    quern__pg_int(&q, (int64_t)epoch);
    return ask(p, "SELECT * FROM quern_limits.take($1, $2, $3, $4, $5, $6, $7, $8, $9)", &q, out,
               err);
}

static int place_tell(void *self, const quern__untold *list, size_t n, quern__place_answer *out,
                      quern_error *err)
{
    place *p = self;
    quern__pg_params q;
    quern__pg_array ids, ages, counts;
    quern__pg_array_init(&ids, QUERN__PG_TEXT, 0);
    quern__pg_array_init(&ages, QUERN__PG_INT8, 0);
    quern__pg_array_init(&counts, QUERN__PG_INT8, 0);
    for (size_t i = 0; i < n; i++) {
        quern__pg_array_bytes(&ids, list[i].id, strlen(list[i].id));
        quern__pg_array_int(&ages, (int64_t)list[i].age_us);
        quern__pg_array_int(&counts, (int64_t)list[i].tokens);
    }
    first_params(&q, p);
    quern__pg_int(&q, (int64_t)p->share.late_us);
    quern__pg_bind_array(&q, &ids);
    quern__pg_bind_array(&q, &ages);
    quern__pg_bind_array(&q, &counts);
    int rc = ask(p, "SELECT * FROM quern_limits.tell($1, $2, $3, $4, $5, $6, $7)", &q, out, err);
    quern__pg_array_dispose(&ids);
    quern__pg_array_dispose(&ages);
    quern__pg_array_dispose(&counts);
    return rc;
}

static int place_settle(void *self, const char *id, uint64_t tokens, quern_error *err)
{
    place *p = self;
    quern__pg_params q;
    first_params(&q, p);
    quern__pg_text(&q, (quern_str){id, strlen(id)});
    quern__pg_int(&q, (int64_t)tokens);
    return ask(p, "SELECT quern_limits.settle($1, $2, $3, $4, $5)", &q, NULL, err);
}

static void place_close(void *self)
{
    place *p = self;
    if (p->db && p->name &&
        !p->failed) { /* whoever leaves is no longer counted among those that share */
        quern__pg_params q;
        quern__pg_params_init(&q);
        quern__pg_text(&q, (quern_str){p->name, strlen(p->name)});
        quern__pg_text(&q, (quern_str){p->share.me, strlen(p->share.me)});
        quern__pg_run(p->db, "DELETE FROM quern_limits.process WHERE name = $1 AND id = $2", &q,
                      NULL, NULL);
    }
    quern__pg_close(p->db);
    quern__mutex_free(p->mutex);
    quern__free(p->name);
    quern__free(p);
}

/* Nothing is written where it has been made, so that who may not make a schema can use one. */
static int make(place *p, quern_error *err)
{
    int64_t there = 0;
    int rc = quern__pg_scalar(p->db,
                              "SELECT count(to_regprocedure('quern_limits.settle(text, text, "
                              "bigint, text, bigint)'))",
                              NULL, &there, err);
    if (rc < 0 || there)
        return rc < 0 ? rc : QUERN_OK;
    rc = QUERN_OK;
    for (size_t i = 0; i < QUERN__COUNT(make_sql) && rc == QUERN_OK; i++)
        rc = quern__pg_script(p->db, make_sql[i], err);
    if (rc != QUERN_OK)
        quern__pg_script(p->db, "ROLLBACK", NULL);
    return rc;
}

int quern__place_postgres(quern__place *out, const char *url, const quern__share *share,
                          quern_error *err)
{
    place *p = quern__calloc(1, sizeof *p);
    if (!p)
        return quern__fail_memory(err, sizeof *p);
    p->share = *share;
    p->name = quern__strdup(share->name);
    int rc = p->name ? quern__mutex_new(&p->mutex, err) : quern__fail_memory(err, 0);
    if (!rc)
        rc = quern__pg_open(&p->db, url, LOCK_MS, err);
    if (!rc)
        rc = make(p, err);
    if (rc) {
        place_close(p);
        return rc;
    }
    quern__pg_hurry(p->db, WITHIN_MS);
    *out = (quern__place){p, place_take, place_tell, place_settle, place_close};
    return QUERN_OK;
}
