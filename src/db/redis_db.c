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
    char *host, *path, *password; /* path: of a Unix socket */
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

/* "redis://[:password@]host[:port][/db]", "unix:///path" */
static int read_url(quern__redis_link *r, const char *url, quern_error *err)
{
    r->port = PORT;
    if (strncmp(url, "unix://", 7) == 0 && url[7] == '/')
        return take(&r->path, url + 7, strlen(url + 7)) ? QUERN_OK : quern__fail_memory(err, 0);
    if (strncmp(url, "redis://", 8) != 0)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "a Redis is redis://[:password@]host[:port][/db] or unix:///path");
    const char *at = url + 8, *end = at + strcspn(at, "/"), *host = at;
    for (const char *p = at; p < end; p++)
        if (*p == '@')
            host = p + 1;
    const char *colon = host + strcspn(host, ":");
    colon = colon < end ? colon : end;
    if (host > at) {
        const char *password = memchr(at, ':', (size_t)(host - at));
        if (!password)
            return quern__fail(err, QUERN_EINVAL, 0, "a Redis user without ':password'");
        if (!take(&r->password, password + 1, (size_t)(host - password) - 2))
            return quern__fail_memory(err, 0);
    }
    char *tail;
    if (colon < end) {
        long port = strtol(colon + 1, &tail, 10);
        if (tail != end || port < 1 || port > 65535)
            return quern__fail(err, QUERN_EINVAL, port, "no port of a Redis: '%.*s'",
                               (int)(end - colon) - 1, colon + 1);
        r->port = (int)port;
    }
    if (*end && end[1]) {
        long db = strtol(end + 1, &tail, 10);
        if (*tail || db < 0 || db > 100000)
            return quern__fail(err, QUERN_EINVAL, db, "no database of a Redis: '%.20s'", end + 1);
        r->db = (int)db;
    }
    if (colon == host)
        return quern__fail(err, QUERN_EINVAL, 0, "a Redis without a host");
    return take(&r->host, host, (size_t)(colon - host)) ? QUERN_OK : quern__fail_memory(err, 0);
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

static bool order_and_wait(quern__redis_link *r, const char *word, const char *argument)
{
    const char *words[] = {word, argument};
    const size_t lengths[] = {strlen(word), strlen(argument)};
    redisReply *reply = quern__redis_order(r, 2, words, lengths) ? quern__redis_reply(r) : NULL;
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
    if (r->password && !order_and_wait(r, "AUTH", r->password))
        return false;
    snprintf(number, sizeof number, "%d", r->db);
    if (r->db && !order_and_wait(r, "SELECT", number))
        return false;
    r->pause_ms = 0;
    r->number++;
    return true;
}
