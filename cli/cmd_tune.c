/*
 * cmd_tune.c — chooses settings by measuring. Each candidate is measured in a process of its own, because memory that one has
 * had is never quite given back, and because the kernel then says how much it has had at most. Rounds go through all
 * candidates in turn, so that a machine that is busy for a second is busy for all of them. Of several rounds the worst
 * counts: a rate, a latency, a memory "hold" when they held each time. What is written has been measured once more, as it
 * is written, with its cache full.
 *
 * Nothing here changes a vector: threads, batch and cache only. A class of precision is part of the fingerprint, so it is for
 * the user to choose (--precision), and is measured as chosen.
 *
 * Rejected: a formula for memory (what it leaves out is what overflows), and looking at the process's own /proc while it runs (between
 * two looks it may have had twice as much).
 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST = 40,
    SHORT = 64,
    TEXT = 256,
    KEEP = 4,
    ROUNDS = 3,
    CALLS = 4096,
    NAMES = 4,
    LARGEST_BATCH = 256
};
/* What documents in hand and a database take beside the embedder. */
#define RESERVE (UINT64_C(16) << 20)
#define MIB     (UINT64_C(1) << 20)

enum { THREADS, BATCH, CACHE_ENTRIES, CACHE_BYTES };
static const char *const names[NAMES] = {"threads", "batch", "cache-entries", "cache-bytes"};

typedef struct figures {
    uint64_t peak; /* bytes */
    double rate, latency_ms;
} figures;

typedef struct candidate {
    uint64_t set[NAMES];
    figures f;
    int rounds;
} candidate;

typedef struct tune {
    cli *c;
    uint64_t memory; /* 0: any, as of the other two */
    double rate, latency_ms;
    int small; /* --preset low-memory */
    uint64_t time_ns, before[NAMES];
    uint32_t dim;
    candidate all[MOST], chosen;
    size_t n;
    progress bar;
    double steps, done;
} tune;

/* ---- one measurement, in a process of its own ---- */

typedef struct probe {
    tune *t;
    const uint64_t *set;
    uint64_t time_ns;
    int longest; /* the most that a step may take, too */
    quern_embedder *e;
    float *vectors; /* [room, dim] */
    struct {
        int rc;
        quern_error err;
        double rate, latency_ms;
        uint32_t dim;
    } told;
} probe;

static int embed(const probe *p, const quern_str *texts, size_t n, quern_error *err)
{
    quern_embed_options opt;
    QUERN_INIT(&opt);
    opt.truncation = QUERN_TRUNCATION_CUT;
    opt.cancel = p->t->c->cancel;
    return quern_embed(p->e, texts, n, &opt, p->vectors, n * p->told.dim, NULL, err);
}

/* A whole step of the longest texts that the model reads: a word is a token at least. */
static int embed_longest(const probe *p, quern_error *err)
{
    size_t n = p->set[BATCH], size = 8 * ((size_t)quern_embedder_max_length(p->e) + 2);
    char *memory = malloc(n * size);
    quern_str *texts = calloc(n, sizeof *texts);
    uint32_t state = 7;
    if (!memory || !texts) {
        free(memory);
        free(texts);
        return no_memory(err);
    }
    for (size_t i = 0; i < n; i++) {
        sample_text(memory + i * size, size, SIZE_MAX, &state);
        texts[i] = quern_str_of(memory + i * size);
    }
    int rc = embed(p, texts, n, err);
    free(texts);
    free(memory);
    return rc;
}

