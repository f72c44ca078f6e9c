/*
 * normal.h — a text on its way through a normaliser: code points, each with the bytes of the original
 * text that it stands for, as the reference aligns them. BERT's normaliser has no part in this, it is
 * fused into wordpiece.c.
 */
#ifndef QUERN_TOKENIZER_NORMAL_H
#define QUERN_TOKENIZER_NORMAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "tokenizer/charsmap.h"

enum { QUERN__NORMAL_MAX_STEPS = 8, QUERN__NORMAL_MAX_CONTENT = 16 };

typedef struct quern__step {
    enum quern__step_kind {
        QUERN__STEP_NFC,
        QUERN__STEP_CHARSMAP, /* SentencePiece's precompiled map */
        QUERN__STEP_BLANKS,   /* each run of two blanks or more becomes `content` */
        QUERN__STEP_REPLACE,  /* each `pattern` becomes `content` */
        QUERN__STEP_STRIP,    /* white space at the ends */
        QUERN__STEP_PREPEND,  /* `content` before a text that is not empty */
    } kind;
    bool left, right; /* of STRIP */
    uint32_t n_pattern, n_content;
    uint32_t pattern[QUERN__NORMAL_MAX_CONTENT], content[QUERN__NORMAL_MAX_CONTENT];
} quern__step;

typedef struct quern__normalizer {
    quern__step steps[QUERN__NORMAL_MAX_STEPS];
    uint32_t n;
    quern__charsmap charsmap; /* of STEP_CHARSMAP, of which there is one at most */
} quern__normalizer;

typedef struct quern__letter {
    uint32_t cp, start, end;
} quern__letter;

typedef struct quern__letters {
    quern__letter *items; /* [n] */
    uint32_t n, cap;
    bool failed; /* memory was out: latched */
} quern__letters;

/* Work space, kept from text to text within one call. */
typedef struct quern__normal {
    quern__letters now, next, marks;
    /* made by quern__normal_spell */
    char *text;
    uint32_t *start, *end; /* [len] each: of the original text */
    uint32_t len, cap;
} quern__normal;

void quern__normalizer_dispose(quern__normalizer *n);
void quern__normal_init(quern__normal *w);
void quern__normal_dispose(quern__normal *w);

/* Whether this well-formed text comes out as it went in. A no may be wrong, a yes is not. */
bool quern__normalizer_idle(const quern__normalizer *n, const char *text, uint32_t len);
/* Runs the steps over the bytes [at, at + len) of a text and spells the result out in w->text. Ill-
 * formed bytes become U+FFFD first. ENOMEM only. */
int quern__normal_run(const quern__normalizer *n, quern__normal *w, const char *text, uint32_t at,
                      uint32_t len, quern_error *err);

#endif
