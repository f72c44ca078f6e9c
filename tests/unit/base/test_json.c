/* The JSON reader with hostile input, the scan in front of jansson, the writer and the way back. */
#include "unit.h"

#include "base/alloc.h"
#include "base/json.h"
#include "base/rng.h"
#include "torture/torture.h"

/* Skips one document; QUERN_OK or the error's status. */
static int whole(const char *text, size_t len, quern_error *err)
{
    quern__json j;
    /* A copy of exactly len bytes, so that ASan sees a read past the end. */
    char *copy = malloc(len ? len : 1);
    memcpy(copy, text, len);
    quern__json_init(&j, copy, len, "doc.json");
    int rc = quern__json_skip(&j, err);
    if (rc == QUERN_OK)
        rc = quern__json_end(&j, err);
    quern__json_dispose(&j);
    free(copy);
    return rc;
}

static void test_valid(void **state)
{
    (void)state;
    static const char *const docs[] = {
        "{}",
        "[]",
        " [ ] ",
        "\t\r\n{\n}\n",
        "0",
        "-0",
        "-0.0e-0",
        "1E+2",
        "10.25",
        "true",
        "false",
        "null",
        "\"\"",
        "\"\\u0000\"",
        "\"\\ud83d\\ude00\"",
        "\"\xF0\x9F\x98\x80\"",
        "[1,[2,[3,{\"a\":[{}]}]]]",
        "{\"a\":1,\"a\":2}",
        "{\"\":\"\"}",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "123456789012345678901234567890",
        "\"\x7f\"",
        "[\"\xEF\xBF\xBF\"]",
    };
    quern_error err;
    for (size_t i = 0; i < sizeof docs / sizeof *docs; i++)
        if (whole(docs[i], strlen(docs[i]), &err) != QUERN_OK)
            fail_msg("%s: %s", docs[i], err.msg);
}

static void test_invalid(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t at; /* byte that the error names, -1: any */
    } docs[] = {
        {"", 0},
        {" ", 1},
        {"{", 1},
        {"[", 1},
        {"[1", 2},
        {"[1,", 3},
        {"[1,]", 3},
        {"[,1]", 1},
        {"{\"a\"}", 4},
        {"{\"a\":}", 5},
        {"{\"a\":1,}", 7},
        {"{a:1}", 1},
        {"{1:1}", 1},
        {"{\"a\" 1}", -1},
        {"[1 2]", 3},
        {"[1}", 2},
        {"{\"a\":1]", 6},
        {"1 2", 2},
        {"{}x", 2},
        {"01", 0},
        {"-", 0},
        {"+1", 0},
        {".5", 0},
        {"1.", 0},
        {"1e", 0},
        {"1e+", 0},
        {"-01", 0},
        {"0x10", 1},
        {"NaN", 0},
        {"Infinity", 0},
        {"tru", 0},
        {"True", 0},
        {"nul", 0},
        {"truex", 4},
        {"\"", 1},
        {"\"a", 2},
        {"\"\\", 1},
        {"\"\\x\"", 1},
        {"\"\\u12\"", 1},
        {"\"\\u12g4\"", 1},
        {"\"\\ud800\"", 1},
        {"\"\\ud800\\u0041\"", 1},
        {"\"\\udc00\"", 1},
        {"\"\\ud800\\ud800\"", 1},
        {"\"a\nb\"", 2},
        {"\"\x01\"", 1},
        {"\"\xff\"", 1},
        {"\"\xC0\x80\"", 1},
        {"\"\xED\xA0\x80\"", 1},
        {"\"\xF4\x90\x80\x80\"", 1},
        {"\"\xC3\"", 1},
        {"/**/1", 0},
        {"\xEF\xBB\xBF{}", 0},
        {"'a'", 0},
        {"[1]]", 3},
        {"{\"a\":1}}", 7},
    };
    quern_error err;
    for (size_t i = 0; i < sizeof docs / sizeof *docs; i++) {
        const char *text = docs[i].text;
        if (whole(text, strlen(text), &err) != QUERN_EFORMAT)
            fail_msg("accepted: %s", text);
        if (docs[i].at >= 0 && err.detail != docs[i].at)
            fail_msg("%s: at %lld: %s", text, (long long)err.detail, err.msg);
        assert_non_null(strstr(err.msg, "doc.json"));
        assert_non_null(strstr(err.msg, "at byte"));
    }
    assert_int_equal(whole("1\0", 2, &err), QUERN_EFORMAT);
    assert_int_equal(whole("\0", 1, &err), QUERN_EFORMAT);
}

