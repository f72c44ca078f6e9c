/*
 * gguf_tokenizer.c — the vocabulary of a GGUF file, written as the tokenizer.json that it was made from: one of WordPiece
 * ("bert": llama.cpp's vocabulary has U+2581 in front of the pieces that begin a word and nothing in front of the others),
 * of byte-level BPE ("gpt2") and of a unigram model as XLM-R has it ("t5").
 *
 * What the format does not say is what the published tokenizers of the family have; where the vocabulary shows that this one
 * has it otherwise, the file is refused. Rejected: llama.cpp's own ways of splitting text, which differ from the reference in
 * punctuation, accents and unknown characters.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/json.h"
#include "format/gguf_keys.h"
#include "text/utf8.h"

enum { MAX_TOKENS = 1 << 21, NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };
#define BLANK "\xe2\x96\x81" /* U+2581 */

typedef struct vocab {
    const quern__gguf_keys *k;
    quern_str *piece; /* [n] */
    uint32_t n;
    int64_t mask; /* the token that takes the blank before it; -1: none does */
} vocab;

static int kind_of(const vocab *v, uint32_t i)
{
    int32_t kind;
    memcpy(&kind, v->k->p->data + v->k->v[QUERN__GGUF_KINDS].at + 4 * (size_t)i, sizeof kind);
    return kind;
}

static int piece_fail(const vocab *v, uint32_t i, int status, const char *what)
{
    const size_t at = (size_t)(v->piece[i].ptr - (const char *)v->k->p->data);
    return quern__fail(v->k->err, status, (int64_t)at, "%s: token %u '%.*s' %s, at byte %zu",
                       v->k->p->name, i, (int)QUERN__MIN(v->piece[i].len, 40), v->piece[i].ptr,
                       what, at);
}

static bool begins(quern_str s, const char *with)
{
    return s.len >= strlen(with) && memcmp(s.ptr, with, strlen(with)) == 0;
}

/* The texts of an array of them; *out is the caller's to free. */
static int read_texts(const quern__gguf_keys *k, int key, quern_str **out, uint32_t *n)
{
    const quern__gguf_value *v = &k->v[key];
    quern__gguf_reader r = {k->p, v->at, k->err};
    if (!v->n || v->n > MAX_TOKENS)
        return quern__gguf_refuse(k, key, "has none, or more than 2,097,152 entries");
    *n = (uint32_t)v->n;
    *out = quern__alloc_array(*n, sizeof **out);
    if (!*out)
        return quern__fail_memory(k->err, *n * sizeof **out);
    for (uint32_t i = 0; i < *n; i++) {
        quern_str *s = &(*out)[i];
        int rc = quern__gguf_text(&r, s);
        if (rc)
            return rc;
        const size_t bad = quern__utf8_check(s->ptr, s->len), at = r.at - s->len + bad;
        if (bad != s->len)
            return quern__fail(k->err, QUERN_EFORMAT, (int64_t)at, "%s: invalid UTF-8 at byte %zu",
                               k->p->name, at);
    }
    return QUERN_OK;
}

static int open_vocab(vocab *v, const quern__gguf_keys *k)
{
    *v = (vocab){.k = k, .mask = -1};
    int rc = read_texts(k, QUERN__GGUF_TOKENS, &v->piece, &v->n);
    if (rc == QUERN_OK && k->v[QUERN__GGUF_KINDS].n != v->n)
        rc = quern__gguf_refuse(k, QUERN__GGUF_KINDS, "is not one for each token");
    for (uint32_t i = 0; rc == QUERN_OK && i < v->n; i++) {
        const int kind = kind_of(v, i);
        if (kind < NORMAL || kind == USER_DEFINED || kind >= BYTE)
            rc = piece_fail(v, i, QUERN_EUNSUPPORTED,
                            "is of a kind whose ways the file does not say (token_type)");
    }
    return rc;
}

