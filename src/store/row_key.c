/* row_key.c — keys, marks and fields: what every store of this tree does in the same way. See the header. */
#include "store/row_key.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/json.h"
#include "base/sha256.h"
#include "db/sql_text.h"

enum { LONGEST_MARK = 1 << 20 };

int quern__copy_str(quern__arena *arena, quern_str from, quern_str *to, quern_error *err)
{
    char *copy = quern__arena_copy(arena, from.ptr ? from.ptr : "", from.len);
    if (!copy)
        return quern__fail_memory(err, from.len);
    *to = (quern_str){copy, from.len};
    return QUERN_OK;
}

void quern__put_hex(quern__buf *out, const void *data, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    char *room = quern__buf_reserve(out, 2 * n + 1);
    if (!room)
        return;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = ((const unsigned char *)data)[i];
        room[2 * i] = digits[c >> 4];
        room[2 * i + 1] = digits[c & 15];
    }
    room[2 * n] = '\0';
    out->len += 2 * n;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool quern__take_hex(const char *hex, size_t n, void *out)
{
    unsigned char *to = out;
    for (size_t i = 0; i < n; i++) {
        int hi = hex_digit(hex[2 * i]), lo = hex_digit(hex[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        to[i] = (unsigned char)(hi * 16 + lo);
    }
    return true;
}

static bool same_value(const quern_value *a, const quern_value *b)
{
    if (a->type != b->type)
        return false;
    if (a->type == QUERN_VALUE_INT)
        return a->integer == b->integer;
    if (a->type == QUERN_VALUE_REAL)
        return memcmp(&a->real, &b->real, sizeof a->real) == 0;
    return a->bytes.len == b->bytes.len &&
           (!a->bytes.len || memcmp(a->bytes.ptr, b->bytes.ptr, a->bytes.len) == 0);
}

bool quern__keys_same(const quern_value *a, const quern_value *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!same_value(&a[i], &b[i]))
            return false;
    return true;
}

/* ---- marks ---- */

bool quern__mark_is(quern_str key)
{
    static const char begin[] = "{\"fault\"";
    return key.len >= sizeof begin - 1 && memcmp(key.ptr, begin, sizeof begin - 1) == 0;
}

int quern__mark_make(const quern_value *keys, size_t n, uint64_t nth, quern__arena *arena,
                     quern_str *out, quern_error *err)
{
    quern__buf b;
    quern__buf_init(&b, LONGEST_MARK);
    quern__buf_puts(&b, "{\"fault\":\"");
    for (size_t i = 0; i < n; i++) {
        uint8_t type = (uint8_t)keys[i].type;
        uint64_t len = keys[i].bytes.len;
        quern__put_hex(&b, &type, 1);
        if (keys[i].type == QUERN_VALUE_INT)
            quern__put_hex(&b, &keys[i].integer, 8);
        else if (keys[i].type == QUERN_VALUE_REAL)
            quern__put_hex(&b, &keys[i].real, 8);
        else if (keys[i].type != QUERN_VALUE_NULL) {
            quern__put_hex(&b, &len, 8);
            quern__put_hex(&b, keys[i].bytes.ptr, keys[i].bytes.len);
        }
    }
    quern__buf_printf(&b, "\",\"n\":%" PRIu64 "}", nth);
    int rc = quern__buf_ok(&b, "the mark of a row whose key is too long", err);
    if (!rc)
        rc = quern__copy_str(arena, (quern_str){b.data, b.len}, out, err);
    quern__buf_dispose(&b);
    return rc;
}

static bool take(const char **at, size_t *left, void *out, size_t n)
{
    if (*left < n)
        return false;
    if (n)
        memcpy(out, *at, n);
    *at += n;
    *left -= n;
    return true;
}

/* The values of a mark's bytes; text points into them. */
static bool parse_values(const char *at, size_t left, quern_value *keys, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t type;
        uint64_t len = 0;
        memset(&keys[i], 0, sizeof keys[i]);
        if (!take(&at, &left, &type, 1) || type > QUERN_VALUE_BLOB)
            return false;
        keys[i].type = type;
        if (type == QUERN_VALUE_INT && !take(&at, &left, &keys[i].integer, 8))
            return false;
        if (type == QUERN_VALUE_REAL && !take(&at, &left, &keys[i].real, 8))
            return false;
        if (type < QUERN_VALUE_TEXT)
            continue;
        if (!take(&at, &left, &len, 8) || len > left)
            return false;
        keys[i].bytes = (quern_str){at, (size_t)len};
        at += len;
        left -= (size_t)len;
    }
    return left == 0;
}

