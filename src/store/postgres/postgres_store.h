/*
 * postgres_store.h — the PostgreSQL store inside: its connections, and the functions of its table by file. What
 * they promise stands in quern/sys/store.h.
 *
 * quern's tables lie in a schema of their own. Each generation has a table of its own, vectors_<id>, that holds
 * chunks and vectors together: saving a chunk is one row, purging a generation is dropping a table. Order of locks
 * in a transaction that saves: the generation's row (FOR KEY SHARE), stamps by key, vectors; its count of chunks last.
 */
#ifndef QUERN_STORE_POSTGRES_POSTGRES_STORE_H
#define QUERN_STORE_POSTGRES_POSTGRES_STORE_H

#include "base/arena.h"
#include "db/postgres_db.h"
#include "db/sql_text.h"
#include "quern/sys/store.h"

/* Of a schema that quern made; so it is known as one when nothing is in it. */
#define QUERN__PG_SCHEMA_COMMENT "tables of quern"

enum {
    QUERN__PG_SLICE_MS = 20,      /* of a write transaction, before its commit */
    QUERN__PG_LONGEST_KEY = 2600, /* bytes: an index entry has to fit a third of a page */
    QUERN__PG_LONGEST_SQL = 1 << 20
};

/* What a generation's column `embedding` is; decided when it is made. */
enum quern__pg_storage {
    QUERN__PG_STORED_BYTES,   /* bytea: the little-endian elements */
    QUERN__PG_STORED_HALFVEC, /* pgvector's halfvec(dimensions): f16 */
    QUERN__PG_STORED_VECTOR   /* pgvector's vector(dimensions): f32 */
};

enum {
    QUERN__PG_SHARDS = 64,     /* at most */
    QUERN__PG_ANSWER_MS = 5000 /* of a shard that is asked whether it is there, and what is */
};

/* A shard that is left out of what is read, see postgres_shard_partial.c. */
typedef struct quern__pg_down {
    int64_t server, generation; /* 0: of all generations */
    bool missed;                /* something that was read lies on it */
} quern__pg_down;

typedef struct quern__postgres {
    quern__pg *own; /* quern's tables */
    quern__pg *src; /* the user's tables; == own in one database */
    /* How its tables are called: see postgres_names.c. */
    char *schema;     /* as it is named */
    char *quoted;     /* "schema" */
    char *prefix;     /* of a table in a statement: "schema". or "schema".quern_ */
    char *inside;     /* the same between the quotes of a text: '"schema".vectors_1_numbers' */
    const char *base; /* what stands behind the dot: "", or quern_ in a schema of somebody else's */
    char tag[20];     /* of names that are the whole database's: quern, or quern_<12 digits> */
    bool no_schema, no_ledger; /* when it was last looked at */
    bool read_only;
    /* pgvector in the database of `own`; version 0 when it is not there. */
    int vector_version;  /* 800 for 0.8.0 */
    char *vector_prefix; /* the schema of its types, quoted and with its dot */
    uint32_t halfvec, halfvec_array, vector, vector_array; /* oids of types */
    quern__buf sql;                                        /* of quern__postgres_query */
    char *direct;               /* URL past the pooler that `own` may go through; NULL: none */
    uint32_t busy_ms, shard_ms; /* how long for a lock, for an answer of shards */
    bool sharded;               /* a generation was seen that lies on them */
    int64_t sized;              /* the generation that rows were last read for, */
    size_t row_bytes;           /* and how large one was */
    quern__pg *listener;        /* of task_wait; NULL: not yet, or none to be had */
    quern__pg_down *down;       /* by server; NULL but within a search that may be partial */
    size_t n_down;
} quern__postgres;

/* postgres_open.c */
/* The connections alone, whatever the schema; close takes NULL. */
int quern__postgres_connect(quern__postgres **out, const quern_store_options *opt,
                            quern_error *err);
void quern__postgres_close(void *self);
int quern__postgres_open(quern_store **out, const quern_store_options *opt, quern_error *err);
/* quern__pg_query, run and scalar on `own`; every '@' in sql becomes the prefix ("SELECT
 * key FROM @stamps"), '@@' the tag. */
