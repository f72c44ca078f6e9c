/*
 * shelf_stage.c — names, locks, hashes, and publishing. A model appears by one rename after everything
 * in it was written, synced and read back. Where a damaged model has to make room, it is renamed away
 * first: a crash between the two renames leaves no model, which the next pull or import mends;
 * exchanging the two in one call would save that moment but exists on Linux alone.
 */
#include "shelf/shelf_stage.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/cancel.h"
#include "base/sha256.h"
#include "format/family.h"
#include "format/model_config.h"
#include "format/static_table.h"
#include "tokenizer/tokenizer.h"

enum { PATH_BYTES = 4096, LOCK_SLICE_MS = 200, HASH_CHUNK = 1 << 20, MAX_NAME = 100 };

/* ---- paths ---- */

int quern__join3(char **out, const char *a, const char *b, const char *c, quern_error *err)
{
    quern__buf path;
    *out = NULL;
    quern__buf_init(&path, PATH_BYTES);
    quern__buf_printf(&path, "%s/%s%s", a, b, c);
    int rc = quern__buf_ok(&path, "a path", err);
    if (rc == QUERN_OK && (*out = quern__buf_detach(&path)) == NULL)
        rc = quern__fail_memory(err, 0);
    quern__buf_dispose(&path);
    return rc;
}

int quern__join(char **out, const char *a, const char *b, quern_error *err)
{
    return quern__join3(out, a, b, "", err);
}

int quern__make_parent(const char *path, quern_error *err)
{
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return QUERN_OK;
    char *parent = quern__strndup(path, (size_t)(slash - path));
    if (!parent)
        return quern__fail_memory(err, 0);
    int rc = quern__make_dirs(parent, err);
    quern__free(parent);
    return rc;
}

int quern__check_model_name(const char *name, quern_error *err)
{
    size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    if (n == 0 || n > MAX_NAME || name[n] || name[0] == '.' || name[0] == '-')
        return quern__fail(err, QUERN_EINVAL, 0,
                           "'%.100s' is no name for a model: 1 to %d letters, digits, '.', '_' or "
                           "'-', beginning with a letter, digit or '_'",
                           name, MAX_NAME);
    return QUERN_OK;
}

static int default_folder(char **out, quern_error *err)
{
    const char *data = quern__env("XDG_DATA_HOME"), *home = quern__env("HOME");
    if (data && data[0] == '/') /* the XDG specification: a relative path is to be ignored */
        return quern__join(out, data, "quern/models", err);
    if (home)
        return quern__join(out, home, ".local/share/quern/models", err);
    return quern__fail(err, QUERN_EINVAL, 0,
                       "no place for models: neither XDG_DATA_HOME nor HOME is set");
}

int quern__shelf_begin(quern__shelf *s, const quern_shelf_options *opt, quern_error *err)
{
    memset(s, 0, sizeof *s);
    if (opt) {
        QUERN__REQUIRE(opt->struct_size >= sizeof(size_t), err);
        size_t n = opt->struct_size < sizeof s->opt ? opt->struct_size : sizeof s->opt;
        memcpy(&s->opt, opt, n);
    }
    s->opt.struct_size = sizeof s->opt;
    int rc = QUERN_OK;
    if (!s->opt.folder)
        rc = default_folder(&s->folder, err);
    else if (!s->opt.folder[0])
        rc = quern__fail(err, QUERN_EINVAL, 0, "the shelf's folder has an empty name");
    else if ((s->folder = quern__strdup(s->opt.folder)) == NULL)
        rc = quern__fail_memory(err, 0);
    if (rc == QUERN_OK)
        rc = quern__join(&s->staging, s->folder, ".staging", err);
    if (rc)
        quern__shelf_end(s);
    return rc;
}

void quern__shelf_end(quern__shelf *s)
{
    quern__free(s->folder);
    quern__free(s->staging);
    memset(s, 0, sizeof *s);
}

/* ---- waiting, telling, hashing ---- */

int quern__shelf_lock(quern__lock **out, const quern__shelf *s, const char *what, quern_error *err)
{
    char *path = NULL;
    quern_error held = {0};
    *out = NULL;
    int rc = quern__make_dirs(s->staging, err);
    if (rc == QUERN_OK)
        rc = quern__join3(&path, s->staging, what, ".lock", err);
    while (rc == QUERN_OK) {
        int got = quern__lock_file(out, path, LOCK_SLICE_MS, &held);
        if (got == QUERN_OK)
            break;
        rc = got == QUERN_EBUSY ? quern__check_cancel(s->opt.cancel, err) : got;
        if (got != QUERN_EBUSY && err)
            *err = held;
        if (rc == QUERN_OK)
            rc = quern__shelf_tell(s, "waiting for another process", 0, 0, err);
    }
    quern__free(path);
    return rc;
}

