/*
 * generation.c — generations as an operator meets them: list, activate, retire, purge.
 *
 * Whether a generation may be activated is found by looking at every row, not by counting stamps: a stamp of an edited
 * row counts for nothing. Between that look and the switch a row may still be edited; its old vectors are then no
 * hit, as ever, and the next fill replaces them.
 */
#include "quern/generation.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/compiler.h"
#include "pipeline/coverage.h"
#include "pipeline/fill_run.h"
#include "pipeline/generation_find.h"

/* ---- finding one ---- */

typedef struct wanted {
    int64_t id;
    quern__generation_at *at;
    bool found;
} wanted;

static int take_wanted(const char *source, const quern_generation *g, void *ud)
{
    wanted *w = ud;
    if (g->id != w->id)
        return QUERN_OK;
    w->found = true;
    w->at->g = *g;
    size_t n = QUERN__MIN(strlen(source), sizeof w->at->source - 1);
    memcpy(w->at->source, source, n);
    w->at->source[n] = '\0';
    return QUERN_OK;
}

int quern__store_lacks(const quern_store *s, const char *what, quern_error *err)
{
    return quern__fail(err, QUERN_EUNSUPPORTED, 0, "the store \"%s\" cannot %s",
                       s->table.name ? s->table.name : "", what);
}

int quern__generation_at_id(quern_store *s, int64_t id, quern__generation_at *out, quern_error *err)
{
    wanted w = {.id = id, .at = out};
    if (!s->table.generation_each)
        return quern__store_lacks(s, "list generations", err);
    int rc = s->table.generation_each(s->self, NULL, take_wanted, &w, err);
    if (rc == QUERN_OK && !w.found)
        rc = quern__fail(err, QUERN_ENOTFOUND, id,
                         "there is no generation %" PRId64 "; `quern generation list` shows those "
                         "that there are",
                         id);
    return rc;
}

/* ---- list ---- */

struct quern_generation_list {
    quern_generation_row *rows;
    size_t n, room;
    quern__arena arena;
    quern_error *err;
};

static const char *keep(quern_generation_list *l, const char *s)
{
    return quern__arena_copy(&l->arena, s, strlen(s));
}

static int take_generation(const char *source, const quern_generation *g, void *ud)
{
    quern_generation_list *l = ud;
    if (l->n == l->room) {
        size_t room = l->room ? 2 * l->room : 8;
        quern_generation_row *grown = quern__resize_array(l->rows, room, sizeof *grown);
        if (!grown)
            return quern__fail_memory(l->err, room * sizeof *grown);
        l->rows = grown;
        l->room = room;
    }
    quern_generation_row *r = &l->rows[l->n];
    memset(r, 0, sizeof *r);
    r->id = g->id;
    r->source = keep(l, source);
    r->state = keep(l, g->state);
    r->model = keep(l, g->model);
    r->fingerprint = keep(l, g->fingerprint);
    r->vector_type = keep(l, g->vector_type);
    r->dimensions = g->dimensions;
    r->created_ms = g->created_ms;
    r->activated_ms = g->activated_ms;
    r->retired_ms = g->retired_ms;
    r->chunks = g->chunks;
    if (!r->source || !r->state || !r->model || !r->fingerprint || !r->vector_type)
        return quern__fail_memory(l->err, 0);
    l->n++;
    return QUERN_OK;
}

static int add_settings(quern_generation_list *l, quern_store *s, quern_generation_row *r,
                        quern_error *err)
{
    char *json = NULL;
    int rc = s->table.generation_json(s->self, r->id, &json, err);
    if (rc != QUERN_OK)
        return rc;
    r->settings = keep(l, json);
    quern__free(json);
    return r->settings ? QUERN_OK : quern__fail_memory(err, 0);
}

static int count_documents(quern_store *s, quern_generation_row *r, const quern_cancel *cancel,
                           quern_error *err)
{
    quern__recipe *recipe = NULL;
    quern_status_row counts = {0};
    int rc = quern__recipe_open(&recipe, s, r->source, err);
    if (rc == QUERN_OK)
        rc = quern__coverage(s, recipe, r->id, &counts, cancel, err);
    r->counted = rc == QUERN_OK;
    r->total = counts.total;
    r->done = counts.done;
    r->pending = counts.pending;
    r->failed = counts.failed;
    quern__recipe_free(recipe);
    return rc;
}

