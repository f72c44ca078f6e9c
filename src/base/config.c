/*
 * config.c — quern.ini. inih splits a line into name and value; what it would do quietly is refused
 * here, in the reader that hands it one line at a time: it cuts a line at 200 bytes and takes the rest
 * for another line, takes an indented line for more of the value before, and cuts the name of a section at 50 bytes. The
 * reader counts lines too, which the packaged library does not. Lines of a section wait until it is chosen.
 *
 * What inih does that stays: # and ; begin a comment line, " ;" ends a value, the first = or : splits,
 * blanks around name and value go.
 */
#include "quern/options.h"

#include <ini.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/os.h"

enum { LARGEST_FILE = 1 << 20, BLOCK = 4096, LONGEST_ORIGIN = 300 };

typedef struct reading {
    quern_config *config;
    const char *path, *at, *end;
    unsigned line;
    int rc;
    quern_error *err;
} reading;

static void place(const reading *r, char out[LONGEST_ORIGIN])
{
    snprintf(out, LONGEST_ORIGIN, "%.256s:%u", r->path, r->line);
}

static int refuse(reading *r, const char *what)
{
    char origin[LONGEST_ORIGIN];
    place(r, origin);
    r->rc = quern__fail(r->err, QUERN_EINVAL, r->line, "%s: %s", origin, what);
    return r->rc;
}

static bool is_section(const char *line, size_t n)
{
    size_t i = 1;
    while (i < n && ((line[i] >= 'a' && line[i] <= 'z') || (line[i] >= 'A' && line[i] <= 'Z') ||
                     (line[i] >= '0' && line[i] <= '9') || memchr("_-.", line[i], 3)))
        i++;
    bool named = i > 1 && i <= 41 && i < n && line[i] == ']';
    while (named && ++i < n)
        named = line[i] == ' ' || line[i] == '\t' || line[i] == '\r';
    return named;
}

/* One line to inih, without the blanks it begins with. NULL ends the reading. */
static char *next_line(char *out, int size, void *stream)
{
    reading *r = stream;
    if (r->rc != QUERN_OK || r->at == r->end)
        return NULL;
    r->line++;
    const char *stop = memchr(r->at, '\n', (size_t)(r->end - r->at));
    const char *from = r->at, *past = stop ? stop : r->end;
    r->at = stop ? stop + 1 : r->end;
    while (from < past && (*from == ' ' || *from == '\t'))
        from++;
    size_t n = (size_t)(past - from);
    out[0] = '\0';
    if (n && (*from == '#' || *from == ';'))
        return out; /* a comment may be long */
    if (n > (size_t)size - 2)
        return refuse(r, "the line is too long: 198 bytes are allowed"), NULL;
    if (memchr(from, '\0', n))
        return refuse(r, "a NUL byte"), NULL;
    if (n && *from == '[' && !is_section(from, n))
        return refuse(r, "a section is [name]: letters, digits, '_', '-' and '.', at most 40"),
               NULL;
    memcpy(out, from, n);
    out[n] = '\0';
    return out;
}

static int take(void *user, const char *section, const char *name, const char *value)
{
    reading *r = user;
    if (r->rc != QUERN_OK)
        return 0;
    char origin[LONGEST_ORIGIN];
    place(r, origin);
    if (strcmp(name, "config") == 0)
        refuse(r, "config: a configuration file cannot name another");
    else if (*section)
        r->rc = quern_config_add(r->config, section, name, value, origin, r->err);
    else
        r->rc = quern_config_set(r->config, name, value, QUERN_FROM_FILE, origin, r->err);
    return r->rc == QUERN_OK;
}

/* All of the file, which may be a pipe or /dev/null. */
static int read_all(const char *path, quern__buf *out, quern_error *err)
{
    quern__file *f = NULL;
    size_t got = 0;
    int rc = quern__file_open(&f, path, QUERN__FILE_READ, err);
    do {
        char *room = rc == QUERN_OK ? quern__buf_reserve(out, BLOCK) : NULL;
        if (!room)
            break;
        rc = quern__file_read(f, room, BLOCK, &got, err);
        out->len += rc == QUERN_OK ? got : 0;
    } while (rc == QUERN_OK && got && out->len <= LARGEST_FILE);
    quern__file_close(f, NULL);
    if (rc == QUERN_OK && out->failed)
        return quern__fail_memory(err, BLOCK);
    if (rc == QUERN_OK && out->len > LARGEST_FILE)
        return quern__fail(err, QUERN_EFORMAT, 0, "%s: over %d bytes", path, LARGEST_FILE);
    return rc;
}

int quern_config_read_file(quern_config *c, const char *path, quern_error *err)
{
    QUERN__REQUIRE(c && path, err);
    quern__buf text;
    quern_error why;
    quern__buf_init(&text, LARGEST_FILE + 2 * BLOCK);
    int rc = read_all(path, &text, &why);
    if (rc != QUERN_OK) { /* whatever else it is, it is the configuration that is at fault */
        quern__buf_dispose(&text);
        return quern__fail(err, rc == QUERN_ENOMEM ? rc : QUERN_EINVAL, why.detail, "%s", why.msg);
    }
    const char *data = text.len ? text.data : "";
    size_t size = text.len;
    static const char mark[] = "\xEF\xBB\xBF"; /* some editors begin a file with it */
    size_t skip = size >= 3 && memcmp(data, mark, 3) == 0 ? 3 : 0;
    reading r = {.config = c, .path = path, .at = data + skip, .end = data + size, .err = err};
    int line = ini_parse_stream(next_line, &r, take, &r);
    if (r.rc == QUERN_OK && line > 0) {
        r.line = (unsigned)line;
        refuse(&r, "expected name = value");
    } else if (r.rc == QUERN_OK && line < 0) {
        r.rc = quern__fail_memory(err, 0);
    }
    quern__buf_dispose(&text);
    return r.rc;
}
