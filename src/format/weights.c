/*
 * weights.c — the set of tensors: its files, the look-up by name, and the widening of elements.
 *
 * Why views: a weight is read exactly once, when the encoder packs it, so a copy in the right order would
 * only double the peak; an element is fetched where it lies, transposed or unaligned or narrow. Rejected:
 * converting every format to one in memory (a file of 16-bit weights would cost three times its size).
 *
 * Invariants after a successful open: tensors are sorted by name, names are unique and hold no NUL; shape
 * product = count; [offset, offset + bytes) lies inside the part's bytes. A file must not be truncated by
 * others while it is mapped: replacing a model goes by rename, which leaves the old inode whole.
 */
#include "format/weights.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "format/weights_build.h"

/* Tensors are handed out as they lie in the file, and the files are little-endian. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "weights are used in place");

enum {
    MAX_TENSORS = 65536, /* the largest published encoders have a few hundred */
    MAX_NAME = QUERN__TENSOR_NAME,
    MAX_INDEX = 16 << 20
};

static int by_name(const void *a, const void *b)
{
    const quern__tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* ---- building ---- */

quern_str quern__tensor_name(quern_str name, char room[QUERN__TENSOR_NAME + 8])
{
    static const struct {
        const char *old, *now;
    } endings[] = {{"LayerNorm.gamma", "LayerNorm.weight"}, {"LayerNorm.beta", "LayerNorm.bias"}};
    for (size_t i = 0; i < QUERN__COUNT(endings); i++) {
        const size_t n = strlen(endings[i].old), now = strlen(endings[i].now);
        if (name.len < n || name.len > MAX_NAME ||
            memcmp(name.ptr + name.len - n, endings[i].old, n) != 0)
            continue;
        memcpy(room, name.ptr, name.len - n);
        memcpy(room + name.len - n, endings[i].now, now);
        return (quern_str){room, name.len - n + now};
    }
    return name;
}

int quern__weights_add(quern__weights *w, quern_str name, size_t at, quern__tensor **out,
                       quern_error *err)
{
    char room[MAX_NAME + 8];
    const quern__weights_part *p = &w->parts[w->part_count - 1];
    if (name.len == 0 || name.len > MAX_NAME || memchr(name.ptr, 0, name.len))
        return quern__fail(err, QUERN_EFORMAT, (int64_t)at,
                           "%s: a tensor's name is %zu bytes long or holds a NUL; 1 to %d bytes "
                           "without NUL wanted, at byte %zu",
                           p->name, name.len, MAX_NAME, at);
    if (w->count == MAX_TENSORS)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)at, "%s: more than %d tensors, at byte %zu",
                           p->name, MAX_TENSORS, at);
    if (w->count == w->cap) {
        size_t cap = w->cap ? w->cap * 2 : 128;
        quern__tensor *bigger = quern__resize_array(w->tensors, cap, sizeof *bigger);
        if (!bigger)
            return quern__fail_memory(err, cap * sizeof *bigger);
        w->tensors = bigger;
        w->cap = cap;
    }
    quern__tensor *t = &w->tensors[w->count];
    memset(t, 0, sizeof *t);
    name = quern__tensor_name(name, room);
    t->part = w->part_count - 1;
    t->name = quern__arena_copy(&w->names, name.ptr, name.len);
    if (!t->name)
        return quern__fail_memory(err, name.len + 1);
    w->count++;
    *out = t;
    return QUERN_OK;
}

static int check_names(const quern__weights *w, quern_error *err)
{
    for (size_t i = 1; i < w->count; i++) {
        const quern__tensor *a = &w->tensors[i - 1], *b = &w->tensors[i];
        if (strcmp(a->name, b->name) != 0)
            continue;
        if (a->part == b->part)
            return quern__fail(err, QUERN_EFORMAT, (int64_t)b->offset,
                               "%s: tensor %.*s: there are two of this name (bytes %zu and %zu)",
                               w->parts[b->part].name, QUERN__SHOWN, b->name, a->offset, b->offset);
        return quern__fail(err, QUERN_EFORMAT, (int64_t)b->offset,
                           "%s: tensor %.*s at byte %zu is in %.128s too", w->parts[b->part].name,
                           QUERN__SHOWN, b->name, b->offset, w->files.name[a->part]);
    }
    return QUERN_OK;
}

