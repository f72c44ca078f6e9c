/*
 * sqlite_stage.c — built-in documents on their way in. A batch is staged and checked as a whole, then published
 * in slices: 1. staged rows into quern_documents, what is the same is not written; 2. documents of the batch's
 * inputs that it does not hold are removed or counted; 3. the staged rows go. A crash between slices leaves
 * part of the batch published and the rest to the next `add`, which finds the published part unchanged.
 */
#include "store/sqlite/sqlite_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "base/sha256.h"
#include "store/row_key.h"

enum { PHASE_DOCUMENTS, PHASE_GONE, PHASE_CLEAN };

typedef struct batch {
    quern__sqlite *s;
    int64_t id, source, phase, place; /* place: the last row of the phase that is done */
    const char *roots;
    int sync;
    quern_publish_report *report;
} batch;

static int load(batch *b, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        b->s->own, "SELECT source, phase, place FROM quern_batches WHERE id = ?1", &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(b->s->own, stmt, 1, b->id);
    rc = quern__db_step(b->s->own, stmt, err);
    if (rc == 1) {
        b->source = quern__db_get_int(stmt, 0);
        b->phase = quern__db_get_int(stmt, 1);
        b->place = quern__db_get_int(stmt, 2);
    }
    quern__db_finish(b->s->own, stmt);
    if (rc == 0)
        return quern__fail(err, QUERN_EMISMATCH, b->id,
                           "batch %" PRId64 " is gone: another add to the same source began",
                           b->id);
    return rc < 0 ? rc : QUERN_OK;
}

static int store_place(batch *b, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        b->s->own, "UPDATE quern_batches SET phase = ?2, place = ?3 WHERE id = ?1", &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(b->s->own, stmt, 1, b->id);
    quern__db_bind_int(b->s->own, stmt, 2, b->phase);
    quern__db_bind_int(b->s->own, stmt, 3, b->place);
    return quern__db_run(b->s->own, stmt, err);
}

/* ---- begin and drop ---- */

int quern__sqlite_stage_drop(void *self, int64_t id, quern_error *err)
{
    quern__sqlite *s = self;
    int64_t went = 1;
    int rc = QUERN_OK;
    while (!rc && went) {
        quern__stmt *stmt;
        uint64_t began = quern__now_ns();
        rc = quern__db_begin(s->own, err);
        if (rc)
            return rc;
        do {
            rc = quern__db_prepare(s->own,
                                   "DELETE FROM quern_staging WHERE row IN"
                                   " (SELECT row FROM quern_staging WHERE batch = ?1 LIMIT 200)",
                                   &stmt, err);
            if (rc)
                break;
            quern__db_bind_int(s->own, stmt, 1, id);
            rc = quern__db_run(s->own, stmt, err);
            went = rc ? 0 : quern__db_changes(s->own);
        } while (!rc && went && quern__now_ns() - began < (uint64_t)QUERN__SLICE_MS * 1000000);
        if (!rc && !went)
            rc = quern__db_prepare(s->own, "DELETE FROM quern_batches WHERE id = ?1", &stmt, err);
        if (!rc && !went) {
            quern__db_bind_int(s->own, stmt, 1, id);
            rc = quern__db_run(s->own, stmt, err);
        }
        if (rc)
            quern__db_rollback(s->own);
        else
            rc = quern__db_commit(s->own, err);
    }
    return rc;
}

