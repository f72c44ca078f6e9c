/*
 * fill_pass.h — a walk over all rows that saves something beside vectors: words, kept texts, stamp columns. Nothing is
 * embedded. Documents are collected a page at a time by `take`, and put by the store's save with `still` as its
 * compare-and-swap.
 */
#ifndef QUERN_PIPELINE_FILL_PASS_H
#define QUERN_PIPELINE_FILL_PASS_H

#include "pipeline/fill_run.h"

enum { FILL_PASS_ROWS = 64 };

typedef struct fill_pass {
    fill_run *r;
    quern__arena arena; /* of a page */
    quern_save docs[FILL_PASS_ROWS];
    size_t n, rows;
    void *own; /* the caller's */
    quern_error *err;
    /* 1: docs[n] is to be saved (key, revision and outcome of the row are in it), 0: nothing to do, or negative */
    int (*take)(struct fill_pass *p, const quern_row *row, quern_save *doc);
    int (*still)(const quern_row *row, size_t i, void *pass); /* as in the store's table */
    int (*put)(struct fill_pass *p, quern_error *err);        /* NULL: saves docs */
} fill_pass;

/* take, still, own are set; from the first row to the last, whatever --since says. */
int quern__fill_pass(fill_pass *p, fill_run *r, quern_error *err);
/* Into the page's arena. */
int quern__fill_pass_copy(fill_pass *p, quern_str from, quern_str *to);

#endif
