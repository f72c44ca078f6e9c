/*
 * postgres_db.h — a thin wrapper over libpq: one connection, statements whose values are always bound, short
 * transactions, and errors of ours. Nothing here knows quern's tables.
 *
 * It works behind a pooler in transaction mode: no prepared statement has a name, no setting outlives its
 * transaction, nothing is kept in the session. A connection that was lost is an EIO of the call that noticed, and
 * is made anew by the next begin, or query outside a transaction.
 *
 * Everything that is not a checked identifier or a trusted piece of SQL is bound. What a parameter refers to must
 * live until the query returns.
 */
#ifndef QUERN_DB_POSTGRES_DB_H
#define QUERN_DB_POSTGRES_DB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"

typedef struct quern__pg quern__pg;
typedef struct pg_result quern__pg_result;

/* Types of the catalogue that never change. */
enum quern__pg_oid {
    QUERN__PG_BOOL = 16,
    QUERN__PG_BYTEA = 17,
    QUERN__PG_INT8 = 20,
    QUERN__PG_INT2 = 21,
    QUERN__PG_INT4 = 23,
    QUERN__PG_TEXT = 25,
    QUERN__PG_FLOAT4 = 700,
    QUERN__PG_FLOAT8 = 701,
    QUERN__PG_NUMERIC = 1700,
    QUERN__PG_BYTEA_ARRAY = 1001,
    QUERN__PG_TEXT_ARRAY = 1009,
    QUERN__PG_INT8_ARRAY = 1016,
    QUERN__PG_FLOAT8_ARRAY = 1022
};

/* lock_ms: how long a statement waits for a lock of somebody else's before EBUSY. EIO when nobody answers,
 * EUNSUPPORTED below PostgreSQL 15, EINVAL for a URL that is none. Messages never show the password. */
int quern__pg_open(quern__pg **out, const char *url, uint32_t lock_ms, quern_error *err);
/* What a URL says, option by option in libpq's words ("host", "password"). EINVAL as above. */
int quern__pg_url_each(const char *url, int (*fn)(const char *option, const char *value, void *ud),
                       void *ud, quern_error *err);
/* A connection of the caller's: never closed, never made anew. A transaction of his that is open is joined, by a
 * savepoint: what we do goes with it, its settings come back, and it is never committed. */
int quern__pg_borrow(quern__pg **out, void *connection, uint32_t lock_ms, quern_error *err);
/* From now on a statement outside a transaction is waited for so long, and so is a server that restarts; then it is EIO. */
void quern__pg_hurry(quern__pg *db, uint32_t within_ms);
/* A second connection to where db is connected; EUNSUPPORTED when db is borrowed. */
int quern__pg_again(quern__pg **out, const quern__pg *db, quern_error *err);
void quern__pg_close(quern__pg *db);             /* NULL is fine */
const char *quern__pg_name(const quern__pg *db); /* "host:port/database", for messages */
/* The five letters of the last failed statement ("23505"), "" when it was none of the server's. */
const char *quern__pg_sqlstate(const quern__pg *db);

/* ---- parameters: $1, $2 … in the order of these calls ---- */
enum { QUERN__PG_PARAMS = 48 };
typedef struct quern__pg_params {
    int n; /* may run past the room: the query then fails */
    uint32_t types[QUERN__PG_PARAMS];
    const char *values[QUERN__PG_PARAMS];
    int lengths[QUERN__PG_PARAMS];
    unsigned char numbers[QUERN__PG_PARAMS][8];
    bool failed; /* a value that is too long, an array that failed */
} quern__pg_params;
void quern__pg_params_init(quern__pg_params *p);
void quern__pg_null(quern__pg_params *p); /* of type text */
void quern__pg_int(quern__pg_params *p, int64_t v);
void quern__pg_real(quern__pg_params *p, double v);
/* text. For a value of another type: "CAST($1 AS uuid)", as it would be written. */
void quern__pg_text(quern__pg_params *p, quern_str v);
void quern__pg_blob(quern__pg_params *p, const void *data, size_t n);
/* Bytes of a type's binary form. */
void quern__pg_binary(quern__pg_params *p, uint32_t type, const void *data, size_t n);

