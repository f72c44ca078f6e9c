/*
 * architecture.c — what config.json alone decides, written down once for fingerprints and for files that were made under it.
 * Defaults are resolved first, so that one spelled out is the same. Rejected: a hash of config.json itself, which holds names,
 * versions and dropout; leaving out what tensors' shapes seem to say, for heads, layers and epsilon they do not.
 *
 * Invariant: equal texts compute equal vectors of equal weights and tokens. The text is pinned (test_model.c): a change of it makes
 * every store build anew.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/sha256.h"
#include "format/family.h"
#include "format/model_config.h"

/* A number by its bits: no other says the same. */
static void put_number(quern__jsonw *w, const char *key, double value)
{
    uint64_t bits;
    char text[17];
    memcpy(&bits, &value, sizeof bits);
    snprintf(text, sizeof text, "%016" PRIx64, bits);
    quern__jsonw_put_cstr(w, key, text);
}

/* Keys in ascending order: this text is hashed. */
void quern__model_config_architecture(const quern__model_config *c, quern__jsonw *w)
{
    static const char *const feeds[] = {[QUERN__FEED_GELU] = "gelu",
                                        [QUERN__FEED_RELU] = "relu",
                                        [QUERN__FEED_GATED_GELU] = "gated-gelu",
                                        [QUERN__FEED_GATED_SILU] = "gated-silu",
                                        [QUERN__FEED_GATED_GELU_TANH] = "gated-gelu-tanh"};
    const quern__family *f = quern__family_find(c->family);
    const bool distances = f && f->distances;

    quern__jsonw_object(w);
    if (c->table) { /* rows, and nothing that could be done to them otherwise */
        quern__jsonw_put_cstr(w, "family", c->family);
        quern__jsonw_end_object(w);
        return;
    }
    quern__jsonw_put_cstr(w, "activation", feeds[f ? f->feed : QUERN__FEED_GELU]);
    quern__jsonw_put_u64(w, "biases",
                         (uint64_t)c->bias_attention | (uint64_t)c->bias_feed << 1 |
                             (uint64_t)c->bias_down << 2 | (uint64_t)c->bias_norm << 3);
    quern__jsonw_put_u64(w, "depth", c->depth ? c->depth : c->heads ? c->hidden / c->heads : 0);
    quern__jsonw_put_u64(w, "distance_buckets", distances ? QUERN__DISTANCE_BUCKETS : 0);
    quern__jsonw_put_u64(w, "distance_most",
                         !distances ? 0
                         : c->far   ? c->far
                                    : QUERN__DISTANCE_MOST);
    put_number(w, "eps", (double)c->layer_norm_eps);
    quern__jsonw_put_cstr(w, "family", c->family);
    quern__jsonw_put_u64(w, "first_position", (uint64_t)(c->padding + 1));
    quern__jsonw_put_u64(w, "global_every", c->global_every);
    quern__jsonw_put_u64(w, "heads", c->heads);
    quern__jsonw_put_u64(w, "hidden", c->hidden);
    quern__jsonw_put_u64(w, "intermediate", c->intermediate);
    quern__jsonw_put_u64(w, "key_heads", c->key_heads ? c->key_heads : c->heads);
    quern__jsonw_put_u64(w, "layers", c->layers);
    put_number(w, "rope", c->rope);
    put_number(w, "rope_local", c->rope_local > 0 ? c->rope_local : c->rope);
    put_number(w, "rope_part", c->rope_part);
    quern__jsonw_put_u64(w, "types", c->types);
    quern__jsonw_put_u64(w, "window", c->window);
    quern__jsonw_end_object(w);
}

int quern__model_config_architecture_sha256(const quern__model_config *c, char out[65],
                                            quern_error *err)
{
    uint8_t digest[32];
    quern__buf b;
    quern__jsonw w;

    quern__buf_init(&b, 4096);
    quern__jsonw_init(&w, &b);
    quern__model_config_architecture(c, &w);
    int rc = quern__buf_ok(&b, "an architecture", err);
    if (!rc)
        rc = quern__sha256_of(b.data, b.len, digest, err);
    quern__buf_dispose(&b);
    if (!rc)
        quern__hex32(digest, out);
    return rc;
}
