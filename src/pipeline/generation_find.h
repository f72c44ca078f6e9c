/* generation_find.h — a generation by its id, for the calls of quern/generation.h. */
#ifndef QUERN_PIPELINE_GENERATION_FIND_H
#define QUERN_PIPELINE_GENERATION_FIND_H

#include "store/store.h"

typedef struct quern__generation_at {
    quern_generation g;
    char source[64];
} quern__generation_at;

/* ENOTFOUND. */
int quern__generation_at_id(quern_store *s, int64_t id, quern__generation_at *out,
                            quern_error *err);
/* EUNSUPPORTED: the store has no function for that. */
int quern__store_lacks(const quern_store *s, const char *what, quern_error *err);

#endif
