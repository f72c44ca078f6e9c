/*
 * postgres_rows.c — scan, fetch and count. A page of rows and their stamps are read in one short transaction, which
 * is over before the first callback. A result comes whole, so pages are sized by the bytes of the one before.
 *
 * Order: rows with NULL in their key first (they have no key to resume by: they are numbered), then by key.
 * Rows that cannot be documents carry a fault and a mark in place of a key (store/row_key.h).
 */
#include "store/postgres/postgres_store.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/json.h"
#include "store/row_key.h"

enum {
    PAGE_BYTES = 4 << 20,
    FIRST_PAGE_ROWS = 64,
    FIRST_KEYS = 16,       /* that are asked for by key, of rows of any size */
    FIRST_FAR_ROWS = 1024, /* where each page asks shards for its stamps */
    PAGE_ROWS = 4096,
    SURE_DIGITS = 15, /* of a decimal number that a double holds */
    LONGEST_NUMERIC = 1000
};

/* A row of a page: what the callback gets, and what the next page starts from. */
typedef struct page_row {
    quern_row row;
    quern_value keys[QUERN__PG_KEY_COLUMNS];
    uint64_t nth; /* among rows of the same key (1 = first), or among rows with NULL keys */
} page_row;

typedef struct cursor {
    bool nulls, started; /* in the part with NULL keys; `keys` holds the last key */
    uint64_t nth;
    quern_value keys[QUERN__PG_KEY_COLUMNS];
} cursor;

/* ---- values ---- */

/* A numeric as SQLite's would be, where that loses nothing: 12.00 is 12, 12.50 is 12.5. */
static bool is_short_decimal(quern_str s)
{
    size_t digits = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] >= '0' && s.ptr[i] <= '9')
            digits += digits || s.ptr[i] != '0';
        else if (s.ptr[i] != '-' && s.ptr[i] != '.')
            return false;
    }
    return digits <= SURE_DIGITS;
}

static int read_value(const quern__pg_result *r, size_t row, int at, int kind, bool key,
                      quern__arena *arena, quern_value *v, quern_error *err)
{
    quern_str s = quern__pg_get_text(r, row, at);
    memset(v, 0, sizeof *v);
    v->type = QUERN_VALUE_NULL;
    if (!s.ptr)
        return QUERN_OK;
    switch (kind) {
    case QUERN__PG_KIND_INT:
        v->type = QUERN_VALUE_INT;
        v->integer = quern__pg_get_int(r, row, at);
        return QUERN_OK;
    case QUERN__PG_KIND_REAL4:
    case QUERN__PG_KIND_REAL8:
        v->real = quern__pg_get_real(r, row, at);
        v->real = key && v->real == 0 ? 0 : v->real; /* -0 is the same key */
        /* a key that is not a number is a fault; elsewhere it says nothing, as in SQLite */
        v->type = key || !isnan(v->real) ? QUERN_VALUE_REAL : QUERN_VALUE_NULL;
        return QUERN_OK;
    case QUERN__PG_KIND_NUMERIC:
        if (!key && s.len == 3 && memcmp(s.ptr, "NaN", 3) == 0)
            return QUERN_OK;
        if (!key && is_short_decimal(s)) {
            v->real = quern__pg_get_real(r, row, at);
            bool whole = fabs(v->real) < 1e15 && v->real == floor(v->real);
            v->type = whole ? QUERN_VALUE_INT : QUERN_VALUE_REAL;
            v->integer = whole ? (int64_t)v->real : 0;
            return QUERN_OK;
        }
        break;
    case QUERN__PG_KIND_BYTEA:
        v->type = QUERN_VALUE_BLOB;
        return quern__pg_get_blob(r, row, at, arena, &v->bytes, err);
    default:
        break;
    }
    v->type = QUERN_VALUE_TEXT;
    return quern__copy_str(arena, s, &v->bytes, err);
}

