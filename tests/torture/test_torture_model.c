/* Every allocation of open-model, tokenize, embed, fingerprint and JSON fails in turn: ENOMEM, nothing lost. */
#include "torture/torture.h"

#include "quern/embedder.h"

enum { DIM = 384 };

static int open_and_embed(void *ud, quern_error *err)
{
    static float out[2 * DIM];
    const char *folder = ud;
    quern_model *model = NULL;
    quern_embedder *embedder = NULL;
    quern_embedder_options opt;
    quern_str texts[2] = {quern_str_of("the mill grinds"), quern_str_of("flour")};
    QUERN_INIT(&opt);
    opt.threads = 1;
    opt.batch = 2;
    int rc = quern_model_open(&model, folder, NULL, err);
    if (rc == QUERN_OK)
        rc = quern_embedder_from_model(&embedder, model, &opt, err);
    if (rc == QUERN_OK)
        rc = quern_embed(embedder, texts, 2, NULL, out, 2 * DIM, NULL, err);
    quern_embedder_free(embedder);
    quern_model_free(model);
    return rc;
}

static void opening_and_embedding(void **state)
{
    torture_run_strided(open_and_embed, *state, getenv("QUERN_LONG") ? 1 : 3);
}

/* What is made per call, on a model that is open. */
static int use_embedder(void *ud, quern_error *err)
{
    quern_embedder *embedder = ud;
    quern_tokens *tokens = NULL;
    quern_embed_job *job = NULL;
    quern_embed_options opt;
    static float out[DIM];
    char *json = NULL;
    quern_str bad = {"a\xff"
                     "b",
                     3};
    QUERN_INIT(&opt);
    opt.invalid_utf8 = QUERN_INVALID_UTF8_REPLACE;
    int rc = quern_embedder_tokenize(embedder, quern_str_of("grain and flour"), &tokens, err);
    quern_tokens_free(tokens);
    if (rc == QUERN_OK)
        rc = quern_embed_json(embedder, bad, &opt, &json, err);
    quern_free(json);
    if (rc == QUERN_OK)
        rc = quern_embed_start(&job, embedder, &bad, 1, &opt, out, DIM, NULL, err);
    if (rc == QUERN_OK)
        rc = quern_embed_wait(job, err);
    return rc;
}

static void calls_on_an_open_model(void **state)
{
    quern_model *model;
    quern_embedder *embedder;
    quern_embedder_options opt;
    quern_error err;
    QUERN_INIT(&opt);
    opt.threads = 1;
    assert_int_equal(quern_model_open(&model, *state, NULL, &err), QUERN_OK);
    assert_int_equal(quern_embedder_from_model(&embedder, model, &opt, &err), QUERN_OK);
    quern_model_free(model);
    assert_int_equal(use_embedder(embedder, &err), QUERN_OK); /* scratch that stays has been made */
    assert_true(torture_run(use_embedder, embedder) > 5);
    quern_embedder_free(embedder);
}

int main(void)
{
    char *folder = getenv("QUERN_TEST_MODEL");
    torture_install();
    if (getenv("QUERN_SKIP_MODEL_TESTS")) {
        puts("skipped: QUERN_SKIP_MODEL_TESTS is set, no weights wanted");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(opening_and_embedding, folder),
        cmocka_unit_test_prestate(calls_on_an_open_model, folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
