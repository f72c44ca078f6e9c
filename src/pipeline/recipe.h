/*
 * recipe.h — a source's declaration made ready for use: parsed template, the columns to read, and the
 * three functions of them on which everything else agrees — a row's text, a row's revision, and the
 * fingerprint of what fill makes of both. Fill, status, verify and search all go through here, so that none of
 * them can think a document current that another thinks stale.
 */
#ifndef QUERN_PIPELINE_RECIPE_H
#define QUERN_PIPELINE_RECIPE_H

#include "base/arena.h"
#include "base/buf.h"
#include "pipeline/build.h"
#include "pipeline/chunk.h"
#include "store/asset_columns.h"
#include "store/store.h"
#include "text/template.h"

enum {
    QUERN__REVISION_BYTES = 80,               /* room for "sha256:" and 64 digits */
    QUERN__DOCUMENT_BYTES = 16 * 1024 * 1024, /* default ceiling of one document */
    QUERN__RENDER_BYTES = 1 << 30,            /* a larger one is not even rendered */
    QUERN__TEXT_BUFFER =
        QUERN__RENDER_BYTES + 2 * QUERN__TEMPLATE_BYTES, /* ceiling for `text` below */
    QUERN__MODEL_NAME = sizeof((quern_generation *)0)->model,
};

/* The fields of built-in documents that come back with hits by themselves, by enum quern__detail. */
extern const char *const quern__detail_names[];
enum quern__detail {
    QUERN__DETAIL_PAGE,       /* a number */
    QUERN__DETAIL_SECTION,    /* a text */
    QUERN__DETAIL_PROPERTIES, /* a JSON object */
    QUERN__DETAIL_REFERENCES, /* a JSON array */
    QUERN__DETAILS
};
typedef struct quern__recipe {
    quern_source_spec spec; /* strings in the arena */
    quern__template *template;
    uint32_t prepare;     /* steps, quern__prepare */
    const char **columns; /* the template's, then those that only meta names */
    size_t n_columns;
    /* Stamp columns stand behind them: places in columns, SIZE_MAX of one that is not declared; who reads them too reads
     * n_read columns. */
    size_t generated_at, model, n_read;
    size_t n_meta;
    const char **meta;   /* names as declared */
    size_t *meta_column; /* their places in columns */
    quern__asset_columns assets;
    size_t asset_column[QUERN__ASSET_COLUMNS]; /* their places in columns */
    /* Of built-in documents, what comes back with a hit by itself: places in columns; SIZE_MAX of others' rows. */
    size_t detail[QUERN__DETAILS];
    quern_read
        read; /* generation 0 until the caller sets it; source: &spec, or one with a longer predicate */
    const char *scope;   /* of the generation at hand, NULL: the whole source */
    bool keeps, forgets; /* texts: beside the vectors; of built-in documents, not at all */
    quern__arena arena;
} quern__recipe;

void quern__recipe_free(quern__recipe *p);
/* Of the store's source by that name, whose declaration is copied. ENOTFOUND names the nearest one; EINVAL: a bad template. */
int quern__recipe_open(quern__recipe **out, quern_store *s, const char *name, quern_error *err);

/* Names of all sources, sorted, each from quern__alloc as the array itself; quern__names_free. */
int quern__source_names(quern_store *s, char ***names, size_t *n, quern_error *err);
void quern__names_free(char **names, size_t n);

/* ---- recipe_scope.c: predicates on top of the source's own; from then on p->read knows only rows for which they hold ---- */
/* That of a generation to be made (NULL or blank: none), or of one that there is. What was put on before goes. */
int quern__recipe_scope(quern__recipe *p, const char *scope, quern_error *err);
int quern__recipe_scope_of(quern__recipe *p, quern_store *s, int64_t generation, quern_error *err);
/* A predicate by itself against the database. EINVAL, ENOTFOUND. */
int quern__recipe_check_where(const quern__recipe *p, quern_store *s, const char *where,
                              quern_error *err);
/* Checks a predicate and puts it on. */
int quern__recipe_restrict(quern__recipe *p, quern_store *s, const char *where, quern_error *err);
/* The same for a search (NULL: it asks for every row). EMISMATCH, index_scope_mismatch, when it asks for a row that the
 * scope leaves out. */
int quern__recipe_search_where(quern__recipe *p, quern_store *s, const char *where,
                               quern_error *err);

