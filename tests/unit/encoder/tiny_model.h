/*
 * tiny_model.h — for tests: a model of any shape and family with random weights as the bytes of a safetensors file,
 * and BERT's forward pass in double precision to compare with.
 */
#ifndef QUERN_TESTS_TINY_MODEL_H
#define QUERN_TESTS_TINY_MODEL_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "encoder/encoder.h"
#include "format/family.h"
#include "format/weights.h"
#include "kernels/kernels.h"

typedef struct tiny_model {
    quern__model_config config;
    int dtype; /* enum quern__dtype of every tensor */
    const char *prefix;
    uint8_t *bytes; /* the file */
    size_t size, data_at;
    char header[1 << 17];
    size_t header_len, data_len;
    float *values; /* all tensors in fp32, as the file's type holds them, in the order of `names` */
    size_t count;
} tiny_model;

static inline float tiny_round(int dtype, float x, uint16_t *stored)
{
    uint32_t bits;
    if (dtype == QUERN__F16) {
        quern__f32_to_f16(&x, stored, 1);
        quern__f16_to_f32(stored, &x, 1);
    } else if (dtype == QUERN__BF16) {
        memcpy(&bits, &x, sizeof bits);
        *stored = (uint16_t)(bits >> 16);
        bits &= 0xffff0000;
        memcpy(&x, &bits, sizeof x);
    }
    return x;
}

/* Adds a tensor: random numbers around `centre`. Two passes: without bytes it only measures. */
static inline void tiny_tensor(tiny_model *m, quern__rng *r, const char *name, uint32_t d0,
                               uint32_t d1, float centre, float spread)
{
    const size_t n = (size_t)d0 * (d1 ? d1 : 1), width = m->dtype == QUERN__F32 ? 4 : 2;
    char shape[32];
    snprintf(shape, sizeof shape, d1 ? "%u,%u" : "%u", d0, d1);
    m->header_len +=
        (size_t)snprintf(m->header + m->header_len, sizeof m->header - m->header_len,
                         "%s\"%s%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                         m->header_len > 1 ? "," : "", m->prefix, name,
                         m->dtype == QUERN__F32 ? "F32" : (m->dtype == QUERN__F16 ? "F16" : "BF16"),
                         shape, m->data_len, m->data_len + n * width);
    for (size_t i = 0; i < n; i++) {
        uint16_t half = 0;
        const float x =
            tiny_round(m->dtype, centre + (quern__rng_float(r) * 2 - 1) * spread, &half);
        if (!m->bytes)
            continue;
        m->values[m->count + i] = x;
        memcpy(m->bytes + m->data_at + m->data_len + i * width, width == 4 ? (void *)&x : &half,
               width);
    }
    m->count += n;
    m->data_len += n * width;
}

/* By BERT's name, as the family calls it. */
static inline void tiny_named(tiny_model *m, quern__rng *r, const char *where, const char *what,
                              uint32_t d0, uint32_t d1, float centre, float spread)
{
    char bert[96], name[96];
    snprintf(bert, sizeof bert, "%s%s", where, what);
    quern__family_tensor(quern__family_find(m->config.family), bert, name, sizeof name);
    tiny_tensor(m, r, name, d0, d1, centre, spread);
}

static inline void tiny_linear(tiny_model *m, quern__rng *r, const char *where, const char *part,
                               uint32_t rows, uint32_t columns, bool biased)
{
    char name[64];
    snprintf(name, sizeof name, "%s.weight", part);
    tiny_named(m, r, where, name, rows, columns, 0, 1.7f / sqrtf((float)columns));
    snprintf(name, sizeof name, "%s.bias", part);
    if (biased || !quern__family_find(m->config.family)->rules)
        tiny_named(m, r, where, name, rows, 0, 0, 0.2f);
}

static inline void tiny_norm(tiny_model *m, quern__rng *r, const char *where, const char *part)
{
    const quern__family *f = quern__family_find(m->config.family);
    char name[64];
    snprintf(name, sizeof name, "%sLayerNorm.weight", part);
    tiny_named(m, r, where, name, m->config.hidden, 0, 1, 0.3f);
    snprintf(name, sizeof name, "%sLayerNorm.bias", part);
    if (!f->rms && (!f->rules || m->config.bias_norm))
        tiny_named(m, r, where, name, m->config.hidden, 0, 0, 0.3f);
}

