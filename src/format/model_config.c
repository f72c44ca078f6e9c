/*
 * model_config.c — the small JSON files of a sentence-transformers folder, read into one struct.
 *
 * Why this way: a file that says something this library would not compute exactly — another
 * activation, a causal mask, a module it does not know — must be refused by name, because ignoring it
 * gives vectors that look right and are wrong. Keys that change nothing (dropout, names, versions) are
 * skipped. Rejected: one generic JSON tree and look-ups in it, which hides duplicates and costs memory
 * that a stranger chooses.
 *
 * Invariants after success: every number lies within its stated limit, heads divide hidden, each module
 * reads what the one before it gives, and max_seq_length does not exceed the position table.
 */
#include "format/model_config.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/json.h"
#include "base/os.h"
#include "format/family.h"

enum {
    MAX_FILE = 1 << 20,
    MAX_PATH_BYTES = 4096,
    MAX_MODULES = 16,
    MAX_WIDTH = 16384,
    TABLE_LENGTH = 1 << 20
};

/* A value in a message: strings of a hostile file are cut. */
#define CUT(s)        (int)QUERN__MIN((s).len, 80), (s).ptr
#define KNOWN_MODULES "Transformer, StaticEmbedding, Pooling, Dense and Normalize"

static int twice(quern__json *j, const char *key, quern_error *err)
{
    return quern__json_fail(j, err, "\"%s\" is there twice", key);
}

static int unsupported(const quern__json *j, quern_error *err, const char *what, quern_str value,
                       const char *known)
{
    return quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)j->at,
                       "%s: %s \"%.*s\" is not supported at byte %zu; known: %s", j->name, what,
                       CUT(value), j->at, known);
}

/* ---- config.json ---- */

/* The sizes of config.json and the limits past which a claim is taken for damage. */
static const struct size_key {
    const char *name; /* BERT's */
    size_t field;     /* offset of a uint32_t */
    uint32_t max;
} size_keys[] = {
    {"hidden_size", offsetof(quern__model_config, hidden), 16384},
    {"num_hidden_layers", offsetof(quern__model_config, layers), 256},
    {"num_attention_heads", offsetof(quern__model_config, heads), 256},
    {"intermediate_size", offsetof(quern__model_config, intermediate), 131072},
    {"vocab_size", offsetof(quern__model_config, vocab), 4194304},
    {"max_position_embeddings", offsetof(quern__model_config, positions), 131072},
    {"type_vocab_size", offsetof(quern__model_config, types), 1024},
};

/* What config.json says. It is read twice: once for the family, by which the other keys are known. */
typedef struct settings {
    quern__model_config *c;
    const quern__family *family;
    uint64_t padding;
    uint64_t buckets;
    uint64_t seen;       /* of the family's rules, by their number */
    char activation[24]; /* of a "feed_forward_proj", by which T5's are told apart */
    bool
        embeds; /* there is an "embedding_dtype", which model2vec writes where it has no model_type */
} settings;

static uint32_t *size_field(quern__model_config *c, const struct size_key *key)
{
    return (uint32_t *)(void *)((char *)c + key->field);
}

static int read_size(quern__json *j, settings *s, const struct size_key *key, quern_error *err)
{
    uint32_t *field = size_field(s->c, key);
    const char *name = quern__family_key(s->family, key->name);
    uint64_t value;
    int rc;

    if (*field)
        return twice(j, name, err);
    rc = quern__json_u64(j, &value, err);
    if (rc)
        return rc;
    if (value < 1 || value > key->max)
        return quern__json_fail(j, err, "%s is %llu; 1 to %lu wanted", name,
                                (unsigned long long)value, (unsigned long)key->max);
    *field = (uint32_t)value;
    return QUERN_OK;
}

static int read_epsilon(quern__json *j, quern__model_config *c, const char *name, quern_error *err)
{
    double value;
    int rc;

    if (c->layer_norm_eps > 0)
        return twice(j, name, err);
    rc = quern__json_double(j, &value, err);
    if (rc)
        return rc;
    if (!(value >= 1e-30 && value <= 0.1))
        return quern__json_fail(j, err, "%s is %g; 1e-30 to 0.1 wanted", name, value);
    c->layer_norm_eps = (float)value;
    return QUERN_OK;
}

/* A key that may have one value only. */
static int expect_string(quern__json *j, const char *key, const char *wanted, quern_error *err)
{
    quern_str s;
    int rc = quern__json_string(j, &s, err);

    if (rc)
        return rc;
    return quern__str_is(s, wanted) ? QUERN_OK : unsupported(j, err, key, s, wanted);
}

static int expect_bool(quern__json *j, const char *key, bool wanted, quern_error *err)
{
    bool value;
    int rc = quern__json_bool(j, &value, err);

    if (rc || value == wanted)
        return rc;
    return quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)j->at,
                       "%s: %s %s is not supported (byte %zu)", j->name, key,
                       value ? "true" : "false", j->at);
}

static int read_family_key(quern__json *j, settings *s, quern_str key, quern_error *err)
{
    char name[sizeof s->c->family];
    quern_str value;

    s->embeds |= quern__str_is(key, "embedding_dtype");
    if (quern__str_is(key, "feed_forward_proj") && quern__json_peek(j) == QUERN__JSON_STRING) {
        const int what = quern__json_string(j, &value, err);
        if (!what && !memchr(value.ptr, 0, value.len))
            snprintf(s->activation, sizeof s->activation, "%.*s", CUT(value));
        return what;
    }
    if (!quern__str_is(key, "model_type"))
        return quern__json_skip(j, err);
    int rc = quern__json_string(j, &value, err);
    if (rc)
        return rc;
    if (s->family)
        return twice(j, "model_type", err);
    snprintf(name, sizeof name, "%.*s", CUT(value));
    if (value.len < sizeof name && !memchr(value.ptr, 0, value.len))
        s->family = quern__family_find(name);
    if (!s->family || s->family->of)
        return unsupported(j, err, "model_type", value, quern__family_known());
    memcpy(s->c->family, name, sizeof name);
    return QUERN_OK;
}

