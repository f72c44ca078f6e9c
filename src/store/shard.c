/* shard.c — the face of a store's shards: options checked, and a plain word when a store has none. */
#include "quern/shard.h"

#include <string.h>

#include "base/compiler.h"
#include "base/error.h"
#include "store/store.h"

static int have_shards(const quern_store *s, quern_error *err)
{
    return s->table.shard_apply && s->table.shard_status
               ? QUERN_OK
               : quern__fail(err, QUERN_EUNSUPPORTED, 0,
                             "the store '%s' has no shards; they are PostgreSQL's", s->table.name);
}

static int run(quern_store *s, const quern_shard_options *opt, int dry, quern_shard_step_fn fn,
               void *ud, quern_error *err)
{
    quern_shard_options o;
    QUERN__REQUIRE(s && opt && opt->struct_size >= sizeof(size_t), err);
    QUERN_INIT(&o);
    memcpy(&o, opt, QUERN__MIN(opt->struct_size, sizeof o));
    QUERN__REQUIRE(o.urls || !o.n, err);
    int rc = have_shards(s, err);
    for (size_t i = 0; i < o.n && !rc; i++)
        if (!quern__is_postgres_url(o.urls[i]))
            rc = quern__fail(err, QUERN_EINVAL, (int64_t)i, "shard %zu is no postgres:// URL",
                             i + 1);
    return rc ? rc : s->table.shard_apply(s->self, &o, dry, fn, ud, err);
}

int quern_shard_plan(quern_store *s, const quern_shard_options *opt, quern_shard_step_fn fn,
                     void *ud, quern_error *err)
{
    return run(s, opt, 1, fn, ud, err);
}

int quern_shard_apply(quern_store *s, const quern_shard_options *opt, quern_shard_step_fn fn,
                      void *ud, quern_error *err)
{
    return run(s, opt, 0, fn, ud, err);
}

int quern_shard_status(quern_store *s, quern_shard_fn fn, void *ud, quern_error *err)
{
    QUERN__REQUIRE(s && fn, err);
    int rc = have_shards(s, err);
    return rc ? rc : s->table.shard_status(s->self, fn, ud, err);
}
