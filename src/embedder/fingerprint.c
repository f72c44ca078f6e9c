/*
 * fingerprint.c — what a model is: the hashes of its files, and the text that holds everything that decides a vector.
 * The hash of 90 MB costs more than the whole start (docs/design.md §6), so open does not compute it:
 * the shelf's manifest, written at import, is believed while size and modification time of the weights
 * still are what it recorded.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/json.h"
#include "base/sha256.h"
#include "embedder/model_impl.h"
#include "format/manifest.h"

static int check_same(const char *path, const quern__stat *opened, const quern__stat *now,
                      quern_error *err)
{
    return quern__stat_same(opened, now)
               ? QUERN_OK
               : quern__fail(err, QUERN_EMISMATCH, 0,
                             "%s: replaced while the model was open: open the model again", path);
}

/* Hashes the weights file and, where the manifest has an opinion (not NULL), holds it to that. */
static int hash_file(const char *path, const quern__stat *opened,
                     const quern__manifest_file *recorded, char out[65], quern_error *err)
{
    quern__map map;
    uint8_t digest[32];
    char found[65];
    int rc = quern__map_open(&map, path, err);
    if (rc != QUERN_OK)
        return rc;
    rc = check_same(path, opened, &map.file, err);
    if (rc == QUERN_OK)
        rc = quern__sha256_of_map(&map, digest, err);
    quern__map_close(&map);
    if (rc != QUERN_OK)
        return rc;
    quern__hex32(digest, found);
    if (recorded && strcmp(recorded->sha256, found) != 0)
        return quern__fail(err, QUERN_EMISMATCH, 0,
                           "%s: changed since it was imported (sha256 %.12s…, manifest %.12s…): "
                           "remove the model and get it again",
                           path, found, recorded->sha256);
    memcpy(out, found, sizeof found);
    return QUERN_OK;
}

/* From the manifest while size and time still are what it recorded, else from the bytes; before and after by the name it
 * is the file that was opened, for the hash of another one would stand for numbers that it does not have. */
static int hash_part(const quern_model *m, const char *name, const quern__stat *opened,
                     const quern__manifest *manifest, char out[65], quern_error *err)
{
    quern__stat st;
    const quern__manifest_file *recorded = quern__manifest_find(manifest, name);
    char *path = quern__model_file(m, name);
    int rc = path ? quern__stat_path(path, &st, err) : quern__fail_memory(err, 0);
    if (rc == QUERN_OK)
        rc = check_same(path, opened, &st, err);
    if (rc == QUERN_OK && recorded && quern__manifest_agrees(recorded, &st)) {
        memcpy(out, recorded->sha256, 65);
    } else if (rc == QUERN_OK) {
        rc = hash_file(path, opened, recorded, out, err);
        if (rc == QUERN_OK)
            rc = quern__stat_path(path, &st, err);
        if (rc == QUERN_OK)
            rc = check_same(path, opened, &st, err);
    }
    quern__free(path);
    return rc;
}

/* Of the weights in a folder of the model's; "": its own. */
static int hash_weights(const quern_model *m, const quern__weights *w, const char *folder,
                        char out[65], quern_error *err)
{
    const quern__weights_files *files = w ? quern__weights_list_of(w) : m->graph;
    char hex[QUERN__WEIGHTS_FILES][65];
    quern__manifest *manifest = quern__calloc(1, sizeof *manifest);
    int rc = manifest ? quern__manifest_read(manifest, m->path, err)
                      : quern__fail_memory(err, sizeof *manifest);
    if (rc == QUERN_ENOTFOUND) {
        manifest->n = 0; /* a plain folder, not from the shelf */
        rc = QUERN_OK;
    }
    for (uint32_t i = 0; rc == QUERN_OK && i < files->n; i++) {
        char name[QUERN__WEIGHTS_NAME + 260];
        snprintf(name, sizeof name, "%s%s%s", folder, *folder ? "/" : "", files->name[i]);
        rc = hash_part(m, name, w ? quern__weights_mapped(w, i) : &m->graph_opened[i], manifest,
                       hex[i], err);
    }
    if (rc == QUERN_OK)
        rc = quern__weights_hash(files, (const char(*)[65])hex, out, err);
    quern__free(manifest);
    return rc;
}

