/*
 * lookup.c — see lookup.h. Rows are widened one by one where they lie in the mapping: a text touches a few dozen of them, so
 * that a model is open at once and costs no memory but the pages that texts have met. Rejected: widening the
 * table at open (twice its size), and a product over counts of tokens (each text has few).
 */
#include "encoder/lookup.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "format/static_table.h"
#include "kernels/kernels_table.h"

struct quern__lookup {
    const quern__kernels *kernels;
    quern__static_table table;
    float *weights; /* [tokens]; NULL: each is 1 */
    uint32_t width; /* of a vector */
};

int quern__lookup_open(quern__lookup **out, const quern__model_config *config,
                       const quern__weights *weights, const quern__kernels *kernels,
                       quern_error *err)
{
    quern__lookup *l = quern__calloc(1, sizeof *l);
    *out = NULL;
    if (!l)
        return quern__fail_memory(err, sizeof *l);
    l->kernels = kernels;
    int rc = quern__static_table_find(&l->table, weights, err);
    const uint32_t tokens = l->table.tokens;
    const quern__tensor *w = l->table.weights;
    l->width = config->dimensions ? config->dimensions : l->table.width;
    if (!rc && l->width > l->table.width)
        rc = quern__fail(err, QUERN_EINVAL, l->width, "%u dimensions of a table of %u", l->width,
                         l->table.width);
    if (!rc && w && !(l->weights = quern__alloc_array(tokens, sizeof(float))))
        rc = quern__fail_memory(err, tokens * sizeof(float));
    if (!rc && w)
        quern__tensor_read_f32(w, 0, tokens, l->weights);
    for (uint32_t i = 0; !rc && w && i < tokens; i++)
        if (!isfinite(l->weights[i]))
            rc = quern__fail(err, QUERN_EFORMAT, (int64_t)w->offset,
                             "tensor \"weights\" at byte %zu holds NaN or infinity; the weights "
                             "are damaged",
                             w->offset);
    if (rc)
        quern__lookup_free(l);
    else
        *out = l;
    return rc;
}

void quern__lookup_free(quern__lookup *l)
{
    if (!l)
        return;
    quern__free(l->weights);
    quern__free(l);
}

uint64_t quern__lookup_bytes(const quern__lookup *l)
{
    return l->weights ? (uint64_t)l->table.tokens * sizeof(float) : 0;
}

static uint32_t whole(const quern__lookup *l)
{
    return (l->width + QUERN__LANES - 1) / QUERN__LANES * QUERN__LANES;
}

size_t quern__lookup_scratch(const quern__lookup *l)
{
    return 3 * (size_t)whole(l); /* a row, its weight in each lane, the sum */
}

void quern__lookup_text(const quern__lookup *l, float *scratch, const int32_t *ids, uint32_t n,
                        bool normalize, float *out)
{
    const uint32_t lanes = whole(l);
    const float *floats = quern__tensor_floats(l->table.rows);
    float *const room = scratch, *const weight = room + lanes, *const sum = weight + lanes;
    memset(scratch, 0, quern__lookup_scratch(l) * sizeof *scratch);
    for (uint32_t t = 0; t < n; t++) {
        const size_t at =
            (size_t)quern__static_table_row(&l->table, (uint32_t)ids[t]) * l->table.width;
        if (floats)
            memcpy(room, floats + at, l->width * sizeof *room);
        else
            quern__tensor_read_f32(l->table.rows, at, l->width, room);
        for (uint32_t i = 0; l->weights && i < lanes; i++)
            weight[i] = l->weights[ids[t]];
        if (l->weights)
            l->kernels->fma(room, weight, sum, sum, lanes);
        for (uint32_t i = 0; !l->weights && i < lanes; i++)
            sum[i] += room[i];
    }
    for (uint32_t i = 0; i < l->width; i++)
        out[i] = sum[i] / (float)n;
    if (normalize)
        l->kernels->unit_row(out, l->width);
}
