/*
 * golden_texts.h — for tests: the 20 texts whose vectors have golden hashes, as token ids, and vectors of them however they
 * are cut into calls.
 */
#ifndef QUERN_TESTS_GOLDEN_TEXTS_H
#define QUERN_TESTS_GOLDEN_TEXTS_H

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/os.h"
#include "base/sha256.h"
#include "encoder/encoder_impl.h"

enum { DIM = 384, TEXTS = 20, ROOM = 1024 };

static inline uint32_t golden_texts(int32_t *ids, uint32_t *lengths)
{
    char path[1024], *data;
    size_t size, at = 0;
    uint32_t n = 0;
    quern_error err;
    const char *root = getenv("QUERN_ROOT");
    snprintf(path, sizeof path, "%s/tests/golden/bits_texts.txt", root ? root : ".");
    if (quern__read_file(path, 1 << 16, &data, &size, &err))
        fail_msg("%s", err.msg);
    for (char *p = data; *p; n++, p++) {
        assert_true(n < TEXTS);
        for (lengths[n] = 0; *p != '\n'; lengths[n]++) {
            assert_true(at < ROOM);
            ids[at++] = (int32_t)strtol(p, &p, 10);
        }
    }
    quern__free(data);
    return n;
}

/* n texts on so many threads, `batch` of them a call; rows of the model's width. */
static inline void encode(const quern__encoder *e, uint32_t threads, uint32_t batch,
                          const int32_t *ids, const uint32_t *lengths, uint32_t n, float *out)
{
    quern_error err;
    quern__pool *pool = NULL;
    quern__encoder_scratch *s;
    if (threads > 1)
        assert_int_equal(quern__pool_new(&pool, threads, &err), QUERN_OK);
    assert_int_equal(quern__encoder_scratch_new(&s, e, threads, &err), QUERN_OK);
    for (uint32_t i = 0; i < n; i += batch) {
        const uint32_t many = QUERN__MIN(n - i, batch);
        if (quern__encode(e, s, pool, ids, lengths + i, many, true,
                          out + (size_t)i * quern__encoder_width(e), NULL, &err))
            fail_msg("%s", err.msg);
        for (uint32_t j = 0; j < many; j++)
            ids += lengths[i + j];
    }
    quern__encoder_scratch_free(s);
    quern__pool_free(pool);
}

static inline void hash_vectors(const float *out, uint32_t n, char hex[65])
{
    uint8_t digest[32];
    assert_int_equal(quern__sha256_of(out, n * DIM * sizeof *out, digest, NULL), QUERN_OK);
    quern__hex32(digest, hex);
}

#endif
