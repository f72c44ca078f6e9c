/*
 * encodings.h — for tests: vectors of texts by an encoder, however they are cut into calls, and how near they are to others.
 */
#ifndef QUERN_TESTS_ENCODINGS_H
#define QUERN_TESTS_ENCODINGS_H

#include "base/compiler.h"
#include "encoder/encoder.h"

/* n texts on so many threads, `batch` of them a call; rows of the model's width. */
static inline void encode_as(const quern__encoder *e, uint32_t threads, uint32_t batch,
                             const int32_t *ids, const uint32_t *lengths, uint32_t n,
                             bool normalize, float *out)
{
    quern_error err;
    quern__pool *pool = NULL;
    quern__encoder_scratch *s;
    if (threads > 1)
        assert_int_equal(quern__pool_new(&pool, threads, &err), QUERN_OK);
    assert_int_equal(quern__encoder_scratch_new(&s, e, threads, &err), QUERN_OK);
    for (uint32_t i = 0; i < n; i += batch) {
        const uint32_t many = QUERN__MIN(n - i, batch);
        if (quern__encode(e, s, pool, ids, lengths + i, many, normalize,
                          out + (size_t)i * quern__encoder_width(e), NULL, &err))
            fail_msg("%s", err.msg);
        for (uint32_t j = 0; j < many; j++)
            ids += lengths[i + j];
    }
    quern__encoder_scratch_free(s);
    quern__pool_free(pool);
}

static inline void encode(const quern__encoder *e, uint32_t threads, uint32_t batch,
                          const int32_t *ids, const uint32_t *lengths, uint32_t n, float *out)
{
    encode_as(e, threads, batch, ids, lengths, n, true, out);
}

/* Vectors of length 1, each to its like: the cosine is above `least`. */
static inline void assert_near(const char *what, const float *fp32, const float *out, uint32_t n,
                               uint32_t dim, double least)
{
    for (uint32_t t = 0; t < n; t++, fp32 += dim, out += dim) {
        double near = 0;
        for (uint32_t c = 0; c < dim; c++)
            near += (double)fp32[c] * (double)out[c];
        if (!(near > least))
            fail_msg("%s, text %u: cosine to fp32 is %f", what, t, near);
    }
}

#endif
