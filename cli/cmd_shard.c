/*
 * cmd_shard.c — vectors on several PostgreSQL servers: what would be done, doing it, and how the servers are. A plan is
 * SQL that can be read and kept; passwords never show in it.
 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SHARDS = 64 };

typedef struct telling {
    const cli *c;
    const char *place; /* of the step before */
    size_t steps;
} telling;

static int tell_step(const quern_shard_step *step, void *ud)
{
    telling *t = ud;
    if (t->c->json) {
        put_object();
        put_key("place");
        put_text(step->place);
        put_key("sql");
        put_text(step->sql);
        put_end_object();
    } else if (!t->c->quiet) {
        if (!t->place || strcmp(t->place, step->place) != 0)
            out_printf("%s-- on %s\n", t->steps ? "\n" : "", step->place);
        out_printf("%s;\n", step->sql);
    }
    t->place = step->place; /* lives as long as the call */
    t->steps++;
    return QUERN_OK;
}

/* SQLite would make an empty file first, and then say no. */
static int open_postgres(const cli *c, quern_store **out, quern_error *err)
{
    const char *db = quern_config_text(c->config, "db");
    const char *store = quern_config_text(c->config, "store");
    if (strncmp(store ? store : db, "postgres", 8) != 0)
        return fail(err, QUERN_EUNSUPPORTED,
                    "shards are PostgreSQL's: --db (or --store) has to be a postgres:// URL");
    return open_store(c, 0, out, err);
}

/* --shards, split at its commas; the text is free(*urls)'s. */
static int list_urls(const cli *c, const char ***urls, size_t *n, quern_error *err)
{
    const char *joined = quern_config_text(c->config, "shards");
    if (!joined || !*joined)
        return fail(err, QUERN_EINVAL,
                    "%s: --shards postgres://…,postgres://… names the servers that vectors lie on",
                    c->command->name);
    size_t bytes = MOST_SHARDS * sizeof **urls;
    *urls = calloc(1, bytes + strlen(joined) + 1);
    if (!*urls)
        return no_memory(err);
    char *text = (char *)*urls + bytes;
    memcpy(text, joined, strlen(joined) + 1);
    for (char *at = text; *(at += strspn(at, ", \n"));) {
        if (*n == MOST_SHARDS)
            return fail(err, QUERN_EINVAL, "%s: more than %d shards", c->command->name,
                        (int)MOST_SHARDS);
        (*urls)[(*n)++] = at;
        at += strcspn(at, ", \n");
        if (*at)
            *at++ = '\0';
    }
    return QUERN_OK;
}

static int run(cli *c, int dry, quern_error *err)
{
    quern_store *store = NULL;
    const char **urls = NULL;
    quern_shard_options opt;
    telling t = {.c = c};
    QUERN_INIT(&opt);
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = list_urls(c, &urls, &opt.n, err);
    opt.urls = urls;
    if (rc == QUERN_OK)
        rc = open_postgres(c, &store, err);
    if (rc == QUERN_OK && c->json) {
        put_object();
        put_key("steps");
        put_array();
    }
    if (rc == QUERN_OK)
        rc = (dry ? quern_shard_plan : quern_shard_apply)(store, &opt, tell_step, &t, err);
    if (rc == QUERN_OK && c->json) {
        put_end_array();
        put_key("applied");
        put_bool(!dry);
        put_end_object();
        put_line();
    } else if (rc == QUERN_OK && !c->quiet && t.steps == 0)
        out_printf("nothing to do: the shards are as they were named\n");
    quern_store_free(store);
    free(urls);
    return rc;
}

int cmd_shard_plan(cli *c, quern_error *err)
{
    return run(c, 1, err);
}

int cmd_shard_apply(cli *c, quern_error *err)
{
    return run(c, 0, err);
}

/* ---- status ---- */

typedef struct seeing {
    const cli *c;
    size_t n, lost;
} seeing;

static void write_shard(const quern_shard *s)
{
    put_object();
    put_key("shard");
    put_whole((uint64_t)s->id);
    put_key("place");
    put_text(s->place);
    put_key("used");
    put_bool(s->used);
    put_key("reachable");
    put_bool(s->reachable);
    put_key("why");
    put_text(s->why);
    put_key("vectors");
    put_whole(s->vectors);
    put_key("bytes");
    put_whole(s->bytes);
    put_key("answer_ms");
    put_real(s->answer_ms);
    put_end_object();
}

static int see(const quern_shard *s, void *ud)
{
    seeing *all = ud;
    char size[16];
    all->n++;
    all->lost += s->why[0] != '\0';
    human_bytes(s->bytes, size);
    if (all->c->json)
        write_shard(s);
    else if (!s->why[0])
        out_printf("shard %-3lld %-40s %10llu vectors  %9s  answers in %.1f ms%s\n",
                   (long long)s->id, s->place, (unsigned long long)s->vectors, size, s->answer_ms,
                   s->used ? "" : "  (not used by new generations)");
    else
        out_printf("shard %-3lld %-40s %s%s\n", (long long)s->id, s->place,
                   s->reachable ? "" : "does not answer: ", s->why);
    return QUERN_OK;
}

int cmd_shard_status(cli *c, quern_error *err)
{
    quern_store *store = NULL;
    seeing all = {.c = c};
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = open_postgres(c, &store, err);
    if (rc == QUERN_OK && c->json) {
        put_object();
        put_key("shards");
        put_array();
    }
    if (rc == QUERN_OK)
        rc = quern_shard_status(store, see, &all, err);
    if (rc == QUERN_OK && c->json) {
        put_end_array();
        put_end_object();
        put_line();
    } else if (rc == QUERN_OK && all.n == 0)
        out_printf("no shards: vectors lie in the store's own database\n");
    if (rc == QUERN_OK && all.lost)
        rc = fail(err, QUERN_EIO, "%zu of %zu shards cannot be used", all.lost, all.n);
    quern_store_free(store);
    return rc;
}
