/*
 * tokenizer.c — the face of the floor: which files of a folder are read, the arrays of tokens, the
 * special tokens around a text and the cut that keeps them. What a text is split into belongs to
 * the family (wordpiece.c, segments.c), which is asked for once a text.
 */
#include "tokenizer/tokenizer.h"

#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/os.h"
#include "tokenizer/tokenizer_draft.h"

enum { MAX_PATH_BYTES = 1 << 16 };

/* ---- tokens ---- */

void quern__tokens_init(quern__tokens *t)
{
    memset(t, 0, sizeof *t);
}

void quern__tokens_dispose(quern__tokens *t)
{
    quern__free(t->ids);
    quern__free(t->start);
    quern__free(t->end);
    quern__free(t->special);
    quern__tokens_init(t);
}

/* The arrays grow one by one: after a failure those that grew stay grown, and cap says the least. */
static int grow(quern__tokens *t, quern_error *err)
{
    uint32_t cap = t->cap < 64 ? 64 : t->cap + t->cap / 2;
    if (cap < t->cap)
        return quern__fail_memory(err, SIZE_MAX);
    int32_t *ids = quern__resize_array(t->ids, cap, sizeof *ids);
    t->ids = ids ? ids : t->ids;
    uint32_t *start = ids ? quern__resize_array(t->start, cap, sizeof *start) : NULL;
    t->start = start ? start : t->start;
    uint32_t *end = start ? quern__resize_array(t->end, cap, sizeof *end) : NULL;
    t->end = end ? end : t->end;
    uint8_t *special = end ? quern__resize_array(t->special, cap, sizeof *special) : NULL;
    t->special = special ? special : t->special;
    if (!special)
        return quern__fail_memory(err, (size_t)cap * 13);
    t->cap = cap;
    return QUERN_OK;
}

int quern__tokens_push(quern__tokens *t, uint32_t limit, int32_t id, uint32_t start, uint32_t end,
                       bool special, quern_error *err)
{
    t->full++;
    if (t->n >= limit)
        return QUERN_OK;
    if (t->n == t->cap) {
        int rc = grow(t, err);
        if (rc != QUERN_OK)
            return rc;
    }
    t->ids[t->n] = id;
    t->start[t->n] = start;
    t->end[t->n] = end;
    t->special[t->n] = special;
    t->n++;
    return QUERN_OK;
}

/* ---- a text ---- */

/* Offsets are 32 bits wide, and a text never has more tokens than bytes. */
static int begin(quern_str text, quern__tokens *out, quern_error *err)
{
    out->n = out->full = 0;
    if (text.len > UINT32_MAX - 64)
        return quern__fail(err, QUERN_ENOMEM, (int64_t)text.len,
                           "a text of %zu bytes: the limit of one text is 4 GiB, split it",
                           text.len);
    return QUERN_OK;
}

static int run(const quern__tokenizer *t, quern_str text, uint32_t limit, quern__tokens *out,
               quern_error *err)
{
    if (t->kind == QUERN__TOKENIZER_BPE)
        return quern__bpe_run(&t->segments, &t->bpe, text, limit, out, err);
    if (t->kind == QUERN__TOKENIZER_UNIGRAM)
        return quern__unigram_run(&t->segments, &t->unigram, text, limit, out, err);
    return quern__wordpiece_run(&t->wordpiece, text, limit, out, err);
}

int quern__tokenize(const quern__tokenizer *t, quern_str text, uint32_t max_tokens,
                    quern__tokens *out, quern_error *err)
{
    uint32_t limit = max_tokens ? max_tokens : UINT32_MAX;
    uint32_t kept = t->n_after < limit ? t->n_after : limit; /* room at the end */
    int rc = begin(text, out, err);
    for (uint32_t i = 0; rc == QUERN_OK && i < t->n_before; i++)
        rc = quern__tokens_push(out, limit - kept, t->before[i], 0, 0, true, err);
    if (rc == QUERN_OK)
        rc = run(t, text, limit - kept, out, err);
    for (uint32_t i = 0; rc == QUERN_OK && i < t->n_after; i++)
        rc = quern__tokens_push(out, limit, t->after[i], 0, 0, true, err);
    return rc;
}

