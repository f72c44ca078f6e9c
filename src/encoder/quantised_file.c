/*
 * quantised_file.c — stored numbers to a file and back. The container is safetensors, whose reader has checked
 * every offset before this file sees a tensor; here each is held to the shape that the model has, and each
 * number to its range, because a NaN or a scale of 0 would make vectors that look like others.
 *
 * The checksum is over names and bytes of all tensors but itself, in the order of their names. It is computed at
 * every open (10 ms for 10 MB): unlike the weights', the file's hash is not in any manifest.
 */
#include "encoder/quantised_file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/os.h"
#include "base/sha256.h"
#include "format/family.h"
#include "kernels/kernels.h"

/* Of the format's two kinds, int8 and int4. Also raised where a specification changes the arithmetic: `fidelity` is then of vectors
 * that are made no more, and a gate that was passed with them says nothing. */
static const uint8_t versions[2] = {4, 67};

enum { NAME_SIZE = 64, MAX_HEADER = 1 << 22, FIDELITIES = 3 };

static const char *const smooth_names[2] = {"attention", "feed_forward"};

static uint32_t pieces_of(uint32_t n)
{
    return (n + QUERN__PIECE - 1) / QUERN__PIECE;
}

bool quern__fidelity_passes(const quern__fidelity *f, bool four)
{
    if (four)
        return f->worst >= QUERN__GATE4_WORST;
    return f->mean >= QUERN__GATE_MEAN && f->worst >= QUERN__GATE_WORST; /* NaN does not */
}

/* ---- reading ---- */

typedef struct reader {
    const quern__weights *file;
    const char *path;
    quern_error *err;
    size_t seen;
    bool known; /* whole, as it was made: numbers are not looked at */
} reader;

/* A tensor of exactly this shape: d1 0 for one row. size: bytes an element. */
static int take(reader *r, const char *name, uint64_t d0, uint64_t d1, size_t size,
                const quern__tensor **out)
{
    const quern__tensor *t = quern__weights_find(r->file, name);
    if (!t)
        return quern__fail(r->err, QUERN_EFORMAT, 0, "%s: tensor \"%s\" is missing", r->path, name);
    const bool shape = t->rank == (d1 ? 2u : 1u) && t->shape[0] == d0 && (!d1 || t->shape[1] == d1);
    const bool type = size == 1 ? t->dtype == QUERN__OTHER_DTYPE && t->bytes == t->count
                                : t->dtype == QUERN__F32 && quern__tensor_floats(t);
    if (!shape || !type || t->transposed)
        return quern__fail(r->err, QUERN_EFORMAT, (int64_t)t->offset,
                           "%s: tensor \"%s\" at byte %zu is not %llu x %llu %s", r->path, name,
                           t->offset, (unsigned long long)d0, (unsigned long long)(d1 ? d1 : 1),
                           size == 1 ? "bytes" : "aligned F32");
    r->seen++;
    *out = t;
    return QUERN_OK;
}

static int take_weights(reader *r, const char *name, uint64_t outputs, uint64_t inputs,
                        const int8_t **out)
{
    const quern__tensor *t;
    const int rc = take(r, name, outputs, inputs, 1, &t);
    if (rc)
        return rc;
    const int8_t *p = t->data;
    bool bad = false;
    for (size_t i = 0; !r->known && i < t->count; i++)
        bad |= p[i] == -128;
    if (bad)
        return quern__fail(r->err, QUERN_EFORMAT, (int64_t)t->offset,
                           "%s: tensor \"%s\" at byte %zu holds -128; weights are -127 to 127",
                           r->path, name, t->offset);
    *out = p;
    return QUERN_OK;
}

/* int4: any four bits are a number. */
static int take_fours(reader *r, const char *name, uint64_t outputs, uint64_t inputs,
                      const int8_t **out)
{
    const quern__tensor *t;
    const int rc = take(r, name, outputs, inputs / 2, 1, &t);
    if (!rc)
        *out = t->data;
    return rc;
}

