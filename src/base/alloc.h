/*
 * alloc.h — the only way to memory for library code: the process-wide hook of quern/status.h.
 * malloc and friends are banned above this file (a test greps). Memory a library call hands to the
 * caller comes from here too and is returned with quern_free.
 */
#ifndef QUERN_BASE_ALLOC_H
#define QUERN_BASE_ALLOC_H

#include <stddef.h>

/* All return NULL when memory is out or the size overflows; size 0 is treated as 1. */
void *quern__alloc(size_t size);
void *quern__calloc(size_t count, size_t size); /* zeroed, overflow-checked */
void *quern__alloc_array(size_t count, size_t size);
void *quern__resize(void *p, size_t size);                     /* NULL p allocates */
void *quern__resize_array(void *p, size_t count, size_t size); /* overflow-checked */
void quern__free(void *p);                                     /* NULL is fine */
char *quern__strndup(const char *s, size_t n);                 /* NUL-terminated copy */
char *quern__strdup(const char *s);

/* Memory for packed weights and activations: aligned to 64 bytes (2 MiB and huge-page advice from
 * 1 MiB up), zeroed, straight from the kernel for large sizes. Pair with quern__free_pages. */
void *quern__alloc_pages(size_t size);
void quern__free_pages(void *p, size_t size);

#endif
