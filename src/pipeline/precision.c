/*
 * precision.c — what --precision auto is for a store. The class stands in the fingerprint of each generation, so nothing is
 * recorded apart: who asks is told what is there. Were it resolved at every open, quantising a model would make the
 * next fill embed everything again.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "pipeline/recipe.h"
#include "quern/model.h"
#include "store/store.h"

typedef struct question {
    quern_store *s;
    const char *weights;
    bool building;
    quern_precision_answer found;
    quern_error *err;
} question;

/* The class of a generation that was made from these weights; *bound: it was. Another class, that this quern does not know,
 * binds nothing: what is made now is of another fingerprint. */
static int class_of(const char *json, const char *weights, bool *bound, int *precision,
                    char calibration[65], quern_error *err)
{
    json_t *root = NULL;
    const int rc = quern__fingerprint_load(&root, json, err);
    if (rc != QUERN_OK)
        return rc;
    const char *made_from = json_string_value(json_object_get(root, "weights"));
    const char *name = json_string_value(json_object_get(root, "precision"));
    const int found = quern_precision_named(name);
    const bool int8 = found == QUERN_PRECISION_INT8 || found == QUERN_PRECISION_INT4,
               bf16 = found == QUERN_PRECISION_BF16;
    const char *must = int8   ? json_string_value(json_object_get(root, "calibration"))
                       : bf16 ? json_string_value(json_object_get(root, "order"))
                              : "";
    *bound = made_from && strcmp(made_from, weights) == 0 && found > QUERN_PRECISION_AUTO && must &&
             (int8 ? strlen(must) == 64 : strlen(must) <= 64);
    *precision = found;
    calibration[0] = 0;
    if (*bound)
        snprintf(calibration, 65, "%s", must);
    json_decref(root);
    return QUERN_OK;
}

static int differs(question *q, const char *source, int precision)
{
    const int rc =
        quern__fail(q->err, QUERN_EMISMATCH, 0,
                    "sources %s (%s) and %s (%s) were not filled in one class of precision, so "
                    "auto is neither: take one with --source, or give --precision",
                    q->found.source, quern_precision_name(q->found.precision), source,
                    quern_precision_name(precision));
    return quern__code(q->err, rc, "precision_mixed");
}

/* What one source says, if it says anything. */
static int ask_source(question *q, const char *source)
{
    static const char *const states[] = {"active", "building"};
    quern_generation g;
    char *json = NULL, calibration[65];
    bool bound = false;
    int precision, rc = QUERN_ENOTFOUND;
    for (size_t i = q->building; rc == QUERN_ENOTFOUND && i < QUERN__COUNT(states); i++)
        rc = q->s->table.generation_find(q->s->self, source, states[i], &g, q->err);
    if (rc == QUERN_ENOTFOUND)
        return QUERN_OK;
    if (rc == QUERN_OK)
        rc = q->s->table.generation_json(q->s->self, g.id, &json, q->err);
    if (rc == QUERN_ENOTFOUND)
        return QUERN_OK; /* purged meanwhile */
    if (rc == QUERN_OK)
        rc = class_of(json, q->weights, &bound, &precision, calibration, q->err);
    quern__free(json);
    if (rc != QUERN_OK || !bound)
        return rc;
    if (q->found.precision != QUERN_PRECISION_AUTO)
        return precision == q->found.precision && strcmp(calibration, q->found.calibration) == 0
                   ? QUERN_OK
                   : differs(q, source, precision);
    q->found.precision = precision;
    memcpy(q->found.calibration, calibration, sizeof calibration);
    snprintf(q->found.source, sizeof q->found.source, "%s", source);
    return QUERN_OK;
}

/* Those that were not named do not bind, where they differ: one will be chosen for the new one by itself. */
static int ask_others(question *q)
{
    char **names = NULL;
    size_t n = 0;
    quern_error differ = {0};
    quern_error *err = q->err;
    int rc = quern__source_names(q->s, &names, &n, err);
    q->err = &differ;
    for (size_t i = 0; rc == QUERN_OK && i < n; i++)
        rc = ask_source(q, names[i]);
    q->err = err;
    quern__names_free(names, n);
    if (rc == QUERN_EMISMATCH) {
        q->found.precision = QUERN_PRECISION_AUTO;
        q->found.calibration[0] = q->found.source[0] = 0;
        return QUERN_OK;
    }
    if (rc != QUERN_OK && differ.msg[0] && err)
        *err = differ;
    return rc;
}

int quern_store_precision(quern_store *s, const char *const *sources, size_t n_sources,
                          const char *weights_sha256, int building, quern_precision_answer *out,
                          quern_error *err)
{
    QUERN__REQUIRE(s && weights_sha256 && (sources || !n_sources), err);
    QUERN__REQUIRE(out && out->struct_size >= sizeof *out, err);
    question q = {.s = s, .weights = weights_sha256, .building = building != 0, .err = err};
    char **names = NULL;
    size_t n = 0;
    int rc = QUERN_OK;
    for (size_t i = 0; rc == QUERN_OK && i < n_sources; i++)
        rc = ask_source(&q, sources[i]);
    if (rc == QUERN_OK && n_sources && !building && q.found.precision == QUERN_PRECISION_AUTO)
        rc = ask_others(&q);
    if (rc == QUERN_OK && !n_sources)
        rc = quern__source_names(s, &names, &n, err);
    for (size_t i = 0; rc == QUERN_OK && i < n; i++)
        rc = ask_source(&q, names[i]);
    quern__names_free(names, n);
    if (rc == QUERN_OK) {
        q.found.struct_size = out->struct_size;
        *out = q.found;
    }
    return rc;
}
