/*
 * fuzz_dialect.c — a provider's answer. The first byte says how many vectors and which dimension were asked for; the rest is the
 * answer. Checked: what is accepted is whole (every float was written and is finite), and an error page never makes more
 * than one printable line.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "embedder/dialect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 8 };

static void check_line(quern_str body)
{
    char line[120];
    bool final;
    quern__dialect_fault(body, line, sizeof line, &final);
    for (size_t i = 0; line[i]; i++)
        if ((unsigned char)line[i] < ' ')
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static float found_out[QUERN__LARGEST_DIMENSION];
    float out[MOST * MOST];
    quern_error err;
    uint64_t tokens;
    char said[QUERN__ANSWERED];
    if (size == 0)
        return 0;
    quern_str body = {(const char *)data + 1, size - 1};
    uint32_t dim = data[0] % (MOST + 1);
    size_t n = dim ? 1 + data[0] / (MOST + 1) % MOST : 1;
    for (size_t i = 0; i < MOST * MOST; i++)
        out[i] = NAN;
    float *to = dim ? out : found_out;
    if (quern__dialect_answer(body, n, &dim, to, &tokens, said, &err) == QUERN_OK) {
        if (dim == 0 || dim > QUERN__LARGEST_DIMENSION)
            abort();
        for (size_t i = 0; i < n * dim; i++)
            if (!isfinite(to[i]))
                abort();
    } else if (err.status == QUERN_OK) {
        abort();
    }
    check_line(body);
    return 0;
}
