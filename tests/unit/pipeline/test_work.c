/* test_work.c — the worker: tasks through all generations, what fails and how often it is tried, scans, and its end. */
#include "unit/pipeline/fill_world.h"

#include "quern/work.h"

static quern_work_report did;

static quern_work_options options(void)
{
    quern_work_options o;
    QUERN_INIT(&o);
    o.once = 1;
    o.interval_ms = o.backstop_ms = -1; /* no scans */
    return o;
}

static int work(world *w, const quern_work_options *o)
{
    QUERN_INIT(&did);
    memset(&w->err, 0, sizeof w->err);
    w->fake.calls = w->fake.texts = 0;
    return quern_work(w->s, w->e, o, &did, &w->err);
}

static void put(world *w, const char *source, const char *key)
{
    quern_str k = quern_str_of(key);
    check(w, quern_enqueue(w->s, source, &k, 1, NULL, NULL, &w->err));
}

static quern_task_stats stats(world *w)
{
    quern_task_stats st;
    QUERN_INIT(&st);
    check(w, quern_task_statistics(w->s, NULL, &st, &w->err));
    return st;
}

/* ---- tasks ---- */

static void tasks_do_what_a_fill_does(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 40);
    check(w, fill(w));
    sql(w, "UPDATE items SET title = 'new', rev = 'r2' WHERE id = 5;"
           "UPDATE items SET title = '', body = '', rev = 'r2' WHERE id = 6;"
           "DELETE FROM items WHERE id = 7; INSERT INTO items VALUES (99, 'late', 'x', 'r1', 0)");
    put(w, "things", "5");
    put(w, "things", "6");
    put(w, "things", "7");
    put(w, "things", "99");
    put(w, "things", "8"); /* current */
    put(w, "things", "12345");
    check(w, work(w, &o));
    assert_int_equal(did.claimed, 6);
    assert_int_equal(did.done, 6);
    assert_int_equal(did.lost + did.retried + did.dead + did.scans, 0);
    assert_int_equal(w->fake.texts, 2);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_tasks"), 0);
    char *by_tasks = state_of(w);
    check(w, fill(w));
    assert_int_equal(w->fake.calls, 0);
    char *by_fill = state_of(w);
    assert_string_equal(by_tasks, by_fill);
    free(by_tasks);
    free(by_fill);
    free_world(w);
}

static void every_generation_in_use_gets_it(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 10);
    check(w, fill(w));
    sql(w, "INSERT INTO quern_generations (id, source, state, fingerprint, fingerprint_json, model,"
           " vector_type, dimensions, created_ms) SELECT 50, source, 'building', fingerprint,"
           " fingerprint_json, model, vector_type, dimensions, created_ms FROM quern_generations");
    put(w, "things", "3");
    check(w, work(w, &o));
    assert_int_equal(did.done, 1);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_stamps WHERE generation = 50"), 1);
    sql(w, "UPDATE items SET rev = 'r2', title = 'again' WHERE id = 3; DELETE FROM items WHERE id "
           "= 4");
    put(w, "things", "3");
    put(w, "things", "4");
    check(w, work(w, &o));
    assert_int_equal(did.done, 2);
    assert_int_equal(
        number(w, "SELECT count(*) FROM quern_stamps WHERE key = '3' AND revision = 'r2'"), 2);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_stamps WHERE key = '4'"), 0);
    free_world(w);
}

static void a_source_that_was_never_filled_is_begun(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 10);
    put(w, "things", "8");
    check(w, work(w, &o));
    assert_int_equal(did.done, 1);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_stamps WHERE key = '8'"), 1);
    assert_true(number(w, "SELECT count(*) FROM quern_stamps") <= 2);
    free_world(w);
}

