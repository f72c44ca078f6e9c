/* test_torture_wrappers.c — every allocation of what stands in front of an embedder fails in turn. */
#include "torture/torture.h"

#include <string.h>

#include "base/error.h"
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

static int whole_chain(void *ud, quern_error *err)
{
    quern_embedder *e = NULL, *outer = NULL;
    quern_cache *cache = NULL;
    quern_batching_options b;
    (void)ud;
    QUERN_INIT(&b);
    b.max_inputs = 2;
    b.concurrency = 1; /* a thread's stack is the system's, and when it is missing no fault */
    int rc = open_plain(&e, err);
    if (!rc && !(rc = quern_embedder_limited(&outer, e, NULL, err)))
        e = outer;
    if (!rc && !(rc = quern_embedder_pausing(&outer, e, NULL, err)))
        e = outer;
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(chain)};
    torture_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