/* "matryoshka_dimensions": [512, 256], "is_matryoshka": true. */
static int read_matryoshka(quern__json *j, quern__model_config *c, quern_str key, bool *is_one,
                           quern_error *err)
{
    int rc;

    *is_one = true;
    if (quern__str_is(key, "is_matryoshka") && quern__json_peek(j) != QUERN__JSON_NULL)
        return quern__json_bool(j, &c->matryoshka, err);
    *is_one =
        quern__str_is(key, "matryoshka_dimensions") && quern__json_peek(j) == QUERN__JSON_ARRAY;
    if (!*is_one)
        return QUERN_OK;
    c->declared_count = 0;
    rc = quern__json_enter_array(j, err);
    while (!rc && (rc = quern__json_next_item(j, err)) == 1) {
        uint64_t d;
        if (c->declared_count == QUERN__MATRYOSHKA)
            return quern__json_fail(j, err, "more than %d matryoshka_dimensions",
                                    QUERN__MATRYOSHKA);
        rc = quern__json_u64(j, &d, err);
        if (!rc && (d < 1 || d > MAX_WIDTH))
            return quern__json_fail(j, err, "matryoshka_dimensions holds %llu; 1 to %d wanted",
                                    (unsigned long long)d, MAX_WIDTH);
        if (!rc)
            c->declared[c->declared_count++] = (uint32_t)d;
    }
    return rc;
}

/* ---- keys of one family ---- */

/* null, false or 0 (or true, for `on`): what else it may be is not computed here. */
static int read_switch(quern__json *j, const quern__rule *rule, quern_error *err)
{
    const bool on = rule->kind == QUERN__RULE_ON;
    const int type = quern__json_peek(j);
    bool value = !on;
    double number = 1;
    int rc = QUERN_OK;

    if (type == QUERN__JSON_NULL && !on)
        return quern__json_null(j, err);
    if (type == QUERN__JSON_BOOL)
        rc = quern__json_bool(j, &value, err);
    else if (type == QUERN__JSON_NUMBER && !on && !(rc = quern__json_double(j, &number, err)))
        value = number != 0;
    if (rc || value == on)
        return rc;
    return quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)j->at,
                       "%s: %s at byte %zu is not supported but as %s", j->name, rule->key, j->at,
                       on ? "true" : "null or false");
}

static int read_list(quern__json *j, const quern__rule *rule, quern_error *err)
{
    int rc;

    if (quern__json_peek(j) == QUERN__JSON_NULL)
        return quern__json_null(j, err);
    rc = quern__json_enter_array(j, err);
    while (!rc && (rc = quern__json_next_item(j, err)) == 1)
        rc = expect_string(j, rule->key, rule->only, err);
    return rc;
}

static int read_number(quern__json *j, const quern__rule *rule, double *to, quern_error *err)
{
    double value;

    if (!rule->needed && quern__json_peek(j) == QUERN__JSON_NULL)
        return quern__json_null(j, err);
    int rc = quern__json_double(j, &value, err);
    if (!rc && !(value >= 1 && value <= rule->most))
        rc = quern__json_fail(j, err, "%s is %g; 1 to %g wanted", rule->key, value, rule->most);
    if (!rc)
        *to = value;
    return rc;
}

static int read_rule(quern__json *j, quern__model_config *c, const quern__rule *rule,
                     quern_error *err)
{
    void *field = (char *)c + rule->field;
    uint64_t count;
    int rc;

    switch (rule->kind) {
    case QUERN__RULE_ALL:
        return read_list(j, rule, err);
    case QUERN__RULE_IS:
        return expect_string(j, rule->key, rule->only, err);
    case QUERN__RULE_FLAG:
        return quern__json_bool(j, field, err);
    case QUERN__RULE_NUMBER:
        return read_number(j, rule, field, err);
    case QUERN__RULE_COUNT:
        rc = quern__json_u64(j, &count, err);
        if (!rc && (count < 1 || count > (uint64_t)rule->most))
            rc = quern__json_fail(j, err, "%s is %llu; 1 to %g wanted", rule->key,
                                  (unsigned long long)count, rule->most);
        if (!rc)
            *(uint32_t *)field = (uint32_t)count;
        return rc;
    default:
        return read_switch(j, rule, err);
    }
}

/* *is_one: the key is of the family's rules. */
static int read_family_rule(quern__json *j, settings *s, quern_str key, bool *is_one,
                            quern_error *err)
{
    *is_one = false;
    for (uint32_t i = 0; s->family->rules && s->family->rules[i].key; i++)
        if (quern__str_is(key, s->family->rules[i].key)) {
            *is_one = true;
            if (s->seen >> i & 1)
                return twice(j, s->family->rules[i].key, err);
            s->seen |= (uint64_t)1 << i;
            return read_rule(j, s->c, s->family->rules + i, err);
        }
    return QUERN_OK;
}

