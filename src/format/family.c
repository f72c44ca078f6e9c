/*
 * family.c — see family.h. RoBERTa and XLM-R differ from BERT in where positions begin; DistilBERT in names and in having no
 * token types; MPNet in names, no token types, and the bias that every layer adds to its scores. The rotary families have layers of
 * their own: NomicBERT BERT's with a gate, ModernBERT and Qwen3 with norms in front.
 */
#include "format/family.h"

#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/json.h"
#include "format/model_config.h"

static const char *const distilbert[][2] = {{"attention.self.query", "attention.q_lin"},
                                            {"attention.self.key", "attention.k_lin"},
                                            {"attention.self.value", "attention.v_lin"},
                                            {"attention.output.dense", "attention.out_lin"},
                                            {"attention.output.LayerNorm", "sa_layer_norm"},
                                            {"intermediate.dense", "ffn.lin1"},
                                            {"output.dense", "ffn.lin2"},
                                            {"output.LayerNorm", "output_layer_norm"},
                                            {NULL, NULL}};

static const char *const mpnet[][2] = {{"attention.self.query", "attention.attn.q"},
                                       {"attention.self.key", "attention.attn.k"},
                                       {"attention.self.value", "attention.attn.v"},
                                       {"attention.output.dense", "attention.attn.o"},
                                       {"attention.output.LayerNorm", "attention.LayerNorm"},
                                       {NULL, NULL}};

#define LAYER "encoder.layer."

static const char *const distilbert_keys[][2] = {{"hidden_size", "dim"},
                                                 {"num_hidden_layers", "n_layers"},
                                                 {"num_attention_heads", "n_heads"},
                                                 {"intermediate_size", "hidden_dim"},
                                                 {"hidden_act", "activation"},
                                                 {NULL, NULL}};

static const char *const modernbert[][2] = {
    {"embeddings.word_embeddings", "embeddings.tok_embeddings"},
    {"embeddings.LayerNorm", "embeddings.norm"},
    {"final.LayerNorm", "final_norm"},
    {"attention.input.LayerNorm", "attn_norm"},
    {"attention.self.qkv", "attn.Wqkv"},
    {"attention.output.dense", "attn.Wo"},
    {"attention.output.LayerNorm", "mlp_norm"},
    {"intermediate.both", "mlp.Wi"},
    {"output.dense", "mlp.Wo"},
    {NULL, NULL}};

static const char *const nomic[][2] = {{"embeddings.LayerNorm", "emb_ln"},
                                       {"attention.self.qkv", "attn.Wqkv"},
                                       {"attention.output.dense", "attn.out_proj"},
                                       {"attention.output.LayerNorm", "norm1"},
                                       {"intermediate.gate", "mlp.fc12"},
                                       {"intermediate.dense", "mlp.fc11"},
                                       {"output.dense", "mlp.fc2"},
                                       {"output.LayerNorm", "norm2"},
                                       {NULL, NULL}};

static const char *const qwen3[][2] = {{"embeddings.word_embeddings", "embed_tokens"},
                                       {"final.LayerNorm", "norm"},
                                       {"attention.input.LayerNorm", "input_layernorm"},
                                       {"attention.self.query", "self_attn.q_proj"},
                                       {"attention.self.key", "self_attn.k_proj"},
                                       {"attention.self.value", "self_attn.v_proj"},
                                       {"attention.self.query_norm", "self_attn.q_norm"},
                                       {"attention.self.key_norm", "self_attn.k_norm"},
                                       {"attention.output.dense", "self_attn.o_proj"},
                                       {"attention.output.LayerNorm", "post_attention_layernorm"},
                                       {"intermediate.gate", "mlp.gate_proj"},
                                       {"intermediate.dense", "mlp.up_proj"},
                                       {"output.dense", "mlp.down_proj"},
                                       {NULL, NULL}};

