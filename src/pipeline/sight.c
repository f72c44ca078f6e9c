/*
 * sight.c — see sight.h.
 *
 * A URL may hold a signature or a password. What rows keep, and what reasons show of one, is the URL without its user, query and
 * fragment; a key that the list gives stands in its place.
 */
#include "pipeline/sight.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/json.h"
#include "embedder/embedder.h"
#include "text/utf8.h"

enum { SHOWN = 90, LABEL = 8 * QUERN__ASSET_KEY };

_Static_assert((int)QUERN__ASSETS_DECLARED == (int)QUERN__ASSETS, "one default");
_Static_assert((int)QUERN__ASSETS_DECLARABLE == (int)QUERN__MOST_ASSETS, "one limit");

/* ---- names ---- */

static bool is_shown(char c)
{
    return c > ' ' && c <= '~';
}

/* The part of a URL that may be seen; returns its bytes. */
static size_t bare_url(quern_str url, char *out, size_t room)
{
    size_t n = 0, from = 0, end = 0, path;
    while (end < url.len && url.ptr[end] != '?' && url.ptr[end] != '#')
        end++;
    for (size_t i = 0; i + 2 < end && !from; i++)
        from = memcmp(url.ptr + i, "://", 3) == 0 ? i + 3 : 0;
    for (path = from; path < end && url.ptr[path] != '/';)
        path++;
    size_t host = from;
    for (size_t i = from; i < path; i++)
        host = url.ptr[i] == '@' ? i + 1 : host;
    for (size_t i = 0; i < end && n < room; i++)
        if (i < from || i >= host)
            out[n++] = is_shown(url.ptr[i]) ? url.ptr[i] : '?';
    return n;
}

static int put_label(quern__buf *b, const quern_asset *a, quern__arena *arena, quern_str *out,
                     quern_error *err)
{
    char bare[QUERN__ASSET_KEY];
    quern_str key = a->key;
    quern__jsonw w;
    if (!key.len)
        key = (quern_str){bare, bare_url(a->url, bare, sizeof bare)};
    quern__buf_clear(b);
    quern__jsonw_init(&w, b);
    quern__jsonw_object(&w);
    quern__jsonw_put_cstr(&w, "kind", quern__asset_kind_name(a->kind));
    quern__jsonw_put_str(&w, "key", key);
    if (a->frame >= 0)
        quern__jsonw_put_i64(&w, "frame", a->frame);
    quern__jsonw_end_object(&w);
    int rc = quern__buf_ok(b, "an asset's name", err);
    if (rc != QUERN_OK)
        return rc;
    out->len = b->len;
    out->ptr = quern__arena_copy(arena, b->data, b->len);
    return out->ptr ? QUERN_OK : quern__fail_memory(err, b->len);
}

static int put_labels(quern__sight *s, quern__arena *arena, quern_error *err)
{
    char fused[48];
    quern__buf b;
    s->labels = quern__arena_alloc(arena, (s->n + 1) * sizeof *s->labels);
    if (!s->labels)
        return quern__fail_memory(err, (s->n + 1) * sizeof *s->labels);
    int n = snprintf(fused, sizeof fused, "{\"kind\":\"fused\",\"assets\":%zu}", s->n);
    s->labels[0] = (quern_str){quern__arena_copy(arena, fused, (size_t)n), (size_t)n};
    int rc = s->labels[0].ptr ? QUERN_OK : quern__fail_memory(err, (size_t)n);
    quern__buf_init(&b, LABEL);
    for (size_t i = 0; rc == QUERN_OK && i < s->n; i++)
        rc = put_label(&b, &s->assets[i], arena, &s->labels[i + 1], err);
    quern__buf_dispose(&b);
    return rc;
}

/* ---- lists ---- */

typedef struct gathering {
    quern__arena *arena;
    quern_asset items[QUERN__MOST_ASSETS];
    uint32_t places[QUERN__MOST_ASSETS];
    size_t n, listed, videos;
    uint32_t most, cut, skipped;
    char *reason;
    quern_error *err;
} gathering;

static int copy_str(gathering *g, quern_str from, quern_str *to)
{
    to->ptr = quern__arena_copy(g->arena, from.len ? from.ptr : "", from.len);
    to->len = from.len;
    return to->ptr ? QUERN_OK : quern__fail_memory(g->err, from.len);
}

static void note_wrong(gathering *g, const quern_asset *a, const char *wrong)
{
    char bare[SHOWN];
    size_t n = bare_url(a->url, bare, sizeof bare);
    if (!g->reason[0])
        snprintf(g->reason, QUERN__SIGHT_REASON, "asset %zu (%.*s) %s", g->listed, (int)n, bare,
                 wrong);
}

/* Behind the first wrong one nothing is kept, but still counted. */
static int gather(const quern_asset *a, void *ud)
{
    gathering *g = ud;
    const char *wrong = NULL;
    if (g->listed++ >= g->most) {
        g->cut += g->cut < UINT32_MAX;
        return QUERN_OK;
    }
    if (!a->url.len) {
        g->skipped++;
        return QUERN_OK;
    }
    if ((wrong = quern__asset_wrong(a)) == NULL && a->key.len > QUERN__ASSET_KEY)
        wrong = "has a key of more than 1024 bytes";
    if (!wrong && a->key.len && quern__utf8_check(a->key.ptr, a->key.len) != a->key.len)
        wrong = "has a key that is not UTF-8";
    if (!wrong && a->kind == QUERN_ASSET_VIDEO && ++g->videos > 1)
        wrong = "is a second video: at most one goes with one text";
    if (wrong) {
        note_wrong(g, a, wrong);
        return QUERN_OK;
    }
    quern_asset *to = &g->items[g->n];
    *to = *a;
    int rc = copy_str(g, a->key, &to->key);
    if (rc == QUERN_OK)
        rc = copy_str(g, a->url, &to->url);
    g->places[g->n] = (uint32_t)g->listed;
    g->n += rc == QUERN_OK;
    return rc;
}

