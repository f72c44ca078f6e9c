/*
 * bpe.c — merges looked up by the two ids in one table. A word of a few symbols, which is nearly every
 * word, is merged by looking for the best pair again after each step: quadratic in a length that is
 * bounded. Longer ones (a line of Chinese, a megabyte of "aaaa") go through a heap, so that no text is
 * slow. Both take the lowest rank first and of equal ones the leftmost, as the reference does.
 *
 * The reference drops bytes that have no piece, or gives them the unknown token; a byte-level
 * vocabulary without all 256 bytes is refused instead.
 */
#include "tokenizer/bpe.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "text/utf8.h"

enum { SHORT_WORD = 24 };
static const uint32_t END = UINT32_MAX, GONE = UINT32_MAX - 1;

uint32_t quern__byte_letter(uint8_t byte)
{
    /* Printable Latin-1 stands for itself, the 68 others follow U+0100 in their order. */
    if ((byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE)
        return byte;
    if (byte <= ' ')
        return 0x100u + byte;
    return byte == 0xAD ? 0x143u : 0x121u + (byte - 0x7Fu);
}

void quern__bpe_dispose(quern__bpe *b)
{
    quern__free(b->merges);
    quern__free(b->slots);
    memset(b, 0, sizeof *b);
}

/* ---- making one ---- */

enum quern__merge_added quern__bpe_merge(quern__bpe *b, quern_str left, quern_str right)
{
    char whole[2 * QUERN__VOCAB_MAX_PIECE];
    if (b->n == QUERN__BPE_MAX_MERGES)
        return QUERN__MERGE_TOO_MANY;
    int32_t l = quern__vocab_find(b->vocab, left), r = quern__vocab_find(b->vocab, right);
    if (l < 0 || r < 0)
        return QUERN__MERGE_UNKNOWN;
    memcpy(whole, left.ptr, left.len); /* a piece, so it fits */
    memcpy(whole + left.len, right.ptr, right.len);
    int32_t id = quern__vocab_find(b->vocab, (quern_str){whole, left.len + right.len});
    if (id < 0)
        return QUERN__MERGE_NO_WHOLE;
    if (b->n == b->cap) {
        uint32_t cap = b->cap ? b->cap + b->cap / 2 : 1024;
        struct quern__merge *grown = quern__resize_array(b->merges, cap, sizeof *grown);
        if (!grown)
            return QUERN__MERGE_NO_MEMORY;
        b->merges = grown;
        b->cap = cap;
    }
    b->merges[b->n++] = (struct quern__merge){(uint32_t)l, (uint32_t)r, (uint32_t)id};
    return QUERN__MERGE_ADDED;
}

const char *quern__merge_why(enum quern__merge_added what)
{
    switch (what) {
    case QUERN__MERGE_ADDED:
        return "added";
    case QUERN__MERGE_NO_MEMORY:
        return "no memory for it";
    case QUERN__MERGE_TOO_MANY:
        return "one merge too many";
    case QUERN__MERGE_UNKNOWN:
        return "one of its parts is not in the vocabulary";
    case QUERN__MERGE_NO_WHOLE:
        return "the two together are not in the vocabulary";
    }
    return "unknown";
}

QUERN__INLINE uint32_t slot_of(uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)((h ^ h >> 29) * UINT64_C(0xBF58476D1CE4E5B9) >> 32);
}

static int find_bytes(quern__bpe *b, const char *file, quern_error *err)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        char letter[8];
        uint32_t len = b->points
                           ? (uint32_t)snprintf(letter, sizeof letter, "<0x%02X>", (unsigned)byte)
                           : quern__utf8_put(letter, quern__byte_letter((uint8_t)byte));
        int32_t id = quern__vocab_find(b->vocab, (quern_str){letter, len});
        if (id < 0)
            return quern__fail(err, QUERN_EFORMAT, 0,
                               "%s: byte 0x%02X has no piece in the vocabulary ('%.*s'): not a "
                               "%s",
                               file, (unsigned)byte, (int)len, letter,
                               b->points ? "BPE with all bytes to fall back on" : "byte-level BPE");
        b->bytes[byte] = (uint32_t)id;
    }
    return QUERN_OK;
}

int quern__bpe_ready(quern__bpe *b, const char *file, quern_error *err)
{
    int rc = find_bytes(b, file, err);
    if (rc != QUERN_OK)
        return rc;
    uint32_t size = 128;
    while (size < b->n + b->n / 2 + 1) /* at most two thirds full */
        size *= 2;
    b->slots = quern__calloc(size, sizeof *b->slots);
    if (!b->slots)
        return quern__fail_memory(err, size * sizeof *b->slots);
    b->mask = size - 1;
    for (uint32_t i = 0; i < b->n; i++) {
        const struct quern__merge *m = &b->merges[i];
        uint32_t at = slot_of(m->left, m->right) & b->mask;
        for (uint32_t probes = 0; b->slots[at].rank1; at = (at + 1) & b->mask) {
            bool twice = b->slots[at].left == m->left && b->slots[at].right == m->right;
            if (twice || ++probes > QUERN__VOCAB_MAX_PROBES)
                return quern__fail(err, QUERN_EFORMAT, (int64_t)i, "%s: merge %u %s", file,
                                   (unsigned)i + 1,
                                   twice ? "is there twice" : "shares its hash with too many");
        }
        b->slots[at] = (struct quern__merge_slot){m->left, m->right, i + 1, m->id};
    }
    return QUERN_OK;
}

