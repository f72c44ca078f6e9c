/*
 * postgres_open.c — opens the PostgreSQL store: which database, and what pgvector it has. With `store`, the user's database is a second
 * connection, and a save's second look at a row and its commit are not one transaction: an edit between the two
 * is a stale stamp, which search and the next fill see. A database and a store of different kinds are refused:
 * nothing would be gained that two commands do not do.
 */
#include "store/postgres/postgres_store.h"

#include <stdio.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "store/store.h"

enum { BUSY_MS = 5000, SHARD_MS = 60000, OLDEST_VECTOR = 800, SOUND_VECTOR = 804 };

void quern__postgres_close(void *self)
{
    quern__postgres *s = self;
    if (!s)
        return;
    if (s->src != s->own)
        quern__pg_close(s->src);
    quern__pg_close(s->own);
    quern__pg_close(s->listener);
    quern__buf_dispose(&s->sql);
    quern__free(s->schema);
    quern__free(s->quoted);
    quern__free(s->prefix);
    quern__free(s->inside);
    quern__free(s->vector_prefix);
    quern__free(s->direct);
    quern__free(s->down);
    quern__free(s);
}

static int engine(void *self, quern_engine *out, quern_error *err)
{
    quern__postgres *s = self;
    quern__pg_result *r;
    int v = s->vector_version;
    int rc = quern__pg_query(s->own, "SELECT current_setting('server_version')", NULL,
                             QUERN__PG_AS_TEXT, &r, err);
    if (rc)
        return rc;
    int n = snprintf(out->name, sizeof out->name, "PostgreSQL %.60s",
                     quern__pg_rows(r) ? quern__pg_get_text(r, 0, 0).ptr : "");
    quern__pg_clear(r);
    if (!v) {
        snprintf(out->advice, sizeof out->advice,
                 "no pgvector 0.8 or newer in this database: vectors are kept as bytea, search "
                 "reads them all");
        return QUERN_OK;
    }
    snprintf(out->name + n, sizeof out->name - (size_t)n, ", pgvector %d.%d.%d", v / 10000,
             v / 100 % 100, v % 100);
    if (v < SOUND_VECTOR)
        snprintf(out->advice, sizeof out->advice,
                 "pgvector %d.%d.%d: 0.8.2 mends a buffer overflow in parallel builds of HNSW "
                 "indexes, 0.8.3 and 0.8.4 what vacuum did to them; update to 0.8.4 or newer",
                 v / 10000, v / 100 % 100, v % 100);
    return QUERN_OK;
}

static const quern_store_table postgres_table = {
    .struct_size = sizeof(quern_store_table),
    .name = "postgres",
    .close = quern__postgres_close,
    .source_check = quern__postgres_source_check,
    .source_put = quern__postgres_source_put,
    .source_each = quern__postgres_source_each,
    .source_remove = quern__postgres_source_remove,
    .scan = quern__postgres_scan,
    .fetch = quern__postgres_fetch,
    .count = quern__postgres_count,
    .generation_find = quern__postgres_generation_find,
    .generation_build = quern__postgres_generation_build,
    .generation_json = quern__postgres_generation_json,
    .generation_activate = quern__postgres_generation_activate,
    .generation_purge = quern__postgres_generation_purge,
    .generation_each = quern__postgres_generation_each,
    .generation_retire = quern__postgres_generation_retire,
    .generation_resume = quern__postgres_generation_resume,
    .space = quern__postgres_space,
    .requeue = quern__postgres_requeue,
    .save = quern__postgres_save,
    .stamps = quern__postgres_stamps,
    .erase = quern__postgres_erase,
    .tally = quern__postgres_tally,
    .forget = quern__postgres_forget,
    .run_put = quern__postgres_run_put,
    .run_each = quern__postgres_run_each,
    .vectors = quern__postgres_vectors,
    .resolve = quern__postgres_resolve,
    .chunks = quern__postgres_chunks,
    .chunks_of = quern__postgres_chunks_of,
    .index_state = quern__postgres_index_state,
    .index_build = quern__postgres_index_build,
    .nearest = quern__postgres_nearest,
    .search_sql = quern__postgres_search_sql,
    .text_count = quern__postgres_text_count,
    .text_find = quern__postgres_text_find,
    .stage_begin = quern__postgres_stage_begin,
    .stage_put = quern__postgres_stage_put,
    .stage_publish = quern__postgres_stage_publish,
    .stage_drop = quern__postgres_stage_drop,
    .lock = quern__postgres_lock,
    .unlock = quern__postgres_unlock,
    .usage_each = quern__postgres_usage_each,
    .mark_get = quern__postgres_mark_get,
    .mark_put = quern__postgres_mark_put,
    .watermark_get = quern__postgres_watermark_get,
    .watermark_put = quern__postgres_watermark_put,
    .task_known = quern__postgres_task_known,
    .task_put = quern__postgres_task_put,
    .task_claim = quern__postgres_task_claim,
    .task_renew = quern__postgres_task_renew,
    .task_settle = quern__postgres_task_settle,
    .task_stats = quern__postgres_task_stats,
    .task_list = quern__postgres_task_list,
    .task_revive = quern__postgres_task_revive,
    .task_remove = quern__postgres_task_remove,
    .live_set = quern__postgres_live_set,
    .live_get = quern__postgres_live_get,
    .live_drain = quern__postgres_live_drain,
    .stamp_columns_check = quern__postgres_stamp_columns_check,
    .kept_each = quern__postgres_kept_each,
    .kept_size = quern__postgres_kept_size,
    .kept_drop = quern__postgres_kept_drop,
    .strip = quern__postgres_strip,
    .table_name = quern__postgres_table_name,
    .task_wait = quern__postgres_task_wait,
    .sweep = quern__postgres_sweep_shards,
    .shard_apply = quern__postgres_shard_apply,
    .shard_status = quern__postgres_shard_status,
    .partial = quern__postgres_partial,
    .engine = engine,
};