static int apply_rules(settings *s, const char *name, quern_error *err)
{
    quern__model_config *c = s->c;
    const quern__family *f = s->family;

    for (uint32_t i = 0; f->rules && f->rules[i].key; i++)
        if (f->rules[i].needed && !(s->seen >> i & 1))
            return quern__fail(err, QUERN_EFORMAT, 0, "%s: no %s", name, f->rules[i].key);
    if (f->fused_gate)
        c->bias_down = c->bias_feed;
    if (c->key_heads && c->heads % c->key_heads)
        return quern__fail(err, QUERN_EFORMAT, 0,
                           "%s: num_attention_heads %lu is no multiple of num_key_value_heads %lu",
                           name, (unsigned long)c->heads, (unsigned long)c->key_heads);
    const uint32_t depth = c->depth ? c->depth : c->heads ? c->hidden / c->heads : 0;
    if (f->rotary && depth % 2)
        return quern__fail(err, QUERN_EFORMAT, depth,
                           "%s: heads of %lu columns cannot be turned; an even number is wanted",
                           name, (unsigned long)depth);
    return QUERN_OK;
}

static int read_config_key(quern__json *j, settings *s, quern_str key, quern_error *err)
{
    quern__model_config *c = s->c;
    bool is_one;
    int rc = read_family_rule(j, s, key, &is_one, err);

    if (rc || is_one)
        return rc;
    for (size_t i = 0; i < QUERN__COUNT(size_keys); i++)
        if (quern__str_is(key, quern__family_key(s->family, size_keys[i].name)))
            return read_size(j, s, &size_keys[i], err);
    if (quern__str_is(key, quern__family_key(s->family, "layer_norm_eps")))
        return read_epsilon(j, c, quern__family_key(s->family, "layer_norm_eps"), err);
    if (quern__str_is(key, quern__family_key(s->family, "hidden_act")))
        return expect_string(j, quern__family_key(s->family, "hidden_act"),
                             s->family->activation ? s->family->activation : "gelu", err);
    if (quern__str_is(key, "position_embedding_type"))
        return expect_string(j, "position_embedding_type", "absolute", err);
    if (quern__str_is(key, "is_decoder")) /* a causal mask */
        return expect_bool(j, "is_decoder", false, err);
    if (s->family->distances && quern__str_is(key, "relative_attention_num_buckets"))
        return quern__json_u64(j, &s->buckets, err);
    if (s->family->padding && quern__str_is(key, "pad_token_id") &&
        quern__json_peek(j) == QUERN__JSON_NUMBER)
        return quern__json_u64(j, &s->padding, err);
    rc = read_matryoshka(j, c, key, &is_one, err);
    return rc || is_one ? rc : quern__json_skip(j, err);
}

static int apply_family(settings *s, const char *name, quern_error *err)
{
    quern__model_config *c = s->c;
    const quern__family *f = s->family;

    if (f->distances && s->buckets != 32)
        return quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)s->buckets,
                           "%s: relative_attention_num_buckets is %llu; only 32 is supported", name,
                           (unsigned long long)s->buckets);
    if (f->distances && c->far && c->far != QUERN__DISTANCE_MOST)
        return quern__fail(err, QUERN_EUNSUPPORTED, c->far,
                           "%s: relative_attention_max_distance is %lu; only 128 is supported",
                           name, (unsigned long)c->far);
    if (!c->positions)
        c->positions = f->positions;
    c->padding = -1;
    if (f->padding && c->positions) {
        if (s->padding + 1 >= c->positions || s->padding >= c->vocab)
            return quern__fail(err, QUERN_EFORMAT, (int64_t)s->padding,
                               "%s: pad_token_id %llu leaves none of %lu positions, or is none of "
                               "%lu tokens",
                               name, (unsigned long long)s->padding, (unsigned long)c->positions,
                               (unsigned long)c->vocab);
        c->padding = (int64_t)s->padding;
        c->positions -= (uint32_t)s->padding + 1;
    }
    if (!f->types)
        c->types = 0;
    else if (!c->types)
        c->types = f->types;
    if (!(c->layer_norm_eps > 0))
        c->layer_norm_eps = f->eps;
    return QUERN_OK;
}

static int check_config(settings *s, const char *name, quern_error *err)
{
    quern__model_config *c = s->c;

    int rc = apply_family(s, name, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < QUERN__COUNT(size_keys); i++)
        if (!*size_field(c, &size_keys[i]) && size_field(c, &size_keys[i]) != &c->types)
            return quern__fail(err, QUERN_EFORMAT, 0, "%s: no %s", name,
                               quern__family_key(s->family, size_keys[i].name));
    rc = apply_rules(s, name, err);
    if (rc)
        return rc;
    if (!c->depth && c->hidden % c->heads)
        return quern__fail(err, QUERN_EFORMAT, 0,
                           "%s: hidden_size %lu is no multiple of num_attention_heads %lu", name,
                           (unsigned long)c->hidden, (unsigned long)c->heads);
    return QUERN_OK;
}

/* Of a static table's config.json only this decides a vector; its sizes are those of the weights. */
static int read_table_key(quern__json *j, settings *s, quern_str key, quern_error *err)
{
    quern__model_config *c = s->c;
    bool is_one;
    uint64_t n;

    if (quern__str_is(key, "normalize"))
        return quern__json_bool(j, &c->normalize, err);
    if (quern__str_is(key, "max_length")) {
        c->max_seq_length = 0;
        if (quern__json_peek(j) == QUERN__JSON_NULL)
            return quern__json_null(j, err);
        int rc = quern__json_u64(j, &n, err);
        if (!rc && (n < 1 || n > TABLE_LENGTH))
            rc = quern__json_fail(j, err, "max_length is %llu; 1 to %d wanted",
                                  (unsigned long long)n, TABLE_LENGTH);
        c->max_seq_length = rc ? 0 : (uint32_t)n;
        return rc;
    }
    int rc = read_matryoshka(j, c, key, &is_one, err);
    return rc || is_one ? rc : quern__json_skip(j, err);
}

typedef int (*key_reader)(quern__json *j, settings *s, quern_str key, quern_error *err);

