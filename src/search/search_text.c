/*
 * search_text.c — documents by their words, and both lists put together.
 *
 * The words of the query are cut as those of the documents were (text/words.h) and given to the store one by one, so
 * there is no query language that a user could break. What the store finds is joined back like everything else; words
 * carry the revision that they were saved with, and a row whose stamp has another one is no hit by them. Of its chunks the
 * one nearest to the query stands for the document, or in mode text, where there is no vector of the query, the one with
 * the most of its words.
 *
 * Hybrid is reciprocal rank fusion: a document's score is the sum of 1 / (60 + its place) over the lists that it is in.
 * Places and not scores, because bm25, ts_rank_cd and a cosine have nothing in common. Both lists are joined back
 * first, so that nothing that is no hit takes a place.
 */
#include "base/alloc.h"
#include "base/compiler.h"
#include "base/fpenv.h"
#include "search/search_run.h"
#include "text/words.h"

enum { RRF_K = 60, TEXTS_MOST = 1 << 20 };

/* ---- the query ---- */

static int split_query(quern__search_run *r, quern_str query, quern_error *err)
{
    quern__buf_init(&r->words, QUERN__WORDS_BYTES);
    quern__words(query, &r->words);
    quern_str rest = {r->words.data, r->words.len}, word;
    while (r->n_words < QUERN__SEARCH_WORDS && quern__words_next(&rest, &word)) {
        size_t i = 0;
        while (i < r->n_words && quern__compare_bytes(r->word[i], word) != 0)
            i++;
        if (i == r->n_words)
            r->word[r->n_words++] = word;
    }
    return quern__buf_ok(&r->words, "the words of a query", err);
}

int quern__search_words(quern__search_run *r, quern_str query, quern_error *err)
{
    size_t with = 0;
    const char *without = NULL;
    for (size_t i = 0; i < r->n_parts; i++) {
        quern__search_part *p = &r->parts[i];
        p->has_words = p->recipe->spec.text_search && r->s->table.text_find;
        with += p->has_words;
        if (!p->has_words && !without)
            without = p->recipe->spec.name;
    }
    if (without && (r->opt->mode == QUERN_MODE_TEXT || with == 0))
        return quern__fail(err, QUERN_EINVAL, 0,
                           "source %s is not declared for text search: `quern source set %s "
                           "--text-search yes`, then `quern fill`",
                           without, without);
    return split_query(r, query, err);
}

/* ---- candidates ---- */

static int take_text(quern_str key, quern_str revision, double score, void *ud)
{
    quern__search_run *r = ud;
    if (r->n_list == r->cap_list) {
        size_t cap = r->cap_list ? 2 * r->cap_list : 64;
        quern__candidate *grown = quern__resize_array(r->list, cap, sizeof *grown);
        if (!grown)
            return quern__fail_memory(r->err, cap * sizeof *grown);
        r->list = grown;
        r->cap_list = cap;
    }
    quern__candidate *c = &r->list[r->n_list];
    *c = (quern__candidate){.score = (float)score, .part = (uint32_t)r->part, .by_words = true};
    c->key.ptr = quern__arena_copy(&r->arena, key.ptr, key.len);
    c->key.len = key.len;
    c->revision.ptr = quern__arena_copy(&r->arena, revision.ptr ? revision.ptr : "", revision.len);
    c->revision.len = revision.len;
    if (!c->key.ptr || !c->revision.ptr)
        return quern__fail_memory(r->err, key.len + revision.len);
    r->n_list++;
    return QUERN_OK;
}

/* A source that was declared for text search after it had been filled, and not filled since. */
static int check_words(quern__search_run *r, quern__search_part *p, quern_error *err)
{
    uint64_t n = 0;
    int rc = r->s->table.text_count(r->s->self, p->generation.id, &n, err);
    if (rc != QUERN_OK || n || p->generation.chunks == 0)
        return rc;
    if (r->opt->mode == QUERN_MODE_TEXT)
        return quern__fail(err, QUERN_EMISMATCH, 0,
                           "source %s: the words of its documents have not been taken yet; run "
                           "`quern fill`",
                           p->recipe->spec.name);
    p->note = "no words have been taken yet; `quern fill` takes them";
    return QUERN_OK;
}

/* The k best of each part; *more: some part has more. */
static int find_texts(quern__search_run *r, size_t k, bool *more, quern_error *err)
{
    int rc = QUERN_OK;
    r->err = err;
    r->n_list = 0;
    r->texts = 0;
    *more = false;
    for (r->part = 0; rc == QUERN_OK && r->part < r->n_parts; r->part++) {
        quern__search_part *p = &r->parts[r->part];
        size_t before = r->n_list;
        if (!p->has_words)
            continue;
        rc = r->s->table.text_find(r->s->self, p->generation.id, r->word, r->n_words, k, take_text,
                                   r, err);
        *more |= r->n_list - before >= k;
        r->texts += r->n_list - before;
        bool none = r->n_list == before;
        quern__search_leave_out(r, before);
        if (rc == QUERN_OK && none)
            rc = check_words(r, p, err);
    }
    return rc;
}

int quern__search_text(quern__search_run *r, quern_error *err)
{
    size_t k = QUERN__MAX(4 * r->limit, (size_t)QUERN__SEARCH_ROOM) + r->n_excluded;
    uint64_t drops[QUERN__DROPS];
    memcpy(drops, r->drops, sizeof drops);
    for (;; k *= 4) {
        bool more = false;
        memcpy(r->drops, drops, sizeof drops);
        int rc = find_texts(r, k, &more, err);
        if (rc == QUERN_OK)
            rc = quern__search_join(r, err);
        r->rounds++;
        if (rc != QUERN_OK || r->n_list >= r->limit || !more || k >= TEXTS_MOST)
            return rc;
    }
}

