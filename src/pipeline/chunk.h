/*
 * chunk.h — cuts one document into the pieces that are embedded: windows of tokens with an overlap, each
 * a slice of the document's own bytes that the model reads whole. Where the embedder has no tokenizer at hand,
 * windows of characters.
 */
#ifndef QUERN_PIPELINE_CHUNK_H
#define QUERN_PIPELINE_CHUNK_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "quern/chunk.h"

enum {
    QUERN__CHUNK_TOKENS = 256, /* at most, special tokens included, whatever more the model reads */
    QUERN__CHUNK_OVERLAP = 32,
    QUERN__CHUNK_CHARACTERS = 4, /* stand for a token where there is no tokenizer */
    QUERN__CHUNK_MAX = 64,
    QUERN__CHUNK_LIMIT = 1024 /* the largest cap: one document is saved in one short transaction */
};

/* What decides where the cuts are; part of the fingerprint. */
typedef struct quern__chunking {
    uint32_t max_tokens; /* special tokens included */
    uint32_t overlap;    /* tokens that two neighbours share */
    uint32_t max_chunks;
    bool characters; /* these "tokens" are code points */
    bool headings;   /* each piece is embedded with the Markdown headings above it */
} quern__chunking;

typedef struct quern__piece {
    uint64_t start, end;           /* bytes of the document */
    uint64_t char_start, char_end; /* its code points */
    uint32_t tokens;               /* special ones included; 0: unknown (no tokenizer at hand) */
    uint32_t page;                 /* from 1, parted by form feeds; 0: the text has none */
    uint32_t heading, heading_len; /* its place in quern__pieces.headings */
} quern__piece;

typedef struct quern__pieces {
    quern__piece *items;
    size_t n, cap;
    uint64_t dropped_bytes; /* of text beyond the last piece, when the cap was reached */
    quern__buf headings;
} quern__pieces;

void quern__pieces_dispose(quern__pieces *p);
/* heading: the path above it, "" none. */
int quern__pieces_push(quern__pieces *p, quern__piece item, quern_str heading, quern_error *err);
quern_str quern__piece_heading(const quern__pieces *p, const quern__piece *piece);
/* What is embedded for a piece of `text`: its slice, or heading and slice, put together in the arena. */
int quern__piece_input(const quern__pieces *p, const quern__piece *piece, quern_str text,
                       quern__arena *arena, quern_str *out, quern_error *err);

/* The settings that follow from an embedder and the two numbers that a user may give (0: the default). One place,
 * for fill and for quern_chunk_text. EINVAL names what is out of range. */
int quern__chunking_settle(quern__chunking *how, quern_embedder *e, uint32_t max_chunks,
                           uint32_t overlap, quern_error *err);

/* Replaces what is in `out`. No piece at all for a text without tokens. The text must be UTF-8. ETOOLONG when
 * it cannot be cut to fit. EUNSUPPORTED: no tokenizer, and how->characters is not set. */
int quern__chunk_text(quern_embedder *e, quern_str text, const quern__chunking *how,
                      quern__pieces *out, quern_error *err);
/* chunk_characters.c: the same by code points, for how->characters; `out` is empty. */
int quern__chunk_characters(quern_str text, const quern__chunking *how, quern__pieces *out,
                            quern_error *err);

/* The strength of a place to cut at. */
enum quern__break {
    QUERN__BREAK_NONE,
    QUERN__BREAK_WORD,
    QUERN__BREAK_SENTENCE,
    QUERN__BREAK_PARAGRAPH
};
/* Bytes of the mark at the end of this slice that ends a sentence, 0 if it has none: . ? ! and those of Chinese,
 * Japanese, Hindi, Arabic, Urdu, which are longer than one byte and need no blank behind them. */
size_t quern__sentence_mark(quern_str s);

#endif
