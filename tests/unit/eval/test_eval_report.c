/* test_eval_report.c — the report that gates a switch: what passes, what is missed by name, and everything that is no report. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "quern/eval.h"

#define HASH "7e1a604027c1da823692117f6402d285091fa5164384deb0bf69f4286b45341f"
#define HEAD                                                                                       \
    "{\"format\":\"quern-eval/1\",\"source\":\"books\",\"fingerprint\":\"" HASH "\",\"queries\":"  \
    "9,"

static quern_error err;

static int report(const char *json)
{
    memset(&err, 0, sizeof err);
    return quern_report_check(json, strlen(json), "books", HASH, &err);
}

static void what_is_reached_passes(void **state)
{
    (void)state;
    assert_int_equal(report(HEAD "\"metrics\":{\"recall@10\":0.9,\"mrr@10\":0},\"thresholds\":"
                                 "{\"recall@10\":0.9},\"passed\":true,\"more\":[{\"a\":null}]}"),
                     QUERN_OK);
    assert_int_equal(report(HEAD "\"metrics\":{\"r\":1},\"thresholds\":{\"r\":1},\"passed\":true}"),
                     QUERN_OK);
}

static void what_is_missed_is_named(void **state)
{
    (void)state;
    assert_int_equal(report(HEAD
                            "\"metrics\":{\"recall@10\":0.8991,\"mrr@10\":0.5,\"ndcg@10\":0.7},"
                            "\"thresholds\":{\"recall@10\":0.9,\"mrr@10\":0.5,\"ndcg@10\":0.8},"
                            "\"passed\":false}"),
                     QUERN_EMISMATCH);
    assert_string_equal(err.code, "gate_missed");
    assert_string_equal(err.msg,
                        "the report's ndcg@10 is 0.7000, below its threshold of 0.8000, and "
                        "1 more are missed");
}

static void other_reports_are_not_about_it(void **state)
{
    (void)state;
    char text[1000];
    static const char tail[] = "\"metrics\":{\"r\":1},\"thresholds\":{\"r\":1},\"passed\":true}";
    snprintf(text, sizeof text, HEAD "%s", tail);
    assert_int_equal(report(text), QUERN_OK);
    assert_int_equal(quern_report_check(text, strlen(text), "films", HASH, &err), QUERN_EMISMATCH);
    assert_null(err.code);
    assert_non_null(strstr(err.msg, "source books, not films"));
    *strstr(text, "7e1a") = '8';
    assert_int_equal(report(text), QUERN_EMISMATCH);
    assert_null(err.code);
    assert_non_null(strstr(err.msg, "fingerprint 8e1a60402"));
}

static void everything_else_is_no_report(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "x",
        "[]",
        "{}",
        "null",
        "{\"format\":\"quern-eval/1\"}",
        "{\"format\":\"quern-eval/2\",\"source\":\"books\",\"fingerprint\":\"" HASH "\"}",
        HEAD "\"metrics\":{\"r\":1},\"thresholds\":{},\"passed\":true}",
        HEAD "\"metrics\":{\"r\":1},\"thresholds\":{\"s\":1},\"passed\":true}",
        HEAD "\"metrics\":{\"r\":1.01},\"thresholds\":{\"r\":1},\"passed\":true}",
        HEAD "\"metrics\":{\"r\":1},\"thresholds\":{\"r\":-0.1},\"passed\":true}",
        HEAD "\"metrics\":{\"r\":\"1\"},\"thresholds\":{\"r\":1},\"passed\":true}",
        HEAD "\"metrics\":{\"r\":1e999},\"thresholds\":{\"r\":1},\"passed\":true}",
        HEAD "\"metrics\":{\"r\":NaN},\"thresholds\":{\"r\":1},\"passed\":true}",
        HEAD "\"metrics\":[1],\"thresholds\":{\"r\":1},\"passed\":true}",
        HEAD "\"metrics\":{\"r\":1,\"r\":1},\"thresholds\":{\"r\":1},\"passed\":true}",
        HEAD "\"metrics\":{\"r\":1},\"thresholds\":{\"r\":1},\"passed\":1}",
        HEAD "\"metrics\":{\"r\":1},\"thresholds\":{\"r\":1}}",
        HEAD "\"metrics\":{\"r\":1},\"thresholds\":{\"r\":1},\"passed\":false}",
        HEAD "\"metrics\":{\"r\":0},\"thresholds\":{\"r\":1},\"passed\":true}",
        HEAD "\"metrics\":{\"r\":1},\"thresholds\":{\"r\":1},\"passed\":true} x",
        HEAD "\"queries\":9,\"metrics\":{\"r\":1},\"thresholds\":{\"r\":1},\"passed\":true}",
        "{\"format\":\"quern-eval/1\",\"source\":\"books\",\"fingerprint\":\"" HASH
        "\",\"queries\":0,\"metrics\":{\"r\":1},\"thresholds\":{\"r\":1},\"passed\":true}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (report(bad[i]) != QUERN_EFORMAT)
            fail_msg("%s: %s", bad[i], err.msg);
        assert_true(err.msg[0] && !err.code);
    }
}

static void hostile_sizes_are_refused(void **state)
{
    (void)state;
    size_t n = QUERN_REPORT_BYTES + 1;
    char *text = malloc(n + 1);
    assert_non_null(text);
    memset(text, '[', n);
    text[n] = '\0';
    assert_int_not_equal(report(text), QUERN_OK);
    text[QUERN_REPORT_BYTES / 2] = '\0';
    assert_int_not_equal(report(text), QUERN_OK); /* depth */
    memset(text, ',', 100000);
    text[0] = '[';
    text[100000] = '\0';
    assert_int_not_equal(report(text), QUERN_OK); /* values */
    assert_int_not_equal(quern_report_check(HEAD "\0", sizeof HEAD, "books", HASH, &err), QUERN_OK);
    free(text);
    assert_int_equal(quern_report_check_file("/nowhere/at/all", "books", HASH, &err),
                     QUERN_ENOTFOUND);
    assert_int_not_equal(quern_report_check_file("/", "books", HASH, &err), QUERN_OK);
    assert_int_not_equal(quern_report_check_file("/dev/zero", "books", HASH, &err), QUERN_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_reached_passes),
        cmocka_unit_test(what_is_missed_is_named),
        cmocka_unit_test(other_reports_are_not_about_it),
        cmocka_unit_test(everything_else_is_no_report),
        cmocka_unit_test(hostile_sizes_are_refused),
    };
    return cmocka_run_group_tests_name("eval report", tests, NULL, NULL);
}
