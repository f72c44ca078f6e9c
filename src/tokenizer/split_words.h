/*
 * split_words.h — the words of byte-level models: what the published regular expressions cut a text
 * into, by hand. Only expressions that are known word for word are read; any other is refused.
 */
#ifndef QUERN_TOKENIZER_SPLIT_WORDS_H
#define QUERN_TOKENIZER_SPLIT_WORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct quern__word_rule {
    enum quern__word_rule_kind {
        QUERN__WORDS_WHOLE, /* no cut */
        QUERN__WORDS_GPT2,
        QUERN__WORDS_QWEN, /* and its relatives: they differ in how many digits are a word */
    } kind;
    uint32_t digits;
} quern__word_rule;

/* False: not one of the known expressions. */
bool quern__word_rule_of(quern_str expression, quern__word_rule *out);
/* The end of the word that starts at `at` (< len) of well-formed text. `blank`: the word is read as
 * though a blank stood before it, which may then be all of it (the end is `at`). */
uint32_t quern__word_end(const quern__word_rule *rule, const char *text, uint32_t len, uint32_t at,
                         bool blank);

#endif
