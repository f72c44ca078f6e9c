/* Files, names, mappings and locks, in a folder of their own; locks between processes. */
#define _GNU_SOURCE
#include "unit.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/os.h"
#include "torture/torture.h"

static char home[] = "/tmp/quern-files-XXXXXX";

/* home/NAME, in one of a few static places. */
static const char *in_home(const char *name)
{
    static char paths[4][300];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", home, name);
    return path;
}

static void put(const char *name, const char *text)
{
    quern_error err;
    assert_ok(err, quern__write_file_atomic(in_home(name), text, strlen(text), &err));
}

static void assert_holds(const char *name, const char *text)
{
    quern_error err;
    char *data;
    size_t size;
    assert_ok(err, quern__read_file(in_home(name), 1 << 20, &data, &size, &err));
    assert_int_equal(size, strlen(text));
    assert_string_equal(data, text);
    quern__free(data);
}

static int count_entry(void *ud, const char *name)
{
    quern__buf *b = ud;
    quern__buf_printf(b, "%s;", name);
    return strcmp(name, "stop") == 0 ? 7 : 0;
}

static void assert_lists(const char *name, const char *want)
{
    quern_error err;
    quern__buf b;
    quern__buf_init(&b, 10000);
    quern__buf_puts(&b, "");
    assert_ok(err, quern__list_dir(in_home(name), count_entry, &b, &err));
    assert_string_equal(b.data, want);
    quern__buf_dispose(&b);
}

