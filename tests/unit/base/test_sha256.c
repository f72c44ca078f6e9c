/* SHA-256 against the vectors of FIPS 180-4, in one piece and in many; the random numbers. */
#include "unit.h"

#include "base/rng.h"
#include "base/sha256.h"

static void test_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hex;
    } cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    quern_error err;
    uint8_t digest[32];
    char hex[65];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_ok(err, quern__sha256_of(cases[i].text, strlen(cases[i].text), digest, &err));
        quern__hex32(digest, hex);
        assert_string_equal(hex, cases[i].hex);
    }
}

static void test_pieces(void **state)
{
    (void)state;
    quern_error err;
    uint8_t digest[32];
    char hex[65], block[1000];
    quern__sha256 h;
    memset(block, 'a', sizeof block);
    assert_ok(err, quern__sha256_begin(&h, &err));
    for (int i = 0; i < 1000; i++) {
        assert_ok(err, quern__sha256_add(&h, block, (size_t)i % 7, &err));
        assert_ok(err, quern__sha256_add(&h, block, sizeof block - (size_t)i % 7, &err));
        assert_ok(err, quern__sha256_add(&h, NULL, 0, &err));
    }
    assert_ok(err, quern__sha256_end(&h, digest, &err));
    quern__sha256_dispose(&h);
    quern__hex32(digest, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    assert_ok(err, quern__sha256_begin(&h, &err));
    quern__sha256_dispose(&h); /* given up half way */
    quern__sha256_dispose(&h);
}

static void test_rng(void **state)
{
    (void)state;
    quern__rng a, b;
    unsigned counts[7] = {0};
    quern__rng_seed(&a, 1);
    quern__rng_seed(&b, 1);
    for (int i = 0; i < 1000; i++)
        assert_true(quern__rng_next(&a) == quern__rng_next(&b));
    quern__rng_seed(&b, 2);
    assert_true(quern__rng_next(&a) != quern__rng_next(&b));
    for (int i = 0; i < 70000; i++) {
        counts[quern__rng_below(&a, 7)]++;
        float f = quern__rng_float(&a);
        assert_true(f >= 0 && f < 1);
        assert_int_equal(quern__rng_below(&a, 1), 0);
    }
    for (int i = 0; i < 7; i++)
        assert_in_range(counts[i], 9500, 10500);
    /* The first outputs of xoshiro256** seeded with splitmix64(0), from the authors' code. */
    quern__rng_seed(&a, 0);
    assert_true(quern__rng_next(&a) == UINT64_C(0x99EC5F36CB75F2B4));
    assert_true(quern__rng_next(&a) == UINT64_C(0xBF6E1F784956452A));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_rng),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
