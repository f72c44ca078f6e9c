/*
 * tokenizer_json_parts.c — normalisers, pre-tokenisers and post-processors of tokenizer.json. All are
 * read by one function into one shape, because their "type" may come last; a table then says which keys
 * each type has. Combinations are few, and one that is not known word for word is refused by name.
 */
#include <string.h>

#include "base/compiler.h"
#include "tokenizer/tokenizer_json.h"

enum part_key {
    TYPE,
    CLEAN,
    CHINESE,
    STRIP,
    LOWER,
    PREFIX_SPACE,
    TRIM,
    USE_REGEX,
    PATTERN,
    BEHAVIOR,
    INVERT,
    NORMALIZERS,
    PRETOKENIZERS,
    PROCESSORS,
    SINGLE,
    PAIR,
    SPECIALS,
    SEP,
    CLS,
};

static const char *const keys[] = {"type",
                                   "clean_text",
                                   "handle_chinese_chars",
                                   "strip_accents",
                                   "lowercase",
                                   "add_prefix_space",
                                   "trim_offsets",
                                   "use_regex",
                                   "pattern",
                                   "behavior",
                                   "invert",
                                   "normalizers",
                                   "pretokenizers",
                                   "processors",
                                   "single",
                                   "pair",
                                   "special_tokens",
                                   "sep",
                                   "cls",
                                   NULL};

#define BIT(key) (1u << (key))

static const struct type {
    const char *where, *name;
    enum quern__part_kind kind;
    uint32_t needed, allowed; /* beside "type" */
} types[] = {
    {"a normalizer", "BertNormalizer", QUERN__PART_BERT_NORMALIZER,
     BIT(CLEAN) | BIT(CHINESE) | BIT(LOWER), BIT(STRIP)},
    {"a normalizer", "NFC", QUERN__PART_NFC, 0, 0},
    {"a normalizer", "Sequence", QUERN__PART_SEQUENCE, BIT(NORMALIZERS), 0},
    {"a pre_tokenizer", "BertPreTokenizer", QUERN__PART_BERT_WORDS, 0, 0},
    {"a pre_tokenizer", "ByteLevel", QUERN__PART_BYTE_LEVEL, BIT(PREFIX_SPACE),
     BIT(TRIM) | BIT(USE_REGEX)},
    {"a pre_tokenizer", "Split", QUERN__PART_SPLIT, BIT(PATTERN) | BIT(BEHAVIOR), BIT(INVERT)},
    {"a pre_tokenizer", "Sequence", QUERN__PART_SEQUENCE, BIT(PRETOKENIZERS), 0},
    {"a post_processor", "BertProcessing", QUERN__PART_BERT_SPECIALS, BIT(SEP) | BIT(CLS), 0},
    {"a post_processor", "RobertaProcessing", QUERN__PART_ROBERTA_SPECIALS, BIT(SEP) | BIT(CLS),
     BIT(TRIM) | BIT(PREFIX_SPACE)},
    {"a post_processor", "TemplateProcessing", QUERN__PART_TEMPLATE, BIT(SINGLE) | BIT(SPECIALS),
     BIT(PAIR)},
    {"a post_processor", "ByteLevel", QUERN__PART_BYTE_LEVEL, 0,
     BIT(PREFIX_SPACE) | BIT(TRIM) | BIT(USE_REGEX)},
    {"a post_processor", "Sequence", QUERN__PART_SEQUENCE, BIT(PROCESSORS), 0},
};

static const struct type *type_of(const char *where, quern_str name)
{
    for (size_t i = 0; i < QUERN__COUNT(types); i++)
        if (strcmp(types[i].where, where) == 0 && quern__str_is(name, types[i].name))
            return &types[i];
    return NULL;
}

/* {"Regex": …}: only expressions of the known list. */
static int read_pattern(quern__json_reader *r, quern__json_part *p, quern_error *err)
{
    static const char *const names[] = {"Regex", NULL};
    uint32_t seen = 0;
    quern_str key, expression;
    int which = 0, more, rc = quern__json_enter_object(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_key(&r->j, &key, err)) == 1) {
        rc = quern__draft_key(&r->j, key, names, &seen, false, &which, err);
        if (rc == QUERN_OK)
            rc = quern__json_string(&r->j, &expression, err);
        if (rc != QUERN_OK)
            return rc;
        p->known = quern__word_rule_of(expression, &p->words);
        if (!p->known)
            return quern__json_fail(&r->j, err, "the expression '%.*s' is not supported,",
                                    (int)QUERN__MIN(expression.len, 200), expression.ptr);
    }
    return more < 0 ? more : quern__reader_missing(r, "a pattern", names, seen, 1, err);
}

