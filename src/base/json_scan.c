/* json_scan.c — the three bounds that jansson lacks, in one pass over the bytes, before it runs. */
#include "base/json.h"

int quern__json_scan(const char *text, size_t len, size_t max_size, uint32_t max_depth,
                     size_t max_values, quern_error *err)
{
    uint32_t depth = 0;
    size_t values = 1; /* a comma or an opening adds at most one */
    bool quoted = false;
    if (len > max_size)
        return quern__fail(err, QUERN_EFORMAT, 0, "JSON of %zu bytes, at most %zu are read", len,
                           max_size);
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
            continue;
        }
        if (c == '"') {
            quoted = true;
        } else if (c == '[' || c == '{') {
            values++;
            if (++depth > max_depth)
                return quern__fail(err, QUERN_EFORMAT, (int64_t)i,
                                   "JSON nested deeper than %u levels at byte %zu", max_depth, i);
        } else if ((c == ']' || c == '}') && depth) {
            depth--;
        } else if (c == ',') {
            values++;
        }
        if (values > max_values)
            return quern__fail(err, QUERN_EFORMAT, (int64_t)i,
                               "JSON of more than %zu values at byte %zu", max_values, i);
    }
    return QUERN_OK;
}
