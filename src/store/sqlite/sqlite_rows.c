/*
 * sqlite_rows.c — scan, fetch and count. A page of rows is copied into an arena and its statement reset
 * before the first callback: in journal mode "delete" an open read statement would block the user's commits
 * for as long as the layer above thinks. Pages end at a number of bytes and after some milliseconds; the
 * caller's limit is met by reading several.
 *
 * Order: rows with NULL in their key first (they have no key to resume by: they are numbered), then by key.
 * Rows that cannot be documents carry a fault and, in place of a key, a mark {"fault":…} that only `after`
 * understands: fetch, save and erase treat it as the key of no row.
 */
#include "store/sqlite/sqlite_store.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"
#include "store/row_key.h"

enum {
    PAGE_BYTES = 8 << 20,
    FIRST_PAGE_ROWS = 64,
    PAGE_ROWS = 1024,
    PAGE_MS = 20,
    LONGEST_REVISION = 1 << 20
};

/* A row of a page: what the callback gets, and what the next page starts from. */
typedef struct page_row {
    quern_row row;
    quern_value keys[QUERN__KEY_COLUMNS];
    uint64_t nth; /* among rows of the same key (1 = first), or among rows with NULL keys */
} page_row;

typedef struct cursor {
    bool nulls, started; /* in the part with NULL keys; `keys` holds the last key */
    uint64_t nth;
    quern_value keys[QUERN__KEY_COLUMNS];
} cursor;

/* ---- values ---- */

static int read_value(quern__stmt *stmt, int at, quern__arena *arena, quern_value *v,
                      quern_error *err)
{
    memset(v, 0, sizeof *v);
    switch (quern__db_type(stmt, at)) {
    case QUERN__DB_INT:
        v->type = QUERN_VALUE_INT;
        v->integer = quern__db_get_int(stmt, at);
        return QUERN_OK;
    case QUERN__DB_REAL:
        v->type = QUERN_VALUE_REAL;
        v->real = quern__db_get_real(stmt, at);
        return QUERN_OK;
    case QUERN__DB_TEXT:
        v->type = QUERN_VALUE_TEXT;
        return quern__copy_str(arena, quern__db_get_text(stmt, at), &v->bytes, err);
    case QUERN__DB_BLOB:
        v->type = QUERN_VALUE_BLOB;
        return quern__copy_str(arena, quern__db_get_blob(stmt, at), &v->bytes, err);
    default:
        v->type = QUERN_VALUE_NULL;
        return QUERN_OK;
    }
}

static void bind_value(quern__db *db, quern__stmt *stmt, int at, const quern_value *v)
{
    if (v->type == QUERN_VALUE_INT)
        quern__db_bind_int(db, stmt, at, v->integer);
    else if (v->type == QUERN_VALUE_REAL)
        quern__db_bind_real(db, stmt, at, v->real);
    else if (v->type == QUERN_VALUE_TEXT)
        quern__db_bind_text(db, stmt, at, v->bytes);
    else if (v->type == QUERN_VALUE_BLOB)
        quern__db_bind_blob(db, stmt, at, v->bytes.ptr, v->bytes.len);
}

/* ---- one row ---- */

static int builtin_columns(quern__sqlite_plan *p, quern__stmt *stmt, quern__arena *arena,
                           const quern_value *id, quern_value *columns, quern_error *err)
{
    return quern__document_columns(
        p->columns, p->n_columns, id, quern__db_get_text(stmt, (int)p->n_keys + 2),
        quern__db_get_text(stmt, (int)p->n_keys + 1), arena, columns, err);
}

/* The revision as text: numbers in their canonical spelling, blobs as hex. */
static int read_revision(quern__stmt *stmt, int at, quern__arena *arena, quern_str *out,
                         quern_error *err)
{
    *out = (quern_str){"", 0};
    if (quern__db_type(stmt, at) == QUERN__DB_NULL)
        return QUERN_OK;
    if (quern__db_type(stmt, at) != QUERN__DB_BLOB)
        return quern__copy_str(arena, quern__db_get_text(stmt, at), out, err);
    quern_str blob = quern__db_get_blob(stmt, at);
    quern__buf hex;
    quern__buf_init(&hex, LONGEST_REVISION);
    quern__put_hex(&hex, blob.ptr, blob.len);
    int rc = quern__buf_ok(&hex, "a revision", err);
    if (!rc)
        rc = quern__copy_str(arena, (quern_str){hex.data, hex.len}, out, err);
    quern__buf_dispose(&hex);
    return rc;
}

