/*
 * tokenizer_json.c — reads tokenizer.json as Hugging Face writes it, in one pass and without a tree.
 * Whatever changes ids and is not understood is refused by name: a normaliser, pre-tokeniser or
 * model of another type, an unknown key, an added token with a flag that is not supported. What
 * does not change ids here is validated and passed over: truncation and padding (the model's
 * length is decided elsewhere), the decoder, the template for pairs.
 */
#include <string.h>

#include "base/compiler.h"
#include "tokenizer/tokenizer_draft.h"

enum { MAX_NAMED = 32, BYTES_PER_PIECE = 15 /* of tokenizer.json, for a first guess */ };

struct reader {
    quern__draft d;
    quern__json j;
    bool strip_said;                    /* strip_accents is not null */
    quern__draft_name named[MAX_NAMED]; /* special_tokens of the template */
    uint32_t n_named;
    bool has_template;
};

static int read_kept(struct reader *r, quern_str *out, quern_error *err)
{
    int rc = quern__json_string(&r->j, out, err);
    return rc == QUERN_OK ? quern__draft_keep(&r->d, out, err) : rc;
}

/* The "type" of a part, which must be `only`. */
static int read_type(struct reader *r, const char *part, const char *only, quern_error *err)
{
    quern_str type;
    int rc = quern__json_string(&r->j, &type, err);
    if (rc == QUERN_OK && !quern__str_is(type, only))
        rc = quern__json_fail(&r->j, err, "%s of type '%.*s' is not supported (only %s),", part,
                              (int)QUERN__MIN(type.len, 80), type.ptr, only);
    return rc;
}

static int missing(struct reader *r, const char *part, const char *const *names, uint32_t seen,
                   uint32_t needed, quern_error *err)
{
    for (int i = 0; names[i]; i++)
        if (needed & ~seen & 1u << i)
            return quern__json_fail(&r->j, err, "%s without '%s',", part, names[i]);
    return QUERN_OK;
}

static int read_added_tokens(struct reader *r, quern_error *err)
{
    int more, rc = quern__json_enter_array(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_item(&r->j, err)) == 1) {
        struct quern__draft_added a;
        rc = quern__draft_read_added(&r->d, &r->j, &a, err);
        if (rc == QUERN_OK && a.name.id < 0)
            rc = quern__json_fail(&r->j, err, "an added token without id,");
        if (rc == QUERN_OK)
            rc = quern__draft_add(&r->d, a, err);
        if (rc != QUERN_OK)
            return rc;
    }
    return more;
}

static int read_normalizer(struct reader *r, quern_error *err)
{
    static const char *const names[] = {"type",          "clean_text", "handle_chinese_chars",
                                        "strip_accents", "lowercase",  NULL};
    quern__wordpiece *w = &r->d.t->wordpiece;
    uint32_t seen = 0;
    quern_str key;
    int which, more, rc;
    if (quern__json_peek(&r->j) == QUERN__JSON_NULL)
        return quern__json_null(&r->j, err);
    rc = quern__json_enter_object(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_key(&r->j, &key, err)) == 1) {
        rc = quern__draft_key(&r->j, key, names, &seen, false, &which, err);
        if (rc == QUERN_OK && which == 0)
            rc = read_type(r, "a normalizer", "BertNormalizer", err);
        else if (rc == QUERN_OK && which == 1)
            rc = quern__json_bool(&r->j, &w->clean, err);
        else if (rc == QUERN_OK && which == 2)
            rc = quern__json_bool(&r->j, &w->cjk, err);
        else if (rc == QUERN_OK && which == 3 && quern__json_peek(&r->j) == QUERN__JSON_NULL)
            rc = quern__json_null(&r->j, err);
        else if (rc == QUERN_OK && which == 3) {
            r->strip_said = true;
            rc = quern__json_bool(&r->j, &w->strip, err);
        } else if (rc == QUERN_OK)
            rc = quern__json_bool(&r->j, &w->lower, err);
        if (rc != QUERN_OK)
            return rc;
    }
    if (more == 0 && !r->strip_said)
        w->strip = w->lower;
    return more < 0 ? more : missing(r, "a normalizer", names, seen, 1 | 2 | 4 | 16, err);
}

