/*
 * model_alone.c — a model that is one GGUF file: what a folder says in JSON files it says in its key-values. They are taken
 * where the file itself was named, or where a folder has no config.json and its weights are such a file; beside a config.json
 * the JSON files are what counts, as for every other format.
 */
#include <string.h>

#include "base/alloc.h"
#include "embedder/model_impl.h"
#include "format/gguf_texts.h"

int quern__model_split(quern_model *m, const char *path, quern_error *err)
{
    const char *slash = strrchr(path, '/');
    m->path = slash == path ? quern__strdup("/")
              : slash       ? quern__strndup(path, (size_t)(slash - path))
                            : quern__strdup(".");
    m->alone = quern__strdup(slash ? slash + 1 : path);
    return m->path && m->alone ? QUERN_OK : quern__fail_memory(err, strlen(path));
}

int quern__model_find_alone(quern_model *m, quern_error *err)
{
    quern__stat st = {0};
    quern_error none;
    char *config = quern__model_file(m, "config.json");
    quern__weights_files *files = quern__calloc(1, sizeof *files);
    int rc = config && files ? quern__stat_path(config, &st, err) : quern__fail_memory(err, 0);
    /* That a folder has neither is for the reader of config.json to say. */
    if (rc == QUERN_OK && !st.exists && quern__weights_list(files, m->path, &none) == QUERN_OK &&
        files->format == QUERN__GGUF && !(m->alone = quern__strdup(files->name[0])))
        rc = quern__fail_memory(err, 0);
    quern__free(files);
    quern__free(config);
    return rc;
}

int quern__model_open_alone(quern_model *m, quern_error *err)
{
    quern__gguf_texts texts;
    int rc = quern__weights_open_leaf(&m->weights, QUERN__GGUF, m->path, m->alone, err);
    if (rc == QUERN_OK)
        rc = quern__gguf_texts_read(&texts, m->weights, err);
    if (rc)
        return rc;
    rc = quern__model_config_parse(&m->config, texts.config.data, texts.config.len, m->name, err);
    m->config.pooling = texts.pooling;
    m->config.pooling_stated = true;
    if (rc == QUERN_OK)
        rc = quern__tokenizer_from_json(
            &m->tokenizer, m->name, (quern_str){texts.tokenizer.data, texts.tokenizer.len}, err);
    quern__gguf_texts_dispose(&texts);
    return rc;
}
