/*
 * quern/provider.h — embedders behind somebody's HTTP API, and what stands in front of them. A provider is an embedder
 * like any other: search, fill and work take one. Each wrapper below is an embedder too; it takes the one it wraps (on
 * failure that stays the caller's) and is freed for both. From the outside in, the usual order is
 *
 *     cached ( batching ( retrying ( capped ( fallback ( pausing ( limited ( provider ) ), … ) ) ) ) )
 *
 * so that a call of any size is cut to what the provider takes, each part is tried again by itself, each try counts
 * against the limit, a provider that is down is left alone by all of them together, and another way to the same vectors taken,
 * and what was paid for once is not asked for again (cache.h; a local model may stand behind a cache too).
 * quern_embedder_from_provider alone makes exactly one HTTP call a quern_embed, so it is
 * the wrappers that make it patient.
 *
 * What comes back is trusted in nothing: number, index, dimension, finiteness and length of every vector are checked,
 * and vectors are scaled to unit length unless no_normalize. Errors are EREMOTE, name provider and status, never
 * hold a key or a text, and say by err->retry_ms whether the same call may succeed later.
 */
#ifndef QUERN_PROVIDER_H
#define QUERN_PROVIDER_H

#include "quern/cache.h"
#include "quern/embedder.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One call that is about to leave, for options.authorize. */
typedef struct quern_provider_request quern_provider_request;
QUERN_API const char *quern_provider_request_url(const quern_provider_request *r);
/* Texts and assets. */
QUERN_API size_t quern_provider_request_texts(const quern_provider_request *r);
/* Both are copied. EINVAL: a name or value that no header can have. */
QUERN_API int quern_provider_request_header(quern_provider_request *r, const char *name,
                                            const char *value, quern_error *err);

typedef struct quern_provider_options {
    size_t struct_size;
    /* A built-in profile: openai, deepinfra, dashscope, mistral, cohere, voyage, jina, tei, ollama; of models that can see
     * (quern_embed_assets) voyage-vision, jina-vision, dashscope-vision; "compatible" (or NULL): anything else that speaks
     * OpenAI's dialect. It gives address, dialect, limits and what the key's variable is called. */
    const char *provider;
    /* As the provider calls it, or a canonical name that some of them call otherwise (qwen-3-embedding-4b). */
    const char *model;
    /* 1: it is asked for its name, dimension and fingerprint only: no key is needed, no call is made, and embedding is
     * EUNSUPPORTED. The dimension must be given or known then (EINVAL). */
    int describe_only;
    const char *base_url; /* NULL: the profile's, which tei and compatible lack */
    const char *api_key;  /* NULL: no key is sent; EINVAL where the profile needs one */
    /* 1: a key and an address that are NULL are looked for in the environment, under the profile's names */
    int use_environment;
    /* Asked of the provider and verified. 0: the model's own, which is known of some models, and of others found out by
     * embedding one word when the embedder is made. */
    uint32_t dimensions;
    uint32_t timeout_ms, connect_ms; /* 0: 30 s, 10 s */
    uint32_t connections;            /* at once, 0: 16 */
    uint32_t max_inputs;             /* texts in a call; 0: the profile's */
    const char *proxy;               /* NULL: the environment's; "": none */
    const char *ca_file;             /* PEM, NULL: the system's */
    const char *headers;             /* more of them, "Name: value" a line; NULL */
    const char *query_prompt,
        *document_prompt; /* put in front of a text; NULL: none. In the fingerprint */
    /* Before each call leaves, retries included: may add headers, or refuse it by returning a code with err filled (with
     * err->retry_ms >= 0 it is tried again, where something stands in front that does). Any thread, several at once. */
    int (*authorize)(quern_provider_request *r, void *ud, quern_error *err);
    void *authorize_ud;
    const quern_cancel
        *cancel;       /* ends the call that finds out `dimensions`; not kept. NULL: none */
    uint32_t attempts; /* of that call, with pauses as quern_embedder_retrying makes them; 0: 3 */
    /* Told of each answer whose status is not 200, tries that are repeated included: its body, at most 4,096 bytes of UTF-8 in
     * one line (control characters and ends of lines as \u and four digits), what went out in headers and the signatures of assets' URLs struck
     * out. A provider may repeat the texts it was sent, so quern itself writes a body nowhere: errors hold its message alone.
     * Borrowed for the call. Any thread, several at once. NULL: nobody asks */
    void (*refused)(int status, quern_str body, void *ud);
    void *refused_ud;
} quern_provider_options;

/* Texts in one call over max_inputs: EINVAL. ETOOLONG is not told apart: a provider's 400 is EREMOTE with err->subject when
 * the call held one text. */
QUERN_API int quern_embedder_from_provider(quern_embedder **out, const quern_provider_options *opt,
                                           quern_error *err);

/* What is known of a provider by name; NULL: there is no such profile. Static. */
typedef struct quern_provider_profile {
    const char *name;
    const char *base_url;                    /* NULL: must be given */
    const char *key_variable, *url_variable; /* of the environment; NULL none */
    int key_required;
    uint32_t max_inputs, max_input_tokens, max_request_tokens; /* 0: unknown */
} quern_provider_profile;
QUERN_API const quern_provider_profile *quern_provider_find(const char *name);
QUERN_API const quern_provider_profile *quern_provider_at(size_t i); /* NULL behind the last */

/* ---- what stands in front of an embedder ---- */

