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
#include "format/model_parts.h"

enum { MAX_FILE = 1 << 20, MAX_PATH_BYTES = 4096, TABLE_LENGTH = 1 << 20 };

int quern__part_twice(quern__json *j, const char *key, quern_error *err)
{
    return quern__json_fail(j, err, "\"%s\" is there twice", key);
}

int quern__part_unknown(const quern__json *j, quern_error *err, const char *what, quern_str value,
                        const char *known)
{
    return quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)j->at,
                       "%s: %s \"%.*s\" is not supported at byte %zu; known: %s", j->name, what,
                       QUERN__CUT(value), j->at, known);
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
        return quern__part_twice(j, name, err);
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
        return quern__part_twice(j, name, err);
    rc = quern__json_double(j, &value, err);
    if (rc)
        return rc;
    if (!(value >= 1e-30 && value <= 0.1))
        return quern__json_fail(j, err, "%s is %g; 1e-30 to 0.1 wanted", name, value);
    c->layer_norm_eps = (float)value;
    return QUERN_OK;
}

int quern__part_copy(quern__json *j, const char *key, char *out, size_t size, quern_error *err)
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

/* A key that may have one value only. */
int quern__part_expect(quern__json *j, const char *key, const char *wanted, quern_error *err)
{
    quern_str s;
    int rc = quern__json_string(j, &s, err);

    if (rc)
        return rc;
    return quern__str_is(s, wanted) ? QUERN_OK : quern__part_unknown(j, err, key, s, wanted);
}

int quern__part_expect_bool(quern__json *j, const char *key, bool wanted, quern_error *err)
{
    bool value;
    int rc = quern__json_bool(j, &value, err);

    if (rc || value == wanted)
        return rc;
    return quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)j->at,
                       "%s: %s %s is not supported (byte %zu)", j->name, key,
                       value ? "true" : "false", j->at);
}

int quern__part_one_value(quern__json *j, quern_str key, const quern__one_value *table,
                          size_t count, bool *is_one, quern_error *err)
{
    const quern__one_value *v = table;

    while (v < table + count && !quern__str_is(key, v->key))
        v++;
    *is_one = v < table + count;
    if (!*is_one)
        return QUERN_OK;
    if (quern__json_peek(j) == QUERN__JSON_NULL)
        return quern__json_null(j, err);
    if (v->type == QUERN__JSON_NULL)
        return quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)j->at,
                           "%s: %s at byte %zu is not supported but as null", j->name, v->key,
                           j->at);
    return v->only ? quern__part_expect(j, v->key, v->only, err)
                   : quern__part_expect_bool(j, v->key, false, err);
}

static int read_family_key(quern__json *j, settings *s, quern_str key, quern_error *err)
{
    char name[sizeof s->c->family];
    quern_str value;

    s->embeds |= quern__str_is(key, "embedding_dtype");
    if (quern__str_is(key, "feed_forward_proj") && quern__json_peek(j) == QUERN__JSON_STRING) {
        const int what = quern__json_string(j, &value, err);
        if (!what && !memchr(value.ptr, 0, value.len))
            snprintf(s->activation, sizeof s->activation, "%.*s", QUERN__CUT(value));
        return what;
    }
    if (!quern__str_is(key, "model_type"))
        return quern__json_skip(j, err);
    int rc = quern__json_string(j, &value, err);
    if (rc)
        return rc;
    if (s->family)
        return quern__part_twice(j, "model_type", err);
    snprintf(name, sizeof name, "%.*s", QUERN__CUT(value));
    if (value.len < sizeof name && !memchr(value.ptr, 0, value.len))
        s->family = quern__family_find(name);
    if (!s->family || s->family->of)
        return quern__part_unknown(j, err, "model_type", value, quern__family_known());
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
        if (!rc && (d < 1 || d > QUERN__WIDEST))
            return quern__json_fail(j, err, "matryoshka_dimensions holds %llu; 1 to %d wanted",
                                    (unsigned long long)d, QUERN__WIDEST);
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
        rc = quern__part_expect(j, rule->key, rule->only, err);
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
        return quern__part_expect(j, rule->key, rule->only, err);
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
                return quern__part_twice(j, s->family->rules[i].key, err);
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
        return quern__part_expect(j, quern__family_key(s->family, "hidden_act"),
                                  s->family->activation ? s->family->activation : "gelu", err);
    if (quern__str_is(key, "position_embedding_type"))
        return quern__part_expect(j, "position_embedding_type", "absolute", err);
    if (quern__str_is(key, "is_decoder")) /* a causal mask */
        return quern__part_expect_bool(j, "is_decoder", false, err);
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

static int read_longest(quern__json *j, quern__model_config *c, quern_error *err)
{
    uint64_t n;

    if (c->max_seq_length)
        return quern__part_twice(j, "max_seq_length", err);
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

/* Names key and value, as it stands in the file; of an object or a list only the key. */
static int refuse_handed_on(quern__json *j, const char *in, quern_str key, quern_error *err)
{
    const int kind = quern__json_peek(j); /* it steps over what stands in front of the value */
    const size_t at = j->at;
    quern_str value = {"", 0};
    char name[96];

    snprintf(name, sizeof name, "%.*s", QUERN__CUT(key));
    int rc = quern__json_skip(j, err);
    if (rc)
        return rc;
    if (kind != QUERN__JSON_OBJECT && kind != QUERN__JSON_ARRAY)
        value = (quern_str){j->text + at, j->at - at};
    return quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)at,
                       "%s: %s holds \"%s\"%s%.*s at byte %zu, which could change a vector and "
                       "is not supported",
                       j->name, in, name, value.len ? ": " : "", QUERN__CUT(value), at);
}

