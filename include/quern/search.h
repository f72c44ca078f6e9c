/*
 * quern/search.h — which documents mean what this text says. Exact cosine over the stored vectors, then
 * a join back to the live rows: a hit exists, matches its source's predicate and is current, or it is
 * no hit. The best chunk of a document stands for it; equal scores go by key.
 */
#ifndef QUERN_SEARCH_H
#define QUERN_SEARCH_H

#include "quern/embedder.h"
#include "quern/store.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quern_hit {
    const char *source;
    const char *key; /* as the database has it, in JSON: 42, "a", [1,"x"] */
    uint32_t chunk;
    uint64_t start, end;     /* bytes of the chunk in the rendered text */
    float score, similarity; /* both the cosine, for mode vector */
    const char *excerpt; /* of the live row, UTF-8, at most ~240 bytes on a word's edge, one line */
    const char *meta;    /* JSON object of the source's metadata columns; "{}" */
} quern_hit;

typedef struct quern_results quern_results;

typedef struct quern_search_options {
    size_t struct_size;
    const char *const *sources; /* NULL: all that have an active generation */
    size_t n_sources;
    uint32_t limit;       /* hits, 0: 10 */
    float min_similarity; /* used when has_min_similarity */
    int has_min_similarity;
    const quern_cancel *cancel;
    int as_document; /* 1: the query is embedded as documents are, for a model with two prompts */
} quern_search_options;

/* An empty result is QUERN_OK with count 0. ENOTFOUND: an unknown source, or none that has been filled;
 * EMISMATCH: the store was filled under another fingerprint of the embedder (both named). A query over the
 * model's length is ETOOLONG. */
QUERN_API int quern_search(quern_results **out, quern_store *s, quern_embedder *e, quern_str query,
                           const quern_search_options *opt, quern_error *err);
QUERN_API size_t quern_results_count(const quern_results *r);
QUERN_API const quern_hit *quern_results_at(const quern_results *r, size_t i);
QUERN_API const char *quern_results_model(const quern_results *r);
QUERN_API const char *quern_results_fingerprint(const quern_results *r);
QUERN_API uint64_t quern_results_scanned(const quern_results *r); /* vectors compared */
QUERN_API void quern_results_free(quern_results *r);

#ifdef __cplusplus
}
#endif
#endif
