/* test_words.c — what a word is to a text search, whatever the database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "text/utf8.h"
#include "text/words.h"

static void gives(const char *text, const char *want)
{
    quern__buf b;
    quern__buf_init(&b, QUERN__WORDS_BYTES);
    quern__words(quern_str_of(text), &b);
    assert_string_equal(b.data ? b.data : "", want);
    quern__buf_dispose(&b);
}

static void words_of(void **state)
{
    (void)state;
    gives("", "");
    gives(" \t.,;!? ", "");
    gives("Hello, World", "hello world");
    gives("don't re-use e-mail a.b@c.org", "don t re use e mail a b c org");
    gives("\xc3\x89t\xc3\xa9 \xc3\x9c"
          "BER na\xc3\xafve",
          "ete uber naive");
    gives("E\xcc\x81", "e"); /* a combining accent */
    gives("\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82, \xd0\xbc\xd0\xb8\xd1\x80",
          "\xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 \xd0\xbc\xd0\xb8\xd1\x80");
    gives("\xe4\xb8\xad\xe6\x96\x87x", "\xe4\xb8\xad \xe6\x96\x87 x");
    gives("3.14 007 a_b c\\d 'q' \"w\" (e|r) a&b !x <-> y:* $1",
          "3 14 007 a b c d q w e r a b x y 1");
    gives("NEAR(a b) OR NOT x* ^y -z", "near a b or not x y z");
    gives("a\xff\xfe"
          "b \xc3",
          "a b");
    gives("zero\xe2\x80\x8b"
          "width",
          "zerowidth");
}

static void long_ones_are_left_out(void **state)
{
    (void)state;
    size_t n = 3u << 20;
    char *text = malloc(n + 1);
    quern__buf b;
    assert_non_null(text);
    memset(text, 'x', n);
    text[n] = '\0';
    quern__buf_init(&b, QUERN__WORDS_BYTES);
    quern__words((quern_str){text, n}, &b);
    assert_int_equal(b.len, 0);
    memcpy(text + QUERN__WORD_BYTES, " y ", 3);
    quern__words((quern_str){text, n}, &b);
    assert_int_equal(b.len, QUERN__WORD_BYTES + 2);
    quern__buf_clear(&b);
    for (size_t i = 0; i < n; i += 2)
        text[i] = ' ';
    quern__words((quern_str){text, n}, &b);
    assert_int_equal(b.len, QUERN__WORDS_TEXT - 1);
    quern__buf_dispose(&b);
    free(text);
}

/* Whatever goes in: UTF-8 of letters, digits and non-ASCII comes out, between single spaces, and again the same. */
static void any_bytes(void **state)
{
    (void)state;
    quern__rng rng;
    quern__rng_seed(&rng, 3);
    for (int round = 0; round < 3000; round++) {
        char text[120];
        size_t n = quern__rng_below(&rng, sizeof text);
        for (size_t i = 0; i < n; i++)
            text[i] = (char)quern__rng_below(&rng, round % 2 ? 256 : 128);
        quern__buf b, again;
        quern__buf_init(&b, QUERN__WORDS_BYTES);
        quern__buf_init(&again, QUERN__WORDS_BYTES);
        quern__words((quern_str){text, n}, &b);
        assert_int_equal(quern__utf8_check(b.data ? b.data : "", b.len), b.len);
        for (size_t i = 0; i < b.len; i++) {
            unsigned char c = (unsigned char)b.data[i];
            assert_true(c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                        (c == ' ' && i && b.data[i - 1] != ' ' && i + 1 < b.len));
        }
        quern__words((quern_str){b.data, b.len}, &again);
        assert_int_equal(again.len, b.len);
        quern_str rest = {b.data, b.len}, word;
        size_t count = 0;
        while (quern__words_next(&rest, &word))
            count += word.len > 0 && word.len <= QUERN__WORD_BYTES;
        assert_true((count == 0) == (b.len == 0));
        quern__buf_dispose(&b);
        quern__buf_dispose(&again);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_of),
        cmocka_unit_test(long_ones_are_left_out),
        cmocka_unit_test(any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
