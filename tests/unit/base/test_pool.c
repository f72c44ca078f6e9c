/* The pool: each part once, any number of threads and callers, no lost wake-up; run under TSan. */
#include "unit.h"

#include <stdatomic.h>

#include "base/alloc.h"
#include "base/fpenv.h"
#include "base/os.h"
#include "base/pool.h"
#include "torture/torture.h"

enum { MOST_PARTS = 300 };

struct job {
    atomic_uint ran[MOST_PARTS];
    uint32_t threads;
    uint32_t plain[MOST_PARTS]; /* written without atomics: TSan sees a missing hand-over */
    atomic_uint worker_mask;
};

static void part(void *ud, uint32_t i, uint32_t worker)
{
    struct job *job = ud;
    atomic_fetch_add(&job->ran[i], 1);
    job->plain[i] = i + 1;
    if (worker >= job->threads)
        abort();
    atomic_fetch_or(&job->worker_mask, 1u << worker);
}

static void run_once(quern__pool *p, struct job *job, uint32_t parts)
{
    memset(job, 0, sizeof *job);
    job->threads = quern__pool_threads(p);
    quern__pool_run(p, parts, part, job);
    for (uint32_t i = 0; i < MOST_PARTS; i++) {
        assert_int_equal(atomic_load(&job->ran[i]), i < parts);
        assert_int_equal(job->plain[i], i < parts ? i + 1 : 0);
    }
}

static void test_each_part_once(void **state)
{
    (void)state;
    static struct job job;
    quern_error err;
    static const uint32_t threads[] = {1, 2, 3, 8};
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        quern__pool *p;
        assert_ok(err, quern__pool_new(&p, threads[t], &err));
        assert_int_equal(quern__pool_threads(p), threads[t]);
        for (uint32_t i = 0; i < 2000; i++)
            run_once(p, &job, i % 17 * (i % 3));
        run_once(p, &job, MOST_PARTS);
        /* After the workers fell asleep. */
        for (int i = 0; i < 20; i++) {
            quern__sleep_ms(1);
            run_once(p, &job, 9);
        }
        quern__pool_free(p);
    }
}

static void test_one_part_runs_inline(void **state)
{
    (void)state;
    static struct job job;
    quern_error err;
    quern__pool *p;
    assert_ok(err, quern__pool_new(&p, 4, &err));
    for (int i = 0; i < 100; i++) {
        run_once(p, &job, 1);
        assert_int_equal(atomic_load(&job.worker_mask), 1);
    }
    quern__pool_free(p);
    assert_ok(err, quern__pool_new(&p, 1, &err));
    run_once(p, &job, 40);
    assert_int_equal(atomic_load(&job.worker_mask), 1);
    quern__pool_free(p);
}

static atomic_uint meeting;

/* Ends only when both parts run at once, on two threads. */
static void meet(void *ud, uint32_t i, uint32_t worker)
{
    (void)ud;
    (void)i;
    (void)worker;
    atomic_fetch_add(&meeting, 1);
    while (atomic_load(&meeting) < 2)
        quern__sleep_ms(0);
}

static void test_parts_run_at_once(void **state)
{
    (void)state;
    quern_error err;
    quern__pool *p;
    assert_ok(err, quern__pool_new(&p, 2, &err));
    for (int i = 0; i < 200; i++) {
        atomic_store(&meeting, 0);
        if (i % 10 == 0)
            quern__sleep_ms(1);
        quern__pool_run(p, 2, meet, NULL);
        assert_int_equal(atomic_load(&meeting), 2);
    }
    quern__pool_free(p);
}

static void count_cpus(void *ud, uint32_t i, uint32_t worker)
{
    meet(NULL, i, worker);
    ((uint32_t *)ud)[worker] = quern__cpu_count();
}

/* A sleeper is kept off the caller's processor, and may use it again once awake. */
static void test_woken_workers_may_run_anywhere(void **state)
{
    (void)state;
    quern_error err;
    quern__pool *p;
    assert_ok(err, quern__pool_new(&p, 2, &err));
    for (int i = 0; i < 20; i++) {
        uint32_t cpus[2] = {0};
        atomic_store(&meeting, 0);
        quern__sleep_ms(2);
        quern__pool_run(p, 2, count_cpus, cpus);
        assert_int_equal(cpus[0], quern__cpu_count());
        assert_int_equal(cpus[1], quern__cpu_count());
    }
    quern__pool_free(p);
}

struct caller {
    quern__pool *pool;
    struct job job;
    uint32_t rounds;
};

static void call_often(void *ud)
{
    struct caller *c = ud;
    for (uint32_t i = 0; i < c->rounds; i++)
        run_once(c->pool, &c->job, i % 13);
}

static void test_many_callers(void **state)
{
    (void)state;
    static struct caller callers[4];
    quern__thread *threads[4];
    quern_error err;
    quern__pool *p;
    assert_ok(err, quern__pool_new(&p, 3, &err));
    for (int i = 0; i < 4; i++) {
        callers[i].pool = p;
        callers[i].rounds = 500;
        assert_ok(err, quern__thread_start(&threads[i], call_often, &callers[i], &err));
    }
    for (int i = 0; i < 4; i++)
        quern__thread_join(threads[i]);
    quern__pool_free(p);
}

static void test_limits(void **state)
{
    (void)state;
    quern_error err;
    quern__pool *p;
    assert_ok(err, quern__pool_new(&p, 0, &err));
    assert_int_equal(quern__pool_threads(p), quern__cpu_count());
    quern__pool_free(p);
    assert_fails(QUERN_EINVAL, err, quern__pool_new(&p, 100000, &err));
    assert_null(p);
    quern__pool_free(NULL);
}

static void test_wait_times_out(void **state)
{
    (void)state;
    quern_error err;
    quern__mutex *m;
    quern__cond *c;
    assert_ok(err, quern__mutex_new(&m, &err));
    assert_ok(err, quern__cond_new(&c, &err));
    quern__mutex_lock(m);
    uint64_t before = quern__now_ns();
    while (quern__cond_wait_ms(c, m, 30))
        continue;
    uint64_t took = quern__now_ns() - before;
    quern__mutex_unlock(m);
    assert_true(took >= 29000000);
    quern__cond_free(c);
    quern__mutex_free(m);
}

static int torture_body(void *ud, quern_error *err)
{
    quern__pool *p;
    int rc = quern__pool_new(&p, 4, err);
    if (rc != QUERN_OK)
        return rc;
    run_once(p, ud, 20);
    quern__pool_free(p);
    return QUERN_OK;
}

static void test_torture(void **state)
{
    (void)state;
    static struct job job;
    assert_true(torture_run(torture_body, &job) >= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_part_once),
        cmocka_unit_test(test_one_part_runs_inline),
        cmocka_unit_test(test_parts_run_at_once),
        cmocka_unit_test(test_woken_workers_may_run_anywhere),
        cmocka_unit_test(test_many_callers),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_wait_times_out),
        cmocka_unit_test(test_torture),
    };
    torture_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
