/* again.c — see again.h. A builder's fault counts as a text of no chunk, which then differs. */
#include "pipeline/again.h"

#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "embedder/embedder.h"
#include "quern/vector.h"
#include "text/prepare.h"
#include "text/utf8.h"

enum { TEXTS = 32 };

_Static_assert(TEXTS > 1, "room to compare two");

int quern__again_init(quern__again *a, uint32_t dimensions, quern_error *err)
{
    quern__buf_init(&a->built, QUERN__TEXT_BUFFER);
    quern__arena_init(&a->inputs, 0);
    quern__arena_init(&a->held, 0);
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
    quern__arena_dispose(&a->held);
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
    if (doc->fault)
        a->sight.n = 0;
    else if (rc == QUERN_OK && (doc->assets != a->sight.assets || doc->n_assets != a->sight.n))
        rc = quern__sight_take(doc->assets, doc->n_assets,
                               quern__settings_assets(a->recipe, a->settings), &a->held, &a->sight,
                               a->reason, a->err);
    return rc;
}

static void keep_vector(quern__again *a, size_t i, const float *from)
{
    size_t dim = quern_embedder_dimensions(a->e);
    unsigned char *to = a->vectors + i * a->width;
    if (a->width == dim * 2)
        quern_f32_to_f16(from, (uint16_t *)(void *)to, dim);
    else
        quern_vector_to_blob(from, dim, to);
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
    for (size_t i = 0; rc == QUERN_OK && i < n; i++)
        keep_vector(a, at + i, a->floats + i * dim);
    return rc;
}

/* Rows 0 to sight.n. */
static int embed_seen(quern__again *a, quern_error *err)
{
    size_t dim = quern_embedder_dimensions(a->e);
    quern_asset_result seen;
    quern_str text = {NULL, 0};
    float *vectors = quern__alloc_array((a->sight.n + 1) * dim, sizeof *vectors);
    if (!vectors)
        return quern__fail_memory(err, (a->sight.n + 1) * dim * sizeof *vectors);
    int rc = quern__piece_input(&a->pieces, &a->pieces.items[0], a->text, &a->inputs, &text, err);
    if (rc == QUERN_OK)
        rc = quern__sight_embed(a->e, text, &a->sight, a->cancel, vectors, &seen, err);
    quern__arena_dispose(&a->inputs);
    for (size_t i = 0; rc == QUERN_OK && i <= a->sight.n; i++)
        keep_vector(a, i, vectors + i * dim);
    quern__free(vectors);
    return rc;
}

int quern__again_look(quern__again *a, const quern__document_view *doc, quern_error *err)
{
    quern__arena_dispose(&a->held);
    a->reason[0] = '\0';
    return quern__sight_read(a->recipe, doc, &a->held, &a->sight, a->reason, err);
}

int quern__again_embed(quern__again *a, quern_str key, quern_str text, quern_error *err)
{
    int rc = QUERN_OK;
    a->text = text;
    a->err = err;
    if (a->settings->builder[0]) {
        quern_built doc = {
            .key = key, .text = text, .assets = a->sight.assets, .n_assets = a->sight.n};
        rc = quern__build(a->builder, &doc, 1, take_built, a, err);
    }
    if (rc == QUERN_OK)
        rc = quern__chunk_text(a->e, a->text, &a->settings->chunking, &a->pieces, err);
    if (rc == QUERN_OK && a->reason[0])
        a->pieces.n = a->sight.n = 0;
    if (rc == QUERN_OK && a->sight.n)
        rc = quern__sight_pieces(&a->pieces, a->sight.n, err);
    if (rc != QUERN_OK)
        return rc;
    quern__free(a->vectors);
    a->vectors = quern__alloc_array(a->pieces.n + 1, a->width);
    if (!a->vectors)
        return quern__fail_memory(err, a->pieces.n * a->width);
    if (a->sight.n)
        rc = embed_seen(a, err);
    for (size_t at = a->sight.n ? a->sight.n + 1 : 0; rc == QUERN_OK && at < a->pieces.n;
         at += TEXTS)
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
    quern_str label = quern__sight_label(&a->sight, i);
    return c->index == i && c->start == at->start && c->end == at->end &&
           c->asset.len == label.len &&
           (!label.len || memcmp(c->asset.ptr, label.ptr, label.len) == 0) &&
           (memcmp(c->vector, now, a->width) == 0 ||
            (repeats > 0 && is_alike(a, c->vector, now, repeats)));
}
