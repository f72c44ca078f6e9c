/*
 * postgres_task.c — tasks in PostgreSQL. Times are the server's (clock_timestamp, because now() stands still in a
 * caller's long transaction). Nobody waits long for a task that somebody else has locked: a claim, a renewal and an end
 * pass over it (SKIP LOCKED), so a caller's transaction that has put a task and stays open holds up no worker; the one
 * that is passed over is due again when its lease ends. The last two look some times more: another's claim holds for a
 * moment what it looked at and found taken.
 *
 * A save that names a lease locks the task FOR KEY SHARE: that stands beside another's put, and against a claim, which
 * passes the task over until the save has committed. So the fence is held to the commit.
 *
 * Rejected: one token in a table of leases (every claim and save would meet in its row).
 */
#include "store/postgres/postgres_store.h"

#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"
#include "store/row_key.h"

enum { CLOCK_SLACK_MS = 1000, MOST_CLAIMED = 10000, LOOKS = 12, PAUSE_MS = 15 };

#define CLOCK                                                                                      \
    "clock AS MATERIALIZED (SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * "           \
    "1000)::bigint AS now)"

static int64_t new_lease(void)
{
    int64_t lease;
    do
        lease = (int64_t)(quern__os_entropy() >> 1);
    while (lease == 0);
    return lease;
}

static void bind_keys(quern__pg_params *p, quern__pg_array *a, const quern_str *keys, size_t n)
{
    quern__pg_array_init(a, QUERN__PG_TEXT, 0);
    for (size_t i = 0; i < n; i++)
        quern__pg_array_bytes(a, keys[i].ptr, keys[i].len);
    quern__pg_bind_array(p, a);
}

/* The source's id; it is not removed before the transaction ends. */
static int keep_source(quern__postgres *s, const char *source, int64_t *id, quern_error *err)
{
    quern__pg_params p;
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(source));
    int rc = quern__postgres_scalar(
        s, "SELECT id FROM @sources WHERE name = $1 AND NOT dropped FOR KEY SHARE", &p, id, err);
    return rc == 1   ? QUERN_OK
           : rc == 0 ? quern__fail(err, QUERN_ENOTFOUND, 0, "there is no source '%s'", source)
                     : rc;
}

/* ---- put, revive, remove: a source and keys ---- */

typedef struct keyed_call {
    quern__postgres *s;
    const char *sql, *source, *reason;
    const quern_str *keys; /* NULL: all */
    size_t n;
    uint64_t count;
} keyed_call;

/* $1 source, $2 keys, $3 reason or whether all are meant. */
static int run_keyed(void *ud, quern_error *err)
{
    keyed_call *c = ud;
    quern__pg_params p;
    quern__pg_array keys;
    int64_t id = 0, count = 0;
    int rc = keep_source(c->s, c->source, &id, err);
    if (rc)
        return rc;
    quern__pg_params_init(&p);
    quern__pg_int(&p, id);
    bind_keys(&p, &keys, c->keys, c->n);
    if (c->reason)
        quern__pg_text(&p, quern_str_of(c->reason));
    else
        quern__pg_int(&p, c->keys == NULL);
    rc = quern__postgres_scalar(c->s, c->sql, &p, &count, err);
    quern__pg_array_dispose(&keys);
    c->count = rc == 1 ? (uint64_t)count : 0;
    return rc < 0 ? rc : QUERN_OK;
}

static int call_keyed(keyed_call *c, uint64_t *count, quern_error *err)
{
    int rc = quern__pg_transact(c->s->own, QUERN__PG_WRITE, run_keyed, c, err);
    *count = rc ? 0 : c->count;
    return rc;
}

/* In the order of the keys: two who put the same ones cannot wait for each other in a circle. Who listens is woken when
 * the transaction commits. */
static const char put_sql[] =
    "WITH " CLOCK ", put AS ("
    "INSERT INTO @tasks AS t (source, key, reason, created_ms, due_ms, set_ms)"
    " SELECT $1, d.key, $3, now, now, now FROM"
    " (SELECT DISTINCT k COLLATE \"C\" AS key FROM unnest($2) AS k ORDER BY 1) AS d, clock"
    " ON CONFLICT (source, key) DO UPDATE SET reason = excluded.reason,"
    " again = (t.lease <> 0), state = 0,"
    " due_ms = CASE WHEN t.lease <> 0 THEN t.due_ms"
    "  ELSE LEAST(t.due_ms, excluded.due_ms) END,"
    " set_ms = CASE WHEN t.lease <> 0 THEN t.set_ms ELSE excluded.set_ms END,"
    " attempts = CASE WHEN t.state = 2 THEN 0 ELSE t.attempts END"
    " RETURNING t.xmax = 0 AS fresh)"
    " SELECT (SELECT count(*) FROM put WHERE fresh), pg_catalog.pg_notify('@@_tasks', '')";

