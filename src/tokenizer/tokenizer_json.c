/*
 * tokenizer_json.c — reads tokenizer.json as Hugging Face writes it, in one pass and without a tree.
 * Whatever changes ids and is not understood is refused by name: a normaliser, pre-tokeniser or
 * model of another type, an unknown key, an added token with a flag that is not supported. What
 * does not change ids here is validated and passed over: truncation and padding (the model's
 * length is decided elsewhere), the decoder, the template for pairs.
 */
#include <string.h>

#include "base/compiler.h"
#include "tokenizer/tokenizer_json.h"

enum { BYTES_PER_PIECE = 15 /* of tokenizer.json, for a first guess */ };

int quern__reader_kept(quern__json_reader *r, quern_str *out, quern_error *err)
{
    int rc = quern__json_string(&r->j, out, err);
    return rc == QUERN_OK ? quern__draft_keep(&r->d, out, err) : rc;
}

int quern__reader_missing(quern__json_reader *r, const char *part, const char *const *names,
                          uint32_t seen, uint32_t needed, quern_error *err)
{
    for (int i = 0; names[i]; i++)
        if (needed & ~seen & 1u << i)
            return quern__json_fail(&r->j, err, "%s without '%s',", part, names[i]);
    return QUERN_OK;
}

static int read_added_tokens(quern__json_reader *r, quern_error *err)
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

/* ---- the model ---- */

/* A score as the reference's JSON reader has it: the digits as one whole number, divided by a power of
 * ten, which is now and then one bit off the nearest double and decides between ways of equal score. */
static double read_digits(const char *s, const char *end, double nearest)
{
    static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                  1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    uint64_t digits = 0;
    uint32_t after = 0;
    bool minus = s < end && *s == '-', point = false;
    for (s += minus; s < end; s++) {
        uint64_t digit = (uint64_t)(*s - '0');
        if (*s == '.') {
            point = true;
            continue;
        }
        if (*s < '0' || *s > '9')
            return nearest; /* an exponent */
        if (digits > (UINT64_MAX - digit) / 10) {
            if (!point)
                return nearest;
            break; /* what does not fit is dropped */
        }
        digits = digits * 10 + digit;
        after += point;
    }
    if (after >= QUERN__COUNT(tens))
        return nearest;
    double value = (double)digits / tens[after];
    return minus ? -value : value;
}

/* [["piece", score], …]: the vocabulary of a unigram model. */
static int read_scored(quern__json_reader *r, quern_error *err)
{
    char copy[QUERN__VOCAB_MAX_PIECE + 2];
    quern_str piece = {NULL, 0};
    size_t at = r->j.at;
    double score = 0;
    int rc = quern__json_enter_array(&r->j, err);
    if (rc == QUERN_OK && (rc = quern__json_next_item(&r->j, err)) == 1)
        rc = quern__json_string(&r->j, &piece, err);
    else if (rc == 0)
        rc = quern__json_fail(&r->j, err, "a piece without a score,");
    if (rc == QUERN_OK) { /* the next value may reuse its place; too long is refused below */
        piece.len = QUERN__MIN(piece.len, sizeof copy);
        memcpy(copy, piece.len ? piece.ptr : "", piece.len);
        piece.ptr = copy;
        rc = quern__json_next_item(&r->j, err);
    }
    if (rc == 1) {
        quern__json_peek(&r->j);
        const char *digits = r->j.text + r->j.at;
        rc = quern__json_double(&r->j, &score, err);
        score = read_digits(digits, r->j.text + r->j.at, score);
    } else if (rc == 0) {
        rc = quern__json_fail(&r->j, err, "a piece without a score,");
    }
    if (rc == QUERN_OK && (rc = quern__json_next_item(&r->j, err)) == 1)
        rc = quern__json_fail(&r->j, err, "a piece with more than a score,");
    return rc == QUERN_OK ? quern__draft_scored(&r->d, piece, score, at, err) : rc;
}

static int read_scored_pieces(quern__json_reader *r, quern_error *err)
{
    int more, rc = quern__json_enter_array(&r->j, err);
    r->d.t->kind = QUERN__TOKENIZER_UNIGRAM;
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_item(&r->j, err)) == 1)
        if ((rc = read_scored(r, err)) != QUERN_OK)
            return rc;
    return more;
}

