/*
 * redis_db.c — one connection to a Redis. hiredis bounds each read, not an answer that drips: here all of it is bounded, and a Redis
 * that is gone costs one timeout and not one a call, because after a failure it is not asked for a while that doubles.
 */
#include "db/redis_db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/os.h"

enum { FIRST_PAUSE_MS = 500, PORT = 6379, WHOLE = 4 /* times the timeout for all of an answer */ };

struct quern__redis_link {
    /* immutable */
    char *host, *path, *user, *password; /* path: of a Unix socket; user NULL: the default one */
    const char *log;
    int port, db;
    uint32_t timeout_ms, longest_pause_ms;
    quern__mutex *mutex;
    /* under the mutex */
    quern__pipe_guard guard;              /* hiredis writes with SIGPIPE */
    redisContext *link;                   /* NULL: none at the moment */
    uint64_t pause_until_ns, too_late_ns; /* too late for what was asked last */
    uint32_t pause_ms;
    uint64_t failures, number;
    char fault[160];
};

void quern__redis_enter(quern__redis_link *r)
{
    quern__mutex_lock(r->mutex);
    quern__pipe_guard_enter(&r->guard);
}

void quern__redis_leave(quern__redis_link *r)
{
    quern__pipe_guard_leave(&r->guard);
    quern__mutex_unlock(r->mutex);
}

const char *quern__redis_link_name(const quern__redis_link *r)
{
    return r->path ? r->path : r->host;
}

uint64_t quern__redis_link_failures(const quern__redis_link *r)
{
    return r->failures;
}

const char *quern__redis_link_fault(const quern__redis_link *r)
{
    return r->fault;
}

uint64_t quern__redis_link_number(const quern__redis_link *r)
{
    return r->number;
}

bool quern__redis_alive(const quern__redis_link *r)
{
    return r->link != NULL;
}

/* ---- where it is ---- */

