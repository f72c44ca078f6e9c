/* test_filter.c — conditions on metadata: what they hold for, and input that is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "search/filter.h"

static const quern_value null = {.type = QUERN_VALUE_NULL};

static quern_value number(int64_t i)
{
    return (quern_value){.type = QUERN_VALUE_INT, .integer = i};
}

static quern_value real(double d)
{
    return (quern_value){.type = QUERN_VALUE_REAL, .real = d};
}

static quern_value text(const char *s)
{
    return (quern_value){.type = QUERN_VALUE_TEXT, .bytes = quern_str_of(s)};
}

static bool holds(const char *json, quern_value v)
{
    quern_error err = {0};
    quern__filter *f = NULL;
    const quern_value *columns[QUERN__FILTER_TERMS];
    if (quern__filter_parse(&f, json, &err) != QUERN_OK)
        fail_msg("%s: %s", json, err.msg);
    for (size_t i = 0; i < quern__filter_count(f); i++)
        columns[i] = &v;
    bool yes = quern__filter_matches(f, columns);
    quern__filter_free(f);
    return yes;
}

static void equality_and_lists(void **state)
{
    (void)state;
    assert_true(holds("{}", null));
    assert_true(holds("{\"a\":\"x\"}", text("x")));
    assert_false(holds("{\"a\":\"x\"}", text("xy")));
    assert_false(holds("{\"a\":\"\"}", null));
    assert_true(holds("{\"a\":null}", null));
    assert_false(holds("{\"a\":null}", text("")));
    assert_true(holds("{\"a\":[\"x\",7,null]}", number(7)));
    assert_true(holds("{\"a\":[\"x\",7,null]}", null));
    assert_false(holds("{\"a\":[]}", text("x")));
    assert_true(holds("{\"a\":{\"in\":[1,2]}}", number(2)));
    assert_true(holds("{\"a\":{\"eq\":1}}", number(1)));
    assert_true(holds("{\"a\":{\"ne\":1}}", text("x")));
    assert_false(holds("{\"a\":{\"ne\":1}}", number(1)));
    assert_false(holds("{\"a\":{\"ne\":1}}", null));
    assert_true(holds("{\"a\":{\"ne\":null}}", number(1)));
    assert_true(holds("{\"a\":true}", number(1)));
    assert_true(holds("{\"a\":true}", text("true")));
    assert_true(holds("{\"a\":false}", text("false")));
    assert_false(holds("{\"a\":false}", text("no")));
    assert_true(holds("{\"a\":\"1\"}", text("1")));
    assert_false(holds("{\"a\":\"1\"}", number(1)));
    assert_true(holds("{\"a\":\"\\u00e9\"}", text("\xc3\xa9")));
}

static void ranges(void **state)
{
    (void)state;
    assert_true(holds("{\"a\":{\"gte\":3,\"lt\":5}}", number(3)));
    assert_true(holds("{\"a\":{\"gte\":3,\"lt\":5}}", real(4.999)));
    assert_false(holds("{\"a\":{\"gte\":3,\"lt\":5}}", number(5)));
    assert_true(holds("{\"a\":{\"gt\":3,\"lte\":5}}", number(5)));
    assert_false(holds("{\"a\":{\"gt\":3}}", number(3)));
    assert_false(holds("{\"a\":{\"gt\":3}}", text("x")));
    assert_false(holds("{\"a\":{\"gt\":3}}", null));
    assert_false(holds("{\"a\":{\"gt\":\"3\"}}", number(9)));
    assert_true(holds("{\"a\":{\"gte\":\"2020-01\"}}", text("2020-01-01T00:00:00Z")));
    assert_false(holds("{\"a\":{\"lt\":\"2020-01\"}}", text("2020-01")));
    assert_false(holds("{\"a\":{\"gte\":0}}", real(NAN)));
    assert_false(holds("{\"a\":{\"lt\":0}}", real(NAN)));
    assert_true(holds("{\"a\":{\"lt\":0}}", real(-INFINITY)));
}

/* Whole numbers that no double can hold, numbers that came as text. */
static void numbers_are_exact(void **state)
{
    (void)state;
    assert_true(holds("{\"a\":9007199254740993}", number(9007199254740993)));
    assert_false(holds("{\"a\":9007199254740993}", number(9007199254740992)));
    assert_false(holds("{\"a\":9007199254740993}", real(9007199254740992.0)));
    assert_true(holds("{\"a\":{\"lt\":1e30}}", number(INT64_MAX)));
    assert_true(holds("{\"a\":{\"gt\":-1e30}}", number(INT64_MIN)));
    assert_true(holds("{\"a\":{\"lt\":0.5}}", number(0)));
    assert_true(holds("{\"a\":{\"gt\":-0.5}}", number(0)));
    assert_true(holds("{\"a\":{\"lt\":-0.5}}", number(-1)));
    assert_true(holds("{\"a\":1.5}", text("1.50")));
    assert_true(holds("{\"a\":{\"gte\":10}}", text("10")));
    assert_true(holds("{\"a\":{\"gte\":9}}", text("10")));
    assert_false(holds("{\"a\":7}", text("7 apples")));
    assert_false(holds("{\"a\":7}", text("")));
    assert_true(holds("{\"a\":9223372036854775807}", number(INT64_MAX)));
}

