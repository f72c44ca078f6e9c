/*
 * text_api.c — the public face of the helpers over bytes (quern/text.h). Strings come in as
 * quern_str, whose pointer may be NULL when it is empty; the code below never is.
 */
#include "quern/text.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/checked.h"
#include "base/json.h"
#include "text/utf8.h"

size_t quern_utf8_check(quern_str s)
{
    return s.len ? quern__utf8_check(s.ptr, s.len) : 0;
}

int quern_utf8_replace(char **out, size_t *len, quern_str s, quern_error *err)
{
    QUERN__REQUIRE(out && (s.ptr || !s.len), err);
    *out = NULL;
    size_t max; /* one bad byte becomes three */
    if (!quern__mul_size(s.len, 3, &max) || !quern__add_size(max, 1, &max))
        return quern__fail_memory(err, s.len);
    quern__buf b;
    quern__buf_init(&b, max);
    for (size_t at = 0; at < s.len;) {
        size_t good = quern__utf8_check(s.ptr + at, s.len - at);
        quern__buf_append(&b, s.ptr + at, good);
        at += good;
        if (at == s.len)
            break;
        uint32_t cp;
        bool bad = false;
        at += quern__utf8_next(s.ptr + at, s.len - at, &cp, &bad);
        quern__buf_puts(&b, "\xEF\xBF\xBD");
    }
    size_t n = b.len;
    *out = quern__buf_detach(&b);
    if (!*out)
        return quern__fail_memory(err, s.len);
    if (len)
        *len = n;
    return QUERN_OK;
}

int quern_json_scan(quern_str text, size_t max_size, uint32_t max_depth, size_t max_values,
                    quern_error *err)
{
    QUERN__REQUIRE(text.ptr || !text.len, err);
    return quern__json_scan(text.len ? text.ptr : "", text.len, max_size, max_depth, max_values,
                            err);
}
