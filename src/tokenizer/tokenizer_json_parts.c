/*
 * tokenizer_json_parts.c — normalisers, pre-tokenisers and post-processors of tokenizer.json. All are
 * read by one function into one shape, because their "type" may come last; a table then says which keys
 * each type has. Combinations are few, and one that is not known word for word is refused by name.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "text/utf8.h"
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
    CHARSMAP,
    CONTENT,
    STRIP_LEFT,
    STRIP_RIGHT,
    REPLACEMENT,
    SCHEME,
    SPLIT,
    STR_REP,
    PREPEND,
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
                                   "precompiled_charsmap",
                                   "content",
                                   "strip_left",
                                   "strip_right",
                                   "replacement",
                                   "prepend_scheme",
                                   "split",
                                   "str_rep",
                                   "prepend",
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
    {"a normalizer", "Precompiled", QUERN__PART_CHARSMAP, BIT(CHARSMAP), 0},
    {"a normalizer", "Replace", QUERN__PART_REPLACE, BIT(PATTERN) | BIT(CONTENT), 0},
    {"a normalizer", "Strip", QUERN__PART_STRIP, BIT(STRIP_LEFT) | BIT(STRIP_RIGHT), 0},
    {"a normalizer", "Prepend", QUERN__PART_PREPEND, BIT(PREPEND), 0},
    {"a normalizer", "Sequence", QUERN__PART_SEQUENCE, BIT(NORMALIZERS), 0},
    {"a pre_tokenizer", "BertPreTokenizer", QUERN__PART_BERT_WORDS, 0, 0},
    {"a pre_tokenizer", "ByteLevel", QUERN__PART_BYTE_LEVEL, BIT(PREFIX_SPACE),
     BIT(TRIM) | BIT(USE_REGEX)},
    {"a pre_tokenizer", "Split", QUERN__PART_SPLIT, BIT(PATTERN) | BIT(BEHAVIOR), BIT(INVERT)},
    {"a pre_tokenizer", "WhitespaceSplit", QUERN__PART_WHITE_SPLIT, 0, 0},
    {"a pre_tokenizer", "Metaspace", QUERN__PART_METASPACE, BIT(REPLACEMENT),
     BIT(PREFIX_SPACE) | BIT(SCHEME) | BIT(SPLIT) | BIT(STR_REP)},
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

/* Standard base64, padded; out has room for three bytes of every four characters. */
static bool from_base64(quern_str s, char *out, size_t *len)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t pad = 0;
    uint32_t bits = 0;
    if (s.len == 0 || s.len % 4)
        return false;
    while (pad < 2 && s.ptr[s.len - 1 - pad] == '=')
        pad++;
    for (size_t i = 0; i < s.len; i++) {
        const char *at = s.ptr[i] ? strchr(letters, s.ptr[i]) : NULL;
        if (!at && i < s.len - pad)
            return false;
        bits = bits << 6 | (at ? (uint32_t)(at - letters) : 0);
        if (i % 4 == 3) {
            out[(*len)++] = (char)(bits >> 16 & 255);
            out[(*len)++] = (char)(bits >> 8 & 255);
            out[(*len)++] = (char)(bits & 255);
        }
    }
    *len -= pad;
    return true;
}

/* A short string as code points. */
static int read_points(quern__json_reader *r, uint32_t points[QUERN__NORMAL_MAX_CONTENT],
                       uint32_t *n, quern_error *err)
{
    quern_str s;
    int rc = quern__json_string(&r->j, &s, err);
    *n = 0;
    for (size_t at = 0; rc == QUERN_OK && at < s.len;) {
        bool bad = false;
        if (*n == QUERN__NORMAL_MAX_CONTENT)
            return quern__json_fail(&r->j, err, "a replacement of more than %d characters,",
                                    QUERN__NORMAL_MAX_CONTENT);
        at += quern__utf8_next(s.ptr + at, s.len - at, &points[(*n)++], &bad);
    }
    return rc;
}

/* {"Regex": …}: only expressions of the known list. */
static int read_expression(quern__json_reader *r, quern__json_part *p, quern_error *err)
{
    quern_str expression;
    int rc = quern__json_string(&r->j, &expression, err);
    if (rc != QUERN_OK)
        return rc;
    p->pattern = QUERN__PATTERN_WORDS;
    if (quern__word_rule_of(expression, &p->words))
        return QUERN_OK;
    p->pattern = QUERN__PATTERN_BLANKS;
    if (quern__str_is(expression, " {2,}"))
        return QUERN_OK;
    return quern__json_fail(&r->j, err, "the expression '%.*s' is not supported,",
                            (int)QUERN__MIN(expression.len, 200), expression.ptr);
}

