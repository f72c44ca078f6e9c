/*
 * postgres_shard.c — generations whose vectors lie on several servers: their tables, and how they are read.
 *
 * Rows stay where they are; stamps lie beside the vectors (postgres_shard_stamps.c). vectors_<id>_all is partitioned by a hash of the key, its partitions are
 * foreign tables (postgres_fdw). Ids come from one sequence here, so those of rows that count cannot meet between
 * shards. (A store that forgets its last commits forgets numbers too, which leftovers on the shards still have: the
 * sequence steps over them once one is met.) What has to
 * happen on a shard inside our transaction (a table that comes or goes) is a statement that is inserted into its table
 * `orders`, where a trigger runs it: it needs neither a second connection nor credentials of its own.
 *
 * Why a save has a number. A transaction that wrote to shards commits there first, one after the other, and here last;
 * a crash in between leaves a shard with vectors whose stamp was never written. Without more, an edit that is taken
 * back would make the old stamp current again, over the new vectors. So every save draws a random number, which
 * stands in the stamp and in each row it wrote, and a row is only ever given out while its number is its stamp's:
 * vectors_<id> is a view that says so, and what reads around it (for its plan's sake) joins the stamps itself.
 * Leftovers go with the next save of their key, or with quern__postgres_sweep_shards; a stamp whose vectors went shows in
 * the tally, and the fill makes them again. Random, not counted: a store restored from a backup never meets the
 * numbers of its lost future. Two-phase commit was rejected: it is off unless a server is told, and a prepared
 * transaction that is forgotten keeps its locks for ever.
 *
 * Search: the best k of each shard, asked at once (async append), then the best of those. Only in this form (a
 * materialised UNION ALL, literal limits) do ORDER BY and LIMIT travel to the shards; over the partitioned table itself
 * whole tables would. Rows that belong to no stamp may stand among the best: they are counted, and the
 * question is asked again with room for them.
 *
 * A shard that is down fails what needs it, by its name; half an answer is none, unless a search asked for as much
 * as there is (postgres_shard_partial.c).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/os.h"
#include "store/postgres/postgres_store.h"

enum { BLOCK_VECTORS = 1024, SWEEP_ROWS = 4096, NAME_BYTES = 64, POLL_MS = 100 };

/* ---- which servers ---- */

int quern__shard_servers(quern__postgres *s, int64_t generation, int64_t *out, size_t *n,
                         quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *r = NULL;
    char table[NAME_BYTES];
    int rc;
    *n = 0;
    quern__pg_params_init(&p);
    if (generation) {
        snprintf(table, sizeof table, "%svectors_%" PRId64 "_all", s->base, generation);
        quern__pg_text(&p, quern_str_of(s->schema));
        quern__pg_text(&p, quern_str_of(table));
        rc = quern__pg_query(
            s->own,
            "SELECT substring(f.srvname FROM '[0-9]+$')::bigint FROM pg_catalog.pg_inherits i"
            " JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid"
            " JOIN pg_catalog.pg_foreign_table t ON t.ftrelid = c.oid"
            " JOIN pg_catalog.pg_foreign_server f ON f.oid = t.ftserver"
            " JOIN pg_catalog.pg_class a ON a.oid = i.inhparent"
            " JOIN pg_catalog.pg_namespace n ON n.oid = a.relnamespace"
            " WHERE n.nspname = $1 AND a.relname = $2 ORDER BY"
            " substring(c.relname FROM '[0-9]+$')::bigint",
            &p, QUERN__PG_AS_TEXT, &r, err);
    } else
        rc = quern__postgres_query(s, "SELECT id FROM @shards WHERE used ORDER BY id", NULL,
                                   QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++) {
        if (*n == QUERN__PG_SHARDS)
            rc = quern__fail(err, QUERN_EUNSUPPORTED, 0, "more than %d shards", QUERN__PG_SHARDS);
        else
            out[(*n)++] = quern__pg_get_int(r, i, 0);
    }
    quern__pg_clear(r);
    return rc;
}

int quern__shard_order(quern__postgres *s, int64_t server, const char *statement, quern_error *err)
{
    quern__pg_params p;
    char sql[100];
    snprintf(sql, sizeof sql, "INSERT INTO @shard_%" PRId64 "_orders (statement) VALUES ($1)",
             server);
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(statement));
    return quern__postgres_run(s, sql, &p, NULL, err);
}

bool quern__shard_lost_table(quern__postgres *s, const quern_error *err)
{
    /* no table of the store's own has that schema */
    return strcmp(quern__pg_sqlstate(s->own), "42P01") == 0 && strstr(err->msg, "quern_shard.");
}

