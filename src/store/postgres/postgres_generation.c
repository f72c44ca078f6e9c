/*
 * postgres_generation.c — generations: one building and one active a source, kept so by two partial unique
 * indexes. Each has a table of its own for its vectors, made and dropped with it, so that a purge gives its space
 * back at once. Whoever saves holds the generation's row FOR KEY SHARE: many may, and its count may be updated
 * meanwhile, but activating and purging lock it FOR UPDATE and so wait for saves that are under way.
 */
#include "store/postgres/postgres_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/os.h"

enum {
    PURGE_STAMPS = 2000,      /* a slice */
    PURGE_TEXTS = 500,        /* likewise */
    LARGEST_PGVECTOR = 16000, /* dimensions */
    WIDEST_INLINE = 4096      /* bytes of a vector that lies in its row, not beside it */
};

static const char *const storages[] = {"bytea", "halfvec", "vector"};

static void copy_text(char *out, size_t size, quern_str from)
{
    size_t n = from.len < size - 1 ? from.len : size - 1;
    if (n)
        memcpy(out, from.ptr, n);
    out[n] = '\0';
}

#define COLUMNS                                                                                    \
    "g.id, g.state, g.fingerprint, g.model, g.vector_type, g.dimensions, g.created_ms,"            \
    " g.activated_ms, g.retired_ms, g.chunks"

static void read_generation(const quern__pg_result *r, size_t row, quern_generation *out)
{
    memset(out, 0, sizeof *out);
    out->id = quern__pg_get_int(r, row, 0);
    copy_text(out->state, sizeof out->state, quern__pg_get_text(r, row, 1));
    copy_text(out->fingerprint, sizeof out->fingerprint, quern__pg_get_text(r, row, 2));
    copy_text(out->model, sizeof out->model, quern__pg_get_text(r, row, 3));
    copy_text(out->vector_type, sizeof out->vector_type, quern__pg_get_text(r, row, 4));
    out->dimensions = (uint32_t)quern__pg_get_int(r, row, 5);
    out->created_ms = quern__pg_get_int(r, row, 6);
    out->activated_ms = quern__pg_get_int(r, row, 7);
    out->retired_ms = quern__pg_get_int(r, row, 8);
    out->chunks = (uint64_t)quern__pg_get_int(r, row, 9);
}

int quern__postgres_generation_find(void *self, const char *source, const char *state,
                                    quern_generation *out, quern_error *err)
{
    quern__postgres *s = self;
    quern__pg_params p;
    quern__pg_result *r = NULL;
    int64_t id = 0;
    memset(out, 0, sizeof *out);
    int rc = quern__postgres_source_id(s, source, &id, err);
    if (rc)
        return rc;
    quern__pg_params_init(&p);
    quern__pg_int(&p, id);
    quern__pg_text(&p, quern_str_of(state));
    rc = quern__postgres_query(s,
                               "SELECT " COLUMNS
                               " FROM @generations AS g WHERE g.source = $1 AND g.state = $2"
                               " ORDER BY g.id DESC LIMIT 1",
                               &p, QUERN__PG_AS_TEXT, &r, err);
    if (rc)
        return rc;
    if (quern__pg_rows(r))
        read_generation(r, 0, out);
    else
        rc =
            quern__fail(err, QUERN_ENOTFOUND, 0, "source '%s' has no %s generation", source, state);
    quern__pg_clear(r);
    return rc;
}

int quern__postgres_generation_each(void *self, const char *source, quern_generation_fn fn,
                                    void *ud, quern_error *err)
{
    quern__postgres *s = self;
    quern__pg_params p;
    quern__pg_result *r = NULL;
    int64_t id = 0;
    int rc = source ? quern__postgres_source_id(s, source, &id, err) : QUERN_OK;
    if (rc)
        return rc;
    quern__pg_params_init(&p);
    quern__pg_int(&p, id);
    rc = quern__postgres_query(
        s,
        "SELECT " COLUMNS ", s.name FROM @generations AS g JOIN @sources AS s ON s.id = g.source"
        " WHERE NOT s.dropped AND ($1 = 0 OR g.source = $1) ORDER BY g.id",
        &p, QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++) {
        quern_generation g;
        read_generation(r, i, &g);
        rc = fn(quern__pg_get_text(r, i, 10).ptr, &g, ud);
    }
    quern__pg_clear(r);
    return rc;
}