static int (*const readers[])(quern__weights *, const quern__weights_part *, quern_error *) = {
    [QUERN__SAFETENSORS] = quern__safetensors_read,
    [QUERN__TORCH] = quern__torch_read,
    [QUERN__ONNX] = quern__onnx_read,
    [QUERN__GGUF] = quern__gguf_read,
};
_Static_assert(QUERN__COUNT(readers) == QUERN__WEIGHTS_FORMATS, "a reader each");

/* Takes the map over, also on failure. */
static int add_part(quern__weights *w, quern__map map, const void *data, size_t size,
                    const char *name, quern_error *err)
{
    quern__weights_part *parts =
        quern__resize_array(w->parts, (size_t)w->part_count + 1, sizeof *parts);
    if (parts)
        w->parts = parts;
    char *copy = quern__arena_copy(&w->names, name, strlen(name));
    if (!parts || !copy) {
        quern__map_close(&map);
        return quern__fail_memory(err, strlen(name) + 1);
    }
    quern__weights_part *p = &parts[w->part_count++];
    *p = (quern__weights_part){map, data, size, copy};
    return QUERN_OK;
}

static int read_part(quern__weights *w, quern_error *err)
{
    return readers[w->files.format](w, &w->parts[w->part_count - 1], err);
}

static int add_file(quern__weights *w, const char *path, quern_error *err)
{
    quern__map map = {0};
    int rc = quern__map_open(&map, path, err);
    return rc ? rc : add_part(w, map, map.data, map.size, path, err);
}

static int add_file_of(quern__weights *w, const char *folder, uint32_t i, quern_error *err)
{
    quern__buf path;
    quern__buf_init(&path, 4096);
    quern__buf_printf(&path, "%s/%s", folder, w->files.name[i]);
    int rc = quern__buf_ok(&path, "a path", err);
    if (rc == QUERN_OK)
        rc = add_file(w, path.data, err);
    quern__buf_dispose(&path);
    return rc;
}

/* A graph comes behind the files that it points into. */
static int add_graph(quern__weights *w, const char *folder, quern_error *err)
{
    int rc = QUERN_OK;
    for (uint32_t i = 0; rc == QUERN_OK && i < w->files.n; i++)
        if (i != w->files.graph)
            rc = add_file_of(w, folder, i, err);
    if (rc == QUERN_OK)
        rc = add_file_of(w, folder, w->files.graph, err);
    return rc ? rc : read_part(w, err);
}

static int add_files(quern__weights *w, const char *folder, quern_error *err)
{
    int rc = QUERN_OK;
    if (w->files.format == QUERN__ONNX)
        return add_graph(w, folder, err);
    for (uint32_t i = 0; rc == QUERN_OK && i < w->files.n; i++) {
        rc = add_file_of(w, folder, i, err);
        if (rc == QUERN_OK)
            rc = read_part(w, err);
    }
    return rc;
}

static int begin(quern__weights **out, int format, quern_error *err)
{
    quern__weights *w = quern__calloc(1, sizeof *w);
    *out = w;
    if (!w)
        return quern__fail_memory(err, sizeof *w);
    w->files.format = format;
    quern__arena_init(&w->names, 0); /* bounded by the headers it copies from */
    return QUERN_OK;
}

/* The last step: rc and w are what was reached so far. */
static int settle(quern__weights **out, quern__weights *w, int rc, quern_error *err)
{
    if (rc == QUERN_OK && w->count)
        qsort(w->tensors, w->count, sizeof *w->tensors, by_name);
    if (rc == QUERN_OK)
        rc = check_names(w, err);
    *out = rc ? NULL : w;
    if (rc)
        quern__weights_free(w);
    return rc;
}

int quern__weights_open_file(quern__weights **out, int format, const char *path, quern_error *err)
{
    quern__weights *w;
    int rc = begin(&w, format, err);
    if (rc == QUERN_OK)
        rc = add_file(w, path, err);
    if (rc == QUERN_OK)
        rc = read_part(w, err);
    return settle(out, w, rc, err);
}

