/*
 * client.c — the thread behind client.h. It owns the multi handle alone; callers leave their call in a list, wake it,
 * and wait for `over`. So no handle of libcurl's is ever touched by two threads, and a call costs a caller
 * one wait on a condition. Each transfer's memory is made by the caller's thread, before, so that the loop cannot fail for
 * want of it (libcurl's own allocations aside, whose failures end the one transfer).
 */
#include "http/client.h"

#include <curl/curl.h>
#include <limits.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/os.h"
#include "http/http.h"

enum {
    CONNECT_MS = 10000,
    TIMEOUT_MS = 30000,
    CONNECTIONS = 16,
    POLL_MS = 100,
    ERROR_BYTES = 64 << 10,
    HEADER_BYTES = 16 << 10,
    HEADERS = 64,
    LONGEST_WAIT_MS = 3600 * 1000
};

typedef struct transfer {
    quern__http_call *call;
    CURL *curl;
    struct curl_slist *headers;
    quern_error *err;
    struct transfer *next;
    int rc;
    CURLcode code;
    bool added, over, too_large, page_ends;
    char why[CURL_ERROR_SIZE]; /* libcurl's own words, "": none */
} transfer;

struct quern__http_client {
    CURLM *multi;
    quern__mutex *mutex;
    quern__cond *changed;
    quern__thread *thread;
    uint32_t connect_ms;
    char *proxy, *ca_file;
    /* under the mutex */
    transfer *waiting;
    bool stop;
    /* the loop's own */
    transfer *running;
};

/* ---- headers of an answer ---- */

static bool is_named(const char *line, size_t n, const char *name, const char **value, size_t *len)
{
    size_t k = strlen(name), from = k + 1, to = n;
    if (n <= k || line[k] != ':')
        return false;
    for (size_t i = 0; i < k; i++)
        if ((line[i] >= 'A' && line[i] <= 'Z' ? line[i] + 'a' - 'A' : line[i]) != name[i])
            return false;
    while (from < to && (line[from] == ' ' || line[from] == '\t'))
        from++;
    while (to > from && (unsigned char)line[to - 1] <= ' ')
        to--;
    *value = line + from;
    *len = to - from;
    return true;
}

/* "12" or "0.5" of a unit of so many milliseconds, at most an hour; -1 when it is no such number. */
static int64_t to_ms(const char *text, size_t n, int64_t unit)
{
    int64_t v = 0, part = 0, place = 1000;
    size_t i = 0;
    for (; i < n && text[i] >= '0' && text[i] <= '9'; i++)
        v = QUERN__MIN(v * 10 + (text[i] - '0'), (int64_t)LONGEST_WAIT_MS);
    if (i == 0)
        return -1;
    if (i < n && text[i] == '.')
        for (i++; i < n && text[i] >= '0' && text[i] <= '9' && place > 1; i++)
            part += (text[i] - '0') * (place /= 10);
    while (i < n && text[i] >= '0' && text[i] <= '9')
        i++;
    return i == n ? QUERN__MIN(v * unit + part * unit / 1000, (int64_t)LONGEST_WAIT_MS) : -1;
}

static void note_wait(quern__http_call *call, int64_t ms)
{
    if (ms >= 0)
        call->retry_ms = (int32_t)QUERN__MIN(ms, (int64_t)LONGEST_WAIT_MS);
}

static int64_t until_date(const char *text, size_t n, int64_t now_s)
{
    char date[64];
    if (n == 0 || n >= sizeof date)
        return -1;
    memcpy(date, text, n);
    date[n] = '\0';
    int64_t at = curl_getdate(date, NULL);
    if (at < 0)
        return -1;
    int64_t s = at > now_s ? at - now_s : 0;
    return QUERN__MIN(s, (int64_t)(LONGEST_WAIT_MS / 1000)) * 1000;
}

static void note_location(quern__http_call *call, const char *text, size_t n)
{
    char url[2048];
    bool https, loopback;
    if (n == 0 || n >= sizeof url || memchr(text, 0, n))
        return;
    memcpy(url, text, n);
    url[n] = '\0';
    if (!quern__http_split(url, &https, call->moved_to, sizeof call->moved_to, &loopback))
        snprintf(call->moved_to, sizeof call->moved_to, "another path of the same host");
}

