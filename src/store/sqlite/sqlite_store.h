/*
 * sqlite_store.h — the SQLite store inside: two connections (one and the same unless --store names a file of its
 * own), and the functions of its table by file. What they promise stands in quern/sys/store.h.
 */
#ifndef QUERN_STORE_SQLITE_SQLITE_STORE_H
#define QUERN_STORE_SQLITE_SQLITE_STORE_H

#include "base/arena.h"
#include "db/sqlite_db.h"
#include "quern/sys/store.h"

enum {
    QUERN__SLICE_MS = 20,   /* of a write transaction, before its commit */
    QUERN__VECTOR_BITS = 40 /* of an id that number vectors within a generation */
};

typedef struct quern__sqlite {
    quern__db *own; /* quern's tables */
    quern__db *src; /* the user's tables; == own in one file */
    bool read_only;
    int64_t data_version; /* of `own`, when task_wait last looked */
} quern__sqlite;

/* sqlite_open.c */
int quern__sqlite_open(quern_store **out, const quern_store_options *opt, quern_error *err);

/* sqlite_schema.c: brings quern's tables to the newest version; `exists` only looks. */
int quern__sqlite_migrate(quern__db *db, quern_error *err);
int64_t quern__sqlite_newest(void);
int quern__sqlite_migrate_down(quern__db *db, int64_t to_version, quern_error *err);
int quern__sqlite_schema(quern__db *db, int64_t *version,
                         quern_error *err); /* 0: none. EMISMATCH: newer */

struct quern__ledger;
/* Of the file at path, which need not be there: what has been applied; with down >= 0 down to that version, too. */
int quern__sqlite_versions(const char *path, int64_t down, struct quern__ledger *ledger,
                           quern_error *err);

/* sqlite_source.c */
int quern__sqlite_source_check(void *self, const quern_source_spec *spec,
                               const char *const *columns, size_t n, quern_error *err);
int quern__sqlite_source_put(void *self, const quern_source_spec *spec, int replace,
                             quern_error *err);
int quern__sqlite_source_each(void *self, int (*fn)(const quern_source_spec *spec, void *ud),
                              void *ud, quern_error *err);
int quern__sqlite_source_remove(void *self, const char *name, quern_error *err);
int quern__sqlite_source_id(quern__sqlite *s, const char *name, int64_t *id,
                            quern_error *err); /* ENOTFOUND */
int quern__sqlite_sweep(quern__sqlite *s,
                        quern_error *err); /* finishes removals that were cut off */

/* sqlite_plan.c: how a source is read. */
enum { QUERN__KEY_COLUMNS = 16 };
typedef struct quern__sqlite_plan {
    quern__db *db;
    bool builtin;  /* quern_documents; columns come out of its JSON */
    bool unique;   /* the database proves that keys are unique */
    bool nullable; /* some key column may be NULL */
    size_t n_keys, n_columns;
    char *keys[QUERN__KEY_COLUMNS];
    char *collations[QUERN__KEY_COLUMNS];
    const quern_source_spec *spec;
    const char *const *columns;
    const char *since;
    const char *alias;
    quern__buf select; /* "SELECT keys, revision, columns FROM … WHERE predicate" */
    quern__buf from;   /* "FROM … WHERE predicate" */
    quern__arena arena;
    quern__buf sql; /* scratch for whole statements */
} quern__sqlite_plan;
/* Parameters: ?1.. key values, ?31 limit, ?32 offset, ?33 since. */
enum { QUERN__AT_LIMIT = 31, QUERN__AT_OFFSET = 32, QUERN__AT_SINCE = 33 };
int quern__sqlite_plan_make(quern__sqlite_plan *p, quern__sqlite *s, const quern_read *read,
                            quern_error *err);
void quern__sqlite_plan_dispose(quern__sqlite_plan *p);
/* Prepares p->sql, and steps it; an error names the source's missing table or column. */
int quern__sqlite_plan_prepare(quern__sqlite_plan *p, quern__stmt **stmt, quern_error *err);
int quern__sqlite_plan_step(quern__sqlite_plan *p, quern__stmt *stmt, quern_error *err);
/* Names of the columns of a table or view, NULL-terminated, in the arena; *n = 0 when there is no such table. */
int quern__sqlite_columns(quern__db *db, const char *table, quern__arena *arena,
                          const char ***names, size_t *n, quern_error *err);

