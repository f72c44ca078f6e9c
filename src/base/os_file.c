/*
 * os_file.c — files. Everything written goes through write_all, which survives signals and short
 * writes; everything that must be whole is written beside its name, synced and renamed.
 */
#define _GNU_SOURCE
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"

struct quern__file {
    int fd;
    bool borrowed;
    char *path;
};

/* ---- open files ---- */

static int new_file(quern__file **out, int fd, bool borrowed, const char *path, quern_error *err)
{
    quern__file *f = quern__alloc(sizeof *f);
    char *name = quern__strdup(path);
    if (!f || !name) {
        quern__free(f);
        quern__free(name);
        if (!borrowed)
            close(fd);
        return quern__fail_memory(err, sizeof *f + strlen(path));
    }
    *f = (quern__file){fd, borrowed, name};
    *out = f;
    return QUERN_OK;
}

int quern__file_open(quern__file **out, const char *path, int mode, quern_error *err)
{
    static const int flags[] = {O_RDONLY, O_WRONLY | O_CREAT | O_TRUNC,
                                O_WRONLY | O_CREAT | O_APPEND};
    *out = NULL;
    QUERN__REQUIRE(mode >= QUERN__FILE_READ && mode <= QUERN__FILE_APPEND, err);
    int fd = open(path, flags[mode] | O_CLOEXEC, 0666);
    if (fd < 0)
        return quern__fail_errno(err, errno, "%s: cannot open", path);
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        close(fd);
        return quern__fail(err, QUERN_EIO, EISDIR, "%s: is a directory", path);
    }
    return new_file(out, fd, false, path, err);
}

int quern__file_stdin(quern__file **out, quern_error *err)
{
    *out = NULL;
    return new_file(out, STDIN_FILENO, true, "standard input", err);
}

int quern__file_read(quern__file *f, void *buf, size_t n, size_t *got, quern_error *err)
{
    ssize_t r;
    *got = 0;
    do
        r = read(f->fd, buf, n < SSIZE_MAX ? n : SSIZE_MAX);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return quern__fail_errno(err, errno, "%s: cannot read", f->path);
    *got = (size_t)r;
    return QUERN_OK;
}

