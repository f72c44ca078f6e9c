/*
 * split_words.c — each function is one regular expression, its alternatives in their order. A regular
 * expressions engine would read any expression, and bring its own Unicode version and its own worst
 * cases with it. Every match is decided by looking at one run of characters of a kind and what follows
 * it, so a text costs one pass. (Runs of white space are looked at twice.)
 */
#include "tokenizer/split_words.h"

#include <string.h>

#include "base/compiler.h"
#include "base/json.h"
#include "text/unicode_split.h"
#include "text/utf8.h"

struct text {
    const char *s;
    uint32_t len;
};

enum { LETTER = QUERN__SPLIT_LETTER, NUMBER = QUERN__SPLIT_NUMBER, SPACE = QUERN__SPLIT_SPACE };
enum { KINDS = LETTER | NUMBER | SPACE };
enum { LONG_S = 0x17F }; /* the other small letter of S, which the engine folds to it */

QUERN__INLINE uint32_t kind_at(const struct text *t, uint32_t at, uint32_t *step)
{
    uint32_t cp = (uint8_t)t->s[at];
    bool bad = false;
    *step = 1;
    if (cp >= 0x80)
        *step = quern__utf8_next(t->s + at, t->len - at, &cp, &bad);
    return quern__split_class(cp) & KINDS;
}

QUERN__INLINE uint32_t run(const struct text *t, uint32_t at, uint32_t kind)
{
    uint32_t step;
    while (at < t->len && kind_at(t, at, &step) == kind)
        at += step;
    return at;
}

/* The end of 's, 't, 're, 've, 'm, 'll or 'd that starts at the apostrophe, or 0. */
static uint32_t contraction(const struct text *t, uint32_t at, bool any_case)
{
    if (t->len - at < 2)
        return 0;
    char a = t->s[at + 1], b = t->len - at > 2 ? t->s[at + 2] : 0;
    if (any_case) {
        if (t->len - at > 2 && memcmp(t->s + at + 1, "\xC5\xBF", 2) == 0) /* LONG_S */
            return at + 3;
        a = a >= 'A' && a <= 'Z' ? (char)(a | 32) : a;
        b = b >= 'A' && b <= 'Z' ? (char)(b | 32) : b;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return at + 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l'))
        return at + 3;
    return 0;
}

/* \s+(?!\S)|\s+ over the run [at, end): the last character stays for what follows, unless nothing
 * follows or it is alone. `blank` counts as one more before the run. */
static uint32_t white(const struct text *t, uint32_t at, uint32_t end, bool blank)
{
    uint32_t last = end;
    if (end == t->len)
        return end;
    do
        last--;
    while (((uint8_t)t->s[last] & 0xC0) == 0x80);
    return last > at || blank ? last : end;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static uint32_t gpt2(const struct text *t, uint32_t at, bool blank)
{
    uint32_t step, kind = kind_at(t, at, &step);
    if (t->s[at] == '\'' && !blank) {
        uint32_t end = contraction(t, at, false);
        if (end)
            return end;
    }
    if (t->s[at] == ' ' && !blank && at + 1 < t->len) {
        uint32_t next = kind_at(t, at + 1, &step);
        if (next != SPACE)
            return run(t, at + 1, next);
    }
    if (kind != SPACE)
        return run(t, at, kind);
    return white(t, at, run(t, at, SPACE), blank);
}

/* \p{N}{1,digits} */
static uint32_t digits(const struct text *t, uint32_t at, uint32_t most)
{
    uint32_t step;
    while (at < t->len && most-- && kind_at(t, at, &step) == NUMBER)
        at += step;
    return at;
}

static bool newline(char c)
{
    return c == '\r' || c == '\n';
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ */
static uint32_t white_lines(const struct text *t, uint32_t at)
{
    uint32_t end = run(t, at, SPACE), line = end;
    while (line > at && !newline(t->s[line - 1]))
        line--;
    return line > at ? line : white(t, at, end, false);
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|
 *  ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static uint32_t qwen(const struct text *t, uint32_t at, uint32_t most)
{
    uint32_t step, next, kind = kind_at(t, at, &step);
    if (t->s[at] == '\'') {
        uint32_t end = contraction(t, at, true);
        if (end)
            return end;
    }
    if (kind == LETTER)
        return run(t, at, LETTER);
    if (kind == NUMBER)
        return digits(t, at, most);
    if (!newline(t->s[at]) && at + step < t->len && kind_at(t, at + step, &next) == LETTER)
        return run(t, at + step, LETTER);
    uint32_t other = t->s[at] == ' ' && at + 1 < t->len ? at + 1 : at;
    if (kind_at(t, other, &step) == 0) {
        uint32_t end = run(t, other, 0);
        while (end < t->len && newline(t->s[end]))
            end++;
        return end;
    }
    return white_lines(t, at);
}

bool quern__word_rule_of(quern_str expression, quern__word_rule *out)
{
#define CONTRACTIONS "'s|'t|'re|'ve|'m|'ll|'d"
#define REST         " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
    static const struct {
        const char *expression;
        quern__word_rule rule;
    } known[] = {
        {CONTRACTIONS "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
         {QUERN__WORDS_GPT2, 0}},
        {"(?i:" CONTRACTIONS ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" REST,
         {QUERN__WORDS_QWEN, 1}},
        {"(?i:" CONTRACTIONS ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" REST,
         {QUERN__WORDS_QWEN, 3}},
    };
    for (size_t i = 0; i < QUERN__COUNT(known); i++)
        if (quern__str_is(expression, known[i].expression)) {
            *out = known[i].rule;
            return true;
        }
    return false;
}

uint32_t quern__word_end(const quern__word_rule *rule, const char *text, uint32_t len, uint32_t at,
                         bool blank)
{
    struct text t = {text, len};
    switch (rule->kind) {
    case QUERN__WORDS_WHOLE:
        break;
    case QUERN__WORDS_GPT2:
        return gpt2(&t, at, blank);
    case QUERN__WORDS_QWEN:
        return qwen(&t, at, rule->digits);
    }
    return len;
}