int quern__tokenize_plain(const quern__tokenizer *t, quern_str text, quern__tokens *out,
                          quern_error *err)
{
    int rc = begin(text, out, err);
    return rc == QUERN_OK ? run(t, text, UINT32_MAX, out, err) : rc;
}

/* ---- a folder ---- */

struct file {
    char *name, *data; /* name: the path, for messages */
    size_t size;
};

/* Reads folder/leaf; an absent file is no error and leaves data NULL. */
static int read_leaf(struct file *f, const char *folder, const char *leaf, quern_error *err)
{
    quern__buf path;
    quern__stat st;
    quern__buf_init(&path, MAX_PATH_BYTES);
    quern__buf_puts(&path, folder);
    quern__buf_putc(&path, '/');
    quern__buf_puts(&path, leaf);
    int rc = quern__buf_ok(&path, "the path of a model file", err);
    if (rc == QUERN_OK && !(f->name = quern__buf_detach(&path)))
        rc = quern__fail_memory(err, 0);
    if (rc == QUERN_OK)
        rc = quern__stat_path(f->name, &st, err);
    if (rc == QUERN_OK && st.exists)
        rc = quern__read_file(f->name, QUERN__TOKENIZER_MAX_FILE, &f->data, &f->size, err);
    quern__buf_dispose(&path);
    return rc;
}

static quern_str text_of(const struct file *f)
{
    return (quern_str){f->data, f->size};
}

static int open_json(quern__tokenizer **out, const struct file *json, const struct file *config,
                     quern_error *err)
{
    uint64_t length = 0;
    int rc = QUERN_OK;
    if (config->data)
        rc = quern__tokenizer_config_length(config->name, text_of(config), &length, err);
    if (rc == QUERN_OK)
        rc = quern__tokenizer_from_json(out, json->name, text_of(json), err);
    if (rc == QUERN_OK)
        (*out)->model_max_length = length;
    return rc;
}

static int read_leaves(struct file *files, const char *const *leaves, const char *folder,
                       quern_error *err)
{
    int rc = QUERN_OK;
    for (size_t i = 0; rc == QUERN_OK && leaves[i]; i++)
        rc = read_leaf(&files[i], folder, leaves[i], err);
    return rc;
}

/* vocab.txt, or vocab.json and merges.txt, or a SentencePiece model; each needs its
 * tokenizer_config.json. */
