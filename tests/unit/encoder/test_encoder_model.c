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
#include "encodings.h"
#include "golden_texts.h"

/* SHA-256 of 20 x 384 little-endian floats, class fp32, specification number 1. */
static const char golden[] = "38f3cc8fdf63fc2b8f086d878068bcc99600c0934f120410e44e815e533a87a4";
/* Of the first four of them: all that is asked of an emulator (QUERN_TEST_FEW). */
static const char golden_few[] = "cbd74ba6efd6dea35cda6dca50f40a2f552bbdad30fe304d6ee3264ba3186fd4";

enum { FEW = 4 };

static minilm m;

static int open_files(void **state)
{
    (void)state;
    minilm_open(&m);
    return 0;
}

static int close_files(void **state)
{
    (void)state;
    quern__weights_free(m.weights);
    return 0;
}

static quern__encoder *open_encoder(const quern__kernels *k)
{
    quern__encoder *e;
    quern_error err;
    if (quern__encoder_open(&e, &m.config, m.weights, k, MINILM_LONGEST, &err))
        fail_msg("%s", err.msg);
    return e;
}

static void assert_golden(const quern__kernels *k, uint32_t threads)
{
    static float out[MINILM_TEXTS * MINILM_DIM];
    quern__encoder *e = open_encoder(k);
    encode(e, threads, MINILM_TEXTS, m.ids, m.lengths, MINILM_TEXTS, out);
    assert_hash(k->name, out, MINILM_TEXTS, golden);
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
    static float out[FEW * MINILM_DIM];
    const quern__kernels *k = quern__kernels_pick(~0u);
    quern__encoder *e = open_encoder(k);
    encode(e, 1, FEW, m.ids, m.lengths, FEW, out);
    assert_hash(k->name, out, FEW, golden_few);
    quern__encoder_free(e);
}

/* Single texts and random batches of the same 20, against the batch of all. */
static void test_batches(void **state)
{
    (void)state;
    static float all[MINILM_TEXTS * MINILM_DIM], out[MINILM_TEXTS * MINILM_DIM];
    static int32_t some[MINILM_ROOM * 8];
    quern__rng rng;
    quern__rng_seed(&rng, 7);
    for (size_t i = 0; fast_table(i); i++) {
        quern__encoder *e = open_encoder(fast_table(i));
        encode(e, 1, MINILM_TEXTS, m.ids, m.lengths, MINILM_TEXTS, all);
        for (uint32_t r = 0; r < (long_form() ? 200u : 10u); r++) {
            uint32_t from[MINILM_TEXTS], sizes[MINILM_TEXTS],
                n = r < 4 ? 1 : 1 + quern__rng_below(&rng, MINILM_TEXTS);
            size_t at = 0;
            for (uint32_t t = 0; t < n; t++) {
                from[t] = r < 4 ? MINILM_TEXTS - 1 - r : quern__rng_below(&rng, MINILM_TEXTS);
                sizes[t] = m.lengths[from[t]];
                if (at + sizes[t] > QUERN__COUNT(some))
                    n = t;
                else
                    memcpy(some + at, m.ids + m.starts[from[t]], sizes[t] * sizeof *some);
                at += sizes[t];
            }
            encode(e, 1 + quern__rng_below(&rng, 4), n, some, sizes, n, out);
            for (uint32_t t = 0; t < n; t++)
                assert_memory_equal(out + (size_t)t * MINILM_DIM,
                                    all + (size_t)from[t] * MINILM_DIM, MINILM_DIM * sizeof *out);
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
