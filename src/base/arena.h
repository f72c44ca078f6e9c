/*
 * arena.h — many small allocations with one lifetime. Under ASan each allocation is its own block,
 * so that overruns are seen.
 */
#ifndef QUERN_BASE_ARENA_H
#define QUERN_BASE_ARENA_H

#include <stddef.h>

typedef struct quern__arena {
    struct quern__arena_block *blocks; /* newest first */
    size_t used, limit;                /* bytes handed out; 0 limit = none */
} quern__arena;

void quern__arena_init(quern__arena *a, size_t limit);
void quern__arena_dispose(quern__arena *a); /* frees everything; the arena may be used again */
void *quern__arena_alloc(quern__arena *a, size_t size); /* 16-byte aligned; NULL: memory or limit */
char *quern__arena_copy(quern__arena *a, const char *s, size_t n); /* NUL-terminated copy */

#endif