static int read_keys(settings *s, key_reader reader, const char *text, size_t len, const char *name,
                     quern_error *err)
{
    quern__json j;
    quern_str key;

    quern__json_init(&j, text, len, name);
    int rc = quern__json_enter_object(&j, err);
    while (!rc && (rc = quern__json_next_key(&j, &key, err)) == 1)
        rc = reader(&j, s, key, err);
    if (!rc)
        rc = quern__json_end(&j, err);
    quern__json_dispose(&j);
    return rc;
}

int quern__model_config_parse(quern__model_config *out, const char *text, size_t len,
                              const char *name, quern_error *err)
{
    settings s = {.c = out, .padding = 1}; /* RoBERTa's, where the file does not say */

    memset(out, 0, sizeof *out);
    out->pooling = QUERN__POOL_MEAN;
    out->normalize = true;
    int rc = read_keys(&s, read_family_key, text, len, name, err);
    if (!rc && !s.family && s.embeds)
        s.family = quern__family_find("model2vec");
    if (!rc && s.family) {
        s.family = quern__family_variant(s.family, (quern_str){s.activation, strlen(s.activation)});
        snprintf(out->family, sizeof out->family, "%s", s.family->name);
    }
    if (!rc && s.family && s.family->table) {
        out->table = out->pooling_stated = true;
        out->normalize = false;
        out->positions = TABLE_LENGTH;
        out->max_seq_length = s.family->positions;
        out->unknown_row = s.family->unknown_row;
        out->padding = -1;
        return read_keys(&s, read_table_key, text, len, name, err);
    }
    if (!rc && !s.family)
        rc = quern__fail(err, QUERN_EFORMAT, 0, "%s: no model_type", name);
    if (!rc) {
        out->bias_attention = out->bias_feed = out->bias_down = out->bias_norm = s.family->biases;
        rc = read_keys(&s, read_config_key, text, len, name, err);
    }
    return rc ? rc : check_config(&s, name, err);
}

/* ---- the other files: one parser each, run by read_file over the file if it is there ---- */

/* What modules.json and the files it names say, beside the configuration itself. */
typedef struct reading {
    quern__model_config *config;
    char pooling_path[256];
    bool has_transformer, has_pooling, has_normalize; /* has_normalize: the last one is */
    uint32_t modules;
    quern__dense *dense; /* whose file is being read */
    uint32_t width;      /* of what it reads */
} reading;

typedef struct module {
    bool has_idx, has_type, has_path;
    char kind[32]; /* last part of the type */
    char path[256];
} module;

static int copy_string(quern__json *j, const char *key, char *out, size_t size, quern_error *err)
{
    quern_str s;
    int rc = quern__json_string(j, &s, err);

    if (rc)
        return rc;
    if (s.len >= size || (s.len && memchr(s.ptr, 0, s.len)))
        return quern__json_fail(
            j, err, "%s is %zu bytes long or holds a NUL; at most %zu without NUL wanted", key,
            s.len, size - 1);
    if (s.len)
        memcpy(out, s.ptr, s.len);
    out[s.len] = 0;
    return QUERN_OK;
}

static int read_type(quern__json *j, module *m, quern_error *err)
{
    static const char prefix[] = "sentence_transformers.models.";
    static const char *const known[] = {"Transformer", "StaticEmbedding", "Pooling", "Dense",
                                        "Normalize"};
    const size_t skip = sizeof prefix - 1;
    quern_str s;
    int rc = quern__json_string(j, &s, err);

    if (rc)
        return rc;
    if (m->has_type)
        return twice(j, "type", err);
    m->has_type = true;
    if (s.len > skip && memcmp(s.ptr, prefix, skip) == 0) {
        quern_str kind = {s.ptr + skip, s.len - skip};
        for (size_t i = 0; i < QUERN__COUNT(known); i++)
            if (quern__str_is(kind, known[i])) {
                memcpy(m->kind, known[i], strlen(known[i]) + 1);
                return QUERN_OK;
            }
    }
    return unsupported(j, err, "module type", s, KNOWN_MODULES);
}

/* A folder inside the model's folder: relative, without ".." — the file is a stranger's. */
static bool is_inside(const char *path)
{
    const char *part = path;

    if (*path == '/')
        return false;
    while (*part) {
        size_t n = strcspn(part, "/");
        if (n == 2 && part[0] == '.' && part[1] == '.')
            return false;
        part += n + (part[n] == '/');
    }
    return true;
}

static int accept_dense(quern__json *j, reading *r, const module *m, quern_error *err)
{
    quern__model_config *c = r->config;

    if (c->dense_count == QUERN__DENSES)
        return quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)j->at,
                           "%s: more than %d modules Dense are not supported (byte %zu)", j->name,
                           QUERN__DENSES, j->at);
    quern__dense *d = &c->dense[c->dense_count++];
    *d = (quern__dense){.bias = true, .tanh = true, .unit = r->has_normalize};
    memcpy(d->path, m->path, sizeof d->path);
    r->has_normalize = false;
    return QUERN_OK;
}

