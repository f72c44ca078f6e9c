/*
 * test_golden_vectors.c — the published model against PyTorch: 509 texts in 20 scripts, from one token
 * to past the limit. Token ids by hash, vectors by cosine >= 0.99999 and no component further off than
 * 1e-4. tools/make-golden-vectors made the files; its head describes them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/os.h"
#include "base/sha256.h"
#include "quern/embedder.h"

enum { MAX_TEXTS = 4096, DIM = 384, LIMIT = 256 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SHORT_STRIDE = 16 }; /* arithmetic is ten times slower under a sanitizer */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
enum { SHORT_STRIDE = 16 };
#else
enum { SHORT_STRIDE = 1 };
#endif
#else
enum { SHORT_STRIDE = 1 };
#endif

typedef struct golden {
    char *text; /* NUL-terminated */
    size_t len;
    uint64_t tokens;
    char ids[17];
} golden;

static golden texts[MAX_TEXTS];
static size_t n_texts;
static int16_t *fixed; /* [n_texts, DIM] */
static float scale;
static quern_model *model;

static void must(int rc, const quern_error *err)
{
    if (rc != QUERN_OK)
        fail_msg("%d %s", rc, err->msg);
}

static char *read_golden(const char *name, size_t *size)
{
    const char *root = getenv("QUERN_ROOT");
    char path[4096], *data;
    quern_error err;

    snprintf(path, sizeof path, "%s/tests/golden/%s", root ? root : ".", name);
    must(quern__read_file(path, 1 << 20, &data, size, &err), &err);
    return data;
}

static void read_line(const char *line, size_t len, golden *g)
{
    quern__json j;
    quern_str key, value;
    quern_error err;
    int rc;

    quern__json_init(&j, line, len, "minilm_texts.jsonl");
    must(quern__json_enter_object(&j, &err), &err);
    while ((rc = quern__json_next_key(&j, &key, &err)) == 1) {
        if (quern__str_is(key, "tokens")) {
            must(quern__json_u64(&j, &g->tokens, &err), &err);
            continue;
        }
        rc = quern__str_is(key, "text");
        must(quern__json_string(&j, &value, &err), &err);
        if (rc) {
            g->len = value.len;
            g->text = calloc(1, value.len + 1);
            assert_non_null(g->text);
            memcpy(g->text, value.ptr, value.len);
        } else {
            assert_int_equal(value.len, 16);
            memcpy(g->ids, value.ptr, 16);
        }
    }
    must(rc, &err);
    quern__json_dispose(&j);
    assert_non_null(g->text);
}

static int load(void **state)
{
    size_t size, at = 0;
    char *lines = read_golden("minilm_texts.jsonl", &size), *vectors;
    uint32_t shape[2];
    quern_error err;

    (void)state;
    while (at < size) {
        size_t len = strcspn(lines + at, "\n");
        assert_true(n_texts < MAX_TEXTS);
        read_line(lines + at, len, &texts[n_texts++]);
        at += len + 1;
    }
    quern_free(lines);
    vectors = read_golden("minilm_vectors.bin", &size);
    assert_true(size > 20 && memcmp(vectors, "QGOLDEN1", 8) == 0);
    memcpy(shape, vectors + 8, 8);
    memcpy(&scale, vectors + 16, 4);
    assert_int_equal(shape[0], n_texts);
    assert_int_equal(shape[1], DIM);
    assert_int_equal(size, 20 + n_texts * DIM * 2);
    fixed = calloc(n_texts, DIM * sizeof *fixed);
    assert_non_null(fixed);
    memcpy(fixed, vectors + 20, n_texts * DIM * 2);
    quern_free(vectors);
    must(quern_model_open(&model, getenv("QUERN_TEST_MODEL"), NULL, &err), &err);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    quern_model_free(model);
    for (size_t i = 0; i < n_texts; i++)
        free(texts[i].text);
    free(fixed);
    return 0;
}

