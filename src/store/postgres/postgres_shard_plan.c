/*
 * postgres_shard_plan.c — looks at the store's database and at each server that is named, and writes down the
 * statements that are missing. Nothing is changed here, so a plan and an apply cannot differ but in what happens between
 * them. A server knows by a table of its own (quern_shard.home) whose shard it is and which: it may move to another
 * address, may be named by any of its names, and is never taken from another store.
 */
#include "store/postgres/postgres_shard_plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "store/store.h"

enum { LOCK_MS = 5000, STATEMENT = 1 << 18 };

/* Remote sessions run with these: without them a graph gives 40 rows and not one more. No estimates are asked of the
 * shards (use_remote_estimate): with them whole tables travel. */
static const char session_options[] =
    "-c hnsw.ef_search=200 -c hnsw.iterative_scan=strict_order -c jit=off";

static const char *const tables_sql =
    "CREATE SCHEMA quern_shard;\n"
    "CREATE TABLE quern_shard.home (token uuid NOT NULL, shard bigint NOT NULL);\n"
    "CREATE TABLE quern_shard.orders (statement text NOT NULL);\n"
    "CREATE FUNCTION quern_shard.obey() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN EXECUTE NEW.statement; RETURN NULL; END';\n"
    "CREATE TRIGGER obey BEFORE INSERT ON quern_shard.orders FOR EACH ROW"
    " EXECUTE FUNCTION quern_shard.obey();\n"
    "CREATE VIEW quern_shard.tables AS SELECT c.relname::text AS name, c.relkind::text AS kind,"
    " pg_catalog.pg_total_relation_size(c.oid) AS bytes,"
    " coalesce(i.indisvalid AND i.indisready, true) AS ready, EXISTS (SELECT 1 FROM"
    " pg_catalog.pg_stat_progress_create_index b WHERE b.index_relid = c.oid) AS building"
    " FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid"
    " WHERE n.nspname = 'quern_shard' AND c.relkind IN ('r', 'i');\n";

/* ---- helpers ---- */

static const char *keep(quern__shard_plan *p, const char *text)
{
    return quern__arena_copy(&p->arena, text, strlen(text));
}

/* 'text' */
static void put_text(quern__buf *out, const char *text)
{
    bool escape = strchr(text, '\\') != NULL;
    quern__buf_puts(out, escape ? "E'" : "'");
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\')
            quern__buf_putc(out, *text);
        quern__buf_putc(out, *text);
    }
    quern__buf_putc(out, '\'');
}

/* Both texts are taken: `shown` may be the same. */
static int add_act(quern__shard_plan *p, int at, const quern__buf *sql, const quern__buf *shown,
                   quern_error *err)
{
    int rc = quern__buf_ok(sql, "a statement", err);
    if (!rc)
        rc = quern__buf_ok(shown, "a statement", err);
    if (rc)
        return rc;
    if (p->n_acts == p->room) {
        size_t room = p->room ? 2 * p->room : 32;
        quern__shard_act *grown = quern__resize_array(p->acts, room, sizeof *grown);
        if (!grown)
            return quern__fail_memory(err, room * sizeof *grown);
        p->acts = grown;
        p->room = room;
    }
    quern__shard_act *a = &p->acts[p->n_acts];
    *a = (quern__shard_act){.at = at, .sql = keep(p, sql->data)};
    a->shown = shown == sql ? a->sql : keep(p, shown->data);
    if (!a->sql || !a->shown)
        return quern__fail_memory(err, sql->len);
    p->n_acts++;
    return QUERN_OK;
}

static int act(quern__shard_plan *p, int at, quern_error *err, const char *fmt, ...)
    QUERN_PRINTF(4, 5);
static int act(quern__shard_plan *p, int at, quern_error *err, const char *fmt, ...)
{
    char *text = quern__arena_alloc(&p->arena, STATEMENT);
    quern__buf sql;
    va_list args;
    if (!text)
        return quern__fail_memory(err, STATEMENT);
    va_start(args, fmt);
    int n = vsnprintf(text, STATEMENT, fmt, args);
    va_end(args);
    quern__buf_init(&sql, STATEMENT);
    if (n < 0 || n >= STATEMENT)
        sql.failed = true;
    quern__buf_puts(&sql, text);
    int rc = add_act(p, at, &sql, &sql, err);
    quern__buf_dispose(&sql);
    return rc;
}