/* One generation may go between the listing and the look at it; a source whose table has gone cannot be counted, and
 * hides no other. */
static int complete_list(quern_generation_list *l, quern_store *s, int count,
                         const quern_cancel *cancel, quern_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) {
        quern_generation_row *r = &l->rows[n];
        *r = l->rows[i];
        quern_error local = {0};
        int rc = add_settings(l, s, r, &local);
        if (rc == QUERN_ENOTFOUND)
            continue;
        if (rc == QUERN_OK && count && strcmp(r->state, "retired") != 0)
            rc = count_documents(s, r, cancel, &local);
        if (rc != QUERN_OK && rc != QUERN_ENOTFOUND && rc != QUERN_EINVAL &&
            !quern__lacks_tables(rc, &local)) {
            if (err)
                *err = local;
            return rc;
        }
        n++;
    }
    l->n = n;
    return QUERN_OK;
}

int quern_generation_list_open(quern_generation_list **out, quern_store *s, const char *source,
                               int count, const quern_cancel *cancel, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(s, err);
    if (!s->table.generation_each)
        return quern__store_lacks(s, "list generations", err);
    quern_generation_list *l = quern__calloc(1, sizeof *l);
    if (!l)
        return quern__fail_memory(err, sizeof *l);
    quern__arena_init(&l->arena, 0);
    l->err = err;
    int rc = QUERN_OK;
    if (source) { /* names the nearest one when there is none */
        quern__recipe *recipe = NULL;
        rc = quern__recipe_open(&recipe, s, source, err);
        quern__recipe_free(recipe);
    }
    if (rc == QUERN_OK)
        rc = s->table.generation_each(s->self, source, take_generation, l, err);
    if (rc == QUERN_OK)
        rc = complete_list(l, s, count, cancel, err);
    if (rc != QUERN_OK) {
        quern_generation_list_free(l);
        return rc;
    }
    *out = l;
    return QUERN_OK;
}

size_t quern_generation_list_count(const quern_generation_list *l)
{
    return l ? l->n : 0;
}

const quern_generation_row *quern_generation_list_at(const quern_generation_list *l, size_t i)
{
    return l && i < l->n ? &l->rows[i] : NULL;
}

void quern_generation_list_free(quern_generation_list *l)
{
    if (!l)
        return;
    quern__arena_dispose(&l->arena);
    quern__free(l->rows);
    quern__free(l);
}

/* ---- activate ---- */

/* Enough to refuse on: the documents that lack something, and whether vectors have been lost under their stamps. */
static int look_at(quern_store *s, const quern__generation_at *at, const quern_cancel *cancel,
                   quern_activate_report *report, uint64_t *lost, bool *scoped, quern_error *err)
{
    quern__recipe *recipe = NULL;
    quern_status_row counts = {0};
    quern_tally tally = {0};
    int rc = quern__recipe_open(&recipe, s, at->source, err);
    if (rc == QUERN_OK)
        rc = quern__coverage(s, recipe, at->g.id, &counts, cancel, err);
    if (rc == QUERN_OK)
        rc = s->table.tally(s->self, at->g.id, &tally, err);
    report->total = counts.total;
    report->missing = counts.pending;
    report->failed = counts.failed;
    *scoped = recipe && recipe->scope;
    *lost = counts.chunks > tally.vectors ? counts.chunks - tally.vectors : 0;
    quern__recipe_free(recipe);
    return rc;
}

static int refuse(const quern__generation_at *at, const quern_activate_report *report,
                  uint64_t lost, bool scoped, const quern_generation *active, quern_error *err)
{
    if (report->missing)
        return quern__fail(err, QUERN_EMISMATCH, (int64_t)report->missing,
                           "generation %" PRId64 ": %" PRIu64 " of %" PRIu64
                           " documents missing; --force to switch anyway",
                           at->g.id, report->missing, report->total);
    if (lost)
        return quern__fail(err, QUERN_EMISMATCH, (int64_t)lost,
                           "generation %" PRId64 ": %" PRIu64 " of its vectors have been lost; "
                           "`quern generation build` makes them again, --force to switch anyway",
                           at->g.id, lost);
    if (report->total == 0 && scoped)
        return quern__fail(err, QUERN_EMISMATCH, 0,
                           "generation %" PRId64 ": source %s has no documents in its scope; "
                           "--force to switch anyway",
                           at->g.id, at->source);
    if (report->total == 0 && active->chunks)
        return quern__fail(err, QUERN_EMISMATCH, 0,
                           "generation %" PRId64 ": source %s has no documents now; --force to "
                           "switch anyway",
                           at->g.id, at->source);
    return QUERN_OK;
}

