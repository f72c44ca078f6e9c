/*
 * quern/tasks.h — tasks: hints that a document is to be looked at soon. A task is unique for its source and key, is
 * leased by one worker at a time, tried again with growing pauses, and ends as a dead letter. It makes work happen
 * sooner and never decides whether it is done: the stamps do, and a scan finds the same without any task.
 */
#ifndef QUERN_TASKS_H
#define QUERN_TASKS_H

#include "quern/store.h"

#ifdef __cplusplus
extern "C" {
#endif

enum quern_task_state {
    QUERN_TASK_READY,  /* waits for a worker, or for its time */
    QUERN_TASK_LEASED, /* a worker has it */
    QUERN_TASK_DEAD    /* given up */
};

typedef struct quern_task {
    int64_t id;
    quern_str source, key, reason; /* why it was put, last */
    int state;                     /* enum quern_task_state */
    int rescued;                   /* of a claim: the lease of somebody else's had run out */
    uint32_t attempts;             /* claims that were not given back */
    int64_t created_ms;
    int64_t due_ms;     /* when it can be claimed; of a leased one, when its lease ends */
    quern_str error;    /* of the last attempt that failed, or "" */
    int64_t failed_ms;  /* when that was */
    int64_t generation; /* and in which generation; 0: in none */
} quern_task;
typedef int (*quern_task_fn)(const quern_task *task, void *ud); /* non-zero ends the call */

enum { QUERN_TASK_HISTOGRAM = 12 };
typedef struct quern_task_stats {
    size_t struct_size;
    uint64_t ready, waiting, leased, dead; /* waiting: ready, but its time has not come */
    uint64_t rescued;                      /* claims that took over a lease that had run out */
    uint64_t oldest_ms;                    /* age of the oldest that is not dead */
    /* tasks that are not dead by their attempts; the last counts those with more as well */
    uint64_t attempts[QUERN_TASK_HISTOGRAM];
} quern_task_stats;

/* Puts a task for each key of a source, given as JSON (42, "abc", [1,"x"]); a bare word is text, and so is a number
 * where the source is the built-in documents. Whether there is such a row is seen when the task is worked on. A key that has
 * one already: the reason is replaced, it is due at once, its attempts stay; while a worker has it, it runs once more
 * afterwards; a dead one lives again. On a store over a borrowed connection all of it belongs to the caller's
 * transaction. reason NULL: "enqueued". *added (NULL is fine): tasks that were not there before.
 * ENOTFOUND no such source; EINVAL names the key at fault. */
QUERN_API int quern_enqueue(quern_store *s, const char *source, const quern_str *keys, size_t n,
                            const char *reason, uint64_t *added, quern_error *err);
/* source NULL: all. */
QUERN_API int quern_task_statistics(quern_store *s, const char *source, quern_task_stats *out,
                                    quern_error *err);
/* Tasks in that state by id, behind `after` (0: from the first), up to limit. source NULL: all. */
QUERN_API int quern_task_each(quern_store *s, const char *source, int state, int64_t after,
                              size_t limit, quern_task_fn fn, void *ud, quern_error *err);
/* Dead letters become ready, with no attempt counted; keys NULL: all of the source. */
QUERN_API int quern_task_revive(quern_store *s, const char *source, const quern_str *keys, size_t n,
                                uint64_t *revived, quern_error *err);
/* Takes tasks away, whoever has them; keys NULL: all of the source. */
QUERN_API int quern_task_remove(quern_store *s, const char *source, const quern_str *keys, size_t n,
                                uint64_t *removed, quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