/* ---- what is there ---- */

static int look_at_store(quern__shard_plan *p, quern_error *err)
{
    quern__pg_result *r = NULL;
    int rc = quern__postgres_query(
        p->s,
        "SELECT (SELECT token::text FROM @shard_home LIMIT 1), (SELECT rolsuper FROM"
        " pg_catalog.pg_roles WHERE rolname = current_user), EXISTS (SELECT 1 FROM"
        " pg_catalog.pg_extension WHERE extname = 'postgres_fdw'), EXISTS (SELECT 1 FROM"
        " pg_catalog.pg_available_extensions WHERE name = 'postgres_fdw'), (SELECT n.nspname FROM"
        " pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace"
        " WHERE e.extname = 'vector'), EXISTS (SELECT 1 FROM pg_catalog.pg_extension WHERE extname "
        "="
        " 'dblink')",
        NULL, QUERN__PG_AS_TEXT, &r, err);
    if (rc)
        return rc;
    if (quern__pg_is_null(r, 0, 0))
        rc = quern__fail(err, QUERN_EINTERNAL, 0, "%s: the store's token is gone",
                         quern__pg_name(p->s->own));
    else if (!(p->token = keep(p, quern__pg_get_text(r, 0, 0).ptr)))
        rc = quern__fail_memory(err, 0);
    p->superuser = quern__pg_get_int(r, 0, 1) != 0;
    p->fdw = quern__pg_get_int(r, 0, 2) != 0;
    p->dblink = quern__pg_get_int(r, 0, 5) != 0;
    if (!rc && !p->fdw && !quern__pg_get_int(r, 0, 3))
        rc = quern__fail(err, QUERN_EUNSUPPORTED, 0,
                         "%s: the extension postgres_fdw is not installed on its server",
                         quern__pg_name(p->s->own));
    if (!rc && p->s->vector_version && !quern__pg_is_null(r, 0, 4) &&
        !(p->vector_schema = keep(p, quern__pg_get_text(r, 0, 4).ptr)))
        rc = quern__fail_memory(err, 0);
    quern__pg_clear(r);
    return rc;
}

static int want(quern__shard_plan *p, quern__shard_server *v, const char *name, const char *value,
                quern_error *err)
{
    bool user = strcmp(name, "user") == 0 || strncmp(name, "password", 8) == 0;
    quern__shard_option *list = user ? v->user : v->server;
    size_t *n = user ? &v->n_user : &v->n_server;
    if (*n == (user ? QUERN__COUNT(v->user) : QUERN__COUNT(v->server)))
        return quern__fail(err, QUERN_EINVAL, 0, "a shard's URL with too many options");
    list[*n] = (quern__shard_option){keep(p, name), keep(p, value)};
    return list[*n].name && list[(*n)++].value ? QUERN_OK : quern__fail_memory(err, 0);
}

typedef struct url_part {
    quern__shard_plan *p;
    quern__shard_server *v;
    bool host, port, base, user, limit;
    quern_error *err;
} url_part;

static int take_part(const char *name, const char *value, void *ud)
{
    static const char *const known[] = {"host",      "hostaddr", "port",        "dbname",
                                        "user",      "password", "sslmode",     "sslrootcert",
                                        "sslcert",   "sslkey",   "sslpassword", "connect_timeout",
                                        "gssencmode"};
    url_part *u = ud;
    for (size_t i = 0; i < QUERN__COUNT(known); i++) {
        if (strcmp(name, known[i]) != 0)
            continue;
        u->host |= i <= 1;
        u->port |= i == 2;
        u->base |= i == 3;
        u->user |= i == 4;
        u->v->password |= i == 5;
        u->limit |= i == 11;
        return want(u->p, u->v, name, value, u->err);
    }
    return quern__fail(u->err, QUERN_EINVAL, 0, "a shard's URL cannot have the option '%s'", name);
}

