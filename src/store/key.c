/*
 * key.c — a row's key as canonical JSON and back. One spelling per value: integers plainly, reals with the
 * fewest digits that read back and always a '.' or exponent (so that 1 and 1.0 stay two keys), text
 * with the escapes of the writer, bytes as {"blob":"lower-case hex"}, several columns as an array.
 * Equal keys are equal bytes; nothing else compares keys.
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/json.h"
#include "quern/sys/store.h"
#include "text/utf8.h"

enum { LONGEST = 64 * 1024 };

static int put_blob(quern__jsonw *w, quern_str bytes, quern_error *err)
{
    static const char digits[] = "0123456789abcdef";
    quern__buf hex;
    quern__buf_init(&hex, 2 * (size_t)LONGEST + 1);
    for (size_t i = 0; i < bytes.len; i++) {
        unsigned char c = (unsigned char)bytes.ptr[i];
        quern__buf_putc(&hex, digits[c >> 4]);
        quern__buf_putc(&hex, digits[c & 15]);
    }
    int rc = quern__buf_ok(&hex, "key", err);
    if (!rc) {
        quern__jsonw_object(w);
        quern__jsonw_put_str(w, "blob", (quern_str){hex.len ? hex.data : "", hex.len});
        quern__jsonw_end_object(w);
    }
    quern__buf_dispose(&hex);
    return rc;
}

static int put_value(quern__jsonw *w, const quern_value *v, quern_error *err)
{
    switch (v->type) {
    case QUERN_VALUE_INT:
        quern__jsonw_i64(w, v->integer);
        return QUERN_OK;
    case QUERN_VALUE_REAL: {
        if (!isfinite(v->real))
            return quern__fail(err, QUERN_EFORMAT, 0, "a key that is not a finite number");
        size_t from = w->out->len;
        quern__jsonw_double(w, v->real);
        if (!w->out->failed && !strpbrk(w->out->data + from, ".eE"))
            quern__buf_puts(w->out, ".0");
        return QUERN_OK;
    }
    case QUERN_VALUE_TEXT: {
        size_t bad = quern__utf8_check(v->bytes.ptr, v->bytes.len);
        if (bad != v->bytes.len)
            return quern__fail(err, QUERN_EFORMAT, (int64_t)bad,
                               "a key that is not UTF-8 at byte %zu", bad);
        quern__jsonw_str(w, v->bytes);
        return QUERN_OK;
    }
    case QUERN_VALUE_BLOB:
        return put_blob(w, v->bytes, err);
    default:
        return quern__fail(err, QUERN_EFORMAT, 0, "a key that is NULL");
    }
}

int quern_key_encode(const quern_value *values, size_t n, char **key, quern_error *err)
{
    QUERN__REQUIRE(key, err);
    *key = NULL;
    QUERN__REQUIRE(values && n, err);
    size_t bytes = 0;
    for (size_t i = 0; i < n && bytes <= LONGEST; i++) {
        size_t len = QUERN__MIN(values[i].bytes.len, (size_t)LONGEST + 1);
        if (values[i].type == QUERN_VALUE_TEXT || values[i].type == QUERN_VALUE_BLOB)
            bytes += values[i].type == QUERN_VALUE_BLOB ? 2 * len : len;
    }
    if (bytes > LONGEST)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)bytes, "a key of over %d bytes", LONGEST);
    quern__buf out;
    quern__buf_init(&out, LONGEST);
    quern__jsonw w;
    quern__jsonw_init(&w, &out);
    int rc = QUERN_OK;
    if (n > 1)
        quern__jsonw_array(&w);
    for (size_t i = 0; i < n && !rc; i++)
        rc = put_value(&w, &values[i], err);
    if (n > 1)
        quern__jsonw_end_array(&w);
    if (!rc && out.failed && out.len > LONGEST / 2)
        rc = quern__fail(err, QUERN_EFORMAT, 0, "a key of over %d bytes as JSON", LONGEST);
    if (!rc)
        rc = quern__buf_ok(&out, "key", err);
    if (!rc && !(*key = quern__buf_detach(&out)))
        rc = quern__fail_memory(err, 0);
    quern__buf_dispose(&out);
    return rc;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int get_blob(quern__json *j, quern_value *v, char *room, size_t *used, quern_error *err)
{
    quern_str name = {NULL, 0}, hex;
    int rc = quern__json_enter_object(j, err);
    if (!rc)
        rc = quern__json_next_key(j, &name, err);
    if (rc < 0)
        return rc;
    if (rc == 0 || !quern__str_is(name, "blob"))
        return quern__json_fail(j, err, "an object in a key must be {\"blob\":…}");
    rc = quern__json_string(j, &hex, err);
    if (rc)
        return rc;
    if (hex.len % 2)
        return quern__json_fail(j, err, "a blob of %zu hex digits", hex.len);
    char *bytes = room + *used;
    for (size_t i = 0; i < hex.len; i += 2) {
        int hi = hex_digit(hex.ptr[i]), lo = hex_digit(hex.ptr[i + 1]);
        if (hi < 0 || lo < 0)
            return quern__json_fail(j, err, "a blob that is not lower-case hex");
        bytes[i / 2] = (char)(hi * 16 + lo);
    }
    *v = (quern_value){.type = QUERN_VALUE_BLOB, .bytes = {bytes, hex.len / 2}};
    *used += hex.len / 2;
    rc = quern__json_next_key(j, &name, err);
    return rc == 1 ? quern__json_fail(j, err, "an object in a key must be {\"blob\":…}") : rc;
}

/* A number is a real when its text has a '.' or an exponent. */
static int get_number(quern__json *j, quern_value *v, quern_error *err)
{
    size_t end = j->at;
    while (end < j->len && memchr(" \t\r\n", j->text[end], 4))
        end++;
    bool real = false;
    for (; end < j->len && memchr("+-.eE0123456789", j->text[end], 15); end++)
        real |= j->text[end] == '.' || j->text[end] == 'e' || j->text[end] == 'E';
    v->type = real ? QUERN_VALUE_REAL : QUERN_VALUE_INT;
    return real ? quern__json_double(j, &v->real, err) : quern__json_i64(j, &v->integer, err);
}

