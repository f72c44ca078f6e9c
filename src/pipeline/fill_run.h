/*
 * fill_run.h — what the files of fill share: the state of one run over one source.
 *
 *   fill.c        the entry; which generation; the order of things
 *   fill_aim.c    runs that build a generation, or refresh one; a generation that goes meanwhile
 *   fill_watermark.c  with which row a run begins
 *   fill_flow.c   reading, embedding and saving at the same time
 *   fill_pick.c   which documents a scheduled run takes, when it may not take all
 *   fill_keys.c   documents that tasks name -> a batch, in place of a scan
 *   fill_scan.c   pages of rows -> a batch of documents that lack a current stamp
 *   fill_build.c  the program's texts in place of the template's
 *   batches.c     which texts are one call
 *   fill_batch.c  a batch: documents -> chunks -> vectors -> saved
 *   fill_sweep.c  what has gone: stamps and vectors without rows, stamps without vectors
 *   fill_pass.c   a walk that saves something beside vectors: fill_text.c words and texts, fill_columns.c stamp columns
 *   fill_strip.c  texts of built-in documents that are not to be kept
 *   fill_meter.c  progress, and the counts of the report
 */
#ifndef QUERN_PIPELINE_FILL_RUN_H
#define QUERN_PIPELINE_FILL_RUN_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/os.h"
#include "pipeline/fill_pick.h"
#include "pipeline/recipe.h"
#include "pipeline/sight.h"
#include "quern/pipeline.h"

enum {
    FILL_DOCS = 256,        /* documents of a batch, and saved in one transaction, at most */
    FILL_BYTES = 64 * 1024, /* of their text: about FILL_TOKENS; a single larger one is a batch */
    FILL_PIECES = 256,      /* texts in one call of the embedder */
    FILL_TOKENS = 16384,    /* and tokens */
    FILL_REASON = 200,      /* bytes of a failure's reason that are kept */
    FILL_PAGE = 1024,       /* rows a scan may pass over before it looks up */
    FILL_KEYS = 512         /* keys handled at once by the sweeps */
};

/* A document that a task names, and what has become of it. */
enum fill_task_state {
    FILL_TASK_NEW,   /* not looked at */
    FILL_TASK_SEEN,  /* on its way */
    FILL_TASK_DONE,  /* current, embedded, empty, or gone with its vectors */
    FILL_TASK_STALE, /* the row has moved on, or the lease is lost: nothing was saved */
    FILL_TASK_FAILED /* it can never be embedded as it is: stamped so */
};
typedef struct fill_task {
    quern_str key;
    int64_t lease, generation;
    int state;
    char reason[200]; /* of FAILED */
} fill_task;

/* What a run is for, when it is not quern_fill's: to build a generation and leave the switch to others, or to keep one up
 * under the settings it was made with. */
struct fill_run;
typedef struct fill_aim {
    bool refresh;       /* this generation; else: the source's building one, made or resumed */
    int64_t generation; /* in when `refresh`, else out */
    const char *scope;  /* of the generation that is built; NULL: the whole source */
    bool locked;        /* the caller holds the source's lock */
    fill_task *
        tasks; /* when `refresh`: these documents alone, in the order of quern__fill_by_key; NULL: all */
    size_t n_tasks;
    fill_pick *pick; /* nothing is embedded: what would be is offered to this; NULL */
    int (*between)(void *ud, quern_error *err); /* called between batches; NULL */
    /* in place of reading and embedding rows, once the generation is chosen as quern_fill does: an import; NULL */
    int (*flow)(struct fill_run *r, void *ud, quern_error *err);
    void *ud;
} fill_aim;

/* One document on its way; strings live in its batch's arena. */
typedef struct fill_doc {
    quern_str key, revision, text;
    quern__sight *sight;    /* in the arena; NULL: text alone */
    const char *reason;     /* set: it has failed */
    int code;               /* of that failure */
    int outcome_before;     /* of its stamp, current or not */
    bool check_only;        /* current as it stands, unless its vectors turn out to be missing */
    bool drop;              /* nothing to do after all */
    bool no_text;           /* with check_only: without its vectors it cannot be helped */
    uint32_t promised;      /* then: chunks by its stamp */
    fill_task *task;        /* that named it; NULL in a scan */
    size_t first, n, ready; /* its pieces; how many of them have a vector */
    uint64_t dropped_bytes;
} fill_doc;

typedef struct fill_piece {
    size_t doc;
    quern__piece at;
    quern_str input;   /* what is embedded: of the document's text, or in the arena */
    quern_str heading; /* in front of it */
    quern_str asset;   /* what is seen for it, as stored; "" text alone */
} fill_piece;

