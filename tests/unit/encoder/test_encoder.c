/*
 * test_encoder.c — the encoder on tiny random models of odd shapes: right (against the network in double),
 * one bit pattern (whatever table, batch, order, split, thread count or floating-point environment), and
 * hard to fool (missing, misshapen and damaged tensors, ids and lengths out of range).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fenv.h>

#include <cmocka.h>

#include "../kernels/kernel_tables.h"
#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"
#include "encodings.h"
#include "tiny_model.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static quern__rng rng;

typedef struct shape {
    uint32_t hidden, heads, layers, intermediate;
} shape;

static const shape shapes[] = {
    {80, 5, 3, 176},  {48, 2, 2, 77}, {384, 12, 1, 500}, {416, 4, 1, 400},
    {32, 1, 2, 1155}, {51, 3, 2, 33}, {768, 12, 1, 800}, {256, 2, 1, 96},
};
enum { VOCAB = 1003, LONGEST = 70 };

typedef struct model {
    tiny_model *tiny;
    quern__weights *file;
    quern__encoder *encoder;
} model;

static int open_tiny(model *m, tiny_model *tiny, const quern__kernels *k, quern_error *err)
{
    *m = (model){.tiny = tiny};
    int rc = quern__weights_parse(&m->file, QUERN__SAFETENSORS, tiny->bytes, tiny->size,
                                  "tiny.safetensors", err);
    return rc ? rc : quern__encoder_open(&m->encoder, &tiny->config, m->file, k, LONGEST, err);
}

static void close_model(model *m)
{
    quern__encoder_free(m->encoder);
    quern__weights_free(m->file);
}

static tiny_model *tiny_of(shape s, int dtype, const char *prefix)
{
    return tiny_new(s.hidden, s.heads, s.layers, s.intermediate, VOCAB, LONGEST + 3, dtype, prefix,
                    s.hidden);
}

typedef struct texts {
    int32_t ids[64 * LONGEST];
    uint32_t lengths[64], n;
} texts;

static void random_texts(texts *t, uint32_t n, uint32_t longest)
{
    size_t at = 0;
    t->n = n;
    for (uint32_t i = 0; i < n; i++) {
        t->lengths[i] = 1 + quern__rng_below(&rng, longest);
        for (uint32_t j = 0; j < t->lengths[i]; j++)
            t->ids[at++] = (int32_t)quern__rng_below(&rng, VOCAB);
    }
}

static void assert_right(shape s, int dtype, const char *prefix, int pooling, bool normalize)
{
    tiny_model *tiny = tiny_of(s, dtype, prefix);
    tiny->config.pooling = pooling;
    model m;
    quern_error err;
    if (open_tiny(&m, tiny, quern__kernels_pick(~0u), &err))
        fail_msg("%s", err.msg);
    static texts t;
    random_texts(&t, 4, LONGEST);
    t.lengths[0] = 1;
    float *out = quern__alloc_array((size_t)t.n * s.hidden, sizeof *out);
    double *want = quern__alloc_array(s.hidden, sizeof *want);
    assert_true(out && want);
    encode_as(m.encoder, 1, t.n, t.ids, t.lengths, t.n, normalize, out);
    for (uint32_t i = 0, at = 0; i < t.n; at += t.lengths[i++]) {
        double length = 0;
        slow_forward(tiny, t.ids + at, t.lengths[i], want);
        for (uint32_t c = 0; c < s.hidden; c++)
            length += want[c] * want[c];
        length = normalize ? sqrt(length) : 1;
        for (uint32_t c = 0; c < s.hidden; c++)
            if (!(fabs(want[c] / length - (double)out[i * s.hidden + c]) < 5e-5))
                fail_msg("hidden %u, text of %u, column %u: %g, double precision gives %g",
                         s.hidden, t.lengths[i], c, (double)out[i * s.hidden + c],
                         want[c] / length);
    }
    quern__free(out);
    quern__free(want);
    close_model(&m);
    tiny_free(tiny);
}

static void test_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < QUERN__COUNT(shapes); i++)
        assert_right(shapes[i], QUERN__F32, "", QUERN__POOL_MEAN, true);
    assert_right(shapes[0], QUERN__F16, "", QUERN__POOL_MEAN, true);
    assert_right(shapes[3], QUERN__BF16, "bert.", QUERN__POOL_MEAN, true);
    assert_right(shapes[0], QUERN__F32, "bert.", QUERN__POOL_CLS, true);
    assert_right(shapes[1], QUERN__F32, "", QUERN__POOL_CLS, false);
    assert_right(shapes[2], QUERN__F32, "", QUERN__POOL_MEAN, false);
}

/* ---- one bit pattern ---- */