int quern__weights_open_leaf(quern__weights **out, int format, const char *folder, const char *leaf,
                             quern_error *err)
{
    quern__weights *w;
    *out = NULL;
    if (strlen(leaf) >= QUERN__WEIGHTS_NAME)
        return quern__fail(err, QUERN_EINVAL, 0, "%.40s…: a file's name of %d bytes and more", leaf,
                           QUERN__WEIGHTS_NAME);
    int rc = begin(&w, format, err);
    if (rc == QUERN_OK) {
        memcpy(w->files.name[0], leaf, strlen(leaf) + 1);
        w->files.n = 1;
        rc = add_files(w, folder, err);
    }
    return settle(out, w, rc, err);
}

int quern__weights_parse(quern__weights **out, int format, const void *data, size_t size,
                         const char *name, quern_error *err)
{
    quern__weights *w;
    int rc = begin(&w, format, err);
    if (rc == QUERN_OK)
        rc = add_part(w, (quern__map){0}, data, size, name, err);
    if (rc == QUERN_OK)
        rc = read_part(w, err);
    return settle(out, w, rc, err);
}

/* Reads the index once more, now that the tensors are known. */
static int check_index(const quern__weights *w, const char *path, quern_error *err)
{
    char *text = NULL;
    size_t len = 0;
    int rc = quern__read_file(path, MAX_INDEX, &text, &len, err);
    if (rc == QUERN_OK)
        rc = quern__weights_index_check(w, text, len, path, err);
    quern__free(text);
    return rc;
}

int quern__weights_open(quern__weights **out, const char *folder, quern_error *err)
{
    quern__weights *w;
    quern__buf path;
    int rc = begin(&w, 0, err);
    *out = NULL;
    if (rc)
        return rc;
    quern__buf_init(&path, 4096);
    rc = quern__weights_list(&w->files, folder, err);
    if (rc == QUERN_OK)
        rc = add_files(w, folder, err);
    rc = settle(&w, w, rc, err);
    if (rc == QUERN_OK && w->files.index[0]) {
        quern__buf_clear(&path);
        quern__buf_printf(&path, "%s/%s", folder, w->files.index);
        rc = quern__buf_ok(&path, "a path", err);
        if (rc == QUERN_OK)
            rc = check_index(w, path.data, err);
        if (rc) {
            quern__weights_free(w);
            w = NULL;
        }
    }
    quern__buf_dispose(&path);
    *out = w;
    return rc;
}

void quern__weights_free(quern__weights *w)
{
    if (!w)
        return;
    for (uint32_t i = 0; i < w->part_count; i++)
        quern__map_close(&w->parts[i].map);
    quern__arena_dispose(&w->names);
    quern__free(w->parts);
    quern__free(w->tensors);
    quern__free(w);
}

/* ---- looking ---- */

size_t quern__weights_count(const quern__weights *w)
{
    return w->count;
}

const quern__tensor *quern__weights_at(const quern__weights *w, size_t i)
{
    assert(i < w->count);
    return &w->tensors[i];
}

const quern__tensor *quern__weights_find(const quern__weights *w, const char *name)
{
    quern__tensor key = {.name = name};
    if (!w->count)
        return NULL;
    return bsearch(&key, w->tensors, w->count, sizeof key, by_name);
}

uint64_t quern__weights_bytes(const quern__weights *w)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < w->part_count; i++)
        sum += w->parts[i].size;
    return sum;
}

const quern__weights_files *quern__weights_list_of(const quern__weights *w)
{
    return &w->files;
}

const quern__stat *quern__weights_mapped(const quern__weights *w, uint32_t i)
{
    const uint32_t graph = w->files.graph; /* it was added behind the others */
    assert(i < w->part_count);
    if (w->files.format == QUERN__ONNX)
        i = i == graph ? w->part_count - 1 : i - (i > graph);
    return &w->parts[i].map.file;
}

const quern__weights_graph *quern__weights_graph_of(const quern__weights *w)
{
    return &w->graph;
}

void quern__weights_forget(const quern__weights *w, const quern__tensor *t)
{
    const quern__map *map = &w->parts[t->part].map;
    if (map->data)
        quern__map_forget(map, t->offset, t->bytes);
}

/* ---- elements ---- */

