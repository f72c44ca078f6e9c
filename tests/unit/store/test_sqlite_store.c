/* test_sqlite_store.c — the SQLite store against real files: keys of every kind, sources, manners. */
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
#include "store/sqlite/sqlite_store.h"
#include "store/store.h"

typedef struct fixture {
    char dir[256], db[300];
    sqlite3 *user; /* the other program */
    quern_store *store;
    quern_error err;
} fixture;

static void sql(fixture *f, const char *text)
{
    char *message = NULL;
    int rc = sqlite3_exec(f->user, text, NULL, NULL, &message);
    if (rc)
        fail_msg("%s: %s", text, message);
}

static int64_t number(fixture *f, const char *text)
{
    sqlite3_stmt *stmt;
    assert_int_equal(sqlite3_prepare_v2(f->user, text, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    int64_t v = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return v;
}

static int setup(void **state)
{
    static int count;
    fixture *f = calloc(1, sizeof *f);
    const char *tmp = getenv("TMPDIR");
    snprintf(f->dir, sizeof f->dir, "%s/quern-store-%u-%d", tmp ? tmp : "/tmp", quern__os_pid(),
             count++);
    quern__remove_tree(f->dir, NULL);
    assert_int_equal(quern__make_dirs(f->dir, NULL), QUERN_OK);
    snprintf(f->db, sizeof f->db, "%s/user.db", f->dir);
    assert_int_equal(sqlite3_open(f->db, &f->user), SQLITE_OK);
    sql(f, "CREATE TABLE items (id INTEGER PRIMARY KEY, title TEXT, body TEXT, rev INTEGER)");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    quern_store_free(f->store);
    sqlite3_close(f->user);
    quern__remove_tree(f->dir, NULL);
    free(f);
    return 0;
}

static void open_store(fixture *f)
{
    quern_store_options opt;
    QUERN_INIT(&opt);
    opt.db = f->db;
    int rc = quern_store_open(&f->store, &opt, &f->err);
    if (rc)
        fail_msg("open: %s", f->err.msg);
}

static quern_source_spec spec_of(const char *name, const char *table, const char *keys,
                                 const char *text)
{
    quern_source_spec s;
    QUERN_INIT(&s);
    s.name = name;
    s.table = table;
    s.keys = keys;
    s.text = text;
    return s;
}

static void add(fixture *f, const quern_source_spec *spec)
{
    int rc = quern_source_add(f->store, spec, &f->err);
    if (rc)
        fail_msg("add: %s", f->err.msg);
}

static void refused(fixture *f, const quern_source_spec *spec, int status, const char *word)
{
    assert_int_equal(quern_source_add(f->store, spec, &f->err), status);
    if (!strstr(f->err.msg, word))
        fail_msg("'%s' does not say '%s'", f->err.msg, word);
}

/* Keys (or faults, in brackets) of a scan, joined by a blank, read in pages of `limit`. */
typedef struct listing {
    char text[4096], last[4096];
    size_t n, used;
} listing;

static int list_row(const quern_row *row, void *ud)
{
    listing *l = ud;
    l->n++;
    l->used += (size_t)snprintf(l->text + l->used, sizeof l->text - l->used, "%s%.*s%s",
                                l->used ? " " : "", row->fault ? 1 : (int)row->key.len,
                                row->fault ? "!" : row->key.ptr,
                                row->fault && strstr(row->fault, "same") ? "dup" : "");
    snprintf(l->last, sizeof l->last, "%.*s", (int)row->key.len, row->key.ptr);
    return 0;
}

static const char *list_all(fixture *f, const quern_read *read, size_t limit)
{
    static listing l;
    memset(&l, 0, sizeof l);
    size_t before;
    do {
        char after[4096];
        memcpy(after, l.last, sizeof after);
        before = l.n;
        int rc = f->store->table.scan(f->store->self, read, quern_str_of(after), limit, list_row,
                                      &l, &f->err);
        if (rc)
            fail_msg("scan: %s", f->err.msg);
        assert_true(l.n - before <= limit);
    } while (l.n - before == limit);
    return l.text;
}

static void expect_keys(fixture *f, const quern_source_spec *spec, const char *want)
{
    const char *columns[] = {"body"};
    quern_read read = {.source = spec, .columns = columns, .n_columns = 1};
    for (size_t limit = 1; limit < 8; limit++)
        assert_string_equal(list_all(f, &read, limit), want);
    uint64_t rows = 0;
    assert_int_equal(f->store->table.count(f->store->self, &read, &rows, &f->err), QUERN_OK);
}

static void keys_of_every_kind(void **state)
{
    fixture *f = *state;
    open_store(f);
    sql(f, "INSERT INTO items VALUES (3,'c','x',1),(1,'a','x',1),(-7,'z','x',1)");
    quern_source_spec s = spec_of("items", "items", "id", "{title}");
    add(f, &s);
    expect_keys(f, &s, "-7 1 3");

    sql(f, "CREATE TABLE nocase (k TEXT COLLATE NOCASE PRIMARY KEY, body TEXT);"
           "INSERT INTO nocase VALUES ('b','x'),('A','x'),('C','x'),(NULL,'x'),(NULL,'y')");
    s = spec_of("nocase", "nocase", "k", "{body}");
    add(f, &s);
    expect_keys(f, &s, "! ! \"A\" \"b\" \"C\"");

    sql(f, "CREATE TABLE blobs (k BLOB PRIMARY KEY, body TEXT) WITHOUT ROWID;"
           "INSERT INTO blobs VALUES (x'00ff','x'),(x'','x'),(x'01','x')");
    s = spec_of("blobs", "blobs", "k", "{body}");
    add(f, &s);
    expect_keys(f, &s, "{\"blob\":\"\"} {\"blob\":\"00ff\"} {\"blob\":\"01\"}");

    sql(f, "CREATE TABLE pair (a INT, b TEXT, body TEXT, PRIMARY KEY (a DESC, b)) WITHOUT ROWID;"
           "INSERT INTO pair VALUES (1,'x','t'),(1,'y','t'),(2,'a','t'),(0,'q','t')");
    s = spec_of("pair", "pair", "a, b", "{body}");
    add(f, &s);
    expect_keys(f, &s, "[0,\"q\"] [1,\"x\"] [1,\"y\"] [2,\"a\"]");

    sql(f, "CREATE TABLE mixed (k UNIQUE, body TEXT);"
           "INSERT INTO mixed VALUES "
           "(5,'x'),('5','x'),(5.5,'x'),(x'35','x'),(NULL,'x'),(CAST(x'ff' AS TEXT),'x')");
    s = spec_of("mixed", "mixed", "k", "{body}");
    add(f, &s);
    expect_keys(f, &s, "! 5 5.5 \"5\" ! {\"blob\":\"35\"}");

    /* primary keys of rowid tables that may hold NULL, whatever their type */
    sql(f, "CREATE TABLE halves (a INTEGER, b INTEGER, body TEXT, PRIMARY KEY (a, b));"
           "INSERT INTO halves VALUES (NULL,1,'x'),(1,2,'x'),(NULL,2,'x'),(1,1,'x')");
    s = spec_of("halves", "halves", "a,b", "{body}");
    add(f, &s);
    expect_keys(f, &s, "! ! [1,1] [1,2]");
    sql(f, "CREATE TABLE down (a INTEGER PRIMARY KEY DESC, body TEXT);"
           "INSERT INTO down VALUES (NULL,'x'),(2,'x'),(NULL,'y'),(1,'x')");
    s = spec_of("down", "down", "a", "{body}");
    add(f, &s);
    expect_keys(f, &s, "! ! 1 2");

    sql(f, "CREATE TABLE dup (k, body TEXT); INSERT INTO dup VALUES "
           "(1,'a'),(1,'b'),(2,'c'),(1,'d'),(3,'e'),(3,'f');"
           "CREATE VIEW dups AS SELECT k, body FROM dup");
    s = spec_of("dups", "dups", "k", "{body}");
    add(f, &s);
    expect_keys(f, &s, "!dup !dup !dup 2 !dup !dup");

    QUERN_INIT(&s);
    s.name = "joined";
    s.query =
        "SELECT i.id * 10 AS k, d.body FROM items i JOIN dup d ON d.k = i.id WHERE d.body = 'a'";
    s.keys = "k";
    s.text = "{body}";
    add(f, &s);
    expect_keys(f, &s, "10");
}

static void hostile_names(void **state)
{
    fixture *f = *state;
    open_store(f);
    sql(f, "CREATE TABLE \"we\"\"ird; DROP TABLE items\" (\"a\"\"b\" INTEGER PRIMARY KEY, \"body\" "
           "TEXT)");
    sql(f, "INSERT INTO \"we\"\"ird; DROP TABLE items\" VALUES (4, 'x')");
    quern_source_spec s = spec_of("weird", "we\"ird; DROP TABLE items", "a\"b", "{body}");
    add(f, &s);
    expect_keys(f, &s, "4");
    assert_int_equal(number(f, "SELECT count(*) FROM items"), 0);
}

static void refusals(void **state)
{
    fixture *f = *state;
    open_store(f);
    sql(f,
        "CREATE TABLE nokey (k INT, body TEXT); CREATE UNIQUE INDEX part ON nokey (k) WHERE k > 0");
    quern_source_spec s = spec_of("items", "items", "id", "{title}");
    add(f, &s);
    refused(f, &s, QUERN_EEXISTS, "already");
    s.name = "a b";
    refused(f, &s, QUERN_EINVAL, "source name");
    s = spec_of("x", "nokey", "k", "{body}");
    refused(f, &s, QUERN_EINVAL, "no unique key");
    s = spec_of("x", "nothing", "id", "{title}");
    refused(f, &s, QUERN_ENOTFOUND, "no table 'nothing'");
    s = spec_of("x", "items", "id", "{titel}");
    refused(f, &s, QUERN_ENOTFOUND, "no column 'titel'; it has: id, title, body, rev");
    s = spec_of("x", "items", "idd", "{title}");
    refused(f, &s, QUERN_ENOTFOUND, "no column 'idd'");
    s = spec_of("x", "items", "id", "{title");
    refused(f, &s, QUERN_EINVAL, "not closed");
    s = spec_of("x", "items", "id", NULL);
    refused(f, &s, QUERN_EINVAL, "template");
    s = spec_of("x", "items", NULL, "{title}");
    refused(f, &s, QUERN_EINVAL, "key");
    s = spec_of("x", "items", "id", "{title}");
    s.revision = "version";
    refused(f, &s, QUERN_ENOTFOUND, "'version'");
    static const char *const bad[] = {
        "id >", "1) OR (1", "1; DELETE FROM items", "id = ?", "id = :x", "/* 1", "'x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        s = spec_of("x", "items", "id", "{title}");
        s.where = bad[i];
        refused(f, &s, QUERN_EINVAL, i ? "predicate" : "syntax error");
    }
    static const char *const worse[] = {
        "DELETE FROM items", "SELECT 1; SELECT 2", "PRAGMA user_version = 3",
        "INSERT INTO items VALUES (9,'','',1) RETURNING id", "SELECT ?1 AS id"};
    for (size_t i = 0; i < sizeof worse / sizeof *worse; i++) {
        QUERN_INIT(&s);
        s.name = "x";
        s.query = worse[i];
        s.keys = "id";
        s.text = "{id}";
        assert_int_equal(quern_source_add(f->store, &s, &f->err), QUERN_EINVAL);
    }
    assert_int_equal(number(f, "SELECT count(*) FROM items"), 0);
    s.table = "items";
    refused(f, &s, QUERN_EINVAL, "not both");
}

static void predicate_and_since(void **state)
{
    fixture *f = *state;
    open_store(f);
    sql(f, "INSERT INTO items VALUES (1,'a','x',5),(2,'b','',7),(3,'c','x',70),(4,'d','x',NULL)");
    quern_source_spec s = spec_of("items", "items", "id", "{title}");
    s.where = "items.body <> '' -- not the empty ones";
    s.revision = "rev";
    add(f, &s);
    quern_read read = {.source = &s, .since = "7"};
    assert_string_equal(list_all(f, &read, 2), "3 4");
    uint64_t rows = 0;
    assert_int_equal(f->store->table.count(f->store->self, &read, &rows, &f->err), QUERN_OK);
    assert_int_equal(rows, 2);
    read.since = NULL;
    assert_string_equal(list_all(f, &read, 2), "1 3 4");
    sql(f, "ALTER TABLE items RENAME COLUMN rev TO version");
    assert_int_equal(
        f->store->table.scan(f->store->self, &read, quern_str_of(NULL), 1, list_row, NULL, &f->err),
        QUERN_ENOTFOUND);
    assert_non_null(strstr(f->err.msg, "'rev'"));
}

static void set_keeps_what_is_not_given(void **state)
{
    fixture *f = *state;
    open_store(f);
    quern_source_spec s = spec_of("items", "items", "id", "{title}");
    s.where = "id > 0";
    s.meta = "rev, title";
    add(f, &s);
    QUERN_INIT(&s);
    s.name = "items";
    s.text = "{body}";
    s.where = "";
    assert_int_equal(quern_source_set(f->store, &s, &f->err), QUERN_OK);
    quern_source_list *l = NULL;
    assert_int_equal(quern_source_list_open(&l, f->store, &f->err), QUERN_OK);
    assert_int_equal(quern_source_list_count(l), 1);
    const quern_source_spec *now = quern_source_list_at(l, 0);
    assert_string_equal(now->text, "{body}");
    assert_string_equal(now->keys, "id");
    assert_string_equal(now->meta, "rev, title");
    assert_null(now->where);
    assert_null(now->query);
    quern_source_list_free(l);
    s.name = "nobody";
    assert_int_equal(quern_source_set(f->store, &s, &f->err), QUERN_ENOTFOUND);
    assert_int_equal(quern_source_remove(f->store, "items", &f->err), QUERN_OK);
    assert_int_equal(quern_source_remove(f->store, "items", &f->err), QUERN_ENOTFOUND);
    assert_int_equal(number(f, "SELECT count(*) FROM quern_sources"), 0);
}

static void journal_mode_is_the_users(void **state)
{
    fixture *f = *state;
    open_store(f);
    sqlite3_stmt *stmt;
    sqlite3_prepare_v2(f->user, "PRAGMA journal_mode", -1, &stmt, NULL);
    sqlite3_step(stmt);
    assert_string_equal((const char *)sqlite3_column_text(stmt, 0), "delete");
    sqlite3_finalize(stmt);
}

static void migrations_go_up_and_down(void **state)
{
    fixture *f = *state;
    int64_t version = 0;
    open_store(f);
    quern__sqlite *self = f->store->self;
    assert_int_equal(quern__sqlite_schema(self->own, &version, &f->err), QUERN_OK);
    assert_true(version > 0);
    assert_int_equal(quern__sqlite_migrate_down(self->own, 0, &f->err), QUERN_OK);
    assert_int_equal(number(f, "SELECT count(*) FROM sqlite_master WHERE name LIKE 'quern%'"), 0);
    assert_int_equal(quern__sqlite_migrate(self->own, &f->err), QUERN_OK);
    assert_int_equal(number(f, "SELECT max(version) FROM quern_migrations"), version);
    sql(f, "INSERT INTO quern_migrations VALUES (900, 'later', 0, '9.9.9')");
    quern_store_free(f->store);
    quern_store_options opt;
    QUERN_INIT(&opt);
    opt.db = f->db;
    assert_int_equal(quern_store_open(&f->store, &opt, &f->err), QUERN_EMISMATCH);
    assert_null(f->store);
    assert_non_null(strstr(f->err.msg, "9.9.9"));
    assert_non_null(strstr(f->err.msg, quern_version_string()));
    assert_int_equal(number(f, "PRAGMA user_version"), 0);
}

static void doors_that_stay_shut(void **state)
{
    fixture *f = *state;
    char path[320];
    quern_store_options opt;
    QUERN_INIT(&opt);
    opt.db = f->db;
    opt.read_only = 1;
    assert_int_equal(quern_store_open(&f->store, &opt, &f->err), QUERN_ENOTFOUND);
    assert_int_equal(number(f, "SELECT count(*) FROM sqlite_master"), 1); /* nothing was made */
    opt.read_only = 0;
    opt.db = "postgres://user:secret@127.0.0.1:1/x"; /* nobody listens there */
    int rc = quern_store_open(&f->store, &opt, &f->err);
    assert_true(rc == QUERN_EIO || rc == QUERN_EUNSUPPORTED);
    assert_non_null(strstr(f->err.msg, rc == QUERN_EIO ? "127.0.0.1:1/x: no connection"
                                                       : "built without PostgreSQL"));
    assert_null(strstr(f->err.msg, "secret"));
    opt.db = f->dir;
    assert_int_equal(quern_store_open(&f->store, &opt, &f->err), QUERN_EINVAL);
    snprintf(path, sizeof path, "%s/text.db", f->dir);
    assert_int_equal(
        quern__write_file_atomic(
            path, "this is no database, only text that is long enough to be one.....", 64, NULL),
        QUERN_OK);
    opt.db = path;
    assert_int_equal(quern_store_open(&f->store, &opt, &f->err), QUERN_EFORMAT);
    snprintf(path, sizeof path, "%s/absent.db", f->dir);
    opt.store = f->db; /* the user's database must be there */
    assert_int_equal(quern_store_open(&f->store, &opt, &f->err), QUERN_ENOTFOUND);
}

static void own_file_leaves_the_users_alone(void **state)
{
    fixture *f = *state;
    char own[320];
    snprintf(own, sizeof own, "%s/vectors.db", f->dir);
    quern_store_options opt;
    QUERN_INIT(&opt);
    opt.db = f->db;
    opt.store = own;
    assert_int_equal(quern_store_open(&f->store, &opt, &f->err), QUERN_OK);
    sql(f, "INSERT INTO items VALUES (1,'a','b',1)");
    quern_source_spec s = spec_of("items", "items", "id", "{title}");
    add(f, &s);
    expect_keys(f, &s, "1");
    assert_int_equal(number(f, "SELECT count(*) FROM sqlite_master"), 1);
}

static void a_borrowed_transaction_is_joined(void **state)
{
    fixture *f = *state;
    quern_store_options opt;
    QUERN_INIT(&opt);
    opt.connection = f->user;
    assert_int_equal(quern_store_open(&f->store, &opt, &f->err), QUERN_OK);
    sql(f, "BEGIN");
    quern_source_spec s = spec_of("items", "items", "id", "{title}");
    add(f, &s);
    assert_false(sqlite3_get_autocommit(f->user));
    sql(f, "INSERT INTO items VALUES (1,'a','b',1); ROLLBACK");
    assert_int_equal(number(f, "SELECT count(*) FROM quern_sources"), 0);
    sql(f, "BEGIN");
    add(f, &s);
    sql(f, "COMMIT");
    assert_int_equal(number(f, "SELECT count(*) FROM quern_sources"), 1);
}

static int no_block(const int64_t *refs, const void *data, size_t n, void *ud)
{
    (void)refs, (void)data, (void)n, (void)ud;
    return QUERN_OK;
}

static void what_is_set_on_a_borrowed_connection_stays(void **state)
{
    fixture *f = *state;
    static const char *const modes[] = {"PRAGMA secure_delete = 0", "PRAGMA secure_delete = 1",
                                        "PRAGMA secure_delete = FAST"};
    quern_store_options opt;
    QUERN_INIT(&opt);
    opt.connection = f->user;
    assert_int_equal(quern_store_open(&f->store, &opt, &f->err), QUERN_OK);
    for (int i = 0; i < 3; i++) {
        int more = 1;
        sql(f, modes[i]);
        assert_int_equal(f->store->table.kept_drop(f->store->self, 1, &more, &f->err), QUERN_OK);
        assert_int_equal(number(f, "PRAGMA secure_delete"), i);
    }
    sql(f, "INSERT INTO quern_sources (id, name, spec) VALUES (1, 's', '{}')");
    sql(f, "INSERT INTO quern_generations (id, source, state, fingerprint, fingerprint_json, model,"
           " vector_type, dimensions, created_ms) VALUES (1, 1, 'active', 'f', '{}', 'm', 'f16', "
           "4, 0)");
    sql(f, "PRAGMA mmap_size = 65536");
    assert_int_equal(f->store->table.vectors(f->store->self, 1, no_block, NULL, &f->err), QUERN_OK);
    assert_int_equal(number(f, "PRAGMA mmap_size"), 65536);
}

/* Large texts go one by one, lest a transaction lasts as long as all of them take. */
static void kept_texts_go_by_their_size(void **state)
{
    fixture *f = *state;
    int more = 1;
    open_store(f);
    sql(f, "INSERT INTO quern_kept SELECT 1, value, 'r', printf('%.*c', 2097152, 'x')"
           " FROM json_each('[1,2,3]')");
    assert_int_equal(f->store->table.kept_drop(f->store->self, 1, &more, &f->err), QUERN_OK);
    assert_int_equal(more, 1);
    assert_int_equal(number(f, "SELECT count(*) FROM quern_kept"), 2);
    while (more)
        assert_int_equal(f->store->table.kept_drop(f->store->self, 1, &more, &f->err), QUERN_OK);
    assert_int_equal(number(f, "SELECT count(*) FROM quern_kept"), 0);
}

static void a_lock_names_its_holder(void **state)
{
    fixture *f = *state;
    quern_store *other = NULL;
    quern_store_options opt;
    void *held = NULL, *second = NULL;
    char pid[24];
    QUERN_INIT(&opt);
    opt.db = f->db;
    open_store(f);
    assert_int_equal(quern_store_open(&other, &opt, &f->err), QUERN_OK);
    assert_int_equal(f->store->table.lock(f->store->self, "fill:items", 0, &held, &f->err),
                     QUERN_OK);
    assert_int_equal(other->table.lock(other->self, "fill:items", 30, &second, &f->err),
                     QUERN_EBUSY);
    snprintf(pid, sizeof pid, "process %u", quern__os_pid());
    assert_non_null(strstr(f->err.msg, pid));
    assert_non_null(strstr(f->err.msg, "fill:items"));
    f->store->table.unlock(f->store->self, held);
    assert_int_equal(other->table.lock(other->self, "fill:items", 0, &second, &f->err), QUERN_OK);
    other->table.unlock(other->self, second);
    quern_store_free(other);
}

static void a_row_of_a_dead_holder_holds_nothing(void **state)
{
    fixture *f = *state;
    void *held = NULL;
    open_store(f);
    sql(f,
        "INSERT INTO quern_locks VALUES ('fill:items', 'elsewhere', 1, 0)"); /* kill -9 left it */
    assert_int_equal(f->store->table.lock(f->store->self, "fill:items", 0, &held, &f->err),
                     QUERN_OK);
    f->store->table.unlock(f->store->self, held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_of_every_kind, setup, teardown),
        cmocka_unit_test_setup_teardown(hostile_names, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(predicate_and_since, setup, teardown),
        cmocka_unit_test_setup_teardown(set_keeps_what_is_not_given, setup, teardown),
        cmocka_unit_test_setup_teardown(journal_mode_is_the_users, setup, teardown),
        cmocka_unit_test_setup_teardown(migrations_go_up_and_down, setup, teardown),
        cmocka_unit_test_setup_teardown(doors_that_stay_shut, setup, teardown),
        cmocka_unit_test_setup_teardown(own_file_leaves_the_users_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_borrowed_transaction_is_joined, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_set_on_a_borrowed_connection_stays, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(kept_texts_go_by_their_size, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lock_names_its_holder, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_of_a_dead_holder_holds_nothing, setup, teardown),
    };
    return cmocka_run_group_tests_name("sqlite store", tests, NULL, NULL);
}
