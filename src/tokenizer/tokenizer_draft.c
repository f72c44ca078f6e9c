/*
 * tokenizer_draft.c — from collected settings to a tokenizer. A name that the vocabulary lacks, two
 * tokens with one id, an id that the reference would not have given: all refused here, with the file
 * and the byte, because each would end as a wrong vector. The hash is taken over a canonical form,
 * so the two ways of writing one tokenizer down have one hash.
 */
#include "tokenizer/tokenizer_draft.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/sha256.h"
#include "text/unicode_bert.h"
#include "text/unicode_grapheme.h"
#include "text/unicode_nfc.h"
#include "text/unicode_split.h"
#include "text/utf8.h"

int quern__draft_begin(quern__draft *d, const char *file, quern_error *err)
{
    memset(d, 0, sizeof *d);
    quern__arena_init(&d->arena, QUERN__TOKENIZER_MAX_TEXT);
    d->file = file;
    d->t = quern__calloc(1, sizeof *d->t);
    if (!d->t)
        return quern__fail_memory(err, sizeof *d->t);
    quern__vocab_init(&d->t->vocab);
    d->t->wordpiece.vocab = d->t->bpe.vocab = d->t->unigram.vocab = &d->t->vocab;
    d->t->wordpiece.added = &d->t->segments.raw;
    d->t->wordpiece.framed = &d->t->segments.normal;
    return QUERN_OK;
}

void quern__draft_dispose(quern__draft *d)
{
    quern__tokenizer_free(d->t);
    d->t = NULL;
    quern__free(d->added);
    d->added = NULL;
    quern__arena_dispose(&d->arena);
}

quern__draft_name quern__draft_unnamed(const quern__json *j)
{
    return (quern__draft_name){{NULL, 0}, -1, j->name, j->at};
}

int quern__draft_refuse(const quern__draft_name *n, const char *what, const char *why,
                        quern_error *err)
{
    return quern__fail(err, QUERN_EFORMAT, (int64_t)n->at, "%s: %s '%.*s' %s at byte %zu", n->file,
                       what, (int)QUERN__MIN(n->name.len, 80), n->name.len ? n->name.ptr : "", why,
                       n->at);
}

int quern__draft_keep(quern__draft *d, quern_str *s, quern_error *err)
{
    char *copy = quern__arena_copy(&d->arena, s->ptr, s->len);
    if (!copy)
        return quern__fail(err, QUERN_ENOMEM, 0,
                           "%s: out of memory, or names of more than %d bytes", d->file,
                           QUERN__TOKENIZER_MAX_TEXT);
    s->ptr = copy;
    return QUERN_OK;
}

int quern__draft_add(quern__draft *d, struct quern__draft_added a, quern_error *err)
{
    if (d->n_added == QUERN__ADDED_MAX)
        return quern__draft_refuse(&a.name, "the added token", "is one too many (limit 1024)", err);
    if (d->n_added == d->cap_added) {
        uint32_t cap = d->cap_added ? d->cap_added * 2 : 16;
        struct quern__draft_added *grown = quern__resize_array(d->added, cap, sizeof *grown);
        if (!grown)
            return quern__fail_memory(err, cap * sizeof *grown);
        d->added = grown;
        d->cap_added = cap;
    }
    d->added[d->n_added++] = a;
    return QUERN_OK;
}

int quern__draft_piece(quern__draft *d, uint64_t id, quern_str piece, size_t at, quern_error *err)
{
    enum quern__vocab_added rc = quern__vocab_add(&d->t->vocab, id, piece, true);
    if (rc == QUERN__VOCAB_ADDED)
        return QUERN_OK;
    if (rc == QUERN__VOCAB_NO_MEMORY)
        return quern__fail_memory(err, 0);
    return quern__fail(err, QUERN_EFORMAT, (int64_t)at,
                       "%s: piece '%.*s' (id %llu): %s, at byte %zu", d->file,
                       (int)QUERN__MIN(piece.len, 80), piece.len ? piece.ptr : "",
                       (unsigned long long)id, quern__vocab_why(rc), at);
}

