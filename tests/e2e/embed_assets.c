/*
 * embed_assets.c — assets to vectors through a hosted model, for the Python tests; quern has no command for it.
 *
 *   embed_assets PROVIDER MODEL URL DIMENSIONS [text=T] [as=query] [fused=1] [most=N] [image=URL] [frame=URL] [video=URL] …
 *
 * Prints one line of JSON: what quern_embed_assets tells, "fused", "each" (null where there is none) and the fingerprint. A failure
 * prints "NAME SUBJECT: message" on stderr and exits 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quern/provider.h"

enum { MOST = 100 };

typedef struct request {
    quern_str text;
    quern_asset assets[MOST];
    size_t n;
    int fused_only;
    quern_asset_options opt;
} request;

static int fail(const quern_error *err)
{
    fprintf(stderr, "%s %d: %s\n", quern_status_name(err->status), err->subject, err->msg);
    return 1;
}

static int take(request *r, const char *argument)
{
    static const char *const kinds[] = {"image", "frame", "video"};
    const char *value = strchr(argument, '=');
    size_t n = value ? (size_t)(value++ - argument) : 0;
    if (n == 4 && memcmp(argument, "text", n) == 0)
        r->text = quern_str_of(value);
    else if (n == 2 && memcmp(argument, "as", n) == 0)
        r->opt.as = QUERN_AS_QUERY;
    else if (n == 5 && memcmp(argument, "fused", n) == 0)
        r->fused_only = 1;
    else if (n == 4 && memcmp(argument, "most", n) == 0)
        r->opt.max_assets = (uint32_t)strtoul(value, NULL, 10);
    else
        for (int k = 0; k < 3; k++)
            if (n == 5 && memcmp(argument, kinds[k], n) == 0 && r->n < MOST)
                r->assets[r->n++] =
                    (quern_asset){.kind = k, .frame = -1, .url = quern_str_of(value)};
    return n == 0;
}

static void put_vector(const float *v, uint32_t dim)
{
    for (uint32_t i = 0; i < dim; i++)
        printf("%s%.9g", i ? ", " : "[", (double)v[i]);
    printf("]");
}

static int put(quern_embedder *e, const request *r, const quern_asset_result *told,
               quern_error *err)
{
    uint32_t dim = quern_embedder_dimensions(e);
    char *fingerprint = NULL;
    int rc = quern_embedder_fingerprint(e, &fingerprint, NULL, err);
    if (rc != QUERN_OK)
        return rc;
    printf("{\"empty\": %d, \"used\": %u, \"cut\": %u, \"skipped\": %u, \"tokens\": %llu, ",
           told->empty, told->used, told->cut, told->skipped, (unsigned long long)told->tokens);
    printf("\"fingerprint\": %s, \"fused\": ", fingerprint);
    put_vector(told->fused, dim);
    printf(", \"each\": [");
    for (size_t i = 0; told->each && i < r->n; i++) {
        printf("%s", i ? ", " : "");
        if (told->fates[i] == QUERN_ASSET_USED)
            put_vector(told->each + i * dim, dim);
        else
            printf("null");
    }
    printf("]}\n");
    quern_free(fingerprint);
    return QUERN_OK;
}

static int run(quern_embedder *e, const request *r, quern_error *err)
{
    uint32_t dim = quern_embedder_dimensions(e);
    int fates[MOST];
    quern_asset_result told;
    float *vectors = calloc(r->n + 1, dim * sizeof *vectors);
    if (!vectors)
        abort();
    QUERN_INIT(&told);
    told.fused = vectors;
    told.fused_floats = dim;
    told.each = r->fused_only ? NULL : vectors + dim;
    told.each_floats = r->n * dim;
    told.fates = fates;
    int rc = quern_embed_assets(e, r->text, r->assets, r->n, &r->opt, &told, err);
    if (rc == QUERN_OK)
        rc = put(e, r, &told, err);
    free(vectors);
    return rc;
}

int main(int argc, char **argv)
{
    quern_provider_options o;
    quern_batching_options batching;
    quern_retry_options retry;
    quern_embedder *e = NULL, *outer = NULL;
    quern_error err = {0};
    request r = {.n = 0};
    QUERN_INIT(&r.opt);
    int wrong = argc < 5;
    for (int i = 5; i < argc; i++)
        wrong |= take(&r, argv[i]);
    if (wrong)
        return 2;
    QUERN_INIT(&o);
    QUERN_INIT(&batching);
    QUERN_INIT(&retry);
    o.provider = argv[1];
    o.model = argv[2];
    o.base_url = *argv[3] ? argv[3] : NULL;
    o.dimensions = (uint32_t)strtoul(argv[4], NULL, 10);
    o.use_environment = 1;
    o.timeout_ms = 5000;
    retry.base_ms = 10;
    batching.max_inputs = 64;
    int rc = quern_embedder_from_provider(&e, &o, &err);
    if (!rc && !(rc = quern_embedder_retrying(&outer, e, &retry, &err)))
        e = outer;
    if (!rc && !(rc = quern_embedder_batching(&outer, e, &batching, &err)))
        e = outer;
    if (!rc)
        rc = run(e, &r, &err);
    quern_embedder_free(e);
    return rc ? fail(&err) : 0;
}
