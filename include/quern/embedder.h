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

typedef struct quern_embed_options {
    size_t struct_size;
    int as; /* enum quern_as: which of the model's prompts goes in front */
    int truncation; /* enum quern_truncation: a text over the maximum length is an error (ETOOLONG) or cut */
    int invalid_utf8; /* enum quern_invalid_utf8 */
    int no_normalize; /* 1: raw pooled vectors; stored and searched vectors are always unit */
    const quern_cancel *cancel;
} quern_embed_options;

/* What happened to one text. */
typedef struct quern_embed_result {
    uint32_t tokens;                 /* encoded, special ones included */
    uint32_t tokens_full;            /* before truncation */
    int truncated;                   /* 1: tokens < tokens_full */
    int status;                      /* QUERN_OK, or this text's own fault */
    uint64_t tokenize_ns, encode_ns; /* its share of the time, by tokens */
} quern_embed_result;

/* The embedder takes its own hold of the model. */
QUERN_API int quern_embedder_from_model(quern_embedder **out, quern_model *m,
                                        const quern_embedder_options *opt, quern_error *err);
QUERN_API void quern_embedder_free(quern_embedder *e); /* no call may be running */
QUERN_API uint32_t quern_embedder_dimensions(const quern_embedder *e);
QUERN_API uint32_t quern_embedder_max_length(const quern_embedder *e);
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

/* The same for one text, as JSON: {"embedding":[…],"tokens":…,"truncated":…,"model":…,"fingerprint":…};
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

/* Totals since the embedder was made; any thread. */
typedef struct quern_embedder_stats {
    size_t struct_size;
    uint64_t calls, texts, tokens, failures, tokenize_ns, encode_ns;
} quern_embedder_stats;
QUERN_API int quern_embedder_get_stats(const quern_embedder *e, quern_embedder_stats *out,
                                       quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
