/*
 * tokenizer.h — from UTF-8 text to the token ids a model was trained on, with the bytes each came
 * from. One face for every family; WordPiece is the first. Immutable once open: any number of threads.
 */
#ifndef QUERN_TOKENIZER_TOKENIZER_H
#define QUERN_TOKENIZER_TOKENIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct quern__tokenizer quern__tokenizer;

/* The tokens of one text, special ones included. Reused from text to text: the arrays grow and stay.
 * Offsets are byte positions in the original text, half open; special tokens have start = end = 0. */
typedef struct quern__tokens {
    uint32_t n, cap;
    int32_t *ids;     /* [n] */
    uint32_t *start;  /* [n] */
    uint32_t *end;    /* [n] */
    uint8_t *special; /* [n] 1 for the tokens that the template added ([CLS], [SEP]) */
    uint32_t full;    /* tokens before truncation, special ones included */
} quern__tokens;

void quern__tokens_init(quern__tokens *t);
void quern__tokens_dispose(quern__tokens *t);

/* Reads a model folder: tokenizer.json if there is one (its truncation and padding are ignored),
 * else vocab.txt + tokenizer_config.json (+ special_tokens_map.json). EFORMAT names file and byte;
 * whatever changes ids and is not understood is refused by name. About 3 ms for 30,000 pieces. */
int quern__tokenizer_open(quern__tokenizer **out, const char *folder, quern_error *err);
/* A tokenizer.json's text; `file` is what messages call it. */
int quern__tokenizer_from_json(quern__tokenizer **out, const char *file, quern_str text,
                               quern_error *err);
void quern__tokenizer_free(quern__tokenizer *t);

/* max_tokens counts special tokens; 0 = no limit. A longer text is cut to its first tokens and keeps
 * the closing special token (n never exceeds max_tokens, were it 1); out->full says how many there
 * were. Invalid UTF-8 is read as the reference does after decoding with replacement (each maximal bad
 * subpart one U+FFFD): whether to refuse it is the caller's decision. ENOMEM only, which is also the
 * answer to a text of 4 GiB. About 1 us for 20 tokens of English. */
int quern__tokenize(const quern__tokenizer *t, quern_str text, uint32_t max_tokens,
                    quern__tokens *out, quern_error *err);
/* The same without special tokens (for chunk windows). */
int quern__tokenize_plain(const quern__tokenizer *t, quern_str text, quern__tokens *out,
                          quern_error *err);

uint32_t quern__tokenizer_vocab_size(const quern__tokenizer *t); /* highest id + 1 */
/* Tokens the template adds to one text: 2 for BERT. */
uint32_t quern__tokenizer_specials(const quern__tokenizer *t);
/* It lower-cases whatever it reads: a text that was lower-cased before has the same ids. */
bool quern__tokenizer_lowers(const quern__tokenizer *t);
int32_t quern__tokenizer_unknown(const quern__tokenizer *t); /* the unknown token; -1: has none */
/* Of tokenizer_config.json; 0 unknown. */
uint64_t quern__tokenizer_model_max_length(const quern__tokenizer *t);
/* Tokens that tokenizer.json's own truncation leaves, which quern__tokenize does not do; 0: all. *left: the last ones. */
uint64_t quern__tokenizer_cut(const quern__tokenizer *t, bool *left);
/* The token's string as in the vocabulary ("##ing"); borrowed; NULL for an id outside. */
const char *quern__tokenizer_text(const quern__tokenizer *t, int32_t id);
/* SHA-256 over everything that decides ids (vocabulary, settings, version of the Unicode tables). */
void quern__tokenizer_hash(const quern__tokenizer *t, char out[65]);

#endif
