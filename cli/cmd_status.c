/*
 * cmd_status.c — how much is up to date. A model that is not at hand is no reason not to count: then
 * fingerprints are not compared, and a hint says so.
 */
#include "cli.h"
#include "os_term.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOTE_BYTES = 256 };

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

/* A row without a note was filled with the model in force. */
static const char *note_of(const cli *c, const quern_status_row *r, char room[NOTE_BYTES])
{
    if ((r->note && *r->note) || !c->int8_waits || !r->model || !*r->model)
        return r->note;
    snprintf(room, NOTE_BYTES,
             "int8 weights of this model have passed their gate since; `quern generation build "
             "--source %s` makes vectors of that class",
             r->source);
    return room;
}

static void row_json(const cli *c, const quern_status_row *r)
{
    char room[NOTE_BYTES];
    const struct {
        const char *key, *text;
    } texts[] = {{"source", r->source},           {"model", r->model},
                 {"fingerprint", r->fingerprint}, {"state", r->state},
                 {"vector_type", r->vector_type}, {"note", note_of(c, r, room)}};
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
    if (r->kept_bytes) {
        put_key("kept_bytes");
        put_whole(r->kept_bytes);
    }
    if (r->no_text) {
        put_key("no_text");
        put_whole(r->no_text);
    }
    put_key("watermark");
    if (*r->watermark)
        put_raw(r->watermark, strlen(r->watermark));
    else
        put_text(NULL);
    char when[32];
    if (r->oldest_stale_ms)
        utc_time(r->oldest_stale_ms, when);
    put_key("oldest_stale");
    put_text(r->oldest_stale_ms ? when : NULL);
    counts_json(&s, r->percent);
}

static void row_text(const cli *c, const quern_status_row *r)
{
    char room[NOTE_BYTES];
    const char *note = note_of(c, r, room);
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
    if (r->kept_bytes) {
        char size[16];
        human_bytes(r->kept_bytes, size);
        out_printf("%20s %s of texts kept\n", "", size);
    }
    if (r->no_text)
        out_printf("%20s %llu without their text, which is not kept\n", "",
                   (unsigned long long)r->no_text);
    if (*r->watermark)
        out_printf("%20s a fill was cut off; the next one begins behind key %.60s\n", "",
                   r->watermark);
    if (note && *note)
        out_printf("%20s %s\n", "", note);
}

/* ---- the counts ---- */

static int write_rows(cli *c, quern_store *store, const quern_status_report *r, sums *all,
                      quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t i = 0; rc == QUERN_OK && i < quern_status_count(r); i++) {
        const quern_status_row *row = quern_status_at(r, i);
        add(all, row);
        (c->json ? row_json : row_text)(c, row);
        rc = (c->json ? write_tasks_json : write_tasks_text)(store, row->source, err);
        if (c->json)
            put_end_object();
    }
    return rc;
}

/* Nothing is written before everything is counted: a line that is begun is ended, even by Ctrl-C. */
static int show_counts(cli *c, quern_store *store, quern_embedder *e, char *const *sources,
                       size_t n, const char *before, quern_error *err)
{
    sums all = {0};
    int rc = QUERN_OK;
    size_t m = n ? n : 1;
    quern_status_report **reports = calloc(m, sizeof(quern_status_report *));
    if (!reports)
        return no_memory(err);
    for (size_t i = 0; rc == QUERN_OK && i < m; i++)
        rc = quern_status_open(&reports[i], store, e, sources ? sources[i] : NULL, c->cancel, err);
    if (rc == QUERN_OK)
        out_text(before);
    if (rc == QUERN_OK && c->json) {
        put_object();
        put_key("sources");
        put_array();
    }
    for (size_t i = 0; rc == QUERN_OK && i < m; i++)
        rc = write_rows(c, store, reports[i], &all, err);
    if (rc == QUERN_OK && c->json) {
        put_end_array();
        counts_json(&all, percent(&all));
        put_end_object();
        put_line();
    }
    for (size_t i = 0; i < m; i++)
        quern_status_free(reports[i]);
    free(reports);
    return rc;
}

