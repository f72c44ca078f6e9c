/* test_generation_postgres.c — generation_world.h on PostgreSQL, with a server of the test's own. */
#include "unit/pipeline/generation_world.h"

#include "support/postgres_server.h"

static postgres_server server;

static void say(void *connection, const char *text)
{
    if (postgres_exec(connection, text))
        abort(); /* perhaps in a thread, where no test can fail */
}

static int64_t ask(void *connection, const char *text)
{
    PGresult *r = PQexec(connection, text);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", text, PQerrorMessage(connection));
    int64_t n = PQntuples(r) ? strtoll(PQgetvalue(r, 0, 0), NULL, 10) : -1;
    PQclear(r);
    return n;
}

static void lose_vectors(stage *w, int64_t generation, const char *key)
{
    sql(w, "DELETE FROM quern.vectors_%lld WHERE key = '%s'", (long long)generation, key);
}

static void lose_table(stage *w, int64_t generation)
{
    sql(w, "DROP TABLE quern.vectors_%lld", (long long)generation);
}

static int enter(void **state)
{
    static int count;
    char name[32];
    stage *w = calloc(1, sizeof *w);
    PGconn *admin = postgres_connect(&server, "postgres");
    if (!w || !admin)
        return -1;
    snprintf(name, sizeof name, "generations%d", count++);
    char create[80];
    snprintf(create, sizeof create, "CREATE DATABASE %s", name);
    say(admin, create);
    PQfinish(admin);
    snprintf(w->db, sizeof w->db, "%s%s", server.base, name);
    w->user = postgres_connect(&server, name);
    w->other = postgres_connect(&server, name);
    if (!w->user || !w->other)
        return -1;
    w->prefix = "quern.";
    *state = w;
    if (count % 2) /* with pgvector and without */
        say(w->user, "CREATE EXTENSION vector");
    furnish(w);
    return 0;
}

static int leave(void **state)
{
    stage *w = *state;
    clear(w);
    PQfinish(w->user);
    PQfinish(w->other);
    free(w);
    return 0;
}

int main(void)
{
    if (postgres_start(&server))
        return 1;
    int failed = generation_tests("generations on PostgreSQL");
    postgres_stop(&server);
    return failed;
}