/* sqlite_rows.c */
int quern__sqlite_scan(void *self, const quern_read *read, quern_str after, size_t limit,
                       quern_row_fn fn, void *ud, quern_error *err);
int quern__sqlite_fetch(void *self, const quern_read *read, const quern_str *keys, size_t n,
                        quern_row_fn fn, void *ud, quern_error *err);
int quern__sqlite_count(void *self, const quern_read *read, uint64_t *rows, quern_error *err);
/* " AND k1 COLLATE c = ?1 AND …", and a key's values bound there; EFORMAT when it is no key of the source. */
void quern__sqlite_put_key(quern__sqlite_plan *p, quern__buf *out);
int quern__sqlite_bind_key(quern__sqlite_plan *p, quern__stmt *stmt, quern_str key,
                           quern__arena *arena, quern_error *err);
/* One row by key into the arena: 1 found, 0 none (gone, does not match, or no key of this source). */
int quern__sqlite_row(quern__sqlite *s, quern__sqlite_plan *p, const quern_read *read,
                      quern_str key, quern__arena *arena, quern_row *row, quern_error *err);

/* sqlite_generation.c */
int quern__sqlite_generation_find(void *self, const char *source, const char *state,
                                  quern_generation *out, quern_error *err);
int quern__sqlite_generation_build(void *self, const char *source, const quern_generation *g,
                                   const char *fingerprint_json, int64_t *id, quern_error *err);
int quern__sqlite_generation_json(void *self, int64_t id, char **json, quern_error *err);
int quern__sqlite_watermark_get(void *self, int64_t generation, char **key, quern_error *err);
int quern__sqlite_watermark_put(void *self, int64_t generation, quern_str key, quern_error *err);
int quern__sqlite_generation_activate(void *self, int64_t id, quern_error *err);
int quern__sqlite_generation_purge(void *self, int64_t id, int *more, quern_error *err);
int quern__sqlite_generation_each(void *self, const char *source, quern_generation_fn fn, void *ud,
                                  quern_error *err);
int quern__sqlite_generation_retire(void *self, int64_t id, quern_error *err);
int quern__sqlite_generation_resume(void *self, int64_t id, quern_error *err);
int quern__sqlite_space(void *self, uint64_t *bytes, quern_error *err);
int quern__sqlite_purge_slice(quern__sqlite *s, int64_t id, int *more,
                              quern_error *err); /* any state */
/* Bytes of a vector; ENOTFOUND when there is no such generation. state may be NULL. */
int quern__sqlite_generation_width(quern__sqlite *s, int64_t id, size_t *bytes, char state[12],
                                   quern_error *err);

/* sqlite_vectors.c */
int quern__sqlite_save(void *self, const quern_read *read, const quern_save *docs, size_t n,
                       int (*still)(const quern_row *row, size_t i, void *ud), void *ud,
                       uint8_t *stored, quern_error *err);
int quern__sqlite_stamps(void *self, int64_t generation, quern_str after, size_t limit,
                         int (*fn)(quern_str key, const quern_stamp *stamp, void *ud), void *ud,
                         quern_error *err);
int quern__sqlite_erase(void *self, const quern_read *read, const quern_str *keys, size_t n,
                        uint64_t *removed, quern_error *err);
/* sqlite_forget.c */
int quern__sqlite_forget(void *self, const char *source, const quern_str *keys, size_t n,
                         uint64_t *documents, quern_error *err);
int quern__sqlite_run_put(void *self, const quern_run *run, quern_error *err);
int quern__sqlite_usage_each(void *self, const char *source, size_t days,
                             int (*fn)(const quern_usage *usage, void *ud), void *ud,
                             quern_error *err);
