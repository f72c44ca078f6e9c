/*
 * test_similar.c — neighbours of a stored document; filters, every chunk, hits that differ, and what a search says
 * about itself.
 */
#include "unit/pipeline/fill_world.h"

static int set_up(void **state)
{
    world *w = make_world();
    declare(w, "items", NULL, "gone = 0");
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    free_world(*state);
    return 0;
}

static void keys_of(quern_results *r, char *out, size_t size)
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < quern_results_count(r); i++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", i ? " " : "", quern_results_at(r, i)->key);
    quern_results_free(r);
}

static void near_to(world *w, const char *key, const quern_search_options *o, char *out,
                    size_t size)
{
    quern_results *r = NULL;
    check(w, quern_similar(&r, w->s, w->e, NULL, quern_str_of(key), o, &w->err));
    keys_of(r, out, size);
}

static void search_for(world *w, const char *text, const quern_search_options *o, char *out,
                       size_t size)
{
    quern_results *r = NULL;
    check(w, quern_search(&r, w->s, w->e, quern_str_of(text), o, &w->err));
    keys_of(r, out, size);
}

static int refuses(world *w, const char *source, const char *key)
{
    quern_results *r = NULL;
    int rc = quern_similar(&r, w->s, w->e, source, quern_str_of(key), NULL, &w->err);
    assert_null(r);
    return rc;
}

/* A single chunk is its own text's query: the same hits without the document itself. */
static void as_its_text_would_find(void **state)
{
    world *w = *state;
    char by_text[2000], by_key[2000];
    quern_search_options o;
    put_rows(w, 0, 200);
    check(w, fill(w));
    QUERN_INIT(&o);
    o.limit = 11;
    search_for(w, "title5. body of 5 word5", &o, by_text, sizeof by_text);
    o.limit = 10;
    near_to(w, "5", &o, by_key, sizeof by_key);
    assert_true(strncmp(by_text, "5 ", 2) == 0);
    assert_string_equal(by_text + 2, by_key);
}

static void what_has_no_vector(void **state)
{
    world *w = *state;
    put_rows(w, 0, 20);
    check(w, fill(w));
    assert_int_equal(refuses(w, NULL, "999"), QUERN_ENOTFOUND);
    assert_int_equal(refuses(w, NULL, "word"), QUERN_ENOTFOUND);
    assert_int_equal(refuses(w, NULL, "\"3"), QUERN_ENOTFOUND);
    assert_int_equal(refuses(w, NULL, "\xff"), QUERN_EINVAL);
    assert_int_equal(refuses(w, "nothing", "3"), QUERN_ENOTFOUND);
    sql(w, "INSERT INTO items (id, title, body) VALUES (77, 'new', 'row'), (78, '', '')");
    assert_int_equal(refuses(w, NULL, "77"), QUERN_EMISMATCH);
    assert_non_null(strstr(w->err.msg, "pending"));
    sql(w, "UPDATE items SET body = 'edited' WHERE id = 3"); /* its vectors are of another text */
    assert_int_equal(refuses(w, NULL, "3"), QUERN_EMISMATCH);
    check(w, fill(w));
    assert_int_equal(refuses(w, NULL, "78"), QUERN_EMISMATCH);
}

static void of_several_sources(void **state)
{
    world *w = *state;
    put_rows(w, 0, 20);
    declare(w, "half", NULL, "id < 10");
    check(w, fill(w));
    assert_int_equal(refuses(w, NULL, "3"), QUERN_EINVAL); /* which 3? */
    assert_non_null(strstr(w->err.msg, "half"));
    quern_results *r = NULL;
    quern_search_options o;
    QUERN_INIT(&o);
    o.limit = 1;
    check(w, quern_similar(&r, w->s, w->e, "half", quern_str_of("3"), &o, &w->err));
    assert_string_equal(quern_results_at(r, 0)->source, "items"); /* its twin */
    assert_string_equal(quern_results_at(r, 0)->key, "3");
    quern_results_free(r);
    check(w, quern_similar(&r, w->s, w->e, NULL, quern_str_of("13"), &o, &w->err));
    assert_true(strcmp(quern_results_at(r, 0)->key, "13") != 0);
    quern_results_free(r);
}

static void filters_are_kept(void **state)
{
    world *w = *state;
    char got[4000];
    quern_search_options o;
    put_rows(w, 0, 300);
    sql(w, "UPDATE items SET rev = CASE WHEN id % 100 = 7 THEN 'rare' ELSE 'r' || id END");
    check(w, fill(w));
    QUERN_INIT(&o);
    o.filter = "{\"rev\":\"rare\"}";
    search_for(w, "title150. body of 150 word3", &o, got, sizeof got);
    int seen = 0;
    for (const char *p = got; *p; p++)
        seen += *p == ' ';
    assert_int_equal(seen, 2); /* all three, however far down */
    near_to(w, "7", &o, got, sizeof got);
    assert_true(strcmp(got, "107 207") == 0 || strcmp(got, "207 107") == 0);
    o.filter = "{\"rev\":\"rare\",\"title\":[\"title107\",\"title8\"]}";
    search_for(w, "x", &o, got, sizeof got);
    assert_string_equal(got, "107");
    o.filter = "{\"rev\":\"none\"}";
    search_for(w, "x", &o, got, sizeof got);
    assert_string_equal(got, "");
    quern_results *r = NULL;
    o.filter = "{\"body\":1}"; /* not declared as metadata */
    assert_int_equal(quern_search(&r, w->s, w->e, quern_str_of("x"), &o, &w->err), QUERN_EINVAL);
    assert_non_null(strstr(w->err.msg, "title, rev"));
    o.filter = "{\"x' OR 1=1 --\":1}";
    assert_int_equal(quern_search(&r, w->s, w->e, quern_str_of("x"), &o, &w->err), QUERN_EINVAL);
}

