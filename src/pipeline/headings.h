/*
 * headings.h — which Markdown headings stand above a place of a text, and what of them goes in front of a chunk as its
 * context. Places are asked for in ascending order, and the text is walked once.
 */
#ifndef QUERN_PIPELINE_HEADINGS_H
#define QUERN_PIPELINE_HEADINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "quern/status.h"

enum {
    QUERN__HEADING_LEVELS = 6,
    QUERN__HEADING_BYTES = 120, /* of one, the rest is cut off */
    QUERN__HEADING_PATH = QUERN__HEADING_LEVELS * (QUERN__HEADING_BYTES + 3) /* " > " between two */
};

typedef struct quern__headings {
    quern_str text;
    size_t at;                              /* where the next line begins */
    quern_str above[QUERN__HEADING_LEVELS]; /* by level; empty: none */
    quern_str before; /* the paragraph's line above, which an underline would make a heading */
    char fence;       /* inside a code block that this character closes */
    size_t fence_length;
    unsigned version; /* changes with every heading passed */
} quern__headings;

void quern__headings_init(quern__headings *h, quern_str text);
/* Walks to the place; a heading counts from the line after it. */
void quern__headings_walk(quern__headings *h, size_t place);
/* "Guide > Install", without the `skip` outermost; *n is how many there were in all. Returns its length. */
size_t quern__headings_path(const quern__headings *h, size_t skip, char out[QUERN__HEADING_PATH],
                            size_t *n);

/* What a chunk is embedded with: the path of its headings and an empty line. */
typedef struct quern__context {
    bool wanted; /* else it stays empty */
    quern__headings walk;
    unsigned version; /* of the walk when it was made */
    char text[QUERN__HEADING_PATH + 2];
    size_t len;  /* of text, 0: no context */
    size_t path; /* of the path in it */
    size_t units;
} quern__context;

/* How long a text is in the chunker's unit. */
typedef int (*quern__measure_fn)(void *ud, quern_str text, size_t *units, quern_error *err);

void quern__context_init(quern__context *c, quern_str text, bool wanted);
/* The context of a chunk that begins at `place`, of at most so many units: outer headings are left out first. */
int quern__context_at(quern__context *c, size_t place, size_t most, quern__measure_fn measure,
                      void *ud, quern_error *err);

#endif
