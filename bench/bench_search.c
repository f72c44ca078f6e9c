/*
 * bench_search.c — how long a search over many stored vectors takes: inside one process, and as the whole command
 * `quern search`, model load included.
 *
 *     bench_search MODEL_FOLDER DB [DOCUMENTS [QUERN]]
 *
 * DB is made when it is not there: DOCUMENTS (60,000) rows whose vectors are random unit vectors in f16, under the
 * very fingerprint of the model, so that the command takes them for filled. The texts are short sentences of random words; the
 * scan does not look at them, and the join back reads some twenty rows. Prints best and median of 20.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/rng.h"
#include "quern/pipeline.h"
#include "quern/search.h"
#include "quern/sys/embedder.h"
#include "quern/vector.h"

enum { ROUNDS = 20 };

static quern_error err;

static void need(int rc, const char *what)
{
    if (rc != QUERN_OK && rc != QUERN_EEXISTS) {
        fprintf(stderr, "bench_search: %s: %s\n", what, err.msg);
        exit(1);
    }
}

/* ---- the model's fingerprint and tokens, random vectors ---- */

typedef struct disguise {
    quern_embedder *real;
    quern__rng rng;
} disguise;

static int random_vectors(void *self, const quern_str *texts, size_t n,
                          const quern_embed_options *opt, float *out, quern_embed_result *results,
                          quern_error *e)
{
    disguise *d = self;
    size_t dim = quern_embedder_dimensions(d->real);
    (void)texts;
    (void)opt;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < dim; k++)
            out[i * dim + k] = quern__rng_float(&d->rng) + quern__rng_float(&d->rng) - 1.0f;
        int rc = quern_normalize(out + i * dim, dim, e);
        if (rc != QUERN_OK)
            return rc;
        if (results)
            memset(&results[i], 0, sizeof results[i]);
    }
    return QUERN_OK;
}

static int real_fingerprint(void *self, char **json, quern_error *e)
{
    return quern_embedder_fingerprint(((disguise *)self)->real, json, NULL, e);
}

static int real_tokenize(void *self, quern_str text, quern_tokens **out, quern_error *e)
{
    return quern_embedder_tokenize(((disguise *)self)->real, text, out, e);
}

static quern_embedder *disguise_of(disguise *d)
{
    quern_embedder_table t;
    memset(&t, 0, sizeof t);
    t.struct_size = sizeof t;
    t.name = "random vectors";
    t.dimensions = quern_embedder_dimensions(d->real);
    t.max_length = quern_embedder_max_length(d->real);
    t.embed = random_vectors;
    t.fingerprint = real_fingerprint;
    t.tokenize = real_tokenize;
    quern_embedder *e = NULL;
    need(quern_embedder_from_table(&e, &t, d, &err), "embedder");
    return e;
}

static void make_store(quern_store *s, quern_embedder *real, const char *db, long documents)
{
    char path[4096];
    snprintf(path, sizeof path, "%s.jsonl", db);
    FILE *f = fopen(path, "w");
    if (!f) {
        perror(path);
        exit(1);
    }
    for (long i = 0; i < documents; i++)
        fprintf(f, "{\"id\":\"package%ld\",\"text\":\"package %ld does what number %ld says\"}\n",
                i, i, i * 7);
    fclose(f);
    const char *paths[] = {path};
    need(quern_add(s, paths, 1, NULL, NULL, &err), "add");
    remove(path);
    disguise d = {.real = real};
    quern__rng_seed(&d.rng, 1);
    quern_embedder *fake = disguise_of(&d);
    uint64_t began = quern__now_ns();
    need(quern_fill(s, fake, NULL, NULL, &err), "fill");
    printf("store of %ld documents made; everything of fill but the model: %.1f us a document\n",
           documents, (double)(quern__now_ns() - began) / 1e3 / (double)documents);
    quern_embedder_free(fake);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *what, double *ms)
{
    qsort(ms, ROUNDS, sizeof *ms, by_value);
    printf("%-40s best of %d %7.1f ms, median %7.1f ms\n", what, ROUNDS, ms[0], ms[ROUNDS / 2]);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: %s MODEL_FOLDER DB [DOCUMENTS [QUERN]]\n", argv[0]);
        return 2;
    }
    quern_model *m = NULL;
    quern_embedder *e = NULL;
    quern_store *s = NULL;
    quern_store_options o;
    QUERN_INIT(&o);
    o.db = argv[2];
    need(quern_model_open(&m, argv[1], NULL, &err), "model");
    need(quern_embedder_from_model(&e, m, NULL, &err), "embedder");
    quern__stat st;
    need(quern__stat_path(argv[2], &st, &err), "db");
    need(quern_store_open(&s, &o, &err), "store");
    if (!st.exists)
        make_store(s, e, argv[2], argc > 3 ? atol(argv[3]) : 60000);
    double ms[ROUNDS];
    quern_str query = quern_str_of("play chess against the computer");
    for (int i = 0; i < ROUNDS; i++) {
        float v[4096];
        uint64_t t = quern__now_ns();
        need(quern_embed(e, &query, 1, NULL, v, 4096, NULL, &err), "embed");
        ms[i] = (double)(quern__now_ns() - t) / 1e6;
    }
    report("embedding the query", ms);
    uint64_t scanned = 0;
    for (int i = 0; i < ROUNDS; i++) {
        quern_results *r = NULL;
        uint64_t t = quern__now_ns();
        need(quern_search(&r, s, e, query, NULL, &err), "search");
        ms[i] = (double)(quern__now_ns() - t) / 1e6;
        scanned = quern_results_scanned(r);
        quern_results_free(r);
    }
    report("search in the process", ms);
    printf("%llu vectors compared\n", (unsigned long long)scanned);
    quern_store_free(s);
    quern_embedder_free(e);
    quern_model_free(m);
    if (argc > 4) {
        char cmd[8192];
        snprintf(cmd, sizeof cmd,
                 "'%s' search --db '%s' --model '%s' 'play chess against the computer' >/dev/null",
                 argv[4], argv[2], argv[1]);
        for (int i = 0; i < ROUNDS; i++) {
            uint64_t t = quern__now_ns();
            if (system(cmd) != 0)
                return 1;
            ms[i] = (double)(quern__now_ns() - t) / 1e6;
        }
        report("quern search, the whole process", ms);
    }
    return 0;
}
