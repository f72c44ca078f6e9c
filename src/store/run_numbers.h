/*
 * run_numbers.h — a run of fill and a day's sums as the rows that both stores keep of them: numbers in one order, which
 * is that of the columns named here. A column more is written in this file, in its .c and in a migration.
 */
#ifndef QUERN_STORE_RUN_NUMBERS_H
#define QUERN_STORE_RUN_NUMBERS_H

#include <stdint.h>

#include "quern/store.h"

#define QUERN__RUN_COLUMNS                                                                         \
    "generation, started_ms, ended_ms, status, processed, failed, stale, deleted, chunks, tokens," \
    " calls, cached, cached_tokens, cost, saved"
#define QUERN__USAGE_COLUMNS                                                                       \
    "day, runs, processed, failed, chunks, calls, tokens, cached, cached_tokens, cost, saved"
enum { QUERN__RUN_NUMBERS = 15, QUERN__USAGE_NUMBERS = 11 };

/* All but the source's name and the error. */
void quern__run_to_numbers(const quern_run *run, int64_t out[QUERN__RUN_NUMBERS]);
void quern__run_from_numbers(const int64_t in[QUERN__RUN_NUMBERS], quern_run *out);
/* What a run adds to its day. */
void quern__run_to_usage(const quern_run *run, int64_t out[QUERN__USAGE_NUMBERS]);
void quern__usage_from_numbers(const int64_t in[QUERN__USAGE_NUMBERS], quern_usage *out);

#endif
