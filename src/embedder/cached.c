/*
 * cached.c — an embedder that asks a cache first. Of a call, only what is missing travels, each text once however often it
 * stands there, and every vector comes back in its place. A text that is too long, or not UTF-8, is never in a cache
 * (where it is to be mended, the key is of the mended one), so the inner embedder judges it as it always does. What is not of
 * unit length is not believed either: somebody else may write to a Redis.
 *
 * What travels is a flight, in a list that other calls look into: a text that is on its way already is waited for and not
 * asked for again ("single flight"). Each call lands its own flight before it waits for another's, so no two wait for
 * each other. Between a look into the cache and one into the list a flight may have landed; then the cache is looked at once
 * more. A list, and not one table of all keys: there are never more flights than callers.
 *
 * What is behind a URL may change while the URL does not, so calls with assets pass by the cache.
 * With truncation the key would have to say where the text was cut; such calls pass by the cache.
 */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/error.h"
#include "base/os.h"
#include "embedder/wrap.h"
#include "quern/provider.h"
#include "quern/text.h"
#include "text/utf8.h"

enum { NAP_MS = 50, LANDING = 64 /* entries kept at once */ };

typedef struct flight {
    struct flight *next;
    quern_cache_key *keys; /* [n], each once */
    size_t *table;         /* [room] open addressing: index of a key; SIZE_MAX: free */
    size_t n, room;
    float *vectors;   /* [n, dim] */
    uint32_t *tokens; /* [n] */
    uint8_t *found;   /* [n] in the cache after all */
    /* under the embedder's mutex */
    size_t holders;
    bool landed;
    int rc;
    quern_error err;
} flight;

typedef struct cached {
    quern__wrap wrap;
    quern_cache *cache;
    char fingerprint[65];
    quern__mutex *mutex;
    quern__cond *landing;
    /* under the mutex */
    flight *flights;
    uint64_t landings;
} cached;

/* A text that was not in the cache, and its seat. */
typedef struct missing {
    size_t text;
    flight *of; /* NULL: it has none yet, or has arrived */
    size_t at;
    bool own, first,
        arrived; /* own: the flight is this call's; first: no text before it has this seat */
} missing;

typedef struct call {
    const quern_str *texts;
    const quern_embed_options *opt;
    float *out;
    quern_embed_result *results;
    quern_cache_key *keys; /* [n] */
    uint8_t *found;        /* [n] */
    uint32_t *tokens;      /* [n] */
    missing *missing;      /* [n_missing] */
    size_t n_missing, left;
    uint64_t landings; /* when the cache was looked at */
} call;

static void dispose(call *c)
{
    quern__free(c->keys);
    quern__free(c->found);
    quern__free(c->tokens);
    quern__free(c->missing);
}

/* ---- flights ---- */

static void free_flight(flight *f)
{
    quern__free(f->keys);
    quern__free(f->table);
    quern__free(f->vectors);
    quern__free(f->tokens);
    quern__free(f->found);
    quern__free(f);
}

/* With room for so many keys. */
static int make_flight(flight **out, size_t most, uint32_t dim, quern_error *err)
{
    flight *f = quern__calloc(1, sizeof *f);
    if (!f)
        return quern__fail_memory(err, sizeof *f);
    f->holders = 1;
    for (f->room = 16; f->room < 2 * most;)
        f->room *= 2;
    f->keys = quern__alloc_array(most, sizeof *f->keys);
    f->table = quern__alloc_array(f->room, sizeof *f->table);
    f->vectors = quern__alloc_array(most * dim, sizeof *f->vectors);
    f->tokens = quern__calloc(most, sizeof *f->tokens);
    f->found = quern__calloc(most, 1);
    if (!f->keys || !f->table || !f->vectors || !f->tokens || !f->found) {
        free_flight(f);
        return quern__fail_memory(err, most * dim * sizeof *f->vectors);
    }
    for (size_t i = 0; i < f->room; i++)
        f->table[i] = SIZE_MAX;
    *out = f;
    return QUERN_OK;
}

