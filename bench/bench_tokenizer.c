/*
 * bench_tokenizer FOLDER [ROUNDS] < TEXTS — texts and tokens a second of one thread, one text a line;
 * the best round and the median. And the time to open the folder.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/os.h"
#include "tokenizer/tokenizer.h"

enum { MAX_ROUNDS = 1000 };

static int by_time(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t tokenize_all(const quern__tokenizer *t, const quern__buf *in, quern__tokens *tokens,
                             uint64_t *texts)
{
    uint64_t n = 0;
    *texts = 0;
    for (size_t at = 0; at < in->len;) {
        const char *end = memchr(in->data + at, '\n', in->len - at);
        size_t len = end ? (size_t)(end - in->data) - at : in->len - at;
        if (quern__tokenize(t, (quern_str){in->data + at, len}, 0, tokens, NULL) != QUERN_OK)
            exit(1);
        n += tokens->n;
        ++*texts;
        at += len + 1;
    }
    return n;
}

int main(int argc, char **argv)
{
    static uint64_t times[MAX_ROUNDS];
    quern_error err = {0};
    quern__tokenizer *t = NULL;
    quern__tokens tokens;
    quern__buf in;
    int rounds = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 20;
    if (argc < 2 || rounds < 1 || rounds > MAX_ROUNDS)
        return 2;
    for (int i = 0; i < rounds; i++) {
        uint64_t start = quern__now_ns();
        quern__tokenizer_free(t);
        if (quern__tokenizer_open(&t, argv[1], &err) != QUERN_OK) {
            fprintf(stderr, "%s\n", err.msg);
            return 1;
        }
        times[i] = quern__now_ns() - start;
    }
    qsort(times, (size_t)rounds, sizeof times[0], by_time);
    printf("open: best %.2f ms, median %.2f ms\n", (double)times[0] / 1e6,
           (double)times[rounds / 2] / 1e6);

    quern__buf_init(&in, (size_t)1 << 30);
    char chunk[1 << 16];
    for (size_t got; (got = fread(chunk, 1, sizeof chunk, stdin)) > 0;)
        quern__buf_append(&in, chunk, got);
    quern__tokens_init(&tokens);
    uint64_t n = 0, texts = 0;
    for (int i = 0; i < rounds; i++) {
        uint64_t start = quern__now_ns();
        n = tokenize_all(t, &in, &tokens, &texts);
        times[i] = quern__now_ns() - start;
    }
    qsort(times, (size_t)rounds, sizeof times[0], by_time);
    for (int median = 0; median < 2; median++) {
        double s = (double)times[median ? rounds / 2 : 0] / 1e9;
        printf("%s: %.0f texts/s, %.2f M tokens/s, %.1f MB/s, %.2f us a text\n",
               median ? "median" : "best", (double)texts / s, (double)n / s / 1e6,
               (double)in.len / s / 1e6, s * 1e6 / (double)(texts ? texts : 1));
    }
    quern__tokens_dispose(&tokens);
    quern__buf_dispose(&in);
    quern__tokenizer_free(t);
    return 0;
}
