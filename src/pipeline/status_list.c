/*
 * status_list.c — the documents behind the counts of quern_status: which are pending, failed, stale or empty, in pages.
 * A page scans on behind the key that the one before ended with, and judges each row as the counting does.
 */
#include "base/alloc.h"
#include "base/arena.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "pipeline/recipe.h"
#include "quern/pipeline.h"

enum { PAGE = 1024, KEY_BYTES = 1 << 20, LIMIT = 100, LIMIT_MAX = 1000000, FETCH = 256 };

struct quern_document_list {
    quern_document_row *rows;
    size_t n, room;
    const char *next;
    quern__arena arena;
};

typedef struct listing {
    quern_document_list *l;
    const quern__recipe *recipe;
    int state;
    size_t limit, seen;
    quern__buf text, after; /* after: the last key looked at */
    bool full;
    quern_error *err;
} listing;

static bool is_wanted(const listing *w, const quern_row *row, const quern__document_view *doc)
{
    int outcome = row->stamp.outcome;
    bool done = quern__is_done(row, doc);
    switch (w->state) {
    case QUERN_DOCUMENT_PENDING:
        return !done;
    case QUERN_DOCUMENT_STALE:
        return !quern__is_current(row, doc) && outcome != QUERN_OUTCOME_NONE;
    case QUERN_DOCUMENT_FAILED:
        return done && outcome == QUERN_OUTCOME_FAILED;
    default:
        return done && outcome == QUERN_OUTCOME_EMPTY;
    }
}

static int add(listing *w, quern_str key, quern_str reason, int64_t updated_ms)
{
    quern_document_list *l = w->l;
    if (l->n == l->room) {
        size_t room = l->room ? 2 * l->room : 64;
        quern_document_row *grown = quern__resize_array(l->rows, room, sizeof *grown);
        if (!grown)
            return quern__fail_memory(w->err, room * sizeof *grown);
        l->rows = grown;
        l->room = room;
    }
    quern_document_row *r = &l->rows[l->n];
    *r = (quern_document_row){.updated_ms = updated_ms};
    r->key = key.ptr ? quern__arena_copy(&l->arena, key.ptr, key.len) : NULL;
    r->reason = quern__arena_copy(&l->arena, reason.ptr ? reason.ptr : "", reason.len);
    if ((key.ptr && !r->key) || !r->reason)
        return quern__fail_memory(w->err, key.len + reason.len);
    l->n++;
    return QUERN_OK;
}

enum { FULL = 1 }; /* the callback's way to end a page */

static int look_at(const quern_row *row, void *ud)
{
    listing *w = ud;
    /* a page ends behind a row with a key, from which the next one can go on */
    if (w->l->n >= w->limit && !row->fault)
        w->full = true;
    if (w->full)
        return FULL;
    quern__buf_clear(&w->after);
    quern__buf_append(&w->after, row->key.ptr, row->key.len);
    int rc = quern__buf_ok(&w->after, "a key", w->err);
    w->seen++;
    if (rc != QUERN_OK)
        return rc;
    const quern_str none = {NULL, 0};
    if (row->fault)
        return w->state == QUERN_DOCUMENT_FAILED ? add(w, none, quern_str_of(row->fault), 0)
                                                 : QUERN_OK;
    quern__document_view doc;
    rc = quern__recipe_document(w->recipe, row, QUERN__RENDER_BYTES, &w->text, &doc, w->err);
    if (rc != QUERN_OK || !is_wanted(w, row, &doc))
        return rc;
    bool failed = row->stamp.outcome == QUERN_OUTCOME_FAILED;
    return add(w, row->key, failed ? row->stamp.reason : none, row->stamp.updated_ms);
}

static int scan(listing *w, quern_store *s, const quern_read *read, const quern_cancel *cancel,
                quern_error *err)
{
    quern__buf from;
    quern__buf_init(&from, KEY_BYTES);
    int rc;
    do {
        quern__buf_clear(&from);
        quern__buf_append(&from, w->after.data, w->after.len);
        w->seen = 0;
        quern_str after = {from.data, from.len};
        rc = quern__buf_ok(&from, "a key", err);
        if (rc == QUERN_OK)
            rc = quern__check_cancel(cancel, err);
        if (rc == QUERN_OK)
            rc = s->table.scan(s->self, read, after, PAGE, look_at, w, err);
    } while (rc == QUERN_OK && w->seen == PAGE);
    quern__buf_dispose(&from);
    return rc == FULL ? QUERN_OK : rc;
}

