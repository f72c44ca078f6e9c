/*
 * assets.c — the face in front of embedders that can see: which of the assets go, what is refused before anybody is asked,
 * what is told about the rest. First the list is cut, then what has no URL is skipped: so one that cannot be had does
 * not let another one in, and the same list is the same call whatever its fetching did.
 *
 * A URL is looked at, never opened, and never shown: it may hold a signature.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/compiler.h"
#include "embedder/embedder.h"
#include "quern/vector.h"

static bool begins(quern_str s, const char *front)
{
    size_t n = strlen(front);
    for (size_t i = 0; i < n; i++) {
        char c = i < s.len ? s.ptr[i] : '\0';
        if ((c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c) != front[i])
            return false;
    }
    return s.len > n;
}

const char *quern__asset_wrong(const quern_asset *a)
{
    const char *wrong = NULL;
    if (!a->url.len)
        return NULL;
    if (a->kind < QUERN_ASSET_IMAGE || a->kind > QUERN_ASSET_VIDEO)
        wrong = "is neither image, frame nor video";
    else if (!begins(a->url, "http://") && !begins(a->url, "https://"))
        wrong = "has a URL that is not http or https";
    else if (a->url.len > QUERN__ASSET_URL)
        wrong = "has a URL of more than 8192 bytes";
    for (size_t k = 0; !wrong && k < a->url.len; k++)
        if (a->url.ptr[k] <= ' ' || a->url.ptr[k] > '~')
            wrong = "has a URL with a character that none has: percent-encode it";
    return wrong;
}

static int check_asset(const quern_asset *a, size_t i, quern_error *err)
{
    const char *wrong = quern__asset_wrong(a);
    return wrong ? quern__blame(err, quern__fail(err, QUERN_EINVAL, 0, "asset %zu %s", i, wrong), i)
                 : QUERN_OK;
}

/* Those that go, in kept with their places in at. */
typedef struct chosen {
    quern_asset kept[QUERN__MOST_ASSETS];
    size_t at[QUERN__MOST_ASSETS];
    size_t n;
    int32_t given; /* assets in the list: as a subject, the text or all together */
} chosen;

static void set_fate(const quern_asset_result *r, size_t i, int fate)
{
    if (r->fates)
        r->fates[i] = fate;
}

static int choose(chosen *c, const quern_asset *assets, size_t n, uint32_t most,
                  quern_asset_result *r, quern_error *err)
{
    size_t videos = 0;
    int rc = QUERN_OK;
    for (size_t i = 0; i < n && rc == QUERN_OK; i++) {
        if (i >= most) {
            r->cut++;
            set_fate(r, i, QUERN_ASSET_CUT);
        } else if (!assets[i].url.len) {
            r->skipped++;
            set_fate(r, i, QUERN_ASSET_SKIPPED);
        } else {
            rc = check_asset(&assets[i], i, err);
            videos += assets[i].kind == QUERN_ASSET_VIDEO;
            c->kept[c->n] = assets[i];
            c->at[c->n++] = i;
            set_fate(r, i, QUERN_ASSET_USED);
        }
    }
    r->used = (uint32_t)c->n;
    if (rc == QUERN_OK && videos > 1)
        rc = quern__blame(err,
                          quern__fail(err, QUERN_EINVAL, (int64_t)videos,
                                      "%zu videos with one text; at most one", videos),
                          n);
    return rc;
}

static int check_arguments(const quern_embedder *e, quern_str text, const quern_asset *assets,
                           size_t n, const quern_asset_result *r, quern_error *err)
{
    size_t dim = quern_embedder_dimensions(e), floats = 0;
    QUERN__REQUIRE(text.ptr || !text.len, err);
    QUERN__REQUIRE(assets || !n, err);
    QUERN__REQUIRE(n < INT32_MAX, err);
    QUERN__REQUIRE(r && r->struct_size >= sizeof *r && r->fused, err);
    for (size_t i = 0; i < n; i++)
        QUERN__REQUIRE(assets[i].url.ptr || !assets[i].url.len, err);
    if (r->fused_floats < dim || !quern__mul_size(n, dim, &floats) ||
        (r->each && r->each_floats < floats))
        return quern__fail(err, QUERN_EINVAL, 0,
                           "room for %zu and %zu floats, a vector and one for each of %zu assets "
                           "need %zu and %zu",
                           r->fused_floats, r->each ? r->each_floats : 0, n, dim, floats);
    if (text.len > UINT32_MAX / 2)
        return quern__blame(err, quern__fail(err, QUERN_EINVAL, 0, "the text is over 2 GiB"), n);
    if (!quern_embedder_sees(e))
        return quern__fail(err, QUERN_EUNSUPPORTED, 0, "%s reads texts only: it cannot see assets",
                           quern_embedder_name(e));
    return QUERN_OK;
}

