/*
 * excerpt.c — see excerpt.h. The text comes from a row that may have changed since its chunk was cut, and goes to
 * a terminal: nothing in it is trusted, control characters (an ESC sequence could repaint the screen) least.
 */
#include "search/excerpt.h"

#include <stdbool.h>

#include "text/utf8.h"

static const char MORE[] = "\xE2\x80\xA6"; /* U+2026 */

static bool is_space(uint32_t cp)
{
    return cp <= 0x20 || (cp >= 0x7F && cp <= 0xA0) || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F ||
           cp == 0x205F || cp == 0x3000;
}

void quern__excerpt(quern_str text, uint64_t start, uint64_t end, quern__buf *out)
{
    size_t to = end < text.len ? (size_t)end : text.len;
    size_t at = start < to ? (size_t)start : to;
    at = quern__utf8_floor(text.ptr, text.len, at);
    char line[QUERN__EXCERPT_BYTES];
    const size_t room = sizeof line - (sizeof MORE - 1);
    size_t used = 0;
    size_t word = 0; /* bytes of line up to the end of the last whole word */
    bool gap = false;
    while (at < to) {
        uint32_t cp;
        bool bad = false;
        at += quern__utf8_next(text.ptr + at, to - at, &cp, &bad);
        if (is_space(cp)) {
            if (used)
                word = used;
            gap = used > 0;
            continue;
        }
        char bytes[4];
        size_t n = quern__utf8_put(bytes, cp);
        if (used + gap + n > room) {
            /* A text without spaces is cut between characters. */
            used = word > room / 2 ? word : used;
            quern__buf_append(out, line, used);
            quern__buf_append(out, MORE, sizeof MORE - 1);
            return;
        }
        if (gap)
            line[used++] = ' ';
        gap = false;
        memcpy(line + used, bytes, n);
        used += n;
    }
    quern__buf_append(out, line, used);
}