static int check_parts(const quern_model *m, const quern__weights *w, const char *folder,
                       quern_error *err)
{
    const quern__weights_files *files = quern__weights_list_of(w);
    int rc = QUERN_OK;
    for (uint32_t i = 0; rc == QUERN_OK && i < files->n; i++) {
        char name[QUERN__WEIGHTS_NAME + 260];
        quern__stat st;
        snprintf(name, sizeof name, "%s%s%s", folder, *folder ? "/" : "", files->name[i]);
        char *path = quern__model_file(m, name);
        rc = path ? quern__stat_path(path, &st, err) : quern__fail_memory(err, 0);
        if (rc == QUERN_OK)
            rc = check_same(path, quern__weights_mapped(w, i), &st, err);
        quern__free(path);
    }
    return rc;
}

int quern__model_in_place(const quern_model *m, quern_error *err)
{
    char opened[65] = "", now[65] = "";
    quern__model_config *c = quern__calloc(1, sizeof *c);
    int rc = c ? check_parts(m, m->weights, m->config.table_path, err)
               : quern__fail_memory(err, sizeof *c);
    for (uint32_t i = 0; rc == QUERN_OK && i < m->config.dense_count; i++)
        rc = check_parts(m, m->dense[i], m->config.dense[i].path, err);
    if (m->alone) { /* that file was all */
        quern__free(c);
        return rc;
    }
    if (rc == QUERN_OK)
        rc = quern__model_config_read(c, m->path, err);
    if (rc == QUERN_OK)
        rc = quern__model_config_architecture_sha256(&m->config, opened, err);
    if (rc == QUERN_OK)
        rc = quern__model_config_architecture_sha256(c, now, err);
    if (rc == QUERN_OK && strcmp(opened, now) != 0)
        rc = quern__fail(err, QUERN_EMISMATCH, 0,
                         "%s/config.json: changed while the model was open: open the model again",
                         m->path);
    quern__free(c);
    return rc;
}

int quern_model_weights_sha256(quern_model *m, char out[65], quern_error *err)
{
    QUERN__REQUIRE(m && out, err);
    int rc = QUERN_OK;
    quern__mutex_lock(m->mutex);
    if (!m->weights_sha256[0])
        rc = hash_weights(m, m->weights, m->config.table_path, m->weights_sha256, err);
    memcpy(out, m->weights_sha256, 65);
    quern__mutex_unlock(m->mutex);
    return rc;
}

void quern_model_tokenizer_sha256(const quern_model *m, char out[65])
{
    quern__tokenizer_hash(m->tokenizer, out);
}

/* "modules": what stands behind the pooling, in order. */
static void put_modules(const quern_model *m, const char (*dense)[65], quern__jsonw *w)
{
    quern__jsonw_key(w, "modules");
    quern__jsonw_array(w);
    for (uint32_t i = 0; i < m->config.dense_count; i++) {
        const quern__dense *d = &m->config.dense[i];
        quern__jsonw_object(w);
        quern__jsonw_put_cstr(w, "activation", d->tanh ? "tanh" : "identity");
        quern__jsonw_put_bool(w, "bias", d->bias);
        quern__jsonw_put_bool(w, "normalize", d->unit);
        quern__jsonw_put_cstr(w, "type", "dense");
        quern__jsonw_put_cstr(w, "weights", dense[i]);
        quern__jsonw_end_object(w);
    }
    quern__jsonw_end_array(w);
}

