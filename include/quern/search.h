/*
 * quern/search.h — which documents mean what this text says, or what another document says. Cosine over the
 * stored vectors, then a join back to the live rows: a hit exists, matches its source's predicate and is current, or
 * it is no hit. The best chunk of a document stands for it; equal scores go by key.
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
    uint64_t start, end; /* bytes of the chunk in the rendered text */
    /* similarity: the cosine; a NaN for mode text. score: what hits are ordered by: the cosine for mode vector, the
     * rank that the database gives for text, the sum of 1 / (60 + place) over both lists for hybrid. */
    float score, similarity;
    const char *excerpt; /* of the live row, UTF-8, at most ~240 bytes on a word's edge, one line */
    const char *meta;    /* JSON object of the source's metadata columns; "{}" */
    const char *heading; /* path of Markdown headings that was embedded with the chunk, "" none */
    uint64_t page; /* from 1: of the document's field "page", counted on by form feeds; 0 unknown */
    /* fields of a built-in document (quern_add): "" or NULL where it has none */
    const char *section, *properties /* JSON object */, *references /* JSON array */;
    /* where its vector comes from: when the document first got vectors and got these, RFC 3339 in UTC */
    const char *created_at, *updated_at;
    const char *model, *fingerprint;
    uint32_t dimensions;
    /* what was seen for its vector: JSON object with kind (image, frame, video; fused: the text with `assets` of them), key and
     * frame (docs/sources.md); "" when it is of text alone */
    const char *asset;
} quern_hit;

typedef struct quern_results quern_results;

enum quern_search_mode {
    QUERN_MODE_VECTOR, /* by meaning */
    QUERN_MODE_TEXT,   /* by words, of sources declared so (text_search); nothing is embedded */
    QUERN_MODE_HYBRID /* both, by reciprocal rank fusion; a source without words takes part by meaning alone */
};

/* What looks for near vectors. Where an index cannot answer (not built yet, more dimensions than it takes), the
 * search is exact and says so; a store that has no such index at all is EUNSUPPORTED. */
enum quern_search_index {
    QUERN_SEARCH_AUTO,  /* exact up to 20,000 vectors, else the index that there is, else exact */
    QUERN_SEARCH_EXACT, /* every vector */
    QUERN_SEARCH_PGVECTOR, /* pgvector's HNSW graph */
    QUERN_SEARCH_TWO_STAGE /* pgvector: by the signs of the elements, the best of those exactly */
};

/* What answers when the active generation cannot: its model is missing or fails or takes too long, other settings
 * than its own are in force, or the first generation is still being built. */
enum quern_search_fallback {
    QUERN_FALLBACK_NONE,
    QUERN_FALLBACK_TEXT, /* words, as mode text; of the building generation where none is active */
    QUERN_FALLBACK_PREVIOUS /* the generation that was retired last, by its own model */
};

typedef struct quern_search_options {
    size_t struct_size;
    const char *const *sources; /* NULL: all that have an active generation */
    size_t n_sources;
    uint32_t limit;       /* hits, 0: 10 */
    float min_similarity; /* used when has_min_similarity */
    int has_min_similarity;
    const quern_cancel *cancel;
    int as_document; /* 1: the query is embedded as documents are, for a model with two prompts */
    /* JSON object of conditions on the sources' metadata columns, all of which must hold (docs/search.md):
     * {"lang":["en","de"],"year":{"gte":1990}}. EINVAL lists the columns there are. NULL: none */
    const char *filter;
    int chunks; /* 1: every chunk that matches is a hit, not the best one of each document */
    /* maximal marginal relevance: of a larger pool the hits that are near the query and unlike each other; lambda 1
     * looks at the query alone, 0 at the difference alone. limit is then at most 1000 */
    int has_mmr;
    float mmr_lambda;    /* clamped to [0, 1] */
    int index;           /* enum quern_search_index */
    uint32_t oversample; /* two stages: look at limit x so many exactly; 0: 5, at most 1000 */
    int mode; /* enum quern_search_mode. chunks and mmr belong to vector, min_similarity not to text */
    /* keys as quern_similar takes them, at most 1000: documents of any source that have one of them are no hits */
    const quern_str *exclude;
    size_t n_exclude;
    int partial; /* 1: servers of a store that do not answer are left out; quern_results_missed tells */
    /* Only rows for which this holds (trusted SQL over the one source that is searched); NULL: all */
    const char *where;
    uint32_t embed_ms; /* for embedding the query, before ETIMEOUT; 0: no limit */
    int fallback;      /* enum quern_search_fallback; quern_results_fallback tells what was used */
    /* PREVIOUS: opens the model of the retired generation, unless the embedder at hand is that one; settings: its
     * fingerprint's JSON, with "max_length". The search frees what it gives. NULL: there is no other model */
    int (*open_previous)(quern_embedder **out, const char *model, const char *settings, void *ud,
                         quern_error *err);
    void *open_previous_ud;
} quern_search_options;