/* A cache as full as it may be. It stays so until the process ends. */
static int fill_cache(const probe *p, quern_cache **out, quern_error *err)
{
    quern_cache_options opt;
    quern_cache_stats s = {0};
    QUERN_INIT(&opt);
    opt.entries = p->set[CACHE_ENTRIES];
    opt.bytes = p->set[CACHE_BYTES];
    int rc = opt.entries ? quern_cache_open(out, &opt, err) : QUERN_OK;
    for (uint32_t i = 0; i < p->told.dim; i++)
        p->vectors[i] = 1;
    for (uint64_t i = 0; rc == QUERN_OK && *out && i <= opt.entries && !s.evictions; i++) {
        quern_cache_key key;
        rc = quern_cache_key_of("tune", 0, 0, (quern_str){(const char *)&i, sizeof i}, &key, err);
        if (rc == QUERN_OK)
            quern_cache_put(*out, &key, 1, p->told.dim, p->vectors, NULL, NULL, 0);
        if (i % 256 == 0)
            quern_cache_get_stats(*out, QUERN_CACHE_MEMORY, &s);
    }
    return rc;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Texts one by one: how long 95 of 100 take at most. */
static int measure_latency(probe *p, const quern_str *texts, quern_error *err)
{
    double *ms = malloc(CALLS * sizeof *ms);
    size_t n = 0;
    if (!ms)
        return no_memory(err);
    int rc = embed(p, texts, 1, err);
    for (uint64_t start = term_now_ns(), from = start;
         rc == QUERN_OK && n < CALLS && (n < 10 || from - start < p->time_ns / 2);) {
        rc = embed(p, texts + n % SHORT, 1, err);
        uint64_t to = term_now_ns();
        ms[n++] = (double)(to - from) * 1e-6;
        from = to;
    }
    if (rc == QUERN_OK) {
        qsort(ms, n, sizeof *ms, ascending);
        p->told.latency_ms = ms[(n - 1) * 95 / 100];
    }
    free(ms);
    return rc;
}

static int measure_rate(probe *p, const quern_str *texts, quern_error *err)
{
    uint64_t start = term_now_ns(), now = start;
    double done = 0;
    int rc = QUERN_OK;
    while (rc == QUERN_OK && (done == 0 || now - start < p->time_ns)) {
        rc = embed(p, texts, SHORT, err);
        done += SHORT;
        now = term_now_ns();
    }
    p->told.rate = done * 1e9 / (double)(now - start + 1);
    return rc;
}

static int measure_all(probe *p, quern_error *err)
{
    static char memory[SHORT][TEXT];
    quern_str texts[SHORT];
    quern_model *m = NULL;
    quern_embedder_options opt;
    quern_cache *cache = NULL;
    uint32_t state = 1;
    QUERN_INIT(&opt);
    opt.threads = (uint32_t)p->set[THREADS];
    opt.batch = (uint32_t)p->set[BATCH];
    for (size_t i = 0; i < SHORT; i++) {
        sample_text(memory[i], TEXT, 6 + i % 15, &state);
        texts[i] = quern_str_of(memory[i]);
    }
    int rc = open_model(p->t->c, &m, err);
    if (rc == QUERN_OK)
        rc = quern_embedder_from_model(&p->e, m, &opt, err);
    quern_model_free(m);
    if (rc != QUERN_OK)
        return rc;
    size_t room = p->set[BATCH] > SHORT ? p->set[BATCH] : SHORT;
    p->told.dim = quern_embedder_dimensions(p->e);
    p->vectors = calloc(room * p->told.dim, sizeof *p->vectors);
    rc = p->vectors ? fill_cache(p, &cache, err) : no_memory(err);
    if (rc == QUERN_OK && p->longest)
        rc = embed_longest(p, err);
    if (rc == QUERN_OK)
        rc = measure_latency(p, texts, err);
    return rc == QUERN_OK ? measure_rate(p, texts, err) : rc;
}

static void in_the_child(void *ud)
{
    probe *p = ud;
    p->told.rc = measure_all(p, &p->told.err);
}

/* The worst of its rounds stands for a candidate. */
static int measure(tune *t, candidate *k, uint64_t time_ns, int longest, quern_error *err)
{
    probe p = {.t = t, .set = k->set, .time_ns = time_ns, .longest = longest};
    uint64_t peak = 0;
    char detail[80];
    snprintf(detail, sizeof detail, "threads %u, batch %u", (unsigned)k->set[THREADS],
             (unsigned)k->set[BATCH]);
    progress_draw(&t->bar, "measuring", t->done++ / t->steps, detail);
    int ran = term_run_apart(in_the_child, &p, &p.told, sizeof p.told, &peak);
    if (quern_cancel_raised(t->c->cancel))
        return fail(err, QUERN_ECANCELLED, "interrupted");
    if (ran != 0)
        return fail(err, QUERN_EIO, "tune: the process that measures %s was ended", detail);
    if (p.told.rc != QUERN_OK) {
        *err = p.told.err;
        return p.told.rc;
    }
    figures *f = &k->f;
    t->dim = p.told.dim;
    f->peak = peak > f->peak ? peak : f->peak;
    f->rate = k->rounds && f->rate < p.told.rate ? f->rate : p.told.rate;
    f->latency_ms = f->latency_ms > p.told.latency_ms ? f->latency_ms : p.told.latency_ms;
    k->rounds++;
    return QUERN_OK;
}

/* ---- choosing ---- */

static int fits(const tune *t, const figures *f)
{
    return !t->memory || f->peak + RESERVE <= t->memory;
}

static int holds(const tune *t, const figures *f)
{
    return fits(t, f) && f->rate >= t->rate &&
           (!(t->latency_ms > 0) || f->latency_ms <= t->latency_ms);
}

/* The faster; what is as fast to 5 % goes by memory. --preset low-memory: the smaller, and then the faster. */
static int better(const tune *t, const candidate *a, const candidate *b)
{
    double as_fast = t->small ? 1 : 1.05;
    if (holds(t, &a->f) != holds(t, &b->f))
        return holds(t, &a->f);
    if (!t->small && a->f.rate > b->f.rate * as_fast)
        return 1;
    if (!t->small && b->f.rate > a->f.rate * as_fast)
        return 0;
    return a->f.peak != b->f.peak ? a->f.peak < b->f.peak : a->f.rate > b->f.rate;
}

static void add_candidate(tune *t, uint64_t threads, uint64_t batch)
{
    if (t->n == MOST || (t->small && (threads > t->before[THREADS] || batch > t->before[BATCH])))
        return;
    for (size_t i = 0; i < t->n; i++)
        if (t->all[i].set[THREADS] == threads && t->all[i].set[BATCH] == batch)
            return;
    t->all[t->n++] = (candidate){.set = {threads, batch, 0, t->before[CACHE_BYTES]}};
}

static void list_candidates(tune *t)
{
    static const unsigned batches[] = {4, 16, 32, 64};
    unsigned cores = term_cores();
    if (t->before[BATCH] <= LARGEST_BATCH)
        add_candidate(t, t->before[THREADS], t->before[BATCH]);
    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
        for (unsigned threads = 1; threads < cores; threads *= 2)
            add_candidate(t, threads, batches[i]);
        add_candidate(t, cores, batches[i]);
    }
}

