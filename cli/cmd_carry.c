/*
 * cmd_carry.c — export and import: vectors with their provenance, as a folder of files.
 */
#include "cli.h"

#include <stdio.h>

static progress bar;

static int on_progress(uint64_t done, uint64_t total, void *ud)
{
    const cli *c = ud;
    char detail[64];
    snprintf(detail, sizeof detail, "%llu of %llu", (unsigned long long)done,
             (unsigned long long)total);
    progress_draw(&bar, c->command->name, total ? (double)done / (double)total : -1, detail);
    return quern_cancel_raised(c->cancel);
}

typedef struct figure {
    const char *key;
    uint64_t value;
} figure;

static void put_figures(const figure *f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        put_key(f[i].key);
        put_whole(f[i].value);
    }
}

/* ---- export ---- */

static void tell_export(const cli *c, const char *dir, const quern_export_report *r)
{
    const figure figures[] = {{"generation", (uint64_t)r->generation},
                              {"documents", r->documents},
                              {"vectors", r->vectors},
                              {"empty", r->empty},
                              {"stale", r->stale},
                              {"pending", r->pending},
                              {"failed", r->failed},
                              {"bytes", r->bytes}};
    char size[16];
    if (c->json) {
        put_object();
        put_figures(figures, sizeof figures / sizeof figures[0]);
        put_end_object();
        put_line();
        return;
    }
    if (c->quiet)
        return;
    human_bytes(r->bytes, size);
    out_printf("%s: %llu vectors of %llu documents, %llu blank documents, %s\n", dir,
               (unsigned long long)r->vectors, (unsigned long long)r->documents,
               (unsigned long long)r->empty, size);
    if (r->stale || r->pending || r->failed)
        out_printf("left out: %llu stale, %llu pending, %llu failed\n",
                   (unsigned long long)r->stale, (unsigned long long)r->pending,
                   (unsigned long long)r->failed);
}

int cmd_export(cli *c, quern_error *err)
{
    quern_export_options opt;
    quern_export_report report;
    quern_store *store = NULL;
    QUERN_INIT(&opt);
    QUERN_INIT(&report);
    opt.generation = (int64_t)quern_config_count(c->config, "generation");
    opt.force = quern_config_flag(c->config, "force");
    opt.progress = on_progress;
    opt.progress_ud = c;
    opt.cancel = c->cancel;
    int rc = args_need(c, 1, 1, err);
    if (rc == QUERN_OK)
        rc = one_source_name(c, &opt.source, err);
    if (rc == QUERN_OK)
        rc = open_store(c, 1, &store, err);
    if (rc == QUERN_OK) {
        progress_begin(&bar, c);
        rc = quern_export(store, c->args[0], &opt, &report, err);
        progress_end(&bar);
    }
    if (rc == QUERN_OK)
        tell_export(c, c->args[0], &report);
    quern_store_free(store);
    return rc;
}

/* ---- import ---- */

static void put_import(const quern_import_report *r, int dry_run)
{
    const figure figures[] = {
        {"documents", r->documents}, {"vectors", r->vectors}, {"empty", r->empty},
        {"imported", r->imported},   {"skipped", r->skipped}, {"changed", r->changed},
        {"missing", r->missing},     {"pending", r->pending}, {"sampled", r->sampled},
        {"equal", r->equal},         {"seed", r->seed}};
    put_object();
    put_key("source");
    put_text(r->source);
    put_key("generation");
    put_signed(r->generation);
    put_key("state");
    put_text(r->state);
    put_figures(figures, sizeof figures / sizeof figures[0]);
    put_key("dry_run");
    put_bool(dry_run);
    put_end_object();
    put_line();
}

static void tell_import(const cli *c, const quern_import_report *r, int dry_run, int scoped)
{
    if (c->json) {
        put_import(r, dry_run);
        return;
    }
    if (c->quiet)
        return;
    out_printf("source %s: %s %llu documents; %llu of %llu embedded again are equal, bit for bit "
               "(seed %llu)\n",
               r->source, dry_run ? "would take in" : "took in", (unsigned long long)r->imported,
               (unsigned long long)r->equal, (unsigned long long)r->sampled,
               (unsigned long long)r->seed);
    if (r->skipped || r->changed || r->missing)
        out_printf("passed over: %llu current already, %llu that have changed, %llu without a "
                   "row\n",
                   (unsigned long long)r->skipped, (unsigned long long)r->changed,
                   (unsigned long long)r->missing);
    if (r->pending && !dry_run)
        out_printf("%llu documents are pending; quern fill embeds them\n",
                   (unsigned long long)r->pending);
    if (!dry_run && r->state[0] == 'b' && scoped)
        out_printf(
            "generation %lld is building, for those rows only; quern generation build with the "
            "same --where completes it, and generation activate switches to it (quern fill "
            "would begin another)\n",
            (long long)r->generation);
    else if (!dry_run && r->state[0] == 'b')
        out_printf("generation %lld is building; quern fill completes it and switches to it, or "
                   "quern generation activate does\n",
                   (long long)r->generation);
}

static int import_options(cli *c, quern_import_options *opt, quern_error *err)
{
    const quern_config *f = c->config;
    QUERN_INIT(opt);
    opt->max_chunks = (uint32_t)quern_config_count(f, "max-chunks");
    if (quern_config_is_set(f, "overlap"))
        opt->overlap = (uint32_t)quern_config_count(f, "overlap");
    opt->vector_type = quern_config_text(f, "vector-type");
    opt->headings = quern_config_flag(f, "headings");
    opt->where = quern_config_text(f, "where");
    opt->index = quern_config_text(f, "index");
    if (quern_config_is_set(f, "sample"))
        opt->sample = quern_config_count(f, "sample");
    if (quern_config_flag(f, "all"))
        opt->sample = UINT64_MAX;
    if (quern_config_is_set(f, "seed"))
        opt->seed = quern_config_count(f, "seed");
    opt->dry_run = quern_config_flag(f, "dry-run");
    opt->wait_ms = (uint32_t)quern_config_count(f, "wait");
    opt->progress = on_progress;
    opt->progress_ud = c;
    opt->cancel = c->cancel;
    return quern_config_is_set(f, "source") ? one_source_name(c, &opt->source, err) : QUERN_OK;
}

int cmd_import(cli *c, quern_error *err)
{
    quern_import_options opt;
    quern_import_report report;
    quern_store *store = NULL;
    quern_embedder *e = NULL;
    QUERN_INIT(&report);
    int rc = args_need(c, 1, 1, err);
    if (rc == QUERN_OK)
        rc = import_options(c, &opt, err);
    if (rc == QUERN_OK)
        rc = open_existing_store(c, &store, err);
    if (rc == QUERN_OK)
        rc = open_embedder(c, store, &e, err);
    if (rc == QUERN_OK) {
        progress_begin(&bar, c);
        rc = quern_import(store, e, c->args[0], &opt, &report, err);
        progress_end(&bar);
    }
    if (rc == QUERN_OK)
        tell_import(c, &report, opt.dry_run, opt.where && opt.where[0]);
    quern_embedder_free(e);
    quern_store_free(store);
    return rc;
}
