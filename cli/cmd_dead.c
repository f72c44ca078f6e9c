/*
 * cmd_dead.c — quern status --list dead: tasks that were given up, a page at a time, in the order in which they were put.
 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct dead_page {
    size_t n;
    int64_t last;
} dead_page;

static int dead_json(const quern_task *t, void *ud)
{
    dead_page *p = ud;
    char failed[32], created[32];
    utc_time(t->failed_ms, failed);
    utc_time(t->created_ms, created);
    put_object();
    put_key("id");
    put_signed(t->id);
    put_key("source");
    put_string(t->source);
    put_key("key");
    put_raw(t->key.ptr, t->key.len);
    put_key("generation");
    if (t->generation)
        put_signed(t->generation);
    else
        put_text(NULL);
    put_key("error");
    put_string(t->error);
    put_key("attempts");
    put_whole(t->attempts);
    put_key("reason");
    put_string(t->reason);
    put_key("created");
    put_text(created);
    put_key("failed");
    put_text(failed);
    put_end_object();
    p->last = t->id;
    p->n++;
    return 0;
}

static int dead_text(const quern_task *t, void *ud)
{
    dead_page *p = ud;
    char failed[32];
    utc_time(t->failed_ms, failed);
    out_printf("%s  %-20.*s %.*s  %lu attempts  %.*s\n", failed, (int)t->source.len, t->source.ptr,
               (int)t->key.len, t->key.ptr, (unsigned long)t->attempts, (int)t->error.len,
               t->error.ptr ? t->error.ptr : "");
    p->last = t->id;
    p->n++;
    return 0;
}

static int read_place(const char *after, int64_t *place, quern_error *err)
{
    char *end = NULL;
    *place = after ? strtoll(after, &end, 10) : 0;
    if (after && (end == after || *end || *place < 0))
        return fail(err, QUERN_EINVAL,
                    "status --list dead: --after '%.40s' is no number of a dead task", after);
    return QUERN_OK;
}

int show_dead(cli *c, quern_store *store, char *const *sources, size_t n, const char *after,
              size_t limit, quern_error *err)
{
    dead_page p = {0};
    int64_t place = 0;
    limit = limit ? limit : 100;
    int rc = read_place(after, &place, err);
    if (rc == QUERN_OK && n > 1)
        rc = fail(err, QUERN_EINVAL, "status --list dead: one --source, or all without it");
    if (rc == QUERN_OK && n == 1) { /* a name that is not known is a slip of the pen */
        quern_task_stats known;
        QUERN_INIT(&known);
        rc = quern_task_statistics(store, sources[0], &known, err);
    }
    if (rc != QUERN_OK)
        return rc;
    if (c->json) {
        put_object();
        put_key("state");
        put_text("dead");
        put_key("tasks");
        put_array();
    }
    rc = quern_task_each(store, sources[0], QUERN_TASK_DEAD, place, limit,
                         c->json ? dead_json : dead_text, &p, err);
    if (rc == QUERN_OK && c->json) {
        put_end_array();
        put_key("next");
        if (p.n == limit)
            put_signed(p.last);
        else
            put_text(NULL);
        put_end_object();
        put_line();
    } else if (rc == QUERN_OK && p.n == limit && !c->quiet) {
        out_printf("there may be more: --after %lld\n", (long long)p.last);
    }
    return rc;
}
