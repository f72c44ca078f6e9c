/*
 * coverage.c — quern_status: how much of each source is current, by looking at every row. Counting stamps
 * would be quicker and wrong as soon as a row changes, goes or leaves the predicate.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/os.h"
#include "pipeline/coverage.h"
#include "pipeline/fill_run.h"

enum { PAGE = 1024, KEY_BYTES = 1 << 20, NOTE_BYTES = 340, DAY_MS = 86400000 };

struct quern_status_report {
    quern_status_row *rows;
    size_t n;
    quern__arena arena;
};

typedef struct coverage_scan {
    const quern__recipe *recipe;
    quern_status_row *row;
    quern__buf text, after;
    size_t seen;
    int64_t yesterday_ms;
    quern_error *err;
} coverage_scan;

static int count_row(const quern_row *row, void *ud)
{
    coverage_scan *c = ud;
    quern__buf_clear(&c->after);
    quern__buf_append(&c->after, row->key.ptr, row->key.len);
    c->seen++;
    c->row->total++;
    if (row->fault) {
        c->row->failed++;
        return quern__buf_ok(&c->after, "a key", c->err);
    }
    quern__document_view doc;
    int rc = quern__recipe_document(c->recipe, row, QUERN__RENDER_BYTES, &c->text, &doc, c->err);
    if (rc != QUERN_OK)
        return rc;
    bool current = quern__is_current(row, &doc);
    c->row->no_text += doc.no_text;
    if (!quern__is_done(row, &doc)) {
        c->row->pending++;
        bool stale = !current && row->stamp.outcome != QUERN_OUTCOME_NONE;
        int64_t made = row->stamp.updated_ms;
        c->row->stale += stale;
        if (stale && (c->row->oldest_stale_ms == 0 || made < c->row->oldest_stale_ms))
            c->row->oldest_stale_ms = made;
    } else if (row->stamp.outcome == QUERN_OUTCOME_FAILED) {
        c->row->failed++;
    } else {
        c->row->done++;
        c->row->recent += row->stamp.updated_ms > c->yesterday_ms;
        c->row->chunks += row->stamp.chunks;
        c->row->dropped_bytes += row->stamp.dropped_bytes;
        c->row->empty += row->stamp.outcome == QUERN_OUTCOME_EMPTY;
    }
    return quern__buf_ok(&c->after, "a key", c->err);
}

int quern__coverage(quern_store *s, quern__recipe *recipe, int64_t generation,
                    quern_status_row *row, const quern_cancel *cancel, quern_error *err)
{
    coverage_scan c = {.recipe = recipe, .row = row, .err = err};
    c.yesterday_ms = quern__wall_ms() - DAY_MS;
    int rc = generation ? quern__recipe_scope_of(recipe, s, generation, err) : QUERN_OK;
    if (rc != QUERN_OK)
        return rc;
    quern_read read = recipe->read;
    read.generation = generation;
    quern__buf_init(&c.text, QUERN__TEXT_BUFFER);
    quern__buf_init(&c.after, KEY_BYTES);
    quern__buf from;
    quern__buf_init(&from, KEY_BYTES);
    do {
        quern__buf_clear(&from);
        quern__buf_append(&from, c.after.data, c.after.len);
        c.seen = 0;
        quern_str after = {from.data, from.len};
        rc = quern__buf_ok(&from, "a key", err);
        if (rc == QUERN_OK)
            rc = quern__check_cancel(cancel, err);
        if (rc == QUERN_OK)
            rc = s->table.scan(s->self, &read, after, PAGE, count_row, &c, err);
    } while (rc == QUERN_OK && c.seen == PAGE);
    quern__buf_dispose(&from);
    quern__buf_dispose(&c.after);
    quern__buf_dispose(&c.text);
    return rc;
}

static int find(quern_store *s, const char *name, const char *state, quern_generation *g,
                bool *found, quern_error *err)
{
    memset(g, 0, sizeof *g);
    int rc = s->table.generation_find(s->self, name, state, g, err);
    *found = rc == QUERN_OK;
    return rc == QUERN_ENOTFOUND ? QUERN_OK : rc;
}

/* The source's own fault, beside which the others can still be counted. */
static bool is_source_fault(int rc, const quern_error *fault)
{
    return rc == QUERN_ENOTFOUND || rc == QUERN_EINVAL || quern__lacks_tables(rc, fault);
}

/* One line for the reader: what stands in the way of a search, or what a fill would do. */
static int write_note(quern_store *s, quern_embedder *e, quern__recipe *recipe,
                      const quern_generation *active, bool has_active, char note[NOTE_BYTES],
                      quern_error *err)
{
    note[0] = '\0';
    quern_generation building;
    bool has_building = false;
    int rc = find(s, recipe->spec.name, "building", &building, &has_building, err);
    if (rc != QUERN_OK)
        return rc;
    if (!has_active) {
        snprintf(note, NOTE_BYTES, "not filled yet; run `quern fill`");
        return QUERN_OK;
    }
    if (e) {
        quern__fill_settings settings;
        quern_error differs = {0};
        rc = quern__recipe_check_generation(recipe, s, e, active, &settings, &differs);
        if (rc == QUERN_EMISMATCH) {
            snprintf(note, NOTE_BYTES, "settings differ: %.250s", differs.msg);
            return QUERN_OK;
        }
        if (rc != QUERN_OK && err)
            *err = differs;
    }
    quern_tally tally = {0};
    quern_error lost = {0};
    int counted = rc == QUERN_OK ? s->table.tally(s->self, active->id, &tally, &lost) : QUERN_OK;
    if (quern__lacks_tables(counted, &lost)) {
        if (err)
            *err = lost;
        return counted;
    }
    if (counted != QUERN_OK || tally.vectors < tally.chunks) {
        snprintf(
            note, NOTE_BYTES, "%llu of %llu vectors have been lost; `quern fill` makes them again",
            (unsigned long long)(tally.chunks - tally.vectors), (unsigned long long)tally.chunks);
        return QUERN_OK;
    }
    if (rc == QUERN_OK && has_building)
        snprintf(note, NOTE_BYTES, "another generation (%.60s, %.12s) is being built",
                 building.model, building.fingerprint);
    return rc;
}

