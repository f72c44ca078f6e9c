/*
 * quern/chunk.h — the pieces of a text that are embedded, cut as quern_fill cuts documents: windows of the model's
 * tokens with an overlap, each a slice of the text's own bytes. An embedder without a tokenizer at hand
 * (one that asks a service) has its windows counted in characters instead, four for each token.
 */
#ifndef QUERN_CHUNK_H
#define QUERN_CHUNK_H

#include "quern/embedder.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quern_chunk_options {
    size_t struct_size;
    uint32_t max_chunks; /* 0: 64; at most 1024 */
    uint32_t overlap;    /* tokens (characters) that neighbours share, 0: 32 (128) */
    const char *prepare; /* steps that clean the text first, as in quern_source_spec; NULL none */
    int headings; /* 1: Markdown headings above a chunk are its context, and take of its room */
} quern_chunk_options;

typedef struct quern_text_chunk {
    uint64_t start, end;           /* bytes of the text, as the steps of `prepare` leave it */
    uint64_t char_start, char_end; /* its code points */
    uint32_t tokens; /* what the model reads, special ones included; 0: no tokenizer at hand */
    quern_str
        text; /* the slice: points into the caller's text, or into *out's own when there were steps */
    uint32_t page; /* from 1, counted by form feeds; 0: the text has none */
    quern_str
        heading; /* "Guide > Install": goes in front of the text when it is embedded; *out's; else empty */
} quern_text_chunk;

typedef struct quern_text_chunks quern_text_chunks;

/* Cuts one text. opt may be NULL. *out is the caller's (quern_text_chunks_free), also when it holds no chunk: a
 * blank text has none. NULL on failure. Without steps to prepare it the text is not copied and must outlive *out. A window is the model's length
 * less its prompt for documents, at most 256 tokens; a shorter one is had by opening the model with a max_length.
 * EINVAL: an option out of range, an unknown step, or a prompt that leaves no room; EFORMAT: the text is not UTF-8 (byte in
 * err->detail); ETOOLONG: it cannot be cut to fit. Any thread. */
QUERN_API int quern_chunk_text(quern_text_chunks **out, quern_embedder *e, quern_str text,
                               const quern_chunk_options *opt, quern_error *err);
QUERN_API size_t quern_text_chunks_count(const quern_text_chunks *c);
/* NULL past the end; lives as long as c. */
QUERN_API const quern_text_chunk *quern_text_chunks_at(const quern_text_chunks *c, size_t i);
/* Bytes of text beyond the last chunk when max_chunks was reached, else 0: then nothing is left out but blanks. */
QUERN_API uint64_t quern_text_chunks_dropped(const quern_text_chunks *c);
QUERN_API void quern_text_chunks_free(quern_text_chunks *c); /* NULL: nothing */

#ifdef __cplusplus
}
#endif
#endif
