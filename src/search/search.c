/*
 * search.c — exact search.
 *
 * 1. The query is embedded. Every source asked for must have an active generation made by this very embedder
 *    from the source's declaration of now; one that was not is refused, never left out in silence.
 * 2. Each stored vector is compared in the store's blocks; a heap keeps the k best chunks.
 * 3. Join back: the chunks' documents are read again. Only a row that exists, matches the predicate and whose stamp
 *    carries its revision of now is a hit. Then the references are resolved once more: a reference that is
 *    still there was not replaced between the scan and the reading of its row, so score and row belong together.
 * 4. Whether that is enough is known exactly: `lost` is the best score the heap let go, so hits above it stand
 *    as they are. If fewer than `limit` do, k is doubled twice and the vectors are scanned again. Equal scores at
 *    the heap's edge are treated the same way, because their order is by key and only step 3 knows keys.
 *
 * Rejected: keeping all scores instead of a heap (memory grows with the store); ordering ties by reference
 * (depends on the order of insertion, so two stores of the same rows would answer differently).
 */
#include "quern/search.h"

#include <float.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/cpu.h"
#include "base/fpenv.h"
#include "base/json.h"
#include "kernels/kernels.h"
#include "pipeline/recipe.h"
#include "search/excerpt.h"
#include "search/topk.h"

enum {
    LIMIT_MAX = 10000,
    FIRST_ROOM = 64,     /* candidates at least, at first */
    RESOLVE = 256,       /* references or keys in one call of the store */
    SCORES = 1024,       /* rows scored at once */
    META_BYTES = 1 << 20 /* of one hit's metadata */
};

struct quern_results {
    quern_hit *hits;
    size_t n;
    uint64_t scanned;
    char fingerprint[65];
    char *model;
    quern__arena arena;
};

/* One source being searched. */
typedef struct search_part {
    quern__recipe *recipe;
    quern_generation generation;
    quern_read read;
    bool half; /* f16 */
} search_part;

/* A chunk that may stand for a document. */
typedef struct candidate {
    float score;
    uint32_t part, chunk;
    int64_t ref;
    uint64_t start, end;
    quern_str key;
    bool live; /* its row is there and current */
    const char *excerpt, *meta;
} candidate;

typedef struct search_run {
    quern_store *s;
    quern_embedder *e;
    const quern_search_options *opt;
    quern_error *err;
    const quern__kernels *kernels;
    float *query;
    size_t dim, limit;
    search_part *parts;
    size_t n_parts;
    size_t part; /* the one at hand */
    quern__topk top;
    uint64_t scanned;
    quern__arena arena; /* of one round */
    candidate *list;    /* chunks, then the best of each document */
    size_t n_list, cap_list;
    size_t page_from, page_to; /* part of the list that a callback fills */
    quern__buf text;
} search_run;

/* ---- 1: what to search ---- */

static int add_part(search_run *r, const char *name, bool named, quern_error *err)
{
    search_part *p = &r->parts[r->n_parts];
    memset(p, 0, sizeof *p);
    int rc = quern__recipe_open(&p->recipe, r->s, name, err);
    if (rc != QUERN_OK)
        return rc;
    quern_error missing = {0};
    rc = r->s->table.generation_find(r->s->self, name, "active", &p->generation, &missing);
    if (rc == QUERN_ENOTFOUND) {
        quern__recipe_free(p->recipe);
        p->recipe = NULL;
        if (!named)
            return QUERN_OK;
        return quern__fail(err, rc, 0, "source %s has not been filled yet; run `quern fill`", name);
    }
    r->n_parts++;
    quern__fill_settings settings;
    if (rc == QUERN_OK)
        rc = quern__recipe_check_generation(p->recipe, r->s, r->e, &p->generation, &settings, err);
    else if (err)
        *err = missing;
    if (rc != QUERN_OK)
        return rc;
    p->read = p->recipe->read;
    p->read.generation = p->generation.id;
    p->half = quern__vector_width(settings.vector_type) == 2;
    return QUERN_OK;
}

