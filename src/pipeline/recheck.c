/*
 * recheck.c — quern_verify: are the stored vectors what they claim to be?
 *
 * A sample of current documents is cut and embedded again exactly as fill does it, and the stored bytes are
 * compared, not approximately: a vector is one bit pattern (docs/bits.md), so any difference is a fault — of the disk,
 * of a hand in the tables, or of ours. Beside that every stored vector is traced to a stamp and a row (orphans),
 * and, where the sums disagree, every stamp to its vectors.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/rng.h"
#include "pipeline/again.h"
#include "pipeline/held.h"
#include "quern/pipeline.h"

enum {
    PAGE = 512,
    GROUP = 64,            /* documents that are looked at together */
    GROUP_TEXT = 16 << 20, /* bytes of their texts; what goes beyond is looked at alone */
    KEY_BYTES = 1 << 20,
    DEFAULT_SAMPLE = 100
};

typedef struct group_doc {
    quern_str key, text;
    uint32_t promised;
    bool current, no_text, alone;
} group_doc;

typedef struct recheck_run {
    quern_store *s;
    quern_embedder *e;
    const quern_verify_options *opt;
    quern_verify_report *report;
    quern__recipe *recipe;
    quern__fill_settings settings;
    quern_generation generation;
    quern_read read;
    quern_error *err;
    uint64_t stored, orphans; /* vectors */
    uint64_t promised, left;  /* chunks by the stamps; stamps not yet drawn from */
    uint64_t wanted;          /* documents still to draw */
    quern__rng rng;
    /* a page of keys */
    quern__arena arena;
    quern_str keys[PAGE];
    uint32_t chunks[PAGE]; /* of the stamp of each key */
    uint32_t index[PAGE];  /* sweep: of the vector that named the key */
    bool row_found[PAGE];
    size_t n;
    /* documents at hand; more than one where nothing but their texts decides */
    group_doc group[GROUP];
    size_t n_group, most;
    quern__arena texts;
    quern__buf text;
    quern__held held;
    quern__again again;
} recheck_run;

/* ---- stamps, page by page ---- */

static int take_stamp(quern_str key, const quern_stamp *stamp, void *ud)
{
    recheck_run *r = ud;
    char *copy = quern__arena_copy(&r->arena, key.ptr, key.len);
    if (!copy)
        return quern__fail_memory(r->err, key.len);
    r->chunks[r->n] = stamp->outcome == QUERN_OUTCOME_OK ? stamp->chunks : 0;
    r->row_found[r->n] = false;
    r->keys[r->n++] = (quern_str){copy, key.len};
    return QUERN_OK;
}

/* Calls fn for each page of stamps; keys, chunks and n are set. */
static int each_page(recheck_run *r, int (*fn)(recheck_run *, quern_error *), quern_error *err)
{
    quern__buf after;
    quern__buf_init(&after, KEY_BYTES);
    int rc;
    size_t got;
    do {
        quern__arena_dispose(&r->arena);
        r->n = 0;
        quern_str from = {after.data, after.len};
        rc = quern__check_cancel(r->opt->cancel, err);
        if (rc == QUERN_OK)
            rc = r->s->table.stamps(r->s->self, r->generation.id, from, PAGE, take_stamp, r, err);
        got = r->n;
        if (rc == QUERN_OK && got) {
            quern__buf_clear(&after);
            quern__buf_append(&after, r->keys[got - 1].ptr, r->keys[got - 1].len);
            rc = quern__buf_ok(&after, "a key", err);
        }
        if (rc == QUERN_OK && got)
            rc = fn(r, err);
    } while (rc == QUERN_OK && got == PAGE);
    quern__buf_dispose(&after);
    return rc;
}

static int sum_page(recheck_run *r, quern_error *err)
{
    (void)err;
    for (size_t i = 0; i < r->n; i++)
        r->promised += r->chunks[i];
    r->left += r->n;
    return QUERN_OK;
}

/* So many keys of the page, from `from` on, that their vectors can be held. */
static size_t some_keys(const recheck_run *r, size_t from)
{
    size_t end = from, bytes = 0;
    while (end < r->n && (end == from || bytes < QUERN__HELD_BYTES))
        bytes += r->chunks[end++] * r->held.width;
    return end - from;
}

static int find_missing(recheck_run *r, quern_error *err)
{
    size_t first[PAGE + 1];
    int rc = QUERN_OK;
    for (size_t at = 0, n; rc == QUERN_OK && at < r->n; at += n) {
        n = some_keys(r, at);
        rc = quern__held_read(&r->held, r->s, r->generation.id, r->keys + at, n, first, err);
        for (size_t i = 0; rc == QUERN_OK && i < n; i++) {
            uint64_t stored = first[i + 1] - first[i];
            if (stored < r->chunks[at + i])
                r->report->missing_vectors += r->chunks[at + i] - stored;
        }
    }
    return rc;
}

