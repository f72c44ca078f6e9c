/*
 * search_run.h — one search under way, shared by the files of this folder: search.c opens and ends it, gather.c
 * fills the heap with scored chunks, join.c turns them into hits, search_explain.c tells what was done.
 */
#ifndef QUERN_SEARCH_SEARCH_RUN_H
#define QUERN_SEARCH_SEARCH_RUN_H

#include "base/arena.h"
#include "kernels/kernels.h"
#include "pipeline/recipe.h"
#include "quern/search.h"
#include "search/filter.h"
#include "search/topk.h"

enum {
    QUERN__SEARCH_LIMIT = 10000,
    QUERN__SEARCH_ROOM = 64,   /* candidates at least, at first */
    QUERN__SEARCH_PAGE = 256,  /* references or keys in one call of the store */
    QUERN__SEARCH_WORDS = 64,  /* of a query */
    QUERN__SEARCH_DEPTH = 100, /* hits of each list, at least, before lists are put together */
    QUERN__EXCLUDE_MOST = 1000,
    QUERN__SPELLINGS = 2 /* of a key: as JSON, as a bare word */
};

/* Why a candidate is no hit. */
enum quern__search_drop {
    QUERN__DROP_NOT,
    QUERN__DROP_REPLACED, /* its chunk was replaced meanwhile */
    QUERN__DROP_GONE,     /* no row, or one that does not match the predicate */
    QUERN__DROP_STALE,    /* the row is newer than its stamp, or has none */
    QUERN__DROP_FILTERED,
    QUERN__DROP_SEED, /* the document of `similar` */
    QUERN__DROP_EXCLUDED,
    QUERN__DROP_SAME,  /* a better chunk stands for the document */
    QUERN__DROP_BELOW, /* min-similarity */
    QUERN__DROPS
};

/* How the candidates of a part are found. */
enum quern__search_way {
    QUERN__WAY_SCAN = -1, /* every vector, here; else enum quern_index */
};

/* One source being searched. */
typedef struct quern__search_part {
    quern__recipe *recipe;
    quern_generation generation;
    quern_read read;
    quern_read
        seeds; /* rows whose neighbours can be asked for, whether they are to be found themselves or not */
    bool half;             /* f16 */
    bool built;            /* a program made the texts, which are not at hand */
    size_t *filter_column; /* places of the filter's columns in a row */
    int way;               /* enum quern__search_way or quern_index */
    const char *note;      /* why it is not the way that was asked for, or NULL */
    bool has_words;        /* its documents can be found by text */
    uint64_t scanned;
    bool full;   /* the database gave all that it was asked for: there may be more */
    float worst; /* score of those that it gave */
} quern__search_part;

/* What a hit has beside its score and text; strings in the arena of the round. */
typedef struct quern__hit_details {
    const char *heading, *asset;
    uint64_t page;
    const char *section, *properties, *references; /* NULL: none */
    int64_t created_ms, updated_ms;
} quern__hit_details;

/* A chunk of a document that was found by its words. */
typedef struct quern__span {
    uint32_t index;
    uint64_t start, end;
    float similarity; /* 0 in mode text */
    uint32_t page;
    const char *heading, *asset;
} quern__span;

/* A chunk that may stand for a document; of one found by its words the spans to choose from. */
typedef struct quern__candidate {
    float score, similarity;
    uint32_t part, chunk;
    int64_t ref;
    uint64_t start, end;
    uint32_t at_page; /* of the text */
    quern_str key;
    int drop;  /* enum quern__search_drop, while a page is looked at */
    bool live; /* its reference stands; its row is there and current */
    const char *excerpt, *meta;
    quern__hit_details more;
    bool by_words;
    quern_str revision; /* of the words; of a hit its stamp's, where texts are kept */
    quern__span *spans;
    size_t n_spans;
} quern__candidate;

typedef struct quern__search_run {
    quern_store *s;
    struct quern__question *question;
    quern_embedder *e;
    quern_search_options options;
    const quern_search_options *opt; /* the same */
    quern_error *err;                /* of the call at hand, for callbacks */
    const quern__kernels *kernels;
    float *query;
    size_t dim;
    size_t limit,
        wanted; /* hits to find; hits to give, fewer when they are picked from those found */
    quern__search_part *parts;
    size_t n_parts;
    size_t part;   /* the one at hand */
    bool building; /* a source was left out whose first generation is being built */
    quern__filter *filter;
    bool has_seed; /* a document that is no hit of itself */
    size_t seed_part;
    quern_str seed_key;
    quern_str *excluded; /* keys, sorted */
    size_t n_excluded;
    quern__buf words; /* of the query */
    quern_str word[QUERN__SEARCH_WORDS];
    size_t n_words;
    uint64_t texts; /* documents that have any of them, of those asked for */
    quern__topk top;
    uint64_t scanned;
    float query_error;      /* how far a dot product in the server may be off */
    quern__arena arena;     /* of one round */
    quern__candidate *list; /* chunks, then the best of each document */
    size_t n_list, cap_list;
    size_t page_from, page_to; /* part of the list that a callback fills */
    quern__buf text;
    /* what --explain tells, of the last round */
    uint32_t rounds;
    uint64_t candidates, drops[QUERN__DROPS];
} quern__search_run;