static void what_is_no_filter(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "x",
                                      "[]",
                                      "7",
                                      "{",
                                      "{\"a\"}",
                                      "{\"a\":}",
                                      "{\"a\":1,}",
                                      "{\"a\":{\"like\":\"x\"}}",
                                      "{\"a\":{\"gt\":null}}",
                                      "{\"a\":{\"gt\":[1]}}",
                                      "{\"a\":{\"in\":1}}",
                                      "{\"a\":[[1]]}",
                                      "{\"a\":[{}]}",
                                      "{\"a\":1} x",
                                      "{\"a\":1e999}",
                                      "{\"a\":\"\xff\"}",
                                      "{\"a\":\"\\ud800\"}",
                                      "{'a':1}",
                                      "{\"a\":{\"eq\":{}}}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        quern_error err = {0};
        quern__filter *f = (quern__filter *)&err;
        assert_int_equal(quern__filter_parse(&f, bad[i], &err), QUERN_EINVAL);
        assert_null(f);
        assert_int_equal(err.status, QUERN_EINVAL);
        assert_true(strncmp(err.msg, "filter", 6) == 0);
    }
}

static void no_end_of_conditions(void **state)
{
    (void)state;
    enum { ROOM = 1 << 21 };
    char *json = malloc(ROOM);
    quern__filter *f = NULL;
    assert_non_null(json);
    size_t n = 0;
    json[n++] = '{';
    for (int i = 0; i <= QUERN__FILTER_TERMS; i++)
        n += (size_t)snprintf(json + n, ROOM - n, "%s\"c%d\":1", i ? "," : "", i);
    snprintf(json + n, ROOM - n, "}");
    assert_int_equal(quern__filter_parse(&f, json, NULL), QUERN_EINVAL);
    n = (size_t)snprintf(json, ROOM, "{\"a\":[0");
    for (int i = 0; i < 10000; i++)
        n += (size_t)snprintf(json + n, ROOM - n, ",%d", i);
    snprintf(json + n, ROOM - n, "]}");
    assert_int_equal(quern__filter_parse(&f, json, NULL), QUERN_EINVAL);
    memset(json, ' ', ROOM - 1);
    json[ROOM - 1] = '\0';
    assert_int_equal(quern__filter_parse(&f, json, NULL), QUERN_EINVAL);
    free(json);
    assert_null(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equality_and_lists),   cmocka_unit_test(ranges),
        cmocka_unit_test(numbers_are_exact),    cmocka_unit_test(what_is_no_filter),
        cmocka_unit_test(no_end_of_conditions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
