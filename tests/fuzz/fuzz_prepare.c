/*
 * fuzz_prepare.c — the steps that clean a text. The first byte says which, the rest is the text, made well-formed
 * first as the pipeline demands. Checked: never longer, still UTF-8, and the same the second time the same text comes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "quern/text.h"
#include "text/prepare.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    quern_error err;
    char *once = NULL, *twice = NULL;
    size_t n = 0, m = 0;
    if (!size)
        return 0;
    quern_str text = {(const char *)data + 1, size - 1};
    if (quern_utf8_replace(&once, &n, text, &err) == QUERN_OK &&
        quern_utf8_replace(&twice, &m, text, &err) == QUERN_OK) {
        uint32_t steps = data[0] & QUERN__PREPARE_ALL;
        size_t a = quern__prepare(steps, once, n);
        size_t b = quern__prepare(steps, twice, m);
        if (a > n || a != b || memcmp(once, twice, a) != 0 || quern__utf8_check(once, a) != a)
            abort();
    }
    quern_free(once);
    quern_free(twice);
    return 0;
}
