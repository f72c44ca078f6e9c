/*
 * faulty_inner.h — an embedder with faults to order, for tests of what stands in front of one.
 */
#ifndef QUERN_TESTS_FAULTY_INNER_H
#define QUERN_TESTS_FAULTY_INNER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cancel.h"
#include "base/error.h"
#include "base/os.h"
#include "quern/provider.h"
#include "quern/sys/embedder.h"

enum { DIM = 2, TEXTS = 500 };

/* Gives each text "N" the direction of N; what it refuses is set by the test. */
typedef struct inner {
    atomic_int calls, texts, now, peak;
    size_t most;        /* texts in a call; more is a 400 */
    int poison;         /* number of a text that is a 400, -1 none */
    int stumbles;       /* number of a text that is a 500 each time, 0 none */
    atomic_int outages; /* so many calls fail, to be tried again after retry_ms */
    int retry_ms, status, delay_ms;
    const char *says;   /* the fingerprint, NULL: {} */
    int fatal_at;       /* the call of this number fails for good; 0 none */
    bool hangs;         /* those behind it last until they are cancelled */
    uint8_t bad[TEXTS]; /* poison, too */
    atomic_int asked[TEXTS],
        answered[TEXTS]; /* how often each was in a call, and in one that went well */
} inner;

static inline void direction(int n, float *v)
{
    float x = (float)(n % 97) - 48, y = (float)(n % 89) + 1;
    float norm = (float)__builtin_sqrt((double)(x * x + y * y));
    v[0] = x / norm;
    v[1] = y / norm;
}

static inline int inner_embed(void *self, const quern_str *texts, size_t n,
                              const quern_embed_options *opt, float *out,
                              quern_embed_result *results, quern_error *err)
{
    inner *e = self;
    int call = atomic_fetch_add(&e->calls, 1) + 1, now = atomic_fetch_add(&e->now, 1) + 1;
    int peak = atomic_load(&e->peak), rc = QUERN_OK;
    atomic_fetch_add(&e->texts, (int)n);
    while (now > peak && !atomic_compare_exchange_weak(&e->peak, &peak, now)) {
    }
    const int lasts = e->hangs && call > e->fatal_at ? 60000 : e->delay_ms;
    for (int i = 0; i <= lasts && !rc; i++) {
        quern__sleep_ms(1);
        rc = quern__check_cancel(opt->cancel, err);
    }
    if (rc == 0 && atomic_load(&e->outages) > 0 && atomic_fetch_sub(&e->outages, 1) > 0) {
        rc = quern__fail(err, QUERN_EREMOTE, e->status, "inner answers %d", e->status);
        if (e->retry_ms >= 0)
            quern__may_retry(err, rc, (uint32_t)e->retry_ms);
    } else if (!rc && e->fatal_at == call) {
        rc = quern__fail(err, QUERN_EREMOTE, 401, "no");
    } else if (!rc && e->most && n > e->most) {
        rc = quern__fail(err, QUERN_EREMOTE, 400, "too many");
    }
    for (size_t i = 0; i < n && !rc; i++) {
        int number = atoi(texts[i].ptr);
        if (number == e->poison || e->bad[number % TEXTS]) {
            rc = quern__fail(err, QUERN_EREMOTE, 400, "bad text");
            if (n == 1)
                quern__blame(err, rc, 0);
        }
        if (!rc && e->stumbles && number == e->stumbles)
            rc = quern__may_retry(err, quern__fail(err, QUERN_EREMOTE, 500, "too large"), 0);
        direction(number, out + DIM * i);
        results[i].tokens = 3;
    }
    for (size_t i = 0; i < n; i++) {
        atomic_fetch_add(&e->asked[atoi(texts[i].ptr) % TEXTS], 1);
        atomic_fetch_add(&e->answered[atoi(texts[i].ptr) % TEXTS], rc == QUERN_OK);
    }
    atomic_fetch_sub(&e->now, 1);
    return rc;
}

static inline int inner_fingerprint(void *self, char **json, quern_error *err)
{
    const char *says = ((const inner *)self)->says ? ((const inner *)self)->says : "{}";
    size_t n = strlen(says) + 1;
    *json = quern_alloc(n);
    if (!*json)
        return quern__fail_memory(err, n);
    memcpy(*json, says, n);
    return QUERN_OK;
}

static inline quern_embedder *make_inner(inner *e)
{
    quern_embedder_table table = {.struct_size = sizeof table,
                                  .name = "inner",
                                  .dimensions = DIM,
                                  .embed = inner_embed,
                                  .fingerprint = inner_fingerprint};
    quern_embedder *out = NULL;
    assert_int_equal(quern_embedder_from_table(&out, &table, e, NULL), 0);
    return out;
}

typedef struct texts {
    char bytes[TEXTS][8];
    quern_str list[TEXTS];
} texts;

static inline void number_texts(texts *t)
{
    for (int i = 0; i < TEXTS; i++) {
        snprintf(t->bytes[i], sizeof t->bytes[i], "%d", i);
        t->list[i] = quern_str_of(t->bytes[i]);
    }
}

static inline int embed_all(quern_embedder *e, size_t n, quern_error *err)
{
    static texts t;
    static float out[TEXTS * DIM];
    quern_embed_result results[TEXTS];
    number_texts(&t);
    memset(out, 0, sizeof out);
    int rc = quern_embed(e, t.list, n, NULL, out, sizeof out / sizeof *out, results, err);
    for (size_t i = 0; i < n && rc == QUERN_OK; i++) {
        float want[DIM];
        direction((int)i, want);
        assert_memory_equal(out + DIM * i, want, sizeof want);
        assert_int_equal(results[i].tokens, 3);
    }
    return rc;
}

#endif
