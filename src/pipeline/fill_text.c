/*
 * fill_text.c — words, and texts to be kept, of documents that were embedded before their source was declared for text
 * search or to keep texts. A save puts them and vectors together; this pass is for what lacks them, and runs only when there
 * are fewer documents with words or texts than with vectors. Nothing is embedded: rows whose stamp is current are read, and their words put by the same
 * compare-and-swap as a save.
 */
#include "base/alloc.h"
#include "base/cancel.h"
#include "pipeline/fill_run.h"
#include "text/words.h"

enum { PAGE_ROWS = 64 };

typedef struct text_pass {
    fill_run *r;
    quern__arena arena; /* of a page */
    quern__buf words;
    quern_save docs[PAGE_ROWS];
    size_t n, rows;
    bool
        texts; /* to be kept; not those that a program has made, which is not asked for them again */
    quern_error *err;
} text_pass;

static int copy_str(text_pass *p, quern_str from, quern_str *to)
{
    to->ptr = quern__arena_copy(&p->arena, from.ptr ? from.ptr : "", from.len);
    to->len = from.len;
    return to->ptr ? QUERN_OK : quern__fail_memory(p->err, from.len);
}

/* 1: the row's stamp says what it says now, and it has vectors. */
static int has_vectors(text_pass *p, const quern_row *row, quern__document_view *doc)
{
    if (row->fault || row->stamp.outcome != QUERN_OUTCOME_OK)
        return 0;
    int rc = quern__recipe_document(p->r->recipe, row, p->r->max_bytes, &p->r->text, doc, p->err);
    return rc ? rc : !doc->reason[0] && quern__is_current(row, doc);
}

static int take_row(const quern_row *row, void *ud)
{
    text_pass *p = ud;
    quern__document_view doc = {.bytes = 0};
    quern__buf_clear(&p->r->after);
    quern__buf_append(&p->r->after, row->key.ptr, row->key.len);
    int rc = quern__buf_ok(&p->r->after, "a key", p->err);
    p->rows++;
    int yes = rc ? rc : has_vectors(p, row, &doc);
    if (yes != 1)
        return yes < 0 ? yes : QUERN_OK;
    quern_save *d = &p->docs[p->n];
    memset(d, 0, sizeof *d);
    d->text_only = 1;
    d->stamp.outcome = QUERN_OUTCOME_OK;
    quern__buf_clear(&p->words);
    quern__words(doc.text, &p->words);
    rc = quern__buf_ok(&p->words, "the words of a document", p->err);
    if (rc == QUERN_OK && p->texts)
        rc = copy_str(p, doc.text, &d->text);
    if (rc == QUERN_OK)
        rc = copy_str(p, row->key, &d->key);
    if (rc == QUERN_OK)
        rc = copy_str(p, row->stamp.revision, &d->stamp.revision);
    if (rc == QUERN_OK && p->r->recipe->spec.text_search)
        rc = copy_str(p, (quern_str){p->words.data, p->words.len}, &d->words);
    p->n += rc == QUERN_OK;
    return rc;
}

static int still_there(const quern_row *row, size_t i, void *ud)
{
    text_pass *p = ud;
    quern__document_view doc;
    int yes = has_vectors(p, row, &doc);
    const quern_str *then = &p->docs[i].stamp.revision, *now = &row->stamp.revision;
    return yes != 1 ? yes
                    : then->len == now->len &&
                          (now->len == 0 || memcmp(then->ptr, now->ptr, now->len) == 0);
}

static int run_page(text_pass *p, quern_error *err)
{
    fill_run *r = p->r;
    uint8_t stored[PAGE_ROWS];
    p->n = p->rows = 0;
    quern__arena_dispose(&p->arena);
    /* the key is read before the callback writes the next one into the same place */
    char *after = quern__strndup(r->after.data ? r->after.data : "", r->after.len);
    if (!after)
        return quern__fail_memory(err, r->after.len);
    int rc = r->s->table.scan(r->s->self, &r->read, (quern_str){after, r->after.len}, PAGE_ROWS,
                              take_row, p, err);
    quern__free(after);
    if (rc == QUERN_OK && p->n)
        rc = r->s->table.save(r->s->self, &r->read, p->docs, p->n, still_there, p, stored, err);
    return rc;
}

/* Do some of the documents with vectors lack words, or texts? */
static int is_due(const fill_run *r, bool *words, bool *texts, quern_error *err)
{
    uint64_t there = 0, bytes = 0, all = r->counts.ok + r->counts.old_ok;
    int rc = QUERN_OK;
    *words = *texts = false;
    if (!r->generation.id)
        return QUERN_OK;
    if (r->recipe->spec.text_search && r->s->table.text_count) {
        rc = r->s->table.text_count(r->s->self, r->generation.id, &there, err);
        *words = there < all;
    }
    if (rc == QUERN_OK && r->recipe->spec.keep_text && r->s->table.kept_size &&
        !r->settings.builder[0]) {
        rc = r->s->table.kept_size(r->s->self, r->generation.id, &there, &bytes, err);
        *texts = there < all;
    }
    return rc;
}

int quern__fill_text(fill_run *r, quern_error *err)
{
    bool words = false, texts = false;
    int rc = is_due(r, &words, &texts, err);
    if (rc != QUERN_OK || !(words || texts))
        return rc;
    text_pass *p = quern__calloc(1, sizeof *p);
    if (!p)
        return quern__fail_memory(err, sizeof *p);
    p->r = r;
    p->texts = texts;
    p->err = err;
    quern__arena_init(&p->arena, 0);
    quern__buf_init(&p->words, QUERN__WORDS_BYTES);
    quern__buf_clear(&r->after);
    const char *since = r->read.since;
    r->read.since = NULL;
    do {
        rc = quern__check_cancel(r->opt->cancel, err);
        if (rc == QUERN_OK)
            rc = run_page(p, err);
    } while (rc == QUERN_OK && p->rows == PAGE_ROWS);
    r->read.since = since;
    quern__arena_dispose(&p->arena);
    quern__buf_dispose(&p->words);
    quern__free(p);
    return rc;
}
