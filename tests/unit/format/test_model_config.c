/*
 * test_model_config.c — the folder of a published model as it is, each of its files with one thing
 * changed, and what must be refused by name. Folders are written to a scratch directory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/os.h"
#include "format/model_config.h"

#define BODY                                                                                       \
    "\"hidden_act\":\"gelu\",\"hidden_size\":80,\"intermediate_size\":200,"                        \
    "\"layer_norm_eps\":1e-12,\"max_position_embeddings\":70,\"num_attention_heads\":5,"           \
    "\"num_hidden_layers\":3,\"type_vocab_size\":2,\"vocab_size\":1003"
#define GOOD "{\"model_type\":\"bert\"," BODY "}"
#define MODULES(third)                                                                             \
    "[{\"idx\":0,\"name\":\"0\",\"path\":\"\",\"type\":\"sentence_transformers.models."            \
    "Transformer\"},"                                                                              \
    "{\"idx\":1,\"name\":\"1\",\"path\":\"1_Pooling\",\"type\":\"sentence_transformers.models."    \
    "Pooling\"}" third "]"
#define NORMALIZE                                                                                  \
    ",{\"idx\":2,\"name\":\"2\",\"path\":\"2_Normalize\","                                         \
    "\"type\":\"sentence_transformers.models.Normalize\"}"
#define POOLING(cls, mean, max)                                                                    \
    "{\"word_embedding_dimension\":80,\"pooling_mode_cls_token\":" cls                             \
    ",\"pooling_mode_mean_tokens\":" mean ",\"pooling_mode_max_tokens\":" max "}"

static char folder[64];

static void put(const char *name, const char *text)
{
    char path[160];
    quern_error err;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (text)
        assert_int_equal(quern__write_file_atomic(path, text, strlen(text), &err), QUERN_OK);
    else
        assert_int_equal(quern__remove_file(path, &err), QUERN_OK);
}

/* A whole good folder; tests then replace one file. */
static int reset(void **state)
{
    char path[160];
    quern_error err;

    (void)state;
    snprintf(folder, sizeof folder, "test_model_config.%u.tmp", quern__os_pid());
    snprintf(path, sizeof path, "%s/1_Pooling", folder);
    assert_int_equal(quern__remove_tree(folder, &err), QUERN_OK);
    assert_int_equal(quern__make_dirs(path, &err), QUERN_OK);
    put("config.json", GOOD);
    put("modules.json", MODULES(NORMALIZE));
    put("1_Pooling/config.json", POOLING("false", "true", "false"));
    put("sentence_bert_config.json", "{\"max_seq_length\":64,\"do_lower_case\":false}");
    put("config_sentence_transformers.json", "{\"__version__\":{\"pytorch\":\"1.8.1\"}}");
    return 0;
}

static int sweep(void **state)
{
    (void)state;
    return quern__remove_tree(folder, NULL);
}

static void refused(int status, const char *part)
{
    quern__model_config c;
    quern_error err = {0};
    int rc = quern__model_config_read(&c, folder, &err);

    if (rc != status || !strstr(err.msg, part))
        fail_msg("%d \"%s\", not %d \"%s\"", rc, err.msg, status, part);
}

static void read_good(quern__model_config *c)
{
    quern_error err = {0};
    if (quern__model_config_read(c, folder, &err) != QUERN_OK)
        fail_msg("%s", err.msg);
}

static void config_refused(const char *text, int status, const char *part)
{
    quern__model_config c;
    quern_error err = {0};
    int rc = quern__model_config_parse(&c, text, strlen(text), "config.json", &err);

    if (rc != status || !strstr(err.msg, part) || !strstr(err.msg, "config.json"))
        fail_msg("%s\n   %d \"%s\", not %d \"%s\"", text, rc, err.msg, status, part);
}

#define SIZES                                                                                      \
    "\"hidden_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2,\"intermediate_size\":"   \
    "16,"                                                                                          \
    "\"vocab_size\":30,\"max_position_embeddings\":14"

