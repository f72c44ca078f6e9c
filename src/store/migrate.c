/*
 * migrate.c — versions of quern's own tables from outside: what there is, what the database has, and the way down. The
 * scripts and the ledger are each store's (sqlite_schema.c, postgres_schema.c).
 */
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/error.h"
#include "store/migration.h"
#ifdef QUERN_POSTGRES
#include "store/postgres/postgres_store.h"
#endif
#include "store/sqlite/sqlite_store.h"
#include "store/store.h"

struct quern_migration_list {
    quern_migration rows[QUERN__MOST_MIGRATIONS];
    size_t n;
    quern__ledger ledger;
};

void quern__ledger_dispose(quern__ledger *l)
{
    for (size_t i = 0; i < QUERN__COUNT(l->scripts); i++)
        quern__free(l->scripts[i]);
    memset(l->scripts, 0, sizeof l->scripts);
}

/* down < 0: only looks. */
static int on_store(const quern_store_options *opt, int64_t down, quern__ledger *ledger,
                    quern_error *err)
{
    if (!opt->db || !*opt->db)
        return quern__fail(err, QUERN_EINVAL, 0, "no database given");
    if (!quern__is_postgres_url(opt->db)) {
        int rc = quern__only_postgres(opt, err);
        return rc ? rc
                  : quern__sqlite_versions(opt->store ? opt->store : opt->db, down, ledger, err);
    }
#ifdef QUERN_POSTGRES
    return quern__postgres_versions(opt, down, ledger, err);
#else
    return quern__fail(err, QUERN_EUNSUPPORTED, 0, "this quern is built without PostgreSQL");
#endif
}

/* Versions are applied in order: one that is missing below another is nobody's work of ours. */
static int check_order(const quern__ledger *l, quern_error *err)
{
    bool ended = false;
    for (size_t i = 0; i < l->n; i++) {
        if (l->applied_ms[i] && ended)
            return quern__fail(err, QUERN_EMISMATCH, l->known[i].version,
                               "the ledger of migrations has %" PRId64
                               " and not the one before: it "
                               "was changed by hand, or made by a build that was never released",
                               l->known[i].version);
        ended |= !l->applied_ms[i];
    }
    return QUERN_OK;
}

int quern_migration_list_open(quern_migration_list **out, const quern_store_options *opt,
                              quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(opt && opt->struct_size >= sizeof *opt, err);
    quern_migration_list *l = quern__calloc(1, sizeof *l);
    if (!l)
        return quern__fail_memory(err, sizeof *l);
    quern__ledger *g = &l->ledger;
    int rc = on_store(opt, -1, g, err);
    if (rc == QUERN_OK)
        rc = check_order(g, err);
    if (rc != QUERN_OK) {
        quern_migration_list_free(l);
        return rc;
    }
    l->n = g->n;
    for (size_t i = 0; i < l->n; i++)
        l->rows[i] = (quern_migration){.version = g->known[i].version,
                                       .name = g->known[i].name,
                                       .up = g->scripts[2 * i] ? g->scripts[2 * i] : g->known[i].up,
                                       .down = g->scripts[2 * i + 1] ? g->scripts[2 * i + 1]
                                                                     : g->known[i].down,
                                       .applied_ms = g->applied_ms[i]};
    *out = l;
    return QUERN_OK;
}

size_t quern_migration_list_count(const quern_migration_list *l)
{
    return l ? l->n : 0;
}

const quern_migration *quern_migration_list_at(const quern_migration_list *l, size_t i)
{
    return l && i < l->n ? &l->rows[i] : NULL;
}

void quern_migration_list_free(quern_migration_list *l)
{
    if (l)
        quern__ledger_dispose(&l->ledger);
    quern__free(l);
}

int quern_migrate_down(const quern_store_options *opt, int64_t version, quern_error *err)
{
    QUERN__REQUIRE(opt && opt->struct_size >= sizeof *opt, err);
    quern__ledger ledger = {0};
    int rc = on_store(opt, -1, &ledger, err);
    bool known = version == 0;
    for (size_t i = 0; rc == QUERN_OK && i < ledger.n; i++)
        known |= ledger.known[i].version == version;
    if (rc == QUERN_OK && !known)
        rc = quern__fail(err, QUERN_ENOTFOUND, version,
                         "there is no version %" PRId64 " of the schema", version);
    quern__ledger_dispose(&ledger);
    return rc == QUERN_OK ? on_store(opt, version, &ledger, err) : rc;
}
