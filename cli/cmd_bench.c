/*
 * cmd_bench.c — figures of this machine: each is a rate, more is better, measured in rounds of the same
 * work until the time is up. The best round stands for what the machine can do, the median beside it
 * for how quiet it was. A baseline is a small JSON file in the current folder; against it only figures
 * of the same name are compared, best with best.
 */
#include "cli.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROUNDS = 4096, LEAST_ROUNDS = 3, TEXTS = 32, MOST_FIGURES = 8, TEXT_SIZE = 2048 };

typedef struct figure {
    const char *name, *unit;
    double best, median, baseline; /* per second; baseline 0: none */
    size_t rounds;
} figure;

typedef struct bench {
    cli *c;
    quern_embedder *e;
    quern_store *store;
    quern_store_options where;
    char **sources;
    size_t n_sources;
    int as;
    uint64_t time_ns;
    figure figures[MOST_FIGURES];
    size_t n;
    quern_str short_texts[TEXTS], long_texts[TEXTS];
    float *vectors; /* [TEXTS, dim] */
    size_t dim;
} bench;

/* ---- texts ---- */

static char *make_texts(bench *b)
{
    char *memory = malloc(2 * (size_t)TEXTS * TEXT_SIZE), *at = memory;
    uint32_t state = 1;
    for (size_t i = 0; memory && i < 2 * TEXTS; i++, at += TEXT_SIZE) {
        /* 13 and 168 words on average: with the special tokens 15 and 170 */
        size_t n = i < TEXTS ? 6 + i % 15 : 100 + (i * 37) % 136;
        sample_text(at, TEXT_SIZE, n, &state);
        *(i < TEXTS ? &b->short_texts[i] : &b->long_texts[i - TEXTS]) = quern_str_of(at);
    }
    return memory;
}

/* ---- one round of each ---- */

static int embed_texts(bench *b, const quern_str *texts, size_t n, quern_error *err)
{
    quern_embed_options opt;
    QUERN_INIT(&opt);
    opt.as = b->as;
    opt.truncation = QUERN_TRUNCATION_CUT;
    opt.cancel = b->c->cancel;
    return quern_embed(b->e, texts, n, &opt, b->vectors, n * b->dim, NULL, err);
}

static int round_tokenize(bench *b, double *work, quern_error *err)
{
    int rc = QUERN_OK;
    uint64_t tokens = 0;
    for (size_t i = 0; i < TEXTS && rc == QUERN_OK; i++) {
        quern_tokens *t = NULL;
        rc = quern_embedder_tokenize(b->e, b->long_texts[i], &t, err);
        tokens += rc == QUERN_OK ? t->n : 0;
        quern_tokens_free(t);
    }
    *work = (double)tokens;
    return rc;
}

static int round_short(bench *b, double *work, quern_error *err)
{
    *work = TEXTS;
    return embed_texts(b, b->short_texts, TEXTS, err);
}

static int round_long(bench *b, double *work, quern_error *err)
{
    *work = TEXTS;
    return embed_texts(b, b->long_texts, TEXTS, err);
}

static int round_similarity(bench *b, double *work, quern_error *err)
{
    float cosine;
    *work = 1;
    int rc = embed_texts(b, b->short_texts, 2, err);
    return rc == QUERN_OK ? quern_cosine(b->vectors, b->vectors + b->dim, b->dim, &cosine, err)
                          : rc;
}

static int round_search(bench *b, double *work, quern_error *err)
{
    quern_search_options opt;
    quern_results *r = NULL;
    QUERN_INIT(&opt);
    opt.sources = b->n_sources ? (const char *const *)b->sources : NULL;
    opt.n_sources = b->n_sources;
    opt.cancel = b->c->cancel;
    *work = 1;
    int rc = quern_search(&r, b->store, b->e, b->short_texts[0], &opt, err);
    quern_results_free(r);
    return rc;
}

typedef int (*round_fn)(bench *b, double *work, quern_error *err);

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int measure(bench *b, const char *name, const char *unit, round_fn once, quern_error *err)
{
    double *rates = malloc(MOST_ROUNDS * sizeof *rates), work;
    if (!rates)
        return no_memory(err);
    size_t n = 0;
    int rc = once(b, &work, err); /* warms caches; not counted */
    uint64_t start = term_now_ns(), from = start;
    while (rc == QUERN_OK && n < MOST_ROUNDS && (n < LEAST_ROUNDS || from - start < b->time_ns)) {
        if (quern_cancel_raised(b->c->cancel))
            rc = fail(err, QUERN_ECANCELLED, "interrupted");
        else if ((rc = once(b, &work, err)) == QUERN_OK) {
            uint64_t to = term_now_ns();
            rates[n++] = work * 1e9 / (double)(to > from ? to - from : 1);
            from = to;
        }
    }
    if (rc == QUERN_OK) {
        qsort(rates, n, sizeof *rates, ascending);
        b->figures[b->n++] = (figure){
            .name = name, .unit = unit, .best = rates[n - 1], .median = rates[n / 2], .rounds = n};
    }
    free(rates);
    return rc;
}

