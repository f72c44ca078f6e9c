/*
 * test_kernels.c — every table against the scalar specification, bit for bit: hostile values, every row
 * count up to two tiles, lengths of text up to 512, odd widths, NaN in all padding; the fma by directed
 * cases that a twice-rounded one fails; and the conversions over all 65,536 halves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "kernel_tables.h"

static quern__rng rng;

static float *floats(size_t n)
{
    float *p = quern__alloc_array(n, sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = NAN;
    return p;
}

/* Activations with NaN wherever there is no element. */
static quern__rows matrix(uint32_t rows, uint32_t columns)
{
    const size_t piece = (size_t)rows * QUERN__STRIDE,
                 pieces = (columns + QUERN__PIECE - 1) / QUERN__PIECE;
    return (quern__rows){floats(piece * pieces), piece};
}

static float *element(quern__rows m, uint32_t row, uint32_t column)
{
    return m.at + (column / QUERN__PIECE) * m.piece + (size_t)row * QUERN__STRIDE +
           column % QUERN__PIECE;
}

static void fill(quern__rows m, uint32_t rows, uint32_t columns, bool wild)
{
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < columns; c++)
            *element(m, r, c) = wild ? hostile(&rng, r % 5 == 4) : quern__rng_float(&rng) * 2 - 1;
}

static void same_rows(const quern__kernels *k, const char *what, quern__rows a, quern__rows b,
                      uint32_t rows, uint32_t columns)
{
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < columns; c++)
            if (!same_float(*element(a, r, c), *element(b, r, c)))
                fail_msg("%s: %s: row %u of %u, column %u of %u: %a, scalar has %a", k->name, what,
                         r, rows, c, columns, (double)*element(a, r, c), (double)*element(b, r, c));
}

static void same_floats(const quern__kernels *k, const char *what, const float *a, const float *b,
                        size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!same_float(a[i], b[i]))
            fail_msg("%s: %s of %zu: element %zu: %a, scalar has %a", k->name, what, n, i,
                     (double)a[i], (double)b[i]);
}

/* Runs fn(table, reference) for every table, the ABI-floor scalar one included (cheap: small counts). */
static void each_table(void (*fn)(const quern__kernels *, const quern__kernels *))
{
    const quern__kernels *k;
    for (size_t i = 0; (k = fast_table(i)); i++)
        fn(k, reference_table());
}

/* ---- elementwise ---- */

static void check_fma(const quern__kernels *k)
{
    /* Cases where rounding the product, or rounding a double sum again, gives another float. */
    static const struct {
        float a, b, c, want;
    } cases[] = {
        {0x1.00004p+0f, 0x1.ffff8p-25f, 0x1.000002p+0f, 0x1.000002p+0f},
        {0x1.000002p+0f, 0x1.000002p+0f, -0x1.000004p+0f, 0x1p-46f},
        {0x1.fffffep+127f, 2.0f, -0x1.fffffep+127f, 0x1.fffffep+127f},
        {0x1p-149f, 0.5f, 0.0f, 0.0f},
        {0x1p-149f, 0.5f, 0x1p-149f, 0x1p-148f},
        {0x1.8p-149f * 2, 0.5f, 0.0f, 0x1p-148f},
        {0x1p-126f, 0x1p-24f, 0x1p-126f, 0x1p-126f},
        {-0x1p-100f, 0x1p-100f, 0.0f, -0.0f},
        {0.0f, -1.0f, -0.0f, -0.0f},
        {0x1.000002p+0f, 0x1p+100f, -0x1p+100f, 0x1p+77f},
        {3.0f, 0x1.555556p-2f, -1.0f, 0x1p-25f},
    };
    float a[16], b[16], c[16], out[16];
    for (size_t i = 0; i < QUERN__COUNT(cases); i++) {
        for (size_t l = 0; l < 16; l++) {
            a[l] = cases[i].a;
            b[l] = cases[i].b;
            c[l] = cases[i].c;
        }
        k->fma(a, b, c, out, 16);
        for (size_t l = 0; l < 16; l++)
            if (to_bits(out[l]) != to_bits(cases[i].want))
                fail_msg("%s: fma case %zu: %a, want %a", k->name, i, (double)out[l],
                         (double)cases[i].want);
    }
}

