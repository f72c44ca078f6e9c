/*
 * carry_import.c — quern_import: an export becomes current vectors, once it has shown that it is right.
 *
 * Twice through the files. First nothing is written: everything is read and checked, each document is held against its
 * row, and a sample of those that would be taken in is embedded again. Only then the generation is made, as a fill makes
 * it, and documents go through fill's own saving: paced, by compare-and-swap on the revision, with the words of the text
 * index. So stamps, triggers, shards and indexes know of an import nothing that they would not know of a fill; and cut
 * off anywhere it is begun again, passing over what is current.
 *
 * The sample is drawn without knowing how many of the documents have a row here: first from all of them; where that gave
 * too few (an export of which only a part is wanted), once more from those that were counted.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/os.h"
#include "base/rng.h"
#include "pipeline/carry.h"
#include "pipeline/coverage.h"
#include "pipeline/fill_run.h"
#include "text/utf8.h"

enum { BATCH_PIECES = 2048, SAMPLE_LEAST = 20, SAMPLE_PART = 100 };

enum doc_state { DOC_MISSING, DOC_CURRENT, DOC_CHANGED, DOC_WANTED };

/* Once through the files. */
typedef struct import_pass {
    quern__carry_import *im;
    fill_run *run; /* saving; NULL: looking */
    fill_batch *b;
    uint8_t state[FILL_DOCS];
    size_t width;
    bool of_wanted;      /* the sample is drawn from the documents that are wanted, else from all */
    uint64_t left, draw; /* documents to come, and to be drawn of them */
    uint64_t wanted;     /* documents with vectors that would be taken in */
    uint64_t compared;   /* of them */
    quern__rng rng;
    uint64_t done, all;
    quern_error *err;
} import_pass;

/* ---- a batch of documents ---- */