int quern__shard_lacking(quern__postgres *s, int64_t server, quern__pg_result **out,
                         quern_error *err)
{
    quern__pg_params p;
    quern_error inner = {0};
    char sql[700], name[NAME_BYTES];
    snprintf(sql, sizeof sql,
             "SELECT o.option_value FROM pg_catalog.pg_foreign_table t JOIN"
             " pg_catalog.pg_foreign_server f ON f.oid = t.ftserver JOIN pg_catalog.pg_class c ON"
             " c.oid = t.ftrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,"
             " pg_catalog.pg_options_to_table(t.ftoptions) o WHERE n.nspname = $1 AND f.srvname ="
             " $2 AND c.relispartition AND o.option_name = 'table_name' AND NOT EXISTS (SELECT 1"
             " FROM @shard_%" PRId64 "_tables AS x WHERE x.name = o.option_value) ORDER BY 1 DESC",
             server);
    snprintf(name, sizeof name, "%s_shard_%" PRId64, s->tag, server);
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(s->schema));
    quern__pg_text(&p, quern_str_of(name));
    *out = NULL;
    int rc = quern__shard_query(s, QUERN__PG_ANSWER_MS, sql, &p, out, &inner);
    if (!rc)
        return (int)quern__pg_rows(*out);
    if (quern__shard_lost_table(s, &inner))
        return 1;
    if (err)
        *err = inner;
    return rc;
}

int quern__shard_lacks(quern__postgres *s, int64_t server, char one[40], quern_error *err)
{
    quern__pg_result *r = NULL;
    int n = quern__shard_lacking(s, server, &r, err);
    if (n > 0)
        snprintf(one, 40, "%.39s", r ? quern__pg_get_text(r, 0, 0).ptr : "tables");
    quern__pg_clear(r);
    return n;
}

static int blame_table(quern__postgres *s, int rc, quern_error *err)
{
    quern__pg_result *r = NULL;
    int n = 0;
    if (quern__postgres_query(s, "SELECT id, place FROM @shards ORDER BY id", NULL,
                              QUERN__PG_AS_TEXT, &r, NULL) != QUERN_OK)
        return rc;
    for (size_t i = 0; i < quern__pg_rows(r) && n <= 0; i++) {
        char one[40];
        n = quern__shard_lacks(s, quern__pg_get_int(r, i, 0), one, NULL);
        if (n > 0)
            rc = quern__code(err,
                             quern__fail(err, QUERN_EIO, n,
                                         "shard %s (%s) lacks quern_shard.%s, as after a restore"
                                         " from a backup that is older: run `quern shard apply`,"
                                         " then `quern fill`",
                                         quern__pg_get_text(r, i, 0).ptr,
                                         quern__pg_get_text(r, i, 1).ptr, one),
                             "shard_incomplete");
    }
    quern__pg_clear(r);
    return rc;
}

static void put_server(quern__buf *out, int64_t server, const char *place, const char *why)
{
    quern__buf_printf(out, "shard %" PRId64 " (%s) does not answer: %s", server, place, why);
}

int quern__shard_blame(quern__postgres *s, int rc, quern_error *err)
{
    quern__pg_result *r = NULL;
    quern_error why;
    quern__buf said;
    if (rc == QUERN_EINVAL && err && !quern__pg_in_transaction(s->own) &&
        quern__shard_lost_table(s, err))
        return blame_table(s, rc, err);
    /* said first, and not behind another fault: a shard's, whose part of our transaction broke off unseen */
    if (rc == QUERN_EINTERNAL && strcmp(quern__pg_sqlstate(s->own), "25P02") == 0)
        rc = quern__fail(err, QUERN_EIO, 0, "a shard's connection broke off; it answers again");
    /* a fault of our own server's has no letters, one of a shard has */
    if (rc != QUERN_EIO || !*quern__pg_sqlstate(s->own) || quern__pg_in_transaction(s->own))
        return rc;
    if (quern__postgres_query(s, "SELECT id, place FROM @shards ORDER BY id", NULL,
                              QUERN__PG_AS_TEXT, &r, NULL) != QUERN_OK)
        return rc;
    quern__buf_init(&said, 4096);
    for (size_t i = 0; i < quern__pg_rows(r); i++) {
        int64_t id = quern__pg_get_int(r, i, 0);
        if (quern__shard_answers(s, id, &why))
            continue;
        if (said.len)
            quern__buf_puts(&said, "; ");
        put_server(&said, id, quern__pg_get_text(r, i, 1).ptr, why.msg);
    }
    if (said.len && quern__buf_ok(&said, "a message", NULL) == QUERN_OK)
        quern__fail(err, rc, 0, "%s", said.data);
    quern__buf_dispose(&said);
    quern__pg_clear(r);
    return rc;
}

/* ---- tables ---- */

