/*
 * quern/shard.h — vectors on several PostgreSQL servers, searched as one (docs/shards.md). The store's own database
 * reaches them by postgres_fdw; generations that are made after an apply lie on them, those before stay where they are.
 * SQLite has none: EUNSUPPORTED.
 */
#ifndef QUERN_SHARD_H
#define QUERN_SHARD_H

#include "quern/store.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quern_shard_options {
    size_t struct_size;
    const char *const
        *urls; /* of all servers that generations made from then on use: "postgres://…" */
    size_t n;
} quern_shard_options;

/* One statement. Passwords show as "***". */
typedef struct quern_shard_step {
    const char *place; /* "host:port/database" where it runs */
    const char *sql;
} quern_shard_step;
typedef int (*quern_shard_step_fn)(const quern_shard_step *step, void *ud); /* non-zero ends it */

typedef struct quern_shard {
    int64_t id;
    const char *place;
    int used;         /* by generations that are made from now on */
    int reachable;    /* 0: why says what the server of the store heard */
    const char *why;  /* "" when all is well; of one that answers: what it lacks */
    uint64_t vectors; /* rows, with those that no save completed */
    uint64_t bytes;   /* of tables and indexes */
    double answer_ms; /* how long it took to answer, by way of the store's server */
} quern_shard;
typedef int (*quern_shard_fn)(const quern_shard *shard, void *ud);

/* Tells what apply would do, and changes nothing; nothing at all is told when there is nothing to do. EINVAL a URL
 * that cannot be used, EIO a server that does not answer, EEXISTS one that holds another store's vectors or is named
 * twice, EUNSUPPORTED without postgres_fdw or pgvector where it is needed. */
QUERN_API int quern_shard_plan(quern_store *s, const quern_shard_options *opt,
                               quern_shard_step_fn fn, void *ud, quern_error *err);
/* Does it; each statement is told before it runs (fn may be NULL). It can be cut off anywhere and run again. */
QUERN_API int quern_shard_apply(quern_store *s, const quern_shard_options *opt,
                                quern_shard_step_fn fn, void *ud, quern_error *err);
/* Each shard by its id. One that does not answer is no error of the call's. */
QUERN_API int quern_shard_status(quern_store *s, quern_shard_fn fn, void *ud, quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
