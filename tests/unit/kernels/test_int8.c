/*
 * test_int8.c — every table of the int8 class against the scalar one, bit for bit, and the scalar one
 * against rules 20 to 23 and 26 to 28 of docs/bits.md spelled out for one element: hostile rows, all codes and weights
 * at their ends, every row count up to two tiles, odd depths and widths, texts of one to three pieces, NaN and 255 in
 * all padding.
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
#include "kernels/int8.h"

static quern__rng rng;

static const quern__int8_kernels *table(size_t i)
{
    const quern__int8_kernels *k;
    for (size_t at = 0; (k = quern__int8_at(at)); at++)
        if ((k->need & quern__cpu_runnable()) == k->need && !i--)
            return k;
    return NULL;
}

static uint32_t pieces_of(uint32_t n)
{
    return (n + QUERN__PIECE - 1) / QUERN__PIECE;
}

static float *floats(size_t n)
{
    float *p = quern__alloc_array(n + 16, sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = NAN;
    return p;
}

/* Activations with NaN wherever there is no element, off the alignment of a vector by `shift`. */
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

/* Rows of codes, all bytes 255 before anything is written. */
static quern__codes codes_new(const quern__int8_kernels *k, uint32_t rows, uint32_t columns)
{
    const uint32_t pieces = pieces_of(columns);
    const size_t piece = (size_t)rows * QUERN__PIECE, bytes = piece * pieces * k->code_size;
    quern__codes c = {quern__alloc(bytes + 64), piece, floats((size_t)pieces * rows),
                      floats((size_t)pieces * rows), rows};
    assert_non_null(c.at);
    memset(c.at, 255, bytes);
    return c;
}

static void codes_free(quern__codes c)
{
    quern__free(c.at);
    quern__free(c.scale);
    quern__free(c.low);
}

static uint32_t code_at(const quern__int8_kernels *k, quern__codes c, uint32_t row, uint32_t column)
{
    const size_t at =
        column / QUERN__PIECE * c.piece + (size_t)row * QUERN__PIECE + column % QUERN__PIECE;
    return k->code_size == 1 ? ((const uint8_t *)c.at)[at] : ((const uint16_t *)c.at)[at];
}

static void set_code(const quern__int8_kernels *k, quern__codes c, uint32_t row, uint32_t column,
                     uint32_t value)
{
    const size_t at =
        column / QUERN__PIECE * c.piece + (size_t)row * QUERN__PIECE + column % QUERN__PIECE;
    if (k->code_size == 1)
        ((uint8_t *)c.at)[at] = (uint8_t)value;
    else
        ((uint16_t *)c.at)[at] = (uint16_t)value;
}

/* ---- quantising ---- */

/* Rules 20 and 21 for one piece of one row; low NULL: of GELU. */
static void spelled_out(const float *x, const float *smooth, uint32_t n, uint32_t *codes,
                        float *scale, float *low)
{
    float v[QUERN__PIECE], l = 0, h = 0, bad = 0;
    for (uint32_t i = 0; i < n; i++) {
        v[i] = smooth ? x[i] * smooth[i] : x[i];
        l = v[i] < l ? v[i] : l;
        h = v[i] > h ? v[i] : h;
        if (!isfinite(v[i]))
            bad = NAN;
    }
    l = low ? l + 0.0f : -QUERN__GELU_OFFSET;
    const float s = fmaf(h - l, 1.0f / 255.0f, bad + (low ? 1e-20f : 0.0f)), inverse = 1.0f / s,
                zero = -l * inverse;
    for (uint32_t i = 0; i < n; i++) {
        float q = fmaf(v[i], inverse, zero);
        q = q > 0 ? q : 0;
        q = q < 255 ? q : 255;
        codes[i] = (uint32_t)lrintf(q);
    }
    *scale = s;
    if (low)
        *low = l;
}

/* gelu: rule 21 instead of 20. */
static void same_codes(const quern__int8_kernels *k, quern__rows x, uint32_t rows, uint32_t n,
                       const float *smooth, quern__codes c, bool gelu)
{
    uint32_t want[QUERN__PIECE];
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t p = 0; p < pieces_of(n); p++) {
            const uint32_t start = p * QUERN__PIECE, width = QUERN__MIN(n - start, 384u);
            const size_t at = p * c.ends + r;
            float scale, low = 0;
            spelled_out(element(x, r, start), smooth ? smooth + start : NULL, width, want, &scale,
                        gelu ? NULL : &low);
            if (!same_float(scale, c.scale[at]))
                fail_msg("%s: scale of row %u, piece %u of %u columns: %a, rule 20 gives %a",
                         k->name, r, p, n, (double)c.scale[at], (double)scale);
            if (isnan(scale)) /* the row is void, and says so */
                continue;
            if (!gelu && !same_float(low, c.low[at]))
                fail_msg("%s: low end of row %u, piece %u of %u columns: %a, rule 20 gives %a",
                         k->name, r, p, n, (double)c.low[at], (double)low);
            for (uint32_t i = 0; i < width; i++)
                if (code_at(k, c, r, start + i) != want[i])
                    fail_msg("%s: code of row %u, column %u of %u: %u, rule 20 gives %u", k->name,
                             r, start + i, n, code_at(k, c, r, start + i), want[i]);
        }
}