int quern__draft_merge(quern__draft *d, quern_str left, quern_str right, size_t at,
                       quern_error *err)
{
    enum quern__merge_added rc = quern__bpe_merge(&d->t->bpe, left, right);
    if (rc == QUERN__MERGE_ADDED)
        return QUERN_OK;
    if (rc == QUERN__MERGE_NO_MEMORY)
        return quern__fail_memory(err, 0);
    return quern__fail(err, QUERN_EFORMAT, (int64_t)at, "%s: merge '%.*s' '%.*s': %s, at byte %zu",
                       d->file, (int)QUERN__MIN(left.len, 80), left.len ? left.ptr : "",
                       (int)QUERN__MIN(right.len, 80), right.len ? right.ptr : "",
                       quern__merge_why(rc), at);
}

int quern__draft_scored(quern__draft *d, quern_str piece, double score, size_t at, quern_error *err)
{
    int rc = quern__draft_piece(d, d->t->unigram.n, piece, at, err);
    if (rc == QUERN_OK && !quern__unigram_score(&d->t->unigram, score))
        rc = quern__fail_memory(err, 0);
    return rc;
}

/* The id of a name, which must be in the vocabulary and agree with what the file says. */
static int resolve(const quern__draft *d, const char *what, const quern__draft_name *n, int32_t *id,
                   quern_error *err)
{
    const quern__vocab *v = &d->t->vocab;
    *id = quern__vocab_find(v, n->name);
    for (uint32_t i = 0; *id < 0 && i < d->n_added; i++) {
        quern_str a = d->added[i].name.name;
        if (a.len == n->name.len && memcmp(a.ptr, n->name.ptr, a.len) == 0)
            *id = (int32_t)d->added[i].name.id; /* finish has given it one */
    }
    if (*id < 0)
        return quern__draft_refuse(n, what, "is not in the vocabulary,", err);
    if (n->id >= 0 && n->id != *id)
        return quern__draft_refuse(n, what, "has another id in the vocabulary,", err);
    return QUERN_OK;
}

/* Why a name cannot be searched for in a text byte by byte as the reference finds it, or NULL. Byte-level models
 * keep every blank of a text, so that runs of them may be names. */
static const char *unsearchable(const quern__draft *d, quern_str s)
{
    const bool blanks = d->t->kind == QUERN__TOKENIZER_BPE && !d->t->bpe.points;
    uint32_t cp = 0;
    bool bad = false;
    if (s.len == 0)
        return "is empty,";
    for (size_t at = 0; at < s.len;) {
        size_t n = quern__utf8_next(s.ptr + at, s.len - at, &cp, &bad);
        if (!blanks && (at == 0 || at + n == s.len) && quern__bert_class(cp) & QUERN__BERT_SPACE)
            return "has white space at its edge,";
        if (cp == 0xFFFD) /* would match ill-formed bytes, which are not these */
            return "holds U+FFFD,";
        at += n;
    }
    return NULL;
}

/* The id that the reference gives to the next token the vocabulary lacks. */
static uint32_t next_new_id(const quern__draft *d, uint32_t in_model, uint32_t done)
{
    uint32_t id = in_model;
    for (uint32_t i = 0; i < done; i++)
        id = QUERN__MAX(id, (uint32_t)d->added[i].name.id + 1);
    return id;
}

/* What WordPiece cannot look for; NULL: it can. */
static const char *unfit_for_words(const struct quern__draft_added *a)
{
    if (a->single_word)
        return "is single_word, which is not supported,";
    if (a->normalized && (a->lstrip || a->rstrip || !quern__wordpiece_framed(a->name.name)))
        return "is normalized, which is supported only of a word between two marks, \"<unk>\",";
    return NULL;
}

