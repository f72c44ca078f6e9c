/*
 * search.c — a search from begin to end.
 *
 * 1. The query is embedded. Every source asked for must have an active generation made by this very embedder
 *    from the source's declaration of now; one that was not is refused, never left out in silence.
 * 2. Each stored vector is compared in the store's blocks; a heap keeps the k best chunks (gather.c).
 * 3. Join back (join.c): the chunks' documents are read again. Only a row that exists, matches the predicate and whose stamp
 *    carries its revision of now is a hit. Then the references are resolved once more: a reference that is
 *    still there was not replaced between the scan and the reading of its row, so score and row belong together.
 * 4. Whether that is enough is known exactly: `lost` is the best score the heap let go, so hits above it stand
 *    as they are. If fewer than `limit` do, k is doubled twice and the vectors are scanned again. Equal scores at
 *    the heap's edge are treated the same way, because their order is by key and only step 3 knows keys.
 *
 * 5. A store of several servers may lack one: then the search fails, or, asked to (options.partial), begins anew without it
 *    and says so. The part of an answer is true, hit by hit; it only is not all.
 *
 * Rejected: keeping all scores instead of a heap (memory grows with the store); ordering ties by reference
 * (depends on the order of insertion, so two stores of the same rows would answer differently).
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/cpu.h"
#include "search/search_run.h"

enum { MMR_LIMIT = 1000, MMR_POOL = 500 };

struct quern_results {
    quern_hit *hits;
    size_t n;
    uint64_t scanned;
    uint32_t missed;
    char fingerprint[65];
    char *model, *explain, *why;
    int fallback;
    quern__arena arena;
};

/* ---- 1: what to search ---- */

static int unknown_column(const quern__recipe *recipe, const char *name, quern_error *err)
{
    quern__buf list;
    quern__buf_init(&list, 4096);
    for (size_t i = 0; i < recipe->n_meta; i++)
        quern__buf_printf(&list, "%s%s", i ? ", " : "", recipe->meta[i]);
    int rc = quern__fail(err, QUERN_EINVAL, 0,
                         "filter: source %s has no metadata column %.100s; it has: %.200s",
                         recipe->spec.name, name, list.data ? list.data : "none (--meta)");
    quern__buf_dispose(&list);
    return rc;
}

static int bind_filter(const quern__search_run *r, quern__search_part *p, quern_error *err)
{
    size_t n = quern__filter_count(r->filter);
    p->filter_column = quern__alloc_array(n + 1, sizeof *p->filter_column);
    if (!p->filter_column)
        return quern__fail_memory(err, n * sizeof *p->filter_column);
    for (size_t i = 0; i < n; i++) {
        const char *name = quern__filter_column(r->filter, i);
        size_t m = 0;
        while (m < p->recipe->n_meta && strcmp(p->recipe->meta[m], name) != 0)
            m++;
        if (m == p->recipe->n_meta)
            return unknown_column(p->recipe, name, err);
        p->filter_column[i] = p->recipe->meta_column[m];
    }
    return QUERN_OK;
}

/* No active generation: nothing of the source can be searched, or not yet. */
static int nothing_active(quern__search_run *r, const char *name, bool named, quern_error *err)
{
    quern_generation g;
    int rc = r->s->table.generation_find(r->s->self, name, "building", &g, err);
    r->building |= rc == QUERN_OK;
    if (rc != QUERN_OK && rc != QUERN_ENOTFOUND)
        return rc;
    if (!named)
        return QUERN_OK;
    if (rc == QUERN_OK)
        return quern__code(err,
                           quern__fail(err, QUERN_ENOTFOUND, g.id,
                                       "source %s: its first generation is being built; `quern "
                                       "generation activate %" PRId64 "` when it is complete",
                                       name, g.id),
                           "index_building");
    return quern__code(err,
                       quern__fail(err, QUERN_ENOTFOUND, 0,
                                   "source %s has not been filled yet; run `quern fill`", name),
                       "not_enabled");
}

