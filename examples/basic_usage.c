/*
 * basic_usage — a model, an embedder, three texts, and how near each is to a question.
 *
 *     basic_usage MODEL-FOLDER
 */
#include <stdio.h>
#include <stdlib.h>

#include <quern/quern.h>

int main(int argc, char **argv)
{
    const char *const texts[] = {"A cat is sleeping on the sofa.",
                                 "The stock market fell sharply today.",
                                 "Kittens like to nap in the sun."};
    quern_model *model = NULL;
    quern_embedder *embedder = NULL;
    quern_error err;
    float question[384], answer[384], similarity;
    quern_str text = quern_str_of("Where do small pets rest?");
    int rc = argc == 2 ? quern_model_open(&model, argv[1], NULL, &err) : QUERN_EINVAL;

    if (argc != 2) {
        fprintf(stderr, "usage: basic_usage MODEL-FOLDER\n");
        return 2;
    }
    if (rc == QUERN_OK)
        rc = quern_embedder_from_model(&embedder, model, NULL, &err);
    if (rc == QUERN_OK)
        rc = quern_embed(embedder, &text, 1, NULL, question, 384, NULL, &err);
    for (int i = 0; rc == QUERN_OK && i < 3; i++) {
        text = quern_str_of(texts[i]);
        rc = quern_embed(embedder, &text, 1, NULL, answer, 384, NULL, &err);
        if (rc == QUERN_OK)
            rc = quern_cosine(question, answer, 384, &similarity, &err);
        if (rc == QUERN_OK)
            printf("%.3f  %s\n", (double)similarity, texts[i]);
    }
    if (rc != QUERN_OK)
        fprintf(stderr, "%s\n", err.msg);
    quern_embedder_free(embedder);
    quern_model_free(model);
    return rc == QUERN_OK ? 0 : 1;
}