/* Gives every added token its id: that of the vocabulary, or a new one. */
static int identify_added(quern__draft *d, quern_error *err)
{
    quern__vocab *v = &d->t->vocab;
    uint32_t in_model = d->t->kind == QUERN__TOKENIZER_UNIGRAM ? d->t->unigram.n : v->count;
    for (uint32_t i = 0; i < d->n_added; i++) {
        struct quern__draft_added *a = &d->added[i];
        quern_str name = a->name.name;
        const char *why = unsearchable(d, name);
        if (!why && d->t->kind == QUERN__TOKENIZER_WORDPIECE)
            why = unfit_for_words(a);
        if (why)
            return quern__draft_refuse(&a->name, "the added token", why, err);
        for (uint32_t k = 0; k < i; k++)
            if (quern__str_is(name, d->added[k].name.name.ptr))
                return quern__draft_refuse(&a->name, "the added token", "is there twice,", err);
        int32_t id = quern__vocab_find(v, name);
        if (id < 0) {
            id = (int32_t)next_new_id(d, in_model, i);
            enum quern__vocab_added rc = quern__vocab_add(v, (uint32_t)id, name, false);
            if (rc == QUERN__VOCAB_NO_MEMORY)
                return quern__fail_memory(err, name.len);
            if (rc != QUERN__VOCAB_ADDED) {
                char because[96];
                snprintf(because, sizeof because, "cannot be added (%s),", quern__vocab_why(rc));
                return quern__draft_refuse(&a->name, "the added token", because, err);
            }
        }
        if (a->name.id >= 0 && a->name.id != id)
            return quern__draft_refuse(&a->name, "the added token",
                                       "has not the id of the vocabulary,", err);
        a->name.id = id;
    }
    return QUERN_OK;
}

/* What to look for in normalised text; kept by the tokenizer. */
static int normal_content(quern__draft *d, struct quern__draft_added *a, quern_str *out,
                          quern_error *err)
{
    quern__segments *s = &d->t->segments;
    quern_str name = a->name.name;
    quern__normal work;
    if (d->t->kind == QUERN__TOKENIZER_WORDPIECE) { /* ASCII: nothing but letters change */
        char *copy = quern__arena_copy(&s->names, name.ptr, name.len);
        for (size_t i = 0; copy && d->t->wordpiece.lower && i < name.len; i++)
            copy[i] = (char)(copy[i] >= 'A' && copy[i] <= 'Z' ? copy[i] + 32 : copy[i]);
        *out = (quern_str){copy, name.len};
        return copy ? QUERN_OK : quern__fail_memory(err, name.len);
    }
    quern__normal_init(&work);
    int rc = quern__normal_run(&s->normalizer, &work, name.ptr, 0, (uint32_t)name.len, err);
    if (rc == QUERN_OK && (work.len == 0 || unsearchable(d, (quern_str){work.text, work.len})))
        rc = quern__draft_refuse(&a->name, "the added token",
                                 "is nothing to search for once normalised,", err);
    if (rc == QUERN_OK) {
        out->ptr = quern__arena_copy(&s->names, work.text, work.len);
        out->len = work.len;
        if (!out->ptr)
            rc = quern__fail_memory(err, work.len);
    }
    quern__normal_dispose(&work);
    return rc;
}