static void test_families(void **state)
{
    quern__model_config c;
    quern_error err;
    const char *roberta = "{\"model_type\":\"roberta\"," SIZES ",\"pad_token_id\":3}",
               *mpnet =
                   "{" SIZES ",\"relative_attention_num_buckets\":32,\"model_type\":\"mpnet\"}",
               *distil =
                   "{\"dim\":8,\"n_layers\":1,\"n_heads\":2,\"hidden_dim\":16,\"vocab_size\":30,"
                   "\"max_position_embeddings\":14,\"activation\":\"gelu\","
                   "\"model_type\":\"distilbert\"}";
    (void)state;
    assert_int_equal(quern__model_config_parse(&c, roberta, strlen(roberta), "x", &err), QUERN_OK);
    assert_true(c.padding == 3 && c.positions == 10 && c.types == 1);
    assert_int_equal(quern__model_config_parse(&c, mpnet, strlen(mpnet), "x", &err), QUERN_OK);
    assert_true(c.padding == 1 && c.positions == 12 && c.types == 0);
    assert_int_equal(quern__model_config_parse(&c, distil, strlen(distil), "x", &err), QUERN_OK);
    assert_true(c.padding == -1 && c.hidden == 8 && c.heads == 2 && c.intermediate == 16 &&
                c.positions == 14 && c.types == 0);
    config_refused("{\"model_type\":\"gptj\"}", QUERN_EUNSUPPORTED, "distilbert");
#define T5                                                                                         \
    "{\"model_type\":\"t5\",\"d_model\":8,\"num_layers\":1,\"num_heads\":2,\"d_ff\":16,"           \
    "\"vocab_size\":30,\"relative_attention_num_buckets\":32,\"is_encoder_decoder\":true"
    const char *t5 = T5 ",\"d_kv\":5,\"feed_forward_proj\":\"relu\"}";
    assert_int_equal(quern__model_config_parse(&c, t5, strlen(t5), "x", &err), QUERN_OK);
    assert_true(c.hidden == 8 && c.depth == 5 && c.positions == 512 && c.types == 0 &&
                c.layer_norm_eps == 1e-6f);
    config_refused(T5 "}", QUERN_EFORMAT, "d_kv");
    const char *gated =
        T5 ",\"d_kv\":5,\"is_gated_act\":true,\"feed_forward_proj\":\"gated-gelu\"}";
    assert_int_equal(quern__model_config_parse(&c, gated, strlen(gated), "x", &err), QUERN_OK);
    assert_string_equal(c.family, "t5-gated");
    config_refused(T5 ",\"d_kv\":5,\"feed_forward_proj\":\"gated-silu\"}", QUERN_EUNSUPPORTED,
                   "feed_forward_proj \"gated-silu\"");
    config_refused(T5 ",\"d_kv\":5,\"feed_forward_proj\":\"gated-gelu\",\"is_gated_act\":false}",
                   QUERN_EUNSUPPORTED, "is_gated_act");
    config_refused(T5 ",\"d_kv\":5,\"dense_act_fn\":\"gelu_new\"}", QUERN_EUNSUPPORTED,
                   "dense_act_fn");
    config_refused("{\"model_type\":\"t5-gated\"}", QUERN_EUNSUPPORTED, "model_type \"t5-gated\"");
    config_refused(T5 ",\"d_kv\":5,\"is_gated_act\":true}", QUERN_EUNSUPPORTED, "is_gated_act");
    config_refused(T5 ",\"d_kv\":5,\"relative_attention_max_distance\":64}", QUERN_EUNSUPPORTED,
                   "max_distance is 64");
    config_refused("{\"model_type\":\"roberta\"," SIZES ",\"pad_token_id\":13}", QUERN_EFORMAT,
                   "pad_token_id 13");
    config_refused("{\"model_type\":\"roberta\"," SIZES ",\"pad_token_id\":18446744073709551615}",
                   QUERN_EFORMAT, "pad_token_id");
    config_refused("{\"model_type\":\"mpnet\"," SIZES "}", QUERN_EUNSUPPORTED, "buckets is 0");
    config_refused("{\"model_type\":\"mpnet\"," SIZES ",\"relative_attention_num_buckets\":64}",
                   QUERN_EUNSUPPORTED, "buckets is 64");
    config_refused("{\"model_type\":\"distilbert\"," SIZES "}", QUERN_EFORMAT, "no dim");
    config_refused("{\"model_type\":\"distilbert\",\"dim\":8,\"dim\":8}", QUERN_EFORMAT, "dim");
    config_refused("{\"dim\":8,\"n_layers\":1,\"n_heads\":2,\"hidden_dim\":16,\"vocab_size\":30,"
                   "\"max_position_embeddings\":14,\"activation\":\"relu\","
                   "\"model_type\":\"distilbert\"}",
                   QUERN_EUNSUPPORTED, "activation");
}

/* ---- families with keys of their own ---- */

#define MODERN                                                                                     \
    "\"model_type\":\"modernbert\"," SIZES ",\"global_attn_every_n_layers\":3,"                    \
    "\"local_attention\":9,\"global_rope_theta\":160000.0"
#define NOMIC                                                                                      \
    "\"model_type\":\"nomic_bert\",\"n_embd\":8,\"n_layer\":1,\"n_head\":2,\"n_inner\":16,"        \
    "\"n_positions\":14,\"vocab_size\":30,\"rotary_emb_base\":1000"
#define QWEN "\"model_type\":\"qwen3\"," SIZES ",\"rope_theta\":1000000,\"num_key_value_heads\":1"

