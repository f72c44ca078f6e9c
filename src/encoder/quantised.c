/*
 * quantised.c — names and shapes of the int8 class's stored numbers.
 */
#include "encoder/quantised.h"

#include "base/alloc.h"

static const char *const names[QUERN__Q_MATRICES] = {"query", "key", "value", "out", "up", "down"};
static const char *const tensors[QUERN__Q_MATRICES] = {
    "attention.self.query.weight",   "attention.self.key.weight", "attention.self.value.weight",
    "attention.output.dense.weight", "intermediate.dense.weight", "output.dense.weight"};

void quern__quantised_free(quern__quantised *q)
{
    if (!q)
        return;
    quern__free_pages(q->memory, q->memory_size);
    quern__free(q->layer);
    quern__free(q);
}

uint32_t quern__quantised_outputs(const quern__quantised *q, int matrix)
{
    return matrix == QUERN__Q_UP ? q->intermediate : q->hidden;
}

uint32_t quern__quantised_inputs(const quern__quantised *q, int matrix)
{
    return matrix == QUERN__Q_DOWN ? q->intermediate : q->hidden;
}

const char *quern__quantised_name(int matrix)
{
    return names[matrix];
}

const char *quern__quantised_tensor(int matrix)
{
    return tensors[matrix];
}
