/*
 * tokenizer_merges.c — the older way of writing a byte-level BPE down: vocab.json (pieces and ids) and
 * merges.txt (one pair a line, the first learnt first).
 */
#include <string.h>

#include "text/utf8.h"
#include "tokenizer/tokenizer_classic.h"

enum { BYTES_PER_PIECE = 15 };

static int read_vocab(quern__classic *c, quern_str text, quern_error *err)
{
    quern__json j;
    quern__json_init(&j, text.ptr, text.len, c->d.file);
    int rc = quern__vocab_reserve(&c->d.t->vocab, (uint32_t)(text.len / BYTES_PER_PIECE), err);
    if (rc == QUERN_OK)
        rc = quern__draft_read_pieces(&c->d, &j, err);
    if (rc == QUERN_OK)
        rc = quern__json_end(&j, err);
    quern__json_dispose(&j);
    return rc;
}

static int read_line(quern__classic *c, const char *file, quern_str line, size_t at,
                     quern_error *err)
{
    const char *gap = memchr(line.ptr, ' ', line.len);
    size_t left = gap ? (size_t)(gap - line.ptr) : 0;
    if (!gap || memchr(gap + 1, ' ', line.len - left - 1))
        return quern__fail(err, QUERN_EFORMAT, (int64_t)at,
                           "%s: a line that is not two parts at byte %zu", file, at);
    return quern__draft_merge(&c->d, (quern_str){line.ptr, left},
                              (quern_str){gap + 1, line.len - left - 1}, at, err);
}

static int read_merges(quern__classic *c, const char *file, quern_str text, quern_error *err)
{
    size_t bad = quern__utf8_check(text.ptr, text.len);
    int rc = QUERN_OK;
    if (bad != text.len)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)bad, "%s: invalid UTF-8 at byte %zu", file,
                           bad);
    for (size_t at = 0, next; rc == QUERN_OK && at < text.len; at = next) {
        const char *end = memchr(text.ptr + at, '\n', text.len - at);
        quern_str line = {text.ptr + at, end ? (size_t)(end - text.ptr) - at : text.len - at};
        next = at + line.len + (end != NULL);
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        bool version = line.len >= 8 && memcmp(line.ptr, "#version", 8) == 0;
        bool last = line.len == 0 && next == text.len;
        if (!version && !last)
            rc = read_line(c, file, line, at, err);
    }
    return rc;
}

int quern__tokenizer_from_merges(quern__tokenizer **out, const quern__merges_files *files,
                                 quern_error *err)
{
    quern__classic c;
    *out = NULL;
    memset(&c, 0, sizeof c);
    int rc = quern__draft_begin(&c.d, files->vocab_name, err);
    if (rc != QUERN_OK)
        goto done;
    quern__segments *s = &c.d.t->segments;
    c.d.t->kind = QUERN__TOKENIZER_BPE;
    rc = quern__classic_config(&c, QUERN__CLASSIC_MERGES, files->config_name, files->config,
                               files->map_name, files->map, err);
    if (rc == QUERN_OK)
        rc = read_vocab(&c, files->vocab, err);
    if (rc == QUERN_OK)
        rc = read_merges(&c, files->merges_name, files->merges, err);
    if (rc == QUERN_OK)
        rc = quern__classic_names(&c, err);
    if (rc == QUERN_OK) {
        s->words = c.family->words;
        s->prefix_blank = c.prefix;
        s->trim = c.family->trim;
        s->trim_keeps_first = c.prefix;
        if (c.family->nfc)
            s->normalizer.steps[s->normalizer.n++].kind = QUERN__STEP_NFC;
        if (c.prefix && c.family->words.kind != QUERN__WORDS_GPT2)
            rc = quern__fail(err, QUERN_EFORMAT, 0,
                             "%s: add_prefix_space is not supported for this class at byte 0",
                             files->config_name);
    }
    if (rc == QUERN_OK)
        rc = quern__draft_finish(&c.d, out, err);
    if (rc == QUERN_OK)
        (*out)->model_max_length = c.length;
done:
    quern__draft_dispose(&c.d);
    return rc;
}
