/*
 * fill.c — brings a source's vectors up to date, once.
 *
 * Work is whatever lacks a current stamp, found by scanning all rows in key order; nothing else is remembered
 * between runs. So a run may be killed anywhere, and the next one goes on: what was saved is stamped, what was
 * not is found again. A task list that could disagree with the rows was rejected for this issue and stays a mere hint
 * later (docs/design.md, "task").
 *
 * Generations: vectors of two fingerprints never stand together. When the active generation was made under
 * the fingerprint in force, it is brought up to date in place. Otherwise a new one is built beside it and takes
 * over when nothing is pending; until then searches are served by the old one — under its own settings only. A source's
 * first generation is made active at once: there is nothing older to serve, and a long first fill is searchable
 * while it runs.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/os.h"
#include "pipeline/fill_run.h"

enum { KEY_BYTES = 1 << 20, LOCK_NAME = 96 };

/* ---- generations ---- */

static int find_generation(fill_run *r, const char *state, quern_generation *g, bool *found,
                           quern_error *err)
{
    memset(g, 0, sizeof *g);
    int rc = r->s->table.generation_find(r->s->self, r->recipe->spec.name, state, g, err);
    *found = rc == QUERN_OK;
    return rc == QUERN_ENOTFOUND ? QUERN_OK : rc;
}

int quern__purge_generation(quern_store *s, int64_t id, const quern_cancel *cancel,
                            quern_error *err)
{
    int more = 1;
    int rc = QUERN_OK;
    while (rc == QUERN_OK && more) {
        rc = quern__check_cancel(cancel, err);
        if (rc == QUERN_OK)
            rc = s->table.generation_purge(s->self, id, &more, err);
    }
    return rc;
}

static bool made_by(const quern_generation *g, const char *fingerprint)
{
    return strcmp(g->fingerprint, fingerprint) == 0;
}

/* ---- a retired generation of the same fingerprint: what it holds need not be embedded again ---- */

typedef struct retired_one {
    const char *fingerprint;
    quern_generation g; /* id 0: none */
} retired_one;

static int take_retired(const char *source, const quern_generation *g, void *ud)
{
    retired_one *f = ud;
    (void)source;
    if (strcmp(g->state, "retired") == 0 && g->chunks && made_by(g, f->fingerprint) &&
        g->retired_ms >= f->g.retired_ms)
        f->g = *g;
    return QUERN_OK;
}

/* Only a build takes one up: whoever retired it by hand does not get it back from a fill. One that is being purged is not
 * used, and no fault. */
static int resume_generation(fill_run *r, const char *fingerprint, bool *resumed, quern_error *err)
{
    const quern_store_table *t = &r->s->table;
    retired_one f = {.fingerprint = fingerprint};
    quern_error local = {0};
    *resumed = false;
    if (!r->aim || !t->generation_each || !t->generation_resume)
        return QUERN_OK;
    int rc = t->generation_each(r->s->self, r->recipe->spec.name, take_retired, &f, err);
    if (rc != QUERN_OK || f.g.id == 0)
        return rc;
    rc = quern__fill_same_dimensions(r, &f.g, err);
    if (rc == QUERN_OK)
        rc = quern__fill_has_texts(r, f.g.id, err);
    if (rc != QUERN_OK)
        return rc;
    if (!r->opt->dry_run)
        rc = t->generation_resume(r->s->self, f.g.id, &local);
    *resumed = rc == QUERN_OK;
    if (*resumed) {
        r->generation = f.g;
        snprintf(r->generation.state, sizeof r->generation.state, "building");
    } else if (rc != QUERN_EMISMATCH && rc != QUERN_ENOTFOUND && err) {
        *err = local;
    }
    return rc == QUERN_EMISMATCH || rc == QUERN_ENOTFOUND ? QUERN_OK : rc;
}

