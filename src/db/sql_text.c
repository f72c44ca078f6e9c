/*
 * sql_text.c — names and trusted pieces of SQL before they become part of a statement. Everything that is
 * neither a checked name nor a trusted piece is bound as a parameter.
 */
#include <sqlite3.h>
#include <string.h>

#include "db/sqlite_db.h"

enum { LONGEST_NAME = 255 };

void quern__sql_quote(quern__buf *out, const char *name)
{
    quern__buf_putc(out, '"');
    for (; *name; name++) {
        if (*name == '"')
            quern__buf_putc(out, '"');
        quern__buf_putc(out, *name);
    }
    quern__buf_putc(out, '"');
}

int quern__sql_name(const char *name, const char *what, quern_error *err)
{
    size_t len = strlen(name);
    if (len == 0)
        return quern__fail(err, QUERN_EINVAL, 0, "an empty name of a %s", what);
    if (len > LONGEST_NAME)
        return quern__fail(err, QUERN_EINVAL, (int64_t)len,
                           "name of a %s of %zu bytes, at most %d are allowed", what, len,
                           LONGEST_NAME);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return quern__fail(err, QUERN_EINVAL, (int64_t)i,
                               "name of a %s: byte %zu is a control character", what, i);
    return QUERN_OK;
}

/* The byte after a quoted piece or comment that begins at `at`; SIZE_MAX when it never ends; `at` when none begins. */
static size_t skip_quoted(const char *sql, size_t at)
{
    char c = sql[at];
    if (c == '-' && sql[at + 1] == '-') {
        const char *end = strchr(sql + at, '\n');
        return end ? (size_t)(end - sql) + 1 : at + strlen(sql + at);
    }
    if (c == '/' && sql[at + 1] == '*') {
        const char *end = strstr(sql + at + 2, "*/");
        return end ? (size_t)(end - sql) + 2 : SIZE_MAX;
    }
    if (c != '\'' && c != '"' && c != '`' && c != '[')
        return at;
    const char *end =
        strchr(sql + at + 1, c == '[' ? ']' : c); /* a doubled quote: two pieces side by side */
    return end ? (size_t)(end - sql) + 1 : SIZE_MAX;
}

int quern__sql_balanced(const char *sql, const char *what, quern_error *err)
{
    size_t depth = 0;
    for (size_t i = 0; sql[i];) {
        size_t next = skip_quoted(sql, i);
        if (next == SIZE_MAX)
            return quern__fail(err, QUERN_EINVAL, (int64_t)i,
                               "%s: the quote or comment at byte %zu never ends", what, i);
        if (next > i) {
            i = next;
            continue;
        }
        if (sql[i] == ';')
            return quern__fail(err, QUERN_EINVAL, (int64_t)i,
                               "%s: ';' at byte %zu; one expression is allowed", what, i);
        if (sql[i] == ')' && depth == 0)
            return quern__fail(err, QUERN_EINVAL, (int64_t)i, "%s: ')' at byte %zu closes nothing",
                               what, i);
        depth += sql[i] == '(';
        depth -= sql[i] == ')';
        i++;
    }
    if (depth)
        return quern__fail(err, QUERN_EINVAL, 0, "%s: %zu parentheses are not closed", what, depth);
    return QUERN_OK;
}

int quern__sql_try(quern__db *db, const char *sql, const char *what, quern_error *err)
{
    quern__stmt *stmt = NULL;
    quern_error inner;
    int rc = quern__db_prepare(db, sql, &stmt, &inner);
    if (rc)
        return quern__fail(err, rc, inner.detail, "%s: %s", what, inner.msg);
    if (!sqlite3_stmt_readonly(stmt))
        rc = quern__fail(err, QUERN_EINVAL, 0, "%s: it writes; only reading is allowed", what);
    else if (sqlite3_bind_parameter_count(stmt))
        rc = quern__fail(err, QUERN_EINVAL, 0, "%s: parameters ('?', ':name') are not allowed",
                         what);
    quern__db_finish(db, stmt);
    return rc;
}