/* The token of an id, by the first of two keys that is there; they may not contradict each other. */
static int find_special(const vocab *v, int key, int other, uint32_t *id)
{
    const quern__gguf_value *a = &v->k->v[key], *b = &v->k->v[other];
    if (!a->there && !b->there)
        return quern__fail(v->k->err, QUERN_EUNSUPPORTED, 0, "%s: no %s in it", v->k->p->name,
                           quern__gguf_key_name(key));
    if (a->there && b->there && a->bits != b->bits)
        return quern__gguf_refuse(v->k, key, "and the other name for that token differ");
    const uint64_t bits = a->there ? a->bits : b->bits;
    if (bits >= v->n)
        return quern__gguf_refuse(v->k, a->there ? key : other, "is no token");
    *id = (uint32_t)bits;
    return QUERN_OK;
}

/* ---- writing ---- */

static void put_type(quern__jsonw *j, const char *type)
{
    quern__jsonw_object(j);
    quern__jsonw_put_cstr(j, "type", type);
}

static void put_added(const vocab *v, quern__jsonw *j)
{
    quern__jsonw_key(j, "added_tokens");
    quern__jsonw_array(j);
    for (uint32_t i = 0; i < v->n; i++) {
        const int kind = kind_of(v, i);
        if (kind != CONTROL && kind != UNKNOWN && v->mask != i)
            continue;
        quern__jsonw_object(j);
        quern__jsonw_put_u64(j, "id", i);
        quern__jsonw_put_str(j, "content", v->piece[i]);
        quern__jsonw_put_bool(j, "single_word", false);
        quern__jsonw_put_bool(j, "lstrip", v->mask == i);
        quern__jsonw_put_bool(j, "rstrip", false);
        quern__jsonw_put_bool(j, "normalized", false);
        quern__jsonw_put_bool(j, "special", true);
        quern__jsonw_end_object(j);
    }
    quern__jsonw_end_array(j);
}

/* One token in front of a text and one behind it, as all models of the architecture have it. */
static int put_template(const vocab *v, const char *type, quern__jsonw *j)
{
    static const int flags[] = {QUERN__GGUF_ADD_BOS, QUERN__GGUF_ADD_EOS, QUERN__GGUF_ADD_SEP};
    const quern__gguf_value *at = v->k->v;
    uint32_t cls = 0, sep = 0;
    int rc = find_special(v, QUERN__GGUF_BOS, QUERN__GGUF_CLS, &cls);
    if (rc == QUERN_OK)
        rc = find_special(v, QUERN__GGUF_EOS, QUERN__GGUF_SEPARATOR, &sep);
    if (rc == QUERN_OK && at[flags[0]].there && !at[flags[0]].bits)
        rc = quern__gguf_refuse(v->k, flags[0], "is false, which is not supported");
    if (rc == QUERN_OK && at[flags[1]].there && !at[flags[1]].bits &&
        !(at[flags[2]].there && at[flags[2]].bits))
        rc = quern__gguf_refuse(v->k, flags[1], "is false, which is not supported");
    if (rc)
        return rc;
    quern__jsonw_key(j, "post_processor");
    put_type(j, type);
    if (strcmp(type, "RobertaProcessing") == 0) {
        quern__jsonw_put_bool(j, "trim_offsets", true);
        quern__jsonw_put_bool(j, "add_prefix_space", false);
    }
    for (int i = 0; i < 2; i++) {
        quern__jsonw_key(j, i ? "sep" : "cls");
        quern__jsonw_array(j);
        quern__jsonw_str(j, v->piece[i ? sep : cls]);
        quern__jsonw_u64(j, i ? sep : cls);
        quern__jsonw_end_array(j);
    }
    quern__jsonw_end_object(j);
    return QUERN_OK;
}

/* ---- WordPiece ---- */

static bool is_ideograph(uint32_t c)
{
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
           (c >= 0x20000 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) ||
           (c >= 0x2F800 && c <= 0x2FA1F);
}

/* A capital, or a letter of Latin-1 that the normaliser would have taken apart. */
static bool is_cased(uint32_t c)
{
    return (c >= 'A' && c <= 'Z') ||
           (c >= 0xC0 && c <= 0xFF && c != 0xC6 && c != 0xD0 && c != 0xD7 && c != 0xD8 &&
            c != 0xDE && c != 0xDF && c != 0xE6 && c != 0xF0 && c != 0xF7 && c != 0xF8 &&
            c != 0xFE);
}

