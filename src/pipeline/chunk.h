/*
 * chunk.h — cuts one document into the pieces that are embedded: windows of tokens with an overlap, each
 * a slice of the document's own bytes that the model reads whole.
 */
#ifndef QUERN_PIPELINE_CHUNK_H
#define QUERN_PIPELINE_CHUNK_H

#include "quern/embedder.h"

enum {
    QUERN__CHUNK_TOKENS = 256, /* at most, special tokens included, whatever more the model reads */
    QUERN__CHUNK_OVERLAP = 32,
    QUERN__CHUNK_MAX = 64,
    QUERN__CHUNK_LIMIT = 1024 /* the largest cap: one document is saved in one short transaction */
};

/* What decides where the cuts are; part of the fingerprint. */
typedef struct quern__chunking {
    uint32_t max_tokens; /* special tokens included */
    uint32_t overlap;    /* tokens that two neighbours share */
    uint32_t max_chunks;
} quern__chunking;

typedef struct quern__piece {
    uint64_t start, end;           /* bytes of the document */
    uint64_t char_start, char_end; /* its code points */
    uint32_t tokens;               /* special ones included; 0: unknown (no tokenizer at hand) */
} quern__piece;

typedef struct quern__pieces {
    quern__piece *items;
    size_t n, cap;
    uint64_t dropped_bytes; /* of text beyond the last piece, when the cap was reached */
} quern__pieces;

void quern__pieces_dispose(quern__pieces *p);

/* Replaces what is in `out`. No piece at all for a text without tokens. The text must be UTF-8. ETOOLONG when
 * it cannot be cut to fit. */
int quern__chunk_text(quern_embedder *e, quern_str text, const quern__chunking *how,
                      quern__pieces *out, quern_error *err);

#endif