int quern__postgres_task_put_now(quern__postgres *s, const char *source, const quern_str *keys,
                                 size_t n, const char *reason, uint64_t *added, quern_error *err)
{
    keyed_call c = {.s = s, .sql = put_sql, .source = source, .reason = reason, .keys = keys};
    c.n = n;
    int rc = run_keyed(&c, err);
    *added = c.count;
    return rc;
}

int quern__postgres_task_put(void *self, const char *source, const quern_str *keys, size_t n,
                             const char *reason, uint64_t *added, quern_error *err)
{
    keyed_call c = {.s = self, .sql = put_sql, .source = source, .reason = reason, .keys = keys};
    c.n = n;
    for (size_t i = 0; i < n; i++)
        if (keys[i].len > QUERN__PG_LONGEST_KEY) {
            *added = 0;
            return quern__blame(err,
                                quern__fail(err, QUERN_EINVAL, (int64_t)keys[i].len,
                                            "a key of %zu bytes: at most %d", keys[i].len,
                                            QUERN__PG_LONGEST_KEY),
                                i);
        }
    return call_keyed(&c, added, err);
}

int quern__postgres_task_revive(void *self, const char *source, const quern_str *keys, size_t n,
                                uint64_t *revived, quern_error *err)
{
    keyed_call c = {.s = self, .source = source, .keys = keys, .n = n};
    c.sql = "WITH " CLOCK ", up AS (UPDATE @tasks SET state = 0, attempts = 0, due_ms = now,"
            " set_ms = now FROM clock WHERE source = $1 AND state = 2"
            " AND (key = ANY ($2) OR $3 = 1) RETURNING 1) SELECT count(*) FROM up";
    return call_keyed(&c, revived, err);
}

int quern__postgres_task_remove(void *self, const char *source, const quern_str *keys, size_t n,
                                uint64_t *removed, quern_error *err)
{
    keyed_call c = {.s = self, .source = source, .keys = keys, .n = n};
    c.sql = "WITH gone AS (DELETE FROM @tasks WHERE source = $1 AND (key = ANY ($2) OR $3 = 1)"
            " RETURNING 1) SELECT count(*) FROM gone";
    return call_keyed(&c, removed, err);
}

/* ---- reading tasks out ---- */

/* Columns id, source, key, reason, attempts, created_ms, due_ms, rescued, error, failed_ms, generation. */
static int give_tasks(const quern__pg_result *r, int state, quern_task_fn fn, void *ud)
{
    int rc = QUERN_OK;
    for (size_t i = 0; i < quern__pg_rows(r) && !rc; i++) {
        quern_task t = {.id = quern__pg_get_int(r, i, 0), .state = state};
        t.source = quern__pg_get_text(r, i, 1);
        t.key = quern__pg_get_text(r, i, 2);
        t.reason = quern__pg_get_text(r, i, 3);
        t.attempts = (uint32_t)quern__pg_get_int(r, i, 4);
        t.created_ms = quern__pg_get_int(r, i, 5);
        t.due_ms = quern__pg_get_int(r, i, 6);
        t.rescued = quern__pg_get_int(r, i, 7) != 0;
        t.error = quern__pg_get_text(r, i, 8);
        t.failed_ms = quern__pg_get_int(r, i, 9);
        t.generation = quern__pg_get_int(r, i, 10);
        rc = fn(&t, ud);
    }
    return rc;
}

/* ---- claim ---- */

typedef struct claiming {
    quern__postgres *s;
    const char *source;
    size_t limit;
    uint32_t lease_ms;
    int64_t lease;
    quern__pg_result *tasks;
} claiming;

/* Is there anything to claim, or to move back to the clock? */
static int look(quern__postgres *s, quern_error *err)
{
    quern__pg_params p;
    int64_t any = 0;
    quern__pg_params_init(&p);
    quern__pg_int(&p, CLOCK_SLACK_MS);
    int rc = quern__postgres_scalar(
        s,
        "WITH " CLOCK
        " SELECT (EXISTS (SELECT FROM @tasks, clock WHERE state = 0 AND due_ms <= now)"
        " OR EXISTS (SELECT FROM @tasks, clock WHERE set_ms > now + $1))::int",
        &p, &any, err);
    return rc < 0 ? rc : any != 0;
}