static int read_behavior(quern__json_reader *r, quern__json_part *p, quern_error *err)
{
    quern_str s;
    int rc = quern__json_string(&r->j, &s, err);
    if (rc == QUERN_OK && !quern__str_is(s, "Isolated"))
        rc = quern__json_fail(&r->j, err, "a split with behavior '%.*s' is not supported,",
                              (int)QUERN__MIN(s.len, 80), s.ptr);
    p->isolated = true;
    return rc;
}

static int read_part(quern__json_reader *r, const char *where, quern__json_parts *out,
                     uint32_t depth, quern_error *err);

static int read_sequence(quern__json_reader *r, const char *where, quern__json_parts *out,
                         uint32_t depth, quern_error *err)
{
    int more, rc = quern__json_enter_array(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_item(&r->j, err)) == 1)
        if ((rc = read_part(r, where, out, depth + 1, err)) != QUERN_OK)
            return rc;
    return more;
}

static int read_flag(quern__json_reader *r, int which, quern__json_part *p, quern_error *err)
{
    bool *flag[] = {[CLEAN] = &p->clean,
                    [CHINESE] = &p->cjk,
                    [STRIP] = &p->strip,
                    [LOWER] = &p->lower,
                    [PREFIX_SPACE] = &p->prefix_space,
                    [TRIM] = &p->trim_offsets,
                    [USE_REGEX] = &p->use_regex,
                    [INVERT] = &p->invert};
    if (which == STRIP && quern__json_peek(&r->j) == QUERN__JSON_NULL)
        return quern__json_null(&r->j, err);
    p->strip_said |= which == STRIP;
    return quern__json_bool(&r->j, flag[which], err);
}

static int read_value(quern__json_reader *r, const char *where, int which, quern__json_part *p,
                      quern__json_parts *out, uint32_t depth, quern_error *err)
{
    switch (which) {
    case PATTERN:
        return read_pattern(r, p, err);
    case BEHAVIOR:
        return read_behavior(r, p, err);
    case NORMALIZERS:
    case PRETOKENIZERS:
    case PROCESSORS:
        return read_sequence(r, where, out, depth, err);
    case SINGLE:
        return quern__reader_single(r, err);
    case PAIR:
        return quern__json_skip(&r->j, err);
    case SPECIALS:
        return quern__reader_special_tokens(r, err);
    case SEP:
    case CLS:
        return quern__reader_pair(r, which == SEP, err);
    default:
        return read_flag(r, which, p, err);
    }
}

/* The type, whichever came first, against the keys that were there. */
static int check_part(quern__json_reader *r, const char *where, const struct type *type,
                      const quern__json_part *p, quern_error *err)
{
    if (!type)
        return quern__json_fail(&r->j, err, "%s without 'type',", where);
    int rc = quern__reader_missing(r, where, keys, p->seen, type->needed, err);
    if (rc != QUERN_OK)
        return rc;
    uint32_t other = p->seen & ~(BIT(TYPE) | type->needed | type->allowed);
    for (int i = 0; keys[i]; i++)
        if (other & BIT(i))
            return quern__json_fail(&r->j, err, "%s with '%s', a key of another type,", where,
                                    keys[i]);
    return QUERN_OK;
}

static int keep_part(quern__json_reader *r, const char *where, const quern__json_part *p,
                     quern__json_parts *out, quern_error *err)
{
    bool specials = p->kind == QUERN__PART_TEMPLATE || p->kind == QUERN__PART_BERT_SPECIALS ||
                    p->kind == QUERN__PART_ROBERTA_SPECIALS;
    if (specials && r->has_specials)
        return quern__json_fail(&r->j, err, "two processors that add special tokens,");
    r->has_specials |= specials;
    r->has_template |= p->kind == QUERN__PART_TEMPLATE;
    if (p->kind == QUERN__PART_SEQUENCE)
        return QUERN_OK;
    if (out->n == QUERN__JSON_MAX_PARTS)
        return quern__json_fail(&r->j, err, "%s of more than %d parts,", where,
                                QUERN__JSON_MAX_PARTS);
    out->items[out->n++] = *p;
    return QUERN_OK;
}

