/*
 * os_path.c — names: what is there, making and removing folders, listing, renaming durably.
 */
#define _GNU_SOURCE
#include "base/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"

int quern__stat_path(const char *path, quern__stat *out, quern_error *err)
{
    struct stat st;
    *out = (quern__stat){0};
    if (lstat(path, &st) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return QUERN_OK;
        return quern__fail_errno(err, errno, "%s: cannot look at it", path);
    }
    out->is_link = S_ISLNK(st.st_mode);
    if (out->is_link && stat(path, &st) != 0) {
        if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
            return QUERN_OK; /* a link to nothing: absent, but a link */
        return quern__fail_errno(err, errno, "%s: cannot look at it", path);
    }
    out->exists = true;
    out->is_file = S_ISREG(st.st_mode);
    out->is_dir = S_ISDIR(st.st_mode);
    out->size = (uint64_t)st.st_size;
    out->inode = (uint64_t)st.st_ino;
    out->device = (uint64_t)st.st_dev;
    out->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return QUERN_OK;
}

bool quern__stat_same(const quern__stat *a, const quern__stat *b)
{
    return a->exists && b->exists && a->device == b->device && a->inode == b->inode &&
           a->size == b->size && a->mtime_ns == b->mtime_ns;
}

int quern__make_dirs(const char *path, quern_error *err)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (!n || n >= sizeof part)
        return quern__fail(err, QUERN_EINVAL, 0, "folder name of %zu bytes, 1 to %zu are allowed",
                           n, sizeof part - 1);
    for (size_t end = 1; end <= n; end++) {
        struct stat st;
        if (end < n && path[end] != '/')
            continue;
        memcpy(part, path, end);
        part[end] = '\0';
        if (mkdir(part, 0777) == 0)
            continue;
        int e = errno;
        /* Several errors (EEXIST, EROFS, EACCES) hide that it is there already. */
        if (stat(part, &st) == 0 && S_ISDIR(st.st_mode))
            continue;
        return quern__fail_errno(err, e == EEXIST ? ENOTDIR : e, "%s: cannot make the folder",
                                 part);
    }
    return QUERN_OK;
}

/* Removes what is inside the open folder and closes it. 0 or errno. */
static int empty_dir(int fd, int depth)
{
    enum { DEEPEST = 128 };
    DIR *dir = depth < DEEPEST ? fdopendir(fd) : NULL;
    int e = 0;
    struct dirent *entry;
    if (!dir) {
        e = depth < DEEPEST ? errno : ELOOP;
        close(fd);
        return e;
    }
    while (!e && (errno = 0, entry = readdir(dir)) != NULL) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        if (unlinkat(fd, name, 0) == 0 || errno == ENOENT)
            continue;
        if (errno != EISDIR && errno != EPERM) {
            e = errno;
            break;
        }
        int sub = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        e = sub < 0 ? errno : empty_dir(sub, depth + 1);
        if (!e && unlinkat(fd, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
            e = errno;
    }
    if (!e)
        e = errno;
    closedir(dir);
    return e;
}

int quern__remove_tree(const char *path, quern_error *err)
{
    int e = 0;
    if (unlink(path) == 0 || errno == ENOENT)
        return QUERN_OK;
    if (errno != EISDIR && errno != EPERM)
        return quern__fail_errno(err, errno, "%s: cannot remove", path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    e = fd < 0 ? errno : empty_dir(fd, 0);
    if (!e && rmdir(path) != 0 && errno != ENOENT)
        e = errno;
    return e ? quern__fail_errno(err, e, "%s: cannot remove", path) : QUERN_OK;
}

int quern__remove_file(const char *path, quern_error *err)
{
    if (unlink(path) == 0 || errno == ENOENT)
        return QUERN_OK;
    return quern__fail_errno(err, errno, "%s: cannot remove", path);
}

int quern__sync_dir(const char *path, quern_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return quern__fail_errno(err, errno, "%s: cannot open the folder", path);
    int e = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    if (e && e != EINVAL && e != EROFS) /* some file systems sync no folders */
        return quern__fail_errno(err, e, "%s: cannot sync the folder", path);
    return QUERN_OK;
}

int quern__rename(const char *from, const char *to, quern_error *err)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(to, '/');
    if (rename(from, to) != 0)
        return quern__fail_errno(err, errno, "%s: cannot rename to %s", from, to);
    size_t n = slash ? (size_t)(slash - to) : 0;
    if (!slash)
        snprintf(dir, sizeof dir, ".");
    else if (n == 0)
        snprintf(dir, sizeof dir, "/");
    else
        snprintf(dir, sizeof dir, "%.*s", (int)n, to);
    return quern__sync_dir(dir, err);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct names {
    char **list;
    size_t count, cap;
};

static int collect(struct names *names, const char *path, quern_error *err)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int rc = QUERN_OK;
    if (!dir)
        return quern__fail_errno(err, errno, "%s: cannot list", path);
    while (rc == QUERN_OK && (errno = 0, entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (names->count == names->cap) {
            size_t cap = names->cap ? names->cap * 2 : 32;
            char **list = quern__resize_array(names->list, cap, sizeof *list);
            if (!list) {
                rc = quern__fail_memory(err, cap * sizeof *list);
                break;
            }
            names->list = list;
            names->cap = cap;
        }
        char *copy = quern__strdup(entry->d_name);
        if (!copy)
            rc = quern__fail_memory(err, strlen(entry->d_name) + 1);
        else
            names->list[names->count++] = copy;
    }
    if (rc == QUERN_OK && errno)
        rc = quern__fail_errno(err, errno, "%s: cannot list", path);
    closedir(dir);
    return rc;
}

int quern__list_dir(const char *path, int (*fn)(void *ud, const char *name), void *ud,
                    quern_error *err)
{
    struct names names = {0};
    int rc = collect(&names, path, err);
    if (rc == QUERN_OK && names.count) {
        qsort(names.list, names.count, sizeof *names.list, by_bytes);
        for (size_t i = 0; rc == QUERN_OK && i < names.count; i++)
            rc = fn(ud, names.list[i]);
    }
    for (size_t i = 0; i < names.count; i++)
        quern__free(names.list[i]);
    quern__free(names.list);
    return rc;
}

int quern__make_private_dir(const char *path, quern_error *err)
{
    const char *slash = strrchr(path, '/');
    char *parent = slash && slash != path ? quern__strndup(path, (size_t)(slash - path)) : NULL;
    if (slash && slash != path && !parent)
        return quern__fail_memory(err, 0);
    int rc = parent ? quern__make_dirs(parent, err) : QUERN_OK;
    quern__free(parent);
    if (rc == QUERN_OK && mkdir(path, 0700) != 0 && errno != EEXIST)
        rc = quern__fail_errno(err, errno, "%s: cannot make the folder", path);
    return rc;
}

void quern__touch(const char *path)
{
    if (utimensat(AT_FDCWD, path, NULL, 0) != 0)
        errno = 0;
}

int quern__real_path(const char *path, char **out, quern_error *err)
{
    char resolved[PATH_MAX];
    *out = NULL;
    if (!realpath(path, resolved))
        return quern__fail_errno(err, errno, "%s: cannot resolve", path);
    *out = quern__strdup(resolved);
    return *out ? QUERN_OK : quern__fail_memory(err, strlen(resolved) + 1);
}
