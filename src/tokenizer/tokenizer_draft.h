/*
 * tokenizer_draft.h — what the two readers (tokenizer.json; vocab.txt with its companions) collect
 * in whatever order the files have it, and the one place where it becomes a tokenizer. All checks
 * that need the whole picture are in quern__draft_finish, so both ways in are held to the same rules.
 */
#ifndef QUERN_TOKENIZER_TOKENIZER_DRAFT_H
#define QUERN_TOKENIZER_TOKENIZER_DRAFT_H

#include "base/arena.h"
#include "base/json.h"
#include "tokenizer/segments.h"
#include "tokenizer/wordpiece.h"

enum {
    QUERN__TOKENIZER_MAX_FILE = 64 << 20,
    QUERN__TOKENIZER_MAX_SPECIALS = 8,   /* of the template, on each side */
    QUERN__TOKENIZER_MAX_TEXT = 1 << 20, /* bytes of names kept while reading */
};

struct quern__tokenizer {
    enum quern__tokenizer_kind {
        QUERN__TOKENIZER_WORDPIECE,
        QUERN__TOKENIZER_BPE,
        QUERN__TOKENIZER_UNIGRAM,
    } kind;
    quern__vocab vocab;
    quern__wordpiece wordpiece; /* this one uses segments.raw alone */
    quern__bpe bpe;
    quern__unigram unigram;
    quern__segments segments;
    int32_t before[QUERN__TOKENIZER_MAX_SPECIALS], after[QUERN__TOKENIZER_MAX_SPECIALS];
    uint32_t n_before, n_after;
    uint64_t model_max_length, cut;
    bool cut_left;
    char hash[65];
};

/* A token by name; id -1: the file does not say, the vocabulary decides. */
typedef struct quern__draft_name {
    quern_str name;
    int64_t id;
    const char *file; /* where it was said, for messages; borrowed */
    size_t at;
} quern__draft_name;

typedef struct quern__draft {
    quern__tokenizer *t; /* owned until finish */
    quern__arena arena;  /* holds every string below */
    const char *file;    /* what messages call the file that holds the vocabulary; borrowed */
    quern__draft_name unk;
    struct quern__draft_added {
        quern__draft_name name;
        bool lstrip, rstrip, single_word, normalized;
    } * added; /* [n_added] */
    uint32_t n_added, cap_added;
    quern__draft_name before[QUERN__TOKENIZER_MAX_SPECIALS], after[QUERN__TOKENIZER_MAX_SPECIALS];
    uint32_t n_before, n_after;
} quern__draft;

int quern__draft_begin(quern__draft *d, const char *file, quern_error *err);
void quern__draft_dispose(quern__draft *d);
/* A name still to be read, at the reader's place. */
quern__draft_name quern__draft_unnamed(const quern__json *j);
/* A copy that lives as long as the draft. */
int quern__draft_keep(quern__draft *d, quern_str *s, quern_error *err);
/* EFORMAT: what 'NAME' why at byte N of its file. */
int quern__draft_refuse(const quern__draft_name *n, const char *what, const char *why,
                        quern_error *err);
/* Takes an added token whose name is kept already. */
int quern__draft_add(quern__draft *d, struct quern__draft_added a, quern_error *err);
/* One piece of the vocabulary, from byte `at` of the file. */
int quern__draft_piece(quern__draft *d, uint64_t id, quern_str piece, size_t at, quern_error *err);
/* One merge, from byte `at` of the file; the vocabulary must be there. */
int quern__draft_merge(quern__draft *d, quern_str left, quern_str right, size_t at,
                       quern_error *err);
/* The next piece of a unigram model and its score. */
int quern__draft_scored(quern__draft *d, quern_str piece, double score, size_t at,
                        quern_error *err);
/* Checks, closes and hands over. */
int quern__draft_finish(quern__draft *d, quern__tokenizer **out, quern_error *err);

/* The object of an added token: {"content": …, "lstrip": …}; id only in tokenizer.json. */
int quern__draft_read_added(quern__draft *d, quern__json *j, struct quern__draft_added *a,
                            quern_error *err);

/* {"0": {"content": …}, …}: the added tokens of a tokenizer_config.json, by id. */
int quern__draft_read_decoder(quern__draft *d, quern__json *j, quern_error *err);
/* A length, or null; what is no whole number of a sensible size means "none" (the published files
 * say 1e30). */
int quern__draft_read_length(quern__json *j, uint64_t *out, quern_error *err);
/* {"piece": id, …} */
int quern__draft_read_pieces(quern__draft *d, quern__json *j, quern_error *err);

/* Which of `names` (NULL-terminated, at most 32) the key is. A key met before (its bit in *seen) is
 * refused by name; so is an unknown one, or it gives QUERN__KEY_OTHER when `others` are allowed. */
enum { QUERN__KEY_OTHER = 1000 };
int quern__draft_key(quern__json *j, quern_str key, const char *const *names, uint32_t *seen,
                     bool others, int *which, quern_error *err);

/* ---- the readers (that of tokenizer.json is in tokenizer.h); text is borrowed for the call ---- */
/* The parts of vocab.txt, tokenizer_config.json and special_tokens_map.json; an absent map is empty. */
typedef struct quern__tokenizer_files {
    const char *vocab_name, *config_name, *map_name;
    quern_str vocab, config, map;
} quern__tokenizer_files;
int quern__tokenizer_from_vocab(quern__tokenizer **out, const quern__tokenizer_files *files,
                                quern_error *err);
/* The parts of vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json (may be empty). */
typedef struct quern__merges_files {
    const char *vocab_name, *merges_name, *config_name, *map_name;
    quern_str vocab, merges, config, map;
} quern__merges_files;
int quern__tokenizer_from_merges(quern__tokenizer **out, const quern__merges_files *files,
                                 quern_error *err);
/* A SentencePiece model with its tokenizer_config.json and special_tokens_map.json (may be empty). */
typedef struct quern__spiece_files {
    const char *model_name, *config_name, *map_name;
    quern_str model, config, map;
} quern__spiece_files;
int quern__tokenizer_from_spiece(quern__tokenizer **out, const quern__spiece_files *files,
                                 quern_error *err);
/* model_max_length of a tokenizer_config.json; 0 when it is absent or means "no limit". */
int quern__tokenizer_config_length(const char *file, quern_str config, uint64_t *out,
                                   quern_error *err);

#endif