/* search.c: begin opens everything but the query, answer makes the results, end is due even after a failed begin. r
 * holds the store and the embedder, all else is zero. */
int quern__search_begin(quern__search_run *r, const quern_search_options *given, quern_error *err);
int quern__search_answer(quern_results **out, quern__search_run *r, quern_error *err);
void quern__search_end(quern__search_run *r);

/* A whole search by `once`, and where options.partial allows it and a server of the store does not answer, another one
 * without that server. */
typedef struct quern__question quern__question;
struct quern__question {
    quern_store *s;
    quern_embedder *e;
    const char *source; /* of a stored document */
    quern_str words;    /* the query, or the key of the stored document */
    const quern_search_options *opt;
    bool partial;           /* set by `once` from the options */
    bool unanswered;        /* set by `once`: it failed, and a fallback may stand in */
    int fallback;           /* enum quern_search_fallback: what this one is */
    quern_embedder *opened; /* for it */
};
int quern__search_ask(quern_results **out, quern__question *q,
                      int (*once)(quern_results **out, quern__question *q, quern_error *err),
                      quern_error *err);

/* search_fallback.c: the generation that stands in for the active one, with the recipe narrowed to it. ENOTFOUND. */
int quern__search_stand_in(quern__search_run *r, quern__search_part *p,
                           quern__fill_settings *settings, quern_error *err);
/* After `first`, by which the search failed with rc: another one by the fallback that the options name. Where that fails, too,
 * `first` says both. */
int quern__search_fall_back(quern_results **out, quern__question *q,
                            int (*once)(quern_results **out, quern__question *q, quern_error *err),
                            int rc, quern_error *first);
int quern__results_note(quern_results *r, int fallback, const char *why, quern_error *err);

/* gather.c: how each part will be searched. EUNSUPPORTED. */
int quern__search_choose(quern__search_run *r, quern_error *err);
/* The candidates of every part are scored, the best are in r->top, sorted. */
int quern__search_gather(quern__search_run *r, quern_error *err);

/* After a round whose hits do not fill the limit: the ways that have nothing more to give become exact. */
void quern__search_widen(quern__search_run *r);
/* Do vectors that no way gave leave the hits as they are? Those of an approximate one, when the limit is full. */
bool quern__search_enough(const quern__search_run *r);

/* join.c: r->list becomes the hits, best first, until the limit is full or the candidates are exhausted. */
int quern__search_find(quern__search_run *r, quern_error *err);
int quern__compare_bytes(quern_str a, quern_str b);

/* details.c: what the row knows of a hit; heading and page of the chunk are there already. */
int quern__hit_describe(quern__search_run *r, const quern__recipe *p, const quern_row *row,
                        quern__hit_details *out);
/* Copies it into the result. */
int quern__hit_finish(quern__arena *arena, const quern__hit_details *from,
                      const quern_generation *g, quern_hit *hit, quern_error *err);
/* Best first: the order of hits. */
void quern__search_sort(quern__candidate *list, size_t n);
/* Sorts r->list and joins it back: the first `limit` that stand are what is left of it. */
int quern__search_join(quern__search_run *r, quern_error *err);

/* search_text.c: the query's words; which parts have any. EINVAL where a source must and is not declared so. */
int quern__search_words(quern__search_run *r, quern_str query, quern_error *err);
/* r->list becomes the hits by words, best first. */
int quern__search_text(quern__search_run *r, quern_error *err);
/* r->list becomes the wanted hits of both lists. */
int quern__search_hybrid(quern__search_run *r, quern_error *err);
/* The span that stands for the document whose text this is. */
void quern__search_span(const quern__search_run *r, quern__candidate *c, quern_str text);
/* Fetches the spans of list[from, to). */
int quern__search_spans(quern__search_run *r, size_t from, size_t to, quern_error *err);

/* exclude.c: a key as it is typed: 42 is a number before it is a text; a bare word is a text. keys (all NULL) from
 * quern_free. EINVAL. */
int quern__search_spell(quern_str key, char *keys[QUERN__SPELLINGS], size_t *n, quern_error *err);
/* Takes the keys of the options; admit frees them. */
int quern__search_exclude(quern__search_run *r, quern_error *err);
void quern__search_admit(quern__search_run *r);
/* Of list[from, n_list), whose keys are known, what is no hit by its key falls out. */
void quern__search_leave_out(quern__search_run *r, size_t from);

/* kept.c: excerpts of the hits from the texts that their sources keep. */
int quern__search_kept(quern__search_run *r, quern_error *err);

/* search_mmr.c: of r->list the wanted number of hits that differ. */
int quern__search_diversify(quern__search_run *r, quern_error *err);

/* search_explain.c: *json is quern__free'd by the caller. */
int quern__search_explain(const quern__search_run *r, size_t hits, char **json, quern_error *err);

#endif
