/*
 * place_redis.c — limits kept together in a Redis: a sorted set of permits by the time at which each counts, a hash of their
 * tokens, one of the clock, one set of processes, all under quern:limit:1:{NAME}. Each question is one script, so it is one
 * step; the clock is the server's, and made to go forward only.
 *
 * A permit counts from when its call has been answered, at the latest `late` after it was given: then, whatever the network
 * does in between, no window of the provider's own has more of them. A process that dies leaves permits that are
 * forgotten like all others.
 *
 * A Redis that was started a moment ago may have lost what it knew: it grants nothing before it has been up for a window. Every
 * process says so when it connects (INFO), as a script could be the first to come. So it is with one that is another than the
 * one before, and was up when that answered: a copy may lag. What goes by an eviction shows as a number of permits that is
 * not that of the clock's hash, and FLUSHALL as an epoch that is not the one a process knows: then it begins anew, and grants
 * nothing for a window, as what the other processes had been given is no longer known.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/os.h"
#include "db/redis_db.h"
#include "embedder/shared.h"

enum { TIMEOUT_MS = 1000, PAUSE_MS = 500, KEYS = 4, KEY_BYTES = QUERN__SHARED_NAME + 40 };

/* ARGV: this process, window, late, closed for, then the question's own. Times are microseconds. */
#define BEGIN                                                                                      \
    "if redis.replicate_commands then redis.replicate_commands() end\n"                            \
    "local log, tok, meta, who = KEYS[1], KEYS[2], KEYS[3], KEYS[4]\n"                             \
    "local me, window, late = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])\n"                     \
    "local function num(x) return string.format('%.0f', x) end\n"                                  \
    "local t = redis.call('TIME')\n"                                                               \
    "local raw = tonumber(t[1]) * 1000000 + tonumber(t[2])\n"                                      \
    "local m = redis.call('HMGET', meta, 'shift', 'last', 'closed', 'sum', 'epoch', 'n')\n"        \
    "local shift, last = tonumber(m[1] or 0), tonumber(m[2] or 0)\n"                               \
    "if raw + shift < last then shift = last - raw end\n"                                          \
    "local now = raw + shift\n"                                                                    \
    "local closed, sum, epoch = tonumber(m[3] or 0), tonumber(m[4] or 0), m[5] or num(raw)\n"      \
    "local function lost() closed = math.max(closed, tonumber(epoch) + window + late) end\n"       \
    "local n = redis.call('ZCARD', log)\n"                                                         \
    "if n ~= tonumber(m[6] or 0) or redis.call('HLEN', tok) ~= n then\n"                           \
    "  redis.call('DEL', log, tok)\n"                                                              \
    "  sum, epoch = 0, num(now)\n"                                                                 \
    "  lost()\n"                                                                                   \
    "end\n"                                                                                        \
    "local young = tonumber(ARGV[4])\n"                                                            \
    "if young > 0 and now + young > closed then closed = now + young end\n"                        \
    "redis.call('ZADD', who, num(now), me)\n"                                                      \
    "redis.call('ZREMRANGEBYSCORE', who, '-inf', num(now - 10 * window))\n"                        \
    "while true do\n"                                                                              \
    "  local old = redis.call('ZRANGEBYSCORE', log, '-inf', num(now - window), 'LIMIT', 0, 500)\n" \
    "  if #old == 0 then break end\n"                                                              \
    "  for _, n in ipairs(redis.call('HMGET', tok, unpack(old))) do\n"                             \
    "    sum = sum - tonumber(n or 0)\n"                                                           \
    "  end\n"                                                                                      \
    "  redis.call('HDEL', tok, unpack(old))\n"                                                     \
    "  redis.call('ZREM', log, unpack(old))\n"                                                     \
    "end\n"                                                                                        \
    "local wait = 0\n"

#define END                                                                                        \
    "redis.call('HSET', meta, 'shift', num(shift), 'last', num(now), 'closed', num(closed),\n"     \
    "  'sum', num(sum), 'epoch', epoch, 'n', redis.call('ZCARD', log))\n"                          \
    "local ttl = num(math.floor((10 * window + 2 * late) / 1000) + 60000)\n"                       \
    "for _, k in ipairs(KEYS) do redis.call('PEXPIRE', k, ttl) end\n"                              \
    "return {num(wait), redis.call('ZCARD', who), epoch}\n"

