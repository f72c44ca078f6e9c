/* cmd_runs.c — quern status --runs: what the last fills did; --usage: what the embedder was used for, day by day. */
#include "cli.h"

#include <stdio.h>

/* What the tokens cost that were paid for, and what those would have that a cache had. ud is the price of 1,000, 0: none is
 * known. */
static void cost_json(uint64_t tokens, uint64_t cached_tokens, const void *ud)
{
    double price = *(const double *)ud;
    if (price <= 0)
        return;
    put_key("cost");
    put_real((double)(tokens - cached_tokens) / 1000 * price);
    put_key("saved");
    put_real((double)cached_tokens / 1000 * price);
}

static void cost_text(uint64_t tokens, uint64_t cached_tokens, const void *ud)
{
    double price = *(const double *)ud;
    if (cached_tokens)
        out_printf(", %llu of them from the cache", (unsigned long long)cached_tokens);
    if (price > 0)
        out_printf(", $%.4f", (double)(tokens - cached_tokens) / 1000 * price);
    if (price > 0 && cached_tokens)
        out_printf(", $%.4f saved", (double)cached_tokens / 1000 * price);
}

static int run_json(const quern_run *r, void *ud)
{
    const struct {
        const char *key;
        uint64_t value;
    } fields[] = {{"generation", (uint64_t)r->generation},
                  {"processed", r->processed},
                  {"failed", r->failed},
                  {"stale", r->stale},
                  {"deleted", r->deleted},
                  {"chunks", r->chunks},
                  {"calls", r->calls},
                  {"tokens", r->tokens},
                  {"cached", r->cached},
                  {"cached_tokens", r->cached_tokens}};
    char began[32], ended[32];
    utc_time(r->started_ms, began);
    utc_time(r->ended_ms, ended);
    put_object();
    put_key("source");
    put_text(r->source);
    put_key("started");
    put_text(began);
    put_key("ended");
    put_text(ended);
    put_key("status");
    put_text(quern_status_name(r->status));
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        put_key(fields[i].key);
        put_whole(fields[i].value);
    }
    cost_json(r->tokens, r->cached_tokens, ud);
    put_key("error");
    put_text(r->error[0] ? r->error : NULL);
    put_end_object();
    put_line();
    return 0;
}

static int run_text(const quern_run *r, void *ud)
{
    char began[32], took[16];
    utc_time(r->started_ms, began);
    human_time((double)(r->ended_ms - r->started_ms) / 1000, took);
    out_printf("%s  %-20s %8s  %s: %llu embedded, %llu failed, %llu changed meanwhile, %llu gone; "
               "%llu calls, %llu tokens",
               began, r->source, took, quern_status_name(r->status),
               (unsigned long long)r->processed, (unsigned long long)r->failed,
               (unsigned long long)r->stale, (unsigned long long)r->deleted,
               (unsigned long long)r->calls, (unsigned long long)r->tokens);
    cost_text(r->tokens, r->cached_tokens, ud);
    out_printf("%s%s\n", r->error[0] ? "; " : "", r->error);
    return 0;
}

int show_runs(cli *c, quern_store *store, const char *source, size_t limit, quern_error *err)
{
    double price = quern_config_real(c->config, "price");
    return quern_runs_each(store, source, limit ? limit : 10, c->json ? run_json : run_text, &price,
                           err);
}

/* ---- usage ---- */

static int usage_json(const quern_usage *u, void *ud)
{
    const struct {
        const char *key;
        uint64_t value;
    } fields[] = {{"runs", u->runs},     {"processed", u->processed},
                  {"failed", u->failed}, {"chunks", u->chunks},
                  {"calls", u->calls},   {"tokens", u->tokens},
                  {"cached", u->cached}, {"cached_tokens", u->cached_tokens}};
    char day[32];
    utc_time(u->day_ms, day);
    day[10] = '\0';
    put_object();
    put_key("day");
    put_text(day);
    put_key("source");
    put_text(u->source);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        put_key(fields[i].key);
        put_whole(fields[i].value);
    }
    cost_json(u->tokens, u->cached_tokens, ud);
    put_end_object();
    put_line();
    return 0;
}

static int usage_text(const quern_usage *u, void *ud)
{
    char day[32];
    utc_time(u->day_ms, day);
    out_printf("%.10s  %-20s %llu runs: %llu embedded, %llu failed; %llu calls, %llu tokens", day,
               u->source, (unsigned long long)u->runs, (unsigned long long)u->processed,
               (unsigned long long)u->failed, (unsigned long long)u->calls,
               (unsigned long long)u->tokens);
    cost_text(u->tokens, u->cached_tokens, ud);
    out_text("\n");
    return 0;
}

int show_usage(cli *c, quern_store *store, const char *source, size_t days, quern_error *err)
{
    double price = quern_config_real(c->config, "price");
    return quern_usage_each(store, source, days ? days : 30, c->json ? usage_json : usage_text,
                            &price, err);
}