static int accept_module(quern__json *j, reading *r, const module *m, quern_error *err)
{
    if (!m->has_type || !m->has_path)
        return quern__json_fail(j, err, "module %lu has no %s", (unsigned long)r->modules,
                                m->has_type ? "path" : "type");
    if (!is_inside(m->path))
        return quern__json_fail(j, err, "module path \"%.80s\" leads out of the model's folder",
                                m->path);
    const bool table = m->kind[0] == 'S', transformer = m->kind[0] == 'T' || table,
               pooling = m->kind[0] == 'P';
    const bool again = transformer ? r->has_transformer
                       : pooling   ? r->has_pooling
                                   : m->kind[0] == 'N' && r->has_normalize;
    if (again)
        return twice(j, m->kind, err);
    if (!transformer && !r->has_transformer)
        return quern__json_fail(j, err, "module %s stands before Transformer", m->kind);
    if (!transformer && !pooling && !r->has_pooling)
        return quern__json_fail(j, err, "module %s stands before Pooling", m->kind);
    if (transformer && m->path[0] && strcmp(m->path, ".") != 0)
        return quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)j->at,
                           "%s: the %s module lies in \"%.80s\"; only the model's own "
                           "folder (\"\") is supported",
                           j->name, m->kind, m->path);
    if ((transformer && table != r->config->table) || (r->config->table && m->kind[0] == 'D'))
        return quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)j->at,
                           "%s: a module %s in a model of type %s is not supported (byte %zu)",
                           j->name, m->kind, r->config->family, j->at);
    r->has_pooling |= table; /* it gives one row */
    if (m->kind[0] == 'D')
        return accept_dense(j, r, m, err);
    r->has_transformer |= transformer;
    r->has_pooling |= pooling;
    r->has_normalize = m->kind[0] == 'N';
    if (pooling)
        memcpy(r->pooling_path, m->path, sizeof r->pooling_path);
    return QUERN_OK;
}

static int read_module(quern__json *j, reading *r, quern_error *err)
{
    module m = {0};
    quern_str key;
    uint64_t idx;
    int rc = quern__json_enter_object(j, err);

    if (rc)
        return rc;
    while ((rc = quern__json_next_key(j, &key, err)) == 1) {
        if (quern__str_is(key, "idx")) {
            rc = quern__json_u64(j, &idx, err);
            if (!rc && (m.has_idx || idx != r->modules))
                rc = quern__json_fail(j, err, "module idx %llu, %lu wanted",
                                      (unsigned long long)idx, (unsigned long)r->modules);
            m.has_idx = true;
        } else if (quern__str_is(key, "type")) {
            rc = read_type(j, &m, err);
        } else if (quern__str_is(key, "path")) {
            rc = m.has_path ? twice(j, "path", err)
                            : copy_string(j, "module path", m.path, sizeof m.path, err);
            m.has_path = true;
        } else {
            rc = quern__json_skip(j, err);
        }
        if (rc)
            return rc;
    }
    return rc ? rc : accept_module(j, r, &m, err);
}

static int read_modules(quern__json *j, reading *r, quern_error *err)
{
    int rc = quern__json_enter_array(j, err);

    if (rc)
        return rc;
    while ((rc = quern__json_next_item(j, err)) == 1) {
        if (r->modules == MAX_MODULES)
            return quern__json_fail(j, err, "more than %d modules", MAX_MODULES);
        rc = read_module(j, r, err);
        if (rc)
            return rc;
        r->modules++;
    }
    if (rc)
        return rc;
    if (!r->has_transformer || !r->has_pooling)
        return quern__json_fail(j, err, "no %s module",
                                r->has_transformer ? "Pooling" : "Transformer");
    return QUERN_OK;
}

