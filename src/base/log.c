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

void quern__log(int level, const char *component, const char *fmt, ...)
{
    if (!log_fn || level > log_level)
        return;
    char line[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = '?';
    log_fn(level, component, line, log_ud);
}