int quern__postgres_query(quern__postgres *s, const char *sql, const quern__pg_params *params,
                          int format, quern__pg_result **out, quern_error *err);
int quern__postgres_run(quern__postgres *s, const char *sql, const quern__pg_params *params,
                        int64_t *changed, quern_error *err);
int quern__postgres_scalar(quern__postgres *s, const char *sql, const quern__pg_params *params,
                           int64_t *out, quern_error *err);

/* postgres_names.c */
/* Looks how tables of that schema are called; NULL: quern. May be asked again: somebody may have made it since. */
int quern__postgres_names(quern__postgres *s, const char *schema, quern_error *err);
/* A migration's script for this schema. */
void quern__postgres_put_script(const quern__postgres *s, const char *script, quern__buf *out);
/* A statement's: '@' becomes the prefix, '@@' the tag. */
int quern__postgres_put_names(quern__postgres *s, const char *sql, quern_error *err);
/* A relation of that name (without its base) in quern's schema: 1, 0 */
int quern__postgres_relation(quern__postgres *s, const char *name, quern_error *err);

/* postgres_session.c */
/* A connection that stays ours between transactions: by the direct URL where there is one. EUNSUPPORTED when the store's
 * is borrowed; EINVAL when the direct URL leads to another database. */
int quern__postgres_session(quern__postgres *s, quern__pg **out, quern_error *err);
/* quern__pg_transact, with such a one in the place of `own` where there is a direct URL. */
int quern__postgres_on_session(quern__postgres *s, int (*fn)(void *ud, quern_error *err), void *ud,
                               quern_error *err);
int quern__postgres_set_direct(quern__postgres *s, const quern_store_options *opt,
                               quern_error *err);

/* postgres_schema.c */
int quern__postgres_migrate(quern__postgres *s, quern_error *err);
int64_t quern__postgres_newest(void); /* version of the schema that this quern makes */
/* Removes tables down to that version, 0: all of them. The schema itself stays: it may be the user's. */
int quern__postgres_migrate_down(quern__postgres *s, int64_t to_version, quern_error *err);
/* 0: none. EMISMATCH: newer */
int quern__postgres_schema(quern__postgres *s, int64_t *version, quern_error *err);

struct quern__ledger;
/* What has been applied; with down >= 0 down to that version, too. */
int quern__postgres_versions(const quern_store_options *opt, int64_t down,
                             struct quern__ledger *ledger, quern_error *err);

/* postgres_source.c */
int quern__postgres_source_check(void *self, const quern_source_spec *spec,
                                 const char *const *columns, size_t n, quern_error *err);
int quern__postgres_source_put(void *self, const quern_source_spec *spec, int replace,
                               quern_error *err);
int quern__postgres_source_each(void *self, int (*fn)(const quern_source_spec *spec, void *ud),
                                void *ud, quern_error *err);
int quern__postgres_source_remove(void *self, const char *name, quern_error *err);
int quern__postgres_source_id(quern__postgres *s, const char *name, int64_t *id,
                              quern_error *err); /* ENOTFOUND */
int quern__postgres_sweep(quern__postgres *s,
                          quern_error *err); /* finishes removals that were cut off */

/* postgres_plan.c: how a source is read. The table and its columns are looked up in the catalogue of `db`, the name
 * as the user's search_path finds it: "items", or "sales.items" (schema and table, split at the first dot unless a
 * table has the whole as its name). */