static void test_fma_directed(void **state)
{
    (void)state;
    check_fma(&quern__kernels_scalar);
    check_fma(reference_table());
    for (size_t i = 0; fast_table(i); i++)
        check_fma(fast_table(i));
    /* The cases do their work: a double product and sum, rounded, fails the first. */
    volatile double twice = (double)0x1.00004p+0f * (double)0x1.ffff8p-25f;
    twice += (double)0x1.000002p+0f;
    assert_true((float)twice != 0x1.000002p+0f);
}

static void elementwise(const quern__kernels *k, const quern__kernels *want)
{
    const size_t n = long_form() ? 1u << 20 : 1u << 16;
    float *a = floats(n), *b = floats(n), *c = floats(n), *x = floats(n), *y = floats(n);
    for (size_t i = 0; i < n; i++) {
        a[i] = hostile(&rng, true);
        b[i] = hostile(&rng, true);
        c[i] = i % 3 ? hostile(&rng, true) : -a[i] * b[i];
    }
    k->fma(a, b, c, x, n);
    want->fma(a, b, c, y, n);
    same_floats(k, "fma", x, y, n);
    k->gelu(a, x, n);
    want->gelu(a, y, n);
    same_floats(k, "gelu", x, y, n);
    k->silu(a, x, n);
    want->silu(a, y, n);
    same_floats(k, "silu", x, y, n);
    for (size_t i = 0; i < n; i++)
        if (isnan(a[i]) && !isnan(x[i]))
            fail_msg("%s: silu(nan) is %a", k->name, (double)x[i]);
    k->gelu_tanh(a, x, n);
    want->gelu_tanh(a, y, n);
    same_floats(k, "gelu_tanh", x, y, n);
    for (size_t i = 0; i < n; i++)
        if (isnan(a[i]) && !isnan(x[i]))
            fail_msg("%s: gelu_tanh(nan) is %a", k->name, (double)x[i]);
    k->exp2(a, x, n);
    want->exp2(a, y, n);
    same_floats(k, "exp2", x, y, n);
    for (size_t i = 0; i < n; i++)
        if (isnan(a[i]) && !isnan(x[i]))
            fail_msg("%s: exp2(nan) is %a", k->name, (double)x[i]);
    quern__free(a);
    quern__free(b);
    quern__free(c);
    quern__free(x);
    quern__free(y);
}

static void test_elementwise(void **state)
{
    (void)state;
    each_table(elementwise);
    elementwise(&quern__kernels_scalar, reference_table());
}

