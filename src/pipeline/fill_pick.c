/*
 * fill_pick.c — see fill_pick.h. Two heaps: the oldest on one side, the newest of the window on the other. Who has a task
 * already is left out: its turn comes by the task, after the pause that its attempts have earned, so documents that fail
 * cannot fill a run. Asked of the store a page at a time, when the scan's statement is closed.
 *
 * A document's age is what its revision says: a time, or a number that grows. Without such a revision the order of keys is
 * taken for the order of age, and every document is in the window.
 */
#include "pipeline/fill_pick.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "store/store.h"

enum { ASK = 256 /* keys in one question to the store */ };

typedef struct candidate {
    int64_t rank;
    uint64_t place; /* in the scan: tells equal ranks apart */
    bool in_window;
    quern_str key;
} candidate;

typedef struct heap {
    candidate *items;
    size_t n, room, most;
    int sign; /* 1: the root is the youngest, to be replaced by an older one; -1: the other way */
} heap;

struct fill_pick {
    size_t most;
    int64_t since_ms;
    uint64_t seen;
    heap oldest, newest;
    candidate *page; /* offered and not yet weighed */
    size_t n_page, room_page;
    quern_str *result;
};

/* ---- age ---- */

static bool take_digits(const char **at, const char *end, int n, int64_t *value)
{
    *value = 0;
    for (int i = 0; i < n; i++) {
        if (*at == end || **at < '0' || **at > '9')
            return false;
        *value = *value * 10 + (*(*at)++ - '0');
    }
    return true;
}

static bool take(const char **at, const char *end, char c)
{
    bool there = *at < end && **at == c;
    *at += there;
    return there;
}

