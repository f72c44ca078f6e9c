/*
 * unigram.c — Viterbi as the reference has it, down to the order of its comparisons: scores are added
 * in double precision from the left, of two ways of equal score the one that was found first stays, and
 * neighbouring unknown characters become one token. The pieces are a trie over code points that lies in
 * one hash table, so that building it for 250,000 pieces costs no sorting.
 */
#include "tokenizer/unigram.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "text/utf8.h"

enum { ROOT = 1 };
#define UNKNOWN_PENALTY 10.0

void quern__unigram_dispose(quern__unigram *u)
{
    quern__free(u->scores);
    quern__free(u->nodes);
    memset(u, 0, sizeof *u);
}

bool quern__unigram_score(quern__unigram *u, double score)
{
    if (u->n == u->cap) {
        uint32_t cap = u->cap ? u->cap + u->cap / 2 : 1024;
        double *grown = quern__resize_array(u->scores, cap, sizeof *grown);
        if (!grown)
            return false;
        u->scores = grown;
        u->cap = cap;
    }
    u->scores[u->n++] = score;
    return true;
}

/* ---- the trie ---- */

QUERN__INLINE uint32_t slot_of(uint32_t parent, uint32_t cp)
{
    uint64_t h = ((uint64_t)parent << 21 | cp) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)((h ^ h >> 29) * UINT64_C(0xBF58476D1CE4E5B9) >> 32);
}

/* The node, or the free place where it would be. */
QUERN__INLINE struct quern__node *node_at(const quern__unigram *u, uint32_t parent, uint32_t cp)
{
    uint32_t at = slot_of(parent, cp) & u->mask;
    while (u->nodes[at].number && (u->nodes[at].parent != parent || u->nodes[at].cp != cp))
        at = (at + 1) & u->mask;
    return &u->nodes[at];
}

static bool grow(quern__unigram *u)
{
    uint32_t size = u->nodes ? (u->mask + 1) * 2 : 1024;
    struct quern__node *old = u->nodes, *fresh = quern__calloc(size, sizeof *fresh);
    uint32_t n = u->nodes ? u->mask + 1 : 0;
    if (!fresh)
        return false;
    u->nodes = fresh;
    u->mask = size - 1;
    for (uint32_t i = 0; i < n; i++)
        if (old[i].number)
            *node_at(u, old[i].parent, old[i].cp) = old[i];
    quern__free(old);
    return true;
}

/* QUERN_OK, ENOMEM, or EFORMAT when somebody has chosen pieces whose nodes share their hash. */
static int insert(quern__unigram *u, quern_str piece, int32_t id)
{
    uint32_t parent = ROOT, cp;
    struct quern__node *node = NULL;
    for (size_t at = 0; at < piece.len; parent = node->number) {
        bool bad = false;
        if (u->n_nodes >= u->mask / 3 * 2 && !grow(u))
            return QUERN_ENOMEM;
        at += quern__utf8_next(piece.ptr + at, piece.len - at, &cp, &bad);
        node = node_at(u, parent, cp);
        if (node->number)
            continue;
        if (((uint32_t)(node - u->nodes) - slot_of(parent, cp)) & u->mask & ~255u)
            return QUERN_EFORMAT;
        *node = (struct quern__node){parent, cp, ROOT + ++u->n_nodes, -1};
    }
    if (node)
        node->id = id;
    return QUERN_OK;
}

static void find_bytes(quern__unigram *u)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)byte);
        u->bytes[byte] = u->byte_fallback ? quern__vocab_find(u->vocab, quern_str_of(name)) : -1;
    }
}

int quern__unigram_ready(quern__unigram *u, const char *file, quern_error *err)
{
    double least = INFINITY;
    for (uint32_t id = 0; id < u->n; id++) {
        struct quern__piece p = u->vocab->pieces[id];
        int rc = p.at == UINT32_MAX
                     ? QUERN_OK
                     : insert(u, (quern_str){u->vocab->bytes.data + p.at, p.len}, (int32_t)id);
        if (rc == QUERN_EFORMAT)
            return quern__fail(err, rc, (int64_t)id, "%s: piece %u: too many pieces share one hash",
                               file, (unsigned)id);
        if (rc != QUERN_OK)
            return quern__fail_memory(err, (size_t)(u->mask + 1) * 2 * sizeof *u->nodes);
        least = u->scores[id] < least ? u->scores[id] : least;
    }
    if (!u->nodes && !grow(u))
        return quern__fail_memory(err, 0);
    u->unk_score = least - UNKNOWN_PENALTY;
    find_bytes(u);
    return QUERN_OK;
}