/* {"Regex": …} or {"String": …} */
static int read_pattern(quern__json_reader *r, quern__json_part *p, quern_error *err)
{
    static const char *const names[] = {"Regex", "String", NULL};
    uint32_t seen = 0;
    quern_str key;
    int which = 0, more, rc = quern__json_enter_object(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_key(&r->j, &key, err)) == 1) {
        rc = quern__draft_key(&r->j, key, names, &seen, false, &which, err);
        if (rc == QUERN_OK && which == 0)
            rc = read_expression(r, p, err);
        else if (rc == QUERN_OK) {
            p->pattern = QUERN__PATTERN_STRING;
            rc = read_points(r, p->step.pattern, &p->step.n_pattern, err);
        }
        if (rc != QUERN_OK)
            return rc;
    }
    if (more == 0 && (seen == 0 || seen == 3 || (seen == 2 && p->step.n_pattern == 0)))
        return quern__json_fail(&r->j, err, "a pattern that is not one expression or string,");
    return more;
}

static int read_charsmap(quern__json_reader *r, quern_error *err)
{
    quern__charsmap *map = &r->d.t->segments.normalizer.charsmap;
    quern_str s;
    size_t len = 0;
    char *bytes;
    int rc = quern__json_string(&r->j, &s, err);
    if (rc == QUERN_OK && map->bytes)
        rc = quern__json_fail(&r->j, err, "a second precompiled_charsmap,");
    if (rc != QUERN_OK)
        return rc;
    bytes = quern__alloc(s.len / 4 * 3 + 3);
    if (!bytes)
        return quern__fail_memory(err, s.len);
    if (!from_base64(s, bytes, &len)) {
        quern__free(bytes);
        return quern__json_fail(&r->j, err, "a precompiled_charsmap that is not base64,");
    }
    const char *why = quern__charsmap_open(map, bytes, len);
    return why ? quern__json_fail(&r->j, err, "precompiled_charsmap %s,", why) : QUERN_OK;
}

static int read_scheme(quern__json_reader *r, quern__json_part *p, quern_error *err)
{
    static const char *const names[] = {"never", "first", "always"}; /* enum quern__prefix */
    quern_str s;
    int rc = quern__json_string(&r->j, &s, err);
    if (rc != QUERN_OK)
        return rc;
    for (size_t i = 0; i < QUERN__COUNT(names); i++)
        if (quern__str_is(s, names[i])) {
            p->prefix = (enum quern__prefix)i;
            return QUERN_OK;
        }
    return quern__json_fail(&r->j, err, "the prepend_scheme '%.*s' is not supported,",
                            (int)QUERN__MIN(s.len, 80), s.ptr);
}

static int read_replacement(quern__json_reader *r, quern_error *err)
{
    quern_str s;
    int rc = quern__json_string(&r->j, &s, err);
    if (rc == QUERN_OK && !quern__str_is(s, "\xE2\x96\x81"))
        rc = quern__json_fail(&r->j, err, "a replacement other than U+2581 is not supported,");
    return rc;
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
                    [INVERT] = &p->invert,
                    [STRIP_LEFT] = &p->step.left,
                    [STRIP_RIGHT] = &p->step.right,
                    [SPLIT] = &p->split};
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
    case CHARSMAP:
        return read_charsmap(r, err);
    case CONTENT:
        return read_points(r, p->step.content, &p->step.n_content, err);
    case PREPEND:
        return read_points(r, p->step.content, &p->step.n_content, err);
    case REPLACEMENT:
    case STR_REP:
        return read_replacement(r, err);
    case SCHEME:
        return read_scheme(r, p, err);
    default:
        return read_flag(r, which, p, err);
    }
}