/* IEEE half to single in integers only, so that no floating-point mode of the caller's matters. */
static uint32_t half_bits(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, fraction = h & 0x3ff;

    if (exponent == 31)
        return sign | 0x7f800000u | fraction << 13;
    if (exponent)
        return sign | (exponent + 112) << 23 | fraction << 13;
    if (!fraction)
        return sign;
    exponent = 113; /* subnormal: every one is a normal single */
    while (!(fraction & 0x400)) {
        fraction <<= 1;
        exponent--;
    }
    return sign | exponent << 23 | (fraction & 0x3ff) << 13;
}

/* Value i of blocks of 32: an fp16 scale, then 32 int8. The product has 19 bits, so it is exact. */
static float scaled_element(const uint8_t *data, size_t i)
{
    const uint8_t *block = data + i / 32 * 34;
    uint16_t half;
    float scale;
    memcpy(&half, block, sizeof half);
    const uint32_t bits = half_bits(half);
    memcpy(&scale, &bits, sizeof scale);
    const int8_t code = (int8_t)block[2 + i % 32];
    return scale * (float)code;
}

/* Element i of CODES. The difference has 9 bits, so it is exact; the product is rounded once. */
static float coded_element(const quern__tensor *t, size_t i)
{
    const uint8_t *codes = t->data, *scales = t->scales, *zeros = t->zeros;
    const size_t columns = t->rank < 2 ? 1 : (size_t)t->shape[t->transposed ? 0 : 1];
    const size_t at = t->scale_count == 1 ? 0 : t->by_row ? i / columns : i % columns;
    float scale;
    memcpy(&scale, scales + 4 * at, sizeof scale);
    const int code = t->is_unsigned ? codes[i] : (int8_t)codes[i];
    const int zero = !zeros ? 0 : t->is_unsigned ? zeros[at] : (int8_t)zeros[at];
    return (float)(code - zero) * scale;
}

/* Stored element i; the file's data need not be aligned. */
static float element(const quern__tensor *t, size_t i)
{
    const uint8_t *data = t->data;
    uint32_t bits;
    uint16_t narrow;
    float out;
    if (t->dtype == QUERN__F32) {
        memcpy(&out, data + 4 * i, sizeof out);
        return out;
    }
    if (t->dtype == QUERN__Q8_0)
        return scaled_element(data, i);
    if (t->dtype == QUERN__CODES)
        return coded_element(t, i);
    memcpy(&narrow, data + 2 * i, sizeof narrow);
    bits = t->dtype == QUERN__BF16 ? (uint32_t)narrow << 16 : half_bits(narrow);
    memcpy(&out, &bits, sizeof out);
    return out;
}

const float *quern__tensor_floats(const quern__tensor *t)
{
    const bool plain =
        t->dtype == QUERN__F32 && !t->transposed && (uintptr_t)t->data % _Alignof(float) == 0;
    return plain ? t->data : NULL;
}

void quern__tensor_read_f32(const quern__tensor *t, size_t first, size_t n, float *out)
{
    assert(t->dtype != QUERN__OTHER_DTYPE && first <= t->count && n <= t->count - first);
    if (n == 0)
        return;
    if (t->transposed) {
        const size_t rows = (size_t)t->shape[0], columns = (size_t)t->shape[1],
                     pitch = t->pitch ? t->pitch : rows;
        size_t row = first / columns, column = first % columns;
        for (size_t i = 0; i < n; i++) {
            out[i] = element(t, column * pitch + row);
            if (++column == columns) {
                column = 0;
                row++;
            }
        }
    } else if (t->dtype == QUERN__F32) {
        memcpy(out, (const uint8_t *)t->data + 4 * first, n * sizeof *out);
    } else {
        for (size_t i = 0; i < n; i++)
            out[i] = element(t, first + i);
    }
}

const char *quern__quantised_at(size_t i)
{
    static const char *const names[] = {QUERN__QUANTISED_NAME, QUERN__FOUR_NAME};
    return i < QUERN__COUNT(names) ? names[i] : NULL;
}

bool quern__is_quantised(const char *name)
{
    const char *one;
    for (size_t i = 0; (one = quern__quantised_at(i)); i++)
        if (strcmp(name, one) == 0)
            return true;
    return false;
}

bool quern__is_four_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return strcmp(slash ? slash + 1 : path, QUERN__FOUR_NAME) == 0;
}

const char *quern__quantise_command(bool four)
{
    return four ? "quern model quantize --precision int4" : "quern model quantize";
}