static int finish_added(quern__draft *d, quern_error *err)
{
    quern__segments *s = &d->t->segments;
    int rc = identify_added(d, err);
    if (rc != QUERN_OK)
        return rc;
    s->raw.items = quern__alloc_array(QUERN__MAX(d->n_added, 1), sizeof *s->raw.items);
    s->normal.items = quern__alloc_array(QUERN__MAX(d->n_added, 1), sizeof *s->normal.items);
    if (!s->raw.items || !s->normal.items)
        return quern__fail_memory(err, d->n_added * sizeof *s->raw.items);
    for (uint32_t i = 0; i < d->n_added; i++) { /* only now do the bytes stay where they are */
        struct quern__draft_added *a = &d->added[i];
        struct quern__piece p = d->t->vocab.pieces[a->name.id];
        quern_str content = {d->t->vocab.bytes.data + p.at, p.len};
        quern__added_set *set = a->normalized ? &s->normal : &s->raw;
        if (a->normalized && (rc = normal_content(d, a, &content, err)) != QUERN_OK)
            return rc;
        for (uint32_t k = 0; k < set->n; k++)
            if (set->items[k].len == content.len &&
                memcmp(set->items[k].content, content.ptr, content.len) == 0)
                return quern__draft_refuse(&a->name, "the added token",
                                           "is another one once normalised,", err);
        if (a->normalized && d->t->kind == QUERN__TOKENIZER_WORDPIECE &&
            set->n == QUERN__WORDPIECE_FRAMED)
            return quern__draft_refuse(&a->name, "the added token", "is one normalized too many,",
                                       err);
        set->items[set->n++] =
            (quern__added){content.ptr, (uint32_t)content.len, (int32_t)a->name.id, a->lstrip,
                           a->rstrip,   a->single_word,        a->normalized};
    }
    return QUERN_OK;
}

static void put_u32(quern__buf *b, uint64_t n)
{
    char le[4] = {(char)(n & 255), (char)(n >> 8 & 255), (char)(n >> 16 & 255),
                  (char)(n >> 24 & 255)};
    quern__buf_append(b, le, 4);
}

static void put_piece(quern__buf *b, const quern__vocab *v, uint32_t id)
{
    struct quern__piece p = v->pieces[id];
    put_u32(b, p.at == UINT32_MAX ? UINT32_MAX : p.len);
    if (p.at != UINT32_MAX)
        quern__buf_append(b, v->bytes.data + p.at, p.len);
}

/* The steps of a normaliser, contents and map included. */
static void put_normalizer(quern__buf *b, const quern__normalizer *n)
{
    put_u32(b, n->n);
    for (uint32_t i = 0; i < n->n; i++) {
        const quern__step *s = &n->steps[i];
        quern__buf_printf(b, "%d %d%d\n", (int)s->kind, s->left, s->right);
        put_u32(b, s->n_pattern);
        for (uint32_t k = 0; k < s->n_pattern; k++)
            put_u32(b, s->pattern[k]);
        put_u32(b, s->n_content);
        for (uint32_t k = 0; k < s->n_content; k++)
            put_u32(b, s->content[k]);
    }
    put_u32(b, n->charsmap.len);
    if (n->charsmap.len)
        quern__buf_append(b, n->charsmap.bytes, n->charsmap.len);
}

/* What stands around a model whose words begin at "▁". */
static void put_blanks(quern__buf *b, const char *title, bool flag, int32_t unk,
                       const quern__segments *s)
{
    quern__buf_printf(b, "quern %s 1\n%s %s %s\n%d%d%d %d%d%d %d%s\n", title,
                      quern__split_tables_version(), quern__nfc_tables_version(),
                      quern__grapheme_tables_version(), s->blanks.white_split, s->blanks.split,
                      (int)s->blanks.prefix, flag, s->trim, s->trim_keeps_first, (int)unk,
                      s->blanks.as_is ? " as is" : "");
    put_normalizer(b, &s->normalizer);
}

static void put_unigram(quern__buf *b, const quern__tokenizer *t)
{
    const quern__unigram *u = &t->unigram;
    put_blanks(b, "unigram", u->byte_fallback, u->unk, &t->segments);
    for (uint32_t i = 0; i < u->n; i++) {
        uint64_t bits;
        memcpy(&bits, &u->scores[i], sizeof bits);
        put_u32(b, bits & UINT32_MAX);
        put_u32(b, bits >> 32);
    }
}

