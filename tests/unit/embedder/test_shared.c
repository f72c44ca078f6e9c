/*
 * test_shared.c — several processes and a place that comes, goes and forgets, on a clock of the test's own: at whatever moment within its
 * time a call reaches the provider, no window has more of them than the limit; and a place that stays away stops nobody.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "embedder/shared.h"

enum { PROCESSES = 4, ENTRIES = 4096, STEPS = 60000 };

#define WINDOW_US UINT64_C(60000000)
#define LATE_US   UINT64_C(10000000)
#define STEP_US   UINT64_C(100000)

typedef struct entry {
    char id[QUERN__PERMIT_ID];
    uint64_t at_us, tokens;
} entry;

static struct {
    entry entries[ENTRIES];
    size_t n;
    uint64_t now_us, epoch, closed_until_us;
    int away, takes_lost; /* so many answers get lost behind the grant */
    uint32_t processes;
    quern__share share;
} world;

static entry *find_entry(const char *id)
{
    for (size_t i = 0; i < world.n; i++)
        if (strcmp(world.entries[i].id, id) == 0)
            return &world.entries[i];
    return NULL;
}

static void forget(void)
{
    size_t kept = 0;
    for (size_t i = 0; i < world.n; i++)
        if (world.entries[i].at_us + WINDOW_US > world.now_us)
            world.entries[kept++] = world.entries[i];
    world.n = kept;
}

static void put(const char *id, uint64_t at_us, uint64_t tokens)
{
    assert_true(world.n < ENTRIES);
    entry *e = &world.entries[world.n++];
    snprintf(e->id, sizeof e->id, "%s", id);
    e->at_us = at_us;
    e->tokens = tokens;
}

static int away(quern_error *err)
{
    return quern__fail(err, QUERN_EREMOTE, 0, "nobody there");
}

static int place_take(void *self, const char *id, uint64_t tokens, uint64_t epoch,
                      quern__place_answer *out, quern_error *err)
{
    (void)self;
    if (world.away)
        return away(err);
    forget();
    *out = (quern__place_answer){1, world.epoch, world.processes};
    if ((epoch && epoch != world.epoch) || world.now_us < world.closed_until_us)
        return QUERN_OK;
    if (world.n >= world.share.requests)
        return QUERN_OK;
    put(id, world.now_us + LATE_US, tokens);
    out->wait_us = 0;
    if (world.takes_lost && world.takes_lost--)
        return away(err);
    return QUERN_OK;
}

static int place_tell(void *self, const quern__untold *list, size_t n, quern__place_answer *out,
                      quern_error *err)
{
    (void)self;
    if (world.away)
        return away(err);
    for (size_t i = 0; i < n; i++)
        if (!find_entry(list[i].id))
            put(list[i].id, world.now_us - list[i].age_us + LATE_US, list[i].tokens);
    *out = (quern__place_answer){0, world.epoch, world.processes};
    return QUERN_OK;
}

static int place_settle(void *self, const char *id, uint64_t tokens, quern_error *err)
{
    (void)self;
    (void)tokens;
    if (world.away)
        return away(err);
    entry *e = find_entry(id);
    if (e && e->at_us > world.now_us)
        e->at_us = world.now_us;
    return QUERN_OK;
}

static void place_close(void *self)
{
    (void)self;
}

typedef struct call {
    quern__permit permit;
    uint64_t reaches_us, ends_us;
} call;

static uint64_t arrivals[STEPS * PROCESSES];
static size_t n_arrivals;

