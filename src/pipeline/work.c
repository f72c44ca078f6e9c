/*
 * work.c — a worker's loop: tasks as they come, scans when they are due (work_schedule.c).
 *
 * Each scan holds the lock of fill as well, so a fill by hand and a worker never scan one source together. While a scan
 * goes on (the first may take hours), tasks are worked on between its batches: the store belongs to one thread, and
 * nothing of the scan is open then. Rejected: a thread of its own for scans, which would need a second store and a second
 * share of memory.
 */
#include "pipeline/work_run.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/os.h"
#include "pipeline/fill_run.h"

enum {
    CLAIM = 250,
    MOST_CLAIM = 10000,
    LEASE_MS = 30000,
    TICK_MS = 2000,
    STALL_MS = 600000,
    ATTEMPTS = 10,
    TELL_MS = 200,
    NAP_MS = 50,
    WAIT_MS = 200,
    MOST_FAULTS = 5
};
static const int64_t INTERVAL_MS = 6 * 3600 * 1000;
static const int64_t BACKSTOP_MS = 24 * 3600 * 1000;
static const int64_t WINDOW_MS = 7 * 24 * (int64_t)3600 * 1000;
static const int64_t MAX_PER_RUN = 100, MOST_PER_RUN = 1000000;

void quern__work_count(work_run *w, const quern_fill_report *one)
{
    w->report->processed += one->processed;
    w->report->deleted += one->deleted;
    w->report->stale += one->stale;
    if (one->last_error[0])
        memcpy(w->report->last_error, one->last_error, sizeof w->report->last_error);
}

void quern__work_note(work_run *w, const char *source, int code, const char *message)
{
    snprintf(w->report->last_error, sizeof w->report->last_error, "%.63s: %.180s", source, message);
    quern__log(QUERN_LOG_WARN, "work", "source %s: %s: %s", source, quern_status_name(code),
               message);
}

int quern__work_tell(work_run *w, bool now, quern_error *err)
{
    int rc = quern__check_cancel(w->opt.cancel, err);
    uint64_t t = quern__now_ns();
    if (rc != QUERN_OK || !w->opt.progress ||
        (!now && t - w->told_ns < (uint64_t)TELL_MS * 1000000))
        return rc;
    w->told_ns = t;
    return w->opt.progress(w->report, w->opt.progress_ud)
               ? quern__fail(err, QUERN_ECANCELLED, 0, "cancelled by the caller")
               : QUERN_OK;
}

/* ---- generations ---- */

static int look_at(work_run *w, quern__recipe *recipe, const char *state, bool *there,
                   int64_t ids[2], size_t *n, quern_error *err)
{
    quern_generation g;
    quern__fill_settings settings;
    quern_error inner;
    int rc = w->s->table.generation_find(w->s->self, recipe->spec.name, state, &g, &inner);
    if (rc == QUERN_ENOTFOUND) /* *err may hold what is wrong with another one */
        return QUERN_OK;
    *there = *there || rc == QUERN_OK;
    if (rc == QUERN_OK)
        rc = quern__recipe_check_generation(recipe, w->s, w->e, &g, &settings, &inner);
    if (rc == QUERN_OK)
        ids[(*n)++] = g.id;
    if (rc != QUERN_OK && err)
        *err = inner;
    return rc == QUERN_EMISMATCH ? QUERN_OK : rc;
}

int quern__work_generations(work_run *w, const char *source, int64_t ids[2], size_t *n,
                            quern_error *err)
{
    quern__recipe *recipe = NULL;
    quern_error why = {0};
    bool there = false;
    *n = 0;
    int rc = quern__recipe_open(&recipe, w->s, source, err);
    if (rc == QUERN_OK) {
        rc = look_at(w, recipe, "active", &there, ids, n, &why);
        if (rc == QUERN_OK)
            rc = look_at(w, recipe, "building", &there, ids, n, &why);
        if (rc != QUERN_OK && err)
            *err = why;
    }
    if (rc == QUERN_OK && !there)
        rc = quern__fail(err, QUERN_ENOTFOUND, 0, "source %s: not filled yet", source);
    else if (rc == QUERN_OK && *n == 0)
        rc = quern__fail(err, QUERN_EMISMATCH, 0, "%s", why.msg);
    quern__recipe_free(recipe);
    return rc;
}

int quern__work_first(work_run *w, const char *source, quern_error *err)
{
    quern_fill_report one;
    quern_fill_options o = w->fill;
    QUERN_INIT(&one);
    o.limit = 1;
    int rc = quern__fill_source(w->s, w->e, &o, NULL, source, &one, err);
    quern__work_count(w, &one);
    return rc;
}

/* ---- the loop ---- */

/* lightly: a sign that there is something new ends it. */
static int nap(work_run *w, uint32_t ms, bool lightly, quern_error *err)
{
    uint64_t until = quern__now_ns() + (uint64_t)ms * 1000000;
    int rc = quern__work_tell(w, false, err);
    while (rc == QUERN_OK && quern__now_ns() < until) {
        uint64_t left = (until - quern__now_ns()) / 1000000 + 1;
        int woken = 0;
        if (lightly && w->s->table.task_wait)
            rc = w->s->table.task_wait(w->s->self, (uint32_t)QUERN__MIN(left, (uint64_t)WAIT_MS),
                                       &woken, err);
        else
            quern__sleep_ms((uint32_t)QUERN__MIN(left, (uint64_t)NAP_MS));
        if (rc == QUERN_OK)
            rc = quern__work_tell(w, false, err);
        if (woken || (w->sync && lightly)) /* its end is to be seen soon */
            break;
    }
    return rc;
}

