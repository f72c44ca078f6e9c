/* quern/vector.h: values that can be checked by hand, and everything it must refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "quern/vector.h"
#include "torture/torture.h"

static void computes(void **state)
{
    (void)state;
    float a[3] = {3, 4, 0}, b[3] = {4, 3, 0}, x, m[4];
    assert_int_equal(quern_dot(a, b, 3, &x, NULL), QUERN_OK);
    assert_true(x == 24);
    assert_int_equal(quern_cosine(a, b, 3, &x, NULL), QUERN_OK);
    assert_true(fabsf(x - 0.96f) < 1e-6f);
    assert_int_equal(quern_l2_norm(a, 3, &x, NULL), QUERN_OK);
    assert_true(x == 5);
    assert_int_equal(quern_l2_distance(a, b, 3, &x, NULL), QUERN_OK);
    assert_true(fabsf(x - sqrtf(2)) < 1e-6f);
    float both[6] = {3, 4, 0, 4, 3, 0};
    assert_int_equal(quern_cosine_matrix(both, 2, both, 2, 3, m, NULL), QUERN_OK);
    assert_true(fabsf(m[0] - 1) < 1e-6f && fabsf(m[1] - 0.96f) < 1e-6f && m[1] == m[2]);
    assert_int_equal(quern_normalize(a, 3, NULL), QUERN_OK);
    assert_true(fabsf(a[0] - 0.6f) < 1e-6f && fabsf(a[1] - 0.8f) < 1e-6f);
}

static void refuses(void **state)
{
    (void)state;
    float a[2] = {1, 0}, zero[2] = {0, 0}, inf[2] = {INFINITY, 1}, x;
    quern_error err;
    assert_int_equal(quern_cosine(a, zero, 2, &x, &err), QUERN_EINVAL);
    assert_int_equal(quern_cosine(inf, a, 2, &x, &err), QUERN_EINVAL);
    assert_int_equal(quern_cosine(a, NULL, 2, &x, &err), QUERN_EINVAL);
    assert_int_equal(quern_dot(a, a, 0, &x, &err), QUERN_EINVAL);
    assert_int_equal(quern_normalize(zero, 2, &err), QUERN_EINVAL);
    assert_int_equal(quern_l2_norm(zero, 2, &x, &err), QUERN_EINVAL);
    assert_int_equal(quern_cosine_matrix(zero, 1, a, 1, 2, &x, &err), QUERN_EINVAL);
}

static void fuses(void **state)
{
    (void)state;
    /* by hand: mean (2, 1, 0) / sqrt 5 */
    float v[6] = {3, 4, 0, 1, -2, 0}, out[3], same[3];
    assert_int_equal(quern_fuse_average(v, 2, 3, out, NULL), QUERN_OK);
    assert_true(fabsf(out[0] - 0.8944272f) < 1e-6f && fabsf(out[1] - 0.4472136f) < 1e-6f);
    assert_true(out[2] == 0);
    memcpy(same, out, sizeof same);
    assert_int_equal(quern_fuse_average(v, 2, 3, v + 3, NULL), QUERN_OK); /* into one of them */
    assert_memory_equal(v + 3, same, sizeof same);
    assert_int_equal(quern_fuse_average(v, 1, 3, out, NULL), QUERN_OK);
    assert_true(fabsf(out[0] - 0.6f) < 1e-6f && fabsf(out[1] - 0.8f) < 1e-6f);
    /* large ones do not overflow on the way */
    float large[4] = {3e38f, 0, 3e38f, 0};
    quern_error err;
    float against[4] = {1, 0, -1, 0}, wild[4] = {1, 0, NAN, 0}, kept[2] = {7, 7};
    assert_int_equal(quern_fuse_average(against, 2, 2, kept, &err), QUERN_EINVAL);
    assert_int_equal(quern_fuse_average(wild, 2, 2, kept, &err), QUERN_EINVAL);
    assert_int_equal(quern_fuse_average(large, 2, 2, kept, &err), QUERN_EINVAL); /* its length is */
    assert_int_equal(quern_fuse_average(v, 0, 3, kept, &err), QUERN_EINVAL);
    assert_int_equal(quern_fuse_average(v, 1, 0, kept, &err), QUERN_EINVAL);
    assert_int_equal(quern_fuse_average(NULL, 1, 2, kept, &err), QUERN_EINVAL);
    assert_true(kept[0] == 7 && kept[1] == 7);
}