static void test_rotary_families(void **state)
{
    static const struct {
        const char *text;
        int status;
        const char *part;
    } bad[] = {
        {"{" MODERN ",\"rope_scaling\":{\"type\":\"linear\"}}", QUERN_EUNSUPPORTED, "rope_scaling"},
        {"{" MODERN ",\"layer_types\":[]}", QUERN_EUNSUPPORTED, "layer_types"},
        {"{" MODERN ",\"rope_parameters\":{}}", QUERN_EUNSUPPORTED, "rope_parameters"},
        {"{" MODERN ",\"local_rope_theta\":0.5}", QUERN_EFORMAT, "local_rope_theta is 0.5"},
        {"{" MODERN ",\"local_rope_theta\":\"x\"}", QUERN_EFORMAT, "config.json"},
        {"{" MODERN ",\"hidden_activation\":\"silu\"}", QUERN_EUNSUPPORTED, "hidden_activation"},
        {"{" MODERN ",\"norm_eps\":0}", QUERN_EFORMAT, "norm_eps is 0"},
        {"{" MODERN ",\"local_attention\":9}", QUERN_EFORMAT, "\"local_attention\" is there twice"},
        {"{" MODERN ",\"norm_bias\":1}", QUERN_EFORMAT, "config.json"},
        {"{\"model_type\":\"modernbert\"," SIZES "}", QUERN_EFORMAT,
         "no global_attn_every_n_layers"},
        {"{" NOMIC ",\"rotary_emb_fraction\":0.5}", QUERN_EFORMAT, "rotary_emb_fraction is 0.5"},
        {"{" NOMIC "}", QUERN_EFORMAT, "no rotary_emb_fraction"},
        {"{" NOMIC ",\"rotary_scaling_factor\":2}", QUERN_EUNSUPPORTED, "rotary_scaling_factor"},
        {"{" NOMIC ",\"prenorm\":true}", QUERN_EUNSUPPORTED, "prenorm"},
        {"{" NOMIC ",\"causal\":true}", QUERN_EUNSUPPORTED, "causal"},
        {"{" NOMIC ",\"moe_every_n_layers\":2}", QUERN_EUNSUPPORTED, "moe_every_n_layers"},
        {"{" NOMIC ",\"scale_attn_weights\":false}", QUERN_EUNSUPPORTED, "scale_attn_weights"},
        {"{" NOMIC ",\"activation_function\":\"gelu\"}", QUERN_EUNSUPPORTED, "activation_function"},
        {"{" QWEN "}", QUERN_EFORMAT, "no head_dim"},
        {"{" QWEN ",\"head_dim\":5}", QUERN_EFORMAT, "heads of 5 columns"},
        {"{" QWEN ",\"head_dim\":0}", QUERN_EFORMAT, "head_dim is 0"},
        {"{" QWEN ",\"head_dim\":4294967298}", QUERN_EFORMAT, "head_dim is 4294967298"},
        {"{" QWEN ",\"head_dim\":4,\"use_sliding_window\":true}", QUERN_EUNSUPPORTED,
         "use_sliding_window"},
        {"{" QWEN ",\"head_dim\":4,\"layer_types\":[\"full_attention\",\"sliding_attention\"]}",
         QUERN_EUNSUPPORTED, "sliding_attention"},
        {"{\"model_type\":\"qwen3\"," SIZES
         ",\"rope_theta\":1e300,\"num_key_value_heads\":1,\"head_dim\":4}",
         QUERN_EFORMAT, "rope_theta is 1e+300"},
        {"{\"model_type\":\"qwen3\"," SIZES
         ",\"rope_theta\":1e4,\"num_key_value_heads\":3,\"head_dim\":4}",
         QUERN_EFORMAT, "num_key_value_heads 3"},
    };
    static const char modern[] = "{\"local_rope_theta\":null,\"mlp_bias\":true,\"norm_eps\":1e-4,"
                                 "\"rope_scaling\":null," MODERN "}",
                      nomic[] = "{" NOMIC ",\"rotary_emb_fraction\":1.0,\"qkv_proj_bias\":false,"
                                "\"layer_norm_epsilon\":1e-11,\"num_experts\":0}",
                      qwen[] = "{" QWEN ",\"head_dim\":4,\"rms_norm_eps\":1e-5,"
                               "\"layer_types\":[\"full_attention\"],\"sliding_window\":null}";
    quern__model_config c;
    quern_error err;
    (void)state;
    assert_int_equal(quern__model_config_parse(&c, modern, strlen(modern), "x", &err), QUERN_OK);
    assert_true(c.global_every == 3 && c.window == 9 && c.rope == 160000 && c.rope_local == 0);
    assert_true(c.bias_feed && c.bias_down && !c.bias_attention && !c.bias_norm);
    assert_true(c.layer_norm_eps == 1e-4f && c.types == 0 && c.depth == 0);
    assert_int_equal(quern__model_config_parse(&c, nomic, strlen(nomic), "x", &err), QUERN_OK);
    assert_true(c.rope == 1000 && c.types == 2 && c.positions == 14 && c.intermediate == 16);
    assert_true(c.bias_feed && c.bias_down && !c.bias_attention && c.bias_norm);
    assert_true(c.layer_norm_eps == 1e-11f);
    assert_int_equal(quern__model_config_parse(&c, qwen, strlen(qwen), "x", &err), QUERN_OK);
    assert_true(c.depth == 4 && c.key_heads == 1 && c.heads == 2 && c.rope == 1000000);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        config_refused(bad[i].text, bad[i].status, bad[i].part);
}

static void test_good(void **state)
{
    quern__model_config c;

    (void)state;
    read_good(&c);
    assert_string_equal(c.family, "bert");
    assert_int_equal(c.hidden, 80);
    assert_int_equal(c.layers, 3);
    assert_int_equal(c.heads, 5);
    assert_int_equal(c.intermediate, 200);
    assert_int_equal(c.vocab, 1003);
    assert_int_equal(c.positions, 70);
    assert_int_equal(c.types, 2);
    assert_true(c.layer_norm_eps == 1e-12f);
    assert_int_equal(c.pooling, QUERN__POOL_MEAN);
    assert_true(c.pooling_stated);
    assert_true(c.normalize);
    assert_int_equal(c.max_seq_length, 64);
    assert_string_equal(c.prompt_query, "");
    assert_string_equal(c.prompt_document, "");
}

static void test_defaults(void **state)
{
    quern__model_config c;

    (void)state;
    put("modules.json", NULL);
    put("1_Pooling/config.json", NULL);
    put("sentence_bert_config.json", NULL);
    put("config_sentence_transformers.json", NULL);
    put("config.json",
        "{\"vocab_size\":9,\"hidden_size\":8,\"num_attention_heads\":2,"
        "\"num_hidden_layers\":1,\"intermediate_size\":3,\"model_type\":\"bert\","
        "\"max_position_embeddings\":5,\"gradient_checkpointing\":false,"
        "\"is_decoder\":false,\"architectures\":[\"BertModel\"],\"x\":{\"y\":null}}");
    read_good(&c);
    assert_int_equal(c.pooling, QUERN__POOL_MEAN);
    assert_false(c.pooling_stated);
    assert_true(c.normalize);
    assert_int_equal(c.max_seq_length, 0);
    assert_int_equal(c.types, 2);
    assert_true(c.layer_norm_eps == 1e-12f);
}