/* As PostgreSQL reads it, whatever the locale. */
static void put_value(quern__buf *out, const quern_value *v, int kind)
{
    quern__jsonw w;
    double real = kind == QUERN__PG_KIND_REAL4 ? (double)(float)v->real : v->real;
    quern__jsonw_init(&w, out);
    if (v->type == QUERN_VALUE_INT)
        quern__buf_printf(out, "%" PRId64, v->integer);
    else if (v->type == QUERN_VALUE_REAL && isfinite(real))
        quern__jsonw_double(&w, real);
    else if (v->type == QUERN_VALUE_REAL)
        quern__buf_puts(out, isnan(real) ? "NaN" : real > 0 ? "Infinity" : "-Infinity");
    else if (v->type == QUERN_VALUE_BLOB) {
        quern__buf_puts(out, "\\x");
        quern__put_hex(out, v->bytes.ptr, v->bytes.len);
    }
}

static int value_text(const quern_value *v, int kind, quern__arena *arena, quern_str *out,
                      quern_error *err)
{
    quern__buf text;
    if (v->type == QUERN_VALUE_TEXT)
        return quern__copy_str(arena, v->bytes, out, err);
    quern__buf_init(&text, 2 * v->bytes.len + 64);
    put_value(&text, v, kind);
    int rc = quern__buf_ok(&text, "a key", err);
    if (!rc)
        rc = quern__copy_str(arena, (quern_str){text.data, text.len}, out, err);
    quern__buf_dispose(&text);
    return rc;
}

static bool is_uuid(quern_str s)
{
    if (s.len != 36)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        bool hex = (s.ptr[i] >= '0' && s.ptr[i] <= '9') || (s.ptr[i] >= 'a' && s.ptr[i] <= 'f');
        if (dash ? s.ptr[i] != '-' : !hex)
            return false;
    }
    return true;
}

static bool is_numeric(quern_str s)
{
    size_t minus = s.len && s.ptr[0] == '-', digits = 0, dots = 0;
    if (quern__str_is(s, "NaN") || quern__str_is(s, "Infinity") || quern__str_is(s, "-Infinity"))
        return true;
    for (size_t i = minus; i < s.len; i++) {
        digits += s.ptr[i] >= '0' && s.ptr[i] <= '9';
        dots += s.ptr[i] == '.';
    }
    return digits && dots <= 1 && digits + dots + minus == s.len && s.len <= LONGEST_NUMERIC;
}

/* Can a column of this kind hold the value? If not, it is the key of no row, and the server is not asked: it would
 * make an error of it. */
static bool can_be(const quern_value *v, int kind)
{
    switch (kind) {
    case QUERN__PG_KIND_INT:
        return v->type == QUERN_VALUE_INT;
    case QUERN__PG_KIND_REAL4:
        return v->type == QUERN_VALUE_REAL && isfinite((float)v->real);
    case QUERN__PG_KIND_REAL8:
        return v->type == QUERN_VALUE_REAL;
    case QUERN__PG_KIND_BYTEA:
        return v->type == QUERN_VALUE_BLOB;
    default:
        break;
    }
    if (v->type != QUERN_VALUE_TEXT || memchr(v->bytes.ptr, '\0', v->bytes.len))
        return false;
    return kind == QUERN__PG_KIND_UUID      ? is_uuid(v->bytes)
           : kind == QUERN__PG_KIND_NUMERIC ? is_numeric(v->bytes)
           : kind == QUERN__PG_KIND_BOOL
               ? quern__str_is(v->bytes, "true") || quern__str_is(v->bytes, "false")
               : true;
}

/* ---- one row ---- */

/* The revision as text; of bytes their hex. */
static int read_revision(quern__postgres_plan *p, const quern__pg_result *r, size_t row,
                         quern__arena *arena, quern_str *out, quern_error *err)
{
    quern_str s = quern__pg_get_text(r, row, (int)p->n_keys);
    size_t skip = p->revision_kind == QUERN__PG_KIND_BYTEA && s.len >= 2 ? 2 : 0;
    *out = (quern_str){"", 0};
    return s.ptr ? quern__copy_str(arena, (quern_str){s.ptr + skip, s.len - skip}, out, err)
                 : QUERN_OK;
}

