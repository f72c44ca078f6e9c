/*
 * test_wrappers.c — what stands in front of an embedder: cutting, halving, trying again, limits; with faults to order and from
 * many threads.
 */
#include "unit/embedder/faulty_inner.h"

#include "base/compiler.h"

enum { THREADS = 8 };

static quern_embedder *batched(quern_embedder *in, uint32_t most, uint32_t at_once)
{
    quern_batching_options o;
    quern_embedder *out;
    QUERN_INIT(&o);
    o.max_inputs = most;
    o.concurrency = at_once;
    assert_int_equal(quern_embedder_batching(&out, in, &o, NULL), 0);
    return out;
}

static quern_embedder *retried(quern_embedder *in, uint32_t attempts)
{
    quern_retry_options o;
    quern_embedder *out;
    QUERN_INIT(&o);
    o.attempts = attempts;
    o.base_ms = 2;
    assert_int_equal(quern_embedder_retrying(&out, in, &o, NULL), 0);
    return out;
}

static void cuts_in_order(void **state)
{
    inner e = {.poison = -1};
    quern_embedder *b = batched(make_inner(&e), 7, 4);
    (void)state;
    assert_int_equal(embed_all(b, TEXTS, NULL), 0);
    assert_int_equal(e.calls, (TEXTS + 6) / 7);
    assert_true(e.peak > 1 && e.peak <= 4);
    assert_int_equal(embed_all(b, 0, NULL), 0);
    assert_int_equal(e.calls, (TEXTS + 6) / 7);
    quern_embedder_free(b);
}

static void learns_what_is_too_many(void **state)
{
    inner e = {.poison = -1, .most = 10};
    quern_embedder *b = batched(make_inner(&e), 64, 1);
    (void)state;
    assert_int_equal(embed_all(b, TEXTS, NULL), 0);
    atomic_store(&e.calls, 0);
    assert_int_equal(embed_all(b, TEXTS, NULL), 0);
    assert_int_equal(e.calls, (TEXTS + 7) / 8); /* 64, 32, 16, 8 */
    quern_embedder_free(b);
}

/* A provider that was strict for a day does not get small calls for ever. */
static void forgets_what_was_too_many(void **state)
{
    inner e = {.poison = -1, .most = 2};
    quern_embedder *b = batched(make_inner(&e), 64, 1);
    (void)state;
    assert_int_equal(embed_all(b, 64, NULL), 0);
    e.most = 0;
    for (int i = 0; i < 20; i++)
        assert_int_equal(embed_all(b, TEXTS, NULL), 0);
    atomic_store(&e.calls, 0);
    assert_int_equal(embed_all(b, TEXTS, NULL), 0);
    assert_int_equal(e.calls, (TEXTS + 63) / 64);
    quern_embedder_free(b);
}

/* The others' pauses are not waited for: one of two is to wait long, the other is refused. */
static void a_fault_ends_the_call(void **state)
{
    inner e = {.poison = 1, .outages = 1, .retry_ms = 20000, .status = 429, .delay_ms = 20};
    quern_error err = {0};
    quern_str both[2] = {quern_str_of("1"), quern_str_of("1")};
    float v[2 * DIM];
    quern_embedder *b = batched(retried(make_inner(&e), 3), 1, 2);
    (void)state;
    uint64_t began = quern__now_ns();
    assert_int_equal(quern_embed(b, both, 2, NULL, v, 2 * DIM, NULL, &err), QUERN_EREMOTE);
    assert_int_equal(err.detail, 400);
    assert_true(quern__now_ns() - began < UINT64_C(5000000000));
    quern_embedder_free(b);
}

static int silent_embed(void *self, const quern_str *list, size_t n, const quern_embed_options *opt,
                        float *out, quern_embed_result *results, quern_error *err)
{
    (void)list, (void)n, (void)opt, (void)out, (void)results, (void)err;
    ++*(int *)self;
    return QUERN_EREMOTE;
}

/* An embedder that fails without a word blames no text and asks for no other try. */
static void a_fault_without_words(void **state)
{
    int calls = 0;
    quern_error err = {0};
    quern_embedder *e = NULL;
    quern_embedder_table table = {.struct_size = sizeof table,
                                  .name = "silent",
                                  .dimensions = DIM,
                                  .embed = silent_embed,
                                  .fingerprint = inner_fingerprint};
    (void)state;
    assert_int_equal(quern_embedder_from_table(&e, &table, &calls, NULL), 0);
    e = batched(retried(e, 3), 4, 1);
    assert_int_equal(embed_all(e, 3, &err), QUERN_EREMOTE);
    assert_int_equal(calls, 1);
    assert_int_equal(err.subject, -1);
    quern_embedder_free(e);
}

