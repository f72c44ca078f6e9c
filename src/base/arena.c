/*
 * arena.c — blocks of at least 4 KiB, doubling, carved front to back. Under ASan every allocation is
 * a block of its own: an arena that hides overruns from the sanitizer is worse than none.
 */
#include "base/arena.h"

#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

#if defined(__SANITIZE_ADDRESS__)
#define ONE_EACH 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ONE_EACH 1
#endif
#endif
#ifndef ONE_EACH
#define ONE_EACH 0
#endif

enum { ALIGN = 16, FIRST_BLOCK = 4096, LARGEST_STEP = 1 << 20 };

struct quern__arena_block {
    struct quern__arena_block *next;
    size_t size, used; /* of the bytes that follow the header */
};
#define HEADER ((sizeof(struct quern__arena_block) + ALIGN - 1) / ALIGN * ALIGN)

void quern__arena_init(quern__arena *a, size_t limit)
{
    *a = (quern__arena){NULL, 0, limit};
}

void quern__arena_dispose(quern__arena *a)
{
    while (a->blocks) {
        struct quern__arena_block *next = a->blocks->next;
        quern__free(a->blocks);
        a->blocks = next;
    }
    a->used = 0;
}

static struct quern__arena_block *new_block(const quern__arena *a, size_t need)
{
    size_t size = need, total;
    if (!ONE_EACH) {
        size_t step = a->blocks ? a->blocks->size * 2 : FIRST_BLOCK;
        if (step > LARGEST_STEP)
            step = LARGEST_STEP;
        if (size < step)
            size = step;
    }
    if (!quern__add_size(size, HEADER, &total))
        return NULL;
    struct quern__arena_block *b = quern__alloc(total);
    if (b) {
        b->size = size;
        b->used = 0;
    }
    return b;
}

void *quern__arena_alloc(quern__arena *a, size_t size)
{
    size_t need, used;
    if (!quern__add_size(size ? size : 1, ALIGN - 1, &need))
        return NULL;
    need = need / ALIGN * ALIGN;
    if (!quern__add_size(a->used, need, &used) || (a->limit && used > a->limit))
        return NULL;
    struct quern__arena_block *b = a->blocks;
    if (!b || b->size - b->used < need) {
        b = new_block(a, ONE_EACH ? (size ? size : 1) : need);
        if (!b)
            return NULL;
        b->next = a->blocks;
        a->blocks = b;
    }
    void *p = (unsigned char *)b + HEADER + b->used;
    b->used = ONE_EACH ? b->size : b->used + need;
    a->used = used;
    return p;
}

char *quern__arena_copy(quern__arena *a, const char *s, size_t n)
{
    size_t total;
    if (!quern__add_size(n, 1, &total))
        return NULL;
    char *copy = quern__arena_alloc(a, total);
    if (!copy)
        return NULL;
    if (n)
        memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}