static bool limit_reached(const work_run *w)
{
    return w->opt.limit && w->report->claimed >= w->opt.limit;
}

/* A fault of the embedder's or the store's pauses the work; the fifth in a row ends it, and a budget that is used up does at
 * once. */
static int bear(work_run *w, int rc, quern_error *err)
{
    if (rc == QUERN_OK || rc == QUERN_ECANCELLED || rc == QUERN_ENOMEM || rc == QUERN_EINTERNAL ||
        rc == QUERN_EBUDGET || w->opt.once || ++w->faults >= MOST_FAULTS)
        return rc;
    quern__log(QUERN_LOG_WARN, "work", "%s; going on in a moment (%d of %d)", err->msg, w->faults,
               MOST_FAULTS);
    return nap(w, (uint32_t)QUERN__MIN(w->opt.tick_ms << w->faults, 60000U), false, err);
}

static int loop(work_run *w, quern_error *err)
{
    for (;;) {
        size_t n = 0;
        int rc = bear(w, quern__work_scan(w, err), err);
        if (rc == QUERN_OK) {
            rc = quern__work_tasks(w, &n, err);
            w->faults = rc == QUERN_OK && n ? 0 : w->faults;
            rc = bear(w, rc, err);
        }
        if (rc == QUERN_OK)
            rc = quern__work_tell(w, n > 0, err);
        if (rc != QUERN_OK || limit_reached(w) || (w->opt.once && n == 0 && !w->sync))
            return rc;
        if (n < w->opt.claim && (!w->opt.once || w->sync))
            rc = nap(w, w->opt.tick_ms, true, err);
        if (rc != QUERN_OK)
            return rc;
    }
}

static int settle_options(work_run *w, quern_error *err)
{
    quern_work_options *o = &w->opt;
    if (!w->s->table.task_claim)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                           "the store '%s' has no tasks; a fill finds the same work",
                           w->s->table.name);
    if (o->claim > MOST_CLAIM)
        return quern__fail(err, QUERN_EINVAL, o->claim, "%u tasks at once: at most %d", o->claim,
                           MOST_CLAIM);
    o->claim = o->claim ? o->claim : CLAIM;
    o->lease_ms = o->lease_ms ? o->lease_ms : LEASE_MS;
    o->tick_ms = o->tick_ms ? o->tick_ms : TICK_MS;
    o->max_attempts = o->max_attempts ? o->max_attempts : ATTEMPTS;
    o->interval_ms = o->interval_ms ? o->interval_ms : INTERVAL_MS;
    o->backstop_ms = o->backstop_ms ? o->backstop_ms : BACKSTOP_MS;
    o->window_ms = o->window_ms ? o->window_ms : WINDOW_MS;
    o->max_per_run = o->max_per_run ? o->max_per_run : o->once ? -1 : MAX_PER_RUN;
    o->stall_ms = o->stall_ms ? o->stall_ms : STALL_MS;
    if (o->max_per_run > MOST_PER_RUN)
        return quern__fail(err, QUERN_EINVAL, o->max_per_run,
                           "%lld documents in one run: at most %lld, or no limit",
                           (long long)o->max_per_run, (long long)MOST_PER_RUN);
    w->by_cron = o->cron && *o->cron;
    if (w->by_cron && quern__cron_parse(&w->cron, o->cron, err) != QUERN_OK)
        return QUERN_EINVAL;
    QUERN_INIT(&w->fill);
    if (o->fill)
        memcpy(&w->fill, o->fill, QUERN__MIN(o->fill->struct_size, sizeof w->fill));
    w->fill.source = w->fill.since = NULL;
    w->fill.limit = 0;
    w->fill.wait_ms = 0;
    w->fill.dry_run = w->fill.force = w->fill.full = w->fill.allow_empty = 0;
    w->fill.progress = NULL;
    w->fill.cancel = o->cancel;
    for (size_t i = 0; i < o->n_sources; i++) {
        quern__recipe *recipe = NULL;
        int rc = quern__recipe_open(&recipe, w->s, o->sources[i], err);
        quern__recipe_free(recipe);
        if (rc != QUERN_OK)
            return rc;
    }
    return QUERN_OK;
}

int quern_work(quern_store *s, quern_embedder *e, const quern_work_options *opt,
               quern_work_report *report, quern_error *err)
{
    QUERN__REQUIRE(s && e, err);
    QUERN__REQUIRE(!opt || (opt->struct_size >= sizeof *opt && (opt->sources || !opt->n_sources)),
                   err);
    QUERN__REQUIRE(!report || report->struct_size >= sizeof *report, err);
    quern_work_report sum;
    quern_error fault = {0};
    work_run w = {.s = s, .e = e, .report = &sum};
    QUERN_INIT(&sum);
    QUERN_INIT(&w.opt);
    if (opt)
        w.opt = *opt;
    quern__rng_seed(&w.rng, quern__os_entropy());
    int rc = settle_options(&w, &fault);
    if (rc == QUERN_OK)
        rc = loop(&w, &fault);
    quern__work_retire(&w);
    if (rc == QUERN_OK && (sum.failed || sum.dead || sum.retried || sum.syncs_failed))
        rc = quern__fail(&fault, QUERN_EPARTIAL, (int64_t)(sum.failed + sum.dead + sum.retried),
                         "%llu documents failed and %llu tasks have to be tried again: %s",
                         (unsigned long long)(sum.failed + sum.dead),
                         (unsigned long long)sum.retried,
                         sum.last_error[0] ? sum.last_error : "see the log");
    if (rc != QUERN_OK && err)
        *err = fault;
    if (report)
        *report = sum;
    return rc;
}
