/*
 * postgres_stage.c — built-in documents on their way in. A batch is staged and checked as a whole, then published
 * in slices: 1. staged rows into documents, what is the same is not written; 2. documents of the batch's
 * inputs that it does not hold are removed or counted; 3. the staged rows go. A crash between slices leaves
 * part of the batch published and the rest to the next `add`, which finds the published part unchanged.
 *
 * Each slice is one statement over many rows. LATERAL (… LIMIT 1) and "batch + 0" are there to make the plan one
 * of index probes whatever the statistics of a table that was empty a second ago say.
 */
#include "store/postgres/postgres_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"
#include "store/row_key.h"

enum {
    PHASE_DOCUMENTS,
    PHASE_GONE,
    PHASE_CLEAN,
    PUT_ROWS = 500,
    PUT_BYTES = 2 << 20,
    PUBLISH_ROWS = 250,
    GONE_ROWS = 1000,
    DROP_ROWS = 2000,
    LONGEST_ID = QUERN__PG_LONGEST_KEY - 2 /* its key has two quotes */
};

typedef struct batch {
    quern__postgres *s;
    int64_t id, source, phase, place; /* place: the last row of the phase that is done */
    const char *roots;
    int sync;
    quern_publish_report before, *report;
} batch;

/* The batch's row, locked while a transaction is open. */
static int load(batch *b, quern_error *err)
{
    quern__pg_params params;
    quern__pg_result *r = NULL;
    quern__pg_params_init(&params);
    quern__pg_int(&params, b->id);
    int rc = quern__postgres_query(
        b->s, "SELECT source, phase, place FROM @batches WHERE id = $1 FOR UPDATE", &params,
        QUERN__PG_AS_BINARY, &r, err);
    if (!rc && quern__pg_rows(r) == 0)
        rc = quern__fail(err, QUERN_EMISMATCH, b->id,
                         "batch %" PRId64 " is gone: another add to the same source began", b->id);
    if (!rc) {
        b->source = quern__pg_get_int(r, 0, 0);
        b->phase = quern__pg_get_int(r, 0, 1);
        b->place = quern__pg_get_int(r, 0, 2);
    }
    quern__pg_clear(r);
    return rc;
}

static int store_place(batch *b, quern_error *err)
{
    quern__pg_params params;
    quern__pg_params_init(&params);
    quern__pg_int(&params, b->id);
    quern__pg_int(&params, b->phase);
    quern__pg_int(&params, b->place);
    return quern__postgres_run(b->s, "UPDATE @batches SET phase = $2, place = $3 WHERE id = $1",
                               &params, NULL, err);
}

/* ---- begin and drop ---- */

int quern__postgres_stage_drop(void *self, int64_t id, quern_error *err)
{
    int64_t went = 1;
    int rc = QUERN_OK;
    quern__pg_params params;
    quern__pg_params_init(&params);
    quern__pg_int(&params, id);
    quern__pg_int(&params, DROP_ROWS);
    while (!rc && went)
        rc = quern__postgres_run(self,
                                 "DELETE FROM @staging WHERE \"row\" IN"
                                 " (SELECT \"row\" FROM @staging WHERE batch = $1 LIMIT $2)",
                                 &params, &went, err);
    quern__pg_params_init(&params);
    quern__pg_int(&params, id);
    return rc ? rc
              : quern__postgres_run(self, "DELETE FROM @batches WHERE id = $1", &params, NULL, err);
}

int quern__postgres_stage_begin(void *self, const char *source, int64_t *id, quern_error *err)
{
    quern__postgres *s = self;
    quern__pg_params params;
    int64_t source_id = 0, old = 0;
    *id = 0;
    int rc = quern__postgres_source_id(s, source, &source_id, err);
    while (!rc) { /* batches that a crash left behind */
        quern__pg_params_init(&params);
        quern__pg_int(&params, source_id);
        rc = quern__postgres_scalar(s, "SELECT id FROM @batches WHERE source = $1 LIMIT 1", &params,
                                    &old, err);
        if (rc != 1)
            break;
        rc = quern__postgres_stage_drop(self, old, err);
    }
    if (rc)
        return rc;
    /* a number of its own: the batch of an add that was pushed aside must not meet ours */
    *id = (int64_t)(quern__os_entropy() >> 1 | 1);
    quern__pg_params_init(&params);
    quern__pg_int(&params, *id);
    quern__pg_int(&params, source_id);
    return quern__postgres_run(s, "INSERT INTO @batches (id, source) VALUES ($1, $2)", &params,
                               NULL, err);
}

