/*
 * work_run.h — what the files of the worker share.
 *
 *   work.c        the loop: who scans, what is due, when to look again
 *   work_tasks.c  one helping of tasks: claimed, worked on, settled
 */
#ifndef QUERN_PIPELINE_WORK_RUN_H
#define QUERN_PIPELINE_WORK_RUN_H

#include "base/rng.h"
#include "pipeline/recipe.h"
#include "quern/work.h"

typedef struct work_run {
    quern_store *s;
    quern_embedder *e;
    quern_work_options opt; /* complete */
    quern_fill_options fill;
    quern_work_report *report;
    quern__rng rng;

    void *leader; /* the lock of the one that scans; NULL: not ours */
    uint64_t lead_ns, scan_ns, told_ns,
        tasks_ns; /* when to try to lead, to scan; when we last told, looked for tasks */
    int faults;   /* of embedder or store, in a row */
    bool in_tasks;

    /* the tasks at hand */
    int64_t lease;
    uint64_t renewed_ns;
} work_run;

/* Tasks that are due, w->opt.claim at most; *n: how many were claimed. Faults that belong to a source are settled with its
 * tasks; others come back, with the tasks given back. */
int quern__work_tasks(work_run *w, size_t *n, quern_error *err);
/* Generations of the source that are in use and were made by this embedder. EMISMATCH: there are others only;
 * ENOTFOUND: none. */
int quern__work_generations(work_run *w, const char *source, int64_t ids[2], size_t *n,
                            quern_error *err);
/* Makes the source's first generation, and embeds one document. */
int quern__work_first(work_run *w, const char *source, quern_error *err);
/* Looks at the flag, and tells the caller now and then. */
int quern__work_tell(work_run *w, bool now, quern_error *err);
void quern__work_count(work_run *w, const quern_fill_report *one);
void quern__work_note(work_run *w, const char *source, int code, const char *message);

#endif