#define T5_NAMES                                                                                   \
    {"embeddings.word_embeddings", "shared"},                                                      \
        {"encoder.relative_attention_bias",                                                        \
         "encoder.block.0.layer.0.SelfAttention.relative_attention_bias"},                         \
        {"final.LayerNorm", "encoder.final_layer_norm"},                                           \
        {"attention.input.LayerNorm", "layer.0.layer_norm"},                                       \
        {"attention.self.query", "layer.0.SelfAttention.q"},                                       \
        {"attention.self.key", "layer.0.SelfAttention.k"},                                         \
        {"attention.self.value", "layer.0.SelfAttention.v"},                                       \
        {"attention.output.dense", "layer.0.SelfAttention.o"},                                     \
        {"attention.output.LayerNorm", "layer.1.layer_norm"},                                      \
    {                                                                                              \
        "output.dense", "layer.1.DenseReluDense.wo"                                                \
    }

static const char *const t5[][2] = {
    T5_NAMES, {"intermediate.dense", "layer.1.DenseReluDense.wi"}, {NULL, NULL}};

static const char *const t5_gated[][2] = {T5_NAMES,
                                          {"intermediate.gate", "layer.1.DenseReluDense.wi_0"},
                                          {"intermediate.dense", "layer.1.DenseReluDense.wi_1"},
                                          {NULL, NULL}};

static const char *const t5_keys[][2] = {{"hidden_size", "d_model"},
                                         {"num_hidden_layers", "num_layers"},
                                         {"num_attention_heads", "num_heads"},
                                         {"intermediate_size", "d_ff"},
                                         {"max_position_embeddings", "n_positions"},
                                         {"layer_norm_eps", "layer_norm_epsilon"},
                                         {"hidden_act", "feed_forward_proj"},
                                         {NULL, NULL}};

static const char *const modernbert_keys[][2] = {
    {"layer_norm_eps", "norm_eps"}, {"hidden_act", "hidden_activation"}, {NULL, NULL}};

static const char *const nomic_keys[][2] = {{"hidden_size", "n_embd"},
                                            {"num_hidden_layers", "n_layer"},
                                            {"num_attention_heads", "n_head"},
                                            {"intermediate_size", "n_inner"},
                                            {"max_position_embeddings", "n_positions"},
                                            {"layer_norm_eps", "layer_norm_epsilon"},
                                            {"hidden_act", "activation_function"},
                                            {NULL, NULL}};

static const char *const qwen3_keys[][2] = {{"layer_norm_eps", "rms_norm_eps"}, {NULL, NULL}};

#define FIELD(NAME) offsetof(quern__model_config, NAME)
#define OFF(KEY)                                                                                   \
    {                                                                                              \
        .key = KEY, .kind = QUERN__RULE_OFF                                                        \
    }
#define ON(KEY)                                                                                    \
    {                                                                                              \
        .key = KEY, .kind = QUERN__RULE_ON                                                         \
    }
#define FLAG(KEY, NAME)                                                                            \
    {                                                                                              \
        .key = KEY, .kind = QUERN__RULE_FLAG, .field = FIELD(NAME)                                 \
    }
#define COUNT(KEY, NAME, MOST)                                                                     \
    {                                                                                              \
        KEY, QUERN__RULE_COUNT, true, FIELD(NAME), MOST, NULL                                      \
    }
#define BASE(KEY, NAME)                                                                            \
    {                                                                                              \
        KEY, QUERN__RULE_NUMBER, true, FIELD(NAME), 1e9, NULL                                      \
    }

static const quern__rule modernbert_rules[] = {
    COUNT("global_attn_every_n_layers", global_every, 256),
    COUNT("local_attention", window, 1 << 20),
    BASE("global_rope_theta", rope),
    {"local_rope_theta", QUERN__RULE_NUMBER, false, FIELD(rope_local), 1e9, NULL},
    FLAG("attention_bias", bias_attention),
    FLAG("mlp_bias", bias_feed),
    FLAG("norm_bias", bias_norm),
    OFF("rope_scaling"),
    OFF("rope_parameters"),
    OFF("layer_types"),
    {.key = NULL}};

