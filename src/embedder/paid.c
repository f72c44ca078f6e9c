/*
 * paid.c — see paid.h. A cache of memory alone (quern/cache.h), which bounds it, forgets and locks. While nothing has failed it is
 * empty, and costs a look at a number.
 *
 * Rejected: telling the caller which of its vectors are good after all. Every embedder, and everybody who calls one, would have to
 * keep to that; here it stays between the two that know.
 */
#include "embedder/paid.h"

#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "quern/cache.h"

enum { MOST = 4000, MOST_BYTES = 16 << 20, TTL_S = 600 };

struct quern__paid {
    quern_cache *cache;
    uint32_t dim;
};

int quern__paid_new(quern__paid **out, uint32_t dim, quern_error *err)
{
    quern_cache_options opt = {
        .struct_size = sizeof opt, .entries = MOST, .bytes = MOST_BYTES, .ttl_s = TTL_S};
    quern__paid *p = quern__calloc(1, sizeof *p);
    *out = NULL;
    if (!p)
        return quern__fail_memory(err, sizeof *p);
    p->dim = dim;
    int rc = quern_cache_open(&p->cache, &opt, err);
    if (rc)
        quern__free(p);
    else
        *out = p;
    return rc;
}

void quern__paid_free(quern__paid *p)
{
    if (!p)
        return;
    quern_cache_free(p->cache);
    quern__free(p);
}

/* A text that is cut has no key of its own; what is not UTF-8 is mended for one caller and refused to another. */
static bool is_kept(const quern_embed_options *opt)
{
    return opt->truncation != QUERN_TRUNCATION_CUT;
}

static int key_of(quern_str text, const quern_embed_options *opt, quern_cache_key *key)
{
    const char *how = opt->invalid_utf8 == QUERN_INVALID_UTF8_REPLACE ? "replace" : "refuse";
    return quern_cache_key_of(how, opt->as == QUERN_AS_QUERY, opt->no_normalize, text, key, NULL);
}

void quern__paid_keep(quern__paid *p, const quern_str *texts, size_t n,
                      const quern_embed_options *opt, const float *vectors,
                      const quern_embed_result *results, const uint8_t *done)
{
    for (size_t i = 0; i < n && is_kept(opt); i++) {
        quern_cache_key key;
        if (done[i] && key_of(texts[i], opt, &key) == QUERN_OK)
            quern_cache_put(p->cache, &key, 1, p->dim, vectors + i * p->dim, &results[i].tokens,
                            NULL, 0);
    }
}

/* ---- asking for what is not here ---- */

typedef struct rest {
    quern_cache_key *keys; /* [n] */
    uint32_t *tokens;      /* [n] */
    uint8_t *found;        /* [n] */
    quern_str *texts;      /* [left], and where each stands in the call */
    size_t *at;
    float *out;
    quern_embed_result *results;
    size_t left;
} rest;

static void dispose(rest *r)
{
    quern__free(r->keys);
    quern__free(r->tokens);
    quern__free(r->found);
    quern__free(r->texts);
    quern__free(r->at);
    quern__free(r->out);
    quern__free(r->results);
}

static bool any_left(const quern__paid *p)
{
    quern_cache_stats s;
    quern_cache_get_stats(p->cache, QUERN_CACHE_MEMORY, &s);
    return s.entries > 0;
}

/* How many are here; their vectors are in `out`. Without memory: none. */
static size_t look(const quern__paid *p, const quern_str *texts, size_t n,
                   const quern_embed_options *opt, float *out, rest *r)
{
    r->keys = quern__alloc_array(n, sizeof *r->keys);
    r->tokens = quern__calloc(n, sizeof *r->tokens);
    r->found = quern__calloc(n, 1);
    if (!r->keys || !r->tokens || !r->found)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (key_of(texts[i], opt, &r->keys[i]) != QUERN_OK)
            return 0;
    return quern_cache_get(p->cache, r->keys, n, p->dim, out, r->tokens, r->found);
}

static bool gather(const quern__paid *p, const quern_str *texts, size_t n, rest *r)
{
    r->texts = quern__alloc_array(r->left, sizeof *r->texts);
    r->at = quern__alloc_array(r->left, sizeof *r->at);
    r->out = quern__alloc_array(r->left * p->dim, sizeof *r->out);
    r->results = quern__calloc(r->left, sizeof *r->results);
    if (!r->texts || !r->at || !r->out || !r->results)
        return false;
    for (size_t i = 0, k = 0; i < n; i++)
        if (!r->found[i]) {
            r->texts[k] = texts[i];
            r->at[k++] = i;
        }
    return true;
}

/* All are there: each to its place, and those that were here leave. */
static void deliver(const quern__paid *p, size_t n, float *out, quern_embed_result *results,
                    const rest *r)
{
    for (size_t k = 0; k < r->left; k++) {
        memcpy(out + r->at[k] * p->dim, r->out + k * p->dim, p->dim * sizeof *out);
        results[r->at[k]] = r->results[k];
    }
    for (size_t i = 0; i < n; i++)
        if (r->found[i]) {
            results[i] = (quern_embed_result){.tokens = r->tokens[i], .tokens_full = r->tokens[i]};
            quern_cache_remove(p->cache, &r->keys[i]);
        }
}

int quern__paid_embed(quern__paid *p, quern__paid_ask ask, void *ud, const quern_str *texts,
                      size_t n, const quern_embed_options *opt, float *out,
                      quern_embed_result *results, quern_error *err)
{
    rest r = {0};
    quern_error fault = {.subject = -1, .retry_ms = -1};
    size_t here = is_kept(opt) && any_left(p) ? look(p, texts, n, opt, out, &r) : 0;
    r.left = n - here;
    if (!here || (r.left && !gather(p, texts, n, &r))) {
        dispose(&r);
        return ask(ud, texts, n, opt, out, results, err);
    }
    int rc = r.left ? ask(ud, r.texts, r.left, opt, r.out, r.results, &fault) : QUERN_OK;
    if (rc == QUERN_OK)
        deliver(p, n, out, results, &r);
    else if (fault.subject >= 0 && (size_t)fault.subject < r.left)
        fault.subject = (int32_t)r.at[fault.subject];
    if (rc && err)
        *err = fault;
    dispose(&r);
    return rc;
}
