/*
 * os_map.c — read-only file mappings, and large zeroed memory. A file that is cut short by somebody
 * else while it is mapped ends the process with SIGBUS; model files are replaced by renaming, never
 * rewritten in place, which keeps the mapped bytes alive.
 */
#define _GNU_SOURCE
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"

static const size_t huge = (size_t)2 << 20;

static quern__stat stat_of(const struct stat *st)
{
    return (quern__stat){.exists = true,
                         .is_file = true,
                         .size = (uint64_t)st->st_size,
                         .inode = (uint64_t)st->st_ino,
                         .device = (uint64_t)st->st_dev,
                         .mtime_ns =
                             (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec};
}

int quern__map_open(quern__map *m, const char *path, quern_error *err)
{
    struct stat st;
    *m = (quern__map){0};
    /* O_NONBLOCK: opening a pipe must not wait for its writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = QUERN_OK;
    if (fd < 0)
        return quern__fail_errno(err, errno, "%s: cannot open", path);
    if (fstat(fd, &st) != 0)
        rc = quern__fail_errno(err, errno, "%s: cannot read its size", path);
    else if (!S_ISREG(st.st_mode))
        rc = quern__fail(err, QUERN_EIO, 0, "%s: not a regular file", path);
    if (rc == QUERN_OK)
        m->file = stat_of(&st);
    if (rc == QUERN_OK && st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            rc = quern__fail_errno(err, errno, "%s: cannot map %lld bytes", path,
                                   (long long)st.st_size);
        } else {
            m->handle = p;
            m->data = p;
            m->size = (size_t)st.st_size;
        }
    }
    close(fd);
    return rc;
}

int quern__map_open_own(quern__map *m, const char *path, quern_error *err)
{
    struct stat st;
    *m = (quern__map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW), rc = QUERN_OK;
    if (fd < 0)
        return quern__fail_errno(err, errno, "%s: cannot open", path);
    if (fstat(fd, &st) != 0)
        rc = quern__fail_errno(err, errno, "%s: cannot read its size", path);
    else if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
        rc = quern__fail(err, QUERN_EIO, 0, "%s: not a file of this user's alone", path);
    if (rc == QUERN_OK && st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
        if (p == MAP_FAILED) {
            rc = quern__fail_errno(err, errno, "%s: cannot map %lld bytes", path,
                                   (long long)st.st_size);
        } else {
            madvise(p, (size_t)st.st_size, MADV_HUGEPAGE); /* advice, where files have them */
            m->handle = p;
            m->data = p;
            m->size = (size_t)st.st_size;
        }
    }
    close(fd);
    return rc;
}

void quern__map_close(quern__map *m)
{
    if (m->handle)
        munmap(m->handle, m->size);
    *m = (quern__map){0};
}

void quern__map_forget(const quern__map *m, size_t offset, size_t length)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!m->handle || offset >= m->size)
        return;
    size_t end = length < m->size - offset ? offset + length : m->size;
    size_t start = (offset + page - 1) / page * page;
    end = end == m->size ? end : end / page * page; /* only pages that are wholly inside */
    if (start < end)
        madvise((char *)m->handle + start, end - start, MADV_DONTNEED);
}

void *quern__os_pages_alloc(size_t size)
{
    size_t rounded, room;
    if (!quern__add_size(size, huge - 1, &rounded))
        return NULL;
    rounded = rounded / huge * huge;
    if (!quern__add_size(rounded, huge, &room))
        return NULL;
    char *p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    /* Cut to the aligned part: the kernel keeps what lies between. */
    size_t before = (huge - (uintptr_t)p % huge) % huge;
    if (before)
        munmap(p, before);
    munmap(p + before + rounded, huge - before);
    madvise(p + before, rounded, MADV_HUGEPAGE); /* advice: a kernel without it changes nothing */
    return p + before;
}

void quern__os_pages_free(void *p, size_t size)
{
    munmap(p, (size + huge - 1) / huge * huge);
}
