/*
 * tokenizer_spiece.c — SentencePiece's own file (spiece.model, sentencepiece.bpe.model): a protocol
 * buffer, read here without a schema compiler or a tree. It is walked twice, because the settings come
 * behind the pieces. The meaning is that of the reference's conversion: ids of XLM-R are those of the
 * file moved by one, T5 has a hundred more at its end. A field that is known must have its own wire
 * type; unknown ones are passed over; a group, a length beyond the end, a model that is not unigram are
 * refused with the byte.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "text/utf8.h"
#include "tokenizer/tokenizer_classic.h"

enum wire { VARINT, FIXED64, BYTES, FIXED32 = 5 };
enum { BYTES_PER_PIECE = 16, MAX_EXTRA = 1000, XLM_R_FIRST = 3 };
enum type { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

/* A message: the bytes [at, end) of the file. */
struct message {
    const char *file;
    const uint8_t *data;
    size_t at, end;
};

struct field {
    uint64_t number, value; /* value: of VARINT and FIXED32 */
    int wire;
    size_t at, end; /* of BYTES */
};

static int damaged(const struct message *m, const char *what, quern_error *err)
{
    return quern__fail(err, QUERN_EFORMAT, (int64_t)m->at, "%s: %s at byte %zu", m->file, what,
                       m->at);
}

static int read_varint(struct message *m, uint64_t *out, quern_error *err)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (m->at == m->end)
            return damaged(m, "a number that is cut off", err);
        uint8_t byte = m->data[m->at++];
        if (shift == 63 && byte > 1)
            break;
        *out |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return QUERN_OK;
    }
    return damaged(m, "a number of more than 64 bits", err);
}

/* 1: a field; 0: the end; negative: an error. */
static int next_field(struct message *m, struct field *f, quern_error *err)
{
    uint64_t key, size = 0;
    if (m->at == m->end)
        return 0;
    int rc = read_varint(m, &key, err);
    if (rc != QUERN_OK)
        return rc;
    f->number = key >> 3;
    f->wire = (int)(key & 7);
    f->value = 0;
    if (f->number == 0)
        return damaged(m, "a field without number", err);
    if (f->wire == VARINT)
        rc = read_varint(m, &f->value, err);
    else if (f->wire == FIXED64 || f->wire == FIXED32)
        size = f->wire == FIXED64 ? 8 : 4;
    else if (f->wire == BYTES)
        rc = read_varint(m, &size, err);
    else
        return damaged(m, "a field of a wire type that is not read", err);
    if (rc != QUERN_OK)
        return rc;
    if (size > m->end - m->at)
        return damaged(m, "a field that ends behind the end", err);
    for (unsigned i = 0; f->wire == FIXED32 && i < 4; i++)
        f->value |= (uint64_t)m->data[m->at + i] << 8 * i;
    f->at = m->at;
    m->at += size;
    f->end = m->at;
    return 1;
}

static int need(const struct message *m, const struct field *f, enum wire wire, quern_error *err)
{
    return f->wire == (int)wire ? QUERN_OK : damaged(m, "a field of the wrong wire type", err);
}

/* ---- the settings ---- */

struct reader {
    quern__classic c;
    uint64_t model_type, unk_id;
    uint32_t n; /* pieces so far */
    bool trainer, normalizer;
};

static int read_trainer(struct reader *r, struct message m, quern_error *err)
{
    enum { MODEL_TYPE = 3, UNK_ID = 40, FALLBACK = 35 };
    struct field f = {0, 0, 0, 0, 0};
    int more, rc = QUERN_OK;
    if (r->trainer)
        return damaged(&m, "a second trainer_spec", err);
    r->trainer = true;
    while (rc == QUERN_OK && (more = next_field(&m, &f, err)) != 0) {
        if (more < 0)
            return more;
        if (f.number != MODEL_TYPE && f.number != UNK_ID && f.number != FALLBACK)
            continue;
        rc = need(&m, &f, VARINT, err);
        if (f.number == MODEL_TYPE)
            r->model_type = f.value;
        else if (f.number == UNK_ID)
            r->unk_id = f.value;
        else if (rc == QUERN_OK && f.value)
            rc = damaged(&m, "byte_fallback, which is not supported from this file,", err);
    }
    if (rc == QUERN_OK && r->model_type != 1)
        rc = damaged(&m, "a model that is not unigram, which is not supported,", err);
    return rc;
}