enum { QUERN__PG_KEY_COLUMNS = 16 };
/* What a column's type is to us: how its values compare, and what they become. */
enum quern__pg_kind {
    QUERN__PG_KIND_OTHER, /* compared as text: enums, citext, intervals … */
    QUERN__PG_KIND_INT,
    QUERN__PG_KIND_REAL4,
    QUERN__PG_KIND_REAL8,
    QUERN__PG_KIND_NUMERIC,
    QUERN__PG_KIND_TEXT,
    QUERN__PG_KIND_BPCHAR,
    QUERN__PG_KIND_UUID,
    QUERN__PG_KIND_BOOL,
    QUERN__PG_KIND_BYTEA,
    QUERN__PG_KIND_DATE,
    QUERN__PG_KIND_TIMESTAMP,
    QUERN__PG_KIND_TIMESTAMPTZ,
    QUERN__PG_KIND_ARRAY /* becomes JSON */
};
typedef struct quern__postgres_plan {
    quern__pg *db;
    bool builtin;  /* @documents; columns come out of its JSON */
    bool unique;   /* the database proves that keys are unique */
    bool nullable; /* some key column may be NULL */
    bool
        locks; /* rows that are fetched are locked for us; those that somebody has locked are not found */
    bool is_table; /* an ordinary or partitioned table: its key has to be proven */
    size_t n_keys, n_columns;
    char *keys[QUERN__PG_KEY_COLUMNS];
    int key_kinds[QUERN__PG_KEY_COLUMNS]; /* enum quern__pg_kind */
    int revision_kind, *column_kinds;
    const quern_source_spec *spec;
    const char *const *columns;
    const char *since;
    const char *alias;
    int first;         /* parameter that is free for a statement: 1, or 2 behind `since` */
    quern__buf select; /* "SELECT keys, revision, columns FROM … WHERE predicate" */
    quern__buf from;   /* "FROM … WHERE predicate" */
    size_t table_from, table_end; /* of `from`: the table's quoted name */
    quern__arena arena;
    quern__buf sql; /* scratch for whole statements */
} quern__postgres_plan;
/* In a transaction of the plan's connection: it asks the catalogue. */
int quern__postgres_plan_make(quern__postgres_plan *p, quern__postgres *s, const quern_read *read,
                              quern_error *err);
/* Makes it in a transaction of its own that only reads, and leaves that open for the first query. */
int quern__postgres_plan_begin(quern__postgres_plan *p, quern__postgres *s, const quern_read *read,
                               quern_error *err);
void quern__postgres_plan_dispose(quern__postgres_plan *p); /* fine after a failed make */
enum quern__pg_use { QUERN__PG_ORDERS, QUERN__PG_EQUALS, QUERN__PG_IS_NULL };
/* Key column i as it is written for that use, and the type to which its other side is cast. */
void quern__postgres_put_key(const quern__postgres_plan *p, quern__buf *out, size_t i, int use);
const char *quern__postgres_key_cast(const quern__postgres_plan *p, size_t i, int use);
/* Empties them and binds `since`. */
void quern__postgres_plan_params(const quern__postgres_plan *p, quern__pg_params *params);
/* Runs p->sql in the transaction that is open; an error names the source's missing table or column. */
int quern__postgres_plan_query(quern__postgres_plan *p, const quern__pg_params *params,
                               quern__pg_result **out, quern_error *err);

int quern__postgres_table_name(void *self, const quern_source_spec *spec, char **name,
                               quern_error *err); /* postgres_plan.c */
/* postgres_strip.c */
int quern__postgres_strip(void *self, const quern_read *read, const quern_str *keys,
                          const quern_str *revisions, size_t n, const char *const *keep,
                          size_t n_keep, int (*still)(const quern_row *row, size_t i, void *ud),
                          void *ud, uint8_t *stripped, quern_error *err);

/* postgres_kept.c */
int quern__postgres_kept_put(quern__postgres *s, int64_t generation, const quern_save *docs,
                             const uint8_t *stored, size_t n, quern_error *err);
int quern__postgres_kept_each(void *self, int64_t generation, const quern_str *keys, size_t n,
                              int (*fn)(quern_str key, quern_str revision, quern_str text,
                                        void *ud),
                              void *ud, quern_error *err);
int quern__postgres_kept_size(void *self, int64_t generation, uint64_t *documents, uint64_t *bytes,
                              quern_error *err);
int quern__postgres_kept_drop(void *self, int64_t generation, int *more, quern_error *err);

/* postgres_assets.c */
int quern__postgres_assets_put(quern__postgres *s, int64_t generation, const quern_save *docs,
                               const uint8_t *stored, size_t n, quern_error *err);

