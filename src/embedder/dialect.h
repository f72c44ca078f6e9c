/*
 * dialect.h — how providers are asked and how they answer: bytes in, bytes out, no network. The reader of answers
 * takes what a stranger sends.
 */
#ifndef QUERN_EMBEDDER_DIALECT_H
#define QUERN_EMBEDDER_DIALECT_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "embedder/answered.h"
#include "quern/embedder.h"

enum quern__dialect {
    QUERN__DIALECT_OPENAI,
    QUERN__DIALECT_VOYAGE, /* OpenAI's, with input_type and output_dimension */
    QUERN__DIALECT_JINA,   /* OpenAI's, with task */
    QUERN__DIALECT_COHERE,
    QUERN__DIALECT_TEI,
    QUERN__DIALECT_OLLAMA,
    /* of models that can see, from here on */
    QUERN__DIALECT_VOYAGE_VISION,
    QUERN__DIALECT_JINA_VISION,
    QUERN__DIALECT_DASHSCOPE_VISION
};

enum { QUERN__LARGEST_DIMENSION = 65536 };

typedef struct quern__provider_question {
    int dialect;
    const char *model;
    const quern_str *texts; /* [n], UTF-8 */
    size_t n;
    uint32_t dimensions; /* 0: not asked for */
    bool query, base64, truncate;
    const quern_asset *assets; /* [n_assets] behind the texts, of a dialect that sees */
    size_t n_assets;
    bool together; /* one vector of them all, of a model that fuses */
} quern__provider_question;

static inline size_t quern__question_vectors(const quern__provider_question *q)
{
    return q->together ? 1 : q->n + q->n_assets;
}

/* Behind the base URL. */
const char *quern__dialect_path(int dialect);
int quern__dialect_ask(const quern__provider_question *q, quern__buf *body, quern_error *err);

/* dialect_vision.c. Which kinds of assets it takes, whether a model makes one vector of several parts; all members but
 * the model's name. */
static inline bool quern__dialect_sees(int dialect)
{
    return dialect >= QUERN__DIALECT_VOYAGE_VISION;
}
bool quern__dialect_takes(int dialect, int kind);
bool quern__dialect_fuses(int dialect, const char *model);
void quern__dialect_ask_vision(const quern__provider_question *q, quern__jsonw *w);
/* The dimension asked for under this key; none: nothing. */
void quern__dialect_put_dimensions(quern__jsonw *w, const char *key,
                                   const quern__provider_question *q);

/*
 * The vectors of an answer into out [n, *dim], each once. *dim 0: that of the first one, which out has room for
 * (QUERN__LARGEST_DIMENSION floats, n = 1). *tokens: what the provider counted, 0 when it does not say; said: the
 * model that it names, "" none. EREMOTE: anything
 * else than n finite vectors of that dimension: missing, twice, too short (a quarter of the length is named for what
 * it is), an error in an answer of status 200. Vectors are as they came: not scaled.
 */
int quern__dialect_answer(quern_str body, size_t n, uint32_t *dim, float *out, uint64_t *tokens,
                          char said[QUERN__ANSWERED], quern_error *err);

/* What an error page says, in one printable line without control characters, cut to size: the member that holds the
 * message where it is JSON, else its begin. *final: it names a fault that no second try mends (a spent quota). */
void quern__dialect_fault(quern_str body, char *out, size_t size, bool *final);

#endif
