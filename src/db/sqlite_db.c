/*
 * sqlite_db.c — connection, statement cache and transactions over sqlite3.
 *
 * The cache is a small array searched by text, least recently used out: a store has some forty statements,
 * a hash would be slower to read than to search. A statement that is in use when its text is asked for
 * again gets a twin that is finalised at finish. Rejected: sqlite3_set_authorizer against writes in trusted
 * SQL (it would replace the one of a borrowed connection and expires every statement); parentheses around
 * the text plus sqlite3_stmt_readonly say the same.
 */
#include "db/sqlite_db.h"

#include <sqlite3.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"

enum { CACHED = 64, LONGEST_PAUSE_MS = 250 };

typedef struct cached {
    char *sql;
    sqlite3_stmt *stmt;
    uint64_t used;
    bool busy;
} cached;

struct quern__db {
    sqlite3 *conn;
    char *path;
    bool borrowed, shared, joined;
    uint32_t busy_ms;
    int bind_rc;             /* first failed bind since the last step */
    uint64_t waits_since_ns; /* of the lock that is being waited for */
    uint64_t clock, began_ns, ended_ns, lasted_ns;
    cached cache[CACHED];
};

static int status_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return QUERN_EBUSY;
    case SQLITE_NOMEM:
        return QUERN_ENOMEM;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return QUERN_EFORMAT;
    case SQLITE_INTERRUPT:
        return QUERN_ECANCELLED;
    case SQLITE_CONSTRAINT:
        return QUERN_EEXISTS;
    case SQLITE_ERROR:
    case SQLITE_TOOBIG:
    case SQLITE_RANGE:
    case SQLITE_MISMATCH:
        return QUERN_EINVAL;
    case SQLITE_MISUSE:
        return QUERN_EINTERNAL;
    default:
        return QUERN_EIO;
    }
}

/* The fault of the last sqlite3 call, in our words. */
static int fail(quern__db *db, int code, quern_error *err)
{
    const char *name = db->path[0] ? db->path : "database";
    int status = status_of(code);
    if (status == QUERN_EBUSY)
        return quern__fail(err, status, code,
                           "%s: locked by another program for over %u ms; try again", name,
                           db->busy_ms);
    if (code == SQLITE_READONLY_ROLLBACK || code == SQLITE_READONLY_RECOVERY)
        return quern__fail(err, status, code,
                           "%s: a program that wrote to it has crashed; open it once with one that "
                           "may write, so that SQLite can mend it",
                           name);
    if (status == QUERN_EFORMAT)
        return quern__fail(err, status, code, "%s: not a SQLite database, or damaged: %s", name,
                           sqlite3_errmsg(db->conn));
    return quern__fail(err, status, code, "%s: %s", name, sqlite3_errmsg(db->conn));
}

static int new_db(quern__db **out, const char *path, quern_error *err)
{
    quern__db *db = quern__calloc(1, sizeof *db);
    if (!db)
        return quern__fail_memory(err, sizeof *db);
    db->path = quern__strdup(path);
    if (!db->path) {
        quern__free(db);
        return quern__fail_memory(err, strlen(path));
    }
    *out = db;
    return QUERN_OK;
}

/* Called while a lock is held by somebody else. SQLite's own handler soon sleeps 100 ms at a time, and never meets
 * the short gaps that a program leaves which writes all the time: this one looks every 1 to 5 ms. */
static int wait_a_little(void *ud, int times)
{
    quern__db *db = ud;
    uint64_t now = quern__now_ns();
    if (times == 0)
        db->waits_since_ns = now;
    if (now - db->waits_since_ns >= (uint64_t)db->busy_ms * 1000000)
        return 0;
    quern__sleep_ms(1 + (uint32_t)times * 3 % 5);
    return 1;
}

