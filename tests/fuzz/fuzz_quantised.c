/*
 * fuzz_quantised.c — any bytes as a file of quantised weights for a model of one layer, 4 columns and 6 inner ones, for
 * one of 32 and 64, which int4 can have, and for such a one that has a gate and heads of 48 and 24 columns in all: refused
 * with a message, or every number is within its range. A checksum would stop nearly all: where the bytes have a place for
 * one, they are tried again with the right one in it.
 */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/sha256.h"
#include "encoder/quantised_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const quern__model_config configs[] = {
    {.family = "bert", .layers = 1, .hidden = 4, .heads = 1, .intermediate = 6},
    {.family = "bert", .layers = 1, .hidden = 32, .heads = 1, .intermediate = 64},
    {.family = "qwen3",
     .layers = 1,
     .hidden = 32,
     .heads = 4,
     .key_heads = 2,
     .depth = 12,
     .intermediate = 64}};

static void check_numbers(const quern__quantised *q)
{
    for (int m = 0; m < QUERN__Q_MATRICES; m++) {
        if (!quern__quantised_has(q, m)) {
            if (q->layer[0].weight[m])
                abort();
            continue;
        }
        const size_t outputs = quern__quantised_outputs(q, m),
                     inputs = quern__quantised_inputs(q, m);
        const bool four = quern__is_four(q, 0, m);
        int sum = 0; /* so that all of it is read */
        for (size_t i = 0; i < outputs * inputs / (four ? 2 : 1); i++)
            if (four)
                sum += q->layer[0].weight[m][i];
            else if (q->layer[0].weight[m][i] < -127)
                abort();
        if (sum == INT_MIN || four != (q->layer[0].step[m] != NULL))
            abort();
        for (size_t i = 0; four && i < outputs * inputs / QUERN__STEP_INPUTS; i++)
            if (abs(q->layer[0].step[m][i]) < 1 || abs(q->layer[0].step[m][i]) > 15)
                abort();
        for (size_t i = 0; i < outputs; i++)
            if (!isfinite(q->layer[0].scale[m][i]) || q->layer[0].scale[m][i] <= 0)
                abort();
    }
    for (int i = 0; i < 2; i++)
        for (uint32_t c = 0; c < q->hidden; c++)
            if (!isfinite(q->layer[0].smooth[i][c]) || q->layer[0].smooth[i][c] <= 0)
                abort();
}

static void try_as(const uint8_t *data, size_t size, const quern__model_config *config)
{
    quern__quantised_file f;
    quern_error err;
    memset(&err, 0, sizeof err);
    const int rc = quern__quantised_parse(&f, data, size, "fuzz", config, &err);
    if (rc == QUERN_OK)
        check_numbers(f.numbers);
    else if (f.numbers || f.file || err.status != rc || !err.msg[0])
        abort();
    if (rc == QUERN_OK && !f.four && quern__fidelity_passes(&f.fidelity, false) &&
        !(f.fidelity.mean <= 1.001f))
        abort();
    quern__quantised_close(&f);
}

static void try_it(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < QUERN__COUNT(configs); i++)
        try_as(data, size, &configs[i]);
}

/* Where its checksum lies, and what it should be; false: it is no such file. */
static bool right_sum(const uint8_t *data, size_t size, size_t *at, uint8_t digest[32])
{
    quern__weights *w = NULL;
    quern__sha256 h;
    if (quern__weights_parse(&w, QUERN__SAFETENSORS, data, size, "fuzz", NULL) != QUERN_OK)
        return false;
    const quern__tensor *sum = quern__weights_find(w, "checksum");
    bool is = sum && sum->bytes == 32 && quern__sha256_begin(&h, NULL) == QUERN_OK;
    for (size_t i = 0; is && i < quern__weights_count(w); i++) {
        const quern__tensor *t = quern__weights_at(w, i);
        if (t != sum && (quern__sha256_add(&h, t->name, strlen(t->name) + 1, NULL) ||
                         quern__sha256_add(&h, t->data, t->bytes, NULL)))
            abort();
    }
    if (is) {
        *at = sum->offset;
        is = quern__sha256_end(&h, digest, NULL) == QUERN_OK;
        quern__sha256_dispose(&h);
    }
    quern__weights_free(w);
    return is;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t digest[32], *copy;
    size_t at = 0;
    try_it(data, size);
    if (!right_sum(data, size, &at, digest) || !(copy = malloc(size)))
        return 0;
    memcpy(copy, data, size);
    memcpy(copy + at, digest, sizeof digest);
    try_it(copy, size);
    free(copy);
    return 0;
}
