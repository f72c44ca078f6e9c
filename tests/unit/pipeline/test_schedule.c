/*
 * test_schedule.c — when a worker scans and how much it takes: limited runs in which nothing starves, cron times that are
 * kept, missed and made up for, a clock that is set back, the command before a scan, a declaration that changes meanwhile,
 * a lease under which nothing moves.
 */
#include "unit/pipeline/fill_world.h"

#include "base/alloc.h"
#include "quern/work.h"

static quern_work_report did;

/* 2026-11-21 10:40:00 UTC, a Saturday */
static int64_t wall = 1795257600000;

static int64_t clock_of_ours(void *ud)
{
    (void)ud;
    return wall;
}

static quern_work_options options(void)
{
    quern_work_options o;
    QUERN_INIT(&o);
    o.once = 1;
    o.backstop_ms = -1;
    o.tick_ms = 20;
    return o;
}

static int work(world *w, const quern_work_options *o)
{
    QUERN_INIT(&did);
    memset(&w->err, 0, sizeof w->err);
    return quern_work(w->s, w->e, o, &did, &w->err);
}

static int64_t stamps(world *w, const char *where)
{
    char text[200];
    snprintf(text, sizeof text, "SELECT count(*) FROM quern_stamps WHERE %s", where);
    return number(w, text);
}

/* ---- limited runs ---- */

static void limited_runs_come_to_all(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    declare(w, "things", NULL, NULL);
    put_rows(w, 1, 2);
    check(w, fill(w));
    put_rows(w, 2, 32);
    o.max_per_run = 10;
    check(w, work(w, &o));
    assert_int_equal(did.scheduled, 10);
    assert_int_equal(did.done, 10);
    assert_int_equal(did.processed, 10);
    /* without a revision the order of keys is that of age */
    assert_int_equal(stamps(w, "CAST(key AS INTEGER) BETWEEN 2 AND 6"), 5);
    assert_int_equal(stamps(w, "CAST(key AS INTEGER) BETWEEN 27 AND 31"), 5);
    for (int i = 0; i < 2;
         i++) { /* new ones come all the time: the old ones have their turn none the less */
        put_rows(w, 100 + 20 * i, 120 + 20 * i);
        check(w, work(w, &o));
        assert_int_equal(did.processed, 10);
    }
    assert_int_equal(stamps(w, "CAST(key AS INTEGER) BETWEEN 2 AND 16"), 15);
    while (did.processed)
        check(w, work(w, &o));
    assert_int_equal(stamps(w, "1"), number(w, "SELECT count(*) FROM items"));
    /* rows that have gone go with any run */
    sql(w, "DELETE FROM items WHERE id < 4");
    check(w, work(w, &o));
    assert_int_equal(did.deleted, 3);
    free_world(w);
}

static void the_window_is_for_the_newest(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    declare(w, "things", "rev", NULL);
    check(w, fill(w));
    put_rows(w, 1, 41);
    quern__set_wall_clock(clock_of_ours, NULL);
    /* 1 to 20 are of 2020, 21 to 40 of the last week, an hour apart */
    sql(w, "UPDATE items SET rev = '2020-01-01 00:00:' || printf('%02d', id) WHERE id <= 20;"
           "UPDATE items SET rev = datetime(1795257600 - 3600 * (id - 20), 'unixepoch') WHERE id > "
           "20");
    o.max_per_run = 10;
    check(w, work(w, &o));
    assert_int_equal(stamps(w, "CAST(key AS INTEGER) BETWEEN 1 AND 5"), 5);   /* the oldest */
    assert_int_equal(stamps(w, "CAST(key AS INTEGER) BETWEEN 21 AND 25"), 5); /* the newest */
    o.window_ms = 1000; /* nothing is so new: all places are for the oldest */
    check(w, work(w, &o));
    assert_int_equal(stamps(w, "CAST(key AS INTEGER) BETWEEN 1 AND 15"), 15);
    o.window_ms = -1;
    check(w, work(w, &o));
    assert_int_equal(stamps(w, "CAST(key AS INTEGER) BETWEEN 16 AND 30"), 15);
    quern__set_wall_clock(NULL, NULL);
    free_world(w);
}

/* Tasks that wait for their next attempt, or are dead, take no place of a run. */
static void failing_ones_do_not_fill_a_run(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 2);
    check(w, fill(w));
    put_rows(w, 2, 42);
    sql(w,
        "INSERT INTO quern_tasks (source, key, reason, state, attempts, created_ms, due_ms, set_ms)"
        " SELECT 1, id, 'bad luck', 2 * (id % 2), 5, 1, 99999999999999, 1 FROM items WHERE id"
        " BETWEEN 2 AND 11 OR id > 36");
    sql(w,
        "UPDATE quern_tasks SET set_ms = due_ms - 600000, due_ms = strftime('%s') * 1000 + 500000,"
        " set_ms = strftime('%s') * 1000");
    o.max_per_run = 10;
    check(w, work(w, &o));
    assert_int_equal(did.processed, 10);
    assert_int_equal(did.claimed, 10);
    assert_int_equal(stamps(w, "CAST(key AS INTEGER) BETWEEN 12 AND 16"), 5);
    assert_int_equal(stamps(w, "CAST(key AS INTEGER) BETWEEN 32 AND 36"), 5);
    assert_int_equal(number(w, "SELECT count(*) FROM quern_tasks WHERE attempts = 5"), 15);
    free_world(w);
}