static int build_generation(fill_run *r, const char *fingerprint, bool activate, quern_error *err)
{
    quern_generation g = {.dimensions = quern_embedder_dimensions(r->e)};
    snprintf(g.state, sizeof g.state, "building");
    snprintf(g.fingerprint, sizeof g.fingerprint, "%s", fingerprint);
    snprintf(g.model, sizeof g.model, "%s", quern_embedder_name(r->e));
    snprintf(g.vector_type, sizeof g.vector_type, "%s", r->settings.vector_type);
    g.created_ms = quern__wall_ms();
    int rc = r->s->table.generation_build(r->s->self, r->recipe->spec.name, &g, r->fingerprint_json,
                                          &g.id, err);
    if (rc == QUERN_OK && activate) {
        rc = r->s->table.generation_activate(r->s->self, g.id, err);
        snprintf(g.state, sizeof g.state, "active");
    }
    if (rc == QUERN_OK)
        r->generation = g;
    return rc;
}

/* A build is told its scope; a fill, and an import that is not told one, keeps to that of the active generation, whatever else it changes. */
static int settle_scope(fill_run *r, int64_t active, quern_error *err)
{
    const char *scope = r->aim ? r->aim->scope : NULL;
    if ((!r->aim || (r->aim->flow && !scope)) && active)
        return quern__recipe_scope_of(r->recipe, r->s, active, err);
    int rc = scope ? quern__recipe_check_where(r->recipe, r->s, scope, err) : QUERN_OK;
    return rc == QUERN_OK ? quern__recipe_scope(r->recipe, scope, err) : rc;
}

/* A first fill would throw away what is being built for a part of the rows. */
static int spare_scoped(fill_run *r, const quern_generation *building, quern_error *err)
{
    int rc = quern__recipe_scope_of(r->recipe, r->s, building->id, err);
    if (rc == QUERN_OK && r->recipe->scope)
        return quern__fail(err, QUERN_EMISMATCH, building->id,
                           "generation %" PRId64 " of source %s is being built for rows where "
                           "%.160s, and none is active yet: `quern generation activate` or `purge` "
                           "it first",
                           building->id, r->recipe->spec.name, r->recipe->scope);
    return rc;
}

/* Sets r->generation: the one to bring up to date, made if need be. */
static int choose_generation(fill_run *r, quern_error *err)
{
    if (r->aim && r->aim->refresh)
        return quern__fill_refresh(r, err);
    char fingerprint[65];
    quern_generation active;
    quern_generation building;
    bool has_active = false;
    bool has_building = false;
    int rc = find_generation(r, "active", &active, &has_active, err);
    if (rc == QUERN_OK)
        rc = settle_scope(r, active.id, err);
    if (rc == QUERN_OK)
        rc = quern__recipe_fingerprint(r->recipe, r->e, &r->settings, &r->fingerprint_json,
                                       fingerprint, err);
    if (rc != QUERN_OK)
        return rc;
    if (has_active && made_by(&active, fingerprint) && !quern__fill_by_hand(r)) {
        r->generation = active;
        return quern__fill_same_dimensions(r, &active, err);
    }
    rc = find_generation(r, "building", &building, &has_building, err);
    if (rc == QUERN_OK && has_building && !has_active && !r->aim)
        rc = spare_scoped(r, &building, err);
    if (rc == QUERN_OK && r->aim)
        rc = quern__fill_may_build(r, has_active && !r->aim->flow ? &active : NULL,
                                   has_building ? &building : NULL, fingerprint, err);
    if (rc != QUERN_OK)
        return rc;
    r->replaces = has_active ? active.id : 0;
    if (has_building && made_by(&building, fingerprint)) {
        r->generation = building;
        rc = quern__fill_same_dimensions(r, &building, err);
        if (rc != QUERN_OK || quern__fill_by_hand(r) || has_active || r->recipe->scope ||
            r->opt->dry_run)
            return rc;
        snprintf(r->generation.state, sizeof r->generation.state, "active");
        return r->s->table.generation_activate(r->s->self, building.id, err);
    }
    bool resumed = false;
    if (!has_building)
        rc = resume_generation(r, fingerprint, &resumed, err);
    if (rc == QUERN_OK && !resumed)
        rc = quern__fill_has_texts(r, 0, err);
    if (rc != QUERN_OK || resumed || r->opt->dry_run)
        return rc;
    if (has_building)
        rc = quern__purge_generation(r->s, building.id, r->opt->cancel, err);
    if (rc == QUERN_OK)
        rc = build_generation(r, fingerprint,
                              !has_active && !quern__fill_by_hand(r) && !r->recipe->scope, err);
    return rc;
}

