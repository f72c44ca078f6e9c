/*
 * tokenizer_classic.c — tokenizer_config.json says by its tokenizer_class what surrounds a vocabulary:
 * normaliser, expression, special tokens. The meaning is that of the reference's conversion to
 * tokenizer.json; a class that is not known is refused.
 */
#include "tokenizer/tokenizer_classic.h"

#include <string.h>

#include "base/compiler.h"

enum key {
    EOS = QUERN__CLASSIC_EOS,
    SEP = QUERN__CLASSIC_SEP,
    CLS = QUERN__CLASSIC_CLS,
    MASK = QUERN__CLASSIC_MASK,
    NAMES = QUERN__CLASSIC_NAMES,
    MORE = NAMES,
    DECODER,
    LENGTH,
    CLASS,
    PREFIX,
    LEGACY,
    EXTRA,
};
static const char *const keys[] = {"bos_token",
                                   "eos_token",
                                   "unk_token",
                                   "sep_token",
                                   "pad_token",
                                   "cls_token",
                                   "mask_token",
                                   "additional_special_tokens",
                                   "added_tokens_decoder",
                                   "model_max_length",
                                   "tokenizer_class",
                                   "add_prefix_space",
                                   "legacy",
                                   "extra_ids",
                                   NULL};

static const quern__family families[] = {
    {{"RobertaTokenizer", "RobertaTokenizerFast"},
     QUERN__CLASSIC_MERGES,
     {"<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"},
     CLS,
     SEP,
     true,
     false,
     {QUERN__WORDS_GPT2, 0},
     false},
    {{"Qwen2Tokenizer", "Qwen2TokenizerFast"},
     QUERN__CLASSIC_MERGES,
     {NULL, "<|endoftext|>", "<|endoftext|>", NULL, "<|endoftext|>", NULL, NULL},
     -1,
     -1,
     false,
     true,
     {QUERN__WORDS_QWEN, 1},
     false},
    {{"XLMRobertaTokenizer", "XLMRobertaTokenizerFast"},
     QUERN__CLASSIC_SPIECE,
     {"<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"},
     CLS,
     SEP,
     false,
     false,
     {QUERN__WORDS_WHOLE, 0},
     true},
    {{"T5Tokenizer", "T5TokenizerFast"},
     QUERN__CLASSIC_SPIECE,
     {NULL, "</s>", "<unk>", NULL, "<pad>", NULL, NULL},
     -1,
     EOS,
     false,
     false,
     {QUERN__WORDS_WHOLE, 0},
     false},
};

static bool same_name(const quern__draft_name *a, const quern__draft_name *b)
{
    return a->name.len == b->name.len && memcmp(a->name.ptr, b->name.ptr, a->name.len) == 0;
}

int quern__classic_add(quern__classic *c, struct quern__draft_added token, quern_error *err)
{
    for (uint32_t i = 0; i < c->d.n_added; i++)
        if (same_name(&c->d.added[i].name, &token.name))
            return QUERN_OK;
    return quern__draft_add(&c->d, token, err);
}

/* A token: "<s>" or {"content": "<s>", …}. The mask takes the blank before it unless it says not. */
static int read_token(quern__classic *c, quern__json *j, bool mask, struct quern__draft_added *out,
                      quern_error *err)
{
    memset(out, 0, sizeof *out);
    if (quern__json_peek(j) == QUERN__JSON_OBJECT)
        return quern__draft_read_added(&c->d, j, out, err);
    out->name = quern__draft_unnamed(j);
    out->lstrip = mask;
    int rc = quern__json_string(j, &out->name.name, err);
    return rc == QUERN_OK ? quern__draft_keep(&c->d, &out->name.name, err) : rc;
}

static int read_more(quern__classic *c, quern__json *j, quern_error *err)
{
    int more, rc = quern__json_enter_array(j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_item(j, err)) == 1) {
        struct quern__draft_added token;
        rc = read_token(c, j, false, &token, err);
        if (rc == QUERN_OK)
            rc = quern__classic_add(c, token, err);
        if (rc != QUERN_OK)
            return rc;
    }
    return more;
}

static int read_class(quern__classic *c, quern__json *j, quern_error *err)
{
    quern_str name;
    int rc = quern__json_string(j, &name, err);
    if (rc != QUERN_OK)
        return rc;
    for (size_t f = 0; f < QUERN__COUNT(families); f++)
        for (size_t i = 0; i < QUERN__COUNT(families[f].classes); i++)
            if (quern__str_is(name, families[f].classes[i]))
                c->family = &families[f];
    if (c->family)
        return QUERN_OK;
    return quern__json_fail(j, err, "tokenizer_class '%.*s' is not supported from these files,",
                            (int)QUERN__MIN(name.len, 80), name.ptr);
}