/* Documents that go through the run together. While `thread` runs, the batch is that thread's alone. */
typedef struct fill_batch {
    struct fill_run *run; /* the thread reads what does not change in it */
    quern__arena arena;
    fill_doc docs[FILL_DOCS];
    size_t n_docs, held_bytes;
    quern_str
        last;  /* key of the row that the scan stood at when this batch was full, in the arena */
    bool hole; /* by then it had passed over a row that lacks a current stamp */
    fill_piece *pieces;
    size_t n_pieces, cap_pieces;
    unsigned char *vectors; /* [n_pieces, width] */
    size_t cap_vectors;
    float *floats; /* [FILL_PIECES, dimensions] */

    quern__thread *thread;
    quern_cancel *cancel; /* child of the caller's */
    bool finished;        /* under the run's lock */
    uint64_t tokens, chunks, calls, encode_ns, cached, cached_tokens;
    double token_ns; /* what a token has taken in the batches before it; 0: not measured */
    int rc;
    quern_error err;
} fill_batch;

/* Documents by what is known of them. `old`: stamps that no row has been seen for yet. */
typedef struct fill_counts {
    uint64_t rows, ok, empty, failed, pending;
    uint64_t no_text; /* to be embedded, if their text were there; no stamp tells of it */
    uint64_t texts;   /* rows that have their text */
    uint64_t old_ok, old_empty, old_failed;
} fill_counts;

/* Of a run that may begin elsewhere than at the first row (fill_watermark.c). */
typedef struct fill_watermark {
    bool used;         /* this run keeps one */
    bool behind;       /* it began behind one */
    bool second;       /* the rows that it began behind are looked at now */
    bool met;          /* and have been, up to `first` */
    bool stored;       /* the store has one */
    bool hole;         /* what is saved from here on is no prefix any more */
    bool unwritten;    /* `passed` is further than what the store has */
    quern__buf first;  /* key of the first row that it saw */
    quern__buf passed; /* key up to which every row is current */
    uint64_t noted_ns;
} fill_watermark;

typedef struct fill_run {
    quern_store *s;
    quern_embedder *e;
    const quern_fill_options *opt;
    fill_aim *aim;             /* NULL: quern_fill's */
    quern_fill_report *report; /* of this source */
    quern_error *err;          /* where callbacks leave their fault */

    quern__recipe *recipe;
    quern__fill_settings settings;
    quern_generation generation; /* id 0: none (a dry run before the first fill) */
    int64_t replaces;            /* the active one while another is built, 0: none */
    quern_read read;
    char *fingerprint_json;
    size_t width; /* bytes of one stored vector */
    uint64_t max_bytes;
    bool check_vectors; /* fewer or more vectors are stored than the stamps say */

    quern__buf after;    /* key that the next page comes after */
    quern__buf text;     /* rendered text of the row at hand */
    fill_batch *batches; /* [n_batches]: one is filled or saved while the others are embedded */
    size_t n_batches;
    fill_batch *at;     /* the one that a scan fills */
    quern__mutex *lock; /* for fill_batch.finished, and the next two */
    int fault_rc;       /* of the first batch that failed */
    quern_error fault;
    quern__cond *finished; /* of some batch */
    size_t save_most;      /* documents in one transaction, 0: not yet known */
    uint64_t taken;        /* documents given to the embedder so far, for --limit */

    fill_watermark watermark;
    bool scan_hole; /* the scan has passed over a row that lacks a current stamp */

    bool columns_off; /* a row that is current has stamp columns that say something else */

    fill_counts counts;
    uint64_t total; /* rows when the run began */

    uint64_t began_ns, told_ns, rate_ns, encode_ns;
    uint64_t rate_done, done_here;
    double rate;
} fill_run;

/* A run whose generation is an operator's to switch. */
static inline bool quern__fill_by_hand(const fill_run *r)
{
    return r->aim && !r->aim->flow;
}

/* fill.c: one source; opt is complete. */
int quern__fill_source(quern_store *s, quern_embedder *e, const quern_fill_options *opt,
                       fill_aim *aim, const char *name, quern_fill_report *report,
                       quern_error *err);
int quern__fill_lock(quern_store *s, const char *name, uint32_t wait_ms, void **held,
                     quern_error *err);
int quern__purge_generation(quern_store *s, int64_t id, const quern_cancel *cancel,
                            quern_error *err);
void quern__fill_sum(quern_fill_report *sum, const quern_fill_report *one);
/* fill_aim.c: which generation an aim means; EEXISTS and EMISMATCH say what stands in its way. */
int quern__fill_refresh(fill_run *r, quern_error *err);
int quern__fill_may_build(fill_run *r, const quern_generation *active,
                          const quern_generation *building, const char *fingerprint,
                          quern_error *err);