static int take_steps(reader *r, const char *name, uint64_t outputs, uint64_t inputs,
                      const int8_t **out)
{
    const quern__tensor *t;
    const int rc = take(r, name, outputs, inputs / QUERN__STEP_INPUTS, 1, &t);
    if (rc)
        return rc;
    const int8_t *p = t->data;
    bool bad = false;
    for (size_t i = 0; !r->known && i < t->count; i++)
        bad |= !p[i] || p[i] > QUERN__STEP_MAX || p[i] < -QUERN__STEP_MAX;
    if (bad)
        return quern__fail(r->err, QUERN_EFORMAT, (int64_t)t->offset,
                           "%s: tensor \"%s\" at byte %zu holds a step that is 0 or over %d",
                           r->path, name, t->offset, QUERN__STEP_MAX);
    *out = p;
    return QUERN_OK;
}

static int take_scales(reader *r, const char *name, uint64_t d0, uint64_t d1, const float **out)
{
    const quern__tensor *t;
    const int rc = take(r, name, d0, d1, sizeof(float), &t);
    if (rc)
        return rc;
    const float *p = quern__tensor_floats(t);
    for (size_t i = 0; !r->known && i < t->count; i++)
        if (!isfinite(p[i]) || p[i] <= 0)
            return quern__fail(
                r->err, QUERN_EFORMAT, (int64_t)(t->offset + i * sizeof *p),
                "%s: tensor \"%s\" holds %g at byte %zu; scales are finite and above "
                "0",
                r->path, name, (double)p[i], t->offset + i * sizeof *p);
    *out = p;
    return QUERN_OK;
}

/* int4: matrices that may be of 4 bits and have no steps are kept in bytes, those of a kind together. */
static int take_kept(reader *r, quern__quantised *q, uint32_t layer)
{
    char name[NAME_SIZE];
    for (int i = 0; q->four && i < QUERN__KEEPABLE; i++) {
        uint32_t there = 0, without = 0;
        for (int m = 0; m < QUERN__Q_MATRICES; m++) {
            if (!(quern__keepable[i] >> m & 1) || !quern__quantised_has(q, m))
                continue;
            snprintf(name, sizeof name, "layer.%u.%s.step", layer, quern__quantised_name(m));
            there++;
            without += !quern__weights_find(r->file, name);
        }
        if (without && without != there)
            return quern__fail(r->err, QUERN_EFORMAT, 0,
                               "%s: of layer %u's %s one has steps and one has none", r->path,
                               layer, i ? "up and gate" : "query and key");
        if (without)
            q->layer[layer].kept |= quern__keepable[i];
    }
    return QUERN_OK;
}

static int take_layer(reader *r, quern__quantised *q, uint32_t layer)
{
    quern__quantised_layer *l = q->layer + layer;
    char name[NAME_SIZE];
    int rc = take_kept(r, q, layer);
    for (int m = 0; !rc && m < QUERN__Q_MATRICES; m++) {
        if (!quern__quantised_has(q, m))
            continue;
        const uint32_t outputs = quern__quantised_outputs(q, m),
                       inputs = quern__quantised_inputs(q, m);
        snprintf(name, sizeof name, "layer.%u.%s.weight", layer, quern__quantised_name(m));
        const bool four = quern__is_four(q, layer, m);
        rc = four ? take_fours(r, name, outputs, inputs, &l->weight[m])
                  : take_weights(r, name, outputs, inputs, &l->weight[m]);
        snprintf(name, sizeof name, "layer.%u.%s.step", layer, quern__quantised_name(m));
        if (!rc && four)
            rc = take_steps(r, name, outputs, inputs, &l->step[m]);
        snprintf(name, sizeof name, "layer.%u.%s.scale", layer, quern__quantised_name(m));
        if (!rc)
            rc = take_scales(r, name, pieces_of(inputs), outputs, &l->scale[m]);
    }
    for (int i = 0; !rc && i < 2; i++) {
        snprintf(name, sizeof name, "layer.%u.smooth.%s", layer, smooth_names[i]);
        rc = take_scales(r, name, q->hidden, 0, &l->smooth[i]);
    }
    return rc;
}

static int checksum_of(const quern__weights *file, char hex[65], quern_error *err)
{
    quern__sha256 h = {0};
    uint8_t digest[32];
    int rc = quern__sha256_begin(&h, err);
    for (size_t i = 0; !rc && i < quern__weights_count(file); i++) {
        const quern__tensor *t = quern__weights_at(file, i);
        if (strcmp(t->name, "checksum") == 0)
            continue;
        rc = quern__sha256_add(&h, t->name, strlen(t->name) + 1, err);
        if (!rc)
            rc = quern__sha256_add(&h, t->data, t->bytes, err);
    }
    if (!rc)
        rc = quern__sha256_end(&h, digest, err);
    quern__sha256_dispose(&h);
    if (!rc)
        quern__hex32(digest, hex);
    return rc;
}

