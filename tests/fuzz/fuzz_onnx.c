/* fuzz_onnx.c — any bytes as an ONNX model. */
#include "fuzz_weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_weights(QUERN__ONNX, data, size);
}
