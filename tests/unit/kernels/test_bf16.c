/*
 * test_bf16.c — the class bf16: every table against rules 40 to 42 of docs/bits.md spelled out for one element, bit for
 * bit, in its order of summation: hostile activations and weights, every row count up to two tiles and a block, odd
 * depths and widths, and NaN in all padding.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "kernel_tables.h"
#include "kernels/amx_plain.h"
#include "kernels/bf16.h"
#include "kernels/classes.h"

static quern__rng rng;

static const quern__bf16_kernels *table(size_t i)
{
    const quern__bf16_kernels *k;
    for (size_t at = 0; (k = quern__bf16_at(at)); at++)
        if ((k->need & quern__cpu_runnable()) == k->need && !i--)
            return k;
    return NULL;
}

static void test_rounding(void **state)
{
    (void)state;
    static const struct {
        float x;
        uint16_t want;
    } cases[] = {
        {0.0f, 0},
        {-0.0f, 0x8000},
        {1.0f, 0x3f80},
        {0x1.01p0f, 0x3f80},
        {0x1.03p0f, 0x3f82},
        {0x1.0101p0f, 0x3f81},
        {0x1p-126f, 0x0080},
        {0x1.fffffcp-127f, 0},
        {-0x1p-149f, 0x8000},
        {0x1.ffp127f, 0x7f80},
        {0x1.fefffep127f, 0x7f7f},
        {-INFINITY, 0xff80},
    };
    for (size_t i = 0; i < QUERN__COUNT(cases); i++)
        if (quern__bf16_of(cases[i].x) != cases[i].want)
            fail_msg("bf16 of %a is %04x, not %04x", (double)cases[i].x, quern__bf16_of(cases[i].x),
                     cases[i].want);
    const uint16_t nan =
        quern__bf16_of(from_bits(0x7f800001)); /* the payload's only bit is cut off */
    assert_true((nan & 0x7f80) == 0x7f80 && (nan & 0x7f));
}

/* ---- products ---- */