static void one_quantised(const quern__int8_kernels *k, uint32_t rows, uint32_t n, bool smoothed)
{
    matrix x = matrix_new(rows, n, n % 16);
    float *smooth = smoothed ? floats(n) : NULL;
    quern__codes c = codes_new(k, rows, n);
    for (uint32_t i = 0; smooth && i < n; i++)
        smooth[i] = quern__rng_float(&rng) * 3 + 0.01f;
    for (uint32_t r = 0; r < rows; r++) {
        const uint32_t kind = (r + n) % 7;
        for (uint32_t i = 0; i < n; i++)
            *element(x.m, r, i) = kind == 0   ? hostile(&rng, true)
                                  : kind == 1 ? -0.0f
                                  : kind == 2 ? 0.3f /* all the same */
                                  : kind == 3 ? -1e-30f * (float)i
                                              : hostile(&rng, false);
        if (kind == 4)
            *element(x.m, r, quern__rng_below(&rng, n)) = n % 2 ? NAN : -INFINITY;
    }
    k->quantize_rows(x.m, rows, n, smooth, c);
    same_codes(k, x.m, rows, n, smooth, c, false);
    if (n <= QUERN__PIECE) {
        k->quantize_gelu(x.m, rows, n, c);
        same_codes(k, x.m, rows, n, NULL, c, true);
    }
    codes_free(c);
    quern__free(x.memory);
    quern__free(smooth);
}

static void test_quantise(void **state)
{
    (void)state;
    for (size_t i = 0; table(i); i++) {
        matrix none = matrix_new(1, 16, 0);
        quern__codes c = codes_new(table(i), 1, 16);
        table(i)->quantize_rows(none.m, 0, 16, NULL, c); /* no row: nothing is touched */
        table(i)->quantize_gelu(none.m, 0, 16, c);
        assert_true(isnan(c.scale[0]));
        codes_free(c);
        quern__free(none.memory);
        for (uint32_t n = 1; n <= 70; n++)
            one_quantised(table(i), 1 + n % 9, n, n % 2);
        for (uint32_t n = 380; n <= 400; n++)
            one_quantised(table(i), 7, n, n % 2);
        one_quantised(table(i), 40, 384, true);
        one_quantised(table(i), 9, 768, true);
        one_quantised(table(i), 9, 1030, false);
    }
}

/* A number that is not finite may not become a plausible code: every output of its row is NaN. */
static void test_nothing_hides(void **state)
{
    (void)state;
    static const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; table(i); i++)
        for (size_t v = 0; v < QUERN__COUNT(values); v++)
            for (uint32_t at = 0; at < 384; at += 61) {
                matrix x = matrix_new(1, 384, 0);
                quern__codes c = codes_new(table(i), 1, 384);
                for (uint32_t j = 0; j < 384; j++)
                    *element(x.m, 0, j) = j == at ? values[v] : 1.0f;
                table(i)->quantize_rows(x.m, 1, 384, NULL, c);
                assert_true(isnan(c.scale[0]));
                c.scale[0] = 1;
                table(i)->quantize_gelu(x.m, 1, 384, c);
                assert_true(isnan(c.scale[0]));
                codes_free(c);
                quern__free(x.memory);
            }
}

/* ---- products ---- */

typedef struct operand {
    quern__matrix8 m;
    int8_t *data;
    float *scale, *sum, *bias;
    size_t size; /* of data */
} operand;

/* One piece of a panel: weights of n columns of k inputs as bytes or, with steps[n][k / 32], as multiples of these. */
static int8_t *pack_piece(const quern__int8_kernels *t, const int8_t *weights, const int8_t *steps,
                          uint32_t column, uint32_t start, uint32_t n, uint32_t k, int8_t *at)
{
    static int8_t fours[QUERN__PANEL_MAX][QUERN__PIECE];
    const uint32_t width = QUERN__MIN(k - start, (uint32_t)QUERN__PIECE);
    const int8_t *rows[QUERN__PANEL_MAX] = {NULL}, *by[QUERN__PANEL_MAX] = {NULL};
    for (uint32_t j = 0; j < t->panel && column + j < n; j++) {
        rows[j] = weights + (size_t)(column + j) * k + start;
        if (!steps)
            continue;
        by[j] = steps + ((size_t)(column + j) * k + start) / QUERN__STEP_INPUTS;
        for (uint32_t i = 0; i < width; i++)
            fours[j][i] = (int8_t)(rows[j][i] / by[j][i / QUERN__STEP_INPUTS]);
        rows[j] = fours[j];
    }
    if (steps) {
        t->pack4(rows, by, width, at);
        return at + (size_t)quern__packed4(width) * t->panel;
    }
    t->pack(rows, width, at);
    return at + (size_t)(width + QUERN__K_GROUP - 1) / QUERN__K_GROUP * QUERN__K_GROUP * t->panel;
}

/* weights[n][k]; scale and bias per column as given, laid out for k's panels. */
static operand pack_for(const quern__int8_kernels *t, const int8_t *weights, const int8_t *steps,
                        const float *scale, const float *sum, const float *bias, uint32_t n,
                        uint32_t k)
{
    const uint32_t panels = (n + t->panel - 1) / t->panel, columns = panels * t->panel,
                   pieces = pieces_of(k);
    const size_t size = (size_t)(k + QUERN__K_GROUP) * columns, many = (size_t)pieces * columns;
    const uint32_t fours = !steps ? 0 : n % 2 ? panels : panels / 2; /* the others as bytes */
    operand o = {{k, n, panels, fours, NULL, NULL, NULL, NULL},
                 quern__alloc_pages(size),
                 quern__calloc(many, sizeof(float)),
                 quern__calloc(many, sizeof(float)),
                 quern__calloc(columns, sizeof(float)),
                 size};
    assert_true(o.data && o.scale && o.sum && o.bias);
    memcpy(o.bias, bias, n * sizeof *bias);
    for (uint32_t p = 0; p < pieces; p++) {
        memcpy(o.scale + (size_t)p * columns, scale + (size_t)p * n, n * sizeof *scale);
        memcpy(o.sum + (size_t)p * columns, sum + (size_t)p * n, n * sizeof *sum);
    }
    int8_t *at = o.data;
    for (uint32_t p = 0; p < panels; p++)
        for (uint32_t start = 0; start < k; start += QUERN__PIECE)
            at = pack_piece(t, weights, p < fours ? steps : NULL, p * t->panel, start, n, k, at);
    o.m.data = o.data;
    o.m.scale = o.scale;
    o.m.sum = o.sum;
    o.m.bias = o.bias;
    return o;
}

