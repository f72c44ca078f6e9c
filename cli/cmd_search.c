/*
 * cmd_search.c — documents by meaning. Words of the query that the shell has split are put together
 * again, so that quotation marks are a matter of taste. The flags and the results of a search are shared with
 * cmd_similar.c.
 */
#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *join_words(const cli *c)
{
    size_t bytes = 1;
    for (size_t i = 0; i < c->n_args; i++)
        bytes += strlen(c->args[i]) + 1;
    char *text = malloc(bytes);
    size_t at = 0;
    for (size_t i = 0; text && i < c->n_args; i++) {
        size_t n = strlen(c->args[i]);
        if (i)
            text[at++] = ' ';
        memcpy(text + at, c->args[i], n);
        at += n;
    }
    if (text)
        text[at] = '\0';
    return text;
}

/* What is known of the chunk's place and of its document; with --provenance, of its vector. */
static void write_details(const cli *c, const quern_hit *h)
{
    const struct {
        const char *key, *text;
    } texts[] = {{"heading", h->heading}, {"section", h->section}};
    const struct {
        const char *key, *json;
    } values[] = {{"properties", h->properties}, {"references", h->references}};
    if (h->page) {
        put_key("page");
        put_whole(h->page);
    }
    for (size_t i = 0; i < 2; i++)
        if (texts[i].text && *texts[i].text) {
            put_key(texts[i].key);
            put_text(texts[i].text);
        }
    if (*h->asset) {
        put_key("asset");
        put_raw(h->asset, strlen(h->asset));
    }
    for (size_t i = 0; i < 2; i++)
        if (values[i].json) {
            put_key(values[i].key);
            put_raw(values[i].json, strlen(values[i].json));
        }
    if (!quern_config_flag(c->config, "provenance"))
        return;
    put_key("created_at");
    put_text(h->created_at);
    put_key("updated_at");
    put_text(h->updated_at);
    put_key("model");
    put_text(h->model);
    put_key("fingerprint");
    put_text(h->fingerprint);
    put_key("dimensions");
    put_whole(h->dimensions);
}

static void write_place(const cli *c, const quern_hit *h)
{
    const char *section = *h->section ? h->section : h->heading;
    if (h->page)
        out_printf("    page %llu%s", (unsigned long long)h->page, *section ? ", " : "\n");
    if (*section)
        out_printf("%s%s\n", h->page ? "" : "    ", section);
    if (*h->asset)
        out_printf("    %s\n", h->asset);
    if (quern_config_flag(c->config, "provenance"))
        out_printf("    embedded %s by %s, fingerprint %.12s\n", h->updated_at, h->model,
                   h->fingerprint);
}

void write_results_json(const cli *c, const quern_results *r)
{
    put_key("model");
    put_text(quern_results_model(r));
    put_key("fingerprint");
    const char *fingerprint = quern_results_fingerprint(r);
    put_text(*fingerprint ? fingerprint : NULL); /* no model had a part in it */
    if (quern_config_flag(c->config, "explain")) {
        const char *explain = quern_results_explain(r);
        put_key("explain");
        put_raw(explain, strlen(explain));
    }
    if (quern_config_flag(c->config, "partial")) {
        put_key("partial");
        put_bool(quern_results_missed(r) > 0);
    }
    put_key("hits");
    put_array();
    for (size_t i = 0; i < quern_results_count(r); i++) {
        const quern_hit *h = quern_results_at(r, i);
        put_object();
        put_key("source");
        put_text(h->source);
        put_key("key");
        put_raw(h->key, strlen(h->key));
        put_key("chunk");
        put_whole(h->chunk);
        put_key("start");
        put_whole(h->start);
        put_key("end");
        put_whole(h->end);
        put_key("score");
        put_float(h->score);
        put_key("similarity");
        put_float(h->similarity);
        put_key("excerpt");
        put_text(h->excerpt);
        put_key("meta");
        put_raw(h->meta, strlen(h->meta));
        write_details(c, h);
        put_end_object();
    }
    put_end_array();
}

