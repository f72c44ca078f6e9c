/*
 * os_child.c — a command that the operator has named, run by the shell. It is a process group of its own, so that ending it
 * ends what it has started; it is told to end when the thread that started it dies, a killed worker's included. Its input
 * is empty, and what it prints goes to standard error: standard output is the caller's. fork and exec, since
 * posix_spawn knows no signal for a parent's death; between the two nothing is called that may not be in a process of
 * several threads.
 */
#define _GNU_SOURCE
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"

enum { GRACE_MS = 500, STEP_MS = 10 };

struct quern__child {
    pid_t pid;
    bool ended;
    int status;
};

static _Noreturn void run(const char *command, pid_t parent, int empty)
{
    const struct sigaction normal = {.sa_handler = SIG_DFL};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    sigaction(SIGPIPE, &normal, NULL); /* ignored signals would stay ignored */
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) /* it died before the line above */
        _exit(126);
    if (dup2(empty, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        _exit(126);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

int quern__child_start(quern__child **out, const char *command, quern_error *err)
{
    quern__child *c = quern__calloc(1, sizeof *c);
    *out = NULL;
    if (!c)
        return quern__fail_memory(err, sizeof *c);
    int empty = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pid_t parent = getpid();
    c->pid = empty < 0 ? -1 : fork();
    if (c->pid == 0)
        run(command, parent, empty);
    int why = errno;
    if (empty >= 0)
        close(empty);
    if (c->pid < 0) {
        char text[80];
        quern__free(c);
        quern__os_error_text(why, text, sizeof text);
        return quern__fail(err, QUERN_EIO, why, "the command could not be started: %s", text);
    }
    setpgid(c->pid, c->pid); /* whoever of the two comes first */
    *out = c;
    return QUERN_OK;
}

bool quern__child_ended(quern__child *c, int *status)
{
    int s = 0;
    pid_t got = c->ended ? 0 : waitpid(c->pid, &s, WNOHANG);
    if (got == c->pid) {
        c->ended = true;
        c->status = WIFEXITED(s) ? WEXITSTATUS(s) : -WTERMSIG(s);
    } else if (got < 0 &&
               errno == ECHILD) { /* the program has its children reaped by somebody else */
        c->ended = true;
        c->status = 0;
    }
    *status = c->status;
    return c->ended;
}

void quern__child_stop(quern__child *c)
{
    int status;
    if (!c)
        return;
    if (!quern__child_ended(c, &status)) {
        kill(-c->pid, SIGTERM);
        for (int ms = 0; ms < GRACE_MS && !quern__child_ended(c, &status); ms += STEP_MS)
            quern__sleep_ms(STEP_MS);
    }
    if (!quern__child_ended(c, &status)) {
        kill(-c->pid, SIGKILL);
        while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
            ; /* a signal came */
    }
    quern__free(c);
}
