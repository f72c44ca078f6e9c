/*
 * sqlite_forget.c — built-in documents and words about them go for good. SQLite leaves the bytes of what it deletes in the
 * file until something else is written there, so they are overwritten (secure_delete), also those of what is erased behind
 * this call on the same connection, and the write-ahead log is cut.
 */
#include "store/sqlite/sqlite_store.h"

#include "base/alloc.h"

enum { KEY_VALUES = 16 };

static int run_for(quern__sqlite *s, const char *sql, const char *source, quern_str id,
                   uint64_t *changed, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(s->own, sql, &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->own, stmt, 1, quern_str_of(source));
    if (id.ptr)
        quern__db_bind_text(s->own, stmt, 2, id);
    rc = quern__db_run(s->own, stmt, err);
    if (!rc && changed)
        *changed += (uint64_t)quern__db_changes(s->own);
    return rc;
}

static int forget_document(quern__sqlite *s, const char *source, quern_str key, uint64_t *documents,
                           quern_error *err)
{
    quern_value values[KEY_VALUES];
    char *storage = NULL;
    size_t n = 0;
    int rc = quern_key_decode(key, values, KEY_VALUES, &n, &storage, err);
    if (!rc && n == 1 && values[0].type == QUERN_VALUE_TEXT)
        rc = run_for(s,
                     "DELETE FROM quern_documents WHERE id = ?2 AND source ="
                     " (SELECT id FROM quern_sources WHERE name = ?1 AND dropped = 0)",
                     source, values[0].bytes, documents, err);
    quern_free(storage);
    return rc;
}

int quern__sqlite_forget(void *self, const char *source, const quern_str *keys, size_t n,
                         uint64_t *documents, quern_error *err)
{
    quern__sqlite *s = self;
    *documents = 0;
    int rc = quern__db_exec(s->own, "PRAGMA secure_delete = 1", err);
    if (!rc)
        rc = quern__db_begin(s->own, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < n && !rc; i++)
        rc = forget_document(s, source, keys[i], documents, err);
    if (!rc)
        rc = run_for(s,
                     "UPDATE quern_runs SET error = '' WHERE error <> '' AND source ="
                     " (SELECT id FROM quern_sources WHERE name = ?1 AND dropped = 0)",
                     source, quern_str_of(NULL), NULL, err);
    if (!rc)
        return quern__db_commit(s->own, err);
    quern__db_rollback(s->own);
    return rc;
}
