/*
 * prepare_links.c — what is in a text for machines only: data: URIs and base64, and parameters of URLs that say where
 * a reader came from. See prepare.h.
 */
#include "text/prepare.h"

#include <string.h>

#include "base/compiler.h"

enum { RUN = 100, LINE = 60, MEDIA_TYPE = 256 };

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_base64(char c)
{
    return is_letter(c) || is_digit(c) || c == '+' || c == '/';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* Does text[at…] begin with this word of lower case, in any case? */
static bool begins(const char *text, size_t at, size_t len, const char *word)
{
    size_t i = 0;
    while (word[i] && at + i < len && lower(text[at + i]) == word[i])
        i++;
    return word[i] == '\0';
}

/* ---- data: and base64 ---- */

/* The comma behind "data:image/png;base64", or `at` if this is no data: URI. */
static size_t media_type_end(const char *text, size_t at, size_t len, bool *base64)
{
    size_t end = at;
    bool slash = false;
    *base64 = false;
    while (end < len && end - at < MEDIA_TYPE &&
           (is_letter(text[end]) || is_digit(text[end]) ||
            (text[end] && strchr("!#$&^_.+-/;=\"%", text[end])))) {
        slash |= text[end] == '/';
        *base64 |= begins(text, end, len, ";base64");
        end++;
    }
    return end < len && text[end] == ',' && (slash || *base64) ? end : at;
}

/* One past the end of the data: URI that begins at `at`, or `at`. */
static size_t data_uri_end(const char *text, size_t at, size_t len)
{
    bool base64 = false;
    if (!begins(text, at, len, "data:") || (at && is_base64(text[at - 1])))
        return at;
    size_t comma = media_type_end(text, at + 5, len, &base64);
    if (comma == at + 5)
        return at;
    size_t end = comma + 1;
    if (base64)
        while (end < len && (is_base64(text[end]) || (text[end] && strchr("=_%-", text[end]))))
            end++;
    else
        while (end < len && (unsigned char)text[end] > ' ' && !strchr("\"'<>()[]{}`", text[end]))
            end++;
    return end;
}

/* One past the base64 characters from `at` on; *mixed: small and large letters and digits are among them. */
static size_t run_end(const char *text, size_t at, size_t len, bool *mixed)
{
    unsigned seen = 0;
    while (at < len && is_base64(text[at])) {
        seen |= is_digit(text[at]) ? 1u : text[at] >= 'a' ? 2u : text[at] >= 'A' ? 4u : 0u;
        at++;
    }
    *mixed = seen == 7;
    return at;
}

/* Line ends belong to a block whose lines are as long as its first; a last one may be shorter. */
static size_t block_end(const char *text, size_t at, size_t end, size_t len)
{
    size_t width = end - at;
    while (width >= LINE && end < len && text[end] == '\n') {
        bool mixed = false;
        size_t from = end + 1, to = run_end(text, from, len, &mixed), n = to - from;
        while (to < len && text[to] == '=' && to - from < n + 2)
            to++;
        bool whole = to == len || text[to] == '\n' || text[to] == ' ';
        if (!whole || to == from || n > width || (n < width && (to - from) % 4 != 0))
            break;
        end = to;
        if (n < width)
            break;
    }
    return end;
}

size_t quern__prepare_data_uri(char *text, size_t len)
{
    size_t to = 0;
    for (size_t at = 0; at < len;) {
        bool mixed = false;
        size_t gone = data_uri_end(text, at, len);
        size_t run = gone > at ? at : run_end(text, at, len, &mixed);
        size_t block = mixed ? block_end(text, at, run, len) : run;
        if (mixed && block - at > RUN) {
            gone = block;
            for (int i = 0; i < 2 && gone < len && text[gone] == '='; i++)
                gone++;
        }
        if (gone > at) {
            at = gone;
            continue;
        }
        size_t keep = run > at ? run : at + 1;
        memmove(text + to, text + at, keep - at);
        to += keep - at;
        at = keep;
    }
    return to;
}

/* ---- tracking ---- */

/* Of a parameter's name; one that ends in '*' stands for all that begin so. */
static const char *const trackers[] = {
    "utm_*",
    "gclid",
    "dclid",
    "gbraid",
    "wbraid",
    "gclsrc",
    "gad_source",
    "gad_campaignid",
    "fbclid",
    "msclkid",
    "mc_cid",
    "mc_eid",
    "igshid",
    "igsh",
    "twclid",
    "yclid",
    "ttclid",
    "li_fat_id",
    "_hsenc",
    "_hsmi",
    "hsctatracking",
    "mkt_tok",
    "vero_id",
    "vero_conv",
    "oly_anon_id",
    "oly_enc_id",
    "_openstat",
    "wickedid",
    "rb_clickid",
    "epik",
    "s_kwcid",
    "ml_subscriber",
    "ml_subscriber_hash",
    "_ga",
    "_gl",
    "pk_campaign",
    "pk_kwd",
    "mtm_*",
    "__hssc",
    "__hstc",
    "__hsfp",
};

static bool is_tracker(const char *name, size_t n)
{
    for (size_t i = 0; i < QUERN__COUNT(trackers); i++) {
        const char *t = trackers[i];
        size_t len = strlen(t);
        bool open = t[len - 1] == '*';
        len -= open;
        if (n < len || (!open && n != len))
            continue;
        size_t k = 0;
        while (k < len && lower(name[k]) == t[k])
            k++;
        if (k == len)
            return true;
    }
    return false;
}

static bool ends_url(char c)
{
    return (unsigned char)c <= ' ' || strchr("<>\"'`()[]{}\\|^", c);
}

/* A separator of parameters: its length, 0 if there is none. "&amp;" where the text is HTML. */
static size_t separator(const char *text, size_t at, size_t end)
{
    if (at == end || text[at] != '&')
        return 0;
    return begins(text, at, end, "&amp;") ? 5 : 1;
}

/* Writes the query [at, end), whose '?' is at `at`, without what tracks. Returns the new `to`. */
static size_t write_query(char *text, size_t to, size_t at, size_t end)
{
    char first = '?';
    size_t gap = 1;
    while (at < end) {
        size_t from = at + gap, stop = from, name;
        while (stop < end && !separator(text, stop, end))
            stop++;
        for (name = from; name < stop && text[name] != '='; name++)
            ;
        size_t next = separator(text, stop, end);
        if (!is_tracker(text + from, name - from)) {
            if (first)
                text[to++] = '?';
            else
                to += (memmove(text + to, text + at, gap), gap);
            first = 0;
            memmove(text + to, text + from, stop - from);
            to += stop - from;
        }
        at = stop;
        gap = next;
    }
    return to;
}

size_t quern__prepare_tracking(char *text, size_t len)
{
    size_t to = 0;
    for (size_t at = 0; at < len;) {
        if ((text[at] != 'h' && text[at] != 'H') ||
            (!begins(text, at, len, "http://") && !begins(text, at, len, "https://"))) {
            text[to++] = text[at++];
            continue;
        }
        size_t end = at, query = 0, hash = 0;
        while (end < len && !ends_url(text[end])) {
            if (text[end] == '?' && !query && !hash)
                query = end;
            if (text[end] == '#' && !hash)
                hash = end;
            end++;
        }
        size_t last = end; /* without the punctuation of the sentence around it */
        while (last > at && strchr(".,;:!?", text[last - 1]))
            last--;
        size_t stop = hash && hash < last ? hash : last;
        if (query && query < stop) {
            memmove(text + to, text + at, query - at);
            to = write_query(text, to + (query - at), query, stop);
            at = stop;
        }
        memmove(text + to, text + at, end - at);
        to += end - at;
        at = end;
    }
    return to;
}
