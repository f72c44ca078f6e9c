/* test_template.c — the text template: what vanishes with what, escapes, alternatives, rules, JSON, and refusals by byte. */
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
    refuse("{a|}", 0, "names no column");
    refuse("{|a}", 0, "names no column");
    refuse("{a|unless=}", 0, "names no column");
    refuse("x{a|unless=b|unless=c}", 1, "twice");
    refuse("{a|join=\"x\"|join=\"y\"}", 0, "twice");
    refuse("{a|sep=,}", 0, "no rule \"sep=,\"");
    refuse("{a|join=,}", 0, "no rule");
    refuse("{a|join=\"x}", 0, "not closed");
    refuse("{a|join=\"x\\q\"}", 10, "only");
    refuse("{a|join=\"x\"y}", 11, "missing");
    refuse("{a|join=\"x\"", 11, "missing");
    refuse("{a|b{c}", 0, "not closed");
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

/* The four parts of a clip, each there or not, in all 16 combinations: what is there, joined with ". ". */
static void every_combination(void **state)
{
    (void)state;
    static const char t[] = "Title: {title}. Broadcaster: {broadcaster}. Clipped by: "
                            "{creator|unless=broadcaster}. Game: {game}";
    static const char *const value[] = {"Big win", "ann", "bob", "Chess"};
    static const char *const said[] = {"Title: Big win", "Broadcaster: ann", "Clipped by: bob",
                                       "Game: Chess"};
    for (unsigned mask = 0; mask < 16; mask++) {
        const char *values[4];
        char want[200] = "";
        for (int i = 0; i < 4; i++) {
            values[i] = mask >> i & 1 ? value[i] : (mask + i) % 2 ? "" : NULL;
            if (mask >> i & 1)
                snprintf(want + strlen(want), sizeof want - strlen(want), "%s%s",
                         want[0] ? ". " : "", said[i]);
        }
        /* columns in order of first use: title, broadcaster, creator, game */
        expect(t, values, want);
    }
    expect(t, (const char *[]){"Big win", "ann", "ann", "Chess"},
           "Title: Big win. Broadcaster: ann. Game: Chess");
    expect(t, (const char *[]){"", "ann", "ann", ""}, "Broadcaster: ann");
    expect(t, (const char *[]){"", "ann", "Ann", ""}, "Broadcaster: ann. Clipped by: Ann");
}

static void alternatives(void **state)
{
    (void)state;
    expect("{a|b|c}", (const char *[]){"x", "y", "z"}, "x");
    expect("{a|b|c}", (const char *[]){" ", "y", "z"}, "y");
    expect("{a|b|c}", (const char *[]){NULL, "", "z"}, "z");
    expect("A: {a|b}; C: {c}", (const char *[]){NULL, NULL, "z"}, "C: z");
    expect("{a|b|unless=c}", (const char *[]){"", "y", "y"}, "");
    expect("{a|unless=c|b}", (const char *[]){"", "z", "y"}, "y"); /* in any order */
}

static void lists(void **state)
{
    (void)state;
    const char *t = "{a|join=\", \"}";
    expect(t, (const char *[]){"[\"x\", \"y\"]"}, "x, y");
    expect(t, (const char *[]){" [1, 2.50, true, null, \"\", \" \", {\"k\":1}, [2]] "},
           "1, 2.50, true, {\"k\":1}, [2]");
    expect(t, (const char *[]){"[]"}, "");
    expect(t, (const char *[]){"[null]"}, "");
    expect(t, (const char *[]){"[\"a\\u00e9\\n\"]"}, "a\xC3\xA9\n");
    expect(t, (const char *[]){"plain"}, "plain"); /* no array: as it is */
    expect(t, (const char *[]){"[\"x\", "}, "[\"x\", ");
    expect(t, (const char *[]){"[1] 2"}, "[1] 2");
    expect("{a}", (const char *[]){"[\"x\"]"}, "[\"x\"]"); /* and without the rule, too */
    expect("{a|join=\"|}\\n\\t\\\"\\\\\"}", (const char *[]){"[1,2]"}, "1|}\n\t\"\\2");
    expect("{a|b|join=\"+\"}{c}", (const char *[]){"[null]", "[1,2]", "!"}, "1+2!");
    expect("{a|join=\" \"} {b|join=\" \"} {c|join=\" \"}",
           (const char *[]){"[\"knows\"]", "[\"ann\",\"bob\"]", "[]"}, "knows ann bob");
    expect("{a|join=\",\"|unless=b}", (const char *[]){"[1,2]", "[1, 2]"}, "");
}

