/* store.h — inside the library a store is a table and its instance; upper floors call through these. */
#ifndef QUERN_STORE_STORE_H
#define QUERN_STORE_STORE_H

#include <stdbool.h>

#include "quern/sys/store.h"

struct quern_store {
    quern_store_table table;
    void *self;
};

/* "postgres://…" or "postgresql://…"; NULL is none. */
bool quern__is_postgres_url(const char *db);

#endif