static int read_pre_tokenizer(struct reader *r, quern_error *err)
{
    static const char *const names[] = {"type", NULL};
    uint32_t seen = 0;
    quern_str key;
    int which, more, rc = quern__json_enter_object(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_key(&r->j, &key, err)) == 1) {
        rc = quern__draft_key(&r->j, key, names, &seen, true, &which, err);
        if (rc == QUERN_OK && which == 0)
            rc = read_type(r, "a pre_tokenizer", "BertPreTokenizer", err);
        else if (rc == QUERN_OK && !(seen & 1)) /* the type decides whether a key is known */
            rc = quern__json_skip(&r->j, err);
        else if (rc == QUERN_OK)
            rc = quern__json_fail(&r->j, err, "a pre_tokenizer with a key that is not known,");
        if (rc != QUERN_OK)
            return rc;
    }
    return more < 0 ? more : missing(r, "a pre_tokenizer", names, seen, 1, err);
}

/* ---- the template ---- */

/* {"id": NAME, "type_id": 0} */
static int read_template_token(struct reader *r, quern__draft_name *out, quern_error *err)
{
    static const char *const names[] = {"id", "type_id", NULL};
    uint32_t seen = 0;
    uint64_t type = 0;
    quern_str key;
    int which, more, rc = quern__json_enter_object(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    *out = quern__draft_unnamed(&r->j);
    while ((more = quern__json_next_key(&r->j, &key, err)) == 1) {
        rc = quern__draft_key(&r->j, key, names, &seen, false, &which, err);
        if (rc == QUERN_OK && which == 0)
            rc = read_kept(r, &out->name, err);
        else if (rc == QUERN_OK)
            rc = quern__json_u64(&r->j, &type, err);
        if (rc == QUERN_OK && type != 0)
            rc =
                quern__json_fail(&r->j, err, "a template of one text with a type_id other than 0,");
        if (rc != QUERN_OK)
            return rc;
    }
    return more < 0 ? more : missing(r, "a token of the template", names, seen, 1, err);
}

static int add_special(struct reader *r, quern__draft_name name, bool after, quern_error *err)
{
    quern__draft *d = &r->d;
    uint32_t *n = after ? &d->n_after : &d->n_before;
    if (*n == QUERN__TOKENIZER_MAX_SPECIALS)
        return quern__json_fail(&r->j, err, "a template of more than %d special tokens,",
                                QUERN__TOKENIZER_MAX_SPECIALS);
    (after ? d->after : d->before)[(*n)++] = name;
    return QUERN_OK;
}

/* {"SpecialToken": …} or {"Sequence": …} */
static int read_part(struct reader *r, bool *text, quern_error *err)
{
    static const char *const kinds[] = {"SpecialToken", "Sequence", NULL};
    quern__draft_name name;
    uint32_t seen = 0;
    quern_str key;
    int which = 0, rc = quern__json_enter_object(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    int more = quern__json_next_key(&r->j, &key, err);
    if (more < 0)
        return more;
    if (more == 0)
        return quern__json_fail(&r->j, err, "an empty part of the template,");
    rc = quern__draft_key(&r->j, key, kinds, &seen, false, &which, err);
    if (rc != QUERN_OK)
        return rc;
    rc = read_template_token(r, &name, err);
    if (rc != QUERN_OK)
        return rc;
    if (which == 1 && (*text || !quern__str_is(name.name, "A")))
        return quern__json_fail(&r->j, err, "a template that does not hold the text once, as 'A',");
    if (which == 1)
        *text = true;
    else if ((rc = add_special(r, name, *text, err)) != QUERN_OK)
        return rc;
    more = quern__json_next_key(&r->j, &key, err);
    return more == 1 ? quern__json_fail(&r->j, err, "two things in one part of the template,")
                     : more;
}

/* [{"SpecialToken": …}, {"Sequence": …}, {"SpecialToken": …}] */
static int read_single(struct reader *r, quern_error *err)
{
    bool text = false;
    int more, rc = quern__json_enter_array(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_item(&r->j, err)) == 1)
        if ((rc = read_part(r, &text, err)) != QUERN_OK)
            return rc;
    if (more == 0 && !text)
        return quern__json_fail(&r->j, err, "a template without the text,");
    return more;
}

/* {"id": NAME, "ids": [ID], "tokens": [NAME]} */
static int read_named(struct reader *r, quern_error *err)
{
    static const char *const names[] = {"id", "ids", "tokens", NULL};
    uint32_t seen = 0;
    quern_str key, unused;
    int which, more, rc = quern__json_enter_object(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    if (r->n_named == MAX_NAMED)
        return quern__json_fail(&r->j, err, "more than %d special tokens in the template,",
                                MAX_NAMED);
    quern__draft_name *n = &r->named[r->n_named++];
    *n = quern__draft_unnamed(&r->j);
    while ((more = quern__json_next_key(&r->j, &key, err)) == 1) {
        uint32_t count = 0;
        uint64_t id = 0;
        rc = quern__draft_key(&r->j, key, names, &seen, false, &which, err);
        if (rc == QUERN_OK && which == 0)
            rc = read_kept(r, &n->name, err);
        else if (rc == QUERN_OK && (rc = quern__json_enter_array(&r->j, err)) == QUERN_OK) {
            while (rc == QUERN_OK && (rc = quern__json_next_item(&r->j, err)) == 1) {
                rc = which == 1 ? quern__json_u64(&r->j, &id, err)
                                : quern__json_string(&r->j, &unused, err);
                count++;
            }
            if (rc == QUERN_OK && (count != 1 || id >= QUERN__VOCAB_MAX_IDS))
                rc = quern__json_fail(&r->j, err,
                                      "a special token of the template that is not one id,");
            if (rc == QUERN_OK && which == 1)
                n->id = (int64_t)id;
        }
        if (rc != QUERN_OK)
            return rc;
    }
    return more < 0 ? more : missing(r, "a special token of the template", names, seen, 1 | 2, err);
}

static int read_special_tokens(struct reader *r, quern_error *err)
{
    quern_str key;
    int more, rc = quern__json_enter_object(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_key(&r->j, &key, err)) == 1) {
        quern_str kept = key;
        rc = quern__draft_keep(&r->d, &kept, err);
        if (rc == QUERN_OK)
            rc = read_named(r, err);
        if (rc == QUERN_OK && !quern__str_is(r->named[r->n_named - 1].name, kept.ptr))
            rc = quern__json_fail(&r->j, err, "special token '%.80s' under another's name,",
                                  kept.ptr);
        if (rc != QUERN_OK)
            return rc;
    }
    return more;
}

/* ["[SEP]", 102] */
static int read_pair(struct reader *r, bool after, quern_error *err)
{
    quern__draft_name n = quern__draft_unnamed(&r->j);
    uint64_t id = 0;
    int count = 0, more, rc = quern__json_enter_array(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_item(&r->j, err)) == 1) {
        rc = count ? quern__json_u64(&r->j, &id, err) : read_kept(r, &n.name, err);
        if (rc == QUERN_OK && ++count > 2)
            break;
        if (rc != QUERN_OK)
            return rc;
    }
    if (more < 0)
        return more;
    if (count != 2 || id >= QUERN__VOCAB_MAX_IDS)
        return quern__json_fail(&r->j, err, "a token and its id expected");
    n.id = (int64_t)id;
    return add_special(r, n, after, err);
}

