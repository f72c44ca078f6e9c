/* test_batches.c — which texts go together: three ways, three lists of calls for one input; limits; what is left over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "pipeline/batches.h"
#include "quern/pipeline.h"

enum { TEXTS = 203, MOST_TEXTS = 64, MOST_TOKENS = 4096 };

/* "40 40 …": how many texts each call has; every text is in one, in order. */
static void calls_of(const quern__batching *b, const uint32_t *tokens, size_t n, char *out,
                     size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t at = 0; at < n;) {
        size_t end = quern__batching_end(b, tokens, n, at, false);
        assert_true(end > at && end <= n && end - at <= b->texts);
        used += (size_t)snprintf(out + used, size - used, "%zu ", end - at);
        assert_true(used < size);
        at = end;
    }
}

static void one_input_three_lists(void **state)
{
    (void)state;
    uint32_t tokens[TEXTS];
    char fixed[400], dynamic[400], slow[400], quick[400];
    for (size_t i = 0; i < TEXTS; i++)
        tokens[i] = i % 10 == 9 ? 512 : 64;
    quern__batching b = quern__batching_of(QUERN_BATCHING_FIXED, 50, 0, MOST_TEXTS, MOST_TOKENS);
    calls_of(&b, tokens, TEXTS, fixed, sizeof fixed);
    assert_string_equal(fixed, "50 50 50 50 3 ");
    b = quern__batching_of(QUERN_BATCHING_DYNAMIC, 50, 1e6, MOST_TEXTS, MOST_TOKENS);
    calls_of(&b, tokens, TEXTS, dynamic, sizeof dynamic);
    assert_string_equal(dynamic, "40 40 40 40 43 "); /* three that are left go with the last */
    b = quern__batching_of(QUERN_BATCHING_ADAPTIVE, 50, 500e3, MOST_TEXTS, MOST_TOKENS);
    assert_int_equal(b.tokens, 1000); /* half a second of them */
    calls_of(&b, tokens, TEXTS, slow, sizeof slow);
    assert_string_not_equal(slow, dynamic);
    assert_string_not_equal(slow, fixed);
    b = quern__batching_of(QUERN_BATCHING_ADAPTIVE, 50, 10e3, MOST_TEXTS, MOST_TOKENS);
    calls_of(&b, tokens, TEXTS, quick, sizeof quick);
    assert_string_equal(quick, dynamic); /* no more than memory allows */
}

static void limits(void **state)
{
    (void)state;
    uint32_t tokens[MOST_TEXTS + 2];
    for (size_t i = 0; i < QUERN__COUNT(tokens); i++)
        tokens[i] = 1;
    static const double times[] = {0, 1e-300, 1, 1e6, 1e30};
    for (int how = QUERN_BATCHING_DYNAMIC; how <= QUERN_BATCHING_ADAPTIVE; how++)
        for (size_t i = 0; i < QUERN__COUNT(times); i++) {
            quern__batching b = quern__batching_of(how, 1000000, times[i], MOST_TEXTS, MOST_TOKENS);
            assert_true(b.texts == MOST_TEXTS);
            assert_true(how == QUERN_BATCHING_FIXED || (b.tokens && b.tokens <= MOST_TOKENS));
            assert_int_equal(quern__batching_end(&b, tokens, QUERN__COUNT(tokens), 0, false),
                             MOST_TEXTS);
            assert_int_equal(quern__batching_end(&b, tokens, 1, 0, true), 1);
        }
    quern__batching b = quern__batching_of(QUERN_BATCHING_FIXED, 0, 0, MOST_TEXTS, MOST_TOKENS);
    assert_int_equal(b.texts, 32);
    /* a text larger than the budget is a call */
    uint32_t large[] = {UINT32_MAX, UINT32_MAX, 1};
    b = quern__batching_of(QUERN_BATCHING_DYNAMIC, 0, 0, MOST_TEXTS, MOST_TOKENS);
    assert_int_equal(quern__batching_end(&b, large, 3, 0, false), 1);
    assert_int_equal(quern__batching_end(&b, large, 3, 1, false), 3); /* with the little one left */
    assert_int_equal(quern__batching_end(&b, large, 3, 1, true), 2);  /* unless others follow */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_input_three_lists),
                                       cmocka_unit_test(limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
