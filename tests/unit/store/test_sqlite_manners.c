/*
 * test_sqlite_manners.c — quern as a guest: a program that writes 100 rows a second with a busy timeout of
 * 1 s never gets SQLITE_BUSY while quern fills, adds and removes in the same file, and its commits stay
 * under 200 ms (beyond what its slowest took alone, on this disk, just before): 99 of 100 here, for other tests use the
 * disk as well; the slowest is printed. Once on the disk as it is, once on one whose every sync takes 5 ms
 * more, by a VFS around the default one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sqlite3.h>

#include "base/os.h"
#include "quern/quern.h"
#include "unit/pipeline/fake_embedder.h"

/* ---- a disk whose syncs take long ---- */

static atomic_uint sync_ms;
static _Thread_local int syncs; /* of this thread */
static sqlite3_vfs slow_vfs, *real_vfs;
static struct {
    const sqlite3_io_methods *real;
    sqlite3_io_methods slow;
} methods[8];

static int slow_sync(sqlite3_file *file, int flags)
{
    syncs++;
    quern__sleep_ms(atomic_load(&sync_ms));
    for (size_t i = 0; i < 8; i++)
        if (file->pMethods == &methods[i].slow)
            return methods[i].real->xSync(file, flags);
    return SQLITE_IOERR;
}

/* The real file keeps its own memory; only its table of methods is exchanged for one whose xSync waits. */
static int slow_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    (void)vfs;
    int rc = real_vfs->xOpen(real_vfs, name, file, flags, out);
    for (size_t i = 0; i < 8 && file->pMethods; i++)
        if (methods[i].real == file->pMethods) {
            file->pMethods = &methods[i].slow;
            break;
        } else if (!methods[i].real) {
            methods[i].slow = *file->pMethods;
            methods[i].slow.xSync = slow_sync;
            methods[i].real = file->pMethods;
            file->pMethods = &methods[i].slow;
            break;
        }
    return rc;
}

/* ---- the user's program ---- */

enum { BEHIND_MS = 10 };

typedef struct writer {
    const char *db;
    atomic_bool stop;
    int rows, busy, failed;
    double slowest_ms;
} writer;

static void write_rows(void *ud)
{
    writer *w = ud;
    sqlite3 *db = NULL;
    sqlite3_open(w->db, &db);
    sqlite3_busy_timeout(db, 1000);
    while (!atomic_load(&w->stop)) {
        char *sql = sqlite3_mprintf("INSERT INTO log (line) VALUES ('row %d')", w->rows);
        uint64_t began = quern__now_ns();
        int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
        double ms = (double)(quern__now_ns() - began) / 1e6;
        sqlite3_free(sql);
        w->rows++;
        w->busy += rc == SQLITE_BUSY;
        w->failed += rc != SQLITE_OK;
        w->slowest_ms = ms > w->slowest_ms ? ms : w->slowest_ms;
        /* a hundred a second; where a commit alone takes that long, every other 10 ms are left to others */
        quern__sleep_ms(ms < 9 ? (uint32_t)(10 - ms) : BEHIND_MS);
    }
    sqlite3_close(db);
}

/* The work of quern's that goes on meanwhile. */
static void work(const char *db, quern_embedder *e, const char *jsonl)
{
    quern_error err = {.status = 0};
    quern_store *s = NULL;
    quern_store_options so;
    quern_source_spec spec;
    quern_fill_options fo;
    QUERN_INIT(&so);
    QUERN_INIT(&spec);
    QUERN_INIT(&fo);
    so.db = db;
    spec.name = spec.table = "items";
    spec.keys = "id";
    spec.text = "{title}";
    const char *step = "open";
    int rc = quern_store_open(&s, &so, &err);
    if (!rc && (step = "source add"))
        rc = quern_source_add(s, &spec, &err);
    if (!rc && (step = "add"))
        rc = quern_add(s, &jsonl, 1, NULL, NULL, &err);
    if (!rc && (step = "fill"))
        rc = quern_fill(s, e, &fo, NULL, &err);
    if (!rc && (step = "remove"))
        rc = quern_source_remove(s, "documents", &err);
    quern_store_free(s);
    if (rc)
        fail_msg("%s: %s (%lld)", step, err.msg, (long long)err.detail);
}

static double alone(const char *db, uint32_t ms)
{
    writer w = {.db = db};
    quern__thread *t = NULL;
    assert_int_equal(quern__thread_start(&t, write_rows, &w, NULL), QUERN_OK);
    quern__sleep_ms(ms);
    atomic_store(&w.stop, true);
    quern__thread_join(t);
    assert_int_equal(w.failed, 0);
    return w.slowest_ms;
}

static void guest(unsigned sync, int documents)
{
    char dir[200], db[300], jsonl[300];
    const char *tmp = getenv("TMPDIR");
    fake_embedder fake = {0};
    quern_embedder *e = fake_open(&fake);
    snprintf(dir, sizeof dir, "%s/quern-guest-%u", tmp ? tmp : "/tmp", quern__os_pid());
    snprintf(db, sizeof db, "%s/user.db", dir);
    snprintf(jsonl, sizeof jsonl, "%s/in.jsonl", dir);
    quern__remove_tree(dir, NULL);
    assert_int_equal(quern__make_dirs(dir, NULL), QUERN_OK);
    sqlite3 *user = NULL;
    assert_int_equal(sqlite3_open(db, &user), SQLITE_OK);
    char *sql = sqlite3_mprintf(
        "CREATE TABLE items (id INTEGER PRIMARY KEY, title TEXT);"
        "CREATE TABLE log (id INTEGER PRIMARY KEY, line TEXT);"
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
        "INSERT INTO items SELECT i, 'words of item ' || i FROM n",
        documents);
    assert_int_equal(sqlite3_exec(user, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_free(sql);
    sqlite3_close(user);
    FILE *f = fopen(jsonl, "w");
    for (int i = 0; i < documents; i++)
        fprintf(f, "{\"id\":\"%d\",\"text\":\"text of document %d\"}\n", i, i);
    fclose(f);

    atomic_store(&sync_ms, sync);
    writer w = {.db = db};
    double before = alone(db, 1000);
    quern__thread *t = NULL;
    assert_int_equal(quern__thread_start(&t, write_rows, &w, NULL), QUERN_OK);
    syncs = 0;
    work(db, e, jsonl);
    const int ours = syncs;
    atomic_store(&w.stop, true);
    quern__thread_join(t);
    atomic_store(&sync_ms, 0);
    print_message("%d rows, %d busy, slowest commit %.0f ms (alone %.0f ms); %d syncs of ours\n",
                  w.rows, w.busy, w.slowest_ms, before, ours);
    quern_embedder_free(e);
    quern__remove_tree(dir, NULL);
    assert_int_equal(w.busy, 0);
    assert_int_equal(w.failed, 0);
    assert_true(w.rows > 10);
    /* four a transaction: many documents in one, on a slow disk too */
    assert_true(ours < 2 * documents);
}

static void on_this_disk(void **state)
{
    (void)state;
    guest(0, getenv("QUERN_LONG") ? 20000 : 2000);
}

static void on_a_slow_disk(void **state)
{
    (void)state;
    guest(5, getenv("QUERN_LONG") ? 10000 : 1000);
}

int main(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    slow_vfs = *real_vfs;
    slow_vfs.zName = "slow";
    slow_vfs.xOpen = slow_open;
    if (sqlite3_vfs_register(&slow_vfs, 1) != SQLITE_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_this_disk),
        cmocka_unit_test(on_a_slow_disk),
    };
    return cmocka_run_group_tests_name("manners", tests, NULL, NULL);
}
