/*
 * forget.c — quern_forget: a document leaves everything that quern keeps: vectors, chunks, words, stamps, tasks with their
 * errors, the log, and the built-in documents.
 *
 * What hangs on generations goes by the way of any row that has gone: erase asks the store to take what no row claims, and
 * is given a predicate that no row meets. So there is one place that knows what a document consists of. The lock of
 * fill is held meanwhile: a fill under way would save what it has read before. A row in a table of the user's is
 * his: while it is there, the next fill embeds it again, and the report says so.
 */
#include "quern/generation.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "pipeline/fill_run.h"
#include "pipeline/generation_find.h"
#include "pipeline/recipe.h"

typedef struct forgetting {
    quern_store *s;
    const char *source;
    quern__recipe *recipe;
    quern_str *keys; /* canonical, ours */
    size_t n;
    quern_forget_report *report;
    int64_t live[2];
    size_t n_live;
    int64_t retired; /* one that still stands, 0: none */
} forgetting;

static int settle_keys(forgetting *f, const quern_str *words, quern_error *err)
{
    int rc = QUERN_OK;
    f->keys = quern__calloc(f->n, sizeof *f->keys);
    if (!f->keys)
        return quern__fail_memory(err, f->n * sizeof *f->keys);
    for (size_t i = 0; i < f->n && rc == QUERN_OK; i++) {
        char *key = NULL;
        rc = quern__source_key(f->s, f->source, words[i], &key, err);
        f->keys[i] = quern_str_of(key);
    }
    return rc;
}

static int note_generation(const char *source, const quern_generation *g, void *ud)
{
    forgetting *f = ud;
    (void)source;
    if (strcmp(g->state, "retired") == 0)
        f->retired = g->id;
    else if (f->n_live < QUERN__COUNT(f->live))
        f->live[f->n_live++] = g->id;
    return QUERN_OK;
}

static int count_row(const quern_row *row, void *ud)
{
    (void)row;
    ++((forgetting *)ud)->report->rows;
    return QUERN_OK;
}

static int erase(forgetting *f, quern_error *err)
{
    quern_source_spec none = f->recipe->spec;
    quern_read read = f->recipe->read;
    int rc = QUERN_OK;
    none.where = "1 = 0";
    read.source = &none;
    for (size_t i = 0; i < f->n_live && rc == QUERN_OK; i++) {
        uint64_t removed = 0;
        read.generation = f->live[i];
        rc = f->s->table.erase(f->s->self, &read, f->keys, f->n, &removed, err);
    }
    read = f->recipe->read;
    read.generation = 0;
    if (rc == QUERN_OK)
        rc = f->s->table.fetch(f->s->self, &read, f->keys, f->n, count_row, f, err);
    return rc;
}

static int forget(forgetting *f, const quern_str *words, quern_error *err)
{
    void *held = NULL;
    uint64_t tasks = 0;
    int rc = quern__recipe_open(&f->recipe, f->s, f->source, err);
    if (rc == QUERN_OK)
        rc = settle_keys(f, words, err);
    if (rc == QUERN_OK)
        rc = quern__fill_lock(f->s, f->source, 0, &held, err);
    if (rc == QUERN_OK)
        rc = f->s->table.generation_each(f->s->self, f->source, note_generation, f, err);
    if (rc == QUERN_OK && f->retired)
        rc = quern__fail(err, QUERN_EMISMATCH, f->retired,
                         "generation %" PRId64
                         " of source %s is retired and may hold them too; purge it first (quern "
                         "generation purge %" PRId64 ")",
                         f->retired, f->source, f->retired);
    if (rc == QUERN_OK)
        rc = f->s->table.forget(f->s->self, f->source, f->keys, f->n, &f->report->documents, err);
    for (size_t i = 0; i < f->n_live && rc == QUERN_OK; i++) /* it may be one of these keys */
        rc = quern__watermark_drop(f->s, f->live[i], err);
    if (rc == QUERN_OK && f->s->table.task_remove)
        rc = f->s->table.task_remove(f->s->self, f->source, f->keys, f->n, &tasks, err);
    if (rc == QUERN_OK)
        rc = erase(f, err);
    if (held)
        f->s->table.unlock(f->s->self, held);
    return rc;
}

int quern_forget(quern_store *s, const char *source, const quern_str *keys, size_t n,
                 quern_forget_report *report, quern_error *err)
{
    quern_forget_report own;
    QUERN__REQUIRE(s && source && (keys || n == 0), err);
    QUERN__REQUIRE(!report || report->struct_size >= sizeof *report, err);
    QUERN_INIT(&own);
    if (!s->table.forget || !s->table.generation_each)
        return quern__store_lacks(s, "forget documents", err);
    forgetting f = {.s = s, .source = source, .n = n, .report = &own};
    int rc = n ? forget(&f, keys, err) : QUERN_OK;
    for (size_t i = 0; f.keys && i < n; i++)
        quern_free((char *)(uintptr_t)f.keys[i].ptr);
    quern__free(f.keys);
    quern__recipe_free(f.recipe);
    if (report)
        *report = own;
    return rc;
}
