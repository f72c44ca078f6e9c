/*
 * work_tasks.c — one helping of tasks. They are claimed together under one lease, which the run renews while it embeds
 * (its progress is told on the thread that may use the store), and grouped by source. Each group goes through every
 * generation in use, and only then are its tasks settled: a task is done when its document is current in all of them.
 *
 * Faults: what belongs to a document (a text that can never be embedded) makes a dead letter at once, since another try
 * would end the same. What belongs to a source (a column that is gone, settings that differ) is tried at a slow pace. What
 * belongs to nobody's document (the server of an embedder, a lock) does not count as the task's attempt.
 */
#include "pipeline/work_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/os.h"
#include "pipeline/fill_run.h"

enum {
    FIRST_MS = 5000,
    LONGEST_MS = 600000,
    SLOW_FIRST_MS = 15 * 60 * 1000,
    SLOW_LONGEST_MS = 7 * 24 * 3600 * 1000,
    STALE_MS = 200, /* the row is being edited */
    SETTLE_TRIES = 3,
    DRAIN = 500 /* notes of live sources in one transaction */
};

typedef struct held_task {
    int64_t id;
    uint32_t attempts;
    quern_str source, key;
} held_task;

typedef struct helping {
    work_run *w;
    quern__arena arena;
    held_task *tasks;
    fill_task *states;
    size_t n, room;
    quern_error *err;
} helping;

static int copy_str(helping *h, quern_str from, quern_str *to)
{
    to->ptr = quern__arena_copy(&h->arena, from.ptr ? from.ptr : "", from.len);
    to->len = from.len;
    return to->ptr ? QUERN_OK : quern__fail_memory(h->err, from.len);
}

static int take_task(const quern_task *t, void *ud)
{
    helping *h = ud;
    if (h->n == h->room) {
        size_t room = h->room ? 2 * h->room : 64;
        held_task *more = quern__resize_array(h->tasks, room, sizeof *more);
        if (!more)
            return quern__fail_memory(h->err, room * sizeof *more);
        h->tasks = more;
        h->room = room;
    }
    held_task *k = &h->tasks[h->n];
    *k = (held_task){.id = t->id, .attempts = t->attempts};
    int rc = copy_str(h, t->source, &k->source);
    if (rc == QUERN_OK)
        rc = copy_str(h, t->key, &k->key);
    h->n += rc == QUERN_OK;
    return rc;
}

/* By source, then by key: the order in which fill looks keys up. */
static int by_source(const void *a, const void *b)
{
    const held_task *x = a, *y = b;
    int order = strcmp(x->source.ptr, y->source.ptr); /* the arena ends strings with a zero */
    const fill_task kx = {.key = x->key}, ky = {.key = y->key};
    return order ? order : quern__fill_by_key(&kx, &ky);
}

/* ---- ends ---- */

static uint64_t backoff(work_run *w, uint32_t attempts, uint64_t first, uint64_t longest)
{
    uint64_t ms = first;
    for (uint32_t i = 1; i < attempts && ms < longest; i++)
        ms *= 2;
    ms = QUERN__MIN(ms, longest);
    return ms + quern__rng_below(&w->rng, (uint32_t)QUERN__MIN(ms / 4 + 1, (uint64_t)UINT32_MAX));
}

/* Bytes of a message that fit, without half a character at their end. */
static quern_str whole_characters(const char *s, size_t most)
{
    size_t n = strlen(s);
    if (n > most)
        n = most;
    while (n && n == most && ((unsigned char)s[n] & 0xc0) == 0x80)
        n--;
    return (quern_str){s, n};
}

static bool is_settings_fault(int rc)
{
    return rc == QUERN_EMISMATCH || rc == QUERN_EINVAL || rc == QUERN_ENOTFOUND ||
           rc == QUERN_EUNSUPPORTED;
}

static bool is_nobodys_fault(int rc)
{
    return rc == QUERN_EREMOTE || rc == QUERN_EBUSY || rc == QUERN_ECANCELLED ||
           rc == QUERN_EBUDGET;
}

