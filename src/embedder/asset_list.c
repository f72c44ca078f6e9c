/*
 * asset_list.c — the assets of a document from the program's lister and fetcher. The list is over before the first one is fetched:
 * a lister that holds a statement open is done by then, and nothing behind the cut is ever fetched.
 *
 * Both functions are somebody else's code: what they hand back is copied and looked at before it is used.
 */
#include "base/arena.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "embedder/embedder.h"

typedef struct listing {
    quern__arena arena;
    quern_asset taken[QUERN__MOST_ASSETS];
    size_t n;
    uint32_t most;
    uint32_t cut;
    int rc;
    quern_error *err;
} listing;

static int take(void *to, const quern_asset *a)
{
    listing *l = to;
    if (l->rc != QUERN_OK)
        return l->rc;
    if (!a || (!a->key.ptr && a->key.len))
        return l->rc = quern__fail(l->err, QUERN_EINVAL, 0, "the lister named no asset");
    if (l->n == l->most) {
        l->cut += l->cut < UINT32_MAX;
        return QUERN_OK;
    }
    if (a->key.len > QUERN__ASSET_KEY)
        return l->rc = quern__blame(l->err,
                                    quern__fail(l->err, QUERN_EINVAL, (int64_t)a->key.len,
                                                "asset %zu has a key of %zu bytes; at most %d",
                                                l->n, a->key.len, QUERN__ASSET_KEY),
                                    l->n);
    char *key = quern__arena_copy(&l->arena, a->key.len ? a->key.ptr : "", a->key.len);
    if (!key)
        return l->rc = quern__fail_memory(l->err, a->key.len);
    l->taken[l->n] = *a;
    l->taken[l->n].key = (quern_str){key, a->key.len};
    l->taken[l->n++].url = (quern_str){NULL, 0};
    return QUERN_OK;
}

static int fetch(listing *l, const quern_asset_source *source, quern_asset *a)
{
    quern_str url = {NULL, 0};
    int rc = source->fetch(a, &url, source->ud);
    if (rc == QUERN_ECANCELLED || rc == QUERN_ENOMEM)
        return quern__fail(l->err, rc, 0, "the fetcher of assets: %s", quern_status_text(rc));
    if (rc != QUERN_OK || !url.len)
        return QUERN_OK; /* skipped */
    if (!url.ptr)
        return quern__fail(l->err, QUERN_EINVAL, 0, "the fetcher gave a URL without bytes");
    size_t n = QUERN__MIN(url.len, (size_t)QUERN__ASSET_URL + 1); /* one more is refused later */
    char *kept = quern__arena_copy(&l->arena, url.ptr, n);
    if (!kept)
        return quern__fail_memory(l->err, n);
    a->url = (quern_str){kept, n};
    return QUERN_OK;
}

static int gather(listing *l, const quern_asset_source *source, quern_str key,
                  const quern_cancel *cancel)
{
    int rc = source->list(key, take, l, source->ud);
    if (l->rc != QUERN_OK)
        return l->rc;
    if (rc != QUERN_OK)
        return quern__fail(l->err, rc < 0 ? rc : QUERN_EINTERNAL, rc,
                           "the lister of assets failed: %s (%d)",
                           quern_status_name(rc < 0 ? rc : QUERN_EINTERNAL), rc);
    for (size_t i = 0; i < l->n && rc == QUERN_OK; i++) {
        rc = quern__check_cancel(cancel, l->err);
        if (rc == QUERN_OK)
            rc = fetch(l, source, &l->taken[i]);
    }
    return rc;
}

int quern_embed_listed(quern_embedder *e, quern_str text, quern_str key,
                       const quern_asset_source *source, const quern_asset_options *opt,
                       quern_asset_result *result, quern_error *err)
{
    quern_asset_options o;
    QUERN__REQUIRE(e && result && (key.ptr || !key.len), err);
    QUERN__REQUIRE(source && source->struct_size >= sizeof *source, err);
    QUERN__REQUIRE(source->list && source->fetch, err);
    if (!quern_embedder_sees(e)) /* before anything is signed */
        return quern__fail(err, QUERN_EUNSUPPORTED, 0, "%s reads texts only: it cannot see assets",
                           quern_embedder_name(e));
    int rc = quern__asset_options(&o, opt, err);
    if (rc != QUERN_OK)
        return rc;
    listing l = {.most = o.max_assets, .err = err};
    quern__arena_init(&l.arena, 0);
    rc = gather(&l, source, key, o.cancel);
    if (rc == QUERN_OK)
        rc = quern_embed_assets(e, text, l.taken, l.n, &o, result, err);
    if (rc == QUERN_OK)
        result->cut = l.cut;
    quern__arena_dispose(&l.arena);
    return rc;
}
