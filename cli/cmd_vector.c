/*
 * cmd_vector.c — vector get, put and delete: the stored vectors of one document. What get writes, put takes.
 */
#include "cli.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_INPUT = 64 << 20, MOST_VECTORS = 1024, DEPTH = 16, BLOCK = 1 << 16 };

static int one_key(const cli *c, const char **source, quern_str *key, quern_error *err)
{
    int rc = args_need(c, 1, 1, err);
    if (rc == QUERN_OK)
        rc = one_source_name(c, source, err);
    if (rc == QUERN_OK)
        *key = quern_str_of(c->args[0]);
    return rc;
}

static const char *format_of(const cli *c)
{
    const char *format = quern_config_text(c->config, "format");
    return format ? format : "json";
}

/* ---- get ---- */

static void put_chunk(const quern_stored_chunk *c, uint32_t dimensions)
{
    put_object();
    put_key("chunk");
    put_whole(c->index);
    put_key("start");
    put_whole(c->start);
    put_key("end");
    put_whole(c->end);
    put_key("characters");
    put_array();
    put_whole(c->char_start);
    put_whole(c->char_end);
    put_end_array();
    if (c->page) {
        put_key("page");
        put_whole(c->page);
    }
    if (c->heading[0]) {
        put_key("heading");
        put_text(c->heading);
    }
    if (c->asset[0]) {
        put_key("asset");
        put_raw(c->asset, strlen(c->asset));
    }
    put_key("vector");
    put_array();
    for (uint32_t d = 0; d < dimensions; d++)
        put_float(c->vector[d]);
    put_end_array();
    put_end_object();
}

static void put_time(const char *name, int64_t ms)
{
    char text[32];
    utc_time(ms, text);
    put_key(name);
    put_text(ms ? text : NULL);
}

static void write_json(const quern_stored *v)
{
    const quern_stored_info *i = quern_stored_about(v);
    put_object();
    put_key("source");
    put_text(i->source);
    put_key("key");
    put_raw(i->key, strlen(i->key));
    put_key("generation");
    put_signed(i->generation);
    put_key("model");
    put_text(i->model);
    put_key("fingerprint");
    put_text(i->fingerprint);
    put_key("dimensions");
    put_whole(i->dimensions);
    put_key("vector_type");
    put_text(i->vector_type);
    put_key("outcome");
    put_text(i->outcome);
    put_key("reason");
    put_text(i->reason[0] ? i->reason : NULL);
    put_key("revision");
    put_text(i->revision);
    put_key("current");
    put_bool(i->current);
    put_time("created_at", i->created_ms);
    put_time("updated_at", i->updated_ms);
    put_key("chunks");
    put_array();
    for (size_t k = 0; k < quern_stored_count(v); k++)
        put_chunk(quern_stored_at(v, k), i->dimensions);
    put_end_array();
    put_end_object();
    put_line();
}

static int write_base64(const quern_stored *v, quern_error *err)
{
    uint32_t dimensions = quern_stored_about(v)->dimensions;
    unsigned char *row = calloc(dimensions, 4);
    if (!row)
        return no_memory(err);
    for (size_t k = 0; k < quern_stored_count(v); k++) {
        quern_vector_to_blob(quern_stored_at(v, k)->vector, dimensions, row);
        out_base64(row, (size_t)dimensions * 4);
        out_text("\n");
    }
    free(row);
    return QUERN_OK;
}

static void write_npy(const quern_stored *v)
{
    const quern_stored_info *i = quern_stored_about(v);
    int half = strcmp(i->vector_type, "f16") == 0;
    out_npy_header(half ? "<f2" : "<f4", quern_stored_count(v), i->dimensions);
    for (size_t k = 0; k < quern_stored_count(v); k++)
        out_bytes(quern_stored_at(v, k)->elements, (size_t)i->dimensions * (half ? 2 : 4));
}

int cmd_vector_get(cli *c, quern_error *err)
{
    quern_store *store = NULL;
    quern_stored *v = NULL;
    const char *source = NULL;
    quern_str key = {NULL, 0};
    const char *format = format_of(c);
    int64_t generation = (int64_t)quern_config_count(c->config, "generation");
    int rc = one_key(c, &source, &key, err);
    if (rc == QUERN_OK)
        rc = open_store(c, 1, &store, err);
    if (rc == QUERN_OK)
        rc = quern_stored_open(&v, store, source, key, generation, err);
    if (rc == QUERN_OK && strcmp(format, "base64") == 0)
        rc = write_base64(v, err);
    else if (rc == QUERN_OK && strcmp(format, "npy") == 0)
        write_npy(v);
    else if (rc == QUERN_OK)
        write_json(v);
    quern_stored_free(v);
    quern_store_free(store);
    return rc;
}