static void operand_free(operand o)
{
    quern__free_pages(o.data, o.size);
    quern__free(o.scale);
    quern__free(o.sum);
    quern__free(o.bias);
}

typedef struct shape {
    uint32_t rows, inputs, outputs;
    bool low;     /* codes have a low end */
    bool extreme; /* all codes 255 or 0, weights at +-127 */
    bool wild;    /* scales may be anything */
    bool four;    /* the table's weights are packed as of the class int4 */
} shape;

typedef struct numbers {
    int8_t *weights, *steps;
    float *scale, *sum, *bias, *row_scale, *row_low;
    uint8_t *codes;
} numbers;

static numbers numbers_new(const shape *s)
{
    const uint32_t pieces = pieces_of(s->inputs);
    const size_t many = (size_t)s->inputs * s->outputs;
    numbers x = {quern__alloc(many),
                 quern__alloc(many / QUERN__STEP_INPUTS + 1),
                 floats((size_t)pieces * s->outputs),
                 floats((size_t)pieces * s->outputs),
                 floats(s->outputs),
                 floats((size_t)pieces * s->rows),
                 floats((size_t)pieces * s->rows),
                 quern__alloc((size_t)s->rows * s->inputs)};
    assert_true(x.weights && x.steps && x.codes);
    for (size_t i = 0; i < many; i++)
        x.weights[i] = (int8_t)(s->extreme ? (i / s->inputs % 2 ? 127 : -127)
                                           : (int)quern__rng_below(&rng, 255) - 127);
    for (size_t i = 0; s->four && i < many; i++) {
        int8_t *step = x.steps + i / QUERN__STEP_INPUTS;
        if (i % QUERN__STEP_INPUTS == 0)
            *step = (int8_t)((s->extreme ? 15 : 1 + (int)quern__rng_below(&rng, 15)) *
                             (quern__rng_below(&rng, 2) ? 1 : -1));
        x.weights[i] = (int8_t)((s->extreme ? -8 : (int)quern__rng_below(&rng, 16) - 8) * *step);
    }
    for (size_t i = 0; i < (size_t)s->rows * s->inputs; i++)
        x.codes[i] = (uint8_t)(s->extreme ? 255 : quern__rng_below(&rng, 256));
    for (size_t i = 0; i < (size_t)pieces * s->outputs; i++) {
        x.scale[i] = s->wild ? hostile(&rng, i % 5 == 0) : quern__rng_float(&rng) / 100;
        x.sum[i] = s->wild ? hostile(&rng, i % 5 == 0) : quern__rng_float(&rng) - 0.5f;
    }
    for (uint32_t i = 0; i < s->outputs; i++)
        x.bias[i] = hostile(&rng, false);
    for (size_t i = 0; i < (size_t)pieces * s->rows; i++) {
        x.row_scale[i] = s->wild ? hostile(&rng, i % 5 == 0) : quern__rng_float(&rng) / 10;
        x.row_low[i] = s->wild ? hostile(&rng, false) : -quern__rng_float(&rng);
    }
    return x;
}

static void numbers_free(numbers x)
{
    quern__free(x.weights);
    quern__free(x.steps);
    quern__free(x.scale);
    quern__free(x.sum);
    quern__free(x.bias);
    quern__free(x.row_scale);
    quern__free(x.row_low);
    quern__free(x.codes);
}

static quern__codes codes_of(const quern__int8_kernels *k, const shape *s, const numbers *x)
{
    quern__codes c = codes_new(k, s->rows, s->inputs);
    for (uint32_t r = 0; r < s->rows; r++)
        for (uint32_t i = 0; i < s->inputs; i++)
            set_code(k, c, r, i, x->codes[(size_t)r * s->inputs + i]);
    memcpy(c.scale, x->row_scale, (size_t)pieces_of(s->inputs) * s->rows * sizeof(float));
    memcpy(c.low, x->row_low, (size_t)pieces_of(s->inputs) * s->rows * sizeof(float));
    return c;
}

/* Rule 22 for one element, without GELU. */
static float one_product(const shape *s, const numbers *x, uint32_t row, uint32_t column,
                         int epilogue, float residual, float before)
{
    float y = epilogue == QUERN__EP_ADD ? before : x->bias[column];
    if (epilogue == QUERN__EP_RESIDUAL)
        y = y + residual;
    for (uint32_t p = 0; p < pieces_of(s->inputs); p++) {
        const uint32_t end = QUERN__MIN(s->inputs, (p + 1) * QUERN__PIECE);
        int32_t acc = 0;
        for (uint32_t i = p * QUERN__PIECE; i < end; i++)
            acc +=
                x->codes[(size_t)row * s->inputs + i] * x->weights[(size_t)column * s->inputs + i];
        const size_t at = (size_t)p * s->rows + row, w = (size_t)p * s->outputs + column;
        if (s->low)
            y = fmaf(x->row_low[at], x->sum[w], y);
        y = fmaf((float)acc * x->row_scale[at], x->scale[w], y);
    }
    return y;
}