/* Again and again until Ctrl-C; on a terminal each over the one before. */
static int watch(cli *c, quern_store *store, quern_embedder *e, char *const *sources, size_t n,
                 quern_error *err)
{
    int drawn = !c->json && term_is_terminal(TERM_OUT), rc = QUERN_OK;
    while (rc == QUERN_OK && !out_broken()) {
        uint64_t began = term_now_ns();
        rc = show_counts(c, store, e, sources, n, drawn ? "\033[H\033[J" : "", err);
        if (!c->json && !drawn)
            out_text("\n");
        out_flush();
        while (rc == QUERN_OK && !out_broken() && term_now_ns() - began < 1000000000u) {
            if (quern_cancel_raised(c->cancel))
                rc = fail(err, QUERN_ECANCELLED, "stopped");
            else
                term_sleep_ms(50);
        }
    }
    return rc;
}

/* A model that is not at hand, or not in the class of the vectors, leaves *e NULL. */
static int embedder_if_there(cli *c, quern_store *store, quern_embedder **e, quern_error *err)
{
    quern_error why;
    int rc = open_embedder(c, store, e, &why);
    const char *code = rc == QUERN_OK ? "" : quern_error_code(&why);
    int can_do_without = rc == QUERN_ENOTFOUND || strcmp(code, "index_stale") == 0 ||
                         strcmp(code, "precision_mixed") == 0 ||
                         strcmp(code, "embedding_disabled") == 0;
    const char *unread;
    while (strcmp(code, "embedding_disabled") == 0 && (unread = quern_config_unread(c->config)))
        quern_config_text(c->config, unread); /* flags of a model mean nothing without one */
    if (can_do_without && !c->quiet)
        out_log(QUERN_LOG_WARN, "status", why.msg);
    else if (rc != QUERN_OK && !can_do_without)
        *err = why;
    return can_do_without ? QUERN_OK : rc;
}

/* What is shown in place of the counts; 1: the counts are wanted. */
static int show_others(cli *c, quern_store *store, char *const *sources, size_t n, quern_error *err)
{
    size_t limit = (size_t)quern_config_count(c->config, "limit");
    const char *list = quern_config_text(c->config, "list");
    const char *after = quern_config_text(c->config, "after");
    int runs = quern_config_flag(c->config, "runs"), usage = quern_config_flag(c->config, "usage");
    if (strncmp(quern_config_origin(c->config, "after"), "--", 2) != 0)
        after = NULL; /* in the file and the environment it is the command of work */
    if ((list != NULL) + runs + usage + quern_config_flag(c->config, "watch") > 1)
        return fail(err, QUERN_EINVAL, "status: one of --list, --runs, --usage and --watch");
    if (after && !list)
        return fail(err, QUERN_EINVAL, "status: --after goes with --list");
    if (strncmp(quern_config_origin(c->config, "price"), "--", 2) == 0 && !runs && !usage)
        return fail(err, QUERN_EINVAL, "status: --price goes with --runs and --usage");
    if (strncmp(quern_config_origin(c->config, "key"), "--", 2) == 0 &&
        (!list || strcmp(list, "dead") == 0))
        return fail(err, QUERN_EINVAL, "status: --key goes with --list, but not of the dead");
    if (list && strcmp(list, "dead") == 0)
        return show_dead(c, store, sources, n, after, limit, err);
    if (list)
        return show_documents(c, store, list, after, (uint32_t)limit, err);
    if (!runs && !usage)
        return 1;
    int rc = QUERN_OK;
    for (size_t i = 0; rc == QUERN_OK && i < (n ? n : 1); i++)
        rc = (runs ? show_runs : show_usage)(c, store, sources[i], limit, err);
    return rc;
}

int cmd_status(cli *c, quern_error *err)
{
    quern_store *store = NULL;
    quern_embedder *e = NULL;
    char **sources = NULL;
    size_t n = 0;
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = list_sources(c, &sources, &n, err);
    if (rc == QUERN_OK)
        rc = open_store(c, 1, &store, err);
    if (rc == QUERN_OK)
        rc = show_others(c, store, sources, n, err);
    if (rc == 1) {
        int again = quern_config_flag(c->config, "watch");
        rc = embedder_if_there(c, store, &e, err);
        if (rc == QUERN_OK)
            rc = again ? watch(c, store, e, sources, n, err)
                       : show_counts(c, store, e, sources, n, "", err);
    }
    free(sources);
    quern_embedder_free(e);
    quern_store_free(store);
    return rc;
}
