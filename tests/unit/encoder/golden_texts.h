/*
 * golden_texts.h — for tests: all-MiniLM-L6-v2 as published and the 20 texts (token ids) whose vectors have golden hashes.
 */
#ifndef QUERN_TESTS_GOLDEN_TEXTS_H
#define QUERN_TESTS_GOLDEN_TEXTS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/kernel_tables.h"
#include "base/alloc.h"
#include "base/os.h"
#include "base/sha256.h"
#include "encodings.h"
#include "format/model_config.h"
#include "format/weights.h"

enum { MINILM_DIM = 384, MINILM_TEXTS = 20, MINILM_ROOM = 1024, MINILM_LONGEST = 256 };

typedef struct minilm {
    quern__model_config config;
    quern__weights *weights;
    int32_t ids[MINILM_ROOM];
    uint32_t lengths[MINILM_TEXTS], starts[MINILM_TEXTS]; /* starts: in ids */
} minilm;

static inline void read_golden_texts(minilm *m)
{
    char path[1024], *data;
    size_t size;
    uint32_t n = 0, at = 0;
    quern_error err;
    const char *root = getenv("QUERN_ROOT");
    snprintf(path, sizeof path, "%s/tests/golden/bits_texts.txt", root ? root : ".");
    if (quern__read_file(path, 1 << 16, &data, &size, &err))
        fail_msg("%s", err.msg);
    for (char *p = data; *p; n++, p++) {
        assert_true(n < MINILM_TEXTS);
        m->starts[n] = at;
        for (; *p != '\n'; m->ids[at++] = (int32_t)strtol(p, &p, 10))
            assert_true(at < MINILM_ROOM);
        m->lengths[n] = at - m->starts[n];
    }
    assert_int_equal(n, MINILM_TEXTS);
    quern__free(data);
}

static inline void minilm_open(minilm *m)
{
    quern_error err;
    const char *folder = getenv("QUERN_TEST_MODEL");
    assert_non_null(folder);
    if (quern__model_config_read(&m->config, folder, &err) ||
        quern__weights_open(&m->weights, folder, &err))
        fail_msg("%s (tools/test-env fetches the model)", err.msg);
    read_golden_texts(m);
}

/* For a test that takes too long under a sanitizer. */
static inline void minilm_or_skip(minilm *m)
{
    if (SANITIZED || getenv("QUERN_SKIP_MODEL_TESTS"))
        skip();
    minilm_open(m);
}

/* Their vectors in class fp32, and the bytes of its encoder. */
static inline uint64_t minilm_fp32(const minilm *m, float *out)
{
    quern__encoder *e;
    quern_error err;
    if (quern__encoder_open(&e, &m->config, m->weights, quern__kernels_pick(~0u), MINILM_LONGEST,
                            &err))
        fail_msg("%s", err.msg);
    const uint64_t bytes = quern__encoder_bytes(e);
    encode(e, 1, MINILM_TEXTS, m->ids, m->lengths, MINILM_TEXTS, out);
    quern__encoder_free(e);
    return bytes;
}

/* The SHA-256 of n vectors. */
static inline void assert_hash(const char *what, const float *out, uint32_t n, const char *want)
{
    uint8_t digest[32];
    char hex[65];
    assert_int_equal(quern__sha256_of(out, (size_t)n * MINILM_DIM * sizeof *out, digest, NULL),
                     QUERN_OK);
    quern__hex32(digest, hex);
    if (strcmp(hex, want) != 0)
        fail_msg("%s: the hash of %u texts is %s, not %s", what, n, hex, want);
}

#endif
