/*
 * carry_manifest.c — manifest.json of an export: where its vectors come from, and what its files must be. The recipe stands
 * in it as an object, for people; its canonical spelling (sorted, no blanks) has the fingerprint for its SHA-256, so that
 * neither can be changed without the other.
 */
#include <jansson.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/json.h"
#include "base/os.h"
#include "base/sha256.h"
#include "pipeline/carry.h"

enum { DEPTH = 32, VALUES = 10000, MOST_DIMENSIONS = 65536 };

const char QUERN__CARRY_FORMAT[] = "quern-vectors/1";
const char *const quern__carry_names[QUERN__CARRIES] = {"vectors.npy", "vectors.jsonl",
                                                        "empty.jsonl"};

void quern__provenance_dispose(quern__provenance *p)
{
    quern__free(p->source);
    quern__free(p->model);
    quern__free(p->recipe);
    memset(p, 0, sizeof *p);
}

static int append_json(const char *data, size_t n, void *ud)
{
    return quern__buf_append(ud, data, n) ? 0 : -1;
}

/* ---- writing ---- */

static int put(json_t *object, const char *key, json_t *value)
{
    return value && object ? json_object_set_new(object, key, value) : -1;
}

static int put_count(json_t *object, const char *key, uint64_t n)
{
    return put(object, key, json_integer((json_int_t)n));
}

static int put_text(json_t *object, const char *key, const char *s)
{
    return put(object, key, s ? json_string(s) : json_null());
}