static const quern__rule nomic_rules[] = {
    BASE("rotary_emb_base", rope),
    {"rotary_emb_fraction", QUERN__RULE_NUMBER, true, FIELD(rope_part), 1, NULL},
    FLAG("qkv_proj_bias", bias_attention),
    FLAG("mlp_fc1_bias", bias_feed),
    FLAG("mlp_fc2_bias", bias_down),
    OFF("prenorm"),
    OFF("parallel_block"),
    OFF("use_rms_norm"),
    OFF("causal"),
    OFF("rotary_emb_interleaved"),
    OFF("rotary_emb_scale_base"),
    OFF("rotary_scaling_factor"),
    OFF("rotary_head_dim"),
    OFF("num_heads_kv"),
    OFF("num_experts"),
    OFF("moe_every_n_layers"),
    OFF("scale_attn_by_inverse_layer_idx"),
    ON("scale_attn_weights"),
    OFF("rope_parameters"),
    {.key = NULL}};

static const quern__rule qwen3_rules[] = {
    COUNT("head_dim", depth, 16384),
    COUNT("num_key_value_heads", key_heads, 256),
    BASE("rope_theta", rope),
    FLAG("attention_bias", bias_attention),
    OFF("rope_scaling"),
    OFF("rope_parameters"),
    OFF("use_sliding_window"),
    OFF("use_bidirectional_attention"),
    ON("is_causal"),
    {.key = "layer_types", .kind = QUERN__RULE_ALL, .only = "full_attention"},
    {.key = NULL}};

#define T5_RULES                                                                                   \
    COUNT("d_kv", depth, 16384),                                                                   \
    {                                                                                              \
        .key = "relative_attention_max_distance", .kind = QUERN__RULE_COUNT, .field = FIELD(far),  \
        .most = 1e9                                                                                \
    }
#define IS(KEY, VALUE)                                                                             \
    {                                                                                              \
        .key = KEY, .kind = QUERN__RULE_IS, .only = VALUE                                          \
    }

static const quern__rule t5_rules[] = {
    T5_RULES, OFF("is_gated_act"), IS("dense_act_fn", "relu"), {.key = NULL}};

static const quern__rule t5_gated_rules[] = {
    T5_RULES, ON("is_gated_act"), IS("dense_act_fn", "gelu_new"), {.key = NULL}};

#define T5                                                                                         \
    .prefix = "", .distances = true, .eps = 1e-6f, .layer = "encoder.block.", .keys = t5_keys,     \
    .norms_first = true, .rms = true, .unplaced = true, .positions = 512
#define T5_GATED                                                                                   \
    T5, .names = t5_gated, .rules = t5_gated_rules, .activation = "gated-gelu",                    \
        .feed = QUERN__FEED_GATED_GELU_TANH

static const quern__family families[] = {
    {.name = "bert", .prefix = "bert.", .types = 2, .eps = 1e-12f, .layer = LAYER},
    {.name = "roberta",
     .prefix = "roberta.",
     .types = 1,
     .padding = true,
     .eps = 1e-12f,
     .layer = LAYER},
    {.name = "xlm-roberta",
     .prefix = "roberta.",
     .types = 1,
     .padding = true,
     .eps = 1e-12f,
     .layer = LAYER},
    {.name = "distilbert",
     .prefix = "distilbert.",
     .eps = 1e-12f,
     .layer = "transformer.layer.",
     .names = distilbert,
     .keys = distilbert_keys},
    {.name = "mpnet",
     .prefix = "mpnet.",
     .padding = true,
     .distances = true,
     .eps = 1e-12f,
     .layer = LAYER,
     .names = mpnet},
    {.name = "modernbert",
     .prefix = "model.",
     .eps = 1e-5f,
     .layer = "layers.",
     .names = modernbert,
     .keys = modernbert_keys,
     .rules = modernbert_rules,
     .feed = QUERN__FEED_GATED_GELU,
     .norms_first = true,
     .words_normed = true,
     .first_plain = true,
     .rotary = true,
     .fused = true,
     .fused_gate = true},
    {.name = "nomic_bert",
     .prefix = "bert.",
     .types = 2,
     .eps = 1e-12f,
     .layer = "encoder.layers.",
     .names = nomic,
     .keys = nomic_keys,
     .rules = nomic_rules,
     .activation = "swiglu",
     .feed = QUERN__FEED_GATED_SILU,
     .biases = true,
     .rotary = true,
     .fused = true},
    {.name = "qwen3",
     .prefix = "model.",
     .eps = 1e-6f,
     .layer = "layers.",
     .names = qwen3,
     .keys = qwen3_keys,
     .rules = qwen3_rules,
     .activation = "silu",
     .feed = QUERN__FEED_GATED_SILU,
     .norms_first = true,
     .rms = true,
     .rotary = true,
     .heads_normed = true,
     .causal = true},
    {.name = "t5",
     T5,
     .names = t5,
     .rules = t5_rules,
     .activation = "relu",
     .feed = QUERN__FEED_RELU},
    {.name = "t5-gated", .of = "t5", T5_GATED},
    {.name = "mt5", T5_GATED},
    {.name = "model2vec", .table = true, .positions = 512},
    {.name = "static", .table = true, .unknown_row = true, .positions = 1 << 20},
    {.name = "wordllama", .table = true, .unknown_row = true, .positions = 1 << 20},
};

