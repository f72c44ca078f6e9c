/*
 * http.c — the libcurl calls. Why these settings: identity encoding, because ranges and hashes are over
 * the file's own bytes; NOSIGNAL, because a library must not touch signals; time without progress is
 * measured here, since libcurl's low-speed test counts whole seconds of an average. libcurl allocates
 * with its own malloc: its hook is process-wide and must be set before anybody else uses libcurl, which
 * a library cannot promise.
 */
#include "http/http.h"

#include <curl/curl.h>
#include <stdio.h>

#include "base/cancel.h"
#include "base/compiler.h"
#include "base/os.h"

enum {
    DEFAULT_CONNECT_MS = 10000,
    DEFAULT_STALL_MS = 300000,
    MAX_REDIRECTS = 5,
    MAX_TOKEN = 1024,
    MAX_ERROR_PAGE = 65536
};

typedef struct exchange {
    const quern__http_request *q;
    quern__http_response *r;
    quern_error *err;
    CURL *curl;
    uint64_t received, last_bytes, last_ns;
    int rc;       /* what a callback ended the transfer with */
    bool started; /* head was called */
    bool stalled;
} exchange;

/* ---- headers ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The value of "Name: value" when the line has that name. */
static bool header_value(const char *line, size_t n, const char *name, quern_str *out)
{
    size_t k = strlen(name);
    if (n <= k || line[k] != ':')
        return false;
    for (size_t i = 0; i < k; i++) {
        char c = line[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (c != name[i])
            return false;
    }
    size_t from = k + 1, to = n;
    while (from < to && is_blank(line[from]))
        from++;
    while (to > from && is_blank(line[to - 1]))
        to--;
    out->ptr = line + from;
    out->len = to - from;
    return true;
}

/* Decimal digits from *at on; false when there are none or they overflow. */
static bool read_u64(quern_str s, size_t *at, uint64_t *out)
{
    uint64_t v = 0;
    size_t i = *at;
    for (; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9'; i++) {
        uint64_t digit = (uint64_t)(s.ptr[i] - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    if (i == *at)
        return false;
    *at = i;
    *out = v;
    return true;
}

/* "bytes 100-199/200" or "bytes 100-199/ *" */
static void read_range(quern__http_response *r, quern_str v)
{
    uint64_t first, last, total = 0;
    size_t at = 6;
    if (v.len < 7 || memcmp(v.ptr, "bytes ", 6) != 0)
        return;
    if (!read_u64(v, &at, &first) || at >= v.len || v.ptr[at++] != '-')
        return;
    if (!read_u64(v, &at, &last) || at >= v.len || v.ptr[at++] != '/')
        return;
    if (at < v.len && v.ptr[at] == '*')
        at++;
    else if (!read_u64(v, &at, &total) || total <= last)
        return;
    if (at != v.len || last < first)
        return;
    r->has_range = true;
    r->range_first = first;
    r->range_total = total;
}

bool quern__http_header(quern__http_response *r, const char *line, size_t n)
{
    quern_str v;
    size_t at = 0;
    uint64_t number;
    if (n >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        /* A new response begins (after 100 Continue or a redirect): what the last one said is void. */
        memset(r, 0, sizeof *r);
        return true;
    }
    if (header_value(line, n, "etag", &v)) {
        if (v.len < sizeof r->etag && !memchr(v.ptr, 0, v.len)) {
            memcpy(r->etag, v.ptr, v.len);
            r->etag[v.len] = 0;
        }
    } else if (header_value(line, n, "content-length", &v)) {
        if (read_u64(v, &at, &number) && at == v.len) {
            r->has_length = true;
            r->length = number;
        }
    } else if (header_value(line, n, "content-range", &v)) {
        read_range(r, v);
    } else if (header_value(line, n, "retry-after", &v)) {
        if (read_u64(v, &at, &number) && at == v.len)
            r->retry_after_s = number > 3600 ? 3600 : (uint32_t)number;
    } else {
        return false;
    }
    return true;
}

/* ---- URLs ---- */

bool quern__http_split(const char *url, bool *https, char *host, size_t size, bool *loopback)
{
    const char *at;
    size_t n = 0;
    if (strncmp(url, "https://", 8) == 0) {
        *https = true;
        at = url + 8;
    } else if (strncmp(url, "http://", 7) == 0) {
        *https = false;
        at = url + 7;
    } else {
        return false;
    }
    for (const char *p = url; *p; p++)
        if ((unsigned char)*p <= ' ' || (unsigned char)*p == 0x7f)
            return false;
    if (*at == '[') { /* an IPv6 address */
        while (at[n] && at[n] != ']')
            n++;
        if (at[n++] != ']')
            return false;
    } else {
        n = strcspn(at, ":/?#");
    }
    /* No user:password@ in front of the host: it would end in logs and error messages. */
    size_t authority = strcspn(at, "/?#");
    if (n == 0 || n >= size || memchr(at, '@', authority))
        return false;
    for (size_t i = 0; i < n; i++)
        host[i] = (char)(at[i] >= 'A' && at[i] <= 'Z' ? at[i] - 'A' + 'a' : at[i]);
    host[n] = 0;
    *loopback = strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
                (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == n);
    return true;
}

static int check_request(const quern__http_request *q, char *host, size_t size, quern_error *err)
{
    bool https, loopback;
    if (!quern__http_split(q->url, &https, host, size, &loopback))
        return quern__fail(err, QUERN_EINVAL, 0,
                           "'%.200s' is not a URL that quern fetches: http:// or https://, a host, "
                           "no user name",
                           q->url);
    if (!q->bearer)
        return QUERN_OK;
    size_t n = strlen(q->bearer);
    for (size_t i = 0; i < n; i++)
        if (q->bearer[i] <= ' ' || q->bearer[i] > '~')
            return quern__fail(err, QUERN_EINVAL, 0,
                               "the access token holds a character that no "
                               "token has (blank, newline or not ASCII)");
    if (n == 0 || n > MAX_TOKEN)
        return quern__fail(err, QUERN_EINVAL, 0, "the access token has %zu characters (1 to %d)", n,
                           MAX_TOKEN);
    if (!https && !loopback)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "%s: an access token is not sent over plain http; "
                           "use https or unset the token",
                           host);
    return QUERN_OK;
}

/* ---- libcurl's callbacks ---- */

static size_t on_header(char *data, size_t size, size_t n, void *ud)
{
    exchange *x = ud;
    (void)size; /* always 1 */
    quern__http_header(x->r, data, n);
    return n;
}

static int status_error(const exchange *x)
{
    int status = x->r->status;
    x->r->transient = status == 408 || status == 429 || (status >= 500 && status != 501);
    return quern__fail(x->err, QUERN_EREMOTE, status, "the server answers %d for %.300s", status,
                       x->q->url);
}

static int start_body(exchange *x)
{
    long status = 0;
    curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
    x->r->status = (int)status;
    x->started = true;
    if ((status == 200 || status == 206) && x->q->head)
        return x->q->head(x->q->ud, x->r, x->err);
    return QUERN_OK;
}

static size_t on_body(char *data, size_t size, size_t n, void *ud)
{
    exchange *x = ud;
    (void)size;
    if (!x->started && (x->rc = start_body(x)) != QUERN_OK)
        return 0;
    if (x->r->status != 200 && x->r->status != 206) {
        x->received += n; /* an error page: its status is the message, its text is not read */
        if (x->received > MAX_ERROR_PAGE)
            x->rc = status_error(x);
        return x->rc ? 0 : n;
    }
    if (n > x->q->max_bytes - x->received) {
        x->rc = quern__fail(x->err, QUERN_EREMOTE, 0,
                            "%.200s: the server sends more than the %llu "
                            "bytes expected",
                            x->q->url, (unsigned long long)x->q->max_bytes);
        return 0;
    }
    x->received += n;
    x->rc = x->q->body(x->q->ud, data, n, x->err);
    return x->rc ? 0 : n;
}

/* Called by libcurl many times a second while bytes flow, about once a second while none do. */
static int on_progress(void *ud, curl_off_t total, curl_off_t now, curl_off_t up_total,
                       curl_off_t up_now)
{
    exchange *x = ud;
    uint64_t t = quern__now_ns();
    uint64_t stall = x->q->stall_ms ? x->q->stall_ms : DEFAULT_STALL_MS;
    (void)total;
    (void)up_total;
    (void)up_now;
    if (x->rc ==
        QUERN_OK) /* libcurl calls this once more after a callback has ended the transfer */
        x->rc = quern__check_cancel(x->q->cancel, x->err);
    if (x->rc)
        return 1;
    if ((uint64_t)now != x->last_bytes) {
        x->last_bytes = (uint64_t)now;
        x->last_ns = t;
    }
    x->stalled = t - x->last_ns > stall * 1000000u;
    return x->stalled;
}

/* ---- the call ---- */

static CURLcode set_safety(CURL *c, const quern__http_request *q)
{
    bool https = q->url[4] == 's';
    uint32_t stall = q->stall_ms ? q->stall_ms : DEFAULT_STALL_MS;
    uint32_t connect = q->connect_ms ? q->connect_ms : DEFAULT_CONNECT_MS;
    CURLcode rc = CURLE_OK;
#define SET(option, value)                                                                         \
    do {                                                                                           \
        if (rc == CURLE_OK)                                                                        \
            rc = curl_easy_setopt(c, option, value);                                               \
    } while (0)
    SET(CURLOPT_PROTOCOLS_STR, https ? "https" : "http");
    SET(CURLOPT_REDIR_PROTOCOLS_STR, https ? "https" : "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 1L);
    SET(CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
    SET(CURLOPT_UNRESTRICTED_AUTH, 0L);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)QUERN__MIN(connect, stall));
    SET(CURLOPT_USERAGENT, "quern");
    SET(CURLOPT_NOPROGRESS, 0L);
    return rc;
}

static CURLcode set_request(CURL *c, exchange *x, struct curl_slist *headers, char range[32])
{
    CURLcode rc = set_safety(c, x->q);
    SET(CURLOPT_URL, x->q->url);
    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, x);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, x);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_XFERINFODATA, x);
    if (x->q->from) {
        snprintf(range, 32, "%llu-", (unsigned long long)x->q->from);
        SET(CURLOPT_RANGE, range);
    }
    return rc;
