/* coverage.h — how much of a source is current under one generation, by looking at every row. */
#ifndef QUERN_PIPELINE_COVERAGE_H
#define QUERN_PIPELINE_COVERAGE_H

#include "pipeline/recipe.h"
#include "quern/pipeline.h"

/* Adds to the counts of row: total, done, pending, stale, empty, failed, chunks (by the stamps). generation 0: none, all
 * is pending; else only the rows of its scope count. */
int quern__coverage(quern_store *s, quern__recipe *recipe, int64_t generation,
                    quern_status_row *row, const quern_cancel *cancel, quern_error *err);

#endif