static int read_vocab(quern__json_reader *r, quern_error *err)
{
    int rc = quern__vocab_reserve(&r->d.t->vocab,
                                  (uint32_t)((r->j.len - r->j.at) / BYTES_PER_PIECE), err);
    if (rc != QUERN_OK)
        return rc;
    return quern__json_peek(&r->j) == QUERN__JSON_ARRAY
               ? read_scored_pieces(r, err)
               : quern__draft_read_pieces(&r->d, &r->j, err);
}

static int read_prefix(quern__json_reader *r, quern_error *err)
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

/* ["a b", …] or [["a", "b"], …], once the vocabulary is known. */
static int read_merge(quern__json_reader *r, quern_error *err)
{
    quern_str left = {NULL, 0}, right = {NULL, 0};
    size_t at = r->j.at;
    int rc;
    if (quern__json_peek(&r->j) == QUERN__JSON_STRING) {
        rc = quern__json_string(&r->j, &left, err);
        if (rc != QUERN_OK)
            return rc;
        const char *gap = left.len ? memchr(left.ptr, ' ', left.len) : NULL;
        if (!gap || memchr(gap + 1, ' ', (size_t)(left.ptr + left.len - gap - 1)))
            return quern__json_fail(&r->j, err, "a merge that is not two parts,");
        right.ptr = gap + 1;
        right.len = (size_t)(left.ptr + left.len - gap - 1);
        left.len = (size_t)(gap - left.ptr);
    } else {
        char first[QUERN__VOCAB_MAX_PIECE + 1];
        rc = quern__json_enter_array(&r->j, err);
        if (rc == QUERN_OK && (rc = quern__json_next_item(&r->j, err)) == 1)
            rc = quern__json_string(&r->j, &left, err);
        else if (rc == 0)
            rc = quern__json_fail(&r->j, err, "a merge that is not two parts,");
        if (rc == QUERN_OK && left.len >= sizeof first)
            rc = quern__json_fail(&r->j, err, "a part of a merge that is longer than a piece,");
        if (rc != QUERN_OK)
            return rc;
        memcpy(first, left.len ? left.ptr : "", left.len); /* the next string may reuse its place */
        left.ptr = first;
        rc = quern__json_next_item(&r->j, err);
        if (rc == 1)
            rc = quern__json_string(&r->j, &right, err);
        else if (rc == 0)
            rc = quern__json_fail(&r->j, err, "a merge that is not two parts,");
        if (rc == QUERN_OK && (rc = quern__json_next_item(&r->j, err)) == 1)
            rc = quern__json_fail(&r->j, err, "a merge that is not two parts,");
        return rc == QUERN_OK ? quern__draft_merge(&r->d, left, right, at, err) : rc;
    }
    return quern__draft_merge(&r->d, left, right, at, err);
}

static int read_merges(quern__json_reader *r, quern_error *err)
{
    size_t end = r->j.at;
    r->j.at = r->merges_at;
    int more, rc = quern__json_enter_array(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_item(&r->j, err)) == 1)
        if ((rc = read_merge(r, err)) != QUERN_OK)
            return rc;
    if (more == 0)
        r->j.at = end;
    return more;
}

enum model_key {
    TYPE,
    UNK,
    PREFIX,
    CHARS,
    VOCAB,
    DROPOUT,
    SUFFIX,
    FUSE,
    FALLBACK,
    IGNORE,
    MERGES,
    UNK_ID,
};

/* By enum quern__tokenizer_kind. */
static const char *const kinds[] = {"WordPiece", "BPE", "Unigram", NULL};

static int read_kind(quern__json_reader *r, quern_error *err)
{
    quern_str type;
    int rc = quern__json_string(&r->j, &type, err);
    if (rc != QUERN_OK)
        return rc;
    for (int i = 0; kinds[i]; i++)
        if (quern__str_is(type, kinds[i])) {
            r->said_kind = i;
            return QUERN_OK;
        }
    return quern__json_fail(&r->j, err, "a model of type '%.*s' is not supported,",
                            (int)QUERN__MIN(type.len, 80), type.ptr);
}

static int read_chars(quern__json_reader *r, quern_error *err)
{
    uint64_t chars = 0;
    int rc = quern__json_u64(&r->j, &chars, err);
    if (rc == QUERN_OK && chars > QUERN__WORDPIECE_MAX_CHARS)
        rc = quern__json_fail(&r->j, err,
                              "max_input_chars_per_word of more than %d is not supported,",
                              QUERN__WORDPIECE_MAX_CHARS);
    r->d.t->wordpiece.max_chars = (uint32_t)chars;
    return rc;
}

