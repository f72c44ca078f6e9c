/*
 * prepare.h — what is taken out of a document's text before it is cut and embedded: steps, each on its own, always in
 * this order. All work in place, never make a text longer, take time linear in it whatever it holds, and turn
 * well-formed UTF-8 into well-formed UTF-8 (anything else may not be given to them).
 *
 * What a step does is part of what a fingerprint promises: a change raises QUERN__PREPARE_VERSION.
 *
 *   crlf        CR LF and CR become LF
 *   data-uri    data: URIs, and runs of over 100 base64 characters (lines of them, too), are removed
 *   html        script, style and comments go with their content, other tags alone; those of blocks become line breaks or
 *               paragraphs, cells a blank; entities are decoded. '<' in front of anything but a tag's name stays
 *   tracking    utm_*, gclid, fbclid and their like leave the query of http(s) URLs
 *   quoted      lines that begin with '>' and the "… wrote:" above them; "-----Original Message-----" or a block of
 *               From/Sent/To/Subject in the middle, and all below it
 *   signature   what follows the last line "-- " when it is short; closing lines like "Sent from my phone"
 *   whitespace  blanks become one, those around line ends none, characters without width none, empty lines at
 *               most one; the text is trimmed. Form feeds stay: they part pages
 */
#ifndef QUERN_TEXT_PREPARE_H
#define QUERN_TEXT_PREPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum quern__prepare_step {
    QUERN__PREPARE_CRLF = 1,
    QUERN__PREPARE_DATA_URI = 2,
    QUERN__PREPARE_HTML = 4,
    QUERN__PREPARE_TRACKING = 8,
    QUERN__PREPARE_QUOTED = 16,
    QUERN__PREPARE_SIGNATURE = 32,
    QUERN__PREPARE_WHITESPACE = 64,
    QUERN__PREPARE_ALL = 127
};

enum { QUERN__PREPARE_VERSION = 1, QUERN__PREPARE_NAMES = 80 };

/* "html, whitespace" in any order, "all", or NULL or "" for none. EINVAL names an unknown step and the nearest one. */
int quern__prepare_parse(const char *list, uint32_t *steps, quern_error *err);
/* As a fingerprint has it: "crlf,html/1"; without a step "none/1". */
void quern__prepare_names(uint32_t steps, char out[QUERN__PREPARE_NAMES]);

/* Returns the new length. */
size_t quern__prepare(uint32_t steps, char *text, size_t len);

/* ---- the steps ---- */
size_t quern__prepare_crlf(char *text, size_t len);
size_t quern__prepare_data_uri(char *text, size_t len);
size_t quern__prepare_html(char *text, size_t len);
size_t quern__prepare_tracking(char *text, size_t len);
size_t quern__prepare_quoted(char *text, size_t len);
size_t quern__prepare_signature(char *text, size_t len);
size_t quern__prepare_whitespace(char *text, size_t len);

#endif
