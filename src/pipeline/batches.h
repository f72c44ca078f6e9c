/* batches.h — which texts go together in one call of the embedder. See batches.c. */
#ifndef QUERN_PIPELINE_BATCHES_H
#define QUERN_PIPELINE_BATCHES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct quern__batching {
    int how;         /* enum quern_batching */
    size_t texts;    /* of a call: with FIXED exactly, else at most */
    uint64_t tokens; /* of a call, about; FIXED: as many as there are */
} quern__batching;

/* texts: of FIXED. token_ns: what a token has taken so far, 0: not measured yet. Both limits are what memory allows. */
quern__batching quern__batching_of(int how, size_t texts, double token_ns, size_t most_texts,
                                   uint64_t most_tokens);
/* Where the call ends that begins at `at`: 1 … b->texts behind it. more: others come behind these n. */
size_t quern__batching_end(const quern__batching *b, const uint32_t *tokens, size_t n, size_t at,
                           bool more);

#endif
