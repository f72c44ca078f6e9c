/*
 * model_modules.c — modules.json and the config.json of each module that it names.
 *
 * Why this way: releases of sentence-transformers differ in what they call a class and in Pooling's
 * keys, while the modules are the same; both forms are read, and where a file has both they must agree.
 * Rejected: knowing a module by the last part of its type, which takes a stranger's class for the
 * reference's.
 *
 * Invariants after success: one Transformer or table, one Pooling behind it, each Dense reads what the
 * module before it gives, every path lies inside the model's folder.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/json.h"
#include "format/model_parts.h"

#define KNOWN_MODULES "Transformer, StaticEmbedding, Pooling, Dense and Normalize"

typedef struct module {
    bool has_idx, has_type, has_path;
    char kind[32]; /* of module_types */
    char path[256];
} module;

/* The names a kind goes by, whole: a class of that name in another package is another class. The first
 * is what releases up to 5.3 write; newer ones write where the class lies. */
static const struct module_type {
    const char *kind, *names[3];
} module_types[] = {
    {"Transformer",
     {"sentence_transformers.models.Transformer",
      "sentence_transformers.models.transformer.Transformer",
      "sentence_transformers.base.modules.transformer.Transformer"}},
    {"StaticEmbedding",
     {"sentence_transformers.models.StaticEmbedding",
      "sentence_transformers.models.static_embedding.StaticEmbedding",
      "sentence_transformers.sentence_transformer.modules.static_embedding.StaticEmbedding"}},
    {"Pooling",
     {"sentence_transformers.models.Pooling", "sentence_transformers.models.pooling.Pooling",
      "sentence_transformers.sentence_transformer.modules.pooling.Pooling"}},
    {"Dense",
     {"sentence_transformers.models.Dense", "sentence_transformers.models.dense.Dense",
      "sentence_transformers.base.modules.dense.Dense"}},
    {"Normalize",
     {"sentence_transformers.models.Normalize", "sentence_transformers.models.normalize.Normalize",
      "sentence_transformers.base.modules.normalize.Normalize"}},
};

static int read_type(quern__json *j, module *m, quern_error *err)
{
    quern_str s;
    int rc = quern__json_string(j, &s, err);

    if (rc)
        return rc;
    if (m->has_type)
        return quern__part_twice(j, "type", err);
    m->has_type = true;
    for (size_t i = 0; i < QUERN__COUNT(module_types); i++)
        for (size_t n = 0; n < QUERN__COUNT(module_types[i].names); n++)
            if (quern__str_is(s, module_types[i].names[n])) {
                snprintf(m->kind, sizeof m->kind, "%s", module_types[i].kind);
                return QUERN_OK;
            }
    return quern__part_unknown(j, err, "module type", s, KNOWN_MODULES);
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

static int accept_dense(quern__json *j, quern__reading *r, const module *m, quern_error *err)
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

static int accept_module(quern__json *j, quern__reading *r, const module *m, quern_error *err)
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
        return quern__part_twice(j, m->kind, err);
    if (!transformer && !r->has_transformer)
        return quern__json_fail(j, err, "module %s stands before Transformer", m->kind);
    if (!transformer && !pooling && !r->has_pooling)
        return quern__json_fail(j, err, "module %s stands before Pooling", m->kind);
    if (transformer && !table && r->bare)
        return quern__fail(err, QUERN_ENOTFOUND, (int64_t)j->at,
                           "%s: a module %s, and no config.json beside it (byte %zu)", j->name,
                           m->kind, j->at);
    if (table && r->bare)
        memcpy(r->config->table_path, m->path, sizeof m->path);
    else if (transformer && m->path[0] && strcmp(m->path, ".") != 0)
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
    if (r->has_normalize) /* of which no two stand side by side */
        memcpy(r->normalize_path[r->normalize_count++], m->path, sizeof r->normalize_path[0]);
    if (pooling)
        memcpy(r->pooling_path, m->path, sizeof r->pooling_path);
    return QUERN_OK;
}

static int read_module(quern__json *j, quern__reading *r, quern_error *err)
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
            rc = m.has_path ? quern__part_twice(j, "path", err)
                            : quern__part_copy(j, "module path", m.path, sizeof m.path, err);
            m.has_path = true;
        } else {
            rc = quern__json_skip(j, err);
        }
        if (rc)
            return rc;
    }
    return rc ? rc : accept_module(j, r, &m, err);
}

