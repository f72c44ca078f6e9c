/*
 * fill_keys.c — a run over the documents that tasks name, in place of a scan. Rows are fetched by their keys; what is
 * fetched is looked at, embedded and saved as in any run, and each save names the lease of its task. A key without a row
 * loses its vectors. What became of each document is left in its fill_task.
 */
#include "pipeline/fill_run.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/compiler.h"

static int compare_keys(quern_str a, quern_str b)
{
    size_t n = QUERN__MIN(a.len, b.len);
    int order = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

int quern__fill_by_key(const void *a, const void *b)
{
    const fill_task *x = a, *y = b;
    return compare_keys(x->key, y->key);
}

static fill_task *find_task(const fill_run *r, quern_str key)
{
    const fill_task wanted = {.key = key};
    return bsearch(&wanted, r->aim->tasks, r->aim->n_tasks, sizeof wanted, quern__fill_by_key);
}

static void note_reason(fill_task *t, quern_str why)
{
    snprintf(t->reason, sizeof t->reason, "%.*s", (int)QUERN__MIN(why.len, sizeof t->reason - 1),
             why.ptr ? why.ptr : "");
}

static int take_keyed(const quern_row *row, void *ud)
{
    fill_run *r = ud;
    fill_task *t = row->fault ? NULL : find_task(r, row->key);
    if (!t || t->state != FILL_TASK_NEW)
        return QUERN_OK;
    size_t before = r->at->n_docs;
    uint64_t lacking = r->counts.no_text;
    int rc = quern__fill_take_row(row, r);
    if (rc < 0)
        return rc;
    t->state = FILL_TASK_SEEN;
    if (r->at->n_docs > before)
        r->at->docs[before].task = t;
    else if (r->counts.no_text > lacking) {
        t->state = FILL_TASK_FAILED;
        note_reason(t, quern_str_of(r->report->last_error));
    } else
        t->state = FILL_TASK_DONE; /* it is current */
    return rc;
}

/* Keys that nobody has looked at yet, FILL_KEYS at most. */
static size_t gather(const fill_run *r, quern_str *keys)
{
    size_t n = 0;
    for (size_t i = 0; i < r->aim->n_tasks && n < FILL_KEYS; i++)
        if (r->aim->tasks[i].state == FILL_TASK_NEW)
            keys[n++] = r->aim->tasks[i].key;
    return n;
}

/* The store looks again, in its transaction, whether these rows have gone. */
static int erase_gone(fill_run *r, const quern_str *keys, size_t n, quern_error *err)
{
    quern_str gone[FILL_KEYS];
    size_t m = 0;
    uint64_t removed = 0;
    for (size_t i = 0; i < n; i++)
        if (find_task(r, keys[i])->state == FILL_TASK_NEW)
            gone[m++] = keys[i];
    int rc = m ? r->s->table.erase(r->s->self, &r->read, gone, m, &removed, err) : QUERN_OK;
    for (size_t i = 0; i < m && rc == QUERN_OK; i++)
        find_task(r, gone[i])->state = FILL_TASK_DONE;
    r->report->deleted += removed;
    return rc;
}

int quern__fill_keys(fill_run *r, fill_batch *b, bool *end, quern_error *err)
{
    quern_str keys[FILL_KEYS];
    *end = false;
    r->at = b;
    r->err = err;
    for (;;) {
        size_t n = gather(r, keys);
        *end = n == 0;
        int rc = *end ? QUERN_OK : quern__fill_tell(r, false, err);
        if (rc != QUERN_OK || *end)
            return rc;
        rc = r->s->table.fetch(r->s->self, &r->read, keys, n, take_keyed, r, err);
        if (rc == FILL_PAGE_FULL)
            return QUERN_OK;
        if (rc == QUERN_OK)
            rc = erase_gone(r, keys, n, err);
        if (rc != QUERN_OK)
            return rc;
    }
}

void quern__fill_task_saved(const fill_doc *d, bool stored)
{
    if (!d->task)
        return;
    d->task->state = !stored ? FILL_TASK_STALE : d->reason ? FILL_TASK_FAILED : FILL_TASK_DONE;
    if (d->reason)
        note_reason(d->task, quern_str_of(d->reason));
}
