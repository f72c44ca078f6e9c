/*
 * tokenizer_vocab.c — the older way of writing a BERT tokenizer down: vocab.txt has one piece a line
 * (its number is the id), tokenizer_config.json the settings, special_tokens_map.json names again.
 * The meaning is that of the reference's conversion to tokenizer.json, so both ways of one model
 * give one hash. tokenizer_config.json is full of keys that do not change ids; those are passed over.
 */
#include <string.h>

#include "base/compiler.h"
#include "text/utf8.h"
#include "tokenizer/tokenizer_draft.h"

enum name { UNK, CLS, SEP, PAD, MASK, NAMES };
enum { BYTES_PER_LINE = 8, CHARS_PER_WORD = 100 };

/* The keys that tokenizer_config.json and special_tokens_map.json share come first. */
static const char *const keys[] = {"unk_token",
                                   "cls_token",
                                   "sep_token",
                                   "pad_token",
                                   "mask_token",
                                   "additional_special_tokens",
                                   "added_tokens_decoder",
                                   "do_lower_case",
                                   "strip_accents",
                                   "tokenize_chinese_chars",
                                   "model_max_length",
                                   "tokenizer_class",
                                   "do_basic_tokenize",
                                   "never_split",
                                   NULL};
enum key {
    MORE = NAMES,
    DECODER,
    LOWER,
    STRIP,
    CHINESE,
    LENGTH,
    CLASS,
    BASIC,
    NEVER,
};

struct config {
    quern__draft d;
    struct quern__draft_added names[NAMES];
    bool said[NAMES];
    bool strip_said;
    uint64_t length;
};

static int read_flag(quern__json *j, bool *flag, bool *said, quern_error *err)
{
    if (quern__json_peek(j) == QUERN__JSON_NULL)
        return quern__json_null(j, err);
    *said = true;
    return quern__json_bool(j, flag, err);
}

/* A token: "[UNK]", {"content": "[UNK]", …} or null. */
static int read_token(struct config *c, quern__json *j, struct quern__draft_added *out, bool *said,
                      quern_error *err)
{
    memset(out, 0, sizeof *out);
    if (quern__json_peek(j) == QUERN__JSON_NULL)
        return quern__json_null(j, err);
    *said = true;
    if (quern__json_peek(j) == QUERN__JSON_OBJECT)
        return quern__draft_read_added(&c->d, j, out, err);
    out->name = quern__draft_unnamed(j);
    int rc = quern__json_string(j, &out->name.name, err);
    return rc == QUERN_OK ? quern__draft_keep(&c->d, &out->name.name, err) : rc;
}

static bool same_name(const quern__draft_name *a, const quern__draft_name *b)
{
    return a->name.len == b->name.len && memcmp(a->name.ptr, b->name.ptr, a->name.len) == 0;
}

static int read_name(struct config *c, quern__json *j, int which, quern_error *err)
{
    struct quern__draft_added token;
    bool said = false;
    int rc = read_token(c, j, &token, &said, err);
    if (rc != QUERN_OK || !said)
        return rc;
    if (c->said[which] && !same_name(&c->names[which].name, &token.name))
        return quern__json_fail(j, err, "%s is not the one of tokenizer_config.json,", keys[which]);
    if (!c->said[which])
        c->names[which] = token;
    c->said[which] = true;
    return QUERN_OK;
}

/* Adds a token unless one of that name is there. */
static int add_once(struct config *c, struct quern__draft_added token, quern_error *err)
{
    for (uint32_t i = 0; i < c->d.n_added; i++)
        if (same_name(&c->d.added[i].name, &token.name))
            return QUERN_OK;
    return quern__draft_add(&c->d, token, err);
}

static int read_more(struct config *c, quern__json *j, quern_error *err)
{
    if (quern__json_peek(j) == QUERN__JSON_NULL)
        return quern__json_null(j, err);
    int more, rc = quern__json_enter_array(j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_item(j, err)) == 1) {
        struct quern__draft_added token;
        bool said = false;
        rc = read_token(c, j, &token, &said, err);
        if (rc == QUERN_OK && said)
            rc = add_once(c, token, err);
        if (rc != QUERN_OK)
            return rc;
    }
    return more;
}

static int read_class(quern__json *j, quern_error *err)
{
    static const char *const known[] = {"BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer",
                                        "DistilBertTokenizerFast", NULL};
    quern_str name;
    if (quern__json_peek(j) == QUERN__JSON_NULL)
        return quern__json_null(j, err);
    int rc = quern__json_string(j, &name, err);
    for (int i = 0; rc == QUERN_OK && known[i]; i++)
        if (quern__str_is(name, known[i]))
            return QUERN_OK;
    if (rc == QUERN_OK)
        rc = quern__json_fail(j, err, "tokenizer_class '%.*s' is not supported from a vocab.txt,",
                              (int)QUERN__MIN(name.len, 80), name.ptr);
    return rc;
}

static int read_setting(struct config *c, quern__json *j, int which, quern_error *err)
{
    quern__wordpiece *w = &c->d.t->wordpiece;
    bool flag = true, said = false;
    switch (which) {
    case MORE:
        return read_more(c, j, err);
    case DECODER:
        return quern__draft_read_decoder(&c->d, j, err);
    case LOWER:
        return read_flag(j, &w->lower, &said, err);
    case STRIP:
        return read_flag(j, &w->strip, &c->strip_said, err);
    case CHINESE:
        return read_flag(j, &w->cjk, &said, err);
    case LENGTH:
        return quern__draft_read_length(j, &c->length, err);
    case CLASS:
        return read_class(j, err);
    case BASIC: {
        int rc = read_flag(j, &flag, &said, err);
        return rc == QUERN_OK && !flag
                   ? quern__json_fail(j, err, "do_basic_tokenize false is not supported,")
                   : rc;
    }
    case NEVER: {
        int rc, kind = quern__json_peek(j);
        if (kind == QUERN__JSON_NULL)
            return quern__json_null(j, err);
        rc = quern__json_enter_array(j, err);
        if (rc == QUERN_OK && (rc = quern__json_next_item(j, err)) == 1)
            rc = quern__json_fail(j, err, "never_split is not supported,");
        return rc;
    }
    default:
        return read_name(c, j, which, err);
    }
}