/* A name of special_tokens_map.json, which may not contradict tokenizer_config.json. */
static int read_mapped(quern__classic *c, quern__json *j, int which, quern_error *err)
{
    struct quern__draft_added token;
    if (quern__json_peek(j) == QUERN__JSON_NULL)
        return quern__json_null(j, err);
    int rc = read_token(c, j, which == MASK, &token, err);
    if (rc == QUERN_OK && c->said[which] &&
        (c->none[which] || !same_name(&token.name, &c->names[which].name)))
        rc = quern__json_fail(j, err, "%s is not the one of tokenizer_config.json,", keys[which]);
    if (rc == QUERN_OK && !c->said[which])
        c->names[which] = token;
    c->said[which] = true;
    return rc;
}

static int read_setting(quern__classic *c, quern__json *j, int which, quern_error *err)
{
    if (which < NAMES)
        c->said[which] = true;
    if (quern__json_peek(j) == QUERN__JSON_NULL) {
        if (which < NAMES)
            c->none[which] = true;
        return quern__json_null(j, err);
    }
    switch (which) {
    case MORE:
        return read_more(c, j, err);
    case DECODER:
        return quern__draft_read_decoder(&c->d, j, err);
    case LENGTH:
        return quern__draft_read_length(j, &c->length, err);
    case CLASS:
        return read_class(c, j, err);
    case PREFIX:
        c->prefix_said = true;
        return quern__json_bool(j, &c->prefix, err);
    case LEGACY:
        return quern__json_bool(j, &c->legacy, err);
    case EXTRA:
        return quern__json_u64(j, &c->extra_ids, err);
    default:
        return read_token(c, j, which == MASK, &c->names[which], err);
    }
}

static int read_config(quern__classic *c, const char *name, quern_str text, bool map,
                       quern_error *err)
{
    quern__json j;
    uint32_t seen = 0;
    quern_str key;
    int which, more = 0;
    quern__json_init(&j, text.ptr, text.len, name);
    int rc = quern__json_enter_object(&j, err);
    while (rc == QUERN_OK && (more = quern__json_next_key(&j, &key, err)) == 1) {
        rc = quern__draft_key(&j, key, keys, &seen, true, &which, err);
        if (rc == QUERN_OK && (which == QUERN__KEY_OTHER || (map && which > MORE)))
            rc = quern__json_skip(&j, err);
        else if (rc == QUERN_OK && map && which < NAMES)
            rc = read_mapped(c, &j, which, err);
        else if (rc == QUERN_OK)
            rc = read_setting(c, &j, which, err);
    }
    if (rc == QUERN_OK)
        rc = more < 0 ? more : quern__json_end(&j, err);
    if (rc == QUERN_OK && !c->family)
        rc = quern__json_fail(&j, err, "no tokenizer_class, which says how to read text,");
    quern__json_dispose(&j);
    return rc;
}

int quern__classic_config(quern__classic *c, enum quern__classic_files files, const char *name,
                          quern_str config, const char *map_name, quern_str map, quern_error *err)
{
    c->legacy = true;
    c->extra_ids = 100;
    int rc = read_config(c, name, config, false, err);
    if (rc == QUERN_OK && map.len)
        rc = read_config(c, map_name, map, true, err);
    if (rc == QUERN_OK && c->family->files != files)
        rc = quern__fail(err, QUERN_EFORMAT, 0,
                         "%s: tokenizer_class '%s' has other files than %s, at byte 0", name,
                         c->family->classes[0], c->d.file);
    return rc;
}

int quern__classic_names(quern__classic *c, quern_error *err)
{
    quern__draft *d = &c->d;
    for (int i = 0; i < NAMES; i++) {
        struct quern__draft_added *a = &c->names[i];
        if (!c->said[i] && c->family->names[i])
            *a = (struct quern__draft_added){{quern_str_of(c->family->names[i]), -1, d->file, 0},
                                             i == MASK,
                                             false,
                                             false,
                                             false};
        if (c->none[i] || !a->name.name.ptr)
            continue;
        if (!c->said[i] && quern__vocab_find(&d->t->vocab, a->name.name) < 0)
            continue; /* one that no text needs, or refused where the template asks for it */
        int rc = quern__classic_add(c, *a, err);
        if (rc != QUERN_OK)
            return rc;
    }
    const int around[] = {c->family->before, c->family->after};
    for (int i = 0; i < 2; i++) {
        if (around[i] < 0)
            continue;
        if (c->none[around[i]])
            return quern__fail(err, QUERN_EFORMAT, 0, "%s: no %s, at byte 0", d->file,
                               keys[around[i]]);
        (i ? d->after : d->before)[0] = c->names[around[i]].name;
        *(i ? &d->n_after : &d->n_before) = 1;
    }
    return QUERN_OK;
}
