/*
 * window.c — a log of the grants of the last minute. A bucket that refills would need two words and lets through up to twice
 * the limit in an unlucky minute, which is where providers count. The log is a ring of 16 bytes a grant: 8 KiB for 500 a
 * minute. Without a limit of requests it holds the last LOG grants; more than those in a minute wait.
 */
#include "embedder/window.h"

#include <assert.h>

#include "base/alloc.h"

enum { LOG = 65536, LARGEST_LOG = 1 << 22 };

int quern__window_init(quern__window *w, uint64_t requests, uint64_t tokens, uint64_t length_ns,
                       quern_error *err)
{
    *w = (quern__window){.requests = requests, .tokens = tokens, .length_ns = length_ns};
    w->room = requests && requests < LARGEST_LOG ? (size_t)requests : (size_t)LOG;
    w->grants = quern__alloc_array(w->room, sizeof *w->grants);
    return w->grants ? QUERN_OK : quern__fail_memory(err, w->room * sizeof *w->grants);
}

void quern__window_dispose(quern__window *w)
{
    quern__free(w->grants);
    w->grants = NULL;
}

static quern__grant *grant_at(const quern__window *w, size_t i)
{
    return &w->grants[(w->first + i) % w->room];
}

static void forget_first(quern__window *w)
{
    w->sum -= grant_at(w, 0)->tokens;
    w->first = (w->first + 1) % w->room;
    w->n--;
}

static void forget_old(quern__window *w, uint64_t now_ns)
{
    assert(w->room > 0);
    while (w->n && now_ns - grant_at(w, 0)->at_ns >= w->length_ns)
        forget_first(w);
}

static void add(quern__window *w, uint64_t now_ns, uint64_t tokens)
{
    *grant_at(w, w->n) = (quern__grant){now_ns, tokens};
    w->n++;
    w->number++;
    w->sum += tokens;
}

/* Until the oldest ones have gone that stand in the way. A call larger than the limit waits for an empty window. */
uint64_t quern__window_ask(quern__window *w, uint64_t now_ns, uint64_t tokens)
{
    uint64_t wait = 0, sum;
    forget_old(w, now_ns);
    if (w->n == w->room)
        wait = grant_at(w, 0)->at_ns + w->length_ns - now_ns;
    sum = w->sum;
    for (size_t i = 0; w->tokens && i < w->n && sum + tokens > w->tokens; i++) {
        uint64_t until = grant_at(w, i)->at_ns + w->length_ns - now_ns;
        wait = until > wait ? until : wait;
        sum -= grant_at(w, i)->tokens;
    }
    if (wait)
        return wait;
    add(w, now_ns, tokens);
    return 0;
}

void quern__window_note(quern__window *w, uint64_t now_ns, uint64_t tokens)
{
    forget_old(w, now_ns);
    if (w->n == w->room)
        forget_first(w);
    add(w, now_ns, tokens);
}

/* Its place in the ring, w->n: none. */
static size_t place_of(const quern__window *w, uint64_t number)
{
    uint64_t oldest = w->number - w->n;
    return number < oldest || number >= w->number ? w->n : (size_t)(number - oldest);
}

const quern__grant *quern__window_grant(const quern__window *w, uint64_t number)
{
    size_t i = place_of(w, number);
    return i < w->n ? grant_at(w, i) : NULL;
}

void quern__window_correct(quern__window *w, uint64_t number, uint64_t tokens)
{
    size_t i = place_of(w, number);
    if (i == w->n)
        return; /* over a minute ago */
    quern__grant *g = grant_at(w, i);
    w->sum = w->sum - g->tokens + tokens;
    g->tokens = tokens;
}
