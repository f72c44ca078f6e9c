/*
 * fill_strip.c — built-in documents whose source keeps no texts (`add --keep-text no`). A text has to be there until it is
 * embedded; then it is taken away, and of the document are left its metadata, a digest by which `add` knows it again, and
 * the revision by which its vectors stay current. Not before every generation in use has it: the store looks at their stamps
 * in the transaction that removes the text, and no generation is begun that would need a text that has gone.
 *
 * Taking it away in the transaction of the save was rejected: with two generations the second would be left without.
 */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "pipeline/fill_pass.h"

typedef struct strip_pass {
    fill_pass pass;
    const char **keep;
    size_t n_keep;
} strip_pass;

/* 1: embedded as it is, or blank; nothing of it is to be tried again. */
static int is_embedded(fill_pass *p, const quern_row *row, quern__document_view *doc)
{
    const fill_run *r = p->r;
    bool settled =
        row->stamp.outcome == QUERN_OUTCOME_OK || row->stamp.outcome == QUERN_OUTCOME_EMPTY;
    if (row->fault || row->no_text || !settled)
        return 0;
    int rc = quern__recipe_document(r->recipe, row, r->max_bytes, &p->r->text, doc, p->err);
    return rc ? rc : !doc->reason[0] && quern__is_done(row, doc);
}

static int take(fill_pass *p, const quern_row *row, quern_save *d)
{
    quern__document_view doc;
    (void)d;
    return is_embedded(p, row, &doc);
}

static int still(const quern_row *row, size_t i, void *ud)
{
    fill_pass *p = ud;
    quern__document_view doc;
    int yes = is_embedded(p, row, &doc);
    quern_str was = p->docs[i].stamp.revision;
    return yes != 1 ? yes
                    : was.len == doc.revision.len &&
                          (was.len == 0 || memcmp(was.ptr, doc.revision.ptr, was.len) == 0);
}

static int put(fill_pass *p, quern_error *err)
{
    const strip_pass *t = p->own;
    quern_str keys[FILL_PASS_ROWS], revisions[FILL_PASS_ROWS];
    uint8_t stripped[FILL_PASS_ROWS];
    for (size_t i = 0; i < p->n; i++) {
        keys[i] = p->docs[i].key;
        revisions[i] = p->docs[i].stamp.revision;
    }
    const quern_store *s = p->r->s;
    return s->table.strip(s->self, &p->r->read, keys, revisions, p->n, t->keep, t->n_keep, still, p,
                          stripped, err);
}

int quern__fill_strip(fill_run *r, quern_error *err)
{
    const quern__recipe *recipe = r->recipe;
    bool scanned = !r->aim || !(r->aim->tasks || r->aim->flow);
    bool imported = r->aim && r->aim->flow;
    if (!recipe->forgets || !r->s->table.strip || !r->generation.id ||
        !((scanned && r->counts.texts) || imported))
        return QUERN_OK;
    strip_pass *t = quern__calloc(1, sizeof *t);
    if (!t)
        return quern__fail_memory(err, sizeof *t);
    t->pass = (fill_pass){.own = t, .take = take, .still = still, .put = put};
    t->keep = quern__alloc_array(recipe->n_meta + QUERN__DETAILS, sizeof *t->keep);
    int rc = t->keep ? QUERN_OK : quern__fail_memory(err, recipe->n_meta * sizeof *t->keep);
    for (size_t i = 0; t->keep && i < QUERN__DETAILS; i++)
        t->keep[t->n_keep++] = quern__detail_names[i];
    for (size_t i = 0; t->keep && i < recipe->n_meta; i++)
        t->keep[t->n_keep++] = recipe->meta[i];
    if (rc == QUERN_OK)
        rc = quern__fill_pass(&t->pass, r, err);
    quern__free(t->keep);
    quern__free(t);
    return rc;
}

/* ---- before a generation is begun ---- */

typedef struct lacking {
    fill_run *r;
    uint64_t n, rows;
    quern_error *err;
} lacking;

static int count_row(const quern_row *row, void *ud)
{
    lacking *l = ud;
    const quern_stamp *s = &row->stamp;
    l->rows++;
    bool made = (s->outcome == QUERN_OUTCOME_OK || s->outcome == QUERN_OUTCOME_EMPTY) && !s->redo &&
                s->revision.len == row->revision.len && s->revision.len &&
                memcmp(s->revision.ptr, row->revision.ptr, s->revision.len) == 0;
    l->n += row->no_text && !made;
    quern__buf_clear(&l->r->after);
    quern__buf_append(&l->r->after, row->key.ptr, row->key.len);
    return quern__buf_ok(&l->r->after, "a key", l->err);
}

int quern__fill_has_texts(fill_run *r, int64_t generation, quern_error *err)
{
    lacking l = {.r = r, .err = err};
    const quern_source_spec *spec = &r->recipe->spec;
    quern_read read = r->recipe->read;
    quern__buf from;
    int rc = QUERN_OK;
    if (spec->table || spec->query || !r->s->table.strip)
        return QUERN_OK;
    read.generation = generation;
    read.n_columns = 0;
    quern__buf_init(&from, r->after.max);
    do {
        l.rows = 0;
        quern__buf_clear(&from);
        quern__buf_append(&from, r->after.data, r->after.len);
        rc = quern__buf_ok(&from, "a key", err);
        if (rc == QUERN_OK)
            rc = quern__check_cancel(r->opt->cancel, err);
        if (rc == QUERN_OK)
            rc = r->s->table.scan(r->s->self, &read, (quern_str){from.data, from.len}, FILL_PAGE,
                                  count_row, &l, err);
    } while (rc == QUERN_OK && l.rows == FILL_PAGE);
    quern__buf_dispose(&from);
    quern__buf_clear(&r->after);
    if (rc != QUERN_OK || l.n == 0)
        return rc;
    return quern__fail(err, QUERN_EMISMATCH, (int64_t)l.n,
                       "source %s: the texts of %" PRIu64
                       " documents are not kept (add --keep-text no), so no other generation can "
                       "be made of them; `quern add --keep-text yes` them again first",
                       spec->name, l.n);
}
