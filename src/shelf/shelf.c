/*
 * shelf.c — finding, listing, verifying and removing what is on the shelf. The shelf is nothing but its
 * folders: no index to fall out of step. A folder that the user put there by hand is listed (origin
 * "unmanaged") and opens, but has no recorded hashes to verify.
 */
#include "shelf/shelf_stage.h"

#include "base/alloc.h"
#include "base/arena.h"

enum { MAX_MODELS = 4096 };

/* ---- find ---- */

static int not_found(const quern__shelf *s, const char *name, quern_error *err)
{
    if (quern__known_find(name))
        return quern__fail(
            err, QUERN_ENOTFOUND, 0,
            "model %s is not on the shelf (%.200s); get it with `quern model pull %s`", name,
            s->folder, name);
    return quern__fail(
        err, QUERN_ENOTFOUND, 0,
        "no model '%.100s' on the shelf (%.200s) and none published under that name; "
        "`quern model list` shows what is there, `quern model import PATH` adds one",
        name, s->folder);
}

static int find_path(const char *name, char **path, quern_error *err)
{
    quern__stat st;
    int rc = quern__stat_path(name, &st, err);
    if (rc == QUERN_OK && !st.is_dir && !(st.is_file && quern__weights_alone(name)))
        rc = quern__fail(err, QUERN_ENOTFOUND, 0, "%s: no such model folder", name);
    if (rc == QUERN_OK && (*path = quern__strdup(name)) == NULL)
        rc = quern__fail_memory(err, 0);
    return rc;
}

int quern_shelf_find(const char *name, const quern_shelf_options *opt, char **path,
                     quern_error *err)
{
    quern__shelf s;
    quern__stat st;
    char *folder = NULL;
    QUERN__REQUIRE(path, err);
    *path = NULL;
    QUERN__REQUIRE(name && name[0], err);
    if (strchr(name, '/'))
        return find_path(name, path, err);
    int rc = quern__shelf_begin(&s, opt, err);
    if (rc)
        return rc;
    if (quern__check_model_name(name, NULL) == QUERN_OK) {
        rc = quern__join(&folder, s.folder, name, err);
        if (rc == QUERN_OK)
            rc = quern__stat_path(folder, &st, err);
        if (rc || st.is_dir) {
            if (rc == QUERN_OK) {
                *path = folder;
                folder = NULL;
            }
            goto done;
        }
    }
    if (find_path(name, path, NULL) != QUERN_OK)
        rc = not_found(&s, name, err);
done:
    quern__free(folder);
    quern__shelf_end(&s);
    return rc;
}

/* ---- list ---- */

struct quern_shelf_list {
    quern__arena arena;
    quern_shelf_entry *entries;
    size_t n, cap;
    const quern__shelf *shelf; /* while listing */
    quern__manifest *manifest; /* scratch while listing */
    quern_error *err;
};

static char *keep(quern_shelf_list *l, const char *text)
{
    return quern__arena_copy(&l->arena, text, strlen(text));
}

/* 0: there is no such file. */
static int size_of(const char *folder, const char *name, uint64_t *bytes, quern_error *err)
{
    char *path = NULL;
    quern__stat st = {0};
    int rc = quern__join(&path, folder, name, err);
    *bytes = !rc && quern__stat_path(path, &st, NULL) == QUERN_OK && st.is_file ? st.size : 0;
    quern__free(path);
    return rc;
}

static int add_entry(quern_shelf_list *l, const char *name, const char *folder, uint64_t bytes)
{
    const quern__manifest *m = l->manifest;
    char weights[65];
    uint64_t int8, int4;
    int rc = quern__manifest_weights(m, weights, l->err);
    if (rc == QUERN_OK)
        rc = size_of(folder, QUERN__QUANTISED_NAME, &int8, l->err);
    if (rc == QUERN_OK)
        rc = size_of(folder, QUERN__FOUR_NAME, &int4, l->err);
    if (rc)
        return rc;
    if (l->n == MAX_MODELS)
        return quern__fail(l->err, QUERN_ENOMEM, 0, "%s: more than %d models on one shelf",
                           l->shelf->folder, MAX_MODELS);
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 8;
        void *grown = quern__resize_array(l->entries, cap, sizeof *l->entries);
        if (!grown)
            return quern__fail_memory(l->err, cap * sizeof *l->entries);
        l->entries = grown;
        l->cap = cap;
    }
    quern_shelf_entry e = {
        .name = keep(l, name),
        .path = keep(l, folder),
        .origin = keep(l, m->origin[0] ? m->origin : "unmanaged"),
        .imported_at = keep(l, m->imported_at),
        .weights_sha256 = keep(l, weights),
        .bytes = bytes,
        .int8_bytes = int8,
        .int4_bytes = int4,
    };
    if (!e.name || !e.path || !e.origin || !e.imported_at || !e.weights_sha256)
        return quern__fail_memory(l->err, 0);
    l->entries[l->n++] = e;
    return QUERN_OK;
}