/* The control register, without the flags of exceptions; FLUSH: no denormals. */
#if defined(__x86_64__)
enum { FLUSH = 0x8040 };

static uint32_t environment(void)
{
    return _mm_getcsr() & ~0x3fu;
}

static void set_environment(uint32_t to)
{
    _mm_setcsr(to);
}
#elif defined(__aarch64__)
enum { FLUSH = 1 << 24 };

static uint32_t environment(void)
{
    uint64_t now;
    __asm__ volatile("mrs %0, fpcr" : "=r"(now));
    return (uint32_t)now;
}

static void set_environment(uint32_t to)
{
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)to) : "memory");
}
#else
enum { FLUSH = 0 };

static uint32_t environment(void)
{
    return (uint32_t)fegetround();
}

static void set_environment(uint32_t to)
{
    fesetround((int)to);
}
#endif

/* A caller's floating-point environment as it should not be; returns what to compare afterwards. */
static uint32_t poison(void)
{
    static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    fesetround(modes[quern__rng_below(&rng, 4)]);
    if (quern__rng_below(&rng, 2))
        set_environment(environment() | FLUSH);
    return environment();
}

static void cure(void)
{
    fesetround(FE_TONEAREST);
    set_environment(environment() & ~(uint32_t)FLUSH);
}

static void assert_same_row(const float *a, const float *b, uint32_t n, const char *what)
{
    if (memcmp(a, b, n * sizeof *a) != 0)
        for (uint32_t i = 0; i < n; i++)
            if (to_bits(a[i]) != to_bits(b[i]))
                fail_msg("%s: component %u is %a, alone on one thread it was %a", what, i,
                         (double)a[i], (double)b[i]);
}

/* A random subset in a random order, some twice, in calls of random size, by `threads` threads. */
static void shuffle_round(const quern__encoder *e, uint32_t threads, const texts *t,
                          const float *alone, uint32_t hidden)
{
    static int32_t ids[64 * LONGEST];
    uint32_t lengths[64], from[64], starts[64], n = 1 + quern__rng_below(&rng, 64);
    static float out[64 * 768];
    quern__pool *pool;
    quern__encoder_scratch *s;
    quern_error err;
    size_t at = 0;
    for (uint32_t i = 0, begin = 0; i < t->n; begin += t->lengths[i++])
        starts[i] = begin;
    for (uint32_t i = 0; i < n; i++) {
        from[i] = quern__rng_below(&rng, t->n);
        lengths[i] = t->lengths[from[i]];
        memcpy(ids + at, t->ids + starts[from[i]], lengths[i] * sizeof *ids);
        at += lengths[i];
    }
    assert_int_equal(quern__pool_new(&pool, threads, &err), QUERN_OK);
    assert_int_equal(quern__encoder_scratch_new(&s, e, threads, &err), QUERN_OK);
    at = 0;
    for (uint32_t done = 0, take; done < n; done += take) {
        take = 1 + quern__rng_below(&rng, n - done);
        const uint32_t before = poison();
        const int rc = quern__encode(e, s, pool, ids + at, lengths + done, take, true,
                                     out + (size_t)done * hidden, NULL, &err);
        const uint32_t after = environment();
        cure();
        assert_int_equal(rc, QUERN_OK);
        assert_int_equal(before, after);
        for (uint32_t i = done; i < done + take; i++)
            at += lengths[i];
    }
    for (uint32_t i = 0; i < n; i++)
        assert_same_row(out + (size_t)i * hidden, alone + (size_t)from[i] * hidden, hidden,
                        quern__kernels_name(quern__kernels_pick(~0u)));
    quern__encoder_scratch_free(s);
    quern__pool_free(pool);
}