static int read_watermark(quern_store *s, const char *name, int64_t active, char **key,
                          quern_error *err)
{
    quern_generation building;
    bool has_building = false, there;
    *key = NULL;
    int rc = find(s, name, "building", &building, &has_building, err);
    if (rc == QUERN_OK && has_building)
        rc = quern__watermark_read(s, building.id, key, &there, err);
    if (rc == QUERN_OK && !*key && active)
        rc = quern__watermark_read(s, active, key, &there, err);
    return rc;
}

static const char *keep(quern_status_report *r, const char *s)
{
    return quern__arena_copy(&r->arena, s, strlen(s));
}

/* Among several, one that cannot be read (its table has gone) is told in its note and hides no other. */
static int add_source(quern_status_report *r, quern_store *s, quern_embedder *e, const char *name,
                      bool among, const quern_cancel *cancel, quern_error *err)
{
    quern_error fault = {0};
    quern_status_row *row = &r->rows[r->n];
    quern__recipe *recipe = NULL;
    quern_generation g;
    bool found = false;
    char note[NOTE_BYTES];
    int rc = quern__recipe_open(&recipe, s, name, &fault);
    if (rc == QUERN_OK)
        rc = find(s, name, "active", &g, &found, &fault);
    if (rc == QUERN_OK)
        rc = write_note(s, e, recipe, &g, found, note, &fault);
    if (rc == QUERN_OK)
        rc = quern__coverage(s, recipe, found ? g.id : 0, row, cancel, &fault);
    uint64_t kept = 0;
    char *watermark = NULL;
    if (rc == QUERN_OK)
        rc = read_watermark(s, name, found ? g.id : 0, &watermark, &fault);
    row->watermark = keep(r, watermark ? watermark : "");
    quern_free(watermark);
    if (rc == QUERN_OK && found && s->table.kept_size)
        rc = s->table.kept_size(s->self, g.id, &kept, &row->kept_bytes, &fault);
    quern__recipe_free(recipe);
    if (rc != QUERN_OK && !(among && is_source_fault(rc, &fault))) {
        if (err)
            *err = fault;
        return rc;
    }
    if (rc != QUERN_OK) {
        memset(row, 0, sizeof *row);
        row->watermark = keep(r, "");
        snprintf(note, NOTE_BYTES, "cannot be read: %.300s", fault.msg);
    }
    row->source = keep(r, name);
    row->model = keep(r, found ? g.model : "");
    row->fingerprint = keep(r, found ? g.fingerprint : "");
    row->state = keep(r, found ? g.state : "");
    row->vector_type = keep(r, found ? g.vector_type : "");
    row->note = keep(r, note);
    row->chunks = found ? g.chunks : 0;
    row->dimensions = found ? g.dimensions : 0;
    row->percent = row->total       ? 100.0 * (double)row->done / (double)row->total
                   : rc == QUERN_OK ? 100.0
                                    : 0.0;
    if (!row->source || !row->model || !row->fingerprint || !row->state || !row->vector_type ||
        !row->note || !row->watermark)
        return quern__fail_memory(err, 0);
    r->n++;
    return QUERN_OK;
}

int quern_status_open(quern_status_report **out, quern_store *s, quern_embedder *e,
                      const char *source, const quern_cancel *cancel, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(s, err);
    char **names = NULL;
    size_t n = 0;
    int rc = quern__source_names(s, &names, &n, err);
    if (rc != QUERN_OK)
        return rc;
    quern_status_report *r = quern__calloc(1, sizeof *r);
    if (r) {
        quern__arena_init(&r->arena, 0);
        r->rows = quern__calloc(n + 1, sizeof *r->rows);
    }
    if (!r || !r->rows)
        rc = quern__fail_memory(err, (n + 1) * sizeof *r->rows);
    if (rc == QUERN_OK && source)
        rc = add_source(r, s, e, source, false, cancel, err);
    for (size_t i = 0; rc == QUERN_OK && !source && i < n; i++)
        rc = add_source(r, s, e, names[i], true, cancel, err);
    quern__names_free(names, n);
    if (rc != QUERN_OK) {
        quern_status_free(r);
        return rc;
    }
    *out = r;
    return QUERN_OK;
}

size_t quern_status_count(const quern_status_report *r)
{
    return r ? r->n : 0;
}

const quern_status_row *quern_status_at(const quern_status_report *r, size_t i)
{
    return r && i < r->n ? &r->rows[i] : NULL;
}

void quern_status_free(quern_status_report *r)
{
    if (!r)
        return;
    quern__arena_dispose(&r->arena);
    quern__free(r->rows);
    quern__free(r);
}
