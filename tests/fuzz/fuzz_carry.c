/*
 * fuzz_carry.c — an export from a stranger: its manifest (first byte 0), a line of vectors.jsonl (1) or of empty.jsonl (2).
 * Refused with a message; or a manifest whose recipe has its fingerprint, a line whose key is spelled as keys are.
 */
#include <stdlib.h>

#include "base/sha256.h"
#include "pipeline/carry.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void manifest(const char *text, size_t n)
{
    quern__provenance p;
    quern_error err = {0};
    uint8_t digest[32];
    char hash[65];
    int rc = quern__provenance_read(text, n, "manifest", &p, &err);
    if (rc != QUERN_OK) {
        if (err.status != rc || !err.msg[0] || p.recipe || p.source || p.model)
            abort();
        return;
    }
    if (quern__sha256_of(p.recipe, strlen(p.recipe), digest, &err) != QUERN_OK)
        abort();
    quern__hex32(digest, hash);
    if (strcmp(hash, p.fingerprint) != 0 || !p.dimensions || !quern__vector_width(p.vector_type))
        abort();
    quern__provenance_dispose(&p);
}

static void line(const char *text, size_t n, bool empty)
{
    quern__arena arena;
    quern__carry_row row;
    quern_error err = {0};
    quern__arena_init(&arena, 0);
    int rc = quern__carry_row_read(text, n, empty, &arena, &row, &err);
    if (rc == QUERN_OK) {
        char *key = NULL;
        if (quern__canonical_key(row.key, &key, &err) != QUERN_OK || strlen(key) != row.key.len ||
            memcmp(key, row.key.ptr, row.key.len) != 0 || row.start > row.end ||
            row.char_start > row.char_end || row.chunks > QUERN__CHUNK_LIMIT ||
            quern__utf8_check(row.revision.ptr, row.revision.len) != row.revision.len)
            abort();
        quern_free(key);
    } else if (err.status != rc || !err.msg[0]) {
        abort();
    }
    quern__arena_dispose(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    char *copy = malloc(size); /* of its very length, for the address sanitizer */
    if (!copy)
        return 0;
    memcpy(copy, data + 1, size - 1);
    if (data[0] % 3 == 0)
        manifest(copy, size - 1);
    else
        line(copy, size - 1, data[0] % 3 == 2);
    free(copy);
    return 0;
}
