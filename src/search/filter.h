/*
 * filter.h — which rows may be hits, by their metadata columns: a JSON object in which every member must hold.
 *
 *   {"lang":"en"}                      equal; null: the column is NULL
 *   {"lang":["en","de"]}               one of these
 *   {"year":{"gte":1990,"lt":2000}}    a range: gte, gt, lte, lt, all that are given; also eq, ne and in
 *
 * Evaluated here and not in SQL, on rows that the join has read anyway: the same answer on every store, and no value
 * is ever near a statement. Numbers compare by value, a text that spells a number as that number (PostgreSQL's
 * numeric arrives as text), true and false as 1 and 0, texts by their bytes. Values of kinds that do not compare
 * (7 and "seven"), and NULL in a range, do not match; ne is the opposite of eq except that NULL never matches it.
 */
#ifndef QUERN_SEARCH_FILTER_H
#define QUERN_SEARCH_FILTER_H

#include <stdbool.h>

#include "base/error.h"
#include "quern/sys/store.h"

enum { QUERN__FILTER_TERMS = 64 }; /* conditions at most */
typedef struct quern__filter quern__filter;

/* EINVAL says what is wrong and where. */
int quern__filter_parse(quern__filter **out, const char *json, quern_error *err);
void quern__filter_free(quern__filter *f); /* NULL is fine */
size_t quern__filter_count(const quern__filter *f);
const char *quern__filter_column(const quern__filter *f, size_t i);
/* columns[i]: the row's value of quern__filter_column(f, i). */
bool quern__filter_matches(const quern__filter *f, const quern_value *const *columns);

#endif
