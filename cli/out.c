/*
 * out.c — see out.h. JSON is written as it comes, not built as a tree: results stream, and a vector
 * as jansson numbers would be 40 bytes an element and print as doubles.
 */
#include "out.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os_term.h"
#include "quern/text.h"

enum { DEPTH = 16 };

static int write_errno; /* of the first write that failed */
static int log_format = OUT_LOG_TEXT;

void out_bytes(const void *data, size_t n)
{
    if (write_errno || !n)
        return;
    errno = 0;
    if (fwrite(data, 1, n, stdout) != n)
        write_errno = errno ? errno : EIO;
}

void out_text(const char *text)
{
    out_bytes(text, strlen(text));
}

void out_printf(const char *fmt, ...)
{
    if (write_errno)
        return;
    va_list args;
    va_start(args, fmt);
    errno = 0;
    if (vprintf(fmt, args) < 0)
        write_errno = errno ? errno : EIO;
    va_end(args);
}

void out_flush(void)
{
    errno = 0;
    if (!write_errno && fflush(stdout) != 0)
        write_errno = errno ? errno : EIO;
}

int out_broken(void)
{
    return write_errno != 0;
}

int out_finish(quern_error *err)
{
    out_flush();
    if (!write_errno || term_pipe_closed(write_errno))
        return QUERN_OK;
    err->status = QUERN_EIO;
    err->subject = -1;
    err->detail = write_errno;
    err->code = NULL;
    snprintf(err->msg, sizeof err->msg, "standard output: cannot write: %s", strerror(write_errno));
    return QUERN_EIO;
}

void out_base64(const unsigned char *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        unsigned left = (unsigned)(n - i), v = (unsigned)p[i] << 16;
        v |= left > 1 ? (unsigned)p[i + 1] << 8 : 0;
        v |= left > 2 ? p[i + 2] : 0;
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
                        left > 2 ? digits[v & 63] : '='};
        out_bytes(four, 4);
    }
}

void out_npy_header(const char *element, uint64_t rows, uint32_t dim)
{
    char text[128];
    int n = snprintf(text, sizeof text,
                     "{'descr': '%s', 'fortran_order': False, 'shape': (%llu, %u), }", element,
                     (unsigned long long)rows, dim);
    unsigned char header[128]; /* a multiple of 64, as the format asks */
    memset(header, ' ', sizeof header);
    memcpy(header, "\x93NUMPY\x01\x00\x76\x00", 10); /* version 1.0; 118 bytes follow */
    memcpy(header + 10, text, (size_t)n);
    header[127] = '\n';
    out_bytes(header, sizeof header);
}

/* ---- JSON ---- */

static struct {
    int depth;
    unsigned char comma[DEPTH]; /* a value stands before in this level */
    int after_key;
} json;

static void before_value(void)
{
    if (!json.after_key && json.comma[json.depth])
        out_text(",");
    json.after_key = 0;
    json.comma[json.depth] = json.depth > 0;
}

static void enter(const char *open)
{
    before_value();
    out_text(open);
    if (json.depth < DEPTH - 1)
        json.depth++;
    json.comma[json.depth] = 0;
}

static void leave(const char *close)
{
    if (json.depth > 0)
        json.depth--;
    out_text(close);
}

void put_object(void)
{
    enter("{");
}

void put_end_object(void)
{
    leave("}");
}

void put_array(void)
{
    enter("[");
}

void put_end_array(void)
{
    leave("]");
}

void put_key(const char *key)
{
    put_text(key);
    out_text(":");
    json.after_key = 1;
}

/* Length of the run that needs no escape. */
static size_t plain(const char *s, size_t n)
{
    size_t at = 0;
    while (at < n && (unsigned char)s[at] >= 0x20 && s[at] != '"' && s[at] != '\\')
        at++;
    return at;
}

static void escaped(const char *s, size_t n)
{
    while (n) {
        size_t run = plain(s, n);
        out_bytes(s, run);
        if (run == n)
            return;
        switch (s[run]) {
        case '"':
            out_text("\\\"");
            break;
        case '\\':
            out_text("\\\\");
            break;
        case '\n':
            out_text("\\n");
            break;
        case '\t':
            out_text("\\t");
            break;
        default:
            out_printf("\\u%04x", (unsigned char)s[run]);
        }
        s += run + 1;
        n -= run + 1;
    }
}

void put_string(quern_str s)
{
    before_value();
    out_text("\"");
    char *clean = NULL;
    size_t n = 0;
    if (quern_utf8_check(s) == s.len)
        escaped(s.ptr, s.len);
    else if (quern_utf8_replace(&clean, &n, s, NULL) == QUERN_OK)
        escaped(clean, n);
    quern_free(clean);
    out_text("\"");
}

void put_text(const char *s)
{
    if (s)
        put_string(quern_str_of(s));
    else
        put_raw("null", 4);
}

void put_whole(uint64_t v)
{
    before_value();
    out_printf("%llu", (unsigned long long)v);
}