static void a_limit_is_kept(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    declare(w, "things", "rev", NULL);
    declare(w, "others", NULL, "id < 5");
    put_rows(w, 1, 30);
    check(w, fill(w));
    for (int i = 1; i < 10; i++) {
        char key[8];
        snprintf(key, sizeof key, "%d", i);
        put(w, i % 2 ? "things" : "others", key);
    }
    o.limit = 4;
    o.claim = 3;
    check(w, work(w, &o));
    assert_int_equal(did.claimed, 4);
    static const char *const one[] = {"others"};
    o.limit = 0;
    o.sources = one;
    o.n_sources = 1;
    check(w, work(w, &o));
    assert_int_equal(number(w, "SELECT count(*) FROM quern_tasks t JOIN quern_sources s ON"
                               " s.id = t.source WHERE s.name = 'others'"),
                     0);
    assert_true(stats(w).ready > 0);
    static const char *const nobody[] = {"nobody"};
    o.sources = nobody;
    assert_int_equal(work(w, &o), QUERN_ENOTFOUND);
    free_world(w);
}

/* ---- faults ---- */

static int take_reason(const quern_task *t, void *ud)
{
    snprintf(ud, 200, "%.*s", (int)t->error.len, t->error.ptr);
    return 0;
}

static void poison_is_a_dead_letter(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    char why[200] = "";
    uint64_t n = 0;
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 10);
    check(w, fill(w));
    sql(w, "UPDATE items SET body = 'POISON', rev = 'r2' WHERE id = 2;"
           "UPDATE items SET body = 'fine', rev = 'r2' WHERE id = 3");
    put(w, "things", "2");
    put(w, "things", "3");
    assert_int_equal(work(w, &o), QUERN_EPARTIAL);
    assert_int_equal(did.dead, 1);
    assert_int_equal(did.done, 1);
    assert_int_equal(stats(w).dead, 1);
    check(w, quern_task_each(w->s, "things", QUERN_TASK_DEAD, 0, 9, take_reason, why, &w->err));
    assert_non_null(strstr(why, "not finite"));
    /* revived without a change it fails again, and with one it is done */
    check(w, quern_task_revive(w->s, "things", NULL, 0, &n, &w->err));
    assert_int_equal(n, 1);
    assert_int_equal(work(w, &o), QUERN_EPARTIAL);
    assert_int_equal(did.dead, 1);
    sql(w, "UPDATE items SET body = 'mended', rev = 'r3' WHERE id = 2");
    put(w, "things", "2");
    check(w, work(w, &o));
    assert_int_equal(did.done, 1);
    free_world(w);
}

static int64_t the_time;
static int64_t tell_time(void *ud)
{
    (void)ud;
    return the_time;
}

static void a_settings_fault_is_tried_at_a_slow_pace(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 10);
    check(w, fill(w));
    the_time = quern__wall_ms();
    quern__set_wall_clock(tell_time, NULL);
    put(w, "things", "2");
    change_model(w, "fake-2");
    int64_t before = 0;
    for (int i = 1; i <= 10; i++) {
        assert_int_equal(work(w, &o), QUERN_EPARTIAL);
        assert_int_equal(did.claimed, 1);
        assert_int_equal(i < 10 ? did.retried : did.dead, 1);
        if (i == 10)
            break;
        int64_t wait = number(w, "SELECT due_ms - set_ms FROM quern_tasks");
        int64_t least = 900000LL << (i - 1);
        assert_true(wait >= least && wait <= least + least / 4 + 1);
        assert_true(wait > before);
        before = wait;
        check(w, work(w, &o)); /* not due */
        assert_int_equal(did.claimed, 0);
        the_time += wait;
    }
    quern__set_wall_clock(NULL, NULL);
    assert_int_equal(stats(w).dead, 1);
    assert_int_equal(w->fake.texts, 0);
    free_world(w);
}

static void a_worker_that_dies_counts(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    char why[200] = "";
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 5);
    check(w, fill(w));
    put(w, "things", "2");
    put(w, "things", "3");
    sql(w, "UPDATE quern_tasks SET attempts = 10, lease = 77, due_ms = 1 WHERE key = '2'");
    assert_int_equal(work(w, &o), QUERN_EPARTIAL);
    assert_int_equal(did.dead, 1);
    assert_int_equal(did.done, 1);
    assert_int_equal(stats(w).rescued, 1);
    check(w, quern_task_each(w->s, NULL, QUERN_TASK_DEAD, 0, 9, take_reason, why, &w->err));
    assert_non_null(strstr(why, "never finished"));
    free_world(w);
}