int quern__sqlite_stage_begin(void *self, const char *source, int64_t *id, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    int64_t source_id = 0, old;
    *id = 0;
    int rc = quern__sqlite_source_id(s, source, &source_id, err);
    do { /* batches that a crash left behind */
        old = 0;
        if (!rc)
            rc = quern__db_prepare(s->own, "SELECT id FROM quern_batches WHERE source = ?1", &stmt,
                                   err);
        if (rc)
            return rc;
        quern__db_bind_int(s->own, stmt, 1, source_id);
        rc = quern__db_step(s->own, stmt, err);
        if (rc == 1)
            old = quern__db_get_int(stmt, 0);
        quern__db_finish(s->own, stmt);
        rc = rc < 0 ? rc : old ? quern__sqlite_stage_drop(self, old, err) : QUERN_OK;
    } while (!rc && old);
    if (!rc) /* a number of its own: the batch of an add that was pushed aside must not meet ours */
        rc = quern__db_prepare(s->own, "INSERT INTO quern_batches (id, source) VALUES (?1, ?2)",
                               &stmt, err);
    if (rc)
        return rc;
    *id = (int64_t)(quern__os_entropy() >> 1 | 1);
    quern__db_bind_int(s->own, stmt, 1, *id);
    quern__db_bind_int(s->own, stmt, 2, source_id);
    return quern__db_run(s->own, stmt, err);
}

/* ---- put ---- */

/* A document that is a whole file has no line. */
static void line_text(uint64_t line, char out[32])
{
    out[0] = '\0';
    if (line)
        snprintf(out, 32, " line %" PRIu64, line);
}

/* Where an id was staged before, for the message. */
static int staged_twice(quern__sqlite *s, int64_t id, const quern_document *d, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        s->own, "SELECT origin, line FROM quern_staging WHERE batch = ?1 AND id = ?2", &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, id);
    quern__db_bind_text(s->own, stmt, 2, d->id);
    rc = quern__db_step(s->own, stmt, err);
    if (rc == 1) {
        quern_str origin = quern__db_get_text(stmt, 0);
        char first[32], second[32];
        line_text((uint64_t)quern__db_get_int(stmt, 1), first);
        line_text(d->line, second);
        rc = quern__fail(err, QUERN_EEXISTS, (int64_t)d->line,
                         "document '%.*s' is given twice: %.*s%s and %.*s%s",
                         (int)(d->id.len < 100 ? d->id.len : 100), d->id.ptr, (int)origin.len,
                         origin.ptr ? origin.ptr : "", first, (int)d->origin.len,
                         d->origin.ptr ? d->origin.ptr : "", second);
    }
    quern__db_finish(s->own, stmt);
    return rc ? rc : quern__fail(err, QUERN_EINTERNAL, 0, "a staged document is gone");
}

/* Is what was staged under this id the same document? */
static int staged_same(quern__sqlite *s, int64_t id, const quern_document *d, bool *same,
                       quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(s->own,
                               "SELECT 1 FROM quern_staging"
                               " WHERE batch = ?1 AND id = ?2 AND fields = ?3",
                               &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, id);
    quern__db_bind_text(s->own, stmt, 2, d->id);
    quern__db_bind_text(s->own, stmt, 3, d->fields);
    rc = quern__db_step(s->own, stmt, err);
    *same = rc == 1;
    quern__db_finish(s->own, stmt);
    return rc < 0 ? rc : QUERN_OK;
}

