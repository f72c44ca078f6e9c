/*
 * postgres_schema.c — quern's schema, its tables and their versions. The .sql files of migrations/ are compiled in;
 * what is missing runs in one transaction together with its lines in the ledger, under an advisory lock that
 * goes with the transaction (so a pooler cannot lose it), and a crash leaves the version before. The script's names
 * are found by a search path that is set for the transaction. What is printed for a host's own runner is what runs
 * here, lines of the ledger included.
 */
#include "store/postgres/postgres_store.h"

#include <inttypes.h>
#include <string.h>

#include "base/compiler.h"
#include "base/os.h"
#include "store/migration.h"

#include "store/postgres/migrations.h"

int64_t quern__postgres_newest(void)
{
    return migrations[QUERN__COUNT(migrations) - 1].version;
}

int quern__postgres_schema(quern__postgres *s, int64_t *version, quern_error *err)
{
    quern__pg_result *r;
    *version = 0;
    int rc = quern__postgres_names(s, s->schema, err);
    if (rc || s->no_ledger)
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

/* All of one step up or down; a step from nothing makes the schema and the ledger, one to nothing drops the ledger. The
 * schema stays: it may be the user's. */
static void put_step(const quern__postgres *s, const struct quern__migration *m, bool up,
                     quern__buf *out)
{
    bool first = m == &migrations[0];
    const char *ledger = s->prefix;
    if (up && first && s->no_schema)
        quern__buf_printf(out, "CREATE SCHEMA %s;\nCOMMENT ON SCHEMA %s IS '%s';\n", s->quoted,
                          s->quoted, QUERN__PG_SCHEMA_COMMENT);
    if (up && first && s->no_ledger)
        quern__buf_printf(out,
                          "CREATE TABLE %smigrations (version bigint PRIMARY KEY, name text NOT"
                          " NULL, applied_ms bigint NOT NULL, quern_version text NOT NULL);\n",
                          ledger);
    quern__postgres_put_script(s, up ? m->up : m->down, out);
    if (up)
        quern__buf_printf(out,
                          "INSERT INTO %smigrations VALUES (%" PRId64 ", '%s', (extract(epoch FROM"
                          " clock_timestamp()) * 1000)::bigint, '%s');\n",
                          ledger, m->version, m->name, quern_version_string());
    else if (first)
        quern__buf_printf(out, "DROP TABLE %smigrations;\n", ledger);
    else
        quern__buf_printf(out, "DELETE FROM %smigrations WHERE version = %" PRId64 ";\n", ledger,
                          m->version);
}

/* A search path that knows nothing else; temporary tables last. */
static void put_path(const quern__postgres *s, const char *set, quern__buf *out)
{
    quern__buf_printf(out, "%s search_path = %s, pg_catalog, pg_temp;\n", set, s->quoted);
}

static int run_step(quern__postgres *s, const struct quern__migration *m, bool up, quern_error *err)
{
    quern__buf sql;
    quern_error why;
    quern__buf_init(&sql, QUERN__PG_LONGEST_SQL);
    put_path(s, "SET LOCAL", &sql);
    put_step(s, m, up, &sql);
    int rc = quern__buf_ok(&sql, "a migration", err);
    if (!rc && (rc = quern__pg_script(s->own, sql.data, &why)) != QUERN_OK) {
        const char *state = quern__pg_sqlstate(s->own);
        /* a relation, another object: its name is taken */
        if (up && (strcmp(state, "42P07") == 0 || strcmp(state, "42710") == 0)) {
            rc = quern__fail(err, QUERN_EINVAL, m->version,
                             "schema '%s' holds something that is not quern's under a name that "
                             "quern needs (%s); name another schema (--schema)",
                             s->schema, why.msg);
            rc = quern__code(err, rc, "name_taken");
        } else if (err)
            *err = why;
    }
    quern__buf_dispose(&sql);
    return rc;
}

/* Waits until nobody else migrates this schema, then says which version is there. */
static int alone(quern__postgres *s, int64_t *version, quern_error *err)
{
    quern__pg_params p;
    int64_t number = 0;
    int rc = quern__postgres_lock_number(s, "quern:migrate", &number, err);
    quern__pg_params_init(&p);
    quern__pg_int(&p, number);
    if (!rc)
        rc = quern__pg_run(s->own, "SELECT pg_catalog.pg_advisory_xact_lock($1)", &p, NULL, err);
    return rc ? rc : quern__postgres_schema(s, version, err);
}

static int migrate(void *ud, quern_error *err)
{
    quern__postgres *s = ud;
    int64_t version = 0;
    int rc = alone(s, &version, err);
    for (size_t i = 0; i < QUERN__COUNT(migrations) && !rc; i++)
        if (migrations[i].version > version)
            rc = run_step(s, &migrations[i], true, err);
    return rc;
}

int quern__postgres_migrate(quern__postgres *s, quern_error *err)
{
    int64_t version = 0;
    int rc = quern__postgres_schema(s, &version, err);
    if (rc || version == quern__postgres_newest())
        return rc;
    return quern__postgres_on_session(s, migrate, s, err);
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
    for (size_t i = QUERN__COUNT(migrations); i-- > 0 && !rc;)
        if (migrations[i].version > d->to && migrations[i].version <= version)
            rc = run_step(d->s, &migrations[i], false, err);
    return rc;
}

int quern__postgres_migrate_down(quern__postgres *s, int64_t to_version, quern_error *err)
{
    descent d = {s, to_version};
    return quern__postgres_on_session(s, migrate_down, &d, err);
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

/* What a run would run, each to be run alone too. */
static int write_scripts(quern__postgres *s, quern__ledger *l, quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t i = 0; i < 2 * l->n && !rc; i++) {
        quern__buf sql;
        quern__buf_init(&sql, QUERN__PG_LONGEST_SQL);
        put_path(s, "SET", &sql);
        put_step(s, &migrations[i / 2], i % 2 == 0, &sql);
        rc = quern__buf_ok(&sql, "a migration", err);
        if (!rc && !(l->scripts[i] = quern__buf_detach(&sql)))
            rc = quern__fail_memory(err, 0);
        quern__buf_dispose(&sql);
    }
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
    if (!rc && down < 0)
        rc = write_scripts(s, ledger, err);
    if (!rc && down >= 0)
        rc = quern__postgres_migrate_down(s, down, err);
    quern__postgres_close(s);
    return rc;
}
