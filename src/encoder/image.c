/*
 * image.c — a file of packed matrices: a page of header, then the bytes as they lie in memory.
 *
 * Rejected: trusting the file's name and size (a disk that loses a page would give wrong vectors: all of it is summed at
 * every open, which takes a tenth of what packing takes); SHA-256 for that sum (ten times slower, and who could write in a
 * folder of this user's alone could as well change the program); a lock (a rename replaces whole files, and a file that
 * is removed while it is mapped stays mapped).
 */
#include "encoder/image.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/sha256.h"
#include "kernels/kernels_table.h"

enum { PAGE = 4096, LANES = 4, OLD_S = 3600 };
static const char magic[8] = "QUERNPK";
static const char ending[] = ".image";

/* In the order of this machine's bytes: `order` is another number elsewhere. */
typedef struct header {
    char magic[8];
    uint32_t version, order;
    char key[64];
    uint64_t trace, size, sum;
    uint64_t own; /* sum of all before it */
} header;

uint64_t quern__image_hash(uint64_t seed, const void *data, size_t size)
{
    const uint64_t odd = 0x9e3779b97f4a7c15u;
    const uint8_t *p = data;
    uint64_t lane[LANES] = {seed, seed ^ odd, seed + odd, ~seed}, word;
    size_t at = 0;
    for (; size - at >= LANES * sizeof word; at += LANES * sizeof word)
        for (int i = 0; i < LANES; i++) {
            memcpy(&word, p + at + (size_t)i * sizeof word, sizeof word);
            lane[i] = (lane[i] ^ word) * odd;
            lane[i] ^= lane[i] >> 29;
        }
    uint64_t h = size * odd;
    for (int i = 0; i < LANES; i++)
        h = ((h ^ lane[i]) * odd) ^ (h >> 31);
    for (; at < size; at++)
        h = ((h ^ p[at]) * odd) ^ (h >> 32);
    return h;
}

int quern__image_default_folder(char **out, quern_error *err)
{
    const char *cache = quern__env("XDG_CACHE_HOME"), *home = quern__env("HOME");
    const bool own =
        cache && cache[0] == '/'; /* the XDG specification: a relative path is to be ignored */
    quern__buf b;
    *out = NULL;
    if (!own && !home)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "no place for packed images: neither XDG_CACHE_HOME nor HOME is set");
    quern__buf_init(&b, 4096);
    quern__buf_printf(&b, "%s%s/quern/packed", own ? cache : home, own ? "" : "/.cache");
    int rc = quern__buf_ok(&b, "a path", err);
    if (rc == QUERN_OK && !(*out = quern__buf_detach(&b)))
        rc = quern__fail_memory(err, 0);
    quern__buf_dispose(&b);
    return rc;
}

static char *path_of(const char *folder, const char *name, const char *end)
{
    const size_t n = strlen(folder) + strlen(name) + strlen(end) + 2;
    char *path = quern__alloc(n);
    if (path)
        snprintf(path, n, "%s/%s%s", folder, name, end);
    return path;
}

/* How the tables pack: two that share a name and pack otherwise have other images. */
static uint64_t probe(const quern__kernels *kernels, const quern__int8_kernels *int8)
{
    enum {
        K = QUERN__STEP_INPUTS + QUERN__K_GROUP + 1,
        ROOM = (K + QUERN__K_GROUP) * QUERN__PANEL_MAX
    };
    _Alignas(64) float floats[ROOM] = {0};
    _Alignas(64) int8_t bytes[ROOM] = {0}, fours[ROOM] = {0};
    float row[QUERN__PANEL_MAX][K];
    int8_t row8[QUERN__PANEL_MAX][K];
    const float *rows[QUERN__PANEL_MAX];
    const int8_t *rows8[QUERN__PANEL_MAX];
    for (uint32_t j = 0; j < QUERN__PANEL_MAX; j++)
        for (uint32_t k = 0; k < K; k++) {
            row[j][k] = (float)(j * K + k + 1);
            row8[j][k] = (int8_t)((j * K + k) % 127 + 1);
            rows[j] = row[j];
            rows8[j] = row8[j];
        }
    if (!int8) {
        kernels->pack(rows, K, floats);
        return quern__image_hash(kernels->panel, floats, sizeof floats);
    }
    int8->pack(rows8, K, bytes);
    int8->pack4(rows8, rows8, QUERN__STEP_INPUTS, fours);
    return quern__image_hash(quern__image_hash(int8->panel, bytes, sizeof bytes), fours,
                             sizeof fours);
}