static void names_the_text_at_fault(void **state)
{
    (void)state;
    for (int bad = 0; bad < 130; bad += 13) {
        inner e = {.poison = bad};
        quern_error err = {0};
        quern_embedder *b = batched(make_inner(&e), 64, 3);
        assert_int_equal(embed_all(b, 130, &err), QUERN_EREMOTE);
        assert_int_equal(err.subject, bad);
        assert_int_equal(err.detail, 400);
        quern_embedder_free(b);
    }
}

/* 500 for one text, while others are answered: that text is at fault, not the server. */
static void a_text_that_the_server_stumbles_over(void **state)
{
    inner e = {.poison = -1, .stumbles = 11};
    quern_error err = {0};
    quern_embedder *b = batched(retried(make_inner(&e), 2), 16, 1);
    (void)state;
    assert_int_equal(embed_all(b, 20, &err), QUERN_EREMOTE);
    assert_int_equal(err.subject, 11);
    assert_int_equal(err.detail, 500);
    assert_int_equal(err.retry_ms, -1);
    assert_non_null(strstr(err.msg, "too large (3 times, while it answers others)"));
    assert_int_equal(e.asked[11], 5 * 3); /* of 16, 8, 4, 2 and 1 */
    quern_embedder_free(b);
}

/* However many there are of them: none is taken for an outage, and the budget is there for one. */
static void many_texts_that_the_server_stumbles_over(void **state)
{
    inner e = {.poison = -1, .stumbles = 11};
    quern_error err = {0};
    const quern_str good = quern_str_of("5"), bad = quern_str_of("11");
    float v[DIM];
    quern_embedder *r = retried(make_inner(&e), 3);
    (void)state;
    for (int i = 0; i < 70; i++) {
        assert_int_equal(quern_embed(r, &bad, 1, NULL, v, DIM, NULL, &err), QUERN_EREMOTE);
        assert_int_equal(err.subject, 0);
        assert_int_equal(err.retry_ms, -1);
        assert_non_null(strstr(err.msg, "(4 times, while it answers others)"));
    }
    atomic_store(&e.outages, 2);
    e.status = 503;
    assert_int_equal(quern_embed(r, &good, 1, NULL, v, DIM, NULL, &err), QUERN_OK);
    quern_embedder_free(r);
}

/* A server that is down answers nobody; whoever asks once wants to be told at once; what passes at last has passed. */
static void a_server_that_is_down(void **state)
{
    inner down = {.poison = -1, .outages = 1000, .status = 500};
    inner once = {.poison = -1, .stumbles = 11};
    inner slow = {.poison = -1, .outages = 2, .status = 500};
    inner gate = {.poison = -1, .outages = 2, .status = 502};
    quern_error err = {0};
    (void)state;
    quern_embedder *e = batched(retried(make_inner(&down), 2), 16, 1);
    assert_int_equal(embed_all(e, 20, &err), QUERN_EREMOTE);
    assert_int_equal(err.subject, -1);
    assert_int_equal(err.retry_ms, 0);
    assert_int_equal(down.calls, 3);
    quern_embedder_free(e);
    e = batched(retried(make_inner(&once), 1), 64, 1);
    assert_int_equal(embed_all(e, 20, &err), QUERN_EREMOTE);
    assert_int_equal(once.calls, 1);
    quern_embedder_free(e);
    e = batched(retried(make_inner(&slow), 2), 64, 1);
    assert_int_equal(embed_all(e, 20, NULL), QUERN_OK);
    assert_int_equal(slow.calls, 4); /* two, the word, and once more */
    quern_embedder_free(e);
    e = batched(retried(make_inner(&gate), 2), 64, 1);
    assert_int_equal(embed_all(e, 20, &err), QUERN_EREMOTE);
    assert_int_equal(gate.calls, 2);
    quern_embedder_free(e);
}

static void estimates_by_what_was(void **state)
{
    inner e = {.poison = -1};
    quern_embedder *b = batched(make_inner(&e), 10, 1);
    (void)state;
    double before = quern_embedder_estimate(b, 1000);
    assert_true(before > 0.999 && before < 1.001); /* a millisecond each */
    assert_int_equal(embed_all(b, 50, NULL), 0);
    assert_true(quern_embedder_estimate(b, 1000) < 0.999); /* the inner one says it took no time */
    quern_embedder_free(b);
}