/* By the name that its manifest says: a folder that was copied elsewhere is not that one. */
int quern__shelf_lock_of(quern__lock **out, const char *folder, const quern_cancel *cancel,
                         quern_error *err)
{
    quern__shelf s = {.opt = {.cancel = cancel}};
    quern__stat here = {0}, there = {0};
    bool managed = false;
    char *stands = NULL;
    *out = NULL;
    quern__manifest *m = quern__calloc(1, sizeof *m);
    int rc =
        m ? quern__shelf_manifest(m, folder, &managed, err) : quern__fail_memory(err, sizeof *m);
    if (rc == QUERN_OK && managed && quern__check_model_name(m->name, NULL) == QUERN_OK) {
        rc = quern__join(&s.folder, folder, "..", err);
        if (rc == QUERN_OK)
            rc = quern__join(&s.staging, s.folder, ".staging", err);
        if (rc == QUERN_OK)
            rc = quern__join(&stands, s.folder, m->name, err);
        if (rc == QUERN_OK)
            rc = quern__stat_path(folder, &here, err);
        if (rc == QUERN_OK)
            rc = quern__stat_path(stands, &there, err);
        if (rc == QUERN_OK && there.is_dir && here.inode == there.inode &&
            here.device == there.device)
            rc = quern__shelf_lock(out, &s, m->name, err);
    }
    quern__free(stands);
    quern__free(m);
    quern__shelf_end(&s);
    return rc;
}

int quern__shelf_tell(const quern__shelf *s, const char *what, uint64_t done, uint64_t total,
                      quern_error *err)
{
    int rc = quern__check_cancel(s->opt.cancel, err);
    if (rc == QUERN_OK && s->opt.progress &&
        s->opt.progress(what, done, total, s->opt.progress_ud) != 0)
        rc = quern__fail(err, QUERN_ECANCELLED, 0, "cancelled at %s", what);
    return rc;
}

int quern__shelf_hash(const quern__shelf *s, const char *path, const char *what, char hex[65],
                      uint64_t *size, quern_error *err)
{
    quern__file *f = NULL;
    quern__sha256 h = {0};
    quern__stat st;
    uint8_t digest[32];
    uint64_t done = 0;
    size_t got = 0;
    char *chunk = quern__alloc(HASH_CHUNK);
    int rc = chunk ? quern__stat_path(path, &st, err) : quern__fail_memory(err, HASH_CHUNK);
    if (rc == QUERN_OK)
        rc = quern__file_open(&f, path, QUERN__FILE_READ, err);
    if (rc == QUERN_OK)
        rc = quern__sha256_begin(&h, err);
    while (rc == QUERN_OK) {
        rc = quern__file_read(f, chunk, HASH_CHUNK, &got, err);
        if (rc || got == 0)
            break;
        rc = quern__sha256_add(&h, chunk, got, err);
        done += got;
        if (rc == QUERN_OK)
            rc = quern__shelf_tell(s, what, done, st.size, err);
    }
    if (rc == QUERN_OK)
        rc = quern__sha256_end(&h, digest, err);
    if (rc == QUERN_OK) {
        quern__hex32(digest, hex);
        *size = done;
    }
    quern__sha256_dispose(&h);
    quern__file_close(f, NULL);
    quern__free(chunk);
    return rc;
}

/* ---- checking ---- */

static int check_weights(const char *folder, const quern__model_config *c,
                         const quern__weights *weights, const quern__tokenizer *tokenizer,
                         quern_error *err)
{
    const quern__family *family = quern__family_find(c->family);
    const quern__tensor *t = NULL;
    char name[128] = "";
    if (family && !c->table) {
        const size_t front = (size_t)snprintf(name, sizeof name, "%s", family->prefix);
        quern__family_tensor(family, "embeddings.word_embeddings.weight", name + front,
                             sizeof name - front);
        t = quern__weights_find(weights, name + front);
        if (!t)
            t = quern__weights_find(weights, name);
    }
    if (!t && !c->table)
        return quern__fail(err, QUERN_EFORMAT, 0, "%s: no tensor %s", folder, name);
    if (!c->table && (t->rank != 2 || t->shape[0] != c->vocab || t->shape[1] != c->hidden))
        return quern__fail(err, QUERN_EFORMAT, (int64_t)t->offset,
                           "%s: %s is not [%u, %u] as config.json says", folder, t->name,
                           (unsigned)c->vocab, (unsigned)c->hidden);
    if (quern__tokenizer_vocab_size(tokenizer) > c->vocab)
        return quern__fail(err, QUERN_EFORMAT, 0,
                           "%s: the tokenizer has %u ids, the weights %u rows", folder,
                           (unsigned)quern__tokenizer_vocab_size(tokenizer), (unsigned)c->vocab);
    return QUERN_OK;
}

