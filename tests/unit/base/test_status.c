/* Status names and texts, the error struct's rules, log lines, cancellation. */
#include "unit.h"

#include <errno.h>
#include <signal.h>

#include "base/cancel.h"
#include "base/log.h"
#include "base/os.h"

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(quern_status_name(QUERN_OK), "OK");
    assert_string_equal(quern_status_name(QUERN_EFORMAT), "EFORMAT");
    assert_string_equal(quern_status_name(-999), "UNKNOWN");
    for (int s = 0; s >= QUERN_STATUS_LAST_; s--) {
        assert_string_not_equal(quern_status_name(s), "UNKNOWN");
        assert_true(strlen(quern_status_text(s)) > 3);
    }
    assert_string_equal(quern_status_name(QUERN_STATUS_LAST_ - 1), "UNKNOWN");
    assert_non_null(quern_status_text(7));
}

static void test_version(void **state)
{
    (void)state;
    char text[32];
    uint32_t v = quern_version();
    snprintf(text, sizeof text, "%u.%u.%u", v >> 16, v >> 8 & 255, v & 255);
    assert_string_equal(text, quern_version_string());
}

static void test_fail(void **state)
{
    (void)state;
    quern_error err = {.subject = 9};
    assert_int_equal(quern__fail(NULL, QUERN_EIO, 1, "x"), QUERN_EIO);
    assert_int_equal(quern__fail(&err, QUERN_EIO, 42, "%s: %d", "a", 7), QUERN_EIO);
    assert_int_equal(err.status, QUERN_EIO);
    assert_int_equal(err.detail, 42);
    assert_int_equal(err.subject, -1);
    assert_string_equal(err.msg, "a: 7");
    quern__fail(&err, QUERN_EFORMAT, 0, "outer (%s)", err.msg); /* its own text as an argument */
    assert_string_equal(err.msg, "outer (a: 7)");
    assert_int_equal(quern__blame(&err, QUERN_EFORMAT, 3), QUERN_EFORMAT);
    assert_int_equal(err.subject, 3);
    quern__blame(&err, QUERN_EFORMAT, SIZE_MAX);
    assert_int_equal(err.subject, INT32_MAX);
    assert_int_equal(quern__blame(NULL, QUERN_EIO, 1), QUERN_EIO);
}

static void test_codes(void **state)
{
    (void)state;
    quern_error err;
    quern__fail(&err, QUERN_EMISMATCH, 0, "x");
    assert_string_equal(quern_error_code(&err), "mismatch");
    assert_int_equal(quern__code(&err, QUERN_EMISMATCH, "index_stale"), QUERN_EMISMATCH);
    assert_string_equal(quern_error_code(&err), "index_stale");
    quern__fail(&err, QUERN_ETIMEOUT, 0, "y"); /* of another fault nothing is left */
    assert_string_equal(quern_error_code(&err), "timeout");
    assert_int_equal(quern__code(NULL, QUERN_EIO, "x"), QUERN_EIO);
    err.status = -999;
    assert_string_equal(quern_error_code(&err), "internal");
    assert_string_equal(quern_error_code(NULL), "ok");
}

static void test_deadline(void **state)
{
    (void)state;
    quern_cancel *c = NULL, *never = NULL;
    assert_int_equal(quern__cancel_new_deadline(&never, NULL, 3600000, NULL), QUERN_OK);
    assert_int_equal(quern__cancel_new_deadline(&c, never, 5, NULL), QUERN_OK);
    while (!quern_cancel_raised(c))
        ;
    assert_int_equal(quern__check_cancel(c, NULL), QUERN_ECANCELLED);
    assert_false(quern_cancel_raised(never));
    quern_cancel_free(c);
    quern_cancel_free(never);
}

static void test_fail_cleans(void **state)
{
    (void)state;
    quern_error err;
    quern__fail(&err, QUERN_EIO, 0, "%s", "a\nb\x1b[31m\x7f \xff\xc3 \xc3\xa9 \xc2\x85!");
    assert_string_equal(err.msg, "a?b?[31m? ?? \xc3\xa9 ?!");
}

/* A message longer than the struct is cut between code points, at every alignment. */
static void test_fail_cuts(void **state)
{
    (void)state;
    for (int shift = 0; shift < 4; shift++) {
        char text[1200];
        quern_error err;
        size_t n = (size_t)shift;
        memset(text, 'x', n);
        while (n + 4 < sizeof text) {
            memcpy(text + n, "\xF0\x9F\x98\x80", 4);
            n += 4;
        }
        text[n] = '\0';
        quern__fail(&err, QUERN_EIO, 0, "%s", text);
        size_t len = strlen(err.msg);
        assert_true(len > sizeof err.msg - 5 && len < sizeof err.msg);
        assert_int_equal((len - (size_t)shift) % 4, 0);
        assert_memory_equal(err.msg, text, len);
    }
}

