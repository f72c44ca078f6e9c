/*
 * sight.h — what is to be seen with a document's text: its assets out of columns or from the program's builder, the rows that a
 * document with assets has, and their vectors. Fill makes them, verify and import compare them, all through here.
 *
 * The rows, in order: one fused of the first window of the text and all assets; one of each asset; then the other windows of the
 * text, each by itself. A document without assets has those of its text alone, as in any other source.
 */
#ifndef QUERN_PIPELINE_SIGHT_H
#define QUERN_PIPELINE_SIGHT_H

#include "pipeline/recipe.h"

enum { QUERN__SIGHT_REASON = 200 };

/* In an arena. */
typedef struct quern__sight {
    size_t n; /* assets that can be had; 0: it is a text as any other */
    quern_asset *assets;
    quern_str *labels; /* [1 + n] JSON: what the rows keep; the first is the fused one's */
    uint32_t cut, skipped;
    uint32_t *places; /* in the list, of each */
} quern__sight;

/* Out of the row's columns. A reason: why the document can never be embedded as it is ("" none). EFORMAT is none of these:
 * only for memory. */
int quern__sight_read(const quern__recipe *p, const quern__document_view *doc, quern__arena *arena,
                      quern__sight *out, char reason[QUERN__SIGHT_REASON], quern_error *err);
/* The same from a program's list. */
int quern__sight_take(const quern_asset *list, size_t n, uint32_t most, quern__arena *arena,
                      quern__sight *out, char reason[QUERN__SIGHT_REASON], quern_error *err);

/* The rows of a document with n assets (> 0), made of those of its text. */
int quern__sight_pieces(quern__pieces *pieces, size_t n, quern_error *err);
/* What row i keeps. sight NULL: it is of text. */
static inline quern_str quern__sight_label(const quern__sight *sight, size_t i)
{
    return sight && sight->n && i <= sight->n ? sight->labels[i] : (quern_str){NULL, 0};
}

/* The vectors of rows 0 to n, [1 + n, dimensions]. text: the input of row 0, may be empty. */
int quern__sight_embed(quern_embedder *e, quern_str text, const quern__sight *sight,
                       const quern_cancel *cancel, float *vectors, quern_asset_result *counted,
                       quern_error *err);
/* A fault that belongs to this document: then in words that name the asset. */
bool quern__sight_fault(const quern__sight *sight, int rc, const quern_error *err,
                        char reason[QUERN__SIGHT_REASON]);

#endif
