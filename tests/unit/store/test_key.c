/* test_key.c — keys as JSON: one spelling a value, there and back, and what is no key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "quern/sys/store.h"

static quern_value integer(int64_t v)
{
    return (quern_value){.type = QUERN_VALUE_INT, .integer = v};
}

static quern_value real(double v)
{
    return (quern_value){.type = QUERN_VALUE_REAL, .real = v};
}

static quern_value bytes(int type, const char *p, size_t n)
{
    return (quern_value){.type = type, .bytes = {p, n}};
}

static void round_trip(const quern_value *values, size_t n, const char *want)
{
    char *key = NULL, *storage = NULL;
    quern_value back[4];
    size_t got = 0;
    quern_error err;
    assert_int_equal(quern_key_encode(values, n, &key, &err), QUERN_OK);
    assert_string_equal(key, want);
    assert_int_equal(quern_key_decode(quern_str_of(key), back, 4, &got, &storage, &err), QUERN_OK);
    assert_int_equal(got, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(back[i].type, values[i].type);
        assert_true(back[i].integer == values[i].integer);
        assert_memory_equal(&back[i].real, &values[i].real, sizeof(double));
        assert_int_equal(back[i].bytes.len, values[i].bytes.len);
        if (back[i].bytes.len)
            assert_memory_equal(back[i].bytes.ptr, values[i].bytes.ptr, back[i].bytes.len);
    }
    quern_free(key);
    quern_free(storage);
}

static void there_and_back(void **state)
{
    (void)state;
    const quern_value one[] = {integer(42),
                               integer(INT64_MIN),
                               real(1.0),
                               real(-0.0),
                               real(0.1),
                               real(1e300),
                               bytes(QUERN_VALUE_TEXT, "a\"\n\0b", 5),
                               bytes(QUERN_VALUE_TEXT, "", 0),
                               bytes(QUERN_VALUE_TEXT, "\xc3\xa9", 2),
                               bytes(QUERN_VALUE_BLOB, "\x00\xff", 2),
                               bytes(QUERN_VALUE_BLOB, "", 0)};
    const char *const want[] = {"42",
                                "-9223372036854775808",
                                "1.0",
                                "-0.0",
                                "0.1",
                                "1e+300",
                                "\"a\\\"\\n\\u0000b\"",
                                "\"\"",
                                "\"\xc3\xa9\"",
                                "{\"blob\":\"00ff\"}",
                                "{\"blob\":\"\"}"};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        round_trip(&one[i], 1, want[i]);
    const quern_value pair[] = {integer(1), bytes(QUERN_VALUE_TEXT, "x", 1)};
    round_trip(pair, 2, "[1,\"x\"]");
}

static void what_is_no_key(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "null",
                                      "true",
                                      "[",
                                      "[1]",
                                      "[1,2,3,4,5]",
                                      "[1,[2]]",
                                      "1 2",
                                      "{\"x\":\"00\"}",
                                      "{\"blob\":1}",
                                      "{\"blob\":\"0\"}",
                                      "{}",
                                      "{\"blob\":\"0G\"}",
                                      "{\"blob\":\"00\",\"n\":1}",
                                      "99999999999999999999",
                                      "\"\\ud800\"",
                                      "\"a"};
    quern_value v[4];
    size_t n;
    char *storage, *key;
    quern_error err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(quern_key_decode(quern_str_of(bad[i]), v, 4, &n, &storage, &err),
                         QUERN_EFORMAT);
        assert_null(storage);
    }
    static char big[70000];
    memset(big, 'x', sizeof big);
    const quern_value never[] = {{.type = QUERN_VALUE_NULL},
                                 real(1e308 * 10),
                                 bytes(QUERN_VALUE_TEXT, "a\xff", 2),
                                 bytes(QUERN_VALUE_TEXT, big, sizeof big),
                                 bytes(QUERN_VALUE_BLOB, big, 40000)};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        assert_int_equal(quern_key_encode(&never[i], 1, &key, &err), QUERN_EFORMAT);
        assert_null(key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(there_and_back),
                                       cmocka_unit_test(what_is_no_key)};
    return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
