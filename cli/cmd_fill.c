/*
 * cmd_fill.c — brings vectors up to date. Several sources are filled one after the other; documents that
 * fail in one do not keep the next from its turn.
 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static progress bar;

static int on_progress(const quern_fill_progress *p, void *ud)
{
    const cli *c = ud;
    char eta[16], what[100], detail[160];
    human_time(p->eta_seconds, eta);
    snprintf(what, sizeof what, "%.80s", p->source ? p->source : "");
    int n = snprintf(detail, sizeof detail, "%llu of %llu, %.0f/s, %s left",
                     (unsigned long long)p->done, (unsigned long long)p->total, p->rate, eta);
    if (p->failed && n > 0 && (size_t)n < sizeof detail)
        snprintf(detail + n, sizeof detail - (size_t)n, ", %llu failed",
                 (unsigned long long)p->failed);
    progress_draw(&bar, what, p->total ? (double)p->done / (double)p->total : -1, detail);
    return quern_cancel_raised(c->cancel);
}

static double percent(const quern_fill_report *r)
{
    return r->total ? 100.0 * (double)r->done / (double)r->total : 100.0;
}

static double price_of(uint64_t tokens, double price)
{
    return (double)tokens / 1000 * price;
}

/* price: of 1,000 tokens, 0 when none is known. */
static void write_json(const quern_fill_report *r, double price)
{
    const struct {
        const char *key;
        uint64_t value;
    } fields[] = {
        {"total", r->total},
        {"done", r->done},
        {"pending", r->pending},
        {"stale", r->stale},
        {"empty", r->empty},
        {"failed", r->failed},
        {"processed", r->processed},
        {"skipped", r->skipped},
        {"deleted", r->deleted},
        {"chunks", r->chunks},
        {"tokens", r->tokens},
        {"truncated", r->truncated},
        {"bytes", r->bytes},
        {"calls", r->calls},
        {"dropped_bytes", r->dropped_bytes},
        {"index_bytes", r->index_bytes},
        {"cached", r->cached},
        {"cached_tokens", r->cached_tokens},
        {"assets", r->assets},
        {"assets_cut", r->assets_cut},
        {"assets_skipped", r->assets_skipped},
    };
    put_object();
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        put_key(fields[i].key);
        put_whole(fields[i].value);
    }
    put_key("percent");
    put_real(percent(r));
    put_key("seconds");
    put_real(r->seconds);
    put_key("encode_seconds");
    put_real(r->encode_seconds);
    put_key("index_seconds");
    put_real(r->index_seconds);
    put_key("average_ms"); /* of a document */
    put_real(r->processed ? 1000.0 * r->seconds / (double)r->processed : 0);
    if (price > 0) {
        put_key("cost");
        put_real(price_of(r->tokens - r->cached_tokens, price));
        put_key("saved"); /* by the cache */
        put_real(price_of(r->cached_tokens, price));
    }
    put_key("dry_run");
    put_bool(r->dry_run);
    put_key("ended");
    put_bool(r->ended);
    put_key("last_error");
    put_text(r->last_error[0] ? r->last_error : NULL);
    put_end_object();
    put_line();
}

static void write_text(const quern_fill_report *r, double price)
{
    char size[16], took[16];
    human_bytes(r->bytes, size);
    human_time(r->seconds, took);
    if (r->dry_run) {
        out_printf(
            "would embed %llu documents: %llu chunks, %llu tokens, %llu calls, %s of vectors%s, "
            "about %s",
            (unsigned long long)r->processed, (unsigned long long)r->chunks,
            (unsigned long long)r->tokens, (unsigned long long)r->calls, size,
            r->index_bytes ? " and as much again of an index" : "", took);
        if (price > 0)
            out_printf(", $%.4f", price_of(r->tokens, price));
        out_text("\n");
        return;
    }
    out_printf("%llu of %llu documents are current (%.1f %%): embedded %llu in %s",
               (unsigned long long)r->done, (unsigned long long)r->total, percent(r),
               (unsigned long long)r->processed, took);
    if (r->processed)
        out_printf(", %.3f s each", r->seconds / (double)r->processed);
    const struct {
        uint64_t n;
        const char *what;
    } more[] = {{r->skipped, "as they were"},
                {r->deleted, "dropped that had gone"},
                {r->stale, "changed meanwhile"},
                {r->empty, "empty"},
                {r->truncated, "with more chunks than --max-chunks"},
                {r->dropped_bytes, "bytes of them left out"},
                {r->assets, "assets"},
                {r->assets_cut, "assets more than --max-assets"},
                {r->assets_skipped, "assets without a URL"},
                {r->failed, "failed"}};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++)
        if (more[i].n)
            out_printf(", %llu %s", (unsigned long long)more[i].n, more[i].what);
    if (r->cached)
        out_printf("; %llu of %llu chunks from the cache", (unsigned long long)r->cached,
                   (unsigned long long)r->chunks);
    if (price > 0) {
        out_printf("; $%.4f", price_of(r->tokens - r->cached_tokens, price));
        if (r->cached_tokens)
            out_printf(", $%.4f saved by the cache", price_of(r->cached_tokens, price));
    }
    out_text(r->ended ? "; a generation was retired meanwhile\n" : "\n");
}

