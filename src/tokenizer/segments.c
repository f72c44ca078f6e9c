/*
 * segments.c — most text needs no normaliser: it is well-formed and comes out as it goes in, so words
 * are cut from the text itself and no copy is made. Only a segment that would change is spelled out
 * anew, with the bytes of the original beside each of its bytes.
 *
 * A blank that the reference puts before a segment is not put anywhere: the word that it belongs to
 * carries a flag, and its place is that of the character behind it, as in the reference.
 */
#include "tokenizer/segments.h"

#include <string.h>

#include "base/alloc.h"
#include "text/unicode_split.h"
#include "text/utf8.h"
#include "tokenizer/wordpiece.h"

/* A segment: bytes of the text from `base` on, or normalised ones with their places. */
struct stretch {
    const char *text;
    uint32_t len, base;
    const uint32_t *start, *end; /* NULL: of the text itself */
};

struct job {
    const quern__segments *s;
    const quern__vocab *vocab;
    const quern__bpe *bpe; /* or NULL */
    const quern__unigram *unigram;
    quern_str text;
    quern__tokens *out;
    quern_error *err;
    uint32_t limit, first; /* first: tokens that were there before */
    int rc;
    bool well_formed;
    quern__normal normal;
    quern__bpe_work work;
    quern__unigram_work paths;
};

void quern__segments_dispose(quern__segments *s)
{
    quern__added_dispose(&s->raw);
    quern__added_dispose(&s->normal);
    quern__normalizer_dispose(&s->normalizer);
    quern__arena_dispose(&s->names);
    quern__free(s->edges);
    s->edges = NULL;
}

/* ---- white space at the edges of a token ---- */

/* How many characters at the front and at the back of a piece the reference takes for white space:
 * the letter of the blank, and White_Space. */
static void edges_of(quern_str piece, uint32_t *lead, uint32_t *trail)
{
    uint32_t cp, total = 0, inner = 0; /* inner: up to the last that is none */
    *lead = 0;
    for (size_t at = 0; at < piece.len; total++) {
        bool bad = false;
        at += quern__utf8_next(piece.ptr + at, piece.len - at, &cp, &bad);
        if (cp == quern__byte_letter(' ') || quern__split_class(cp) & QUERN__SPLIT_SPACE)
            *lead += *lead == total;
        else
            inner = total + 1;
    }
    *trail = total - inner;
}

static quern_str piece_text(const quern__vocab *v, uint32_t id)
{
    struct quern__piece p = v->pieces[id];
    return p.at == UINT32_MAX ? (quern_str){"", 0} : (quern_str){v->bytes.data + p.at, p.len};
}

int quern__segments_ready(quern__segments *s, const quern__vocab *v, quern_error *err)
{
    quern__added_ready(&s->raw);
    quern__added_ready(&s->normal);
    if (!s->trim)
        return QUERN_OK;
    s->edges = quern__calloc(v->size, 1);
    if (!s->edges)
        return quern__fail_memory(err, v->size);
    for (uint32_t id = 0; id < v->size; id++) {
        uint32_t lead, trail;
        edges_of(piece_text(v, id), &lead, &trail);
        s->edges[id] = lead || trail;
    }
    return QUERN_OK;
}

/* Moves the edges inwards by as many characters of the text as the piece has blanks there. */
static void trim(const struct job *j, quern_str piece, uint32_t *start, uint32_t *end)
{
    uint32_t lead, trail, cp, all, at;
    bool first = j->out->n == j->first || *start == 0, bad = false;
    edges_of(piece, &lead, &trail);
    if (lead == 1 && first && j->s->trim_keeps_first)
        lead = 0;
    for (; lead && *start < *end; lead--)
        *start += quern__utf8_next(j->text.ptr + *start, j->text.len - *start, &cp, &bad);
    if (!trail || (*end < 4 * trail && quern__utf8_count(j->text.ptr, *end) < trail))
        return;
    all = (uint32_t)quern__utf8_count(j->text.ptr + *start, *end - *start);
    for (at = *start; all > trail; all--)
        at += quern__utf8_next(j->text.ptr + at, j->text.len - at, &cp, &bad);
    *end = at;
}

