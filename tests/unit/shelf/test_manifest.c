/*
 * test_manifest.c — quern-manifest.json: what is written reads back, and everything a stranger may put
 * into it (paths that leave the folder, twins, short hashes, other versions) is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/os.h"
#include "format/manifest.h"

#define HASH "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

static quern__manifest m, back;

static int parse(const char *text)
{
    quern_error err = {0};
    int rc = quern__manifest_parse(&back, text, strlen(text), "quern-manifest.json", &err);
    if (rc) {
        assert_int_equal(rc, QUERN_EFORMAT);
        assert_non_null(strstr(err.msg, "quern-manifest.json"));
        assert_int_equal(back.n, 0);
    }
    return rc;
}

static void round_trip(void **state)
{
    (void)state;
    char dir[128];
    quern_error err = {0};
    snprintf(dir, sizeof dir, "test-manifest.%u", (unsigned)quern__os_pid());
    assert_int_equal(quern__make_dirs(dir, &err), QUERN_OK);
    assert_int_equal(quern__manifest_read(&back, dir, &err), QUERN_ENOTFOUND);

    memset(&m, 0, sizeof m);
    snprintf(m.name, sizeof m.name, "all-MiniLM-L6-v2");
    snprintf(m.origin, sizeof m.origin, "folder /a \"b\"\\c");
    snprintf(m.imported_at, sizeof m.imported_at, "2026-11-21T10:20:30.123Z");
    assert_int_equal(quern__manifest_add(&m, "model.safetensors", HASH, 90868376, -5, &err), 0);
    assert_int_equal(quern__manifest_add(&m, "1_Pooling/config.json", HASH, 0, INT64_MAX, &err), 0);
    assert_int_equal(quern__manifest_add(&m, "model.safetensors", HASH, 1, 1, &err), QUERN_EINVAL);
    assert_int_equal(quern__manifest_add(&m, "../x", HASH, 1, 1, &err), QUERN_EINVAL);
    assert_int_equal(quern__manifest_add(&m, "x", "53aa", 1, 1, &err), QUERN_EINVAL);
    assert_int_equal(quern__manifest_write(&m, dir, &err), QUERN_OK);
    assert_int_equal(quern__manifest_read(&back, dir, &err), QUERN_OK);
    assert_memory_equal(&m, &back, sizeof m);

    const quern__manifest_file *f = quern__manifest_find(&back, "model.safetensors");
    assert_non_null(f);
    quern__stat st = {.size = 90868376, .mtime_ns = -5, .exists = true, .is_file = true};
    assert_true(quern__manifest_agrees(f, &st));
    st.mtime_ns = -4;
    assert_false(quern__manifest_agrees(f, &st));
    st.mtime_ns = -5;
    st.size--;
    assert_false(quern__manifest_agrees(f, &st));
    assert_null(quern__manifest_find(&back, "vocab.txt"));
    assert_int_equal(quern__remove_tree(dir, &err), QUERN_OK);
}

static void full_table(void **state)
{
    (void)state;
    quern_error err = {0};
    char name[32];
    memset(&m, 0, sizeof m);
    for (int i = 0; i < QUERN__MANIFEST_FILES; i++) {
        snprintf(name, sizeof name, "file-%d", i);
        assert_int_equal(quern__manifest_add(&m, name, HASH, 1, 1, &err), QUERN_OK);
    }
    assert_int_equal(quern__manifest_add(&m, "one-more", HASH, 1, 1, &err), QUERN_EINVAL);
}

static void hostile(void **state)
{
    (void)state;
#define ENTRY "{\"sha256\":\"" HASH "\",\"size\":1,\"mtime_ns\":2}"
    assert_int_equal(parse("{\"version\":1,\"files\":{\"a\":" ENTRY "}}"), QUERN_OK);
    assert_int_equal(parse("{\"version\":1,\"later\":[{}],\"files\":{}}"), QUERN_OK);
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"files\":{}}",
        "{\"version\":2,\"files\":{}}",
        "{\"version\":1,\"files\":{}} x",
        "{\"version\":1,\"files\":{\"a\":" ENTRY ",\"a\":" ENTRY "}}",
        "{\"version\":1,\"files\":{\"../a\":" ENTRY "}}",
        "{\"version\":1,\"files\":{\"/etc/passwd\":" ENTRY "}}",
        "{\"version\":1,\"files\":{\"a/../../b\":" ENTRY "}}",
        "{\"version\":1,\"files\":{\"a\\u0000b\":" ENTRY "}}",
        "{\"version\":1,\"files\":{\"\":" ENTRY "}}",
        "{\"version\":1,\"files\":{\"a\":{\"size\":1,\"mtime_ns\":2}}}",
        "{\"version\":1,\"files\":{\"a\":{\"sha256\":\"" HASH "\",\"size\":-1,\"mtime_ns\":2}}}",
        "{\"version\":1,\"files\":{\"a\":{\"sha256\":\"53AA\",\"size\":1,\"mtime_ns\":2}}}",
        "{\"version\":1,\"files\":{\"a\":{\"sha256\":\"" HASH "0\",\"size\":1,\"mtime_ns\":2}}}",
        "{\"version\":1,\"name\":\"a\\u0000b\",\"files\":{}}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (parse(bad[i]) == QUERN_OK)
            fail_msg("accepted: %s", bad[i]);
}

static void paths(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "1_Pooling/config.json", "..a", "a..", "a/.b"};
    static const char *const bad[] = {"",     "/",    "/a",    "a/",   "a//b", ".",   "..",
                                      "a/..", "../a", "a/./b", "a\\b", "c:x",  "a\n", "\x7f"};
    char long_name[QUERN__MANIFEST_PATH + 1];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(quern__manifest_path_ok(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(quern__manifest_path_ok(bad[i]));
    memset(long_name, 'a', sizeof long_name);
    long_name[QUERN__MANIFEST_PATH] = 0;
    assert_false(quern__manifest_path_ok(long_name));
    assert_true(quern__manifest_path_ok(long_name + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(full_table),
        cmocka_unit_test(hostile),
        cmocka_unit_test(paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
