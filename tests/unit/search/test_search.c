/*
 * test_search.c — a hit exists, matches its source's predicate and is current, or it is no hit; order, ties, chunks,
 * excerpts; the heap under it against sorting.
 */
#include "base/rng.h"
#include "search/excerpt.h"
#include "search/topk.h"
#include "quern/text.h"
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

/* Keys of the hits, "3 1 7". */
static void look(world *w, const char *query, const quern_search_options *o, char *out, size_t size)
{
    quern_results *r = NULL;
    check(w, quern_search(&r, w->s, w->e, quern_str_of(query), o, &w->err));
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < quern_results_count(r); i++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", i ? " " : "", quern_results_at(r, i)->key);
    quern_results_free(r);
}

static void finds(world *w, const char *query, uint32_t limit, const char *want)
{
    char got[1000];
    quern_search_options o;
    QUERN_INIT(&o);
    o.limit = limit;
    look(w, query, &o, got, sizeof got);
    assert_string_equal(got, want);
}

static void the_nearest_first(void **state)
{
    world *w = *state;
    put_rows(w, 0, 300);
    check(w, fill(w));
    finds(w, "title77. body of 77", 1, "77");
    quern_results *r = NULL;
    check(w, quern_search(&r, w->s, w->e, quern_str_of("title5. body of 5 word5"), NULL, &w->err));
    assert_int_equal(quern_results_count(r), 10);
    assert_int_equal(quern_results_scanned(r), 300);
    const quern_hit *h = quern_results_at(r, 0);
    assert_string_equal(h->key, "5");
    assert_string_equal(h->source, "items");
    assert_true(h->score > 0.999f && h->score <= 1.0f);
    assert_true(h->score == h->similarity);
    assert_string_equal(h->excerpt, "title5. body of 5 word5");
    assert_string_equal(h->meta, "{\"title\":\"title5\",\"rev\":\"r1\"}");
    assert_int_equal(h->start, 0);
    assert_int_equal(h->end, 23);
    for (size_t i = 1; i < 10; i++)
        assert_true(quern_results_at(r, i)->score <= quern_results_at(r, i - 1)->score);
    assert_null(quern_results_at(r, 10));
    assert_string_equal(quern_results_model(r), "fake");
    assert_int_equal(strlen(quern_results_fingerprint(r)), 64);
    quern_results_free(r);
}

/* Equal texts have equal scores: by key, numbers by value, however many there are and in whatever order they
 * were inserted. */
static void ties_go_by_key(void **state)
{
    world *w = *state;
    put_rows(w, 0, 50);
    sql(w, "INSERT INTO items (id, title, body) SELECT 2000 - value, 'same', 'text' FROM (WITH "
           "RECURSIVE c(value) AS "
           "(SELECT 0 UNION ALL SELECT value + 1 FROM c WHERE value < 999) SELECT value FROM c)");
    sql(w, "INSERT INTO items (id, title, body) VALUES (-5, 'same', 'text'), (99, 'same', 'text'), "
           "(100, 'same', "
           "'text')");
    check(w, fill(w));
    finds(w, "same. text", 5, "-5 99 100 1001 1002");
}

static void what_is_gone_is_no_hit(void **state)
{
    world *w = *state;
    put_rows(w, 0, 200);
    check(w, fill(w));
    finds(w, "title9. body of 9 word2", 1, "9");
    sql(w, "UPDATE items SET gone = 1 WHERE id = 9");
    char got[1000];
    look(w, "title9. body of 9 word2", NULL, got, sizeof got);
    assert_null(strstr(got, "9 "));
    assert_true(strncmp(got, "9", 2) != 0);
    sql(w, "UPDATE items SET gone = 0 WHERE id = 9");
    finds(w, "title9. body of 9 word2", 1, "9");
    sql(w, "UPDATE items SET body = 'edited' WHERE id = 9"); /* stale until the next fill */
    look(w, "title9. body of 9 word2", NULL, got, sizeof got);
    assert_true(strncmp(got, "9 ", 2) != 0);
    sql(w, "DELETE FROM items WHERE id <> 150");
    finds(w, "title9. body of 9 word2", 10, "150"); /* over-fetched until all is seen */
    sql(w, "DELETE FROM items");
    finds(w, "title9", 10, "");
}

