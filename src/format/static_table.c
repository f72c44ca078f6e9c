/*
 * static_table.c — see static_table.h. Safetensors files hold a mapping as 64- or 32-bit integers, which are no weights to
 * weights.h; they are read here where they lie, and each is checked at open.
 */
#include "format/static_table.h"

#include <string.h>

#include "base/compiler.h"

enum { MAX_WIDTH = 16384, MAX_TOKENS = 1 << 22 };

static int wrong(const quern__tensor *t, const char *what, quern_error *err)
{
    return quern__fail(err, QUERN_EFORMAT, (int64_t)t->offset,
                       "tensor \"%s\" at byte %zu %s, as a static table does not have it", t->name,
                       t->offset, what);
}

static int64_t number_at(const quern__tensor *t, size_t i)
{
    const size_t width = t->bytes / t->count;
    int64_t wide;
    int32_t narrow;
    if (width == sizeof wide) {
        memcpy(&wide, (const char *)t->data + i * sizeof wide, sizeof wide);
        return wide;
    }
    memcpy(&narrow, (const char *)t->data + i * sizeof narrow, sizeof narrow);
    return narrow;
}

uint32_t quern__static_table_row(const quern__static_table *t, uint32_t token)
{
    return t->mapping ? (uint32_t)number_at(t->mapping, token) : token;
}

static int check_mapping(const quern__static_table *t, quern_error *err)
{
    const quern__tensor *m = t->mapping;
    if (m->dtype != QUERN__OTHER_DTYPE || m->rank != 1 || !m->count ||
        (m->bytes != m->count * 8 && m->bytes != m->count * 4))
        return wrong(m, "is no list of whole numbers", err);
    for (size_t i = 0; i < m->count; i++)
        if (number_at(m, i) < 0 || (uint64_t)number_at(m, i) >= t->rows->shape[0])
            return wrong(m, "names a row that is not there", err);
    return QUERN_OK;
}

int quern__static_table_find(quern__static_table *out, const quern__weights *w, quern_error *err)
{
    quern__static_table t = {.rows = quern__weights_find(w, "embeddings"),
                             .weights = quern__weights_find(w, "weights"),
                             .mapping = quern__weights_find(w, "mapping")};
    if (!t.rows)
        t.rows = quern__weights_find(w, "embedding.weight");
    if (!t.rows)
        return quern__fail(err, QUERN_EFORMAT, 0,
                           "tensor \"embeddings\" is missing from the weights");
    if (t.rows->dtype == QUERN__OTHER_DTYPE || t.rows->dtype == QUERN__Q8_0)
        return wrong(t.rows, "is not of type F32, F16 or BF16", err);
    if (t.rows->rank != 2 || !t.rows->shape[0] || t.rows->shape[0] > MAX_TOKENS ||
        !t.rows->shape[1] || t.rows->shape[1] > MAX_WIDTH)
        return wrong(t.rows, "has no shape [tokens, dimensions] within 4194304 by 16384", err);
    if (t.mapping) {
        int rc = check_mapping(&t, err);
        if (rc)
            return rc;
    }
    const size_t tokens = t.mapping ? t.mapping->count : (size_t)t.rows->shape[0];
    if (tokens > MAX_TOKENS)
        return wrong(t.mapping, "is of more than 4194304 tokens", err);
    if (t.weights && (t.weights->dtype == QUERN__OTHER_DTYPE || t.weights->rank != 1 ||
                      t.weights->shape[0] != tokens))
        return wrong(t.weights, "is not one number of type F32, F16 or BF16 a token", err);
    t.tokens = (uint32_t)tokens;
    t.width = (uint32_t)t.rows->shape[1];
    *out = t;
    return QUERN_OK;
}

int quern__static_table_measure(quern__model_config *config, const quern__weights *w,
                                quern_error *err)
{
    quern__static_table t;
    int rc = quern__static_table_find(&t, w, err);
    if (rc == QUERN_OK) {
        config->hidden = t.width;
        config->vocab = t.tokens;
    }
    return rc;
}