/* One call: of the assets that go, and the text with them or not. The asset at fault gets its place in the list. */
static int ask(quern_embedder *e, quern_str text, const chosen *c, int together, float *out,
               const quern_embed_options *opt, quern_asset_result *r, quern_error *err)
{
    quern_embed_result counted = {0};
    quern_asset_call call = {.struct_size = sizeof call,
                             .text = text,
                             .assets = c->kept,
                             .n = c->n,
                             .together = together,
                             .opt = opt,
                             .out = out,
                             .result = &counted};
    size_t first = text.len > 0; /* vector of the first asset */
    int rc = quern__embedder_assets(e, &call, err);
    if (rc != QUERN_OK && err && err->subject >= 0) {
        size_t at = (size_t)err->subject;
        bool is_asset = (!together || first + c->n == 1) && at >= first;
        err->subject = is_asset && at - first < c->n ? (int32_t)c->at[at - first] : c->given;
    }
    r->tokens += counted.tokens;
    r->encode_ns += counted.encode_ns;
    return rc;
}

/* Of a call for one fused vector nobody can tell which asset was refused: asked about each alone, it may show. */
static int find_culprit(quern_embedder *e, const chosen *c, float *vectors,
                        const quern_embed_options *opt, quern_asset_result *r, int rc,
                        quern_error *err)
{
    quern_error each = {.subject = -1};
    int alone = ask(e, (quern_str){NULL, 0}, c, 0, vectors, opt, r, &each);
    if (alone == QUERN_OK || each.subject < 0 || each.subject >= c->given)
        return rc;
    *err = each;
    return alone;
}

static void put_each(const chosen *c, const float *vectors, size_t dim, const quern_asset_result *r)
{
    for (size_t k = 0; r->each && k < c->n; k++)
        memcpy(r->each + c->at[k] * dim, vectors + k * dim, dim * sizeof *vectors);
}

static int embed(quern_embedder *e, quern_str text, const chosen *c, const quern_asset_options *o,
                 quern_asset_result *r, quern_error *err)
{
    size_t dim = quern_embedder_dimensions(e), first = text.len > 0, parts = first + c->n;
    bool fuses = quern__embedder_fuses(e) && parts > 1;
    quern_embed_options opt;
    QUERN_INIT(&opt);
    opt.as = o->as;
    opt.truncation = o->truncation;
    opt.invalid_utf8 = o->invalid_utf8;
    opt.cancel = o->cancel;
    float *vectors = quern__alloc_array(parts * dim, sizeof *vectors);
    if (!vectors)
        return quern__fail_memory(err, parts * dim * sizeof *vectors);
    int rc = QUERN_OK;
    if (fuses)
        rc = ask(e, text, c, 1, r->fused, &opt, r, err);
    if (rc == QUERN_EREMOTE && fuses && r->each && c->n && err && err->subject == c->given &&
        err->retry_ms < 0)
        rc = find_culprit(e, c, vectors + first * dim, &opt, r, rc, err);
    if (rc == QUERN_OK && fuses && r->each)
        rc = c->n ? ask(e, (quern_str){NULL, 0}, c, 0, vectors + first * dim, &opt, r, err) : rc;
    if (!fuses)
        rc = ask(e, text, c, 0, vectors, &opt, r, err);
    if (rc == QUERN_OK && !fuses && parts == 1)
        memcpy(r->fused, vectors, dim * sizeof *vectors);
    else if (rc == QUERN_OK && !fuses &&
             (rc = quern_fuse_average(vectors, parts, dim, r->fused, err)) == QUERN_EINVAL)
        rc = quern__blame(err, rc, (size_t)c->given);
    if (rc == QUERN_OK && (!fuses || r->each))
        put_each(c, vectors + first * dim, dim, r);
    quern__free(vectors);
    return rc;
}

int quern__asset_options(quern_asset_options *out, const quern_asset_options *opt, quern_error *err)
{
    QUERN__REQUIRE(!opt || opt->struct_size >= sizeof(size_t), err);
    QUERN_INIT(out);
    if (opt)
        memcpy(out, opt, QUERN__MIN(opt->struct_size, sizeof *out));
    out->max_assets = out->max_assets ? out->max_assets : QUERN__ASSETS;
    if (out->max_assets > QUERN__MOST_ASSETS)
        return quern__fail(err, QUERN_EINVAL, out->max_assets,
                           "%u assets with one text; at most %d", out->max_assets,
                           QUERN__MOST_ASSETS);
    return QUERN_OK;
}

int quern_embed_assets(quern_embedder *e, quern_str text, const quern_asset *assets, size_t n,
                       const quern_asset_options *opt, quern_asset_result *result, quern_error *err)
{
    quern_asset_options o;
    chosen c;
    QUERN__REQUIRE(e, err);
    int rc = check_arguments(e, text, assets, n, result, err);
    if (rc == QUERN_OK)
        rc = quern__asset_options(&o, opt, err);
    if (rc != QUERN_OK)
        return rc;
    result->empty = 0;
    result->used = result->cut = result->skipped = 0;
    result->tokens = result->encode_ns = 0;
    c.n = 0;
    c.given = (int32_t)n;
    rc = choose(&c, assets, n, o.max_assets, result, err);
    if (rc == QUERN_OK && c.n == 0 && text.len == 0)
        result->empty = 1;
    else if (rc == QUERN_OK)
        rc = embed(e, text, &c, &o, result, err);
    return rc;
}