/* A generation that was being built and now lacks nothing takes over; what it replaces is removed. One that an operator
 * has retired by hand stays until he purges it; so does what a run leaves that dies between the two. */
static int take_over(fill_run *r, quern_error *err)
{
    if (strcmp(r->generation.state, "building") != 0)
        return QUERN_OK;
    quern_generation active;
    bool found = false;
    int rc = find_generation(r, "active", &active, &found, err);
    if (rc != QUERN_OK || (found && active.id == r->generation.id)) /* switched by hand */
        return rc;
    rc = r->s->table.generation_activate(r->s->self, r->generation.id, err);
    r->columns_off = true; /* those there are tell of the one before */
    if (rc == QUERN_OK)
        snprintf(r->generation.state, sizeof r->generation.state, "active");
    if (rc == QUERN_OK && found && active.id == r->replaces)
        rc = quern__purge_generation(r->s, r->replaces, r->opt->cancel, err);
    return rc;
}

/* ---- one source ---- */

static int settle_options(fill_run *r, quern_error *err)
{
    const quern_fill_options *o = r->opt;
    const char *type = o->vector_type && o->vector_type[0] ? o->vector_type : "f16";
    if (!quern__vector_width(type))
        return quern__fail(err, QUERN_EINVAL, 0, "vector type %s: f16 or f32", type);
    if (o->since && !r->recipe->spec.revision)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "source %s has no revision column, so `since` cannot be used",
                           r->recipe->spec.name);
    if (o->batching < QUERN_BATCHING_DYNAMIC || o->batching > QUERN_BATCHING_ADAPTIVE)
        return quern__fail(err, QUERN_EINVAL, o->batching, "batching %d: there is no such way",
                           o->batching);
    int rc = quern__fill_index_check(r, err);
    if (rc == QUERN_OK)
        rc = quern__chunking_settle(&r->settings.chunking, r->e, o->max_chunks, o->overlap, err);
    if (rc != QUERN_OK)
        return rc;
    r->settings.chunking.headings = o->headings != 0;
    if (o->builder)
        snprintf(r->settings.builder, sizeof r->settings.builder, "%s", o->builder->id);
    r->settings.builder_assets = quern__builder_assets(o->builder);
    rc = quern__settings_check(r->recipe, &r->settings, r->e, err);
    if (rc != QUERN_OK)
        return rc;
    snprintf(r->settings.vector_type, sizeof r->settings.vector_type, "%s", type);
    r->max_bytes = o->max_document_bytes ? o->max_document_bytes : QUERN__DOCUMENT_BYTES;
    return QUERN_OK;
}

static int prepare_run(fill_run *r, quern_error *err)
{
    size_t dim = quern_embedder_dimensions(r->e);
    r->width = dim * quern__vector_width(r->settings.vector_type);
    quern__buf_init(&r->after, KEY_BYTES);
    quern__buf_init(&r->text, QUERN__TEXT_BUFFER);
    int rc = choose_generation(r, err);
    if (rc != QUERN_OK)
        return rc;
    r->read = r->recipe->read;
    r->read.n_columns = r->recipe->n_read;
    r->read.generation = r->generation.id;
    if (r->aim && (r->aim->tasks || r->aim->flow))
        return QUERN_OK;
    rc = r->s->table.count(r->s->self, &r->read, &r->total, err);
    r->read.since = r->opt->since;
    if (rc == QUERN_OK)
        rc = quern__fill_count_stamps(r, err);
    if (rc == QUERN_OK)
        rc = quern__fill_tell(r, true, err);
    return rc;
}

/* Texts of a source that keeps none any more: of saves that were on their way when it was told so. */
static int drop_kept(fill_run *r, quern_error *err)
{
    uint64_t there = 0, bytes = 0;
    const quern_store_table *t = &r->s->table;
    int rc = t->kept_drop && t->kept_size
                 ? t->kept_size(r->s->self, r->generation.id, &there, &bytes, err)
                 : QUERN_OK;
    for (int more = there > 0; more && rc == QUERN_OK;)
        rc = t->kept_drop(r->s->self, r->generation.id, &more, err);
    return rc;
}

