/* test_capped.c — no more tokens than allowed: what is refused, what is waited for, what is counted. Each text takes 3. */
#include "unit/embedder/faulty_inner.h"

static quern_embedder *capped(inner *e, uint64_t tokens, double max_price, double price)
{
    quern_cap_options o;
    quern_embedder *out = NULL;
    QUERN_INIT(&o);
    o.max_tokens = tokens;
    o.max_price = max_price;
    o.price = price;
    assert_int_equal(quern_embedder_capped(&out, make_inner(e), &o, NULL), 0);
    return out;
}

static void refuses_what_goes_over(void **state)
{
    inner e = {.poison = -1};
    quern_embedder *c = capped(&e, 100, 0, 0);
    quern_error err = {0};
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(embed_all(c, 10, &err), 0);
    assert_int_equal(embed_all(c, 10, &err), QUERN_EBUDGET);
    assert_int_equal(e.calls, 3);
    assert_int_equal(err.detail, 90);
    assert_int_equal(err.retry_ms, -1);
    assert_string_equal(quern_error_code(&err), "budget");
    assert_non_null(strstr(err.msg, "used 90 of 100 tokens"));
    assert_int_equal(embed_all(c, 3, &err), 0); /* a smaller one still goes */
    assert_int_equal(embed_all(c, 1, &err), QUERN_EBUDGET);
    assert_int_equal(e.calls, 4);
    quern_embedder_free(c);
}

static void counts_money(void **state)
{
    inner e = {.poison = -1};
    quern_error err = {0};
    quern_cap_options o;
    quern_embedder *c = capped(&e, 0, 0.5, 10), *out = NULL; /* 50 tokens */
    (void)state;
    assert_int_equal(embed_all(c, 10, &err), 0);
    assert_int_equal(embed_all(c, 10, &err), QUERN_EBUDGET);
    assert_non_null(strstr(err.msg, "$0.3000 of $0.5000"));
    quern_embedder_free(c);
    quern_embedder *in = make_inner(&e);
    QUERN_INIT(&o);
    o.max_price = 1;
    assert_int_equal(quern_embedder_capped(&out, in, &o, &err), QUERN_EINVAL);
    o.price = -1;
    assert_int_equal(quern_embedder_capped(&out, in, &o, &err), QUERN_EINVAL);
    o.price = 1;
    o.max_price = __builtin_nan("");
    assert_int_equal(quern_embedder_capped(&out, in, &o, &err), QUERN_EINVAL);
    assert_int_equal(quern_embedder_capped(&out, in, NULL, &err), QUERN_EINVAL);
    o = (quern_cap_options){.struct_size = sizeof o}; /* no limit is none */
    assert_int_equal(quern_embedder_capped(&out, in, &o, &err), 0);
    assert_int_equal(embed_all(out, TEXTS, &err), 0);
    quern_embedder_free(out);
}

/* Failed calls cost nothing, but for an answer that made no sense. */
static void what_fails(void **state)
{
    inner e = {.poison = -1, .outages = 5, .status = 503};
    quern_embedder *c = capped(&e, 40, 0, 0);
    quern_error err = {0};
    (void)state;
    for (int i = 0; i < 5; i++)
        assert_int_equal(embed_all(c, 10, &err), QUERN_EREMOTE);
    assert_int_equal(embed_all(c, 10, &err), 0);
    e.status = 200;
    atomic_store(&e.outages, 1);
    assert_int_equal(embed_all(c, 3, &err), QUERN_EREMOTE);
    assert_int_equal(embed_all(c, 3, &err), QUERN_EBUDGET);
    assert_in_range(err.detail, 33, 40);
    quern_embedder_free(c);
}

enum { CALLERS = 8 };

typedef struct caller {
    quern_embedder *e;
    atomic_int right, refused;
} caller;

static void call_often(void *ud)
{
    caller *c = ud;
    quern_str text = quern_str_of("41");
    float v[DIM];
    for (int i = 0; i < 50; i++) {
        int rc = quern_embed(c->e, &text, 1, NULL, v, DIM, NULL, NULL);
        assert_true(rc == QUERN_OK || rc == QUERN_EBUDGET);
        atomic_fetch_add(rc ? &c->refused : &c->right, 1);
    }
}

/* To the last token, from many threads: none is refused while one under way may leave it room. */
static void from_many_threads(void **state)
{
    inner e = {.poison = -1};
    caller c = {.e = capped(&e, 3 * 100, 0, 0)};
    quern__thread *threads[CALLERS];
    (void)state;
    for (int i = 0; i < CALLERS; i++)
        assert_int_equal(quern__thread_start(&threads[i], call_often, &c, NULL), 0);
    for (int i = 0; i < CALLERS; i++)
        quern__thread_join(threads[i]);
    assert_int_equal(c.right, 100);
    assert_int_equal(c.refused, CALLERS * 50 - 100);
    assert_int_equal(e.calls, 100);
    quern_embedder_free(c.e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_goes_over),
        cmocka_unit_test(counts_money),
        cmocka_unit_test(what_fails),
        cmocka_unit_test(from_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
