/*
 * cached.c — an embedder that asks a cache first. Of a call, only what is missing travels, each text once however often it
 * stands there, and every vector comes back in its place. A text that is too long, or not UTF-8, is never in a cache
 * (where it is to be mended, the key is of the mended one), so the inner embedder judges it as it always does. What is not of
 * unit length is not believed either: somebody else may write to a Redis.
 *
 * What is behind a URL may change while the URL does not, so calls with assets pass by the cache.
 * With truncation the key would have to say where the text was cut; such calls pass by the cache.
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "embedder/wrap.h"
#include "quern/provider.h"
#include "quern/text.h"
#include "text/utf8.h"

typedef struct cached {
    quern__wrap wrap;
    quern_cache *cache;
    char fingerprint[65];
} cached;

typedef struct call {
    quern_cache_key *keys;       /* [n] */
    uint8_t *found;              /* [n] */
    uint32_t *tokens;            /* [n] */
    size_t *asked;               /* [missing] index of each text that travels */
    size_t *place;               /* [n] where a missing one stands among those */
    quern_str *texts;            /* [missing] */
    quern_embed_result *results; /* [missing] */
    uint32_t *paid;              /* [missing] their tokens */
    float *vectors;              /* [missing, dim] */
    size_t missing;
} call;

static void dispose(call *c)
{
    quern__free(c->keys);
    quern__free(c->found);
    quern__free(c->tokens);
    quern__free(c->asked);
    quern__free(c->place);
    quern__free(c->texts);
    quern__free(c->results);
    quern__free(c->paid);
    quern__free(c->vectors);
}

static int find_key(const cached *e, quern_str text, const quern_embed_options *opt,
                    quern_cache_key *key, quern_error *err)
{
    char *clean = NULL;
    int rc = QUERN_OK;
    if (opt->invalid_utf8 == QUERN_INVALID_UTF8_REPLACE &&
        quern__utf8_check(text.ptr, text.len) < text.len)
        rc = quern_utf8_replace(&clean, &text.len, text, err);
    text.ptr = clean ? clean : text.ptr;
    if (!rc)
        rc = quern_cache_key_of(e->fingerprint, opt->as == QUERN_AS_QUERY, opt->no_normalize, text,
                                key, err);
    quern_free(clean);
    return rc;
}

static int find_keys(const cached *e, call *c, const quern_str *texts, size_t n,
                     const quern_embed_options *opt, quern_error *err)
{
    c->keys = quern__alloc_array(n, sizeof *c->keys);
    c->found = quern__alloc_array(n, 1);
    c->tokens = quern__calloc(n, sizeof *c->tokens);
    c->asked = quern__alloc_array(n, sizeof *c->asked);
    c->place = quern__alloc_array(n, sizeof *c->place);
    int rc = c->keys && c->found && c->tokens && c->asked && c->place
                 ? QUERN_OK
                 : quern__fail_memory(err, n * sizeof *c->keys);
    for (size_t i = 0; i < n && !rc; i++)
        rc = find_key(e, texts[i], opt, &c->keys[i], err);
    return rc;
}

static void doubt(call *c, size_t n, const float *out, size_t dim)
{
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t k = 0; k < dim && c->found[i]; k++)
            sum += (double)out[i * dim + k] * (double)out[i * dim + k];
        if (c->found[i] && !(fabs(sqrt(sum) - 1) <= 1e-3))
            c->found[i] = 0;
    }
}

