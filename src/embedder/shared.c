/*
 * shared.c — a process's side of limits that several keep together. While the place answers, it decides. When it does not:
 *
 * - Nothing leaves for a whole window: by then every permit that the place has given to anybody has left it. A place that
 *   restarts is back before that, as a rule.
 * - After it each process goes on with its part, the limit divided by the processes that the place last told of, so work does not
 *   stop for as long as the place is down, and all together keep to the limit; where there are more processes than calls in a
 *   window, none goes on. (Only one that is cut off from a place which
 *   the others still reach takes its part on top of theirs.)
 * - When the place is back, or has lost what it knew (another epoch), each tells first what it has permitted itself within the
 *   window.
 *
 * Rejected: to stop altogether (workers would give tasks up), to go on with the whole limit (N times as much), to divide it
 * from the beginning (a process alone would get an Nth of what it may).
 */
#include "embedder/shared.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/os.h"
#include "embedder/window.h"

#define RETRY_NS (UINT64_C(1000) * 1000 * 1000)

enum { AT_ONCE = 100, FORGOTTEN = 10 /* windows */ };

struct quern__shared {
    quern__place place;
    quern__share share;
    /* the asker's alone */
    uint64_t lost_ns, retry_ns;    /* since when the place does not answer, when it is asked next */
    uint64_t ids, epoch, heard_ns; /* heard: from the place, which forgets what is not used */
    uint32_t processes;
    bool lost, has_part;
    quern__mutex *mutex;
    /* under the mutex */
    quern__window log;  /* all that this process has been permitted */
    quern__window part; /* and what it has permitted itself, while it does */
    uint64_t told;      /* those of the log before this number are known to the place */
};

int quern__place_open(quern__place *out, const char *url, const quern__share *share,
                      quern_error *err)
{
    bool postgres = strncmp(url, "postgres://", 11) == 0 || strncmp(url, "postgresql://", 13) == 0;
    if (strlen(share->name) > QUERN__SHARED_NAME)
        return quern__fail(err, QUERN_EINVAL, (int64_t)strlen(share->name),
                           "the name of a shared limit has at most %d bytes, '%.80s…' has %zu",
                           QUERN__SHARED_NAME, share->name, strlen(share->name));
    if (share->requests > QUERN__SHARED_MOST)
        return quern__fail(err, QUERN_EINVAL, (int64_t)share->requests,
                           "a shared limit is at most %d requests, not %" PRIu64,
                           QUERN__SHARED_MOST, share->requests);
    if (postgres) {
#ifdef QUERN_POSTGRES
        return quern__place_postgres(out, url, share, err);
#else
        return quern__fail(err, QUERN_EUNSUPPORTED, 0, "this quern is built without PostgreSQL");
#endif
    }
    if (strncmp(url, "redis://", 8) != 0 && strncmp(url, "unix://", 7) != 0)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "limits are shared through redis://…, unix:///… or postgres://…");
#ifdef QUERN_REDIS
    return quern__place_redis(out, url, share, err);
#else
    (void)out;
    return quern__fail(err, QUERN_EUNSUPPORTED, 0, "this quern is built without Redis");
#endif
}

static uint64_t whole_ns(const quern__shared *s)
{
    return (s->share.window_us + s->share.late_us) * 1000;
}

int quern__shared_new(quern__shared **out, const quern__place *place, const quern__share *share,
                      quern_error *err)
{
    quern__place_answer answer = {0};
    quern__shared *s = quern__calloc(1, sizeof *s);
    *out = NULL;
    if (!s) {
        place->close(place->self);
        return quern__fail_memory(err, sizeof *s);
    }
    s->place = *place;
    s->share = *share;
    s->share.name = NULL; /* the place's */
    int rc = quern__mutex_new(&s->mutex, err);
    if (!rc)
        rc = quern__window_init(&s->log, share->requests, 0, whole_ns(s), err);
    if (!rc)
        rc = place->tell(place->self, NULL, 0, &answer, err);
    s->epoch = answer.epoch;
    s->processes = answer.processes;
    if (rc) {
        quern__shared_free(s);
        return rc;
    }
    *out = s;
    return QUERN_OK;
}

void quern__shared_free(quern__shared *s)
{
    if (!s)
        return;
    s->place.close(s->place.self);
    quern__window_dispose(&s->log);
    quern__window_dispose(&s->part);
    quern__mutex_free(s->mutex);
    quern__free(s);
}

/* ---- the place ---- */

/* Some of what the place does not know yet, those that still count; *next: the number behind them. */
static size_t collect(quern__shared *s, uint64_t now_ns, quern__untold *list, uint64_t *next)
{
    size_t n = 0;
    quern__mutex_lock(s->mutex);
    s->told = QUERN__MAX(s->told, s->log.number - s->log.n);
    for (*next = s->told; *next < s->log.number && n < AT_ONCE; ++*next) {
        const quern__grant *g = quern__window_grant(&s->log, *next);
        if (now_ns - g->at_ns >= whole_ns(s))
            continue;
        snprintf(list[n].id, sizeof list[n].id, "%s-t%" PRIx64, s->share.me, *next);
        list[n].age_us = (now_ns - g->at_ns) / 1000;
        list[n].tokens = g->tokens;
        n++;
    }
    quern__mutex_unlock(s->mutex);
    return n;
}