static int faulty(page_row *r, quern__postgres_plan *p, quern__arena *arena, const char *why,
                  quern_error *err)
{
    r->row.fault = quern__arena_copy(arena, why, strlen(why));
    if (!r->row.fault)
        return quern__fail_memory(err, strlen(why));
    return quern__mark_make(r->keys, p->n_keys, r->nth, arena, &r->row.key, err);
}

/* Sets row.key, or the fault and a mark. */
static int make_key(page_row *r, quern__postgres_plan *p, quern__arena *arena, quern_error *err)
{
    char why[320], *key = NULL;
    quern_error inner;
    for (size_t i = 0; i < p->n_keys; i++)
        if (r->keys[i].type == QUERN_VALUE_NULL) {
            snprintf(why, sizeof why, "key column '%s' is NULL", p->keys[i]);
            return faulty(r, p, arena, why, err);
        }
    int rc = quern_key_encode(r->keys, p->n_keys, &key, &inner);
    if (rc == QUERN_EFORMAT)
        return faulty(r, p, arena, inner.msg, err);
    if (rc) {
        if (err)
            *err = inner;
        return rc;
    }
    size_t len = strlen(key);
    if (len > QUERN__PG_LONGEST_KEY) {
        snprintf(why, sizeof why, "a key of %zu bytes; PostgreSQL's indexes hold %d", len,
                 QUERN__PG_LONGEST_KEY);
        rc = faulty(r, p, arena, why, err);
    } else
        rc = quern__copy_str(arena, (quern_str){key, len}, &r->row.key, err);
    quern__free(key);
    return rc;
}

int quern__postgres_key_values(const quern__postgres_plan *p, const quern__pg_result *r, size_t row,
                               int first, quern__arena *arena, quern_value *values,
                               quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t i = 0; i < p->n_keys && !rc; i++)
        rc = read_value(r, row, first + (int)i, p->key_kinds[i], true, arena, &values[i], err);
    return rc;
}

static int read_row(quern__postgres_plan *p, const quern__pg_result *res, size_t at,
                    quern__arena *arena, page_row *r, quern_error *err)
{
    int rc = QUERN_OK, first = (int)p->n_keys + 1;
    memset(&r->row, 0, sizeof r->row);
    rc = quern__postgres_key_values(p, res, at, 0, arena, r->keys, err);
    if (!rc)
        rc = read_revision(p, res, at, arena, &r->row.revision, err);
    if (rc)
        return rc;
    quern_value *columns = quern__arena_alloc(arena, (p->n_columns + 1) * sizeof *columns);
    if (!columns)
        return quern__fail_memory(err, p->n_columns * sizeof *columns);
    r->row.no_text = p->builtin && r->row.revision.len;
    if (p->builtin)
        rc = quern__document_columns(p->columns, p->n_columns, &r->keys[0],
                                     quern__pg_get_text(res, at, first + 1),
                                     quern__pg_get_text(res, at, first), arena, columns, err);
    for (size_t i = 0; i < p->n_columns && !rc && !p->builtin; i++)
        rc =
            read_value(res, at, first + (int)i, p->column_kinds[i], false, arena, &columns[i], err);
    r->row.columns = columns;
    r->row.n_columns = p->n_columns;
    return rc;
}

/* ---- scan ---- */

static void put_keys(quern__postgres_plan *p, quern__buf *out)
{
    for (size_t i = 0; i < p->n_keys; i++) {
        quern__buf_puts(out, i ? ", " : "");
        quern__postgres_put_key(p, out, i, QUERN__PG_ORDERS);
    }
}