static int add_part(quern__search_run *r, const char *name, bool named, quern_error *err)
{
    quern__search_part *p = &r->parts[r->n_parts];
    memset(p, 0, sizeof *p);
    int rc = quern__recipe_open(&p->recipe, r->s, name, err);
    if (rc != QUERN_OK)
        return rc;
    quern_error missing = {0};
    quern__fill_settings settings;
    bool stand_in = r->question->fallback != QUERN_FALLBACK_NONE;
    if (stand_in)
        rc = quern__search_stand_in(r, p, &settings, &missing);
    else
        rc = r->s->table.generation_find(r->s->self, name, "active", &p->generation, &missing);
    if (rc == QUERN_ENOTFOUND && !p->generation.id) {
        quern__recipe_free(p->recipe);
        p->recipe = NULL;
        return nothing_active(r, name, named, err);
    }
    r->n_parts++;
    if (rc == QUERN_OK && !stand_in)
        rc = quern__recipe_check_generation(p->recipe, r->s, r->e, &p->generation, &settings, err);
    else if (rc != QUERN_OK && err)
        *err = missing;
    if (rc != QUERN_OK)
        return rc;
    p->seeds = p->recipe->read;
    p->seeds.generation = p->generation.id;
    rc = quern__recipe_search_where(p->recipe, r->s, r->opt->where, err);
    if (rc != QUERN_OK)
        return rc;
    p->read = p->recipe->read;
    p->read.generation = p->generation.id;
    p->half = quern__vector_width(settings.vector_type) == 2;
    p->built = settings.builder[0] != '\0';
    return bind_filter(r, p, err);
}

static int choose_parts(quern__search_run *r, quern_error *err)
{
    char **all = NULL;
    size_t n_all = 0;
    int rc = quern__source_names(r->s, &all, &n_all, err);
    if (rc != QUERN_OK)
        return rc;
    bool named = r->opt->n_sources > 0;
    size_t n = named ? r->opt->n_sources : n_all;
    r->parts = quern__calloc(n + 1, sizeof *r->parts);
    if (!r->parts)
        rc = quern__fail_memory(err, (n + 1) * sizeof *r->parts);
    for (size_t i = 0; rc == QUERN_OK && i < n; i++) {
        const char *name = named ? r->opt->sources[i] : all[i];
        bool again = false; /* a source named twice is searched once */
        for (size_t k = 0; k < r->n_parts; k++)
            again = again || strcmp(r->parts[k].recipe->spec.name, name) == 0;
        if (!again)
            rc = add_part(r, name, named, err);
    }
    if (rc == QUERN_OK && r->n_parts == 0)
        rc = quern__code(
            err,
            quern__fail(err, QUERN_ENOTFOUND, 0,
                        r->building ? "nothing can be searched yet: a first generation is being "
                                      "built; `quern generation activate` when it is complete"
                        : n_all     ? "nothing has been filled yet; run `quern fill`"
                                    : "nothing to search: no source is declared; `quern add PATH` "
                                      "or `quern source add` makes one"),
            r->building ? "index_building" : "not_enabled");
    if (rc == QUERN_OK && r->opt->where && r->n_parts > 1)
        rc = quern__fail(err, QUERN_EINVAL, 0,
                         "where is of one source's columns, and %zu sources are searched",
                         r->n_parts);
    quern__names_free(all, n_all);
    return rc;
}

static int embed_query(quern__search_run *r, quern_str query, quern_error *err)
{
    bool blank = true;
    for (size_t i = 0; i < query.len; i++)
        blank = blank && strchr(" \t\r\n\v\f", query.ptr[i]) != NULL;
    if (blank)
        return quern__fail(err, QUERN_EINVAL, 0, "the query is empty");
    if (r->opt->mode == QUERN_MODE_TEXT)
        return QUERN_OK;
    quern_embed_options o;
    QUERN_INIT(&o);
    o.as = r->opt->as_document ? QUERN_AS_DOCUMENT : QUERN_AS_QUERY;
    quern_cancel *clock = NULL;
    int rc = r->opt->embed_ms
                 ? quern__cancel_new_deadline(&clock, r->opt->cancel, r->opt->embed_ms, err)
                 : QUERN_OK;
    o.cancel = clock ? clock : r->opt->cancel;
    if (rc == QUERN_OK)
        rc = quern_embed(r->e, &query, 1, &o, r->query, r->dim, NULL, err);
    bool late = clock != NULL;
    quern_cancel_free(clock);
    if (rc == QUERN_ECANCELLED && late && !quern_cancel_raised(r->opt->cancel))
        rc = quern__code(err,
                         quern__fail(err, QUERN_ETIMEOUT, r->opt->embed_ms,
                                     "%s did not embed the query within %u ms",
                                     quern_embedder_name(r->e), r->opt->embed_ms),
                         "embedding_timeout");
    return rc;
}

