/* held.h — the chunks of some documents, with their vectors, read at once: for verify and for export, which would else ask
 * a store of several servers once a document. */
#ifndef QUERN_PIPELINE_HELD_H
#define QUERN_PIPELINE_HELD_H

#include "base/arena.h"
#include "base/buf.h"
#include "store/store.h"

enum { QUERN__HELD_BYTES = 4 << 20 }; /* of vectors, as much as a caller should ask for */

typedef struct quern__held {
    size_t width; /* bytes of a vector; set by the caller, all else is zero */
    quern_chunk *chunks;
    size_t n;
    /* its own */
    size_t cap, at, keys;
    size_t *first;
    quern__buf vectors;
    quern__arena arena;
    quern_error *err;
} quern__held;

/* In the place of what is held: first[i] is the first of the i-th key's chunks, first[n] the count of all. Keys differ. */
int quern__held_read(quern__held *h, quern_store *s, int64_t generation, const quern_str *keys,
                     size_t n, size_t *first, quern_error *err);
void quern__held_dispose(quern__held *h); /* also one that is all zero */

#endif
