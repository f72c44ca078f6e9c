/* test_fallback.c — another embedder of the same vectors stands in, for faults that pass and no others. */
#include "unit/embedder/faulty_inner.h"

static quern_embedder *in_front(inner *list, size_t n)
{
    quern_embedder *ways[4], *out = NULL;
    for (size_t i = 0; i < n; i++)
        ways[i] = make_inner(&list[i]);
    assert_int_equal(quern_embedder_fallback(&out, ways, n, NULL), 0);
    return out;
}

static void the_next_one(void **state)
{
    inner e[3] = {{.poison = -1, .outages = 2, .status = 503, .retry_ms = 70},
                  {.poison = -1, .outages = 1, .status = 500, .retry_ms = 90},
                  {.poison = -1}};
    quern_embedder *f = in_front(e, 3);
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(embed_all(f, 20, NULL), 0);
    assert_int_equal(e[0].calls, 3);
    assert_int_equal(e[1].calls, 2);
    assert_int_equal(e[2].calls, 1);
    quern_embedder_free(f);
}

/* The last one's fault, and the soonest of the times named. */
static void all_are_down(void **state)
{
    inner e[2] = {{.poison = -1, .outages = 9, .status = 503, .retry_ms = 70},
                  {.poison = -1, .outages = 9, .status = 500, .retry_ms = 90}};
    quern_embedder *f = in_front(e, 2);
    quern_error err = {0};
    (void)state;
    assert_int_equal(embed_all(f, 2, &err), QUERN_EREMOTE);
    assert_int_equal(err.detail, 500);
    assert_int_equal(err.retry_ms, 70);
    quern_embedder_free(f);
}

static void what_no_other_mends(void **state)
{
    inner e[2] = {{.poison = -1, .outages = 1, .status = 401, .retry_ms = -1}, {.poison = -1}};
    quern_embedder *f = in_front(e, 2);
    quern_error err = {0};
    (void)state;
    assert_int_equal(embed_all(f, 2, &err), QUERN_EREMOTE);
    assert_int_equal(err.detail, 401);
    assert_int_equal(e[1].calls, 0);
    quern_embedder_free(f);
}

/* Another fingerprint is refused when it is made, and all stay the caller's. */
static void other_vectors(void **state)
{
    inner e[2] = {{.poison = -1}, {.poison = -1, .says = "{\"model\":\"other\"}"}};
    quern_embedder *ways[2] = {make_inner(&e[0]), make_inner(&e[1])}, *out = ways[0];
    quern_error err = {0};
    char *json = NULL, hash[65], said[13];
    (void)state;
    assert_int_equal(quern_embedder_fallback(&out, ways, 2, &err), QUERN_EMISMATCH);
    assert_null(out);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(quern_embedder_fingerprint(ways[i], &json, hash, NULL), 0);
        snprintf(said, sizeof said, "%.12s", hash);
        assert_non_null(strstr(err.msg, said));
        quern_free(json);
    }
    assert_int_equal(quern_embedder_fallback(&out, ways, 0, &err), QUERN_EINVAL);
    assert_int_equal(quern_embedder_fallback(&out, ways, 17, &err), QUERN_EINVAL);
    assert_int_equal(quern_embedder_fallback(&out, ways, 1, &err), 0);
    assert_int_equal(embed_all(out, 3, NULL), 0);
    quern_embedder_free(out);
    quern_embedder_free(ways[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_one),
        cmocka_unit_test(all_are_down),
        cmocka_unit_test(what_no_other_mends),
        cmocka_unit_test(other_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
