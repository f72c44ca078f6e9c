/*
 * test_fp16.c — the class fp16: each table's product of weights in halves is, bit for bit, the specification's product in
 * fp32 of the same weights rounded and widened: hostile numbers, every row count up to two tiles, odd depths and widths.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "kernel_tables.h"
#include "kernels/classes.h"

static quern__rng rng;

typedef struct shape {
    uint32_t rows, inputs, outputs;
    bool wild;
} shape;

static uint32_t pieces_of(uint32_t n)
{
    return (n + QUERN__PIECE - 1) / QUERN__PIECE;
}

static float *floats(size_t n)
{
    float *p = quern__alloc_array(n + 16, sizeof *p);
    assert_non_null(p);
    return p;
}

static quern__rows rows_new(uint32_t rows, uint32_t columns)
{
    const size_t piece = (size_t)rows * QUERN__STRIDE;
    const quern__rows m = {floats(piece * pieces_of(columns)), piece};
    for (size_t i = 0; i < piece * pieces_of(columns); i++)
        m.at[i] = NAN;
    return m;
}

static float *element(quern__rows m, uint32_t row, uint32_t column)
{
    return m.at + column / QUERN__PIECE * m.piece + (size_t)row * QUERN__STRIDE +
           column % QUERN__PIECE;
}

static quern__matrix pack_all(const quern__kernels *t, const float *weights, const float *bias,
                              const shape *s, size_t *size)
{
    const uint32_t panels = (s->outputs + t->panel - 1) / t->panel;
    *size = ((size_t)panels * t->panel * s->inputs + 4096) * sizeof(float);
    float *data = quern__alloc_pages(*size), *at = data;
    assert_non_null(data);
    for (uint32_t p = 0; p < panels; p++)
        for (uint32_t start = 0; start < s->inputs; start += QUERN__PIECE) {
            const uint32_t width = QUERN__MIN(s->inputs - start, (uint32_t)QUERN__PIECE);
            const float *rows[QUERN__PANEL_MAX] = {NULL};
            for (uint32_t j = 0; j < t->panel && p * t->panel + j < s->outputs; j++)
                rows[j] = weights + (size_t)(p * t->panel + j) * s->inputs + start;
            t->pack(rows, width, at);
            at += quern__packed_floats(t, width);
        }
    return (quern__matrix){t->kind, s->inputs, s->outputs, panels, data, bias};
}

/* y = epilogue(x W), in two calls, as threads share it; what was in y before is `before`. */
static void multiply(const quern__kernels *t, const quern__matrix *m, int epilogue, quern__rows x,
                     quern__rows residual, quern__rows before, quern__rows y, const shape *s)
{
    const quern__rows none = {NULL, 0}, r = epilogue == QUERN__EP_RESIDUAL ? residual : none;
    for (uint32_t i = 0; i < s->rows; i++)
        for (uint32_t c = 0; c < s->outputs; c++)
            *element(y, i, c) = *element(before, i, c);
    t->product(m, 0, m->panels / 2, epilogue, x, y, r, s->rows);
    t->product(m, m->panels / 2, m->panels, epilogue, x, y, r, s->rows);
}

static void fill(quern__rows m, uint32_t rows, uint32_t columns, bool wild)
{
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < columns; c++)
            *element(m, r, c) = hostile(&rng, wild && quern__rng_below(&rng, 89) == 0);
}

static void one_shape(const quern__kernels *k, const shape *s)
{
    const quern__kernels *scalar = reference_table();
    const size_t many = (size_t)s->inputs * s->outputs;
    const uint32_t wide = s->outputs + QUERN__PANEL_MAX;
    float *weights = floats(many), *rounded = floats(many), *bias = floats(wide);
    uint16_t half;
    for (size_t i = 0; i < many; i++) {
        weights[i] = hostile(&rng, s->wild && i % 97 == 0);
        quern__f32_to_f16(weights + i, &half, 1);
        quern__f16_to_f32(&half, rounded + i, 1);
    }
    for (uint32_t i = 0; i < wide; i++)
        bias[i] = hostile(&rng, false);
    size_t size, plain;
    const quern__matrix m = pack_all(k, weights, bias, s, &size),
                        want = pack_all(scalar, rounded, bias, s, &plain);
    quern__rows x = rows_new(s->rows, s->inputs), residual = rows_new(s->rows, wide),
                before = rows_new(s->rows, wide), a = rows_new(s->rows, wide),
                b = rows_new(s->rows, wide);
    fill(x, s->rows, s->inputs, s->wild);
    fill(residual, s->rows, wide, false);
    fill(before, s->rows, wide, false);
    for (int e = QUERN__EP_BIAS; e <= QUERN__EP_ADD; e++) {
        multiply(k, &m, e, x, residual, before, a, s);
        multiply(scalar, &want, e, x, residual, before, b, s);
        for (uint32_t i = 0; i < s->rows; i++)
            for (uint32_t c = 0; c < s->outputs; c++)
                if (!same_float(*element(a, i, c), *element(b, i, c)))
                    fail_msg("%s: product %u x %u x %u, epilogue %d: row %u, column %u: %a, in "
                             "fp32 of the rounded weights %a",
                             k->name, s->rows, s->inputs, s->outputs, e, i, c,
                             (double)*element(a, i, c), (double)*element(b, i, c));
    }
    quern__rows all[] = {x, residual, before, a, b};
    for (size_t i = 0; i < QUERN__COUNT(all); i++)
        quern__free(all[i].at);
    quern__free(weights);
    quern__free(rounded);
    quern__free(bias);
    quern__free_pages((void *)(uintptr_t)m.data, size);
    quern__free_pages((void *)(uintptr_t)want.data, plain);
}

