/*
 * tokenizer_json.h — what the three files share that read tokenizer.json: the reader and what it has
 * collected. Each part notes what is there in whatever order; tokenizer_json.c decides at the end, when
 * the model is known, what it makes of it.
 */
#ifndef QUERN_TOKENIZER_TOKENIZER_JSON_H
#define QUERN_TOKENIZER_TOKENIZER_JSON_H

#include "tokenizer/tokenizer_draft.h"

enum { QUERN__JSON_MAX_NAMED = 32, QUERN__JSON_MAX_PARTS = 8, QUERN__JSON_MAX_NESTING = 4 };

/* One normaliser, pre-tokeniser or post-processor. */
typedef struct quern__json_part {
    enum quern__part_kind {
        QUERN__PART_SEQUENCE,
        QUERN__PART_BERT_NORMALIZER,
        QUERN__PART_NFC,
        QUERN__PART_CHARSMAP,
        QUERN__PART_REPLACE,
        QUERN__PART_STRIP,
        QUERN__PART_PREPEND,
        QUERN__PART_WHITE_SPLIT,
        QUERN__PART_METASPACE,
        QUERN__PART_BERT_WORDS,
        QUERN__PART_BYTE_LEVEL,
        QUERN__PART_SPLIT,
        QUERN__PART_BERT_SPECIALS,
        QUERN__PART_ROBERTA_SPECIALS,
        QUERN__PART_TEMPLATE,
    } kind;
    uint32_t seen; /* keys, as bits of enum part_key */
    size_t at;     /* of its type in the file */
    bool clean, cjk, strip, lower, strip_said;
    bool prefix_space, trim_offsets, use_regex, invert;
    bool isolated; /* behaviour of a split */
    enum {
        QUERN__PATTERN_WORDS,  /* words */
        QUERN__PATTERN_BLANKS, /* " {2,}" */
        QUERN__PATTERN_STRING, /* step.pattern */
    } pattern;
    quern__word_rule words;
    quern__step step; /* of a Replace, Strip or Prepend */
    enum quern__prefix prefix;
    bool split;
} quern__json_part;

typedef struct quern__json_parts {
    quern__json_part items[QUERN__JSON_MAX_PARTS];
    uint32_t n;
} quern__json_parts;

typedef struct quern__json_reader {
    quern__draft d;
    quern__json j;
    quern__json_parts normalizer, words, post;
    quern__draft_name named[QUERN__JSON_MAX_NAMED]; /* special_tokens of the template */
    uint32_t n_named;
    bool has_template, has_specials; /* the second: from any post-processor */
    size_t merges_at;                /* of the file; 0: none */
    bool byte_fallback, fuse_unk;
    int said_kind;   /* of the model: enum quern__tokenizer_kind */
    uint64_t unk_id; /* UINT64_MAX: none */
} quern__json_reader;

/* A string that lives as long as the draft. */
int quern__reader_kept(quern__json_reader *r, quern_str *out, quern_error *err);
/* EFORMAT: `part` without the first of `names` that is needed and was not seen. */
int quern__reader_missing(quern__json_reader *r, const char *part, const char *const *names,
                          uint32_t seen, uint32_t needed, quern_error *err);

/* The value of "normalizer", "pre_tokenizer" or "post_processor" (`what`), null included. */
int quern__reader_parts(quern__json_reader *r, const char *what, quern__json_parts *out,
                        quern_error *err);
/* Checks them against the model and puts them into the tokenizer. */
int quern__reader_apply_parts(quern__json_reader *r, quern_error *err);

/* The keys of a template and of the processors before it. */
int quern__reader_single(quern__json_reader *r, quern_error *err);
int quern__reader_special_tokens(quern__json_reader *r, quern_error *err);
int quern__reader_pair(quern__json_reader *r, bool after, quern_error *err);
/* The template's names get the ids that its special_tokens give. */
int quern__reader_name_template(quern__json_reader *r, quern_error *err);

#endif
