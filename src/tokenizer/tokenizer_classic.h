/*
 * tokenizer_classic.h — what the readers of the older files share: tokenizer_config.json and
 * special_tokens_map.json, and what a tokenizer_class means where they are silent.
 */
#ifndef QUERN_TOKENIZER_TOKENIZER_CLASSIC_H
#define QUERN_TOKENIZER_TOKENIZER_CLASSIC_H

#include "tokenizer/tokenizer_draft.h"

enum quern__classic_name {
    QUERN__CLASSIC_BOS,
    QUERN__CLASSIC_EOS,
    QUERN__CLASSIC_UNK,
    QUERN__CLASSIC_SEP,
    QUERN__CLASSIC_PAD,
    QUERN__CLASSIC_CLS,
    QUERN__CLASSIC_MASK,
    QUERN__CLASSIC_NAMES,
};

typedef struct quern__family {
    const char *classes[2];
    enum quern__classic_files {
        QUERN__CLASSIC_MERGES, /* vocab.json and merges.txt */
        QUERN__CLASSIC_SPIECE, /* a SentencePiece model */
    } files;
    const char *names[QUERN__CLASSIC_NAMES]; /* NULL: none */
    int before, after;                       /* the names around a text; -1: none */
    bool trim;                               /* offsets */
    bool nfc;
    quern__word_rule words; /* of MERGES */
    bool offset;            /* of SPIECE: ids as XLM-R has them */
} quern__family;

typedef struct quern__classic {
    quern__draft d;
    const quern__family *family;
    struct quern__draft_added names[QUERN__CLASSIC_NAMES];
    bool said[QUERN__CLASSIC_NAMES], none[QUERN__CLASSIC_NAMES];
    bool prefix, prefix_said; /* add_prefix_space */
    bool legacy;
    uint64_t extra_ids, length;
} quern__classic;

/* Both files; an absent map is empty. The class must be one of `files`. */
int quern__classic_config(quern__classic *c, enum quern__classic_files files, const char *name,
                          quern_str config, const char *map_name, quern_str map, quern_error *err);
/* Adds a token unless one of that name is there. */
int quern__classic_add(quern__classic *c, struct quern__draft_added token, quern_error *err);
/* After the vocabulary: added tokens, and what stands around a text. */
int quern__classic_names(quern__classic *c, quern_error *err);

#endif
