/*
 * cmd_work.c — a worker: keeps vectors up to date until it is stopped, or with --once as long as there is something to do.
 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static progress bar;

static int on_progress(const quern_work_report *r, void *ud)
{
    const cli *c = ud;
    char detail[160];
    snprintf(detail, sizeof detail, "%llu tasks done, %llu documents embedded, %llu scans",
             (unsigned long long)r->done, (unsigned long long)r->processed,
             (unsigned long long)r->scans);
    progress_draw(&bar, "work", -1, detail);
    return quern_cancel_raised(c->cancel);
}

static void write_json(const quern_work_report *r)
{
    const struct {
        const char *key;
        uint64_t value;
    } fields[] = {
        {"claimed", r->claimed}, {"done", r->done},
        {"retried", r->retried}, {"released", r->released},
        {"dead", r->dead},       {"lost", r->lost},
        {"scans", r->scans},     {"processed", r->processed},
        {"deleted", r->deleted}, {"failed", r->failed},
        {"stale", r->stale},     {"scheduled", r->scheduled},
        {"syncs", r->syncs},     {"syncs_failed", r->syncs_failed},
    };
    put_object();
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        put_key(fields[i].key);
        put_whole(fields[i].value);
    }
    put_key("sync_status"); /* of the last command: its exit status, or minus a signal */
    if (r->syncs)
        put_real(r->sync_status);
    else
        put_text(NULL);
    put_key("last_error");
    put_text(r->last_error[0] ? r->last_error : NULL);
    put_end_object();
    put_line();
}

static void write_text(const quern_work_report *r)
{
    uint64_t again = r->retried + r->released;
    out_printf(
        "%llu tasks: %llu done, %llu to be tried again, %llu dead; %llu scans; embedded %llu "
        "documents",
        (unsigned long long)r->claimed, (unsigned long long)r->done, (unsigned long long)again,
        (unsigned long long)r->dead, (unsigned long long)r->scans,
        (unsigned long long)r->processed);
    if (r->deleted)
        out_printf(", dropped %llu that had gone", (unsigned long long)r->deleted);
    out_text("\n");
}

/* 0 is off, which the library says with -1. */
static int64_t pause_of(uint64_t ms)
{
    return ms ? (int64_t)ms : -1;
}

/* Longer than a hosted model may take with all its tries, and at least ten minutes. */
static uint32_t stall_of(const cli *c)
{
    uint64_t timeout = quern_config_is_set(c->config, "timeout")
                           ? quern_config_count(c->config, "timeout")
                           : 30000;
    uint64_t tries = quern_config_count(c->config, "attempts"), least = 600000;
    uint64_t ms = 2 * timeout * (tries ? tries : 1);
    return ms < least ? (uint32_t)least : ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

static void work_options(cli *c, quern_work_options *opt, quern_fill_options *fill)
{
    QUERN_INIT(opt);
    fill_options(c, fill);
    opt->claim = (uint32_t)quern_config_count(c->config, "claim");
    opt->lease_ms = (uint32_t)quern_config_count(c->config, "lease");
    opt->tick_ms = (uint32_t)quern_config_count(c->config, "tick");
    opt->max_attempts = (uint32_t)quern_config_count(c->config, "max-attempts");
    opt->interval_ms = pause_of(quern_config_count(c->config, "interval"));
    opt->backstop_ms = pause_of(quern_config_count(c->config, "backstop-interval"));
    opt->cron = quern_config_text(c->config, "cron");
    opt->window_ms = pause_of(quern_config_count(c->config, "window"));
    opt->max_per_run = pause_of(quern_config_count(c->config, "max-per-run"));
    opt->after = quern_config_text(c->config, "after");
    opt->stall_ms = stall_of(c);
    opt->once = quern_config_flag(c->config, "once");
    if (opt->once && !quern_config_is_set(c->config, "max-per-run"))
        opt->max_per_run = -1; /* who calls it from a scheduler of his own expects all */
    opt->limit = quern_config_count(c->config, "limit");
    opt->fill = fill;
    opt->progress = on_progress;
    opt->progress_ud = (void *)c;
    opt->cancel = c->cancel;
}

int cmd_work(cli *c, quern_error *err)
{
    quern_work_options opt;
    quern_fill_options fill;
    quern_work_report report;
    quern_store *store = NULL;
    quern_embedder *e = NULL;
    char **sources = NULL;
    size_t n = 0;
    QUERN_INIT(&report);
    int64_t next = 0;
    work_options(c, &opt, &fill);
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = documents_only(c, err);
    if (rc == QUERN_OK && opt.cron && quern_config_is_set(c->config, "interval"))
        rc = fail(err, QUERN_EINVAL, "work: --cron and --interval exclude each other (%s, %s)",
                  quern_config_origin(c->config, "cron"),
                  quern_config_origin(c->config, "interval"));
    if (rc == QUERN_OK && opt.cron)
        rc = quern_cron_next(opt.cron, 0, &next, err);
    if (rc == QUERN_OK)
        rc = list_sources(c, &sources, &n, err);
    if (rc == QUERN_OK)
        rc = open_existing_store(c, &store, err);
    if (rc == QUERN_OK)
        rc = open_embedder(c, store, &e, err);
    if (rc == QUERN_OK) {
        opt.sources = n ? (const char *const *)sources : NULL;
        opt.n_sources = n;
        progress_begin(&bar, c);
        rc = quern_work(store, e, &opt, &report, err);
        progress_end(&bar);
        if (c->json)
            write_json(&report);
        else if (!c->quiet)
            write_text(&report);
    }
    free(sources);
    quern_embedder_free(e);
    quern_store_free(store);
    return rc;
}