/* The options that its server and user mapping should have. */
static int want_options(quern__shard_plan *p, quern__shard_server *v, const char *url,
                        quern_error *err)
{
    static const quern__shard_option always[] = {
        {"async_capable", "true"},     {"batch_size", "100"},       {"fetch_size", "1000"},
        {"keepalives_idle", "30"},     {"keepalives_count", "3"},   {"keepalives_interval", "10"},
        {"tcp_user_timeout", "30000"}, {"options", session_options}};
    url_part u = {.p = p, .v = v, .err = err};
    int rc = quern__pg_url_each(url, take_part, &u, err);
    if (!rc && !(u.host && u.base && u.user))
        rc = quern__fail(err, QUERN_EINVAL, 0,
                         "shard %s: its URL has to say user, host and database", v->place);
    if (!rc && !u.port)
        rc = want(p, v, "port", "5432", err);
    if (!rc && p->vector_schema)
        rc = want(p, v, "extensions", "vector", err);
    if (!rc &&
        !u.limit) /* without one a server that takes connections and says nothing is waited for for ever */
        rc = want(p, v, "connect_timeout", "10", err);
    for (size_t i = 0; i < QUERN__COUNT(always) && !rc; i++)
        rc = want(p, v, always[i].name, always[i].value, err);
    if (!rc && !v->password && !p->superuser)
        rc = quern__fail(err, QUERN_EINVAL, 0,
                         "shard %s: without a password only a superuser may use it; put one into "
                         "its URL",
                         v->place);
    if (!rc && !v->password)
        rc = want(p, v, "password_required", "false", err);
    return rc;
}

static int look_at_home(quern__shard_plan *p, quern__shard_server *v, quern_error *err)
{
    quern__pg_result *r = NULL;
    int64_t there = 0;
    int rc = quern__pg_scalar(v->db,
                              "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = 'quern_shard'",
                              NULL, &there, err);
    if (rc <= 0)
        return rc;
    rc = quern__pg_query(v->db, "SELECT token::text, shard FROM quern_shard.home", NULL,
                         QUERN__PG_AS_TEXT, &r, err);
    if (rc)
        return rc;
    v->ours = quern__pg_rows(r) == 1 && strcmp(quern__pg_get_text(r, 0, 0).ptr, p->token) == 0;
    v->id = v->ours ? quern__pg_get_int(r, 0, 1) : 0;
    quern__pg_clear(r);
    if (!v->ours)
        return quern__fail(err, QUERN_EEXISTS, 0,
                           "shard %s holds the vectors of another store (its schema "
                           "quern_shard); give this one a database of its own there, or drop that "
                           "schema if nobody needs it",
                           v->place);
    for (const quern__shard_server *other = p->servers; other < v; other++)
        if (other->id == v->id)
            return quern__fail(err, QUERN_EEXISTS, v->id,
                               "shards %s and %s both say that they are shard %" PRId64
                               " of this store: one is a copy; name the one that it works with",
                               other->place, v->place, v->id);
    return QUERN_OK;
}

/* Who it is, so that it cannot be named twice, and whether its pgvector is where ours is. */
static int look_at_server(quern__shard_plan *p, quern__shard_server *v, const char *url,
                          quern_error *err)
{
    quern__pg_result *r = NULL;
    int rc = quern__pg_open(&v->db, url, LOCK_MS, err);
    if (rc)
        return rc;
    if (!(v->place = keep(p, quern__pg_name(v->db))))
        return quern__fail_memory(err, 0);
    rc = quern__pg_query(v->db,
                         "SELECT pg_catalog.pg_postmaster_start_time()::text || ' ' ||"
                         " coalesce(pg_catalog.inet_server_port(), 0) || ' ' || current_database(),"
                         " (SELECT n.nspname FROM pg_catalog.pg_extension e JOIN"
                         " pg_catalog.pg_namespace n ON n.oid = e.extnamespace"
                         " WHERE e.extname = 'vector'), EXISTS (SELECT 1 FROM"
                         " pg_catalog.pg_available_extensions WHERE name = 'vector')",
                         NULL, QUERN__PG_AS_TEXT, &r, err);
    if (rc)
        return rc;
    int at = (int)(v - p->servers);
    const char *schema = quern__pg_get_text(r, 0, 1).ptr;
    if (!(v->identity = keep(p, quern__pg_get_text(r, 0, 0).ptr)))
        rc = quern__fail_memory(err, 0);
    for (int i = 0; i < at && !rc; i++)
        if (strcmp(p->servers[i].identity, v->identity) == 0)
            rc = quern__fail(err, QUERN_EEXISTS, 0, "shards %s and %s are the same database",
                             p->servers[i].place, v->place);
    if (!rc && p->vector_schema && schema && strcmp(schema, p->vector_schema) != 0)
        rc = quern__fail(err, QUERN_EMISMATCH, 0,
                         "shard %s has pgvector in the schema '%.60s', the store in '%.60s'; move "
                         "one (ALTER EXTENSION vector SET SCHEMA …)",
                         v->place, schema, p->vector_schema);
    if (!rc && p->vector_schema && !schema && !quern__pg_get_int(r, 0, 2))
        rc = quern__fail(err, QUERN_EUNSUPPORTED, 0,
                         "shard %s: the extension pgvector is not installed on its server",
                         v->place);
    bool extension = !rc && p->vector_schema && !schema;
    quern__pg_clear(r);
    if (extension) {
        quern__buf name;
        quern__buf_init(&name, 1024);
        quern__sql_quote(&name, p->vector_schema);
        rc = quern__buf_ok(&name, "a name", err);
        if (!rc && strcmp(p->vector_schema, "public") != 0)
            rc = act(p, at, err, "CREATE SCHEMA IF NOT EXISTS %s", name.data);
        if (!rc)
            rc = act(p, at, err, "CREATE EXTENSION vector WITH SCHEMA %s", name.data);
        quern__buf_dispose(&name);
    }
    return rc ? rc : look_at_home(p, v, err);
}

