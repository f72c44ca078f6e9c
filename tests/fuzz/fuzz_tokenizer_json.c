/*
 * fuzz_tokenizer_json.c — any bytes as tokenizer.json (after a first byte other than 'v', 'm', 's'), as
 * vocab.txt, tokenizer_config.json and special_tokens_map.json with a NUL between them (after 'v'), or as
 * vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json (after 'm'), or as
 * tokenizer_config.json and, behind a NUL, a SentencePiece model (after 's'):
 * refused with a message, or a tokenizer whose ids are all in the vocabulary and whose offsets lie
 * in the text, in order. It then reads its own file as a text.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/tokenizer_draft.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const quern__tokenizer *t, quern_str text)
{
    static const uint32_t cuts[] = {0, 1, 5};
    quern__tokens tokens;
    quern__tokens_init(&tokens);
    for (size_t c = 0; c < sizeof cuts / sizeof cuts[0]; c++) {
        if (quern__tokenize(t, text, cuts[c], &tokens, NULL) != QUERN_OK)
            abort();
        if (tokens.n > tokens.full || (cuts[c] && tokens.n > cuts[c]) ||
            (!cuts[c] && tokens.n != tokens.full))
            abort();
        uint32_t last = 0;
        for (uint32_t i = 0; i < tokens.n; i++) {
            if (!quern__tokenizer_text(t, tokens.ids[i]))
                abort();
            if (tokens.special[i])
                continue;
            if (tokens.start[i] > tokens.end[i] || tokens.end[i] > text.len ||
                (tokens.start[i] < last && !t->segments.trim)) /* a cut blank may share its place */
                abort();
            last = tokens.start[i];
        }
    }
    quern__tokens_dispose(&tokens);
}

/* Cuts the next part off, at a NUL or the end. */
static quern_str part(quern_str *rest)
{
    const char *end = rest->len ? memchr(rest->ptr, 0, rest->len) : NULL;
    quern_str out = {rest->ptr, end ? (size_t)(end - rest->ptr) : rest->len};
    size_t used = out.len + (end != NULL);
    *rest = (quern_str){rest->ptr + used, rest->len - used};
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    quern_str text = {(const char *)data, size};
    quern__tokenizer *t = NULL;
    quern_error err;
    int rc;

    if (size == 0)
        return 0;
    memset(&err, 0, sizeof err);
    if (data[0] == 'v') {
        quern_str rest = {text.ptr + 1, text.len - 1};
        quern__tokenizer_files files = {"vocab.txt", "config", "map", {0}, {0}, {0}};
        files.vocab = part(&rest);
        files.config = part(&rest);
        files.map = rest;
        rc = quern__tokenizer_from_vocab(&t, &files, &err);
    } else if (data[0] == 'm') {
        quern_str rest = {text.ptr + 1, text.len - 1};
        quern__merges_files files = {"vocab.json", "merges.txt", "config", "map",
                                     {0},          {0},          {0},      {0}};
        files.vocab = part(&rest);
        files.merges = part(&rest);
        files.config = part(&rest);
        files.map = rest;
        rc = quern__tokenizer_from_merges(&t, &files, &err);
    } else if (data[0] == 's') {
        quern_str rest = {text.ptr + 1, text.len - 1};
        quern__spiece_files files = {"spiece.model", "config", "map", {0}, {0}, {0}};
        files.config = part(&rest);
        files.model = rest;
        rc = quern__tokenizer_from_spiece(&t, &files, &err);
    } else {
        rc = quern__tokenizer_from_json(&t, "tokenizer.json", text, &err);
    }
    if (rc != QUERN_OK) {
        if (t || err.status != rc || !err.msg[0])
            abort();
        return 0;
    }
    use(t, text);
    quern__tokenizer_free(t);
    return 0;
}