void quern__http_note(quern__http_call *call, const char *line, size_t n, int64_t now_s)
{
    const char *v;
    size_t len;
    if (n >= 5 && memcmp(line, "HTTP/", 5) == 0) { /* a new answer, after 100 Continue */
        call->retry_ms = -1;
        call->moved_to[0] = '\0';
    } else if (is_named(line, n, "retry-after-ms", &v, &len)) {
        note_wait(call, to_ms(v, len, 1));
    } else if (is_named(line, n, "retry-after", &v, &len)) {
        int64_t ms = to_ms(v, len, 1000);
        if (call->retry_ms < 0) /* the other one is more exact */
            note_wait(call, ms >= 0 ? ms : until_date(v, len, now_s));
    } else if (is_named(line, n, "location", &v, &len)) {
        note_location(call, v, len);
    }
}

/* ---- libcurl's callbacks, on the loop's thread ---- */

static size_t on_header(char *data, size_t size, size_t n, void *ud)
{
    transfer *t = ud;
    (void)size; /* always 1 */
    quern__http_note(t->call, data, n, quern__wall_ms() / 1000);
    return n;
}

static size_t on_body(char *data, size_t size, size_t n, void *ud)
{
    transfer *t = ud;
    quern__buf *answer = &t->call->answer;
    long status = 0;
    (void)size;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) { /* an error page: its begin is enough, and what has no end ends here */
        size_t some = QUERN__MIN(n, (size_t)ERROR_BYTES - answer->len);
        quern__buf_append(answer, data, some);
        t->page_ends = some < n;
        return some;
    }
    t->too_large = n > t->call->max_bytes - answer->len;
    return !t->too_large && quern__buf_append(answer, data, n) ? n : 0;
}

/* ---- the loop ---- */

static void end_transfer(quern__http_client *c, transfer *t)
{
    for (transfer **at = &c->running; *at; at = &(*at)->next)
        if (*at == t) {
            *at = t->next;
            break;
        }
    if (t->added)
        curl_multi_remove_handle(c->multi, t->curl);
    t->added = false;
    quern__mutex_lock(c->mutex);
    t->over = true;
    quern__cond_broadcast(c->changed);
    quern__mutex_unlock(c->mutex);
}

static void take_waiting(quern__http_client *c)
{
    quern__mutex_lock(c->mutex);
    transfer *list = c->waiting;
    c->waiting = NULL;
    quern__mutex_unlock(c->mutex);
    while (list) {
        transfer *t = list;
        list = t->next;
        t->next = c->running;
        c->running = t;
        t->added = curl_multi_add_handle(c->multi, t->curl) == CURLM_OK;
        if (!t->added) {
            t->code = CURLE_OUT_OF_MEMORY;
            end_transfer(c, t);
        }
    }
}

static void end_finished(quern__http_client *c)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(c->multi, &left)) != NULL) {
        transfer *t = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)(void *)&t);
        t->code = code;
        end_transfer(c, t);
    }
}

static void end_cancelled(quern__http_client *c)
{
    for (transfer *t = c->running, *next; t; t = next) {
        next = t->next;
        t->rc = quern__check_cancel(t->call->cancel, t->err);
        if (t->rc)
            end_transfer(c, t);
    }
}

static void loop(void *ud)
{
    quern__http_client *c = ud;
    for (;;) {
        int n;
        quern__mutex_lock(c->mutex);
        bool stop = c->stop;
        quern__mutex_unlock(c->mutex);
        if (stop)
            return;
        take_waiting(c);
        curl_multi_perform(c->multi, &n);
        end_finished(c);
        end_cancelled(c);
        curl_multi_poll(c->multi, NULL, 0, c->running ? POLL_MS : INT_MAX, NULL);
    }
}

/* ---- a call ---- */

static bool is_key_header(const char *h)
{
    static const char *const names[] = {"authorization", "api-key", "x-api-key"};
    const char *v;
    size_t n;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is_named(h, strlen(h), names[i], &v, &n))
            return true;
    return false;
}

/* Whether what is sent over plain http stays on this machine: its host is, and a proxy that is asked for. */
static bool stays_here(const quern__http_client *c, bool loopback)
{
    char url[300], host[256];
    bool https, near = true;
    if (loopback && c->proxy && *c->proxy) {
        snprintf(url, sizeof url, "%s%s", strstr(c->proxy, "://") ? "" : "http://", c->proxy);
        near = quern__http_split(url, &https, host, sizeof host, &near) && near;
    }
    return loopback && near;
}

