/*
 * capped.c — an embedder that may use so many tokens, or so much money, and no more: the call that would go over is refused
 * before it leaves. What a call will take is guessed, by a quarter of its bytes until the provider has counted, then by how it
 * counts; what it took is what the provider says. So the last call may overshoot by what that guess was
 * wrong, and no further one starts.
 *
 * A call that would go over because of others under way waits for them first: they may take less than was guessed, and if
 * not, nothing that was paid for is thrown away by the fault. Failed calls are not counted, for
 * nobody bills them, but for answers of status 200 that made no sense.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/os.h"
#include "embedder/wrap.h"
#include "quern/provider.h"

enum { BYTES_A_TOKEN = 4, ASSET_TOKENS = 1000 /* as in limited.c */, NAP_MS = 50 };

typedef struct capped {
    quern__wrap wrap;
    quern_cap_options opt;
    uint64_t most; /* tokens */
    quern__mutex *mutex;
    quern__cond *settled;
    /* under the mutex */
    uint64_t spent, under_way;            /* tokens; the second guessed */
    double counted_tokens, counted_bytes; /* of calls that the provider counted */
} capped;

/* Under the mutex; n: texts, which take a token at least. */
static uint64_t guess(const capped *c, uint64_t bytes, size_t n)
{
    double each = c->counted_bytes > 0 ? c->counted_tokens / c->counted_bytes : 1.0 / BYTES_A_TOKEN;
    uint64_t tokens = (uint64_t)((double)bytes * each + 0.999);
    return QUERN__MAX(tokens, (uint64_t)n);
}

static int refuse(const capped *c, uint64_t tokens, quern_error *err)
{
    char price[80] = "";
    if (c->opt.max_price > 0)
        snprintf(price, sizeof price, ", $%.4f of $%.4f", (double)c->spent / 1000 * c->opt.price,
                 c->opt.max_price);
    return quern__fail(err, QUERN_EBUDGET, (int64_t)c->spent,
                       "%.120s: this run has used %" PRIu64 " of %" PRIu64
                       " tokens%s, and the next call takes about %" PRIu64,
                       quern_embedder_name(c->wrap.inner), c->spent, c->most, price, tokens);
}

/* What a call will take. */
typedef struct load {
    uint64_t bytes, assets;
    size_t texts;
    uint64_t guessed;
} load;

static int reserve(capped *c, load *l, const quern_cancel *cancel, quern_error *err)
{
    int rc = QUERN_OK;
    quern__mutex_lock(c->mutex);
    for (;;) {
        l->guessed = guess(c, l->bytes, l->texts) + l->assets * ASSET_TOKENS;
        if (c->spent + c->under_way + l->guessed <= c->most) {
            c->under_way += l->guessed;
            break;
        }
        rc = c->under_way ? quern__check_cancel(cancel, err) : refuse(c, l->guessed, err);
        if (rc)
            break;
        quern__cond_wait_ms(c->settled, c->mutex, NAP_MS);
    }
    quern__mutex_unlock(c->mutex);
    return rc;
}

static void settle(capped *c, const load *l, uint64_t tokens, int rc, const quern_error *said)
{
    bool billed = rc == QUERN_OK || (rc == QUERN_EREMOTE && said->detail == 200);
    quern__mutex_lock(c->mutex);
    c->under_way -= l->guessed;
    c->spent += tokens ? tokens : billed ? l->guessed : 0;
    if (tokens && !l->assets) {
        c->counted_tokens += (double)tokens;
        c->counted_bytes += (double)l->bytes;
    }
    quern__cond_broadcast(c->settled);
    quern__mutex_unlock(c->mutex);
}

static int capped_embed(void *self, const quern_str *texts, size_t n,
                        const quern_embed_options *opt, float *out, quern_embed_result *results,
                        quern_error *err)
{
    capped *c = self;
    quern_error said = {0};
    load l = {.texts = n};
    uint64_t tokens = 0;
    for (size_t i = 0; i < n; i++)
        l.bytes += texts[i].len;
    int rc = reserve(c, &l, opt->cancel, err);
    if (rc)
        return rc;
    rc = quern__wrap_embed(c, texts, n, opt, out, results, &said);
    for (size_t i = 0; i < n && !rc; i++)
        tokens += results[i].tokens;
    settle(c, &l, tokens, rc, &said);
    if (rc && err)
        *err = said;
    return rc;
}

static int capped_assets(void *self, const quern_asset_call *call, quern_error *err)
{
    capped *c = self;
    quern_error said = {0};
    load l = {.bytes = call->text.len, .texts = call->text.len > 0, .assets = call->n};
    int rc = reserve(c, &l, call->opt->cancel, err);
    if (rc)
        return rc;
    rc = quern__wrap_assets(c, call, &said);
    settle(c, &l, rc ? 0 : call->result->tokens, rc, &said);
    if (rc && err)
        *err = said;
    return rc;
}

static void capped_release(void *self)
{
    capped *c = self;
    quern_embedder_free(c->wrap.inner);
    quern__cond_free(c->settled);
    quern__mutex_free(c->mutex);
    quern__free(c);
}

static int settle_cap(capped *c, quern_error *err)
{
    const quern_cap_options *o = &c->opt;
    QUERN__REQUIRE(o->max_price >= 0 && o->price >= 0, err);
    if (o->max_price > 0 && !(o->price > 0))
        return quern__fail(err, QUERN_EINVAL, 0,
                           "a limit of $%.4f needs the price of 1,000 tokens to be known",
                           o->max_price);
    double most = o->max_price > 0 ? o->max_price / o->price * 1000 : 1e18;
    c->most = o->max_tokens ? o->max_tokens : (uint64_t)1e18;
    c->most = QUERN__MIN(c->most, (uint64_t)QUERN__MIN(most, 1e18));
    return QUERN_OK;
}

int quern_embedder_capped(quern_embedder **out, quern_embedder *inner, const quern_cap_options *opt,
                          quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(inner, err);
    QUERN__REQUIRE(opt && opt->struct_size >= sizeof(size_t), err);
    capped *c = quern__calloc(1, sizeof *c);
    if (!c)
        return quern__fail_memory(err, sizeof *c);
    memcpy(&c->opt, opt, QUERN__MIN(opt->struct_size, sizeof c->opt));
    int rc = settle_cap(c, err);
    if (!rc)
        rc = quern__mutex_new(&c->mutex, err);
    if (!rc)
        rc = quern__cond_new(&c->settled, err);
    if (!rc)
        rc = quern__wrap_make(out, inner, c, capped_embed, capped_assets, capped_release, err);
    if (rc)
        capped_release(c);
    return rc;
}
