/*
 * model_comparison — two models (or one model at two maximum lengths) side by side: what they are, and
 * how they see the same pair of texts. Their fingerprints differ, so quern never compares a vector of one
 * with a vector of the other; a cosine is only ever taken within one model.
 *
 *     model_comparison MODEL-FOLDER [MODEL-FOLDER]
 */
#include <stdio.h>
#include <stdlib.h>

#include <quern/quern.h>

static int show(const char *folder, uint32_t max_length, char hash[65], quern_error *err)
{
    quern_model *model = NULL;
    quern_embedder *embedder = NULL;
    quern_model_options options;
    quern_model_info info;
    quern_str pair[2] = {quern_str_of("The mill grinds grain."),
                         quern_str_of("Flour comes from wheat.")};
    float *vectors = NULL, similarity = 0;
    char *json = NULL;
    QUERN_INIT(&options);
    QUERN_INIT(&info);
    options.max_length = max_length;
    int rc = quern_model_open(&model, folder, &options, err);
    if (rc == QUERN_OK)
        rc = quern_model_describe(model, &info, err);
    if (rc == QUERN_OK)
        rc = quern_embedder_from_model(&embedder, model, NULL, err);
    if (rc == QUERN_OK)
        rc = quern_model_fingerprint(model, &json, hash, err);
    quern_free(json);
    if (rc == QUERN_OK && !(vectors = malloc(2 * info.dimensions * sizeof *vectors)))
        rc = QUERN_ENOMEM;
    if (rc == QUERN_OK)
        rc = quern_embed(embedder, pair, 2, NULL, vectors, 2 * info.dimensions, NULL, err);
    if (rc == QUERN_OK)
        rc = quern_cosine(vectors, vectors + info.dimensions, info.dimensions, &similarity, err);
    if (rc == QUERN_OK)
        printf("%s, %u dimensions, %u tokens, %s pooling: cosine %.3f\n", info.family,
               info.dimensions, info.max_sequence_length, info.pooling, (double)similarity);
    free(vectors);
    quern_embedder_free(embedder);
    quern_model_free(model);
    return rc;
}

int main(int argc, char **argv)
{
    char first[65], second[65];
    quern_error err = {0};
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: model_comparison MODEL-FOLDER [MODEL-FOLDER]\n");
        return 2;
    }
    int rc = show(argv[1], 0, first, &err);
    if (rc == QUERN_OK)
        rc = show(argv[argc - 1], argc == 2 ? 128 : 0, second, &err);
    if (rc != QUERN_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    printf("vectors %s comparable\n",
           quern_str_of(first).len && strcmp(first, second) == 0 ? "are" : "are not");
    return 0;
}