static void test_fail_errno(void **state)
{
    (void)state;
    quern_error err;
    assert_int_equal(quern__fail_errno(&err, ENOENT, "%s: cannot open", "f"), QUERN_ENOTFOUND);
    assert_string_equal(err.msg, "f: cannot open: No such file or directory");
    assert_int_equal(err.detail, ENOENT);
    assert_int_equal(quern__fail_errno(&err, ENOMEM, "x"), QUERN_ENOMEM);
    assert_int_equal(quern__fail_errno(&err, EACCES, "x"), QUERN_EIO);
    assert_int_equal(quern__fail_errno(NULL, EACCES, "x"), QUERN_EIO);
    assert_int_equal(quern__fail_memory(&err, 77), QUERN_ENOMEM);
    assert_non_null(strstr(err.msg, "77"));
    assert_int_equal(quern__fail_memory(&err, 0), QUERN_ENOMEM);
}

static struct {
    int level, calls, code;
    char line[600], key[40];
} logged;

static void take_log(const quern_log_line *line, void *ud)
{
    assert_ptr_equal(ud, &logged);
    logged.level = line->level;
    logged.code = line->code;
    logged.calls++;
    snprintf(logged.line, sizeof logged.line, "%s: %s", line->component, line->message);
    snprintf(logged.key, sizeof logged.key, "%s", line->key ? line->key : "-");
}

static void test_log(void **state)
{
    (void)state;
    quern__log(QUERN_LOG_ERROR, "x", "nobody hears");
    quern_set_log(take_log, QUERN_LOG_INFO, &logged);
    quern__log(QUERN_LOG_DEBUG, "x", "too fine");
    assert_int_equal(logged.calls, 0);
    quern__log(QUERN_LOG_INFO, "shelf", "two\nlines %d", 5);
    assert_int_equal(logged.calls, 1);
    assert_int_equal(logged.level, QUERN_LOG_INFO);
    assert_string_equal(logged.line, "shelf: two?lines 5");
    char lengthy[2000];
    memset(lengthy, 'y', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = '\0';
    quern__log(QUERN_LOG_WARN, "c", "%s", lengthy);
    assert_true(strlen(logged.line) < 520);
    assert_string_equal(logged.key, "-");
    quern__log_item("fill", "notes", "[1,\"a\"]", QUERN_ETOOLONG, "too\nlong");
    assert_string_equal(logged.line, "fill: source notes: [1,\"a\"]: too?long (ETOOLONG)");
    assert_string_equal(logged.key, "[1,\"a\"]");
    assert_int_equal(logged.code, QUERN_ETOOLONG);
    quern_set_log(NULL, QUERN_LOG_DEBUG, NULL);
    quern__log(QUERN_LOG_ERROR, "x", "nobody hears");
    assert_int_equal(logged.calls, 3);
}

static quern_cancel *raised_by_signal;

static void on_signal(int number)
{
    (void)number;
    quern_cancel_raise(raised_by_signal);
}

static void test_cancel(void **state)
{
    (void)state;
    quern_error err;
    quern_cancel *c;
    assert_ok(err, quern_cancel_new(&c, &err));
    assert_false(quern_cancel_raised(c));
    assert_false(quern_cancel_raised(NULL));
    assert_int_equal(quern__check_cancel(NULL, &err), QUERN_OK);
    assert_int_equal(quern__check_cancel(c, &err), QUERN_OK);
    raised_by_signal = c;
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    assert_true(quern_cancel_raised(c));
    assert_fails(QUERN_ECANCELLED, err, quern__check_cancel(c, &err));
    quern_cancel_free(c);
    quern_cancel_free(NULL);
    quern_cancel_raise(NULL);
    assert_fails(QUERN_EINVAL, err, quern_cancel_new(NULL, &err));
}

static int64_t fixed_clock(void *ud)
{
    return *(int64_t *)ud;
}

static void test_clock(void **state)
{
    (void)state;
    int64_t fixed = 1234567890123;
    char text[25];
    quern__set_wall_clock(fixed_clock, &fixed);
    assert_int_equal(quern__wall_ms(), fixed);
    quern__rfc3339(fixed, text);
    assert_string_equal(text, "2009-02-13T23:31:30.123Z");
    quern__set_wall_clock(NULL, NULL);
    assert_true(quern__wall_ms() > 1700000000000);
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {4107542399999, "2100-02-28T23:59:59.999Z"},
        {4107542400000, "2100-03-01T00:00:00.000Z"},
        {-62135596800000, "0001-01-01T00:00:00.000Z"},
        {INT64_MIN, "0001-01-01T00:00:00.000Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        quern__rfc3339(cases[i].ms, text);
        assert_string_equal(text, cases[i].text);
    }
    uint64_t before = quern__now_ns();
    quern__sleep_ms(20);
    assert_true(quern__now_ns() - before >= 20000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),     cmocka_unit_test(test_version),
        cmocka_unit_test(test_fail),      cmocka_unit_test(test_codes),
        cmocka_unit_test(test_deadline),  cmocka_unit_test(test_fail_cleans),
        cmocka_unit_test(test_fail_cuts), cmocka_unit_test(test_fail_errno),
        cmocka_unit_test(test_log),       cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
