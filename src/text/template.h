/*
 * template.h — the text of a document, made from the columns of its row: 'Title: {title}. {body}'.
 *
 * Grammar: literal bytes and {…}; `{{` and `}}` stand for one brace. Between braces:
 *   name              a column; names are taken as they are written (case and spaces count)
 *   name.step.step    if there is no column of that whole name: a path into the JSON of column `name`; a step is the
 *                     name of a member, or in an array a number from 0
 *   a|b.c|d           the first of them that is not empty
 *   …|unless=name     vanishes when it equals that column (or path), byte for byte
 *   …|join="TEXT"     the elements of a JSON array with TEXT between them, those that are empty or null left out;
 *                     \" \\ \n \t stand for what they do in C
 * Strings found in JSON are decoded, numbers and true and false are as they are written, null is empty, arrays and objects
 * are their JSON text. What is not JSON, or nested deeper than 64, has no members: a path into it is empty. Of
 * members with the same name the last counts.
 *
 * Rules, which are part of what a fingerprint promises and therefore may not change:
 *   1. A literal goes with the column after it; what follows the last column goes with the last one.
 *   2. A column that is NULL, empty or nothing but ASCII white space vanishes with its literals.
 *   3. A literal from between two columns that would begin the text (because everything before it vanished)
 *      loses its leading white space and separators (. , ; : | / -): '{title}. {body}' without a title is
 *      the body alone.
 *   4. When every column vanishes the text is empty, literals and all: such a document has no vector.
 */
#ifndef QUERN_TEXT_TEMPLATE_H
#define QUERN_TEXT_TEMPLATE_H

#include "base/buf.h"
#include "base/error.h"

enum {
    QUERN__TEMPLATE_BYTES = 64 * 1024, /* of template text */
    QUERN__TEMPLATE_FIELDS = 256,      /* braces in one template, names in all, columns to read */
    QUERN__TEMPLATE_NAME = 128,        /* bytes of a column name */
    QUERN__TEMPLATE_STEPS = 16,        /* of a path */
    QUERN__TEMPLATE_JOIN = 64          /* bytes between two elements */
};

typedef struct quern__template quern__template;

/* EINVAL names the byte: unbalanced brace, empty or overlong name, no column at all, not UTF-8, too long. */
int quern__template_parse(quern__template **out, const char *text, quern_error *err);
void quern__template_free(quern__template *t);

/* Which names with dots are columns? `exists` says 1 or 0 for each, or a negative code, which ends the call. Until
 * this has been called both are: the columns to read hold the name and the path's base, and the name wins when
 * it has a value. That will do where columns that are not there are empty (JSON objects), not for SQL. */
int quern__template_resolve(quern__template *t, int (*exists)(const char *name, void *ud),
                            void *ud);

/* The distinct columns to read in order of first use; names are NUL-terminated and borrowed from t. */
size_t quern__template_count(const quern__template *t);
const char *quern__template_column(const quern__template *t, size_t i);
const char *const *quern__template_columns(const quern__template *t);
/* Is column i read as JSON (the base of a path, or joined)? */
bool quern__template_takes_json(const quern__template *t, size_t i);
/* seen[i] says that column i was there. A name of the template for which nothing was, or NULL. */
const char *quern__template_unseen(const quern__template *t, const bool *seen);

/* values[i] belongs to quern__template_column(i); NULL is {NULL, 0}. */

/* The text has at most so many bytes. */
uint64_t quern__template_bound(const quern__template *t, const quern_str *values);
/* Appends the text to `out`. ENOMEM when the text passes the ceiling of `out`. */
int quern__template_render(const quern__template *t, const quern_str *values, quern__buf *out,
                           quern_error *err);

#endif