/* As a fill does: without the text at fault, and again. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static int settle(quern_embedder *e, const quern_str *list, size_t n)
{
    float v[TEXTS * DIM];
    quern_embed_result r[TEXTS];
    quern_error err = {0};
    if (n == 0)
        return 0;
    int rc = quern_embed(e, list, n, NULL, v, n * DIM, r, &err);
    if (rc) {
        assert_int_equal(err.detail, 400);
        assert_in_range(err.subject, 0, n - 1);
        size_t bad = (size_t)err.subject;
        return settle(e, list, bad) + 1 + settle(e, list + bad + 1, n - bad - 1);
    }
    for (size_t i = 0; i < n; i++) {
        float want[DIM];
        direction(atoi(list[i].ptr), want);
        assert_memory_equal(v + i * DIM, want, sizeof want);
        assert_true(r[i].tokens == 3 && !r[i].cached);
    }
    return 0;
}

/* Every good text is answered once, and asked for in no more calls than it takes to find the bad one. */
static void neighbours_of_a_bad_text_are_paid_once(void **state)
{
    static const struct {
        int n, most, at_once, deep, step;
    } cases[] = {{16, 16, 1, 5, 16}, {16, 4, 1, 3, 16}, {16, 4, 3, 3, 16},
                 {16, 1, 4, 1, 16},  {64, 16, 3, 5, 7}, {64, 64, 2, 7, 20}};
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        for (int bad = 0; bad < 16; bad += 3) {
            static texts t;
            inner e = {.poison = -1, .delay_ms = 1};
            int n = cases[k].n, found = 0;
            for (int i = bad; i < n; i += cases[k].step, found++)
                e.bad[i] = 1;
            number_texts(&t);
            quern_embedder *b =
                batched(make_inner(&e), (uint32_t)cases[k].most, (uint32_t)cases[k].at_once);
            assert_int_equal(settle(b, t.list, (size_t)n), found);
            for (int i = 0; i < n; i++) {
                assert_int_equal(e.answered[i], !e.bad[i]);
                assert_in_range(e.asked[i], 1, e.bad[i] || found > 1 ? 64 : cases[k].deep);
            }
            /* and once more: what was handed out is gone, all is asked again */
            e.bad[bad] = 0;
            int before = atomic_load(&e.texts);
            assert_int_equal(settle(b, t.list, (size_t)QUERN__MIN(n, bad + 1)), 0);
            assert_int_equal(e.texts - before, bad + 1);
            quern_embedder_free(b);
        }
}

/* So it is with a call that was cut short by the network: what had come in is not asked for again. */
static void what_came_in_before_a_fault_is_kept(void **state)
{
    inner e = {.poison = -1, .fatal_at = 9};
    quern_embed_options cut;
    quern_embedder *b = batched(make_inner(&e), 10, 1);
    static texts t;
    float v[20 * DIM];
    (void)state;
    number_texts(&t);
    assert_int_equal(embed_all(b, 200, NULL), QUERN_EREMOTE);
    QUERN_INIT(
        &cut); /* whoever wants it cut, or as a query, gets another vector for all that is known */
    cut.truncation = QUERN_TRUNCATION_CUT;
    int before = e.texts;
    assert_int_equal(quern_embed(b, t.list, 20, &cut, v, 20 * DIM, NULL, NULL), 0);
    cut.truncation = QUERN_TRUNCATION_ERROR;
    cut.as = QUERN_AS_QUERY;
    assert_int_equal(quern_embed(b, t.list, 20, &cut, v, 20 * DIM, NULL, NULL), 0);
    assert_int_equal(e.texts - before, 40);
    memset(e.answered, 0, sizeof e.answered);
    assert_int_equal(embed_all(b, 200, NULL), 0);
    for (int i = 0; i < 200; i++)
        assert_int_equal(e.answered[i], i >= 80);
    assert_int_equal(embed_all(b, 200, NULL), 0);
    assert_int_equal(e.answered[0], 1);
    quern_embedder_free(b);
}

static void nothing_starts_behind_a_fault(void **state)
{
    inner e = {.poison = -1, .fatal_at = 5, .hangs = true};
    quern_embedder *b = batched(make_inner(&e), 1, 4);
    (void)state;
    assert_int_equal(embed_all(b, TEXTS, NULL), QUERN_EREMOTE);
    assert_in_range(e.calls, 5, 5 + 3); /* those that were under way */
    quern_embedder_free(b);
}

