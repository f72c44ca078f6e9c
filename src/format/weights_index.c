/*
 * weights_index.c — model.safetensors.index.json and its like: which tensor is in which of the files that
 * a large model is cut into. {"metadata":{…},"weight_map":{"name":"model-00001-of-00002.safetensors",…}}
 *
 * Read twice, before and after the shards: first for the names of the files, then each line against what
 * they hold. Nothing of it is kept between, so memory is bounded by the file. A tensor that is in a shard
 * and not in the index, or in another shard than it says, is refused: either is how a half-finished
 * download, or a mixture of two models, looks.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/json.h"
#include "format/weights_build.h"

#define CUT(s) (int)QUERN__MIN((s).len, QUERN__SHOWN), (s).ptr

typedef int (*on_line)(void *ud, quern__json *j, quern_str name, quern_str file, quern_error *err);

static int read_map(quern__json *j, on_line fn, void *ud, quern_error *err)
{
    quern_str key, file;
    char name[QUERN__TENSOR_NAME];
    int rc = quern__json_enter_object(j, err);
    if (rc)
        return rc;
    while ((rc = quern__json_next_key(j, &key, err)) == 1) {
        /* The key lives until the next string only. */
        if (key.len > sizeof name)
            return quern__json_fail(j, err, "a tensor's name is %zu bytes long", key.len);
        if (key.len)
            memcpy(name, key.ptr, key.len);
        const quern_str kept = {name, key.len};
        rc = quern__json_string(j, &file, err);
        if (rc == QUERN_OK)
            rc = fn(ud, j, kept, file, err);
        if (rc)
            return rc;
    }
    return rc;
}

static int read_index(const char *text, size_t len, const char *name, on_line fn, void *ud,
                      quern_error *err)
{
    quern__json j;
    quern_str key;
    bool seen = false;
    quern__json_init(&j, text, len, name);
    int rc = quern__json_enter_object(&j, err);
    while (rc >= 0 && (rc = quern__json_next_key(&j, &key, err)) == 1) {
        const bool map = quern__str_is(key, "weight_map"); /* the key lives until the next string */
        if (!map)
            rc = quern__json_skip(&j, err);
        else if (seen)
            rc = quern__json_fail(&j, err, "weight_map twice");
        else
            rc = read_map(&j, fn, ud, err);
        seen = seen || map;
        if (rc)
            break;
    }
    if (rc == QUERN_OK)
        rc = quern__json_end(&j, err);
    if (rc == QUERN_OK && !seen)
        rc = quern__json_fail(&j, err, "no weight_map");
    quern__json_dispose(&j);
    return rc;
}

/* A shard lies beside its index, under a plain name. */
bool quern__weights_is_leaf(quern_str s)
{
    if (s.len == 0 || s.len >= QUERN__WEIGHTS_NAME || s.ptr[0] == '.')
        return false;
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == '/' || s.ptr[i] == '\\' ||
            s.ptr[i] == 0x7f || s.ptr[i] == ':')
            return false;
    return true;
}

static int add_file(void *ud, quern__json *j, quern_str name, quern_str file, quern_error *err)
{
    quern__weights_files *files = ud;
    for (uint32_t i = 0; i < files->n; i++)
        if (quern__str_is(file, files->name[i]))
            return QUERN_OK;
    if (!quern__weights_is_leaf(file))
        return quern__json_fail(j, err,
                                "tensor %.*s: \"%.*s\" is no name of a file beside this one",
                                CUT(name), CUT(file));
    const char *dot = files->index + strcspn(files->index, ".");
    const size_t ending = *dot ? strcspn(dot + 1, ".") + 1 : 0; /* ".safetensors" */
    if (file.len <= ending || memcmp(file.ptr + file.len - ending, dot, ending) != 0)
        return quern__json_fail(j, err, "tensor %.*s: \"%.*s\" does not end in %.*s", CUT(name),
                                CUT(file), (int)ending, dot);
    if (files->n == QUERN__WEIGHTS_FILES)
        return quern__json_fail(j, err, "more than %d files", QUERN__WEIGHTS_FILES);
    memcpy(files->name[files->n], file.ptr, file.len);
    files->name[files->n++][file.len] = 0;
    return QUERN_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

int quern__weights_index_files(quern__weights_files *files, const char *text, size_t len,
                               const char *name, quern_error *err)
{
    files->n = 0;
    int rc = read_index(text, len, name, add_file, files, err);
    if (rc == QUERN_OK && !files->n)
        rc = quern__fail(err, QUERN_EFORMAT, 0, "%s: names no file (byte 0)", name);
    if (rc == QUERN_OK)
        qsort(files->name, files->n, sizeof files->name[0], by_text);
    return rc;
}

typedef struct check {
    const quern__weights *w;
    uint8_t *seen; /* [count] */
} check;

static int check_line(void *ud, quern__json *j, quern_str name, quern_str file, quern_error *err)
{
    check *c = ud;
    char room[QUERN__TENSOR_NAME + 8], known[QUERN__TENSOR_NAME + 9];
    const quern_str now = quern__tensor_name(name, room);
    if (now.len)
        memcpy(known, now.ptr, now.len);
    known[now.len] = 0;
    const quern__tensor *t =
        now.len && memchr(known, 0, now.len) ? NULL : quern__weights_find(c->w, known);
    if (!t)
        return quern__json_fail(j, err, "tensor %.*s is in none of the files", CUT(name));
    if (!quern__str_is(file, c->w->files.name[t->part]))
        return quern__json_fail(j, err, "tensor %.*s is in %s, not in %.*s", CUT(name),
                                c->w->files.name[t->part], CUT(file));
    if (c->seen[t - c->w->tensors]++)
        return quern__json_fail(j, err, "tensor %.*s is there twice", CUT(name));
    return QUERN_OK;
}

int quern__weights_index_check(const quern__weights *w, const char *text, size_t len,
                               const char *name, quern_error *err)
{
    check c = {w, quern__calloc(w->count + 1, 1)};
    if (!c.seen)
        return quern__fail_memory(err, w->count);
    int rc = read_index(text, len, name, check_line, &c, err);
    for (size_t i = 0; rc == QUERN_OK && i < w->count; i++)
        if (!c.seen[i])
            rc = quern__fail(err, QUERN_EFORMAT, 0,
                             "%s: tensor %.*s at byte %zu of %s is not in the index", name,
                             QUERN__SHOWN, w->tensors[i].name, w->tensors[i].offset,
                             w->files.name[w->tensors[i].part]);
    quern__free(c.seen);
    return rc;
}
