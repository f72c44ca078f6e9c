/*
 * quern/generation.h — generations by hand. A generation is one source embedded under one fingerprint: building, then
 * active, then retired. quern_fill makes, switches and removes them by itself; these calls are for whoever wants
 * to see and decide: another model is built beside the one that serves, checked, switched to, and the old one
 * kept until it is purged.
 *
 * EUNSUPPORTED names a store that cannot list or retire (quern/sys/store.h lets it lack that).
 */
#ifndef QUERN_GENERATION_H
#define QUERN_GENERATION_H

#include "quern/pipeline.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- list ---- */
typedef struct quern_generation_row {
    int64_t id;
    const char *source, *state, *model, *fingerprint, *vector_type;
    const char *settings; /* the canonical JSON whose SHA-256 the fingerprint is */
    uint32_t dimensions;
    int64_t created_ms, activated_ms, retired_ms; /* Unix milliseconds; 0: it has not been */
    uint64_t chunks;                              /* vectors stored */
    int counted;                                  /* 1: what follows was counted */
    uint64_t total, done, pending, failed;        /* documents; empty ones are done */
} quern_generation_row;

typedef struct quern_generation_list quern_generation_list;

/* Of one source, or of all (NULL), by id. count: 1 looks at every row for each generation that is building or active, so
 * that done and total are true now. */
QUERN_API int quern_generation_list_open(quern_generation_list **out, quern_store *s,
                                         const char *source, int count, const quern_cancel *cancel,
                                         quern_error *err);
QUERN_API size_t quern_generation_list_count(const quern_generation_list *l);
QUERN_API const quern_generation_row *quern_generation_list_at(const quern_generation_list *l,
                                                               size_t i);
QUERN_API void quern_generation_list_free(quern_generation_list *l);

/* ---- build ---- */
typedef struct quern_build_options {
    size_t struct_size;
    quern_fill_options fill; /* source is needed; since, force and full must be 0 */
    /* the model of the active generation, so that edits and deletes reach that one too while this one is built; NULL: it is
     * left as it is */
    quern_embedder *active;
    uint32_t refresh_ms; /* how often at most, 0: 30000 */
    /* The generation's scope (trusted SQL, over the source's columns): it holds only rows for which this holds as well as the
     * source's own predicate, and searches are told so (quern/search.h). Part of the fingerprint. NULL: the whole source */
    const char *where;
} quern_build_options;

typedef struct quern_build_report {
    size_t struct_size;
    int64_t generation;        /* that was built */
    int64_t active;            /* that was kept up, 0: none */
    quern_fill_report fill;    /* of the one being built */
    quern_fill_report refresh; /* of the active one */
    char refresh_error[256];   /* "", or why the active one was not kept up to the end */
} quern_build_report;

/* Makes the source's building generation or goes on with it, until all rows are in it, and does not switch. EEXISTS: the
 * active one has these very settings; EMISMATCH: another one is being built (both named); EBUSY: a fill of the
 * source runs; EPARTIAL: documents failed. */
QUERN_API int quern_generation_build(quern_store *s, quern_embedder *e,
                                     const quern_build_options *opt, quern_build_report *report,
                                     quern_error *err);

/* ---- activate, retire, purge ---- */
typedef struct quern_activate_report {
    size_t struct_size;
    int64_t retired; /* the one that was active, 0: none; it stays until purged */
    uint64_t total, missing,
        failed; /* documents of the source; not current in it; current as failed */
} quern_activate_report;

/* A building generation becomes the active one, in one transaction. EMISMATCH unless every document is current in it
 * and its vectors are all there, and, where it has a scope, there are documents in that; or `force`. Failed documents are current. The report is filled either way. */
QUERN_API int quern_generation_activate(quern_store *s, int64_t id, int force,
                                        const quern_cancel *cancel, quern_activate_report *report,
                                        quern_error *err);
/* Nothing is saved into it any more. EMISMATCH for the active one unless force_active (searches then find nothing of
 * the source until another is active), and for one that is retired already. */
QUERN_API int quern_generation_retire(quern_store *s, int64_t id, int force_active,
                                      quern_error *err);

typedef struct quern_purge_report {
    size_t struct_size;
    uint64_t chunks; /* vectors that went */
    uint64_t bytes;  /* that are free now: back at the system, or reusable in the database's file */
} quern_purge_report;
/* Removes stamps and vectors of a retired or building generation, and it. EMISMATCH for the active one. Killed half-way it
 * goes on when called again. */
QUERN_API int quern_generation_purge(quern_store *s, int64_t id, const quern_cancel *cancel,
                                     quern_purge_report *report, quern_error *err);

/* ---- forget: a document leaves everything ---- */
typedef struct quern_forget_report {
    size_t struct_size;
    uint64_t documents; /* built-in documents that were removed */
    uint64_t rows;      /* that are still in the user's table: the next fill embeds them again */
} quern_forget_report;
/* Erases what is kept of these keys (as quern_enqueue takes them): vectors, chunks, words, stamps, tasks and their errors,
 * built-in documents, and the errors in the source's log of fills. EMISMATCH: a retired generation may hold them too; it has
 * to be purged first. EBUSY: a fill of the source runs. ENOTFOUND: no such source; a key that is not known is no error.
 * What search answered before, and copies that the database itself keeps (its logs, dumps; PostgreSQL's dead rows until
 * VACUUM), are not quern's. */
QUERN_API int quern_forget(quern_store *s, const char *source, const quern_str *keys, size_t n,
                           quern_forget_report *report, quern_error *err);

/* ---- requeue: embed again ---- */
enum quern_requeue_which { QUERN_AGAIN_KEYS, QUERN_AGAIN_FAILED, QUERN_AGAIN_ALL };
typedef struct quern_requeue_options {
    size_t struct_size;
    const char *source;    /* needed */
    int which;             /* enum quern_requeue_which */
    const quern_str *keys; /* KEYS: as the database has them, in JSON; n_keys of them, or */
    size_t n_keys;
    const char *where; /* every row for which this holds (trusted SQL), in place of keys */
    const quern_cancel *cancel;
} quern_requeue_options;
/* Documents become pending in the building and the active generation; searches go on finding their vectors until the
 * next fill has replaced them. Those that are named get a task as well; with FAILED and ALL the source's dead tasks live
 * again (quern/tasks.h). *documents: how many. ENOTFOUND: no such source, or a key that neither a row nor a stamp
 * has; EINVAL: a predicate that the database refuses. */
QUERN_API int quern_requeue(quern_store *s, const quern_requeue_options *opt, uint64_t *documents,
                            quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
