/* test_template.c — the text template: what vanishes with what, escapes, and refusals by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "text/template.h"

/* Renders with one value a distinct column (NULL ends the list early) and compares. */
static void expect(const char *text, const char *const *values, const char *want)
{
    quern_error err;
    quern__template *t = NULL;
    assert_int_equal(quern__template_parse(&t, text, &err), QUERN_OK);
    quern_str v[16] = {{NULL, 0}};
    for (size_t i = 0; i < quern__template_count(t); i++)
        v[i] = quern_str_of(values[i]);
    quern__buf out;
    quern__buf_init(&out, 4096);
    quern__buf_puts(&out, "kept|");
    assert_int_equal(quern__template_render(t, v, &out, &err), QUERN_OK);
    assert_string_equal(out.data + 5, want);
    quern__buf_dispose(&out);
    quern__template_free(t);
}

static void literals_vanish(void **state)
{
    (void)state;
    const char *t = "Title: {title}. {body}";
    expect(t, (const char *[]){"Hen", "lays eggs"}, "Title: Hen. lays eggs");
    expect(t, (const char *[]){"Hen", ""}, "Title: Hen");
    expect(t, (const char *[]){"Hen", NULL}, "Title: Hen");
    expect(t, (const char *[]){"Hen", " \n\t"}, "Title: Hen");
    expect(t, (const char *[]){NULL, "lays eggs"}, "lays eggs");
    expect(t, (const char *[]){NULL, NULL}, "");
    expect("{a} ({b})", (const char *[]){"x", "y"}, "x (y)");
    expect("{a} ({b})", (const char *[]){"x", ""}, "x");
    expect("{a} ({b})", (const char *[]){"", "y"}, "(y)");
    expect("{a}. Note: {b}; {c}!", (const char *[]){"", "", "z"}, "z!");
    expect("{a}. Note: {b}", (const char *[]){"", "y"}, "Note: y");
    expect("- {a}", (const char *[]){"x"}, "- x"); /* the template begins with it: kept */
    expect("{a}{a}{b}", (const char *[]){"x", "y"}, "xxy");
    expect("{a}", (const char *[]){" x "}, " x ");
}

static void braces(void **state)
{
    (void)state;
    expect("{{{a}}}", (const char *[]){"x"}, "{x}");
    expect("}}{a}{{", (const char *[]){"x"}, "}x{");
    expect("{ Spaced Name }", (const char *[]){"x"}, "x");
}

static void refuse(const char *text, int64_t at, const char *word)
{
    quern_error err;
    quern__template *t = (quern__template *)&err;
    assert_int_equal(quern__template_parse(&t, text, &err), QUERN_EINVAL);
    assert_null(t);
    assert_int_equal(err.detail, at);
    assert_non_null(strstr(err.msg, word));
}

static void refusals(void **state)
{
    (void)state;
    refuse("", 0, "names no column");
    refuse("text", 0, "names no column");
    refuse("{{a}}", 0, "names no column");
    refuse("ab{title", 2, "not closed");
    refuse("ab{ti{tle}", 2, "not closed");
    refuse("ab{}", 2, "names no column");
    refuse("{a}b}", 4, "closes nothing");
    refuse("{a|b}", 0, "reserved");
    refuse("{a}\xff", 3, "UTF-8");
    char *big = quern__alloc(QUERN__TEMPLATE_BYTES + 2);
    memset(big, 'x', QUERN__TEMPLATE_BYTES + 1);
    big[QUERN__TEMPLATE_BYTES + 1] = '\0';
    refuse(big, QUERN__TEMPLATE_BYTES + 1, "at most");
    big[0] = '{';
    big[QUERN__TEMPLATE_NAME + 2] = '}';
    big[QUERN__TEMPLATE_NAME + 3] = '\0';
    refuse(big, 0, "column name of 129 bytes");
    big[0] = '\0';
    for (int i = 0; i <= QUERN__TEMPLATE_FIELDS; i++)
        memcpy(big + 3 * i, "{a}", 4);
    refuse(big, 3 * QUERN__TEMPLATE_FIELDS, "more than 256");
    quern__free(big);
}

static void columns(void **state)
{
    (void)state;
    quern_error err;
    quern__template *t = NULL;
    assert_int_equal(quern__template_parse(&t, "{b} {a} {b}", &err), QUERN_OK);
    assert_int_equal(quern__template_count(t), 2);
    assert_string_equal(quern__template_column(t, 0), "b");
    assert_string_equal(quern__template_columns(t)[1], "a");
    assert_null(quern__template_column(t, 2));
    assert_int_equal(quern__template_check(t, (const char *[]){"a", "c", "b"}, 3, &err), QUERN_OK);
    assert_int_equal(quern__template_check(t, (const char *[]){"b", "c"}, 2, &err),
                     QUERN_ENOTFOUND);
    assert_non_null(strstr(err.msg, "'a'"));
    assert_non_null(strstr(err.msg, "b, c"));
    quern__template_free(t);
    quern__template_free(NULL);
}

static void ceiling(void **state)
{
    (void)state;
    quern_error err;
    quern__template *t = NULL;
    assert_int_equal(quern__template_parse(&t, "{a}", &err), QUERN_OK);
    quern__buf out;
    quern__buf_init(&out, 8);
    quern_str v = quern_str_of("123456789");
    assert_int_equal(quern__template_render(t, &v, &out, &err), QUERN_ENOMEM);
    quern__buf_dispose(&out);
    quern__template_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_vanish), cmocka_unit_test(braces),  cmocka_unit_test(refusals),
        cmocka_unit_test(columns),         cmocka_unit_test(ceiling),
    };
    return cmocka_run_group_tests_name("template", tests, NULL, NULL);
}
