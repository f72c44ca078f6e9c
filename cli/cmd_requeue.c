/*
 * cmd_requeue.c — has documents embedded again by the next fill.
 */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static int requeue(quern_store *store, const quern_requeue_options *opt, uint64_t *all,
                   quern_error *err)
{
    uint64_t n = 0;
    int rc = quern_requeue(store, opt, &n, err);
    *all += n;
    return rc;
}

/* One key, as it is typed; a number may be a text, too. */
static int requeue_key(quern_store *store, quern_requeue_options *opt, const char *word,
                       uint64_t *all, quern_error *err)
{
    int rc = QUERN_ENOTFOUND;
    for (int as_text = 0; rc == QUERN_ENOTFOUND && as_text < 2; as_text++) {
        char *json = NULL;
        quern_error second = {0},
                    *say = as_text ? &second : err; /* the first one names what was meant */
        rc = key_from_word(word, as_text, &json, say);
        if (rc == QUERN_OK) {
            quern_str key = quern_str_of(json);
            opt->keys = &key;
            opt->n_keys = 1;
            rc = requeue(store, opt, all, say);
        }
        if (rc != QUERN_OK && rc != QUERN_ENOTFOUND && as_text)
            *err = second;
        quern_free(json);
    }
    opt->keys = NULL;
    opt->n_keys = 0;
    return rc;
}

static int requeue_keys(quern_store *store, quern_requeue_options *opt, const char *keys,
                        uint64_t *all, quern_error *err)
{
    int rc = QUERN_OK;
    for (const char *at = keys; rc == QUERN_OK && *at;) {
        size_t n = strcspn(at, "\n");
        char *word = malloc(n + 1);
        if (!word)
            return no_memory(err);
        memcpy(word, at, n);
        word[n] = '\0';
        rc = requeue_key(store, opt, word, all, err);
        free(word);
        at += n + (at[n] == '\n');
    }
    return rc;
}

int cmd_requeue(cli *c, quern_error *err)
{
    quern_requeue_options opt;
    quern_store *store = NULL;
    uint64_t all = 0;
    QUERN_INIT(&opt);
    opt.cancel = c->cancel;
    opt.where = quern_config_text(c->config, "where");
    const char *keys = quern_config_text(c->config, "key");
    int every = quern_config_flag(c->config, "all");
    int failed = quern_config_flag(c->config, "failed");
    opt.which = every ? QUERN_AGAIN_ALL : failed ? QUERN_AGAIN_FAILED : QUERN_AGAIN_KEYS;
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = one_source_name(c, &opt.source, err);
    if (rc == QUERN_OK && (every != 0) + (failed != 0) + (keys != NULL) + (opt.where != NULL) != 1)
        rc = fail(err, QUERN_EINVAL, "requeue: which? one of --all, --failed, --key and --where");
    if (rc == QUERN_OK)
        rc = open_existing_store(c, &store, err);
    if (rc == QUERN_OK)
        rc = keys ? requeue_keys(store, &opt, keys, &all, err) : requeue(store, &opt, &all, err);
    if (rc == QUERN_OK && c->json) {
        put_object();
        put_key("requeued");
        put_whole(all);
        put_end_object();
        put_line();
    } else if (rc == QUERN_OK && !c->quiet) {
        out_printf("%llu documents will be embedded again by the next fill\n",
                   (unsigned long long)all);
    }
    quern_store_free(store);
    return rc;
}