/* Vectors of rows that have gone. Only behind a whole scan without a fault: half a view of the rows must
 * never decide that a row has gone. */
static int clean_up(fill_run *r, quern_error *err)
{
    const quern_fill_options *o = r->opt;
    if (o->dry_run || ((o->limit || o->since) && !o->full))
        return QUERN_OK;
    uint64_t stamped = r->counts.old_ok + r->counts.old_empty + r->counts.old_failed;
    if (r->counts.rows == 0 && r->total == 0 && stamped && !o->allow_empty)
        return quern__fail(
            err, QUERN_EMISMATCH, (int64_t)stamped,
            "source %s has no rows now, but vectors of %" PRIu64
            " documents: they are kept; check its table and predicate, or allow it to be empty "
            "(--allow-empty)",
            r->recipe->spec.name, stamped);
    int rc = stamped || o->since ? quern__fill_sweep(r, err) : QUERN_OK;
    if (rc == QUERN_OK && r->check_vectors)
        rc = quern__fill_sweep_orphans(r, err);
    if (rc == QUERN_OK && r->s->table.sweep && r->generation.id) {
        uint64_t leftovers = 0;
        rc = r->s->table.sweep(r->s->self, r->generation.id, &leftovers, err);
    }
    if (rc == QUERN_OK && r->generation.id && !r->recipe->keeps)
        rc = drop_kept(r, err);
    return rc;
}

static int run_scan(fill_run *r, quern_error *err)
{
    if (r->aim && r->aim->flow)
        return r->aim->flow(r, r->aim->ud, err);
    int rc = quern__fill_rows(r, err);
    if (rc != QUERN_OK || (r->aim && r->aim->tasks))
        return rc;
    if (!r->opt
             ->since) { /* every row has been seen: what is left are stamps of rows that have gone */
        rc = clean_up(r, err);
        r->counts.old_ok = r->counts.old_empty = r->counts.old_failed = 0;
        r->total = r->counts.rows;
    } else {
        rc = clean_up(r, err);
    }
    if (rc != QUERN_OK || r->opt->dry_run)
        return rc;
    bool complete = !r->opt->since && r->counts.pending == 0 && r->counts.no_text == 0;
    return complete && !r->aim ? take_over(r, err) : QUERN_OK;
}

static void write_report(fill_run *r)
{
    quern_fill_report *p = r->report;
    const fill_counts *c = &r->counts;
    p->total = QUERN__MAX(r->total, c->rows);
    p->done = QUERN__MIN(quern__fill_done(r), p->total);
    p->empty = c->empty + c->old_empty;
    p->failed = QUERN__MIN(c->failed + c->old_failed + c->no_text, p->total - p->done);
    p->pending = p->total - p->done - p->failed;
    if (!r->opt->dry_run)
        p->seconds = (double)(quern__now_ns() - r->began_ns) * 1e-9;
    p->encode_seconds = (double)r->encode_ns * 1e-9;
    p->dry_run = r->opt->dry_run;
    p->index_bytes = p->dry_run ? quern__fill_index_bytes(r) : 0;
}

int quern__fill_lock(quern_store *s, const char *name, uint32_t wait_ms, void **held,
                     quern_error *err)
{
    char lock[LOCK_NAME];
    snprintf(lock, sizeof lock, "fill:%s", name);
    return s->table.lock(s->self, lock, wait_ms, held, err);
}

static uint64_t nano(uint64_t tokens, double price)
{
    double n = (double)tokens * price * 1e6;
    return n >= 0 && n < 9e18 ? (uint64_t)(n + 0.5) : 0;
}

