/*
 * zip_view.h — the directory of a zip archive in memory whose files are stored, not compressed: where each
 * lies. What torch.save writes, so that tensors can be used where they are in the mapping.
 */
#ifndef QUERN_FORMAT_ZIP_VIEW_H
#define QUERN_FORMAT_ZIP_VIEW_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct quern__zip_entry {
    quern_str name; /* into the archive */
    size_t offset, size;
} quern__zip_entry;

typedef struct quern__zip_view {
    quern__zip_entry *entries; /* [n] by name */
    size_t n;
} quern__zip_view;

/* EFORMAT with a byte: no zip, one in several parts, encrypted, compressed, torn, or two of one name. */
int quern__zip_view_read(quern__zip_view *z, const uint8_t *data, size_t size, const char *name,
                         quern_error *err);
void quern__zip_view_dispose(quern__zip_view *z);
/* NULL: none. */
const quern__zip_entry *quern__zip_view_find(const quern__zip_view *z, quern_str name);

#endif
