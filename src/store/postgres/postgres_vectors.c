/*
 * postgres_vectors.c — stamps, chunks and vectors. Batches travel as arrays: a save is a dozen statements whatever
 * it holds. Ids come from the sequence of the generation's table: a ref that a search holds can go, but never become
 * another chunk.
 *
 * Compare-and-swap: the stamps of the documents are locked first (in the order of their keys, so that two savers
 * cannot wait for each other in a circle), then the rows are read, by a later snapshot. Whoever saves the same
 * document waits at its stamp and then sees the newer row; two who both make the first stamp meet in its unique
 * index, and the second leaves the document as it is. The user's rows are not locked: FOR SHARE asks for the
 * right to update, writes into the user's pages and is not to be had of a view. An edit that commits between our reading
 * and our commit leaves a stamp whose revision is not the row's: stale, which is the truth.
 */
#include "store/postgres/postgres_store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"
#include "store/row_key.h"

enum {
    BLOCK_VECTORS = 1024,
    INSERT_BYTES = 4 << 20, /* of vectors in one statement */
    ERASE_KEYS = 200,       /* in one transaction */
    RESOLVE_REFS = 4096
};

/* ---- pgvector's binary form ---- */

void quern__pg_vector_to_wire(const void *face, uint32_t dimensions, size_t element, void *wire)
{
    const unsigned char *from = face;
    unsigned char *to = wire;
    to[0] = (unsigned char)(dimensions >> 8);
    to[1] = (unsigned char)dimensions;
    to[2] = to[3] = 0;
    to += 4;
    for (size_t i = 0; i < dimensions; i++, from += element, to += element)
        for (size_t k = 0; k < element; k++)
            to[k] = from[element - 1 - k];
}

int quern__pg_vector_from_wire(quern_str wire, uint32_t dimensions, size_t element, void *face,
                               quern_error *err)
{
    const unsigned char *from = (const unsigned char *)wire.ptr;
    unsigned char *to = face;
    if (wire.len != 4 + dimensions * element || ((uint32_t)from[0] << 8 | from[1]) != dimensions)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)wire.len,
                           "a stored vector has %zu bytes, not %zu: damaged", wire.len,
                           4 + dimensions * element);
    from += 4;
    for (size_t i = 0; i < dimensions; i++, from += element, to += element)
        for (size_t k = 0; k < element; k++)
            to[k] = from[element - 1 - k];
    return QUERN_OK;
}

int quern__pg_read_vector(const quern__pg_generation *g, const quern__pg_result *r, size_t row,
                          int at, void *face, quern_error *err)
{
    quern_str v = quern__pg_get_text(r, row, at);
    if (g->storage != QUERN__PG_STORED_BYTES)
        return quern__pg_vector_from_wire(v, g->dimensions, g->width / g->dimensions, face, err);
    if (v.len != g->width)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)v.len,
                           "a stored vector has %zu bytes, not %zu: damaged", v.len, g->width);
    memcpy(face, v.ptr, v.len);
    return QUERN_OK;
}

/* ---- stamps by key ---- */

/* STAMP from `at` on. */
#define STAMP                                                                                      \
    "outcome, revision, reason, chunks, dropped_bytes, redo::int, created_ms, updated_ms, save"
enum { SAVE = 9 }; /* its column, behind the key */
static int read_stamp(const quern__pg_result *r, size_t row, int at, quern__arena *arena,
                      quern_stamp *out, quern_error *err)
{
    out->outcome = (int)quern__pg_get_int(r, row, at);
    out->chunks = (uint32_t)quern__pg_get_int(r, row, at + 3);
    out->dropped_bytes = (uint64_t)quern__pg_get_int(r, row, at + 4);
    out->redo = quern__pg_get_int(r, row, at + 5) != 0;
    out->updated_ms = quern__pg_get_int(r, row, at + 7);
    out->created_ms = quern__pg_get_int(r, row, at + 6);
    if (out->created_ms == 0) /* from before migration 3 */
        out->created_ms = out->updated_ms;
    int rc = quern__copy_str(arena, quern__pg_get_text(r, row, at + 1), &out->revision, err);
    return rc ? rc : quern__copy_str(arena, quern__pg_get_text(r, row, at + 2), &out->reason, err);
}

typedef struct keyed {
    quern_str key;
    size_t at;
} keyed;

int quern__pg_compare_keys(quern_str x, quern_str y)
{
    size_t n = QUERN__MIN(x.len, y.len);
    int order = n ? memcmp(x.ptr, y.ptr, n) : 0;
    return order ? order : (x.len > y.len) - (x.len < y.len);
}

