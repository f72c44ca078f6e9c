/*
 * postgres_strip.c — takes the text out of built-in documents. Their sizes are asked first, so that a transaction has as many
 * as it can rewrite in a short time; it locks their rows before it looks at them and at their stamps. The bytes that go
 * stay in the table until VACUUM, which is the owner's to run.
 */
#include "store/postgres/postgres_store.h"

#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/compiler.h"
#include "store/row_key.h"

enum { SLICE_BYTES = 1 << 20, SLICE_DOCS = 64, LONGEST_FIELDS = 1 << 30 };

typedef struct stripping {
    quern__postgres *s;
    const quern_read *read;
    int64_t source;
    const quern_str *keys, *revisions; /* of the slice, n at most SLICE_DOCS */
    size_t from, n;
    const char *const *keep;
    size_t n_keep;
    int (*still)(const quern_row *row, size_t i, void *ud);
    void *ud;
    uint8_t *stripped;
} stripping;

/* Ids of keys; what is no text is no document's. */
static int put_ids(const quern_str *keys, size_t n, quern__arena *arena, quern__pg_array *ids,
                   quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t i = 0; i < n && !rc; i++) {
        quern_value id;
        rc = quern__key_values(keys[i], 1, arena, &id, 1, err);
        if (!rc && id.type != QUERN_VALUE_TEXT)
            rc = quern__fail(err, QUERN_EFORMAT, (int64_t)i, "%.*s: not the key of a document",
                             (int)QUERN__MIN(keys[i].len, (size_t)100), keys[i].ptr);
        if (!rc)
            quern__pg_array_bytes(ids, id.bytes.ptr, id.bytes.len);
    }
    return rc;
}

/* How many from keys[0] on one transaction takes; 1 at least. */
static int measure(const stripping *w, const quern_str *keys, size_t n, size_t *take,
                   quern_error *err)
{
    quern__arena arena;
    quern__pg_array ids;
    quern__pg_params params;
    quern__pg_result *r = NULL;
    n = QUERN__MIN(n, (size_t)SLICE_DOCS);
    quern__arena_init(&arena, 0);
    quern__pg_array_init(&ids, QUERN__PG_TEXT, 0);
    int rc = put_ids(keys, n, &arena, &ids, err);
    quern__pg_params_init(&params);
    quern__pg_int(&params, w->source);
    quern__pg_bind_array(&params, &ids);
    if (!rc)
        rc = quern__postgres_query(w->s,
                                   "SELECT coalesce(octet_length(d.fields), 0)::bigint"
                                   " FROM unnest($2) WITH ORDINALITY AS k(id, n)"
                                   " LEFT JOIN @documents AS d ON d.source = $1 AND d.id = k.id"
                                   " ORDER BY k.n",
                                   &params, QUERN__PG_AS_TEXT, &r, err);
    int64_t bytes = 0;
    for (*take = 0; !rc && *take < quern__pg_rows(r) && (bytes < SLICE_BYTES || !*take); ++*take)
        bytes += quern__pg_get_int(r, *take, 0);
    *take = QUERN__MAX(*take, (size_t)1);
    quern__pg_clear(r);
    quern__pg_array_dispose(&ids);
    quern__arena_dispose(&arena);
    return rc;
}

/* Clears stripped[i] of those that this generation has not embedded as they are. */
static int need_stamps_of(const stripping *w, int64_t generation, quern__arena *arena,
                          quern_error *err)
{
    quern_row rows[SLICE_DOCS];
    memset(rows, 0, sizeof rows);
    for (size_t i = 0; i < w->n; i++)
        if (w->stripped[i])
            rows[i].key = w->keys[i];
    int rc = quern__postgres_stamps_of(w->s, generation, rows, w->n, sizeof *rows, arena, err);
    for (size_t i = 0; i < w->n && !rc; i++) {
        const quern_stamp *t = &rows[i].stamp;
        bool embedded = t->outcome == QUERN_OUTCOME_OK || t->outcome == QUERN_OUTCOME_EMPTY;
        w->stripped[i] &= embedded && !t->redo && t->revision.len == w->revisions[i].len &&
                          (t->revision.len == 0 ||
                           memcmp(t->revision.ptr, w->revisions[i].ptr, t->revision.len) == 0);
    }
    return rc;
}

/* Of all generations in use; without one, none is. */
static int need_stamps(const stripping *w, quern__arena *arena, quern_error *err)
{
    quern__pg_params params;
    quern__pg_result *r = NULL;
    quern__pg_params_init(&params);
    quern__pg_int(&params, w->source);
    int rc = quern__postgres_query(w->s,
                                   "SELECT id FROM @generations WHERE source = $1 AND state IN"
                                   " ('building', 'active')",
                                   &params, QUERN__PG_AS_TEXT, &r, err);
    size_t n = rc ? 0 : quern__pg_rows(r);
    if (!rc && n == 0)
        memset(w->stripped, 0, w->n);
    for (size_t i = 0; i < n && !rc; i++)
        rc = need_stamps_of(w, quern__pg_get_int(r, i, 0), arena, err);
    quern__pg_clear(r);
    return rc;
}

