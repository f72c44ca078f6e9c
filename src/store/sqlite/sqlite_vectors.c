/*
 * sqlite_vectors.c — stamps, chunks and vectors. Ids of vectors are generation << 40 | number, given out from
 * the generation's counter and never twice: a ref that a search holds can go, but never become another chunk.
 * The generation's row counts its chunks, in the same transactions, so that nobody has to.
 */
#include "store/sqlite/sqlite_store.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"

enum { BLOCK_VECTORS = 512 };

static int copy_str(quern__arena *arena, quern_str from, quern_str *to, quern_error *err)
{
    char *copy = quern__arena_copy(arena, from.ptr ? from.ptr : "", from.len);
    if (!copy)
        return quern__fail_memory(err, from.len);
    *to = (quern_str){copy, from.len};
    return QUERN_OK;
}

/* STAMP from `at` on. */
#define STAMP "outcome, revision, reason, chunks, dropped_bytes, redo, created_ms, updated_ms"
static int read_stamp(quern__stmt *stmt, int at, quern__arena *arena, quern_stamp *out,
                      quern_error *err)
{
    out->outcome = (int)quern__db_get_int(stmt, at);
    out->chunks = (uint32_t)quern__db_get_int(stmt, at + 3);
    out->dropped_bytes = (uint64_t)quern__db_get_int(stmt, at + 4);
    out->redo = quern__db_get_int(stmt, at + 5) != 0;
    out->updated_ms = quern__db_get_int(stmt, at + 7);
    out->created_ms = quern__db_get_int(stmt, at + 6);
    if (out->created_ms == 0) /* from before migration 3 */
        out->created_ms = out->updated_ms;
    int rc = copy_str(arena, quern__db_get_text(stmt, at + 1), &out->revision, err);
    return rc ? rc : copy_str(arena, quern__db_get_text(stmt, at + 2), &out->reason, err);
}

int quern__sqlite_stamp(quern__sqlite *s, int64_t generation, quern_str key, quern__arena *arena,
                        quern_stamp *stamp, quern_error *err)
{
    quern__stmt *stmt;
    memset(stamp, 0, sizeof *stamp);
    int rc = quern__db_prepare(
        s->own, "SELECT " STAMP " FROM quern_stamps WHERE generation = ?1 AND key = ?2", &stmt,
        err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, generation);
    quern__db_bind_text(s->own, stmt, 2, key);
    rc = quern__db_step(s->own, stmt, err);
    if (rc == 1)
        rc = read_stamp(stmt, 0, arena, stamp, err);
    quern__db_finish(s->own, stmt);
    return rc;
}

/* A statement that takes a generation and a key. */
static int run_for_key(quern__sqlite *s, const char *sql, int64_t generation, quern_str key,
                       int64_t *changed, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(s->own, sql, &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, generation);
    quern__db_bind_text(s->own, stmt, 2, key);
    rc = quern__db_run(s->own, stmt, err);
    if (!rc && changed)
        *changed = quern__db_changes(s->own);
    return rc;
}

/* Chunks, vectors, words and kept text of a key go; *gone: how many chunks. */
static int drop_chunks(quern__sqlite *s, int64_t generation, quern_str key, bool texts,
                       int64_t *gone, quern_error *err)
{
    *gone = 0;
    int rc = texts ? quern__sqlite_text_drop(s, generation, key, err) : QUERN_OK;
    if (!rc)
        rc = run_for_key(s, "DELETE FROM quern_kept WHERE generation = ?1 AND key = ?2", generation,
                         key, NULL, err);
    if (!rc)
        rc = run_for_key(s,
                         "DELETE FROM quern_vectors WHERE id IN"
                         " (SELECT id FROM quern_chunks WHERE generation = ?1 AND key = ?2)",
                         generation, key, NULL, err);
    return rc ? rc
              : run_for_key(s, "DELETE FROM quern_chunks WHERE generation = ?1 AND key = ?2",
                            generation, key, gone, err);
}

/* ---- save ---- */

typedef struct saving {
    quern__sqlite *s;
    int64_t generation, next; /* number of the next vector */
    int64_t chunks;           /* change of the count */
    int64_t now_ms;           /* of the stamps that it makes */
    bool texts;               /* there is a text index */
    size_t width;
} saving;