/* The settings of BPE over bytes. */
static void put_bytes(quern__buf *b, const quern__tokenizer *t)
{
    const quern__segments *s = &t->segments;
    const quern__normalizer *n = &s->normalizer;
    quern__buf_printf(b, "quern bpe 1\n%s %s\n%d%d%d%d %d %u %u %u\n",
                      quern__split_tables_version(), quern__nfc_tables_version(),
                      t->bpe.ignore_merges, s->prefix_blank, s->trim, s->trim_keeps_first,
                      (int)s->words.kind, (unsigned)s->words.digits, (unsigned)n->n,
                      (unsigned)t->bpe.n);
    for (uint32_t i = 0; i < n->n; i++)
        quern__buf_printf(b, "%d ", (int)n->steps[i].kind);
    if (t->bpe.unk >= 0)
        quern__buf_printf(b, "unknown %d\n", (int)t->bpe.unk);
}

/* BPE, merges included. */
static void put_bpe(quern__buf *b, const quern__tokenizer *t)
{
    if (t->bpe.points) {
        put_blanks(b, "bpe of characters", t->bpe.ignore_merges, t->bpe.unk, &t->segments);
        put_u32(b, t->bpe.n);
    } else {
        put_bytes(b, t);
    }
    for (uint32_t i = 0; i < t->bpe.n; i++) {
        put_u32(b, t->bpe.merges[i].left);
        put_u32(b, t->bpe.merges[i].right);
    }
}

/* Added tokens by id, which no file decides. */
static void put_added(quern__buf *b, const quern__added_set *set)
{
    put_u32(b, set->n);
    for (uint32_t i = 0; i < set->n; i++) {
        const quern__added *a = &set->items[i];
        put_u32(b, (uint32_t)a->id);
        put_u32(b, (uint64_t)a->lstrip | (uint64_t)a->rstrip << 1 | (uint64_t)a->normalized << 2 |
                       (uint64_t)a->single_word << 3);
    }
}

/* Everything that decides ids, in an order that no file decides. */
static int take_hash(quern__tokenizer *t, quern_error *err)
{
    const quern__wordpiece *w = &t->wordpiece;
    uint8_t digest[32];
    quern__buf b;
    quern__buf_init(&b, (size_t)4 * QUERN__TOKENIZER_MAX_FILE);
    if (t->kind == QUERN__TOKENIZER_BPE)
        put_bpe(&b, t);
    else if (t->kind == QUERN__TOKENIZER_UNIGRAM)
        put_unigram(&b, t);
    else
        quern__buf_printf(&b, "quern wordpiece 1\n%s\n%d%d%d%d %u %d %s\n",
                          quern__bert_tables_version(), w->clean, w->cjk, w->strip, w->lower,
                          w->max_chars, w->unk, w->prefix);
    put_u32(&b, t->n_before);
    for (uint32_t i = 0; i < t->n_before; i++)
        put_u32(&b, (uint32_t)t->before[i]);
    put_u32(&b, t->n_after);
    for (uint32_t i = 0; i < t->n_after; i++)
        put_u32(&b, (uint32_t)t->after[i]);
    put_added(&b, &t->segments.raw);
    if (t->kind != QUERN__TOKENIZER_WORDPIECE || t->segments.normal.n)
        put_added(&b, &t->segments.normal);
    put_u32(&b, t->vocab.count);
    put_u32(&b, t->vocab.size);
    for (uint32_t id = 0; id < t->vocab.size; id++)
        put_piece(&b, &t->vocab, id);
    int rc = quern__buf_ok(&b, "tokenizer hash", err);
    if (rc == QUERN_OK)
        rc = quern__sha256_of(b.data, b.len, digest, err);
    if (rc == QUERN_OK)
        quern__hex32(digest, t->hash);
    quern__buf_dispose(&b);
    return rc;
}