int quern__sqlite_mark_get(void *self, const char *name, int64_t *value, quern_error *err);
int quern__sqlite_mark_put(void *self, const char *name, int64_t value, quern_error *err);
int quern__sqlite_task_known(void *self, const char *source, const quern_str *keys, size_t n,
                             uint8_t *known, quern_error *err);
int quern__sqlite_run_each(void *self, const char *source, size_t limit,
                           int (*fn)(const quern_run *run, void *ud), void *ud, quern_error *err);
int quern__sqlite_tally(void *self, int64_t generation, quern_tally *out, quern_error *err);
int quern__sqlite_vectors(void *self, int64_t generation, quern_block_fn fn, void *ud,
                          quern_error *err);
int quern__sqlite_resolve(void *self, int64_t generation, const int64_t *refs, size_t n,
                          quern_chunk_ref_fn fn, void *ud, quern_error *err);
int quern__sqlite_chunks(void *self, int64_t generation, quern_str key,
                         int (*fn)(const quern_chunk *c, void *ud), void *ud, quern_error *err);
/* The stamp of a key into the arena; outcome NONE when there is none. */
int quern__sqlite_stamp(quern__sqlite *s, int64_t generation, quern_str key, quern__arena *arena,
                        quern_stamp *stamp, quern_error *err);

int quern__sqlite_table_name(void *self, const quern_source_spec *spec, char **name,
                             quern_error *err); /* sqlite_plan.c */
/* sqlite_strip.c */
int quern__sqlite_strip(void *self, const quern_read *read, const quern_str *keys,
                        const quern_str *revisions, size_t n, const char *const *keep,
                        size_t n_keep, int (*still)(const quern_row *row, size_t i, void *ud),
                        void *ud, uint8_t *stripped, quern_error *err);

/* sqlite_kept.c */
int quern__sqlite_secure_begin(quern__sqlite *s, int64_t *before, quern_error *err);
void quern__sqlite_secure_end(quern__sqlite *s, int64_t before);
int quern__sqlite_kept_put(quern__sqlite *s, int64_t generation, const quern_save *doc,
                           quern_error *err);
int quern__sqlite_kept_each(void *self, int64_t generation, const quern_str *keys, size_t n,
                            int (*fn)(quern_str key, quern_str revision, quern_str text, void *ud),
                            void *ud, quern_error *err);
int quern__sqlite_kept_size(void *self, int64_t generation, uint64_t *documents, uint64_t *bytes,
                            quern_error *err);
int quern__sqlite_kept_drop(void *self, int64_t generation, int *more, quern_error *err);
/* In a transaction that began then: some of a generation's; *went: 0 when none was left. */
int quern__sqlite_kept_some(quern__sqlite *s, int64_t generation, uint64_t began, int64_t *went,
                            quern_error *err);

/* sqlite_stamp_columns.c */
struct quern__stamp_columns;
int quern__sqlite_stamp_columns_check(void *self, const quern_source_spec *spec,
                                      const char *const *read, size_t n, quern_error *err);
/* Writes them for a document whose row has been read, in the transaction that is open. `after`: the row as it is then, in
 * the arena; its notes of our own writing are gone when `still` says that it is the same. *revision: of the stamp to
 * make. */
int quern__sqlite_stamp_columns(quern__sqlite *s, quern__sqlite_plan *p, const quern_read *read,
                                const quern_save *doc, const quern_row *row, int64_t now_ms,
                                quern__arena *arena, quern_row *after, quern_error *err);
/* The row is the same: notes that our own write has made go, and its stamps move to the new revision. `mark`: from
 * quern__sqlite_notes, taken before. */
int quern__sqlite_stamp_settle(quern__sqlite *s, quern__sqlite_plan *p, const quern_read *read,
                               quern_str key, quern_str old, quern_str new, int64_t mark,
                               quern_error *err);
int quern__sqlite_notes(quern__sqlite *s, int64_t *mark, quern_error *err);

/* sqlite_requeue.c */
int quern__sqlite_requeue(void *self, int64_t generation, int what, const quern_str *keys, size_t n,
                          uint64_t *marked, quern_error *err);

