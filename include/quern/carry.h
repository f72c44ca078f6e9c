/*
 * quern/carry.h — vectors out of a store and into one: a folder with what they are and where they come from, which another
 * store of either kind takes in once it has seen that they are right. docs/export.md has the format.
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

#ifdef __cplusplus
}
#endif
#endif
