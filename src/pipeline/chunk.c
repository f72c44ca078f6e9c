/*
 * chunk.c — token windows.
 *
 * The text is tokenised once; windows of max_tokens (less the special ones) are laid over the tokens, each
 * starting `overlap` tokens before the end of the one before. A window becomes the byte slice from the
 * start of its first token to the end of its last, and it is the slice that is embedded, so that what a
 * hit shows is what the model read. Where a window must end before the text does, it ends in its last quarter at
 * the strongest break there: a paragraph's end, else a sentence's, else a word's, the last of them; else where it is full.
 *
 * Two things make this less simple than it sounds:
 *   - WordPiece does not concatenate: a slice that begins or ends inside a word, or between the letters of
 *     one Hangul syllable, may have more tokens than the window. Cuts are therefore moved to a break
 *     where one is near, and every slice is tokenised again and shrunk until it fits. The embedder is called with
 *     QUERN_TRUNCATION_ERROR all the same: a slip here shows as a failed document, never as a vector of less than its text.
 *   - A document may be 16 MiB of which the cap keeps 40 KB: only as long a prefix is tokenised as the cap can use,
 *     cut at white space, behind which no token depends on what follows.
 *
 * Where the embedder has no tokenizer at hand the same is done by characters (chunk_characters.c).
 *
 * Rejected: full sentence segmentation (needs tables per language; a mark that ends a sentence and white space after
 * it find most), and cutting by bytes (the model's limit is in tokens).
 */
#include "pipeline/chunk.h"

#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/error.h"
#include "pipeline/headings.h"
#include "text/utf8.h"

enum {
    GAP_REACH = 16,     /* tokens that a window's start may be moved to stand between words */
    QUARTER = 4,        /* its end: as far as this part of the window */
    BYTES_PER_TOKEN = 8 /* first guess for the prefix; English has 4 to 5 */
};

/* The tokens of the text without the model's own. */
typedef struct window_text {
    quern_embedder *e;
    quern_str text;
    quern_tokens *all;
    const uint32_t *start, *end;
    size_t n;
    uint32_t special;       /* how many the model adds */
    quern__context context; /* of the window at hand */
    quern__buf input;       /* context and slice */
} window_text;

void quern__pieces_dispose(quern__pieces *p)
{
    quern__free(p->items);
    if (p->headings.max)
        quern__buf_dispose(&p->headings);
    *p = (quern__pieces){0};
}

int quern__pieces_push(quern__pieces *p, quern__piece item, quern_str heading, quern_error *err)
{
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 8;
        quern__piece *grown = quern__resize_array(p->items, cap, sizeof *grown);
        if (!grown)
            return quern__fail_memory(err, cap * sizeof *grown);
        p->items = grown;
        p->cap = cap;
    }
    item.heading = (uint32_t)p->headings.len;
    item.heading_len = (uint32_t)heading.len;
    quern__buf_append(&p->headings, heading.ptr, heading.len);
    p->items[p->n++] = item;
    return quern__buf_ok(&p->headings, "headings", err);
}

quern_str quern__piece_heading(const quern__pieces *p, const quern__piece *piece)
{
    const char *at = piece->heading_len ? p->headings.data + piece->heading : "";
    return (quern_str){at, piece->heading_len};
}