static void test_modules(void **state)
{
    quern__model_config c;

    (void)state;
    put("modules.json", MODULES(""));
    read_good(&c);
    assert_false(c.normalize);
    put("modules.json", MODULES(",{\"idx\":2,\"name\":\"2\",\"path\":\"2_Dense\",\"type\":"
                                "\"sentence_transformers.models.LayerNorm\"}"));
    refused(QUERN_EUNSUPPORTED, "sentence_transformers.models.LayerNorm");
    put("modules.json", MODULES(",{\"idx\":2,\"path\":\"\",\"type\":\"evil.Module\"}"));
    refused(QUERN_EUNSUPPORTED, "evil.Module");
    put("modules.json", MODULES(NORMALIZE NORMALIZE));
    refused(QUERN_EFORMAT, "idx 2, 3 wanted");
    put("modules.json",
        "[{\"idx\":0,\"path\":\"\",\"type\":\"sentence_transformers.models.Pooling\"}]");
    refused(QUERN_EFORMAT, "Pooling stands before Transformer");
    put("modules.json",
        "[{\"idx\":0,\"path\":\"\",\"type\":\"sentence_transformers.models.Transformer\"}]");
    refused(QUERN_EFORMAT, "no Pooling module");
    put("modules.json",
        "[{\"idx\":0,\"path\":\"0_T\",\"type\":\"sentence_transformers.models.Transformer\"}]");
    refused(QUERN_EUNSUPPORTED, "0_T");
    put("modules.json", "[]");
    refused(QUERN_EFORMAT, "no Transformer module");
    put("modules.json", "{}");
    refused(QUERN_EFORMAT, "modules.json");
    put("modules.json", "[{\"idx\":0,\"path\":\"\"}]");
    refused(QUERN_EFORMAT, "no type");
    put("modules.json",
        "[{\"idx\":0,\"type\":\"sentence_transformers.models.Transformer\",\"type\":"
        "\"sentence_transformers.models.Transformer\",\"path\":\"\"}]");
    refused(QUERN_EFORMAT, "\"type\" is there twice");
}

#define DENSE(PATH, IDX)                                                                           \
    ",{\"idx\":" IDX ",\"path\":\"" PATH "\",\"type\":\"sentence_transformers.models.Dense\"}"
#define LAST(IDX)                                                                                  \
    ",{\"idx\":" IDX ",\"path\":\"\",\"type\":\"sentence_transformers.models.Normalize\"}"
#define IDENTITY "\"activation_function\":\"torch.nn.modules.linear.Identity\""

static void test_dense(void **state)
{
    quern__model_config c;
    char path[320];
    quern_error err;

    (void)state;
    for (int i = 2; i < 5; i++) {
        snprintf(path, sizeof path, "%s/%d_Dense", folder, i);
        assert_int_equal(quern__make_dirs(path, &err), QUERN_OK);
    }
    put("modules.json", MODULES(DENSE("2_Dense", "2") LAST("3") DENSE("4_Dense", "4") LAST("5")));
    put("2_Dense/config.json", "{\"in_features\":80,\"out_features\":33}");
    put("4_Dense/config.json",
        "{\"in_features\":33,\"out_features\":7,\"bias\":false," IDENTITY "}");
    read_good(&c);
    assert_int_equal(c.dense_count, 2);
    assert_true(c.dense[0].tanh && c.dense[0].bias && !c.dense[0].unit);
    assert_true(!c.dense[1].tanh && !c.dense[1].bias && c.dense[1].unit && c.normalize);
    assert_string_equal(c.dense[1].path, "4_Dense");
    assert_int_equal(quern__model_config_width(&c), 7);
    put("modules.json", MODULES(DENSE("2_Dense", "2")));
    read_good(&c);
    assert_true(c.dense_count == 1 && !c.normalize);
    static const struct {
        const char *text;
        int status;
        const char *part;
    } bad[] = {
        {"{\"in_features\":81,\"out_features\":3}", QUERN_EFORMAT, "in_features is 81"},
        {"{\"in_features\":80}", QUERN_EFORMAT, "no out_features"},
        {"{\"out_features\":80}", QUERN_EFORMAT, "no in_features"},
        {"{\"in_features\":80,\"out_features\":0}", QUERN_EFORMAT, "out_features is 0"},
        {"{\"in_features\":80,\"out_features\":16385}", QUERN_EFORMAT, "16385"},
        {"{\"in_features\":80,\"in_features\":80}", QUERN_EFORMAT, "twice"},
        {"{\"activation_function\":\"torch.nn.modules.activation.GELU\"}", QUERN_EUNSUPPORTED,
         "activation.GELU"},
        {"[]", QUERN_EFORMAT, "2_Dense"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put("2_Dense/config.json", bad[i].text);
        refused(bad[i].status, bad[i].part);
    }
    put("modules.json", MODULES(DENSE("2_Dense", "2") DENSE("2_Dense", "3") DENSE("2_Dense", "4")
                                    DENSE("2_Dense", "5") DENSE("2_Dense", "6")));
    refused(QUERN_EUNSUPPORTED, "more than 4 modules Dense");
    put("modules.json",
        "[{\"idx\":0,\"path\":\"\",\"type\":\"sentence_transformers.models.Transformer\"},"
        "{\"idx\":1,\"path\":\"2_Dense\",\"type\":\"sentence_transformers.models.Dense\"}]");
    refused(QUERN_EFORMAT, "Dense stands before Pooling");
}

static void cut_refused(quern__model_config *c, uint32_t d, int status, const char *part)
{
    quern_error err = {0};
    const int rc = quern__model_config_cut(c, d, false, "tiny", &err);
    if (rc != status || !strstr(err.msg, part))
        fail_msg("%d \"%s\", not %d \"%s\"", rc, err.msg, status, part);
}

static void test_matryoshka(void **state)
{
    quern__model_config c;
    quern_error err;

    (void)state;
    read_good(&c);
    cut_refused(&c, 81, QUERN_EINVAL, "81 dimensions are asked for, the model gives 80");
    cut_refused(&c, 24, QUERN_EUNSUPPORTED, "matryoshka_dimensions: none");
    assert_int_equal(quern__model_config_cut(&c, 24, true, "tiny", &err), QUERN_OK);
    assert_int_equal(c.dimensions, 24);
    assert_int_equal(quern__model_config_cut(&c, 80, false, "tiny", &err), QUERN_OK);
    assert_int_equal(c.dimensions, 0);
    put("config_sentence_transformers.json", "{\"matryoshka_dimensions\":[64,32]}");
    read_good(&c);
    assert_int_equal(quern__model_config_cut(&c, 32, false, "tiny", &err), QUERN_OK);
    cut_refused(&c, 33, QUERN_EUNSUPPORTED, "matryoshka_dimensions: 64, 32;");
    put("config_sentence_transformers.json", "{\"is_matryoshka\":true}");
    read_good(&c);
    assert_int_equal(quern__model_config_cut(&c, 33, false, "tiny", &err), QUERN_OK);
    put("config_sentence_transformers.json", "{\"matryoshka_dimensions\":[0]}");
    refused(QUERN_EFORMAT, "holds 0");
    put("config_sentence_transformers.json", "{\"matryoshka_dimensions\":[\"a\"]}");
    refused(QUERN_EFORMAT, "byte");
}

static void test_paths(void **state)
{
    static const char *const bad[] = {"../x", "/etc", "a/../../b", ".."};
    char text[512];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text,
                 "[{\"idx\":0,\"path\":\"\",\"type\":\"sentence_transformers.models.Transformer\"},"
                 "{\"idx\":1,\"path\":\"%s\",\"type\":\"sentence_transformers.models.Pooling\"}]",
                 bad[i]);
        put("modules.json", text);
        refused(QUERN_EFORMAT, "leads out of the model's folder");
    }
}