/* postgres_stamp_columns.c */
int quern__postgres_stamp_columns_check(void *self, const quern_source_spec *spec,
                                        const char *const *read, size_t n, quern_error *err);
/* Of all documents that are stored and ask for it; their rows are locked. Revisions of docs become those that the rows
 * have afterwards. In the transaction of a save. */
int quern__postgres_stamp_columns(quern__postgres *s, const quern_read *read, quern_save *docs,
                                  size_t n, const quern_row *rows, const uint8_t *stored,
                                  int64_t now_ms,
                                  int (*still)(const quern_row *row, size_t i, void *ud), void *ud,
                                  quern__arena *arena, quern_error *err);

/* postgres_rows.c */
/* Values of a key as texts, one for each key column; EFORMAT when it is no key of the source. */
int quern__postgres_key_texts(const quern__postgres_plan *p, quern_str key, quern__arena *arena,
                              quern_str *texts, quern_error *err);
int quern__postgres_scan(void *self, const quern_read *read, quern_str after, size_t limit,
                         quern_row_fn fn, void *ud, quern_error *err);
int quern__postgres_fetch(void *self, const quern_read *read, const quern_str *keys, size_t n,
                          quern_row_fn fn, void *ud, quern_error *err);
int quern__postgres_count(void *self, const quern_read *read, uint64_t *rows, quern_error *err);
/* Values of the key that stands in a row of a result, as text, from a column on. */
int quern__postgres_key_values(const quern__postgres_plan *p, const quern__pg_result *r, size_t row,
                               int first, quern__arena *arena, quern_value *values,
                               quern_error *err);
/* Rows of these keys as they are in the open transaction, into the arena: rows[i] belongs to keys[i], key.ptr NULL
 * when it is gone, does not match, or is no key of this source. */
int quern__postgres_rows_of(quern__postgres *s, quern__postgres_plan *p, const quern_read *read,
                            const quern_str *keys, size_t n, quern__arena *arena, quern_row *rows,
                            quern_error *err);

/* postgres_generation.c */
int quern__postgres_generation_find(void *self, const char *source, const char *state,
                                    quern_generation *out, quern_error *err);
int quern__postgres_generation_build(void *self, const char *source, const quern_generation *g,
                                     const char *fingerprint_json, int64_t *id, quern_error *err);
int quern__postgres_generation_json(void *self, int64_t id, char **json, quern_error *err);
int quern__postgres_watermark_get(void *self, int64_t generation, char **key, quern_error *err);
int quern__postgres_watermark_put(void *self, int64_t generation, quern_str key, quern_error *err);
int quern__postgres_generation_activate(void *self, int64_t id, quern_error *err);
int quern__postgres_generation_purge(void *self, int64_t id, int *more, quern_error *err);
int quern__postgres_generation_each(void *self, const char *source, quern_generation_fn fn,
                                    void *ud, quern_error *err);
int quern__postgres_generation_retire(void *self, int64_t id, quern_error *err);
int quern__postgres_generation_resume(void *self, int64_t id, quern_error *err);
/* Generations in use whose table of vectors is gone (a restore that left it out) get an empty one. */
int quern__postgres_mend(quern__postgres *s, quern_error *err);
int quern__postgres_space(void *self, uint64_t *bytes, quern_error *err);
int quern__postgres_purge_slice(quern__postgres *s, int64_t id, int *more,
                                quern_error *err); /* any state */
typedef struct quern__pg_generation {
    int64_t id;
    char state[12];
    int storage; /* enum quern__pg_storage */
    uint32_t dimensions;
    size_t width;     /* bytes of a vector at the store's face */
    int shards;       /* servers that its vectors lie on; 0: its table is an ordinary one */
    bool beside;      /* its stamps lie there too: postgres_shard_stamps.c */
    uint64_t missing; /* bit i: partition i is left out of what is read */
} quern__pg_generation;
/* ENOTFOUND when there is none. keep: inside a transaction, nobody purges or retires it until that ends. */
int quern__postgres_generation_get(quern__postgres *s, int64_t id, bool keep,
                                   quern__pg_generation *out, quern_error *err);
