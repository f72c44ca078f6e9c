/*
 * prepare_html.c — HTML to text: a scanner of tags, not a parser of documents. A tree would need memory for what is thrown
 * away, and hostile or broken HTML is the rule in mail: here what is not a tag is text.
 *
 * Linear in time: a scan that finds no end is not made again. Of what only fails far away (a quote, a comment or a
 * script that is never closed) it is remembered that there is no such end in the rest; a tag that another '<' cuts short
 * is text up to that place.
 */
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "text/prepare.h"
#include "text/utf8.h"

enum { LONGEST_NAME = 12, LONGEST_ENTITY = 8, DIGITS = 8 };

typedef struct html {
    char *text;
    size_t len, at, to;
    bool lone_quote[2], open_comment, open_script, open_style; /* there is no end of it any more */
} html;

static const struct entity {
    char name[LONGEST_ENTITY + 1];
    uint16_t code;
} entities[] = {
#include "text/html_entities.inc"
};

/* What browsers make of numbers 128 to 159, which are controls in Unicode and letters in Windows' code page. */
static const uint16_t windows[32] = {
    0x20AC, 0x81,   0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x8D,   0x017D, 0x8F,   0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D,   0x017E, 0x0178,
};

enum { INLINE, CELL, LINE, PARAGRAPH };

static const struct {
    const char *name;
    int kind;
} blocks[] = {
    {"address", PARAGRAPH}, {"article", PARAGRAPH},
    {"aside", PARAGRAPH},   {"blockquote", PARAGRAPH},
    {"body", LINE},         {"br", LINE},
    {"caption", LINE},      {"dd", LINE},
    {"div", LINE},          {"dl", PARAGRAPH},
    {"dt", LINE},           {"fieldset", PARAGRAPH},
    {"figcaption", LINE},   {"figure", PARAGRAPH},
    {"footer", PARAGRAPH},  {"form", PARAGRAPH},
    {"h1", PARAGRAPH},      {"h2", PARAGRAPH},
    {"h3", PARAGRAPH},      {"h4", PARAGRAPH},
    {"h5", PARAGRAPH},      {"h6", PARAGRAPH},
    {"head", LINE},         {"header", PARAGRAPH},
    {"hr", PARAGRAPH},      {"html", LINE},
    {"legend", LINE},       {"li", LINE},
    {"main", PARAGRAPH},    {"nav", PARAGRAPH},
    {"ol", PARAGRAPH},      {"option", LINE},
    {"p", PARAGRAPH},       {"pre", PARAGRAPH},
    {"section", PARAGRAPH}, {"table", PARAGRAPH},
    {"td", CELL},           {"th", CELL},
    {"title", PARAGRAPH},   {"tr", LINE},
    {"ul", PARAGRAPH},
};

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static void keep(html *h, size_t end)
{
    memmove(h->text + h->to, h->text + h->at, end - h->at);
    h->to += end - h->at;
    h->at = end;
}

/* ---- tags ---- */

/* The name at `at` in lower case; "" when it is longer than any that is known. Returns its end. */
static size_t tag_name(const html *h, size_t at, char name[LONGEST_NAME])
{
    size_t n = 0;
    for (; at < h->len && (is_letter(h->text[at]) || is_digit(h->text[at])); at++, n++)
        if (n < LONGEST_NAME)
            name[n] = lower(h->text[at]);
    name[n < LONGEST_NAME ? n : 0] = '\0';
    return at;
}

/* One past the tag's '>'. Where there is none: *cut, and up to where all is text. */
static size_t tag_end(html *h, size_t at, bool *cut)
{
    char before = ' '; /* the last character that is no blank */
    *cut = false;
    for (; at < h->len; at++) {
        char c = h->text[at];
        if (c == '>')
            return at + 1;
        if (c == '<')
            break;
        bool *lone = &h->lone_quote[c == '"'];
        if ((c == '"' || c == '\'') && before == '=' && !*lone) { /* an attribute's value */
            const char *close = memchr(h->text + at + 1, c, h->len - at - 1);
            *lone = !close;
            if (close)
                at = (size_t)(close - h->text);
        }
        if (!is_blank(c))
            before = c;
    }
    *cut = true;
    return at;
}

/* Makes the text end with so many line ends, unless nothing has been written yet. */
static void break_lines(html *h, size_t n)
{
    size_t have = 0;
    while (have < n && have < h->to && h->text[h->to - 1 - have] == '\n')
        have++;
    for (; h->to && have < n; have++)
        h->text[h->to++] = '\n';
}

static void put_break(html *h, const char *name)
{
    for (size_t i = 0; *name && i < QUERN__COUNT(blocks); i++) {
        if (strcmp(blocks[i].name, name) != 0)
            continue;
        if (blocks[i].kind != CELL)
            break_lines(h, blocks[i].kind == PARAGRAPH ? 2 : 1);
        else if (h->to && !is_blank(h->text[h->to - 1]))
            h->text[h->to++] = ' ';
    }
}

