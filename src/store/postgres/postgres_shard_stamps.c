/*
 * postgres_shard_stamps.c — stamps of generations on shards (`beside`): beside the vectors, on the same server, written by the same
 * transaction there. stamps_<id>_all is partitioned by the same hash of the key as vectors_<id>_all.
 *
 * Two servers say what a stamp is. The shard has what was embedded and became of it: revision, outcome, reason, chunks. The
 * store has a line in @stamps: which save counts (its random number), whether the document is asked for again, how many
 * chunks were promised, and the revision where it has moved on since. A stamp is one only where both have the same number. So a shard that was restored
 * to an older state brings its older stamps back, and none of them is one: the next scan finds these documents without
 * a stamp. The same for a commit that one of the two servers made and the other did not, whichever it was.
 * What is said under a number on a shard therefore never changes: a revision that stamp columns move on (the row is
 * written, its text is not) goes into the line, which commits with the row. On the shard it would be there without the
 * row, under the same number, and be true of the next edit that comes to that revision.
 *
 * Why the line stays: it is what savers lock, before they ask a shard anything. postgres_fdw's sessions read by
 * the snapshot of their first statement, so whoever has the lock sees on the shard all that was saved before; savers who locked
 * rows of several shards themselves could wait for each other in a circle that no server sees. And a store that
 * is restored together with the user's rows never takes a stamp of its lost future for one, though a revision that counts
 * may well come to the same number. Stamps on the shards alone were rejected for that.
 *
 * A reader who comes between the commits of a save (the shards', then the store's) sees no stamp for that moment: a search
 * leaves the document out, as it does with its vectors; a fill may embed it once more and finds at its save, behind the lock,
 * that it is done. Several stamps of a key may stand side by side on a shard, one a number: leftovers, as with
 * vectors, which go with the next save of the key or with the sweep.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "store/postgres/postgres_store.h"
#include "store/row_key.h"

enum { SWEEP_STAMPS = 4096, FEW_KEYS = 8 };

/* ---- tables ---- */

#define BODY                                                                                       \
    "key text COLLATE \"C\" NOT NULL, save bigint NOT NULL, outcome smallint NOT NULL, revision"   \
    " text NOT NULL, reason text NOT NULL, chunks bigint NOT NULL, dropped_bytes bigint NOT NULL," \
    " created_ms bigint NOT NULL, updated_ms bigint NOT NULL"
#define COLUMNS                                                                                    \
    "key, save, outcome, revision, reason, chunks, dropped_bytes, created_ms, updated_ms"

void quern__shard_put_stamps_leaf(quern__buf *out, int64_t id)
{
    quern__buf_printf(out,
                      "CREATE TABLE IF NOT EXISTS quern_shard.stamps_%" PRId64 " (" BODY
                      ", PRIMARY KEY (key, save))",
                      id);
}

void quern__shard_put_stamps_trunk(quern__buf *out, const quern__postgres *s, int64_t id,
                                   const int64_t *servers, size_t n)
{
    const char *p = s->prefix;
    quern__buf_printf(out,
                      "DROP TABLE IF EXISTS %sstamps_%" PRId64
                      "_all; CREATE TABLE %sstamps_%" PRId64 "_all (" BODY
                      ") PARTITION BY HASH (key);",
                      p, id, p, id);
    for (size_t i = 0; i < n; i++)
        quern__buf_printf(out,
                          "CREATE FOREIGN TABLE %sstamps_%" PRId64
                          "_p%zu PARTITION OF %sstamps_%" PRId64
                          "_all FOR VALUES WITH (MODULUS %zu, REMAINDER %zu) SERVER"
                          " %s_shard_%" PRId64 " OPTIONS (schema_name 'quern_shard', table_name"
                          " 'stamps_%" PRId64 "');",
                          p, id, i, p, id, n, i, s->tag, servers[i], id);
}

