/*
 * postgres_db.c — connections, statements and transactions over libpq.
 *
 * Every statement goes through PQexecParams unnamed, because a pooler in transaction mode gives each transaction
 * another server connection; settings are SET LOCAL, sent with BEGIN in one round trip. Parameters travel in binary:
 * they carry their length, and nothing is quoted. Rejected: prepared statements by name (a pooler loses them),
 * PQreset on every fault (only a connection that is gone is made anew, and never inside a transaction, where
 * the first half would be lost silently).
 */
#include "db/postgres_db.h"

#include <libpq-fe.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"

enum {
    OLDEST_SERVER = 150000,
    RECONNECT_MS = 15000, /* a server that restarts is waited for */
    ARRAY_HEADER = 20,
    LONGEST_ARRAY = 512 << 20,
    TRIES = 5
};

struct quern__pg {
    PGconn *conn;
    char *url, *name;
    uint32_t lock_ms, within_ms;
    bool begun;  /* a transaction of ours is open, or was when the connection broke */
    bool lost;   /* the last fault was the connection's */
    bool unsure; /* it went while COMMIT was under way */
    bool borrowed, joined;
    quern__buf restore; /* what brings the settings of a joined transaction back */
    char sqlstate[6];
};

/* ---- faults ---- */

static int status_of(const char *state)
{
    static const struct {
        const char *prefix;
        int status;
    } map[] = {
        {"23505", QUERN_EEXISTS},   {"23P01", QUERN_EEXISTS},   {"42P07", QUERN_EEXISTS},
        {"55P03", QUERN_EBUSY},     {"40001", QUERN_EBUSY},     {"40P01", QUERN_EBUSY},
        {"57014", QUERN_EBUSY},     {"55006", QUERN_EBUSY},     {"53300", QUERN_EBUSY},
        {"53200", QUERN_ENOMEM},    {"25P02", QUERN_EINTERNAL}, {"3D", QUERN_ENOTFOUND},
        {"0A", QUERN_EUNSUPPORTED}, {"54", QUERN_EUNSUPPORTED}, {"42", QUERN_EINVAL},
        {"22", QUERN_EINVAL},       {"21", QUERN_EINVAL},       {"23", QUERN_EINVAL},
        {"25", QUERN_EINVAL},       {"3F", QUERN_EINVAL},       {"P0", QUERN_EINVAL},
        {"2F", QUERN_EINVAL},       {"38", QUERN_EINVAL},
    };
    for (size_t i = 0; i < QUERN__COUNT(map); i++)
        if (strncmp(state, map[i].prefix, strlen(map[i].prefix)) == 0)
            return map[i].status;
    return QUERN_EIO;
}

/* libpq's words on one line, without the newline at their end. */
static void one_line(const char *from, char *out, size_t size)
{
    size_t n = 0;
    for (; from && *from && n + 1 < size; from++)
        if (*from != '\n' && *from != '\t')
            out[n++] = *from;
        else if (n && out[n - 1] != ' ')
            out[n++] = ' ';
    while (n && out[n - 1] == ' ')
        n--;
    out[n] = '\0';
}

/* The fault of the last call, in our words; res may be NULL, and is not cleared. */
static int fault(quern__pg *db, const PGresult *res, quern_error *err)
{
    char text[512];
    const char *state = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
    db->sqlstate[0] = '\0';
    if (state && strlen(state) == 5)
        memcpy(db->sqlstate, state, 6);
    /* a server that is told to stop says so before it hangs up; one behind it (a shard) only fails a statement */
    const char *weight = res ? PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED) : NULL;
    bool only_error = weight && strcmp(weight, "ERROR") == 0;
    db->lost = PQstatus(db->conn) == CONNECTION_BAD ||
               (strncmp(db->sqlstate, "57P0", 4) == 0 && !only_error);
    if (db->lost) {
        db->sqlstate[0] = '\0';
        one_line(PQerrorMessage(db->conn), text, sizeof text);
        return quern__fail(err, QUERN_EIO, 0, "%s: the connection is gone: %s", db->name, text);
    }
    const char *said = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    one_line(said ? said : PQerrorMessage(db->conn), text, sizeof text);
    int status = db->sqlstate[0] ? status_of(db->sqlstate) : QUERN_EIO;
    if (strcmp(db->sqlstate, "55P03") == 0)
        return quern__fail(err, status, 0,
                           "%s: locked by another program for over %u ms (%s); try again", db->name,
                           db->lock_ms, text);
    return quern__fail(err, status, 0, "%s: %s", db->name, text);
}

