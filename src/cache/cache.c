/*
 * cache.c — the tiers in their order: what the later one has, the earlier ones are given too, with the age it has there. The key is
 * made here, over fields with their lengths in front, so that no two different sets of them can ever be the same bytes.
 */
#include "quern/cache.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"
#include "base/sha256.h"
#include "cache/tiers.h"

#define MEMORY_BYTES (UINT64_C(64) << 20)
#define DISK_BYTES   (UINT64_C(1) << 30)
enum { MEMORY_ENTRIES = 10000 };

struct quern_cache {
    quern__memory *memory; /* NULL: none */
    quern__disk *disk;
    uint64_t ttl_s, disk_ttl_s;
};

int quern_cache_open(quern_cache **out, const quern_cache_options *opt, quern_error *err)
{
    quern_cache_options o;
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(!opt || opt->struct_size >= sizeof(size_t), err);
    QUERN_INIT(&o);
    if (opt)
        memcpy(&o, opt, QUERN__MIN(opt->struct_size, sizeof o));
    quern_cache *c = quern__calloc(1, sizeof *c);
    if (!c)
        return quern__fail_memory(err, sizeof *c);
    c->ttl_s = o.ttl_s;
    c->disk_ttl_s = o.disk_ttl_s;
    int rc = QUERN_OK;
    if (!o.no_memory)
        rc = quern__memory_new(&c->memory, o.entries ? o.entries : MEMORY_ENTRIES,
                               o.bytes ? o.bytes : MEMORY_BYTES, err);
    if (!rc && o.path)
        rc = quern__disk_open(&c->disk, o.path, o.disk_bytes ? o.disk_bytes : DISK_BYTES, err);
    if (rc) {
        quern_cache_free(c);
        return rc;
    }
    *out = c;
    return QUERN_OK;
}

void quern_cache_free(quern_cache *c)
{
    if (!c)
        return;
    quern__memory_free(c->memory);
    quern__disk_close(c->disk);
    quern__free(c);
}

int quern_cache_flush(quern_cache *c, quern_error *err)
{
    QUERN__REQUIRE(c, err);
    return c->disk ? quern__disk_flush(c->disk, err) : QUERN_OK;
}

/* ---- keys ---- */

static int add_field(quern__sha256 *h, const void *data, size_t n, quern_error *err)
{
    unsigned char length[8];
    for (size_t i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)n >> (8 * i));
    int rc = quern__sha256_add(h, length, sizeof length, err);
    return rc || !n ? rc : quern__sha256_add(h, data, n, err);
}

int quern_cache_key_of(const char *fingerprint, int as_query, int no_normalize, quern_str text,
                       quern_cache_key *out, quern_error *err)
{
    QUERN__REQUIRE(fingerprint && out && (text.ptr || !text.len), err);
    unsigned char how[2] = {as_query != 0, no_normalize != 0};
    quern__sha256 h;
    int rc = quern__sha256_begin(&h, err);
    if (!rc)
        rc = add_field(&h, "quern cache 1", 13, err);
    if (!rc)
        rc = add_field(&h, fingerprint, strlen(fingerprint), err);
    if (!rc)
        rc = add_field(&h, how, sizeof how, err);
    if (!rc)
        rc = add_field(&h, text.ptr, text.len, err);
    if (!rc)
        rc = quern__sha256_end(&h, out->bytes, err);
    quern__sha256_dispose(&h);
    return rc;
}

/* ---- get and put ---- */

/* One block for the three arrays that a look-up needs beside the caller's. */
typedef struct columns {
    uint32_t *tokens;
    int64_t *created_ms, *ends_ms;
    void *block;
} columns;

static bool make_columns(columns *c, size_t n)
{
    c->block =
        n < SIZE_MAX / 32 ? quern__alloc(n * (2 * sizeof(int64_t) + sizeof(uint32_t))) : NULL;
    c->created_ms = c->block;
    c->ends_ms = c->block ? c->created_ms + n : NULL;
    c->tokens = c->block ? (uint32_t *)(c->ends_ms + n) : NULL;
    return c->block != NULL;
}

static void give_to_memory(const quern_cache *c, const quern__lookup *l, uint8_t mark)
{
    for (size_t i = 0; c->memory && i < l->n; i++) {
        if (l->found[i] != mark)
            continue;
        quern__entry e = {.key = &l->keys[i],
                          .dim = l->dim,
                          .tokens = l->tokens[i],
                          .created_ms = l->created_ms[i],
                          .ends_ms = l->ends_ms[i],
                          .vector = l->out + i * l->dim};
        int64_t ends = c->ttl_s ? e.created_ms + (int64_t)c->ttl_s * 1000 : 0;
        if (ends && (!e.ends_ms || ends < e.ends_ms))
            e.ends_ms = ends;
        quern__memory_put(c->memory, &e);
    }
}