/* null or "": pieces have no mark at their end. */
static int read_no_suffix(quern__json_reader *r, quern_error *err)
{
    quern_str s;
    int rc = quern__json_string(&r->j, &s, err);
    if (rc == QUERN_OK && s.len)
        rc = quern__json_fail(&r->j, err, "an end_of_word_suffix is not supported,");
    return rc;
}

static int read_no_dropout(quern__json_reader *r, quern_error *err)
{
    double p = 0;
    int rc = quern__json_double(&r->j, &p, err);
    if (rc == QUERN_OK && p != 0)
        rc = quern__json_fail(&r->j, err, "a dropout other than 0 is not supported,");
    return rc;
}

static int read_model_key(quern__json_reader *r, int which, quern_error *err)
{
    if (which != TYPE && which != CHARS && quern__json_peek(&r->j) == QUERN__JSON_NULL &&
        which != VOCAB && which != MERGES)
        return quern__json_null(&r->j, err);
    switch (which) {
    case TYPE:
        return read_kind(r, err);
    case UNK:
        r->d.unk = quern__draft_unnamed(&r->j);
        return quern__reader_kept(r, &r->d.unk.name, err);
    case PREFIX:
        return read_prefix(r, err);
    case CHARS:
        return read_chars(r, err);
    case VOCAB:
        return read_vocab(r, err);
    case DROPOUT:
        return read_no_dropout(r, err);
    case SUFFIX:
        return read_no_suffix(r, err);
    case FUSE:
        return quern__json_bool(&r->j, &r->fuse_unk, err);
    case FALLBACK:
        return quern__json_bool(&r->j, &r->byte_fallback, err);
    case IGNORE:
        return quern__json_bool(&r->j, &r->d.t->bpe.ignore_merges, err);
    case UNK_ID:
        return quern__json_u64(&r->j, &r->unk_id, err);
    default: /* the vocabulary comes first, wherever it stands */
        r->merges_at = r->j.at;
        return quern__json_skip(&r->j, err);
    }
}

static int check_unigram(quern__json_reader *r, uint32_t seen, quern_error *err)
{
    quern__unigram *u = &r->d.t->unigram;
    if (!(seen & 1u << UNK_ID) || r->unk_id == UINT64_MAX)
        return quern__json_fail(&r->j, err, "a Unigram without 'unk_id' is not supported,");
    if (r->unk_id >= u->n)
        return quern__json_fail(&r->j, err, "an unk_id that is not in the vocabulary,");
    u->unk = (int32_t)r->unk_id;
    u->byte_fallback = r->byte_fallback;
    return QUERN_OK;
}

/* What the keys say about a model of this kind. */
static int check_model(quern__json_reader *r, const char *const *names, uint32_t seen,
                       quern_error *err)
{
    static const uint32_t allowed[] = {
        1u << TYPE | 1u << UNK | 1u << PREFIX | 1u << CHARS | 1u << VOCAB,
        1u << TYPE | 1u << UNK | 1u << PREFIX | 1u << VOCAB | 1u << DROPOUT | 1u << SUFFIX |
            1u << FUSE | 1u << FALLBACK | 1u << IGNORE | 1u << MERGES,
        1u << TYPE | 1u << UNK_ID | 1u << VOCAB | 1u << FALLBACK};
    static const uint32_t needed[] = {1u << UNK | 1u << PREFIX | 1u << CHARS | 1u << VOCAB,
                                      1u << VOCAB | 1u << MERGES, 1u << VOCAB};
    enum quern__tokenizer_kind *kind = &r->d.t->kind;
    if (seen & 1u << TYPE) { /* files of 2020 and 2021 have no type */
        if ((*kind == QUERN__TOKENIZER_UNIGRAM) != (r->said_kind == QUERN__TOKENIZER_UNIGRAM) &&
            seen & 1u << VOCAB)
            return quern__json_fail(&r->j, err, "a %s with another's vocabulary,",
                                    kinds[r->said_kind]);
        *kind = (enum quern__tokenizer_kind)r->said_kind;
    } else if (seen & 1u << MERGES) {
        *kind = QUERN__TOKENIZER_BPE;
    }
    for (int i = 0; names[i]; i++)
        if (seen & ~allowed[*kind] & 1u << i)
            return quern__json_fail(&r->j, err, "a %s with '%s',", kinds[*kind], names[i]);
    int rc = quern__reader_missing(r, "a model", names, seen, needed[*kind], err);
    if (rc != QUERN_OK || *kind == QUERN__TOKENIZER_WORDPIECE)
        return rc;
    if (*kind == QUERN__TOKENIZER_UNIGRAM)
        return check_unigram(r, seen, err);
    if (r->d.t->wordpiece.prefix_len)
        return quern__json_fail(&r->j, err, "a BPE with %s is not supported,", names[PREFIX]);
    return read_merges(r, err);
}

