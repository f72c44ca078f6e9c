/*
 * redis.c — the tier that several machines share. One connection, taken in turns, every call of a get or put in one round trip: MGET of
 * all keys, or as many SETs in a pipeline; how long it is waited for: db/redis_db.c.
 *
 * Keys: "quern:1:" and 64 hex digits. Values: value.c's bytes, with the checksum over the key, because whoever else writes
 * to that Redis is a stranger. Age is Redis' own (PX).
 *
 * Rejected: a connection per thread (a pipeline of one thread's batch fills the line already), and cluster mode.
 */
#include "cache/tiers.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "db/redis_db.h"

enum { KEY_BYTES = 72, AT_ONCE = 512, LONGEST_PAUSE_MS = 30000 };

struct quern__redis {
    quern__redis_link *link;
    /* under its mutex */
    uint64_t hits, misses, damaged;
};

int quern__redis_open(quern__redis **out, const char *url, uint32_t timeout_ms, quern_error *err)
{
    quern__redis *r = quern__calloc(1, sizeof *r);
    *out = NULL;
    if (!r)
        return quern__fail_memory(err, sizeof *r);
    int rc = quern__redis_link_new(&r->link, url, timeout_ms, LONGEST_PAUSE_MS, "cache", err);
    if (rc) {
        quern__free(r);
        return rc;
    }
    *out = r;
    return QUERN_OK;
}

void quern__redis_close(quern__redis *r)
{
    if (!r)
        return;
    quern__redis_link_free(r->link);
    quern__free(r);
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
    quern__redis_enter(r->link);
    for (size_t from = 0; from < l->n && quern__redis_connect(r->link);) {
        name_some(some, l, &from);
        if (!some->n || !quern__redis_order(r->link, some->n + 1, some->words, some->lengths))
            break;
        redisReply *reply = quern__redis_reply(r->link);
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
    quern__redis_leave(r->link);
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
        sent = quern__redis_order(r->link, e->ends_ms ? 5 : 3, words, lengths);
    }
    quern__free(value);
    return sent;
}

void quern__redis_put(quern__redis *r, const quern__entry *entries, size_t n, int64_t now_ms)
{
    quern__redis_enter(r->link);
    for (size_t at = 0; at < n && quern__redis_connect(r->link);) {
        size_t sent = 0;
        while (at + sent < n && sent < AT_ONCE && send_value(r, &entries[at + sent], now_ms))
            sent++;
        for (size_t i = 0; i < sent && quern__redis_alive(r->link); i++)
            freeReplyObject(quern__redis_reply(r->link));
        if (!sent || !quern__redis_alive(r->link))
            break;
        at += sent;
    }
    quern__redis_leave(r->link);
}

/* ---- looking after it ---- */

/* The answer's number, -1 when there is none. */
static long long ask(quern__redis *r, const char *word, const quern_cache_key *key)
{
    char name[KEY_BYTES + 1];
    long long n = -1;
    quern__redis_enter(r->link);
    const char *words[] = {word, name};
    const size_t lengths[] = {strlen(word), name_of(key, name)};
    if (quern__redis_connect(r->link) && quern__redis_order(r->link, 2, words, lengths)) {
        redisReply *reply = quern__redis_reply(r->link);
        if (reply && reply->type == REDIS_REPLY_INTEGER)
            n = reply->integer;
        freeReplyObject(reply);
    }
    quern__redis_leave(r->link);
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
    redisReply *reply =
        quern__redis_order(r->link, 6, words, lengths) ? quern__redis_reply(r->link) : NULL;
    bool good = reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                reply->element[0]->type == REDIS_REPLY_STRING;
    if (good)
        snprintf(cursor, 32, "%.31s", reply->element[0]->str);
    const redisReply *keys = good ? reply->element[1] : NULL;
    size_t sent = 0;
    for (size_t i = 0; keys && i < keys->elements && good; i++) {
        const char *unlink[] = {"UNLINK", keys->element[i]->str};
        const size_t bytes[] = {6, (size_t)keys->element[i]->len};
        good = quern__redis_order(r->link, 2, unlink, bytes);
        sent += good;
    }
    for (size_t i = 0; i < sent && quern__redis_alive(r->link); i++)
        freeReplyObject(quern__redis_reply(r->link));
    freeReplyObject(reply);
    return good && quern__redis_alive(r->link) && strcmp(cursor, "0") != 0;
}

int quern__redis_clear(quern__redis *r, quern_error *err)
{
    char cursor[32] = "0";
    quern__redis_enter(r->link);
    uint64_t failures = quern__redis_link_failures(r->link);
    bool there = quern__redis_connect(r->link);
    while (there && clear_page(r, cursor)) {
    }
    there = there && quern__redis_link_failures(r->link) == failures;
    quern__redis_leave(r->link);
    return there ? QUERN_OK
                 : quern__fail(err, QUERN_EREMOTE, 0, "Redis at %s does not answer; not cleared",
                               quern__redis_link_name(r->link));
}

void quern__redis_stats(quern__redis *r, quern_cache_stats *out)
{
    memset(out, 0, sizeof *out);
    quern__redis_enter(r->link);
    out->there = 1;
    out->hits = r->hits;
    out->misses = r->misses;
    out->damaged = r->damaged;
    out->failures = quern__redis_link_failures(r->link);
    quern__redis_leave(r->link);
}
