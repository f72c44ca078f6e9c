/*
 * postgres_search.c — near vectors by pgvector's means: a scan in the server, an HNSW graph over halfvec, and two
 * stages: the Hamming distance of the elements' signs, then the exact order of the best of those.
 *
 * Indexes are built CONCURRENTLY, so that nobody's writing waits, and outside any transaction, because they have to be.
 * A build that fails or is cut off leaves an index that is invalid: never used by the server, kept up with every
 * write; it is seen by name in the catalogue, dropped and built anew. Settings of the search are SET LOCAL: behind a
 * pooler the session is not ours. Iterative scans are on, or a graph gives ef_search rows and not one more.
 *
 * EXACT orders by the inner product, which no index of ours serves, so the server cannot answer from the graph.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "kernels/kernels.h"
#include "store/postgres/postgres_store.h"

enum {
    GRAPH_DIMENSIONS = 4000, /* of halfvec; signs may have 64,000 */
    EF_SEARCH_LEAST = 100,
    EF_SEARCH_MOST = 1000,
    SCAN_TUPLES = 20000,
    OVERSAMPLE_MOST = 1000,
    NAME_BYTES = 64
};

/* One way over one generation: what its statements are made of. */
typedef struct index_of {
    quern__postgres *s;
    quern__pg_generation g;
    int way;
    char name[NAME_BYTES]; /* with its base; one on shards has none */
} index_of;

/* The expression as the index has it; `column` may be a parameter that stands in its place. */
static void put_expression(const index_of *x, quern__buf *out, const char *column)
{
    const char *p = x->s->vector_prefix;
    if (x->way == QUERN_INDEX_TWO_STAGE)
        quern__buf_printf(out, "(%sbinary_quantize(%s)::bit(%u))", p, column, x->g.dimensions);
    else if (x->way == QUERN_INDEX_ANN && x->g.storage == QUERN__PG_STORED_VECTOR)
        quern__buf_printf(out, "(%s::%shalfvec(%u))", column, p, x->g.dimensions);
    else
        quern__buf_puts(out, column);
}

static const char *operator_of(int way)
{
    return way == QUERN_INDEX_TWO_STAGE ? "<~>" : way == QUERN_INDEX_ANN ? "<=>" : "<#>";
}

static int open_index(index_of *x, void *self, int64_t generation, int way, quern_error *err)
{
    memset(x, 0, sizeof *x);
    x->s = self;
    x->way = way;
    int rc = quern__postgres_generation_get(x->s, generation, false, &x->g, err);
    if (!rc)
        snprintf(x->name, sizeof x->name, "%svectors_%" PRId64 "_%s", x->g.shards ? "" : x->s->base,
                 generation, way == QUERN_INDEX_TWO_STAGE ? "signs" : "graph");
    return rc;
}

/* Why this way is not to be had, or NULL. */
static const char *no_way(const index_of *x)
{
    if (x->g.storage == QUERN__PG_STORED_BYTES)
        return "vectors are kept as bytea, without pgvector";
    if (!x->s->vector_version)
        return "pgvector 0.8 or newer is not installed in this database";
    if (x->way == QUERN_INDEX_ANN && x->g.dimensions > GRAPH_DIMENSIONS)
        return "pgvector's HNSW index takes at most 4000 dimensions";
    return NULL;
}

/* ---- state and build ---- */

static int look_up(const index_of *x, int *state, quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *r = NULL;
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(x->s->schema));
    quern__pg_text(&p, quern_str_of(x->name));
    int rc = quern__pg_query(
        x->s->own,
        "SELECT i.indisvalid AND i.indisready, EXISTS (SELECT 1 FROM"
        " pg_catalog.pg_stat_progress_create_index b WHERE b.index_relid = i.indexrelid)"
        " FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = $1 AND c.relname = $2",
        &p, QUERN__PG_AS_TEXT, &r, err);
    if (rc)
        return rc;
    *state = quern__pg_rows(r) == 0       ? QUERN_INDEX_ABSENT
             : quern__pg_get_int(r, 0, 0) ? QUERN_INDEX_READY
             : quern__pg_get_int(r, 0, 1) ? QUERN_INDEX_BUILDING
                                          : QUERN_INDEX_INVALID;
    quern__pg_clear(r);
    return QUERN_OK;
}

