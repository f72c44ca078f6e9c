/*
 * work_schedule.c — when a worker scans, and how much of what it finds is taken.
 *
 * One worker of a store scans: the one that holds the lock "work", for as long as it lives; the others try for it every
 * few seconds. A run is due at the start, then by the interval or by the cron expression; what a cron expression has
 * missed while no worker was there is made up for once. When a run last began is kept in the store, as a mark that is
 * set when it has ended: who dies in the middle leaves it to be done again.
 *
 * A run is either whole (every document that lacks a stamp is embedded by this worker, between whose batches tasks are
 * worked on), or it takes some (fill_pick.h) and makes tasks of them, which any worker may do, and which are tried again
 * with pauses. A source is looked at whole when it never was, and whenever the time of the backstop is over: what the
 * window and the limit leave out is late and never lost.
 *
 * Intervals are counted on the clock that nobody can set. Cron goes by the clock on the wall: when that is put back, the
 * next time is worked out anew, and nothing waits for a date that was never to be.
 */
#include "pipeline/work_run.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/os.h"
#include "pipeline/fill_run.h"

enum {
    LEAD_MS = 5000,    /* between tries to become the one that scans */
    LATE_MS = 20000,   /* a time of a cron expression is kept up to so much later, by chance */
    BACK_MS = 60000,   /* a clock that goes back by more has been set */
    DECLARED_MS = 200, /* between looks whether a source is still the same */
    PUT = 256,         /* tasks in one transaction */
    MARK = 80
};

/* ---- marks ---- */

static void read_mark(const work_run *w, const char *what, const char *source, int64_t *ms)
{
    char name[MARK];
    quern_error ignored;
    *ms = 0;
    snprintf(name, sizeof name, "%s:%s", what, source);
    if (w->s->table.mark_get && w->s->table.mark_get(w->s->self, name, ms, &ignored) != QUERN_OK)
        *ms = 0;
    if (*ms > quern__wall_ms()) /* the clock has been put back since */
        *ms = 0;
}

static int write_mark(const work_run *w, const char *what, const char *source, int64_t ms,
                      quern_error *err)
{
    char name[MARK];
    snprintf(name, sizeof name, "%s:%s", what, source);
    return w->s->table.mark_put ? w->s->table.mark_put(w->s->self, name, ms, err) : QUERN_OK;
}

/* ---- one source ---- */

/* A source may be declared anew while it is scanned: its generation is then kept up no longer. */
static int still_declared(work_run *w, quern_error *err)
{
    int64_t ids[2];
    size_t n = 0;
    uint64_t now = quern__now_ns();
    if (now - w->declared_ns < (uint64_t)DECLARED_MS * 1000000)
        return QUERN_OK;
    w->declared_ns = now;
    int rc = quern__work_generations(w, w->scanned, ids, &n, err);
    if (rc == QUERN_ENOTFOUND) /* retired: the run finds that itself */
        return QUERN_OK;
    bool among = false;
    for (size_t i = 0; i < n; i++)
        among = among || ids[i] == w->scanned_id;
    if (rc == QUERN_OK && !among)
        rc = quern__fail(err, QUERN_EMISMATCH, w->scanned_id,
                         "source %s was declared anew while generation %" PRId64
                         " was brought up to date; that ends here",
                         w->scanned, w->scanned_id);
    return rc;
}

static int between(void *ud, quern_error *err)
{
    work_run *w = ud;
    size_t n = 0;
    int rc = quern__work_tell(w, false, err);
    if (rc == QUERN_OK)
        rc = still_declared(w, err);
    if (rc == QUERN_OK && quern__now_ns() - w->tasks_ns >= (uint64_t)w->opt.tick_ms * 1000000 / 2)
        rc = quern__work_tasks(w, &n, err);
    return rc;
}

static int told(const quern_fill_progress *p, void *ud)
{
    (void)p;
    return quern__work_tell(ud, false, NULL) != QUERN_OK;
}

/* pick NULL: all that it finds is embedded. */
static int scan_generation(work_run *w, const char *source, int64_t id, fill_pick *pick,
                           quern_error *err)
{
    quern_fill_report one;
    quern_fill_options o = w->fill;
    fill_aim aim = {.refresh = true, .generation = id, .pick = pick, .between = between, .ud = w};
    QUERN_INIT(&one);
    o.progress = told;
    o.progress_ud = w;
    w->scanned = source;
    w->scanned_id = id;
    w->declared_ns = quern__now_ns();
    int rc = quern__fill_source(w->s, w->e, &o, &aim, source, &one, err);
    quern__work_count(w, &one);
    w->report->failed += one.failed;
    return rc == QUERN_EPARTIAL ? QUERN_OK : rc;
}