static int read_post_processor(struct reader *r, quern_error *err)
{
    static const char *const names[] = {"type", "single", "pair", "special_tokens",
                                        "sep",  "cls",    NULL};
    enum { TYPE = 1, SINGLE = 2, SPECIALS = 8, SEP = 16, CLS = 32 };
    uint32_t seen = 0;
    bool bert = false;
    quern_str key, type;
    int which, more, rc;
    if (quern__json_peek(&r->j) == QUERN__JSON_NULL)
        return quern__json_null(&r->j, err);
    rc = quern__json_enter_object(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_key(&r->j, &key, err)) == 1) {
        rc = quern__draft_key(&r->j, key, names, &seen, false, &which, err);
        if (rc == QUERN_OK && which == 0) {
            rc = quern__json_string(&r->j, &type, err);
            bert = rc == QUERN_OK && quern__str_is(type, "BertProcessing");
            r->has_template = rc == QUERN_OK && quern__str_is(type, "TemplateProcessing");
            if (rc == QUERN_OK && !bert && !r->has_template)
                rc = quern__json_fail(&r->j, err,
                                      "a post_processor of type '%.*s' is not supported,",
                                      (int)QUERN__MIN(type.len, 80), type.ptr);
        } else if (rc == QUERN_OK && which == 1)
            rc = read_single(r, err);
        else if (rc == QUERN_OK && which == 2)
            rc = quern__json_skip(&r->j, err);
        else if (rc == QUERN_OK && which == 3)
            rc = read_special_tokens(r, err);
        else if (rc == QUERN_OK)
            rc = read_pair(r, which == 4, err);
        if (rc != QUERN_OK)
            return rc;
    }
    if (more < 0)
        return more;
    if (seen & (bert ? SINGLE | SPECIALS : SEP | CLS))
        return quern__json_fail(&r->j, err, "a post_processor with keys of another type,");
    return missing(r, "a post_processor", names, seen,
                   TYPE | (bert ? SEP | CLS : SINGLE | SPECIALS), err);
}