int quern__postgres_index_state(void *self, int64_t generation, int way, int *state,
                                const char **why, quern_error *err)
{
    index_of x;
    *state = QUERN_INDEX_NONE;
    int rc = open_index(&x, self, generation, way, err);
    const char *none = rc ? "" : no_way(&x);
    *why = none ? none : "";
    if (rc || none)
        return rc;
    *state = QUERN_INDEX_READY;
    if (way == QUERN_INDEX_EXACT)
        return QUERN_OK;
    return x.g.shards ? quern__shard_index_state(x.s, &x.g, x.name, state, err)
                      : look_up(&x, state, err);
}

static int drop_index(const index_of *x, quern__pg *db, const quern_cancel *cancel,
                      quern_error *err)
{
    quern__buf sql;
    quern__buf_init(&sql, 1024);
    quern__buf_printf(&sql, "DROP INDEX CONCURRENTLY IF EXISTS %s.%s", x->s->quoted, x->name);
    int rc = quern__buf_ok(&sql, "a statement", err);
    if (!rc)
        rc = quern__pg_run_long(db, sql.data, cancel, err);
    quern__buf_dispose(&sql);
    return rc;
}

static int create_index(const index_of *x, quern__pg *db, const quern_cancel *cancel,
                        quern_error *err)
{
    quern__buf sql;
    bool signs = x->way == QUERN_INDEX_TWO_STAGE;
    quern__buf_init(&sql, 4096);
    quern__buf_printf(&sql, "CREATE INDEX CONCURRENTLY %s ON %svectors_%" PRId64 " USING hnsw (",
                      x->name, x->g.shards ? "quern_shard." : x->s->prefix, x->g.id);
    put_expression(x, &sql, "embedding");
    quern__buf_printf(&sql, " %s%s) WITH (m = 16, ef_construction = 64)", x->s->vector_prefix,
                      signs ? "bit_hamming_ops" : "halfvec_cosine_ops");
    int rc = quern__buf_ok(&sql, "a statement", err);
    if (!rc)
        rc = x->g.shards ? quern__shard_index_build(x->s, &x->g, x->name, sql.data, cancel, err)
                         : quern__pg_run_long(db, sql.data, cancel, err);
    quern__buf_dispose(&sql);
    return rc;
}

int quern__postgres_index_build(void *self, int64_t generation, int way, const quern_cancel *cancel,
                                quern_error *err)
{
    index_of x;
    int state = QUERN_INDEX_ABSENT;
    int rc = open_index(&x, self, generation, way, err);
    if (rc)
        return rc;
    if (way == QUERN_INDEX_EXACT)
        return QUERN_OK;
    if (no_way(&x))
        return quern__fail(err, QUERN_EUNSUPPORTED, generation, "no index: %s", no_way(&x));
    if (x.g.shards)
        return create_index(&x, x.s->own, cancel, err);
    rc = look_up(&x, &state, err);
    if (rc || state == QUERN_INDEX_READY)
        return rc;
    if (state == QUERN_INDEX_BUILDING)
        return quern__fail(err, QUERN_EBUSY, generation, "index %s is being built", x.name);
    quern__pg *direct = NULL, *db = x.s->own;
    if (x.s->direct && (rc = quern__postgres_session(x.s, &direct, err)) == QUERN_OK)
        db = direct;
    if (!rc && state == QUERN_INDEX_INVALID)
        rc = drop_index(&x, db, cancel, err);
    if (!rc)
        rc = create_index(&x, db, cancel, err);
    quern__pg_close(direct);
    return rc;
}

/* ---- nearest ---- */

typedef struct asking {
    index_of x;
    size_t k, oversample;
    size_t margin; /* of shards: rows that may belong to no stamp */
    const char *wire;
    size_t wire_bytes;
    quern__buf sql;
    quern__pg_result *result;
} asking;

/* The query as a vector of the generation's type, in pgvector's binary form. */
static int make_wire(const quern__pg_generation *g, const float *query, char **wire,
                     quern_error *err)
{
    size_t element = g->width / g->dimensions;
    uint16_t *half = quern__alloc_array(g->dimensions, sizeof *half);
    *wire = quern__alloc(g->width + 4);
    if (half && *wire) {
        quern__f32_to_f16(query, half, g->dimensions);
        quern__pg_vector_to_wire(element == 2 ? (const void *)half : query, g->dimensions, element,
                                 *wire);
    }
    int rc = half && *wire ? QUERN_OK : quern__fail_memory(err, g->width);
    quern__free(half);
    return rc;
}

