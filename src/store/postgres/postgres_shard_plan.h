/* postgres_shard_plan.h — what an apply has to do: made from what is there, by reading only; then told, or run. */
#ifndef QUERN_STORE_POSTGRES_POSTGRES_SHARD_PLAN_H
#define QUERN_STORE_POSTGRES_POSTGRES_SHARD_PLAN_H

#include "store/postgres/postgres_store.h"

enum { QUERN__SHARD_OPTIONS = 24 };

typedef struct quern__shard_option {
    const char *name, *value;
} quern__shard_option;

/* A server that was named. */
typedef struct quern__shard_server {
    quern__pg *db;
    const char *place, *identity;
    int64_t id;    /* 0: not yet given */
    bool ours;     /* its tables are there, and of this store */
    bool recorded; /* in @shards */
    quern__shard_option server[QUERN__SHARD_OPTIONS], user[4]; /* wanted */
    size_t n_server, n_user;
    bool password;
} quern__shard_server;

/* Steps of one place that stand side by side share a transaction. */
typedef struct quern__shard_act {
    int at; /* index of the server, -1: the store's own */
    const char *sql, *shown;
} quern__shard_act;

typedef struct quern__shard_plan {
    quern__postgres *s;
    const quern_shard_options *opt;
    quern__arena arena;
    quern__shard_server *servers;
    size_t n;
    const char *token; /* of this store */
    bool superuser, fdw, dblink;
    const char *vector_schema; /* NULL: without pgvector */
    quern__shard_act *acts;
    size_t n_acts, room;
} quern__shard_plan;

int quern__shard_plan_make(quern__shard_plan *p, quern__postgres *s, const quern_shard_options *opt,
                           quern_error *err);
void quern__shard_plan_dispose(quern__shard_plan *p); /* fine after a failed make */

#endif
