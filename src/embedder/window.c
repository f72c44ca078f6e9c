/*
 * window.c — a log of the grants of the last minute. A bucket that refills would need two words and lets through up to twice
 * the limit in an unlucky minute, which is where providers count. The log is a ring of 16 bytes a grant: 8 KiB for 500 a
 * minute. Without a limit of requests it holds the last LOG grants; more than those in a minute wait.
 */
#include "embedder/window.h"

#include <assert.h>

#include "base/alloc.h"

#define MINUTE_NS (UINT64_C(60) * 1000 * 1000 * 1000)

enum { LOG = 65536, LARGEST_LOG = 1 << 22 };

int quern__window_init(quern__window *w, uint64_t requests, uint64_t tokens, quern_error *err)
{
    *w = (quern__window){.requests = requests, .tokens = tokens};
    w->room = requests && requests < LARGEST_LOG ? (size_t)requests : (size_t)LOG;
    w->grants = quern__alloc_array(w->room, sizeof *w->grants);
    return w->grants ? QUERN_OK : quern__fail_memory(err, w->room * sizeof *w->grants);
}

void quern__window_dispose(quern__window *w)
{
    quern__free(w->grants);
    w->grants = NULL;
}

static struct quern__grant *grant_at(const quern__window *w, size_t i)
{
    return &w->grants[(w->first + i) % w->room];
}

static void forget_old(quern__window *w, uint64_t now_ns)
{
    assert(w->room > 0);
    while (w->n && now_ns - grant_at(w, 0)->at_ns >= MINUTE_NS) {
        w->sum -= grant_at(w, 0)->tokens;
        w->first = (w->first + 1) % w->room;
        w->n--;
    }
}

/* Until the oldest ones have gone that stand in the way. A call larger than the limit waits for an empty window. */
uint64_t quern__window_ask(quern__window *w, uint64_t now_ns, uint64_t tokens)
{
    uint64_t wait = 0, sum;
    forget_old(w, now_ns);
    if (w->n == w->room)
        wait = grant_at(w, 0)->at_ns + MINUTE_NS - now_ns;
    sum = w->sum;
    for (size_t i = 0; w->tokens && i < w->n && sum + tokens > w->tokens; i++) {
        uint64_t until = grant_at(w, i)->at_ns + MINUTE_NS - now_ns;
        wait = until > wait ? until : wait;
        sum -= grant_at(w, i)->tokens;
    }
    if (wait)
        return wait;
    *grant_at(w, w->n) = (struct quern__grant){now_ns, tokens};
    w->n++;
    w->number++;
    w->sum += tokens;
    return 0;
}

void quern__window_correct(quern__window *w, uint64_t number, uint64_t tokens)
{
    uint64_t oldest = w->number - w->n;
    if (number < oldest || number >= w->number)
        return; /* over a minute ago */
    struct quern__grant *g = grant_at(w, (size_t)(number - oldest));
    w->sum = w->sum - g->tokens + tokens;
    g->tokens = tokens;
}
