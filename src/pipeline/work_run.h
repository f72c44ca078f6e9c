/*
 * work_run.h — what the files of the worker share.
 *
 *   work.c           the loop: what is due, when to look again
 *   work_schedule.c  who scans, when, and how much of it is taken
 *   work_tasks.c     one helping of tasks: claimed, worked on, settled
 */
#ifndef QUERN_PIPELINE_WORK_RUN_H
#define QUERN_PIPELINE_WORK_RUN_H

#include "base/os.h"
#include "base/rng.h"
#include "pipeline/cron.h"
#include "pipeline/recipe.h"
#include "quern/work.h"

typedef struct work_run {
    quern_store *s;
    quern_embedder *e;
    quern_work_options opt; /* complete */
    quern_fill_options fill;
    quern_work_report *report;
    quern__rng rng;

    void *leader;                        /* the lock of the one that scans; NULL: not ours */
    uint64_t lead_ns, scan_ns, whole_ns; /* when to try to lead, to scan, to scan without a limit */
    quern__cron cron;
    bool by_cron;
    int64_t cron_ms, planned_ms; /* when it comes round, on the wall; when that was worked out */
    int64_t last_whole_ms, last_run_ms; /* before this worker */
    bool whole;                         /* the run at hand: no limit */
    quern__child *sync;                 /* the command before a run, while it goes on */
    uint64_t told_ns, tasks_ns;         /* when we last told, looked for tasks */
    int faults;                         /* of embedder or store, in a row */
    bool in_tasks;
    const char *scanned; /* the source of the scan at hand, and its generation */
    int64_t scanned_id;
    uint64_t declared_ns; /* when we last looked whether it is still declared so */

    /* the tasks at hand */
    int64_t lease;
    uint64_t renewed_ns;
    uint64_t moved_ns,
        moved; /* when something was last finished under it; a sum that changes then */
} work_run;

/* Tasks that are due, w->opt.claim at most; *n: how many were claimed. Faults that belong to a source are settled with its
 * tasks; others come back, with the tasks given back. */
int quern__work_tasks(work_run *w, size_t *n, quern_error *err);
/* Scans if that is our office and it is time. */
int quern__work_scan(work_run *w, quern_error *err);
/* Gives the office back, and ends what goes on in it. */
void quern__work_retire(work_run *w);
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