/* A run that did something or failed has a line in the log; that it could not be written is no fault of the run. */
static void log_run(const fill_run *r, int64_t began_ms, int rc, const quern_error *err)
{
    const quern_fill_report *p = r->report;
    bool quiet = rc == QUERN_OK && !(p->processed || p->stale || p->deleted);
    if (r->opt->dry_run || quiet || !r->s->table.run_put)
        return;
    quern_run run = {.source = r->recipe->spec.name,
                     .generation = r->generation.id,
                     .started_ms = began_ms,
                     .ended_ms = quern__wall_ms(),
                     .status = rc,
                     .processed = p->processed,
                     .failed = p->failed,
                     .stale = p->stale,
                     .deleted = p->deleted,
                     .chunks = p->chunks,
                     .tokens = p->tokens,
                     .calls = p->calls,
                     .cached = p->cached,
                     .cached_tokens = p->cached_tokens,
                     .cost_nano = nano(p->tokens - p->cached_tokens, r->opt->price),
                     .saved_nano = nano(p->cached_tokens, r->opt->price),
                     .error = rc != QUERN_OK && err ? err->msg : p->last_error};
    quern_error ignored;
    if (r->s->table.run_put(r->s->self, &run, &ignored) != QUERN_OK)
        quern__log(QUERN_LOG_WARN, "fill", "source %s: its run is not in the log: %s", run.source,
                   ignored.msg);
}

/* What the caller of a fill may do about an embedder's server that is down, or a budget that is used up. */
static void say_how_to_go_on(const fill_run *r, int rc, quern_error *err)
{
    char first[360];
    if ((rc != QUERN_EREMOTE && rc != QUERN_EBUDGET) || r->aim || r->opt->dry_run || !err)
        return;
    int32_t retry_ms = err->retry_ms;
    snprintf(first, sizeof first, "%.350s", err->msg);
    quern__fail(err, rc, err->detail,
                "%s; what is done is saved, %" PRIu64
                " documents are left: `quern fill --source %s` goes on",
                first, r->report->pending, r->recipe->spec.name);
    err->retry_ms = retry_ms;
}

static int run_source(fill_run *r, const char *name, quern_error *err)
{
    void *held = NULL;
    int64_t began_ms = quern__wall_ms();
    int rc = quern__recipe_open(&r->recipe, r->s, name, err);
    if (rc == QUERN_OK)
        rc = settle_options(r, err);
    if (rc == QUERN_OK && !r->opt->dry_run && !(r->aim && r->aim->locked))
        rc = quern__fill_lock(r->s, name, r->opt->wait_ms, &held, err);
    if (rc == QUERN_OK) {
        rc = prepare_run(r, err);
        if (rc == QUERN_OK)
            rc = run_scan(r, err);
        rc = quern__fill_ended(r, rc, err);
        if (rc == QUERN_OK)
            rc = quern__fill_tell(r, true, err);
        write_report(r);
        uint64_t filled_ns = quern__now_ns();
        if (rc == QUERN_OK && !r->opt->dry_run)
            rc = quern__fill_text(r, err);
        if (rc == QUERN_OK && !r->opt->dry_run)
            rc = quern__fill_columns(r, err);
        if (rc == QUERN_OK && !r->opt->dry_run)
            rc = quern__fill_strip(r, err);
        if (rc == QUERN_OK && !r->opt->dry_run)
            rc = quern__fill_index(r, err);
        r->report->index_seconds = (double)(quern__now_ns() - filled_ns) * 1e-9;
        log_run(r, began_ms, rc, err);
        say_how_to_go_on(r, rc, err);
    }
    if (held)
        r->s->table.unlock(r->s->self, held);
    return rc;
}

static void dispose_run(fill_run *r)
{
    quern__recipe_free(r->recipe);
    quern__buf_dispose(&r->after);
    quern__buf_dispose(&r->text);
    quern__free(r->fingerprint_json);
    quern__free(r);
}

int quern__fill_source(quern_store *s, quern_embedder *e, const quern_fill_options *opt,
                       fill_aim *aim, const char *name, quern_fill_report *report, quern_error *err)
{
    fill_run *r = quern__calloc(1, sizeof *r);
    if (!r)
        return quern__fail_memory(err, sizeof *r);
    r->s = s;
    r->e = e;
    r->opt = opt;
    r->aim = aim;
    r->report = report;
    r->began_ns = r->rate_ns = quern__now_ns();
    int rc = run_source(r, name, err);
    if (aim && !aim->refresh)
        aim->generation = r->generation.id;
    dispose_run(r);
    return rc;
}

/* ---- all sources ---- */

