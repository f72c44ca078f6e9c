/*
 * words.h — a text as the words that a text search compares: analyser "words/1". Lower case, without accents, cut at white
 * space and punctuation, each CJK ideograph a word of its own, by the tables of the BERT normaliser. Both stores are
 * given these words ready made, in ASCII letters, digits and whatever lies above ASCII, between single spaces, so that neither a
 * database's locale nor its version decides what a word is. No stemming, no stop words.
 */
#ifndef QUERN_TEXT_WORDS_H
#define QUERN_TEXT_WORDS_H

#include "base/buf.h"
#include "quern/status.h"

enum {
    QUERN__WORDS_TEXT = 128 * 1024,      /* bytes of a text that are looked at */
    QUERN__WORDS_BYTES = 4 * 128 * 1024, /* that its words take at most */
    QUERN__WORD_BYTES = 200              /* a longer one is no word, and left out */
};

/* Appends the words of the text's beginning to out, separated by single spaces. Bytes that are not UTF-8 separate words. */
void quern__words(quern_str text, quern__buf *out);
/* The next word of such a list; false at the end. */
bool quern__words_next(quern_str *rest, quern_str *word);

#endif
