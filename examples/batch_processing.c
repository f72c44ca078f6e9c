/*
 * batch_processing — many texts in one call: what each cost, which were cut, and that a text's vector
 * does not depend on its company.
 *
 *     batch_processing MODEL-FOLDER < lines.txt
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <quern/quern.h>

enum { MAX_LINES = 1000, MAX_LINE = 8192 };

static size_t read_lines(quern_str *texts)
{
    static char line[MAX_LINE];
    size_t n = 0;
    while (n < MAX_LINES && fgets(line, sizeof line, stdin)) {
        size_t len = strcspn(line, "\n");
        char *copy = malloc(len + 1);
        if (!copy)
            break;
        memcpy(copy, line, len);
        copy[len] = '\0';
        texts[n].ptr = copy;
        texts[n].len = len;
        n++;
    }
    return n;
}

int main(int argc, char **argv)
{
    static quern_str texts[MAX_LINES];
    static quern_embed_result results[MAX_LINES];
    quern_model *model = NULL;
    quern_embedder *embedder = NULL;
    quern_embed_options options;
    quern_error err;
    if (argc != 2 || quern_model_open(&model, argv[1], NULL, &err) != QUERN_OK) {
        fprintf(stderr, "%s\n",
                argc != 2 ? "usage: batch_processing MODEL-FOLDER < lines.txt" : err.msg);
        return 2;
    }
    size_t n = read_lines(texts), dim = quern_model_dimensions(model), tokens = 0, cut = 0;
    float *together = malloc(n * dim * sizeof *together + 1), *alone = malloc(dim * sizeof *alone);
    QUERN_INIT(&options);
    options.truncation = QUERN_TRUNCATION_CUT;
    int rc =
        together && alone ? quern_embedder_from_model(&embedder, model, NULL, &err) : QUERN_ENOMEM;
    if (rc == QUERN_OK)
        rc = quern_embed(embedder, texts, n, &options, together, n * dim, results, &err);
    for (size_t i = 0; rc == QUERN_OK && i < n; i++) {
        tokens += results[i].tokens;
        cut += results[i].truncated ? 1 : 0;
        rc = quern_embed(embedder, &texts[i], 1, &options, alone, dim, NULL, &err);
        if (rc == QUERN_OK && memcmp(alone, together + i * dim, dim * sizeof *alone) != 0)
            printf("text %zu differs\n", i);
    }
    if (rc == QUERN_OK)
        printf("%zu texts, %zu tokens, %zu cut; alone and together: the same bits\n", n, tokens,
               cut);
    else
        fprintf(stderr, "%s\n", err.msg);
    quern_embedder_free(embedder);
    quern_model_free(model);
    for (size_t i = 0; i < n; i++)
        free((void *)(uintptr_t)texts[i].ptr);
    free(together);
    free(alone);
    return rc == QUERN_OK ? 0 : 1;
}
