/*
 * json_write.c — JSON into a buffer. Faults (memory, ceiling, nesting past 64 levels) latch in the
 * buffer, so the caller asks once at the end. A number that is not finite becomes null: JSON has
 * no other word for it.
 */
#include "base/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8_step.h"

void quern__jsonw_init(quern__jsonw *w, quern__buf *out)
{
    memset(w, 0, sizeof *w);
    w->out = out;
}

static void before_value(quern__jsonw *w)
{
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    if (!w->depth)
        return;
    if (w->comma[w->depth - 1])
        quern__buf_putc(w->out, ',');
    w->comma[w->depth - 1] = 1;
}

static void open_container(quern__jsonw *w, char c)
{
    before_value(w);
    if (w->depth == QUERN__JSON_DEPTH) {
        w->out->failed = true;
        return;
    }
    w->comma[w->depth++] = 0;
    quern__buf_putc(w->out, c);
}

static void close_container(quern__jsonw *w, char c)
{
    if (w->depth)
        w->depth--;
    quern__buf_putc(w->out, c);
}

void quern__jsonw_object(quern__jsonw *w)
{
    open_container(w, '{');
}

void quern__jsonw_end_object(quern__jsonw *w)
{
    close_container(w, '}');
}

void quern__jsonw_array(quern__jsonw *w)
{
    open_container(w, '[');
}

void quern__jsonw_end_array(quern__jsonw *w)
{
    close_container(w, ']');
}

/* One character that cannot stand for itself: 0 when c can. */
static char short_escape(unsigned char c)
{
    switch (c) {
    case '"':
    case '\\':
        return (char)c;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return 0;
    }
}

static void write_string(quern__buf *b, const char *s, size_t len)
{
    size_t from = 0, at = 0; /* [from, at) waits to be copied as it is */
    quern__buf_putc(b, '"');
    while (at < len) {
        unsigned char c = (unsigned char)s[at];
        uint32_t cp, n = quern__utf8_step((const unsigned char *)s + at, len - at, &cp);
        char esc = short_escape(c);
        if (cp != QUERN__UTF8_BAD && c >= 0x20 && !esc) {
            at += n;
            continue;
        }
        quern__buf_append(b, s + from, at - from);
        if (cp == QUERN__UTF8_BAD)
            quern__buf_puts(b, "\xEF\xBF\xBD");
        else if (esc)
            quern__buf_append(b, (char[2]){'\\', esc}, 2);
        else
            quern__buf_printf(b, "\\u%04x", c);
        at += n;
        from = at;
    }
    quern__buf_append(b, s ? s + from : "", at - from);
    quern__buf_putc(b, '"');
}

void quern__jsonw_key(quern__jsonw *w, const char *key)
{
    quern__jsonw_key_str(w, quern_str_of(key));
}

void quern__jsonw_key_str(quern__jsonw *w, quern_str key)
{
    before_value(w);
    write_string(w->out, key.ptr, key.len);
    quern__buf_putc(w->out, ':');
    w->after_key = true;
}

void quern__jsonw_str(quern__jsonw *w, quern_str s)
{
    before_value(w);
    write_string(w->out, s.ptr, s.len);
}

void quern__jsonw_cstr(quern__jsonw *w, const char *s)
{
    quern__jsonw_str(w, quern_str_of(s));
}

void quern__jsonw_i64(quern__jsonw *w, int64_t v)
{
    before_value(w);
    quern__buf_printf(w->out, "%" PRId64, v);
}

void quern__jsonw_u64(quern__jsonw *w, uint64_t v)
{
    before_value(w);
    quern__buf_printf(w->out, "%" PRIu64, v);
}

void quern__jsonw_bool(quern__jsonw *w, bool v)
{
    before_value(w);
    quern__buf_puts(w->out, v ? "true" : "false");
}

void quern__jsonw_null(quern__jsonw *w)
{
    before_value(w);
    quern__buf_puts(w->out, "null");
}

/* Writes what printf made, with '.' for the locale's decimal point, whatever bytes that is. */
static void write_number(quern__jsonw *w, const char *text)
{
    bool in_point = false;
    for (; *text; text++) {
        bool plain = (*text >= '0' && *text <= '9') || *text == '-' || *text == '+' || *text == 'e';
        if (plain)
            quern__buf_putc(w->out, *text);
        else if (!in_point)
            quern__buf_putc(w->out, '.');
        in_point = !plain;
    }
}

void quern__jsonw_float(quern__jsonw *w, float v)
{
    char text[48];
    before_value(w);
    if (v - v != 0.0f) {
        quern__buf_puts(w->out, "null");
        return;
    }
    for (int precision = 6; precision <= 9; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, (double)v);
        if (precision == 9 || strtof(text, NULL) == v)
            break;
    }
    write_number(w, text);
}

void quern__jsonw_double(quern__jsonw *w, double v)
{
    char text[48];
    before_value(w);
    if (v - v != 0.0) {
        quern__buf_puts(w->out, "null");
        return;
    }
    for (int precision = 6; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, v);
        if (precision == 17 || strtod(text, NULL) == v)
            break;
    }
    write_number(w, text);
}

void quern__jsonw_raw(quern__jsonw *w, const char *json, size_t len)
{
    before_value(w);
    quern__buf_append(w->out, json, len);
}

void quern__jsonw_put_str(quern__jsonw *w, const char *key, quern_str value)
{
    quern__jsonw_key(w, key);
    quern__jsonw_str(w, value);
}

void quern__jsonw_put_cstr(quern__jsonw *w, const char *key, const char *value)
{
    quern__jsonw_key(w, key);
    quern__jsonw_cstr(w, value);
}

void quern__jsonw_put_i64(quern__jsonw *w, const char *key, int64_t value)
{
    quern__jsonw_key(w, key);
    quern__jsonw_i64(w, value);
}

void quern__jsonw_put_u64(quern__jsonw *w, const char *key, uint64_t value)
{
    quern__jsonw_key(w, key);
    quern__jsonw_u64(w, value);
}

void quern__jsonw_put_bool(quern__jsonw *w, const char *key, bool value)
{
    quern__jsonw_key(w, key);
    quern__jsonw_bool(w, value);
}