/* Cosines and a part of all: whatever was measured, it was within these. */
static int take_fidelity(reader *r, quern__fidelity *out)
{
    const quern__tensor *t;
    const int rc = take(r, "fidelity", FIDELITIES, 0, sizeof(float), &t);
    if (rc)
        return rc;
    const float *f = quern__tensor_floats(t);
    for (int i = 0; i < FIDELITIES; i++)
        if (!(f[i] >= -1.001f && f[i] <= 1.001f))
            return quern__fail(r->err, QUERN_EFORMAT, (int64_t)t->offset,
                               "%s: tensor \"fidelity\" at byte %zu holds %g; cosines are within "
                               "-1 and 1",
                               r->path, t->offset, (double)f[i]);
    *out = (quern__fidelity){f[0], f[1], f[2]};
    return QUERN_OK;
}

static int take_head(reader *r, quern__quantised_file *out)
{
    const quern__tensor *version, *source, *architecture, *checksum;
    int rc = take(r, "version", 1, 0, 1, &version);
    const uint8_t found = rc ? 0 : *(const uint8_t *)version->data;
    out->four = found == versions[1];
    if (!rc && found != versions[out->four]) {
        const bool four = quern__is_four_name(r->path); /* an unknown version does not say */
        rc = quern__fail(r->err, QUERN_EMISMATCH, (int64_t)version->offset,
                         "%s: its version is %u; this quern reads %d (%s)", r->path, found,
                         versions[four], quern__quantise_command(four));
    }
    if (!rc)
        rc = take(r, "source", 32, 0, 1, &source);
    if (!rc)
        rc = take(r, "architecture", 32, 0, 1, &architecture);
    if (!rc)
        rc = take_fidelity(r, &out->fidelity);
    if (!rc)
        rc = take(r, "checksum", 32, 0, 1, &checksum);
    if (rc)
        return rc;
    quern__hex32(source->data, out->source);
    quern__hex32(architecture->data, out->architecture);
    quern__hex32(checksum->data, out->checksum);
    return QUERN_OK;
}

static int check_sum(reader *r, const quern__quantised_file *out)
{
    char found[65];
    const int rc = checksum_of(r->file, found, r->err);
    if (rc || strcmp(found, out->checksum) == 0)
        return rc;
    return quern__fail(r->err, QUERN_EMISMATCH, 0,
                       "%s: damaged: its checksum is %.12s…, that of its contents %.12s… (%s)",
                       r->path, out->checksum, found,
                       quern__quantise_command(out->four || quern__is_four_name(r->path)));
}

/* What config.json's sizes come to; whoever computes with them has held them to their bounds. */
static void sizes_of(const quern__model_config *c, quern__quantised *q)
{
    const quern__family *f = quern__family_find(c->family);
    const uint32_t depth = c->depth ? c->depth : c->hidden / c->heads;
    q->layers = c->layers;
    q->hidden = c->hidden;
    q->intermediate = c->intermediate;
    q->queries = c->heads * depth;
    q->keys = (c->key_heads ? c->key_heads : c->heads) * depth;
    q->gated = f && quern__family_gated(f);
}

/* out->file is open. */
static int read_numbers(quern__quantised_file *out, const char *path,
                        const quern__model_config *config, bool known, quern_error *err)
{
    reader r = {out->file, path, err, 0, known};
    quern__quantised *q = quern__calloc(1, sizeof *q);
    out->numbers = q;
    if (!q)
        return quern__fail_memory(err, sizeof *q);
    /* A layer has 14 tensors at least: so the file's own size bounds what is asked for here. */
    const size_t count = quern__weights_count(out->file);
    if (!config->layers || !config->heads || count / 14 < config->layers)
        return quern__fail(err, QUERN_EFORMAT, 0,
                           "%s: %zu tensors are not those of the model's %u layers", path, count,
                           config->layers);
    sizes_of(config, q);
    q->layer = quern__calloc(q->layers, sizeof *q->layer);
    int rc = q->layer ? take_head(&r, out) : quern__fail_memory(err, q->layers * sizeof *q->layer);
    if (!rc && !known)
        rc = check_sum(&r, out);
    q->four = out->four;
    if (!rc && q->four)
        rc = quern__check_four(q->hidden, q->intermediate, err);
    for (uint32_t l = 0; !rc && l < q->layers; l++)
        rc = take_layer(&r, q, l);
    if (!rc && r.seen != count)
        rc = quern__fail(err, QUERN_EFORMAT, 0,
                         "%s: %zu tensors, %zu of them of this model's %u layers", path, count,
                         r.seen, config->layers);
    return rc;
}

