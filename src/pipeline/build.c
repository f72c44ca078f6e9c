/*
 * build.c — see build.h. The program's functions are somebody else's code: what they hand back is checked before it is
 * used, and a failing code without an error of ours is given words.
 */
#include "pipeline/build.h"

#include <string.h>

#include "base/error.h"
#include "store/asset_columns.h"
#include "text/utf8.h"

int quern__builder_check(const quern_document_builder *b, const char *source, quern_error *err)
{
    if (!b)
        return QUERN_OK;
    if (!source)
        return quern__fail(err, QUERN_EINVAL, 0, "a document builder is one source's: name it");
    QUERN__REQUIRE(b->struct_size >= offsetof(quern_document_builder, max_assets), err);
    QUERN__REQUIRE(b->one || b->many, err);
    if (quern__builder_assets(b) > QUERN__ASSETS_DECLARABLE)
        return quern__fail(err, QUERN_EINVAL, b->max_assets,
                           "source %s: the document builder names %u assets; at most %d", source,
                           b->max_assets, QUERN__ASSETS_DECLARABLE);
    size_t n = b->id ? strlen(b->id) : 0;
    if (n == 0 || n >= QUERN__BUILDER_ID || quern__utf8_check(b->id, n) != n)
        return quern__fail(err, QUERN_EINVAL, (int64_t)n,
                           "source %s: the document builder's id must have 1 to %d bytes of UTF-8",
                           source, QUERN__BUILDER_ID - 1);
    return QUERN_OK;
}

uint32_t quern__builder_assets(const quern_document_builder *b)
{
    return b && b->struct_size >= sizeof *b ? b->max_assets : 0;
}

static int refused(const quern_document_builder *b, int rc, quern_error *err)
{
    return quern__fail(err, rc < 0 ? rc : QUERN_EINTERNAL, rc, "document builder %s: %s (%d)",
                       b->id, rc < 0 ? quern_status_name(rc) : "failed", rc);
}

static int hand_over(const quern_built *doc, size_t i, quern__built_fn fn, void *ud,
                     const quern_document_builder *b, quern_error *err)
{
    if (!doc->fault && doc->text.len && !doc->text.ptr)
        return quern__fail(err, QUERN_EINVAL, (int64_t)i,
                           "document builder %s: a text without bytes", b->id);
    if (!doc->fault && doc->n_assets && !doc->assets)
        return quern__fail(err, QUERN_EINVAL, (int64_t)i,
                           "document builder %s: assets without a place", b->id);
    for (size_t k = 0; !doc->fault && k < doc->n_assets; k++)
        if ((doc->assets[k].url.len && !doc->assets[k].url.ptr) ||
            (doc->assets[k].key.len && !doc->assets[k].key.ptr))
            return quern__fail(err, QUERN_EINVAL, (int64_t)i,
                               "document builder %s: an asset without bytes", b->id);
    return fn(doc, i, ud);
}

int quern__build(const quern_document_builder *b, quern_built *docs, size_t n, quern__built_fn fn,
                 void *ud, quern_error *err)
{
    int rc = b->many && n ? b->many(docs, n, b->ud) : QUERN_OK;
    if (rc != QUERN_OK)
        return refused(b, rc, err);
    for (size_t i = 0; i < n; i++) {
        rc = b->many ? QUERN_OK : b->one(&docs[i], b->ud);
        if (rc != QUERN_OK)
            return refused(b, rc, err);
        rc = hand_over(&docs[i], i, fn, ud, b, err);
        if (rc != QUERN_OK)
            return rc;
    }
    return QUERN_OK;
}