/* Names with dots before they are resolved: both columns are there, the name's own wins. */
static void paths(void **state)
{
    (void)state;
    const char *t = "{a.b}";
    expect(t, (const char *[]){"own", "{\"b\":\"in\"}"}, "own");
    expect(t, (const char *[]){NULL, "{\"b\":\"in\"}"}, "in");
    expect(t, (const char *[]){NULL, " {\"c\":[1,{\"b\":2}], \"b\" : \"\\u0069n\" } "}, "in");
    expect(t, (const char *[]){NULL, "{\"b\":1,\"b\":2}"}, "2");
    expect(t, (const char *[]){NULL, "{\"b\":-1.50e3}"}, "-1.50e3");
    expect(t, (const char *[]){NULL, "{\"b\":false}"}, "false");
    expect(t, (const char *[]){NULL, "{\"b\":null}"}, "");
    expect(t, (const char *[]){NULL, "{\"b\": {\"c\": [1, 2]}}"}, "{\"c\": [1, 2]}");
    expect(t, (const char *[]){NULL, "{\"b\":1}x"}, ""); /* not JSON */
    expect(t, (const char *[]){NULL, "{\"b\":1"}, "");
    expect(t, (const char *[]){NULL, "{\"b\":\"\\ud800\"}"}, "");
    expect(t, (const char *[]){NULL, "\"b\""}, "");
    expect("{a.x.y.1}", (const char *[]){NULL, "{\"x\":{\"y\":[7,8]}}"}, "8");
    expect("{a.0.k}", (const char *[]){NULL, "[{\"k\":\"v\"}]"}, "v");
    expect("{a.9}", (const char *[]){NULL, "[1]"}, "");
    expect("{a.b|join=\"-\"}", (const char *[]){NULL, "{\"b\":[1,[2],\"x\"]}"}, "1-[2]-x");
    expect("{a.message|message|msg}", (const char *[]){NULL, "{\"message\":\"\"}", "", "m"}, "m");
    expect("{a.b|unless=a.c}", (const char *[]){NULL, "{\"b\":\"x\",\"c\":\"x\"}", NULL}, "");
    expect("{.a}{a.}{a..b}", (const char *[]){"x", "y", "z"}, "xyz"); /* no paths */
}

static int only_ab(const char *name, void *ud)
{
    assert_non_null(ud);
    return strcmp(name, "a.b") == 0;
}

static int failing(const char *name, void *ud)
{
    (void)name;
    (void)ud;
    return QUERN_EIO;
}

static void resolved(void **state)
{
    (void)state;
    quern_error err;
    quern__template *t = NULL;
    assert_int_equal(quern__template_parse(&t, "{a.b} {a.c} {a} {d.e.f|unless=d}", &err), QUERN_OK);
    assert_int_equal(quern__template_count(t), 5); /* a.b a a.c d.e.f d */
    assert_int_equal(quern__template_resolve(t, failing, NULL), QUERN_EIO);
    assert_int_equal(quern__template_resolve(t, only_ab, t), QUERN_OK);
    assert_int_equal(quern__template_count(t), 3);
    assert_string_equal(quern__template_column(t, 0), "a.b");
    assert_string_equal(quern__template_column(t, 1), "a");
    assert_string_equal(quern__template_column(t, 2), "d");
    assert_false(quern__template_takes_json(t, 0));
    assert_true(quern__template_takes_json(t, 1));
    assert_true(quern__template_takes_json(t, 2));
    quern_str v[] = {quern_str_of("{\"c\":1}"), quern_str_of("{\"c\":2}"),
                     quern_str_of("{\"e\":{\"f\":3}}")};
    quern__buf out;
    quern__buf_init(&out, 4096);
    assert_int_equal(quern__template_render(t, v, &out, &err), QUERN_OK);
    assert_string_equal(out.data, "{\"c\":1} 2 {\"c\":2} 3");
    assert_true(out.len <= quern__template_bound(t, v));
    quern__buf_dispose(&out);
    assert_null(quern__template_unseen(t, (const bool[]){true, true, true}));
    assert_string_equal(quern__template_unseen(t, (const bool[]){true, false, true}), "a.c");
    quern__template_free(t);
}

/* Depth, length and number of elements cost no more than their bytes. */
static void hostile_json(void **state)
{
    (void)state;
    enum { SIZE = 4 << 20 };
    char *big = quern__alloc(SIZE + 1);
    memset(big, '[', SIZE);
    big[SIZE] = '\0';
    quern_error err;
    quern__template *t = NULL;
    quern__buf out;
    quern__buf_init(&out, 64 << 20);
    assert_int_equal(quern__template_parse(&t, "{a.0.0.0|join=\"--------\"}", &err), QUERN_OK);
    quern_str v[2] = {{NULL, 0}, {big, SIZE}};
    assert_int_equal(quern__template_render(t, v, &out, &err), QUERN_OK);
    assert_int_equal(out.len, 0); /* too deep: not JSON */
    quern__template_free(t);
    for (size_t i = 0; i < SIZE; i++)
        big[i] = i % 2 ? ',' : '1';
    big[0] = '[';
    big[1] = '1';
    big[SIZE - 1] = ']';
    assert_int_equal(quern__template_parse(&t, "{a|join=\"--------\"}", &err), QUERN_OK);
    v[0] = v[1];
    big[2] = ',';
    for (size_t i = 3; i < SIZE - 1; i++)
        big[i] = i % 2 ? '1' : ',';
    big[SIZE - 2] = '1';
    big[SIZE - 3] = ' ';
    assert_int_equal(quern__template_render(t, v, &out, &err), QUERN_OK);
    assert_true(out.len > SIZE);
    assert_true(out.len <= quern__template_bound(t, v));
    quern__buf_dispose(&out);
    quern__template_free(t);
    quern__free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_vanish), cmocka_unit_test(braces),
        cmocka_unit_test(refusals),        cmocka_unit_test(columns),
        cmocka_unit_test(ceiling),         cmocka_unit_test(every_combination),
        cmocka_unit_test(alternatives),    cmocka_unit_test(lists),
        cmocka_unit_test(paths),           cmocka_unit_test(resolved),
        cmocka_unit_test(hostile_json),
    };
    return cmocka_run_group_tests_name("template", tests, NULL, NULL);
}
