/*
 * sqlite_text.c — the text index: one FTS5 table for all generations, because a virtual table costs five others; rows of a
 * generation are a range of rowids. Words come ready made, so the `ascii` tokenizer, for which everything above ASCII is
 * a letter, cuts them just where they were cut before. Ranks are bm25, whose statistics are of all rows of the table.
 * The table is made by the first save that has words: a file without text search never has it.
 */
#include "store/sqlite/sqlite_store.h"

#include <inttypes.h>

#include "base/alloc.h"

enum { QUERY_BYTES = 64 * 1024 };

int quern__sqlite_text_there(quern__sqlite *s, bool *there, quern_error *err)
{
    int64_t one = 0;
    int rc = quern__db_int(
        s->own, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'quern_text'", &one,
        err);
    *there = rc == 1;
    return rc < 0 ? rc : QUERN_OK;
}

static int run_for(quern__sqlite *s, const char *sql, int64_t generation, quern_str key,
                   quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(s->own, sql, &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, generation);
    quern__db_bind_text(s->own, stmt, 2, key);
    return quern__db_run(s->own, stmt, err);
}

int quern__sqlite_text_drop(quern__sqlite *s, int64_t generation, quern_str key, quern_error *err)
{
    int rc = run_for(s,
                     "DELETE FROM quern_text WHERE rowid ="
                     " (SELECT id FROM quern_texts WHERE generation = ?1 AND key = ?2)",
                     generation, key, err);
    return rc ? rc
              : run_for(s, "DELETE FROM quern_texts WHERE generation = ?1 AND key = ?2", generation,
                        key, err);
}

/* The next number: one more than the largest there is. Nobody keeps one, so that it may be used again. */
static int next_id(quern__sqlite *s, int64_t generation, int64_t *id, quern_error *err)
{
    quern__stmt *stmt;
    int64_t first = generation << QUERN__VECTOR_BITS, end = (generation + 1) << QUERN__VECTOR_BITS;
    *id = first;
    int rc = quern__db_prepare(
        s->own, "SELECT id FROM quern_texts WHERE id >= ?1 AND id < ?2 ORDER BY id DESC LIMIT 1",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, first);
    quern__db_bind_int(s->own, stmt, 2, end);
    rc = quern__db_step(s->own, stmt, err);
    if (rc == 1)
        *id = quern__db_get_int(stmt, 0) + 1;
    quern__db_finish(s->own, stmt);
    if (rc == 1 && *id >= end)
        return quern__fail(err, QUERN_EUNSUPPORTED, *id,
                           "generation %" PRId64 " has used up its text numbers", generation);
    return rc < 0 ? rc : QUERN_OK;
}

int quern__sqlite_text_put(quern__sqlite *s, int64_t generation, const quern_save *doc,
                           quern_error *err)
{
    quern__stmt *stmt;
    int64_t id = 0;
    int rc = next_id(s, generation, &id, err);
    if (!rc)
        rc = quern__db_prepare(
            s->own,
            "INSERT INTO quern_texts (id, generation, key, revision) VALUES (?1, ?2, ?3, ?4)",
            &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, id);
    quern__db_bind_int(s->own, stmt, 2, generation);
    quern__db_bind_text(s->own, stmt, 3, doc->key);
    quern__db_bind_text(s->own, stmt, 4, doc->stamp.revision);
    rc = quern__db_run(s->own, stmt, err);
    if (!rc)
        rc = quern__db_prepare(s->own, "INSERT INTO quern_text (rowid, words) VALUES (?1, ?2)",
                               &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, id);
    quern__db_bind_text(s->own, stmt, 2, doc->words);
    return quern__db_run(s->own, stmt, err);
}

/* Unless the words of this revision are there. */
int quern__sqlite_text_replace(quern__sqlite *s, int64_t generation, const quern_save *doc,
                               quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        s->own, "SELECT 1 FROM quern_texts WHERE generation = ?1 AND key = ?2 AND revision = ?3",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, generation);
    quern__db_bind_text(s->own, stmt, 2, doc->key);
    quern__db_bind_text(s->own, stmt, 3, doc->stamp.revision);
    rc = quern__db_step(s->own, stmt, err);
    quern__db_finish(s->own, stmt);
    if (rc)
        return rc < 0 ? rc : QUERN_OK;
    rc = quern__sqlite_text_drop(s, generation, doc->key, err);
    return rc ? rc : quern__sqlite_text_put(s, generation, doc, err);
}

