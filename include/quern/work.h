/*
 * quern/work.h — a worker: keeps vectors up to date for as long as it runs. It works tasks off (quern/tasks.h), and scans
 * for what no task has told of. Any number of workers may run on one store, on any number of hosts; each needs a
 * store handle of its own.
 */
#ifndef QUERN_WORK_H
#define QUERN_WORK_H

#include "quern/pipeline.h"
#include "quern/tasks.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quern_work_report {
    size_t struct_size;
    uint64_t claimed, done, retried, released,
        dead;       /* tasks; released: given back, the attempt not counted */
    uint64_t lost;  /* whose lease had ended before they were done */
    uint64_t scans; /* of a source, to its end */
    uint64_t processed, deleted, failed, stale; /* documents, by tasks and scans */
    char last_error[256];
    uint64_t scheduled;           /* tasks that limited runs have put */
    uint64_t syncs, syncs_failed; /* runs of the command `after` */
    int sync_status; /* of the last one: its exit status, or minus the signal that ended it */
} quern_work_report;

typedef struct quern_work_options {
    size_t struct_size;
    const char *const *sources; /* NULL: all, also those declared later */
    size_t n_sources;
    uint32_t claim;        /* tasks taken at once, 0: 250 */
    uint32_t lease_ms;     /* 0: 30 s; renewed at a third of it */
    uint32_t tick_ms;      /* between looks for tasks, 0: 2 s */
    uint32_t max_attempts; /* then a task is dead, 0: 10 */
    /* From one scan to the next, a tenth of it more or less by chance; 0: 6 h, negative: no such scans. The first is
     * made at once. One worker of a store scans at a time; when it ends, another takes over and begins with a scan. */
    int64_t interval_ms;
    /* a scan that takes all it finds at the latest after this, whatever the interval, a tenth more or less; 0: 24 h,
     * negative: off */
    int64_t backstop_ms;
    int once;       /* 1: one scan (unless both are off), all tasks that are due, and back */
    uint64_t limit; /* at most so many tasks, then back; 0: no limit */
    /* how a source is filled that never was, and how large a document may be (its choice of documents, its progress and
     * its flag are not looked at); NULL: the defaults */
    const quern_fill_options *fill;
    int (*progress)(const quern_work_report *so_far,
                    void *ud); /* some times a second; non-zero cancels */
    void *progress_ud;
    const quern_cancel *cancel;
    /* Scans at these times in place of the interval: five fields (minute, hour, day of the month, month, day of the week)
     * or @hourly and such, in the time zone of the process, up to 20 s later by chance. One that was missed while no
     * worker was there is made at the start, once. Where the clock is put forward, times in the gap come at its end; where
     * it is put back they come once. NULL: by the interval. */
    const char *cron;
    /* A scan in between those of the backstop (the first one is of these as well) takes at most so many documents of each
     * source: at least half of them the oldest that are pending, the others the newest of the window. The age is what
     * the revision column says; without one that holds times or numbers, keys are taken to grow. Tasks are put for
     * them, so that those that fail wait before they are tried again. 0: 100, with `once` no limit; negative: no
     * limit. */
    int64_t max_per_run;
    int64_t window_ms; /* 0: 7 days, negative: all */
    /* A line of the shell that is run before each scan, which begins when it has ended, whatever its exit status (that
     * is told by the log and the report); what it prints goes to standard error. NULL: none. */
    const char *after;
    /* A lease under which nothing has been finished for so long is no longer renewed; 0: 10 min. */
    uint32_t stall_ms;
} quern_work_options;

/* Works until it is cancelled (ECANCELLED: what was claimed is given back) or, with `once` or `limit`, until there is no
 * more to do: QUERN_OK, or EPARTIAL when documents failed or tasks have to be tried again. EUNSUPPORTED: the store has no
 * tasks. A fault of one document or source is told by the log and in the report; one of the embedder's or the
 * store's ends the work when it comes five times in a row.
 * A task is worked on in every generation of its source that this embedder made. One that fails is tried again after 5 s,
 * then after twice as long each time, up to 10 min (15 min to 7 days where the declaration or the settings are at
 * fault), and up to a quarter more by chance. A document that can never be embedded as it is ends as a dead letter at
 * once. */
QUERN_API int quern_work(quern_store *s, quern_embedder *e, const quern_work_options *opt,
                         quern_work_report *report, quern_error *err);

/* When a cron expression (as quern_work_options.cron) comes round next behind a time, both in Unix milliseconds; in the
 * time zone of the process. EINVAL says what is wrong with it; the 30th of February is. */
QUERN_API int quern_cron_next(const char *expression, int64_t after_ms, int64_t *next_ms,
                              quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