static int claim_some(void *ud, quern_error *err)
{
    claiming *c = ud;
    quern__pg_params p;
    quern__pg_clear(c->tasks);
    c->tasks = NULL;
    quern__pg_params_init(&p);
    quern__pg_int(&p, CLOCK_SLACK_MS);
    int rc = quern__postgres_run(
        c->s,
        "WITH " CLOCK ", ahead AS (SELECT id FROM @tasks AS o, clock WHERE set_ms > now + $1"
        " FOR UPDATE OF o SKIP LOCKED) UPDATE @tasks AS t SET due_ms = due_ms - set_ms + now,"
        " set_ms = now FROM ahead, clock WHERE t.id = ahead.id",
        &p, NULL, err);
    if (rc)
        return rc;
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(c->source));
    quern__pg_int(&p, (int64_t)c->limit);
    quern__pg_int(&p, c->lease);
    quern__pg_int(&p, c->lease_ms);
    return quern__postgres_query(
        c->s,
        "WITH " CLOCK ", picked AS ("
        "SELECT t.id, t.source, t.due_ms, t.lease FROM @tasks AS t, clock"
        " WHERE t.state = 0 AND t.due_ms <= now AND t.source IN"
        "  (SELECT id FROM @sources WHERE NOT dropped AND ($1 = '' OR name = $1))"
        " ORDER BY t.due_ms, t.id LIMIT $2 FOR UPDATE OF t SKIP LOCKED),"
        " lost AS (UPDATE @sources AS s SET rescued = rescued + n FROM (SELECT source, count(*) AS "
        "n"
        "  FROM picked WHERE lease <> 0 GROUP BY source) AS l WHERE s.id = l.source),"
        " taken AS (UPDATE @tasks AS t SET lease = $3, again = false, attempts = attempts + 1,"
        "  set_ms = now, due_ms = now + $4 FROM picked AS p, clock WHERE t.id = p.id"
        "  RETURNING t.*, p.due_ms AS was, p.lease AS before)"
        " SELECT t.id, s.name, t.key, t.reason, t.attempts, t.created_ms, t.due_ms,"
        " (t.before <> 0)::int, t.error, t.failed_ms, t.generation FROM taken AS t"
        " JOIN @sources AS s ON s.id = t.source ORDER BY t.was, t.id",
        &p, QUERN__PG_AS_TEXT, &c->tasks, err);
}

int quern__postgres_task_claim(void *self, const char *source, size_t limit, uint32_t lease_ms,
                               int64_t *lease, quern_task_fn fn, void *ud, quern_error *err)
{
    claiming c = {.s = self, .source = source, .lease_ms = lease_ms, .lease = new_lease()};
    c.limit = QUERN__MIN(limit, (size_t)MOST_CLAIMED);
    *lease = 0;
    int rc = look(c.s, err);
    if (rc <= 0)
        return rc;
    rc = quern__pg_transact(c.s->own, QUERN__PG_WRITE, claim_some, &c, err);
    if (!rc && quern__pg_rows(c.tasks)) {
        *lease = c.lease;
        rc = give_tasks(c.tasks, QUERN_TASK_LEASED, fn, ud);
    }
    quern__pg_clear(c.tasks);
    return rc;
}

/* ---- renew and settle ---- */

int quern__postgres_task_renew(void *self, int64_t lease, uint32_t lease_ms, uint64_t *held,
                               quern_error *err)
{
    *held = 0;
    for (int i = 0; i < LOOKS && lease; i++) {
        quern__pg_params p;
        quern__pg_result *r = NULL;
        quern__pg_params_init(&p);
        quern__pg_int(&p, lease);
        quern__pg_int(&p, lease_ms);
        int rc = quern__postgres_query(
            self,
            "WITH " CLOCK ", mine AS (SELECT id FROM @tasks WHERE lease = $1 AND lease <> 0"
            " FOR UPDATE SKIP LOCKED), longer AS (UPDATE @tasks AS t SET set_ms = now,"
            " due_ms = now + $2 FROM mine, clock WHERE t.id = mine.id RETURNING 1)"
            " SELECT count(*), (SELECT count(*) FROM longer) FROM @tasks"
            " WHERE lease = $1 AND lease <> 0",
            &p, QUERN__PG_AS_TEXT, &r, err);
        if (rc)
            return rc;
        *held = (uint64_t)quern__pg_get_int(r, 0, 0);
        bool all = quern__pg_get_int(r, 0, 1) >= quern__pg_get_int(r, 0, 0);
        quern__pg_clear(r);
        if (all)
            break;
        quern__sleep_ms(PAUSE_MS);
    }
    return QUERN_OK;
}