static int read_normalizer(struct reader *r, struct message m, quern_error *err)
{
    enum { CHARSMAP = 2, DUMMY_PREFIX = 3, EXTRA_SPACES = 4, ESCAPE = 5 };
    quern__normalizer *n = &r->c.d.t->segments.normalizer;
    struct field f = {0, 0, 0, 0, 0};
    int more, rc = QUERN_OK;
    if (r->normalizer)
        return damaged(&m, "a second normalizer_spec", err);
    r->normalizer = true;
    while (rc == QUERN_OK && (more = next_field(&m, &f, err)) != 0) {
        if (more < 0)
            return more;
        if (f.number >= DUMMY_PREFIX && f.number <= ESCAPE) {
            rc = need(&m, &f, VARINT, err);
            if (rc == QUERN_OK && !f.value)
                rc = damaged(&m,
                             "a normalizer without dummy prefix, removal or escape of blanks, "
                             "which is not supported,",
                             err);
        } else if (f.number == CHARSMAP && (rc = need(&m, &f, BYTES, err)) == QUERN_OK &&
                   f.end > f.at) {
            if (n->charsmap.bytes)
                return damaged(&m, "a second precompiled_charsmap", err);
            char *bytes = quern__alloc(f.end - f.at);
            if (!bytes)
                return quern__fail_memory(err, f.end - f.at);
            memcpy(bytes, m.data + f.at, f.end - f.at);
            const char *why = quern__charsmap_open(&n->charsmap, bytes, f.end - f.at);
            if (why)
                return quern__fail(err, QUERN_EFORMAT, (int64_t)f.at,
                                   "%s: precompiled_charsmap %s, at byte %zu", m.file, why, f.at);
        }
    }
    return rc;
}

/* ---- the pieces ---- */

static int add_piece(struct reader *r, const char *name, quern_error *err)
{
    return quern__draft_scored(&r->c.d, quern_str_of(name), 0, 0, err);
}

/* Control pieces and those that the user defined are added tokens, too. */
static int add_token(struct reader *r, quern_str piece, const char *file, size_t at,
                     quern_error *err)
{
    struct quern__draft_added a = {{piece, -1, file, at}, false, false, false, false};
    int rc = quern__draft_keep(&r->c.d, &a.name.name, err);
    return rc == QUERN_OK ? quern__classic_add(&r->c, a, err) : rc;
}

static int read_piece(struct reader *r, struct message m, quern_error *err)
{
    static const char *const first[] = {"<unk>", "<s>", "</s>"};
    enum { PIECE = 1, SCORE, TYPE };
    struct field f = {0, 0, 0, 0, 0};
    quern_str piece = {"", 0};
    size_t start = m.at;
    uint64_t type = NORMAL;
    float score = 0;
    int more, rc = QUERN_OK;
    while (rc == QUERN_OK && (more = next_field(&m, &f, err)) != 0) {
        if (more < 0)
            return more;
        if (f.number == PIECE && (rc = need(&m, &f, BYTES, err)) == QUERN_OK) {
            piece = (quern_str){(const char *)m.data + f.at, f.end - f.at};
        } else if (f.number == SCORE && (rc = need(&m, &f, FIXED32, err)) == QUERN_OK) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&score, &bits, sizeof score);
        } else if (f.number == TYPE && (rc = need(&m, &f, VARINT, err)) == QUERN_OK) {
            type = f.value;
        }
    }
    m.at = start;
    if (rc != QUERN_OK)
        return rc;
    if (!isfinite(score))
        return damaged(&m, "a score that is not finite", err);
    if (piece.len == 0 || quern__utf8_check(piece.ptr, piece.len) != piece.len)
        return damaged(&m, "a piece that is empty or not UTF-8", err);
    if (type < NORMAL || type > UNUSED)
        return damaged(&m, "a piece of a type that is not supported", err);
    uint32_t number = r->n++;
    if (r->c.family->offset && number < XLM_R_FIRST) {
        if (!quern__str_is(piece, first[number]))
            return damaged(&m, "a model of XLM-R that does not begin with <unk>, <s>, </s>", err);
        return QUERN_OK; /* the caller has put these in their places */
    }
    rc = quern__draft_scored(&r->c.d, piece, (double)score, start, err);
    if (rc == QUERN_OK && (type == CONTROL || type == USER_DEFINED))
        rc = add_token(r, piece, m.file, start, err);
    return rc;
}

/* One walk over the file: the settings, or the pieces. */
static int walk(struct reader *r, struct message m, bool pieces, quern_error *err)
{
    enum { PIECES = 1, TRAINER, NORMALIZER };
    struct field f = {0, 0, 0, 0, 0};
    int more, rc = QUERN_OK;
    while (rc == QUERN_OK && (more = next_field(&m, &f, err)) != 0) {
        if (more < 0)
            return more;
        if (f.number > NORMALIZER)
            continue;
        struct message inner = {m.file, m.data, f.at, f.end};
        rc = need(&m, &f, BYTES, err);
        if (rc != QUERN_OK)
            return rc;
        if (f.number == PIECES && pieces)
            rc = read_piece(r, inner, err);
        else if (f.number == TRAINER && !pieces)
            rc = read_trainer(r, inner, err);
        else if (f.number == NORMALIZER && !pieces)
            rc = read_normalizer(r, inner, err);
    }
    return rc;
}

