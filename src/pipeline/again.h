/*
 * again.h — a document cut and embedded once more, exactly as a fill does it, so that stored bytes can be compared with
 * what they should be: for verify, and for import before it trusts.
 */
#ifndef QUERN_PIPELINE_AGAIN_H
#define QUERN_PIPELINE_AGAIN_H

#include "pipeline/sight.h"

typedef struct quern__again {
    quern_embedder *e;
    const quern__recipe *recipe;
    const quern__fill_settings *settings;
    const quern_document_builder *builder; /* where settings name one */
    const quern_cancel *cancel;
    size_t width; /* bytes of a vector */
    /* the last document's */
    quern__pieces pieces;
    unsigned char *vectors; /* [pieces.n, width] */
    quern__sight sight;
    /* its own */
    quern_str text;
    quern__arena held; /* of sight */
    char reason
        [QUERN__SIGHT_REASON]; /* "", or why nothing can be seen: then there is no chunk either */
    quern__buf built;
    quern__arena inputs;
    float *floats;
    quern_error *err;
} quern__again;

/* The first five members are set, all else is zero. */
int quern__again_init(quern__again *a, uint32_t dimensions, quern_error *err);
void quern__again_dispose(quern__again *a); /* also one that is all zero */
/* What the row names to be seen, while that is at hand: before quern__again_embed. */
int quern__again_look(quern__again *a, const quern__document_view *doc, quern_error *err);
/* text: what the template makes of the row, prepared; it must last for the call. */
int quern__again_embed(quern__again *a, quern_str key, quern_str text, quern_error *err);
/* Is this chunk what the i-th came out as now: its place, what was seen, and every bit of its vector (where the embedder does not
 * promise bits: as near as it repeats itself)? Overwrites floats. */
bool quern__again_same(const quern__again *a, size_t i, const quern_chunk *c);

#endif
