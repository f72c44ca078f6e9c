/*
 * recipe.c — see recipe.h.
 *
 * The fingerprint's JSON is the embedder's own with five members added: chunker, preprocessing, scope,
 * stored_type, template; builder, where the program builds the texts; and assets, where there are any. `scope` holds more than the predicate: table, query, keys and the revision
 * column too. Were a source pointed at another table whose keys and revisions happen to coincide, its old stamps
 * would otherwise pass for current, and hits would show rows that were never embedded.
 *
 * Values are JSON strings, so that no value can pass for another member (a template may hold quotes,
 * newlines and '=').
 */
#include "pipeline/recipe.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/json.h"
#include "base/sha256.h"
#include "quern/text.h"
#include "store/stamp_columns.h"
#include "text/prepare.h"
#include "text/utf8.h"

enum {
    ARENA_LIMIT = 1 << 20, /* of one declaration */
    JSON_LIMIT = 1 << 20,  /* of a fingerprint */
    META_MAX = 256,
    NUMBER_TEXT = 40
};

static const char CHUNKER[] = "token-window/2";
static const char HEADINGS[] = "markdown-path/1";
static const char CHARACTER_CHUNKER[] = "character-window/1";
static const char ASSET_ROWS[] = "fused-first/1"; /* sight.h */

/* ---- the declaration ---- */

static int copy_text(quern__arena *a, const char *from, const char **to, quern_error *err)
{
    if (!from)
        return QUERN_OK;
    *to = quern__arena_copy(a, from, strlen(from));
    return *to ? QUERN_OK : quern__fail_memory(err, strlen(from));
}

static int copy_spec(quern__recipe *p, const quern_source_spec *from, quern_error *err)
{
    quern_source_spec *to = &p->spec;
    to->struct_size = sizeof *to;
    const struct {
        const char *from;
        const char **to;
    } fields[] = {{from->name, &to->name},
                  {from->table, &to->table},
                  {from->query, &to->query},
                  {from->keys, &to->keys},
                  {from->text, &to->text},
                  {from->revision, &to->revision},
                  {from->where, &to->where},
                  {from->meta, &to->meta},
                  {from->prepare, &to->prepare},
                  {from->text_search, &to->text_search},
                  {from->stamp_columns, &to->stamp_columns},
                  {from->keep_text, &to->keep_text},
                  {from->assets, &to->assets},
                  {from->max_assets, &to->max_assets}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const char *value = fields[i].from && fields[i].from[0] ? fields[i].from : NULL;
        int rc = copy_text(&p->arena, value, fields[i].to, err);
        if (rc != QUERN_OK)
            return rc;
    }
    return QUERN_OK;
}

/* Splits "a, b" into names without the blanks around them. */
static int split_meta(quern__recipe *p, quern_error *err)
{
    const char *at = p->spec.meta ? p->spec.meta : "";
    p->meta = quern__arena_alloc(&p->arena, META_MAX * sizeof *p->meta);
    p->meta_column = quern__arena_alloc(&p->arena, META_MAX * sizeof *p->meta_column);
    if (!p->meta || !p->meta_column)
        return quern__fail_memory(err, META_MAX * sizeof *p->meta);
    while (*at) {
        size_t n = strcspn(at, ",");
        size_t from = strspn(at, " \t\n");
        size_t to = n;
        while (to > from && strchr(" \t\n", at[to - 1]))
            to--;
        if (to > from) {
            if (p->n_meta == META_MAX)
                return quern__fail(err, QUERN_EINVAL, META_MAX,
                                   "source %s: more than %d metadata columns", p->spec.name,
                                   META_MAX);
            char *name = quern__arena_copy(&p->arena, at + from, to - from);
            if (!name)
                return quern__fail_memory(err, to - from);
            p->meta[p->n_meta++] = name;
        }
        at += n + (at[n] == ',');
    }
    return QUERN_OK;
}

/* Its place among the columns, to which it is added when it is new. */
static size_t place_column(quern__recipe *p, const char *name)
{
    for (size_t i = 0; i < p->n_columns; i++)
        if (strcmp(p->columns[i], name) == 0)
            return i;
    p->columns[p->n_columns] = name;
    return p->n_columns++;
}

const char *const quern__detail_names[] = {"page", "section", "properties", "references"};