static void put_nulls(quern__postgres_plan *p, quern__buf *out, bool are)
{
    quern__buf_puts(out, " AND (");
    for (size_t i = 0; i < p->n_keys; i++) {
        if (i)
            quern__buf_puts(out, are ? " OR " : " AND ");
        quern__postgres_put_key(p, out, i, QUERN__PG_IS_NULL);
        quern__buf_puts(out, are ? " IS NULL" : " IS NOT NULL");
    }
    quern__buf_putc(out, ')');
}

/* The statement of a page and its parameters. */
static int page_sql(quern__postgres_plan *p, const cursor *c, size_t limit, quern__arena *arena,
                    quern__pg_params *params, quern_error *err)
{
    quern__buf *q = &p->sql;
    bool resumes = c->started && !c->nulls;
    int rc = QUERN_OK;
    quern__postgres_plan_params(p, params);
    quern__buf_clear(q);
    quern__buf_append(q, p->select.data, p->select.len);
    if (p->nullable)
        put_nulls(p, q, c->nulls);
    if (resumes) {
        quern__buf_puts(q, " AND (");
        put_keys(p, q);
        quern__buf_puts(q, p->unique ? ") > (" : ") >= (");
    }
    for (size_t i = 0; i < p->n_keys && resumes && !rc; i++) {
        quern_str text = {NULL, 0};
        quern__buf_printf(q, "%sCAST($%d AS %s)", i ? ", " : "", p->first + (int)i,
                          quern__postgres_key_cast(p, i, QUERN__PG_ORDERS));
        rc = value_text(&c->keys[i], p->key_kinds[i], arena, &text, err);
        quern__pg_text(params, text);
    }
    quern__buf_puts(q, resumes ? ") ORDER BY " : " ORDER BY ");
    put_keys(p, q);
    /* where keys may repeat, the page begins with the rows of the last key, nth of which were delivered */
    bool repeats = c->nulls || (c->started && !p->unique);
    quern__buf_printf(q, " LIMIT %zu OFFSET %" PRIu64, limit, repeats ? c->nth : 0);
    return rc;
}

/* Keys of a page whose rows came from a source that proves nothing: neighbours that are equal are at fault. */
static int mark_duplicates(quern__postgres_plan *p, const cursor *c, quern__arena *arena,
                           page_row *rows, size_t n, size_t total, quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t i = 0; i < total; i++) {
        const quern_value *before = i ? rows[i - 1].keys : c->started && !c->nulls ? c->keys : NULL;
        bool same = before && quern__keys_same(before, rows[i].keys, p->n_keys);
        rows[i].nth = same ? (i ? rows[i - 1].nth : c->nth) + 1 : 1;
    }
    for (size_t i = 0; i < n && !rc; i++) {
        bool first = rows[i].nth == 1;
        bool repeated = !first || (i + 1 < total && rows[i + 1].nth > 1);
        if (rows[i].row.fault)
            rc = faulty(&rows[i], p, arena, rows[i].row.fault, err);
        else if (repeated && !first)
            rc = faulty(&rows[i], p, arena, "another row has the same key", err);
        else if (repeated)
            rows[i].row.fault = "another row has the same key";
    }
    return rc;
}

/* Reads up to `want` rows into rows (room for want + 1); *end: nothing is behind them in this part. */
static int read_page(quern__postgres_plan *p, const cursor *c, size_t want, quern__arena *arena,
                     page_row *rows, size_t *n, bool *end, quern_error *err)
{
    quern__pg_result *r = NULL;
    quern__pg_params params;
    bool extra = !p->unique && !c->nulls; /* one row more, to see whether it repeats the last key */
    int rc = page_sql(p, c, want + extra, arena, &params, err);
    if (!rc)
        rc = quern__postgres_plan_query(p, &params, &r, err);
    if (rc)
        return rc;
    size_t total = QUERN__MIN(quern__pg_rows(r), want + extra);
    for (size_t i = 0; i < total && !rc; i++) {
        rc = read_row(p, r, i, arena, &rows[i], err);
        rows[i].nth = c->nulls ? c->nth + i + 1 : 1;
        if (!rc)
            rc = make_key(&rows[i], p, arena, err);
    }
    quern__pg_clear(r);
    if (rc)
        return rc;
    *end = total < want + extra;
    *n = QUERN__MIN(total, want);
    return extra ? mark_duplicates(p, c, arena, rows, *n, total, err) : QUERN_OK;
}

