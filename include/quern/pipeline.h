/*
 * quern/pipeline.h — from rows to current vectors. A document is done when it has a current stamp;
 * work is whatever lacks one, found by scanning: kill the process anywhere and the next run goes on.
 */
#ifndef QUERN_PIPELINE_H
#define QUERN_PIPELINE_H

#include "quern/embedder.h"
#include "quern/store.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- add: files into the built-in documents table ---- */
enum quern_add_format { QUERN_ADD_AUTO, QUERN_ADD_TEXT, QUERN_ADD_JSONL, QUERN_ADD_CSV };

typedef struct quern_add_report {
    size_t struct_size;
    uint64_t files, documents, added, changed, unchanged, removed,
        missing /* gone, kept: no sync */;
    uint64_t skipped_links, skipped_special, skipped_encoding, duplicates /* equal derived ids */;
} quern_add_report;

typedef struct quern_add_options {
    size_t struct_size;
    const char *source; /* NULL: "documents"; made if absent */
    int format; /* AUTO: by file name (.txt .md .markdown .text, .jsonl .ndjson, .csv), stdin: text */
    /* NULL: "id" if present, else derived (path, or SHA-256 of the content) */
    const char *id_field;
    /* template over the input's fields, or one field's name; NULL: "text" or "body" or "content" */
    const char *text;
    int sync;           /* 1: documents of these inputs that have gone are removed */
    uint64_t max_bytes; /* per document, 0: 16 MiB */
    int (*progress)(uint64_t documents, uint64_t bytes, void *ud); /* non-zero cancels */
    void *progress_ud;
    const quern_cancel *cancel;
    /* "no": texts are kept only until fill has embedded them; "yes": for good. It holds for the whole source, from now on.
     * NULL: as the source is declared; a new one keeps them */
    const char *keep_text;
} quern_add_options;

/* paths: files, folders (walked; links out of the folder, devices and files that are not UTF-8 are skipped
 * and counted), or "-" for standard input. Everything is staged and checked, then published in short
 * transactions: on an error nothing of this call shows. A document given twice with one id is EEXISTS with
 * both lines; same content costs nothing; a changed one replaces. EFORMAT: file, line and byte. */
QUERN_API int quern_add(quern_store *s, const char *const *paths, size_t n,
                        const quern_add_options *opt, quern_add_report *report, quern_error *err);

/* ---- fill ---- */
typedef struct quern_fill_report {
    size_t struct_size;
    uint64_t total; /* documents of the source now */
    /* After this run: total = done + pending + failed; empty ones are among the done. */
    uint64_t done, pending, empty, failed;
    uint64_t processed, skipped, stale, deleted, chunks, tokens; /* in this run */
    uint64_t truncated; /* documents with more chunks than the cap, in this run */
    uint64_t bytes;     /* of vectors written (dry run: that would be) */
    double seconds;
    int dry_run;
    char last_error[256];  /* "" or the last document that failed: key and reason */
    double encode_seconds; /* of `seconds`, those in which the embedder was at work */
    double index_seconds;  /* after them: building the database's index, where one was due */
    uint64_t calls;        /* of the embedder (dry run: that would be) */
    int ended; /* 1: its generation was retired or purged meanwhile, so the run ended there */
    uint64_t dropped_bytes; /* of text beyond the cap, of the truncated documents */
    uint64_t cached,
        cached_tokens; /* of chunks and tokens: a cache had them, and nothing was paid */
    /* of documents embedded in this run: seen, behind the first max_assets, without a URL (quern_embed_assets) */
    uint64_t assets, assets_cut, assets_skipped;
    uint64_t
        index_bytes; /* dry run: about as much again, where the database would have an index over them; else 0 */
} quern_fill_report;

typedef struct quern_fill_progress {
    size_t struct_size;
    const char *source;
    uint64_t done, total, failed, chunks,
        tokens; /* done counts documents that were already current */
    double seconds, rate /* documents a second, weighted to now */, eta_seconds;
} quern_fill_progress;

/* ---- documents built by the program ---- */
/*
 * Where a template cannot say what a document's text is (parts of it lie in other tables, files or services), the program
 * says it: given a row's key and what the template makes of it, the text to embed. Asked only about documents that are
 * about to be embedded, between statements and transactions of quern's, on the thread that called. What is
 * current is still decided by the source's revision column, or by the template's text: one of them must change when the
 * built text would. Steps of `prepare` clean the built text.
 * Searches need no builder: they find such documents, with offsets into the built text and an empty excerpt,
 * unless the source keeps its texts.
 */
typedef struct quern_built {
    quern_str key;     /* JSON, as hits show it */
    quern_str text;    /* in: the template's text; out: the one to embed, empty for none */
    const char *fault; /* out: why this document has failed; NULL: it has not */
    /* in: the assets that the source's columns name and that can be had; out: those to be seen, borrowed as the text is. More than
     * none needs the source's columns or max_assets below */
    const quern_asset *assets;
    size_t n_assets;
} quern_built;

