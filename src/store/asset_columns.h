/*
 * asset_columns.h — columns of a source that name a document's assets: "photo, clip=video", a column and the kind of the URLs in
 * it, which is image where nothing is said.
 */
#ifndef QUERN_STORE_ASSET_COLUMNS_H
#define QUERN_STORE_ASSET_COLUMNS_H

#include "base/arena.h"
#include "quern/store.h"

/* The embedder's limits, for the layer below it. */
enum { QUERN__ASSET_COLUMNS = 8, QUERN__ASSETS_DECLARED = 8, QUERN__ASSETS_DECLARABLE = 64 };

typedef struct quern__asset_columns {
    const char *name[QUERN__ASSET_COLUMNS];
    int kind[QUERN__ASSET_COLUMNS]; /* enum quern_asset_kind */
    size_t n;
    uint32_t most; /* assets of a document; 0 when there are no columns */
} quern__asset_columns;

/* Names in the arena. EINVAL. */
int quern__asset_columns_parse(const quern_source_spec *spec, quern__arena *arena,
                               quern__asset_columns *out, quern_error *err);

#endif
