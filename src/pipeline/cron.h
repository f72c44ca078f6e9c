/*
 * cron.h — times of a cron expression. A pure calculation: what the local time is at an instant is asked of a function, so
 * that tests may bring time zones of their own.
 */
#ifndef QUERN_PIPELINE_CRON_H
#define QUERN_PIPELINE_CRON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Which values of each field are meant, as bits. */
typedef struct quern__cron {
    uint64_t minutes;
    uint32_t hours, days, months; /* days from 1, months from 1 */
    uint32_t weekdays;            /* Sunday is 0 */
    bool any_hour;                /* every hour: real time, not the clock on the wall */
    bool any_day, any_weekday;    /* the field begins with a star */
} quern__cron;

/* Seconds that local time is ahead of UTC at that instant (Unix seconds). */
typedef int32_t (*quern__offset_fn)(int64_t at, void *ud);

/* EINVAL says what is wrong with the expression; one that never comes round is refused, too. */
int quern__cron_parse(quern__cron *c, const char *text, quern_error *err);
/* The first instant behind `after` (Unix seconds) for which the expression holds. */
int64_t quern__cron_next(const quern__cron *c, int64_t after, quern__offset_fn offset, void *ud);

#endif