/* 0, or the errno of the write that failed. */
static int write_all(int fd, const void *data, size_t n)
{
    const char *at = data;
    while (n) {
        ssize_t w = write(fd, at, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return errno;
        at += w;
        n -= (size_t)w;
    }
    return 0;
}

int quern__file_write(quern__file *f, const void *buf, size_t n, quern_error *err)
{
    int e = write_all(f->fd, buf, n);
    return e ? quern__fail_errno(err, e, "%s: cannot write", f->path) : QUERN_OK;
}

int quern__file_write_at(quern__file *f, uint64_t offset, const void *buf, size_t n,
                         quern_error *err)
{
    const char *at = buf;
    while (n) {
        ssize_t w = pwrite(f->fd, at, n, (off_t)offset);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return quern__fail_errno(err, errno, "%s: cannot write", f->path);
        at += w;
        n -= (size_t)w;
        offset += (uint64_t)w;
    }
    return QUERN_OK;
}

int quern__file_sync(quern__file *f, quern_error *err)
{
    if (fsync(f->fd) != 0)
        return quern__fail_errno(err, errno, "%s: cannot sync", f->path);
    return QUERN_OK;
}

int quern__file_close(quern__file *f, quern_error *err)
{
    int rc = QUERN_OK;
    if (!f)
        return QUERN_OK;
    if (!f->borrowed && close(f->fd) != 0 && errno != EINTR)
        rc = quern__fail_errno(err, errno, "%s: cannot close", f->path);
    quern__free(f->path);
    quern__free(f);
    return rc;
}

/* ---- whole files ---- */

static int read_open(int fd, const char *path, size_t max, char **data, size_t *size,
                     quern_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return quern__fail_errno(err, errno, "%s: cannot read its size", path);
    if (!S_ISREG(st.st_mode))
        return quern__fail(err, QUERN_EIO, 0, "%s: not a regular file", path);
    if ((uint64_t)st.st_size > max)
        return quern__fail(err, QUERN_EFORMAT, 0, "%s: %lld bytes, at most %zu are read", path,
                           (long long)st.st_size, max);
    size_t want = (size_t)st.st_size, used = 0;
    char *text = quern__alloc(want + 1);
    if (!text)
        return quern__fail_memory(err, want + 1);
    while (used < want) {
        ssize_t n = read(fd, text + used, want - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int e = errno;
            quern__free(text);
            return quern__fail_errno(err, e, "%s: cannot read", path);
        }
        if (n == 0)
            break; /* cut short meanwhile: what is there is what it holds */
        used += (size_t)n;
    }
    text[used] = '\0';
    *data = text;
    *size = used;
    return QUERN_OK;
}

int quern__read_file(const char *path, size_t max, char **data, size_t *size, quern_error *err)
{
    *data = NULL;
    *size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return quern__fail_errno(err, errno, "%s: cannot open", path);
    int rc = read_open(fd, path, max, data, size, err);
    close(fd);
    return rc;
}

/* "DIR/.NAME.PID-N.tmp": beside the target, so that the rename stays within one file system. */
static int temporary_name(quern__buf *out, const char *path, quern_error *err)
{
    static atomic_uint serial;
    const char *slash = strrchr(path, '/');
    int dir = slash ? (int)(slash + 1 - path) : 0;
    quern__buf_clear(out);
    quern__buf_printf(out, "%.*s.%s.%ld-%u.tmp", dir, path, path + dir, (long)getpid(),
                      atomic_fetch_add(&serial, 1));
    return quern__buf_ok(out, "file name", err);
}

static int fill_temporary(int fd, const char *path, const void *data, size_t size, quern_error *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
        (void)fchmod(fd, st.st_mode & 0777); /* the target's mode outlives its replacement */
    int e = write_all(fd, data, size);
    if (e)
        return quern__fail_errno(err, e, "%s: cannot write", path);
    if (fsync(fd) != 0)
        return quern__fail_errno(err, errno, "%s: cannot sync", path);
    return QUERN_OK;
}

int quern__write_file_atomic(const char *path, const void *data, size_t size, quern_error *err)
{
    quern__buf temp;
    quern__buf_init(&temp, PATH_MAX);
    int rc = temporary_name(&temp, path, err);
    if (rc != QUERN_OK)
        goto done;
    int fd = open(temp.data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
        rc = quern__fail_errno(err, errno, "%s: cannot create", path);
        goto done;
    }
    rc = fill_temporary(fd, path, data, size, err);
    if (close(fd) != 0 && errno != EINTR && rc == QUERN_OK)
        rc = quern__fail_errno(err, errno, "%s: cannot write", path);
    if (rc == QUERN_OK)
        rc = quern__rename(temp.data, path, err);
    if (rc != QUERN_OK)
        unlink(temp.data);
done:
    quern__buf_dispose(&temp);
    return rc;
}

static int write_parts(int fd, const char *path, const void *const part[2], const size_t size[2],
                       quern_error *err)
{
    for (int i = 0; i < 2; i++)
        for (size_t at = 0; at < size[i];) {
            const ssize_t n = write(fd, (const char *)part[i] + at, size[i] - at);
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return quern__fail_errno(err, n < 0 ? errno : EIO, "%s: cannot write", path);
            at += (size_t)n;
        }
    return QUERN_OK;
}

int quern__write_file_private(const char *path, const void *head, size_t head_size,
                              const void *data, size_t size, quern_error *err)
{
    const void *const part[2] = {head, data};
    const size_t sizes[2] = {head_size, size};
    quern__buf temp;
    quern__buf_init(&temp, PATH_MAX);
    int fd = -1, rc = temporary_name(&temp, path, err);
    if (rc == QUERN_OK) {
        fd = open(temp.data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        rc = fd < 0 ? quern__fail_errno(err, errno, "%s: cannot create", path)
                    : write_parts(fd, path, part, sizes, err);
    }
    if (fd >= 0 && close(fd) != 0 && errno != EINTR && rc == QUERN_OK)
        rc = quern__fail_errno(err, errno, "%s: cannot write", path);
    if (rc == QUERN_OK && rename(temp.data, path) != 0)
        rc = quern__fail_errno(err, errno, "%s: cannot put in place", path);
    if (rc != QUERN_OK && fd >= 0)
        unlink(temp.data);
    quern__buf_dispose(&temp);
    return rc;
}

/* ---- locks ---- */

struct quern__lock {
    int fd;
};

/* Who holds it, for the message: the holder's process number stands in the file. */
static int lock_is_held(int fd, const char *path, quern_error *err)
{
    char text[24] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    if (pid > 0)
        return quern__fail(err, QUERN_EBUSY, pid, "%s: held by another process (%ld)", path, pid);
    return quern__fail(err, QUERN_EBUSY, 0, "%s: held by another process", path);
}

int quern__lock_file(quern__lock **out, const char *path, uint32_t wait_ms, quern_error *err)
{
    enum { POLL_MS = 10 };
    uint64_t deadline = quern__now_ns() + (uint64_t)wait_ms * 1000000;
    int rc = QUERN_OK;
    *out = NULL;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return quern__fail_errno(err, errno, "%s: cannot open the lock file", path);
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR)
            continue;
        if (errno != EWOULDBLOCK)
            rc = quern__fail_errno(err, errno, "%s: cannot lock", path);
        else if (quern__now_ns() >= deadline)
            rc = lock_is_held(fd, path, err);
        if (rc != QUERN_OK)
            goto failed;
        quern__sleep_ms(POLL_MS);
    }
    quern__lock *l = quern__alloc(sizeof *l);
    if (!l) {
        rc = quern__fail_memory(err, sizeof *l);
        goto failed;
    }
    char text[24];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) == 0)
        (void)!pwrite(fd, text, (size_t)n, 0); /* only for the message: the lock is the kernel's */
    l->fd = fd;
    *out = l;
    return QUERN_OK;
failed:
    close(fd);
    return rc;
}

void quern__unlock_file(quern__lock *l)
{
    if (!l)
        return;
    (void)!ftruncate(l->fd, 0);
    close(l->fd); /* the file stays: removing it would let two holders in */
    quern__free(l);
}