static int put_tasks(work_run *w, const char *source, const quern_str *keys, size_t n,
                     quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t at = 0; rc == QUERN_OK && at < n; at += PUT) {
        uint64_t added = 0;
        rc = w->s->table.task_put(w->s->self, source, keys + at, QUERN__MIN(n - at, (size_t)PUT),
                                  "scheduled", &added, err);
        w->report->scheduled += rc == QUERN_OK ? added : 0;
    }
    return rc;
}

static int pick_generation(work_run *w, const char *source, int64_t id, quern_error *err)
{
    fill_pick *pick = NULL;
    const quern_str *keys = NULL;
    size_t n = 0;
    int64_t since = w->opt.window_ms < 0 ? INT64_MIN : quern__wall_ms() - w->opt.window_ms;
    int rc = quern__pick_new(&pick, (size_t)w->opt.max_per_run, since, err);
    if (rc == QUERN_OK)
        rc = scan_generation(w, source, id, pick, err);
    if (rc == QUERN_OK)
        rc = quern__pick_result(pick, &keys, &n, err);
    if (rc == QUERN_OK)
        rc = put_tasks(w, source, keys, n, err);
    quern__pick_free(pick);
    return rc;
}

static int scan_source(work_run *w, const char *source, quern_error *err)
{
    int64_t ids[2], began = quern__wall_ms(), looked_at = 0;
    size_t n = 0;
    read_mark(w, "whole", source, &looked_at);
    bool whole = w->whole || w->opt.max_per_run < 0 || (looked_at == 0 && w->opt.backstop_ms > 0);
    int rc = quern__work_generations(w, source, ids, &n, err);
    if (rc == QUERN_ENOTFOUND) {
        rc = quern__work_first(w, source, err);
        if (rc == QUERN_OK || rc == QUERN_EPARTIAL)
            rc = quern__work_generations(w, source, ids, &n, err);
    }
    for (size_t i = 0; i < n && rc == QUERN_OK; i++)
        rc = whole ? scan_generation(w, source, ids[i], NULL, err)
                   : pick_generation(w, source, ids[i], err);
    w->report->scans += rc == QUERN_OK;
    if (rc == QUERN_OK && whole)
        rc = write_mark(w, "whole", source, began, err);
    return rc == QUERN_OK ? write_mark(w, "run", source, began, err) : rc;
}

/* ---- all of them ---- */

/* What is wrong with one source, beside which the others can be scanned. */
static bool is_source_fault(int rc)
{
    return rc == QUERN_ENOTFOUND || rc == QUERN_EBUSY || rc == QUERN_EMISMATCH ||
           rc == QUERN_EINVAL || rc == QUERN_EUNSUPPORTED;
}

static int each_source(work_run *w, int (*fn)(work_run *w, const char *source, quern_error *err),
                       quern_error *err)
{
    char **names = NULL;
    size_t n = 0;
    int rc = QUERN_OK;
    if (!w->opt.n_sources)
        rc = quern__source_names(w->s, &names, &n, err);
    size_t sources = names ? n : w->opt.n_sources;
    for (size_t i = 0; i < sources && rc == QUERN_OK; i++)
        rc = fn(w, names ? names[i] : w->opt.sources[i], err);
    quern__names_free(names, n);
    return rc;
}

static int scan_one(work_run *w, const char *source, quern_error *err)
{
    int rc = scan_source(w, source, err);
    if (!is_source_fault(rc))
        return rc;
    quern__work_note(w, source, rc, err->msg);
    w->report->failed += rc != QUERN_EBUSY;
    return QUERN_OK;
}

/* The longest ago that a source was looked at, whole and at all. */
static int look_back(work_run *w, const char *source, quern_error *err)
{
    int64_t whole, run;
    (void)err;
    read_mark(w, "whole", source, &whole);
    read_mark(w, "run", source, &run);
    w->last_whole_ms = QUERN__MIN(w->last_whole_ms, whole);
    w->last_run_ms = QUERN__MIN(w->last_run_ms, run);
    return QUERN_OK;
}

/* ---- when ---- */

static int32_t offset_here(int64_t at, void *ud)
{
    (void)ud;
    return quern__local_offset(at);
}

static void plan_cron(work_run *w, int64_t after_ms)
{
    w->planned_ms = quern__wall_ms();
    w->cron_ms = 1000 * quern__cron_next(&w->cron, after_ms / 1000, offset_here, NULL);
    if (w->cron_ms > w->planned_ms)
        w->cron_ms += quern__rng_below(&w->rng, LATE_MS);
}

/* Nanoseconds until a time that comes after about so many milliseconds: a tenth of them more or less. */
static uint64_t about(work_run *w, int64_t ms)
{
    return (uint64_t)((0.9 + 0.2 * (double)quern__rng_float(&w->rng)) * (double)ms * 1e6);
}

