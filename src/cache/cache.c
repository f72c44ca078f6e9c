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
enum { MEMORY_ENTRIES = 10000, REDIS_MS = 250, REDIS_DAYS = 30, FLUSH_S = 300 };

struct quern_cache {
    quern__memory *memory; /* NULL: none */
    quern__disk *disk;
    quern__redis *redis;
    uint64_t ttl_s, disk_ttl_s, redis_ttl_s;
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
    c->redis_ttl_s = o.redis_ttl_s ? o.redis_ttl_s : (uint64_t)REDIS_DAYS * 86400;
    int rc = QUERN_OK;
    if (!o.no_memory)
        rc = quern__memory_new(&c->memory, o.entries ? o.entries : MEMORY_ENTRIES,
                               o.bytes ? o.bytes : MEMORY_BYTES, err);
    if (!rc && o.path)
        rc = quern__disk_open(&c->disk, o.path, (quern__bounds){o.disk_entries, o.disk_bytes},
                              o.disk_flush_s ? o.disk_flush_s : FLUSH_S, err);
    if (!rc && o.redis_url)
        rc = quern__redis_open(&c->redis, o.redis_url,
                               o.redis_timeout_ms ? o.redis_timeout_ms : REDIS_MS, err);
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
    quern__redis_close(c->redis);
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

/* The sooner of an entry's own end and that of a tier. */
static int64_t end_of(int64_t created_ms, int64_t ends_ms, uint64_t ttl_s)
{
    const uint64_t longest = UINT64_C(1)
                             << 40; /* seconds; longer is for ever, and would overflow */
    int64_t ends = ttl_s && ttl_s < longest ? created_ms + (int64_t)ttl_s * 1000 : 0;
    return ends && (!ends_ms || ends < ends_ms) ? ends : ends_ms;
}

/* What a later tier had, the earlier ones keep. */
static void give_to_earlier(const quern_cache *c, const quern__lookup *l, uint8_t mark, bool disk)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->found[i] != mark)
            continue;
        quern__entry e = {.key = &l->keys[i],
                          .dim = l->dim,
                          .tokens = l->tokens[i],
                          .created_ms = l->created_ms[i],
                          .vector = l->out + i * l->dim};
        e.ends_ms = end_of(e.created_ms, l->ends_ms[i], c->ttl_s);
        if (c->memory)
            quern__memory_put(c->memory, &e);
        e.ends_ms = end_of(e.created_ms, l->ends_ms[i], c->disk_ttl_s);
        if (disk && c->disk)
            quern__disk_put(c->disk, &e);
    }
}

size_t quern_cache_get(quern_cache *c, const quern_cache_key *keys, size_t n, uint32_t dim,
                       float *out, uint32_t *tokens, uint8_t *found)
{
    enum { BY_MEMORY = 1, BY_DISK, BY_REDIS };
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
        give_to_earlier(c, &l, BY_DISK, false);
    }
    if (c->redis && count < n) {
        count += quern__redis_get(c->redis, &l, BY_REDIS);
        give_to_earlier(c, &l, BY_REDIS, true);
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

/* Those that are to be kept, into `list`. */
static size_t list_entries(const quern_cache_key *keys, size_t n, uint32_t dim,
                           const float *vectors, const uint32_t *tokens, const uint8_t *skip,
                           quern__entry *list)
{
    int64_t now = quern__wall_ms();
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!(skip && skip[i]) && is_finite(vectors + i * dim, dim))
            list[kept++] = (quern__entry){.key = &keys[i],
                                          .dim = dim,
                                          .tokens = tokens ? tokens[i] : 0,
                                          .created_ms = now,
                                          .vector = vectors + i * dim};
    return kept;
}

static void set_ends(quern__entry *list, size_t n, uint64_t ttl_s, uint64_t tiers_s)
{
    for (size_t i = 0; i < n; i++)
        list[i].ends_ms = end_of(list[i].created_ms, 0, ttl_s ? ttl_s : tiers_s);
}

void quern_cache_put(quern_cache *c, const quern_cache_key *keys, size_t n, uint32_t dim,
                     const float *vectors, const uint32_t *tokens, const uint8_t *skip,
                     uint64_t ttl_s)
{
    quern__entry *list = dim ? quern__alloc_array(n, sizeof *list) : NULL;
    if (!list)
        return; /* not kept */
    size_t kept = list_entries(keys, n, dim, vectors, tokens, skip, list);
    set_ends(list, kept, ttl_s, c->ttl_s);
    for (size_t i = 0; c->memory && i < kept; i++)
        quern__memory_put(c->memory, &list[i]);
    set_ends(list, kept, ttl_s, c->disk_ttl_s);
    for (size_t i = 0; c->disk && i < kept; i++)
        quern__disk_put(c->disk, &list[i]);
    set_ends(list, kept, ttl_s, c->redis_ttl_s);
    if (c->redis)
        quern__redis_put(c->redis, list, kept, quern__wall_ms());
    quern__free(list);
}

