/* test_tasks_postgres.c — tasks in PostgreSQL beside what conformance asks: in the caller's transaction, with a clock that is
 * set back (the rows are set ahead: it is the same), beside open transactions, and with many workers at once. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/os.h"
#include "quern/sys/store.h"
#include "store/store.h"
#include "support/postgres_server.h"

enum { WORKERS = 4, TASKS = 150 };

static postgres_server server;
static PGconn *conn;
static char db[300];

typedef struct world {
    quern_store *store;
} world;

static void sql_on(PGconn *c, const char *text)
{
    if (postgres_exec(c, text))
        fail_msg("%s", text);
}

static void sql(const char *text)
{
    sql_on(conn, text);
}

static int64_t number(const char *text)
{
    PGresult *r = PQexec(conn, text);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", text, PQerrorMessage(conn));
    int64_t n = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
    PQclear(r);
    return n;
}

static quern_store *open_store(const char *url, void *connection)
{
    quern_store_options opt;
    quern_store *s = NULL;
    quern_error err;
    QUERN_INIT(&opt);
    opt.db = url;
    opt.postgres_connection = connection;
    if (quern_store_open(&s, &opt, &err))
        fail_msg("%s", err.msg);
    return s;
}

static int setup(void **state)
{
    world *w = calloc(1, sizeof *w);
    quern_source_spec spec;
    quern_error err;
    sql("DROP SCHEMA IF EXISTS quern CASCADE; DROP TABLE IF EXISTS items;"
        "CREATE TABLE items (id bigint PRIMARY KEY, title text)");
    w->store = open_store(db, NULL);
    QUERN_INIT(&spec);
    spec.name = spec.table = "items";
    spec.keys = "id";
    spec.text = "{title}";
    if (quern_source_add(w->store, &spec, &err))
        fail_msg("%s", err.msg);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world *w = *state;
    quern_store_free(w->store);
    free(w);
    return 0;
}

static uint64_t put(quern_store *s, const char *key)
{
    quern_str k = quern_str_of(key);
    quern_error err;
    uint64_t added = 0;
    if (quern_enqueue(s, "items", &k, 1, "test", &added, &err))
        fail_msg("%s: %s", key, err.msg);
    return added;
}

static quern_task_stats stats(quern_store *s)
{
    quern_task_stats st;
    quern_error err;
    QUERN_INIT(&st);
    if (quern_task_statistics(s, "items", &st, &err))
        fail_msg("%s", err.msg);
    return st;
}

static int count_task(const quern_task *t, void *ud)
{
    (void)t;
    ++*(int *)ud;
    return 0;
}

static int claim(quern_store *s, uint32_t lease_ms, int64_t *lease)
{
    int n = 0;
    quern_error err;
    if (s->table.task_claim(s->self, NULL, 10, lease_ms, lease, count_task, &n, &err))
        fail_msg("%s", err.msg);
    return n;
}

/* ---- the caller's transaction ---- */

static void a_rollback_takes_the_task_along(void **state)
{
    world *w = *state;
    PGconn *user = postgres_connect(&server, "postgres");
    sql_on(user, "SET DateStyle = 'German, DMY'; SET TimeZone = 'Asia/Tokyo'");
    sql_on(user, "BEGIN; INSERT INTO items VALUES (1, 'one')");
    quern_store *mine = open_store(NULL, user);
    assert_int_equal(put(mine, "1"), 1);
    sql_on(user, "ROLLBACK");
    assert_int_equal(stats(w->store).ready, 0);
    sql_on(user, "BEGIN; INSERT INTO items VALUES (2, 'two')");
    assert_int_equal(put(mine, "2"), 1);
    quern_str bad = quern_str_of("2");
    assert_int_equal(quern_enqueue(mine, "nobody", &bad, 1, NULL, NULL, NULL), QUERN_ENOTFOUND);
    PGresult *r = PQexec(user, "SELECT current_setting('DateStyle') || current_setting('TimeZone')"
                               " || current_setting('lock_timeout')");
    assert_string_equal(PQgetvalue(r, 0, 0), "German, DMYAsia/Tokyo0");
    PQclear(r);
    assert_int_equal(stats(w->store).ready, 0); /* not yet */
    sql_on(user, "COMMIT");
    assert_int_equal(stats(w->store).ready, 1);
    assert_int_equal(put(mine, "3"), 1); /* and without a transaction of his */
    quern_error err;
    void *held;
    assert_int_equal(mine->table.lock(mine->self, "x", 0, &held, &err), QUERN_EUNSUPPORTED);
    quern_store_free(mine);
    assert_int_equal(PQstatus(user), CONNECTION_OK);
    assert_int_equal(PQtransactionStatus(user), PQTRANS_IDLE);
    sql_on(user, "BEGIN");
    PQclear(PQexec(user, "SELECT 1/0"));
    quern_store_options opt;
    QUERN_INIT(&opt);
    opt.postgres_connection = user;
    assert_int_equal(quern_store_open(&mine, &opt, &err), QUERN_EINVAL); /* it has failed */
    PQfinish(user);
}

