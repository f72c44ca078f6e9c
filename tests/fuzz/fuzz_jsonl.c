/* fuzz_jsonl.c — JSON Lines from a stranger, down to the canonical fields of each document. */
#include "fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_records(quern__jsonl_next, data, size);
}