/* ---- put ---- */

typedef struct given {
    quern_stored_vector *vectors;
    size_t n;
    json_t *root; /* headings are borrowed from it */
} given;

static int read_all(char **text, size_t *n, quern_error *err)
{
    char *buf = NULL;
    size_t size = 0, got = 1;
    *n = 0;
    while (got) {
        if (size - *n < BLOCK) {
            size_t more = size ? 2 * size : 4 * BLOCK;
            char *grown = more <= 2 * (size_t)MOST_INPUT ? realloc(buf, more) : NULL;
            if (!grown) {
                free(buf);
                return no_memory(err);
            }
            buf = grown;
            size = more;
        }
        got = fread(buf + *n, 1, BLOCK - 1, stdin);
        *n += got;
        if (*n > MOST_INPUT) {
            free(buf);
            return fail(err, QUERN_EFORMAT, "standard input: more than %d bytes", MOST_INPUT);
        }
    }
    if (ferror(stdin)) {
        free(buf);
        return fail(err, QUERN_EIO, "standard input: cannot read");
    }
    if (!buf)
        return no_memory(err);
    buf[*n] = '\0';
    *text = buf;
    return QUERN_OK;
}

/* jansson has no limit of its own that is low enough. */
static int check_depth(const char *text, quern_error *err)
{
    int depth = 0, quoted = 0;
    for (const char *p = text; *p; p++) {
        if (quoted) {
            p += *p == '\\' && p[1];
            quoted = *p != '"';
        } else {
            quoted = *p == '"';
            depth += (*p == '[' || *p == '{') - (*p == ']' || *p == '}');
        }
        if (depth > DEPTH)
            return fail(err, QUERN_EFORMAT, "standard input: JSON nested too deep");
    }
    return QUERN_OK;
}

static int take_numbers(const json_t *array, quern_stored_vector *v, quern_error *err)
{
    size_t n = json_array_size(array);
    float *floats = calloc(n + 1, sizeof *floats);
    if (!floats)
        return no_memory(err);
    v->vector = floats;
    v->dimensions = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(array, i);
        if (!json_is_number(x))
            return fail(err, QUERN_EFORMAT, "standard input: element %zu of a vector is no number",
                        i);
        double d = json_number_value(x);
        if (!(d >= -2 && d <= 2)) /* before it may be too large for a float */
            return fail(err, QUERN_EINVAL, "standard input: element %zu of a vector is %g", i, d);
        floats[i] = (float)d;
    }
    return QUERN_OK;
}

static int take_count(const json_t *object, const char *name, uint64_t *out, quern_error *err)
{
    const json_t *x = json_object_get(object, name);
    double d = json_number_value(x);
    if (x && (!json_is_number(x) || !(d >= 0 && d <= 1e15) || d != (double)(uint64_t)d))
        return fail(err, QUERN_EFORMAT, "standard input: %s is no whole number", name);
    *out = (uint64_t)d;
    return QUERN_OK;
}

static int take_chunk(const json_t *object, quern_stored_vector *v, quern_error *err)
{
    uint64_t page = 0;
    const json_t *vector = json_object_get(object, "vector");
    const json_t *heading = json_object_get(object, "heading");
    if (!json_is_array(vector) || (heading && !json_is_string(heading)))
        return fail(err, QUERN_EFORMAT,
                    "standard input: a chunk is {\"start\":…,\"end\":…,\"vector\":[…]}");
    v->heading = json_string_value(heading);
    int rc = take_count(object, "start", &v->start, err);
    if (rc == QUERN_OK)
        rc = take_count(object, "end", &v->end, err);
    if (rc == QUERN_OK)
        rc = take_count(object, "page", &page, err);
    if (rc == QUERN_OK && page > UINT32_MAX)
        rc = fail(err, QUERN_EFORMAT, "standard input: no such page");
    v->page = (uint32_t)page;
    return rc == QUERN_OK ? take_numbers(vector, v, err) : rc;
}