static void one_shape(const quern__int8_kernels *k, const shape *s)
{
    const quern__int8_kernels *want = &quern__int8_scalar;
    numbers x = numbers_new(s);
    operand a = pack_for(k, x.weights, s->four ? x.steps : NULL, x.scale, x.sum, x.bias, s->outputs,
                         s->inputs),
            b = pack_for(want, x.weights, NULL, x.scale, x.sum, x.bias, s->outputs, s->inputs);
    quern__codes ca = codes_of(k, s, &x), cb = codes_of(want, s, &x);
    float *lows[2] = {ca.low, cb.low};
    if (!s->low)
        ca.low = cb.low = NULL;
    matrix res = matrix_new(s->rows, s->outputs + 32, 0),
           y = matrix_new(s->rows, s->outputs + 32, 0), z = matrix_new(s->rows, s->outputs + 32, 0);
    for (int e = QUERN__EP_BIAS; e <= QUERN__EP_ADD; e++) {
        const quern__rows r = e == QUERN__EP_RESIDUAL ? res.m : (quern__rows){NULL, 0};
        for (uint32_t i = 0; i < s->rows; i++)
            for (uint32_t c = 0; c < s->outputs; c++) {
                *element(res.m, i, c) = hostile(&rng, false);
                *element(y.m, i, c) = *element(z.m, i, c) = hostile(&rng, false);
            }
        const uint32_t row = quern__rng_below(&rng, s->rows),
                       column = quern__rng_below(&rng, s->outputs), half = a.m.panels / 2;
        const float lone = one_product(s, &x, row, column, e, *element(res.m, row, column),
                                       *element(y.m, row, column));
        k->product(&a.m, 0, half, e, ca, y.m, r, s->rows); /* in two calls: as threads share it */
        k->product(&a.m, half, a.m.panels, e, ca, y.m, r, s->rows);
        want->product(&b.m, 0, b.m.panels, e, cb, z.m, r, s->rows);
        for (uint32_t i = 0; i < s->rows; i++)
            for (uint32_t c = 0; c < s->outputs; c++)
                if (!same_float(*element(y.m, i, c), *element(z.m, i, c)))
                    fail_msg("%s: product %u x %u x %u, epilogue %d: row %u, column %u: %a, scalar "
                             "has %a",
                             k->name, s->rows, s->inputs, s->outputs, e, i, c,
                             (double)*element(y.m, i, c), (double)*element(z.m, i, c));
        if (e != QUERN__EP_GELU && !same_float(lone, *element(y.m, row, column)))
            fail_msg("%s: product %u x %u x %u, epilogue %d: %a, rule 22 gives %a", k->name,
                     s->rows, s->inputs, s->outputs, e, (double)*element(y.m, row, column),
                     (double)lone);
    }
    ca.low = lows[0];
    cb.low = lows[1];
    codes_free(ca);
    codes_free(cb);
    operand_free(a);
    operand_free(b);
    numbers_free(x);
    quern__free(res.memory);
    quern__free(y.memory);
    quern__free(z.memory);
}

static void test_products(void **state)
{
    (void)state;
    static const uint32_t depths[] = {1, 3, 4, 5, 15, 16, 17, 80, 383, 384, 385, 776};
    static const uint32_t widths[] = {1, 16, 31, 33, 100, 416};
    for (size_t i = 0; table(i); i++) {
        const quern__int8_kernels *k = table(i);
        for (uint32_t rows = 1; rows <= 2 * k->tile_rows + 1; rows++)
            one_shape(k, &(shape){rows, 50 + rows, 70, rows % 3 != 0, false, false, false});
        for (size_t d = 0; d < QUERN__COUNT(depths); d++)
            for (size_t w = 0; w < QUERN__COUNT(widths); w++)
                one_shape(k, &(shape){1 + quern__rng_below(&rng, long_form() ? 90 : 20), depths[d],
                                      widths[w], (d + w) % 2, w == 2, w == 3, false});
        one_shape(k, &(shape){long_form() ? 300 : 60, 384, 96, true, true, false, false});
    }
}

/* Rule 60: what a table makes of 4 bits and steps is what it makes of the same weights in bytes. */
static void test_fours(void **state)
{
    (void)state;
    static const uint32_t depths[] = {32, 64, 96, 352, 384, 416, 768, 800};
    static const uint32_t widths[] = {1, 31, 33, 100};
    for (size_t i = 0; table(i); i++) {
        const quern__int8_kernels *k = table(i);
        for (uint32_t rows = 1; rows <= 2 * k->tile_rows + 1; rows += 3)
            one_shape(k, &(shape){rows, 64, 70, rows % 2, false, false, true});
        for (size_t d = 0; d < QUERN__COUNT(depths); d++)
            for (size_t w = 0; w < QUERN__COUNT(widths); w++)
                one_shape(k, &(shape){1 + quern__rng_below(&rng, long_form() ? 90 : 20), depths[d],
                                      widths[w], (d + w) % 2, w == 2, w == 3, true});
    }
}

/* No row, no panel: nothing is written. */
static void test_nothing_to_do(void **state)
{
    (void)state;
    const shape s = {1, 16, 16, true, false, false, false};
    for (size_t i = 0; table(i); i++) {
        numbers x = numbers_new(&s);
        operand a = pack_for(table(i), x.weights, NULL, x.scale, x.sum, x.bias, 16, 16);
        quern__codes c = codes_of(table(i), &s, &x);
        matrix y = matrix_new(1, 32, 0);
        table(i)->product(&a.m, 0, 1, QUERN__EP_BIAS, c, y.m, (quern__rows){NULL, 0}, 0);
        table(i)->product(&a.m, 0, 0, QUERN__EP_BIAS, c, y.m, (quern__rows){NULL, 0}, 1);
        for (uint32_t j = 0; j < 32; j++)
            assert_true(isnan(*element(y.m, 0, j)));
        quern__free(y.memory);
        codes_free(c);
        operand_free(a);
        numbers_free(x);
    }
}