static int64_t days_of(int64_t y, int64_t m, int64_t d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
    int64_t of_year = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* Z, +02, +02:00, +0200, or nothing: UTC. In minutes. */
static bool take_zone(const char **at, const char *end, int64_t *minutes)
{
    int64_t h = 0, m = 0;
    *minutes = 0;
    take(at, end, ' ');
    if (*at == end || take(at, end, 'Z'))
        return true;
    bool west = take(at, end, '-');
    if ((!west && !take(at, end, '+')) || !take_digits(at, end, 2, &h))
        return false;
    take(at, end, ':');
    if (*at < end && !take_digits(at, end, 2, &m))
        return false;
    *minutes = (west ? -1 : 1) * (h * 60 + m);
    return true;
}

/* 2026-11-21, with T10:20, T10:20:30 or T10:20:30.123456 behind it, and a zone. */
static bool as_time(quern_str s, int64_t *ms)
{
    const char *at = s.ptr, *end = s.ptr + s.len;
    int64_t y, mo, d, h = 0, mi = 0, sec = 0, zone = 0, milli = 0;
    if (!take_digits(&at, end, 4, &y) || !take(&at, end, '-') || !take_digits(&at, end, 2, &mo) ||
        !take(&at, end, '-') || !take_digits(&at, end, 2, &d))
        return false;
    if (take(&at, end, 'T') || take(&at, end, ' ')) {
        if (!take_digits(&at, end, 2, &h) || !take(&at, end, ':') || !take_digits(&at, end, 2, &mi))
            return false;
        if (take(&at, end, ':') && !take_digits(&at, end, 2, &sec))
            return false;
        if (take(&at, end, '.')) {
            int64_t unit = 100;
            for (; at < end && *at >= '0' && *at <= '9'; at++, unit /= 10)
                milli += unit * (*at - '0');
        }
        if (!take_zone(&at, end, &zone))
            return false;
    }
    *ms = ((days_of(y, mo, d) * 24 + h) * 60 + mi - zone) * 60000 + sec * 1000 + milli;
    return at == end && mo >= 1 && mo <= 12 && d >= 1 && d <= 31 && h <= 24 && mi < 60;
}

static bool as_number(quern_str s, int64_t *value)
{
    size_t i = s.len && s.ptr[0] == '-';
    *value = 0;
    if (s.len == i || s.len - i > 18)
        return false;
    for (; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        *value = *value * 10 + (s.ptr[i] - '0');
    }
    *value = s.ptr[0] == '-' ? -*value : *value;
    return true;
}

bool quern__revision_age(quern_str revision, int64_t *rank, bool *time)
{
    static const struct {
        int64_t from, per_ms; /* seconds, milliseconds, microseconds since 1973 */
    } units[] = {{100000000000000, 1000}, {100000000000, 1}};
    *time = as_time(revision, rank);
    if (*time)
        return true;
    if (!as_number(revision, rank))
        return false;
    for (size_t i = 0; i < QUERN__COUNT(units) && !*time; i++)
        if (*rank >= units[i].from && *rank < 1000 * units[i].from) {
            *rank /= units[i].per_ms;
            *time = true;
        }
    if (!*time && *rank >= 100000000 && *rank < 100000000000) {
        *rank *= 1000;
        *time = true;
    }
    return true;
}

/* ---- heaps ---- */

static bool younger(const candidate *a, const candidate *b)
{
    return a->rank != b->rank ? a->rank > b->rank : a->place > b->place;
}

static bool above(const heap *h, const candidate *a, const candidate *b)
{
    return h->sign > 0 ? younger(a, b) : younger(b, a);
}

static void swap(candidate *a, candidate *b)
{
    candidate t = *a;
    *a = *b;
    *b = t;
}

static void sink(heap *h)
{
    for (size_t i = 0, child; (child = 2 * i + 1) < h->n; i = child) {
        if (child + 1 < h->n && above(h, &h->items[child + 1], &h->items[child]))
            child++;
        if (above(h, &h->items[i], &h->items[child]))
            break;
        swap(&h->items[i], &h->items[child]);
    }
}

static int copy_key(candidate *to, const candidate *from, quern_error *err)
{
    char *key = quern__alloc(from->key.len + 1);
    if (!key)
        return quern__fail_memory(err, from->key.len);
    memcpy(key, from->key.ptr, from->key.len);
    key[from->key.len] = '\0';
    *to = *from;
    to->key.ptr = key;
    return QUERN_OK;
}

static void free_key(candidate *c)
{
    quern__free((char *)(uintptr_t)c->key.ptr);
}

static int keep(heap *h, const candidate *c, quern_error *err)
{
    if (h->n == h->most) {
        if (h->n == 0 || !above(h, &h->items[0], c))
            return QUERN_OK;
        candidate fresh;
        int rc = copy_key(&fresh, c, err);
        if (rc != QUERN_OK)
            return rc;
        free_key(&h->items[0]);
        h->items[0] = fresh;
        sink(h);
        return QUERN_OK;
    }
    if (h->n == h->room) {
        size_t room = h->room ? 2 * h->room : 64;
        candidate *more = quern__resize_array(h->items, room, sizeof *more);
        if (!more)
            return quern__fail_memory(err, room * sizeof *more);
        h->items = more;
        h->room = room;
    }
    int rc = copy_key(&h->items[h->n], c, err);
    if (rc != QUERN_OK)
        return rc;
    for (size_t i = h->n++; i && above(h, &h->items[i], &h->items[(i - 1) / 2]); i = (i - 1) / 2)
        swap(&h->items[i], &h->items[(i - 1) / 2]);
    return QUERN_OK;
}

/* ---- the pick ---- */

int quern__pick_new(fill_pick **out, size_t most, int64_t since_ms, quern_error *err)
{
    fill_pick *p = quern__calloc(1, sizeof *p);
    *out = p;
    if (!p)
        return quern__fail_memory(err, sizeof *p);
    p->most = most;
    p->since_ms = since_ms;
    p->oldest = (heap){.most = most, .sign = 1};
    p->newest = (heap){.most = most / 2, .sign = -1};
    return QUERN_OK;
}

static void drop_page(fill_pick *p)
{
    for (size_t i = 0; i < p->n_page; i++)
        free_key(&p->page[i]);
    p->n_page = 0;
}

void quern__pick_free(fill_pick *p)
{
    if (!p)
        return;
    drop_page(p);
    for (size_t i = 0; i < p->oldest.n; i++)
        free_key(&p->oldest.items[i]);
    for (size_t i = 0; i < p->newest.n; i++)
        free_key(&p->newest.items[i]);
    quern__free(p->oldest.items);
    quern__free(p->newest.items);
    quern__free(p->page);
    quern__free(p->result);
    quern__free(p);
}

int quern__pick_offer(fill_pick *p, quern_str key, quern_str revision, quern_error *err)
{
    candidate c = {.place = p->seen++, .in_window = true, .key = key};
    bool time = false;
    if (!quern__revision_age(revision, &c.rank, &time))
        c.rank = (int64_t)c.place;
    if (time)
        c.in_window = c.rank >= p->since_ms;
    if (p->n_page == p->room_page) {
        size_t room = p->room_page ? 2 * p->room_page : 256;
        candidate *more = quern__resize_array(p->page, room, sizeof *more);
        if (!more)
            return quern__fail_memory(err, room * sizeof *more);
        p->page = more;
        p->room_page = room;
    }
    int rc = copy_key(&p->page[p->n_page], &c, err);
    p->n_page += rc == QUERN_OK;
    return rc;
}

int quern__pick_weigh(fill_pick *p, quern_store *s, const char *source, quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t at = 0; rc == QUERN_OK && at < p->n_page; at += ASK) {
        quern_str keys[ASK];
        uint8_t known[ASK] = {0};
        size_t n = QUERN__MIN(p->n_page - at, (size_t)ASK);
        for (size_t i = 0; i < n; i++)
            keys[i] = p->page[at + i].key;
        if (s->table.task_known)
            rc = s->table.task_known(s->self, source, keys, n, known, err);
        for (size_t i = 0; rc == QUERN_OK && i < n; i++) {
            const candidate *c = &p->page[at + i];
            if (known[i])
                continue;
            rc = keep(&p->oldest, c, err);
            if (rc == QUERN_OK && c->in_window)
                rc = keep(&p->newest, c, err);
        }
    }
    drop_page(p);
    return rc;
}

static int by_age(const void *a, const void *b)
{
    return younger(a, b) - younger(b, a);
}

static bool is_among(const heap *h, const candidate *c)
{
    return h->n && bsearch(c, h->items, h->n, sizeof *h->items, by_age) != NULL;
}

int quern__pick_result(fill_pick *p, const quern_str **keys, size_t *n, quern_error *err)
{
    *n = 0;
    *keys = p->result = quern__alloc_array(p->most + 1, sizeof *p->result);
    if (!p->result)
        return quern__fail_memory(err, p->most * sizeof *p->result);
    if (p->newest.n)
        qsort(p->newest.items, p->newest.n, sizeof *p->newest.items, by_age);
    if (p->oldest.n)
        qsort(p->oldest.items, p->oldest.n, sizeof *p->oldest.items, by_age);
    for (size_t i = p->newest.n; i-- > 0;)
        p->result[(*n)++] = p->newest.items[i].key;
    for (size_t i = 0; i < p->oldest.n && *n < p->most; i++)
        if (!is_among(&p->newest, &p->oldest.items[i]))
            p->result[(*n)++] = p->oldest.items[i].key;
    return QUERN_OK;
}
