/* asset_columns.c — see asset_columns.h. */
#include "store/asset_columns.h"

#include <string.h>

#include "base/compiler.h"
#include "db/sql_text.h"
#include "base/json.h"

static const char *const kinds[] = {"image", "frame", "video"}; /* enum quern_asset_kind */

static int kind_of(quern_str name)
{
    for (int i = 0; i < (int)QUERN__COUNT(kinds); i++)
        if (quern__str_is(name, kinds[i]))
            return i;
    return -1;
}

static quern_str trim(const char *from, const char *to)
{
    while (from < to && *from == ' ')
        from++;
    while (to > from && to[-1] == ' ')
        to--;
    return (quern_str){from, (size_t)(to - from)};
}

/* "COLUMN" or "COLUMN=KIND" */
static int parse_one(const char *from, const char *to, const char *source, quern__arena *arena,
                     quern__asset_columns *out, quern_error *err)
{
    const char *equals = memchr(from, '=', (size_t)(to - from));
    quern_str name = trim(from, equals ? equals : to);
    int kind = equals ? kind_of(trim(equals + 1, to)) : 0;
    if (!name.len || kind < 0)
        return quern__fail(err, QUERN_EINVAL, 0,
                           "source '%s': assets '%.*s': write COLUMN, or COLUMN=image, =frame or "
                           "=video",
                           source, (int)QUERN__MIN((size_t)(to - from), (size_t)60), from);
    if (out->n == QUERN__ASSET_COLUMNS)
        return quern__fail(err, QUERN_EINVAL, QUERN__ASSET_COLUMNS,
                           "source '%s': more than %d columns of assets", source,
                           QUERN__ASSET_COLUMNS);
    const char *copy = quern__arena_copy(arena, name.ptr, name.len);
    if (!copy)
        return quern__fail_memory(err, name.len);
    for (size_t i = 0; i < out->n; i++)
        if (strcmp(out->name[i], copy) == 0)
            return quern__fail(err, QUERN_EINVAL, 0,
                               "source '%s': assets: column '%.60s' is there twice", source, copy);
    out->kind[out->n] = kind;
    out->name[out->n++] = copy;
    return quern__sql_name(copy, "column of assets", err);
}

static int parse_most(const quern_source_spec *spec, uint32_t *most, quern_error *err)
{
    const char *text = spec->max_assets;
    uint32_t n = 0;
    *most = QUERN__ASSETS_DECLARED;
    if (!text)
        return QUERN_OK;
    for (size_t i = 0; text[i] >= '0' && text[i] <= '9' && i < 3; i++, *most = n)
        n = n * 10 + (uint32_t)(text[i] - '0');
    size_t digits = strspn(text, "0123456789");
    if (!digits || digits > 3 || text[digits] || !n || n > QUERN__ASSETS_DECLARABLE)
        return quern__fail(err, QUERN_EINVAL, 0, "source '%s': max assets '%.20s': 1 to %d",
                           spec->name, text, QUERN__ASSETS_DECLARABLE);
    return QUERN_OK;
}

int quern__asset_columns_parse(const quern_source_spec *spec, quern__arena *arena,
                               quern__asset_columns *out, quern_error *err)
{
    int rc = QUERN_OK;
    memset(out, 0, sizeof *out);
    if (!spec->assets)
        return !spec->max_assets
                   ? QUERN_OK
                   : quern__fail(err, QUERN_EINVAL, 0,
                                 "source '%s': max assets without columns of assets", spec->name);
    for (const char *at = spec->assets; rc == QUERN_OK; at++) {
        const char *end = at + strcspn(at, ",");
        rc = parse_one(at, end, spec->name, arena, out, err);
        at = end;
        if (!*at)
            break;
    }
    return rc ? rc : parse_most(spec, &out->most, err);
}
