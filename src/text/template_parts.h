/*
 * template_parts.h — a template taken apart: what template.c writes and template_render.c reads. Immutable once
 * resolved, so it may be shared.
 */
#ifndef QUERN_TEXT_TEMPLATE_PARTS_H
#define QUERN_TEXT_TEMPLATE_PARTS_H

#include "base/arena.h"
#include "text/template.h"

/* One name: the column that is called so, or a path. */
typedef struct quern__template_name {
    const char *name;
    const char *base; /* NULL: it cannot be a path */
    const char *steps[QUERN__TEMPLATE_STEPS];
    size_t n_steps;
    bool as_column, as_path; /* at least one of them */
    size_t column, base_column;
} quern__template_name;

typedef struct quern__template_part {
    quern_str literal;   /* goes before the value */
    size_t first, count; /* alternatives: count places in `names` from `first` on */
    size_t unless;       /* index of a name, SIZE_MAX: none */
    bool joins;
    quern_str join;
} quern__template_part;

/* Invariant: parts[n_parts - 1] has a value; `tail` is the literal behind it. */
struct quern__template {
    quern__arena arena;
    quern__template_part *parts;
    size_t n_parts;
    size_t *uses; /* indices of names, in the order of the text */
    size_t n_uses;
    quern__template_name *names;
    size_t n_names;
    const char **columns;
    bool *json; /* per column */
    size_t n_columns;
    quern_str tail;
};

#endif
