/*
 * sqlite_lock.c — one worker at a time on a name. The lock is the kernel's, on a file beside the database: it
 * dies with its holder, kill -9 included, so nobody ever waits for a lease. Who holds it is a row that only
 * serves the message. Rejected: a row with a heartbeat (a writer every second, and a wait after each crash).
 */
#include "store/sqlite/sqlite_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/os.h"

typedef struct held_lock {
    quern__lock
        *file; /* NULL for a database in memory: there the row is the lock, and dies with it */
    char name[128];
} held_lock;

/* "<database>-quern.<name>.lock", what does not belong into a file name replaced. */
static int lock_path(quern__sqlite *s, const char *name, quern__buf *out, quern_error *err)
{
    char *real = NULL;
    int rc = quern__real_path(quern__db_path(s->own), &real, err);
    if (rc)
        return rc;
    quern__buf_printf(out, "%s-quern.", real);
    for (const char *c = name; *c; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                     (*c >= '0' && *c <= '9') || *c == '_';
        if (plain || *c == '-')
            quern__buf_putc(out, *c);
        else
            quern__buf_printf(out, "%%%02x", (unsigned char)*c);
    }
    quern__buf_puts(out, ".lock");
    quern__free(real);
    return quern__buf_ok(out, "lock file name", err);
}

/* Who holds it since when. pid: by the lock file, 0 when that does not tell. The row may still lack, or be that of an
 * earlier holder who was killed: then it has just been taken. */
static int say_holder(quern__sqlite *s, const char *name, int64_t pid, quern_error *err)
{
    char host[256], since[25] = "";
    quern__stmt *stmt;
    quern__os_hostname(host, sizeof host);
    if (quern__db_prepare(s->own, "SELECT host, pid, started_ms FROM quern_locks WHERE name = ?1",
                          &stmt, NULL) == QUERN_OK) {
        quern__db_bind_text(s->own, stmt, 1, quern_str_of(name));
        if (quern__db_step(s->own, stmt, NULL) == 1 &&
            (pid == 0 || pid == quern__db_get_int(stmt, 1))) {
            quern_str by = quern__db_get_text(stmt, 0);
            snprintf(host, sizeof host, "%.*s", (int)by.len, by.ptr ? by.ptr : "");
            pid = quern__db_get_int(stmt, 1);
            quern__rfc3339(quern__db_get_int(stmt, 2), since);
        }
        quern__db_finish(s->own, stmt);
    }
    return quern__fail(err, QUERN_EBUSY, pid, "%s is held by process %" PRId64 " on %s %s%s", name,
                       pid, host, since[0] ? "since " : "from just now on", since);
}

static int note_holder(quern__sqlite *s, const char *name, bool replace, quern_error *err)
{
    char host[256];
    quern__stmt *stmt;
    int rc =
        quern__db_prepare(s->own,
                          replace ? "INSERT OR REPLACE INTO quern_locks VALUES (?1, ?2, ?3, ?4)"
                                  : "INSERT INTO quern_locks VALUES (?1, ?2, ?3, ?4)",
                          &stmt, err);
    if (rc)
        return rc;
    quern__os_hostname(host, sizeof host);
    quern__db_bind_text(s->own, stmt, 1, quern_str_of(name));
    quern__db_bind_text(s->own, stmt, 2, quern_str_of(host));
    quern__db_bind_int(s->own, stmt, 3, quern__os_pid());
    quern__db_bind_int(s->own, stmt, 4, quern__wall_ms());
    return quern__db_run(s->own, stmt, err);
}

int quern__sqlite_lock(void *self, const char *name, uint32_t wait_ms, void **held,
                       quern_error *err)
{
    quern__sqlite *s = self;
    *held = NULL;
    held_lock *l = quern__calloc(1, sizeof *l);
    if (!l)
        return quern__fail_memory(err, sizeof *l);
    int rc = QUERN_OK;
    size_t len = strlen(name);
    if (len == 0 || len >= sizeof l->name)
        rc = quern__fail(err, QUERN_EINVAL, (int64_t)len, "name of a lock of %zu bytes", len);
    else
        memcpy(l->name, name, len + 1);
    if (!rc && quern__db_path(s->own)[0]) {
        quern__buf path;
        quern_error inner = {0};
        quern__buf_init(&path, 64 * 1024);
        rc = lock_path(s, name, &path, &inner);
        if (!rc)
            rc = quern__lock_file(&l->file, path.data, wait_ms, &inner);
        if (rc == QUERN_EBUSY)
            rc = say_holder(s, name, inner.detail, err);
        else if (rc && err)
            *err = inner;
        quern__buf_dispose(&path);
    }
    if (!rc)
        rc = note_holder(s, name, l->file != NULL, err);
    if (rc == QUERN_EEXISTS)
        rc = say_holder(s, name, 0, err);
    if (rc) {
        quern__unlock_file(l->file);
        quern__free(l);
        return rc;
    }
    *held = l;
    return QUERN_OK;
}

void quern__sqlite_unlock(void *self, void *held)
{
    quern__sqlite *s = self;
    held_lock *l = held;
    if (!l)
        return;
    quern__stmt *stmt;
    if (quern__db_prepare(s->own, "DELETE FROM quern_locks WHERE name = ?1", &stmt, NULL) ==
        QUERN_OK) {
        quern__db_bind_text(s->own, stmt, 1, quern_str_of(l->name));
        quern__db_run(s->own, stmt, NULL);
    }
    quern__unlock_file(l->file);
    quern__free(l);
}
