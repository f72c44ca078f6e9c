/*
 * quantised.c — names and shapes of the stored numbers of int8 and int4.
 */
#include "encoder/quantised.h"

#include "base/alloc.h"
#include "base/checked.h"

static const char *const names[QUERN__Q_MATRICES] = {"query", "key",  "value", "out",
                                                     "up",    "gate", "down"};
static const char *const tensors[QUERN__Q_MATRICES] = {
    "attention.self.query.weight", "attention.self.key.weight",
    "attention.self.value.weight", "attention.output.dense.weight",
    "intermediate.dense.weight",   "intermediate.gate.weight",
    "output.dense.weight"};

bool quern__is_four(const quern__quantised *q, uint32_t layer, int matrix)
{
    return q->four && matrix != QUERN__Q_VALUE && matrix != QUERN__Q_OUT &&
           !(q->layer[layer].kept >> matrix & 1);
}

const uint8_t quern__keepable[QUERN__KEEPABLE] = {1 << QUERN__Q_QUERY | 1 << QUERN__Q_KEY,
                                                  1 << QUERN__Q_UP | 1 << QUERN__Q_GATE,
                                                  1 << QUERN__Q_DOWN};

int quern__quantised_mix(quern__quantised **out, const quern__quantised *four,
                         const quern__quantised *eight, const uint8_t *kept, quern_error *err)
{
    QUERN__REQUIRE(four->four && !eight->four && four->layers == eight->layers, err);
    quern__quantised *q = *out = quern__alloc(sizeof *q);
    if (!q)
        return quern__fail_memory(err, sizeof *q);
    *q = *four;
    q->memory = NULL;
    q->layer = quern__alloc_array(q->layers, sizeof *q->layer);
    if (!q->layer) {
        quern__free(q);
        *out = NULL;
        return quern__fail_memory(err, q->layers * sizeof *q->layer);
    }
    for (uint32_t l = 0; l < q->layers; l++) {
        quern__quantised_layer *to = q->layer + l;
        *to = four->layer[l];
        to->kept = kept[l];
        for (int m = 0; m < QUERN__Q_MATRICES; m++)
            if (kept[l] >> m & 1) {
                to->weight[m] = eight->layer[l].weight[m];
                to->scale[m] = eight->layer[l].scale[m];
                to->step[m] = NULL;
            }
    }
    return QUERN_OK;
}

int quern__check_four(uint32_t hidden, uint32_t intermediate, quern_error *err)
{
    return hidden % QUERN__STEP_INPUTS || intermediate % QUERN__STEP_INPUTS
               ? quern__fail(err, QUERN_EUNSUPPORTED, hidden,
                             "the class int4 is made for widths that are multiples of %d, and this "
                             "model's are %u and %u; use --precision int8",
                             QUERN__STEP_INPUTS, hidden, intermediate)
               : QUERN_OK;
}

void quern__quantised_free(quern__quantised *q)
{
    if (!q)
        return;
    quern__free_pages(q->memory, q->memory_size);
    quern__free(q->layer);
    quern__free(q);
}

bool quern__quantised_has(const quern__quantised *q, int matrix)
{
    return matrix != QUERN__Q_GATE || q->gated;
}

uint32_t quern__quantised_outputs(const quern__quantised *q, int matrix)
{
    switch (matrix) {
    case QUERN__Q_QUERY:
        return q->queries;
    case QUERN__Q_KEY:
    case QUERN__Q_VALUE:
        return q->keys;
    case QUERN__Q_UP:
    case QUERN__Q_GATE:
        return q->intermediate;
    default:
        return q->hidden;
    }
}

uint32_t quern__quantised_inputs(const quern__quantised *q, int matrix)
{
    return matrix == QUERN__Q_DOWN  ? q->intermediate
           : matrix == QUERN__Q_OUT ? q->queries
                                    : q->hidden;
}

const char *quern__quantised_name(int matrix)
{
    return names[matrix];
}

const char *quern__quantised_tensor(int matrix)
{
    return tensors[matrix];
}
