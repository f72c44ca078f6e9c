/*
 * postgres_lock.c — one worker at a time on a name, over all hosts. The lock is an advisory lock of a transaction
 * that stays open on a connection of its own: it goes with its holder's connection, kill -9 included, and a
 * pooler in transaction mode cannot hand it to somebody else, as it does with locks of a session. The transaction
 * holds no snapshot and writes nothing, so it keeps no row from being vacuumed. Who holds it is a row that only
 * serves the message.
 */
#include "store/postgres/postgres_store.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/os.h"
#include "base/sha256.h"

enum { POLL_MS = 25 };

typedef struct held_lock {
    quern__pg *db;
    char name[128];
} held_lock;

/* The first bytes of a hash over schema and name. */
int quern__postgres_lock_number(quern__postgres *s, const char *name, int64_t *out,
                                quern_error *err)
{
    uint8_t digest[32];
    quern__sha256 h;
    uint64_t bits = 0;
    int rc = quern__sha256_begin(&h, err);
    if (!rc)
        rc = quern__sha256_add(&h, s->schema, strlen(s->schema) + 1, err);
    if (!rc)
        rc = quern__sha256_add(&h, name, strlen(name), err);
    if (!rc)
        rc = quern__sha256_end(&h, digest, err);
    else
        quern__sha256_dispose(&h);
    for (size_t i = 0; i < 8 && !rc; i++)
        bits = bits << 8 | digest[i];
    *out = (int64_t)bits;
    return rc;
}

/* EBUSY with who holds it since when, as far as the row tells. */
static int say_holder(quern__postgres *s, const char *name, quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *r = NULL;
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(name));
    int rc = quern__postgres_query(s, "SELECT host, pid, started_ms FROM @locks WHERE name = $1",
                                   &p, QUERN__PG_AS_TEXT, &r, err);
    if (!rc && quern__pg_rows(r)) {
        int64_t pid = quern__pg_get_int(r, 0, 1);
        char since[25];
        quern__rfc3339(quern__pg_get_int(r, 0, 2), since);
        quern__fail(err, QUERN_EBUSY, pid, "%s is held by process %" PRId64 " on %s since %s", name,
                    pid, quern__pg_get_text(r, 0, 0).ptr, since);
    } else if (!rc)
        quern__fail(err, QUERN_EBUSY, 0, "%s is held by another process", name);
    quern__pg_clear(r);
    return rc ? rc : QUERN_EBUSY;
}

/* A row of ours; by $2 and $3 unlock knows it again. */
static int write_holder(quern__postgres *s, const char *sql, const char *name, bool started,
                        quern_error *err)
{
    char host[256];
    quern__pg_params p;
    quern__os_hostname(host, sizeof host);
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(name));
    quern__pg_text(&p, quern_str_of(host));
    quern__pg_int(&p, quern__os_pid());
    if (started)
        quern__pg_int(&p, quern__wall_ms());
    return quern__postgres_run(s, sql, &p, NULL, err);
}

/* Inside the transaction of l->db: asks until it is given or the time is over. */
static int wait_for(quern__postgres *s, held_lock *l, uint32_t wait_ms, quern_error *err)
{
    uint64_t until = quern__now_ns() + (uint64_t)wait_ms * 1000000;
    quern__pg_params p;
    int64_t number = 0, given = 0;
    int rc = quern__postgres_lock_number(s, l->name, &number, err);
    quern__pg_params_init(&p);
    quern__pg_int(&p, number);
    while (!rc) {
        rc = quern__pg_scalar(l->db, "SELECT pg_catalog.pg_try_advisory_xact_lock($1)", &p, &given,
                              err);
        if (rc < 0 || given)
            return rc < 0 ? rc : QUERN_OK;
        if (quern__now_ns() >= until)
            return say_holder(s, l->name, err);
        rc = QUERN_OK;
        quern__sleep_ms(POLL_MS);
    }
    return rc;
}

static void let_go(held_lock *l)
{
    if (!l)
        return;
    if (l->db) /* the server hears of a close later, of this at once */
        quern__pg_rollback(l->db);
    quern__pg_close(l->db);
    quern__free(l);
}

int quern__postgres_lock(void *self, const char *name, uint32_t wait_ms, void **held,
                         quern_error *err)
{
    quern__postgres *s = self;
    size_t len = strlen(name);
    *held = NULL;
    held_lock *l = quern__calloc(1, sizeof *l);
    if (!l)
        return quern__fail_memory(err, sizeof *l);
    int rc = QUERN_OK;
    if (len == 0 || len >= sizeof l->name)
        rc = quern__fail(err, QUERN_EINVAL, (int64_t)len, "name of a lock of %zu bytes", len);
    else
        memcpy(l->name, name, len + 1);
    if (!rc)
        rc = quern__postgres_session(s, &l->db, err);
    if (!rc)
        rc = quern__pg_begin(l->db, QUERN__PG_READ, err);
    if (!rc)
        rc = wait_for(s, l, wait_ms, err);
    /* behind the question, because a plain statement closes its portal: that would keep a snapshot */
    if (!rc)
        rc = quern__pg_script(l->db, "SET LOCAL idle_in_transaction_session_timeout = 0", err);
    if (!rc)
        rc = write_holder(s,
                          "INSERT INTO @locks VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO UPDATE"
                          " SET host = excluded.host, pid = excluded.pid,"
                          " started_ms = excluded.started_ms",
                          name, true, err);
    if (rc)
        let_go(l);
    else
        *held = l;
    return rc;
}

void quern__postgres_unlock(void *self, void *held)
{
    held_lock *l = held;
    if (!l)
        return;
    write_holder(self, "DELETE FROM @locks WHERE name = $1 AND host = $2 AND pid = $3", l->name,
                 false, NULL);
    let_go(l);
}