static int check_call(const quern__http_client *c, const quern__http_call *call, quern_error *err)
{
    bool https, loopback;
    char host[256];
    if (!quern__http_split(call->url, &https, host, sizeof host, &loopback))
        return quern__fail(err, QUERN_EINVAL, 0,
                           "'%.200s' is no address to call: http:// or https://, a host, no user "
                           "name",
                           call->url);
    if (call->n_headers > HEADERS)
        return quern__fail(err, QUERN_EINVAL, (int64_t)call->n_headers,
                           "%zu headers; at most %d go with a call", call->n_headers, HEADERS);
    for (size_t i = 0; i < call->n_headers; i++) {
        const char *h = call->headers[i];
        size_t n = strlen(h), name = strcspn(h, ":");
        bool good = name > 0 && name < n && n <= HEADER_BYTES && strcspn(h, " \t") > name;
        for (size_t k = 0; k < n; k++)
            good = good && ((unsigned char)h[k] >= ' ' || h[k] == '\t') && h[k] != 0x7f;
        if (!good) /* its value may be a secret */
            return quern__fail(err, QUERN_EINVAL, (int64_t)i,
                               "header '%.*s' is not 'Name: value' on one line",
                               (int)QUERN__MIN(name, (size_t)64), h);
        if (is_key_header(h) && !https && !stays_here(c, loopback))
            return quern__fail(err, QUERN_EINVAL, 0,
                               "%s: a key is not sent over plain http; use https, or no key", host);
    }
    return quern__check_cancel(call->cancel, err);
}

static bool add_headers(transfer *t)
{
    /* libcurl's own: no waiting for "100 Continue", JSON as a rule */
    static const char *const own[] = {"Expect:", "Accept: application/json"};
    for (size_t i = 0; i < 2 + t->call->n_headers; i++) {
        const char *line = i < 2 ? own[i] : t->call->headers[i - 2];
        struct curl_slist *longer = curl_slist_append(t->headers, line);
        if (!longer)
            return false;
        t->headers = longer;
    }
    return true;
}

#define SET(option, value)                                                                         \
    do {                                                                                           \
        if (rc == CURLE_OK)                                                                        \
            rc = curl_easy_setopt(t->curl, option, value);                                         \
    } while (0)

static CURLcode set_connection(const quern__http_client *c, transfer *t)
{
    CURLcode rc = CURLE_OK;
    bool https, loopback = false;
    char host[256];
    quern__http_split(t->call->url, &https, host, sizeof host, &loopback);
    SET(CURLOPT_PROTOCOLS_STR, https ? "https" : "http");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    SET(CURLOPT_PIPEWAIT, https ? 1L : 0L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)c->connect_ms);
    SET(CURLOPT_QUICK_EXIT, 1L); /* a name that is being looked up holds nobody who has left */
    if (c->proxy)
        SET(CURLOPT_PROXY, c->proxy);
    else if (loopback) /* one of the environment's would carry it off this machine */
        SET(CURLOPT_PROXY, "");
    if (c->ca_file)
        SET(CURLOPT_CAINFO, c->ca_file);
    return rc;
}

static CURLcode set_call(const quern__http_client *c, transfer *t)
{
    const quern__http_call *call = t->call;
    CURLcode rc = set_connection(c, t);
    SET(CURLOPT_URL, call->url);
    SET(CURLOPT_USERAGENT, "quern");
    SET(CURLOPT_HTTPHEADER, t->headers);
    SET(CURLOPT_TIMEOUT_MS, (long)(call->timeout_ms ? call->timeout_ms : TIMEOUT_MS));
    SET(CURLOPT_ACCEPT_ENCODING, NULL); /* a small answer must not unpack to a large one */
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, t);
    SET(CURLOPT_PRIVATE, t);
    SET(CURLOPT_ERRORBUFFER, t->why);
    if (call->body.ptr) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
        SET(CURLOPT_POSTFIELDS, call->body.ptr); /* borrowed until the end */
        SET(CURLOPT_POST, 1L);
    }
    return rc;
}
#undef SET

