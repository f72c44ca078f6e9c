/*
 * wrap.h — what embedders in front of another have in common: all but `embed` is the inner one's. A wrapper's struct
 * begins with a quern__wrap.
 */
#ifndef QUERN_EMBEDDER_WRAP_H
#define QUERN_EMBEDDER_WRAP_H

#include "embedder/embedder.h"

typedef struct quern__wrap {
    quern_embedder *inner;
} quern__wrap;

/* Makes the embedder of self, a struct that begins with a quern__wrap; from then on the inner one is its own, and release
 * frees it too. On failure both stay the caller's. assets NULL: such calls pass unchanged, where inner takes them. */
int quern__wrap_make(quern_embedder **out, quern_embedder *inner, void *self,
                     int (*embed)(void *self, const quern_str *texts, size_t n,
                                  const quern_embed_options *opt, float *out,
                                  quern_embed_result *results, quern_error *err),
                     int (*assets)(void *self, const quern_asset_call *call, quern_error *err),
                     void (*release)(void *self), quern_error *err);
/* The same, of an embedder that takes so many calls at once; the one above takes as many as the inner one. */
int quern__wrap_make_parallel(
    quern_embedder **out, quern_embedder *inner, void *self, uint32_t parallel,
    int (*embed)(void *self, const quern_str *texts, size_t n, const quern_embed_options *opt,
                 float *out, quern_embed_result *results, quern_error *err),
    int (*assets)(void *self, const quern_asset_call *call, quern_error *err),
    void (*release)(void *self), quern_error *err);
/* A call of the inner embedder's. */
int quern__wrap_embed(const void *self, const quern_str *texts, size_t n,
                      const quern_embed_options *opt, float *out, quern_embed_result *results,
                      quern_error *err);
/* Likewise, of assets. */
int quern__wrap_assets(const void *self, const quern_asset_call *call, quern_error *err);
/* Either, for wrappers to which it makes no difference. */
typedef struct quern__ask {
    const quern_str *texts;
    size_t n;
    const quern_embed_options *opt;
    float *out;
    quern_embed_result *results;
    const quern_asset_call *assets; /* in place of those above but opt; NULL: texts */
} quern__ask;
int quern__wrap_ask(const void *self, const quern__ask *ask, quern_error *err);

#endif
