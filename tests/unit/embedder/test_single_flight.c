/* test_single_flight.c — equal texts of callers that ask at the same time travel once, whatever becomes of the call. */
#include "unit/embedder/faulty_inner.h"

enum { CALLERS = 8, ROUNDS = 40 };

static quern_embedder *behind_cache(quern_embedder *in, quern_cache *cache)
{
    quern_embedder *out = NULL;
    assert_int_equal(quern_embedder_cached(&out, in, cache, NULL), 0);
    return out;
}

static quern_cache *a_cache(int no_memory)
{
    quern_cache_options o;
    quern_cache *c = NULL;
    QUERN_INIT(&o);
    o.no_memory = no_memory;
    assert_int_equal(quern_cache_open(&c, &o, NULL), 0);
    return c;
}

/* One call: which texts, and what became of it. */
typedef struct caller {
    quern_embedder *e;
    int texts[8], n, after_ms, rc;
    quern_cancel *cancel;
    quern_embed_result results[8];
    quern_error err;
    quern__thread *thread;
} caller;

static void call(void *ud)
{
    caller *c = ud;
    char bytes[8][16];
    quern_str list[8];
    float v[8 * DIM], want[DIM];
    quern_embed_options opt;
    QUERN_INIT(&opt);
    opt.cancel = c->cancel;
    for (int i = 0; i < c->n; i++) {
        snprintf(bytes[i], sizeof bytes[i], "%d", c->texts[i]);
        list[i] = quern_str_of(bytes[i]);
    }
    quern__sleep_ms((uint32_t)c->after_ms);
    c->rc =
        quern_embed(c->e, list, (size_t)c->n, &opt, v, sizeof v / sizeof *v, c->results, &c->err);
    for (int i = 0; i < c->n && !c->rc; i++) {
        direction(c->texts[i], want);
        assert_memory_equal(v + i * DIM, want, sizeof want);
        assert_int_equal(c->results[i].tokens, 3);
    }
}

static void start(caller *c, quern_embedder *e)
{
    c->e = e;
    assert_int_equal(quern__thread_start(&c->thread, call, c, NULL), 0);
}

static void run_all(caller *callers, size_t n, quern_embedder *e)
{
    for (size_t i = 0; i < n; i++)
        start(&callers[i], e);
    for (size_t i = 0; i < n; i++)
        quern__thread_join(callers[i].thread);
}

/* With and without a tier that keeps it: a waiting call gets the vector from the flight, not out of the cache. */
static void one_call_for_all(void **state)
{
    (void)state;
    for (int no_memory = 0; no_memory < 2; no_memory++) {
        inner e = {.poison = -1, .delay_ms = 150};
        quern_cache *cache = a_cache(no_memory);
        quern_embedder *c = behind_cache(make_inner(&e), cache);
        caller callers[CALLERS] = {{.n = 0}};
        int paid = 0;
        for (int i = 0; i < CALLERS; i++)
            callers[i] = (caller){.texts = {7, 7}, .n = 2};
        run_all(callers, CALLERS, c);
        for (int i = 0; i < CALLERS; i++) {
            assert_int_equal(callers[i].rc, 0);
            paid += !callers[i].results[0].cached + !callers[i].results[1].cached;
        }
        assert_int_equal(e.calls, 1);
        assert_int_equal(e.texts, 1);
        assert_int_equal(paid, 1);
        quern_embedder_stats s;
        QUERN_INIT(&s);
        assert_int_equal(quern_embedder_get_stats(c, &s, NULL), 0);
        assert_int_equal(s.cached_texts, 2 * CALLERS - 1);
        assert_int_equal(s.cached_tokens, 3 * (2 * CALLERS - 1));
        quern_embedder_free(c);
        quern_cache_free(cache);
    }
}

/* Calls that overlap, each half in another's: every text once. */
static void halves(void **state)
{
    inner e = {.poison = -1, .delay_ms = 100};
    quern_cache *cache = a_cache(0);
    quern_embedder *c = behind_cache(make_inner(&e), cache);
    caller callers[] = {{.texts = {1, 2, 3, 4}, .n = 4},
                        {.texts = {3, 4, 5, 6}, .n = 4, .after_ms = 30},
                        {.texts = {6, 5, 1, 7}, .n = 4, .after_ms = 60}};
    (void)state;
    run_all(callers, 3, c);
    for (int i = 0; i < 3; i++)
        assert_int_equal(callers[i].rc, 0);
    assert_int_equal(e.texts, 7);
    assert_int_equal(e.calls, 3);
    quern_embedder_free(c);
    quern_cache_free(cache);
}