void quern__shard_put_stamps_move(quern__buf *out, const quern__postgres *s, int64_t id)
{
    const char *p = s->prefix;
    quern__buf_printf(out,
                      "INSERT INTO %sstamps_%" PRId64 "_all (" COLUMNS ") SELECT " COLUMNS
                      " FROM %sstamps WHERE generation = %" PRId64 ";",
                      p, id, p, id);
    quern__buf_printf(out,
                      "UPDATE %sstamps SET revision = '', reason = '', dropped_bytes = 0 WHERE"
                      " generation = %" PRId64 ";UPDATE %sgenerations SET beside = true WHERE id ="
                      " %" PRId64,
                      p, id, p, id);
}

/* ---- reading ---- */

/* What a shard says of these keys, of whatever save. Of many keys each shard is asked for all, at once: to find out
 * which of them it may have costs more than it saves. Those that do not answer are left out of a partial search. */
static bool put_question(const quern__pg_generation *g, size_t keys, quern__buf *sql)
{
    static const char columns[] = "key, save, outcome, revision, reason, chunks, dropped_bytes";
    const char *between = "";
    if (!g->missing && keys <= FEW_KEYS) {
        quern__buf_printf(sql, "SELECT %s FROM @stamps_%" PRId64 "_all WHERE key = ANY ($1)",
                          columns, g->id);
        return true;
    }
    for (int i = 0; i < g->shards; i++) {
        if (quern__shard_misses(g, i))
            continue;
        quern__buf_printf(sql, "%sSELECT %s FROM @stamps_%" PRId64 "_p%d WHERE key = ANY ($1)",
                          between, columns, g->id, i);
        between = " UNION ALL ";
    }
    return *between != '\0';
}

