/*
 * test_encoder_fp16.c — the class fp16 in a whole model: all-MiniLM-L6-v2's vectors of 20 texts have one golden hash whatever
 * the table, batch and threads, and are near class fp32; what is stored in halves already has fp32's very bits; a weight that
 * a half cannot hold is refused by name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../kernels/kernel_tables.h"
#include "encodings.h"
#include "golden_texts.h"
#include "tiny_classes.h"

static const char golden[] = "45470dec9a1d9fa237f69c0ea8ff6ddd758517d57acbcb2c4816657e6aa7a12a";

static void test_golden(void **state)
{
    (void)state;
    static minilm m;
    static float want[MINILM_TEXTS * MINILM_DIM], out[MINILM_TEXTS * MINILM_DIM];
    const uint32_t n = MINILM_TEXTS;
    quern__kernels room;
    quern_error err;
    minilm_or_skip(&m);
    const uint64_t full = minilm_fp32(&m, want);
    quern__encoder *e;
    const quern__kernels *base;
    for (size_t i = 0; (base = quern__kernels_at(i)); i++) {
        const bool scalar = base == &quern__kernels_scalar;
        if ((base->need & quern__cpu_detected()) != base->need || (scalar && !long_form()))
            continue; /* scalar: test_same_as_stored_halves */
        const quern__kernels *k = quern__kernels_of(QUERN__CLASS_FP16, base->need, &room);
        if (quern__encoder_open(&e, &m.config, m.weights, k, MINILM_LONGEST, &err))
            fail_msg("%s", err.msg);
        assert_true(quern__encoder_bytes(e) < full * 6 / 10);
        for (uint32_t way = 0; way < 3; way++) {
            encode(e, 1 + way, way == 1 ? 1 : n, m.ids, m.lengths, n, out);
            assert_hash(k->name, out, n, golden);
        }
        assert_near(k->name, want, out, n, MINILM_DIM, 0.999999);
        quern__encoder_free(e);
    }
    quern__weights_free(m.weights);
}

enum { TINY = 5, LONGEST = 20 };

/* Rounding changes nothing then, so that the two classes are the same network. */
static void test_same_as_stored_halves(void **state)
{
    (void)state;
    const quern__kernels *base;
    quern__rng r;
    quern__weights *file;
    quern_error err;
    int32_t ids[TINY * LONGEST];
    uint32_t lengths[TINY];
    tiny_model *tiny = tiny_new(112, 4, 2, 450, 50, LONGEST, QUERN__F16, "", 9);
    quern__rng_seed(&r, 4);
    for (uint32_t i = 0; i < TINY; i++)
        lengths[i] = i ? 1 + quern__rng_below(&r, LONGEST) : LONGEST;
    for (uint32_t i = 0; i < TINY * LONGEST; i++)
        ids[i] = (int32_t)quern__rng_below(&r, 50);
    assert_int_equal(
        quern__weights_parse(&file, QUERN__SAFETENSORS, tiny->bytes, tiny->size, "tiny", &err),
        QUERN_OK);
    for (size_t i = 0; (base = quern__kernels_at(i)); i++) {
        float out[2][TINY * 112];
        uint64_t held[2];
        quern__kernels room;
        if ((base->need & quern__cpu_detected()) != base->need)
            continue;
        for (uint32_t way = 0; way < 2; way++) {
            quern__encoder *e;
            const quern__kernels *k =
                quern__kernels_of(way ? QUERN__CLASS_FP16 : QUERN__CLASS_FP32, base->need, &room);
            if (quern__encoder_open(&e, &tiny->config, file, k, LONGEST, &err))
                fail_msg("%s", err.msg);
            encode(e, 1 + way, 2 + way, ids, lengths, TINY, out[way]);
            held[way] = quern__encoder_bytes(e);
            quern__encoder_free(e);
        }
        assert_memory_equal(out[0], out[1], sizeof out[0]);
        assert_true(held[1] < held[0]);
    }
    quern__weights_free(file);
    tiny_free(tiny);
}

/* A row (of a piece) of weights that all are denormal as halves: refused where rounding takes something of them. */
static void test_what_vanishes(void **state)
{
    (void)state;
    static const struct {
        float weight, one; /* all of a row but its first weight, and that one */
        bool taken;
    } cases[] = {
        {1e-6f, 1e-6f, false},        {0x1p-26f, 0x1p-26f, false},
        {-0x1.fffffep-15f, 0, false}, {0, 1e-20f, false},
        {1e-6f, 0x1p-14f, true}, /* beside what stays, it is lost in rounding as anywhere */
        {0x1p-24f, 0x1p-15f, true},   {0, 0, true}};
    for (size_t i = 0; i < QUERN__COUNT(cases); i++) {
        float row[48];
        quern_error err;
        for (uint32_t k = 0; k < 48; k++)
            row[k] = k ? cases[i].weight : cases[i].one;
        assert_int_equal(tiny_open_with(QUERN__CLASS_FP32, 76 * 48, row, 48, &err), QUERN_OK);
        const int rc = tiny_open_with(QUERN__CLASS_FP16, 76 * 48, row, 48, &err);
        if (rc != (cases[i].taken ? QUERN_OK : QUERN_EFORMAT))
            fail_msg("case %zu: %d", i, rc);
        if (rc)
            assert_true(strstr(err.msg, TINY_WEIGHT) && strstr(err.msg, "too little"));
    }
}

static void test_what_does_not_fit(void **state)
{
    (void)state;
    static const struct {
        float weight;
        const char *says; /* NULL: it fits */
    } cases[] = {{65504.0f, NULL},  {-0x1.ffdffep15f, NULL}, {65520.0f, "65520"},
                 {-1e30f, "1e+30"}, {INFINITY, "infinity"},  {NAN, "NaN"}};
    for (size_t i = 0; i < QUERN__COUNT(cases); i++) {
        quern_error err;
        const int rc = tiny_open_with(QUERN__CLASS_FP16, 49, &cases[i].weight, 1, &err);
        assert_int_equal(rc, cases[i].says ? QUERN_EFORMAT : QUERN_OK);
        if (rc)
            assert_true(strstr(err.msg, TINY_WEIGHT) && strstr(err.msg, cases[i].says));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_same_as_stored_halves),
        cmocka_unit_test(test_what_does_not_fit),
        cmocka_unit_test(test_what_vanishes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