/* ---- the result ---- */

static int copy_hit(quern_results *out, const quern__search_run *r, const quern__candidate *c,
                    quern_error *err)
{
    quern_hit *h = &out->hits[out->n];
    const char *name = r->parts[c->part].recipe->spec.name;
    h->source = quern__arena_copy(&out->arena, name, strlen(name));
    h->key = quern__arena_copy(&out->arena, c->key.ptr, c->key.len);
    h->excerpt = quern__arena_copy(&out->arena, c->excerpt, strlen(c->excerpt));
    h->meta = quern__arena_copy(&out->arena, c->meta, strlen(c->meta));
    if (!h->source || !h->key || !h->excerpt || !h->meta)
        return quern__fail_memory(err, 0);
    int rc = quern__hit_finish(&out->arena, &c->more, &r->parts[c->part].generation, h, err);
    if (rc != QUERN_OK)
        return rc;
    h->chunk = c->chunk;
    h->start = c->start;
    h->end = c->end;
    /* a vector rounded to f16 is a little longer or shorter than 1; a cosine is not */
    h->similarity = QUERN__MAX(-1.0f, QUERN__MIN(c->similarity, 1.0f));
    h->score = r->opt->mode == QUERN_MODE_VECTOR ? h->similarity : c->score;
    if (r->opt->mode == QUERN_MODE_TEXT)
        h->similarity = NAN;
    out->n++;
    return QUERN_OK;
}

static int make_results(quern_results **out, quern__search_run *r, quern_error *err)
{
    quern_results *res = quern__calloc(1, sizeof *res);
    if (!res)
        return quern__fail_memory(err, sizeof *res);
    quern__arena_init(&res->arena, 0);
    res->scanned = r->scanned;
    res->hits = quern__calloc(r->n_list + 1, sizeof *res->hits);
    bool words = r->question->fallback == QUERN_FALLBACK_TEXT; /* no model had a part in it */
    res->model = quern__strdup(words ? r->parts[0].generation.model : quern_embedder_name(r->e));
    int rc = res->hits && res->model ? QUERN_OK : quern__fail_memory(err, 0);
    char *json = NULL;
    if (rc == QUERN_OK && !words)
        rc = quern_embedder_fingerprint(r->e, &json, res->fingerprint, err);
    quern__free(json);
    for (size_t i = 0; rc == QUERN_OK && i < r->n_list; i++)
        rc = copy_hit(res, r, &r->list[i], err);
    if (rc == QUERN_OK)
        rc = quern__search_explain(r, res->n, &res->explain, err);
    if (rc != QUERN_OK) {
        quern_results_free(res);
        return rc;
    }
    *out = res;
    return QUERN_OK;
}

/* ---- from begin to end ---- */

static int check_options(const quern_search_options *o, quern_error *err)
{
    QUERN__REQUIRE(o->n_sources == 0 || o->sources, err);
    uint32_t most = o->has_mmr ? MMR_LIMIT : QUERN__SEARCH_LIMIT;
    if (o->limit > most)
        return quern__code(err,
                           quern__fail(err, QUERN_EINVAL, o->limit, "limit %u: at most %u%s",
                                       o->limit, most, o->has_mmr ? " with mmr" : ""),
                           "pagination_limit");
    if (o->has_min_similarity && !(o->min_similarity >= -1.0f && o->min_similarity <= 1.0f))
        return quern__fail(err, QUERN_EINVAL, 0, "min-similarity must be within -1 and 1");
    if (o->index < QUERN_SEARCH_AUTO || o->index > QUERN_SEARCH_TWO_STAGE)
        return quern__fail(err, QUERN_EINVAL, o->index, "index %d: there is none of that number",
                           o->index);
    if (o->mode < QUERN_MODE_VECTOR || o->mode > QUERN_MODE_HYBRID)
        return quern__fail(err, QUERN_EINVAL, o->mode, "mode %d: there is none of that number",
                           o->mode);
    if (o->mode != QUERN_MODE_VECTOR && (o->chunks || o->has_mmr))
        return quern__fail(err, QUERN_EINVAL, 0, "%s needs mode vector",
                           o->chunks ? "chunks" : "mmr");
    if (o->mode == QUERN_MODE_TEXT && o->has_min_similarity)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "min-similarity: words have no similarity; mode vector or hybrid has");
    if (o->fallback < QUERN_FALLBACK_NONE || o->fallback > QUERN_FALLBACK_PREVIOUS)
        return quern__fail(err, QUERN_EINVAL, o->fallback,
                           "fallback %d: there is none of that number", o->fallback);
    if (o->oversample > 1000)
        return quern__fail(err, QUERN_EINVAL, o->oversample, "oversample %u: at most 1000",
                           o->oversample);
    if (o->has_mmr && !(o->mmr_lambda == o->mmr_lambda))
        return quern__fail(err, QUERN_EINVAL, 0, "mmr: lambda must be a number");
    return QUERN_OK;
}

