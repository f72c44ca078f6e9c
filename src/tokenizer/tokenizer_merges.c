/*
 * tokenizer_merges.c — the older way of writing a byte-level BPE down: vocab.json (pieces and ids),
 * merges.txt (one pair a line, the first learnt first) and tokenizer_config.json, whose tokenizer_class
 * says what surrounds them: normaliser, expression, special tokens. As for vocab.txt, the meaning is
 * that of the reference's conversion to tokenizer.json, and a class that is not known is refused.
 */
#include <string.h>

#include "base/compiler.h"
#include "text/utf8.h"
#include "tokenizer/tokenizer_draft.h"

enum { BYTES_PER_PIECE = 15 };

enum key {
    BOS,
    EOS,
    UNK,
    SEP,
    PAD,
    CLS,
    MASK,
    NAMES,
    MORE = NAMES,
    DECODER,
    LENGTH,
    CLASS,
    PREFIX
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
                                   NULL};

/* What a class means where its config is silent. */
static const struct family {
    const char *classes[4];
    const char *names[NAMES]; /* NULL: none */
    bool pair;                /* cls and sep around a text, offsets trimmed */
    bool nfc;
    quern__word_rule words;
} families[] = {
    {{"RobertaTokenizer", "RobertaTokenizerFast", NULL, NULL},
     {"<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"},
     true,
     false,
     {QUERN__WORDS_GPT2, 0}},
    {{"Qwen2Tokenizer", "Qwen2TokenizerFast", NULL, NULL},
     {NULL, "<|endoftext|>", "<|endoftext|>", NULL, "<|endoftext|>", NULL, NULL},
     false,
     true,
     {QUERN__WORDS_QWEN, 1}},
};

struct config {
    quern__draft d;
    const struct family *family;
    struct quern__draft_added names[NAMES];
    bool said[NAMES], none[NAMES];
    bool prefix;
    uint64_t length;
};

static bool same_name(const quern__draft_name *a, const quern__draft_name *b)
{
    return a->name.len == b->name.len && memcmp(a->name.ptr, b->name.ptr, a->name.len) == 0;
}

static int add_once(struct config *c, struct quern__draft_added token, quern_error *err)
{
    for (uint32_t i = 0; i < c->d.n_added; i++)
        if (same_name(&c->d.added[i].name, &token.name))
            return QUERN_OK;
    return quern__draft_add(&c->d, token, err);
}

/* A token: "<s>" or {"content": "<s>", …}. The mask takes the blank before it unless it says not. */
static int read_token(struct config *c, quern__json *j, bool mask, struct quern__draft_added *out,
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

static int read_more(struct config *c, quern__json *j, quern_error *err)
{
    int more, rc = quern__json_enter_array(j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_item(j, err)) == 1) {
        struct quern__draft_added token;
        rc = read_token(c, j, false, &token, err);
        if (rc == QUERN_OK)
            rc = add_once(c, token, err);
        if (rc != QUERN_OK)
            return rc;
    }
    return more;
}

static int read_class(struct config *c, quern__json *j, quern_error *err)
{
    quern_str name;
    int rc = quern__json_string(j, &name, err);
    if (rc != QUERN_OK)
        return rc;
    for (size_t f = 0; f < QUERN__COUNT(families); f++)
        for (size_t i = 0; i < QUERN__COUNT(families[f].classes) && families[f].classes[i]; i++)
            if (quern__str_is(name, families[f].classes[i]))
                c->family = &families[f];
    if (c->family)
        return QUERN_OK;
    return quern__json_fail(
        j, err, "tokenizer_class '%.*s' is not supported from vocab.json and merges.txt,",
        (int)QUERN__MIN(name.len, 80), name.ptr);
}

/* A name of special_tokens_map.json, which may not contradict tokenizer_config.json. */
static int read_mapped(struct config *c, quern__json *j, int which, quern_error *err)
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

static int read_setting(struct config *c, quern__json *j, int which, quern_error *err)
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
        return quern__json_bool(j, &c->prefix, err);
    default:
        return read_token(c, j, which == MASK, &c->names[which], err);
    }
}