typedef struct quern_retry_options {
    size_t struct_size;
    uint32_t attempts; /* in all, 0: 3 */
    uint32_t
        base_ms; /* 0: 500. The pause before try n + 1 is a random one up to base x 2^(n-1), … */
    uint32_t
        cap_ms; /* … at most this, 0: 30 s; a time that the server names counts instead, up to an hour */
    uint32_t
        deadline_ms; /* of a call with all its tries; a pause that would go past it is not begun. 0: none */
    /* Of all calls together: each first try earns so many hundredths of a retry, up to 100 retries in hand, so that a
     * provider that is down is not asked three times as often. 0: 50; over 10000: no budget */
    uint32_t budget_percent;
} quern_retry_options;
/* Tries again what err->retry_ms says may succeed: the network, 408, 409, 429, 5xx, an answer that makes no sense. A call of
 * texts that is answered 500 to the last try (of two or more) while another text is embedded meanwhile was refused for what is
 * in it: EREMOTE 500, err->retry_ms -1, err->subject where it was one text. */
QUERN_API int quern_embedder_retrying(quern_embedder **out, quern_embedder *inner,
                                      const quern_retry_options *opt, quern_error *err);

typedef struct quern_batching_options {
    size_t struct_size;
    uint32_t max_inputs; /* texts in a call of inner's, 0: 100 */
    uint32_t
        max_request_tokens; /* of all its texts, by their bytes, which are never fewer; 0: no limit */
    uint32_t concurrency;   /* calls at once, of all callers together; 0: 8 */
} quern_batching_options;
/* Cuts a call into several and keeps the order. A part that is rejected (EREMOTE 400, 413, 422, a 500 that is not
 * to be tried again) is halved until the text at fault is alone, and named by err->subject; a size that was rejected and
 * passed in halves is not tried again for at least 128 calls. After the first fault that is not mended so, no further call starts, and those under way are cancelled (a
 * text's own fault: after 2 s). What had been answered by then is kept for ten minutes, so who asks again, for the rest or
 * without the text at fault, is not charged for it again. */
QUERN_API int quern_embedder_batching(quern_embedder **out, quern_embedder *inner,
                                      const quern_batching_options *opt, quern_error *err);

typedef struct quern_limit_options {
    size_t struct_size;
    uint32_t requests_per_minute; /* 0: 500; UINT32_MAX: no limit */
    uint32_t
        tokens_per_minute; /* by the texts' bytes / 4 before the call, as the provider counted after it; 0: no limit */
    uint32_t
        concurrency; /* calls at once; 0: no limit. A pause before another try takes no place */
    uint32_t
        wait_ms; /* a call that would have to wait longer than this is EBUSY at once. 0: as long as it takes */
    uint32_t window_ms; /* what a minute is, from 100; 0: 60,000 */
    /* The first two limits hold for all processes together that give the same URL and name: redis://[:password@]host[:port][/db],
     * unix:///path, or postgres://…, a PostgreSQL that gets a schema quern_limits. It has to be there when the embedder is made;
     * while it does not answer later, nothing leaves for a minute and a sixth, then each process takes its part. NULL: this
     * process's own */
    const char *shared;
    const char *shared_name; /* at most 150 bytes; NULL: inner's name */
} quern_limit_options;
/* Lets calls through so that in no 60 seconds there are more than the limits; later ones wait their turn. */
QUERN_API int quern_embedder_limited(quern_embedder **out, quern_embedder *inner,
                                     const quern_limit_options *opt, quern_error *err);

typedef struct quern_pause_options {
    size_t struct_size;
    uint32_t failures; /* in a row, until there is a pause; 0: 10 */
    uint32_t base_ms;  /* 0: 500. The first pause; each further one is twice as long, … */
    uint32_t
        cap_ms; /* … at most this, 0: 30 s; a time that the server names counts instead, up to an hour */
    uint32_t
        wait_ms; /* a call that would have to wait longer than this fails at once. 0: as long as it takes */
} quern_pause_options;
/* After so many failing calls in a row (those that retrying would try again) nothing goes through for a while; then one
 * call does, and what it meets decides for all. A call that does not wait: EREMOTE, err->code "provider_paused",
 * err->retry_ms until then. */
QUERN_API int quern_embedder_pausing(quern_embedder **out, quern_embedder *inner,
                                     const quern_pause_options *opt, quern_error *err);

/* Several embedders of the same vectors (at most 16): when one fails and may be back later, the next one is asked. Takes all
 * of them. EMISMATCH, naming both: one has another fingerprint than the first. */
QUERN_API int quern_embedder_fallback(quern_embedder **out, quern_embedder *const *list, size_t n,
                                      quern_error *err);

typedef struct quern_cap_options {
    size_t struct_size;
    uint64_t max_tokens; /* 0: no limit */
    double max_price;    /* 0: no limit; in the currency of … */
    double price;        /* … what 1,000 tokens cost */
} quern_cap_options;
/* Lets no more tokens through than these, as long as the embedder lives. The call that would go over, for all that is known
 * before it leaves, is EBUDGET (detail: tokens used). */
QUERN_API int quern_embedder_capped(quern_embedder **out, quern_embedder *inner,
                                    const quern_cap_options *opt, quern_error *err);

/* An embedder that asks the cache first; only what is missing travels, each text once, and comes back in its place; what
 * another thread's call has asked for already is waited for. Takes inner (on failure that stays the caller's); the cache is
 * borrowed and lives longer. */
QUERN_API int quern_embedder_cached(quern_embedder **out, quern_embedder *inner, quern_cache *cache,
                                    quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