static void put_long(world *w)
{
    sql(w,
        "UPDATE items SET body = 'alpha beta gamma delta epsilon zeta eta theta iota kappa "
        "lambda mu needle needle needle needle needle nu xi omikron pi rho sigma tau upsilon phi "
        "chi psi omega haystack one two three four five six' WHERE id = 3");
}

static void every_chunk(void **state)
{
    world *w = *state;
    quern_search_options o;
    quern_results *r = NULL;
    put_rows(w, 0, 20);
    put_long(w);
    check(w, fill(w));
    int64_t chunks = number(w, "SELECT count(*) FROM quern_chunks WHERE key = '3'");
    assert_true(chunks > 2);
    QUERN_INIT(&o);
    o.limit = 100;
    o.chunks = 1;
    check(w, quern_search(&r, w->s, w->e, quern_str_of("needle"), &o, &w->err));
    int64_t of_three = 0;
    assert_int_equal(quern_results_count(r), 19 + chunks);
    for (size_t i = 0; i < quern_results_count(r); i++) {
        const quern_hit *h = quern_results_at(r, i);
        assert_true(i == 0 || h->score <= quern_results_at(r, i - 1)->score);
        of_three += strcmp(h->key, "3") == 0;
    }
    assert_int_equal(of_three, chunks);
    quern_results_free(r);
    o.limit = 2;
    check(w, quern_search(&r, w->s, w->e, quern_str_of("needle"), &o, &w->err));
    assert_int_equal(quern_results_count(r), 2);
    quern_results_free(r);
    /* of several chunks the mean is the seed, and none of them is a hit */
    check(w, quern_similar(&r, w->s, w->e, NULL, quern_str_of("3"), NULL, &w->err));
    assert_int_equal(quern_results_count(r), 10);
    for (size_t i = 0; i < quern_results_count(r); i++)
        assert_string_not_equal(quern_results_at(r, i)->key, "3");
    quern_results_free(r);
}

static void hits_that_differ(void **state)
{
    world *w = *state;
    char got[200];
    quern_search_options o;
    put_rows(w, 0, 10);
    sql(w,
        "INSERT INTO items (id, title, body) SELECT 100 + value, 'same', 'words here' FROM (WITH "
        "RECURSIVE c(value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM c WHERE value < 30) "
        "SELECT value FROM c)");
    sql(w, "INSERT INTO items (id, title, body) VALUES (200, 'same', 'words')");
    check(w, fill(w));
    QUERN_INIT(&o);
    o.limit = 3;
    o.has_mmr = 1;
    o.mmr_lambda = 1;
    search_for(w, "same. words here", &o, got, sizeof got);
    assert_string_equal(got, "100 101 102");
    o.mmr_lambda = 0.4f;
    search_for(w, "same. words here", &o, got, sizeof got);
    assert_true(strncmp(got, "100 ", 4) == 0);
    assert_null(strstr(got, "101"));
    o.limit = 1001;
    quern_results *r = NULL;
    assert_int_equal(quern_search(&r, w->s, w->e, quern_str_of("x"), &o, &w->err), QUERN_EINVAL);
}

static void it_says_what_it_did(void **state)
{
    world *w = *state;
    quern_results *r = NULL;
    quern_search_options o;
    put_rows(w, 0, 50);
    check(w, fill(w));
    sql(w, "DELETE FROM items WHERE id < 3");
    sql(w, "UPDATE items SET body = 'edited' WHERE id = 4");
    QUERN_INIT(&o);
    o.limit = 50;
    o.filter = "{\"title\":{\"ne\":\"title9\"}}";
    check(w, quern_search(&r, w->s, w->e, quern_str_of("word"), &o, &w->err));
    assert_int_equal(quern_results_count(r), 45);
    assert_string_equal(
        quern_results_explain(r),
        "{\"mode\":\"vector\",\"sources\":[{\"source\":\"items\",\"generation\":1,\"index\":"
        "\"exact\","
        "\"scanned\":50}],\"scanned\":50,\"rounds\":1,\"candidates\":50,\"kept\":45,\"dropped\":{"
        "\"replaced\":0,\"gone\":3,\"stale\":1,\"filtered\":1,\"seed\":0,\"excluded\":0,\"same_"
        "document\":0,"
        "\"below_min_similarity\":0}}");
    quern_results_free(r);
}