/* ---- tokens ---- */

/* `piece`: how the reference has the token, when its edges count. */
static void push(struct job *j, uint32_t id, quern_str piece, uint32_t start, uint32_t end)
{
    if (piece.len)
        trim(j, piece, &start, &end);
    j->rc = quern__tokens_push(j->out, j->limit, (int32_t)id, start, end, false, j->err);
}

/* The bytes of the text that stand behind [from, to) of a stretch; a character that is touched has
 * all of its bytes. */
static void locate(const struct stretch *s, uint32_t from, uint32_t to, uint32_t *start,
                   uint32_t *end)
{
    if (s->start) {
        *start = s->start[from];
        *end = s->end[to - 1];
        return;
    }
    while (((uint8_t)s->text[from] & 0xC0) == 0x80)
        from--;
    while (to < s->len && ((uint8_t)s->text[to] & 0xC0) == 0x80)
        to++;
    *start = s->base + from;
    *end = s->base + to;
}

static void push_piece(struct job *j, const struct stretch *s, uint32_t id, uint32_t from,
                       uint32_t to)
{
    uint32_t start, end;
    quern_str none = {NULL, 0};
    locate(s, from, to, &start, &end);
    push(j, id, j->s->edges && j->s->edges[id] ? piece_text(j->vocab, id) : none, start, end);
}

/* An added token is, to the reference, the text that it was found as, white space included. */
static void push_added(struct job *j, const struct stretch *s, const quern__added_hit *hit)
{
    uint32_t start, end;
    quern_str found = {s->text + hit->start, j->s->trim ? hit->end - hit->start : 0};
    if (s->start) {
        locate(s, hit->start, hit->end, &start, &end);
    } else { /* whole characters; ill-formed bytes behind them are none of it */
        start = s->base + hit->start;
        end = s->base + hit->end;
    }
    push(j, (uint32_t)hit->token->id, found, start, end);
}

static void word(struct job *j, const struct stretch *s, uint32_t from, uint32_t to, bool blank)
{
    const struct quern__symbol *at;
    j->rc = quern__bpe_cut(j->bpe, &j->work, blank, s->text + from, to - from, j->err);
    at = j->work.symbols;
    for (uint32_t i = 0; j->rc == QUERN_OK && i < j->work.n; i++) {
        uint32_t a = at[i].at, b = at[i + 1].at;
        a = blank && a ? a - 1 : a;
        b = blank ? b - 1 : b;
        push_piece(j, s, at[i].id, from + a, from + (b > a ? b : a + 1));
    }
}

static void byte_words(struct job *j, const struct stretch *s, uint32_t from, uint32_t to)
{
    bool blank = j->s->prefix_blank && from < to && s->text[from] != ' ';
    for (uint32_t end; from < to && j->rc == QUERN_OK; from = end, blank = false) {
        end = quern__word_end(&j->s->words, s->text, to, from, blank);
        if (end > from)
            word(j, s, from, end, blank);
        else /* the blank alone */
            push_piece(j, s, j->bpe->bytes[' '], from, from + 1);
    }
}

/* ---- Unigram, and BPE of characters ---- */

static uint32_t next_cp(const struct job *j, const struct stretch *s, uint32_t at, uint32_t *cp)
{
    bool bad = false;
    *cp = (uint8_t)s->text[at];
    uint32_t n = *cp < 0x80 ? 1 : quern__utf8_next(s->text + at, s->len - at, cp, &bad);
    *cp = *cp == ' ' && !j->s->blanks.as_is ? QUERN__UNIGRAM_BLANK : *cp;
    return n;
}