static int choose_parts(search_run *r, quern_error *err)
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
        rc = quern__fail(
            err, QUERN_ENOTFOUND, 0,
            n_all ? "nothing has been filled yet; run `quern fill`"
                  : "nothing to search: no source is declared; `quern add PATH` or `quern "
                    "source add` makes one");
    quern__names_free(all, n_all);
    return rc;
}

static int embed_query(search_run *r, quern_str query, quern_error *err)
{
    bool blank = true;
    for (size_t i = 0; i < query.len; i++)
        blank = blank && strchr(" \t\r\n\v\f", query.ptr[i]) != NULL;
    if (blank)
        return quern__fail(err, QUERN_EINVAL, 0, "the query is empty");
    r->dim = quern_embedder_dimensions(r->e);
    r->query = quern__alloc_array(r->dim, sizeof *r->query);
    if (!r->query)
        return quern__fail_memory(err, r->dim * sizeof *r->query);
    quern_embed_options o;
    QUERN_INIT(&o);
    o.as = r->opt->as_document ? QUERN_AS_DOCUMENT : QUERN_AS_QUERY;
    o.cancel = r->opt->cancel;
    return quern_embed(r->e, &query, 1, &o, r->query, r->dim, NULL, err);
}

/* ---- 2: all vectors ---- */

static int score_block(const int64_t *refs, const void *data, size_t n, void *ud)
{
    search_run *r = ud;
    const search_part *p = &r->parts[r->part];
    float scores[SCORES];
    size_t width = p->half ? 2 : 4;
    int rc = quern__check_cancel(r->opt->cancel, r->err);
    for (size_t at = 0; rc == QUERN_OK && at < n; at += SCORES) {
        size_t m = n - at < SCORES ? n - at : SCORES;
        const void *rows = (const char *)data + at * r->dim * width;
        if (p->half)
            quern__dot_rows_f16(r->kernels, r->query, rows, m, r->dim, scores);
        else
            quern__dot_rows_f32(r->kernels, r->query, rows, m, r->dim, scores);
        /* cppcheck-suppress knownConditionTrueFalse ; it takes the smaller of two sizes for 0 */
        for (size_t i = 0; i < m; i++) {
            if (!(scores[i] >= -FLT_MAX && scores[i] <= FLT_MAX))
                return quern__fail(r->err, QUERN_EFORMAT, refs[at + i],
                                   "source %s: stored vector %" PRId64
                                   " is not finite; run `quern verify`",
                                   p->recipe->spec.name, refs[at + i]);
            quern__scored item = {scores[i], (uint32_t)r->part, refs[at + i]};
            quern__topk_offer(&r->top, item);
        }
    }
    r->scanned += n;
    return rc;
}

static int scan_vectors(search_run *r, quern_error *err)
{
    r->err = err;
    r->scanned = 0;
    quern__topk_clear(&r->top);
    int rc = QUERN_OK;
    quern__fpenv env = quern__fpenv_enter();
    for (r->part = 0; rc == QUERN_OK && r->part < r->n_parts; r->part++)
        rc = r->s->table.vectors(r->s->self, r->parts[r->part].generation.id, score_block, r, err);
    quern__fpenv_leave(env);
    quern__topk_sort(&r->top);
    return rc;
}

/* ---- 3: join back ---- */

/* Equal keys are one document; integers by value and before everything else, the rest by bytes. */
static bool integer_key(quern_str k, int *sign, quern_str *digits)
{
    size_t i = k.len && k.ptr[0] == '-' ? 1 : 0;
    *sign = i ? -1 : 1;
    *digits = (quern_str){k.ptr + i, k.len - i};
    for (size_t j = i; j < k.len; j++) {
        if (k.ptr[j] < '0' || k.ptr[j] > '9')
            return false;
    }
    return k.len > i;
}

