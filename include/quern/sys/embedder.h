/*
 * quern/sys/embedder.h — make an embedder of your own: a table of functions plus an instance. Weaker
 * promise than quern/embedder.h: tables may grow at the end (struct_size says how much you have).
 */
#ifndef QUERN_SYS_EMBEDDER_H
#define QUERN_SYS_EMBEDDER_H

#include "quern/embedder.h"

#ifdef __cplusplus
extern "C" {
#endif

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
