/* cmd_runs.c — quern status --runs: what the last fills did. */
#include "cli.h"

#include <stdio.h>

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
                  {"tokens", r->tokens}};
    char began[32], ended[32];
    (void)ud;
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
    put_key("error");
    put_text(r->error[0] ? r->error : NULL);
    put_end_object();
    put_line();
    return 0;
}

static int run_text(const quern_run *r, void *ud)
{
    char began[32], took[16];
    (void)ud;
    utc_time(r->started_ms, began);
    human_time((double)(r->ended_ms - r->started_ms) / 1000, took);
    out_printf(
        "%s  %-20s %8s  %s: %llu embedded, %llu failed, %llu changed meanwhile, %llu gone%s%s\n",
        began, r->source, took, quern_status_name(r->status), (unsigned long long)r->processed,
        (unsigned long long)r->failed, (unsigned long long)r->stale, (unsigned long long)r->deleted,
        r->error[0] ? "; " : "", r->error);
    return 0;
}

int show_runs(cli *c, quern_store *store, const char *source, size_t limit, quern_error *err)
{
    return quern_runs_each(store, source, limit ? limit : 10, c->json ? run_json : run_text, NULL,
                           err);
}
