/*
 * embed_folder.c — a model folder and texts to vectors, for the Python tests: they run in every build,
 * and an interpreter cannot load a library that carries a sanitizer. The command line is not used
 * because it takes models from the shelf, which would refuse what some tests are about.
 *
 *   embed_folder FOLDER [LEVELS] < (u32 length, bytes)… > u32 dimension, f32 [texts, dimension]
 *
 * A failure prints "NAME: message" (one line) on stderr and exits 1.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quern/embedder.h"

enum { MAX_TEXTS = 4096 };

static quern_str texts[MAX_TEXTS];
static size_t n_texts;

static int fail(int status, const quern_error *err)
{
    fprintf(stderr, "%s: %s\n", quern_status_name(status), err->msg);
    return 1;
}

static int read_texts(void)
{
    uint32_t len;

    while (fread(&len, sizeof len, 1, stdin) == 1) {
        char *text = len < 1u << 20 ? malloc(len + 1u) : NULL;
        if (!text || n_texts == MAX_TEXTS || fread(text, 1, len, stdin) != len) {
            fprintf(stderr, "embed_folder: bad input\n");
            free(text);
            return 1;
        }
        texts[n_texts++] = (quern_str){text, len};
    }
    return 0;
}

static int embed(const quern_model *m, quern_embedder *e)
{
    const uint32_t dim = quern_model_dimensions(m);
    float *out = calloc(n_texts + 1, dim * sizeof *out);
    quern_embed_options opt;
    quern_model_info info;
    quern_error err;
    int rc;

    if (!out)
        return 1;
    QUERN_INIT(&info);
    rc = quern_model_describe(m, &info, &err);
    QUERN_INIT(&opt);
    opt.truncation = QUERN_TRUNCATION_CUT;
    if (!rc) {
        opt.no_normalize = !info.normalize;
        rc = quern_embed(e, texts, n_texts, &opt, out, n_texts * dim, NULL, &err);
    }
    if (rc)
        fail(rc, &err);
    else
        rc = fwrite(&dim, sizeof dim, 1, stdout) != 1 ||
             fwrite(out, sizeof *out, n_texts * dim, stdout) != n_texts * dim;
    free(out);
    return rc != 0;
}

int main(int argc, char **argv)
{
    quern_model *m = NULL;
    quern_embedder *e = NULL;
    quern_error err;
    int rc;

    if (argc < 2 || argc > 3 || read_texts())
        return 2;
    rc = quern_cpu_limit(argc > 2 ? argv[2] : NULL, &err);
    if (!rc)
        rc = quern_model_open(&m, argv[1], NULL, &err);
    if (!rc)
        rc = quern_embedder_from_model(&e, m, NULL, &err);
    rc = rc ? fail(rc, &err) : embed(m, e);
    quern_embedder_free(e);
    quern_model_free(m);
    for (size_t i = 0; i < n_texts; i++)
        free((void *)texts[i].ptr);
    return rc;
}