static int compare_bytes(quern_str a, quern_str b)
{
    size_t n = QUERN__MIN(a.len, b.len);
    int c = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

static int compare_keys(quern_str a, quern_str b)
{
    int sa;
    int sb;
    quern_str da;
    quern_str db;
    bool ia = integer_key(a, &sa, &da);
    bool ib = integer_key(b, &sb, &db);
    if (ia != ib)
        return ia ? -1 : 1;
    if (!ia)
        return compare_bytes(a, b);
    if (sa != sb)
        return sa < sb ? -1 : 1;
    int c = da.len != db.len ? (da.len < db.len ? -1 : 1) : compare_bytes(da, db);
    return c * sa;
}

static int by_document(const void *a, const void *b)
{
    const candidate *x = a;
    const candidate *y = b;
    if (x->part != y->part)
        return x->part < y->part ? -1 : 1;
    int c = compare_bytes(x->key, y->key);
    if (c)
        return c;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->chunk > y->chunk) - (x->chunk < y->chunk);
}

static int by_rank(const void *a, const void *b)
{
    const candidate *x = a;
    const candidate *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    int c = compare_keys(x->key, y->key);
    if (c)
        return c;
    return (x->part > y->part) - (x->part < y->part); /* parts by name when none were named */
}

static int take_ref(const quern_chunk_ref *c, void *ud)
{
    search_run *r = ud;
    char *key = quern__arena_copy(&r->arena, c->key.ptr, c->key.len);
    if (!key)
        return quern__fail_memory(r->err, c->key.len);
    for (size_t i = r->page_from; i < r->page_to; i++) {
        candidate *x = &r->list[i];
        if (x->ref != c->ref || x->part != r->part)
            continue;
        x->key = (quern_str){key, c->key.len};
        x->chunk = c->index;
        x->start = c->start;
        x->end = c->end;
        x->live = true;
    }
    return QUERN_OK;
}

/* Resolves the references of the list, page by page and part by part; those that are gone stay !live. */
static int resolve_list(search_run *r, quern_error *err)
{
    int64_t refs[RESOLVE];
    for (size_t i = 0; i < r->n_list; i++)
        r->list[i].live = false;
    for (size_t at = 0; at < r->n_list; at += RESOLVE) {
        r->page_from = at;
        r->page_to = QUERN__MIN(at + RESOLVE, r->n_list);
        for (r->part = 0; r->part < r->n_parts; r->part++) {
            size_t n = 0;
            for (size_t i = r->page_from; i < r->page_to; i++) {
                if (r->list[i].part == r->part)
                    refs[n++] = r->list[i].ref;
            }
            int rc = n ? r->s->table.resolve(r->s->self, r->parts[r->part].generation.id, refs, n,
                                             take_ref, r, err)
                       : QUERN_OK;
            if (rc != QUERN_OK)
                return rc;
        }
    }
    return QUERN_OK;
}

static void drop_dead(search_run *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_list; i++) {
        if (r->list[i].live)
            r->list[n++] = r->list[i];
    }
    r->n_list = n;
}

static int load_list(search_run *r, quern_error *err)
{
    if (r->cap_list < r->top.n) {
        candidate *grown = quern__resize_array(r->list, r->top.n, sizeof *grown);
        if (!grown)
            return quern__fail_memory(err, r->top.n * sizeof *grown);
        r->list = grown;
        r->cap_list = r->top.n;
    }
    r->n_list = 0;
    for (size_t i = 0; i < r->top.n; i++) {
        const quern__scored *s = &r->top.items[i];
        if (r->opt->has_min_similarity && s->score < r->opt->min_similarity)
            break; /* best first: the rest is below too */
        r->list[r->n_list++] = (candidate){.score = s->score, .part = s->group, .ref = s->ref};
    }
    return QUERN_OK;
}

