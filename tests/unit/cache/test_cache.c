/*
 * test_cache.c — the tiers of the cache: order of use, bounds, age, counters; a file that is reopened, shared, damaged at random
 * and not ours. Time is the test's. The rule above all: what comes out is what went in, to the bit, or nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <sqlite3.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/os.h"
#include "base/rng.h"
#include "quern/cache.h"

enum { DIM = 8 };

static int64_t now_ms = 1792600000000;
static int64_t my_clock(void *ud)
{
    (void)ud;
    return now_ms;
}

static quern_cache_key key_of(unsigned n)
{
    quern_cache_key k;
    quern_str text = {(const char *)&n, sizeof n};
    assert_int_equal(quern_cache_key_of("f", 0, 0, text, &k, NULL), 0);
    return k;
}

static void vector_of(unsigned n, float *v)
{
    for (unsigned i = 0; i < DIM; i++)
        v[i] = (float)(n * 31 + i + 1) / 1024.0f;
}

static void put(quern_cache *c, unsigned n, uint64_t ttl_s)
{
    quern_cache_key k = key_of(n);
    float v[DIM];
    uint32_t tokens = n + 5;
    vector_of(n, v);
    quern_cache_put(c, &k, 1, DIM, v, &tokens, NULL, ttl_s);
}

/* Whether it is there; and then it is right. */
static int get(quern_cache *c, unsigned n)
{
    quern_cache_key k = key_of(n);
    float v[DIM], want[DIM];
    uint32_t tokens = 0;
    uint8_t found = 9;
    vector_of(n, want);
    size_t count = quern_cache_get(c, &k, 1, DIM, v, &tokens, &found);
    assert_int_equal(count, found);
    if (found) {
        assert_memory_equal(v, want, sizeof v);
        assert_int_equal(tokens, n + 5);
    }
    return found;
}

static quern_cache *open_with(uint64_t entries, uint64_t bytes, const char *path)
{
    quern_cache_options o;
    quern_cache *c = NULL;
    quern_error err;
    QUERN_INIT(&o);
    o.entries = entries;
    o.bytes = bytes;
    o.path = path;
    o.no_memory = entries == 0;
    if (quern_cache_open(&c, &o, &err))
        fail_msg("%s", err.msg);
    return c;
}

static quern_cache_stats stats_of(quern_cache *c, int tier)
{
    quern_cache_stats s;
    quern_cache_get_stats(c, tier, &s);
    return s;
}

static void keys_are_of_every_field(void **state)
{
    quern_cache_key a, b;
    quern_str x = {"xy", 2}, empty = {NULL, 0};
    (void)state;
    assert_int_equal(quern_cache_key_of("f", 0, 0, x, &a, NULL), 0);
    for (int i = 0; i < 5; i++) {
        quern_str other = {"x", 1}, moved = {"y", 1};
        const char *f = i == 0 ? "g" : i == 4 ? "fx" : "f";
        int rc = quern_cache_key_of(f, i == 1, i == 2,
                                    i == 3   ? other
                                    : i == 4 ? moved
                                             : x,
                                    &b, NULL);
        assert_int_equal(rc, 0);
        assert_memory_not_equal(a.bytes, b.bytes, sizeof a.bytes);
    }
    assert_int_equal(quern_cache_key_of("f", 0, 0, empty, &b, NULL), 0);
    assert_int_equal(quern_cache_key_of(NULL, 0, 0, x, &b, NULL), QUERN_EINVAL);
}

static void the_one_not_used_for_longest_goes(void **state)
{
    quern_cache *c = open_with(3, 0, NULL);
    (void)state;
    for (unsigned n = 1; n <= 3; n++)
        put(c, n, 0);
    assert_true(get(c, 1));
    put(c, 4, 0); /* 2 was the oldest */
    assert_false(get(c, 2));
    assert_true(get(c, 1) && get(c, 3) && get(c, 4));
    put(c, 3, 0); /* again: nothing goes */
    assert_true(get(c, 1) && get(c, 4));
    quern_cache_stats s = stats_of(c, QUERN_CACHE_MEMORY);
    assert_true(s.there && s.entries == 3 && s.capacity == 3 && s.evictions == 1);
    assert_true(s.hits == 6 && s.misses == 1 && s.bytes > 0);
    quern_cache_resize(c, 1, 1 << 20);
    assert_true(get(c, 4) && !get(c, 3) && !get(c, 1));
    quern_cache_key four = key_of(4);
    assert_true(quern_cache_contains(c, &four));
    assert_int_equal(quern_cache_remove(c, &four), 1);
    assert_int_equal(quern_cache_remove(c, &four), 0);
    assert_int_equal(stats_of(c, QUERN_CACHE_MEMORY).entries, 0);
    quern_cache_free(c);
}