/* id, requests, tokens, tokens wanted, the epoch that is known. Of many small calls in the way of a large one it looks at the
 * 1,000 oldest. */
static const char take_script[] =
    BEGIN "local id, requests, limit, want = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), "
          "tonumber(ARGV[8])\n"
          "if ARGV[9] ~= '0' and ARGV[9] ~= epoch then\n"
          "  lost()\n"
          "  wait = 1\n"
          "elseif closed > now then wait = closed - now\n"
          "else\n"
          "  n = redis.call('ZCARD', log)\n"
          "  if requests > 0 and n >= requests then\n"
          "    local e = redis.call('ZRANGE', log, n - requests, n - requests, 'WITHSCORES')\n"
          "    wait = tonumber(e[2]) + window - now\n"
          "  end\n"
          "  local left, at = sum + want, 0\n"
          "  while limit > 0 and left > limit and at < n and at < 1000 do\n"
          "    local some = redis.call('ZRANGE', log, at, at + 99, 'WITHSCORES')\n"
          "    local names = {}\n"
          "    for i = 1, #some, 2 do names[#names + 1] = some[i] end\n"
          "    local tokens = redis.call('HMGET', tok, unpack(names))\n"
          "    for i = 1, #names do\n"
          "      if left <= limit then break end\n"
          "      left = left - tonumber(tokens[i] or 0)\n"
          "      wait = math.max(wait, tonumber(some[2 * i]) + window - now)\n"
          "    end\n"
          "    at = at + 100\n"
          "  end\n"
          "  if wait <= 0 then\n"
          "    redis.call('ZADD', log, num(now + late), id)\n"
          "    redis.call('HSET', tok, id, num(want))\n"
          "    sum = sum + want\n"
          "  end\n"
          "end\n" END;

/* id, age, tokens of each. */
static const char tell_script[] =
    BEGIN "for i = 5, #ARGV, 3 do\n"
          "  if redis.call('HSETNX', tok, ARGV[i], ARGV[i + 2]) == 1 then\n"
          "    redis.call('ZADD', log, num(now - tonumber(ARGV[i + 1]) + late), ARGV[i])\n"
          "    sum = sum + tonumber(ARGV[i + 2])\n"
          "  end\n"
          "end\n" END;

/* id, tokens. */
static const char settle_script[] = BEGIN
    "local at, before = redis.call('ZSCORE', log, ARGV[5]), redis.call('HGET', tok, ARGV[5])\n"
    "local tokens = tonumber(ARGV[6])\n"
    "if at and before then\n"
    "  if tonumber(at) > now then redis.call('ZADD', log, num(now), ARGV[5]) end\n"
    "  if tokens > 0 then\n"
    "    sum = sum + tokens - tonumber(before)\n"
    "    redis.call('HSET', tok, ARGV[5], num(tokens))\n"
    "  end\n"
    "end\n" END;

typedef struct place {
    quern__redis_link *link;
    quern__share share;
    char keys[KEYS][KEY_BYTES];
    /* under the link's mutex */
    uint64_t number,
        young_us; /* of the connection that was looked at; what is left of its Redis' first window */
    char run[41]; /* which Redis that was, and when it last answered */
    uint64_t heard_ns;
} place;

/* ---- one script ---- */

enum { FIXED = 3 + KEYS + 4 };

typedef struct script {
    const char **words;
    size_t *lengths;
    size_t n, room;
    char numbers[3][24];
} script;

static int script_new(script *s, const place *p, const char *text, size_t more, quern_error *err)
{
    *s = (script){.room = FIXED + more};
    s->words = quern__alloc_array(s->room, sizeof *s->words);
    s->lengths = quern__alloc_array(s->room, sizeof *s->lengths);
    if (!s->words || !s->lengths)
        return quern__fail_memory(err, s->room * sizeof *s->words);
    snprintf(s->numbers[0], sizeof s->numbers[0], "%" PRIu64, p->share.window_us);
    snprintf(s->numbers[1], sizeof s->numbers[1], "%" PRIu64, p->share.late_us);
    const char *first[FIXED] = {"EVAL",        text,          "4",          p->keys[0],
                                p->keys[1],    p->keys[2],    p->keys[3],   p->share.me,
                                s->numbers[0], s->numbers[1], s->numbers[2]};
    memcpy(s->words, first, sizeof first);
    s->n = FIXED;
    return QUERN_OK;
}

