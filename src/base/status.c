/* status.c — names and texts of the status codes, from the one list in quern/status.h; the version. */
#include "quern/status.h"

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)

const char *quern_status_name(int status)
{
    switch (status) {
#define CASE(name, value, text)                                                                    \
    case value:                                                                                    \
        return #name;
        QUERN_STATUS_MAP(CASE)
#undef CASE
    default:
        return "UNKNOWN";
    }
}

const char *quern_status_text(int status)
{
    switch (status) {
#define CASE(name, value, text)                                                                    \
    case value:                                                                                    \
        return text;
        QUERN_STATUS_MAP(CASE)
#undef CASE
    default:
        return "a code that this version of quern does not know";
    }
}

const char *quern_error_code(const quern_error *err)
{
    static const char *const words[] = {
        "ok",         "invalid",     "out_of_memory", "io",      "not_found", "exists",
        "bad_format", "unsupported", "mismatch",      "remote",  "busy",      "cancelled",
        "internal",   "too_long",    "partial",       "timeout", "budget"};
    _Static_assert(sizeof words / sizeof *words == 1 - QUERN_STATUS_LAST_, "one word a status");
    if (err && err->code)
        return err->code;
    int status = err ? err->status : 0;
    return status <= 0 && status >= QUERN_STATUS_LAST_ ? words[-status] : "internal";
}

uint32_t quern_version(void)
{
    /* cppcheck-suppress badBitmaskCheck ; the first number is 0 for a while */
    return (uint32_t)QUERN_VERSION_MAJOR << 16 | (uint32_t)QUERN_VERSION_MINOR << 8 |
           (uint32_t)QUERN_VERSION_PATCH;
}

const char *quern_version_string(void)
{
    return TEXT(QUERN_VERSION_MAJOR) "." TEXT(QUERN_VERSION_MINOR) "." TEXT(QUERN_VERSION_PATCH);
}