static const struct pooling_mode {
    const char *key, *name;
    int mode;
} pooling_modes[] = {
    {"pooling_mode_cls_token", "cls", QUERN__POOL_CLS},
    {"pooling_mode_max_tokens", "max", QUERN__POOL_MAX},
    {"pooling_mode_mean_tokens", "mean", QUERN__POOL_MEAN},
    {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len", QUERN__POOL_SQRT},
    {"pooling_mode_lasttoken", "lasttoken", QUERN__POOL_LAST},
};

/* pooling_mode_*: each that is true must be one that is computed here; several are concatenated. */
static int read_pooling_mode(quern__json *j, reading *r, quern_str key, quern_error *err)
{
    int mode = 0;
    char name[64]; /* the key does not outlive the next read */
    bool on;
    int rc;

    for (size_t i = 0; i < QUERN__COUNT(pooling_modes); i++)
        if (quern__str_is(key, pooling_modes[i].key))
            mode = pooling_modes[i].mode;
    snprintf(name, sizeof name, "%.*s", CUT(key));
    rc = quern__json_bool(j, &on, err);
    if (rc || !on)
        return rc;
    if (!mode)
        return unsupported(j, err, "pooling", quern_str_of(name),
                           "pooling_mode_ … mean_tokens, cls_token, max_tokens, "
                           "mean_sqrt_len_tokens, lasttoken");
    if (r->config->pooling & mode)
        return twice(j, name, err);
    r->config->pooling |= mode;
    return QUERN_OK;
}

static int read_pooling(quern__json *j, reading *r, quern_error *err)
{
    bool has_width = false;
    quern_str key;
    uint64_t width;
    int rc = quern__json_enter_object(j, err);

    r->config->pooling = 0;
    if (rc)
        return rc;
    while ((rc = quern__json_next_key(j, &key, err)) == 1) {
        if (quern__str_is(key, "word_embedding_dimension")) {
            rc = quern__json_u64(j, &width, err);
            if (!rc && !r->config->hidden && width >= 1 && width <= MAX_WIDTH)
                r->config->hidden = (uint32_t)width; /* around a graph */
            else if (!rc && width != r->config->hidden)
                rc =
                    quern__json_fail(j, err,
                                     "word_embedding_dimension is %llu, hidden_size of config.json "
                                     "%lu",
                                     (unsigned long long)width, (unsigned long)r->config->hidden);
            has_width = true;
        } else if (key.len > 13 && memcmp(key.ptr, "pooling_mode_", 13) == 0) {
            rc = read_pooling_mode(j, r, key, err);
        } else if (quern__str_is(key,
                                 "include_prompt")) { /* false: the mean leaves the prompt out */
            rc = expect_bool(j, "include_prompt", true, err);
        } else {
            rc = quern__json_skip(j, err);
        }
        if (rc)
            return rc;
    }
    if (rc)
        return rc;
    if (!has_width)
        return quern__json_fail(j, err, "no word_embedding_dimension");
    if (!r->config->pooling)
        return quern__json_fail(j, err, "no pooling_mode_… is true");
    r->config->pooling_stated = true;
    return QUERN_OK;
}

static int read_dense_width(quern__json *j, const char *key, uint32_t *out, quern_error *err)
{
    uint64_t n;

    if (*out)
        return twice(j, key, err);
    int rc = quern__json_u64(j, &n, err);
    if (!rc && (n < 1 || n > MAX_WIDTH))
        rc = quern__json_fail(j, err, "%s is %llu; 1 to %d wanted", key, (unsigned long long)n,
                              MAX_WIDTH);
    if (!rc)
        *out = (uint32_t)n;
    return rc;
}

static int read_activation(quern__json *j, quern__dense *d, quern_error *err)
{
    static const char tanh[] = "torch.nn.modules.activation.Tanh",
                      identity[] = "torch.nn.modules.linear.Identity";
    quern_str s;
    int rc = quern__json_string(j, &s, err);

    if (rc)
        return rc;
    d->tanh = quern__str_is(s, tanh);
    return d->tanh || quern__str_is(s, identity)
               ? QUERN_OK
               : unsupported(j, err, "activation_function", s,
                             "torch.nn.modules.activation.Tanh, torch.nn.modules.linear.Identity");
}

static int read_dense(quern__json *j, reading *r, quern_error *err)
{
    quern__dense *d = r->dense;
    quern_str key;
    int rc = quern__json_enter_object(j, err);

    while (!rc && (rc = quern__json_next_key(j, &key, err)) == 1)
        if (quern__str_is(key, "in_features"))
            rc = read_dense_width(j, "in_features", &d->in, err);
        else if (quern__str_is(key, "out_features"))
            rc = read_dense_width(j, "out_features", &d->out, err);
        else if (quern__str_is(key, "bias"))
            rc = quern__json_bool(j, &d->bias, err);
        else if (quern__str_is(key, "activation_function"))
            rc = read_activation(j, d, err);
        else
            rc = quern__json_skip(j, err);
    if (rc)
        return rc;
    if (!d->in || !d->out)
        return quern__json_fail(j, err, "no %s", d->in ? "out_features" : "in_features");
    if (d->in != r->width)
        return quern__json_fail(j, err, "in_features is %lu; the module before it gives %lu",
                                (unsigned long)d->in, (unsigned long)r->width);
    return QUERN_OK;
}

static int read_longest(quern__json *j, quern__model_config *c, quern_error *err)
{
    uint64_t n;

    if (c->max_seq_length)
        return twice(j, "max_seq_length", err);
    if (quern__json_peek(j) == QUERN__JSON_NULL)
        return quern__json_null(j, err);
    int rc = quern__json_u64(j, &n, err);
    if (rc)
        return rc;
    if (n < 3 || n > c->positions)
        return quern__json_fail(j, err,
                                "max_seq_length is %llu; 3 to max_position_embeddings of "
                                "config.json (%lu) wanted",
                                (unsigned long long)n, (unsigned long)c->positions);
    c->max_seq_length = (uint32_t)n;
    return QUERN_OK;
}

/* What is handed on to transformers in place of what config.json and the tokenizer's files say: nothing, or what says where
 * the files come from and how they are held. `key` does not outlive the next read. */
static int read_handed_on(quern__json *j, quern_str key, quern_error *err)
{
    static const char *const harmless[] = {"attn_implementation",
                                           "cache_dir",
                                           "code_revision",
                                           "device_map",
                                           "dtype",
                                           "force_download",
                                           "local_files_only",
                                           "low_cpu_mem_usage",
                                           "proxies",
                                           "resume_download",
                                           "revision",
                                           "token",
                                           "torch_dtype",
                                           "trust_remote_code",
                                           "use_auth_token",
                                           "use_fast",
                                           "use_safetensors",
                                           "weights_only"};
    char name[64];
    quern_str given;
    int rc;

    snprintf(name, sizeof name, "%.*s", CUT(key));
    if (quern__json_peek(j) == QUERN__JSON_NULL)
        return quern__json_null(j, err);
    rc = quern__json_enter_object(j, err);
    while (!rc && (rc = quern__json_next_key(j, &given, err)) == 1) {
        size_t i = 0;
        while (i < QUERN__COUNT(harmless) && !quern__str_is(given, harmless[i]))
            i++;
        if (i == QUERN__COUNT(harmless))
            return quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)j->at,
                               "%s: %s holds \"%.*s\" at byte %zu, which could change a vector and "
                               "is not supported",
                               j->name, name, CUT(given), j->at);
        rc = quern__json_skip(j, err);
    }
    return rc;
}

/* Keys of sentence_bert_config.json that may have one value only, or none. */
static const struct one_value {
    const char *key;
    int type; /* null: nothing but that */
    const char *only;
} one_values[] = {
    {"do_lower_case", QUERN__JSON_BOOL, NULL}, /* in front of the tokenizer's own */
    {"mask_prompt", QUERN__JSON_BOOL, NULL},
    {"tokenizer_name_or_path", QUERN__JSON_NULL, NULL},
    {"transformer_task", QUERN__JSON_STRING, "feature-extraction"},
    {"module_output_name", QUERN__JSON_STRING, "token_embeddings"},
};