static void script_dispose(script *s)
{
    quern__free(s->words);
    quern__free(s->lengths);
}

/* What INFO says of `field`, "" when it does not. */
static void find_info(const redisReply *info, const char *field, char *out, size_t size)
{
    const char *at = info->type == REDIS_REPLY_STRING ? strstr(info->str, field) : NULL;
    at = at ? at + strlen(field) : "";
    snprintf(out, size, "%.*s", (int)QUERN__MIN(strcspn(at, "\r\n"), size - 1), at);
}

/* How much of a window is left in which it may know less than was given before. */
static uint64_t young_for(place *p, const char *run, uint64_t up_us)
{
    uint64_t whole_us = p->share.window_us + p->share.late_us;
    uint64_t since_us = (quern__now_ns() - p->heard_ns) / 1000;
    bool another = p->run[0] && strcmp(p->run, run) != 0;
    snprintf(p->run, sizeof p->run, "%s", run);
    up_us -=
        QUERN__MIN(up_us, UINT64_C(1000000)); /* whole seconds, of which one may not have passed */
    if (another && up_us > since_us)
        return whole_us;
    return up_us < whole_us ? whole_us - up_us : 0;
}

/* Of a connection that is new: how long its Redis has been there. */
static bool look_at_it(place *p)
{
    static const char *const words[] = {"INFO", "server"};
    static const size_t lengths[] = {4, 6};
    const char *command[] = {words[0], words[1]};
    if (p->number == quern__redis_link_number(p->link))
        return true;
    redisReply *said =
        quern__redis_order(p->link, 2, command, lengths) ? quern__redis_reply(p->link) : NULL;
    if (!said)
        return false;
    char up[24], run[sizeof p->run];
    find_info(said, "uptime_in_seconds:", up, sizeof up);
    find_info(said, "run_id:", run, sizeof run);
    freeReplyObject(said);
    p->young_us = young_for(p, run, strtoull(up, NULL, 10) * 1000000);
    p->number = quern__redis_link_number(p->link);
    if (p->young_us)
        quern__log(QUERN_LOG_WARN, "limits",
                   "Redis at %s was started a moment ago, or has taken another's place, and may "
                   "know nothing of the time before: nothing leaves for %" PRIu64 " s",
                   quern__redis_link_name(p->link), p->young_us / 1000000);
    return true;
}

static bool read_answer(const redisReply *r, quern__place_answer *out)
{
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 3 ||
        r->element[0]->type != REDIS_REPLY_STRING || r->element[1]->type != REDIS_REPLY_INTEGER ||
        r->element[2]->type != REDIS_REPLY_STRING)
        return false;
    long long processes = r->element[1]->integer;
    out->wait_us = strtoull(r->element[0]->str, NULL, 10);
    out->processes = (uint32_t)QUERN__MIN(QUERN__MAX(processes, 1LL), (long long)UINT32_MAX);
    out->epoch = strtoull(r->element[2]->str, NULL, 10);
    return true;
}

static int perform(place *p, script *s, quern__place_answer *out, quern_error *err)
{
    bool good = false;
    char why[160] = "an answer of another form";
    quern__redis_enter(p->link);
    if (quern__redis_connect(p->link) && look_at_it(p)) {
        snprintf(s->numbers[2], sizeof s->numbers[2], "%" PRIu64, p->young_us);
        for (size_t i = 0; i < s->n; i++)
            s->lengths[i] = strlen(s->words[i]);
        redisReply *r = quern__redis_order(p->link, (int)s->n, s->words, s->lengths)
                            ? quern__redis_reply(p->link)
                            : NULL;
        good = r && read_answer(r, out);
        if (good) {
            p->young_us = 0; /* it knows now */
            p->heard_ns = quern__now_ns();
        }
        freeReplyObject(r);
    }
    if (!quern__redis_alive(p->link))
        snprintf(why, sizeof why, "%s", quern__redis_link_fault(p->link));
    quern__redis_leave(p->link);
    return good ? QUERN_OK
                : quern__fail(err, QUERN_EREMOTE, 0, "Redis at %s: %s",
                              quern__redis_link_name(p->link), why);
}

