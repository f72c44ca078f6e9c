/*
 * input.c — texts one after the other, from the arguments or the lines of standard input, with constant
 * memory. Reading goes past stdio: whether a whole line is at hand without waiting can be asked only
 * of a buffer of our own, and that is what lets results stream (a batch is closed when the next line
 * would have to be waited for).
 *
 * --jsonl: what the object held is passed on byte for byte, so that numbers and order of fields stay
 * what they were; only when one of its names is also one of ours is it written anew without that.
 */
#include "cli.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LONGEST_LINE = 16 << 20,
    READ_SIZE = 1 << 16,
    DEPTH = 64,
    MOST_VALUES = 1 << 18,
    LOOK_UP_MS = 200
};

struct input {
    const cli *c;
    const char *const *ours;
    int jsonl, replace, assets;
    size_t next_arg;
    uint64_t line; /* of the last item */
    /* standard input: bytes [from, to) are unread, [from, scanned) hold no line break */
    char *buf;
    size_t size, from, to, scanned;
    int ended;
};

int input_open(input **out, const cli *c, const char *const *ours, quern_error *err)
{
    *out = NULL;
    int jsonl = quern_option_applies(quern_option_find("jsonl"), c->command->name) &&
                quern_config_flag(c->config, "jsonl");
    if (jsonl && c->n_args)
        return fail(err, QUERN_EINVAL,
                    "--jsonl reads standard input; texts as arguments are not JSON");
    input *in = calloc(1, sizeof *in);
    if (!in)
        return no_memory(err);
    in->c = c;
    in->ours = ours;
    in->jsonl = jsonl;
    in->assets = strcmp(c->command->name, "embed") == 0;
    in->replace = strcmp(quern_config_text(c->config, "invalid-utf8"), "replace") == 0;
    *out = in;
    return QUERN_OK;
}

void input_free(input *in)
{
    if (in)
        free(in->buf);
    free(in);
}

void text_item_free(text_item *item)
{
    free(item->storage);
    quern_asset_list_free(item->assets);
    item->storage = NULL;
    item->assets = NULL;
}

void input_place(const input *in, uint64_t line, char out[48])
{
    snprintf(out, 48, "%s %llu", in->c->n_args ? "argument" : "standard input, line",
             (unsigned long long)line);
}

/* ---- lines ---- */

/* Is a whole line in the buffer (or the rest at the end)? *end: where it stops. */
static int line_at_hand(input *in, size_t *end)
{
    const char *stop =
        in->scanned < in->to ? memchr(in->buf + in->scanned, '\n', in->to - in->scanned) : NULL;
    in->scanned = stop ? (size_t)(stop - in->buf) : in->to;
    *end = in->scanned;
    return stop != NULL || (in->ended && in->from < in->to);
}

/* Room for READ_SIZE more bytes; 0 when there is no memory. */
static int make_room(input *in)
{
    if (in->from) {
        memmove(in->buf, in->buf + in->from, in->to - in->from);
        in->to -= in->from;
        in->scanned -= in->from;
        in->from = 0;
    }
    if (in->size - in->to >= READ_SIZE)
        return 1;
    size_t size = in->size ? in->size * 2 : 2 * READ_SIZE;
    char *grown = realloc(in->buf, size);
    if (!grown)
        return 0;
    in->buf = grown;
    in->size = size;
    return 1;
}

static int read_more(input *in, quern_error *err)
{
    if (!make_room(in))
        return no_memory(err);
    do { /* not one long wait: a signal may come just before it */
        if (quern_cancel_raised(in->c->cancel))
            return fail(err, QUERN_ECANCELLED, "interrupted");
    } while (!term_readable(LOOK_UP_MS));
    long got = term_read(in->buf + in->to, READ_SIZE);
    if (got == -2)
        return fail(err, QUERN_EIO, "standard input: cannot read");
    if (got > 0)
        in->to += (size_t)got;
    in->ended = got == 0;
    return QUERN_OK;
}