typedef struct quern_document_builder {
    size_t struct_size;
    /* Names what it makes, 1 to 63 bytes, "articles-with-comments/2": part of the fingerprint. To be changed when an
     * unchanged row would get another text */
    const char *id;
    /* One document, or up to 256 at once (preferred when it is there); one of them may be NULL. text and fault are
     * borrowed: of `one` until its next call, of `many` until its next. A code that is not QUERN_OK ends the run
     * with it */
    int (*one)(quern_built *doc, void *ud);
    int (*many)(quern_built *docs, size_t n, void *ud);
    void *ud;
    uint32_t max_assets; /* of a document, 1 to 64; 0: it names none, or as many as the source's */
} quern_document_builder;

/* What becomes of a document that cannot be embedded as it is. */
enum quern_on_error {
    QUERN_ON_ERROR_SKIP, /* it is marked failed, with the reason, until it changes or is asked for again */
    QUERN_ON_ERROR_RETRY, /* it stays pending: the next run tries again */
    QUERN_ON_ERROR_ABORT /* it stays pending, and the run ends with that error once the rest of the batch is saved */
};

/* Which texts of a fill go together in one call of the embedder; no vector depends on it. */
enum quern_batching {
    QUERN_BATCHING_DYNAMIC, /* texts up to a number of tokens */
    QUERN_BATCHING_FIXED,   /* so many texts (batch) */
    QUERN_BATCHING_ADAPTIVE /* as DYNAMIC, fewer tokens where a token takes long: about half a second a call */
};

typedef struct quern_fill_options {
    size_t struct_size;
    const char *source; /* NULL: every source, by name */
    uint64_t limit;     /* embed at most so many documents; 0: no limit */
    const char *since;  /* only rows whose revision column is >= this; NULL */
    int dry_run, force /* embed again what is current */,
        full /* look at deletions even with limit or since */;
    int allow_empty;             /* an empty source may remove every vector */
    uint32_t max_chunks;         /* per document, 0: 64 */
    uint32_t overlap;            /* tokens, 0: 32 */
    const char *vector_type;     /* "f16" (NULL) or "f32" */
    uint64_t max_document_bytes; /* 0: 16 MiB */
    int (*progress)(const quern_fill_progress *p,
                    void *ud); /* at most some times a second; non-zero cancels */
    void *progress_ud;
    const quern_cancel *cancel;
    /* "auto" (NULL): from 20,000 vectors on pgvector's HNSW index is built after the fill; "pgvector", "two-stage": that
     * index is, whatever there is; "exact": none. What cannot be built is a warning. EUNSUPPORTED: the store
     * has no such index at all. */
    const char *index;
    int headings; /* 1: Markdown headings above a chunk are embedded with it (quern/chunk.h) */
    /* Asked about each document that fails; NULL: SKIP. Never for faults that are no document's, as a server that is
     * down, nor for a cancellation. On the thread that called quern_fill. */
    int (*on_error)(quern_str key, const quern_error *why, void *ud);
    void *on_error_ud;
    uint32_t wait_ms; /* for another fill of the source to end, before EBUSY */
    const quern_document_builder
        *builder; /* NULL: the template's text; else `source` must be named */
    double
        price; /* of 1,000 tokens, for the log of runs and the usage of a day; 0: none is known */
    int batching;   /* enum quern_batching */
    uint32_t batch; /* texts of a call with FIXED, 0: 32; never more than 256 */
} quern_fill_options;

/* Brings one source, or all, up to date. Under other settings than the active generation's it builds a new one and lets
 * that take over when nothing is pending; only the generation that it replaced itself is then removed. QUERN_OK;
 * EPARTIAL when documents failed (counted); ECANCELLED with
 * all saved but the chunks of the embedder's call in flight (at most 256), which stay pending; ENOTFOUND no such
 * source; EBUSY another fill of it runs (pid named). */
QUERN_API int quern_fill(quern_store *s, quern_embedder *e, const quern_fill_options *opt,
                         quern_fill_report *report, quern_error *err);

/* ---- the class of precision ---- */
typedef struct quern_precision_answer {
    size_t struct_size;
    int precision;        /* enum quern_precision; AUTO: nothing there binds it */
    char calibration[65]; /* INT8: of the vectors that are there; else "" */
    char source[64];      /* whose vectors say so; "" */
} quern_precision_answer;

/* What --precision auto is for a store: the class of the vectors that stand there already and were made from these
 * weights (those that searches use; of a source that has none yet, those being made), so that no upgrade and no later
 * quantising changes a store. sources NULL: all. Where those named have none, the other sources' class holds for them
 * too. building: 1 asks only after generations that are being made, for whoever makes one anew. EMISMATCH: two of them
 * differ, and one name decides. For quern_model_options.choose. */