/* ---- the store's side ---- */

/* The options that differ, as CREATE ("a 'x', b 'y'") or ALTER ("SET a 'x', ADD b 'y'") has them. r: name, value of
 * what is there; NULL: create. */
static void put_options(quern__buf *sql, quern__buf *shown, const quern__shard_option *wanted,
                        size_t n, const quern__pg_result *r)
{
    size_t put = 0;
    for (size_t i = 0; i < n; i++) {
        const char *verb = r ? "ADD " : "";
        bool same = false;
        for (size_t k = 0; r && k < quern__pg_rows(r); k++) {
            if (strcmp(quern__pg_get_text(r, k, 0).ptr, wanted[i].name) != 0)
                continue;
            verb = "SET ";
            same = strcmp(quern__pg_get_text(r, k, 1).ptr, wanted[i].value) == 0;
        }
        if (same)
            continue;
        bool secret =
            strcmp(wanted[i].name, "password") == 0 || strcmp(wanted[i].name, "sslpassword") == 0;
        quern__buf_printf(sql, "%s%s%s ", put ? ", " : "", verb, wanted[i].name);
        quern__buf_printf(shown, "%s%s%s ", put ? ", " : "", verb, wanted[i].name);
        put_text(sql, wanted[i].value);
        put_text(shown, secret ? "***" : wanted[i].value);
        put++;
    }
}

/* CREATE or ALTER of a server or a user mapping. query: options that are there, by $1, the server's name. */
static int plan_options(quern__shard_plan *p, const quern__shard_server *v, bool user,
                        const char *query, quern_error *err)
{
    const char *wrapper = user ? "" : " FOREIGN DATA WRAPPER postgres_fdw";
    quern__pg_params params;
    quern__pg_result *r = NULL;
    quern__buf sql, shown;
    char name[80], head[200];
    snprintf(name, sizeof name, "%s_shard_%" PRId64, p->s->tag, v->id);
    quern__pg_params_init(&params);
    quern__pg_text(&params, quern_str_of(name));
    int rc = quern__pg_query(p->s->own, query, &params, QUERN__PG_AS_TEXT, &r, err);
    if (rc)
        return rc;
    quern__buf_init(&sql, STATEMENT);
    quern__buf_init(&shown, STATEMENT);
    bool there = quern__pg_rows(r) > 0;
    snprintf(head, sizeof head, "%s %s%s%s OPTIONS (", there ? "ALTER" : "CREATE",
             user ? "USER MAPPING FOR CURRENT_USER SERVER " : "SERVER ", name,
             there ? "" : wrapper);
    quern__buf_puts(&sql, head);
    quern__buf_puts(&shown, head);
    size_t before = sql.len;
    put_options(&sql, &shown, user ? v->user : v->server, user ? v->n_user : v->n_server,
                there ? r : NULL);
    bool any = sql.len > before;
    quern__buf_putc(&sql, ')');
    quern__buf_putc(&shown, ')');
    if (any && user && p->superuser) /* the server's log shows no password */
        rc = act(p, -1, err,
                 "SET LOCAL log_statement = 'none'; SET LOCAL log_min_duration_statement = -1;"
                 " SET LOCAL log_min_error_statement = 'panic'");
    if (!rc && any)
        rc = add_act(p, -1, &sql, &shown, err);
    quern__buf_dispose(&sql);
    quern__buf_dispose(&shown);
    quern__pg_clear(r);
    return rc;
}

