/*
 * weights_files.c — which of a folder's files holds the weights. Model repositories carry the same weights
 * in several formats; one is read, chosen by name alone, so that the same folder gives the same fingerprint
 * everywhere: in the order of the table below, which is that of how little a reader has to do.
 *
 * Rejected: taking the next one when the first is damaged (the model would change its fingerprint, and
 * nobody would hear of the damage).
 */
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/sha256.h"
#include "format/weights_build.h"

enum { MAX_INDEX = 16 << 20 };

#define ONNX_FOLDER "onnx" /* where exports lie beside other formats */

static const struct kind {
    const char *name; /* "*" in front: any file that ends so */
    int format;
    bool index;
} kinds[] = {
    {"model.safetensors", QUERN__SAFETENSORS, false},
    {"model.safetensors.index.json", QUERN__SAFETENSORS, true},
    {"pytorch_model.bin", QUERN__TORCH, false},
    {"pytorch_model.bin.index.json", QUERN__TORCH, true},
    {"model.onnx", QUERN__ONNX, false},
    {ONNX_FOLDER "/model.onnx", QUERN__ONNX, false},
    {"*.gguf", QUERN__GGUF, false},
};

#define NAMES "model.safetensors, pytorch_model.bin (or .index.json of either), model.onnx, *.gguf"

const char *quern__weights_format_name(int format)
{
    static const char *const names[] = {[QUERN__SAFETENSORS] = "safetensors",
                                        [QUERN__TORCH] = "pytorch",
                                        [QUERN__ONNX] = "onnx",
                                        [QUERN__GGUF] = "gguf"};
    return names[format];
}

/* 1 + the number of a name's kind, 0: none. */
static uint32_t rank_of(const char *name)
{
    const size_t n = strlen(name);
    for (uint32_t i = 0; n < QUERN__WEIGHTS_NAME && i < QUERN__COUNT(kinds); i++) {
        const char *wanted = kinds[i].name;
        const size_t ending = strlen(wanted) - 1;
        const bool is = *wanted == '*' ? n > ending && !strchr(name, '/') &&
                                             strcmp(name + n - ending, wanted + 1) == 0
                                       : strcmp(name, wanted) == 0;
        if (is)
            return i + 1;
    }
    return 0;
}

bool quern__weights_alone(const char *name)
{
    const char *slash = strrchr(name, '/');
    const uint32_t rank = rank_of(slash ? slash + 1 : name);
    return rank && kinds[rank - 1].format == QUERN__GGUF;
}

bool quern__weights_is_index(const char *name)
{
    const uint32_t rank = rank_of(name);
    return rank && kinds[rank - 1].index;
}

bool quern__weights_consider(quern__weights_choice *c, const char *name)
{
    const uint32_t rank = rank_of(name);
    if (rank && rank == c->rank && strcmp(name, c->name) != 0) {
        memcpy(c->other, name, strlen(name) + 1);
    } else if (rank && (!c->rank || rank < c->rank)) {
        c->rank = rank;
        c->other[0] = 0;
        memcpy(c->name, name, strlen(name) + 1);
    }
    return rank != 0;
}

int quern__weights_chosen(const quern__weights_choice *c, const char *folder, quern_error *err)
{
    if (!c->rank)
        return quern__fail(err, QUERN_ENOTFOUND, 0, "%s: no weights in it: no " NAMES, folder);
    if (c->other[0])
        return quern__fail(err, QUERN_EINVAL, 0,
                           "%s: both %s and %s are in it; leave the one that is meant", folder,
                           c->name, c->other);
    return QUERN_OK;
}

typedef struct look {
    quern__weights_choice *choice;
    const char *folder;
    quern_error *err;
} look;

static int on_name(void *ud, const char *name)
{
    look *l = ud;
    quern__stat st = {0};
    quern__buf path;
    quern__weights_consider(l->choice, name);
    if (strcmp(name, ONNX_FOLDER) != 0)
        return QUERN_OK;
    quern__buf_init(&path, 4096);
    quern__buf_printf(&path, "%s/" ONNX_FOLDER "/model.onnx", l->folder);
    int rc = quern__buf_ok(&path, "a path", l->err);
    if (rc == QUERN_OK)
        rc = quern__stat_path(path.data, &st, l->err);
    if (rc == QUERN_OK && st.exists)
        quern__weights_consider(l->choice, ONNX_FOLDER "/model.onnx");
    quern__buf_dispose(&path);
    return rc;
}

