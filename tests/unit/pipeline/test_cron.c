/* test_cron.c — cron expressions: known times, summer time and back, what is refused, and every minute tried for some. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "base/os.h"
#include "pipeline/cron.h"
#include "quern/work.h"

/* ---- time zones ---- */

static int32_t utc(int64_t at, void *ud)
{
    (void)at;
    (void)ud;
    return 0;
}

static int32_t nepal(int64_t at, void *ud)
{
    (void)at;
    (void)ud;
    return 20700;
}

/* 2026-03-29 and 2026-10-25, 01:00 UTC each */
static int32_t berlin(int64_t at, void *ud)
{
    (void)ud;
    return at >= 1774746000 && at < 1792890000 ? 7200 : 3600;
}

/* Half an hour of summer time: +11 until 2026-04-05 02:00 local, +10:30 until 2026-10-04 02:00 local */
static int32_t lord_howe(int64_t at, void *ud)
{
    (void)ud;
    return at >= 1775314800 && at < 1791041400 ? 37800 : 39600;
}

/* Midnight is left out: 2018-11-04 00:00 becomes 01:00 */
static int32_t sao_paulo(int64_t at, void *ud)
{
    (void)ud;
    return at >= 1541300400 ? -7200 : -10800;
}

/* ---- known times ---- */

static int64_t instant(const char *text)
{
    int y, mo, d, h, m, s;
    assert_int_equal(sscanf(text, "%d-%d-%dT%d:%d:%d", &y, &mo, &d, &h, &m, &s), 6);
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    int64_t days = 365 * (int64_t)(y - 1970) + (y - 1969) / 4 - (y - 1901) / 100 + (y - 1601) / 400;
    days += before[mo - 1] + d - 1 + (leap && mo > 2);
    return days * 86400 + h * 3600 + m * 60 + s;
}

