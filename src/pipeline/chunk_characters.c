/*
 * chunk_characters.c — windows of code points, for an embedder whose tokenizer is somewhere else.
 *
 * The rules are those of token windows: a window that must end before the text does ends in its last quarter at the
 * strongest break there, the next begins `overlap` earlier, at a word where one begins; blanks at both ends are
 * left out, and a window with nothing to see in it gives no piece. Counting bytes instead was rejected: a text in
 * Greek would get windows half as long as one in English.
 * Every step moves forward and what is looked at twice is at most the overlap, so the time is linear.
 */
#include "base/alloc.h"
#include "base/compiler.h"
#include "base/error.h"
#include "pipeline/chunk.h"
#include "pipeline/headings.h"
#include "text/unicode_bert.h"
#include "text/utf8.h"

enum {
    LOOK_BEHIND = 64 /* bytes of blanks looked at behind a window, to tell a paragraph's end */
};

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static size_t step(quern_str t, size_t at)
{
    uint32_t cp;
    bool bad = false;
    return at + quern__utf8_next(t.ptr + at, t.len - at, &cp, &bad);
}

/* White space, controls and characters without any width are nothing that a vector could be made of. */
static bool anything_to_see(quern_str t, size_t from, size_t to)
{
    while (from < to) {
        uint32_t cp;
        bool bad = false;
        from += quern__utf8_next(t.ptr + from, t.len - from, &cp, &bad);
        if (!(quern__bert_class(cp) & (QUERN__BERT_SPACE | QUERN__BERT_CONTROL)))
            return true;
    }
    return false;
}

/* The end of the window whose last quarter is [from, end); from > 0. */
static size_t soft_end(quern_str t, size_t from, size_t end)
{
    size_t best = end;
    size_t word =
        is_blank(t.ptr[from - 1]) ? 0 : from; /* end of the last character that is no blank */
    size_t lines = 0;
    int strength = QUERN__BREAK_NONE;
    for (size_t at = from; at < t.len;) {
        const bool blank = is_blank(t.ptr[at]);
        if (at >= end && (!blank || at - end > LOOK_BEHIND))
            break;
        size_t next = step(t, at);
        size_t mark = 0;
        int here = QUERN__BREAK_NONE;
        if (blank) {
            lines += t.ptr[at] == '\n';
            mark = word ? quern__sentence_mark((quern_str){t.ptr, word}) : 0;
            here = !word       ? QUERN__BREAK_NONE
                   : lines > 1 ? QUERN__BREAK_PARAGRAPH
                   : mark      ? QUERN__BREAK_SENTENCE
                               : QUERN__BREAK_WORD;
        } else {
            word = next;
            lines = 0;
            mark = quern__sentence_mark((quern_str){t.ptr, word});
            here = mark > 1 ? QUERN__BREAK_SENTENCE : QUERN__BREAK_NONE;
        }
        if (here != QUERN__BREAK_NONE && here >= strength) {
            strength = here;
            best = word;
        }
        at = next;
    }
    return best;
}

/* Where the window after [start, end) begins: `overlap` characters before its end, at a word if one begins there. */
static size_t next_start(quern_str t, size_t start, size_t end, uint32_t overlap)
{
    size_t at = end;
    for (uint32_t i = 0; i < overlap && at > start; i++) {
        at--;
        while (at > start && ((unsigned char)t.ptr[at] & 0xC0) == 0x80)
            at--;
    }
    if (at <= start)
        at = step(t, start);
    for (size_t word = at; word < end; word++) {
        if (is_blank(t.ptr[word - 1]) && !is_blank(t.ptr[word]))
            return word;
    }
    return at;
}

/* quern__measure_fn */
static int measure_characters(void *ud, quern_str text, size_t *n, quern_error *err)
{
    (void)ud;
    (void)err;
    *n = quern__utf8_count(text.ptr, text.len);
    return QUERN_OK;
}

/* The full window from `start` on; *quarter is where its last quarter begins. */
static size_t full_end(quern_str t, size_t start, size_t most, size_t *quarter)
{
    size_t end = start;
    *quarter = start;
    for (size_t i = 0; i < most && end < t.len; i++) {
        end = step(t, end);
        if (i == most - most / 4 - 1)
            *quarter = end;
    }
    return end;
}

int quern__chunk_characters(quern_str text, const quern__chunking *how, quern__pieces *out,
                            quern_error *err)
{
    size_t start = 0;
    size_t counted = 0; /* bytes whose characters are in `chars` */
    uint64_t chars = 0;
    size_t last = 0; /* end of the last piece */
    size_t most = QUERN__MIN(how->max_tokens - how->overlap - 1, how->max_tokens / 4);
    quern__context context;
    quern__context_init(&context, text, how->headings);
    while (out->n < how->max_chunks) {
        while (start < text.len && is_blank(text.ptr[start]))
            start++;
        int rc = quern__context_at(&context, start, most, measure_characters, NULL, err);
        if (rc != QUERN_OK)
            return rc;
        size_t quarter;
        size_t end = full_end(text, start, how->max_tokens - context.units, &quarter);
        if (end == start)
            return QUERN_OK;
        if (end < text.len)
            end = soft_end(text, quarter, end);
        size_t shown = end;
        while (shown > start && is_blank(text.ptr[shown - 1]))
            shown--;
        if (anything_to_see(text, start, shown)) {
            chars += quern__utf8_count(text.ptr + counted, start - counted);
            counted = start;
            quern__piece piece = {.start = start, .end = shown, .char_start = chars};
            piece.char_end = chars + quern__utf8_count(text.ptr + start, shown - start);
            rc = quern__pieces_push(out, piece, (quern_str){context.text, context.path}, err);
            if (rc != QUERN_OK)
                return rc;
            last = shown;
        }
        if (end >= text.len)
            return QUERN_OK;
        start = next_start(text, start, end, how->overlap);
    }
    if (anything_to_see(text, last, text.len))
        out->dropped_bytes = text.len - last;
    return QUERN_OK;
}