/* How many a search by `way` looks at: what the graph has to give. */
static void put_settings(const asking *a, quern__buf *sql)
{
    size_t want = a->x.way == QUERN_INDEX_TWO_STAGE ? a->k * a->oversample : a->k;
    size_t ef = QUERN__MAX(QUERN__MIN(want, (size_t)EF_SEARCH_MOST), (size_t)EF_SEARCH_LEAST);
    quern__buf_printf(sql,
                      "SET LOCAL hnsw.ef_search = %zu; SET LOCAL hnsw.iterative_scan ="
                      " strict_order; SET LOCAL hnsw.max_scan_tuples = %zu;"
                      " SET LOCAL hnsw.scan_mem_multiplier = 4; SET LOCAL jit = off",
                      ef, QUERN__MAX(2 * want, (size_t)SCAN_TUPLES));
}

static void put_order(const asking *a, quern__buf *sql, const char *column, int way)
{
    index_of x = a->x;
    x.way = way;
    put_expression(&x, sql, column);
    quern__buf_printf(sql, " OPERATOR(%s%s) ", x.s->vector_prefix, operator_of(way));
    put_expression(&x, sql, "$1");
}

static void put_question(const asking *a, quern__buf *sql)
{
    const index_of *x = &a->x;
    bool two = x->way == QUERN_INDEX_TWO_STAGE;
    if (x->g.shards) {
        quern__buf first, last;
        quern__buf_init(&first, 4096);
        quern__buf_init(&last, 4096);
        put_order(a, &first, "embedding", x->way);
        put_order(a, &last, "embedding", two ? QUERN_INDEX_EXACT : x->way);
        quern__shard_put_question(x->s, &x->g, &first, &last,
                                  a->k * (two ? a->oversample : 1) + a->margin, a->k, sql);
        quern__buf_dispose(&first);
        quern__buf_dispose(&last);
        return;
    }
    quern__buf_printf(sql, "SELECT id, embedding FROM %s%svectors_%" PRId64 " ORDER BY ",
                      two ? "(SELECT id, embedding FROM " : "", x->s->prefix, x->g.id);
    put_order(a, sql, "embedding", x->way);
    if (two) {
        quern__buf_printf(sql, " LIMIT %zu) AS best ORDER BY ", a->k * a->oversample);
        put_order(a, sql, "embedding", QUERN_INDEX_EXACT);
    }
    quern__buf_printf(sql, " LIMIT %zu", a->k);
}

static int ask(void *ud, quern_error *err)
{
    asking *a = ud;
    quern__pg_params p;
    bool half = a->x.g.storage == QUERN__PG_STORED_HALFVEC;
    quern__pg_clear(a->result);
    a->result = NULL;
    quern__buf_clear(&a->sql);
    put_settings(a, &a->sql);
    int rc = quern__buf_ok(&a->sql, "a statement", err);
    if (!rc)
        rc = quern__pg_script(a->x.s->own, a->sql.data, err);
    if (!rc && a->x.g.shards)
        rc = quern__shard_limit(a->x.s, a->x.s->shard_ms, err);
    if (rc)
        return rc;
    quern__pg_params_init(&p);
    quern__pg_binary(&p, half ? a->x.s->halfvec : a->x.s->vector, a->wire, a->wire_bytes);
    quern__buf_clear(&a->sql);
    put_question(a, &a->sql);
    rc = quern__buf_ok(&a->sql, "a statement", err);
    if (!rc)
        rc = quern__pg_query(a->x.s->own, a->sql.data, &p, QUERN__PG_AS_BINARY, &a->result, err);
    return a->x.g.shards ? quern__shard_too_long(a->x.s, a->x.s->shard_ms, rc, err) : rc;
}

static int deliver(const asking *a, quern_block_fn fn, void *ud, quern_error *err)
{
    enum { BLOCK = 1024 };
    const quern__pg_generation *g = &a->x.g;
    size_t n = quern__pg_rows(a->result);
    int64_t *refs = quern__alloc_array(BLOCK, sizeof *refs);
    char *data = quern__alloc_array(BLOCK, g->width);
    int rc = refs && data ? QUERN_OK : quern__fail_memory(err, BLOCK * g->width);
    for (size_t at = 0; !rc && at < n; at += BLOCK) {
        size_t some = QUERN__MIN(n - at, (size_t)BLOCK);
        for (size_t i = 0; !rc && i < some; i++) {
            refs[i] = quern__pg_get_int(a->result, at + i, 0);
            rc = quern__pg_read_vector(g, a->result, at + i, 1, data + i * g->width, err);
        }
        if (!rc)
            rc = fn(refs, data, some, ud);
    }
    quern__free(refs);
    quern__free(data);
    return rc;
}