/* ---- a word ---- */

void quern__bpe_work_dispose(quern__bpe_work *w)
{
    quern__free(w->symbols);
    quern__free(w->heap);
    memset(w, 0, sizeof *w);
}

/* Looks the pair (s, next) up and notes its rank. */
QUERN__INLINE void rate(const quern__bpe *b, struct quern__symbol *s,
                        const struct quern__symbol *next)
{
    uint32_t left = s->id, right = next->id;
    s->rank = QUERN__BPE_NO_RANK;
    for (uint32_t at = slot_of(left, right) & b->mask; b->slots[at].rank1; at = (at + 1) & b->mask)
        if (b->slots[at].left == left && b->slots[at].right == right) {
            s->rank = b->slots[at].rank1 - 1;
            s->merged = b->slots[at].id;
            return;
        }
}

/* Best pair by a scan, again and again; symbols stay side by side. */
static void merge_short(const quern__bpe *b, quern__bpe_work *w)
{
    struct quern__symbol *s = w->symbols;
    uint32_t n = w->n;
    for (;;) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < n; i++)
            if (s[i].rank < s[best].rank)
                best = i;
        if (s[best].rank == QUERN__BPE_NO_RANK)
            break;
        s[best].id = s[best].merged;
        memmove(s + best + 1, s + best + 2, (n - best - 2) * sizeof *s);
        n--;
        if (best + 1 < n)
            rate(b, &s[best], &s[best + 1]);
        else
            s[best].rank = QUERN__BPE_NO_RANK;
        if (best > 0)
            rate(b, &s[best - 1], &s[best]);
    }
    w->n = n;
}