static int read_part(quern__json_reader *r, const char *where, quern__json_parts *out,
                     uint32_t depth, quern_error *err)
{
    quern__json_part p;
    const struct type *type = NULL;
    quern_str key, name;
    int which, more, rc = quern__json_enter_object(&r->j, err);
    memset(&p, 0, sizeof p);
    p.use_regex = p.trim_offsets = true; /* what an absent key means */
    p.at = r->j.at;
    if (rc == QUERN_OK && depth > QUERN__JSON_MAX_NESTING)
        rc = quern__json_fail(&r->j, err, "%s nested too deeply,", where);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_key(&r->j, &key, err)) == 1) {
        rc = quern__draft_key(&r->j, key, keys, &p.seen, false, &which, err);
        if (rc == QUERN_OK && which == TYPE) {
            rc = quern__json_string(&r->j, &name, err);
            if (rc == QUERN_OK && !(type = type_of(where, name)))
                rc = quern__json_fail(&r->j, err, "%s of type '%.*s' is not supported,", where,
                                      (int)QUERN__MIN(name.len, 80), name.ptr);
        } else if (rc == QUERN_OK) {
            rc = read_value(r, where, which, &p, out, depth, err);
        }
        if (rc != QUERN_OK)
            return rc;
    }
    if (more == 0 && (rc = check_part(r, where, type, &p, err)) == QUERN_OK) {
        p.kind = type->kind;
        rc = keep_part(r, where, &p, out, err);
    }
    return more < 0 ? more : rc;
}

int quern__reader_parts(quern__json_reader *r, const char *what, quern__json_parts *out,
                        quern_error *err)
{
    if (quern__json_peek(&r->j) == QUERN__JSON_NULL)
        return quern__json_null(&r->j, err);
    return read_part(r, what, out, 0, err);
}

/* ---- what they come to ---- */

static int refuse(quern__json_reader *r, const quern__json_part *p, const char *what,
                  quern_error *err)
{
    return quern__fail(err, QUERN_EFORMAT, (int64_t)(p ? p->at : 0),
                       "%s: %s for this kind of model is not supported, at byte %zu", r->j.name,
                       what, p ? p->at : 0);
}

static int apply_wordpiece(quern__json_reader *r, quern_error *err)
{
    quern__wordpiece *w = &r->d.t->wordpiece;
    const quern__json_part *n = r->normalizer.items, *p = r->words.items;
    if (r->normalizer.n > 1 || (r->normalizer.n && n->kind != QUERN__PART_BERT_NORMALIZER))
        return refuse(r, n, "a normalizer other than BertNormalizer", err);
    if (r->words.n != 1 || p->kind != QUERN__PART_BERT_WORDS)
        return refuse(r, r->words.n ? p : NULL, "a pre_tokenizer other than BertPreTokenizer", err);
    if (r->normalizer.n) {
        w->clean = n->clean;
        w->cjk = n->cjk;
        w->lower = n->lower;
        w->strip = n->strip_said ? n->strip : n->lower;
    }
    return QUERN_OK;
}

static int apply_bpe(quern__json_reader *r, quern_error *err)
{
    quern__segments *s = &r->d.t->segments;
    const quern__json_part *p = r->words.items, *last = r->words.n ? p + r->words.n - 1 : NULL;
    for (uint32_t i = 0; i < r->normalizer.n; i++) {
        if (r->normalizer.items[i].kind != QUERN__PART_NFC)
            return refuse(r, &r->normalizer.items[i], "a normalizer other than NFC", err);
        s->normalizer.steps[s->normalizer.n++].kind = QUERN__STEP_NFC;
    }
    if (!last || last->kind != QUERN__PART_BYTE_LEVEL)
        return refuse(r, last, "a pre_tokenizer that does not end in ByteLevel", err);
    if (r->words.n == 1) {
        s->words.kind = last->use_regex ? QUERN__WORDS_GPT2 : QUERN__WORDS_WHOLE;
        s->prefix_blank = last->prefix_space;
        return QUERN_OK;
    }
    if (r->words.n != 2 || p->kind != QUERN__PART_SPLIT || p->invert || last->use_regex ||
        last->prefix_space)
        return refuse(r, last, "a pre_tokenizer of these parts", err);
    s->words = p->words;
    return QUERN_OK;
}

/* What post-processors do to the offsets. */
static int apply_post(quern__json_reader *r, quern_error *err)
{
    quern__segments *s = &r->d.t->segments;
    uint32_t trims = 0;
    for (uint32_t i = 0; i < r->post.n; i++) {
        const quern__json_part *p = &r->post.items[i];
        bool roberta = p->kind == QUERN__PART_ROBERTA_SPECIALS;
        if (!roberta && p->kind != QUERN__PART_BYTE_LEVEL)
            continue;
        if (!p->trim_offsets)
            continue;
        s->trim = true;
        s->trim_keeps_first = (p->seen & BIT(PREFIX_SPACE)) ? p->prefix_space : true;
        if (++trims > 1)
            return refuse(r, p, "a second post_processor that trims offsets", err);
    }
    return QUERN_OK;
}

int quern__reader_apply_parts(quern__json_reader *r, quern_error *err)
{
    int rc = r->d.t->kind == QUERN__TOKENIZER_BPE ? apply_bpe(r, err) : apply_wordpiece(r, err);
    return rc == QUERN_OK ? apply_post(r, err) : rc;
}