static void test_pooling(void **state)
{
    quern__model_config c;

    (void)state;
    put("1_Pooling/config.json", POOLING("true", "false", "false"));
    read_good(&c);
    assert_int_equal(c.pooling, QUERN__POOL_CLS);
    put("1_Pooling/config.json", POOLING("false", "false", "true"));
    read_good(&c);
    assert_int_equal(c.pooling, QUERN__POOL_MAX);
    put("1_Pooling/config.json", POOLING("true", "true", "false"));
    read_good(&c);
    assert_int_equal(c.pooling, QUERN__POOL_CLS | QUERN__POOL_MEAN);
    assert_int_equal(quern__model_config_width(&c), 160);
    char said[40];
    quern__model_config_pooling(&c, said);
    assert_string_equal(said, "cls+mean");
    put("1_Pooling/config.json", POOLING("false", "false", "false"));
    refused(QUERN_EFORMAT, "no pooling_mode");
    put("1_Pooling/config.json",
        "{\"word_embedding_dimension\":384,\"pooling_mode_mean_tokens\":true}");
    refused(QUERN_EFORMAT, "384");
    put("1_Pooling/config.json", "{\"pooling_mode_mean_tokens\":true}");
    refused(QUERN_EFORMAT, "no word_embedding_dimension");
    put("1_Pooling/config.json",
        "{\"word_embedding_dimension\":80,\"pooling_mode_weightedmean_tokens\":true}");
    refused(QUERN_EUNSUPPORTED, "pooling_mode_weightedmean_tokens");
    put("1_Pooling/config.json",
        "{\"word_embedding_dimension\":80,\"pooling_mode_mean_tokens\":1}");
    refused(QUERN_EFORMAT, "1_Pooling/config.json");
    put("1_Pooling/config.json", "{\"word_embedding_dimension\":80,\"pooling_mode_mean_tokens\":"
                                 "true,\"include_prompt\":false}");
    refused(QUERN_EUNSUPPORTED, "include_prompt");
    put("1_Pooling/config.json", NULL);
    refused(QUERN_ENOTFOUND, "1_Pooling/config.json");
}

/* Every name of a kind gives the same model; the class of another package, or of another place, none. */
static void test_types(void **state)
{
#define OLD(KIND)        "sentence_transformers.models." KIND
#define BASE(FILE, KIND) "sentence_transformers.base.modules." FILE "." KIND
#define NEW(FILE)        "sentence_transformers.sentence_transformer.modules." FILE
    static const char *const good[][4] = {
        {OLD("Transformer"), OLD("Pooling"), OLD("Dense"), OLD("Normalize")},
        {OLD("transformer.Transformer"), OLD("pooling.Pooling"), OLD("dense.Dense"),
         OLD("normalize.Normalize")},
        {BASE("transformer", "Transformer"), NEW("pooling.Pooling"), BASE("dense", "Dense"),
         BASE("normalize", "Normalize")},
    };
    static const char *const bad[] = {"other.models.Pooling",
                                      "other.sentence_transformers.models.Pooling",
                                      "sentence_transformers.models.other.Pooling",
                                      "sentence_transformers.models.pooling.Pooling2",
                                      "sentence_transformers.models.pooling",
                                      BASE("pooling", "Pooling"),
                                      "Pooling",
                                      "sentence_transformers.sparse_encoder.modules.Pooling",
                                      ""};
    char text[1200];
    quern__model_config c;
    quern_error err;

    (void)state;
    snprintf(text, sizeof text, "%s/2_Dense", folder);
    assert_int_equal(quern__make_dirs(text, &err), QUERN_OK);
    put("2_Dense/config.json", "{\"in_features\":80,\"out_features\":7}");
    for (size_t i = 0; i < sizeof good / sizeof *good + sizeof bad / sizeof *bad; i++) {
        const size_t n = sizeof good / sizeof *good;
        const char *const *t = good[i < n ? i : 0], *pooling = i < n ? t[1] : bad[i - n];
        snprintf(text, sizeof text,
                 "[{\"idx\":0,\"path\":\"\",\"type\":\"%s\"},"
                 "{\"idx\":1,\"path\":\"1_Pooling\",\"type\":\"%s\"},"
                 "{\"idx\":2,\"path\":\"2_Dense\",\"type\":\"%s\"},"
                 "{\"idx\":3,\"path\":\"3_Normalize\",\"type\":\"%s\"}]",
                 t[0], pooling, t[2], t[3]);
        put("modules.json", text);
        if (i < n) {
            read_good(&c);
            assert_true(c.dense_count == 1 && c.normalize && c.pooling == QUERN__POOL_MEAN);
        } else {
            refused(QUERN_EUNSUPPORTED, "module type");
            refused(QUERN_EUNSUPPORTED, bad[i - n]);
        }
    }
}

