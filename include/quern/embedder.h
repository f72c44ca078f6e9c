/*
 * quern/embedder.h — the one face that turns texts into vectors. A local model stands behind it now;
 * providers, caches and limits are embedders too (quern/sys/embedder.h). Any number of threads may
 * call one embedder at once; the same text under the same fingerprint gives the same bits whatever
 * else is in the call.
 */
#ifndef QUERN_EMBEDDER_H
#define QUERN_EMBEDDER_H

#include "quern/model.h"
#include "quern/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quern_embedder quern_embedder;

typedef struct quern_embedder_options {
    size_t struct_size;
    uint32_t threads; /* 0: the cores this process may use */
    uint32_t batch;   /* texts per internal step, 0: 32; bounds memory, never changes a vector */
} quern_embedder_options;

enum quern_as { QUERN_AS_DOCUMENT, QUERN_AS_QUERY };
enum quern_truncation { QUERN_TRUNCATION_ERROR, QUERN_TRUNCATION_CUT };
enum quern_invalid_utf8 { QUERN_INVALID_UTF8_ERROR, QUERN_INVALID_UTF8_REPLACE };

/* What happened to one text. */
typedef struct quern_embed_result {
    uint32_t tokens;      /* encoded, special ones included */
    uint32_t tokens_full; /* before truncation */
    int truncated;        /* 1: tokens < tokens_full */
    int status;           /* QUERN_OK, or this text's own fault */
    /* tokenize: of itself. encode: of the model's or provider's call that it went with, its share by tokens (equal shares where
     * none are counted); both 0 for one that a cache had. */
    uint64_t tokenize_ns, encode_ns;
    int cached; /* 1: nothing was computed or paid for it: a cache had it, or an equal text brought it */
    uint32_t
        calls; /* to the model that it stands for: the first text of each call that answered has 1, the rest 0 */
} quern_embed_result;

typedef struct quern_embed_options {
    size_t struct_size;
    int as; /* enum quern_as: which of the model's prompts goes in front */
    int truncation; /* enum quern_truncation: a text over the maximum length is an error (ETOOLONG) or cut */
    int invalid_utf8; /* enum quern_invalid_utf8 */
    int no_normalize; /* 1: raw pooled vectors; stored and searched vectors are always unit */
    const quern_cancel *cancel;
    /* NULL, or told of parts of a long call as soon as they are there, by embedders that work in parts: from any thread, several
     * at once, before quern_embed returns and whether or not it then fails. vectors [n, dimensions], results [n]. */
    void (*arrived)(void *ud, const quern_str *texts, size_t n, const float *vectors,
                    const quern_embed_result *results);
    void *arrived_ud;
} quern_embed_options;

/* The embedder takes its own hold of the model. */
QUERN_API int quern_embedder_from_model(quern_embedder **out, quern_model *m,
                                        const quern_embedder_options *opt, quern_error *err);
QUERN_API void quern_embedder_free(quern_embedder *e); /* no call may be running */
QUERN_API uint32_t quern_embedder_dimensions(const quern_embedder *e);
QUERN_API uint32_t quern_embedder_max_length(const quern_embedder *e);
/* Calls worth having under way at once, 1 to 64: more than 1 for a service far away. */
QUERN_API uint32_t quern_embedder_parallel(const quern_embedder *e);
QUERN_API const char *quern_embedder_name(const quern_embedder *e); /* borrowed */
/* The embedder's part of a fingerprint, as quern_model_fingerprint. */
QUERN_API int quern_embedder_fingerprint(quern_embedder *e, char **json, char hash[65],
                                         quern_error *err);
/* As quern_model_tokenize; EUNSUPPORTED where the tokenizer is not at hand. */
QUERN_API int quern_embedder_tokenize(quern_embedder *e, quern_str text, quern_tokens **out,
                                      quern_error *err);

/*
 * Embeds n texts: out [n, dimensions] row-major, in the order given; out_floats must be at least
 * n x dimensions. results: [n], or NULL. n = 0 is done at once. All or nothing: on an error `out` holds
 * nothing to be used, err->subject is the index of the text at fault, -1 when it is none of them.
 * ETOOLONG (detail: tokens), EFORMAT (invalid UTF-8; detail: byte), ECANCELLED, EINTERNAL (a
 * non-finite or zero vector: never returned as one).
 */
QUERN_API int quern_embed(quern_embedder *e, const quern_str *texts, size_t n,
                          const quern_embed_options *opt, float *out, size_t out_floats,
                          quern_embed_result *results, quern_error *err);

/* The same for one text, as JSON: {"embedding":[…],"tokens":…,"truncated":…,"inference_ms":…,"model":…,"fingerprint":…};
 * *json is the caller's (quern_free). */
QUERN_API int quern_embed_json(quern_embedder *e, quern_str text, const quern_embed_options *opt,
                               char **json, quern_error *err);

/* Without blocking: start copies the texts and returns; out and results stay borrowed until wait, which
 * returns what quern_embed would have and frees the job. poll: 1 finished, 0 not yet. cancel: asks it
 * to stop; wait must still be called. */
typedef struct quern_embed_job quern_embed_job;
QUERN_API int quern_embed_start(quern_embed_job **out, quern_embedder *e, const quern_str *texts,
                                size_t n, const quern_embed_options *opt, float *vectors,
                                size_t vector_floats, quern_embed_result *results,
                                quern_error *err);
