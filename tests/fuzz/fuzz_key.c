/*
 * fuzz_key.c — any bytes as a key: refused with a message, or decoded to values whose canonical spelling
 * decodes to the same spelling again. Keys come back from databases that others write to.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "quern/sys/store.h"

enum { MAX_VALUES = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *spell(quern_str key)
{
    quern_value values[MAX_VALUES];
    quern_error err = {0};
    char *storage = NULL, *spelled = NULL;
    size_t n = 0;
    int rc = quern_key_decode(key, values, MAX_VALUES, &n, &storage, &err);
    if (rc == QUERN_OK && (n == 0 || n > MAX_VALUES))
        abort();
    if (rc == QUERN_OK)
        rc = quern_key_encode(values, n, &spelled, &err);
    if (rc != QUERN_OK && (err.status != rc || !err.msg[0]))
        abort();
    quern_free(storage);
    return spelled;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *once = spell((quern_str){(const char *)data, size});
    char *twice = once ? spell(quern_str_of(once)) : NULL;
    if (once && (!twice || strcmp(once, twice) != 0))
        abort();
    quern_free(once);
    quern_free(twice);
    return 0;
}
