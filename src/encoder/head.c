/*
 * head.c — see head.h. The poolings but mean and CLS are plain C over channels, for a text's rows are read once, after
 * layers that read them hundreds of times; a Dense module is a product like any other, of up to 32 texts at once, so that
 * its weights pass through the cache once for them.
 *
 * A model without Dense that pools in one way and keeps all its dimensions (nearly every one) is written straight to where
 * it goes. Rejected: pooling into rows always (a copy more for it), and Dense in the class int8 (a thousandth of the work).
 */
#include "encoder/head.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"

enum { STEP = 32 /* texts */ };

typedef struct dense {
    quern__matrix w;
    bool tanh, unit;
} dense;

struct quern__head {
    const quern__kernels *kernels;
    uint32_t hidden, pooled, last, width; /* of a token, pooling, the last module, a vector */
    uint32_t widest;                      /* of the modules, in whole pieces */
    int pooling;
    uint32_t dense_count;
    dense dense[QUERN__DENSES];
    float *packed;
    size_t packed_size;
};

static uint32_t whole_pieces(uint32_t columns)
{
    return (columns + QUERN__PIECE - 1) / QUERN__PIECE;
}

static uint32_t panels_of(const quern__kernels *kernels, uint32_t columns)
{
    return (columns + kernels->panel - 1) / kernels->panel;
}

/* ---- open ---- */

static int find(const quern__weights *file, const char *folder, const char *name, uint32_t rank,
                uint32_t rows, uint32_t columns, const quern__tensor **out, quern_error *err)
{
    const quern__tensor *t = quern__weights_find(file, name);
    if (!t)
        return quern__fail(err, QUERN_EFORMAT, 0, "%s: tensor \"%s\" is missing from the weights",
                           folder, name);
    if (t->dtype == QUERN__OTHER_DTYPE || t->rank != rank || t->shape[0] != rows ||
        (rank == 2 && t->shape[1] != columns))
        return quern__fail(err, QUERN_EFORMAT, (int64_t)t->offset,
                           "%s: tensor \"%s\" at byte %zu is not of the type and shape that its "
                           "config.json asks for ([%u, %u])",
                           folder, name, t->offset, rows, columns);
    *out = t;
    return QUERN_OK;
}

static bool all_finite(const float *p, size_t n)
{
    bool finite = true;
    for (size_t i = 0; i < n; i++)
        finite &= (bool)isfinite(p[i]);
    return finite;
}

static int not_finite(const char *folder, const quern__tensor *t, quern_error *err)
{
    return quern__fail(err, QUERN_EFORMAT, (int64_t)t->offset,
                       "%s: tensor \"%s\" at byte %zu holds NaN or infinity; the weights are "
                       "damaged",
                       folder, t->name, t->offset);
}

/* Packs the matrix to *at, panel after panel, piece after piece; `rows` has room for a panel's rows. */
static int pack(quern__head *h, const quern__tensor *t, const quern__dense *c, float *rows,
                float **at, quern_error *err)
{
    const uint32_t panel = h->kernels->panel;
    for (uint32_t first = 0; first < c->out; first += panel)
        for (uint32_t start = 0; start < c->in; start += QUERN__PIECE) {
            const uint32_t k = QUERN__MIN(c->in - start, (uint32_t)QUERN__PIECE);
            const float *row[QUERN__PANEL_MAX] = {NULL};
            for (uint32_t j = 0; j < panel && first + j < c->out; j++) {
                float *copy = rows + (size_t)j * QUERN__PIECE;
                quern__tensor_read_f32(t, (size_t)(first + j) * c->in + start, k, copy);
                row[j] = copy;
            }
            h->kernels->pack(row, k, *at);
            if (!all_finite(*at, (size_t)k * panel))
                return not_finite(c->path, t, err);
            *at += (size_t)k * panel;
        }
    return QUERN_OK;
}

uint64_t quern__head_measure(const quern__model_config *config, const quern__kernels *kernels)
{
    size_t floats = (size_t)4 * QUERN__PIECE * QUERN__PANEL_MAX; /* read ahead of */
    for (uint32_t i = 0; i < config->dense_count; i++)
        floats += (size_t)panels_of(kernels, config->dense[i].out) * kernels->panel *
                  ((size_t)config->dense[i].in + 1);
    return config->dense_count ? floats * sizeof(float) : 0;
}

static int load_dense(quern__head *h, uint32_t i, const quern__dense *c, const quern__weights *file,
                      float *rows, float **at, quern_error *err)
{
    const quern__tensor *weight, *bias = NULL;
    dense *d = h->dense + i;
    int rc = find(file, c->path, "linear.weight", 2, c->out, c->in, &weight, err);
    if (!rc && c->bias)
        rc = find(file, c->path, "linear.bias", 1, c->out, 1, &bias, err);
    if (rc)
        return rc;
    const uint32_t panels = panels_of(h->kernels, c->out);
    float *const to = *at; /* zeros where there is no bias, and behind it */
    *at += (size_t)panels * h->kernels->panel;
    if (bias) {
        quern__tensor_read_f32(bias, 0, c->out, to);
        if (!all_finite(to, c->out))
            return not_finite(c->path, bias, err);
    }
    *d = (dense){
        .w = {QUERN__MATRIX_F32, c->in, c->out, panels, *at, to}, .tanh = c->tanh, .unit = c->unit};
    return pack(h, weight, c, rows, at, err);
}

