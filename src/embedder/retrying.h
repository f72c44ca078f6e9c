/* retrying.h — the patience of retrying.c for one call that is no quern_embed. */
#ifndef QUERN_EMBEDDER_RETRYING_H
#define QUERN_EMBEDDER_RETRYING_H

#include "quern/provider.h"

typedef int (*quern__try_fn)(void *ud, quern_error *err);
/* once, and again for as long as err->retry_ms says that it may succeed and the options allow (NULL: as they are by default). */
int quern__try_again(const quern_retry_options *opt, quern__try_fn once, void *ud,
                     const quern_cancel *cancel, quern_error *err);

#endif
