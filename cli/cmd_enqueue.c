/*
 * cmd_enqueue.c — puts tasks, and shows what there is of them. Keys are arguments, or lines of standard input; they go
 * into the store some hundred at a time, so a list of any length may be piped in.
 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 500 };

typedef struct enqueuing {
    quern_store *store;
    const char *source, *reason;
    uint64_t keys, added;
} enqueuing;

static int put(enqueuing *e, const quern_str *keys, size_t n, quern_error *err)
{
    uint64_t added = 0;
    int rc = quern_enqueue(e->store, e->source, keys, n, e->reason, &added, err);
    e->keys += rc == QUERN_OK ? n : 0;
    e->added += added;
    return rc;
}

/* One helping of keys; *n 0: the input has ended. */
static int take_keys(input *in, text_item *items, size_t *n, quern_error *err)
{
    int rc = 1;
    *n = 0;
    while (*n < AT_ONCE && (rc = input_next(in, &items[*n], err)) == 1) {
        if (items[*n].text.len == 0) {
            char place[48];
            input_place(in, items[*n].line, place);
            text_item_free(&items[*n]);
            return fail(err, QUERN_EINVAL, "%s: an empty key", place);
        }
        ++*n;
    }
    return rc < 0 ? rc : QUERN_OK;
}

static int put_all(cli *c, enqueuing *e, quern_error *err)
{
    input *in = NULL;
    text_item *items = calloc(AT_ONCE, sizeof *items);
    quern_str keys[AT_ONCE];
    size_t n = 1;
    if (!items)
        return no_memory(err);
    int rc = input_open(&in, c, NULL, err);
    while (rc == QUERN_OK && n) {
        rc = take_keys(in, items, &n, err);
        for (size_t i = 0; i < n; i++)
            keys[i] = items[i].text;
        if (rc == QUERN_OK && n)
            rc = put(e, keys, n, err);
        for (size_t i = 0; i < n; i++)
            text_item_free(&items[i]);
        if (rc == QUERN_OK && quern_cancel_raised(c->cancel))
            rc = fail(err, QUERN_ECANCELLED, "stopped; %llu keys are enqueued",
                      (unsigned long long)e->keys);
    }
    input_free(in);
    free(items);
    return rc;
}

static int one_source(cli *c, char ***list, enqueuing *e, quern_error *err)
{
    size_t n = 0;
    int rc = list_sources(c, list, &n, err);
    if (rc == QUERN_OK && (n != 1 || !(*list)[0][0]))
        return fail(err, QUERN_EINVAL, "enqueue: --source names the one source of the keys");
    e->source = rc == QUERN_OK ? (*list)[0] : NULL;
    return rc;
}

int cmd_enqueue(cli *c, quern_error *err)
{
    enqueuing e = {.reason = quern_config_text(c->config, "reason")};
    char **sources = NULL;
    int rc = one_source(c, &sources, &e, err);
    if (rc == QUERN_OK)
        rc = open_existing_store(c, &e.store, err);
    if (rc == QUERN_OK)
        rc = put_all(c, &e, err);
    if (rc == QUERN_OK && c->json) {
        put_object();
        put_key("source");
        put_text(e.source);
        put_key("keys");
        put_whole(e.keys);
        put_key("added");
        put_whole(e.added);
        put_end_object();
        put_line();
    } else if (rc == QUERN_OK && !c->quiet)
        out_printf("%llu keys of %s are due, %llu of them new\n", (unsigned long long)e.keys,
                   e.source, (unsigned long long)e.added);
    quern_store_free(e.store);
    free(sources);
    return rc;
}

/* ---- what status says of tasks ---- */

int write_tasks_json(quern_store *s, const char *source, quern_error *err)
{
    quern_task_stats st;
    QUERN_INIT(&st);
    int rc = quern_task_statistics(s, source, &st, err);
    if (rc != QUERN_OK)
        return rc;
    const struct {
        const char *key;
        uint64_t value;
    } fields[] = {{"ready", st.ready}, {"waiting", st.waiting}, {"leased", st.leased},
                  {"dead", st.dead},   {"rescued", st.rescued}, {"oldest_ms", st.oldest_ms}};
    put_key("tasks");
    put_object();
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        put_key(fields[i].key);
        put_whole(fields[i].value);
    }
    put_key("attempts"); /* [n]: tasks with n attempts, the last: or more */
    put_array();
    for (size_t i = 0; i < QUERN_TASK_HISTOGRAM; i++)
        put_whole(st.attempts[i]);
    put_end_array();
    put_end_object();
    return QUERN_OK;
}

int write_tasks_text(quern_store *s, const char *source, quern_error *err)
{
    quern_task_stats st;
    char age[16];
    QUERN_INIT(&st);
    int rc = quern_task_statistics(s, source, &st, err);
    if (rc != QUERN_OK || st.ready + st.waiting + st.leased + st.dead == 0)
        return rc;
    human_time((double)st.oldest_ms / 1000, age);
    out_printf(
        "%20s tasks: %llu ready, %llu waiting, %llu leased, %llu dead; the oldest is %s old\n", "",
        (unsigned long long)st.ready, (unsigned long long)st.waiting, (unsigned long long)st.leased,
        (unsigned long long)st.dead, age);
    int tried = 0;
    for (size_t i = 1; i < QUERN_TASK_HISTOGRAM; i++) {
        if (!st.attempts[i])
            continue;
        if (!tried++)
            out_printf("%20s attempts:", "");
        out_printf("%s %zu%s: %llu", tried > 1 ? "," : "", i,
                   i + 1 < QUERN_TASK_HISTOGRAM ? "" : " or more",
                   (unsigned long long)st.attempts[i]);
    }
    out_text(tried ? "\n" : "");
    return QUERN_OK;
}