static int take(const quern__pg_result *r, size_t row, quern__pg_stamp_line *lines, size_t n,
                quern__arena *arena, quern_error *err)
{
    quern_str key = quern__pg_get_text(r, row, 0);
    int64_t save = quern__pg_get_int(r, row, 1);
    size_t from = 0, to = n;
    int rc = QUERN_OK;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (quern__pg_compare_keys(lines[middle].key, key) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    for (; from < n && !rc && quern__pg_compare_keys(lines[from].key, key) == 0; from++) {
        quern_stamp *out = lines[from].stamp;
        if (lines[from].save != save)
            continue;
        lines[from].whole = true;
        out->outcome = (int)quern__pg_get_int(r, row, 2);
        out->chunks = (uint32_t)quern__pg_get_int(r, row, 5);
        out->dropped_bytes = (uint64_t)quern__pg_get_int(r, row, 6);
        if (out->revision.len == 0) /* else it has moved on, see move_one */
            rc = quern__copy_str(arena, quern__pg_get_text(r, row, 3), &out->revision, err);
        if (!rc)
            rc = quern__copy_str(arena, quern__pg_get_text(r, row, 4), &out->reason, err);
    }
    return rc;
}

/* The limit of a search, in a transaction that goes on without it: a shard that hangs holds up no reader for ever. */
static int limited(quern__postgres *s, const char *sql, const quern__pg_params *params,
                   quern__pg_result **out, quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *was = NULL;
    char limit[24];
    if (!quern__pg_in_transaction(s->own))
        return quern__shard_query(s, s->shard_ms, sql, params, out, err);
    snprintf(limit, sizeof limit, "%" PRIu32, s->shard_ms);
    quern__pg_params_init(&p);
    quern__pg_text(&p, quern_str_of(limit));
    int rc = quern__pg_query(s->own,
                             "SELECT current_setting('statement_timeout'),"
                             " set_config('statement_timeout', $1, true)",
                             &p, QUERN__PG_AS_TEXT, &was, err);
    if (!rc)
        rc = quern__shard_query(s, s->shard_ms, sql, params, out, err);
    rc = quern__shard_too_long(s, s->shard_ms, rc, err);
    quern__pg_params_init(&p);
    if (!rc) {
        quern__pg_text(&p, quern__pg_get_text(was, 0, 0));
        rc = quern__pg_run(s->own, "SELECT set_config('statement_timeout', $1, true)", &p, NULL,
                           err);
        if (rc) {
            quern__pg_clear(*out);
            *out = NULL;
        }
    }
    quern__pg_clear(was);
    return rc;
}

int quern__shard_stamps_read(quern__postgres *s, int64_t generation, quern__pg_stamp_line *lines,
                             size_t n, quern__arena *arena, quern_error *err)
{
    quern__pg_generation g;
    quern__pg_params p;
    quern__pg_array keys;
    quern__pg_result *r = NULL;
    quern__buf sql;
    size_t asked = 0;
    int rc = QUERN_OK;
    for (size_t i = 0; i < n; i++)
        asked += !(lines[i].whole = lines[i].save == 0);
    if (asked)
        rc = quern__postgres_generation_get(s, generation, false, &g, err);
    if (rc || !asked || !g.beside) {
        for (size_t i = 0; i < n; i++)
            lines[i].whole = true;
        return rc;
    }
    quern__pg_array_init(&keys, QUERN__PG_TEXT, 0);
    for (size_t i = 0; i < n; i++)
        if (!lines[i].whole &&
            (i == 0 || quern__pg_compare_keys(lines[i - 1].key, lines[i].key) != 0))
            quern__pg_array_bytes(&keys, lines[i].key.ptr, lines[i].key.len);
    quern__pg_params_init(&p);
    quern__pg_bind_array(&p, &keys);
    quern__buf_init(&sql, 1 << 16);
    bool any = put_question(&g, asked, &sql);
    rc = quern__buf_ok(&sql, "a statement", err);
    if (!rc && any)
        rc = limited(s, sql.data, &p, &r, err);
    for (size_t i = 0; r && !rc && i < quern__pg_rows(r); i++)
        rc = take(r, i, lines, n, arena, err);
    quern__pg_clear(r);
    quern__buf_dispose(&sql);
    quern__pg_array_dispose(&keys);
    return rc;
}

/* ---- writing ---- */

int quern__shard_stamps_put(quern__postgres *s, const quern__pg_generation *g, int64_t number,
                            int64_t now_ms, const quern_save *const *docs, size_t n,
                            quern_error *err)
{
    enum { KEY, OUTCOME, REVISION, REASON, CHUNKS, DROPPED, ARRAYS };
    quern__pg_array a[ARRAYS];
    quern__pg_params p;
    char sql[640];
    if (n == 0)
        return QUERN_OK;
    for (size_t i = 0; i < ARRAYS; i++)
        quern__pg_array_init(
            &a[i], i == KEY || i == REVISION || i == REASON ? QUERN__PG_TEXT : QUERN__PG_INT8, 0);
    for (size_t i = 0; i < n; i++) {
        const quern_stamp *t = &docs[i]->stamp;
        quern__pg_array_bytes(&a[KEY], docs[i]->key.ptr, docs[i]->key.len);
        quern__pg_array_int(&a[OUTCOME], t->outcome);
        quern__pg_array_bytes(&a[REVISION], t->revision.ptr ? t->revision.ptr : "",
                              t->revision.len);
        quern__pg_array_bytes(&a[REASON], t->reason.ptr ? t->reason.ptr : "", t->reason.len);
        quern__pg_array_int(&a[CHUNKS], t->chunks);
        quern__pg_array_int(&a[DROPPED], (int64_t)t->dropped_bytes);
    }
    quern__pg_params_init(&p);
    for (size_t i = 0; i < ARRAYS; i++)
        quern__pg_bind_array(&p, &a[i]);
    quern__pg_int(&p, g->id);
    quern__pg_int(&p, number);
    quern__pg_int(&p, now_ms);
    snprintf(sql, sizeof sql,
             "INSERT INTO @stamps_%" PRId64 "_all (" COLUMNS ") SELECT d.key, $8, d.outcome,"
             " d.revision, d.reason, d.chunks, d.dropped, m.created_ms, $9"
             " FROM unnest($1, $2, $3, $4, $5, $6) AS d(key, outcome, revision, reason, chunks,"
             " dropped) JOIN @stamps AS m ON m.generation = $7 AND m.key = d.key"
             " AND m.key = ANY ($1)",
             g->id);
    int rc = quern__postgres_run(s, sql, &p, NULL, err);
    for (size_t i = 0; i < ARRAYS; i++)
        quern__pg_array_dispose(&a[i]);
    return rc;
}

/* Of one generation: the lines first, which is where writers wait for each other. The shard keeps the revision it has, and the line
 * gets the new one: it commits with the row, and a shard's commit alone moves nothing. A line that has one is moved by
 * the caller. */
static int move_one(quern__postgres *s, int64_t id, quern__pg_array *key, quern__pg_array *old,
                    quern__pg_array *new, quern_error *err)
{
    quern__pg_params p;
    char sql[560];
    quern__pg_params_init(&p);
    quern__pg_int(&p, id);
    quern__pg_bind_array(&p, key);
    int rc = quern__postgres_run(s,
                                 "SELECT 1 FROM @stamps WHERE generation = $1 AND key = ANY ($2)"
                                 " ORDER BY key FOR UPDATE",
                                 &p, NULL, err);
    quern__pg_bind_array(&p, old);
    quern__pg_bind_array(&p, new);
    /* in this form one question goes to each shard; joined with the arrays, it would be one a row */
    snprintf(sql, sizeof sql,
             "WITH there AS MATERIALIZED (SELECT key, save FROM @stamps_%" PRId64
             "_all WHERE key = ANY ($2) AND revision = ($3)[array_position($2, key)])"
             " UPDATE @stamps AS m SET revision = ($4)[array_position($2, m.key)] FROM there"
             " WHERE m.generation = $1 AND m.key = ANY ($2) AND m.key = there.key"
             " AND m.save = there.save AND m.revision = ''",
             id);
    return rc ? rc : quern__postgres_run(s, sql, &p, NULL, err);
}

int quern__shard_stamps_move(quern__postgres *s, int64_t generation, quern__pg_array *key,
                             quern__pg_array *old, quern__pg_array *new, quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *r = NULL;
    quern__pg_params_init(&p);
    quern__pg_int(&p, generation);
    int rc = quern__postgres_query(s,
                                   "SELECT b.id FROM @generations AS a JOIN @generations AS b"
                                   " ON b.source = a.source WHERE a.id = $1 AND b.beside"
                                   " AND b.state <> 'retired' ORDER BY b.id",
                                   &p, QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; !rc && i < quern__pg_rows(r); i++)
        rc = move_one(s, quern__pg_get_int(r, i, 0), key, old, new, err);
    quern__pg_clear(r);
    return rc;
}

/* ---- leftovers ---- */

int quern__shard_stamps_differ(quern__postgres *s, const quern__pg_generation *g, quern_error *err)
{
    static const char sums[] = "count(*) AS n, sum(pg_catalog.hashtextextended(key, save)) AS h";
    quern__pg_params p;
    quern__buf sql;
    int64_t same = 0;
    quern__buf_init(&sql, 16384);
    quern__buf_puts(&sql, "SELECT ((SELECT row(coalesce(sum(n), 0), coalesce(sum(h), 0)) FROM (");
    for (int i = 0; i < g->shards; i++)
        quern__buf_printf(&sql, "%sSELECT %s FROM @stamps_%" PRId64 "_p%d", i ? " UNION ALL " : "",
                          sums, g->id, i);
    quern__buf_printf(&sql,
                      ") AS there) = (SELECT row(n::numeric, coalesce(h, 0)) FROM (SELECT %s FROM"
                      " @stamps WHERE generation = $1) AS here))::int::bigint",
                      sums);
    quern__pg_params_init(&p);
    quern__pg_int(&p, g->id);
    int rc = quern__buf_ok(&sql, "a statement", err);
    if (!rc)
        rc = quern__postgres_scalar(s, sql.data, &p, &same, err);
    quern__buf_dispose(&sql);
    return rc < 0 ? rc : same == 0;
}

/* A page of a partition's stamps behind w->after: those that are not the store's go into key and save. */
typedef struct page {
    quern__postgres *s;
    const quern__pg_generation *g;
    int part;
    quern__buf after;
    quern__pg_array key, save;
    int64_t removed;
    size_t seen;
} page;

static int find_strays(page *w, quern_error *err)
{
    quern__pg_params p;
    quern__pg_result *r = NULL;
    char sql[480];
    quern__pg_array_clear(&w->key);
    quern__pg_array_clear(&w->save);
    quern__pg_params_init(&p);
    quern__pg_text(&p, (quern_str){w->after.data ? w->after.data : "", w->after.len});
    quern__pg_int(&p, w->g->id);
    /* with ties: all of a key are in one page, so the next begins behind it */
    snprintf(sql, sizeof sql,
             "SELECT f.key, f.save, m.key IS NULL FROM (SELECT key, save FROM @stamps_%" PRId64
             "_p%d WHERE key > $1 ORDER BY key FETCH FIRST %d ROWS WITH TIES) AS f LEFT JOIN"
             " @stamps AS m ON m.generation = $2 AND m.key = f.key AND m.save = f.save"
             " ORDER BY f.key",
             w->g->id, w->part, (int)SWEEP_STAMPS);
    int rc = quern__postgres_query(w->s, sql, &p, QUERN__PG_AS_TEXT, &r, err);
    w->seen = rc ? 0 : quern__pg_rows(r);
    for (size_t i = 0; i < w->seen; i++) {
        quern_str key = quern__pg_get_text(r, i, 0);
        if (quern__pg_get_int(r, i, 2)) {
            quern__pg_array_bytes(&w->key, key.ptr, key.len);
            quern__pg_array_int(&w->save, quern__pg_get_int(r, i, 1));
        }
        if (i + 1 == w->seen) {
            quern__buf_clear(&w->after);
            quern__buf_append(&w->after, key.ptr, key.len);
            rc = quern__buf_ok(&w->after, "a key", err);
        }
    }
    quern__pg_clear(r);
    return rc;
}

/* While nobody saves: those that are still not the store's. */
static int remove_strays(void *ud, quern_error *err)
{
    page *w = ud;
    quern__pg_params p;
    char sql[480];
    quern__pg_params_init(&p);
    quern__pg_int(&p, w->g->id);
    int rc = quern__postgres_run(w->s, "SELECT 1 FROM @generations WHERE id = $1 FOR UPDATE", &p,
                                 NULL, err);
    quern__pg_bind_array(&p, &w->key);
    quern__pg_bind_array(&p, &w->save);
    snprintf(sql, sizeof sql,
             "DELETE FROM @stamps_%" PRId64 "_p%d AS t USING unnest($2, $3) AS d(key, save) WHERE"
             " t.key = ANY ($2) AND t.key = d.key AND t.save = d.save AND NOT EXISTS (SELECT 1 FROM"
             " @stamps AS m WHERE m.generation = $1 AND m.key = d.key AND m.save = d.save)",
             w->g->id, w->part);
    return rc ? rc : quern__postgres_run(w->s, sql, &p, &w->removed, err);
}

int quern__shard_stamps_sweep(quern__postgres *s, const quern__pg_generation *g, uint64_t *removed,
                              quern_error *err)
{
    page w = {.s = s, .g = g};
    int rc = quern__shard_stamps_differ(s, g, err);
    *removed = 0;
    if (rc <= 0)
        return rc;
    rc = QUERN_OK;
    quern__pg_array_init(&w.key, QUERN__PG_TEXT, 0);
    quern__pg_array_init(&w.save, QUERN__PG_INT8, 0);
    quern__buf_init(&w.after, 1 << 20);
    for (w.part = 0; w.part < g->shards && !rc; w.part++) {
        quern__buf_clear(&w.after);
        do {
            rc = find_strays(&w, err);
            if (!rc && w.key.n)
                rc = quern__pg_transact(s->own, QUERN__PG_WRITE, remove_strays, &w, err);
            *removed += !rc && w.key.n ? (uint64_t)w.removed : 0;
        } while (!rc && w.seen >= SWEEP_STAMPS);
    }
    quern__buf_dispose(&w.after);
    quern__pg_array_dispose(&w.key);
    quern__pg_array_dispose(&w.save);
    return rc;
}
