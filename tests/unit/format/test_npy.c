/* test_npy.c — headers as numpy writes them, ours, and what is no array of vectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "format/npy.h"

static int read_text(const char *dictionary, quern__npy *out, quern_error *err)
{
    unsigned char header[512];
    size_t n = strlen(dictionary);
    assert_true(n < 256);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = (unsigned char)n;
    header[9] = 0;
    memcpy(header + 10, dictionary, n);
    return quern__npy_read(header, n + 10, out, err);
}

static void ours_is_read(void **state)
{
    const quern__npy shapes[] = {{0, 1, 2}, {12345678901, 384, 4}, {INT64_MAX, UINT32_MAX, 2}};
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        unsigned char header[QUERN__NPY_HEADER];
        quern__npy back;
        size_t length = 0;
        quern_error err;
        quern__npy_write(&shapes[i], header);
        assert_int_equal(header[QUERN__NPY_HEADER - 1], '\n');
        assert_int_equal(quern__npy_length(header, &length, &err), QUERN_OK);
        assert_int_equal(length, QUERN__NPY_HEADER);
        assert_int_equal(quern__npy_read(header, length, &back, &err), QUERN_OK);
        assert_memory_equal(&back, &shapes[i], sizeof back);
        for (size_t cut = 0; cut < length; cut++)
            assert_int_equal(quern__npy_read(header, cut, &back, &err), QUERN_EFORMAT);
    }
}

static void other_spellings(void **state)
{
    static const char *const good[] = {
        "{'descr': '<f2', 'fortran_order': False, 'shape': (3, 80), }\n",
        "{\"shape\": (3, 80,), \"descr\": \"<f2\", \"fortran_order\": False}   \n",
        "{ 'shape' : ( 3 , 80 ) ,'fortran_order':False,'descr':'<f2'}\n"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        quern__npy a;
        quern_error err = {0};
        assert_int_equal(read_text(good[i], &a, &err), QUERN_OK);
        assert_true(a.rows == 3 && a.dimensions == 80 && a.width == 2);
    }
}

static void refused(void **state)
{
    static const char *const bad[] = {
        "",
        "\n",
        "{}\n",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (3, 80)}",
        "{'descr': '>f2', 'fortran_order': False, 'shape': (3, 80)}\n",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 80)}\n",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3, 80)}\n",
        "{'descr': '<f2', 'fortran_order': True, 'shape': (3, 80)}\n",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (3,)}\n",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (3, 80, 1)}\n",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (-3, 80)}\n",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (03, 80)}\n",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (9223372036854775808, 80)}\n",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (3, 4294967296)}\n",
        "{'descr': '<f2', 'fortran_order': False}\n",
        "{'descr': '<f2', 'descr': '<f2', 'fortran_order': False, 'shape': (3, 80)}\n",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (3, 80), 'more': 1}\n",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (3, 80)} x\n",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (3, 80\n",
        "{'descr: '<f2', 'fortran_order': False, 'shape': (3, 80)}\n"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        quern__npy a;
        quern_error err = {0};
        int rc = read_text(bad[i], &a, &err);
        if (rc != QUERN_EFORMAT || !err.msg[0])
            fail_msg("%s: %d", bad[i], rc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ours_is_read),
                                       cmocka_unit_test(other_spellings),
                                       cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