int quern__search_begin(quern__search_run *r, const quern_search_options *given, quern_error *err)
{
    quern__arena_init(&r->arena, 0);
    quern__buf_init(&r->text, QUERN__TEXT_BUFFER);
    QUERN_INIT(&r->options);
    QUERN__REQUIRE(!given || given->struct_size >= sizeof(size_t), err);
    if (given)
        memcpy(&r->options, given, QUERN__MIN(given->struct_size, sizeof r->options));
    r->opt = &r->options;
    if (r->question->fallback == QUERN_FALLBACK_TEXT) { /* what belongs to vectors goes with them */
        r->options.mode = QUERN_MODE_TEXT;
        r->options.chunks = r->options.has_mmr = r->options.has_min_similarity = 0;
    }
    int rc = check_options(r->opt, err);
    if (rc == QUERN_OK)
        rc = quern__search_exclude(r, err);
    if (rc == QUERN_OK && r->opt->filter)
        rc = quern__filter_parse(&r->filter, r->opt->filter, err);
    if (rc != QUERN_OK)
        return rc;
    r->limit = r->wanted = r->opt->limit ? r->opt->limit : 10;
    if (r->opt->mode == QUERN_MODE_HYBRID)
        r->limit = QUERN__MAX(r->limit, (size_t)QUERN__SEARCH_DEPTH);
    if (r->opt->has_mmr && r->limit < MMR_POOL)
        r->limit = QUERN__MIN(QUERN__MAX(5 * r->limit, (size_t)100), (size_t)MMR_POOL);
    r->kernels = quern__kernels_pick(quern__cpu_allowed());
    rc = choose_parts(r, err);
    if (rc != QUERN_OK)
        return rc;
    r->dim = r->e ? quern_embedder_dimensions(r->e) : 0;
    r->query = quern__calloc(r->dim + 1, sizeof *r->query);
    return r->query ? QUERN_OK : quern__fail_memory(err, r->dim * sizeof *r->query);
}

int quern__search_answer(quern_results **out, quern__search_run *r, quern_error *err)
{
    int mode = r->opt->mode;
    int rc = mode == QUERN_MODE_TEXT ? QUERN_OK : quern__search_choose(r, err);
    if (rc == QUERN_OK)
        rc = mode == QUERN_MODE_TEXT     ? quern__search_text(r, err)
             : mode == QUERN_MODE_HYBRID ? quern__search_hybrid(r, err)
                                         : quern__search_find(r, err);
    if (rc == QUERN_OK && r->opt->has_mmr)
        rc = quern__search_diversify(r, err);
    if (rc == QUERN_OK)
        rc = quern__search_kept(r, err);
    return rc == QUERN_OK ? make_results(out, r, err) : rc;
}

void quern__search_end(quern__search_run *r)
{
    for (size_t i = 0; i < r->n_parts; i++) {
        quern__recipe_free(r->parts[i].recipe);
        quern__free(r->parts[i].filter_column);
    }
    quern__free(r->parts);
    quern__free(r->query);
    quern__free(r->list);
    quern__buf_dispose(&r->words);
    quern__search_admit(r);
    quern__filter_free(r->filter);
    quern__topk_dispose(&r->top);
    quern__arena_dispose(&r->arena);
    quern__buf_dispose(&r->text);
}

