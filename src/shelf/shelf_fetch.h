/*
 * shelf_fetch.h — one pinned file from a server to disk, whatever happens on the way.
 */
#ifndef QUERN_SHELF_SHELF_FETCH_H
#define QUERN_SHELF_SHELF_FETCH_H

#include "shelf/shelf_stage.h"

/* Fetches url to path, of which it must become the pinned size and hash. path.part holds what came so
 * far and path.part.json whose it is (URL and ETag): a later call, of this process or another, asks for
 * the rest alone, under If-Range; a server whose file changed sends all of it. `before` and `total`
 * bytes of the whole model are for progress. EMISMATCH: other bytes than pinned, which are removed. */
int quern__shelf_fetch(const quern__shelf *s, const char *url, const quern__known_file *file,
                       const char *path, uint64_t before, uint64_t total, quern_error *err);

#endif