/* The cursor stands behind this row; its values move into `keep`. */
static int advance(quern__postgres_plan *p, const page_row *last, quern__arena *keep, cursor *c,
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

static int begin_cursor(quern__postgres_plan *p, quern_str after, quern__arena *keep, cursor *c,
                        quern_error *err)
{
    int rc;
    memset(c, 0, sizeof *c);
    c->nulls = p->nullable;
    if (after.len == 0)
        return QUERN_OK;
    c->nulls = false;
    c->started = true;
    c->nth = 1;
    if (quern__mark_is(after))
        rc = quern__mark_parse(after, p->n_keys, keep, c->keys, &c->nth, err);
    else
        rc = quern__key_values(after, p->n_keys, keep, c->keys, QUERN__PG_KEY_COLUMNS, err);
    for (size_t i = 0; i < p->n_keys && !rc; i++) {
        if (c->keys[i].type == QUERN_VALUE_NULL)
            c->nulls = true;
        else if (!can_be(&c->keys[i], p->key_kinds[i]) && c->keys[i].type != QUERN_VALUE_REAL)
            return quern__fail(err, QUERN_EFORMAT, 0,
                               "key %.*s: no value of the type of column '%s'",
                               (int)QUERN__MIN(after.len, (size_t)80), after.ptr, p->keys[i]);
    }
    return rc;
}

/* How many rows the next page may have, after one of n rows (or keys) and so many bytes. */
static size_t next_want(size_t want, size_t n, size_t bytes)
{
    size_t fit = n ? PAGE_BYTES / (bytes / n + 1) : want;
    size_t grown = QUERN__MIN(QUERN__MIN(4 * want, fit), (size_t)PAGE_ROWS);
    return grown < 8 ? 8 : grown;
}

typedef struct scanning {
    quern__postgres *s;
    quern__postgres_plan plan;
    const quern_read *read;
    quern__arena arena, keep;
    cursor c;
    page_row *rows;
    size_t room;
} scanning;

/* One page in a transaction of its own, which the plan has begun for the first. */
static int scan_page(scanning *w, size_t want, size_t *n, bool *end, quern_error *err)
{
    quern__pg *db = w->plan.db;
    int rc = quern__pg_in_transaction(db) ? QUERN_OK : quern__pg_begin(db, QUERN__PG_READ, err);
    if (rc)
        return rc;
    rc = read_page(&w->plan, &w->c, want, &w->arena, w->rows, n, end, err);
    if (!rc && w->read->generation && *n)
        rc = quern__postgres_stamps_of(w->s, w->read->generation, &w->rows->row, *n,
                                       sizeof *w->rows, &w->arena, err);
    if (rc)
        quern__pg_rollback(db);
    else
        rc = quern__pg_commit(db, err);
    return rc;
}

/* Callers often stop early: pages begin small and grow. Where each asks shards, a large one is cheaper, if it is known
 * to fit. */
static size_t first_want(scanning *w)
{
    quern__postgres *s = w->s;
    quern__pg_generation g;
    if (!s->sharded || !w->read->generation || s->sized != w->read->generation ||
        quern__postgres_generation_get(s, w->read->generation, false, &g, NULL) != 0 || !g.beside)
        return FIRST_PAGE_ROWS;
    size_t fit = PAGE_BYTES / (s->row_bytes + 1);
    return QUERN__MIN(QUERN__MAX(fit, (size_t)8), (size_t)FIRST_FAR_ROWS);
}

static int scan_pages(scanning *w, size_t limit, quern_row_fn fn, void *ud, quern_error *err)
{
    size_t want = QUERN__MIN(limit, first_want(w));
    int rc = QUERN_OK;
    while (!rc && limit) {
        size_t n = 0;
        bool end = false;
        want = QUERN__MIN(want, QUERN__MIN(limit, w->room));
        rc = scan_page(w, want, &n, &end, err);
        for (size_t i = 0; i < n && !rc; i++)
            rc = fn(&w->rows[i].row, ud);
        limit -= rc ? 0 : n;
        if (!rc && n)
            rc = advance(&w->plan, &w->rows[n - 1], &w->keep, &w->c, err);
        want = next_want(want, n, w->arena.used);
        if (n) {
            w->s->sized = w->read->generation;
            w->s->row_bytes = w->arena.used / n;
        }
        quern__arena_dispose(&w->arena);
        if (rc || !end)
            continue;
        if (!w->c.nulls)
            break;
        memset(&w->c, 0,
               sizeof w->c); /* rows with NULL keys are done: now by key, from the start */
    }
    return rc;
}

int quern__postgres_scan(void *self, const quern_read *read, quern_str after, size_t limit,
                         quern_row_fn fn, void *ud, quern_error *err)
{
    scanning w = {.s = self, .read = read};
    quern__arena_init(&w.arena, 0);
    quern__arena_init(&w.keep, 0);
    w.room = QUERN__MIN(limit, (size_t)PAGE_ROWS);
    int rc = quern__postgres_plan_begin(&w.plan, w.s, read, err);
    bool begun = !rc;
    if (!rc)
        rc = begin_cursor(&w.plan, after, &w.keep, &w.c, err);
    if (!rc && !(w.rows = quern__alloc_array(w.room + 1, sizeof *w.rows)))
        rc = quern__fail_memory(err, w.room * sizeof *w.rows);
    if (begun && (rc || !limit))
        quern__pg_rollback(w.plan.db);
    if (!rc)
        rc = scan_pages(&w, limit, fn, ud, err);
    quern__free(w.rows);
    quern__arena_dispose(&w.arena);
    quern__arena_dispose(&w.keep);
    quern__postgres_plan_dispose(&w.plan);
    return rc && w.s->sharded ? quern__shard_blame(w.s, rc, err) : rc;
}

/* ---- by key ---- */

/* What is asked for, by key, and what was found. */
typedef struct wanted {
    quern_str key;
    size_t at; /* in the caller's keys */
    bool valid, found;
    quern_value values[QUERN__PG_KEY_COLUMNS];
} wanted;

static int by_key(const void *a, const void *b)
{
    const wanted *x = a, *y = b;
    size_t n = QUERN__MIN(x->key.len, y->key.len);
    int order = n ? memcmp(x->key.ptr, y->key.ptr, n) : 0;
    return order ? order : (x->key.len > y->key.len) - (x->key.len < y->key.len);
}

int quern__postgres_key_texts(const quern__postgres_plan *p, quern_str key, quern__arena *arena,
                              quern_str *texts, quern_error *err)
{
    quern_value values[QUERN__PG_KEY_COLUMNS];
    int rc = quern__key_values(key, p->n_keys, arena, values, QUERN__PG_KEY_COLUMNS, err);
    for (size_t k = 0; k < p->n_keys && !rc; k++)
        rc = value_text(&values[k], p->key_kinds[k], arena, &texts[k], err);
    return rc;
}

static int want_keys(quern__postgres_plan *p, const quern_str *keys, size_t n, quern__arena *arena,
                     wanted *w, quern_error *err)
{
    for (size_t i = 0; i < n; i++) {
        quern_error inner;
        w[i].key = keys[i];
        w[i].at = i;
        w[i].valid = w[i].found = false;
        int rc = quern__mark_is(keys[i]) ? QUERN_EFORMAT
                                         : quern__key_values(keys[i], p->n_keys, arena, w[i].values,
                                                             QUERN__PG_KEY_COLUMNS, &inner);
        if (rc && rc != QUERN_EFORMAT) {
            if (err)
                *err = inner;
            return rc;
        }
        w[i].valid = !rc;
        for (size_t k = 0; k < p->n_keys && w[i].valid; k++)
            w[i].valid = can_be(&w[i].values[k], p->key_kinds[k]);
    }
    qsort(w, n, sizeof *w, by_key);
    return QUERN_OK;
}

/* " AND key = ANY ($1)", or " AND (k1, k2) IN (SELECT … FROM unnest($1, $2))". */
static void put_wanted(quern__postgres_plan *p, quern__buf *q)
{
    bool one = p->n_keys == 1;
    quern__buf_puts(q, one ? " AND " : " AND (");
    for (size_t i = 0; i < p->n_keys; i++) {
        quern__buf_puts(q, i ? ", " : "");
        quern__postgres_put_key(p, q, i, QUERN__PG_EQUALS);
    }
    if (one) {
        quern__buf_printf(q, " = ANY (CAST($%d AS %s[]))", p->first,
                          quern__postgres_key_cast(p, 0, QUERN__PG_EQUALS));
        return;
    }
    quern__buf_puts(q, ") IN (SELECT ");
    for (size_t i = 0; i < p->n_keys; i++)
        quern__buf_printf(q, "%sCAST(w.k%zu AS %s)", i ? ", " : "", i,
                          quern__postgres_key_cast(p, i, QUERN__PG_EQUALS));
    quern__buf_puts(q, " FROM unnest(");
    for (size_t i = 0; i < p->n_keys; i++)
        quern__buf_printf(q, "%s$%d", i ? ", " : "", p->first + (int)i);
    quern__buf_puts(q, ") AS w(");
    for (size_t i = 0; i < p->n_keys; i++)
        quern__buf_printf(q, "%sk%zu", i ? ", " : "", i);
    quern__buf_puts(q, "))");
}

/* Runs the statement for the valid ones of n wanted keys; *out NULL when there is none. */
static int query_wanted(quern__postgres_plan *p, const wanted *w, size_t n, quern__arena *arena,
                        quern__pg_result **out, quern_error *err)
{
    quern__pg_array arrays[QUERN__PG_KEY_COLUMNS];
    quern__pg_params params;
    int rc = QUERN_OK;
    size_t valid = 0;
    *out = NULL;
    for (size_t k = 0; k < p->n_keys; k++)
        quern__pg_array_init(&arrays[k], QUERN__PG_TEXT, 0);
    for (size_t i = 0; i < n && !rc; i++) {
        valid += w[i].valid;
        for (size_t k = 0; k < p->n_keys && w[i].valid && !rc; k++) {
            quern_str text;
            rc = value_text(&w[i].values[k], p->key_kinds[k], arena, &text, err);
            if (!rc)
                quern__pg_array_bytes(&arrays[k], text.ptr, text.len);
        }
    }
    if (!rc && valid) {
        quern__postgres_plan_params(p, &params);
        for (size_t k = 0; k < p->n_keys; k++)
            quern__pg_bind_array(&params, &arrays[k]);
        quern__buf_clear(&p->sql);
        quern__buf_append(&p->sql, p->select.data, p->select.len);
        put_wanted(p, &p->sql);
        if (p->locks)
            quern__buf_puts(&p->sql, " FOR NO KEY UPDATE SKIP LOCKED");
        rc = quern__postgres_plan_query(p, &params, out, err);
    }
    for (size_t k = 0; k < p->n_keys; k++)
        quern__pg_array_dispose(&arrays[k]);
    return rc;
}

/* A row that was found goes to everybody who asked for its key. */
static void give(wanted *w, size_t n, const quern_row *row, quern_row *rows)
{
    wanted asked = {.key = row->key};
    wanted *at = row->fault ? NULL : bsearch(&asked, w, n, sizeof *w, by_key);
    if (!at)
        return;
    while (at > w && by_key(at - 1, &asked) == 0)
        at--;
    for (; at < w + n && by_key(at, &asked) == 0; at++) {
        if (at->found)
            rows[at->at].fault = "another row has the same key";
        else
            rows[at->at] = *row;
        at->found = true;
    }
}

int quern__postgres_rows_of(quern__postgres *s, quern__postgres_plan *p, const quern_read *read,
                            const quern_str *keys, size_t n, quern__arena *arena, quern_row *rows,
                            quern_error *err)
{
    quern__pg_result *r = NULL;
    page_row one = {.nth = 1};
    wanted *w = quern__alloc_array(n + 1, sizeof *w);
    if (!w)
        return quern__fail_memory(err, n * sizeof *w);
    memset(rows, 0, n * sizeof *rows);
    int rc = want_keys(p, keys, n, arena, w, err);
    if (!rc)
        rc = query_wanted(p, w, n, arena, &r, err);
    for (size_t i = 0; r && i < quern__pg_rows(r) && !rc; i++) {
        rc = read_row(p, r, i, arena, &one, err);
        if (!rc)
            rc = make_key(&one, p, arena, err);
        if (!rc)
            give(w, n, &one.row, rows);
    }
    quern__pg_clear(r);
    quern__free(w);
    if (!rc && read->generation)
        rc = quern__postgres_stamps_of(s, read->generation, rows, n, sizeof *rows, arena, err);
    return rc;
}

int quern__postgres_fetch(void *self, const quern_read *read, const quern_str *keys, size_t n,
                          quern_row_fn fn, void *ud, quern_error *err)
{
    enum { PAGE = 256 };
    quern__postgres *s = self;
    quern__postgres_plan plan;
    quern__arena arena;
    quern_row rows[PAGE];
    size_t some, want = FIRST_KEYS;
    if (n == 0)
        return QUERN_OK;
    quern__arena_init(&arena, 0);
    int rc = quern__postgres_plan_begin(&plan, s, read, err);
    for (size_t at = 0; at < n && !rc; at += some) {
        some = QUERN__MIN(n - at, QUERN__MIN(want, (size_t)PAGE));
        if (at)
            rc = quern__pg_begin(plan.db, QUERN__PG_READ, err);
        if (rc)
            break;
        rc = quern__postgres_rows_of(s, &plan, read, keys + at, some, &arena, rows, err);
        if (rc)
            quern__pg_rollback(plan.db);
        else
            rc = quern__pg_commit(plan.db, err);
        for (size_t i = 0; i < some && !rc; i++)
            if (rows[i].key.ptr)
                rc = fn(&rows[i], ud);
        want = next_want(want, some, arena.used);
        quern__arena_dispose(&arena);
    }
    quern__arena_dispose(&arena);
    quern__postgres_plan_dispose(&plan);
    return rc && s->sharded ? quern__shard_blame(s, rc, err) : rc;
}

int quern__postgres_count(void *self, const quern_read *read, uint64_t *rows, quern_error *err)
{
    quern__postgres_plan plan;
    quern__pg_params params;
    quern__pg_result *r = NULL;
    *rows = 0;
    int rc = quern__postgres_plan_begin(&plan, self, read, err);
    if (!rc) {
        quern__postgres_plan_params(&plan, &params);
        quern__buf_clear(&plan.sql);
        quern__buf_puts(&plan.sql, "SELECT count(*)");
        quern__buf_append(&plan.sql, plan.from.data, plan.from.len);
        rc = quern__postgres_plan_query(&plan, &params, &r, err);
        if (!rc)
            *rows = (uint64_t)quern__pg_get_int(r, 0, 0);
        quern__pg_clear(r);
        if (rc)
            quern__pg_rollback(plan.db);
        else
            rc = quern__pg_commit(plan.db, err);
    }
    quern__postgres_plan_dispose(&plan);
    return rc;
}
