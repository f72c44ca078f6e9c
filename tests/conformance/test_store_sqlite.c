/* test_store_sqlite.c — the SQLite store through the suite: in one file (journal "delete" and WAL), with its
 * tables in a file of their own beside a database that it opens read-only, and on a borrowed connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sqlite3.h>

#include "base/os.h"
#include "quern/sys/store.h"
#include "store/store.h"

enum how { ONE_FILE, WAL, OWN_FILE, BORROWED, MEMORY };

typedef struct world {
    enum how how;
    int opened;
    char dir[256];
    sqlite3 *user;
    quern_store
        *store; /* the handle whose instance the suite drives; freed when the next one opens */
    quern_store_table table;
} world;

static void close_instance(void *self)
{
    (void)self; /* the suite closes instances, the world its handles */
}

static void forget(world *w)
{
    quern_store_free(w->store);
    sqlite3_close(w->user);
    w->store = NULL;
    w->user = NULL;
}

static int open_fresh(void **self, void *ud, quern_error *err)
{
    world *w = ud;
    char db[300], own[300];
    forget(w);
    snprintf(db, sizeof db, "%s/user%d.db", w->dir, ++w->opened);
    snprintf(own, sizeof own, "%s/own%d.db", w->dir, w->opened);
    assert_int_equal(sqlite3_open(w->how == MEMORY ? ":memory:" : db, &w->user), SQLITE_OK);
    sqlite3_busy_timeout(w->user, 1000);
    assert_int_equal(
        sqlite3_exec(w->user,
                     "CREATE TABLE items (id INTEGER PRIMARY KEY, title TEXT, body TEXT, rev TEXT)",
                     NULL, NULL, NULL),
        SQLITE_OK);
    quern_store_options opt;
    QUERN_INIT(&opt);
    if (w->how == BORROWED || w->how == MEMORY)
        opt.connection = w->user;
    else
        opt.db = db;
    opt.store = w->how == OWN_FILE ? own : NULL;
    opt.wal = w->how == WAL;
    int rc = quern_store_open(&w->store, &opt, err);
    if (rc)
        return rc;
    w->table = w->store->table;
    w->table.close = close_instance;
    *self = w->store->self;
    return QUERN_OK;
}

static int put_item(void *self, int64_t id, const char *title, const char *body, const char *rev,
                    void *ud, quern_error *err)
{
    (void)self, (void)err;
    world *w = ud;
    char *sql = sqlite3_mprintf("INSERT OR REPLACE INTO items VALUES (%lld, %Q, %Q, %Q)",
                                (long long)id, title, body, rev);
    int rc = sqlite3_exec(w->user, sql, NULL, NULL, NULL);
    sqlite3_free(sql);
    return rc ? QUERN_EIO : QUERN_OK;
}

static int remove_item(void *self, int64_t id, void *ud, quern_error *err)
{
    (void)self, (void)err;
    world *w = ud;
    char *sql = sqlite3_mprintf("DELETE FROM items WHERE id = %lld", (long long)id);
    int rc = sqlite3_exec(w->user, sql, NULL, NULL, NULL);
    sqlite3_free(sql);
    return rc ? QUERN_EIO : QUERN_OK;
}

static void run(enum how how)
{
    world w = {.how = how};
    quern_conformance c;
    quern_error err = {.status = 0};
    const char *tmp = getenv("TMPDIR");
    snprintf(w.dir, sizeof w.dir, "%s/quern-conformance-%u", tmp ? tmp : "/tmp", quern__os_pid());
    quern__remove_tree(w.dir, NULL);
    assert_int_equal(quern__make_dirs(w.dir, NULL), QUERN_OK);
    QUERN_INIT(&c);
    c.open = open_fresh;
    c.put = put_item;
    c.remove = remove_item;
    c.ud = &w;
    /* the table is the same for every instance; one is opened to have it */
    void *self;
    assert_int_equal(open_fresh(&self, &w, &err), QUERN_OK);
    c.table = &w.table;
    int rc = quern_store_conformance(&c, &err);
    forget(&w);
    quern__remove_tree(w.dir, NULL);
    if (rc)
        fail_msg("%s (line %lld)", err.msg, (long long)err.detail);
}

static void one_file(void **state)
{
    (void)state;
    run(ONE_FILE);
}

static void wal(void **state)
{
    (void)state;
    run(WAL);
}

static void own_file(void **state)
{
    (void)state;
    run(OWN_FILE);
}

static void borrowed(void **state)
{
    (void)state;
    run(BORROWED);
}

static void memory(void **state)
{
    (void)state;
    run(MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_file), cmocka_unit_test(wal),    cmocka_unit_test(own_file),
        cmocka_unit_test(borrowed), cmocka_unit_test(memory),
    };
    return cmocka_run_group_tests_name("store conformance, sqlite", tests, NULL, NULL);
}
