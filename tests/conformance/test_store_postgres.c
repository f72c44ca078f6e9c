/* test_store_postgres.c — the PostgreSQL store through the suite: with pgvector, without, with its tables in a
 * database of their own, in the schema `public` and in one of a hostile name, and with its vectors on three servers, from
 * a schema of its own and from `public`. All are the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "quern/sys/store.h"
#include "store/store.h"
#include "support/postgres_server.h"

enum how {
    WITH_VECTOR,
    WITHOUT_VECTOR,
    OWN_DATABASE,
    IN_PUBLIC,
    HOSTILE_NAME,
    SHARDED,
    SHARDED_IN_PUBLIC
};
enum { SHARDS = 3 };
/* All that a name could break out of: quotes of three kinds, a comment, our own signs. */
#define HOSTILE        "a\"b; DROP SCHEMA \"ex t\" --'%s@@$$$body$\\ \xc3\xa9"
#define HOSTILE_QUOTED "\"a\"\"b; DROP SCHEMA \"\"ex t\"\" --'%s@@$$$body$\\ \xc3\xa9\""

typedef struct world {
    enum how how;
    PGconn *user, *own;
    char db[300], store_db[300];
    quern_store *store; /* whose instance the suite drives; freed when the next one opens */
    quern_store_table table;
} world;

static postgres_server server, shards[SHARDS];

static void close_instance(void *self)
{
    (void)self; /* the suite closes instances, the world its handles */
}

static bool is_sharded(const world *w)
{
    return w->how == SHARDED || w->how == SHARDED_IN_PUBLIC;
}

/* In a schema of the user's only what begins with quern_ goes. */
static int drop_tables(const world *w)
{
    if (w->how == HOSTILE_NAME)
        return postgres_exec(w->own, "DROP SCHEMA IF EXISTS " HOSTILE_QUOTED " CASCADE");
    if (w->how != IN_PUBLIC && w->how != SHARDED_IN_PUBLIC)
        return postgres_exec(w->own, "DROP SCHEMA IF EXISTS quern CASCADE");
    return postgres_exec(
        w->own,
        "DO $$ DECLARE name text; BEGIN FOR name IN SELECT format('%s IF EXISTS %I', CASE relkind"
        " WHEN 'v' THEN 'VIEW' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, relname)"
        " FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname ~ '^quern_'"
        " AND relkind IN ('r', 'p', 'v', 'f') AND NOT relispartition ORDER BY relkind = 'v' DESC"
        " LOOP EXECUTE 'DROP ' || name || ' CASCADE'; END LOOP; END $$");
}

/* Nothing of the store's may stand anywhere else than it was told. */
static void look_around(const world *w)
{
    PGresult *r = PQexec(
        w->own,
        "SELECT count(*) FILTER (WHERE nspname = 'quern'), count(*) FILTER (WHERE relname ~"
        " '^quern_' AND nspname = 'public'), count(*) FILTER (WHERE relname !~ '^(quern_|items)'"
        " AND nspname = 'public'), count(*) FILTER (WHERE nspname = E'a\"b; DROP SCHEMA \"ex t\""
        " --\\'%s@@$$$body$\\\\ \xc3\xa9') FROM pg_class AS c JOIN pg_namespace AS n"
        " ON n.oid = c.relnamespace WHERE relkind <> 'c'");
    assert_int_equal(PQresultStatus(r), PGRES_TUPLES_OK);
    int in_quern = atoi(PQgetvalue(r, 0, 0)), in_public = atoi(PQgetvalue(r, 0, 1));
    int others = atoi(PQgetvalue(r, 0, 2)), hostile = atoi(PQgetvalue(r, 0, 3));
    PQclear(r);
    bool is_public = w->how == IN_PUBLIC || w->how == SHARDED_IN_PUBLIC;
    assert_int_equal(in_public > 0, is_public);
    assert_int_equal(hostile > 0, w->how == HOSTILE_NAME);
    assert_int_equal(in_quern > 0, !is_public && w->how != HOSTILE_NAME);
    assert_int_equal(others, 0);
}

