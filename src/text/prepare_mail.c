/*
 * prepare_mail.c — of a mail only what its writer wrote: without the mail that it answers and without a signature. By lines,
 * with rules that err on the side of keeping; the words that mail programs put above a quotation are known in the
 * languages below and no others. See prepare.h.
 */
#include <string.h>

#include "base/compiler.h"
#include "text/prepare.h"

enum { ATTRIBUTION = 300, HEADER_LINES = 6, SIGNATURE_LINES = 15, SIGNATURE_BYTES = 2000 };

static const char *const originals[] = {
    "original message",  "ursprüngliche nachricht", "originalnachricht",
    "message d'origine", "message original",        "mensaje original",
    "mensagem original", "messaggio originale",     "oorspronkelijk bericht",
};
/* Ends of the line above a quotation, and the words that begin it. */
static const char *const wrote[] = {
    "wrote:",    "schrieb:",    "geschrieben:", "a écrit :", "a écrit\xC2\xA0:", "a écrit:",
    "escribió:", "ha scritto:", "schreef:",     "skrev:",    "escreveu:",        "napisał(a):",
};
static const char *const began[] = {
    "On ", "Am ", "Le ", "El ", "Il giorno ", "Op ", "Den ", "Em ", "W dniu ",
};
static const struct {
    const char *from, *others[3];
} headers[] = {
    {"From:", {"Sent:", "To:", "Subject:"}},         {"From:", {"Date:", "To:", "Subject:"}},
    {"*From:*", {"*Sent:*", "*To:*", "*Subject:*"}}, {"Von:", {"Gesendet:", "An:", "Betreff:"}},
    {"Von:", {"Datum:", "An:", "Betreff:"}},         {"De :", {"Envoyé :", "À :", "Objet :"}},
    {"De:", {"Enviado:", "Para:", "Asunto:"}},
};
static const char *const closings[] = {
    "Sent from my ",          "Sent from Outlook",          "Sent from Mail for ",
    "Get Outlook for ",       "Von meinem iPhone gesendet", "Von meinem iPad gesendet",
    "Gesendet von Mail für ", "Gesendet von meinem ",       "Envoyé de mon ",
    "Enviado desde mi ",      "Inviato da iPhone",          "Inviato dal mio ",
};

typedef struct line {
    size_t start, end; /* without its line end */
    size_t next;
} line;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static line line_at(const char *text, size_t at, size_t len)
{
    const char *end = at < len ? memchr(text + at, '\n', len - at) : NULL;
    size_t stop = end ? (size_t)(end - text) : len;
    return (line){at, stop, end ? stop + 1 : len};
}

/* The same without blanks at both ends. */
static line trimmed(const char *text, line l)
{
    while (l.start < l.end && is_blank(text[l.start]))
        l.start++;
    while (l.end > l.start && is_blank(text[l.end - 1]))
        l.end--;
    return l;
}

static bool begins(const char *text, line l, const char *word)
{
    size_t n = strlen(word);
    return l.end - l.start >= n && memcmp(text + l.start, word, n) == 0;
}

static bool ends(const char *text, line l, const char *word)
{
    size_t n = strlen(word);
    return l.end - l.start >= n && memcmp(text + l.end - n, word, n) == 0;
}

/* ---- quoted ---- */

/* "-----Original Message-----" */
static bool is_original(const char *text, line l)
{
    size_t a = l.start, z = l.end;
    while (a < z && (text[a] == '-' || text[a] == '_' || text[a] == ' '))
        a++;
    while (z > a && (text[z - 1] == '-' || text[z - 1] == '_' || text[z - 1] == ' '))
        z--;
    if (a < l.start + 2 || z + 2 > l.end)
        return false;
    for (size_t i = 0; i < QUERN__COUNT(originals); i++) {
        size_t n = strlen(originals[i]), k = 0;
        while (n == z - a && k < n &&
               (text[a + k] == originals[i][k] ||
                (text[a + k] >= 'A' && text[a + k] <= 'Z' && text[a + k] + 32 == originals[i][k])))
            k++;
        if (k == n && n == z - a)
            return true;
    }
    return false;
}

