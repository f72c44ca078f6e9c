/*
 * fuzz_template.c — the text template. Bytes before the first NUL are the template, what follows is cut into
 * the columns' values; then every column is all of it (JSON is long). Checked: the text keeps its bound, and is empty
 * when every value is.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "text/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void render(const quern__template *t, const quern_str *values, quern__buf *out)
{
    quern_error err;
    quern__buf_clear(out);
    if (quern__template_render(t, values, out, &err) == QUERN_OK &&
        out->len > quern__template_bound(t, values))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    quern_error err;
    char *text = quern__strndup((const char *)data, size);
    if (!text)
        return 0;
    size_t len = strlen(text), rest = size > len ? size - len - 1 : 0;
    const char *value = (const char *)data + (size - rest);
    quern__template *t = NULL;
    if (quern__template_parse(&t, text, &err) == QUERN_OK) {
        size_t n = quern__template_count(t);
        if (n == 0 || n > QUERN__TEMPLATE_FIELDS)
            abort();
        quern_str values[QUERN__TEMPLATE_FIELDS] = {{NULL, 0}};
        quern__buf out;
        quern__buf_init(&out, 1 << 24);
        if (quern__template_render(t, values, &out, &err) || out.len)
            abort();
        for (size_t i = 0; i < n; i++)
            values[i] = (quern_str){value + rest * i / n, rest * (i + 1) / n - rest * i / n};
        render(t, values, &out);
        for (size_t i = 0; i < n; i++)
            values[i] = (quern_str){value, rest};
        render(t, values, &out);
        quern__buf_dispose(&out);
    }
    quern__template_free(t);
    quern__free(text);
    return 0;
}