static void test_depth(void **state)
{
    (void)state;
    quern_error err;
    char text[300];
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    assert_int_equal(whole(text, 128, &err), QUERN_OK);
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    assert_int_equal(whole(text, 130, &err), QUERN_EFORMAT);
    assert_non_null(strstr(err.msg, "64 levels"));
    char *bomb = malloc(1 << 20);
    memset(bomb, '[', 1 << 20);
    assert_int_equal(whole(bomb, 1 << 20, &err), QUERN_EFORMAT);
    free(bomb);
}

/* Every prefix of a document is refused, and every one-byte change ends in an answer. */
static void test_torn(void **state)
{
    (void)state;
    static const char doc[] = "{\"a\":[1,-2.5e3,\"x\\u00e9\\ud83d\\ude00\",true,null],\"b\":{}}";
    quern_error err;
    char copy[sizeof doc];
    for (size_t n = 0; n < sizeof doc - 1; n++)
        assert_int_equal(whole(doc, n, &err), QUERN_EFORMAT);
    for (size_t i = 0; i < sizeof doc - 1; i++)
        for (int c = 0; c < 256; c++) {
            memcpy(copy, doc, sizeof doc);
            copy[i] = (char)c;
            int rc = whole(copy, sizeof doc - 1, &err);
            assert_true(rc == QUERN_OK || rc == QUERN_EFORMAT);
        }
}

#define READ(text, call, want)                                                                     \
    do {                                                                                           \
        quern__json_init(&j, text, strlen(text), "n.json");                                        \
        assert_int_equal(call, want);                                                              \
        quern__json_dispose(&j);                                                                   \
    } while (0)

static void test_integers(void **state)
{
    (void)state;
    quern_error err;
    quern__json j;
    int64_t i;
    uint64_t u;
    READ("9223372036854775807", quern__json_i64(&j, &i, &err), QUERN_OK);
    assert_true(i == INT64_MAX);
    READ("-9223372036854775808", quern__json_i64(&j, &i, &err), QUERN_OK);
    assert_true(i == INT64_MIN);
    READ("9223372036854775808", quern__json_i64(&j, &i, &err), QUERN_EFORMAT);
    READ("-9223372036854775809", quern__json_i64(&j, &i, &err), QUERN_EFORMAT);
    READ("18446744073709551615", quern__json_u64(&j, &u, &err), QUERN_OK);
    assert_true(u == UINT64_MAX);
    READ("18446744073709551616", quern__json_u64(&j, &u, &err), QUERN_EFORMAT);
    READ("-1", quern__json_u64(&j, &u, &err), QUERN_EFORMAT);
    READ("-0", quern__json_u64(&j, &u, &err), QUERN_OK);
    assert_true(u == 0);
    READ("1.0", quern__json_i64(&j, &i, &err), QUERN_EFORMAT);
    READ("1e2", quern__json_u64(&j, &u, &err), QUERN_EFORMAT);
    READ("\"1\"", quern__json_i64(&j, &i, &err), QUERN_EFORMAT);
    READ("1000000000000000019884624838656", quern__json_u64(&j, &u, &err), QUERN_EFORMAT);
    assert_int_equal(err.detail, 0);
}

static void test_doubles(void **state)
{
    (void)state;
    quern_error err;
    quern__json j;
    double d;
    READ("1e-12", quern__json_double(&j, &d, &err), QUERN_OK);
    assert_true(d == 1e-12);
    READ("-2.5", quern__json_double(&j, &d, &err), QUERN_OK);
    assert_true(d == -2.5);
    READ("1000000000000000019884624838656", quern__json_double(&j, &d, &err), QUERN_OK);
    assert_true(d == 1000000000000000019884624838656.0);
    READ("1e999", quern__json_double(&j, &d, &err), QUERN_EFORMAT);
    READ("1e-999", quern__json_double(&j, &d, &err), QUERN_OK);
    assert_true(d == 0);
    READ("nan", quern__json_double(&j, &d, &err), QUERN_EFORMAT);
    char lengthy[5000];
    memset(lengthy, '3', sizeof lengthy - 1);
    lengthy[1] = '.';
    lengthy[sizeof lengthy - 1] = '\0';
    READ(lengthy, quern__json_double(&j, &d, &err), QUERN_OK);
    assert_true(d == 10.0 / 3);
}