/* The polynomials are what they say: against libm in double. */
static void test_accuracy(void **state)
{
    (void)state;
    float in[16], g[16], s[16], e[16];
    for (int i = -12000; i < 12000; i += 16) {
        for (int l = 0; l < 16; l++)
            in[l] = (float)(i + l) / 1000.0f;
        reference_table()->gelu(in, g, 16);
        for (int l = 0; l < 16; l++) {
            const double x = (double)in[l], want = x / 2 * (1 + erf(x / sqrt(2.0)));
            assert_true(fabs((double)g[l] - want) < 2e-5);
            s[l] = in[l] * 8;
        }
        reference_table()->silu(s, e, 16);
        for (int l = 0; l < 16; l++) {
            const double x = (double)s[l], want = x / (1 + exp(-x));
            assert_true(fabs((double)e[l] - want) <= 1.2e-5 * fabs(want) + 1e-35);
        }
        reference_table()->gelu_tanh(in, g, 16);
        for (int l = 0; l < 16; l++) {
            const double x = (double)in[l],
                         want =
                             x / (1 + exp(-2 * sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
            assert_true(fabs((double)g[l] - want) <= 4e-5 * fabs(want) + 1e-35);
            in[l] = -fabsf(in[l]) * 8;
        }
        reference_table()->exp2(in, e, 16);
        for (int l = 0; l < 16; l++)
            assert_true(fabs((double)e[l] / exp2((double)in[l]) - 1) < 4e-6);
    }
    const float nan16[16] = {NAN, INFINITY, -INFINITY, NAN, NAN, NAN, NAN, NAN,
                             NAN, NAN,      NAN,       NAN, NAN, NAN, NAN, NAN};
    reference_table()->exp2(nan16, e, 16);
    reference_table()->gelu(nan16, g, 16);
    assert_true(isnan(e[0]) && isnan(g[0]) && !isfinite(g[1]) && !isfinite(g[2]));
}

/* ---- products ---- */

typedef struct operand {
    quern__matrix m;
    float *data, *bias;
} operand;

/* weights[n][k], row-major, packed for k's panels. */
static operand pack_for(const quern__kernels *t, const float *weights, const float *bias,
                        uint32_t n, uint32_t k)
{
    const uint32_t panels = (n + t->panel - 1) / t->panel;
    operand o = {{QUERN__MATRIX_F32, k, n, panels, NULL, NULL},
                 floats((size_t)panels * t->panel * k),
                 quern__calloc(panels * t->panel, sizeof(float))};
    float *at = o.data;
    assert_non_null(o.bias);
    memcpy(o.bias, bias, n * sizeof *bias);
    for (uint32_t p = 0; p < panels; p++)
        for (uint32_t start = 0; start < k; start += QUERN__PIECE) {
            const uint32_t width = QUERN__MIN(k - start, (uint32_t)QUERN__PIECE);
            const float *rows[QUERN__PANEL_MAX] = {NULL};
            for (uint32_t j = 0; j < t->panel && p * t->panel + j < n; j++)
                rows[j] = weights + (size_t)(p * t->panel + j) * k + start;
            t->pack(rows, width, at);
            for (uint32_t j = 0; j < t->panel; j++)
                for (uint32_t i = 0; i < width; i++)
                    assert_true(same_float(at[(size_t)i * t->panel + j], rows[j] ? rows[j][i] : 0));
            at += (size_t)width * t->panel;
        }
    o.m.data = o.data;
    o.m.bias = o.bias;
    return o;
}

/* Rule 2, spelled out for one element, independent of the tables. */
static float one_product(const float *w, uint32_t k, quern__rows x, uint32_t row, int epilogue,
                         float bias, float residual, float before)
{
    float y = before;
    for (uint32_t start = 0; start < k; start += QUERN__PIECE) {
        float acc = 0;
        for (uint32_t i = start; i < QUERN__MIN(k, start + QUERN__PIECE); i++)
            acc = fmaf(*element(x, row, i), w[i], acc);
        if (start || epilogue == QUERN__EP_ADD)
            y = y + acc;
        else
            y = acc + bias;
        if (!start && epilogue == QUERN__EP_RESIDUAL)
            y = y + residual;
    }
    return y;
}

static void one_shape(const quern__kernels *k, const quern__kernels *want, uint32_t rows,
                      uint32_t inputs, uint32_t outputs, bool wild)
{
    float *weights = floats((size_t)outputs * inputs), *bias = floats(outputs);
    for (size_t i = 0; i < (size_t)outputs * inputs; i++)
        weights[i] = wild ? hostile(&rng, i % 97 == 0) : quern__rng_float(&rng) - 0.5f;
    for (uint32_t i = 0; i < outputs; i++)
        bias[i] = hostile(&rng, false);
    operand a = pack_for(k, weights, bias, outputs, inputs),
            b = pack_for(want, weights, bias, outputs, inputs);
    quern__rows x = matrix(rows, inputs), res = matrix(rows, outputs + 32),
                y = matrix(rows, outputs + 32), z = matrix(rows, outputs + 32);
    fill(x, rows, inputs, wild);
    fill(res, rows, outputs, wild);
    for (int e = QUERN__EP_BIAS; e <= QUERN__EP_ADD; e++) {
        const quern__rows r = e == QUERN__EP_RESIDUAL ? res : (quern__rows){NULL, 0};
        fill(y, rows, outputs, wild);
        for (uint32_t i = 0; i < rows; i++)
            for (uint32_t c = 0; c < outputs; c++)
                *element(z, i, c) = *element(y, i, c);
        const uint32_t row = quern__rng_below(&rng, rows), column = quern__rng_below(&rng, outputs);
        const float lone =
            one_product(weights + (size_t)column * inputs, inputs, x, row, e, bias[column],
                        *element(res, row, column), *element(y, row, column));
        const uint32_t half = a.m.panels / 2; /* in two calls: as threads share it */
        k->product(&a.m, 0, half, e, x, y, r, rows);
        k->product(&a.m, half, a.m.panels, e, x, y, r, rows);
        want->product(&b.m, 0, b.m.panels, e, x, z, r, rows);
        same_rows(k, "product", y, z, rows, outputs);
        if (e != QUERN__EP_GELU && !same_float(lone, *element(y, row, column)))
            fail_msg("%s: product %u x %u x %u, epilogue %d: %a, rule 2 gives %a", k->name, rows,
                     inputs, outputs, e, (double)*element(y, row, column), (double)lone);
    }
    quern__free(weights);
    quern__free(bias);
    quern__free(a.data);
    quern__free(a.bias);
    quern__free(b.data);
    quern__free(b.bias);
    quern__free(x.at);
    quern__free(res.at);
    quern__free(y.at);
    quern__free(z.at);
}

static void products(const quern__kernels *k, const quern__kernels *want)
{
    static const uint32_t depths[] = {1, 16, 80, 383, 384, 385, 776};
    static const uint32_t widths[] = {1, 16, 33, 80, 100, 416};
    for (uint32_t rows = 1; rows <= 2 * k->tile_rows + 1; rows++)
        one_shape(k, want, rows, 50, 70, rows % 2);
    for (size_t d = 0; d < QUERN__COUNT(depths); d++)
        for (size_t w = 0; w < QUERN__COUNT(widths); w++)
            one_shape(k, want, 1 + quern__rng_below(&rng, long_form() ? 60 : 20), depths[d],
                      widths[w], d % 2);
}

static void test_products(void **state)
{
    (void)state;
    each_table(products);
    one_shape(&quern__kernels_scalar, reference_table(), 9, 390, 40, true);
}

/* ---- attention ---- */

/* Rules 5, 6 and 15, spelled out for one element of the context. */
static float one_context(const quern__attention *a, uint32_t query, uint32_t head, uint32_t column)
{
    const uint32_t shared = a->key_heads ? a->key_heads : a->heads,
                   keys = (a->heads + head * shared / a->heads) * a->slot,
                   strip = query / QUERN__STRIP * QUERN__STRIP,
                   last = QUERN__MIN(strip + QUERN__STRIP, a->length) - 1;
    float s[512], e[16], x[16], top = 0, sum = 0, out = 0;
    bool sees[512], reads[512], any = false;
    for (uint32_t j = 0; j < a->length; j++) {
        const int64_t before = a->outlook ? a->outlook->before : INT64_MAX,
                      after = a->outlook ? a->outlook->after : INT64_MAX;
        sees[j] = (int64_t)query - j <= before && (int64_t)j - query <= after;
        reads[j] = (int64_t)strip - j <= before && (int64_t)j - last <= after;
        s[j] = 0;
        for (uint32_t i = 0; i < a->depth; i++)
            s[j] = fmaf(*element(a->qkv, j, keys + i),
                        *element(a->qkv, query, head * a->slot + i) * a->scale, s[j]);
        if (a->bias)
            s[j] = s[j] + a->bias[(size_t)head * a->bias_stride + query - j];
        if (sees[j])
            top = !any ? s[j] : top > s[j] ? top : s[j];
        any |= sees[j];
    }
    for (uint32_t j = 0; j < a->length; j++) {
        if (!reads[j])
            continue;
        for (uint32_t i = 0; i < 16; i++)
            x[i] = s[j] - top;
        reference_table()->exp2(x, e, 16);
        const float power = sees[j] ? e[0] : 0.0f;
        sum += power;
        out = fmaf(power, *element(a->qkv, j, keys + shared * a->slot + column), out);
    }
    return out * (1.0f / sum);
}

static void one_attention(const quern__kernels *k, const quern__kernels *want, uint32_t length,
                          uint32_t heads, uint32_t depth, uint32_t slot, bool wild)
{
    const uint32_t columns = 3 * heads * slot;
    quern__rows qkv = matrix(length, columns), c1 = matrix(length, heads * depth),
                c2 = matrix(length, heads * depth);
    fill(qkv, length, columns, wild);
    for (uint32_t r = 0; r < length; r++)
        for (uint32_t c = 0; c < columns; c++)
            if (c % slot >= depth)
                *element(qkv, r, c) = 0;
    quern__attention a = {.qkv = qkv,
                          .context = c1,
                          .length = length,
                          .end_head = heads,
                          .heads = heads,
                          .depth = depth,
                          .slot = slot,
                          .scale = (float)(1.4426950408889634 / sqrt((double)depth)),
                          .scratch = floats(quern__attention_scratch(length))};
    static const quern__outlook sights[] = {{UINT32_MAX, 0}, {4, 4}, {0, 0},
                                            {64, 64},        {0, 9}, {40, 0}};
    const uint32_t turn = quern__rng_below(&rng, QUERN__COUNT(sights) + 2);
    a.outlook = turn < QUERN__COUNT(sights) ? sights + turn : NULL;
    if (heads == 4)
        a.key_heads = 2; /* reads the first 8 of the 12 slots there are */
    float *bias = NULL;
    if (heads % 2) { /* biases by distance for the odd ones, and nothing for the rest */
        a.bias_stride = 2 * length + QUERN__STRIP;
        bias = floats((size_t)heads * a.bias_stride);
        for (size_t i = 0; i < (size_t)heads * a.bias_stride; i++)
            bias[i] = (float)((double)(i * 2654435761u % 65536) / 8192.0 - 4.0);
        a.bias = bias + length - 1;
    }
    const uint32_t middle = heads / 2;
    a.end_head = middle;
    k->attention(&a);
    a.first_head = middle;
    a.end_head = heads;
    k->attention(&a);
    a.first_head = 0;
    a.context = c2;
    want->attention(&a);
    same_rows(k, "attention", c1, c2, length, heads * depth);
    const uint32_t query = quern__rng_below(&rng, length), head = quern__rng_below(&rng, heads),
                   column = quern__rng_below(&rng, depth);
    const float lone = one_context(&a, query, head, column);
    if (!same_float(lone, *element(c1, query, head * depth + column)))
        fail_msg("%s: attention of %u, query %u: %a, rules 5 and 15 give %a", k->name, length,
                 query, (double)*element(c1, query, head * depth + column), (double)lone);
    quern__free(bias);
    quern__free(a.scratch);
    quern__free(qkv.at);
    quern__free(c1.at);
    quern__free(c2.at);
}

static void attentions(const quern__kernels *k, const quern__kernels *want)
{
    static const struct {
        uint32_t heads, depth, slot;
    } shapes[] = {{2, 32, 32}, {5, 16, 16},   {2, 64, 64},   {3, 24, 32}, {2, 80, 96},
                  {1, 1, 16},  {2, 100, 128}, {4, 128, 128}, {3, 48, 48}};
    const uint32_t step = long_form() ? 1 : 37;
    for (uint32_t length = 1; length <= 512; length += length < 36 ? 1 : step)
        one_attention(k, want, length, 2, 32, 32, length % 3 == 0);
    one_attention(k, want, 512, 1, 32, 32, false);
    for (size_t s = 0; s < QUERN__COUNT(shapes); s++)
        for (uint32_t length = 1; length <= 50; length += long_form() ? 1 : 7)
            one_attention(k, want, length, shapes[s].heads, shapes[s].depth, shapes[s].slot,
                          length % 2 == 0);
}

static void test_attention(void **state)
{
    (void)state;
    each_table(attentions);
    one_attention(&quern__kernels_scalar, reference_table(), 21, 2, 24, 32, true);
}

/* ---- rows ---- */

/* Gates, and heads turned by their positions; n columns within a piece. */
static void check_gates(const quern__kernels *k, const quern__kernels *want, uint32_t rows,
                        uint32_t n, quern__rows gate)
{
    quern__rows y = matrix(rows, n), z = matrix(rows, n);
    for (int kind = QUERN__GATE_GELU; kind <= QUERN__GATE_GELU_TANH; kind++) {
        fill(y, rows, n, true);
        memcpy(z.at, y.at, (size_t)rows * QUERN__STRIDE * sizeof(float));
        k->apply_gate(kind, gate, y, rows, n);
        want->apply_gate(kind, gate, z, rows, n);
        same_rows(k, "gate", y, z, rows, n);
    }
    const uint32_t depth = n & ~1u;
    float *turns = floats((size_t)rows * depth + 1);
    for (size_t i = 0; i < (size_t)rows * depth; i++)
        turns[i] = quern__rng_float(&rng) * 2 - 1;
    fill(y, rows, n, true);
    memcpy(z.at, y.at, (size_t)rows * QUERN__STRIDE * sizeof(float));
    k->rotate(y, rows, depth, turns);
    for (uint32_t r = 0; r < rows; r++) /* rule 13, spelled out */
        for (uint32_t i = 0; i < depth / 2; i++) {
            const float u = *element(z, r, i), v = *element(z, r, i + depth / 2),
                        c = turns[r * depth + i], s = turns[r * depth + depth / 2 + i];
            assert_true(same_float(*element(y, r, i), fmaf(v, -s, u * c)));
            assert_true(same_float(*element(y, r, i + depth / 2), fmaf(u, s, v * c)));
        }
    if (n % 2)
        assert_true(same_float(*element(y, 0, n - 1), *element(z, 0, n - 1)));
    quern__free(turns);
    quern__free(y.at);
    quern__free(z.at);
}

static void one_row_shape(const quern__kernels *k, const quern__kernels *want, uint32_t rows,
                          uint32_t n)
{
    quern__rows x = matrix(rows, n), y = matrix(rows, n), z = matrix(rows, n);
    float *gamma = floats(n), *beta = floats(n), *p = floats(n), *q = floats(n);
    fill(x, rows, n, true);
    for (uint32_t c = 0; c < n; c++) {
        gamma[c] = quern__rng_float(&rng) + 0.5f;
        beta[c] = hostile(&rng, false);
        *element(x, 0, c) = 0.3f; /* a constant row: its variance is 0 or rounding */
        if (rows > 1)
            *element(x, 1, c) = -0.0f;
        if (rows > 2)
            *element(x, 2, c) = from_bits(c + 1);
    }
    k->normalize_rows(x, y, rows, n, gamma, beta, 1e-12f);
    want->normalize_rows(x, z, rows, n, gamma, beta, 1e-12f);
    same_rows(k, "LayerNorm", y, z, rows, n);
    k->rms_norm(x, y, rows, n, gamma, 1e-6f);
    want->rms_norm(x, z, rows, n, gamma, 1e-6f);
    same_rows(k, "RMSNorm", y, z, rows, n);
    check_gates(k, want, rows, QUERN__MIN(n, (uint32_t)QUERN__PIECE), x);
    k->mean_rows(x, QUERN__MIN(rows, 4u), n, p);
    want->mean_rows(x, QUERN__MIN(rows, 4u), n, q);
    same_floats(k, "mean", p, q, n);
    k->unit_row(p, n);
    want->unit_row(q, n);
    same_floats(k, "unit", p, q, n);
    for (uint32_t c = 0; c < n; c++)
        p[c] = hostile(&rng, true);
    k->embed_row(p, beta, n, y);
    want->embed_row(p, beta, n, z);
    same_rows(k, "embedding", y, z, 1, n);
    want->normalize_rows(x, z, rows, n, gamma, beta, 1e-5f);
    k->normalize_rows(x, x, rows, n, gamma, beta, 1e-5f);
    same_rows(k, "LayerNorm in place", x, z, rows, n);
    quern__free(x.at);
    quern__free(y.at);
    quern__free(z.at);
    quern__free(gamma);
    quern__free(beta);
    quern__free(p);
    quern__free(q);
}

static void row_functions(const quern__kernels *k, const quern__kernels *want)
{
    for (uint32_t n = 1; n <= 100; n++)
        one_row_shape(k, want, 1 + n % 7, n);
    for (uint32_t n = 380; n <= 420; n++)
        one_row_shape(k, want, 5, n);
    one_row_shape(k, want, 9, 768);
    one_row_shape(k, want, 9, 1030);
}

static void test_rows(void **state)
{
    (void)state;
    each_table(row_functions);
    one_row_shape(&quern__kernels_scalar, reference_table(), 6, 83);
}

/* ---- dot products and halves ---- */

static void dots(const quern__kernels *k, const quern__kernels *want)
{
    for (size_t dim = 1; dim <= 70; dim++)
        for (size_t n = 0; n <= 9; n++) {
            float *q = floats(dim), *rows = floats(n * dim + 1), a[9], b[9];
            uint16_t *halves = quern__alloc_array(n * dim + 1, sizeof *halves);
            assert_non_null(halves);
            for (size_t i = 0; i < dim; i++)
                q[i] = hostile(&rng, dim % 5 == 0);
            for (size_t i = 0; i < n * dim; i++) {
                rows[i] = hostile(&rng, dim % 7 == 0);
                halves[i] = (uint16_t)quern__rng_below(&rng, dim % 3 ? 0x7c00 : 0x10000);
            }
            quern__dot_rows_f32(k, q, rows, n, dim, a);
            quern__dot_rows_f32(want, q, rows, n, dim, b);
            same_floats(k, "dot f32", a, b, n);
            quern__dot_rows_f16(k, q, halves, n, dim, a);
            quern__dot_rows_f16(want, q, halves, n, dim, b);
            same_floats(k, "dot f16", a, b, n);
            quern__free(q);
            quern__free(rows);
            quern__free(halves);
        }
}

static void test_dots(void **state)
{
    (void)state;
    each_table(dots);
    dots(&quern__kernels_scalar, reference_table());
    const float q[3] = {1, 2, 3}, rows[6] = {1, 1, 1, 0, -1, 2};
    float out[2];
    quern__dot_rows_f32(&quern__kernels_scalar, q, rows, 2, 3, out);
    assert_true(out[0] == 6 && out[1] == 4);
}

static void test_halves(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        const uint16_t in = (uint16_t)h;
        float wide;
        uint16_t back;
        quern__f16_to_f32(&in, &wide, 1);
        const uint32_t exponent = h >> 10 & 31, mantissa = h & 0x3ff;
        const double sign = h & 0x8000 ? -1 : 1;
        if (exponent == 31)
            assert_true(mantissa ? isnan(wide) : isinf(wide) && (wide < 0) == (sign < 0));
        else
            assert_true((double)wide == sign * (exponent
                                                    ? ldexp(1024 + mantissa, (int)exponent - 25)
                                                    : ldexp(mantissa, -24)));
        quern__f32_to_f16(&wide, &back, 1);
        assert_int_equal(exponent == 31 && mantissa ? back & 0x7c00 : back,
                         exponent == 31 && mantissa ? 0x7c00 : h);
        if (exponent == 31)
            continue;
        /* Half way to the next one goes to the even one; a step beyond goes up. */
        const uint16_t up = (uint16_t)(in + 1);
        float next;
        quern__f16_to_f32(&up, &next, 1);
        if (!isfinite(next))
            next = sign > 0 ? 65536.0f : -65536.0f;
        const float tie = (float)(((double)wide + (double)next) / 2),
                    beyond = nextafterf(tie, next), before = nextafterf(tie, wide);
        quern__f32_to_f16(&tie, &back, 1);
        assert_int_equal(back, h & 1 ? up : in);
        quern__f32_to_f16(&beyond, &back, 1);
        assert_int_equal(back, up);
        quern__f32_to_f16(&before, &back, 1);
        assert_int_equal(back, in);
    }
}

/* ---- choosing ---- */

static void test_pick(void **state)
{
    (void)state;
    assert_ptr_equal(quern__kernels_pick(0), &quern__kernels_scalar);
    assert_ptr_equal(quern__kernels_pick(QUERN__CPU_SCALAR), &quern__kernels_scalar);
    const quern__kernels *best = quern__kernels_pick(~0u);
    assert_true((quern__kernels_need(best) & quern__cpu_detected()) == quern__kernels_need(best));
    bool seen = false;
    size_t i = 0;
    for (const quern__kernels *k; (k = quern__kernels_at(i)); i++) {
        const bool runs = (k->need & quern__cpu_detected()) == k->need;
        assert_true(QUERN__PIECE % k->panel == 0 && k->panel <= QUERN__PANEL_MAX);
        if (runs) {
            assert_string_equal(quern__kernels_name(quern__kernels_pick(k->need)), k->name);
            if (!seen)
                assert_ptr_equal(best, k); /* best first */
            seen = true;
        }
    }
    assert_true(i >= 1);
    assert_null(quern__kernels_at(1000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fma_directed), cmocka_unit_test(test_elementwise),
        cmocka_unit_test(test_accuracy),     cmocka_unit_test(test_products),
        cmocka_unit_test(test_attention),    cmocka_unit_test(test_rows),
        cmocka_unit_test(test_dots),         cmocka_unit_test(test_halves),
        cmocka_unit_test(test_pick),
    };
    quern__rng_seed(&rng, 20240501);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
