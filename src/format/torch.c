/*
 * torch.c — pytorch_model.bin: a dictionary of tensors as torch.save writes it. Since PyTorch 1.6 a zip
 * archive, NAME/data.pkl beside one stored file a storage (NAME/data/0 …); before that ("legacy") five
 * pickles one after another (a magic number, the protocol, the machine, the dictionary, the storages' keys)
 * and then each storage as u64 elements and data.
 *
 * What is in it must be names and tensors; anything else is refused (pickle.c says how), because what was
 * put beside the weights might change what they mean. A tensor is a view of its storage: contiguous, or a
 * transposed matrix, which are all that models are saved with.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/checked.h"
#include "base/compiler.h"
#include "format/pickle.h"
#include "format/weights_build.h"
#include "format/zip_view.h"

enum { MAX_KEY = 256 };

static const uint8_t magic[10] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
enum { LEGACY_PROTOCOL = 1001 };

static int fail(const quern__weights_part *p, size_t at, const char *what, quern_error *err)
{
    return quern__fail(err, QUERN_EFORMAT, (int64_t)at, "%s: %s, at byte %zu", p->name, what, at);
}

/* ---- from the dictionary to views ---- */

/* Bytes of a storage; its numel is a stranger's. */
static int storage_bytes(const quern__weights_part *p, const quern__pickle_storage *s,
                         uint64_t *out, quern_error *err)
{
    if (!quern__mul_u64(s->numel, s->width, out) || *out > p->size)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)s->at,
                           "%s: storage %.*s of %llu elements is larger than the file, at byte %zu",
                           p->name, (int)QUERN__MIN(s->key.len, 40), s->key.ptr,
                           (unsigned long long)s->numel, s->at);
    return QUERN_OK;
}

/* Row by row without gaps, or (rank 2) column by column. */
static bool strides_ok(const quern__pickle_tensor *t, bool *transposed)
{
    uint64_t expected = 1;
    bool plain = true;
    for (uint32_t i = t->rank; i-- > 0;) {
        plain = plain && (t->shape[i] == 1 || t->stride[i] == expected);
        if (!quern__mul_u64(expected, t->shape[i], &expected))
            return false;
    }
    *transposed = !plain && t->rank == 2 && t->stride[0] == 1 && t->stride[1] == t->shape[0];
    return plain || *transposed || expected == 0;
}

static int add_tensor(quern__weights *w, const quern__weights_part *p, const quern__pickle *k,
                      const quern__pickle_pair *pair, quern_error *err)
{
    if (pair->key.kind != QUERN__PICKLE_TEXT)
        return fail(p, pair->at, "a key of the dictionary is no text", err);
    const quern_str name = {pair->key.u.text, pair->key.n};
    if (pair->value.kind != QUERN__PICKLE_TENSOR)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)pair->at,
                           "%s: \"%.*s\" is no tensor, at byte %zu; only tensors are read", p->name,
                           (int)QUERN__MIN(name.len, QUERN__SHOWN), name.ptr, pair->at);
    const quern__pickle_tensor *from = &k->tensors[pair->value.u.i];
    const quern__pickle_storage *s = &k->storages[from->storage];
    uint64_t count = 1;
    bool transposed = false;
    for (uint32_t i = 0; i < from->rank; i++)
        if (!quern__mul_u64(count, from->shape[i], &count))
            return fail(p, from->at, "a tensor's sizes overflow", err);
    if (!strides_ok(from, &transposed))
        return quern__fail(err, QUERN_EFORMAT, (int64_t)from->at,
                           "%s: tensor %.*s has gaps or repeats (its strides are not those of its "
                           "sizes), at byte %zu; save it .contiguous()",
                           p->name, (int)QUERN__MIN(name.len, QUERN__SHOWN), name.ptr, from->at);
    if (from->offset > s->numel || count > s->numel - from->offset)
        return quern__fail(
            err, QUERN_EFORMAT, (int64_t)from->at,
            "%s: tensor %.*s reaches behind its storage of %llu elements, at byte %zu", p->name,
            (int)QUERN__MIN(name.len, QUERN__SHOWN), name.ptr, (unsigned long long)s->numel,
            from->at);
    quern__tensor *t;
    int rc = quern__weights_add(w, name, pair->at, &t, err);
    if (rc)
        return rc;
    t->dtype = s->dtype;
    t->rank = from->rank;
    memcpy(t->shape, from->shape, sizeof t->shape);
    t->transposed = transposed;
    t->offset = s->offset + (size_t)from->offset * s->width;
    t->count = (size_t)count;
    t->bytes = t->count * s->width;
    t->data = p->data + t->offset;
    return QUERN_OK;
}

/* The storages know where they lie: the dictionary's tensors. */
static int add_tensors(quern__weights *w, const quern__weights_part *p, const quern__pickle *k,
                       quern_error *err)
{
    if (k->result.kind != QUERN__PICKLE_DICT)
        return fail(p, k->at, "what was saved is no dictionary of tensors", err);
    int rc = QUERN_OK;
    for (size_t i = 0; rc == QUERN_OK && i < k->pairs_n; i++)
        if (k->pairs[i].owner == (uint32_t)k->result.u.i)
            rc = add_tensor(w, p, k, &k->pairs[i], err);
    return rc;
}