/* Of a table in its module's folder that one. */
static int lies_in(const char *folder, const quern__model_config *c, char **out, quern_error *err)
{
    if (c->table_path[0])
        return quern__join(out, folder, c->table_path, err);
    *out = quern__strdup(folder);
    return *out ? QUERN_OK : quern__fail_memory(err, strlen(folder));
}

int quern__stage_settings(quern__model_config *out, quern__weights **weights, const char *folder,
                          quern_error *err)
{
    char *path = NULL;
    *weights = NULL;
    int rc = quern__model_config_read(out, folder, err);
    if (rc == QUERN_OK)
        rc = lies_in(folder, out, &path, err);
    if (rc == QUERN_OK)
        rc = quern__weights_open(weights, path, err);
    quern__free(path);
    return rc == QUERN_OK && out->table ? quern__static_table_measure(out, *weights, err) : rc;
}

int quern__stage_check(const char *folder, quern_error *err)
{
    quern__model_config config;
    quern__weights *weights;
    quern__tokenizer *tokenizer = NULL;
    char *path = NULL;
    int rc = quern__stage_settings(&config, &weights, folder, err);
    if (rc == QUERN_OK)
        rc = lies_in(folder, &config, &path, err);
    if (rc == QUERN_OK)
        rc = quern__tokenizer_open(&tokenizer, path, err);
    if (rc == QUERN_OK)
        rc = check_weights(folder, &config, weights, tokenizer, err);
    quern__tokenizer_free(tokenizer);
    quern__weights_free(weights);
    quern__free(path);
    return rc;
}

int quern__shelf_ask(const quern__shelf *s, const char *name, const char *folder, quern_error *err)
{
    return s->opt.check ? s->opt.check(name, folder, s->opt.check_ud, err) : QUERN_OK;
}

/* The hash of folder/f->name is still the recorded one: by size and time, else by its bytes. */
static int file_stands(const quern__shelf *s, const char *folder, const quern__manifest_file *f,
                       bool *stands, quern_error *err)
{
    char *path = NULL, hex[65];
    quern__stat st;
    uint64_t size;
    *stands = false;
    int rc = quern__join(&path, folder, f->name, err);
    if (rc == QUERN_OK)
        rc = quern__stat_path(path, &st, err);
    if (rc || !st.exists || !st.is_file || st.size != f->size)
        goto done;
    if (quern__manifest_agrees(f, &st)) {
        *stands = true;
        goto done;
    }
    rc = quern__shelf_hash(s, path, f->name, hex, &size, err);
    *stands = rc == QUERN_OK && strcmp(hex, f->sha256) == 0;
done:
    quern__free(path);
    return rc;
}

static bool has_known_files(const quern__manifest *m, const quern__known_model *known)
{
    for (size_t i = 0; known && i < known->n_files; i++) {
        const quern__manifest_file *f = quern__manifest_find(m, known->files[i].name);
        if (!f || strcmp(f->sha256, known->files[i].sha256) != 0)
            return false;
    }
    return true;
}

int quern__shelf_manifest(quern__manifest *m, const char *folder, bool *has, quern_error *err)
{
    quern_error why = {0};
    int rc = quern__manifest_read(m, folder, &why);
    *has = rc == QUERN_OK;
    if (rc == QUERN_OK || rc == QUERN_ENOTFOUND || rc == QUERN_EFORMAT)
        return QUERN_OK;
    if (err)
        *err = why;
    return rc;
}

