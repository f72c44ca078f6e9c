/* wrap.c — an embedder in front of another one, see wrap.h. */
#include "embedder/wrap.h"

#include "embedder/embedder.h"

static int fingerprint(void *self, char **json, quern_error *err)
{
    return quern_embedder_fingerprint(((quern__wrap *)self)->inner, json, NULL, err);
}

static int tokenize(void *self, quern_str text, quern_tokens **out, quern_error *err)
{
    return quern_embedder_tokenize(((quern__wrap *)self)->inner, text, out, err);
}

int quern__wrap_embed(const void *self, const quern_str *texts, size_t n,
                      const quern_embed_options *opt, float *out, quern_embed_result *results,
                      quern_error *err)
{
    const quern__wrap *w = self;
    return quern_embed(w->inner, texts, n, opt, out, n * quern_embedder_dimensions(w->inner),
                       results, err);
}

int quern__wrap_assets(const void *self, const quern_asset_call *call, quern_error *err)
{
    return quern__embedder_assets(((const quern__wrap *)self)->inner, call, err);
}

int quern__wrap_ask(const void *self, const quern__ask *ask, quern_error *err)
{
    if (ask->assets)
        return quern__wrap_assets(self, ask->assets, err);
    return quern__wrap_embed(self, ask->texts, ask->n, ask->opt, ask->out, ask->results, err);
}

static int pass_on(void *self, const quern_asset_call *call, quern_error *err)
{
    return quern__wrap_assets(self, call, err);
}

int quern__wrap_make_parallel(
    quern_embedder **out, quern_embedder *inner, void *self, uint32_t parallel,
    int (*embed)(void *self, const quern_str *texts, size_t n, const quern_embed_options *opt,
                 float *out, quern_embed_result *results, quern_error *err),
    int (*assets)(void *self, const quern_asset_call *call, quern_error *err),
    void (*release)(void *self), quern_error *err)
{
    quern_embedder_table table = {.struct_size = sizeof table,
                                  .name = quern_embedder_name(inner),
                                  .dimensions = quern_embedder_dimensions(inner),
                                  .max_length = quern_embedder_max_length(inner),
                                  .embed = embed,
                                  .fingerprint = fingerprint,
                                  .tokenize = tokenize,
                                  .release = release,
                                  .parallel = parallel,
                                  .repeats = quern__embedder_repeats(inner),
                                  .embed_assets = assets ? assets : pass_on,
                                  .fuses = quern__embedder_fuses(inner)};
    if (!quern_embedder_sees(inner))
        table.embed_assets = NULL;
    int rc = quern_embedder_from_table(out, &table, self, err);
    ((quern__wrap *)self)->inner = rc ? NULL : inner;
    return rc;
}

int quern__wrap_make(quern_embedder **out, quern_embedder *inner, void *self,
                     int (*embed)(void *self, const quern_str *texts, size_t n,
                                  const quern_embed_options *opt, float *out,
                                  quern_embed_result *results, quern_error *err),
                     int (*assets)(void *self, const quern_asset_call *call, quern_error *err),
                     void (*release)(void *self), quern_error *err)
{
    return quern__wrap_make_parallel(out, inner, self, quern_embedder_parallel(inner), embed,
                                     assets, release, err);
}
