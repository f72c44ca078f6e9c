/*
 * fuzz_manifest.c — any bytes as quern-manifest.json: refused with a message, or every entry is a plain
 * relative path with a well-formed hash.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static quern__manifest m;
    quern_error err = {0};
    int rc = quern__manifest_parse(&m, (const char *)data, size, "fuzz", &err);
    if (rc != QUERN_OK) {
        if (err.status != rc || !err.msg[0])
            abort();
        return 0;
    }
    if (m.n > QUERN__MANIFEST_FILES)
        abort();
    for (uint32_t i = 0; i < m.n; i++) {
        const quern__manifest_file *f = &m.file[i];
        if (!quern__manifest_path_ok(f->name) || strspn(f->sha256, "0123456789abcdef") != 64 ||
            f->sha256[64] != '\0')
            abort();
    }
    return 0;
}
