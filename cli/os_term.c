/*
 * os_term.c — the one file of the command that calls the operating system (design §3 names it).
 *
 * Memory: RLIMIT_DATA bounds what the process allocates, whoever allocates it: library, SQLite, curl,
 * jansson, thread stacks. A counting allocator was rejected: it sees only our own part, and setting the
 * library's hook would cost the huge pages that weights are packed into.
 */
#define _GNU_SOURCE
#include "os_term.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static quern_cancel *to_cancel;
static volatile sig_atomic_t caught;

int term_is_terminal(int stream)
{
    const char *kind = getenv("TERM");
    return isatty(stream) && !(stream != TERM_IN && kind && strcmp(kind, "dumb") == 0);
}

int term_width(int stream)
{
    struct winsize size;
    if (ioctl(stream, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
        return size.ws_col;
    return 80;
}

static void on_signal(int number)
{
    (void)number;
    if (caught)
        _exit(130);
    caught = 1;
    quern_cancel_raise(to_cancel);
}

void term_catch_signals(quern_cancel *cancel)
{
    to_cancel = cancel;
    struct sigaction act = {.sa_handler = on_signal}; /* no SA_RESTART: a blocked read must end */
    sigemptyset(&act.sa_mask);
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    act.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &act, NULL);
}

int term_path_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

long term_read(void *buf, size_t n)
{
    ssize_t got = read(STDIN_FILENO, buf, n);
    if (got >= 0)
        return (long)got;
    return errno == EINTR ? -1 : -2;
}

int term_readable(int wait_ms)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&p, 1, wait_ms) > 0;
}

int term_pipe_closed(int error_number)
{
    return error_number == EPIPE;
}

uint64_t term_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void term_sleep_ms(unsigned ms)
{
    const struct timespec t = {.tv_sec = (time_t)(ms / 1000),
                               .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

void term_timestamp(char out[25])
{
    struct timespec t;
    struct tm parts;
    char seconds[20];
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &parts);
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(out, 25, "%.19s.%03uZ", seconds, (unsigned)(t.tv_nsec / 1000000) % 1000u);
}

int term_limit_memory(uint64_t bytes)
{
    struct rlimit limit = {.rlim_cur = (rlim_t)bytes, .rlim_max = (rlim_t)bytes};
    return setrlimit(RLIMIT_DATA, &limit);
}

char *const *term_environment(void)
{
    return environ;
}

unsigned term_cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > 0 ? (unsigned)n : 1;
}

static int write_all(int to, const char *from, size_t n)
{
    while (n > 0) {
        ssize_t some = write(to, from, n);
        if (some < 0 && errno != EINTR)
            return -1;
        if (some > 0) {
            from += some;
            n -= (size_t)some;
        }
    }
    return 0;
}

/* What a child writes; a signal that ends this process ends the child first. */
static size_t read_all(int from, pid_t child, char *to, size_t n)
{
    size_t have = 0;
    while (have < n) {
        ssize_t some = read(from, to + have, n - have);
        if (some == 0 || (some < 0 && errno != EINTR))
            break;
        if (some < 0 && caught)
            kill(child, SIGKILL);
        have += some > 0 ? (size_t)some : 0;
    }
    return have;
}

int term_run_apart(void (*fn)(void *ud), void *ud, void *told, size_t n, uint64_t *peak)
{
    int ends[2], status = 0;
    struct rusage usage = {0};
    pid_t parent = getpid();
    fflush(NULL);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        close(ends[0]);
        fn(ud);
        _exit(write_all(ends[1], told, n) != 0);
    }
    close(ends[1]);
    size_t got = child > 0 ? read_all(ends[0], child, told, n) : 0;
    close(ends[0]);
    while (child > 0 && wait4(child, &status, 0, &usage) < 0 && errno == EINTR) {
    }
    *peak = (uint64_t)usage.ru_maxrss * 1024;
    return child > 0 && got == n && status == 0 ? 0 : -1;
}

int term_real_path(const char *path, char *out, size_t size)
{
    struct stat st;
    char *real = realpath(path, NULL);
    int there = real && stat(real, &st) == 0;
    int n = snprintf(out, size, "%s", real ? real : path);
    free(real);
    return n >= 0 && (size_t)n < size && (!there || S_ISREG(st.st_mode)) ? 0 : -1;
}

int term_write_beside(const char *path, const char *beside, const char *text, size_t n)
{
    struct stat st;
    int there = stat(path, &st) == 0;
    unlink(beside); /* of a run that was killed */
    int f = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, there ? 0600 : 0666);
    if (f < 0)
        return -1;
    int rc = there ? fchmod(f, st.st_mode & 07777) : 0;
    if (rc == 0)
        rc = write_all(f, text, n);
    if (rc == 0)
        rc = fsync(f);
    return close(f) == 0 ? rc : -1;
}