/* The best chunk stands for its document. */
static void keep_best(search_run *r)
{
    size_t n = 0;
    if (r->n_list > 1)
        qsort(r->list, r->n_list, sizeof *r->list, by_document);
    for (size_t i = 0; i < r->n_list; i++) {
        const candidate *c = &r->list[i];
        if (n && r->list[n - 1].part == c->part && compare_bytes(r->list[n - 1].key, c->key) == 0)
            continue;
        r->list[n++] = *c;
    }
    r->n_list = n;
    if (n > 1)
        qsort(r->list, n, sizeof *r->list, by_rank);
}

static void write_value(quern__jsonw *w, const quern_value *v)
{
    static const char HEX[] = "0123456789abcdef";
    switch (v->type) {
    case QUERN_VALUE_INT:
        quern__jsonw_i64(w, v->integer);
        break;
    case QUERN_VALUE_REAL:
        if (v->real >= -DBL_MAX && v->real <= DBL_MAX)
            quern__jsonw_double(w, v->real);
        else
            quern__jsonw_null(w);
        break;
    case QUERN_VALUE_TEXT:
        quern__jsonw_str(w, v->bytes);
        break;
    case QUERN_VALUE_BLOB: {
        quern__buf hex;
        quern__buf_init(&hex, META_BYTES);
        for (size_t i = 0; i < v->bytes.len; i++) {
            unsigned char c = (unsigned char)v->bytes.ptr[i];
            quern__buf_putc(&hex, HEX[c >> 4]);
            quern__buf_putc(&hex, HEX[c & 15]);
        }
        quern__jsonw_object(w);
        quern__jsonw_key(w, "blob");
        if (hex.failed)
            quern__jsonw_null(w);
        else
            quern__jsonw_str(w, (quern_str){hex.data, hex.len});
        quern__jsonw_end_object(w);
        quern__buf_dispose(&hex);
        break;
    }
    default:
        quern__jsonw_null(w);
    }
}

static int write_meta(search_run *r, const quern__recipe *recipe, const quern_row *row,
                      const char **out, quern_error *err)
{
    quern__buf b;
    quern__buf_init(&b, META_BYTES);
    quern__jsonw w;
    quern__jsonw_init(&w, &b);
    quern__jsonw_object(&w);
    for (size_t i = 0; i < recipe->n_meta; i++) {
        quern__jsonw_key(&w, recipe->meta[i]);
        write_value(&w, &row->columns[recipe->meta_column[i]]);
    }
    quern__jsonw_end_object(&w);
    int rc = quern__buf_ok(&b, "the metadata of a hit", err);
    if (rc == QUERN_OK) {
        *out = quern__arena_copy(&r->arena, b.data, b.len);
        rc = *out ? QUERN_OK : quern__fail_memory(err, b.len);
    }
    quern__buf_dispose(&b);
    return rc;
}

static int describe_hit(search_run *r, candidate *c, const quern_row *row, quern_str text)
{
    quern__buf line;
    quern__buf_init(&line, 2u * QUERN__EXCERPT_BYTES);
    quern__excerpt(text, c->start, c->end, &line);
    int rc = quern__buf_ok(&line, "an excerpt", r->err);
    if (rc == QUERN_OK) {
        c->excerpt = quern__arena_copy(&r->arena, line.data ? line.data : "", line.len);
        rc = c->excerpt ? write_meta(r, r->parts[r->part].recipe, row, &c->meta, r->err)
                        : quern__fail_memory(r->err, line.len);
    }
    quern__buf_dispose(&line);
    return rc;
}

static int take_hit_row(const quern_row *row, void *ud)
{
    search_run *r = ud;
    const search_part *p = &r->parts[r->part];
    for (size_t i = r->page_from; i < r->page_to; i++) {
        candidate *c = &r->list[i];
        if (c->part != r->part || compare_bytes(c->key, row->key) != 0)
            continue;
        if (row->fault || row->stamp.outcome != QUERN_OUTCOME_OK || c->chunk >= row->stamp.chunks)
            return QUERN_OK;
        quern__document_view doc;
        int rc =
            quern__recipe_document(p->recipe, row, QUERN__RENDER_BYTES, &r->text, &doc, r->err);
        if (rc != QUERN_OK || doc.reason[0] || !quern__is_current(row, &doc))
            return rc;
        c->live = true;
        return describe_hit(r, c, row, doc.text);
    }
    return QUERN_OK;
}