int quern__mark_parse(quern_str mark, size_t n_keys, quern__arena *arena, quern_value *keys,
                      uint64_t *nth, quern_error *err)
{
    quern__json j;
    quern_str name, hex = {NULL, 0};
    quern__json_init(&j, mark.ptr, mark.len, "key");
    bool good = quern__json_enter_object(&j, NULL) == QUERN_OK &&
                quern__json_next_key(&j, &name, NULL) == 1 && quern__str_is(name, "fault") &&
                quern__json_string(&j, &hex, NULL) == QUERN_OK && hex.len % 2 == 0;
    char *bytes = good ? quern__arena_alloc(arena, hex.len / 2 + 1) : NULL;
    good = good && bytes && quern__take_hex(hex.ptr, hex.len / 2, bytes) &&
           parse_values(bytes, hex.len / 2, keys, n_keys) &&
           quern__json_next_key(&j, &name, NULL) == 1 && quern__str_is(name, "n") &&
           quern__json_u64(&j, nth, NULL) == QUERN_OK &&
           quern__json_next_key(&j, &name, NULL) == 0 && quern__json_end(&j, NULL) == QUERN_OK;
    quern__json_dispose(&j);
    return good ? QUERN_OK
                : quern__fail(err, QUERN_EFORMAT, 0, "'%.*s' is no key",
                              (int)QUERN__MIN(mark.len, (size_t)80), mark.ptr);
}

int quern__key_values(quern_str key, size_t n_keys, quern__arena *arena, quern_value *keys,
                      size_t room, quern_error *err)
{
    char *storage = NULL;
    size_t n = 0;
    int rc = quern_key_decode(key, keys, room, &n, &storage, err);
    if (!rc && n != n_keys)
        rc = quern__fail(err, QUERN_EFORMAT, (int64_t)n,
                         "key %.*s has %zu columns, the source's keys have %zu",
                         (int)QUERN__MIN(key.len, (size_t)80), key.ptr, n, n_keys);
    for (size_t i = 0; i < n && !rc; i++)
        if (keys[i].type >= QUERN_VALUE_TEXT)
            rc = quern__copy_str(arena, keys[i].bytes, &keys[i].bytes, err);
    quern__free(storage);
    return rc;
}

/* ---- built-in documents ---- */

/* A field as a value: scalars as they are, lists and objects as their JSON. */
static int field_value(quern__json *j, quern__arena *arena, quern_value *v, quern_error *err)
{
    int kind = quern__json_peek(j);
    size_t from = j->at;
    memset(v, 0, sizeof *v);
    if (kind == QUERN__JSON_STRING) {
        quern_str s;
        int rc = quern__json_string(j, &s, err);
        v->type = QUERN_VALUE_TEXT;
        return rc ? rc : quern__copy_str(arena, s, &v->bytes, err);
    }
    int rc = quern__json_skip(j, err);
    if (rc || kind == QUERN__JSON_NULL)
        return rc;
    quern_str raw = {j->text + from, j->at - from};
    if (kind == QUERN__JSON_NUMBER) {
        quern__json number;
        quern__json_init(&number, raw.ptr, raw.len, "number");
        if (quern__json_i64(&number, &v->integer, NULL) == QUERN_OK)
            v->type = QUERN_VALUE_INT;
        quern__json_dispose(&number);
        quern__json_init(&number, raw.ptr, raw.len, "number");
        if (!v->type && quern__json_double(&number, &v->real, NULL) == QUERN_OK)
            v->type = QUERN_VALUE_REAL;
        quern__json_dispose(&number);
        if (v->type)
            return QUERN_OK;
    }
    v->type = QUERN_VALUE_TEXT;
    return quern__copy_str(arena, raw, &v->bytes, err);
}

