/*
 * test_assets.c — quern_embed_assets: what goes and what is told about the rest, vectors in their places, fusing by the embedder
 * and by the mean, wrappers in between, faults, and no memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "base/error.h"
#include "quern/provider.h"
#include "quern/sys/embedder.h"
#include "quern/vector.h"
#include "torture/torture.h"

enum { DIM = 3, MOST = 80 };

/* An asset whose URL ends in /N looks along axis N % 3; a text along axis 0; together: the sum of all, and axis 2 once more. */
typedef struct inner {
    int calls, together, vectors, outages;
    size_t most;        /* parts in a call; more is a 400 */
    const char *poison; /* in a URL: a 400 */
    int wrong;          /* a vector that is not of unit length */
    char seen[1024];    /* what went: text, URLs */
} inner;

static void see(inner *e, const char *what, size_t n)
{
    size_t at = strlen(e->seen);
    snprintf(e->seen + at, sizeof e->seen - at, "%.*s ", (int)n, what);
}

static int part_fault(inner *e, const quern_asset_call *c, size_t parts, quern_error *err)
{
    bool bad = false;
    for (size_t i = 0; i < c->n; i++)
        bad = bad || (e->poison && strstr(c->assets[i].url.ptr, e->poison));
    int rc = QUERN_OK;
    if (e->outages > 0 && e->outages-- > 0)
        return quern__may_retry(err, quern__fail(err, QUERN_EREMOTE, 503, "down"), 1);
    if (bad || (e->most && parts > e->most))
        rc = quern__fail(err, QUERN_EREMOTE, 400, "not this");
    if (rc && (parts == 1 || c->together))
        quern__blame(err, rc, 0);
    return rc;
}

static int inner_assets(void *self, const quern_asset_call *c, quern_error *err)
{
    inner *e = self;
    size_t parts = (c->text.len > 0) + c->n, first = c->text.len > 0;
    float v[MOST][DIM] = {{0}}, sum[DIM] = {0, 0, 1};
    e->calls++;
    e->together += c->together;
    int rc = part_fault(e, c, parts, err);
    if (rc)
        return rc;
    assert_int_equal(c->opt->no_normalize, 0);
    if (first)
        see(e, c->text.ptr, c->text.len);
    for (size_t i = 0; i < parts; i++) {
        int axis = 0;
        if (i >= first) {
            const quern_asset *a = &c->assets[i - first];
            axis = (a->url.ptr[a->url.len - 1] - '0') % DIM;
            see(e, a->url.ptr, a->url.len);
        }
        v[i][axis] = e->wrong ? 2 : 1;
        sum[axis] += 1;
    }
    e->vectors += c->together ? 1 : (int)parts;
    c->result->tokens = (uint32_t)parts;
    memcpy(c->out, c->together ? sum : v[0], (c->together ? 1 : parts) * sizeof v[0]);
    return c->together ? quern_normalize(c->out, DIM, err) : QUERN_OK;
}

static int inner_embed(void *self, const quern_str *texts, size_t n, const quern_embed_options *opt,
                       float *out, quern_embed_result *results, quern_error *err)
{
    (void)self, (void)texts, (void)opt, (void)results, (void)err;
    memset(out, 0, n * DIM * sizeof *out);
    for (size_t i = 0; i < n; i++)
        out[i * DIM] = 1;
    return QUERN_OK;
}

static int inner_fingerprint(void *self, char **json, quern_error *err)
{
    (void)self;
    *json = quern_alloc(3);
    if (!*json)
        return quern__fail_memory(err, 3);
    memcpy(*json, "{}", 3);
    return QUERN_OK;
}

static int make(quern_embedder **out, inner *e, int fuses, quern_error *err)
{
    quern_embedder_table table = {.struct_size = sizeof table,
                                  .name = "eye",
                                  .dimensions = DIM,
                                  .embed = inner_embed,
                                  .fingerprint = inner_fingerprint,
                                  .embed_assets = inner_assets,
                                  .fuses = fuses};
    return quern_embedder_from_table(out, &table, e, err);
}

static quern_embedder *eye(inner *e, int fuses)
{
    quern_embedder *out = NULL;
    assert_int_equal(make(&out, e, fuses, NULL), QUERN_OK);
    assert_true(quern_embedder_sees(out));
    return out;
}

