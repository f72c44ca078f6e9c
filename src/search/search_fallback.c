/*
 * search_fallback.c — what answers when the active generation cannot: words, or the generation before it.
 *
 * Either is a search like any other, of another generation: candidates are joined back to the rows, scopes are kept, and
 * nothing stale is a hit. All sources of a search fall back together, so that no result mixes two models' scores.
 *
 * Words were taken from texts and not by a model, so that the model and the chunker may differ from those in force; what decides which
 * rows there are and what their texts say may not. The generation before needs its own model: the one at hand, if it was that
 * one's, else the one that the caller opens; of several sources one model has to have made all.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "search/search_run.h"

static int find_state(quern__search_run *r, quern__search_part *p, const char *state, bool *found,
                      quern_error *err)
{
    memset(&p->generation, 0, sizeof p->generation);
    int rc =
        r->s->table.generation_find(r->s->self, p->recipe->spec.name, state, &p->generation, err);
    *found = rc == QUERN_OK;
    if (rc != QUERN_OK)
        p->generation.id = 0;
    return rc == QUERN_ENOTFOUND ? QUERN_OK : rc;
}

/* ---- words ---- */

static int find_words(quern__search_run *r, quern__search_part *p, quern__fill_settings *settings,
                      quern_error *err)
{
    bool found = false;
    int rc = find_state(r, p, "active", &found, err);
    if (rc == QUERN_OK && !found)
        rc = find_state(r, p, "building", &found, err);
    if (rc == QUERN_OK && !found)
        return QUERN_ENOTFOUND;
    return rc == QUERN_OK ? quern__recipe_check_rows(p->recipe, r->s, &p->generation, settings, err)
                          : rc;
}

/* ---- the generation before ---- */

static int take_last(const char *source, const quern_generation *g, void *ud)
{
    quern_generation *last = ud;
    (void)source;
    if (strcmp(g->state, "retired") == 0 && g->chunks && g->retired_ms >= last->retired_ms)
        *last = *g;
    return QUERN_OK;
}

/* Opens the model behind the generation, for the first source only. */
static int open_model(quern__search_run *r, const quern_generation *g, quern_error *err)
{
    quern__question *q = r->question;
    char *settings = NULL;
    if (r->n_parts || q->opened || !r->opt->open_previous)
        return QUERN_EMISMATCH;
    int rc = r->s->table.generation_json(r->s->self, g->id, &settings, err);
    if (rc == QUERN_OK)
        rc = r->opt->open_previous(&q->opened, g->model, settings, r->opt->open_previous_ud, err);
    if (rc == QUERN_OK)
        r->e = q->opened;
    quern__free(settings);
    return rc;
}

static int find_previous(quern__search_run *r, quern__search_part *p,
                         quern__fill_settings *settings, quern_error *err)
{
    const char *name = p->recipe->spec.name;
    bool active = false;
    int rc = find_state(r, p, "active", &active, err);
    memset(&p->generation, 0, sizeof p->generation);
    if (rc == QUERN_OK && r->s->table.generation_each)
        rc = r->s->table.generation_each(r->s->self, name, take_last, &p->generation, err);
    if (rc != QUERN_OK)
        return rc;
    if (!p->generation.id && (active || r->opt->n_sources))
        return quern__fail(err, QUERN_EMISMATCH, 0,
                           "source %s has no generation before this one that still holds vectors",
                           name);
    if (!p->generation.id)
        return QUERN_ENOTFOUND;
    quern_error why = {0};
    rc = r->e
             ? quern__recipe_check_generation(p->recipe, r->s, r->e, &p->generation, settings, &why)
             : QUERN_EMISMATCH;
    if (rc == QUERN_EMISMATCH) {
        int opened = open_model(r, &p->generation, &why);
        if (opened == QUERN_OK)
            rc = quern__recipe_check_generation(p->recipe, r->s, r->e, &p->generation, settings,
                                                &why);
    }
    if (rc == QUERN_OK)
        return rc;
    return quern__fail(err, rc, 0, "generation %lld of source %s, made by %s: %s",
                       (long long)p->generation.id, name, p->generation.model,
                       why.msg[0] ? why.msg : "its model is not at hand");
}

int quern__search_stand_in(quern__search_run *r, quern__search_part *p,
                           quern__fill_settings *settings, quern_error *err)
{
    return r->question->fallback == QUERN_FALLBACK_TEXT ? find_words(r, p, settings, err)
                                                        : find_previous(r, p, settings, err);
}

/* ---- from the one to the other ---- */

int quern__search_fall_back(quern_results **out, quern__question *q,
                            int (*once)(quern_results **out, quern__question *q, quern_error *err),
                            int rc, quern_error *first)
{
    quern_error inner = {0};
    q->fallback = q->opt->fallback;
    int again = quern__search_ask(out, q, once, &inner);
    quern_embedder_free(q->opened);
    q->opened = NULL;
    if (again == QUERN_OK) {
        again = quern__results_note(*out, q->fallback, first->msg, &inner);
        if (again == QUERN_OK)
            return again;
        quern_results_free(*out);
        *out = NULL;
    }
    if (!q->e || again == QUERN_ECANCELLED) {
        *first = inner;
        return again;
    }
    const char *code = first->code;
    quern__fail(first, rc, first->detail, "%.300s; and no fallback to %s: %.150s", first->msg,
                q->fallback == QUERN_FALLBACK_TEXT ? "text" : "previous", inner.msg);
    return quern__code(first, rc, code);
}
