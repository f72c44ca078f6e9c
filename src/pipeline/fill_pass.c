/* fill_pass.c — the walk of fill_pass.h. */
#include "pipeline/fill_pass.h"

#include "base/alloc.h"
#include "base/cancel.h"

int quern__fill_pass_copy(fill_pass *p, quern_str from, quern_str *to)
{
    to->ptr = quern__arena_copy(&p->arena, from.ptr ? from.ptr : "", from.len);
    to->len = from.len;
    return to->ptr ? QUERN_OK : quern__fail_memory(p->err, from.len);
}

static int take_row(const quern_row *row, void *ud)
{
    fill_pass *p = ud;
    quern_save *d = &p->docs[p->n];
    quern__buf_clear(&p->r->after);
    quern__buf_append(&p->r->after, row->key.ptr, row->key.len);
    int rc = quern__buf_ok(&p->r->after, "a key", p->err);
    p->rows++;
    if (rc != QUERN_OK)
        return rc;
    memset(d, 0, sizeof *d);
    int yes = p->take(p, row, d);
    if (yes != 1)
        return yes;
    d->text_only = 1;
    d->stamp.outcome = row->stamp.outcome;
    rc = quern__fill_pass_copy(p, row->key, &d->key);
    if (rc == QUERN_OK)
        rc = quern__fill_pass_copy(p, row->stamp.revision, &d->stamp.revision);
    p->n += rc == QUERN_OK;
    return rc;
}

static int run_page(fill_pass *p, quern_error *err)
{
    fill_run *r = p->r;
    uint8_t stored[FILL_PASS_ROWS];
    p->n = p->rows = 0;
    quern__arena_dispose(&p->arena);
    /* the key is read before the callback writes the next one into the same place */
    char *after = quern__strndup(r->after.data ? r->after.data : "", r->after.len);
    if (!after)
        return quern__fail_memory(err, r->after.len);
    int rc = r->s->table.scan(r->s->self, &r->read, (quern_str){after, r->after.len},
                              FILL_PASS_ROWS, take_row, p, err);
    quern__free(after);
    if (rc == QUERN_OK && p->n && p->put)
        return p->put(p, err);
    if (rc == QUERN_OK && p->n)
        rc = r->s->table.save(r->s->self, &r->read, p->docs, p->n, p->still, p, stored, err);
    return rc;
}

int quern__fill_pass(fill_pass *p, fill_run *r, quern_error *err)
{
    const char *since = r->read.since;
    int rc;
    p->r = r;
    p->err = err;
    quern__arena_init(&p->arena, 0);
    quern__buf_clear(&r->after);
    r->read.since = NULL;
    do {
        rc = quern__check_cancel(r->opt->cancel, err);
        if (rc == QUERN_OK)
            rc = run_page(p, err);
    } while (rc == QUERN_OK && p->rows == FILL_PASS_ROWS);
    r->read.since = since;
    quern__arena_dispose(&p->arena);
    return rc;
}
