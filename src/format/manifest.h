/*
 * manifest.h — quern-manifest.json, the shelf's note beside a model's files: where they came from and
 * each one's SHA-256, size and modification time. It lets a model open without hashing 90 MB (a quarter
 * of a second): the hash in it counts while size and time still agree, and `model verify` recomputes.
 * Rejected: one shelf-wide index, which two processes would have to agree on; a folder carries its own.
 *
 * {"files":{"model.safetensors":{"mtime_ns":…,"sha256":"…","size":…},…},"imported_at":"…","name":"…",
 *  "origin":"…","version":1}
 *
 * The struct is about 15 KB with fixed arrays, so that reading it needs no cleanup; a model folder has
 * a dozen files.
 */
#ifndef QUERN_FORMAT_MANIFEST_H
#define QUERN_FORMAT_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/os.h"

#define QUERN__MANIFEST_NAME "quern-manifest.json"
enum { QUERN__MANIFEST_FILES = 64, QUERN__MANIFEST_PATH = 128 };

typedef struct quern__manifest_file {
    char name[QUERN__MANIFEST_PATH]; /* relative, '/'-separated: "1_Pooling/config.json" */
    char sha256[65];                 /* lower-case hex */
    uint64_t size;
    int64_t mtime_ns;
} quern__manifest_file;

typedef struct quern__manifest {
    char name[128], origin[512], imported_at[32];
    uint32_t n;
    quern__manifest_file file[QUERN__MANIFEST_FILES];
} quern__manifest;

/* Reads folder/quern-manifest.json. ENOTFOUND: there is none; EFORMAT: file and byte. */
int quern__manifest_read(quern__manifest *out, const char *folder, quern_error *err);
/* The same from text, for tests and fuzzing. */
int quern__manifest_parse(quern__manifest *out, const char *text, size_t len, const char *name,
                          quern_error *err);
/* Writes it, all or nothing. */
int quern__manifest_write(const quern__manifest *m, const char *folder, quern_error *err);
/* The entry of a file, NULL when the manifest does not know it. Borrowed from m. */
const quern__manifest_file *quern__manifest_find(const quern__manifest *m, const char *name);
/* The weights' hash (quern__weights_hash) by what is recorded; "" when no file of weights is. */
int quern__manifest_weights(const quern__manifest *m, char out[65], quern_error *err);
/* Adds an entry; EINVAL when the name is no plain relative path, is there already, or the table is full. */
int quern__manifest_add(quern__manifest *m, const char *name, const char *sha256, uint64_t size,
                        int64_t mtime_ns, quern_error *err);
/* Takes the entry of this name out, if there is one. */
void quern__manifest_drop(quern__manifest *m, const char *name);
/* True while the file on disk is, by size and time, the one that was hashed. */
bool quern__manifest_agrees(const quern__manifest_file *f, const quern__stat *st);
/* True for a relative path of plain components: no "..", no empty one, no backslash, no control byte,
 * short enough for the table above. The names of archives pass through this too. */
bool quern__manifest_path_ok(const char *path);

#endif