int quern__postgres_generation_get(quern__postgres *s, int64_t id, bool keep,
                                   quern__pg_generation *out, quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *r = NULL;
    memset(out, 0, sizeof *out);
    quern__pg_params_init(&p);
    quern__pg_int(&p, id);
    int rc = quern__postgres_query(
        s,
        keep ? "SELECT state, storage, vector_type, dimensions, shards, beside FROM @generations"
               " WHERE id = $1 FOR KEY SHARE"
             : "SELECT state, storage, vector_type, dimensions, shards, beside FROM @generations"
               " WHERE id = $1",
        &p, QUERN__PG_AS_TEXT, &r, err);
    if (rc)
        return rc;
    if (quern__pg_rows(r)) {
        quern_str storage = quern__pg_get_text(r, 0, 1);
        out->id = id;
        copy_text(out->state, sizeof out->state, quern__pg_get_text(r, 0, 0));
        for (int i = 0; i < 3; i++)
            if (strcmp(storage.ptr, storages[i]) == 0)
                out->storage = i;
        out->dimensions = (uint32_t)quern__pg_get_int(r, 0, 3);
        size_t element = strcmp(quern__pg_get_text(r, 0, 2).ptr, "f16") == 0 ? 2 : 4;
        out->width = (size_t)out->dimensions * element;
        out->shards = (int)quern__pg_get_int(r, 0, 4);
        out->beside = quern__pg_get_int(r, 0, 5) != 0;
    } else
        rc = quern__fail(err, QUERN_ENOTFOUND, id, "there is no generation %" PRId64, id);
    quern__pg_clear(r);
    s->sharded |= !rc && out->shards;
    if (!rc && out->shards && s->n_down)
        rc = quern__shard_find_missing(s, out, err);
    return rc;
}

/* ---- build ---- */

typedef struct building {
    quern__postgres *s;
    const char *source, *fingerprint_json;
    const quern_generation *g;
    int64_t id;
    int storage;
} building;

static int insert_generation(building *b, int64_t source, quern_error *err)
{
    const quern_generation *g = b->g;
    quern__pg_params p;
    quern__pg_params_init(&p);
    quern__pg_int(&p, source);
    quern__pg_text(&p, quern_str_of(g->fingerprint));
    quern__pg_text(&p, quern_str_of(b->fingerprint_json));
    quern__pg_text(&p, quern_str_of(g->model));
    quern__pg_text(&p, quern_str_of(g->vector_type));
    quern__pg_text(&p, quern_str_of(storages[b->storage]));
    quern__pg_int(&p, g->dimensions);
    quern__pg_int(&p, g->created_ms ? g->created_ms : quern__wall_ms());
    quern_error inner;
    int rc = quern__postgres_scalar(
        b->s,
        "INSERT INTO @generations (source, state, fingerprint, fingerprint_json, model,"
        " vector_type, storage, dimensions, created_ms)"
        " VALUES ($1, 'building', $2, $3, $4, $5, $6, $7, $8) RETURNING id",
        &p, &b->id, &inner);
    if (rc == QUERN_EEXISTS)
        return quern__fail(err, rc, 0, "source '%s' has a building generation already", b->source);
    if (rc < 0 && err)
        *err = inner;
    return rc < 0 ? rc : QUERN_OK;
}

void quern__pg_put_columns(const quern__postgres *s, const quern__pg_generation *g, quern__buf *out)
{
    quern__buf_puts(
        out, "key text COLLATE \"C\" NOT NULL, chunk bigint NOT NULL,"
             " byte_start bigint NOT NULL, byte_end bigint NOT NULL,"
             " char_start bigint NOT NULL, char_end bigint NOT NULL,"
             " page bigint NOT NULL DEFAULT 0, heading text NOT NULL DEFAULT '', embedding ");
    if (g->storage == QUERN__PG_STORED_BYTES)
        quern__buf_puts(out, "pg_catalog.bytea NOT NULL");
    else
        quern__buf_printf(out, "%s%s(%u) NOT NULL", s->vector_prefix, storages[g->storage],
                          g->dimensions);
}

