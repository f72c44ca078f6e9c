/*
 * join.c — from scored chunks to hits: references are resolved to documents, the documents' rows are read again, and
 * what is gone, stale, filtered out or a second chunk of the same document falls out. See search.c for why the
 * order of these steps makes every hit true.
 */
#include <float.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/json.h"
#include "search/excerpt.h"
#include "search/search_run.h"

enum { META_BYTES = 1 << 20 /* of one hit's metadata */ };

/* ---- order ---- */

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

int quern__compare_bytes(quern_str a, quern_str b)
{
    size_t n = QUERN__MIN(a.len, b.len);
    int c = n && a.ptr && b.ptr ? memcmp(a.ptr, b.ptr, n) : 0; /* NULL has no length */
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
        return quern__compare_bytes(a, b);
    if (sa != sb)
        return sa < sb ? -1 : 1;
    int c = da.len != db.len ? (da.len < db.len ? -1 : 1) : quern__compare_bytes(da, db);
    return c * sa;
}

static int by_document(const void *a, const void *b)
{
    const quern__candidate *x = a;
    const quern__candidate *y = b;
    if (x->part != y->part)
        return x->part < y->part ? -1 : 1;
    int c = quern__compare_bytes(x->key, y->key);
    if (c)
        return c;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->chunk > y->chunk) - (x->chunk < y->chunk);
}

static int by_rank(const void *a, const void *b)
{
    const quern__candidate *x = a;
    const quern__candidate *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->similarity != y->similarity)
        return x->similarity > y->similarity ? -1 : 1;
    int c = compare_keys(x->key, y->key);
    if (c)
        return c;
    if (x->part != y->part)
        return x->part < y->part ? -1 : 1; /* parts by name when none were named */
    return (x->chunk > y->chunk) - (x->chunk < y->chunk);
}

void quern__search_sort(quern__candidate *list, size_t n)
{
    if (n > 1)
        qsort(list, n, sizeof *list, by_rank);
}

static int take_ref(const quern_chunk_ref *c, void *ud)
{
    quern__search_run *r = ud;
    char *key = quern__arena_copy(&r->arena, c->key.ptr, c->key.len);
    char *heading =
        quern__arena_copy(&r->arena, c->heading.ptr ? c->heading.ptr : "", c->heading.len);
    char *asset = quern__arena_copy(&r->arena, c->asset.ptr ? c->asset.ptr : "", c->asset.len);
    if (!key || !heading || !asset)
        return quern__fail_memory(r->err, c->key.len);
    for (size_t i = r->page_from; i < r->page_to; i++) {
        quern__candidate *x = &r->list[i];
        if (x->ref != c->ref || x->part != r->part)
            continue;
        x->key = (quern_str){key, c->key.len};
        x->chunk = c->index;
        x->start = c->start;
        x->end = c->end;
        x->at_page = c->page;
        x->more.heading = heading;
        x->more.asset = asset;
        x->live = true;
    }
    return QUERN_OK;
}

/* Resolves the references of the list, page by page and part by part; those that are gone stay !live. */
static int resolve_list(quern__search_run *r, quern_error *err)
{
    int64_t refs[QUERN__SEARCH_PAGE];
    for (size_t i = 0; i < r->n_list; i++)
        r->list[i].live = false;
    for (size_t at = 0; at < r->n_list; at += QUERN__SEARCH_PAGE) {
        r->page_from = at;
        r->page_to = QUERN__MIN(at + QUERN__SEARCH_PAGE, r->n_list);
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

static void drop_dead(quern__search_run *r, int reason)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_list; i++) {
        if (r->list[i].live)
            r->list[n++] = r->list[i];
    }
    r->drops[reason] += r->n_list - n;
    r->n_list = n;
}

static int load_list(quern__search_run *r, quern_error *err)
{
    if (r->cap_list < r->top.n) {
        quern__candidate *grown = quern__resize_array(r->list, r->top.n, sizeof *grown);
        if (!grown)
            return quern__fail_memory(err, r->top.n * sizeof *grown);
        r->list = grown;
        r->cap_list = r->top.n;
    }
    r->n_list = 0;
    r->candidates = r->top.n;
    memset(r->drops, 0, sizeof r->drops);
    for (size_t i = 0; i < r->top.n; i++) {
        const quern__scored *s = &r->top.items[i];
        if (r->opt->has_min_similarity && s->score < r->opt->min_similarity) {
            r->drops[QUERN__DROP_BELOW] += r->top.n - i;
            break; /* best first: the rest is below too */
        }
        r->list[r->n_list++] = (quern__candidate){
            .score = s->score, .similarity = s->score, .part = s->group, .ref = s->ref};
    }
    return QUERN_OK;
}

