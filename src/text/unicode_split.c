/*
 * unicode_split.c — one sorted list of boundaries, entered by page, as in unicode_bert.c; ASCII, which
 * is most of what is asked, from a table of its own.
 */
#include "text/unicode_split.h"

#include <stddef.h>

#include "base/compiler.h"
#include "text/unicode_split_tables.inc"

#define L (QUERN__SPLIT_LETTER | QUERN__SPLIT_WORD)
#define N (QUERN__SPLIT_NUMBER | QUERN__SPLIT_WORD)
#define S QUERN__SPLIT_SPACE
#define W QUERN__SPLIT_WORD
static const uint8_t ascii[128] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, S, S, S, S, S, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    S, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, N, N, N, N, N, N, N, N, N, N, 0, 0, 0, 0, 0, 0,
    0, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, 0, 0, 0, 0, W,
    0, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, 0, 0, 0, 0, 0,
};
#undef L
#undef N
#undef S
#undef W

uint32_t quern__split_class(uint32_t cp)
{
    if (cp < 128)
        return ascii[cp];
    size_t lo = split_class_pages[QUERN__COUNT(split_class_pages) - 1];
    size_t hi = QUERN__COUNT(split_class_bounds) - 1;
    size_t page = cp >> 8;
    if (page + 1 < QUERN__COUNT(split_class_pages)) {
        lo = split_class_pages[page];
        hi = split_class_pages[page + 1];
    }
    uint32_t key = cp << 8 | 0xFF;
    while (lo < hi) { /* the last boundary not above cp */
        size_t mid = (lo + hi + 1) / 2;
        if (split_class_bounds[mid] <= key)
            lo = mid;
        else
            hi = mid - 1;
    }
    return split_class_bounds[lo] & 0xFF;
}

const char *quern__split_tables_version(void)
{
    return QUERN__SPLIT_TABLES_VERSION;
}