static quern_asset image(const char *url)
{
    return (quern_asset){.kind = QUERN_ASSET_IMAGE, .frame = -1, .url = quern_str_of(url)};
}

typedef struct answer {
    float fused[DIM], each[MOST][DIM];
    int fates[MOST];
    quern_asset_result r;
    quern_error err;
} answer;

static int ask(answer *a, quern_embedder *e, const char *text, const quern_asset *assets, size_t n,
               const quern_asset_options *opt)
{
    memset(a, 0, sizeof *a);
    QUERN_INIT(&a->r);
    a->r.fused = a->fused;
    a->r.fused_floats = DIM;
    a->r.each = a->each[0];
    a->r.each_floats = MOST * DIM;
    a->r.fates = a->fates;
    for (size_t i = 0; i < MOST; i++)
        a->each[i][0] = -7; /* nobody has been here */
    return quern_embed_assets(e, quern_str_of(text), assets, n, opt, &a->r, &a->err);
}

static void is_vector(const float *v, float x, float y, float z)
{
    float norm = sqrtf(x * x + y * y + z * z);
    assert_true(fabsf(v[0] - x / norm) < 1e-6f && fabsf(v[1] - y / norm) < 1e-6f &&
                fabsf(v[2] - z / norm) < 1e-6f);
}

static void test_mean(void **state)
{
    (void)state;
    inner in = {0};
    answer a;
    quern_embedder *e = eye(&in, 0);
    quern_asset list[] = {image("http://h/1"), image(""), image("https://h/2"),
                          image("http://h/1")};
    assert_int_equal(ask(&a, e, "red", list, 4, NULL), QUERN_OK);
    is_vector(a.fused, 1, 2, 1);
    is_vector(a.each[0], 0, 1, 0);
    assert_true(a.each[1][0] == -7); /* a skipped one has none */
    is_vector(a.each[2], 0, 0, 1);
    is_vector(a.each[3], 0, 1, 0);
    assert_int_equal(in.calls, 1);
    assert_string_equal(in.seen, "red http://h/1 https://h/2 http://h/1 ");
    assert_int_equal(a.r.used, 3);
    assert_int_equal(a.r.skipped, 1);
    assert_int_equal(a.r.cut, 0);
    assert_int_equal(a.r.tokens, 4);
    assert_int_equal(a.fates[1], QUERN_ASSET_SKIPPED);
    assert_int_equal(a.fates[3], QUERN_ASSET_USED);
    /* one alone is itself; a text alone too */
    assert_int_equal(ask(&a, e, "", list, 1, NULL), QUERN_OK);
    is_vector(a.fused, 0, 1, 0);
    is_vector(a.each[0], 0, 1, 0);
    assert_int_equal(ask(&a, e, "red", NULL, 0, NULL), QUERN_OK);
    is_vector(a.fused, 1, 0, 0);
    /* without each */
    assert_int_equal(ask(&a, e, "red", list + 2, 1, NULL), QUERN_OK);
    is_vector(a.fused, 1, 0, 1);
    quern_embedder_free(e);
}

static void test_fuses_itself(void **state)
{
    (void)state;
    inner in = {0};
    answer a;
    quern_embedder *e = eye(&in, 1);
    quern_asset list[] = {image(""), image("http://h/1"), image("http://h/1")};
    assert_int_equal(ask(&a, e, "red", list, 3, NULL), QUERN_OK);
    is_vector(a.fused, 1, 2, 1);
    is_vector(a.each[1], 0, 1, 0);
    is_vector(a.each[2], 0, 1, 0);
    assert_int_equal(in.calls, 2);
    assert_int_equal(in.together, 1);
    assert_string_equal(in.seen, "red http://h/1 http://h/1 http://h/1 http://h/1 ");
    assert_int_equal(a.r.tokens, 5);
    in = (inner){0};
    assert_int_equal(ask(&a, e, "", list, 2, NULL), QUERN_OK); /* nothing to fuse: one call */
    is_vector(a.fused, 0, 1, 0);
    is_vector(a.each[1], 0, 1, 0);
    assert_int_equal(in.calls, 1);
    assert_int_equal(in.together, 0);
    quern_asset_result r;
    float v[DIM];
    QUERN_INIT(&r);
    r.fused = v;
    r.fused_floats = DIM;
    in = (inner){0};
    assert_int_equal(quern_embed_assets(e, quern_str_of("red"), list, 3, NULL, &r, NULL), QUERN_OK);
    assert_int_equal(in.calls, 1); /* each was not wanted */
    quern_embedder_free(e);
}