/* ---- attention ---- */

/* Rule 26 for the codes of one head's keys: of all of them where `key` is not one. Returns the column's scale. */
static float key_codes(const quern__attention *a, uint32_t column, uint32_t key, int32_t *code)
{
    float l = INFINITY, h = -INFINITY, bad = 0;
    for (uint32_t j = 0; j < a->length; j++) {
        const float v = *element(a->qkv, j, column);
        l = v < l ? v : l;
        h = v > h ? v : h;
        if (!isfinite(v))
            bad = NAN;
    }
    l += 0.0f;
    const float s = fmaf(h - l, 1.0f / 255.0f, bad + 1e-20f);
    float q = (*element(a->qkv, key, column) - l) * (1.0f / s);
    q = q < 255 ? q : 255;
    *code = (int32_t)lrintf(q);
    return s;
}

/* The scale of a key's values. */
static float value_scale(const quern__attention *a, uint32_t first, uint32_t key)
{
    float m = 0;
    for (uint32_t i = 0; i < a->depth; i++) {
        const float v = fabsf(*element(a->qkv, key, first + i));
        m = v > m ? v : m;
    }
    return fmaf(m, 1.0f / 127.0f, 1e-20f);
}

/* Rule 6's two factors. */
static float power_parts(float x, float *power)
{
    x = -100.0f > x ? -100.0f : x;
    const float t = x + 12582912.0f, f = x - (t - 12582912.0f);
    float p = 0.00956051021f;
    p = fmaf(p, f, 0.0559170392f);
    p = fmaf(p, f, 0.240249811f);
    p = fmaf(p, f, 0.693121968f);
    *power = ldexpf(1.0f, (int)(t - 12582912.0f));
    return fmaf(p, f, 0.999999191f);
}

/* The power of two of a share, and what is left of it. */
static float share_of(float share, int *lift)
{
    frexpf(share, lift);
    *lift = *lift < -29 || share == 0 ? -29 : *lift;
    return ldexpf(share, -*lift);
}

/* Rules 26 and 27 for one query: its scores, with what shares add to them. */
static void scores_of(const quern__attention *a, uint32_t query, uint32_t head, uint32_t keys,
                      const int *lifts, float *x)
{
    float w[QUERN__PIECE], m = 0;
    for (uint32_t i = 0; i < a->depth; i++) {
        int32_t code;
        w[i] = *element(a->qkv, query, head * a->slot + i) *
               (a->scale * key_codes(a, keys + i, 0, &code));
        m = fabsf(w[i]) > m ? fabsf(w[i]) : m;
    }
    const float s = fmaf(m, 1.0f / 127.0f, 1e-20f), inverse = 1.0f / s;
    for (uint32_t j = 0; j < a->length; j++) {
        int32_t sum = 0, code;
        for (uint32_t i = 0; i < a->depth; i++) {
            key_codes(a, keys + i, j, &code);
            sum += code * (int32_t)lrintf(w[i] * inverse);
        }
        x[j] = fmaf((float)sum, s, (float)lifts[j]);
        if (a->bias)
            x[j] += a->bias[(int64_t)head * a->bias_stride + query - j];
    }
}

/* Rules 26 to 28, spelled out for one element of the context. Finite numbers only. */
static float one_context(const quern__attention *a, uint32_t query, uint32_t head, uint32_t column)
{
    const uint32_t shared = a->key_heads ? a->key_heads : a->heads,
                   keys = (a->heads + head * shared / a->heads) * a->slot,
                   values = keys + shared * a->slot;
    float *x = floats(a->length), *shares = floats(a->length), top = -INFINITY, most = 0, z = 0,
          t = 0;
    int *lifts = (int *)(void *)floats(a->length);
    for (uint32_t j = 0; j < a->length; j++) {
        const float of_values = value_scale(a, values, j);
        most = of_values > most ? of_values : most;
    }
    for (uint32_t j = 0; j < a->length; j++)
        shares[j] = share_of(value_scale(a, values, j) / most, lifts + j);
    scores_of(a, query, head, keys, lifts, x);
    for (uint32_t j = 0; j < a->length; j++)
        top = x[j] > top ? x[j] : top;
    for (uint32_t start = 0; start < a->length; start += QUERN__PIECE) {
        int64_t sum = 0;
        for (uint32_t j = start; j < QUERN__MIN(a->length, start + QUERN__PIECE); j++) {
            float power;
            const float p = power_parts((x[j] - top) + 14.9999f, &power);
            z = fmaf(p, ldexpf(power, -lifts[j]), z);
            sum +=
                (int64_t)(fmaf(p, power * shares[j], 8388608.0f) - 8388608.0f) *
                lrintf(*element(a->qkv, j, values + column) * (1.0f / value_scale(a, values, j)));
        }
        t = start ? t + (float)sum : (float)sum;
    }
    quern__free(lifts);
    quern__free(shares);
    quern__free(x);
    return t * (most * (1.0f / z));
}

typedef struct attending {
    uint32_t length, heads, key_heads, depth, slot;
    bool wild, biased;
} attending;

static void same_context(const quern__int8_kernels *k, const attending *s, quern__rows a,
                         quern__rows b)
{
    for (uint32_t r = 0; r < s->length; r++)
        for (uint32_t c = 0; c < s->heads * s->depth; c++)
            if (!same_float(*element(a, r, c), *element(b, r, c)))
                fail_msg("%s: attention of %u tokens, %u heads of %u: row %u, column %u: %a, "
                         "scalar has %a",
                         k->name, s->length, s->heads, s->depth, r, c, (double)*element(a, r, c),
                         (double)*element(b, r, c));
}