int quern__image_key(quern__image_place *place, const char *weights_sha256, const char *calibration,
                     const quern__fidelity *fidelity, const quern__kernels *kernels,
                     const quern__int8_kernels *int8, quern_error *err)
{
    char text[512];
    uint8_t digest[32];
    const int n = snprintf(
        text, sizeof text, "quern packed %d\n%s\n%s\n%s\n%a %a %a\n%s\n%016llx\n",
        QUERN__IMAGE_VERSION, quern_version_string(), weights_sha256, calibration,
        (double)fidelity->mean, (double)fidelity->worst, (double)fidelity->ranking,
        int8 ? int8->name : quern__kernels_name(kernels), (unsigned long long)probe(kernels, int8));
    if (n < 0 || (size_t)n >= sizeof text)
        return quern__fail(err, QUERN_EINTERNAL, n, "the key of an image is too long");
    const int rc = quern__sha256_of(text, (size_t)n, digest, err);
    if (rc == QUERN_OK)
        quern__hex32(digest, place->key);
    return rc;
}

/* ---- reading ---- */

bool quern__image_is_there(const quern__image_place *place)
{
    quern__stat st = {0};
    char *path = path_of(place->folder, place->key, ending);
    const bool is = path && quern__stat_path(path, &st, NULL) == QUERN_OK && st.is_file;
    quern__free(path);
    return is;
}

static int not_one(const char *path, const char *why, quern_error *err)
{
    return quern__fail(err, QUERN_ENOTFOUND, 0, "%s: %s", path, why);
}

static int check(const quern__map *map, const char *path, const quern__image_place *place,
                 size_t size, header *h, quern_error *err)
{
    if (map->size < PAGE)
        return not_one(path, "cut short", err);
    memcpy(h, map->data, sizeof *h);
    if (memcmp(h->magic, magic, sizeof magic) != 0 || h->version != QUERN__IMAGE_VERSION ||
        h->order != 0x01020304 || h->own != quern__image_hash(0, h, offsetof(header, own)))
        return not_one(path, "no image of this version", err);
    if (memcmp(h->key, place->key, sizeof h->key) != 0 || h->size != size ||
        map->size - PAGE != size)
        return not_one(path, "of other weights", err);
    if (h->sum != quern__image_hash(h->trace, map->data + PAGE, size))
        return not_one(path, "damaged", err);
    return QUERN_OK;
}

int quern__image_open(quern__image *out, const quern__image_place *place, size_t size,
                      quern_error *err)
{
    header h;
    char *path = path_of(place->folder, place->key, ending);
    memset(out, 0, sizeof *out);
    if (!path)
        return quern__fail_memory(err, 0);
    int rc = quern__map_open_own(&out->map, path, err);
    if (rc == QUERN_OK)
        rc = check(&out->map, path, place, size, &h, err);
    if (rc == QUERN_OK && !place->map) {
        out->memory = quern__alloc_pages(size);
        if (out->memory)
            memcpy(out->memory, out->map.data + PAGE, size);
        else
            rc = quern__fail_memory(err, size);
    }
    if (rc == QUERN_OK) {
        quern__touch(path);
        out->data = place->map ? out->map.data + PAGE : out->memory;
        out->size = size;
        out->trace = h.trace;
        if (!place->map)
            quern__map_close(&out->map);
    } else {
        quern__log(QUERN_LOG_DEBUG, "packed", "%s", err && err->msg[0] ? err->msg : path);
        quern__image_close(out);
        rc = rc == QUERN_ENOMEM ? rc : QUERN_ENOTFOUND;
    }
    quern__free(path);
    return rc;
}

