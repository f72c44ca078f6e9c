/*
 * pausing.c — an embedder that leaves a provider alone for a while when call after call fails ("circuit breaker"). retrying.c
 * has patience with one call; this knows of all of them, so that a provider that is down, or has said when it will be
 * back, is not asked by each caller in turn. Put it inside retrying, so that each try counts, and in front of
 * limited, so that who waits here holds no place there; those that stood in line there already still leave.
 *
 *     closed --(so many failing calls in a row)--> open --(time is over: one trial)--> closed, or open for longer
 *
 * What a call says is believed only when nothing has changed since it left: eight that were under way when the first one
 * opened the circuit are one outage and not eight. But whatever time any of them names is waited for.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/os.h"
#include "embedder/wrap.h"
#include "quern/provider.h"

enum { NAP_MS = 50, LONGEST_MS = 3600 * 1000, NS_A_MS = 1000000 };

typedef struct pausing {
    quern__wrap wrap;
    quern_pause_options opt;
    quern__mutex *mutex;
    quern__cond *changed;
    /* under the mutex */
    uint32_t row, pauses; /* failing calls in a row; pauses since the last call that did not fail */
    bool open, on_trial;  /* on_trial: the one call that may is under way */
    uint64_t until_ns;    /* of the pause */
    uint64_t state;       /* counts what a call can no longer speak for */
    quern_error last;     /* what the last failing call said */
} pausing;

typedef struct pass {
    uint64_t state;
    bool is_trial;
} pass;

/* Under the mutex. The server is not asked, and the caller told what it said last and when to come back. */
static int refuse(const pausing *p, uint64_t left_ns, quern_error *err)
{
    uint32_t ms = (uint32_t)QUERN__MIN(left_ns / NS_A_MS + 1, (uint64_t)LONGEST_MS);
    int rc = quern__fail(err, QUERN_EREMOTE, p->last.detail,
                         "%.360s; call after call has failed, so none leaves for %.1f s",
                         p->last.msg, (double)ms / 1000);
    quern__code(err, rc, "provider_paused");
    return quern__may_retry(err, rc, ms);
}

/* Under the mutex: one look. *nap_ms 0: the call may leave. */
static int look(pausing *p, uint64_t began, pass *mine, uint32_t *nap_ms, quern_error *err)
{
    uint64_t now = quern__now_ns(), left = now < p->until_ns ? p->until_ns - now : 0;
    *nap_ms = 0;
    *mine = (pass){p->state, false};
    if (!p->open)
        return QUERN_OK;
    if (!left && !p->on_trial) {
        p->on_trial = mine->is_trial = true;
        return QUERN_OK;
    }
    if (p->opt.wait_ms && now - began + left > (uint64_t)p->opt.wait_ms * NS_A_MS)
        return refuse(p, left ? left : (uint64_t)p->opt.base_ms * NS_A_MS, err);
    *nap_ms = left ? (uint32_t)QUERN__MIN(left / NS_A_MS + 1, (uint64_t)NAP_MS) : NAP_MS;
    return QUERN_OK;
}

static int wait_pass(pausing *p, const quern_cancel *cancel, pass *mine, quern_error *err)
{
    uint64_t began = quern__now_ns();
    uint32_t nap_ms = 1;
    int rc = QUERN_OK;
    quern__mutex_lock(p->mutex);
    while (!rc && nap_ms) {
        rc = quern__check_cancel(cancel, err);
        if (!rc)
            rc = look(p, began, mine, &nap_ms, err);
        if (!rc && nap_ms)
            quern__cond_wait_ms(p->changed, p->mutex, nap_ms);
    }
    quern__mutex_unlock(p->mutex);
    return rc;
}

/* Under the mutex. */
static void begin_pause(pausing *p, const quern_error *said, uint64_t now)
{
    uint64_t ms = (uint64_t)p->opt.base_ms << QUERN__MIN(p->pauses, 20u);
    ms = QUERN__MIN(ms, (uint64_t)p->opt.cap_ms);
    if (said->retry_ms > 0)
        ms = (uint64_t)QUERN__MIN(said->retry_ms, (int32_t)LONGEST_MS);
    p->open = true;
    p->row = 0;
    p->pauses++;
    p->state++;
    p->until_ns = now + ms * NS_A_MS;
    p->last = *said;
}

/* Under the mutex: the server has answered, if only to refuse. */
static void end_pause(pausing *p)
{
    p->state += p->open;
    p->open = false;
    p->row = p->pauses = 0;
}

static void settle(pausing *p, const pass *mine, int rc, const quern_error *said)
{
    quern__mutex_lock(p->mutex);
    uint64_t now = quern__now_ns();
    bool failing = rc == QUERN_EREMOTE && said->retry_ms >= 0;
    if (mine->is_trial)
        p->on_trial = false;
    if (mine->state != p->state) {
        uint64_t named = now + (uint64_t)QUERN__MAX(said->retry_ms, 0) * NS_A_MS;
        if (failing && p->open)
            p->until_ns = QUERN__MAX(p->until_ns, named);
    } else if (failing) {
        if (mine->is_trial || ++p->row >= p->opt.failures)
            begin_pause(p, said, now);
    } else if (rc == QUERN_OK || rc == QUERN_EREMOTE) {
        end_pause(p); /* any other fault is ours, and says nothing of the server */
    }
    quern__cond_broadcast(p->changed);
    quern__mutex_unlock(p->mutex);
}

static int ask(pausing *p, const quern__ask *what, quern_error *err)
{
    quern_error said = {.retry_ms = -1};
    pass mine = {0};
    int rc = wait_pass(p, what->opt->cancel, &mine, err);
    if (rc)
        return rc;
    rc = quern__wrap_ask(p, what, &said);
    settle(p, &mine, rc, &said);
    if (rc && err)
        *err = said;
    return rc;
}

static int pausing_embed(void *self, const quern_str *texts, size_t n,
                         const quern_embed_options *opt, float *out, quern_embed_result *results,
                         quern_error *err)
{
    return ask(self,
               &(quern__ask){.texts = texts, .n = n, .opt = opt, .out = out, .results = results},
               err);
}

static int pausing_assets(void *self, const quern_asset_call *call, quern_error *err)
{
    return ask(self, &(quern__ask){.opt = call->opt, .assets = call}, err);
}

static void pausing_release(void *self)
{
    pausing *p = self;
    quern_embedder_free(p->wrap.inner);
    quern__cond_free(p->changed);
    quern__mutex_free(p->mutex);
    quern__free(p);
}

int quern_embedder_pausing(quern_embedder **out, quern_embedder *inner,
                           const quern_pause_options *opt, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(inner, err);
    QUERN__REQUIRE(!opt || opt->struct_size >= sizeof(size_t), err);
    pausing *p = quern__calloc(1, sizeof *p);
    if (!p)
        return quern__fail_memory(err, sizeof *p);
    if (opt)
        memcpy(&p->opt, opt, QUERN__MIN(opt->struct_size, sizeof p->opt));
    p->opt.failures = p->opt.failures ? p->opt.failures : 10;
    p->opt.base_ms = p->opt.base_ms ? p->opt.base_ms : 500;
    p->opt.cap_ms = p->opt.cap_ms ? p->opt.cap_ms : 30000;
    int rc = quern__mutex_new(&p->mutex, err);
    if (!rc)
        rc = quern__cond_new(&p->changed, err);
    if (!rc)
        rc = quern__wrap_make(out, inner, p, pausing_embed, pausing_assets, pausing_release, err);
    if (rc)
        pausing_release(p);
    return rc;
}