/* A piece that no text could reach, had the tokenizer the ways that are assumed. */
static int check_piece(const vocab *v, uint32_t i, quern_str piece, bool lower_said)
{
    uint32_t cp, n = 0;
    bool ideograph = false, cased = false, bad;
    if (!piece.len)
        return piece_fail(v, i, QUERN_EFORMAT, "is empty");
    for (size_t at = 0; at < piece.len; n++) {
        at += quern__utf8_next(piece.ptr + at, piece.len - at, &cp, &bad);
        ideograph = ideograph || is_ideograph(cp);
        cased = cased || is_cased(cp);
    }
    if (ideograph && n > 1)
        return piece_fail(v, i, QUERN_EUNSUPPORTED,
                          "shows that ideographs are no words of their own");
    if (cased && !lower_said && piece.ptr[0] != '[')
        return piece_fail(v, i, QUERN_EUNSUPPORTED,
                          "is not lower-case, and no normalizer.lowercase is said");
    return QUERN_OK;
}

static int put_word_pieces(const vocab *v, quern__jsonw *j, quern__buf *room)
{
    int rc = QUERN_OK;
    for (uint32_t i = 0; rc == QUERN_OK && i < v->n; i++) {
        const int kind = kind_of(v, i);
        quern_str piece = v->piece[i];
        if (kind == UNUSED)
            continue;
        const bool whole = kind == NORMAL && begins(piece, BLANK);
        quern__buf_clear(room);
        if (kind == NORMAL && !whole)
            quern__buf_puts(room, "##");
        if (whole)
            piece = (quern_str){piece.ptr + strlen(BLANK), piece.len - strlen(BLANK)};
        if (kind == NORMAL)
            rc = check_piece(v, i, piece, v->k->v[QUERN__GGUF_LOWER].there);
        quern__buf_append(room, piece.ptr, piece.len);
        if (rc == QUERN_OK)
            rc = quern__buf_ok(room, "a token", v->k->err);
        if (rc == QUERN_OK) {
            quern__jsonw_key_str(j, (quern_str){room->data, room->len});
            quern__jsonw_u64(j, i);
        }
    }
    return rc;
}

static int put_wordpiece(const vocab *v, quern__jsonw *j)
{
    const quern__gguf_value *lower = &v->k->v[QUERN__GGUF_LOWER],
                            *strip = &v->k->v[QUERN__GGUF_STRIP];
    quern__buf room;
    uint32_t unknown = 0;
    int rc = find_special(v, QUERN__GGUF_UNKNOWN, QUERN__GGUF_UNKNOWN, &unknown);
    if (rc)
        return rc;
    quern__jsonw_key(j, "normalizer");
    put_type(j, "BertNormalizer");
    quern__jsonw_put_bool(j, "clean_text", true);
    quern__jsonw_put_bool(j, "handle_chinese_chars", true);
    quern__jsonw_put_bool(j, "lowercase", !lower->there || lower->bits);
    quern__jsonw_put_bool(j, "strip_accents",
                          strip->there ? strip->bits : !lower->there || lower->bits);
    quern__jsonw_end_object(j);
    quern__jsonw_key(j, "pre_tokenizer");
    put_type(j, "BertPreTokenizer");
    quern__jsonw_end_object(j);
    rc = put_template(v, "BertProcessing", j);
    if (rc)
        return rc;
    quern__jsonw_key(j, "model");
    put_type(j, "WordPiece");
    quern__jsonw_put_str(j, "unk_token", v->piece[unknown]);
    quern__jsonw_put_cstr(j, "continuing_subword_prefix", "##");
    quern__jsonw_put_u64(j, "max_input_chars_per_word", 100);
    quern__jsonw_key(j, "vocab");
    quern__jsonw_object(j);
    quern__buf_init(&room, 1 << 16);
    rc = put_word_pieces(v, j, &room);
    quern__buf_dispose(&room);
    quern__jsonw_end_object(j);
    quern__jsonw_end_object(j);
    return rc;
}

/* ---- the other two ---- */

/* Keys of WordPiece's normaliser have no meaning here. */
static int check_plain(const vocab *v)
{
    for (int key = QUERN__GGUF_LOWER; key <= QUERN__GGUF_STRIP; key++)
        if (v->k->v[key].there && v->k->v[key].bits)
            return quern__gguf_refuse(v->k, key, "is true, which this tokenizer has not");
    return QUERN_OK;
}