const char *quern__pg_sqlstate(const quern__pg *db)
{
    return db->sqlstate;
}

const char *quern__pg_name(const quern__pg *db)
{
    return db->name;
}

/* ---- connections ---- */

static void hear_nothing(void *ud, const PGresult *notice)
{
    (void)ud, (void)notice;
}

/* "host:port/database" into db->name. */
static int set_name(quern__pg *db, quern_error *err)
{
    quern__buf b;
    const char *host = PQhost(db->conn), *port = PQport(db->conn), *base = PQdb(db->conn);
    quern__buf_init(&b, 4096);
    quern__buf_printf(&b, "%s:%s/%s", host && *host ? host : "localhost", port ? port : "",
                      base ? base : "");
    char *name = quern__buf_detach(&b);
    quern__buf_dispose(&b);
    if (!name)
        return quern__fail_memory(err, 0);
    quern__free(db->name);
    db->name = name;
    return QUERN_OK;
}

/* Is this a URL that libpq understands? Its complaint is passed on where it cannot quote a password. */
static int check_url(const char *url, quern_error *err)
{
    char *said = NULL, text[256];
    PQconninfoOption *parts = PQconninfoParse(url, &said);
    if (parts) {
        PQconninfoFree(parts);
        return QUERN_OK;
    }
    one_line(strchr(url, '@') || strstr(url, "password") ? "it cannot be parsed" : said, text,
             sizeof text);
    PQfreemem(said);
    return quern__fail(err, QUERN_EINVAL, 0, "no PostgreSQL URL: %s", text);
}

int quern__pg_url_each(const char *url, int (*fn)(const char *option, const char *value, void *ud),
                       void *ud, quern_error *err)
{
    int rc = check_url(url, err);
    if (rc)
        return rc;
    PQconninfoOption *parts = PQconninfoParse(url, NULL);
    if (!parts)
        return quern__fail_memory(err, strlen(url));
    for (PQconninfoOption *o = parts; o->keyword && !rc; o++)
        if (o->val)
            rc = fn(o->keyword, o->val, ud);
    PQconninfoFree(parts);
    return rc;
}

int quern__pg_open(quern__pg **out, const char *url, uint32_t lock_ms, quern_error *err)
{
    *out = NULL;
    int rc = check_url(url, err);
    if (rc)
        return rc;
    quern__pg *db = quern__calloc(1, sizeof *db);
    if (!db)
        return quern__fail_memory(err, sizeof *db);
    db->lock_ms = lock_ms;
    db->url = quern__strdup(url);
    db->name = quern__strdup("PostgreSQL");
    if (!db->url || !db->name) {
        rc = quern__fail_memory(err, strlen(url));
        goto done;
    }
    /* what stands before the URL it may override, what stands behind it not */
    static const char *const names[] = {"connect_timeout", "fallback_application_name", "dbname",
                                        "client_encoding", NULL};
    const char *const values[] = {"10", "quern", url, "UTF8", NULL};
    db->conn = PQconnectdbParams(names, values, 1);
    if (!db->conn) {
        rc = quern__fail_memory(err, 0);
        goto done;
    }
    rc = set_name(db, err);
    if (!rc && PQstatus(db->conn) != CONNECTION_OK) {
        char text[512];
        one_line(PQerrorMessage(db->conn), text, sizeof text);
        rc = quern__fail(err, QUERN_EIO, 0, "%s: no connection: %s", db->name, text);
    }
    if (!rc && PQserverVersion(db->conn) < OLDEST_SERVER)
        rc = quern__fail(err, QUERN_EUNSUPPORTED, PQserverVersion(db->conn),
                         "%s: PostgreSQL %d; quern needs 15 or newer", db->name,
                         PQserverVersion(db->conn) / 10000);
    if (!rc)
        PQsetNoticeReceiver(db->conn, hear_nothing, NULL);
done:
    if (rc)
        quern__pg_close(db);
    else
        *out = db;
    return rc;
}