/* The best ones first. Few, and `better` has a tolerance, which no sort of the library has to bear. */
static void rank(tune *t)
{
    for (size_t i = 0; i < t->n; i++)
        for (size_t k = i + 1; k < t->n; k++)
            if (better(t, &t->all[k], &t->all[i])) {
                candidate other = t->all[i];
                t->all[i] = t->all[k];
                t->all[k] = other;
            }
}

/* What may be left for a cache: three quarters of it, for the rest is its tables and the allocator's. */
static void give_cache(const tune *t, candidate *k, uint64_t part)
{
    uint64_t bytes = t->small ? 4 * MIB : t->before[CACHE_BYTES];
    uint64_t entries = t->small ? 1000 : t->before[CACHE_ENTRIES];
    uint64_t taken = k->f.peak + RESERVE;
    uint64_t room = !t->memory ? bytes : t->memory > taken ? (t->memory - taken) * 3 / 4 : 0;
    bytes = bytes < t->before[CACHE_BYTES] ? bytes : t->before[CACHE_BYTES];
    bytes = (bytes < room ? bytes : room) / part;
    uint64_t each = (uint64_t)t->dim * sizeof(float) + 100;
    entries = entries < t->before[CACHE_ENTRIES] ? entries : t->before[CACHE_ENTRIES];
    k->set[CACHE_ENTRIES] = bytes / each < entries ? bytes / each : entries;
    k->set[CACHE_BYTES] = bytes >= MIB ? bytes / MIB * MIB : t->before[CACHE_BYTES];
    if (bytes < MIB)
        k->set[CACHE_ENTRIES] = 0;
}

