/*
 * cmd_status.c — how much is up to date. A model that is not at hand is no reason not to count: then
 * fingerprints are not compared, and a hint says so.
 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sums {
    uint64_t total, done, pending, stale, empty, failed, chunks, dropped_bytes;
} sums;

static void add(sums *s, const quern_status_row *r)
{
    s->total += r->total;
    s->done += r->done;
    s->pending += r->pending;
    s->stale += r->stale;
    s->empty += r->empty;
    s->failed += r->failed;
    s->chunks += r->chunks;
    s->dropped_bytes += r->dropped_bytes;
}

static double percent(const sums *s)
{
    return s->total ? 100.0 * (double)s->done / (double)s->total : 100.0;
}

static void counts_json(const sums *s, double share)
{
    const struct {
        const char *key;
        uint64_t value;
    } fields[] = {{"total", s->total},     {"done", s->done},
                  {"pending", s->pending}, {"stale", s->stale},
                  {"empty", s->empty},     {"failed", s->failed},
                  {"chunks", s->chunks},   {"dropped_bytes", s->dropped_bytes}};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        put_key(fields[i].key);
        put_whole(fields[i].value);
    }
    put_key("percent");
    put_real(share);
}

static void row_json(const quern_status_row *r)
{
    const struct {
        const char *key, *text;
    } texts[] = {{"source", r->source},           {"model", r->model},
                 {"fingerprint", r->fingerprint}, {"state", r->state},
                 {"vector_type", r->vector_type}, {"note", r->note}};
    sums s = {0};
    add(&s, r);
    put_object();
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put_key(texts[i].key);
        put_text(texts[i].text);
    }
    put_key("dimensions");
    put_whole(r->dimensions);
    put_key("last_24h");
    put_whole(r->recent);
    char when[32];
    if (r->oldest_stale_ms)
        utc_time(r->oldest_stale_ms, when);
    put_key("oldest_stale");
    put_text(r->oldest_stale_ms ? when : NULL);
    counts_json(&s, r->percent);
}

static void row_text(const quern_status_row *r)
{
    out_printf("%-20s %5.1f %%  %llu of %llu current", r->source, r->percent,
               (unsigned long long)r->done, (unsigned long long)r->total);
    const struct {
        uint64_t n;
        const char *what;
    } more[] = {
        {r->pending, "pending"}, {r->stale, "stale"}, {r->empty, "empty"}, {r->failed, "failed"}};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++)
        if (more[i].n)
            out_printf(", %llu %s", (unsigned long long)more[i].n, more[i].what);
    out_printf("\n%20s %s", "", r->model && *r->model ? r->model : "never filled");
    if (r->recent)
        out_printf(", %llu in the last 24 hours", (unsigned long long)r->recent);
    out_text("\n");
    if (r->oldest_stale_ms) {
        char when[32];
        utc_time(r->oldest_stale_ms, when);
        out_printf("%20s the oldest stale vectors are of %s\n", "", when);
    }
    if (r->note && *r->note)
        out_printf("%20s %s\n", "", r->note);
}

static int one_source(cli *c, quern_store *store, quern_embedder *e, const char *name, sums *all,
                      quern_error *err)
{
    quern_status_report *r = NULL;
    int rc = quern_status_open(&r, store, e, name, c->cancel, err);
    for (size_t i = 0; rc == QUERN_OK && i < quern_status_count(r); i++) {
        const quern_status_row *row = quern_status_at(r, i);
        add(all, row);
        (c->json ? row_json : row_text)(row);
        rc = (c->json ? write_tasks_json : write_tasks_text)(store, row->source, err);
        if (c->json)
            put_end_object();
    }
    quern_status_free(r);
    return rc;
}

int cmd_status(cli *c, quern_error *err)
{
    quern_store *store = NULL;
    quern_embedder *e = NULL;
    char **sources = NULL;
    size_t n = 0;
    sums all = {0};
    size_t limit = (size_t)quern_config_count(c->config, "limit");
    quern_error why;
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = list_sources(c, &sources, &n, err);
    if (rc == QUERN_OK)
        rc = open_store(c, 1, &store, err);
    const char *list = quern_config_text(c->config, "list");
    const char *after = quern_config_text(c->config, "after");
    if (strncmp(quern_config_origin(c->config, "after"), "--", 2) != 0)
        after = NULL; /* in the file and the environment it is the command of work */
    if (rc == QUERN_OK && (list || after)) {
        rc = list ? show_documents(c, store, list, after, (uint32_t)limit, err)
                  : fail(err, QUERN_EINVAL, "status: --after goes with --list");
        free(sources);
        quern_store_free(store);
        return rc;
    }
    if (rc == QUERN_OK && quern_config_flag(c->config, "runs")) {
        for (size_t i = 0; rc == QUERN_OK && i < (n ? n : 1); i++)
            rc = show_runs(c, store, sources[i], limit, err);
        free(sources);
        quern_store_free(store);
        return rc;
    }
    if (rc == QUERN_OK && (rc = open_embedder(c, &e, &why)) != QUERN_OK) {
        if (rc == QUERN_ENOTFOUND && !c->quiet)
            out_log(QUERN_LOG_WARN, "status", why.msg);
        else if (rc != QUERN_ENOTFOUND)
            *err = why;
        rc = rc == QUERN_ENOTFOUND ? QUERN_OK : rc;
    }
    if (rc == QUERN_OK && c->json) {
        put_object();
        put_key("sources");
        put_array();
    }
    for (size_t i = 0; rc == QUERN_OK && i < (n ? n : 1); i++)
        rc = one_source(c, store, e, sources[i], &all, err);
    if (rc == QUERN_OK && c->json) {
        put_end_array();
        counts_json(&all, percent(&all));
        put_end_object();
        put_line();
    }
    free(sources);
    quern_embedder_free(e);
    quern_store_free(store);
    return rc;
}
