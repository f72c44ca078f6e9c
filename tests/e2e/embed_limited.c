/*
 * embed_limited.c — a process that calls a hosted model again and again within limits that it shares, for the Python tests, which
 * have no minutes to wait.
 *
 *   embed_limited URL SHARED NAME WINDOW_MS REQUESTS TOKENS CALLS THREADS
 *
 * Prints "ready", then a line "call N" for each call that was answered, and "done". A failure prints "NAME: message" on stderr and
 * exits 1.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quern/provider.h"

static quern_embedder *embedder;
static atomic_int left, failed;

static uint32_t number(const char *s)
{
    return (uint32_t)strtoul(s, NULL, 10);
}

static void *call(void *unused)
{
    static const char text[] = "forty bytes of text are taken for 10 tkns";
    float v[24];
    int n;
    while ((n = atomic_fetch_sub(&left, 1)) > 0 && !failed) {
        quern_error err = {0};
        quern_str one = {text, 36};
        if (quern_embed(embedder, &one, 1, NULL, v, 24, NULL, &err) != QUERN_OK) {
            fprintf(stderr, "%s: %s\n", quern_status_name(err.status), err.msg);
            failed = 1;
        } else {
            printf("call %d\n", n);
            fflush(stdout);
        }
    }
    return unused;
}

int main(int argc, char **argv)
{
    quern_provider_options o;
    quern_limit_options limit;
    quern_embedder *e = NULL;
    quern_error err = {0};
    pthread_t threads[16];
    if (argc != 9)
        return 2;
    QUERN_INIT(&o);
    QUERN_INIT(&limit);
    o.provider = "compatible";
    o.model = "any";
    o.base_url = argv[1];
    o.dimensions = 24;
    limit.shared = *argv[2] ? argv[2] : NULL;
    limit.shared_name = argv[3];
    limit.window_ms = number(argv[4]);
    limit.requests_per_minute = number(argv[5]) ? number(argv[5]) : UINT32_MAX;
    limit.tokens_per_minute = number(argv[6]);
    left = (int)number(argv[7]);
    uint32_t n = number(argv[8]);
    if (quern_embedder_from_provider(&e, &o, &err) != QUERN_OK ||
        quern_embedder_limited(&embedder, e, &limit, &err) != QUERN_OK) {
        fprintf(stderr, "%s: %s\n", quern_status_name(err.status), err.msg);
        quern_embedder_free(e);
        return 1;
    }
    printf("ready\n");
    fflush(stdout);
    for (uint32_t i = 0; i < n && i < 16; i++)
        if (pthread_create(&threads[i], NULL, call, NULL) != 0)
            abort();
    for (uint32_t i = 0; i < n && i < 16; i++)
        pthread_join(threads[i], NULL);
    quern_embedder_free(embedder);
    printf("done\n");
    return failed;
}