void quern__shard_put_leaf(quern__buf *out, const quern__postgres *s, const quern__pg_generation *g)
{
    quern__buf_printf(
        out, "CREATE TABLE IF NOT EXISTS quern_shard.vectors_%" PRId64 " (id bigint PRIMARY KEY, ",
        g->id);
    quern__pg_put_columns(s, g, out);
    quern__buf_printf(out,
                      ", save bigint NOT NULL, UNIQUE (key, chunk, save)); ALTER TABLE"
                      " quern_shard.vectors_%" PRId64 " ALTER embedding SET STORAGE %s",
                      g->id, quern__pg_stored_how(g));
}

static void put_trunk(quern__buf *out, const quern__postgres *s, const quern__pg_generation *g,
                      const int64_t *servers, size_t n)
{
    const char *p = s->prefix;
    int64_t id = g->id;
    /* what is there when a part of it was lost: nothing of a generation's is worth more than making it again */
    quern__buf_printf(out,
                      "DROP TABLE IF EXISTS %svectors_%" PRId64
                      "_all CASCADE; DROP SEQUENCE IF EXISTS %svectors_%" PRId64 "_numbers;",
                      p, id, p, id);
    quern__buf_printf(out,
                      "CREATE SEQUENCE %svectors_%" PRId64
                      "_numbers; CREATE TABLE %svectors_%" PRId64
                      "_all (id bigint NOT NULL DEFAULT ((%" PRId64
                      "::bigint << 40) | nextval('%svectors_%" PRId64 "_numbers')), ",
                      p, id, p, id, id, s->inside, id);
    quern__pg_put_columns(s, g, out);
    quern__buf_printf(out,
                      ", save bigint NOT NULL) PARTITION BY HASH (key); ALTER SEQUENCE"
                      " %svectors_%" PRId64 "_numbers OWNED BY %svectors_%" PRId64 "_all.id;",
                      p, id, p, id);
    for (size_t i = 0; i < n; i++)
        quern__buf_printf(out,
                          "CREATE FOREIGN TABLE %svectors_%" PRId64
                          "_p%zu PARTITION OF %svectors_%" PRId64
                          "_all FOR VALUES WITH (MODULUS %zu, REMAINDER %zu) SERVER"
                          " %s_shard_%" PRId64 " OPTIONS (schema_name 'quern_shard', table_name"
                          " 'vectors_%" PRId64 "');",
                          p, id, i, p, id, n, i, s->tag, servers[i], id);
    quern__buf_printf(
        out,
        "CREATE VIEW %svectors_%" PRId64 " AS SELECT v.* FROM %svectors_%" PRId64
        "_all AS v JOIN LATERAL (SELECT 1 FROM %sstamps AS s WHERE s.generation = %" PRId64
        " AND s.key = v.key AND s.save = v.save LIMIT 1) AS its ON true; ",
        p, id, p, id, p, id);
    quern__shard_put_stamps_trunk(out, s, id, servers, n);
}

static int set_shards(quern__postgres *s, int64_t id, size_t n, quern_error *err)
{
    quern__pg_params p;
    quern__pg_params_init(&p);
    quern__pg_int(&p, id);
    quern__pg_int(&p, (int64_t)n);
    return quern__postgres_run(
        s, "UPDATE @generations SET shards = $2::bigint, beside = $2 > 0 WHERE id = $1", &p, NULL,
        err);
}

int quern__shard_create(quern__postgres *s, const quern__pg_generation *g, quern_error *err)
{
    int64_t servers[QUERN__PG_SHARDS];
    size_t n = 0;
    quern__buf leaf, trunk;
    int rc = quern__shard_servers(s, 0, servers, &n, err);
    if (rc || n == 0)
        return rc ? rc : set_shards(s, g->id, 0, err);
    quern__buf_init(&leaf, 1 << 16);
    quern__buf_init(&trunk, QUERN__PG_LONGEST_SQL);
    /* those of that name are of a future that a restored backup does not know */
    quern__buf_printf(&leaf,
                      "DROP TABLE IF EXISTS quern_shard.vectors_%" PRId64
                      ", quern_shard.stamps_%" PRId64 "; ",
                      g->id, g->id);
    quern__shard_put_leaf(&leaf, s, g);
    quern__buf_puts(&leaf, "; ");
    quern__shard_put_stamps_leaf(&leaf, g->id);
    put_trunk(&trunk, s, g, servers, n);
    rc = quern__buf_ok(&leaf, "a table", err);
    if (!rc)
        rc = quern__buf_ok(&trunk, "a table", err);
    for (size_t i = 0; i < n && !rc; i++)
        rc = quern__shard_order(s, servers[i], leaf.data, err);
    if (!rc)
        rc = quern__pg_script(s->own, trunk.data, err);
    if (!rc)
        rc = set_shards(s, g->id, n, err);
    quern__buf_dispose(&leaf);
    quern__buf_dispose(&trunk);
    return rc ? rc : 1;
}

