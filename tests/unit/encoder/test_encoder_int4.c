/*
 * test_encoder_int4.c — the class int4 in a whole model: what it computes is, bit for bit, class int8 of the weights that its
 * small integers and steps stand for, on every table, in every batch, on any number of threads, in half the memory; its file is
 * read as it was written; a step that is none, a width that is no multiple of 32 and a damaged byte are refused. All of it
 * also with some of its matrices in bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../kernels/kernel_tables.h"
#include "base/alloc.h"
#include "base/os.h"
#include "encoder/quantised_file.h"
#include "encodings.h"
#include "tiny_classes.h"

enum { HIDDEN = 96, INNER = 448, LAYERS = 2, VOCAB = 60, LONGEST = 70, COUNT = 7 };

static const char path[] = "test_encoder_int4.safetensors";
static const char hex[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
static const quern__fidelity fidelity = {0.99f, 0.985f, 0.9f};

static tiny_pair model;
static quern__quantised *four;  /* its numbers, or a mix */
static quern__quantised *eight; /* those of int8 */
static int32_t ids[COUNT * LONGEST];
static uint32_t lengths[COUNT];

static int make(void **state)
{
    (void)state;
    quern__rng r;
    uint32_t at = 0;
    quern__rng_seed(&r, 11);
    for (uint32_t i = 0; i < COUNT; i++) {
        lengths[i] = i ? 1 + quern__rng_below(&r, LONGEST) : LONGEST;
        for (uint32_t j = 0; j < lengths[i]; j++)
            ids[at++] = (int32_t)quern__rng_below(&r, VOCAB);
    }
    tiny_pair_new(&model, tiny_new(HIDDEN, 3, LAYERS, INNER, VOCAB, LONGEST, QUERN__F32, "", 12),
                  true, LONGEST, ids, lengths, COUNT);
    four = model.numbers;
    quern_error err;
    if (quern__quantise(&eight, model.fp32, model.file, false, ids, lengths, COUNT, NULL, NULL,
                        NULL, &err))
        fail_msg("%s", err.msg);
    return 0;
}

enum {
    HEADS = 1 << QUERN__Q_QUERY | 1 << QUERN__Q_KEY,
    UP = 1 << QUERN__Q_UP | 1 << QUERN__Q_GATE,
    DOWN = 1 << QUERN__Q_DOWN,
    MIXES = 3
};
static const uint8_t mixes[MIXES][LAYERS] = {{0, 0}, {HEADS, UP}, {DOWN, HEADS | UP | DOWN}};

/* With so much of it in bytes; back to none. */
static void mix(const uint8_t *kept)
{
    quern_error err;
    if (quern__quantised_mix(&four, model.numbers, eight, kept, &err))
        fail_msg("%s", err.msg);
}

static void unmix(void)
{
    quern__quantised_free(four);
    four = model.numbers;
}

static int unmake(void **state)
{
    (void)state;
    quern__quantised_free(eight);
    tiny_pair_free(&model);
    (void)quern__remove_file(path, NULL);
    return 0;
}

static size_t count_of(int matrix)
{
    return !quern__quantised_has(four, matrix) ? 0
                                               : (size_t)quern__quantised_outputs(four, matrix) *
                                                     quern__quantised_inputs(four, matrix);
}

/* The weights that it stands for, as the class int8 stores them. */
static quern__quantised widened(int8_t **memory)
{
    static quern__quantised_layer layers[LAYERS];
    quern__quantised wide = *four;
    size_t all = 0;
    for (int m = 0; m < QUERN__Q_MATRICES; m++)
        all += count_of(m);
    int8_t *at = *memory = quern__alloc(LAYERS * all);
    assert_non_null(at);
    wide.four = false;
    wide.layer = layers;
    for (uint32_t l = 0; l < LAYERS; l++) {
        layers[l] = four->layer[l];
        for (int m = 0; m < QUERN__Q_MATRICES; m++) {
            layers[l].weight[m] = at;
            for (size_t i = 0; i < count_of(m); i++)
                *at++ = !quern__is_four(four, l, m)
                            ? four->layer[l].weight[m][i]
                            : (int8_t)(quern__four(four->layer[l].weight[m], i) *
                                       four->layer[l].step[m][i / QUERN__STEP_INPUTS]);
        }
    }
    return wide;
}