const quern__family *quern__family_find(const char *name)
{
    for (size_t i = 0; i < QUERN__COUNT(families); i++)
        if (strcmp(families[i].name, name) == 0)
            return &families[i];
    return NULL;
}

const quern__family *quern__family_variant(const quern__family *model_type, quern_str activation)
{
    for (size_t i = 0; i < QUERN__COUNT(families); i++)
        if (families[i].of && strcmp(families[i].of, model_type->name) == 0 &&
            quern__str_is(activation, families[i].activation))
            return &families[i];
    return model_type;
}

const char *quern__family_known(void)
{
    return "bert, roberta, xlm-roberta, distilbert, mpnet, modernbert, nomic_bert, qwen3, t5, "
           "mt5, model2vec, wordllama";
}

const char *quern__family_key(const quern__family *f, const char *bert)
{
    for (size_t i = 0; f->keys && f->keys[i][0]; i++)
        if (strcmp(f->keys[i][0], bert) == 0)
            return f->keys[i][1];
    return bert;
}

/* Their name for a stem of BERT's, `len` bytes; NULL: the same. */
static const char *renamed(const quern__family *f, const char *bert, size_t len)
{
    for (size_t i = 0; f->names && f->names[i][0]; i++)
        if (strlen(f->names[i][0]) == len && memcmp(f->names[i][0], bert, len) == 0)
            return f->names[i][1];
    return NULL;
}

void quern__family_tensor(const quern__family *f, const char *bert, char *out, size_t size)
{
    const size_t front = sizeof LAYER - 1;
    const bool in_layer = strncmp(bert, LAYER, front) == 0;
    const char *number = bert + front, *within = in_layer ? strchr(number, '.') : NULL;
    within = !in_layer ? bert : within ? within + 1 : "";
    const char *kind = strrchr(within, '.'); /* ".weight" */
    const size_t stem = kind ? (size_t)(kind - within) : strlen(within);
    const char *theirs = renamed(f, within, stem);
    const int digits = in_layer ? (int)strcspn(number, ".") : 0;
    snprintf(out, size, "%s%.*s%s%.*s%s", in_layer ? f->layer : "", digits, in_layer ? number : "",
             in_layer ? "." : "", theirs ? (int)strlen(theirs) : (int)stem,
             theirs ? theirs : within, within + stem);
}

uint32_t quern__distance_bucket(int64_t distance)
{
    const uint32_t half = QUERN__DISTANCE_BUCKETS / 2, exact = half / 2;
    const uint32_t side = distance < 0 ? half : 0;
    const uint64_t n = (uint64_t)(distance < 0 ? -distance : distance);
    if (n < exact)
        return side + (uint32_t)n;
    uint32_t k = 0; /* n >= 8 * 2^(k / 2): 8 + 8 * log(n / 8) / log(128 / 8), rounded down */
    while (k < exact - 1 && n * n >= (uint64_t)exact * exact << (k + 1))
        k++;
    return side + exact + k;
}
