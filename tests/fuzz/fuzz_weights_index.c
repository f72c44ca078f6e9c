/*
 * fuzz_weights_index.c — any bytes as the index of a model in several files: refused with a message, or every
 * file that it names is a plain name of the right ending, each once, in order.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/weights_build.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SHARD "\x40\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static quern__weights_files files;
    static uint8_t shard[8 + 64 + 1];
    quern__weights *w = NULL;
    quern_error err = {0};
    memset(shard, ' ', sizeof shard);
    memcpy(shard, SHARD, sizeof SHARD - 1);
    strcpy(files.index, "model.safetensors.index.json");
    int rc = quern__weights_index_files(&files, (const char *)data, size, "fuzz", &err);
    if (rc != QUERN_OK) {
        if (err.status != rc || !err.msg[0])
            abort();
        return 0;
    }
    for (uint32_t i = 0; i < files.n; i++)
        if (strchr(files.name[i], '/') || !strstr(files.name[i], ".safetensors") ||
            (i && strcmp(files.name[i - 1], files.name[i]) >= 0))
            abort();
    if (quern__weights_parse(&w, QUERN__SAFETENSORS, shard, sizeof shard, "shard", &err))
        abort();
    w->files = files;
    rc = quern__weights_index_check(w, (const char *)data, size, "fuzz", &err);
    if (rc != QUERN_OK && (err.status != rc || !err.msg[0]))
        abort();
    quern__weights_free(w);
    return 0;
}