static const struct {
    const char *expression;
    quern__offset_fn zone;
    const char *after, *next; /* UTC */
} known[] = {
    {"* * * * *", utc, "2026-11-21T10:20:30", "2026-11-21T10:21:00"},
    {"* * * * *", utc, "2026-11-21T10:20:00", "2026-11-21T10:21:00"},
    {"@hourly", utc, "2026-12-31T23:00:00", "2027-01-01T00:00:00"},
    {"@daily", utc, "2026-11-21T10:20:30", "2026-11-22T00:00:00"},
    {"@midnight", utc, "2026-11-21T10:20:30", "2026-11-22T00:00:00"},
    {"@weekly", utc, "2026-11-21T10:20:30", "2026-11-22T00:00:00"},
    {"@monthly", utc, "2026-11-21T10:20:30", "2026-12-01T00:00:00"},
    {"@yearly", utc, "2026-11-21T10:20:30", "2027-01-01T00:00:00"},
    {"@annually", utc, "2027-01-01T00:00:00", "2028-01-01T00:00:00"},
    {"  30\t4 * * *  ", utc, "2026-11-21T04:30:00", "2026-11-22T04:30:00"},
    {"*/15 * * * *", utc, "2026-11-21T10:45:00", "2026-11-21T11:00:00"},
    {"7-59/20 * * * *", utc, "2026-11-21T10:28:00", "2026-11-21T10:47:00"},
    {"5,10-12,50-58/4 * * * *", utc, "2026-11-21T10:12:00", "2026-11-21T10:50:00"},
    {"5,10-12,50-58/4 * * * *", utc, "2026-11-21T10:54:59", "2026-11-21T10:58:00"},
    {"0 0-23/6 * * *", utc, "2026-11-21T18:00:00", "2026-11-22T00:00:00"},
    /* days: Feb 29, months of 30 days, weekdays by number and by name, Sunday twice */
    {"0 0 29 2 *", utc, "2026-11-21T00:00:00", "2028-02-29T00:00:00"},
    {"0 0 29 2 *", utc, "2096-02-29T00:00:00", "2104-02-29T00:00:00"},
    {"0 0 29 2 */7", utc, "2026-11-21T00:00:00", "2032-02-29T00:00:00"}, /* and a Sunday */
    {"0 0 31 * *", utc, "2026-11-01T00:00:00", "2026-12-31T00:00:00"},
    {"0 0 31 4,6,7 *", utc, "2026-11-01T00:00:00", "2027-07-31T00:00:00"},
    {"0 9 * * mon-FRI", utc, "2026-11-20T09:00:00", "2026-11-23T09:00:00"},
    {"0 9 * * 7", utc, "2026-11-21T09:00:00", "2026-11-22T09:00:00"},
    {"0 9 * * 0", utc, "2026-11-21T09:00:00", "2026-11-22T09:00:00"},
    {"0 9 * * 5-7", utc, "2026-11-21T09:00:00", "2026-11-22T09:00:00"},
    {"0 9 * Jan,DEC *", utc, "2026-11-21T09:00:00", "2026-12-01T09:00:00"},
    /* both fields of the day: one is enough; with a star both must hold */
    {"0 0 13 * fri", utc, "2026-11-21T00:00:00", "2026-11-27T00:00:00"},
    {"0 0 13 * fri", utc, "2026-12-12T00:00:00", "2026-12-13T00:00:00"},
    {"0 0 30 2 mon", utc, "2026-11-21T00:00:00", "2027-02-01T00:00:00"},
    {"0 0 */2 * mon", utc, "2026-11-21T00:00:00", "2026-11-23T00:00:00"},
    /* zones */
    {"0 6 * * *", nepal, "2026-11-21T00:00:00", "2026-11-21T00:15:00"},
    {"0 6 * * *", nepal, "2026-11-21T00:15:00", "2026-11-22T00:15:00"},
    {"15 * * * *", nepal, "2026-11-21T00:00:00", "2026-11-21T00:30:00"},
    {"0 12 * * *", berlin, "2026-03-28T12:00:00", "2026-03-29T10:00:00"},
    /* what is left out comes at the end of the gap, once */
    {"30 2 * * *", berlin, "2026-03-28T12:00:00", "2026-03-29T01:00:00"},
    {"15,45 2 * * *", berlin, "2026-03-29T01:00:00", "2026-03-30T00:15:00"},
    {"0 2,3 * * *", berlin, "2026-03-29T01:00:00", "2026-03-30T00:00:00"},
    {"30 2 29 3 *", berlin, "2026-01-01T00:00:00", "2026-03-29T01:00:00"},
    {"@daily", sao_paulo, "2018-11-03T12:00:00", "2018-11-04T03:00:00"},
    {"10 2 * * *", lord_howe, "2026-10-03T10:00:00", "2026-10-03T15:30:00"},
    /* what comes twice comes the first time */
    {"30 2 * * *", berlin, "2026-10-24T12:00:00", "2026-10-25T00:30:00"},
    {"30 2 * * *", berlin, "2026-10-25T00:30:00", "2026-10-26T01:30:00"},
    {"30 2 * * *", berlin, "2026-10-25T01:10:00", "2026-10-26T01:30:00"},
    {"45 1 * * *", lord_howe, "2026-04-04T10:00:00", "2026-04-04T14:45:00"},
    {"45 1 * * *", lord_howe, "2026-04-04T14:45:00", "2026-04-05T15:15:00"},
    /* every hour is real time */
    {"30 * * * *", berlin, "2026-10-25T00:30:00", "2026-10-25T01:30:00"},
    {"30 * * * *", berlin, "2026-10-25T01:30:00", "2026-10-25T02:30:00"},
    {"30 * * * *", berlin, "2026-03-29T00:30:00", "2026-03-29T01:30:00"},
    {"*/30 * * * *", lord_howe, "2026-04-04T14:30:00", "2026-04-04T15:00:00"},
};

static void known_times(void **state)
{
    (void)state;
    for (size_t i = 0; i < QUERN__COUNT(known); i++) {
        quern__cron c;
        quern_error err = {0};
        if (quern__cron_parse(&c, known[i].expression, &err) != QUERN_OK)
            fail_msg("%s: %s", known[i].expression, err.msg);
        int64_t next = quern__cron_next(&c, instant(known[i].after), known[i].zone, NULL);
        if (next != instant(known[i].next)) {
            char text[25];
            quern__rfc3339(next * 1000, text);
            fail_msg("%s after %s: %s, not %s", known[i].expression, known[i].after, text,
                     known[i].next);
        }
    }
}