/* The columns of its table behind the id: what migrations/0001 and 0004 say; and how the vector is stored in its row. */
void quern__pg_put_columns(const quern__postgres *s, const quern__pg_generation *g,
                           quern__buf *out);
const char *quern__pg_stored_how(const quern__pg_generation *g);

/* postgres_kept.c: what was gathered in n arrays, if anything, by a statement that takes them behind the generation; they are
 * empty then. */
int quern__postgres_put_arrays(quern__postgres *s, const char *sql, int64_t generation,
                               quern__pg_array *a, size_t n, quern_error *err);

/* postgres_vectors.c */
int quern__pg_compare_keys(quern_str x, quern_str y); /* by bytes, as COLLATE "C" */
int quern__postgres_save(void *self, const quern_read *read, const quern_save *docs, size_t n,
                         int (*still)(const quern_row *row, size_t i, void *ud), void *ud,
                         uint8_t *stored, quern_error *err);
int quern__postgres_stamps(void *self, int64_t generation, quern_str after, size_t limit,
                           int (*fn)(quern_str key, const quern_stamp *stamp, void *ud), void *ud,
                           quern_error *err);
int quern__postgres_erase(void *self, const quern_read *read, const quern_str *keys, size_t n,
                          uint64_t *removed, quern_error *err);
/* postgres_forget.c */
int quern__postgres_forget(void *self, const char *source, const quern_str *keys, size_t n,
                           uint64_t *documents, quern_error *err);
int quern__postgres_run_put(void *self, const quern_run *run, quern_error *err);
int quern__postgres_usage_each(void *self, const char *source, size_t days,
                               int (*fn)(const quern_usage *usage, void *ud), void *ud,
                               quern_error *err);
int quern__postgres_mark_get(void *self, const char *name, int64_t *value, quern_error *err);
int quern__postgres_mark_put(void *self, const char *name, int64_t value, quern_error *err);
int quern__postgres_task_known(void *self, const char *source, const quern_str *keys, size_t n,
                               uint8_t *known, quern_error *err);
int quern__postgres_run_each(void *self, const char *source, size_t limit,
                             int (*fn)(const quern_run *run, void *ud), void *ud, quern_error *err);
int quern__postgres_tally(void *self, int64_t generation, quern_tally *out, quern_error *err);
int quern__postgres_vectors(void *self, int64_t generation, quern_block_fn fn, void *ud,
                            quern_error *err);
int quern__postgres_resolve(void *self, int64_t generation, const int64_t *refs, size_t n,
                            quern_chunk_ref_fn fn, void *ud, quern_error *err);
int quern__postgres_chunks_of(void *self, int64_t generation, const quern_str *keys, size_t n,
                              int (*fn)(size_t i, const quern_chunk *c, void *ud), void *ud,
                              quern_error *err);
int quern__postgres_chunks(void *self, int64_t generation, quern_str key,
                           int (*fn)(const quern_chunk *c, void *ud), void *ud, quern_error *err);
/* Stamps of these rows' keys into the arena and rows[i].stamp; outcome NONE where there is none. */
int quern__postgres_stamps_of(quern__postgres *s, int64_t generation, quern_row *rows, size_t n,
                              size_t stride, quern__arena *arena, quern_error *err);
/* The vector in a result's column, as the store's face has it: g->width bytes. */
int quern__pg_read_vector(const quern__pg_generation *g, const quern__pg_result *r, size_t row,
                          int at, void *face, quern_error *err);
/* Between the little-endian elements of the store's face and pgvector's binary form (int16 dimensions, int16
 * unused, big-endian elements); wire has 4 bytes more. element: 2 or 4. */
void quern__pg_vector_to_wire(const void *face, uint32_t dimensions, size_t element, void *wire);
/* EFORMAT when it does not have these dimensions. */
int quern__pg_vector_from_wire(quern_str wire, uint32_t dimensions, size_t element, void *face,
                               quern_error *err);