int quern__db_open(quern__db **out, const char *path, int mode, uint32_t busy_ms, quern_error *err)
{
    quern__db *db = NULL;
    *out = NULL;
    quern__stat st;
    int rc = quern__stat_path(path, &st, err);
    if (rc)
        return rc;
    if (!st.exists && mode != QUERN__DB_CREATE)
        return quern__fail(err, QUERN_ENOTFOUND, 0, "%s: there is no such file", path);
    if (st.exists && !st.is_file)
        return quern__fail(err, QUERN_EINVAL, 0, "%s: not a regular file", path);
    rc = new_db(&db, path, err);
    if (rc)
        return rc;
    int flags = mode == QUERN__DB_READ ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    if (mode == QUERN__DB_CREATE)
        flags |= SQLITE_OPEN_CREATE;
    db->busy_ms = busy_ms;
    int code =
        sqlite3_open_v2(path, &db->conn, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (!code)
        code = sqlite3_busy_handler(db->conn, wait_a_little, db);
    if (!code) /* in a predicate, "colour" without such a column must be an error, not the text 'colour' */
        code = sqlite3_db_config(db->conn, SQLITE_DBCONFIG_DQS_DML, 0, (int *)NULL);
    if (!code) /* opening is lazy: the first read looks at the file */
        code = sqlite3_exec(db->conn, "SELECT count(*) FROM sqlite_master", NULL, NULL, NULL);
    if (code) {
        rc = db->conn ? fail(db, code, err) : quern__fail_memory(err, 0);
        quern__db_close(db);
        return rc;
    }
    *out = db;
    return QUERN_OK;
}

bool quern__db_is_borrowed(const quern__db *db)
{
    return db->borrowed;
}

int quern__db_borrow(quern__db **out, void *connection, quern_error *err)
{
    *out = NULL;
    const char *path = sqlite3_db_filename(connection, "main");
    quern__db *db = NULL;
    int rc = new_db(&db, path ? path : "", err);
    if (rc)
        return rc;
    db->conn = connection;
    db->borrowed = true;
    *out = db;
    return QUERN_OK;
}

void quern__db_close(quern__db *db)
{
    if (!db)
        return;
    for (size_t i = 0; i < CACHED; i++) {
        sqlite3_finalize(db->cache[i].stmt);
        quern__free(db->cache[i].sql);
    }
    if (!db->borrowed)
        sqlite3_close(db->conn);
    quern__free(db->path);
    quern__free(db);
}

const char *quern__db_path(const quern__db *db)
{
    return db->path;
}

void quern__db_set_shared(quern__db *db, bool shared)
{
    db->shared = shared;
}

int quern__db_exec(quern__db *db, const char *sql, quern_error *err)
{
    int code = sqlite3_exec(db->conn, sql, NULL, NULL, NULL);
    return code ? fail(db, code, err) : QUERN_OK;
}

int quern__db_int(quern__db *db, const char *sql, int64_t *out, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(db, sql, &stmt, err);
    if (rc)
        return rc;
    rc = quern__db_step(db, stmt, err);
    if (rc == 1)
        *out = quern__db_get_int(stmt, 0);
    quern__db_finish(db, stmt);
    return rc;
}

/* A free place in the cache: an empty one, else the one that was idle longest; NULL when all are busy. */
static cached *place(quern__db *db)
{
    cached *best = NULL;
    for (size_t i = 0; i < CACHED; i++) {
        cached *c = &db->cache[i];
        if (!c->stmt)
            return c;
        if (!c->busy && (!best || c->used < best->used))
            best = c;
    }
    return best;
}

int quern__db_prepare(quern__db *db, const char *sql, quern__stmt **out, quern_error *err)
{
    *out = NULL;
    bool twin = false;
    db->bind_rc = SQLITE_OK;
    for (size_t i = 0; i < CACHED; i++) {
        cached *c = &db->cache[i];
        if (!c->stmt || strcmp(c->sql, sql) != 0)
            continue;
        if (c->busy) {
            twin = true;
            break;
        }
        c->busy = true;
        c->used = ++db->clock;
        *out = c->stmt;
        return QUERN_OK;
    }
    sqlite3_stmt *stmt = NULL;
    const char *tail = NULL;
    int code =
        sqlite3_prepare_v3(db->conn, sql, -1, twin ? 0 : SQLITE_PREPARE_PERSISTENT, &stmt, &tail);
    if (code || !stmt)
        return code ? fail(db, code, err)
                    : quern__fail(err, QUERN_EINVAL, 0, "an empty SQL statement");
    if (tail && *tail) {
        sqlite3_finalize(stmt);
        return quern__fail(err, QUERN_EINVAL, 0, "more than one SQL statement: '%.60s'", tail);
    }
    cached *c = twin ? NULL : place(db);
    char *copy = c ? quern__strdup(sql) : NULL;
    if (c && !copy) {
        sqlite3_finalize(stmt);
        return quern__fail_memory(err, strlen(sql));
    }
    if (c) {
        sqlite3_finalize(c->stmt);
        quern__free(c->sql);
        *c = (cached){copy, stmt, ++db->clock, true};
    }
    *out = stmt;
    return QUERN_OK;
}

void quern__db_finish(quern__db *db, quern__stmt *stmt)
{
    if (!stmt)
        return;
    for (size_t i = 0; i < CACHED; i++)
        if (db->cache[i].stmt == stmt) {
            sqlite3_reset(stmt);
            sqlite3_clear_bindings(stmt);
            db->cache[i].busy = false;
            return;
        }
    sqlite3_finalize(stmt);
}

int quern__db_step(quern__db *db, quern__stmt *stmt, quern_error *err)
{
    if (db->bind_rc) {
        int code = db->bind_rc;
        db->bind_rc = SQLITE_OK;
        return quern__fail(err, status_of(code), code,
                           "a value that the database does not take: %s", sqlite3_errstr(code));
    }
    int code = sqlite3_step(stmt);
    if (code == SQLITE_ROW)
        return 1;
    return code == SQLITE_DONE ? 0 : fail(db, code, err);
}

int64_t quern__db_changes(const quern__db *db)
{
    return sqlite3_changes64(db->conn);
}

int64_t quern__db_last_id(const quern__db *db)
{
    return sqlite3_last_insert_rowid(db->conn);
}

static void bound(quern__db *db, int code)
{
    if (code && !db->bind_rc)
        db->bind_rc = code;
}

void quern__db_bind_int(quern__db *db, quern__stmt *stmt, int at, int64_t v)
{
    bound(db, sqlite3_bind_int64(stmt, at, v));
}

void quern__db_bind_real(quern__db *db, quern__stmt *stmt, int at, double v)
{
    bound(db, sqlite3_bind_double(stmt, at, v));
}

void quern__db_bind_text(quern__db *db, quern__stmt *stmt, int at, quern_str v)
{
    const char *p = v.ptr ? v.ptr : "";
    bound(db, sqlite3_bind_text64(stmt, at, p, v.len, SQLITE_STATIC, SQLITE_UTF8));
}

void quern__db_bind_blob(quern__db *db, quern__stmt *stmt, int at, const void *data, size_t n)
{
    bound(db, sqlite3_bind_blob64(stmt, at, data ? data : "", n, SQLITE_STATIC));
}

int quern__db_columns(quern__stmt *stmt)
{
    return sqlite3_column_count(stmt);
}

const char *quern__db_column_name(quern__stmt *stmt, int at)
{
    return sqlite3_column_name(stmt, at);
}

int quern__db_type(quern__stmt *stmt, int at)
{
    switch (sqlite3_column_type(stmt, at)) {
    case SQLITE_INTEGER:
        return QUERN__DB_INT;
    case SQLITE_FLOAT:
        return QUERN__DB_REAL;
    case SQLITE_TEXT:
        return QUERN__DB_TEXT;
    case SQLITE_BLOB:
        return QUERN__DB_BLOB;
    default:
        return QUERN__DB_NULL;
    }
}

int64_t quern__db_get_int(quern__stmt *stmt, int at)
{
    return sqlite3_column_int64(stmt, at);
}

double quern__db_get_real(quern__stmt *stmt, int at)
{
    return sqlite3_column_double(stmt, at);
}

quern_str quern__db_get_text(quern__stmt *stmt, int at)
{
    quern_str s;
    s.ptr = (const char *)sqlite3_column_text(stmt, at);
    s.len = s.ptr ? (size_t)sqlite3_column_bytes(stmt, at) : 0;
    return s;
}

quern_str quern__db_get_blob(quern__stmt *stmt, int at)
{
    quern_str s;
    s.ptr = sqlite3_column_blob(stmt, at);
    s.len = s.ptr ? (size_t)sqlite3_column_bytes(stmt, at) : 0;
    return s;
}

/* The pause that a shared file is owed since our last write transaction. */
static void pause_between(quern__db *db)
{
    if (!db->shared || !db->ended_ns)
        return;
    uint64_t owed = QUERN__MIN(db->lasted_ns, (uint64_t)LONGEST_PAUSE_MS * 1000000);
    uint64_t since = quern__now_ns() - db->ended_ns;
    if (since < owed)
        quern__sleep_ms((uint32_t)((owed - since) / 1000000 + 1));
}

int quern__db_begin(quern__db *db, quern_error *err)
{
    db->joined = !sqlite3_get_autocommit(db->conn);
    if (!db->joined)
        pause_between(db);
    int rc = quern__db_exec(db, db->joined ? "SAVEPOINT quern_save" : "BEGIN IMMEDIATE", err);
    db->began_ns = quern__now_ns();
    return rc;
}

static void ended(quern__db *db)
{
    db->ended_ns = quern__now_ns();
    db->lasted_ns = db->ended_ns - db->began_ns;
}

int quern__db_run(quern__db *db, quern__stmt *stmt, quern_error *err)
{
    int rc;
    bool alone = sqlite3_get_autocommit(db->conn) && !sqlite3_stmt_readonly(stmt);
    if (alone) { /* a transaction of its own */
        pause_between(db);
        db->began_ns = quern__now_ns();
    }
    while ((rc = quern__db_step(db, stmt, err)) == 1)
        ;
    quern__db_finish(db, stmt);
    if (alone)
        ended(db);
    return rc;
}

int quern__db_commit(quern__db *db, quern_error *err)
{
    int rc = quern__db_exec(db, db->joined ? "RELEASE quern_save" : "COMMIT", err);
    if (rc)
        quern__db_rollback(db);
    else
        ended(db);
    return rc;
}

void quern__db_rollback(quern__db *db)
{
    if (!sqlite3_get_autocommit(db->conn)) /* SQLite may have rolled back by itself */
        sqlite3_exec(db->conn,
                     db->joined ? "ROLLBACK TO quern_save; RELEASE quern_save" : "ROLLBACK", NULL,
                     NULL, NULL);
    ended(db);
}

bool quern__db_read_begin(quern__db *db)
{
    return sqlite3_get_autocommit(db->conn) &&
           sqlite3_exec(db->conn, "BEGIN", NULL, NULL, NULL) == SQLITE_OK;
}

void quern__db_read_end(quern__db *db, bool begun)
{
    if (begun && !sqlite3_get_autocommit(db->conn))
        sqlite3_exec(db->conn, "COMMIT", NULL, NULL, NULL);
}