static int by_key(const void *a, const void *b)
{
    const keyed *x = a, *y = b;
    int order = quern__pg_compare_keys(x->key, y->key);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

/* The first of n sorted ones with this key, or n. */
static size_t find_key(const keyed *sorted, size_t n, quern_str key)
{
    size_t from = 0, to = n;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (quern__pg_compare_keys(sorted[middle].key, key) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from < n && quern__pg_compare_keys(sorted[from].key, key) == 0 ? from : n;
}

static quern_row *row_at(quern_row *rows, size_t i, size_t stride)
{
    return (quern_row *)(void *)((char *)rows + i * stride);
}

/* Those of the keys whose stamps lie on shards too: what is not there as well becomes NONE. */
static int complete(quern__postgres *s, int64_t generation, const keyed *sorted,
                    const int64_t *saves, size_t n, quern_row *rows, size_t stride,
                    quern__arena *arena, quern_error *err)
{
    size_t some = 0;
    quern__pg_stamp_line *lines = quern__alloc_array(n + 1, sizeof *lines);
    if (!lines)
        return quern__fail_memory(err, n * sizeof *lines);
    for (size_t i = 0; i < n; i++)
        if (saves[i])
            lines[some++] = (quern__pg_stamp_line){
                sorted[i].key, saves[i], &row_at(rows, sorted[i].at, stride)->stamp, false};
    int rc = quern__shard_stamps_read(s, generation, lines, some, arena, err);
    for (size_t i = 0; i < some && !rc; i++)
        if (!lines[i].whole)
            memset(lines[i].stamp, 0, sizeof *lines[i].stamp);
    quern__free(lines);
    return rc;
}

int quern__postgres_stamps_of(quern__postgres *s, int64_t generation, quern_row *rows, size_t n,
                              size_t stride, quern__arena *arena, quern_error *err)
{
    quern__pg_params params;
    quern__pg_array keys;
    quern__pg_result *r = NULL;
    size_t asked = 0;
    bool numbered = false;
    keyed *sorted = quern__alloc_array(n + 1, sizeof *sorted);
    int64_t *saves = quern__alloc_array(n + 1, sizeof *saves);
    if (!sorted || !saves) {
        quern__free(sorted);
        quern__free(saves);
        return quern__fail_memory(err, n * sizeof *sorted);
    }
    memset(saves, 0, (n + 1) * sizeof *saves);
    quern__pg_array_init(&keys, QUERN__PG_TEXT, 0);
    for (size_t i = 0; i < n; i++) {
        quern_row *row = row_at(rows, i, stride);
        memset(&row->stamp, 0, sizeof row->stamp);
        if (!row->key.ptr || quern__mark_is(row->key))
            continue;
        sorted[asked++] = (keyed){row->key, i};
        quern__pg_array_bytes(&keys, row->key.ptr, row->key.len);
    }
    qsort(sorted, asked, sizeof *sorted, by_key);
    quern__pg_params_init(&params);
    quern__pg_int(&params, generation);
    quern__pg_bind_array(&params, &keys);
    int rc = QUERN_OK;
    if (asked)
        rc = quern__postgres_query(
            s, "SELECT key, " STAMP " FROM @stamps WHERE generation = $1 AND key = ANY ($2)",
            &params, QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; r && i < quern__pg_rows(r) && !rc; i++) {
        quern_str key = quern__pg_get_text(r, i, 0);
        size_t at = find_key(sorted, asked, key);
        for (; at < asked && !rc && quern__pg_compare_keys(sorted[at].key, key) == 0; at++) {
            rc = read_stamp(r, i, 1, arena, &row_at(rows, sorted[at].at, stride)->stamp, err);
            saves[at] = quern__pg_get_int(r, i, SAVE);
            numbered |= saves[at] != 0;
        }
    }
    quern__pg_clear(r);
    if (!rc && numbered)
        rc = complete(s, generation, sorted, saves, asked, rows, stride, arena, err);
    quern__pg_array_dispose(&keys);
    quern__free(sorted);
    quern__free(saves);
    return rc;
}

/* ---- save ---- */

typedef struct saving {
    quern__postgres *s;
    const quern_read *read;
    const quern_save *given;
    quern_save *docs; /* the same; with stamp columns, revisions are set while they are written */
    size_t n;
    int (*still)(const quern_row *row, size_t i, void *ud);
    void *ud;
    uint8_t *stored;
    quern__pg_generation g;
    keyed *sorted; /* the documents by key */
    quern_row *rows;
    int64_t chunks; /* change of the generation's count */
    int64_t number; /* of this save, on shards; else 0 */
    int64_t now_ms; /* of its stamps */
} saving;

/* The generation stays what it is until the transaction ends; EMISMATCH when it is not in use. */
static int keep_generation(quern__postgres *s, int64_t id, quern__pg_generation *g,
                           quern_error *err)
{
    quern_error inner;
    int rc = quern__postgres_generation_get(s, id, true, g, &inner);
    if (rc == QUERN_ENOTFOUND || (!rc && strcmp(g->state, "retired") == 0))
        return quern__fail(err, QUERN_EMISMATCH, id,
                           "generation %" PRId64 " is no longer in use; nothing was saved", id);
    if (rc && err)
        *err = inner;
    return rc;
}

static int add_chunks(quern__postgres *s, int64_t generation, int64_t change, quern_error *err)
{
    quern__pg_params params;
    quern__pg_params_init(&params);
    quern__pg_int(&params, generation);
    quern__pg_int(&params, change);
    return change
               ? quern__postgres_run(s,
                                     "UPDATE @generations SET chunks = chunks + $2 WHERE id = $1",
                                     &params, NULL, err)
               : QUERN_OK;
}

/* Locks the stamps that there are, and gives their keys into `there`. */
static int lock_stamps(quern__postgres *s, int64_t generation, quern__pg_array *keys,
                       quern__pg_array *there, quern_error *err)
{
    quern__pg_params params;
    quern__pg_result *r = NULL;
    quern__pg_params_init(&params);
    quern__pg_int(&params, generation);
    quern__pg_bind_array(&params, keys);
    int rc = quern__postgres_query(s,
                                   "SELECT key FROM @stamps WHERE generation = $1"
                                   " AND key = ANY ($2) ORDER BY key FOR UPDATE",
                                   &params, QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; there && !rc && i < quern__pg_rows(r); i++) {
        quern_str key = quern__pg_get_text(r, i, 0);
        quern__pg_array_bytes(there, key.ptr, key.len);
    }
    quern__pg_clear(r);
    return rc;
}

/* Rows of these keys as they are now; where the user's tables are in another database, in a transaction there. */
static int read_rows(quern__postgres *s, const quern_read *read, const quern_str *keys, size_t n,
                     bool lock, quern__arena *arena, quern_row *rows, quern_error *err)
{
    quern__postgres_plan plan;
    bool builtin = !read->source->table && !read->source->query;
    bool elsewhere = !builtin && s->src != s->own;
    int rc = elsewhere ? quern__postgres_plan_begin(&plan, s, read, err)
                       : quern__postgres_plan_make(&plan, s, read, err);
    bool begun = elsewhere && !rc;
    plan.locks = lock;
    if (!rc)
        rc = quern__postgres_rows_of(s, &plan, read, keys, n, arena, rows, err);
    if (begun)
        quern__pg_rollback(s->src); /* it only read */
    quern__postgres_plan_dispose(&plan);
    return rc;
}

/* Asks of every document whether it is to be saved; of one that is given twice, the last. */
static int ask(saving *w, quern_error *err)
{
    (void)err;
    for (size_t i = 0; i < w->n; i++) {
        int go = w->rows[i].key.ptr ? w->still(&w->rows[i], i, w->ud) : 0;
        if (go < 0)
            return go;
        w->stored[i] = go == 1;
    }
    return QUERN_OK;
}

/* Is document sorted[k] the one of its key that is written? */
static bool is_written(const saving *w, size_t k)
{
    if (!w->stored[w->sorted[k].at])
        return false;
    for (size_t next = k + 1;
         next < w->n && quern__pg_compare_keys(w->sorted[next].key, w->sorted[k].key) == 0; next++)
        if (w->stored[w->sorted[next].at])
            return false;
    return true;
}

/* Where a table cannot say how many chunks of ours go, the stamps can: before they are written. */
static int count_promised(saving *w, quern_error *err)
{
    quern__pg_array keys;
    int64_t gone = 0;
    quern__pg_array_init(&keys, QUERN__PG_TEXT, 0);
    for (size_t k = 0; k < w->n; k++)
        if (is_written(w, k))
            quern__pg_array_bytes(&keys, w->sorted[k].key.ptr, w->sorted[k].key.len);
    int rc = quern__shard_promised(w->s, w->g.id, &keys, &gone, err);
    quern__pg_array_dispose(&keys);
    w->chunks = -gone;
    return rc;
}

static const char put_stamps_sql[] =
    "INSERT INTO @stamps AS t (generation, key, outcome, revision, reason, chunks, dropped_bytes,"
    " updated_ms, created_ms, save)"
    " SELECT $1, d.key, d.outcome, d.revision, d.reason, d.chunks, d.dropped, $8, $8, $10"
    " FROM unnest($2, $3, $4, $5, $6, $7) AS d(key, outcome, revision, reason, chunks, dropped)"
    " ORDER BY d.key COLLATE \"C\" ON CONFLICT (generation, key) DO UPDATE SET"
    " outcome = excluded.outcome, revision = excluded.revision, reason = excluded.reason,"
    " chunks = excluded.chunks, dropped_bytes = excluded.dropped_bytes,"
    " updated_ms = excluded.updated_ms, redo = false, save = excluded.save WHERE t.key = ANY ($9) "
    "RETURNING key";

/* Writes the stamps. A document whose first stamp somebody else has made meanwhile is left to him. */
static int put_stamps(saving *w, quern__pg_array *there, quern_error *err)
{
    enum { KEY, OUTCOME, REVISION, REASON, CHUNKS, DROPPED, ARRAYS };
    quern__pg_array a[ARRAYS];
    quern__pg_params params;
    quern__pg_result *r = NULL;
    size_t asked = 0;
    for (size_t i = 0; i < ARRAYS; i++)
        quern__pg_array_init(
            &a[i], i == KEY || i == REVISION || i == REASON ? QUERN__PG_TEXT : QUERN__PG_INT8, 0);
    for (size_t k = 0; k < w->n; k++) {
        const quern_save *d = &w->docs[w->sorted[k].at];
        if (!is_written(w, k))
            continue;
        asked++;
        quern__pg_array_bytes(&a[KEY], d->key.ptr, d->key.len);
        quern__pg_array_int(&a[OUTCOME], d->stamp.outcome);
        /* where its stamp lies on a shard, that has these */
        bool here = !w->g.beside;
        quern__pg_array_bytes(&a[REVISION], here ? d->stamp.revision.ptr : "",
                              here ? d->stamp.revision.len : 0);
        quern__pg_array_bytes(&a[REASON], here ? d->stamp.reason.ptr : "",
                              here ? d->stamp.reason.len : 0);
        quern__pg_array_int(&a[CHUNKS], d->stamp.chunks);
        quern__pg_array_int(&a[DROPPED], here ? (int64_t)d->stamp.dropped_bytes : 0);
    }
    quern__pg_params_init(&params);
    quern__pg_int(&params, w->g.id);
    for (size_t i = 0; i < ARRAYS; i++)
        quern__pg_bind_array(&params, &a[i]);
    quern__pg_int(&params, w->now_ms);
    quern__pg_bind_array(&params, there);
    quern__pg_int(&params, w->number);
    int rc = QUERN_OK;
    if (asked)
        rc = quern__postgres_query(w->s, put_stamps_sql, &params, QUERN__PG_AS_TEXT, &r, err);
    size_t put = r ? quern__pg_rows(r) : 0;
    keyed *done = rc || put == asked ? NULL : quern__alloc_array(put + 1, sizeof *done);
    if (!rc && put < asked && !done)
        rc = quern__fail_memory(err, put * sizeof *done);
    for (size_t i = 0; done && i < put; i++)
        done[i] = (keyed){quern__pg_get_text(r, i, 0), i};
    if (done) {
        qsort(done, put, sizeof *done, by_key);
        for (size_t i = 0; i < w->n; i++)
            w->stored[i] &= find_key(done, put, w->docs[i].key) < put;
    }
    quern__free(done);
    quern__pg_clear(r);
    for (size_t i = 0; i < ARRAYS; i++)
        quern__pg_array_dispose(&a[i]);
    return rc;
}

/* Chunks of these keys go; *gone: how many. */
static int drop_chunks(quern__postgres *s, const quern__pg_generation *g, quern__pg_array *keys,
                       int64_t *gone, quern_error *err)
{
    quern__pg_params params;
    quern__buf sql;
    quern__pg_params_init(&params);
    quern__pg_bind_array(&params, keys);
    quern__pg_int(&params, g->id);
    quern__buf_init(&sql, 4096);
    quern__buf_printf(&sql,
                      "WITH words AS (DELETE FROM @texts WHERE generation = $2 AND key = ANY ($1)),"
                      " kept AS (DELETE FROM @kept WHERE generation = $2 AND key = ANY ($1)),"
                      " seen AS (DELETE FROM @assets WHERE generation = $2 AND document = ANY "
                      "($1))");
    if (g->beside)
        quern__buf_printf(
            &sql, ", stamped AS (DELETE FROM @stamps_%" PRId64 "_all WHERE key = ANY ($1))", g->id);
    quern__buf_printf(&sql, " DELETE FROM @vectors_%" PRId64 "%s WHERE key = ANY ($1)", g->id,
                      g->shards ? "_all" : "");
    int rc = quern__buf_ok(&sql, "a statement", err);
    if (!rc) /* on shards leftovers go with them, which the caller's count has never known */
        rc = quern__postgres_run(s, sql.data, &params, g->shards ? NULL : gone, err);
    quern__buf_dispose(&sql);
    return rc;
}

/* Chunks on their way into the generation's table, an array a column. */
enum {
    C_KEY,
    C_CHUNK,
    C_START,
    C_END,
    C_CHAR_START,
    C_CHAR_END,
    C_PAGE,
    C_HEADING,
    C_VECTOR,
    C_ARRAYS
};
typedef struct inserting {
    quern__pg_array a[C_ARRAYS];
    size_t n;
} inserting;

static void begin_insert(inserting *in, const saving *w)
{
    uint32_t element = QUERN__PG_BYTEA, type = 0;
    if (w->g.storage == QUERN__PG_STORED_HALFVEC) {
        element = w->s->halfvec;
        type = w->s->halfvec_array;
    } else if (w->g.storage == QUERN__PG_STORED_VECTOR) {
        element = w->s->vector;
        type = w->s->vector_array;
    }
    in->n = 0;
    for (int i = 0; i < C_ARRAYS; i++)
        quern__pg_array_init(&in->a[i],
                             i == C_KEY || i == C_HEADING ? (uint32_t)QUERN__PG_TEXT
                             : i == C_VECTOR              ? element
                                                          : (uint32_t)QUERN__PG_INT8,
                             i == C_VECTOR ? type : 0);
}

static int flush_chunks(inserting *in, saving *w, quern_error *err)
{
    quern__pg_params params;
    quern__buf sql;
    if (!in->n)
        return QUERN_OK;
    quern__pg_params_init(&params);
    quern__buf_init(&sql, 4096);
    for (int i = 0; i < C_ARRAYS; i++)
        quern__pg_bind_array(&params, &in->a[i]);
    quern__buf_printf(&sql,
                      "INSERT INTO @vectors_%" PRId64
                      "%s (key, chunk, byte_start, byte_end, char_start, char_end, page, heading,"
                      " embedding%s) SELECT *%s FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                      w->g.id, w->g.shards ? "_all" : "", w->g.shards ? ", save" : "",
                      w->g.shards ? ", $10" : "");
    if (w->g.shards)
        quern__pg_int(&params, w->number);
    int rc = quern__buf_ok(&sql, "a statement", err);
    if (!rc)
        rc = quern__postgres_run(w->s, sql.data, &params, NULL, err);
    quern__buf_dispose(&sql);
    w->chunks += (int64_t)in->n;
    in->n = 0;
    for (int i = 0; i < C_ARRAYS; i++)
        quern__pg_array_clear(&in->a[i]);
    return rc;
}

static int put_chunk(inserting *in, saving *w, quern_str key, const quern_chunk *c,
                     quern_error *err)
{
    bool bytes = w->g.storage == QUERN__PG_STORED_BYTES;
    quern__pg_array_bytes(&in->a[C_KEY], key.ptr, key.len);
    quern__pg_array_int(&in->a[C_CHUNK], c->index);
    quern__pg_array_int(&in->a[C_START], (int64_t)c->start);
    quern__pg_array_int(&in->a[C_END], (int64_t)c->end);
    quern__pg_array_int(&in->a[C_CHAR_START], (int64_t)c->char_start);
    quern__pg_array_int(&in->a[C_CHAR_END], (int64_t)c->char_end);
    quern__pg_array_int(&in->a[C_PAGE], c->page);
    quern__pg_array_bytes(&in->a[C_HEADING], c->heading.ptr ? c->heading.ptr : "", c->heading.len);
    void *room = quern__pg_array_room(&in->a[C_VECTOR], w->g.width + (bytes ? 0 : 4));
    if (room && bytes)
        memcpy(room, c->vector, w->g.width);
    else if (room)
        quern__pg_vector_to_wire(c->vector, w->g.dimensions, w->g.width / w->g.dimensions, room);
    in->n++;
    return in->n * w->g.width > INSERT_BYTES ? flush_chunks(in, w, err) : QUERN_OK;
}

/* The old chunks of the documents that are stored go, the new ones come. */
static int replace_chunks(saving *w, quern_error *err)
{
    quern__pg_array keys;
    inserting in;
    int64_t gone = 0;
    quern__pg_array_init(&keys, QUERN__PG_TEXT, 0);
    begin_insert(&in, w);
    bool any = false;
    for (size_t k = 0; k < w->n; k++)
        if (is_written(w, k)) {
            quern__pg_array_bytes(&keys, w->sorted[k].key.ptr, w->sorted[k].key.len);
            any = true;
        }
    int rc = any ? drop_chunks(w->s, &w->g, &keys, &gone, err) : QUERN_OK;
    w->chunks -= gone;
    for (size_t k = 0; k < w->n && !rc; k++) {
        const quern_save *d = &w->docs[w->sorted[k].at];
        for (uint32_t i = 0; i < d->stamp.chunks && !rc && is_written(w, k); i++)
            rc = put_chunk(&in, w, d->key, &d->chunks[i], err);
    }
    if (!rc)
        rc = flush_chunks(&in, w, err);
    quern__pg_array_dispose(&keys);
    for (int i = 0; i < C_ARRAYS; i++)
        quern__pg_array_dispose(&in.a[i]);
    return rc;
}

static int put_beside(saving *w, quern_error *err)
{
    const quern_save **docs = quern__alloc_array(w->n + 1, sizeof *docs);
    size_t n = 0;
    if (!docs)
        return quern__fail_memory(err, w->n * sizeof *docs);
    for (size_t k = 0; k < w->n; k++)
        if (is_written(w, k))
            docs[n++] = &w->docs[w->sorted[k].at];
    int rc = quern__shard_stamps_put(w->s, &w->g, w->number, w->now_ms, docs, n, err);
    quern__free(docs);
    return rc;
}

static int save_all(void *ud, quern_error *err)
{
    saving *w = ud;
    quern__arena arena;
    quern__pg_array keys, there;
    quern_str *names = quern__alloc_array(w->n + 1, sizeof *names);
    if (!names)
        return quern__fail_memory(err, w->n * sizeof *names);
    quern__arena_init(&arena, 0);
    quern__pg_array_init(&keys, QUERN__PG_TEXT, 0);
    quern__pg_array_init(&there, QUERN__PG_TEXT, 0);
    memset(w->stored, 0, w->n);
    memcpy(w->docs, w->given, w->n * sizeof *w->docs);
    w->now_ms = quern__wall_ms();
    bool columns = w->n && w->docs[0].stamp_columns;
    for (size_t i = 0; i < w->n; i++) {
        names[i] = w->docs[i].key;
        quern__pg_array_bytes(&keys, names[i].ptr, names[i].len);
    }
    w->chunks = 0;
    int rc = keep_generation(w->s, w->read->generation, &w->g, err);
    w->number = !rc && w->g.shards ? (int64_t)(quern__os_entropy() >> 1 | 1) : 0;
    if (!rc)
        rc = lock_stamps(w->s, w->g.id, &keys, &there, err);
    if (!rc)
        rc = read_rows(w->s, w->read, names, w->n, columns, &arena, w->rows, err);
    if (!rc)
        rc = ask(w, err);
    if (!rc)
        rc = quern__postgres_tasks_held(w->s, w->read->source->name, w->docs, w->n, w->stored, err);
    if (!rc && columns)
        rc = quern__postgres_stamp_columns(w->s, w->read, w->docs, w->n, w->rows, w->stored,
                                           w->now_ms, w->still, w->ud, &arena, err);
    bool words_only = w->n && w->docs[0].text_only;
    if (!rc && w->g.shards && !words_only)
        rc = count_promised(w, err);
    if (!rc && !words_only)
        rc = put_stamps(w, &there, err);
    if (!rc && !words_only)
        rc = replace_chunks(w, err);
    if (!rc && !words_only && w->g.beside)
        rc = put_beside(w, err);
    if (!rc)
        rc = quern__postgres_text_put(w->s, w->g.id, w->docs, w->stored, w->n, err);
    if (!rc)
        rc = quern__postgres_kept_put(w->s, w->g.id, w->docs, w->stored, w->n, err);
    if (!rc && !words_only)
        rc = quern__postgres_assets_put(w->s, w->g.id, w->docs, w->stored, w->n, err);
    if (!rc)
        rc = add_chunks(w->s, w->g.id, w->chunks, err);
    quern__pg_array_dispose(&keys);
    quern__pg_array_dispose(&there);
    quern__arena_dispose(&arena);
    quern__free(names);
    return rc;
}

static bool has_nul(quern_str s)
{
    return s.len && memchr(s.ptr, '\0', s.len);
}

static int check_save(const quern_save *d, quern_error *err)
{
    if (d->stamp.outcome < QUERN_OUTCOME_OK || d->stamp.outcome > QUERN_OUTCOME_FAILED)
        return quern__fail(err, QUERN_EINVAL, d->stamp.outcome, "a save without an outcome");
    if (has_nul(d->key) || has_nul(d->stamp.revision) || has_nul(d->stamp.reason))
        return quern__fail(err, QUERN_EINVAL, 0,
                           "a stamp with a zero byte, which PostgreSQL's text cannot hold");
    return QUERN_OK;
}

int quern__postgres_save(void *self, const quern_read *read, const quern_save *docs, size_t n,
                         int (*still)(const quern_row *row, size_t i, void *ud), void *ud,
                         uint8_t *stored, quern_error *err)
{
    saving w = {.s = self, .read = read, .given = docs, .n = n, .still = still};
    int rc = QUERN_OK;
    w.ud = ud;
    w.stored = stored;
    memset(stored, 0, n);
    for (size_t i = 0; i < n && !rc; i++)
        if ((rc = check_save(&docs[i], err)) != QUERN_OK)
            quern__blame(err, rc, i);
    if (rc)
        return rc;
    w.sorted = quern__alloc_array(n + 1, sizeof *w.sorted);
    w.rows = quern__alloc_array(n + 1, sizeof *w.rows);
    w.docs = quern__alloc_array(n + 1, sizeof *w.docs);
    if (!w.sorted || !w.rows || !w.docs)
        rc = quern__fail_memory(err, n * sizeof *w.rows);
    for (size_t i = 0; i < n && !rc; i++)
        w.sorted[i] = (keyed){docs[i].key, i};
    if (!rc) {
        qsort(w.sorted, n, sizeof *w.sorted, by_key);
        rc = quern__pg_transact(w.s->own, QUERN__PG_WRITE, save_all, &w, err);
        if (rc == QUERN_EEXISTS && w.g.shards && !(rc = quern__shard_renumber(w.s, &w.g, err)))
            rc = quern__pg_transact(w.s->own, QUERN__PG_WRITE, save_all, &w, err);
    }
    if (rc)
        memset(stored, 0, n);
    quern__free(w.sorted);
    quern__free(w.rows);
    quern__free(w.docs);
    return quern__shard_blame(w.s, rc, err);
}

/* ---- erase ---- */

typedef struct erasing {
    quern__postgres *s;
    const quern_read *read;
    const quern_str *keys;
    size_t n;
    uint64_t removed;
} erasing;

static int erase_some(void *ud, quern_error *err)
{
    erasing *w = ud;
    quern_row rows[ERASE_KEYS];
    quern_read read = *w->read;
    quern__pg_generation g;
    quern__arena arena;
    quern__pg_array keys, gone, tasks;
    quern__pg_params params;
    int64_t chunks = 0;
    quern__arena_init(&arena, 0);
    quern__pg_array_init(&keys, QUERN__PG_TEXT, 0);
    quern__pg_array_init(&tasks, QUERN__PG_INT8, 0);
    quern__pg_array_init(&gone, QUERN__PG_TEXT, 0);
    w->removed = 0;
    read.generation = 0; /* what the stamps say does not matter */
    for (size_t i = 0; i < w->n; i++)
        quern__pg_array_bytes(&keys, w->keys[i].ptr, w->keys[i].len);
    int rc = keep_generation(w->s, w->read->generation, &g, err);
    if (!rc)
        rc = lock_stamps(w->s, g.id, &keys, NULL, err);
    if (!rc)
        rc = quern__postgres_tasks_lock(w->s, w->read->source->name, &keys, &tasks, err);
    if (!rc)
        rc = read_rows(w->s, &read, w->keys, w->n, false, &arena, rows, err);
    for (size_t i = 0; i < w->n && !rc; i++)
        if (!rows[i].key.ptr) {
            quern__pg_array_bytes(&gone, w->keys[i].ptr, w->keys[i].len);
            w->removed++;
        }
    if (!rc && w->removed && g.shards)
        rc = quern__shard_promised(w->s, g.id, &gone, &chunks, err);
    quern__pg_params_init(&params);
    quern__pg_int(&params, w->read->generation);
    quern__pg_bind_array(&params, &gone);
    /* in retired generations too: nobody looks after those, and a new row of that key may well begin with the same
     * revision; their vectors are orphans then, which a build that takes the generation up again removes */
    if (!rc && w->removed)
        rc = quern__postgres_run(w->s,
                                 "DELETE FROM @stamps WHERE key = ANY ($2) AND generation = ANY"
                                 " (ARRAY(SELECT $1 UNION ALL SELECT b.id FROM @generations AS a"
                                 " JOIN @generations AS b ON b.source = a.source"
                                 " WHERE a.id = $1 AND b.state = 'retired'))",
                                 &params, NULL, err);
    if (!rc && w->removed)
        rc = drop_chunks(w->s, &g, &gone, &chunks, err);
    if (!rc && w->removed)
        rc = quern__postgres_tasks_forget(w->s, &tasks, &gone, err);
    if (!rc)
        rc = add_chunks(w->s, g.id, -chunks, err);
    quern__pg_array_dispose(&keys);
    quern__pg_array_dispose(&tasks);
    quern__pg_array_dispose(&gone);
    quern__arena_dispose(&arena);
    return rc;
}

int quern__postgres_erase(void *self, const quern_read *read, const quern_str *keys, size_t n,
                          uint64_t *removed, quern_error *err)
{
    int rc = QUERN_OK;
    *removed = 0;
    for (size_t at = 0; at < n && !rc; at += ERASE_KEYS) {
        erasing w = {.s = self, .read = read, .keys = keys + at};
        w.n = QUERN__MIN(n - at, (size_t)ERASE_KEYS);
        rc = quern__pg_transact(w.s->own, QUERN__PG_WRITE, erase_some, &w, err);
        *removed += rc ? 0 : w.removed;
    }
    return quern__shard_blame(self, rc, err);
}

/* ---- reading ---- */

/* A page of stamps; one that its shard has lost is as the store knows it, without a revision and to be made again. */
static int give_stamps(quern__postgres *s, int64_t generation, const quern__pg_result *r,
                       int (*fn)(quern_str key, const quern_stamp *stamp, void *ud), void *ud,
                       quern_error *err)
{
    size_t n = quern__pg_rows(r);
    int rc = QUERN_OK;
    quern__arena arena;
    quern_stamp *stamps = quern__alloc_array(n + 1, sizeof *stamps);
    quern__pg_stamp_line *lines = quern__alloc_array(n + 1, sizeof *lines);
    quern__arena_init(&arena, 0);
    if (!stamps || !lines)
        rc = quern__fail_memory(err, n * sizeof *lines);
    for (size_t i = 0; !rc && i < n; i++) {
        memset(&stamps[i], 0, sizeof stamps[i]);
        rc = read_stamp(r, i, 1, &arena, &stamps[i], err);
        lines[i] = (quern__pg_stamp_line){quern__pg_get_text(r, i, 0),
                                          quern__pg_get_int(r, i, SAVE), &stamps[i], false};
    }
    if (!rc)
        rc = quern__shard_stamps_read(s, generation, lines, n, &arena, err);
    for (size_t i = 0; !rc && i < n; i++) {
        stamps[i].redo |= !lines[i].whole;
        rc = fn(lines[i].key, &stamps[i], ud);
    }
    quern__arena_dispose(&arena);
    quern__free(stamps);
    quern__free(lines);
    return rc;
}

int quern__postgres_stamps(void *self, int64_t generation, quern_str after, size_t limit,
                           int (*fn)(quern_str key, const quern_stamp *stamp, void *ud), void *ud,
                           quern_error *err)
{
    enum { PAGE = 1024 };
    quern__postgres *s = self;
    char *last = NULL;
    int rc = QUERN_OK;
    while (!rc && limit) {
        size_t want = QUERN__MIN(limit, (size_t)PAGE);
        quern__pg_params params;
        quern__pg_result *r = NULL;
        quern__pg_params_init(&params);
        quern__pg_int(&params, generation);
        quern__pg_text(&params, (quern_str){after.ptr ? after.ptr : "", after.len});
        quern__pg_int(&params, (int64_t)want);
        rc = quern__postgres_query(
            s,
            "SELECT key, " STAMP
            " FROM @stamps WHERE generation = $1 AND key > $2 ORDER BY key LIMIT $3",
            &params, QUERN__PG_AS_TEXT, &r, err);
        size_t n = rc ? 0 : quern__pg_rows(r);
        if (!rc)
            rc = give_stamps(s, generation, r, fn, ud, err);
        if (!rc && n == want) {
            quern_str key = quern__pg_get_text(r, n - 1, 0);
            quern__free(last);
            last = quern__strndup(key.ptr, key.len);
            after = (quern_str){last, key.len};
            if (!last)
                rc = quern__fail_memory(err, key.len);
        }
        quern__pg_clear(r);
        if (n < want)
            break;
        limit -= n;
    }
    quern__free(last);
    return rc && s->sharded ? quern__shard_blame(s, rc, err) : rc;
}

/* The generation's table, or what of it is on servers that answer. */
static int put_table(quern__postgres *s, int64_t generation, quern__buf *sql, quern_error *err)
{
    quern__pg_generation g = {0};
    int rc = s->n_down ? quern__postgres_generation_get(s, generation, false, &g, err) : QUERN_OK;
    if (!rc && g.missing)
        quern__shard_put_present(&g, sql);
    else
        quern__buf_printf(sql, "@vectors_%" PRId64, generation);
    return rc;
}

/* Runs a statement with vectors_<id> in place of "%s"; a table that is gone is ENOTFOUND. */
static int query_vectors(quern__postgres *s, int64_t generation, const char *before,
                         const char *behind, const quern__pg_params *params, quern__pg_result **r,
                         quern_error *err)
{
    quern__buf sql;
    quern_error inner;
    quern__buf_init(&sql, 1 << 16);
    quern__buf_printf(&sql, "%s ", before);
    int rc = put_table(s, generation, &sql, &inner);
    quern__buf_printf(&sql, " %s", behind);
    if (!rc)
        rc = quern__buf_ok(&sql, "a statement", &inner);
    if (!rc)
        rc = s->sharded
                 ? quern__shard_query(s, s->shard_ms, sql.data, params, r, &inner)
                 : quern__postgres_query(s, sql.data, params, QUERN__PG_AS_BINARY, r, &inner);
    if (rc) {
        if (strcmp(quern__pg_sqlstate(s->own), "42P01") == 0 && !quern__shard_lost_table(s, &inner))
            rc = quern__fail(err, QUERN_ENOTFOUND, generation, "there is no generation %" PRId64,
                             generation);
        else if (err)
            *err = inner;
    }
    quern__buf_dispose(&sql);
    return rc;
}

int quern__postgres_tally(void *self, int64_t generation, quern_tally *out, quern_error *err)
{
    quern__pg_generation g;
    quern__pg_params params;
    quern__pg_result *r = NULL;
    memset(out, 0, sizeof *out);
    quern__pg_params_init(&params);
    quern__pg_int(&params, generation);
    int rc = quern__postgres_query(self,
                                   "SELECT count(*) FILTER (WHERE outcome = 1),"
                                   " count(*) FILTER (WHERE outcome = 2),"
                                   " count(*) FILTER (WHERE outcome = 3), sum(chunks)::bigint"
                                   " FROM @stamps WHERE generation = $1",
                                   &params, QUERN__PG_AS_TEXT, &r, err);
    if (rc)
        return rc;
    out->ok = (uint64_t)quern__pg_get_int(r, 0, 0);
    out->empty = (uint64_t)quern__pg_get_int(r, 0, 1);
    out->failed = (uint64_t)quern__pg_get_int(r, 0, 2);
    out->chunks = (uint64_t)quern__pg_get_int(r, 0, 3);
    quern__pg_clear(r);
    rc = quern__postgres_generation_get(self, generation, false, &g, err);
    if (!rc && g.shards)
        return quern__shard_count(self, &g, out->chunks, &out->vectors, err);
    if (!rc)
        rc = query_vectors(self, generation, "SELECT count(*) FROM", "", NULL, &r, err);
    if (rc)
        return rc;
    out->vectors = (uint64_t)quern__pg_get_int(r, 0, 0);
    quern__pg_clear(r);
    return QUERN_OK;
}

/* Of the row at hand of a generation's table; the generation is the second parameter. */
#define ASSET                                                                                      \
    "coalesce((SELECT a.asset FROM @assets AS a WHERE a.generation = $2 AND a.document = key"      \
    " AND a.piece = chunk), '')"

/* Up to a block behind *after, which moves to the last. */
static int read_block(quern__postgres *s, const quern__pg_generation *g, int64_t *after,
                      int64_t *refs, char *data, size_t *n, quern_error *err)
{
    quern__pg_params params;
    quern__pg_result *r = NULL;
    quern__pg_params_init(&params);
    quern__pg_int(&params, *after);
    quern__pg_int(&params, BLOCK_VECTORS);
    *n = 0;
    int rc = query_vectors(s, g->id, "SELECT id, embedding FROM",
                           "WHERE id > $1 ORDER BY id LIMIT $2", &params, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r) && i < BLOCK_VECTORS; i++) {
        refs[i] = quern__pg_get_int(r, i, 0);
        rc = quern__pg_read_vector(g, r, i, 1, data + i * g->width, err);
        *n += !rc;
    }
    quern__pg_clear(r);
    if (*n)
        *after = refs[*n - 1];
    return rc;
}

int quern__postgres_vectors(void *self, int64_t generation, quern_block_fn fn, void *ud,
                            quern_error *err)
{
    quern__postgres *s = self;
    quern__pg_generation g;
    size_t n = BLOCK_VECTORS;
    int64_t after = -1;
    int rc = quern__postgres_generation_get(s, generation, false, &g, err);
    if (!rc && g.shards)
        return quern__shard_vectors(s, &g, fn, ud, err);
    if (rc)
        return rc;
    int64_t *refs = quern__alloc_array(BLOCK_VECTORS, sizeof *refs);
    char *data = quern__alloc_array(BLOCK_VECTORS, g.width);
    if (!refs || !data)
        rc = quern__fail_memory(err, BLOCK_VECTORS * g.width);
    while (!rc && n == BLOCK_VECTORS) {
        rc = read_block(s, &g, &after, refs, data, &n, err);
        if (!rc && n)
            rc = fn(refs, data, n, ud);
    }
    quern__free(refs);
    quern__free(data);
    return rc;
}

int quern__postgres_resolve(void *self, int64_t generation, const int64_t *refs, size_t n,
                            quern_chunk_ref_fn fn, void *ud, quern_error *err)
{
    quern__postgres *s = self;
    quern__pg_array ids;
    int rc = QUERN_OK;
    quern__pg_array_init(&ids, QUERN__PG_INT8, 0);
    for (size_t at = 0; at < n && !rc; at += RESOLVE_REFS) {
        size_t some = QUERN__MIN(n - at, (size_t)RESOLVE_REFS);
        quern__pg_params params;
        quern__pg_result *r = NULL;
        quern_error inner;
        quern__pg_array_clear(&ids);
        for (size_t i = 0; i < some; i++)
            quern__pg_array_int(&ids, refs[at + i]);
        quern__pg_params_init(&params);
        quern__pg_bind_array(&params, &ids);
        quern__pg_int(&params, generation);
        rc = query_vectors(s, generation,
                           "SELECT id, key, chunk, byte_start, byte_end, page, heading, " ASSET
                           " FROM",
                           "WHERE id = ANY ($1)", &params, &r, &inner);
        if (rc == QUERN_ENOTFOUND) { /* the generation is gone, and all its refs */
            rc = QUERN_OK;
            break;
        }
        if (rc && err)
            *err = inner;
        for (size_t i = 0; !rc && i < quern__pg_rows(r); i++) {
            quern_chunk_ref c = {.ref = quern__pg_get_int(r, i, 0)};
            c.key = quern__pg_get_text(r, i, 1);
            c.index = (uint32_t)quern__pg_get_int(r, i, 2);
            c.start = (uint64_t)quern__pg_get_int(r, i, 3);
            c.end = (uint64_t)quern__pg_get_int(r, i, 4);
            c.page = (uint32_t)quern__pg_get_int(r, i, 5);
            c.heading = quern__pg_get_text(r, i, 6);
            c.asset = quern__pg_get_text(r, i, 7);
            rc = fn(&c, ud);
        }
        quern__pg_clear(r);
    }
    quern__pg_array_dispose(&ids);
    return quern__shard_blame(s, rc, err);
}

/* The i-th of the keys, from 1 on, stands in the first column. */
int quern__postgres_chunks_of(void *self, int64_t generation, const quern_str *keys, size_t n,
                              int (*fn)(size_t i, const quern_chunk *c, void *ud), void *ud,
                              quern_error *err)
{
    quern__postgres *s = self;
    quern__pg_generation g;
    quern__pg_params params;
    quern__pg_array wanted;
    quern__pg_result *r = NULL;
    int rc = quern__postgres_generation_get(s, generation, false, &g, err);
    char *vector = rc ? NULL : quern__alloc(g.width);
    if (!rc && !vector)
        rc = quern__fail_memory(err, g.width);
    if (rc)
        return quern__shard_blame(s, rc, err);
    quern__pg_array_init(&wanted, QUERN__PG_TEXT, 0);
    for (size_t i = 0; i < n; i++)
        quern__pg_array_bytes(&wanted, keys[i].ptr, keys[i].len);
    quern__pg_params_init(&params);
    quern__pg_bind_array(&params, &wanted);
    quern__pg_int(&params, generation);
    rc = query_vectors(s, generation,
                       "SELECT array_position($1, key)::bigint, chunk, byte_start, byte_end,"
                       " char_start, char_end, embedding, page, heading, " ASSET " FROM",
                       "WHERE key = ANY ($1) ORDER BY 1, 2", &params, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++) {
        quern_chunk c = {.index = (uint32_t)quern__pg_get_int(r, i, 1),
                         .start = (uint64_t)quern__pg_get_int(r, i, 2),
                         .end = (uint64_t)quern__pg_get_int(r, i, 3),
                         .char_start = (uint64_t)quern__pg_get_int(r, i, 4),
                         .char_end = (uint64_t)quern__pg_get_int(r, i, 5),
                         .page = (uint32_t)quern__pg_get_int(r, i, 7),
                         .heading = quern__pg_get_text(r, i, 8),
                         .asset = quern__pg_get_text(r, i, 9)};
        rc = quern__pg_read_vector(&g, r, i, 6, vector, err);
        c.vector = vector;
        if (!rc)
            rc = fn((size_t)quern__pg_get_int(r, i, 0) - 1, &c, ud);
    }
    quern__pg_clear(r);
    quern__pg_array_dispose(&wanted);
    quern__free(vector);
    return quern__shard_blame(s, rc, err);
}

typedef struct one_document {
    int (*fn)(const quern_chunk *c, void *ud);
    void *ud;
} one_document;

static int give_chunk(size_t i, const quern_chunk *c, void *ud)
{
    const one_document *to = ud;
    (void)i;
    return to->fn(c, to->ud);
}

int quern__postgres_chunks(void *self, int64_t generation, quern_str key,
                           int (*fn)(const quern_chunk *c, void *ud), void *ud, quern_error *err)
{
    one_document to = {fn, ud};
    return quern__postgres_chunks_of(self, generation, &key, 1, give_chunk, &to, err);
}
