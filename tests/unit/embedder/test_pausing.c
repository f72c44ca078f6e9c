/* test_pausing.c — a provider that is down is left alone: when it begins, who tries, what ends it, from many threads. */
#include "unit/embedder/faulty_inner.h"

static quern_embedder *paused(inner *e, uint32_t failures, uint32_t base_ms, uint32_t wait_ms)
{
    quern_pause_options o;
    quern_embedder *out;
    QUERN_INIT(&o);
    o.failures = failures;
    o.base_ms = base_ms;
    o.wait_ms = wait_ms;
    assert_int_equal(quern_embedder_pausing(&out, make_inner(e), &o, NULL), 0);
    return out;
}

/* After three in a row the server is not asked, and each caller is told why and until when. */
static void refuses_at_once(void **state)
{
    inner e = {.poison = -1, .outages = 4, .status = 503};
    quern_embedder *p = paused(&e, 3, 60, 1);
    quern_error err = {0};
    (void)state;
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(embed_all(p, 1, &err), QUERN_EREMOTE);
        assert_string_equal(quern_error_code(&err), "remote");
    }
    for (int i = 0; i < 5; i++) {
        assert_int_equal(embed_all(p, 1, &err), QUERN_EREMOTE);
        assert_string_equal(quern_error_code(&err), "provider_paused");
        assert_int_equal(err.detail, 503);
        assert_in_range(err.retry_ms, 1, 61);
        assert_non_null(strstr(err.msg, "inner answers 503"));
    }
    assert_int_equal(e.calls, 3);
    quern__sleep_ms(70); /* one trial, which fails: twice as long */
    assert_int_equal(embed_all(p, 1, &err), QUERN_EREMOTE);
    assert_string_equal(quern_error_code(&err), "remote");
    assert_int_equal(embed_all(p, 1, &err), QUERN_EREMOTE);
    assert_in_range(err.retry_ms, 61, 121);
    assert_int_equal(e.calls, 4);
    quern__sleep_ms(130);
    assert_int_equal(embed_all(p, 1, &err), 0);
    assert_int_equal(embed_all(p, 1, &err), 0);
    quern_embedder_free(p);
}

/* Only failing calls in a row count, and only such as may pass. */
static void counts_in_a_row(void **state)
{
    inner e = {.poison = -1, .status = 500};
    quern_embedder *p = paused(&e, 3, 60000, 1);
    quern_error err = {0};
    (void)state;
    for (int i = 0; i < 5; i++) {
        atomic_store(&e.outages, 2);
        assert_int_equal(embed_all(p, 1, &err), QUERN_EREMOTE);
        assert_int_equal(embed_all(p, 1, &err), QUERN_EREMOTE);
        assert_int_equal(embed_all(p, 1, &err), 0);
    }
    e.retry_ms = -1; /* a wrong key is an answer */
    atomic_store(&e.outages, 9);
    for (int i = 0; i < 9; i++) {
        assert_int_equal(embed_all(p, 1, &err), QUERN_EREMOTE);
        assert_string_equal(quern_error_code(&err), "remote");
    }
    assert_int_equal(embed_all(p, 1, &err), 0);
    quern_embedder_free(p);
}

/* The time that the server names, not ours; and waiting for it. */
static void waits_for_the_time_named(void **state)
{
    inner e = {.poison = -1, .outages = 2, .status = 429, .retry_ms = 150};
    quern_embedder *p = paused(&e, 2, 60000, 0);
    quern_error err = {0};
    (void)state;
    assert_int_equal(embed_all(p, 1, &err), QUERN_EREMOTE);
    assert_int_equal(embed_all(p, 1, &err), QUERN_EREMOTE);
    uint64_t began = quern__now_ns();
    assert_int_equal(embed_all(p, 1, &err), 0);
    assert_in_range(quern__now_ns() - began, UINT64_C(140000000), UINT64_C(5000000000));
    quern_embedder_free(p);
}

static void raise_soon(void *ud)
{
    quern__sleep_ms(60);
    quern_cancel_raise(ud);
}