int quern__shard_drop(quern__postgres *s, int64_t id, quern_error *err)
{
    int64_t servers[QUERN__PG_SHARDS];
    size_t n = 0;
    char sql[160];
    int rc = quern__shard_servers(s, id, servers, &n, err);
    if (rc || n == 0)
        return rc;
    snprintf(sql, sizeof sql,
             "DROP TABLE IF EXISTS quern_shard.vectors_%" PRId64 ", quern_shard.stamps_%" PRId64,
             id, id);
    for (size_t i = 0; i < n && !rc; i++)
        rc = quern__shard_order(s, servers[i], sql, err);
    snprintf(sql, sizeof sql, "DROP VIEW IF EXISTS @vectors_%" PRId64, id);
    if (!rc)
        rc = quern__postgres_run(s, sql, NULL, NULL, err);
    snprintf(sql, sizeof sql,
             "DROP TABLE IF EXISTS @vectors_%" PRId64 "_all, @stamps_%" PRId64 "_all", id, id);
    return rc ? rc : quern__postgres_run(s, sql, NULL, NULL, err);
}

/* ---- reading ---- */

int quern__shard_promised(quern__postgres *s, int64_t generation, quern__pg_array *keys,
                          int64_t *chunks, quern_error *err)
{
    quern__pg_params p;
    quern__pg_params_init(&p);
    quern__pg_int(&p, generation);
    quern__pg_bind_array(&p, keys);
    int rc = quern__postgres_scalar(s,
                                    "SELECT coalesce(sum(chunks), 0)::bigint FROM @stamps"
                                    " WHERE generation = $1 AND key = ANY ($2)",
                                    &p, chunks, err);
    return rc < 0 ? rc : QUERN_OK;
}

/* " LEFT JOIN …": its.one is NULL where a row (of `alias`) is not its stamp's. */
static void put_stamp(quern__buf *out, const quern__postgres *s, int64_t generation,
                      const char *alias)
{
    quern__buf_printf(out,
                      " LEFT JOIN LATERAL (SELECT 1 AS one FROM %sstamps AS s WHERE s.generation ="
                      " %" PRId64
                      " AND s.key = %s.key AND s.save = %s.save LIMIT 1) AS its ON true",
                      s->prefix, generation, alias, alias);
}

/* A block of one partition behind *after, which moves on; *n: of those that belong, *seen: of all. */
static int read_block(quern__postgres *s, const quern__pg_generation *g, int part, int64_t *after,
                      int64_t *refs, char *data, size_t *n, size_t *seen, quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *r = NULL;
    quern__buf sql;
    quern__buf_init(&sql, 8192);
    quern__buf_printf(&sql,
                      "SELECT v.id, v.embedding, its.one FROM (SELECT id, key, save, embedding FROM"
                      " %svectors_%" PRId64 "_p%d WHERE id > $1 ORDER BY id LIMIT %d) AS v",
                      s->prefix, g->id, part, (int)BLOCK_VECTORS);
    put_stamp(&sql, s, g->id, "v");
    quern__buf_puts(&sql, " ORDER BY v.id");
    quern__pg_params_init(&p);
    quern__pg_int(&p, *after);
    *n = *seen = 0;
    int rc = quern__buf_ok(&sql, "a statement", err);
    if (!rc)
        rc = quern__pg_query(s->own, sql.data, &p, QUERN__PG_AS_BINARY, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r) && i < BLOCK_VECTORS; i++, ++*seen) {
        *after = quern__pg_get_int(r, i, 0);
        if (quern__pg_is_null(r, i, 2))
            continue;
        refs[*n] = *after;
        rc = quern__pg_read_vector(g, r, i, 1, data + *n * g->width, err);
        *n += !rc;
    }
    quern__pg_clear(r);
    quern__buf_dispose(&sql);
    return quern__shard_blame(s, rc, err);
}

int quern__shard_vectors(quern__postgres *s, const quern__pg_generation *g, quern_block_fn fn,
                         void *ud, quern_error *err)
{
    int64_t *refs = quern__alloc_array(BLOCK_VECTORS, sizeof *refs);
    char *data = quern__alloc_array(BLOCK_VECTORS, g->width);
    int rc = refs && data ? QUERN_OK : quern__fail_memory(err, BLOCK_VECTORS * g->width);
    for (int part = 0; part < g->shards && !rc; part++) {
        int64_t after = -1;
        size_t n, seen = quern__shard_misses(g, part) ? 0 : BLOCK_VECTORS;
        while (!rc && seen == BLOCK_VECTORS) {
            rc = read_block(s, g, part, &after, refs, data, &n, &seen, err);
            if (!rc && n)
                rc = fn(refs, data, n, ud);
        }
    }
    quern__free(refs);
    quern__free(data);
    return rc;
}

/* Do the rows there are the rows that the stamps promise? Counts and sums of hashes say so, made on each server: no row
 * travels. A no may be a yes (servers of another byte order hash otherwise), a yes is no accident: numbers are random. */