/* ---- looking after it ---- */

int quern_cache_contains(quern_cache *c, const quern_cache_key *key)
{
    int64_t now = quern__wall_ms();
    return (c->memory && quern__memory_has(c->memory, key, now)) ||
           (c->disk && quern__disk_has(c->disk, key, now)) ||
           (c->redis && quern__redis_has(c->redis, key));
}

int quern_cache_remove(quern_cache *c, const quern_cache_key *key)
{
    bool there = c->memory && quern__memory_remove(c->memory, key);
    if (c->disk)
        there = quern__disk_remove(c->disk, key) || there;
    if (c->redis)
        there = quern__redis_remove(c->redis, key) || there;
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
    int rc = c->disk ? quern__disk_clear(c->disk, err) : QUERN_OK;
    return rc || !c->redis ? rc : quern__redis_clear(c->redis, err);
}

void quern_cache_resize(quern_cache *c, uint64_t entries, uint64_t bytes)
{
    if (c->memory)
        quern__memory_resize(c->memory, entries, bytes);
}

int quern_cache_resize_file(quern_cache *c, uint64_t entries, uint64_t bytes, uint64_t *gone,
                            quern_error *err)
{
    uint64_t some;
    QUERN__REQUIRE(c, err);
    if (!c->disk)
        return quern__fail(err, QUERN_EINVAL, 0, "a cache without a file has none to resize");
    return quern__disk_resize(c->disk, (quern__bounds){entries, bytes}, gone ? gone : &some, err);
}

void quern_cache_get_stats(quern_cache *c, int tier, quern_cache_stats *out)
{
    memset(out, 0, sizeof *out);
    if (tier == QUERN_CACHE_MEMORY && c->memory)
        quern__memory_stats(c->memory, out);
    if (tier == QUERN_CACHE_DISK && c->disk)
        quern__disk_stats(c->disk, out);
    if (tier == QUERN_CACHE_REDIS && c->redis)
        quern__redis_stats(c->redis, out);
}

int quern_cache_each(quern_cache *c, int (*fn)(const quern_cache_entry *e, void *ud), void *ud,
                     quern_error *err)
{
    QUERN__REQUIRE(c && fn, err);
    if (c->disk)
        return quern__disk_each(c->disk, fn, ud, err);
    return c->memory ? quern__memory_each(c->memory, fn, ud) : QUERN_OK;
}

int quern_cache_keep(quern_cache *c, const quern_cache_entry *given, quern_error *err)
{
    QUERN__REQUIRE(c && given && given->struct_size >= sizeof *given && given->vector, err);
    int64_t now = quern__wall_ms();
    if (!given->dimensions || given->dimensions > UINT16_MAX ||
        !is_finite(given->vector, given->dimensions))
        return quern__fail(err, QUERN_EINVAL, given->dimensions,
                           "an entry whose vector of %u numbers is none", given->dimensions);
    if (given->created_ms <= 0 || given->created_ms > now + 60000 || given->ends_ms < 0)
        return quern__fail(err, QUERN_EINVAL, given->created_ms,
                           "an entry that was made at %lld, which is no time that has been",
                           (long long)given->created_ms);
    quern__entry e = {.key = &given->key,
                      .dim = given->dimensions,
                      .tokens = given->tokens,
                      .created_ms = given->created_ms,
                      .vector = given->vector};
    const uint64_t ttls[] = {c->ttl_s, c->disk_ttl_s, c->redis_ttl_s};
    bool kept = false;
    for (int tier = 0; tier < 3; tier++) {
        e.ends_ms = end_of(e.created_ms, given->ends_ms, ttls[tier]);
        if (e.ends_ms && e.ends_ms <= now)
            continue;
        kept = true;
        if (tier == 0 && c->memory)
            quern__memory_put(c->memory, &e);
        else if (tier == 1 && c->disk)
            quern__disk_put(c->disk, &e);
        else if (tier == 2 && c->redis)
            quern__redis_put(c->redis, &e, 1, now);
    }
    return kept;
}