static int load_denses(quern__head *h, const quern__model_config *config,
                       const quern__weights *const *files, quern_error *err)
{
    float *rows = quern__alloc_array((size_t)QUERN__PANEL_MAX * QUERN__PIECE, sizeof *rows);
    int rc = rows ? QUERN_OK : quern__fail_memory(err, 0);
    h->packed_size = quern__head_measure(config, h->kernels);
    if (!rc && !(h->packed = quern__alloc_pages(h->packed_size)))
        rc = quern__fail_memory(err, h->packed_size);
    float *at = h->packed;
    for (uint32_t i = 0; !rc && i < h->dense_count; i++)
        rc = load_dense(h, i, config->dense + i, files[i], rows, &at, err);
    quern__free(rows);
    return rc;
}

int quern__head_open(quern__head **out, const quern__model_config *config,
                     const quern__weights *const *dense_weights, const quern__kernels *kernels,
                     quern_error *err)
{
    QUERN__REQUIRE(out && config && kernels, err);
    QUERN__REQUIRE(config->dense_count <= QUERN__DENSES && (!config->dense_count || dense_weights),
                   err);
    *out = NULL;
    if (!config->pooling || (config->pooling & ~QUERN__POOL_ALL))
        return quern__fail(err, QUERN_EUNSUPPORTED, config->pooling, "pooling %d is unknown",
                           config->pooling);
    quern__head *h = quern__calloc(1, sizeof *h);
    if (!h)
        return quern__fail_memory(err, sizeof *h);
    h->kernels = kernels;
    h->hidden = config->hidden;
    h->pooling = config->pooling;
    h->pooled = quern__model_config_pooled(config);
    h->last = quern__model_config_width(config);
    h->width = config->dimensions ? config->dimensions : h->last;
    h->dense_count = config->dense_count;
    h->widest = h->pooled;
    for (uint32_t i = 0; i < h->dense_count; i++)
        h->widest = QUERN__MAX(h->widest, config->dense[i].out);
    h->widest = whole_pieces(h->widest) * QUERN__PIECE;
    int rc = h->dense_count ? load_denses(h, config, dense_weights, err) : QUERN_OK;
    if (rc)
        quern__head_free(h);
    else
        *out = h;
    return rc;
}

void quern__head_free(quern__head *h)
{
    if (!h)
        return;
    quern__free_pages(h->packed, h->packed_size);
    quern__free(h);
}

uint64_t quern__head_bytes(const quern__head *h)
{
    return h->packed_size;
}

uint32_t quern__head_width(const quern__head *h)
{
    return h->width;
}

/* ---- run ---- */

/* Modules' rows, their results, one text's vector, and room for its exponentials. */
static size_t rows_floats(const quern__head *h)
{
    return h->dense_count ? (size_t)STEP * QUERN__STRIDE * whole_pieces(h->widest) : 0;
}

size_t quern__head_scratch(const quern__head *h)
{
    return 2 * rows_floats(h) + 2 * (size_t)h->widest;
}

static const float *token(quern__rows x, uint32_t row, uint32_t column)
{
    return x.at + column / QUERN__PIECE * x.piece + (size_t)row * QUERN__STRIDE +
           column % QUERN__PIECE;
}

/* Rule 30. The product with zero carries NaN and infinity past the maximum. */
static void max_rows(quern__rows x, uint32_t rows, uint32_t n, float *out)
{
    for (uint32_t c = 0; c < n; c++) {
        float most = *token(x, 0, c), bad = 0;
        for (uint32_t r = 0; r < rows; r++) {
            const float v = *token(x, r, c);
            most = v > most ? v : most;
            bad += v * 0.0f;
        }
        out[c] = most + bad;
    }
}

static void sqrt_rows(quern__rows x, uint32_t rows, uint32_t n, float *out)
{
    const float length = sqrtf((float)rows);
    for (uint32_t c = 0; c < n; c++) {
        float sum = 0;
        for (uint32_t r = 0; r < rows; r++)
            sum += *token(x, r, c);
        out[c] = sum / length;
    }
}

