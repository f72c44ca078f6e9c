/*
 * sqlite_open.c — opens the SQLite store: which file, which mode, and the manners of a guest. A file that
 * others write to keeps its journal mode; only files that quern creates become WAL. With `store`, the user's
 * database is a second connection that is opened read-only: an attached database cannot be, and two connections
 * cost nothing but that a save's second look at a row and its commit are not one transaction — an edit
 * between the two is a stale stamp, which search and the next fill see.
 */
#include "store/sqlite/sqlite_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/os.h"
#include "store/store.h"

enum { BUSY_MS = 5000 };

static void sqlite_close(void *self)
{
    quern__sqlite *s = self;
    if (s->src != s->own)
        quern__db_close(s->src);
    quern__db_close(s->own);
    quern__free(s);
}

static int engine(void *self, quern_engine *out, quern_error *err)
{
    quern__sqlite *s = self;
    quern__stmt *stmt;
    int rc = quern__db_prepare(
        s->own, "SELECT sqlite_version(), (SELECT journal_mode FROM pragma_journal_mode)", &stmt,
        err);
    if (rc)
        return rc;
    rc = quern__db_step(s->own, stmt, err);
    if (rc == 1)
        snprintf(out->name, sizeof out->name, "SQLite %.20s, journal mode %.20s",
                 quern__db_get_text(stmt, 0).ptr, quern__db_get_text(stmt, 1).ptr);
    quern__db_finish(s->own, stmt);
    return rc < 0 ? rc : QUERN_OK;
}

static const quern_store_table sqlite_table = {
    .struct_size = sizeof(quern_store_table),
    .name = "sqlite",
    .close = sqlite_close,
    .source_check = quern__sqlite_source_check,
    .source_put = quern__sqlite_source_put,
    .source_each = quern__sqlite_source_each,
    .source_remove = quern__sqlite_source_remove,
    .scan = quern__sqlite_scan,
    .fetch = quern__sqlite_fetch,
    .count = quern__sqlite_count,
    .generation_find = quern__sqlite_generation_find,
    .generation_build = quern__sqlite_generation_build,
    .generation_json = quern__sqlite_generation_json,
    .generation_activate = quern__sqlite_generation_activate,
    .generation_purge = quern__sqlite_generation_purge,
    .generation_each = quern__sqlite_generation_each,
    .generation_retire = quern__sqlite_generation_retire,
    .generation_resume = quern__sqlite_generation_resume,
    .space = quern__sqlite_space,
    .requeue = quern__sqlite_requeue,
    .save = quern__sqlite_save,
    .stamps = quern__sqlite_stamps,
    .erase = quern__sqlite_erase,
    .tally = quern__sqlite_tally,
    .forget = quern__sqlite_forget,
    .run_put = quern__sqlite_run_put,
    .run_each = quern__sqlite_run_each,
    .vectors = quern__sqlite_vectors,
    .resolve = quern__sqlite_resolve,
    .chunks = quern__sqlite_chunks,
    .search_sql = quern__sqlite_search_sql,
    .text_count = quern__sqlite_text_count,
    .text_find = quern__sqlite_text_find,
    .stage_begin = quern__sqlite_stage_begin,
    .stage_put = quern__sqlite_stage_put,
    .stage_publish = quern__sqlite_stage_publish,
    .stage_drop = quern__sqlite_stage_drop,
    .lock = quern__sqlite_lock,
    .unlock = quern__sqlite_unlock,
    .usage_each = quern__sqlite_usage_each,
    .mark_get = quern__sqlite_mark_get,
    .mark_put = quern__sqlite_mark_put,
    .watermark_get = quern__sqlite_watermark_get,
    .watermark_put = quern__sqlite_watermark_put,
    .task_known = quern__sqlite_task_known,
    .task_put = quern__sqlite_task_put,
    .task_claim = quern__sqlite_task_claim,
    .task_renew = quern__sqlite_task_renew,
    .task_settle = quern__sqlite_task_settle,
    .task_stats = quern__sqlite_task_stats,
    .task_list = quern__sqlite_task_list,
    .task_revive = quern__sqlite_task_revive,
    .task_remove = quern__sqlite_task_remove,
    .live_set = quern__sqlite_live_set,
    .live_get = quern__sqlite_live_get,
    .live_drain = quern__sqlite_live_drain,
    .task_wait = quern__sqlite_task_wait,
    .engine = engine,
    .stamp_columns_check = quern__sqlite_stamp_columns_check,
    .kept_each = quern__sqlite_kept_each,
    .kept_size = quern__sqlite_kept_size,
    .kept_drop = quern__sqlite_kept_drop,
    .strip = quern__sqlite_strip,
    .table_name = quern__sqlite_table_name,
};

