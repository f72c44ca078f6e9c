/*
 * quern/sys/embedder.h — make an embedder of your own: a table of functions plus an instance. Weaker
 * promise than quern/embedder.h: tables and calls may grow at the end (struct_size says how much you have).
 */
#ifndef QUERN_SYS_EMBEDDER_H
#define QUERN_SYS_EMBEDDER_H

#include "quern/embedder.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One call of embed_assets; its arguments have been checked. Its parts are the text, when there is one, and then each
 * asset; of the vectors, out [1, dimensions] when they are to be one, else out [parts, dimensions]. */
typedef struct quern_asset_call {
    size_t struct_size;
    quern_str text;            /* empty: none; then n > 0 */
    const quern_asset *assets; /* [n], each with a URL */
    size_t n;
    int together; /* 1: one vector, of all parts (asked only of one that fuses; at most one video) */
    const quern_embed_options *opt; /* never NULL, no_normalize 0 */
    float *out;
    quern_embed_result *result; /* zeroes; of all parts together */
} quern_asset_call;

typedef struct quern_embedder_table {
    size_t struct_size;
    const char *name;    /* static */
    uint32_t dimensions; /* > 0 */
    uint32_t max_length; /* tokens; 0 unknown */
    /* Required. As quern_embed; opt is never NULL; called from any thread. */
    int (*embed)(void *self, const quern_str *texts, size_t n, const quern_embed_options *opt,
                 float *out, quern_embed_result *results, quern_error *err);
    /* Required. Canonical JSON of all that decides a vector; *json from quern_alloc. */
    int (*fingerprint)(void *self, char **json, quern_error *err);
    /* Optional: NULL = EUNSUPPORTED. */
    int (*tokenize)(void *self, quern_str text, quern_tokens **out, quern_error *err);
    /* Optional: called once by quern_embedder_free. */
    void (*release)(void *self);
    /* Calls that run at once without being in each other's way, as those of a service far away; 0 or 1: one. A fill
     * keeps so many under way. */
    uint32_t parallel;
    /* How much alike two vectors of one text are at least, by their cosine, where a service does not promise the same
     * bits; 0: the same bits, always. What checks stored vectors by embedding again (verify, import) goes by this. */
    float repeats;
    /* Optional: NULL = it cannot see. Called from any thread; err->subject is the index of the vector at fault. */
    int (*embed_assets)(void *self, const quern_asset_call *call, quern_error *err);
    int fuses; /* 1: it makes one vector of several parts itself; 0: quern takes the mean (quern_fuse_average) */
} quern_embedder_table;

/* The table is copied. On failure `self` stays the caller's. The face in front of it checks every
 * vector (finite, unit unless no_normalize) before anybody sees it. */
QUERN_API int quern_embedder_from_table(quern_embedder **out, const quern_embedder_table *table,
                                        void *self, quern_error *err);
/* Memory that the library will free. NULL when there is none. */
QUERN_API void *quern_alloc(size_t size);

#ifdef __cplusplus
}
#endif
#endif
