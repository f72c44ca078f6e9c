/*
 * window.h — a sliding window: never more than so many requests and tokens in any 60 seconds. Time is the caller's, so that
 * tests have a clock of their own; no locking, no waiting.
 */
#ifndef QUERN_EMBEDDER_WINDOW_H
#define QUERN_EMBEDDER_WINDOW_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct quern__window {
    uint64_t requests, tokens; /* limits, 0: none */
    struct quern__grant {
        uint64_t at_ns, tokens;
    } * grants; /* ring of those of the last minute, oldest at `first` */
    size_t first, n, room;
    uint64_t sum;    /* of their tokens */
    uint64_t number; /* of grants ever made */
} quern__window;

int quern__window_init(quern__window *w, uint64_t requests, uint64_t tokens, quern_error *err);
void quern__window_dispose(quern__window *w);
/* 0: granted, as number w->number - 1. Else nanoseconds until it may be asked again. */
uint64_t quern__window_ask(quern__window *w, uint64_t now_ns, uint64_t tokens);
/* Grant `number` took so many tokens in truth. */
void quern__window_correct(quern__window *w, uint64_t number, uint64_t tokens);

#endif
