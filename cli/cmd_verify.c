/*
 * cmd_verify.c — embeds a sample again and compares with what is stored. What is wrong is data, on
 * standard output; that something is, is the exit code.
 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_json(const quern_verify_report *r, int ok)
{
    const struct {
        const char *key;
        uint64_t value;
    } fields[] = {{"checked", r->checked},     {"equal", r->equal},
                  {"different", r->different}, {"stale", r->stale},
                  {"orphans", r->orphans},     {"missing_vectors", r->missing_vectors},
                  {"no_text", r->no_text}};
    put_object();
    put_key("ok");
    put_bool(ok);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        put_key(fields[i].key);
        put_whole(fields[i].value);
    }
    put_key("first_difference");
    put_text(r->first_difference[0] ? r->first_difference : NULL);
    put_end_object();
    put_line();
}

static void write_text(const quern_verify_report *r)
{
    out_printf("%llu documents checked: %llu equal, %llu different, %llu stale, %llu orphans, "
               "%llu without their vectors\n",
               (unsigned long long)r->checked, (unsigned long long)r->equal,
               (unsigned long long)r->different, (unsigned long long)r->stale,
               (unsigned long long)r->orphans, (unsigned long long)r->missing_vectors);
    if (r->no_text)
        out_printf("%llu could not be checked: their text is not kept (add --keep-text no)\n",
                   (unsigned long long)r->no_text);
    if (r->first_difference[0])
        out_printf("first: %s\n", r->first_difference);
}

static void sum(quern_verify_report *all, const quern_verify_report *one)
{
    all->checked += one->checked;
    all->equal += one->equal;
    all->different += one->different;
    all->stale += one->stale;
    all->orphans += one->orphans;
    all->missing_vectors += one->missing_vectors;
    all->no_text += one->no_text;
    if (!all->first_difference[0])
        memcpy(all->first_difference, one->first_difference, sizeof all->first_difference);
}

int cmd_verify(cli *c, quern_error *err)
{
    quern_verify_options opt;
    quern_verify_report all;
    quern_store *store = NULL;
    quern_embedder *e = NULL;
    char **sources = NULL;
    size_t n = 0;
    int differs = 0;
    QUERN_INIT(&opt);
    QUERN_INIT(&all);
    opt.sample = quern_config_count(c->config, "sample");
    if (quern_config_flag(c->config, "all"))
        opt.sample = UINT64_MAX;
    opt.seed = quern_config_count(c->config, "seed");
    opt.cancel = c->cancel;
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = documents_only(c, err);
    if (rc == QUERN_OK)
        rc = list_sources(c, &sources, &n, err);
    if (rc == QUERN_OK)
        rc = open_store(c, 1, &store, err);
    if (rc == QUERN_OK)
        rc = open_embedder(c, store, &e, err);
    for (size_t i = 0; rc == QUERN_OK && i < (n ? n : 1); i++) {
        quern_verify_report one;
        QUERN_INIT(&one);
        opt.source = sources[i];
        rc = quern_verify(store, e, &opt, &one, err);
        sum(&all, &one);
        differs |= rc == QUERN_EMISMATCH;
        rc = rc == QUERN_EMISMATCH && one.checked ? QUERN_OK : rc;
    }
    if (rc == QUERN_OK && c->json)
        write_json(&all, !differs);
    else if (rc == QUERN_OK && (!c->quiet || differs))
        write_text(&all);
    if (rc == QUERN_OK && differs)
        rc = QUERN_EMISMATCH; /* err is the first one's */
    free(sources);
    quern_embedder_free(e);
    quern_store_free(store);
    return rc;
}
