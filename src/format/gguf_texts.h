/*
 * gguf_texts.h — what a GGUF file says besides its weights, as the files that other formats have beside them: config.json and
 * tokenizer.json. So a file that stands alone goes through the same readers as a folder, and is held to the same rules.
 */
#ifndef QUERN_FORMAT_GGUF_TEXTS_H
#define QUERN_FORMAT_GGUF_TEXTS_H

#include "base/buf.h"
#include "format/weights.h"

typedef struct quern__gguf_texts {
    quern__buf config, tokenizer;
    int pooling; /* of enum quern__pooling */
} quern__gguf_texts;

/* `w` holds one GGUF file of a BERT. EUNSUPPORTED, EFORMAT: the key that is missing, unknown or of another value. */
int quern__gguf_texts_read(quern__gguf_texts *out, const quern__weights *w, quern_error *err);
void quern__gguf_texts_dispose(quern__gguf_texts *t);

#endif