static int gather_columns(quern__recipe *p, quern_error *err)
{
    size_t n = quern__template_count(p->template);
    size_t most = n + p->assets.n + p->n_meta + QUERN__DETAILS + 3;
    p->columns = quern__arena_alloc(&p->arena, most * sizeof *p->columns);
    if (!p->columns)
        return quern__fail_memory(err, most * sizeof *p->columns);
    p->n_columns = 0;
    for (size_t i = 0; i < n; i++)
        place_column(p, quern__template_column(p->template, i));
    for (size_t i = 0; i < p->assets.n; i++)
        p->asset_column[i] = place_column(p, p->assets.name[i]);
    for (size_t m = 0; m < p->n_meta; m++)
        p->meta_column[m] = place_column(p, p->meta[m]);
    bool builtin = !p->spec.table && !p->spec.query;
    for (size_t d = 0; d < QUERN__DETAILS; d++)
        p->detail[d] = builtin ? place_column(p, quern__detail_names[d]) : SIZE_MAX;
    /* behind all that a search reads: who drops such a column stops fills, not searches */
    quern__stamp_columns stamps;
    int rc =
        quern__stamp_columns_parse(p->spec.stamp_columns, p->spec.name, &p->arena, &stamps, err);
    p->n_read = p->n_columns;
    p->generated_at = stamps.generated_at ? p->n_read : SIZE_MAX;
    if (stamps.generated_at)
        p->columns[p->n_read++] = stamps.generated_at;
    p->model = stamps.model ? p->n_read : SIZE_MAX;
    if (stamps.model)
        p->columns[p->n_read++] = stamps.model;
    p->read.source = &p->spec;
    p->read.columns = p->columns;
    p->read.n_columns = p->n_columns;
    return rc;
}

/* All but the columns to read, for which the store must be asked. */
static int make_recipe(quern__recipe **out, const quern_source_spec *spec, quern_error *err)
{
    *out = NULL;
    quern__recipe *p = quern__calloc(1, sizeof *p);
    if (!p)
        return quern__fail_memory(err, sizeof *p);
    quern__arena_init(&p->arena, ARENA_LIMIT);
    int rc = copy_spec(p, spec, err);
    bool builtin = !p->spec.table && !p->spec.query;
    p->keeps = p->spec.keep_text && !builtin;
    p->forgets = p->spec.keep_text && builtin;
    if (rc == QUERN_OK)
        rc = quern__template_parse(&p->template, p->spec.text ? p->spec.text : "{text}", err);
    if (rc == QUERN_OK)
        rc = quern__prepare_parse(p->spec.prepare, &p->prepare, err);
    if (rc == QUERN_OK)
        rc = quern__asset_columns_parse(&p->spec, &p->arena, &p->assets, err);
    if (rc == QUERN_OK)
        rc = split_meta(p, err);
    if (rc != QUERN_OK) {
        quern__recipe_free(p);
        return rc;
    }
    *out = p;
    return QUERN_OK;
}

void quern__recipe_free(quern__recipe *p)
{
    if (!p)
        return;
    quern__template_free(p->template);
    quern__arena_dispose(&p->arena);
    quern__free(p);
}

/* ---- finding sources ---- */

typedef struct name_list {
    char **names;
    size_t n, cap;
    quern_error *err;
} name_list;

static int take_name(const quern_source_spec *spec, void *ud)
{
    name_list *l = ud;
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 8;
        char **grown = quern__resize_array(l->names, cap, sizeof *grown);
        if (!grown)
            return quern__fail_memory(l->err, cap * sizeof *grown);
        l->names = grown;
        l->cap = cap;
    }
    char *copy = quern__strdup(spec->name);
    if (!copy)
        return quern__fail_memory(l->err, strlen(spec->name));
    l->names[l->n++] = copy;
    return QUERN_OK;
}

int quern__source_names(quern_store *s, char ***names, size_t *n, quern_error *err)
{
    name_list l = {.err = err};
    int rc = s->table.source_each(s->self, take_name, &l, err);
    if (rc != QUERN_OK) {
        quern__names_free(l.names, l.n);
        l = (name_list){0};
    }
    *names = l.names;
    *n = l.n;
    return rc;
}

void quern__names_free(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        quern__free(names[i]);
    quern__free(names);
}

typedef struct recipe_search {
    const char *name;
    quern__recipe *found;
    quern_error *err;
} recipe_search;