static bool take(char **out, const char *from, size_t n)
{
    *out = quern__strndup(from, n);
    return *out != NULL;
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* As URLs have it: %40 is an @. A NUL ends no name and no password. */
static int take_escaped(char **out, const char *from, size_t n, quern_error *err)
{
    size_t used = 0;
    if (!take(out, from, n))
        return quern__fail_memory(err, n);
    for (size_t i = 0; i < n; i++) {
        int high = from[i] == '%' && i + 2 < n ? digit(from[i + 1]) : -1;
        int low = high >= 0 ? digit(from[i + 2]) : -1;
        if (from[i] == '%' && (low < 0 || (high == 0 && low == 0)))
            return quern__fail(
                err, QUERN_EINVAL, 0,
                "a Redis' user or password with a %% that escapes nothing: write %%25");
        (*out)[used++] = low >= 0 ? (char)(high << 4 | low) : from[i];
        i += low >= 0 ? 2 : 0;
    }
    (*out)[used] = '\0';
    return QUERN_OK;
}

/* Digits alone, up to `most`; -1: no such number. */
static long whole(const char *from, size_t n, long most)
{
    long v = 0;
    for (size_t i = 0; i < n; i++) {
        if (from[i] < '0' || from[i] > '9' || (v = v * 10 + (from[i] - '0')) > most)
            return -1;
    }
    return n ? v : -1;
}

/* "[user]:password" */
static int read_user(quern__redis_link *r, const char *at, size_t n, quern_error *err)
{
    const char *colon = memchr(at, ':', n);
    if (!colon)
        return quern__fail(err, QUERN_EINVAL, 0, "a Redis user without ':password'");
    size_t user = (size_t)(colon - at);
    int rc = user ? take_escaped(&r->user, at, user, err) : QUERN_OK;
    return rc ? rc : take_escaped(&r->password, colon + 1, n - user - 1, err);
}

/* "host[:port]"; an IPv6 address has colons of its own, so it stands in brackets. */
static int read_host(quern__redis_link *r, const char *at, size_t n, quern_error *err)
{
    const char *end = at + n, *close = n && *at == '[' ? memchr(at, ']', n) : NULL;
    const char *host = close ? at + 1 : at,
               *colon = memchr(close ? close : at, ':', (size_t)(end - (close ? close : at)));
    const char *stop = close ? close : colon ? colon : end;
    if (n && *at == '[' && (!close || (close + 1 != end && close[1] != ':')))
        return quern__fail(err, QUERN_EINVAL, 0, "a Redis with a '[' that nothing closes");
    if (!close && colon && memchr(colon + 1, ':', (size_t)(end - colon) - 1))
        return quern__fail(err, QUERN_EINVAL, 0,
                           "a Redis at an IPv6 address: it stands in brackets, redis://[::1]:6379");
    if (stop == host)
        return quern__fail(err, QUERN_EINVAL, 0, "a Redis without a host");
    if (colon) {
        long port = whole(colon + 1, (size_t)(end - colon) - 1, 65535);
        if (port < 1)
            return quern__fail(err, QUERN_EINVAL, port,
                               "no port of a Redis, which is 1 to 65535 (a '/' in a password is "
                               "%%2F)"); /* not shown: it may be a part of one */
        r->port = (int)port;
    }
    return take(&r->host, host, (size_t)(stop - host)) ? QUERN_OK : quern__fail_memory(err, 0);
}

/* "redis://[[user]:password@]host[:port][/db]", "unix:///path" */
static int read_url(quern__redis_link *r, const char *url, quern_error *err)
{
    r->port = PORT;
    if (strncmp(url, "unix://", 7) == 0 && url[7] == '/')
        return take(&r->path, url + 7, strlen(url + 7)) ? QUERN_OK : quern__fail_memory(err, 0);
    if (strncmp(url, "rediss://", 9) == 0)
        return quern__fail(
            err, QUERN_EUNSUPPORTED, 0,
            "rediss://: quern speaks no TLS with a Redis; a tunnel on this machine does, "
            "as redis://127.0.0.1 or unix:///path");
    if (strncmp(url, "redis://", 8) != 0)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "a Redis is redis://[[user]:password@]host[:port][/db] or unix:///path");
    const char *at = url + 8, *end = at + strcspn(at, "/"), *host = at;
    for (const char *p = at; p < end; p++)
        if (*p == '@')
            host = p + 1;
    int rc = host > at ? read_user(r, at, (size_t)(host - at) - 1, err) : QUERN_OK;
    if (!rc)
        rc = read_host(r, host, (size_t)(end - host), err);
    if (!rc && *end && end[1]) {
        long db = whole(end + 1, strlen(end + 1), 100000);
        if (db < 0)
            return quern__fail(err, QUERN_EINVAL, db,
                               "no database of a Redis, which is a number (a '/' in a password is "
                               "%%2F)");
        r->db = (int)db;
    }
    return rc;
}

int quern__redis_link_new(quern__redis_link **out, const char *url, uint32_t timeout_ms,
                          uint32_t longest_pause_ms, const char *log, quern_error *err)
{
    quern__redis_link *r = quern__calloc(1, sizeof *r);
    *out = NULL;
    if (!r)
        return quern__fail_memory(err, sizeof *r);
    r->timeout_ms = timeout_ms;
    r->longest_pause_ms = longest_pause_ms;
    r->log = log;
    int rc = read_url(r, url, err);
    if (!rc)
        rc = quern__mutex_new(&r->mutex, err);
    if (rc) {
        quern__redis_link_free(r);
        return rc;
    }
    *out = r;
    return QUERN_OK;
}

static void hang_up(quern__redis_link *r)
{
    if (r->link)
        redisFree(r->link);
    r->link = NULL;
}

void quern__redis_link_free(quern__redis_link *r)
{
    if (!r)
        return;
    hang_up(r);
    quern__mutex_free(r->mutex);
    quern__free(r->host);
    quern__free(r->path);
    quern__free(r->user);
    quern__free(r->password);
    quern__free(r);
}