/* What newer releases write for a pooling, alone and beside the older keys. */
static void test_pooling_words(void **state)
{
    static const struct {
        const char *text;
        int status, pooling;
        const char *part;
    } all[] = {
        {"\"embedding_dimension\":80,\"pooling_mode\":\"mean\",\"include_prompt\":true", QUERN_OK,
         QUERN__POOL_MEAN, NULL},
        {"\"embedding_dimension\":80,\"pooling_mode\":\"lasttoken\"", QUERN_OK, QUERN__POOL_LAST,
         NULL},
        {"\"embedding_dimension\":80,\"pooling_mode\":[\"cls\",\"mean_sqrt_len_tokens\"]", QUERN_OK,
         QUERN__POOL_CLS | QUERN__POOL_SQRT, NULL},
        {"\"embedding_dimension\":80,\"word_embedding_dimension\":80,\"pooling_mode\":\"max\","
         "\"pooling_mode_max_tokens\":true,\"pooling_mode_cls_token\":false",
         QUERN_OK, QUERN__POOL_MAX, NULL},
        {"\"embedding_dimension\":80,\"pooling_mode_mean_tokens\":true", QUERN_OK, QUERN__POOL_MEAN,
         NULL},
        {"\"embedding_dimension\":80,\"pooling_mode\":[\"mean\",\"cls\"]", QUERN_EUNSUPPORTED, 0,
         "\"cls\" twice or behind"},
        {"\"embedding_dimension\":80,\"pooling_mode\":[\"cls\",\"cls\"]", QUERN_EUNSUPPORTED, 0,
         "\"cls\" twice or behind"},
        {"\"embedding_dimension\":80,\"pooling_mode\":\"weightedmean\"", QUERN_EUNSUPPORTED, 0,
         "weightedmean"},
        {"\"embedding_dimension\":80,\"pooling_mode\":\"mean\",\"pooling_mode_cls_token\":true",
         QUERN_EFORMAT, 0, "contradict"},
        {"\"embedding_dimension\":80,\"pooling_mode\":\"mean\",\"pooling_mode_mean_tokens\":false",
         QUERN_EFORMAT, 0, "contradict"},
        {"\"embedding_dimension\":80,\"pooling_mode\":\"mean\",\"pooling_mode\":\"mean\"",
         QUERN_EFORMAT, 0, "twice"},
        {"\"embedding_dimension\":80,\"word_embedding_dimension\":81,\"pooling_mode\":\"mean\"",
         QUERN_EFORMAT, 0, "word_embedding_dimension is 81, in front of it 80"},
        {"\"embedding_dimension\":81,\"pooling_mode\":\"mean\"", QUERN_EFORMAT, 0,
         "embedding_dimension is 81, hidden_size"},
        {"\"embedding_dimension\":80,\"pooling_mode\":[]", QUERN_EFORMAT, 0, "no pooling_mode"},
        {"\"embedding_dimension\":80,\"pooling_mode\":null", QUERN_EFORMAT, 0, "1_Pooling"},
        {"\"embedding_dimension\":80,\"pooling_mode\":[1]", QUERN_EFORMAT, 0, "1_Pooling"},
        {"\"pooling_mode\":\"mean\"", QUERN_EFORMAT, 0, "or embedding_dimension"},
    };
    quern__model_config c;
    char text[300];

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        snprintf(text, sizeof text, "{%s}", all[i].text);
        put("1_Pooling/config.json", text);
        if (all[i].status)
            refused(all[i].status, all[i].part);
        else
            read_good(&c);
        assert_true(all[i].status || c.pooling == all[i].pooling);
    }
}

/* What newer releases say of a Dense and a Normalize: what each reads and writes. */
static void test_names(void **state)
{
    static const char *const fine[] = {
        "\"module_input_name\":\"sentence_embedding\",\"module_output_name\":"
        "\"sentence_embedding\"",
        "\"module_output_name\":null,\"use_residual\":false"};
    static const char *const bad[] = {"\"module_input_name\":\"token_embeddings\"",
                                      "\"module_output_name\":\"x\"", "\"use_residual\":true"};
    quern__model_config c;
    quern_error err;
    char text[300];

    (void)state;
    for (int i = 2; i < 4; i++) {
        snprintf(text, sizeof text, "%s/%s", folder, i == 2 ? "2_Dense" : "3_Normalize");
        assert_int_equal(quern__make_dirs(text, &err), QUERN_OK);
    }
    put("modules.json",
        MODULES(DENSE("2_Dense", "2") ",{\"idx\":3,\"path\":\"3_Normalize\",\"type\":"
                                      "\"sentence_transformers.models.Normalize\"}"));
    for (size_t i = 0; i < 5; i++) {
        for (int normalize = 0; normalize < 2; normalize++) {
            const char *keys = i < 2 ? fine[i] : bad[i - 2];
            put("2_Dense/config.json", "{\"in_features\":80,\"out_features\":7}");
            put("3_Normalize/config.json", "{}");
            snprintf(text, sizeof text, "{\"in_features\":80,\"out_features\":7,%s}", keys);
            put(normalize ? "3_Normalize/config.json" : "2_Dense/config.json", text);
            if (i < 2)
                read_good(&c);
            else
                refused(QUERN_EUNSUPPORTED, normalize ? "3_Normalize" : "2_Dense");
        }
    }
}

/* What of the transformer's results a token is, as newer releases say. */
static void test_modalities(void **state)
{
#define MODALITY(TEXT) "{\"transformer_task\":\"feature-extraction\",\"modality_config\":" TEXT "}"
    quern__model_config c;

    (void)state;
    put("sentence_bert_config.json",
        MODALITY("{\"text\":{\"method\":\"forward\",\"method_output_name\":"
                 "\"last_hidden_state\"}}"));
    read_good(&c);
    assert_int_equal(c.max_seq_length, 0);
    put("sentence_bert_config.json",
        MODALITY("{\"text\":{\"method\":\"forward\",\"method_output_name\":\"pooler_output\"}}"));
    refused(QUERN_EUNSUPPORTED, "pooler_output");
    put("sentence_bert_config.json", MODALITY("{\"text\":{\"method\":\"get_text_features\"}}"));
    refused(QUERN_EUNSUPPORTED, "get_text_features");
    put("sentence_bert_config.json", MODALITY("{\"message\":{\"method\":\"forward\"}}"));
    refused(QUERN_EUNSUPPORTED, "modality_config without \"text\"");
    put("sentence_bert_config.json", "{\"query_length\":32}");
    refused(QUERN_EUNSUPPORTED, "query_length");
}