static int plan_foreign_tables(quern__shard_plan *p, const quern__shard_server *v, quern_error *err)
{
    static const struct {
        const char *name, *columns;
    } tables[] = {
        {"orders", "statement text"},
        {"tables", "name text, kind text, bytes bigint, ready boolean, building boolean"}};
    int rc = QUERN_OK;
    for (size_t i = 0; i < QUERN__COUNT(tables) && !rc; i++) {
        char name[80];
        snprintf(name, sizeof name, "shard_%" PRId64 "_%s", v->id, tables[i].name);
        rc = quern__postgres_relation(p->s, name, err);
        if (rc == 0)
            rc = act(p, -1, err,
                     "CREATE FOREIGN TABLE %s%s (%s) SERVER %s_shard_%" PRId64
                     " OPTIONS (schema_name 'quern_shard', table_name '%s')",
                     p->s->prefix, name, tables[i].columns, p->s->tag, v->id, tables[i].name);
        else
            rc = rc < 0 ? rc : QUERN_OK;
    }
    return rc;
}

/* An empty database where a shard lies by its record, and no other that says it is that one: it was restored from
 * before it became a shard, or made anew there. It is that one again; its tables come with plan_generations. */
static void know_again(quern__shard_plan *p, const quern__pg_result *r)
{
    for (size_t k = 0; k < quern__pg_rows(r); k++) {
        quern__shard_server *there = NULL;
        int64_t id = quern__pg_get_int(r, k, 0);
        bool alive = false;
        for (size_t i = 0; i < p->n; i++) {
            alive |= p->servers[i].id == id;
            if (!p->servers[i].id &&
                strcmp(quern__pg_get_text(r, k, 1).ptr, p->servers[i].place) == 0)
                there = &p->servers[i];
        }
        if (there && !alive)
            there->id = id;
    }
}

/* Numbers for new ones, behind all that were ever given; then the line in @shards. */
static int plan_records(quern__shard_plan *p, quern_error *err)
{
    quern__pg_result *r = NULL;
    int64_t last = 0;
    int rc = quern__postgres_query(p->s, "SELECT id, place, used FROM @shards ORDER BY id", NULL,
                                   QUERN__PG_AS_TEXT, &r, err);
    if (!rc)
        know_again(p, r);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++)
        last = QUERN__MAX(last, quern__pg_get_int(r, i, 0));
    for (size_t i = 0; i < p->n; i++)
        last = QUERN__MAX(last, p->servers[i].id);
    for (size_t i = 0; !rc && i < p->n; i++) {
        quern__shard_server *v = &p->servers[i];
        v->id = v->id ? v->id : ++last;
        quern__buf place;
        quern__buf_init(&place, 4096);
        put_text(&place, v->place);
        rc = quern__buf_ok(&place, "a name", err);
        bool same = false;
        for (size_t k = 0; k < quern__pg_rows(r); k++)
            if (quern__pg_get_int(r, k, 0) == v->id) {
                v->recorded = true;
                same = strcmp(quern__pg_get_text(r, k, 1).ptr, v->place) == 0 &&
                       quern__pg_get_int(r, k, 2);
            }
        if (!rc && !v->recorded)
            rc = act(p, -1, err,
                     "INSERT INTO %sshards (id, place, added_ms) VALUES (%" PRId64
                     ", %s, (extract(epoch FROM now()) * 1000)::bigint)",
                     p->s->prefix, v->id, place.data);
        else if (!rc && !same)
            rc = act(p, -1, err, "UPDATE %sshards SET place = %s, used = true WHERE id = %" PRId64,
                     p->s->prefix, place.data, v->id);
        quern__buf_dispose(&place);
    }
    for (size_t k = 0; !rc && r && k < quern__pg_rows(r); k++) { /* those that were named once */
        bool named = !quern__pg_get_int(r, k, 2);
        for (size_t i = 0; i < p->n; i++)
            named |= p->servers[i].id == quern__pg_get_int(r, k, 0);
        if (!named)
            rc = act(p, -1, err, "UPDATE %sshards SET used = false WHERE id = %" PRId64,
                     p->s->prefix, quern__pg_get_int(r, k, 0));
    }
    quern__pg_clear(r);
    return rc;
}

