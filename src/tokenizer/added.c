/*
 * added.c — leftmost, then longest, as the reference's automaton finds them: a list by first byte is
 * enough for the few dozen that models have, and costs nothing where no token begins. Text may hold
 * ill-formed UTF-8, which no token matches and which is neither white space nor part of a word.
 */
#include "tokenizer/added.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "text/unicode_split.h"
#include "text/utf8.h"

void quern__added_dispose(quern__added_set *s)
{
    quern__free(s->items);
    memset(s, 0, sizeof *s);
}

static int by_first_byte(const void *a, const void *b)
{
    const quern__added *x = a, *y = b;
    uint8_t first_x = (uint8_t)x->content[0], first_y = (uint8_t)y->content[0];
    if (first_x != first_y)
        return first_x < first_y ? -1 : 1;
    if (x->len != y->len)
        return x->len > y->len ? -1 : 1;
    return memcmp(x->content, y->content, x->len); /* no two are equal */
}

void quern__added_ready(quern__added_set *s)
{
    if (s->n)
        qsort(s->items, s->n, sizeof *s->items, by_first_byte);
    uint32_t i = 0;
    for (uint32_t b = 0; b < 256; b++) {
        s->from[b] = (uint16_t)i;
        while (i < s->n && (uint8_t)s->items[i].content[0] == b)
            i++;
    }
    s->from[256] = (uint16_t)i;
}

const quern__added *quern__added_at(const quern__added_set *s, quern_str text, uint32_t at)
{
    uint8_t first = (uint8_t)text.ptr[at];
    for (uint32_t i = s->from[first]; i < s->from[first + 1]; i++)
        if (s->items[i].len <= text.len - at &&
            memcmp(s->items[i].content, text.ptr + at, s->items[i].len) == 0)
            return &s->items[i];
    return NULL;
}

static uint32_t class_at(quern_str text, uint32_t at, uint32_t *len)
{
    uint32_t cp;
    bool bad = false;
    *len = quern__utf8_next(text.ptr + at, text.len - at, &cp, &bad);
    return quern__split_class(cp);
}

/* Bytes of the code point of this class that ends at `at` and starts at `least` or later, or 0. */
static uint32_t class_before(quern_str text, uint32_t least, uint32_t at, uint32_t bits)
{
    for (uint32_t back = 1; back <= 4 && back <= at - least; back++) {
        uint32_t len;
        if (class_at(text, at - back, &len) & bits && len == back)
            return back;
    }
    return 0;
}

uint32_t quern__space_before(quern_str text, uint32_t least, uint32_t at)
{
    for (uint32_t back; (back = class_before(text, least, at, QUERN__SPLIT_SPACE)) != 0;)
        at -= back;
    return at;
}

uint32_t quern__space_after(quern_str text, uint32_t at)
{
    uint32_t len;
    while (at < text.len && class_at(text, at, &len) & QUERN__SPLIT_SPACE)
        at += len;
    return at;
}

bool quern__added_next(const quern__added_set *s, quern_str text, uint32_t at, uint32_t since,
                       quern__added_hit *hit)
{
    if (s->n == 0)
        return false;
    while (at < text.len) {
        uint8_t first = (uint8_t)text.ptr[at];
        const quern__added *a =
            s->from[first] < s->from[first + 1] ? quern__added_at(s, text, at) : NULL;
        if (!a) {
            at++;
            continue;
        }
        uint32_t end = at + a->len, len;
        if (a->single_word && (class_before(text, 0, at, QUERN__SPLIT_WORD) ||
                               (end < text.len && class_at(text, end, &len) & QUERN__SPLIT_WORD))) {
            at = end; /* the reference searches on behind what it discards */
            continue;
        }
        hit->token = a;
        hit->next = end;
        hit->start = a->lstrip ? quern__space_before(text, since, at) : at;
        hit->end = a->rstrip ? quern__space_after(text, end) : end;
        return true;
    }
    return false;
}
