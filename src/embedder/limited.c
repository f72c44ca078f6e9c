/*
 * limited.c — an embedder that keeps to a provider's limits, its own or those that several processes share (shared.c). Each try of a call counts (put it inside retrying). Who waits
 * is served in the order of coming, so a caller with small calls cannot starve one with large ones; waiting ends at
 * once when it is cancelled. Tokens are guessed from bytes before a call, and put right by what the provider counted.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/os.h"
#include "embedder/shared.h"
#include "embedder/window.h"
#include "embedder/wrap.h"
#include "quern/provider.h"

enum {
    REQUESTS = 500,
    BYTES_A_TOKEN = 4,
    ASSET_TOKENS = 1000, /* a picture of half a million pixels, before the provider has counted */
    NAP_MS = 50,
    SHARED_NAP_MS = 200, /* another process's calls may have taken less than was guessed */
    SHORTEST_WINDOW_MS = 100,
    LATE = 6, /* a part of the window, in which calls reach the provider */
    LONGEST_NAME = 150
};

typedef struct limited {
    quern__wrap wrap;
    uint32_t wait_ms, concurrency; /* 0: no limit */
    quern__shared *shared;         /* NULL: the window below; asked by the first in the line */
    quern__mutex *mutex;
    quern__cond *turn;
    /* under the mutex */
    quern__window window;
    uint32_t busy;       /* calls under way */
    struct waiter *line; /* in the order of coming; the first one asks the window */
} limited;

typedef struct waiter {
    struct waiter *behind;
} waiter;

static void join_line(limited *l, waiter *me)
{
    waiter **end = &l->line;
    while (*end)
        end = &(*end)->behind;
    *end = me;
}

static void leave_line(limited *l, const waiter *me)
{
    waiter **at = &l->line;
    while (*at != me)
        at = &(*at)->behind;
    *at = me->behind;
    quern__cond_broadcast(l->turn);
}

/* A call that may leave. */
typedef struct ticket {
    uint64_t began_ns, tokens;
    uint64_t asked_until_ns; /* the shared window need not be asked again before */
    uint64_t number;         /* of the grant */
    quern__permit permit;    /* of the shared window */
} ticket;

/* What the window says, under the mutex, which is given up while other machines are asked. */
static int ask(limited *l, ticket *t, uint64_t now, uint64_t *wait, quern_error *err)
{
    if (!l->shared) {
        *wait = quern__window_ask(&l->window, now, t->tokens);
        t->number = l->window.number - 1;
        return QUERN_OK;
    }
    *wait = t->asked_until_ns > now ? t->asked_until_ns - now : 0;
    if (*wait)
        return QUERN_OK;
    quern__mutex_unlock(l->mutex);
    int rc = quern__shared_ask(l->shared, now, t->tokens, &t->permit, wait, err);
    quern__mutex_lock(l->mutex);
    uint64_t most = (uint64_t)SHARED_NAP_MS * 1000000;
    t->asked_until_ns = quern__now_ns() + QUERN__MIN(*wait, most);
    return rc;
}

/* One look, under the mutex: *nap_ms 0: granted. Who is not the first in the line only looks at the time. */
static int look(limited *l, const waiter *me, ticket *t, uint32_t *nap_ms, quern_error *err)
{
    uint64_t now = quern__now_ns(), wait = 1;
    bool turn = l->line == me && (!l->concurrency || l->busy < l->concurrency);
    int rc = turn ? ask(l, t, now, &wait, err) : QUERN_OK;
    if (rc)
        return rc;
    *nap_ms = wait ? (uint32_t)QUERN__MIN(wait / 1000000 + 1, (uint64_t)NAP_MS) : 0;
    if (!turn)
        *nap_ms = NAP_MS; /* or until the line moves */
    uint64_t in_all_ms = (now - t->began_ns + wait) / 1000000;
    if (wait && l->wait_ms && in_all_ms > l->wait_ms)
        return quern__may_retry(err,
                                quern__fail(err, QUERN_EBUSY, (int64_t)in_all_ms,
                                            "%s: the limit of calls a minute is used up",
                                            quern_embedder_name(l->wrap.inner)),
                                (uint32_t)QUERN__MIN(wait / 1000000 + 1, (uint64_t)INT32_MAX));
    return QUERN_OK;
}

/* Waits until the call may leave. */
static int wait_turn(limited *l, uint64_t tokens, const quern_cancel *cancel, ticket *t,
                     quern_error *err)
{
    uint32_t nap_ms = 1;
    waiter me = {NULL};
    int rc = QUERN_OK;
    *t = (ticket){.began_ns = quern__now_ns(), .tokens = tokens};
    quern__mutex_lock(l->mutex);
    join_line(l, &me);
    while (!rc && nap_ms) {
        rc = quern__check_cancel(cancel, err);
        if (!rc)
            rc = look(l, &me, t, &nap_ms, err);
        if (!rc && nap_ms)
            quern__cond_wait_ms(l->turn, l->mutex, nap_ms);
    }
    l->busy += rc == QUERN_OK;
    leave_line(l, &me);
    quern__mutex_unlock(l->mutex);
    return rc;
}

