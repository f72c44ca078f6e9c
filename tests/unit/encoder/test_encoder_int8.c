/*
 * test_encoder_int8.c — the int8 class: tiny random models of odd shapes are quantised and give one bit pattern
 * with every table, batch, order, split and thread count, near the fp32 class; what does not fit is refused;
 * and all-MiniLM-L6-v2, quantised on 20 texts, has golden hashes: of the stored numbers (the quantiser finds
 * the same ones on every machine) and of those texts' vectors (docs/bits.md, specification 8).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../kernels/kernel_tables.h"
#include "encoder/encoder_impl.h"
#include "encodings.h"
#include "golden_texts.h"
#include "tiny_classes.h"

enum { VOCAB = 503, LONGEST = QUERN__INTEGER_FROM + 20, TEXTS = 24 };

static quern__rng rng;

static const quern__int8_kernels *int8_table(size_t i)
{
    const quern__int8_kernels *k;
    for (size_t at = 0; (k = quern__int8_at(at)); at++)
        if ((k->need & quern__cpu_runnable()) == k->need && !i--)
            return k;
    return NULL;
}

typedef struct texts {
    int32_t ids[TEXTS * LONGEST];
    uint32_t lengths[TEXTS], starts[TEXTS], n;
} texts;

static void random_texts(texts *t)
{
    static const uint32_t some[] = {1, QUERN__INTEGER_FROM - 1, QUERN__INTEGER_FROM,
                                    QUERN__INTEGER_FROM + 1, LONGEST}; /* rule 26 */
    uint32_t at = 0;
    t->n = TEXTS;
    for (uint32_t i = 0; i < t->n; i++) {
        t->starts[i] = at;
        t->lengths[i] = i < QUERN__COUNT(some) ? some[i] : 1 + quern__rng_below(&rng, 50);
        for (uint32_t j = 0; j < t->lengths[i]; j++)
            t->ids[at++] = (int32_t)quern__rng_below(&rng, VOCAB);
    }
}

/* A model in both classes. */
static void pair_new(tiny_pair *p, uint32_t hidden, uint32_t heads, uint32_t layers, uint32_t inner,
                     const char *prefix)
{
    static texts t;
    random_texts(&t);
    tiny_pair_new(p,
                  tiny_new(hidden, heads, layers, inner, VOCAB, LONGEST + 3, QUERN__F32, prefix, 5),
                  false, LONGEST, t.ids, t.lengths, t.n);
}

/* The same texts by other ways: alone, in random batches, on several threads. */
static void assert_same_ways(const quern__encoder *e, const texts *t, const float *all,
                             uint32_t dim)
{
    static int32_t some[TEXTS * LONGEST];
    float *out = quern__alloc_array((size_t)TEXTS * dim, sizeof *out);
    assert_non_null(out);
    for (uint32_t round = 0; round < (long_form() ? 60u : 8u); round++) {
        uint32_t from[TEXTS], lengths[TEXTS],
            n = round < 3 ? 1 : 1 + quern__rng_below(&rng, TEXTS - 1);
        size_t at = 0;
        for (uint32_t i = 0; i < n; at += lengths[i++]) {
            from[i] = round < 3 ? 2 * round : quern__rng_below(&rng, TEXTS);
            lengths[i] = t->lengths[from[i]];
            memcpy(some + at, t->ids + t->starts[from[i]], lengths[i] * sizeof *some);
        }
        encode(e, 1 + round % 4, n, some, lengths, n, out);
        for (uint32_t i = 0; i < n; i++)
            assert_memory_equal(out + (size_t)i * dim, all + (size_t)from[i] * dim,
                                dim * sizeof *out);
    }
    quern__free(out);
}