static void whole_runs_come_between(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    quern__set_wall_clock(clock_of_ours, NULL);
    o.backstop_ms = 24 * 3600000;
    o.max_per_run = 4;
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 31);
    check(w, work(w, &o)); /* it never was looked at: all of it */
    assert_int_equal(did.processed, 30);
    put_rows(w, 31, 51);
    wall += 6 * 3600000;
    check(w, work(w, &o));
    assert_int_equal(did.processed, 4);
    wall += 18 * 3600000;
    check(w, work(w, &o));
    assert_int_equal(did.processed, 16);
    assert_int_equal(did.scheduled, 0);
    put_rows(w, 51, 71);
    check(w, work(w, &o));
    assert_int_equal(did.processed, 4);
    wall -= 7 * 24 * (int64_t)3600000; /* what was noted lies in the future: it is not believed */
    check(w, work(w, &o));
    assert_int_equal(did.processed, 16);
    o.max_per_run = -1;
    put_rows(w, 71, 91);
    check(w, work(w, &o));
    assert_int_equal(did.processed, 20);
    o.max_per_run = 1000001;
    assert_int_equal(work(w, &o), QUERN_EINVAL);
    quern__set_wall_clock(NULL, NULL);
    free_world(w);
}

/* ---- cron ---- */

static void a_missed_time_is_made_up_for_once(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    quern__set_wall_clock(clock_of_ours, NULL);
    o.cron = "0 * * * *";
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 3);
    check(w, work(w, &o)); /* never yet: at once */
    assert_int_equal(did.scans, 1);
    check(w, work(w, &o));
    assert_int_equal(did.scans, 0);
    wall += 19 * 60000; /* 10:59 */
    check(w, work(w, &o));
    assert_int_equal(did.scans, 0);
    wall += 5 * 3600000; /* five of them missed: one is made */
    check(w, work(w, &o));
    assert_int_equal(did.scans, 1);
    check(w, work(w, &o));
    assert_int_equal(did.scans, 0);
    o.cron = "0 0 30 2 *";
    assert_int_equal(work(w, &o), QUERN_EINVAL);
    assert_non_null(strstr(w->err.msg, "never comes"));
    quern__set_wall_clock(NULL, NULL);
    free_world(w);
}

typedef struct driver {
    int64_t back_at, scans_at[8], began;
    int calls;
    uint64_t scans;
} driver;

/* Each call is half a minute of the clock on the wall; at call back_at it is put back by three hours. */
static int drive(const quern_work_report *r, void *ud)
{
    driver *d = ud;
    d->calls++;
    wall += 30000;
    if (d->calls == d->back_at)
        wall -= 3 * 3600000;
    if (r->scans > d->scans && r->scans < 8)
        d->scans_at[r->scans] = wall;
    d->scans = r->scans;
    return d->calls > 400 || r->scans >= 5;
}

static void cron_times_are_kept(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    int64_t began = wall = 1795257600000;
    driver d = {.back_at = 100};
    quern__set_wall_clock(clock_of_ours, NULL);
    o.once = 0;
    o.tick_ms = 1;
    o.cron = "*/20 * * * *";
    o.progress = drive;
    o.progress_ud = &d;
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 3);
    assert_int_equal(work(w, &o), QUERN_ECANCELLED);
    assert_int_equal(d.scans, 5);
    /* at once, 11:00, 11:20; then the clock is put back to 08:30: 08:40 and 09:00, not at 11:40 in three hours */
    assert_true(d.scans_at[2] - began >= 20 * 60000 && d.scans_at[2] - began < 23 * 60000);
    assert_true(d.scans_at[3] - began >= 40 * 60000 && d.scans_at[3] - began < 43 * 60000);
    assert_true(d.scans_at[4] < began - 2 * 3600000 + 3 * 60000);
    quern__set_wall_clock(NULL, NULL);
    free_world(w);
}

/* ---- the command before a scan ---- */

static void a_command_comes_first(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    char command[400];
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 3);
    snprintf(command, sizeof command, "echo begun >&2; sleep 0.2; echo $((1+1)) > '%s/made'",
             w->dir);
    o.after = command;
    check(w, work(w, &o));
    assert_int_equal(did.syncs, 1);
    assert_int_equal(did.syncs_failed, 0);
    assert_int_equal(did.scans, 1);
    char *made = NULL, path[100];
    size_t size = 0;
    snprintf(path, sizeof path, "%s/made", w->dir);
    check(w, quern__read_file(path, 100, &made, &size, &w->err));
    assert_string_equal(made, "2\n");
    quern__free(made);
    /* its failure is told, and the scan is made */
    o.after = "exit 3";
    put_rows(w, 3, 5);
    assert_int_equal(work(w, &o), QUERN_EPARTIAL);
    assert_int_equal(did.syncs_failed, 1);
    assert_int_equal(did.sync_status, 3);
    assert_int_equal(did.processed, 2);
    assert_non_null(strstr(w->err.msg, "exit 3: exit status 3"));
    o.after = "kill -9 $$";
    assert_int_equal(work(w, &o), QUERN_EPARTIAL);
    assert_int_equal(did.sync_status, -9);
    free_world(w);
}