/* An array to be bound: "… FROM unnest($1::text[], $2::bigint[])" instead of a statement a row. */
typedef struct quern__pg_array {
    uint32_t element, type;
    uint32_t n;
    quern__buf body;
} quern__pg_array;
/* element QUERN__PG_TEXT, INT8, BYTEA or FLOAT8 need no type (0); of others both, from pg_type. */
void quern__pg_array_init(quern__pg_array *a, uint32_t element, uint32_t type);
void quern__pg_array_dispose(quern__pg_array *a);
void quern__pg_array_clear(quern__pg_array *a);
void quern__pg_array_int(quern__pg_array *a, int64_t v);
void quern__pg_array_bytes(quern__pg_array *a, const void *data, size_t n); /* text, bytea, … */
/* Room for one element of n bytes, to be written at once; NULL: failed, which bind reports. */
void *quern__pg_array_room(quern__pg_array *a, size_t n);
void quern__pg_array_null(quern__pg_array *a);
/* Nothing may be added between this and the query. */
void quern__pg_bind_array(quern__pg_params *p, quern__pg_array *a);

/* ---- statements ---- */
enum quern__pg_format { QUERN__PG_AS_TEXT, QUERN__PG_AS_BINARY };
/* One statement, its whole result. params may be NULL. An error of SQL is EINVAL; a table, column or function
 * that is not there too, with the server's words; a unique violation EEXISTS; a lock that was waited for too
 * long, a deadlock or a serialization failure EBUSY; a connection that is gone EIO; a full disk EIO. */
int quern__pg_query(quern__pg *db, const char *sql, const quern__pg_params *params, int format,
                    quern__pg_result **out, quern_error *err);
void quern__pg_clear(quern__pg_result *r); /* NULL is fine */
/* For statements whose rows do not matter; *changed (NULL is fine): rows that were written. */
int quern__pg_run(quern__pg *db, const char *sql, const quern__pg_params *params, int64_t *changed,
                  quern_error *err);
/* First column of the first row: 1 and *out, 0 when there is no row. */
int quern__pg_scalar(quern__pg *db, const char *sql, const quern__pg_params *params, int64_t *out,
                     quern_error *err);
/* Several statements without parameters or results: a migration. */
int quern__pg_script(quern__pg *db, const char *sql, quern_error *err);

/* One statement without parameters outside a transaction, that may take minutes. ECANCELLED: the server was told to
 * stop, and has. */
int quern__pg_run_long(quern__pg *db, const char *sql, const quern_cancel *cancel,
                       quern_error *err);

/* Waits up to wait_ms for a notification of a channel that the connection listens to; *heard: there was one. EIO when
 * the connection is gone. Outside a transaction. */
int quern__pg_hear(quern__pg *db, uint32_t wait_ms, int *heard, quern_error *err);

size_t quern__pg_rows(const quern__pg_result *r);
int quern__pg_columns(const quern__pg_result *r);
const char *quern__pg_column_name(const quern__pg_result *r, int column);
uint32_t quern__pg_column_type(const quern__pg_result *r, int column); /* an oid */
bool quern__pg_is_null(const quern__pg_result *r, size_t row, int column);
/* Whole numbers and booleans, in either format; 0 for NULL. */
int64_t quern__pg_get_int(const quern__pg_result *r, size_t row, int column);
double quern__pg_get_real(const quern__pg_result *r, size_t row, int column);
/* The bytes as they came: text (NUL-terminated), or a type's binary form. Borrowed until clear. ptr NULL: NULL. */
quern_str quern__pg_get_text(const quern__pg_result *r, size_t row, int column);
/* A bytea, in either format (text is decoded into the arena). */
int quern__pg_get_blob(const quern__pg_result *r, size_t row, int column, quern__arena *arena,
                       quern_str *out, quern_error *err);

/* ---- transactions ---- */
enum quern__pg_access { QUERN__PG_WRITE, QUERN__PG_READ };
/* READ COMMITTED. Within it: dates as ISO 8601 in UTC, bytea as hex, floats as their shortest spelling, and
 * lock_timeout; so values of the user's are read inside a transaction, or their spelling depends on settings. */
int quern__pg_begin(quern__pg *db, int access, quern_error *err);
int quern__pg_commit(quern__pg *db, quern_error *err); /* on an error it is rolled back */
void quern__pg_rollback(quern__pg *db);
bool quern__pg_in_transaction(const quern__pg *db);
/* begin, fn, commit; all again, five times at most with a growing pause, when somebody else's lock, a deadlock or a
 * serialization failure ended it: fn must be able to run again from its start. fn's error rolls back. */
int quern__pg_transact(quern__pg *db, int access, int (*fn)(void *ud, quern_error *err), void *ud,
                       quern_error *err);

/* ---- SQL text (quoting and names: db/sql_text.h) ---- */
/* As quern__sql_balanced, by PostgreSQL's rules: E'' and nested comments are understood; dollar quotes and
 * parameters are refused. */
int quern__pg_balanced(const char *sql, const char *what, quern_error *err);

#endif