/* The set itself keeps what the contract asks of it. */
static void test_set(void **state)
{
    uint64_t least = UINT64_MAX, most = 0;

    (void)state;
    assert_true(n_texts >= 500);
    for (size_t i = 0; i < n_texts; i++) {
        least = texts[i].tokens < least ? texts[i].tokens : least;
        most = texts[i].tokens > most ? texts[i].tokens : most;
    }
    assert_true(least <= 3 && most >= 600);
    assert_int_equal(quern_model_max_length(model), LIMIT);
    assert_int_equal(quern_model_dimensions(model), DIM);
}

static void test_ids(void **state)
{
    quern_tokens *t;
    quern_error err;
    uint8_t digest[32];
    char hex[65];

    (void)state;
    for (size_t i = 0; i < n_texts; i++) {
        int32_t ids[LIMIT];
        size_t n;
        must(quern_model_tokenize(model, (quern_str){texts[i].text, texts[i].len}, &t, &err), &err);
        n = t->n < LIMIT ? t->n : LIMIT;
        memcpy(ids, t->ids, n * sizeof *ids);
        ids[n - 1] = t->ids[t->n - 1]; /* a cut text keeps its closing token */
        must(quern__sha256_of(ids, n * sizeof *ids, digest, &err), &err);
        quern__hex32(digest, hex);
        if (t->n != texts[i].tokens || memcmp(hex, texts[i].ids, 16) != 0)
            fail_msg("text %zu: other token ids (%zu tokens, %zu expected): %s", i, t->n,
                     (size_t)texts[i].tokens, texts[i].text);
        quern_tokens_free(t);
    }
}

static void compare(size_t i, const float *v, const quern_embed_result *r, double *worst)
{
    double dot = 0, a = 0, b = 0, apart = 0;

    for (size_t k = 0; k < DIM; k++) {
        double x = v[k], y = (double)fixed[i * DIM + k] * (double)scale;
        dot += x * y;
        a += x * x;
        b += y * y;
        apart = fmax(apart, fabs(x - y));
    }
    dot /= sqrt(a * b);
    if (!(dot >= 0.99999) || !(apart <= 1e-4))
        fail_msg("text %zu (%u tokens): cosine %.7f, furthest component %.2e: %s", i, r->tokens,
                 dot, apart, texts[i].text);
    assert_true(fabs(a - 1) < 1e-5);
    assert_int_equal(r->tokens_full, texts[i].tokens);
    assert_int_equal(r->truncated, texts[i].tokens > LIMIT);
    worst[0] = fmin(worst[0], dot);
    worst[1] = fmax(worst[1], apart);
}

static void test_vectors(void **state)
{
    const char *length = getenv("QUERN_LONG");
    size_t stride = length && *length == '1' ? 1 : SHORT_STRIDE, n = 0;
    quern_str *in = calloc(n_texts, sizeof *in);
    float *out = calloc(n_texts, DIM * sizeof *out);
    quern_embed_result *results = calloc(n_texts, sizeof *results);
    quern_embedder *e;
    quern_embed_options opt;
    quern_error err;
    double worst[2] = {1, 0};

    (void)state;
    assert_true(in && out && results);
    must(quern_embedder_from_model(&e, model, NULL, &err), &err);
    QUERN_INIT(&opt);
    opt.truncation = QUERN_TRUNCATION_CUT;
    for (size_t i = 0; i < n_texts; i += stride)
        in[n++] = (quern_str){texts[i].text, texts[i].len};
    must(quern_embed(e, in, n, &opt, out, n * DIM, results, &err), &err);
    for (size_t i = 0; i < n; i++)
        compare(i * stride, out + i * DIM, &results[i], worst);
    printf("%zu texts: least cosine %.8f, furthest component %.2e\n", n, worst[0], worst[1]);
    quern_embedder_free(e);
    free(in);
    free(out);
    free(results);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_vectors),
    };

    if (getenv("QUERN_SKIP_MODEL_TESTS") || !getenv("QUERN_TEST_MODEL")) {
        printf("skipped: no model (QUERN_TEST_MODEL), or QUERN_SKIP_MODEL_TESTS is set\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, load, unload);
}