static int begin_saving(saving *w, quern_error *err)
{
    char state[12];
    quern__stmt *stmt;
    int rc = quern__sqlite_generation_width(w->s, w->generation, &w->width, state, err);
    if (rc == QUERN_ENOTFOUND || (!rc && strcmp(state, "retired") == 0))
        return quern__fail(err, QUERN_EMISMATCH, w->generation,
                           "generation %" PRId64 " is no longer in use; nothing was saved",
                           w->generation);
    if (!rc)
        rc = quern__db_prepare(w->s->own, "SELECT next_vector FROM quern_generations WHERE id = ?1",
                               &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(w->s->own, stmt, 1, w->generation);
    rc = quern__db_step(w->s->own, stmt, err);
    if (rc == 1)
        w->next = quern__db_get_int(stmt, 0);
    quern__db_finish(w->s->own, stmt);
    return rc < 0 ? rc : quern__sqlite_text_there(w->s, &w->texts, err);
}

static int end_saving(saving *w, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        w->s->own,
        "UPDATE quern_generations SET next_vector = ?2, chunks = chunks + ?3 WHERE id = ?1", &stmt,
        err);
    if (rc)
        return rc;
    quern__db_bind_int(w->s->own, stmt, 1, w->generation);
    quern__db_bind_int(w->s->own, stmt, 2, w->next);
    quern__db_bind_int(w->s->own, stmt, 3, w->chunks);
    return quern__db_run(w->s->own, stmt, err);
}

