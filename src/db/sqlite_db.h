/*
 * sqlite_db.h — a thin wrapper over sqlite3: one connection, its prepared statements by their text, short
 * transactions with manners, and errors of ours. Nothing here knows quern's tables.
 *
 * Rules that callers keep: a statement from prepare goes back with finish before the call of the library
 * that took it returns, because in journal mode "delete" an open read statement makes other programs'
 * commits fail; strings bound must live until finish; everything that is not a checked identifier is bound.
 */
#ifndef QUERN_DB_SQLITE_DB_H
#define QUERN_DB_SQLITE_DB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "db/sql_text.h"

typedef struct quern__db quern__db;
typedef struct sqlite3_stmt quern__stmt;

enum quern__db_mode { QUERN__DB_READ, QUERN__DB_WRITE, QUERN__DB_CREATE };
enum quern__db_type {
    QUERN__DB_NULL,
    QUERN__DB_INT,
    QUERN__DB_REAL,
    QUERN__DB_TEXT,
    QUERN__DB_BLOB
};

/* ENOTFOUND when the file is absent and mode is not CREATE; EFORMAT when it is no SQLite database. */
int quern__db_open(quern__db **out, const char *path, int mode, uint32_t busy_ms, quern_error *err);
/* A connection of the caller's: never closed, its settings never changed. */
bool quern__db_is_borrowed(const quern__db *db);
int quern__db_borrow(quern__db **out, void *connection, quern_error *err);
void quern__db_close(quern__db *db);
const char *quern__db_path(const quern__db *db); /* "" in memory; lives as long as db */
/* Shared with other programs: a write transaction is followed by a pause as long as itself (at most 250 ms),
 * so that somebody who polls for the lock gets it. */
void quern__db_set_shared(quern__db *db, bool shared);

/* One or more statements without results or parameters. */
int quern__db_exec(quern__db *db, const char *sql, quern_error *err);
/* First column of the first row: 1 and *out, 0 when there is no row. */
int quern__db_int(quern__db *db, const char *sql, int64_t *out, quern_error *err);

/* A reset statement without bindings, from the cache when its text is there. An error of SQL is EINVAL. */
int quern__db_prepare(quern__db *db, const char *sql, quern__stmt **out, quern_error *err);
void quern__db_finish(quern__db *db, quern__stmt *stmt); /* NULL is fine */
/* 1 row, 0 end, negative. A failed bind shows here. */
int quern__db_step(quern__db *db, quern__stmt *stmt, quern_error *err);
/* Steps to the end and finishes: for statements that write. */
int quern__db_run(quern__db *db, quern__stmt *stmt, quern_error *err);
int64_t quern__db_changes(const quern__db *db);
int64_t quern__db_last_id(const quern__db *db);

void quern__db_bind_int(quern__db *db, quern__stmt *stmt, int at, int64_t v);
void quern__db_bind_real(quern__db *db, quern__stmt *stmt, int at, double v);
void quern__db_bind_text(quern__db *db, quern__stmt *stmt, int at, quern_str v);
void quern__db_bind_blob(quern__db *db, quern__stmt *stmt, int at, const void *data, size_t n);

int quern__db_columns(quern__stmt *stmt);
const char *quern__db_column_name(quern__stmt *stmt, int at);
int quern__db_type(quern__stmt *stmt, int at);
int64_t quern__db_get_int(quern__stmt *stmt, int at);
double quern__db_get_real(quern__stmt *stmt, int at);
/* Borrowed until the next step or finish. ptr NULL: SQL NULL. */
quern_str quern__db_get_text(quern__stmt *stmt, int at);
quern_str quern__db_get_blob(quern__stmt *stmt, int at);

/* BEGIN IMMEDIATE, waiting at most the busy timeout; inside a transaction of the caller's a SAVEPOINT. */
int quern__db_begin(quern__db *db, quern_error *err);
int quern__db_commit(quern__db *db, quern_error *err); /* on an error it is rolled back */
void quern__db_rollback(quern__db *db);
/* Brackets many small reads that belong together: one lock for all of them. Nothing that takes long may stand
 * between the two. Errors show in the reads. */
bool quern__db_read_begin(quern__db *db);
void quern__db_read_end(quern__db *db, bool begun);

/* ---- SQL text (the rest: db/sql_text.h) ---- */
/* A whole trusted statement is tried: one statement, it only reads, no parameters. EINVAL with SQLite's words. */
int quern__sql_try(quern__db *db, const char *sql, const char *what, quern_error *err);

#endif
