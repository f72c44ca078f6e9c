/*
 * fill_pick.h — which of the documents that lack a current stamp a scheduled run takes. A scan offers all of them; at most
 * `most` are kept, at least half of them the oldest there are, the others the newest of the window, so that neither
 * new documents wait behind old ones nor old ones for ever. Memory is bounded by `most`.
 */
#ifndef QUERN_PIPELINE_FILL_PICK_H
#define QUERN_PIPELINE_FILL_PICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "quern/sys/store.h"

typedef struct fill_pick fill_pick;

/* since_ms: documents whose revision is a time before it are outside of the window; INT64_MIN: none are. */
int quern__pick_new(fill_pick **out, size_t most, int64_t since_ms, quern_error *err);
void quern__pick_free(fill_pick *p);
/* A document that lacks a stamp, in the order of the scan. */
int quern__pick_offer(fill_pick *p, quern_str key, quern_str revision, quern_error *err);
/* What has been offered since the last call is weighed, without those that have a task already. No statement may be open. */
int quern__pick_weigh(fill_pick *p, quern_store *s, const char *source, quern_error *err);
/* The choice, the newest first, then the oldest; borrowed, the list too. */
int quern__pick_result(fill_pick *p, const quern_str **keys, size_t *n, quern_error *err);

/* How young a revision says that its row is: a number, or a time (RFC 3339, as databases write it) in milliseconds. false:
 * it says nothing. *time: it is a time. */
bool quern__revision_age(quern_str revision, int64_t *rank, bool *time);

#endif
