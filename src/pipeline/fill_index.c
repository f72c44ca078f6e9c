/*
 * fill_index.c — after a fill, the database's own index over the vectors of the active generation (of the building one behind `generation build`) is built if it is due:
 * after the first fill and not before, because a graph is built faster than it is grown row by row, and concurrently, so
 * that nobody waits. The vectors are there and are searched exactly until it is ready: a build that fails is a
 * warning and never a failed fill, and the next fill tries again.
 */

#include <inttypes.h>

#include "base/log.h"
#include "pipeline/fill_run.h"

/* Which index is wanted; EXACT: none. */
static int wanted(const fill_run *r, const char **named, int *way, quern_error *err)
{
    *named = r->opt->index;
    if (!*named || strcmp(*named, "auto") == 0) {
        *named = NULL;
        *way = QUERN_INDEX_ANN;
    } else if (strcmp(*named, "pgvector") == 0)
        *way = QUERN_INDEX_ANN;
    else if (strcmp(*named, "two-stage") == 0)
        *way = QUERN_INDEX_TWO_STAGE;
    else if (strcmp(*named, "exact") == 0)
        *way = QUERN_INDEX_EXACT;
    else
        return quern__fail(err, QUERN_EINVAL, 0,
                           "index %.40s: there are auto, exact, pgvector and two-stage", *named);
    return QUERN_OK;
}

int quern__fill_index_check(const fill_run *r, quern_error *err)
{
    const char *named;
    int way;
    int rc = wanted(r, &named, &way, err);
    if (rc == QUERN_OK && named && way != QUERN_INDEX_EXACT && !r->s->table.index_build)
        return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                           "store %s has no such index; its search is exact", r->s->table.name);
    return rc;
}

static int build(fill_run *r, const quern_generation *g, int way, quern_error *err)
{
    const char *name = r->recipe->spec.name;
    quern_error inner = {0};
    quern__log(QUERN_LOG_INFO, "fill", "source %s: building an index over %" PRIu64 " vectors",
               name, g->chunks);
    int rc = r->s->table.index_build(r->s->self, g->id, way, r->opt->cancel, &inner);
    if (rc == QUERN_ECANCELLED) {
        if (err)
            *err = inner;
        return rc;
    }
    if (rc != QUERN_OK)
        quern__log(QUERN_LOG_WARN, "fill", "source %s: no index, search stays exact: %s", name,
                   inner.msg);
    return QUERN_OK;
}

int quern__fill_index(fill_run *r, quern_error *err)
{
    const quern_store_table *t = &r->s->table;
    const char *named, *why = "";
    quern_generation g;
    int way, state = QUERN_INDEX_NONE;
    int rc = wanted(r, &named, &way, err);
    if (rc != QUERN_OK || way == QUERN_INDEX_EXACT || !t->index_build || !t->index_state)
        return rc;
    if (r->aim && r->aim->refresh &&
        r->aim->locked) /* between other things; a worker's scan is a run of its own */
        return QUERN_OK;
    bool built = quern__fill_by_hand(r) ? !r->aim->refresh
                                        : r->aim && strcmp(r->generation.state, "building") == 0;
    rc = t->generation_find(r->s->self, r->recipe->spec.name, built ? "building" : "active", &g,
                            NULL);
    if (rc != QUERN_OK || (!named && g.chunks < QUERN__INDEX_ROWS))
        return QUERN_OK;
    rc = t->index_state(r->s->self, g.id, way, &state, &why, err);
    if (rc != QUERN_OK || state == QUERN_INDEX_READY)
        return rc;
    if (state != QUERN_INDEX_NONE)
        return build(r, &g, way, err);
    quern__log(named ? QUERN_LOG_WARN : QUERN_LOG_INFO, "fill",
               "source %s: no index, search stays exact: %s", r->recipe->spec.name, why);
    return QUERN_OK;
}

uint64_t quern__fill_index_bytes(const fill_run *r)
{
    const char *named;
    int way;
    bool could = wanted(r, &named, &way, NULL) == QUERN_OK && way != QUERN_INDEX_EXACT &&
                 r->s->table.index_build;
    uint64_t vectors = r->generation.chunks + r->report->chunks;
    return could && (named || vectors >= QUERN__INDEX_ROWS) ? r->report->bytes : 0;
}