/* The unknown token must be one of the model's own pieces. */
static int resolve_unknown(quern__draft *d, quern_error *err)
{
    quern__tokenizer *t = d->t;
    if (t->kind == QUERN__TOKENIZER_BPE) { /* no word comes to it: it need not be there */
        t->bpe.unk = -1;
        if (d->unk.name.len && resolve(d, "the unknown token", &d->unk, &t->bpe.unk, NULL))
            t->bpe.unk = -1;
        return QUERN_OK;
    }
    if (t->kind != QUERN__TOKENIZER_WORDPIECE)
        return QUERN_OK; /* the id has been checked */
    int rc = resolve(d, "the unknown token", &d->unk, &t->wordpiece.unk, err);
    if (rc == QUERN_OK && quern__vocab_find(&t->vocab, d->unk.name) < 0)
        rc = quern__draft_refuse(&d->unk, "the unknown token", "is not in the vocabulary,", err);
    return rc;
}

/* WordPiece trims added tokens only: no piece may have white space at its edge, and the one blank that
 * an added prefix would excuse is not looked for. */
static int check_edges(quern__tokenizer *t, const char *file, quern_error *err)
{
    const quern__segments *s = &t->segments;
    t->wordpiece.trim = s->trim;
    for (uint32_t i = 0; s->trim && s->trim_keeps_first && i < s->raw.n; i++)
        if (s->raw.items[i].lstrip)
            return quern__fail(err, QUERN_EFORMAT, 0,
                               "%s: trim_offsets with add_prefix_space is not supported for a "
                               "WordPiece with the added token '%s' (lstrip), at byte 0",
                               file, s->raw.items[i].content);
    for (uint32_t id = 0; s->edges && id < t->vocab.size; id++)
        if (s->edges[id])
            return quern__fail(err, QUERN_EFORMAT, (int64_t)id,
                               "%s: piece '%s' has white space at its edge, which trim_offsets "
                               "would cut: not supported",
                               file, quern__tokenizer_text(t, (int32_t)id));
    return QUERN_OK;
}

int quern__draft_finish(quern__draft *d, quern__tokenizer **out, quern_error *err)
{
    quern__tokenizer *t = d->t;
    int rc = finish_added(d, err);
    if (rc != QUERN_OK)
        return rc;
    rc = resolve_unknown(d, err);
    for (uint32_t i = 0; rc == QUERN_OK && i < d->n_before; i++)
        rc = resolve(d, "the template's token", &d->before[i], &t->before[i], err);
    for (uint32_t i = 0; rc == QUERN_OK && i < d->n_after; i++)
        rc = resolve(d, "the template's token", &d->after[i], &t->after[i], err);
    if (rc != QUERN_OK)
        return rc;
    t->n_before = d->n_before;
    t->n_after = d->n_after;
    rc = quern__segments_ready(&t->segments, &t->vocab, err);
    if (rc == QUERN_OK && t->kind == QUERN__TOKENIZER_WORDPIECE)
        rc = check_edges(t, d->file, err);
    if (rc == QUERN_OK && t->kind == QUERN__TOKENIZER_BPE)
        rc = quern__bpe_ready(&t->bpe, d->file, err);
    else if (rc == QUERN_OK && t->kind == QUERN__TOKENIZER_UNIGRAM)
        rc = quern__unigram_ready(&t->unigram, d->file, err);
    else if (rc == QUERN_OK)
        quern__wordpiece_ready(&t->wordpiece);
    if (rc == QUERN_OK)
        rc = take_hash(t, err);
    if (rc != QUERN_OK)
        return rc;
    *out = t;
    d->t = NULL;
    return QUERN_OK;
}

int quern__draft_key(quern__json *j, quern_str key, const char *const *names, uint32_t *seen,
                     bool others, int *which, quern_error *err)
{
    for (int i = 0; names[i]; i++) {
        if (!quern__str_is(key, names[i]))
            continue;
        if (*seen & 1u << i)
            return quern__json_fail(j, err, "'%s' is there twice,", names[i]);
        *seen |= 1u << i;
        *which = i;
        return QUERN_OK;
    }
    *which = QUERN__KEY_OTHER;
    if (others)
        return QUERN_OK;
    return quern__json_fail(j, err, "'%.*s' is not known to this reader,",
                            (int)QUERN__MIN(key.len, 80), key.ptr);
}

