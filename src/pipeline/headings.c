/*
 * headings.c — headings as CommonMark has them: one to six '#' and a blank, or a line underlined with '=' or '-'. Not in
 * fenced or indented code, not in the front matter. A whole Markdown parser was rejected: what is asked is only which
 * lines are headings, and a line wrongly taken for one costs a few words of context, never a byte of the text.
 */
#include "pipeline/headings.h"

#include <string.h>

#include "base/compiler.h"
#include "text/utf8.h"

enum { INDENT = 3, UNDERLINE = 3, FENCE = 3 };

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static quern_str trimmed(quern_str s)
{
    while (s.len && is_blank(*s.ptr))
        s.ptr++, s.len--;
    while (s.len && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

/* Without its line end; *next is where the following one begins. */
static quern_str line_at(quern_str text, size_t at, size_t *next)
{
    const char *end = memchr(text.ptr + at, '\n', text.len - at);
    size_t stop = end ? (size_t)(end - text.ptr) : text.len;
    *next = end ? stop + 1 : text.len;
    return (quern_str){text.ptr + at, stop - at};
}

static size_t run_of(quern_str s, char c)
{
    size_t n = 0;
    while (n < s.len && s.ptr[n] == c)
        n++;
    return n;
}

/* Past "---" … "---" at the very beginning. */
static void skip_front_matter(quern__headings *h)
{
    size_t at, next;
    quern_str line = trimmed(line_at(h->text, 0, &at));
    if (line.len != 3 || memcmp(line.ptr, "---", 3) != 0)
        return;
    for (; at < h->text.len; at = next) {
        line = trimmed(line_at(h->text, at, &next));
        if (line.len == 3 && (memcmp(line.ptr, "---", 3) == 0 || memcmp(line.ptr, "...", 3) == 0)) {
            h->at = next;
            return;
        }
    }
}

void quern__headings_init(quern__headings *h, quern_str text)
{
    memset(h, 0, sizeof *h);
    h->text = text;
    if (text.len)
        skip_front_matter(h);
}

static void set_heading(quern__headings *h, size_t level, quern_str name)
{
    if (name.len > QUERN__HEADING_BYTES)
        name.len = quern__utf8_floor(name.ptr, name.len, QUERN__HEADING_BYTES);
    h->above[level - 1] = trimmed(name);
    for (size_t i = level; i < QUERN__HEADING_LEVELS; i++)
        h->above[i].len = 0;
    h->version++;
}

/* "## Name ##": its level, 0 if it is none. */
static size_t hash_heading(quern_str line, quern_str *name)
{
    size_t level = run_of(line, '#');
    if (level == 0 || level > QUERN__HEADING_LEVELS ||
        (level < line.len && !is_blank(line.ptr[level])))
        return 0;
    quern_str s = trimmed((quern_str){line.ptr + level, line.len - level});
    size_t end = s.len;
    while (end && s.ptr[end - 1] == '#')
        end--;
    if (end == 0 || is_blank(s.ptr[end - 1]))
        s.len = end;
    *name = trimmed(s);
    return level;
}

/* Is the line a fence? Then *c is its character. */
static size_t fence_of(quern_str line, char *c)
{
    *c = line.len ? *line.ptr : '\0';
    size_t n = *c == '`' || *c == '~' ? run_of(line, *c) : 0;
    return n >= FENCE ? n : 0;
}

static bool is_underline(quern_str line, char c)
{
    return line.len >= UNDERLINE && run_of(line, c) == line.len;
}

static void take_line(quern__headings *h, quern_str whole)
{
    quern_str line = trimmed(whole), name, none = {NULL, 0};
    size_t indent = line.len ? (size_t)(line.ptr - whole.ptr) : 0;
    char c = '\0';
    size_t fence = indent <= INDENT ? fence_of(line, &c) : 0;
    if (h->fence) {
        if (fence >= h->fence_length && c == h->fence && run_of(line, c) == line.len)
            h->fence = '\0';
        return;
    }
    quern_str before = h->before;
    h->before = none;
    if (fence) {
        h->fence = c;
        h->fence_length = fence;
    } else if (indent > INDENT || (line.len && *whole.ptr == '\t')) {
        h->before = before; /* goes on with a paragraph, or is code */
    } else if (hash_heading(line, &name)) {
        set_heading(h, hash_heading(line, &name), name);
    } else if (before.len && is_underline(line, '=')) {
        set_heading(h, 1, before);
    } else if (before.len && is_underline(line, '-')) {
        set_heading(h, 2, before);
    } else if (line.len && !strchr("|>*+-", *line.ptr)) {
        h->before = line; /* of a table, list or quotation no line is a heading */
    }
}

void quern__headings_walk(quern__headings *h, size_t place)
{
    while (h->at < h->text.len) {
        size_t next;
        quern_str line = line_at(h->text, h->at, &next);
        if (next > place)
            return;
        take_line(h, line);
        h->at = next;
    }
}

size_t quern__headings_path(const quern__headings *h, size_t skip, char out[QUERN__HEADING_PATH],
                            size_t *n)
{
    size_t len = 0;
    *n = 0;
    for (size_t i = 0; i < QUERN__HEADING_LEVELS; i++) {
        quern_str s = h->above[i];
        if (!s.len || ++*n <= skip)
            continue;
        if (len) {
            memcpy(out + len, " > ", 3);
            len += 3;
        }
        memcpy(out + len, s.ptr, s.len);
        len += s.len;
    }
    return len;
}

/* ---- context ---- */

void quern__context_init(quern__context *c, quern_str text, bool wanted)
{
    memset(c, 0, sizeof *c);
    c->wanted = wanted;
    if (wanted)
        quern__headings_init(&c->walk, text);
}

int quern__context_at(quern__context *c, size_t place, size_t most, quern__measure_fn measure,
                      void *ud, quern_error *err)
{
    if (!c->wanted)
        return QUERN_OK;
    quern__headings_walk(&c->walk, place);
    if (c->walk.version == c->version)
        return QUERN_OK;
    c->version = c->walk.version;
    for (size_t skip = 0, n = 0;; skip++) {
        c->path = quern__headings_path(&c->walk, skip, c->text, &n);
        c->len = c->path ? c->path + 2 : 0;
        c->units = 0;
        if (!c->path)
            return QUERN_OK;
        memcpy(c->text + c->path, "\n\n", 2);
        int rc = measure(ud, (quern_str){c->text, c->len}, &c->units, err);
        if (rc != QUERN_OK || c->units <= most)
            return rc;
    }
}
