/*
 * alloc.c — the process-wide memory hook. It may be set only before the first allocation: a block
 * must be released by the functions that made it. Nothing here counts or caches; a limit or a
 * failure test is a hook of the caller's.
 *
 * Large page-aligned memory comes straight from the kernel, but only with the default hook: who sets
 * a hook wants to see (and bound, and fail) every byte. Under ASan it comes from malloc too, so that
 * overruns and leaks of weights and activations are seen.
 */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/os.h"

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN 0
#endif

enum { PAGES_ALIGN = 64, PAGES_FROM_KERNEL = 1 << 20, LINK = sizeof(void *) };

static void *default_alloc(size_t size, void *ud)
{
    (void)ud;
    return malloc(size);
}

static void *default_resize(void *p, size_t size, void *ud)
{
    (void)ud;
    return realloc(p, size);
}

static void default_release(void *p, void *ud)
{
    (void)ud;
    free(p);
}

static quern_allocator hook = {default_alloc, default_resize, default_release, NULL};
static bool hook_is_default = true;
static atomic_bool hook_used;

/* A plain load nearly always; the store happens once. */
static void mark_used(void)
{
    if (!atomic_load_explicit(&hook_used, memory_order_relaxed))
        atomic_store_explicit(&hook_used, true, memory_order_relaxed);
}

int quern_set_allocator(const quern_allocator *allocator, quern_error *err)
{
    if (atomic_load(&hook_used))
        return quern__fail(err, QUERN_EBUSY, 0,
                           "the allocator must be set before any other call of the library");
    if (!allocator) {
        hook = (quern_allocator){default_alloc, default_resize, default_release, NULL};
        hook_is_default = true;
        return QUERN_OK;
    }
    if (!allocator->alloc || !allocator->resize || !allocator->release)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "an allocator needs all three of alloc, resize and release");
    hook = *allocator;
    hook_is_default = false;
    return QUERN_OK;
}

void quern_free(void *p)
{
    quern__free(p);
}

void *quern__alloc(size_t size)
{
    mark_used();
    return hook.alloc(size ? size : 1, hook.ud);
}

void *quern__calloc(size_t count, size_t size)
{
    void *p = quern__alloc_array(count, size);
    if (p)
        memset(p, 0, count * size);
    return p;
}

void *quern__alloc_array(size_t count, size_t size)
{
    size_t total;
    return quern__mul_size(count, size, &total) ? quern__alloc(total) : NULL;
}

void *quern__resize(void *p, size_t size)
{
    if (!p)
        return quern__alloc(size);
    return hook.resize(p, size ? size : 1, hook.ud);
}

void *quern__resize_array(void *p, size_t count, size_t size)
{
    size_t total;
    return quern__mul_size(count, size, &total) ? quern__resize(p, total) : NULL;
}

void quern__free(void *p)
{
    if (p)
        hook.release(p, hook.ud);
}

char *quern__strndup(const char *s, size_t n)
{
    size_t total;
    if (!quern__add_size(n, 1, &total))
        return NULL;
    char *copy = quern__alloc(total);
    if (!copy)
        return NULL;
    if (n)
        memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}

char *quern__strdup(const char *s)
{
    return quern__strndup(s, strlen(s));
}

static bool from_kernel(size_t size)
{
    return hook_is_default && !UNDER_ASAN && size >= PAGES_FROM_KERNEL;
}

void *quern__alloc_pages(size_t size)
{
    mark_used();
    if (from_kernel(size))
        return quern__os_pages_alloc(size);
    /* The block's own address stands in the LINK bytes before the aligned one. */
    size_t total;
    if (!quern__add_size(size, PAGES_ALIGN + LINK, &total))
        return NULL;
    unsigned char *block = quern__alloc(total);
    if (!block)
        return NULL;
    uintptr_t start = (uintptr_t)block + LINK;
    size_t skip = (PAGES_ALIGN - start % PAGES_ALIGN) % PAGES_ALIGN;
    unsigned char *p = block + LINK + skip;
    memcpy(p - LINK, &block, LINK);
    memset(p, 0, size);
    return p;
}

void quern__free_pages(void *p, size_t size)
{
    if (!p)
        return;
    if (from_kernel(size)) {
        quern__os_pages_free(p, size);
        return;
    }
    void *block;
    memcpy(&block, (unsigned char *)p - LINK, LINK);
    quern__free(block);
}