/* postgres_requeue.c */
int quern__postgres_requeue(void *self, int64_t generation, int what, const quern_str *keys,
                            size_t n, uint64_t *marked, quern_error *err);

/* postgres_search.c */
int quern__postgres_index_state(void *self, int64_t generation, int way, int *state,
                                const char **why, quern_error *err);
int quern__postgres_index_build(void *self, int64_t generation, int way, const quern_cancel *cancel,
                                quern_error *err);
int quern__postgres_nearest(void *self, int64_t generation, const float *query, int way, size_t k,
                            size_t oversample, quern_block_fn fn, void *ud, quern_error *err);

int quern__postgres_search_sql(void *self, int64_t generation, int way, char **sql,
                               quern_error *err);

/* postgres_text.c */
/* Words of those that are stored, of all that have any; inside a transaction. */
int quern__postgres_text_put(quern__postgres *s, int64_t generation, const quern_save *docs,
                             const uint8_t *stored, size_t n, quern_error *err);
int quern__postgres_text_count(void *self, int64_t generation, uint64_t *documents,
                               quern_error *err);
int quern__postgres_text_find(void *self, int64_t generation, const quern_str *words, size_t n,
                              size_t k,
                              int (*fn)(quern_str key, quern_str revision, double score, void *ud),
                              void *ud, quern_error *err);

/* postgres_shard.c: generations on other servers (migrations/0006) */
/* In the transaction that makes a generation: its tables on the shards that new ones use, 1; 0 when there are none. */
int quern__shard_create(quern__postgres *s, const quern__pg_generation *g, quern_error *err);
/* Its table on a shard, where there is none of that name. */
void quern__shard_put_leaf(quern__buf *out, const quern__postgres *s,
                           const quern__pg_generation *g);
int quern__shard_drop(quern__postgres *s, int64_t id, quern_error *err); /* its tables, if any */
/* Numbers of the servers: of a generation's partitions in their order, or (0) those that new ones use. At most
 * QUERN__PG_SHARDS. */
int quern__shard_servers(quern__postgres *s, int64_t generation, int64_t *out, size_t *n,
                         quern_error *err);
/* In a transaction: a statement that the shard runs as part of it. */
int quern__shard_order(quern__postgres *s, int64_t server, const char *statement, quern_error *err);
/* Chunks that the stamps of these keys promise. */
int quern__shard_promised(quern__postgres *s, int64_t generation, quern__pg_array *keys,
                          int64_t *chunks, quern_error *err);
/* After EEXISTS of a save: the sequence goes behind all ids that its shards have. */
int quern__shard_renumber(quern__postgres *s, const quern__pg_generation *g, quern_error *err);
/* Vectors that belong to their stamps, of which `promised` is what those say. */
int quern__shard_count(quern__postgres *s, const quern__pg_generation *g, uint64_t promised,
                       uint64_t *vectors, quern_error *err);
int quern__shard_vectors(quern__postgres *s, const quern__pg_generation *g, quern_block_fn fn,
                         void *ud, quern_error *err);
/* The best `each` of each shard by `first`, of those that belong to their stamps the best k by `last` (both are texts
 * behind ORDER BY): columns id, embedding, and in every row how many did not belong. */
void quern__shard_put_question(const quern__postgres *s, const quern__pg_generation *g,
                               const quern__buf *first, const quern__buf *last, size_t each,
                               size_t k, quern__buf *sql);
/* Did more rows not belong than there was room for? Then the room is larger now, and it is to be asked again. A result
 * without rows that belong becomes NULL. */
bool quern__shard_hidden(quern__pg_result **r, size_t *margin);
int quern__shard_index_state(quern__postgres *s, const quern__pg_generation *g, const char *name,
                             int *state, quern_error *err);
/* On all shards of it at once, without keeping anybody from writing. definition: its CREATE INDEX CONCURRENTLY there. */
int quern__shard_index_build(quern__postgres *s, const quern__pg_generation *g, const char *name,
                             const char *definition, const quern_cancel *cancel, quern_error *err);
int quern__postgres_sweep_shards(void *self, int64_t generation, uint64_t *removed,
                                 quern_error *err);
