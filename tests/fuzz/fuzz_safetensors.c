/* fuzz_safetensors.c — any bytes as a safetensors file. */
#include "fuzz_weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_weights(QUERN__SAFETENSORS, data, size);
}