static int by_time(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void never_over(uint64_t limit)
{
    qsort(arrivals, n_arrivals, sizeof *arrivals, by_time);
    for (size_t i = 0; i + limit < n_arrivals; i++)
        if (arrivals[i + limit] - arrivals[i] < WINDOW_US)
            fail_msg("%llu calls within %llu us from %llu on", (unsigned long long)limit + 1,
                     (unsigned long long)(arrivals[i + limit] - arrivals[i]),
                     (unsigned long long)arrivals[i]);
}

static quern__shared *make(int i)
{
    static const quern__place place = {NULL, place_take, place_tell, place_settle, place_close};
    quern__shared *s = NULL;
    quern__share share = world.share;
    snprintf(share.me, sizeof share.me, "%d", i);
    assert_int_equal(quern__shared_new(&s, &place, &share, NULL), QUERN_OK);
    return s;
}

static void begin(uint64_t limit, uint32_t processes)
{
    memset(&world, 0, sizeof world);
    n_arrivals = 0;
    world.now_us = 1000000000;
    world.epoch = 1;
    world.processes = processes;
    world.share =
        (quern__share){.name = "x", .requests = limit, .window_us = WINDOW_US, .late_us = LATE_US};
}

/* One call of process i, of some length within LATE_US; granted? */
static int step(quern__shared *s, call *c, quern__rng *rng)
{
    uint64_t wait;
    if (c->ends_us > world.now_us)
        return 0;
    if (c->ends_us) {
        quern__shared_settle(s, &c->permit, 0);
        c->ends_us = 0;
    }
    assert_int_equal(quern__shared_ask(s, world.now_us * 1000, 1, &c->permit, &wait, NULL), 0);
    if (wait)
        return 0;
    c->reaches_us = world.now_us + quern__rng_below(rng, LATE_US / 2);
    c->ends_us = c->reaches_us + quern__rng_below(rng, LATE_US / 2);
    arrivals[n_arrivals++] = c->reaches_us;
    return 1;
}

/* One that restarts without its memory is closed for a window, as Redis' is. */
static void disturb(quern__rng *rng)
{
    switch (quern__rng_below(rng, 2000)) {
    case 0:
        world.away = 1;
        break;
    case 1:
        world.away = 1;
        world.n = 0;
        world.epoch++;
        break;
    case 2:
        world.takes_lost = 2;
        break;
    default:
        if (world.away && quern__rng_below(rng, 900) == 0) {
            world.away = 0;
            world.closed_until_us = world.now_us + WINDOW_US + LATE_US;
        }
    }
}

static void test_storm(void **state)
{
    (void)state;
    static const uint64_t limits[] = {40, 12, 3};
    for (size_t l = 0; l < sizeof limits / sizeof *limits; l++) {
        quern__shared *s[PROCESSES];
        call calls[PROCESSES] = {0};
        quern__rng rng;
        quern__rng_seed(&rng, 5 + l);
        begin(limits[l], PROCESSES);
        for (int i = 0; i < PROCESSES; i++)
            s[i] = make(i);
        for (int t = 0; t < STEPS; t++) {
            world.now_us += STEP_US;
            disturb(&rng);
            for (int i = 0; i < PROCESSES; i++)
                step(s[i], &calls[i], &rng);
        }
        never_over(limits[l]);
        assert_true(n_arrivals > limits[l] * 20); /* in a hundred windows of storm */
        for (int i = 0; i < PROCESSES; i++)
            quern__shared_free(s[i]);
    }
}

/* How many permits one process of `of` gets in so many windows without the place. */
static size_t alone(uint64_t limit, uint32_t of, unsigned windows)
{
    quern__rng rng;
    call c = {0};
    size_t got = 0;
    quern__rng_seed(&rng, 9);
    begin(limit, of);
    quern__shared *s = make(0);
    world.away = 1;
    for (uint64_t t = 0; t < windows * (WINDOW_US + LATE_US); t += STEP_US) {
        world.now_us += STEP_US;
        c.ends_us = 0; /* as many at once as it likes */
        got += (size_t)step(s, &c, &rng);
    }
    quern__shared_free(s);
    return got;
}

static void test_a_part(void **state)
{
    (void)state;
    assert_int_equal(alone(40, 4, 1), 0); /* the first window passes */
    assert_in_range(alone(40, 4, 11), 95, 110);
    assert_in_range(alone(40, 1, 11), 390, 410);
    assert_int_equal(alone(3, 7, 10), 0); /* no whole call for each */
}

/* What it has permitted itself is told in pieces, once. */
static void test_told(void **state)
{
    (void)state;
    quern__rng rng;
    call c = {0};
    uint64_t wait;
    quern__rng_seed(&rng, 3);
    begin(600, 2);
    quern__shared *s = make(0);
    world.away = 1;
    for (int t = 0; t < 1300; t++) {
        world.now_us += STEP_US;
        c.ends_us = 0;
        step(s, &c, &rng);
    }
    assert_int_equal(n_arrivals, 300);
    world.away = 0;
    world.now_us += 1000000;
    assert_int_equal(quern__shared_ask(s, world.now_us * 1000, 1, &c.permit, &wait, NULL), 0);
    assert_int_equal(wait, 0);
    assert_int_equal(world.n, 301);
    assert_int_equal(quern__shared_ask(s, world.now_us * 1000, 1, &c.permit, &wait, NULL), 0);
    assert_int_equal(world.n, 302);
    world.n = 0; /* it has forgotten all of it */
    world.epoch++;
    assert_int_equal(quern__shared_ask(s, world.now_us * 1000, 1, &c.permit, &wait, NULL), 0);
    assert_int_equal(world.n, 303);
    quern__shared_free(s);
}

static void test_refused(void **state)
{
    (void)state;
    quern__place place;
    quern_error err;
    char name[QUERN__SHARED_NAME + 2];
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    quern__share share = {.name = name, .requests = 1, .window_us = 1};
    assert_int_equal(quern__place_open(&place, "redis://h", &share, &err), QUERN_EINVAL);
    share.name = "x";
    share.requests = QUERN__SHARED_MOST + 1;
    assert_int_equal(quern__place_open(&place, "redis://h", &share, &err), QUERN_EINVAL);
    assert_non_null(strstr(err.msg, "65536"));
    share.requests = 1;
    assert_int_equal(quern__place_open(&place, "mysql://h", &share, &err), QUERN_EINVAL);
    assert_true(quern__place_open(&place, "postgres://u:geheim@127.0.0.1:1/x", &share, &err) != 0);
    assert_null(strstr(err.msg, "geheim"));
    begin(5, 1);
    world.away = 1;
    quern__shared *s = NULL;
    place = (quern__place){NULL, place_take, place_tell, place_settle, place_close};
    assert_int_equal(quern__shared_new(&s, &place, &world.share, &err), QUERN_EREMOTE);
    assert_null(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_storm),
        cmocka_unit_test(test_a_part),
        cmocka_unit_test(test_told),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
