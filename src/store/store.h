/* store.h — inside the library a store is a table and its instance; upper floors call through these. */
#ifndef QUERN_STORE_STORE_H
#define QUERN_STORE_STORE_H

#include <stdbool.h>

#include "quern/sys/store.h"
#include "text/template.h"

struct quern_store {
    quern_store_table table;
    void *self;
};

/* Which names with dots are columns of a source's table or query, and which are paths into JSON. */
int quern__resolve_template(quern__template *t, quern_store *s, const quern_source_spec *spec,
                            quern_error *err);
/* A generation of fewer vectors is searched exactly, unless it is asked otherwise: that takes some milliseconds and
 * misses nothing. */
enum { QUERN__INDEX_ROWS = 20000 };
/* Runs of a source in the log of fills. */
enum { QUERN__RUNS_KEPT = 100, QUERN__USAGE_DAYS = 400, QUERN__DAY_MS = 86400000 };

/* "postgres://…" or "postgresql://…"; NULL is none. */
bool quern__is_postgres_url(const char *db);

/* EINVAL for options that SQLite has no use for. */
int quern__only_postgres(const quern_store_options *opt, quern_error *err);

/* A key in its canonical spelling; *out is the caller's. */
int quern__canonical_key(quern_str key, char **out, quern_error *err);
/* The same of a key as it is typed: a bare word is text, and so is a number where all keys are (built-in documents). */
int quern__source_key(quern_store *s, const char *source, quern_str word, char **key,
                      quern_error *err);

#endif