static void the_best_chunk_stands_for_its_document(void **state)
{
    world *w = *state;
    put_rows(w, 0, 20);
    sql(w, "UPDATE items SET body = 'alpha beta gamma delta epsilon zeta eta theta iota kappa "
           "lambda mu needle needle needle needle needle nu xi omikron "
           "pi rho sigma tau upsilon phi chi psi omega haystack one two three four five six' WHERE "
           "id = 3");
    check(w, fill(w));
    quern_search_options o;
    QUERN_INIT(&o);
    o.limit = 3;
    quern_results *r = NULL;
    check(w, quern_search(&r, w->s, w->e, quern_str_of("needle"), &o, &w->err));
    const quern_hit *h = quern_results_at(r, 0);
    assert_string_equal(h->key, "3");
    assert_true(h->chunk > 0);
    assert_non_null(strstr(h->excerpt, "needle"));
    assert_true(strcmp(quern_results_at(r, 1)->key, "3") != 0);
    quern_results_free(r);
}

static void a_floor_for_similarity(void **state)
{
    world *w = *state;
    put_rows(w, 0, 100);
    check(w, fill(w));
    quern_search_options o;
    QUERN_INIT(&o);
    o.has_min_similarity = 1;
    o.min_similarity = 0.999f;
    char got[200];
    look(w, "title5. body of 5 word5", &o, got, sizeof got);
    assert_string_equal(got, "5");
    o.min_similarity = 2;
    quern_results *r = NULL;
    assert_int_equal(quern_search(&r, w->s, w->e, quern_str_of("x"), &o, &w->err), QUERN_EINVAL);
}

static void several_sources(void **state)
{
    world *w = *state;
    quern_results *r = NULL;
    assert_int_equal(quern_search(&r, w->s, w->e, quern_str_of("x"), NULL, &w->err),
                     QUERN_ENOTFOUND);
    put_rows(w, 0, 10);
    check(w, fill(w));
    declare(w, "again", NULL, "id = 4");
    const char *names[] = {"again", "items", "again"};
    quern_search_options o;
    QUERN_INIT(&o);
    o.sources = names;
    o.n_sources = 3;
    o.limit = 2;
    assert_int_equal(quern_search(&r, w->s, w->e, quern_str_of("x"), &o, &w->err), QUERN_ENOTFOUND);
    assert_non_null(strstr(w->err.msg, "again"));
    check(w, fill(w));
    check(w, quern_search(&r, w->s, w->e, quern_str_of("title4. body of 4 word4"), &o, &w->err));
    assert_int_equal(quern_results_count(r), 2);
    assert_string_equal(quern_results_at(r, 0)->source, "again");
    assert_string_equal(quern_results_at(r, 0)->key, "4");
    assert_string_equal(quern_results_at(r, 1)->source, "items");
    assert_string_equal(quern_results_at(r, 1)->key, "4");
    quern_results_free(r);
    names[0] = "nothing";
    assert_int_equal(quern_search(&r, w->s, w->e, quern_str_of("x"), &o, &w->err), QUERN_ENOTFOUND);
    assert_int_equal(quern_search(&r, w->s, w->e, quern_str_of(" \n"), NULL, &w->err),
                     QUERN_EINVAL);
    assert_int_equal(quern_search(&r, w->s, w->e, quern_str_of("a a a a a a a a a a a a a a a a a"),
                                  NULL, &w->err),
                     QUERN_ETOOLONG);
    assert_null(r);
}

static void damaged_vectors_are_refused(void **state)
{
    world *w = *state;
    put_rows(w, 0, 10);
    check(w, fill(w));
    sql(w, "UPDATE quern_vectors SET data = CAST(x'007E' || substr(data, 3) AS BLOB) WHERE id = "
           "(SELECT id FROM "
           "quern_chunks WHERE key = '3')");
    quern_results *r = NULL;
    assert_int_equal(quern_search(&r, w->s, w->e, quern_str_of("x"), NULL, &w->err), QUERN_EFORMAT);
}

