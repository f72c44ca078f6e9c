/*
 * quern/quern.h — everything of libquern but the extension tables.
 *
 * quern turns the rows of your own database into vectors that are searchable by meaning, and keeps them
 * true. Three ways in, from simple to whole:
 *
 *   1. Vectors only: quern_model_open, quern_embedder_from_model, quern_embed (model.h, embedder.h); long texts in
 *      pieces: quern_chunk_text (chunk.h).
 *   2. A table made searchable: quern_store_open, quern_source_add, quern_fill, quern_search
 *      (store.h, pipeline.h, search.h).
 *   3. Your own embedder or database behind the same faces: quern/sys/embedder.h, quern/sys/store.h.
 *
 * Errors, ownership and option structs: the top of status.h. Threads: models and embedders are shared
 * freely; a store handle belongs to one thread at a time.
 */
#ifndef QUERN_QUERN_H
#define QUERN_QUERN_H

#include "quern/carry.h"
#include "quern/cache.h"
#include "quern/chunk.h"
#include "quern/embedder.h"
#include "quern/eval.h"
#include "quern/generation.h"
#include "quern/model.h"
#include "quern/options.h"
#include "quern/pipeline.h"
#include "quern/provider.h"
#include "quern/registry.h"
#include "quern/search.h"
#include "quern/shard.h"
#include "quern/shelf.h"
#include "quern/status.h"
#include "quern/store.h"
#include "quern/tasks.h"
#include "quern/text.h"
#include "quern/vector.h"
#include "quern/work.h"

#endif