/* What a row is as a document: text is rendered and prepared, and every offset is one into it; revision is of what was
 * rendered, so that preparing decides nothing about what is current. text points into the buffer given to quern__recipe_document, revision into the
 * row or into hex. */
typedef struct quern__document_view {
    quern_str text, revision;
    quern_str assets[QUERN__ASSET_COLUMNS]; /* what those columns hold, in the row */
    size_t n_assets;                        /* columns */
    uint64_t bytes;   /* of the text, or of its columns when that is too large to be made */
    char reason[128]; /* "", or why it can never be embedded as it is */
    bool no_text;     /* that is the reason: its text is not kept; what is current of it stays so */
    char hex[QUERN__REVISION_BYTES];
} quern__document_view;

/* Fills `out` from a row without a fault. A document over max_bytes or of ill-formed UTF-8 gets a reason; its
 * revision does not depend on max_bytes. Fails only for memory. */
int quern__recipe_document(const quern__recipe *p, const quern_row *row, uint64_t max_bytes,
                           quern__buf *text, quern__document_view *out, quern_error *err);

/* A fault of one generation's own: a shard that others may do without has lost its tables. */
static inline bool quern__lacks_tables(int rc, const quern_error *err)
{
    return rc == QUERN_EIO && err->code && strcmp(err->code, "shard_incomplete") == 0;
}
/* A row with a stamp of this same revision: its vectors are those of what it says now. */
bool quern__is_current(const quern_row *row, const quern__document_view *doc);
/* And nobody has asked for it again: it needs nothing. */
bool quern__is_done(const quern_row *row, const quern__document_view *doc);

/* ---- fingerprints ---- */
typedef struct quern__fill_settings {
    quern__chunking chunking;
    char vector_type[8];
    char builder[QUERN__BUILDER_ID]; /* id of the program's document builder, "" none */
    uint32_t builder_assets;         /* of a document, that it may name; 0: none */
} quern__fill_settings;

/* Assets of a document, at most; 0: it is text, whatever the embedder can see. */
static inline uint32_t quern__settings_assets(const quern__recipe *p, const quern__fill_settings *s)
{
    return s->builder_assets ? s->builder_assets : p->assets.most;
}
/* EUNSUPPORTED unless the embedder sees what there is to be seen. */
int quern__settings_check(const quern__recipe *p, const quern__fill_settings *s, quern_embedder *e,
                          quern_error *err);
/* Of what a document says: its text and its assets. */
int quern__document_digest(const quern__document_view *doc, uint8_t digest[32], quern_error *err);

/* Canonical JSON (keys sorted, no spaces) of all that decides a source's vectors, and its SHA-256. *json is
 * quern__free'd by the caller. */
int quern__recipe_fingerprint(const quern__recipe *p, quern_embedder *e,
                              const quern__fill_settings *s, char **json, char hash[65],
                              quern_error *err);
/* The settings that a generation was made with, out of its fingerprint's JSON. EFORMAT when they are not there. */
int quern__settings_of(const char *json, quern__fill_settings *s, quern_error *err);
/* A fingerprint's JSON, parsed with limits; json_decref. */
struct json_t;
int quern__fingerprint_load(struct json_t **out, const char *json, quern_error *err);
/* same: a generation with this fingerprint's JSON was made from the declaration as it is now; else `what` names the
 * members that differ. Says nothing of the model. */
int quern__recipe_declared(const quern__recipe *p, const char *json, bool *same, char *what,
                           size_t size, quern_error *err);
/* Names the members in which two fingerprints differ, "template, weights"; out is never empty. */
void quern__fingerprint_difference(const char *a, const char *b, char *out, size_t size);

/* EMISMATCH, index_stale, unless generation g was made by this embedder from this declaration (the message names both
 * and what to do). p is narrowed to g's scope. */
int quern__recipe_check_generation(quern__recipe *p, quern_store *s, quern_embedder *e,
                                   const quern_generation *g, quern__fill_settings *settings,
                                   quern_error *err);

/* The same of everything but the model and the chunker: which rows there are, and what their texts say. */
int quern__recipe_check_rows(quern__recipe *p, quern_store *s, const quern_generation *g,
                             quern__fill_settings *settings, quern_error *err);

/* Tokens that the prompt in front of every document takes of what the model reads. */
int quern__prompt_tokens(quern_embedder *e, uint32_t *n, quern_error *err);

/* Bytes of one stored element, 0 for an unknown type. */
size_t quern__vector_width(const char *vector_type);

#endif
