/*
 * sqlite_strip.c — takes the text out of built-in documents. One by one inside transactions of a slice's length: each row is
 * read again, its stamps looked at, and its fields written without what is not to be kept.
 */
#include "store/sqlite/sqlite_store.h"

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"
#include "store/row_key.h"

enum { LONGEST_FIELDS = 1 << 30 };

typedef struct stripping {
    quern__sqlite *s;
    const quern_read *read;
    quern__sqlite_plan plan;
    int64_t source;
    const char *const *keep;
    size_t n_keep;
    quern__buf fields;
} stripping;

/* 1: every generation in use has embedded this revision of it. */
static int is_everywhere(const stripping *w, quern_str key, quern_str revision, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        w->s->own,
        "SELECT count(*) > 0 AND sum(NOT EXISTS (SELECT 1 FROM quern_stamps AS t"
        "   WHERE t.generation = g.id AND t.key = ?2 AND t.revision = ?3 AND t.outcome IN (1, 2)"
        "   AND t.redo = 0)) = 0"
        " FROM quern_generations AS g WHERE g.source = ?1 AND g.state IN ('building', 'active')",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(w->s->own, stmt, 1, w->source);
    quern__db_bind_text(w->s->own, stmt, 2, key);
    quern__db_bind_text(w->s->own, stmt, 3, revision);
    rc = quern__db_step(w->s->own, stmt, err);
    if (rc == 1)
        rc = quern__db_get_int(stmt, 0) != 0;
    quern__db_finish(w->s->own, stmt);
    return rc;
}

/* The document's number, and its fields without the text into w->fields. */
static int reduce(stripping *w, quern_str id, int64_t *doc, char digest[65], quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        w->s->own, "SELECT doc, fields FROM quern_documents WHERE source = ?1 AND id = ?2", &stmt,
        err);
    if (rc)
        return rc;
    quern__db_bind_int(w->s->own, stmt, 1, w->source);
    quern__db_bind_text(w->s->own, stmt, 2, id);
    rc = quern__db_step(w->s->own, stmt, err);
    if (rc == 1) {
        *doc = quern__db_get_int(stmt, 0);
        rc = quern__document_strip(quern__db_get_text(stmt, 1), w->keep, w->n_keep, &w->fields,
                                   digest, err);
    } else if (rc == 0) {
        rc = quern__fail(err, QUERN_EINTERNAL, 0, "a document is gone in its own transaction");
    }
    quern__db_finish(w->s->own, stmt);
    return rc;
}

static int strip_one(stripping *w, const quern_row *row, quern_str revision, quern__arena *arena,
                     quern_error *err)
{
    quern_value id;
    quern_row after;
    quern__stmt *stmt;
    int64_t doc = 0;
    char digest[65];
    int rc = quern__key_values(row->key, 1, arena, &id, 1, err);
    if (!rc)
        rc = reduce(w, id.bytes, &doc, digest, err);
    if (!rc)
        rc = quern__db_prepare(
            w->s->own,
            "UPDATE quern_documents SET fields = ?2, revision = ?3, digest = ?4 WHERE doc = ?1",
            &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(w->s->own, stmt, 1, doc);
    quern__db_bind_text(w->s->own, stmt, 2, (quern_str){w->fields.data, w->fields.len});
    quern__db_bind_text(w->s->own, stmt, 3, revision);
    quern__db_bind_text(w->s->own, stmt, 4, quern_str_of(digest));
    rc = quern__db_run(w->s->own, stmt, err);
    if (rc || !w->read->source->where)
        return rc;
    int there = quern__sqlite_row(w->s, &w->plan, w->read, row->key, arena, &after, err);
    return there ? QUERN__MIN(there, 0) : quern__strip_leaves(w->read->source, row->key, err);
}

static int strip_slice(stripping *w, const quern_str *keys, const quern_str *revisions, size_t n,
                       int (*still)(const quern_row *row, size_t i, void *ud), void *ud,
                       uint8_t *stripped, size_t *at, quern_error *err)
{
    quern__arena arena;
    uint64_t began = quern__now_ns();
    size_t from = *at;
    quern__arena_init(&arena, 0);
    int rc = quern__db_begin(w->s->own, err);
    if (rc)
        return rc;
    do {
        quern_row row;
        size_t i = (*at)++;
        int go = quern__sqlite_row(w->s, &w->plan, w->read, keys[i], &arena, &row, err);
        if (go == 1 && (row.no_text || row.fault))
            go = 0;
        if (go == 1)
            go = still(&row, i, ud);
        if (go == 1)
            go = is_everywhere(w, row.key, revisions[i], err);
        rc = go < 0 ? go : QUERN_OK;
        if (go == 1)
            rc = strip_one(w, &row, revisions[i], &arena, err);
        stripped[i] = go == 1 && !rc;
        quern__arena_dispose(&arena);
    } while (!rc && *at < n && quern__now_ns() - began < (uint64_t)QUERN__SLICE_MS * 1000000);
    if (rc)
        quern__db_rollback(w->s->own);
    else
        rc = quern__db_commit(w->s->own, err);
    if (rc)
        memset(stripped + from, 0, *at - from);
    return rc;
}

int quern__sqlite_strip(void *self, const quern_read *read, const quern_str *keys,
                        const quern_str *revisions, size_t n, const char *const *keep,
                        size_t n_keep, int (*still)(const quern_row *row, size_t i, void *ud),
                        void *ud, uint8_t *stripped, quern_error *err)
{
    stripping w = {.s = self, .read = read, .keep = keep, .n_keep = n_keep};
    int64_t before = 0;
    size_t at = 0;
    memset(stripped, 0, n);
    quern__buf_init(&w.fields, LONGEST_FIELDS);
    int rc = quern__sqlite_plan_make(&w.plan, w.s, read, err);
    if (!rc && !w.plan.builtin)
        rc = quern__fail(err, QUERN_EINVAL, 0, "source '%s' has no documents of quern's own",
                         read->source->name);
    if (!rc)
        rc = quern__sqlite_source_id(w.s, read->source->name, &w.source, err);
    bool secure = !rc && (rc = quern__sqlite_secure_begin(w.s, &before, err)) == QUERN_OK;
    while (!rc && at < n)
        rc = strip_slice(&w, keys, revisions, n, still, ud, stripped, &at, err);
    if (secure)
        quern__sqlite_secure_end(w.s, before);
    quern__buf_dispose(&w.fields);
    quern__sqlite_plan_dispose(&w.plan);
    return rc;
}