/* An empty result is QUERN_OK with count 0. ENOTFOUND: an unknown source, or none that has been filled;
 * EMISMATCH: the store was filled under another fingerprint of the embedder (both named). A query over the
 * model's length is ETOOLONG. With a fallback e may be NULL: the model cannot be opened. When neither answers, the error is the
 * first one's. Hits of a fallback are joined back like all others: their rows exist, match, and are current in the generation
 * that answers. EMISMATCH too when the active generation has a scope (quern/generation.h)
 * and the search asks for a row outside of it; with `where` it asks for those only for which that holds. Programs
 * tell these apart by quern_error_code: not_enabled, index_building, index_stale, index_scope_mismatch (docs/errors.md). */
QUERN_API int quern_search(quern_results **out, quern_store *s, quern_embedder *e, quern_str query,
                           const quern_search_options *opt, quern_error *err);
/* Neighbours of a stored document, by its stored vectors (of several chunks their mean): `key` as hits show it
 * (42, "a", [1,"x"]; a bare word is taken as text), in `source`, or NULL where only one of the sources searched
 * has it. The document itself is no hit. ENOTFOUND: no such row. EMISMATCH: the row is there and has no current
 * vector (pending). The embedder says which fingerprint is meant; nothing is embedded. */
QUERN_API int quern_similar(quern_results **out, quern_store *s, quern_embedder *e,
                            const char *source, quern_str key, const quern_search_options *opt,
                            quern_error *err);
/* SQL with numbered placeholders that finds the same documents in a source's active generation, for programs that ask the
 * database themselves: index EXACT, PGVECTOR or TWO_STAGE. What it cannot do is said in its comments: it knows
 * vectors and stamps, not your rows as they are now. *sql is the caller's (quern_free). ENOTFOUND; EUNSUPPORTED where
 * that way, or any, cannot be said in SQL. */
QUERN_API int quern_search_sql(char **sql, quern_store *s, const char *source, int index,
                               quern_error *err);
QUERN_API size_t quern_results_count(const quern_results *r);
QUERN_API const quern_hit *quern_results_at(const quern_results *r, size_t i);
QUERN_API const char *quern_results_model(const quern_results *r);
QUERN_API const char *quern_results_fingerprint(const quern_results *r);
/* Servers that did not answer and were left out (options.partial): what lies on them was not looked at. */
QUERN_API uint32_t quern_results_missed(const quern_results *r);
/* QUERN_FALLBACK_NONE: the active generation answered; and why it did not, "" when it did. */
QUERN_API int quern_results_fallback(const quern_results *r);
QUERN_API const char *quern_results_fallback_reason(const quern_results *r);
QUERN_API uint64_t quern_results_scanned(const quern_results *r); /* vectors compared */
/* JSON object: which index answered, how many candidates were looked at, kept and dropped, and why. */
QUERN_API const char *quern_results_explain(const quern_results *r);
QUERN_API void quern_results_free(quern_results *r);

/* Picks k of n hits so that each is near the query (its similarity) and unlike those picked before: lambda x
 * similarity - (1 - lambda) x the greatest likeness to one picked, lambda clamped to [0, 1]. The first is the
 * best hit; of equals the earlier. picked: room for k; returns how many were picked, min(n, k). */
QUERN_API size_t quern_mmr(const quern_hit *hits, size_t n, size_t k, float lambda,
                           float (*likeness)(const quern_hit *a, const quern_hit *b, void *ud),
                           void *ud, size_t *picked);

#ifdef __cplusplus
}
#endif
#endif