/* The best chunk stands for its document, unless every chunk is wanted. */
static void keep_best(quern__search_run *r)
{
    size_t n = 0;
    if (r->n_list > 1 && !r->opt->chunks)
        qsort(r->list, r->n_list, sizeof *r->list, by_document);
    for (size_t i = 0; i < r->n_list; i++) {
        const quern__candidate *c = &r->list[i];
        if (n && !r->opt->chunks && r->list[n - 1].part == c->part &&
            quern__compare_bytes(r->list[n - 1].key, c->key) == 0)
            continue;
        r->list[n++] = *c;
    }
    r->drops[QUERN__DROP_SAME] += r->n_list - n;
    r->n_list = n;
    quern__search_sort(r->list, n);
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

static int write_meta(quern__search_run *r, const quern__recipe *recipe, const quern_row *row,
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

static int describe_hit(quern__search_run *r, quern__candidate *c, const quern_row *row,
                        quern_str text)
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

static bool passes_filter(const quern__search_run *r, const quern__search_part *p,
                          const quern_row *row)
{
    const quern_value *columns[QUERN__FILTER_TERMS];
    size_t n = quern__filter_count(r->filter);
    for (size_t i = 0; i < n; i++)
        columns[i] = &row->columns[p->filter_column[i]];
    return n == 0 || quern__filter_matches(r->filter, columns);
}

/* Why this row can have no hit, or DROP_NOT and its text. */
static int judge_row(quern__search_run *r, const quern_row *row, int *drop, quern_str *text)
{
    const quern__search_part *p = &r->parts[r->part];
    *drop = QUERN__DROP_STALE;
    if (row->fault || row->stamp.outcome != QUERN_OUTCOME_OK)
        return QUERN_OK;
    if (row->n_columns >= p->recipe->n_columns && !passes_filter(r, p, row)) {
        *drop = QUERN__DROP_FILTERED;
        return QUERN_OK;
    }
    quern__document_view doc;
    int rc = quern__recipe_document(p->recipe, row, QUERN__RENDER_BYTES, &r->text, &doc, r->err);
    if (rc == QUERN_OK && (!doc.reason[0] || doc.no_text) && quern__is_current(row, &doc))
        *drop = QUERN__DROP_NOT;
    *text = p->built ? (quern_str){NULL, 0} : doc.text;
    return rc;
}

/* Was the candidate made by the save that left this stamp? A reference cannot tell yet (the second look at it does);
 * words carry their revision. */
static bool is_of_stamp(const quern__search_run *r, quern__candidate *c, const quern_row *row,
                        quern_str text)
{
    if (c->by_words) {
        if (c->n_spans == 0 || quern__compare_bytes(c->revision, row->stamp.revision) != 0)
            return false;
        quern__search_span(r, c, text);
    }
    return c->chunk < row->stamp.chunks;
}

static int take_hit_row(const quern_row *row, void *ud)
{
    quern__search_run *r = ud;
    quern_str text = {0};
    int drop = -1; /* not judged yet */
    int rc = QUERN_OK;
    for (size_t i = r->page_from; rc == QUERN_OK && i < r->page_to; i++) {
        quern__candidate *c = &r->list[i];
        if (c->part != r->part || quern__compare_bytes(c->key, row->key) != 0)
            continue;
        if (drop < 0)
            rc = judge_row(r, row, &drop, &text);
        c->drop = drop;
        if (drop == QUERN__DROP_NOT && !is_of_stamp(r, c, row, text))
            c->drop = QUERN__DROP_STALE;
        else if (drop == QUERN__DROP_NOT && c->by_words && r->opt->has_min_similarity &&
                 c->similarity < r->opt->min_similarity)
            c->drop = QUERN__DROP_BELOW;
        c->live = rc == QUERN_OK && c->drop == QUERN__DROP_NOT;
        if (c->live)
            rc = describe_hit(r, c, row, text);
        if (c->live && rc == QUERN_OK && r->parts[r->part].recipe->keeps) {
            const quern_str *of = &row->stamp.revision;
            c->revision.len = of->len;
            c->revision.ptr = quern__arena_copy(&r->arena, of->ptr ? of->ptr : "", of->len);
            rc = c->revision.ptr ? QUERN_OK : quern__fail_memory(r->err, of->len);
        }
        if (c->live && rc == QUERN_OK) {
            c->more.page = c->at_page;
            rc = quern__hit_describe(r, r->parts[r->part].recipe, row, &c->more);
        }
    }
    return rc;
}

/* The keys of a page's candidates of the part at hand, each once. */
static size_t page_keys(const quern__search_run *r, quern_str *keys)
{
    size_t n = 0;
    for (size_t i = r->page_from; i < r->page_to; i++) {
        if (r->list[i].part != r->part)
            continue;
        size_t k = 0;
        while (k < n && quern__compare_bytes(keys[k], r->list[i].key) != 0)
            k++;
        if (k == n)
            keys[n++] = r->list[i].key;
    }
    return n;
}

/* Reads the rows of list[from, to); those that are no hits stay !live. */
static int join_page(quern__search_run *r, size_t from, size_t to, quern_error *err)
{
    quern_str keys[QUERN__SEARCH_PAGE];
    r->page_from = from;
    r->page_to = to;
    for (size_t i = from; i < to; i++) {
        r->list[i].live = false;
        r->list[i].drop = QUERN__DROP_GONE;
    }
    int spans = quern__search_spans(r, from, to, err);
    if (spans != QUERN_OK)
        return spans;
    for (r->part = 0; r->part < r->n_parts; r->part++) {
        const quern__search_part *p = &r->parts[r->part];
        size_t n = page_keys(r, keys);
        int rc =
            n ? r->s->table.fetch(r->s->self, &p->read, keys, n, take_hit_row, r, err) : QUERN_OK;
        if (rc != QUERN_OK)
            return rc;
    }
    return QUERN_OK;
}

/* The first `limit` of the list that stand, at the front of it. */
static int join_back(quern__search_run *r, quern_error *err)
{
    size_t page = QUERN__MIN(r->limit + 8, (size_t)QUERN__SEARCH_PAGE); /* some will fall out */
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
            else
                r->drops[r->list[at].drop]++;
        }
    }
    r->n_list = QUERN__MIN(good, r->limit);
    return QUERN_OK;
}