/* Where a key is in a flight's table, or would be. Keys are hashes: their first bytes spread well. */
static size_t *slot_of(const flight *f, const quern_cache_key *key)
{
    uint64_t at;
    memcpy(&at, key->bytes, sizeof at);
    for (at &= f->room - 1; f->table[at] != SIZE_MAX; at = (at + 1) & (f->room - 1))
        if (memcmp(f->keys[f->table[at]].bytes, key->bytes, sizeof key->bytes) == 0)
            break;
    return &f->table[at];
}

static void take_own_seat(flight *own, missing *m, const quern_cache_key *key)
{
    size_t *slot = slot_of(own, key);
    m->of = own;
    m->own = true;
    m->first = *slot == SIZE_MAX;
    if (m->first) {
        own->keys[own->n] = *key;
        *slot = own->n++;
    }
    m->at = *slot;
}

/* Under the mutex: a seat for each text, in somebody's flight that is under way or in `own`, which is listed if it has any. */
static void take_seats(cached *e, call *c, flight *own)
{
    for (size_t k = 0; k < c->n_missing; k++) {
        missing *m = &c->missing[k];
        const quern_cache_key *key = &c->keys[m->text];
        if (m->arrived)
            continue;
        for (flight *f = e->flights; f && !m->of; f = f->next) {
            size_t slot = *slot_of(f, key);
            if (slot == SIZE_MAX)
                continue;
            m->of = f;
            m->at = slot;
            m->own = false;
            f->holders++;
        }
        if (!m->of)
            take_own_seat(own, m, key);
    }
    if (own->n) {
        own->next = e->flights;
        e->flights = own;
    }
}

static void land(cached *e, flight *f, int rc, const quern_error *err)
{
    quern__mutex_lock(e->mutex);
    flight **at = &e->flights;
    while (*at && *at != f)
        at = &(*at)->next;
    if (*at)
        *at = f->next;
    f->landed = true;
    f->rc = rc;
    f->err = *err;
    e->landings++;
    quern__cond_broadcast(e->landing);
    quern__mutex_unlock(e->mutex);
}

static void let_go(cached *e, flight *f)
{
    quern__mutex_lock(e->mutex);
    bool last = --f->holders == 0;
    quern__mutex_unlock(e->mutex);
    if (last)
        free_flight(f);
}

/* ---- this call's own ---- */

typedef struct asked {
    quern_str *texts;            /* [n] */
    size_t *seat, *text;         /* [n] in the flight, in the call */
    quern_embed_result *results; /* [n] */
    float *vectors;              /* [n, dim] */
    size_t n;
} asked;

static int list_asked(const call *c, const flight *own, uint32_t dim, asked *a, quern_error *err)
{
    a->texts = quern__alloc_array(own->n, sizeof *a->texts);
    a->seat = quern__alloc_array(own->n, sizeof *a->seat);
    a->text = quern__alloc_array(own->n, sizeof *a->text);
    a->results = quern__calloc(own->n, sizeof *a->results);
    a->vectors = quern__alloc_array(own->n * dim, sizeof *a->vectors);
    if (!a->texts || !a->seat || !a->text || !a->results || !a->vectors)
        return quern__fail_memory(err, own->n * dim * sizeof *a->vectors);
    for (size_t k = 0; k < c->n_missing; k++) {
        const missing *m = &c->missing[k];
        if (m->of != own || !m->first || own->found[m->at])
            continue;
        a->texts[a->n] = c->texts[m->text];
        a->text[a->n] = m->text;
        a->seat[a->n++] = m->at;
    }
    return QUERN_OK;
}