#undef SET
}

static bool add_header(struct curl_slist **list, const char *name, const char *value)
{
    char line[MAX_TOKEN + 64];
    snprintf(line, sizeof line, "%s%s", name, value);
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer)
        *list = longer;
    return longer != NULL;
}

bool quern__http_may_pass(int code)
{
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_SSL_CONNECT_ERROR:
        return true;
    default:
        return false;
    }
}

static int network_error(const exchange *x, const char *host, CURLcode code)
{
    x->r->status = 0;
    if (x->stalled) {
        uint32_t ms = x->q->stall_ms ? x->q->stall_ms : DEFAULT_STALL_MS;
        x->r->transient = true;
        return quern__fail(x->err, QUERN_EREMOTE, 0, "%s: no byte came for %.1f s", host,
                           ms / 1000.0);
    }
    x->r->transient = quern__http_may_pass(code);
    if (code == CURLE_OUT_OF_MEMORY)
        return quern__fail_memory(x->err, 0);
    if (code == CURLE_TOO_MANY_REDIRECTS)
        return quern__fail(x->err, QUERN_EREMOTE, 0, "%s: more than %d redirects", host,
                           MAX_REDIRECTS);
    if (code == CURLE_UNSUPPORTED_PROTOCOL)
        return quern__fail(x->err, QUERN_EREMOTE, 0,
                           "%s: redirected to a scheme that is not allowed from here", host);
    return quern__fail(x->err, QUERN_EREMOTE, 0, "%s: %s", host, curl_easy_strerror(code));
}