static int read_one_value(quern__json *j, const struct one_value *v, quern_error *err)
{
    const int type = quern__json_peek(j);

    if (type == QUERN__JSON_NULL)
        return quern__json_null(j, err);
    if (v->type == QUERN__JSON_NULL)
        return quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)j->at,
                           "%s: %s at byte %zu is not supported but as null", j->name, v->key,
                           j->at);
    return v->only ? expect_string(j, v->key, v->only, err) : expect_bool(j, v->key, false, err);
}

static int read_sentence(quern__json *j, reading *r, quern_error *err)
{
    static const char *const handed_on[] = {
        "model_args",    "config_args",      "tokenizer_args",   "model_kwargs",
        "config_kwargs", "tokenizer_kwargs", "processor_kwargs", "processing_kwargs"};
    quern_str key;
    int rc = quern__json_enter_object(j, err);

    while (!rc && (rc = quern__json_next_key(j, &key, err)) == 1) {
        size_t one = 0, on = 0;
        while (one < QUERN__COUNT(one_values) && !quern__str_is(key, one_values[one].key))
            one++;
        while (on < QUERN__COUNT(handed_on) && !quern__str_is(key, handed_on[on]))
            on++;
        if (quern__str_is(key, "max_seq_length"))
            rc = read_longest(j, r->config, err);
        else if (one < QUERN__COUNT(one_values))
            rc = read_one_value(j, &one_values[one], err);
        else if (on < QUERN__COUNT(handed_on))
            rc = read_handed_on(j, key, err);
        else
            rc = quern__json_skip(j, err);
    }
    return rc;
}

/* Which of the names a document prompt goes by; the earlier wins. 0: none of them. */
static int document_rank(quern_str key)
{
    static const char *const names[] = {"corpus", "passage", "document"};

    for (int i = 0; i < (int)QUERN__COUNT(names); i++)
        if (quern__str_is(key, names[i]))
            return i + 1;
    return 0;
}

static int read_prompts(quern__json *j, quern__model_config *c, quern_error *err)
{
    quern_str key;
    int best = 0, rank, rc = quern__json_enter_object(j, err);

    if (rc)
        return rc;
    while ((rc = quern__json_next_key(j, &key, err)) == 1) {
        rank = document_rank(key);
        if (quern__str_is(key, "query")) {
            rc = c->prompt_query[0]
                     ? twice(j, "query", err)
                     : copy_string(j, "prompt query", c->prompt_query, sizeof c->prompt_query, err);
        } else if (rank > best) {
            best = rank;
            rc = copy_string(j, "prompt document", c->prompt_document, sizeof c->prompt_document,
                             err);
        } else {
            rc = quern__json_skip(j, err);
        }
        if (rc)
            return rc;
    }
    return rc;
}

static int read_st_config(quern__json *j, reading *r, quern_error *err)
{
    quern_str key;
    bool is_one;
    int rc = quern__json_enter_object(j, err);

    if (rc)
        return rc;
    while ((rc = quern__json_next_key(j, &key, err)) == 1) {
        if ((rc = read_matryoshka(j, r->config, key, &is_one, err)) || is_one)
            (void)is_one;
        else if (quern__str_is(key, "prompts"))
            rc = read_prompts(j, r->config, err);
        else if (quern__str_is(key, "default_prompt_name") &&
                 quern__json_peek(j) != QUERN__JSON_NULL)
            rc =
                quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)j->at,
                            "%s: a default_prompt_name is not supported (byte %zu); set it to null "
                            "and choose with --as query or document",
                            j->name, j->at);
        else
            rc = quern__json_skip(j, err);
        if (rc)
            return rc;
    }
    return rc;
}

/* ---- the folder ---- */

static int join(quern__buf *path, const char *folder, const char *sub, const char *file,
                quern_error *err)
{
    if (strlen(folder) + strlen(sub) + strlen(file) + 3 > MAX_PATH_BYTES)
        return quern__fail(err, QUERN_EINVAL, 0, "%.80s…: a path of more than %d bytes is not read",
                           folder, MAX_PATH_BYTES);
    quern__buf_clear(path);
    quern__buf_puts(path, folder);
    if (*sub)
        quern__buf_printf(path, "/%s", sub);
    quern__buf_printf(path, "/%s", file);
    return quern__buf_ok(path, "a path", err);
}

typedef int (*parser)(quern__json *j, reading *r, quern_error *err);

/* Runs parse over a whole file. *found (may be NULL: the file must be there) says whether it exists. */
static int read_file(const char *path, parser parse, reading *r, bool *found, quern_error *err)
{
    quern__json j;
    char *text = NULL;
    size_t size = 0;
    quern__stat st;
    int rc;

    if (found) {
        rc = quern__stat_path(path, &st, err);
        *found = !rc && st.exists;
        if (rc || !st.exists)
            return rc;
    }
    rc = quern__read_file(path, MAX_FILE, &text, &size, err);
    if (rc)
        return rc;
    quern__json_init(&j, text, size, path);
    rc = parse(&j, r, err);
    if (!rc)
        rc = quern__json_end(&j, err);
    quern__json_dispose(&j);
    quern__free(text);
    return rc;
}

static int read_config(quern__model_config *out, const char *path, quern_error *err)
{
    char *text = NULL;
    size_t size = 0;
    int rc = quern__read_file(path, MAX_FILE, &text, &size, err);

    if (rc)
        return rc;
    rc = quern__model_config_parse(out, text, size, path, err);
    quern__free(text);
    return rc;
}

static int read_denses(reading *r, const char *folder, quern__buf *path, quern_error *err)
{
    quern__model_config *c = r->config;
    int rc = QUERN_OK;

    r->width = quern__model_config_pooled(c);
    for (uint32_t i = 0; !rc && i < c->dense_count; i++) {
        r->dense = &c->dense[i];
        rc = join(path, folder, r->dense->path, "config.json", err);
        if (!rc)
            rc = read_file(path->data, read_dense, r, NULL, err);
        r->width = r->dense->out;
    }
    return rc;
}