static int take_recipe(const quern_source_spec *spec, void *ud)
{
    recipe_search *f = ud;
    if (strcmp(spec->name, f->name) != 0 || f->found)
        return QUERN_OK;
    return make_recipe(&f->found, spec, f->err);
}

int quern__recipe_open(quern__recipe **out, quern_store *s, const char *name, quern_error *err)
{
    *out = NULL;
    recipe_search f = {name, NULL, err};
    int rc = s->table.source_each(s->self, take_recipe, &f, err);
    if (rc == QUERN_OK && f.found)
        rc = quern__resolve_template(f.found->template, s, &f.found->spec, err);
    if (rc == QUERN_OK && f.found)
        rc = gather_columns(f.found, err);
    if (rc != QUERN_OK) {
        quern__recipe_free(f.found);
        return rc;
    }
    if (f.found) {
        *out = f.found;
        return QUERN_OK;
    }
    char **names = NULL;
    size_t n = 0;
    rc = quern__source_names(s, &names, &n, err);
    if (rc != QUERN_OK)
        return rc;
    const char *near = quern_nearest(name, (const char *const *)names, n);
    if (near)
        rc = quern__fail(err, QUERN_ENOTFOUND, 0, "no source %s; did you mean %s?", name, near);
    else
        rc = quern__fail(err, QUERN_ENOTFOUND, 0,
                         "no source %s; `quern source list` shows those that there are", name);
    quern__names_free(names, n);
    return rc;
}

/* ---- rows ---- */

static int number_text(const quern_value *v, char out[NUMBER_TEXT], quern_str *text,
                       quern_error *err)
{
    int n = 0;
    if (v->type == QUERN_VALUE_INT) {
        n = snprintf(out, NUMBER_TEXT, "%" PRId64, v->integer);
    } else { /* through the JSON writer: not by locale, and shortest that reads back */
        quern__buf b;
        quern__buf_init(&b, NUMBER_TEXT);
        quern__jsonw w;
        quern__jsonw_init(&w, &b);
        quern__jsonw_double(&w, v->real);
        int rc = quern__buf_ok(&b, "a number", err);
        if (rc == QUERN_OK) {
            n = (int)b.len;
            memcpy(out, b.data, b.len);
        }
        quern__buf_dispose(&b);
        if (rc != QUERN_OK)
            return rc;
    }
    *text = (quern_str){out, (size_t)n};
    return QUERN_OK;
}

typedef struct row_values {
    char numbers[QUERN__TEMPLATE_FIELDS][NUMBER_TEXT];
    quern_str texts[QUERN__TEMPLATE_FIELDS];
    uint64_t bytes; /* of texts and blobs */
} row_values;

/* What the template reads, as text. */
static int take_values(const quern__recipe *p, const quern_row *row, row_values *out,
                       quern_error *err)
{
    size_t n = quern__template_count(p->template);
    out->bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const quern_value *v = &row->columns[i];
        out->texts[i] = (quern_str){NULL, 0};
        if (v->type == QUERN_VALUE_TEXT || v->type == QUERN_VALUE_BLOB) {
            out->texts[i] = v->bytes;
            out->bytes += v->bytes.len;
        } else if (v->type != QUERN_VALUE_NULL) {
            int rc = number_text(v, out->numbers[i], &out->texts[i], err);
            if (rc != QUERN_OK)
                return rc;
        }
    }
    return QUERN_OK;
}

static void too_large(quern__document_view *out, uint64_t bytes, uint64_t max_bytes)
{
    out->bytes = bytes;
    snprintf(out->reason, sizeof out->reason, "%" PRIu64 " bytes > %" PRIu64, bytes, max_bytes);
}

/* The same as the text's own where there are no assets: what was embedded before a source had any stays current. */
int quern__document_digest(const quern__document_view *doc, uint8_t digest[32], quern_error *err)
{
    quern__sha256 h;
    bool any = false;
    int rc = quern__sha256_of(doc->text.ptr ? doc->text.ptr : "", doc->text.len, digest, err);
    for (size_t i = 0; i < doc->n_assets; i++)
        any |= doc->assets[i].len > 0;
    if (rc != QUERN_OK || !any || (rc = quern__sha256_begin(&h, err)) != QUERN_OK)
        return rc;
    rc = quern__sha256_add(&h, digest, 32, err);
    for (size_t i = 0; rc == QUERN_OK && i < doc->n_assets; i++) {
        uint8_t length[8];
        for (int k = 0; k < 8; k++)
            length[k] = (uint8_t)((uint64_t)doc->assets[i].len >> 8 * k);
        rc = quern__sha256_add(&h, length, sizeof length, err);
        if (rc == QUERN_OK && doc->assets[i].len)
            rc = quern__sha256_add(&h, doc->assets[i].ptr, doc->assets[i].len, err);
    }
    if (rc == QUERN_OK)
        rc = quern__sha256_end(&h, digest, err);
    quern__sha256_dispose(&h);
    return rc;
}

