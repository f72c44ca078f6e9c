/*
 * memory.c — the vectors used last, in memory. Up to sixteen shards by the key's first byte, each with a lock of its own, a hash table
 * chained through an array of entries, and a list in the order of use through the same array: every operation is
 * constant time but for growing. Keys are SHA-256, so any of their bits are a hash, and nobody can choose them to collide.
 *
 * Vectors are blocks of their own: entries move when the array grows, vectors of several lengths lie side by side.
 */
#include "cache/tiers.h"

#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"

enum { SHARDS = 16, FEW = 4096, FEW_BYTES = 16 << 20, NONE = 0, FIRST_ROOM = 64 };

typedef struct entry {
    quern_cache_key key;
    uint32_t chain, older, newer; /* indices, NONE: the end */
    uint32_t dim, tokens, uses;
    int64_t created_ms, ends_ms;
    float *vector;
} entry;

typedef struct shard {
    quern__mutex *mutex;
    entry *entries;    /* [room], 0 is never used; newer links the free ones */
    uint32_t *buckets; /* [room], a power of two */
    uint32_t room, used, free, newest, oldest;
    uint64_t capacity, capacity_bytes, n, bytes;
    uint64_t hits, misses, evictions, expired;
    uint64_t uses; /* of those that are in it */
} shard;

struct quern__memory {
    shard shards[SHARDS];
    uint32_t
        n; /* in use: one where so few fit that "used last" must be exact, or a shard's part no vector */
};

static shard *shard_of(quern__memory *m, const quern_cache_key *key)
{
    return &m->shards[key->bytes[0] % m->n];
}

static uint32_t *bucket_of(const shard *s, const quern_cache_key *key)
{
    uint32_t hash;
    memcpy(&hash, key->bytes + 4, sizeof hash);
    return &s->buckets[hash & (s->room - 1)];
}

static uint64_t size_of(const entry *e)
{
    return sizeof *e + sizeof(uint32_t) + (uint64_t)e->dim * sizeof(float);
}

/* ---- lists ---- */

static void unlink_use(shard *s, uint32_t i)
{
    entry *e = &s->entries[i];
    *(e->newer ? &s->entries[e->newer].older : &s->newest) = e->older;
    *(e->older ? &s->entries[e->older].newer : &s->oldest) = e->newer;
}

static void link_newest(shard *s, uint32_t i)
{
    entry *e = &s->entries[i];
    e->older = s->newest;
    e->newer = NONE;
    *(s->newest ? &s->entries[s->newest].newer : &s->oldest) = i;
    s->newest = i;
}

static uint32_t find(const shard *s, const quern_cache_key *key)
{
    if (!s->room)
        return NONE;
    uint32_t i = *bucket_of(s, key);
    while (i && memcmp(s->entries[i].key.bytes, key->bytes, sizeof key->bytes) != 0)
        i = s->entries[i].chain;
    return i;
}

static void drop(shard *s, uint32_t i)
{
    entry *e = &s->entries[i];
    uint32_t *at = bucket_of(s, &e->key);
    while (*at != i)
        at = &s->entries[*at].chain;
    *at = e->chain;
    unlink_use(s, i);
    s->bytes -= size_of(e);
    s->uses -= e->uses;
    s->n--;
    quern__free(e->vector);
    e->vector = NULL;
    e->newer = s->free;
    s->free = i;
}

static bool is_over(const entry *e, int64_t now_ms)
{
    return e->ends_ms && now_ms >= e->ends_ms;
}

static void shrink(shard *s)
{
    while (s->n && (s->n > s->capacity || s->bytes > s->capacity_bytes)) {
        drop(s, s->oldest);
        s->evictions++;
    }
}

