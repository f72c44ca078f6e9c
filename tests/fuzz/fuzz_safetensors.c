/*
 * fuzz_safetensors.c — any bytes as a safetensors file: refused with a message, or every tensor lies
 * inside the bytes, can be read to its last element and is found by its name.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const quern__weights *f, const uint8_t *data, size_t size)
{
    float v[16];

    for (size_t i = 0; i < quern__weights_count(f); i++) {
        const quern__tensor *t = quern__weights_at(f, i);
        size_t n = t->count < 16 ? t->count : 16;
        if (t->offset > size || t->bytes > size - t->offset ||
            t->data != (const void *)(data + t->offset) || quern__weights_find(f, t->name) != t)
            abort();
        if (t->dtype == QUERN__OTHER_DTYPE)
            continue;
        quern__tensor_read_f32(t, 0, n, v);
        quern__tensor_read_f32(t, t->count - n, n, v);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    quern__weights *f = NULL;
    quern_error err;
    int rc;

    memset(&err, 0, sizeof err);
    rc = quern__weights_parse(&f, QUERN__SAFETENSORS, data, size, "fuzz", &err);
    if (rc == QUERN_OK)
        check(f, data, size);
    else if (f || err.status != rc || !err.msg[0])
        abort();
    quern__weights_free(f);
    return 0;
}
