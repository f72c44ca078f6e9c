/*
 * redis.c — the tier that several machines share. One connection, taken in turns, every call of a get or put in one round trip: MGET of
 * all keys, or as many SETs in a pipeline. It is never waited for longer than its timeout, and after a failure not asked
 * at all for a while that doubles up to half a minute, so a Redis that is gone costs one timeout and not one a call.
 *
 * Keys: "quern:1:" and 64 hex digits. Values: value.c's bytes, with the checksum over the key, because whoever else writes
 * to that Redis is a stranger. Age is Redis' own (PX).
 *
 * Rejected: a connection per thread (a pipeline of one thread's batch fills the line already), and cluster mode.
 */
#include "cache/tiers.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/os.h"

enum {
    KEY_BYTES = 72,
    AT_ONCE = 512,
    FIRST_PAUSE_MS = 500,
    LONGEST_PAUSE_MS = 30000,
    PORT = 6379,
    WHOLE = 4 /* times the timeout for all of an answer */
};

struct quern__redis {
    /* immutable */
    char *host, *path, *password; /* path: of a Unix socket */
    int port, db;
    uint32_t timeout_ms;
    quern__mutex *mutex;
    /* under the mutex */
    quern__pipe_guard guard; /* hiredis writes with SIGPIPE */
    redisContext *link;      /* NULL: none at the moment */
    uint64_t pause_until_ns;
    uint64_t
        too_late_ns; /* for what was asked last: hiredis bounds each read, not a server that drips */
    uint32_t pause_ms;
    uint64_t hits, misses, damaged, failures;
};

static void enter(quern__redis *r)
{
    quern__mutex_lock(r->mutex);
    quern__pipe_guard_enter(&r->guard);
}

static void leave(quern__redis *r)
{
    quern__pipe_guard_leave(&r->guard);
    quern__mutex_unlock(r->mutex);
}

/* ---- where it is ---- */

static bool take(char **out, const char *from, size_t n)
{
    *out = quern__strndup(from, n);
    return *out != NULL;
}

/* "redis://[:password@]host[:port][/db]", "unix:///path" */
static int read_url(quern__redis *r, const char *url, quern_error *err)
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

int quern__redis_open(quern__redis **out, const char *url, uint32_t timeout_ms, quern_error *err)
{
    quern__redis *r = quern__calloc(1, sizeof *r);
    *out = NULL;
    if (!r)
        return quern__fail_memory(err, sizeof *r);
    r->timeout_ms = timeout_ms;
    int rc = read_url(r, url, err);
    if (!rc)
        rc = quern__mutex_new(&r->mutex, err);
    if (rc) {
        quern__redis_close(r);
        return rc;
    }
    *out = r;
    return QUERN_OK;
}

static void hang_up(quern__redis *r)
{
    if (r->link)
        redisFree(r->link);
    r->link = NULL;
}

void quern__redis_close(quern__redis *r)
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

static void fail_once(quern__redis *r, const char *why)
{
    r->failures++;
    if (r->pause_ms == 0)
        quern__log(QUERN_LOG_WARN, "cache", "Redis at %s: %s; it is left alone for a while",
                   r->path ? r->path : r->host, why);
    r->pause_ms = QUERN__MIN(r->pause_ms ? r->pause_ms * 2 : (uint32_t)FIRST_PAUSE_MS,
                             (uint32_t)LONGEST_PAUSE_MS);
    r->pause_until_ns = quern__now_ns() + (uint64_t)r->pause_ms * 1000000;
    hang_up(r);
}

/* Sends what is left to send, and reads until there is a whole reply. */
static int wait_reply(const quern__redis *r, void **reply)
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
static redisReply *reply_of(quern__redis *r)
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

static bool order(quern__redis *r, int n, const char **words, const size_t *lengths)
{
    r->too_late_ns = quern__now_ns() + (uint64_t)r->timeout_ms * WHOLE * 1000000;
    if (redisAppendCommandArgv(r->link, n, words, lengths) == REDIS_OK)
        return true;
    fail_once(r, r->link->errstr);
    return false;
}

