/*
 * retrying.c — an embedder that tries again. Which faults pass is said where they happen (err->retry_ms); here is only
 * how often and when: a random pause up to a bound that doubles ("full jitter": callers that failed together do not come
 * back together), or the time that the server named. A budget over all calls keeps a provider that is down from being
 * asked three times as often as one that is up.
 *
 * A server that answers 500 every time may be down, or stumble over what a call holds: llama.cpp's server says so of a text
 * that is too long for it, Ollama's of one whose vector would not be finite. Rejected: telling them apart by what the page
 * says, which changes with every version. Instead it is seen whether another call has been answered since this one failed
 * first, or else a word of ours is: who embeds that and still not this call has refused it, which is an error like a 400's, for
 * the one text alone to be found and set aside. The tries that it took are given back to the budget, or a few such texts would
 * leave nothing for a real outage, and nothing to tell the next one by. Whoever asks once only (attempts 1) is not asked more.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/os.h"
#include "base/rng.h"
#include "embedder/retrying.h"
#include "embedder/wrap.h"
#include "quern/provider.h"

enum {
    INTERNAL = 500,
    SILENT_MS = 1000
}; /* the HTTP status; a server that did not answer the word is left alone */
enum { IN_HAND = 100, NO_BUDGET = 10000, NAP_MS = 50, LONGEST_MS = 3600 * 1000 };

typedef struct patience {
    quern_retry_options opt;
    quern__mutex *mutex;
    /* under the mutex */
    quern__rng rng;
    uint64_t credit; /* in hundredths of a retry */
} patience;

typedef struct retrying {
    quern__wrap wrap;
    patience patience;
    /* under its mutex: when a call was last answered, and the word last was not; 0: never */
    uint64_t answered_ns, silent_ns;
} retrying;

/* One more try: NULL, and *ms until it. Else why there is none; "" where the error says it all. */
static const char *may_go_on(patience *r, uint32_t tried, int32_t named_ms, uint64_t began,
                             uint32_t *ms)
{
    if (named_ms < 0 || tried >= r->opt.attempts)
        return "";
    quern__mutex_lock(r->mutex);
    bool granted = r->opt.budget_percent > NO_BUDGET || r->credit >= 100;
    if (granted && r->opt.budget_percent <= NO_BUDGET)
        r->credit -= 100;
    uint64_t bound = (uint64_t)r->opt.base_ms << QUERN__MIN(tried - 1, 20u);
    bound = QUERN__MIN(bound, (uint64_t)QUERN__MIN(r->opt.cap_ms, (uint32_t)LONGEST_MS));
    uint32_t jitter = quern__rng_below(&r->rng, (uint32_t)bound + 1);
    quern__mutex_unlock(r->mutex);
    *ms = named_ms > 0 ? (uint32_t)QUERN__MIN(named_ms, (int32_t)LONGEST_MS) : jitter;
    uint64_t spent_ms = (quern__now_ns() - began) / 1000000;
    if (!granted)
        return ", and too many calls fail for more";
    bool in_time = !r->opt.deadline_ms || spent_ms + *ms < r->opt.deadline_ms;
    return in_time ? NULL : ", and the next is too late";
}

static int nap(uint32_t ms, const quern_cancel *cancel, quern_error *err)
{
    uint64_t until = quern__now_ns() + (uint64_t)ms * 1000000;
    for (uint64_t now; (now = quern__now_ns()) < until;) {
        int rc = quern__check_cancel(cancel, err);
        if (rc)
            return rc;
        quern__sleep_ms((uint32_t)QUERN__MIN((until - now) / 1000000 + 1, (uint64_t)NAP_MS));
    }
    return quern__check_cancel(cancel, err);
}

static void earn(patience *r, uint64_t hundredths)
{
    quern__mutex_lock(r->mutex);
    r->credit = QUERN__MIN(r->credit + hundredths, (uint64_t)IN_HAND * 100);
    quern__mutex_unlock(r->mutex);
}

static int try_on(patience *r, quern__try_fn once, void *ud, const quern_cancel *cancel,
                  quern_error *err)
{
    quern_error inner = {.subject = -1, .retry_ms = -1}; /* a table's may leave it as it is */
    uint64_t began = quern__now_ns();
    uint32_t ms = 0;
    earn(r, r->opt.budget_percent);
    for (uint32_t tried = 1;; tried++) {
        int rc = once(ud, &inner);
        if (rc == QUERN_OK)
            return rc;
        const char *why = may_go_on(r, tried, inner.retry_ms, began, &ms);
        if (why) {
            if (err)
                *err = inner;
            if (err && rc == QUERN_EREMOTE && inner.retry_ms >= 0)
                snprintf(err->msg, sizeof err->msg, "%.420s (attempt %u/%u%s)", inner.msg, tried,
                         r->opt.attempts, why);
            return rc;
        }
        if ((rc = nap(ms, cancel, err)) != QUERN_OK)
            return rc;
    }
}

static int patience_init(patience *p, const quern_retry_options *opt, quern_error *err)
{
    if (opt)
        memcpy(&p->opt, opt, QUERN__MIN(opt->struct_size, sizeof p->opt));
    p->opt.attempts = p->opt.attempts ? p->opt.attempts : 3;
    p->opt.base_ms = p->opt.base_ms ? p->opt.base_ms : 500;
    p->opt.cap_ms = p->opt.cap_ms ? p->opt.cap_ms : 30000;
    p->opt.budget_percent = p->opt.budget_percent ? p->opt.budget_percent : 50;
    p->credit = (uint64_t)IN_HAND * 100;
    quern__rng_seed(&p->rng, quern__os_entropy());
    return quern__mutex_new(&p->mutex, err);
}