static int faulty(page_row *r, quern__sqlite_plan *p, quern__arena *arena, const char *why,
                  quern_error *err)
{
    r->row.fault = why;
    return quern__mark_make(r->keys, p->n_keys, r->nth, arena, &r->row.key, err);
}

/* Sets row.key, or the fault and a mark. */
static int make_key(page_row *r, quern__sqlite_plan *p, quern__arena *arena, quern_error *err)
{
    for (size_t i = 0; i < p->n_keys; i++)
        if (r->keys[i].type == QUERN_VALUE_NULL) {
            char why[320];
            snprintf(why, sizeof why, "key column '%s' is NULL", p->keys[i]);
            char *copy = quern__arena_copy(arena, why, strlen(why));
            return copy ? faulty(r, p, arena, copy, err) : quern__fail_memory(err, sizeof why);
        }
    char *key = NULL;
    quern_error inner;
    int rc = quern_key_encode(r->keys, p->n_keys, &key, &inner);
    if (rc == QUERN_EFORMAT) {
        char *copy = quern__arena_copy(arena, inner.msg, strlen(inner.msg));
        return copy ? faulty(r, p, arena, copy, err) : quern__fail_memory(err, sizeof inner.msg);
    }
    if (rc) {
        if (err)
            *err = inner;
        return rc;
    }
    rc = quern__copy_str(arena, quern_str_of(key), &r->row.key, err);
    quern__free(key);
    return rc;
}

static int read_row(quern__sqlite_plan *p, quern__stmt *stmt, quern__arena *arena, page_row *r,
                    quern_error *err)
{
    int rc = QUERN_OK;
    memset(&r->row, 0, sizeof r->row);
    for (size_t i = 0; i < p->n_keys && !rc; i++)
        rc = read_value(stmt, (int)i, arena, &r->keys[i], err);
    if (!rc)
        rc = read_revision(stmt, (int)p->n_keys, arena, &r->row.revision, err);
    if (rc)
        return rc;
    quern_value *columns = quern__arena_alloc(arena, (p->n_columns + 1) * sizeof *columns);
    if (!columns)
        return quern__fail_memory(err, p->n_columns * sizeof *columns);
    if (p->builtin) {
        r->row.no_text = quern__db_type(stmt, (int)p->n_keys) != QUERN__DB_NULL;
        rc = builtin_columns(p, stmt, arena, &r->keys[0], columns, err);
    }
    for (size_t i = 0; i < p->n_columns && !rc && !p->builtin; i++)
        rc = read_value(stmt, (int)(p->n_keys + 1 + i), arena, &columns[i], err);
    r->row.columns = columns;
    r->row.n_columns = p->n_columns;
    return rc;
}

/* ---- scan ---- */

static void put_key(quern__sqlite_plan *p, quern__buf *out, size_t i)
{
    quern__sql_quote(out, p->alias);
    quern__buf_putc(out, '.');
    quern__sql_quote(out, p->keys[i]);
}

static void put_collated(quern__sqlite_plan *p, quern__buf *out, size_t i)
{
    put_key(p, out, i);
    quern__buf_puts(out, " COLLATE ");
    quern__sql_quote(out, p->collations[i]);
}

/* k1, k2 with collations; `parameters` puts ?1, ?2 instead. */
static void put_list(quern__sqlite_plan *p, quern__buf *out, bool parameters)
{
    for (size_t i = 0; i < p->n_keys; i++) {
        if (i)
            quern__buf_puts(out, ", ");
        if (parameters)
            quern__buf_printf(out, "?%zu", i + 1);
        else
            put_collated(p, out, i);
    }
}

static void put_nulls(quern__sqlite_plan *p, quern__buf *out, bool are)
{
    quern__buf_puts(out, " AND (");
    for (size_t i = 0; i < p->n_keys; i++) {
        if (i)
            quern__buf_puts(out, are ? " OR " : " AND ");
        put_key(p, out, i);
        quern__buf_puts(out, are ? " IS NULL" : " IS NOT NULL");
    }
    quern__buf_putc(out, ')');
}