static void test_one_pattern(void **state)
{
    (void)state;
    for (size_t i = 0; i < QUERN__COUNT(shapes); i++) {
        tiny_model *tiny = tiny_of(shapes[i], QUERN__F32, "");
        const uint32_t hidden = shapes[i].hidden;
        static texts t;
        static float alone[24 * 768];
        model reference, m;
        quern_error err;
        random_texts(&t, 24, i % 2 ? LONGEST : 20);
        assert_int_equal(open_tiny(&reference, tiny, reference_table(), &err), QUERN_OK);
        for (uint32_t j = 0, at = 0; j < t.n; at += t.lengths[j++])
            encode(reference.encoder, 1, 1, t.ids + at, t.lengths + j, 1,
                   alone + (size_t)j * hidden);
        for (size_t k = 0; fast_table(k); k++) {
            poison(); /* opening computes too */
            const int rc = open_tiny(&m, tiny, fast_table(k), &err);
            cure();
            assert_int_equal(rc, QUERN_OK);
            for (uint32_t r = 0; r < (long_form() ? 60u : (SANITIZED ? 2u : 6u)); r++)
                shuffle_round(m.encoder, 1 + quern__rng_below(&rng, 5), &t, alone, hidden);
            close_model(&m);
        }
        close_model(&reference);
        tiny_free(tiny);
    }
}

/* The ABI-floor build of the scalar table, one text: the others are compared with its fma build. */
static void test_floor(void **state)
{
    (void)state;
    tiny_model *tiny = tiny_of(shapes[0], QUERN__F32, "");
    static texts t;
    float a[80], b[80];
    model m;
    quern_error err;
    random_texts(&t, 1, LONGEST);
    assert_int_equal(open_tiny(&m, tiny, &quern__kernels_scalar, &err), QUERN_OK);
    encode(m.encoder, 1, 1, t.ids, t.lengths, 1, a);
    close_model(&m);
    assert_int_equal(open_tiny(&m, tiny, reference_table(), &err), QUERN_OK);
    encode(m.encoder, 2, 1, t.ids, t.lengths, 1, b);
    close_model(&m);
    assert_same_row(a, b, 80, "scalar");
    tiny_free(tiny);
}

/* ---- one encoder, many threads, each with a scratch of its own ---- */

typedef struct caller {
    const quern__encoder *e;
    const texts *t;
    const float *want;
    quern__pool *pool;
    bool equal;
} caller;

static void call_often(void *ud)
{
    caller *c = ud;
    quern__encoder_scratch *s;
    float out[64 * 80];
    c->equal = !quern__encoder_scratch_new(&s, c->e, 2, NULL);
    for (uint32_t i = 0; c->equal && i < (long_form() ? 1000u : 20u); i++) {
        const uint32_t n = 1 + i % c->t->n;
        c->equal = !quern__encode(c->e, s, i % 3 ? NULL : c->pool, c->t->ids, c->t->lengths, n,
                                  true, out, NULL, NULL) &&
                   !memcmp(out, c->want, (size_t)n * 80 * sizeof *out);
    }
    quern__encoder_scratch_free(s);
}

static void test_threads(void **state)
{
    (void)state;
    enum { CALLERS = 16 };
    tiny_model *tiny = tiny_of(shapes[0], QUERN__F32, "");
    static texts t;
    static float want[64 * 80];
    caller c[CALLERS];
    quern__thread *threads[CALLERS];
    quern__pool *pool;
    model m;
    quern_error err;
    random_texts(&t, 12, 20);
    assert_int_equal(quern__pool_new(&pool, 2, &err), QUERN_OK);
    assert_int_equal(open_tiny(&m, tiny, quern__kernels_pick(~0u), &err), QUERN_OK);
    encode(m.encoder, 1, t.n, t.ids, t.lengths, t.n, want);
    for (int i = 0; i < CALLERS; i++) {
        c[i] = (caller){m.encoder, &t, want, pool, false};
        assert_int_equal(quern__thread_start(threads + i, call_often, c + i, &err), QUERN_OK);
    }
    for (int i = 0; i < CALLERS; i++) {
        quern__thread_join(threads[i]);
        assert_true(c[i].equal);
    }
    close_model(&m);
    quern__pool_free(pool);
    tiny_free(tiny);
}