static void what_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *expression, *saying;
    } wrong[] = {
        {"", "0 fields"},
        {"* * * *", "4 fields"},
        {"* * * * * *", "6 fields"},
        {"60 * * * *", "no minute: 0 to 59"},
        {"* 24 * * *", "no hour: 0 to 23"},
        {"* * 0 * *", "no day of the month: 1 to 31"},
        {"* * 32 * *", "no day of the month"},
        {"* * * 13 *", "no month: 1 to 12, a name"},
        {"* * * * 8", "no day of the week"},
        {"* * * * fun", "no day of the week"},
        {"* * * jan-* *", "no month"},
        {"5-1 * * * *", "no minute"},
        {"*/0 * * * *", "no minute"},
        {"5/2 * * * *", "no minute"},
        {"*/ * * * *", "no minute"},
        {"1,,2 * * * *", "no minute"},
        {"1, * * * *", "no minute"},
        {",1 * * * *", "no minute"},
        {"-1 * * * *", "no minute"},
        {"1.5 * * * *", "no minute"},
        {"99999999999999999999 * * * *", "no minute"},
        {"@reboot", "there is no @reboot"},
        {"0 0 30 2 *", "never comes"},
        {"0 0 31 2,4,6,9,11 *", "never comes"},
        {"0 0 31 4 */2", "never comes"},
    };
    for (size_t i = 0; i < QUERN__COUNT(wrong); i++) {
        int64_t next = 7;
        quern_error err = {0};
        assert_int_equal(quern_cron_next(wrong[i].expression, 0, &next, &err), QUERN_EINVAL);
        assert_int_equal(next, 7);
        if (!strstr(err.msg, wrong[i].saying))
            fail_msg("'%s': \"%s\" does not say \"%s\"", wrong[i].expression, err.msg,
                     wrong[i].saying);
    }
    char endless[3000];
    memset(endless, ' ', sizeof endless);
    memset(endless, '1', 2900);
    memcpy(endless + sizeof endless - 9, "* * * *", 8);
    quern__cron c;
    assert_int_equal(quern__cron_parse(&c, endless, NULL), QUERN_EINVAL);
}

/* ---- every minute of two years tried ---- */

static int matches(const quern__cron *c, int64_t at)
{
    char text[25];
    int y, mo, d, h, m;
    quern__rfc3339(at * 1000, text);
    assert_int_equal(sscanf(text, "%d-%d-%dT%d:%d", &y, &mo, &d, &h, &m), 5);
    int weekday = (int)((at / 86400 + 4) % 7);
    int day = c->days >> d & 1, week = c->weekdays >> weekday & 1;
    return (c->minutes >> m & 1) && (c->hours >> h & 1) && (c->months >> mo & 1) &&
           (c->any_day || c->any_weekday ? day && week : day || week);
}

static void as_trying_every_minute(void **state)
{
    (void)state;
    static const char *const some[] = {"*/7 3-20/5 * * *", "13 13 13,31 * *", "0 12 1 */3 sat",
                                       "59 23 28-31 feb,apr *", "5 */2 * * 1-3"};
    int64_t from = instant("2027-06-01T00:00:00"), to = instant("2028-03-02T00:00:00");
    for (size_t i = 0; i < QUERN__COUNT(some); i++) {
        quern__cron c;
        assert_int_equal(quern__cron_parse(&c, some[i], NULL), QUERN_OK);
        int64_t next = quern__cron_next(&c, from - 1, utc, NULL);
        for (int64_t at = from; at < to; at += 60) {
            if (!matches(&c, at))
                continue;
            assert_int_equal(next, at);
            next = quern__cron_next(&c, at, utc, NULL);
        }
        assert_true(next >= to);
    }
}

static void local_time_is_the_process_own(void **state)
{
    (void)state;
    int64_t next = 0, now = 1795257600000; /* 2026-11-21T10:40:00Z */
    assert_int_equal(quern_cron_next("41 10 * * *", now, &next, NULL), QUERN_OK);
    int64_t local = next / 1000 + quern__local_offset(next / 1000);
    assert_int_equal(local % 86400, 10 * 3600 + 41 * 60);
    assert_true(next > now && next <= now + 25 * INT64_C(3600000));
    assert_int_equal(quern_cron_next("* * * * *", -1, &next, NULL), QUERN_EINVAL);
    assert_int_equal(quern_cron_next(NULL, 0, &next, NULL), QUERN_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_times),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(as_trying_every_minute),
        cmocka_unit_test(local_time_is_the_process_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