static inline void tiny_layer(tiny_model *m, quern__rng *r, const char *in, bool first)
{
    const quern__model_config *c = &m->config;
    const quern__family *f = quern__family_find(c->family);
    const uint32_t depth = c->depth ? c->depth : c->hidden / c->heads, queries = c->heads * depth,
                   keys = (c->key_heads ? c->key_heads : c->heads) * depth;
    if (f->norms_first && !(first && f->first_plain))
        tiny_norm(m, r, in, "attention.input.");
    if (f->fused) {
        tiny_linear(m, r, in, "attention.self.qkv", queries + 2 * keys, c->hidden,
                    c->bias_attention);
    } else {
        tiny_linear(m, r, in, "attention.self.query", queries, c->hidden, c->bias_attention);
        tiny_linear(m, r, in, "attention.self.key", keys, c->hidden, c->bias_attention);
        tiny_linear(m, r, in, "attention.self.value", keys, c->hidden, c->bias_attention);
    }
    if (f->heads_normed) {
        tiny_named(m, r, in, "attention.self.query_norm.weight", depth, 0, 1, 0.3f);
        tiny_named(m, r, in, "attention.self.key_norm.weight", depth, 0, 1, 0.3f);
    }
    tiny_linear(m, r, in, "attention.output.dense", c->hidden, queries, c->bias_attention);
    tiny_norm(m, r, in, "attention.output.");
    if (f->fused_gate)
        tiny_linear(m, r, in, "intermediate.both", 2 * c->intermediate, c->hidden, c->bias_feed);
    else
        tiny_linear(m, r, in, "intermediate.dense", c->intermediate, c->hidden, c->bias_feed);
    if (quern__family_gated(f) && !f->fused_gate)
        tiny_linear(m, r, in, "intermediate.gate", c->intermediate, c->hidden, c->bias_feed);
    tiny_linear(m, r, in, "output.dense", c->hidden, c->intermediate, c->bias_down);
    if (!f->norms_first)
        tiny_norm(m, r, in, "output.");
}

static inline void tiny_tensors(tiny_model *m, uint64_t seed)
{
    const quern__model_config *c = &m->config;
    const quern__family *f = quern__family_find(c->family);
    quern__rng r;
    quern__rng_seed(&r, seed);
    m->header_len = 1;
    m->data_len = m->count = 0;
    strcpy(m->header, "{");
    tiny_named(m, &r, "", "embeddings.word_embeddings.weight", c->vocab, c->hidden, 0, 1);
    if (quern__family_placed(f))
        tiny_named(m, &r, "", "embeddings.position_embeddings.weight", c->positions, c->hidden, 0,
                   0.5f);
    if (f->types)
        tiny_named(m, &r, "", "embeddings.token_type_embeddings.weight", c->types, c->hidden, 0,
                   0.5f);
    if (!f->norms_first || f->words_normed)
        tiny_norm(m, &r, "", "embeddings.");
    if (f->distances)
        tiny_named(m, &r, "", "encoder.relative_attention_bias.weight", 32, c->heads, 0, 1);
    for (uint32_t l = 0; l < c->layers; l++) {
        char in[32];
        snprintf(in, sizeof in, "encoder.layer.%u.", l);
        tiny_layer(m, &r, in, !l);
    }
    if (f->norms_first)
        tiny_norm(m, &r, "", "final.");
    m->header_len += (size_t)snprintf(m->header + m->header_len, 2, "}");
    while (m->header_len % 8)
        m->header[m->header_len++] = ' ';
}

static inline void tiny_free(tiny_model *m)
{
    free(m->bytes);
    free(m->values);
    free(m);
}

/* A model of any family; free with tiny_free. */
static inline tiny_model *tiny_family(const quern__model_config *config, int dtype,
                                      const char *prefix, uint64_t seed)
{
    tiny_model *m = calloc(1, sizeof *m);
    if (!m)
        abort();
    m->config = *config;
    m->dtype = dtype;
    m->prefix = prefix;
    tiny_tensors(m, seed); /* measures */
    m->data_at = 8 + m->header_len;
    m->size = m->data_at + m->data_len;
    m->bytes = malloc(m->size);
    m->values = malloc(m->count * sizeof *m->values);
    if (!m->bytes || !m->values)
        abort();
    tiny_tensors(m, seed);
    const uint64_t length = m->header_len;
    memcpy(m->bytes, &length, 8);
    memcpy(m->bytes + 8, m->header, m->header_len);
    return m;
}

static inline tiny_model *tiny_new(uint32_t hidden, uint32_t heads, uint32_t layers,
                                   uint32_t intermediate, uint32_t vocab, uint32_t positions,
                                   int dtype, const char *prefix, uint64_t seed)
{
    return tiny_family(&(quern__model_config){.family = "bert",
                                              .hidden = hidden,
                                              .layers = layers,
                                              .heads = heads,
                                              .intermediate = intermediate,
                                              .vocab = vocab,
                                              .positions = positions,
                                              .types = 2,
                                              .layer_norm_eps = 1e-12f,
                                              .pooling = QUERN__POOL_MEAN,
                                              .normalize = true},
                       dtype, prefix, seed);
}