static int network_error(const quern__http_client *c, const transfer *t, quern_error *err)
{
    bool https, loopback;
    char host[256];
    curl_off_t connected_us = 0;
    quern__http_call *call = t->call;
    call->status = 0;
    quern__http_split(call->url, &https, host, sizeof host, &loopback);
    if (t->code == CURLE_OUT_OF_MEMORY) /* what libcurl says of a header line over 100 KB, too */
        return quern__fail(err, QUERN_EREMOTE, 0,
                           "%s: a header that is too long, or no memory left for the answer", host);
    if (t->code == CURLE_WRITE_ERROR && t->too_large)
        return quern__fail(err, QUERN_EREMOTE, 200,
                           "%s: the answer is larger than the %zu bytes that it can have", host,
                           call->max_bytes);
    if (t->code == CURLE_WRITE_ERROR)
        return quern__buf_ok(&call->answer, "an answer", err);
    uint32_t limit_ms = call->timeout_ms ? call->timeout_ms : TIMEOUT_MS;
    int rc;
    /* 0 until there is a connection, a new one or one that was kept */
    curl_easy_getinfo(t->curl, CURLINFO_PRETRANSFER_TIME_T, &connected_us);
    if (t->code == CURLE_OPERATION_TIMEDOUT && connected_us == 0)
        rc = quern__fail(err, QUERN_EREMOTE, 0, "%s: no connection within %.1f s", host,
                         QUERN__MIN(c->connect_ms, limit_ms) / 1000.0);
    else if (t->code == CURLE_OPERATION_TIMEDOUT)
        rc = quern__fail(err, QUERN_EREMOTE, 0, "%s: no whole answer within %.1f s", host,
                         limit_ms / 1000.0);
    else
        rc = quern__fail(err, QUERN_EREMOTE, 0, "%s: %s%s", host,
                         *t->why ? t->why : curl_easy_strerror(t->code),
                         t->code == CURLE_PEER_FAILED_VERIFICATION
                             ? "; --ca-file names other certificates to trust"
                             : "");
    return quern__http_may_pass((int)t->code) ? quern__may_retry(err, rc, 0) : rc;
}

static int finish(const quern__http_client *c, const transfer *t, quern_error *err)
{
    long status = 0;
    if (t->rc)
        return t->rc;
    if (t->code != CURLE_OK && !t->page_ends)
        return network_error(c, t, err);
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    t->call->status = (int)status;
    return QUERN_OK;
}

static void wait_for(quern__http_client *c, transfer *t)
{
    quern__mutex_lock(c->mutex);
    t->next = c->waiting;
    c->waiting = t;
    curl_multi_wakeup(c->multi);
    while (!t->over)
        quern__cond_wait(c->changed, c->mutex);
    quern__mutex_unlock(c->mutex);
}

int quern__http_perform(quern__http_client *c, quern__http_call *call, quern_error *err)
{
    transfer t = {.call = call, .err = err};
    call->status = 0;
    call->retry_ms = -1;
    call->moved_to[0] = '\0';
    quern__buf_init(&call->answer, QUERN__MAX(call->max_bytes, (size_t)ERROR_BYTES) + 1);
    int rc = check_call(c, call, err);
    if (rc)
        return rc;
    t.curl = curl_easy_init();
    bool ready = t.curl && add_headers(&t) && set_call(c, &t) == CURLE_OK;
    if (ready) {
        wait_for(c, &t);
        rc = finish(c, &t, err);
    } else {
        rc = quern__fail_memory(err, 0);
    }
    curl_slist_free_all(t.headers);
    curl_easy_cleanup(t.curl);
    return rc;
}

void quern__http_call_dispose(quern__http_call *call)
{
    quern__buf_dispose(&call->answer);
}

/* ---- the client ---- */

int quern__http_client_new(quern__http_client **out, const quern__http_client_options *opt,
                           quern_error *err)
{
    *out = NULL;
    quern__http_client *c = quern__calloc(1, sizeof *c);
    if (!c)
        return quern__fail_memory(err, sizeof *c);
    c->connect_ms = opt->connect_ms ? opt->connect_ms : CONNECT_MS;
    c->multi = curl_multi_init();
    c->proxy = opt->proxy ? quern__strdup(opt->proxy) : NULL;
    c->ca_file = opt->ca_file ? quern__strdup(opt->ca_file) : NULL;
    int rc = QUERN_OK;
    if (!c->multi || (opt->proxy && !c->proxy) || (opt->ca_file && !c->ca_file))
        rc = quern__fail_memory(err, 0);
    if (!rc)
        rc = quern__mutex_new(&c->mutex, err);
    if (!rc)
        rc = quern__cond_new(&c->changed, err);
    if (!rc) {
        curl_multi_setopt(c->multi, CURLMOPT_MAX_HOST_CONNECTIONS,
                          (long)(opt->connections ? opt->connections : CONNECTIONS));
        rc = quern__thread_start(&c->thread, loop, c, err);
    }
    if (rc) {
        quern__http_client_free(c);
        return rc;
    }
    *out = c;
    return QUERN_OK;
}

void quern__http_client_free(quern__http_client *c)
{
    if (!c)
        return;
    if (c->thread) {
        quern__mutex_lock(c->mutex);
        c->stop = true;
        quern__mutex_unlock(c->mutex);
        curl_multi_wakeup(c->multi);
        quern__thread_join(c->thread);
    }
    curl_multi_cleanup(c->multi);
    quern__cond_free(c->changed);
    quern__mutex_free(c->mutex);
    quern__free(c->proxy);
    quern__free(c->ca_file);
    quern__free(c);
}