static void one_shape(uint32_t hidden, uint32_t heads, uint32_t layers, uint32_t inner,
                      const char *prefix)
{
    tiny_pair p;
    static texts t;
    pair_new(&p, hidden, heads, layers, inner, prefix);
    random_texts(&t); /* others than those of the calibration */
    const size_t floats = (size_t)TEXTS * hidden;
    float *want = quern__alloc_array(floats, sizeof *want),
          *first = quern__alloc_array(floats, sizeof *want),
          *out = quern__alloc_array(floats, sizeof *want);
    assert_true(want && first && out);
    encode(p.fp32, 1, t.n, t.ids, t.lengths, t.n, want);
    for (size_t i = 0; int8_table(i); i++)
        for (size_t j = 0; j < 2; j++) {
            const quern__kernels *k = fast_table(j) ? fast_table(j) : reference_table();
            quern__encoder *e = tiny_pair_open(&p, p.numbers, k, int8_table(i));
            encode(e, 1 + (uint32_t)j, t.n, t.ids, t.lengths, t.n, out);
            if (!i && !j)
                memcpy(first, out, floats * sizeof *out);
            if (memcmp(first, out, floats * sizeof *out) != 0)
                fail_msg("hidden %u: %s over %s gives other bits than %s", hidden,
                         int8_table(i)->name, k->name, int8_table(0)->name);
            if (!j && (long_form() || int8_table(i)->need != QUERN__CPU_AMX_PLAIN))
                assert_same_ways(e, &t, first, hidden);
            quern__encoder_free(e);
        }
    char what[32];
    snprintf(what, sizeof what, "hidden %u", hidden);
    /* random weights have no outliers, but every error goes on */
    assert_near(what, want, first, t.n, hidden, 0.99);
    quern__free(want);
    quern__free(first);
    quern__free(out);
    tiny_pair_free(&p);
}

static void test_shapes(void **state)
{
    (void)state;
    one_shape(80, 5, 2, 176, "");
    one_shape(48, 2, 2, 77, "bert.");
    one_shape(51, 3, 2, 33, "");
    one_shape(416, 4, 1, 400, ""); /* two pieces, both in rows and in chunks */
    if (!SANITIZED) {
        one_shape(384, 12, 1, 800, "");
        one_shape(768, 12, 1, 800, "");
    }
}

/* Texts to either side of where attention begins and ends to be in integers (rule 26): each has the bits that it has alone, on every
 * table, and is as near fp32 as its neighbours. */
static void test_lengths(void **state)
{
    (void)state;
    enum { HIDDEN = 64, N = 6, ALL = 63 + 64 + 65 + 511 + 512 + 513 };
    static const uint32_t lengths[N] = {63, 64, 65, 511, 512, 513};
    static float want[N * HIDDEN], first[N * HIDDEN], out[N * HIDDEN];
    int32_t ids[ALL];
    tiny_pair p;
    for (uint32_t i = 0; i < ALL; i++)
        ids[i] = (int32_t)quern__rng_below(&rng, VOCAB);
    tiny_pair_new(&p, tiny_new(HIDDEN, 2, 2, 128, VOCAB, 520, QUERN__F32, "", 6), false, 513, ids,
                  lengths, 3);
    encode(p.fp32, 1, N, ids, lengths, N, want);
    for (size_t t = 0; int8_table(t); t++) {
        if (int8_table(t)->need & QUERN__CPU_AMX_PLAIN && !long_form())
            continue;
        quern__encoder *e = tiny_pair_open(&p, p.numbers, quern__kernels_pick(~0u), int8_table(t));
        encode(e, 1 + (uint32_t)t % 2, N, ids, lengths, N, t ? out : first);
        if (t)
            assert_memory_equal(out, first, sizeof out);
        encode(e, 1, 1, ids, lengths, N, out);
        assert_memory_equal(out, first, sizeof out);
        quern__encoder_free(e);
    }
    assert_near("lengths", want, first, N, HIDDEN, 0.998);
    tiny_pair_free(&p);
}

