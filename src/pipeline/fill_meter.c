/*
 * fill_meter.c — how far a run is. `done` starts at the documents that were stamped when the run began, so
 * that a bar continues where it stopped; the rate counts only documents that cost something, as a weighted
 * mean that forgets half in about ten seconds.
 */
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/os.h"
#include "pipeline/fill_run.h"

static const uint64_t TELL_NS = 100000000u;  /* ten times a second at most */
static const uint64_t RATE_NS = 1000000000u; /* one sample of the rate */

uint64_t quern__fill_done(const fill_run *r)
{
    const fill_counts *c = &r->counts;
    return c->ok + c->empty + c->old_ok + c->old_empty;
}

static void update_rate(fill_run *r, uint64_t now)
{
    uint64_t span = now - r->rate_ns;
    if (span < RATE_NS)
        return;
    double here = (double)(r->done_here - r->rate_done) * 1e9 / (double)span;
    double keep = r->rate > 0 ? 0.93 : 0.0; /* 0.93^10 is about one half */
    r->rate = keep * r->rate + (1.0 - keep) * here;
    r->rate_ns = now;
    r->rate_done = r->done_here;
}

int quern__fill_tell(fill_run *r, bool now, quern_error *err)
{
    int rc = quern__check_cancel(r->opt->cancel, err);
    if (rc != QUERN_OK || !r->opt->progress)
        return rc;
    uint64_t t = quern__now_ns();
    update_rate(r, t);
    if (!now && t - r->told_ns < TELL_NS)
        return QUERN_OK;
    r->told_ns = t;
    quern_fill_progress p;
    QUERN_INIT(&p);
    p.source = r->recipe->spec.name;
    p.total = QUERN__MAX(r->total, r->counts.rows);
    p.done = QUERN__MIN(quern__fill_done(r), p.total);
    p.failed = r->counts.failed + r->counts.old_failed;
    p.chunks = r->report->chunks;
    p.tokens = r->report->tokens;
    p.seconds = (double)(t - r->began_ns) * 1e-9;
    p.rate = r->rate > 0 ? r->rate : p.seconds > 0 ? (double)r->done_here / p.seconds : 0;
    uint64_t left = p.total - QUERN__MIN(p.total, p.done + p.failed);
    if (r->opt->limit)
        left = QUERN__MIN(left, r->opt->limit - QUERN__MIN(r->opt->limit, r->done_here));
    p.eta_seconds = p.rate > 0 ? (double)left / p.rate : 0;
    if (r->opt->progress(&p, r->opt->progress_ud))
        return quern__fail(err, QUERN_ECANCELLED, 0, "cancelled by the caller");
    return QUERN_OK;
}