/* Of the keys that were asked for, some at a time. */
static int fetch(listing *w, quern_store *s, const quern_read *read,
                 const quern_document_options *opt, quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t at = 0; rc == QUERN_OK && at < opt->n_keys; at += FETCH) {
        quern_str keys[FETCH];
        size_t n = 0;
        rc = quern__check_cancel(opt->cancel, err);
        for (size_t i = at; rc == QUERN_OK && i < opt->n_keys && n < FETCH; i++) {
            char *key = NULL;
            rc = quern__source_key(s, opt->source, opt->keys[i], &key, err);
            if (rc == QUERN_OK)
                keys[n++] = quern_str_of(key);
        }
        if (rc == QUERN_OK)
            rc = s->table.fetch(s->self, read, keys, n, look_at, w, err);
        for (size_t i = 0; i < n; i++)
            quern_free((char *)(uintptr_t)keys[i].ptr);
    }
    return rc;
}

/* Whose stamps count: 0 where nothing has been filled. */
static int find_generation(quern_store *s, const char *source, int64_t *id, quern_error *err)
{
    quern_generation g;
    quern_error local = {0};
    *id = 0;
    int rc = s->table.generation_find(s->self, source, "active", &g, &local);
    if (rc == QUERN_ENOTFOUND)
        rc = s->table.generation_find(s->self, source, "building", &g, &local);
    if (rc == QUERN_OK)
        *id = g.id;
    else if (rc != QUERN_ENOTFOUND && err)
        *err = local;
    return rc == QUERN_ENOTFOUND ? QUERN_OK : rc;
}

static int fill_list(listing *w, quern_store *s, const quern_document_options *opt,
                     quern_error *err)
{
    quern__recipe *recipe = NULL;
    int64_t generation = 0;
    int rc = quern__recipe_open(&recipe, s, opt->source, err);
    if (rc == QUERN_OK)
        rc = find_generation(s, opt->source, &generation, err);
    if (rc == QUERN_OK && generation)
        rc = quern__recipe_scope_of(recipe, s, generation, err);
    if (rc == QUERN_OK) {
        quern_read read = recipe->read;
        read.generation = generation;
        w->recipe = recipe;
        quern__buf_append(&w->after, opt->after.ptr, opt->after.len);
        rc = opt->keys ? fetch(w, s, &read, opt, err) : scan(w, s, &read, opt->cancel, err);
    }
    if (rc == QUERN_OK && w->full) {
        w->l->next = quern__arena_copy(&w->l->arena, w->after.data, w->after.len);
        rc = w->l->next ? QUERN_OK : quern__fail_memory(err, w->after.len);
    }
    quern__recipe_free(recipe);
    return rc;
}

int quern_document_list_open(quern_document_list **out, quern_store *s,
                             const quern_document_options *opt, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(s && opt && opt->struct_size >= sizeof *opt && opt->source, err);
    QUERN__REQUIRE(opt->state >= QUERN_DOCUMENT_PENDING && opt->state <= QUERN_DOCUMENT_EMPTY, err);
    QUERN__REQUIRE(opt->after.ptr || opt->after.len == 0, err);
    QUERN__REQUIRE(!opt->keys || (opt->n_keys && opt->after.len == 0), err);
    if (opt->limit > LIMIT_MAX)
        return quern__code(err,
                           quern__fail(err, QUERN_EINVAL, opt->limit, "limit %u: at most %d",
                                       opt->limit, LIMIT_MAX),
                           "pagination_limit");
    listing w = {.state = opt->state, .limit = opt->limit ? opt->limit : LIMIT, .err = err};
    if (opt->keys)
        w.limit = SIZE_MAX;
    w.l = quern__calloc(1, sizeof *w.l);
    if (!w.l)
        return quern__fail_memory(err, sizeof *w.l);
    quern__arena_init(&w.l->arena, 0);
    quern__buf_init(&w.text, QUERN__TEXT_BUFFER);
    quern__buf_init(&w.after, KEY_BYTES);
    int rc = fill_list(&w, s, opt, err);
    quern__buf_dispose(&w.text);
    quern__buf_dispose(&w.after);
    if (rc != QUERN_OK) {
        quern_document_list_free(w.l);
        return rc;
    }
    *out = w.l;
    return QUERN_OK;
}

size_t quern_document_list_count(const quern_document_list *l)
{
    return l ? l->n : 0;
}

const quern_document_row *quern_document_list_at(const quern_document_list *l, size_t i)
{
    return l && i < l->n ? &l->rows[i] : NULL;
}

const char *quern_document_list_next(const quern_document_list *l)
{
    return l ? l->next : NULL;
}

void quern_document_list_free(quern_document_list *l)
{
    if (!l)
        return;
    quern__arena_dispose(&l->arena);
    quern__free(l->rows);
    quern__free(l);
}