/* A line of excerpt is cut for a terminal only; a pipe gets all of it. */
void write_results_text(const cli *c, const quern_results *r)
{
    if (quern_config_flag(c->config, "explain"))
        fprintf(stderr, "%s\n", quern_results_explain(r));
    if (quern_results_missed(r))
        fprintf(stderr, "partial: %u of the servers did not answer; what lies there is missing\n",
                quern_results_missed(r));
    for (size_t i = 0; i < quern_results_count(r); i++) {
        const quern_hit *h = quern_results_at(r, i);
        out_printf("%2zu  %.4f  %s  %s\n", i + 1,
                   (double)(isnan(h->similarity) ? h->score : h->similarity), h->source, h->key);
        if (h->excerpt && *h->excerpt)
            out_printf("    %s\n", h->excerpt);
        write_place(c, h);
        if (h->meta && strcmp(h->meta, "{}") != 0)
            out_printf("    %s\n", h->meta);
    }
    if (!quern_results_count(r) && !c->quiet)
        fprintf(stderr, "nothing found among %llu vectors\n",
                (unsigned long long)quern_results_scanned(r));
}

/* Each --exclude, a line each of what the configuration joined; NULL when there is no memory. */
static quern_str *excluded_keys(const char *joined, size_t *n)
{
    size_t room = 1;
    for (const char *s = joined; *s; s++)
        room += *s == '\n';
    quern_str *keys = malloc(room * sizeof *keys);
    for (*n = 0; keys && *n < room; ++*n) {
        size_t bytes = strcspn(joined, "\n");
        keys[*n] = (quern_str){joined, bytes};
        joined += bytes + (joined[bytes] == '\n');
    }
    return keys;
}

int search_options(const cli *c, quern_search_options *opt, quern_str **keys, quern_error *err)
{
    QUERN_INIT(opt);
    *keys = NULL;
    const char *exclude = quern_config_text(c->config, "exclude");
    if (exclude && !(*keys = excluded_keys(exclude, &opt->n_exclude)))
        return no_memory(err);
    opt->exclude = *keys;
    opt->limit = (uint32_t)quern_config_count(c->config, "limit");
    opt->min_similarity = (float)quern_config_real(c->config, "min-similarity");
    opt->has_min_similarity = quern_config_is_set(c->config, "min-similarity");
    opt->filter = quern_config_text(c->config, "filter");
    opt->where = quern_config_text(c->config, "where");
    opt->chunks = quern_config_flag(c->config, "chunks");
    opt->mmr_lambda = (float)quern_config_real(c->config, "mmr");
    opt->has_mmr = quern_config_is_set(c->config, "mmr");
    opt->oversample = (uint32_t)quern_config_count(c->config, "oversample");
    opt->partial = quern_config_flag(c->config, "partial");
    opt->cancel = c->cancel;
    static const char *const names[] = {"auto", "exact", "pgvector", "two-stage"};
    const char *index = quern_config_text(c->config, "index");
    for (int i = 0; i < 4; i++)
        if (strcmp(index, names[i]) == 0)
            opt->index = i;
    return QUERN_OK;
}

/* ---- the way out when the active generation cannot answer ---- */

static int open_previous(quern_embedder **out, const char *model, const char *settings, void *ud,
                         quern_error *err)
{
    return open_other_embedder(ud, model, settings, out, err);
}

static void fallback_options(cli *c, quern_search_options *opt)
{
    const char *how = quern_config_text(c->config, "fallback");
    opt->fallback = strcmp(how, "text") == 0       ? QUERN_FALLBACK_TEXT
                    : strcmp(how, "previous") == 0 ? QUERN_FALLBACK_PREVIOUS
                                                   : QUERN_FALLBACK_NONE;
    opt->open_previous = open_previous;
    opt->open_previous_ud = c;
}