static void tries_again(void **state)
{
    static const struct {
        int outages, retry_ms, attempts, calls, rc;
    } cases[] = {{2, 0, 3, 3, 0},
                 {3, 0, 3, 3, QUERN_EREMOTE},
                 {1, -1, 3, 1, QUERN_EREMOTE},
                 {1, 40, 2, 2, 0},
                 {5, 0, 1, 1, QUERN_EREMOTE}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        inner e = {.poison = -1,
                   .outages = cases[i].outages,
                   .retry_ms = cases[i].retry_ms,
                   .status = 503};
        quern_embedder *r = retried(make_inner(&e), (uint32_t)cases[i].attempts);
        uint64_t began = quern__now_ns();
        assert_int_equal(embed_all(r, 3, NULL), cases[i].rc);
        assert_int_equal(e.calls, cases[i].calls);
        assert_true(cases[i].retry_ms < 40 || quern__now_ns() - began >= 40000000);
        quern_embedder_free(r);
    }
}

/* A provider that is down: hundreds of calls, and at most the budget of retries. */
static void keeps_a_budget(void **state)
{
    enum { CALLS = 400 };
    inner e = {.poison = -1, .outages = 1 << 30, .status = 500};
    quern_retry_options o;
    quern_embedder *r;
    quern_error err = {0};
    (void)state;
    QUERN_INIT(&o);
    o.base_ms = 1;
    o.cap_ms = 1;
    o.budget_percent = 10;
    assert_int_equal(quern_embedder_retrying(&r, make_inner(&e), &o, NULL), 0);
    const uint64_t began = quern__now_ns();
    for (int i = 0; i < CALLS; i++)
        assert_int_equal(embed_all(r, 1, &err), QUERN_EREMOTE);
    const uint64_t words = (quern__now_ns() - began) / 1000000000 + 1; /* one a second */
    assert_in_range(e.calls, CALLS + 100, CALLS + 100 + CALLS / 10 + words);
    assert_non_null(strstr(err.msg, "too many calls fail"));
    quern_embedder_free(r);
}

static void run_many(void *ud)
{
    quern_embedder *e = ud;
    quern_str text = quern_str_of("41");
    float v[DIM], want[DIM];
    direction(41, want);
    for (int i = 0; i < 30; i++) {
        assert_int_equal(quern_embed(e, &text, 1, NULL, v, DIM, NULL, NULL), 0);
        assert_memory_equal(v, want, sizeof want);
    }
}