/* The i-th table of the class that runs here. */
static const quern__kernels *table(size_t i, quern__kernels *room)
{
    const quern__kernels *base = fast_table(i);
    if (!base && i && fast_table(i - 1))
        base = reference_table();
    return base ? quern__kernels_of(QUERN__CLASS_FP16, base->need | QUERN__CPU_SCALAR, room) : NULL;
}

static void test_products(void **state)
{
    (void)state;
    static const uint32_t depths[] = {1, 2, 15, 16, 17, 33, 383, 384, 385, 776};
    static const uint32_t widths[] = {1, 16, 33, 70};
    const quern__kernels *k;
    quern__kernels room;
    for (size_t i = 0; (k = table(i, &room)); i++) {
        for (uint32_t rows = 1; rows <= 2 * k->tile_rows + 1; rows++)
            one_shape(k, &(shape){rows, 40 + rows, 35, rows % 2});
        one_shape(k, &(shape){130, 33, 33, true});
        for (size_t d = 0; d < QUERN__COUNT(depths); d++)
            for (size_t w = 0; w < QUERN__COUNT(widths); w++)
                one_shape(k, &(shape){1 + quern__rng_below(&rng, long_form() ? 80 : 5), depths[d],
                                      widths[w], (d + w) % 2});
    }
}

/* Every half that there is, widened in a product: 1 times it. */
static void test_every_half(void **state)
{
    (void)state;
    const quern__kernels *k;
    quern__kernels room;
    float one[1] = {1}, bias[QUERN__PANEL_MAX] = {0}, *weights = floats(1 << 16);
    for (uint32_t bits = 0; bits < 1 << 16; bits++) {
        const uint16_t half = (uint16_t)bits;
        quern__f16_to_f32(&half, weights + bits, 1);
    }
    for (size_t i = 0; (k = table(i, &room)); i++) {
        const shape s = {1, 1, QUERN__PANEL_MAX, true};
        quern__rows y = rows_new(1, QUERN__PANEL_MAX);
        for (uint32_t at = 0; at < 1 << 16; at += QUERN__PANEL_MAX) {
            size_t size;
            const quern__matrix m = pack_all(k, weights + at, bias, &s, &size);
            k->product(&m, 0, m.panels, QUERN__EP_BIAS, (quern__rows){one, 1}, y,
                       (quern__rows){NULL, 0}, 1);
            for (uint32_t j = 0; j < QUERN__PANEL_MAX; j++) {
                const float want = fmaf(1, weights[at + j], 0) + 0.0f;
                if (!same_float(*element(y, 0, j), want))
                    fail_msg("%s: half %04x is %a, not %a", k->name, at + j,
                             (double)*element(y, 0, j), (double)want);
            }
            quern__free_pages((void *)(uintptr_t)m.data, size);
        }
        quern__free(y.at);
    }
    quern__free(weights);
}

static void test_table(void **state)
{
    (void)state;
    quern__kernels room;
    for (uint32_t i = 0; i < 2; i++) {
        const quern__kernels *base = quern__kernels_pick(i ? ~0u : 0),
                             *k = quern__kernels_of(QUERN__CLASS_FP16, i ? ~0u : 0, &room);
        assert_ptr_equal(k, &room);
        assert_ptr_equal(k->base, base);
        assert_ptr_equal(k->attention, base->attention);
        assert_null(k->order); /* one bit pattern everywhere */
        assert_int_equal(quern__packed_floats(k, 33) * 2, quern__packed_floats(base, 33));
    }
    const float edge[] = {room.most, nextafterf(room.most, INFINITY), 65504, 0x1p-24f, 0x1p-25f};
    static const uint16_t want[] = {0x7bff, 0x7c00, 0x7bff, 1, 0};
    uint16_t half[QUERN__COUNT(edge)];
    quern__f32_to_f16(edge, half, QUERN__COUNT(edge));
    assert_memory_equal(half, want, sizeof want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_every_half),
        cmocka_unit_test(test_table),
    };
    quern__rng_seed(&rng, 20261123);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
