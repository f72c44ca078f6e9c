/*
 * progress.c — one line that is drawn over itself on standard error, and only where a person sees it:
 * a terminal, without --quiet, without a log in JSON.
 */
#include "cli.h"

#include <stdio.h>
#include <string.h>

enum { BAR = 24 };

void progress_begin(progress *p, const cli *c)
{
    p->on = !c->quiet && term_is_terminal(TERM_ERR) &&
            strcmp(quern_config_text(c->config, "log-format"), "text") == 0;
    p->last_ns = 0;
}

void progress_draw(progress *p, const char *what, double fraction, const char *detail)
{
    uint64_t now = p->on ? term_now_ns() : 0;
    if (!p->on || (p->last_ns && now - p->last_ns < 100000000u))
        return;
    p->last_ns = now;
    char bar[BAR + 1], line[300];
    if (fraction > 1)
        fraction = 1;
    for (int i = 0; i < BAR; i++)
        bar[i] = fraction >= 0 && (i + 1) <= fraction * BAR ? '#' : '.';
    bar[BAR] = '\0';
    if (fraction >= 0)
        snprintf(line, sizeof line, "%s [%s] %3.0f %%  %s", what, bar, fraction * 100, detail);
    else
        snprintf(line, sizeof line, "%s  %s", what, detail);
    fprintf(stderr, "\r\033[K%.*s", term_width(TERM_ERR) - 1, line);
    fflush(stderr);
}

void progress_end(progress *p)
{
    if (p->on && p->last_ns)
        fputs("\r\033[K", stderr);
    p->last_ns = 0;
}

void human_bytes(uint64_t bytes, char out[16])
{
    static const char units[] = "kMGT";
    double v = (double)bytes;
    int unit = -1;
    while (v >= 1000 && unit < 3) {
        v /= 1000;
        unit++;
    }
    if (unit < 0)
        snprintf(out, 16, "%.0f B", v);
    else
        snprintf(out, 16, "%.*f %cB", v < 100 ? 1 : 0, v, units[unit]);
}

void human_time(double seconds, char out[16])
{
    if (!(seconds >= 0) || seconds > 8640000)
        snprintf(out, 16, "?");
    else if (seconds < 90)
        snprintf(out, 16, "%.*f s", seconds < 10 ? 1 : 0, seconds);
    else if (seconds < 5400)
        snprintf(out, 16, "%.0f min", seconds / 60);
    else
        snprintf(out, 16, "%.1f h", seconds / 3600);
}

void utc_time(int64_t unix_ms, char out[32])
{
    /* days to a date of the Gregorian calendar, in eras of 400 years that begin in March */
    int64_t seconds = unix_ms / 1000 - (unix_ms % 1000 < 0);
    int64_t days = seconds / 86400 - (seconds % 86400 < 0);
    int64_t rest = seconds - days * 86400, shifted = days + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t in_era = shifted - era * 146097;
    int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year + year / 4 - year / 100), m = (5 * in_year + 2) / 153;
    int64_t month = m < 10 ? m + 3 : m - 9;
    char text[120];
    int64_t full_year = year + era * 400 + (month <= 2);
    int64_t day = in_year - (153 * m + 2) / 5 + 1;
    snprintf(text, sizeof text, "%04lld-%02lld-%02lldT%02lld:%02lld:%02lldZ", (long long)full_year,
             (long long)month, (long long)day, (long long)(rest / 3600),
             (long long)(rest / 60 % 60), (long long)(rest % 60));
    snprintf(out, 32, "%.31s", text);
}