static void one_attention(const quern__int8_kernels *k, const attending *s)
{
    const uint32_t shared = s->key_heads ? s->key_heads : s->heads,
                   columns = (s->heads + 2 * shared) * s->slot, width = s->heads * s->depth;
    const quern__int8_kernels *want = &quern__int8_scalar;
    const size_t room =
        QUERN__MAX(k->attention_room(s->length, s->slot), want->attention_room(s->length, s->slot));
    matrix qkv = matrix_new(s->length, columns, 0), c1 = matrix_new(s->length, width + 3, 0),
           c2 = matrix_new(s->length, width + 3, 0);
    float *scratch = quern__alloc_pages(room), *bias = floats((size_t)s->heads * 4096);
    assert_non_null(scratch);
    memset(scratch, 255, room);
    for (uint32_t r = 0; r < s->length; r++)
        for (uint32_t c = 0; c < columns; c++)
            *element(qkv.m, r, c) =
                c % s->slot >= s->depth ? 0 : hostile(&rng, s->wild && !((r + c) % 61));
    for (size_t i = 0; i < (size_t)s->heads * 4096; i++)
        bias[i] = quern__rng_float(&rng) * 8 - 4;
    quern__attention a = {.qkv = qkv.m,
                          .context = c1.m,
                          .length = s->length,
                          .end_head = s->heads / 2,
                          .heads = s->heads,
                          .key_heads = s->key_heads,
                          .depth = s->depth,
                          .slot = s->slot,
                          .column = 3,
                          .scale = (float)(1.4426950408889634 / sqrt((double)s->depth)),
                          .bias = s->biased ? bias + 2048 : NULL,
                          .bias_stride = 4096,
                          .scratch = scratch};
    k->attention(&a); /* in two calls: as threads share it */
    a.first_head = a.end_head;
    a.end_head = s->heads;
    k->attention(&a);
    a.first_head = 0;
    a.context = c2.m;
    want->attention(&a);
    for (uint32_t c = 0; c < 3; c++) /* in front of the first head */
        assert_true(isnan(*element(c1.m, 0, c)));
    a.context.at += 3;
    same_context(k, s, (quern__rows){c1.m.at + 3, c1.m.piece}, a.context);
    const uint32_t query = quern__rng_below(&rng, s->length),
                   head = quern__rng_below(&rng, s->heads),
                   column = quern__rng_below(&rng, s->depth);
    const float got = *element(c1.m, query, 3 + head * s->depth + column);
    if (!s->wild && !same_float(got, one_context(&a, query, head, column)))
        fail_msg("%s: attention of %u tokens, head %u of %u, query %u: %a, rules 26 to 28 give %a",
                 k->name, s->length, head, s->depth, query, (double)got,
                 (double)one_context(&a, query, head, column));
    quern__free_pages(scratch, room);
    quern__free(bias);
    quern__free(qkv.memory);
    quern__free(c1.memory);
    quern__free(c2.memory);
}

/* Of any length: where attention is in integers is the encoder's business (rule 26). */
static void test_attention(void **state)
{
    (void)state;
    static const attending shapes[] = {
        {70, 5, 0, 16, 16, false, true},    {97, 2, 0, 64, 64, false, false},
        {66, 3, 0, 17, 32, false, true},    {65, 2, 0, 80, 96, true, false},
        {64, 2, 0, 1, 16, false, false},    {40, 4, 2, 128, 128, false, false},
        {35, 2, 0, 100, 128, false, false}, {33, 3, 1, 48, 48, true, true},
        {9, 1, 0, 384, 384, false, false}};
    for (size_t i = 0; table(i); i++) {
        for (uint32_t length = 1; length <= 200; length += length < 20 || long_form() ? 1 : 23)
            one_attention(table(i), &(attending){length, 2, 0, 32, 32, length % 3 == 0, false});
        for (size_t s = 0; s < QUERN__COUNT(shapes); s++)
            one_attention(table(i), shapes + s);
        for (uint32_t length = 383; length <= 386; length += long_form() ? 1 : 2)
            one_attention(table(i), &(attending){length, 1, 0, 32, 32, false, length == 385});
        one_attention(table(i), &(attending){QUERN__INTEGER_TO, 1, 0, 16, 16, false, false});
    }
}

/* Which texts' is in integers depends on their length alone. */
static void test_which_attends(void **state)
{
    (void)state;
    assert_false(quern__int8_attends(0) || quern__int8_attends(63));
    assert_true(quern__int8_attends(64) && quern__int8_attends(512));
    assert_false(quern__int8_attends(513) || quern__int8_attends(UINT32_MAX));
}

/* A number that is not finite reaches what it has to do with, as NaN. */
static void test_attention_hides_nothing(void **state)
{
    (void)state;
    static const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; table(i); i++)
        for (uint32_t at = 0; at < 9; at++) {
            const uint32_t part = at % 3, length = 67;
            matrix qkv = matrix_new(length, 48, 0), c = matrix_new(length, 16, 0);
            const size_t room = table(i)->attention_room(length, 16);
            float *scratch = quern__alloc_pages(room);
            assert_non_null(scratch);
            for (uint32_t r = 0; r < length; r++)
                for (uint32_t j = 0; j < 48; j++)
                    *element(qkv.m, r, j) = quern__rng_float(&rng) - 0.5f;
            *element(qkv.m, 40, 16 * part + 7) = values[at / 3];
            table(i)->attention(&(quern__attention){.qkv = qkv.m,
                                                    .context = c.m,
                                                    .length = length,
                                                    .end_head = 1,
                                                    .heads = 1,
                                                    .depth = 16,
                                                    .slot = 16,
                                                    .scale = 0.36f,
                                                    .scratch = scratch});
            for (uint32_t r = 0; r < length; r++)
                if (r == 40 || part)
                    assert_true(isnan(*element(c.m, r, 3)));
                else
                    assert_true(isfinite(*element(c.m, r, 3)));
            quern__free_pages(scratch, room);
            quern__free(qkv.memory);
            quern__free(c.memory);
        }
}

