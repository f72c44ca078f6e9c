/* test_torture_wrappers.c — every allocation of what stands in front of an embedder fails in turn. */
#include "torture/torture.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/os.h"
#include "quern/provider.h"
#include "quern/sys/embedder.h"

static int plain_embed(void *self, const quern_str *texts, size_t n, const quern_embed_options *opt,
                       float *out, quern_embed_result *results, quern_error *err)
{
    (void)self, (void)opt, (void)err;
    for (size_t i = 0; i < n; i++) {
        out[i] = texts[i].len % 2 ? 1.0f : -1.0f;
        results[i].tokens = 1;
    }
    return QUERN_OK;
}

static int plain_fingerprint(void *self, char **json, quern_error *err)
{
    (void)self;
    *json = quern_alloc(3);
    if (!*json)
        return quern__fail_memory(err, 3);
    memcpy(*json, "{}", 3);
    return QUERN_OK;
}

static int open_plain(quern_embedder **out, quern_error *err)
{
    quern_embedder_table table = {.struct_size = sizeof table,
                                  .name = "plain",
                                  .dimensions = 1,
                                  .embed = plain_embed,
                                  .fingerprint = plain_fingerprint};
    return quern_embedder_from_table(out, &table, NULL, err);
}

static int embed_some(quern_embedder *e, quern_error *err)
{
    quern_str texts[] = {quern_str_of("a"), quern_str_of("bb"), quern_str_of("a"),
                         quern_str_of("ccc"), quern_str_of("dddd")};
    float v[5];
    int rc = quern_embed(e, texts, 5, NULL, v, 5, NULL, err);
    for (int i = 0; i < 5 && rc == QUERN_OK; i++)
        if (v[i] != (texts[i].len % 2 ? 1.0f : -1.0f))
            rc = QUERN_EINTERNAL;
    return rc;
}

static int open_way(quern_embedder **e, quern_error *err)
{
    quern_embedder *outer = NULL;
    int rc = open_plain(e, err);
    if (!rc && !(rc = quern_embedder_limited(&outer, *e, NULL, err)))
        *e = outer;
    if (!rc && !(rc = quern_embedder_pausing(&outer, *e, NULL, err)))
        *e = outer;
    return rc;
}

static int open_ways(quern_embedder **e, quern_error *err)
{
    quern_embedder *ways[2] = {NULL, NULL}, *outer = NULL;
    quern_cap_options cap;
    QUERN_INIT(&cap);
    cap.max_tokens = 1000;
    int rc = open_way(&ways[0], err);
    if (!rc)
        rc = open_way(&ways[1], err);
    if (!rc)
        rc = quern_embedder_fallback(e, ways, 2, err);
    if (rc) {
        quern_embedder_free(ways[0]);
        quern_embedder_free(ways[1]);
        return rc;
    }
    if (!(rc = quern_embedder_capped(&outer, *e, &cap, err)))
        *e = outer;
    return rc;
}

static int whole_chain(void *ud, quern_error *err)
{
    quern_embedder *e = NULL, *outer = NULL;
    quern_cache *cache = NULL;
    quern_batching_options b;
    (void)ud;
    QUERN_INIT(&b);
    b.max_inputs = 2;
    b.concurrency = 1; /* a thread's stack is the system's, and when it is missing no fault */
    int rc = open_ways(&e, err);
    if (!rc && !(rc = quern_embedder_retrying(&outer, e, NULL, err)))
        e = outer;
    if (!rc && !(rc = quern_embedder_batching(&outer, e, &b, err)))
        e = outer;
    if (!rc)
        rc = quern_cache_open(&cache, NULL, err);
    if (!rc && !(rc = quern_embedder_cached(&outer, e, cache, err)))
        e = outer;
    for (int i = 0; i < 2 && !rc; i++)
        rc = embed_some(e, err);
    quern_embedder_free(e);
    quern_cache_free(cache);
    return rc;
}

static void chain(void **state)
{
    (void)state;
    assert_true(torture_run(whole_chain, NULL) > 30);
}

/* ---- a provider and a file, through a server that always says the same ---- */

