/*
 * sqlite_plan.c — from a source's declaration to the SQL that reads it. Columns are always written
 * "table"."column": SQLite takes a double-quoted name that does not exist for a string, a qualified one never.
 * Key columns carry the collation of the unique index that proves them unique, so that paging by
 * (k1, k2) > (?1, ?2) ORDER BY k1, k2 walks that index; where nothing is proven (views, queries), BINARY.
 */
#include "store/sqlite/sqlite_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "store/row_key.h"

enum { LONGEST_SQL = 1 << 20, MANY_COLUMNS = 2000 };

int quern__sqlite_columns(quern__db *db, const char *table, quern__arena *arena,
                          const char ***names, size_t *n, quern_error *err)
{
    quern__stmt *stmt;
    *n = 0;
    *names = quern__arena_alloc(arena, (MANY_COLUMNS + 1) * sizeof **names);
    if (!*names)
        return quern__fail_memory(err, MANY_COLUMNS * sizeof **names);
    int rc = quern__db_prepare(db, "SELECT name FROM pragma_table_xinfo(?1) WHERE hidden <> 1",
                               &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(db, stmt, 1, quern_str_of(table));
    while ((rc = quern__db_step(db, stmt, err)) == 1 && *n < MANY_COLUMNS) {
        quern_str name = quern__db_get_text(stmt, 0);
        (*names)[*n] = quern__arena_copy(arena, name.ptr ? name.ptr : "", name.len);
        if (!(*names)[*n]) {
            rc = quern__fail_memory(err, name.len);
            break;
        }
        (*n)++;
    }
    quern__db_finish(db, stmt);
    return rc < 0 ? rc : QUERN_OK;
}

/* SQLite compares names of columns without ASCII case. */
static bool same_name(quern_str a, const char *b)
{
    for (size_t i = 0; i < a.len; i++) {
        char x = a.ptr[i], y = b[i];
        x += x >= 'A' && x <= 'Z' ? 32 : 0;
        y += y >= 'A' && y <= 'Z' ? 32 : 0;
        if (x != y || !y)
            return false;
    }
    return b[a.len] == '\0';
}

static bool same_column(const char *a, const char *b)
{
    return same_name(quern_str_of(a), b);
}

static int key_at(const quern__sqlite_plan *p, quern_str name)
{
    for (size_t i = 0; i < p->n_keys; i++)
        if (same_name(name, p->keys[i]))
            return (int)i;
    return -1;
}

static int copy_collation(quern__sqlite_plan *p, int at, quern_str name, quern_error *err)
{
    p->collations[at] =
        quern__arena_copy(&p->arena, name.ptr ? name.ptr : "BINARY", name.ptr ? name.len : 6);
    return p->collations[at] ? QUERN_OK : quern__fail_memory(err, name.len);
}

/* Is every column of this unique index a key column? Then the keys are unique; its collations are taken. */
static int index_proves(quern__sqlite_plan *p, quern_str index, bool *proves, quern_error *err)
{
    quern__stmt *stmt;
    quern_str names[QUERN__KEY_COLUMNS];
    int at[QUERN__KEY_COLUMNS], n = 0;
    *proves = true;
    int rc = quern__db_prepare(p->db, "SELECT name, coll FROM pragma_index_xinfo(?1) WHERE key = 1",
                               &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(p->db, stmt, 1, index);
    while ((rc = quern__db_step(p->db, stmt, err)) == 1 && *proves) {
        quern_str name = quern__db_get_text(stmt, 0), coll = quern__db_get_text(stmt, 1);
        at[n] = name.ptr ? key_at(p, name) : -1;
        *proves = n < QUERN__KEY_COLUMNS - 1 && at[n] >= 0;
        if (*proves) {
            names[n].ptr = quern__arena_copy(&p->arena, coll.ptr ? coll.ptr : "BINARY",
                                             coll.ptr ? coll.len : 6);
            names[n].len = coll.ptr ? coll.len : 6;
            if (!names[n].ptr) {
                rc = quern__fail_memory(err, coll.len);
                break;
            }
            n++;
        }
    }
    quern__db_finish(p->db, stmt);
    *proves = *proves && n > 0;
    for (int i = 0; i < n && *proves && rc >= 0; i++)
        rc = copy_collation(p, at[i], names[i], err);
    return rc < 0 ? rc : QUERN_OK;
}

/* INTEGER PRIMARY KEY is the rowid itself, never NULL and without an index of its own. Other keys of rowid tables
 * may hold NULL unless declared otherwise: PRIMARY KEY (a, b), and INTEGER PRIMARY KEY DESC. */
static int is_rowid(quern__sqlite_plan *p, const char *table, bool *is, quern_error *err)
{
    quern__stmt *stmt;
    int rc = quern__db_prepare(p->db, "SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk'",
                               &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(p->db, stmt, 1, quern_str_of(table));
    rc = quern__db_step(p->db, stmt, err);
    quern__db_finish(p->db, stmt);
    *is = rc == 0;
    return rc < 0 ? rc : QUERN_OK;
}

/* Key columns against the table's definition: which may be NULL, is it INTEGER PRIMARY KEY. */
static int look_at_columns(quern__sqlite_plan *p, const char *table, quern_error *err)
{
    quern__stmt *stmt;
    int64_t pk_columns = 0;
    bool integer_pk = false, rowid = false;
    size_t not_null = 0;
    int rc = quern__db_prepare(
        p->db, "SELECT name, type, \"notnull\", pk FROM pragma_table_xinfo(?1)", &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(p->db, stmt, 1, quern_str_of(table));
    while ((rc = quern__db_step(p->db, stmt, err)) == 1) {
        quern_str name = quern__db_get_text(stmt, 0), type = quern__db_get_text(stmt, 1);
        pk_columns += quern__db_get_int(stmt, 3) > 0;
        if (key_at(p, name) < 0)
            continue;
        integer_pk |= quern__db_get_int(stmt, 3) > 0 && same_name(type, "INTEGER");
        not_null += quern__db_get_int(stmt, 2) != 0;
    }
    quern__db_finish(p->db, stmt);
    if (rc >= 0 && integer_pk && pk_columns == 1)
        rc = is_rowid(p, table, &rowid, err);
    if (rc < 0)
        return rc;
    p->nullable = not_null < p->n_keys && !(rowid && p->n_keys == 1);
    p->unique = rowid;
    return QUERN_OK;
}

static int prove_unique(quern__sqlite_plan *p, const char *table, quern_error *err)
{
    quern__stmt *stmt;
    int rc = look_at_columns(p, table, err);
    if (rc || p->unique)
        return rc;
    rc = quern__db_prepare(p->db,
                           "SELECT name FROM pragma_index_list(?1) WHERE \"unique\" = 1 AND "
                           "partial = 0 ORDER BY origin = 'pk' DESC",
                           &stmt, err);
    if (rc)
        return rc;
    quern__db_bind_text(p->db, stmt, 1, quern_str_of(table));
    while ((rc = quern__db_step(p->db, stmt, err)) == 1 && !p->unique) {
        rc = index_proves(p, quern__db_get_text(stmt, 0), &p->unique, err);
        if (rc)
            break;
    }
    quern__db_finish(p->db, stmt);
    return rc < 0 ? rc : QUERN_OK;
}

static void put_column(quern__buf *out, const char *alias, const char *name)
{
    quern__sql_quote(out, alias);
    quern__buf_putc(out, '.');
    quern__sql_quote(out, name);
}

/* "FROM … WHERE predicate" */
static int put_from(quern__sqlite_plan *p, quern__sqlite *s, const quern_source_spec *spec,
                    quern_error *err)
{
    quern__buf *out = &p->from;
    if (p->builtin) {
        int64_t id = 0;
        int rc = quern__sqlite_source_id(s, spec->name, &id, err);
        if (rc)
            return rc;
        quern__buf_printf(
            out, " FROM quern_documents AS documents WHERE documents.source = %" PRId64, id);
    } else if (spec->query) {
        quern__buf_printf(out, " FROM (%s\n) AS \"q\" WHERE 1", spec->query);
    } else {
        quern__buf_puts(out, " FROM ");
        quern__sql_quote(out, spec->table);
        quern__buf_puts(out, " WHERE 1");
    }
    if (spec->where)
        quern__buf_printf(out, " AND (%s\n)", spec->where);
    if (p->since) { /* a revision that is text is compared as text, a number as a number; none: never skipped */
        quern__buf_puts(out, " AND CASE typeof(");
        put_column(out, p->alias, spec->revision);
        quern__buf_puts(out, ") WHEN 'null' THEN 1 WHEN 'text' THEN ");
        put_column(out, p->alias, spec->revision);
        quern__buf_printf(out, " >= ?%d ELSE ", QUERN__AT_SINCE);
        put_column(out, p->alias, spec->revision);
        quern__buf_printf(out, " >= CAST(?%d AS NUMERIC) END", QUERN__AT_SINCE);
    }
    return quern__buf_ok(out, "the SQL of the source", err);
}

/* "SELECT k1, …, revision, c1, … FROM …" */
static int put_select(quern__sqlite_plan *p, const quern_source_spec *spec, quern_error *err)
{
    quern__buf *out = &p->select;
    quern__buf_puts(out, "SELECT ");
    for (size_t i = 0; i < p->n_keys; i++) {
        put_column(out, p->alias, p->keys[i]);
        quern__buf_puts(out, ", ");
    }
    if (p->builtin)
        quern__buf_puts(out, "documents.revision");
    else if (spec->revision)
        put_column(out, p->alias, spec->revision);
    else
        quern__buf_puts(out, "NULL");
    if (p->builtin)
        quern__buf_puts(out, ", documents.fields, documents.origin");
    for (size_t i = 0; i < p->n_columns && !p->builtin; i++) {
        quern__buf_puts(out, ", ");
        put_column(out, p->alias, p->columns[i]);
    }
    quern__buf_append(out, p->from.data, p->from.len);
    return quern__buf_ok(out, "the SQL of the source", err);
}

int quern__sqlite_plan_make(quern__sqlite_plan *p, quern__sqlite *s, const quern_read *read,
                            quern_error *err)
{
    const quern_source_spec *spec = read->source;
    memset(p, 0, sizeof *p);
    quern__arena_init(&p->arena, 1 << 20);
    quern__buf_init(&p->select, LONGEST_SQL);
    quern__buf_init(&p->from, LONGEST_SQL);
    quern__buf_init(&p->sql, 3 * (size_t)LONGEST_SQL);
    p->spec = spec;
    p->columns = read->columns;
    p->n_columns = read->n_columns;
    p->since = read->since && *read->since ? read->since : NULL;
    p->builtin = !spec->table && !spec->query;
    p->db = p->builtin ? s->own : s->src;
    p->alias = p->builtin ? "documents" : spec->query ? "q" : spec->table;
    if (p->since && (!spec->revision || p->builtin))
        return quern__fail(err, QUERN_EINVAL, 0,
                           "source '%s' has no revision column to compare '%s' with", spec->name,
                           p->since);
    int rc =
        quern__key_columns(p->builtin   ? "id"
                           : spec->keys ? spec->keys
                                        : "",
                           same_column, p->keys, QUERN__KEY_COLUMNS, &p->n_keys, &p->arena, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < p->n_keys && !rc; i++)
        rc = copy_collation(p, (int)i, (quern_str){NULL, 0}, err);
    p->unique = p->builtin;
    p->nullable = !p->builtin;
    if (!rc && spec->table)
        rc = prove_unique(p, spec->table, err);
    if (!rc)
        rc = put_from(p, s, spec, err);
    return rc ? rc : put_select(p, spec, err);
}

void quern__sqlite_plan_dispose(quern__sqlite_plan *p)
{
    quern__buf_dispose(&p->select);
    quern__buf_dispose(&p->from);
    quern__buf_dispose(&p->sql);
    quern__arena_dispose(&p->arena);
}

static bool is_among(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (same_name(quern_str_of(name), names[i]))
            return true;
    return false;
}

/* Preparing failed: is it a table or column that has gone? Then say which. */
static int explain(quern__sqlite_plan *p, int rc, const quern_error *inner, quern_error *err)
{
    const quern_source_spec *spec = p->spec;
    const char **names = NULL;
    size_t n = 0;
    if (spec->table &&
        quern__sqlite_columns(p->db, spec->table, &p->arena, &names, &n, NULL) == QUERN_OK) {
        if (n == 0)
            return quern__fail(err, QUERN_ENOTFOUND, 0, "source '%s': there is no table '%s' in %s",
                               spec->name, spec->table, quern__db_path(p->db));
        const char *gone = NULL;
        for (size_t i = 0; i < p->n_keys && !gone; i++)
            gone = is_among(p->keys[i], names, n) ? NULL : p->keys[i];
        for (size_t i = 0; i < p->n_columns && !gone; i++)
            gone = is_among(p->columns[i], names, n) ? NULL : p->columns[i];
        if (!gone && spec->revision && !is_among(spec->revision, names, n))
            gone = spec->revision;
        if (gone) {
            char list[240];
            size_t used = 0;
            list[0] = '\0';
            for (size_t i = 0; i < n && used + 1 < sizeof list; i++) {
                int wrote =
                    snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", names[i]);
                used += wrote > 0 ? (size_t)wrote : 0;
            }
            return quern__fail(err, QUERN_ENOTFOUND, 0,
                               "source '%s': table '%s' has no column '%s'; it has: %s", spec->name,
                               spec->table, gone, list);
        }
    }
    return quern__fail(err, rc, inner->detail, "source '%s': %s", spec->name, inner->msg);
}

int quern__sqlite_plan_prepare(quern__sqlite_plan *p, quern__stmt **stmt, quern_error *err)
{
    quern_error inner;
    int rc = quern__buf_ok(&p->sql, "the SQL of the source", err);
    if (rc)
        return rc;
    rc = quern__db_prepare(p->db, p->sql.data, stmt, &inner);
    if (rc == QUERN_EINVAL)
        return explain(p, rc, &inner, err);
    if (rc) {
        if (err)
            *err = inner;
        return rc;
    }
    if (p->since)
        quern__db_bind_text(p->db, *stmt, QUERN__AT_SINCE, quern_str_of(p->since));
    return QUERN_OK;
}

int quern__sqlite_plan_step(quern__sqlite_plan *p, quern__stmt *stmt, quern_error *err)
{
    quern_error inner;
    int rc = quern__db_step(p->db, stmt, &inner);
    if (rc == QUERN_EINVAL) /* a cached statement meets a changed table here, not in prepare */
        return explain(p, rc, &inner, err);
    if (rc < 0 && err)
        *err = inner;
    return rc;
}

/* Case of ASCII letters makes no difference in SQLite, and there is no schema in front. */
int quern__sqlite_table_name(void *self, const quern_source_spec *spec, char **name,
                             quern_error *err)
{
    (void)self;
    *name = quern__strdup(spec->table);
    if (!*name)
        return quern__fail_memory(err, strlen(spec->table));
    for (char *c = *name; *c; c++)
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
    return QUERN_OK;
}
