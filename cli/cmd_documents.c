/*
 * cmd_documents.c — quern status --list: which documents are pending, failed, stale or empty, a page at a time.
 */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static int state_of(const char *word)
{
    static const char *const words[] = {"pending", "failed", "stale", "empty"};
    int state = 0;
    while (state < 3 && strcmp(words[state], word) != 0)
        state++;
    return state;
}

static void row_json(const quern_document_row *r)
{
    char when[32];
    put_object();
    put_key("key");
    if (r->key)
        put_raw(r->key, strlen(r->key));
    else
        put_text(NULL);
    put_key("reason");
    put_text(r->reason[0] ? r->reason : NULL);
    put_key("updated");
    if (r->updated_ms)
        utc_time(r->updated_ms, when);
    put_text(r->updated_ms ? when : NULL);
    put_end_object();
}

static void row_text(const quern_document_row *r)
{
    out_printf("%s%s%s\n", r->key ? r->key : "-", r->reason[0] ? "  " : "", r->reason);
}

/* The one source there is, when none is named. */
static int choose_source(const cli *c, quern_store *store, quern_source_list **l, const char **name,
                         quern_error *err)
{
    if (quern_config_is_set(c->config, "source"))
        return one_source_name(c, name, err);
    int rc = quern_source_list_open(l, store, err);
    if (rc == QUERN_OK && quern_source_list_count(*l) == 1)
        *name = quern_source_list_at(*l, 0)->name;
    return rc == QUERN_OK && !*name ? one_source_name(c, name, err) : rc;
}

/* Each --key; *keys is one allocation, NULL for none. */
static int list_keys(const cli *c, const char *after, quern_str **keys, size_t *n, quern_error *err)
{
    const char *all = quern_config_text(c->config, "key");
    size_t most = 1;
    *n = 0;
    if (!all || strncmp(quern_config_origin(c->config, "key"), "--", 2) != 0)
        return QUERN_OK;
    if (after)
        return fail(err, QUERN_EINVAL, "status --list: --key and --after exclude each other");
    for (const char *at = all; *at; at++)
        most += *at == '\n';
    if (!(*keys = calloc(most, sizeof **keys)))
        return no_memory(err);
    for (const char *at = all; *n < most; at += (*keys)[(*n)++].len + 1)
        (*keys)[*n] = (quern_str){at, strcspn(at, "\n")};
    return QUERN_OK;
}

int show_documents(cli *c, quern_store *store, const char *state, const char *after, uint32_t limit,
                   quern_error *err)
{
    quern_document_options opt;
    quern_document_list *l = NULL;
    quern_source_list *sources = NULL;
    char *key = NULL;
    QUERN_INIT(&opt);
    opt.state = state_of(state);
    opt.limit = limit;
    opt.cancel = c->cancel;
    quern_str *keys = NULL;
    int rc = list_keys(c, after, &keys, &opt.n_keys, err);
    opt.keys = keys;
    if (rc == QUERN_OK)
        rc = choose_source(c, store, &sources, &opt.source, err);
    if (rc == QUERN_OK && after)
        rc = key_from_word(after, 0, &key, err);
    opt.after = quern_str_of(key);
    if (rc == QUERN_OK)
        rc = quern_document_list_open(&l, store, &opt, err);
    if (rc == QUERN_OK && c->json) {
        put_object();
        put_key("source");
        put_text(opt.source);
        put_key("state");
        put_text(state);
        put_key("documents");
        put_array();
    }
    for (size_t i = 0; i < quern_document_list_count(l); i++)
        (c->json ? row_json : row_text)(quern_document_list_at(l, i));
    const char *next = quern_document_list_next(l);
    if (rc == QUERN_OK && c->json) {
        put_end_array();
        put_key("next");
        if (next)
            put_raw(next, strlen(next));
        else
            put_text(NULL);
        put_end_object();
        put_line();
    } else if (rc == QUERN_OK && next && !c->quiet) {
        out_printf("there may be more: --after '%s'\n", next);
    }
    free(keys);
    quern_document_list_free(l);
    quern_source_list_free(sources);
    quern_free(key);
    return rc;
}
