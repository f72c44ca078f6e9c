/* cmd_runs.c — quern status --runs: what the last fills did; --usage: what the embedder was used for, day by day. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

/* What the tokens cost that were paid for, and what those would have that a cache had. */
typedef struct money {
    double cost, saved;
    int known;
} money;

/* What was counted at the time, or *price of 1,000 tokens where --price asks for that (else 0). */
static money count(const double *price, uint64_t tokens, uint64_t cached_tokens, uint64_t cost_nano,
                   uint64_t saved_nano)
{
    if (*price <= 0)
        return (money){(double)cost_nano * 1e-9, (double)saved_nano * 1e-9,
                       cost_nano || saved_nano};
    return (money){(double)(tokens - cached_tokens) / 1000 * *price,
                   (double)cached_tokens / 1000 * *price, 1};
}

static void cost_json(money m)
{
    if (!m.known)
        return;
    put_key("cost");
    put_real(m.cost);
    put_key("saved");
    put_real(m.saved);
}

static void cost_text(money m, uint64_t cached_tokens)
{
    if (cached_tokens)
        out_printf(", %llu of them from the cache", (unsigned long long)cached_tokens);
    if (m.known)
        out_printf(", $%.4f", m.cost);
    if (m.known && cached_tokens)
        out_printf(", $%.4f saved", m.saved);
}

static double price_asked_for(const cli *c)
{
    double price = quern_config_real(c->config, "price");
    return strncmp(quern_config_origin(c->config, "price"), "--", 2) == 0 ? price : 0;
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
    cost_json(count(ud, r->tokens, r->cached_tokens, r->cost_nano, r->saved_nano));
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
    cost_text(count(ud, r->tokens, r->cached_tokens, r->cost_nano, r->saved_nano),
              r->cached_tokens);
    out_printf("%s%s\n", r->error[0] ? "; " : "", r->error);
    return 0;
}

int show_runs(cli *c, quern_store *store, const char *source, size_t limit, quern_error *err)
{
    double price = price_asked_for(c);
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
    cost_json(count(ud, u->tokens, u->cached_tokens, u->cost_nano, u->saved_nano));
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
    cost_text(count(ud, u->tokens, u->cached_tokens, u->cost_nano, u->saved_nano),
              u->cached_tokens);
    out_text("\n");
    return 0;
}

int show_usage(cli *c, quern_store *store, const char *source, size_t days, quern_error *err)
{
    double price = price_asked_for(c);
    return quern_usage_each(store, source, days ? days : 30, c->json ? usage_json : usage_text,
                            &price, err);
}
