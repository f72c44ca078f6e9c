/* test_pick.c — which documents a limited run takes: ages that revisions tell, and the choice against a plain one. */
#include "unit/pipeline/fill_world.h"

#include "base/compiler.h"
#include "pipeline/fill_pick.h"

static void ages(void **state)
{
    (void)state;
    static const struct {
        const char *revision;
        bool says, time;
        int64_t rank;
    } some[] = {
        {"2026-11-21", true, true, 1795219200000},
        {"2026-11-21T10:40", true, true, 1795257600000},
        {"2026-11-21 10:40:00", true, true, 1795257600000},
        {"2026-11-21T10:40:00.5Z", true, true, 1795257600500},
        {"2026-11-21 10:40:00.123456+00", true, true, 1795257600123},
        {"2026-11-21T12:40:00+02:00", true, true, 1795257600000},
        {"2026-11-21T05:10:00-0530", true, true, 1795257600000},
        {"1795257600", true, true, 1795257600000},
        {"1795257600123", true, true, 1795257600123},
        {"1795257600123456", true, true, 1795257600123},
        {"0", true, false, 0},
        {"42", true, false, 42},
        {"-7", true, false, -7},
        {"99999999", true, false, 99999999},
        {"", false, false, 0},
        {"r2", false, false, 0},
        {"-", false, false, 0},
        {"4.5", false, false, 0},
        {"2026-11", false, false, 0},
        {"2026-13-01", false, false, 0},
        {"2026-11-32", false, false, 0},
        {"2026-11-21T", false, false, 0},
        {"2026-11-21T10:40x", false, false, 0},
        {"2026-11-21T10:40:00+2", false, false, 0},
        {"1234567890123456789012345", false, false, 0},
    };
    for (size_t i = 0; i < QUERN__COUNT(some); i++) {
        int64_t rank = 0;
        bool time = false;
        bool says = quern__revision_age(quern_str_of(some[i].revision), &rank, &time);
        if (says != some[i].says || time != some[i].time || (says && rank != some[i].rank))
            fail_msg("%s: %d %d %lld", some[i].revision, says, time, (long long)rank);
    }
}

typedef struct row {
    int id;
    int64_t age;
} row;

static int by_age(const void *a, const void *b)
{
    const row *x = a, *y = b;
    return x->age != y->age ? (x->age > y->age) - (x->age < y->age)
                            : (x->id > y->id) - (x->id < y->id);
}

/* Of n rows with random ages, at most `most`: half of them the youngest behind `since`, the rest the oldest. */
static void one_choice(world *w, unsigned *seed, int n, size_t most, int64_t since)
{
    fill_pick *p = NULL;
    row *rows = calloc((size_t)n + 1, sizeof *rows);
    const quern_str *keys = NULL;
    size_t got = 0;
    assert_non_null(rows);
    check(w, quern__pick_new(&p, most, since, &w->err));
    for (int i = 0; i < n; i++) {
        char key[16], revision[24];
        *seed = *seed * 1664525U + 1013904223U;
        rows[i] = (row){i, 1700000000000 + (int64_t)(*seed >> 20)};
        snprintf(key, sizeof key, "%d", i);
        snprintf(revision, sizeof revision, "%lld", (long long)rows[i].age);
        check(w, quern__pick_offer(p, quern_str_of(key), quern_str_of(revision), &w->err));
        if (i % 300 == 299)
            check(w, quern__pick_weigh(p, w->s, "things", &w->err));
    }
    check(w, quern__pick_weigh(p, w->s, "things", &w->err));
    check(w, quern__pick_result(p, &keys, &got, &w->err));
    qsort(rows, (size_t)n, sizeof *rows, by_age);
    size_t at = 0, young = 0;
    while (young < most / 2 && young < (size_t)n && rows[(size_t)n - 1 - young].age >= since)
        assert_int_equal(atoi(keys[at++].ptr), rows[(size_t)n - 1 - young++].id);
    for (size_t i = 0; i < (size_t)n - young && at < most; i++)
        assert_int_equal(atoi(keys[at++].ptr), rows[i].id);
    assert_int_equal(got, at);
    assert_true(got == (most < (size_t)n ? most : (size_t)n));
    quern__pick_free(p);
    free(rows);
}

static void the_oldest_and_the_newest(void **state)
{
    (void)state;
    unsigned seed = 20261121;
    world *w = make_world();
    declare(w, "things", "rev", NULL);
    const int64_t all = INT64_MIN, some = 1700000003000, none = INT64_MAX;
    one_choice(w, &seed, 0, 10, all);
    one_choice(w, &seed, 1, 1, all);
    one_choice(w, &seed, 5, 10, all);
    one_choice(w, &seed, 10, 10, some);
    for (size_t most = 1; most < 40; most += 3)
        for (int n = 1; n < 2000; n = n * 3 + 1) {
            one_choice(w, &seed, n, most, all);
            one_choice(w, &seed, n, most, some);
            one_choice(w, &seed, n, most, none);
        }
    free_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ages),
        cmocka_unit_test(the_oldest_and_the_newest),
    };
    return cmocka_run_group_tests_name("pick", tests, NULL, NULL);
}