int quern__try_again(const quern_retry_options *opt, quern__try_fn once, void *ud,
                     const quern_cancel *cancel, quern_error *err)
{
    patience p = {.mutex = NULL};
    int rc = patience_init(&p, opt, err);
    if (!rc)
        rc = try_on(&p, once, ud, cancel, err);
    quern__mutex_free(p.mutex);
    return rc;
}

/* ---- the embedder ---- */

typedef struct attempt {
    retrying *r;
    const quern__ask *ask;
    uint32_t tried;
    uint64_t failed_ns; /* first */
} attempt;

static int ask_once(void *ud, quern_error *err)
{
    attempt *a = ud;
    int rc = quern__wrap_ask(a->r, a->ask, err);
    if (rc == QUERN_OK) {
        quern__mutex_lock(a->r->patience.mutex);
        a->r->answered_ns = quern__now_ns();
        quern__mutex_unlock(a->r->patience.mutex);
    } else if (!a->tried) {
        a->failed_ns = quern__now_ns();
    }
    a->tried++;
    return rc;
}

/* Whether it embeds one word, now. */
static bool embeds_a_word(retrying *r, const quern_embed_options *opt)
{
    const size_t dim = quern_embedder_dimensions(r->wrap.inner);
    const quern_str word = quern_str_of("word");
    quern_embed_options alone = *opt;
    quern_embed_result result = {0};
    quern_error unsaid;
    alone.arrived = NULL;
    float *vector = quern__calloc(dim, sizeof *vector);
    const bool does =
        vector && quern__wrap_embed(r, &word, 1, &alone, vector, &result, &unsaid) == QUERN_OK;
    quern__free(vector);
    return does;
}

/* Whether it has answered anything since `failed_ns`, if only just now. */
static bool answers_others(retrying *r, const quern_embed_options *opt, uint64_t failed_ns)
{
    quern__mutex_lock(r->patience.mutex);
    const uint64_t now = quern__now_ns(); /* not before what is under the mutex */
    const bool did = r->answered_ns > failed_ns;
    const bool silent = r->silent_ns && now - r->silent_ns < (uint64_t)SILENT_MS * 1000000;
    if (!did && !silent) /* until it answers; one asks at a time */
        r->silent_ns = now;
    quern__mutex_unlock(r->patience.mutex);
    if (did || silent || !embeds_a_word(r, opt))
        return did;
    quern__mutex_lock(r->patience.mutex);
    r->answered_ns = quern__now_ns();
    r->silent_ns = 0;
    quern__mutex_unlock(r->patience.mutex);
    return true;
}

/* It stayed a 500 through all tries: is it the server, or this call? */
static int ask_of_others(attempt *a, int rc, quern_error *err)
{
    const quern_embed_options *opt = a->ask->opt;
    quern_error again = {.subject = -1, .retry_ms = -1};
    const bool others = answers_others(a->r, opt, a->failed_ns);
    if (quern__check_cancel(opt->cancel, &again)) {
        *err = again;
        return again.status;
    }
    if (!others)
        return rc;
    rc = ask_once(a, &again);
    if (rc == QUERN_EREMOTE && again.detail == INTERNAL && again.retry_ms >= 0) {
        snprintf(err->msg, sizeof err->msg, "%.400s (%u times, while it answers others)", again.msg,
                 a->tried);
        err->retry_ms = -1;
        err->subject = a->ask->n == 1 ? 0 : -1;
        earn(&a->r->patience, (uint64_t)(a->tried - 2) * 100);
    } else {
        *err = again;
    }
    return rc;
}

static int retrying_embed(void *self, const quern_str *texts, size_t n,
                          const quern_embed_options *opt, float *out, quern_embed_result *results,
                          quern_error *err)
{
    retrying *r = self;
    const quern_retry_options *o = &r->patience.opt;
    const quern__ask ask = {.texts = texts, .n = n, .opt = opt, .out = out, .results = results};
    quern_error said = {.subject = -1, .retry_ms = -1};
    attempt a = {.r = r, .ask = &ask};
    const uint64_t began = quern__now_ns();
    int rc = try_on(&r->patience, ask_once, &a, opt->cancel, &said);
    const bool stayed = rc == QUERN_EREMOTE && said.detail == INTERNAL && said.retry_ms >= 0;
    const bool in_time = !o->deadline_ms || (quern__now_ns() - began) / 1000000 < o->deadline_ms;
    if (stayed && o->attempts > 1 && in_time)
        rc = ask_of_others(&a, rc, &said);
    if (rc && err)
        *err = said;
    return rc;
}

static int retrying_assets(void *self, const quern_asset_call *call, quern_error *err)
{
    const quern__ask ask = {.opt = call->opt, .assets = call};
    return try_on(&((retrying *)self)->patience, ask_once, &(attempt){.r = self, .ask = &ask},
                  call->opt->cancel, err);
}

static void retrying_release(void *self)
{
    retrying *r = self;
    quern_embedder_free(r->wrap.inner);
    quern__mutex_free(r->patience.mutex);
    quern__free(r);
}

int quern_embedder_retrying(quern_embedder **out, quern_embedder *inner,
                            const quern_retry_options *opt, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(inner, err);
    QUERN__REQUIRE(!opt || opt->struct_size >= sizeof(size_t), err);
    retrying *r = quern__calloc(1, sizeof *r);
    if (!r)
        return quern__fail_memory(err, sizeof *r);
    int rc = patience_init(&r->patience, opt, err);
    if (!rc)
        rc =
            quern__wrap_make(out, inner, r, retrying_embed, retrying_assets, retrying_release, err);
    if (rc)
        retrying_release(r);
    return rc;
}
