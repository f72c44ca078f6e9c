/*
 * quern/registry.h — several models in one process under one bound of memory: loaded, asked for by name or alias,
 * exchanged while calls run, let go when they idle and room is needed. Any number of threads may use one registry.
 */
#ifndef QUERN_REGISTRY_H
#define QUERN_REGISTRY_H

#include "quern/embedder.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quern_registry quern_registry;

typedef struct quern_registry_options {
    size_t struct_size;
    /* Bytes of weights that may be held at once, packed ones and those that are mapped; 0: no bound. What a call needs
     * beside them (at most 64 MiB a thread) is not in it. */
    uint64_t memory_limit;
    const char *shelf;       /* as quern_shelf_options.folder */
    uint32_t threads, batch; /* of each model's embedder, as quern_embedder_options has them */
} quern_registry_options;

QUERN_API int quern_registry_new(quern_registry **out, const quern_registry_options *opt,
                                 quern_error *err);
/* Waits for running calls. NULL is fine. */
QUERN_API void quern_registry_free(quern_registry *r);

/* Loads `model` (a name on the shelf, or a path) under `id`, 1 to 100 letters, digits, '.', '_', '-', ':' or '/'. An id that is
 * loaded is exchanged: calls that run end on the model that they began with, those that begin afterwards have the new
 * one, and a model that cannot be opened exchanges nothing. Models that nobody uses are let go, the one longest unused
 * first, until it fits; ENOMEM names the figures when it does not. opt may be NULL; its strings are copied; `choose` and `runtime`
 * are not taken (EINVAL). EEXISTS: the id is an alias. */
QUERN_API int quern_registry_load(quern_registry *r, const char *id, const char *model,
                                  const quern_model_options *opt, quern_error *err);
/* Takes it out, its aliases too: nobody can ask for it any more. Waits while a model is being opened (ECANCELLED: it stays),
 * then until calls that run on it are over (ECANCELLED: it is out, and is freed when they are). ENOTFOUND. */
QUERN_API int quern_registry_unload(quern_registry *r, const char *id, const quern_cancel *cancel,
                                    quern_error *err);
/* Makes `alias` another name of `id`, from the next call on, whatever it was before; id NULL takes it away. ENOTFOUND: no such id;
 * EEXISTS: `alias` is an id itself. An alias of an alias is that one's model now. */
QUERN_API int quern_registry_alias(quern_registry *r, const char *alias, const char *id,
                                   quern_error *err);

/* The embedder of an id or alias, for one or some calls; each is given back with quern_registry_done, soon: it is not let
 * go before. One that was let go for room is loaded again. ENOTFOUND names those that there are. */
QUERN_API int quern_registry_use(quern_registry *r, const char *id, quern_embedder **out,
                                 quern_error *err);
QUERN_API void quern_registry_done(quern_registry *r, quern_embedder *e);

typedef struct quern_registry_entry {
    const char *id, *model;
    const char *alias_of; /* an alias: the id; then the figures are that one's. NULL: it is an id */
    int loaded;           /* 0: let go for room, loaded again when it is asked for */
    uint64_t bytes;       /* held while it is loaded */
    double load_ms;       /* the last load took */
    int64_t last_used_ms; /* Unix milliseconds; 0: never */
    uint32_t running;     /* calls that have it */
} quern_registry_entry;
typedef struct quern_registry_entries quern_registry_entries;
/* As they are now, by id; aliases among them. */
QUERN_API int quern_registry_list(quern_registry *r, quern_registry_entries **out,
                                  quern_error *err);
QUERN_API size_t quern_registry_count(const quern_registry_entries *l);
QUERN_API const quern_registry_entry *quern_registry_at(const quern_registry_entries *l, size_t i);
QUERN_API void quern_registry_entries_free(quern_registry_entries *l);

#ifdef __cplusplus
}
#endif
#endif
