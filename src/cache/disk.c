/*
 * disk.c — the tier that survives: one table in an SQLite file of quern's own, which several processes may share. A put only
 * goes into a list; the list becomes one transaction when it is long or old, so a vector costs a fraction of a commit
 * and a kill loses at most that much, which is then paid for again. What stands in the list is found, too. A thread looks
 * at its age, for a program that has nothing more to embed; without that thread the next call does.
 *
 * `used` numbers the order of use; a hit moves its row to the front with the next transaction. The file is bounded by the
 * number and the bytes of its values: past that, the ones not used for longest go, in the transaction that brought the
 * new ones. Bounds that a resize has set stand in the file and are read in each of these transactions, so that they hold at once
 * for every process; what a process itself was given can only be narrower.
 *
 * WAL with synchronous NORMAL: power that fails may lose the last transactions and never mixes them. A value is believed
 * only with its checksum (value.c), so a damaged page is a miss.
 */
#include "cache/tiers.h"

#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/os.h"
#include "db/sqlite_db.h"

enum {
    LONGEST_LIST = 512,
    OLDEST_LIST_S = 300,
    BUSY_MS = 2000,
    VERSION = 2,
    MOST_USED = 1024,
    SLICE = 1000
};

typedef struct waiting {
    quern_cache_key key;
    quern__entry entry; /* its key and vector point into this struct and its own block */
    float *vector;
} waiting;

/* A hit since the last transaction, and how many puts had come before it. */
typedef struct use {
    quern_cache_key key;
    size_t before;
} use;

/* Kept in the file: of all who have used it. */
typedef struct counters {
    uint64_t hits, misses, evictions, expired;
} counters;

