/* words.c — see words.h. */
#include "text/words.h"

#include "text/unicode_bert.h"
#include "text/utf8.h"

typedef struct word_writer {
    quern__buf *out;
    size_t begin; /* of the whole list */
    char word[QUERN__WORD_BYTES];
    size_t n; /* may be more than fits: then it is no word */
} word_writer;

static void end_word(word_writer *w)
{
    if (w->n && w->n <= sizeof w->word) {
        if (w->out->len > w->begin)
            quern__buf_putc(w->out, ' ');
        quern__buf_append(w->out, w->word, w->n);
    }
    w->n = 0;
}

static void put(word_writer *w, uint32_t cp)
{
    char bytes[4];
    uint32_t n = quern__utf8_put(bytes, cp);
    if (w->n + n <= sizeof w->word)
        memcpy(w->word + w->n, bytes, n);
    else
        w->n = sizeof w->word;
    w->n += n;
}

static bool is_ascii_letter(uint32_t cp)
{
    return (cp >= '0' && cp <= '9') || (cp >= 'a' && cp <= 'z');
}

/* A code point that is neither space nor punctuation: lower case, without marks. */
static void put_folded(word_writer *w, uint32_t cp)
{
    uint32_t parts[QUERN__BERT_PARTS], lower[QUERN__BERT_PARTS];
    uint32_t n = quern__bert_strip(cp, parts);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t m = quern__bert_lower(parts[i], lower);
        for (uint32_t k = 0; k < m; k++) {
            if (quern__bert_class(lower[k]) & (QUERN__BERT_MARK | QUERN__BERT_CONTROL))
                continue;
            if (lower[k] < 0x80 && !is_ascii_letter(lower[k]))
                end_word(w);
            else
                put(w, lower[k]);
        }
    }
}

void quern__words(quern_str text, quern__buf *out)
{
    word_writer w = {.out = out, .begin = out->len};
    size_t end = text.len;
    if (end > QUERN__WORDS_TEXT)
        end = quern__utf8_floor(text.ptr, text.len, QUERN__WORDS_TEXT);
    for (size_t at = 0; at < end;) {
        uint32_t cp = 0;
        bool bad = false;
        at += quern__utf8_next(text.ptr + at, end - at, &cp, &bad);
        uint32_t class = quern__bert_class(cp);
        bool ideograph = (class & QUERN__BERT_CJK) != 0;
        if (bad || ideograph || (class & (QUERN__BERT_SPACE | QUERN__BERT_PUNCTUATION)))
            end_word(&w);
        if (bad || (class & (QUERN__BERT_SPACE | QUERN__BERT_PUNCTUATION | QUERN__BERT_CONTROL)))
            continue;
        put_folded(&w, cp);
        if (ideograph)
            end_word(&w);
    }
    end_word(&w);
}

bool quern__words_next(quern_str *rest, quern_str *word)
{
    while (rest->len && *rest->ptr == ' ') {
        rest->ptr++;
        rest->len--;
    }
    if (rest->len == 0)
        return false;
    const char *space = memchr(rest->ptr, ' ', rest->len);
    size_t n = space ? (size_t)(space - rest->ptr) : rest->len;
    *word = (quern_str){rest->ptr, n};
    rest->ptr += n;
    rest->len -= n;
    return true;
}
