/* search_sql.c — the statement that a program of the user's could run in place of a search by vectors. */
#include "search/search_run.h"

int quern_search_sql(char **sql, quern_store *s, const char *source, int index, quern_error *err)
{
    QUERN__REQUIRE(sql, err);
    *sql = NULL;
    QUERN__REQUIRE(s && source, err);
    QUERN__REQUIRE(index >= QUERN_SEARCH_EXACT && index <= QUERN_SEARCH_TWO_STAGE, err);
    quern__recipe *recipe = NULL;
    quern_generation g;
    int rc = quern__recipe_open(&recipe, s, source, err);
    quern__recipe_free(recipe);
    if (rc == QUERN_OK)
        rc = s->table.generation_find(s->self, source, "active", &g, err);
    if (rc == QUERN_OK && !s->table.search_sql)
        rc = quern__fail(err, QUERN_EUNSUPPORTED, 0, "store %s cannot be searched by SQL",
                         s->table.name);
    int way = index == QUERN_SEARCH_PGVECTOR    ? QUERN_INDEX_ANN
              : index == QUERN_SEARCH_TWO_STAGE ? QUERN_INDEX_TWO_STAGE
                                                : QUERN_INDEX_EXACT;
    return rc ? rc : s->table.search_sql(s->self, g.id, way, sql, err);
}
