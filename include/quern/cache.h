/*
 * quern/cache.h — vectors that were paid for once. A key is the SHA-256 of everything that decides a vector (fingerprint, prompt,
 * scaling) and the text, so nothing in a cache can ever be stale: it is right for ever, or never asked for again. Up to
 * three tiers are asked in turn: memory, a file, Redis; what a later one had, the earlier ones keep too.
 *
 * A cache never fails a call: a tier that cannot answer counts as one that has nothing, and says so in its counters. What is read
 * is believed only after its length, checksum, numbers and norm are right; anything else is a miss and overwritten.
 * Any number of threads may use one cache.
 */
#ifndef QUERN_CACHE_H
#define QUERN_CACHE_H

#include "quern/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quern_cache quern_cache;

typedef struct quern_cache_options {
    size_t struct_size;
    /* memory: the vectors used last, up to both; */
    int no_memory;    /* 1: none */
    uint64_t entries; /* 0: 10,000 */
    uint64_t bytes;   /* 0: 64 MiB */
    uint64_t ttl_s;   /* 0: for ever. Age counts from creation; reading never extends it */
    /* a file (SQLite), shared by processes: */
    const char *path; /* NULL: none. Made when absent */
    uint64_t
        disk_bytes; /* of vectors, the ones used last; 0: what the file's bounds say, else 1 GiB */
    uint64_t disk_ttl_s; /* 0: for ever */
    /* a Redis, shared by machines: */
    const char
        *redis_url;       /* redis://[[user]:password@]host[:port][/db], unix:///path; NULL: none */
    uint64_t redis_ttl_s; /* 0: 30 days */
    uint32_t redis_timeout_ms; /* 0: 250 */
    uint64_t disk_entries; /* and so many vectors; 0: what the file's bounds say, else any number */
    uint32_t disk_flush_s; /* what was put is in the file after that time at the latest; 0: 300 */
} quern_cache_options;

/* EFORMAT, EIO, EUNSUPPORTED (a file of a newer quern): the file, by name. EINVAL: no such URL of a Redis; one that does not
 * answer is no fault, now or later. EUNSUPPORTED: built without Redis, or one behind TLS (rediss://). */
QUERN_API int quern_cache_open(quern_cache **out, const quern_cache_options *opt, quern_error *err);
/* Writes what is left to write. NULL is fine; no embedder may be using it. */
QUERN_API void quern_cache_free(quern_cache *c);
/* Writes to the file what has been put since the last time; by itself that happens every 512 vectors, and
 * 300 seconds after the first of them. */
QUERN_API int quern_cache_flush(quern_cache *c, quern_error *err);

typedef struct quern_cache_key {
    uint8_t bytes[32];
} quern_cache_key;

/* fingerprint: the embedder's hash (64 hex digits). as_query: the text is embedded as a query, not as a document. */
QUERN_API int quern_cache_key_of(const char *fingerprint, int as_query, int no_normalize,
                                 quern_str text, quern_cache_key *out, quern_error *err);

/* Of n keys, those that are there: out [n, dim] and tokens [n] (NULL: not wanted) are written where found[i] is 1. A vector
 * of another dimension is none. Returns how many were found. */
QUERN_API size_t quern_cache_get(quern_cache *c, const quern_cache_key *keys, size_t n,
                                 uint32_t dim, float *out, uint32_t *tokens, uint8_t *found);
/* Those of n where skip[i] is 0 (NULL: all). ttl_s 0: each tier's own. Vectors that are not finite are not kept. */
QUERN_API void quern_cache_put(quern_cache *c, const quern_cache_key *keys, size_t n, uint32_t dim,
                               const float *vectors, const uint32_t *tokens, const uint8_t *skip,
                               uint64_t ttl_s);
/* 1 when any tier has it (that counts neither as a hit nor as use). */
QUERN_API int quern_cache_contains(quern_cache *c, const quern_cache_key *key);
QUERN_API int quern_cache_remove(quern_cache *c, const quern_cache_key *key); /* 1: it was there */
QUERN_API uint64_t quern_cache_expire(quern_cache *c); /* removes what is too old; how many */
QUERN_API int quern_cache_clear(quern_cache *c, quern_error *err);
/* The memory tier's size from now on; what is too much goes at once, the ones not used for longest first. */
QUERN_API void quern_cache_resize(quern_cache *c, uint64_t entries, uint64_t bytes);
/* The file's bounds from now on, kept in it: they hold for every process, at once, and options can only narrow them. 0: as
 * before, UINT64_MAX: none (of bytes: the 1 GiB again). What is too much goes now, the ones not used for longest first (*gone,
 * NULL: not wanted), in short transactions, and the file becomes smaller. EINVAL: there is no file. On another error, as
 * EBUSY while somebody reads, the bounds hold if they were set; the same call again does the rest. */
QUERN_API int quern_cache_resize_file(quern_cache *c, uint64_t entries, uint64_t bytes,
                                      uint64_t *gone, quern_error *err);

enum quern_cache_tier {
    QUERN_CACHE_MEMORY,
    QUERN_CACHE_DISK,
    QUERN_CACHE_REDIS,
    QUERN_CACHE_TIERS
};
typedef struct quern_cache_stats {
    int there; /* 0: there is no such tier, and all else is 0 */
    uint64_t entries, capacity, bytes,
        capacity_bytes; /* capacity 0: bounded by bytes only; Redis: all 0 */
    /* look-ups that this tier was asked for, and what went out of it: since it was opened; of a file, since it was made, by all
     * who have used it */
    uint64_t hits, misses, evictions, expired;
    uint64_t damaged, failures; /* entries that were not believed; calls that it could not answer */
    double mean_uses;           /* hits of an entry that is there, on average */
} quern_cache_stats;
QUERN_API void quern_cache_get_stats(quern_cache *c, int tier, quern_cache_stats *out);
/* What is kept under a key, borrowed. */
typedef struct quern_cache_entry {
    size_t struct_size;
    quern_cache_key key;
    uint32_t dimensions, tokens;
    int64_t created_ms, ends_ms; /* Unix milliseconds; ends 0: never */
    const float *vector;         /* [dimensions] */
} quern_cache_entry;
/* Of the file if there is one, else of memory, the ones used last in the end. fn must not use the cache; a return that is
 * not 0 ends it. */
QUERN_API int quern_cache_each(quern_cache *c, int (*fn)(const quern_cache_entry *e, void *ud),
                               void *ud, quern_error *err);
/* Keeps an entry of another cache's, with its age. 1: kept, 0: it is too old. EINVAL: not finite, zero, without an age or one
 * that lies ahead. */
QUERN_API int quern_cache_keep(quern_cache *c, const quern_cache_entry *e, quern_error *err);

/* Takes in what doc-rag's embedder has saved: bincode 1.3 of Rust's Vec<(String, Vec<f32>)>, texts of documents with their vectors. The
 * file does not say by what these were made: fingerprint does (64 hex digits, the embedder's hash), and it is believed. All of
 * the file is read and found good before the first is kept, as old as the file is, its tokens 0. *kept (NULL: not wanted):
 * how many were not too old. EFORMAT, with entry and byte: a length over what is left, text that is not UTF-8, vectors
 * of several lengths, one that is not finite or not of unit length, bytes behind the last. ENOTFOUND, EINVAL: no file, no
 * fingerprint. */
QUERN_API int quern_cache_import_bincode(quern_cache *c, const char *path, const char *fingerprint,
                                         const quern_cancel *cancel, uint64_t *kept,
                                         quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