static int open_path(quern__quantised_file *out, const char *path,
                     const quern__model_config *config, bool known, quern_error *err)
{
    memset(out, 0, sizeof *out);
    int rc = quern__weights_open_file(&out->file, QUERN__SAFETENSORS, path, err);
    if (!rc)
        rc = read_numbers(out, path, config, known, err);
    if (rc)
        quern__quantised_close(out);
    return rc;
}

int quern__quantised_open(quern__quantised_file *out, const char *path,
                          const quern__model_config *config, quern_error *err)
{
    return open_path(out, path, config, false, err);
}

int quern__quantised_open_known(quern__quantised_file *out, const char *path,
                                const quern__model_config *config, quern_error *err)
{
    return open_path(out, path, config, true, err);
}

int quern__quantised_peek(quern__quantised_file *out, const char *path, quern_error *err)
{
    memset(out, 0, sizeof *out);
    int rc = quern__weights_open_file(&out->file, QUERN__SAFETENSORS, path, err);
    reader r = {out->file, path, err, 0, false};
    if (!rc)
        rc = take_head(&r, out);
    quern__quantised_close(out);
    return rc;
}

int quern__quantised_verify(const char *path, quern_error *err)
{
    quern__quantised_file f = {0};
    const quern__tensor *checksum;
    int rc = quern__weights_open_file(&f.file, QUERN__SAFETENSORS, path, err);
    reader r = {f.file, path, err, 0, false};
    if (!rc)
        rc = take(&r, "checksum", 32, 0, 1, &checksum);
    if (!rc) {
        quern__hex32(checksum->data, f.checksum);
        rc = check_sum(&r, &f);
    }
    quern__quantised_close(&f);
    return rc;
}

int quern__quantised_parse(quern__quantised_file *out, const void *data, size_t size,
                           const char *name, const quern__model_config *config, quern_error *err)
{
    memset(out, 0, sizeof *out);
    int rc = quern__weights_parse(&out->file, QUERN__SAFETENSORS, data, size, name, err);
    if (!rc)
        rc = read_numbers(out, name, config, false, err);
    if (rc)
        quern__quantised_close(out);
    return rc;
}

void quern__quantised_close(quern__quantised_file *f)
{
    quern__quantised_free(f->numbers);
    quern__weights_free(f->file);
    f->numbers = NULL;
    f->file = NULL;
}

/* ---- writing ---- */

/* One pass lists the header, the next copies the data: in the same order, floats before bytes. */
typedef struct writer {
    quern__buf header;
    uint8_t *data; /* NULL: the first pass */
    size_t at;
} writer;