/* The settings as they would be written, once more, the cache with them; a smaller one when it is that. */
static int confirm_one(tune *t, const candidate *from, int *good, quern_error *err)
{
    *good = 0;
    for (uint64_t part = 1;; part *= 2) {
        candidate k = *from;
        give_cache(t, &k, part);
        int rc = measure(t, &k, t->time_ns / ROUNDS, 1, err);
        if (rc != QUERN_OK)
            return rc;
        *good = holds(t, &k.f);
        if (*good)
            t->chosen = k;
        if (*good || !k.set[CACHE_ENTRIES] || fits(t, &k.f))
            return QUERN_OK;
    }
}

static int out_of_reach(const tune *t, quern_error *err)
{
    const candidate *small = &t->all[0], *fast = NULL, *quick = NULL;
    char least[16], asked[16], text[3][80] = {"", "", ""};
    for (size_t i = 0; i < t->n; i++) {
        const candidate *k = &t->all[i];
        small = k->f.peak < small->f.peak ? k : small;
        if (!fits(t, &k->f))
            continue;
        fast = !fast || k->f.rate > fast->f.rate ? k : fast;
        quick = !quick || k->f.latency_ms < quick->f.latency_ms ? k : quick;
    }
    human_bytes(small->f.peak + RESERVE, least);
    human_bytes(t->memory, asked);
    if (t->memory)
        snprintf(text[0], sizeof text[0], "; the least memory is %s (asked: %s)", least, asked);
    if (t->rate > 0 && fast)
        snprintf(text[1], sizeof text[1], "; the most texts/s are %.0f (asked: %.0f)", fast->f.rate,
                 t->rate);
    if (t->latency_ms > 0 && quick)
        snprintf(text[2], sizeof text[2], "; the lowest latency is %.1f ms (asked: %.1f)",
                 quick->f.latency_ms, t->latency_ms);
    int rc = fail(err, QUERN_EMISMATCH, "no settings hold all of that here%s%s%s", text[0], text[1],
                  text[2]);
    err->code = "out_of_reach";
    return rc;
}

static int choose(tune *t, quern_error *err)
{
    int rc = QUERN_OK, good = 0;
    list_candidates(t);
    size_t kept = t->n < KEEP ? t->n : KEEP;
    t->steps = (double)(t->n + (ROUNDS - 1) * kept + 2);
    for (size_t i = 0; rc == QUERN_OK && i < t->n; i++)
        rc = measure(t, &t->all[i], t->time_ns / ROUNDS, 1, err);
    rank(t);
    for (int round = 1; rc == QUERN_OK && round < ROUNDS; round++)
        for (size_t i = 0; rc == QUERN_OK && i < kept; i++)
            rc = measure(t, &t->all[i], t->time_ns / ROUNDS, 0, err);
    rank(t);
    for (size_t i = 0; rc == QUERN_OK && !good && i < t->n && holds(t, &t->all[i].f); i++)
        rc = confirm_one(t, &t->all[i], &good, err);
    return rc == QUERN_OK && !good ? out_of_reach(t, err) : rc;
}

/* ---- telling ---- */

static void value_text(int name, uint64_t v, char out[32])
{
    if (name == CACHE_BYTES && v >= MIB && v % MIB == 0)
        snprintf(out, 32, "%lluM", (unsigned long long)(v / MIB));
    else
        snprintf(out, 32, "%llu", (unsigned long long)v);
}

static void put_figures(const figures *f)
{
    put_key("peak_bytes");
    put_whole(f->peak);
    put_key("texts_per_second");
    put_real(f->rate);
    put_key("latency_ms");
    put_real(f->latency_ms);
}