static void test_sentence(void **state)
{
    quern__model_config c;

    (void)state;
    put("sentence_bert_config.json", "{\"max_seq_length\":null}");
    read_good(&c);
    assert_int_equal(c.max_seq_length, 0);
    put("sentence_bert_config.json", "{\"max_seq_length\":70}");
    read_good(&c);
    assert_int_equal(c.max_seq_length, 70);
    put("sentence_bert_config.json", "{\"max_seq_length\":71}");
    refused(QUERN_EFORMAT, "max_seq_length is 71");
    put("sentence_bert_config.json", "{\"max_seq_length\":0}");
    refused(QUERN_EFORMAT, "max_seq_length is 0");
    put("sentence_bert_config.json", "{\"max_seq_length\":-1}");
    refused(QUERN_EFORMAT, "sentence_bert_config.json");
    put("sentence_bert_config.json", "{\"max_seq_length\":64,\"max_seq_length\":65}");
    refused(QUERN_EFORMAT, "twice");
    put("sentence_bert_config.json", "{\"do_lower_case\":1}");
    refused(QUERN_EFORMAT, "sentence_bert_config.json");
    put("sentence_bert_config.json", "{\"do_lower_case\":true}"); /* the tokenizer decides */
    read_good(&c);
    assert_true(c.lower);
}

/* What is handed on to the reference's loader, under its old and new names. */
static void test_handed_on(void **state)
{
    static const char *const kinds[] = {"model_args",   "config_args",   "tokenizer_args",
                                        "model_kwargs", "config_kwargs", "processor_kwargs"};
    static const char *const fine[] = {
        "null", "{}", "{\"trust_remote_code\":true,\"revision\":null,\"torch_dtype\":\"auto\"}",
        "{\"add_pooling_layer\":false,\"padding_side\":\"left\",\"reference_compile\":false}"};
    static const char *const bad[] = {"{\"layer_norm_eps\":1e-5}", "{\"do_lower_case\": false }",
                                      "{\"revision\":\"main\",\"num_hidden_layers\":2}",
                                      "{\"hidden_act\":\"relu\"}", "{\"rope_scaling\":{\"x\":1}}"};
    static const char *const said[] = {"\"layer_norm_eps\": 1e-5 at", "\"do_lower_case\": false at",
                                       "\"num_hidden_layers\": 2 at", "\"hidden_act\": \"relu\" at",
                                       "\"rope_scaling\" at"};
    quern__model_config c;
    char text[256];

    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
            snprintf(text, sizeof text, "{\"%s\":%s,\"max_seq_length\":64}", kinds[k], fine[i]);
            put("sentence_bert_config.json", text);
            read_good(&c);
            assert_int_equal(c.max_seq_length, 64);
        }
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            snprintf(text, sizeof text, "{\"%s\":%s}", kinds[k], bad[i]);
            put("sentence_bert_config.json", text);
            refused(QUERN_EUNSUPPORTED, kinds[k]);
            refused(QUERN_EUNSUPPORTED, said[i]);
        }
        snprintf(text, sizeof text, "{\"%s\":[1]}", kinds[k]);
        put("sentence_bert_config.json", text);
        refused(QUERN_EFORMAT, "sentence_bert_config.json");
    }
    put("sentence_bert_config.json",
        "{\"transformer_task\":\"feature-extraction\",\"module_output_name\":\"token_embeddings\","
        "\"do_lower_case\":null,\"tokenizer_name_or_path\":null,\"mask_prompt\":false}");
    read_good(&c);
    put("sentence_bert_config.json", "{\"transformer_task\":\"fill-mask\"}");
    refused(QUERN_EUNSUPPORTED, "transformer_task");
    put("sentence_bert_config.json", "{\"mask_prompt\":true}");
    refused(QUERN_EUNSUPPORTED, "mask_prompt");
    put("sentence_bert_config.json", "{\"tokenizer_name_or_path\":\"other\"}");
    refused(QUERN_EUNSUPPORTED, "tokenizer_name_or_path");
}

/* The same file under the name of an older model's family; the usual name goes first. */
static void test_old_names(void **state)
{
    quern__model_config c;

    (void)state;
    put("sentence_roberta_config.json", "{\"max_seq_length\":32}");
    read_good(&c);
    assert_int_equal(c.max_seq_length, 64);
    put("sentence_bert_config.json", NULL);
    read_good(&c);
    assert_int_equal(c.max_seq_length, 32);
    put("sentence_roberta_config.json", "{\"mask_prompt\":true}");
    refused(QUERN_EUNSUPPORTED, "mask_prompt");
    put("sentence_roberta_config.json", NULL);
    put("sentence_xlm-roberta_config.json", "{\"max_seq_length\":16}");
    read_good(&c);
    assert_int_equal(c.max_seq_length, 16);
}