/* Behind "<script …>" or "<style …>": the place of its end tag; where there is none, *open, and `at`. */
static size_t content_end(const html *h, size_t at, const char *name, bool *open)
{
    size_t n = strlen(name);
    for (size_t i = at; !*open && i + n + 2 <= h->len; i++) {
        const char *lt = memchr(h->text + i, '<', h->len - i);
        if (!lt)
            break;
        i = (size_t)(lt - h->text);
        char found[LONGEST_NAME];
        if (i + n + 2 <= h->len && h->text[i + 1] == '/') {
            tag_name(h, i + 2, found);
            if (strcmp(found, name) == 0)
                return i;
        }
    }
    *open = true;
    return at;
}

/* At "<!--": past the comment, or past "<!--" alone when nothing ends it. */
static void skip_comment(html *h)
{
    size_t at = h->at + 4;
    for (; !h->open_comment && at + 3 <= h->len; at++) {
        const char *dash = memchr(h->text + at, '-', h->len - at);
        if (!dash)
            break;
        at = (size_t)(dash - h->text);
        if (at + 3 <= h->len && memcmp(h->text + at, "-->", 3) == 0) {
            h->at = at + 3;
            return;
        }
    }
    h->open_comment = true;
    h->at += 4;
}

/* At '<'. */
static void take_tag(html *h)
{
    char name[LONGEST_NAME] = "";
    const char *t = h->text + h->at;
    size_t left = h->len - h->at;
    if (left >= 4 && memcmp(t, "<!--", 4) == 0) {
        skip_comment(h);
        return;
    }
    bool closing = left >= 3 && t[1] == '/' && is_letter(t[2]);
    bool special = left >= 3 && (t[1] == '!' || t[1] == '?') && is_letter(t[2]);
    if (!closing && !special && !(left >= 2 && is_letter(t[1]))) {
        keep(h, h->at + 1);
        return;
    }
    bool cut;
    size_t past = special ? h->at + 2 : tag_name(h, h->at + 1 + closing, name);
    size_t end = tag_end(h, past, &cut);
    if (cut) {
        keep(h, end);
        return;
    }
    h->at = end;
    if (!closing && strcmp(name, "script") == 0)
        h->at = content_end(h, end, name, &h->open_script);
    else if (!closing && strcmp(name, "style") == 0)
        h->at = content_end(h, end, name, &h->open_style);
    put_break(h, name);
}

/* ---- entities ---- */

static int by_name(const void *a, const void *b)
{
    const struct entity *e = b;
    return strcmp(a, e->name);
}

static uint32_t number_code(const html *h, size_t at, size_t *end)
{
    bool hex = at < h->len && lower(h->text[at]) == 'x';
    uint32_t code = 0;
    size_t n = 0;
    for (at += hex; at < h->len && n < DIGITS; at++, n++) {
        char c = lower(h->text[at]);
        uint32_t digit = is_digit(c)                   ? (uint32_t)(c - '0')
                         : hex && c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                                                       : 99;
        if (digit == 99)
            break;
        code = code * (hex ? 16 : 10) + digit; /* of eight digits: no overflow */
    }
    if (!n || at == h->len || h->text[at] != ';')
        return 0;
    *end = at + 1;
    if (code >= 0x80 && code < 0xA0)
        return windows[code - 0x80];
    return code == 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000) ? 0xFFFD : code;
}

/* At '&': the character that it stands for, 0 if none; *end is one past its ';'. */
static uint32_t entity_code(const html *h, size_t *end)
{
    size_t at = h->at + 1, n = 0;
    char name[LONGEST_ENTITY + 1];
    if (at < h->len && h->text[at] == '#')
        return number_code(h, at + 1, end);
    while (at + n < h->len && n < LONGEST_ENTITY &&
           (is_letter(h->text[at + n]) || is_digit(h->text[at + n]))) {
        name[n] = h->text[at + n];
        n++;
    }
    name[n] = '\0';
    if (!n || at + n == h->len || h->text[at + n] != ';')
        return 0;
    const struct entity *e =
        bsearch(name, entities, QUERN__COUNT(entities), sizeof *entities, by_name);
    *end = at + n + 1;
    return e ? e->code : 0;
}

static void take_entity(html *h)
{
    size_t end = h->at;
    uint32_t code = entity_code(h, &end);
    if (!code) {
        keep(h, h->at + 1);
        return;
    }
    char out[4];
    uint32_t n = quern__utf8_put(out, code);
    memcpy(h->text + h->to, out, n);
    h->to += n;
    h->at = end;
}

size_t quern__prepare_html(char *text, size_t len)
{
    html h = {.text = text, .len = len};
    while (h.at < len) {
        size_t end = h.at;
        while (end < len && text[end] != '<' && text[end] != '&')
            end++;
        keep(&h, end);
        if (end < len && text[end] == '<')
            take_tag(&h);
        else if (end < len)
            take_entity(&h);
    }
    return h.to;
}