static int all_belong(quern__postgres *s, const quern__pg_generation *g, quern_error *err)
{
    static const char sums[] = "pg_catalog.hashtextextended(key, save)";
    quern__pg_params p;
    quern__buf sql;
    int64_t same = 0;
    quern__buf_init(&sql, 16384);
    quern__buf_printf(&sql, "SELECT ((SELECT row(coalesce(sum(n), 0), coalesce(sum(h), 0)) FROM (");
    for (int i = 0; i < g->shards; i++)
        quern__buf_printf(&sql,
                          "%sSELECT count(*) AS n, sum(%s) AS h FROM %svectors_%" PRId64 "_p%d",
                          i ? " UNION ALL " : "", sums, s->prefix, g->id, i);
    quern__buf_printf(
        &sql,
        ") AS there) = (SELECT row(coalesce(sum(chunks), 0), coalesce(sum(chunks * %s),"
        " 0)) FROM %sstamps WHERE generation = $1 AND chunks > 0))::int::bigint",
        "pg_catalog.hashtextextended(key, save)::numeric", s->prefix);
    quern__pg_params_init(&p);
    quern__pg_int(&p, g->id);
    int rc = quern__buf_ok(&sql, "a statement", err);
    if (!rc)
        rc = quern__pg_scalar(s->own, sql.data, &p, &same, err);
    quern__buf_dispose(&sql);
    return rc < 0 ? rc : same != 0;
}

int quern__shard_count(quern__postgres *s, const quern__pg_generation *g, uint64_t promised,
                       uint64_t *vectors, quern_error *err)
{
    char sql[80];
    int64_t n = 0;
    int rc = all_belong(s, g, err);
    *vectors = promised;
    if (rc)
        return rc < 0 ? quern__shard_blame(s, rc, err) : QUERN_OK;
    snprintf(sql, sizeof sql, "SELECT count(*) FROM @vectors_%" PRId64, g->id);
    rc = quern__postgres_scalar(s, sql, NULL, &n, err);
    *vectors = (uint64_t)n;
    return quern__shard_blame(s, rc < 0 ? rc : QUERN_OK, err);
}

/* ---- near vectors ---- */

/* The distance stands among the columns though nobody reads it: a column that is only sorted by keeps the scans
 * from running at the same time. */
void quern__shard_put_question(const quern__postgres *s, const quern__pg_generation *g,
                               const quern__buf *first, const quern__buf *last, size_t each,
                               size_t k, quern__buf *sql)
{
    if (!first->data || !last->data || first->failed || last->failed) {
        sql->failed = true;
        return;
    }
    quern__buf_puts(sql, "WITH best AS MATERIALIZED (");
    const char *between = "";
    for (int i = 0; i < g->shards; i++) {
        if (quern__shard_misses(g, i))
            continue;
        quern__buf_printf(sql,
                          "%s(SELECT id, key, save, embedding, %.*s AS d FROM %svectors_%" PRId64
                          "_p%d ORDER BY %.*s LIMIT %zu)",
                          between, (int)first->len, first->data, s->prefix, g->id, i,
                          (int)first->len, first->data, each);
        between = " UNION ALL ";
    }
    quern__buf_puts(sql,
                    "), told AS MATERIALIZED (SELECT b.id, b.embedding, its.one FROM best AS b");
    put_stamp(sql, s, g->id, "b");
    quern__buf_printf(
        sql,
        ") SELECT j.id, j.embedding, h.n FROM (SELECT count(*) AS n FROM told WHERE one"
        " IS NULL) AS h LEFT JOIN (SELECT id, embedding FROM told WHERE one IS NOT NULL"
        " ORDER BY %.*s LIMIT %zu) AS j ON true",
        (int)last->len, last->data, k);
}

bool quern__shard_hidden(quern__pg_result **r, size_t *margin)
{
    if (!*r || quern__pg_rows(*r) == 0)
        return false;
    int64_t hidden = quern__pg_get_int(*r, 0, 2);
    if (hidden > 0 && (uint64_t)hidden > *margin) {
        *margin = 2 * (size_t)hidden;
        return true;
    }
    if (quern__pg_is_null(*r, 0, 0)) { /* nothing but the count */
        quern__pg_clear(*r);
        *r = NULL;
    }
    return false;
}

/* ---- indexes ---- */

/* One shard's: enum quern_index_state. */
static int index_at(quern__postgres *s, int64_t server, const char *name, int *state,
                    quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *r = NULL;
    char sql[100];
    snprintf(sql, sizeof sql,
             "SELECT ready, building FROM @shard_%" PRId64 "_tables WHERE name = $1", server);
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(name));
    int rc = quern__postgres_query(s, sql, &p, QUERN__PG_AS_TEXT, &r, err);
    if (rc)
        return rc;
    *state = quern__pg_rows(r) == 0       ? QUERN_INDEX_ABSENT
             : quern__pg_get_int(r, 0, 0) ? QUERN_INDEX_READY
             : quern__pg_get_int(r, 0, 1) ? QUERN_INDEX_BUILDING
                                          : QUERN_INDEX_INVALID;
    quern__pg_clear(r);
    return QUERN_OK;
}

