/*
 * fuzz_npy.c — any bytes as the header of an npy file: refused with a message, or a shape whose own header is read as the
 * same shape again.
 */
#include <stdlib.h>
#include <string.h>

#include "format/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    quern__npy shape, again;
    quern_error err = {0};
    unsigned char header[QUERN__NPY_HEADER];
    unsigned char *copy = malloc(size + 1); /* of its very length, for the address sanitizer */
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    int rc = quern__npy_read(copy, size, &shape, &err);
    free(copy);
    if (rc != QUERN_OK) {
        if (rc != QUERN_EFORMAT || err.status != rc || !err.msg[0])
            abort();
        return 0;
    }
    quern__npy_write(&shape, header);
    if (quern__npy_read(header, sizeof header, &again, &err) != QUERN_OK ||
        shape.rows != again.rows || shape.dimensions != again.dimensions ||
        shape.width != again.width)
        abort();
    return 0;
}