int quern__postgres_nearest(void *self, int64_t generation, const float *query, int way, size_t k,
                            size_t oversample, quern_block_fn fn, void *ud, quern_error *err)
{
    asking a = {.k = k};
    char *wire = NULL;
    a.oversample = QUERN__MAX(QUERN__MIN(oversample, (size_t)OVERSAMPLE_MOST), (size_t)1);
    int rc = open_index(&a.x, self, generation, way, err);
    if (!rc && no_way(&a.x))
        rc = quern__fail(err, QUERN_EUNSUPPORTED, generation, "%s", no_way(&a.x));
    if (rc)
        return rc;
    quern__buf_init(&a.sql, 8192);
    rc = make_wire(&a.x.g, query, &wire, err);
    a.wire = wire;
    a.wire_bytes = a.x.g.width + 4;
    do { /* a transaction a time: what was being saved is then over */
        if (!rc)
            rc = quern__pg_transact(a.x.s->own, QUERN__PG_READ, ask, &a, err);
    } while (!rc && a.x.g.shards && quern__shard_hidden(&a.result, &a.margin));
    rc = quern__shard_blame(a.x.s, rc, err);
    if (!rc)
        rc = deliver(&a, fn, ud, err);
    quern__pg_clear(a.result);
    quern__buf_dispose(&a.sql);
    quern__free(wire);
    return rc;
}

/* ---- as SQL for others ---- */

static void put_statement(const index_of *x, quern__buf *sql)
{
    const char *p = x->s->vector_prefix;
    bool exact = x->way == QUERN_INDEX_EXACT;
    char query[400];
    snprintf(query, sizeof query, "($1::%svector)", p);
    quern__buf_printf(sql,
                      "-- $1: the vector of the query, '[0.1,0.2,...]'; $2: how many documents%s\n"
                      "WITH near AS (\n    SELECT key, chunk, embedding FROM %svectors_%" PRId64,
                      exact ? "" : ";\n-- $3: how many chunks to look at, 5 x $2 or more",
                      x->s->prefix, x->g.id);
    if (!exact) {
        index_of halves = *x; /* $1 is a vector; where the column is a halfvec, it becomes one */
        quern__buf_puts(sql, "\n    ORDER BY ");
        put_expression(x, sql, "embedding");
        quern__buf_printf(sql, " OPERATOR(%s%s) ", p, operator_of(x->way));
        halves.g.storage = QUERN__PG_STORED_VECTOR;
        put_expression(&halves, sql, query);
        quern__buf_puts(sql, "\n    LIMIT $3");
    }
    quern__buf_printf(sql,
                      "\n), best AS (\n    SELECT DISTINCT ON (n.key) n.key, n.chunk,\n"
                      "           -(n.embedding::%svector OPERATOR(%s<#>) %s) AS similarity\n"
                      "    FROM near AS n JOIN %sstamps AS s ON s.generation = %" PRId64
                      " AND s.key = n.key AND s.outcome = 1\n"
                      "    ORDER BY n.key, similarity DESC, n.chunk\n)\n"
                      "SELECT key, chunk, similarity FROM best\nORDER BY similarity DESC, key ~ "
                      "'^-?[0-9]+$' DESC,\n"
                      "         CASE WHEN key ~ '^-?[0-9]+$' THEN key::numeric END, key COLLATE "
                      "\"C\"\nLIMIT $2;\n",
                      p, p, query, x->s->prefix, x->g.id);
}

int quern__postgres_search_sql(void *self, int64_t generation, int way, char **sql,
                               quern_error *err)
{
    index_of x;
    quern__buf b;
    *sql = NULL;
    int rc = open_index(&x, self, generation, way, err);
    if (!rc && no_way(&x))
        rc = quern__fail(err, QUERN_EUNSUPPORTED, generation, "no SQL for this: %s", no_way(&x));
    if (rc)
        return rc;
    quern__buf_init(&b, 16384);
    put_statement(&x, &b);
    rc = quern__buf_ok(&b, "a statement", err);
    if (!rc && !(*sql = quern__buf_detach(&b)))
        rc = quern__fail_memory(err, b.len);
    quern__buf_dispose(&b);
    return rc;
}
