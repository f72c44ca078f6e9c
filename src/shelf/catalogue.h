/*
 * catalogue.h — the published models that `quern model pull` knows by name, each file pinned by size and
 * SHA-256 at one revision: whatever a server sends, these bytes arrive or nothing does.
 */
#ifndef QUERN_SHELF_CATALOGUE_H
#define QUERN_SHELF_CATALOGUE_H

#include <stddef.h>
#include <stdint.h>

typedef struct quern__known_file {
    const char *name, *sha256;
    uint64_t size;
} quern__known_file;

typedef struct quern__known_model {
    const char *name, *repository, *revision;
    const quern__known_file *files;
    size_t n_files;
    const char *weights; /* which of them holds the weights */
} quern__known_model;

const quern__known_model *quern__known_at(size_t i); /* NULL past the end */
const quern__known_model *quern__known_find(const char *name);
/* SHA-256 of its weights. */
const char *quern__known_weights(const quern__known_model *k);
/* The model whose weights have this hash, NULL: none. */
const quern__known_model *quern__known_by_weights(const char *sha256);

#endif