/* ---- which chunk ---- */

static int take_span(const quern_chunk *chunk, void *ud)
{
    quern__search_run *r = ud;
    quern__candidate *c = &r->list[r->page_from];
    float similarity = 0;
    if (r->opt->mode == QUERN_MODE_HYBRID && r->parts[c->part].half)
        quern__dot_rows_f16(r->kernels, r->query, chunk->vector, 1, r->dim, &similarity);
    else if (r->opt->mode == QUERN_MODE_HYBRID)
        quern__dot_rows_f32(r->kernels, r->query, chunk->vector, 1, r->dim, &similarity);
    quern__span *grown = quern__arena_alloc(&r->arena, (c->n_spans + 1) * sizeof *grown);
    const char *heading = quern__arena_copy(&r->arena, chunk->heading.ptr ? chunk->heading.ptr : "",
                                            chunk->heading.len);
    const char *asset =
        quern__arena_copy(&r->arena, chunk->asset.ptr ? chunk->asset.ptr : "", chunk->asset.len);
    if (!grown || !heading || !asset)
        return quern__fail_memory(r->err, c->n_spans * sizeof *grown);
    if (c->n_spans)
        memcpy(grown, c->spans, c->n_spans * sizeof *grown);
    grown[c->n_spans++] = (quern__span){chunk->index, chunk->start, chunk->end, similarity,
                                        chunk->page,  heading,      asset};
    c->spans = grown;
    return QUERN_OK;
}

int quern__search_spans(quern__search_run *r, size_t from, size_t to, quern_error *err)
{
    size_t page_from = r->page_from;
    int rc = QUERN_OK;
    quern__fpenv env = quern__fpenv_enter();
    for (size_t i = from; rc == QUERN_OK && i < to; i++) {
        const quern__candidate *c = &r->list[i];
        if (!c->by_words || c->n_spans)
            continue;
        r->page_from = i;
        rc = r->s->table.chunks(r->s->self, r->parts[c->part].generation.id, c->key, take_span, r,
                                err);
    }
    quern__fpenv_leave(env);
    r->page_from = page_from;
    return rc;
}

/* How many words of the text are words of the query. */
static size_t count_words(const quern__search_run *r, quern_str text)
{
    quern__buf found;
    quern_str word;
    size_t n = 0;
    quern__buf_init(&found, QUERN__WORDS_BYTES);
    quern__words(text, &found);
    quern_str rest = {found.data, found.len};
    while (quern__words_next(&rest, &word))
        for (size_t i = 0; i < r->n_words; i++)
            n += quern__compare_bytes(r->word[i], word) == 0;
    quern__buf_dispose(&found);
    return n;
}

static size_t best_span(const quern__search_run *r, const quern__candidate *c, quern_str text)
{
    size_t best = 0;
    size_t most = 0;
    for (size_t i = 0; i < c->n_spans && c->n_spans > 1; i++) {
        const quern__span *s = &c->spans[i];
        if (r->opt->mode == QUERN_MODE_HYBRID) {
            best = s->similarity > c->spans[best].similarity ? i : best;
        } else if (s->start <= s->end && s->end <= text.len) {
            size_t n =
                count_words(r, (quern_str){text.ptr + s->start, (size_t)(s->end - s->start)});
            best = n > most ? i : best;
            most = QUERN__MAX(n, most);
        }
    }
    return best;
}

void quern__search_span(const quern__search_run *r, quern__candidate *c, quern_str text)
{
    const quern__span *s = &c->spans[best_span(r, c, text)];
    c->chunk = s->index;
    c->start = s->start;
    c->end = s->end;
    c->similarity = s->similarity;
    c->at_page = s->page;
    c->more.heading = s->heading;
    c->more.asset = s->asset;
}

/* ---- hybrid ---- */

/* The text list, in r->list, joins the vector list in `all`, which has room for both; returns their number. */
static size_t fuse(const quern__search_run *r, quern__candidate *all, size_t vectors)
{
    size_t n = vectors;
    for (size_t i = 0; i < vectors; i++)
        all[i].score = 1.0f / (float)(RRF_K + i + 1);
    for (size_t i = 0; i < r->n_list; i++) {
        const quern__candidate *c = &r->list[i];
        float share = 1.0f / (float)(RRF_K + i + 1);
        size_t k = 0;
        while (k < vectors &&
               (all[k].part != c->part || quern__compare_bytes(all[k].key, c->key) != 0))
            k++;
        if (k < vectors) {
            all[k].score += share;
        } else {
            all[n] = *c;
            all[n++].score = share;
        }
    }
    quern__search_sort(all, n);
    return n;
}

int quern__search_hybrid(quern__search_run *r, quern_error *err)
{
    int rc = quern__search_find(r, err);
    if (rc != QUERN_OK)
        return rc;
    quern__candidate *vectors = r->list;
    size_t n = r->n_list;
    r->list = NULL;
    r->n_list = r->cap_list = 0;
    if (r->n_words)
        rc = quern__search_text(r, err);
    quern__candidate *all =
        rc == QUERN_OK ? quern__alloc_array(n + r->n_list + 1, sizeof *all) : NULL;
    if (rc == QUERN_OK && !all)
        rc = quern__fail_memory(err, (n + r->n_list) * sizeof *all);
    if (rc == QUERN_OK) {
        if (n)
            memcpy(all, vectors, n * sizeof *all);
        n = fuse(r, all, n);
        quern__free(r->list);
        r->list = all;
        r->n_list = QUERN__MIN(n, r->wanted);
    }
    quern__free(vectors);
    return rc;
}