/* ---- put ---- */

typedef struct putting {
    batch b;
    const quern_document *docs;
    size_t n, at; /* this slice; `at`: of its first in the caller's */
    uint64_t duplicates;
} putting;

/* A document that is a whole file has no line. */
static void line_text(uint64_t line, char out[32])
{
    out[0] = '\0';
    if (line)
        snprintf(out, 32, " line %" PRIu64, line);
}

static int given_twice(const quern_document *d, quern_str origin, uint64_t line, quern_error *err)
{
    char first[32], second[32];
    line_text(line, first);
    line_text(d->line, second);
    return quern__fail(err, QUERN_EEXISTS, (int64_t)d->line,
                       "document '%.*s' is given twice: %.*s%s and %.*s%s",
                       (int)QUERN__MIN(d->id.len, (size_t)100), d->id.ptr, (int)origin.len,
                       origin.ptr ? origin.ptr : "", first, (int)d->origin.len,
                       d->origin.ptr ? d->origin.ptr : "", second);
}

static bool same_str(quern_str a, quern_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

typedef struct placed {
    quern_str id;
    size_t at;
} placed;

static int by_id(const void *a, const void *b)
{
    const placed *x = a, *y = b;
    size_t n = QUERN__MIN(x->id.len, y->id.len);
    int order = n ? memcmp(x->id.ptr, y->id.ptr, n) : 0;
    if (!order)
        order = (x->id.len > y->id.len) - (x->id.len < y->id.len);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

/* heads[i]: the first document of the slice with the id of document i. */
static int find_heads(const quern_document *docs, size_t n, size_t *heads, quern_error *err)
{
    placed *sorted = quern__alloc_array(n + 1, sizeof *sorted);
    if (!sorted)
        return quern__fail_memory(err, n * sizeof *sorted);
    for (size_t i = 0; i < n; i++)
        sorted[i] = (placed){docs[i].id, i};
    qsort(sorted, n, sizeof *sorted, by_id);
    for (size_t i = 0; i < n; i++) {
        bool again = i && same_str(sorted[i].id, sorted[i - 1].id);
        heads[sorted[i].at] = again ? heads[sorted[i - 1].at] : sorted[i].at;
    }
    quern__free(sorted);
    return QUERN_OK;
}

/* Which of these ids the batch holds, with ordinality: n, same fields, origin, line. */
static int find_staged(putting *p, quern__pg_result **r, quern_error *err)
{
    quern__pg_array ids, fields;
    quern__pg_params params;
    quern__pg_array_init(&ids, QUERN__PG_TEXT, 0);
    quern__pg_array_init(&fields, QUERN__PG_TEXT, 0);
    for (size_t i = 0; i < p->n; i++) {
        quern__pg_array_bytes(&ids, p->docs[i].id.ptr, p->docs[i].id.len);
        quern__pg_array_bytes(&fields, p->docs[i].fields.ptr, p->docs[i].fields.len);
    }
    quern__pg_params_init(&params);
    quern__pg_int(&params, p->b.id);
    quern__pg_bind_array(&params, &ids);
    quern__pg_bind_array(&params, &fields);
    int rc = quern__postgres_query(
        p->b.s,
        "SELECT d.n, t.fields = d.fields, t.origin, t.line"
        " FROM unnest($2, $3) WITH ORDINALITY AS d(id, fields, n)"
        " JOIN LATERAL (SELECT fields, origin, line FROM @staging"
        "   WHERE batch = $1 AND id = d.id LIMIT 1) AS t ON true ORDER BY d.n",
        &params, QUERN__PG_AS_TEXT, r, err);
    quern__pg_array_dispose(&ids);
    quern__pg_array_dispose(&fields);
    return rc;
}

static int insert_new(putting *p, const size_t *heads, quern_error *err)
{
    quern__pg_array a[4];
    quern__pg_params params;
    size_t n = 0;
    for (size_t i = 0; i < QUERN__COUNT(a); i++)
        quern__pg_array_init(&a[i], i < 3 ? QUERN__PG_TEXT : QUERN__PG_INT8, 0);
    for (size_t i = 0; i < p->n; i++) {
        const quern_document *d = &p->docs[i];
        if (heads[i] != i)
            continue;
        n++;
        quern__pg_array_bytes(&a[0], d->id.ptr, d->id.len);
        quern__pg_array_bytes(&a[1], d->fields.ptr, d->fields.len);
        quern__pg_array_bytes(&a[2], d->origin.ptr ? d->origin.ptr : "", d->origin.len);
        quern__pg_array_int(&a[3], (int64_t)d->line);
    }
    quern__pg_params_init(&params);
    quern__pg_int(&params, p->b.id);
    for (size_t i = 0; i < QUERN__COUNT(a); i++)
        quern__pg_bind_array(&params, &a[i]);
    int rc = n ? quern__postgres_run(p->b.s,
                                     "INSERT INTO @staging (batch, id, fields, origin, line)"
                                     " SELECT $1, d.* FROM unnest($2, $3, $4, $5) AS d",
                                     &params, NULL, err)
               : QUERN_OK;
    for (size_t i = 0; i < QUERN__COUNT(a); i++)
        quern__pg_array_dispose(&a[i]);
    return rc;
}

/* One slice: what is there already, or twice in itself, collapses or is an error. */
static int put_slice(void *ud, quern_error *err)
{
    putting *p = ud;
    quern__pg_result *r = NULL;
    size_t heads[PUT_ROWS] = {0};
    p->duplicates = 0;
    int rc = load(&p->b, err);
    if (!rc)
        rc = find_heads(p->docs, p->n, heads, err);
    if (!rc)
        rc = find_staged(p, &r, err);
    size_t next = 0, rows = r ? quern__pg_rows(r) : 0;
    for (size_t i = 0; i < p->n && !rc; i++) {
        const quern_document *d = &p->docs[i], *first = &p->docs[heads[i]];
        bool staged = next < rows && quern__pg_get_int(r, next, 0) == (int64_t)i + 1;
        bool again = !staged && heads[i] != i;
        bool same = staged  ? quern__pg_get_int(r, next, 1) != 0
                    : again ? same_str(d->fields, first->fields)
                            : false;
        if ((staged || again) && (!same || !d->derived_id)) {
            rc = staged ? given_twice(d, quern__pg_get_text(r, next, 2),
                                      (uint64_t)quern__pg_get_int(r, next, 3), err)
                        : given_twice(d, first->origin, first->line, err);
            quern__blame(err, rc, p->at + i);
        }
        p->duplicates += staged || again;
        next += staged;
    }
    for (size_t i = 0; i < rows && !rc; i++) /* what is staged is not put again */
        heads[quern__pg_get_int(r, i, 0) - 1] = SIZE_MAX;
    quern__pg_clear(r);
    return rc ? rc : insert_new(p, heads, err);
}

static int check_document(const quern_document *d, quern_error *err)
{
    const quern_str parts[] = {d->id, d->fields, d->origin};
    static const char *const names[] = {"id", "fields", "origin"};
    for (size_t i = 0; i < QUERN__COUNT(parts); i++)
        if (parts[i].len && memchr(parts[i].ptr, '\0', parts[i].len))
            return quern__fail(err, QUERN_EINVAL, (int64_t)d->line,
                               "a document whose %s has a zero byte, which PostgreSQL's text "
                               "cannot hold",
                               names[i]);
    if (d->id.len > LONGEST_ID)
        return quern__fail(err, QUERN_EINVAL, (int64_t)d->id.len,
                           "a document with an id of %zu bytes; PostgreSQL's indexes hold %d",
                           d->id.len, (int)LONGEST_ID);
    return QUERN_OK;
}

int quern__postgres_stage_put(void *self, int64_t id, const quern_document *docs, size_t n,
                              uint64_t *duplicates, quern_error *err)
{
    putting p = {.b = {.s = self, .id = id}};
    uint64_t found = 0;
    int rc = QUERN_OK;
    for (size_t i = 0; i < n && !rc; i++)
        if ((rc = check_document(&docs[i], err)) != QUERN_OK)
            quern__blame(err, rc, i);
    while (!rc && p.at < n) {
        size_t bytes = 0;
        p.docs = docs + p.at;
        for (p.n = 0; p.n < PUT_ROWS && p.at + p.n < n && bytes < PUT_BYTES; p.n++)
            bytes += p.docs[p.n].fields.len;
        rc = quern__pg_transact(p.b.s->own, QUERN__PG_WRITE, put_slice, &p, err);
        found += p.duplicates;
        p.at += p.n;
    }
    *duplicates += rc ? 0 : found;
    return rc;
}

/* ---- publish ---- */

/* `was`: 0 nothing under this id, 1 the same, 2 the same from elsewhere or without its text, 3 other. */
static const char publish_sql[] =
    "WITH s AS MATERIALIZED (SELECT \"row\", id, fields, origin FROM @staging"
    "   WHERE batch + 0 = $1 AND \"row\" > $2 ORDER BY \"row\" LIMIT $3),"
    " j AS MATERIALIZED (SELECT s.*, CASE WHEN d.fields IS NULL THEN 0"
    "     WHEN d.digest IS NOT NULL THEN CASE WHEN d.digest ="
    "     encode(sha256(convert_to(s.fields, 'UTF8')), 'hex') THEN 2 ELSE 3 END"
    "     WHEN d.fields <> s.fields THEN 3 WHEN d.origin <> s.origin THEN 2 ELSE 1 END AS was"
    "   FROM s LEFT JOIN LATERAL (SELECT fields, origin, digest FROM @documents"
    "     WHERE source = $4 AND id = s.id LIMIT 1) AS d ON true),"
    " w AS (INSERT INTO @documents (source, id, fields, origin, updated_ms)"
    "   SELECT $4, id, fields, origin, $5 FROM j WHERE was <> 1"
    "   ON CONFLICT (source, id) DO UPDATE SET fields = excluded.fields,"
    "   origin = excluded.origin, updated_ms = excluded.updated_ms, revision = NULL, digest = NULL)"
    " SELECT count(*), max(\"row\"), count(*) FILTER (WHERE was = 0),"
    " count(*) FILTER (WHERE was IN (1, 2)), count(*) FILTER (WHERE was = 3) FROM j";

/* Phase 1 from b->place on; *end: all done. */
static int publish_documents(batch *b, bool *end, quern_error *err)
{
    quern__pg_params params;
    quern__pg_result *r = NULL;
    quern__pg_params_init(&params);
    quern__pg_int(&params, b->id);
    quern__pg_int(&params, b->place);
    quern__pg_int(&params, PUBLISH_ROWS);
    quern__pg_int(&params, b->source);
    quern__pg_int(&params, quern__wall_ms());
    int rc = quern__postgres_query(b->s, publish_sql, &params, QUERN__PG_AS_BINARY, &r, err);
    if (!rc) {
        int64_t n = quern__pg_get_int(r, 0, 0);
        *end = n < PUBLISH_ROWS;
        b->place = n ? quern__pg_get_int(r, 0, 1) : b->place;
        b->report->added += (uint64_t)quern__pg_get_int(r, 0, 2);
        b->report->unchanged += (uint64_t)quern__pg_get_int(r, 0, 3);
        b->report->changed += (uint64_t)quern__pg_get_int(r, 0, 4);
    }
    quern__pg_clear(r);
    return rc;
}

/* Documents of a slice with: does the batch hold the id, does it hold something of the same origin. */
static const char gone_sql[] =
    "SELECT d.doc, d.origin, i.y IS NOT NULL, o.y IS NOT NULL"
    " FROM (SELECT doc, id, origin FROM @documents WHERE doc > $2 AND source + 0 = $4"
    "   ORDER BY doc LIMIT $3) AS d"
    " LEFT JOIN LATERAL (SELECT 1 AS y FROM @staging WHERE batch = $1 AND id = d.id LIMIT 1) AS i"
    "   ON true"
    " LEFT JOIN LATERAL (SELECT 1 AS y FROM @staging WHERE batch = $1"
    "   AND md5(origin) = md5(d.origin) AND origin = d.origin AND i.y IS NULL LIMIT 1) AS o ON true"
    " ORDER BY d.doc";

static int remove_documents(batch *b, quern__pg_array *gone, quern_error *err)
{
    quern__pg_params params;
    int64_t removed = 0;
    quern__pg_params_init(&params);
    quern__pg_bind_array(&params, gone);
    int rc = quern__postgres_run(b->s, "DELETE FROM @documents WHERE doc = ANY ($1)", &params,
                                 &removed, err);
    b->report->removed += (uint64_t)removed;
    return rc;
}

static int publish_gone(batch *b, bool *end, quern_error *err)
{
    quern__pg_params params;
    quern__pg_array gone;
    quern__pg_result *r = NULL;
    uint64_t missing = 0;
    quern__pg_array_init(&gone, QUERN__PG_INT8, 0);
    quern__pg_params_init(&params);
    quern__pg_int(&params, b->id);
    quern__pg_int(&params, b->place);
    quern__pg_int(&params, GONE_ROWS);
    quern__pg_int(&params, b->source);
    int rc = quern__postgres_query(b->s, gone_sql, &params, QUERN__PG_AS_TEXT, &r, err);
    size_t n = r ? quern__pg_rows(r) : 0;
    for (size_t i = 0; i < n && !rc; i++) {
        b->place = quern__pg_get_int(r, i, 0);
        if (quern__pg_get_int(r, i, 2))
            continue;
        int lost = quern__pg_get_int(r, i, 3)
                       ? 1
                       : quern__origin_under(b->roots, quern__pg_get_text(r, i, 1), err);
        rc = lost < 0 ? lost : QUERN_OK;
        if (lost == 1) {
            missing++;
            quern__pg_array_int(&gone, b->place);
        }
    }
    *end = n < GONE_ROWS;
    if (!rc && missing && b->sync)
        rc = remove_documents(b, &gone, err);
    else if (!rc)
        b->report->missing += missing;
    quern__pg_clear(r);
    quern__pg_array_dispose(&gone);
    return rc;
}

static int publish_slice(void *ud, quern_error *err)
{
    batch *b = ud;
    bool end = false;
    *b->report = b->before;
    int rc = load(b, err);
    if (!rc)
        rc = b->phase == PHASE_DOCUMENTS ? publish_documents(b, &end, err)
                                         : publish_gone(b, &end, err);
    if (!rc && end) {
        b->phase++;
        b->place = 0;
    }
    return rc ? rc : store_place(b, err);
}

int quern__postgres_stage_publish(void *self, int64_t id, const char *roots, int sync,
                                  quern_publish_report *report, int *more, quern_error *err)
{
    batch b = {.s = self, .id = id, .roots = roots, .sync = sync, .report = report};
    b.before = *report;
    *more = 0;
    int rc = load(&b, err);
    if (!rc && b.phase == PHASE_CLEAN)
        return quern__postgres_stage_drop(self, id, err);
    if (!rc)
        rc = quern__pg_transact(b.s->own, QUERN__PG_WRITE, publish_slice, &b, err);
    if (rc)
        *report = b.before;
    *more = !rc;
    return rc;
}