int quern__document_columns(const char *const *names, size_t n, const quern_value *id,
                            quern_str origin, quern_str fields, quern__arena *arena,
                            quern_value *columns, quern_error *err)
{
    quern_str name;
    quern__json j;
    int rc = QUERN_OK;
    for (size_t i = 0; i < n && !rc; i++) {
        memset(&columns[i], 0, sizeof columns[i]);
        if (strcmp(names[i], "id") == 0)
            columns[i] = *id;
        else if (strcmp(names[i], "origin") == 0 && origin.ptr) {
            columns[i].type = QUERN_VALUE_TEXT;
            rc = quern__copy_str(arena, origin, &columns[i].bytes, err);
        }
    }
    if (rc)
        return rc;
    quern__json_init(&j, fields.ptr ? fields.ptr : "", fields.len, "fields of a document");
    rc = quern__json_enter_object(&j, err);
    while (!rc && (rc = quern__json_next_key(&j, &name, err)) == 1) {
        size_t at = 0;
        while (at < n && !quern__str_is(name, names[at]))
            at++;
        rc = at < n ? field_value(&j, arena, &columns[at], err) : quern__json_skip(&j, err);
    }
    quern__json_dispose(&j);
    return rc;
}

int quern__document_strip(quern_str fields, const char *const *keep, size_t n, quern__buf *out,
                          char digest[65], quern_error *err)
{
    uint8_t hash[32];
    quern_str name;
    quern__json j;
    quern__jsonw w;
    int rc = quern__sha256_of(fields.ptr ? fields.ptr : "", fields.len, hash, err);
    if (rc)
        return rc;
    quern__hex32(hash, digest);
    quern__buf_clear(out);
    quern__jsonw_init(&w, out);
    quern__jsonw_object(&w);
    quern__json_init(&j, fields.ptr ? fields.ptr : "", fields.len, "fields of a document");
    rc = quern__json_enter_object(&j, err);
    while (!rc && (rc = quern__json_next_key(&j, &name, err)) == 1) {
        size_t at = 0;
        while (at < n && !quern__str_is(name, keep[at]))
            at++;
        quern__json_peek(&j); /* white space goes */
        size_t from = j.at;
        rc = quern__json_skip(&j, err);
        if (rc || at == n)
            continue;
        quern__jsonw_key(&w, keep[at]);
        quern__jsonw_raw(&w, j.text + from, j.at - from);
    }
    quern__json_dispose(&j);
    quern__jsonw_end_object(&w);
    return rc ? rc : quern__buf_ok(out, "the fields of a document", err);
}

int quern__strip_leaves(const quern_source_spec *source, quern_str key, quern_error *err)
{
    return quern__fail(err, QUERN_EINVAL, 0,
                       "source '%s': its predicate reads a field that goes with the text, so that "
                       "%.*s would no longer be among its documents: name that field in --meta, or "
                       "keep the texts (source set --keep-text yes)",
                       source->name, (int)QUERN__MIN(key.len, (size_t)100), key.ptr);
}

int quern__origin_under(const char *roots, quern_str origin, quern_error *err)
{
    quern__json j;
    quern_str root;
    int found = 0;
    if (!roots)
        return 0;
    quern__json_init(&j, roots, strlen(roots), "roots");
    int rc = quern__json_enter_array(&j, err);
    while (!rc && (rc = quern__json_next_item(&j, err)) == 1) {
        rc = quern__json_string(&j, &root, err);
        if (rc || origin.len < root.len || memcmp(origin.ptr, root.ptr, root.len) != 0)
            continue;
        found |= origin.len == root.len || (root.len && root.ptr[root.len - 1] == '/') ||
                 origin.ptr[root.len] == '/';
    }
    quern__json_dispose(&j);
    return rc ? rc : found;
}

/* ---- key columns ---- */

int quern__key_columns(const char *list, bool (*same)(const char *a, const char *b), char **names,
                       size_t room, size_t *n, quern__arena *arena, quern_error *err)
{
    *n = 0;
    while (*list) {
        size_t len = strcspn(list, ",");
        const char *from = list, *to = list + len;
        while (from < to && *from == ' ')
            from++;
        while (to > from && to[-1] == ' ')
            to--;
        if (*n == room)
            return quern__fail(err, QUERN_EINVAL, 0, "more than %zu key columns", room);
        char *name = quern__arena_copy(arena, from, (size_t)(to - from));
        if (!name)
            return quern__fail_memory(err, len);
        int rc = quern__sql_name(name, "key column", err);
        if (rc)
            return rc;
        for (size_t i = 0; i < *n; i++)
            if (same(names[i], name))
                return quern__fail(err, QUERN_EINVAL, 0, "key column '%s' is named twice", name);
        names[(*n)++] = name;
        list += len + (list[len] == ',');
    }
    return *n ? QUERN_OK : quern__fail(err, QUERN_EINVAL, 0, "no key column given");
}
