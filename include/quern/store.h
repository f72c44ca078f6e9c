/*
 * quern/store.h — a store: where sources are declared, documents, generations, stamps and vectors live.
 * SQLite (tables quern_* in the user's own file, or in a file of their own) or PostgreSQL 15 and newer (a schema
 * `quern` beside the user's tables, or in a database of its own); the table of functions in quern/sys/store.h lets
 * other databases stand behind the same face. One store handle belongs to one
 * thread at a time; open several to work in parallel.
 */
#ifndef QUERN_STORE_H
#define QUERN_STORE_H

#include "quern/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quern_store quern_store;

typedef struct quern_store_options {
    size_t struct_size;
    /* the user's database: a file, created if absent unless read_only or `store` is set, or "postgres://…" */
    const char *db;
    /* NULL: vectors live in db; else a file or database of their own, of the same kind, and db is only read */
    const char *store;
    int wal; /* SQLite; 1: switch db to WAL; default: journal mode of an existing file stays as it is,
                          WAL in files that quern creates */
    int read_only;    /* 1: nothing is created or migrated; ENOTFOUND when there is no schema */
    uint32_t busy_ms; /* how long to wait for a lock, 0: 5000 */
    /* a borrowed sqlite3*; db and store must be NULL. Never closed; its transaction, if one is open,
     * is joined and never committed */
    void *connection;
    /* the same for PostgreSQL: a borrowed PGconn*, idle or in a transaction that has not failed. Fill, work and add
     * need a connection of their own for their locks and answer EUNSUPPORTED */
    void *postgres_connection;
    /* PostgreSQL; the schema that holds quern's tables, NULL: "quern". One that is not there is made, and its tables
     * have plain names; in one that somebody else made ("public") they are called quern_…. Several stores may be in
     * one database, a schema each. On SQLite EINVAL */
    const char *schema;
    /* PostgreSQL: where db (or store) leads through a pooler, the URL past it, to the same database (else EINVAL);
     * locks, notifications, migrations and builds of indexes use it. On SQLite EINVAL */
    const char *direct_url;
    uint32_t
        shard_timeout_ms; /* PostgreSQL: how long a search waits for shards before EIO, 0: 60000 */
} quern_store_options;

/* Opens, and brings quern's own tables up to this version. On PostgreSQL vectors are pgvector's halfvec or vector where
 * its extension (0.8 or newer) is installed in the database when a generation is made, else bytea; a log line says
 * which. EIO: the server does not answer. EUNSUPPORTED: an older server, or quern was built without
 * PostgreSQL. EMISMATCH: a newer version of quern made it (both versions named). */
QUERN_API int quern_store_open(quern_store **out, const quern_store_options *opt, quern_error *err);
QUERN_API void quern_store_free(quern_store *s);

/* ---- schema: quern's own tables and their versions ---- */
typedef struct quern_migration {
    int64_t version;
    const char *name;
    const char *up,
        *down; /* SQL; on PostgreSQL whole: it sets the search path and writes the ledger */
    int64_t applied_ms; /* 0: not applied */
} quern_migration;
typedef struct quern_migration_list quern_migration_list;

/* All that this version knows, oldest first, and which of them the database has; nothing is changed, and a file that is
 * not there is not made. EMISMATCH: a newer version of quern made it (both versions named), or its ledger
 * is not one that this version's migrations leave. */
QUERN_API int quern_migration_list_open(quern_migration_list **out, const quern_store_options *opt,
                                        quern_error *err);
QUERN_API size_t quern_migration_list_count(const quern_migration_list *l);
QUERN_API const quern_migration *quern_migration_list_at(const quern_migration_list *l, size_t i);
QUERN_API void quern_migration_list_free(quern_migration_list *l);
/* Down to a version, in one transaction: later tables and columns go with what is in them. 0: all of quern's. (Up is
 * quern_store_open's.) ENOTFOUND: there is no such version. */
QUERN_API int quern_migrate_down(const quern_store_options *opt, int64_t version, quern_error *err);

/* What database it is, and what of it would better be changed. */
typedef struct quern_engine {
    size_t struct_size;
    char name[120];   /* "PostgreSQL 15.14, pgvector 0.8.0" */
    char advice[240]; /* one line, "" none */
} quern_engine;
/* EUNSUPPORTED: the store does not say. */
QUERN_API int quern_store_engine(quern_store *s, quern_engine *out, quern_error *err);

