/*
 * fuzz_config_json.c — any bytes as config.json: refused with a message, or every number is one that
 * an encoder can be built from.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/model_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    quern__model_config c;
    quern_error err;
    int rc;

    memset(&err, 0, sizeof err);
    rc = quern__model_config_parse(&c, (const char *)data, size, "fuzz", &err);
    if (rc == QUERN_OK) {
        if (!c.hidden || !c.heads || c.hidden % c.heads || !c.layers || !c.intermediate ||
            !c.vocab || !c.positions || !c.types || !(c.layer_norm_eps > 0) ||
            strcmp(c.family, "bert") != 0)
            abort();
    } else if (err.status != rc || !err.msg[0]) {
        abort();
    }
    return 0;
}