int quern__search_ask(quern_results **out, quern__question *q,
                      int (*once)(quern_results **out, quern__question *q, quern_error *err),
                      quern_error *err)
{
    quern_error first = {0}, inner = {0};
    uint32_t missed = 0;
    int rc = once(out, q, &first);
    if (rc == QUERN_EIO && q->partial && q->s->table.partial) {
        int again = q->s->table.partial(q->s->self, 1, &missed, &inner);
        if (again == QUERN_OK)
            again = once(out, q, &inner);
        q->s->table.partial(q->s->self, 0, &missed, NULL);
        if (again == QUERN_OK) {
            (*out)->missed = missed;
            return QUERN_OK;
        }
    }
    if (rc != QUERN_OK && err)
        *err = first;
    return rc;
}

static int search_once(quern_results **out, quern__question *q, quern_error *err)
{
    quern__search_run r = {.s = q->s, .e = q->e, .question = q};
    int rc = quern__search_begin(&r, q->opt, err);
    q->partial = r.options.partial != 0;
    q->unanswered =
        rc != QUERN_OK && err->code &&
        (strcmp(err->code, "index_stale") == 0 || strcmp(err->code, "index_building") == 0);
    if (rc == QUERN_OK) {
        rc = embed_query(&r, q->words, err);
        q->unanswered =
            rc != QUERN_OK && rc != QUERN_EINVAL && rc != QUERN_ETOOLONG && rc != QUERN_ECANCELLED;
    }
    if (rc == QUERN_OK && r.opt->mode != QUERN_MODE_VECTOR)
        rc = quern__search_words(&r, q->words, err);
    if (rc == QUERN_OK)
        rc = quern__search_answer(out, &r, err);
    quern__search_end(&r);
    return rc;
}

int quern_search(quern_results **out, quern_store *s, quern_embedder *e, quern_str query,
                 const quern_search_options *opt, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(s && (query.ptr || query.len == 0), err);
    QUERN__REQUIRE(!opt || opt->struct_size >= sizeof(size_t), err);
    quern_search_options o;
    QUERN_INIT(&o);
    if (opt)
        memcpy(&o, opt, QUERN__MIN(opt->struct_size, sizeof o));
    o.struct_size = sizeof o;
    QUERN__REQUIRE(e || o.fallback, err);
    quern__question q = {.s = s, .e = e, .words = query, .opt = &o, .unanswered = !e};
    quern_error first = {0};
    int rc = e ? quern__search_ask(out, &q, search_once, &first) : QUERN_ENOTFOUND;
    if (rc != QUERN_OK && o.fallback && q.unanswered)
        rc = quern__search_fall_back(out, &q, search_once, rc, &first);
    if (rc != QUERN_OK && err)
        *err = first;
    return rc;
}

size_t quern_results_count(const quern_results *r)
{
    return r ? r->n : 0;
}

const quern_hit *quern_results_at(const quern_results *r, size_t i)
{
    return r && i < r->n ? &r->hits[i] : NULL;
}

const char *quern_results_model(const quern_results *r)
{
    return r->model;
}

const char *quern_results_fingerprint(const quern_results *r)
{
    return r->fingerprint;
}

uint32_t quern_results_missed(const quern_results *r)
{
    return r->missed;
}

int quern__results_note(quern_results *r, int fallback, const char *why, quern_error *err)
{
    r->fallback = fallback;
    r->why = quern__strdup(why);
    return r->why ? QUERN_OK : quern__fail_memory(err, strlen(why));
}

int quern_results_fallback(const quern_results *r)
{
    return r->fallback;
}

const char *quern_results_fallback_reason(const quern_results *r)
{
    return r->why ? r->why : "";
}

uint64_t quern_results_scanned(const quern_results *r)
{
    return r->scanned;
}

const char *quern_results_explain(const quern_results *r)
{
    return r->explain;
}

void quern_results_free(quern_results *r)
{
    if (!r)
        return;
    quern__arena_dispose(&r->arena);
    quern__free(r->hits);
    quern__free(r->model);
    quern__free(r->explain);
    quern__free(r->why);
    quern__free(r);
}