static void test_pull(void **state)
{
    (void)state;
    static const char doc[] = "{\"name\":\"caf\\u00e9\",\"n\":[1,2,3],\"deep\":{\"x\":[{}]},"
                              "\"on\":true,\"plain\":\"abc\"}";
    quern_error err;
    quern__json j;
    quern_str key, s;
    int64_t sum = 0;
    int rc, seen = 0;
    quern__json_init(&j, doc, strlen(doc), "pull.json");
    assert_ok(err, quern__json_enter_object(&j, &err));
    while ((rc = quern__json_next_key(&j, &key, &err)) == 1) {
        seen++;
        if (quern__str_is(key, "name")) {
            assert_int_equal(quern__json_peek(&j), QUERN__JSON_STRING);
            assert_ok(err, quern__json_string(&j, &s, &err));
            assert_true(quern__str_is(s, "caf\xC3\xA9"));
        } else if (quern__str_is(key, "plain")) {
            assert_ok(err, quern__json_string(&j, &s, &err));
            assert_true(quern__str_is(s, "abc"));
            assert_true(s.ptr > doc && s.ptr < doc + sizeof doc); /* borrowed, not copied */
        } else if (quern__str_is(key, "n")) {
            assert_int_equal(quern__json_peek(&j), QUERN__JSON_ARRAY);
            assert_ok(err, quern__json_enter_array(&j, &err));
            while ((rc = quern__json_next_item(&j, &err)) == 1) {
                int64_t v;
                assert_ok(err, quern__json_i64(&j, &v, &err));
                sum += v;
            }
            assert_int_equal(rc, 0);
        } else {
            assert_ok(err, quern__json_skip(&j, &err));
        }
    }
    assert_int_equal(rc, 0);
    assert_ok(err, quern__json_end(&j, &err));
    assert_int_equal(quern__json_peek(&j), QUERN__JSON_END);
    assert_int_equal(sum, 6);
    assert_int_equal(seen, 5);
    quern__json_dispose(&j);
    /* Out of step: a programming error, told from a bad file. */
    quern__json_init(&j, "[1]", 3, "pull.json");
    assert_fails(QUERN_EINTERNAL, err, quern__json_next_key(&j, &key, &err));
    assert_ok(err, quern__json_enter_array(&j, &err));
    assert_fails(QUERN_EINTERNAL, err, quern__json_end(&j, &err));
    assert_fails(QUERN_EINTERNAL, err, quern__json_next_key(&j, &key, &err));
    quern__json_dispose(&j);
}

static void test_scan(void **state)
{
    (void)state;
    quern_error err;
    assert_ok(err, quern__json_scan("[1,2]", 5, 5, 1, 4, &err));
    assert_fails(QUERN_EFORMAT, err, quern__json_scan("[1,2]", 5, 4, 1, 4, &err));
    assert_fails(QUERN_EFORMAT, err, quern__json_scan("[1,2,3,4]", 9, 99, 1, 4, &err));
    assert_fails(QUERN_EFORMAT, err, quern__json_scan("[[1]]", 5, 99, 1, 99, &err));
    assert_int_equal(err.detail, 1);
    assert_ok(err, quern__json_scan("[[],[],[]]", 10, 99, 2, 99, &err));
    assert_ok(err, quern__json_scan("\"[[[[,,,,\\\"[[\"", 14, 99, 0, 1, &err));
    assert_ok(err, quern__json_scan("\"\\", 2, 99, 0, 1, &err)); /* torn: jansson's to refuse */
    assert_ok(err, quern__json_scan("]]]]", 4, 99, 0, 1, &err));
    assert_ok(err, quern__json_scan("", 0, 0, 0, 1, &err));
}

static void write_all_kinds(quern__buf *b)
{
    quern__jsonw w;
    quern__jsonw_init(&w, b);
    quern__jsonw_object(&w);
    quern__jsonw_key(&w, "a\"b");
    quern__jsonw_array(&w);
    quern__jsonw_i64(&w, INT64_MIN);
    quern__jsonw_u64(&w, UINT64_MAX);
    quern__jsonw_bool(&w, true);
    quern__jsonw_null(&w);
    quern__jsonw_float(&w, 0.1f);
    quern__jsonw_double(&w, 0.1);
    quern__jsonw_float(&w, 1.0f / 3);
    quern__jsonw_double(&w, 1e300 * 1e300);
    quern__jsonw_float(&w, -0.0f);
    quern__jsonw_end_array(&w);
    quern__jsonw_key(&w, "s");
    quern__jsonw_str(&w, (quern_str){"x\n\t\x01\0\"\\\xff\xC3\xA9", 10});
    quern__jsonw_key(&w, "o");
    quern__jsonw_object(&w);
    quern__jsonw_end_object(&w);
    quern__jsonw_key(&w, "r");
    quern__jsonw_raw(&w, "[1]", 3);
    quern__jsonw_key(&w, "e");
    quern__jsonw_str(&w, (quern_str){NULL, 0});
    quern__jsonw_end_object(&w);
}