/* How a task ends whose document was left in this state by a run that ended with rc. */
static quern_task_end end_of(work_run *w, const held_task *k, const fill_task *t, int rc,
                             const char *message)
{
    quern_task_end e = {.id = k->id, .kind = QUERN_TASK_DONE};
    if (t->state == FILL_TASK_DONE)
        return e;
    e.generation = t->generation;
    if (t->state == FILL_TASK_FAILED) {
        e.kind = QUERN_TASK_GIVE_UP;
        e.error = whole_characters(t->reason, 400);
        return e;
    }
    if (t->state == FILL_TASK_STALE || is_nobodys_fault(rc)) {
        e.kind = QUERN_TASK_RELEASE;
        e.delay_ms = rc == QUERN_ECANCELLED        ? 0
                     : t->state == FILL_TASK_STALE ? STALE_MS
                                                   : backoff(w, 1, FIRST_MS, FIRST_MS);
        return e;
    }
    e.kind = k->attempts >= w->opt.max_attempts ? QUERN_TASK_GIVE_UP : QUERN_TASK_RETRY;
    e.delay_ms = is_settings_fault(rc) ? backoff(w, k->attempts, SLOW_FIRST_MS, SLOW_LONGEST_MS)
                                       : backoff(w, k->attempts, FIRST_MS, LONGEST_MS);
    e.error = whole_characters(message && *message ? message : "not finished", 400);
    return e;
}

static void count_end(work_run *w, const quern_task_end *e, bool settled, bool gone)
{
    quern_work_report *r = w->report;
    if (!settled && e->kind == QUERN_TASK_DONE && gone)
        r->done++; /* its task went with its row */
    else if (!settled)
        r->lost++;
    else if (e->kind == QUERN_TASK_DONE)
        r->done++;
    else if (e->kind == QUERN_TASK_RETRY)
        r->retried++;
    else if (e->kind == QUERN_TASK_RELEASE)
        r->released++;
    else
        r->dead++;
}

/* Settles tasks[0, n), whose states stand beside them. */
static int settle(helping *h, const held_task *tasks, const fill_task *states, size_t n, int rc,
                  const char *message, bool gone, quern_error *err)
{
    work_run *w = h->w;
    quern_task_end *ends = quern__alloc_array(n + 1, sizeof *ends);
    uint8_t *settled = quern__calloc(n + 1, 1);
    int done = ends && settled ? QUERN_EBUSY : quern__fail_memory(err, n * sizeof *ends);
    for (size_t i = 0; i < n && done == QUERN_EBUSY; i++)
        ends[i] = end_of(w, &tasks[i], &states[i], rc, message);
    for (int i = 0; i < SETTLE_TRIES && done == QUERN_EBUSY; i++)
        done = w->s->table.task_settle(w->s->self, w->lease, ends, n, settled, err);
    for (size_t i = 0; i < n && done == QUERN_OK; i++) {
        count_end(w, &ends[i], settled[i], gone);
        if (ends[i].kind == QUERN_TASK_GIVE_UP)
            quern__log_item("work", tasks[i].source.ptr, tasks[i].key.ptr, rc ? rc : QUERN_EFORMAT,
                            "given up; see the dead letters");
    }
    quern__free(ends);
    quern__free(settled);
    return done;
}

/* ---- one source's tasks ---- */