static void serve_one(int link)
{
    static const char body[] = "{\"data\":[{\"index\":0,\"embedding\":[0.6,0.8]}],\"usage\":{"
                               "\"prompt_tokens\":3}}";
    char asked[4096], answer[256];
    int n = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
                     sizeof body - 1, body);
    while (recv(link, asked, sizeof asked, 0) > 0)
        if (send(link, answer, (size_t)n, MSG_NOSIGNAL) != n)
            break;
    close(link);
}

static void serve(void *ud)
{
    for (int link; (link = accept(*(int *)ud, NULL, NULL)) >= 0;)
        serve_one(link);
}

static int hosted(void *ud, quern_error *err)
{
    quern_embedder *e = NULL, *outer = NULL;
    quern_cache *cache = NULL;
    quern_provider_options p;
    quern_cache_options o;
    quern_str text = quern_str_of("ban");
    float v[2] = {0};
    QUERN_INIT(&p);
    p.model = "m";
    p.base_url = ud;
    p.api_key = "k";
    p.headers = "X-A: 1\nX-B: 2";
    p.query_prompt = "ask: ";
    QUERN_INIT(&o);
    o.path = "torture.cache";
    remove(o.path);
    int rc = quern_embedder_from_provider(&e, &p, err); /* asks for the dimension */
    if (!rc)
        rc = quern_cache_open(&cache, &o, err);
    if (!rc && !(rc = quern_embedder_cached(&outer, e, cache, err)))
        e = outer;
    for (int i = 0; i < 2 && !rc; i++) {
        rc = quern_embed(e, &text, 1, NULL, v, 2, NULL, err);
        if (!rc && (v[0] < 0.59f || v[0] > 0.61f || v[1] < 0.79f || v[1] > 0.81f))
            rc = QUERN_EINTERNAL;
        quern_cache_flush(cache, NULL);
    }
    quern_embedder_free(e);
    quern_cache_free(cache);
    return rc;
}

/* A picture with a text, fused by the model, and alone: each is one vector, as the server says. */
static int sees(void *ud, quern_error *err)
{
    quern_embedder *e = NULL, *outer = NULL;
    quern_provider_options p;
    quern_asset_result r;
    quern_asset picture = {.kind = QUERN_ASSET_IMAGE,
                           .frame = -1,
                           .url = quern_str_of("http://pictures.example/1?signed=0123456789")};
    float v[4] = {0};
    QUERN_INIT(&p);
    QUERN_INIT(&r);
    p.provider = "voyage-vision";
    p.model = "m";
    p.base_url = ud;
    p.api_key = "k";
    p.document_prompt = "see: ";
    r.fused = v;
    r.fused_floats = 2;
    r.each = v + 2;
    r.each_floats = 2;
    int rc = quern_embedder_from_provider(&e, &p, err);
    if (!rc && !(rc = quern_embedder_retrying(&outer, e, NULL, err)))
        e = outer;
    if (!rc && !(rc = quern_embedder_batching(&outer, e, NULL, err)))
        e = outer;
    if (!rc)
        rc = quern_embed_assets(e, quern_str_of("ban"), &picture, 1, NULL, &r, err);
    if (!rc && (v[0] < 0.59f || v[2] < 0.59f || r.used != 1 || r.tokens == 0))
        rc = QUERN_EINTERNAL;
    quern_embedder_free(e);
    return rc;
}

static void provider(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    quern__thread *t = NULL;
    char url[64];
    int server = socket(AF_INET, SOCK_STREAM, 0);
    (void)state;
    assert_int_equal(bind(server, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(server, 8), 0);
    assert_int_equal(getsockname(server, (struct sockaddr *)&at, &size), 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", ntohs(at.sin_port));
    assert_int_equal(quern__thread_start(&t, serve, &server, NULL), 0);
    assert_true(torture_run(hosted, url) > 50);
    assert_true(torture_run(sees, url) > 20);
    shutdown(server, SHUT_RDWR);
    quern__thread_join(t);
    close(server);
    remove("torture.cache");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(chain), cmocka_unit_test(provider)};
    torture_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
