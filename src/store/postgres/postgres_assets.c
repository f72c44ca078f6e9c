/*
 * postgres_assets.c — what was seen for chunks whose vectors are not of text alone, a row a chunk, in the transaction of their
 * stamps. Old ones of the same documents have gone with their chunks. On shards they stay beside the stamps: a chunk that a
 * save leaves behind which was cut off between two servers is not given out, and so nor is what it saw.
 */
#include "store/postgres/postgres_store.h"

enum { INSERT_ROWS = 4096 };

static const char put_sql[] =
    "INSERT INTO @assets (generation, document, piece, asset) SELECT $1, d.document, d.piece,"
    " d.asset FROM unnest($2, $3, $4) AS d(document, piece, asset)";

int quern__postgres_assets_put(quern__postgres *s, int64_t generation, const quern_save *docs,
                               const uint8_t *stored, size_t n, quern_error *err)
{
    quern__pg_array a[3];
    int rc = QUERN_OK;
    size_t rows = 0;
    for (int i = 0; i < 3; i++)
        quern__pg_array_init(&a[i], i == 1 ? (uint32_t)QUERN__PG_INT8 : (uint32_t)QUERN__PG_TEXT,
                             0);
    for (size_t i = 0; i < n && !rc; i++)
        for (uint32_t k = 0; stored[i] && k < docs[i].stamp.chunks && !rc; k++) {
            const quern_chunk *c = &docs[i].chunks[k];
            if (!c->asset.len)
                continue;
            quern__pg_array_bytes(&a[0], docs[i].key.ptr, docs[i].key.len);
            quern__pg_array_int(&a[1], c->index);
            quern__pg_array_bytes(&a[2], c->asset.ptr, c->asset.len);
            if (++rows % INSERT_ROWS == 0)
                rc = quern__postgres_put_arrays(s, put_sql, generation, a, 3, err);
        }
    if (!rc)
        rc = quern__postgres_put_arrays(s, put_sql, generation, a, 3, err);
    for (int i = 0; i < 3; i++)
        quern__pg_array_dispose(&a[i]);
    return rc;
}
