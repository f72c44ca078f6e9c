/*
 * replay_main.c — runs a fuzz target over the files named on the command line, where libFuzzer is not
 * built in. Each input is copied to memory of exactly its size, so that a sanitizer sees overruns, and
 * is also run cut short at 64 places, since torn files are what a corpus is never full of.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);

    if (!copy)
        return 1;
    if (size)
        memcpy(copy, bytes, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    return 0;
}

static int replay(const char *path)
{
    static uint8_t bytes[1 << 20];
    FILE *in = fopen(path, "rb");
    size_t size;
    int bad;

    if (!in) {
        fprintf(stderr, "%s: cannot be opened\n", path);
        return 1;
    }
    size = fread(bytes, 1, sizeof bytes, in);
    bad = ferror(in) || !feof(in);
    fclose(in);
    if (bad) {
        fprintf(stderr, "%s: cannot be read, or is over %zu bytes\n", path, sizeof bytes);
        return 1;
    }
    for (size_t i = 0; i < 64; i++)
        if (run(bytes, size * i / 64))
            return 1;
    return run(bytes, size);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s FILE…\n", argv[0]);
        return 1;
    }
    for (int i = 1; i < argc; i++)
        if (replay(argv[i]))
            return 1;
    printf("%d inputs replayed\n", argc - 1);
    return 0;
}