/* sqlite_stage.c */
int quern__sqlite_stage_begin(void *self, const char *source, int64_t *batch, quern_error *err);
int quern__sqlite_stage_put(void *self, int64_t batch, const quern_document *docs, size_t n,
                            uint64_t *duplicates, quern_error *err);
int quern__sqlite_stage_publish(void *self, int64_t batch, const char *roots, int sync,
                                quern_publish_report *report, int *more, quern_error *err);
int quern__sqlite_stage_drop(void *self, int64_t batch, quern_error *err);

/* sqlite_lock.c */
int quern__sqlite_lock(void *self, const char *name, uint32_t wait_ms, void **held,
                       quern_error *err);
void quern__sqlite_unlock(void *self, void *held);

/* sqlite_task.c */
int quern__sqlite_task_put(void *self, const char *source, const quern_str *keys, size_t n,
                           const char *reason, uint64_t *added, quern_error *err);
int quern__sqlite_task_claim(void *self, const char *source, size_t limit, uint32_t lease_ms,
                             int64_t *lease, quern_task_fn fn, void *ud, quern_error *err);
int quern__sqlite_task_renew(void *self, int64_t lease, uint32_t lease_ms, uint64_t *held,
                             quern_error *err);
int quern__sqlite_task_settle(void *self, int64_t lease, const quern_task_end *ends, size_t n,
                              uint8_t *settled, quern_error *err);
int quern__sqlite_task_stats(void *self, const char *source, quern_task_stats *out,
                             quern_error *err);
int quern__sqlite_task_list(void *self, const char *source, int state, int64_t after, size_t limit,
                            quern_task_fn fn, void *ud, quern_error *err);
int quern__sqlite_task_revive(void *self, const char *source, const quern_str *keys, size_t n,
                              uint64_t *revived, quern_error *err);
int quern__sqlite_task_remove(void *self, const char *source, const quern_str *keys, size_t n,
                              uint64_t *removed, quern_error *err);
/* One key of a source's id, in the open transaction. */
int quern__sqlite_task_put_one(quern__sqlite *s, int64_t source, quern_str key, const char *reason,
                               int64_t now, uint64_t *added, quern_error *err);
/* 1: the key's task has this lease; 0: not, or no more. */
int quern__sqlite_task_held(quern__sqlite *s, const char *source, quern_str key, int64_t lease,
                            quern_error *err);
int quern__sqlite_task_forget(quern__sqlite *s, const char *source, quern_str key,
                              quern_error *err);

/* sqlite_search.c */
int quern__sqlite_search_sql(void *self, int64_t generation, int way, char **sql, quern_error *err);

/* sqlite_text.c; drop, put and replace inside a transaction, where the table is there */
int quern__sqlite_text_there(quern__sqlite *s, bool *there, quern_error *err);
int quern__sqlite_text_make(quern__sqlite *s, quern_error *err);
int quern__sqlite_text_drop(quern__sqlite *s, int64_t generation, quern_str key, quern_error *err);
int quern__sqlite_text_put(quern__sqlite *s, int64_t generation, const quern_save *doc,
                           quern_error *err);
int quern__sqlite_text_replace(quern__sqlite *s, int64_t generation, const quern_save *doc,
                               quern_error *err);
int quern__sqlite_text_count(void *self, int64_t generation, uint64_t *documents, quern_error *err);
int quern__sqlite_text_find(void *self, int64_t generation, const quern_str *words, size_t n,
                            size_t k,
                            int (*fn)(quern_str key, quern_str revision, double score, void *ud),
                            void *ud, quern_error *err);

/* sqlite_live.c */
int quern__sqlite_live_set(void *self, const quern_source_spec *spec, int on, quern_error *err);
int quern__sqlite_live_get(void *self, const char *source, int *on, quern_error *err);
int quern__sqlite_live_drain(void *self, size_t limit, uint64_t *moved, quern_error *err);
int quern__sqlite_task_wait(void *self, uint32_t wait_ms, int *woken, quern_error *err);
int quern__sqlite_live_drop(quern__sqlite *s, int64_t source, quern_error *err);

#endif