/* ---- documents again ---- */

static int take_row(const quern_row *row, void *ud)
{
    recheck_run *r = ud;
    quern__document_view doc;
    size_t i = 0;
    while (i < r->n_group && (r->group[i].key.len != row->key.len ||
                              memcmp(r->group[i].key.ptr, row->key.ptr, row->key.len) != 0))
        i++;
    if (row->fault || i == r->n_group)
        return QUERN_OK;
    int rc = quern__recipe_document(r->recipe, row, QUERN__RENDER_BYTES, &r->text, &doc, r->err);
    if (rc != QUERN_OK)
        return rc;
    group_doc *d = &r->group[i];
    d->current = quern__is_current(row, &doc) && row->stamp.outcome == QUERN_OUTCOME_OK;
    d->no_text = doc.no_text;
    d->text = doc.text;
    if (!d->current || d->no_text)
        return QUERN_OK;
    if (r->n_group > 1 && r->texts.used + doc.text.len > GROUP_TEXT) {
        d->alone = true;
        return QUERN_OK;
    }
    if (r->n_group > 1) {
        d->text.ptr = quern__arena_copy(&r->texts, doc.text.ptr, doc.text.len);
        if (!d->text.ptr)
            return quern__fail_memory(r->err, doc.text.len);
    }
    return quern__again_look(&r->again, &doc, r->err);
}

static void note_difference(recheck_run *r, quern_str key, uint32_t chunk)
{
    r->report->different++;
    if (!r->report->first_difference[0])
        snprintf(r->report->first_difference, sizeof r->report->first_difference,
                 "source %s, key %.*s, chunk %u", r->recipe->spec.name,
                 (int)QUERN__MIN(key.len, 120), key.ptr, chunk);
}

/* n chunks of it are held, from `first` on. */
static int compare_document(recheck_run *r, const group_doc *d, size_t first, size_t n,
                            quern_error *err)
{
    const quern_chunk *held = r->held.chunks;
    size_t same = 0;
    int rc = quern__again_embed(&r->again, d->key, d->text, err);
    if (rc != QUERN_OK)
        return rc;
    while (same < n && quern__again_same(&r->again, same, &held[first + same]))
        same++;
    if (n < d->promised && n < r->again.pieces.n)
        return QUERN_OK; /* counted as missing */
    r->report->checked++;
    if (same < n)
        note_difference(r, d->key, held[first + same].index);
    else if (n != r->again.pieces.n)
        note_difference(r, d->key, (uint32_t)n);
    else
        r->report->equal++;
    return QUERN_OK;
}

/* Rows, then chunks, then each of them again. */
static int recheck_group(recheck_run *r, quern_error *err)
{
    quern_str keys[GROUP];
    size_t first[GROUP + 1], n = r->n_group, asked = 0;
    quern__arena_dispose(&r->texts);
    for (size_t i = 0; i < n; i++)
        keys[i] = r->group[i].key;
    int rc = r->s->table.fetch(r->s->self, &r->read, keys, n, take_row, r, err);
    for (size_t i = 0; rc == QUERN_OK && i < n; i++) {
        const group_doc *d = &r->group[i];
        r->report->stale += !d->current;
        r->report->no_text += d->current && d->no_text;
        if (d->current && !d->no_text && !d->alone)
            keys[asked++] = d->key;
    }
    if (rc == QUERN_OK)
        rc = quern__held_read(&r->held, r->s, r->generation.id, keys, asked, first, err);
    for (size_t i = 0, k = 0; rc == QUERN_OK && k < asked; i++) {
        if (r->group[i].key.ptr != keys[k].ptr)
            continue;
        rc = quern__check_cancel(r->opt->cancel, err);
        if (rc == QUERN_OK)
            rc = compare_document(r, &r->group[i], first[k], first[k + 1] - first[k], err);
        k++;
    }
    return rc;
}

/* Those of the group, and then by itself what was too large to lie beside the others. */
static int recheck_all(recheck_run *r, quern_error *err)
{
    group_doc large[GROUP];
    size_t n = 0;
    int rc = r->n_group ? recheck_group(r, err) : QUERN_OK;
    for (size_t i = 0; i < r->n_group; i++)
        if (r->group[i].alone)
            large[n++] = (group_doc){.key = r->group[i].key, .promised = r->group[i].promised};
    for (size_t i = 0; rc == QUERN_OK && i < n; i++) {
        r->group[0] = large[i];
        r->n_group = 1;
        rc = recheck_group(r, err);
    }
    r->n_group = 0;
    return rc;
}