/* ---- which ---- */

static const char *const kinds[] = {"tokenize", "embed", "similarity", "search"};
enum { KINDS = 4, KIND_SEARCH = 3 };

static int chosen(const cli *c, unsigned char want[KINDS], quern_error *err)
{
    const char *only = quern_config_text(c->config, "only");
    memset(want, !only, KINDS);
    while (only && *only) {
        char word[32];
        size_t n = strcspn(only, ","), k = 0;
        snprintf(word, sizeof word, "%.*s", (int)(n < 31 ? n : 31), only);
        while (k < KINDS && strcmp(kinds[k], word) != 0)
            k++;
        if (k == KINDS) {
            const char *near = quern_nearest(word, kinds, KINDS);
            return fail(err, QUERN_EINVAL, "--only: there is no benchmark \"%s\"%s%s%s", word,
                        near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
        }
        want[k] = 1;
        only += n + (only[n] == ',');
    }
    return QUERN_OK;
}

/* Search needs a store that has been filled; unless it was asked for by name, none is no error. */
static int measure_search(bench *b, int asked, quern_error *err)
{
    const quern_store_options *where = &b->where;
    FILE *f = fopen(where->store ? where->store : where->db, "rb");
    if (f)
        fclose(f);
    else if (!asked)
        return QUERN_OK;
    quern_error why;
    int rc = quern_store_open(&b->store, where, &why);
    if (rc == QUERN_OK)
        rc = measure(b, "search", "searches/s", round_search, &why);
    if (rc == QUERN_ENOTFOUND && !asked)
        return QUERN_OK;
    if (rc != QUERN_OK)
        *err = why;
    return rc;
}

static int measure_all(bench *b, quern_error *err)
{
    unsigned char want[KINDS];
    int rc = chosen(b->c, want, err);
    if (rc == QUERN_OK && want[0])
        rc = measure(b, "tokenize", "tokens/s", round_tokenize, err);
    if (rc == QUERN_OK && want[1])
        rc = measure(b, "embed.short", "texts/s", round_short, err);
    if (rc == QUERN_OK && want[1])
        rc = measure(b, "embed.long", "texts/s", round_long, err);
    if (rc == QUERN_OK && want[2])
        rc = measure(b, "similarity", "pairs/s", round_similarity, err);
    if (rc == QUERN_OK && want[KIND_SEARCH])
        rc = measure_search(b, quern_config_is_set(b->c->config, "only"), err);
    return rc;
}

/* ---- baselines ---- */

static int baseline_path(const char *name, char *out, size_t size, quern_error *err)
{
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("-_.", *c))
            return fail(err, QUERN_EINVAL, "baseline \"%.60s\": letters, digits, - _ and . only",
                        name);
    if (!*name || strlen(name) > 100)
        return fail(err, QUERN_EINVAL, "baseline: a name of 1 to 100 letters is needed");
    snprintf(out, size, "quern-bench-%s.json", name);
    return QUERN_OK;
}

static int load_baseline(bench *b, const char *name, quern_error *err)
{
    char path[160];
    json_error_t fault;
    int rc = baseline_path(name, path, sizeof path, err);
    if (rc != QUERN_OK)
        return rc;
    FILE *f = fopen(path, "rb");
    if (!f)
        return fail(err, QUERN_ENOTFOUND, "%s: no such baseline; make it with --save-baseline %s",
                    path, name);
    char text[1 << 14];
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    json_t *root = n < sizeof text ? json_loadb(text, n, 0, &fault) : NULL;
    json_t *results = json_object_get(root, "results"), *one;
    size_t i, found = 0;
    json_array_foreach(results, i, one)
    {
        const char *figure_name = json_string_value(json_object_get(one, "name"));
        double best = json_number_value(json_object_get(one, "best"));
        for (size_t k = 0; figure_name && k < b->n; k++)
            if (strcmp(b->figures[k].name, figure_name) == 0 && best > 0) {
                b->figures[k].baseline = best;
                found++;
            }
    }
    json_decref(root);
    if (!found)
        return fail(err, QUERN_EFORMAT, "%s: holds none of the figures measured here", path);
    return QUERN_OK;
}