/* ---- statements on quern's tables ---- */

int quern__postgres_query(quern__postgres *s, const char *sql, const quern__pg_params *params,
                          int format, quern__pg_result **out, quern_error *err)
{
    *out = NULL;
    int rc = quern__postgres_put_names(s, sql, err);
    return rc ? rc : quern__pg_query(s->own, s->sql.data, params, format, out, err);
}

int quern__postgres_run(quern__postgres *s, const char *sql, const quern__pg_params *params,
                        int64_t *changed, quern_error *err)
{
    int rc = quern__postgres_put_names(s, sql, err);
    return rc ? rc : quern__pg_run(s->own, s->sql.data, params, changed, err);
}

int quern__postgres_scalar(quern__postgres *s, const char *sql, const quern__pg_params *params,
                           int64_t *out, quern_error *err)
{
    int rc = quern__postgres_put_names(s, sql, err);
    return rc ? rc : quern__pg_scalar(s->own, s->sql.data, params, out, err);
}

/* ---- open ---- */

/* "name". in *out, the caller's. */
static int quoted_prefix(const char *name, char **out, quern_error *err)
{
    quern__buf b;
    quern__buf_init(&b, 1024);
    quern__sql_quote(&b, name);
    quern__buf_putc(&b, '.');
    *out = quern__buf_detach(&b);
    quern__buf_dispose(&b);
    return *out ? QUERN_OK : quern__fail_memory(err, strlen(name));
}

/* "0.8.1" is 801. */
static int version_number(const char *text)
{
    int parts[3] = {0};
    for (int i = 0; i < 3 && text && *text; i++) {
        char *end;
        long v = strtol(text, &end, 10);
        parts[i] = v >= 0 && v < 100 ? (int)v : 99;
        text = *end == '.' ? end + 1 : NULL;
    }
    return parts[0] * 10000 + parts[1] * 100 + parts[2];
}

