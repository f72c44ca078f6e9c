/*
 * batches.c — which texts go together in one call of the embedder. No vector depends on it: a call is cut for time, memory and
 * what a fault or a cancellation costs, which both wait for the call to end.
 *
 *   fixed     so many texts, however long
 *   dynamic   texts up to a budget of tokens: calls of about the same work
 *   adaptive  the budget follows what a token has taken so far, so that a call lasts about CALL_NS: small ones for a slow
 *             model, which can be stopped soon, large ones for a quick one
 *
 * What is left behind a call and is less than a quarter of one goes with it, where there is room: a call of three texts
 * costs a service as much waiting as one of a hundred.
 */
#include "pipeline/batches.h"

#include "base/compiler.h"
#include "quern/pipeline.h"

enum { FEWEST_TOKENS = 512, USUAL_TEXTS = 32 };
static const double CALL_NS = 500e6;

quern__batching quern__batching_of(int how, size_t texts, double token_ns, size_t most_texts,
                                   uint64_t most_tokens)
{
    quern__batching b = {how, most_texts, most_tokens};
    if (how == QUERN_BATCHING_FIXED) {
        b.texts = QUERN__MIN(texts ? texts : (size_t)USUAL_TEXTS, most_texts);
        b.tokens = UINT64_MAX;
    } else if (how == QUERN_BATCHING_ADAPTIVE && token_ns > 0) {
        double fit = CALL_NS / token_ns;
        if (fit < (double)most_tokens)
            b.tokens = QUERN__MAX((uint64_t)fit, (uint64_t)FEWEST_TOKENS);
        b.tokens = QUERN__MIN(b.tokens, most_tokens);
    }
    return b;
}

size_t quern__batching_end(const quern__batching *b, const uint32_t *tokens, size_t n, size_t at,
                           bool more)
{
    size_t end = at;
    uint64_t sum = 0, rest = 0;
    while (end < n && end - at < b->texts && (end == at || sum < b->tokens))
        sum += tokens[end++];
    if (more || b->how == QUERN_BATCHING_FIXED || n - at > b->texts)
        return end;
    for (size_t i = end; i < n; i++)
        rest += tokens[i];
    return rest < b->tokens / 4 ? n : end;
}