static int fingerprint_json(const quern_model *m, const char *weights, const char (*dense)[65],
                            char **json, quern_error *err)
{
    static const int specs[] = {[QUERN__CLASS_FP32] = QUERN__SPEC,
                                [QUERN__CLASS_BF16] = QUERN__SPEC_BF16,
                                [QUERN__CLASS_FP16] = QUERN__SPEC_FP16};
    char tokenizer[65];
    quern__buf b;
    quern__jsonw w;
    quern__tokenizer_hash(m->tokenizer, tokenizer);
    quern__buf_init(&b, 16384);
    quern__jsonw_init(&w, &b);
    quern__jsonw_object(&w); /* keys in ascending order: this text is hashed */
    if (!m->ort) {           /* a graph says itself what it is */
        quern__jsonw_key(&w, "architecture");
        quern__model_config_architecture(&m->config, &w);
    }
    if (m->ort)
        quern__jsonw_put_cstr(&w, "backend", m->backend);
    if (m->int8)
        quern__jsonw_put_cstr(&w, "calibration", m->calibration);
    if (m->ort)
        quern__jsonw_put_cstr(&w, "device", quern__ort_device_name(m->ort));
    quern__jsonw_put_u64(&w, "dimension", quern_model_dimensions(m));
    quern__jsonw_put_u64(&w, "max_length", m->max_length);
    if (m->config.dense_count)
        put_modules(m, dense, &w);
    quern__jsonw_put_bool(&w, "normalize", true);
    if (m->ort)
        quern__jsonw_put_cstr(&w, "optimization", m->optimization);
    if (m->kernels->order)
        quern__jsonw_put_cstr(&w, "order", m->kernels->order);
    if (m->ort)
        quern__jsonw_put_cstr(&w, "output", quern__ort_output(m->ort));
    quern__jsonw_put_cstr(&w, "pooling", m->pooling);
    quern__jsonw_put_cstr(&w, "precision", quern__model_precision(m));
    quern__jsonw_key(&w, "prompts");
    quern__jsonw_object(&w);
    quern__jsonw_put_cstr(&w, "document", m->config.prompt_document);
    quern__jsonw_put_cstr(&w, "query", m->config.prompt_query);
    quern__jsonw_end_object(&w);
    if (!m->ort)
        quern__jsonw_put_u64(&w, "spec",
                             m->precision == QUERN_PRECISION_INT4 ? QUERN__SPEC_INT4
                             : m->int8                            ? QUERN__SPEC_INT8
                                       : specs[quern__model_matrices(m->precision)]);
    quern__jsonw_put_cstr(&w, "tokenizer", tokenizer);
    quern__jsonw_put_cstr(&w, "weights", weights);
    quern__jsonw_end_object(&w);
    int rc = quern__buf_ok(&b, "fingerprint", err);
    if (rc == QUERN_OK && !(*json = quern__buf_detach(&b)))
        rc = quern__fail_memory(err, 0);
    quern__buf_dispose(&b);
    return rc;
}

int quern__fingerprint_hash(char **json, char hash[65], quern_error *err)
{
    uint8_t digest[32];
    int rc = quern__sha256_of(*json, strlen(*json), digest, err);
    if (rc == QUERN_OK) {
        quern__hex32(digest, hash);
    } else {
        quern__free(*json);
        *json = NULL;
    }
    return rc;
}

int quern_model_fingerprint(quern_model *m, char **json, char hash[65], quern_error *err)
{
    QUERN__REQUIRE(json, err);
    *json = NULL;
    QUERN__REQUIRE(m, err);
    char weights[65], dense[QUERN__DENSES][65];
    int rc = quern_model_weights_sha256(m, weights, err);
    for (uint32_t i = 0; rc == QUERN_OK && i < m->config.dense_count; i++)
        rc = hash_weights(m, m->dense[i], m->config.dense[i].path, dense[i], err);
    if (rc == QUERN_OK)
        rc = fingerprint_json(m, weights, (const char(*)[65])dense, json, err);
    return rc == QUERN_OK && hash ? quern__fingerprint_hash(json, hash, err) : rc;
}
