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
    const quern__bpe *bpe;
    quern_str text;
    quern__tokens *out;
    quern_error *err;
    uint32_t limit, first; /* first: tokens that were there before */
    int rc;
    bool well_formed;
    quern__normal normal;
    quern__bpe_work work;
};

void quern__segments_dispose(quern__segments *s)
{
    quern__added_dispose(&s->raw);
    quern__added_dispose(&s->normal);
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
    push(j, id, j->s->edges && j->s->edges[id] ? piece_text(j->bpe->vocab, id) : none, start, end);
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

/* The stretch [from, to) has no added tokens. */
static void words(struct job *j, const struct stretch *s, uint32_t from, uint32_t to)
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

int quern__bpe_run(const quern__segments *s, const quern__bpe *b, quern_str text, uint32_t limit,
                   quern__tokens *out, quern_error *err)
{
    struct job j = {.s = s, .bpe = b, .text = text, .out = out, .err = err, .limit = limit};
    struct stretch all = {text.ptr, (uint32_t)text.len, 0, NULL, NULL};
    quern__added_hit hit;
    uint32_t at = 0, since = 0;
    j.first = out->n;
    j.well_formed = quern__utf8_check(text.ptr, text.len) == text.len;
    quern__normal_init(&j.normal);
    quern__bpe_work_init(&j.work);
    while (j.rc == QUERN_OK && quern__added_next(&s->raw, text, at, since, &hit)) {
        segment(&j, since, hit.start);
        if (j.rc == QUERN_OK)
            push_added(&j, &all, &hit);
        at = hit.next;
        since = hit.end;
    }
    if (j.rc == QUERN_OK)
        segment(&j, since, (uint32_t)text.len);
    quern__bpe_work_dispose(&j.work);
    quern__normal_dispose(&j.normal);
    return j.rc;
}