typedef struct settling {
    quern__postgres *s;
    int64_t lease;
    const quern_task_end *ends;
    size_t n;
    uint8_t *settled;
    quern__pg_result *done;
} settling;

static const char settle_sql[] =
    "WITH " CLOCK ", ends AS (SELECT * FROM unnest($2, $3, $4, $5, $6)"
    "  AS e(id, kind, delay, said, generation)),"
    " mine AS (SELECT t.id, t.again, e.kind, e.delay, e.said, e.generation"
    "  FROM @tasks AS t JOIN ends AS e ON e.id = t.id WHERE t.lease = $1 FOR UPDATE OF t SKIP "
    "LOCKED),"
    " gone AS (DELETE FROM @tasks AS t USING mine AS m WHERE t.id = m.id AND m.kind = 0"
    "  AND NOT m.again RETURNING t.id),"
    " kept AS (UPDATE @tasks AS t SET lease = 0, again = false, set_ms = now,"
    "  due_ms = now + CASE WHEN m.again THEN 0 ELSE m.delay END,"
    "  state = CASE WHEN m.kind = 3 AND NOT m.again THEN 2 ELSE 0 END,"
    "  attempts = CASE WHEN m.again AND m.kind IN (0, 3) THEN 0"
    "   WHEN m.kind = 2 THEN GREATEST(t.attempts - 1, 0) ELSE t.attempts END,"
    "  error = CASE WHEN m.kind IN (1, 3) THEN m.said ELSE t.error END,"
    "  failed_ms = CASE WHEN m.kind IN (1, 3) THEN now ELSE t.failed_ms END,"
    "  generation = CASE WHEN m.kind IN (1, 3) THEN m.generation ELSE t.generation END"
    "  FROM mine AS m, clock WHERE t.id = m.id AND (m.kind <> 0 OR m.again) RETURNING t.id)"
    " SELECT id FROM gone UNION ALL SELECT id FROM kept";

/* Those that are not settled yet and are not locked. */
static int settle_all(void *ud, quern_error *err)
{
    settling *c = ud;
    enum { ID, KIND, DELAY, SAID, GENERATION, ARRAYS };
    quern__pg_array a[ARRAYS];
    quern__pg_params p;
    for (int i = 0; i < ARRAYS; i++)
        quern__pg_array_init(&a[i], i == SAID ? QUERN__PG_TEXT : QUERN__PG_INT8, 0);
    for (size_t i = 0; i < c->n; i++) {
        if (c->settled[i])
            continue;
        quern__pg_array_int(&a[ID], c->ends[i].id);
        quern__pg_array_int(&a[KIND], c->ends[i].kind);
        quern__pg_array_int(&a[DELAY], (int64_t)c->ends[i].delay_ms);
        quern__pg_array_bytes(&a[SAID], c->ends[i].error.ptr, c->ends[i].error.len);
        quern__pg_array_int(&a[GENERATION], c->ends[i].generation);
    }
    quern__pg_params_init(&p);
    quern__pg_int(&p, c->lease);
    for (int i = 0; i < ARRAYS; i++)
        quern__pg_bind_array(&p, &a[i]);
    quern__pg_clear(c->done);
    int rc = quern__postgres_query(c->s, settle_sql, &p, QUERN__PG_AS_TEXT, &c->done, err);
    for (int i = 0; i < ARRAYS; i++)
        quern__pg_array_dispose(&a[i]);
    return rc;
}

/* Marks what the last look has settled; *left: how many are not. */
static void note_settled(settling *c, size_t *left)
{
    *left = 0;
    for (size_t k = 0; k < c->n; k++) {
        for (size_t i = 0; i < quern__pg_rows(c->done) && !c->settled[k]; i++)
            c->settled[k] = c->ends[k].id == quern__pg_get_int(c->done, i, 0);
        *left += !c->settled[k];
    }
}

