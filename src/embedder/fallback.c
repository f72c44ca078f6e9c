/*
 * fallback.c — several embedders of the same vectors, the next one asked when one before it fails and may be back: replicas of a
 * server, two ways to one provider. Vectors of two models cannot be compared, so the same fingerprint is asked of
 * all of them when this is made, and there is no setting that says otherwise.
 *
 * Always from the front: the first is the one that is wanted. That a server which is down is not asked each time is what
 * pausing.c does in front of it (with a short wait_ms, so that the next has its turn at once).
 */
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/error.h"
#include "embedder/wrap.h"
#include "quern/provider.h"

enum { MOST = 16 };

typedef struct fallback {
    quern__wrap wrap; /* the first */
    quern_embedder *rest[MOST];
    size_t n_rest;
} fallback;

static int ask_next(quern_embedder *e, const quern__ask *ask, quern_error *err)
{
    if (ask->assets)
        return quern__embedder_assets(e, ask->assets, err);
    return quern_embed(e, ask->texts, ask->n, ask->opt, ask->out,
                       ask->n * quern_embedder_dimensions(e), ask->results, err);
}

static int ask_all(const fallback *f, const quern__ask *ask, quern_error *err)
{
    quern_error said = {.retry_ms = -1};
    int rc = quern__wrap_ask(f, ask, &said);
    int32_t soonest = said.retry_ms;
    for (size_t i = 0; i < f->n_rest && rc && said.retry_ms >= 0; i++) {
        rc = ask_next(f->rest[i], ask, &said);
        if (rc && said.retry_ms >= 0)
            soonest = said.retry_ms = QUERN__MIN(soonest, said.retry_ms);
    }
    if (rc && err)
        *err = said;
    return rc;
}

static int fallback_embed(void *self, const quern_str *texts, size_t n,
                          const quern_embed_options *opt, float *out, quern_embed_result *results,
                          quern_error *err)
{
    return ask_all(
        self, &(quern__ask){.texts = texts, .n = n, .opt = opt, .out = out, .results = results},
        err);
}

static int fallback_assets(void *self, const quern_asset_call *call, quern_error *err)
{
    return ask_all(self, &(quern__ask){.opt = call->opt, .assets = call}, err);
}

static void fallback_release(void *self)
{
    fallback *f = self;
    quern_embedder_free(f->wrap.inner);
    for (size_t i = 0; i < f->n_rest; i++)
        quern_embedder_free(f->rest[i]);
    quern__free(f);
}

static int check_same(quern_embedder *first, quern_embedder *other, quern_error *err)
{
    char *json[2] = {NULL, NULL}, hash[2][65];
    int rc = quern_embedder_fingerprint(first, &json[0], hash[0], err);
    if (!rc)
        rc = quern_embedder_fingerprint(other, &json[1], hash[1], err);
    /* the dimension is in the fingerprint of all of ours; somebody else's table may have forgotten it */
    if (!rc && (strcmp(hash[0], hash[1]) != 0 ||
                quern_embedder_dimensions(first) != quern_embedder_dimensions(other)))
        rc = quern__fail(
            err, QUERN_EMISMATCH, 0,
            "%s (%.12s, %u dimensions) cannot stand in for %s (%.12s, %u dimensions): they do not "
            "give the same vectors",
            quern_embedder_name(other), hash[1], quern_embedder_dimensions(other),
            quern_embedder_name(first), hash[0], quern_embedder_dimensions(first));
    if (!rc && (quern_embedder_sees(first) != quern_embedder_sees(other) ||
                quern__embedder_fuses(first) != quern__embedder_fuses(other)))
        rc = quern__fail(err, QUERN_EMISMATCH, 0,
                         "%s cannot stand in for %s: they do not see assets in the same way",
                         quern_embedder_name(other), quern_embedder_name(first));
    quern_free(json[0]);
    quern_free(json[1]);
    return rc;
}

int quern_embedder_fallback(quern_embedder **out, quern_embedder *const *list, size_t n,
                            quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(list && n && n <= MOST, err);
    for (size_t i = 0; i < n; i++)
        QUERN__REQUIRE(list[i], err);
    for (size_t i = 1; i < n; i++) {
        int rc = check_same(list[0], list[i], err);
        if (rc)
            return rc;
    }
    fallback *f = quern__calloc(1, sizeof *f);
    if (!f)
        return quern__fail_memory(err, sizeof *f);
    int rc =
        quern__wrap_make(out, list[0], f, fallback_embed, fallback_assets, fallback_release, err);
    if (rc) {
        quern__free(f);
        return rc;
    }
    for (size_t i = 1; i < n; i++)
        f->rest[f->n_rest++] = list[i];
    return QUERN_OK;
}