size_t quern_cache_get(quern_cache *c, const quern_cache_key *keys, size_t n, uint32_t dim,
                       float *out, uint32_t *tokens, uint8_t *found)
{
    enum { BY_MEMORY = 1, BY_DISK };
    columns more;
    size_t count = 0;
    memset(found, 0, n);
    if (!n || !make_columns(&more, n))
        return 0;
    quern__lookup l = {.keys = keys,
                       .n = n,
                       .dim = dim,
                       .out = out,
                       .tokens = tokens ? tokens : more.tokens,
                       .created_ms = more.created_ms,
                       .ends_ms = more.ends_ms,
                       .found = found,
                       .now_ms = quern__wall_ms()};
    if (c->memory)
        count = quern__memory_get(c->memory, &l, BY_MEMORY);
    if (c->disk && count < n) {
        count += quern__disk_get(c->disk, &l, BY_DISK);
        give_to_memory(c, &l, BY_DISK);
    }
    for (size_t i = 0; i < n; i++)
        found[i] = found[i] != 0;
    quern__free(more.block);
    return count;
}

static bool is_finite(const float *v, uint32_t dim)
{
    float sum = 0;
    for (uint32_t i = 0; i < dim; i++)
        sum += fabsf(v[i]);
    return isfinite(sum) && sum > 0;
}

void quern_cache_put(quern_cache *c, const quern_cache_key *keys, size_t n, uint32_t dim,
                     const float *vectors, const uint32_t *tokens, const uint8_t *skip,
                     uint64_t ttl_s)
{
    int64_t now = quern__wall_ms();
    for (size_t i = 0; i < n; i++) {
        if ((skip && skip[i]) || !dim || !is_finite(vectors + i * dim, dim))
            continue;
        quern__entry e = {.key = &keys[i],
                          .dim = dim,
                          .tokens = tokens ? tokens[i] : 0,
                          .created_ms = now,
                          .vector = vectors + i * dim};
        uint64_t memory_s = ttl_s ? ttl_s : c->ttl_s, disk_s = ttl_s ? ttl_s : c->disk_ttl_s;
        e.ends_ms = memory_s ? now + (int64_t)memory_s * 1000 : 0;
        if (c->memory)
            quern__memory_put(c->memory, &e);
        e.ends_ms = disk_s ? now + (int64_t)disk_s * 1000 : 0;
        if (c->disk)
            quern__disk_put(c->disk, &e);
    }
}

/* ---- looking after it ---- */

int quern_cache_contains(quern_cache *c, const quern_cache_key *key)
{
    int64_t now = quern__wall_ms();
    return (c->memory && quern__memory_has(c->memory, key, now)) ||
           (c->disk && quern__disk_has(c->disk, key, now));
}

int quern_cache_remove(quern_cache *c, const quern_cache_key *key)
{
    bool there = c->memory && quern__memory_remove(c->memory, key);
    if (c->disk)
        there = quern__disk_remove(c->disk, key) || there;
    return there;
}

uint64_t quern_cache_expire(quern_cache *c)
{
    int64_t now = quern__wall_ms();
    uint64_t gone = c->memory ? quern__memory_expire(c->memory, now) : 0;
    uint64_t disk = c->disk ? quern__disk_expire(c->disk, now) : 0;
    return QUERN__MAX(gone, disk); /* memory holds a part of what the file holds */
}

int quern_cache_clear(quern_cache *c, quern_error *err)
{
    QUERN__REQUIRE(c, err);
    if (c->memory)
        quern__memory_clear(c->memory);
    return c->disk ? quern__disk_clear(c->disk, err) : QUERN_OK;
}

void quern_cache_resize(quern_cache *c, uint64_t entries, uint64_t bytes)
{
    if (c->memory)
        quern__memory_resize(c->memory, entries, bytes);
}

void quern_cache_get_stats(quern_cache *c, int tier, quern_cache_stats *out)
{
    memset(out, 0, sizeof *out);
    if (tier == QUERN_CACHE_MEMORY && c->memory)
        quern__memory_stats(c->memory, out);
    if (tier == QUERN_CACHE_DISK && c->disk)
        quern__disk_stats(c->disk, out);
}

int quern_cache_each(quern_cache *c,
                     int (*fn)(const quern_cache_key *key, uint32_t dim, int64_t created_ms,
                               void *ud),
                     void *ud, quern_error *err)
{
    QUERN__REQUIRE(c && fn, err);
    if (c->disk)
        return quern__disk_each(c->disk, fn, ud, err);
    return c->memory ? quern__memory_each(c->memory, fn, ud) : QUERN_OK;
}