/* Reads the rows of list[from, to); those that are no hits stay !live. */
static int join_page(search_run *r, size_t from, size_t to, quern_error *err)
{
    quern_str keys[RESOLVE];
    r->page_from = from;
    r->page_to = to;
    for (size_t i = from; i < to; i++)
        r->list[i].live = false;
    for (r->part = 0; r->part < r->n_parts; r->part++) {
        const search_part *p = &r->parts[r->part];
        size_t n = 0;
        for (size_t i = from; i < to; i++) {
            if (r->list[i].part == r->part)
                keys[n++] = r->list[i].key;
        }
        int rc =
            n ? r->s->table.fetch(r->s->self, &p->read, keys, n, take_hit_row, r, err) : QUERN_OK;
        if (rc != QUERN_OK)
            return rc;
    }
    return QUERN_OK;
}

/* The first `limit` documents of the list that stand, at the front of it. */
static int join_back(search_run *r, quern_error *err)
{
    size_t page = QUERN__MIN(r->limit + 8, (size_t)RESOLVE); /* some will fall out */
    size_t good = 0;
    size_t at = 0;
    while (at < r->n_list && good < r->limit) {
        int rc = quern__check_cancel(r->opt->cancel, err);
        size_t to = QUERN__MIN(at + page, r->n_list);
        if (rc == QUERN_OK)
            rc = join_page(r, at, to, err);
        if (rc != QUERN_OK)
            return rc;
        for (; at < to; at++) {
            if (r->list[at].live)
                r->list[good++] = r->list[at];
        }
    }
    r->n_list = QUERN__MIN(good, r->limit);
    return QUERN_OK;
}

/* ---- 4: until the limit is full ---- */

/* Do the hits in the list stand, whatever the vectors that the heap let go? */
static bool is_settled(const search_run *r)
{
    if (!r->top.any_lost)
        return true;
    if (r->opt->has_min_similarity && r->top.lost < r->opt->min_similarity)
        return true;
    return r->n_list == r->limit && r->list[r->n_list - 1].score > r->top.lost;
}

static int run_round(search_run *r, quern_error *err)
{
    quern__arena_dispose(&r->arena);
    int rc = scan_vectors(r, err);
    if (rc == QUERN_OK)
        rc = load_list(r, err);
    if (rc == QUERN_OK)
        rc = resolve_list(r, err);
    if (rc != QUERN_OK)
        return rc;
    drop_dead(r);
    keep_best(r);
    if ((rc = join_back(r, err)) != QUERN_OK)
        return rc;
    rc = resolve_list(r, err); /* what was replaced since the scan has no score any more */
    drop_dead(r);
    return rc;
}

static int find_hits(search_run *r, quern_error *err)
{
    size_t k = QUERN__MAX(4 * r->limit, (size_t)FIRST_ROOM);
    int rc = quern__topk_init(&r->top, k, err);
    while (rc == QUERN_OK) {
        rc = run_round(r, err);
        if (rc != QUERN_OK || is_settled(r))
            break;
        k = k > SIZE_MAX / 8 ? SIZE_MAX / 2 : k * 4;
        k = QUERN__MIN(k, QUERN__MAX((size_t)r->scanned + 1, r->top.k + 1));
        rc = quern__topk_resize(&r->top, k, err);
    }
    return rc;
}

/* ---- the result ---- */

