/*
 * os_term.h — what the command asks of the operating system: terminal, signals, a look at standard
 * input that does not block, whether a path is there, a clock, a ceiling on memory, a process apart. Everything else goes through the library.
 */
#ifndef QUERN_CLI_OS_TERM_H
#define QUERN_CLI_OS_TERM_H

#include <stddef.h>
#include <stdint.h>

#include "quern/status.h"

enum { TERM_IN, TERM_OUT, TERM_ERR };

int term_is_terminal(int stream);
int term_width(int stream); /* columns; 80 when unknown */

/* Ctrl-C and SIGTERM raise `cancel`; the second ends the process at once, exit 130. Writing to a closed
 * pipe becomes an ordinary error. */
void term_catch_signals(quern_cancel *cancel);

int term_path_exists(const char *path);

/* Up to n bytes of standard input: > 0 bytes, 0 at the end, -1 interrupted by a signal, -2 error. */
long term_read(void *buf, size_t n);
/* A read would not block (data, end or error); waits up to so many milliseconds for that. */
int term_readable(int wait_ms);

int term_pipe_closed(int error_number); /* is this errno EPIPE? */
uint64_t term_now_ns(void);             /* monotonic */
void term_sleep_ms(unsigned ms);        /* less when a signal comes */
void term_timestamp(char out[25]);      /* 2026-11-21T10:20:30.123Z */

/* Private memory of this process may not grow past so many bytes; 0 on success. Mapped files are not
 * counted. */
int term_limit_memory(uint64_t bytes);

char *const *term_environment(void);

unsigned term_cores(void); /* that this process may use, 1 at least */

/* Runs fn(ud) in a process of its own, which ends with it; the n bytes at `told` as it left them there are then at `told` here, and
 * *peak is the most memory that it had resident. 0; -1: it could not be started, or was ended. For a process that has no
 * threads yet. */
int term_run_apart(void (*fn)(void *ud), void *ud, void *told, size_t n, uint64_t *peak);

/* Where a path leads, links followed; one that is not there yet is itself. -1: too long, or no regular file. */
int term_real_path(const char *path, char *out, size_t size);
/* Writes text into the file `beside`, on the disk, with the permissions that `path` has (without it: what a new file gets). 0 on
 * success. */
int term_write_beside(const char *path, const char *beside, const char *text, size_t n);

#endif