static int finish(exchange *x, const char *host, CURLcode code)
{
    int rc = x->rc;
    if (rc)
        return rc;
    if (code != CURLE_OK)
        return network_error(x, host, code);
    if (!x->started && (rc = start_body(x)) != QUERN_OK) /* a response without a body */
        return rc;
    return x->r->status == 200 || x->r->status == 206 ? QUERN_OK : status_error(x);
}

int quern__http_get(const quern__http_request *q, quern__http_response *r, quern_error *err)
{
    char host[256], range[32], bearer[MAX_TOKEN + 32];
    struct curl_slist *headers = NULL;
    memset(r, 0, sizeof *r);
    int rc = check_request(q, host, sizeof host, err);
    if (rc || (rc = quern__check_cancel(q->cancel, err)) != QUERN_OK)
        return rc;
    exchange x = {.q = q, .r = r, .err = err, .last_ns = quern__now_ns()};
    bool ok = (x.curl = curl_easy_init()) != NULL &&
              add_header(&headers, "Accept-Encoding: ", "identity");
    if (ok && q->bearer) {
        snprintf(bearer, sizeof bearer, "Bearer %s", q->bearer);
        ok = add_header(&headers, "Authorization: ", bearer);
    }
    if (ok && q->from && q->if_range)
        ok = add_header(&headers, "If-Range: ", q->if_range);
    if (!ok) {
        rc = quern__fail_memory(err, 0);
        goto done;
    }
    CURLcode code = set_request(x.curl, &x, headers, range);
    if (code == CURLE_OK)
        code = curl_easy_perform(x.curl);
    rc = finish(&x, host, code);
done:
    curl_slist_free_all(headers);
    curl_easy_cleanup(x.curl);
    return rc;
}