/* ---- all of it ---- */

static int plan_store(quern__shard_plan *p, quern_error *err)
{
    int rc = p->fdw ? QUERN_OK : act(p, -1, err, "CREATE EXTENSION postgres_fdw");
    if (!rc && !p->dblink) /* of the same package; it builds indexes while everybody writes */
        rc = act(p, -1, err, "CREATE EXTENSION dblink WITH SCHEMA %s", p->s->quoted);
    for (size_t i = 0; i < p->n && !rc; i++) {
        rc =
            plan_options(p, &p->servers[i], false,
                         "SELECT o.option_name, o.option_value FROM pg_catalog.pg_foreign_server f,"
                         " pg_catalog.pg_options_to_table(f.srvoptions) o WHERE f.srvname = $1",
                         err);
        if (!rc)
            rc = plan_options(p, &p->servers[i], true,
                              "SELECT o.option_name, o.option_value FROM"
                              " pg_catalog.pg_user_mappings m,"
                              " pg_catalog.pg_options_to_table(m.umoptions) o"
                              " WHERE m.srvname = $1 AND m.usename = current_user",
                              err);
        if (!rc)
            rc = plan_foreign_tables(p, &p->servers[i], err);
    }
    return rc;
}

/* Of one generation of before, all of whose servers are named: its stamps go beside its vectors. What an apply that was
 * cut off left on the shards is made anew; nobody saves meanwhile. Another apply may have done it since this was
 * planned: again, it would fill them from lines that are empty now. */
static int plan_stamps(quern__shard_plan *p, int64_t id, const int64_t *servers, size_t n,
                       quern_error *err)
{
    quern__buf leaf, sql;
    quern__buf_init(&leaf, STATEMENT);
    quern__buf_init(&sql, STATEMENT);
    quern__buf_printf(&leaf, "DROP TABLE IF EXISTS quern_shard.stamps_%" PRId64 "; ", id);
    quern__shard_put_stamps_leaf(&leaf, id);
    int rc = quern__buf_ok(&leaf, "a table", err);
    if (!rc)
        rc = act(p, -1, err,
                 "-- the stamps of generation %" PRId64 " go beside its vectors\n"
                 "DO $body$ BEGIN PERFORM 1 FROM %sgenerations WHERE id = %" PRId64
                 " AND shards > 0 AND NOT beside AND state <> 'retired' FOR UPDATE;"
                 " IF NOT FOUND THEN RAISE EXCEPTION 'generation %" PRId64
                 " has been moved or has gone meanwhile; run apply again'; END IF; END $body$",
                 id, p->s->prefix, id, id);
    for (size_t i = 0; i < n && !rc; i++)
        rc = act(p, -1, err, "INSERT INTO %sshard_%" PRId64 "_orders (statement) VALUES ('%s')",
                 p->s->prefix, servers[i], leaf.data);
    quern__shard_put_stamps_trunk(&sql, p->s, id, servers, n);
    quern__shard_put_stamps_move(&sql, p->s, id);
    if (!rc)
        rc = add_act(p, -1, &sql, &sql, err);
    quern__buf_dispose(&leaf);
    quern__buf_dispose(&sql);
    return rc;
}

/* A server that was restored to a state from before a table came to it lacks that, and everything that asks it fails.
 * Empty, it says what is true: its documents have nothing there, and the next fill makes them. */
