/*
 * tiers.h — what a tier of the cache is made of inside. An entry's value is a vector with its tokens and its age; checks on
 * foreign bytes (a file's) are in value.c, once.
 */
#ifndef QUERN_CACHE_TIERS_H
#define QUERN_CACHE_TIERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "quern/cache.h"

/* Where a look-up's answers go; found[i] != 0 is passed over. */
typedef struct quern__lookup {
    const quern_cache_key *keys;
    size_t n;
    uint32_t dim;
    float *out;                    /* [n, dim] */
    uint32_t *tokens;              /* [n] */
    int64_t *created_ms, *ends_ms; /* [n], written where found; ends 0: never */
    uint8_t *found;                /* [n] */
    int64_t now_ms;
} quern__lookup;

typedef struct quern__entry {
    const quern_cache_key *key;
    uint32_t dim, tokens;
    int64_t created_ms, ends_ms;
    const float *vector;
} quern__entry;

/* memory.c */
typedef struct quern__memory quern__memory;
int quern__memory_new(quern__memory **out, uint64_t entries, uint64_t bytes, quern_error *err);
void quern__memory_free(quern__memory *m);
size_t quern__memory_get(quern__memory *m, quern__lookup *l, uint8_t mark);
void quern__memory_put(quern__memory *m, const quern__entry *e); /* without memory: not kept */
bool quern__memory_has(quern__memory *m, const quern_cache_key *key, int64_t now_ms);
bool quern__memory_remove(quern__memory *m, const quern_cache_key *key);
uint64_t quern__memory_expire(quern__memory *m, int64_t now_ms);
void quern__memory_clear(quern__memory *m);
void quern__memory_resize(quern__memory *m, uint64_t entries, uint64_t bytes);
void quern__memory_stats(quern__memory *m, quern_cache_stats *out);
int quern__memory_each(quern__memory *m, int (*fn)(const quern_cache_entry *e, void *ud), void *ud);

/* disk.c */
typedef struct quern__disk quern__disk;
#define QUERN__DISK_BYTES (UINT64_C(1) << 30) /* where nobody has said anything */
typedef struct quern__bounds {
    uint64_t entries, bytes;
} quern__bounds;
/* own, 0: nothing said. oldest_s: what has been put is written after that time at the latest. */
int quern__disk_open(quern__disk **out, const char *path, quern__bounds own, uint32_t oldest_s,
                     quern_error *err);
void quern__disk_close(quern__disk *d); /* flushes */
int quern__disk_flush(quern__disk *d, quern_error *err);
size_t quern__disk_get(quern__disk *d, quern__lookup *l, uint8_t mark);
void quern__disk_put(quern__disk *d, const quern__entry *e);
bool quern__disk_has(quern__disk *d, const quern_cache_key *key, int64_t now_ms);
bool quern__disk_remove(quern__disk *d, const quern_cache_key *key);
uint64_t quern__disk_expire(quern__disk *d, int64_t now_ms);
int quern__disk_clear(quern__disk *d, quern_error *err);
/* As quern_cache_resize_file. */
int quern__disk_resize(quern__disk *d, quern__bounds most, uint64_t *gone, quern_error *err);
void quern__disk_stats(quern__disk *d, quern_cache_stats *out);
int quern__disk_each(quern__disk *d, int (*fn)(const quern_cache_entry *e, void *ud), void *ud,
                     quern_error *err);

/* redis.c. Without it (QUERN_REDIS off) only open is missing: it says so in cache.c. */
typedef struct quern__redis quern__redis;
int quern__redis_open(quern__redis **out, const char *url, uint32_t timeout_ms, quern_error *err);
void quern__redis_close(quern__redis *r);
size_t quern__redis_get(quern__redis *r, quern__lookup *l, uint8_t mark);
void quern__redis_put(quern__redis *r, const quern__entry *entries, size_t n, int64_t now_ms);
bool quern__redis_has(quern__redis *r, const quern_cache_key *key);
bool quern__redis_remove(quern__redis *r, const quern_cache_key *key);
int quern__redis_clear(quern__redis *r, quern_error *err);
void quern__redis_stats(quern__redis *r, quern_cache_stats *out);

/* value.c: "qv1" | dim | tokens | created | ends | floats, little-endian, and the first 8 bytes of the SHA-256 of key and all
 * that: a value that stands under another key is damaged too. */
enum { QUERN__VALUE_HEAD = 28, QUERN__VALUE_SUM = 8 };
size_t quern__value_size(uint32_t dim);
int quern__value_write(const quern__entry *e, unsigned char *to, quern_error *err);
typedef enum quern__value_is {
    QUERN__VALUE_GOOD,
    QUERN__VALUE_OTHER,
    QUERN__VALUE_DAMAGED
} quern__value_is;
/* Into out [dim]; OTHER: of another dimension. */
quern__value_is quern__value_read(const quern_cache_key *key, quern_str value, uint32_t dim,
                                  float *out, quern__entry *e);

#endif
