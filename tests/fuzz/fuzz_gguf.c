/* fuzz_gguf.c — any bytes as a GGUF file. */
#include "fuzz_weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_weights(QUERN__GGUF, data, size);
}
