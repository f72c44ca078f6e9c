/*
 * carry_sample.c — is a document of an export what this machine would make of its row? Cut and embedded again, and every
 * chunk's place and every bit of its vector compared: under one fingerprint there is one right answer (docs/bits.md).
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "pipeline/carry.h"
#include "quern/vector.h"

typedef struct row_text {
    quern__carry_import *im;
    const quern__carry_doc *doc;
    quern_str text;
    bool same;
    quern_error *err;
} row_text;

static int take_row(const quern_row *row, void *ud)
{
    row_text *t = ud;
    quern__document_view view;
    if (row->fault)
        return QUERN_OK;
    int rc = quern__recipe_document(t->im->recipe, row, QUERN__DOCUMENT_BYTES, &t->im->text, &view,
                                    t->err);
    if (rc != QUERN_OK)
        return rc;
    quern_str was = t->doc->revision;
    t->text = view.text;
    t->same = !view.reason[0] && view.revision.len == was.len &&
              (was.len == 0 || memcmp(view.revision.ptr, was.ptr, was.len) == 0);
    return t->same ? quern__again_look(&t->im->again, &view, t->err) : QUERN_OK;
}

/* The element that differs most, for the message. */
static float largest_difference(const void *a, const void *b, size_t dimensions, size_t width)
{
    const unsigned char *pa = a, *pb = b;
    float most = 0;
    for (size_t d = 0; d < dimensions; d++) {
        float x, y;
        if (width == 2) {
            uint16_t ha, hb;
            memcpy(&ha, pa + d * 2, 2);
            memcpy(&hb, pb + d * 2, 2);
            quern_f16_to_f32(&ha, &x, 1);
            quern_f16_to_f32(&hb, &y, 1);
        } else {
            memcpy(&x, pa + d * 4, 4);
            memcpy(&y, pb + d * 4, 4);
        }
        most = QUERN__MAX(most, fabsf(x - y));
    }
    return most;
}

static bool same_asset(quern_str a, quern_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static void note_difference(quern__carry_import *im, const quern__carry_doc *doc, size_t chunk)
{
    char *to = im->report->first_difference;
    const size_t size = sizeof im->report->first_difference;
    const quern__again *a = &im->again;
    if (to[0])
        return;
    int n =
        snprintf(to, size, "key %.*s: ", (int)QUERN__MIN(doc->key.len, (size_t)100), doc->key.ptr);
    if (doc->n != a->pieces.n)
        snprintf(to + n, size - (size_t)n, "%zu chunks in the export, %zu embedded again", doc->n,
                 a->pieces.n);
    else if (doc->chunks[chunk].start != a->pieces.items[chunk].start ||
             doc->chunks[chunk].end != a->pieces.items[chunk].end)
        snprintf(to + n, size - (size_t)n, "chunk %zu is another piece of the text", chunk);
    else if (!same_asset(doc->chunks[chunk].asset, quern__sight_label(&a->sight, chunk)))
        snprintf(to + n, size - (size_t)n, "something else was seen for chunk %zu", chunk);
    else
        snprintf(to + n, size - (size_t)n, "the vector of chunk %zu differs, by up to %g", chunk,
                 (double)largest_difference(doc->chunks[chunk].vector,
                                            a->vectors + chunk * a->width, im->p.dimensions,
                                            a->width / im->p.dimensions));
}

int quern__carry_compare(quern__carry_import *im, const quern__carry_doc *doc, quern_error *err)
{
    row_text t = {.im = im, .doc = doc, .err = err};
    int rc = im->s->table.fetch(im->s->self, &im->read, &doc->key, 1, take_row, &t, err);
    if (rc != QUERN_OK || !t.same)
        return rc;
    rc = quern__again_embed(&im->again, doc->key, t.text, err);
    if (rc != QUERN_OK)
        return rc;
    size_t bad = 0;
    while (bad < doc->n && quern__again_same(&im->again, bad, &doc->chunks[bad]))
        bad++;
    im->report->sampled++;
    if (bad == doc->n && doc->n == im->again.pieces.n)
        im->report->equal++;
    else
        note_difference(im, doc, bad);
    return QUERN_OK;
}