int quern__postgres_task_settle(void *self, int64_t lease, const quern_task_end *ends, size_t n,
                                uint8_t *settled, quern_error *err)
{
    settling c = {.s = self, .lease = lease, .ends = ends, .n = n, .settled = settled};
    size_t left = n;
    int64_t mine = 1;
    int rc = QUERN_OK;
    memset(settled, 0, n);
    for (int i = 0; i < LOOKS && left && mine && lease && !rc; i++) {
        if (i)
            quern__sleep_ms(PAUSE_MS);
        rc = quern__pg_transact(c.s->own, QUERN__PG_WRITE, settle_all, &c, err);
        if (!rc)
            note_settled(&c, &left);
        if (!rc && left) { /* lost, or locked? */
            quern__pg_params p;
            quern__pg_params_init(&p);
            quern__pg_int(&p, lease);
            rc = quern__postgres_scalar(c.s, "SELECT count(*) FROM @tasks WHERE lease = $1", &p,
                                        &mine, err);
            rc = rc < 0 ? rc : QUERN_OK;
        }
    }
    quern__pg_clear(c.done);
    return rc;
}

int quern__postgres_tasks_held(quern__postgres *s, const char *source, const quern_save *docs,
                               size_t n, uint8_t *stored, quern_error *err)
{
    quern__pg_array keys, leases;
    quern__pg_params p;
    quern__pg_result *r = NULL;
    bool any = false;
    quern__pg_array_init(&keys, QUERN__PG_TEXT, 0);
    quern__pg_array_init(&leases, QUERN__PG_INT8, 0);
    for (size_t i = 0; i < n; i++)
        if (docs[i].lease && stored[i]) {
            any = true;
            quern__pg_array_bytes(&keys, docs[i].key.ptr, docs[i].key.len);
            quern__pg_array_int(&leases, docs[i].lease);
        }
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(source));
    quern__pg_bind_array(&p, &keys);
    quern__pg_bind_array(&p, &leases);
    int rc = QUERN_OK;
    if (any)
        rc = quern__postgres_query(
            s,
            "SELECT t.key, t.lease FROM @tasks AS t JOIN unnest($2, $3) AS d(key, lease)"
            " ON d.key = t.key AND d.lease = t.lease WHERE t.source ="
            " (SELECT id FROM @sources WHERE name = $1 AND NOT dropped) FOR KEY SHARE OF t",
            &p, QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; i < n && any && !rc; i++) {
        bool held = docs[i].lease == 0;
        for (size_t k = 0; k < quern__pg_rows(r) && !held; k++) {
            quern_str key = quern__pg_get_text(r, k, 0);
            held = key.len == docs[i].key.len && memcmp(key.ptr, docs[i].key.ptr, key.len) == 0 &&
                   quern__pg_get_int(r, k, 1) == docs[i].lease;
        }
        stored[i] &= held;
    }
    quern__pg_clear(r);
    quern__pg_array_dispose(&keys);
    quern__pg_array_dispose(&leases);
    return rc;
}

int quern__postgres_tasks_lock(quern__postgres *s, const char *source, quern__pg_array *keys,
                               quern__pg_array *ids, quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *r = NULL;
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(source));
    quern__pg_bind_array(&p, keys);
    int rc = quern__postgres_query(s,
                                   "SELECT id FROM @tasks WHERE source = (SELECT id FROM @sources"
                                   " WHERE name = $1 AND NOT dropped) AND key = ANY ($2)"
                                   " FOR UPDATE SKIP LOCKED",
                                   &p, QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++)
        quern__pg_array_int(ids, quern__pg_get_int(r, i, 0));
    quern__pg_clear(r);
    return rc;
}

int quern__postgres_tasks_forget(quern__postgres *s, quern__pg_array *ids, quern__pg_array *keys,
                                 quern_error *err)
{
    quern__pg_params p;
    if (!ids->n)
        return QUERN_OK;
    quern__pg_params_init(&p);
    quern__pg_bind_array(&p, ids);
    quern__pg_bind_array(&p, keys);
    return quern__postgres_run(s, "DELETE FROM @tasks WHERE id = ANY ($1) AND key = ANY ($2)", &p,
                               NULL, err);
}

/* ---- statistics and lists ---- */