static int finish(gathering *g, quern__sight *out, quern_error *err)
{
    memset(out, 0, sizeof *out);
    out->cut = g->cut;
    out->skipped = g->skipped;
    if (g->reason[0] || !g->n)
        return QUERN_OK;
    out->assets = quern__arena_alloc(g->arena, g->n * sizeof *out->assets);
    out->places = quern__arena_alloc(g->arena, g->n * sizeof *out->places);
    if (!out->assets || !out->places)
        return quern__fail_memory(err, g->n * sizeof *out->assets);
    memcpy(out->assets, g->items, g->n * sizeof *out->assets);
    memcpy(out->places, g->places, g->n * sizeof *out->places);
    out->n = g->n;
    return put_labels(out, g->arena, err);
}

int quern__sight_read(const quern__recipe *p, const quern__document_view *doc, quern__arena *arena,
                      quern__sight *out, char reason[QUERN__SIGHT_REASON], quern_error *err)
{
    gathering g = {.arena = arena, .most = p->assets.most, .reason = reason, .err = err};
    int rc = QUERN_OK;
    reason[0] = '\0';
    for (size_t i = 0; rc == QUERN_OK && i < p->assets.n; i++) {
        char name[QUERN__SIGHT_REASON / 2];
        quern_error local = {0};
        snprintf(name, sizeof name, "its assets in %.60s", p->assets.name[i]);
        rc = quern__assets_parse(doc->assets[i], p->assets.kind[i], name, gather, &g, &local);
        if (rc == QUERN_EFORMAT && !reason[0])
            snprintf(reason, QUERN__SIGHT_REASON, "%.190s", local.msg);
        else if (rc != QUERN_OK && rc != QUERN_EFORMAT && err && local.status)
            *err = local;
        rc = rc == QUERN_EFORMAT ? QUERN_OK : rc;
    }
    return rc ? rc : finish(&g, out, err);
}

int quern__sight_take(const quern_asset *list, size_t n, uint32_t most, quern__arena *arena,
                      quern__sight *out, char reason[QUERN__SIGHT_REASON], quern_error *err)
{
    gathering g = {.arena = arena, .most = most, .reason = reason, .err = err};
    int rc = QUERN_OK;
    reason[0] = '\0';
    for (size_t i = 0; rc == QUERN_OK && i < n; i++)
        rc = gather(&list[i], &g);
    return rc ? rc : finish(&g, out, err);
}

/* ---- rows ---- */

int quern__sight_pieces(quern__pieces *pieces, size_t n, quern_error *err)
{
    size_t texts = pieces->n, more = n + (texts == 0);
    for (size_t i = 0; i < more; i++) {
        int rc = quern__pieces_push(pieces, (quern__piece){.start = 0}, (quern_str){"", 0}, err);
        if (rc != QUERN_OK)
            return rc;
    }
    if (texts > 1) {
        memmove(pieces->items + 1 + n, pieces->items + 1, (texts - 1) * sizeof *pieces->items);
        memset(pieces->items + 1, 0, n * sizeof *pieces->items);
    }
    return QUERN_OK;
}

/* ---- vectors ---- */

int quern__sight_embed(quern_embedder *e, quern_str text, const quern__sight *sight,
                       const quern_cancel *cancel, float *vectors, quern_asset_result *counted,
                       quern_error *err)
{
    size_t dim = quern_embedder_dimensions(e);
    quern_asset_options o;
    QUERN_INIT(&o);
    o.as = QUERN_AS_DOCUMENT;
    o.truncation = QUERN_TRUNCATION_ERROR;
    o.max_assets = QUERN__MOST_ASSETS; /* the list is cut already */
    o.cancel = cancel;
    QUERN_INIT(counted);
    counted->fused = vectors;
    counted->fused_floats = dim;
    counted->each = vectors + dim;
    counted->each_floats = sight->n * dim;
    return quern_embed_assets(e, text, sight->assets, sight->n, &o, counted, err);
}

bool quern__sight_fault(const quern__sight *sight, int rc, const quern_error *err,
                        char reason[QUERN__SIGHT_REASON])
{
    char bare[SHOWN];
    bool own = rc == QUERN_ETOOLONG || rc == QUERN_EFORMAT || rc == QUERN_EINTERNAL ||
               (err->subject >= 0 && (rc == QUERN_EINVAL || rc == QUERN_EUNSUPPORTED ||
                                      (rc == QUERN_EREMOTE && err->retry_ms < 0)));
    if (own && err->subject >= 0 && (size_t)err->subject < sight->n) {
        const quern_asset *a = &sight->assets[err->subject];
        size_t n = bare_url(a->url, bare, sizeof bare);
        int at = snprintf(reason, QUERN__SIGHT_REASON,
                          "asset %u (%.*s): ", sight->places[err->subject], (int)n, bare);
        size_t room = QUERN__SIGHT_REASON - (size_t)at - 1;
        memcpy(reason + at, err->msg, QUERN__MIN(strlen(err->msg) + 1, room));
        reason[QUERN__SIGHT_REASON - 1] = '\0';
    } else if (own) {
        snprintf(reason, QUERN__SIGHT_REASON, "%.*s", QUERN__SIGHT_REASON - 1, err->msg);
    }
    if (own) /* it is kept in the database: cut at a character */
        reason[quern__utf8_check(reason, strlen(reason))] = '\0';
    return own;
}
