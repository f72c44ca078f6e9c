/*
 * bench_start — what a process pays before its first vector: open the model, make an embedder, embed one
 * short text; and how much memory it then holds. Run it in a fresh process each time:
 *
 *     for i in $(seq 20); do bench_start MODEL-FOLDER; done
 *
 * (none, map, read: what is done with packed images.) Prints: milliseconds to open, to make the embedder, to the first vector, together; resident bytes
 * gained, and their ratio to the weights file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "quern/embedder.h"

static double ms(uint64_t from, uint64_t to)
{
    return (double)(to - from) / 1e6;
}

int main(int argc, char **argv)
{
    quern_model *model = NULL;
    quern_embedder *embedder = NULL;
    quern_embedder_options options;
    quern_model_options how;
    quern_model_info info;
    quern_error err;
    quern_str text = quern_str_of("What does a cold start cost?");
    if (argc < 2) {
        fprintf(stderr, "usage: bench_start MODEL-FOLDER [THREADS [none|map|read]]\n");
        return 2;
    }
    QUERN_INIT(&options);
    QUERN_INIT(&info);
    QUERN_INIT(&how);
    how.packed = argc > 3 && strcmp(argv[3], "none") != 0 ? "" : NULL;
    how.no_mmap = argc > 3 && strcmp(argv[3], "read") == 0;
    options.threads = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    uint64_t empty = quern__os_resident(), t0 = quern__now_ns();
    int rc = quern_model_open(&model, argv[1], &how, &err);
    uint64_t t1 = quern__now_ns();
    if (rc == QUERN_OK)
        rc = quern_embedder_from_model(&embedder, model, &options, &err);
    uint64_t t2 = quern__now_ns();
    float *v = rc == QUERN_OK ? malloc(quern_model_dimensions(model) * sizeof *v) : NULL;
    if (rc == QUERN_OK)
        rc = quern_embed(embedder, &text, 1, NULL, v, quern_model_dimensions(model), NULL, &err);
    uint64_t t3 = quern__now_ns();
    if (rc != QUERN_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    uint64_t gained = quern__os_resident() - empty;
    quern_model_describe(model, &info, NULL);
    printf("%s%s: open %.1f ms, embedder %.1f ms, first vector %.1f ms, together %.1f ms; resident "
           "+%.1f "
           "MB = %.2f x weights\n",
           info.precision, info.kept ? ", kept" : "", ms(t0, t1), ms(t1, t2), ms(t2, t3),
           ms(t0, t3), (double)gained / 1e6, (double)gained / (double)info.bytes);
    free(v);
    quern_embedder_free(embedder);
    quern_model_free(model);
    return 0;
}