static int prepare_page(quern__sqlite_plan *p, const cursor *c, size_t limit, quern__stmt **stmt,
                        quern_error *err)
{
    quern__buf *q = &p->sql;
    quern__buf_clear(q);
    quern__buf_append(q, p->select.data, p->select.len);
    if (p->nullable)
        put_nulls(p, q, c->nulls);
    if (c->started && !c->nulls) {
        quern__buf_puts(q, " AND (");
        put_list(p, q, false);
        quern__buf_puts(q, p->unique ? ") > (" : ") >= (");
        put_list(p, q, true);
        quern__buf_putc(q, ')');
    }
    quern__buf_puts(q, " ORDER BY ");
    put_list(p, q, false);
    quern__buf_printf(q, " LIMIT ?%d OFFSET ?%d", QUERN__AT_LIMIT, QUERN__AT_OFFSET);
    int rc = quern__sqlite_plan_prepare(p, stmt, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < p->n_keys && c->started && !c->nulls; i++)
        bind_value(p->db, *stmt, (int)i + 1, &c->keys[i]);
    /* where keys may repeat, the page begins with the rows of the last key, nth of which were delivered */
    bool repeats = c->nulls || (c->started && !p->unique);
    quern__db_bind_int(p->db, *stmt, QUERN__AT_OFFSET, repeats ? (int64_t)c->nth : 0);
    quern__db_bind_int(p->db, *stmt, QUERN__AT_LIMIT, (int64_t)limit);
    return QUERN_OK;
}

/* Keys of a page whose rows came from a source that proves nothing: neighbours that are equal are at fault. */
static int mark_duplicates(quern__sqlite_plan *p, const cursor *c, quern__arena *arena,
                           page_row *rows, size_t n, size_t total, quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t i = 0; i < total && !rc; i++) {
        const quern_value *before = i ? rows[i - 1].keys : c->started && !c->nulls ? c->keys : NULL;
        bool same = before && quern__keys_same(before, rows[i].keys, p->n_keys);
        rows[i].nth = same ? (i ? rows[i - 1].nth : c->nth) + 1 : 1;
    }
    for (size_t i = 0; i < n && !rc; i++) {
        bool first = rows[i].nth == 1;
        bool repeated = !first || (i + 1 < total && rows[i + 1].nth > 1);
        if (repeated && !rows[i].row.fault) {
            rows[i].row.fault = "another row has the same key";
            if (!first)
                rc = faulty(&rows[i], p, arena, rows[i].row.fault, err);
        } else if (rows[i].row.fault)
            rc = faulty(&rows[i], p, arena, rows[i].row.fault, err);
    }
    return rc;
}

/* Reads up to `want` rows into rows (room for want + 1); *end: nothing is behind them in this part. */
static int read_page(quern__sqlite_plan *p, const cursor *c, size_t want, quern__arena *arena,
                     page_row *rows, size_t *n, bool *end, quern_error *err)
{
    quern__stmt *stmt = NULL;
    bool extra = !p->unique && !c->nulls; /* one row more, to see whether it repeats the last key */
    size_t total = 0;
    uint64_t began = quern__now_ns();
    int rc = prepare_page(p, c, want + extra, &stmt, err);
    if (rc)
        return rc;
    bool full = false;
    while (!full && (rc = quern__sqlite_plan_step(p, stmt, err)) == 1) {
        page_row *r = &rows[total];
        rc = read_row(p, stmt, arena, r, err);
        r->nth = c->nulls ? c->nth + total + 1 : 1;
        if (!rc)
            rc = make_key(r, p, arena, err);
        if (rc)
            break;
        total++;
        full = total == want + extra || arena->used > PAGE_BYTES ||
               quern__now_ns() - began > (uint64_t)PAGE_MS * 1000000;
        full = full && total > extra;
    }
    quern__db_finish(p->db, stmt);
    if (rc < 0)
        return rc;
    *end = !full;
    *n = total - (extra && full);
    return extra ? mark_duplicates(p, c, arena, rows, *n, total, err) : QUERN_OK;
}

