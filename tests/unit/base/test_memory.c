/* The allocator hook, arena, buffer and checked sizes, each also with every allocation failing. */
#include "unit.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/cancel.h"
#include "base/checked.h"
#include "base/sha256.h"
#include "torture/torture.h"

static void test_hook_rules(void **state)
{
    (void)state;
    quern_error err;
    void *p = quern__alloc(1);
    assert_non_null(p);
    assert_fails(QUERN_EBUSY, err, quern_set_allocator(NULL, &err)); /* too late once used */
    long before = atomic_load(&torture.live);
    quern_free(p);
    quern_free(NULL);
    assert_int_equal(atomic_load(&torture.live), before - 1);
}

static void test_alloc(void **state)
{
    (void)state;
    assert_null(quern__alloc_array(SIZE_MAX / 2, 3));
    assert_null(quern__calloc(SIZE_MAX / 2, 3));
    assert_null(quern__resize_array(NULL, SIZE_MAX / 2, 3));
    assert_null(quern__strndup("", SIZE_MAX));
    void *p = quern__alloc(0);
    assert_non_null(p);
    p = quern__resize(p, 0);
    assert_non_null(p);
    quern__free(p);
    unsigned char *z = quern__calloc(100, 3);
    for (int i = 0; i < 300; i++)
        assert_int_equal(z[i], 0);
    quern__free(z);
    char *s = quern__strndup("abcdef", 3);
    assert_string_equal(s, "abc");
    quern__free(s);
    s = quern__strdup("");
    assert_string_equal(s, "");
    quern__free(s);
}

static void test_pages(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 64, 100000, (1 << 20) - 1, 1 << 20, (5 << 20) + 3};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *p = quern__alloc_pages(sizes[i]);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t k = 0; k < sizes[i]; k += 997)
            assert_int_equal(p[k], 0);
        if (sizes[i])
            p[sizes[i] - 1] = p[0] = 7;
        quern__free_pages(p, sizes[i]);
    }
    assert_null(quern__alloc_pages(SIZE_MAX));
    quern__free_pages(NULL, 12);
}

static void test_arena(void **state)
{
    (void)state;
    quern__arena a;
    quern__arena_init(&a, 0);
    for (size_t i = 0; i < 3000; i++) {
        unsigned char *p = quern__arena_alloc(&a, i % 301);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        memset(p, 0xAA, i % 301);
    }
    assert_string_equal(quern__arena_copy(&a, "hello", 4), "hell");
    assert_string_equal(quern__arena_copy(&a, NULL, 0), "");
    assert_non_null(quern__arena_alloc(&a, 5 << 20));
    assert_null(quern__arena_alloc(&a, SIZE_MAX));
    assert_null(quern__arena_alloc(&a, SIZE_MAX - 15));
    assert_null(quern__arena_copy(&a, "x", SIZE_MAX));
    quern__arena_dispose(&a);
    quern__arena_init(&a, 100);
    assert_non_null(quern__arena_alloc(&a, 90)); /* rounded to 96 */
    assert_null(quern__arena_alloc(&a, 5));
    quern__arena_dispose(&a);
    assert_non_null(quern__arena_alloc(&a, 5)); /* may be used again */
    quern__arena_dispose(&a);
}