static int put_chunk(saving *w, quern_str key, const quern_chunk *c, quern_error *err)
{
    quern__db *db = w->s->own;
    quern__stmt *stmt;
    if (w->next >> QUERN__VECTOR_BITS)
        return quern__fail(err, QUERN_EUNSUPPORTED, w->next,
                           "generation %" PRId64 " has used up its vector numbers", w->generation);
    int64_t id = w->generation << QUERN__VECTOR_BITS | w->next++;
    int rc =
        quern__db_prepare(db, "INSERT INTO quern_vectors (id, data) VALUES (?1, ?2)", &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(db, stmt, 1, id);
    quern__db_bind_blob(db, stmt, 2, c->vector, w->width);
    rc = quern__db_run(db, stmt, err);
    if (!rc)
        rc = quern__db_prepare(
            db,
            "INSERT INTO quern_chunks (id, generation, key, chunk, byte_start, byte_end, "
            "char_start,"
            " char_end, page, heading, asset) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, "
            "?11)",
            &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(db, stmt, 1, id);
    quern__db_bind_int(db, stmt, 2, w->generation);
    quern__db_bind_text(db, stmt, 3, key);
    quern__db_bind_int(db, stmt, 4, c->index);
    quern__db_bind_int(db, stmt, 5, (int64_t)c->start);
    quern__db_bind_int(db, stmt, 6, (int64_t)c->end);
    quern__db_bind_int(db, stmt, 7, (int64_t)c->char_start);
    quern__db_bind_int(db, stmt, 8, (int64_t)c->char_end);
    quern__db_bind_int(db, stmt, 9, c->page);
    quern__db_bind_text(db, stmt, 10, c->heading);
    quern__db_bind_text(db, stmt, 11, c->asset);
    return quern__db_run(db, stmt, err);
}

static int put_stamp(saving *w, const quern_save *doc, quern_error *err)
{
    quern__db *db = w->s->own;
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        db,
        "INSERT INTO quern_stamps (generation, key, outcome, revision, reason, chunks,"
        " dropped_bytes, updated_ms, created_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)"
        " ON CONFLICT (generation, key) DO UPDATE SET outcome = excluded.outcome,"
        " revision = excluded.revision, reason = excluded.reason, chunks = excluded.chunks,"
        " dropped_bytes = excluded.dropped_bytes, updated_ms = excluded.updated_ms, redo = 0",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(db, stmt, 1, w->generation);
    quern__db_bind_text(db, stmt, 2, doc->key);
    quern__db_bind_int(db, stmt, 3, doc->stamp.outcome);
    quern__db_bind_text(db, stmt, 4, doc->stamp.revision);
    quern__db_bind_text(db, stmt, 5, doc->stamp.reason);
    quern__db_bind_int(db, stmt, 6, doc->stamp.chunks);
    quern__db_bind_int(db, stmt, 7, (int64_t)doc->stamp.dropped_bytes);
    quern__db_bind_int(db, stmt, 8, w->now_ms);
    return quern__db_run(db, stmt, err);
}

static int save_one(saving *w, const quern_save *doc, quern_error *err)
{
    int64_t gone = 0;
    int rc = doc->text_only ? QUERN_OK
                            : drop_chunks(w->s, w->generation, doc->key, w->texts, &gone, err);
    if (!rc && doc->text.ptr)
        rc = quern__sqlite_kept_put(w->s, w->generation, doc, err);
    if (!rc && doc->words.ptr)
        rc = (doc->text_only ? quern__sqlite_text_replace
                             : quern__sqlite_text_put)(w->s, w->generation, doc, err);
    if (rc || doc->text_only)
        return rc;
    for (uint32_t i = 0; i < doc->stamp.chunks && !rc; i++)
        rc = put_chunk(w, doc->key, &doc->chunks[i], err);
    w->chunks += (int64_t)doc->stamp.chunks - gone;
    return rc ? rc : put_stamp(w, doc, err);
}

/* The document whose row has been found as it was, with its stamp columns where it has any. */
static int save_stamped(saving *w, quern__sqlite_plan *plan, const quern_read *read, size_t i,
                        const quern_save *given, const quern_row *row,
                        int (*still)(const quern_row *row, size_t i, void *ud), void *ud,
                        quern__arena *arena, quern_error *err)
{
    quern_save doc = *given;
    quern_row after;
    int64_t mark = 0;
    if (!doc.stamp_columns)
        return save_one(w, &doc, err);
    int rc = quern__sqlite_notes(w->s, &mark, err);
    if (!rc)
        rc =
            quern__sqlite_stamp_columns(w->s, plan, read, &doc, row, w->now_ms, arena, &after, err);
    if (rc)
        return rc;
    after.stamped = 1;
    int same = still(&after, i, ud);
    if (same < 0)
        return same;
    if (same == 1)
        rc = quern__sqlite_stamp_settle(w->s, plan, read, doc.key, given->stamp.revision,
                                        after.revision, mark, err);
    if (same == 1 && after.revision.len)
        doc.stamp.revision = after.revision;
    return rc ? rc : save_one(w, &doc, err);
}

int quern__sqlite_save(void *self, const quern_read *read, const quern_save *docs, size_t n,
                       int (*still)(const quern_row *row, size_t i, void *ud), void *ud,
                       uint8_t *stored, quern_error *err)
{
    saving w = {.s = self, .generation = read->generation, .now_ms = quern__wall_ms()};
    quern__sqlite_plan plan;
    quern__arena arena;
    quern__arena_init(&arena, 0);
    memset(stored, 0, n);
    for (size_t i = 0; i < n; i++)
        if (docs[i].stamp.outcome < QUERN_OUTCOME_OK ||
            docs[i].stamp.outcome > QUERN_OUTCOME_FAILED)
            return quern__blame(
                err,
                quern__fail(err, QUERN_EINVAL, docs[i].stamp.outcome, "a save without an outcome"),
                i);
    int rc = quern__db_begin(w.s->own, err);
    if (rc)
        return rc;
    rc = quern__sqlite_plan_make(&plan, w.s, read, err);
    if (!rc)
        rc = begin_saving(&w, err);
    for (size_t i = 0; i < n && !rc && !w.texts; i++)
        if (docs[i].words.ptr) {
            rc = quern__sqlite_text_make(w.s, err);
            w.texts = true;
        }
    for (size_t i = 0; i < n && !rc; i++) {
        quern_row row;
        int there = quern__sqlite_row(w.s, &plan, read, docs[i].key, &arena, &row, err);
        int go = there == 1 ? still(&row, i, ud) : there;
        if (go == 1 && docs[i].lease)
            go = quern__sqlite_task_held(w.s, read->source->name, docs[i].key, docs[i].lease, err);
        if (go == 1)
            rc = save_stamped(&w, &plan, read, i, &docs[i], &row, still, ud, &arena, err);
        else if (go < 0)
            rc = go;
        stored[i] = go == 1 && !rc;
        quern__arena_dispose(&arena);
    }
    if (!rc)
        rc = end_saving(&w, err);
    quern__sqlite_plan_dispose(&plan);
    if (rc)
        quern__db_rollback(w.s->own);
    else
        rc = quern__db_commit(w.s->own, err);
    if (rc)
        memset(stored, 0, n);
    return rc;
}

/* ---- erase ---- */

/* Stamps in retired generations too: nobody looks after those, and a new row of that key may well begin with the same
 * revision. Their vectors are orphans then, which a build that takes the generation up again removes. */
static int erase_one(saving *w, quern_str key, quern_error *err)
{
    int64_t gone = 0;
    int rc = drop_chunks(w->s, w->generation, key, w->texts, &gone, err);
    w->chunks -= gone;
    return rc ? rc
              : run_for_key(w->s,
                            "DELETE FROM quern_stamps WHERE key = ?2 AND generation IN"
                            " (SELECT ?1 UNION ALL SELECT b.id FROM quern_generations AS a"
                            " JOIN quern_generations AS b ON b.source = a.source"
                            " WHERE a.id = ?1 AND b.state = 'retired')",
                            w->generation, key, NULL, err);
}

/* One transaction from keys[*at] on, as long as a slice may take. */
static int erase_slice(saving *w, quern__sqlite_plan *plan, const quern_read *read,
                       const quern_str *keys, size_t n, size_t *at, uint64_t *removed,
                       quern_error *err)
{
    quern__arena arena;
    uint64_t began = quern__now_ns(), count = 0;
    quern__arena_init(&arena, 0);
    int rc = quern__db_begin(w->s->own, err);
    if (rc)
        return rc;
    w->chunks = 0;
    rc = begin_saving(w, err);
    while (!rc && *at < n && quern__now_ns() - began < (uint64_t)QUERN__SLICE_MS * 1000000) {
        quern_row row;
        int there = quern__sqlite_row(w->s, plan, read, keys[*at], &arena, &row, err);
        rc = there < 0 ? there : there == 0 ? erase_one(w, keys[*at], err) : QUERN_OK;
        if (!rc && there == 0)
            rc = quern__sqlite_task_forget(w->s, read->source->name, keys[*at], err);
        count += there == 0;
        ++*at;
        quern__arena_dispose(&arena);
    }
    if (!rc)
        rc = end_saving(w, err);
    if (rc)
        quern__db_rollback(w->s->own);
    else
        rc = quern__db_commit(w->s->own, err);
    *removed += rc ? 0 : count;
    return rc;
}

int quern__sqlite_erase(void *self, const quern_read *read, const quern_str *keys, size_t n,
                        uint64_t *removed, quern_error *err)
{
    saving w = {.s = self, .generation = read->generation};
    quern__sqlite_plan plan;
    size_t at = 0;
    *removed = 0;
    int rc = quern__sqlite_plan_make(&plan, w.s, read, err);
    while (!rc && at < n)
        rc = erase_slice(&w, &plan, read, keys, n, &at, removed, err);
    quern__sqlite_plan_dispose(&plan);
    return rc;
}

/* ---- reading ---- */

int quern__sqlite_stamps(void *self, int64_t generation, quern_str after, size_t limit,
                         int (*fn)(quern_str key, const quern_stamp *stamp, void *ud), void *ud,
                         quern_error *err)
{
    typedef struct stamp_row {
        quern_str key;
        quern_stamp stamp;
    } stamp_row;
    enum { PAGE = 1024 };
    quern__sqlite *s = self;
    quern__stmt *stmt;
    quern__arena arena;
    quern__arena_init(&arena, 0);
    stamp_row *rows = quern__alloc_array(QUERN__MIN(limit, (size_t)PAGE) + 1, sizeof *rows);
    int rc = rows ? QUERN_OK : quern__fail_memory(err, PAGE * sizeof *rows);
    char *last = NULL; /* a copy: the arena goes with each page */
    while (!rc && limit) {
        size_t n = 0, want = QUERN__MIN(limit, (size_t)PAGE);
        rc = quern__db_prepare(s->own,
                               "SELECT key, " STAMP " FROM quern_stamps"
                               " WHERE generation = ?1 AND key > ?2 ORDER BY key LIMIT ?3",
                               &stmt, err);
        if (rc)
            break;
        quern__db_bind_int(s->own, stmt, 1, generation);
        quern__db_bind_text(s->own, stmt, 2, after);
        quern__db_bind_int(s->own, stmt, 3, (int64_t)want);
        while (!rc && n < want && (rc = quern__db_step(s->own, stmt, err)) == 1) {
            rc = copy_str(&arena, quern__db_get_text(stmt, 0), &rows[n].key, err);
            if (!rc)
                rc = read_stamp(stmt, 1, &arena, &rows[n].stamp, err);
            n += !rc;
        }
        quern__db_finish(s->own, stmt);
        for (size_t i = 0; i < n && !rc; i++)
            rc = fn(rows[i].key, &rows[i].stamp, ud);
        if (rc || n < want)
            break;
        limit -= n;
        quern__free(last);
        last = quern__strndup(rows[n - 1].key.ptr, rows[n - 1].key.len);
        if (!last)
            rc = quern__fail_memory(err, rows[n - 1].key.len);
        after = (quern_str){last, rows[n - 1].key.len};
        quern__arena_dispose(&arena);
    }
    quern__free(last);
    quern__free(rows);
    quern__arena_dispose(&arena);
    return rc;
}

/* Up to a block from *from on; *from moves behind the last. */
static int read_block(quern__sqlite *s, int64_t *from, int64_t end, size_t width, int64_t *refs,
                      char *data, size_t *n, quern_error *err)
{
    quern__stmt *stmt;
    *n = 0;
    int rc = quern__db_prepare(
        s->own,
        "SELECT id, data FROM quern_vectors WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3", &stmt,
        err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, *from);
    quern__db_bind_int(s->own, stmt, 2, end);
    quern__db_bind_int(s->own, stmt, 3, BLOCK_VECTORS);
    while (*n < BLOCK_VECTORS && (rc = quern__db_step(s->own, stmt, err)) == 1) {
        quern_str v = quern__db_get_blob(stmt, 1);
        refs[*n] = quern__db_get_int(stmt, 0);
        if (v.len != width) {
            rc = quern__fail(err, QUERN_EFORMAT, refs[*n],
                             "stored vector %" PRId64 " has %zu bytes, not %zu: damaged", refs[*n],
                             v.len, width);
            break;
        }
        memcpy(data + *n * width, v.ptr, width);
        ++*n;
    }
    quern__db_finish(s->own, stmt);
    if (*n)
        *from = refs[*n - 1] + 1;
    return rc < 0 ? rc : QUERN_OK;
}

int quern__sqlite_tally(void *self, int64_t generation, quern_tally *out, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    memset(out, 0, sizeof *out);
    int rc =
        quern__db_prepare(s->own,
                          "SELECT outcome, count(*), sum(chunks) FROM quern_stamps"
                          " WHERE generation = ?1 GROUP BY outcome UNION ALL"
                          " SELECT 0, count(*), 0 FROM quern_vectors WHERE id >= ?2 AND id < ?3",
                          &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, generation);
    quern__db_bind_int(s->own, stmt, 2, generation << QUERN__VECTOR_BITS);
    quern__db_bind_int(s->own, stmt, 3, (generation + 1) << QUERN__VECTOR_BITS);
    while ((rc = quern__db_step(s->own, stmt, err)) == 1) {
        uint64_t n = (uint64_t)quern__db_get_int(stmt, 1);
        int64_t outcome = quern__db_get_int(stmt, 0);
        *(outcome == QUERN_OUTCOME_OK       ? &out->ok
          : outcome == QUERN_OUTCOME_EMPTY  ? &out->empty
          : outcome == QUERN_OUTCOME_FAILED ? &out->failed
                                            : &out->vectors) = n;
        out->chunks += (uint64_t)quern__db_get_int(stmt, 2);
    }
    quern__db_finish(s->own, stmt);
    return rc;
}

int quern__sqlite_vectors(void *self, int64_t generation, quern_block_fn fn, void *ud,
                          quern_error *err)
{
    quern__sqlite *s = self;
    size_t width = 0, n = BLOCK_VECTORS;
    int rc = quern__sqlite_generation_width(s, generation, &width, NULL, err);
    /* Mapped, every vector is page faults in runs instead of a call and a copy a page. Not done at open: who only
     * writes would hold the pages that he has touched; and not on a connection that somebody else has set up. */
    if (!rc && !quern__db_is_borrowed(s->own))
        rc = quern__db_exec(s->own, "PRAGMA mmap_size = 1073741824", err);
    if (rc)
        return rc;
    int64_t from = generation << QUERN__VECTOR_BITS, end = (generation + 1) << QUERN__VECTOR_BITS;
    int64_t *refs = quern__alloc_array(BLOCK_VECTORS, sizeof *refs);
    char *data = quern__alloc_array(BLOCK_VECTORS, width);
    if (!refs || !data)
        rc = quern__fail_memory(err, BLOCK_VECTORS * width);
    while (!rc && n == BLOCK_VECTORS) {
        rc = read_block(s, &from, end, width, refs, data, &n, err);
        if (!rc && n)
            rc = fn(refs, data, n, ud);
    }
    quern__free(refs);
    quern__free(data);
    return rc;
}

int quern__sqlite_resolve(void *self, int64_t generation, const int64_t *refs, size_t n,
                          quern_chunk_ref_fn fn, void *ud, quern_error *err)
{
    quern__sqlite *s = self;
    quern__arena arena;
    quern__arena_init(&arena, 0);
    int rc = QUERN_OK;
    for (size_t i = 0; i < n && !rc; i++) {
        quern__stmt *stmt;
        quern_chunk_ref c = {.ref = refs[i]};
        rc = quern__db_prepare(s->own,
                               "SELECT key, chunk, byte_start, byte_end, page, heading, asset"
                               " FROM quern_chunks WHERE id = ?1 AND generation = ?2",
                               &stmt, err);
        if (rc)
            break;
        quern__db_bind_int(s->own, stmt, 1, refs[i]);
        quern__db_bind_int(s->own, stmt, 2, generation);
        rc = quern__db_step(s->own, stmt, err);
        bool found = rc == 1;
        if (found) {
            c.index = (uint32_t)quern__db_get_int(stmt, 1);
            c.start = (uint64_t)quern__db_get_int(stmt, 2);
            c.end = (uint64_t)quern__db_get_int(stmt, 3);
            c.page = (uint32_t)quern__db_get_int(stmt, 4);
            rc = copy_str(&arena, quern__db_get_text(stmt, 0), &c.key, err);
            if (!rc)
                rc = copy_str(&arena, quern__db_get_text(stmt, 5), &c.heading, err);
            if (!rc)
                rc = copy_str(&arena, quern__db_get_text(stmt, 6), &c.asset, err);
        }
        quern__db_finish(s->own, stmt);
        if (!rc && found)
            rc = fn(&c, ud);
        quern__arena_dispose(&arena);
    }
    return rc;
}

int quern__sqlite_chunks(void *self, int64_t generation, quern_str key,
                         int (*fn)(const quern_chunk *c, void *ud), void *ud, quern_error *err)
{
    quern__sqlite *s = self;
    quern__arena arena;
    quern__stmt *stmt = NULL;
    quern_chunk *chunks = NULL;
    size_t n = 0, room = 0, width = 0;
    quern__arena_init(&arena, 0);
    int rc = quern__sqlite_generation_width(s, generation, &width, NULL, err);
    if (!rc)
        rc = quern__db_prepare(
            s->own,
            "SELECT c.chunk, c.byte_start, c.byte_end, c.char_start, c.char_end, v.data,"
            " c.page, c.heading, c.asset"
            " FROM quern_chunks AS c JOIN quern_vectors AS v ON v.id = c.id"
            " WHERE c.generation = ?1 AND c.key = ?2 ORDER BY c.chunk",
            &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, generation);
    quern__db_bind_text(s->own, stmt, 2, key);
    while (!rc && (rc = quern__db_step(s->own, stmt, err)) == 1) {
        if (n == room) {
            room = room ? 2 * room : 16;
            quern_chunk *more = quern__resize_array(chunks, room, sizeof *chunks);
            if (!more) {
                rc = quern__fail_memory(err, room * sizeof *chunks);
                break;
            }
            chunks = more;
        }
        quern_str v = quern__db_get_blob(stmt, 5);
        chunks[n] = (quern_chunk){.index = (uint32_t)quern__db_get_int(stmt, 0),
                                  .start = (uint64_t)quern__db_get_int(stmt, 1),
                                  .end = (uint64_t)quern__db_get_int(stmt, 2),
                                  .char_start = (uint64_t)quern__db_get_int(stmt, 3),
                                  .char_end = (uint64_t)quern__db_get_int(stmt, 4),
                                  .page = (uint32_t)quern__db_get_int(stmt, 6)};
        if (v.len != width)
            rc = quern__fail(err, QUERN_EFORMAT, (int64_t)v.len,
                             "a stored vector has %zu bytes, not %zu: damaged", v.len, width);
        else
            rc = copy_str(&arena, v, &v, err);
        if (!rc)
            rc = copy_str(&arena, quern__db_get_text(stmt, 7), &chunks[n].heading, err);
        if (!rc)
            rc = copy_str(&arena, quern__db_get_text(stmt, 8), &chunks[n].asset, err);
        chunks[n].vector = v.ptr;
        n += !rc;
    }
    quern__db_finish(s->own, stmt);
    for (size_t i = 0; i < n && !rc; i++)
        rc = fn(&chunks[i], ud);
    quern__free(chunks);
    quern__arena_dispose(&arena);
    return rc;
}