static void test_prompts(void **state)
{
    quern__model_config c;
    char text[1200];

    (void)state;
    put("config_sentence_transformers.json",
        "{\"prompts\":{\"query\":\"query: \",\"passage\":\"passage: "
        "\",\"corpus\":\"no\",\"x\":\"\"},"
        "\"default_prompt_name\":null,\"similarity_fn_name\":\"cosine\"}");
    read_good(&c);
    assert_string_equal(c.prompt_query, "query: ");
    assert_string_equal(c.prompt_document, "passage: ");
    put("config_sentence_transformers.json", "{\"default_prompt_name\":\"query\"}");
    refused(QUERN_EUNSUPPORTED, "default_prompt_name");
    put("config_sentence_transformers.json", "{\"prompts\":{\"query\":\"a\\u0000b\"}}");
    refused(QUERN_EFORMAT, "NUL");
    put("config_sentence_transformers.json", "{\"prompts\":{\"query\":7}}");
    refused(QUERN_EFORMAT, "config_sentence_transformers.json");
    snprintf(text, sizeof text, "{\"prompts\":{\"document\":\"%0512d\"}}", 7);
    put("config_sentence_transformers.json", text);
    refused(QUERN_EFORMAT, "512 bytes");
    snprintf(text, sizeof text, "{\"prompts\":{\"document\":\"%0511d\"}}", 7);
    put("config_sentence_transformers.json", text);
    read_good(&c);
    assert_int_equal(strlen(c.prompt_document), 511);
}

static void test_config(void **state)
{
    (void)state;
    config_refused("", QUERN_EFORMAT, "");
    config_refused("null", QUERN_EFORMAT, "");
    config_refused(GOOD "x", QUERN_EFORMAT, "");
    config_refused("{" BODY "}", QUERN_EFORMAT, "no model_type");
    config_refused("{\"model_type\":\"bert\"}", QUERN_EFORMAT, "no hidden_size");
    config_refused("{\"model_type\":\"llama\"," BODY "}", QUERN_EUNSUPPORTED, "\"llama\"");
    config_refused("{\"model_type\":\"bert\",\"model_type\":\"bert\"," BODY "}", QUERN_EFORMAT,
                   "twice");
    config_refused("{\"model_type\":\"bert\",\"hidden_act\":\"gelu_new\"," BODY "}",
                   QUERN_EUNSUPPORTED, "\"gelu_new\"");
    config_refused("{\"model_type\":\"bert\",\"hidden_act\":\"relu\"," BODY "}", QUERN_EUNSUPPORTED,
                   "hidden_act \"relu\"");
    config_refused("{\"model_type\":\"bert\",\"position_embedding_type\":\"relative_key\"," BODY
                   "}",
                   QUERN_EUNSUPPORTED, "relative_key");
    config_refused("{\"model_type\":\"bert\",\"is_decoder\":true," BODY "}", QUERN_EUNSUPPORTED,
                   "is_decoder true");
    config_refused("{\"model_type\":\"bert\",\"hidden_size\":80," BODY "}", QUERN_EFORMAT, "twice");
    config_refused("{\"model_type\":\"bert\",\"hidden_size\":0}", QUERN_EFORMAT,
                   "hidden_size is 0");
    config_refused("{\"model_type\":\"bert\",\"hidden_size\":-80}", QUERN_EFORMAT, "byte");
    config_refused("{\"model_type\":\"bert\",\"hidden_size\":80.5}", QUERN_EFORMAT, "byte");
    config_refused("{\"model_type\":\"bert\",\"hidden_size\":\"80\"}", QUERN_EFORMAT, "byte");
    config_refused("{\"model_type\":\"bert\",\"vocab_size\":99999999999999999999}", QUERN_EFORMAT,
                   "byte");
    config_refused("{\"model_type\":\"bert\",\"vocab_size\":4294967296}", QUERN_EFORMAT,
                   "vocab_size is 4294967296");
    config_refused("{\"model_type\":\"bert\",\"num_hidden_layers\":257}", QUERN_EFORMAT, "257");
    config_refused("{\"model_type\":\"bert\",\"layer_norm_eps\":0}", QUERN_EFORMAT,
                   "layer_norm_eps");
    config_refused("{\"model_type\":\"bert\",\"layer_norm_eps\":-1e-12}", QUERN_EFORMAT,
                   "layer_norm_eps");
    config_refused("{\"model_type\":\"bert\",\"layer_norm_eps\":1}", QUERN_EFORMAT,
                   "layer_norm_eps");
    config_refused("{\"model_type\":\"bert\",\"hidden_size\":81,\"num_attention_heads\":5,"
                   "\"intermediate_size\":1,\"max_position_embeddings\":9,\"num_hidden_layers\":1,"
                   "\"vocab_size\":9}",
                   QUERN_EFORMAT, "no multiple");
}

static void test_folder(void **state)
{
    quern__model_config c;
    char big[2100000];
    quern_error err = {0};

    (void)state;
    memset(big, ' ', sizeof big);
    memcpy(big, GOOD, sizeof GOOD - 1);
    big[sizeof big - 1] = 0;
    put("config.json", big);
    refused(QUERN_EFORMAT, "config.json");
    put("config.json", NULL);
    refused(QUERN_ENOTFOUND, "config.json");
    memset(big, 'a', 5000);
    big[5000] = 0;
    assert_true(quern__model_config_read(&c, big, &err) < 0);
    assert_int_equal(c.hidden, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_rotary_families),
        cmocka_unit_test(test_rotary_families),
        cmocka_unit_test_setup(test_good, reset),
        cmocka_unit_test_setup(test_defaults, reset),
        cmocka_unit_test_setup(test_modules, reset),
        cmocka_unit_test_setup(test_dense, reset),
        cmocka_unit_test_setup(test_matryoshka, reset),
        cmocka_unit_test_setup(test_paths, reset),
        cmocka_unit_test_setup(test_pooling, reset),
        cmocka_unit_test_setup(test_types, reset),
        cmocka_unit_test_setup(test_pooling_words, reset),
        cmocka_unit_test_setup(test_names, reset),
        cmocka_unit_test_setup(test_modalities, reset),
        cmocka_unit_test_setup(test_sentence, reset),
        cmocka_unit_test_setup(test_handed_on, reset),
        cmocka_unit_test_setup(test_old_names, reset),
        cmocka_unit_test_setup(test_prompts, reset),
        cmocka_unit_test(test_config),
        cmocka_unit_test_setup(test_folder, reset),
    };
    return cmocka_run_group_tests(tests, NULL, sweep);
}