static void give(writer *w, const char *name, const char *dtype, uint32_t d0, uint32_t d1,
                 size_t size, const void *bytes)
{
    const size_t n = (size_t)d0 * (d1 ? d1 : 1) * size;
    char entry[NAME_SIZE + 128], shape[32];
    if (w->data) {
        memcpy(w->data + w->at, bytes, n);
    } else {
        snprintf(shape, sizeof shape, d1 ? "%u,%u" : "%u", d0, d1);
        snprintf(entry, sizeof entry,
                 "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                 w->at ? "," : "{", name, dtype, shape, w->at, w->at + n);
        quern__buf_puts(&w->header, entry);
    }
    w->at += n;
}

static void give_all(writer *w, const quern__quantised *q, const uint8_t source[32],
                     const uint8_t architecture[32], const quern__fidelity *fidelity,
                     const uint8_t checksum[32])
{
    const float numbers[FIDELITIES] = {fidelity->mean, fidelity->worst, fidelity->ranking};
    char name[NAME_SIZE];
    w->at = 0;
    give(w, "fidelity", "F32", FIDELITIES, 0, sizeof(float), numbers);
    for (uint32_t l = 0; l < q->layers; l++) {
        for (int m = 0; m < QUERN__Q_MATRICES; m++) {
            if (!quern__quantised_has(q, m))
                continue;
            snprintf(name, sizeof name, "layer.%u.%s.scale", l, quern__quantised_name(m));
            give(w, name, "F32", pieces_of(quern__quantised_inputs(q, m)),
                 quern__quantised_outputs(q, m), sizeof(float), q->layer[l].scale[m]);
        }
        for (int i = 0; i < 2; i++) {
            snprintf(name, sizeof name, "layer.%u.smooth.%s", l, smooth_names[i]);
            give(w, name, "F32", q->hidden, 0, sizeof(float), q->layer[l].smooth[i]);
        }
    }
    for (uint32_t l = 0; l < q->layers; l++)
        for (int m = 0; m < QUERN__Q_MATRICES; m++) {
            if (!quern__quantised_has(q, m))
                continue;
            snprintf(name, sizeof name, "layer.%u.%s.weight", l, quern__quantised_name(m));
            const uint32_t outputs = quern__quantised_outputs(q, m),
                           inputs = quern__quantised_inputs(q, m);
            const bool four = quern__is_four(q, l, m);
            give(w, name, four ? "U8" : "I8", outputs, four ? inputs / 2 : inputs, 1,
                 q->layer[l].weight[m]);
            snprintf(name, sizeof name, "layer.%u.%s.step", l, quern__quantised_name(m));
            if (four)
                give(w, name, "I8", outputs, inputs / QUERN__STEP_INPUTS, 1, q->layer[l].step[m]);
        }
    give(w, "version", "U8", 1, 0, 1, &versions[q->four]);
    give(w, "source", "U8", 32, 0, 1, source);
    give(w, "architecture", "U8", 32, 0, 1, architecture);
    give(w, "checksum", "U8", 32, 0, 1, checksum);
}

static void bytes_of(const char hex[65], uint8_t out[32])
{
    for (int i = 0; i < 32; i++) {
        const char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
        unsigned value = 0;
        sscanf(pair, "%2x", &value);
        out[i] = (uint8_t)value;
    }
}

/* The file in memory: the checksum is that of what a reader finds, so it is read once without one. */
static int build(writer *w, const quern__quantised *q, const char source[65],
                 const char architecture[65], const quern__fidelity *fidelity, char checksum[65],
                 uint8_t **out, size_t *size, quern_error *err)
{
    uint8_t of_source[32], of_architecture[32], sum[32] = {0};
    quern__weights *file = NULL;
    bytes_of(source, of_source);
    bytes_of(architecture, of_architecture);
    quern__buf_init(&w->header, MAX_HEADER);
    give_all(w, q, of_source, of_architecture, fidelity, sum);
    quern__buf_puts(&w->header, "}");
    int rc = quern__buf_ok(&w->header, "the header of quantised weights", err);
    while (!rc && w->header.len % 64 != 56) { /* so that the data begins aligned */
        quern__buf_puts(&w->header, " ");
        rc = quern__buf_ok(&w->header, "the header of quantised weights", err);
    }
    const size_t header = rc ? 0 : w->header.len;
    *size = 8 + header + w->at;
    if (!rc && !(*out = quern__alloc(*size)))
        rc = quern__fail_memory(err, *size);
    if (rc)
        return rc;
    for (int i = 0; i < 8; i++)
        (*out)[i] = (uint8_t)((uint64_t)header >> 8 * i);
    memcpy(*out + 8, w->header.data, header);
    w->data = *out + 8 + header;
    give_all(w, q, of_source, of_architecture, fidelity, sum);
    rc = quern__weights_parse(&file, QUERN__SAFETENSORS, *out, *size, QUERN__QUANTISED_NAME, err);
    if (!rc)
        rc = checksum_of(file, checksum, err);
    quern__weights_free(file);
    if (!rc) {
        bytes_of(checksum, sum);
        give_all(w, q, of_source, of_architecture, fidelity, sum);
    }
    return rc;
}

int quern__quantised_write(const quern__quantised *q, const char source[65],
                           const char architecture[65], const quern__fidelity *fidelity,
                           const char *path, char checksum[65], uint64_t *bytes, quern_error *err)
{
    writer w = {0};
    uint8_t *file = NULL;
    size_t size = 0;
    int rc = build(&w, q, source, architecture, fidelity, checksum, &file, &size, err);
    if (!rc)
        rc = quern__write_file_atomic(path, file, size, err);
    *bytes = size;
    quern__buf_dispose(&w.header);
    quern__free(file);
    return rc;
}