/* A number is no URL, whatever it is. */
static void take_assets(const quern__recipe *p, const quern_row *row, quern__document_view *out)
{
    out->n_assets = p->assets.n;
    for (size_t i = 0; i < p->assets.n; i++) {
        const quern_value *v = &row->columns[p->asset_column[i]];
        bool bytes = v->type == QUERN_VALUE_TEXT || v->type == QUERN_VALUE_BLOB;
        out->assets[i] = bytes                         ? v->bytes
                         : v->type == QUERN_VALUE_NULL ? (quern_str){NULL, 0}
                                                       : quern_str_of("a number");
    }
}

static int set_revision(const quern__recipe *p, const quern_row *row, quern__document_view *out,
                        quern_error *err)
{
    if (p->spec.revision && row->revision.len) {
        out->revision = row->revision;
        return QUERN_OK;
    }
    uint8_t digest[32];
    int rc = quern__document_digest(out, digest, err);
    if (rc != QUERN_OK)
        return rc;
    memcpy(out->hex, "sha256:", 7);
    quern__hex32(digest, out->hex + 7);
    out->revision = quern_str_of(out->hex);
    return QUERN_OK;
}

int quern__recipe_document(const quern__recipe *p, const quern_row *row, uint64_t max_bytes,
                           quern__buf *text, quern__document_view *out, quern_error *err)
{
    memset(out, 0, sizeof *out);
    if (row->n_columns < p->n_columns)
        return quern__fail(err, QUERN_EINTERNAL, (int64_t)row->n_columns,
                           "source %s: the store gave %zu of %zu columns", p->spec.name,
                           row->n_columns, p->n_columns);
    if (row->no_text) {
        out->revision = row->revision;
        out->no_text = true;
        snprintf(out->reason, sizeof out->reason,
                 "its text is not kept (add --keep-text no); add it again to embed it anew");
        return QUERN_OK;
    }
    row_values values;
    take_assets(p, row, out);
    int rc = take_values(p, row, &values, err);
    if (rc != QUERN_OK)
        return rc;
    uint64_t raw = values.bytes;
    uint64_t most = quern__template_bound(p->template, values.texts);
    if (raw > QUERN__RENDER_BYTES || most > QUERN__TEXT_BUFFER) {
        /* Its size stands for its content, which stays too large while the size stays. */
        too_large(out, QUERN__MAX(raw, most), QUERN__MIN(max_bytes, (uint64_t)QUERN__RENDER_BYTES));
        if (p->spec.revision && row->revision.len) {
            out->revision = row->revision;
        } else {
            snprintf(out->hex, sizeof out->hex, "bytes:%" PRIu64, raw);
            out->revision = quern_str_of(out->hex);
        }
        return QUERN_OK;
    }
    quern__buf_clear(text);
    rc = quern__template_render(p->template, values.texts, text, err);
    if (rc != QUERN_OK)
        return rc;
    out->text = (quern_str){text->data, text->len};
    out->bytes = text->len;
    if (out->bytes > max_bytes) {
        too_large(out, out->bytes, max_bytes);
    } else {
        size_t bad = quern__utf8_check(text->data ? text->data : "", text->len);
        if (bad < text->len)
            snprintf(out->reason, sizeof out->reason, "not UTF-8 at byte %zu of its text", bad);
    }
    rc = set_revision(p, row, out, err);
    if (rc == QUERN_OK && p->prepare && !out->reason[0] && text->len)
        out->text.len = quern__prepare(p->prepare, text->data, text->len);
    return rc;
}

bool quern__is_current(const quern_row *row, const quern__document_view *doc)
{
    const quern_stamp *s = &row->stamp;
    if (s->outcome == QUERN_OUTCOME_NONE || s->revision.len != doc->revision.len)
        return false;
    return s->revision.len == 0 || memcmp(s->revision.ptr, doc->revision.ptr, s->revision.len) == 0;
}

