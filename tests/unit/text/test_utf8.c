/* UTF-8: Python's decode('utf-8', 'replace') decides what an ill-formed subpart is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text/utf8.h"

/* Decodes into code points; returns how many, or -1 when a step runs past the end. */
static int decode(const char *s, size_t len, uint32_t *out, bool *bad)
{
    /* A copy of exactly len bytes, so that ASan sees a read past the end. */
    char *copy = malloc(len ? len : 1);
    int n = 0;
    memcpy(copy, s, len);
    *bad = false;
    for (size_t at = 0; at < len; n++) {
        uint32_t step = quern__utf8_next(copy + at, len - at, &out[n], bad);
        if (step < 1 || step > len - at) {
            n = -1;
            break;
        }
        at += step;
    }
    free(copy);
    return n;
}

/* Expected values printed by Python 3.11. */
static void test_replacement(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        int count;
        uint32_t points[12];
    } cases[] = {
        {"a", 1, {'a'}},
        {"\xC3\xA9", 1, {0xE9}},
        {"\x80", 1, {0xFFFD}},
        {"\xBF\xBF", 2, {0xFFFD, 0xFFFD}},
        {"\xC0\x80", 2, {0xFFFD, 0xFFFD}},
        {"\xC1\xBF", 2, {0xFFFD, 0xFFFD}},
        {"\xC3", 1, {0xFFFD}},
        {"\xC3(", 2, {0xFFFD, '('}},
        {"\xE0\x80\x80", 3, {0xFFFD, 0xFFFD, 0xFFFD}},
        {"\xE0\x9F\xBF", 3, {0xFFFD, 0xFFFD, 0xFFFD}},
        {"\xE0\xA0\x80", 1, {0x800}},
        {"\xE2\x82", 1, {0xFFFD}},
        {"\xE2\x82(", 2, {0xFFFD, '('}},
        {"\xE2(\xAC", 3, {0xFFFD, '(', 0xFFFD}},
        {"\xED\x9F\xBF", 1, {0xD7FF}},
        {"\xED\xA0\x80", 3, {0xFFFD, 0xFFFD, 0xFFFD}},
        {"\xED\xBF\xBF", 3, {0xFFFD, 0xFFFD, 0xFFFD}},
        {"\xEE\x80\x80", 1, {0xE000}},
        {"\xEF\xBF\xBF", 1, {0xFFFF}},
        {"\xF0\x80\x80\x80", 4, {0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD}},
        {"\xF0\x8F\xBF\xBF", 4, {0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD}},
        {"\xF0\x90\x80\x80", 1, {0x10000}},
        {"\xF0\x9F\x98\x80", 1, {0x1F600}},
        {"\xF0\x9F\x98", 1, {0xFFFD}},
        {"\xF0\x9F\x98x", 2, {0xFFFD, 'x'}},
        {"\xF0\x9F\xF0\x9F\x98\x80", 2, {0xFFFD, 0x1F600}},
        {"\xF1\x80\x80\xC3\xA9", 2, {0xFFFD, 0xE9}},
        {"\xF4\x8F\xBF\xBF", 1, {0x10FFFF}},
        {"\xF4\x90\x80\x80", 4, {0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD}},
        {"\xF5\x80\x80\x80", 4, {0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD}},
        {"\xFE\xFF", 2, {0xFFFD, 0xFFFD}},
        /* The example of the Unicode standard, table 3-11. */
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", 5, {0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 'A'}},
        {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41",
         9,
         {0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 'A'}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t points[64];
        bool bad, want_bad = false;
        size_t len = strlen(cases[i].bytes);
        int n = decode(cases[i].bytes, len, points, &bad);
        if (n != cases[i].count)
            fail_msg("case %zu: %d code points, not %d", i, n, cases[i].count);
        for (int k = 0; k < n; k++) {
            assert_int_equal(points[k], cases[i].points[k]);
            want_bad |= cases[i].points[k] == 0xFFFD;
        }
        assert_int_equal(bad, want_bad);
        assert_int_equal(quern__utf8_check(cases[i].bytes, len) == len, !want_bad);
        assert_int_equal(quern__utf8_count(cases[i].bytes, len), n);
    }
}

static void test_every_code_point(void **state)
{
    (void)state;
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
        char bytes[4];
        uint32_t back;
        bool bad = false;
        if (cp == 0xD800)
            cp = 0xE000;
        uint32_t n = quern__utf8_put(bytes, cp);
        assert_int_equal(quern__utf8_next(bytes, n, &back, &bad), n);
        assert_int_equal(back, cp);
        assert_false(bad);
        assert_int_equal(quern__utf8_check(bytes, n), n);
    }
    /* U+FFFD that is really there is no fault. */
    uint32_t cp;
    bool bad = false;
    quern__utf8_next("\xEF\xBF\xBD", 3, &cp, &bad);
    assert_int_equal(cp, 0xFFFD);
    assert_false(bad);
}

/* Any two bytes and all lead bytes with edge followers: a surrogate or overlong form never passes. */
static void test_every_pair(void **state)
{
    (void)state;
    static const unsigned char edges[] = {0x00, 0x41, 0x7F, 0x80, 0x8F,
                                          0x90, 0x9F, 0xA0, 0xBF, 0xC2};
    for (int a = 0; a < 256; a++)
        for (int b = 0; b < 256; b++)
            for (size_t c = 0; c < sizeof edges; c++) {
                char s[4] = {(char)a, (char)b, (char)edges[c], (char)0x80};
                uint32_t points[8];
                bool bad;
                int n = decode(s, 4, points, &bad);
                assert_in_range(n, 1, 4);
                for (int k = 0; k < n; k++)
                    assert_true(points[k] <= 0x10FFFF &&
                                (points[k] < 0xD800 || points[k] > 0xDFFF));
                assert_int_equal(quern__utf8_check(s, 4) == 4, !bad);
            }
}

static void test_check_finds_the_byte(void **state)
{
    (void)state;
    char text[64];
    for (size_t at = 0; at < sizeof text; at++) {
        memset(text, 'x', sizeof text);
        text[at] = (char)0xFF;
        assert_int_equal(quern__utf8_check(text, sizeof text), at);
        text[at] = (char)0xC3; /* cut off by what follows, or by the end */
        assert_int_equal(quern__utf8_check(text, sizeof text), at);
    }
    assert_int_equal(quern__utf8_check("", 0), 0);
    assert_int_equal(quern__utf8_check(NULL, 0), 0);
}

static void test_floor(void **state)
{
    (void)state;
    static const char s[] = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z"; /* starts: 0 1 3 6 10 */
    static const size_t want[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11};
    for (size_t at = 0; at < sizeof want / sizeof *want; at++)
        assert_int_equal(quern__utf8_floor(s, 11, at), want[at]);
    /* Stray continuation bytes and torn sequences hold nothing together. */
    assert_int_equal(quern__utf8_floor("\x80\x80\x80\x80\x80", 5, 3), 3);
    assert_int_equal(quern__utf8_floor("\xF0\x9F\x98", 3, 2), 2);
    assert_int_equal(quern__utf8_floor("\xC3\xA9\xA9", 3, 2), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replacement), cmocka_unit_test(test_every_code_point),
        cmocka_unit_test(test_every_pair),  cmocka_unit_test(test_check_finds_the_byte),
        cmocka_unit_test(test_floor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