int quern__shard_index_state(quern__postgres *s, const quern__pg_generation *g, const char *name,
                             int *state, quern_error *err)
{
    int64_t servers[QUERN__PG_SHARDS];
    size_t n = 0;
    int rc = quern__shard_servers(s, g->id, servers, &n, err);
    *state = QUERN_INDEX_READY;
    for (size_t i = 0; i < n && !rc && *state != QUERN_INDEX_BUILDING; i++) {
        int one = QUERN_INDEX_READY;
        if (quern__shard_is_down(s, servers[i], g->id))
            continue;
        rc = index_at(s, servers[i], name, &one, err);
        if (!rc && one != QUERN_INDEX_READY)
            *state = one;
    }
    return quern__shard_blame(s, rc, err);
}

/* A build by dblink, over connections of its own: CONCURRENTLY cannot be part of a transaction. The one around it here
 * keeps us at one session, even behind a pooler; between statements it holds no snapshot, so nobody's vacuum waits. */
typedef struct building {
    quern__postgres *s;
    const char *name, *definition;
    char prefix[160], link[NAME_BYTES]; /* of dblink's functions, of the connections */
    int64_t servers[QUERN__PG_SHARDS];
    int state[QUERN__PG_SHARDS];
    bool open[QUERN__PG_SHARDS];
    size_t n;
} building;

/* A function of dblink's on connection i; *out: what it says, NULL where that is not a number. */
static int call(building *b, const char *function, size_t i, const char *argument, int64_t *out,
                quern_error *err)
{
    quern__pg_params p;
    char link[NAME_BYTES + 24], sql[400];
    int64_t ignored;
    bool rows = strcmp(function, "dblink_get_result") == 0;
    snprintf(sql, sizeof sql, "SELECT %s%s%s($1%s)%s", rows ? "1 FROM " : "", b->prefix, function,
             argument ? ", $2" : "",
             rows  ? " AS t(status text)"
             : out ? "::bigint"
                   : "::text");
    snprintf(link, sizeof link, "%s_%zu", b->link, i);
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(link));
    if (argument)
        quern__pg_text(&p, quern_str_of(argument));
    int rc = quern__pg_scalar(b->s->own, sql, &p, out ? out : &ignored, err);
    return rc < 0 ? rc : QUERN_OK;
}

static int find_dblink(building *b, quern_error *err)
{
    quern__pg_result *r = NULL;
    int rc = quern__pg_query(b->s->own,
                             "SELECT quote_ident(n.nspname) FROM pg_catalog.pg_extension e JOIN"
                             " pg_catalog.pg_namespace n ON n.oid = e.extnamespace"
                             " WHERE e.extname = 'dblink'",
                             NULL, QUERN__PG_AS_TEXT, &r, err);
    if (rc)
        return rc;
    if (quern__pg_rows(r))
        snprintf(b->prefix, sizeof b->prefix, "%s.", quern__pg_get_text(r, 0, 0).ptr);
    else
        rc = quern__fail(err, QUERN_EUNSUPPORTED, 0,
                         "the extension dblink is gone; `quern shard apply` makes it");
    quern__pg_clear(r);
    return rc;
}

static int begin_at(building *b, size_t i, quern_error *err)
{
    char server[NAME_BYTES], sql[160];
    snprintf(server, sizeof server, "%s_shard_%" PRId64, b->s->tag, b->servers[i]);
    int rc = call(b, "dblink_connect", i, server, NULL, err);
    b->open[i] = !rc;
    snprintf(sql, sizeof sql, "DROP INDEX CONCURRENTLY IF EXISTS quern_shard.%s", b->name);
    if (!rc && b->state[i] == QUERN_INDEX_INVALID) /* what a build left that failed */
        rc = call(b, "dblink_exec", i, sql, NULL, err);
    if (!rc)
        rc = call(b, "dblink_send_query", i, b->definition, NULL, err);
    return rc;
}

/* Before the transaction: a build waits for what is older than itself, this reading too. */
static int look_at_all(building *b, quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t i = 0; i < b->n && !rc; i++) {
        rc = index_at(b->s, b->servers[i], b->name, &b->state[i], err);
        if (!rc && b->state[i] == QUERN_INDEX_BUILDING)
            rc = quern__fail(err, QUERN_EBUSY, b->servers[i],
                             "index %s is being built on shard %" PRId64, b->name, b->servers[i]);
    }
    return rc;
}

