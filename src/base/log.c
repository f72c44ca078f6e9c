/*
 * log.c — one callback for the process. It is set before other calls and read without a lock.
 * Control bytes become '?', so that one line stays one line.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

static quern_log_fn log_fn;
static void *log_ud;
static int log_level;

void quern_set_log(quern_log_fn fn, int level, void *ud)
{
    log_fn = fn;
    log_level = level;
    log_ud = ud;
}

/* One line, whatever went into it. */
static void flatten(char *line)
{
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = '?';
}

void quern__log(int level, const char *component, const char *fmt, ...)
{
    if (!log_fn || level > log_level)
        return;
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    flatten(text);
    const quern_log_line line = {
        .struct_size = sizeof line, .level = level, .component = component, .message = text};
    log_fn(&line, log_ud);
}

void quern__log_item(const char *component, const char *source, const char *key, int code,
                     const char *reason)
{
    if (!log_fn || QUERN_LOG_WARN > log_level)
        return;
    char text[512];
    snprintf(text, sizeof text, "source %s: %.100s: %s (%s)", source, key, reason,
             quern_status_name(code));
    flatten(text);
    const quern_log_line line = {.struct_size = sizeof line,
                                 .level = QUERN_LOG_WARN,
                                 .component = component,
                                 .message = text,
                                 .source = source,
                                 .key = key,
                                 .code = code};
    log_fn(&line, log_ud);
}