/* tokens 0: nobody has counted. */
static void leave(limited *l, const ticket *t, uint64_t tokens)
{
    if (l->shared)
        quern__shared_settle(l->shared, &t->permit, tokens);
    quern__mutex_lock(l->mutex);
    if (tokens && !l->shared)
        quern__window_correct(&l->window, t->number, tokens);
    l->busy--;
    quern__cond_broadcast(l->turn);
    quern__mutex_unlock(l->mutex);
}

static int limited_embed(void *self, const quern_str *texts, size_t n,
                         const quern_embed_options *opt, float *out, quern_embed_result *results,
                         quern_error *err)
{
    limited *l = self;
    uint64_t bytes = 0, tokens = 0;
    ticket t;
    for (size_t i = 0; i < n; i++)
        bytes += texts[i].len;
    int rc = wait_turn(l, bytes / BYTES_A_TOKEN + 1, opt->cancel, &t, err);
    if (rc)
        return rc;
    rc = quern__wrap_embed(l, texts, n, opt, out, results, err);
    for (size_t i = 0; i < n && !rc; i++)
        tokens += results[i].tokens;
    leave(l, &t, tokens);
    return rc;
}

static int limited_assets(void *self, const quern_asset_call *call, quern_error *err)
{
    limited *l = self;
    ticket t;
    uint64_t tokens = call->text.len / BYTES_A_TOKEN + 1;
    int rc = wait_turn(l, tokens + call->n * ASSET_TOKENS, call->opt->cancel, &t, err);
    if (rc)
        return rc;
    rc = quern__wrap_assets(l, call, err);
    leave(l, &t, rc ? 0 : call->result->tokens);
    return rc;
}

static void limited_release(void *self)
{
    limited *l = self;
    quern_embedder_free(l->wrap.inner);
    quern__shared_free(l->shared);
    quern__window_dispose(&l->window);
    quern__cond_free(l->turn);
    quern__mutex_free(l->mutex);
    quern__free(l);
}

/* The name says the length of the window, too: those of another have nothing to do with it. */
static int share(limited *l, const quern_limit_options *o, uint64_t requests, uint64_t window_ms,
                 quern_error *err)
{
    char name[QUERN__SHARED_NAME + 1];
    quern__place place;
    quern__share s = {.name = name,
                      .requests = requests,
                      .tokens = o->tokens_per_minute,
                      .window_us = window_ms * 1000,
                      .late_us = window_ms * 1000 / LATE};
    const char *called = o->shared_name ? o->shared_name : quern_embedder_name(l->wrap.inner);
    if (!*called || strlen(called) > LONGEST_NAME)
        return quern__fail(err, QUERN_EINVAL, (int64_t)strlen(called),
                           "the name of a shared limit has 1 to %d bytes, not %zu", LONGEST_NAME,
                           strlen(called));
    if (window_ms == QUERN__MINUTE_NS / 1000000)
        snprintf(name, sizeof name, "%s", called);
    else
        snprintf(name, sizeof name, "%s/%" PRIu64 "ms", called, window_ms);
    snprintf(s.me, sizeof s.me, "%016" PRIx64, quern__os_entropy());
    int rc = quern__place_open(&place, o->shared, &s, err);
    return rc ? rc : quern__shared_new(&l->shared, &place, &s, err);
}

int quern_embedder_limited(quern_embedder **out, quern_embedder *inner,
                           const quern_limit_options *opt, quern_error *err)
{
    quern_limit_options o;
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(inner, err);
    QUERN__REQUIRE(!opt || opt->struct_size >= sizeof(size_t), err);
    QUERN_INIT(&o);
    if (opt)
        memcpy(&o, opt, QUERN__MIN(opt->struct_size, sizeof o));
    uint32_t requests = o.requests_per_minute ? o.requests_per_minute : REQUESTS;
    requests = requests == UINT32_MAX ? 0 : requests;
    uint64_t window_ms = o.window_ms ? o.window_ms : QUERN__MINUTE_NS / 1000000;
    QUERN__REQUIRE(window_ms >= SHORTEST_WINDOW_MS, err);
    limited *l = quern__calloc(1, sizeof *l);
    if (!l)
        return quern__fail_memory(err, sizeof *l);
    l->wait_ms = o.wait_ms;
    l->concurrency = o.concurrency;
    l->wrap.inner = inner;
    int rc =
        quern__window_init(&l->window, requests, o.tokens_per_minute, window_ms * 1000000, err);
    if (!rc && o.shared && (requests || o.tokens_per_minute))
        rc = share(l, &o, requests, window_ms, err);
    if (!rc)
        rc = quern__mutex_new(&l->mutex, err);
    if (!rc)
        rc = quern__cond_new(&l->turn, err);
    if (!rc)
        rc = quern__wrap_make_parallel(out, inner, l, l->concurrency, limited_embed, limited_assets,
                                       limited_release, err);
    if (rc) {
        l->wrap.inner = NULL; /* stays the caller's */
        limited_release(l);
    }
    return rc;
}
