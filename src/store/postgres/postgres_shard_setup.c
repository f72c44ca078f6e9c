/*
 * postgres_shard_setup.c — runs what postgres_shard_plan.c wrote down, and says how the shards are. Each server's steps
 * are one transaction, the store's the last of them: cut off anywhere, the next apply does the rest.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/os.h"
#include "store/postgres/postgres_shard_plan.h"

static int tell(const quern__shard_plan *p, const quern__shard_act *a, quern_shard_step_fn fn,
                void *ud)
{
    quern_shard_step step = {
        .place = a->at < 0 ? quern__pg_name(p->s->own) : p->servers[a->at].place, .sql = a->shown};
    return fn ? fn(&step, ud) : QUERN_OK;
}

/* Acts [from, to) of one place in one transaction. */
static int run_together(const quern__shard_plan *p, size_t from, size_t to, quern_error *err)
{
    int at = p->acts[from].at;
    quern__pg *db = at < 0 ? p->s->own : p->servers[at].db;
    int rc = quern__pg_begin(db, QUERN__PG_WRITE, err);
    if (rc)
        return rc;
    for (size_t i = from; i < to && !rc; i++)
        rc = quern__pg_script(db, p->acts[i].sql, err);
    if (!rc)
        return quern__pg_commit(db, err);
    quern__pg_rollback(db);
    return rc;
}

static int run_plan(const quern__shard_plan *p, quern_shard_step_fn fn, void *ud, quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t i = 0, to; i < p->n_acts && !rc; i = to) {
        const quern__shard_act *a = &p->acts[i];
        for (to = i + 1; to < p->n_acts && p->acts[to].at == a->at;)
            to++;
        for (size_t k = i; k < to && !rc; k++)
            rc = tell(p, &p->acts[k], fn, ud);
        if (!rc)
            rc = run_together(p, i, to, err);
    }
    return rc;
}

int quern__postgres_shard_apply(void *self, const quern_shard_options *opt, int dry,
                                quern_shard_step_fn fn, void *ud, quern_error *err)
{
    quern__shard_plan p;
    int rc = quern__shard_plan_make(&p, self, opt, err);
    for (size_t i = 0; dry && i < p.n_acts && !rc; i++)
        rc = tell(&p, &p.acts[i], fn, ud);
    if (!dry && !rc)
        rc = run_plan(&p, fn, ud, err);
    quern__shard_plan_dispose(&p);
    return rc;
}

/* ---- status ---- */

/* Sizes and the time to answer; then the rows of each partition that lies there. */
static int measure(quern__postgres *s, quern_shard *out, quern_error *err)
{
    quern__pg_result *r = NULL;
    quern__pg_params p;
    char sql[160], server[60], lost[40];
    uint64_t began = quern__now_ns();
    snprintf(sql, sizeof sql,
             "SELECT coalesce(sum(bytes), 0)::bigint FROM @shard_%" PRId64
             "_tables WHERE kind = 'r'",
             out->id);
    int64_t n = 0;
    int rc = quern__shard_answers(s, out->id, err) ? quern__shard_lacks(s, out->id, lost, err)
                                                   : QUERN_EIO;
    if (rc > 0)
        rc = quern__fail(err, QUERN_EMISMATCH, rc,
                         "lacks quern_shard.%s, as after a restore from an older backup; run"
                         " `quern shard apply`, then `quern fill`",
                         lost);
    if (!rc)
        rc = quern__postgres_scalar(s, sql, NULL, &n, err);
    if (rc < 0)
        return rc;
    out->bytes = (uint64_t)n;
    out->answer_ms = (double)(quern__now_ns() - began) / 1e6;
    snprintf(server, sizeof server, "%s_shard_%" PRId64, s->tag, out->id);
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(s->schema));
    quern__pg_text(&p, quern_str_of(server));
    rc = quern__pg_query(s->own,
                         "SELECT c.relname FROM pg_catalog.pg_foreign_table t"
                         " JOIN pg_catalog.pg_foreign_server f ON f.oid = t.ftserver"
                         " JOIN pg_catalog.pg_class c ON c.oid = t.ftrelid"
                         " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                         " WHERE n.nspname = $1 AND f.srvname = $2 AND c.relispartition"
                         " AND c.relname ~ '^(quern_)?vectors_'",
                         &p, QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++) {
        const char *name = quern__pg_get_text(r, i, 0).ptr + strlen(s->base);
        snprintf(sql, sizeof sql, "SELECT count(*) FROM @%.100s", name);
        rc = quern__postgres_scalar(s, sql, NULL, &n, err);
        out->vectors += rc < 0 ? 0 : (uint64_t)n;
        rc = rc < 0 ? rc : QUERN_OK;
    }
    quern__pg_clear(r);
    return rc;
}

uint64_t quern__shard_space(quern__postgres *s)
{
    quern__pg_result *r = NULL;
    uint64_t all = 0;
    if (quern__postgres_query(s, "SELECT id FROM @shards", NULL, QUERN__PG_AS_TEXT, &r, NULL) != 0)
        return 0;
    for (size_t i = 0; i < quern__pg_rows(r); i++) {
        char sql[120];
        int64_t n = 0;
        snprintf(sql, sizeof sql,
                 "SELECT sum(bytes)::bigint FROM @shard_%" PRId64 "_tables WHERE kind = 'r'",
                 quern__pg_get_int(r, i, 0));
        if (quern__postgres_scalar(s, sql, NULL, &n, NULL) == 1)
            all += (uint64_t)n;
    }
    quern__pg_clear(r);
    return all;
}

int quern__postgres_shard_status(void *self, quern_shard_fn fn, void *ud, quern_error *err)
{
    quern__postgres *s = self;
    quern__pg_result *r = NULL;
    int rc = quern__postgres_query(s, "SELECT id, place, used FROM @shards ORDER BY id", NULL,
                                   QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++) {
        quern_error why = {0};
        quern_shard one = {.id = quern__pg_get_int(r, i, 0),
                           .place = quern__pg_get_text(r, i, 1).ptr,
                           .used = (int)quern__pg_get_int(r, i, 2)};
        rc = measure(s, &one, &why);
        one.reachable = rc == QUERN_OK || rc == QUERN_EMISMATCH;
        one.why = rc == QUERN_OK ? "" : why.msg;
        rc = fn(&one, ud);
    }
    quern__pg_clear(r);
    return rc;
}