QUERN_API int quern_embed_poll(const quern_embed_job *job);
QUERN_API void quern_embed_cancel(quern_embed_job *job);
QUERN_API int quern_embed_wait(quern_embed_job *job, quern_error *err);

/*
 * Things to be seen: pictures, frames of videos, videos. They are named by URL; an embedder that can see (a provider's
 * vision model, quern/provider.h; or one of your own) has its server fetch them: quern never does.
 */
enum quern_asset_kind { QUERN_ASSET_IMAGE, QUERN_ASSET_FRAME, QUERN_ASSET_VIDEO };
typedef struct quern_asset {
    int kind;      /* enum quern_asset_kind */
    quern_str key; /* what the program calls it; is not sent */
    int64_t frame; /* its number, of a frame; -1: none */
    quern_str url; /* http or https; empty: it cannot be had, and is skipped */
} quern_asset;

enum quern_asset_fate {
    QUERN_ASSET_USED,
    QUERN_ASSET_CUT,    /* behind the first max_assets */
    QUERN_ASSET_SKIPPED /* without a URL */
};

typedef struct quern_asset_options {
    size_t struct_size;
    int as, truncation, invalid_utf8; /* as those of quern_embed_options, for the text */
    uint32_t max_assets;              /* 0: 8; at most 64 */
    const quern_cancel *cancel;
} quern_asset_options;

typedef struct quern_asset_result {
    size_t struct_size;
    /* in: where the vectors go */
    float *fused; /* [dimensions]: of text and assets together */
    size_t fused_floats;
    float *each; /* [n, dimensions]: of each used asset alone, in its place; NULL: not wanted */
    size_t each_floats;
    int *fates; /* [n], enum quern_asset_fate; NULL: not wanted */
    /* out */
    int empty; /* 1: no text and no asset was left; nobody was asked, and there are no vectors */
    uint32_t used, cut, skipped; /* assets */
    uint64_t tokens, encode_ns;
} quern_asset_result;

/* Assets as they are written down in a row or a line: one URL, of `kind`; or JSON: an object {"url":…,"kind":"image|frame|video",
 * "key":…,"frame":…} of which only url is needed, or an array of URLs and such objects. null and "" in place of a URL: it cannot be had.
 * EFORMAT says where. URLs are looked at when they are embedded. */
typedef struct quern_asset_list quern_asset_list;
QUERN_API int quern_asset_list_parse(quern_asset_list **out, quern_str text, int kind,
                                     quern_error *err);
QUERN_API size_t quern_asset_list_count(const quern_asset_list *l);
QUERN_API const quern_asset *quern_asset_list_all(const quern_asset_list *l); /* [count] */
QUERN_API void quern_asset_list_free(quern_asset_list *l);

/* 1: quern_embed_assets works. */
QUERN_API int quern_embedder_sees(const quern_embedder *e);
/*
 * One vector of unit length for a text (empty: none) and the assets with it, comparable with those that quern_embed gives for
 * texts. All or nothing. EUNSUPPORTED: this embedder cannot see; EINVAL: more than one video (detail: how many), a URL that is
 * none. err->subject: the asset at fault, n when it is the text or all together, -1 when it is not about this call.
 */
QUERN_API int quern_embed_assets(quern_embedder *e, quern_str text, const quern_asset *assets,
                                 size_t n, const quern_asset_options *opt,
                                 quern_asset_result *result, quern_error *err);

/*
 * The assets of a document, from the program that keeps them. `list` names them through take, in their order (urls are not
 * looked at; strings are copied); only the first max_assets are kept, and `fetch` is asked about each of those, behind the list:
 * *url is where it can be had now, a signed URL perhaps, borrowed until the next call. One that fetch leaves empty, or
 * answers with a code for, is skipped and counted; QUERN_ECANCELLED, QUERN_ENOMEM and whatever list or take return end the call.
 */
typedef struct quern_asset_source {
    size_t struct_size;
    int (*list)(quern_str key, int (*take)(void *to, const quern_asset *a), void *to, void *ud);
    int (*fetch)(const quern_asset *a, quern_str *url, void *ud);
    void *ud;
} quern_asset_source;
/* quern_embed_assets for the document `key`; places in each, fates and err->subject are those of the list, [max_assets] at
 * most. */
QUERN_API int quern_embed_listed(quern_embedder *e, quern_str text, quern_str key,
                                 const quern_asset_source *source, const quern_asset_options *opt,
                                 quern_asset_result *result, quern_error *err);

/* Totals since the embedder was made; any thread. */
typedef struct quern_embedder_stats {
    size_t struct_size;
    uint64_t calls, texts, tokens, failures, tokenize_ns, encode_ns;
    uint64_t cached_texts, cached_tokens; /* of texts and tokens, those that cost nothing */
} quern_embedder_stats;
QUERN_API int quern_embedder_get_stats(const quern_embedder *e, quern_embedder_stats *out,
                                       quern_error *err);

/* Seconds that n more texts will take, by the mean of those that it has computed so far; before the first, a millisecond each. */
QUERN_API double quern_embedder_estimate(const quern_embedder *e, uint64_t n);

#ifdef __cplusplus
}
#endif
#endif