/* Draws `wanted` of the `left` stamps, each as likely as any (Knuth's algorithm S). */
static int recheck_page(recheck_run *r, quern_error *err)
{
    size_t bytes = 0;
    int rc = QUERN_OK;
    for (size_t i = 0; rc == QUERN_OK && i < r->n && r->wanted; i++, r->left -= r->left > 0) {
        bool all = r->wanted >= r->left;
        if (!all && (double)quern__rng_float(&r->rng) * (double)r->left >= (double)r->wanted)
            continue;
        r->wanted--;
        if (r->chunks[i] == 0)
            continue; /* empty or failed: there is no vector to compare */
        r->group[r->n_group++] = (group_doc){.key = r->keys[i], .promised = r->chunks[i]};
        bytes += r->chunks[i] * r->held.width;
        if (r->n_group == r->most || bytes >= QUERN__HELD_BYTES) {
            rc = recheck_all(r, err);
            bytes = 0;
        }
    }
    return rc == QUERN_OK ? recheck_all(r, err) : rc;
}

/* ---- orphans ---- */

typedef struct ref_list {
    int64_t *refs;
    size_t n, cap;
    recheck_run *run;
} ref_list;

static int take_refs(const int64_t *refs, const void *data, size_t n, void *ud)
{
    ref_list *l = ud;
    (void)data;
    if (l->cap - l->n < n) {
        size_t cap = QUERN__MAX(l->cap * 2, l->n + n);
        int64_t *grown = quern__resize_array(l->refs, cap, sizeof *grown);
        if (!grown)
            return quern__fail_memory(l->run->err, cap * sizeof *grown);
        l->refs = grown;
        l->cap = cap;
    }
    memcpy(l->refs + l->n, refs, n * sizeof *refs);
    l->n += n;
    return quern__check_cancel(l->run->opt->cancel, l->run->err);
}

static int take_ref_key(const quern_chunk_ref *c, void *ud)
{
    recheck_run *r = ud;
    if (r->n == PAGE)
        return QUERN_OK;
    char *copy = quern__arena_copy(&r->arena, c->key.ptr, c->key.len);
    if (!copy)
        return quern__fail_memory(r->err, c->key.len);
    r->row_found[r->n] = false;
    r->index[r->n] = c->index;
    r->keys[r->n++] = (quern_str){copy, c->key.len};
    return QUERN_OK;
}

static int mark_owner(const quern_row *row, void *ud)
{
    recheck_run *r = ud;
    for (size_t i = 0; i < r->n; i++) {
        if (r->keys[i].len == row->key.len &&
            memcmp(r->keys[i].ptr, row->key.ptr, row->key.len) == 0 && !row->fault &&
            row->stamp.outcome == QUERN_OUTCOME_OK && r->index[i] < row->stamp.chunks)
            r->row_found[i] = true;
    }
    return QUERN_OK;
}

/* Vectors that no row with a stamp of its own claims. */
static int count_orphans(recheck_run *r, quern_error *err)
{
    ref_list l = {.run = r};
    int rc = r->s->table.vectors(r->s->self, r->generation.id, take_refs, &l, err);
    for (size_t at = 0; rc == QUERN_OK && at < l.n; at += PAGE) {
        size_t n = QUERN__MIN(l.n - at, (size_t)PAGE);
        quern__arena_dispose(&r->arena);
        r->n = 0;
        rc = quern__check_cancel(r->opt->cancel, err);
        if (rc == QUERN_OK)
            rc = r->s->table.resolve(r->s->self, r->generation.id, l.refs + at, n, take_ref_key, r,
                                     err);
        if (rc == QUERN_OK && r->n)
            rc = r->s->table.fetch(r->s->self, &r->read, r->keys, r->n, mark_owner, r, err);
        for (size_t i = 0; rc == QUERN_OK && i < r->n; i++)
            r->orphans += !r->row_found[i];
    }
    r->report->orphans += r->orphans;
    r->stored = l.n;
    quern__free(l.refs);
    return rc;
}

/* ---- one source ---- */

static int recheck_generation(recheck_run *r, quern_error *err)
{
    r->read = r->recipe->read;
    r->read.generation = r->generation.id;
    r->again = (quern__again){.e = r->e,
                              .recipe = r->recipe,
                              .settings = &r->settings,
                              .builder = r->opt->builder,
                              .cancel = r->opt->cancel};
    /* what is seen beside a text, and what a program makes of it, is one document's at a time */
    r->most = r->recipe->assets.n || r->settings.builder[0] ? 1 : GROUP;
    r->held.width =
        (size_t)r->generation.dimensions * quern__vector_width(r->generation.vector_type);
    int rc = quern__again_init(&r->again, r->generation.dimensions, err);
    if (rc == QUERN_OK)
        rc = each_page(r, sum_page, err);
    if (rc == QUERN_OK)
        rc = count_orphans(r, err);
    if (rc == QUERN_OK && r->promised != r->stored - QUERN__MIN(r->stored, r->orphans))
        rc = each_page(r, find_missing, err);
    r->wanted = r->opt->sample ? r->opt->sample : DEFAULT_SAMPLE;
    if (rc == QUERN_OK && r->e)
        rc = each_page(r, recheck_page, err);
    return rc;
}