static bool order_and_wait(quern__redis *r, const char *word, const char *argument)
{
    const char *words[] = {word, argument};
    const size_t lengths[] = {strlen(word), strlen(argument)};
    redisReply *reply = order(r, 2, words, lengths) ? reply_of(r) : NULL;
    freeReplyObject(reply);
    return reply != NULL;
}

static bool connect_now(quern__redis *r)
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
    return true;
}

static size_t name_of(const quern_cache_key *key, char out[KEY_BYTES + 1])
{
    static const char digits[] = "0123456789abcdef";
    memcpy(out, "quern:1:", 8);
    for (size_t i = 0; i < 32; i++) {
        out[8 + 2 * i] = digits[key->bytes[i] >> 4];
        out[9 + 2 * i] = digits[key->bytes[i] & 15];
    }
    out[KEY_BYTES] = '\0';
    return KEY_BYTES;
}

/* ---- get ---- */

typedef struct names {
    char text[AT_ONCE][KEY_BYTES + 1];
    const char *words[AT_ONCE + 1];
    size_t lengths[AT_ONCE + 1], at[AT_ONCE];
    int n;
} names;

/* Those from *from on that are still to be found, at most AT_ONCE. */
static void name_some(names *some, const quern__lookup *l, size_t *from)
{
    some->words[0] = "MGET";
    some->lengths[0] = 4;
    some->n = 0;
    for (; *from < l->n && some->n < AT_ONCE; ++*from) {
        if (l->found[*from])
            continue;
        some->at[some->n] = *from;
        some->lengths[some->n + 1] = name_of(&l->keys[*from], some->text[some->n]);
        some->words[some->n + 1] = some->text[some->n];
        some->n++;
    }
}

static size_t take_values(quern__redis *r, quern__lookup *l, const names *some,
                          const redisReply *reply, uint8_t mark)
{
    size_t found = 0;
    for (int i = 0; i < some->n; i++) {
        const redisReply *v = reply->element[i];
        size_t at = some->at[i];
        quern__entry e;
        if (v->type != REDIS_REPLY_STRING)
            continue;
        quern__value_is is = quern__value_read(&l->keys[at], (quern_str){v->str, (size_t)v->len},
                                               l->dim, l->out + at * l->dim, &e);
        r->damaged += is == QUERN__VALUE_DAMAGED;
        if (is != QUERN__VALUE_GOOD || (e.ends_ms && l->now_ms >= e.ends_ms))
            continue;
        l->tokens[at] = e.tokens;
        l->created_ms[at] = e.created_ms;
        l->ends_ms[at] = e.ends_ms;
        l->found[at] = mark;
        found++;
    }
    return found;
}

size_t quern__redis_get(quern__redis *r, quern__lookup *l, uint8_t mark)
{
    size_t found = 0;
    names *some = quern__alloc(sizeof *some);
    if (!some)
        return 0;
    enter(r);
    for (size_t from = 0; from < l->n && connect_now(r);) {
        name_some(some, l, &from);
        if (!some->n || !order(r, some->n + 1, some->words, some->lengths))
            break;
        redisReply *reply = reply_of(r);
        if (!reply)
            break;
        size_t hits = 0;
        if (reply->type == REDIS_REPLY_ARRAY && reply->elements == (size_t)some->n)
            hits = take_values(r, l, some, reply, mark);
        freeReplyObject(reply);
        r->hits += hits;
        r->misses += (size_t)some->n - hits;
        found += hits;
    }
    leave(r);
    quern__free(some);
    return found;
}

/* ---- put ---- */