static void test_cut_and_empty(void **state)
{
    (void)state;
    inner in = {0};
    answer a;
    quern_embedder *e = eye(&in, 0);
    quern_asset list[12];
    for (size_t i = 0; i < 12; i++)
        list[i] = image(i == 2 ? "" : "http://h/1");
    assert_int_equal(ask(&a, e, "", list, 12, NULL), QUERN_OK);
    assert_int_equal(a.r.used, 7); /* of the first eight; nobody moves up */
    assert_int_equal(a.r.skipped, 1);
    assert_int_equal(a.r.cut, 4);
    assert_int_equal(a.fates[7], QUERN_ASSET_USED);
    assert_int_equal(a.fates[8], QUERN_ASSET_CUT);
    quern_asset_options o;
    QUERN_INIT(&o);
    o.max_assets = 2;
    assert_int_equal(ask(&a, e, "", list, 12, &o), QUERN_OK);
    assert_int_equal(a.r.used, 2);
    assert_int_equal(a.r.cut, 10);
    o.max_assets = 65;
    assert_int_equal(ask(&a, e, "", list, 12, &o), QUERN_EINVAL);
    /* nothing left: nobody is asked */
    int calls = in.calls;
    assert_int_equal(ask(&a, e, "", list + 2, 1, NULL), QUERN_OK);
    assert_int_equal(a.r.empty, 1);
    assert_int_equal(a.r.skipped, 1);
    assert_int_equal(ask(&a, e, "", NULL, 0, NULL), QUERN_OK);
    assert_int_equal(a.r.empty, 1);
    assert_int_equal(in.calls, calls);
    quern_embedder_free(e);
}

static void refused(quern_embedder *e, const quern_asset *list, size_t n, int code, int subject,
                    const char *words)
{
    answer a;
    assert_int_equal(ask(&a, e, "red", list, n, NULL), code);
    assert_int_equal(a.err.subject, subject);
    assert_non_null(strstr(a.err.msg, words));
    assert_null(strstr(a.err.msg, "h/")); /* no URL in a message */
}

static void test_refuses(void **state)
{
    (void)state;
    inner in = {0};
    quern_embedder *e = eye(&in, 0);
    char lengthy[9000];
    memset(lengthy, 'x', sizeof lengthy - 1);
    memcpy(lengthy, "http://h/", 9);
    lengthy[sizeof lengthy - 1] = '\0';
    const char *const bad[] = {
        "ftp://h/1", "http://",     "/h/1",          "http://h/a b",
        lengthy,     "http://h/\n", "http://h/\xc3", "data:image/png;base64,h/"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        quern_asset list[] = {image("http://h/1"), image(bad[i])};
        refused(e, list, 2, QUERN_EINVAL, 1, "asset 1");
    }
    quern_asset list[] = {image("http://h/1"), image("http://h/2"), image("http://h/3")};
    list[0].kind = list[2].kind = QUERN_ASSET_VIDEO;
    refused(e, list, 3, QUERN_EINVAL, 3, "2 videos");
    list[2].kind = QUERN_ASSET_FRAME;
    list[1].kind = 3;
    refused(e, list, 3, QUERN_EINVAL, 1, "neither");
    assert_int_equal(in.calls, 0);
    /* a video that is cut or cannot be had is none */
    answer a;
    quern_asset_options o;
    QUERN_INIT(&o);
    list[1] = list[2] = list[0];
    list[1].url = (quern_str){NULL, 0};
    o.max_assets = 2;
    assert_int_equal(ask(&a, e, "red", list, 3, &o), QUERN_OK);
    /* arguments */
    assert_int_equal(quern_embed_assets(e, quern_str_of("x"), NULL, 1, NULL, &a.r, &a.err),
                     QUERN_EINVAL);
    assert_int_equal(quern_embed_assets(NULL, quern_str_of("x"), NULL, 0, NULL, &a.r, &a.err),
                     QUERN_EINVAL);
    assert_int_equal(quern_embed_assets(e, quern_str_of("x"), NULL, 0, NULL, NULL, &a.err),
                     QUERN_EINVAL);
    a.r.fused_floats = DIM - 1;
    assert_int_equal(quern_embed_assets(e, quern_str_of("x"), NULL, 0, NULL, &a.r, &a.err),
                     QUERN_EINVAL);
    a.r.fused_floats = DIM;
    a.r.each_floats = DIM;
    assert_int_equal(quern_embed_assets(e, quern_str_of("x"), list, 2, NULL, &a.r, &a.err),
                     QUERN_EINVAL);
    in.wrong = 1;
    refused(e, list, 1, QUERN_EINTERNAL, 1, "length"); /* of the text */
    quern_embedder_free(e);
    /* one that reads only */
    quern_embedder_table table = {.struct_size = offsetof(quern_embedder_table, embed_assets),
                                  .name = "reader",
                                  .dimensions = DIM,
                                  .embed = inner_embed,
                                  .fingerprint = inner_fingerprint};
    assert_int_equal(quern_embedder_from_table(&e, &table, &in, NULL), QUERN_OK);
    assert_false(quern_embedder_sees(e));
    refused(e, list, 1, QUERN_EUNSUPPORTED, -1, "reader reads texts only");
    quern_embedder_free(e);
}

