/* Memory with no hook set: large pages come from the kernel and go back to it. */
#include "unit.h"

#include "base/alloc.h"
#include "base/os.h"

static void test_pages(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 4096, 1 << 20, (2 << 20) + 1, 9 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *p = quern__alloc_pages(sizes[i]);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t k = 0; k < sizes[i]; k += 511)
            assert_int_equal(p[k], 0);
        memset(p, 1, sizes[i]);
        quern__free_pages(p, sizes[i]);
    }
    assert_null(quern__alloc_pages(SIZE_MAX));
    assert_null(quern__alloc_pages(SIZE_MAX - (4 << 20)));
}

static void test_pages_go_back(void **state)
{
    (void)state;
    const size_t size = 64 << 20;
    uint64_t before = quern__os_resident();
    assert_true(before > 0);
    char *p = quern__alloc_pages(size);
    assert_non_null(p);
    for (size_t k = 0; k < size; k += 4096)
        p[k] = 1;
    assert_true(quern__os_resident() >= before + size * 9 / 10);
    quern__free_pages(p, size);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(quern__os_resident() < before + size / 2);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_pages_go_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
