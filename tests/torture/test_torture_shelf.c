/*
 * test_torture_shelf.c — every allocation of import, list, find, verify and remove fails in turn, on a
 * model of a few hundred bytes: ENOMEM, nothing lost, and never half a model on the shelf.
 */
#include "torture/torture.h"

#include <string.h>

#include "base/os.h"
#include "quern/shelf.h"

#define EMBEDDINGS 5 * 8 * 4

static char source[128], shelf[128];

static void put(const char *name, const void *data, size_t size)
{
    char path[256];
    quern_error err;
    snprintf(path, sizeof path, "%s/%s", source, name);
    assert_int_equal(quern__write_file_atomic(path, data, size, &err), QUERN_OK);
}

static void write_model(void)
{
    static const char config[] =
        "{\"model_type\":\"bert\",\"hidden_size\":8,\"num_hidden_layers\":1,"
        "\"num_attention_heads\":2,\"intermediate_size\":16,\"vocab_size\":5,"
        "\"max_position_embeddings\":16,\"type_vocab_size\":2,\"hidden_act\":\"gelu\","
        "\"layer_norm_eps\":1e-12}";
    static const char header[] = "{\"embeddings.word_embeddings.weight\":{\"dtype\":\"F32\","
                                 "\"shape\":[5,8],\"data_offsets\":[0,160]}}";
    static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
    static const char settings[] = "{\"do_lower_case\":true,\"model_max_length\":16}";
    char weights[8 + 128 + EMBEDDINGS];
    memset(weights, 0, sizeof weights);
    weights[0] = (char)128;
    memset(weights + 8, ' ', 128);
    memcpy(weights + 8, header, sizeof header - 1);
    put("config.json", config, sizeof config - 1);
    put("vocab.txt", vocab, sizeof vocab - 1);
    put("tokenizer_config.json", settings, sizeof settings - 1);
    put("model.safetensors", weights, sizeof weights);
}

static int shelf_tour(void *ud, quern_error *err)
{
    quern_shelf_options o;
    quern_shelf_list *list = NULL;
    char *path = NULL;
    (void)ud;
    QUERN_INIT(&o);
    o.folder = shelf;
    /* What a failed run left is removed with the tap closed: it must be whole or nothing. */
    long armed = atomic_exchange(&torture.until, 0);
    quern_shelf_remove("tiny", &o, NULL);
    atomic_store(&torture.until, armed);
    int rc = quern_shelf_import(source, "tiny", &o, err);
    if (rc == QUERN_OK)
        rc = quern_shelf_import(source, "tiny", &o, err);
    if (rc == QUERN_OK)
        rc = quern_shelf_open(&list, &o, err);
    if (rc == QUERN_OK)
        assert_int_equal(quern_shelf_count(list), 1);
    quern_shelf_free(list);
    if (rc == QUERN_OK)
        rc = quern_shelf_find("tiny", &o, &path, err);
    quern_free(path);
    if (rc == QUERN_OK)
        rc = quern_shelf_verify("tiny", &o, err);
    if (rc == QUERN_OK)
        rc = quern_shelf_remove("tiny", &o, err);
    armed = atomic_exchange(&torture.until, 0);
    int whole = quern_shelf_verify("tiny", &o, NULL);
    assert_true(whole == QUERN_OK || whole == QUERN_ENOTFOUND);
    atomic_store(&torture.until, armed);
    return rc;
}

static void import_to_remove(void **state)
{
    quern_error err = {0};
    (void)state;
    snprintf(source, sizeof source, "torture-shelf.%u/source", (unsigned)quern__os_pid());
    snprintf(shelf, sizeof shelf, "torture-shelf.%u/shelf", (unsigned)quern__os_pid());
    assert_int_equal(quern__make_dirs(source, &err), QUERN_OK);
    write_model();
    if (shelf_tour(NULL, &err) != QUERN_OK)
        fail_msg("%s", err.msg);
    assert_true(torture_run_strided(shelf_tour, NULL, getenv("QUERN_LONG") ? 1 : 7) > 100);
    *strrchr(source, '/') = 0;
    assert_int_equal(quern__remove_tree(source, &err), QUERN_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(import_to_remove)};
    torture_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
