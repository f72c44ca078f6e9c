/*
 * test_amx_plain.c — the plain-C spelling of AMX's instructions against their manual: what a configuration may say,
 * which shapes a product takes, what is cleared, byte products of every signedness at their ends, and the
 * bf16 product's order, denormals and rounding. A kernel tested over a lenient spelling would stop the process on the
 * real unit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "kernel_tables.h"
#include "kernels/amx_plain.h"

static quern__rng rng;

typedef struct shapes {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} shapes;

static uint32_t faults(void)
{
    return atomic_exchange(&quern__amx_plain_faults, 0);
}

static shapes good(void)
{
    shapes s = {.palette = 1};
    for (uint32_t i = 0; i < 8; i++) {
        s.rows[i] = 16;
        s.bytes[i] = 64;
    }
    return s;
}

static void test_configuration(void **state)
{
    (void)state;
    QUERN__TILES_DECLARE;
    shapes s = good();
    assert_int_equal(sizeof s, 64);
    _tile_loadconfig(&s);
    assert_int_equal(faults(), 0);
    assert_true(tiles->configured);
    for (uint32_t i = 0; i < 8; i++) { /* a mistake a turn */
        s = good();
        if (i == 0)
            s.palette = 2;
        else if (i == 1)
            s.reserved[13] = 1;
        else if (i == 2)
            s.rows[7] = 17;
        else if (i == 3)
            s.bytes[0] = 65;
        else if (i == 4)
            s.rows[3] = 0; /* bytes without rows */
        else if (i == 5)
            s.bytes[3] = 0;
        else if (i == 6)
            s.rows[8] = 1; /* there are eight tiles */
        else
            s.bytes[15] = 64;
        _tile_loadconfig(&s);
        assert_int_equal(faults(), 1);
        assert_false(tiles->configured);
        _tile_zero(0);
        assert_int_equal(faults(), 1); /* nothing may be done unconfigured */
    }
    s = good();
    s.rows[5] = 0;
    s.bytes[5] = 0;
    _tile_loadconfig(&s);
    _tile_zero(4);
    assert_int_equal(faults(), 0);
    _tile_zero(5); /* a tile without a shape */
    assert_int_equal(faults(), 1);
    _tile_release();
    _tile_zero(4);
    assert_int_equal(faults(), 1);
}

static void test_load_and_store(void **state)
{
    (void)state;
    QUERN__TILES_DECLARE;
    uint8_t in[16 * 100], out[16 * 70];
    shapes s = good();
    s.rows[2] = 5;
    s.bytes[2] = 12;
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (uint8_t)quern__rng_next(&rng);
    memset(out, 77, sizeof out);
    _tile_loadconfig(&s);
    memset(tiles->data[2], 9, sizeof tiles->data[2]);
    _tile_loadd(2, in + 1, 100);
    for (uint32_t r = 0; r < 16; r++)
        for (uint32_t b = 0; b < 64; b++)
            assert_int_equal(tiles->data[2][r][b], r < 5 && b < 12 ? in[1 + r * 100 + b] : 0);
    _tile_stored(2, out, 70);
    for (uint32_t i = 0; i < sizeof out; i++)
        assert_int_equal(out[i], i / 70 < 5 && i % 70 < 12 ? in[1 + i / 70 * 100 + i % 70] : 77);
    _tile_zero(2);
    assert_int_equal(tiles->data[2][0][0], 0);
    assert_int_equal(faults(), 0);
}

/* Shapes that do not agree, and one tile twice. */
static void test_refused_products(void **state)
{
    (void)state;
    QUERN__TILES_DECLARE;
    shapes s = good();
    _tile_loadconfig(&s);
    _tile_dpbusd(0, 1, 2);
    assert_int_equal(faults(), 0);
    _tile_dpbusd(0, 0, 2);
    _tile_dpbusd(0, 1, 0);
    _tile_dpbusd(0, 1, 1);
    assert_int_equal(faults(), 3);
    for (uint32_t i = 0; i < 5; i++) {
        s = good();
        if (i == 0)
            s.rows[0] = 15; /* not the left side's */
        else if (i == 1)
            s.bytes[2] = 60; /* not the sums' */
        else if (i == 2)
            s.rows[2] = 15; /* not the left side's k */
        else if (i == 3)
            s.bytes[0] = s.bytes[2] = 62; /* no whole elements */
        else
            s.rows[1] = s.bytes[1] = 0;
        _tile_loadconfig(&s);
        _tile_dpbusd(0, 1, 2);
        assert_int_equal(faults(), 1);
        _tile_dpbf16ps(0, 1, 2);
        assert_int_equal(faults(), 1);
    }
}

