/*
 * test_turns.c — the table of cosines and sines: right (against libm in double, to the last bit but one of a
 * float), of one bit pattern (a hash), and at the edges: one position, the narrowest head, base 1.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/sha256.h"
#include "encoder/turns.h"

static void assert_right(uint32_t positions, uint32_t depth, double base)
{
    float *table = calloc((size_t)positions * depth + 1, sizeof *table);
    assert_non_null(table);
    table[(size_t)positions * depth] = 7;
    quern__turns(table, positions, depth, base);
    for (uint32_t p = 0; p < positions; p++)
        for (uint32_t i = 0; i < depth / 2; i++) {
            const double angle = p * pow(base, -2.0 * i / depth);
            const float *row = table + (size_t)p * depth;
            if (fabs((double)row[i] - cos(angle)) > 6.1e-8 ||
                fabs((double)row[depth / 2 + i] - sin(angle)) > 6.1e-8)
                fail_msg("position %u, column %u of %u, base %g: %.9g %.9g, want %.9g %.9g", p, i,
                         depth, base, (double)row[i], (double)row[depth / 2 + i], cos(angle),
                         sin(angle));
        }
    assert_true(table[(size_t)positions * depth] == 7.0f);
    free(table);
}

static void test_right(void **state)
{
    (void)state;
    assert_right(1, 2, 10000);
    assert_right(100, 2, 1);
    assert_right(100, 10, 1.0000001);
    assert_right(8192, 64, 10000);
    assert_right(8192, 64, 160000);
    assert_right(300, 64, 1000);
    assert_right(32768, 128, 1000000);
    assert_right(77, 26, 1e9);
    assert_right(5, 384, 123456.789);
}

static void test_bits(void **state)
{
    (void)state;
    static float table[500 * 48];
    uint8_t digest[32];
    char hex[65];
    quern__turns(table, 500, 48, 160000);
    assert_int_equal(quern__sha256_of(table, sizeof table, digest, NULL), 0);
    quern__hex32(digest, hex);
    assert_string_equal(hex, "45ee7e0f4b70a3171a7e28d7583907e4a54207b744619afd2e10aa3129136e2b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_right), cmocka_unit_test(test_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