static int keep_lease(const quern_fill_progress *p, void *ud)
{
    work_run *w = ud;
    uint64_t now = quern__now_ns(), moved = p->done + p->failed + p->chunks + p->tokens;
    if (moved != w->moved)
        w->moved_ns = now;
    w->moved = moved;
    bool stalled = now - w->moved_ns > (uint64_t)w->opt.stall_ms * 1000000;
    if (!stalled && now - w->renewed_ns > (uint64_t)w->opt.lease_ms * 1000000 / 3) {
        uint64_t held = 0;
        quern_error inner;
        /* a renewal that fails is tried again at once; a lease that is lost is found by the fence */
        if (w->s->table.task_renew(w->s->self, w->lease, w->opt.lease_ms, &held, &inner) ==
            QUERN_OK)
            w->renewed_ns = now;
        else
            quern__log(QUERN_LOG_WARN, "work", "a lease could not be renewed: %s", inner.msg);
    }
    return quern__work_tell(w, false, NULL) != QUERN_OK;
}

/* The worse of what became of a document in two generations. */
static void worse(fill_task *all, const fill_task *one)
{
    static const int rank[] = {[FILL_TASK_DONE] = 0,
                               [FILL_TASK_STALE] = 1,
                               [FILL_TASK_SEEN] = 2,
                               [FILL_TASK_NEW] = 2,
                               [FILL_TASK_FAILED] = 3};
    if (rank[one->state] > rank[all->state])
        *all = *one;
}

static int run_generation(work_run *w, const char *source, int64_t id, fill_task *states, size_t n,
                          bool *ended, quern_error *err)
{
    quern_fill_report one;
    quern_fill_options o = w->fill;
    fill_aim aim = {
        .refresh = true, .generation = id, .locked = true, .tasks = states, .n_tasks = n};
    QUERN_INIT(&one);
    o.progress = keep_lease;
    o.progress_ud = w;
    int rc = quern__fill_source(w->s, w->e, &o, &aim, source, &one, err);
    *ended = one.ended != 0;
    quern__work_count(w, &one);
    return rc;
}

/* Runs the tasks through all generations; into states[i] comes the worst. */
static int run_source(work_run *w, const char *source, const held_task *tasks, fill_task *states,
                      size_t n, quern_error *err)
{
    int64_t ids[2];
    size_t generations = 0;
    int rc = quern__work_generations(w, source, ids, &generations, err);
    if (rc == QUERN_ENOTFOUND) {
        rc = quern__work_first(w, source, err);
        if (rc == QUERN_OK)
            rc = quern__work_generations(w, source, ids, &generations, err);
    }
    fill_task *one = quern__alloc_array(n + 1, sizeof *one);
    if (rc == QUERN_OK && !one)
        rc = quern__fail_memory(err, n * sizeof *one);
    for (size_t i = 0; i < n; i++) {
        states[i] = (fill_task){.key = tasks[i].key, .lease = w->lease};
        states[i].state = rc == QUERN_OK ? FILL_TASK_DONE : FILL_TASK_NEW;
    }
    for (size_t g = 0; g < generations && rc == QUERN_OK; g++) {
        bool ended = false;
        for (size_t i = 0; i < n; i++)
            one[i] = (fill_task){.key = tasks[i].key, .lease = w->lease, .generation = ids[g]};
        rc = run_generation(w, source, ids[g], one, n, &ended, err);
        for (size_t i = 0; i < n && !ended; i++)
            worse(&states[i], &one[i]);
    }
    quern__free(one);
    return rc;
}

/* Gives up those that have been claimed too often: their workers died, or never told why. */
static void drop_worn_out(const work_run *w, const held_task *tasks, fill_task *states, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (tasks[i].attempts > w->opt.max_attempts) {
            states[i].state = FILL_TASK_FAILED;
            snprintf(states[i].reason, sizeof states[i].reason,
                     "claimed %" PRIu32 " times and never finished: its workers died",
                     tasks[i].attempts - 1);
        }
}