/* The type, whichever came first, against the keys that were there. */
static int check_part(quern__json_reader *r, const char *where, const struct type *type,
                      const quern__json_part *p, quern_error *err)
{
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
    p.use_regex = p.trim_offsets = p.split = p.prefix_space = true; /* what an absent key means */
    p.prefix = QUERN__PREFIX_ALWAYS;
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
    if (more < 0)
        return more;
    if (!type)
        return quern__json_fail(&r->j, err, "%s without 'type',", where);
    rc = check_part(r, where, type, &p, err);
    p.kind = type->kind;
    return rc == QUERN_OK ? keep_part(r, where, &p, out, err) : rc;
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

static int apply_bytes(quern__json_reader *r, quern_error *err)
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
    if (r->words.n != 2 || p->kind != QUERN__PART_SPLIT || p->pattern != QUERN__PATTERN_WORDS ||
        p->invert || last->use_regex || last->prefix_space)
        return refuse(r, last, "a pre_tokenizer of these parts", err);
    s->words = p->words;
    return QUERN_OK;
}

static int apply_step(quern__json_reader *r, const quern__json_part *p, quern_error *err)
{
    quern__normalizer *n = &r->d.t->segments.normalizer;
    quern__step step = p->step;
    switch (p->kind) {
    case QUERN__PART_NFC:
        step.kind = QUERN__STEP_NFC;
        break;
    case QUERN__PART_CHARSMAP:
        step.kind = QUERN__STEP_CHARSMAP;
        break;
    case QUERN__PART_REPLACE:
        if (p->pattern == QUERN__PATTERN_WORDS)
            return refuse(r, p, "a Replace of this expression", err);
        step.kind = p->pattern == QUERN__PATTERN_BLANKS ? QUERN__STEP_BLANKS : QUERN__STEP_REPLACE;
        break;
    case QUERN__PART_STRIP:
        step.kind = QUERN__STEP_STRIP;
        break;
    case QUERN__PART_PREPEND:
        if (!step.n_content)
            return refuse(r, p, "a Prepend of nothing", err);
        step.kind = QUERN__STEP_PREPEND;
        break;
    default:
        return refuse(r, p, "this normalizer", err);
    }
    n->steps[n->n++] = step;
    return QUERN_OK;
}

/* Unigram, and BPE of characters: no pre_tokenizer leaves blanks to the normaliser. */
static int apply_blanks(quern__json_reader *r, quern_error *err)
{
    struct quern__blanks *b = &r->d.t->segments.blanks;
    const quern__json_part *p = r->words.items, *last = r->words.n ? p + r->words.n - 1 : NULL;
    for (uint32_t i = 0; i < r->normalizer.n; i++) {
        int rc = apply_step(r, &r->normalizer.items[i], err);
        if (rc != QUERN_OK)
            return rc;
    }
    b->as_is = !last;
    if (!last)
        return QUERN_OK;
    if (r->words.n > 2 || last->kind != QUERN__PART_METASPACE ||
        (r->words.n == 2 && p->kind != QUERN__PART_WHITE_SPLIT))
        return refuse(r, last, "a pre_tokenizer other than (WhitespaceSplit and) Metaspace", err);
    if (!last->prefix_space)
        return refuse(r, last, "a Metaspace with add_prefix_space false", err);
    b->white_split = r->words.n == 2;
    b->split = last->split;
    b->prefix = last->prefix;
    return QUERN_OK;
}

/* What the words end in tells a BPE of bytes from one of characters. */
static int apply_bpe(quern__json_reader *r, quern_error *err)
{
    const quern__json_part *last = r->words.n ? &r->words.items[r->words.n - 1] : NULL;
    const bool bytes = last && last->kind != QUERN__PART_METASPACE;
    if (r->byte_fallback == bytes)
        return refuse(r, last,
                      bytes ? "byte_fallback" : "a BPE of characters without byte_fallback", err);
    r->d.t->bpe.points = !bytes;
    return bytes ? apply_bytes(r, err) : apply_blanks(r, err);
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
        s->trim_keeps_first = p->prefix_space;
        if (++trims > 1)
            return refuse(r, p, "a second post_processor that trims offsets", err);
    }
    return QUERN_OK;
}

int quern__reader_apply_parts(quern__json_reader *r, quern_error *err)
{
    int rc = r->d.t->kind == QUERN__TOKENIZER_BPE       ? apply_bpe(r, err)
             : r->d.t->kind == QUERN__TOKENIZER_UNIGRAM ? apply_blanks(r, err)
                                                        : apply_wordpiece(r, err);
    return rc == QUERN_OK ? apply_post(r, err) : rc;
}