/* ---- the same network in double, as a textbook has it ---- */

static inline void slow_norm(double *x, uint32_t rows, uint32_t n, const float *g, const float *b,
                             double eps)
{
    for (uint32_t r = 0; r < rows; r++, x += n) {
        double mean = 0, var = 0;
        for (uint32_t i = 0; i < n; i++)
            mean += x[i] / n;
        for (uint32_t i = 0; i < n; i++)
            var += (x[i] - mean) * (x[i] - mean) / n;
        for (uint32_t i = 0; i < n; i++)
            x[i] = (x[i] - mean) / sqrt(var + eps) * (double)g[i] + (double)b[i];
    }
}

static inline void slow_product(const double *x, uint32_t rows, uint32_t k, const float *w,
                                const float *b, uint32_t n, double *y)
{
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < n; c++) {
            double s = (double)b[c];
            for (uint32_t i = 0; i < k; i++)
                s += x[(size_t)r * k + i] * (double)w[(size_t)c * k + i];
            y[(size_t)r * n + c] = s;
        }
}

static inline void slow_attention(const double *q, const double *k, const double *v, uint32_t rows,
                                  uint32_t n, uint32_t heads, double *out)
{
    const uint32_t depth = n / heads;
    double *s = calloc(rows, sizeof *s);
    for (uint32_t h = 0; s && h < heads; h++)
        for (uint32_t i = 0; i < rows; i++) {
            double top = -1e300, z = 0;
            for (uint32_t j = 0; j < rows; j++) {
                s[j] = 0;
                for (uint32_t d = h * depth; d < (h + 1) * depth; d++)
                    s[j] += q[i * n + d] * k[j * n + d] / sqrt((double)depth);
                top = s[j] > top ? s[j] : top;
            }
            for (uint32_t j = 0; j < rows; j++)
                z += s[j] = exp(s[j] - top);
            for (uint32_t d = h * depth; d < (h + 1) * depth; d++) {
                double o = 0;
                for (uint32_t j = 0; j < rows; j++)
                    o += s[j] / z * v[j * n + d];
                out[i * n + d] = o;
            }
        }
    free(s);
}

/* out[hidden] */
static inline void slow_forward(const tiny_model *m, const int32_t *ids, uint32_t length,
                                double *out)
{
    const quern__model_config *c = &m->config;
    const uint32_t h = c->hidden, f = c->intermediate;
    const size_t room = (size_t)length * (h > f ? h : f);
    double *all = calloc(6 * room, sizeof *all), *x = all, *q = x + room, *k = q + room,
           *v = k + room, *y = v + room, *z = y + room;
    if (!all)
        abort();
    const float *w = m->values, *words = w, *positions = words + (size_t)c->vocab * h,
                *types = positions + (size_t)c->positions * h, *at = types + (size_t)c->types * h;
    for (uint32_t t = 0; t < length; t++)
        for (uint32_t i = 0; i < h; i++)
            x[t * h + i] = (double)words[(size_t)ids[t] * h + i] + (double)positions[t * h + i] +
                           (double)types[i];
    slow_norm(x, length, h, at, at + h, (double)c->layer_norm_eps);
    at += 2 * h;
    for (uint32_t l = 0; l < c->layers; l++) {
        double *const to[3] = {q, k, v};
        for (int p = 0; p < 3; p++, at += (size_t)h * h + h)
            slow_product(x, length, h, at, at + (size_t)h * h, h, to[p]);
        slow_attention(q, k, v, length, h, c->heads, y);
        slow_product(y, length, h, at, at + (size_t)h * h, h, z);
        at += (size_t)h * h + h;
        for (size_t i = 0; i < (size_t)length * h; i++)
            x[i] += z[i];
        slow_norm(x, length, h, at, at + h, (double)c->layer_norm_eps);
        at += 2 * h;
        slow_product(x, length, h, at, at + (size_t)f * h, f, y);
        at += (size_t)f * h + f;
        for (size_t i = 0; i < (size_t)length * f; i++)
            y[i] = y[i] / 2 * (1 + erf(y[i] / sqrt(2.0)));
        slow_product(y, length, f, at, at + (size_t)f * h, h, z);
        at += (size_t)f * h + h;
        for (size_t i = 0; i < (size_t)length * h; i++)
            x[i] += z[i];
        slow_norm(x, length, h, at, at + h, (double)c->layer_norm_eps);
        at += 2 * h;
    }
    const uint32_t rows = c->pooling == QUERN__POOL_CLS ? 1 : length;
    for (uint32_t i = 0; i < h; i++) {
        out[i] = 0;
        for (uint32_t t = 0; t < rows; t++)
            out[i] += x[t * h + i] / rows;
    }
    free(all);
}

#endif
