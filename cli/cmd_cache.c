/*
 * cmd_cache.c — looking after the cache in a file or a Redis: what is in it, whether it has a text, and taking things out.
 * A text's key needs the model's fingerprint, for which a hosted model is not called.
 */
#include "cli.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_LINE = 4 << 20 };

static int open_lasting(cli *c, quern_error *err)
{
    const char *file = quern_config_text(c->config, "cache-file");
    const char *redis = quern_config_text(c->config, "cache-redis");
    if (!file && !redis)
        return fail(err, QUERN_EINVAL, "%s: --cache-file or --cache-redis names the cache",
                    c->command->name);
    return open_cache(c, err);
}

/* What a Redis holds it does not say: --cache-file is needed. */
static int open_file(cli *c, quern_error *err)
{
    if (!quern_config_text(c->config, "cache-file"))
        return fail(err, QUERN_EINVAL, "%s: --cache-file names the cache", c->command->name);
    return open_cache(c, err);
}

static void put_number(const char *key, uint64_t v)
{
    put_key(key);
    put_whole(v);
}

static void spell(const quern_cache_key *key, char hex[65])
{
    for (size_t i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", key->bytes[i]);
}

/* The file as it is now; more members may follow. */
static void put_sizes(const quern_cache_stats *s)
{
    put_object();
    put_number("entries", s->entries);
    put_number("capacity", s->capacity);
    put_number("bytes", s->bytes);
    put_number("capacity_bytes", s->capacity_bytes);
}

static double percent_of(const quern_cache_stats *s)
{
    double bytes = 100.0 * (double)s->bytes / (double)s->capacity_bytes;
    double entries = s->capacity ? 100.0 * (double)s->entries / (double)s->capacity : 0;
    return bytes > entries ? bytes : entries;
}

int cmd_cache_stats(cli *c, quern_error *err)
{
    quern_cache_stats s;
    char bytes[16], room[16], most[32] = "";
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = open_file(c, err);
    if (rc != QUERN_OK)
        return rc;
    quern_cache_get_stats(c->cache, QUERN_CACHE_DISK, &s);
    if (c->json) {
        put_sizes(&s);
        put_key("percent");
        put_real(percent_of(&s));
        put_number("hits", s.hits);
        put_number("misses", s.misses);
        put_number("evictions", s.evictions);
        put_number("expired", s.expired);
        put_key("mean_uses");
        put_real(s.mean_uses);
        put_end_object();
        put_line();
        return QUERN_OK;
    }
    human_bytes(s.bytes, bytes);
    human_bytes(s.capacity_bytes, room);
    if (s.capacity)
        snprintf(most, sizeof most, " of %" PRIu64, s.capacity);
    out_printf("%" PRIu64 "%s vectors, %s of %s (%.1f %%)\n", s.entries, most, bytes, room,
               percent_of(&s));
    out_printf("%" PRIu64 " hits, %" PRIu64 " misses; %" PRIu64 " evicted, %" PRIu64
               " too old; %.1f uses of each on average\n",
               s.hits, s.misses, s.evictions, s.expired, s.mean_uses);
    return QUERN_OK;
}

int cmd_cache_resize(cli *c, quern_error *err)
{
    quern_cache_stats s;
    uint64_t gone = 0;
    uint64_t entries = quern_config_count(c->config, "cache-file-entries");
    uint64_t bytes = quern_config_count(c->config, "cache-file-bytes");
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK && !entries && !bytes)
        rc = fail(err, QUERN_EINVAL, "cache resize: --cache-file-bytes or --cache-file-entries");
    if (rc == QUERN_OK)
        rc = open_file(c, err);
    if (rc == QUERN_OK)
        rc = quern_cache_resize_file(c->cache, entries, bytes, &gone, err);
    if (rc != QUERN_OK)
        return rc;
    quern_cache_get_stats(c->cache, QUERN_CACHE_DISK, &s);
    if (c->json) {
        put_sizes(&s);
        put_number("evicted", gone);
        put_end_object();
        put_line();
    } else if (!c->quiet)
        out_printf("%" PRIu64 " vectors went, %" PRIu64 " are left\n", gone, s.entries);
    return QUERN_OK;
}

static int tell_key(const quern_cache_entry *e, void *ud)
{
    const cli *c = ud;
    char hex[65], when[32];
    spell(&e->key, hex);
    utc_time(e->created_ms, when);
    if (c->json) {
        put_object();
        put_key("key");
        put_text(hex);
        put_number("dimensions", e->dimensions);
        put_key("created_at");
        put_text(when);
        put_end_object();
        put_line();
    } else {
        out_printf("%s  %u  %s\n", hex, e->dimensions, when);
    }
    return quern_cancel_raised(c->cancel) ? QUERN_ECANCELLED : QUERN_OK;
}

int cmd_cache_keys(cli *c, quern_error *err)
{
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = open_file(c, err);
    if (rc == QUERN_OK)
        rc = quern_cache_each(c->cache, tell_key, c, err);
    return rc == QUERN_ECANCELLED ? fail(err, rc, "interrupted") : rc;
}