/* Equal texts have equal keys: a small table of the missing ones, by key. */
static int list_missing(call *c, const quern_str *texts, size_t n, quern_error *err)
{
    size_t room = 16;
    while (room < 2 * n)
        room *= 2;
    size_t *table = quern__alloc_array(room, sizeof *table);
    if (!table)
        return quern__fail_memory(err, room * sizeof *table);
    for (size_t i = 0; i < room; i++)
        table[i] = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        uint64_t at;
        if (c->found[i])
            continue;
        memcpy(&at, c->keys[i].bytes, sizeof at);
        for (at &= room - 1; table[at] != SIZE_MAX; at = (at + 1) & (room - 1))
            if (memcmp(c->keys[c->asked[table[at]]].bytes, c->keys[i].bytes, 32) == 0)
                break;
        if (table[at] == SIZE_MAX) {
            table[at] = c->missing;
            c->asked[c->missing++] = i;
        }
        c->place[i] = table[at];
    }
    quern__free(table);
    c->texts = quern__alloc_array(c->missing + 1, sizeof *c->texts);
    c->results = quern__calloc(c->missing + 1, sizeof *c->results);
    c->paid = quern__alloc_array(c->missing + 1, sizeof *c->paid);
    if (!c->texts || !c->results || !c->paid)
        return quern__fail_memory(err, c->missing * sizeof *c->texts);
    for (size_t k = 0; k < c->missing; k++)
        c->texts[k] = texts[c->asked[k]];
    return QUERN_OK;
}

static int embed_missing(const cached *e, call *c, const quern_embed_options *opt, quern_error *err)
{
    uint32_t dim = quern_embedder_dimensions(e->wrap.inner);
    c->vectors = quern__alloc_array(c->missing * dim + 1, sizeof *c->vectors);
    if (!c->vectors)
        return quern__fail_memory(err, c->missing * dim * sizeof *c->vectors);
    int rc = quern__wrap_embed(e, c->texts, c->missing, opt, c->vectors, c->results, err);
    if (rc != QUERN_OK && err && err->subject >= 0 && (size_t)err->subject < c->missing)
        err->subject = (int32_t)c->asked[err->subject];
    for (size_t k = 0; k < c->missing && rc == QUERN_OK; k++) {
        c->keys[k] = c->keys[c->asked[k]]; /* asked[k] >= k, and nobody needs the others any more */
        c->paid[k] = c->results[k].tokens;
    }
    if (rc == QUERN_OK)
        quern_cache_put(e->cache, c->keys, c->missing, dim, c->vectors, c->paid, NULL, 0);
    return rc;
}

static int cached_embed(void *self, const quern_str *texts, size_t n,
                        const quern_embed_options *opt, float *out, quern_embed_result *results,
                        quern_error *err)
{
    const cached *e = self;
    uint32_t dim = quern_embedder_dimensions(e->wrap.inner);
    call c = {0};
    if (opt->truncation == QUERN_TRUNCATION_CUT)
        return quern__wrap_embed(e, texts, n, opt, out, results, err);
    int rc = find_keys(e, &c, texts, n, opt, err);
    if (rc == QUERN_OK) {
        quern_cache_get(e->cache, c.keys, n, dim, out, c.tokens, c.found);
        if (!opt->no_normalize)
            doubt(&c, n, out, dim);
        rc = list_missing(&c, texts, n, err);
    }
    if (rc == QUERN_OK && c.missing)
        rc = embed_missing(e, &c, opt, err);
    for (size_t i = 0; i < n && rc == QUERN_OK; i++) {
        if (c.found[i]) {
            results[i].tokens = results[i].tokens_full = c.tokens[i];
            continue;
        }
        memcpy(out + i * dim, c.vectors + c.place[i] * dim, dim * sizeof *out);
        results[i] = c.results[c.place[i]];
    }
    dispose(&c);
    return rc;
}

static void cached_release(void *self)
{
    cached *e = self;
    quern_embedder_free(e->wrap.inner);
    quern__free(e);
}

int quern_embedder_cached(quern_embedder **out, quern_embedder *inner, quern_cache *cache,
                          quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(inner && cache, err);
    char *json = NULL;
    cached *e = quern__calloc(1, sizeof *e);
    if (!e)
        return quern__fail_memory(err, sizeof *e);
    e->cache = cache;
    int rc = quern_embedder_fingerprint(inner, &json, e->fingerprint, err);
    quern_free(json);
    if (!rc)
        rc = quern__wrap_make(out, inner, e, cached_embed, NULL, cached_release, err);
    if (rc)
        cached_release(e);
    return rc;
}