static int read_pieces(struct reader *r, struct message m, quern_error *err)
{
    static const char *const first[] = {"<s>", "<pad>", "</s>", "<unk>"};
    bool offset = r->c.family->offset;
    int rc = QUERN_OK;
    for (size_t i = 0; offset && rc == QUERN_OK && i < QUERN__COUNT(first); i++)
        rc = add_piece(r, first[i], err);
    if (rc == QUERN_OK)
        rc = walk(r, m, true, err);
    if (rc == QUERN_OK && offset)
        return add_piece(r, "<mask>", err);
    if (r->c.extra_ids > MAX_EXTRA)
        return quern__fail(err, QUERN_EFORMAT, 0, "%s: extra_ids of more than %d, at byte 0",
                           m.file, MAX_EXTRA);
    for (uint64_t i = r->c.extra_ids; rc == QUERN_OK && i-- > 0;) {
        struct quern__draft_added a = {{{NULL, 0}, -1, m.file, 0}, true, true, false, false};
        char name[32];
        snprintf(name, sizeof name, "<extra_id_%llu>", (unsigned long long)i);
        a.name.name = quern_str_of(name);
        rc = add_piece(r, name, err);
        if (rc == QUERN_OK)
            rc = quern__draft_keep(&r->c.d, &a.name.name, err);
        if (rc == QUERN_OK)
            rc = quern__classic_add(&r->c, a, err);
    }
    return rc;
}

/* What the reference's conversion puts around such a model. */
static int surround(struct reader *r, const char *config, quern_error *err)
{
    quern__segments *s = &r->c.d.t->segments;
    quern__normalizer *n = &s->normalizer;
    if (r->c.prefix_said && !r->c.prefix)
        return quern__fail(err, QUERN_EFORMAT, 0,
                           "%s: add_prefix_space false is not supported for this class at byte 0",
                           config);
    if (n->charsmap.bytes)
        n->steps[n->n++].kind = QUERN__STEP_CHARSMAP;
    n->steps[n->n].right = true;
    n->steps[n->n++].kind = QUERN__STEP_STRIP;
    n->steps[n->n].n_content = 1;
    n->steps[n->n].content[0] = QUERN__UNIGRAM_BLANK;
    n->steps[n->n++].kind = QUERN__STEP_BLANKS;
    s->blanks.split = true;
    s->blanks.prefix = r->c.legacy ? QUERN__PREFIX_ALWAYS : QUERN__PREFIX_FIRST;
    return QUERN_OK;
}

static int check_unknown(struct reader *r, const struct message *m, quern_error *err)
{
    quern__unigram *u = &r->c.d.t->unigram;
    uint64_t unk = r->c.family->offset ? XLM_R_FIRST : r->unk_id;
    if (unk >= u->n)
        return quern__fail(err, QUERN_EFORMAT, 0, "%s: no piece has the unk_id, at byte 0",
                           m->file);
    u->unk = (int32_t)unk;
    return QUERN_OK;
}

int quern__tokenizer_from_spiece(quern__tokenizer **out, const quern__spiece_files *files,
                                 quern_error *err)
{
    struct reader r;
    struct message m = {files->model_name, (const uint8_t *)files->model.ptr, 0, files->model.len};
    *out = NULL;
    memset(&r, 0, sizeof r);
    r.model_type = 1; /* what an absent field means */
    int rc = quern__draft_begin(&r.c.d, files->model_name, err);
    if (rc != QUERN_OK)
        goto done;
    r.c.d.t->kind = QUERN__TOKENIZER_UNIGRAM;
    rc = quern__classic_config(&r.c, QUERN__CLASSIC_SPIECE, files->config_name, files->config,
                               files->map_name, files->map, err);
    if (rc == QUERN_OK)
        rc = quern__vocab_reserve(&r.c.d.t->vocab, (uint32_t)(m.end / BYTES_PER_PIECE), err);
    if (rc == QUERN_OK)
        rc = walk(&r, m, false, err);
    if (rc == QUERN_OK && !r.trainer)
        rc = damaged(&m, "no trainer_spec: not a whole SentencePiece model", err);
    if (rc == QUERN_OK)
        rc = read_pieces(&r, m, err);
    if (rc == QUERN_OK)
        rc = check_unknown(&r, &m, err);
    if (rc == QUERN_OK)
        rc = quern__classic_names(&r.c, err);
    if (rc == QUERN_OK)
        rc = surround(&r, files->config_name, err);
    if (rc == QUERN_OK)
        rc = quern__draft_finish(&r.c.d, out, err);
    if (rc == QUERN_OK)
        (*out)->model_max_length = r.c.length;
done:
    quern__draft_dispose(&r.c.d);
    return rc;
}