static void put_settings(const uint64_t *set)
{
    put_object();
    for (int i = 0; i < NAMES; i++) {
        put_key(names[i]);
        put_whole(set[i]);
    }
    put_end_object();
}

static void write_json(const tune *t)
{
    put_object();
    put_key("settings");
    put_settings(t->chosen.set);
    put_key("before");
    put_settings(t->before);
    put_key("measured");
    put_object();
    put_figures(&t->chosen.f);
    put_end_object();
    put_key("tried");
    put_array();
    for (size_t i = 0; i < t->n; i++) {
        put_object();
        put_key("threads");
        put_whole(t->all[i].set[THREADS]);
        put_key("batch");
        put_whole(t->all[i].set[BATCH]);
        put_figures(&t->all[i].f);
        put_key("holds");
        put_bool(holds(t, &t->all[i].f));
        put_end_object();
    }
    put_end_array();
    put_end_object();
    put_line();
}

/* As lines of quern.ini. */
static void write_text(const tune *t)
{
    char peak[16], now[32], before[32];
    human_bytes(t->chosen.f.peak, peak);
    out_printf("# measured: %.0f texts/s, %.1f ms for one, %s at most\n", t->chosen.f.rate,
               t->chosen.f.latency_ms, peak);
    for (int i = 0; i < NAMES; i++) {
        value_text(i, t->chosen.set[i], now);
        value_text(i, t->before[i], before);
        out_printf("%s = %s", names[i], now);
        if (t->chosen.set[i] != t->before[i])
            out_printf("  ; before: %s", before);
        out_text("\n");
    }
}

/* ---- quern.ini ---- */

