/*
 * postgres_plan.c — from a source's declaration to the SQL that reads it. Everything that can be wrong with it is
 * asked of the catalogue first, in one statement, because an error of SQL would end the transaction that reads.
 *
 * Values travel as text: inside a transaction their spelling is fixed (dates ISO in UTC, floats in full), so a
 * key reads the same for everybody. Keys compare by their own type where equal values have one spelling; where
 * nothing proves them unique, types of which 1.0 = 1.00 compare as text, so that "the same key" means one thing.
 * Rejected: LIMIT 0 alone for everything (its message names a position, not what the table has instead).
 */
#include "store/postgres/postgres_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "store/row_key.h"

/* ---- names ---- */

static bool same_name(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static void put_column(quern__buf *out, const char *alias, const char *name)
{
    quern__sql_quote(out, alias);
    quern__buf_putc(out, '.');
    quern__sql_quote(out, name);
}

/* ---- the table ---- */

/* Its schema and name, what it lacks of the columns that are named ($3), what it has, how many of the key's
 * columns ($4) are NOT NULL, and whether a unique index over no other columns proves the key. */
static const char look_up[] =
    "SELECT n.nspname, c.relname, c.relkind IN ('r', 'p'),"
    " (SELECT w.name FROM unnest($3) WITH ORDINALITY AS w(name, i) WHERE NOT EXISTS"
    "   (SELECT 1 FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid"
    "     AND a.attname = w.name AND NOT a.attisdropped) ORDER BY w.i LIMIT 1),"
    " (SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) FROM pg_catalog.pg_attribute AS a"
    "   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),"
    " (SELECT count(*) FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid"
    "   AND a.attname = ANY ($4) AND a.attnotnull AND c.relkind IN ('r', 'p')),"
    " NOT (c.relkind = 'r' AND c.relhassubclass) AND EXISTS"
    "   (SELECT 1 FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND i.indisunique"
    "     AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT EXISTS"
    "     (SELECT 1 FROM generate_series(0, i.indnkeyatts - 1) AS k"
    "       LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = i.indkey[k]"
    "       WHERE a.attname IS NULL OR a.attname <> ALL ($4)"
    "         OR (i.indcollation[k] <> 0 AND i.indcollation[k] <> a.attcollation))),"
    " c.relkind IN ('r', 'p', 'm', 'v', 'f')"
    " FROM (SELECT coalesce(to_regclass($1), to_regclass($2)) AS oid) AS r"
    " JOIN pg_catalog.pg_class AS c ON c.oid = r.oid"
    " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace";

/* "items", or "sales.items" as one name and as two. */
static int bind_table(quern__pg_params *params, const char *table, quern__arena *arena,
                      quern_error *err)
{
    quern__buf one, two;
    quern_str names[2] = {{NULL, 0}, {NULL, 0}};
    const char *dot = strchr(table, '.');
    quern__buf_init(&one, 4096);
    quern__buf_init(&two, 4096);
    int rc = quern__sql_name(table, "table", err);
    quern__sql_quote(&one, table);
    if (dot && dot > table && dot[1]) {
        char *schema = quern__arena_copy(arena, table, (size_t)(dot - table));
        if (schema) {
            quern__sql_quote(&two, schema);
            quern__buf_putc(&two, '.');
            quern__sql_quote(&two, dot + 1);
        } else if (!rc)
            rc = quern__fail_memory(err, strlen(table));
    }
    quern__buf *bufs[2] = {&one, &two};
    for (size_t i = 0; i < 2 && !rc; i++) {
        rc = quern__buf_ok(bufs[i], "the name of a table", err);
        if (rc || !bufs[i]->len)
            continue;
        names[i].ptr = quern__arena_copy(arena, bufs[i]->data, bufs[i]->len);
        names[i].len = bufs[i]->len;
        if (!names[i].ptr)
            rc = quern__fail_memory(err, names[i].len);
    }
    for (size_t i = 0; i < 2 && !rc; i++) {
        if (names[i].ptr)
            quern__pg_text(params, names[i]);
        else
            quern__pg_null(params);
    }
    quern__buf_dispose(&one);
    quern__buf_dispose(&two);
    return rc;
}

/* What look_up found, into the plan; " FROM schema.table" begins p->from. */
static int take_table(quern__postgres_plan *p, const quern__pg_result *r, quern_error *err)
{
    const char *source = p->spec->name, *table = p->spec->table;
    if (quern__pg_rows(r) == 0)
        return quern__fail(err, QUERN_ENOTFOUND, 0, "source '%s': there is no table '%s' in %s",
                           source, table, quern__pg_name(p->db));
    if (!quern__pg_get_int(r, 0, 7))
        return quern__fail(err, QUERN_EINVAL, 0, "source '%s': '%s' is neither table nor view",
                           source, table);
    if (!quern__pg_is_null(r, 0, 3)) {
        quern_str gone = quern__pg_get_text(r, 0, 3), has = quern__pg_get_text(r, 0, 4);
        return quern__fail(err, QUERN_ENOTFOUND, 0,
                           "source '%s': table '%s' has no column '%.*s'; it has: %.*s", source,
                           table, (int)gone.len, gone.ptr, (int)QUERN__MIN(has.len, (size_t)240),
                           has.ptr ? has.ptr : "");
    }
    quern_str name = quern__pg_get_text(r, 0, 1);
    p->alias = quern__arena_copy(&p->arena, name.ptr, name.len);
    if (!p->alias)
        return quern__fail_memory(err, name.len);
    p->is_table = quern__pg_get_int(r, 0, 2) != 0;
    p->nullable = (uint64_t)quern__pg_get_int(r, 0, 5) < p->n_keys;
    p->unique = quern__pg_get_int(r, 0, 6) != 0;
    quern__buf_puts(&p->from, " FROM ");
    p->table_from = p->from.len;
    quern__sql_quote(&p->from, quern__pg_get_text(r, 0, 0).ptr);
    quern__buf_putc(&p->from, '.');
    quern__sql_quote(&p->from, p->alias);
    p->table_end = p->from.len;
    return QUERN_OK;
}

static int look_at_table(quern__postgres_plan *p, quern_error *err)
{
    quern__pg_params params;
    quern__pg_array names, keys;
    quern__pg_result *r = NULL;
    quern__pg_params_init(&params);
    quern__pg_array_init(&names, QUERN__PG_TEXT, 0);
    quern__pg_array_init(&keys, QUERN__PG_TEXT, 0);
    for (size_t i = 0; i < p->n_keys; i++) {
        quern__pg_array_bytes(&names, p->keys[i], strlen(p->keys[i]));
        quern__pg_array_bytes(&keys, p->keys[i], strlen(p->keys[i]));
    }
    for (size_t i = 0; i < p->n_columns; i++)
        quern__pg_array_bytes(&names, p->columns[i], strlen(p->columns[i]));
    if (p->spec->revision)
        quern__pg_array_bytes(&names, p->spec->revision, strlen(p->spec->revision));
    int rc = bind_table(&params, p->spec->table, &p->arena, err);
    if (!rc) {
        quern__pg_bind_array(&params, &names);
        quern__pg_bind_array(&params, &keys);
        rc = quern__pg_query(p->db, look_up, &params, QUERN__PG_AS_TEXT, &r, err);
    }
    if (!rc)
        rc = take_table(p, r, err);
    quern__pg_clear(r);
    quern__pg_array_dispose(&names);
    quern__pg_array_dispose(&keys);
    return rc;
}

/* ---- types ---- */

static int kind_of(uint32_t type)
{
    static const struct {
        uint32_t oid;
        int kind;
    } known[] = {
        {QUERN__PG_INT2, QUERN__PG_KIND_INT},
        {QUERN__PG_INT4, QUERN__PG_KIND_INT},
        {QUERN__PG_INT8, QUERN__PG_KIND_INT},
        {QUERN__PG_FLOAT4, QUERN__PG_KIND_REAL4},
        {QUERN__PG_FLOAT8, QUERN__PG_KIND_REAL8},
        {QUERN__PG_NUMERIC, QUERN__PG_KIND_NUMERIC},
        {QUERN__PG_TEXT, QUERN__PG_KIND_TEXT},
        {1043 /* varchar */, QUERN__PG_KIND_TEXT},
        {1042 /* bpchar */, QUERN__PG_KIND_BPCHAR},
        {2950 /* uuid */, QUERN__PG_KIND_UUID},
        {QUERN__PG_BOOL, QUERN__PG_KIND_BOOL},
        {QUERN__PG_BYTEA, QUERN__PG_KIND_BYTEA},
        {1082 /* date */, QUERN__PG_KIND_DATE},
        {1114 /* timestamp */, QUERN__PG_KIND_TIMESTAMP},
        {1184 /* timestamptz */, QUERN__PG_KIND_TIMESTAMPTZ},
    };
    for (size_t i = 0; i < QUERN__COUNT(known); i++)
        if (known[i].oid == type)
            return known[i].kind;
    return QUERN__PG_KIND_OTHER;
}

/* Names of types that a key's value is cast to; kinds not here are bound as text. */
static const char *cast_of(int kind)
{
    switch (kind) {
    case QUERN__PG_KIND_INT:
        return "bigint"; /* of any width: a key that is too large for an integer is no error, but no row */
    case QUERN__PG_KIND_REAL4:
    case QUERN__PG_KIND_REAL8:
        return "float8";
    case QUERN__PG_KIND_NUMERIC:
        return "numeric";
    case QUERN__PG_KIND_BPCHAR:
        return "bpchar";
    case QUERN__PG_KIND_UUID:
        return "uuid";
    case QUERN__PG_KIND_BOOL:
        return "boolean";
    case QUERN__PG_KIND_BYTEA:
        return "bytea";
    case QUERN__PG_KIND_DATE:
        return "date";
    case QUERN__PG_KIND_TIMESTAMP:
        return "timestamp";
    case QUERN__PG_KIND_TIMESTAMPTZ:
        return "timestamptz";
    default:
        return "text";
    }
}

/* Which of the columns of other types are arrays. */
static int find_arrays(quern__postgres_plan *p, const quern__pg_result *described, quern_error *err)
{
    quern__pg_params params;
    quern__pg_array types;
    quern__pg_result *r = NULL;
    int first = (int)p->n_keys + 1;
    bool any = false;
    int rc = QUERN_OK;
    quern__pg_params_init(&params);
    quern__pg_array_init(&types, QUERN__PG_INT8, 0);
    for (size_t i = 0; i < p->n_columns; i++)
        if (p->column_kinds[i] == QUERN__PG_KIND_OTHER) {
            quern__pg_array_int(&types, quern__pg_column_type(described, first + (int)i));
            any = true;
        }
    quern__pg_bind_array(&params, &types);
    if (any)
        rc = quern__pg_query(p->db,
                             "SELECT CAST(oid AS bigint) FROM pg_catalog.pg_type"
                             " WHERE CAST(oid AS bigint) = ANY ($1) AND typcategory = 'A'",
                             &params, QUERN__PG_AS_TEXT, &r, err);
    for (size_t i = 0; i < p->n_columns && any && !rc; i++)
        for (size_t row = 0; row < quern__pg_rows(r); row++)
            if (p->column_kinds[i] == QUERN__PG_KIND_OTHER &&
                quern__pg_get_int(r, row, 0) ==
                    (int64_t)quern__pg_column_type(described, first + (int)i))
                p->column_kinds[i] = QUERN__PG_KIND_ARRAY;
    quern__pg_clear(r);
    quern__pg_array_dispose(&types);
    return rc;
}

/* "SELECT k1, …, revision, c1, …" as they are, or as the text in which they travel. */
static void put_columns(quern__postgres_plan *p, quern__buf *out, bool travels)
{
    const char *cast = travels ? " AS text), " : "), ";
    const char *open = travels ? "CAST(" : "(";
    quern__buf_puts(out, "SELECT ");
    for (size_t i = 0; i < p->n_keys; i++) {
        quern__buf_puts(out, open);
        put_column(out, p->alias, p->keys[i]);
        quern__buf_puts(out, cast);
    }
    if (p->spec->revision) {
        quern__buf_puts(out, open);
        put_column(out, p->alias, p->spec->revision);
        quern__buf_puts(out, travels ? " AS text)" : ")");
    } else
        quern__buf_puts(out, "CAST(NULL AS text)");
    for (size_t i = 0; i < p->n_columns; i++) {
        bool array = travels && p->column_kinds[i] == QUERN__PG_KIND_ARRAY;
        quern__buf_puts(out, ", ");
        quern__buf_puts(out, array ? "CAST(to_json(" : open);
        put_column(out, p->alias, p->columns[i]);
        quern__buf_puts(out, array ? ") AS text)" : travels ? " AS text)" : ")");
    }
}

static int describe(quern__postgres_plan *p, quern_error *err)
{
    quern__pg_result *r = NULL;
    quern__buf_clear(&p->sql);
    put_columns(p, &p->sql, false);
    quern__buf_append(&p->sql, p->from.data, p->from.len);
    quern__buf_puts(&p->sql, " LIMIT 0");
    int rc = quern__postgres_plan_query(p, NULL, &r, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < p->n_keys; i++)
        p->key_kinds[i] = kind_of(quern__pg_column_type(r, (int)i));
    p->revision_kind = kind_of(quern__pg_column_type(r, (int)p->n_keys));
    for (size_t i = 0; i < p->n_columns; i++)
        p->column_kinds[i] = kind_of(quern__pg_column_type(r, (int)(p->n_keys + 1 + i)));
    rc = find_arrays(p, r, err);
    quern__pg_clear(r);
    return rc;
}

/* ---- the pieces ---- */

/* Is key column i compared as text for this use? What has several spellings of one value (1.5 = 1.50) is, where
 * nothing proves that only one of them is there; dates are when keys are looked up, where a key that is no date
 * is no error but the key of no row. */
static bool as_text(const quern__postgres_plan *p, size_t i, int use)
{
    int kind = p->key_kinds[i];
    if (use == QUERN__PG_IS_NULL)
        return false;
    if (use == QUERN__PG_ORDERS && kind == QUERN__PG_KIND_NUMERIC)
        return !p->unique;
    return kind == QUERN__PG_KIND_OTHER ||
           (use == QUERN__PG_EQUALS &&
            (kind == QUERN__PG_KIND_DATE || kind == QUERN__PG_KIND_TIMESTAMP ||
             kind == QUERN__PG_KIND_TIMESTAMPTZ));
}

void quern__postgres_put_key(const quern__postgres_plan *p, quern__buf *out, size_t i, int use)
{
    bool text = as_text(p, i, use);
    quern__buf_puts(out, text ? "CAST(" : "");
    put_column(out, p->alias, p->keys[i]);
    quern__buf_puts(out, text ? " AS text)" : "");
    /* a collation may hold unequal text equal; where the index does not rule that out, bytes decide */
    if (use == QUERN__PG_ORDERS && (text || (p->key_kinds[i] == QUERN__PG_KIND_TEXT && !p->unique)))
        quern__buf_puts(out, " COLLATE \"C\"");
}

const char *quern__postgres_key_cast(const quern__postgres_plan *p, size_t i, int use)
{
    return as_text(p, i, use) ? "text" : cast_of(p->key_kinds[i]);
}

/* "FROM … WHERE predicate" but for `since`, whose type is not known yet. */
static int put_from(quern__postgres_plan *p, quern__postgres *s, quern_error *err)
{
    const quern_source_spec *spec = p->spec;
    if (p->builtin) {
        int64_t id = 0;
        int rc = quern__postgres_source_id(s, spec->name, &id, err);
        if (rc)
            return rc;
        quern__buf_printf(&p->from,
                          " FROM %sdocuments AS documents WHERE documents.source = %" PRId64,
                          s->prefix, id);
    } else if (spec->query) {
        quern__buf_printf(&p->from, " FROM (%s\n) AS \"q\" WHERE true", spec->query);
    } else {
        int rc = look_at_table(p, err);
        if (rc)
            return rc;
        quern__buf_puts(&p->from, " WHERE true");
    }
    if (spec->where)
        quern__buf_printf(&p->from, " AND (%s\n)", spec->where);
    return quern__buf_ok(&p->from, "the SQL of the source", err);
}

/* Rows without a revision are never skipped. */
static void put_since(quern__postgres_plan *p)
{
    quern__buf *out = &p->from;
    bool text = p->revision_kind == QUERN__PG_KIND_TEXT || p->revision_kind == QUERN__PG_KIND_OTHER;
    quern__buf_puts(out, " AND (");
    put_column(out, p->alias, p->spec->revision);
    quern__buf_puts(out, text ? " IS NULL OR CAST(" : " IS NULL OR (");
    put_column(out, p->alias, p->spec->revision);
    quern__buf_puts(out, text ? " AS text) COLLATE \"C\"" : ")");
    quern__buf_printf(out, " >= CAST($1 AS %s))",
                      p->revision_kind == QUERN__PG_KIND_INT ? "numeric"
                                                             : cast_of(p->revision_kind));
}

void quern__postgres_plan_params(const quern__postgres_plan *p, quern__pg_params *params)
{
    quern__pg_params_init(params);
    if (p->since)
        quern__pg_text(params, quern_str_of(p->since));
}

static int set_up(quern__postgres_plan *p, quern__postgres *s, const quern_read *read,
                  quern_error *err)
{
    const quern_source_spec *spec = read->source;
    memset(p, 0, sizeof *p);
    quern__arena_init(&p->arena, 1 << 20);
    quern__buf_init(&p->select, QUERN__PG_LONGEST_SQL);
    quern__buf_init(&p->from, QUERN__PG_LONGEST_SQL);
    quern__buf_init(&p->sql, 3 * (size_t)QUERN__PG_LONGEST_SQL);
    p->spec = spec;
    p->columns = read->columns;
    p->n_columns = read->n_columns;
    p->since = read->since && *read->since ? read->since : NULL;
    p->first = p->since ? 2 : 1;
    p->builtin = !spec->table && !spec->query;
    p->db = p->builtin ? s->own : s->src;
    p->alias = p->builtin ? "documents" : "q";
    p->unique = p->builtin;
    p->nullable = !p->builtin;
    p->column_kinds = quern__arena_alloc(&p->arena, (p->n_columns + 1) * sizeof(int));
    if (!p->column_kinds)
        return quern__fail_memory(err, p->n_columns * sizeof(int));
    memset(p->column_kinds, 0, (p->n_columns + 1) * sizeof(int));
    if (p->since && (!spec->revision || p->builtin))
        return quern__fail(err, QUERN_EINVAL, 0,
                           "source '%s' has no revision column to compare '%s' with", spec->name,
                           p->since);
    return quern__key_columns(p->builtin   ? "id"
                              : spec->keys ? spec->keys
                                           : "",
                              same_name, p->keys, QUERN__PG_KEY_COLUMNS, &p->n_keys, &p->arena,
                              err);
}

static int make(quern__postgres_plan *p, quern__postgres *s, quern_error *err)
{
    int rc = put_from(p, s, err);
    if (!rc && p->builtin) {
        p->key_kinds[0] = QUERN__PG_KIND_TEXT;
        quern__buf_puts(
            &p->select,
            "SELECT documents.id, documents.revision, documents.fields, documents.origin");
    } else if (!rc) {
        rc = describe(p, err);
        if (!rc && p->since)
            put_since(p);
        put_columns(p, &p->select, true);
    }
    quern__buf_append(&p->select, p->from.data ? p->from.data : "", p->from.len);
    return rc ? rc : quern__buf_ok(&p->select, "the SQL of the source", err);
}

int quern__postgres_plan_make(quern__postgres_plan *p, quern__postgres *s, const quern_read *read,
                              quern_error *err)
{
    int rc = set_up(p, s, read, err);
    return rc ? rc : make(p, s, err);
}

int quern__postgres_plan_begin(quern__postgres_plan *p, quern__postgres *s, const quern_read *read,
                               quern_error *err)
{
    int rc = set_up(p, s, read, err);
    if (!rc)
        rc = quern__pg_begin(p->db, QUERN__PG_READ, err);
    if (rc)
        return rc;
    rc = make(p, s, err);
    if (rc)
        quern__pg_rollback(p->db);
    return rc;
}

void quern__postgres_plan_dispose(quern__postgres_plan *p)
{
    quern__buf_dispose(&p->select);
    quern__buf_dispose(&p->from);
    quern__buf_dispose(&p->sql);
    quern__arena_dispose(&p->arena);
}

int quern__postgres_plan_query(quern__postgres_plan *p, const quern__pg_params *params,
                               quern__pg_result **out, quern_error *err)
{
    quern_error inner;
    int rc = quern__buf_ok(&p->sql, "the SQL of the source", err);
    if (rc)
        return rc;
    rc = quern__pg_query(p->db, p->sql.data, params, QUERN__PG_AS_TEXT, out, &inner);
    if (rc == QUERN_EINVAL)
        return quern__fail(err, rc, inner.detail, "source '%s': %s", p->spec->name, inner.msg);
    if (rc && err)
        *err = inner;
    return rc;
}

/* Schema and name, quoted; the schema is that of the search path where the declaration names none. */
int quern__postgres_table_name(void *self, const quern_source_spec *spec, char **name,
                               quern_error *err)
{
    quern__postgres_plan plan;
    quern_read read = {.source = spec};
    *name = NULL;
    int rc = quern__postgres_plan_begin(&plan, self, &read, err);
    if (!rc) {
        *name = quern__strndup(plan.from.data + plan.table_from, plan.table_end - plan.table_from);
        quern__pg_rollback(plan.db); /* it only read */
        rc = *name ? QUERN_OK : quern__fail_memory(err, 0);
    }
    quern__postgres_plan_dispose(&plan);
    return rc;
}