static float *floats(size_t n)
{
    float *p = quern__alloc_array(n + 16, sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = NAN;
    return p;
}

static uint32_t pieces_of(uint32_t n)
{
    return (n + QUERN__PIECE - 1) / QUERN__PIECE;
}

typedef struct matrix {
    quern__rows m;
    float *memory;
} matrix;

static matrix matrix_new(uint32_t rows, uint32_t columns, uint32_t shift)
{
    const size_t piece = (size_t)rows * QUERN__STRIDE;
    float *p = floats(piece * pieces_of(columns) + shift);
    return (matrix){{p + shift, piece}, p};
}

static float *element(quern__rows m, uint32_t row, uint32_t column)
{
    return m.at + column / QUERN__PIECE * m.piece + (size_t)row * QUERN__STRIDE +
           column % QUERN__PIECE;
}

static float flushed(float x)
{
    return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x;
}

/* What rule 40 makes of input i; past the end it is zero. */
static float input_of(const float *x, uint32_t i, uint32_t n)
{
    return i < n ? from_bits((uint32_t)quern__bf16_of(x[i]) << 16) : 0.0f;
}

static float step(const float *x, const float *w, uint32_t i, uint32_t n, float sum)
{
    return flushed(fmaf(input_of(x, i, n), input_of(w, i, n), sum));
}

/* Rules 41 (pairs) and 42 (tiles) for one piece of one element. */
static float one_sum(bool tiles, const float *x, const float *w, uint32_t n)
{
    float sum = 0;
    for (uint32_t i = 0; !tiles && i < n; i += 2)
        sum = step(x, w, i, n, step(x, w, i + 1, n, sum));
    for (uint32_t i = 0; tiles && i < n; i += 32) {
        float even = 0, odd = 0;
        for (uint32_t j = i; j < i + 32; j += 2) {
            even = step(x, w, j, n, even);
            odd = step(x, w, j + 1, n, odd);
        }
        sum = flushed(sum + flushed(even + odd));
    }
    return sum;
}

typedef struct shape {
    uint32_t rows, inputs, outputs;
    bool wild;
} shape;

/* Rule 2's pieces and epilogue for one element, without GELU. */
static float one_product(const quern__bf16_kernels *k, const shape *s, quern__rows x, uint32_t row,
                         const float *weights, float bias, int epilogue, float residual,
                         float before)
{
    float y = before, dense[QUERN__PIECE];
    for (uint32_t p = 0; p < pieces_of(s->inputs); p++) {
        const uint32_t n = QUERN__MIN(s->inputs - p * QUERN__PIECE, (uint32_t)QUERN__PIECE);
        memcpy(dense, element(x, row, p * QUERN__PIECE), n * sizeof *dense);
        const float sum =
            one_sum(strcmp(k->order, "tiles") == 0, dense, weights + p * QUERN__PIECE, n);
        if (p || epilogue == QUERN__EP_ADD)
            y = y + sum;
        else
            y = epilogue == QUERN__EP_RESIDUAL ? (sum + bias) + residual : sum + bias;
    }
    return y;
}

static float *pack_all(const quern__bf16_kernels *t, const float *weights, uint32_t n, uint32_t k,
                       size_t *size)
{
    const uint32_t panels = (n + t->panel - 1) / t->panel;
    quern__kernels like = {.kind = QUERN__MATRIX_BF16, .panel = t->panel};
    *size = ((size_t)panels * t->panel * (k + 4 * pieces_of(k)) / 2 + 4096) * sizeof(float);
    float *data = quern__alloc_pages(*size), *at = data;
    assert_non_null(data);
    for (uint32_t p = 0; p < panels; p++)
        for (uint32_t start = 0; start < k; start += QUERN__PIECE) {
            const uint32_t width = QUERN__MIN(k - start, (uint32_t)QUERN__PIECE);
            const float *rows[QUERN__PANEL_MAX] = {NULL};
            for (uint32_t j = 0; j < t->panel && p * t->panel + j < n; j++)
                rows[j] = weights + (size_t)(p * t->panel + j) * k + start;
            t->pack(rows, width, at);
            at += quern__packed_floats(&like, width);
        }
    return data;
}

static void one_shape(const quern__bf16_kernels *k, const shape *s)
{
    const uint32_t panels = (s->outputs + k->panel - 1) / k->panel;
    const size_t many = (size_t)s->inputs * s->outputs;
    float *weights = floats(many), *bias = floats((size_t)panels * k->panel);
    for (size_t i = 0; i < many; i++)
        weights[i] = hostile(&rng, s->wild && i % 97 == 0);
    for (uint32_t i = 0; i < panels * k->panel; i++)
        bias[i] = hostile(&rng, false);
    size_t size;
    float *data = pack_all(k, weights, s->outputs, s->inputs, &size);
    const quern__matrix m = {QUERN__MATRIX_BF16, s->inputs, s->outputs, panels, data, bias};
    matrix x = matrix_new(s->rows, s->inputs, s->inputs % 16),
           res = matrix_new(s->rows, s->outputs + 32, 0),
           y = matrix_new(s->rows, s->outputs + 32, 0);
    for (uint32_t r = 0; r < s->rows; r++)
        for (uint32_t i = 0; i < s->inputs; i++)
            *element(x.m, r, i) = hostile(&rng, s->wild && i % 89 == 0);
    float *before = floats((size_t)s->rows * s->outputs);
    for (int e = QUERN__EP_BIAS; e <= QUERN__EP_ADD; e++) {
        const quern__rows r = e == QUERN__EP_RESIDUAL ? res.m : (quern__rows){NULL, 0};
        for (uint32_t i = 0; i < s->rows; i++)
            for (uint32_t c = 0; c < s->outputs; c++) {
                *element(res.m, i, c) = hostile(&rng, false);
                before[(size_t)i * s->outputs + c] = *element(y.m, i, c) = hostile(&rng, false);
            }
        k->product(&m, 0, panels / 2, e, x.m, y.m, r,
                   s->rows); /* in two calls: as threads share it */
        k->product(&m, panels / 2, panels, e, x.m, y.m, r, s->rows);
        for (uint32_t i = 0; i < s->rows; i++)
            for (uint32_t c = 0; c < s->outputs; c++) {
                const float have = *element(y.m, i, c);
                float want = one_product(k, s, x.m, i, weights + (size_t)c * s->inputs, bias[c], e,
                                         *element(res.m, i, c), before[(size_t)i * s->outputs + c]);
                if (e == QUERN__EP_GELU) {
                    float in[16] = {want}, out[16];
                    quern__kernels_scalar.gelu(in, out, 16);
                    want = out[0];
                }
                if (!same_float(have, want))
                    fail_msg("%s: product %u x %u x %u, epilogue %d: row %u, column %u: %a, the "
                             "rules give %a",
                             k->name, s->rows, s->inputs, s->outputs, e, i, c, (double)have,
                             (double)want);
            }
    }
    quern__free(before);
    quern__free(x.memory);
    quern__free(res.memory);
    quern__free(y.memory);
    quern__free(weights);
    quern__free(bias);
    quern__free_pages(data, size);
}

static void test_products(void **state)
{
    (void)state;
    static const uint32_t depths[] = {1, 2, 3, 31, 32, 33, 65, 383, 384, 385, 776};
    static const uint32_t widths[] = {1, 16, 33, 70};
    for (size_t i = 0; table(i); i++) {
        const quern__bf16_kernels *k = table(i);
        for (uint32_t rows = 1; rows <= 2 * k->tile_rows + 1; rows++)
            one_shape(k, &(shape){rows, 40 + rows, 35, rows % 2});
        one_shape(k, &(shape){57, 70, 33, false}); /* two blocks */
        one_shape(k, &(shape){130, 33, 33, true});
        for (size_t d = 0; d < QUERN__COUNT(depths); d++)
            for (size_t w = 0; w < QUERN__COUNT(widths); w++)
                one_shape(k, &(shape){1 + quern__rng_below(&rng, long_form() ? 80 : 5), depths[d],
                                      widths[w], (d + w) % 2});
    }
    assert_int_equal(atomic_load(&quern__amx_plain_faults), 0);
}

static void test_nothing_to_do(void **state)
{
    (void)state;
    for (size_t i = 0; table(i); i++) {
        matrix y = matrix_new(1, 32, 0), x = matrix_new(1, 32, 0);
        size_t size;
        const float weights[2] = {1, 2};
        float *data = pack_all(table(i), weights, 1, 2, &size);
        const quern__matrix m = {QUERN__MATRIX_BF16, 2, 1, 1, data, NULL};
        table(i)->product(&m, 0, 1, QUERN__EP_ADD, x.m, y.m, (quern__rows){NULL, 0}, 0);
        table(i)->product(&m, 0, 0, QUERN__EP_ADD, x.m, y.m, (quern__rows){NULL, 0}, 1);
        for (uint32_t j = 0; j < 32; j++)
            assert_true(isnan(*element(y.m, 0, j)));
        quern__free_pages(data, size);
        quern__free(y.memory);
        quern__free(x.memory);
    }
}

static void test_pick(void **state)
{
    (void)state;
    quern__kernels room;
    assert_ptr_equal(quern__bf16_pick(0), &quern__bf16_scalar);
    assert_ptr_equal(quern__bf16_pick(~0u), table(0));
    assert_ptr_equal(quern__bf16_pick(QUERN__CPU_AMX_PLAIN), &quern__bf16_amx_plain);
    assert_ptr_equal(quern__kernels_of(QUERN__CLASS_FP32, ~0u, &room), quern__kernels_pick(~0u));
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t allowed = i ? ~0u : 0;
        const quern__kernels *k = quern__kernels_of(QUERN__CLASS_BF16, allowed, &room);
        assert_ptr_equal(k, &room);
        assert_ptr_equal(k->product, quern__bf16_pick(allowed)->product);
        assert_ptr_equal(k->attention, quern__kernels_pick(allowed)->attention);
        assert_int_equal(k->kind, QUERN__MATRIX_BF16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_pick),
    };
    quern__rng_seed(&rng, 20261122);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