/* f16 against f32: the same ten, in a store of random texts. */
static void half_precision_finds_the_same(void **state)
{
    world *w = *state;
    put_rows(w, 0, 500);
    char a[1000];
    char b[1000];
    check(w, fill(w));
    look(w, "title40. of word3", NULL, a, sizeof a);
    w->opt.vector_type = "f32";
    check(w, fill(w));
    look(w, "title40. of word3", NULL, b, sizeof b);
    assert_string_equal(a, b);
}

/* ---- pieces ---- */

static void topk_is_sorting(void **state)
{
    (void)state;
    quern__rng rng;
    quern__rng_seed(&rng, 7);
    for (int round = 0; round < 200; round++) {
        size_t n = quern__rng_below(&rng, 60);
        size_t k = 1 + quern__rng_below(&rng, 40);
        float scores[60];
        quern__topk t;
        assert_int_equal(quern__topk_init(&t, k, NULL), QUERN_OK);
        for (size_t i = 0; i < n; i++) {
            scores[i] = (float)quern__rng_below(&rng, 20);
            quern__topk_offer(&t, (quern__scored){scores[i], 0, (int64_t)i});
        }
        quern__topk_sort(&t);
        assert_int_equal(t.n, n < k ? n : k);
        assert_int_equal(t.any_lost, n > k);
        for (size_t i = 0; i < n; i++) { /* rank of each by counting */
            size_t rank = 0;
            for (size_t j = 0; j < n; j++)
                rank += scores[j] > scores[i] || (scores[j] == scores[i] && j < i);
            if (rank < t.n)
                assert_int_equal(t.items[rank].ref, i);
            else
                assert_true(scores[i] <= t.lost);
            if (rank == t.n)
                assert_true(scores[i] == t.lost);
        }
        quern__topk_dispose(&t);
    }
}

static void excerpt_is(const char *text, size_t start, size_t end, const char *want)
{
    quern__buf b;
    quern__buf_init(&b, 1000);
    quern__excerpt(quern_str_of(text), start, end, &b);
    assert_string_equal(b.data ? b.data : "", want);
    quern__buf_dispose(&b);
}

static void excerpts(void **state)
{
    (void)state;
    excerpt_is("", 0, 0, "");
    excerpt_is("one  two\n\tthree \x1b[31m red", 0, 1000, "one two three [31m red");
    excerpt_is("one two three", 4, 7, "two");
    excerpt_is("one two three", 40, 7, "");
    excerpt_is("caf\xC3\xA9 x", 4, 100,
               "\xC3\xA9 x"); /* from the middle of a character: from its start */
    excerpt_is("a\xFF"
               "b",
               0, 3,
               "a\xEF\xBF\xBD"
               "b");
    char text[2000];
    size_t n = 0;
    for (int i = 0; i < 200; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "word%d ", i);
    quern__buf b;
    quern__buf_init(&b, 1000);
    quern__excerpt(quern_str_of(text), 0, n, &b);
    assert_true(b.len <= QUERN__EXCERPT_BYTES && b.len > QUERN__EXCERPT_BYTES - 20);
    assert_memory_equal(b.data + b.len - 3, "\xE2\x80\xA6", 3);
    assert_true(text[b.len - 3] == ' '); /* at a word's edge */
    quern__buf_clear(&b);
    for (size_t i = 0; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xC3\xA9", 2);
    text[1998] = '\0';
    quern__excerpt(quern_str_of(text), 0, 1998, &b);
    assert_true(b.len <= QUERN__EXCERPT_BYTES);
    assert_int_equal(quern_utf8_check((quern_str){b.data, b.len}), b.len);
    quern__buf_dispose(&b);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(the_nearest_first),           WORLD_TEST(ties_go_by_key),
        WORLD_TEST(what_is_gone_is_no_hit),      WORLD_TEST(the_best_chunk_stands_for_its_document),
        WORLD_TEST(a_floor_for_similarity),      WORLD_TEST(several_sources),
        WORLD_TEST(damaged_vectors_are_refused), WORLD_TEST(half_precision_finds_the_same),
        cmocka_unit_test(topk_is_sorting),       cmocka_unit_test(excerpts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