int quern__pg_borrow(quern__pg **out, void *connection, uint32_t lock_ms, quern_error *err)
{
    *out = NULL;
    quern__pg *db = quern__calloc(1, sizeof *db);
    if (!db)
        return quern__fail_memory(err, sizeof *db);
    db->conn = connection;
    db->borrowed = true;
    db->lock_ms = lock_ms;
    quern__buf_init(&db->restore, 4096);
    int rc = set_name(db, err);
    PGTransactionStatusType at = PQtransactionStatus(db->conn);
    const char *encoding = PQparameterStatus(db->conn, "client_encoding");
    if (!rc && PQstatus(db->conn) != CONNECTION_OK)
        rc = quern__fail(err, QUERN_EIO, 0, "%s: the connection that was lent is gone", db->name);
    if (!rc && at != PQTRANS_IDLE && at != PQTRANS_INTRANS)
        rc = quern__fail(err, QUERN_EINVAL, at,
                         "%s: the connection that was lent is busy, or its transaction has failed",
                         db->name);
    if (!rc && encoding && strcmp(encoding, "UTF8") != 0)
        rc = quern__fail(err, QUERN_EINVAL, 0,
                         "%s: the connection that was lent speaks %s; it has to be UTF8", db->name,
                         encoding);
    if (!rc && PQserverVersion(db->conn) < OLDEST_SERVER)
        rc = quern__fail(err, QUERN_EUNSUPPORTED, PQserverVersion(db->conn),
                         "%s: PostgreSQL %d; quern needs 15 or newer", db->name,
                         PQserverVersion(db->conn) / 10000);
    if (rc)
        quern__pg_close(db);
    else
        *out = db;
    return rc;
}

int quern__pg_again(quern__pg **out, const quern__pg *db, quern_error *err)
{
    *out = NULL;
    if (db->borrowed)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                           "%s: a lock needs a connection of its own; open the store by its URL",
                           db->name);
    return quern__pg_open(out, db->url, db->lock_ms, err);
}

void quern__pg_close(quern__pg *db)
{
    if (!db)
        return;
    if (!db->borrowed)
        PQfinish(db->conn);
    quern__buf_dispose(&db->restore);
    quern__free(db->url);
    quern__free(db->name);
    quern__free(db);
}

/* Makes a connection that was lost anew; a server that restarts is given some time. */
static int reconnect(quern__pg *db, quern_error *err)
{
    uint64_t patience_ms = db->within_ms ? db->within_ms : RECONNECT_MS;
    uint64_t until = quern__now_ns() + patience_ms * 1000000;
    uint32_t pause = 50;
    if (db->borrowed)
        return fault(db, NULL, err);
    for (;;) {
        PQreset(db->conn);
        if (PQstatus(db->conn) == CONNECTION_OK) {
            PQsetNoticeReceiver(db->conn, hear_nothing, NULL);
            db->lost = false;
            return QUERN_OK;
        }
        if (quern__now_ns() > until)
            return fault(db, NULL, err);
        quern__sleep_ms(pause);
        pause = QUERN__MIN(2 * pause, 1000U);
    }
}

/* ---- parameters ---- */

static void put_be(unsigned char *out, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)(v >> (8 * (n - 1 - i)));
}

static uint64_t get_be(const char *from, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | (unsigned char)from[i];
    return v;
}

void quern__pg_params_init(quern__pg_params *p)
{
    p->n = 0;
    p->failed = false;
}

void quern__pg_binary(quern__pg_params *p, uint32_t type, const void *data, size_t n)
{
    if (p->n >= QUERN__PG_PARAMS || n > INT_MAX) {
        p->failed = true;
        return;
    }
    p->types[p->n] = type;
    p->values[p->n] = data ? data : "";
    p->lengths[p->n] = (int)n;
    p->n++;
}

void quern__pg_null(quern__pg_params *p)
{
    quern__pg_binary(p, QUERN__PG_TEXT, "", 0);
    if (!p->failed)
        p->values[p->n - 1] = NULL;
}

static void put_number(quern__pg_params *p, uint32_t type, uint64_t bits)
{
    if (p->n >= QUERN__PG_PARAMS) {
        p->failed = true;
        return;
    }
    put_be(p->numbers[p->n], bits, 8);
    quern__pg_binary(p, type, p->numbers[p->n], 8);
}

void quern__pg_int(quern__pg_params *p, int64_t v)
{
    put_number(p, QUERN__PG_INT8, (uint64_t)v);
}

void quern__pg_real(quern__pg_params *p, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_number(p, QUERN__PG_FLOAT8, bits);
}

void quern__pg_text(quern__pg_params *p, quern_str v)
{
    quern__pg_binary(p, QUERN__PG_TEXT, v.ptr, v.len);
}

