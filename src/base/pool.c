/*
 * pool.c — one job at a time over a fixed set of threads.
 *
 * A job is published as one 64-bit word: its number (epoch) above, the next unclaimed part below.
 * A part is claimed by compare-and-swap on that word, so a worker that comes late, with the fields
 * of an older job in hand, fails its swap and touches nothing. The fields fn, ud and parts are
 * written only while the word says "closed": the release store of a field after it makes every
 * worker that sees the new field see the closed word too.
 *
 * Between jobs a worker spins for SPIN_NS, then sleeps. Spinning longer was rejected: with more
 * threads than free cores it steals the time that the job needs. The caller works as well, spins
 * as long for stragglers, then sleeps too.
 *
 * Linux likes to wake a thread on the processor of the one that wakes it, though another is idle. There the
 * two take turns until the balancer looks, milliseconds later: longer than a query lasts. So the caller keeps
 * sleepers off its own processor until they are awake (a query on 2 threads 2.3 ms instead of 4.0).
 * Rejected: pinning workers, which fights with whatever else runs there; yielding to them, which gives a
 * busy machine's time away.
 */
#include "base/pool.h"

#include <stdatomic.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"

enum { SPIN_NS = 30000, MAX_THREADS = 1024 };

#define CLOSED UINT32_MAX

typedef void (*part_fn)(void *ud, uint32_t part, uint32_t worker);

struct worker {
    quern__pool *pool;
    quern__thread *thread;
    uint32_t index;
    bool asleep; /* under the pool's lock */
};

struct quern__pool {
    uint32_t threads, started;
    struct worker *workers; /* [threads - 1] */
    quern__mutex *run_lock; /* held for the length of a job: one caller at a time */
    quern__mutex *lock;     /* guards going to sleep and waking */
    quern__cond *wake, *finished;
    _Atomic uint64_t job; /* epoch << 32 | next part, or CLOSED */
    _Atomic part_fn fn;
    void *_Atomic ud;
    _Atomic uint32_t parts;
    _Atomic uint32_t done;     /* parts finished of the running job */
    _Atomic uint32_t sleepers; /* workers in quern__cond_wait */
    atomic_bool caller_sleeps, stop;
};

static void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Takes and runs parts of job `epoch` until none is left. */
static void work_on(quern__pool *p, uint32_t epoch, uint32_t worker)
{
    for (;;) {
        uint64_t word = atomic_load(&p->job);
        part_fn fn = atomic_load(&p->fn);
        void *ud = atomic_load(&p->ud);
        uint32_t parts = atomic_load(&p->parts), part = (uint32_t)word;
        if ((uint32_t)(word >> 32) != epoch || part == CLOSED || part >= parts)
            return;
        if (!atomic_compare_exchange_strong(&p->job, &word, word + 1))
            continue;
        fn(ud, part, worker);
        if (atomic_fetch_add(&p->done, 1) + 1 == parts && atomic_load(&p->caller_sleeps)) {
            quern__mutex_lock(p->lock);
            quern__cond_signal(p->finished);
            quern__mutex_unlock(p->lock);
        }
    }
}

/* True once there is an open job other than *seen, whose number it leaves there, or the pool stops. */
static bool news(quern__pool *p, uint32_t *seen)
{
    uint64_t word = atomic_load(&p->job);
    if ((uint32_t)(word >> 32) != *seen && (uint32_t)word != CLOSED) {
        *seen = (uint32_t)(word >> 32);
        return true;
    }
    return atomic_load(&p->stop);
}