static bool before(const struct quern__pair *a, const struct quern__pair *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

/* The heap never holds more than two entries a symbol: one at first, two more for each merge, and a
 * merge takes one out. */
static void heap_push(quern__bpe_work *w, struct quern__pair p)
{
    uint32_t i = w->n_heap++;
    while (i > 0 && before(&p, &w->heap[(i - 1) / 2])) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = p;
}

static struct quern__pair heap_pop(quern__bpe_work *w)
{
    struct quern__pair top = w->heap[0], last = w->heap[--w->n_heap];
    uint32_t i = 0, n = w->n_heap;
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= n)
            break;
        if (child + 1 < n && before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!before(&w->heap[child], &last))
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

static void offer(const quern__bpe *b, quern__bpe_work *w, uint32_t at)
{
    struct quern__symbol *s = &w->symbols[at];
    s->rank = QUERN__BPE_NO_RANK;
    if (s->next == END)
        return;
    rate(b, s, &w->symbols[s->next]);
    if (s->rank != QUERN__BPE_NO_RANK)
        heap_push(w, (struct quern__pair){s->rank, at, s->merged});
}

static void merge_long(const quern__bpe *b, quern__bpe_work *w)
{
    struct quern__symbol *s = w->symbols;
    uint32_t n = w->n, kept = 0;
    w->n_heap = 0;
    for (uint32_t i = 0; i < n; i++) {
        s[i].prev = i ? i - 1 : END;
        s[i].next = i + 1 < n ? i + 1 : END;
        if (s[i].rank != QUERN__BPE_NO_RANK)
            heap_push(w, (struct quern__pair){s[i].rank, i, s[i].merged});
    }
    while (w->n_heap) {
        struct quern__pair p = heap_pop(w);
        struct quern__symbol *left = &s[p.at];
        if (left->next == GONE || left->rank != p.rank || left->merged != p.merged)
            continue; /* this pair is no more */
        struct quern__symbol *right = &s[left->next];
        left->id = left->merged;
        left->next = right->next;
        if (right->next != END)
            s[right->next].prev = p.at;
        right->next = GONE;
        offer(b, w, p.at);
        if (left->prev != END)
            offer(b, w, left->prev);
    }
    for (uint32_t i = 0; i < n; i++)
        if (s[i].next != GONE)
            s[kept++] = s[i];
    w->n = kept;
}

/* The symbols [0, n) as they are first. */
static void merge(const quern__bpe *b, quern__bpe_work *w, uint32_t n)
{
    struct quern__symbol *s = w->symbols;
    for (uint32_t i = 0; i + 1 < n; i++)
        rate(b, &s[i], &s[i + 1]);
    s[n - 1].rank = QUERN__BPE_NO_RANK;
    w->n = n;
    if (n <= SHORT_WORD)
        merge_short(b, w);
    else
        merge_long(b, w);
}

static int reserve(quern__bpe_work *w, uint32_t n, quern_error *err)
{
    if (n + 1 > w->cap) {
        uint32_t cap = QUERN__MAX(n + 1, 2 * SHORT_WORD);
        struct quern__symbol *grown = quern__resize_array(w->symbols, cap, sizeof *grown);
        if (!grown)
            return quern__fail_memory(err, (size_t)cap * sizeof *grown);
        w->symbols = grown;
        w->cap = cap;
    }
    if (n > SHORT_WORD && (uint64_t)n * 3 > w->heap_cap) {
        if (n > UINT32_MAX / 3)
            return quern__fail_memory(err, SIZE_MAX);
        struct quern__pair *grown = quern__resize_array(w->heap, (size_t)n * 3, sizeof *grown);
        if (!grown)
            return quern__fail_memory(err, (size_t)n * 3 * sizeof *grown);
        w->heap = grown;
        w->heap_cap = n * 3;
    }
    return QUERN_OK;
}

/* The piece that the whole word is, or -1. */
static int32_t whole_piece(const quern__bpe *b, bool blank, const char *word, uint32_t len)
{
    char spelled[QUERN__VOCAB_MAX_PIECE + 8];
    uint32_t n = blank ? quern__utf8_put(spelled, quern__byte_letter(' ')) : 0;
    for (uint32_t i = 0; i < len; i++) {
        if (n > b->vocab->longest)
            return -1;
        n += quern__utf8_put(spelled + n, quern__byte_letter((uint8_t)word[i]));
    }
    return quern__vocab_find(b->vocab, (quern_str){spelled, n});
}

int quern__bpe_cut(const quern__bpe *b, quern__bpe_work *w, bool blank, const char *word,
                   uint32_t len, quern_error *err)
{
    int rc = reserve(w, len + blank, err);
    if (rc != QUERN_OK)
        return rc;
    struct quern__symbol *s = w->symbols;
    uint32_t n = 0;
    if (b->ignore_merges) {
        int32_t id = whole_piece(b, blank, word, len);
        if (id >= 0) {
            s[0] = (struct quern__symbol){(uint32_t)id, 0, 0, 0, 0, 0};
            s[1].at = len + blank;
            w->n = 1;
            return QUERN_OK;
        }
    }
    if (blank)
        s[n++] = (struct quern__symbol){b->bytes[' '], 0, 0, 0, 0, 0};
    for (uint32_t i = 0; i < len; i++, n++) {
        s[n].id = b->bytes[(uint8_t)word[i]];
        s[n].at = n;
        s[n].next = 0;
    }
    merge(b, w, n);
    s[w->n].at = len + blank;
    return QUERN_OK;
}

/* The piece that n code points are, or -1. */
static int32_t piece_of(const quern__bpe *b, const uint32_t *cps, uint32_t n)
{
    char spelled[QUERN__VOCAB_MAX_PIECE + 4];
    uint32_t len = 0;
    spelled[0] = '\0';
    for (uint32_t i = 0; i < n; i++) {
        len += quern__utf8_put(spelled + len, cps[i]);
        if (len > b->vocab->longest)
            return -1;
    }
    return quern__vocab_find(b->vocab, (quern_str){spelled, len});
}

int quern__bpe_cut_points(const quern__bpe *b, quern__bpe_work *w, const uint32_t *cps,
                          const uint32_t *at, uint32_t n, quern_error *err)
{
    char utf8[4];
    uint64_t most = 0;
    uint32_t made = 0;
    for (uint32_t i = 0; i < n; i++)
        most += quern__utf8_put(utf8, cps[i]);
    int rc =
        most < UINT32_MAX / 3 ? reserve(w, (uint32_t)most, err) : quern__fail_memory(err, SIZE_MAX);
    if (rc != QUERN_OK)
        return rc;
    struct quern__symbol *s = w->symbols;
    int32_t whole = b->ignore_merges ? piece_of(b, cps, n) : -1;
    if (whole >= 0)
        s[made++] = (struct quern__symbol){(uint32_t)whole, 0, at[0], 0, 0, 0};
    for (uint32_t i = 0; whole < 0 && i < n; i++) {
        int32_t id = piece_of(b, cps + i, 1);
        uint32_t len = id < 0 ? quern__utf8_put(utf8, cps[i]) : 1;
        for (uint32_t k = 0; k < len; k++) {
            uint32_t within = at[i + 1] - at[i] > k ? k
                              : at[i + 1] > at[i]   ? at[i + 1] - at[i] - 1
                                                    : 0;
            s[made++] = (struct quern__symbol){
                id < 0 ? b->bytes[(uint8_t)utf8[k]] : (uint32_t)id, 0, at[i] + within, 0, 0, 0};
        }
    }
    merge(b, w, made);
    s[w->n].at = at[n];
    return QUERN_OK;
}