static void leaves_when_told(void **state)
{
    inner e = {.poison = -1, .outages = 1, .status = 500};
    quern_embedder *p = paused(&e, 1, 20000, 0);
    quern_embed_options opt;
    quern__thread *t;
    quern_str text = quern_str_of("1");
    quern_cancel *cancel = NULL;
    float v[DIM];
    (void)state;
    assert_int_equal(embed_all(p, 1, NULL), QUERN_EREMOTE);
    assert_int_equal(quern_cancel_new(&cancel, NULL), 0);
    QUERN_INIT(&opt);
    opt.cancel = cancel;
    uint64_t began = quern__now_ns();
    assert_int_equal(quern__thread_start(&t, raise_soon, cancel, NULL), 0);
    assert_int_equal(quern_embed(p, &text, 1, &opt, v, DIM, NULL, NULL), QUERN_ECANCELLED);
    assert_true(quern__now_ns() - began < UINT64_C(2000000000));
    quern__thread_join(t);
    quern_cancel_free(cancel);
    quern_embedder_free(p);
}

enum { CALLERS = 8 };

typedef struct caller {
    quern_embedder *e;
    atomic_int right, wrong;
} caller;

static void call_once(void *ud)
{
    caller *c = ud;
    quern_str text = quern_str_of("41");
    float v[DIM], want[DIM];
    direction(41, want);
    int rc = quern_embed(c->e, &text, 1, NULL, v, DIM, NULL, NULL);
    atomic_fetch_add(rc ? &c->wrong : &c->right, 1);
    if (!rc)
        assert_memory_equal(v, want, sizeof want);
}

static void call_from_all(caller *c)
{
    quern__thread *threads[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        assert_int_equal(quern__thread_start(&threads[i], call_once, c, NULL), 0);
    for (int i = 0; i < CALLERS; i++)
        quern__thread_join(threads[i]);
}

/* Eight at once fail: one outage, not eight. Then eight wait: one tries, the others follow when it is through. */
static void one_tries_for_all(void **state)
{
    inner e = {.poison = -1, .outages = CALLERS, .status = 500, .delay_ms = 100};
    caller c = {.e = paused(&e, 2, 300, 0)};
    quern_error err = {0};
    (void)state;
    call_from_all(&c);
    assert_int_equal(c.wrong, CALLERS);
    assert_int_equal(e.calls, CALLERS);
    atomic_store(&e.peak, 0);
    atomic_store(&e.outages, 2); /* the first trials fail too: 600 ms, 1200 ms */
    uint64_t began = quern__now_ns();
    assert_int_equal(embed_all(c.e, 1, &err), QUERN_EREMOTE);
    assert_true(quern__now_ns() - began < UINT64_C(3000000000)); /* not 300 ms x 2^7 */
    call_from_all(&c);
    assert_int_equal(c.wrong, CALLERS + 1);
    assert_int_equal(c.right, CALLERS - 1);
    assert_int_equal(e.calls, CALLERS + 1 + CALLERS);
    assert_true(e.peak < CALLERS); /* the trials were alone */
    quern_embedder_free(c.e);
}

static void bad_arguments(void **state)
{
    quern_embedder *out;
    inner e = {.poison = -1};
    quern_embedder *in = make_inner(&e);
    quern_pause_options o = {0};
    (void)state;
    assert_int_equal(quern_embedder_pausing(NULL, in, NULL, NULL), QUERN_EINVAL);
    assert_int_equal(quern_embedder_pausing(&out, NULL, NULL, NULL), QUERN_EINVAL);
    assert_int_equal(quern_embedder_pausing(&out, in, &o, NULL), QUERN_EINVAL);
    assert_null(out);
    quern_embedder_free(in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_at_once),          cmocka_unit_test(counts_in_a_row),
        cmocka_unit_test(waits_for_the_time_named), cmocka_unit_test(leaves_when_told),
        cmocka_unit_test(one_tries_for_all),        cmocka_unit_test(bad_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