/* 1: [in->buf + *start, +*n) is the next line, without its end; valid until the next call. */
static int next_line(input *in, size_t *start, size_t *n, quern_error *err)
{
    size_t end;
    while (!line_at_hand(in, &end)) {
        if (in->ended)
            return 0;
        if (in->to - in->from > LONGEST_LINE)
            return fail(err, QUERN_EFORMAT, "standard input, line %llu: over %d bytes",
                        (unsigned long long)in->line + 1, LONGEST_LINE);
        int rc = read_more(in, err);
        if (rc != QUERN_OK)
            return rc;
    }
    *start = in->from;
    *n = end - in->from;
    in->from = in->scanned = end < in->to ? end + 1 : end;
    in->line++;
    return 1;
}

int input_ready(input *in)
{
    quern_error ignored;
    size_t end;
    if (in->c->n_args)
        return in->next_arg < in->c->n_args;
    while (!line_at_hand(in, &end)) {
        if (in->ended || in->to - in->from > LONGEST_LINE)
            return 1; /* input_next says what is the matter */
        if (!term_readable(0) || read_more(in, &ignored) != QUERN_OK)
            return 0;
    }
    return 1;
}

/* ---- one text ---- */

/* Copies the bytes into the item, checked or mended. */
static int take_bytes(input *in, const char *bytes, size_t n, text_item *item, quern_error *err)
{
    quern_str s = {bytes, n};
    size_t bad = quern_utf8_check(s);
    char place[48];
    if (bad < n && !in->replace) {
        input_place(in, in->line, place);
        fail(err, QUERN_EFORMAT,
             "%s, byte %zu: not UTF-8 (0x%02X); --invalid-utf8 replace puts U+FFFD there", place,
             bad, (unsigned char)bytes[bad]);
        err->detail = (int64_t)bad;
        return QUERN_EFORMAT;
    }
    char *mended = NULL;
    if (bad < n) {
        int rc = quern_utf8_replace(&mended, &n, s, err);
        if (rc != QUERN_OK)
            return rc;
        bytes = mended;
    }
    item->storage = malloc(n + 1);
    if (item->storage) {
        memcpy(item->storage, n ? bytes : "", n);
        item->storage[n] = '\0';
    }
    quern_free(mended);
    item->text = (quern_str){item->storage, n};
    item->members = (quern_str){NULL, 0};
    item->line = in->line;
    return item->storage ? 1 : no_memory(err);
}

static int bad_object(const input *in, quern_error *err, const char *what, long column)
{
    char place[48];
    input_place(in, in->line, place);
    if (column >= 0)
        return fail(err, QUERN_EFORMAT, "%s, byte %ld: %s", place, column, what);
    return fail(err, QUERN_EFORMAT, "%s: %s", place, what);
}

/* The object's members as text: the line's own bytes when they may stay as they are. */
static char *members_of(const input *in, json_t *object, const char *line, size_t n, size_t *out_n)
{
    int clash = 0;
    for (const char *const *name = in->ours; name && *name; name++)
        clash += json_object_del(object, *name) == 0;
    char *dump = clash ? json_dumps(object, JSON_COMPACT) : NULL;
    if (clash && !dump)
        return NULL;
    const char *from = clash ? dump : line;
    size_t to = clash ? strlen(dump) : n;
    while (to && from[to - 1] != '}')
        to--;
    const char *open = memchr(from, '{', to);
    size_t first = (size_t)(open - from) + 1;
    to--;
    while (to > first && strchr(" \t\r", from[to - 1]))
        to--;
    while (first < to && strchr(" \t", from[first]))
        first++;
    char *copy = malloc(to - first + 1);
    if (copy) {
        memcpy(copy, from + first, to - first);
        *out_n = to - first;
    }
    free(dump);
    return copy;
}

