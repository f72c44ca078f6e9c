/*
 * pool.h — a pool of worker threads that runs one parallel job at a time: `fn(ud, part, worker)`
 * for part in 0..parts-1, each exactly once, on any thread, the caller's included (worker 0).
 * Workers set the floating-point environment of fpenv.h once and keep it. With 1 thread nothing is started.
 * A job must not depend on which worker runs a part: that is what keeps vectors one bit pattern.
 */
#ifndef QUERN_BASE_POOL_H
#define QUERN_BASE_POOL_H

#include <stdint.h>

#include "base/error.h"

typedef struct quern__pool quern__pool;

/* threads = 0: quern__cpu_count(). The caller counts as one of them. */
int quern__pool_new(quern__pool **out, uint32_t threads, quern_error *err);
void quern__pool_free(quern__pool *p); /* no job may be running */
uint32_t quern__pool_threads(const quern__pool *p);
/* Blocks until all parts are done. Calls from several threads are serialised. Low latency: workers
 * spin some microseconds after a job before they sleep. */
void quern__pool_run(quern__pool *p, uint32_t parts,
                     void (*fn)(void *ud, uint32_t part, uint32_t worker), void *ud);

#endif
