/*
 * wordpiece.c — one pass over the text, no intermediate strings. The reference normalises a whole
 * copy of the text step by step and drags a table of alignments along; here each code point goes
 * through all steps at once and carries the bytes it came from, which gives the same tokens and
 * offsets because every step but one looks at single code points. The exception is the sorting of
 * combining marks by NFD: a run of them is held back (struct run) until the next starter.
 *
 * Sorting shows only for the few marks that stripping keeps (Hangul tone marks, musical stems,
 * spacing viramas), and the reference gives the sorted marks the offsets of the places they land
 * in, not of where they came from. Both are reproduced, and a test compares them.
 *
 * A word is kept until its end as bytes, with a prefix hash at each of its code points; a word of
 * more than max_chars is only counted. Memory is therefore bounded by max_chars, but for a run of
 * marks, which is bounded by the text.
 */
#include "tokenizer/wordpiece.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "text/unicode_bert.h"
#include "text/utf8.h"

enum byte_kind {
    KIND_LETTER,
    KIND_DROP,
    KIND_SPACE,
    KIND_PUNCTUATION,
    KIND_WIDE, /* not ASCII */
    KIND_MASK = 7,
    KIND_ADDED = 8, /* an added token may start here */
};

enum { STACK_CHARS = 128, STACK_MARKS = 32 };

/* One code point of a word: where it ends in the bytes, what hashes up to there, its origin. */
struct letter {
    uint64_t hash;
    uint32_t to, start, end;
};

struct word {
    char *bytes;
    struct letter *letters; /* letters[0] is the empty beginning */
    uint32_t n;             /* code points, also those past max_chars */
    uint32_t start, end;    /* of the whole word in the text */
};

struct mark {
    uint32_t cp, rank, start, end;
    bool keep, extra; /* extra: a second part of a decomposition, which takes no place of its own */
};

struct run {
    struct mark *marks, *heap; /* marks: the caller's first STACK_MARKS, or heap */
    uint32_t n, cap, kept;
};

/* How far an added token of three words has come, and what to undo when it is whole. */
struct frame {
    uint32_t words; /* of it that have been seen: 0, 1, 2 */
    uint32_t n, full, start;
};

struct scan {
    const quern__wordpiece *w;
    quern_str text;
    quern__tokens *out;
    quern_error *err;
    uint32_t limit;
    int rc; /* the first failure; latched */
    struct word word;
    struct run run;
    struct frame frames[QUERN__WORDPIECE_FRAMED];
};

/* ---- words to pieces ---- */

static void push(struct scan *s, int32_t id, uint32_t start, uint32_t end)
{
    if (s->rc == QUERN_OK)
        s->rc = quern__tokens_push(s->out, s->limit, id, start, end, false, s->err);
}

/* The longest piece from letter i on: its id and, in *next, the letter after it; -1 without any. */
static int32_t longest(const struct scan *s, uint32_t i, uint32_t *next)
{
    const quern__wordpiece *w = s->w;
    const struct letter *letters = s->word.letters;
    quern_str head = {w->prefix, i ? w->prefix_len : 0};
    uint64_t head_hash = i ? w->prefix_hash : 0;
    uint32_t from = letters[i].to;
    for (uint32_t j = QUERN__MIN(s->word.n, i + w->vocab->longest); j > i; j--) {
        uint32_t len = letters[j].to - from;
        if (len + head.len > w->vocab->longest)
            continue;
        uint64_t part = quern__vocab_part(w->vocab, letters[i].hash, letters[j].hash, len);
        uint64_t hash = head_hash * w->vocab->powers[len] + part;
        int32_t id = quern__vocab_match(w->vocab, hash, head, s->word.bytes + from, len);
        if (id >= 0) {
            *next = j;
            return id;
        }
    }
    return -1;
}

/* White space, or another added token: no word goes on from here. */
QUERN__INLINE void gap(struct scan *s)
{
    for (uint32_t i = 0; i < s->w->framed->n; i++)
        s->frames[i].words = 0;
}

/* The word just ended as the next of an added token's three; the third makes one token of them. had, full: tokens before
 * the word. */
