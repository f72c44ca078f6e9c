/*
 * requeue.c — quern_requeue: documents are to be embedded again though nothing about them has changed (a failed one whose
 * cause has gone, a repair). A mark on the stamp makes them pending; the stamp itself stays, so that searches
 * go on finding what there is. Both the active and the building generation get the mark. Where the store has tasks,
 * documents that are named get one, so that workers need not wait for a scan, and those of the source that were given
 * up live again.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "pipeline/fill_run.h"
#include "pipeline/generation_find.h"
#include "pipeline/recipe.h"
#include "quern/generation.h"

enum { PAGE = 512, KEY_BYTES = 1 << 20 };

typedef struct textless {
    quern__buf after;
    size_t rows;
    uint64_t n;
    quern_error *err;
} textless;

typedef struct requeue_run {
    quern_store *s;
    const quern_requeue_options *opt;
    quern__recipe *recipe;
    int64_t generations[2]; /* active, building; 0: none */
    quern__arena arena;
    quern_str keys[PAGE];
    size_t n;
    bool found;
    quern_error *err;
} requeue_run;

static int find_generations(requeue_run *r, quern_error *err)
{
    static const char *const states[] = {"active", "building"};
    for (size_t i = 0; i < QUERN__COUNT(states); i++) {
        quern_generation g;
        quern_error local = {0};
        int rc =
            r->s->table.generation_find(r->s->self, r->recipe->spec.name, states[i], &g, &local);
        if (rc == QUERN_OK)
            r->generations[i] = g.id;
        if (rc != QUERN_OK && rc != QUERN_ENOTFOUND) {
            if (err)
                *err = local;
            return rc;
        }
    }
    return QUERN_OK;
}

/* In each generation; a document counts once. */
static int mark(requeue_run *r, int what, const quern_str *keys, size_t n, uint64_t *documents,
                quern_error *err)
{
    uint64_t most = 0;
    for (size_t i = 0; i < QUERN__COUNT(r->generations); i++) {
        uint64_t marked = 0;
        int rc = r->generations[i] ? r->s->table.requeue(r->s->self, r->generations[i], what, keys,
                                                         n, &marked, err)
                                   : QUERN_OK;
        if (rc != QUERN_OK)
            return rc;
        most = QUERN__MAX(most, marked);
    }
    *documents += most;
    uint64_t tasks = 0;
    const quern_store_table *t = &r->s->table;
    const char *source = r->recipe->spec.name;
    if (what == QUERN_REQUEUE_KEYS)
        return t->task_put ? t->task_put(r->s->self, source, keys, n, "requeued", &tasks, err)
                           : QUERN_OK;
    return t->task_revive ? t->task_revive(r->s->self, source, NULL, 0, &tasks, err) : QUERN_OK;
}

static int note_row(const quern_row *row, void *ud)
{
    requeue_run *r = ud;
    (void)row;
    r->found = true;
    return QUERN_OK;
}

/* A key that is neither marked nor a row's is a slip of the pen. */
static int requeue_keys(requeue_run *r, uint64_t *documents, quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t i = 0; rc == QUERN_OK && i < r->opt->n_keys; i++) {
        const quern_str *key = &r->opt->keys[i];
        uint64_t marked = 0;
        rc = quern__check_cancel(r->opt->cancel, err);
        if (rc == QUERN_OK)
            rc = mark(r, QUERN_REQUEUE_KEYS, key, 1, &marked, err);
        *documents += marked;
        if (rc != QUERN_OK || marked)
            continue;
        r->found = false;
        rc = r->s->table.fetch(r->s->self, &r->recipe->read, key, 1, note_row, r, err);
        if (rc == QUERN_OK && !r->found)
            rc = quern__fail(err, QUERN_ENOTFOUND, (int64_t)i,
                             "source %s has no document with the key %.*s", r->recipe->spec.name,
                             (int)QUERN__MIN(key->len, 200), key->ptr);
    }
    return rc;
}

static int take_key(const quern_row *row, void *ud)
{
    requeue_run *r = ud;
    char *copy = quern__arena_copy(&r->arena, row->key.ptr, row->key.len);
    if (!copy)
        return quern__fail_memory(r->err, row->key.len);
    r->keys[r->n++] = (quern_str){copy, row->key.len};
    return QUERN_OK;
}