bool quern__is_done(const quern_row *row, const quern__document_view *doc)
{
    return !row->stamp.redo && quern__is_current(row, doc);
}

/* ---- fingerprints ---- */

static int append_json(const char *data, size_t n, void *ud)
{
    return quern__buf_append(ud, data, n) ? 0 : -1;
}

static int set_new(json_t *object, const char *key, json_t *value)
{
    return value && object ? json_object_set_new(object, key, value) : -1;
}

static json_t *text_or_null(const char *s)
{
    return s ? json_string(s) : json_null();
}

/* The kind of a column decides what its URLs are, their order which are cut off. */
static json_t *asset_member(const quern__recipe *p, const quern__fill_settings *s)
{
    static const char *const kinds[] = {"image", "frame", "video"};
    json_t *o = json_object(), *columns = json_array();
    int bad = 0;
    for (size_t i = 0; columns && i < p->assets.n; i++)
        bad |= json_array_append_new(
            columns, json_pack("[ss]", p->assets.name[i], kinds[p->assets.kind[i]]));
    bad |= set_new(o, "columns", columns);
    if (s->builder_assets)
        bad |= set_new(o, "builder", json_integer(s->builder_assets));
    else
        bad |= set_new(o, "max", json_integer(p->assets.most));
    bad |= set_new(o, "rows", json_string(ASSET_ROWS));
    if (!bad)
        return o;
    json_decref(o);
    return NULL;
}

static int add_members(json_t *root, const quern__recipe *p, const quern__fill_settings *s)
{
    json_t *chunker = json_object();
    json_t *scope = json_object();
    char prepared[QUERN__PREPARE_NAMES];
    int bad = 0;
    quern__prepare_names(p->prepare, prepared);
    if (s->chunking.headings)
        bad |= set_new(chunker, "headings", json_string(HEADINGS));
    bad |=
        set_new(chunker, "kind", json_string(s->chunking.characters ? CHARACTER_CHUNKER : CHUNKER));
    bad |= set_new(chunker, "max_chunks", json_integer(s->chunking.max_chunks));
    bad |= set_new(chunker, "max_tokens", json_integer(s->chunking.max_tokens));
    bad |= set_new(chunker, "overlap", json_integer(s->chunking.overlap));
    if (s->builder[0])
        bad |= set_new(root, "builder", json_string(s->builder));
    if (quern__settings_assets(p, s))
        bad |= set_new(root, "assets", asset_member(p, s));
    bad |= set_new(root, "chunker", chunker);
    bad |= set_new(scope, "keys", text_or_null(p->spec.keys));
    bad |= set_new(scope, "query", text_or_null(p->spec.query));
    bad |= set_new(scope, "revision", text_or_null(p->spec.revision));
    bad |= set_new(scope, "table", text_or_null(p->spec.table));
    bad |= set_new(scope, "where", text_or_null(p->spec.where));
    if (p->scope) /* only where there is one: fingerprints from before there were any stay what they are */
        bad |= set_new(scope, "within", json_string(p->scope));
    bad |= set_new(root, "scope", scope);
    bad |= set_new(root, "preprocessing", json_string(prepared));
    bad |= set_new(root, "stored_type", json_string(s->vector_type));
    bad |= set_new(root, "template", json_string(p->spec.text ? p->spec.text : "{text}"));
    return bad;
}

int quern__fingerprint_load(json_t **out, const char *json, quern_error *err)
{
    int rc = quern__json_scan(json, strlen(json), JSON_LIMIT, 32, 10000, err);
    if (rc != QUERN_OK)
        return rc;
    json_error_t fault;
    json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &fault);
    if (!json_is_object(root)) {
        json_decref(root);
        return quern__fail(err, QUERN_EFORMAT, fault.position, "a fingerprint is not JSON: %s",
                           root ? "not an object" : fault.text);
    }
    *out = root;
    return QUERN_OK;
}