/* RoBERTa's and XLM-R's mask takes the blank before it. */
static int find_mask(vocab *v)
{
    const quern__gguf_value *mask = &v->k->v[QUERN__GGUF_MASK];
    if (mask->there && mask->bits >= v->n)
        return quern__gguf_refuse(v->k, QUERN__GGUF_MASK, "is no token");
    if (mask->there)
        v->mask = (int64_t)mask->bits;
    if (mask->there &&
        kind_of(v, (uint32_t)v->mask) == UNUSED) /* its SentencePiece model has none */
        v->piece[v->mask] = quern_str_of("<mask>");
    return QUERN_OK;
}

static int put_byte_level(vocab *v, quern__jsonw *j)
{
    const quern__gguf_value *at = v->k->v;
    quern_str *merges = NULL;
    uint32_t n = 0;
    int rc = check_plain(v);
    if (rc == QUERN_OK &&
        !(at[QUERN__GGUF_PRE].there && (quern__str_is(at[QUERN__GGUF_PRE].text, "roberta-bpe") ||
                                        quern__str_is(at[QUERN__GGUF_PRE].text, "gpt-2"))))
        rc = quern__gguf_refuse(v->k, QUERN__GGUF_PRE, "is none of roberta-bpe and gpt-2");
    if (rc == QUERN_OK && at[QUERN__GGUF_PREFIX].there && at[QUERN__GGUF_PREFIX].bits)
        rc = quern__gguf_refuse(v->k, QUERN__GGUF_PREFIX, "is true, which is not supported");
    if (rc == QUERN_OK && !at[QUERN__GGUF_MERGES].there)
        rc = quern__gguf_refuse(v->k, QUERN__GGUF_MERGES, "is missing");
    if (rc == QUERN_OK)
        rc = find_mask(v);
    if (rc == QUERN_OK)
        rc = read_texts(v->k, QUERN__GGUF_MERGES, &merges, &n);
    if (rc == QUERN_OK) {
        quern__jsonw_key(j, "pre_tokenizer");
        put_type(j, "ByteLevel");
        quern__jsonw_put_bool(j, "add_prefix_space", false);
        quern__jsonw_put_bool(j, "trim_offsets", true);
        quern__jsonw_put_bool(j, "use_regex", true);
        quern__jsonw_end_object(j);
        rc = put_template(v, "RobertaProcessing", j);
    }
    if (rc == QUERN_OK) {
        quern__jsonw_key(j, "model");
        put_type(j, "BPE");
        quern__jsonw_key(j, "vocab");
        quern__jsonw_object(j);
        for (uint32_t i = 0; i < v->n; i++)
            if (kind_of(v, i) != UNUSED || v->mask == i) {
                quern__jsonw_key_str(j, v->piece[i]);
                quern__jsonw_u64(j, i);
            }
        quern__jsonw_end_object(j);
        quern__jsonw_key(j, "merges");
        quern__jsonw_array(j);
        for (uint32_t i = 0; i < n; i++)
            quern__jsonw_str(j, merges[i]);
        quern__jsonw_end_array(j);
        quern__jsonw_end_object(j);
    }
    quern__free(merges);
    return rc;
}

/* RFC 4648, as a string of JSON. */
static void put_base64(quern__jsonw *j, const uint8_t *data, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    quern__buf *out = j->out;
    quern__buf_putc(out, '"');
    for (size_t i = 0; i < n; i += 3) {
        const size_t more = n - i > 2 ? 2 : n - i - 1;
        const uint32_t bits = (uint32_t)data[i] << 16 | (more ? (uint32_t)data[i + 1] << 8 : 0) |
                              (more > 1 ? data[i + 2] : 0);
        for (size_t d = 0; d < 4; d++)
            quern__buf_putc(out, d <= more + 1 ? digits[bits >> (18 - 6 * d) & 63] : '=');
    }
    quern__buf_putc(out, '"');
    j->after_key = false;
}

