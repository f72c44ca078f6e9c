/*
 * topk.h — the k best of many scored references, in a heap. It also remembers the best score that it let go:
 * only hits above that are known to be in their final order, since equal scores go by key and keys are not known
 * while vectors are scanned.
 */
#ifndef QUERN_SEARCH_TOPK_H
#define QUERN_SEARCH_TOPK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct quern__scored {
    float score;
    uint32_t group; /* the caller's: which source */
    int64_t ref;
} quern__scored;

typedef struct quern__topk {
    quern__scored *items; /* a heap, the worst on top, until sorted */
    size_t n, k;
    float lost;    /* best score let go */
    bool any_lost; /* else everything offered is here */
} quern__topk;

int quern__topk_init(quern__topk *t, size_t k, quern_error *err); /* k > 0 */
void quern__topk_dispose(quern__topk *t);
void quern__topk_clear(quern__topk *t);
/* Grows the room; what is in it stays. */
int quern__topk_resize(quern__topk *t, size_t k, quern_error *err);
/* The score must not be NaN. */
void quern__topk_offer(quern__topk *t, quern__scored item);
/* Says that something of at most this score was never offered. */
void quern__topk_let_go(quern__topk *t, float score);
/* Best first, equal scores by group and reference. Offer no more afterwards without a clear. */
void quern__topk_sort(quern__topk *t);

#endif