/* Texts that a program built can be checked with its help only. */
static int need_builder(const recheck_run *r, quern_error *err)
{
    const char *id = r->settings.builder;
    if (!id[0] || (r->opt->builder && strcmp(r->opt->builder->id, id) == 0))
        return QUERN_OK;
    return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                       "source %s was filled by a program with its document builder %s: only that "
                       "program can verify it",
                       r->recipe->spec.name, id);
}

static int recheck_source(quern_store *s, quern_embedder *e, const quern_verify_options *opt,
                          const char *name, quern_verify_report *report, quern_error *err)
{
    recheck_run *r = quern__calloc(1, sizeof *r);
    if (!r)
        return quern__fail_memory(err, sizeof *r);
    r->s = s;
    r->e = e;
    r->opt = opt;
    r->report = report;
    r->err = err;
    quern__rng_seed(&r->rng, opt->seed);
    quern__arena_init(&r->arena, 0);
    quern__arena_init(&r->texts, 0);
    quern__buf_init(&r->text, QUERN__TEXT_BUFFER);
    int rc = quern__recipe_open(&r->recipe, s, name, err);
    if (rc == QUERN_OK) {
        quern_error missing = {0};
        rc = s->table.generation_find(s->self, name, "active", &r->generation, &missing);
        if (rc == QUERN_OK && e) {
            rc = quern__recipe_check_generation(r->recipe, s, e, &r->generation, &r->settings, err);
            if (rc == QUERN_OK)
                rc = need_builder(r, err);
        } else if (rc ==
                   QUERN_OK) { /* nothing is embedded: whoever made them, they are there or not */
            rc = quern__recipe_scope_of(r->recipe, s, r->generation.id, err);
            snprintf(r->settings.vector_type, sizeof r->settings.vector_type, "%s",
                     r->generation.vector_type);
        } else if (rc == QUERN_ENOTFOUND && !opt->source)
            rc = QUERN_OK; /* never filled: nothing claims anything */
        else if (rc == QUERN_ENOTFOUND)
            quern__fail(err, rc, 0, "source %s has not been filled yet; run `quern fill`", name);
        else if (err)
            *err = missing;
        if (rc == QUERN_OK && r->generation.id)
            rc = recheck_generation(r, err);
    }
    quern__recipe_free(r->recipe);
    quern__arena_dispose(&r->arena);
    quern__arena_dispose(&r->texts);
    quern__buf_dispose(&r->text);
    quern__held_dispose(&r->held);
    quern__again_dispose(&r->again);
    quern__free(r);
    return rc;
}

int quern_verify(quern_store *s, quern_embedder *e, const quern_verify_options *opt,
                 quern_verify_report *report, quern_error *err)
{
    QUERN__REQUIRE(s, err);
    QUERN__REQUIRE(!opt || opt->struct_size >= sizeof(size_t), err);
    QUERN__REQUIRE(!report || report->struct_size >= sizeof(size_t), err);
    quern_verify_options o;
    quern_verify_report sum;
    QUERN_INIT(&o);
    QUERN_INIT(&sum);
    if (opt)
        memcpy(&o, opt, QUERN__MIN(opt->struct_size, sizeof o));
    char **names = NULL;
    size_t n = 0;
    int rc = quern__builder_check(o.builder, o.source, err);
    if (rc == QUERN_OK && !o.source)
        rc = quern__source_names(s, &names, &n, err);
    if (rc == QUERN_OK && o.source)
        rc = recheck_source(s, e, &o, o.source, &sum, err);
    for (size_t i = 0; rc == QUERN_OK && i < n; i++)
        rc = recheck_source(s, e, &o, names[i], &sum, err);
    quern__names_free(names, n);
    if (report) {
        size_t size = report->struct_size;
        memcpy(report, &sum, QUERN__MIN(size, sizeof sum));
        report->struct_size = size;
    }
    if (rc == QUERN_OK && (sum.different || sum.orphans || sum.missing_vectors))
        rc = quern__fail(err, QUERN_EMISMATCH, (int64_t)sum.different,
                         "%" PRIu64 " documents have other vectors than they should%s%s, %" PRIu64
                         " vectors belong to no document, %" PRIu64
                         " are missing; `quern fill` mends the last two, `quern fill --force` all",
                         sum.different, sum.first_difference[0] ? ", the first: " : "",
                         sum.first_difference, sum.orphans, sum.missing_vectors);
    return rc;
}