static int in_a_moment(const quern_work_report *r, void *ud)
{
    uint64_t *until = ud;
    (void)r;
    return quern__now_ns() > *until;
}

static void an_end_ends_the_command(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    char command[400], path[100];
    quern__stat there;
    uint64_t until = quern__now_ns() + 300000000;
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 3);
    snprintf(path, sizeof path, "%s/made", w->dir);
    snprintf(command, sizeof command, "(sleep 1.2; echo late > '%s') & sleep 30", path);
    o.after = command;
    o.progress = in_a_moment;
    o.progress_ud = &until;
    assert_int_equal(work(w, &o), QUERN_ECANCELLED);
    assert_true(quern__now_ns() < until + 1000000000);
    assert_int_equal(did.scans, 0);
    quern__sleep_ms(1300);
    check(w, quern__stat_path(path, &there, &w->err));
    assert_false(there.exists); /* what it had started has ended, too */
    free_world(w);
}

/* ---- what changes meanwhile ---- */

typedef struct meddling {
    world *w;
    int at;
    const char *text;
} meddling;

static void meddle(void *ud)
{
    meddling *m = ud;
    if (--m->at == 0) {
        quern__sleep_ms(250);
        sql(m->w, m->text);
    }
}

static void a_source_declared_anew_ends_its_scan(void **state)
{
    (void)state;
    world *w = make_world();
    quern_work_options o = options();
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 3001);
    meddling m = {w, 4,
                  "UPDATE quern_sources SET spec = replace(spec, '{title}. {body}', '{body}')"};
    w->fake.before = meddle;
    w->fake.ud = &m;
    assert_int_equal(work(w, &o), QUERN_EPARTIAL);
    if (!strstr(did.last_error, "template differs"))
        fail_msg("%s", did.last_error);
    assert_true(did.processed > 0 && did.processed < 2500);
    /* nothing is written any more, by tasks or scans */
    int64_t before = stamps(w, "1");
    quern_str key = {"2999", 4};
    check(w, quern_enqueue(w->s, "things", &key, 1, NULL, NULL, &w->err));
    assert_int_equal(work(w, &o), QUERN_EPARTIAL);
    assert_int_equal(did.processed, 0);
    assert_int_equal(stamps(w, "1"), before);
    assert_int_equal(number(w, "SELECT attempts FROM quern_tasks"), 1);
    /* a fill makes the new generation, and the worker goes on with that */
    check(w, fill(w));
    sql(w, "UPDATE items SET rev = 'r2', body = 'new' WHERE id = 7");
    check(w, work(w, &o));
    assert_int_equal(did.processed, 1);
    assert_int_equal(number(w, "SELECT count(DISTINCT generation) FROM quern_stamps"), 1);
    free_world(w);
}

static int64_t left_ms; /* of the lease, at the end of a long call of the embedder */

static void slow(void *ud)
{
    quern__sleep_ms(800);
    left_ms = number(ud, "SELECT due_ms FROM quern_tasks") - quern__wall_ms();
}

static void a_lease_under_which_nothing_moves_ends(void **state)
{
    (void)state;
    static const uint32_t stall_ms[] = {0, 150};
    world *w = make_world();
    quern_work_options o = options();
    declare(w, "things", "rev", NULL);
    put_rows(w, 1, 5);
    check(w, fill(w));
    w->fake.before = slow;
    w->fake.ud = w;
    o.interval_ms = -1;
    o.lease_ms = 300;
    for (size_t i = 0; i < 2; i++) {
        quern_str key = {"2", 1};
        sql(w, "UPDATE items SET body = body || '.', rev = rev || '.' WHERE id = 2");
        check(w, quern_enqueue(w->s, "things", &key, 1, NULL, NULL, &w->err));
        o.stall_ms = stall_ms[i];
        check(w, work(w, &o));
        assert_true(i == 0 ? left_ms > 0 : left_ms < 0);
    }
    free_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limited_runs_come_to_all),
        cmocka_unit_test(the_window_is_for_the_newest),
        cmocka_unit_test(failing_ones_do_not_fill_a_run),
        cmocka_unit_test(whole_runs_come_between),
        cmocka_unit_test(a_missed_time_is_made_up_for_once),
        cmocka_unit_test(cron_times_are_kept),
        cmocka_unit_test(a_command_comes_first),
        cmocka_unit_test(an_end_ends_the_command),
        cmocka_unit_test(a_source_declared_anew_ends_its_scan),
        cmocka_unit_test(a_lease_under_which_nothing_moves_ends),
    };
    return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