/* The template's names get the ids that its special_tokens give. */
static int name_template(struct reader *r, quern__draft_name *names, uint32_t n, quern_error *err)
{
    for (uint32_t i = 0; r->has_template && i < n; i++) {
        uint32_t k = 0;
        while (k < r->n_named && !quern__str_is(r->named[k].name, names[i].name.ptr))
            k++;
        if (k == r->n_named)
            return quern__draft_refuse(&names[i], "the template's token",
                                       "is not among its special_tokens,", err);
        names[i].id = r->named[k].id;
    }
    return QUERN_OK;
}

/* ---- the model ---- */

static int read_vocab(struct reader *r, quern_error *err)
{
    quern_str piece;
    int more, rc = quern__vocab_reserve(&r->d.t->wordpiece.vocab,
                                        (uint32_t)((r->j.len - r->j.at) / BYTES_PER_PIECE), err);
    if (rc == QUERN_OK)
        rc = quern__json_enter_object(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_key(&r->j, &piece, err)) == 1) {
        size_t at = r->j.at;
        uint64_t id;
        rc = quern__json_u64(&r->j, &id, err);
        if (rc == QUERN_OK)
            rc = quern__draft_piece(&r->d, id, piece, at, err);
        if (rc != QUERN_OK)
            return rc;
    }
    return more;
}

static int read_prefix(struct reader *r, quern_error *err)
{
    quern__wordpiece *w = &r->d.t->wordpiece;
    quern_str s;
    int rc = quern__json_string(&r->j, &s, err);
    if (rc != QUERN_OK)
        return rc;
    if (s.len > QUERN__WORDPIECE_MAX_PREFIX || (s.len && memchr(s.ptr, 0, s.len)))
        return quern__json_fail(&r->j, err,
                                "a continuing_subword_prefix of more than %d bytes or with a NUL,",
                                QUERN__WORDPIECE_MAX_PREFIX);
    memcpy(w->prefix, s.ptr, s.len);
    w->prefix_len = (uint32_t)s.len;
    return QUERN_OK;
}

