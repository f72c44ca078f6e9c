/* cmd_generation_sql.c — the search of a source's active generation as SQL, for programs that ask the database. */
#include "cli.h"

#include <string.h>

int cmd_generation_sql(cli *c, quern_error *err)
{
    quern_store *store = NULL;
    char *sql = NULL;
    const char *kind = quern_config_text(c->config, "kind");
    int index = strcmp(kind, "ann") == 0         ? QUERN_SEARCH_PGVECTOR
                : strcmp(kind, "two-stage") == 0 ? QUERN_SEARCH_TWO_STAGE
                                                 : QUERN_SEARCH_EXACT;
    int rc = args_need(c, 1, 1, err);
    if (rc == QUERN_OK)
        rc = open_store(c, 1, &store, err);
    if (rc == QUERN_OK)
        rc = quern_search_sql(&sql, store, c->args[0], index, err);
    if (rc == QUERN_OK && c->json) {
        put_object();
        put_key("source");
        put_text(c->args[0]);
        put_key("kind");
        put_text(kind);
        put_key("sql");
        put_text(sql);
        put_end_object();
        put_line();
    } else if (rc == QUERN_OK)
        out_text(sql);
    quern_free(sql);
    quern_store_free(store);
    return rc;
}