static int save_baseline(const bench *b, const char *name, quern_error *err)
{
    char path[160], beside[170];
    int rc = baseline_path(name, path, sizeof path, err);
    if (rc != QUERN_OK)
        return rc;
    snprintf(beside, sizeof beside, "%s.tmp", path);
    FILE *f = fopen(beside, "wb");
    if (!f)
        return fail(err, QUERN_EIO, "%s: cannot write", beside);
    fprintf(f, "{\"quern\":\"%s\",\"kernels\":\"%s\",\"results\":[", quern_version_string(),
            quern_cpu_level());
    for (size_t i = 0; i < b->n; i++)
        fprintf(f, "%s\n  {\"name\":\"%s\",\"unit\":\"%s\",\"best\":%.6g,\"median\":%.6g}",
                i ? "," : "", b->figures[i].name, b->figures[i].unit, b->figures[i].best,
                b->figures[i].median);
    fputs("\n]}\n", f);
    int bad = ferror(f);
    bad |= fclose(f);
    if (bad || rename(beside, path) != 0) {
        remove(beside);
        return fail(err, QUERN_EIO, "%s: cannot write", path);
    }
    return QUERN_OK;
}

/* ---- the report ---- */

static double change(const figure *f)
{
    return f->baseline > 0 ? 100 * (f->best - f->baseline) / f->baseline : 0;
}

static void write_json(const bench *b)
{
    put_object();
    put_key("quern");
    put_text(quern_version_string());
    put_key("processor");
    put_text(quern_cpu_describe());
    put_key("kernels");
    put_text(quern_cpu_level());
    put_key("model");
    put_text(quern_embedder_name(b->e));
    put_key("results");
    put_array();
    for (size_t i = 0; i < b->n; i++) {
        const figure *f = &b->figures[i];
        put_object();
        put_key("name");
        put_text(f->name);
        put_key("unit");
        put_text(f->unit);
        put_key("best");
        put_real(f->best);
        put_key("median");
        put_real(f->median);
        put_key("rounds");
        put_whole(f->rounds);
        if (f->baseline > 0) {
            put_key("baseline");
            put_real(f->baseline);
            put_key("change_percent");
            put_real(change(f));
        }
        put_end_object();
    }
    put_end_array();
    put_end_object();
    put_line();
}

static void write_text(const bench *b)
{
    for (size_t i = 0; i < b->n; i++) {
        const figure *f = &b->figures[i];
        out_printf("%-12s %12.1f %-10s (median %.1f, %zu rounds)", f->name, f->best, f->unit,
                   f->median, f->rounds);
        if (f->baseline > 0)
            out_printf("  %+.1f %%", change(f));
        out_text("\n");
    }
}

static int judge(const bench *b, double most, quern_error *err)
{
    const figure *worst = NULL;
    for (size_t i = 0; i < b->n; i++)
        if (b->figures[i].baseline > 0 && -change(&b->figures[i]) > most &&
            (!worst || change(&b->figures[i]) < change(worst)))
            worst = &b->figures[i];
    if (!worst)
        return QUERN_OK;
    return fail(err, QUERN_EMISMATCH, "%s is %.1f %% slower than the baseline, %.1f %% is allowed",
                worst->name, -change(worst), most);
}

int cmd_bench(cli *c, quern_error *err)
{
    bench b = {.c = c};
    char *texts = NULL, unused[160];
    const char *load = quern_config_text(c->config, "baseline");
    const char *save = quern_config_text(c->config, "save-baseline");
    double most = quern_config_real(c->config, "max-regression");
    b.time_ns = quern_config_count(c->config, "measurement-time") * 1000000u;
    store_options(c, 1, &b.where);
    b.as = option_as(c, QUERN_AS_DOCUMENT);
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK && (load || save)) /* a bad name is found before minutes of measuring */
        rc = baseline_path(load ? load : save, unused, sizeof unused, err);
    if (rc == QUERN_OK)
        rc = list_sources(c, &b.sources, &b.n_sources, err);
    if (rc == QUERN_OK)
        rc = open_embedder(c, NULL, &b.e, err);
    if (rc == QUERN_OK) {
        b.dim = quern_embedder_dimensions(b.e);
        b.vectors = calloc(TEXTS * b.dim, sizeof *b.vectors);
        texts = make_texts(&b);
        rc = b.vectors && texts ? measure_all(&b, err) : no_memory(err);
    }
    if (rc == QUERN_OK && load)
        rc = load_baseline(&b, load, err);
    if (rc == QUERN_OK)
        (c->json ? write_json : write_text)(&b);
    if (rc == QUERN_OK && save)
        rc = save_baseline(&b, save, err);
    if (rc == QUERN_OK)
        rc = judge(&b, most, err);
    free(texts);
    free(b.vectors);
    free(b.sources);
    quern_store_free(b.store);
    quern_embedder_free(b.e);
    return rc;
}