/* One of the two JSON files; the map knows the first keys only. */
static int read_file(struct config *c, const char *name, quern_str text, bool map, quern_error *err)
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
        else if (rc == QUERN_OK)
            rc = read_setting(c, &j, which, err);
    }
    if (rc == QUERN_OK)
        rc = more < 0 ? more : quern__json_end(&j, err);
    quern__json_dispose(&j);
    return rc;
}

static int read_vocab(struct config *c, quern_str text, quern_error *err)
{
    quern__draft *d = &c->d;
    size_t bad = quern__utf8_check(text.ptr, text.len);
    if (bad != text.len)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)bad, "%s: invalid UTF-8 at byte %zu",
                           d->file, bad);
    int rc = quern__vocab_reserve(&d->t->vocab, (uint32_t)(text.len / BYTES_PER_LINE), err);
    uint64_t id = 0;
    for (size_t at = 0, next; rc == QUERN_OK && at < text.len; at = next) {
        const char *end = memchr(text.ptr + at, '\n', text.len - at);
        size_t len = end ? (size_t)(end - text.ptr) - at : text.len - at;
        next = at + len + (end != NULL);
        if (len && text.ptr[at + len - 1] == '\r')
            len--;
        if (len && memchr(text.ptr + at, '\r', len))
            return quern__fail(err, QUERN_EFORMAT, (int64_t)at,
                               "%s: a carriage return inside a line at byte %zu", d->file, at);
        if (len) /* an empty line is an id without a piece */
            rc = quern__draft_piece(d, id, (quern_str){text.ptr + at, len}, at, err);
        id++;
    }
    return rc;
}

/* The five names: said in a file, or BERT's own. */
static int finish_names(struct config *c, quern_error *err)
{
    static const char *const defaults[NAMES] = {"[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"};
    quern__draft *d = &c->d;
    for (int i = 0; i < NAMES; i++) {
        struct quern__draft_added *a = &c->names[i];
        if (!c->said[i])
            *a = (struct quern__draft_added){
                {quern_str_of(defaults[i]), -1, d->file, 0}, false, false, false, false};
        if (quern__vocab_find(&d->t->vocab, a->name.name) < 0) {
            bool added = false;
            for (uint32_t k = 0; k < d->n_added; k++)
                added = added || same_name(&d->added[k].name, &a->name);
            if (!added && !c->said[i] && i >= PAD)
                continue; /* a small vocabulary without padding or masks loses nothing */
            if (!added)
                return quern__draft_refuse(&a->name, keys[i], "is not in the vocabulary,", err);
        }
        int rc = add_once(c, *a, err);
        if (rc != QUERN_OK)
            return rc;
    }
    d->unk = c->names[UNK].name;
    d->before[0] = c->names[CLS].name;
    d->after[0] = c->names[SEP].name;
    d->n_before = d->n_after = 1;
    return QUERN_OK;
}

int quern__tokenizer_from_vocab(quern__tokenizer **out, const quern__tokenizer_files *files,
                                quern_error *err)
{
    struct config c;
    *out = NULL;
    memset(&c, 0, sizeof c);
    int rc = quern__draft_begin(&c.d, files->vocab_name, err);
    if (rc != QUERN_OK)
        goto done;
    quern__wordpiece *w = &c.d.t->wordpiece;
    w->clean = w->cjk = w->lower = true;
    w->max_chars = CHARS_PER_WORD;
    memcpy(w->prefix, "##", 3);
    w->prefix_len = 2;
    rc = read_file(&c, files->config_name, files->config, false, err);
    if (rc == QUERN_OK && files->map.len)
        rc = read_file(&c, files->map_name, files->map, true, err);
    if (rc == QUERN_OK && !c.strip_said)
        w->strip = w->lower;
    if (rc == QUERN_OK)
        rc = read_vocab(&c, files->vocab, err);
    if (rc == QUERN_OK)
        rc = finish_names(&c, err);
    if (rc == QUERN_OK)
        rc = quern__draft_finish(&c.d, out, err);
    if (rc == QUERN_OK)
        (*out)->model_max_length = c.length;
done:
    quern__draft_dispose(&c.d);
    return rc;
}

int quern__tokenizer_config_length(const char *file, quern_str config, uint64_t *out,
                                   quern_error *err)
{
    static const char *const only[] = {"model_max_length", NULL};
    quern__json j;
    uint32_t seen = 0;
    quern_str key;
    int which, more = 0;
    *out = 0;
    quern__json_init(&j, config.ptr, config.len, file);
    int rc = quern__json_enter_object(&j, err);
    while (rc == QUERN_OK && (more = quern__json_next_key(&j, &key, err)) == 1) {
        rc = quern__draft_key(&j, key, only, &seen, true, &which, err);
        if (rc == QUERN_OK)
            rc = which == 0 ? quern__draft_read_length(&j, out, err) : quern__json_skip(&j, err);
    }
    if (rc == QUERN_OK)
        rc = more < 0 ? more : quern__json_end(&j, err);
    quern__json_dispose(&j);
    return rc;
}