static int read_model(quern__json_reader *r, quern_error *err)
{
    /* "type" is absent in files of 2020 and 2021; the other keys tell as much. */
    static const char *const names[] = {"type",
                                        "unk_token",
                                        "continuing_subword_prefix",
                                        "max_input_chars_per_word",
                                        "vocab",
                                        "dropout",
                                        "end_of_word_suffix",
                                        "fuse_unk",
                                        "byte_fallback",
                                        "ignore_merges",
                                        "merges",
                                        "unk_id",
                                        NULL};
    uint32_t seen = 0;
    quern_str key;
    int which, more, rc = quern__json_enter_object(&r->j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_key(&r->j, &key, err)) == 1) {
        rc = quern__draft_key(&r->j, key, names, &seen, false, &which, err);
        if (rc == QUERN_OK)
            rc = read_model_key(r, which, err);
        if (rc != QUERN_OK)
            return rc;
    }
    return more < 0 ? more : check_model(r, names, seen, err);
}

/* Passed over for a model whose files say how much it reads; kept for one that has none (quern__tokenizer_cut). */
static int read_truncation(quern__json_reader *r, quern_error *err)
{
    quern_str key, direction;
    int more = 0, rc = QUERN_OK;
    if (quern__json_peek(&r->j) != QUERN__JSON_OBJECT)
        return quern__json_skip(&r->j, err);
    rc = quern__json_enter_object(&r->j, err);
    while (rc == QUERN_OK && (more = quern__json_next_key(&r->j, &key, err)) == 1) {
        if (quern__str_is(key, "max_length")) {
            rc = quern__json_u64(&r->j, &r->d.t->cut, err);
        } else if (quern__str_is(key, "direction")) {
            rc = quern__json_string(&r->j, &direction, err);
            r->d.t->cut_left = rc == QUERN_OK && !quern__str_is(direction, "Right");
        } else {
            rc = quern__json_skip(&r->j, err);
        }
    }
    return rc ? rc : more;
}

static int read_top(quern__json_reader *r, quern_error *err)
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
        case 1:
            rc = read_truncation(r, err);
            break;
        case 3:
            rc = read_added_tokens(r, err);
            break;
        case 4:
            rc = quern__reader_parts(r, "a normalizer", &r->normalizer, err);
            break;
        case 5:
            rc = quern__reader_parts(r, "a pre_tokenizer", &r->words, err);
            break;
        case 6:
            rc = quern__reader_parts(r, "a post_processor", &r->post, err);
            break;
        case 8:
            rc = read_model(r, err);
            break;
        default:
            rc = quern__json_skip(&r->j, err);
        }
    }
    return rc != QUERN_OK
               ? rc
               : quern__reader_missing(r, "a tokenizer", names, seen, 1 << 5 | 1 << 8, err);
}

int quern__tokenizer_from_json(quern__tokenizer **out, const char *file, quern_str text,
                               quern_error *err)
{
    quern__json_reader r;
    *out = NULL;
    memset(&r, 0, sizeof r);
    r.unk_id = UINT64_MAX;
    quern__json_init(&r.j, text.ptr, text.len, file);
    int rc = quern__draft_begin(&r.d, file, err);
    if (rc == QUERN_OK)
        rc = read_top(&r, err);
    if (rc == QUERN_OK)
        rc = quern__json_end(&r.j, err);
    if (rc == QUERN_OK)
        rc = quern__reader_apply_parts(&r, err);
    if (rc == QUERN_OK)
        rc = quern__reader_name_template(&r, err);
    if (rc == QUERN_OK)
        rc = quern__draft_finish(&r.d, out, err);
    quern__draft_dispose(&r.d);
    quern__json_dispose(&r.j);
    return rc;
}
