/*
 * gguf_reader.h — the head of a GGUF file and its key-values, for the two that read them: gguf.c takes the weights,
 * gguf_texts.c settings and vocabulary. Every length is held against the file before it is believed.
 */
#ifndef QUERN_FORMAT_GGUF_READER_H
#define QUERN_FORMAT_GGUF_READER_H

#include "format/weights_build.h"

enum quern__gguf_type {
    QUERN__GGUF_U8 = 0,
    QUERN__GGUF_I8 = 1,
    QUERN__GGUF_U32 = 4,
    QUERN__GGUF_I32 = 5,
    QUERN__GGUF_F32 = 6,
    QUERN__GGUF_BOOL = 7,
    QUERN__GGUF_STRING = 8,
    QUERN__GGUF_ARRAY = 9,
    QUERN__GGUF_TYPES = 13
};

typedef struct quern__gguf_reader {
    const quern__weights_part *p;
    size_t at;
    quern_error *err;
} quern__gguf_reader;

/* EFORMAT: what, at byte `at`. */
int quern__gguf_fail(const quern__gguf_reader *r, size_t at, const char *what);
/* Magic and version; the first key-value is next. */
int quern__gguf_begin(quern__gguf_reader *r, uint64_t *tensors, uint64_t *pairs);
/* A number of 1 to 8 bytes, as its bits. */
int quern__gguf_number(quern__gguf_reader *r, size_t width, uint64_t *out);
int quern__gguf_text(quern__gguf_reader *r, quern_str *out);
/* What an array holds; its first element is next, and `n` of them fit into the file. */
int quern__gguf_array(quern__gguf_reader *r, uint64_t *type, uint64_t *n);
/* A whole value of the type. */
int quern__gguf_skip(quern__gguf_reader *r, uint64_t type);

#endif
