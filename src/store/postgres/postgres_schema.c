/*
 * postgres_schema.c — quern's schema, its tables and their versions. The .sql files of migrations/ are compiled in;
 * what is missing runs in one transaction together with its lines in the ledger, under an advisory lock that
 * goes with the transaction (so a pooler cannot lose it), and a crash leaves the version before. The script's names
 * are found by a search path that is set for the transaction.
 */
#include "store/postgres/postgres_store.h"

#include <inttypes.h>

#include "base/compiler.h"
#include "base/os.h"
#include "store/migration.h"

#include "store/postgres/migrations.h"

static const int64_t migration_lock = 0x717565726e736368; /* "quernsch" */

int64_t quern__postgres_newest(void)
{
    return migrations[QUERN__COUNT(migrations) - 1].version;
}

int quern__postgres_schema(quern__postgres *s, int64_t *version, quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *r;
    int64_t there = 0;
    *version = 0;
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(s->schema));
    int rc = quern__pg_scalar(
        s->own,
        "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
        " ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = 'migrations'",
        &p, &there, err);
    if (rc <= 0)
        return rc;
    rc = quern__postgres_query(
        s, "SELECT version, quern_version FROM @migrations ORDER BY version DESC LIMIT 1", NULL,
        QUERN__PG_AS_TEXT, &r, err);
    if (rc)
        return rc;
    if (quern__pg_rows(r)) {
        *version = quern__pg_get_int(r, 0, 0);
        if (*version > quern__postgres_newest())
            rc = quern__fail(err, QUERN_EMISMATCH, *version,
                             "%s: made by quern %s (schema %" PRId64
                             "); this is quern %s (schema %" PRId64 "): use a newer quern",
                             quern__pg_name(s->own), quern__pg_get_text(r, 0, 1).ptr, *version,
                             quern_version_string(), quern__postgres_newest());
    }
    quern__pg_clear(r);
    return rc;
}

static int go_up(quern__postgres *s, const struct quern__migration *m, quern_error *err)
{
    quern__pg_params p;
    int rc = quern__pg_script(s->own, m->up, err);
    if (rc)
        return rc;
    quern__pg_params_init(&p);
    quern__pg_int(&p, m->version);
    quern__pg_text(&p, quern_str_of(m->name));
    quern__pg_int(&p, quern__wall_ms());
    quern__pg_text(&p, quern_str_of(quern_version_string()));
    return quern__postgres_run(s, "INSERT INTO @migrations VALUES ($1, $2, $3, $4)", &p, NULL, err);
}

static int go_down(quern__postgres *s, const struct quern__migration *m, quern_error *err)
{
    quern__pg_params p;
    int rc = quern__pg_script(s->own, m->down, err);
    if (rc)
        return rc;
    quern__pg_params_init(&p);
    quern__pg_int(&p, m->version);
    return quern__postgres_run(s, "DELETE FROM @migrations WHERE version = $1", &p, NULL, err);
}

/* The schema, and a search path that knows nothing else. */
static int enter_schema(quern__postgres *s, quern_error *err)
{
    quern__pg_params p;
    int64_t there = 0;
    quern__buf sql;
    quern__buf_init(&sql, 1024);
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(s->schema));
    /* IF NOT EXISTS asks for the right to create one even when it is there */
    int rc = quern__pg_scalar(s->own, "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1",
                              &p, &there, err);
    if (rc == 0) {
        quern__buf_puts(&sql, "CREATE SCHEMA ");
        quern__sql_quote(&sql, s->schema);
        quern__buf_putc(&sql, ';');
    }
    quern__buf_puts(&sql, "SET LOCAL search_path = ");
    quern__sql_quote(&sql, s->schema);
    quern__buf_puts(&sql, ", pg_catalog");
    if (rc >= 0)
        rc = quern__buf_ok(&sql, "a schema", err);
    if (!rc)
        rc = quern__pg_script(s->own, sql.data, err);
    quern__buf_dispose(&sql);
    return rc;
}