/* ---- the questions ---- */

static int place_take(void *self, const char *id, uint64_t tokens, uint64_t epoch,
                      quern__place_answer *out, quern_error *err)
{
    place *p = self;
    script s;
    char numbers[4][24];
    const uint64_t values[4] = {p->share.requests, p->share.tokens, tokens, epoch};
    int rc = script_new(&s, p, take_script, 5, err);
    if (!rc) {
        s.words[s.n++] = id;
        for (int i = 0; i < 4; i++) {
            snprintf(numbers[i], sizeof numbers[i], "%" PRIu64, values[i]);
            s.words[s.n++] = numbers[i];
        }
        rc = perform(p, &s, out, err);
    }
    script_dispose(&s);
    return rc;
}

static int place_tell(void *self, const quern__untold *list, size_t n, quern__place_answer *out,
                      quern_error *err)
{
    place *p = self;
    script s;
    char(*numbers)[24] = quern__alloc_array(2 * n + 1, sizeof *numbers);
    int rc = numbers ? QUERN_OK : quern__fail_memory(err, 2 * n * sizeof *numbers);
    if (rc)
        return rc;
    rc = script_new(&s, p, tell_script, 3 * n, err);
    for (size_t i = 0; i < n && !rc; i++) {
        snprintf(numbers[2 * i], sizeof *numbers, "%" PRIu64, list[i].age_us);
        snprintf(numbers[2 * i + 1], sizeof *numbers, "%" PRIu64, list[i].tokens);
        s.words[s.n++] = list[i].id;
        s.words[s.n++] = numbers[2 * i];
        s.words[s.n++] = numbers[2 * i + 1];
    }
    if (!rc)
        rc = perform(p, &s, out, err);
    script_dispose(&s);
    quern__free(numbers);
    return rc;
}

static int place_settle(void *self, const char *id, uint64_t tokens, quern_error *err)
{
    place *p = self;
    script s;
    quern__place_answer unused;
    char number[24];
    int rc = script_new(&s, p, settle_script, 2, err);
    snprintf(number, sizeof number, "%" PRIu64, tokens);
    if (!rc) {
        s.words[s.n++] = id;
        s.words[s.n++] = number;
        rc = perform(p, &s, &unused, err);
    }
    script_dispose(&s);
    return rc;
}

/* Whoever leaves is no longer counted among those that share. */
static void sign_off(place *p)
{
    const char *words[] = {"ZREM", p->keys[3], p->share.me};
    const size_t lengths[] = {4, strlen(p->keys[3]), strlen(p->share.me)};
    quern__redis_enter(p->link);
    if (quern__redis_alive(p->link) && quern__redis_order(p->link, 3, words, lengths))
        freeReplyObject(quern__redis_reply(p->link));
    quern__redis_leave(p->link);
}

static void place_close(void *self)
{
    place *p = self;
    if (p->link)
        sign_off(p);
    quern__redis_link_free(p->link);
    quern__free(p);
}

int quern__place_redis(quern__place *out, const char *url, const quern__share *share,
                       quern_error *err)
{
    static const char *const ends[KEYS] = {"log", "tokens", "meta", "who"};
    place *p = quern__calloc(1, sizeof *p);
    if (!p)
        return quern__fail_memory(err, sizeof *p);
    p->share = *share;
    for (int i = 0; i < KEYS; i++) /* the braces keep them on one node of a cluster */
        snprintf(p->keys[i], KEY_BYTES, "quern:limit:1:{%.200s}:%s", share->name, ends[i]);
    p->share.name = NULL;
    int rc = quern__redis_link_new(&p->link, url, TIMEOUT_MS, PAUSE_MS, "limits", err);
    if (rc) {
        quern__free(p);
        return rc;
    }
    *out = (quern__place){p, place_take, place_tell, place_settle, place_close};
    return QUERN_OK;
}