/* Each byte of an unknown run has its token, and all have the place of the run. */
static bool push_bytes(struct job *j, const struct stretch *s, uint32_t a, uint32_t b,
                       uint32_t from, uint32_t to)
{
    for (int pass = 0; pass < 2 && j->rc == QUERN_OK; pass++)
        for (uint32_t i = a; i < b && j->rc == QUERN_OK; i++) {
            char utf8[4];
            uint32_t n = quern__utf8_put(utf8, j->paths.cps[i]);
            for (uint32_t k = 0; k < n && j->rc == QUERN_OK; k++) {
                int32_t id = j->unigram->bytes[(uint8_t)utf8[k]];
                if (id < 0)
                    return false; /* only in the first pass, when nothing is pushed */
                if (pass)
                    push_piece(j, s, (uint32_t)id, from, to);
            }
        }
    return true;
}

static void merged_path(struct job *j, const struct stretch *s)
{
    const quern__unigram_work *w = &j->paths;
    j->rc = quern__bpe_cut_points(j->bpe, &j->work, w->cps, w->at, w->n, j->err);
    const struct quern__symbol *at = j->work.symbols;
    for (uint32_t i = 0; j->rc == QUERN_OK && i < j->work.n; i++) {
        uint32_t from = at[i].at, to = at[i + 1].at; /* alike: bytes of one character */
        push_piece(j, s, at[i].id, from, to > from ? to : from + 1);
    }
}

/* The word of j->paths, n code points. */
static void path(struct job *j, const struct stretch *s)
{
    quern__unigram_work *w = &j->paths;
    if (j->bpe) {
        merged_path(j, s);
        return;
    }
    quern__unigram_cut(j->unigram, w);
    for (uint32_t i = 0; i < w->n_parts && j->rc == QUERN_OK; i++) {
        const struct quern__part *p = &w->parts[i];
        uint32_t from = w->at[p->from], to = w->at[p->to];
        to = to > from ? to : w->at[p->to + 1]; /* the prefix alone: the character behind it */
        if (p->id >= 0)
            push_piece(j, s, (uint32_t)p->id, from, to);
        else if (!j->unigram->byte_fallback || !push_bytes(j, s, p->from, p->to, from, to))
            push_piece(j, s, (uint32_t)j->unigram->unk, from, to);
    }
}

/* [from, to), not empty, to words that begin at each "▁". */
static void blank_words(struct job *j, const struct stretch *s, uint32_t from, uint32_t to)
{
    const struct quern__blanks *b = &j->s->blanks;
    quern__unigram_work *w = &j->paths;
    uint32_t cp, start, end;
    w->n = 0;
    j->rc = quern__unigram_room(w, 2, j->err);
    if (j->rc != QUERN_OK)
        return;
    next_cp(j, s, from, &cp);
    locate(s, from, from + 1, &start, &end);
    if (cp != QUERN__UNIGRAM_BLANK &&
        (b->prefix == QUERN__PREFIX_ALWAYS || (b->prefix == QUERN__PREFIX_FIRST && start == 0))) {
        w->cps[w->n] = QUERN__UNIGRAM_BLANK;
        w->at[w->n++] = from;
    }
    for (uint32_t at = from, step; at < to && j->rc == QUERN_OK; at += step) {
        step = next_cp(j, s, at, &cp);
        if (b->split && cp == QUERN__UNIGRAM_BLANK && at > from) {
            w->at[w->n] = at;
            path(j, s);
            w->n = 0;
        }
        if (w->n + 2 > w->cap && j->rc == QUERN_OK)
            j->rc = quern__unigram_room(w, w->n + w->n / 2 + 2, j->err);
        if (j->rc != QUERN_OK)
            return;
        w->cps[w->n] = cp;
        w->at[w->n++] = at;
    }
    if (j->rc != QUERN_OK)
        return;
    w->at[w->n] = to;
    path(j, s);
}

