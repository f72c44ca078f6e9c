/* fuzz_onnx.c — any bytes as an ONNX model, and as one whose data lies in other files. */
#include "fuzz_weights.h"

#include "format/weights_build.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    quern__weights_files files = {.format = QUERN__ONNX, .n = 1, .name = {"onnx/model.onnx"}};
    quern_error err;

    if (quern__onnx_files(&files, data, size, "fuzz", &err) == QUERN_OK &&
        (files.n > QUERN__WEIGHTS_FILES || strcmp(files.name[files.graph], "onnx/model.onnx") != 0))
        abort();
    return fuzz_weights(QUERN__ONNX, data, size);
}