static void test_cancelled(void **state)
{
    (void)state;
    inner in = {0};
    answer a;
    quern_asset_options o;
    quern_embedder *e = eye(&in, 0);
    QUERN_INIT(&o);
    quern_asset one = image("http://h/1");
    assert_int_equal(quern_cancel_new((quern_cancel **)&o.cancel, NULL), QUERN_OK);
    quern_cancel_raise((quern_cancel *)o.cancel);
    assert_int_equal(ask(&a, e, "", &one, 1, &o), QUERN_ECANCELLED);
    assert_int_equal(in.calls, 0);
    quern_cancel_free((quern_cancel *)o.cancel);
    quern_embedder_free(e);
}

/* cached ( batching ( retrying ( pausing ( limited ( … ) ) ) ) ) */
static int wrap_all(quern_embedder **out, quern_embedder *e, uint32_t most, quern_cache *cache,
                    quern_error *err)
{
    quern_embedder *outer = NULL;
    quern_limit_options limit;
    quern_retry_options retry;
    quern_batching_options batching;
    QUERN_INIT(&limit);
    QUERN_INIT(&retry);
    QUERN_INIT(&batching);
    limit.requests_per_minute = UINT32_MAX;
    limit.tokens_per_minute = 1 << 30;
    retry.base_ms = 1;
    batching.max_inputs = most;
    int rc = quern_embedder_limited(&outer, e, &limit, err);
    if (!rc)
        e = outer;
    if (!rc && !(rc = quern_embedder_pausing(&outer, e, NULL, err)))
        e = outer;
    if (!rc && !(rc = quern_embedder_retrying(&outer, e, &retry, err)))
        e = outer;
    if (!rc && !(rc = quern_embedder_batching(&outer, e, &batching, err)))
        e = outer;
    if (!rc && cache && !(rc = quern_embedder_cached(&outer, e, cache, err)))
        e = outer;
    *out = e;
    return rc;
}

static void test_wrapped(void **state)
{
    (void)state;
    answer a;
    quern_asset list[7];
    static const char *const urls[] = {"http://h/0", "http://h/1", "http://h/2", "http://h/3",
                                       "http://h/4", "http://h/5", "http://h/6"};
    for (size_t i = 0; i < 7; i++)
        list[i] = image(urls[i]);
    for (int fuses = 0; fuses < 2; fuses++) {
        inner in = {.outages = 2};
        quern_embedder *e;
        quern_cache *cache;
        quern_cache_options c;
        QUERN_INIT(&c);
        assert_int_equal(quern_cache_open(&cache, &c, NULL), QUERN_OK);
        assert_int_equal(wrap_all(&e, eye(&in, fuses), 3, cache, NULL), QUERN_OK);
        assert_true(quern_embedder_sees(e));
        assert_int_equal(ask(&a, e, "red", list, 7, NULL), QUERN_OK);
        for (size_t i = 0; i < 7; i++)
            is_vector(a.each[i], i % 3 == 0, i % 3 == 1, i % 3 == 2);
        is_vector(a.fused, 4, 2, fuses ? 3 : 2);
        /* 8 parts in threes, or all together and 7 in threes; and the two outages */
        assert_int_equal(in.calls, (fuses ? 4 : 3) + 2);
        assert_int_equal(a.r.tokens, fuses ? 15 : 8);
        /* what is too many is halved, and who is at fault stands alone */
        in = (inner){.most = 1, .poison = "/5"};
        assert_int_equal(ask(&a, e, "", list, 5, NULL), fuses ? QUERN_EREMOTE : QUERN_OK);
        in.most = fuses ? 0 : 1;
        assert_int_equal(ask(&a, e, "red", list, 7, NULL), QUERN_EREMOTE);
        assert_int_equal(a.err.subject, 5); /* together nobody can tell: each alone is asked */
        assert_int_equal(a.err.detail, 400);
        quern_embedder_free(e);
        quern_cache_free(cache);
    }
}