static int plan_lost(quern__shard_plan *p, const quern__pg_generation *g, size_t k,
                     quern_error *err)
{
    int rc = QUERN_OK;
    for (int stamps = 0; stamps <= (int)g->beside && !rc; stamps++) {
        int64_t lost = 0;
        char sql[120];
        quern__buf leaf;
        snprintf(sql, sizeof sql,
                 "SELECT 1 WHERE pg_catalog.to_regclass('quern_shard.%s_%" PRId64 "') IS NULL",
                 stamps ? "stamps" : "vectors", g->id);
        rc = quern__pg_scalar(p->servers[k].db, sql, NULL, &lost, err);
        if (rc <= 0)
            continue;
        quern__buf_init(&leaf, STATEMENT);
        if (stamps)
            quern__shard_put_stamps_leaf(&leaf, g->id);
        else
            quern__shard_put_leaf(&leaf, p->s, g);
        rc = add_act(p, (int)k, &leaf, &leaf, err);
        quern__buf_dispose(&leaf);
    }
    return rc < 0 ? rc : QUERN_OK;
}

/* Of one generation: tables that its servers lack, of those that are named; then its stamps, if all are. */
static int plan_generation(quern__shard_plan *p, int64_t id, quern_error *err)
{
    quern__pg_generation g;
    int64_t servers[QUERN__PG_SHARDS];
    size_t n = 0, named = 0;
    int rc = quern__postgres_generation_get(p->s, id, false, &g, err);
    if (!rc)
        rc = quern__shard_servers(p->s, id, servers, &n, err);
    for (size_t i = 0; i < n && !rc; i++)
        for (size_t k = 0; k < p->n && !rc; k++)
            if (p->servers[k].id == servers[i]) {
                rc = plan_lost(p, &g, k, err);
                named++;
            }
    if (!rc && n && named == n && !g.beside && strcmp(g.state, "retired") != 0)
        rc = plan_stamps(p, id, servers, n, err);
    return rc;
}

static int plan_generations(quern__shard_plan *p, quern_error *err)
{
    quern__pg_result *r = NULL;
    int rc = quern__postgres_query(p->s, "SELECT id FROM @generations WHERE shards > 0 ORDER BY id",
                                   NULL, QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++)
        rc = plan_generation(p, quern__pg_get_int(r, i, 0), err);
    quern__pg_clear(r);
    return rc;
}

int quern__shard_plan_make(quern__shard_plan *p, quern__postgres *s, const quern_shard_options *opt,
                           quern_error *err)
{
    memset(p, 0, sizeof *p);
    p->s = s;
    p->opt = opt;
    quern__arena_init(&p->arena, 0);
    if (opt->n == 0 || opt->n > QUERN__PG_SHARDS)
        return quern__fail(err, QUERN_EINVAL, (int64_t)opt->n, "%zu shards; there can be 1 to %d",
                           opt->n, (int)QUERN__PG_SHARDS);
    p->servers = quern__calloc(opt->n, sizeof *p->servers);
    if (!p->servers)
        return quern__fail_memory(err, opt->n * sizeof *p->servers);
    int rc = look_at_store(p, err);
    for (size_t i = 0; i < opt->n && !rc; i++) {
        p->n = i + 1;
        rc = look_at_server(p, &p->servers[i], opt->urls[i], err);
        if (!rc)
            rc = want_options(p, &p->servers[i], opt->urls[i], err);
    }
    size_t before = p->n_acts;
    if (!rc) /* numbers are given here; on each shard its tables go first */
        rc = plan_records(p, err);
    size_t records = p->n_acts - before;
    for (size_t i = 0; i < p->n && !rc; i++)
        if (!p->servers[i].ours)
            rc = act(p, (int)i, err, "%s%sINSERT INTO quern_shard.home VALUES ('%s', %" PRId64 ")",
                     p->servers[i].recorded ? "-- nothing is left here of what was\n" : "",
                     tables_sql, p->token, p->servers[i].id);
    if (!rc)
        rc = plan_store(p, err);
    if (!rc)
        rc = plan_generations(p, err);
    for (size_t i = 0; i < records && !rc; i++) { /* to the end: the last of the store's steps */
        quern__shard_act first = p->acts[before];
        memmove(&p->acts[before], &p->acts[before + 1], (p->n_acts - before - 1) * sizeof *p->acts);
        p->acts[p->n_acts - 1] = first;
    }
    return rc;
}

void quern__shard_plan_dispose(quern__shard_plan *p)
{
    for (size_t i = 0; i < p->n; i++)
        quern__pg_close(p->servers[i].db);
    quern__free(p->servers);
    quern__free(p->acts);
    quern__arena_dispose(&p->arena);
}