struct quern__disk {
    quern__mutex *mutex;
    quern__cond *wake;     /* the thread: there is a list, or the end has come */
    quern__thread *keeper; /* NULL: none yet */
    quern__db *db;
    uint32_t oldest_s;
    bool closing;
    quern__bounds own; /* what this process was given; 0: nothing */
    waiting *list;     /* [LONGEST_LIST] */
    size_t n_list;
    uint64_t since_ns; /* when the list began */
    use *used;         /* [MOST_USED] */
    size_t n_used;
    counters new; /* that are not in the file yet */
    uint64_t damaged, failures;
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS cache (key BLOB PRIMARY KEY, dim INTEGER NOT NULL, used INTEGER "
    "NOT NULL,"
    " created_ms INTEGER NOT NULL, ends_ms INTEGER NOT NULL, value BLOB NOT NULL);"
    "CREATE INDEX IF NOT EXISTS cache_used ON cache (used);"
    "CREATE TABLE IF NOT EXISTS cache_size (bytes INTEGER NOT NULL);"
    "INSERT INTO cache_size SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM cache_size)";
/* Form 2: how many there are, what `cache resize` has set (NULL: nothing), and what became of look-ups. */
static const char second[] =
    "ALTER TABLE cache_size ADD COLUMN entries INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE cache_size ADD COLUMN most_entries INTEGER;"
    "ALTER TABLE cache_size ADD COLUMN most_bytes INTEGER;"
    "ALTER TABLE cache_size ADD COLUMN hits INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE cache_size ADD COLUMN misses INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE cache_size ADD COLUMN evictions INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE cache_size ADD COLUMN expired INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE cache ADD COLUMN uses INTEGER NOT NULL DEFAULT 0;"
    "UPDATE cache_size SET entries = (SELECT count(*) FROM cache);"
    "PRAGMA user_version = 2";

/* A tier that fails is a tier that has nothing; why is in the log, once in a while. */
static void failed(quern__disk *d, const quern_error *err)
{
    if (d->failures++ % 1000 == 0)
        quern__log(QUERN_LOG_WARN, "cache", "%s: %s", quern__db_path(d->db), err->msg);
}

/* Under the lock the form is looked at once more: two processes may have found the same old file. */
static int bring_up(quern__disk *d, quern_error *err)
{
    int64_t version = 0;
    int rc = quern__db_begin(d->db, err);
    if (rc)
        return rc;
    rc = quern__db_int(d->db, "PRAGMA user_version", &version, err);
    rc = rc < 0 ? rc : QUERN_OK;
    if (!rc && version < 1)
        rc = quern__db_exec(d->db, schema, err);
    if (!rc && version < VERSION)
        rc = quern__db_exec(d->db, second, err);
    if (!rc)
        return quern__db_commit(d->db, err);
    quern__db_rollback(d->db);
    return rc;
}

static int prepare_file(quern__disk *d, quern_error *err)
{
    int64_t version = 0, foreign = 0;
    int rc = quern__db_int(d->db, "PRAGMA user_version", &version, err);
    if (rc >= 0)
        rc = quern__db_int(d->db,
                           "SELECT count(*) FROM sqlite_master WHERE name NOT LIKE 'cache%'"
                           " AND name NOT LIKE 'sqlite%'",
                           &foreign, err);
    if (rc < 0)
        return rc;
    if (version > VERSION)
        return quern__fail(err, QUERN_EUNSUPPORTED, version,
                           "%s: a cache of a newer quern (form %lld, this one's is %d)",
                           quern__db_path(d->db), (long long)version, (int)VERSION);
    if (foreign)
        return quern__fail(err, QUERN_EFORMAT, foreign,
                           "%s: holds other tables than a cache's; give it a file of its own",
                           quern__db_path(d->db));
    rc = quern__db_exec(d->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL", err);
    return rc || version == VERSION ? rc : bring_up(d, err);
}

int quern__disk_open(quern__disk **out, const char *path, quern__bounds own, uint32_t oldest_s,
                     quern_error *err)
{
    quern__disk *d = quern__calloc(1, sizeof *d);
    *out = NULL;
    if (!d)
        return quern__fail_memory(err, sizeof *d);
    d->own = own;
    d->oldest_s = oldest_s;
    d->list = quern__alloc_array(LONGEST_LIST, sizeof *d->list);
    d->used = quern__alloc_array(MOST_USED, sizeof *d->used);
    int rc = d->list && d->used ? QUERN_OK : quern__fail_memory(err, 0);
    if (!rc)
        rc = quern__mutex_new(&d->mutex, err);
    if (!rc)
        rc = quern__cond_new(&d->wake, err);
    if (!rc)
        rc = quern__db_open(&d->db, path, QUERN__DB_CREATE, BUSY_MS, err);
    if (!rc)
        rc = prepare_file(d, err);
    if (rc) {
        quern__disk_close(d);
        return rc;
    }
    *out = d;
    return QUERN_OK;
}

/* ---- writing ---- */

static void forget_list(quern__disk *d)
{
    for (size_t i = 0; i < d->n_list; i++)
        quern__free(d->list[i].vector);
    d->n_list = d->n_used = 0;
}

static int run_key(quern__disk *d, const char *sql, const quern_cache_key *key, quern_error *err)
{
    quern__stmt *q;
    int rc = quern__db_prepare(d->db, sql, &q, err);
    if (rc)
        return rc;
    quern__db_bind_blob(d->db, q, 1, key->bytes, sizeof key->bytes);
    return quern__db_run(d->db, q, err);
}

static int remove_row(quern__disk *d, const quern_cache_key *key, quern_error *err)
{
    int rc = run_key(d,
                     "UPDATE cache_size SET bytes = bytes - coalesce((SELECT length(value) FROM"
                     " cache WHERE key = ?1), 0), entries = entries -"
                     " EXISTS (SELECT 1 FROM cache WHERE key = ?1)",
                     key, err);
    return rc ? rc : run_key(d, "DELETE FROM cache WHERE key = ?1", key, err);
}

static int write_entry(quern__disk *d, const waiting *w, quern_error *err)
{
    size_t n = quern__value_size(w->entry.dim);
    quern__stmt *q = NULL;
    unsigned char *value = quern__alloc(n);
    int rc = value ? quern__value_write(&w->entry, value, err) : quern__fail_memory(err, n);
    if (!rc)
        rc = remove_row(d, &w->key, err);
    if (!rc)
        rc = quern__db_prepare(
            d->db,
            "INSERT INTO cache (key, dim, used, created_ms, ends_ms, value) SELECT"
            " ?1, ?2, coalesce(max(used), 0) + 1, ?3, ?4, ?5 FROM cache",
            &q, err);
    if (!rc) {
        quern__db_bind_blob(d->db, q, 1, w->key.bytes, sizeof w->key.bytes);
        quern__db_bind_int(d->db, q, 2, w->entry.dim);
        quern__db_bind_int(d->db, q, 3, w->entry.created_ms);
        quern__db_bind_int(d->db, q, 4, w->entry.ends_ms);
        quern__db_bind_blob(d->db, q, 5, value, n);
        rc = quern__db_run(d->db, q, err);
    }
    if (!rc &&
        !(rc = quern__db_prepare(
              d->db, "UPDATE cache_size SET bytes = bytes + ?1, entries = entries + 1", &q, err))) {
        quern__db_bind_int(d->db, q, 1, (int64_t)n);
        rc = quern__db_run(d->db, q, err);
    }
    quern__free(value);
    return rc;
}

static int run_plain(quern__disk *d, const char *sql, quern_error *err)
{
    quern__stmt *q;
    int rc = quern__db_prepare(d->db, sql, &q, err);
    return rc ? rc : quern__db_run(d->db, q, err);
}

static uint64_t narrower(uint64_t a, uint64_t b)
{
    return a && b ? QUERN__MIN(a, b) : a ? a : b;
}

/* How full the file is, and the bounds in force; of entries 0: none. */
static int read_size(quern__disk *d, quern__bounds *has, quern__bounds *most, quern_error *err)
{
    quern__stmt *q;
    int rc = quern__db_prepare(
        d->db,
        "SELECT entries, bytes, coalesce(most_entries, 0), coalesce(most_bytes, 0)"
        " FROM cache_size",
        &q, err);
    if (rc)
        return rc;
    rc = quern__db_step(d->db, q, err);
    uint64_t word[4] = {0};
    for (int i = 0; rc == 1 && i < 4; i++) {
        int64_t v = quern__db_get_int(q, i);
        word[i] = v > 0 ? (uint64_t)v : 0;
    }
    quern__db_finish(d->db, q);
    *has = (quern__bounds){word[0], word[1]};
    most->entries = narrower(d->own.entries, word[2]);
    most->bytes = narrower(d->own.bytes, word[3]);
    if (!most->bytes)
        most->bytes = QUERN__DISK_BYTES;
    return rc < 0 ? rc : QUERN_OK;
}

/* The one not used for longest, until the rest fits or `slice` have gone. All at once, by a running sum, was measured: 28
 * and not 33 us each. */
static int evict(quern__disk *d, uint64_t slice, uint64_t *gone, quern_error *err)
{
    quern__bounds has, most;
    int rc = QUERN_OK;
    for (*gone = 0; *gone < slice && (rc = read_size(d, &has, &most, err)) == QUERN_OK; ++*gone) {
        if (!has.entries ||
            (has.bytes <= most.bytes && !(most.entries && has.entries > most.entries)))
            break;
        rc = run_plain(
            d,
            "UPDATE cache_size SET entries = entries - 1, bytes = bytes - coalesce((SELECT"
            " length(value) FROM cache ORDER BY used, rowid LIMIT 1), 0)",
            err);
        if (!rc)
            rc = run_plain(d,
                           "DELETE FROM cache WHERE rowid ="
                           " (SELECT rowid FROM cache ORDER BY used, rowid LIMIT 1)",
                           err);
        if (rc || quern__db_changes(d->db) == 0)
            break;
    }
    return rc;
}

static int write_counters(quern__disk *d, uint64_t gone, quern_error *err)
{
    quern__stmt *q;
    int rc = quern__db_prepare(d->db,
                               "UPDATE cache_size SET hits = hits + ?1, misses = misses + ?2,"
                               " evictions = evictions + ?3, expired = expired + ?4",
                               &q, err);
    if (rc)
        return rc;
    quern__db_bind_int(d->db, q, 1, (int64_t)d->new.hits);
    quern__db_bind_int(d->db, q, 2, (int64_t)d->new.misses);
    quern__db_bind_int(d->db, q, 3, (int64_t)(d->new.evictions + gone));
    quern__db_bind_int(d->db, q, 4, (int64_t)d->new.expired);
    return quern__db_run(d->db, q, err);
}

static bool nothing_new(const quern__disk *d)
{
    const counters *n = &d->new;
    return !d->n_list && !d->n_used && !n->hits && !n->misses && !n->evictions && !n->expired;
}

static int write_list(quern__disk *d, quern_error *err)
{
    uint64_t gone = 0;
    if (nothing_new(d))
        return QUERN_OK;
    int rc = quern__db_begin(d->db, err);
    if (rc)
        return rc;
    for (size_t i = 0, k = 0; i <= d->n_list && !rc; i++) { /* in the order in which it happened */
        for (; k < d->n_used && d->used[k].before <= i && !rc; k++)
            rc = run_key(d,
                         "UPDATE cache SET used = (SELECT max(used) + 1 FROM cache),"
                         " uses = uses + 1 WHERE key = ?1",
                         &d->used[k].key, err);
        if (i < d->n_list && !rc)
            rc = write_entry(d, &d->list[i], err);
    }
    if (!rc)
        rc = evict(d, UINT64_MAX, &gone, err);
    if (!rc)
        rc = write_counters(d, gone, err);
    if (rc)
        quern__db_rollback(d->db);
    else
        rc = quern__db_commit(d->db, err);
    if (!rc)
        memset(&d->new, 0, sizeof d->new);
    return rc;
}

/* Under the mutex. What cannot be written is given up: it would be in the way of all that follows. */
static int flush(quern__disk *d, quern_error *err)
{
    quern_error inner = {0};
    int rc = write_list(d, &inner);
    if (rc) {
        failed(d, &inner);
        if (err)
            *err = inner;
    }
    forget_list(d);
    return rc;
}

int quern__disk_flush(quern__disk *d, quern_error *err)
{
    quern__mutex_lock(d->mutex);
    int rc = flush(d, err);
    quern__mutex_unlock(d->mutex);
    return rc;
}

void quern__disk_close(quern__disk *d)
{
    if (!d)
        return;
    if (d->keeper) {
        quern__mutex_lock(d->mutex);
        d->closing = true;
        quern__cond_signal(d->wake);
        quern__mutex_unlock(d->mutex);
        quern__thread_join(d->keeper);
    }
    if (d->db && d->list)
        flush(d, NULL);
    quern__db_close(d->db);
    quern__cond_free(d->wake);
    quern__mutex_free(d->mutex);
    quern__free(d->list);
    quern__free(d->used);
    quern__free(d);
}

static bool is_old(const quern__disk *d)
{
    return d->n_list && quern__now_ns() - d->since_ns >= (uint64_t)d->oldest_s * 1000000000u;
}

static void keep_time(void *ud)
{
    quern__disk *d = ud;
    quern__mutex_lock(d->mutex);
    while (!d->closing) {
        uint64_t age_ms = (quern__now_ns() - d->since_ns) / 1000000;
        uint64_t most_ms = (uint64_t)d->oldest_s * 1000;
        if (is_old(d))
            flush(d, NULL);
        else if (d->n_list)
            quern__cond_wait_ms(d->wake, d->mutex,
                                age_ms < most_ms ? (uint32_t)(most_ms - age_ms) : 1);
        else
            quern__cond_wait(d->wake, d->mutex);
    }
    quern__mutex_unlock(d->mutex);
}

void quern__disk_put(quern__disk *d, const quern__entry *e)
{
    float *vector = quern__alloc_array(e->dim, sizeof *vector);
    if (!vector)
        return;
    memcpy(vector, e->vector, (size_t)e->dim * sizeof *vector);
    quern__mutex_lock(d->mutex);
    if (!d->n_list) {
        d->since_ns = quern__now_ns();
        if (!d->keeper && quern__thread_start(&d->keeper, keep_time, d, NULL))
            d->keeper = NULL;
        quern__cond_signal(d->wake);
    }
    waiting *w = &d->list[d->n_list++];
    *w = (waiting){.key = *e->key, .entry = *e, .vector = vector};
    w->entry.key = &w->key;
    w->entry.vector = vector;
    if (d->n_list == LONGEST_LIST || is_old(d))
        flush(d, NULL);
    quern__mutex_unlock(d->mutex);
}

/* ---- reading ---- */

static const waiting *in_list(const quern__disk *d, const quern_cache_key *key)
{
    for (size_t i = d->n_list; i-- > 0;)
        if (memcmp(d->list[i].key.bytes, key->bytes, sizeof key->bytes) == 0)
            return &d->list[i];
    return NULL;
}

static bool is_over(int64_t ends_ms, int64_t now_ms)
{
    return ends_ms && now_ms >= ends_ms;
}

/* 1 found. A value that is damaged or too old is as good as none; the next put replaces it. */
static int read_row(quern__disk *d, quern__lookup *l, size_t at, quern__stmt *q, quern_error *err)
{
    quern__entry e;
    int rc = quern__db_step(d->db, q, err);
    if (rc != 1)
        return rc;
    quern_str value = quern__db_get_blob(q, 0);
    quern__value_is is = quern__value_read(&l->keys[at], value, l->dim, l->out + at * l->dim, &e);
    d->damaged += is == QUERN__VALUE_DAMAGED;
    if (is != QUERN__VALUE_GOOD)
        return 0;
    if (is_over(e.ends_ms, l->now_ms)) {
        d->new.expired++;
        return 0;
    }
    l->tokens[at] = e.tokens;
    l->created_ms[at] = e.created_ms;
    l->ends_ms[at] = e.ends_ms;
    return 1;
}

static int get_row(quern__disk *d, quern__lookup *l, size_t at, quern_error *err)
{
    quern__stmt *q;
    int rc = quern__db_prepare(d->db, "SELECT value FROM cache WHERE key = ?1", &q, err);
    if (rc)
        return rc;
    quern__db_bind_blob(d->db, q, 1, l->keys[at].bytes, sizeof l->keys[at].bytes);
    rc = read_row(d, l, at, q, err);
    quern__db_finish(d->db, q);
    return rc;
}

static int get_one(quern__disk *d, quern__lookup *l, size_t at, quern_error *err)
{
    const waiting *w = in_list(d, &l->keys[at]);
    if (!w)
        return get_row(d, l, at, err);
    if (w->entry.dim != l->dim || is_over(w->entry.ends_ms, l->now_ms))
        return 0;
    memcpy(l->out + at * l->dim, w->vector, (size_t)l->dim * sizeof(float));
    l->tokens[at] = w->entry.tokens;
    l->created_ms[at] = w->entry.created_ms;
    l->ends_ms[at] = w->entry.ends_ms;
    return 1;
}

size_t quern__disk_get(quern__disk *d, quern__lookup *l, uint8_t mark)
{
    size_t found = 0;
    quern_error err = {0};
    quern__mutex_lock(d->mutex);
    if (is_old(d))
        flush(d, NULL);
    bool reading = quern__db_read_begin(d->db);
    for (size_t i = 0; i < l->n; i++) {
        if (l->found[i])
            continue;
        int rc = get_one(d, l, i, &err);
        if (rc < 0)
            failed(d, &err);
        d->new.hits += rc == 1;
        d->new.misses += rc != 1;
        if (rc == 1 && d->n_used < MOST_USED)
            d->used[d->n_used++] = (use){l->keys[i], d->n_list};
        if (rc == 1) {
            l->found[i] = mark;
            found++;
        }
    }
    quern__db_read_end(d->db, reading);
    quern__mutex_unlock(d->mutex);
    return found;
}

/* ---- looking after it ---- */

bool quern__disk_has(quern__disk *d, const quern_cache_key *key, int64_t now_ms)
{
    quern__stmt *q;
    quern_error err = {0};
    bool there = false;
    quern__mutex_lock(d->mutex);
    const waiting *w = in_list(d, key);
    if (w)
        there = !is_over(w->entry.ends_ms, now_ms);
    else if (quern__db_prepare(d->db, "SELECT ends_ms FROM cache WHERE key = ?1", &q, &err) == 0) {
        quern__db_bind_blob(d->db, q, 1, key->bytes, sizeof key->bytes);
        there = quern__db_step(d->db, q, &err) == 1 && !is_over(quern__db_get_int(q, 0), now_ms);
        quern__db_finish(d->db, q);
    }
    if (err.status)
        failed(d, &err);
    quern__mutex_unlock(d->mutex);
    return there;
}

bool quern__disk_remove(quern__disk *d, const quern_cache_key *key)
{
    quern_error err = {0};
    bool there = quern__disk_has(d, key, 0);
    quern__mutex_lock(d->mutex);
    flush(d, NULL);
    int rc = quern__db_begin(d->db, &err);
    if (!rc && (rc = remove_row(d, key, &err)) != QUERN_OK)
        quern__db_rollback(d->db);
    else if (!rc)
        rc = quern__db_commit(d->db, &err);
    if (rc)
        failed(d, &err);
    quern__mutex_unlock(d->mutex);
    return there && !rc;
}

static int change(quern__disk *d, const char *sql, int64_t now_ms, uint64_t *changed,
                  quern_error *err)
{
    quern__stmt *q;
    int rc = quern__db_begin(d->db, err);
    if (rc)
        return rc;
    rc = quern__db_prepare(d->db, sql, &q, err);
    if (!rc) {
        if (now_ms)
            quern__db_bind_int(d->db, q, 1, now_ms);
        rc = quern__db_run(d->db, q, err);
    }
    *changed = rc ? 0 : (uint64_t)quern__db_changes(d->db);
    if (!rc)
        rc = quern__db_exec(
            d->db,
            "UPDATE cache_size SET bytes = (SELECT coalesce(sum(length(value)), 0) FROM cache),"
            " entries = (SELECT count(*) FROM cache)",
            err);
    if (!rc)
        return quern__db_commit(d->db, err);
    quern__db_rollback(d->db);
    return rc;
}

uint64_t quern__disk_expire(quern__disk *d, int64_t now_ms)
{
    quern_error err = {0};
    uint64_t gone = 0;
    quern__mutex_lock(d->mutex);
    flush(d, NULL);
    if (change(d, "DELETE FROM cache WHERE ends_ms <> 0 AND ends_ms <= ?1", now_ms, &gone, &err))
        failed(d, &err);
    d->new.expired += gone;
    quern__mutex_unlock(d->mutex);
    return gone;
}

/* Pages that hold nothing any more go back to the file system. */
static int give_back(quern__disk *d, quern_error *err)
{
    int64_t empty = 0;
    int rc = quern__db_int(d->db, "PRAGMA freelist_count", &empty, err);
    if (rc >= 0)
        rc = empty ? quern__db_exec(d->db, "VACUUM", err) : QUERN_OK;
    return rc < 0 ? rc : quern__db_exec(d->db, "PRAGMA wal_checkpoint(TRUNCATE)", err);
}

int quern__disk_clear(quern__disk *d, quern_error *err)
{
    uint64_t gone;
    quern__mutex_lock(d->mutex);
    forget_list(d);
    int rc = change(d, "DELETE FROM cache", 0, &gone, err);
    if (!rc) /* while somebody reads it cannot, and the next vectors fill the space */
        give_back(d, NULL);
    quern__mutex_unlock(d->mutex);
    return rc;
}

/* Bounds of the file, and one slice of what is too much by them: the first slice comes with the bounds, so whoever is
 * killed in between has set them, and the next transaction of anybody evicts the rest. */
static int set_bounds(quern__disk *d, const quern__bounds *most, uint64_t *gone, quern_error *err)
{
    quern__stmt *q;
    int rc = quern__db_begin(d->db, err);
    if (rc)
        return rc;
    rc = quern__db_prepare(d->db,
                           "UPDATE cache_size SET most_entries = CASE WHEN ?1 = 0 THEN"
                           " most_entries WHEN ?1 > 0 THEN ?1 END, most_bytes = CASE WHEN ?2 = 0"
                           " THEN most_bytes WHEN ?2 > 0 THEN ?2 END",
                           &q, err);
    if (!rc) {
        quern__db_bind_int(d->db, q, 1, most->entries > INT64_MAX ? -1 : (int64_t)most->entries);
        quern__db_bind_int(d->db, q, 2, most->bytes > INT64_MAX ? -1 : (int64_t)most->bytes);
        rc = quern__db_run(d->db, q, err);
    }
    if (!rc)
        rc = evict(d, SLICE, gone, err);
    if (!rc)
        return quern__db_commit(d->db, err);
    quern__db_rollback(d->db);
    return rc;
}

int quern__disk_resize(quern__disk *d, quern__bounds most, uint64_t *gone, quern_error *err)
{
    uint64_t some = 0;
    *gone = 0;
    quern__mutex_lock(d->mutex);
    d->own = (quern__bounds){0, 0}; /* what is said now is what holds */
    int rc = flush(d, err);
    do {
        if (!rc)
            rc = set_bounds(d, &most, &some, err);
        *gone += rc ? 0 : some;
    } while (!rc && some == SLICE);
    d->new.evictions += *gone;
    if (!rc)
        rc = give_back(d, err);
    quern__mutex_unlock(d->mutex);
    return rc;
}

void quern__disk_stats(quern__disk *d, quern_cache_stats *out)
{
    quern__bounds has = {0, 0}, most = {0, 0};
    quern__stmt *q;
    memset(out, 0, sizeof *out);
    quern__mutex_lock(d->mutex);
    flush(d, NULL);
    read_size(d, &has, &most, NULL);
    out->there = 1;
    out->entries = has.entries;
    out->bytes = has.bytes;
    out->capacity = most.entries;
    out->capacity_bytes = most.bytes;
    if (quern__db_prepare(d->db,
                          "SELECT hits, misses, evictions, expired,"
                          " (SELECT coalesce(avg(uses), 0) FROM cache) FROM cache_size",
                          &q, NULL) == QUERN_OK) {
        if (quern__db_step(d->db, q, NULL) == 1) {
            out->hits = (uint64_t)quern__db_get_int(q, 0);
            out->misses = (uint64_t)quern__db_get_int(q, 1);
            out->evictions = (uint64_t)quern__db_get_int(q, 2);
            out->expired = (uint64_t)quern__db_get_int(q, 3);
            out->mean_uses = quern__db_get_real(q, 4);
        }
        quern__db_finish(d->db, q);
    }
    out->damaged = d->damaged;
    out->failures = d->failures;
    quern__mutex_unlock(d->mutex);
}

/* A row, told when it is sound. */
static int tell_row(quern__disk *d, quern__stmt *q, float **room, uint32_t *dims,
                    int (*fn)(const quern_cache_entry *e, void *ud), void *ud, quern_error *err)
{
    quern_str bytes = quern__db_get_blob(q, 0);
    int64_t dim = quern__db_get_int(q, 1);
    quern_cache_entry told = {.struct_size = sizeof told};
    quern__entry e;
    if (bytes.len != sizeof told.key.bytes || dim < 1 || dim > UINT16_MAX)
        return QUERN_OK;
    memcpy(told.key.bytes, bytes.ptr, sizeof told.key.bytes);
    if (*dims < (uint32_t)dim) {
        float *grown = quern__resize_array(*room, (size_t)dim, sizeof *grown);
        if (!grown)
            return quern__fail_memory(err, (size_t)dim * sizeof *grown);
        *room = grown;
        *dims = (uint32_t)dim;
    }
    if (quern__value_read(&told.key, quern__db_get_blob(q, 2), (uint32_t)dim, *room, &e) !=
        QUERN__VALUE_GOOD) {
        d->damaged++;
        return QUERN_OK;
    }
    told.dimensions = e.dim;
    told.tokens = e.tokens;
    told.created_ms = e.created_ms;
    told.ends_ms = e.ends_ms;
    told.vector = *room;
    return fn(&told, ud);
}

int quern__disk_each(quern__disk *d, int (*fn)(const quern_cache_entry *e, void *ud), void *ud,
                     quern_error *err)
{
    quern__stmt *q;
    float *room = NULL;
    uint32_t dims = 0;
    int step = 0;
    quern__mutex_lock(d->mutex);
    flush(d, NULL);
    int rc = quern__db_prepare(d->db, "SELECT key, dim, value FROM cache ORDER BY used", &q, err);
    while (!rc && (step = quern__db_step(d->db, q, err)) == 1)
        rc = tell_row(d, q, &room, &dims, fn, ud, err);
    quern__db_finish(d->db, q);
    quern__mutex_unlock(d->mutex);
    quern__free(room);
    return rc ? rc : step < 0 ? step : QUERN_OK;
}
