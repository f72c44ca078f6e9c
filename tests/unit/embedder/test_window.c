/*
 * test_window.c — the sliding window on a clock of the test's own: whatever is asked when, no 60 seconds hold more than
 * the limits, and nothing is kept waiting that need not be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "embedder/window.h"

#define SECOND UINT64_C(1000000000)

typedef struct granted {
    uint64_t at, tokens;
} granted;

/* The most of both that any 60 seconds of the log hold. */
static void busiest(const granted *log, size_t n, uint64_t *requests, uint64_t *tokens)
{
    *requests = *tokens = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t r = 0, t = 0;
        for (size_t k = i; k < n && log[k].at - log[i].at < 60 * SECOND; k++) {
            r++;
            t += log[k].tokens;
        }
        *requests = QUERN__MAX(*requests, r);
        *tokens = QUERN__MAX(*tokens, t);
    }
}

static void never_too_many(void **state)
{
    enum { N = 4000 };
    static const uint64_t limits[][2] = {{100, 0}, {0, 5000}, {60, 900}, {1, 0}, {500, 2000}};
    granted *log = calloc(N, sizeof *log);
    quern__rng rng;
    (void)state;
    quern__rng_seed(&rng, 20261121);
    for (size_t c = 0; c < sizeof limits / sizeof *limits; c++) {
        quern__window w;
        uint64_t now = 17 * SECOND, requests, tokens, tries = 0;
        size_t n = 0;
        assert_int_equal(quern__window_init(&w, limits[c][0], limits[c][1], QUERN__MINUTE_NS, NULL),
                         0);
        while (n < (limits[c][0] == 1 ? 20 : N)) {
            uint64_t want = 1 + quern__rng_below(&rng, 40);
            uint64_t wait = quern__window_ask(&w, now, want);
            tries++;
            if (wait) { /* it is exact: a nanosecond less is still too early, after it there is room */
                uint64_t again = quern__window_ask(&w, now + wait - 1, want);
                assert_int_equal(again, 1);
                now += wait;
                assert_int_equal(quern__window_ask(&w, now, want), 0);
            }
            log[n++] = (granted){now, want};
            now += quern__rng_below(&rng, 4) ? quern__rng_below(&rng, 100000000) : 0;
        }
        busiest(log, n, &requests, &tokens);
        assert_true(!limits[c][0] || requests <= limits[c][0]);
        assert_true(!limits[c][1] || tokens <= limits[c][1]);
        assert_true(limits[c][0] != 100 || requests == 100); /* and all of it is used */
        quern__window_dispose(&w);
    }
    free(log);
}

static void put_right(void **state)
{
    quern__window w;
    (void)state;
    assert_int_equal(quern__window_init(&w, 100, 1000, QUERN__MINUTE_NS, NULL), 0);
    assert_int_equal(quern__window_ask(&w, 0, 900), 0);
    assert_int_equal(quern__window_ask(&w, SECOND, 200), 59 * SECOND);
    quern__window_correct(&w, 0, 100); /* it was much less */
    assert_int_equal(quern__window_ask(&w, SECOND, 200), 0);
    quern__window_correct(&w, w.number - 1, 950); /* and this much more */
    assert_int_equal(quern__window_ask(&w, 2 * SECOND, 1), 58 * SECOND);
    assert_int_equal(quern__window_ask(&w, 200 * SECOND, 5000), 0); /* alone in its minute */
    assert_int_equal(quern__window_ask(&w, 201 * SECOND, 1), 59 * SECOND);
    quern__window_correct(&w, 0, 7);    /* long gone */
    quern__window_correct(&w, 1000, 7); /* never was */
    assert_int_equal(w.sum, 5000);
    quern__window_dispose(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(never_too_many),
                                       cmocka_unit_test(put_right)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