/* ---- from a lister and a fetcher ---- */

/* Key "N" is asset N; "gone" cannot be fetched. */
typedef struct shelf {
    const char *const *keys;
    size_t n;
    int fetched, list_code, fetch_code;
    bool listing;
} shelf;

static int list_keys(quern_str key, int (*take)(void *to, const quern_asset *a), void *to, void *ud)
{
    shelf *s = ud;
    char passing[2000]; /* the lister's, for the call only */
    assert_int_equal(key.len, 3);
    s->listing = true;
    for (size_t i = 0; i < s->n; i++) {
        snprintf(passing, sizeof passing, "%s", s->keys[i]);
        quern_asset a = {.kind = QUERN_ASSET_FRAME,
                         .frame = (int64_t)i,
                         .key = quern_str_of(passing),
                         .url = quern_str_of("http://h/9 is not looked at")};
        int rc = take(to, &a);
        memset(passing, '#', sizeof passing);
        if (rc)
            return rc;
    }
    s->listing = false;
    return s->list_code;
}

static int fetch_url(const quern_asset *a, quern_str *url, void *ud)
{
    static char signed_url[64];
    shelf *s = ud;
    assert_false(s->listing);
    assert_int_equal(a->frame, s->fetched++);
    if (s->fetch_code)
        return s->fetch_code;
    if (a->key.len == 4 && memcmp(a->key.ptr, "gone", 4) == 0)
        return QUERN_ENOTFOUND;
    snprintf(signed_url, sizeof signed_url, "http://h/%.*s", (int)a->key.len, a->key.ptr);
    *url = (quern_str){signed_url, strlen(signed_url)};
    if (a->key.len == 0)
        *url = (quern_str){NULL, 0};
    return QUERN_OK;
}

static int ask_listed(answer *a, quern_embedder *e, shelf *s, uint32_t most)
{
    quern_asset_source source;
    quern_asset_options o;
    memset(a, 0, sizeof *a);
    QUERN_INIT(&source);
    QUERN_INIT(&o);
    QUERN_INIT(&a->r);
    source.list = list_keys;
    source.fetch = fetch_url;
    source.ud = s;
    o.max_assets = most;
    a->r.fused = a->fused;
    a->r.fused_floats = DIM;
    a->r.each = a->each[0];
    a->r.each_floats = MOST * DIM;
    a->r.fates = a->fates;
    s->fetched = 0;
    return quern_embed_listed(e, quern_str_of("red"), quern_str_of("doc"), &source, &o, &a->r,
                              &a->err);
}