/* ---- a word ---- */

void quern__unigram_work_dispose(quern__unigram_work *w)
{
    quern__free(w->cps);
    quern__free(w->at);
    quern__free(w->best);
    quern__free(w->parts);
    memset(w, 0, sizeof *w);
}

int quern__unigram_room(quern__unigram_work *w, uint32_t n, quern_error *err)
{
    if (n < w->cap)
        return QUERN_OK;
    uint32_t cap = QUERN__MAX(n + 1, 64);
    uint32_t *cps = quern__resize_array(w->cps, cap, sizeof *cps);
    w->cps = cps ? cps : w->cps;
    uint32_t *at = cps ? quern__resize_array(w->at, cap, sizeof *at) : NULL;
    w->at = at ? at : w->at;
    struct quern__best *best = at ? quern__resize_array(w->best, cap, sizeof *best) : NULL;
    w->best = best ? best : w->best;
    struct quern__part *parts = best ? quern__resize_array(w->parts, cap, sizeof *parts) : NULL;
    w->parts = parts ? parts : w->parts;
    if (!parts)
        return quern__fail_memory(err, (size_t)cap * 36);
    w->cap = cap;
    return QUERN_OK;
}

QUERN__INLINE void offer(struct quern__best *to, double score, uint32_t from, int32_t id)
{
    if (to->from == UINT32_MAX || score > to->score)
        *to = (struct quern__best){score, from, id};
}

static void forward(const quern__unigram *u, quern__unigram_work *w)
{
    for (uint32_t i = 1; i <= w->n; i++)
        w->best[i].from = UINT32_MAX;
    w->best[0] = (struct quern__best){0, 0, -1};
    for (uint32_t i = 0; i < w->n; i++) {
        double here = w->best[i].score;
        bool single = false;
        uint32_t parent = ROOT;
        for (uint32_t k = i; k < w->n; k++) {
            const struct quern__node *node = node_at(u, parent, w->cps[k]);
            if (!node->number)
                break;
            parent = node->number;
            if (node->id < 0)
                continue;
            offer(&w->best[k + 1], u->scores[node->id] + here, i, node->id);
            single |= k == i;
        }
        if (!single)
            offer(&w->best[i + 1], u->unk_score + here, i, u->unk);
    }
}

/* A run of unknown characters is one token, and a piece if it happens to be one. */
static int32_t id_of_run(const quern__unigram *u, const uint32_t *cps, uint32_t n)
{
    char text[QUERN__VOCAB_MAX_PIECE + 4] = {0};
    uint32_t len = 0;
    for (uint32_t i = 0; i < n && len <= QUERN__VOCAB_MAX_PIECE; i++)
        len += quern__utf8_put(text + len, cps[i]);
    int32_t id =
        len <= QUERN__VOCAB_MAX_PIECE ? quern__vocab_find(u->vocab, (quern_str){text, len}) : -1;
    return id >= 0 && (uint32_t)id < u->n ? id : -1;
}

void quern__unigram_cut(const quern__unigram *u, quern__unigram_work *w)
{
    uint32_t n = 0;
    forward(u, w);
    for (uint32_t at = w->n; at > 0; at = w->best[at].from) {
        const struct quern__best *b = &w->best[at];
        bool unknown = b->id == u->unk;
        if (unknown && n && w->parts[n - 1].id < 0 && w->parts[n - 1].from == at)
            w->parts[n - 1].from = b->from;
        else
            w->parts[n++] = (struct quern__part){b->from, at, unknown ? -1 : b->id};
    }
    for (uint32_t i = 0; i < n / 2; i++) {
        struct quern__part swap = w->parts[i];
        w->parts[i] = w->parts[n - 1 - i];
        w->parts[n - 1 - i] = swap;
    }
    for (uint32_t i = 0; i < n; i++)
        if (w->parts[i].id < 0)
            w->parts[i].id =
                id_of_run(u, w->cps + w->parts[i].from, w->parts[i].to - w->parts[i].from);
    w->n_parts = n;
}