static void pool(const quern__head *h, quern__rows x, uint32_t rows, float *out)
{
    quern__rows last = x;
    last.at += (size_t)(rows - 1) * QUERN__STRIDE;
    if (h->pooling & QUERN__POOL_CLS) {
        h->kernels->mean_rows(x, 1, h->hidden, out);
        out += h->hidden;
    }
    if (h->pooling & QUERN__POOL_MAX) {
        max_rows(x, rows, h->hidden, out);
        out += h->hidden;
    }
    if (h->pooling & QUERN__POOL_MEAN) {
        h->kernels->mean_rows(x, rows, h->hidden, out);
        out += h->hidden;
    }
    if (h->pooling & QUERN__POOL_SQRT) {
        sqrt_rows(x, rows, h->hidden, out);
        out += h->hidden;
    }
    if (h->pooling & QUERN__POOL_LAST)
        h->kernels->mean_rows(last, 1, h->hidden, out);
}

/* A row in pieces from and to a plain one. */
static void put_row(quern__rows x, uint32_t row, const float *from, uint32_t n)
{
    for (uint32_t c = 0; c < n; c += QUERN__PIECE)
        memcpy(x.at + c / QUERN__PIECE * x.piece + (size_t)row * QUERN__STRIDE, from + c,
               QUERN__MIN(n - c, (uint32_t)QUERN__PIECE) * sizeof *from);
}

static void get_row(quern__rows x, uint32_t row, float *to, uint32_t n)
{
    for (uint32_t c = 0; c < n; c += QUERN__PIECE)
        memcpy(to + c, x.at + c / QUERN__PIECE * x.piece + (size_t)row * QUERN__STRIDE,
               QUERN__MIN(n - c, (uint32_t)QUERN__PIECE) * sizeof *to);
}

/* Rule 31's tanh on n values; `room` for as many, whole vectors of both. */
static void tanh_row(const quern__head *h, float *x, float *room, uint32_t n)
{
    const uint32_t whole = (n + QUERN__LANES - 1) / QUERN__LANES * QUERN__LANES;
    for (uint32_t i = 0; i < whole; i++)
        room[i] = i < n ? fabsf(x[i]) * -2.885390081777926814f : 0;
    h->kernels->exp2(room, room, whole);
    for (uint32_t i = 0; i < n; i++) {
        const float a = fabsf(x[i]), z = x[i] * x[i], bad = x[i] * 0.0f;
        float p = -0.00570498872745f;
        p = fmaf(p, z, 0.0206390887954f);
        p = fmaf(p, z, -0.0537397155531f);
        p = fmaf(p, z, 0.133314422036f);
        p = fmaf(p, z, -0.333332819422f);
        x[i] =
            a < 0.625f ? fmaf(x[i] * z, p, x[i]) : copysignf((1 - room[i]) / (1 + room[i]), x[i]);
        x[i] += bad; /* infinity does not become 1 */
    }
}

/* From pooled rows to what the last module gives, of n texts; which of the two rows it is in. */
static quern__rows run_modules(const quern__head *h, quern__rows from, quern__rows to, float *flat,
                               float *room, uint32_t n)
{
    for (uint32_t i = 0; i < h->dense_count; i++) {
        const dense *d = h->dense + i;
        for (uint32_t t = 0; d->unit && t < n; t++) {
            get_row(from, t, flat, d->w.k);
            h->kernels->unit_row(flat, d->w.k);
            put_row(from, t, flat, d->w.k);
        }
        h->kernels->product(&d->w, 0, d->w.panels, QUERN__EP_BIAS, from, to, (quern__rows){0}, n);
        for (uint32_t t = 0; d->tanh && t < n; t++) {
            get_row(to, t, flat, d->w.n);
            tanh_row(h, flat, room, d->w.n);
            put_row(to, t, flat, d->w.n);
        }
        const quern__rows given = to;
        to = from;
        from = given;
    }
    return from;
}

void quern__head_run(const quern__head *h, float *scratch, quern__rows x, const uint32_t *lengths,
                     uint32_t texts, bool normalize, float *out)
{
    const size_t each = rows_floats(h), piece = (size_t)STEP * QUERN__STRIDE;
    float *flat = scratch + 2 * each, *room = flat + h->widest;
    const quern__rows a = {scratch, piece}, b = {scratch + each, piece};
    const bool direct = !h->dense_count && h->width == h->last;
    for (uint32_t first = 0; first < texts; first += STEP) {
        const uint32_t n = QUERN__MIN(texts - first, (uint32_t)STEP);
        for (uint32_t t = 0; t < n; t++) {
            float *row = out + (size_t)(first + t) * h->width, *to = direct ? row : flat;
            pool(h, x, lengths[first + t], to);
            x.at += (size_t)lengths[first + t] * QUERN__STRIDE;
            if (h->dense_count)
                put_row(a, t, flat, h->pooled);
            else if (!direct)
                memcpy(row, flat, h->width * sizeof *row);
        }
        const quern__rows last = run_modules(h, a, b, flat, room, n);
        for (uint32_t t = 0; t < n; t++) {
            float *row = out + (size_t)(first + t) * h->width;
            if (h->dense_count)
                get_row(last, t, row, h->width);
            if (normalize)
                h->kernels->unit_row(row, h->width);
        }
    }
}