/* What is handed on to transformers in place of what config.json and the tokenizer's files say: nothing, or what says where
 * the files come from and how they are held. `key` does not outlive the next read. */
static int read_handed_on(quern__json *j, quern_str key, quern_error *err)
{
    static const char *const harmless[] = {"add_pooling_layer", /* its result is not read here */
                                           "attn_implementation",
                                           "cache_dir",
                                           "code_revision",
                                           "device_map",
                                           "dtype",
                                           "force_download",
                                           "local_files_only",
                                           "low_cpu_mem_usage",
                                           "padding_side", /* a text stands alone */
                                           "proxies",
                                           "reference_compile",
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

    snprintf(name, sizeof name, "%.*s", QUERN__CUT(key));
    if (quern__json_peek(j) == QUERN__JSON_NULL)
        return quern__json_null(j, err);
    rc = quern__json_enter_object(j, err);
    while (!rc && (rc = quern__json_next_key(j, &given, err)) == 1) {
        size_t i = 0;
        while (i < QUERN__COUNT(harmless) && !quern__str_is(given, harmless[i]))
            i++;
        if (i == QUERN__COUNT(harmless))
            return refuse_handed_on(j, name, given, err);
        rc = quern__json_skip(j, err);
    }
    return rc;
}

/* Keys of sentence_bert_config.json that decide a vector. */
static const quern__one_value sentence_values[] = {
    {"mask_prompt", QUERN__JSON_BOOL, NULL},
    {"tokenizer_name_or_path", QUERN__JSON_NULL, NULL},
    {"transformer_task", QUERN__JSON_STRING, "feature-extraction"},
    {"module_output_name", QUERN__JSON_STRING, "token_embeddings"},
    {"query_length", QUERN__JSON_NULL, NULL}, /* those of late interaction */
    {"document_length", QUERN__JSON_NULL, NULL},
    {"query_expansion", QUERN__JSON_NULL, NULL},
};

/* "modality_config": what of the transformer's results a text's tokens are. Without "text" it would be
 * wrapped in a message first. */
static int read_modalities(quern__json *j, quern_error *err)
{
    quern_str key;
    bool has_text = false;

    if (quern__json_peek(j) == QUERN__JSON_NULL)
        return quern__json_null(j, err);
    int rc = quern__json_enter_object(j, err);
    while (!rc && (rc = quern__json_next_key(j, &key, err)) == 1) {
        if (!quern__str_is(key, "text")) {
            rc = quern__json_skip(j, err);
            continue;
        }
        has_text = true;
        rc = quern__json_enter_object(j, err);
        while (!rc && (rc = quern__json_next_key(j, &key, err)) == 1)
            rc = quern__str_is(key, "method") ? quern__part_expect(j, "method", "forward", err)
                 : quern__str_is(key, "method_output_name")
                     ? quern__part_expect(j, "method_output_name", "last_hidden_state", err)
                     : quern__json_skip(j, err);
    }
    if (!rc && !has_text)
        rc = quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)j->at,
                         "%s: a modality_config without \"text\" is not supported (byte %zu)",
                         j->name, j->at);
    return rc;
}

