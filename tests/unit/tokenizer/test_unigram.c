/*
 * Unigram models: a tiny vocabulary written here; equality with the reference is the business of
 * test_tokenizer_families.py. What is looked at: memory that runs out at any point, maps that are damaged.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/os.h"
#include "tokenizer/tokenizer_draft.h"
#include "torture/torture.h"

static char *seed(void)
{
    char path[4096], *text;
    size_t size;
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/tokenizer_json/unigram-good.json",
             getenv("QUERN_ROOT"));
    assert_int_equal(quern__read_file(path, 1 << 20, &text, &size, NULL), QUERN_OK);
    return text;
}

static int open_and_tokenize(void *context, quern_error *err)
{
    static char text[4000];
    quern__tokenizer *t = NULL;
    quern__tokens tokens;
    quern__tokens_init(&tokens);
    memset(text, 'b', 600);
    static const char odd[] = " \xEF\xBC\xA1  \xC3\xA9 \xE4\xB8\xAD``<mask><unk>\xFF";
    memcpy(text + 200, odd, sizeof odd - 1);
    int rc = quern__tokenizer_from_json(&t, "t.json", quern_str_of(context), err);
    if (rc == QUERN_OK)
        rc = quern__tokenize(t, quern_str_of(text), 0, &tokens, err);
    if (rc == QUERN_OK)
        assert_true(tokens.n > 580);
    quern__tokens_dispose(&tokens);
    quern__tokenizer_free(t);
    return rc;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    char *json = seed();
    assert_true(torture_run(open_and_tokenize, json) > 10);
    quern__free(json);
}

/* Any four bytes of the map's trie overwritten: refused, or a tokenizer that stays in its bounds. */
static void damaged_maps_stay_in_bounds(void **state)
{
    (void)state;
    enum { UNITS = 300 };
    for (uint32_t at = 0; at < UNITS; at++)
        for (uint32_t value = 0; value < 3; value++) {
            static const uint32_t values[] = {0xFFFFFFFF, 0x7FFFFDFF, 0x00040161};
            char *bytes = quern__calloc(1, 4 + UNITS * 4 + 3);
            quern__charsmap map = {0};
            quern_str out = {NULL, 0};
            uint32_t size = UNITS * 4, first = 97u << 10;
            assert_non_null(bytes);
            memcpy(bytes, &size, 4);
            memcpy(bytes + 4, &first, 4); /* little-endian, as are all machines that this runs on */
            memcpy(bytes + 4 + (size_t)at * 4, &values[value], 4);
            memcpy(bytes + 4 + UNITS * 4, "xy", 3);
            if (!quern__charsmap_open(&map, bytes, 4 + UNITS * 4 + 3))
                for (int c = 0; c < 256; c++) {
                    char s[3] = {(char)c, 'a', (char)0x80};
                    if (quern__charsmap_find(&map, (quern_str){s, 3}, &out))
                        assert_true(out.len < 3);
                }
            quern__charsmap_dispose(&map);
        }
    quern__charsmap map = {0};
    static const char *const bad[] = {"",         "\1\0\0",        "\4\0\0\0",        "\3\0\0\0abc",
                                      "\0\0\0\0", "\x8\0\0\0abcd", "\4\0\0\0abcd\xFF"};
    static const size_t sizes[] = {0, 3, 4, 7, 4, 8, 9};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *bytes = quern__alloc(sizes[i]);
        assert_non_null(bytes);
        memcpy(bytes, bad[i], sizes[i]);
        assert_non_null(quern__charsmap_open(&map, bytes, sizes[i]));
        quern__charsmap_dispose(&map);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(damaged_maps_stay_in_bounds),
    };
    torture_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
