/* topk.c — a binary heap with the worst on top; see topk.h. */
#include "search/topk.h"

#include <stdlib.h>

#include "base/alloc.h"

int quern__topk_init(quern__topk *t, size_t k, quern_error *err)
{
    *t = (quern__topk){.k = k};
    t->items = quern__alloc_array(k, sizeof *t->items);
    return t->items ? QUERN_OK : quern__fail_memory(err, k * sizeof *t->items);
}

void quern__topk_dispose(quern__topk *t)
{
    quern__free(t->items);
    *t = (quern__topk){0};
}

void quern__topk_clear(quern__topk *t)
{
    t->n = 0;
    t->any_lost = false;
}

int quern__topk_resize(quern__topk *t, size_t k, quern_error *err)
{
    quern__scored *grown = quern__resize_array(t->items, k, sizeof *grown);
    if (!grown)
        return quern__fail_memory(err, k * sizeof *grown);
    t->items = grown;
    t->k = k;
    return QUERN_OK;
}

/* Total order: a is a worse hit than b. */
static bool is_worse(const quern__scored *a, const quern__scored *b)
{
    if (a->score != b->score)
        return a->score < b->score;
    if (a->group != b->group)
        return a->group > b->group;
    return a->ref > b->ref;
}

static void sift_up(quern__scored *h, size_t i)
{
    quern__scored x = h[i];
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (!is_worse(&x, &h[parent]))
            break;
        h[i] = h[parent];
        i = parent;
    }
    h[i] = x;
}

static void sift_down(quern__scored *h, size_t n)
{
    quern__scored x = h[0];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n)
            break;
        if (child + 1 < n && is_worse(&h[child + 1], &h[child]))
            child++;
        if (!is_worse(&h[child], &x))
            break;
        h[i] = h[child];
        i = child;
    }
    h[i] = x;
}

void quern__topk_let_go(quern__topk *t, float score)
{
    if (!t->any_lost || score > t->lost)
        t->lost = score;
    t->any_lost = true;
}

void quern__topk_offer(quern__topk *t, quern__scored item)
{
    if (t->n < t->k) {
        t->items[t->n] = item;
        sift_up(t->items, t->n++);
    } else if (is_worse(&t->items[0], &item)) {
        quern__topk_let_go(t, t->items[0].score);
        t->items[0] = item;
        sift_down(t->items, t->n);
    } else {
        quern__topk_let_go(t, item.score);
    }
}

static int best_first(const void *a, const void *b)
{
    const quern__scored *x = a;
    const quern__scored *y = b;
    if (is_worse(x, y))
        return 1;
    return is_worse(y, x) ? -1 : 0;
}

void quern__topk_sort(quern__topk *t)
{
    if (t->n > 1)
        qsort(t->items, t->n, sizeof *t->items, best_first);
}