static void put_normalizer(const vocab *v, quern__jsonw *j)
{
    const quern__gguf_value *map = &v->k->v[QUERN__GGUF_CHARSMAP];
    quern__jsonw_key(j, "normalizer");
    put_type(j, "Sequence");
    quern__jsonw_key(j, "normalizers");
    quern__jsonw_array(j);
    if (map->there && map->n) {
        put_type(j, "Precompiled");
        quern__jsonw_key(j, "precompiled_charsmap");
        put_base64(j, v->k->p->data + map->at, (size_t)map->n);
        quern__jsonw_end_object(j);
    }
    put_type(j, "Strip");
    quern__jsonw_put_bool(j, "strip_left", false);
    quern__jsonw_put_bool(j, "strip_right", true);
    quern__jsonw_end_object(j);
    put_type(j, "Replace");
    quern__jsonw_key(j, "pattern");
    quern__jsonw_object(j);
    quern__jsonw_put_cstr(j, "Regex", " {2,}");
    quern__jsonw_end_object(j);
    quern__jsonw_put_cstr(j, "content", BLANK);
    quern__jsonw_end_object(j);
    quern__jsonw_end_array(j);
    quern__jsonw_end_object(j);
}

/* The keys about white space are not asked: what the converter writes depends on the file that it read, and all such models
 * are XLM-R's, whose first tokens these are. */
static int put_unigram(vocab *v, quern__jsonw *j)
{
    static const char *const first[] = {"<s>", "<pad>", "</s>", "<unk>"};
    const quern__gguf_value *scores = &v->k->v[QUERN__GGUF_SCORES];
    int rc = check_plain(v);
    for (uint32_t i = 0; rc == QUERN_OK && i < QUERN__COUNT(first); i++)
        if (i >= v->n || !quern__str_is(v->piece[i], first[i]))
            rc = quern__gguf_refuse(v->k, QUERN__GGUF_TOKENS,
                                    "does not begin with <s>, <pad>, </s>, <unk>, as XLM-R's");
    if (rc == QUERN_OK && (!scores->there || scores->n != v->n))
        rc = quern__gguf_refuse(v->k, QUERN__GGUF_SCORES, "is not one for each token");
    if (rc == QUERN_OK)
        rc = find_mask(v);
    if (rc)
        return rc;
    put_normalizer(v, j);
    quern__jsonw_key(j, "pre_tokenizer");
    put_type(j, "Metaspace");
    quern__jsonw_put_cstr(j, "replacement", BLANK);
    quern__jsonw_put_cstr(j, "prepend_scheme", "always");
    quern__jsonw_put_bool(j, "split", true);
    quern__jsonw_end_object(j);
    rc = put_template(v, "BertProcessing", j);
    if (rc)
        return rc;
    quern__jsonw_key(j, "model");
    put_type(j, "Unigram");
    quern__jsonw_put_u64(j, "unk_id", 3);
    quern__jsonw_key(j, "vocab");
    quern__jsonw_array(j);
    for (uint32_t i = 0; i < v->n; i++) {
        float score;
        memcpy(&score, v->k->p->data + scores->at + 4 * (size_t)i, sizeof score);
        quern__jsonw_array(j);
        quern__jsonw_str(j, v->piece[i]);
        quern__jsonw_double(j, v->mask == i ? 0 : (double)score);
        quern__jsonw_end_array(j);
    }
    quern__jsonw_end_array(j);
    quern__jsonw_end_object(j);
    return QUERN_OK;
}

int quern__gguf_tokenizer(const quern__gguf_keys *k, quern__buf *out)
{
    const quern_str model = k->v[QUERN__GGUF_MODEL].text;
    const int kind = quern__str_is(model, "bert")   ? 0
                     : quern__str_is(model, "gpt2") ? 1
                     : quern__str_is(model, "t5")   ? 2
                                                    : -1;
    vocab v;
    quern__jsonw j;
    if (kind < 0)
        return quern__gguf_refuse(k, QUERN__GGUF_MODEL, "is none of bert, gpt2 and t5");
    int rc = open_vocab(&v, k);
    quern__jsonw_init(&j, out);
    quern__jsonw_object(&j);
    if (rc == QUERN_OK)
        rc = kind == 0   ? put_wordpiece(&v, &j)
             : kind == 1 ? put_byte_level(&v, &j)
                         : put_unigram(&v, &j);
    if (rc == QUERN_OK)
        put_added(&v, &j);
    quern__jsonw_end_object(&j);
    if (rc == QUERN_OK)
        rc = quern__buf_ok(out, "the vocabulary of a GGUF file", k->err);
    quern__free(v.piece);
    return rc;
}
