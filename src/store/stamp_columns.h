/*
 * stamp_columns.h — columns of a source's own table that say when a row's vectors were made, and by which model: off
 * unless a declaration names them. The stores of this tree share how they are named, what is written, and what a
 * trigger of the user's makes of that.
 *
 * A save writes them in its own transaction, then reads the row again. A trigger that moves the revision column with every
 * UPDATE (updated_at = now()) has then moved it for ours too: while the text is what was embedded, the stamp is made
 * of the new revision, and so are those that other generations of the source have of the old one. So our write is no
 * edit. Rejected: to write nothing where a trigger stands (that is the usual table); to compare without the column (then
 * a revision column would be of no use).
 */
#ifndef QUERN_STORE_STAMP_COLUMNS_H
#define QUERN_STORE_STAMP_COLUMNS_H

#include <stdbool.h>

#include "base/arena.h"
#include "quern/sys/store.h"

enum { QUERN__STAMP_TIME = 25 /* of a written time */ };

typedef struct quern__stamp_columns {
    const char *generated_at, *model; /* names; NULL: not wanted */
} quern__stamp_columns;

/* "generated_at=COLUMN,model=COLUMN", one of them at least; names in the arena. EINVAL. */
int quern__stamp_columns_parse(const char *list, const char *source, quern__arena *arena,
                               quern__stamp_columns *out, quern_error *err);
/* Which fields go with them: only a table has columns that can be written. */
int quern__stamp_columns_check(const quern_source_spec *spec, quern__arena *arena,
                               quern__stamp_columns *out, quern_error *err);
/* EINVAL: this column decides what a document is, so that writing it would be an edit. `same`: the database's names. */
int quern__stamp_columns_apart(const quern_source_spec *spec, const quern__stamp_columns *c,
                               const char *const *read, size_t n,
                               bool (*same)(const char *a, const char *b), quern__arena *arena,
                               quern_error *err);
/* The time that is written for this document, "" for NULL: RFC 3339 in UTC. now_ms: of the save. */
void quern__stamp_time(const quern_save *doc, const quern_stamp *stamp, int64_t now_ms,
                       char out[QUERN__STAMP_TIME]);

#endif
