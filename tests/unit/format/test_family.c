/* test_family.c — names of tensors by family, and the buckets of distances against T5's formula. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdint.h>

#include "format/family.h"

static void same(const char *family, const char *bert, const char *theirs)
{
    char name[64];
    quern__family_tensor(quern__family_find(family), bert, name, sizeof name);
    assert_string_equal(name, theirs);
}

static void names(void **state)
{
    (void)state;
    assert_null(quern__family_find("gptj"));
    assert_null(quern__family_find(""));
    same("bert", "encoder.layer.11.attention.self.query.weight",
         "encoder.layer.11.attention.self.query.weight");
    same("distilbert", "encoder.layer.11.attention.self.query.weight",
         "transformer.layer.11.attention.q_lin.weight");
    same("distilbert", "encoder.layer.0.attention.output.LayerNorm.bias",
         "transformer.layer.0.sa_layer_norm.bias");
    same("distilbert", "encoder.layer.0.output.dense.bias", "transformer.layer.0.ffn.lin2.bias");
    same("mpnet", "encoder.layer.3.attention.output.dense.weight",
         "encoder.layer.3.attention.attn.o.weight");
    same("mpnet", "encoder.layer.3.output.LayerNorm.weight",
         "encoder.layer.3.output.LayerNorm.weight");
    same("mpnet", "embeddings.LayerNorm.bias", "embeddings.LayerNorm.bias");
    same("mpnet", "encoder.layer.", "encoder.layer..");
    same("modernbert", "embeddings.word_embeddings.weight", "embeddings.tok_embeddings.weight");
    same("modernbert", "embeddings.LayerNorm.weight", "embeddings.norm.weight");
    same("modernbert", "encoder.layer.21.attention.input.LayerNorm.weight",
         "layers.21.attn_norm.weight");
    same("modernbert", "final.LayerNorm.weight", "final_norm.weight");
    same("nomic_bert", "encoder.layer.7.intermediate.gate.weight",
         "encoder.layers.7.mlp.fc12.weight");
    same("nomic_bert", "embeddings.word_embeddings.weight", "embeddings.word_embeddings.weight");
    same("qwen3", "embeddings.word_embeddings.weight", "embed_tokens.weight");
    same("qwen3", "encoder.layer.0.attention.self.key_norm.weight",
         "layers.0.self_attn.k_norm.weight");
    same("qwen3", "output", "output");
    same("qwen3", "", "");
    char small[8]; /* too long is cut */
    quern__family_tensor(quern__family_find("mpnet"), "encoder.layer.3.output.dense.bias", small,
                         sizeof small);
    assert_string_equal(small, "encoder");
}

static void buckets(void **state)
{
    (void)state;
    for (int64_t d = -1000; d <= 1000; d++) {
        const double n = fabs((double)d);
        /* no distance comes nearer than this to a bound that is no whole number */
        const double far = 8 + floor(log(n / 8 + (n < 8)) / log(16.0) * 8 + 1e-9);
        const uint32_t want = (uint32_t)(n < 8 ? n : fmin(far, 15)) + (d < 0 ? 16 : 0);
        if (quern__distance_bucket(d) != want)
            fail_msg("%d: %u, not %u", (int)d, quern__distance_bucket(d), want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names), cmocka_unit_test(buckets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
