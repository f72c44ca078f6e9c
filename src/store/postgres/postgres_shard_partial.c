/*
 * postgres_shard_partial.c — reading without the shards that do not answer, for a search that would rather have a part
 * of the answer than none (docs/shards.md).
 *
 * Nobody pays for it while all is well: the search fails first, as it always does, and only then asks which shards are
 * down and begins anew without them. Which were missed is counted where a generation is opened that lies on one, so
 * a shard that was not needed is not held against the answer. A shard that answers but lacks tables (it was restored from
 * before they came) is missed by their generations alone.
 * Writing and counting never leave anything out.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "store/postgres/postgres_store.h"

/* ---- the limit ---- */

/* The store's server keeps it: it gives up on a shard though that says nothing at all. */
int quern__shard_limit(quern__postgres *s, uint32_t wait_ms, quern_error *err)
{
    char sql[80];
    snprintf(sql, sizeof sql, "SET LOCAL statement_timeout = %" PRIu32, wait_ms);
    return quern__pg_script(s->own, sql, err);
}

int quern__shard_too_long(quern__postgres *s, uint32_t wait_ms, int rc, quern_error *err)
{
    if (rc != QUERN_EBUSY || strcmp(quern__pg_sqlstate(s->own), "57014") != 0)
        return rc;
    rc = quern__fail(err, QUERN_EIO, wait_ms,
                     "%s: its shards did not answer within %" PRIu32
                     " ms; `quern shard status` asks each of them, --shard-timeout waits longer",
                     quern__pg_name(s->own), wait_ms);
    return quern__code(err, rc, "shard_timeout");
}

int quern__shard_query(quern__postgres *s, uint32_t wait_ms, const char *sql,
                       const quern__pg_params *params, quern__pg_result **out, quern_error *err)
{
    if (quern__pg_in_transaction(s->own))
        return quern__postgres_query(s, sql, params, QUERN__PG_AS_BINARY, out, err);
    *out = NULL;
    int rc = quern__pg_begin(s->own, QUERN__PG_READ, err);
    if (rc)
        return rc;
    rc = quern__shard_limit(s, wait_ms, err);
    if (!rc)
        rc = quern__postgres_query(s, sql, params, QUERN__PG_AS_BINARY, out, err);
    rc = quern__shard_too_long(s, wait_ms, rc, err);
    quern__pg_rollback(s->own);
    return rc;
}

/* ---- which are down ---- */

bool quern__shard_answers(quern__postgres *s, int64_t server, quern_error *why)
{
    char sql[80];
    quern__pg_result *r = NULL;
    snprintf(sql, sizeof sql, "SELECT name FROM @shard_%" PRId64 "_tables LIMIT 1", server);
    /* any other fault is that of a shard that has been given up */
    int rc = quern__shard_query(s, QUERN__PG_ANSWER_MS, sql, NULL, &r, why);
    quern__pg_clear(r);
    return rc != QUERN_EIO;
}

static int add_down(quern__postgres *s, int64_t server, int64_t generation, quern_error *err)
{
    quern__pg_down *grown = quern__resize_array(s->down, s->n_down + 1, sizeof *grown);
    if (!grown)
        return quern__fail_memory(err, (s->n_down + 1) * sizeof *grown);
    s->down = grown;
    s->down[s->n_down++] = (quern__pg_down){server, generation, false};
    return QUERN_OK;
}

/* Of all generations, or of those whose tables (vectors_7, stamps_7) it lacks. */
static int look_at(quern__postgres *s, int64_t server, quern_error *err)
{
    quern__pg_result *r = NULL;
    if (!quern__shard_answers(s, server, NULL))
        return add_down(s, server, 0, err);
    int n = quern__shard_lacking(s, server, &r, NULL), rc = QUERN_OK;
    if (n == QUERN_EIO || (n > 0 && !r)) /* it has gone since, or has nothing of ours */
        rc = add_down(s, server, 0, err);
    for (size_t i = 0; r && i < quern__pg_rows(r) && !rc; i++) {
        const char *number = strrchr(quern__pg_get_text(r, i, 0).ptr, '_');
        rc = add_down(s, server, number ? strtoll(number + 1, NULL, 10) : 0, err);
    }
    quern__pg_clear(r);
    return rc;
}

static int find_down(quern__postgres *s, quern_error *err)
{
    quern__pg_result *r = NULL;
    int rc = quern__postgres_query(s, "SELECT id FROM @shards ORDER BY id", NULL, QUERN__PG_AS_TEXT,
                                   &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r) && i < QUERN__PG_SHARDS; i++)
        rc = look_at(s, quern__pg_get_int(r, i, 0), err);
    quern__pg_clear(r);
    return rc;
}

int quern__postgres_partial(void *self, int on, uint32_t *missed, quern_error *err)
{
    quern__postgres *s = self;
    int64_t last = 0;
    *missed = 0;
    for (size_t i = 0; i < s->n_down; i++)
        if (s->down[i].missed && s->down[i].server != last) {
            last = s->down[i].server;
            ++*missed;
        }
    quern__free(s->down);
    s->down = NULL;
    s->n_down = 0;
    return on ? find_down(s, err) : QUERN_OK;
}

bool quern__shard_is_down(quern__postgres *s, int64_t server, int64_t generation)
{
    for (size_t i = 0; i < s->n_down; i++) {
        quern__pg_down *d = &s->down[i];
        if (d->server == server && (!d->generation || d->generation == generation))
            return d->missed = true;
    }
    return false;
}

int quern__shard_find_missing(quern__postgres *s, quern__pg_generation *g, quern_error *err)
{
    int64_t servers[QUERN__PG_SHARDS];
    size_t n = 0, missing = 0;
    int rc = quern__shard_servers(s, g->id, servers, &n, err);
    for (size_t i = 0; i < n && !rc; i++)
        if (quern__shard_is_down(s, servers[i], g->id)) {
            g->missing |= UINT64_C(1) << i;
            missing++;
        }
    if (!rc && n && missing == n)
        rc = quern__fail(err, QUERN_EIO, g->id,
                         "no shard of generation %" PRId64 " answers; `quern shard status`", g->id);
    return rc;
}

void quern__shard_put_present(const quern__pg_generation *g, quern__buf *sql)
{
    const char *between = "";
    quern__buf_puts(sql, "(SELECT v.* FROM (");
    for (int i = 0; i < g->shards; i++) {
        if (quern__shard_misses(g, i))
            continue;
        quern__buf_printf(sql, "%sSELECT * FROM @vectors_%" PRId64 "_p%d", between, g->id, i);
        between = " UNION ALL ";
    }
    quern__buf_printf(sql,
                      ") AS v JOIN LATERAL (SELECT 1 FROM @stamps AS s WHERE s.generation ="
                      " %" PRId64 " AND s.key = v.key AND s.save = v.save LIMIT 1) AS its ON true)"
                      " AS present",
                      g->id);
}