static bool same(quern_str a, quern_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static bool at_character(quern_str text, uint64_t at)
{
    return at == text.len || ((unsigned char)text.ptr[at] & 0xC0) != 0x80;
}

static bool is_nowhere(const quern__piece *at)
{
    return !at->start && !at->end && !at->char_start && !at->char_end;
}

/* The row has the text that was embedded, and its assets: then the chunks are pieces of it. */
static int check_pieces(const import_pass *w, const fill_doc *d, const quern__document_view *view,
                        quern_error *err)
{
    quern_str text = view->text;
    quern__sight sight;
    char reason[QUERN__SIGHT_REASON];
    int rc = quern__sight_read(w->im->recipe, view, &w->b->arena, &sight, reason, err);
    if (rc != QUERN_OK)
        return rc;
    uint64_t characters = 0;
    size_t counted = 0;
    bool good = d->dropped_bytes <= text.len && !reason[0] && (!sight.n || d->n > sight.n);
    for (size_t i = 0; good && i < d->n; i++) {
        const fill_piece *piece = &w->b->pieces[d->first + i];
        const quern__piece *at = &piece->at;
        good = same(piece->asset, quern__sight_label(&sight, i));
        if (sight.n && i <= sight.n && (i > 0 || !at->end)) {
            good = good && is_nowhere(at);
            continue;
        }
        good = good && at->start < at->end && at->end <= text.len &&
               at_character(text, at->start) && at_character(text, at->end);
        if (good && at->start < counted)
            characters = counted = 0;
        if (good) {
            characters += quern__utf8_count(text.ptr + counted, at->start - counted);
            counted = at->start;
            good = at->char_start == characters &&
                   at->char_end ==
                       characters + quern__utf8_count(text.ptr + at->start, at->end - at->start);
        }
    }
    return good ? QUERN_OK
                : quern__fail(err, QUERN_EFORMAT, (int64_t)text.len,
                              "the chunks of key %.*s are no pieces of its text, which has %zu "
                              "bytes, and of its assets",
                              (int)QUERN__MIN(d->key.len, (size_t)100), d->key.ptr, text.len);
}

static int hold_row(const quern_row *row, void *ud)
{
    import_pass *w = ud;
    quern__document_view view;
    size_t i = 0;
    while (i < w->b->n_docs && !same(w->b->docs[i].key, row->key))
        i++;
    if (row->fault || i == w->b->n_docs)
        return QUERN_OK;
    fill_doc *d = &w->b->docs[i];
    const quern__recipe *recipe = w->im->recipe;
    int rc =
        quern__recipe_document(recipe, row, QUERN__DOCUMENT_BYTES, &w->im->text, &view, w->err);
    if (rc != QUERN_OK)
        return rc;
    if (!same(view.revision, d->revision))
        w->state[i] = DOC_CHANGED;
    else if (quern__is_done(row, &view) && row->stamp.outcome != QUERN_OUTCOME_FAILED)
        w->state[i] = DOC_CURRENT;
    else if (view.reason[0])
        w->state[i] = DOC_CHANGED;
    else
        w->state[i] = DOC_WANTED;
    if (w->state[i] == DOC_WANTED && !w->im->opt->builder &&
        (rc = check_pieces(w, d, &view, w->err)) != QUERN_OK)
        return rc;
    if (w->state[i] != DOC_WANTED || !w->run || !(recipe->spec.text_search || recipe->keeps))
        return QUERN_OK;
    d->text.ptr =
        quern__arena_copy(&w->b->arena, view.text.ptr ? view.text.ptr : "", view.text.len);
    d->text.len = view.text.len;
    return d->text.ptr ? QUERN_OK : quern__fail_memory(w->err, view.text.len);
}

static int look_at_rows(import_pass *w, quern_error *err)
{
    quern_str keys[FILL_DOCS];
    w->err = err;
    for (size_t i = 0; i < w->b->n_docs; i++) {
        keys[i] = w->b->docs[i].key;
        w->state[i] = DOC_MISSING;
        for (size_t k = 0; k < i; k++)
            if (same(keys[k], keys[i]))
                return quern__fail(err, QUERN_EFORMAT, 0, "the key %.*s is in the export twice",
                                   (int)QUERN__MIN(keys[i].len, (size_t)100), keys[i].ptr);
    }
    return w->im->s->table.fetch(w->im->s->self, &w->im->read, keys, w->b->n_docs, hold_row, w,
                                 err);
}

/* Knuth's algorithm S: each of those to come is as likely as any. */
static bool drawn(import_pass *w)
{
    bool yes = w->draw && (w->draw >= w->left ||
                           (double)quern__rng_float(&w->rng) * (double)w->left < (double)w->draw);
    w->draw -= yes;
    w->left -= w->left > 0;
    return yes;
}

static int compare(import_pass *w, const fill_doc *d, quern_error *err)
{
    quern_chunk *chunks = quern__calloc(d->n + 1, sizeof *chunks);
    if (!chunks)
        return quern__fail_memory(err, d->n * sizeof *chunks);
    for (size_t i = 0; i < d->n; i++) {
        const fill_piece *piece = &w->b->pieces[d->first + i];
        const quern__piece *at = &piece->at;
        chunks[i] = (quern_chunk){.index = (uint32_t)i,
                                  .start = at->start,
                                  .end = at->end,
                                  .vector = w->b->vectors + (d->first + i) * w->width,
                                  .asset = piece->asset};
    }
    const quern__carry_doc doc = {
        .key = d->key, .revision = d->revision, .n = d->n, .chunks = chunks};
    int rc = quern__check_cancel(w->im->opt->cancel, err);
    if (rc == QUERN_OK)
        rc = quern__carry_compare(w->im, &doc, err);
    quern__free(chunks);
    return rc;
}

/* Nothing is written: counts, and compares those that are drawn, and all that are said to be blank. */
static int look(import_pass *w, quern_error *err)
{
    quern_import_report *p = w->im->report;
    int rc = QUERN_OK;
    for (size_t i = 0; rc == QUERN_OK && i < w->b->n_docs; i++) {
        const fill_doc *d = &w->b->docs[i];
        bool wanted = w->state[i] == DOC_WANTED;
        p->missing += w->state[i] == DOC_MISSING;
        p->changed += w->state[i] == DOC_CHANGED;
        p->skipped += w->state[i] == DOC_CURRENT;
        p->imported += wanted;
        w->wanted += wanted && d->n;
        bool take = d->n == 0 || ((wanted || !w->of_wanted) && drawn(w));
        if (take && wanted)
            rc = compare(w, d, err);
        w->compared += take && wanted && d->n;
    }
    return rc;
}

static int save(import_pass *w, quern_error *err)
{
    fill_batch *b = w->b;
    const quern__recipe *recipe = w->im->recipe;
    quern_import_report *p = w->im->report;
    int rc = QUERN_OK;
    for (size_t i = 0; i < b->n_docs; i++) {
        p->missing += w->state[i] == DOC_MISSING;
        p->changed += w->state[i] == DOC_CHANGED;
        p->skipped += w->state[i] == DOC_CURRENT;
        if (w->state[i] != DOC_WANTED)
            b->docs[i].reason = "not wanted"; /* nor is its text, then */
        b->docs[i].ready = b->docs[i].n;
    }
    if (recipe->spec.text_search || recipe->keeps)
        rc = quern__fill_build(b, err);
    for (size_t i = 0; i < b->n_docs; i++) {
        b->docs[i].drop = b->docs[i].reason != NULL;
        p->changed += w->state[i] == DOC_WANTED && b->docs[i].drop;
    }
    if (rc == QUERN_OK)
        rc = quern__check_cancel(w->im->opt->cancel, err);
    return rc == QUERN_OK ? quern__fill_save(b, err) : rc;
}

static int settle(import_pass *w, quern_error *err)
{
    const quern_import_options *o = w->im->opt;
    if (w->b->n_docs == 0)
        return QUERN_OK;
    int rc = look_at_rows(w, err);
    if (rc == QUERN_OK)
        rc = w->run ? save(w, err) : look(w, err);
    w->done += w->b->n_docs;
    quern__fill_empty(w->b);
    if (rc == QUERN_OK && o->progress && o->progress(w->done, w->all, o->progress_ud))
        rc = quern__fail(err, QUERN_ECANCELLED, 0, "cancelled by the caller");
    return rc;
}

static int make_room(fill_batch *b, size_t more, size_t width, quern_error *err)
{
    size_t need = b->n_pieces + more;
    if (need > b->cap_pieces) {
        size_t cap = QUERN__MAX(need, 2 * b->cap_pieces);
        fill_piece *grown = quern__resize_array(b->pieces, cap, sizeof *grown);
        if (!grown)
            return quern__fail_memory(err, cap * sizeof *grown);
        b->pieces = grown;
        b->cap_pieces = cap;
    }
    if (need > b->cap_vectors) {
        size_t cap = QUERN__MAX(need, 2 * b->cap_vectors);
        unsigned char *grown = quern__resize_array(b->vectors, cap, width);
        if (!grown)
            return quern__fail_memory(err, cap * width);
        b->vectors = grown;
        b->cap_vectors = cap;
    }
    return QUERN_OK;
}

static int copy_str(fill_batch *b, quern_str from, quern_str *to, quern_error *err)
{
    to->ptr = quern__arena_copy(&b->arena, from.ptr ? from.ptr : "", from.len);
    to->len = from.len;
    return to->ptr ? QUERN_OK : quern__fail_memory(err, from.len);
}

static int take_doc(const quern__carry_doc *doc, void *ud, quern_error *err)
{
    import_pass *w = ud;
    fill_batch *b = w->b;
    int rc =
        b->n_docs == FILL_DOCS || b->n_pieces + doc->n > BATCH_PIECES ? settle(w, err) : QUERN_OK;
    if (rc == QUERN_OK)
        rc = make_room(b, doc->n, w->width, err);
    if (rc != QUERN_OK)
        return rc;
    fill_doc *d = &b->docs[b->n_docs];
    memset(d, 0, sizeof *d);
    d->first = b->n_pieces;
    d->n = doc->n;
    d->dropped_bytes = doc->dropped_bytes;
    rc = copy_str(b, doc->key, &d->key, err);
    if (rc == QUERN_OK)
        rc = copy_str(b, doc->revision, &d->revision, err);
    for (size_t i = 0; rc == QUERN_OK && i < doc->n; i++) {
        const quern_chunk *c = &doc->chunks[i];
        fill_piece *p = &b->pieces[b->n_pieces];
        *p = (fill_piece){.doc = b->n_docs,
                          .at = {.start = c->start,
                                 .end = c->end,
                                 .char_start = c->char_start,
                                 .char_end = c->char_end,
                                 .page = c->page}};
        rc = copy_str(b, c->heading, &p->heading, err);
        if (rc == QUERN_OK)
            rc = copy_str(b, c->asset, &p->asset, err);
        memcpy(b->vectors + b->n_pieces++ * w->width, c->vector, w->width);
    }
    b->n_docs++;
    return rc;
}

/* Once through; counts begin at zero. */
static int pass(quern__carry_import *im, import_pass *w, const char *dir, quern_error *err)
{
    w->im = im;
    w->width = im->again.width;
    w->all = 2 * (im->p.documents + im->p.empty);
    im->report->missing = im->report->changed = im->report->skipped = 0;
    w->b = quern__calloc(1, sizeof *w->b);
    if (!w->b)
        return quern__fail_memory(err, sizeof *w->b);
    quern__arena_init(&w->b->arena, 0);
    w->b->run = w->run;
    int rc = quern__carry_read(dir, &im->p, take_doc, w, im->opt->cancel, err);
    if (rc == QUERN_OK)
        rc = settle(w, err);
    quern__fill_dispose(w->b);
    quern__free(w->b);
    return rc;
}

/* ---- looking ---- */

static uint64_t sample_of(const quern_import_options *o, uint64_t documents)
{
    uint64_t n =
        o->sample ? o->sample
                  : QUERN__MAX((documents + SAMPLE_PART - 1) / SAMPLE_PART, (uint64_t)SAMPLE_LEAST);
    return QUERN__MIN(n, documents);
}

static int look_once(quern__carry_import *im, const char *dir, bool of_wanted, uint64_t documents,
                     import_pass *out, quern_error *err)
{
    import_pass w = {.of_wanted = of_wanted, .left = documents};
    w.draw = sample_of(im->opt, documents);
    im->report->sampled = im->report->equal = im->report->imported = 0;
    quern__rng_seed(&w.rng, im->report->seed + of_wanted);
    int rc = pass(im, &w, dir, err);
    *out = w;
    return rc;
}

static int look_through(quern__carry_import *im, const char *dir, quern_error *err)
{
    quern_import_report *p = im->report;
    import_pass seen;
    int rc = look_once(im, dir, false, im->p.documents, &seen, err);
    if (rc == QUERN_OK && p->sampled == p->equal && seen.compared < sample_of(im->opt, seen.wanted))
        rc = look_once(im, dir, true, seen.wanted, &seen, err);
    if (rc == QUERN_OK && p->sampled != p->equal)
        rc = quern__code(
            err,
            quern__fail(err, QUERN_EMISMATCH, (int64_t)(p->sampled - p->equal),
                        "%s: %" PRIu64 " of %" PRIu64
                        " documents came out otherwise when they were embedded again (seed "
                        "%" PRIu64 "); the first: %s; nothing was written",
                        dir, p->sampled - p->equal, p->sampled, p->seed, p->first_difference),
            "sample_mismatch");
    return rc;
}

/* ---- is it meant for here? ---- */

static int check_fingerprint(quern__carry_import *im, quern_embedder *e, const char *dir,
                             quern_error *err)
{
    char *now = NULL;
    char hash[65];
    char what[160];
    int rc = quern__recipe_fingerprint(im->recipe, e, &im->settings, &now, hash, err);
    if (rc == QUERN_OK && strcmp(hash, im->p.fingerprint) != 0) {
        quern__fingerprint_difference(im->p.recipe, now, what, sizeof what);
        rc = quern__code(
            err,
            quern__fail(err, QUERN_EMISMATCH, 0,
                        "%s was made by %s under fingerprint %.12s, a fill of source %s would be "
                        "by %s under %.12s: %s differs; nothing was written",
                        dir, im->p.model, im->p.fingerprint, im->recipe->spec.name,
                        quern_embedder_name(e), hash, what),
            "fingerprint_mismatch");
    } else if (rc == QUERN_OK && im->p.dimensions != quern_embedder_dimensions(e)) {
        rc = quern__fail(err, QUERN_EMISMATCH, im->p.dimensions,
                         "%s holds vectors of %u dimensions, %s makes %u under the same "
                         "fingerprint; nothing was written",
                         dir, im->p.dimensions, quern_embedder_name(e),
                         quern_embedder_dimensions(e));
    }
    quern__free(now);
    return rc;
}

/* Only those rows that a generation made by this import would hold. What the export says of its own scope is SQL of a
 * stranger's, and never run: the caller has to give the same. */
static int settle_scope(quern__carry_import *im, quern_error *err)
{
    const char *where = im->opt->where && im->opt->where[0] ? im->opt->where : NULL;
    quern_generation g;
    if (where) {
        int rc = quern__recipe_check_where(im->recipe, im->s, where, err);
        return rc == QUERN_OK ? quern__recipe_scope(im->recipe, where, err) : rc;
    }
    quern_error none = {0};
    int rc = im->s->table.generation_find(im->s->self, im->recipe->spec.name, "active", &g, &none);
    if (rc == QUERN_OK)
        return quern__recipe_scope_of(im->recipe, im->s, g.id, err);
    if (rc != QUERN_ENOTFOUND && err)
        *err = none;
    return rc == QUERN_ENOTFOUND ? QUERN_OK : rc;
}

/* The generation that a fill would bring up to date, if there is one already. */
static int find_generation(quern__carry_import *im, quern_error *err)
{
    static const char *const states[] = {"active", "building"};
    im->read = im->recipe->read;
    for (size_t i = 0; i < QUERN__COUNT(states) && !im->read.generation; i++) {
        quern_generation g;
        int rc =
            im->s->table.generation_find(im->s->self, im->recipe->spec.name, states[i], &g, err);
        if (rc != QUERN_OK && rc != QUERN_ENOTFOUND)
            return rc;
        if (rc == QUERN_OK && strcmp(g.fingerprint, im->p.fingerprint) == 0) {
            im->read.generation = g.id;
            memcpy(im->report->state, g.state, sizeof im->report->state);
        }
    }
    im->report->generation = im->read.generation;
    if (err) /* none of them is no fault */
        memset(err, 0, sizeof *err);
    return QUERN_OK;
}

static int settle_options(quern__carry_import *im, quern_embedder *e, quern_error *err)
{
    const quern_import_options *o = im->opt;
    const char *type = o->vector_type && o->vector_type[0] ? o->vector_type : "f16";
    if (!quern__vector_width(type))
        return quern__fail(err, QUERN_EINVAL, 0, "vector type %s: f16 or f32", type);
    snprintf(im->settings.vector_type, sizeof im->settings.vector_type, "%s", type);
    if (o->builder)
        snprintf(im->settings.builder, sizeof im->settings.builder, "%s", o->builder->id);
    im->settings.builder_assets = quern__builder_assets(o->builder);
    int rc = quern__chunking_settle(&im->settings.chunking, e, o->max_chunks, o->overlap, err);
    im->settings.chunking.headings = o->headings != 0;
    return rc;
}

/* ---- taking it in ---- */

typedef struct taking {
    quern__carry_import *im;
    const char *dir;
} taking;

static int take_in(fill_run *r, void *ud, quern_error *err)
{
    const taking *t = ud;
    quern__carry_import *im = t->im;
    quern_import_report *p = im->report;
    if (strcmp(r->generation.fingerprint, im->p.fingerprint) != 0)
        return quern__fail(err, QUERN_EMISMATCH, r->generation.id,
                           "source %s has been declared otherwise meanwhile; nothing was written",
                           im->recipe->spec.name);
    import_pass w = {.run = r, .done = im->p.documents + im->p.empty};
    p->generation = im->read.generation = r->generation.id;
    memcpy(p->state, r->generation.state, sizeof p->state);
    p->imported = 0;
    int rc = pass(im, &w, t->dir, err);
    p->imported = r->report->processed;
    p->changed += r->report->stale;
    return rc;
}

static int write_all(quern__carry_import *im, quern_embedder *e, const char *dir, quern_error *err)
{
    const quern_import_options *o = im->opt;
    taking t = {im, dir};
    fill_aim aim = {.flow = take_in, .ud = &t, .scope = im->recipe->scope};
    quern_fill_report done;
    quern_fill_options fill;
    QUERN_INIT(&done);
    QUERN_INIT(&fill);
    fill.source = im->recipe->spec.name;
    fill.max_chunks = o->max_chunks;
    fill.overlap = o->overlap;
    fill.vector_type = o->vector_type;
    fill.headings = o->headings;
    fill.builder = o->builder;
    fill.index = o->index;
    fill.wait_ms = o->wait_ms;
    fill.cancel = o->cancel;
    int rc = quern__fill_source(im->s, e, &fill, &aim, fill.source, &done, err);
    if (rc == QUERN_OK && done.ended)
        rc = quern__fail(err, QUERN_EMISMATCH, im->report->generation,
                         "generation %" PRId64 " of source %s was retired meanwhile",
                         im->report->generation, fill.source);
    return rc;
}

static int count_pending(quern__carry_import *im, quern_error *err)
{
    quern_status_row row;
    memset(&row, 0, sizeof row);
    int rc = quern__coverage(im->s, im->recipe, im->report->generation, &row, im->opt->cancel, err);
    im->report->pending = row.pending;
    return rc;
}

static int import(quern__carry_import *im, quern_embedder *e, const char *dir, quern_error *err)
{
    const quern_import_options *o = im->opt;
    int rc = quern__carry_open(dir, &im->p, err);
    const char *name = o->source ? o->source : im->p.source;
    if (rc == QUERN_OK)
        rc = quern__recipe_open(&im->recipe, im->s, name, err);
    if (rc != QUERN_OK)
        return rc;
    snprintf(im->report->source, sizeof im->report->source, "%s", im->recipe->spec.name);
    im->report->documents = im->p.documents;
    im->report->vectors = im->p.vectors;
    im->report->empty = im->p.empty;
    rc = settle_options(im, e, err);
    if (rc == QUERN_OK)
        rc = settle_scope(im, err);
    if (rc == QUERN_OK)
        rc = check_fingerprint(im, e, dir, err);
    if (rc == QUERN_OK)
        rc = find_generation(im, err);
    im->again = (quern__again){.e = e,
                               .recipe = im->recipe,
                               .settings = &im->settings,
                               .builder = o->builder,
                               .cancel = o->cancel};
    if (rc == QUERN_OK)
        rc = quern__again_init(&im->again, im->p.dimensions, err);
    if (rc == QUERN_OK)
        rc = look_through(im, dir, err);
    if (rc == QUERN_OK && !o->dry_run)
        rc = write_all(im, e, dir, err);
    if (rc == QUERN_OK)
        rc = count_pending(im, err);
    return rc;
}

int quern_import(quern_store *s, quern_embedder *e, const char *dir,
                 const quern_import_options *opt, quern_import_report *report, quern_error *err)
{
    QUERN__REQUIRE(s && e && dir && dir[0], err);
    QUERN__REQUIRE(!opt || opt->struct_size >= sizeof *opt, err);
    QUERN__REQUIRE(!report || report->struct_size >= sizeof *report, err);
    quern_import_options none;
    quern_import_report own;
    QUERN_INIT(&none);
    QUERN_INIT(&own);
    quern__carry_import im = {.s = s, .opt = opt ? opt : &none, .report = &own};
    own.seed = im.opt->seed ? im.opt->seed : quern__os_entropy() >> 11; /* exact as a double */
    quern__buf_init(&im.text, QUERN__TEXT_BUFFER);
    int rc = quern__builder_check(im.opt->builder, im.opt->source ? im.opt->source : "-", err);
    if (rc == QUERN_OK)
        rc = import(&im, e, dir, err);
    quern__again_dispose(&im.again);
    quern__recipe_free(im.recipe);
    quern__provenance_dispose(&im.p);
    quern__buf_dispose(&im.text);
    if (report)
        *report = own;
    return rc;
}