static int write_one(const stripping *w, const quern__pg_result *r, size_t i, quern__buf *fields,
                     quern_error *err)
{
    char digest[65];
    quern__pg_params params;
    int rc =
        quern__document_strip(quern__pg_get_text(r, i, 1), w->keep, w->n_keep, fields, digest, err);
    if (rc)
        return rc;
    quern__pg_params_init(&params);
    quern__pg_int(&params, quern__pg_get_int(r, i, 0));
    quern__pg_text(&params, (quern_str){fields->data, fields->len});
    quern__pg_text(&params, w->revisions[i]);
    quern__pg_text(&params, quern_str_of(digest));
    return quern__postgres_run(
        w->s, "UPDATE @documents SET fields = $2, revision = $3, digest = $4 WHERE doc = $1",
        &params, NULL, err);
}

/* The rows again: are they still the source's? */
static int stay(const stripping *w, quern__postgres_plan *plan, quern__arena *arena,
                quern_row *rows, quern_error *err)
{
    if (!w->read->source->where)
        return QUERN_OK;
    int rc = quern__postgres_rows_of(w->s, plan, w->read, w->keys, w->n, arena, rows, err);
    for (size_t i = 0; i < w->n && !rc; i++)
        if (w->stripped[i] && !rows[i].key.ptr)
            rc = quern__strip_leaves(w->read->source, w->keys[i], err);
    return rc;
}

static int lock_documents(const stripping *w, quern__arena *arena, quern__pg_result **r,
                          quern_error *err)
{
    quern__pg_array ids;
    quern__pg_params params;
    quern__pg_array_init(&ids, QUERN__PG_TEXT, 0);
    int rc = put_ids(w->keys, w->n, arena, &ids, err);
    quern__pg_params_init(&params);
    quern__pg_int(&params, w->source);
    quern__pg_bind_array(&params, &ids);
    if (!rc) /* in one order, so that two of these never wait for each other */
        rc = quern__postgres_run(w->s,
                                 "SELECT 1 FROM @documents WHERE source = $1 AND id = ANY ($2)"
                                 " ORDER BY id FOR UPDATE",
                                 &params, NULL, err);
    if (!rc)
        rc = quern__postgres_query(w->s,
                                   "SELECT d.doc, d.fields FROM unnest($2) WITH ORDINALITY AS"
                                   " k(id, n) LEFT JOIN @documents AS d ON d.source = $1 AND"
                                   " d.id = k.id ORDER BY k.n",
                                   &params, QUERN__PG_AS_TEXT, r, err);
    quern__pg_array_dispose(&ids);
    return rc;
}

static int strip_slice(void *ud, quern_error *err)
{
    stripping *w = ud;
    quern__postgres_plan plan;
    quern__arena arena;
    quern__buf fields;
    quern__pg_result *r = NULL;
    quern_row rows[SLICE_DOCS];
    memset(w->stripped, 0, w->n);
    quern__arena_init(&arena, 0);
    quern__buf_init(&fields, LONGEST_FIELDS);
    int rc = quern__postgres_plan_make(&plan, w->s, w->read, err);
    if (!rc)
        rc = lock_documents(w, &arena, &r, err);
    if (!rc)
        rc = quern__postgres_rows_of(w->s, &plan, w->read, w->keys, w->n, &arena, rows, err);
    for (size_t i = 0; i < w->n && !rc; i++) {
        bool whole = rows[i].key.ptr && !rows[i].no_text && !rows[i].fault;
        int go = whole ? w->still(&rows[i], w->from + i, w->ud) : 0;
        rc = QUERN__MIN(go, 0);
        w->stripped[i] = go == 1;
    }
    if (!rc)
        rc = need_stamps(w, &arena, err);
    for (size_t i = 0; i < w->n && !rc; i++)
        if (w->stripped[i])
            rc = write_one(w, r, i, &fields, err);
    if (!rc)
        rc = stay(w, &plan, &arena, rows, err);
    quern__pg_clear(r);
    quern__buf_dispose(&fields);
    quern__arena_dispose(&arena);
    quern__postgres_plan_dispose(&plan);
    return rc;
}

int quern__postgres_strip(void *self, const quern_read *read, const quern_str *keys,
                          const quern_str *revisions, size_t n, const char *const *keep,
                          size_t n_keep, int (*still)(const quern_row *row, size_t i, void *ud),
                          void *ud, uint8_t *stripped, quern_error *err)
{
    stripping w = {
        .s = self, .read = read, .keep = keep, .n_keep = n_keep, .still = still, .ud = ud};
    const quern_source_spec *spec = read->source;
    memset(stripped, 0, n);
    if (spec->table || spec->query)
        return quern__fail(err, QUERN_EINVAL, 0, "source '%s' has no documents of quern's own",
                           spec->name);
    int rc = quern__postgres_source_id(w.s, spec->name, &w.source, err);
    while (!rc && w.from < n) {
        rc = measure(&w, keys + w.from, n - w.from, &w.n, err);
        w.keys = keys + w.from;
        w.revisions = revisions + w.from;
        w.stripped = stripped + w.from;
        if (!rc)
            rc = quern__pg_transact(w.s->own, QUERN__PG_WRITE, strip_slice, &w, err);
        if (rc)
            memset(w.stripped, 0, QUERN__MIN(w.n, n - w.from));
        w.from += w.n;
    }
    return rc && w.s->sharded ? quern__shard_blame(w.s, rc, err) : rc;
}