int quern__search_join(quern__search_run *r, quern_error *err)
{
    quern__search_sort(r->list, r->n_list);
    return join_back(r, err);
}

/* ---- until the limit is full ---- */

/* Do the hits in the list stand, whatever the vectors that the heap let go? */
static bool is_settled(const quern__search_run *r)
{
    if (!quern__search_enough(r))
        return false;
    if (!r->top.any_lost)
        return true;
    if (r->opt->has_min_similarity && r->top.lost < r->opt->min_similarity)
        return true;
    return r->n_list == r->limit && r->list[r->n_list - 1].score > r->top.lost;
}

static int run_round(quern__search_run *r, quern_error *err)
{
    quern__arena_dispose(&r->arena);
    int rc = quern__search_gather(r, err);
    r->rounds++;
    if (rc == QUERN_OK)
        rc = load_list(r, err);
    if (rc == QUERN_OK)
        rc = resolve_list(r, err);
    if (rc != QUERN_OK)
        return rc;
    drop_dead(r, QUERN__DROP_REPLACED);
    quern__search_leave_out(r, 0);
    keep_best(r);
    if ((rc = join_back(r, err)) != QUERN_OK)
        return rc;
    rc = resolve_list(r, err); /* what was replaced since the scan has no score any more */
    drop_dead(r, QUERN__DROP_REPLACED);
    return rc;
}

/* A heap of this size holds every candidate. What the database left out is not counted in r->scanned. */
static size_t room_for_all(const quern__search_run *r)
{
    uint64_t all = 1;
    for (size_t i = 0; i < r->n_parts; i++)
        all += r->parts[i].way == QUERN__WAY_SCAN
                   ? r->parts[i].scanned
                   : QUERN__MAX(r->parts[i].generation.chunks, 4 * r->parts[i].scanned);
    return QUERN__MAX((size_t)all, r->top.k + 1);
}

int quern__search_find(quern__search_run *r, quern_error *err)
{
    size_t k = QUERN__MAX(4 * r->limit, (size_t)QUERN__SEARCH_ROOM) + r->n_excluded;
    int rc = quern__topk_init(&r->top, k, err);
    while (rc == QUERN_OK) {
        rc = run_round(r, err);
        if (rc != QUERN_OK || is_settled(r))
            break;
        quern__search_widen(r);
        k = QUERN__MIN(k > SIZE_MAX / 8 ? SIZE_MAX / 2 : k * 4, room_for_all(r));
        rc = quern__topk_resize(&r->top, k, err);
    }
    return rc;
}
