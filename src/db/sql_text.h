/*
 * sql_text.h — names and trusted pieces of SQL before they become part of a statement; the same for every
 * database unless it says otherwise.
 */
#ifndef QUERN_DB_SQL_TEXT_H
#define QUERN_DB_SQL_TEXT_H

#include "base/buf.h"
#include "base/error.h"

/* Appends "name" with quotes doubled. */
void quern__sql_quote(quern__buf *out, const char *name);
/* EINVAL unless 1..255 bytes without control characters. */
int quern__sql_name(const char *name, const char *what, quern_error *err);
/* A trusted piece of SQL (a predicate, a SELECT) that will stand between parentheses: EINVAL when its
 * parentheses, quotes or comments do not balance by themselves, or it holds ';'. By SQLite's rules. */
int quern__sql_balanced(const char *sql, const char *what, quern_error *err);

#endif
