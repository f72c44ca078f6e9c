/* fuzz_torch.c — any bytes as a file of torch.save, zip or legacy. */
#include "fuzz_weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_weights(QUERN__TORCH, data, size);
}
