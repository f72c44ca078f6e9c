/*
 * os_thread.c — mutexes, conditions and threads over pthread. Conditions wait on the monotonic
 * clock, so that setting the time of day neither shortens nor stretches a wait. Threads are started
 * with every signal blocked: signals are for the program's own threads.
 */
#define _GNU_SOURCE
#include "base/os.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#include "base/alloc.h"
#include "base/fpenv.h"

struct quern__mutex {
    pthread_mutex_t m;
};

struct quern__cond {
    pthread_cond_t c;
};

struct quern__thread {
    pthread_t id;
    void (*fn)(void *ud);
    void *ud;
    cpu_set_t allowed; /* while kept off: what release puts back */
    bool kept_off;
};

int quern__mutex_new(quern__mutex **out, quern_error *err)
{
    *out = quern__alloc(sizeof **out);
    if (!*out)
        return quern__fail_memory(err, sizeof **out);
    pthread_mutex_init(&(*out)->m, NULL); /* cannot fail with default attributes on Linux */
    return QUERN_OK;
}

void quern__mutex_free(quern__mutex *m)
{
    if (!m)
        return;
    pthread_mutex_destroy(&m->m);
    quern__free(m);
}

void quern__mutex_lock(quern__mutex *m)
{
    pthread_mutex_lock(&m->m);
}

void quern__mutex_unlock(quern__mutex *m)
{
    pthread_mutex_unlock(&m->m);
}

int quern__cond_new(quern__cond **out, quern_error *err)
{
    pthread_condattr_t attr;
    *out = quern__alloc(sizeof **out);
    if (!*out)
        return quern__fail_memory(err, sizeof **out);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&(*out)->c, &attr);
    pthread_condattr_destroy(&attr);
    return QUERN_OK;
}

void quern__cond_free(quern__cond *c)
{
    if (!c)
        return;
    pthread_cond_destroy(&c->c);
    quern__free(c);
}

void quern__cond_wait(quern__cond *c, quern__mutex *m)
{
    pthread_cond_wait(&c->c, &m->m);
}

bool quern__cond_wait_ms(quern__cond *c, quern__mutex *m, uint32_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)(ms / 1000);
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return pthread_cond_timedwait(&c->c, &m->m, &t) != ETIMEDOUT;
}

void quern__cond_signal(quern__cond *c)
{
    pthread_cond_signal(&c->c);
}

void quern__cond_broadcast(quern__cond *c)
{
    pthread_cond_broadcast(&c->c);
}

static void *thread_main(void *arg)
{
    quern__thread *t = arg;
    quern__fpenv_enter(); /* a new thread inherits its creator's; it keeps ours to its end */
    t->fn(t->ud);
    return NULL;
}

int quern__thread_start(quern__thread **out, void (*fn)(void *ud), void *ud, quern_error *err)
{
    sigset_t all, before;
    quern__thread *t = quern__calloc(1, sizeof *t);
    *out = NULL;
    if (!t)
        return quern__fail_memory(err, sizeof *t);
    t->fn = fn;
    t->ud = ud;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&t->id, NULL, thread_main, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        quern__free(t);
        return quern__fail_errno(err, rc, "cannot start a thread");
    }
    *out = t;
    return QUERN_OK;
}

/* SIGPIPE is the writing thread's own: blocked here, it stays pending, and is taken away before it is let through again.
 * One that was pending before is somebody else's, and is left. */
void quern__pipe_guard_enter(quern__pipe_guard *g)
{
    sigset_t pipe, before, pending;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    g->blocked = !sigismember(&before, SIGPIPE) && !sigismember(&pending, SIGPIPE);
}

void quern__pipe_guard_leave(const quern__pipe_guard *g)
{
    static const struct timespec at_once = {0, 0};
    sigset_t pipe;
    if (!g->blocked)
        return;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    while (sigtimedwait(&pipe, NULL, &at_once) < 0 && errno == EINTR) {
    }
    pthread_sigmask(SIG_UNBLOCK, &pipe, NULL);
}

/* Beyond CPU_SETSIZE processors the kernel refuses to fill the set in, and nothing is kept off. */
void quern__thread_keep_off(quern__thread *t)
{
    const int here = sched_getcpu();
    if (here < 0 || here >= CPU_SETSIZE ||
        (!t->kept_off && pthread_getaffinity_np(t->id, sizeof t->allowed, &t->allowed) != 0))
        return;
    cpu_set_t others = t->allowed;
    CPU_CLR((size_t)here, &others);
    if (CPU_COUNT(&others) > 0 && pthread_setaffinity_np(t->id, sizeof others, &others) == 0)
        t->kept_off = true;
}

void quern__thread_release(quern__thread *t)
{
    if (t->kept_off)
        pthread_setaffinity_np(t->id, sizeof t->allowed, &t->allowed);
    t->kept_off = false;
}

void quern__thread_join(quern__thread *t)
{
    if (!t)
        return;
    pthread_join(t->id, NULL);
    quern__free(t);
}
