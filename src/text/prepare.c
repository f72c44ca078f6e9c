/*
 * prepare.c — which steps there are, and the two about line ends and white space. See prepare.h.
 *
 * One function a step, from bytes to bytes, each a single pass: several at once would be faster, but then the
 * steps could not be switched and tested one by one, and all together cost less than tokenising.
 */
#include "text/prepare.h"

#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "quern/text.h"
#include "text/utf8.h"

/* In the order in which they are done. */
static const struct {
    const char *name;
    uint32_t step;
    size_t (*run)(char *text, size_t len);
} steps_in_order[] = {
    {"crlf", QUERN__PREPARE_CRLF, quern__prepare_crlf},
    {"data-uri", QUERN__PREPARE_DATA_URI, quern__prepare_data_uri},
    {"html", QUERN__PREPARE_HTML, quern__prepare_html},
    {"tracking", QUERN__PREPARE_TRACKING, quern__prepare_tracking},
    {"quoted", QUERN__PREPARE_QUOTED, quern__prepare_quoted},
    {"signature", QUERN__PREPARE_SIGNATURE, quern__prepare_signature},
    {"whitespace", QUERN__PREPARE_WHITESPACE, quern__prepare_whitespace},
};

enum { STEPS = QUERN__COUNT(steps_in_order), WORD = 32 };

static int unknown_step(const char *word, quern_error *err)
{
    const char *names[STEPS];
    for (size_t i = 0; i < STEPS; i++)
        names[i] = steps_in_order[i].name;
    const char *near = quern_nearest(word, names, STEPS);
    return quern__fail(err, QUERN_EINVAL, 0,
                       "prepare: no step \"%s\"%s%s%s; there are crlf, data-uri, html, tracking, "
                       "quoted, signature, whitespace, and all",
                       word, near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

int quern__prepare_parse(const char *list, uint32_t *steps, quern_error *err)
{
    *steps = 0;
    while (list && *list) {
        char word[WORD];
        size_t n = strcspn(list, ","), from = strspn(list, " \t\n"), to = n;
        while (to > from && strchr(" \t\n", list[to - 1]))
            to--;
        from = from < to ? from : to;
        snprintf(word, sizeof word, "%.*s", (int)QUERN__MIN(to - from, (size_t)WORD), list + from);
        size_t i = 0;
        while (i < STEPS && strcmp(steps_in_order[i].name, word) != 0)
            i++;
        if (i < STEPS)
            *steps |= steps_in_order[i].step;
        else if (strcmp(word, "all") == 0)
            *steps = QUERN__PREPARE_ALL;
        else
            return unknown_step(word, err);
        list += n + (list[n] == ',');
    }
    return QUERN_OK;
}

void quern__prepare_names(uint32_t steps, char out[QUERN__PREPARE_NAMES])
{
    size_t n = 0;
    for (size_t i = 0; i < STEPS; i++)
        if (steps & steps_in_order[i].step)
            n += (size_t)snprintf(out + n, QUERN__PREPARE_NAMES - n, "%s%s", n ? "," : "",
                                  steps_in_order[i].name);
    snprintf(out + n, QUERN__PREPARE_NAMES - n, "%s/%d", n ? "" : "none", QUERN__PREPARE_VERSION);
}

size_t quern__prepare(uint32_t steps, char *text, size_t len)
{
    for (size_t i = 0; i < STEPS && len; i++)
        if (steps & steps_in_order[i].step)
            len = steps_in_order[i].run(text, len);
    return len;
}

size_t quern__prepare_crlf(char *text, size_t len)
{
    size_t to = 0;
    for (size_t at = 0; at < len; at++) {
        if (text[at] != '\r')
            text[to++] = text[at];
        else if (at + 1 == len || text[at + 1] != '\n')
            text[to++] = '\n';
    }
    return to;
}

enum { GLYPH, BLANK, LINE_END, PAGE_END, NO_WIDTH };

static int kind_of(uint32_t cp)
{
    switch (cp) {
    case '\n':
    case '\r':
    case 0x85:
    case 0x2028:
    case 0x2029:
        return LINE_END;
    case '\f':
        return PAGE_END;
    case ' ':
    case '\t':
    case '\v':
    case 0xA0:
    case 0x1680:
    case 0x202F:
    case 0x205F:
    case 0x3000:
        return BLANK;
    case 0xAD:
    case 0x200B:
    case 0x2060:
    case 0xFEFF:
        return NO_WIDTH;
    default:
        return cp >= 0x2000 && cp <= 0x200A ? BLANK : GLYPH;
    }
}

/* White space is held back until a glyph shows that it stands between two; then its strongest form is written. */
size_t quern__prepare_whitespace(char *text, size_t len)
{
    size_t to = 0, lines = 0, pages = 0;
    bool blank = false, any = false;
    for (size_t at = 0; at < len;) {
        uint32_t cp;
        bool bad = false;
        uint32_t n = quern__utf8_next(text + at, len - at, &cp, &bad);
        int kind = kind_of(cp);
        lines += kind == LINE_END;
        pages += kind == PAGE_END;
        blank |= kind == BLANK;
        if (kind == GLYPH) {
            if (pages)
                memset(text + to, '\f', pages);
            else if (any && lines)
                memset(text + to, '\n', QUERN__MIN(lines, (size_t)2));
            else if (any && blank)
                text[to] = ' ';
            to += pages ? pages : any && lines ? QUERN__MIN(lines, (size_t)2) : any && blank;
            memmove(text + to, text + at, n);
            to += n;
            lines = pages = 0;
            blank = false;
            any = true;
        }
        at += n;
    }
    return to;
}