static int deliver(quern__sqlite *s, const quern_read *read, quern__arena *arena, page_row *rows,
                   size_t n, quern_row_fn fn, void *ud, quern_error *err)
{
    int rc = QUERN_OK;
    bool begun = read->generation && quern__db_read_begin(s->own);
    for (size_t i = 0; i < n && !rc && read->generation; i++)
        rc = quern__sqlite_stamp(s, read->generation, rows[i].row.key, arena, &rows[i].row.stamp,
                                 err);
    quern__db_read_end(s->own, begun);
    for (size_t i = 0; i < n && !rc; i++)
        rc = fn(&rows[i].row, ud);
    return rc;
}

/* The cursor stands behind this row; its values move into `keep`. */
static int advance(quern__sqlite_plan *p, const page_row *last, quern__arena *keep, cursor *c,
                   quern_error *err)
{
    int rc = QUERN_OK;
    quern__arena_dispose(keep);
    for (size_t i = 0; i < p->n_keys && !rc; i++) {
        c->keys[i] = last->keys[i];
        if (c->keys[i].type >= QUERN_VALUE_TEXT)
            rc = quern__copy_str(keep, last->keys[i].bytes, &c->keys[i].bytes, err);
    }
    c->nth = last->nth;
    c->started = true;
    return rc;
}

static int begin_cursor(quern__sqlite_plan *p, quern_str after, quern__arena *keep, cursor *c,
                        quern_error *err)
{
    memset(c, 0, sizeof *c);
    c->nulls = p->nullable;
    if (after.len == 0)
        return QUERN_OK;
    c->nulls = false;
    c->started = true;
    c->nth = 1;
    int rc = quern__mark_is(after)
                 ? quern__mark_parse(after, p->n_keys, keep, c->keys, &c->nth, err)
                 : quern__key_values(after, p->n_keys, keep, c->keys, QUERN__KEY_COLUMNS, err);
    for (size_t i = 0; i < p->n_keys && !rc; i++)
        c->nulls |= c->keys[i].type == QUERN_VALUE_NULL;
    return rc;
}

int quern__sqlite_scan(void *self, const quern_read *read, quern_str after, size_t limit,
                       quern_row_fn fn, void *ud, quern_error *err)
{
    quern__sqlite *s = self;
    quern__sqlite_plan plan;
    quern__arena arena, keep;
    cursor c;
    quern__arena_init(&arena, 0);
    quern__arena_init(&keep, 0);
    page_row *rows = NULL;
    int rc = quern__sqlite_plan_make(&plan, s, read, err);
    if (!rc)
        rc = begin_cursor(&plan, after, &keep, &c, err);
    size_t room = QUERN__MIN(limit, (size_t)PAGE_ROWS);
    if (!rc && !(rows = quern__alloc_array(room + 1, sizeof *rows)))
        rc = quern__fail_memory(err, room * sizeof *rows);
    /* callers often stop early: pages begin small and grow */
    size_t want = FIRST_PAGE_ROWS;
    while (!rc && limit) {
        size_t n = 0;
        bool end = false;
        rc = read_page(&plan, &c, QUERN__MIN(want, QUERN__MIN(limit, room)), &arena, rows, &n, &end,
                       err);
        want *= 2;
        if (!rc)
            rc = deliver(s, read, &arena, rows, n, fn, ud, err);
        limit -= rc ? 0 : n;
        if (!rc && n)
            rc = advance(&plan, &rows[n - 1], &keep, &c, err);
        quern__arena_dispose(&arena);
        if (rc || !end)
            continue;
        if (!c.nulls)
            break;
        memset(&c, 0, sizeof c); /* rows with NULL keys are done: now by key, from the start */
    }
    quern__free(rows);
    quern__arena_dispose(&arena);
    quern__arena_dispose(&keep);
    quern__sqlite_plan_dispose(&plan);
    return rc;
}

/* ---- by key ---- */

void quern__sqlite_put_key(quern__sqlite_plan *p, quern__buf *out)
{
    for (size_t i = 0; i < p->n_keys; i++) {
        quern__buf_puts(out, " AND ");
        put_collated(p, out, i);
        quern__buf_printf(out, " = ?%zu", i + 1);
    }
}

