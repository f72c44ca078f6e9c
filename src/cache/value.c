/* value.c — an entry as bytes, see tiers.h. Whoever reads it has not written it: nothing is believed. */
#include <math.h>
#include <string.h>

#include "base/sha256.h"
#include "cache/tiers.h"

static void put(unsigned char *to, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (unsigned char)(v >> (8 * i));
}

static uint64_t get(const unsigned char *from, size_t n)
{
    uint64_t v = 0;
    for (size_t i = n; i-- > 0;)
        v = v << 8 | from[i];
    return v;
}

size_t quern__value_size(uint32_t dim)
{
    return QUERN__VALUE_HEAD + (size_t)dim * 4 + QUERN__VALUE_SUM;
}

static int sum_of(const quern_cache_key *key, const unsigned char *value, size_t n, uint8_t sum[32],
                  quern_error *err)
{
    quern__sha256 h;
    int rc = quern__sha256_begin(&h, err);
    if (!rc)
        rc = quern__sha256_add(&h, key->bytes, sizeof key->bytes, err);
    if (!rc)
        rc = quern__sha256_add(&h, value, n, err);
    if (!rc)
        rc = quern__sha256_end(&h, sum, err);
    quern__sha256_dispose(&h);
    return rc;
}

int quern__value_write(const quern__entry *e, unsigned char *to, quern_error *err)
{
    uint8_t sum[32];
    size_t n = quern__value_size(e->dim) - QUERN__VALUE_SUM;
    memcpy(to, "qv1", 4);
    put(to + 4, e->dim, 4);
    put(to + 8, e->tokens, 4);
    put(to + 12, (uint64_t)e->created_ms, 8);
    put(to + 20, (uint64_t)e->ends_ms, 8);
    for (size_t i = 0; i < e->dim; i++) {
        uint32_t word;
        memcpy(&word, &e->vector[i], 4);
        put(to + QUERN__VALUE_HEAD + 4 * i, word, 4);
    }
    int rc = sum_of(e->key, to, n, sum, err);
    if (!rc)
        memcpy(to + n, sum, QUERN__VALUE_SUM);
    return rc;
}

quern__value_is quern__value_read(const quern_cache_key *key, quern_str value, uint32_t dim,
                                  float *out, quern__entry *e)
{
    const unsigned char *from = (const unsigned char *)value.ptr;
    uint8_t sum[32];
    double norm = 0;
    if (value.len < QUERN__VALUE_HEAD + QUERN__VALUE_SUM || memcmp(from, "qv1", 4) != 0)
        return QUERN__VALUE_DAMAGED;
    uint64_t has = get(from + 4, 4);
    size_t n = value.len - QUERN__VALUE_SUM;
    if (has == 0 || n != QUERN__VALUE_HEAD + has * 4 || sum_of(key, from, n, sum, NULL) != 0 ||
        memcmp(sum, from + n, QUERN__VALUE_SUM) != 0)
        return QUERN__VALUE_DAMAGED;
    if (has != dim)
        return QUERN__VALUE_OTHER;
    for (size_t i = 0; i < dim; i++) {
        uint32_t word = (uint32_t)get(from + QUERN__VALUE_HEAD + 4 * i, 4);
        memcpy(&out[i], &word, 4);
        norm += (double)out[i] * (double)out[i];
    }
    if (!isfinite(norm) || norm == 0)
        return QUERN__VALUE_DAMAGED;
    *e = (quern__entry){.key = key,
                        .dim = dim,
                        .tokens = (uint32_t)get(from + 8, 4),
                        .created_ms = (int64_t)get(from + 12, 8),
                        .ends_ms = (int64_t)get(from + 20, 8),
                        .vector = out};
    return QUERN__VALUE_GOOD;
}
