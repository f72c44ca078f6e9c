/*
 * shelf_stage.h — what pull and import share: where things lie on the shelf, and the way from a staged
 * folder to a published one.
 *
 *   SHELF/NAME/                   a model: its files and quern-manifest.json, whole or absent
 *   SHELF/.staging/NAME.lock      held while NAME is being published or removed
 *   SHELF/.staging/NAME.REVISION/ a download: finished files, FILE.part and FILE.part.json
 *   SHELF/.staging/+import/       one import at a time (+import.lock), emptied at the next
 *   SHELF/.staging/NAME.old/      a damaged model on its way out
 *
 * Staging lies beside the models, so that the last step is a rename within one file system.
 */
#ifndef QUERN_SHELF_SHELF_STAGE_H
#define QUERN_SHELF_SHELF_STAGE_H

#include <stdbool.h>

#include "base/error.h"
#include "base/os.h"
#include "format/manifest.h"
#include "format/model_config.h"
#include "format/weights.h"
#include "quern/shelf.h"
#include "shelf/catalogue.h"

#define QUERN__IMPORTING "+import" /* '+': no model can have this name */

typedef struct quern__shelf {
    quern_shelf_options opt; /* a copy; its strings stay the caller's */
    char *folder, *staging;
} quern__shelf;

/* Resolves the folder; makes nothing. */
int quern__shelf_begin(quern__shelf *s, const quern_shelf_options *opt, quern_error *err);
void quern__shelf_end(quern__shelf *s);

/* "a/b"; quern__free it. */
int quern__join(char **out, const char *a, const char *b, quern_error *err);
/* "a/bc": the same with an ending. */
int quern__join3(char **out, const char *a, const char *b, const char *c, quern_error *err);
/* The folder that holds path/to/FILE is made. */
int quern__make_parent(const char *path, quern_error *err);
/* EINVAL unless 1–100 of A–Z a–z 0–9 . _ - and no dot or dash in front. */
int quern__check_model_name(const char *name, quern_error *err);

/* Takes .staging/WHAT.lock, waiting for another holder; ECANCELLED while it waits. */
int quern__shelf_lock(quern__lock **out, const quern__shelf *s, const char *what, quern_error *err);
/* The lock of a folder that stands on a shelf under its name, for who puts a file into it: while it is held no other process
 * removes or replaces the model. *out NULL: it stands on none. */
int quern__shelf_lock_of(quern__lock **out, const char *folder, const quern_cancel *cancel,
                         quern_error *err);
/* Tells the caller's progress function; its non-zero answer is ECANCELLED. */
int quern__shelf_tell(const quern__shelf *s, const char *what, uint64_t done, uint64_t total,
                      quern_error *err);
/* SHA-256 and size of a file, told as `what`. */
int quern__shelf_hash(const quern__shelf *s, const char *path, const char *what, char hex[65],
                      uint64_t *size, quern_error *err);

/* Adds folder/name to the manifest with what is on disk now; hex: its hash, known already. */
int quern__stage_record(quern__manifest *m, const char *folder, const char *name, const char *hex,
                        quern_error *err);
/* A folder's settings and weights (the caller's, also on failure), as far as they say each other's sizes. */
int quern__stage_settings(quern__model_config *out, quern__weights **weights, const char *folder,
                          quern_error *err);
/* Reads a staged folder's files as opening it would, as far as this floor reaches: settings, every
 * tensor's place, tokenizer, and that vocabulary and embedding table agree. */
int quern__stage_check(const char *folder, quern_error *err);
/* The caller's own check, if he gave one. */
int quern__shelf_ask(const quern__shelf *s, const char *name, const char *folder, quern_error *err);
/* Writes the manifest and renames the staged folder to SHELF/NAME; what was there is removed. */
int quern__stage_publish(const quern__shelf *s, const char *staged, const char *name,
                         quern__manifest *m, quern_error *err);

/* As quern__manifest_read, but a missing or unreadable manifest is no error: *has says whether one was
 * read. Running out of memory stays one, or a model would be taken for a stranger's. */
int quern__shelf_manifest(quern__manifest *m, const char *folder, bool *has, quern_error *err);

/* What stands at SHELF/NAME, seen from a model about to be put there. */
enum quern__standing {
    QUERN__STANDS_NOTHING,
    QUERN__STANDS_SAME,    /* these weights, every file as recorded */
    QUERN__STANDS_DAMAGED, /* recorded with these weights, but a file is gone or changed */
    QUERN__STANDS_OTHER    /* other weights, or a folder that is not the shelf's */
};
/* known: additionally each of its files must be there with the pinned hash, NULL: no such demand. Files
 * whose size or time changed are hashed. */
int quern__standing(const quern__shelf *s, const char *name, const char *weights_sha256,
                    const quern__known_model *known, int *out, quern_error *err);

#endif