/* Of a folder that has no manifest: the size of its weights, where they can be told. */
static int weigh(const char *folder, uint64_t *bytes, quern_error *err)
{
    quern__stat st = {0};
    quern__weights_files *files = quern__calloc(1, sizeof *files);
    int rc = files ? QUERN_OK : quern__fail_memory(err, sizeof *files);
    const bool listed = files && quern__weights_list(files, folder, NULL) == QUERN_OK;
    for (uint32_t i = 0; rc == QUERN_OK && listed && i < files->n; i++) {
        char *path = NULL;
        rc = quern__join(&path, folder, files->name[i], err);
        if (rc == QUERN_OK && quern__stat_path(path, &st, NULL) == QUERN_OK && st.is_file)
            *bytes += st.size;
        quern__free(path);
    }
    quern__free(files);
    return rc;
}

static int on_folder(void *ud, const char *name)
{
    quern_shelf_list *l = ud;
    quern__stat st = {0};
    char *folder = NULL, *config = NULL;
    uint64_t bytes = 0;
    bool managed = false;
    if (quern__check_model_name(name, NULL) != QUERN_OK)
        return QUERN_OK;
    int rc = quern__join(&folder, l->shelf->folder, name, l->err);
    for (int i = 0; rc == QUERN_OK && i < 2 && !st.is_file; i++) {
        quern__free(config);
        rc = quern__join(&config, folder, i ? "modules.json" : "config.json", l->err);
        if (rc == QUERN_OK && quern__stat_path(config, &st, NULL) != QUERN_OK)
            st.is_file = false;
    }
    if (rc || !st.is_file)
        goto done;
    rc = quern__shelf_manifest(l->manifest, folder, &managed, l->err);
    if (rc)
        goto done;
    if (managed) {
        for (uint32_t i = 0; i < l->manifest->n; i++)
            bytes += l->manifest->file[i].size;
    } else {
        rc = weigh(folder, &bytes, l->err);
    }
    if (rc == QUERN_OK)
        rc = add_entry(l, name, folder, bytes);
done:
    quern__free(folder);
    quern__free(config);
    return rc;
}

int quern_shelf_open(quern_shelf_list **out, const quern_shelf_options *opt, quern_error *err)
{
    quern__shelf s;
    quern__stat st;
    QUERN__REQUIRE(out, err);
    *out = NULL;
    int rc = quern__shelf_begin(&s, opt, err);
    if (rc)
        return rc;
    quern_shelf_list *l = quern__calloc(1, sizeof *l);
    if (!l || !(l->manifest = quern__calloc(1, sizeof *l->manifest))) {
        rc = quern__fail_memory(err, sizeof *l);
        goto done;
    }
    quern__arena_init(&l->arena, (size_t)64 << 20);
    l->shelf = &s;
    l->err = err;
    rc = quern__stat_path(s.folder, &st, err);
    if (rc == QUERN_OK && st.is_dir) /* no folder yet: an empty shelf */
        rc = quern__list_dir(s.folder, on_folder, l, err);
done:
    if (l) {
        quern__free(l->manifest);
        l->manifest = NULL;
        l->shelf = NULL;
        l->err = NULL;
    }
    quern__shelf_end(&s);
    if (rc == QUERN_OK)
        *out = l;
    else
        quern_shelf_free(l);
    return rc;
}

size_t quern_shelf_count(const quern_shelf_list *l)
{
    return l ? l->n : 0;
}

const quern_shelf_entry *quern_shelf_at(const quern_shelf_list *l, size_t i)
{
    return l && i < l->n ? &l->entries[i] : NULL;
}

void quern_shelf_free(quern_shelf_list *l)
{
    if (!l)
        return;
    quern__arena_dispose(&l->arena);
    quern__free(l->entries);
    quern__free(l->manifest);
    quern__free(l);
}

/* ---- verify ---- */

static int verify_file(const quern__shelf *s, const char *folder, const quern__manifest_file *f,
                       quern_error *err)
{
    const bool made = quern__is_quantised(f->name);
    const char *mend = made ? quern__quantise_command(quern__is_four_name(f->name))
                            : "pull or import the model again";
    const char *end = made ? " makes it again" : "";
    char *path = NULL, hex[65];
    quern__stat st;
    uint64_t size;
    int rc = quern__join(&path, folder, f->name, err);
    if (rc == QUERN_OK)
        rc = quern__stat_path(path, &st, err);
    if (rc)
        goto done;
    if (!st.is_file) {
        rc = quern__fail(err, QUERN_ENOTFOUND, 0, "%s: gone; %s%s", path, mend, end);
        goto done;
    }
    rc = quern__shelf_hash(s, path, f->name, hex, &size, err);
    if (rc == QUERN_OK && (size != f->size || strcmp(hex, f->sha256) != 0))
        rc = quern__fail(err, QUERN_EMISMATCH, 0, "%.200s: SHA-256 %s, recorded %s; %s%s", path,
                         hex, f->sha256, mend, end);
done:
    quern__free(path);
    return rc;
}