const char *quern__pg_stored_how(const quern__pg_generation *g)
{
    return g->width <= WIDEST_INLINE ? "PLAIN" : "EXTERNAL";
}

/* The generation's own table; on the shards where there are some. */
static int create_table(building *b, quern_error *err)
{
    quern__postgres *s = b->s;
    quern__pg_generation g = {.id = b->id, .storage = b->storage, .dimensions = b->g->dimensions};
    g.width = (size_t)g.dimensions * (strcmp(b->g->vector_type, "f16") == 0 ? 2 : 4);
    quern__buf sql;
    int rc = quern__shard_create(s, &g, err);
    if (rc != 0)
        return rc < 0 ? rc : QUERN_OK;
    quern__buf_init(&sql, 16384);
    quern__buf_printf(&sql, "CREATE SEQUENCE %svectors_%" PRId64 "_numbers;", s->prefix, b->id);
    quern__buf_printf(&sql,
                      "CREATE TABLE %svectors_%" PRId64 " (id bigint PRIMARY KEY DEFAULT ((%" PRId64
                      "::bigint << 40) | nextval('%svectors_%" PRId64 "_numbers')), ",
                      s->prefix, b->id, b->id, s->inside, b->id);
    quern__pg_put_columns(s, &g, &sql);
    quern__buf_printf(
        &sql,
        ", UNIQUE (key, chunk)); ALTER TABLE %svectors_%" PRId64 " ALTER embedding SET STORAGE %s;"
        "ALTER SEQUENCE %svectors_%" PRId64 "_numbers OWNED BY %svectors_%" PRId64 ".id",
        s->prefix, b->id, quern__pg_stored_how(&g), s->prefix, b->id, s->prefix, b->id);
    rc = quern__buf_ok(&sql, "the table of a generation", err);
    if (!rc)
        rc = quern__pg_script(s->own, sql.data, err);
    quern__buf_dispose(&sql);
    return rc;
}

static int build(void *ud, quern_error *err)
{
    building *b = ud;
    quern_generation there;
    int64_t source = 0;
    int rc = quern__postgres_source_id(b->s, b->source, &source, err);
    if (rc)
        return rc;
    rc = quern__postgres_generation_find(b->s, b->source, "building", &there, err);
    if (!rc)
        return quern__fail(err, QUERN_EEXISTS, there.id,
                           "source '%s' has a building generation already", b->source);
    if (rc != QUERN_ENOTFOUND)
        return rc;
    rc = insert_generation(b, source, err);
    return rc ? rc : create_table(b, err);
}

int quern__postgres_generation_build(void *self, const char *source, const quern_generation *g,
                                     const char *fingerprint_json, int64_t *id, quern_error *err)
{
    quern__postgres *s = self;
    bool f16 = strcmp(g->vector_type, "f16") == 0;
    *id = 0;
    if (g->dimensions == 0 || (!f16 && strcmp(g->vector_type, "f32") != 0))
        return quern__fail(err, QUERN_EINVAL, 0, "a generation of %u dimensions of type '%s'",
                           g->dimensions, g->vector_type);
    building b = {.s = s, .source = source, .fingerprint_json = fingerprint_json, .g = g};
    if (s->vector_version && g->dimensions <= LARGEST_PGVECTOR)
        b.storage = f16 ? QUERN__PG_STORED_HALFVEC : QUERN__PG_STORED_VECTOR;
    int rc = quern__pg_transact(s->own, QUERN__PG_WRITE, build, &b, err);
    if (!rc)
        *id = b.id;
    return quern__shard_blame(s, rc, err);
}

/* ---- tables that are lost ---- */

