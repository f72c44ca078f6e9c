/*
 * unicode_grapheme.c — the rules GB3 to GB11 of UAX #29 as a state of a few bits, over one sorted list of
 * boundaries as in unicode_bert.c.
 */
#include "text/unicode_grapheme.h"

#include <stddef.h>

#include "base/compiler.h"
#include "text/unicode_grapheme_tables.inc"

enum group {
    OTHER,
    CONTROL,
    EXTEND,
    EXTEND_CONJUNCT, /* stands between the consonants of a conjunct */
    LINKER,
    SPACING,
    PREPEND,
    PICTURE,
    CONSONANT,
    LEAD,
    VOWEL,
    TRAIL,
    SYLLABLE, /* Hangul; CLOSED when it has a trailing consonant */
    CLOSED,
};

static uint32_t group_of(uint32_t cp)
{
    size_t lo = grapheme_pages[QUERN__COUNT(grapheme_pages) - 1];
    size_t hi = QUERN__COUNT(grapheme_bounds) - 1;
    size_t page = cp >> 8;
    if (cp >= 0x20 && cp < 0x7F)
        return OTHER;
    if (page + 1 < QUERN__COUNT(grapheme_pages)) {
        lo = grapheme_pages[page];
        hi = grapheme_pages[page + 1];
    }
    uint32_t key = cp << 8 | 0xFF;
    while (lo < hi) { /* the last boundary not above cp */
        size_t mid = (lo + hi + 1) / 2;
        if (grapheme_bounds[mid] <= key)
            lo = mid;
        else
            hi = mid - 1;
    }
    uint32_t group = grapheme_bounds[lo] & 0xFF;
    return group == SYLLABLE && (cp - 0xAC00) % 28 ? CLOSED : group;
}

static bool hangul_joins(uint32_t last, uint32_t next)
{
    switch (last) {
    case LEAD:
        return next == LEAD || next == VOWEL || next == SYLLABLE || next == CLOSED;
    case SYLLABLE:
    case VOWEL:
        return next == VOWEL || next == TRAIL;
    case CLOSED:
    case TRAIL:
        return next == TRAIL;
    default:
        return false;
    }
}

bool quern__grapheme_joins(quern__grapheme *g, uint32_t cp)
{
    uint32_t group = group_of(cp), last = g->last;
    bool extends = group == EXTEND || group == EXTEND_CONJUNCT || group == LINKER;
    bool joins = false;
    if (!g->begun)
        joins = false;
    else if (last == CONTROL || group == CONTROL)
        joins = g->carriage_return && cp == '\n';
    else
        joins = extends || group == SPACING || last == PREPEND || hangul_joins(last, group) ||
                (group == CONSONANT && g->conjunct == 2) || (group == PICTURE && g->picture == 2);
    if (group == PICTURE)
        g->picture = 1;
    else if (!(extends && g->picture == 1))
        g->picture = 0;
    else if (cp == 0x200D)
        g->picture = 2;
    if (group == CONSONANT)
        g->conjunct = 1;
    else if (group == LINKER && g->conjunct)
        g->conjunct = 2;
    else if (group != EXTEND_CONJUNCT)
        g->conjunct = 0;
    g->last = (uint8_t)group;
    g->carriage_return = cp == '\r';
    g->begun = true;
    return joins;
}

const char *quern__grapheme_tables_version(void)
{
    return QUERN__GRAPHEME_TABLES_VERSION;
}