int quern_shelf_verify(const char *name, const quern_shelf_options *opt, quern_error *err)
{
    quern__shelf s;
    quern__stat st;
    char *folder = NULL, *note = NULL;
    quern__manifest *m = NULL;
    QUERN__REQUIRE(name, err);
    int rc = quern_shelf_find(name, opt, &folder, err);
    if (rc)
        return rc;
    rc = quern__shelf_begin(&s, opt, err);
    if (rc) {
        quern__free(folder);
        return rc;
    }
    rc = quern__join(&note, folder, QUERN__MANIFEST_NAME, err);
    if (rc == QUERN_OK)
        rc = quern__stat_path(note, &st, err);
    if (rc == QUERN_OK && !st.exists)
        rc = quern__fail(err, QUERN_ENOTFOUND, 0,
                         "%s: no " QUERN__MANIFEST_NAME " in it, so no hashes to compare with; "
                         "`quern model import` records them",
                         folder);
    if (rc == QUERN_OK && !(m = quern__calloc(1, sizeof *m)))
        rc = quern__fail_memory(err, sizeof *m);
    if (rc == QUERN_OK)
        rc = quern__manifest_read(m, folder, err);
    for (uint32_t i = 0; rc == QUERN_OK && i < m->n; i++)
        rc = verify_file(&s, folder, &m->file[i], err);
    quern__free(m);
    quern__free(note);
    quern__free(folder);
    quern__shelf_end(&s);
    return rc;
}

/* ---- remove ---- */

typedef struct sweep {
    const quern__shelf *s;
    const char *name;
    quern_error *err;
    bool removed;
} sweep;

/* Unfinished downloads: .staging/NAME.xxxxxxxx, and what an interrupted exchange left. */
static int sweep_staging(void *ud, const char *entry)
{
    sweep *w = ud;
    char *path = NULL;
    size_t n = strlen(w->name), rest = strlen(entry);
    if (rest <= n || memcmp(entry, w->name, n) != 0 || entry[n] != '.' ||
        strcmp(entry + n, ".lock") == 0)
        return QUERN_OK;
    bool ours = strcmp(entry + n, ".old") == 0 ||
                (rest == n + 9 && strspn(entry + n + 1, "0123456789abcdef") == 8);
    if (!ours)
        return QUERN_OK; /* another model whose name begins like this one's */
    int rc = quern__join(&path, w->s->staging, entry, w->err);
    if (rc == QUERN_OK)
        rc = quern__remove_tree(path, w->err);
    w->removed = w->removed || rc == QUERN_OK;
    quern__free(path);
    return rc;
}

static int remove_locked(const quern__shelf *s, const char *name, quern_error *err)
{
    char *folder = NULL, *old = NULL;
    quern__stat st;
    sweep w = {s, name, err, false};
    int rc = quern__join(&folder, s->folder, name, err);
    if (rc == QUERN_OK)
        rc = quern__join3(&old, s->staging, name, ".old", err);
    if (rc == QUERN_OK)
        rc = quern__stat_path(folder, &st, err);
    if (rc == QUERN_OK && (st.exists || st.is_link)) {
        /* Away in one step, so that nobody opens half a model; then the files. */
        rc = quern__remove_tree(old, err);
        if (rc == QUERN_OK)
            rc = quern__rename(folder, old, err);
        w.removed = rc == QUERN_OK;
    }
    if (rc == QUERN_OK)
        rc = quern__list_dir(s->staging, sweep_staging, &w, err);
    if (rc == QUERN_OK && !w.removed)
        rc = quern__fail(err, QUERN_ENOTFOUND, 0, "no model '%s' on the shelf (%.200s)", name,
                         s->folder);
    quern__free(folder);
    quern__free(old);
    return rc;
}

int quern_shelf_remove(const char *name, const quern_shelf_options *opt, quern_error *err)
{
    quern__shelf s;
    quern__stat st;
    quern__lock *lock = NULL;
    QUERN__REQUIRE(name, err);
    int rc = quern__check_model_name(name, err); /* a name, never a path: this deletes */
    if (rc == QUERN_OK)
        rc = quern__shelf_begin(&s, opt, err);
    if (rc)
        return rc;
    rc = quern__stat_path(s.folder, &st, err);
    if (rc == QUERN_OK && !st.is_dir)
        rc = quern__fail(err, QUERN_ENOTFOUND, 0, "no model '%s': there is no shelf at %.200s",
                         name, s.folder);
    if (rc == QUERN_OK)
        rc = quern__shelf_lock(&lock, &s, name, err);
    if (rc == QUERN_OK)
        rc = remove_locked(&s, name, err);
    quern__unlock_file(lock);
    quern__shelf_end(&s);
    return rc;
}
