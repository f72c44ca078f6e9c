/*
 * error_body.c — the body of an error page for a program's eyes: bounded, one line, valid UTF-8. A page is foreign bytes:
 * it may be HTML, megabytes, or made to move the cursor of whoever prints it.
 */
#include "embedder/error_body.h"

#include <stdio.h>
#include <string.h>

#include "text/utf8.h"

/* C0, DEL and C1, which a terminal may obey, and Unicode's own ends of lines and paragraphs. */
static bool is_control(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7F && cp < 0xA0) || cp == 0x2028 || cp == 0x2029;
}

size_t quern__error_body(quern_str page, char out[QUERN__ERROR_BODY + 1])
{
    size_t used = 0;
    for (size_t at = 0; at < page.len;) {
        char one[8];
        uint32_t cp;
        bool bad = false;
        at += quern__utf8_next(page.ptr + at, page.len - at, &cp, &bad);
        size_t n = is_control(cp) ? (size_t)snprintf(one, sizeof one, "\\u%04x", (unsigned)cp)
                                  : quern__utf8_put(one, cp);
        if (used + n > QUERN__ERROR_BODY)
            break;
        memcpy(out + used, one, n);
        used += n;
    }
    out[used] = '\0';
    return used;
}