int quern__fill_same_dimensions(const fill_run *r, const quern_generation *g, quern_error *err);
/* OK in place of rc when all that went wrong is that the generation has been retired or purged meanwhile. */
int quern__fill_ended(fill_run *r, int rc, quern_error *err);
/* fill_watermark.c: all rows, each once, beginning with the one that the watermark tells. */
int quern__fill_rows(fill_run *r, quern_error *err);
/* *key: the caller's (quern_free); NULL: none, or (*there) nothing that could be a key. */
int quern__watermark_read(quern_store *s, int64_t generation, char **key, bool *there,
                          quern_error *err);
int quern__watermark_drop(quern_store *s, int64_t generation, quern_error *err);
/* A batch has been saved; all: each of its documents is current now. */
void quern__fill_watermark_saved(fill_batch *b, bool all);
/* The scan failed without a row. true: that was the watermark's fault, and it begins at the first row now. */
bool quern__fill_watermark_refused(fill_run *r);
/* *met: this row has been seen, and all behind it. */
int quern__fill_watermark_row(fill_run *r, quern_str key, bool *met);
/* fill_flow.c: rows through batches, from the one behind r->after on. */
int quern__fill_flow(fill_run *r, quern_error *err);
/* fill_keys.c: reads on until the batch is full or all of the aim's tasks have been looked at (*end). */
int quern__fill_keys(fill_run *r, fill_batch *b, bool *end, quern_error *err);
int quern__fill_by_key(const void *a, const void *b); /* of two fill_task */
void quern__fill_task_saved(const fill_doc *d, bool stored);
/* fill_scan.c: a row that lacks a current stamp joins the batch r->at; FILL_PAGE_FULL when that is full then. */
enum {
    FILL_PAGE_FULL = 1,
    FILL_PAGE_MET = 2 /* of a scan: the rows from here on have been seen */
};
int quern__fill_take_row(const quern_row *row, void *ud);
/* reads on until the batch is full or the rows are at an end (*end). */
int quern__fill_scan(fill_run *r, fill_batch *b, bool *end, quern_error *err);
/* fill_build.c: texts by the program's builder, if there is one. */
int quern__fill_build(fill_batch *b, quern_error *err);
/* fill_batch.c. cut: documents into pieces; asks the store about some of them. */
int quern__fill_cut(fill_batch *b, quern_error *err);
/* A vector for every piece; touches nothing but the batch and the embedder. */
int quern__fill_embed(fill_batch *b, quern_error *err);
/* What is finished: failed, empty, or with a vector for every piece. */
int quern__fill_save(fill_batch *b, quern_error *err);
void quern__fill_count_dry(fill_batch *b); /* in place of the two above */
void quern__fill_empty(fill_batch *b);     /* for the next documents */
void quern__fill_dispose(fill_batch *b);
void quern__fill_note_failure(fill_run *r, quern_str key, int code, const char *reason);
/* fill_sweep.c */
int quern__fill_count_stamps(fill_run *r, quern_error *err);
int quern__fill_sweep(fill_run *r, quern_error *err);
int quern__fill_sweep_orphans(fill_run *r, quern_error *err);
/* fill_meter.c: calls the progress function now and then; ECANCELLED when it or the flag says so. */
int quern__fill_tell(fill_run *r, bool now, quern_error *err);
uint64_t quern__fill_done(const fill_run *r);

/* fill_text.c: words for the text index of documents that have none yet, for a source that is declared so. */
int quern__fill_text(fill_run *r, quern_error *err);
/* fill_strip.c. Texts that are not kept go when their documents are current. */
int quern__fill_strip(fill_run *r, quern_error *err);
/* EMISMATCH when rows without text lack a stamp in that generation (0: one to be made). */
int quern__fill_has_texts(fill_run *r, int64_t generation, quern_error *err);
/* fill_columns.c. Does this run's generation write them? */
bool quern__fill_writes_columns(const fill_run *r);
bool quern__fill_columns_off(const fill_run *r, const quern_row *row);
/* Keeps a hash of what a row says, and compares that of the row read again behind a write (row->stamped): 1, 0. */
int quern__fill_same_text(const quern_row *row, const quern__document_view *doc, uint8_t hash[32],
                          quern_error *err);
/* Writes them where they are off. */
int quern__fill_columns(fill_run *r, quern_error *err);
/* fill_index.c: the database's index over the active generation, if one is due. ECANCELLED; any other fault of
 * building is a warning. check: EINVAL or EUNSUPPORTED before any work. */
int quern__fill_index_check(const fill_run *r, quern_error *err);
int quern__fill_index(fill_run *r, quern_error *err);
/* What that would take of what a dry run has counted: a graph is about as large as its vectors. */
uint64_t quern__fill_index_bytes(const fill_run *r);

#endif