static int activate(quern_store *s, int64_t id, int force, const quern_cancel *cancel,
                    quern_activate_report *report, quern_error *err)
{
    quern__generation_at at;
    quern_generation active = {0};
    uint64_t lost = 0;
    bool scoped = false;
    int rc = quern__generation_at_id(s, id, &at, err);
    if (rc == QUERN_OK && strcmp(at.g.state, "building") != 0)
        rc = quern__fail(err, QUERN_EMISMATCH, id,
                         "generation %" PRId64 " is %s; only a building one can be activated%s", id,
                         at.g.state,
                         strcmp(at.g.state, "retired") == 0
                             ? ", and `quern generation build` under its settings makes it one"
                             : "");
    if (rc == QUERN_OK) {
        quern_error none = {0};
        rc = s->table.generation_find(s->self, at.source, "active", &active, &none);
        if (rc == QUERN_ENOTFOUND) {
            active.id = 0;
            rc = QUERN_OK;
        } else if (rc != QUERN_OK && err) {
            *err = none;
        }
    }
    if (rc == QUERN_OK)
        rc = look_at(s, &at, cancel, report, &lost, &scoped, err);
    if (rc == QUERN_OK && !force)
        rc = refuse(&at, report, lost, scoped, &active, err);
    if (rc == QUERN_OK)
        rc = s->table.generation_activate(s->self, id, err);
    if (rc == QUERN_OK)
        report->retired = active.id;
    return rc;
}

int quern_generation_activate(quern_store *s, int64_t id, int force, const quern_cancel *cancel,
                              quern_activate_report *report, quern_error *err)
{
    QUERN__REQUIRE(s, err);
    QUERN__REQUIRE(!report || report->struct_size >= sizeof(size_t), err);
    quern_activate_report full;
    QUERN_INIT(&full);
    int rc = activate(s, id, force, cancel, &full, err);
    if (report) {
        size_t size = report->struct_size;
        memcpy(report, &full, QUERN__MIN(size, sizeof full));
        report->struct_size = size;
    }
    return rc;
}

/* ---- retire and purge ---- */

int quern_generation_retire(quern_store *s, int64_t id, int force_active, quern_error *err)
{
    QUERN__REQUIRE(s, err);
    quern__generation_at at;
    if (!s->table.generation_retire)
        return quern__store_lacks(s, "retire generations", err);
    int rc = quern__generation_at_id(s, id, &at, err);
    if (rc == QUERN_OK && strcmp(at.g.state, "active") == 0 && !force_active)
        rc = quern__fail(err, QUERN_EMISMATCH, id,
                         "generation %" PRId64 " is the active one of source %s: without it "
                         "searches find nothing there; --force-active to retire it anyway",
                         id, at.source);
    return rc == QUERN_OK ? s->table.generation_retire(s->self, id, err) : rc;
}

int quern_generation_purge(quern_store *s, int64_t id, const quern_cancel *cancel,
                           quern_purge_report *report, quern_error *err)
{
    QUERN__REQUIRE(s, err);
    QUERN__REQUIRE(!report || report->struct_size >= sizeof(size_t), err);
    quern__generation_at at = {.source = ""};
    quern_purge_report full;
    uint64_t before = 0;
    uint64_t after = 0;
    QUERN_INIT(&full);
    int rc = quern__generation_at_id(s, id, &at, err);
    if (rc == QUERN_OK && strcmp(at.g.state, "active") == 0)
        rc = quern__fail(err, QUERN_EMISMATCH, id,
                         "generation %" PRId64 " is the active one of source %s; retire it first",
                         id, at.source);
    if (rc == QUERN_OK && s->table.space)
        rc = s->table.space(s->self, &before, err);
    if (rc == QUERN_OK)
        rc = quern__purge_generation(s, id, cancel, err);
    if (rc == QUERN_OK && s->table.space)
        rc = s->table.space(s->self, &after, err);
    full.chunks = at.g.chunks;
    full.bytes = before > after ? before - after : 0;
    if (report) {
        size_t size = report->struct_size;
        memcpy(report, &full, QUERN__MIN(size, sizeof full));
        report->struct_size = size;
    }
    return rc;
}