/* Which pgvector the database has, and under what numbers its types go. */
static int look_for_vector(quern__postgres *s, quern_error *err)
{
    quern__pg_result *r;
    int rc = quern__pg_query(
        s->own,
        "SELECT e.extversion, n.nspname, h.oid::bigint, h.typarray::bigint, v.oid::bigint,"
        " v.typarray::bigint FROM pg_catalog.pg_extension e"
        " JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace"
        " JOIN pg_catalog.pg_type h ON h.typnamespace = n.oid AND h.typname = 'halfvec'"
        " JOIN pg_catalog.pg_type v ON v.typnamespace = n.oid AND v.typname = 'vector'"
        " WHERE e.extname = 'vector'",
        NULL, QUERN__PG_AS_TEXT, &r, err);
    if (rc)
        return rc;
    if (quern__pg_rows(r) == 1) {
        int version = version_number(quern__pg_get_text(r, 0, 0).ptr);
        if (version >= OLDEST_VECTOR) {
            s->vector_version = version;
            rc = quoted_prefix(quern__pg_get_text(r, 0, 1).ptr, &s->vector_prefix, err);
            s->halfvec = (uint32_t)quern__pg_get_int(r, 0, 2);
            s->halfvec_array = (uint32_t)quern__pg_get_int(r, 0, 3);
            s->vector = (uint32_t)quern__pg_get_int(r, 0, 4);
            s->vector_array = (uint32_t)quern__pg_get_int(r, 0, 5);
        }
    }
    quern__pg_clear(r);
    if (!rc && !s->vector_version)
        quern__log(QUERN_LOG_INFO, "store",
                   "%s: without pgvector 0.8 or newer; vectors are kept as bytea, search is exact",
                   quern__pg_name(s->own));
    return rc;
}

static int open_schema(quern__postgres *s, quern_error *err)
{
    int64_t version = 0;
    if (!s->read_only) {
        int rc = quern__postgres_migrate(s, err);
        if (!rc)
            rc = quern__postgres_mend(s, err);
        return rc ? rc : quern__postgres_sweep(s, err);
    }
    int rc = quern__postgres_schema(s, &version, err);
    if (!rc && version == 0)
        rc = quern__fail(
            err, QUERN_ENOTFOUND, 0,
            "%s: holds no table of quern's yet; declare a source or add documents first",
            quern__pg_name(s->own));
    if (!rc && version < quern__postgres_newest())
        rc = quern__fail(err, QUERN_EMISMATCH, version,
                         "%s: made by an older quern (schema %" PRId64 ", this one's is %" PRId64
                         "); `quern migrate` brings it up",
                         quern__pg_name(s->own), version, quern__postgres_newest());
    return rc;
}

int quern__postgres_connect(quern__postgres **out, const quern_store_options *opt, quern_error *err)
{
    *out = NULL;
    uint32_t busy_ms = opt->busy_ms ? opt->busy_ms : BUSY_MS;
    if (opt->wal)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "PostgreSQL has no journal mode to switch: leave out 'wal'");
    if (!opt->postgres_connection &&
        (!quern__is_postgres_url(opt->db) || (opt->store && !quern__is_postgres_url(opt->store))))
        return quern__fail(
            err, QUERN_EUNSUPPORTED, 0,
            "the database and the store are of two kinds; give both as postgres:// or both as "
            "files");
    quern__postgres *s = quern__calloc(1, sizeof *s);
    if (!s)
        return quern__fail_memory(err, sizeof *s);
    s->read_only = opt->read_only != 0;
    s->busy_ms = busy_ms;
    s->shard_ms = opt->shard_timeout_ms ? opt->shard_timeout_ms : SHARD_MS;
    quern__buf_init(&s->sql, QUERN__PG_LONGEST_SQL);
    int rc = QUERN_OK;
    if (opt->postgres_connection)
        rc = quern__pg_borrow(&s->own, opt->postgres_connection, busy_ms, err);
    else
        rc = quern__pg_open(&s->own, opt->store ? opt->store : opt->db, busy_ms, err);
    s->src = s->own;
    if (!rc && opt->store)
        rc = quern__pg_open(&s->src, opt->db, busy_ms, err);
    if (!rc)
        rc = quern__postgres_set_direct(s, opt, err);
    if (!rc)
        rc = quern__postgres_names(s, opt->schema, err);
    if (!rc)
        rc = look_for_vector(s, err);
    if (!rc)
        *out = s;
    else
        quern__postgres_close(s);
    return rc;
}

int quern__postgres_open(quern_store **out, const quern_store_options *opt, quern_error *err)
{
    quern__postgres *s = NULL;
    int rc = quern__postgres_connect(&s, opt, err);
    if (!rc)
        rc = open_schema(s, err);
    if (!rc)
        rc = quern_store_from_table(out, &postgres_table, s, err);
    if (rc)
        quern__postgres_close(s);
    return rc;
}