/* ---- refusals ---- */

static float *value_at(tiny_model *m, size_t index)
{
    return (float *)(void *)(m->bytes + m->data_at) + index;
}

static void refused(tiny_model *tiny, int status, const char *name)
{
    model m;
    quern_error err;
    const int rc = open_tiny(&m, tiny, quern__kernels_pick(~0u), &err);
    if (rc != status || !strstr(err.msg, name))
        fail_msg("got %d (%s), want %d and \"%s\"", rc, rc ? err.msg : "", status, name);
    assert_null(m.encoder);
    close_model(&m);
}

/* Every tensor: missing (its name changed), of another shape, of a type that is no float. */
static void test_bad_tensors(void **state)
{
    (void)state;
    const shape s = {32, 2, 2, 40};
    tiny_model *tiny = tiny_of(s, QUERN__F32, "");
    char *header = (char *)tiny->bytes + 8, *end = header + tiny->header_len;
    uint32_t seen = 0;
    for (char *p = header; p < end; p++) {
        if (strncmp(p, "\":{\"dtype\":\"", 12) != 0)
            continue;
        char name[128];
        char *start = p;
        while (start[-1] != '"')
            start--;
        memcpy(name, start, (size_t)(p - start));
        name[p - start] = 0;
        seen++;
        p[-1] ^= 1; /* weight -> weighu */
        refused(tiny, QUERN_EFORMAT, name);
        p[-1] ^= 1;
        memcpy(p + 12, "I32", 3);
        refused(tiny, QUERN_EFORMAT, name);
        memcpy(p + 12, "F32", 3);
    }
    assert_int_equal(seen, 5 + 2 * 16);
    tiny->config.hidden = 64;
    refused(tiny, QUERN_EFORMAT, "[1003, 32]");
    tiny->config.hidden = 32;
    tiny->config.intermediate = 41;
    refused(tiny, QUERN_EFORMAT, "config.json asks for [32, 41]");
    tiny->config.intermediate = 40;
    tiny->config.layers = 3;
    refused(tiny, QUERN_EFORMAT, "encoder.layer.2.");
    tiny->config.layers = 0;
    refused(tiny, QUERN_EFORMAT, "layers 0");
    tiny->config.layers = 2;
    tiny->config.heads = 3;
    refused(tiny, QUERN_EFORMAT, "heads 3");
    tiny->config.heads = 2;
    tiny->config.positions = 10;
    refused(tiny, QUERN_EINVAL, "maximum length");
    tiny->config.positions = LONGEST + 3;
    tiny->config.pooling = 64;
    refused(tiny, QUERN_EUNSUPPORTED, "pooling 64");
    tiny->config.pooling = QUERN__POOL_MEAN;
    strcpy(tiny->config.family, "gptj");
    refused(tiny, QUERN_EUNSUPPORTED, "gptj");
    strcpy(tiny->config.family, "bert");
    tiny->config.vocab = 0xfffffffe;
    tiny->config.hidden = 0xfffffff0;
    refused(tiny, QUERN_EFORMAT, "hidden");
    tiny_free(tiny);
}

