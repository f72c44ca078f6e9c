/*
 * limited.c — an embedder that keeps to a provider's limits. Each try of a call counts (put it inside retrying). Who waits
 * is served in the order of coming, so a caller with small calls cannot starve one with large ones; waiting ends at
 * once when it is cancelled. Tokens are guessed from bytes before a call, and put right by what the provider counted.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/os.h"
#include "embedder/window.h"
#include "embedder/wrap.h"
#include "quern/provider.h"

enum {
    REQUESTS = 500,
    BYTES_A_TOKEN = 4,
    ASSET_TOKENS = 1000, /* a picture of half a million pixels, before the provider has counted */
    NAP_MS = 50
};

typedef struct limited {
    quern__wrap wrap;
    uint32_t wait_ms, concurrency; /* 0: no limit */
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

/* One look, under the mutex: *nap_ms 0: granted. Who is not the first in the line only looks at the time. */
static int look(limited *l, const waiter *me, uint64_t tokens, uint64_t began, uint32_t *nap_ms,
                quern_error *err)
{
    uint64_t now = quern__now_ns();
    bool turn = l->line == me && (!l->concurrency || l->busy < l->concurrency);
    uint64_t wait = turn ? quern__window_ask(&l->window, now, tokens) : 1;
    *nap_ms = wait ? (uint32_t)QUERN__MIN(wait / 1000000 + 1, (uint64_t)NAP_MS) : 0;
    if (!turn)
        *nap_ms = NAP_MS; /* or until the line moves */
    uint64_t in_all_ms = (now - began + wait) / 1000000;
    if (wait && l->wait_ms && in_all_ms > l->wait_ms)
        return quern__may_retry(err,
                                quern__fail(err, QUERN_EBUSY, (int64_t)in_all_ms,
                                            "%s: the limit of calls a minute is used up",
                                            quern_embedder_name(l->wrap.inner)),
                                (uint32_t)QUERN__MIN(wait / 1000000 + 1, (uint64_t)INT32_MAX));
    return QUERN_OK;
}

/* Waits until the call may leave; *number: of its grant. */
static int wait_turn(limited *l, uint64_t tokens, const quern_cancel *cancel, uint64_t *number,
                     quern_error *err)
{
    uint64_t began = quern__now_ns();
    uint32_t nap_ms = 1;
    waiter me = {NULL};
    int rc = QUERN_OK;
    quern__mutex_lock(l->mutex);
    join_line(l, &me);
    while (!rc && nap_ms) {
        rc = quern__check_cancel(cancel, err);
        if (!rc)
            rc = look(l, &me, tokens, began, &nap_ms, err);
        if (!rc && nap_ms)
            quern__cond_wait_ms(l->turn, l->mutex, nap_ms);
    }
    *number = l->window.number - 1;
    l->busy += rc == QUERN_OK;
    leave_line(l, &me);
    quern__mutex_unlock(l->mutex);
    return rc;
}

static void leave(limited *l, uint64_t number, uint64_t tokens)
{
    quern__mutex_lock(l->mutex);
    if (tokens)
        quern__window_correct(&l->window, number, tokens);
    l->busy--;
    quern__cond_broadcast(l->turn);
    quern__mutex_unlock(l->mutex);
}

static int limited_embed(void *self, const quern_str *texts, size_t n,
                         const quern_embed_options *opt, float *out, quern_embed_result *results,
                         quern_error *err)
{
    limited *l = self;
    uint64_t bytes = 0, tokens = 0, number = 0;
    for (size_t i = 0; i < n; i++)
        bytes += texts[i].len;
    int rc = wait_turn(l, bytes / BYTES_A_TOKEN + 1, opt->cancel, &number, err);
    if (rc)
        return rc;
    rc = quern__wrap_embed(l, texts, n, opt, out, results, err);
    for (size_t i = 0; i < n && !rc; i++)
        tokens += results[i].tokens;
    leave(l, number, tokens);
    return rc;
}

static int limited_assets(void *self, const quern_asset_call *call, quern_error *err)
{
    limited *l = self;
    uint64_t number = 0, tokens = call->text.len / BYTES_A_TOKEN + 1;
    int rc = wait_turn(l, tokens + call->n * ASSET_TOKENS, call->opt->cancel, &number, err);
    if (rc)
        return rc;
    rc = quern__wrap_assets(l, call, err);
    leave(l, number, rc ? 0 : call->result->tokens);
    return rc;
}

static void limited_release(void *self)
{
    limited *l = self;
    quern_embedder_free(l->wrap.inner);
    quern__window_dispose(&l->window);
    quern__cond_free(l->turn);
    quern__mutex_free(l->mutex);
    quern__free(l);
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
    limited *l = quern__calloc(1, sizeof *l);
    if (!l)
        return quern__fail_memory(err, sizeof *l);
    l->wait_ms = o.wait_ms;
    l->concurrency = o.concurrency;
    int rc = quern__window_init(&l->window, requests == UINT32_MAX ? 0 : requests,
                                o.tokens_per_minute, err);
    if (!rc)
        rc = quern__mutex_new(&l->mutex, err);
    if (!rc)
        rc = quern__cond_new(&l->turn, err);
    if (!rc)
        rc = quern__wrap_make_parallel(out, inner, l, l->concurrency, limited_embed, limited_assets,
                                       limited_release, err);
    if (rc)
        limited_release(l);
    return rc;
}