void quern__pg_blob(quern__pg_params *p, const void *data, size_t n)
{
    quern__pg_binary(p, QUERN__PG_BYTEA, data, n);
}

/* ---- arrays: dimensions, has nulls, element type, length, lower bound; then length and bytes of each ---- */

void quern__pg_array_init(quern__pg_array *a, uint32_t element, uint32_t type)
{
    a->element = element;
    a->type = type                         ? type
              : element == QUERN__PG_TEXT  ? QUERN__PG_TEXT_ARRAY
              : element == QUERN__PG_BYTEA ? QUERN__PG_BYTEA_ARRAY
              : element == QUERN__PG_INT8  ? QUERN__PG_INT8_ARRAY
                                           : QUERN__PG_FLOAT8_ARRAY;
    quern__buf_init(&a->body, LONGEST_ARRAY);
    quern__pg_array_clear(a);
}

void quern__pg_array_dispose(quern__pg_array *a)
{
    quern__buf_dispose(&a->body);
}

void quern__pg_array_clear(quern__pg_array *a)
{
    static const char header[ARRAY_HEADER];
    a->n = 0;
    quern__buf_clear(&a->body);
    quern__buf_append(&a->body, header, sizeof header);
}

void *quern__pg_array_room(quern__pg_array *a, size_t n)
{
    unsigned char length[4];
    char *room = n <= LONGEST_ARRAY ? quern__buf_reserve(&a->body, n + 4) : NULL;
    if (!room || a->body.failed) {
        a->body.failed = true;
        return NULL;
    }
    put_be(length, n, 4);
    memcpy(room, length, 4);
    a->body.len += n + 4;
    a->n++;
    return room + 4;
}

void quern__pg_array_bytes(quern__pg_array *a, const void *data, size_t n)
{
    void *room = quern__pg_array_room(a, n);
    if (room && n)
        memcpy(room, data, n);
}

void quern__pg_array_int(quern__pg_array *a, int64_t v)
{
    void *room = quern__pg_array_room(a, 8);
    if (room)
        put_be(room, (uint64_t)v, 8);
}

void quern__pg_array_null(quern__pg_array *a)
{
    quern__buf_append(&a->body, "\xff\xff\xff\xff", 4);
    a->n++;
}

void quern__pg_bind_array(quern__pg_params *p, quern__pg_array *a)
{
    if (a->body.failed || !a->body.data) {
        p->failed = true;
        return;
    }
    unsigned char *h = (unsigned char *)a->body.data;
    put_be(h, a->n > 0, 4);
    put_be(h + 4, 1, 4);
    put_be(h + 8, a->element, 4);
    put_be(h + 12, a->n, 4);
    put_be(h + 16, 1, 4);
    quern__pg_binary(p, a->type, a->body.data, a->n ? a->body.len : 12);
}

/* ---- statements ---- */

void quern__pg_hurry(quern__pg *db, uint32_t within_ms)
{
    db->within_ms = within_ms;
}

/* The statement has been sent; NULL: no answer in time, and the connection is no longer used. */
static PGresult *result_in_time(quern__pg *db)
{
    uint64_t until = quern__now_ns() + (uint64_t)db->within_ms * 1000000;
    while (PQisBusy(db->conn)) {
        uint64_t now = quern__now_ns();
        if (now >= until) {
            db->lost = true;
            return NULL;
        }
        quern__wait_readable(PQsocket(db->conn), (uint32_t)((until - now) / 1000000 + 1));
        if (!PQconsumeInput(db->conn))
            break;
    }
    PGresult *last = NULL, *res;
    while ((res = PQgetResult(db->conn))) {
        PQclear(last);
        last = res;
    }
    return last;
}

int quern__pg_query(quern__pg *db, const char *sql, const quern__pg_params *params, int format,
                    quern__pg_result **out, quern_error *err)
{
    static const int binary[QUERN__PG_PARAMS] = {
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    };
    *out = NULL;
    if (params && params->failed)
        return quern__fail(err, QUERN_ENOMEM, params->n,
                           "%s: a statement's values are too many or too large", db->name);
    if (!db->begun && (db->lost || PQstatus(db->conn) == CONNECTION_BAD)) {
        int rc = reconnect(db, err);
        if (rc)
            return rc;
    }
    int n = params ? params->n : 0, binary_out = format == QUERN__PG_AS_BINARY;
    const Oid *types = params ? (const Oid *)params->types : NULL;
    const char *const *values = params ? params->values : NULL;
    const int *lengths = params ? params->lengths : NULL, *formats = params ? binary : NULL;
    PGresult *res = NULL;
    if (!db->within_ms || db->begun) {
        res = PQexecParams(db->conn, sql, n, types, values, lengths, formats, binary_out);
    } else if (PQsendQueryParams(db->conn, sql, n, types, values, lengths, formats, binary_out)) {
        res = result_in_time(db);
        if (db->lost)
            return quern__fail(err, QUERN_EIO, 0, "%s: no answer within %u ms", db->name,
                               db->within_ms);
    }
    ExecStatusType status = PQresultStatus(res);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        int rc = fault(db, res, err);
        PQclear(res);
        return rc;
    }
    *out = res;
    return QUERN_OK;
}