/* 1, or what is wrong with the object's assets. */
static int take_assets(const input *in, const json_t *list, quern_asset_list **out,
                       quern_error *err)
{
    quern_error why;
    if (!json_is_array(list))
        return bad_object(in, err, "\"assets\" is not an array", -1);
    char *dump = json_dumps(list, JSON_COMPACT);
    if (!dump)
        return no_memory(err);
    int rc = quern_asset_list_parse(out, quern_str_of(dump), QUERN_ASSET_IMAGE, &why);
    free(dump);
    return rc == QUERN_OK ? 1 : bad_object(in, err, why.msg, -1);
}

/* Turns the item's line into its text and members. */
static int take_object(input *in, text_item *item, quern_error *err)
{
    const char *line = item->text.ptr;
    size_t n = item->text.len;
    quern_error why;
    json_error_t fault;
    if (quern_json_scan(item->text, LONGEST_LINE, DEPTH, MOST_VALUES, &why) != QUERN_OK)
        return bad_object(in, err, why.msg, -1);
    json_t *object = json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &fault);
    if (!object)
        return bad_object(in, err, fault.text, fault.position);
    json_t *text = json_object_get(object, "text");
    const json_t *list = in->assets ? json_object_get(object, "assets") : NULL;
    quern_asset_list *assets = NULL;
    int rc = 1;
    if (!json_is_object(object))
        rc = bad_object(in, err, "not an object; write {\"text\": …} on each line", -1);
    else if (list)
        rc = take_assets(in, list, &assets, err);
    if (rc == 1 && (text || !list) && !json_is_string(text))
        rc = bad_object(in, err, text ? "\"text\" is not a string" : "there is no \"text\"", -1);
    size_t members = 0, length = rc == 1 && text ? json_string_length(text) : 0;
    char *all = NULL, *kept = rc == 1 ? members_of(in, object, line, n, &members) : NULL;
    if (kept && (all = malloc(length + members + 2))) {
        memcpy(all, length ? json_string_value(text) : "", length);
        all[length] = '\0';
        memcpy(all + length + 1, kept, members);
    }
    if (rc == 1 && !all)
        rc = no_memory(err);
    free(kept);
    json_decref(object);
    text_item_free(item);
    item->assets = assets;
    item->storage = all;
    item->text = (quern_str){all, length};
    item->members = (quern_str){all ? all + length + 1 : NULL, members};
    return rc;
}

static int blank(const char *s, size_t n)
{
    while (n && (*s == ' ' || *s == '\t' || *s == '\r')) {
        s++;
        n--;
    }
    return n == 0;
}

int input_next(input *in, text_item *item, quern_error *err)
{
    memset(item, 0, sizeof *item);
    int rc;
    if (in->c->n_args) {
        if (in->next_arg == in->c->n_args)
            return 0;
        const char *arg = in->c->args[in->next_arg++];
        in->line++;
        rc = take_bytes(in, arg, strlen(arg), item, err);
        if (rc != 1)
            text_item_free(item);
        return rc;
    }
    size_t start = 0, n = 0;
    do {
        if ((rc = next_line(in, &start, &n, err)) != 1)
            return rc;
        if (in->line == 1 && in->jsonl && n >= 3 && memcmp(in->buf + start, "\xEF\xBB\xBF", 3) == 0)
            start += 3, n -= 3; /* the mark some editors begin a file with */
    } while (in->jsonl && blank(in->buf + start, n));
    rc = take_bytes(in, in->buf + start, n, item, err);
    if (rc == 1 && in->jsonl)
        rc = take_object(in, item, err);
    if (rc != 1)
        text_item_free(item);
    return rc;
}

/* ---- vectors as text ---- */

int floats_from_base64(const char *what, const char *text, size_t n, float **out, size_t *count,
                       quern_error *err)
{
    quern_error why;
    *out = NULL;
    if (quern_vector_from_base64(text, n, NULL, 0, count, &why) != QUERN_OK)
        return fail(err, QUERN_EFORMAT, "%s: %.300s", what, why.msg);
    if (!(*out = calloc(*count, sizeof **out)))
        return no_memory(err);
    return quern_vector_from_base64(text, n, *out, *count, count, err);
}