static bool grow(shard *s)
{
    uint32_t room = s->room ? s->room * 2 : FIRST_ROOM;
    if (room > UINT32_MAX / 4)
        return false;
    entry *entries = quern__resize_array(s->entries, room, sizeof *entries);
    if (!entries)
        return false;
    s->entries = entries;
    uint32_t *buckets = quern__calloc(room, sizeof *buckets);
    if (!buckets)
        return false;
    quern__free(s->buckets);
    s->buckets = buckets;
    if (!s->room)
        s->used = 1;
    s->room = room;
    for (uint32_t i = s->newest; i; i = s->entries[i].older) {
        uint32_t *at = bucket_of(s, &s->entries[i].key);
        s->entries[i].chain = *at;
        *at = i;
    }
    return true;
}

static uint32_t take_free(shard *s)
{
    uint32_t i = s->free;
    if (i) {
        s->free = s->entries[i].newer;
        return i;
    }
    if (s->used >= s->room && !grow(s))
        return NONE;
    return s->used++;
}

/* ---- operations ---- */

int quern__memory_new(quern__memory **out, uint64_t entries, uint64_t bytes, quern_error *err)
{
    quern__memory *m = quern__calloc(1, sizeof *m);
    int rc = m ? QUERN_OK : quern__fail_memory(err, sizeof *m);
    *out = NULL;
    for (size_t i = 0; i < SHARDS && !rc; i++)
        rc = quern__mutex_new(&m->shards[i].mutex, err);
    if (rc) {
        quern__memory_free(m);
        return rc;
    }
    m->n = entries < FEW || bytes < FEW_BYTES ? 1 : SHARDS;
    quern__memory_resize(m, entries, bytes);
    *out = m;
    return QUERN_OK;
}

void quern__memory_free(quern__memory *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        shard *s = &m->shards[i];
        while (s->n)
            drop(s, s->oldest);
        quern__free(s->entries);
        quern__free(s->buckets);
        quern__mutex_free(s->mutex);
    }
    quern__free(m);
}

static bool get_one(shard *s, quern__lookup *l, size_t at)
{
    uint32_t i = find(s, &l->keys[at]);
    entry *e = i ? &s->entries[i] : NULL;
    if (e && is_over(e, l->now_ms)) {
        drop(s, i);
        s->expired++;
        e = NULL;
    }
    if (!e || e->dim != l->dim) {
        s->misses++;
        return false;
    }
    unlink_use(s, i);
    link_newest(s, i);
    s->hits++;
    e->uses++;
    s->uses++;
    memcpy(l->out + at * l->dim, e->vector, (size_t)l->dim * sizeof(float));
    l->tokens[at] = e->tokens;
    l->created_ms[at] = e->created_ms;
    l->ends_ms[at] = e->ends_ms;
    return true;
}

size_t quern__memory_get(quern__memory *m, quern__lookup *l, uint8_t mark)
{
    size_t found = 0;
    for (size_t i = 0; i < l->n; i++) {
        shard *s = shard_of(m, &l->keys[i]);
        if (l->found[i])
            continue;
        quern__mutex_lock(s->mutex);
        if (get_one(s, l, i)) {
            l->found[i] = mark;
            found++;
        }
        quern__mutex_unlock(s->mutex);
    }
    return found;
}

static void put_one(shard *s, const quern__entry *given, float *vector)
{
    uint32_t i = find(s, given->key);
    if (i)
        drop(s, i);
    bool fits =
        size_of(&(entry){.dim = given->dim}) <= s->capacity_bytes; /* else all would go for it */
    if (!fits || !(i = take_free(s))) {
        quern__free(vector);
        return;
    }
    entry *e = &s->entries[i];
    uint32_t *at = bucket_of(s, given->key);
    *e = (entry){.key = *given->key,
                 .chain = *at,
                 .dim = given->dim,
                 .tokens = given->tokens,
                 .created_ms = given->created_ms,
                 .ends_ms = given->ends_ms,
                 .vector = vector};
    *at = i;
    link_newest(s, i);
    s->n++;
    s->bytes += size_of(e);
    shrink(s);
}