/* Again with the row locked: somebody else may have made it meanwhile, or purged the generation. */
static int make_again(void *ud, quern_error *err)
{
    building *b = ud;
    quern__pg_params p;
    char name[40];
    int64_t there = 0;
    quern__pg_params_init(&p);
    quern__pg_int(&p, b->id);
    int rc = quern__postgres_scalar(b->s, "SELECT id FROM @generations WHERE id = $1 FOR UPDATE",
                                    &p, &there, err);
    if (rc != 1)
        return rc;
    snprintf(name, sizeof name, "vectors_%" PRId64, b->id);
    rc = quern__postgres_relation(b->s, name, err);
    if (rc != 0)
        return rc < 0 ? rc : QUERN_OK;
    rc = create_table(b, err);
    quern__pg_params_init(&p);
    quern__pg_int(&p, b->id);
    if (!rc)
        rc = quern__postgres_run(b->s, "UPDATE @generations SET chunks = 0 WHERE id = $1", &p, NULL,
                                 err);
    if (!rc)
        quern__log(QUERN_LOG_WARN, "store",
                   "generation %" PRId64
                   ": its table of vectors was gone; it is there again, empty, "
                   "and the next fill embeds what was in it",
                   b->id);
    return rc;
}

int quern__postgres_mend(quern__postgres *s, quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *r = NULL;
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(s->schema));
    quern__pg_text(&p, quern_str_of(s->base));
    int rc = quern__postgres_query(
        s,
        "SELECT g.id, g.vector_type, g.storage, g.dimensions FROM @generations AS g"
        " WHERE g.state <> 'retired' AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = $1 AND c.relname = $2 || 'vectors_' || g.id)",
        &p, QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++) {
        quern_generation g = {.dimensions = (uint32_t)quern__pg_get_int(r, i, 3)};
        building b = {.s = s, .g = &g, .id = quern__pg_get_int(r, i, 0)};
        copy_text(g.vector_type, sizeof g.vector_type, quern__pg_get_text(r, i, 1));
        for (int k = 0; k < 3; k++)
            if (strcmp(quern__pg_get_text(r, i, 2).ptr, storages[k]) == 0)
                b.storage = k;
        if (b.storage == QUERN__PG_STORED_BYTES || s->vector_version)
            rc = quern__pg_transact(s->own, QUERN__PG_WRITE, make_again, &b, err);
    }
    quern__pg_clear(r);
    return rc;
}

int quern__postgres_generation_json(void *self, int64_t id, char **json, quern_error *err)
{
    quern__postgres *s = self;
    quern__pg_params p;
    quern__pg_result *r = NULL;
    *json = NULL;
    quern__pg_params_init(&p);
    quern__pg_int(&p, id);
    int rc = quern__postgres_query(s, "SELECT fingerprint_json FROM @generations WHERE id = $1", &p,
                                   QUERN__PG_AS_TEXT, &r, err);
    if (rc)
        return rc;
    if (quern__pg_rows(r)) {
        quern_str text = quern__pg_get_text(r, 0, 0);
        *json = quern__strndup(text.ptr, text.len);
        rc = *json ? QUERN_OK : quern__fail_memory(err, text.len);
    } else
        rc = quern__fail(err, QUERN_ENOTFOUND, id, "there is no generation %" PRId64, id);
    quern__pg_clear(r);
    return rc;
}

/* ---- activate and purge ---- */

typedef struct changing {
    quern__postgres *s;
    int64_t id;
    int more;
} changing;

/* A statement that takes the generation's id, and perhaps one number more. */
static int run_on(changing *c, const char *sql, int64_t number, int64_t *changed, quern_error *err)
{
    quern__pg_params p;
    quern__pg_params_init(&p);
    quern__pg_int(&p, c->id);
    if (number)
        quern__pg_int(&p, number);
    return quern__postgres_run(c->s, sql, &p, changed, err);
}

