/*
 * vocab.h — pieces of text and their ids: filled once while a model opens, then only read.
 * A piece is found by a hash that can be taken of any stretch of a word in constant time (the
 * difference of two prefix hashes), which is what makes longest-match cheap.
 */
#ifndef QUERN_TOKENIZER_VOCAB_H
#define QUERN_TOKENIZER_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

enum {
    QUERN__VOCAB_MAX_IDS = 1 << 21, /* the largest published vocabularies have a million */
    QUERN__VOCAB_MAX_PIECE = 1024,  /* bytes of one piece */
    QUERN__VOCAB_MAX_PROBES = 256,  /* at half load chance gives some 60 among a million pieces */
};

typedef struct quern__vocab {
    quern__buf bytes; /* every piece, a NUL after each */
    struct quern__piece {
        uint32_t at, len; /* at = UINT32_MAX: no such id */
    } * pieces;           /* [size], by id */
    uint32_t size, cap;   /* highest id + 1 */
    uint32_t count;       /* pieces that can be found */
    uint32_t longest;     /* bytes of the longest of them */
    struct quern__slot {
        uint32_t tag, id1; /* id1 = 0: free */
    } * slots;             /* open addressing, at most half full */
    uint32_t mask;
    uint64_t powers[QUERN__VOCAB_MAX_PIECE + 1]; /* of the hash's base */
} quern__vocab;

void quern__vocab_init(quern__vocab *v);
void quern__vocab_dispose(quern__vocab *v);
/* Makes room for about n pieces. */
int quern__vocab_reserve(quern__vocab *v, uint32_t n, quern_error *err);

/* What became of a piece; the caller knows the file and the byte. */
enum quern__vocab_added {
    QUERN__VOCAB_ADDED,
    QUERN__VOCAB_NO_MEMORY,
    QUERN__VOCAB_BAD_ID, /* at or above QUERN__VOCAB_MAX_IDS */
    QUERN__VOCAB_ID_TAKEN,
    QUERN__VOCAB_PIECE_TAKEN,
    QUERN__VOCAB_BAD_PIECE, /* too long, or a NUL in it */
    QUERN__VOCAB_CROWDED,   /* too many pieces with one hash */
};
/* find = false: the id gets its text but no word is ever matched to it. */
enum quern__vocab_added quern__vocab_add(quern__vocab *v, uint64_t id, quern_str piece, bool find);
const char *quern__vocab_why(enum quern__vocab_added what);

/* The id, or -1. */
int32_t quern__vocab_find(const quern__vocab *v, quern_str piece);

/* ---- hashing a word as it grows ---- */
#define QUERN__VOCAB_BASE UINT64_C(0x9E3779B97F4A7C15)
static inline uint64_t quern__vocab_step(uint64_t hash, uint8_t byte)
{
    return hash * QUERN__VOCAB_BASE + byte + 1;
}
/* What the table is searched by: its low bits are the slot. */
static inline uint32_t quern__vocab_tag(uint64_t hash)
{
    return (uint32_t)((hash ^ hash >> 29) * UINT64_C(0xBF58476D1CE4E5B9) >> 32);
}
/* The hash of the len bytes after a prefix of hash `from`, when all together hash to `to`. */
static inline uint64_t quern__vocab_part(const quern__vocab *v, uint64_t from, uint64_t to,
                                         uint32_t len)
{
    return to - from * v->powers[len];
}
/* The id of head + tail (len bytes in all <= longest) whose hash is known, or -1. */
int32_t quern__vocab_match(const quern__vocab *v, uint64_t hash, quern_str head, const char *tail,
                           uint32_t tail_len);

#endif
