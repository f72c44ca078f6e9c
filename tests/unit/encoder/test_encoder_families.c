/*
 * test_encoder_families.c — the classes int8 and int4 of the families that have a gate, turned heads, keys that heads share or
 * norms in front: their layers by every table, batch and number of threads give one bit pattern near fp32's, their matrices are
 * as large as was said before, and their stored numbers come back from a file, whose shape is held to the model's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../kernels/kernel_tables.h"
#include "base/os.h"
#include "base/sha256.h"
#include "encoder/encoder_impl.h"
#include "encoder/pack_int8.h"
#include "encoder/quantise.h"
#include "encoder/quantised_file.h"
#include "encodings.h"
#include "tiny_model.h"

enum {
    VOCAB = 60,
    LONGEST = QUERN__INTEGER_FROM + 6,
    COUNT = 5,
    CALIBRATED = 2, /* the first of them */
    WIDEST = 416,
    SLOW = QUERN__CPU_SCALAR | QUERN__CPU_AMX_PLAIN
};
enum { MODERN, NOMIC, QWEN, T5, MT5, MODELS };

static const char path[] = "test_encoder_families.safetensors";
static const char hex[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
static const quern__fidelity fidelity = {0.9995f, 0.998f, 0.97f};

#define OF_ALL                                                                                     \
    .vocab = VOCAB, .positions = LONGEST, .padding = -1, .pooling = QUERN__POOL_MEAN,              \
    .normalize = true, .layer_norm_eps = 1e-6f

/* Widths that are whole steps of int4; one chunk of 384 inner columns and more; context wider than rows, and rows of two pieces. */
static const quern__model_config models[MODELS] = {
    [MODERN] = {.family = "modernbert",
                OF_ALL,
                .hidden = 64,
                .heads = 2,
                .layers = 2,
                .intermediate = 416,
                .global_every = 2,
                .window = 20,
                .rope = 160000,
                .rope_local = 10000,
                .bias_attention = true,
                .bias_feed = true,
                .bias_norm = true},
    [NOMIC] = {.family = "nomic_bert",
               OF_ALL,
               .types = 2,
               .hidden = WIDEST,
               .heads = 4,
               .layers = 1,
               .intermediate = 96,
               .rope = 1000,
               .rope_part = 1,
               .bias_attention = true,
               .bias_down = true,
               .bias_norm = true},
    [QWEN] = {.family = "qwen3",
              OF_ALL,
              .hidden = 64,
              .heads = 6,
              .key_heads = 2,
              .depth = 70,
              .layers = 2,
              .intermediate = 96,
              .rope = 1e6},
    [T5] = {.family = "t5",
            OF_ALL,
            .hidden = 64,
            .heads = 3,
            .depth = 40,
            .layers = 2,
            .intermediate = 448},
    [MT5] = {.family = "mt5",
             OF_ALL,
             .hidden = 96,
             .heads = 2,
             .depth = 48,
             .layers = 2,
             .intermediate = 64},
};

/* A model, its texts, and its numbers in both classes. */
static struct {
    tiny_model *tiny;
    quern__weights *file;
    quern__encoder *fp32;
    quern__quantised *numbers[2];
} of[MODELS];
static int32_t ids[COUNT * LONGEST];
static uint32_t lengths[COUNT] = {LONGEST, 1, 9, QUERN__INTEGER_FROM, 30};

/* An emulator is asked for two of them, and for the texts that were calibrated on. */
static bool few(void)
{
    return getenv("QUERN_TEST_FEW") != NULL;
}

static bool asked(size_t i)
{
    return !few() || i == MODERN || i == T5;
}

static uint32_t texts(void)
{
    return few() ? CALIBRATED : COUNT;
}

/* int8, and of every other model int4, for which a gate, shared heads and one tensor for several are what is new. */
static int classes_of(size_t i)
{
    return long_form() || (i % 2 == 0 && !few()) ? 2 : 1;
}

static int make(void **state)
{
    (void)state;
    quern__rng r;
    quern_error err;
    quern__rng_seed(&r, 31);
    for (size_t i = 0; i < QUERN__COUNT(ids); i++)
        ids[i] = (int32_t)quern__rng_below(&r, VOCAB);
    for (size_t i = 0; i < MODELS; i++) {
        if (!asked(i))
            continue;
        of[i].tiny = tiny_family(&models[i], QUERN__F32, "", 40 + i);
        if (quern__weights_parse(&of[i].file, QUERN__SAFETENSORS, of[i].tiny->bytes,
                                 of[i].tiny->size, "tiny", &err) ||
            quern__encoder_open(&of[i].fp32, &models[i], of[i].file, quern__kernels_pick(~0u),
                                LONGEST, &err))
            fail_msg("%s: %s", models[i].family, err.msg);
        for (int four = 0; four < classes_of(i); four++)
            if (quern__quantise(&of[i].numbers[four], of[i].fp32, of[i].file, four, ids, lengths,
                                CALIBRATED, NULL, NULL, NULL, &err))
                fail_msg("%s: %s", models[i].family, err.msg);
    }
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    for (size_t i = 0; i < MODELS; i++) {
        if (!asked(i))
            continue;
        quern__quantised_free(of[i].numbers[0]);
        quern__quantised_free(of[i].numbers[1]);
        quern__encoder_free(of[i].fp32);
        quern__weights_free(of[i].file);
        tiny_free(of[i].tiny);
    }
    (void)quern__remove_file(path, NULL);
    return 0;
}

static const quern__kernels *beside(const quern__int8_kernels *k8)
{
    const quern__kernels *k = quern__kernels_pick(k8->need);
    return k == &quern__kernels_scalar ? reference_table() : k;
}

/* As large as it was said to be, and its matrices do not reach into their scales. */
static void assert_room(const quern__encoder *e, size_t i, int four)
{
    uint64_t said;
    quern_error err;
    if (quern__encoder_measure(&models[i], of[i].file, e->kernels, e->int8, of[i].numbers[four],
                               LONGEST, &said, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(said, quern__encoder_bytes(e));
    const quern__matrix8 *first = &e->layers[0].qkv[0].int8,
                         *last =
                             &e->layers[e->layer_count - 1].chunks[e->chunk_count - 1].down.int8;
    const char *data_end = (const char *)last->data +
                           quern__pack_int8_bytes(e->int8, last->n, last->k, four ? last->n : 0),
               *end = (const char *)(last->scale + quern__pack_int8_floats(last->n, last->k));
    assert_true(data_end <= (const char *)first->scale);
    assert_true(end <= (const char *)e->packed + e->packed_size);
}

/* Of int8's numbers (the quantiser finds the same ones on every machine) by the vectors that they give. */
static void assert_golden(size_t i, const float *vectors)
{
    static const char *const golden[MODELS] = {"2050beeb09eac49c", "e57411f48509508b",
                                               "574746c53bb0e48e", "ac4e9a01b27a73a6",
                                               "7f02772dcd3a58d9"};
    uint8_t digest[32];
    char hash[65];
    assert_int_equal(
        quern__sha256_of(vectors, CALIBRATED * models[i].hidden * sizeof *vectors, digest, NULL),
        QUERN_OK);
    quern__hex32(digest, hash);
    if (strncmp(hash, golden[i], 16) != 0)
        fail_msg("%s: the vectors' hash begins with %.16s", models[i].family, hash);
}

static void one_class(size_t i, int four)
{
    static float plain[COUNT * WIDEST], want[COUNT * WIDEST], out[COUNT * WIDEST];
    const quern__int8_kernels *k8;
    bool first = true;
    quern_error err;
    for (size_t t = 0; (k8 = quern__int8_at(t)); t++) {
        quern__encoder *e;
        if ((k8->need & quern__cpu_runnable()) != k8->need ||
            (SANITIZED && !long_form() && k8->need & QUERN__CPU_AMX_PLAIN))
            continue;
        if (quern__encoder_open_int8(&e, &models[i], of[i].file, of[i].numbers[four], beside(k8),
                                     k8, LONGEST, &err))
            fail_msg("%s: %s", models[i].family, err.msg);
        assert_room(e, i, four);
        /* all at once, one by one, shared out; slow tables by one of these ways */
        const bool all = long_form() || !(few() || four || k8->need & SLOW);
        for (uint32_t way = all ? 0 : 1 + (i + t) % 2; way < 4; way += all ? 1 : 4) {
            memset(out, 0, sizeof out);
            encode(e, 1 + way, way == 1 || way == 3 ? 1 : COUNT, ids, lengths, texts(), out);
            if (first)
                memcpy(want, out, sizeof out);
            first = false;
            if (memcmp(out, want, sizeof out) != 0)
                fail_msg("%s: %s, way %u: other bits", models[i].family, k8->name, way);
        }
        quern__encoder_free(e);
    }
    encode(of[i].fp32, 1, COUNT, ids, lengths, texts(), plain);
    if (!four)
        assert_golden(i, want);
    assert_memory_not_equal(plain, want, texts() * models[i].hidden * sizeof *want);
    assert_near(models[i].family, plain, want, texts(), models[i].hidden, four ? 0.9 : 0.998);
}

static void test_one_bit_pattern(void **state)
{
    (void)state;
    for (size_t i = 0; i < MODELS; i++)
        for (int four = 0; asked(i) && four < classes_of(i); four++)
            one_class(i, four);
}

static void written(const quern__quantised *q)
{
    char checksum[65];
    uint64_t n;
    quern_error err;
    if (quern__quantised_write(q, hex, hex, &fidelity, path, checksum, &n, &err))
        fail_msg("%s", err.msg);
}

static void assert_same_numbers(const quern__quantised *a, const quern__quantised *b)
{
    assert_int_equal(a->gated, b->gated);
    for (uint32_t l = 0; l < a->layers; l++)
        for (int m = 0; m < QUERN__Q_MATRICES; m++) {
            if (!quern__quantised_has(a, m)) {
                assert_null(b->layer[l].weight[m]);
                continue;
            }
            const size_t outputs = quern__quantised_outputs(a, m),
                         inputs = quern__quantised_inputs(a, m);
            const bool four = quern__is_four(a, l, m);
            assert_memory_equal(a->layer[l].weight[m], b->layer[l].weight[m],
                                outputs * inputs / (four ? 2 : 1));
            if (four)
                assert_memory_equal(a->layer[l].step[m], b->layer[l].step[m],
                                    outputs * inputs / QUERN__STEP_INPUTS);
            assert_memory_equal(a->layer[l].scale[m], b->layer[l].scale[m],
                                (inputs + 383) / 384 * outputs * sizeof(float));
        }
}

static void test_file(void **state)
{
    (void)state;
    quern__quantised_file f;
    quern_error err;
    for (size_t i = 0; i < MODELS; i++)
        for (int four = 0; asked(i) && four < classes_of(i); four++) {
            written(of[i].numbers[four]);
            if (quern__quantised_open(&f, path, &models[i], &err))
                fail_msg("%s", err.msg);
            assert_same_numbers(of[i].numbers[four], f.numbers);
            quern__quantised_close(&f);
            for (size_t j = 0; j < MODELS; j++) {
                if (i == j)
                    continue;
                assert_int_equal(quern__quantised_open(&f, path, &models[j], &err), QUERN_EFORMAT);
                assert_true(strstr(err.msg, path) && !f.numbers);
            }
        }
}

/* Of config.json's settings and of the numbers themselves, one at a time. */
static void test_other_shapes(void **state)
{
    (void)state;
    if (few())
        return;
    quern__model_config c = models[QWEN];
    quern__quantised_file f;
    quern__encoder *e;
    quern_error err;
    uint32_t *settings[] = {&c.heads, &c.key_heads, &c.depth, &c.intermediate, &c.hidden};
    written(of[QWEN].numbers[0]);
    for (size_t i = 0; i < QUERN__COUNT(settings); i++) {
        const uint32_t was = *settings[i];
        *settings[i] = was * 2;
        assert_int_equal(quern__quantised_open(&f, path, &c, &err), QUERN_EFORMAT);
        *settings[i] = was;
    }
    c.heads = c.key_heads = 0;
    assert_int_equal(quern__quantised_open(&f, path, &c, &err), QUERN_EFORMAT);
    c = models[T5]; /* the same sizes with a gate */
    strcpy(c.family, "t5-gated");
    written(of[T5].numbers[0]);
    assert_int_equal(quern__quantised_open(&f, path, &c, &err), QUERN_EFORMAT);
    assert_non_null(strstr(err.msg, "gate"));

    quern__quantised *q = of[QWEN].numbers[0];
    uint32_t *sizes[] = {&q->queries, &q->keys, &q->hidden, &q->intermediate, &q->layers};
    for (size_t i = 0; i <= QUERN__COUNT(sizes); i++) {
        if (i < QUERN__COUNT(sizes))
            --*sizes[i];
        q->gated = i < QUERN__COUNT(sizes);
        assert_int_equal(quern__encoder_open_int8(&e, &models[QWEN], of[QWEN].file, q,
                                                  quern__kernels_pick(~0u), quern__int8_pick(~0u),
                                                  LONGEST, &err),
                         QUERN_EFORMAT);
        assert_true(strstr(err.msg, "quern model quantize") && !e);
        if (i < QUERN__COUNT(sizes))
            ++*sizes[i];
    }
    q->gated = true;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_bit_pattern),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_other_shapes),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