static int activate(void *ud, quern_error *err)
{
    changing *c = ud;
    quern__pg_generation g;
    /* the source's row first: two that activate wait here, and not for each other's generations */
    int rc = run_on(c,
                    "SELECT 1 FROM @sources WHERE id = (SELECT source FROM @generations WHERE"
                    " id = $1) FOR UPDATE",
                    0, NULL, err);
    if (!rc)
        rc = run_on(c,
                    "SELECT 1 FROM @generations WHERE id = $1 OR (state = 'active' AND source ="
                    " (SELECT source FROM @generations WHERE id = $1)) ORDER BY id FOR UPDATE",
                    0, NULL, err);
    if (!rc)
        rc = quern__postgres_generation_get(c->s, c->id, false, &g, err);
    if (!rc && strcmp(g.state, "building") != 0)
        rc = quern__fail(err, QUERN_EMISMATCH, c->id,
                         "generation %" PRId64 " is %s; only a building one can be activated",
                         c->id, g.state);
    if (!rc)
        rc = run_on(c,
                    "UPDATE @generations SET state = 'retired', retired_ms = $2 WHERE state ="
                    " 'active' AND source = (SELECT source FROM @generations WHERE id = $1)",
                    quern__wall_ms(), NULL, err);
    if (!rc)
        rc = run_on(c, "UPDATE @generations SET state = 'active', activated_ms = $2 WHERE id = $1",
                    quern__wall_ms(), NULL, err);
    return rc;
}

int quern__postgres_generation_activate(void *self, int64_t id, quern_error *err)
{
    quern__postgres *s = self;
    changing c = {.s = s, .id = id};
    return quern__pg_transact(s->own, QUERN__PG_WRITE, activate, &c, err);
}

static int retire(void *ud, quern_error *err)
{
    changing *c = ud;
    quern__pg_generation g;
    int rc = run_on(c, "SELECT 1 FROM @generations WHERE id = $1 FOR UPDATE", 0, NULL, err);
    if (!rc)
        rc = quern__postgres_generation_get(c->s, c->id, false, &g, err);
    if (!rc && strcmp(g.state, "retired") == 0)
        rc = quern__fail(err, QUERN_EMISMATCH, c->id, "generation %" PRId64 " is retired already",
                         c->id);
    if (!rc)
        rc = run_on(c, "UPDATE @generations SET state = 'retired', retired_ms = $2 WHERE id = $1",
                    quern__wall_ms(), NULL, err);
    return rc;
}

int quern__postgres_generation_retire(void *self, int64_t id, quern_error *err)
{
    quern__postgres *s = self;
    changing c = {.s = s, .id = id};
    return quern__pg_transact(s->own, QUERN__PG_WRITE, retire, &c, err);
}

/* A purge notes that there are no chunks before it takes the first; a table that is lost can be made again for a
 * generation in use only. */
static int resume(void *ud, quern_error *err)
{
    changing *c = ud;
    quern__pg_generation g;
    quern__pg_params p;
    int64_t there = 0, changed = 0;
    /* the source's row first, as for activate */
    int rc = run_on(c,
                    "SELECT 1 FROM @sources WHERE id = (SELECT source FROM @generations WHERE"
                    " id = $1) FOR UPDATE",
                    0, NULL, err);
    if (!rc)
        rc = quern__postgres_generation_get(c->s, c->id, false, &g, err);
    quern__pg_params_init(&p);
    quern__pg_int(&p, c->id);
    if (!rc)
        rc = quern__postgres_scalar(c->s,
                                    "SELECT id FROM @generations WHERE state = 'building' AND"
                                    " source = (SELECT source FROM @generations WHERE id = $1)",
                                    &p, &there, err);
    if (rc == 1 && strcmp(g.state, "retired") == 0)
        return quern__fail(err, QUERN_EEXISTS, there, "another generation is being built already");
    if (rc < 0)
        return rc;
    quern__pg_params_init(&p);
    quern__pg_int(&p, c->id);
    quern__pg_text(&p, quern_str_of(c->s->schema));
    quern__pg_text(&p, quern_str_of(c->s->base));
    rc = quern__postgres_run(
        c->s,
        "UPDATE @generations SET state = 'building', activated_ms = 0, retired_ms = 0 WHERE id = $1"
        " AND state = 'retired' AND chunks <> 0 AND EXISTS (SELECT 1 FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = $2 AND c.relname = $3 || 'vectors_' || $1)",
        &p, &changed, err);
    if (!rc && !changed)
        rc = quern__fail(err, QUERN_EMISMATCH, c->id,
                         "generation %" PRId64 " is %s; only a retired one that still holds "
                         "vectors can be built on",
                         c->id, g.state);
    return rc;
}