/* ---- zip ---- */

/* "NAME/" of the one entry NAME/data.pkl. */
static int find_root(const quern__weights_part *p, const quern__zip_view *z, quern_str *root,
                     const quern__zip_entry **pickle, quern_error *err)
{
    static const char leaf[] = "/data.pkl";
    *pickle = NULL;
    for (size_t i = 0; i < z->n; i++) {
        const quern_str name = z->entries[i].name;
        const size_t n = sizeof leaf - 1;
        if (name.len <= n || memcmp(name.ptr + name.len - n, leaf, n) != 0)
            continue;
        if (*pickle)
            return fail(p, z->entries[i].offset, "two data.pkl in one archive", err);
        *pickle = &z->entries[i];
        *root = (quern_str){name.ptr, name.len - n + 1};
    }
    return *pickle ? QUERN_OK : fail(p, 0, "an archive without data.pkl", err);
}

static const quern__zip_entry *find_entry(const quern__zip_view *z, quern_str root,
                                          const char *folder, quern_str name)
{
    char path[1024];
    const int n = snprintf(path, sizeof path, "%.*s%s%.*s", (int)root.len, root.ptr, folder,
                           (int)QUERN__MIN(name.len, MAX_KEY), name.ptr);
    return n < 0 ? NULL : quern__zip_view_find(z, (quern_str){path, (size_t)n});
}

static int read_zip(quern__weights *w, const quern__weights_part *p, const quern__zip_view *z,
                    quern__pickle *k, quern_error *err)
{
    const quern__zip_entry *pickle = NULL;
    quern_str root = {NULL, 0};
    int rc = find_root(p, z, &root, &pickle, err);
    if (rc)
        return rc;
    const quern__zip_entry *order = find_entry(z, root, "", (quern_str){"byteorder", 9}),
                           *code = find_entry(z, root, "", (quern_str){"constants.pkl", 13});
    if (code)
        return fail(p, code->offset, "a TorchScript program; save its state_dict", err);
    if (order && (order->size != 6 || memcmp(p->data + order->offset, "little", 6) != 0))
        return fail(p, order->offset, "numbers that are not little-endian", err);
    rc =
        quern__pickle_read(k, p->data, pickle->offset, pickle->offset + pickle->size, p->name, err);
    for (size_t i = 0; rc == QUERN_OK && i < k->storages_n; i++) {
        quern__pickle_storage *s = &k->storages[i];
        const quern__zip_entry *e =
            s->key.len > MAX_KEY ? NULL : find_entry(z, root, "data/", s->key);
        uint64_t bytes = 0;
        rc = storage_bytes(p, s, &bytes, err);
        if (rc == QUERN_OK && (!e || e->size != bytes))
            rc = quern__fail(err, QUERN_EFORMAT, (int64_t)s->at,
                             "%s: storage %.*s of %llu bytes is %s, at byte %zu", p->name,
                             (int)QUERN__MIN(s->key.len, 40), s->key.ptr, (unsigned long long)bytes,
                             e ? "another size in the archive" : "not in the archive", s->at);
        if (rc == QUERN_OK)
            s->offset = e->offset;
    }
    return rc ? rc : add_tensors(w, p, k, err);
}

/* ---- legacy ---- */

static int by_key(const void *a, const void *b)
{
    const quern__pickle_storage *const *x = a, *const *y = b;
    const quern_str s = (*x)->key, t = (*y)->key;
    const int by_text = memcmp(s.ptr, t.ptr, QUERN__MIN(s.len, t.len));
    return by_text ? by_text : (s.len > t.len) - (s.len < t.len);
}

/* The first of the records of this key; *n how many. */
static quern__pickle_storage **find_key(quern__pickle_storage **sorted, size_t count, quern_str key,
                                        size_t *n)
{
    const quern__pickle_storage wanted = {.key = key}, *pointer = &wanted;
    quern__pickle_storage **at =
        count ? bsearch(&pointer, sorted, count, sizeof *sorted, by_key) : NULL;
    *n = 0;
    if (!at)
        return NULL;
    while (at > sorted && by_key(at - 1, &pointer) == 0)
        at--;
    while (at + *n < sorted + count && by_key(at + *n, &pointer) == 0)
        ++*n;
    return at;
}

/* One storage at `at`, of the records that have its key. */
static int place(const quern__weights_part *p, quern__pickle_storage **same, size_t n, size_t *at,
                 quern_error *err)
{
    uint64_t numel, bytes = 0;
    if (p->size - *at < sizeof numel)
        return fail(p, *at, "the file is torn", err);
    memcpy(&numel, p->data + *at, sizeof numel);
    *at += sizeof numel;
    for (size_t i = 0; i < n; i++) {
        if (same[i]->numel != numel || same[i]->width != same[0]->width || same[i]->offset)
            return fail(p, *at, "a storage that is described otherwise, or twice", err);
        same[i]->offset = *at;
    }
    int rc = storage_bytes(p, same[0], &bytes, err);
    if (rc == QUERN_OK && bytes > p->size - *at)
        rc = fail(p, *at, "the file is torn inside a storage", err);
    *at += rc ? 0 : (size_t)bytes;
    return rc;
}