int quern__recipe_fingerprint(const quern__recipe *p, quern_embedder *e,
                              const quern__fill_settings *s, char **json, char hash[65],
                              quern_error *err)
{
    *json = NULL;
    char *own = NULL;
    json_t *root = NULL;
    uint8_t digest[32];
    quern__buf b;
    quern__buf_init(&b, JSON_LIMIT);
    int rc = quern_embedder_fingerprint(e, &own, NULL, err);
    if (rc == QUERN_OK)
        rc = quern__fingerprint_load(&root, own, err);
    if (rc != QUERN_OK)
        goto done;
    if (add_members(root, p, s) ||
        json_dump_callback(root, append_json, &b, JSON_COMPACT | JSON_SORT_KEYS)) {
        rc = quern__fail(err, QUERN_ENOMEM, 0,
                         "source %s: no fingerprint: out of memory, or its "
                         "declaration is not UTF-8",
                         p->spec.name);
        goto done;
    }
    rc = quern__buf_ok(&b, "the fingerprint", err);
    if (rc == QUERN_OK)
        rc = quern__sha256_of(b.data, b.len, digest, err);
    if (rc == QUERN_OK) {
        quern__hex32(digest, hash);
        *json = quern__buf_detach(&b);
        if (!*json)
            rc = quern__fail_memory(err, b.len);
    }
done:
    json_decref(root);
    quern__free(own);
    quern__buf_dispose(&b);
    return rc;
}

int quern__settings_of(const char *json, quern__fill_settings *s, quern_error *err)
{
    json_t *root = NULL;
    int rc = quern__fingerprint_load(&root, json, err);
    if (rc != QUERN_OK)
        return rc;
    memset(s, 0, sizeof *s);
    json_t *c = json_object_get(root, "chunker");
    json_int_t tokens = json_integer_value(json_object_get(c, "max_tokens"));
    json_int_t overlap = json_integer_value(json_object_get(c, "overlap"));
    json_int_t chunks = json_integer_value(json_object_get(c, "max_chunks"));
    const char *type = json_string_value(json_object_get(root, "stored_type"));
    const char *kind = json_string_value(json_object_get(c, "kind"));
    bool characters = kind && strcmp(kind, CHARACTER_CHUNKER) == 0;
    const json_int_t most = QUERN__CHUNK_TOKENS * (characters ? QUERN__CHUNK_CHARACTERS : 1);
    if (tokens < 1 || tokens > most || overlap < 0 || overlap >= tokens || chunks < 1 ||
        chunks > QUERN__CHUNK_LIMIT || !type || !quern__vector_width(type)) {
        rc = quern__fail(err, QUERN_EFORMAT, 0,
                         "a generation's fingerprint lacks the settings it was made with");
    } else {
        s->chunking = (quern__chunking){.max_tokens = (uint32_t)tokens,
                                        .overlap = (uint32_t)overlap,
                                        .max_chunks = (uint32_t)chunks,
                                        .characters = characters,
                                        .headings = json_object_get(c, "headings") != NULL};
        const char *builder = json_string_value(json_object_get(root, "builder"));
        snprintf(s->vector_type, sizeof s->vector_type, "%s", type);
        snprintf(s->builder, sizeof s->builder, "%s", builder ? builder : "");
        json_int_t assets =
            json_integer_value(json_object_get(json_object_get(root, "assets"), "builder"));
        s->builder_assets = assets > 0 && assets <= QUERN__ASSETS_DECLARABLE ? (uint32_t)assets : 0;
    }
    json_decref(root);
    return rc;
}

int quern__settings_check(const quern__recipe *p, const quern__fill_settings *s, quern_embedder *e,
                          quern_error *err)
{
    if (!quern__settings_assets(p, s) || quern_embedder_sees(e))
        return QUERN_OK;
    return quern__fail(err, QUERN_EUNSUPPORTED, 0,
                       "source %s has assets (%.100s), and %s reads texts only: take a model that "
                       "sees, or `quern source set %s --assets ''`",
                       p->spec.name, s->builder_assets ? s->builder : p->spec.assets,
                       quern_embedder_name(e), p->spec.name);
}

/* Members of a that b lacks or, with `both`, has otherwise. */
static void note_differing(json_t *a, json_t *b, bool both, char *out, size_t size)
{
    const char *key;
    json_t *value;
    json_object_foreach(a, key, value)
    {
        json_t *other = json_object_get(b, key);
        if (other && (!both || json_equal(value, other)))
            continue;
        size_t n = strlen(out);
        if (n + strlen(key) + 3 < size)
            snprintf(out + n, size - n, "%s%s", n ? ", " : "", key);
    }
}

