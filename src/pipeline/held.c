/* held.c — see held.h. Vectors lie one behind the other, so that an export can write them as they are. */
#include "pipeline/held.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

enum { FIRST_ROOM = 256 };

static int copy_text(quern__held *h, quern_str *text)
{
    char *copy = quern__arena_copy(&h->arena, text->ptr ? text->ptr : "", text->len);
    text->ptr = copy;
    return copy ? QUERN_OK : quern__fail_memory(h->err, text->len);
}

static int take(size_t i, const quern_chunk *c, void *ud)
{
    quern__held *h = ud;
    if (i < h->at || i >= h->keys)
        return quern__fail(h->err, QUERN_EINTERNAL, (int64_t)i,
                           "a store gives chunks out of order");
    if (h->n == h->cap) {
        size_t cap = h->cap ? 2 * h->cap : FIRST_ROOM;
        quern_chunk *grown = quern__resize_array(h->chunks, cap, sizeof *grown);
        if (!grown)
            return quern__fail_memory(h->err, cap * sizeof *grown);
        h->chunks = grown;
        h->cap = cap;
    }
    while (h->at < i)
        h->first[++h->at] = h->n;
    quern_chunk *to = &h->chunks[h->n++];
    *to = *c;
    to->vector = NULL;
    quern__buf_append(&h->vectors, c->vector, h->width);
    int rc = quern__buf_ok(&h->vectors, "vectors", h->err);
    if (rc == QUERN_OK)
        rc = copy_text(h, &to->heading);
    return rc == QUERN_OK ? copy_text(h, &to->asset) : rc;
}

static int take_one(const quern_chunk *c, void *ud)
{
    quern__held *h = ud;
    return take(h->at, c, h);
}

int quern__held_read(quern__held *h, quern_store *s, int64_t generation, const quern_str *keys,
                     size_t n, size_t *first, quern_error *err)
{
    const quern_store_table *t = &s->table;
    int rc = QUERN_OK;
    quern__arena_dispose(&h->arena);
    if (!h->vectors.max)
        quern__buf_init(&h->vectors, SIZE_MAX / 2);
    quern__buf_clear(&h->vectors);
    h->n = h->at = 0;
    h->keys = n;
    h->first = first;
    h->err = err;
    first[0] = 0;
    if (t->chunks_of && n)
        rc = t->chunks_of(s->self, generation, keys, n, take, h, err);
    for (size_t i = 0; !t->chunks_of && rc == QUERN_OK && i < n; i++) {
        while (h->at < i)
            first[++h->at] = h->n;
        rc = t->chunks(s->self, generation, keys[i], take_one, h, err);
    }
    while (h->at < n)
        first[++h->at] = h->n;
    for (size_t i = 0; rc == QUERN_OK && i < h->n; i++)
        h->chunks[i].vector = h->vectors.data + i * h->width;
    return rc;
}

void quern__held_dispose(quern__held *h)
{
    quern__free(h->chunks);
    quern__buf_dispose(&h->vectors);
    quern__arena_dispose(&h->arena);
}
