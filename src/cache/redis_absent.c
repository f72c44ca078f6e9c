/* redis_absent.c — in the place of redis.c when quern is built without Redis: opening says so, nothing else is ever called. */
#include <string.h>

#include "base/error.h"
#include "cache/tiers.h"

int quern__redis_open(quern__redis **out, const char *url, uint32_t timeout_ms, quern_error *err)
{
    *out = NULL;
    (void)url;
    (void)timeout_ms;
    return quern__fail(err, QUERN_EUNSUPPORTED, 0, "this quern is built without Redis");
}

void quern__redis_close(quern__redis *r)
{
    (void)r;
}

size_t quern__redis_get(quern__redis *r, quern__lookup *l, uint8_t mark)
{
    (void)r, (void)l, (void)mark;
    return 0;
}

void quern__redis_put(quern__redis *r, const quern__entry *entries, size_t n, int64_t now_ms)
{
    (void)r, (void)entries, (void)n, (void)now_ms;
}

bool quern__redis_has(quern__redis *r, const quern_cache_key *key)
{
    (void)r, (void)key;
    return false;
}

bool quern__redis_remove(quern__redis *r, const quern_cache_key *key)
{
    (void)r, (void)key;
    return false;
}

int quern__redis_clear(quern__redis *r, quern_error *err)
{
    (void)r, (void)err;
    return QUERN_OK;
}

void quern__redis_stats(quern__redis *r, quern_cache_stats *out)
{
    (void)r;
    memset(out, 0, sizeof *out);
}
