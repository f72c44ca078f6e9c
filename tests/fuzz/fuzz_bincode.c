/*
 * fuzz_bincode.c — any bytes as the cache of another system: refused with a message, or entries which, written again, are the same bytes.
 * The first byte says in what pieces they are read, and whether the file is shorter than its size was.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cache/bincode.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct bytes {
    const uint8_t *data;
    size_t n, at, step;
} bytes;

static int read_some(void *ud, void *buf, size_t n, size_t *got, quern_error *err)
{
    bytes *b = ud;
    size_t left = b->n - b->at;
    (void)err;
    *got = n < left ? n : left;
    *got = *got < b->step ? *got : b->step;
    memcpy(buf, b->data + b->at, *got);
    b->at += *got;
    return QUERN_OK;
}

/* The next n bytes of the input are v's. */
static void check(const uint8_t **at, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (*(*at)++ != (uint8_t)(v >> (8 * i)))
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t cut = data[0] & 1;
    bytes in = {data + 1, size - 1, 0, 1u + data[0]};
    const uint8_t *again = data + 9;
    quern_error err = {0};
    quern__bincode *b;
    quern_str text;
    const float *vector;
    uint32_t dim;
    int rc = quern__bincode_open(&b, "fuzz", read_some, &in, in.n + cut, &err), more = 0;
    while (rc == QUERN_OK && (more = quern__bincode_next(b, &text, &vector, &dim, &err)) == 1) {
        check(&again, text.len, 8);
        if (memcmp(again, text.ptr, text.len) != 0 ||
            quern__utf8_check(text.ptr, text.len) != text.len)
            abort();
        again += text.len;
        check(&again, dim, 8);
        for (uint32_t i = 0; i < dim; i++) {
            uint32_t word;
            memcpy(&word, &vector[i], 4);
            check(&again, word, 4);
            if (!isfinite(vector[i]))
                abort();
        }
    }
    rc = rc ? rc : more;
    if (rc != QUERN_OK && (rc != QUERN_EFORMAT || err.status != rc || !err.msg[0]))
        abort();
    if (rc == QUERN_OK && (cut || again != data + size))
        abort();
    quern__bincode_free(b);
    return 0;
}