static void follow_frame(struct scan *s, const quern__added *a, struct frame *f, uint32_t had,
                         uint32_t full)
{
    const struct word *word = &s->word;
    const char *part = f->words == 0 ? a->content : a->content + (f->words == 1 ? 1 : a->len - 1);
    const uint32_t len = f->words == 1 ? a->len - 2 : 1;
    if (word->n != len || len > s->w->max_chars || word->letters[len].to != len ||
        memcmp(word->bytes, part, len) != 0) {
        const bool again = f->words != 0; /* it may still be a first one */
        f->words = 0;
        if (again)
            follow_frame(s, a, f, had, full);
        return;
    }
    if (f->words == 0)
        *f = (struct frame){0, had, full, word->start};
    if (++f->words < 3)
        return;
    s->out->n = f->n;
    s->out->full = f->full;
    push(s, a->id, f->start, word->end);
    gap(s);
}

/* Ends the word, if one is open. */
static void close_word(struct scan *s)
{
    struct word *word = &s->word;
    uint32_t n = word->n, had = s->out->n, full = s->out->full;
    if (n == 0)
        return;
    bool known = n <= s->w->max_chars;
    for (uint32_t i = 0, next = 0; known && i < n; i = next) {
        int32_t id = longest(s, i, &next);
        known = id >= 0;
        if (known)
            push(s, id, word->letters[i + 1].start, word->letters[next].end);
    }
    if (!known) {
        s->out->n = had; /* one piece unknown: the whole word is */
        s->out->full = full;
        push(s, s->w->unk, word->start, word->end);
    }
    for (uint32_t i = 0; QUERN__UNLIKELY(i < s->w->framed->n); i++)
        follow_frame(s, &s->w->framed->items[i], &s->frames[i], had, full);
    word->n = 0;
}

QUERN__INLINE void add_letter(struct scan *s, uint32_t cp, uint32_t start, uint32_t end)
{
    struct word *word = &s->word;
    uint32_t n = word->n;
    if (n == 0)
        word->start = start;
    word->end = end;
    if (n < s->w->max_chars) {
        uint32_t at = word->letters[n].to, len = 1;
        if (cp < 0x80)
            word->bytes[at] = (char)cp;
        else
            len = quern__utf8_put(word->bytes + at, cp);
        uint64_t hash = word->letters[n].hash;
        for (uint32_t i = 0; i < len; i++)
            hash = quern__vocab_step(hash, (uint8_t)word->bytes[at + i]);
        word->letters[n + 1] = (struct letter){hash, at + len, start, end};
    }
    word->n = n < UINT32_MAX ? n + 1 : n;
}

/* A code point after all mapping, with its class. */
static void add(struct scan *s, uint32_t cp, uint32_t bits, uint32_t start, uint32_t end)
{
    if (bits & (QUERN__BERT_SPACE | QUERN__BERT_PUNCTUATION)) {
        close_word(s);
        if (bits & QUERN__BERT_SPACE) {
            gap(s);
            return;
        }
        add_letter(s, cp, start, end);
        close_word(s);
    } else {
        add_letter(s, cp, start, end);
    }
}

static void lower_and_add(struct scan *s, uint32_t cp, uint32_t bits, uint32_t start, uint32_t end)
{
    uint32_t parts[QUERN__BERT_PARTS];
    if (!s->w->lower || !(bits & QUERN__BERT_LOWERS)) {
        add(s, cp, bits, start, end);
        return;
    }
    uint32_t n = quern__bert_lower(cp, parts);
    for (uint32_t i = 0; i < n; i++)
        add(s, parts[i], parts[i] == cp ? bits : quern__bert_class(parts[i]), start, end);
}

/* ---- runs of combining marks ---- */

static void hold(struct scan *s, struct mark m)
{
    struct run *run = &s->run;
    if (run->n == run->cap) {
        /* A text has fewer than 2^32 bytes and a mark at least two, so this cannot wrap. */
        uint32_t cap = run->cap + run->cap / 2;
        struct mark *grown = quern__resize_array(run->heap, cap, sizeof *grown);
        if (!grown) {
            if (s->rc == QUERN_OK)
                s->rc = quern__fail_memory(s->err, cap * sizeof *grown);
            return;
        }
        if (!run->heap)
            memcpy(grown, run->marks, STACK_MARKS * sizeof *grown);
        run->heap = run->marks = grown;
        run->cap = cap;
    }
    run->marks[run->n++] = m;
    run->kept += m.keep;
}

