/* cmd_forget.c — erases documents from everything that quern keeps. */
#include "cli.h"

#include <stdlib.h>

static void tell(const cli *c, const quern_forget_report *r)
{
    if (c->json) {
        put_object();
        put_key("keys");
        put_whole(c->n_args);
        put_key("documents");
        put_whole(r->documents);
        put_key("rows_left");
        put_whole(r->rows);
        put_end_object();
        put_line();
    } else if (!c->quiet) {
        out_printf("%llu key%s forgotten", (unsigned long long)c->n_args,
                   c->n_args == 1 ? "" : "s");
        if (r->rows)
            out_printf("; %llu of them still have a row, which the next fill embeds again",
                       (unsigned long long)r->rows);
        out_text("\n");
    }
}

int cmd_forget(cli *c, quern_error *err)
{
    quern_store *store = NULL;
    quern_forget_report report;
    const char *source = NULL;
    quern_str *keys = calloc(c->n_args + 1, sizeof *keys);
    QUERN_INIT(&report);
    if (!keys)
        return no_memory(err);
    int rc = args_need(c, 1, (size_t)-1, err);
    if (rc == QUERN_OK)
        rc = one_source_name(c, &source, err);
    for (size_t i = 0; rc == QUERN_OK && i < c->n_args; i++)
        keys[i] = quern_str_of(c->args[i]);
    if (rc == QUERN_OK)
        rc = confirm(c, "Erase these documents from all that quern keeps?", err);
    if (rc == QUERN_OK)
        rc = open_existing_store(c, &store, err);
    if (rc == QUERN_OK)
        rc = quern_forget(store, source, keys, c->n_args, &report, err);
    if (rc == QUERN_OK)
        tell(c, &report);
    free(keys);
    quern_store_free(store);
    return rc;
}
