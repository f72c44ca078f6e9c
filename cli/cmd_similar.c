/*
 * cmd_similar.c — neighbours of a document that is stored. The model is opened for its fingerprint only; nothing is
 * embedded.
 */
#include "cli.h"

#include <stdlib.h>

int cmd_similar(cli *c, quern_error *err)
{
    quern_search_options opt;
    quern_results *r = NULL;
    quern_store *store = NULL;
    quern_embedder *e = NULL;
    char **sources = NULL;
    size_t n = 0;
    quern_str *keys = NULL;
    int rc = search_options(c, &opt, &keys, err);
    if (rc == QUERN_OK)
        rc = args_need(c, 1, 1, err);
    if (rc == QUERN_OK)
        rc = list_sources(c, &sources, &n, err);
    if (rc == QUERN_OK)
        rc = open_store(c, 1, &store, err);
    if (rc == QUERN_OK)
        rc = open_embedder(c, store, &e, err);
    if (rc == QUERN_OK) {
        opt.sources = n ? (const char *const *)sources : NULL;
        opt.n_sources = n;
        rc =
            quern_similar(&r, store, e, n ? sources[0] : NULL, quern_str_of(c->args[0]), &opt, err);
    }
    if (rc == QUERN_OK && c->json) {
        put_object();
        put_key("similar_to");
        put_text(c->args[0]);
        write_results_json(c, r);
        put_end_object();
        put_line();
    } else if (rc == QUERN_OK)
        write_results_text(c, r);
    quern_results_free(r);
    free(keys);
    free(sources);
    quern_embedder_free(e);
    quern_store_free(store);
    return rc;
}
