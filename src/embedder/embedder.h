/*
 * embedder.h — inside the library: the face is a table and an instance; local.c fills one for a model.
 */
#ifndef QUERN_EMBEDDER_EMBEDDER_H
#define QUERN_EMBEDDER_EMBEDDER_H

#include "encoder/encoder.h"
#include "quern/sys/embedder.h"
#include "tokenizer/tokenizer.h"

/* What local.c needs of a model (model.c). Borrowed from it. */
const quern__encoder *quern__model_encoder(const quern_model *m);
const struct quern__ort *quern__model_ort(const quern_model *m); /* NULL: the encoder computes */
const struct quern__head *quern__model_head(const quern_model *m);
const quern__weights *quern__model_weights(const quern_model *m);
const quern__tokenizer *quern__model_tokenizer(const quern_model *m);
const quern__model_config *quern__model_settings(const quern_model *m);
/* Gives an encoder that was opened for this model its Dense modules, where there are any. */
int quern__model_add_dense(const quern_model *m, quern__encoder *e, quern_error *err);
/* A text's tokens as the model reads them, cut to `most` (0: all); UTF-8 has been looked at. */
int quern__model_tokens(const quern_model *m, quern_str text, uint32_t most, quern__tokens *out,
                        quern_error *err);
const char *quern__model_name(const quern_model *m);
/* EMISMATCH, naming the file: what the model was opened from is not what stands in its folder now. */
int quern__model_in_place(const quern_model *m, quern_error *err);
/* quern_model_open, where memory is bounded: before what it will hold is allocated, `ask` makes room for it or refuses. */
typedef struct quern__bound {
    int (*ask)(void *ud, uint64_t bytes, quern_error *err);
    void *ud;
} quern__bound;
int quern__model_open_bounded(quern_model **out, const char *folder, const quern_model_options *opt,
                              const quern__bound *bound, quern_error *err);
quern_model *quern__model_hold(quern_model *m); /* one more holder; released by quern_model_free */

/* SHA-256 of a fingerprint; when that fails *json is freed, and NULL. */
int quern__fingerprint_hash(char **json, char hash[65], quern_error *err);

/* The table's `repeats`, within 0 and 1. */
float quern__embedder_repeats(const quern_embedder *e);
enum {
    QUERN__ASSETS = 8,
    QUERN__MOST_ASSETS = 64,
    QUERN__ASSET_URL = 8192,
    QUERN__ASSET_KEY = 1024,
    QUERN__ASSET_LIST = 256 * 1024 /* bytes of assets written down as JSON */
};
/* asset_parse.c. The asset and its strings last for the call; a code ends the parsing. */
typedef int (*quern__asset_fn)(const quern_asset *a, void *ud);
/* `name` is what errors call it. EFORMAT. URLs are not looked at. */
int quern__assets_parse(quern_str text, int kind, const char *name, quern__asset_fn fn, void *ud,
                        quern_error *err);
const char *quern__asset_kind_name(int kind);
int quern__asset_kind_of(quern_str name); /* -1: none */
/* NULL, or what is wrong with it: "has a URL that …". One without a URL is not. */
const char *quern__asset_wrong(const quern_asset *a);
/* opt, complete; EINVAL: too many. */
int quern__asset_options(quern_asset_options *out, const quern_asset_options *opt,
                         quern_error *err);
bool quern__embedder_fuses(const quern_embedder *e);
/* Vectors of a call: 1 or the number of its parts. */
static inline size_t quern__asset_vectors(const quern_asset_call *call)
{
    return call->together ? 1 : (call->text.len > 0) + call->n;
}
/* A call whose arguments have been checked (assets.c, and wrappers pass one on): asks, looks at the vectors, counts. */
int quern__embedder_assets(quern_embedder *e, const quern_asset_call *call, quern_error *err);

#endif