static int read_config(struct config *c, const char *name, quern_str text, bool map,
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

static int read_vocab(struct config *c, quern_str text, quern_error *err)
{
    quern__json j;
    quern__json_init(&j, text.ptr, text.len, c->d.file);
    int rc = quern__vocab_reserve(&c->d.t->vocab, (uint32_t)(text.len / BYTES_PER_PIECE), err);
    if (rc == QUERN_OK)
        rc = quern__draft_read_pieces(&c->d, &j, err);
    if (rc == QUERN_OK)
        rc = quern__json_end(&j, err);
    quern__json_dispose(&j);
    return rc;
}

static int read_line(struct config *c, const char *file, quern_str line, size_t at,
                     quern_error *err)
{
    const char *gap = memchr(line.ptr, ' ', line.len);
    size_t left = gap ? (size_t)(gap - line.ptr) : 0;
    if (!gap || memchr(gap + 1, ' ', line.len - left - 1))
        return quern__fail(err, QUERN_EFORMAT, (int64_t)at,
                           "%s: a line that is not two parts at byte %zu", file, at);
    return quern__draft_merge(&c->d, (quern_str){line.ptr, left},
                              (quern_str){gap + 1, line.len - left - 1}, at, err);
}

static int read_merges(struct config *c, const char *file, quern_str text, quern_error *err)
{
    size_t bad = quern__utf8_check(text.ptr, text.len);
    int rc = QUERN_OK;
    if (bad != text.len)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)bad, "%s: invalid UTF-8 at byte %zu", file,
                           bad);
    for (size_t at = 0, next; rc == QUERN_OK && at < text.len; at = next) {
        const char *end = memchr(text.ptr + at, '\n', text.len - at);
        quern_str line = {text.ptr + at, end ? (size_t)(end - text.ptr) - at : text.len - at};
        next = at + line.len + (end != NULL);
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        bool version = line.len >= 8 && memcmp(line.ptr, "#version", 8) == 0;
        bool last = line.len == 0 && next == text.len;
        if (!version && !last)
            rc = read_line(c, file, line, at, err);
    }
    return rc;
}

static int finish_names(struct config *c, quern_error *err)
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
        int rc = add_once(c, *a, err);
        if (rc != QUERN_OK)
            return rc;
    }
    if (!c->family->pair)
        return QUERN_OK;
    if (c->none[CLS] || c->none[SEP])
        return quern__fail(err, QUERN_EFORMAT, 0, "%s: no cls_token or no sep_token at byte 0",
                           d->file);
    d->before[0] = c->names[CLS].name;
    d->after[0] = c->names[SEP].name;
    d->n_before = d->n_after = 1;
    return QUERN_OK;
}

int quern__tokenizer_from_merges(quern__tokenizer **out, const quern__merges_files *files,
                                 quern_error *err)
{
    struct config c;
    *out = NULL;
    memset(&c, 0, sizeof c);
    int rc = quern__draft_begin(&c.d, files->vocab_name, err);
    if (rc != QUERN_OK)
        goto done;
    quern__segments *s = &c.d.t->segments;
    c.d.t->kind = QUERN__TOKENIZER_BPE;
    rc = read_config(&c, files->config_name, files->config, false, err);
    if (rc == QUERN_OK && files->map.len)
        rc = read_config(&c, files->map_name, files->map, true, err);
    if (rc == QUERN_OK)
        rc = read_vocab(&c, files->vocab, err);
    if (rc == QUERN_OK)
        rc = read_merges(&c, files->merges_name, files->merges, err);
    if (rc == QUERN_OK)
        rc = finish_names(&c, err);
    if (rc == QUERN_OK) {
        s->words = c.family->words;
        s->prefix_blank = c.prefix;
        s->trim = c.family->pair;
        s->trim_keeps_first = c.prefix;
        if (c.family->nfc)
            s->normalizer.steps[s->normalizer.n++].kind = QUERN__STEP_NFC;
        if (c.prefix && c.family->words.kind != QUERN__WORDS_GPT2)
            rc = quern__fail(err, QUERN_EFORMAT, 0,
                             "%s: add_prefix_space is not supported for this class at byte 0",
                             files->config_name);
    }
    if (rc == QUERN_OK)
        rc = quern__draft_finish(&c.d, out, err);
    if (rc == QUERN_OK)
        (*out)->model_max_length = c.length;
done:
    quern__draft_dispose(&c.d);
    return rc;
}