static void many_entries_and_few_bytes(void **state)
{
    quern_cache *c = open_with(100000, 0, NULL);
    (void)state;
    for (unsigned n = 0; n < 20000; n++)
        put(c, n, 0);
    for (unsigned n = 0; n < 20000; n += 7)
        assert_true(get(c, n));
    uint64_t each = stats_of(c, QUERN_CACHE_MEMORY).bytes / 20000;
    quern_cache_resize(c, 100000, each * 1000);
    quern_cache_stats s = stats_of(c, QUERN_CACHE_MEMORY);
    assert_true(s.bytes <= each * 1000 && s.entries > 950);
    for (unsigned n = 0; n < 5000; n++) /* slots are used again */
        put(c, n, 0);
    s = stats_of(c, QUERN_CACHE_MEMORY);
    assert_true(s.bytes <= each * 1000 && s.entries > 950);
    assert_int_equal(quern_cache_clear(c, NULL), 0);
    assert_int_equal(stats_of(c, QUERN_CACHE_MEMORY).bytes, 0);
    quern_cache_free(c);
}

/* Few bytes are one shard's, and a vector that is larger than all of it drives nothing out. */
static void long_vectors_in_few_bytes(void **state)
{
    enum { LONG = 3072 };
    static float v[20 * LONG], got[LONG];
    quern_cache *c = open_with(10000, 64 << 10, NULL);
    quern_cache_key k = key_of(1), far = key_of(2);
    uint8_t found;
    (void)state;
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        v[i] = 1;
    quern_cache_put(c, &k, 1, LONG, v, NULL, NULL, 0);
    assert_int_equal(quern_cache_get(c, &k, 1, LONG, got, NULL, &found), 1);
    quern_cache_put(c, &far, 1, 20 * LONG, v, NULL, NULL, 0);
    assert_int_equal(quern_cache_get(c, &k, 1, LONG, got, NULL, &found), 1);
    assert_int_equal(stats_of(c, QUERN_CACHE_MEMORY).evictions, 0);
    quern_cache_free(c);
}

static void age_counts_from_creation(void **state)
{
    quern_cache *c = open_with(100, 0, NULL);
    (void)state;
    put(c, 1, 10);
    put(c, 2, 0);
    put(c, 4, UINT64_MAX); /* for ever, and no overflow */
    now_ms += 9000;
    assert_true(get(c, 1)); /* reading extends nothing */
    now_ms += 1000;
    assert_false(get(c, 1));
    assert_true(get(c, 2) && get(c, 4));
    put(c, 3, 1);
    now_ms += 2000;
    assert_int_equal(quern_cache_expire(c), 1);
    assert_int_equal(stats_of(c, QUERN_CACHE_MEMORY).expired, 2);
    quern_cache_free(c);
}

/* Takes connections and closes them; what is written to them then is a SIGPIPE. */
static void hang_up(void *ud)
{
    for (int i = 0; i < 4; i++) {
        int link = accept(*(int *)ud, NULL, NULL);
        quern__sleep_ms(5);
        close(link);
    }
}

