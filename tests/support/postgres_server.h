/*
 * postgres_server.h — a PostgreSQL of a test's own: tools/test-postgres starts it in a temporary folder, and ends it
 * should the test die.
 */
#ifndef TESTS_SUPPORT_POSTGRES_SERVER_H
#define TESTS_SUPPORT_POSTGRES_SERVER_H

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"

typedef struct postgres_server {
    char folder[200], base[200]; /* base: "postgres://postgres@127.0.0.1:5432/" */
} postgres_server;

static inline int postgres_tool(const postgres_server *s, const char *verb, char *out, size_t size)
{
    char command[1000], pid[16] = "", said[260];
    const char *root = getenv("QUERN_ROOT");
    snprintf(said, sizeof said, "%.199s.said", s->folder);
    if (strcmp(verb, "start") == 0)
        snprintf(pid, sizeof pid, "%u", quern__os_pid());
    snprintf(command, sizeof command, "'%s/tools/test-postgres' %s '%.199s' %s >'%s'",
             root ? root : ".", verb, s->folder, pid, said);
    int rc = system(command);
    FILE *f = fopen(said, "r");
    char line[200] = "";
    while (f && fgets(line, sizeof line, f))
        if (out)
            snprintf(out, size, "%.*s", (int)strcspn(line, "\n"), line);
    if (f)
        fclose(f);
    quern__remove_file(said, NULL);
    return rc;
}

/* 0, or -1 with the reason on stderr. */
static inline int postgres_start_named(postgres_server *s, const char *name)
{
    const char *tmp = getenv("TMPDIR");
    char url[200] = "";
    snprintf(s->folder, sizeof s->folder, "%s/quern-%.20s-%u", tmp ? tmp : "/tmp", name,
             quern__os_pid());
    quern__remove_tree(s->folder, NULL);
    int rc = postgres_tool(s, "start", url, sizeof url);
    char *slash = strrchr(url, '/');
    if (rc || !slash)
        return -1;
    slash[1] = '\0';
    memcpy(s->base, url, sizeof url);
    return 0;
}

static inline int postgres_start(postgres_server *s)
{
    return postgres_start_named(s, "postgres");
}

static inline void postgres_stop(postgres_server *s)
{
    postgres_tool(s, "stop", NULL, 0);
    quern__remove_tree(s->folder, NULL);
}

/* A connection to a database of the server; NULL with the reason on stderr. */
static inline PGconn *postgres_connect(const postgres_server *s, const char *database)
{
    char url[300];
    snprintf(url, sizeof url, "%s%s", s->base, database);
    PGconn *conn = PQconnectdb(url);
    if (PQstatus(conn) == CONNECTION_OK) {
        PQclear(PQexec(conn, "SET client_min_messages = warning"));
        return conn;
    }
    fprintf(stderr, "%s", PQerrorMessage(conn));
    PQfinish(conn);
    return NULL;
}

/* Statements; 0, or -1 with the reason on stderr. */
static inline int postgres_exec(PGconn *conn, const char *sql)
{
    PGresult *r = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(r);
    int rc = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ? 0 : -1;
    if (rc)
        fprintf(stderr, "%s: %s", sql, PQerrorMessage(conn));
    PQclear(r);
    return rc;
}

#endif