static void test_listed(void **state)
{
    (void)state;
    static const char *const keys[] = {"1", "gone", "2", "", "1", "1", "1", "1", "1", "1"};
    inner in = {0};
    answer a;
    shelf s = {.keys = keys, .n = 10};
    quern_embedder *e = eye(&in, 0);
    assert_int_equal(ask_listed(&a, e, &s, 0), QUERN_OK);
    assert_int_equal(s.fetched, 8); /* none behind the cut */
    assert_int_equal(a.r.used, 6);
    assert_int_equal(a.r.skipped, 2);
    assert_int_equal(a.r.cut, 2);
    assert_int_equal(a.fates[1], QUERN_ASSET_SKIPPED);
    is_vector(a.each[2], 0, 0, 1);
    is_vector(a.fused, 1, 5, 1);
    assert_int_equal(ask_listed(&a, e, &s, 1), QUERN_OK);
    assert_int_equal(a.r.cut, 9);
    /* who ends it */
    s.fetch_code = QUERN_EIO;
    assert_int_equal(ask_listed(&a, e, &s, 0), QUERN_OK);
    assert_int_equal(a.r.skipped, 8);
    s.fetch_code = QUERN_ECANCELLED;
    assert_int_equal(ask_listed(&a, e, &s, 0), QUERN_ECANCELLED);
    assert_int_equal(s.fetched, 1);
    s.fetch_code = 0;
    int calls = in.calls;
    s.list_code = 7;
    assert_int_equal(ask_listed(&a, e, &s, 0), QUERN_EINTERNAL);
    s.list_code = QUERN_EIO;
    assert_int_equal(ask_listed(&a, e, &s, 0), QUERN_EIO);
    assert_non_null(strstr(a.err.msg, "lister"));
    s.list_code = 0;
    assert_int_equal(ask_listed(&a, e, &s, 65), QUERN_EINVAL);
    assert_int_equal(in.calls, calls);
    /* a URL that is none is no skipped one */
    static const char *const bad[] = {"1", "a b"};
    s = (shelf){.keys = bad, .n = 2};
    assert_int_equal(ask_listed(&a, e, &s, 0), QUERN_EINVAL);
    assert_int_equal(a.err.subject, 1);
    char lengthy[1026];
    memset(lengthy, 'k', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = '\0';
    const char *const too_long[] = {"1", lengthy};
    s.keys = too_long;
    assert_int_equal(ask_listed(&a, e, &s, 0), QUERN_EINVAL);
    assert_non_null(strstr(a.err.msg, "1025"));
    s.n = 0;
    assert_int_equal(ask_listed(&a, e, &s, 0), QUERN_OK);
    is_vector(a.fused, 1, 0, 0);
    quern_embedder_free(e);
}

static void test_listed_strangely(void **state)
{
    (void)state;
    inner in = {0};
    answer a;
    quern_embedder *e = eye(&in, 0);
    quern_asset_source source;
    QUERN_INIT(&source);
    source.list = list_keys;
    quern_str doc = quern_str_of("doc");
    assert_int_equal(quern_embed_listed(e, doc, doc, &source, NULL, &a.r, &a.err), QUERN_EINVAL);
    source.fetch = fetch_url;
    source.struct_size = sizeof(size_t);
    assert_int_equal(quern_embed_listed(e, doc, doc, &source, NULL, &a.r, &a.err), QUERN_EINVAL);
    assert_int_equal(quern_embed_listed(e, doc, doc, NULL, NULL, &a.r, &a.err), QUERN_EINVAL);
    assert_int_equal(in.calls, 0);
    quern_embedder_free(e);
}

static int listed_body(void *ud, quern_error *err)
{
    static const char *const keys[] = {"1", "2"};
    inner in = {0};
    quern_embedder *e = NULL;
    answer a;
    shelf s = {.keys = keys, .n = 2};
    (void)ud;
    int rc = make(&e, &in, 0, err);
    if (!rc && (rc = ask_listed(&a, e, &s, 0)) != QUERN_OK)
        *err = a.err;
    quern_embedder_free(e);
    return rc;
}

static int torture_body(void *ud, quern_error *err)
{
    inner in = {.outages = 0};
    quern_embedder *e = NULL, *outer = NULL;
    answer a;
    quern_asset list[] = {image("http://h/0"), image("http://h/1")};
    int rc = make(&e, &in, *(int *)ud, err);
    if (rc)
        return rc;
    rc = wrap_all(&outer, e, 2, NULL, err);
    if (!rc && (rc = ask(&a, outer, "red", list, 2, NULL)) != QUERN_OK)
        *err = a.err;
    quern_embedder_free(outer);
    return rc;
}

static void test_torture(void **state)
{
    (void)state;
    for (int fuses = 0; fuses < 2; fuses++)
        assert_true(torture_run(torture_body, &fuses) >= 6);
    assert_true(torture_run(listed_body, NULL) >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mean),    cmocka_unit_test(test_fuses_itself),
        cmocka_unit_test(test_refuses), cmocka_unit_test(test_cut_and_empty),
        cmocka_unit_test(test_wrapped), cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_listed),  cmocka_unit_test(test_listed_strangely),
        cmocka_unit_test(test_torture),
    };
    torture_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
