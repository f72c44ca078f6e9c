/*
 * generation_build.c — builds a generation beside the active one and keeps that one true meanwhile.
 *
 * A build scans the rows once and takes hours where there are many; rows that are edited behind it are found by a second
 * scan, which is quick because nearly everything is current. Scans are repeated until one finds nothing to
 * do. In between, and every half minute, the active generation is brought up to date with the model and settings
 * that made it, so that searches see edits and deletes while the build goes on. Its trouble (a model that is not
 * there any more) is told and ends no build.
 */
#include <stdio.h>

#include "base/cancel.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/os.h"
#include "pipeline/fill_run.h"
#include "pipeline/generation_find.h"
#include "quern/generation.h"

enum { REFRESH_MS = 30000, MOST_ROUNDS = 16 };

typedef struct build_run {
    quern_store *s;
    quern_embedder *e, *active; /* active NULL: none, or no longer */
    const quern_build_options *opt;
    quern_build_report *report;
    uint64_t next_ns; /* when the active one is looked at again */
} build_run;

/* The last scan says how things stand; what was done adds up. */
static void take_report(quern_fill_report *all, const quern_fill_report *one)
{
    quern_fill_report sum = *all;
    quern__fill_sum(&sum, one);
    sum.total = one->total;
    sum.done = one->done;
    sum.pending = one->pending;
    sum.empty = one->empty;
    sum.failed = one->failed;
    sum.skipped = one->skipped;
    sum.stale = one->stale;
    *all = sum;
}

static int refresh_active(build_run *b, quern_error *err)
{
    const char *name = b->opt->fill.source;
    quern_generation g;
    quern_error local = {0};
    uint64_t began = quern__now_ns();
    int rc = b->s->table.generation_find(b->s->self, name, "active", &g, &local);
    if (rc == QUERN_OK && g.id != b->report->generation) {
        quern_fill_options o;
        quern_fill_report one;
        fill_aim aim = {.refresh = true, .generation = g.id, .locked = true};
        QUERN_INIT(&o);
        QUERN_INIT(&one);
        o.max_document_bytes = b->opt->fill.max_document_bytes;
        o.cancel = b->opt->fill.cancel;
        b->report->active = g.id;
        rc = quern__fill_source(b->s, b->active, &o, &aim, name, &one, &local);
        take_report(&b->report->refresh, &one);
    }
    if (rc == QUERN_ECANCELLED) {
        if (err)
            *err = local;
        return rc;
    }
    if (rc != QUERN_OK && rc != QUERN_EPARTIAL && rc != QUERN_ENOTFOUND) {
        snprintf(b->report->refresh_error, sizeof b->report->refresh_error, "%.255s", local.msg);
        quern__log(QUERN_LOG_WARN, "build", "source %s: the active generation is not kept up: %s",
                   name, local.msg);
        b->active = NULL;
    }
    /* where looking takes long, it is done more rarely: at most a tenth of the time goes into it */
    uint64_t now = quern__now_ns();
    uint64_t pause = (uint64_t)(b->opt->refresh_ms ? b->opt->refresh_ms : REFRESH_MS) * 1000000;
    b->next_ns = now + QUERN__MAX(pause, 10 * (now - began));
    return QUERN_OK;
}

static int between(void *ud, quern_error *err)
{
    build_run *b = ud;
    return b->active && quern__now_ns() >= b->next_ns ? refresh_active(b, err) : QUERN_OK;
}

static int run_rounds(build_run *b, quern_error *err)
{
    bool dry = b->opt->fill.dry_run != 0;
    int rc = QUERN_OK;
    for (int round = 0; rc == QUERN_OK && round < MOST_ROUNDS; round++) {
        quern_fill_report one;
        fill_aim aim = {.scope = b->opt->where, .locked = true, .between = between, .ud = b};
        QUERN_INIT(&one);
        rc = quern__fill_source(b->s, b->e, &b->opt->fill, &aim, b->opt->fill.source, &one, err);
        b->report->generation = aim.generation;
        take_report(&b->report->fill, &one);
        if (rc == QUERN_OK && b->active && !dry)
            rc = refresh_active(b, err);
        bool idle = one.processed == 0 && one.stale == 0;
        if (idle || dry || one.ended || b->opt->fill.limit)
            break;
    }
    return rc;
}

static int run_build(build_run *b, quern_error *err)
{
    void *held = NULL;
    quern__recipe *recipe = NULL;
    int rc = quern__recipe_open(&recipe, b->s, b->opt->fill.source, err);
    quern__recipe_free(recipe);
    if (rc == QUERN_OK && !b->opt->fill.dry_run)
        rc = quern__fill_lock(b->s, b->opt->fill.source, b->opt->fill.wait_ms, &held, err);
    if (rc == QUERN_OK)
        rc = run_rounds(b, err);
    if (held)
        b->s->table.unlock(b->s->self, held);
    const quern_fill_report *r = &b->report->fill;
    if (rc == QUERN_OK && r->failed)
        rc = quern__fail(err, QUERN_EPARTIAL, (int64_t)r->failed,
                         "%llu of %llu documents could not be embedded, the last of this run: %s",
                         (unsigned long long)r->failed, (unsigned long long)r->total,
                         r->last_error[0] ? r->last_error : "none");
    return rc;
}

int quern_generation_build(quern_store *s, quern_embedder *e, const quern_build_options *opt,
                           quern_build_report *report, quern_error *err)
{
    QUERN__REQUIRE(s && e && opt && opt->struct_size >= sizeof *opt, err);
    QUERN__REQUIRE(opt->fill.struct_size >= sizeof opt->fill && opt->fill.source, err);
    QUERN__REQUIRE(!report || report->struct_size >= sizeof(size_t), err);
    if (opt->fill.since || opt->fill.force || opt->fill.full)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "a build looks at every row: since, force and full do not go with it");
    quern_build_report full;
    QUERN_INIT(&full);
    QUERN_INIT(&full.fill);
    QUERN_INIT(&full.refresh);
    build_run b = {.s = s, .e = e, .active = opt->active, .opt = opt, .report = &full};
    b.next_ns = quern__now_ns();
    int rc = run_build(&b, err);
    if (report) {
        size_t size = report->struct_size;
        memcpy(report, &full, QUERN__MIN(size, sizeof full));
        report->struct_size = size;
    }
    return rc;
}