/* ---- quern_mmr by itself ---- */

static float on_a_line(const quern_hit *a, const quern_hit *b, void *ud)
{
    (void)ud;
    int64_t apart = (int64_t)a->start - (int64_t)b->start;
    return 1.0f - (float)(apart < 0 ? -apart : apart) / 10.0f;
}

static void picks(const quern_hit *hits, size_t n, size_t k, float lambda, const char *want)
{
    size_t picked[8];
    char got[64] = "";
    size_t count = quern_mmr(hits, n, k, lambda, on_a_line, NULL, picked);
    for (size_t i = 0, at = 0; i < count; i++)
        at += (size_t)snprintf(got + at, sizeof got - at, "%zu", picked[i]);
    assert_string_equal(got, want);
}

static void mmr_golden(void **state)
{
    (void)state;
    const quern_hit hits[] = {{.similarity = 0.9f, .start = 0},
                              {.similarity = 0.8f, .start = 0},
                              {.similarity = 0.8f, .start = 5},
                              {.similarity = 0.1f, .start = 10}};
    picks(hits, 4, 4, 1.0f, "0123");
    picks(hits, 4, 3, 0.5f, "021");
    picks(hits, 4, 2, 0.0f, "03");
    picks(hits, 4, 4, 7.0f, "0123"); /* clamped */
    picks(hits, 4, 2, -1.0f, "03");
    picks(hits, 4, 9, 1.0f, "0123");
    picks(hits, 4, 0, 1.0f, "");
    picks(hits, 0, 3, 0.5f, "");
    picks(hits + 1, 2, 1, 0.5f, "0"); /* of equals the earlier */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* What is left out takes nobody's place: the limit is full of the others, in their order. */
static void leaves_keys_out(void **state)
{
    world *w = *state;
    char all[2000], some[2000], wanted[2000] = "";
    put_rows(w, 0, 120);
    check(w, fill(w));
    quern_search_options o;
    QUERN_INIT(&o);
    o.limit = 119;
    near_to(w, "5", &o, all, sizeof all);
    quern_str out[80];
    size_t n = 0, at = 0, kept = 0;
    for (char *s = strtok(all, " "); s; s = strtok(NULL, " "), at++) {
        if (at % 3 != 2 && n < 79)
            out[n++] = quern_str_of(s);
        else if (kept++ < 20)
            snprintf(wanted + strlen(wanted), sizeof wanted - strlen(wanted), "%s%s",
                     kept > 1 ? " " : "", s);
    }
    out[n++] = quern_str_of("nobody");
    o.exclude = out;
    o.n_exclude = n;
    o.limit = 20;
    near_to(w, "5", &o, some, sizeof some);
    assert_string_equal(some, wanted);
    o.limit = 119;
    o.has_mmr = 1;
    o.mmr_lambda = 0.5f;
    near_to(w, "5", &o, some, sizeof some);
    for (size_t i = 0; i < n; i++) {
        char padded[40], list[2100];
        snprintf(padded, sizeof padded, " %.*s ", (int)out[i].len, out[i].ptr);
        snprintf(list, sizeof list, " %s ", some);
        assert_null(strstr(list, padded));
    }
}

static void bad_keys_to_leave_out(void **state)
{
    world *w = *state;
    quern_str many[1001], bad = quern_str_of("\xff");
    quern_results *r = NULL;
    quern_search_options o;
    put_rows(w, 0, 3);
    check(w, fill(w));
    QUERN_INIT(&o);
    for (size_t i = 0; i < 1001; i++)
        many[i] = quern_str_of("1");
    o.exclude = many;
    o.n_exclude = 1000;
    check(w, quern_search(&r, w->s, w->e, quern_str_of("x"), &o, &w->err));
    assert_int_equal(quern_results_count(r), 2);
    assert_non_null(strstr(quern_results_explain(r), "\"excluded\":1"));
    quern_results_free(r);
    o.n_exclude = 1001;
    assert_int_equal(quern_search(&r, w->s, w->e, quern_str_of("x"), &o, &w->err), QUERN_EINVAL);
    assert_non_null(strstr(w->err.msg, "at most 1000"));
    o.exclude = &bad;
    o.n_exclude = 1;
    assert_int_equal(quern_search(&r, w->s, w->e, quern_str_of("x"), &o, &w->err), QUERN_EINVAL);
    bad.len = 0;
    assert_int_equal(quern_search(&r, w->s, w->e, quern_str_of("x"), &o, &w->err), QUERN_EINVAL);
    o.exclude = NULL;
    assert_int_equal(quern_search(&r, w->s, w->e, quern_str_of("x"), &o, &w->err), QUERN_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(as_its_text_would_find),
        TEST(what_has_no_vector),
        TEST(of_several_sources),
        TEST(filters_are_kept),
        TEST(leaves_keys_out),
        TEST(bad_keys_to_leave_out),
        TEST(every_chunk),
        TEST(hits_that_differ),
        TEST(it_says_what_it_did),
        cmocka_unit_test(mmr_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
