/*
 * fill_sweep.c — stamps against rows, and stamps against vectors.
 *
 * Deletions are found from the stamps' side: a page of stamped keys is looked up among the rows, and the store
 * erases those that are (still, in its transaction) gone. That needs no list of all keys in memory and is right
 * whatever order rows come in. A source that has no row at all is far more often a slip (a truncated table, a
 * predicate with a typing error) than meant, so it never empties a generation unless told to.
 *
 * Lost vectors (a table dropped, an older backup restored) show as a difference between the chunks that
 * stamps promise and the vectors that are stored; only then is each document looked at.
 */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/log.h"
#include "pipeline/fill_run.h"

/* A page of keys, in one arena. */
typedef struct key_page {
    quern__arena arena;
    quern_str keys[FILL_KEYS];
    bool found[FILL_KEYS];
    size_t n;
    quern_error *err;
    fill_run *run;
} key_page;

static int copy_key(key_page *p, quern_str key)
{
    char *copy = quern__arena_copy(&p->arena, key.ptr, key.len);
    if (!copy)
        return quern__fail_memory(p->err, key.len);
    p->keys[p->n] = (quern_str){copy, key.len};
    p->found[p->n++] = false;
    return QUERN_OK;
}

static key_page *new_page(fill_run *r, quern_error *err)
{
    key_page *p = quern__calloc(1, sizeof *p);
    if (!p) {
        quern__fail_memory(err, sizeof *p);
        return NULL;
    }
    quern__arena_init(&p->arena, 0);
    p->err = err;
    p->run = r;
    return p;
}

static void free_page(key_page *p)
{
    quern__arena_dispose(&p->arena);
    quern__free(p);
}

int quern__fill_count_stamps(fill_run *r, quern_error *err)
{
    quern_tally t;
    if (r->generation.id == 0)
        return QUERN_OK;
    int rc = r->s->table.tally(r->s->self, r->generation.id, &t, err);
    if (rc != QUERN_OK)
        return rc;
    r->counts.old_ok = t.ok;
    r->counts.old_empty = t.empty;
    r->counts.old_failed = t.failed;
    r->check_vectors = t.chunks != t.vectors;
    if (r->check_vectors)
        quern__log(QUERN_LOG_WARN, "fill",
                   "source %s: %" PRIu64 " vectors are stored where its stamps promise %" PRIu64
                   "; documents without theirs are embedded again",
                   r->recipe->spec.name, t.vectors, t.chunks);
    return QUERN_OK;
}

static int gather_stamp(quern_str key, const quern_stamp *stamp, void *ud)
{
    key_page *p = ud;
    (void)stamp;
    return copy_key(p, key);
}

static int mark_row(const quern_row *row, void *ud)
{
    key_page *p = ud;
    if (row->fault)
        return QUERN_OK;
    for (size_t i = 0; i < p->n; i++) {
        if (p->keys[i].len == row->key.len &&
            memcmp(p->keys[i].ptr, row->key.ptr, row->key.len) == 0)
            p->found[i] = true;
    }
    return QUERN_OK;
}

/* Erases those keys of the page that no row has. The last key is kept in `after` first. */
static int erase_gone(fill_run *r, key_page *p, quern__buf *after, quern_error *err)
{
    if (after) {
        quern__buf_clear(after);
        quern__buf_append(after, p->keys[p->n - 1].ptr, p->keys[p->n - 1].len);
        int ok = quern__buf_ok(after, "a key", err);
        if (ok != QUERN_OK)
            return ok;
    }
    quern_read read = r->read;
    read.since = NULL;
    int rc = r->s->table.fetch(r->s->self, &read, p->keys, p->n, mark_row, p, err);
    if (rc != QUERN_OK)
        return rc;
    size_t gone = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (!p->found[i])
            p->keys[gone++] = p->keys[i];
    }
    if (gone == 0)
        return QUERN_OK;
    uint64_t removed = 0;
    rc = r->s->table.erase(r->s->self, &read, p->keys, gone, &removed, err);
    r->report->deleted += removed;
    return rc;
}

int quern__fill_sweep(fill_run *r, quern_error *err)
{
    key_page *p = new_page(r, err);
    if (!p)
        return QUERN_ENOMEM;
    quern__buf after;
    quern__buf_init(&after, r->after.max);
    int rc;
    size_t got;
    do {
        quern__arena_dispose(&p->arena);
        p->n = 0;
        quern_str from = {after.data, after.len};
        rc = quern__fill_tell(r, false, err);
        if (rc == QUERN_OK)
            rc = r->s->table.stamps(r->s->self, r->generation.id, from, FILL_KEYS, gather_stamp, p,
                                    err);
        got = p->n;
        if (rc == QUERN_OK && got)
            rc = erase_gone(r, p, &after, err);
    } while (rc == QUERN_OK && got == FILL_KEYS);
    quern__buf_dispose(&after);
    free_page(p);
    return rc;
}

/* ---- vectors that belong to nothing ---- */

typedef struct ref_list {
    int64_t *refs;
    size_t n, cap;
    fill_run *run;
    quern_error *err;
} ref_list;

static int gather_refs(const int64_t *refs, const void *data, size_t n, void *ud)
{
    ref_list *l = ud;
    (void)data;
    if (l->cap - l->n < n) {
        size_t cap = l->cap ? l->cap * 2 : 4096;
        while (cap - l->n < n)
            cap *= 2;
        int64_t *grown = quern__resize_array(l->refs, cap, sizeof *grown);
        if (!grown)
            return quern__fail_memory(l->err, cap * sizeof *grown);
        l->refs = grown;
        l->cap = cap;
    }
    memcpy(l->refs + l->n, refs, n * sizeof *refs);
    l->n += n;
    return quern__fill_tell(l->run, false, l->err);
}

static int gather_key_of_ref(const quern_chunk_ref *c, void *ud)
{
    key_page *p = ud;
    return p->n < FILL_KEYS ? copy_key(p, c->key) : QUERN_OK;
}

/* Vectors with neither row nor stamp, left by a hand that was not ours. */
int quern__fill_sweep_orphans(fill_run *r, quern_error *err)
{
    ref_list l = {.run = r, .err = err};
    key_page *p = new_page(r, err);
    if (!p)
        return QUERN_ENOMEM;
    int rc = r->s->table.vectors(r->s->self, r->generation.id, gather_refs, &l, err);
    for (size_t at = 0; rc == QUERN_OK && at < l.n; at += FILL_KEYS) {
        size_t n = l.n - at < FILL_KEYS ? l.n - at : FILL_KEYS;
        quern__arena_dispose(&p->arena);
        p->n = 0;
        rc = quern__fill_tell(r, false, err);
        if (rc == QUERN_OK)
            rc = r->s->table.resolve(r->s->self, r->generation.id, l.refs + at, n,
                                     gather_key_of_ref, p, err);
        if (rc == QUERN_OK && p->n)
            rc = erase_gone(r, p, NULL, err);
    }
    quern__free(l.refs);
    free_page(p);
    return rc;
}