int quern__standing(const quern__shelf *s, const char *name, const char *weights_sha256,
                    const quern__known_model *known, int *out, quern_error *err)
{
    char *folder = NULL;
    quern__stat st;
    quern__manifest m;
    char weights[65] = "";
    bool stands = true, recorded = false;
    *out = QUERN__STANDS_NOTHING;
    int rc = quern__join(&folder, s->folder, name, err);
    if (rc == QUERN_OK)
        rc = quern__stat_path(folder, &st, err);
    if (rc || !(st.exists || st.is_link))
        goto done;
    *out = QUERN__STANDS_OTHER;
    rc = quern__shelf_manifest(&m, folder, &recorded, err);
    if (rc == QUERN_OK && recorded)
        rc = quern__manifest_weights(&m, weights, err);
    if (rc || !recorded || strcmp(weights, weights_sha256) != 0)
        goto done;
    for (uint32_t i = 0; rc == QUERN_OK && stands && i < m.n; i++)
        rc = file_stands(s, folder, &m.file[i], &stands, err);
    *out = stands && has_known_files(&m, known) ? QUERN__STANDS_SAME : QUERN__STANDS_DAMAGED;
done:
    quern__free(folder);
    return rc;
}

/* ---- publishing ---- */

int quern__stage_record(quern__manifest *m, const char *folder, const char *name, const char *hex,
                        quern_error *err)
{
    char *path = NULL;
    quern__stat st;
    int rc = quern__join(&path, folder, name, err);
    if (rc == QUERN_OK)
        rc = quern__stat_path(path, &st, err);
    if (rc == QUERN_OK && !st.is_file)
        rc = quern__fail(err, QUERN_ENOTFOUND, 0, "%s: gone while it was being staged", path);
    if (rc == QUERN_OK)
        rc = quern__manifest_add(m, name, hex, st.size, st.mtime_ns, err);
    quern__free(path);
    return rc;
}

/* A damaged model makes room for the same one, whole: quantised weights that were made since it was got, and are as recorded,
 * go over. They move before anything is published, so a crash here costs no more than making them again. */
static int keep_quantised(const quern__shelf *s, const char *from, const char *staged,
                          const char *name, quern__manifest *m, quern_error *err)
{
    char *old = NULL, *new = NULL;
    bool recorded = false, stands = false;
    quern__manifest *there = quern__calloc(1, sizeof *there);
    int rc = there ? quern__shelf_manifest(there, from, &recorded, err)
                   : quern__fail_memory(err, sizeof *there);
    const quern__manifest_file *f =
        rc == QUERN_OK && recorded ? quern__manifest_find(there, name) : NULL;
    if (f && !quern__manifest_find(m, f->name))
        rc = file_stands(s, from, f, &stands, err);
    if (rc == QUERN_OK && stands)
        rc = quern__join(&old, from, f->name, err);
    if (rc == QUERN_OK && stands)
        rc = quern__join(&new, staged, f->name, err);
    if (rc == QUERN_OK && stands)
        rc = quern__rename(old, new, err);
    if (rc == QUERN_OK && stands)
        rc = quern__stage_record(m, staged, f->name, f->sha256, err);
    quern__free(old);
    quern__free(new);
    quern__free(there);
    return rc;
}

int quern__stage_publish(const quern__shelf *s, const char *staged, const char *name,
                         quern__manifest *m, quern_error *err)
{
    char *target = NULL, *old = NULL;
    quern__stat st = {0};
    size_t n = strlen(name);
    int rc = quern__join(&target, s->folder, name, err);
    if (rc == QUERN_OK)
        rc = quern__join3(&old, s->staging, name, ".old", err);
    if (rc)
        goto done;
    for (size_t i = 0; rc == QUERN_OK && quern__quantised_at(i); i++)
        rc = keep_quantised(s, target, staged, quern__quantised_at(i), m, err);
    if (rc)
        goto done;
    memcpy(m->name, name, n + 1); /* checked: shorter than the field */
    quern__rfc3339(quern__wall_ms(), m->imported_at);
    rc = quern__manifest_write(m, staged, err);
    if (rc == QUERN_OK)
        rc = quern__sync_dir(staged, err);
    if (rc == QUERN_OK)
        rc = quern__remove_tree(old, err);
    if (rc == QUERN_OK)
        rc = quern__stat_path(target, &st, err);
    if (rc == QUERN_OK && (st.exists || st.is_link))
        rc = quern__rename(target, old, err);
    if (rc == QUERN_OK)
        rc = quern__rename(staged, target, err);
    if (rc == QUERN_OK)
        rc = quern__remove_tree(old, err);
done:
    quern__free(target);
    quern__free(old);
    return rc;
}
