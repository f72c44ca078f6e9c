/*
 * unicode_nfc.c — searches in the generated tables; Hangul by arithmetic; the compatibility ideographs
 * and the order of combining classes are those of unicode_bert.c, which the generator checks.
 */
#include "text/unicode_nfc.h"

#include <stddef.h>

#include "base/compiler.h"
#include "text/unicode_bert.h"

struct nfc_entry {
    uint32_t from, first, second; /* second 0: one code point */
};

#include "text/unicode_nfc_tables.inc"

enum {
    HANGUL = 0xAC00,
    HANGUL_END = HANGUL + 11172,
    JAMO_L = 0x1100,
    JAMO_V = 0x1161,
    JAMO_T = 0x11A7,
    COUNT_L = 19,
    COUNT_V = 21,
    COUNT_T = 28,
};

static const struct nfc_entry *find(uint32_t cp)
{
    size_t lo = 0, hi = QUERN__COUNT(nfc_entries);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (nfc_entries[mid].from < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < QUERN__COUNT(nfc_entries) && nfc_entries[lo].from == cp ? &nfc_entries[lo] : NULL;
}

static uint32_t hangul_parts(uint32_t s, uint32_t out[QUERN__NFC_PARTS])
{
    out[0] = JAMO_L + s / (COUNT_V * COUNT_T);
    out[1] = JAMO_V + s % (COUNT_V * COUNT_T) / COUNT_T;
    out[2] = JAMO_T + s % COUNT_T;
    return s % COUNT_T ? 3 : 2;
}

uint32_t quern__nfc_parts(uint32_t cp, uint32_t out[QUERN__NFC_PARTS])
{
    uint32_t tail[QUERN__NFC_PARTS], n = 0;
    if (cp >= HANGUL && cp < HANGUL_END)
        return hangul_parts(cp - HANGUL, out);
    /* The last part splits off, what stays may split again: three times in the longest. */
    for (const struct nfc_entry *e = find(cp); e; e = find(cp)) {
        if (e->second && n < QUERN__NFC_PARTS - 1)
            tail[n++] = e->second;
        cp = e->first;
    }
    if ((cp >= 0xF900 && cp < 0xFB00) || (cp >= 0x2F800 && cp < 0x2FA20))
        quern__bert_strip(cp, out);
    else
        out[0] = cp;
    for (uint32_t i = 0; i < n; i++)
        out[1 + i] = tail[n - 1 - i];
    return 1 + n;
}

static uint32_t compose_hangul(uint32_t first, uint32_t second)
{
    if (first >= JAMO_L && first < JAMO_L + COUNT_L && second >= JAMO_V &&
        second < JAMO_V + COUNT_V)
        return HANGUL + ((first - JAMO_L) * COUNT_V + (second - JAMO_V)) * COUNT_T;
    if (first >= HANGUL && first < HANGUL_END && (first - HANGUL) % COUNT_T == 0 &&
        second > JAMO_T && second < JAMO_T + COUNT_T)
        return first + (second - JAMO_T);
    return 0;
}

uint32_t quern__nfc_compose(uint32_t first, uint32_t second)
{
    uint32_t hangul = compose_hangul(first, second);
    if (hangul)
        return hangul;
    size_t lo = 0, hi = QUERN__COUNT(nfc_composites);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        const struct nfc_entry *e = &nfc_entries[nfc_composites[mid]];
        if (e->first < first || (e->first == first && e->second < second))
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == QUERN__COUNT(nfc_composites))
        return 0;
    const struct nfc_entry *e = &nfc_entries[nfc_composites[lo]];
    return e->first == first && e->second == second ? e->from : 0;
}

uint32_t quern__nfc_rank(uint32_t cp)
{
    return cp < 0x300 ? 0 : quern__bert_rank(cp);
}

const char *quern__nfc_tables_version(void)
{
    return QUERN__NFC_TABLES_VERSION;
}