void quern__memory_put(quern__memory *m, const quern__entry *e)
{
    shard *s = shard_of(m, e->key);
    float *vector = quern__alloc_array(e->dim, sizeof *vector);
    if (!vector)
        return;
    memcpy(vector, e->vector, (size_t)e->dim * sizeof *vector);
    quern__mutex_lock(s->mutex);
    put_one(s, e, vector);
    quern__mutex_unlock(s->mutex);
}

bool quern__memory_has(quern__memory *m, const quern_cache_key *key, int64_t now_ms)
{
    shard *s = shard_of(m, key);
    quern__mutex_lock(s->mutex);
    uint32_t i = find(s, key);
    bool there = i && !is_over(&s->entries[i], now_ms);
    quern__mutex_unlock(s->mutex);
    return there;
}

bool quern__memory_remove(quern__memory *m, const quern_cache_key *key)
{
    shard *s = shard_of(m, key);
    quern__mutex_lock(s->mutex);
    uint32_t i = find(s, key);
    if (i)
        drop(s, i);
    quern__mutex_unlock(s->mutex);
    return i != NONE;
}

uint64_t quern__memory_expire(quern__memory *m, int64_t now_ms)
{
    uint64_t gone = 0;
    for (size_t k = 0; k < m->n; k++) {
        shard *s = &m->shards[k];
        quern__mutex_lock(s->mutex);
        for (uint32_t i = s->oldest, next; i; i = next) {
            next = s->entries[i].newer;
            if (is_over(&s->entries[i], now_ms)) {
                drop(s, i);
                s->expired++;
                gone++;
            }
        }
        quern__mutex_unlock(s->mutex);
    }
    return gone;
}

void quern__memory_clear(quern__memory *m)
{
    for (size_t k = 0; k < m->n; k++) {
        shard *s = &m->shards[k];
        quern__mutex_lock(s->mutex);
        while (s->n)
            drop(s, s->oldest);
        quern__mutex_unlock(s->mutex);
    }
}

/* Each shard has its part: the rest of the division goes to the first ones, so that the sum is what was asked for. */
void quern__memory_resize(quern__memory *m, uint64_t entries, uint64_t bytes)
{
    for (size_t k = 0; k < m->n; k++) {
        shard *s = &m->shards[k];
        quern__mutex_lock(s->mutex);
        s->capacity = entries / m->n + (k < entries % m->n);
        s->capacity_bytes = bytes / m->n + (k < bytes % m->n);
        shrink(s);
        quern__mutex_unlock(s->mutex);
    }
}

void quern__memory_stats(quern__memory *m, quern_cache_stats *out)
{
    double uses = 0;
    memset(out, 0, sizeof *out);
    out->there = 1;
    for (size_t k = 0; k < m->n; k++) {
        shard *s = &m->shards[k];
        quern__mutex_lock(s->mutex);
        uses += (double)s->uses;
        out->entries += s->n;
        out->capacity += s->capacity;
        out->bytes += s->bytes;
        out->capacity_bytes += s->capacity_bytes;
        out->hits += s->hits;
        out->misses += s->misses;
        out->evictions += s->evictions;
        out->expired += s->expired;
        quern__mutex_unlock(s->mutex);
    }
    out->mean_uses = out->entries ? uses / (double)out->entries : 0;
}

int quern__memory_each(quern__memory *m, int (*fn)(const quern_cache_entry *e, void *ud), void *ud)
{
    int rc = 0;
    for (size_t k = 0; k < m->n && !rc; k++) {
        shard *s = &m->shards[k];
        quern__mutex_lock(s->mutex);
        for (uint32_t i = s->oldest; i && !rc; i = s->entries[i].newer) {
            const entry *e = &s->entries[i];
            quern_cache_entry told = {sizeof told,   e->key,     e->dim,   e->tokens,
                                      e->created_ms, e->ends_ms, e->vector};
            rc = fn(&told, ud);
        }
        quern__mutex_unlock(s->mutex);
    }
    return rc;
}
