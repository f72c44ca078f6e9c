/*
 * quern/sys/store.h — the table of functions that a database implements to be a store. Policy (what is
 * stale, what to embed, what a hit is) lives above, once; a store reads and writes, atomically. SQLite is
 * the first; examples/store_memory.c is one from outside the tree; all pass one conformance suite
 * (quern_store_conformance).
 *
 * Shapes that all calls share:
 *   key      canonical JSON text of the key column(s): 42, "abc", {"blob":"00ff"}, or [1,"x"] for
 *            several. Unique per row. quern_key_encode makes it.
 *   scan order  any order, as long as it is total, stable while rows do not change, and resumable by
 *            `after` (the last key of the page before). Not the byte order of the JSON.
 *   revision text of the source's revision column, or "" when it has none: the layer above hashes then.
 *   vector   little-endian elements of the generation's type (f16 or f32), dimension x width bytes.
 *
 * Every function takes `self` first, `err` last, returns a status code, and may be called from one thread
 * at a time. No statement or transaction stays open after a call returns; no write transaction lasts over
 * 50 ms (the layer above keeps batches small). Strings given to a callback live until it returns.
 * A callback's non-zero return ends the call, which then returns that value unchanged.
 */
#ifndef QUERN_SYS_STORE_H
#define QUERN_SYS_STORE_H

#include "quern/shard.h"
#include "quern/store.h"
#include "quern/tasks.h"