/* Somebody has put the task again and thinks about it: nobody waits for him, and nothing is lost. */
static void an_open_transaction_holds_nobody_up(void **state)
{
    world *w = *state;
    PGconn *user = postgres_connect(&server, "postgres");
    int64_t lease = 0, id = 0;
    uint64_t held = 0;
    uint8_t settled = 9;
    quern_error err;
    put(w->store, "1");
    put(w->store, "2");
    assert_int_equal(claim(w->store, 300, &lease), 2);
    sql_on(user, "BEGIN");
    quern_store *mine = open_store(NULL, user);
    put(mine, "1");
    uint64_t began = quern__now_ns();
    assert_int_equal(w->store->table.task_renew(w->store->self, lease, 300, &held, &err), QUERN_OK);
    assert_int_equal(held, 2);
    id = number("SELECT id FROM quern.tasks WHERE key = '1'");
    quern_task_end e = {.id = id, .kind = QUERN_TASK_DONE};
    assert_int_equal(w->store->table.task_settle(w->store->self, lease, &e, 1, &settled, &err),
                     QUERN_OK);
    assert_int_equal(settled, 0);
    assert_true(quern__now_ns() - began < 2000000000U);
    sql_on(user, "COMMIT");
    quern_store_free(mine);
    PQfinish(user);
    quern__sleep_ms(400);
    assert_int_equal(claim(w->store, 60000, &lease), 2);
}

/* ---- the clock ---- */

static void a_clock_set_back_keeps_leases_as_long_as_they_are(void **state)
{
    world *w = *state;
    int64_t first, second;
    put(w->store, "1");
    assert_int_equal(claim(w->store, 500, &first), 1);
    sql("UPDATE quern.tasks SET set_ms = set_ms + 3600000, due_ms = due_ms + 3600000");
    assert_int_equal(claim(w->store, 500, &second), 0); /* none stolen early */
    quern__sleep_ms(600);
    assert_int_equal(claim(w->store, 500, &second), 1); /* none immortal */
    assert_int_equal(stats(w->store).rescued, 1);
}

static void a_clock_set_back_keeps_no_task_waiting(void **state)
{
    world *w = *state;
    int64_t lease;
    put(w->store, "1");
    sql("UPDATE quern.tasks SET set_ms = set_ms + 3600000, due_ms = due_ms + 3600000");
    assert_int_equal(claim(w->store, 500, &lease), 1);
}

/* ---- many at once ---- */

typedef struct worker {
    const char *db;
    int64_t ids[TASKS];
    size_t n;
    int rc;
} worker;

static int take_note(const quern_task *t, void *ud)
{
    worker *me = ud;
    me->ids[me->n++] = t->id;
    return 0;
}

static void work(void *ud)
{
    worker *me = ud;
    quern_store *s = open_store(me->db, NULL);
    quern_error err;
    for (int idle = 0; idle < 3 && !me->rc;) {
        size_t before = me->n;
        int64_t lease;
        quern_task_end ends[7];
        uint8_t settled[7];
        me->rc = s->table.task_claim(s->self, NULL, 7, 60000, &lease, take_note, me, &err);
        for (size_t i = before; i < me->n; i++)
            ends[i - before] = (quern_task_end){.id = me->ids[i], .kind = QUERN_TASK_DONE};
        if (!me->rc)
            me->rc = s->table.task_settle(s->self, lease, ends, me->n - before, settled, &err);
        for (size_t i = before; i < me->n && !me->rc; i++)
            me->rc = settled[i - before] ? 0 : -1;
        idle = me->n == before ? idle + 1 : 0;
    }
    quern_store_free(s);
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void each_task_has_one_worker(void **state)
{
    world *w = *state;
    static worker workers[WORKERS];
    quern__thread *threads[WORKERS];
    static char text[TASKS][12];
    static quern_str keys[TASKS];
    static int64_t all[TASKS];
    size_t n = 0;
    memset(workers, 0, sizeof workers);
    for (int i = 0; i < TASKS; i++) {
        snprintf(text[i], sizeof text[i], "%d", i);
        keys[i] = quern_str_of(text[i]);
    }
    assert_int_equal(quern_enqueue(w->store, "items", keys, TASKS, NULL, NULL, NULL), QUERN_OK);
    for (int i = 0; i < WORKERS; i++) {
        workers[i].db = db;
        assert_int_equal(quern__thread_start(&threads[i], work, &workers[i], NULL), QUERN_OK);
    }
    for (int i = 0; i < WORKERS; i++)
        quern__thread_join(threads[i]);
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(workers[i].rc, 0);
        for (size_t k = 0; k < workers[i].n && n < TASKS; k++)
            all[n++] = workers[i].ids[k];
    }
    assert_int_equal(n, TASKS);
    qsort(all, n, sizeof *all, by_number);
    for (size_t i = 1; i < n; i++)
        assert_true(all[i] != all[i - 1]);
    assert_int_equal(stats(w->store).ready + stats(w->store).leased, 0);
}

static int start(void **state)
{
    (void)state;
    if (postgres_start(&server))
        return -1;
    snprintf(db, sizeof db, "%spostgres", server.base);
    conn = postgres_connect(&server, "postgres");
    return conn ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    PQfinish(conn);
    postgres_stop(&server);
    return 0;
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_rollback_takes_the_task_along),
        CASE(an_open_transaction_holds_nobody_up),
        CASE(a_clock_set_back_keeps_leases_as_long_as_they_are),
        CASE(a_clock_set_back_keeps_no_task_waiting),
        CASE(each_task_has_one_worker),
    };
    return cmocka_run_group_tests_name("postgres tasks", tests, start, stop);
}
