/*
 * vocab.c — an open-addressing table over the pieces. A trie would find the longest match in one
 * walk, but building one for 30,000 pieces costs several milliseconds of an 80 ms start; this table
 * costs one insertion a piece, and most words are found whole at the first probe. The hash is
 * polynomial and not secret: equal hashes are always settled by comparing bytes, and a file with
 * enough collisions to be slow is refused.
 */
#include "tokenizer/vocab.h"

#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/compiler.h"

enum { MAX_BYTES = 128 << 20, ABSENT = -1 };

static uint64_t hash_of(quern_str s)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < s.len; i++)
        hash = quern__vocab_step(hash, (uint8_t)s.ptr[i]);
    return hash;
}

void quern__vocab_init(quern__vocab *v)
{
    memset(v, 0, sizeof *v);
    quern__buf_init(&v->bytes, MAX_BYTES);
    v->powers[0] = 1;
    for (size_t i = 1; i < QUERN__COUNT(v->powers); i++)
        v->powers[i] = v->powers[i - 1] * QUERN__VOCAB_BASE;
}

void quern__vocab_dispose(quern__vocab *v)
{
    quern__buf_dispose(&v->bytes);
    quern__free(v->pieces);
    quern__free(v->slots);
    memset(v, 0, sizeof *v);
}

static void place(struct quern__slot *slots, uint32_t mask, struct quern__slot s)
{
    uint32_t at = s.tag & mask;
    while (slots[at].id1)
        at = (at + 1) & mask;
    slots[at] = s;
}

/* A table of `size` slots, a power of two. */
static bool rehash(quern__vocab *v, uint32_t size)
{
    struct quern__slot *slots = quern__calloc(size, sizeof *slots);
    if (!slots)
        return false;
    for (uint32_t i = 0; v->slots && i <= v->mask; i++)
        if (v->slots[i].id1)
            place(slots, size - 1, v->slots[i]);
    quern__free(v->slots);
    v->slots = slots;
    v->mask = size - 1;
    return true;
}

static bool room_for_ids(quern__vocab *v, uint32_t size)
{
    if (size <= v->cap)
        return true;
    uint32_t cap = QUERN__MAX(size, QUERN__MIN(v->cap * 2, QUERN__VOCAB_MAX_IDS));
    struct quern__piece *pieces = quern__resize_array(v->pieces, cap, sizeof *pieces);
    if (!pieces)
        return false;
    for (uint32_t i = v->cap; i < cap; i++)
        pieces[i] = (struct quern__piece){UINT32_MAX, 0};
    v->pieces = pieces;
    v->cap = cap;
    return true;
}

int quern__vocab_reserve(quern__vocab *v, uint32_t n, quern_error *err)
{
    n = QUERN__MAX(64, QUERN__MIN(n, QUERN__VOCAB_MAX_IDS));
    uint32_t slots = 128;
    while (slots < 2 * n)
        slots *= 2;
    if (!room_for_ids(v, n) || !rehash(v, slots))
        return quern__fail_memory(err, (size_t)slots * sizeof *v->slots);
    return QUERN_OK;
}

/* Whether a slot's piece is head + tail. */
static bool same(const quern__vocab *v, struct quern__slot s, uint32_t tag, quern_str head,
                 const char *tail, uint32_t tail_len)
{
    if (s.tag != tag)
        return false;
    struct quern__piece p = v->pieces[s.id1 - 1];
    if (p.len != head.len + tail_len)
        return false;
    const char *bytes = v->bytes.data + p.at;
    return (head.len == 0 || memcmp(bytes, head.ptr, head.len) == 0) &&
           memcmp(bytes + head.len, tail, tail_len) == 0;
}

int32_t quern__vocab_match(const quern__vocab *v, uint64_t hash, quern_str head, const char *tail,
                           uint32_t tail_len)
{
    uint32_t tag = quern__vocab_tag(hash);
    for (uint32_t at = tag & v->mask; v->slots[at].id1; at = (at + 1) & v->mask)
        if (same(v, v->slots[at], tag, head, tail, tail_len))
            return (int32_t)(v->slots[at].id1 - 1);
    return ABSENT;
}

int32_t quern__vocab_find(const quern__vocab *v, quern_str piece)
{
    if (!v->slots || piece.len == 0 || piece.len > v->longest)
        return ABSENT;
    return quern__vocab_match(v, hash_of(piece), (quern_str){NULL, 0}, piece.ptr,
                              (uint32_t)piece.len);
}

/* Enters a piece that lies in v->bytes already. */
static enum quern__vocab_added enter(quern__vocab *v, uint32_t id, quern_str piece)
{
    if ((!v->slots || v->count >= (v->mask + 1) / 2) &&
        !rehash(v, v->slots ? (v->mask + 1) * 2 : 128))
        return QUERN__VOCAB_NO_MEMORY;
    uint32_t tag = quern__vocab_tag(hash_of(piece)), at = tag & v->mask;
    for (uint32_t probes = 0; v->slots[at].id1; at = (at + 1) & v->mask) {
        if (same(v, v->slots[at], tag, (quern_str){NULL, 0}, piece.ptr, (uint32_t)piece.len))
            return QUERN__VOCAB_PIECE_TAKEN;
        if (++probes > QUERN__VOCAB_MAX_PROBES)
            return QUERN__VOCAB_CROWDED;
    }
    v->slots[at] = (struct quern__slot){tag, id + 1};
    v->count++;
    v->longest = QUERN__MAX(v->longest, (uint32_t)piece.len);
    return QUERN__VOCAB_ADDED;
}

enum quern__vocab_added quern__vocab_add(quern__vocab *v, uint64_t id, quern_str piece, bool find)
{
    if (id >= QUERN__VOCAB_MAX_IDS)
        return QUERN__VOCAB_BAD_ID;
    if (piece.len > QUERN__VOCAB_MAX_PIECE || (piece.len && memchr(piece.ptr, 0, piece.len)))
        return QUERN__VOCAB_BAD_PIECE;
    if (!room_for_ids(v, (uint32_t)id + 1))
        return QUERN__VOCAB_NO_MEMORY;
    if (v->pieces[id].at != UINT32_MAX)
        return QUERN__VOCAB_ID_TAKEN;
    uint32_t at = (uint32_t)v->bytes.len;
    if (!quern__buf_append(&v->bytes, piece.ptr, piece.len) || !quern__buf_putc(&v->bytes, 0))
        return QUERN__VOCAB_NO_MEMORY;
    if (find && piece.len) { /* no word is empty */
        enum quern__vocab_added rc =
            enter(v, (uint32_t)id, (quern_str){v->bytes.data + at, piece.len});
        if (rc != QUERN__VOCAB_ADDED)
            return rc;
    }
    v->pieces[id] = (struct quern__piece){at, (uint32_t)piece.len};
    v->size = QUERN__MAX(v->size, (uint32_t)id + 1);
    return QUERN__VOCAB_ADDED;
}

const char *quern__vocab_why(enum quern__vocab_added what)
{
    switch (what) {
    case QUERN__VOCAB_ADDED:
        return "added";
    case QUERN__VOCAB_NO_MEMORY:
        return "no memory for it";
    case QUERN__VOCAB_BAD_ID:
        return "its id is out of range";
    case QUERN__VOCAB_ID_TAKEN:
        return "its id belongs to another piece";
    case QUERN__VOCAB_PIECE_TAKEN:
        return "it is there twice";
    case QUERN__VOCAB_BAD_PIECE:
        return "it is longer than 1024 bytes or holds a NUL";
    case QUERN__VOCAB_CROWDED:
        return "too many pieces share one hash";
    }
    return "unknown";
}