static int by_rank(const void *a, const void *b)
{
    const struct mark *const *x = a, *const *y = b;
    if ((*x)->rank != (*y)->rank)
        return (*x)->rank < (*y)->rank ? -1 : 1;
    return *x < *y ? -1 : *x > *y; /* as they stood */
}

static void release_kept(struct scan *s)
{
    struct run *run = &s->run;
    struct mark **sorted = quern__alloc_array(run->n, sizeof *sorted);
    if (!sorted) {
        if (s->rc == QUERN_OK)
            s->rc = quern__fail_memory(s->err, run->n * sizeof *sorted);
        return;
    }
    for (uint32_t i = 0; i < run->n; i++)
        sorted[i] = &run->marks[i];
    qsort(sorted, run->n, sizeof *sorted, by_rank);
    /* The places are handed out in the order of the text; an extra mark shares the last one given,
     * to begin with that of its own starter. */
    uint32_t place = 0, start = run->marks[0].start, end = run->marks[0].end;
    for (uint32_t i = 0; i < run->n; i++) {
        const struct mark *m = sorted[i];
        if (!m->extra) {
            while (run->marks[place].extra)
                place++;
            start = run->marks[place].start;
            end = run->marks[place].end;
            place++;
        }
        if (m->keep)
            lower_and_add(s, m->cp, quern__bert_class(m->cp), start, end);
    }
    quern__free(sorted);
}

/* A starter follows, or the end of the piece of text. */
QUERN__INLINE void flush(struct scan *s)
{
    if (QUERN__LIKELY(s->run.n == 0))
        return;
    if (s->run.kept)
        release_kept(s);
    s->run.n = s->run.kept = 0;
}

static void boundary(struct scan *s)
{
    flush(s);
    close_word(s);
}

/* ---- code points ---- */

static void strip_and_add(struct scan *s, uint32_t cp, uint32_t bits, uint32_t start, uint32_t end)
{
    uint32_t parts[QUERN__BERT_PARTS];
    if (bits & QUERN__BERT_COMBINES) {
        hold(s, (struct mark){cp, quern__bert_rank(cp), start, end, !(bits & QUERN__BERT_MARK),
                              false});
        return;
    }
    flush(s);
    if (bits & QUERN__BERT_MARK)
        return;
    if (!(bits & QUERN__BERT_DECOMPOSES)) {
        lower_and_add(s, cp, bits, start, end);
        return;
    }
    uint32_t n = quern__bert_strip(cp, parts);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t part_bits = parts[i] == cp ? bits : quern__bert_class(parts[i]);
        if (i && part_bits & QUERN__BERT_COMBINES) {
            hold(s, (struct mark){parts[i], quern__bert_rank(parts[i]), start, end, true, true});
        } else {
            flush(s);
            lower_and_add(s, parts[i], part_bits, start, end);
        }
    }
}

/* A code point outside ASCII. */
static void add_wide(struct scan *s, uint32_t cp, uint32_t start, uint32_t end)
{
    const quern__wordpiece *w = s->w;
    uint32_t bits = quern__bert_class(cp);
    if (w->clean && bits & QUERN__BERT_CONTROL)
        return;
    bool alone = w->cjk && bits & QUERN__BERT_CJK;
    if (alone || bits & QUERN__BERT_SPACE)
        boundary(s);
    if (bits & QUERN__BERT_SPACE) {
        gap(s);
        return;
    }
    if (w->strip)
        strip_and_add(s, cp, bits, start, end);
    else
        lower_and_add(s, cp, bits, start, end);
    if (alone)
        boundary(s);
}

/* ---- added tokens ---- */

/* Emits the added token at `at`; *since is the end of the one before. Returns where to go on. */
static uint32_t take_added(struct scan *s, const quern__added *a, uint32_t at, uint32_t *since)
{
    uint32_t start = at, inner = at + a->len, end = inner;
    boundary(s);
    gap(s);
    if (a->lstrip && !s->w->trim)
        start = quern__space_before(s->text, *since, at);
    if (a->rstrip)
        end = quern__space_after(s->text, end);
    push(s, a->id, start, s->w->trim ? inner : end);
    *since = end;
    return end;
}

/* ---- the scan ---- */

