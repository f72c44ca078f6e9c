/*
 * os.h — everything the library asks of the operating system, implemented in base/os_*.c and nowhere
 * else (a test greps): files, mappings, directories, clock, threads, environment of the process.
 * A port is these files again. Paths are UTF-8, '/'-separated.
 */
#ifndef QUERN_BASE_OS_H
#define QUERN_BASE_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* ---- processors and memory ---- */
uint32_t
quern__cpu_count(void); /* threads worth starting: affinity mask, cut by the cgroup quota, >= 1 */
uint64_t quern__os_resident(void); /* resident bytes of this process now */
uint32_t quern__os_pid(void);
void quern__os_hostname(char *out, size_t size);
/* A value for seeding rng: clock, pid and address noise mixed. Not a secret. */
uint64_t quern__os_entropy(void);
/* Asks the kernel to let this process use AMX tiles; false where it cannot. */
bool quern__os_amx_permit(void);
/* What the kernel says a program may use of this processor (AT_HWCAP, AT_HWCAP2; by architecture). */
void quern__os_hwcap(uint64_t *first, uint64_t *second);
/* The text of an errno value. */
void quern__os_error_text(int error_number, char *out, size_t size);
/* Zeroed memory from the kernel, aligned to 2 MiB, huge pages advised; NULL when there is none. */
void *quern__os_pages_alloc(size_t size);
void quern__os_pages_free(void *p, size_t size);

/* ---- clock ---- */
uint64_t quern__now_ns(void); /* monotonic */
int64_t quern__wall_ms(void); /* Unix milliseconds, through the hook below */
void quern__sleep_ms(uint32_t ms);
int32_t quern__local_offset(int64_t at); /* seconds that local time is ahead of UTC then */
/* Waits until a descriptor can be read, or the time is over, or a signal comes. */
void quern__wait_readable(int fd, uint32_t ms);

/* Tests move wall time: fn replaces the clock, NULL restores it. */
void quern__set_wall_clock(int64_t (*fn)(void *ud), void *ud);
void quern__rfc3339(int64_t unix_ms, char out[25]); /* "2026-11-21T10:20:30.123Z" */

/* ---- whole files ---- */
typedef struct quern__stat {
    uint64_t size, inode, device;
    int64_t mtime_ns;
    bool exists, is_file, is_dir, is_link; /* is_link: the name itself; the rest follows it */
} quern__stat;
/* The same file, and not written to in between. */
bool quern__stat_same(const quern__stat *a, const quern__stat *b);

typedef struct quern__map {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;
    void *handle;
    quern__stat file; /* as it was mapped, by map_open */
} quern__map;
/* Maps a regular file read-only. Refuses devices and directories. */
int quern__map_open(quern__map *m, const char *path, quern_error *err);
/* The same of a file of a cache: refused (EIO) unless it is this user's own, no link, and nobody else may write it. All of
 * it will be read, and huge pages are asked for. */
int quern__map_open_own(quern__map *m, const char *path, quern_error *err);
void quern__map_close(quern__map *m); /* a zeroed map is fine */
/* Tells the kernel that these bytes will not be read again soon: their pages leave the resident set. */
void quern__map_forget(const quern__map *m, size_t offset, size_t length);

/* Reads a regular file of at most `max` bytes into *data (quern__free it; NUL-terminated, *size
 * without the NUL). EFORMAT names both sizes when the file is larger. */
int quern__read_file(const char *path, size_t max, char **data, size_t *size, quern_error *err);
/* Writes beside the target, syncs, renames over it, syncs the directory: all of it or nothing. */
int quern__write_file_atomic(const char *path, const void *data, size_t size, quern_error *err);

/* For caches, which are checked when they are read: the two parts one after the other, readable by this user only, there
 * whole or not at all as long as the machine runs; not synced. */
int quern__write_file_private(const char *path, const void *head, size_t head_size,
                              const void *data, size_t size, quern_error *err);

/* ---- open files ---- */
typedef struct quern__file quern__file;
enum { QUERN__FILE_READ, QUERN__FILE_WRITE /* truncates */, QUERN__FILE_APPEND };
int quern__file_open(quern__file **out, const char *path, int mode, quern_error *err);
/* Up to n bytes; *got = 0 at the end. Retries on EINTR. Reads pipes and terminals too. */
int quern__file_read(quern__file *f, void *buf, size_t n, size_t *got, quern_error *err);
int quern__file_write(quern__file *f, const void *buf, size_t n, quern_error *err);
/* Over what is there; the place of the next quern__file_write stays. */
int quern__file_write_at(quern__file *f, uint64_t offset, const void *buf, size_t n,
                         quern_error *err);
