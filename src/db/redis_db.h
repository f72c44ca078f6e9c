/*
 * redis_db.h — a thin wrapper over hiredis: one connection, taken in turns, whose answers are never waited for longer than
 * its timeout, and which is not asked at all for a while after a failure. Nothing here knows what is kept in it. Only in builds with
 * QUERN_REDIS.
 */
#ifndef QUERN_DB_REDIS_DB_H
#define QUERN_DB_REDIS_DB_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct quern__redis_link quern__redis_link;

/* "redis://[[user]:password@]host[:port][/db]", "unix:///path"; EINVAL for another, EUNSUPPORTED for rediss://, without showing it. Connects with the first use.
 * log: the part of quern that speaks in the log; longest_pause_ms: of those after failures, which begin at half a second. */
int quern__redis_link_new(quern__redis_link **out, const char *url, uint32_t timeout_ms,
                          uint32_t longest_pause_ms, const char *log, quern_error *err);
void quern__redis_link_free(quern__redis_link *r);               /* NULL is fine */
const char *quern__redis_link_name(const quern__redis_link *r);  /* host, or the path of a socket */
uint64_t quern__redis_link_failures(const quern__redis_link *r); /* between enter and leave */
const char *quern__redis_link_fault(const quern__redis_link *r); /* why the last one; likewise */
/* How often it has connected; likewise. */
uint64_t quern__redis_link_number(const quern__redis_link *r);

/* What follows is between these two, which other threads wait for. */
void quern__redis_enter(quern__redis_link *r);
void quern__redis_leave(quern__redis_link *r);
bool quern__redis_connect(quern__redis_link *r);     /* false: not there, or left alone */
bool quern__redis_alive(const quern__redis_link *r); /* no fault since it connected */
/* One command into the pipeline; false: a fault, which is counted and told. */
bool quern__redis_order(quern__redis_link *r, int n, const char **words, const size_t *lengths);
/* The next reply, no error, to be freed by freeReplyObject; NULL: the connection is gone. */
redisReply *quern__redis_reply(quern__redis_link *r);

#endif