/* ---- how far it is from fp32 ---- */

enum kind { ORDINARY, PEAKED, UNIFORM, SUNK, UNEVEN, KINDS };
static const char *const kind_names[KINDS] = {"ordinary", "peaked", "uniform", "sunk", "uneven"};

/* A head of one kind. Queries are 8 times larger where scores are peaked, 0 where all are alike; sunk: one key's values are 2^20
 * times larger and hardly any query looks at it; uneven: keys' values differ by up to 2^20, and scores are peaked. */
static void fill_head(quern__rows qkv, uint32_t length, uint32_t depth, uint32_t slot, int kind)
{
    for (uint32_t r = 0; r < length; r++) {
        const float even = kind == UNEVEN ? ldexpf(1.0f, (int)quern__rng_below(&rng, 21) - 10) : 1,
                    by[3] = {kind == ORDINARY  ? 1.5f
                             : kind == UNIFORM ? 0.0f
                                               : 8.0f,
                             1.0f, kind == SUNK && r == length / 3 ? 0x1p20f : even};
        for (uint32_t c = 0; c < 3 * slot; c++) {
            float x = 0;
            for (int i = 0; i < 4; i++) /* bell-shaped */
                x += quern__rng_float(&rng) - 0.5f;
            if (kind == SUNK && c / slot == 0 && c == 0)
                x = 1 + x / 4; /* every query looks this way */
            if (kind == SUNK && c / slot == 1 && r == length / 3)
                x = c == slot ? -16.0f : 0; /* and this key is behind them */
            *element(qkv, r, c) = c % slot < depth ? x * by[c / slot] : 0;
        }
    }
}

/* Rule 5 for one query in double: its context, and what rule 28's bound is made of. */
typedef struct rule5 {
    double context[384], size, distance;
} rule5;

static void attend_exactly(const quern__attention *a, uint32_t query, rule5 *e)
{
    double *p = calloc(a->length, sizeof *p), top = -1e300, z = 0, most = 0;
    assert_non_null(p);
    memset(e, 0, sizeof *e);
    for (uint32_t i = 0; i < a->depth; i++) {
        int32_t code;
        const double w = fabs((double)*element(a->qkv, query, i) * (double)a->scale *
                              (double)key_codes(a, a->slot + i, 0, &code));
        e->distance += w / 2;
        most = w > most ? w : most;
    }
    e->distance += a->depth * most / 127 * 64;
    for (uint32_t j = 0; j < a->length; j++) {
        for (uint32_t i = 0; i < a->depth; i++)
            p[j] += (double)*element(a->qkv, query, i) * (double)a->scale *
                    (double)*element(a->qkv, j, a->slot + i);
        top = p[j] > top ? p[j] : top;
    }
    for (uint32_t j = 0; j < a->length; j++)
        z += p[j] = exp2(p[j] - top);
    for (uint32_t j = 0; j < a->length; j++) {
        e->size += p[j] / z * 127 * (double)value_scale(a, 2 * a->slot, j);
        for (uint32_t i = 0; i < a->depth; i++)
            e->context[i] += p[j] / z * (double)*element(a->qkv, j, 2 * a->slot + i);
    }
    free(p);
}

/* Rule 28's bound is what no head can leave; `worst` and `mean` (root of the mean square) are what these come to. */
static void one_distance(uint32_t length, uint32_t depth, uint32_t slot, int kind)
{
    static const double limits[KINDS][2] = {
        {0.003, 0.001}, {0.05, 0.01}, {0.0015, 0.0006}, {0.1, 0.025}, {0.06, 0.015}};
    matrix qkv = matrix_new(length, 3 * slot, 0), c = matrix_new(length, depth, 0);
    const quern__int8_kernels *k = table(0);
    const size_t room = k->attention_room(length, slot);
    float *scratch = quern__alloc_pages(room);
    double worst = 0, sum = 0;
    rule5 e;
    assert_non_null(scratch);
    fill_head(qkv.m, length, depth, slot, kind);
    const quern__attention a = {.qkv = qkv.m,
                                .context = c.m,
                                .length = length,
                                .end_head = 1,
                                .heads = 1,
                                .depth = depth,
                                .slot = slot,
                                .scale = (float)(1.4426950408889634 / sqrt((double)depth)),
                                .scratch = scratch};
    k->attention(&a);
    uint32_t n = 0;
    for (uint32_t q = 0; q < length; q += long_form() ? 1 : 29) {
        attend_exactly(&a, q, &e);
        const double bound = exp2(2 * e.distance) * (1 + 1 / 254.0 + length / 32764.0) - 1 + 1e-4;
        for (uint32_t i = 0; i < depth; i++, n++) {
            const double off = fabs((double)*element(c.m, q, i) - e.context[i]) / e.size;
            worst = off > worst ? off : worst;
            sum += off * off;
            if (!(off <= bound))
                fail_msg("%s, %u tokens, depth %u: query %u is %g off, the bound is %g",
                         kind_names[kind], length, depth, q, off, bound);
        }
    }
    if (!(worst <= limits[kind][0] && sqrt(sum / n) <= limits[kind][1]))
        fail_msg("%s, %u tokens, depth %u: %g off at worst, %g on average", kind_names[kind],
                 length, depth, worst, sqrt(sum / n));
    quern__free_pages(scratch, room);
    quern__free(qkv.memory);
    quern__free(c.memory);
}

