/*
 * cron.c — cron expressions: minute, hour, day of the month, month, day of the week, or a name such as @daily.
 *
 * As in cron, a day is meant when both of its fields say so; when neither begins with a star, one of them is enough.
 *
 * Times are local. Where the clock is put forward, what would have been in the hour that is left out comes at the end of
 * the gap; where it is put back, what is in the hour that comes twice comes once, the first time. An expression that
 * is for every hour goes by real time instead and knows neither. Rejected: trying minute after minute, which takes
 * millions of steps to the next 29th of February, and mktime, which says nothing about hours that are left out.
 */
#include "pipeline/cron.h"

#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/os.h"
#include "quern/work.h"

enum { DAY = 86400, MOST_DAYS = 41 * 366, LONGEST = 400 };

/* ---- the calendar: days since 1970-01-01 ---- */

typedef struct date {
    int64_t year;
    unsigned month, day, weekday;
} date;

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* In eras of 400 years that begin in March. */
static date date_of(int64_t days)
{
    int64_t z = days + 719468, era = floor_div(z, 146097), in_era = z - era * 146097;
    int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year + year / 4 - year / 100), m = (5 * in_year + 2) / 153;
    unsigned month = (unsigned)(m < 10 ? m + 3 : m - 9);
    return (date){.year = year + era * 400 + (month <= 2),
                  .month = month,
                  .day = (unsigned)(in_year - (153 * m + 2) / 5 + 1),
                  .weekday = (unsigned)((days % 7 + 11) % 7)};
}

/* ---- parsing ---- */

typedef struct field {
    const char *name;
    unsigned min, max;
    const char *words; /* three letters each, from min on */
} field;