static void an_endpoint_that_is_down_costs_no_attempt(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 5);
    check(w, fill(w));
    sql(w, "UPDATE items SET body = 'other', rev = 'r2'");
    put(w, "things", "2");
    w->fake.outages = 1000;
    assert_int_equal(work(w, &o), QUERN_EREMOTE);
    assert_int_equal(did.released, 1);
    assert_int_equal(number(w, "SELECT attempts FROM quern_tasks"), 0);
    w->fake.outages = 0;
    sql(w, "UPDATE quern_tasks SET due_ms = 1");
    check(w, work(w, &o));
    assert_int_equal(did.done, 1);
    free_world(w);
}

static void an_endpoint_that_refuses_is_asked_slowly(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 5);
    check(w, fill(w));
    sql(w, "UPDATE items SET body = 'REFUSED', rev = 'r2' WHERE id = 2");
    put(w, "things", "2");
    o.max_attempts = 2;
    assert_int_equal(work(w, &o), QUERN_EPARTIAL);
    assert_int_equal(w->fake.calls, 1);
    assert_int_equal(did.retried, 1);
    assert_int_equal(number(w, "SELECT attempts FROM quern_tasks"), 1);
    assert_true(number(w, "SELECT due_ms - set_ms FROM quern_tasks") >= 15 * 60000);
    sql(w, "UPDATE quern_tasks SET due_ms = 1");
    assert_int_equal(work(w, &o), QUERN_EPARTIAL);
    assert_int_equal(did.dead, 1);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_tasks WHERE error LIKE '%answers 401%'"),
                     1);
    free_world(w);
}

/* ---- leases ---- */

typedef struct meddling {
    world *w;
    int times;
    const char *text;
} meddling;

static void meddle(void *ud)
{
    meddling *m = ud;
    if (m->times-- > 0)
        sql(m->w, m->text);
}

static void what_was_lost_is_not_saved(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 5);
    check(w, fill(w));
    sql(w, "UPDATE items SET body = 'other', rev = 'r2' WHERE id = 2");
    put(w, "things", "2");
    meddling m = {w, 1, "UPDATE quern_tasks SET lease = 4711, due_ms = due_ms + 100000"};
    w->fake.before = meddle;
    w->fake.ud = &m;
    check(w, work(w, &o));
    assert_int_equal(did.lost, 1);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_stamps WHERE revision = 'r2'"), 0);
    assert_int_equal(stats(w).leased, 1);
    free_world(w);
}

static void an_edit_meanwhile_runs_again(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 5);
    check(w, fill(w));
    sql(w, "UPDATE items SET body = 'other', rev = 'r2' WHERE id = 2");
    put(w, "things", "2");
    meddling m = {w, 1,
                  "UPDATE items SET body = 'third', rev = 'r3' WHERE id = 2;"
                  "UPDATE quern_tasks SET again = 1"};
    w->fake.before = meddle;
    w->fake.ud = &m;
    check(w, work(w, &o));
    assert_int_equal(did.claimed, 2);
    assert_int_equal(did.done, 1);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_stamps WHERE revision = 'r3'"), 1);
    free_world(w);
}

static void slow(void *ud)
{
    (void)ud;
    quern__sleep_ms(400);
}

static void a_lease_is_renewed_while_it_is_worked_on(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 5);
    check(w, fill(w));
    sql(w, "UPDATE items SET body = 'other', rev = 'r2' WHERE id = 2");
    put(w, "things", "2");
    int64_t began = quern__wall_ms();
    meddling m = {w, 0, ""};
    w->fake.before = slow;
    w->fake.ud = &m;
    o.lease_ms = 150;
    check(w, work(w, &o));
    assert_true(quern__wall_ms() - began > 350);
    assert_int_equal(did.done, 1);
    assert_int_equal(stats(w).rescued, 0);
    free_world(w);
}

