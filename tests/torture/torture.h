/*
 * torture.h — fail the n-th allocation, for n = 1, 2, 3, … until a run gets through without a failure,
 * and see each time that the code says QUERN_ENOMEM (or manages without) and gives every block back.
 *
 * Use, in a cmocka test whose main calls torture_install() before anything else of the library:
 *     static int body(void *ud, quern_error *err) { … open, use, free … return rc; }
 *     torture_run(body, ud);
 * Each n is run twice: once with that allocation alone failing, once with all from it on failing.
 * Live blocks are counted around each run, so body may use what was made before it, but must give
 * back whatever it makes, cached things included. Calls from several threads are counted together.
 */
#ifndef QUERN_TESTS_TORTURE_H
#define QUERN_TESTS_TORTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "quern/status.h"

typedef int (*torture_fn)(void *ud, quern_error *err);

static struct {
    atomic_long until; /* allocations left before one fails; 0: none will */
    atomic_long live;  /* blocks given out and not back */
    atomic_long fired; /* failures so far in this run */
    atomic_bool sticky;
} torture;

static inline int torture_fails(void)
{
    long left = atomic_load(&torture.until);
    if (left == 0)
        return 0;
    if (left == 1 && atomic_load(&torture.sticky)) {
        atomic_fetch_add(&torture.fired, 1);
        return 1;
    }
    if (atomic_fetch_sub(&torture.until, 1) != 1)
        return 0;
    atomic_fetch_add(&torture.fired, 1);
    return 1;
}

static inline void *torture_alloc(size_t size, void *ud)
{
    (void)ud;
    void *p = torture_fails() ? NULL : malloc(size);
    if (p)
        atomic_fetch_add(&torture.live, 1);
    return p;
}

static inline void *torture_resize(void *p, size_t size, void *ud)
{
    (void)ud;
    return torture_fails() ? NULL : realloc(p, size);
}

static inline void torture_release(void *p, void *ud)
{
    (void)ud;
    atomic_fetch_sub(&torture.live, 1);
    free(p);
}

/* First call of main: the library takes an allocator only before it has used one. */
static inline void torture_install(void)
{
    static const quern_allocator hook = {torture_alloc, torture_resize, torture_release, NULL};
    quern_error err;
    if (quern_set_allocator(&hook, &err) != QUERN_OK) {
        fprintf(stderr, "torture_install: %s\n", err.msg);
        exit(1);
    }
}

/* One run whose n-th allocation fails. False when the run ended before its n-th allocation. */
static inline int torture_step(torture_fn fn, void *ud, long n, int sticky)
{
    quern_error err = {0};
    long before = atomic_load(&torture.live);
    atomic_store(&torture.fired, 0);
    atomic_store(&torture.sticky, sticky != 0);
    atomic_store(&torture.until, n);
    int rc = fn(ud, &err);
    atomic_store(&torture.until, 0);
    long leaked = atomic_load(&torture.live) - before, fired = atomic_load(&torture.fired);
    if (leaked || (rc != QUERN_OK && rc != QUERN_ENOMEM) || (!fired && rc != QUERN_OK) ||
        (rc != QUERN_OK && (err.status != rc || !err.msg[0]))) {
        print_error("%s allocation %ld: rc %d (%s) '%s', %ld blocks leaked\n",
                    sticky ? "from" : "at", n, rc, quern_status_name(rc), err.msg, leaked);
        fail();
    }
    return fired != 0;
}

/* Every stride-th allocation (1: each). Returns how many allocations a whole run makes, roughly. */
static inline long torture_run_strided(torture_fn fn, void *ud, long stride)
{
    long n = 1;
    for (; torture_step(fn, ud, n, 0); n += stride)
        torture_step(fn, ud, n, 1);
    return n - 1;
}

static inline long torture_run(torture_fn fn, void *ud)
{
    return torture_run_strided(fn, ud, 1);
}

#endif