static int count_rescued(quern__postgres *s, const char *source, quern_task_stats *out,
                         quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *r = NULL;
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(source));
    int rc =
        quern__postgres_query(s,
                              "SELECT coalesce(sum(rescued), 0)::bigint, count(*) FROM @sources"
                              " WHERE NOT dropped AND ($1 = '' OR name = $1)",
                              &p, QUERN__PG_AS_TEXT, &r, err);
    if (rc)
        return rc;
    out->rescued = (uint64_t)quern__pg_get_int(r, 0, 0);
    if (source && quern__pg_get_int(r, 0, 1) == 0)
        rc = quern__fail(err, QUERN_ENOTFOUND, 0, "there is no source '%s'", source);
    quern__pg_clear(r);
    return rc;
}

int quern__postgres_task_stats(void *self, const char *source, quern_task_stats *out,
                               quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *r = NULL;
    memset(out, 0, sizeof *out);
    out->struct_size = sizeof *out;
    int rc = count_rescued(self, source, out, err);
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(source));
    quern__pg_int(&p, QUERN_TASK_HISTOGRAM - 1);
    if (!rc)
        rc = quern__postgres_query(
            self,
            "WITH " CLOCK " SELECT CASE WHEN t.state = 2 THEN 3 WHEN t.due_ms <= now THEN 0"
            " WHEN t.lease <> 0 THEN 2 ELSE 1 END, LEAST(t.attempts, $2), count(*),"
            " GREATEST(max(now - t.created_ms), 0) FROM @tasks AS t"
            " JOIN @sources AS s ON s.id = t.source, clock"
            " WHERE NOT s.dropped AND ($1 = '' OR s.name = $1) GROUP BY 1, 2",
            &p, QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++) {
        uint64_t *counts[] = {&out->ready, &out->waiting, &out->leased, &out->dead};
        int64_t kind = quern__pg_get_int(r, i, 0);
        uint64_t n = (uint64_t)quern__pg_get_int(r, i, 2);
        *counts[kind] += n;
        if (kind == 3)
            continue;
        out->attempts[quern__pg_get_int(r, i, 1)] += n;
        out->oldest_ms = QUERN__MAX(out->oldest_ms, (uint64_t)quern__pg_get_int(r, i, 3));
    }
    quern__pg_clear(r);
    return rc;
}

int quern__postgres_task_list(void *self, const char *source, int state, int64_t after,
                              size_t limit, quern_task_fn fn, void *ud, quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *r = NULL;
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(source));
    quern__pg_int(&p, after);
    quern__pg_int(&p, state);
    quern__pg_int(&p, (int64_t)QUERN__MIN(limit, (size_t)MOST_CLAIMED));
    int rc = quern__postgres_query(
        self,
        "WITH " CLOCK " SELECT t.id, s.name, t.key, t.reason, t.attempts, t.created_ms, t.due_ms,"
        " (t.lease <> 0 AND t.due_ms <= now)::int, t.error, t.failed_ms, t.generation"
        " FROM @tasks AS t JOIN @sources AS s ON s.id = t.source, clock"
        " WHERE NOT s.dropped AND ($1 = '' OR s.name = $1) AND t.id > $2 AND CASE WHEN t.state = 2"
        " THEN 2 WHEN t.lease <> 0 AND t.due_ms > now THEN 1 ELSE 0 END = $3"
        " ORDER BY t.id LIMIT $4",
        &p, QUERN__PG_AS_TEXT, &r, err);
    if (!rc)
        rc = give_tasks(r, state, fn, ud);
    quern__pg_clear(r);
    return rc;
}

int quern__postgres_task_known(void *self, const char *source, const quern_str *keys, size_t n,
                               uint8_t *known, quern_error *err)
{
    quern__pg_params p;
    quern__pg_array a;
    quern__pg_result *r = NULL;
    memset(known, 0, n);
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(source));
    bind_keys(&p, &a, keys, n);
    int rc = quern__postgres_query(self,
                                   "SELECT k.place FROM unnest($2) WITH ORDINALITY AS k(key, place)"
                                   " WHERE EXISTS (SELECT FROM @tasks AS t WHERE t.key = k.key"
                                   " AND t.source = (SELECT id FROM @sources WHERE name = $1"
                                   " AND NOT dropped))",
                                   &p, QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++) {
        int64_t place = quern__pg_get_int(r, i, 0);
        if (place >= 1 && (uint64_t)place <= n)
            known[place - 1] = 1;
    }
    quern__pg_clear(r);
    quern__pg_array_dispose(&a);
    return rc;
}
