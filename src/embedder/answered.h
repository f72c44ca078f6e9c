/*
 * answered.h — which model a provider says its answers are by. Many answer for any name with the model that they have, and
 * gateways turn to another model when the first is busy: vectors that nothing else tells apart, and that must not be compared. What
 * the first answer says is held to from then on. That it is another word than what was asked for is common
 * ("text-embedding-ada-002-v2", the model behind a deployment's name) and is only told, once, as a warning.
 */
#ifndef QUERN_EMBEDDER_ANSWERED_H
#define QUERN_EMBEDDER_ANSWERED_H

#include "base/error.h"
#include "base/os.h"

enum { QUERN__ANSWERED = 128 /* bytes of a model's name in an answer; a longer one is cut */ };

typedef struct quern__answered {
    quern__mutex *lock;
    char model[QUERN__ANSWERED]; /* "" until an answer has said one */
} quern__answered;

int quern__answered_init(quern__answered *a, quern_error *err);
void quern__answered_dispose(quern__answered *a); /* zeroes are fine */
/* Any thread. said "": the answer did not say. EREMOTE: not what the first one said. who: the embedder's name. */
int quern__answered_check(quern__answered *a, const char *who, const char *asked, const char *said,
                          quern_error *err);

#endif
