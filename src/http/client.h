/*
 * client.h — many small HTTP calls at once: what talks to providers. (http.h fetches one large file.)
 *
 * One thread runs libcurl's multi interface: connections are kept alive between calls, and over TLS several calls share
 * one where the server speaks HTTP/2. Callers block, each on its own call, any number at once. A call is over when the
 * whole answer is there, whatever its status: what a status means is known above. Bounded on every side: time to connect,
 * time in all, bytes of answer and headers. No redirect is followed: a body with somebody's texts and a key go to the
 * address that was configured and nowhere else; the target's host is told.
 */
#ifndef QUERN_HTTP_CLIENT_H
#define QUERN_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

typedef struct quern__http_client quern__http_client;

typedef struct quern__http_client_options {
    uint32_t connect_ms;  /* 0: 10 s */
    uint32_t connections; /* to one host at once, 0: 16; more calls wait for one */
    const char *proxy;    /* NULL: the environment's; "": none */
    const char *ca_file;  /* PEM; NULL: the system's */
} quern__http_client_options;

typedef struct quern__http_call {
    const char *url;            /* http:// or https://, as quern__http_split */
    const char *const *headers; /* "Name: value"; no control characters */
    size_t n_headers;
    quern_str body;      /* POST; ptr NULL: GET */
    uint32_t timeout_ms; /* from begin to end, 0: 30 s */
    size_t max_bytes;    /* of the answer; more is an error */
    const quern_cancel *cancel;
    /* out; dispose with quern__http_call_dispose whatever came of it */
    int status;         /* 0 when there was no answer */
    quern__buf answer;  /* the body; of a status other than 200 at most 64 KiB of it */
    int32_t retry_ms;   /* Retry-After and its kin, at most an hour; -1 absent */
    char moved_to[256]; /* host of a redirect, "" none */
} quern__http_call;

int quern__http_client_new(quern__http_client **out, const quern__http_client_options *opt,
                           quern_error *err);
void quern__http_client_free(quern__http_client *c); /* NULL is fine; no call may be running */

/* QUERN_OK: there is an answer, whatever its status. EREMOTE: the network, with err->retry_ms when another try may
 * do; or an answer over max_bytes. EINVAL: a URL or header that is none, or a key (authorization, api-key, x-api-key) that
 * would cross a network unencrypted. ECANCELLED within a tenth of a second. */
int quern__http_perform(quern__http_client *c, quern__http_call *call, quern_error *err);
void quern__http_call_dispose(quern__http_call *call);

/* One header line of an answer, for tests and fuzzing. now_s: Unix time that dates are held against. */
void quern__http_note(quern__http_call *call, const char *line, size_t n, int64_t now_s);

#endif
