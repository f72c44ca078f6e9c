/*
 * bench_cache — looking texts of 200 bytes up in each tier, their keys made anew each time, in calls of 256, on one thread.
 *
 *     bench_cache DIMENSIONS TEXTS FILE|- REDIS-URL|-
 *
 * prints a line a tier: look-ups a second, the best of several rounds over all texts in another order each, and the median. A
 * round that does not find every text is an error. FILE is made, and is to be removed afterwards.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/rng.h"
#include "quern/cache.h"

enum { BYTES = 200, CALL = 256, ROUNDS = 15 };

typedef struct work {
    size_t n;
    uint32_t dim;
    char *bytes;           /* [n, BYTES] */
    quern_str *texts;      /* [n] */
    float *vectors;        /* [CALL, dim] */
    quern_cache_key *keys; /* [CALL] */
    double rates[ROUNDS];
} work;

static const char fingerprint[] =
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static size_t part_of(const work *w, size_t at)
{
    return w->n - at < CALL ? w->n - at : CALL;
}

static int make_keys(work *w, size_t at, size_t some, quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t i = 0; i < some && !rc; i++)
        rc = quern_cache_key_of(fingerprint, 0, 0, w->texts[at + i], &w->keys[i], err);
    return rc;
}

static void shuffle(work *w, quern__rng *rng)
{
    for (size_t i = w->n; i > 1; i--) {
        size_t k = quern__rng_below(rng, (uint32_t)i);
        quern_str t = w->texts[i - 1];
        w->texts[i - 1] = w->texts[k];
        w->texts[k] = t;
    }
}

static int by_rate(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static int fill(work *w, quern_cache *c, quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t at = 0; at < w->n && !rc; at += CALL) {
        size_t some = part_of(w, at);
        rc = make_keys(w, at, some, err);
        for (size_t i = 0; i < some * w->dim; i++)
            w->vectors[i] = (float)(at + i) / 1024.0f + 1;
        if (!rc)
            quern_cache_put(c, w->keys, some, w->dim, w->vectors, NULL, NULL, 0);
    }
    return rc ? rc : quern_cache_flush(c, err);
}

/* c NULL: keys only. */
static int look_up_all(work *w, quern_cache *c, quern_error *err)
{
    uint8_t found[CALL];
    size_t hits = 0;
    for (size_t at = 0; at < w->n; at += CALL) {
        size_t some = part_of(w, at);
        int rc = make_keys(w, at, some, err);
        if (rc)
            return rc;
        hits += c ? quern_cache_get(c, w->keys, some, w->dim, w->vectors, NULL, found) : some;
    }
    if (hits == w->n)
        return QUERN_OK;
    snprintf(err->msg, sizeof err->msg, "%zu of %zu found", hits, w->n);
    return QUERN_EINTERNAL;
}

static int measure(work *w, const char *name, const quern_cache_options *o, quern_error *err)
{
    quern_cache *c = NULL;
    quern__rng rng;
    quern__rng_seed(&rng, 1);
    int rc = o ? quern_cache_open(&c, o, err) : QUERN_OK;
    if (!rc && c)
        rc = fill(w, c, err);
    for (size_t round = 0; round < ROUNDS && !rc; round++) {
        shuffle(w, &rng);
        uint64_t began = quern__now_ns();
        rc = look_up_all(w, c, err);
        w->rates[round] = (double)w->n * 1e9 / (double)(quern__now_ns() - began);
    }
    quern_cache_free(c);
    qsort(w->rates, ROUNDS, sizeof *w->rates, by_rate);
    if (!rc)
        printf("%-12s best %9.0f/s, median %9.0f/s\n", name, w->rates[0], w->rates[ROUNDS / 2]);
    return rc;
}

static int measure_tiers(work *w, const char *file, const char *redis, quern_error *err)
{
    quern_cache_options memory, disk, shared;
    QUERN_INIT(&memory);
    memory.entries = 4 * w->n;
    memory.bytes = UINT64_C(1) << 40;
    QUERN_INIT(&disk);
    disk.no_memory = 1;
    disk.path = file;
    disk.disk_bytes = UINT64_C(1) << 40;
    QUERN_INIT(&shared);
    shared.no_memory = 1;
    shared.redis_url = redis;
    shared.redis_timeout_ms = 5000;
    int rc = measure(w, "keys alone", NULL, err);
    if (!rc)
        rc = measure(w, "memory", &memory, err);
    if (!rc && strcmp(file, "-") != 0)
        rc = measure(w, "file", &disk, err);
    if (!rc && strcmp(redis, "-") != 0)
        rc = measure(w, "Redis", &shared, err);
    return rc;
}

int main(int argc, char **argv)
{
    quern_error err = {0};
    work w = {0};
    if (argc != 5) {
        fprintf(stderr, "usage: bench_cache DIMENSIONS TEXTS FILE|- REDIS-URL|-\n");
        return 2;
    }
    w.dim = (uint32_t)strtoul(argv[1], NULL, 10);
    w.n = strtoul(argv[2], NULL, 10);
    w.bytes = malloc(w.n * BYTES);
    w.texts = malloc(w.n * sizeof *w.texts);
    w.vectors = malloc((size_t)CALL * w.dim * sizeof *w.vectors);
    w.keys = malloc(CALL * sizeof *w.keys);
    int rc = w.n && w.dim && w.bytes && w.texts && w.vectors && w.keys ? QUERN_OK : QUERN_EINVAL;
    for (size_t i = 0; i < w.n && !rc; i++) {
        char *at = w.bytes + i * BYTES;
        memset(at, 'a' + (int)(i % 26), BYTES);
        memcpy(at, &i, sizeof i);
        w.texts[i] = (quern_str){at, BYTES};
    }
    if (!rc)
        rc = measure_tiers(&w, argv[3], argv[4], &err);
    if (rc)
        fprintf(stderr, "bench_cache: %s\n", err.msg);
    free(w.bytes);
    free(w.texts);
    free(w.vectors);
    free(w.keys);
    return rc ? 1 : 0;
}