static int fuse_body(void *ud, quern_error *err)
{
    float v[4] = {1, 0, 0, 1}, out[2];
    (void)ud;
    return quern_fuse_average(v, 2, 2, out, err);
}

static void fuses_without_memory(void **state)
{
    (void)state;
    assert_true(torture_run(fuse_body, NULL) >= 1);
}

static void blobs_go_there_and_back(void **state)
{
    (void)state;
    float v[3] = {1.5f, -0.0f, 1e-40f}, back[3];
    uint8_t blob[12];
    quern_error err;
    quern_vector_to_blob(v, 3, blob);
    assert_int_equal(blob[2], 0xc0); /* 1.5f = 0x3fc00000, little-endian */
    assert_int_equal(blob[3], 0x3f);
    assert_int_equal(quern_vector_from_blob(blob, 12, back, 3, &err), QUERN_OK);
    assert_memory_equal(v, back, sizeof v);
    assert_int_equal(quern_vector_from_blob(blob, 11, back, 3, &err), QUERN_EFORMAT);
    assert_non_null(strstr(err.msg, "11"));
    assert_non_null(strstr(err.msg, "12"));
}

static void base64_is_read(void **state)
{
    (void)state;
    float v[3] = {7, 7, 7};
    size_t dim = 9;
    quern_error err;
    const char *three =
        "AADAPwAAgL8AAIB/"; /* 1.5, -1 and an infinity, which is the caller's to judge */
    assert_int_equal(quern_vector_from_base64(three, 16, NULL, 0, &dim, &err), QUERN_OK);
    assert_int_equal(dim, 3);
    assert_int_equal(quern_vector_from_base64(three, 16, v, 2, &dim, &err), QUERN_OK);
    assert_true(dim == 3 && v[0] == 1.5f && v[1] == -1 && v[2] == 7);
    assert_int_equal(quern_vector_from_base64(three, 16, v, 3, &dim, &err), QUERN_OK);
    assert_true(isinf(v[2]));
    assert_int_equal(quern_vector_from_base64("AADAPw==", 8, v, 3, &dim, &err), QUERN_OK);
    assert_true(dim == 1 && v[0] == 1.5f);
    const char *const bad[] = {"",         "AADAPw=",  "AADAPw", "AADAPw=A", "AAD=Pw==",
                               "AADA-w==", "AADAPwA=", "====",   "AAAA",     "AADAPw==\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (quern_vector_from_base64(bad[i], strlen(bad[i]), v, 3, &dim, &err) != QUERN_EFORMAT)
            fail_msg("%s was read", bad[i]);
    assert_int_equal(quern_vector_from_base64(NULL, 4, v, 3, &dim, &err), QUERN_EINVAL);
    assert_int_equal(quern_vector_from_base64(three, 16, NULL, 3, &dim, &err), QUERN_EINVAL);
}

static void halves_round_to_even(void **state)
{
    (void)state;
    float in[6] = {1.0f, 65504.0f, 65520.0f, 5.9604645e-8f, 1.00048828125f /* 1 + 2^-11: a tie */,
                   -2.0f},
          back[6];
    uint16_t half[6];
    quern_f32_to_f16(in, half, 6);
    assert_int_equal(half[0], 0x3c00);
    assert_int_equal(half[1], 0x7bff);
    assert_int_equal(half[2], 0x7c00); /* overflow is infinity, never a wrong number */
    assert_int_equal(half[3], 0x0001); /* the least denormal */
    assert_int_equal(half[4], 0x3c00); /* to even */
    assert_int_equal(half[5], 0xc000);
    quern_f16_to_f32(half, back, 6);
    assert_true(back[0] == 1 && back[1] == 65504 && isinf(back[2]) && back[3] == 5.9604645e-8f &&
                back[5] == -2);
}

int main(void)
{
    torture_install();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(computes),
        cmocka_unit_test(refuses),
        cmocka_unit_test(fuses),
        cmocka_unit_test(fuses_without_memory),
        cmocka_unit_test(blobs_go_there_and_back),
        cmocka_unit_test(base64_is_read),
        cmocka_unit_test(halves_round_to_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