static int read_sentence(quern__json *j, quern__reading *r, quern_error *err)
{
    static const char *const handed_on[] = {
        "model_args",    "config_args",      "tokenizer_args",   "model_kwargs",
        "config_kwargs", "tokenizer_kwargs", "processor_kwargs", "processing_kwargs"};
    quern_str key;
    bool is_one;
    int rc = quern__json_enter_object(j, err);

    while (!rc && (rc = quern__json_next_key(j, &key, err)) == 1) {
        size_t on = 0;
        while (on < QUERN__COUNT(handed_on) && !quern__str_is(key, handed_on[on]))
            on++;
        rc = quern__part_one_value(j, key, sentence_values, QUERN__COUNT(sentence_values), &is_one,
                                   err);
        if (rc || is_one)
            continue;
        if (quern__str_is(key, "max_seq_length"))
            rc = read_longest(j, r->config, err);
        else if (quern__str_is(key, "do_lower_case"))
            rc = quern__json_peek(j) == QUERN__JSON_NULL
                     ? quern__json_null(j, err)
                     : quern__json_bool(j, &r->config->lower, err);
        else if (quern__str_is(key, "modality_config"))
            rc = read_modalities(j, err);
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
            rc = c->prompt_query[0] ? quern__part_twice(j, "query", err)
                                    : quern__part_copy(j, "prompt query", c->prompt_query,
                                                       sizeof c->prompt_query, err);
        } else if (rank > best) {
            best = rank;
            rc = quern__part_copy(j, "prompt document", c->prompt_document,
                                  sizeof c->prompt_document, err);
        } else {
            rc = quern__json_skip(j, err);
        }
        if (rc)
            return rc;
    }
    return rc;
}

static int read_st_config(quern__json *j, quern__reading *r, quern_error *err)
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

/* Runs parse over a whole file. *found (may be NULL: the file must be there) says whether it exists. */
static int read_file(const char *path, quern__part parse, quern__reading *r, bool *found,
                     quern_error *err)
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

static int read_denses(quern__reading *r, const char *folder, quern__buf *path, quern_error *err)
{
    quern__model_config *c = r->config;
    int rc = QUERN_OK;

    r->width = quern__model_config_pooled(c);
    for (uint32_t i = 0; !rc && i < c->dense_count; i++) {
        r->dense = &c->dense[i];
        rc = join(path, folder, r->dense->path, "config.json", err);
        if (!rc)
            rc = read_file(path->data, quern__part_dense, r, NULL, err);
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
static int read_around(quern__reading *r, const char *folder, quern_error *err)
{
    quern__buf path;
    bool found;
    int rc;

    quern__buf_init(&path, MAX_PATH_BYTES);
    if ((rc = join(&path, folder, "", "modules.json", err)) != QUERN_OK ||
        (rc = read_file(path.data, quern__part_modules, r, &found, err)) != QUERN_OK)
        goto done;
    if (found) {
        r->config->normalize = r->has_normalize;
        if (!r->config->table &&
            ((rc = join(&path, folder, r->pooling_path, "config.json", err)) != QUERN_OK ||
             (rc = read_file(path.data, quern__part_pooling, r, NULL, err)) != QUERN_OK ||
             (rc = read_denses(r, folder, &path, err)) != QUERN_OK))
            goto done;
        for (uint32_t i = 0; i < r->normalize_count; i++)
            if ((rc = join(&path, folder, r->normalize_path[i], "config.json", err)) != QUERN_OK ||
                (rc = read_file(path.data, quern__part_normalize, r, &found, err)) != QUERN_OK)
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

/* A table in the folder of its module, as sentence-transformers saves it: no config.json says what it is. */
static int look_bare(quern__buf *path, const char *folder, bool *bare, quern_error *err)
{
    quern__stat config = {0}, modules = {0};
    int rc = join(path, folder, "", "config.json", err);
    if (rc == QUERN_OK)
        rc = quern__stat_path(path->data, &config, err);
    if (rc == QUERN_OK)
        rc = join(path, folder, "", "modules.json", err);
    if (rc == QUERN_OK)
        rc = quern__stat_path(path->data, &modules, err);
    *bare = rc == QUERN_OK && !config.exists && modules.exists;
    return rc;
}

static int read_all(quern__model_config *out, const char *folder, bool graph, quern_error *err)
{
    static const char bare[] = "{\"model_type\":\"static\"}";
    quern__reading r = {.config = out};
    quern__buf path;
    quern_error why;

    quern__buf_init(&path, MAX_PATH_BYTES);
    int rc = graph ? QUERN_OK : look_bare(&path, folder, &r.bare, err);
    if (rc == QUERN_OK)
        rc = join(&path, folder, "", "config.json", err);
    if (rc == QUERN_OK && r.bare)
        rc = quern__model_config_parse(out, bare, sizeof bare - 1, "modules.json", err);
    else if (rc == QUERN_OK)
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