int quern__sqlite_bind_key(quern__sqlite_plan *p, quern__stmt *stmt, quern_str key,
                           quern__arena *arena, quern_error *err)
{
    quern_value keys[QUERN__KEY_COLUMNS];
    int rc = quern__key_values(key, p->n_keys, arena, keys, QUERN__KEY_COLUMNS, err);
    for (size_t i = 0; i < p->n_keys && !rc; i++)
        bind_value(p->db, stmt, (int)i + 1, &keys[i]);
    return rc;
}

static int prepare_one(quern__sqlite_plan *p, quern__stmt **stmt, quern_error *err)
{
    quern__buf *q = &p->sql;
    quern__buf_clear(q);
    quern__buf_append(q, p->select.data, p->select.len);
    quern__sqlite_put_key(p, q);
    /* under NOCASE a key in another case is found first, under BINARY two rows tell a duplicate */
    quern__buf_puts(q, " LIMIT 2");
    return quern__sqlite_plan_prepare(p, stmt, err);
}

int quern__sqlite_row(quern__sqlite *s, quern__sqlite_plan *p, const quern_read *read,
                      quern_str key, quern__arena *arena, quern_row *row, quern_error *err)
{
    page_row found, r;
    quern_value keys[QUERN__KEY_COLUMNS];
    quern__stmt *stmt = NULL;
    int times = 0;
    quern_error inner;
    int rc = quern__mark_is(key)
                 ? QUERN_EFORMAT
                 : quern__key_values(key, p->n_keys, arena, keys, QUERN__KEY_COLUMNS, &inner);
    if (rc == QUERN_EFORMAT)
        return 0;
    if (rc) {
        if (err)
            *err = inner;
        return rc;
    }
    rc = prepare_one(p, &stmt, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < p->n_keys; i++)
        bind_value(p->db, stmt, (int)i + 1, &keys[i]);
    while ((rc = quern__sqlite_plan_step(p, stmt, err)) == 1) {
        r.nth = 1;
        rc = read_row(p, stmt, arena, &r, err);
        if (!rc)
            rc = make_key(&r, p, arena, err);
        if (rc)
            break;
        if (r.row.key.len == key.len && memcmp(r.row.key.ptr, key.ptr, key.len) == 0) {
            found = r;
            times++;
        }
    }
    quern__db_finish(p->db, stmt);
    if (rc < 0 || times == 0)
        return rc < 0 ? rc : 0;
    if (times > 1)
        found.row.fault = "another row has the same key";
    *row = found.row;
    if (read->generation)
        rc = quern__sqlite_stamp(s, read->generation, key, arena, &row->stamp, err);
    return rc ? rc : 1;
}

int quern__sqlite_fetch(void *self, const quern_read *read, const quern_str *keys, size_t n,
                        quern_row_fn fn, void *ud, quern_error *err)
{
    quern__sqlite *s = self;
    quern__sqlite_plan plan;
    quern__arena arena;
    quern__arena_init(&arena, 0);
    int rc = quern__sqlite_plan_make(&plan, s, read, err);
    for (size_t i = 0; i < n && rc >= 0; i++) {
        quern_row row;
        rc = quern__sqlite_row(s, &plan, read, keys[i], &arena, &row, err);
        if (rc == 1 && (rc = fn(&row, ud)) != 0)
            break;
        quern__arena_dispose(&arena);
    }
    quern__arena_dispose(&arena);
    quern__sqlite_plan_dispose(&plan);
    return rc;
}

int quern__sqlite_count(void *self, const quern_read *read, uint64_t *rows, quern_error *err)
{
    quern__sqlite_plan plan;
    quern__stmt *stmt = NULL;
    *rows = 0;
    int rc = quern__sqlite_plan_make(&plan, self, read, err);
    if (!rc) {
        quern__buf_puts(&plan.sql, "SELECT count(*)");
        quern__buf_append(&plan.sql, plan.from.data, plan.from.len);
        rc = quern__sqlite_plan_prepare(&plan, &stmt, err);
    }
    if (!rc && (rc = quern__sqlite_plan_step(&plan, stmt, err)) == 1)
        *rows = (uint64_t)quern__db_get_int(stmt, 0);
    quern__db_finish(plan.db, stmt);
    quern__sqlite_plan_dispose(&plan);
    return rc < 0 ? rc : QUERN_OK;
}