int quern__draft_read_added(quern__draft *d, quern__json *j, struct quern__draft_added *a,
                            quern_error *err)
{
    static const char *const names[] = {"content",    "id",      "lstrip", "rstrip", "single_word",
                                        "normalized", "special", "__type", NULL};
    bool flags[8] = {false};
    uint32_t seen = 0;
    quern_str key;
    int which, rc = quern__json_enter_object(j, err), more = 0;
    if (rc != QUERN_OK)
        return rc;
    a->name = quern__draft_unnamed(j);
    while ((more = quern__json_next_key(j, &key, err)) == 1) {
        uint64_t id;
        rc = quern__draft_key(j, key, names, &seen, false, &which, err);
        if (rc == QUERN_OK && which == 0) {
            rc = quern__json_string(j, &a->name.name, err);
            if (rc == QUERN_OK)
                rc = quern__draft_keep(d, &a->name.name, err);
        } else if (rc == QUERN_OK && which == 1) {
            rc = quern__json_u64(j, &id, err);
            if (rc == QUERN_OK && id >= QUERN__VOCAB_MAX_IDS)
                rc = quern__json_fail(j, err, "the id of an added token is out of range,");
            if (rc == QUERN_OK)
                a->name.id = (int64_t)id;
        } else if (rc == QUERN_OK && which == 7) {
            rc = quern__json_skip(j, err);
        } else if (rc == QUERN_OK) {
            rc = quern__json_bool(j, &flags[which], err);
        }
        if (rc != QUERN_OK)
            return rc;
    }
    if (more < 0)
        return more;
    if (!(seen & 1))
        return quern__json_fail(j, err, "an added token without content,");
    a->lstrip = flags[2];
    a->rstrip = flags[3];
    a->single_word = flags[4];
    a->normalized = flags[5];
    return QUERN_OK;
}

int quern__draft_read_decoder(quern__draft *d, quern__json *j, quern_error *err)
{
    quern_str key;
    int more, rc = quern__json_enter_object(j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_key(j, &key, err)) == 1) {
        struct quern__draft_added token;
        uint64_t id = 0;
        bool number = key.len > 0 && key.len < 8;
        for (size_t i = 0; number && i < key.len; i++) {
            number = key.ptr[i] >= '0' && key.ptr[i] <= '9';
            id = id * 10 + (uint64_t)(key.ptr[i] - '0');
        }
        if (!number || id >= QUERN__VOCAB_MAX_IDS)
            return quern__json_fail(j, err, "an added token under what is no id,");
        rc = quern__draft_read_added(d, j, &token, err);
        if (rc != QUERN_OK)
            return rc;
        token.name.id = (int64_t)id;
        rc = quern__draft_add(d, token, err);
        if (rc != QUERN_OK)
            return rc;
    }
    return more;
}

int quern__draft_read_length(quern__json *j, uint64_t *out, quern_error *err)
{
    double value = 0;
    if (quern__json_peek(j) == QUERN__JSON_NULL)
        return quern__json_null(j, err);
    int rc = quern__json_double(j, &value, err);
    if (rc == QUERN_OK)
        *out = value >= 1 && value <= 1e9 ? (uint64_t)value : 0;
    return rc;
}

int quern__draft_read_pieces(quern__draft *d, quern__json *j, quern_error *err)
{
    quern_str piece;
    int more, rc = quern__json_enter_object(j, err);
    if (rc != QUERN_OK)
        return rc;
    while ((more = quern__json_next_key(j, &piece, err)) == 1) {
        size_t at = j->at;
        uint64_t id;
        rc = quern__json_u64(j, &id, err);
        if (rc == QUERN_OK)
            rc = quern__draft_piece(d, id, piece, at, err);
        if (rc != QUERN_OK)
            return rc;
    }
    return more;
}