int quern__postgres_generation_resume(void *self, int64_t id, quern_error *err)
{
    quern__postgres *s = self;
    changing c = {.s = s, .id = id};
    return quern__pg_transact(s->own, QUERN__PG_WRITE, resume, &c, err);
}

static int purge(void *ud, quern_error *err)
{
    changing *c = ud;
    int64_t went = 0;
    c->more = 1;
    int rc = run_on(c, "SELECT 1 FROM @generations WHERE id = $1 FOR UPDATE", 0, NULL, err);
    if (!rc) /* from now on nothing is saved into it, whatever it was */
        rc = run_on(c,
                    "UPDATE @generations SET state = 'retired', chunks = 0 WHERE id = $1"
                    " AND (state <> 'retired' OR chunks <> 0)",
                    0, NULL, err);
    if (!rc)
        rc = run_on(c,
                    "DELETE FROM @stamps WHERE generation = $1 AND key IN"
                    " (SELECT key FROM @stamps WHERE generation = $1 LIMIT $2)",
                    PURGE_STAMPS, &went, err);
    if (rc || went == PURGE_STAMPS)
        return rc;
    rc = run_on(c,
                "DELETE FROM @texts WHERE generation = $1 AND key IN"
                " (SELECT key FROM @texts WHERE generation = $1 LIMIT $2)",
                PURGE_TEXTS, &went, err);
    if (rc || went == PURGE_TEXTS)
        return rc;
    rc = run_on(c,
                "DELETE FROM @kept WHERE generation = $1 AND key IN"
                " (SELECT key FROM @kept WHERE generation = $1 LIMIT $2)",
                PURGE_TEXTS, &went, err);
    if (rc || went == PURGE_TEXTS)
        return rc;
    rc = run_on(c,
                "DELETE FROM @assets WHERE generation = $1 AND (document, piece) IN"
                " (SELECT document, piece FROM @assets WHERE generation = $1 LIMIT $2)",
                PURGE_STAMPS, &went, err);
    if (rc || went == PURGE_STAMPS)
        return rc;
    char sql[80];
    snprintf(sql, sizeof sql, "DROP TABLE IF EXISTS @vectors_%" PRId64, c->id);
    rc = quern__shard_drop(c->s, c->id, err);
    if (!rc)
        rc = quern__postgres_run(c->s, sql, NULL, NULL, err);
    if (!rc)
        rc = run_on(c, "DELETE FROM @generations WHERE id = $1", 0, NULL, err);
    c->more = 0;
    return rc;
}

int quern__postgres_purge_slice(quern__postgres *s, int64_t id, int *more, quern_error *err)
{
    changing c = {.s = s, .id = id};
    int rc = quern__pg_transact(s->own, QUERN__PG_WRITE, purge, &c, err);
    *more = !rc && c.more;
    return quern__shard_blame(s, rc, err);
}

int quern__postgres_generation_purge(void *self, int64_t id, int *more, quern_error *err)
{
    quern__postgres *s = self;
    quern__pg_generation g;
    *more = 0;
    int rc = quern__postgres_generation_get(s, id, false, &g, err);
    if (rc)
        return rc;
    if (strcmp(g.state, "active") == 0)
        return quern__fail(err, QUERN_EMISMATCH, id,
                           "generation %" PRId64 " is active; only others can be purged", id);
    return quern__postgres_purge_slice(s, id, more, err);
}

/* Of all tables and indexes of quern's, and on shards. */
int quern__postgres_space(void *self, uint64_t *bytes, quern_error *err)
{
    quern__postgres *s = self;
    quern__pg_params p;
    int64_t n = 0;
    *bytes = 0;
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(s->schema));
    quern__pg_text(&p, quern_str_of(s->base));
    int rc = quern__pg_scalar(
        s->own,
        "SELECT sum(pg_catalog.pg_total_relation_size(c.oid))::bigint FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = $1 AND c.relkind = 'r' AND pg_catalog.starts_with(c.relname::text, $2)",
        &p, &n, err);
    if (rc < 0)
        return rc;
    *bytes = (uint64_t)n + quern__shard_space(s);
    return QUERN_OK;
}
