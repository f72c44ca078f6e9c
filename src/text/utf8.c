/* utf8.c — walks over text with the one decoding step of base/utf8_step.h. */
#include "text/utf8.h"

#include <string.h>

#include "base/utf8_step.h"

size_t quern__utf8_check(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t at = 0;
    while (at < len) {
        uint64_t eight;
        if (len - at >= sizeof eight) {
            memcpy(&eight, p + at, sizeof eight);
            if (!(eight & 0x8080808080808080u)) {
                at += sizeof eight;
                continue;
            }
        }
        uint32_t cp, n = quern__utf8_step(p + at, len - at, &cp);
        if (cp == QUERN__UTF8_BAD)
            return at;
        at += n;
    }
    return len;
}

uint32_t quern__utf8_next(const char *s, size_t len, uint32_t *cp, bool *bad)
{
    uint32_t n = quern__utf8_step((const unsigned char *)s, len, cp);
    if (*cp == QUERN__UTF8_BAD) {
        *cp = 0xFFFD;
        *bad = true;
    }
    return n;
}

uint32_t quern__utf8_put(char out[4], uint32_t cp)
{
    return quern__utf8_encode(out, cp);
}

size_t quern__utf8_floor(const char *s, size_t len, size_t at)
{
    const unsigned char *p = (const unsigned char *)s;
    if (at >= len)
        return len;
    for (size_t back = 1; back <= 3 && back <= at; back++) {
        unsigned char c = p[at - back];
        if (c >= 0xC0) {
            uint32_t cp, n = quern__utf8_step(p + at - back, len - (at - back), &cp);
            return cp != QUERN__UTF8_BAD && n > back ? at - back : at;
        }
        if (c < 0x80)
            break;
    }
    return at;
}

size_t quern__utf8_count(const char *s, size_t len)
{
    size_t count = 0;
    for (size_t at = 0; at < len; count++) {
        uint32_t cp;
        at += quern__utf8_step((const unsigned char *)s + at, len - at, &cp);
    }
    return count;
}