/* The part before the first section: what stands there is in force for every model. */
static size_t end_of_common(const char *text)
{
    const char *line = text;
    while (*line) {
        if (line[strspn(line, " \t")] == '[')
            return (size_t)(line - text);
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return (size_t)(line - text);
}

static int is_line_of(const char *line, const char *name)
{
    size_t n = strlen(name);
    line += strspn(line, " \t");
    if (strncmp(line, name, n) != 0)
        return 0;
    line += n + strspn(line + n, " \t");
    return *line == '=' || *line == ':';
}

/* text with our four lines in place of the ones it has, or behind its common part. */
static char *edit(const tune *t, const char *text)
{
    size_t common = end_of_common(text), size = strlen(text) + NAMES * 64 + 2, used = 0;
    char *out = malloc(size), value[32];
    int done[NAMES] = {0};
    for (const char *line = text; out && line < text + common;) {
        size_t n = strcspn(line, "\n") + (line[strcspn(line, "\n")] == '\n');
        int which = 0;
        while (which < NAMES && !is_line_of(line, names[which]))
            which++;
        if (which == NAMES) {
            memcpy(out + used, line, n);
            used += n;
        } else if (!done[which]++) {
            value_text(which, t->chosen.set[which], value);
            used += (size_t)snprintf(out + used, size - used, "%s = %s\n", names[which], value);
        }
        line += n;
    }
    if (out && used && out[used - 1] != '\n')
        out[used++] = '\n';
    for (int i = 0; out && i < NAMES; i++) {
        value_text(i, t->chosen.set[i], value);
        if (!done[i])
            used += (size_t)snprintf(out + used, size - used, "%s = %s\n", names[i], value);
    }
    if (out)
        memcpy(out + used, text + common, strlen(text + common) + 1);
    return out;
}

/* Would a command that reads it obey? A section, chosen by its model, may say otherwise. */
static int check_file(const tune *t, const char *path, quern_error *err)
{
    quern_config *now = NULL;
    int rc = quern_config_new(&now, err);
    if (rc == QUERN_OK && t->c->model[0])
        rc = quern_config_set(now, "model", t->c->model, QUERN_FROM_FLAG, "--model", err);
    if (rc == QUERN_OK)
        rc = quern_config_read_file(now, path, err);
    if (rc == QUERN_OK)
        rc = quern_config_choose(now, err);
    for (int i = 0; rc == QUERN_OK && i < NAMES; i++)
        if (quern_config_count(now, names[i]) != t->chosen.set[i])
            rc = fail(err, QUERN_EINVAL, "%s says otherwise about %s, and wins: not written",
                      quern_config_origin(now, names[i]), names[i]);
    quern_config_free(now);
    return rc;
}

enum { LARGEST_FILE = 1 << 20 }; /* quern.ini's own limit */

/* The file's text, "" when there is none; the caller's. */
static int read_file(const char *path, char **out, quern_error *err)
{
    char *text = calloc(1, LARGEST_FILE + 2);
    *out = text;
    if (!text)
        return no_memory(err);
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(text, 1, LARGEST_FILE + 1, f) : 0;
    int bad = (f && ferror(f)) || n > LARGEST_FILE || memchr(text, '\0', n);
    if (f)
        fclose(f);
    return bad ? fail(err, QUERN_EFORMAT, "%.300s: cannot be read as quern.ini", path) : QUERN_OK;
}

/* Checked beside the file, then in its place. */
static int put_in_place(const tune *t, const char *path, const char *text, quern_error *err)
{
    char beside[4200];
    int rc = QUERN_OK;
    snprintf(beside, sizeof beside, "%s.tune", path);
    if (term_write_beside(path, beside, text, strlen(text)) != 0)
        rc = fail(err, QUERN_EIO, "%.300s: cannot write", beside);
    if (rc == QUERN_OK)
        rc = check_file(t, beside, err);
    if (rc == QUERN_OK && rename(beside, path) != 0)
        rc = fail(err, QUERN_EIO, "%.300s: cannot write", path);
    if (rc != QUERN_OK)
        remove(beside);
    return rc;
}

static int write_file(const tune *t, const char *path, quern_error *err)
{
    char *text, *edited;
    int rc = read_file(path, &text, err);
    if (rc == QUERN_OK) {
        edited = edit(t, text);
        rc = edited ? put_in_place(t, path, edited, err) : no_memory(err);
        free(edited);
    }
    free(text);
    return rc;
}

static int constraints(tune *t, quern_error *err)
{
    const quern_config *f = t->c->config;
    const char *preset = quern_config_text(f, "preset"), *model = quern_config_text(f, "model");
    t->memory = quern_config_count(f, "memory");
    t->rate = quern_config_real(f, "rate");
    t->latency_ms = (double)quern_config_count(f, "latency");
    t->small = preset && strcmp(preset, "low-memory") == 0;
    t->time_ns = quern_config_count(f, "measurement-time") * 1000000u;
    for (int i = 0; i < NAMES; i++)
        t->before[i] = quern_config_count(f, names[i]);
    if (!t->before[THREADS])
        t->before[THREADS] = term_cores();
    if (!preset && !t->memory && !(t->rate > 0) && !(t->latency_ms > 0))
        return fail(err, QUERN_EINVAL, "tune: to what? --memory, --rate, --latency or --preset");
    if (model_is_hosted(model))
        return fail(err, QUERN_EUNSUPPORTED, "tune: %.100s is hosted; its pace is its provider's",
                    model);
    return have_model(t->c, err); /* here, and not in each process apart */
}

int cmd_tune(cli *c, quern_error *err)
{
    tune *t = calloc(1, sizeof *t);
    const char *file = quern_config_text(c->config, "write");
    char path[4100]; /* of a file that a link leads to, too */
    if (!t)
        return no_memory(err);
    t->c = c;
    int rc = args_need(c, 0, 0, err);
    if (rc == QUERN_OK && file && term_real_path(file, path, sizeof path) != 0)
        rc = fail(err, QUERN_EINVAL, "--write %.300s: not a file", file);
    if (rc == QUERN_OK)
        rc = constraints(t, err);
    progress_begin(&t->bar, c);
    if (rc == QUERN_OK)
        rc = choose(t, err);
    progress_end(&t->bar);
    if (rc == QUERN_OK && file)
        rc = write_file(t, path, err);
    if (rc == QUERN_OK)
        (c->json ? write_json : write_text)(t);
    free(t);
    return rc;
}