static int open_classic(quern__tokenizer **out, const char *folder, const struct file *config,
                        quern_error *err)
{
    enum { VOCAB, MAP, MORE, JSON, MERGES, SPIECE, SPIECE_BPE, LEAVES };
    static const char *const leaves[] = {"vocab.txt",
                                         "special_tokens_map.json",
                                         "added_tokens.json",
                                         "vocab.json",
                                         "merges.txt",
                                         "spiece.model",
                                         "sentencepiece.bpe.model",
                                         NULL};
    struct file f[LEAVES + 1];
    memset(f, 0, sizeof f);
    int rc = read_leaves(f, leaves, folder, err);
    const struct file *spiece = f[SPIECE].data ? &f[SPIECE] : &f[SPIECE_BPE];
    const struct file *main = f[VOCAB].data ? &f[VOCAB] : f[JSON].data ? &f[JSON] : spiece;
    if (rc == QUERN_OK && !main->data)
        rc = quern__fail(err, QUERN_ENOTFOUND, 0,
                         "%s: neither tokenizer.json nor vocab.txt in this model folder (nor "
                         "vocab.json, spiece.model, sentencepiece.bpe.model)",
                         folder);
    if (rc == QUERN_OK && !config->data)
        rc = quern__fail(err, QUERN_ENOTFOUND, 0,
                         "%s: missing; %s alone does not say how to read text", config->name,
                         main->name + strlen(folder) + 1);
    if (rc == QUERN_OK && main == &f[JSON] && !f[MERGES].data)
        rc = quern__fail(err, QUERN_ENOTFOUND, 0, "%s: missing beside vocab.json", f[MERGES].name);
    if (rc == QUERN_OK && f[MORE].data)
        rc = quern__fail(err, QUERN_EUNSUPPORTED, 0,
                         "%s: not supported beside a %s; convert the model to tokenizer.json",
                         f[MORE].name, main->name + strlen(folder) + 1);
    if (rc == QUERN_OK && main == &f[VOCAB]) {
        quern__tokenizer_files files = {main->name,    config->name,    f[MAP].name,
                                        text_of(main), text_of(config), text_of(&f[MAP])};
        rc = quern__tokenizer_from_vocab(out, &files, err);
    } else if (rc == QUERN_OK && main == &f[JSON]) {
        quern__merges_files files = {main->name,      f[MERGES].name,  config->name,
                                     f[MAP].name,     text_of(main),   text_of(&f[MERGES]),
                                     text_of(config), text_of(&f[MAP])};
        rc = quern__tokenizer_from_merges(out, &files, err);
    } else if (rc == QUERN_OK) {
        quern__spiece_files files = {main->name,    config->name,    f[MAP].name,
                                     text_of(main), text_of(config), text_of(&f[MAP])};
        rc = quern__tokenizer_from_spiece(out, &files, err);
    }
    for (size_t i = 0; i < LEAVES; i++) {
        quern__free(f[i].name);
        quern__free(f[i].data);
    }
    return rc;
}

int quern__tokenizer_open(quern__tokenizer **out, const char *folder, quern_error *err)
{
    struct file json = {NULL, NULL, 0}, config = {NULL, NULL, 0};
    *out = NULL;
    int rc = read_leaf(&json, folder, "tokenizer.json", err);
    if (rc == QUERN_OK)
        rc = read_leaf(&config, folder, "tokenizer_config.json", err);
    if (rc == QUERN_OK)
        rc = json.data ? open_json(out, &json, &config, err)
                       : open_classic(out, folder, &config, err);
    quern__free(json.name);
    quern__free(json.data);
    quern__free(config.name);
    quern__free(config.data);
    return rc;
}

void quern__tokenizer_free(quern__tokenizer *t)
{
    if (!t)
        return;
    quern__vocab_dispose(&t->vocab);
    quern__bpe_dispose(&t->bpe);
    quern__unigram_dispose(&t->unigram);
    quern__segments_dispose(&t->segments);
    quern__free(t);
}

/* ---- questions ---- */

uint32_t quern__tokenizer_vocab_size(const quern__tokenizer *t)
{
    return t->vocab.size;
}

int32_t quern__tokenizer_unknown(const quern__tokenizer *t)
{
    return t->kind == QUERN__TOKENIZER_WORDPIECE ? t->wordpiece.unk
           : t->kind == QUERN__TOKENIZER_UNIGRAM ? t->unigram.unk
                                                 : t->bpe.unk;
}

bool quern__tokenizer_lowers(const quern__tokenizer *t)
{
    return t->kind == QUERN__TOKENIZER_WORDPIECE && t->wordpiece.lower;
}

uint32_t quern__tokenizer_specials(const quern__tokenizer *t)
{
    return t->n_before + t->n_after;
}

uint64_t quern__tokenizer_model_max_length(const quern__tokenizer *t)
{
    return t->model_max_length;
}

uint64_t quern__tokenizer_cut(const quern__tokenizer *t, bool *left)
{
    *left = t->cut_left;
    return t->cut;
}

const char *quern__tokenizer_text(const quern__tokenizer *t, int32_t id)
{
    const quern__vocab *v = &t->vocab;
    if (id < 0 || (uint32_t)id >= v->size || v->pieces[id].at == UINT32_MAX)
        return NULL;
    return v->bytes.data + v->pieces[id].at;
}

void quern__tokenizer_hash(const quern__tokenizer *t, char out[65])
{
    memcpy(out, t->hash, sizeof t->hash);
}