static void sum(quern_fill_report *all, const quern_fill_report *one)
{
    all->total += one->total;
    all->done += one->done;
    all->pending += one->pending;
    all->empty += one->empty;
    all->failed += one->failed;
    all->processed += one->processed;
    all->skipped += one->skipped;
    all->stale += one->stale;
    all->deleted += one->deleted;
    all->chunks += one->chunks;
    all->tokens += one->tokens;
    all->truncated += one->truncated;
    all->dropped_bytes += one->dropped_bytes;
    all->index_bytes += one->index_bytes;
    all->bytes += one->bytes;
    all->calls += one->calls;
    all->cached += one->cached;
    all->assets += one->assets;
    all->assets_cut += one->assets_cut;
    all->assets_skipped += one->assets_skipped;
    all->cached_tokens += one->cached_tokens;
    all->index_seconds += one->index_seconds;
    all->seconds += one->seconds;
    all->encode_seconds += one->encode_seconds;
    all->dry_run |= one->dry_run;
    all->ended |= one->ended;
    if (one->last_error[0])
        memcpy(all->last_error, one->last_error, sizeof all->last_error);
}

void fill_options(cli *c, quern_fill_options *opt)
{
    QUERN_INIT(opt);
    opt->limit = quern_config_count(c->config, "limit");
    opt->since = quern_config_text(c->config, "since");
    opt->dry_run = quern_config_flag(c->config, "dry-run");
    opt->force = quern_config_flag(c->config, "force");
    opt->full = quern_config_flag(c->config, "full");
    opt->allow_empty = quern_config_flag(c->config, "allow-empty");
    const char *batching = quern_config_text(c->config, "batching");
    opt->batching = strcmp(batching, "fixed") == 0      ? QUERN_BATCHING_FIXED
                    : strcmp(batching, "adaptive") == 0 ? QUERN_BATCHING_ADAPTIVE
                                                        : QUERN_BATCHING_DYNAMIC;
    opt->batch = (uint32_t)quern_config_count(c->config, "batch");
    opt->max_chunks = (uint32_t)quern_config_count(c->config, "max-chunks");
    if (quern_config_is_set(c->config,
                            "overlap")) /* else less than the default where windows are short */
        opt->overlap = (uint32_t)quern_config_count(c->config, "overlap");
    opt->headings = quern_config_flag(c->config, "headings");
    opt->vector_type = quern_config_text(c->config, "vector-type");
    opt->index = quern_config_text(c->config, "index");
    opt->max_document_bytes = quern_config_count(c->config, "max-document");
    quern_error unused; /* who opens an embedder is told */
    if (quern_option_applies(quern_option_find("price"), c->command->name) &&
        find_price(c, &opt->price, &unused) != QUERN_OK)
        opt->price = 0;
    opt->progress = on_progress;
    opt->progress_ud = c;
    opt->cancel = c->cancel;
    opt->wait_ms = (uint32_t)quern_config_count(c->config, "wait");
}

void fill_bar_begin(const cli *c)
{
    progress_begin(&bar, c);
}

void fill_bar_end(void)
{
    progress_end(&bar);
}

/* All of the sources; EPARTIAL of one is kept while the others go on. */
static int fill_each(quern_store *s, quern_embedder *e, quern_fill_options *opt, char **sources,
                     size_t n, quern_fill_report *all, quern_error *err)
{
    int partial = 0;
    uint64_t limit = opt->limit;
    for (size_t i = 0; i < (n ? n : 1); i++) {
        quern_fill_report one;
        quern_error why;
        QUERN_INIT(&one);
        if (limit && all->processed >= limit)
            break;
        opt->limit = limit ? limit - all->processed : 0;
        opt->source = sources[i];
        int rc = quern_fill(s, e, opt, &one, &why);
        sum(all, &one);
        if (rc != QUERN_OK)
            *err = why;
        if (rc != QUERN_OK && rc != QUERN_EPARTIAL)
            return rc;
        partial |= rc == QUERN_EPARTIAL;
    }
    return partial ? QUERN_EPARTIAL : QUERN_OK;
}

int cmd_fill(cli *c, quern_error *err)
{
    quern_fill_options opt;
    quern_fill_report report;
    quern_store *store = NULL;
    quern_embedder *e = NULL;
    char **sources = NULL;
    size_t n = 0;
    QUERN_INIT(&report);
    fill_options(c, &opt);
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = documents_only(c, err);
    if (rc == QUERN_OK)
        rc = list_sources(c, &sources, &n, err);
    if (rc == QUERN_OK)
        rc = opt.dry_run ? open_store(c, 1, &store, err) : open_existing_store(c, &store, err);
    if (rc == QUERN_OK)
        rc = open_embedder(c, store, &e, err);
    if (rc == QUERN_OK) {
        progress_begin(&bar, c);
        rc = fill_each(store, e, &opt, sources, n, &report, err);
        progress_end(&bar);
        if (report.dry_run)
            limits_say(c, report.chunks, report.tokens, &report.calls, &report.seconds);
        int finished = rc == QUERN_OK || rc == QUERN_EPARTIAL;
        if (finished && c->json)
            write_json(&report, opt.price);
        else if (finished && !c->quiet)
            write_text(&report, opt.price);
    }
    free(sources);
    quern_embedder_free(e);
    quern_store_free(store);
    return rc;
}