/* An array of numbers, or what get writes. */
static int take_json(const char *text, size_t size, given *g, quern_error *err)
{
    json_error_t fault;
    int rc = check_depth(text, err);
    if (rc != QUERN_OK)
        return rc;
    /* a vector's -0 as an integer would lose its sign, and with it the bits it was stored with */
    g->root = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &fault);
    if (!g->root)
        return fail(err, QUERN_EFORMAT, "standard input: not JSON: %s", fault.text);
    const json_t *chunks = json_object_get(g->root, "chunks");
    int plain = json_is_array(g->root);
    size_t n = plain ? 1 : json_array_size(chunks);
    if (n == 0 || n > MOST_VECTORS)
        return fail(err, QUERN_EFORMAT,
                    "standard input: neither a vector [0.1,…] nor {\"chunks\":[{\"start\":…,"
                    "\"end\":…,\"vector\":[…]},…]}");
    g->vectors = calloc(n, sizeof *g->vectors);
    if (!g->vectors)
        return no_memory(err);
    g->n = n;
    if (plain)
        return take_numbers(g->root, &g->vectors[0], err);
    for (size_t i = 0; rc == QUERN_OK && i < n; i++)
        rc = take_chunk(json_array_get(chunks, i), &g->vectors[i], err);
    return rc;
}

/* put has the place of one vector only, that is the whole text. */
static int take_base64(const char *text, size_t n, given *g, quern_error *err)
{
    while (n && strchr(" \r\n\t", text[n - 1]))
        n--;
    float *floats = NULL;
    size_t count = 0;
    if (!(g->vectors = calloc(1, sizeof *g->vectors)))
        return no_memory(err);
    int rc = floats_from_base64("standard input", text, n, &floats, &count, err);
    if (rc != QUERN_OK)
        return rc;
    g->n = 1;
    g->vectors[0].vector = floats;
    g->vectors[0].dimensions = count;
    return QUERN_OK;
}

static int read_given(const cli *c, given *g, quern_error *err)
{
    char *text = NULL;
    size_t n = 0;
    int rc = read_all(&text, &n, err);
    if (!text)
        return rc;
    if (strcmp(format_of(c), "base64") == 0)
        rc = take_base64(text, n, g, err);
    else
        rc = take_json(text, n, g, err);
    free(text);
    return rc;
}

static void tell(const cli *c, const char *what, uint64_t n)
{
    if (c->json) {
        put_object();
        put_key(what);
        put_whole(n);
        put_end_object();
        put_line();
    } else if (!c->quiet) {
        out_printf("%s: %llu\n", what, (unsigned long long)n);
    }
}

int cmd_vector_put(cli *c, quern_error *err)
{
    quern_store *store = NULL;
    given g = {NULL, 0, NULL};
    const char *source = NULL;
    quern_str key = {NULL, 0};
    const char *fingerprint = quern_config_text(c->config, "fingerprint");
    int rc = one_key(c, &source, &key, err);
    if (rc == QUERN_OK && !fingerprint)
        rc = fail(err, QUERN_EINVAL,
                  "vector put: of which fingerprint is it? --fingerprint, as vector get shows it");
    if (rc == QUERN_OK)
        rc = read_given(c, &g, err);
    if (rc == QUERN_OK)
        rc = open_existing_store(c, &store, err);
    if (rc == QUERN_OK)
        rc = quern_stored_put(store, source, key, fingerprint, g.vectors, g.n, err);
    if (rc == QUERN_OK)
        tell(c, "stored", g.n);
    for (size_t i = 0; i < g.n; i++)
        free((float *)(uintptr_t)g.vectors[i].vector);
    free(g.vectors);
    json_decref(g.root);
    quern_store_free(store);
    return rc;
}

/* ---- delete ---- */

int cmd_vector_delete(cli *c, quern_error *err)
{
    quern_store *store = NULL;
    const char *source = NULL;
    quern_str key = {NULL, 0};
    uint64_t removed = 0;
    int rc = one_key(c, &source, &key, err);
    if (rc == QUERN_OK)
        rc = open_existing_store(c, &store, err);
    if (rc == QUERN_OK)
        rc = quern_stored_delete(store, source, key, &removed, err);
    if (rc == QUERN_OK)
        tell(c, "removed", removed);
    quern_store_free(store);
    return rc;
}