static int copy_hit(quern_results *out, const search_run *r, const candidate *c, quern_error *err)
{
    quern_hit *h = &out->hits[out->n];
    const char *name = r->parts[c->part].recipe->spec.name;
    h->source = quern__arena_copy(&out->arena, name, strlen(name));
    h->key = quern__arena_copy(&out->arena, c->key.ptr, c->key.len);
    h->excerpt = quern__arena_copy(&out->arena, c->excerpt, strlen(c->excerpt));
    h->meta = quern__arena_copy(&out->arena, c->meta, strlen(c->meta));
    if (!h->source || !h->key || !h->excerpt || !h->meta)
        return quern__fail_memory(err, 0);
    h->chunk = c->chunk;
    h->start = c->start;
    h->end = c->end;
    /* a vector rounded to f16 is a little longer or shorter than 1; a cosine is not */
    h->score = QUERN__MAX(-1.0f, QUERN__MIN(c->score, 1.0f));
    h->similarity = h->score;
    out->n++;
    return QUERN_OK;
}

static int make_results(quern_results **out, search_run *r, quern_error *err)
{
    quern_results *res = quern__calloc(1, sizeof *res);
    if (!res)
        return quern__fail_memory(err, sizeof *res);
    quern__arena_init(&res->arena, 0);
    res->scanned = r->scanned;
    res->hits = quern__calloc(r->n_list + 1, sizeof *res->hits);
    res->model = quern__strdup(quern_embedder_name(r->e));
    int rc = res->hits && res->model ? QUERN_OK : quern__fail_memory(err, 0);
    char *json = NULL;
    if (rc == QUERN_OK)
        rc = quern_embedder_fingerprint(r->e, &json, res->fingerprint, err);
    quern__free(json);
    for (size_t i = 0; rc == QUERN_OK && i < r->n_list; i++)
        rc = copy_hit(res, r, &r->list[i], err);
    if (rc != QUERN_OK) {
        quern_results_free(res);
        return rc;
    }
    *out = res;
    return QUERN_OK;
}

static int search_all(quern_results **out, search_run *r, quern_str query, quern_error *err)
{
    int rc = choose_parts(r, err);
    if (rc == QUERN_OK)
        rc = embed_query(r, query, err);
    if (rc == QUERN_OK)
        rc = find_hits(r, err);
    if (rc == QUERN_OK)
        rc = make_results(out, r, err);
    for (size_t i = 0; i < r->n_parts; i++)
        quern__recipe_free(r->parts[i].recipe);
    quern__free(r->parts);
    quern__free(r->query);
    quern__free(r->list);
    quern__topk_dispose(&r->top);
    quern__arena_dispose(&r->arena);
    quern__buf_dispose(&r->text);
    return rc;
}

int quern_search(quern_results **out, quern_store *s, quern_embedder *e, quern_str query,
                 const quern_search_options *opt, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(s && e && (query.ptr || query.len == 0), err);
    QUERN__REQUIRE(!opt || opt->struct_size >= sizeof(size_t), err);
    quern_search_options o;
    QUERN_INIT(&o);
    if (opt)
        memcpy(&o, opt, QUERN__MIN(opt->struct_size, sizeof o));
    QUERN__REQUIRE(o.n_sources == 0 || o.sources, err);
    if (o.limit > LIMIT_MAX)
        return quern__fail(err, QUERN_EINVAL, o.limit, "limit %u: at most %d", o.limit, LIMIT_MAX);
    if (o.has_min_similarity && !(o.min_similarity >= -1.0f && o.min_similarity <= 1.0f))
        return quern__fail(err, QUERN_EINVAL, 0, "min-similarity must be within -1 and 1");
    search_run r = {.s = s, .e = e, .opt = &o, .limit = o.limit ? o.limit : 10};
    r.kernels = quern__kernels_pick(quern__cpu_allowed());
    quern__arena_init(&r.arena, 0);
    quern__buf_init(&r.text, QUERN__TEXT_BUFFER);
    return search_all(out, &r, query, err);
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

uint64_t quern_results_scanned(const quern_results *r)
{
    return r->scanned;
}

void quern_results_free(quern_results *r)
{
    if (!r)
        return;
    quern__arena_dispose(&r->arena);
    quern__free(r->hits);
    quern__free(r->model);
    quern__free(r);
}