/* What the provider refuses it refuses to all that wait; a call that is cancelled, or fails for another text, is theirs alone. */
static void faults(void **state)
{
    inner e = {.poison = 61, .delay_ms = 150, .fatal_at = 1};
    quern_cache *cache = a_cache(0);
    quern_embedder *c = behind_cache(make_inner(&e), cache);
    caller both[] = {{.texts = {7}, .n = 1}, {.texts = {7}, .n = 1, .after_ms = 50}};
    (void)state;
    run_all(both, 2, c);
    assert_int_equal(e.calls, 1);
    assert_int_equal(both[0].rc, QUERN_EREMOTE);
    assert_int_equal(both[1].rc, QUERN_EREMOTE);
    assert_int_equal(both[1].err.detail, 401);

    caller bad[] = {{.texts = {61}, .n = 1}, {.texts = {8, 61}, .n = 2, .after_ms = 50}};
    run_all(
        bad, 2,
        c); /* that text is at fault for the second one, too, which asks again to be told which it is */
    assert_int_equal(bad[0].err.subject, 0);
    assert_int_equal(bad[1].rc, QUERN_EREMOTE);
    assert_int_equal(bad[1].err.subject, 1);

    assert_int_equal(quern_cancel_new(&both[0].cancel, NULL), 0);
    int before = e.calls;
    for (int i = 0; i < 2; i++)
        start(&both[i], c);
    quern__sleep_ms(90);
    quern_cancel_raise(both[0].cancel);
    for (int i = 0; i < 2; i++)
        quern__thread_join(both[i].thread);
    assert_int_equal(both[0].rc, QUERN_ECANCELLED);
    assert_int_equal(both[1].rc, 0);
    assert_int_equal(e.calls, before + 2);

    quern_cancel_free(both[0].cancel); /* and one that waits leaves when told */
    both[0] = (caller){.texts = {9}, .n = 1};
    assert_int_equal(quern_cancel_new(&both[1].cancel, NULL), 0);
    both[1].texts[0] = 9;
    both[1].after_ms = 30;
    e.delay_ms = 600;
    for (int i = 0; i < 2; i++)
        start(&both[i], c);
    quern__sleep_ms(90);
    quern_cancel_raise(both[1].cancel);
    quern__thread_join(both[1].thread);
    assert_int_equal(both[1].rc, QUERN_ECANCELLED);
    assert_int_equal(e.now, 1);
    quern__thread_join(both[0].thread);
    assert_int_equal(both[0].rc, 0);
    quern_cancel_free(both[1].cancel);
    quern_embedder_free(c);
    quern_cache_free(cache);
}

typedef struct crowd {
    quern_embedder *e;
    unsigned seed;
    atomic_int *failed;
} crowd;

static void call_often(void *ud)
{
    crowd *w = ud;
    unsigned x = w->seed;
    for (int round = 0; round < ROUNDS; round++) {
        caller c = {.e = w->e, .n = 1 + round % 8};
        for (int i = 0; i < c.n; i++) {
            x = x * 1103515245u + 12345;
            c.texts[i] = (int)((unsigned)round + (x >> 16) % 12);
        }
        call(&c);
        atomic_fetch_add(w->failed, c.rc != 0);
    }
}

/* Every vector is right, calls fail now and then, and no text travels twice that came back once. */
static void crowds(void **state)
{
    (void)state;
    for (int outages = 0; outages <= 30; outages += 30) {
        inner e = {.poison = -1, .outages = outages, .status = 500};
        quern_cache *cache = a_cache(0);
        atomic_int failed = 0;
        crowd crowds[CALLERS];
        quern__thread *threads[CALLERS];
        quern_embedder *c = behind_cache(make_inner(&e), cache);
        for (unsigned i = 0; i < CALLERS; i++) {
            crowds[i] = (crowd){c, i * 77, &failed};
            assert_int_equal(quern__thread_start(&threads[i], call_often, &crowds[i], NULL), 0);
        }
        for (int i = 0; i < CALLERS; i++)
            quern__thread_join(threads[i]);
        assert_true(outages ? failed > 0 : failed == 0);
        assert_true(outages || e.texts <= ROUNDS + 11);
        quern_embedder_free(c);
        quern_cache_free(cache);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_call_for_all),
        cmocka_unit_test(halves),
        cmocka_unit_test(faults),
        cmocka_unit_test(crowds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