/* Rule 28: how far from rule 5 attention in integers may be, whatever a head holds. */
static void test_attention_near_fp32(void **state)
{
    (void)state;
    quern__rng_seed(&rng, 28); /* the same heads however many tables were tested before */
    for (int kind = 0; kind < KINDS; kind++) {
        one_distance(64, 32, 32, kind);
        one_distance(200, 64, 64, kind);
        one_distance(QUERN__INTEGER_TO, 32, 32, kind);
        one_distance(385, 17, 32, kind);
    }
}

/* The greatest sums there are: every key but the first has the greatest value and the greatest exponential there is, then one
 * key has all codes 255 and all weights are 127 of either sign. */
static void one_greatest(uint32_t length, uint32_t depth, float sign)
{
    matrix qkv = matrix_new(length, 3 * depth, 0), c = matrix_new(length, depth, 0);
    for (size_t i = 0; table(i); i++) {
        const size_t room = table(i)->attention_room(length, depth);
        float *scratch = quern__alloc_pages(room);
        assert_non_null(scratch);
        for (uint32_t r = 0; r < length; r++)
            for (uint32_t j = 0; j < depth; j++) {
                *element(qkv.m, r, j) = sign;
                *element(qkv.m, r, depth + j) = r ? sign : 0;
                *element(qkv.m, r, 2 * depth + j) = r ? sign : 1.00001f; /* shares 1 and below */
            }
        table(i)->attention(&(quern__attention){.qkv = qkv.m,
                                                .context = c.m,
                                                .length = length,
                                                .end_head = 1,
                                                .heads = 1,
                                                .depth = depth,
                                                .slot = depth,
                                                .scale = 4,
                                                .scratch = scratch});
        for (uint32_t r = 0; r < length; r += 7)
            for (uint32_t j = 0; j < depth; j += 5)
                if (!(fabsf(*element(c.m, r, j) - sign) < 1e-4f))
                    fail_msg("%s: %u tokens, depth %u: %g, not %g", table(i)->name, length, depth,
                             (double)*element(c.m, r, j), (double)sign);
        quern__free_pages(scratch, room);
    }
    quern__free(qkv.memory);
    quern__free(c.memory);
}

static void test_greatest_sums(void **state)
{
    (void)state;
    for (int sign = -1; sign <= 1; sign += 2) {
        one_greatest(384, 32, (float)sign);
        one_greatest(QUERN__INTEGER_TO, 64, (float)sign);
        one_greatest(65, 384, (float)sign);
    }
}

/* ---- GELU, and choosing ---- */

static void test_gelu(void **state)
{
    (void)state;
    const size_t n = 1u << 16;
    float *in = floats(n), *out = floats(n), *want = floats(n);
    for (size_t i = 0; i < n; i++)
        in[i] = i < n / 2 ? ((float)i - (float)(n / 4)) / 1024.0f : hostile(&rng, true);
    quern__int8_scalar.gelu(in, want, n);
    for (size_t i = 0; i < n / 2; i++) { /* -16..16 */
        const double x = (double)in[i], exact = x * 0.5 * erfc(-x * 0.70710678118654752);
        if (fabs((double)want[i] - exact) > 5e-4)
            fail_msg("gelu(%g) is %g, exactly %g", x, (double)want[i], exact);
        assert_true(want[i] >= -QUERN__GELU_OFFSET);
    }
    for (size_t t = 0; table(t); t++) {
        table(t)->gelu(in, out, n);
        for (size_t i = 0; i < n; i++)
            if (!same_float(out[i], want[i]))
                fail_msg("%s: gelu(%a) is %a, scalar has %a", table(t)->name, (double)in[i],
                         (double)out[i], (double)want[i]);
    }
    quern__free(in);
    quern__free(out);
    quern__free(want);
}

/* After all of the above: AMX's kernels asked for nothing that the real unit would have refused. */
static void test_tiles_were_used_well(void **state)
{
    (void)state;
    assert_int_equal(atomic_load(&quern__amx_plain_faults), 0);
}

static void test_pick(void **state)
{
    (void)state;
    assert_ptr_equal(quern__int8_pick(0), &quern__int8_scalar);
    assert_ptr_equal(quern__int8_pick(QUERN__CPU_SCALAR), &quern__int8_scalar);
    assert_ptr_equal(quern__int8_pick(~0u), table(0));
    size_t i = 0;
    for (const quern__int8_kernels *k; (k = quern__int8_at(i)); i++) {
        assert_true(QUERN__PIECE % k->panel == 0 && k->panel <= QUERN__PANEL_MAX);
        assert_true(k->code_size <= QUERN__CODE_MAX_SIZE);
        if ((k->need & quern__cpu_runnable()) == k->need)
            assert_ptr_equal(quern__int8_pick(k->need), k);
    }
    assert_null(quern__int8_at(1000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantise),
        cmocka_unit_test(test_nothing_hides),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_fours),
        cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_which_attends),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_attention_hides_nothing),
        cmocka_unit_test(test_attention_near_fp32),
        cmocka_unit_test(test_greatest_sums),
        cmocka_unit_test(test_gelu),
        cmocka_unit_test(test_pick),
        cmocka_unit_test(test_tiles_were_used_well),
    };
    quern__rng_seed(&rng, 20261121);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
