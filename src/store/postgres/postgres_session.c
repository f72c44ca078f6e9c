/*
 * postgres_session.c — connections that stay ours for longer than a transaction: for locks, for LISTEN, for migrations and
 * builds of indexes. Without --direct-url they go to where the store's own goes. Behind a pooler in transaction mode
 * locks hold there too, because theirs is one long transaction, but notifications are lost and a pooler may end what
 * takes minutes; with --direct-url these connections go past it.
 *
 * Both have to lead to one database, or a lock would guard something else: that is asked of the servers each time,
 * by what no two of them share, and never guessed from the URLs.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "store/postgres/postgres_store.h"

/* From the best answer down to one that every role is given. A standby has all of its primary's but the last column. */
static const char *const identities[] = {
    "SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()) || ' ' || d.oid || ' '"
    " || d.datname || ' ' || pg_catalog.pg_is_in_recovery() FROM pg_catalog.pg_database AS d"
    " WHERE d.datname = pg_catalog.current_database()",
    "SELECT extract(epoch FROM pg_catalog.pg_postmaster_start_time()) || ' ' || d.oid || ' ' || "
    "d.datname"
    " FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()"};

/* 1: the same, 0: not, else an error; one that may not ask is EINVAL of both. */
static int same_by(quern__pg *a, quern__pg *b, const char *question, quern_error *err)
{
    quern__pg_result *of_a = NULL, *of_b = NULL;
    int rc = quern__pg_query(a, question, NULL, QUERN__PG_AS_TEXT, &of_a, err);
    if (!rc)
        rc = quern__pg_query(b, question, NULL, QUERN__PG_AS_TEXT, &of_b, err);
    if (!rc && quern__pg_rows(of_a) == 1 && quern__pg_rows(of_b) == 1 &&
        !quern__pg_is_null(of_a, 0, 0) && !quern__pg_is_null(of_b, 0, 0))
        rc = strcmp(quern__pg_get_text(of_a, 0, 0).ptr, quern__pg_get_text(of_b, 0, 0).ptr) == 0;
    quern__pg_clear(of_a);
    quern__pg_clear(of_b);
    return rc;
}

static int check_same(quern__postgres *s, quern__pg *direct, quern_error *err)
{
    int rc = QUERN_EINVAL;
    for (size_t i = 0; i < QUERN__COUNT(identities) && rc == QUERN_EINVAL; i++)
        rc = same_by(s->own, direct, identities[i], err);
    if (rc == 0) {
        rc =
            quern__fail(err, QUERN_EINVAL, 0,
                        "the direct URL leads to %s, which is not the database of %s; it has to be "
                        "the same one, past the pooler",
                        quern__pg_name(direct), quern__pg_name(s->own));
        return quern__code(err, rc, "other_database");
    }
    return rc < 0 ? rc : QUERN_OK;
}

int quern__postgres_session(quern__postgres *s, quern__pg **out, quern_error *err)
{
    *out = NULL;
    if (!s->direct)
        return quern__pg_again(out, s->own, err);
    int rc = quern__pg_open(out, s->direct, s->busy_ms, err);
    if (!rc)
        rc = check_same(s, *out, err);
    if (rc) {
        quern__pg_close(*out);
        *out = NULL;
    }
    return rc;
}

int quern__postgres_on_session(quern__postgres *s, int (*fn)(void *ud, quern_error *err), void *ud,
                               quern_error *err)
{
    quern__pg *own = s->own, *direct = NULL;
    int rc = s->direct ? quern__postgres_session(s, &direct, err) : QUERN_OK;
    if (rc)
        return rc;
    s->own = direct ? direct : own;
    rc = quern__pg_transact(s->own, QUERN__PG_WRITE, fn, ud, err);
    s->own = own;
    quern__pg_close(direct);
    return rc;
}

int quern__postgres_set_direct(quern__postgres *s, const quern_store_options *opt, quern_error *err)
{
    quern__pg *direct = NULL;
    if (!opt->direct_url || !*opt->direct_url)
        return QUERN_OK;
    if (opt->postgres_connection)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "a direct URL and a borrowed connection: give one");
    s->direct = quern__strdup(opt->direct_url);
    if (!s->direct)
        return quern__fail_memory(err, strlen(opt->direct_url));
    int rc =
        quern__postgres_session(s, &direct, err); /* that it is the right one is said at once */
    quern__pg_close(direct);
    return rc;
}
