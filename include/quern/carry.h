/*
 * quern/carry.h — vectors out of a store and into one: a folder with what they are and where they come from, which another
 * store of either kind takes in once it has seen that they are right (docs/export.md has the format); and the
 * vectors of a single document by hand.
 */
#ifndef QUERN_CARRY_H
#define QUERN_CARRY_H

#include "quern/pipeline.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- export ---- */
typedef struct quern_export_options {
    size_t struct_size;
    const char *source; /* needed */
    int64_t generation; /* 0: the active one */
    int force;          /* 1: into a folder that is there already, over an earlier export in it */
    int (*progress)(uint64_t done, uint64_t total, void *ud); /* documents; non-zero cancels */
    void *progress_ud;
    const quern_cancel *cancel;
} quern_export_options;

typedef struct quern_export_report {
    size_t struct_size;
    int64_t generation;
    uint64_t documents, vectors; /* with vectors, and those */
    uint64_t empty;              /* documents that have none, being blank */
    /* left out: changed since, or asked for again; never embedded; marked failed */
    uint64_t stale, pending, failed;
    uint64_t bytes; /* of all files */
} quern_export_report;

/* Writes the current vectors of one generation into a folder, which is made; its manifest comes last, so that a folder
 * with one is whole. EEXISTS: there is something in the folder. ENOTFOUND: no such source or generation. EMISMATCH: the
 * source is declared otherwise now than when the generation was made. EBUSY: another export writes there. */
QUERN_API int quern_export(quern_store *s, const char *dir, const quern_export_options *opt,
                           quern_export_report *report, quern_error *err);

/* ---- import ---- */
typedef struct quern_import_options {
    size_t struct_size;
    const char *source; /* NULL: of the name that the export was made of */
    /* As quern_fill_options: what a fill of this source would be given */
    uint32_t max_chunks, overlap;
    const char *vector_type;
    int headings;
    /* Scope of the generation, as of quern_build_options, if it is to have one that no active generation has: then it is
     * never activated here */
    const char *where;
    const quern_document_builder *builder;
    const char *index;
    uint64_t
        sample;    /* documents to embed again; 0: one in a hundred, 20 at least; UINT64_MAX: all */
    uint64_t seed; /* 0: by chance */
    int dry_run;   /* 1: everything but writing */
    uint32_t wait_ms; /* for a fill of the source to end, before EBUSY */
    int (*progress)(uint64_t done, uint64_t total, void *ud); /* documents; non-zero cancels */
    void *progress_ud;
    const quern_cancel *cancel;
} quern_import_options;

typedef struct quern_import_report {
    size_t struct_size;
    int64_t generation; /* it went into; 0: none yet (dry run) */
    char state[12];     /* of that: active or building */
    char source[64];
    uint64_t documents, vectors, empty; /* of the export */
    uint64_t
        imported; /* documents now current by it, blank ones included (dry run: that would be) */
    uint64_t skipped;        /* that were current already */
    uint64_t changed;        /* whose row is another than the one that was embedded */
    uint64_t missing;        /* that have no row here */
    uint64_t pending;        /* documents of the source that are not current, afterwards */
    uint64_t sampled, equal; /* embedded again; and the same, bit for bit */
    uint64_t seed;
    char first_difference[256]; /* "" or key, chunk and what differs */
} quern_import_report;

/*
 * Takes an export in. Nothing is written before all of it has been read and checked, its fingerprint is the one that this
 * embedder and the source's declaration give, and a sample of the documents has been embedded again and gave the
 * same bits. Then documents are saved as a fill saves them: only where the row has the revision that was
 * embedded; the others stay pending. Goes on where an import was cut off. EFORMAT: not an export, or damaged; EMISMATCH:
 * checksum, fingerprint (the members that differ are named) or sample; ENOTFOUND: no such folder or source; EBUSY: a
 * fill of the source runs.
 */
QUERN_API int quern_import(quern_store *s, quern_embedder *e, const char *dir,
                           const quern_import_options *opt, quern_import_report *report,
                           quern_error *err);

/* ---- one document's vectors ---- */
typedef struct quern_stored quern_stored;
typedef struct quern_stored_info {
    const char *source, *key; /* key: JSON, as hits show it */
    const char *model, *fingerprint, *vector_type;
    const char *outcome; /* ok, empty, failed, none (not embedded yet) */
    const char *reason, *revision;
    int64_t generation, created_ms, updated_ms;
    uint32_t dimensions;
    int current; /* 1: the row still is what was embedded */
} quern_stored_info;
typedef struct quern_stored_chunk {
    uint32_t index, page; /* page 0: unknown */
    uint64_t start, end, char_start, char_end;
    const char *heading;  /* "" none */
    const float *vector;  /* dimensions of them */
    const void *elements; /* the same as stored, little-endian */
    const char *asset;    /* as a hit's */
} quern_stored_chunk;

/* key: as quern_enqueue takes it. generation 0: the active one (the building one, where there is none yet). ENOTFOUND: no
 * such source or generation, or no row with that key. */
QUERN_API int quern_stored_open(quern_stored **out, quern_store *s, const char *source,
                                quern_str key, int64_t generation, quern_error *err);
QUERN_API const quern_stored_info *quern_stored_about(const quern_stored *v);
QUERN_API size_t quern_stored_count(const quern_stored *v);
QUERN_API const quern_stored_chunk *quern_stored_at(const quern_stored *v, size_t i);
QUERN_API void quern_stored_free(quern_stored *v);

typedef struct quern_stored_vector {
    const float *vector; /* of unit length */
    size_t dimensions;
    uint64_t start, end; /* bytes of the document's text; both 0 in a single one: all of it */
    uint32_t page;
    const char *heading; /* NULL: none */
} quern_stored_vector;
/*
 * Replaces the vectors of a document, one per chunk in order, and stamps it with the revision that its row has now: made
 * elsewhere, by whoever vouches that they are what `fingerprint` says. Into the active generation (the
 * building one, where there is none). EMISMATCH: that has another fingerprint (both are named), or the row changes meanwhile.
 * EINVAL: wrong dimension, not finite, not of unit length, a chunk out of the text. ENOTFOUND: no such row.
 */
QUERN_API int quern_stored_put(quern_store *s, const char *source, quern_str key,
                               const char *fingerprint, const quern_stored_vector *vectors,
                               size_t n, quern_error *err);
/* Removes vectors and stamp of a document from the active and the building generation: it is pending again. *removed: in
 * how many it was. ENOTFOUND: neither a row nor a stamp has that key. */
QUERN_API int quern_stored_delete(quern_store *s, const char *source, quern_str key,
                                  uint64_t *removed, quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