static void test_buf(void **state)
{
    (void)state;
    quern_error err;
    quern__buf b;
    quern__buf_init(&b, 10);
    assert_true(quern__buf_puts(&b, "12345"));
    assert_true(quern__buf_printf(&b, "%d", 6789));
    assert_true(quern__buf_putc(&b, '!'));
    assert_string_equal(b.data, "123456789!");
    assert_int_equal(quern__buf_ok(&b, "x", &err), QUERN_OK);
    assert_true(quern__buf_append(&b, "", 0)); /* full, and nothing more asked for */
    assert_false(quern__buf_putc(&b, 'x'));
    assert_string_equal(b.data, "123456789!");  /* what was there is kept */
    assert_false(quern__buf_append(&b, "", 0)); /* latched */
    assert_fails(QUERN_ENOMEM, err, quern__buf_ok(&b, "the heading", &err));
    assert_non_null(strstr(err.msg, "the heading"));
    assert_non_null(strstr(err.msg, "10"));
    assert_null(quern__buf_detach(&b));
    assert_null(b.data);
    quern__buf_clear(&b);
    char *text = quern__buf_detach(&b);
    assert_string_equal(text, "");
    quern__free(text);
    assert_false(quern__buf_printf(&b, "%s", "12345678901"));
    quern__buf_dispose(&b);

    quern__buf_init(&b, SIZE_MAX);
    assert_null(quern__buf_reserve(&b, SIZE_MAX));
    quern__buf_clear(&b);
    quern__buf_putc(&b, 'x');
    assert_null(quern__buf_reserve(&b, SIZE_MAX));
    quern__buf_dispose(&b);

    quern__buf_init(&b, 1 << 20);
    char *room = quern__buf_reserve(&b, 3);
    memcpy(room, "abc", 3);
    b.len = 3;
    text = quern__buf_detach(&b);
    assert_string_equal(text, "abc");
    quern__free(text);
    for (int i = 0; i < 100000; i++)
        assert_true(quern__buf_putc(&b, 'a' + i % 26));
    assert_int_equal(b.len, 100000);
    assert_int_equal(b.data[99999], 'a' + 99999 % 26);
    quern__buf_dispose(&b);
}

static void test_checked(void **state)
{
    (void)state;
    size_t s = 1;
    uint64_t u = 1;
    assert_true(quern__add_size(SIZE_MAX - 1, 1, &s));
    assert_true(s == SIZE_MAX);
    assert_false(quern__add_size(SIZE_MAX, 1, &s));
    assert_true(s == SIZE_MAX); /* untouched */
    assert_true(quern__mul_size(SIZE_MAX, 1, &s));
    assert_true(quern__mul_size(SIZE_MAX, 0, &s));
    assert_int_equal(s, 0);
    assert_true(quern__mul_size(0, SIZE_MAX, &s));
    assert_false(quern__mul_size((size_t)1 << 33, (size_t)1 << 31, &s));
    assert_true(quern__mul_u64(UINT64_C(1) << 32, UINT32_MAX, &u));
    assert_false(quern__mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &u));
    assert_true(quern__add_u64(UINT64_MAX, 0, &u));
    assert_false(quern__add_u64(UINT64_MAX, UINT64_MAX, &u));
}

static int memory_body(void *ud, quern_error *err)
{
    (void)ud;
    int rc;
    quern__arena a;
    quern__buf b;
    char *text = NULL, *pages = NULL;
    quern_cancel *c = NULL;
    quern__arena_init(&a, 0);
    quern__buf_init(&b, 1 << 20);
    for (int i = 0; i < 20; i++)
        if (!quern__arena_copy(&a, "some text or other", 1 + 900 * (size_t)(i % 2) / 100)) {
            rc = quern__fail_memory(err, 100);
            goto done;
        }
    for (int i = 0; i < 300; i++)
        quern__buf_puts(&b, "some text ");
    rc = quern__buf_ok(&b, "text", err);
    if (rc != QUERN_OK)
        goto done;
    text = quern__buf_detach(&b);
    pages = quern__alloc_pages(3 << 20);
    if (!text || !pages)
        rc = quern__fail_memory(err, 3 << 20);
    else
        rc = quern_cancel_new(&c, err);
done:
    quern_cancel_free(c);
    quern__free_pages(pages, 3 << 20);
    quern__free(text);
    quern__buf_dispose(&b);
    quern__arena_dispose(&a);
    return rc;
}

static void test_torture(void **state)
{
    (void)state;
    assert_true(torture_run(memory_body, NULL) >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hook_rules), cmocka_unit_test(test_alloc),
        cmocka_unit_test(test_pages),      cmocka_unit_test(test_arena),
        cmocka_unit_test(test_buf),        cmocka_unit_test(test_checked),
        cmocka_unit_test(test_torture),
    };
    quern_error err;
    quern_allocator half = {0};
    if (quern_set_allocator(&half, &err) != QUERN_EINVAL ||
        quern_set_allocator(NULL, &err) != QUERN_OK)
        return 1;
    torture_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
