/*
 * A real model (MiniLM): its length, its refusals, and that many threads on one embedder get the bits
 * that one thread gets. The path comes from QUERN_TEST_MODEL.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "quern/embedder.h"

enum { DIM = 384 };

static quern_model *model;

static int open_model(void **state)
{
    (void)state;
    quern_error err;
    if (quern_model_open(&model, getenv("QUERN_TEST_MODEL"), NULL, &err) == QUERN_OK)
        return 0;
    print_error("%s\n", err.msg);
    return -1;
}

static int close_model(void **state)
{
    (void)state;
    quern_model_free(model);
    return 0;
}

static quern_embedder *embedder(uint32_t threads, uint32_t batch)
{
    quern_embedder_options opt;
    quern_embedder *e;
    QUERN_INIT(&opt);
    opt.threads = threads;
    opt.batch = batch;
    assert_int_equal(quern_embedder_from_model(&e, model, &opt, NULL), QUERN_OK);
    return e;
}

/* n words, "pebble" being one token: a text of n + 2 tokens. */
static char *words(size_t n)
{
    char *text = malloc(n * 7 + 1);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        memcpy(text + i * 7, "stones ", 7);
    text[n * 7] = '\0';
    return text;
}

static void knows_its_length(void **state)
{
    (void)state;
    quern_model_info info;
    quern_model *longer;
    quern_model_options opt;
    quern_error err;
    QUERN_INIT(&info);
    assert_int_equal(quern_model_describe(model, &info, NULL), QUERN_OK);
    /* sentence_bert_config.json says 256, tokenizer_config.json 512, tokenizer.json 128, positions 512 */
    assert_int_equal(info.max_sequence_length, 256);
    assert_int_equal(info.dimensions, DIM);
    assert_string_equal(info.family, "bert");
    assert_string_equal(info.pooling, "mean");
    assert_int_equal(info.parameters, 22713216);
    QUERN_INIT(&opt);
    opt.max_length = 512;
    assert_int_equal(quern_model_open(&longer, getenv("QUERN_TEST_MODEL"), &opt, &err), QUERN_OK);
    assert_int_equal(quern_model_max_length(longer), 512);
    quern_model_free(longer);
    opt.max_length = 513;
    assert_int_equal(quern_model_open(&longer, getenv("QUERN_TEST_MODEL"), &opt, &err),
                     QUERN_EINVAL);
    assert_null(longer);
    opt.max_length = 2;
    assert_int_equal(quern_model_open(&longer, getenv("QUERN_TEST_MODEL"), &opt, &err),
                     QUERN_EINVAL);
}