static void test_atomic_write(void **state)
{
    (void)state;
    quern_error err;
    put("a", "one");
    assert_holds("a", "one");
    put("a", "");
    assert_holds("a", "");
    assert_int_equal(chmod(in_home("a"), 0600), 0);
    put("a", "two");
    assert_holds("a", "two");
    struct stat st;
    assert_int_equal(stat(in_home("a"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600); /* the mode outlives the replacement */
    assert_fails(QUERN_ENOTFOUND, err, quern__write_file_atomic(in_home("no/a"), "x", 1, &err));
    assert_ok(err, quern__make_dirs(in_home("dir"), &err));
    assert_fails(QUERN_EIO, err, quern__write_file_atomic(in_home("dir"), "x", 1, &err));
    assert_lists("", "a;dir;"); /* no temporary file is left */
    assert_ok(err, quern__remove_tree(in_home("dir"), &err));
}

/* A reader meanwhile sees the old bytes or the new ones, never a mixture. */
static void test_atomic_under_readers(void **state)
{
    (void)state;
    char *large[2];
    quern_error err;
    for (int i = 0; i < 2; i++) {
        large[i] = malloc(100001);
        memset(large[i], 'A' + i, 100000);
        large[i][100000] = '\0';
    }
    put("big", large[0]);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        for (int i = 0; i < 40; i++)
            if (quern__write_file_atomic(in_home("big"), large[i % 2], 100000, NULL) != QUERN_OK)
                _exit(1);
        _exit(0);
    }
    for (int i = 0; i < 400; i++) {
        char *data;
        size_t size;
        assert_ok(err, quern__read_file(in_home("big"), 200000, &data, &size, &err));
        assert_int_equal(size, 100000);
        assert_int_equal(data[0], data[99999]);
        assert_int_equal(data[0], data[50000]);
        quern__free(data);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    free(large[0]);
    free(large[1]);
    assert_ok(err, quern__remove_file(in_home("big"), &err));
}

static void test_read(void **state)
{
    (void)state;
    quern_error err;
    char *data;
    size_t size;
    put("r", "12345");
    assert_fails(QUERN_EFORMAT, err, quern__read_file(in_home("r"), 4, &data, &size, &err));
    assert_non_null(strstr(err.msg, "5 bytes"));
    assert_non_null(strstr(err.msg, "4"));
    assert_null(data);
    assert_ok(err, quern__read_file(in_home("r"), 5, &data, &size, &err));
    quern__free(data);
    assert_fails(QUERN_ENOTFOUND, err, quern__read_file(in_home("none"), 5, &data, &size, &err));
    assert_fails(QUERN_EIO, err, quern__read_file(home, 5, &data, &size, &err));
    assert_fails(QUERN_EIO, err, quern__read_file("/dev/zero", 5, &data, &size, &err));
    assert_int_equal(mkfifo(in_home("fifo"), 0600), 0);
    assert_fails(QUERN_EIO, err, quern__read_file(in_home("fifo"), 5, &data, &size, &err));
    quern__map m;
    assert_fails(QUERN_EIO, err, quern__map_open(&m, in_home("fifo"), &err)); /* does not wait */
    assert_ok(err, quern__remove_file(in_home("fifo"), &err));
}

static void test_streams(void **state)
{
    (void)state;
    quern_error err;
    quern__file *f;
    char text[16];
    size_t got;
    assert_ok(err, quern__file_open(&f, in_home("s"), QUERN__FILE_WRITE, &err));
    assert_ok(err, quern__file_write(f, "hello", 5, &err));
    assert_ok(err, quern__file_sync(f, &err));
    assert_fails(QUERN_EIO, err, quern__file_read(f, text, 4, &got, &err));
    assert_ok(err, quern__file_close(f, &err));
    assert_ok(err, quern__file_open(&f, in_home("s"), QUERN__FILE_APPEND, &err));
    assert_ok(err, quern__file_write(f, "!!", 2, &err));
    assert_ok(err, quern__file_close(f, &err));
    assert_holds("s", "hello!!");
    assert_ok(err, quern__file_open(&f, in_home("s"), QUERN__FILE_READ, &err));
    assert_ok(err, quern__file_read(f, text, sizeof text, &got, &err));
    assert_int_equal(got, 7);
    assert_ok(err, quern__file_read(f, text, sizeof text, &got, &err));
    assert_int_equal(got, 0);
    assert_ok(err, quern__file_close(f, &err));
    assert_ok(err, quern__file_close(NULL, &err));
    assert_fails(QUERN_EIO, err, quern__file_open(&f, home, QUERN__FILE_READ, &err));
    assert_fails(QUERN_ENOTFOUND, err,
                 quern__file_open(&f, in_home("none"), QUERN__FILE_READ, &err));
    assert_fails(QUERN_EINVAL, err, quern__file_open(&f, in_home("s"), 3, &err));
    assert_ok(err, quern__file_open(&f, "/dev/full", QUERN__FILE_WRITE, &err));
    assert_fails(QUERN_EIO, err, quern__file_write(f, "x", 1, &err)); /* the disk is full */
    assert_ok(err, quern__file_close(f, &err));
}

static void test_map(void **state)
{
    (void)state;
    quern_error err;
    quern__map m;
    const size_t size = 3 * 4096 + 17;
    char *data = malloc(size);
    for (size_t i = 0; i < size; i++)
        data[i] = (char)(i * 7);
    assert_ok(err, quern__write_file_atomic(in_home("m"), data, size, &err));
    assert_ok(err, quern__map_open(&m, in_home("m"), &err));
    assert_int_equal(m.size, size);
    assert_memory_equal(m.data, data, size);
    quern__map_forget(&m, 100, size); /* what is forgotten is read again when it is touched */
    quern__map_forget(&m, size + 5, 10);
    quern__map_forget(&m, 1, SIZE_MAX);
    assert_memory_equal(m.data, data, size);
    put("m", "replaced"); /* by renaming: the mapping keeps the old bytes */
    assert_memory_equal(m.data, data, size);
    quern__map_close(&m);
    quern__map_close(&m);
    put("m", "");
    assert_ok(err, quern__map_open(&m, in_home("m"), &err));
    assert_null(m.data);
    assert_int_equal(m.size, 0);
    quern__stat now; /* a file of nothing is a file */
    assert_ok(err, quern__stat_path(in_home("m"), &now, &err));
    assert_true(m.file.is_file && quern__stat_same(&m.file, &now));
    quern__map_forget(&m, 0, 10);
    quern__map_close(&m);
    assert_fails(QUERN_ENOTFOUND, err, quern__map_open(&m, in_home("none"), &err));
    assert_fails(QUERN_EIO, err, quern__map_open(&m, home, &err));
    assert_fails(QUERN_EIO, err, quern__map_open(&m, "/dev/null", &err));
    free(data);
}

static void test_names(void **state)
{
    (void)state;
    quern_error err;
    quern__stat st;
    assert_ok(err, quern__make_dirs(in_home("t/u/v"), &err));
    assert_ok(err, quern__make_dirs(in_home("t/u/v"), &err));
    assert_ok(err, quern__make_dirs(in_home("t//u/w/"), &err));
    put("t/f", "12");
    assert_fails(QUERN_EIO, err, quern__make_dirs(in_home("t/f/g"), &err));
    assert_fails(QUERN_EIO, err, quern__make_dirs(in_home("t/f"), &err));
    assert_fails(QUERN_EINVAL, err, quern__make_dirs("", &err));
    assert_ok(err, quern__stat_path(in_home("t/f"), &st, &err));
    assert_true(st.exists && st.is_file && !st.is_dir && !st.is_link && st.size == 2 && st.inode);
    assert_true(st.mtime_ns > INT64_C(1700000000000000000));
    assert_ok(err, quern__stat_path(in_home("t"), &st, &err));
    assert_true(st.exists && st.is_dir && !st.is_file);
    assert_ok(err, quern__stat_path(in_home("t/none"), &st, &err));
    assert_false(st.exists);
    assert_ok(err, quern__stat_path(in_home("t/f/x"), &st, &err));
    assert_false(st.exists);
    put("outside", "kept");
    assert_int_equal(symlink("../outside", in_home("t/link")), 0);
    assert_int_equal(symlink("nowhere", in_home("t/broken")), 0);
    assert_int_equal(symlink("..", in_home("t/up")), 0);
    assert_ok(err, quern__stat_path(in_home("t/link"), &st, &err));
    assert_true(st.exists && st.is_file && st.is_link && st.size == 4);
    assert_ok(err, quern__stat_path(in_home("t/broken"), &st, &err));
    assert_true(!st.exists && st.is_link);
    assert_lists("t", "broken;f;link;u;up;");
    char *real;
    assert_ok(err, quern__real_path(in_home("t/u/../link"), &real, &err));
    assert_string_equal(strrchr(real, '/'), "/outside");
    quern__free(real);
    assert_fails(QUERN_ENOTFOUND, err, quern__real_path(in_home("t/broken"), &real, &err));
    assert_ok(err, quern__rename(in_home("t/f"), in_home("t/g"), &err));
    assert_fails(QUERN_ENOTFOUND, err, quern__rename(in_home("t/f"), in_home("t/g"), &err));
    assert_ok(err, quern__remove_tree(in_home("t"), &err));
    assert_holds("outside", "kept"); /* links were removed, not followed */
    assert_ok(err, quern__remove_tree(in_home("t"), &err));
    assert_ok(err, quern__remove_tree(in_home("outside"), &err));
    assert_ok(err, quern__remove_file(in_home("outside"), &err));
    assert_fails(QUERN_EIO, err, quern__remove_file(home, &err));
    assert_fails(QUERN_ENOTFOUND, err, quern__list_dir(in_home("t"), count_entry, NULL, &err));
    assert_fails(QUERN_ENOTFOUND, err, quern__sync_dir(in_home("t"), &err));
    quern__buf b;
    quern__buf_init(&b, 1000);
    put("stop", "");
    put("zzz", "");
    assert_int_equal(quern__list_dir(home, count_entry, &b, &err), 7);
    assert_null(strstr(b.data, "zzz"));
    quern__buf_dispose(&b);
}

static void test_deep_tree(void **state)
{
    (void)state;
    quern_error err;
    char path[1500];
    int n = snprintf(path, sizeof path, "%s/deep", home);
    for (int i = 0; i < 100; i++)
        n += snprintf(path + n, sizeof path - (size_t)n, "/d%d", i);
    assert_ok(err, quern__make_dirs(path, &err));
    assert_ok(err, quern__remove_tree(in_home("deep"), &err));
}

static void test_lock(void **state)
{
    (void)state;
    quern_error err;
    quern__lock *l, *second;
    const char *path = in_home("lock");
    assert_ok(err, quern__lock_file(&l, path, 0, &err));
    assert_fails(QUERN_EBUSY, err, quern__lock_file(&second, path, 0, &err));
    assert_null(second);
    char pid[32];
    snprintf(pid, sizeof pid, "(%u)", quern__os_pid());
    assert_non_null(strstr(err.msg, pid));
    uint64_t before = quern__now_ns();
    assert_fails(QUERN_EBUSY, err, quern__lock_file(&second, path, 50, &err));
    assert_true(quern__now_ns() - before >= 50000000);
    quern__unlock_file(l);
    quern__unlock_file(NULL);
    assert_ok(err, quern__lock_file(&l, path, 0, &err));
    quern__unlock_file(l);
    assert_fails(QUERN_ENOTFOUND, err, quern__lock_file(&l, in_home("no/lock"), 0, &err));
}

/* A child holds it; while it lives we wait, when it dies (by kill) the lock is free. */
static void test_lock_between_processes(void **state)
{
    (void)state;
    quern_error err;
    quern__lock *l;
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (quern__lock_file(&l, in_home("lock2"), 0, NULL) != QUERN_OK)
            _exit(1);
        if (write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_fails(QUERN_EBUSY, err, quern__lock_file(&l, in_home("lock2"), 0, &err));
    assert_int_equal(err.detail, child);
    kill(child, SIGKILL);
    assert_ok(err, quern__lock_file(&l, in_home("lock2"), 5000, &err));
    quern__unlock_file(l);
    int status;
    waitpid(child, &status, 0);
    close(ready[0]);
    close(ready[1]);
}

static void test_process(void **state)
{
    (void)state;
    char name[64], one[1];
    assert_int_equal(quern__os_pid(), getpid());
    quern__os_hostname(name, sizeof name);
    assert_true(strlen(name) > 0);
    quern__os_hostname(one, 1);
    assert_int_equal(one[0], 0);
    assert_true(quern__os_entropy() != quern__os_entropy());
    setenv("QUERN_TEST_EMPTY", "", 1);
    assert_null(quern__env("QUERN_TEST_EMPTY"));
    assert_null(quern__env("QUERN_TEST_UNSET"));
    setenv("QUERN_TEST_EMPTY", "v", 1);
    assert_string_equal(quern__env("QUERN_TEST_EMPTY"), "v");
}

static int torture_body(void *ud, quern_error *err)
{
    (void)ud;
    char *data = NULL, *real = NULL;
    size_t size;
    quern__file *f = NULL;
    quern__lock *l = NULL;
    quern__buf b;
    quern__buf_init(&b, 10000);
    int rc = quern__write_file_atomic(in_home("torture"), "text", 4, err);
    if (rc == QUERN_OK)
        rc = quern__read_file(in_home("torture"), 10, &data, &size, err);
    if (rc == QUERN_OK)
        rc = quern__file_open(&f, in_home("torture"), QUERN__FILE_READ, err);
    if (rc == QUERN_OK)
        rc = quern__real_path(in_home("torture"), &real, err);
    if (rc == QUERN_OK)
        rc = quern__lock_file(&l, in_home("torture.lock"), 0, err);
    if (rc == QUERN_OK)
        rc = quern__list_dir("/usr", count_entry, &b, err);
    quern__buf_dispose(&b);
    quern__unlock_file(l);
    quern__free(real);
    quern__file_close(f, NULL);
    quern__free(data);
    return rc;
}

static void test_torture(void **state)
{
    (void)state;
    assert_true(torture_run(torture_body, NULL) >= 8);
    assert_holds("torture", "text");
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(home) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return quern__remove_tree(home, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_atomic_write),
        cmocka_unit_test(test_atomic_under_readers),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_deep_tree),
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_lock_between_processes),
        cmocka_unit_test(test_process),
        cmocka_unit_test(test_torture),
    };
    torture_install();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