QUERN_API int quern_store_precision(quern_store *s, const char *const *sources, size_t n_sources,
                                    const char *weights_sha256, int building,
                                    quern_precision_answer *out, quern_error *err);

/* ---- status ---- */
typedef struct quern_status_report quern_status_report;
typedef struct quern_status_row {
    const char *source, *model, *fingerprint, *state,
        *vector_type; /* of the generation that searches use; "" none yet */
    uint64_t total, done, pending, stale, empty, failed, chunks;
    uint32_t dimensions;
    double percent;
    const char *note; /* "" or one line: what to do (settings differ, …) */
    uint64_t recent;  /* of the done ones, those embedded within the last 24 hours */
    /* Unix milliseconds: when the oldest of the vectors that are stale now were made; 0: none are */
    int64_t oldest_stale_ms;
    uint64_t dropped_bytes; /* of text that no chunk has, of documents with more than the cap */
    uint64_t
        kept_bytes;   /* of texts that are kept beside the vectors that searches use (keep_text) */
    uint64_t no_text; /* of total: documents whose text has been removed after it was embedded */
    /* "" or the key (JSON) behind which the next fill begins, of one that was cut off: in the generation that is being
     * built, else in the active one */
    const char *watermark;
} quern_status_row;
/* source NULL: all. Scans, so that what it says is true now. `e` may be NULL (then fingerprints are not
 * compared with the model in force). */
QUERN_API int quern_status_open(quern_status_report **out, quern_store *s, quern_embedder *e,
                                const char *source, const quern_cancel *cancel, quern_error *err);
QUERN_API size_t quern_status_count(const quern_status_report *r);
QUERN_API const quern_status_row *quern_status_at(const quern_status_report *r, size_t i);
QUERN_API void quern_status_free(quern_status_report *r);

/* ---- which documents ---- */
enum quern_document_state {
    QUERN_DOCUMENT_PENDING, /* stale ones, too */
    QUERN_DOCUMENT_FAILED,
    QUERN_DOCUMENT_STALE, /* embedded, and changed since */
    QUERN_DOCUMENT_EMPTY
};
typedef struct quern_document_row {
    const char *key;    /* in JSON; NULL: the row has none that can be used */
    const char *reason; /* of a failed one; "" */
    int64_t updated_ms; /* when its stamp was made; 0: never */
} quern_document_row;
typedef struct quern_document_list quern_document_list;
typedef struct quern_document_options {
    size_t struct_size;
    const char *source; /* needed */
    int state;          /* enum quern_document_state */
    uint32_t limit;     /* 0: 100 */
    quern_str after;    /* the key that the page before ended with; empty: from the start */
    const quern_cancel *cancel;
    const quern_str
        *keys; /* only of these (as quern_enqueue takes them), all in one page; NULL: of all rows */
    size_t n_keys;
} quern_document_options;
/* Rows of the source in that state now, in the store's order, under the active generation (the building one, where
 * there is none yet). */
QUERN_API int quern_document_list_open(quern_document_list **out, quern_store *s,
                                       const quern_document_options *opt, quern_error *err);
QUERN_API size_t quern_document_list_count(const quern_document_list *l);
QUERN_API const quern_document_row *quern_document_list_at(const quern_document_list *l, size_t i);
/* The key to go on after; NULL: there are no more. */
QUERN_API const char *quern_document_list_next(const quern_document_list *l);
QUERN_API void quern_document_list_free(quern_document_list *l);

/* ---- verify: embed a sample again and compare, bit for bit ---- */
typedef struct quern_verify_report {
    size_t struct_size;
    uint64_t checked, equal, different, stale, orphans, missing_vectors;
    char first_difference[256]; /* "" or source, key, chunk */
    uint64_t no_text; /* of the sample: their text is not kept, so they cannot be embedded again */
} quern_verify_report;
typedef struct quern_verify_options {
    size_t struct_size;
    const char *source; /* NULL: all */
    uint64_t sample;    /* documents a source, 0: 100; UINT64_MAX: all */
    uint64_t seed;
    const quern_cancel *cancel;
    /* the one that `source` was filled with: EUNSUPPORTED names its id when it is not given */
    const quern_document_builder *builder;
} quern_verify_options;
/* EMISMATCH when anything differs, is orphaned (a vector without a stamp or a row) or lacks its vectors; the report says
 * what. `e` may be NULL: then nothing is embedded, and only orphans and missing vectors are looked for. */
QUERN_API int quern_verify(quern_store *s, quern_embedder *e, const quern_verify_options *opt,
                           quern_verify_report *report, quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
