/*
 * unicode_bert.c — searches in the generated tables. Classes are one sorted list of boundaries (from
 * here on, these bits) with a first step by page of 256 code points, so that a lookup is a handful of
 * compares in a few KB that stay in cache. A flat byte per code point would be one load, but 1.1 MB or
 * a table to build at every open; the text of most languages spends its time in the vocabulary anyway.
 */
#include "text/unicode_bert.h"

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

struct bert_lower_run {
    uint32_t first;
    uint16_t count, stride;
    int32_t delta;
};
struct bert_pair {
    uint32_t from, to; /* to >= SEQUENCES: place in bert_sequences */
};
struct bert_rank {
    uint32_t first, last, rank;
};

#include "text/unicode_bert_tables.inc"

enum {
    SEQUENCES = 0x110000,
    HANGUL_FIRST = 0xAC00,
    HANGUL_COUNT = 11172,
    COMPAT_FIRST = 0xF900,
    COMPAT_COUNT = 0xFADA - 0xF900,
    COMPAT2_FIRST = 0x2F800,
    COMPAT2_COUNT = 0x2FA1E - 0x2F800,
    DOTTED_I = 0x130, /* the one capital whose small letter is two code points */
};

uint32_t quern__bert_class(uint32_t cp)
{
    size_t lo = bert_class_pages[QUERN__COUNT(bert_class_pages) - 1];
    size_t hi = QUERN__COUNT(bert_class_bounds) - 1;
    size_t page = cp >> 8;
    if (page + 1 < QUERN__COUNT(bert_class_pages)) {
        lo = bert_class_pages[page];
        hi = bert_class_pages[page + 1];
    }
    uint32_t key = cp << 8 | 0xFF;
    while (lo < hi) { /* the last boundary not above cp */
        size_t mid = (lo + hi + 1) / 2;
        if (bert_class_bounds[mid] <= key)
            lo = mid;
        else
            hi = mid - 1;
    }
    return bert_class_bounds[lo] & 0xFF;
}

/* An ideograph of the two compatibility blocks; false when cp is in neither. */
static bool compat(uint32_t cp, uint32_t *to)
{
    size_t at;
    if (cp >= COMPAT_FIRST && cp - COMPAT_FIRST < COMPAT_COUNT)
        at = cp - COMPAT_FIRST;
    else if (cp >= COMPAT2_FIRST && cp - COMPAT2_FIRST < COMPAT2_COUNT)
        at = COMPAT_COUNT + (cp - COMPAT2_FIRST);
    else
        return false;
    *to = bert_compat[at] ? bert_compat[at] : cp;
    return true;
}

uint32_t quern__bert_strip(uint32_t cp, uint32_t out[QUERN__BERT_PARTS])
{
    out[0] = cp;
    if (cp >= HANGUL_FIRST && cp - HANGUL_FIRST < HANGUL_COUNT) {
        uint32_t s = cp - HANGUL_FIRST;
        out[0] = 0x1100 + s / 588;
        out[1] = 0x1161 + s % 588 / 28;
        out[2] = 0x11A7 + s % 28;
        return s % 28 ? 3 : 2;
    }
    if (compat(cp, &out[0]))
        return 1;
    size_t lo = 0, hi = QUERN__COUNT(bert_pairs);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (bert_pairs[mid].from < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == QUERN__COUNT(bert_pairs) || bert_pairs[lo].from != cp)
        return 1;
    if (bert_pairs[lo].to < SEQUENCES) {
        out[0] = bert_pairs[lo].to;
        return 1;
    }
    const uint32_t *sequence = bert_sequences + (bert_pairs[lo].to - SEQUENCES);
    for (uint32_t i = 0; i < sequence[0]; i++)
        out[i] = sequence[1 + i];
    return sequence[0];
}

uint32_t quern__bert_lower(uint32_t cp, uint32_t out[QUERN__BERT_PARTS])
{
    out[0] = cp;
    if (cp == DOTTED_I) {
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    size_t lo = 0, hi = QUERN__COUNT(bert_lower_runs);
    while (lo < hi) { /* the first run that starts above cp */
        size_t mid = (lo + hi) / 2;
        if (bert_lower_runs[mid].first <= cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == 0)
        return 1;
    const struct bert_lower_run *run = &bert_lower_runs[lo - 1];
    uint32_t step = cp - run->first;
    if (step % run->stride == 0 && step / run->stride < run->count)
        out[0] = (uint32_t)((int32_t)cp + run->delta);
    return 1;
}

uint32_t quern__bert_rank(uint32_t cp)
{
    size_t lo = 0, hi = QUERN__COUNT(bert_ranks);
    while (lo < hi) { /* the first range that ends at or above cp */
        size_t mid = (lo + hi) / 2;
        if (bert_ranks[mid].last < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == QUERN__COUNT(bert_ranks) || cp < bert_ranks[lo].first)
        return 0;
    return bert_ranks[lo].rank;
}

const char *quern__bert_tables_version(void)
{
    return QUERN__BERT_TABLES_VERSION;
}