static int put_one(quern__sqlite *s, int64_t id, const quern_document *d, uint64_t *duplicates,
                   quern_error *err)
{
    quern__stmt *stmt;
    int rc =
        quern__db_prepare(s->own,
                          "INSERT OR IGNORE INTO quern_staging (batch, id, fields, origin, line)"
                          " VALUES (?1, ?2, ?3, ?4, ?5)",
                          &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(s->own, stmt, 1, id);
    quern__db_bind_text(s->own, stmt, 2, d->id);
    quern__db_bind_text(s->own, stmt, 3, d->fields);
    quern__db_bind_text(s->own, stmt, 4, d->origin);
    quern__db_bind_int(s->own, stmt, 5, (int64_t)d->line);
    rc = quern__db_run(s->own, stmt, err);
    if (rc || quern__db_changes(s->own))
        return rc;
    bool same = false;
    if (d->derived_id)
        rc = staged_same(s, id, d, &same, err);
    if (rc || !same)
        return rc ? rc : staged_twice(s, id, d, err);
    ++*duplicates;
    return QUERN_OK;
}

int quern__sqlite_stage_put(void *self, int64_t id, const quern_document *docs, size_t n,
                            uint64_t *duplicates, quern_error *err)
{
    quern__sqlite *s = self;
    batch b = {.s = s, .id = id};
    size_t at = 0;
    uint64_t found = 0;
    int rc = QUERN_OK;
    while (!rc && at < n) {
        uint64_t began = quern__now_ns();
        rc = quern__db_begin(s->own, err);
        if (rc)
            return rc;
        rc = load(&b, err);
        while (!rc && at < n && quern__now_ns() - began < (uint64_t)QUERN__SLICE_MS * 1000000) {
            rc = put_one(s, id, &docs[at], &found, err);
            if (rc)
                quern__blame(err, rc, at);
            at++;
        }
        if (rc)
            quern__db_rollback(s->own);
        else
            rc = quern__db_commit(s->own, err);
    }
    *duplicates += rc ? 0 : found;
    return rc;
}

/* ---- publish ---- */

typedef struct staged {
    int64_t row;
    quern_str id, fields, origin;
} staged;

/* What the documents table holds under this id: 0 nothing, 1 the same, 2 the same from elsewhere or without its text,
 * 3 other. */
static int compare(batch *b, const staged *d, quern_error *err)
{
    quern__stmt *stmt;
    char digest[65];
    uint8_t hash[32];
    int rc = quern__sha256_of(d->fields.ptr ? d->fields.ptr : "", d->fields.len, hash, err);
    if (rc)
        return rc;
    quern__hex32(hash, digest);
    rc = quern__db_prepare(
        b->s->own,
        "SELECT CASE WHEN digest = ?5 THEN 2 WHEN digest IS NOT NULL OR fields <> ?3"
        " THEN 3 WHEN origin <> ?4 THEN 2 ELSE 1 END"
        " FROM quern_documents WHERE source = ?1 AND id = ?2",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(b->s->own, stmt, 1, b->source);
    quern__db_bind_text(b->s->own, stmt, 2, d->id);
    quern__db_bind_text(b->s->own, stmt, 3, d->fields);
    quern__db_bind_text(b->s->own, stmt, 4, d->origin);
    quern__db_bind_text(b->s->own, stmt, 5, quern_str_of(digest));
    rc = quern__db_step(b->s->own, stmt, err);
    if (rc == 1)
        rc = (int)quern__db_get_int(stmt, 0);
    quern__db_finish(b->s->own, stmt);
    return rc;
}

static int publish_one(batch *b, const staged *d, quern_error *err)
{
    quern__stmt *stmt;
    int there = compare(b, d, err);
    if (there < 0)
        return there;
    b->report->added += there == 0;
    b->report->unchanged += there == 1 || there == 2;
    b->report->changed += there == 3;
    if (there == 1)
        return QUERN_OK;
    int rc = quern__db_prepare(
        b->s->own,
        "INSERT INTO quern_documents (source, id, fields, origin, updated_ms)"
        " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (source, id) DO UPDATE SET"
        " fields = excluded.fields, origin = excluded.origin, updated_ms = excluded.updated_ms,"
        " revision = NULL, digest = NULL",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(b->s->own, stmt, 1, b->source);
    quern__db_bind_text(b->s->own, stmt, 2, d->id);
    quern__db_bind_text(b->s->own, stmt, 3, d->fields);
    quern__db_bind_text(b->s->own, stmt, 4, d->origin);
    quern__db_bind_int(b->s->own, stmt, 5, quern__wall_ms());
    return quern__db_run(b->s->own, stmt, err);
}

/* Phase 1 from b->place on, until the slice is over; *end: all done. */
static int publish_documents(batch *b, uint64_t until, bool *end, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        b->s->own,
        "SELECT row, id, fields, origin FROM quern_staging WHERE row > ?1 AND +batch = ?2"
        " ORDER BY row",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(b->s->own, stmt, 1, b->place);
    quern__db_bind_int(b->s->own, stmt, 2, b->id);
    while ((rc = quern__db_step(b->s->own, stmt, err)) == 1) {
        staged d = {quern__db_get_int(stmt, 0), quern__db_get_text(stmt, 1),
                    quern__db_get_text(stmt, 2), quern__db_get_text(stmt, 3)};
        rc = publish_one(b, &d, err);
        b->place = d.row;
        if (rc || quern__now_ns() > until)
            break;
    }
    *end = rc == 0 && quern__now_ns() <= until;
    quern__db_finish(b->s->own, stmt);
    return rc;
}

/* 1 when the batch holds a row with this value of the column that sql names. */
static int is_staged(batch *b, const char *sql, quern_str value, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(b->s->own, sql, &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(b->s->own, stmt, 1, b->id);
    quern__db_bind_text(b->s->own, stmt, 2, value);
    rc = quern__db_step(b->s->own, stmt, err);
    quern__db_finish(b->s->own, stmt);
    return rc;
}

/* A document that the batch may have lost: removed, or counted. */
static int look_for_gone(batch *b, int64_t doc, quern_str id, quern_str origin, quern_error *err)
{
    int rc = is_staged(b, "SELECT 1 FROM quern_staging WHERE batch = ?1 AND id = ?2", id, err);
    if (rc)
        return rc < 0 ? rc : QUERN_OK;
    rc = is_staged(b, "SELECT 1 FROM quern_staging WHERE batch = ?1 AND origin = ?2 LIMIT 1",
                   origin, err);
    if (rc == 0)
        rc = quern__origin_under(b->roots, origin, err);
    if (rc <= 0)
        return rc;
    if (!b->sync) {
        b->report->missing++;
        return QUERN_OK;
    }
    quern__stmt *stmt;
    rc = quern__db_prepare(b->s->own, "DELETE FROM quern_documents WHERE doc = ?1", &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(b->s->own, stmt, 1, doc);
    b->report->removed++;
    return quern__db_run(b->s->own, stmt, err);
}

static int publish_gone(batch *b, uint64_t until, bool *end, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        b->s->own,
        "SELECT doc, id, origin FROM quern_documents WHERE doc > ?1 AND +source = ?2"
        " ORDER BY doc",
        &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_int(b->s->own, stmt, 1, b->place);
    quern__db_bind_int(b->s->own, stmt, 2, b->source);
    while ((rc = quern__db_step(b->s->own, stmt, err)) == 1) {
        int64_t doc = quern__db_get_int(stmt, 0);
        rc = look_for_gone(b, doc, quern__db_get_text(stmt, 1), quern__db_get_text(stmt, 2), err);
        b->place = doc;
        if (rc || quern__now_ns() > until)
            break;
    }
    *end = rc == 0 && quern__now_ns() <= until;
    quern__db_finish(b->s->own, stmt);
    return rc;
}

static int publish_slice(batch *b, quern_error *err)
{
    bool end = false;
    uint64_t until = quern__now_ns() + (uint64_t)QUERN__SLICE_MS * 1000000;
    int rc = load(b, err);
    if (!rc)
        rc = b->phase == PHASE_DOCUMENTS ? publish_documents(b, until, &end, err)
                                         : publish_gone(b, until, &end, err);
    if (!rc && end) {
        b->phase++;
        b->place = 0;
    }
    return rc ? rc : store_place(b, err);
}

int quern__sqlite_stage_publish(void *self, int64_t id, const char *roots, int sync,
                                quern_publish_report *report, int *more, quern_error *err)
{
    batch b = {.s = self, .id = id, .roots = roots, .sync = sync, .report = report};
    quern_publish_report before = *report;
    *more = 0;
    int rc = load(&b, err);
    if (!rc && b.phase == PHASE_CLEAN)
        return quern__sqlite_stage_drop(self, id, err);
    if (!rc)
        rc = quern__db_begin(b.s->own, err);
    if (rc)
        return rc;
    rc = publish_slice(&b, err);
    if (rc)
        quern__db_rollback(b.s->own);
    else
        rc = quern__db_commit(b.s->own, err);
    if (rc)
        *report = before;
    *more = !rc;
    return rc;
}