static int tell_all(quern__shared *s, uint64_t now_ns, quern_error *err)
{
    quern__place_answer answer;
    uint64_t next;
    int rc = QUERN_OK;
    if (s->told == s->log.number) /* only the asker changes them */
        return rc;
    quern__untold *list = quern__alloc_array(AT_ONCE, sizeof *list);
    if (!list)
        return quern__fail_memory(err, AT_ONCE * sizeof *list);
    for (size_t n; !rc && ((n = collect(s, now_ns, list, &next)) || next > s->told);) {
        if (n)
            rc = s->place.tell(s->place.self, list, n, &answer, err);
        if (rc)
            break;
        s->told =
            next; /* the epoch is looked at by who takes: then the place hears what was known */
    }
    quern__free(list);
    return rc;
}

static int take(quern__shared *s, uint64_t now_ns, uint64_t tokens, quern__permit *out,
                quern__place_answer *answer, quern_error *err)
{
    int rc = tell_all(s, now_ns, err);
    snprintf(out->id, sizeof out->id, "%s-%" PRIx64, s->share.me, s->ids++);
    return rc ? rc : s->place.take(s->place.self, out->id, tokens, s->epoch, answer, err);
}

static int ask_place(quern__shared *s, uint64_t now_ns, uint64_t tokens, quern__permit *out,
                     uint64_t *wait_ns, quern_error *err)
{
    quern__place_answer answer;
    if (now_ns - s->heard_ns > FORGOTTEN * s->share.window_us * 1000)
        s->epoch = 0;
    int rc = take(s, now_ns, tokens, out, &answer, err);
    if (!rc && s->epoch && answer.epoch != s->epoch) { /* it knows nothing of the time before */
        s->told = 0;
        s->epoch = answer.epoch;
        rc = take(s, now_ns, tokens, out, &answer, err);
    }
    if (rc)
        return rc;
    s->epoch = answer.epoch;
    s->heard_ns = now_ns;
    s->processes = answer.processes;
    *wait_ns = answer.wait_us * 1000;
    if (*wait_ns)
        return QUERN_OK;
    quern__mutex_lock(s->mutex);
    quern__window_note(&s->log, now_ns, tokens);
    out->number = s->log.number - 1;
    s->told = s->log.number;
    quern__mutex_unlock(s->mutex);
    return QUERN_OK;
}

/* ---- without it ---- */

static uint32_t sharers(const quern__shared *s)
{
    return QUERN__MAX(s->processes, 1u);
}

static void lose(quern__shared *s, uint64_t now_ns, const quern_error *why)
{
    s->retry_ns = now_ns + RETRY_NS;
    if (s->lost)
        return;
    s->lost = true;
    s->lost_ns = now_ns;
    quern__log(QUERN_LOG_WARN, "limits",
               "the limits cannot be shared: %.300s; nothing leaves for %" PRIu64
               " s, then this process takes one part of %u",
               why->msg, whole_ns(s) / 1000000000, sharers(s));
}

static void find(quern__shared *s)
{
    if (!s->lost)
        return;
    s->lost = false;
    if (s->has_part)
        quern__window_dispose(&s->part);
    s->has_part = false;
    quern__log(QUERN_LOG_WARN, "limits", "the limits are shared again");
}

static int open_part(quern__shared *s, quern_error *err)
{
    uint64_t n = sharers(s);
    int rc = quern__window_init(&s->part, s->share.requests / n,
                                s->share.tokens ? QUERN__MAX(s->share.tokens / n, UINT64_C(1)) : 0,
                                whole_ns(s), err);
    s->has_part = rc == QUERN_OK;
    return rc;
}

static int ask_part(quern__shared *s, uint64_t now_ns, uint64_t tokens, quern__permit *out,
                    uint64_t *wait_ns, quern_error *err)
{
    uint64_t since = now_ns - s->lost_ns;
    int rc = QUERN_OK;
    out->id[0] = '\0';
    if (since < whole_ns(s)) {
        *wait_ns = whole_ns(s) - since;
        return rc;
    }
    if (s->share.requests && s->share.requests < sharers(s)) { /* nobody's part is a whole call */
        *wait_ns = whole_ns(s);
        return rc;
    }
    quern__mutex_lock(s->mutex);
    if (!s->has_part)
        rc = open_part(s, err);
    *wait_ns = rc ? 1 : quern__window_ask(&s->part, now_ns, tokens);
    if (!*wait_ns)
        quern__window_note(&s->log, now_ns, tokens);
    out->number = s->log.number - 1;
    quern__mutex_unlock(s->mutex);
    return rc;
}

int quern__shared_ask(quern__shared *s, uint64_t now_ns, uint64_t tokens, quern__permit *out,
                      uint64_t *wait_ns, quern_error *err)
{
    quern_error why = {0};
    *out = (quern__permit){.number = UINT64_MAX};
    *wait_ns = 1;
    if (!s->lost || now_ns >= s->retry_ns) {
        int rc = ask_place(s, now_ns, tokens, out, wait_ns, &why);
        if (rc == QUERN_OK)
            find(s);
        if (rc == QUERN_ENOMEM && err)
            *err = why;
        if (rc == QUERN_OK || rc == QUERN_ENOMEM)
            return rc;
        lose(s, now_ns, &why);
    }
    int rc = ask_part(s, now_ns, tokens, out, wait_ns, err);
    if (!rc && *wait_ns && now_ns < s->retry_ns)
        *wait_ns = QUERN__MIN(*wait_ns, s->retry_ns - now_ns);
    return rc;
}

void quern__shared_settle(quern__shared *s, const quern__permit *permit, uint64_t tokens)
{
    if (tokens) {
        quern__mutex_lock(s->mutex);
        quern__window_correct(&s->log, permit->number, tokens);
        quern__mutex_unlock(s->mutex);
    }
    if (permit->id[0]) /* should it fail, the permit counts for as long as it may be under way */
        s->place.settle(s->place.self, permit->id, tokens, NULL);
}