int quern__part_modules(quern__json *j, quern__reading *r, quern_error *err)
{
    int rc = quern__json_enter_array(j, err);

    if (rc)
        return rc;
    while ((rc = quern__json_next_item(j, err)) == 1) {
        if (r->modules == QUERN__MODULES)
            return quern__json_fail(j, err, "more than %d modules", QUERN__MODULES);
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
    const char *key, *word, *name; /* word: in newer releases' "pooling_mode" */
    int mode;
} pooling_modes[] = {
    {"pooling_mode_cls_token", "cls", "cls", QUERN__POOL_CLS},
    {"pooling_mode_max_tokens", "max", "max", QUERN__POOL_MAX},
    {"pooling_mode_mean_tokens", "mean", "mean", QUERN__POOL_MEAN},
    {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", "mean_sqrt_len",
     QUERN__POOL_SQRT},
    {"pooling_mode_lasttoken", "lasttoken", "lasttoken", QUERN__POOL_LAST},
};

/* What a pooling's config.json says, in either form or in both. */
typedef struct pooling {
    uint64_t width;
    int flags, words; /* sets of enum quern__pooling */
    bool has_width, has_flags, has_words;
} pooling;

/* pooling_mode_*: each that is true must be one that is computed here; several are concatenated. */
static int read_pooling_flag(quern__json *j, pooling *p, quern_str key, quern_error *err)
{
    int mode = 0;
    char name[64]; /* the key does not outlive the next read */
    bool on;
    int rc;

    for (size_t i = 0; i < QUERN__COUNT(pooling_modes); i++)
        if (quern__str_is(key, pooling_modes[i].key))
            mode = pooling_modes[i].mode;
    snprintf(name, sizeof name, "%.*s", QUERN__CUT(key));
    rc = quern__json_bool(j, &on, err);
    p->has_flags = true;
    if (rc || !on)
        return rc;
    if (!mode)
        return quern__part_unknown(j, err, "pooling", quern_str_of(name),
                                   "pooling_mode_ … mean_tokens, cls_token, max_tokens, "
                                   "mean_sqrt_len_tokens, lasttoken");
    if (p->flags & mode)
        return quern__part_twice(j, name, err);
    p->flags |= mode;
    return QUERN_OK;
}

/* Concatenated in the order in which they stand, of which only that of enum quern__pooling is computed. */
static int read_pooling_word(quern__json *j, pooling *p, quern_error *err)
{
    quern_str s;
    int mode = 0, rc = quern__json_string(j, &s, err);

    if (rc)
        return rc;
    for (size_t i = 0; i < QUERN__COUNT(pooling_modes); i++)
        if (quern__str_is(s, pooling_modes[i].word))
            mode = pooling_modes[i].mode;
    if (!mode)
        return quern__part_unknown(j, err, "pooling_mode", s,
                                   "cls, max, mean, mean_sqrt_len_tokens, lasttoken");
    if (mode <= p->words)
        return quern__fail(err, QUERN_EUNSUPPORTED, (int64_t)j->at,
                           "%s: pooling_mode has \"%.*s\" twice or behind a later one at byte %zu; "
                           "only the order cls, max, mean, mean_sqrt_len_tokens, lasttoken is "
                           "supported",
                           j->name, QUERN__CUT(s), j->at);
    p->words |= mode;
    return QUERN_OK;
}

static int read_pooling_words(quern__json *j, pooling *p, quern_error *err)
{
    if (p->has_words)
        return quern__part_twice(j, "pooling_mode", err);
    p->has_words = true;
    if (quern__json_peek(j) == QUERN__JSON_STRING)
        return read_pooling_word(j, p, err);
    int rc = quern__json_enter_array(j, err);
    while (!rc && (rc = quern__json_next_item(j, err)) == 1)
        rc = read_pooling_word(j, p, err);
    return rc;
}

static int read_pooling_width(quern__json *j, pooling *p, quern__model_config *c, const char *key,
                              quern_error *err)
{
    uint64_t width;
    int rc = quern__json_u64(j, &width, err);

    if (rc)
        return rc;
    if (p->has_width && width != p->width)
        return quern__json_fail(j, err, "%s is %llu, in front of it %llu was said", key,
                                (unsigned long long)width, (unsigned long long)p->width);
    p->has_width = true;
    p->width = width;
    if (!c->hidden && width >= 1 && width <= QUERN__WIDEST)
        c->hidden = (uint32_t)width; /* around a graph */
    else if (width != c->hidden)
        return quern__json_fail(j, err, "%s is %llu, hidden_size of config.json %lu", key,
                                (unsigned long long)width, (unsigned long)c->hidden);
    return QUERN_OK;
}

int quern__part_pooling(quern__json *j, quern__reading *r, quern_error *err)
{
    pooling p = {0};
    quern_str key;
    int rc = quern__json_enter_object(j, err);

    while (!rc && (rc = quern__json_next_key(j, &key, err)) == 1)
        if (quern__str_is(key, "word_embedding_dimension"))
            rc = read_pooling_width(j, &p, r->config, "word_embedding_dimension", err);
        else if (quern__str_is(key, "embedding_dimension"))
            rc = read_pooling_width(j, &p, r->config, "embedding_dimension", err);
        else if (quern__str_is(key, "pooling_mode"))
            rc = read_pooling_words(j, &p, err);
        else if (key.len > 13 && memcmp(key.ptr, "pooling_mode_", 13) == 0)
            rc = read_pooling_flag(j, &p, key, err);
        else if (quern__str_is(key, "include_prompt")) /* false: the mean leaves the prompt out */
            rc = quern__part_expect_bool(j, "include_prompt", true, err);
        else
            rc = quern__json_skip(j, err);
    if (rc)
        return rc;
    if (!p.has_width)
        return quern__json_fail(j, err, "no word_embedding_dimension or embedding_dimension");
    if (p.has_words && p.has_flags && p.words != p.flags)
        return quern__json_fail(j, err, "pooling_mode and pooling_mode_… contradict each other");
    r->config->pooling = p.words | p.flags;
    if (!r->config->pooling)
        return quern__json_fail(j, err, "no pooling_mode, and no pooling_mode_… is true");
    r->config->pooling_stated = true;
    return QUERN_OK;
}

static int read_dense_width(quern__json *j, const char *key, uint32_t *out, quern_error *err)
{
    uint64_t n;

    if (*out)
        return quern__part_twice(j, key, err);
    int rc = quern__json_u64(j, &n, err);
    if (!rc && (n < 1 || n > QUERN__WIDEST))
        rc = quern__json_fail(j, err, "%s is %llu; 1 to %d wanted", key, (unsigned long long)n,
                              QUERN__WIDEST);
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
               : quern__part_unknown(
                     j, err, "activation_function", s,
                     "torch.nn.modules.activation.Tanh, torch.nn.modules.linear.Identity");
}

/* What newer releases write for a Dense or a Normalize: what it reads and writes, and how. */
static int read_names(quern__json *j, quern_str key, bool *is_one, quern_error *err)
{
    static const quern__one_value values[] = {
        {"module_input_name", QUERN__JSON_STRING, "sentence_embedding"},
        {"module_output_name", QUERN__JSON_STRING, "sentence_embedding"},
        {"use_residual", QUERN__JSON_BOOL, NULL},
    };
    return quern__part_one_value(j, key, values, QUERN__COUNT(values), is_one, err);
}

int quern__part_normalize(quern__json *j, quern__reading *r, quern_error *err)
{
    quern_str key;
    bool is_one;
    int rc = quern__json_enter_object(j, err);

    (void)r;
    while (!rc && (rc = quern__json_next_key(j, &key, err)) == 1) {
        rc = read_names(j, key, &is_one, err);
        if (!rc && !is_one)
            rc = quern__json_skip(j, err);
    }
    return rc;
}

int quern__part_dense(quern__json *j, quern__reading *r, quern_error *err)
{
    quern__dense *d = r->dense;
    quern_str key;
    bool is_one;
    int rc = quern__json_enter_object(j, err);

    while (!rc && (rc = quern__json_next_key(j, &key, err)) == 1) {
        rc = read_names(j, key, &is_one, err);
        if (rc || is_one)
            continue;
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
    }
    if (rc)
        return rc;
    if (!d->in || !d->out)
        return quern__json_fail(j, err, "no %s", d->in ? "out_features" : "in_features");
    if (d->in != r->width)
        return quern__json_fail(j, err, "in_features is %lu; the module before it gives %lu",
                                (unsigned long)d->in, (unsigned long)r->width);
    return QUERN_OK;
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
