/*
 * error_body.h — what a provider said beside a status that is an error, in a form that may be shown.
 */
#ifndef QUERN_EMBEDDER_ERROR_BODY_H
#define QUERN_EMBEDDER_ERROR_BODY_H

#include "quern/status.h"

enum { QUERN__ERROR_BODY = 4096 };

/* The first of it: at most QUERN__ERROR_BODY bytes and a NUL into out, valid UTF-8 that ends on a character's edge; control
 * characters and ends of lines as \u and four digits, a byte that is no UTF-8 as U+FFFD. Returns the bytes without the NUL. */
size_t quern__error_body(quern_str page, char out[QUERN__ERROR_BODY + 1]);

#endif
