/*
 * run_numbers.c — see run_numbers.h. Counts are stored signed, as both databases count; none comes near 2^63.
 */
#include "store/run_numbers.h"

#include <string.h>

#include "store/store.h"

void quern__run_to_numbers(const quern_run *run, int64_t out[QUERN__RUN_NUMBERS])
{
    const int64_t numbers[QUERN__RUN_NUMBERS] = {run->generation,
                                                 run->started_ms,
                                                 run->ended_ms,
                                                 run->status,
                                                 (int64_t)run->processed,
                                                 (int64_t)run->failed,
                                                 (int64_t)run->stale,
                                                 (int64_t)run->deleted,
                                                 (int64_t)run->chunks,
                                                 (int64_t)run->tokens,
                                                 (int64_t)run->calls,
                                                 (int64_t)run->cached,
                                                 (int64_t)run->cached_tokens,
                                                 (int64_t)run->cost_nano,
                                                 (int64_t)run->saved_nano};
    memcpy(out, numbers, sizeof numbers);
}

void quern__run_from_numbers(const int64_t in[QUERN__RUN_NUMBERS], quern_run *out)
{
    out->generation = in[0];
    out->started_ms = in[1];
    out->ended_ms = in[2];
    out->status = (int)in[3];
    out->processed = (uint64_t)in[4];
    out->failed = (uint64_t)in[5];
    out->stale = (uint64_t)in[6];
    out->deleted = (uint64_t)in[7];
    out->chunks = (uint64_t)in[8];
    out->tokens = (uint64_t)in[9];
    out->calls = (uint64_t)in[10];
    out->cached = (uint64_t)in[11];
    out->cached_tokens = (uint64_t)in[12];
    out->cost_nano = (uint64_t)in[13];
    out->saved_nano = (uint64_t)in[14];
}

void quern__run_to_usage(const quern_run *run, int64_t out[QUERN__USAGE_NUMBERS])
{
    const int64_t numbers[QUERN__USAGE_NUMBERS] = {run->started_ms / QUERN__DAY_MS,
                                                   1,
                                                   (int64_t)run->processed,
                                                   (int64_t)run->failed,
                                                   (int64_t)run->chunks,
                                                   (int64_t)run->calls,
                                                   (int64_t)run->tokens,
                                                   (int64_t)run->cached,
                                                   (int64_t)run->cached_tokens,
                                                   (int64_t)run->cost_nano,
                                                   (int64_t)run->saved_nano};
    memcpy(out, numbers, sizeof numbers);
}

void quern__usage_from_numbers(const int64_t in[QUERN__USAGE_NUMBERS], quern_usage *out)
{
    out->day_ms = in[0] * QUERN__DAY_MS;
    out->runs = (uint64_t)in[1];
    out->processed = (uint64_t)in[2];
    out->failed = (uint64_t)in[3];
    out->chunks = (uint64_t)in[4];
    out->calls = (uint64_t)in[5];
    out->tokens = (uint64_t)in[6];
    out->cached = (uint64_t)in[7];
    out->cached_tokens = (uint64_t)in[8];
    out->cost_nano = (uint64_t)in[9];
    out->saved_nano = (uint64_t)in[10];
}