void quern__pg_clear(quern__pg_result *r)
{
    PQclear(r);
}

int quern__pg_run(quern__pg *db, const char *sql, const quern__pg_params *params, int64_t *changed,
                  quern_error *err)
{
    quern__pg_result *r;
    int rc = quern__pg_query(db, sql, params, QUERN__PG_AS_TEXT, &r, err);
    if (rc)
        return rc;
    if (changed)
        *changed = strtoll(PQcmdTuples(r), NULL, 10);
    PQclear(r);
    return QUERN_OK;
}

int quern__pg_scalar(quern__pg *db, const char *sql, const quern__pg_params *params, int64_t *out,
                     quern_error *err)
{
    quern__pg_result *r;
    int rc = quern__pg_query(db, sql, params, QUERN__PG_AS_TEXT, &r, err);
    if (rc)
        return rc;
    bool there = PQntuples(r) > 0;
    if (there)
        *out = quern__pg_get_int(r, 0, 0);
    PQclear(r);
    return there;
}

int quern__pg_script(quern__pg *db, const char *sql, quern_error *err)
{
    PGresult *res = PQexec(db->conn, sql);
    ExecStatusType status = PQresultStatus(res);
    int rc =
        status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ? QUERN_OK : fault(db, res, err);
    PQclear(res);
    return rc;
}

/* Asks the server to end the statement at hand; its answer still has to be waited for. */
static void ask_to_stop(quern__pg *db)
{
    char text[256];
    PGcancel *request = PQgetCancel(db->conn);
    if (request)
        PQcancel(request, text, sizeof text);
    PQfreeCancel(request);
}

/* The statement has been sent. Looks again every 1 to 50 ms: nobody wakes us when a cancellation is raised. */
static void await(quern__pg *db, const quern_cancel *cancel, bool *cancelled)
{
    uint32_t pause = 1;
    while (PQconsumeInput(db->conn) && PQisBusy(db->conn)) {
        if (!*cancelled && quern_cancel_raised(cancel)) {
            *cancelled = true;
            ask_to_stop(db);
        }
        quern__sleep_ms(pause);
        pause = QUERN__MIN(2 * pause, 50U);
    }
}

int quern__pg_run_long(quern__pg *db, const char *sql, const quern_cancel *cancel, quern_error *err)
{
    bool cancelled = false;
    int rc = QUERN_OK;
    if (db->lost || PQstatus(db->conn) == CONNECTION_BAD)
        rc = reconnect(db, err);
    if (!rc && !PQsendQueryParams(db->conn, sql, 0, NULL, NULL, NULL, NULL, 0))
        rc = fault(db, NULL, err);
    if (rc)
        return rc;
    await(db, cancel, &cancelled);
    PGresult *res;
    while ((res = PQgetResult(db->conn))) {
        if (PQresultStatus(res) != PGRES_COMMAND_OK && !rc)
            rc = fault(db, res, err);
        PQclear(res);
    }
    if (rc && cancelled)
        return quern__fail(err, QUERN_ECANCELLED, 0, "cancelled");
    return rc;
}

/* Takes the notifications that have come. */
static int take_notices(quern__pg *db, int *heard, quern_error *err)
{
    PGnotify *n;
    if (!PQconsumeInput(db->conn))
        return fault(db, NULL, err);
    while ((n = PQnotifies(db->conn))) {
        *heard = 1;
        PQfreemem(n);
    }
    return PQstatus(db->conn) == CONNECTION_OK ? QUERN_OK : fault(db, NULL, err);
}

int quern__pg_hear(quern__pg *db, uint32_t wait_ms, int *heard, quern_error *err)
{
    *heard = 0;
    int rc = take_notices(db, heard, err);
    if (rc || *heard)
        return rc;
    quern__wait_readable(PQsocket(db->conn), wait_ms);
    return take_notices(db, heard, err);
}