static int get_value(quern__json *j, quern_value *v, char *room, size_t *used, quern_error *err)
{
    memset(v, 0, sizeof *v);
    switch (quern__json_peek(j)) {
    case QUERN__JSON_NUMBER:
        return get_number(j, v, err);
    case QUERN__JSON_OBJECT:
        return get_blob(j, v, room, used, err);
    case QUERN__JSON_STRING: {
        quern_str s;
        int rc = quern__json_string(j, &s, err);
        if (rc)
            return rc;
        if (s.len)
            memcpy(room + *used, s.ptr, s.len);
        *v = (quern_value){.type = QUERN_VALUE_TEXT, .bytes = {room + *used, s.len}};
        *used += s.len;
        return QUERN_OK;
    }
    default:
        return quern__json_fail(j, err,
                                "a key is a number, a string, {\"blob\":…} or an array of them");
    }
}

int quern_key_decode(quern_str key, quern_value *values, size_t n_max, size_t *n, char **storage,
                     quern_error *err)
{
    QUERN__REQUIRE(storage, err);
    *storage = NULL;
    QUERN__REQUIRE(values && n_max && n && (key.ptr || !key.len), err);
    *n = 0;
    if (key.len > LONGEST)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)key.len,
                           "a key of %zu bytes, at most %d are allowed", key.len, LONGEST);
    /* decoded text is never longer than its JSON */
    char *room = quern__alloc(key.len + 1);
    if (!room)
        return quern__fail_memory(err, key.len + 1);
    size_t used = 0;
    quern__json j;
    quern__json_init(&j, key.ptr, key.len, "key");
    int rc;
    if (quern__json_peek(&j) == QUERN__JSON_ARRAY) {
        rc = quern__json_enter_array(&j, err);
        while (!rc && (rc = quern__json_next_item(&j, err)) == 1) {
            rc = *n < n_max ? get_value(&j, &values[*n], room, &used, err)
                            : quern__json_fail(&j, err, "a key of more than %zu columns", n_max);
            *n += !rc;
        }
        if (!rc && *n < 2)
            rc = quern__json_fail(&j, err, "a key array of %zu columns", *n);
    } else {
        rc = get_value(&j, &values[0], room, &used, err);
        *n = 1;
    }
    if (!rc)
        rc = quern__json_end(&j, err);
    quern__json_dispose(&j);
    if (rc)
        quern__free(room);
    else
        *storage = room;
    return rc;
}