static void test_what_does_not_fit(void **state)
{
    (void)state;
    tiny_pair p;
    quern_error err;
    quern__encoder *e;
    pair_new(&p, 48, 2, 2, 77, "");
    uint32_t *numbers[] = {&p.numbers->layers, &p.numbers->hidden, &p.numbers->intermediate};
    for (size_t i = 0; i < QUERN__COUNT(numbers); i++) {
        const uint32_t was = *numbers[i];
        *numbers[i] = was - 1;
        assert_int_equal(quern__encoder_open_int8(&e, &p.tiny->config, p.file, p.numbers,
                                                  quern__kernels_pick(0), quern__int8_pick(0),
                                                  LONGEST, &err),
                         QUERN_EFORMAT);
        assert_non_null(strstr(err.msg, "quern model quantize"));
        assert_null(e);
        *numbers[i] = was;
    }
    /* A number that is not finite anywhere on the way reaches the vector, and is refused. */
    const int32_t ids[2] = {3, 4};
    const uint32_t length = 2;
    float out[48];
    quern__encoder_scratch *s;
    e = tiny_pair_open(&p, p.numbers, quern__kernels_pick(~0u), quern__int8_pick(~0u));
    ((float *)e->layers[1].smooth[0])[7] = INFINITY; /* as an overflow would */
    assert_int_equal(quern__encoder_scratch_new(&s, e, 1, &err), QUERN_OK);
    assert_int_equal(quern__encode(e, s, NULL, ids, &length, 1, true, out, NULL, &err),
                     QUERN_EFORMAT);
    assert_non_null(strstr(err.msg, "not finite"));
    quern__encoder_scratch_free(s);
    quern__encoder_free(e);
    tiny_pair_free(&p);
}

/* ---- all-MiniLM-L6-v2 ---- */

static const char golden_numbers[] =
    "c202a6c07e26d62f8fecde4276f18c6b08490e05b1e5f1be281370883281acf9";
static const char golden_vectors[] =
    "a3d8ea3fc651ad9d65657971501f61abb9382e2623d333548417ef63fd948b4f";

enum { SLOW = QUERN__CPU_SCALAR | QUERN__CPU_AMX_PLAIN /* one thread shows enough */ };

static void add(quern__sha256 *h, const void *p, size_t n)
{
    assert_int_equal(quern__sha256_add(h, p, n, NULL), QUERN_OK);
}

static void assert_numbers(const quern__quantised *q)
{
    quern__sha256 h;
    uint8_t digest[32];
    char hex[65];
    assert_int_equal(quern__sha256_begin(&h, NULL), QUERN_OK);
    for (uint32_t l = 0; l < q->layers; l++) {
        for (int m = 0; m < QUERN__Q_MATRICES; m++) {
            if (!quern__quantised_has(q, m))
                continue;
            const size_t outputs = quern__quantised_outputs(q, m),
                         inputs = quern__quantised_inputs(q, m);
            add(&h, q->layer[l].weight[m], outputs * inputs);
            add(&h, q->layer[l].scale[m], inputs / 384 * outputs * sizeof(float));
        }
        for (int i = 0; i < 2; i++)
            add(&h, q->layer[l].smooth[i], q->hidden * sizeof(float));
    }
    assert_int_equal(quern__sha256_end(&h, digest, NULL), QUERN_OK);
    quern__hex32(digest, hex);
    if (strcmp(hex, golden_numbers) != 0)
        fail_msg("the hash of the quantised numbers is %s, not %s", hex, golden_numbers);
}

static void test_golden(void **state)
{
    (void)state;
    static minilm m;
    static float out[MINILM_TEXTS * MINILM_DIM];
    const uint32_t n = MINILM_TEXTS;
    quern__encoder *fp32, *e;
    quern__quantised *q;
    quern_error err;
    minilm_or_skip(&m);
    if (quern__encoder_open(&fp32, &m.config, m.weights, quern__kernels_pick(~0u), MINILM_LONGEST,
                            &err) ||
        quern__quantise(&q, fp32, m.weights, false, m.ids, m.lengths, n, NULL, NULL, NULL, &err))
        fail_msg("%s", err.msg);
    assert_numbers(q);
    for (size_t i = 0; int8_table(i); i++)
        for (uint32_t threads = 1; threads <= (int8_table(i)->need & SLOW && !long_form() ? 1 : 3);
             threads += 2) {
            if (quern__encoder_open_int8(&e, &m.config, m.weights, q, quern__kernels_pick(~0u),
                                         int8_table(i), MINILM_LONGEST, &err))
                fail_msg("%s", err.msg);
            encode(e, threads, n, m.ids, m.lengths, n, out);
            quern__encoder_free(e);
            assert_hash(int8_table(i)->name, out, n, golden_vectors);
        }
    quern__quantised_free(q);
    quern__encoder_free(fp32);
    quern__weights_free(m.weights);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_what_does_not_fit),
        cmocka_unit_test(test_golden),
    };
    quern__rng_seed(&rng, 88);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