static bool white_at(const struct stretch *s, uint32_t at, uint32_t *step)
{
    uint32_t cp = (uint8_t)s->text[at];
    bool bad = false;
    *step = cp < 0x80 ? 1 : quern__utf8_next(s->text + at, s->len - at, &cp, &bad);
    return quern__split_class(cp) & QUERN__SPLIT_SPACE;
}

static void white_words(struct job *j, const struct stretch *s, uint32_t from, uint32_t to)
{
    uint32_t step;
    while (from < to && j->rc == QUERN_OK) {
        uint32_t end = from;
        while (end < to && !white_at(s, end, &step))
            end += step;
        if (end > from)
            blank_words(j, s, from, end);
        from = end < to ? end + step : end;
    }
}

/* The stretch [from, to) has no added tokens. */
static void words(struct job *j, const struct stretch *s, uint32_t from, uint32_t to)
{
    if (from >= to)
        return;
    if (j->bpe && !j->bpe->points)
        byte_words(j, s, from, to);
    else if (j->s->blanks.white_split)
        white_words(j, s, from, to);
    else
        blank_words(j, s, from, to);
}

static void normalised(struct job *j, const struct stretch *s)
{
    quern_str text = {s->text, s->len};
    quern__added_hit hit;
    uint32_t at = 0, since = 0;
    while (j->rc == QUERN_OK && quern__added_next(&j->s->normal, text, at, since, &hit)) {
        words(j, s, since, hit.start);
        if (j->rc == QUERN_OK)
            push_added(j, s, &hit);
        at = hit.next;
        since = hit.end;
    }
    if (j->rc == QUERN_OK)
        words(j, s, since, s->len);
}

/* The bytes [from, to) of the text. */
static void segment(struct job *j, uint32_t from, uint32_t to)
{
    struct stretch s = {j->text.ptr + from, to - from, from, NULL, NULL};
    if (from >= to)
        return;
    if (!j->well_formed || !quern__normalizer_idle(&j->s->normalizer, s.text, s.len)) {
        j->rc =
            quern__normal_run(&j->s->normalizer, &j->normal, j->text.ptr, from, to - from, j->err);
        s = (struct stretch){j->normal.text, j->normal.len, 0, j->normal.start, j->normal.end};
    }
    if (j->rc == QUERN_OK)
        normalised(j, &s);
}

static int run(struct job *j)
{
    struct stretch all = {j->text.ptr, (uint32_t)j->text.len, 0, NULL, NULL};
    quern__added_hit hit;
    uint32_t at = 0, since = 0;
    j->first = j->out->n;
    j->well_formed = quern__utf8_check(j->text.ptr, j->text.len) == j->text.len;
    while (j->rc == QUERN_OK && quern__added_next(&j->s->raw, j->text, at, since, &hit)) {
        segment(j, since, hit.start);
        if (j->rc == QUERN_OK)
            push_added(j, &all, &hit);
        at = hit.next;
        since = hit.end;
    }
    if (j->rc == QUERN_OK)
        segment(j, since, (uint32_t)j->text.len);
    quern__bpe_work_dispose(&j->work);
    quern__unigram_work_dispose(&j->paths);
    quern__normal_dispose(&j->normal);
    return j->rc;
}

int quern__bpe_run(const quern__segments *s, const quern__bpe *b, quern_str text, uint32_t limit,
                   quern__tokens *out, quern_error *err)
{
    struct job j = {
        .s = s, .vocab = b->vocab, .bpe = b, .text = text, .limit = limit, .out = out, .err = err};
    return run(&j);
}

int quern__unigram_run(const quern__segments *s, const quern__unigram *u, quern_str text,
                       uint32_t limit, quern__tokens *out, quern_error *err)
{
    struct job j = {.s = s,
                    .vocab = u->vocab,
                    .unigram = u,
                    .text = text,
                    .limit = limit,
                    .out = out,
                    .err = err};
    return run(&j);
}