/* Gives rc back. EIO: err then names the shards that do not answer, if some do not. Where the fault is a table that a
 * shard lacks, EIO and what to do about it. Outside transactions. */
int quern__shard_blame(quern__postgres *s, int rc, quern_error *err);
/* Was the fault that? */
bool quern__shard_lost_table(quern__postgres *s, const quern_error *err);
/* How many tables of generations are not on a server that should be, their names in *out; that is NULL where nothing of
 * ours is there at all, and after a fault. Waits for QUERN__PG_ANSWER_MS. */
int quern__shard_lacking(quern__postgres *s, int64_t server, quern__pg_result **out,
                         quern_error *err);
/* The same, and `one` of them, if there are any. */
int quern__shard_lacks(quern__postgres *s, int64_t server, char one[40], quern_error *err);
/* postgres_shard_stamps.c: stamps beside the vectors of such a generation (migrations/0015) */
/* What the store has of a stamp, in order of the keys: its number (0: nothing of it is on shards), and the stamp, to be
 * filled in. whole: it is one, on the shard that has its vectors too. */
typedef struct quern__pg_stamp_line {
    quern_str key;
    int64_t save;
    quern_stamp *stamp;
    bool whole;
} quern__pg_stamp_line;
int quern__shard_stamps_read(quern__postgres *s, int64_t generation, quern__pg_stamp_line *lines,
                             size_t n, quern__arena *arena, quern_error *err);
/* In a transaction that saves, behind their lines in @stamps; older ones of the keys have gone. */
int quern__shard_stamps_put(quern__postgres *s, const quern__pg_generation *g, int64_t number,
                            int64_t now_ms, const quern_save *const *docs, size_t n,
                            quern_error *err);
/* In a transaction: revisions of these keys in all generations in use of that one's source. */
int quern__shard_stamps_move(quern__postgres *s, int64_t generation, quern__pg_array *key,
                             quern__pg_array *old, quern__pg_array *new, quern_error *err);
/* Are those there others than the store's? 1, 0 */
int quern__shard_stamps_differ(quern__postgres *s, const quern__pg_generation *g, quern_error *err);
int quern__shard_stamps_sweep(quern__postgres *s, const quern__pg_generation *g, uint64_t *removed,
                              quern_error *err);
/* Statements: on a shard; on the store's server; and what moves stamps that are there. */
void quern__shard_put_stamps_leaf(quern__buf *out, int64_t id); /* where there is none */
void quern__shard_put_stamps_trunk(quern__buf *out, const quern__postgres *s, int64_t id,
                                   const int64_t *servers, size_t n);
void quern__shard_put_stamps_move(quern__buf *out, const quern__postgres *s, int64_t id);
/* postgres_shard_partial.c */
int quern__postgres_partial(void *self, int on, uint32_t *missed, quern_error *err);
bool quern__shard_answers(quern__postgres *s, int64_t server, quern_error *why);
/* Or lacks tables of that generation; and is now missed. */
bool quern__shard_is_down(quern__postgres *s, int64_t server, int64_t generation);
/* Fills g->missing, by partition. EIO: all of them are. */
int quern__shard_find_missing(quern__postgres *s, quern__pg_generation *g, quern_error *err);
static inline bool quern__shard_misses(const quern__pg_generation *g, int partition)
{
    return g->missing >> partition & 1;
}
/* A statement that only reads, in a transaction of its own unless one is open, that waits for shards for so long: EIO
 * with word of it when that is over. */
int quern__shard_query(quern__postgres *s, uint32_t wait_ms, const char *sql,
                       const quern__pg_params *params, quern__pg_result **out, quern_error *err);
/* For the statements of the transaction that is open. */
int quern__shard_limit(quern__postgres *s, uint32_t wait_ms, quern_error *err);
/* What a statement's fault is called when the limit ended it; else rc. */
int quern__shard_too_long(quern__postgres *s, uint32_t wait_ms, int rc, quern_error *err);
/* What stands for the view vectors_<id> behind FROM. */
void quern__shard_put_present(const quern__pg_generation *g, quern__buf *sql);
/* postgres_shard_setup.c, postgres_shard_plan.c */
int quern__postgres_shard_apply(void *self, const quern_shard_options *opt, int dry,
                                quern_shard_step_fn fn, void *ud, quern_error *err);