size_t quern__pg_rows(const quern__pg_result *r)
{
    return (size_t)PQntuples(r);
}

int quern__pg_columns(const quern__pg_result *r)
{
    return PQnfields(r);
}

const char *quern__pg_column_name(const quern__pg_result *r, int column)
{
    return PQfname(r, column);
}

uint32_t quern__pg_column_type(const quern__pg_result *r, int column)
{
    return PQftype(r, column);
}

bool quern__pg_is_null(const quern__pg_result *r, size_t row, int column)
{
    return PQgetisnull(r, (int)row, column);
}

int64_t quern__pg_get_int(const quern__pg_result *r, size_t row, int column)
{
    if (PQgetisnull(r, (int)row, column))
        return 0;
    const char *v = PQgetvalue(r, (int)row, column);
    int n = PQgetlength(r, (int)row, column);
    if (PQfformat(r, column) == 0)
        return v[0] == 't' ? 1 : strtoll(v, NULL, 10);
    uint64_t bits = n <= 8 ? get_be(v, (size_t)n) : 0;
    return n == 2 ? (int16_t)bits : n == 4 ? (int32_t)bits : (int64_t)bits;
}

double quern__pg_get_real(const quern__pg_result *r, size_t row, int column)
{
    if (PQgetisnull(r, (int)row, column))
        return 0;
    const char *v = PQgetvalue(r, (int)row, column);
    int n = PQgetlength(r, (int)row, column);
    if (PQfformat(r, column) == 0)
        return strtod(v, NULL);
    uint64_t bits = n <= 8 ? get_be(v, (size_t)n) : 0;
    uint32_t low = (uint32_t)bits;
    float narrow;
    double wide;
    memcpy(&narrow, &low, sizeof narrow);
    memcpy(&wide, &bits, sizeof wide);
    return n == 4 ? (double)narrow : wide;
}