static void fingerprint_is_stable_and_says_the_length(void **state)
{
    (void)state;
    char *json, hash[65], again[65], sha[65];
    quern_model *other;
    quern_model_options opt;
    assert_int_equal(quern_model_weights_sha256(model, sha, NULL), QUERN_OK);
    assert_string_equal(sha, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db");
    assert_int_equal(quern_model_fingerprint(model, &json, hash, NULL), QUERN_OK);
    assert_non_null(strstr(json, sha));
    assert_non_null(strstr(json, "\"max_length\":256"));
    assert_non_null(strstr(json, "\"spec\":1"));
    /* Pinned: a change of it makes every store build anew, and every int8 file. */
    assert_non_null(
        strstr(json, "{\"architecture\":{\"activation\":\"gelu\",\"biases\":0,\"depth\":32,"
                     "\"distance_buckets\":0,\"distance_most\":0,\"eps\":\"3d71979980000000\","
                     "\"family\":\"bert\",\"first_position\":0,\"global_every\":0,\"heads\":12,"
                     "\"hidden\":384,\"intermediate\":1536,\"key_heads\":12,\"layers\":6,"
                     "\"rope\":\"0000000000000000\",\"rope_local\":\"0000000000000000\","
                     "\"rope_part\":\"0000000000000000\",\"types\":2,\"window\":0},"));
    quern_free(json);
    QUERN_INIT(&opt);
    opt.max_length = 128;
    assert_int_equal(quern_model_open(&other, getenv("QUERN_TEST_MODEL"), &opt, NULL), QUERN_OK);
    assert_int_equal(quern_model_fingerprint(other, &json, again, NULL), QUERN_OK);
    assert_string_not_equal(hash, again);
    quern_free(json);
    quern_model_free(other);
}

static void never_cuts_silently(void **state)
{
    (void)state;
    quern_embedder *e = embedder(1, 0);
    quern_error err;
    quern_embed_options opt;
    quern_embed_result r[2];
    static float out[2 * DIM], cut[2 * DIM];
    char *fits = words(254), *over = words(255);
    quern_str texts[2] = {quern_str_of(fits), quern_str_of(over)};
    assert_int_equal(quern_embed(e, texts, 1, NULL, out, DIM, r, &err), QUERN_OK);
    assert_int_equal(r[0].tokens, 256);
    assert_false(r[0].truncated);
    assert_int_equal(quern_embed(e, texts, 2, NULL, out, 2 * DIM, r, &err), QUERN_ETOOLONG);
    assert_int_equal(err.subject, 1);
    assert_int_equal(err.detail, 257);
    QUERN_INIT(&opt);
    opt.truncation = QUERN_TRUNCATION_CUT;
    assert_int_equal(quern_embed(e, texts, 2, &opt, cut, 2 * DIM, r, &err), QUERN_OK);
    assert_true(r[1].truncated);
    assert_int_equal(r[1].tokens, 256);
    assert_int_equal(r[1].tokens_full, 257);
    assert_memory_equal(cut, cut + DIM, DIM * sizeof *cut); /* cut to the same tokens */
    free(fits);
    free(over);
    quern_embedder_free(e);
}

static void refuses_bytes_that_are_not_utf8(void **state)
{
    (void)state;
    quern_embedder *e = embedder(1, 0);
    quern_error err;
    quern_embed_options opt;
    quern_str texts[2] = {quern_str_of("fine"),
                          {"ab\xff"
                           "cd",
                           5}};
    static float out[2 * DIM], replaced[DIM], joined[DIM];
    assert_int_equal(quern_embed(e, texts, 2, NULL, out, 2 * DIM, NULL, &err), QUERN_EFORMAT);
    assert_int_equal(err.subject, 1);
    assert_int_equal(err.detail, 2);
    QUERN_INIT(&opt);
    opt.invalid_utf8 = QUERN_INVALID_UTF8_REPLACE;
    assert_int_equal(quern_embed(e, texts + 1, 1, &opt, replaced, DIM, NULL, &err), QUERN_OK);
    texts[0] = quern_str_of("abcd"); /* the reference drops U+FFFD: the halves join */
    assert_int_equal(quern_embed(e, texts, 1, NULL, joined, DIM, NULL, &err), QUERN_OK);
    assert_memory_equal(replaced, joined, sizeof joined);
    quern_embedder_free(e);
}

/* ---- many threads ---- */

static const char *const texts_of_threads[] = {
    "",
    "a quiet game of chess",
    "the mill grinds grain into flour, slowly, and then faster",
    "x",
    "Die Mühle mahlt",
    "convert audio files from one format to another, many at once, on the command line",
};
enum { N_TEXTS = sizeof texts_of_threads / sizeof *texts_of_threads, MAX_THREADS = 16 };
static float expected[N_TEXTS][DIM];

typedef struct caller {
    quern_embedder *e;
    int seed, calls, wrong;
} caller;

static void call_often(void *ud)
{
    caller *c = ud;
    float out[3 * DIM];
    quern_str s[3];
    for (int i = 0; i < c->calls; i++) {
        size_t n = 1 + (size_t)(i % 3);
        for (size_t k = 0; k < n; k++)
            s[k] = quern_str_of(texts_of_threads[(size_t)(c->seed + i * 7 + (int)k * 5) % N_TEXTS]);
        if (quern_embed(c->e, s, n, NULL, out, 3 * DIM, NULL, NULL) != QUERN_OK) {
            c->wrong++;
            continue;
        }
        for (size_t k = 0; k < n; k++)
            if (memcmp(out + k * DIM, expected[(size_t)(c->seed + i * 7 + (int)k * 5) % N_TEXTS],
                       sizeof expected[0]) != 0)
                c->wrong++;
    }
}

#ifdef __SANITIZE_THREAD__
enum { LONG_CALLS = 50 }; /* some thirty times slower, and as sure to see a race */
#else
enum { LONG_CALLS = 1000 };
#endif

static void sixteen_threads_get_one_bit_pattern(void **state)
{
    (void)state;
    quern_embedder *single = embedder(1, 0), *shared = embedder(2, 2);
    quern__thread *threads[MAX_THREADS];
    caller callers[MAX_THREADS];
    for (size_t i = 0; i < N_TEXTS; i++) {
        quern_str s = quern_str_of(texts_of_threads[i]);
        assert_int_equal(quern_embed(single, &s, 1, NULL, expected[i], DIM, NULL, NULL), QUERN_OK);
    }
    for (int i = 0; i < MAX_THREADS; i++) {
        callers[i] = (caller){shared, i, getenv("QUERN_LONG") ? LONG_CALLS : 8, 0};
        assert_int_equal(quern__thread_start(&threads[i], call_often, &callers[i], NULL), QUERN_OK);
    }
    for (int i = 0; i < MAX_THREADS; i++) {
        quern__thread_join(threads[i]);
        assert_int_equal(callers[i].wrong, 0);
    }
    quern_embedder_free(single);
    quern_embedder_free(shared);
}

static void tokens_have_places(void **state)
{
    (void)state;
    quern_tokens *t;
    assert_int_equal(quern_model_tokenize(model, quern_str_of("Embedding grain"), &t, NULL),
                     QUERN_OK);
    assert_int_equal(t->n, 6); /* [CLS] em ##bed ##ding grain [SEP] */
    assert_string_equal(quern_model_token_text(model, t->ids[0]), "[CLS]");
    assert_string_equal(quern_model_token_text(model, t->ids[2]), "##bed");
    assert_int_equal(t->start[4], 10);
    assert_int_equal(t->end[4], 15);
    assert_int_equal(t->special[5], 1);
    assert_null(quern_model_token_text(model, 1 << 30));
    quern_tokens_free(t);
}

static void names_what_is_missing(void **state)
{
    (void)state;
    quern_model *m;
    quern_error err;
    assert_int_equal(quern_model_open(&m, "/nowhere/at/all", NULL, &err), QUERN_ENOTFOUND);
    assert_non_null(strstr(err.msg, "/nowhere/at/all"));
    assert_int_equal(quern_model_open(&m, "", NULL, &err), QUERN_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_its_length),
        cmocka_unit_test(fingerprint_is_stable_and_says_the_length),
        cmocka_unit_test(never_cuts_silently),
        cmocka_unit_test(refuses_bytes_that_are_not_utf8),
        cmocka_unit_test(sixteen_threads_get_one_bit_pattern),
        cmocka_unit_test(tokens_have_places),
        cmocka_unit_test(names_what_is_missing),
    };
    if (getenv("QUERN_SKIP_MODEL_TESTS")) {
        puts("skipped: QUERN_SKIP_MODEL_TESTS is set, no weights wanted");
        return 77;
    }
    return cmocka_run_group_tests(tests, open_model, close_model);
}
