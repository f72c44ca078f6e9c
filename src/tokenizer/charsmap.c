/*
 * charsmap.c — the trie is walked in the bytes of the file. Of the prefixes that have a rule the
 * shortest counts, which is what the reference does (SentencePiece itself takes the longest).
 */
#include "tokenizer/charsmap.h"

#include <string.h>

#include "base/alloc.h"
#include "text/utf8.h"

enum { UNIT = 4 };

static uint32_t unit_at(const quern__charsmap *m, uint32_t at)
{
    const uint8_t *b = (const uint8_t *)m->bytes + UNIT + (size_t)at * UNIT;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static uint32_t offset_of(uint32_t unit)
{
    return unit >> 10 << ((unit & 1u << 9) >> 6);
}

bool quern__charsmap_find(const quern__charsmap *m, quern_str s, quern_str *out)
{
    uint32_t at = m->units ? offset_of(unit_at(m, 0)) : 0;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t byte = (uint8_t)s.ptr[i];
        at ^= byte;
        if (byte == 0 || at >= m->units)
            return false;
        uint32_t unit = unit_at(m, at);
        if ((unit & (1u << 31 | 0xFF)) != byte)
            return false;
        at ^= offset_of(unit);
        if (!(unit & 1u << 8))
            continue;
        if (at >= m->units)
            return false;
        uint32_t place = unit_at(m, at) & ~(1u << 31);
        if (place >= m->replacements.len)
            return false;
        out->ptr = m->replacements.ptr + place;
        const char *end = memchr(out->ptr, 0, m->replacements.len - place);
        out->len = end ? (size_t)(end - out->ptr) : m->replacements.len - place;
        return true;
    }
    return false;
}

const char *quern__charsmap_open(quern__charsmap *m, char *bytes, size_t len)
{
    const uint8_t *b = (const uint8_t *)bytes;
    quern__charsmap_dispose(m);
    m->bytes = bytes;
    if (len < UNIT || len > QUERN__CHARSMAP_MAX)
        return "is no precompiled map: its size";
    m->len = (uint32_t)len;
    size_t trie = (size_t)b[0] | (size_t)b[1] << 8 | (size_t)b[2] << 16 | (size_t)b[3] << 24;
    if (trie % UNIT || trie == 0 || trie > len - UNIT)
        return "is no precompiled map: the size of its trie";
    m->units = (uint32_t)(trie / UNIT);
    m->replacements = (quern_str){bytes + UNIT + trie, len - UNIT - trie};
    if (quern__utf8_check(m->replacements.ptr, m->replacements.len) != m->replacements.len)
        return "is no precompiled map: its replacements are not UTF-8";
    for (uint32_t c = 0; c < 128; c++) {
        char one = (char)c;
        quern_str unused;
        m->plain[c] = !quern__charsmap_find(m, (quern_str){&one, 1}, &unused);
    }
    return NULL;
}

void quern__charsmap_dispose(quern__charsmap *m)
{
    quern__free(m->bytes);
    memset(m, 0, sizeof *m);
}