/* Of each text, as --model would embed it with --as: is it there, and with `take`, out with it. */
static int for_texts(cli *c, int take, quern_error *err)
{
    quern_embedder *e = NULL;
    char *json = NULL, hash[65];
    size_t there = 0;
    int query = option_as(c, QUERN_AS_DOCUMENT) == QUERN_AS_QUERY;
    int rc = args_need(c, 1, SIZE_MAX, err);
    if (rc == QUERN_OK)
        rc = open_lasting(c, err);
    if (rc == QUERN_OK)
        rc = open_embedder(c, NULL, &e, err);
    if (rc == QUERN_OK)
        rc = quern_embedder_fingerprint(e, &json, hash, err);
    for (size_t i = 0; i < c->n_args && rc == QUERN_OK; i++) {
        quern_cache_key key;
        rc = quern_cache_key_of(hash, query, 0, quern_str_of(c->args[i]), &key, err);
        if (rc != QUERN_OK)
            break;
        int has = take ? quern_cache_remove(c->cache, &key) : quern_cache_contains(c->cache, &key);
        there += has != 0;
        if (c->json) {
            put_object();
            put_key("text");
            put_text(c->args[i]);
            put_key(take ? "removed" : "contains");
            put_bool(has);
            put_end_object();
            put_line();
        } else if (!c->quiet)
            out_printf("%s  %s\n", has ? take ? "removed" : "there" : "absent", c->args[i]);
    }
    quern_free(json);
    quern_embedder_free(e);
    if (rc == QUERN_OK && there < c->n_args)
        return fail(err, QUERN_ENOTFOUND, "%zu of %zu texts are not in the cache",
                    c->n_args - there, c->n_args);
    return rc;
}

int cmd_cache_contains(cli *c, quern_error *err)
{
    return for_texts(c, 0, err);
}

int cmd_cache_remove(cli *c, quern_error *err)
{
    return for_texts(c, 1, err);
}

/* ---- from cache to cache: JSON Lines ---- */

static int write_entry(const quern_cache_entry *e, void *ud)
{
    const cli *c = ud;
    char hex[65];
    unsigned char *raw = malloc((size_t)e->dimensions * 4);
    if (!raw)
        return QUERN_ENOMEM;
    spell(&e->key, hex);
    quern_vector_to_blob(e->vector, e->dimensions, raw);
    put_object();
    put_key("key");
    put_text(hex);
    put_number("dimensions", e->dimensions);
    put_number("tokens", e->tokens);
    put_number("created_ms", (uint64_t)e->created_ms);
    put_number("ends_ms", (uint64_t)e->ends_ms);
    put_key("vector");
    put_raw("\"", 1);
    out_base64(raw, (size_t)e->dimensions * 4);
    out_text("\"");
    put_end_object();
    put_line();
    free(raw);
    return quern_cancel_raised(c->cancel) || out_broken() ? QUERN_ECANCELLED : QUERN_OK;
}

int cmd_cache_export(cli *c, quern_error *err)
{
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = open_file(c, err);
    if (rc == QUERN_OK)
        rc = quern_cache_each(c->cache, write_entry, c, err);
    if (rc == QUERN_ENOMEM)
        return no_memory(err);
    if (rc == QUERN_ECANCELLED && out_broken())
        return QUERN_OK; /* out_finish says what of it */
    return rc == QUERN_ECANCELLED ? fail(err, rc, "interrupted") : rc;
}

static int read_key(const char *hex, quern_cache_key *key)
{
    static const char digits[] = "0123456789abcdef";
    if (!hex || strlen(hex) != 64 || strspn(hex, digits) != 64)
        return 0;
    for (size_t i = 0; i < 32; i++)
        key->bytes[i] = (unsigned char)((strchr(digits, hex[2 * i]) - digits) << 4 |
                                        (strchr(digits, hex[2 * i + 1]) - digits));
    return 1;
}

/* Lines come from here. */
typedef struct lines {
    FILE *in;
    const char *name;
    char *line;
    size_t room, n;
} lines;