static int read_model(struct reader *r, quern_error *err)
{
    /* "type" is absent in files of 2020 and 2021; the other keys tell as much. */
    static const char *const names[] = {
        "type",  "unk_token", "continuing_subword_prefix", "max_input_chars_per_word",
        "vocab", NULL};
    uint32_t seen = 0;
    uint64_t chars = 0;
    quern_str key;
    int which, more, rc = quern__json_enter_object(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_key(&r->j, &key, err)) == 1) {
        rc = quern__draft_key(&r->j, key, names, &seen, false, &which, err);
        if (rc == QUERN_OK && which == 0)
            rc = read_type(r, "a model", "WordPiece", err);
        else if (rc == QUERN_OK && which == 1) {
            r->d.unk = quern__draft_unnamed(&r->j);
            rc = read_kept(r, &r->d.unk.name, err);
        } else if (rc == QUERN_OK && which == 2)
            rc = read_prefix(r, err);
        else if (rc == QUERN_OK && which == 3) {
            rc = quern__json_u64(&r->j, &chars, err);
            if (rc == QUERN_OK && chars > QUERN__WORDPIECE_MAX_CHARS)
                rc = quern__json_fail(&r->j, err,
                                      "max_input_chars_per_word of more than %d is not supported,",
                                      QUERN__WORDPIECE_MAX_CHARS);
            r->d.t->wordpiece.max_chars = (uint32_t)chars;
        } else if (rc == QUERN_OK)
            rc = read_vocab(r, err);
        if (rc != QUERN_OK)
            return rc;
    }
    return more < 0 ? more : missing(r, "a model", names, seen, 2 | 4 | 8 | 16, err);
}

static int read_top(struct reader *r, quern_error *err)
{
    static const char *const names[] = {
        "version",       "truncation",     "padding", "added_tokens", "normalizer",
        "pre_tokenizer", "post_processor", "decoder", "model",        NULL};
    uint32_t seen = 0;
    quern_str key, version;
    int which, more, rc = quern__json_enter_object(&r->j, err);
    while (rc == QUERN_OK && (more = quern__json_next_key(&r->j, &key, err)) != 0) {
        if (more < 0)
            return more;
        rc = quern__draft_key(&r->j, key, names, &seen, false, &which, err);
        if (rc != QUERN_OK)
            return rc;
        switch (which) {
        case 0:
            rc = quern__json_string(&r->j, &version, err);
            if (rc == QUERN_OK && !quern__str_is(version, "1.0"))
                rc = quern__json_fail(&r->j, err, "version '%.*s' is not supported (only 1.0),",
                                      (int)QUERN__MIN(version.len, 80), version.ptr);
            break;
        case 3:
            rc = read_added_tokens(r, err);
            break;
        case 4:
            rc = read_normalizer(r, err);
            break;
        case 5:
            rc = read_pre_tokenizer(r, err);
            break;
        case 6:
            rc = read_post_processor(r, err);
            break;
        case 8:
            rc = read_model(r, err);
            break;
        default:
            rc = quern__json_skip(&r->j, err);
        }
    }
    return rc != QUERN_OK ? rc : missing(r, "a tokenizer", names, seen, 1 << 5 | 1 << 8, err);
}

int quern__tokenizer_from_json(quern__tokenizer **out, const char *file, quern_str text,
                               quern_error *err)
{
    struct reader r;
    *out = NULL;
    memset(&r, 0, sizeof r);
    quern__json_init(&r.j, text.ptr, text.len, file);
    int rc = quern__draft_begin(&r.d, file, err);
    if (rc == QUERN_OK)
        rc = read_top(&r, err);
    if (rc == QUERN_OK)
        rc = quern__json_end(&r.j, err);
    if (rc == QUERN_OK)
        rc = name_template(&r, r.d.before, r.d.n_before, err);
    if (rc == QUERN_OK)
        rc = name_template(&r, r.d.after, r.d.n_after, err);
    if (rc == QUERN_OK)
        rc = quern__draft_finish(&r.d, out, err);
    quern__draft_dispose(&r.d);
    quern__json_dispose(&r.j);
    return rc;
}