/* NaN or infinity anywhere behind the word embeddings is refused at open. */
static void test_damaged_weights(void **state)
{
    (void)state;
    const shape s = {32, 2, 1, 40};
    tiny_model *tiny = tiny_of(s, QUERN__F32, "");
    const size_t words = (size_t)VOCAB * 32;
    for (int i = 0; i < 60; i++) {
        /* positions past the longest text are never read */
        size_t at = words + quern__rng_below(&rng, (uint32_t)(tiny->count - words));
        if (at >= words + LONGEST * 32u && at < words + (LONGEST + 3 + 2) * 32u)
            continue;
        const float was = *value_at(tiny, at);
        *value_at(tiny, at) = i % 2 ? NAN : -INFINITY;
        refused(tiny, QUERN_EFORMAT, "NaN or infinity");
        *value_at(tiny, at) = was;
    }
    /* A damaged word row is found when its text comes: that text is named, never a vector given. */
    model m;
    quern_error err;
    quern__encoder_scratch *scratch;
    const int32_t ids[6] = {5, 6, 7, 8, 9, 10};
    const uint32_t lengths[3] = {2, 2, 2};
    float out[3 * 32];
    *value_at(tiny, 8 * 32 + 3) = NAN;
    assert_int_equal(open_tiny(&m, tiny, quern__kernels_pick(~0u), &err), QUERN_OK);
    assert_int_equal(quern__encoder_scratch_new(&scratch, m.encoder, 1, &err), QUERN_OK);
    assert_int_equal(
        quern__encode(m.encoder, scratch, NULL, ids, lengths, 3, true, out, NULL, &err),
        QUERN_EFORMAT);
    assert_int_equal(err.subject, 1);
    assert_int_equal(
        quern__encode(m.encoder, scratch, NULL, ids, lengths, 1, true, out, NULL, &err), QUERN_OK);
    quern__encoder_scratch_free(scratch);
    close_model(&m);
    tiny_free(tiny);
}

static void test_bad_input(void **state)
{
    (void)state;
    tiny_model *tiny = tiny_of(shapes[0], QUERN__F32, "");
    model m;
    quern_error err;
    quern__encoder_scratch *s;
    quern_cancel *cancel;
    int32_t ids[80] = {0};
    uint32_t lengths[2] = {2, 3};
    float out[2 * 80];
    assert_int_equal(open_tiny(&m, tiny, quern__kernels_pick(~0u), &err), QUERN_OK);
    assert_int_equal(quern__encoder_scratch_new(&s, m.encoder, 1, &err), QUERN_OK);
    assert_true(quern__encoder_bytes(m.encoder) > 3 * (4 * 80 * 80 + 2 * 80 * 176) * 4);
    assert_int_equal(quern__encode(m.encoder, s, NULL, NULL, NULL, 0, true, NULL, NULL, &err),
                     QUERN_OK);
    ids[3] = VOCAB;
    assert_int_equal(quern__encode(m.encoder, s, NULL, ids, lengths, 2, true, out, NULL, &err),
                     QUERN_EINVAL);
    assert_int_equal(err.subject, 1);
    ids[3] = -1;
    assert_int_equal(quern__encode(m.encoder, s, NULL, ids, lengths, 2, true, out, NULL, &err),
                     QUERN_EINVAL);
    ids[3] = 0;
    lengths[1] = 0;
    assert_int_equal(quern__encode(m.encoder, s, NULL, ids, lengths, 2, true, out, NULL, &err),
                     QUERN_EINVAL);
    lengths[1] = LONGEST + 1;
    assert_int_equal(quern__encode(m.encoder, s, NULL, ids, lengths, 2, true, out, NULL, &err),
                     QUERN_EINVAL);
    assert_int_equal(err.subject, 1);
    lengths[1] = LONGEST;
    assert_int_equal(quern_cancel_new(&cancel, &err), QUERN_OK);
    assert_int_equal(quern__encode(m.encoder, s, NULL, ids, lengths, 2, true, out, cancel, &err),
                     QUERN_OK);
    quern_cancel_raise(cancel);
    assert_int_equal(quern__encode(m.encoder, s, NULL, ids, lengths, 2, true, out, cancel, &err),
                     QUERN_ECANCELLED);
    quern_cancel_free(cancel);
    quern__encoder_scratch_free(s);
    close_model(&m);
    tiny_free(tiny);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right),       cmocka_unit_test(test_one_pattern),
        cmocka_unit_test(test_floor),       cmocka_unit_test(test_threads),
        cmocka_unit_test(test_bad_tensors), cmocka_unit_test(test_damaged_weights),
        cmocka_unit_test(test_bad_input),
    };
    quern__rng_seed(&rng, 31);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