void quern__fill_sum(quern_fill_report *sum, const quern_fill_report *one)
{
    sum->total += one->total;
    sum->done += one->done;
    sum->pending += one->pending;
    sum->empty += one->empty;
    sum->failed += one->failed;
    sum->index_seconds += one->index_seconds;
    sum->calls += one->calls;
    sum->assets += one->assets;
    sum->assets_cut += one->assets_cut;
    sum->assets_skipped += one->assets_skipped;
    sum->cached += one->cached;
    sum->cached_tokens += one->cached_tokens;
    sum->encode_seconds += one->encode_seconds;
    sum->processed += one->processed;
    sum->skipped += one->skipped;
    sum->stale += one->stale;
    sum->deleted += one->deleted;
    sum->chunks += one->chunks;
    sum->tokens += one->tokens;
    sum->truncated += one->truncated;
    sum->dropped_bytes += one->dropped_bytes;
    sum->index_bytes += one->index_bytes;
    sum->bytes += one->bytes;
    sum->seconds += one->seconds;
    sum->dry_run |= one->dry_run;
    sum->ended |= one->ended;
    if (one->last_error[0])
        memcpy(sum->last_error, one->last_error, sizeof sum->last_error);
}

/* A fault of one source's own, beside which the others can still be filled. */
static bool is_source_fault(int rc, const quern_error *fault)
{
    return rc == QUERN_ENOTFOUND || rc == QUERN_EBUSY || rc == QUERN_EMISMATCH ||
           rc == QUERN_EINVAL || quern__lacks_tables(rc, fault);
}

static int fill_each(quern_store *s, quern_embedder *e, const quern_fill_options *opt, char **names,
                     size_t n, quern_fill_report *sum, quern_error *err)
{
    int first = QUERN_OK;
    for (size_t i = 0; i < n; i++) {
        quern_fill_report one;
        QUERN_INIT(&one);
        quern_error fault = {0};
        int rc = quern__fill_source(s, e, opt, NULL, names[i], &one, &fault);
        quern__fill_sum(sum, &one);
        if (rc != QUERN_OK && first == QUERN_OK) {
            first = rc;
            if (err)
                *err = fault;
        }
        if (rc != QUERN_OK && !is_source_fault(rc, &fault))
            break;
    }
    return first;
}

int quern_fill(quern_store *s, quern_embedder *e, const quern_fill_options *opt,
               quern_fill_report *report, quern_error *err)
{
    QUERN__REQUIRE(s && e, err);
    QUERN__REQUIRE(!opt || opt->struct_size >= sizeof(size_t), err);
    QUERN__REQUIRE(!report || report->struct_size >= sizeof(size_t), err);
    quern_fill_options o;
    quern_fill_report sum;
    QUERN_INIT(&o);
    QUERN_INIT(&sum);
    if (opt)
        memcpy(&o, opt, QUERN__MIN(opt->struct_size, sizeof o));
    char **names = NULL;
    size_t n = 0;
    int rc = quern__builder_check(o.builder, o.source, err);
    if (rc == QUERN_OK)
        rc = quern__source_names(s, &names, &n, err);
    if (rc == QUERN_OK && o.source) {
        char *one[1] = {(char *)(uintptr_t)o.source};
        rc = fill_each(s, e, &o, one, 1, &sum, err);
    } else if (rc == QUERN_OK && n == 0) {
        rc = quern__fail(err, QUERN_ENOTFOUND, 0,
                         "nothing to fill: no source is declared; `quern add PATH` or `quern "
                         "source add` makes one");
    } else if (rc == QUERN_OK) {
        rc = fill_each(s, e, &o, names, n, &sum, err);
    }
    quern__names_free(names, n);
    if (report) {
        size_t size = report->struct_size;
        memcpy(report, &sum, QUERN__MIN(size, sizeof sum));
        report->struct_size = size;
    }
    if (rc == QUERN_OK && sum.failed)
        rc = quern__fail(err, QUERN_EPARTIAL, (int64_t)sum.failed,
                         "%" PRIu64 " of %" PRIu64
                         " documents could not be embedded, the last of this run: %s",
                         sum.failed, sum.total, sum.last_error[0] ? sum.last_error : "none");
    return rc;
}
