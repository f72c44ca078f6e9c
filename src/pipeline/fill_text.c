/*
 * fill_text.c — words, and texts to be kept, of documents that were embedded before their source was declared for text
 * search or to keep texts. A save puts them and vectors together; this pass is for what lacks them, and runs only when there
 * are fewer documents with words or texts than with vectors. Rows whose stamp is current are read, and their words put by
 * the same compare-and-swap as a save.
 */
#include "base/alloc.h"
#include "pipeline/fill_pass.h"
#include "text/words.h"

typedef struct text_pass {
    fill_pass pass;
    quern__buf words;
    bool
        texts; /* to be kept; not those that a program has made, which is not asked for them again */
} text_pass;

/* 1: the row's stamp says what it says now, and it has vectors. */
static int has_vectors(fill_pass *p, const quern_row *row, quern__document_view *doc)
{
    if (row->fault || row->stamp.outcome != QUERN_OUTCOME_OK)
        return 0;
    int rc = quern__recipe_document(p->r->recipe, row, p->r->max_bytes, &p->r->text, doc, p->err);
    return rc ? rc : !doc->reason[0] && quern__is_current(row, doc);
}

static int take(fill_pass *p, const quern_row *row, quern_save *d)
{
    text_pass *t = p->own;
    quern__document_view doc = {.bytes = 0};
    int yes = has_vectors(p, row, &doc);
    if (yes != 1)
        return yes;
    quern__buf_clear(&t->words);
    quern__words(doc.text, &t->words);
    int rc = quern__buf_ok(&t->words, "the words of a document", p->err);
    if (rc == QUERN_OK && t->texts)
        rc = quern__fill_pass_copy(p, doc.text, &d->text);
    if (rc == QUERN_OK && p->r->recipe->spec.text_search)
        rc = quern__fill_pass_copy(p, (quern_str){t->words.data, t->words.len}, &d->words);
    return rc ? rc : 1;
}

static int still_there(const quern_row *row, size_t i, void *ud)
{
    fill_pass *p = ud;
    quern__document_view doc;
    int yes = has_vectors(p, row, &doc);
    const quern_str *then = &p->docs[i].stamp.revision, *now = &row->stamp.revision;
    return yes != 1 ? yes
                    : then->len == now->len &&
                          (now->len == 0 || memcmp(then->ptr, now->ptr, now->len) == 0);
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
    if (rc == QUERN_OK && r->recipe->keeps && r->s->table.kept_size && !r->settings.builder[0]) {
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
    p->texts = texts;
    p->pass.own = p;
    p->pass.take = take;
    p->pass.still = still_there;
    quern__buf_init(&p->words, QUERN__WORDS_BYTES);
    rc = quern__fill_pass(&p->pass, r, err);
    quern__buf_dispose(&p->words);
    quern__free(p);
    return rc;
}