quern_str quern__pg_get_text(const quern__pg_result *r, size_t row, int column)
{
    if (PQgetisnull(r, (int)row, column))
        return (quern_str){NULL, 0};
    return (quern_str){PQgetvalue(r, (int)row, column), (size_t)PQgetlength(r, (int)row, column)};
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int quern__pg_get_blob(const quern__pg_result *r, size_t row, int column, quern__arena *arena,
                       quern_str *out, quern_error *err)
{
    quern_str v = quern__pg_get_text(r, row, column);
    *out = v;
    if (!v.ptr || PQfformat(r, column) == 1)
        return QUERN_OK;
    if (v.len < 2 || v.len % 2 || v.ptr[0] != '\\' || v.ptr[1] != 'x')
        return quern__fail(err, QUERN_EFORMAT, (int64_t)row, "a bytea that is not in hex");
    char *bytes = quern__arena_alloc(arena, v.len / 2);
    if (!bytes)
        return quern__fail_memory(err, v.len / 2);
    for (size_t i = 2; i < v.len; i += 2) {
        int high = hex_digit(v.ptr[i]), low = hex_digit(v.ptr[i + 1]);
        if (high < 0 || low < 0)
            return quern__fail(err, QUERN_EFORMAT, (int64_t)row, "a bytea that is not in hex");
        bytes[i / 2 - 1] = (char)(high * 16 + low);
    }
    *out = (quern_str){bytes, v.len / 2 - 1};
    return QUERN_OK;
}

/* ---- transactions ---- */

bool quern__pg_in_transaction(const quern__pg *db)
{
    return db->begun;
}

/* What a transaction of ours sets besides how it begins, "lock_timeout" first. */
#define SETTINGS                                                                                   \
    "SET LOCAL lock_timeout = %u;"                                                                 \
    "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD';"                                \
    "SET LOCAL IntervalStyle = 'iso_8601'; SET LOCAL bytea_output = 'hex';"                        \
    "SET LOCAL extra_float_digits = 1; SET LOCAL lc_monetary = 'C';"                               \
    "SET LOCAL standard_conforming_strings = on"

/* A savepoint in the caller's transaction. SET LOCAL would outlive it when it is released: what the settings were is
 * kept, as the statement that sets them again. */
static int join(quern__pg *db, quern_error *err)
{
    quern__buf sql;
    quern__pg_result *r = NULL;
    quern__buf_init(&sql, 4096);
    quern__buf_printf(&sql, "SAVEPOINT quern_save; " SETTINGS, db->lock_ms);
    quern__buf_clear(&db->restore);
    int rc = quern__buf_ok(&sql, "a savepoint", err);
    if (!rc)
        rc = quern__pg_query(
            db,
            "SELECT 'SELECT ' || pg_catalog.string_agg(pg_catalog.format("
            "'pg_catalog.set_config(%L, %L, true)', n, pg_catalog.current_setting(n)), ', ')"
            " FROM unnest(ARRAY['lock_timeout', 'statement_timeout', 'TimeZone', 'DateStyle', "
            "'IntervalStyle',"
            " 'bytea_output', 'extra_float_digits', 'lc_monetary', 'standard_conforming_strings',"
            " 'search_path']) AS n",
            NULL, QUERN__PG_AS_TEXT, &r, err);
    if (!rc)
        quern__buf_puts(&db->restore, quern__pg_get_text(r, 0, 0).ptr);
    quern__pg_clear(r);
    if (!rc)
        rc = quern__buf_ok(&db->restore, "settings", err);
    if (!rc)
        rc = quern__pg_script(db, sql.data, err);
    quern__buf_dispose(&sql);
    db->joined = rc == QUERN_OK;
    db->begun = rc == QUERN_OK;
    return rc;
}

int quern__pg_begin(quern__pg *db, int access, quern_error *err)
{
    if (db->begun)
        return quern__fail(err, QUERN_EINTERNAL, 0, "a transaction inside a transaction");
    if (db->borrowed && PQtransactionStatus(db->conn) != PQTRANS_IDLE)
        return join(db, err);
    quern__buf sql;
    quern__buf_init(&sql, 4096);
    quern__buf_printf(&sql,
                      "BEGIN ISOLATION LEVEL READ COMMITTED %s; " SETTINGS
                      "; SET LOCAL idle_in_transaction_session_timeout = 60000",
                      access == QUERN__PG_READ ? "READ ONLY" : "READ WRITE", db->lock_ms);
    int rc = quern__buf_ok(&sql, "BEGIN", err);
    if (!rc && (db->lost || PQstatus(db->conn) == CONNECTION_BAD))
        rc = reconnect(db, err);
    if (!rc)
        rc = quern__pg_script(db, sql.data, err);
    if (rc && db->lost) { /* it went while it was idle: nothing is lost but the connection */
        rc = reconnect(db, err);
        if (!rc)
            rc = quern__pg_script(db, sql.data, err);
    }
    quern__buf_dispose(&sql);
    db->begun = true;
    db->unsure = false;
    if (rc)
        quern__pg_rollback(db);
    return rc;
}

void quern__pg_rollback(quern__pg *db)
{
    bool lost = db->lost;
    char state[sizeof db->sqlstate];
    memcpy(state, db->sqlstate, sizeof state);
    int rc = QUERN_EBUSY;
    /* once more where it failed itself: the server first ends the statement before it, and may not be able to (a scan on
     * a shard that has just gone) */
    for (int i = 0; i < 2 && rc && PQtransactionStatus(db->conn) != PQTRANS_IDLE &&
                    PQstatus(db->conn) == CONNECTION_OK;
         i++)
        rc = quern__pg_script(
            db, db->joined ? "ROLLBACK TO quern_save; RELEASE quern_save" : "ROLLBACK", NULL);
    db->begun = false;
    db->joined = false;
    db->lost = lost; /* of the statement that failed before */
    memcpy(db->sqlstate, state, sizeof state);
}

int quern__pg_commit(quern__pg *db, quern_error *err)
{
    db->sqlstate[0] = '\0';
    db->lost = false;
    if (db->joined) {
        int kept = quern__pg_script(db, db->restore.data, err);
        if (!kept)
            kept = quern__pg_script(db, "RELEASE quern_save", err);
        if (kept)
            quern__pg_rollback(db);
        db->begun = db->joined = false;
        return kept;
    }
    PGresult *res = PQexec(db->conn, "COMMIT");
    int rc = QUERN_OK;
    if (PQresultStatus(res) != PGRES_COMMAND_OK) {
        rc = fault(db, res, err);
        db->unsure = db->lost;
    } else if (strcmp(PQcmdStatus(res), "COMMIT") != 0) {
        rc = quern__fail(err, QUERN_EINTERNAL, 0, "%s: a transaction that had failed was committed",
                         db->name);
    }
    PQclear(res);
    if (rc)
        quern__pg_rollback(db);
    db->begun = false;
    return rc;
}

/* Is it worth doing all again? What was under way when the connection went while COMMIT was sent is not known. */
static bool again(const quern__pg *db, bool joined)
{
    if (joined) /* the caller's transaction holds what it was in the way of */
        return false;
    return strcmp(db->sqlstate, "40001") == 0 || strcmp(db->sqlstate, "40P01") == 0 ||
           (db->lost && !db->unsure);
}

int quern__pg_transact(quern__pg *db, int access, int (*fn)(void *ud, quern_error *err), void *ud,
                       quern_error *err)
{
    int rc = QUERN_OK;
    for (uint32_t i = 0; i < TRIES; i++) {
        if (i)
            quern__sleep_ms(5U << i | (uint32_t)(quern__os_entropy() & 15));
        db->sqlstate[0] = '\0';
        rc = quern__pg_begin(db, access, err);
        if (rc)
            return rc;
        bool joined = db->joined;
        rc = fn(ud, err);
        if (rc)
            quern__pg_rollback(db);
        else
            rc = quern__pg_commit(db, err);
        if (!rc || !again(db, joined))
            return rc;
    }
    return rc;
}

/* ---- SQL text ---- */

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || (unsigned char)c >= 0x80;
}

