/*
 * sqlite_schema.c — quern's tables and their versions. The .sql files of migrations/ are compiled in; each runs
 * in one transaction together with its line in the ledger quern_migrations, so that a crash leaves the
 * version before or the version after. PRAGMA user_version stays the user's.
 */
#include "store/sqlite/sqlite_store.h"

#include <inttypes.h>

#include "base/compiler.h"
#include "base/os.h"
#include "store/migration.h"

#include "store/sqlite/migrations.h"

static const char ledger[] = "CREATE TABLE IF NOT EXISTS quern_migrations ("
                             " version INTEGER PRIMARY KEY, name TEXT NOT NULL,"
                             " applied_ms INTEGER NOT NULL, quern_version TEXT NOT NULL) STRICT";

int64_t quern__sqlite_newest(void)
{
    return migrations[QUERN__COUNT(migrations) - 1].version;
}

int quern__sqlite_schema(quern__db *db, int64_t *version, quern_error *err)
{
    int64_t there = 0;
    *version = 0;
    int rc = quern__db_int(db, "SELECT 1 FROM sqlite_master WHERE name = 'quern_migrations'",
                           &there, err);
    if (rc <= 0)
        return rc;
    quern__stmt *stmt;
    rc = quern__db_prepare(
        db, "SELECT version, quern_version FROM quern_migrations ORDER BY version DESC LIMIT 1",
        &stmt, err);
    if (rc)
        return rc;
    rc = quern__db_step(db, stmt, err);
    if (rc == 1) {
        *version = quern__db_get_int(stmt, 0);
        const int64_t known = migrations[QUERN__COUNT(migrations) - 1].version;
        quern_str by = quern__db_get_text(stmt, 1);
        rc = *version <= known
                 ? QUERN_OK
                 : quern__fail(err, QUERN_EMISMATCH, *version,
                               "%s: made by quern %.*s (schema %" PRId64
                               "); this is quern %s (schema %" PRId64 "): use a newer quern",
                               quern__db_path(db), (int)by.len, by.ptr ? by.ptr : "", *version,
                               quern_version_string(), known);
    }
    quern__db_finish(db, stmt);
    return rc;
}

static int note_up(quern__db *db, const struct quern__migration *m, quern_error *err)
{
    quern__stmt *stmt;
    int rc =
        quern__db_prepare(db, "INSERT INTO quern_migrations VALUES (?1, ?2, ?3, ?4)", &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(db, stmt, 1, m->version);
    quern__db_bind_text(db, stmt, 2, quern_str_of(m->name));
    quern__db_bind_int(db, stmt, 3, quern__wall_ms());
    quern__db_bind_text(db, stmt, 4, quern_str_of(quern_version_string()));
    return quern__db_run(db, stmt, err);
}

static int note_down(quern__db *db, const struct quern__migration *m, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(db, "DELETE FROM quern_migrations WHERE version = ?1", &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(db, stmt, 1, m->version);
    return quern__db_run(db, stmt, err);
}

int quern__sqlite_migrate(quern__db *db, quern_error *err)
{
    int64_t version;
    int rc = quern__sqlite_schema(db, &version, err);
    if (rc || version == migrations[QUERN__COUNT(migrations) - 1].version)
        return rc;
    rc = quern__db_begin(db, err);
    if (rc)
        return rc;
    rc = quern__db_exec(db, ledger, err);
    if (!rc) /* again, now that nobody else can write */
        rc = quern__sqlite_schema(db, &version, err);
    for (size_t i = 0; i < QUERN__COUNT(migrations) && !rc; i++)
        if (migrations[i].version > version) {
            rc = quern__db_exec(db, migrations[i].up, err);
            if (!rc)
                rc = note_up(db, &migrations[i], err);
        }
    if (!rc)
        return quern__db_commit(db, err);
    quern__db_rollback(db);
    return rc;
}

/* Triggers of live sources, which write into what goes. */
static int drop_triggers(quern__db *db, quern_error *err)
{
    int64_t id = 0;
    int rc;
    while ((rc = quern__db_int(db,
                               "SELECT substr(name, 12) FROM sqlite_master WHERE type = 'trigger'"
                               " AND name GLOB 'quern_live_[0-9]*_insert'",
                               &id, err)) == 1) {
        quern__sqlite s = {.own = db};
        rc = quern__sqlite_live_drop(&s, id, err);
        if (rc)
            return rc;
    }
    return rc;
}

int quern__sqlite_migrate_down(quern__db *db, int64_t to_version, quern_error *err)
{
    int64_t version;
    int rc = quern__db_begin(db, err);
    if (rc)
        return rc;
    rc = quern__sqlite_schema(db, &version, err);
    if (!rc && to_version < 2 && version >= 2)
        rc = drop_triggers(db, err);
    for (size_t i = QUERN__COUNT(migrations); i-- > 0 && !rc;)
        if (migrations[i].version > to_version && migrations[i].version <= version) {
            rc = quern__db_exec(db, migrations[i].down, err);
            if (!rc)
                rc = note_down(db, &migrations[i], err);
        }
    if (!rc && to_version == 0)
        rc = quern__db_exec(db, "DROP TABLE IF EXISTS quern_migrations", err);
    if (!rc)
        return quern__db_commit(db, err);
    quern__db_rollback(db);
    return rc;
}

/* ---- from outside ---- */

static int read_ledger(quern__db *db, quern__ledger *l, quern_error *err)
{
    quern__stmt *stmt;
    int64_t version = 0;
    int rc = quern__sqlite_schema(db, &version, err);
    if (rc || version == 0)
        return rc;
    rc = quern__db_prepare(db, "SELECT version, applied_ms FROM quern_migrations", &stmt, err);
    if (rc)
        return rc;
    while ((rc = quern__db_step(db, stmt, err)) == 1)
        for (size_t i = 0; i < l->n; i++)
            if (l->known[i].version == quern__db_get_int(stmt, 0))
                l->applied_ms[i] = QUERN__MAX(quern__db_get_int(stmt, 1), 1);
    quern__db_finish(db, stmt);
    return rc;
}

int quern__sqlite_versions(const char *path, int64_t down, quern__ledger *out, quern_error *err)
{
    quern__db *db = NULL;
    quern__stat st;
    _Static_assert(QUERN__COUNT(migrations) <= QUERN__MOST_MIGRATIONS, "room in a ledger");
    *out = (quern__ledger){.known = migrations, .n = QUERN__COUNT(migrations)};
    int rc = quern__stat_path(path, &st, err);
    if (rc || !st.exists)
        return rc;
    /* writable even to look: the first to open a file after a crash must roll its journal back */
    rc = quern__db_open(&db, path, QUERN__DB_WRITE, 5000, err);
    if (!rc && down < 0)
        rc = quern__db_exec(db, "PRAGMA query_only = 1", err);
    if (!rc)
        rc = read_ledger(db, out, err);
    if (!rc && down >= 0)
        rc = quern__sqlite_migrate_down(db, down, err);
    quern__db_close(db);
    return rc;
}
