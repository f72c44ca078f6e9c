/*
 * spec.h — a source's declaration, as a store checks and keeps it: JSON with the fields that are there.
 */
#ifndef QUERN_STORE_SPEC_H
#define QUERN_STORE_SPEC_H

#include "base/arena.h"
#include "base/buf.h"
#include "quern/store.h"

enum { QUERN__LONGEST_SPEC = 1 << 20 };

/* Which fields go together, names, and the trusted pieces of SQL by the rules of `balanced`. */
int quern__spec_check(const quern_source_spec *spec,
                      int (*balanced)(const char *sql, const char *what, quern_error *err),
                      quern_error *err);
int quern__spec_to_json(const quern_source_spec *spec, quern__buf *out, quern_error *err);
/* Strings of spec lie in the arena, name is as given. */
int quern__spec_from_json(quern_str text, const char *name, quern__arena *arena,
                          quern_source_spec *spec, quern_error *err);

#endif
