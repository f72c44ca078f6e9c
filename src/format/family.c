/*
 * family.c — see family.h. RoBERTa and XLM-R differ from BERT in where positions begin; DistilBERT in names and in having no
 * token types; MPNet in names, no token types, and the bias that every layer adds to its scores.
 */
#include "format/family.h"

#include <stdio.h>
#include <string.h>

#include "base/compiler.h"

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
};

const quern__family *quern__family_find(const char *name)
{
    for (size_t i = 0; i < QUERN__COUNT(families); i++)
        if (strcmp(families[i].name, name) == 0)
            return &families[i];
    return NULL;
}

const char *quern__family_known(void)
{
    return "bert, roberta, xlm-roberta, distilbert, mpnet";
}

const char *quern__family_key(const quern__family *f, const char *bert)
{
    for (size_t i = 0; f->keys && f->keys[i][0]; i++)
        if (strcmp(f->keys[i][0], bert) == 0)
            return f->keys[i][1];
    return bert;
}

void quern__family_tensor(const quern__family *f, const char *bert, char *out, size_t size)
{
    const size_t front = sizeof LAYER - 1;
    if (strncmp(bert, LAYER, front) != 0) {
        snprintf(out, size, "%s", bert);
        return;
    }
    const char *number = bert + front, *within = strchr(number, '.');
    const char *kind = within ? strrchr(bert, '.') : NULL; /* ".weight" */
    within = within ? within + 1 : "";
    const char *theirs = NULL;
    for (size_t i = 0; f->names && f->names[i][0] && kind; i++)
        if (strlen(f->names[i][0]) == (size_t)(kind - within) &&
            memcmp(f->names[i][0], within, (size_t)(kind - within)) == 0)
            theirs = f->names[i][1];
    const int digits = (int)strcspn(number, ".");
    if (theirs)
        snprintf(out, size, "%s%.*s.%s%s", f->layer, digits, number, theirs, kind);
    else
        snprintf(out, size, "%s%.*s.%s", f->layer, digits, number, within);
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
