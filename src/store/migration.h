/* migration.h — a store's migrations as they are compiled in, and what its ledger says of them. */
#ifndef QUERN_STORE_MIGRATION_H
#define QUERN_STORE_MIGRATION_H

#include <stddef.h>
#include <stdint.h>

struct quern__migration {
    int64_t version;
    const char *name, *up, *down;
};

enum { QUERN__MOST_MIGRATIONS = 64 };

typedef struct quern__ledger {
    const struct quern__migration *known;
    size_t n;
    int64_t applied_ms[QUERN__MOST_MIGRATIONS]; /* by place in known; 0: not applied */
    /* up and down of each, as they run in this database; NULL: as they are in known */
    char *scripts[2 * QUERN__MOST_MIGRATIONS];
} quern__ledger;

void quern__ledger_dispose(quern__ledger *l);

#endif
