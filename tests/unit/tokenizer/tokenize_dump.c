/*
 * tokenize_dump FOLDER MAX_TOKENS IN OUT — tokens of many texts, in binary, for the parity test: text
 * on a command line or in lines could not carry NUL, newlines and invalid UTF-8.
 * IN: per text u32 length, bytes. OUT: per text u32 n, u32 full, then n times i32 id, u32 start,
 * u32 end. MAX_TOKENS "plain" leaves the special tokens out. Prints the tokenizer's hash.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/os.h"
#include "tokenizer/tokenizer.h"

static int die(const quern_error *err)
{
    fprintf(stderr, "%s\n", err->msg);
    return 1;
}

static void put(FILE *f, uint32_t v)
{
    if (fwrite(&v, 4, 1, f) != 1)
        abort();
}

int main(int argc, char **argv)
{
    quern_error err = {0};
    quern__tokenizer *t;
    quern__tokens tokens;
    char *in, hash[65];
    size_t size;
    if (argc != 5)
        return 2;
    if (quern__tokenizer_open(&t, argv[1], &err) ||
        quern__read_file(argv[3], SIZE_MAX / 2, &in, &size, &err))
        return die(&err);
    FILE *out = fopen(argv[4], "wb");
    if (!out)
        return 1;
    quern__tokens_init(&tokens);
    bool plain = strcmp(argv[2], "plain") == 0;
    uint32_t max = (uint32_t)strtoul(argv[2], NULL, 10), len;
    for (size_t at = 0; at < size; at += 4 + len) {
        memcpy(&len, in + at, 4);
        /* A copy of its own size, so that a sanitizer sees a read past the end. */
        char *copy = malloc(len ? len : 1);
        memcpy(copy, in + at + 4, len);
        quern_str text = {copy, len};
        if (plain ? quern__tokenize_plain(t, text, &tokens, &err)
                  : quern__tokenize(t, text, max, &tokens, &err))
            return die(&err);
        free(copy);
        put(out, tokens.n);
        put(out, tokens.full);
        for (uint32_t i = 0; i < tokens.n; i++) {
            put(out, (uint32_t)tokens.ids[i]);
            put(out, tokens.start[i]);
            put(out, tokens.end[i]);
        }
    }
    quern__tokenizer_hash(t, hash);
    puts(hash);
    quern__tokens_dispose(&tokens);
    quern__free(in);
    quern__tokenizer_free(t);
    return fclose(out) != 0;
}
