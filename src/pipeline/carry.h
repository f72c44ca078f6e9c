/*
 * carry.h — what export and import share: the files of an export (docs/export.md), the provenance in its manifest, and the
 * reader that trusts none of it.
 *
 *   carry_manifest.c  the provenance, written and read
 *   carry_export.c    a generation -> a folder
 *   carry_read.c      a folder -> documents, everything about them checked that can be without a model
 *   carry_import.c    documents -> a generation, by way of fill's own saving
 *   carry_sample.c    some of them embedded again
 *   stored.c          the vectors of one document
 */
#ifndef QUERN_PIPELINE_CARRY_H
#define QUERN_PIPELINE_CARRY_H

#include "base/arena.h"
#include "format/npy.h"
#include "pipeline/again.h"
#include "quern/carry.h"

enum {
    QUERN__CARRY_MANIFEST = 4 << 20, /* bytes of a manifest */
    QUERN__CARRY_LINE = 8 << 20      /* and of a line: a key and a path of headings */
};
enum quern__carry_file { QUERN__CARRY_NPY, QUERN__CARRY_ROWS, QUERN__CARRY_EMPTY, QUERN__CARRIES };
/* Their names in the folder; the manifest's. */
extern const char *const quern__carry_names[QUERN__CARRIES];
extern const char QUERN__CARRY_FORMAT[];

typedef struct quern__provenance {
    char *source, *model, *recipe; /* recipe: canonical JSON, of which fingerprint is the SHA-256 */
    char fingerprint[65];
    char vector_type[8];
    uint32_t dimensions;
    uint64_t documents, vectors, empty; /* documents: those with vectors */
    struct {
        uint64_t bytes;
        char sha256[65];
    } files[QUERN__CARRIES];
} quern__provenance;

void quern__provenance_dispose(quern__provenance *p);
/* `name` is what errors call it. EFORMAT; EUNSUPPORTED: a format that this version does not know. */
int quern__provenance_read(const char *json, size_t n, const char *name, quern__provenance *out,
                           quern_error *err);
/* More that is only told. */
typedef struct quern__provenance_more {
    const quern_source_spec *spec;
    const quern_generation *generation;
    uint64_t stale, pending, failed;
} quern__provenance_more;
int quern__provenance_write(const quern__provenance *p, const quern__provenance_more *more,
                            quern__buf *out, quern_error *err);

enum { QUERN__CARRY_CHUNKS = QUERN__CHUNK_LIMIT + 1 + QUERN__ASSETS_DECLARABLE };

/* One line of vectors.jsonl; strings in the arena. */
typedef struct quern__carry_row {
    quern_str key, revision, heading, asset; /* key: canonical */
    uint64_t chunk, chunks, page, dropped_bytes;
    uint64_t start, end, char_start, char_end;
} quern__carry_row;
/* empty: of empty.jsonl, which has key and revision only. EFORMAT. */
int quern__carry_row_read(const char *line, size_t n, bool empty, quern__arena *arena,
                          quern__carry_row *out, quern_error *err);

/* One document; what it points to lasts as long as the call. */
typedef struct quern__carry_doc {
    quern_str key, revision;
    size_t n; /* chunks; 0: a blank one */
    const quern_chunk *chunks;
    uint64_t dropped_bytes;
} quern__carry_doc;
typedef int (*quern__carry_fn)(const quern__carry_doc *doc, void *ud, quern_error *err);

/* DIR/NAME; quern__free it. */
int quern__carry_path(const char *dir, const char *name, char **path, quern_error *err);
int quern__carry_open(const char *dir, quern__provenance *out, quern_error *err);
/* All documents in order, fn (NULL: none) called with each; in the end the counts and the checksums are compared, so
 * that whatever fn was told is confirmed only by QUERN_OK. */
int quern__carry_read(const char *dir, const quern__provenance *p, quern__carry_fn fn, void *ud,
                      const quern_cancel *cancel, quern_error *err);
/* EFORMAT unless n vectors of that type are finite and of unit length; `where` in messages, numbered from `first`. */
int quern__carry_check_unit(const void *vectors, size_t n, uint32_t dimensions, uint32_t width,
                            uint64_t first, const char *where, quern_error *err);

/* ---- import's parts ---- */
typedef struct quern__carry_import {
    quern_store *s;
    const quern_import_options *opt;
    quern_import_report *report;
    quern__provenance p;
    quern__recipe *recipe;
    quern__fill_settings settings;
    quern_read read; /* of the generation that it goes into; 0: there is none yet */
    quern__again again;
    quern__buf text; /* of the row at hand */
} quern__carry_import;

/* carry_sample.c: embeds a document of the export again, if its row still has that revision, and compares; counts, and
 * notes the first difference. One that is said to be blank is only cut. */
int quern__carry_compare(quern__carry_import *im, const quern__carry_doc *doc, quern_error *err);

#endif