static void look(const cached *e, const quern_embed_options *opt, const quern_cache_key *keys,
                 size_t n, float *out, uint32_t *tokens, uint8_t *found)
{
    size_t dim = quern_embedder_dimensions(e->wrap.inner);
    quern_cache_get(e->cache, keys, n, (uint32_t)dim, out, tokens, found);
    for (size_t i = 0; i < n && !opt->no_normalize; i++) {
        double sum = 0;
        for (size_t k = 0; k < dim && found[i]; k++)
            sum += (double)out[i * dim + k] * (double)out[i * dim + k];
        if (found[i] && !(fabs(sqrt(sum) - 1) <= 1e-3))
            found[i] = 0;
    }
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

/* ---- what lands is kept at once: a call of thousands may be killed, or fail, before its end ---- */

typedef struct landing {
    cached *e;
    const quern_embed_options *opt; /* the caller's */
    atomic_size_t parts;
} landing;

static void land_part(void *ud, const quern_str *texts, size_t n, const float *vectors,
                      const quern_embed_result *results)
{
    landing *l = ud;
    uint32_t dim = quern_embedder_dimensions(l->e->wrap.inner);
    atomic_fetch_add(&l->parts, 1);
    for (size_t i = 0, some; i < n; i += some) {
        quern_cache_key keys[LANDING];
        uint32_t tokens[LANDING];
        some = 0;
        while (some < LANDING && i + some < n &&
               !find_key(l->e, texts[i + some], l->opt, &keys[some], NULL)) {
            tokens[some] = results[i + some].tokens;
            some++;
        }
        quern_cache_put(l->e->cache, keys, some, dim, vectors + i * dim, tokens, NULL, 0);
        some += some < LANDING; /* one without a key: no memory; it is only asked for again */
    }
}

static int fly(cached *e, const call *c, flight *own, bool look_again, quern_error *err)
{
    asked a = {0};
    landing kept = {.e = e, .opt = c->opt};
    quern_embed_options opt = *c->opt;
    uint32_t dim = quern_embedder_dimensions(e->wrap.inner);
    if (look_again)
        look(e, c->opt, own->keys, own->n, own->vectors, own->tokens, own->found);
    int rc = list_asked(c, own, dim, &a, err);
    if (!rc && a.n) {
        opt.arrived = land_part;
        opt.arrived_ud = &kept;
        rc = quern__wrap_embed(e, a.texts, a.n, &opt, a.vectors, a.results, err);
        if (rc && err->subject >= 0 && (size_t)err->subject < a.n)
            err->subject = (int32_t)a.text[err->subject];
    }
    for (size_t i = 0; i < a.n && !rc; i++) {
        memcpy(own->vectors + a.seat[i] * dim, a.vectors + i * dim, dim * sizeof *a.vectors);
        own->tokens[a.seat[i]] = a.results[i].tokens;
        c->results[a.text[i]] = a.results[i];
    }
    if (!rc && a.n && atomic_load(&kept.parts) == 0)
        quern_cache_put(e->cache, own->keys, own->n, dim, own->vectors, own->tokens, own->found, 0);
    quern__free(a.texts);
    quern__free(a.seat);
    quern__free(a.text);
    quern__free(a.results);
    quern__free(a.vectors);
    return rc;
}

/* A text whose vector another one's seat, or the cache, paid for. */
static void arrive_free(call *c, size_t text, uint32_t tokens)
{
    c->results[text] = (quern_embed_result){.tokens = tokens, .tokens_full = tokens, .cached = 1};
}

static void arrive(const cached *e, call *c, missing *m)
{
    size_t dim = quern_embedder_dimensions(e->wrap.inner);
    const flight *f = m->of;
    memcpy(c->out + m->text * dim, f->vectors + m->at * dim, dim * sizeof *c->out);
    if (!m->own || !m->first || f->found[m->at])
        arrive_free(c, m->text, f->tokens[m->at]);
    m->arrived = true;
    c->left--;
}

/* ---- others' ---- */

/* What failed for its caller's own reasons, or for another text's, says nothing of this text: it is asked for again. */
static bool is_ours_too(const flight *f)
{
    return f->rc != QUERN_ECANCELLED && f->rc != QUERN_ENOMEM && f->err.subject < 0;
}

static int wait_for(cached *e, call *c, missing *m, quern_error *err)
{
    int rc = QUERN_OK;
    quern__mutex_lock(e->mutex);
    while (!rc && !m->of->landed) {
        rc = quern__check_cancel(c->opt->cancel, err);
        if (!rc)
            quern__cond_wait_ms(e->landing, e->mutex, NAP_MS);
    }
    quern__mutex_unlock(e->mutex);
    if (rc || (m->of->rc && !is_ours_too(m->of)))
        return rc;
    if (m->of->rc == QUERN_OK)
        arrive(e, c, m);
    else if (err)
        *err = m->of->err;
    return m->of->rc;
}

/* Each missing text is asked for, or waited for; those whose flight came to nothing are left for another round. */
static int go_round(cached *e, call *c, quern_error *err)
{
    flight *own = NULL;
    quern_error fault = {.subject = -1, .retry_ms = -1};
    int rc = make_flight(&own, c->left, quern_embedder_dimensions(e->wrap.inner), err);
    if (rc)
        return rc;
    quern__mutex_lock(e->mutex);
    take_seats(e, c, own);
    bool look_again = e->landings != c->landings;
    c->landings = e->landings;
    quern__mutex_unlock(e->mutex);
    if (own->n) {
        rc = fly(e, c, own, look_again, &fault);
        land(e, own, rc, &fault);
    }
    if (rc && err)
        *err = fault;
    for (size_t k = 0; k < c->n_missing; k++) {
        missing *m = &c->missing[k];
        flight *f = m->of;
        if (m->arrived || !f)
            continue;
        if (!rc && m->own)
            arrive(e, c, m);
        else if (!rc)
            rc = wait_for(e, c, m, err);
        m->of = NULL;
        if (!m->own)
            let_go(e, f);
    }
    let_go(e, own);
    return rc;
}

/* ---- a call ---- */

static int look_up(cached *e, call *c, size_t n, quern_error *err)
{
    c->keys = quern__alloc_array(n, sizeof *c->keys);
    c->found = quern__alloc_array(n, 1);
    c->tokens = quern__calloc(n, sizeof *c->tokens);
    c->missing = quern__calloc(n, sizeof *c->missing);
    int rc = c->keys && c->found && c->tokens && c->missing
                 ? QUERN_OK
                 : quern__fail_memory(err, n * sizeof *c->keys);
    for (size_t i = 0; i < n && !rc; i++)
        rc = find_key(e, c->texts[i], c->opt, &c->keys[i], err);
    if (rc)
        return rc;
    quern__mutex_lock(e->mutex);
    c->landings = e->landings;
    quern__mutex_unlock(e->mutex);
    look(e, c->opt, c->keys, n, c->out, c->tokens, c->found);
    for (size_t i = 0; i < n; i++) {
        if (c->found[i])
            arrive_free(c, i, c->tokens[i]);
        else
            c->missing[c->n_missing++].text = i;
    }
    c->left = c->n_missing;
    return QUERN_OK;
}

static int cached_embed(void *self, const quern_str *texts, size_t n,
                        const quern_embed_options *opt, float *out, quern_embed_result *results,
                        quern_error *err)
{
    cached *e = self;
    call c = {.texts = texts, .opt = opt, .out = out, .results = results};
    if (opt->truncation == QUERN_TRUNCATION_CUT)
        return quern__wrap_embed(e, texts, n, opt, out, results, err);
    int rc = look_up(e, &c, n, err);
    while (!rc && c.left)
        rc = go_round(e, &c, err);
    dispose(&c);
    return rc;
}

static void cached_release(void *self)
{
    cached *e = self;
    quern_embedder_free(e->wrap.inner);
    quern__cond_free(e->landing);
    quern__mutex_free(e->mutex);
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
        rc = quern__mutex_new(&e->mutex, err);
    if (!rc)
        rc = quern__cond_new(&e->landing, err);
    if (!rc)
        rc = quern__wrap_make(out, inner, e, cached_embed, NULL, cached_release, err);
    if (rc)
        cached_release(e);
    return rc;
}