/* ---- the connection ---- */

static void fail_once(quern__redis_link *r, const char *why)
{
    r->failures++;
    snprintf(r->fault, sizeof r->fault, "%.150s", why);
    if (r->pause_ms == 0)
        quern__log(QUERN_LOG_WARN, r->log, "Redis at %s: %s; it is left alone for a while",
                   quern__redis_link_name(r), why);
    r->pause_ms =
        QUERN__MIN(r->pause_ms ? r->pause_ms * 2 : (uint32_t)FIRST_PAUSE_MS, r->longest_pause_ms);
    r->pause_until_ns = quern__now_ns() + (uint64_t)r->pause_ms * 1000000;
    hang_up(r);
}

/* Sends what is left to send, and reads until there is a whole reply. */
static int wait_reply(const quern__redis_link *r, void **reply)
{
    int sent = 0, rc = redisGetReplyFromReader(r->link, reply);
    while (rc == REDIS_OK && !*reply) {
        if (quern__now_ns() > r->too_late_ns)
            return REDIS_ERR;
        if (!sent)
            rc = redisBufferWrite(r->link, &sent);
        else if ((rc = redisBufferRead(r->link)) == REDIS_OK)
            rc = redisGetReplyFromReader(r->link, reply);
    }
    return rc;
}

/* A reply that is no error; NULL: the connection is gone. */
redisReply *quern__redis_reply(quern__redis_link *r)
{
    void *reply = NULL;
    if (wait_reply(r, &reply) != REDIS_OK) {
        fail_once(r, r->link->err ? r->link->errstr : "an answer that does not end");
        return NULL;
    }
    redisReply *said = reply;
    if (said->type != REDIS_REPLY_ERROR)
        return said;
    fail_once(r, said->str);
    freeReplyObject(said);
    return NULL;
}

bool quern__redis_order(quern__redis_link *r, int n, const char **words, const size_t *lengths)
{
    r->too_late_ns = quern__now_ns() + (uint64_t)r->timeout_ms * WHOLE * 1000000;
    if (redisAppendCommandArgv(r->link, n, words, lengths) == REDIS_OK)
        return true;
    fail_once(r, r->link->errstr);
    return false;
}

/* n words, three at most. */
static bool order_and_wait(quern__redis_link *r, int n, const char **words)
{
    size_t lengths[3];
    for (int i = 0; i < n; i++)
        lengths[i] = strlen(words[i]);
    redisReply *reply = quern__redis_order(r, n, words, lengths) ? quern__redis_reply(r) : NULL;
    freeReplyObject(reply);
    return reply != NULL;
}

bool quern__redis_connect(quern__redis_link *r)
{
    char number[16];
    struct timeval limit = {.tv_sec = r->timeout_ms / 1000,
                            .tv_usec = (int)(r->timeout_ms % 1000) * 1000};
    if (r->link)
        return true;
    if (quern__now_ns() < r->pause_until_ns)
        return false;
    r->link = r->path ? redisConnectUnixWithTimeout(r->path, limit)
                      : redisConnectWithTimeout(r->host, r->port, limit);
    if (!r->link || r->link->err) {
        fail_once(r, r->link ? r->link->errstr : "out of memory");
        return false;
    }
    redisSetTimeout(r->link, limit);
    if (!r->path)
        redisEnableKeepAlive(r->link);
    const char *enter[] = {"AUTH", r->user ? r->user : r->password, r->password};
    const char *choose[] = {"SELECT", number};
    if (r->password && !order_and_wait(r, r->user ? 3 : 2, enter))
        return false;
    snprintf(number, sizeof number, "%d", r->db);
    if (r->db && !order_and_wait(r, 2, choose))
        return false;
    r->pause_ms = 0;
    r->number++;
    return true;
}