/* ---- sources: which rows are documents ---- */
typedef struct quern_source_spec {
    size_t struct_size;
    const char *name;  /* [A-Za-z_][A-Za-z0-9_-]{0,62} */
    const char *table; /* table or view; NULL with `query`, or for the built-in documents table */
    const char *query; /* trusted SELECT in place of a table; NULL */
    const char *keys;  /* comma-separated key columns; NULL for the built-in documents */
    /* template: "Title: {title}. {body}"; a literal goes with the column after it and vanishes when that is empty.
     * {a.b}: column "a.b", else a path into the JSON of column a; {a|b}: the first that is not empty;
     * {a|unless=b}: not when it equals b; {a|join=", "}: the elements of a JSON array; {{ }}: braces */
    const char *text;
    const char *revision; /* column that changes with every edit; NULL: hash of the rendered text */
    const char *where;    /* trusted SQL predicate; NULL */
    const char *meta;     /* comma-separated columns kept for filters and results; NULL */
    /* steps that clean the text before it is cut, comma-separated, whatever their order here: crlf, data-uri (and
     * base64), html (to text), tracking (parameters of URLs), quoted (mail), signature, whitespace; or "all"; NULL
     * none. Offsets of chunks are of the text that they leave. */
    const char *prepare;
    const char *
        text_search; /* "words": documents can be found by their words too (docs/search.md); NULL: not */
    /* "generated_at=COLUMN,model=COLUMN", one or both: columns of the table that every save of vectors writes, in its own
     * transaction (docs/sources.md); NULL: the table is only read */
    const char *stamp_columns;
    /* Of a table or query "yes": the text that was embedded is kept in the store, and excerpts are of it; NULL: not. Of
     * built-in documents "no": their text is removed once it has been embedded; NULL: kept (docs/sources.md) */
    const char *keep_text;
    /* "photo, clip=video": columns that name what is to be seen with the text, and the kind of what they name: image (by itself),
     * frame or video. A value is a URL, or JSON as of quern_asset_list_parse (docs/sources.md); NULL: texts alone are embedded */
    const char *assets;
    const char *max_assets; /* of a document, "1" to "64"; NULL: 8. Those behind are cut off */
} quern_source_spec;

typedef struct quern_source_list quern_source_list;

/* add: EEXISTS when the name is taken; ENOTFOUND names a missing table or column; EINVAL a table without
 * a unique key over `keys`, a bad name, template or predicate. All is tried against the database first. */
QUERN_API int quern_source_add(quern_store *s, const quern_source_spec *spec, quern_error *err);
/* set: replaces the declaration; fields left NULL keep what they were ("" clears). The vectors stay; the
 * next fill makes a new generation if the change decides vectors. ENOTFOUND. */
QUERN_API int quern_source_set(quern_store *s, const quern_source_spec *spec, quern_error *err);
/* Forgets the declaration, its stamps and vectors; the user's rows are not touched. ENOTFOUND. */
QUERN_API int quern_source_remove(quern_store *s, const char *name, quern_error *err);
/* A live source: triggers on its table note each row that is inserted, updated or deleted, so that `quern work` knows of
 * it at once (without them a scan finds the same). The only thing of quern's that ever touches a table of the user's;
 * on = 0 and quern_source_remove take the triggers away; quern_source_set keeps them. ENOTFOUND; EINVAL: a query or a
 * view has no triggers; EUNSUPPORTED: the store is in another database, or knows no triggers. */
QUERN_API int quern_source_live(quern_store *s, const char *name, int on, quern_error *err);
QUERN_API int quern_source_is_live(quern_store *s, const char *name, int *on, quern_error *err);
QUERN_API int quern_source_list_open(quern_source_list **out, quern_store *s, quern_error *err);
QUERN_API size_t quern_source_list_count(const quern_source_list *l);
QUERN_API const quern_source_spec *quern_source_list_at(const quern_source_list *l,
                                                        size_t i); /* by name */
QUERN_API void quern_source_list_free(quern_source_list *l);

/* ---- the log of fills ---- */
/* One run of a fill, as its log has it. */
typedef struct quern_run {
    const char *source;
    int64_t generation, started_ms, ended_ms; /* Unix milliseconds */
    int status;                               /* of quern/status.h */
    uint64_t processed, failed, stale, deleted, chunks, tokens;
    const char *error; /* "" or the run's, or its last document's */
    uint64_t calls;    /* of the embedder */
    uint64_t cached,
        cached_tokens; /* of chunks and tokens: a cache had them, and nothing was paid */
    /* billionths: what the tokens cost and what the cached ones would have, by the price that was known then */
    uint64_t cost_nano, saved_nano;
} quern_run;

/* The last `limit` runs of one source, or of all (NULL), the newest first; of each source the last hundred are kept. What
 * changed nothing has no line. A non-zero return of fn ends the call, which returns it. EUNSUPPORTED: the store
 * keeps no log. ENOTFOUND: no such source. */
QUERN_API int quern_runs_each(quern_store *s, const char *source, size_t limit,
                              int (*fn)(const quern_run *run, void *ud), void *ud,
                              quern_error *err);

/* What the embedder was used for on one day (of UTC), by fills and workers. */
typedef struct quern_usage {
    const char *source;
    int64_t day_ms; /* when it began, Unix milliseconds */
    uint64_t runs, processed, failed, chunks, calls, tokens;
    uint64_t cached, cached_tokens; /* as a run's */
    uint64_t cost_nano, saved_nano; /* likewise */
} quern_usage;

/* The last `days` days of one source, or of all (NULL), the newest first, days without any left out; 400 days are kept. A
 * non-zero return of fn ends the call, which returns it. EUNSUPPORTED: the store keeps no count. ENOTFOUND: no such
 * source. */
QUERN_API int quern_usage_each(quern_store *s, const char *source, size_t days,
                               int (*fn)(const quern_usage *usage, void *ud), void *ud,
                               quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
