/*
 * cmd_cache.c — looking after the cache in a file or a Redis: what is in it, whether it has a text, and taking things out.
 * A text's key needs the model's fingerprint, for which a hosted model is not called.
 */
#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int open_lasting(cli *c, quern_error *err)
{
    const char *file = quern_config_text(c->config, "cache-file");
    const char *redis = quern_config_text(c->config, "cache-redis");
    if (!file && !redis)
        return fail(err, QUERN_EINVAL, "%s: --cache-file or --cache-redis names the cache",
                    c->command->name);
    return open_cache(c, err);
}

/* What a Redis holds it does not say: --cache-file is needed. */
static int open_file(cli *c, quern_error *err)
{
    if (!quern_config_text(c->config, "cache-file"))
        return fail(err, QUERN_EINVAL, "%s: --cache-file names the cache", c->command->name);
    return open_cache(c, err);
}

static void put_number(const char *key, uint64_t v)
{
    put_key(key);
    put_whole(v);
}

int cmd_cache_stats(cli *c, quern_error *err)
{
    quern_cache_stats s;
    char bytes[16], room[16];
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = open_file(c, err);
    if (rc != QUERN_OK)
        return rc;
    quern_cache_get_stats(c->cache, QUERN_CACHE_DISK, &s);
    double used = s.capacity_bytes ? 100.0 * (double)s.bytes / (double)s.capacity_bytes : 0;
    if (c->json) {
        put_object();
        put_number("entries", s.entries);
        put_number("bytes", s.bytes);
        put_number("capacity_bytes", s.capacity_bytes);
        put_key("percent");
        put_real(used);
        put_end_object();
        put_line();
        return QUERN_OK;
    }
    human_bytes(s.bytes, bytes);
    human_bytes(s.capacity_bytes, room);
    out_printf("%" PRIu64 " vectors, %s of %s (%.1f %%)\n", s.entries, bytes, room, used);
    return QUERN_OK;
}

static int tell_key(const quern_cache_key *key, uint32_t dim, int64_t created_ms, void *ud)
{
    const cli *c = ud;
    char hex[65], when[32];
    for (size_t i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", key->bytes[i]);
    utc_time(created_ms, when);
    if (c->json) {
        put_object();
        put_key("key");
        put_text(hex);
        put_number("dimensions", dim);
        put_key("created_at");
        put_text(when);
        put_end_object();
        put_line();
    } else {
        out_printf("%s  %u  %s\n", hex, dim, when);
    }
    return quern_cancel_raised(c->cancel) ? QUERN_ECANCELLED : QUERN_OK;
}

int cmd_cache_keys(cli *c, quern_error *err)
{
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = open_file(c, err);
    if (rc == QUERN_OK)
        rc = quern_cache_each(c->cache, tell_key, c, err);
    return rc == QUERN_ECANCELLED ? fail(err, rc, "interrupted") : rc;
}

/* Of each text, as --model would embed it with --as: is it there, and with `take`, out with it. */
static int for_texts(cli *c, int take, quern_error *err)
{
    quern_embedder *e = NULL;
    char *json = NULL, hash[65];
    size_t there = 0;
    int query = option_as(c, QUERN_AS_DOCUMENT) == QUERN_AS_QUERY;
    int rc = args_need(c, 1, SIZE_MAX, err);
    if (rc == QUERN_OK)
        rc = open_lasting(c, err);
    if (rc == QUERN_OK)
        rc = open_embedder(c, &e, err);
    if (rc == QUERN_OK)
        rc = quern_embedder_fingerprint(e, &json, hash, err);
    for (size_t i = 0; i < c->n_args && rc == QUERN_OK; i++) {
        quern_cache_key key;
        rc = quern_cache_key_of(hash, query, 0, quern_str_of(c->args[i]), &key, err);
        if (rc != QUERN_OK)
            break;
        int has = take ? quern_cache_remove(c->cache, &key) : quern_cache_contains(c->cache, &key);
        there += has != 0;
        if (c->json) {
            put_object();
            put_key("text");
            put_text(c->args[i]);
            put_key(take ? "removed" : "contains");
            put_bool(has);
            put_end_object();
            put_line();
        } else if (!c->quiet)
            out_printf("%s  %s\n", has ? take ? "removed" : "there" : "absent", c->args[i]);
    }
    quern_free(json);
    quern_embedder_free(e);
    if (rc == QUERN_OK && there < c->n_args)
        return fail(err, QUERN_ENOTFOUND, "%zu of %zu texts are not in the cache",
                    c->n_args - there, c->n_args);
    return rc;
}

int cmd_cache_contains(cli *c, quern_error *err)
{
    return for_texts(c, 0, err);
}

int cmd_cache_remove(cli *c, quern_error *err)
{
    return for_texts(c, 1, err);
}

int cmd_cache_expire(cli *c, quern_error *err)
{
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = open_lasting(c, err);
    if (rc != QUERN_OK)
        return rc;
    uint64_t gone = quern_cache_expire(c->cache);
    if (c->json) {
        put_object();
        put_number("expired", gone);
        put_end_object();
        put_line();
    } else if (!c->quiet)
        out_printf("%" PRIu64 " vectors were too old\n", gone);
    return QUERN_OK;
}

int cmd_cache_clear(cli *c, quern_error *err)
{
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK)
        rc = open_lasting(c, err);
    if (rc == QUERN_OK)
        rc = confirm(c, "Remove every vector from the cache?", err);
    return rc == QUERN_OK ? quern_cache_clear(c->cache, err) : rc;
}