/* ---- scans and the end ---- */

static void scans_find_what_no_task_tells(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    o.interval_ms = o.backstop_ms = 0;
    declare(w, "things", "rev", NULL);
    declare(w, "others", NULL, "id < 5");
    put_rows(w, 1, 30);
    check(w, work(w, &o));
    assert_int_equal(did.scans, 2);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_stamps"), 29 + 4);
    sql(w, "DELETE FROM items WHERE id = 3; UPDATE items SET rev = 'r2', title = 't' WHERE id = 9");
    check(w, work(w, &o));
    assert_int_equal(did.processed, 1);
    assert_int_equal(did.deleted, 2);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_stamps"), 28 + 3);
    /* who does not hold the lock leaves scans to who does */
    void *held = NULL;
    check(w, w->s->table.lock(w->s->self, "work", 0, &held, &w->err));
    check(w, work(w, &o));
    assert_int_equal(did.scans, 0);
    w->s->table.unlock(w->s->self, held);
    free_world(w);
}

typedef struct stopper {
    quern_cancel *cancel;
    quern_str keys[1];
} stopper;

static void raise_it(void *ud)
{
    quern_cancel_raise(((stopper *)ud)->cancel);
}

static void a_cancelled_worker_gives_back(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    stopper st = {.cancel = NULL};
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 600);
    check(w, fill(w));
    sql(w, "UPDATE items SET body = 'other', rev = 'r2'");
    put(w, "things", "2");
    put(w, "things", "3");
    check(w, quern_cancel_new(&st.cancel, &w->err));
    w->fake.before = raise_it;
    w->fake.ud = &st;
    o.once = 0;
    o.cancel = st.cancel;
    assert_int_equal(work(w, &o), QUERN_ECANCELLED);
    assert_int_equal(did.released + did.done, 2);
    assert_int_equal(stats(w).leased, 0);
    assert_int_equal(number(w, "SELECT coalesce(max(attempts), 0) FROM quern_tasks"), 0);
    quern_cancel_free(st.cancel);
    free_world(w);
}

static int enough(const quern_work_report *r, void *ud)
{
    (void)ud;
    return r->done >= 3;
}

static void a_worker_waits_for_tasks(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 10);
    check(w, fill(w));
    o.once = 0;
    o.tick_ms = 20;
    o.progress = enough;
    put(w, "things", "1");
    put(w, "things", "2");
    sql(w, "UPDATE items SET rev = 'r2' WHERE id = 1");
    /* the third comes while it works */
    meddling m = {w, 1,
                  "INSERT INTO quern_tasks (source, key, reason, created_ms, due_ms, set_ms)"
                  " VALUES (1, '5', 'late', 1, 1, 1)"};
    w->fake.before = meddle;
    w->fake.ud = &m;
    assert_int_equal(work(w, &o), QUERN_ECANCELLED);
    assert_int_equal(did.done, 3);
    free_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_do_what_a_fill_does),
        cmocka_unit_test(every_generation_in_use_gets_it),
        cmocka_unit_test(a_source_that_was_never_filled_is_begun),
        cmocka_unit_test(a_limit_is_kept),
        cmocka_unit_test(poison_is_a_dead_letter),
        cmocka_unit_test(a_settings_fault_is_tried_at_a_slow_pace),
        cmocka_unit_test(a_worker_that_dies_counts),
        cmocka_unit_test(an_endpoint_that_is_down_costs_no_attempt),
        cmocka_unit_test(an_endpoint_that_refuses_is_asked_slowly),
        cmocka_unit_test(what_was_lost_is_not_saved),
        cmocka_unit_test(an_edit_meanwhile_runs_again),
        cmocka_unit_test(a_lease_is_renewed_while_it_is_worked_on),
        cmocka_unit_test(scans_find_what_no_task_tells),
        cmocka_unit_test(a_cancelled_worker_gives_back),
        cmocka_unit_test(a_worker_waits_for_tasks),
    };
    return cmocka_run_group_tests_name("work", tests, NULL, NULL);
}