void put_signed(int64_t v)
{
    before_value();
    out_printf("%lld", (long long)v);
}

void put_real(double v)
{
    char text[40] = "null";
    if (v == 0 && signbit(v)) { /* "-0" is an integer to many a reader, and then without its sign */
        put_raw("-0.0", 4);
        return;
    }
    for (int digits = 6; isfinite(v) && digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    put_raw(text, strlen(text));
}

void put_float(float v)
{
    char text[40] = "null";
    if (v == 0 && signbit(v)) { /* "-0" is an integer to many a reader, and then without its sign */
        put_raw("-0.0", 4);
        return;
    }
    for (int digits = 6; isfinite(v) && digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v)
            break;
    }
    put_raw(text, strlen(text));
}

void put_bool(int v)
{
    put_raw(v ? "true" : "false", v ? 4 : 5);
}

void put_raw(const char *text, size_t n)
{
    before_value();
    out_bytes(text, n);
}

void put_members(const char *text, size_t n)
{
    if (n)
        put_raw(text, n);
}

void put_line(void)
{
    out_text("\n");
}

/* ---- standard error ---- */

void out_log_format(int format)
{
    log_format = format;
}

/* s as the inside of a JSON string; cut where out is full. */
static void quote_into(char *out, size_t size, const char *s)
{
    size_t used = 0;
    for (; *s && used + 7 < size; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            used += (size_t)snprintf(out + used, size - used, "\\%c", c);
        else if (c < 0x20)
            used += (size_t)snprintf(out + used, size - used, "\\u%04x", c);
        else
            out[used++] = (char)c;
    }
    out[used] = '\0';
}

/* ,"name":"value" appended to a line of JSON; nothing for NULL. */
static size_t put_member(char *line, size_t size, size_t used, const char *name, const char *value)
{
    char quoted[1200];
    if (!value || used >= size)
        return used;
    quote_into(quoted, sizeof quoted, value);
    int n = snprintf(line + used, size - used, ",\"%s\":\"%s\"", name, quoted);
    if (n < 0 || used + (size_t)n >= size)
        return used; /* left out whole rather than cut */
    return used + (size_t)n;
}

void out_log_line(const quern_log_line *l, void *ud)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    (void)ud;
    int known = l->level >= QUERN_LOG_ERROR && l->level <= QUERN_LOG_DEBUG;
    const char *level = names[known ? l->level : QUERN_LOG_ERROR];
    char line[5200], time[25];
    if (log_format == OUT_LOG_JSON) {
        term_timestamp(time);
        size_t used = (size_t)snprintf(line, sizeof line, "{\"time\":\"%s\"", time);
        used = put_member(line, sizeof line - 3, used, "level", level);
        used = put_member(line, sizeof line - 3, used, "component", l->component);
        used = put_member(line, sizeof line - 3, used, "source", l->source);
        used = put_member(line, sizeof line - 3, used, "key", l->key);
        used = put_member(line, sizeof line - 3, used, "code",
                          l->code ? quern_status_name(l->code) : NULL);
        used = put_member(line, sizeof line - 3, used, "message", l->message);
        memcpy(line + used, "}\n", 3);
    } else if (l->level == QUERN_LOG_ERROR && strcmp(l->component, "cli") == 0) {
        snprintf(line, sizeof line, "quern: %s\n", l->message);
    } else {
        snprintf(line, sizeof line, "quern: %s: %s: %s\n", level, l->component, l->message);
    }
    fputs(line, stderr); /* one call, so that lines of several threads stay whole */
}

/* Where lines of the log are JSON, this is one of them, with the error as a member more. */
void out_error(const char *code, const char *message)
{
    char line[5200], record[2600] = "", time[25];
    char *clean = NULL; /* arguments that are not UTF-8 stand in messages as they came */
    quern_str text = quern_str_of(message);
    if (quern_utf8_check(text) != text.len)
        quern_utf8_replace(&clean, &text.len, text, NULL);
    if (log_format == OUT_LOG_JSON) {
        term_timestamp(time);
        size_t used = put_member(record, sizeof record - 2, 0, "time", time);
        used = put_member(record, sizeof record - 2, used, "level", "error");
        used = put_member(record, sizeof record - 2, used, "component", "cli");
        used = put_member(record, sizeof record - 2, used, "message", clean ? clean : message);
        record[used] = ','; /* the first member comes with a comma in front of it, too */
        record[used + 1] = '\0';
    }
    size_t used = put_member(line, sizeof line, 0, "code", code);
    used = put_member(line, sizeof line, used, "message", clean ? clean : message);
    line[used] = '\0';
    quern_free(clean);
    fprintf(stderr, "{%s\"error\":{%s}}\n", *record ? record + 1 : "", line + 1);
}

void out_log(int level, const char *component, const char *message)
{
    const quern_log_line line = {
        .struct_size = sizeof line, .level = level, .component = component, .message = message};
    out_log_line(&line, NULL);
}