int quern__piece_input(const quern__pieces *p, const quern__piece *piece, quern_str text,
                       quern__arena *arena, quern_str *out, quern_error *err)
{
    quern_str heading = quern__piece_heading(p, piece);
    size_t n = (size_t)(piece->end - piece->start);
    *out = (quern_str){n ? text.ptr + piece->start : "", n};
    if (!heading.len)
        return QUERN_OK;
    char *both = quern__arena_alloc(arena, heading.len + 2 + n);
    if (!both)
        return quern__fail_memory(err, heading.len + 2 + n);
    memcpy(both, heading.ptr, heading.len);
    memcpy(both + heading.len, "\n\n", 2);
    memcpy(both + heading.len + 2, out->ptr, n);
    *out = (quern_str){both, heading.len + 2 + n};
    return QUERN_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Where to cut a prefix of about `want` bytes so that no word is split; the whole length if nowhere. */
static size_t prefix_end(quern_str text, size_t want)
{
    if (want >= text.len)
        return text.len;
    for (size_t i = want; i > want / 2; i--) {
        if (is_blank(text.ptr[i - 1]))
            return i;
    }
    return text.len;
}

/* Tokenises [0, len) of the text and sets the view past the special tokens at both ends. */
static int look(window_text *w, size_t len, quern_error *err)
{
    quern_tokens_free(w->all);
    w->all = NULL;
    quern_str part = {w->text.ptr, len};
    int rc = quern_embedder_tokenize(w->e, part, &w->all, err);
    if (rc != QUERN_OK)
        return rc;
    size_t first = 0;
    size_t last = w->all->n;
    while (first < last && w->all->special[first])
        first++;
    while (last > first && w->all->special[last - 1])
        last--;
    w->special = (uint32_t)(w->all->n - (last - first));
    w->start = w->all->start + first;
    w->end = w->all->end + first;
    w->n = last - first;
    for (size_t i = 0; i < w->n; i++) {
        if (w->start[i] > w->end[i] || w->end[i] > len)
            return quern__fail(err, QUERN_EINTERNAL, (int64_t)i,
                               "%s: token %zu lies outside the text", quern_embedder_name(w->e), i);
    }
    return QUERN_OK;
}

static int tokens_of(const window_text *w, quern_str text, size_t *n, quern_error *err)
{
    quern_tokens *t = NULL;
    int rc = quern_embedder_tokenize(w->e, text, &t, err);
    if (rc == QUERN_OK)
        *n = t->n;
    quern_tokens_free(t);
    return rc;
}

/* Of a slice behind the context of the window. */
static int count_tokens(window_text *w, size_t from, size_t to, size_t *n, quern_error *err)
{
    quern_str slice = {w->text.ptr + from, to - from};
    if (!w->context.len)
        return tokens_of(w, slice, n, err);
    quern__buf_clear(&w->input);
    quern__buf_append(&w->input, w->context.text, w->context.len);
    quern__buf_append(&w->input, slice.ptr, slice.len);
    int rc = quern__buf_ok(&w->input, "a chunk", err);
    return rc == QUERN_OK ? tokens_of(w, (quern_str){w->input.data, w->input.len}, n, err) : rc;
}

/* Of a context, without the model's own: quern__measure_fn. */
static int measure_tokens(void *ud, quern_str text, size_t *n, quern_error *err)
{
    const window_text *w = ud;
    int rc = tokens_of(w, text, n, err);
    *n -= rc == QUERN_OK && *n >= w->special ? w->special : 0;
    return rc;
}

size_t quern__sentence_mark(quern_str s)
{
    static const char *const marks[] = {
        ".",      "?",      "!",      "\u2026", "\u3002", "\uFF0E",
        "\uFF1F", "\uFF01", "\u0964", "\u061F", "\u06D4",
    };
    for (size_t i = 0; i < QUERN__COUNT(marks); i++) {
        const size_t n = strlen(marks[i]);
        if (s.len >= n && memcmp(s.ptr + s.len - n, marks[i], n) == 0)
            return n;
    }
    return 0;
}

/* What a cut before token i falls on. */
static int break_before(const window_text *w, size_t i)
{
    if (i == 0 || i >= w->n)
        return QUERN__BREAK_PARAGRAPH;
    const size_t end = w->end[i - 1];
    const size_t mark =
        quern__sentence_mark((quern_str){w->text.ptr + w->start[i - 1], end - w->start[i - 1]});
    if (w->start[i] <= end) /* no white space: "3.14" goes on, but a wide mark needs none */
        return mark > 1 ? QUERN__BREAK_SENTENCE : QUERN__BREAK_NONE;
    size_t lines = 0;
    for (size_t at = end; at < w->start[i]; at++)
        lines += w->text.ptr[at] == '\n';
    if (lines > 1)
        return QUERN__BREAK_PARAGRAPH;
    return mark ? QUERN__BREAK_SENTENCE : QUERN__BREAK_WORD;
}

/* The end of a full window [first, end), moved back to the strongest break of its last quarter. */
static size_t soft_end(const window_text *w, size_t first, size_t end)
{
    size_t best = end;
    int strength = break_before(w, end);
    for (size_t at = end - 1; at > first && (end - at) * QUARTER <= end - first; at--) {
        const int here = break_before(w, at);
        if (here > strength) {
            strength = here;
            best = at;
        }
    }
    return best;
}

/* The window that begins at token `first`: *last is set to one past its end, *tokens to its true count. */
static int fit_window(window_text *w, size_t first, size_t room, size_t limit, size_t *last,
                      size_t *tokens, quern_error *err)
{
    size_t end = w->n - first <= room ? w->n : first + room;
    if (first == 0 && end == w->n && !w->context.len) { /* everything at once: nothing is cut */
        *last = end;
        *tokens = w->all->n;
        return QUERN_OK;
    }
    if (end < w->n)
        end = soft_end(w, first, end);
    for (;;) {
        size_t n = 0;
        int rc = count_tokens(w, w->start[first], w->end[end - 1], &n, err);
        if (rc != QUERN_OK)
            return rc;
        if (n <= limit) {
            *last = end;
            *tokens = n;
            return QUERN_OK;
        }
        if (end - first == 1)
            return quern__fail(err, QUERN_ETOOLONG, (int64_t)n,
                               "a single piece of text has %zu tokens, the model reads %zu", n,
                               limit);
        size_t excess = QUERN__MIN(n - limit, end - first - 1);
        end -= excess;
    }
}

/* Where the window after [first, last) begins. */
static size_t next_first(const window_text *w, size_t first, size_t last, size_t overlap)
{
    size_t at = last > overlap ? last - overlap : 0;
    if (at <= first)
        at = first + 1;
    for (size_t i = at; i < last && i < at + GAP_REACH; i++) {
        if (break_before(w, i) != QUERN__BREAK_NONE)
            return i;
    }
    return at;
}

static bool anything_left(quern_str text, size_t from)
{
    for (size_t i = from; i < text.len; i++) {
        if (!is_blank(text.ptr[i]))
            return true;
    }
    return false;
}

static int lay_windows(window_text *w, const quern__chunking *how, quern__pieces *out,
                       quern_error *err)
{
    /* The context may take a quarter of a window, if that leaves more than the overlap. */
    size_t spare = how->max_tokens - w->special - how->overlap - 1;
    size_t context = QUERN__MIN(spare, (size_t)how->max_tokens / QUARTER);
    size_t first = 0;
    size_t byte = 0;
    uint64_t chars = 0; /* code points before `byte` */
    while (first < w->n && out->n < how->max_chunks) {
        size_t last = 0;
        size_t tokens = 0;
        int rc = quern__context_at(&w->context, w->start[first], context, measure_tokens, w, err);
        if (rc != QUERN_OK)
            return rc;
        size_t room = how->max_tokens - w->special - w->context.units;
        rc = fit_window(w, first, room, how->max_tokens, &last, &tokens, err);
        if (rc != QUERN_OK)
            return rc;
        size_t start = w->start[first];
        size_t end = w->end[last - 1];
        chars += quern__utf8_count(w->text.ptr + byte, start - byte);
        byte = start;
        quern__piece piece = {.start = start, .end = end, .char_start = chars};
        piece.char_end = chars + quern__utf8_count(w->text.ptr + start, end - start);
        piece.tokens = (uint32_t)tokens;
        quern_str heading = {w->context.text, w->context.path};
        if ((rc = quern__pieces_push(out, piece, heading, err)) != QUERN_OK)
            return rc;
        if (last == w->n)
            break;
        first = next_first(w, first, last, how->overlap);
    }
    return QUERN_OK;
}

/* Form feeds part pages; where there are none, nothing is known of pages. */
static void count_pages(quern_str text, quern__pieces *out)
{
    const char *feed = text.len ? memchr(text.ptr, '\f', text.len) : NULL;
    size_t page = 1;
    for (size_t i = 0; feed && i < out->n; i++) {
        quern__piece *p = &out->items[i];
        while (feed && feed < text.ptr + p->start) {
            page++;
            feed = memchr(feed + 1, '\f', (size_t)(text.ptr + text.len - feed - 1));
        }
        p->page = (uint32_t)QUERN__MIN(page, (size_t)UINT32_MAX);
        if (!feed) { /* the last page */
            for (i++; i < out->n; i++)
                out->items[i].page = p->page;
        }
    }
}

static int chunk_tokens(quern_embedder *e, quern_str text, const quern__chunking *how,
                        quern__pieces *out, quern_error *err)
{
    window_text w = {.e = e, .text = text};
    size_t enough = (size_t)how->max_tokens * ((size_t)how->max_chunks + 1);
    size_t want = enough * BYTES_PER_TOKEN;
    size_t len = 0;
    int rc;
    quern__context_init(&w.context, text, how->headings);
    quern__buf_init(&w.input, (size_t)INT32_MAX);
    do { /* until the prefix has all the tokens that the cap can use, or is everything */
        len = prefix_end(text, want);
        rc = look(&w, len, err);
        want = want > SIZE_MAX / 4 ? SIZE_MAX : want * 4;
    } while (rc == QUERN_OK && w.n < enough && len < text.len);
    if (rc == QUERN_OK && w.special + how->overlap >= how->max_tokens)
        rc = quern__fail(err, QUERN_EINVAL, how->overlap,
                         "an overlap of %u tokens leaves no room in windows of %u", how->overlap,
                         how->max_tokens);
    if (rc == QUERN_OK)
        rc = lay_windows(&w, how, out, err);
    if (rc == QUERN_OK && out->n == how->max_chunks) {
        size_t end = (size_t)out->items[out->n - 1].end;
        bool more = w.n && end < w.end[w.n - 1];
        if (more || (len < text.len && anything_left(text, len)))
            out->dropped_bytes = text.len - end;
    }
    quern__buf_dispose(&w.input);
    quern_tokens_free(w.all);
    return rc;
}

int quern__chunk_text(quern_embedder *e, quern_str text, const quern__chunking *how,
                      quern__pieces *out, quern_error *err)
{
    out->n = 0;
    out->dropped_bytes = 0;
    if (!out->headings.max)
        quern__buf_init(&out->headings, (size_t)QUERN__CHUNK_LIMIT * QUERN__HEADING_PATH);
    quern__buf_clear(&out->headings);
    if (text.len == 0)
        return QUERN_OK;
    int rc = how->characters ? quern__chunk_characters(text, how, out, err)
                             : chunk_tokens(e, text, how, out, err);
    if (rc == QUERN_OK)
        count_pages(text, out);
    return rc;
}