/* Behind the comment that begins at `at`; SIZE_MAX when it never ends. */
static size_t skip_comment(const char *sql, size_t at)
{
    if (sql[at] == '-') /* '\r' ends it too */
        return at + strcspn(sql + at, "\r\n");
    size_t depth = 0;
    for (; sql[at]; at++) {
        if (sql[at] == '/' && sql[at + 1] == '*') {
            depth++;
            at++;
        } else if (sql[at] == '*' && sql[at + 1] == '/') {
            at++;
            if (--depth == 0)
                return at + 1;
        }
    }
    return SIZE_MAX;
}

/* Behind the quoted piece that begins at `at`; a doubled quote is two pieces side by side, but in E''. */
static size_t skip_quotes(const char *sql, size_t at)
{
    char quote = sql[at];
    bool escapes = quote == '\'' && at && (sql[at - 1] == 'e' || sql[at - 1] == 'E') &&
                   (at == 1 || !is_name_byte(sql[at - 2]));
    for (at++; sql[at]; at++) {
        if (escapes && sql[at] == '\\' && sql[at + 1])
            at++;
        else if (escapes && sql[at] == quote && sql[at + 1] == quote)
            at++;
        else if (sql[at] == quote) {
            /* a string goes on in a second one on the next line, with the escapes of the first */
            size_t next = at + 1 + strspn(sql + at + 1, " \t\r\n\f\v");
            return escapes && sql[next] == quote ? SIZE_MAX : at + 1;
        }
    }
    return SIZE_MAX;
}

int quern__pg_balanced(const char *sql, const char *what, quern_error *err)
{
    size_t depth = 0;
    for (size_t i = 0; sql[i];) {
        size_t next = i;
        if ((sql[i] == '-' && sql[i + 1] == '-') || (sql[i] == '/' && sql[i + 1] == '*'))
            next = skip_comment(sql, i);
        else if (sql[i] == '\'' || sql[i] == '"')
            next = skip_quotes(sql, i);
        if (next == SIZE_MAX)
            return quern__fail(err, QUERN_EINVAL, (int64_t)i,
                               "%s: the quote or comment at byte %zu never ends", what, i);
        if (next > i) {
            i = next;
            continue;
        }
        if (sql[i] == ';')
            return quern__fail(err, QUERN_EINVAL, (int64_t)i,
                               "%s: ';' at byte %zu; one expression is allowed", what, i);
        if (sql[i] == '$' && !(i && is_name_byte(sql[i - 1])))
            return quern__fail(err, QUERN_EINVAL, (int64_t)i,
                               "%s: '$' at byte %zu; parameters and dollar quotes are not allowed",
                               what, i);
        if (sql[i] == ')' && depth == 0)
            return quern__fail(err, QUERN_EINVAL, (int64_t)i, "%s: ')' at byte %zu closes nothing",
                               what, i);
        depth += sql[i] == '(';
        depth -= sql[i] == ')';
        i++;
    }
    if (depth)
        return quern__fail(err, QUERN_EINVAL, 0, "%s: %zu parentheses are not closed", what, depth);
    return QUERN_OK;
}