/* tasks[from, to) are of one source. */
static int work_source(helping *h, size_t from, size_t to, quern_error *err)
{
    work_run *w = h->w;
    held_task *tasks = h->tasks + from;
    fill_task *states = h->states + from;
    const char *source = tasks[0].source.ptr;
    size_t n = to - from, worn = 0;
    quern_error fault = {0};
    /* the worn out first, so that the others are one array */
    for (size_t i = 0; i < n; i++)
        if (tasks[i].attempts > w->opt.max_attempts) {
            held_task t = tasks[i];
            memmove(&tasks[worn + 1], &tasks[worn], (i - worn) * sizeof t);
            tasks[worn++] = t;
        }
    drop_worn_out(w, tasks, states, worn);
    int rc =
        n > worn ? run_source(w, source, tasks + worn, states + worn, n - worn, &fault) : QUERN_OK;
    if (rc == QUERN_EPARTIAL)
        rc = QUERN_OK;
    if (rc == QUERN_EREMOTE && fault.retry_ms < 0)
        rc = QUERN_EUNSUPPORTED; /* no pause will mend a wrong key, or a model that is not served */
    if (rc != QUERN_OK && rc != QUERN_ECANCELLED)
        quern__work_note(w, source, rc, fault.msg);
    int settled = settle(h, tasks, states, n, rc, fault.msg, true, err);
    if (rc == QUERN_OK || is_settings_fault(rc))
        return settled;
    if (err)
        *err = fault;
    return rc;
}

static int work_all(helping *h, quern_error *err)
{
    int first = QUERN_OK;
    qsort(h->tasks, h->n, sizeof *h->tasks, by_source);
    for (size_t from = 0, to; from < h->n; from = to) {
        for (to = from + 1;
             to < h->n && strcmp(h->tasks[to].source.ptr, h->tasks[from].source.ptr) == 0;)
            to++;
        quern_error fault = {0};
        int rc = QUERN_OK;
        if (first == QUERN_OK) {
            rc = work_source(h, from, to, &fault);
        } else { /* after a fault nothing is begun any more: the rest is given back */
            for (size_t i = from; i < to; i++)
                h->states[i] = (fill_task){.key = h->tasks[i].key};
            settle(h, h->tasks + from, h->states + from, to - from, QUERN_ECANCELLED, "", false,
                   &fault);
        }
        if (rc != QUERN_OK && first == QUERN_OK) {
            first = rc;
            if (err)
                *err = fault;
        }
    }
    return first;
}

int quern__work_tasks(work_run *w, size_t *n, quern_error *err)
{
    helping h = {.w = w, .err = err};
    uint64_t left =
        w->opt.limit ? w->opt.limit - QUERN__MIN(w->opt.limit, w->report->claimed) : UINT64_MAX;
    size_t most = (size_t)QUERN__MIN((uint64_t)w->opt.claim, left);
    const char *one = w->opt.n_sources == 1 ? w->opt.sources[0] : NULL;
    int rc = QUERN_OK;
    *n = 0;
    quern__arena_init(&h.arena, 0);
    w->in_tasks = true;
    uint64_t moved = w->s->table.live_drain ? DRAIN : 0;
    while (rc == QUERN_OK && moved == DRAIN)
        rc = w->s->table.live_drain(w->s->self, DRAIN, &moved, err);
    for (size_t i = 0; i < QUERN__MAX(w->opt.n_sources, (size_t)1) && rc == QUERN_OK && most; i++) {
        const char *source = w->opt.n_sources > 1 ? w->opt.sources[i] : one;
        h.n = 0;
        rc = w->s->table.task_claim(w->s->self, source, most, w->opt.lease_ms, &w->lease, take_task,
                                    &h, err);
        w->renewed_ns = w->moved_ns = quern__now_ns();
        w->report->claimed += h.n;
        *n += h.n;
        most -= h.n;
        h.states = h.n ? quern__calloc(h.n, sizeof *h.states) : NULL;
        if (rc == QUERN_OK && h.n && !h.states)
            rc = quern__fail_memory(err, h.n * sizeof *h.states);
        if (rc == QUERN_OK && h.n)
            rc = work_all(&h, err);
        quern__free(h.states);
        quern__arena_dispose(&h.arena);
    }
    w->in_tasks = false;
    w->tasks_ns = quern__now_ns();
    quern__free(h.tasks);
    return rc;
}