static void plan_next(work_run *w)
{
    uint64_t now = quern__now_ns();
    w->scan_ns = UINT64_MAX;
    if (w->by_cron)
        plan_cron(w, quern__wall_ms());
    else if (w->opt.interval_ms > 0)
        w->scan_ns = now + about(w, w->opt.interval_ms);
    if ((w->whole || w->opt.max_per_run < 0) && w->opt.backstop_ms > 0)
        w->whole_ns = now + about(w, w->opt.backstop_ms);
}

/* What this worker finds when it begins to be the one that scans. */
static int take_office(work_run *w, quern_error *err)
{
    int64_t now = quern__wall_ms();
    w->scan_ns = w->whole_ns = UINT64_MAX;
    w->last_whole_ms = w->last_run_ms = now;
    int rc = each_source(w, look_back, err);
    if (rc != QUERN_OK)
        return rc;
    if (w->opt.backstop_ms >
        0) { /* whatever the clock was meanwhile, not later than after its whole time */
        int64_t ago = now - w->last_whole_ms;
        int64_t left = w->opt.backstop_ms - QUERN__MIN(ago, w->opt.backstop_ms);
        w->whole_ns = quern__now_ns() + (uint64_t)left * 1000000;
    }
    if (w->by_cron) {
        plan_cron(w, w->last_run_ms);
        return QUERN_OK;
    }
    w->scan_ns = 0;
    if (w->opt.backstop_ms > 0 && !w->opt.once)
        w->whole_ns = 0;
    return QUERN_OK;
}

static bool is_due(work_run *w)
{
    uint64_t now = quern__now_ns();
    w->whole = now >= w->whole_ns;
    if (!w->by_cron)
        return w->whole || now >= w->scan_ns;
    int64_t wall = quern__wall_ms();
    if (wall < w->planned_ms - BACK_MS)
        plan_cron(w, wall);
    return w->whole || wall >= w->cron_ms;
}

/* ---- the command before a run ---- */

/* OK: it has ended, or there is none; *wait: not yet. */
static int sync_first(work_run *w, bool *wait, quern_error *err)
{
    int status = 0;
    *wait = false;
    if (!w->opt.after || !*w->opt.after)
        return QUERN_OK;
    if (!w->sync) {
        *wait = true;
        w->report->syncs++;
        quern__log(QUERN_LOG_INFO, "work", "starting: %.200s", w->opt.after);
        return quern__child_start(&w->sync, w->opt.after, err);
    }
    *wait = !quern__child_ended(w->sync, &status);
    if (*wait)
        return QUERN_OK;
    quern__child_stop(w->sync);
    w->sync = NULL;
    w->report->sync_status = status;
    if (status == 0)
        return QUERN_OK;
    w->report->syncs_failed++;
    snprintf(w->report->last_error, sizeof w->report->last_error, "%.160s: %s %d", w->opt.after,
             status < 0 ? "ended by signal" : "exit status", status < 0 ? -status : status);
    quern__log(QUERN_LOG_WARN, "work", "%s; the run is made all the same", w->report->last_error);
    return QUERN_OK;
}

/* ---- what the loop calls ---- */

static int try_to_lead(work_run *w, quern_error *err)
{
    uint64_t now = quern__now_ns();
    quern_error inner;
    if (now < w->lead_ns)
        return QUERN_OK;
    w->lead_ns = now + (uint64_t)LEAD_MS * 1000000;
    int rc = w->s->table.lock(w->s->self, "work", 0, &w->leader, &inner);
    if (rc == QUERN_EBUSY)
        return QUERN_OK;
    if (rc == QUERN_OK)
        return take_office(w, err);
    *err = inner;
    return rc;
}

int quern__work_scan(work_run *w, quern_error *err)
{
    bool wait = false;
    if (w->opt.interval_ms < 0 && w->opt.backstop_ms < 0 && !w->by_cron)
        return QUERN_OK;
    int rc = w->leader ? QUERN_OK : try_to_lead(w, err);
    if (rc != QUERN_OK || !w->leader || (!w->sync && !is_due(w)))
        return rc;
    rc = sync_first(w, &wait, err);
    if (rc != QUERN_OK || wait)
        return rc;
    is_due(w); /* a command may have taken its time */
    rc = each_source(w, scan_one, err);
    if (rc != QUERN_OK)
        return rc;
    w->faults = 0;
    plan_next(w);
    return QUERN_OK;
}

void quern__work_retire(work_run *w)
{
    quern__child_stop(w->sync);
    w->sync = NULL;
    if (w->leader)
        w->s->table.unlock(w->s->self, w->leader);
    w->leader = NULL;
}
