/*
 * sqlite_kept.c — the texts of documents whose source keeps them, a row a document and generation, in the transactions of
 * its stamp.
 */
#include "store/sqlite/sqlite_store.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/os.h"
#include "store/row_key.h"

enum { SLICE_BYTES = 1 << 20 /* of texts that are removed in one transaction */ };

int quern__sqlite_kept_put(quern__sqlite *s, int64_t generation, const quern_save *doc,
                           quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        s->own,
        "INSERT INTO quern_kept (generation, key, revision, body) VALUES (?1, ?2, ?3, ?4)"
        " ON CONFLICT (generation, key) DO UPDATE SET revision = excluded.revision,"
        " body = excluded.body",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, generation);
    quern__db_bind_text(s->own, stmt, 2, doc->key);
    quern__db_bind_text(s->own, stmt, 3, doc->stamp.revision);
    quern__db_bind_text(s->own, stmt, 4, doc->text);
    return quern__db_run(s->own, stmt, err);
}

int quern__sqlite_kept_each(void *self, int64_t generation, const quern_str *keys, size_t n,
                            int (*fn)(quern_str key, quern_str revision, quern_str text, void *ud),
                            void *ud, quern_error *err)
{
    quern__sqlite *s = self;
    quern__arena arena;
    int rc = QUERN_OK;
    quern__arena_init(&arena, 0);
    for (size_t i = 0; i < n && !rc; i++) {
        quern__stmt *stmt;
        quern_str revision, text;
        rc = quern__db_prepare(
            s->own, "SELECT revision, body FROM quern_kept WHERE generation = ?1 AND key = ?2",
            &stmt, err);
        if (rc)
            break;
        quern__db_bind_int(s->own, stmt, 1, generation);
        quern__db_bind_text(s->own, stmt, 2, keys[i]);
        bool found = (rc = quern__db_step(s->own, stmt, err)) == 1;
        if (found)
            rc = quern__copy_str(&arena, quern__db_get_text(stmt, 0), &revision, err);
        if (found && !rc)
            rc = quern__copy_str(&arena, quern__db_get_text(stmt, 1), &text, err);
        quern__db_finish(s->own, stmt);
        if (found && !rc)
            rc = fn(keys[i], revision, text, ud);
        quern__arena_dispose(&arena);
    }
    return rc;
}

int quern__sqlite_kept_size(void *self, int64_t generation, uint64_t *documents, uint64_t *bytes,
                            quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    *documents = *bytes = 0;
    int rc = quern__db_prepare(s->own,
                               "SELECT count(*), coalesce(sum(length(CAST(body AS BLOB))), 0)"
                               " FROM quern_kept WHERE generation = ?1",
                               &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, generation);
    rc = quern__db_step(s->own, stmt, err);
    if (rc == 1) {
        *documents = (uint64_t)quern__db_get_int(stmt, 0);
        *bytes = (uint64_t)quern__db_get_int(stmt, 1);
    }
    quern__db_finish(s->own, stmt);
    return rc < 0 ? rc : QUERN_OK;
}

/* One by one, because one may be as large as a document: until the time of a slice is over, or so much that its commit
 * would take as long. */
int quern__sqlite_kept_some(quern__sqlite *s, int64_t generation, uint64_t began, int64_t *went,
                            quern_error *err)
{
    int rc = 1;
    int64_t bytes = 0;
    *went = 0;
    do {
        quern__stmt *stmt;
        rc = quern__db_prepare(s->own,
                               "DELETE FROM quern_kept WHERE rowid = (SELECT rowid FROM quern_kept"
                               " WHERE generation = ?1 LIMIT 1)"
                               " RETURNING length(CAST(body AS BLOB))",
                               &stmt, err);
        if (rc)
            break;
        quern__db_bind_int(s->own, stmt, 1, generation);
        rc = quern__db_step(s->own, stmt, err);
        bytes += rc == 1 ? quern__db_get_int(stmt, 0) : 0;
        *went += rc == 1;
        quern__db_finish(s->own, stmt);
    } while (rc == 1 && bytes < SLICE_BYTES &&
             quern__now_ns() - began < (uint64_t)QUERN__SLICE_MS * 1000000);
    return rc < 0 ? rc : QUERN_OK;
}

/* Bytes that go are overwritten between the two. Whose connection it is has his own mind about that: `before` is his. */
int quern__sqlite_secure_begin(quern__sqlite *s, int64_t *before, quern_error *err)
{
    *before = 0;
    int rc = quern__db_int(s->own, "PRAGMA secure_delete", before, err);
    return rc < 0 ? rc : quern__db_exec(s->own, "PRAGMA secure_delete = 1", err);
}

void quern__sqlite_secure_end(quern__sqlite *s, int64_t before)
{
    char restore[48];
    snprintf(restore, sizeof restore, "PRAGMA secure_delete = %s",
             before == 2   ? "FAST"
             : before == 1 ? "1"
                           : "0");
    quern__db_exec(s->own, restore, NULL);
}

int quern__sqlite_kept_drop(void *self, int64_t generation, int *more, quern_error *err)
{
    quern__sqlite *s = self;
    int64_t went = 0, before;
    *more = 0;
    int rc = quern__sqlite_secure_begin(s, &before, err);
    if (rc)
        return rc;
    uint64_t began = quern__now_ns();
    rc = quern__db_begin(s->own, err);
    if (!rc) {
        rc = quern__sqlite_kept_some(s, generation, began, &went, err);
        if (!rc)
            rc = quern__db_commit(s->own, err);
        else
            quern__db_rollback(s->own);
    }
    *more = !rc && went > 0;
    quern__sqlite_secure_end(s, before);
    return rc;
}