static int requeue_where(requeue_run *r, uint64_t *documents, quern_error *err)
{
    quern__buf after;
    quern__buf_init(&after, KEY_BYTES);
    int rc = QUERN_OK; /* the predicate has been put on */
    r->err = err;
    do {
        quern__arena_dispose(&r->arena);
        r->n = 0;
        quern_str from = {after.data, after.len};
        if (rc == QUERN_OK)
            rc = quern__check_cancel(r->opt->cancel, err);
        if (rc == QUERN_OK)
            rc = r->s->table.scan(r->s->self, &r->recipe->read, from, PAGE, take_key, r, err);
        if (rc == QUERN_OK && r->n) {
            rc = mark(r, QUERN_REQUEUE_KEYS, r->keys, r->n, documents, err);
            quern__buf_clear(&after);
            quern__buf_append(&after, r->keys[r->n - 1].ptr, r->keys[r->n - 1].len);
            if (rc == QUERN_OK)
                rc = quern__buf_ok(&after, "a key", err);
        }
    } while (rc == QUERN_OK && r->n == PAGE);
    quern__buf_dispose(&after);
    return rc;
}

static int count_textless(const quern_row *row, void *ud)
{
    textless *t = ud;
    t->rows++;
    t->n += row->no_text != 0;
    quern__buf_clear(&t->after);
    quern__buf_append(&t->after, row->key.ptr, row->key.len);
    return quern__buf_ok(&t->after, "a key", t->err);
}

/* What cannot be embedded again is not asked for: it would be pending for ever. (What failed has its text.) */
static int all_have_texts(requeue_run *r, quern_error *err)
{
    textless t = {.err = err};
    quern_read read = r->recipe->read;
    quern__buf from;
    if (!r->s->table.strip || read.source->table || read.source->query ||
        r->opt->which == QUERN_AGAIN_FAILED)
        return QUERN_OK;
    read.n_columns = 0;
    quern__buf_init(&t.after, KEY_BYTES);
    quern__buf_init(&from, KEY_BYTES);
    int rc = QUERN_OK;
    if (r->opt->n_keys)
        rc = r->s->table.fetch(r->s->self, &read, r->opt->keys, r->opt->n_keys, count_textless, &t,
                               err);
    else
        do {
            t.rows = 0;
            quern__buf_clear(&from);
            quern__buf_append(&from, t.after.data, t.after.len);
            if (rc == QUERN_OK)
                rc = quern__check_cancel(r->opt->cancel, err);
            if (rc == QUERN_OK)
                rc = r->s->table.scan(r->s->self, &read, (quern_str){from.data, from.len}, PAGE,
                                      count_textless, &t, err);
        } while (rc == QUERN_OK && t.rows == PAGE);
    quern__buf_dispose(&from);
    quern__buf_dispose(&t.after);
    if (rc == QUERN_OK && t.n)
        rc = quern__fail(err, QUERN_EMISMATCH, (int64_t)t.n,
                         "source %s: the texts of %llu of these documents are not kept (add "
                         "--keep-text no), so they cannot be embedded again; add them again first",
                         r->recipe->spec.name, (unsigned long long)t.n);
    return rc;
}

static int requeue(requeue_run *r, uint64_t *documents, quern_error *err)
{
    int rc = quern__recipe_open(&r->recipe, r->s, r->opt->source, err);
    if (rc == QUERN_OK)
        rc = find_generations(r, err);
    if (rc == QUERN_OK && r->opt->where)
        rc = quern__recipe_restrict(r->recipe, r->s, r->opt->where, err);
    if (rc == QUERN_OK)
        rc = all_have_texts(r, err);
    for (size_t i = 0; i < QUERN__COUNT(r->generations) && rc == QUERN_OK; i++)
        rc = quern__watermark_drop(r->s, r->generations[i], err);
    if (rc != QUERN_OK)
        return rc;
    if (r->opt->where)
        return requeue_where(r, documents, err);
    if (r->opt->which == QUERN_AGAIN_KEYS)
        return requeue_keys(r, documents, err);
    return mark(r, r->opt->which == QUERN_AGAIN_ALL ? QUERN_REQUEUE_ALL : QUERN_REQUEUE_FAILED,
                NULL, 0, documents, err);
}

int quern_requeue(quern_store *s, const quern_requeue_options *opt, uint64_t *documents,
                  quern_error *err)
{
    QUERN__REQUIRE(s && documents, err);
    *documents = 0;
    QUERN__REQUIRE(opt && opt->struct_size >= sizeof *opt && opt->source, err);
    QUERN__REQUIRE(opt->which >= QUERN_AGAIN_KEYS && opt->which <= QUERN_AGAIN_ALL, err);
    QUERN__REQUIRE(opt->keys || opt->n_keys == 0, err);
    if ((opt->where != NULL) + (opt->n_keys != 0) + (opt->which != QUERN_AGAIN_KEYS) != 1)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "requeue: all, the failed, keys or a predicate; one of them");
    if (!s->table.requeue)
        return quern__store_lacks(s, "mark stamps as asked for again", err);
    requeue_run r = {.s = s, .opt = opt};
    quern__arena_init(&r.arena, 0);
    int rc = requeue(&r, documents, err);
    quern__recipe_free(r.recipe);
    quern__arena_dispose(&r.arena);
    return rc;
}
