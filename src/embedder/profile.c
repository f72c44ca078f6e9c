/*
 * profile.c — what is known of each provider before the first call: a table, so that a new one is a line. Limits are
 * where a bulk run fails first; they are the published ones, and options may say otherwise.
 */
#include "embedder/profile.h"

#include <string.h>

#define KNOWN_MODELS                                                                               \
    X("text-embedding-3-small", 1536)                                                              \
    X("text-embedding-3-large", 3072)                                                              \
    X("text-embedding-ada-002", 1536)                                                              \
    X("embed-v4.0", 1536)                                                                          \
    X("embed-english-v3.0", 1024)                                                                  \
    X("embed-multilingual-v3.0", 1024)                                                             \
    X("voyage-3.5", 1024)                                                                          \
    X("voyage-3.5-lite", 1024)                                                                     \
    X("voyage-3-large", 1024)                                                                      \
    X("jina-embeddings-v3", 1024)                                                                  \
    X("voyage-multimodal-3.5", 1024)                                                               \
    X("voyage-multimodal-3", 1024)                                                                 \
    X("jina-embeddings-v4", 2048)                                                                  \
    X("jina-clip-v2", 1024)                                                                        \
    X("qwen3-vl-embedding", 2560)                                                                  \
    X("tongyi-embedding-vision-plus", 1152)                                                        \
    X("tongyi-embedding-vision-flash", 768)                                                        \
    X("multimodal-embedding-v1", 1024)                                                             \
    X("mistral-embed", 1024)                                                                       \
    X("text-embedding-v4", 1024)                                                                   \
    X("Qwen/Qwen3-Embedding-4B", 2560)

static const quern__profile profiles[] = {
    {{"openai", "https://api.openai.com/v1", "OPENAI_API_KEY", "OPENAI_BASE_URL", 1, 2048, 8192,
      300000},
     QUERN__DIALECT_OPENAI,
     true},
    {{"deepinfra", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY", NULL, 1, 1024, 0, 0},
     QUERN__DIALECT_OPENAI,
     false},
    {{"dashscope", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY",
      NULL, 1, 10, 8192, 0},
     QUERN__DIALECT_OPENAI,
     false},
    {{"mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", NULL, 1, 100, 8192, 16384},
     QUERN__DIALECT_OPENAI,
     false},
    {{"cohere", "https://api.cohere.com", "COHERE_API_KEY", NULL, 1, 96, 0, 0},
     QUERN__DIALECT_COHERE,
     false},
    {{"voyage", "https://api.voyageai.com/v1", "VOYAGE_API_KEY", NULL, 1, 128, 32000, 120000},
     QUERN__DIALECT_VOYAGE,
     true},
    {{"jina", "https://api.jina.ai/v1", "JINA_API_KEY", NULL, 1, 512, 8192, 0},
     QUERN__DIALECT_JINA,
     true},
    {{"voyage-vision", "https://api.voyageai.com/v1", "VOYAGE_API_KEY", NULL, 1, 128, 32000,
      120000},
     QUERN__DIALECT_VOYAGE_VISION,
     false},
    {{"jina-vision", "https://api.jina.ai/v1", "JINA_API_KEY", NULL, 1, 128, 8192, 0},
     QUERN__DIALECT_JINA_VISION,
     true},
    {{"dashscope-vision", "https://dashscope-intl.aliyuncs.com/api/v1", "DASHSCOPE_API_KEY", NULL,
      1, 10, 0, 0},
     QUERN__DIALECT_DASHSCOPE_VISION,
     false},
    {{"tei", NULL, "TEI_API_KEY", NULL, 0, 32, 0, 0}, QUERN__DIALECT_TEI, false},
    {{"ollama", "http://127.0.0.1:11434", "OLLAMA_API_KEY", "OLLAMA_HOST", 0, 100, 0, 0},
     QUERN__DIALECT_OLLAMA,
     false},
    {{"compatible", NULL, "QUERN_API_KEY", NULL, 0, 100, 0, 0}, QUERN__DIALECT_OPENAI, true},
};
enum { PROFILES = sizeof profiles / sizeof *profiles };

const quern__profile *quern__profile_find(const char *name)
{
    for (size_t i = 0; i < PROFILES; i++)
        if (strcmp(profiles[i].known.name, name) == 0)
            return &profiles[i];
    return NULL;
}

const quern_provider_profile *quern_provider_find(const char *name)
{
    const quern__profile *p = name ? quern__profile_find(name) : NULL;
    return p ? &p->known : NULL;
}

const quern_provider_profile *quern_provider_at(size_t i)
{
    return i < PROFILES ? &profiles[i].known : NULL;
}

uint32_t quern__profile_dimensions(const char *model)
{
#define X(name, dimensions)                                                                        \
    if (strcmp(model, name) == 0)                                                                  \
        return dimensions;
    KNOWN_MODELS
#undef X
    return 0;
}

/* Upper and lower case are the same, as in the system that these names come from. */
static bool same_name(const char *a, const char *b)
{
    for (;; a++, b++) {
        char x = *a >= 'A' && *a <= 'Z' ? (char)(*a + 'a' - 'A') : *a;
        if (x != *b)
            return false;
        if (!x)
            return true;
    }
}

const char *quern__profile_model(const char *provider, const char *model)
{
    static const struct {
        const char *canonical, *provider, *model;
    } names[] = {
        {"qwen-3-embedding-4b", "deepinfra", "Qwen/Qwen3-Embedding-4B"},
        {"qwen-3-embedding-4b", "dashscope", "text-embedding-v4"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (same_name(model, names[i].canonical) && strcmp(provider, names[i].provider) == 0)
            return names[i].model;
    return model;
}
