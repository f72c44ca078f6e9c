/*
 * template.h — the text of a document, made from the columns of its row: 'Title: {title}. {body}'.
 *
 * Grammar: literal bytes and {column}; `{{` and `}}` stand for one brace. Column names are taken as they are
 * written (case and spaces count); '|' in one is reserved for later and refused.
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
    QUERN__TEMPLATE_FIELDS = 256,      /* braces in one template */
    QUERN__TEMPLATE_NAME = 128         /* bytes of a column name */
};

typedef struct quern__template quern__template;

/* EINVAL names the byte: unbalanced brace, empty or overlong name, no column at all, not UTF-8, too long. */
int quern__template_parse(quern__template **out, const char *text, quern_error *err);
void quern__template_free(quern__template *t);

/* The distinct columns in order of first use; names are NUL-terminated and borrowed from t. */
size_t quern__template_count(const quern__template *t);
const char *quern__template_column(const quern__template *t, size_t i);
const char *const *quern__template_columns(const quern__template *t);

/* ENOTFOUND when a column of the template is not among the n that exist: names it and lists those. */
int quern__template_check(const quern__template *t, const char *const *existing, size_t n,
                          quern_error *err);

/* Appends the text to `out`. values[i] belongs to quern__template_column(i); NULL is {NULL, 0}. ENOMEM when
 * the text passes the ceiling of `out`. */
int quern__template_render(const quern__template *t, const quern_str *values, quern__buf *out,
                           quern_error *err);

#endif
