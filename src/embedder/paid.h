/*
 * paid.h — vectors that were paid for in a call that then failed. All or nothing is the rule for a call, so its caller gets none of
 * them; asked for again, with the others or without the text that was at fault, they come from here and nobody is asked.
 * Each is handed out once: it is counted as computed by the call that got it. At most 4,000 of them, 16 MiB and ten minutes.
 */
#ifndef QUERN_EMBEDDER_PAID_H
#define QUERN_EMBEDDER_PAID_H

#include "quern/embedder.h"

typedef struct quern__paid quern__paid;

int quern__paid_new(quern__paid **out, uint32_t dim, quern_error *err);
void quern__paid_free(quern__paid *p);
/* Of a call that failed, those of n where done[i] is not 0. Without memory: none. */
void quern__paid_keep(quern__paid *p, const quern_str *texts, size_t n,
                      const quern_embed_options *opt, const float *vectors,
                      const quern_embed_result *results, const uint8_t *done);

/* Embeds n texts as quern_embed does: through ask, but for those that are here. */
typedef int (*quern__paid_ask)(void *ud, const quern_str *texts, size_t n,
                               const quern_embed_options *opt, float *out,
                               quern_embed_result *results, quern_error *err);
int quern__paid_embed(quern__paid *p, quern__paid_ask ask, void *ud, const quern_str *texts,
                      size_t n, const quern_embed_options *opt, float *out,
                      quern_embed_result *results, quern_error *err);

#endif
