/* conformance_suite.h — what the files of the conformance suite share: the run of one rule, and how a broken one is
 * told. */
#ifndef QUERN_STORE_CONFORMANCE_SUITE_H
#define QUERN_STORE_CONFORMANCE_SUITE_H

#include "base/error.h"
#include "quern/sys/store.h"

typedef struct suite {
    const quern_conformance *c;
    const quern_store_table *t;
    void *self;
    const char *rule;
    quern_source_spec spec;
    quern_read read;
    quern_error *err;  /* the caller's */
    quern_error inner; /* of the call under test */
} suite;

typedef struct suite_rule {
    const char *name;
    int (*run)(suite *s);
} suite_rule;

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return quern__fail(s->err, QUERN_EMISMATCH, __LINE__, "rule '%s' is broken: %s (%s)",  \
                               s->rule, #condition, s->inner.status ? s->inner.msg : "no error");  \
    } while (0)
/* A call of the table: s->t->name(s->self, …, &s->inner). */
#define CALL(name, ...) (s->inner.status = 0, s->t->name(s->self, __VA_ARGS__, &s->inner))
#define RULE(name)                                                                                 \
    {                                                                                              \
#name, name                                                                                \
    }

/* conformance_runs.c: for stores that keep a log of fills, marks or watermarks, or read several documents at once. */
extern const suite_rule quern__run_rules[];
/* conformance_tasks.c: for stores that have tasks. Ends with a rule without a name. */
extern const suite_rule quern__task_rules[];
/* conformance_columns.c: for stores that write stamp columns. */
extern const suite_rule quern__column_rules[];

#endif
