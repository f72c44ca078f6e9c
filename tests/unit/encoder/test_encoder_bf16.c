/*
 * test_encoder_bf16.c — the class bf16 in a whole model: all-MiniLM-L6-v2's vectors of 20 texts have a golden hash by pairs, and
 * those of two of them one by tiles (plain C is slow), whatever the table, batch and threads, and are near class fp32; a weight that bf16 cannot hold is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../kernels/kernel_tables.h"
#include "encodings.h"
#include "golden_texts.h"
#include "kernels/bf16.h"
#include "tiny_classes.h"

static const char *const golden[][2] = {
    {"pairs", "5aafaa2516d2cd44cf089ffcafcb3228800b533a67de988e1c06b97f3d3aa40b"},
    {"tiles", "864208f0c6fa9cbcbcdbc74219b194f43aa5afbd9dc14bb9ede27bae2387e882"},
};

static const char *golden_by(const char *order)
{
    for (size_t i = 0; i < QUERN__COUNT(golden); i++)
        if (strcmp(golden[i][0], order) == 0)
            return golden[i][1];
    fail_msg("no golden hash by %s", order);
    return NULL;
}

static void test_golden(void **state)
{
    (void)state;
    static minilm m;
    static float want[MINILM_TEXTS * MINILM_DIM], out[MINILM_TEXTS * MINILM_DIM];
    quern__kernels room;
    quern_error err;
    minilm_or_skip(&m);
    const uint64_t full = minilm_fp32(&m, want);
    quern__encoder *e;
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
        if (quern__encoder_open(&e, &m.config, m.weights, &mixed, MINILM_LONGEST, &err))
            fail_msg("%s", err.msg);
        assert_true(quern__encoder_bytes(e) < full * 6 / 10);
        const uint32_t some = strcmp(b->order, "tiles") == 0 ? 2 : MINILM_TEXTS;
        const bool fast = !(b->need & (QUERN__CPU_SCALAR | QUERN__CPU_AMX_PLAIN));
        for (uint32_t way = 0; way < (fast || long_form() ? 3u : 1u); way++) {
            encode(e, 1 + way, way == 1 ? 1 : some, m.ids, m.lengths, some, out);
            assert_hash(b->name, out, some, golden_by(b->order));
        }
        assert_near(b->name, want, out, some, MINILM_DIM, 0.9999);
        quern__encoder_free(e);
    }
    quern__weights_free(m.weights);
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
        quern_error err;
        const int rc = tiny_open_with(QUERN__CLASS_BF16, 49, &cases[i].weight, 1, &err);
        assert_int_equal(rc, cases[i].fits ? QUERN_OK : QUERN_EFORMAT);
        if (rc)
            assert_non_null(strstr(err.msg, TINY_WEIGHT));
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