static void assert_measured(const quern__encoder *e, const quern__int8_kernels *k8)
{
    uint64_t bytes;
    quern_error err;
    if (quern__encoder_measure(&model.tiny->config, model.file, quern__kernels_pick(k8->need), k8,
                               four, LONGEST, &bytes, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(bytes, quern__encoder_bytes(e));
}

static void assert_same_as_int8(void)
{
    static float want[COUNT * HIDDEN], out[COUNT * HIDDEN], plain[COUNT * HIDDEN];
    const quern__int8_kernels *k8;
    int8_t *memory;
    const quern__quantised wide = widened(&memory);
    quern__encoder *e =
        tiny_pair_open(&model, &wide, quern__kernels_pick(~0u), quern__int8_pick(~0u));
    const uint64_t bytes = quern__encoder_bytes(e);
    encode(e, 1, COUNT, ids, lengths, COUNT, want);
    quern__encoder_free(e);
    for (size_t i = 0; (k8 = quern__int8_at(i)); i++) {
        if ((k8->need & quern__cpu_runnable()) != k8->need)
            continue;
        e = tiny_pair_open(&model, four, quern__kernels_pick(k8->need), k8);
        assert_true(quern__encoder_bytes(e) < bytes);
        assert_measured(e, k8);
        for (uint32_t way = 0; way < 3; way++) {
            memset(out, 0, sizeof out);
            encode(e, 1 + way, way == 1 ? 1 : COUNT, ids, lengths, COUNT, out);
            if (memcmp(out, want, sizeof out) != 0)
                fail_msg("%s, way %u: other vectors than int8's", k8->name, way);
        }
        quern__encoder_free(e);
    }
    encode(model.fp32, 1, COUNT, ids, lengths, COUNT, plain);
    assert_near("random weights", plain, want, COUNT, HIDDEN, 0.9);
    quern__free(memory);
}

static void test_same_as_int8_of_these_weights(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < MIXES; i++) {
        mix(mixes[i]);
        assert_same_as_int8();
        unmix();
    }
}

static int written(char **bytes, size_t *size)
{
    char checksum[65];
    uint64_t n;
    quern_error err;
    if (quern__quantised_write(four, hex, hex, &fidelity, path, checksum, &n, &err) ||
        quern__read_file(path, 1 << 24, bytes, size, &err))
        fail_msg("%s", err.msg);
    return QUERN_OK;
}

static void assert_there_and_back(void)
{
    quern__quantised_file f;
    quern_error err;
    char *bytes;
    size_t size;
    written(&bytes, &size);
    if (quern__quantised_open(&f, path, &model.tiny->config, &err))
        fail_msg("%s", err.msg);
    assert_true(f.four && f.numbers->four);
    assert_true(quern__fidelity_passes(&f.fidelity, true) &&
                !quern__fidelity_passes(&f.fidelity, false));
    for (uint32_t l = 0; l < LAYERS; l++)
        for (int m = 0; m < QUERN__Q_MATRICES; m++) {
            if (!count_of(m))
                continue;
            const bool is = quern__is_four(four, l, m);
            assert_int_equal(is, quern__is_four(f.numbers, l, m));
            assert_memory_equal(f.numbers->layer[l].weight[m], four->layer[l].weight[m],
                                count_of(m) / (is ? 2 : 1));
            if (is)
                assert_memory_equal(f.numbers->layer[l].step[m], four->layer[l].step[m],
                                    count_of(m) / QUERN__STEP_INPUTS);
        }
    quern__quantised_close(&f);
    for (size_t i = 0; i < size; i += i < 6000 ? 13 : 997) {
        const char was = bytes[i];
        bytes[i] = (char)(was ^ (1 << i % 8));
        const int rc =
            quern__quantised_parse(&f, bytes, size, "damaged", &model.tiny->config, &err);
        assert_true(rc == QUERN_EFORMAT || rc == QUERN_EMISMATCH || (rc == QUERN_OK && was == ' '));
        quern__quantised_close(&f);
        bytes[i] = was;
    }
    quern__free(bytes);
}

static void test_there_and_back(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < MIXES; i++) {
        mix(mixes[i]);
        assert_there_and_back();
        unmix();
    }
}