static json_t *declaration(const quern_source_spec *spec)
{
    const struct {
        const char *key, *value;
    } fields[] = {{"name", spec->name},           {"table", spec->table},
                  {"query", spec->query},         {"keys", spec->keys},
                  {"text", spec->text},           {"revision", spec->revision},
                  {"where", spec->where},         {"meta", spec->meta},
                  {"prepare", spec->prepare},     {"text_search", spec->text_search},
                  {"keep_text", spec->keep_text}, {"stamp_columns", spec->stamp_columns},
                  {"assets", spec->assets},       {"max_assets", spec->max_assets}};
    json_t *o = json_object();
    int bad = 0;
    for (size_t i = 0; i < QUERN__COUNT(fields); i++)
        bad |= put_text(o, fields[i].key, fields[i].value);
    if (bad) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static json_t *listed_files(const quern__provenance *p)
{
    json_t *files = json_object();
    int bad = 0;
    for (size_t i = 0; i < QUERN__CARRIES; i++) {
        json_t *f = json_object();
        bad |= put_count(f, "bytes", p->files[i].bytes);
        bad |= put_text(f, "sha256", p->files[i].sha256);
        bad |= put(files, quern__carry_names[i], f);
    }
    if (bad) {
        json_decref(files);
        return NULL;
    }
    return files;
}

static int put_members(json_t *root, const quern__provenance *p, const quern__provenance_more *more)
{
    json_error_t fault;
    char time[25];
    int bad = put_text(root, "format", QUERN__CARRY_FORMAT);
    bad |= put_text(root, "quern", quern_version_string());
    quern__rfc3339(quern__wall_ms(), time);
    bad |= put_text(root, "created", time);
    bad |= put(root, "source", declaration(more->spec));
    bad |= put_count(root, "generation", (uint64_t)more->generation->id);
    bad |= put_text(root, "state", more->generation->state);
    bad |= put_text(root, "model", p->model);
    bad |= put_text(root, "fingerprint", p->fingerprint);
    bad |= put(root, "recipe", json_loads(p->recipe, JSON_REJECT_DUPLICATES, &fault));
    bad |= put_count(root, "dimensions", p->dimensions);
    bad |= put_text(root, "vector_type", p->vector_type);
    bad |= put_count(root, "documents", p->documents);
    bad |= put_count(root, "vectors", p->vectors);
    bad |= put_count(root, "empty", p->empty);
    json_t *left = json_object();
    bad |= put_count(left, "stale", more->stale);
    bad |= put_count(left, "pending", more->pending);
    bad |= put_count(left, "failed", more->failed);
    bad |= put(root, "left_out", left);
    bad |= put(root, "files", listed_files(p));
    return bad;
}

int quern__provenance_write(const quern__provenance *p, const quern__provenance_more *more,
                            quern__buf *out, quern_error *err)
{
    json_t *root = json_object();
    int rc = QUERN_OK;
    if (!root || put_members(root, p, more) ||
        json_dump_callback(root, append_json, out, JSON_INDENT(2)))
        rc = quern__fail(err, QUERN_ENOMEM, 0, "no manifest: out of memory, or it is not UTF-8");
    quern__buf_putc(out, '\n');
    json_decref(root);
    return rc == QUERN_OK ? quern__buf_ok(out, "a manifest", err) : rc;
}

/* ---- reading ---- */

static int take_count(const json_t *object, const char *key, uint64_t most, const char *name,
                      uint64_t *out, quern_error *err)
{
    const json_t *v = json_object_get(object, key);
    json_int_t n = json_integer_value(v);
    if (!json_is_integer(v) || n < 0 || (uint64_t)n > most)
        return quern__fail(err, QUERN_EFORMAT, 0, "%s: %s is not a whole number up to %llu", name,
                           key, (unsigned long long)most);
    *out = (uint64_t)n;
    return QUERN_OK;
}

/* A text without NUL: jansson refuses those unless asked. */
static int take_text(const json_t *object, const char *key, const char *name, const char **out,
                     quern_error *err)
{
    *out = json_string_value(json_object_get(object, key));
    return *out ? QUERN_OK : quern__fail(err, QUERN_EFORMAT, 0, "%s: %s is not a text", name, key);
}

static int take_hash(const json_t *object, const char *key, const char *name, char out[65],
                     quern_error *err)
{
    const char *hash;
    int rc = take_text(object, key, name, &hash, err);
    if (rc == QUERN_OK && (strlen(hash) != 64 || strspn(hash, "0123456789abcdef") != 64))
        rc = quern__fail(err, QUERN_EFORMAT, 0, "%s: %s is not a SHA-256", name, key);
    if (rc == QUERN_OK)
        memcpy(out, hash, 65);
    return rc;
}

static int copy_text(const char *from, char **out, quern_error *err)
{
    *out = quern__strdup(from);
    return *out ? QUERN_OK : quern__fail_memory(err, strlen(from));
}

/* The recipe in its canonical spelling, which the fingerprint must be of. */
static int take_recipe(const json_t *root, const char *name, quern__provenance *p, quern_error *err)
{
    const json_t *recipe = json_object_get(root, "recipe");
    uint8_t digest[32];
    char hash[65];
    quern__buf b;
    quern__buf_init(&b, QUERN__CARRY_MANIFEST);
    int rc = take_hash(root, "fingerprint", name, p->fingerprint, err);
    if (rc == QUERN_OK && !json_is_object(recipe))
        rc = quern__fail(err, QUERN_EFORMAT, 0, "%s: recipe is not an object", name);
    if (rc == QUERN_OK &&
        json_dump_callback(recipe, append_json, &b, JSON_COMPACT | JSON_SORT_KEYS) && !b.failed)
        rc = quern__fail_memory(err, b.len);
    if (rc == QUERN_OK)
        rc = quern__buf_ok(&b, "a recipe", err);
    if (rc == QUERN_OK)
        rc = quern__sha256_of(b.data, b.len, digest, err);
    if (rc == QUERN_OK) {
        quern__hex32(digest, hash);
        if (strcmp(hash, p->fingerprint) != 0)
            rc = quern__fail(err, QUERN_EMISMATCH, 0,
                             "%s: its recipe has the fingerprint %.12s, not %.12s as it says", name,
                             hash, p->fingerprint);
    }
    if (rc == QUERN_OK && !(p->recipe = quern__buf_detach(&b)))
        rc = quern__fail_memory(err, b.len);
    quern__buf_dispose(&b);
    return rc;
}

static int take_files(const json_t *root, const char *name, quern__provenance *p, quern_error *err)
{
    const json_t *files = json_object_get(root, "files");
    int rc = QUERN_OK;
    for (size_t i = 0; rc == QUERN_OK && i < QUERN__CARRIES; i++) {
        const json_t *f = json_object_get(files, quern__carry_names[i]);
        if (!json_is_object(f))
            return quern__fail(err, QUERN_EFORMAT, 0, "%s: it does not list %s", name,
                               quern__carry_names[i]);
        rc = take_count(f, "bytes", INT64_MAX, name, &p->files[i].bytes, err);
        if (rc == QUERN_OK)
            rc = take_hash(f, "sha256", name, p->files[i].sha256, err);
    }
    return rc;
}

static int take_members(const json_t *root, const char *name, quern__provenance *p,
                        quern_error *err)
{
    const char *format, *source = NULL, *model = NULL, *type = NULL;
    uint64_t dimensions = 0;
    int rc = take_text(root, "format", name, &format, err);
    if (rc == QUERN_OK && strcmp(format, QUERN__CARRY_FORMAT) != 0)
        rc = quern__fail(err, QUERN_EUNSUPPORTED, 0, "%s: format %.60s; this version reads %s",
                         name, format, QUERN__CARRY_FORMAT);
    if (rc == QUERN_OK)
        rc = take_text(json_object_get(root, "source"), "name", name, &source, err);
    if (rc == QUERN_OK)
        rc = take_text(root, "model", name, &model, err);
    if (rc == QUERN_OK)
        rc = take_text(root, "vector_type", name, &type, err);
    if (rc == QUERN_OK && !quern__vector_width(type))
        rc = quern__fail(err, QUERN_EFORMAT, 0, "%s: vector_type %.20s: f16 or f32", name, type);
    if (rc == QUERN_OK)
        rc = take_count(root, "dimensions", MOST_DIMENSIONS, name, &dimensions, err);
    if (rc == QUERN_OK && dimensions == 0)
        rc = quern__fail(err, QUERN_EFORMAT, 0, "%s: dimensions is 0", name);
    if (rc == QUERN_OK)
        rc = take_count(root, "documents", INT64_MAX, name, &p->documents, err);
    if (rc == QUERN_OK)
        rc = take_count(root, "vectors", INT64_MAX, name, &p->vectors, err);
    if (rc == QUERN_OK)
        rc = take_count(root, "empty", INT64_MAX, name, &p->empty, err);
    if (rc == QUERN_OK)
        rc = take_files(root, name, p, err);
    if (rc == QUERN_OK)
        rc = take_recipe(root, name, p, err);
    if (rc == QUERN_OK)
        rc = copy_text(source, &p->source, err);
    if (rc == QUERN_OK)
        rc = copy_text(model, &p->model, err);
    if (rc == QUERN_OK) {
        p->dimensions = (uint32_t)dimensions;
        snprintf(p->vector_type, sizeof p->vector_type, "%s", type);
    }
    return rc;
}

int quern__provenance_read(const char *json, size_t n, const char *name, quern__provenance *out,
                           quern_error *err)
{
    json_error_t fault;
    memset(out, 0, sizeof *out);
    int rc = quern__json_scan(json, n, QUERN__CARRY_MANIFEST, DEPTH, VALUES, err);
    if (rc != QUERN_OK)
        return rc;
    json_t *root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &fault);
    if (!json_is_object(root))
        rc = quern__fail(err, QUERN_EFORMAT, fault.position, "%s: not a JSON object: %s", name,
                         root ? "another value" : fault.text);
    if (rc == QUERN_OK)
        rc = take_members(root, name, out, err);
    json_decref(root);
    if (rc != QUERN_OK)
        quern__provenance_dispose(out);
    return rc;
}
