/*
 * fuzz_weights.h — any bytes as a file of weights: refused with a message, or every tensor lies inside the
 * bytes, can be read to its last element and is found by its name.
 */
#ifndef TEST_FUZZ_WEIGHTS_H
#define TEST_FUZZ_WEIGHTS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_tensors(const quern__weights *w, const uint8_t *data, size_t size)
{
    float v[16];

    for (size_t i = 0; i < quern__weights_count(w); i++) {
        const quern__tensor *t = quern__weights_at(w, i);
        size_t n = t->count < 16 ? t->count : 16;
        if (t->bytes && (t->offset > size || t->bytes > size - t->offset ||
                         t->data != (const void *)(data + t->offset)))
            abort();
        if (quern__weights_find(w, t->name) != t)
            abort();
        if (t->dtype == QUERN__OTHER_DTYPE)
            continue;
        quern__tensor_read_f32(t, 0, n, v);
        quern__tensor_read_f32(t, t->count - n, n, v);
    }
}

static int fuzz_weights(int format, const uint8_t *data, size_t size)
{
    quern__weights *w = NULL;
    quern_error err;

    memset(&err, 0, sizeof err);
    int rc = quern__weights_parse(&w, format, data, size, "fuzz", &err);
    if (rc == QUERN_OK)
        fuzz_tensors(w, data, size);
    else if (w || err.status != rc || !err.msg[0])
        abort();
    quern__weights_free(w);
    return 0;
}

#endif