#ifdef __cplusplus
extern "C" {
#endif

enum quern_value_type {
    QUERN_VALUE_NULL,
    QUERN_VALUE_INT,
    QUERN_VALUE_REAL,
    QUERN_VALUE_TEXT,
    QUERN_VALUE_BLOB
};

typedef struct quern_value {
    int type;
    int64_t integer;
    double real;
    quern_str bytes; /* TEXT and BLOB */
} quern_value;

enum quern_outcome {
    QUERN_OUTCOME_NONE,
    QUERN_OUTCOME_OK,
    QUERN_OUTCOME_EMPTY,
    QUERN_OUTCOME_FAILED
};

/* What makes a document done, for one generation. */
typedef struct quern_stamp {
    int outcome;        /* NONE: no stamp */
    quern_str revision; /* of what was embedded */
    quern_str reason;   /* of FAILED */
    uint32_t chunks;
    uint64_t dropped_bytes; /* beyond the chunk cap */
    /* The store's own from here on; what a save gives is not read. redo: asked for again (requeue) — still current for a
     * search, pending for fill and status; a save clears it. Times are the store's clock, Unix milliseconds. */
    int redo;
    int64_t created_ms, updated_ms;
} quern_stamp;

/* One row of a source. columns: in the order of quern_read.columns. */
typedef struct quern_row {
    quern_str key;
    quern_str revision;
    const quern_value *columns;
    size_t n_columns;
    quern_stamp stamp; /* in quern_read.generation */
    /* NULL, or why this row cannot be a document (NULL or duplicate key, key not UTF-8) */
    const char *fault;
    int stamped; /* in save: 1: read again behind the writing of the stamp columns */
    int no_text; /* 1: a built-in document whose text `strip` has removed: `revision` is what that had, fields are NULL */
} quern_row;
typedef int (*quern_row_fn)(const quern_row *row, void *ud);

/* A plan for reading a source, made by the layer above from the declaration; constant over many calls. */
typedef struct quern_read {
    const quern_source_spec *source;
    /* to deliver: those that the template and meta name, no duplicates */
    const char *const *columns;
    size_t n_columns;
    int64_t generation; /* whose stamps to deliver; 0: none */
    const char *since;  /* revision column >= this; NULL */
} quern_read;

typedef struct quern_generation {
    int64_t id;     /* > 0 */
    char state[12]; /* building active retired */
    char fingerprint[65];
    char model[128];
    char vector_type[8];
    uint32_t dimensions;
    int64_t created_ms, activated_ms;
    uint64_t chunks; /* vectors stored; only filled in by generation_find and generation_each */
    int64_t retired_ms;
} quern_generation;
typedef int (*quern_generation_fn)(const char *source, const quern_generation *g, void *ud);

/* Which stamps a requeue marks. */
enum quern_requeue_what { QUERN_REQUEUE_KEYS, QUERN_REQUEUE_FAILED, QUERN_REQUEUE_ALL };

typedef struct quern_chunk {
    uint32_t index;
    uint64_t start, end;           /* bytes in the rendered text */
    uint64_t char_start, char_end; /* code points */
    const void *vector;
    uint32_t page;     /* in the text, by form feeds, from 1; 0 unknown */
    quern_str heading; /* path of headings that was embedded in front of it, "" none */
    quern_str asset;   /* JSON of what was seen (docs/sources.md), "" when it is text alone */
} quern_chunk;

/* One finished document. */
typedef struct quern_save {
    quern_str key;
    quern_stamp stamp;
    const quern_chunk *chunks; /* stamp.chunks of them */
    int64_t lease;             /* not 0: saved only while the document's task has this lease */
    /* For a store with text_find: the words of the document for its text index, with single spaces between them (words of
     * ASCII letters, digits and other characters above ASCII). ptr NULL: it is not to be found by text. */
    quern_str words;
    int text_only; /* 1: stamp and chunks stay as they are, only the words are put, unless those of this stamp's revision
                      are there; all documents of a call or none */
    /* 1: the stamp columns of the source are written in the same transaction: the time of the stamp (that of the stamp there
     * is, with text_only) and this, or NULL in both of a document that is not OK. read.columns names them. */
    int stamp_columns;
    quern_str model;
    quern_str
        text; /* for a store with kept_each: to be kept as long as these chunks; ptr NULL: nothing is kept. With
                       text_only it is put too */
} quern_save;

/* How the holder of a lease ends one of its tasks. A task that was put again meanwhile becomes ready at once instead,
 * whatever is said here (after DONE and GIVE_UP with no attempt counted). */
enum quern_task_end_kind {
    QUERN_TASK_DONE,    /* the task goes */
    QUERN_TASK_RETRY,   /* ready after delay_ms, with its error */
    QUERN_TASK_RELEASE, /* ready after delay_ms; the attempt does not count */
    QUERN_TASK_GIVE_UP  /* dead, with its error */
};
typedef struct quern_task_end {
    int64_t id;
    int kind;
    uint64_t delay_ms;
    quern_str error;
    int64_t generation; /* in which it failed, 0: in none */
} quern_task_end;

/* What a generation holds. */
typedef struct quern_tally {
    uint64_t ok, empty, failed; /* stamps by outcome */
    uint64_t chunks;            /* that the stamps promise */
    uint64_t vectors;           /* that are stored */
} quern_tally;

/* A block of vectors in scan: refs[i] belongs to data + i * bytes_per_vector. */
typedef int (*quern_block_fn)(const int64_t *refs, const void *data, size_t n, void *ud);
typedef struct quern_chunk_ref {
    int64_t ref; /* never given to another chunk, not even after this one is gone */
    quern_str key;
    uint32_t index;
    uint64_t start, end;
    uint32_t page;
    quern_str heading, asset;
} quern_chunk_ref;
typedef int (*quern_chunk_ref_fn)(const quern_chunk_ref *c, void *ud);

/* A document of the built-in table, on its way in. */
typedef struct quern_document {
    quern_str id;
    quern_str fields; /* JSON object: what the template and results may use; "text" at least */
    quern_str origin; /* the input it came from, for sync ("path/to/file" or "-") */
    uint64_t line;    /* in that input, for errors; 0 none */
    int derived_id; /* 1: equal ids with equal fields collapse (counted); else equal ids are an error */
} quern_document;
typedef struct quern_publish_report {
    uint64_t added, changed, unchanged, removed, missing, duplicates;
} quern_publish_report;

/* Ways of a database's own to find near vectors. */
enum quern_index {
    QUERN_INDEX_EXACT,    /* all of them, in the server */
    QUERN_INDEX_ANN,      /* a graph (HNSW): some may be missed */
    QUERN_INDEX_TWO_STAGE /* by the signs of their elements first, the best of those exactly */
};
enum quern_index_state {
    QUERN_INDEX_NONE,     /* not to be had for this generation */
    QUERN_INDEX_ABSENT,   /* could be built */
    QUERN_INDEX_BUILDING, /* is being built */
    QUERN_INDEX_INVALID,  /* what a build left that failed */
    QUERN_INDEX_READY
};

typedef struct quern_store_table {
    size_t struct_size;
    const char *name; /* "sqlite" */
    void (*close)(void *self);

    /* -- sources. check: every table, column and predicate is tried against the database. -- */
    int (*source_check)(void *self, const quern_source_spec *spec, const char *const *columns,
                        size_t n, quern_error *err);
    int (*source_put)(void *self, const quern_source_spec *spec, int replace, quern_error *err);
    int (*source_each)(void *self, int (*fn)(const quern_source_spec *spec, void *ud), void *ud,
                       quern_error *err); /* by name */
    int (*source_remove)(void *self, const char *name, quern_error *err);

    /* -- rows -- */
    /* Up to `limit` rows that match the predicate, after `after` (len 0: from the start). */
    int (*scan)(void *self, const quern_read *read, quern_str after, size_t limit, quern_row_fn fn,
                void *ud, quern_error *err);
    /* Of these keys, the rows that exist and match now; any order. */
    int (*fetch)(void *self, const quern_read *read, const quern_str *keys, size_t n,
                 quern_row_fn fn, void *ud, quern_error *err);
    int (*count)(void *self, const quern_read *read, uint64_t *rows, quern_error *err);

    /* -- generations: at most one building and one active a source, by the database's own constraint -- */
    /* The one in that state ("active"), or ENOTFOUND. */
    int (*generation_find)(void *self, const char *source, const char *state, quern_generation *out,
                           quern_error *err);
    /* Makes a building one; fingerprint_json is kept beside it. EEXISTS when there is one. */
    int (*generation_build)(void *self, const char *source, const quern_generation *g,
                            const char *fingerprint_json, int64_t *id, quern_error *err);
    /* The fingerprint_json that generation_build was given; *json is the caller's (quern_free). ENOTFOUND. Search
     * reads the chunker's settings from it, and status says which setting differs. */
    int (*generation_json)(void *self, int64_t id, char **json, quern_error *err);
    /* Building becomes active, the active one retired, in one transaction. */
    int (*generation_activate)(void *self, int64_t id, quern_error *err);
    /* Removes vectors and stamps of a retired or building generation in slices; *more: call again. */
    int (*generation_purge)(void *self, int64_t id, int *more, quern_error *err);
    /* All of a source's generations, or of all sources' (NULL), by id. May be NULL. */
    int (*generation_each)(void *self, const char *source, quern_generation_fn fn, void *ud,
                           quern_error *err);
    /* Building or active becomes retired; nothing is saved into it from then on. EMISMATCH when it is retired already,
     * ENOTFOUND. May be NULL. */
    int (*generation_retire)(void *self, int64_t id, quern_error *err);
    /* Retired becomes building again, with the stamps and vectors it has. EMISMATCH: it is not retired, holds nothing, or
     * a purge has begun on it; EEXISTS: the source has a building one; ENOTFOUND. May be NULL. */
    int (*generation_resume)(void *self, int64_t id, quern_error *err);
    /* Bytes in use now, of which only the difference before and after a purge means something. May be NULL. */
    int (*space)(void *self, uint64_t *bytes, quern_error *err);

    /* -- stamps and vectors -- */
    /*
     * Replaces chunks and stamp of each document, all in one transaction, by compare-and-swap: the store
     * reads the row again inside it and calls still(row, i, ud): 1 = save document i, 0 = the row has moved
     * on, leave everything as it is, negative = fail. A row that is gone is never saved. stored[i]: 1 or 0.
     * The generation must still be building or active, else EMISMATCH.
     * Behind the writing of stamp columns the row is read once more and still called with row->stamped: 1 = the row
     * says what it said, so the document's stamp is made of the revision that the row has now, and stamps of the source's
     * other generations that have its old one move along; 0 = something else was changed with them: the stamp keeps the
     * revision that was given. No such writing waits for a row that somebody else has locked: that one is not saved;
     * and it is no change for live sources.
     */
    int (*save)(void *self, const quern_read *read, const quern_save *docs, size_t n,
                int (*still)(const quern_row *row, size_t i, void *ud), void *ud, uint8_t *stored,
                quern_error *err);
    /* Stamps of a generation after a key, up to limit, in an order of the store's own. */
    int (*stamps)(void *self, int64_t generation, quern_str after, size_t limit,
                  int (*fn)(quern_str key, const quern_stamp *stamp, void *ud), void *ud,
                  quern_error *err);
    /* Removes stamp and vectors of those keys whose row is (still, checked in the transaction) gone or
     * no longer matches, and their stamps in the source's retired generations; *removed counts keys. */
    int (*erase)(void *self, const quern_read *read, const quern_str *keys, size_t n,
                 uint64_t *removed, quern_error *err);
    /* Sets stamp.redo: of these keys (those without a stamp are passed over), of the failed ones, or of all. *marked
     * counts. EMISMATCH when the generation is retired, ENOTFOUND when there is none. May be NULL. */
    int (*requeue)(void *self, int64_t generation, int what, const quern_str *keys, size_t n,
                   uint64_t *marked, quern_error *err);
    /* Counted there and then, never what was noted down before: a table may have been restored or emptied by hand. */
    int (*tally)(void *self, int64_t generation, quern_tally *out, quern_error *err);
    /* Every vector of a generation, in blocks of a size of the store's choosing. */
    int (*vectors)(void *self, int64_t generation, quern_block_fn fn, void *ud, quern_error *err);
    /* What the refs of a block are; refs that have gone meanwhile are left out. */
    int (*resolve)(void *self, int64_t generation, const int64_t *refs, size_t n,
                   quern_chunk_ref_fn fn, void *ud, quern_error *err);
    /* Chunks of one document with their vectors, by index. */
    int (*chunks)(void *self, int64_t generation, quern_str key,
                  int (*fn)(const quern_chunk *c, void *ud), void *ud, quern_error *err);

    /* -- indexes of the database's own over a generation's vectors; all three may be NULL: the layer above then scans
     * `vectors` -- */
    /* *state: enum quern_index_state; *why: a static text for NONE, else "". */
    int (*index_state)(void *self, int64_t generation, int way, int *state, const char **why,
                       quern_error *err);
    /* Builds it without keeping anybody from writing; what a failed build left is dropped first. May take minutes; no
     * transaction of ours is open. Does nothing when it is READY. EBUSY while somebody else builds it. */
    int (*index_build)(void *self, int64_t generation, int way, const quern_cancel *cancel,
                       quern_error *err);
    /*
     * Up to k of the generation's nearest vectors to the query, as blocks; the order does not matter, scores are computed
     * above. Fewer than k: there are no more to be found this way. EXACT compares inner products with the query rounded
     * to the generation's type, in single precision; the layer above allows for that. oversample (>= 1):
     * TWO_STAGE looks at k x oversample vectors exactly. Works without the index too, by looking at everything.
     */
    int (*nearest)(void *self, int64_t generation, const float *query, int way, size_t k,
                   size_t oversample, quern_block_fn fn, void *ud, quern_error *err);

    /*
     * -- a text index of each generation's documents, kept in the transactions of save, erase and purge; a document has
     * words only of its last save. Both may be NULL: sources cannot be declared for text search then. --
     */
    /* Documents of the generation that have words. */
    int (*text_count)(void *self, int64_t generation, uint64_t *documents, quern_error *err);
    /* The k best documents that have any of these words (each once, at most 64), best first, equal ones by key in an
     * order of the store's own; revision: of the stamp that the words were saved with. The score, larger is better, is the
     * store's own. */
    int (*text_find)(void *self, int64_t generation, const quern_str *words, size_t n, size_t k,
                     int (*fn)(quern_str key, quern_str revision, double score, void *ud), void *ud,
                     quern_error *err);

    /* A statement of the database's own dialect that finds a generation's nearest documents in one of the ways: numbered
     * placeholders for the query's vector, the number of documents and (not for EXACT) of chunks to look at, said in
     * its comments; columns key, chunk, similarity. *sql is the caller's (quern_free). EUNSUPPORTED: there is none.
     * May be NULL. */
    int (*search_sql)(void *self, int64_t generation, int way, char **sql, quern_error *err);

    /* -- built-in documents: stage, then publish -- */
    int (*stage_begin)(void *self, const char *source, int64_t *batch,
                       quern_error *err); /* drops abandoned batches */
    /* EEXISTS when a given id was staged before: both origins and lines in the message. */
    int (*stage_put)(void *self, int64_t batch, const quern_document *docs, size_t n,
                     uint64_t *duplicates, quern_error *err);
    /* One slice (< 50 ms) into the documents table; *more: call again. Same content is not written.
     * sync: documents that came from the batch's origins (or `roots`, JSON array of path prefixes) and are not in it are
     * removed, else counted as missing. Counts are added to *report. The batch is gone after the last slice. */
    int (*stage_publish)(void *self, int64_t batch, const char *roots, int sync,
                         quern_publish_report *report, int *more, quern_error *err);
    int (*stage_drop)(void *self, int64_t batch, quern_error *err);

    /* What the store keeps of these keys of a source beside its generations: built-in documents (counted), and what
     * the log of fills may have said of them. Freed space is overwritten where the database can. May be NULL. */
    int (*forget)(void *self, const char *source, const quern_str *keys, size_t n,
                  uint64_t *documents, quern_error *err);

    /* -- the log of fills. put: old runs of the source may go; of a source that is gone nothing is kept. each: of one source
     * or of all (NULL), the newest first. Both may be NULL. -- */
    int (*run_put)(void *self, const quern_run *run, quern_error *err);
    int (*run_each)(void *self, const char *source, size_t limit,
                    int (*fn)(const quern_run *run, void *ud), void *ud, quern_error *err);

    /* Sums of the log by day, of one source or of all (NULL), the newest day first, `days` of them at most; kept for longer
     * than the runs. May be NULL. */
    int (*usage_each)(void *self, const char *source, size_t days,
                      int (*fn)(const quern_usage *usage, void *ud), void *ud, quern_error *err);
    /* A number under a name; 0 where none was put. Both may be NULL: a schedule is then forgotten when a worker ends. */
    int (*mark_get)(void *self, const char *name, int64_t *value, quern_error *err);
    int (*mark_put)(void *self, const char *name, int64_t value, quern_error *err);

    /* -- one worker at a time on a name ("fill:documents") ; released by unlock, close or the process's death.
     * EBUSY: holder's host, pid and start in the message. -- */
    int (*lock)(void *self, const char *name, uint32_t wait_ms, void **held, quern_error *err);
    void (*unlock)(void *self, void *held);

    /* -- tasks (quern/tasks.h). A store may lack them: then all of these are NULL, and enqueueing says so. Times are
     * the store's: the server's clock, or the wall clock of the one machine. A clock that is set back makes no lease
     * longer than it was given. erase and source_remove take the tasks of what they remove. -- */
    int (*task_put)(void *self, const char *source, const quern_str *keys, size_t n,
                    const char *reason, uint64_t *added, quern_error *err);
    /* Up to limit that are ready and due, the longest due first, of one source or all (NULL), none of them waited
     * for: each now has the lease *lease (one number for the call, never 0) for lease_ms, and one attempt more. An expired
     * lease is taken over (rescued). fn is told of each after the transaction. */
    int (*task_claim)(void *self, const char *source, size_t limit, uint32_t lease_ms,
                      int64_t *lease, quern_task_fn fn, void *ud, quern_error *err);
    /* All that still have this lease have it for lease_ms from now; *held: how many. */
    int (*task_renew)(void *self, int64_t lease, uint32_t lease_ms, uint64_t *held,
                      quern_error *err);
    /* settled[i]: 1, or 0 where the task no longer has this lease (or a transaction of somebody's that puts it again is
     * open: then it runs again when the lease ends). */
    int (*task_settle)(void *self, int64_t lease, const quern_task_end *ends, size_t n,
                       uint8_t *settled, quern_error *err);
    int (*task_stats)(void *self, const char *source, quern_task_stats *out, quern_error *err);
    int (*task_list)(void *self, const char *source, int state, int64_t after, size_t limit,
                     quern_task_fn fn, void *ud, quern_error *err);
    int (*task_revive)(void *self, const char *source, const quern_str *keys, size_t n,
                       uint64_t *revived, quern_error *err);
    int (*task_remove)(void *self, const char *source, const quern_str *keys, size_t n,
                       uint64_t *removed, quern_error *err);
    /* known[i]: 1 when the key has a task, in whatever state. Keys are in their canonical spelling. May be NULL: a
     * scheduled scan then also asks for documents again whose tasks wait. */
    int (*task_known)(void *self, const char *source, const quern_str *keys, size_t n,
                      uint8_t *known, quern_error *err);
    /* Live sources; a store that has tasks may lack them (all NULL). live_set puts triggers on the source's table, which
     * note the key of each row that is inserted, updated or deleted, in the transaction that does it; on = 0 takes
     * them away, as source_remove does. EINVAL: the source is a query or a view; EUNSUPPORTED: its table is in another
     * database than the tasks. Set again after the declaration has changed. */
    int (*live_set)(void *self, const quern_source_spec *spec, int on, quern_error *err);
    int (*live_get)(void *self, const char *source, int *on, quern_error *err);
    /* Makes tasks of keys that were noted, up to limit; *moved: how many. */
    int (*live_drain)(void *self, size_t limit, uint64_t *moved, quern_error *err);
    /* Waits up to wait_ms for a sign that there may be something new (*woken); may be woken for nothing. NULL: who
     * waits looks from time to time. */
    int (*task_wait)(void *self, uint32_t wait_ms, int *woken, quern_error *err);

    /* -- vectors on several servers (quern/shard.h); all three may be NULL -- */
    /* Removes vectors of a generation that belong to no stamp, as a save leaves them that was cut off between two
     * servers. They are never given out, nor counted; a fill calls it behind a whole scan. */
    int (*sweep)(void *self, int64_t generation, uint64_t *removed, quern_error *err);
    /* dry: tells what it would do. fn may be NULL. */
    int (*shard_apply)(void *self, const quern_shard_options *opt, int dry, quern_shard_step_fn fn,
                       void *ud, quern_error *err);
    int (*shard_status)(void *self, quern_shard_fn fn, void *ud, quern_error *err);
    /* on = 1: until it is called with 0, what reads vectors (index_state, nearest, vectors, resolve, chunks) does so
     * without the servers that do not answer now; EIO when that leaves nothing. *missed: how many servers what
     * was read since the last call would have needed. May be NULL. */
    int (*partial)(void *self, int on, uint32_t *missed, quern_error *err);

    /* Fills name and advice of quern/store.h's quern_engine. May be NULL. */
    int (*engine)(void *self, quern_engine *out, quern_error *err);

    /* Can the source's stamp columns be written? read: columns that the text is made of, of which they must be none.
     * ENOTFOUND: no such table or column; EINVAL: of a type that cannot hold it, or something that cannot be written;
     * EUNSUPPORTED: the table is in a database that is only read. May be NULL: then no source has any. */
    int (*stamp_columns_check)(void *self, const quern_source_spec *spec, const char *const *read,
                               size_t n, quern_error *err);

    /* -- texts that saves have left to be kept; all may be NULL: then no source keeps any. drop: a slice of a generation's,
     * its space overwritten where the database can; *more: call again. -- */
    int (*kept_each)(void *self, int64_t generation, const quern_str *keys, size_t n,
                     int (*fn)(quern_str key, quern_str revision, quern_str text, void *ud),
                     void *ud, quern_error *err);
    int (*kept_size)(void *self, int64_t generation, uint64_t *documents, uint64_t *bytes,
                     quern_error *err);
    int (*kept_drop)(void *self, int64_t generation, int *more, quern_error *err);

    /* Removes the text of built-in documents, in short transactions: of their fields only those that `keep` names are left,
     * the bytes of the others overwritten where the database can. In its transaction still(row, i, ud) says whether the row is
     * what it was (1), and every generation of the source that is building or active must hold a stamp of it with
     * revisions[i], OK or EMPTY and not asked for again; else, or where it has no text any more, it stays as it is.
     * stripped[i]: 1 or 0. From then on the row has no_text and that revision, until the document is published again: that brings
     * its text back, and counts as unchanged when its fields are what they were before this. EINVAL: the source's predicate
     * reads a field that would go. May be NULL: then every text is kept. */
    int (*strip)(void *self, const quern_read *read, const quern_str *keys,
                 const quern_str *revisions, size_t n, const char *const *keep, size_t n_keep,
                 int (*still)(const quern_row *row, size_t i, void *ud), void *ud,
                 uint8_t *stripped, quern_error *err);

    /* The table of a source in the one spelling that the database has for it, by which two declarations are compared;
     * *name is the caller's (quern_free). ENOTFOUND: there is none. May be NULL: then it is as declared. */
    int (*table_name)(void *self, const quern_source_spec *spec, char **name, quern_error *err);

    /* A key of the generation's source, or none (*key NULL, put with len 0; a new generation has none): where the next fill of
     * it is to begin. It is a hint: a wrong or lost one costs time and nothing else. get: *key is the caller's
     * (quern_free). Both may be NULL: then every fill begins at the first row. */
    int (*watermark_get)(void *self, int64_t generation, char **key, quern_error *err);
    int (*watermark_put)(void *self, int64_t generation, quern_str key, quern_error *err);

    /* Chunks of n documents, all of them different, in the order of the keys and each one's by index; i: of the key. For what
     * reads many, where each question has far to go. May be NULL: then chunks is asked of one after the other. */
    int (*chunks_of)(void *self, int64_t generation, const quern_str *keys, size_t n,
                     int (*fn)(size_t i, const quern_chunk *c, void *ud), void *ud,
                     quern_error *err);
} quern_store_table;

/* The table is copied; on failure self stays the caller's. */
QUERN_API int quern_store_from_table(quern_store **out, const quern_store_table *table, void *self,
                                     quern_error *err);

/* Canonical JSON of a key: QUERN_EFORMAT for NULL, a non-finite real or text that is not UTF-8. *key from
 * quern_alloc'd memory (quern_free). decode gives back values whose bytes are borrowed from *storage
 * (quern_free); values must have room for n_max. */
QUERN_API int quern_key_encode(const quern_value *values, size_t n, char **key, quern_error *err);
QUERN_API int quern_key_decode(quern_str key, quern_value *values, size_t n_max, size_t *n,
                               char **storage, quern_error *err);

/* Runs the rules that every store must keep against a store that `open` makes empty each time with the
 * table `items(id INTEGER/any key, title, body, rev)` under its care through `exec` (the suite asks for rows by
 * quern_conformance_row). Returns QUERN_OK, or the first broken rule by name in err. */
typedef struct quern_conformance {
    size_t struct_size;
    int (*open)(void **self, void *ud, quern_error *err); /* a fresh, empty store */
    int (*put)(void *self, int64_t id, const char *title, const char *body, const char *rev,
               void *ud, quern_error *err); /* insert or replace in items */
    int (*remove)(void *self, int64_t id, void *ud, quern_error *err);
    const quern_store_table *table;
    void *ud;
    void (*note)(const char *rule, void *ud); /* each rule as it starts; NULL */
    /* Of a store that lies on several servers: notes the state of one that has vectors (again 0), and takes it back to
     * that (1). May be NULL. */
    int (*back)(void *self, int again, void *ud, quern_error *err);
} quern_conformance;
QUERN_API int quern_store_conformance(const quern_conformance *c, quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