int quern__file_sync(quern__file *f, quern_error *err);
int quern__file_close(quern__file *f,
                      quern_error *err); /* NULL is fine; reports a late write error */
int quern__file_stdin(quern__file **out, quern_error *err); /* borrowed descriptor 0 */

/* ---- names ---- */
int quern__stat_path(const char *path, quern__stat *out,
                     quern_error *err);                   /* absent: OK, exists=false */
int quern__make_dirs(const char *path, quern_error *err); /* as mkdir -p, mode 0777 & ~umask */
int quern__make_private_dir(const char *path,
                            quern_error *err); /* the last one for this user only */
void quern__touch(const char *path);           /* modified now; what fails does not matter */
int quern__remove_tree(const char *path,
                       quern_error *err); /* absent is fine; never follows links */
int quern__remove_file(const char *path, quern_error *err); /* absent is fine */
int quern__rename(const char *from, const char *to,
                  quern_error *err); /* replaces a file; syncs the directory */
int quern__sync_dir(const char *path, quern_error *err);
/* Calls fn for each entry but . and .., in byte order of names; fn's non-zero return ends it. */
int quern__list_dir(const char *path, int (*fn)(void *ud, const char *name), void *ud,
                    quern_error *err);
/* Canonical absolute path (all links resolved); quern__free it. */
int quern__real_path(const char *path, char **out, quern_error *err);
/* Advisory lock on a file that is created if absent: EBUSY when another process holds it (wait_ms 0)
 * or still does after wait_ms. Released by unlock or by the death of the process. */
typedef struct quern__lock quern__lock;
int quern__lock_file(quern__lock **out, const char *path, uint32_t wait_ms, quern_error *err);
void quern__unlock_file(quern__lock *l);
/* $HOME-style lookups; NULL when unset or empty. Only for default directories. */
const char *quern__env(const char *name);

/* ---- a command of the operator's ---- */
typedef struct quern__child quern__child;
/* Runs a line of the shell, without input; what it prints goes to standard error. One thread at a time. */
int quern__child_start(quern__child **out, const char *command, quern_error *err);
/* Has it ended? *status: its exit status, or minus the signal that ended it. */
bool quern__child_ended(quern__child *c, int *status);
/* Ends it and what it has started, at the latest after half a second, and frees. NULL is fine. */
void quern__child_stop(quern__child *c);

/* ---- a shared library that the user has ---- */
typedef struct quern__library quern__library;
typedef void (*quern__function)(void);
/* name: a path, or a name that the system's linker knows. EUNSUPPORTED: the linker's own words. */
int quern__library_open(quern__library **out, const char *name, quern_error *err);
quern__function quern__library_find(const quern__library *l, const char *symbol); /* NULL: none */
void quern__library_close(quern__library *l); /* its code stays; NULL is fine */

/* ---- threads ---- */
typedef struct quern__mutex quern__mutex;
typedef struct quern__cond quern__cond;
typedef struct quern__thread quern__thread;
int quern__mutex_new(quern__mutex **out, quern_error *err);
void quern__mutex_free(quern__mutex *m);
void quern__mutex_lock(quern__mutex *m);
void quern__mutex_unlock(quern__mutex *m);
int quern__cond_new(quern__cond **out, quern_error *err);
void quern__cond_free(quern__cond *c);
void quern__cond_wait(quern__cond *c, quern__mutex *m);
bool quern__cond_wait_ms(quern__cond *c, quern__mutex *m, uint32_t ms); /* false: timed out */
void quern__cond_signal(quern__cond *c);
void quern__cond_broadcast(quern__cond *c);
/* Starts fn(ud) with all signals blocked and the floating-point environment of fpenv.h. */
int quern__thread_start(quern__thread **out, void (*fn)(void *ud), void *ud, quern_error *err);
void quern__thread_join(quern__thread *t); /* waits and frees; NULL is fine */
/* Between the two a write to a connection that is gone is an error code, and no SIGPIPE that ends the program. */
typedef struct quern__pipe_guard {
    bool blocked; /* was ours to block */
} quern__pipe_guard;
void quern__pipe_guard_enter(quern__pipe_guard *g);
void quern__pipe_guard_leave(const quern__pipe_guard *g);
/* For a thread that sleeps: it shall wake on another processor than the caller's, where it may use one.
 * release puts back what it may use; the thread does that itself, once awake. Not both at once. */
void quern__thread_keep_off(quern__thread *t);
void quern__thread_release(quern__thread *t);

#endif
