/*
 * shared.h — limits that processes on any number of machines keep together, in a place that all of them reach (Redis or
 * PostgreSQL). The place decides in one step, by its own clock; here is what happens while it cannot be reached. Time is the
 * caller's, as in window.h.
 */
#ifndef QUERN_EMBEDDER_SHARED_H
#define QUERN_EMBEDDER_SHARED_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { QUERN__PERMIT_ID = 40, QUERN__SHARED_NAME = 200, QUERN__SHARED_MOST = 65536 };

/* What is shared: the same for all who name the same place, name and length. */
typedef struct quern__share {
    const char *name;          /* at most QUERN__SHARED_NAME bytes */
    uint64_t requests, tokens; /* in any window; 0: no limit */
    uint64_t window_us;
    uint64_t late_us; /* a call reaches the provider at the latest so long after its permit */
    char me[17];      /* this process, hex digits */
} quern__share;

/* A permit that the place does not know of. */
typedef struct quern__untold {
    char id[QUERN__PERMIT_ID];
    uint64_t age_us, tokens;
} quern__untold;

typedef struct quern__place_answer {
    uint64_t wait_us;   /* 0: granted */
    uint64_t epoch;     /* another one: what the place knew has been lost */
    uint32_t processes; /* that have asked of late, this one included */
} quern__place_answer;

/* One place. Each call takes a bounded time. take of another epoch than the place's (0: none is known) grants nothing. */
typedef struct quern__place {
    void *self;
    int (*take)(void *self, const char *id, uint64_t tokens, uint64_t epoch,
                quern__place_answer *out, quern_error *err);
    int (*tell)(void *self, const quern__untold *list, size_t n, quern__place_answer *out,
                quern_error *err);
    /* The call has been answered; tokens 0: as guessed. */
    int (*settle)(void *self, const char *id, uint64_t tokens, quern_error *err);
    void (*close)(void *self);
} quern__place;

/* share, but not its name, is copied. */
int quern__place_redis(quern__place *out, const char *url, const quern__share *share,
                       quern_error *err);
int quern__place_postgres(quern__place *out, const char *url, const quern__share *share,
                          quern_error *err);
/* By the URL's scheme; EUNSUPPORTED: built without. */
int quern__place_open(quern__place *out, const char *url, const quern__share *share,
                      quern_error *err);

typedef struct quern__permit {
    char id[QUERN__PERMIT_ID]; /* "": of this process's own part */
    uint64_t number;
} quern__permit;

typedef struct quern__shared quern__shared;
/* Takes the place, on failure too. It has to be there now. */
int quern__shared_new(quern__shared **out, const quern__place *place, const quern__share *share,
                      quern_error *err);
void quern__shared_free(quern__shared *s); /* NULL is fine */
/* *wait_ns 0: granted. One thread at a time; settle from any. */
int quern__shared_ask(quern__shared *s, uint64_t now_ns, uint64_t tokens, quern__permit *out,
                      uint64_t *wait_ns, quern_error *err);
void quern__shared_settle(quern__shared *s, const quern__permit *permit, uint64_t tokens);

#endif