static void test_write(void **state)
{
    (void)state;
    quern_error err;
    quern__buf b;
    quern__buf_init(&b, 1 << 20);
    write_all_kinds(&b);
    assert_ok(err, quern__buf_ok(&b, "json", &err));
    assert_string_equal(b.data,
                        "{\"a\\\"b\":[-9223372036854775808,18446744073709551615,true,null,0.1,0.1,"
                        "0.33333334,null,-0],\"s\":\"x\\n\\t\\u0001\\u0000\\\"\\\\\xEF\xBF\xBD"
                        "\xC3\xA9\",\"o\":{},\"r\":[1],\"e\":\"\"}");
    assert_int_equal(whole(b.data, b.len, &err), QUERN_OK);
    quern__buf_clear(&b);
    quern__jsonw w;
    quern__jsonw_init(&w, &b);
    for (int i = 0; i < 65; i++)
        quern__jsonw_array(&w);
    assert_fails(QUERN_ENOMEM, err, quern__buf_ok(&b, "json", &err));
    quern__buf_dispose(&b);
}

/* Any finite number comes back as itself, in the shortest of its forms. */
static void test_round_trip(void **state)
{
    (void)state;
    quern__rng r;
    quern_error err;
    quern__rng_seed(&r, 7);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = quern__rng_next(&r);
        uint32_t bits32 = (uint32_t)bits;
        double d, back;
        float f;
        quern__buf b;
        quern__jsonw w;
        quern__json j;
        memcpy(&d, &bits, sizeof d);
        memcpy(&f, &bits32, sizeof f);
        if (d - d != 0 || f - f != 0)
            continue;
        quern__buf_init(&b, 200);
        quern__jsonw_init(&w, &b);
        quern__jsonw_array(&w);
        quern__jsonw_double(&w, d);
        quern__jsonw_float(&w, f);
        quern__jsonw_end_array(&w);
        quern__json_init(&j, b.data, b.len, "r");
        assert_ok(err, quern__json_enter_array(&j, &err));
        assert_int_equal(quern__json_next_item(&j, &err), 1);
        assert_ok(err, quern__json_double(&j, &back, &err));
        assert_memory_equal(&back, &d, sizeof d);
        assert_int_equal(quern__json_next_item(&j, &err), 1);
        assert_ok(err, quern__json_double(&j, &back, &err));
        assert_true((float)back == f);
        quern__json_dispose(&j);
        quern__buf_dispose(&b);
    }
}

static int torture_body(void *ud, quern_error *err)
{
    static const char doc[] = "[\"\\u0041\\u0042\",3.333333333333333333333333333333333333333333333"
                              "33333333333333333333333333333333333333333333333333333333333333333333"
                              "333333333333333333333333333333,\"a\\n\"]";
    quern__json j;
    quern__buf b;
    quern_str s;
    double d;
    (void)ud;
    quern__buf_init(&b, 1 << 20);
    quern__json_init(&j, doc, strlen(doc), "t");
    int rc = quern__json_enter_array(&j, err);
    if (rc == QUERN_OK && (rc = quern__json_next_item(&j, err)) == 1)
        rc = quern__json_string(&j, &s, err);
    if (rc == QUERN_OK && (rc = quern__json_next_item(&j, err)) == 1)
        rc = quern__json_double(&j, &d, err);
    if (rc == QUERN_OK && (rc = quern__json_next_item(&j, err)) == 1)
        rc = quern__json_skip(&j, err);
    if (rc == QUERN_OK)
        write_all_kinds(&b);
    if (rc == QUERN_OK)
        rc = quern__buf_ok(&b, "json", err);
    quern__json_dispose(&j);
    quern__buf_dispose(&b);
    return rc;
}

static void test_torture(void **state)
{
    (void)state;
    assert_true(torture_run(torture_body, NULL) >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),    cmocka_unit_test(test_invalid),
        cmocka_unit_test(test_depth),    cmocka_unit_test(test_torn),
        cmocka_unit_test(test_integers), cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_pull),     cmocka_unit_test(test_scan),
        cmocka_unit_test(test_write),    cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_torture),
    };
    torture_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