static const field fields[5] = {{"minute", 0, 59, NULL},
                                {"hour", 0, 23, NULL},
                                {"day of the month", 1, 31, NULL},
                                {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
                                {"day of the week", 0, 7, "sunmontuewedthufrisat"}};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A number or a name; false: neither, or out of bounds. */
static bool take_value(const field *f, const char **at, unsigned *value)
{
    const char *p = *at;
    if (is_digit(*p)) {
        unsigned n = 0;
        for (; is_digit(*p); p++)
            n = n > 999 ? n : n * 10 + (unsigned)(*p - '0');
        *at = p;
        *value = n;
        return n >= f->min && n <= f->max;
    }
    for (size_t i = 0; f->words && f->words[3 * i]; i++) {
        const char *w = f->words + 3 * i;
        if (lower(p[0]) == w[0] && lower(p[1]) == w[1] && lower(p[2]) == w[2]) {
            *at = p + 3;
            *value = f->min + (unsigned)i;
            return true;
        }
    }
    return false;
}

/* One item of a list: *, a, a-b, each with /step but a single value. */
static bool take_item(const field *f, const char **at, uint64_t *bits)
{
    unsigned from = f->min, to = f->max, step = 1;
    bool range = **at == '*';
    if (range) {
        ++*at;
    } else {
        if (!take_value(f, at, &from))
            return false;
        to = from;
        if (**at == '-') {
            ++*at;
            range = true;
            if (!take_value(f, at, &to) || to < from)
                return false;
        }
    }
    if (**at == '/') {
        const field any = {f->name, 1, 999, NULL};
        ++*at;
        if (!range || !is_digit(**at) || !take_value(&any, at, &step))
            return false;
    }
    for (unsigned v = from; v <= to; v += step)
        *bits |= (uint64_t)1 << v;
    return true;
}

static int parse_field(const field *f, const char *text, size_t len, uint64_t *bits,
                       quern_error *err)
{
    char word[LONGEST + 1];
    snprintf(word, sizeof word, "%.*s", (int)len, text);
    const char *at = word;
    bool ok = true;
    *bits = 0;
    do {
        ok = take_item(f, &at, bits);
    } while (ok && *at == ',' && *++at);
    if (ok && *at == '\0' && at[-1] != ',')
        return QUERN_OK;
    return quern__fail(
        err, QUERN_EINVAL, at - word,
        "cron: '%.60s' is no %s: %u to %u%s, a-b, */n, a-b/n, or a list of them with "
        "commas",
        word, f->name, f->min, f->max, f->words ? ", a name of three letters" : "");
}

/* Is there a month that has one of the days? */
static bool comes_round(const quern__cron *c)
{
    static const uint8_t longest[13] = {0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (!c->any_day && !c->any_weekday)
        return true; /* each week has the day of the week */
    for (unsigned m = 1; m <= 12; m++)
        if (c->months >> m & 1 && c->days & (((uint32_t)2 << longest[m]) - 1))
            return true;
    return false;
}

static const char *spelt_out(const char *name)
{
    static const struct {
        const char *name, *text;
    } names[] = {{"@hourly", "0 * * * *"},  {"@daily", "0 0 * * *"},   {"@midnight", "0 0 * * *"},
                 {"@weekly", "0 0 * * 0"},  {"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"},
                 {"@annually", "0 0 1 1 *"}};
    for (size_t i = 0; i < QUERN__COUNT(names); i++)
        if (strcmp(name, names[i].name) == 0)
            return names[i].text;
    return NULL;
}

int quern__cron_parse(quern__cron *c, const char *text, quern_error *err)
{
    uint64_t bits[5] = {0};
    bool star[5] = {false};
    memset(c, 0, sizeof *c);
    const char *at = text[0] == '@' ? spelt_out(text) : text;
    if (!at)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "cron: there is no %.40s: @hourly, @daily, @weekly, @monthly, @yearly",
                           text);
    if (strlen(at) > LONGEST)
        return quern__fail(err, QUERN_EINVAL, (int64_t)strlen(at),
                           "cron: an expression of %zu bytes; at most %d", strlen(at), LONGEST);
    size_t n = 0;
    for (at += strspn(at, " \t"); *at; at += strspn(at, " \t"), n++) {
        size_t len = strcspn(at, " \t");
        int rc = n < 5 ? parse_field(&fields[n], at, len, &bits[n], err) : QUERN_OK;
        if (rc != QUERN_OK)
            return rc;
        if (n < 5)
            star[n] = *at == '*';
        at += len;
    }
    if (n != 5)
        return quern__fail(err, QUERN_EINVAL, (int64_t)n,
                           "cron: '%.80s' has %zu fields, not 5: minute, hour, day of the month, "
                           "month, day of the week",
                           text, n);
    *c = (quern__cron){.minutes = bits[0],
                       .hours = (uint32_t)bits[1],
                       .days = (uint32_t)bits[2],
                       .months = (uint32_t)bits[3],
                       .weekdays = (uint32_t)((bits[4] | bits[4] >> 7) & 127),
                       .any_hour = bits[1] == 0xffffff,
                       .any_day = star[2],
                       .any_weekday = star[4]};
    if (!comes_round(c))
        return quern__fail(err, QUERN_EINVAL, 0,
                           "cron: '%.80s' never comes: none of its months has such a day", text);
    return QUERN_OK;
}

/* ---- the next time ---- */

static bool is_day(const quern__cron *c, int64_t days)
{
    date d = date_of(days);
    bool day = c->days >> d.day & 1, weekday = c->weekdays >> d.weekday & 1;
    if (!(c->months >> d.month & 1))
        return false;
    return c->any_day || c->any_weekday ? day && weekday : day || weekday;
}

/* The first instant at which the clock on the wall shows `local`, or where it leaves that out, the end of the gap. */
static int64_t instant_of(int64_t local, quern__offset_fn offset, void *ud)
{
    int64_t before = offset(local - DAY, ud), after = offset(local + DAY, ud);
    int64_t first = local - QUERN__MAX(before, after), second = local - QUERN__MIN(before, after);
    if (first + offset(first, ud) == local)
        return first;
    if (second + offset(second, ud) == local)
        return second;
    while (second - first > 1) { /* the change is behind `first`, and not behind `second` */
        int64_t middle = first + (second - first) / 2;
        if (offset(middle, ud) == after)
            second = middle;
        else
            first = middle;
    }
    return second;
}

static int64_t local_day(int64_t at, quern__offset_fn offset, void *ud)
{
    return floor_div(at + offset(at, ud), DAY);
}

/* Within one day that is meant; -1: none of its times is behind `after`. */
static int64_t next_by_the_wall(const quern__cron *c, int64_t day, int64_t after,
                                quern__offset_fn offset, void *ud)
{
    for (unsigned h = 0; h < 24; h++) {
        for (unsigned m = 0; m < 60 && c->hours >> h & 1; m++) {
            if (!(c->minutes >> m & 1))
                continue;
            int64_t at = instant_of(day * DAY + h * 3600 + m * 60, offset, ud);
            if (at > after)
                return at;
        }
    }
    return -1;
}

static int64_t next_by_real_time(const quern__cron *c, int64_t day, int64_t after,
                                 quern__offset_fn offset, void *ud)
{
    int64_t at = QUERN__MAX(instant_of(day * DAY, offset, ud), (floor_div(after, 60) + 1) * 60);
    for (; local_day(at, offset, ud) == day; at += 60)
        if (c->minutes >> (floor_div(at + offset(at, ud), 60) % 60) & 1)
            return at;
    return -1;
}

int64_t quern__cron_next(const quern__cron *c, int64_t after, quern__offset_fn offset, void *ud)
{
    int64_t day = local_day(after, offset, ud);
    for (int i = 0; i < MOST_DAYS; i++, day++) {
        int64_t at = -1;
        if (is_day(c, day))
            at = (c->any_hour ? next_by_real_time : next_by_the_wall)(c, day, after, offset, ud);
        if (at >= 0)
            return at;
    }
    return INT64_MAX / 2000; /* not reached: what never comes is refused */
}

static int32_t here(int64_t at, void *ud)
{
    (void)ud;
    return quern__local_offset(at);
}

int quern_cron_next(const char *expression, int64_t after_ms, int64_t *next_ms, quern_error *err)
{
    quern__cron c;
    QUERN__REQUIRE(expression && next_ms, err);
    QUERN__REQUIRE(after_ms >= 0 && after_ms < INT64_C(253402300800000), err);
    int rc = quern__cron_parse(&c, expression, err);
    if (rc == QUERN_OK)
        *next_ms = 1000 * quern__cron_next(&c, after_ms / 1000, here, NULL);
    return rc;
}