static void test_bytes(void **state)
{
    (void)state;
    QUERN__TILES_DECLARE;
    static uint8_t left[16][64], right[16][64];
    for (uint32_t round = 0; round < 30; round++) {
        shapes s = good();
        const uint32_t rows = 1 + quern__rng_below(&rng, 16),
                       groups = 1 + quern__rng_below(&rng, 16),
                       columns = 1 + quern__rng_below(&rng, 16);
        s.rows[0] = s.rows[1] = (uint8_t)rows;
        s.bytes[1] = (uint16_t)(4 * groups);
        s.rows[2] = (uint8_t)groups;
        s.bytes[0] = s.bytes[2] = (uint16_t)(4 * columns);
        _tile_loadconfig(&s);
        for (uint32_t i = 0; i < sizeof left; i++) {
            left[i / 64][i % 64] = round ? (uint8_t)quern__rng_next(&rng) : 255;
            right[i / 64][i % 64] = round ? (uint8_t)quern__rng_next(&rng) : 128;
        }
        for (uint32_t kind = 0; kind < 3; kind++) {
            _tile_zero(0);
            _tile_loadd(1, left, 64);
            _tile_loadd(2, right, 64);
            if (kind == 0)
                _tile_dpbusd(0, 1, 2);
            else if (kind == 1)
                _tile_dpbuud(0, 1, 2);
            else
                _tile_dpbssd(0, 1, 2);
            for (uint32_t m = 0; m < 16; m++)
                for (uint32_t n = 0; n < 16; n++) {
                    int32_t want = 0, have;
                    for (uint32_t k = 0; k < 4 * groups && m < rows && n < columns; k++) {
                        const uint8_t a = left[m][k], b = right[k / 4][4 * n + k % 4];
                        want += (kind == 2 ? (int8_t)a : a) * (kind == 1 ? b : (int8_t)b);
                    }
                    memcpy(&have, tiles->data[0][m] + 4 * n, 4);
                    assert_int_equal(have, want);
                }
        }
    }
    assert_int_equal(faults(), 0);
}

static float dot_of(const uint16_t *left, const uint16_t *right, uint32_t pairs, float before)
{
    QUERN__TILES_DECLARE;
    uint16_t columns[16][32] = {{0}};
    float sums[16][16] = {{0}};
    shapes s = good();
    s.bytes[1] = (uint16_t)(4 * pairs);
    s.rows[2] = (uint8_t)pairs;
    s.rows[0] = s.rows[1] = 1;
    for (uint32_t k = 0; k < pairs; k++)
        memcpy(columns[k] + 6, right + 2 * k, 4); /* the fourth column */
    sums[0][3] = before;
    _tile_loadconfig(&s);
    _tile_loadd(0, sums, 64);
    _tile_loadd(1, left, 64);
    _tile_loadd(2, columns, 64);
    _tile_dpbf16ps(0, 1, 2);
    _tile_stored(0, sums, 64);
    return sums[0][3];
}

static uint16_t half(float x)
{
    return (uint16_t)(to_bits(x) >> 16); /* of numbers that bf16 holds */
}

static void test_bf16(void **state)
{
    (void)state;
    const uint16_t one = half(1), big = half(0x1p30f), less = half(-0x1p30f);
    /* Even and odd elements are chains of their own: 1 is lost in its chain only. */
    const uint16_t lefts[4] = {big, one, less, one}, ones[4] = {one, one, one, one};
    assert_true(dot_of(lefts, ones, 2, 0) == 2.0f);
    const uint16_t mixed[4] = {big, less, one, one};
    assert_true(dot_of(mixed, ones, 2, 0) == 0.0f);
    assert_true(dot_of(mixed, ones, 2, 3.0f) == 3.0f); /* what was there comes last */
    /* Denormals: of the input, of what was there, of the result. */
    const uint16_t tiny[2] = {0x0001, 0x8001}, huge[2] = {half(0x1p100f), half(0x1p100f)};
    assert_true(same_float(dot_of(tiny, huge, 1, 0), 0.0f));
    assert_true(same_float(dot_of(tiny, huge, 1, 0x1p-130f), 0.0f));
    const uint16_t small[2] = {half(0x1p-100f), 0}, smaller[2] = {half(0x1p-30f), 0};
    assert_true(same_float(dot_of(small, smaller, 1, 0), 0.0f));
    /* The caller's denormals being off or on changes nothing: 2^-126 stays. */
    const uint16_t least[2] = {half(0x1p-96f), 0};
    assert_true(dot_of(least, smaller, 1, 0) == 0x1p-126f);
    assert_true(isnan(dot_of((const uint16_t[2]){0x7fc0, 0}, ones, 1, 0)));
    assert_int_equal(faults(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_configuration),
        cmocka_unit_test(test_load_and_store),
        cmocka_unit_test(test_refused_products),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_bf16),
    };
    quern__rng_seed(&rng, 20261122);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
