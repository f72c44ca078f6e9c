/*
 * fill_aim.c — runs of fill that are not quern_fill's own: building a generation that an operator will activate,
 * and keeping the active one up meanwhile, each under the settings it was made with.
 *
 * A generation may be activated, retired or purged by hand while a run works on it. The store refuses to save into one
 * that is no longer in use; for the run that is an end and no fault: what it saved is where it belongs.
 */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/log.h"
#include "pipeline/fill_run.h"

int quern__fill_same_dimensions(const fill_run *r, const quern_generation *g, quern_error *err)
{
    uint32_t now = quern_embedder_dimensions(r->e);
    if (g->dimensions == now)
        return QUERN_OK;
    return quern__fail(err, QUERN_EMISMATCH, now,
                       "generation %" PRId64 " of source %s holds vectors of %u dimensions, %s "
                       "makes %u under the same fingerprint; nothing was changed",
                       g->id, r->recipe->spec.name, g->dimensions, quern_embedder_name(r->e), now);
}

int quern__fill_may_build(fill_run *r, const quern_generation *active,
                          const quern_generation *building, const char *fingerprint,
                          quern_error *err)
{
    const char *name = r->recipe->spec.name;
    if (active && strcmp(active->fingerprint, fingerprint) == 0)
        return quern__fail(err, QUERN_EEXISTS, active->id,
                           "generation %" PRId64 " of source %s is active with these very settings "
                           "(%s, %.12s); `quern fill` brings it up to date",
                           active->id, name, active->model, active->fingerprint);
    if (!building || strcmp(building->fingerprint, fingerprint) == 0)
        return QUERN_OK;
    char *made = NULL;
    char what[160];
    int rc = r->s->table.generation_json(r->s->self, building->id, &made, err);
    if (rc != QUERN_OK)
        return rc;
    quern__fingerprint_difference(made, r->fingerprint_json, what, sizeof what);
    quern__free(made);
    return quern__fail(err, QUERN_EMISMATCH, building->id,
                       "generation %" PRId64 " of source %s is being built with other settings "
                       "(%s, %.12s; %s differs); go on with those, or `quern generation purge "
                       "%" PRId64 "`",
                       building->id, name, building->model, building->fingerprint, what,
                       building->id);
}

static int find_live(fill_run *r, const char *state, quern_generation *g, bool *found,
                     quern_error *err)
{
    int rc = r->s->table.generation_find(r->s->self, r->recipe->spec.name, state, g, err);
    *found = rc == QUERN_OK;
    return rc == QUERN_ENOTFOUND ? QUERN_OK : rc;
}

/* The generation by its id, while it is building or active. */
static int find_by_id(fill_run *r, int64_t id, quern_generation *g, bool *found, quern_error *err)
{
    int rc = find_live(r, "active", g, found, err);
    *found = *found && g->id == id;
    if (rc != QUERN_OK || *found)
        return rc;
    rc = find_live(r, "building", g, found, err);
    *found = *found && g->id == id;
    return rc;
}

int quern__fill_refresh(fill_run *r, quern_error *err)
{
    bool found = false;
    int rc = find_by_id(r, r->aim->generation, &r->generation, &found, err);
    if (rc == QUERN_OK && !found)
        rc = quern__fail(err, QUERN_ENOTFOUND, r->aim->generation,
                         "generation %" PRId64 " of source %s is no longer in use",
                         r->aim->generation, r->recipe->spec.name);
    if (rc == QUERN_OK)
        rc = quern__recipe_check_generation(r->recipe, r->s, r->e, &r->generation, &r->settings,
                                            err);
    r->width = (size_t)r->generation.dimensions * quern__vector_width(r->settings.vector_type);
    return rc;
}

int quern__fill_ended(fill_run *r, int rc, quern_error *err)
{
    if ((rc != QUERN_EMISMATCH && rc != QUERN_ENOTFOUND) || r->generation.id == 0)
        return rc;
    quern_error inner;
    quern_generation g;
    bool found = false;
    if (find_by_id(r, r->generation.id, &g, &found, &inner) != QUERN_OK)
        return rc;
    if (found)
        return rc;
    r->report->ended = 1;
    quern__log(QUERN_LOG_INFO, "fill",
               "source %s: generation %" PRId64 " was retired meanwhile; the run ends here",
               r->recipe->spec.name, r->generation.id);
    if (err)
        memset(err, 0, sizeof *err);
    return QUERN_OK;
}