/* Until all have ended; a build that is cancelled ends soon, by an error. */
static int wait_for_all(building *b, const quern_cancel *cancel, quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t i = 0; i < b->n && !rc; i++) {
        int64_t busy = b->open[i];
        while (!rc && busy) {
            rc = call(b, "dblink_is_busy", i, NULL, &busy, err);
            for (size_t k = i; !rc && k < b->n && quern_cancel_raised(cancel); k++)
                if (b->open[k])
                    rc = call(b, "dblink_cancel_query", k, NULL, NULL, err);
            if (!rc && busy)
                quern__sleep_ms(POLL_MS);
        }
    }
    if (!rc && quern_cancel_raised(cancel))
        return quern__fail(err, QUERN_ECANCELLED, 0, "stopped while index %s was being built",
                           b->name);
    for (size_t i = 0; i < b->n && !rc; i++)
        if (b->open[i])
            rc = call(b, "dblink_get_result", i, NULL, NULL, err);
    return rc;
}

int quern__shard_index_build(quern__postgres *s, const quern__pg_generation *g, const char *name,
                             const char *definition, const quern_cancel *cancel, quern_error *err)
{
    building b = {.s = s, .name = name, .definition = definition};
    snprintf(b.link, sizeof b.link, "quern_%016" PRIx64, quern__os_entropy());
    int rc = quern__shard_servers(s, g->id, b.servers, &b.n, err);
    if (!rc)
        rc = find_dblink(&b, err);
    if (!rc)
        rc = look_at_all(&b, err);
    if (!rc)
        rc = quern__pg_begin(s->own, QUERN__PG_READ, err);
    bool begun = !rc;
    for (size_t i = 0; i < b.n && !rc; i++)
        rc = b.state[i] == QUERN_INDEX_READY ? QUERN_OK : begin_at(&b, i, err);
    if (!rc)
        rc = wait_for_all(&b, cancel, err);
    if (begun && rc)
        quern__pg_rollback(s->own);
    for (size_t i = 0; i < b.n; i++) /* the session keeps them else */
        if (b.open[i])
            call(&b, "dblink_disconnect", i, NULL, NULL, NULL);
    if (begun && !rc)
        rc = quern__pg_commit(s->own, err);
    return quern__shard_blame(s, rc, err);
}

/* ---- numbers that were lost ---- */

typedef struct numbering {
    quern__postgres *s;
    const quern__pg_generation *g;
} numbering;

/* Nobody saves meanwhile (savers hold the generation's row), so the sequence never steps back. */
static int renumber(void *ud, quern_error *err)
{
    const numbering *w = ud;
    quern__pg_params p;
    quern__buf sql;
    quern__pg_params_init(&p);
    quern__pg_int(&p, w->g->id);
    int rc = quern__postgres_run(w->s, "SELECT 1 FROM @generations WHERE id = $1 FOR UPDATE", &p,
                                 NULL, err);
    quern__buf_init(&sql, 16384);
    quern__buf_printf(&sql,
                      "SELECT setval('%svectors_%" PRId64 "_numbers', greatest((SELECT last_value"
                      " FROM %svectors_%" PRId64 "_numbers), (SELECT max(id) & ((1::bigint << 40) -"
                      " 1) FROM (",
                      w->s->inside, w->g->id, w->s->prefix, w->g->id);
    for (int i = 0; i < w->g->shards; i++)
        quern__buf_printf(&sql, "%sSELECT max(id) AS id FROM %svectors_%" PRId64 "_p%d",
                          i ? " UNION ALL " : "", w->s->prefix, w->g->id, i);
    quern__buf_puts(&sql, ") AS last)))");
    if (!rc)
        rc = quern__buf_ok(&sql, "a statement", err);
    if (!rc)
        rc = quern__pg_run(w->s->own, sql.data, NULL, NULL, err);
    quern__buf_dispose(&sql);
    return rc;
}

int quern__shard_renumber(quern__postgres *s, const quern__pg_generation *g, quern_error *err)
{
    numbering w = {s, g};
    quern__log(QUERN_LOG_INFO, "store",
               "generation %" PRId64 ": its shards know numbers that the store has forgotten",
               g->id);
    return quern__pg_transact(s->own, QUERN__PG_WRITE, renumber, &w, err);
}

/* ---- leftovers ---- */

typedef struct sweeping {
    quern__postgres *s;
    quern__pg_generation g;
    int part;
    quern__pg_array ids; /* of one partition, that look like leftovers */
    int64_t after, removed;
    size_t seen;
} sweeping;