static int read_index(quern__weights_files *out, const char *folder, quern_error *err)
{
    quern__buf path;
    char *text = NULL;
    size_t len = 0;
    quern__buf_init(&path, 4096);
    quern__buf_printf(&path, "%s/%s", folder, out->index);
    int rc = quern__buf_ok(&path, "a path", err);
    if (rc == QUERN_OK)
        rc = quern__read_file(path.data, MAX_INDEX, &text, &len, err);
    if (rc == QUERN_OK)
        rc = quern__weights_index_files(out, text, len, path.data, err);
    quern__free(text);
    quern__buf_dispose(&path);
    return rc;
}

/* The names of the files that hold data of the graph's tensors, beside it. */
static int add_external(quern__weights_files *out, const char *folder, quern_error *err)
{
    quern__buf path;
    quern__map map = {0};
    quern__buf_init(&path, 4096);
    quern__buf_printf(&path, "%s/%s", folder, out->name[0]);
    int rc = quern__buf_ok(&path, "a path", err);
    if (rc == QUERN_OK)
        rc = quern__map_open(&map, path.data, err);
    if (rc == QUERN_OK)
        rc = quern__onnx_files(out, map.data, map.size, path.data, err);
    quern__map_close(&map);
    quern__buf_dispose(&path);
    return rc;
}

int quern__weights_list(quern__weights_files *out, const char *folder, quern_error *err)
{
    quern__weights_choice c = {0};
    look l = {&c, folder, err};
    int rc = quern__list_dir(folder, on_name, &l, err);
    if (rc == QUERN_OK)
        rc = quern__weights_chosen(&c, folder, err);
    if (rc)
        return rc;
    const struct kind *kind = &kinds[c.rank - 1];
    memset(out, 0, sizeof *out);
    out->format = kind->format;
    memcpy(kind->index ? out->index : out->name[0], c.name, sizeof c.name);
    out->n = kind->index ? 0 : 1;
    if (kind->format == QUERN__ONNX)
        return add_external(out, folder, err);
    return kind->index ? read_index(out, folder, err) : QUERN_OK;
}

int quern__weights_list_graph(quern__weights_files *out, const char *folder, quern_error *err)
{
    quern__buf path;
    int rc = QUERN_OK;
    memset(out, 0, sizeof *out);
    quern__buf_init(&path, 4096);
    for (uint32_t i = 0; rc == QUERN_OK && !out->n && i < QUERN__COUNT(kinds); i++) {
        quern__stat st = {0};
        if (kinds[i].format != QUERN__ONNX)
            continue;
        quern__buf_clear(&path);
        quern__buf_printf(&path, "%s/%s", folder, kinds[i].name);
        rc = quern__buf_ok(&path, "a path", err);
        if (rc == QUERN_OK)
            rc = quern__stat_path(path.data, &st, err);
        if (rc == QUERN_OK && st.is_file) {
            out->format = QUERN__ONNX;
            out->n = 1;
            memcpy(out->name[0], kinds[i].name, strlen(kinds[i].name) + 1);
        }
    }
    quern__buf_dispose(&path);
    if (rc == QUERN_OK && !out->n)
        rc = quern__fail(
            err, QUERN_ENOTFOUND, 0,
            "%s: no exported graph in it: no model.onnx, no " ONNX_FOLDER "/model.onnx", folder);
    return rc ? rc : add_external(out, folder, err);
}

int quern__weights_hash(const quern__weights_files *files, const char (*hex)[65], char out[65],
                        quern_error *err)
{
    quern__sha256 h = {0};
    uint8_t digest[32];
    if (files->n == 1 && !files->index[0]) {
        memcpy(out, hex[0], 65);
        return QUERN_OK;
    }
    int rc = quern__sha256_begin(&h, err);
    for (uint32_t i = 0; rc == QUERN_OK && i < files->n; i++) {
        rc = quern__sha256_add(&h, hex[i], 64, err);
        if (rc == QUERN_OK)
            rc = quern__sha256_add(&h, "  ", 2, err);
        if (rc == QUERN_OK)
            rc = quern__sha256_add(&h, files->name[i], strlen(files->name[i]), err);
        if (rc == QUERN_OK)
            rc = quern__sha256_add(&h, "\n", 1, err);
    }
    if (rc == QUERN_OK)
        rc = quern__sha256_end(&h, digest, err);
    if (rc == QUERN_OK)
        quern__hex32(digest, out);
    quern__sha256_dispose(&h);
    return rc;
}