/* A block of lines From, Sent, To, Subject, as some programs put above what is answered. */
static bool is_header_block(const char *text, line first, size_t len)
{
    for (size_t i = 0; i < QUERN__COUNT(headers); i++) {
        if (!begins(text, first, headers[i].from))
            continue;
        unsigned found = 0;
        line l = first;
        for (int n = 0; n < HEADER_LINES && l.next < len; n++) {
            l = line_at(text, l.next, len);
            for (unsigned k = 0; k < 3; k++)
                if (begins(text, trimmed(text, l), headers[i].others[k]))
                    found |= 1u << k;
        }
        if (found == 7)
            return true;
    }
    return false;
}

/* The last two lines that were kept and are not empty, and where what was written behind them ends. */
typedef struct kept_lines {
    line last, before;
    int n;
} kept_lines;

static bool is_attribution_end(const char *text, line l)
{
    for (size_t i = 0; i < QUERN__COUNT(wrote); i++)
        if (ends(text, l, wrote[i]))
            return true;
    /* "Am 3. Mai schrieb Ann <ann@example.org>:" has its verb in the middle. */
    return ends(text, l, ">:");
}

static bool is_attribution_begin(const char *text, line l)
{
    for (size_t i = 0; i < QUERN__COUNT(began); i++)
        if (begins(text, l, began[i]))
            return true;
    return false;
}

/* Takes the line (or the two of them) that says who wrote what is quoted below off the end of what was written. */
static size_t drop_attribution(const char *text, size_t to, kept_lines *k)
{
    if (k->n == 0 || k->last.end - k->last.start > ATTRIBUTION ||
        !is_attribution_end(text, k->last))
        return to;
    if (is_attribution_begin(text, k->last))
        to = k->last.next;
    else if (k->n > 1 && k->before.end - k->before.start <= ATTRIBUTION &&
             is_attribution_begin(text, k->before))
        to = k->before.next;
    k->n = 0;
    return to;
}

size_t quern__prepare_quoted(char *text, size_t len)
{
    size_t to = 0;
    kept_lines kept = {.n = 0}; /* of these `next` is where the line begins in what was written */
    bool any = false;           /* something was written that is not blank */
    for (size_t at = 0; at < len;) {
        line whole = line_at(text, at, len), l = trimmed(text, whole);
        at = whole.next;
        if (l.start < l.end && text[l.start] == '>') {
            to = drop_attribution(text, to, &kept);
            continue;
        }
        if (any && (is_original(text, l) ||
                    is_header_block(text, (line){l.start, l.end, whole.next}, len)))
            break;
        size_t n = whole.next - whole.start, indent = l.start - whole.start;
        memmove(text + to, text + whole.start, n);
        if (l.start < l.end) {
            kept.before = kept.last;
            kept.last = (line){to + indent, to + indent + (l.end - l.start), to};
            kept.n += kept.n < 2;
            any = true;
        }
        to += n;
    }
    return to;
}

/* ---- signature ---- */

static bool is_delimiter(const char *text, line l)
{
    return (l.end - l.start == 2 && memcmp(text + l.start, "--", 2) == 0) ||
           (l.end - l.start == 3 && memcmp(text + l.start, "-- ", 3) == 0);
}

/* Where the last delimiter's line begins, if what follows it is short enough for a signature; else len. */
static size_t find_signature(const char *text, size_t len)
{
    size_t found = len, lines = 0;
    for (size_t at = 0; at < len;) {
        line l = line_at(text, at, len);
        if (l.end > l.start && text[l.end - 1] == '\r')
            l.end--;
        line t = trimmed(text, l);
        if (is_delimiter(text, l)) {
            found = l.start;
            lines = 0;
        } else {
            lines += t.start < t.end;
        }
        at = l.next;
    }
    return lines <= SIGNATURE_LINES && len - found <= SIGNATURE_BYTES ? found : len;
}

size_t quern__prepare_signature(char *text, size_t len)
{
    len = find_signature(text, len);
    size_t end = len;
    for (;;) { /* the last line that is not empty, as often as it is a closing one */
        while (end && (is_blank(text[end - 1]) || text[end - 1] == '\n'))
            end--;
        size_t start = end;
        while (start && text[start - 1] != '\n')
            start--;
        line l = trimmed(text, (line){start, end, end});
        size_t i = 0;
        while (i < QUERN__COUNT(closings) && !begins(text, l, closings[i]))
            i++;
        if (i == QUERN__COUNT(closings) || l.end - l.start > ATTRIBUTION)
            return len;
        len = end = start;
    }
}
