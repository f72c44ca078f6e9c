/*
 * similar.c — neighbours of a stored document: the search is the same, the query is the document's own stored
 * vectors. Only a current document has any: the neighbours of what a row said yesterday are not its neighbours.
 */
#include "base/alloc.h"
#include "base/fpenv.h"
#include "quern/vector.h"
#include "search/search_run.h"

typedef struct seed {
    quern__search_run *r;
    const char *shown; /* as the caller wrote it, for messages */
    char *keys[QUERN__SPELLINGS];
    size_t n_keys;
    quern_str found; /* one of keys */
    size_t part, part_at;
    bool current;
    uint32_t chunks;
    quern__buf row_text;
    quern_error *err;
} seed;

static size_t spelling_of(const seed *s, quern_str key)
{
    size_t i = 0;
    while (i < s->n_keys && quern__compare_bytes(quern_str_of(s->keys[i]), key) != 0)
        i++;
    return i;
}

static int take_seed_row(const quern_row *row, void *ud)
{
    seed *s = ud;
    size_t at = spelling_of(s, row->key);
    if (row->fault || at == s->n_keys)
        return QUERN_OK;
    if (s->found.ptr && s->part == s->part_at && spelling_of(s, s->found) < at)
        return QUERN_OK; /* the number of that spelling is there too, and comes first */
    if (s->found.ptr && s->part != s->part_at)
        return quern__fail(s->err, QUERN_EINVAL, 0,
                           "sources %s and %s both have a document %s; say which is meant",
                           s->r->parts[s->part].recipe->spec.name,
                           s->r->parts[s->part_at].recipe->spec.name, s->shown);
    quern__document_view doc;
    int rc = quern__recipe_document(s->r->parts[s->part_at].recipe, row, QUERN__RENDER_BYTES,
                                    &s->row_text, &doc, s->err);
    s->found = quern_str_of(s->keys[at]);
    s->part = s->part_at;
    s->chunks = row->stamp.chunks;
    s->current =
        rc == QUERN_OK && row->stamp.outcome != QUERN_OUTCOME_NONE && quern__is_current(row, &doc);
    return rc;
}

static int find_seed(seed *s, const char *source, quern_error *err)
{
    quern__search_run *r = s->r;
    quern_str keys[QUERN__SPELLINGS];
    for (size_t i = 0; i < s->n_keys; i++)
        keys[i] = quern_str_of(s->keys[i]);
    int rc = QUERN_OK;
    s->err = err;
    bool searched = false;
    for (s->part_at = 0; rc == QUERN_OK && s->part_at < r->n_parts; s->part_at++) {
        const quern__search_part *p = &r->parts[s->part_at];
        if (source && strcmp(source, p->recipe->spec.name) != 0)
            continue;
        searched = true;
        rc = r->s->table.fetch(r->s->self, &p->seeds, keys, s->n_keys, take_seed_row, s, err);
    }
    if (rc != QUERN_OK)
        return rc;
    if (!searched)
        return quern__fail(err, QUERN_ENOTFOUND, 0,
                           "source %s is not among those that are searched", source);
    if (!s->found.ptr)
        return quern__fail(err, QUERN_ENOTFOUND, 0, "there is no document %s%s%s", s->shown,
                           source ? " in source " : "", source ? source : "");
    if (!s->current || s->chunks == 0)
        return quern__fail(err, QUERN_EMISMATCH, 0,
                           "document %s of source %s has no current vector (%s); run `quern fill`",
                           s->shown, r->parts[s->part].recipe->spec.name,
                           s->current ? "it is empty or has failed" : "it is pending");
    return QUERN_OK;
}

/* ---- its vectors ---- */

typedef struct sum {
    const quern__search_run *r;
    bool half;
    float *row;
    size_t n;
} sum;

static int add_vector(const quern_chunk *c, void *ud)
{
    sum *s = ud;
    if (s->half)
        quern__f16_to_f32(c->vector, s->row, s->r->dim);
    else
        memcpy(s->row, c->vector, s->r->dim * sizeof *s->row);
    for (size_t i = 0; i < s->r->dim; i++)
        s->r->query[i] += s->row[i];
    s->n++;
    return QUERN_OK;
}

static int mean_of_seed(seed *s, quern_error *err)
{
    quern__search_run *r = s->r;
    const quern__search_part *p = &r->parts[s->part];
    sum mean = {.r = r, .half = p->half};
    mean.row = quern__alloc_array(r->dim, sizeof *mean.row);
    if (!mean.row)
        return quern__fail_memory(err, r->dim * sizeof *mean.row);
    quern__fpenv env = quern__fpenv_enter();
    int rc = r->s->table.chunks(r->s->self, p->generation.id, s->found, add_vector, &mean, err);
    quern__fpenv_leave(env);
    quern__free(mean.row);
    if (rc == QUERN_OK && mean.n == 0)
        return quern__fail(err, QUERN_EMISMATCH, 0,
                           "document %s of source %s has no stored vector; run `quern fill`",
                           s->shown, p->recipe->spec.name);
    if (rc == QUERN_OK && quern_normalize(r->query, r->dim, NULL) != QUERN_OK)
        return quern__fail(err, QUERN_EMISMATCH, 0,
                           "the chunks of document %s point every way: their mean has no direction",
                           s->shown);
    return rc;
}

static int similar_once(quern_results **out, quern__question *q, quern_error *err)
{
    quern__search_run r = {.s = q->s, .e = q->e, .question = q};
    seed d = {.r = &r};
    quern__buf_init(&d.row_text, QUERN__TEXT_BUFFER);
    char *shown = quern__strndup(q->words.ptr, q->words.len);
    int rc = quern__search_begin(&r, q->opt, err);
    q->partial = r.options.partial != 0;
    if (rc == QUERN_OK && !shown)
        rc = quern__fail_memory(err, q->words.len);
    if (rc == QUERN_OK && r.opt->mode != QUERN_MODE_VECTOR)
        rc = quern__fail(err, QUERN_EINVAL, 0, "similar documents are found in mode vector only");
    d.shown = shown;
    if (rc == QUERN_OK)
        rc = quern__search_spell(q->words, d.keys, &d.n_keys, err);
    if (rc == QUERN_OK)
        rc = find_seed(&d, q->source, err);
    if (rc == QUERN_OK)
        rc = mean_of_seed(&d, err);
    r.has_seed = true;
    r.seed_part = d.part;
    r.seed_key = d.found;
    if (rc == QUERN_OK)
        rc = quern__search_answer(out, &r, err);
    quern__search_end(&r);
    quern__buf_dispose(&d.row_text);
    for (size_t i = 0; i < QUERN__SPELLINGS; i++)
        quern_free(d.keys[i]);
    quern__free(shown);
    return rc;
}

int quern_similar(quern_results **out, quern_store *s, quern_embedder *e, const char *source,
                  quern_str key, const quern_search_options *opt, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(s && e && key.ptr && key.len, err);
    quern__question q = {.s = s, .e = e, .source = source, .words = key, .opt = opt};
    return quern__search_ask(out, &q, similar_once, err);
}