/* Queries and keys are packed as one. */
static void test_half_kept(void **state)
{
    (void)state;
    static const uint8_t halves[2] = {1 << QUERN__Q_QUERY, 1 << QUERN__Q_KEY};
    for (uint32_t i = 0; i < 2; i++) {
        quern__quantised_file f;
        quern_error err;
        char *bytes;
        size_t size;
        mix((const uint8_t[LAYERS]){0, halves[i]});
        written(&bytes, &size);
        unmix();
        assert_int_equal(quern__quantised_open(&f, path, &model.tiny->config, &err), QUERN_EFORMAT);
        assert_non_null(strstr(err.msg, "layer 1's query and key"));
        quern__free(bytes);
    }
}

static void test_steps(void **state)
{
    (void)state;
    static const int8_t none[] = {0, 16, -16, 127, -128};
    int8_t *step = (int8_t *)four->layer[1].step[QUERN__Q_UP] + 5; /* the test's own */
    const int8_t was = *step;
    for (size_t i = 0; i < QUERN__COUNT(none); i++) {
        quern__quantised_file f;
        quern_error err;
        char *bytes;
        size_t size;
        *step = none[i];
        written(&bytes, &size);
        assert_int_equal(quern__quantised_open(&f, path, &model.tiny->config, &err), QUERN_EFORMAT);
        assert_non_null(strstr(err.msg, "layer.1.up.step"));
        quern__free(bytes);
    }
    *step = was;
}

static void test_other_widths(void **state)
{
    (void)state;
    static const uint32_t shapes[][2] = {{48, 64}, {64, 80}};
    for (size_t i = 0; i < QUERN__COUNT(shapes); i++) {
        quern__weights *w = NULL;
        quern__encoder *e = NULL;
        quern__quantised *q = NULL;
        quern_error err;
        tiny_model *m =
            tiny_new(shapes[i][0], 2, 1, shapes[i][1], VOCAB, LONGEST, QUERN__F32, "", 3);
        if (quern__weights_parse(&w, QUERN__SAFETENSORS, m->bytes, m->size, "tiny", &err) ||
            quern__encoder_open(&e, &m->config, w, quern__kernels_pick(~0u), LONGEST, &err))
            fail_msg("%s", err.msg);
        assert_int_equal(quern__quantise(&q, e, w, true, ids, lengths, 1, NULL, NULL, NULL, &err),
                         QUERN_EUNSUPPORTED);
        assert_non_null(strstr(err.msg, "multiples of 32"));
        assert_null(q);
        quern__encoder_free(e);
        quern__weights_free(w);
        tiny_free(m);
    }
}

static void test_fours(void **state)
{
    (void)state;
    int8_t row[8] = {0};
    for (int turn = 0; turn < 2; turn++) /* over what is there already, too */
        for (int i = 0; i < 16; i++)
            quern__set_four(row, (size_t)i, (int8_t)(turn ? i - 8 : 7 - i));
    for (int i = 0; i < 16; i++)
        assert_int_equal(quern__four(row, (size_t)i), i - 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_int8_of_these_weights),
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_half_kept),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_other_widths),
        cmocka_unit_test(test_fours),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