/* The list of keys, then each key's storage in its order. */
static int place_all(const quern__weights_part *p, quern__pickle *k, size_t at, quern_error *err)
{
    quern__pickle keys;
    quern__pickle_storage **sorted = quern__calloc(k->storages_n + 1, sizeof *sorted);
    int rc = quern__pickle_read(&keys, p->data, at, p->size, p->name, err);
    if (rc == QUERN_OK && !sorted)
        rc = quern__fail_memory(err, k->storages_n * sizeof *sorted);
    if (rc == QUERN_OK && keys.result.kind != QUERN__PICKLE_LIST)
        rc = fail(p, at, "no list of storages", err);
    at = keys.at;
    for (size_t i = 0; rc == QUERN_OK && i < k->storages_n; i++)
        sorted[i] = &k->storages[i];
    if (rc == QUERN_OK)
        qsort(sorted, k->storages_n, sizeof *sorted, by_key);
    for (size_t i = 0; rc == QUERN_OK && i < keys.pairs_n; i++) {
        const quern__pickle_value *v = &keys.pairs[i].value;
        size_t n = 0;
        quern__pickle_storage **same =
            v->kind == QUERN__PICKLE_TEXT
                ? find_key(sorted, k->storages_n, (quern_str){v->u.text, v->n}, &n)
                : NULL;
        rc = same ? place(p, same, n, &at, err)
                  : fail(p, keys.pairs[i].at, "a storage that no tensor uses", err);
    }
    for (size_t i = 0; rc == QUERN_OK && i < k->storages_n; i++)
        if (!k->storages[i].offset)
            rc = fail(p, k->storages[i].at, "a storage that is not in the file", err);
    if (rc == QUERN_OK && at != p->size)
        rc = fail(p, at, "bytes behind the last storage", err);
    quern__free(sorted);
    quern__pickle_dispose(&keys);
    return rc;
}

/* {"protocol_version": 1001, "little_endian": True, …} */
static bool little_endian(const quern__pickle *k)
{
    for (size_t i = 0; k->result.kind == QUERN__PICKLE_DICT && i < k->pairs_n; i++) {
        const quern__pickle_pair *pair = &k->pairs[i];
        if (pair->owner == (uint32_t)k->result.u.i && pair->key.kind == QUERN__PICKLE_TEXT &&
            pair->key.n == 13 && memcmp(pair->key.u.text, "little_endian", 13) == 0)
            return pair->value.kind == QUERN__PICKLE_BOOL && pair->value.u.i;
    }
    return false;
}

/* Pickles 1 to 3; *at: behind them. */
static int read_preamble(const quern__weights_part *p, size_t *at, quern_error *err)
{
    static const char *const wrong[3] = {"no file of torch.save: another magic number",
                                         "another version of torch.save's format",
                                         "numbers that are not little-endian"};
    int rc = QUERN_OK;
    for (int i = 0; rc == QUERN_OK && i < 3; i++) {
        quern__pickle k;
        rc = quern__pickle_read(&k, p->data, *at, p->size, p->name, err);
        const quern__pickle_value *v = &k.result;
        const bool right = i == 0 ? v->kind == QUERN__PICKLE_LONG && v->n == sizeof magic &&
                                        memcmp(v->u.text, magic, sizeof magic) == 0
                           : i == 1 ? v->kind == QUERN__PICKLE_INT && v->u.i == LEGACY_PROTOCOL
                                    : little_endian(&k);
        if (rc == QUERN_OK && !right)
            rc = fail(p, *at, wrong[i], err);
        *at = k.at;
        quern__pickle_dispose(&k);
    }
    return rc;
}

static int read_legacy(quern__weights *w, const quern__weights_part *p, quern__pickle *k,
                       quern_error *err)
{
    size_t at = 0;
    int rc = read_preamble(p, &at, err);
    if (rc == QUERN_OK)
        rc = quern__pickle_read(k, p->data, at, p->size, p->name, err);
    if (rc == QUERN_OK)
        rc = place_all(p, k, k->at, err);
    return rc ? rc : add_tensors(w, p, k, err);
}

int quern__torch_read(quern__weights *w, const quern__weights_part *p, quern_error *err)
{
    quern__pickle k = {0};
    quern__zip_view z = {0};
    int rc;
    if (p->size >= 4 && memcmp(p->data, "PK\3\4", 4) == 0) {
        rc = quern__zip_view_read(&z, p->data, p->size, p->name, err);
        if (rc == QUERN_OK)
            rc = read_zip(w, p, &z, &k, err);
    } else if (p->size >= 2 && memcmp(p->data, "\x80\2", 2) == 0) {
        rc = read_legacy(w, p, &k, err);
    } else {
        rc = fail(p, 0, "neither a zip archive nor a pickle: no file of torch.save", err);
    }
    quern__zip_view_dispose(&z);
    quern__pickle_dispose(&k);
    return rc;
}