/* The first that there is, as the reference has it: one file, which old models call by their family. */
static const char *const sentence_names[] = {
    "sentence_bert_config.json",       "sentence_roberta_config.json",
    "sentence_distilbert_config.json", "sentence_camembert_config.json",
    "sentence_albert_config.json",     "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json"};

/* All files but config.json, into what that gave. */
static int read_around(reading *r, const char *folder, quern_error *err)
{
    quern__buf path;
    bool found;
    int rc;

    quern__buf_init(&path, MAX_PATH_BYTES);
    if ((rc = join(&path, folder, "", "modules.json", err)) != QUERN_OK ||
        (rc = read_file(path.data, read_modules, r, &found, err)) != QUERN_OK)
        goto done;
    if (found) {
        r->config->normalize = r->has_normalize;
        if (!r->config->table &&
            ((rc = join(&path, folder, r->pooling_path, "config.json", err)) != QUERN_OK ||
             (rc = read_file(path.data, read_pooling, r, NULL, err)) != QUERN_OK ||
             (rc = read_denses(r, folder, &path, err)) != QUERN_OK))
            goto done;
    }
    found = false;
    for (size_t i = 0; !found && i < QUERN__COUNT(sentence_names); i++)
        if ((rc = join(&path, folder, "", sentence_names[i], err)) != QUERN_OK ||
            (rc = read_file(path.data, read_sentence, r, &found, err)) != QUERN_OK)
            goto done;
    if ((rc = join(&path, folder, "", "config_sentence_transformers.json", err)) != QUERN_OK)
        goto done;
    rc = read_file(path.data, read_st_config, r, &found, err);
done:
    quern__buf_dispose(&path);
    return rc;
}

static int read_all(quern__model_config *out, const char *folder, bool graph, quern_error *err)
{
    reading r = {.config = out};
    quern__buf path;
    quern_error why;

    quern__buf_init(&path, MAX_PATH_BYTES);
    int rc = join(&path, folder, "", "config.json", err);
    if (rc == QUERN_OK)
        rc = read_config(out, path.data, graph ? &why : err);
    quern__buf_dispose(&path);
    if (rc && graph) { /* of a family that is not known here, or not there */
        *out = (quern__model_config){.pooling = QUERN__POOL_MEAN,
                                     .normalize = true,
                                     .positions = QUERN__POSITIONS_UNKNOWN,
                                     .padding = -1};
        rc = QUERN_OK;
    }
    if (rc == QUERN_OK)
        rc = read_around(&r, folder, err);
    if (rc)
        memset(out, 0, sizeof *out);
    return rc;
}

int quern__model_config_read(quern__model_config *out, const char *folder, quern_error *err)
{
    return read_all(out, folder, false, err);
}

int quern__model_config_around(quern__model_config *out, const char *folder, quern_error *err)
{
    return read_all(out, folder, true, err);
}

/* ---- what follows from it ---- */

uint32_t quern__model_config_pooled(const quern__model_config *c)
{
    uint32_t n = 0;
    for (int mode = 1; mode <= QUERN__POOL_ALL; mode <<= 1)
        n += (c->pooling & mode) != 0;
    return n * c->hidden;
}

uint32_t quern__model_config_width(const quern__model_config *c)
{
    return c->dense_count ? c->dense[c->dense_count - 1].out : quern__model_config_pooled(c);
}

void quern__model_config_pooling(const quern__model_config *c, char out[40])
{
    size_t at = 0;
    out[0] = 0;
    for (size_t i = 0; i < QUERN__COUNT(pooling_modes); i++)
        if (c->pooling & pooling_modes[i].mode)
            at += (size_t)snprintf(out + at, 40 - at, "%s%s", at ? "+" : "", pooling_modes[i].name);
}

int quern__model_config_pooling_of(const char *name)
{
    for (size_t i = 0; i < QUERN__COUNT(pooling_modes); i++)
        if (strcmp(pooling_modes[i].name, name) == 0)
            return pooling_modes[i].mode;
    return 0;
}

const char *quern__model_config_pooling_key(int mode)
{
    for (size_t i = 0; i < QUERN__COUNT(pooling_modes); i++)
        if (pooling_modes[i].mode == mode)
            return pooling_modes[i].key;
    return "";
}

int quern__model_config_cut(quern__model_config *c, uint32_t dimensions, bool force,
                            const char *name, quern_error *err)
{
    const uint32_t width = quern__model_config_width(c);
    bool declared = c->matryoshka || force || !dimensions || dimensions == width;
    char list[256] = "";
    size_t at = 0;

    if (dimensions > width)
        return quern__fail(err, QUERN_EINVAL, dimensions,
                           "%s: %lu dimensions are asked for, the model gives %lu", name,
                           (unsigned long)dimensions, (unsigned long)width);
    for (uint32_t i = 0; i < c->declared_count; i++) {
        declared |= c->declared[i] == dimensions;
        if (at < sizeof list - 24)
            at += (size_t)snprintf(list + at, sizeof list - at, "%s%lu", i ? ", " : "",
                                   (unsigned long)c->declared[i]);
    }
    if (!declared)
        return quern__fail(err, QUERN_EUNSUPPORTED, dimensions,
                           "%s: it does not declare that %lu of its %lu dimensions are a vector of "
                           "their own (matryoshka_dimensions: %s; --force-dimensions takes them)",
                           name, (unsigned long)dimensions, (unsigned long)width,
                           at ? list : "none");
    c->dimensions = dimensions == width ? 0 : dimensions;
    return QUERN_OK;
}