int quern__sqlite_text_make(quern__sqlite *s, quern_error *err)
{
    return quern__db_exec(
        s->own,
        "CREATE VIRTUAL TABLE IF NOT EXISTS quern_text USING fts5 (words, tokenize ="
        " 'ascii')",
        err);
}

int quern__sqlite_text_count(void *self, int64_t generation, uint64_t *documents, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    *documents = 0;
    int rc = quern__db_prepare(s->own, "SELECT count(*) FROM quern_texts WHERE generation = ?1",
                               &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, generation);
    rc = quern__db_step(s->own, stmt, err);
    if (rc == 1)
        *documents = (uint64_t)quern__db_get_int(stmt, 0);
    quern__db_finish(s->own, stmt);
    return rc < 0 ? rc : QUERN_OK;
}

/* ---- find ---- */

typedef struct text_row {
    quern_str key, revision;
    double score;
} text_row;

static int copy_str(quern__arena *arena, quern_str from, quern_str *to, quern_error *err)
{
    char *copy = quern__arena_copy(arena, from.ptr ? from.ptr : "", from.len);
    *to = (quern_str){copy, from.len};
    return copy ? QUERN_OK : quern__fail_memory(err, from.len);
}

/* Every word is a string of FTS5's: nothing in it is an operator. */
static int put_query(const quern_str *words, size_t n, quern__buf *out, quern_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (i)
            quern__buf_puts(out, " OR ");
        quern__buf_putc(out, '"');
        for (size_t k = 0; k < words[i].len; k++)
            if (words[i].ptr[k] == '"')
                quern__buf_puts(out, "\"\"");
            else
                quern__buf_putc(out, words[i].ptr[k]);
        quern__buf_putc(out, '"');
    }
    return quern__buf_ok(out, "a text query", err);
}

static int read_rows(quern__sqlite *s, int64_t generation, const quern__buf *query, size_t k,
                     quern__arena *arena, text_row *rows, size_t *n, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        s->own,
        "SELECT t.key, t.revision, bm25(quern_text) AS rank FROM quern_text"
        " JOIN quern_texts AS t ON t.id = quern_text.rowid WHERE quern_text MATCH ?1"
        " AND quern_text.rowid >= ?2 AND quern_text.rowid < ?3 ORDER BY rank, t.key LIMIT ?4",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(s->own, stmt, 1, (quern_str){query->data, query->len});
    quern__db_bind_int(s->own, stmt, 2, generation << QUERN__VECTOR_BITS);
    quern__db_bind_int(s->own, stmt, 3, (generation + 1) << QUERN__VECTOR_BITS);
    quern__db_bind_int(s->own, stmt, 4, (int64_t)k);
    while (*n < k && (rc = quern__db_step(s->own, stmt, err)) == 1) {
        rc = copy_str(arena, quern__db_get_text(stmt, 0), &rows[*n].key, err);
        if (!rc)
            rc = copy_str(arena, quern__db_get_text(stmt, 1), &rows[*n].revision, err);
        if (rc)
            break;
        rows[*n].score = -quern__db_get_real(stmt, 2);
        ++*n;
    }
    quern__db_finish(s->own, stmt);
    return rc < 0 ? rc : QUERN_OK;
}

int quern__sqlite_text_find(void *self, int64_t generation, const quern_str *words, size_t n,
                            size_t k,
                            int (*fn)(quern_str key, quern_str revision, double score, void *ud),
                            void *ud, quern_error *err)
{
    quern__sqlite *s = self;
    quern__arena arena;
    quern__buf query;
    bool there = false;
    size_t found = 0;
    int rc = quern__sqlite_text_there(s, &there, err);
    if (rc || !there || n == 0 || k == 0)
        return rc;
    quern__arena_init(&arena, 0);
    quern__buf_init(&query, QUERY_BYTES);
    text_row *rows = quern__alloc_array(k, sizeof *rows);
    rc = rows ? put_query(words, n, &query, err) : quern__fail_memory(err, k * sizeof *rows);
    if (!rc)
        rc = read_rows(s, generation, &query, k, &arena, rows, &found, err);
    for (size_t i = 0; i < found && !rc; i++)
        rc = fn(rows[i].key, rows[i].revision, rows[i].score, ud);
    quern__free(rows);
    quern__buf_dispose(&query);
    quern__arena_dispose(&arena);
    return rc;
}