/* missing: why the model could not be opened, "" when it was. */
static void tell_fallback(const cli *c, const quern_results *r, const char *missing)
{
    int used = quern_results_fallback(r);
    const char *why = *missing ? missing : quern_results_fallback_reason(r);
    char line[700];
    if (c->json && strcmp(quern_config_text(c->config, "fallback"), "none") != 0) {
        put_key("fallback");
        put_text(used == QUERN_FALLBACK_TEXT       ? "text"
                 : used == QUERN_FALLBACK_PREVIOUS ? "previous"
                                                   : NULL);
        put_key("fallback_reason");
        put_text(used ? why : NULL);
    } else if (!c->json && used) {
        snprintf(line, sizeof line, "%s answers: %s",
                 used == QUERN_FALLBACK_TEXT ? "text search" : "the generation before", why);
        out_log(QUERN_LOG_WARN, "search", line);
    }
}

/* With a fallback a model that cannot be opened ends nothing; why goes into `missing`. */
static int open_or_fall_back(cli *c, quern_store *store, const quern_search_options *opt,
                             quern_embedder **e, quern_error *missing, quern_error *err)
{
    int rc = open_embedder(c, store, e, err);
    if (rc == QUERN_OK || !opt->fallback || rc == QUERN_EINVAL || rc == QUERN_ECANCELLED)
        return rc;
    *missing = *err;
    return QUERN_OK;
}

/* Neither model nor fallback: the model's fault comes first. */
static int neither(quern_error *missing, quern_error *err)
{
    char text[sizeof err->msg];
    snprintf(text, sizeof text, "%.280s; and no fallback: %.180s", missing->msg, err->msg);
    return fail(err, missing->status, "%s", text);
}

int cmd_search(cli *c, quern_error *err)
{
    quern_search_options opt;
    quern_results *r = NULL;
    quern_store *store = NULL;
    quern_embedder *e = NULL;
    char **sources = NULL, *query = NULL;
    size_t n = 0;
    quern_str *keys = NULL;
    quern_error missing = {0};
    int rc = search_options(c, &opt, &keys, err);
    const char *mode = quern_config_text(c->config, "mode");
    opt.mode = strcmp(mode, "text") == 0     ? QUERN_MODE_TEXT
               : strcmp(mode, "hybrid") == 0 ? QUERN_MODE_HYBRID
                                             : QUERN_MODE_VECTOR;
    fallback_options(c, &opt);
    opt.embed_ms = (uint32_t)quern_config_count(c->config, "query-timeout");
    opt.as_document = option_as(c, QUERN_AS_QUERY) == QUERN_AS_DOCUMENT;
    if (rc == QUERN_OK)
        rc = args_need(c, 1, SIZE_MAX, err);
    if (rc == QUERN_OK)
        rc = list_sources(c, &sources, &n, err);
    if (rc == QUERN_OK && !(query = join_words(c)))
        rc = no_memory(err);
    if (rc == QUERN_OK)
        rc = open_store(c, 1, &store, err);
    if (rc == QUERN_OK)
        rc = open_or_fall_back(c, store, &opt, &e, &missing, err);
    if (rc == QUERN_OK) {
        opt.sources = n ? (const char *const *)sources : NULL;
        opt.n_sources = n;
        rc = quern_search(&r, store, e, quern_str_of(query), &opt, err);
        if (rc != QUERN_OK && rc != QUERN_ECANCELLED && missing.msg[0])
            rc = neither(&missing, err);
    }
    if (rc == QUERN_OK && c->json) {
        put_object();
        put_key("query");
        put_text(query);
        tell_fallback(c, r, missing.msg);
        write_results_json(c, r);
        put_end_object();
        put_line();
    } else if (rc == QUERN_OK) {
        tell_fallback(c, r, missing.msg);
        write_results_text(c, r);
    }
    quern_results_free(r);
    free(keys);
    free(query);
    free(sources);
    quern_embedder_free(e);
    quern_store_free(store);
    return rc;
}