/* Waits until nobody else migrates, then says which version is there. */
static int alone(quern__postgres *s, int64_t *version, quern_error *err)
{
    quern__pg_params p;
    quern__pg_params_init(&p);
    quern__pg_int(&p, migration_lock);
    int rc = quern__pg_run(s->own, "SELECT pg_catalog.pg_advisory_xact_lock($1)", &p, NULL, err);
    return rc ? rc : quern__postgres_schema(s, version, err);
}

static int migrate(void *ud, quern_error *err)
{
    quern__postgres *s = ud;
    int64_t version = 0;
    int rc = alone(s, &version, err);
    if (rc || version == quern__postgres_newest())
        return rc;
    rc = enter_schema(s, err);
    if (!rc)
        rc = quern__postgres_run(
            s,
            "CREATE TABLE IF NOT EXISTS @migrations (version bigint PRIMARY KEY,"
            " name text NOT NULL, applied_ms bigint NOT NULL, quern_version text NOT NULL)",
            NULL, NULL, err);
    for (size_t i = 0; i < QUERN__COUNT(migrations) && !rc; i++)
        if (migrations[i].version > version)
            rc = go_up(s, &migrations[i], err);
    return rc;
}

int quern__postgres_migrate(quern__postgres *s, quern_error *err)
{
    int64_t version = 0;
    int rc = quern__postgres_schema(s, &version, err);
    if (rc || version == quern__postgres_newest())
        return rc;
    return quern__pg_transact(s->own, QUERN__PG_WRITE, migrate, s, err);
}

typedef struct descent {
    quern__postgres *s;
    int64_t to;
} descent;

static int migrate_down(void *ud, quern_error *err)
{
    const descent *d = ud;
    int64_t version = 0;
    int rc = alone(d->s, &version, err);
    if (rc || version <= d->to)
        return rc;
    rc = enter_schema(d->s, err);
    for (size_t i = QUERN__COUNT(migrations); i-- > 0 && !rc;)
        if (migrations[i].version > d->to && migrations[i].version <= version)
            rc = go_down(d->s, &migrations[i], err);
    if (!rc && d->to == 0)
        rc = quern__postgres_run(d->s, "DROP TABLE @migrations", NULL, NULL, err);
    return rc;
}

int quern__postgres_migrate_down(quern__postgres *s, int64_t to_version, quern_error *err)
{
    descent d = {s, to_version};
    return quern__pg_transact(s->own, QUERN__PG_WRITE, migrate_down, &d, err);
}

/* ---- from outside ---- */

static int read_ledger(quern__postgres *s, quern__ledger *l, quern_error *err)
{
    quern__pg_result *r = NULL;
    int64_t version = 0;
    int rc = quern__postgres_schema(s, &version, err);
    if (rc || version == 0)
        return rc;
    rc = quern__postgres_query(s, "SELECT version, applied_ms FROM @migrations", NULL,
                               QUERN__PG_AS_TEXT, &r, err);
    for (size_t row = 0; !rc && row < quern__pg_rows(r); row++)
        for (size_t i = 0; i < l->n; i++)
            if (l->known[i].version == quern__pg_get_int(r, row, 0))
                l->applied_ms[i] = QUERN__MAX(quern__pg_get_int(r, row, 1), 1);
    quern__pg_clear(r);
    return rc;
}

int quern__postgres_versions(const quern_store_options *opt, int64_t down, quern__ledger *ledger,
                             quern_error *err)
{
    quern__postgres *s = NULL;
    _Static_assert(QUERN__COUNT(migrations) <= QUERN__MOST_MIGRATIONS, "room in a ledger");
    *ledger = (quern__ledger){.known = migrations, .n = QUERN__COUNT(migrations)};
    int rc = quern__postgres_connect(&s, opt, err);
    if (!rc)
        rc = read_ledger(s, ledger, err);
    if (!rc && down >= 0)
        rc = quern__postgres_migrate_down(s, down, err);
    quern__postgres_close(s);
    return rc;
}