void quern__image_close(quern__image *i)
{
    quern__map_close(&i->map);
    quern__free_pages(i->memory, i->size);
    memset(i, 0, sizeof *i);
}

/* ---- keeping, and letting go ---- */

typedef struct sweep {
    const quern__image_place *place;
    uint64_t total;
    char oldest[128];
    int64_t oldest_ns;
} sweep;

static bool is_image(const char *name)
{
    const size_t n = strlen(name);
    return n == 64 + sizeof ending - 1 && strspn(name, "0123456789abcdef") == 64 &&
           strcmp(name + 64, ending) == 0;
}

/* Images by age; what an interrupted write left behind goes, once it is old. Nothing else in the folder is touched. */
static int look_at(void *ud, const char *name)
{
    sweep *s = ud;
    quern__stat st = {0};
    const bool image = is_image(name);
    const char *part = strstr(name, ending);
    char *path = path_of(s->place->folder, name, "");
    if (path && quern__stat_path(path, &st, NULL) == QUERN_OK && st.is_file && !st.is_link) {
        if (image && strncmp(name, s->place->key, 64) != 0) {
            s->total += st.size;
            if (!s->oldest[0] || st.mtime_ns < s->oldest_ns) {
                s->oldest_ns = st.mtime_ns;
                snprintf(s->oldest, sizeof s->oldest, "%s", name);
            }
        } else if (!image && name[0] == '.' && part == name + 65 &&
                   quern__wall_ms() - st.mtime_ns / 1000000 > (int64_t)OLD_S * 1000) {
            (void)quern__remove_file(path, NULL);
        }
    }
    quern__free(path);
    return QUERN_OK;
}

static int make_room(const quern__image_place *place, uint64_t size, quern_error *err)
{
    for (;;) {
        sweep s = {.place = place};
        int rc = quern__list_dir(place->folder, look_at, &s, err);
        if (rc != QUERN_OK || s.total + size <= place->limit || !s.oldest[0])
            return rc;
        char *path = path_of(place->folder, s.oldest, "");
        rc = path ? quern__remove_file(path, err) : quern__fail_memory(err, 0);
        quern__free(path);
        if (rc != QUERN_OK)
            return rc;
    }
}

void quern__image_keep(const quern__image_place *place, const void *data, size_t size,
                       uint64_t trace)
{
    static atomic_flag told = ATOMIC_FLAG_INIT;
    uint8_t page[PAGE] = {0};
    header h = {.version = QUERN__IMAGE_VERSION, .order = 0x01020304, .trace = trace, .size = size};
    quern_error err = {0};
    if (size + PAGE > place->limit)
        return;
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.key, place->key, sizeof h.key);
    h.sum = quern__image_hash(trace, data, size);
    h.own = quern__image_hash(0, &h, offsetof(header, own));
    memcpy(page, &h, sizeof h);
    char *path = path_of(place->folder, place->key, ending);
    int rc = path ? quern__make_private_dir(place->folder, &err) : QUERN_ENOMEM;
    if (rc == QUERN_OK)
        rc = make_room(place, size + PAGE, &err);
    if (rc == QUERN_OK)
        rc = quern__write_file_private(path, page, sizeof page, data, size, &err);
    if (rc != QUERN_OK && rc != QUERN_ENOMEM && !atomic_flag_test_and_set(&told))
        quern__log(QUERN_LOG_WARN, "packed",
                   "packed weights are not kept, and are packed at every start: %s", err.msg);
    quern__free(path);
}