/* A store whose generations lie on the shards; what the one before left there is not of this one. */
static int put_on_shards(quern_store *s, quern_error *err)
{
    char urls[SHARDS][300];
    const char *list[SHARDS];
    quern_shard_options opt;
    for (int i = 0; i < SHARDS; i++) {
        snprintf(urls[i], sizeof urls[i], "%spostgres", shards[i].base);
        list[i] = urls[i];
        PGconn *shard = postgres_connect(&shards[i], "postgres");
        assert_non_null(shard);
        assert_int_equal(postgres_exec(shard, "DROP SCHEMA IF EXISTS quern_shard CASCADE"), 0);
        PQfinish(shard);
    }
    QUERN_INIT(&opt);
    opt.urls = list;
    opt.n = SHARDS;
    return quern_shard_apply(s, &opt, NULL, NULL, err);
}

static int open_fresh(void **self, void *ud, quern_error *err)
{
    world *w = ud;
    quern_store_options opt;
    quern_store_free(w->store);
    w->store = NULL;
    if (is_sharded(w))
        assert_int_equal(postgres_exec(w->own, "DROP EXTENSION IF EXISTS postgres_fdw CASCADE"), 0);
    assert_int_equal(drop_tables(w), 0);
    assert_int_equal(
        postgres_exec(w->user,
                      "DROP TABLE IF EXISTS items; CREATE TABLE items (id bigint PRIMARY KEY,"
                      " title text, body text, rev text)"),
        0);
    QUERN_INIT(&opt);
    opt.db = w->db;
    opt.store = w->how == OWN_DATABASE ? w->store_db : NULL;
    opt.schema = w->how == HOSTILE_NAME                               ? HOSTILE
                 : w->how == IN_PUBLIC || w->how == SHARDED_IN_PUBLIC ? "public"
                                                                      : NULL;
    int rc = quern_store_open(&w->store, &opt, err);
    if (!rc && is_sharded(w))
        rc = put_on_shards(w->store, err);
    if (rc)
        return rc;
    w->table = w->store->table;
    w->table.close = close_instance;
    *self = w->store->self;
    return QUERN_OK;
}

static int run_for_item(world *w, const char *sql, int n, int64_t id, const char *title,
                        const char *body, const char *rev)
{
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)id);
    const char *const values[] = {number, title, body, rev};
    PGresult *r = PQexecParams(w->user, sql, n, NULL, values, NULL, NULL, 0);
    int rc = PQresultStatus(r) == PGRES_COMMAND_OK ? QUERN_OK : QUERN_EIO;
    if (rc)
        fprintf(stderr, "%s", PQerrorMessage(w->user));
    PQclear(r);
    return rc;
}

static int put_item(void *self, int64_t id, const char *title, const char *body, const char *rev,
                    void *ud, quern_error *err)
{
    (void)self, (void)err;
    return run_for_item(ud,
                        "INSERT INTO items VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO UPDATE SET"
                        " title = excluded.title, body = excluded.body, rev = excluded.rev",
                        4, id, title, body, rev);
}

static int remove_item(void *self, int64_t id, void *ud, quern_error *err)
{
    (void)self, (void)err;
    return run_for_item(ud, "DELETE FROM items WHERE id = $1", 1, id, NULL, NULL, NULL);
}