static void wait_for_job(struct worker *w, uint32_t *seen)
{
    quern__pool *p = w->pool;
    for (uint64_t start = quern__now_ns(); quern__now_ns() - start < SPIN_NS;)
        for (int i = 0; i < 32; i++) {
            if (news(p, seen))
                return;
            pause_cpu();
        }
    quern__mutex_lock(p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    w->asleep = true;
    while (!news(p, seen))
        quern__cond_wait(p->wake, p->lock);
    w->asleep = false;
    atomic_fetch_sub(&p->sleepers, 1);
    quern__mutex_unlock(p->lock);
    quern__thread_release(w->thread);
}

static void worker_main(void *arg)
{
    struct worker *w = arg;
    quern__pool *p = w->pool;
    uint32_t seen = 0;
    for (;;) {
        wait_for_job(w, &seen);
        if (atomic_load(&p->stop))
            return;
        work_on(p, seen, w->index);
    }
}

static void wait_for_parts(quern__pool *p, uint32_t parts)
{
    for (uint64_t start = quern__now_ns(); quern__now_ns() - start < SPIN_NS;)
        for (int i = 0; i < 32; i++) {
            if (atomic_load(&p->done) == parts)
                return;
            pause_cpu();
        }
    quern__mutex_lock(p->lock);
    atomic_store(&p->caller_sleeps, true);
    while (atomic_load(&p->done) != parts)
        quern__cond_wait(p->finished, p->lock);
    atomic_store(&p->caller_sleeps, false);
    quern__mutex_unlock(p->lock);
}

static void publish(quern__pool *p, uint32_t parts, part_fn fn, void *ud)
{
    uint32_t epoch = (uint32_t)(atomic_load(&p->job) >> 32) + 1;
    atomic_store(&p->job, (uint64_t)epoch << 32 | CLOSED);
    atomic_store(&p->fn, fn);
    atomic_store(&p->ud, ud);
    atomic_store(&p->parts, parts);
    atomic_store(&p->done, 0);
    atomic_store(&p->job, (uint64_t)epoch << 32);
    uint32_t asleep = atomic_load(&p->sleepers);
    if (!asleep)
        return;
    quern__mutex_lock(p->lock);
    for (uint32_t i = 0; i < p->started; i++)
        if (p->workers[i].asleep)
            quern__thread_keep_off(p->workers[i].thread);
    if (parts - 1 >= asleep)
        quern__cond_broadcast(p->wake);
    else
        for (uint32_t i = 0; i < parts - 1; i++)
            quern__cond_signal(p->wake);
    quern__mutex_unlock(p->lock);
}

void quern__pool_run(quern__pool *p, uint32_t parts, part_fn fn, void *ud)
{
    if (!parts)
        return;
    quern__mutex_lock(p->run_lock);
    if (parts == 1 || p->threads == 1) {
        for (uint32_t i = 0; i < parts; i++)
            fn(ud, i, 0);
    } else {
        publish(p, parts, fn, ud);
        work_on(p, (uint32_t)(atomic_load(&p->job) >> 32), 0);
        wait_for_parts(p, parts);
    }
    quern__mutex_unlock(p->run_lock);
}

int quern__pool_new(quern__pool **out, uint32_t threads, quern_error *err)
{
    *out = NULL;
    if (!threads)
        threads = quern__cpu_count();
    if (threads > MAX_THREADS)
        return quern__fail(err, QUERN_EINVAL, 0, "%u threads asked for, %d is the most", threads,
                           MAX_THREADS);
    quern__pool *p = quern__calloc(1, sizeof *p);
    if (!p)
        return quern__fail_memory(err, sizeof *p);
    p->threads = threads;
    int rc = quern__mutex_new(&p->run_lock, err);
    if (rc == QUERN_OK)
        rc = quern__mutex_new(&p->lock, err);
    if (rc == QUERN_OK)
        rc = quern__cond_new(&p->wake, err);
    if (rc == QUERN_OK)
        rc = quern__cond_new(&p->finished, err);
    if (rc == QUERN_OK && threads > 1) {
        p->workers = quern__calloc(threads - 1, sizeof *p->workers);
        if (!p->workers)
            rc = quern__fail_memory(err, (threads - 1) * sizeof *p->workers);
    }
    for (uint32_t i = 0; rc == QUERN_OK && i < threads - 1; i++) {
        struct worker *w = &p->workers[i];
        w->pool = p;
        w->index = i + 1;
        rc = quern__thread_start(&w->thread, worker_main, w, err);
        if (rc == QUERN_OK)
            p->started++;
    }
    if (rc != QUERN_OK) {
        quern__pool_free(p);
        return rc;
    }
    *out = p;
    return QUERN_OK;
}

void quern__pool_free(quern__pool *p)
{
    if (!p)
        return;
    if (p->started) {
        quern__mutex_lock(p->lock);
        atomic_store(&p->stop, true);
        quern__cond_broadcast(p->wake);
        quern__mutex_unlock(p->lock);
        for (uint32_t i = 0; i < p->started; i++)
            quern__thread_join(p->workers[i].thread);
    }
    quern__cond_free(p->finished);
    quern__cond_free(p->wake);
    quern__mutex_free(p->lock);
    quern__mutex_free(p->run_lock);
    quern__free(p->workers);
    quern__free(p);
}

uint32_t quern__pool_threads(const quern__pool *p)
{
    return p->threads;
}