static void a_redis_that_hangs_up(void **state)
{
    enum { LONG = 1536, MANY = 500 };
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    char url[64];
    quern_cache_options o;
    quern_cache *c = NULL;
    quern__thread *t;
    quern_cache_key *keys = calloc(MANY, sizeof *keys);
    float *v = calloc((size_t)MANY * LONG, sizeof *v);
    int server = socket(AF_INET, SOCK_STREAM, 0);
    (void)state;
    assert_true(keys && v && server >= 0);
    assert_int_equal(bind(server, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(server, 4), 0);
    assert_int_equal(getsockname(server, (struct sockaddr *)&at, &size), 0);
    snprintf(url, sizeof url, "redis://127.0.0.1:%u", ntohs(at.sin_port));
    for (size_t i = 0; i < (size_t)MANY * LONG; i++)
        v[i] = 1;
    for (unsigned i = 0; i < MANY; i++)
        keys[i] = key_of(i);
    assert_int_equal(quern__thread_start(&t, hang_up, &server, NULL), 0);
    for (int i = 0; i < 4; i++) {
        QUERN_INIT(&o);
        o.no_memory = 1;
        o.redis_url = url;
        int rc = quern_cache_open(&c, &o, NULL);
        if (rc == QUERN_EUNSUPPORTED) /* built without */
            break;
        assert_int_equal(rc, 0);
        quern_cache_put(c, keys, MANY, LONG, v, NULL, NULL, 0);
        assert_int_equal(stats_of(c, QUERN_CACHE_REDIS).failures, 1);
        quern_cache_free(c);
    }
    shutdown(server, SHUT_RDWR);
    quern__thread_join(t);
    close(server);
    free(keys);
    free(v);
}

static void what_is_no_vector_is_not_kept(void **state)
{
    quern_cache *c = open_with(100, 0, NULL);
    quern_cache_key k = key_of(1);
    float v[DIM] = {0}, other[DIM + 1];
    uint8_t found;
    (void)state;
    quern_cache_put(c, &k, 1, DIM, v, NULL, NULL, 0);
    v[3] = 0.0f / v[0];
    quern_cache_put(c, &k, 1, DIM, v, NULL, NULL, 0);
    assert_false(get(c, 1));
    put(c, 1, 0);
    assert_int_equal(quern_cache_get(c, &k, 1, DIM + 1, other, NULL, &found), 0);
    quern_cache_free(c);
}

static char path[200];

static void fresh_path(void)
{
    snprintf(path, sizeof path, "test_cache_%u.db", quern__os_pid());
    char more[220];
    for (int i = 0; i < 3; i++) {
        snprintf(more, sizeof more, "%s%s", path, i == 0 ? "" : i == 1 ? "-wal" : "-shm");
        remove(more);
    }
}

static int count_key(const quern_cache_entry *e, void *ud)
{
    unsigned *order = ud;
    quern_cache_key k;
    float want[DIM];
    assert_int_equal(e->dimensions, DIM);
    assert_true(e->created_ms > 0);
    for (unsigned n = 0; n < 100; n++) {
        k = key_of(n);
        vector_of(n, want);
        if (memcmp(k.bytes, e->key.bytes, sizeof k.bytes) == 0) {
            assert_memory_equal(e->vector, want, sizeof want);
            order[++order[0]] = n;
        }
    }
    return 0;
}

static int keep(const quern_cache_entry *e, void *ud)
{
    return quern_cache_keep(ud, e, NULL) == 1 ? 0 : -1;
}

static void a_file_keeps_all_of_it(void **state)
{
    unsigned order[110] = {0};
    (void)state;
    fresh_path();
    quern_cache *c = open_with(4, 0, path);
    for (unsigned n = 0; n < 50; n++)
        put(c, n, n == 7 ? 100 : 0);
    assert_true(get(c, 3)); /* from the list that is not written yet */
    quern_cache_free(c);
    c = open_with(4, 0, path);
    for (unsigned n = 0; n < 50; n++)
        assert_true(get(c, n));
    quern_cache_stats s = stats_of(c, QUERN_CACHE_DISK);
    assert_true(s.there && s.entries == 50 && s.hits == 51 && s.damaged == 0);
    assert_true(get(c, 20)); /* and is the one used last */
    assert_int_equal(quern_cache_flush(c, NULL), 0);
    quern_cache *other = open_with(0, 0, path); /* a second process sees the same */
    assert_true(get(other, 33));
    quern_cache_key k = key_of(33);
    assert_int_equal(quern_cache_remove(other, &k), 1);
    quern_cache_free(other);
    now_ms += 200000;
    quern_cache_free(c);
    c = open_with(0, 0, path);
    assert_false(get(c, 33));
    assert_false(get(c, 7)); /* too old by now */
    assert_int_equal(quern_cache_expire(c), 1);
    assert_int_equal(quern_cache_each(c, count_key, order, NULL), 0);
    assert_int_equal(order[0], 48);
    assert_int_equal(order[48], 20);
    assert_int_equal(order[1], 0);
    quern_cache *copy =
        open_with(100, 0, NULL); /* another one takes all of it, in the same order */
    memset(order, 0, sizeof order);
    assert_int_equal(quern_cache_each(c, keep, copy, NULL), 0);
    assert_int_equal(quern_cache_each(copy, count_key, order, NULL), 0);
    assert_true(order[0] == 48 && order[48] == 20 && order[1] == 0);
    float v[DIM];
    quern_cache_entry bad = {.struct_size = sizeof bad, .dimensions = DIM, .vector = v};
    vector_of(3, v);
    assert_int_equal(quern_cache_keep(copy, &bad, NULL), QUERN_EINVAL); /* no age */
    bad.created_ms = now_ms + 1000000;
    assert_int_equal(quern_cache_keep(copy, &bad, NULL), QUERN_EINVAL);
    bad.created_ms = now_ms - 5000;
    bad.ends_ms = now_ms - 1;
    assert_int_equal(quern_cache_keep(copy, &bad, NULL), 0);
    bad.ends_ms = now_ms + 1;
    assert_int_equal(quern_cache_keep(copy, &bad, NULL), 1);
    v[2] = 1.0f / 0.0f;
    assert_int_equal(quern_cache_keep(copy, &bad, NULL), QUERN_EINVAL);
    quern_cache_free(copy);
    assert_int_equal(quern_cache_clear(c, NULL), 0);
    assert_int_equal(stats_of(c, QUERN_CACHE_DISK).entries, 0);
    quern_cache_free(c);
}

static void a_file_has_bounds(void **state)
{
    quern_cache_options o;
    quern_cache *c;
    (void)state;
    fresh_path();
    QUERN_INIT(&o);
    o.no_memory = 1;
    o.path = path;
    o.disk_bytes = 20 * 68; /* entries of 68 bytes */
    assert_int_equal(quern_cache_open(&c, &o, NULL), 0);
    for (unsigned n = 0; n < 60; n++) {
        put(c, n, 0);
        assert_true(get(c, 0)); /* always the one used last but one */
        if (n % 10 == 9)
            assert_int_equal(quern_cache_flush(c, NULL), 0);
    }
    quern_cache_stats s = stats_of(c, QUERN_CACHE_DISK);
    assert_int_equal(s.bytes, 20 * 68);
    assert_int_equal(s.entries, 20);
    assert_true(s.evictions >= 30);
    assert_true(get(c, 59) && get(c, 0) && !get(c, 1));
    quern_cache_free(c);
}

static void a_cleared_file_is_small(void **state)
{
    quern__stat st;
    (void)state;
    fresh_path();
    quern_cache *c = open_with(0, 0, path);
    for (unsigned n = 0; n < 3000; n++)
        put(c, n, 0);
    assert_int_equal(quern_cache_flush(c, NULL), 0);
    assert_int_equal(quern_cache_clear(c, NULL), 0);
    put(c, 1, 0);
    assert_true(get(c, 1));
    quern_cache_free(c);
    assert_int_equal(quern__stat_path(path, &st, NULL), 0);
    assert_in_range(st.size, 1, 64 << 10);
}

static quern_cache *open_bounded(uint64_t entries, uint64_t bytes)
{
    quern_cache_options o;
    quern_cache *c;
    QUERN_INIT(&o);
    o.no_memory = 1;
    o.path = path;
    o.disk_entries = entries;
    o.disk_bytes = bytes;
    assert_int_equal(quern_cache_open(&c, &o, NULL), 0);
    return c;
}

/* With what is still beside it. */
static int64_t size_of_file(void)
{
    char log[220];
    quern__stat st, beside;
    snprintf(log, sizeof log, "%s-wal", path);
    assert_int_equal(quern__stat_path(path, &st, NULL), 0);
    assert_int_equal(quern__stat_path(log, &beside, NULL), 0);
    return (int64_t)(st.size + (beside.exists ? beside.size : 0));
}

static void a_file_is_resized(void **state)
{
    uint64_t gone = 0;
    (void)state;
    fresh_path();
    quern_cache *c = open_bounded(0, 0), *other = open_bounded(0, 1 << 20);
    for (unsigned n = 0; n < 4000; n++)
        put(c, n, 0);
    assert_true(get(c, 5));
    assert_int_equal(quern_cache_flush(c, NULL), 0);
    assert_true(get(other, 6));
    assert_int_equal(quern_cache_flush(other, NULL), 0);
    int64_t before = size_of_file();
    assert_int_equal(quern_cache_resize_file(c, 100, 0, &gone, NULL), 0);
    assert_int_equal(gone, 3900);
    assert_true(size_of_file() * 10 < before);
    assert_true(get(c, 5) && get(c, 6) && get(c, 3999) && get(c, 3902) && !get(c, 3901));
    quern_cache_stats s = stats_of(c, QUERN_CACHE_DISK);
    assert_true(s.entries == 100 && s.capacity == 100 && s.bytes == 100 * 68);
    assert_true(s.capacity_bytes == UINT64_C(1) << 30 && s.evictions == 3900);
    /* it holds for the other one, which was opened before, and its own bound stays */
    s = stats_of(other, QUERN_CACHE_DISK);
    assert_true(s.capacity == 100 && s.capacity_bytes == 1 << 20);
    for (unsigned n = 5000; n < 5050; n++)
        put(other, n, 0);
    assert_int_equal(stats_of(other, QUERN_CACHE_DISK).entries, 100);
    quern_cache_free(other);
    quern_cache_free(c);
    /* it is kept in the file, and can only be narrowed */
    c = open_bounded(1000, 0);
    assert_int_equal(stats_of(c, QUERN_CACHE_DISK).capacity, 100);
    assert_int_equal(quern_cache_resize_file(c, 0, 10 * 68, NULL, NULL), 0);
    s = stats_of(c, QUERN_CACHE_DISK);
    assert_true(s.capacity == 100 && s.capacity_bytes == 10 * 68 && s.entries == 10);
    assert_true(get(c, 5049) && get(c, 5040) && !get(c, 5039));
    assert_int_equal(quern_cache_resize_file(c, UINT64_MAX, UINT64_MAX, NULL, NULL), 0);
    s = stats_of(c, QUERN_CACHE_DISK);
    assert_true(s.capacity == 0 && s.capacity_bytes == UINT64_C(1) << 30 && s.entries == 10);
    quern_cache_free(c);
    c = open_with(10, 0, NULL);
    assert_int_equal(quern_cache_resize_file(c, 1, 0, NULL, NULL), QUERN_EINVAL);
    quern_cache_free(c);
}

/* While somebody reads, vectors go and the bounds hold; only the space has to wait. */
static void a_file_is_resized_under_a_reader(void **state)
{
    sqlite3 *db;
    sqlite3_stmt *q;
    (void)state;
    fresh_path();
    quern_cache *c = open_bounded(0, 0);
    for (unsigned n = 0; n < 3000; n++)
        put(c, n, 0);
    assert_int_equal(quern_cache_flush(c, NULL), 0);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT key FROM cache", -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    quern_cache_resize_file(c, 50, 0, NULL, NULL);
    quern_cache_stats s = stats_of(c, QUERN_CACHE_DISK);
    assert_true(s.capacity == 50 && s.entries == 50);
    assert_true(get(c, 2999) && !get(c, 2949));
    sqlite3_finalize(q);
    sqlite3_close(db);
    assert_int_equal(quern_cache_resize_file(c, 50, 0, NULL, NULL), 0);
    quern_cache_free(c);
    assert_in_range(size_of_file(), 1, 64 << 10);
}

/* Nobody asks for anything any more, and nobody closes it: it is in the file all the same. */
static void a_file_is_written_in_time(void **state)
{
    quern_cache_options o;
    quern_cache *c;
    (void)state;
    fresh_path();
    QUERN_INIT(&o);
    o.path = path;
    o.disk_flush_s = 1;
    assert_int_equal(quern_cache_open(&c, &o, NULL), 0);
    for (unsigned round = 0; round < 2; round++) {
        put(c, round, 0);
        quern_cache *other = open_bounded(0, 0);
        assert_false(get(other, round));
        for (int i = 0; i < 300 && !get(other, round); i++)
            quern__sleep_ms(20);
        assert_true(get(other, round));
        quern_cache_free(other);
    }
    quern_cache_free(c);
    assert_int_equal(quern_cache_open(&c, &o, NULL), 0); /* one that is closed at once */
    put(c, 7, 0);
    quern_cache_free(c);
}

/* What became of look-ups is kept, from process to process. */
static void a_file_counts(void **state)
{
    (void)state;
    fresh_path();
    for (int round = 1; round <= 3; round++) {
        quern_cache *c = open_bounded(10, 0);
        for (unsigned n = 0; n < 12; n++) {
            if (!get(c, n))
                put(c, n, n == 11 ? 100 : 0);
        }
        quern_cache_flush(c, NULL);
        quern_cache_stats s = stats_of(c, QUERN_CACHE_DISK);
        assert_int_equal(s.entries, 10);
        assert_int_equal(s.hits + s.misses, 12 * (uint64_t)round);
        assert_true(s.evictions >= 2 && s.evictions <= s.misses);
        quern_cache_free(c);
    }
    quern_cache *c = open_bounded(0, 0);
    quern_cache_stats before = stats_of(c, QUERN_CACHE_DISK);
    for (int i = 0; i < 20; i++)
        assert_true(get(c, 10));
    now_ms += 200000;
    assert_int_equal(quern_cache_expire(c), 1);
    quern_cache_free(c);
    c = open_bounded(0, 0);
    quern_cache_stats s = stats_of(c, QUERN_CACHE_DISK);
    assert_int_equal(s.hits, before.hits + 20);
    assert_int_equal(s.misses, before.misses);
    assert_int_equal(s.expired, before.expired + 1);
    assert_true(s.mean_uses >= 20.0 / 9 && s.mean_uses < 30.0 / 9 + 1);
    assert_int_equal(quern_cache_clear(c, NULL), 0);
    assert_true(stats_of(c, QUERN_CACHE_DISK).mean_uses < 0.001);
    quern_cache_free(c);
    c = open_with(3, 0, NULL);
    put(c, 1, 0);
    put(c, 2, 0);
    assert_true(get(c, 1) && get(c, 1) && get(c, 1));
    s = stats_of(c, QUERN_CACHE_MEMORY);
    assert_true(s.mean_uses > 1.49 && s.mean_uses < 1.51);
    quern_cache_key one = key_of(1);
    quern_cache_remove(c, &one);
    assert_true(stats_of(c, QUERN_CACHE_MEMORY).mean_uses < 0.001);
    quern_cache_free(c);
}

/* One that an earlier quern has made is brought up, and nothing is lost. */
static void a_file_of_the_first_form(void **state)
{
    sqlite3 *db;
    (void)state;
    fresh_path();
    quern_cache *c = open_bounded(0, 0);
    for (unsigned n = 0; n < 40; n++)
        put(c, n, 0);
    quern_cache_free(c);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "CREATE TABLE cache_s AS SELECT bytes FROM cache_size;"
                                  "DROP TABLE cache_size; ALTER TABLE cache_s RENAME TO cache_size;"
                                  "ALTER TABLE cache DROP COLUMN uses;"
                                  "PRAGMA user_version = 1",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    c = open_bounded(30, 0);
    assert_int_equal(stats_of(c, QUERN_CACHE_DISK).entries, 40);
    put(c, 40, 0);
    assert_int_equal(stats_of(c, QUERN_CACHE_DISK).entries, 30);
    assert_true(get(c, 40) && get(c, 11) && !get(c, 10));
    quern_cache_free(c);
}

/* Bytes are flipped, values swapped and cut: a miss each time, and put right by the next put. */
static void damage_is_a_miss(void **state)
{
    sqlite3 *db;
    quern__rng rng;
    (void)state;
    fresh_path();
    quern__rng_seed(&rng, 20261121);
    quern_cache *c = open_with(0, 0, path);
    for (unsigned n = 0; n < 64; n++)
        put(c, n, 0);
    quern_cache_free(c);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    for (int i = 0; i < 300; i++) {
        char sql[200];
        snprintf(
            sql, sizeof sql,
            "UPDATE cache SET value = substr(value, 1, %u) || randomblob(1) || substr(value, %u)"
            " WHERE rowid = %u",
            quern__rng_below(&rng, 68), 1 + quern__rng_below(&rng, 68),
            1 + quern__rng_below(&rng, 60));
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    }
    assert_int_equal(
        sqlite3_exec(db,
                     "UPDATE cache SET value = (SELECT value FROM cache WHERE rowid = 64)"
                     " WHERE rowid = 63",
                     NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    c = open_with(0, 0, path);
    for (unsigned n = 0; n < 64; n++)
        get(c, n); /* right, or nothing */
    assert_true(stats_of(c, QUERN_CACHE_DISK).damaged > 30);
    assert_false(get(c, 62)); /* the 63rd has the value of the 64th */
    assert_true(get(c, 63));
    for (unsigned n = 0; n < 64; n++)
        put(c, n, 0);
    for (unsigned n = 0; n < 64; n++)
        assert_true(get(c, n));
    quern_cache_free(c);
}

static void refuses(const char *sql, int status, const char *saying)
{
    sqlite3 *db;
    quern_cache_options o;
    quern_cache *c = NULL;
    quern_error err = {0};
    fresh_path();
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    QUERN_INIT(&o);
    o.path = path;
    assert_int_equal(quern_cache_open(&c, &o, &err), status);
    assert_null(c);
    assert_non_null(strstr(err.msg, saying));
}

static void files_that_are_none(void **state)
{
    FILE *f;
    quern_cache_options o;
    quern_cache *c;
    (void)state;
    refuses("CREATE TABLE users (id)", QUERN_EFORMAT, "other tables");
    refuses("PRAGMA user_version = 99", QUERN_EUNSUPPORTED, "newer quern");
    fresh_path();
    f = fopen(path, "w");
    fprintf(f, "this is no database, whatever its name says, and it is long enough to tell\n");
    fclose(f);
    QUERN_INIT(&o);
    o.path = path;
    assert_int_not_equal(quern_cache_open(&c, &o, NULL), 0);
    o.path = "/nonexistent/cache.db";
    assert_int_not_equal(quern_cache_open(&c, &o, NULL), 0);
    fresh_path();
}

typedef struct racer {
    quern_cache *c;
    unsigned seed;
} racer;

static void race(void *ud)
{
    racer *r = ud;
    quern__rng rng;
    quern__rng_seed(&rng, r->seed);
    for (int i = 0; i < 2000; i++) {
        unsigned n = quern__rng_below(&rng, 300);
        quern_cache_key k = key_of(n);
        switch (quern__rng_below(&rng, 8)) {
        case 0:
        case 1:
        case 2:
            put(r->c, n, 0);
            break;
        case 3:
            quern_cache_remove(r->c, &k);
            break;
        default:
            get(r->c, n);
        }
    }
}

static void from_many_threads(void **state)
{
    enum { THREADS = 6 };
    quern_cache *c = open_with(200, 0, NULL);
    quern__thread *threads[THREADS];
    racer racers[THREADS];
    (void)state;
    for (unsigned i = 0; i < THREADS; i++) {
        racers[i] = (racer){c, i + 1};
        assert_int_equal(quern__thread_start(&threads[i], race, &racers[i], NULL), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        quern__thread_join(threads[i]);
    assert_true(stats_of(c, QUERN_CACHE_MEMORY).entries <= 200);
    quern_cache_free(c);
}

static int set_clock(void **state)
{
    (void)state;
    quern__set_wall_clock(my_clock, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    quern__set_wall_clock(NULL, NULL);
    fresh_path();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_of_every_field),
        cmocka_unit_test(the_one_not_used_for_longest_goes),
        cmocka_unit_test(many_entries_and_few_bytes),
        cmocka_unit_test(long_vectors_in_few_bytes),
        cmocka_unit_test(age_counts_from_creation),
        cmocka_unit_test(a_redis_that_hangs_up),
        cmocka_unit_test(what_is_no_vector_is_not_kept),
        cmocka_unit_test(a_file_keeps_all_of_it),
        cmocka_unit_test(a_file_has_bounds),
        cmocka_unit_test(a_cleared_file_is_small),
        cmocka_unit_test(a_file_is_resized),
        cmocka_unit_test(a_file_is_resized_under_a_reader),
        cmocka_unit_test(a_file_is_written_in_time),
        cmocka_unit_test(a_file_counts),
        cmocka_unit_test(a_file_of_the_first_form),
        cmocka_unit_test(damage_is_a_miss),
        cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(from_many_threads),
    };
    return cmocka_run_group_tests(tests, set_clock, end);
}