/* One SET in the pipeline; hiredis copies what it is given. */
static bool send_value(quern__redis *r, const quern__entry *e, int64_t now_ms)
{
    char name[KEY_BYTES + 1], ms[24];
    size_t n = quern__value_size(e->dim);
    unsigned char *value = quern__alloc(n);
    bool sent = false;
    if (value && quern__value_write(e, value, NULL) == QUERN_OK) {
        snprintf(ms, sizeof ms, "%lld", (long long)QUERN__MAX(e->ends_ms - now_ms, INT64_C(1)));
        const char *words[] = {"SET", name, (const char *)value, "PX", ms};
        const size_t lengths[] = {3, name_of(e->key, name), n, 2, strlen(ms)};
        sent = order(r, e->ends_ms ? 5 : 3, words, lengths);
    }
    quern__free(value);
    return sent;
}

void quern__redis_put(quern__redis *r, const quern__entry *entries, size_t n, int64_t now_ms)
{
    enter(r);
    for (size_t at = 0; at < n && connect_now(r);) {
        size_t sent = 0;
        while (at + sent < n && sent < AT_ONCE && send_value(r, &entries[at + sent], now_ms))
            sent++;
        for (size_t i = 0; i < sent && r->link; i++)
            freeReplyObject(reply_of(r));
        if (!sent || !r->link)
            break;
        at += sent;
    }
    leave(r);
}

/* ---- looking after it ---- */

/* The answer's number, -1 when there is none. */
static long long ask(quern__redis *r, const char *word, const quern_cache_key *key)
{
    char name[KEY_BYTES + 1];
    long long n = -1;
    enter(r);
    const char *words[] = {word, name};
    const size_t lengths[] = {strlen(word), name_of(key, name)};
    if (connect_now(r) && order(r, 2, words, lengths)) {
        redisReply *reply = reply_of(r);
        if (reply && reply->type == REDIS_REPLY_INTEGER)
            n = reply->integer;
        freeReplyObject(reply);
    }
    leave(r);
    return n;
}

bool quern__redis_has(quern__redis *r, const quern_cache_key *key)
{
    return ask(r, "EXISTS", key) > 0;
}

bool quern__redis_remove(quern__redis *r, const quern_cache_key *key)
{
    return ask(r, "UNLINK", key) > 0;
}

/* A page of our keys goes; gives the next cursor, false at the end or on a fault. */
static bool clear_page(quern__redis *r, char cursor[32])
{
    const char *words[] = {"SCAN", cursor, "MATCH", "quern:1:*", "COUNT", "1000"};
    const size_t lengths[] = {4, strlen(cursor), 5, 9, 5, 4};
    redisReply *reply = order(r, 6, words, lengths) ? reply_of(r) : NULL;
    bool good = reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                reply->element[0]->type == REDIS_REPLY_STRING;
    if (good)
        snprintf(cursor, 32, "%.31s", reply->element[0]->str);
    const redisReply *keys = good ? reply->element[1] : NULL;
    size_t sent = 0;
    for (size_t i = 0; keys && i < keys->elements && good; i++) {
        const char *unlink[] = {"UNLINK", keys->element[i]->str};
        const size_t bytes[] = {6, (size_t)keys->element[i]->len};
        good = order(r, 2, unlink, bytes);
        sent += good;
    }
    for (size_t i = 0; i < sent && r->link; i++)
        freeReplyObject(reply_of(r));
    freeReplyObject(reply);
    return good && r->link && strcmp(cursor, "0") != 0;
}

int quern__redis_clear(quern__redis *r, quern_error *err)
{
    char cursor[32] = "0";
    enter(r);
    uint64_t failures = r->failures;
    bool there = connect_now(r);
    while (there && clear_page(r, cursor)) {
    }
    there = there && r->failures == failures;
    leave(r);
    return there ? QUERN_OK
                 : quern__fail(err, QUERN_EREMOTE, 0, "Redis at %s does not answer; not cleared",
                               r->path ? r->path : r->host);
}

void quern__redis_stats(quern__redis *r, quern_cache_stats *out)
{
    memset(out, 0, sizeof *out);
    quern__mutex_lock(r->mutex);
    out->there = 1;
    out->hits = r->hits;
    out->misses = r->misses;
    out->damaged = r->damaged;
    out->failures = r->failures;
    quern__mutex_unlock(r->mutex);
}
