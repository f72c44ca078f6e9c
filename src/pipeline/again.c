/* again.c — see again.h. A builder's fault counts as a text of no chunk, which then differs. */
#include "pipeline/again.h"

#include "base/alloc.h"
#include "base/compiler.h"
#include "embedder/embedder.h"
#include "quern/vector.h"
#include "text/prepare.h"
#include "text/utf8.h"

enum { TEXTS = 32 };

int quern__again_init(quern__again *a, uint32_t dimensions, quern_error *err)
{
    quern__buf_init(&a->built, QUERN__TEXT_BUFFER);
    quern__arena_init(&a->inputs, 0);
    a->width = (size_t)dimensions * quern__vector_width(a->settings->vector_type);
    a->floats = quern__alloc_array((size_t)TEXTS * dimensions, sizeof *a->floats);
    return a->floats ? QUERN_OK
                     : quern__fail_memory(err, (size_t)TEXTS * dimensions * sizeof *a->floats);
}

void quern__again_dispose(quern__again *a)
{
    quern__pieces_dispose(&a->pieces);
    quern__buf_dispose(&a->built);
    quern__arena_dispose(&a->inputs);
    quern__free(a->vectors);
    quern__free(a->floats);
}

static int take_built(const quern_built *doc, size_t i, void *ud)
{
    quern__again *a = ud;
    (void)i;
    quern_str text = doc->fault ? (quern_str){"", 0} : doc->text;
    if (text.len && quern__utf8_check(text.ptr, text.len) != text.len)
        text.len = 0;
    quern__buf_clear(&a->built);
    quern__buf_append(&a->built, text.ptr, text.len);
    int rc = quern__buf_ok(&a->built, "a built text", a->err);
    if (rc == QUERN_OK)
        a->text =
            (quern_str){a->built.data,
                        text.len ? quern__prepare(a->recipe->prepare, a->built.data, text.len) : 0};
    return rc;
}

static int embed_some(quern__again *a, size_t at, size_t n, quern_error *err)
{
    quern_str texts[TEXTS];
    quern_embed_options o;
    size_t dim = quern_embedder_dimensions(a->e);
    int rc = QUERN_OK;
    QUERN_INIT(&o);
    o.cancel = a->cancel;
    for (size_t i = 0; rc == QUERN_OK && i < n; i++)
        rc = quern__piece_input(&a->pieces, &a->pieces.items[at + i], a->text, &a->inputs,
                                &texts[i], err);
    if (rc == QUERN_OK)
        rc = quern_embed(a->e, texts, n, &o, a->floats, TEXTS * dim, NULL, err);
    quern__arena_dispose(&a->inputs);
    for (size_t i = 0; rc == QUERN_OK && i < n; i++) {
        unsigned char *to = a->vectors + (at + i) * a->width;
        if (a->width == dim * 2)
            quern_f32_to_f16(a->floats + i * dim, (uint16_t *)(void *)to, dim);
        else
            quern_vector_to_blob(a->floats + i * dim, dim, to);
    }
    return rc;
}

int quern__again_embed(quern__again *a, quern_str key, quern_str text, quern_error *err)
{
    int rc = QUERN_OK;
    a->text = text;
    a->err = err;
    if (a->settings->builder[0]) {
        quern_built doc = {.key = key, .text = text};
        rc = quern__build(a->builder, &doc, 1, take_built, a, err);
    }
    if (rc == QUERN_OK)
        rc = quern__chunk_text(a->e, a->text, &a->settings->chunking, &a->pieces, err);
    if (rc != QUERN_OK)
        return rc;
    quern__free(a->vectors);
    a->vectors = quern__alloc_array(a->pieces.n + 1, a->width);
    if (!a->vectors)
        return quern__fail_memory(err, a->pieces.n * a->width);
    for (size_t at = 0; rc == QUERN_OK && at < a->pieces.n; at += TEXTS)
        rc = embed_some(a, at, QUERN__MIN(a->pieces.n - at, (size_t)TEXTS), err);
    return rc;
}

/* As alike as the embedder's vectors of one text are, where it does not promise bits. */
static bool is_alike(const quern__again *a, const void *stored, const void *now, float repeats)
{
    size_t dim = quern_embedder_dimensions(a->e);
    float *x = a->floats, *y = a->floats + dim, cosine = 0; /* room for more than two */
    if (a->width == dim * 2) {
        quern_f16_to_f32(stored, x, dim);
        quern_f16_to_f32(now, y, dim);
    } else {
        memcpy(x, stored, a->width);
        memcpy(y, now, a->width);
    }
    return quern_cosine(x, y, dim, &cosine, NULL) == QUERN_OK && cosine >= repeats;
}

bool quern__again_same(const quern__again *a, size_t i, const quern_chunk *c)
{
    if (i >= a->pieces.n)
        return false;
    const quern__piece *at = &a->pieces.items[i];
    const void *now = a->vectors + i * a->width;
    float repeats = quern__embedder_repeats(a->e);
    return c->index == i && c->start == at->start && c->end == at->end &&
           (memcmp(c->vector, now, a->width) == 0 ||
            (repeats > 0 && is_alike(a, c->vector, now, repeats)));
}