/* Rows of a partition behind w->after whose number is not their stamp's, into w->ids. */
static int find_leftovers(sweeping *w, quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *r = NULL;
    quern__buf sql;
    quern__buf_init(&sql, 8192);
    quern__buf_printf(&sql,
                      "SELECT v.id, its.one FROM (SELECT id, key, save FROM %svectors_%" PRId64
                      "_p%d WHERE id > $1 ORDER BY id LIMIT %d) AS v",
                      w->s->prefix, w->g.id, w->part, (int)SWEEP_ROWS);
    put_stamp(&sql, w->s, w->g.id, "v");
    quern__buf_puts(&sql, " ORDER BY v.id");
    quern__pg_params_init(&p);
    quern__pg_int(&p, w->after);
    quern__pg_array_clear(&w->ids);
    w->seen = 0;
    int rc = quern__buf_ok(&sql, "a statement", err);
    if (!rc)
        rc = quern__pg_query(w->s->own, sql.data, &p, QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++, w->seen++) {
        w->after = quern__pg_get_int(r, i, 0);
        if (quern__pg_is_null(r, i, 1))
            quern__pg_array_int(&w->ids, w->after);
    }
    quern__pg_clear(r);
    quern__buf_dispose(&sql);
    return rc;
}

/* Removes those of w->ids that are leftovers still, while nobody saves: savers hold the generation's row. */
static int remove_leftovers(void *ud, quern_error *err)
{
    sweeping *w = ud;
    quern__pg_params p;
    quern__buf sql;
    w->removed = 0;
    quern__pg_params_init(&p);
    quern__pg_int(&p, w->g.id);
    int rc = quern__postgres_run(w->s, "SELECT 1 FROM @generations WHERE id = $1 FOR UPDATE", &p,
                                 NULL, err);
    quern__buf_init(&sql, 8192);
    quern__buf_printf(&sql,
                      "WITH gone AS MATERIALIZED (SELECT v.id FROM %svectors_%" PRId64 "_p%d AS v",
                      w->s->prefix, w->g.id, w->part);
    put_stamp(&sql, w->s, w->g.id, "v");
    quern__buf_printf(&sql,
                      " WHERE v.id = ANY ($1) AND its.one IS NULL) DELETE FROM %svectors_%" PRId64
                      "_p%d WHERE id = ANY (ARRAY(SELECT id FROM gone))",
                      w->s->prefix, w->g.id, w->part);
    quern__pg_params_init(&p);
    quern__pg_bind_array(&p, &w->ids);
    if (!rc)
        rc = quern__buf_ok(&sql, "a statement", err);
    if (!rc)
        rc = quern__pg_run(w->s->own, sql.data, &p, &w->removed, err);
    quern__buf_dispose(&sql);
    return rc;
}

/* Are more rows there than the stamps promise? Counted on the shards: no row travels. */
static int any_leftovers(sweeping *w, quern_error *err)
{
    quern__pg_params p;
    quern__buf sql;
    int64_t more = 0;
    quern__buf_init(&sql, 8192);
    quern__buf_puts(&sql, "SELECT (0");
    for (int i = 0; i < w->g.shards; i++)
        quern__buf_printf(&sql, " + (SELECT count(*) FROM %svectors_%" PRId64 "_p%d)", w->s->prefix,
                          w->g.id, i);
    quern__buf_printf(
        &sql,
        ") - (SELECT coalesce(sum(chunks), 0)::bigint FROM %sstamps WHERE generation ="
        " $1)",
        w->s->prefix);
    quern__pg_params_init(&p);
    quern__pg_int(&p, w->g.id);
    int rc = quern__buf_ok(&sql, "a statement", err);
    if (!rc)
        rc = quern__pg_scalar(w->s->own, sql.data, &p, &more, err);
    quern__buf_dispose(&sql);
    return rc < 0 ? rc : more != 0;
}

int quern__postgres_sweep_shards(void *self, int64_t generation, uint64_t *removed,
                                 quern_error *err)
{
    sweeping w = {.s = self};
    *removed = 0;
    int rc = quern__postgres_generation_get(w.s, generation, false, &w.g, err);
    if (rc || !w.g.shards)
        return rc;
    uint64_t stamps = 0;
    if (w.g.beside && (rc = quern__shard_stamps_sweep(w.s, &w.g, &stamps, err)) != QUERN_OK)
        return quern__shard_blame(w.s, rc, err);
    rc = any_leftovers(&w, err);
    if (rc <= 0)
        return quern__shard_blame(w.s, rc, err);
    rc = QUERN_OK;
    quern__pg_array_init(&w.ids, QUERN__PG_INT8, 0);
    for (w.part = 0; w.part < w.g.shards && !rc; w.part++) {
        w.after = -1;
        w.seen = SWEEP_ROWS;
        while (!rc && w.seen == SWEEP_ROWS) {
            rc = find_leftovers(&w, err);
            if (!rc && w.ids.n)
                rc = quern__pg_transact(w.s->own, QUERN__PG_WRITE, remove_leftovers, &w, err);
            *removed += !rc && w.ids.n ? (uint64_t)w.removed : 0;
        }
    }
    quern__pg_array_dispose(&w.ids);
    if (*removed)
        quern__log(QUERN_LOG_WARN, "store",
                   "generation %" PRId64 ": %" PRIu64
                   " vectors removed from its shards that no save had completed",
                   generation, *removed);
    return quern__shard_blame(w.s, rc, err);
}
