/*
 * fuzz_config_json.c — any bytes as config.json: refused with a message, or of a known family, every number one that an
 * encoder can be built from, and an architecture that stands in a fingerprint.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/family.h"
#include "format/model_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool can_be_built(const quern__model_config *c)
{
    const quern__family *f = quern__family_find(c->family);
    if (!f)
        return false;
    if (f->table) /* its sizes are those of its weights */
        return c->table;
    return c->hidden && c->heads && (c->depth || c->hidden % c->heads == 0) && c->layers &&
           c->intermediate && c->vocab && c->positions && !c->types == !f->types &&
           c->layer_norm_eps > 0 && isfinite(c->layer_norm_eps) &&
           (!c->key_heads || c->heads % c->key_heads == 0) && (!f->rotary || c->rope >= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    quern__model_config c;
    quern_error err;
    char architecture[65];
    int rc;

    memset(&err, 0, sizeof err);
    rc = quern__model_config_parse(&c, (const char *)data, size, "fuzz", &err);
    if (rc == QUERN_OK) {
        if (!can_be_built(&c) || quern__model_config_architecture_sha256(&c, architecture, &err))
            abort();
    } else if (err.status != rc || !err.msg[0]) {
        abort();
    }
    return 0;
}