/* One line of an export. Its vector is believed as much as any of the cache: the key says under what it is found. */
static int take_entry(cli *c, const lines *l, uint64_t number, uint64_t *kept, quern_error *err)
{
    char what[160];
    float *vector = NULL;
    size_t count = 0;
    quern_cache_entry e;
    quern_error why;
    QUERN_INIT(&e);
    snprintf(what, sizeof what, "%.120s, line %" PRIu64, l->name, number);
    json_t *o = json_loadb(l->line, l->n, JSON_REJECT_DUPLICATES, NULL);
    const char *hex = json_string_value(json_object_get(o, "key"));
    const json_t *text = json_object_get(o, "vector");
    json_int_t tokens = json_integer_value(json_object_get(o, "tokens"));
    int rc = read_key(hex, &e.key) && json_is_string(text) && tokens >= 0 && tokens <= UINT32_MAX
                 ? QUERN_OK
                 : fail(err, QUERN_EFORMAT, "%s: no entry of a cache", what);
    if (rc == QUERN_OK)
        rc = floats_from_base64(what, json_string_value(text), json_string_length(text), &vector,
                                &count, err);
    if (rc == QUERN_OK && (json_int_t)count != json_integer_value(json_object_get(o, "dimensions")))
        rc = fail(err, QUERN_EFORMAT, "%s: a vector of %zu numbers, 'dimensions' says otherwise",
                  what, count);
    e.dimensions = (uint32_t)count;
    e.tokens = (uint32_t)tokens;
    e.created_ms = json_integer_value(json_object_get(o, "created_ms"));
    e.ends_ms = json_integer_value(json_object_get(o, "ends_ms"));
    e.vector = vector;
    if (rc == QUERN_OK) {
        int done = quern_cache_keep(c->cache, &e, &why);
        *kept += done == 1;
        rc = done < 0 ? fail(err, done, "%s: %.300s", what, why.msg) : QUERN_OK;
    }
    json_decref(o);
    free(vector);
    return rc;
}

/* The next line, without its break; 0: the end. */
static int next_line(lines *l, quern_error *err)
{
    int byte;
    l->n = 0;
    while ((byte = getc(l->in)) != EOF && byte != '\n') {
        if (l->n + 1 >= l->room) {
            size_t more = l->room ? l->room * 2 : 4096;
            char *grown = l->room < LONGEST_LINE ? realloc(l->line, more) : NULL;
            if (!grown)
                return fail(err, QUERN_EFORMAT, "%.200s: a line of over %d bytes", l->name,
                            LONGEST_LINE);
            l->line = grown;
            l->room = more;
        }
        l->line[l->n++] = (char)byte;
    }
    if (ferror(l->in))
        return fail(err, QUERN_EIO, "%.200s: cannot read", l->name);
    return l->n || byte == '\n';
}

static int import_lines(cli *c, const char *path, uint64_t *kept, quern_error *err)
{
    lines l = {.in = path ? fopen(path, "rb") : stdin, .name = path ? path : "standard input"};
    int rc = QUERN_OK, more = 1;
    if (!l.in)
        return fail(err, QUERN_ENOTFOUND, "%.200s: cannot be opened", path);
    for (uint64_t number = 1; rc == QUERN_OK && (more = next_line(&l, err)) == 1; number++) {
        if (l.n)
            rc = take_entry(c, &l, number, kept, err);
        if (rc == QUERN_OK && quern_cancel_raised(c->cancel))
            rc = fail(err, QUERN_ECANCELLED, "interrupted; what was read is kept");
    }
    free(l.line);
    if (path)
        fclose(l.in);
    rc = rc == QUERN_OK && more < 0 ? more : rc;
    return rc == QUERN_OK ? quern_cache_flush(c->cache, err) : rc;
}

int cmd_cache_import(cli *c, quern_error *err)
{
    uint64_t kept = 0;
    const char *format = quern_config_text(c->config, "format");
    const char *fingerprint = quern_config_text(c->config, "fingerprint");
    const char *path = c->n_args && strcmp(c->args[0], "-") != 0 ? c->args[0] : NULL;
    int bincode = format && strcmp(format, "bincode") == 0;
    int rc = args_need(c, 0, 1, err);
    if (rc == QUERN_OK && bincode && (!path || !fingerprint))
        rc = fail(err, QUERN_EINVAL,
                  "cache import --format bincode: FILE, and --fingerprint, since the file does not "
                  "say by which model its vectors were made");
    if (rc == QUERN_OK && !bincode && fingerprint)
        rc = fail(err, QUERN_EINVAL, "cache import: --fingerprint goes with --format bincode");
    if (rc == QUERN_OK)
        rc = open_lasting(c, err);
    if (rc == QUERN_OK)
        rc = bincode
                 ? quern_cache_import_bincode(c->cache, path, fingerprint, c->cancel, &kept, err)
                 : import_lines(c, path, &kept, err);
    if (rc == QUERN_OK && c->json) {
        put_object();
        put_number("kept", kept);
        put_end_object();
        put_line();
    } else if (rc == QUERN_OK && !c->quiet)
        out_printf("%" PRIu64 " vectors taken in\n", kept);
    return rc;
}

int cmd_cache_expire(cli *c, quern_error *err)
{
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = open_lasting(c, err);
    if (rc != QUERN_OK)
        return rc;
    uint64_t gone = quern_cache_expire(c->cache);
    if (c->json) {
        put_object();
        put_number("expired", gone);
        put_end_object();
        put_line();
    } else if (!c->quiet)
        out_printf("%" PRIu64 " vectors were too old\n", gone);
    return QUERN_OK;
}

int cmd_cache_clear(cli *c, quern_error *err)
{
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = open_lasting(c, err);
    if (rc == QUERN_OK)
        rc = confirm(c, "Remove every vector from the cache?", err);
    return rc == QUERN_OK ? quern_cache_clear(c->cache, err) : rc;
}
