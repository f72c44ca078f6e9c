/*
 * test_encoder_bf16.c — the class bf16 in a whole model: all-MiniLM-L6-v2's vectors of 20 texts have a golden hash by pairs, and
 * those of two of them one by tiles (plain C is slow), whatever the table, batch and threads, and are near class fp32; a weight that bf16 cannot hold is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../kernels/kernel_tables.h"
#include "golden_texts.h"
#include "kernels/bf16.h"
#include "kernels/classes.h"
#include "tiny_model.h"

static const char *const golden[][2] = {
    {"pairs", "5aafaa2516d2cd44cf089ffcafcb3228800b533a67de988e1c06b97f3d3aa40b"},
    {"tiles", "864208f0c6fa9cbcbcdbc74219b194f43aa5afbd9dc14bb9ede27bae2387e882"},
};

static void assert_golden(const char *order, const char *table, const float *out, uint32_t n)
{
    char hex[65];
    hash_vectors(out, n, hex);
    for (size_t i = 0; i < QUERN__COUNT(golden); i++)
        if (strcmp(golden[i][0], order) == 0 && strcmp(golden[i][1], hex) != 0)
            fail_msg("%s (by %s): the hash is %s, not %s", table, order, hex, golden[i][1]);
}

static void test_golden(void **state)
{
    (void)state;
    static int32_t ids[ROOM];
    static float want[TEXTS * DIM], out[TEXTS * DIM];
    uint32_t lengths[TEXTS];
    const char *folder = getenv("QUERN_TEST_MODEL");
    quern__model_config config;
    quern__weights *weights = NULL;
    quern__encoder *e = NULL;
    quern__kernels room;
    quern_error err;
    if (SANITIZED || getenv("QUERN_SKIP_MODEL_TESTS"))
        skip();
    assert_non_null(folder);
    const uint32_t n = golden_texts(ids, lengths);
    if (quern__model_config_read(&config, folder, &err) ||
        quern__weights_open(&weights, folder, &err) ||
        quern__encoder_open(&e, &config, weights, quern__kernels_pick(~0u), 256, &err))
        fail_msg("%s", err.msg);
    encode(e, 1, n, ids, lengths, n, want);
    const uint64_t full = quern__encoder_bytes(e);
    quern__encoder_free(e);
    const quern__bf16_kernels *b;
    for (size_t i = 0; (b = quern__bf16_at(i)); i++) {
        if ((b->need & quern__cpu_runnable()) != b->need ||
            (!long_form() && b == &quern__bf16_scalar))
            continue; /* scalar: the e2e test, on a small model */
        const uint32_t level = b == &quern__bf16_scalar ? 0 : b->need;
        const quern__kernels *k = quern__kernels_of(QUERN__CLASS_BF16, level, &room);
        assert_ptr_equal(k->product, b->product);
        /* amxplain: attention and the rest by the fast fp32 table, the same bits sooner */
        k = quern__kernels_of(QUERN__CLASS_FP32, ~0u, &room);
        quern__kernels mixed = *k;
        mixed.kind = QUERN__MATRIX_BF16;
        mixed.most = 0x1.fep127f;
        mixed.panel = b->panel;
        mixed.pack = b->pack;
        mixed.product = b->product;
        if (quern__encoder_open(&e, &config, weights, &mixed, 256, &err))
            fail_msg("%s", err.msg);
        assert_true(quern__encoder_bytes(e) < full * 6 / 10);
        const uint32_t some = strcmp(b->order, "tiles") == 0 ? 2 : n;
        const bool fast = !(b->need & (QUERN__CPU_SCALAR | QUERN__CPU_AMX_PLAIN));
        for (uint32_t way = 0; way < (fast || long_form() ? 3u : 1u); way++) {
            encode(e, 1 + way, way == 1 ? 1 : some, ids, lengths, some, out);
            assert_golden(b->order, b->name, out, some);
        }
        for (uint32_t t = 0; t < some; t++) {
            double near = 0;
            for (uint32_t c = 0; c < DIM; c++)
                near += (double)want[t * DIM + c] * (double)out[t * DIM + c];
            if (!(near > 0.9999))
                fail_msg("%s, text %u: cosine to fp32 is %f", b->name, t, near);
        }
        quern__encoder_free(e);
    }
    quern__weights_free(weights);
}

static void test_what_does_not_fit(void **state)
{
    (void)state;
    static const struct {
        float weight;
        bool fits;
    } cases[] = {
        {0x1.fep127f, true}, {0x1.ffp127f, false}, {-0x1.fffffep127f, false}, {NAN, false}};
    for (size_t i = 0; i < QUERN__COUNT(cases); i++) {
        quern__kernels room;
        quern__weights *file;
        quern__encoder *e;
        quern_error err;
        tiny_model *tiny = tiny_new(48, 2, 1, 77, 50, 20, QUERN__F32, "", 5);
        assert_int_equal(
            quern__weights_parse(&file, QUERN__SAFETENSORS, tiny->bytes, tiny->size, "tiny", &err),
            QUERN_OK);
        const quern__tensor *t =
            quern__weights_find(file, "encoder.layer.0.intermediate.dense.weight");
        assert_non_null(t);
        memcpy((char *)tiny->bytes + t->offset + 4 * 49, &cases[i].weight, sizeof(float));
        const int rc = quern__encoder_open(
            &e, &tiny->config, file, quern__kernels_of(QUERN__CLASS_BF16, ~0u, &room), 20, &err);
        assert_int_equal(rc, cases[i].fits ? QUERN_OK : QUERN_EFORMAT);
        if (rc)
            assert_non_null(strstr(err.msg, "intermediate.dense.weight"));
        else
            quern__encoder_free(e);
        quern__weights_free(file);
        tiny_free(tiny);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