static void scan_text(struct scan *s)
{
    const quern__wordpiece *w = s->w;
    const char *text = s->text.ptr;
    uint32_t len = (uint32_t)s->text.len, at = 0, since = 0;
    while (at < len && s->rc == QUERN_OK) {
        uint8_t byte = (uint8_t)text[at], kind = w->kind[byte];
        if (QUERN__UNLIKELY(kind & KIND_ADDED)) {
            const quern__added *a = quern__added_at(w->added, s->text, at);
            if (a) {
                at = take_added(s, a, at, &since);
                continue;
            }
            kind &= KIND_MASK;
        }
        if (kind == KIND_LETTER) {
            flush(s);
            add_letter(s, w->ascii[byte], at, at + 1);
            at++;
        } else if (kind == KIND_WIDE) {
            uint32_t cp;
            bool bad = false;
            uint32_t n = quern__utf8_next(text + at, len - at, &cp, &bad);
            add_wide(s, cp, at, at + n);
            at += n;
        } else {
            if (kind != KIND_DROP)
                boundary(s);
            if (kind == KIND_SPACE)
                gap(s);
            if (kind == KIND_PUNCTUATION) {
                add_letter(s, byte, at, at + 1);
                close_word(s);
            }
            at++;
        }
    }
    boundary(s);
}

int quern__wordpiece_run(const quern__wordpiece *w, quern_str text, uint32_t limit,
                         quern__tokens *out, quern_error *err)
{
    char bytes[STACK_CHARS * 4];
    struct letter letters[STACK_CHARS + 1];
    struct mark marks[STACK_MARKS];
    void *big = NULL;
    struct scan s = {.w = w, .text = text, .out = out, .err = err, .limit = limit};
    s.word.bytes = bytes;
    s.word.letters = letters;
    s.run.marks = marks;
    s.run.cap = STACK_MARKS;
    if (w->max_chars > STACK_CHARS) {
        size_t size = ((size_t)w->max_chars + 1) * sizeof(struct letter) + (size_t)w->max_chars * 4;
        big = quern__alloc(size);
        if (!big)
            return quern__fail_memory(err, size);
        s.word.letters = big;
        s.word.bytes = (char *)(s.word.letters + w->max_chars + 1);
    }
    s.word.letters[0] = (struct letter){0, 0, 0, 0};
    scan_text(&s);
    quern__free(s.run.heap);
    quern__free(big);
    return s.rc;
}

/* ---- making one ---- */

bool quern__wordpiece_framed(quern_str content)
{
    for (size_t i = 0; i < content.len; i++) {
        const uint8_t c = (uint8_t)content.ptr[i];
        const bool edge = i == 0 || i + 1 == content.len;
        const uint32_t bits = c < 0x80 ? quern__bert_class(c) : QUERN__BERT_CONTROL;
        if (bits & (QUERN__BERT_CONTROL | QUERN__BERT_SPACE) ||
            edge != ((bits & QUERN__BERT_PUNCTUATION) != 0))
            return false;
    }
    return content.len >= 3;
}

static uint8_t ascii_kind(const quern__wordpiece *w, uint32_t bits)
{
    if (w->clean && bits & QUERN__BERT_CONTROL)
        return KIND_DROP;
    if (bits & QUERN__BERT_SPACE)
        return KIND_SPACE;
    return bits & QUERN__BERT_PUNCTUATION ? KIND_PUNCTUATION : KIND_LETTER;
}

void quern__wordpiece_ready(quern__wordpiece *w)
{
    w->prefix_hash = 0;
    for (uint32_t i = 0; i < w->prefix_len; i++)
        w->prefix_hash = quern__vocab_step(w->prefix_hash, (uint8_t)w->prefix[i]);
    memset(w->kind, KIND_WIDE, sizeof w->kind);
    for (uint32_t c = 0; c < 128; c++) {
        uint32_t parts[QUERN__BERT_PARTS] = {c};
        if (w->lower)
            quern__bert_lower(c, parts);
        w->ascii[c] = (uint8_t)parts[0];
        w->kind[c] = ascii_kind(w, quern__bert_class(c));
    }
    for (uint32_t b = 0; b < 256; b++)
        if (w->added->from[b] < w->added->from[b + 1])
            w->kind[b] |= KIND_ADDED;
}
