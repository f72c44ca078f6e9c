/*
 * row_key.h — what the stores of this tree share about the rows of a source: keys with their values, the marks that
 * stand in for the key of a row that cannot be a document, and the fields of built-in documents.
 *
 * A mark is {"fault":"hex of the key's values","n":nth}: nth among the rows of these values, or among the rows with
 * NULL in their key. Only `after` of a scan understands it; to fetch, save and erase it is the key of no row.
 */
#ifndef QUERN_STORE_ROW_KEY_H
#define QUERN_STORE_ROW_KEY_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "quern/sys/store.h"

bool quern__mark_is(quern_str key);
int quern__mark_make(const quern_value *keys, size_t n, uint64_t nth, quern__arena *arena,
                     quern_str *out, quern_error *err);
/* Values of the mark, in the arena, and its number. EFORMAT when it is none. */
int quern__mark_parse(quern_str mark, size_t n_keys, quern__arena *arena, quern_value *keys,
                      uint64_t *nth, quern_error *err);
/* Values of a key, copied into the arena: EFORMAT when it is not a key of n_keys columns. keys has room for `room`. */
int quern__key_values(quern_str key, size_t n_keys, quern__arena *arena, quern_value *keys,
                      size_t room, quern_error *err);
bool quern__keys_same(const quern_value *a, const quern_value *b, size_t n);
/* What of a built-in document's JSON is left without its text: the members that `keep` names. digest: SHA-256 of all of it. */
int quern__document_strip(quern_str fields, const char *const *keep, size_t n, quern__buf *out,
                          char digest[65], quern_error *err);
/* EINVAL: without its text a document leaves the source. */
int quern__strip_leaves(const quern_source_spec *source, quern_str key, quern_error *err);
/* Columns of a built-in document out of its JSON; "id" and "origin" are there even if the JSON lacks them. */
int quern__document_columns(const char *const *names, size_t n, const quern_value *id,
                            quern_str origin, quern_str fields, quern__arena *arena,
                            quern_value *columns, quern_error *err);
/* Is this path one of the roots (JSON array; NULL: none), or under one? 1, 0, or an error of the JSON. */
int quern__origin_under(const char *roots, quern_str origin, quern_error *err);
/* "a, b" into names, blanks around them dropped, each a name that may be quoted; same: are two of them one column? */
int quern__key_columns(const char *list, bool (*same)(const char *a, const char *b), char **names,
                       size_t room, size_t *n, quern__arena *arena, quern_error *err);
int quern__copy_str(quern__arena *arena, quern_str from, quern_str *to, quern_error *err);
void quern__put_hex(quern__buf *out, const void *data, size_t n);
/* n bytes out of 2 n digits of either case; false when they are not. */
bool quern__take_hex(const char *hex, size_t n, void *out);

#endif
