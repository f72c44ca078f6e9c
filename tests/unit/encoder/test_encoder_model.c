/*
 * test_encoder_model.c — all-MiniLM-L6-v2 as published: the bits of 20 texts (token ids in
 * tests/golden/bits_texts.txt) have one hash, whatever the table, order, batch and thread count. If this hash
 * changes, the arithmetic has changed: QUERN__SPEC goes up, and docs/bits.md says what is new.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "../kernels/kernel_tables.h"
#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"
#include "base/sha256.h"
#include "encoder/encoder.h"
#include "format/model_config.h"
#include "format/weights.h"

/* SHA-256 of 20 x 384 little-endian floats, class fp32, specification number 1. */
static const char golden[] = "38f3cc8fdf63fc2b8f086d878068bcc99600c0934f120410e44e815e533a87a4";
/* Of the first four of them: all that is asked of an emulator (QUERN_TEST_FEW). */
static const char golden_few[] = "cbd74ba6efd6dea35cda6dca50f40a2f552bbdad30fe304d6ee3264ba3186fd4";

enum { TEXTS = 20, FEW = 4, DIM = 384, ROOM = 1024, LONGEST = 256 };

static quern__model_config config;
static quern__weights *weights;
static int32_t ids[ROOM];
static uint32_t lengths[TEXTS], starts[TEXTS];

static void read_texts(void)
{
    char path[1024], *data;
    size_t size, at = 0;
    uint32_t n = 0;
    quern_error err;
    const char *root = getenv("QUERN_ROOT");
    snprintf(path, sizeof path, "%s/tests/golden/bits_texts.txt", root ? root : ".");
    if (quern__read_file(path, 1 << 16, &data, &size, &err))
        fail_msg("%s", err.msg);
    for (char *p = data; *p; n++, p++) {
        assert_true(n < TEXTS);
        starts[n] = (uint32_t)at;
        for (; *p != '\n'; lengths[n]++) {
            assert_true(at < ROOM);
            ids[at++] = (int32_t)strtol(p, &p, 10);
        }
    }
    assert_int_equal(n, TEXTS);
    quern__free(data);
}

static int open_files(void **state)
{
    char path[1024];
    quern_error err;
    const char *folder = getenv("QUERN_TEST_MODEL");
    (void)state;
    assert_non_null(folder);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    if (quern__model_config_read(&config, folder, &err) ||
        quern__weights_open_file(&weights, QUERN__SAFETENSORS, path, &err))
        fail_msg("%s (tools/test-env fetches the model)", err.msg);
    read_texts();
    return 0;
}

static int close_files(void **state)
{
    (void)state;
    quern__weights_free(weights);
    return 0;
}

static quern__encoder *open_encoder(const quern__kernels *k)
{
    quern__encoder *e;
    quern_error err;
    if (quern__encoder_open(&e, &config, weights, k, LONGEST, &err))
        fail_msg("%s", err.msg);
    return e;
}

static void encode(const quern__encoder *e, uint32_t threads, const int32_t *of,
                   const uint32_t *sizes, uint32_t n, float *out)
{
    quern__pool *pool;
    quern__encoder_scratch *s;
    quern_error err;
    assert_int_equal(quern__pool_new(&pool, threads, &err), QUERN_OK);
    assert_int_equal(quern__encoder_scratch_new(&s, e, threads, &err), QUERN_OK);
    if (quern__encode(e, s, pool, of, sizes, n, true, out, NULL, &err))
        fail_msg("%s", err.msg);
    quern__encoder_scratch_free(s);
    quern__pool_free(pool);
}

static void assert_golden(const quern__kernels *k, uint32_t threads)
{
    static float out[TEXTS * DIM];
    uint8_t digest[32];
    char hex[65];
    quern__encoder *e = open_encoder(k);
    encode(e, threads, ids, lengths, TEXTS, out);
    assert_int_equal(quern__sha256_of(out, sizeof out, digest, NULL), QUERN_OK);
    quern__hex32(digest, hex);
    if (strcmp(hex, golden) != 0)
        fail_msg("%s, %u threads: the bits of 20 texts have hash %s, not %s", k->name, threads, hex,
                 golden);
    quern__encoder_free(e);
}

static void test_golden(void **state)
{
    (void)state;
    for (size_t i = 0; fast_table(i); i++)
        for (uint32_t threads = 1; threads <= 3; threads += 2)
            assert_golden(fast_table(i), threads);
    if (!SANITIZED || !fast_table(0))
        assert_golden(reference_table(), 2);
    if (long_form() && !SANITIZED)
        assert_golden(&quern__kernels_scalar, 2);
}

static void test_few(void **state)
{
    (void)state;
    static float out[FEW * DIM];
    uint8_t digest[32];
    char hex[65];
    const quern__kernels *k = quern__kernels_pick(~0u);
    quern__encoder *e = open_encoder(k);
    encode(e, 1, ids, lengths, FEW, out);
    quern__encoder_free(e);
    assert_int_equal(quern__sha256_of(out, sizeof out, digest, NULL), QUERN_OK);
    quern__hex32(digest, hex);
    if (strcmp(hex, golden_few) != 0)
        fail_msg("%s: the bits of %d texts have hash %s, not %s", k->name, FEW, hex, golden_few);
}

/* Single texts and random batches of the same 20, against the batch of all. */
static void test_batches(void **state)
{
    (void)state;
    static float all[TEXTS * DIM], out[TEXTS * DIM];
    static int32_t some[ROOM * 8];
    quern__rng rng;
    quern__rng_seed(&rng, 7);
    for (size_t i = 0; fast_table(i); i++) {
        quern__encoder *e = open_encoder(fast_table(i));
        encode(e, 1, ids, lengths, TEXTS, all);
        for (uint32_t r = 0; r < (long_form() ? 200u : 10u); r++) {
            uint32_t from[TEXTS], sizes[TEXTS], n = r < 4 ? 1 : 1 + quern__rng_below(&rng, TEXTS);
            size_t at = 0;
            for (uint32_t t = 0; t < n; t++) {
                from[t] = r < 4 ? TEXTS - 1 - r : quern__rng_below(&rng, TEXTS);
                sizes[t] = lengths[from[t]];
                if (at + sizes[t] > QUERN__COUNT(some))
                    n = t;
                else
                    memcpy(some + at, ids + starts[from[t]], sizes[t] * sizeof *some);
                at += sizes[t];
            }
            encode(e, 1 + quern__rng_below(&rng, 4), some, sizes, n, out);
            for (uint32_t t = 0; t < n; t++)
                assert_memory_equal(out + (size_t)t * DIM, all + (size_t)from[t] * DIM,
                                    DIM * sizeof *out);
        }
        quern__encoder_free(e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_few), cmocka_unit_test(test_golden),
                                       cmocka_unit_test(test_batches)},
                            few[] = {cmocka_unit_test(test_few)};
    if (getenv("QUERN_SKIP_MODEL_TESTS")) {
        printf("skipped: QUERN_SKIP_MODEL_TESTS is set\n");
        return 77;
    }
    if (getenv("QUERN_TEST_FEW"))
        return cmocka_run_group_tests(few, open_files, close_files);
    return cmocka_run_group_tests(tests, open_files, close_files);
}