int quern__postgres_shard_status(void *self, quern_shard_fn fn, void *ud, quern_error *err);
/* Bytes of the tables on those shards that answer. Outside transactions. */
uint64_t quern__shard_space(quern__postgres *s);

/* postgres_stage.c */
int quern__postgres_stage_begin(void *self, const char *source, int64_t *batch, quern_error *err);
int quern__postgres_stage_put(void *self, int64_t batch, const quern_document *docs, size_t n,
                              uint64_t *duplicates, quern_error *err);
int quern__postgres_stage_publish(void *self, int64_t batch, const char *roots, int sync,
                                  quern_publish_report *report, int *more, quern_error *err);
int quern__postgres_stage_drop(void *self, int64_t batch, quern_error *err);

/* postgres_lock.c */
int quern__postgres_lock(void *self, const char *name, uint32_t wait_ms, void **held,
                         quern_error *err);
void quern__postgres_unlock(void *self, void *held);
/* What the server locks for a name: another number in another schema. */
int quern__postgres_lock_number(quern__postgres *s, const char *name, int64_t *out,
                                quern_error *err);

/* postgres_task.c */
int quern__postgres_task_put(void *self, const char *source, const quern_str *keys, size_t n,
                             const char *reason, uint64_t *added, quern_error *err);
int quern__postgres_task_claim(void *self, const char *source, size_t limit, uint32_t lease_ms,
                               int64_t *lease, quern_task_fn fn, void *ud, quern_error *err);
int quern__postgres_task_renew(void *self, int64_t lease, uint32_t lease_ms, uint64_t *held,
                               quern_error *err);
int quern__postgres_task_settle(void *self, int64_t lease, const quern_task_end *ends, size_t n,
                                uint8_t *settled, quern_error *err);
int quern__postgres_task_stats(void *self, const char *source, quern_task_stats *out,
                               quern_error *err);
int quern__postgres_task_list(void *self, const char *source, int state, int64_t after,
                              size_t limit, quern_task_fn fn, void *ud, quern_error *err);
int quern__postgres_task_revive(void *self, const char *source, const quern_str *keys, size_t n,
                                uint64_t *revived, quern_error *err);
int quern__postgres_task_remove(void *self, const char *source, const quern_str *keys, size_t n,
                                uint64_t *removed, quern_error *err);
/* The same as task_put, in the transaction that is open. */
int quern__postgres_task_put_now(quern__postgres *s, const char *source, const quern_str *keys,
                                 size_t n, const char *reason, uint64_t *added, quern_error *err);
/* In a transaction: stored[i] becomes 0 where the document names a lease that its task has no more; the others keep
 * theirs to the end of it. */
int quern__postgres_tasks_held(quern__postgres *s, const char *source, const quern_save *docs,
                               size_t n, uint8_t *stored, quern_error *err);
/* In a transaction, before the rows are read: tasks of these keys that nobody else has locked, into ids. What is put
 * later waits for us, and finds no task. */
int quern__postgres_tasks_lock(quern__postgres *s, const char *source, quern__pg_array *keys,
                               quern__pg_array *ids, quern_error *err);
int quern__postgres_tasks_forget(quern__postgres *s, quern__pg_array *ids, quern__pg_array *keys,
                                 quern_error *err);

/* postgres_live.c */
int quern__postgres_live_set(void *self, const quern_source_spec *spec, int on, quern_error *err);
int quern__postgres_live_get(void *self, const char *source, int *on, quern_error *err);
int quern__postgres_live_drain(void *self, size_t limit, uint64_t *moved, quern_error *err);
int quern__postgres_task_wait(void *self, uint32_t wait_ms, int *woken, quern_error *err);
int quern__postgres_live_drop(quern__postgres *s, int64_t source, quern_error *err);

#endif
