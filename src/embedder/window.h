/*
 * window.h — a sliding window: never more than so many requests and tokens in any 60 seconds. Time is the caller's, so that
 * tests have a clock of their own; no locking, no waiting.
 */
#ifndef QUERN_EMBEDDER_WINDOW_H
#define QUERN_EMBEDDER_WINDOW_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define QUERN__MINUTE_NS (UINT64_C(60) * 1000 * 1000 * 1000)

typedef struct quern__grant {
    uint64_t at_ns, tokens;
} quern__grant;

typedef struct quern__window {
    uint64_t requests, tokens; /* limits, 0: none */
    uint64_t length_ns;
    quern__grant *grants; /* ring of those within the length, oldest at `first` */
    size_t first, n, room;
    uint64_t sum;    /* of their tokens */
    uint64_t number; /* of grants ever made */
} quern__window;

int quern__window_init(quern__window *w, uint64_t requests, uint64_t tokens, uint64_t length_ns,
                       quern_error *err);
void quern__window_dispose(quern__window *w);
/* 0: granted, as number w->number - 1. Else nanoseconds until it may be asked again. */
uint64_t quern__window_ask(quern__window *w, uint64_t now_ns, uint64_t tokens);
/* What somebody else has granted; the oldest goes where there is no room. */
void quern__window_note(quern__window *w, uint64_t now_ns, uint64_t tokens);
/* Grant `number` took so many tokens in truth. */
void quern__window_correct(quern__window *w, uint64_t number, uint64_t tokens);
/* NULL: it has left the window, or never was. */
const quern__grant *quern__window_grant(const quern__window *w, uint64_t number);

#endif