/* Shard 1 as it is now is kept, or comes back. */
static int take_back(void *self, int again, void *ud, quern_error *err)
{
    char command[600];
    PGconn *shard = again ? NULL : postgres_connect(&shards[0], "postgres");
    (void)self, (void)ud, (void)err;
    if (shard)
        assert_int_equal(postgres_exec(shard, "CHECKPOINT"), 0);
    PQfinish(shard);
    assert_int_equal(postgres_tool(&shards[0], "stop", NULL, 0), 0);
    snprintf(command, sizeof command,
             again ? "cd '%.199s' && rm -r data && mv kept data" : "cd '%.199s' && cp -a data kept",
             shards[0].folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(postgres_tool(&shards[0], "restart", NULL, 0), 0);
    return QUERN_OK;
}

static void note(const char *rule, void *ud)
{
    (void)ud;
    if (getenv("QUERN_VERBOSE"))
        print_message("%s\n", rule);
}

static void run(enum how how)
{
    static const char *const names[] = {"with_vector",      "without_vector", "own_database",
                                        "in_public",        "hostile",        "sharded",
                                        "sharded_in_public"};
    world w = {.how = how};
    char sql[200];
    quern_error err = {.status = 0};
    PGconn *admin = postgres_connect(&server, "postgres");
    assert_non_null(admin);
    snprintf(sql, sizeof sql, "CREATE DATABASE %s", names[how]);
    assert_int_equal(postgres_exec(admin, sql), 0);
    snprintf(w.db, sizeof w.db, "%s%s", server.base, names[how]);
    w.user = w.own = postgres_connect(&server, names[how]);
    assert_non_null(w.user);
    if (how == OWN_DATABASE) {
        assert_int_equal(postgres_exec(admin, "CREATE DATABASE vectors_only"), 0);
        snprintf(w.store_db, sizeof w.store_db, "%svectors_only", server.base);
        w.own = postgres_connect(&server, "vectors_only");
        assert_non_null(w.own);
    }
    if (how != WITHOUT_VECTOR) /* in a schema that is on nobody's search path */
        assert_int_equal(postgres_exec(w.own, "CREATE SCHEMA \"ex t\"; CREATE EXTENSION vector WITH"
                                              " SCHEMA \"ex t\""),
                         0);
    quern_conformance c;
    QUERN_INIT(&c);
    c.open = open_fresh;
    c.put = put_item;
    c.remove = remove_item;
    c.ud = &w;
    c.note = note;
    c.back = how == SHARDED ? take_back : NULL;
    /* the table is the same for every instance; one is opened to have it */
    void *self;
    int rc = open_fresh(&self, &w, &err);
    if (rc)
        fail_msg("%s", err.msg);
    c.table = &w.table;
    rc = quern_store_conformance(&c, &err);
    if (!rc)
        look_around(&w);
    quern_store_free(w.store);
    if (w.own != w.user)
        PQfinish(w.own);
    PQfinish(w.user);
    PQfinish(admin);
    if (rc)
        fail_msg("%s (line %lld)", err.msg, (long long)err.detail);
}

static void with_vector(void **state)
{
    (void)state;
    run(WITH_VECTOR);
}

static void without_vector(void **state)
{
    (void)state;
    run(WITHOUT_VECTOR);
}

static void own_database(void **state)
{
    (void)state;
    run(OWN_DATABASE);
}

static void in_public(void **state)
{
    (void)state;
    run(IN_PUBLIC);
}

static void in_a_schema_of_a_hostile_name(void **state)
{
    (void)state;
    run(HOSTILE_NAME);
}

static void run_sharded(enum how how)
{
    for (int i = 0; i < SHARDS && !shards[i].base[0]; i++) {
        char folder[40];
        snprintf(folder, sizeof folder, "shard-%d", i);
        assert_int_equal(postgres_start_named(&shards[i], folder), 0);
    }
    run(how);
}

static void sharded(void **state)
{
    (void)state;
    run_sharded(SHARDED);
}

static void sharded_in_public(void **state)
{
    (void)state;
    run_sharded(SHARDED_IN_PUBLIC);
}

static int start(void **state)
{
    (void)state;
    return postgres_start(&server);
}

static int stop(void **state)
{
    (void)state;
    postgres_stop(&server);
    for (int i = 0; i < SHARDS; i++)
        if (shards[i].base[0])
            postgres_stop(&shards[i]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(with_vector),       cmocka_unit_test(without_vector),
        cmocka_unit_test(own_database),      cmocka_unit_test(in_public),
        cmocka_unit_test(sharded),           cmocka_unit_test(in_a_schema_of_a_hostile_name),
        cmocka_unit_test(sharded_in_public),
    };
    /* the short run has the parts of the last two, by themselves */
    const struct CMUnitTest some[] = {all[0], all[1], all[2], all[3], all[4]};
    static const char name[] = "store conformance, postgres";
    return getenv("QUERN_LONG") ? cmocka_run_group_tests_name(name, all, start, stop)
                                : cmocka_run_group_tests_name(name, some, start, stop);
}
