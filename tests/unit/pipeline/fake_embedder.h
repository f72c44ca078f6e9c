/*
 * fake_embedder.h — an embedder for tests that need no model: a token is a run of bytes that are not blanks, a
 * vector the sum of its words' hashed directions, so texts with words in common are near. It counts its calls,
 * calls back before each, and fails on words that say so.
 */
#ifndef TEST_FAKE_EMBEDDER_H
#define TEST_FAKE_EMBEDDER_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quern/sys/embedder.h"

enum { FAKE_DIM = 32, FAKE_WORD = 64 };

typedef struct fake_embedder {
    const char *name;    /* in the fingerprint */
    uint32_t max_length; /* tokens with 2 special ones */
    uint64_t calls, texts;
    int no_subject;   /* faults do not name the text */
    int no_tokenizer; /* as one that asks a service */
    uint64_t outages; /* so many calls fail from now on, as those of a server that is down */
    int for_good;     /* it says so: nobody waits for it */
    void (*before)(void *ud);
    void *ud;
} fake_embedder;

static inline int fake_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f';
}

/* Words of the text; start and end may be NULL. A '#' splits: "a#b" is two tokens without a gap. */
static inline size_t fake_words(quern_str t, uint32_t *start, uint32_t *end)
{
    size_t n = 0;
    for (size_t i = 0; i < t.len;) {
        if (fake_blank(t.ptr[i])) {
            i++;
            continue;
        }
        size_t from = i++;
        while (i < t.len && !fake_blank(t.ptr[i]) && t.ptr[i] != '#')
            i++;
        if (start) {
            start[n] = (uint32_t)from;
            end[n] = (uint32_t)i;
        }
        n++;
    }
    return n;
}

static inline int fake_fail(quern_error *err, int status, int subject, const char *msg)
{
    if (err) {
        memset(err, 0, sizeof *err);
        err->status = status;
        err->subject = subject;
        snprintf(err->msg, sizeof err->msg, "%s", msg);
    }
    return status;
}

static inline int fake_tokenize(void *self, quern_str text, quern_tokens **out, quern_error *err)
{
    (void)self;
    size_t n = fake_words(text, NULL, NULL) + 2;
    char *block = quern_alloc(sizeof(quern_tokens) + n * (3 * sizeof(uint32_t) + 1));
    if (!block)
        return fake_fail(err, QUERN_ENOMEM, -1, "no memory for tokens");
    quern_tokens *t = (quern_tokens *)(void *)block;
    int32_t *ids = (int32_t *)(void *)(block + sizeof *t);
    uint32_t *start = (uint32_t *)(void *)(ids + n);
    uint32_t *end = start + n;
    uint8_t *special = (uint8_t *)(end + n);
    memset(ids, 0, n * 13);
    fake_words(text, start + 1, end + 1);
    special[0] = special[n - 1] = 1;
    *t = (quern_tokens){n, ids, start, end, special};
    *out = t;
    return QUERN_OK;
}

static inline void fake_vector(quern_str text, float *v)
{
    uint32_t start[4096];
    uint32_t end[4096];
    size_t n = fake_words(text, NULL, NULL);
    for (size_t d = 0; d < FAKE_DIM; d++)
        v[d] = 0;
    if (n == 0 || n > 4096) {
        v[0] = 1;
        return;
    }
    fake_words(text, start, end);
    for (size_t i = 0; i < n; i++) {
        uint64_t h = 1469598103934665603u;
        for (uint32_t k = start[i]; k < end[i]; k++)
            h = (h ^ (unsigned char)text.ptr[k]) * 1099511628211u;
        for (size_t d = 0; d < FAKE_DIM; d++) {
            h = h * 6364136223846793005u + 1442695040888963407u;
            v[d] += (float)((double)(h >> 40) / 8388608.0 - 1.0);
        }
    }
    double sum = 0;
    for (size_t d = 0; d < FAKE_DIM; d++)
        sum += (double)v[d] * v[d];
    for (size_t d = 0; d < FAKE_DIM; d++)
        v[d] = (float)(v[d] / sqrt(sum));
}

static inline int fake_has(quern_str t, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= t.len; i++) {
        if (memcmp(t.ptr + i, word, n) == 0)
            return 1;
    }
    return 0;
}

static inline int fake_embed(void *self, const quern_str *texts, size_t n,
                             const quern_embed_options *opt, float *out,
                             quern_embed_result *results, quern_error *err)
{
    fake_embedder *f = self;
    (void)opt;
    f->calls++;
    f->texts += n;
    if (f->before)
        f->before(f->ud);
    if (f->outages && f->outages--) {
        int rc = fake_fail(err, QUERN_EREMOTE, -1, "the endpoint is down");
        if (err && f->for_good)
            err->retry_ms = -1;
        return rc;
    }
    for (size_t i = 0; i < n; i++) {
        size_t tokens = fake_words(texts[i], NULL, NULL) + 2;
        if (f->max_length && tokens > f->max_length)
            return fake_fail(err, QUERN_ETOOLONG, (int)i, "too many tokens");
        if (fake_has(texts[i], "POISON"))
            return fake_fail(err, QUERN_EINTERNAL, f->no_subject ? -1 : (int)i, "not finite");
        if (fake_has(texts[i], "REFUSED")) {
            int rc = fake_fail(err, QUERN_EREMOTE, -1, "the endpoint answers 401");
            if (err)
                err->retry_ms = -1;
            return rc;
        }
        if (fake_has(texts[i], "OUTAGE"))
            return fake_fail(err, QUERN_EREMOTE, -1, "the endpoint is down");
        fake_vector(texts[i], out + i * FAKE_DIM);
        if (results) {
            memset(&results[i], 0, sizeof results[i]);
            results[i].tokens = results[i].tokens_full = (uint32_t)tokens;
        }
    }
    return QUERN_OK;
}

static inline int fake_fingerprint(void *self, char **json, quern_error *err)
{
    fake_embedder *f = self;
    char text[200];
    int n = snprintf(text, sizeof text, "{\"max_length\":%u,\"weights\":\"%s\"}", f->max_length,
                     f->name);
    *json = quern_alloc((size_t)n + 1);
    if (!*json)
        return fake_fail(err, QUERN_ENOMEM, -1, "no memory for a fingerprint");
    memcpy(*json, text, (size_t)n + 1);
    return QUERN_OK;
}

static inline quern_embedder *fake_open(fake_embedder *f)
{
    if (!f->name)
        f->name = "fake-1";
    if (!f->max_length)
        f->max_length = 12;
    quern_embedder_table t;
    memset(&t, 0, sizeof t);
    t.struct_size = sizeof t;
    t.name = "fake";
    t.dimensions = FAKE_DIM;
    t.max_length = f->max_length;
    t.embed = fake_embed;
    t.fingerprint = fake_fingerprint;
    t.tokenize = f->no_tokenizer ? NULL : fake_tokenize;
    quern_embedder *e = NULL;
    quern_error err;
    return quern_embedder_from_table(&e, &t, f, &err) == QUERN_OK ? e : NULL;
}

#endif
