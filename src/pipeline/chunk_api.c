/*
 * chunk_api.c — settings of the chunker that follow from an embedder, and chunking as a call of its own
 * (quern/chunk.h): what `quern chunk` shows is what fill does, because both come through here.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/error.h"
#include "pipeline/recipe.h"
#include "text/prepare.h"
#include "text/utf8.h"

struct quern_text_chunks {
    quern_text_chunk *items;
    size_t n;
    uint64_t dropped;
    char *prepared; /* its own text, when there were steps */
    char *headings; /* all of them; chunks point into it */
};

/* Without a tokenizer, windows are counted in characters. */
static int find_unit(quern__chunking *how, quern_embedder *e, quern_error *err)
{
    quern_tokens *t = NULL;
    quern_error local = {0};
    int rc = quern_embedder_tokenize(e, quern_str_of(""), &t, &local);
    quern_tokens_free(t);
    how->characters = rc == QUERN_EUNSUPPORTED;
    if (rc != QUERN_OK && !how->characters && err)
        *err = local;
    return how->characters ? QUERN_OK : rc;
}

int quern__chunking_settle(quern__chunking *how, quern_embedder *e, uint32_t max_chunks,
                           uint32_t overlap, quern_error *err)
{
    uint32_t reads = quern_embedder_max_length(e);
    uint32_t prompt = 0;
    memset(how, 0, sizeof *how);
    if (max_chunks > QUERN__CHUNK_LIMIT)
        return quern__fail(err, QUERN_EINVAL, max_chunks, "%u chunks a document: at most %d",
                           max_chunks, QUERN__CHUNK_LIMIT);
    int rc = quern__prompt_tokens(e, &prompt, err);
    if (rc == QUERN_OK)
        rc = find_unit(how, e, err);
    if (rc != QUERN_OK)
        return rc;
    if (reads && prompt > reads / 2)
        return quern__fail(err, QUERN_EINVAL, prompt,
                           "the prompt in front of documents has %u tokens, %s reads %u: too "
                           "little is left for the text",
                           prompt, quern_embedder_name(e), reads);
    reads -= reads ? prompt : 0;
    /* A character is one token at most in nearly every vocabulary, so a window of as many characters as the model
     * reads tokens is never too long. */
    const uint32_t unit = how->characters ? QUERN__CHUNK_CHARACTERS : 1;
    const uint32_t most = QUERN__CHUNK_TOKENS * unit;
    how->max_tokens = reads ? QUERN__MIN(reads, most) : most;
    how->overlap = overlap ? overlap : QUERN__MIN(QUERN__CHUNK_OVERLAP * unit, how->max_tokens / 4);
    how->max_chunks = max_chunks ? max_chunks : QUERN__CHUNK_MAX;
    if (how->overlap > how->max_tokens / 2)
        return quern__fail(err, QUERN_EINVAL, how->overlap,
                           "an overlap of %u %s is over half of the window of %u", how->overlap,
                           how->characters ? "characters" : "tokens", how->max_tokens);
    return QUERN_OK;
}

static int keep_pieces(quern_text_chunks *c, quern_str text, quern__pieces *found, quern_error *err)
{
    c->items = quern__alloc_array(found->n + 1, sizeof *c->items);
    c->headings = found->headings.max ? quern__buf_detach(&found->headings) : quern__strdup("");
    if (!c->items || !c->headings)
        return quern__fail_memory(err, (found->n + 1) * sizeof *c->items);
    for (size_t i = 0; i < found->n; i++) {
        const quern__piece *p = &found->items[i];
        c->items[i] =
            (quern_text_chunk){.start = p->start,
                               .end = p->end,
                               .char_start = p->char_start,
                               .char_end = p->char_end,
                               .tokens = p->tokens,
                               .page = p->page,
                               .heading = {c->headings + p->heading, p->heading_len},
                               .text = {text.ptr + p->start, (size_t)(p->end - p->start)}};
    }
    c->n = found->n;
    c->dropped = found->dropped_bytes;
    return QUERN_OK;
}

/* The text that is cut: the caller's own, or a prepared copy that belongs to c. */
static int prepare_text(quern_text_chunks *c, const char *list, quern_str *text, quern_error *err)
{
    uint32_t steps = 0;
    int rc = quern__prepare_parse(list, &steps, err);
    if (rc != QUERN_OK || !steps || !text->len)
        return rc;
    c->prepared = quern__strndup(text->ptr, text->len);
    if (!c->prepared)
        return quern__fail_memory(err, text->len);
    *text = (quern_str){c->prepared, quern__prepare(steps, c->prepared, text->len)};
    return QUERN_OK;
}

static int cut_text(quern_text_chunks *c, quern_embedder *e, quern_str text,
                    const quern_chunk_options *o, quern_error *err)
{
    quern__chunking how;
    quern__pieces found = {0};
    int rc = prepare_text(c, o->prepare, &text, err);
    if (rc == QUERN_OK)
        rc = quern__chunking_settle(&how, e, o->max_chunks, o->overlap, err);
    how.headings = o->headings != 0;
    if (rc == QUERN_OK)
        rc = quern__chunk_text(e, text, &how, &found, err);
    if (rc == QUERN_OK)
        rc = keep_pieces(c, text, &found, err);
    quern__pieces_dispose(&found);
    return rc;
}

int quern_chunk_text(quern_text_chunks **out, quern_embedder *e, quern_str text,
                     const quern_chunk_options *opt, quern_error *err)
{
    QUERN__REQUIRE(out, err);
    *out = NULL;
    QUERN__REQUIRE(e && (text.ptr || !text.len), err);
    QUERN__REQUIRE(!opt || opt->struct_size >= sizeof(size_t), err);
    quern_chunk_options o;
    QUERN_INIT(&o);
    if (opt)
        memcpy(&o, opt, QUERN__MIN(opt->struct_size, sizeof o));
    size_t good = text.len ? quern__utf8_check(text.ptr, text.len) : 0;
    if (good != text.len)
        return quern__fail(err, QUERN_EFORMAT, (int64_t)good, "the text is not UTF-8 at byte %zu",
                           good);
    quern_text_chunks *c = quern__calloc(1, sizeof *c);
    if (!c)
        return quern__fail_memory(err, sizeof *c);
    int rc = cut_text(c, e, text, &o, err);
    if (rc != QUERN_OK)
        quern_text_chunks_free(c);
    else
        *out = c;
    return rc;
}

size_t quern_text_chunks_count(const quern_text_chunks *c)
{
    return c ? c->n : 0;
}

const quern_text_chunk *quern_text_chunks_at(const quern_text_chunks *c, size_t i)
{
    return c && i < c->n ? &c->items[i] : NULL;
}

uint64_t quern_text_chunks_dropped(const quern_text_chunks *c)
{
    return c ? c->dropped : 0;
}

void quern_text_chunks_free(quern_text_chunks *c)
{
    if (!c)
        return;
    quern__free(c->items);
    quern__free(c->prepared);
    quern__free(c->headings);
    quern__free(c);
}
