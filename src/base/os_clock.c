/* os_clock.c — the two clocks, sleeping, and RFC 3339 text. Wall time can be moved by tests. */
#define _GNU_SOURCE
#include "base/os.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

static int64_t (*wall_hook)(void *ud);
static void *wall_hook_ud;

uint64_t quern__now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int64_t quern__wall_ms(void)
{
    if (wall_hook)
        return wall_hook(wall_hook_ud);
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void quern__set_wall_clock(int64_t (*fn)(void *ud), void *ud)
{
    wall_hook = fn;
    wall_hook_ud = ud;
}

void quern__sleep_ms(uint32_t ms)
{
    struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ; /* what is left is in t */
}

int32_t quern__local_offset(int64_t at)
{
    time_t t = (time_t)at;
    struct tm local;
    return localtime_r(&t, &local) ? (int32_t)local.tm_gmtoff : 0;
}

/* Days to a date by the proleptic Gregorian calendar, in eras of 400 years that begin in March. */
void quern__rfc3339(int64_t unix_ms, char out[25])
{
    const int64_t day_ms = 86400000, lowest = -62135596800000, highest = 253402300799999;
    if (unix_ms < lowest)
        unix_ms = lowest; /* 0001-01-01 */
    if (unix_ms > highest)
        unix_ms = highest; /* 9999-12-31T23:59:59.999Z */
    int64_t days = unix_ms / day_ms, ms = unix_ms % day_ms;
    if (ms < 0) {
        ms += day_ms;
        days--;
    }
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    unsigned day = (unsigned)(doy - (153 * mp + 2) / 5 + 1);
    unsigned month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
    unsigned year = (unsigned)(yoe + era * 400 + (month <= 2));
    snprintf(out, 25, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", year % 10000, month % 100, day % 100,
             (unsigned)(ms / 3600000) % 100, (unsigned)(ms / 60000 % 60),
             (unsigned)(ms / 1000 % 60), (unsigned)(ms % 1000));
}
