/*
 * build.h — the program's document builder, called and its answers checked; for fill and verify.
 */
#ifndef QUERN_PIPELINE_BUILD_H
#define QUERN_PIPELINE_BUILD_H

#include "quern/pipeline.h"

enum { QUERN__BUILDER_ID = 64 };

/* EINVAL: no id, an id that is too long or not UTF-8, or neither function. */
int quern__builder_check(const quern_document_builder *b, const char *source, quern_error *err);

/* Assets of a document that it may name. */
uint32_t quern__builder_assets(const quern_document_builder *b);

/* Called for each document in order, with its text as long as that lasts. */
typedef int (*quern__built_fn)(const quern_built *doc, size_t i, void *ud);
/* Has n documents built, whose key and text are set. */
int quern__build(const quern_document_builder *b, quern_built *docs, size_t n, quern__built_fn fn,
                 void *ud, quern_error *err);

#endif