/* Opens the file that holds quern's tables; makes it (as WAL) when it may. */
static int open_own(quern__sqlite *s, const char *path, const quern_store_options *opt,
                    uint32_t busy_ms, quern_error *err)
{
    quern__stat st;
    int rc = quern__stat_path(path, &st, err);
    if (rc)
        return rc;
    bool created = !st.exists || (st.is_file && st.size == 0);
    /* Read-only is a promise of the statements, not of the file's mode: after a crash, ours or the user's, the first
     * to open the file must roll its journal back, and a connection that cannot write could not even read. */
    int mode = opt->read_only ? QUERN__DB_WRITE : QUERN__DB_CREATE;
    rc = quern__db_open(&s->own, path, mode, busy_ms, err);
    if (!rc && opt->read_only)
        rc = quern__db_exec(s->own, "PRAGMA query_only = 1", err);
    if (!rc && !opt->read_only && (created || opt->wal))
        rc = quern__db_exec(s->own, "PRAGMA journal_mode = WAL", err);
    return rc;
}

/* A restore may have left the vectors out: then their table is there again, empty, and the next fill finds stamps
 * without vectors. */
static int mend(quern__sqlite *s, quern_error *err)
{
    int64_t there = 0;
    int rc = quern__db_int(s->own, "SELECT 1 FROM sqlite_master WHERE name = 'quern_vectors'",
                           &there, err);
    if (rc != 0)
        return rc < 0 ? rc : QUERN_OK;
    quern__log(QUERN_LOG_WARN, "store",
               "%s: the table of vectors was gone; it is there again, empty, and the next fill "
               "embeds what was in it",
               quern__db_path(s->own));
    return quern__db_exec(s->own,
                          "CREATE TABLE IF NOT EXISTS quern_vectors"
                          " (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT",
                          err);
}

/* Schema: made, brought up, or only looked at. Then removals that a crash cut off are finished. */
static int open_schema(quern__sqlite *s, quern_error *err)
{
    int64_t version = 0, others = 0;
    int rc = s->read_only ? quern__sqlite_schema(s->own, &version, err)
                          : quern__sqlite_migrate(s->own, err);
    if (!rc && s->read_only && version == 0)
        return quern__fail(
            err, QUERN_ENOTFOUND, 0,
            "%s: holds no table of quern's yet; declare a source or add documents first",
            quern__db_path(s->own));
    if (!rc && s->read_only && version < quern__sqlite_newest())
        rc = quern__fail(err, QUERN_EMISMATCH, version,
                         "%s: made by an older quern (schema %" PRId64 ", this one's is %" PRId64
                         "); `quern migrate` brings it up",
                         quern__db_path(s->own), version, quern__sqlite_newest());
    if (rc)
        return rc;
    rc = quern__db_int(
        s->own,
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'quern\\_%' "
        "ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
        &others, err);
    if (rc < 0)
        return rc;
    quern__db_set_shared(s->own, others > 0);
    if (s->read_only)
        return QUERN_OK;
    rc = mend(s, err);
    return rc ? rc : quern__sqlite_sweep(s, err);
}

/* --db is only read when there is a --store: they cannot be one file, under whatever names. */
static int two_files(const quern_store_options *opt, quern_error *err)
{
    char *db = NULL, *store = NULL;
    quern__stat at_db = {0}, at_store = {0};
    int rc = quern__stat_path(opt->db, &at_db, err);
    if (!rc)
        rc = quern__stat_path(opt->store, &at_store, err);
    if (rc || !at_db.exists || !at_store.exists || at_db.inode != at_store.inode)
        return rc;
    rc = quern__real_path(opt->db, &db, err);
    if (!rc)
        rc = quern__real_path(opt->store, &store, err);
    if (!rc && strcmp(db, store) == 0)
        rc = quern__fail(
            err, QUERN_EINVAL, 0,
            "%s: is both the database and the store; without a store, vectors are kept in the "
            "database",
            opt->store);
    quern__free(db);
    quern__free(store);
    return rc;
}

int quern__sqlite_open(quern_store **out, const quern_store_options *opt, quern_error *err)
{
    uint32_t busy_ms = opt->busy_ms ? opt->busy_ms : BUSY_MS;
    quern__sqlite *s = quern__calloc(1, sizeof *s);
    if (!s)
        return quern__fail_memory(err, sizeof *s);
    s->read_only = opt->read_only != 0;
    int rc;
    if (opt->connection) {
        rc = quern__db_borrow(&s->own, opt->connection, err);
        s->src = s->own;
    } else if (opt->store) {
        rc = two_files(opt, err);
        if (!rc)
            rc = quern__db_open(&s->src, opt->db, QUERN__DB_READ, busy_ms, err);
        if (!rc)
            rc = open_own(s, opt->store, opt, busy_ms, err);
    } else {
        rc = open_own(s, opt->db, opt, busy_ms, err);
        s->src = s->own;
    }
    if (!rc)
        rc = open_schema(s, err);
    if (!rc)
        rc = quern_store_from_table(out, &sqlite_table, s, err);
    if (rc)
        sqlite_close(s);
    return rc;
}
