/*
 * http.h — one GET over libcurl, streamed to callbacks: what the rest of quern needs of a network.
 *
 * Bounded on every side: connect time, time without a byte, body size, header sizes, five redirects.
 * A redirect never leaves https for http, and the bearer token goes to the host of the URL alone (tested
 * against a server that redirects to another). Nothing of a response is trusted but its bytes' count.
 * Blocking; any number of threads, one call each. Trying again is the caller's business: only he
 * knows what a second try costs.
 */
#ifndef QUERN_HTTP_HTTP_H
#define QUERN_HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct quern__http_response {
    int status;     /* 200; 0 when no response came */
    char etag[200]; /* with its quotes; "" absent */
    bool has_length, has_range;
    uint64_t length;                   /* Content-Length of this body */
    uint64_t range_first, range_total; /* Content-Range of a 206; total 0 when it said '*' */
    uint32_t retry_after_s;            /* 0 absent */
    bool transient;                    /* after a failure: the same request may work later */
} quern__http_response;

typedef struct quern__http_request {
    const char *url;      /* http:// or https:// */
    const char *bearer;   /* NULL: no Authorization header */
    uint64_t from;        /* > 0: Range: bytes=from- */
    const char *if_range; /* a strong ETag, with from; NULL: none */
    uint32_t connect_ms;  /* 0: 10 s */
    uint32_t stall_ms;    /* longest time without a byte, 0: 300 s */
    uint64_t max_bytes;   /* of the body; more is an error */
    /* Once, before the body and only for status 200 or 206; non-zero ends the call with that code. */
    int (*head)(void *ud, const quern__http_response *r, quern_error *err);
    int (*body)(void *ud, const void *data, size_t n, quern_error *err);
    void *ud;
    const quern_cancel *cancel;
} quern__http_request;

/* QUERN_OK: a whole response of 200 or 206. EREMOTE: any other status (detail), or the network (detail
 * 0; r->transient says whether to try again). EINVAL: a URL of another scheme, or a token with control
 * characters in it, or one that would cross a network unencrypted. ECANCELLED within a second. */
int quern__http_get(const quern__http_request *q, quern__http_response *r, quern_error *err);

/* Whether the same call has a chance a moment later, of a CURLcode. */
bool quern__http_may_pass(int code);

/* Header lines, for tests: false when the line is none of those that are read. */
bool quern__http_header(quern__http_response *r, const char *line, size_t n);
/* "https" or "http", the host (lower case) and whether it is this machine; false: not such a URL. */
bool quern__http_split(const char *url, bool *https, char *host, size_t size, bool *loopback);

#endif