static void from_many_threads(void **state)
{
    inner e = {.poison = -1, .outages = 20, .status = 429};
    quern_limit_options limit;
    quern_embedder *l = NULL;
    quern__thread *threads[THREADS];
    (void)state;
    QUERN_INIT(&limit);
    limit.requests_per_minute = 100000;
    assert_int_equal(quern_embedder_limited(&l, make_inner(&e), &limit, NULL), 0);
    quern_embedder *all = batched(retried(l, 25), 4, 5);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(quern__thread_start(&threads[i], run_many, all, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        quern__thread_join(threads[i]);
    assert_int_equal(e.calls, THREADS * 30 + 20);
    assert_true(e.peak <= 5);
    quern_embedder_free(all);
}

static void raise_soon(void *ud)
{
    quern__sleep_ms(60);
    quern_cancel_raise(ud);
}

/* Whoever waits for a limit leaves when told, the first in the line and those behind it. */
static void waits_no_longer_than_wanted(void **state)
{
    inner e = {.poison = -1};
    quern_limit_options limit;
    quern_embed_options opt;
    quern_embedder *l = NULL;
    quern__thread *t;
    quern_str text = quern_str_of("1");
    float v[DIM];
    (void)state;
    QUERN_INIT(&limit);
    limit.requests_per_minute = 1;
    assert_int_equal(quern_embedder_limited(&l, make_inner(&e), &limit, NULL), 0);
    assert_int_equal(quern_embed(l, &text, 1, NULL, v, DIM, NULL, NULL), 0);
    QUERN_INIT(&opt);
    quern_cancel *cancel = NULL;
    assert_int_equal(quern_cancel_new(&cancel, NULL), 0);
    opt.cancel = cancel;
    uint64_t began = quern__now_ns();
    assert_int_equal(quern__thread_start(&t, raise_soon, cancel, NULL), 0);
    assert_int_equal(quern_embed(l, &text, 1, &opt, v, DIM, NULL, NULL), QUERN_ECANCELLED);
    assert_true(quern__now_ns() - began < UINT64_C(2000000000));
    quern__thread_join(t);
    quern_cancel_free(cancel);
    quern_embedder_free(l);
    limit.wait_ms = 5;
    quern_error err = {0};
    assert_int_equal(quern_embedder_limited(&l, make_inner(&e), &limit, NULL), 0);
    assert_int_equal(quern_embed(l, &text, 1, NULL, v, DIM, NULL, NULL), 0);
    assert_int_equal(quern_embed(l, &text, 1, NULL, v, DIM, NULL, &err), QUERN_EBUSY);
    assert_true(err.retry_ms > 50000);
    assert_int_equal(e.calls, 2);
    quern_embedder_free(l);
}

static void run_one(void *ud)
{
    quern_str text = quern_str_of("1");
    float v[DIM];
    assert_int_equal(quern_embed(ud, &text, 1, NULL, v, DIM, NULL, NULL), 0);
}

/* Somebody else's slow call has the only slot. */
static void waits_for_no_slot_that_is_not_wanted(void **state)
{
    inner e = {.poison = -1, .delay_ms = 1500};
    quern_embedder *b = batched(make_inner(&e), 1, 1);
    quern_embed_options opt;
    quern_cancel *cancel = NULL;
    quern_str text = quern_str_of("2");
    quern__thread *slow, *t;
    float v[DIM];
    (void)state;
    assert_int_equal(quern_cancel_new(&cancel, NULL), 0);
    QUERN_INIT(&opt);
    opt.cancel = cancel;
    assert_int_equal(quern__thread_start(&slow, run_one, b, NULL), 0);
    while (atomic_load(&e.calls) == 0)
        quern__sleep_ms(1);
    assert_int_equal(quern__thread_start(&t, raise_soon, cancel, NULL), 0);
    assert_int_equal(quern_embed(b, &text, 1, &opt, v, DIM, NULL, NULL), QUERN_ECANCELLED);
    assert_int_equal(atomic_load(&e.now), 1); /* it still has it */
    quern__thread_join(t);
    quern__thread_join(slow);
    quern_cancel_free(cancel);
    quern_embedder_free(b);
}

/* ---- a cache in front ---- */

static void pays_once(void **state)
{
    inner e = {.poison = -1};
    quern_cache *cache = NULL;
    quern_embedder *c = NULL;
    quern_embed_options opt;
    quern_str list[6] = {quern_str_of("7"), quern_str_of("8"), quern_str_of("7"),
                         quern_str_of("9"), quern_str_of("8"), quern_str_of("7")};
    float v[6 * DIM], want[DIM];
    quern_embed_result r[6];
    (void)state;
    assert_int_equal(quern_cache_open(&cache, NULL, NULL), 0);
    assert_int_equal(quern_embedder_cached(&c, batched(make_inner(&e), 2, 1), cache, NULL), 0);
    for (int round = 0; round < 3; round++) {
        memset(v, 0, sizeof v);
        assert_int_equal(quern_embed(c, list, 6, NULL, v, 6 * DIM, r, NULL), 0);
        for (int i = 0; i < 6; i++) {
            direction(atoi(list[i].ptr), want);
            assert_memory_equal(v + i * DIM, want, sizeof want);
            assert_int_equal(r[i].tokens, 3);
        }
        assert_int_equal(e.calls, 2); /* 7, 8, 9 in two parts, once */
    }
    QUERN_INIT(&opt);
    opt.as = QUERN_AS_QUERY; /* another vector, for all that is known */
    assert_int_equal(quern_embed(c, list, 1, &opt, v, DIM, NULL, NULL), 0);
    assert_int_equal(e.calls, 3);
    assert_int_equal(quern_embed(c, list, 0, NULL, v, DIM, NULL, NULL), 0);
    assert_int_equal(embed_all(c, TEXTS, NULL), 0);
    int calls = e.calls;
    assert_int_equal(embed_all(c, TEXTS, NULL), 0);
    assert_int_equal(e.calls, calls);
    quern_embedder_free(c);
    quern_cache_free(cache);
}

/* Somebody wrote to it: a vector that is none of ours is paid for again, and put right. */
static void doubts_what_is_not_of_unit_length(void **state)
{
    inner e = {.poison = -1};
    quern_cache *cache = NULL;
    quern_embedder *c = NULL;
    quern_cache_key key;
    quern_str text = quern_str_of("7");
    char *json = NULL, hash[65];
    float v[DIM] = {3, 4}, want[DIM];
    (void)state;
    direction(7, want);
    assert_int_equal(quern_cache_open(&cache, NULL, NULL), 0);
    assert_int_equal(quern_embedder_cached(&c, make_inner(&e), cache, NULL), 0);
    assert_int_equal(quern_embedder_fingerprint(c, &json, hash, NULL), 0);
    quern_free(json);
    assert_int_equal(quern_cache_key_of(hash, 0, 0, text, &key, NULL), 0);
    quern_cache_put(cache, &key, 1, DIM, v, NULL, NULL, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(quern_embed(c, &text, 1, NULL, v, DIM, NULL, NULL), 0);
        assert_memory_equal(v, want, sizeof want);
        assert_int_equal(e.calls, 1);
    }
    quern_embedder_free(c);
    quern_cache_free(cache);
}

/* What was mended for one caller is not found by one who wants to be told. */
static void keys_are_of_mended_texts(void **state)
{
    inner e = {.poison = -1};
    quern_cache *cache = NULL;
    quern_embedder *c = NULL;
    quern_embed_options opt;
    quern_str bad = {"7\xff", 2}, good = quern_str_of("7\xef\xbf\xbd");
    float v[DIM];
    (void)state;
    assert_int_equal(quern_cache_open(&cache, NULL, NULL), 0);
    assert_int_equal(quern_embedder_cached(&c, make_inner(&e), cache, NULL), 0);
    QUERN_INIT(&opt);
    opt.invalid_utf8 = QUERN_INVALID_UTF8_REPLACE;
    assert_int_equal(quern_embed(c, &bad, 1, &opt, v, DIM, NULL, NULL), 0);
    assert_int_equal(quern_embed(c, &bad, 1, &opt, v, DIM, NULL, NULL), 0);
    assert_int_equal(quern_embed(c, &good, 1, NULL, v, DIM, NULL, NULL), 0);
    assert_int_equal(e.calls, 1);
    assert_int_equal(quern_embed(c, &bad, 1, NULL, v, DIM, NULL, NULL), 0);
    assert_int_equal(e.calls, 2); /* the inner one judges */
    quern_embedder_free(c);
    quern_cache_free(cache);
}

/* The text at fault is named by its place in the call, not among those that travelled; what was right before stays. */
static void names_the_text_behind_a_cache(void **state)
{
    inner e = {.poison = 61};
    quern_cache *cache = NULL;
    quern_embedder *c = NULL;
    quern_error err = {0};
    (void)state;
    assert_int_equal(quern_cache_open(&cache, NULL, NULL), 0);
    assert_int_equal(quern_embedder_cached(&c, batched(make_inner(&e), 4, 1), cache, NULL), 0);
    assert_int_equal(embed_all(c, 50, &err), 0);
    assert_int_equal(embed_all(c, 70, &err), QUERN_EREMOTE);
    assert_int_equal(err.subject, 61);
    e.poison = -1;
    assert_int_equal(embed_all(c, 70, &err), 0);
    quern_embedder_free(c);
    quern_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_in_order),
        cmocka_unit_test(learns_what_is_too_many),
        cmocka_unit_test(forgets_what_was_too_many),
        cmocka_unit_test(a_fault_ends_the_call),
        cmocka_unit_test(waits_for_no_slot_that_is_not_wanted),
        cmocka_unit_test(a_fault_without_words),
        cmocka_unit_test(names_the_text_at_fault),
        cmocka_unit_test(a_text_that_the_server_stumbles_over),
        cmocka_unit_test(many_texts_that_the_server_stumbles_over),
        cmocka_unit_test(a_server_that_is_down),
        cmocka_unit_test(estimates_by_what_was),
        cmocka_unit_test(neighbours_of_a_bad_text_are_paid_once),
        cmocka_unit_test(what_came_in_before_a_fault_is_kept),
        cmocka_unit_test(nothing_starts_behind_a_fault),
        cmocka_unit_test(tries_again),
        cmocka_unit_test(keeps_a_budget),
        cmocka_unit_test(from_many_threads),
        cmocka_unit_test(waits_no_longer_than_wanted),
        cmocka_unit_test(pays_once),
        cmocka_unit_test(doubts_what_is_not_of_unit_length),
        cmocka_unit_test(keys_are_of_mended_texts),
        cmocka_unit_test(names_the_text_behind_a_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