void quern__fingerprint_difference(const char *a, const char *b, char *out, size_t size)
{
    json_t *ja = NULL;
    json_t *jb = NULL;
    out[0] = '\0';
    if (quern__fingerprint_load(&ja, a, NULL) == QUERN_OK &&
        quern__fingerprint_load(&jb, b, NULL) == QUERN_OK) {
        note_differing(ja, jb, true, out, size);
        note_differing(jb, ja, false, out, size);
    }
    json_decref(ja);
    json_decref(jb);
    if (!out[0])
        snprintf(out, size, "fingerprint");
}

int quern__recipe_declared(const quern__recipe *p, const char *json, bool *same, char *what,
                           size_t size, quern_error *err)
{
    quern__fill_settings settings;
    json_t *made = NULL;
    what[0] = '\0';
    int rc = quern__settings_of(json, &settings, err);
    if (rc == QUERN_OK)
        rc = quern__fingerprint_load(&made, json, err);
    if (rc != QUERN_OK)
        return rc;
    json_t *now = json_copy(made);
    if (!now || add_members(now, p, &settings))
        rc = quern__fail(err, QUERN_ENOMEM, 0, "source %s: no fingerprint", p->spec.name);
    else
        note_differing(made, now, true, what, size);
    *same = rc == QUERN_OK && !what[0];
    json_decref(now);
    json_decref(made);
    return rc;
}

int quern__recipe_check_generation(quern__recipe *p, quern_store *s, quern_embedder *e,
                                   const quern_generation *g, quern__fill_settings *settings,
                                   quern_error *err)
{
    char *made = NULL;
    char *now = NULL;
    char hash[65];
    int rc = quern__recipe_scope_of(p, s, g->id, err);
    if (rc == QUERN_OK)
        rc = s->table.generation_json(s->self, g->id, &made, err);
    if (rc == QUERN_OK)
        rc = quern__settings_of(made, settings, err);
    if (rc == QUERN_OK)
        rc = quern__recipe_fingerprint(p, e, settings, &now, hash, err);
    if (rc == QUERN_OK &&
        (strcmp(hash, g->fingerprint) != 0 || g->dimensions != quern_embedder_dimensions(e))) {
        char what[160];
        quern__fingerprint_difference(made, now, what, sizeof what);
        rc = quern__fail(
            err, QUERN_EMISMATCH, 0,
            "source %s was filled with %s under fingerprint %.12s, in force is %s under %.12s "
            "(%s differs); run `quern fill`, or go back to the earlier settings",
            p->spec.name, g->model, g->fingerprint, quern_embedder_name(e), hash, what);
        quern__code(err, rc, "index_stale");
    }
    quern__free(made);
    quern__free(now);
    return rc;
}

static int count_tokens(quern_embedder *e, const char *text, uint32_t *n, quern_error *err)
{
    quern_tokens *t = NULL;
    quern_error local = {0};
    int rc = quern_embedder_tokenize(e, quern_str_of(text), &t, &local);
    *n = rc == QUERN_OK ? t->n : 0;
    quern_tokens_free(t);
    if (rc != QUERN_OK && rc != QUERN_EUNSUPPORTED && err)
        *err = local;
    return rc == QUERN_EUNSUPPORTED ? QUERN_OK
                                    : rc; /* without a tokenizer, chunks are cut by guess */
}

int quern__prompt_tokens(quern_embedder *e, uint32_t *n, quern_error *err)
{
    char *own = NULL;
    json_t *root = NULL;
    uint32_t with = 0;
    uint32_t without = 0;
    *n = 0;
    int rc = quern_embedder_fingerprint(e, &own, NULL, err);
    if (rc == QUERN_OK)
        rc = quern__fingerprint_load(&root, own, err);
    const char *prompt =
        json_string_value(json_object_get(json_object_get(root, "prompts"), "document"));
    if (rc == QUERN_OK && prompt && *prompt) {
        rc = count_tokens(e, prompt, &with, err);
        if (rc == QUERN_OK)
            rc = count_tokens(e, "", &without, err); /* what the model adds itself */
        if (rc == QUERN_OK && with > without)
            *n = with - without;
    }
    json_decref(root);
    quern__free(own);
    return rc;
}

size_t quern__vector_width(const char *vector_type)
{
    if (strcmp(vector_type, "f16") == 0)
        return 2;
    return strcmp(vector_type, "f32") == 0 ? 4 : 0;
}
